//! Extra arguments: flags of ExternalDNS that irsactl has no option for.

use super::flags::{self, Flag, Kind, go_duration};
use super::version::Version;

/// Flags with a default of irsactl's that an extra argument replaces.
pub(super) const OVERRIDABLE: &[&str] = &["log-level", "log-format"];

/// Flags that are refused as extra arguments, and what to use.
const OWNED: &[(&str, &str)] = &[
    ("source", "use --source"),
    ("domain-filter", "use --domain-filter"),
    ("exclude-domains", "use --exclude-domains"),
    ("zone-id-filter", "use --zone-id-filter"),
    ("policy", "use --policy"),
    ("registry", "use --registry"),
    ("txt-owner-id", "use --txt-owner-id"),
    ("txt-prefix", "use --txt-prefix"),
    ("txt-suffix", "use --txt-suffix"),
    ("aws-zone-type", "use --aws-zone-type"),
    ("aws-assume-role", "use --aws-assume-role"),
    ("aws-assume-role-external-id", "use --aws-assume-role-external-id"),
    ("interval", "use --interval"),
    ("ingress-class", "use --ingress-class"),
    ("annotation-filter", "use --annotation-filter"),
    ("label-filter", "use --label-filter"),
    ("annotation-prefix", "use --annotation-prefix"),
    ("enable-legacy-annotation-prefix", "use --legacy-annotations"),
    ("provider", "irsactl installs the aws provider"),
    ("aws-profile", "the pod's credentials are its role's; for another account use --aws-assume-role"),
    ("kubeconfig", "the pod talks to its own cluster"),
    ("server", "the pod talks to its own cluster"),
    ("dynamodb-region", "only the registries txt and noop are installed; use --registry"),
    ("dynamodb-table", "only the registries txt and noop are installed; use --registry"),
    ("crd-registry-namespace", "only the registries txt and noop are installed; use --registry"),
    ("aws-sd-service-cleanup", "it belongs to the aws-sd provider, and irsactl installs the aws provider"),
    ("aws-sd-create-tag", "it belongs to the aws-sd provider, and irsactl installs the aws provider"),
    ("metrics-address", "the probes need port 7979"),
    ("once", "a Deployment would start it over and over"),
    (
        "txt-encrypt-aes-key",
        "arguments are no place for a key: set EXTERNAL_DNS_TXT_ENCRYPT_AES_KEY from a Secret through --patch",
    ),
];

const RECORD_TYPES: &[&str] = &["A", "AAAA", "CNAME", "MX", "NAPTR", "NS", "PTR", "SRV", "TXT"];

/// Values that ExternalDNS knows.
const ENUMS: &[(&str, &[&str])] = &[
    ("log-level", &["panic", "fatal", "error", "warning", "info", "debug", "trace"]),
    ("log-format", &["text", "json"]),
    ("compatibility", &["mate", "molecule", "kops-dns-controller"]),
    ("managed-record-types", RECORD_TYPES),
    ("exclude-record-types", RECORD_TYPES),
    ("service-type-filter", &["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]),
];

/// Flags that take one value each time: a comma would be a part of it.
const LISTS: &[&str] = &[
    "default-targets",
    "events-emit",
    "exclude-record-types",
    "exclude-target-net",
    "gloo-namespace",
    "managed-record-types",
    "nat64-networks",
    "service-type-filter",
    "target-net-filter",
    "zone-name-filter",
];

const DURATIONS: &[&str] = &[
    "aws-batch-change-interval",
    "aws-zones-cache-duration",
    "batch-change-interval",
    "kube-api-request-timeout",
    "min-event-sync-interval",
    "min-ttl",
    "provider-cache-time",
    "request-timeout",
    "txt-cache-interval",
];

const NUMBERS: &[&str] = &[
    "aws-api-retries",
    "aws-batch-change-size",
    "aws-batch-change-size-bytes",
    "aws-batch-change-size-values",
    "batch-change-size",
    "kube-api-burst",
    "kube-api-qps",
];

/// An extra argument, taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extra<'a> {
    pub(super) name: &'a str,
    pub(super) value: Option<&'a str>,
    negated: bool,
}

impl<'a> Extra<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        let shown = text.split('=').next().unwrap_or_default();
        let malformed = || format!("--extra-arg={shown}: expected --flag=value or --flag");
        let body = text.strip_prefix("--").ok_or_else(malformed)?;
        let (name, value) = body.split_once('=').map_or((body, None), |(name, value)| (name, Some(value)));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.starts_with('-') || !name.chars().all(plain) {
            return Err(malformed());
        }
        match name.strip_prefix("no-") {
            Some(positive) if Flag::find(name).is_none() => Ok(Self { name: positive, value, negated: true }),
            _ => Ok(Self { name, value, negated: false }),
        }
    }

    pub(super) fn on(&self) -> bool {
        !self.negated && self.value != Some("false")
    }

    pub(super) fn check(&self, version: Version) -> Result<(), String> {
        let Self { name, value, negated } = *self;
        if let Some((_, instead)) = OWNED.iter().find(|(owned, _)| *owned == name) {
            return Err(format!("--extra-arg=--{name}: {instead}"));
        }
        flags::check(name, version).map_err(|problem| format!("--extra-arg=--{name}: {problem}"))?;
        let Some(flag) = Flag::find(name) else { return Ok(()) };
        let whole = match flag.kind {
            Kind::Switch => value.is_none_or(|value| !negated && ["true", "false"].contains(&value)),
            Kind::Value | Kind::List | Kind::ListSince(_) => !negated && value.is_some(),
        };
        if !whole {
            let form =
                if flag.kind == Kind::Switch { format!("--{name} or --no-{name}") } else { format!("--{name}=VALUE") };
            return Err(format!("--extra-arg=--{name}: expected {form}"));
        }
        self.check_value()
    }

    /// What makes ExternalDNS exit, or do nothing without a word.
    fn check_value(&self) -> Result<(), String> {
        let Self { name, .. } = *self;
        let value = self.value.unwrap_or_default();
        let expected = |what: &str| Err(format!("--extra-arg=--{name}={value}: expected {what}"));
        if let Some((_, allowed)) = ENUMS.iter().find(|(flag, _)| *flag == name) {
            if allowed.contains(&value) {
                return Ok(());
            }
            let list = LISTS.contains(&name) && value.contains(',');
            let each = if list { ", one each time the flag is given" } else { "" };
            return expected(&format!("one of {}{each}", allowed.join(", ")));
        }
        if LISTS.contains(&name) && value.contains(',') {
            return expected("one value: the flag is given once for each");
        }
        if DURATIONS.contains(&name) && value != "0" && go_duration(value).is_none() {
            return expected("a duration such as 30s or 5m");
        }
        if NUMBERS.contains(&name) && value.parse::<u32>().is_err() {
            return expected("a number");
        }
        if ["kube-api-qps", "kube-api-burst"].contains(&name) && value.parse::<u32>() == Ok(0) {
            return expected("a number above 0");
        }
        Ok(())
    }

    /// Switches as ExternalDNS takes them: `--events=true` would make it exit.
    pub(super) fn rendered(&self) -> String {
        let Self { name, value, .. } = *self;
        let switch = Flag::find(name).is_some_and(|flag| flag.kind == Kind::Switch);
        match value {
            _ if switch && self.on() => format!("--{name}"),
            _ if switch || self.negated => format!("--no-{name}"),
            Some(value) => format!("--{name}={value}"),
            None => format!("--{name}"),
        }
    }
}
