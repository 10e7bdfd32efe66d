//! The command-line flags of ExternalDNS, and which versions have them.

use super::version::{NEWEST, Version};
use Kind::{List, ListSince, Switch, Value};

/// How a flag takes its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `--flag` or `--no-flag`; `--flag=true` makes the process exit.
    Switch,
    /// `--flag=value`, once.
    Value,
    /// `--flag=value`, any number of times; commas are part of the value.
    List,
    /// A value before this release, 22 for v0.22, and a list from it on.
    ListSince(u16),
}

/// A flag of ExternalDNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its name without `--`.
    pub name: &'static str,
    /// How it takes its value.
    pub kind: Kind,
    /// The first version that has it.
    pub since: Version,
    /// The first version that has it no more: an unknown flag makes the process exit.
    pub until: Option<Version>,
}

impl Flag {
    /// The flag of that name, without `--`.
    pub fn find(name: &str) -> Option<Self> {
        Self::all().find(|flag| flag.name == name)
    }

    /// Every flag that some version has, those of other DNS providers excepted.
    pub fn all() -> impl Iterator<Item = Self> {
        let version = |(minor, patch)| Version::new(minor, patch);
        FLAGS.iter().map(move |&(name, kind, since, until)| Self {
            name,
            kind,
            since: version(since),
            until: until.map(version),
        })
    }

    /// How `version` takes its value: as a switch, a value or a list. A value given twice makes the process exit.
    pub fn kind_in(self, version: Version) -> Kind {
        match self.kind {
            ListSince(minor) if version < Version::new(minor, 0) => Value,
            ListSince(_) => List,
            kind => kind,
        }
    }
}

/// Checks that `version` has the flag `name` (without `--` and `no-`).
///
/// # Errors
/// Names the version that has it, or the one that dropped it.
pub fn check(name: &str, version: Version) -> Result<(), String> {
    let Some(flag) = Flag::find(name) else {
        if is_of_other_provider(name) {
            return Err(format!("--{name} belongs to another DNS provider; irsactl installs the aws provider"));
        }
        let unknown_to_us = version > NEWEST && version.warning().is_some();
        let refusal = format!("ExternalDNS {version} has no flag --{name}: it would exit at once");
        return if unknown_to_us { Ok(()) } else { Err(refusal) };
    };
    match flag.until {
        _ if version < flag.since => {
            Err(format!("--{name} needs ExternalDNS {} or later, and this is {version}", flag.since))
        }
        Some(until) if version >= until => {
            Err(format!("--{name} was removed in ExternalDNS {until}, and this is {version}: it would exit at once"))
        }
        _ => Ok(()),
    }
}

/// True for a flag of a DNS provider other than Route53, which has no meaning beside `--provider=aws`.
pub fn is_of_other_provider(name: &str) -> bool {
    Flag::find(name).is_none() && OTHER_PROVIDERS.iter().any(|prefix| name.starts_with(prefix))
}

/// Seconds of a Go duration such as `1m30s`.
pub(super) fn go_duration(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end =
            rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |at| digits + at);
        let unit = match &rest[digits..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number * unit;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(seconds)
}

/// Prefixes of the flags of DNS providers other than Route53.
const OTHER_PROVIDERS: &[&str] = &[
    "akamai-",
    "alibaba-",
    "azure-",
    "bluecat-",
    "cf-",
    "cloudflare-",
    "coredns-",
    "digitalocean-",
    "dyn-",
    "exoscale-",
    "godaddy-",
    "google-",
    "ibmcloud-",
    "infoblox-",
    "inmemory-",
    "ns1-",
    "oci-",
    "ovh-",
    "pdns-",
    "pihole-",
    "plural-",
    "rcodezero-",
    "rfc2136-",
    "tencent-",
    "transip-",
    "tls-",
    "webhook-",
];

type Row = (&'static str, Kind, (u16, u16), Option<(u16, u16)>);

/// Name, kind, first version (minor, patch), first version without it. (0, 0) is "always", as far
/// back as these tables go. Source: the flags that each release tag defines.
#[rustfmt::skip]
const FLAGS: &[Row] = &[
    ("always-publish-not-ready-addresses", Switch, (0, 0), None),
    ("annotation-filter", Value, (0, 0), None),
    ("annotation-prefix", Value, (20, 0), None),
    ("aws-api-retries", Value, (0, 0), None),
    ("aws-assume-role", Value, (0, 0), None),
    ("aws-assume-role-external-id", Value, (0, 0), None),
    ("aws-batch-change-interval", Value, (0, 0), None),
    ("aws-batch-change-size", Value, (0, 0), None),
    ("aws-batch-change-size-bytes", Value, (14, 1), None),
    ("aws-batch-change-size-values", Value, (14, 1), None),
    ("aws-evaluate-target-health", Switch, (0, 0), None),
    ("aws-prefer-cname", Switch, (0, 0), None),
    ("aws-profile", List, (15, 0), None),
    ("aws-sd-create-tag", List, (15, 1), None),
    ("aws-sd-service-cleanup", Switch, (0, 0), None),
    ("aws-zone-match-parent", Switch, (14, 1), None),
    ("aws-zone-tags", List, (0, 0), None),
    ("aws-zone-type", Value, (0, 0), None),
    ("aws-zones-cache-duration", Value, (0, 0), None),
    ("batch-change-interval", Value, (21, 0), None),
    ("batch-change-size", Value, (21, 0), None),
    ("combine-fqdn-annotation", Switch, (0, 0), None),
    ("compatibility", Value, (0, 0), None),
    ("connector-source-server", Value, (0, 0), None),
    ("crd-registry-namespace", Value, (23, 0), None),
    ("crd-source-apiversion", Value, (0, 0), None),
    ("crd-source-kind", Value, (0, 0), None),
    ("create-ptr", Switch, (21, 0), None),
    ("default-targets", List, (0, 0), None),
    ("domain-filter", List, (0, 0), None),
    ("dry-run", Switch, (0, 0), None),
    ("dynamodb-region", Value, (0, 0), None),
    ("dynamodb-table", Value, (0, 0), None),
    ("enable-legacy-annotation-prefix", Switch, (23, 0), None),
    ("events", Switch, (0, 0), None),
    ("events-emit", List, (19, 0), None),
    ("exclude-domains", List, (0, 0), None),
    ("exclude-record-types", List, (0, 0), None),
    ("exclude-target-net", List, (0, 0), None),
    ("exclude-unschedulable", Switch, (17, 0), None),
    ("expose-internal-ipv6", Switch, (17, 0), None),
    ("force-default-targets", Switch, (18, 0), None),
    ("fqdn-target-template", ListSince(22), (21, 0), None),
    ("fqdn-template", ListSince(22), (0, 0), None),
    ("gateway-label-filter", Value, (0, 0), None),
    ("gateway-listener-sets", Switch, (21, 0), None),
    ("gateway-name", Value, (16, 0), None),
    ("gateway-namespace", Value, (0, 0), None),
    ("gloo-namespace", List, (0, 0), None),
    ("ignore-hostname-annotation", Switch, (0, 0), None),
    ("ignore-ingress-rules-spec", Switch, (0, 0), None),
    ("ignore-ingress-tls-spec", Switch, (0, 0), None),
    ("ignore-non-host-network-pods", Switch, (16, 0), None),
    ("ingress-class", List, (0, 0), None),
    ("interval", Value, (0, 0), None),
    ("kube-api-burst", Value, (21, 0), None),
    ("kube-api-qps", Value, (21, 0), None),
    ("kube-api-request-timeout", Value, (21, 0), None),
    ("kubeconfig", Value, (0, 0), None),
    ("label-filter", Value, (0, 0), None),
    ("listen-endpoint-events", Switch, (16, 0), None),
    ("log-format", Value, (0, 0), None),
    ("log-level", Value, (0, 0), None),
    ("managed-record-types", List, (0, 0), None),
    ("metrics-address", Value, (0, 0), None),
    ("migrate-from-txt-owner", Value, (20, 0), None),
    ("min-event-sync-interval", Value, (0, 0), None),
    ("min-ttl", Value, (21, 0), None),
    ("namespace", Value, (0, 0), None),
    ("nat64-networks", List, (15, 1), None),
    ("once", Switch, (0, 0), None),
    ("openshift-router-name", Value, (0, 0), None),
    ("pod-source-domain", Value, (16, 0), None),
    ("policy", Value, (0, 0), None),
    ("prefer-alias", Switch, (21, 0), None),
    ("provider", Value, (0, 0), None),
    ("provider-cache-time", Value, (15, 0), None),
    ("publish-host-ip", Switch, (0, 0), None),
    ("publish-internal-services", Switch, (0, 0), None),
    ("regex-domain-exclusion", Value, (0, 0), None),
    ("regex-domain-filter", Value, (0, 0), None),
    ("registry", Value, (0, 0), None),
    ("request-timeout", Value, (0, 0), None),
    ("resolve-service-load-balancer-hostname", Switch, (0, 0), None),
    ("server", Value, (0, 0), None),
    ("service-type-filter", List, (0, 0), None),
    ("skipper-routegroup-groupversion", Value, (0, 0), None),
    ("source", List, (0, 0), None),
    ("target-net-filter", List, (0, 0), None),
    ("target-template", ListSince(22), (21, 0), None),
    ("traefik-disable-legacy", Switch, (14, 1), Some((19, 0))),
    ("traefik-disable-new", Switch, (14, 1), None),
    ("traefik-enable-legacy", Switch, (19, 0), None),
    ("txt-cache-interval", Value, (0, 0), None),
    ("txt-encrypt-aes-key", Value, (0, 0), None),
    ("txt-encrypt-enabled", Switch, (0, 0), None),
    ("txt-new-format-only", Switch, (16, 0), Some((18, 0))),
    ("txt-owner-id", Value, (0, 0), None),
    ("txt-prefix", Value, (0, 0), None),
    ("txt-suffix", Value, (0, 0), None),
    ("txt-wildcard-replacement", Value, (0, 0), None),
    ("unstructured-resource", List, (21, 0), None),
    ("zone-id-filter", List, (0, 0), None),
    ("zone-name-filter", List, (0, 0), None),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, version: &str) -> String {
        check(name, version.parse().unwrap()).unwrap_err()
    }

    #[test]
    fn refusals_name_the_version() {
        assert!(refusal("annotation-prefix", "0.19.0").contains("v0.20.0 or later"));
        assert!(refusal("enable-legacy-annotation-prefix", "0.22.0").contains("v0.23.0 or later"));
        assert!(refusal("txt-new-format-only", "0.18.0").contains("removed in ExternalDNS v0.18.0"));
        assert!(refusal("aws-profile", "0.14.2").contains("v0.15.0"));
        assert!(refusal("exclude-domain-filter", "0.23.0").contains("no flag"));
        assert!(refusal("cloudflare-proxied", "0.23.0").contains("another DNS provider"));
    }

    #[test]
    fn versions_have_their_flags() {
        let has = |name, version: &str| check(name, version.parse().unwrap()).is_ok();
        assert!(has("aws-zone-match-parent", "0.14.1") && !has("aws-zone-match-parent", "0.14.0"));
        assert!(has("txt-new-format-only", "0.17.0") && !has("txt-new-format-only", "0.15.1"));
        assert!(has("exclude-domains", "0.14.0") && has("exclude-domains", "0.23.0"));
        assert!(has("flag-of-tomorrow", "0.24.0"));
    }
}
