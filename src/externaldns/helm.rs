//! Values for the Helm chart of ExternalDNS (1.22.0) that come to the same installation.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::rbac::{self, Rule};
use super::settings::{Registry, Settings};
use super::version::{NEWEST, image_tag};

/// `logLevel` in the chart's schema.
const LEVELS: [&str; 6] = ["panic", "debug", "info", "warning", "error", "fatal"];

/// Flags that the chart has values for; the rest are its `extraArgs`.
const IN_VALUES: &[&str] = &[
    "log-level",
    "log-format",
    "interval",
    "source",
    "policy",
    "registry",
    "txt-owner-id",
    "txt-prefix",
    "txt-suffix",
    "domain-filter",
    "exclude-domains",
    "label-filter",
    "annotation-filter",
    "annotation-prefix",
    "provider",
    "events",
    "gateway-listener-sets",
    "managed-record-types",
];

/// The values. With a role ARN the chart makes the annotated ServiceAccount; without, it takes the one
/// that `create iamserviceaccount` made.
pub fn values(settings: &Settings, role_arn: Option<&str>) -> Value {
    let mut values = Map::new();
    let mut set = |key: &str, value: Value| {
        values.insert(key.to_owned(), value);
    };
    let (repository, tag) = image(settings);
    set("image", json!({"repository": repository, "tag": tag}));
    set("fullnameOverride", json!(settings.name));
    set("serviceAccount", service_account(settings, role_arn));
    set("replicaCount", json!(settings.replicas));
    set("logLevel", json!(settings.extra("log-level").unwrap_or("info")));
    set("logFormat", json!(settings.extra("log-format").unwrap_or("text")));
    set("interval", json!(settings.interval));
    set("triggerLoopOnEvent", json!(settings.extra_switch("events")));
    set("sources", json!(settings.sources));
    set("policy", json!(settings.policy.as_str()));
    set("registry", json!(settings.registry.as_str()));
    if settings.registry == Registry::Txt {
        set("txtOwnerId", json!(settings.owner_id));
        optional(&mut set, "txtPrefix", settings.txt_prefix.as_ref());
        optional(&mut set, "txtSuffix", settings.txt_suffix.as_ref());
    }
    set("domainFilters", json!(settings.domain_filters));
    set("excludeDomains", json!(settings.exclude_domains));
    optional(&mut set, "labelFilter", settings.label_filter.as_ref());
    optional(&mut set, "annotationFilter", settings.annotation_filter.as_ref());
    let args = settings.args();
    let prefix = args.iter().find_map(|arg| arg.strip_prefix("--annotation-prefix=")).map(str::to_owned);
    optional(&mut set, "annotationPrefix", prefix.as_ref());
    let types = once(settings.extra_all("managed-record-types").into_iter().map(str::to_owned));
    if !types.is_empty() {
        set("managedRecordTypes", json!(types));
    }
    if settings.extra_switch("gateway-listener-sets") {
        set("enableGatewayListenerSets", json!(true));
    }
    set("provider", json!({"name": "aws"}));
    set(
        "env",
        json!([{"name": "AWS_REGION", "value": settings.region}, {"name": "AWS_DEFAULT_REGION", "value": settings.region}]),
    );
    set("resources", json!({"requests": {"cpu": "50m", "memory": "50Mi"}, "limits": {"memory": "512Mi"}}));
    let extra = once(args.iter().filter(|arg| !in_values(arg)).map(|arg| escaped(arg)));
    if !extra.is_empty() {
        set("extraArgs", json!(extra));
    }
    let permissions = beyond_the_chart(settings);
    if !permissions.is_empty() {
        set("rbac", json!({"create": true, "additionalPermissions": permissions}));
    }
    Value::Object(values)
}

/// What the chart's schema refuses.
///
/// # Errors
/// Names the argument.
pub fn check(settings: &Settings) -> Result<(), String> {
    match settings.extra("log-level").filter(|level| !LEVELS.contains(level)) {
        Some(level) => Err(format!("--extra-arg=--log-level={level}: the chart takes {}", LEVELS.join(", "))),
        None => Ok(()),
    }
}

/// The chart's schema refuses a list that holds something twice.
fn once(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    values.filter(|value| seen.insert(value.clone())).collect()
}

fn optional(set: &mut impl FnMut(&str, Value), key: &str, value: Option<&String>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        set(key, json!(value));
    }
}

fn service_account(settings: &Settings, role_arn: Option<&str>) -> Value {
    match role_arn {
        Some(arn) => {
            json!({"create": true, "name": settings.name, "annotations": {"eks.amazonaws.com/role-arn": arn}})
        }
        None => json!({"create": false, "name": settings.name}),
    }
}

/// Repository and tag; a digest stays with the tag, as the chart joins the two with `:`.
fn image(settings: &Settings) -> (String, String) {
    let Some(tag) = image_tag(&settings.image) else {
        let digest = settings.image.rsplit_once(':').filter(|(name, _)| name.contains('@'));
        let (repository, tag) = digest.map_or((settings.image.as_str(), None), |(name, hash)| (name, Some(hash)));
        return (repository.to_owned(), tag.map_or_else(|| settings.version.to_string(), str::to_owned));
    };
    let repository = settings.image.split('@').next().and_then(|name| name.strip_suffix(&format!(":{tag}")));
    let digest = settings.image.split_once('@').map(|(_, digest)| format!("@{digest}")).unwrap_or_default();
    (repository.unwrap_or(&settings.image).to_owned(), format!("{tag}{digest}"))
}

fn in_values(arg: &str) -> bool {
    let name = arg.trim_start_matches("--").split('=').next().unwrap_or_default();
    IN_VALUES.contains(&name)
}

/// The chart runs extra arguments through its template engine.
fn escaped(arg: &str) -> String {
    if arg.contains("{{") { format!("{{{{ `{arg}` }}}}") } else { arg.to_owned() }
}

/// Rules that the chart doesn't grant by itself.
fn beyond_the_chart(settings: &Settings) -> Vec<Value> {
    let mut sources = Settings { version: NEWEST, ..settings.clone() };
    sources.sources.retain(|source| source != "unstructured");
    sources.extra_args.retain(|arg| !arg.starts_with("--events-emit"));
    let by_chart = rbac::rules(&sources);
    let all = rbac::rules(settings);
    all.iter().filter(|rule| !by_chart.contains(rule)).map(Rule::to_value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_to_the_same_arguments() {
        let mut settings = Settings::new("us-east-1", "c1");
        settings.domain_filters = vec!["example.com".to_owned()];
        settings.zone_id_filters = vec!["Z0123456789".to_owned()];
        settings.extra_args = vec![
            "--events".to_owned(),
            "--fqdn-template={{.Name}}.example.com".to_owned(),
            "--log-level=debug".to_owned(),
        ];
        let values = values(&settings, None);
        assert_eq!(
            values["image"],
            json!({"repository": "registry.k8s.io/external-dns/external-dns", "tag": "v0.23.0"})
        );
        assert_eq!(values["serviceAccount"], json!({"create": false, "name": "external-dns"}));
        assert_eq!(values["logLevel"], "debug");
        assert_eq!(values["triggerLoopOnEvent"], true);
        assert_eq!(values["annotationPrefix"], "external-dns.kubernetes.io/");
        assert_eq!(values["txtOwnerId"], "c1");
        assert_eq!(values.get("txtPrefix"), None);
        assert_eq!(
            values["extraArgs"],
            json!([
                "--zone-id-filter=Z0123456789",
                "--enable-legacy-annotation-prefix",
                "{{ `--fqdn-template={{.Name}}.example.com` }}",
            ])
        );
    }

    #[test]
    fn mirrors_and_roles_are_kept() {
        let mut settings = Settings::new("us-east-1", "c1");
        settings.image = "mirror:5000/external-dns:v0.23.0@sha256:ab".to_owned();
        let values = values(&settings, Some("arn:aws:iam::111122223333:role/x"));
        assert_eq!(values["image"], json!({"repository": "mirror:5000/external-dns", "tag": "v0.23.0@sha256:ab"}));
        assert_eq!(
            values["serviceAccount"]["annotations"]["eks.amazonaws.com/role-arn"],
            "arn:aws:iam::111122223333:role/x"
        );
    }

    /// The chart joins repository and tag with `:`.
    #[test]
    fn a_digest_alone_is_cut_where_the_chart_joins() {
        let mut settings = Settings::new("us-east-1", "c1");
        settings.image = "mirror:5000/external-dns@sha256:ab".to_owned();
        let image = json!({"repository": "mirror:5000/external-dns@sha256", "tag": "ab"});
        assert_eq!(values(&settings, None)["image"], image);
    }

    #[test]
    fn the_charts_schema_holds() {
        let mut settings = Settings::new("us-east-1", "c1");
        settings.extra_args = ["--managed-record-types=A", "--nat64-networks=64:ff9b::/96"]
            .repeat(2)
            .into_iter()
            .map(str::to_owned)
            .collect();
        let values = values(&settings, None);
        assert_eq!(values["managedRecordTypes"], json!(["A"]));
        assert_eq!(
            values["extraArgs"].as_array().unwrap().iter().filter(|arg| arg.to_string().contains("nat64")).count(),
            1
        );
        assert_eq!(check(&settings), Ok(()));
        settings.extra_args = vec!["--log-level=trace".to_owned()];
        assert!(check(&settings).unwrap_err().contains("the chart takes panic, debug"));
    }
}
