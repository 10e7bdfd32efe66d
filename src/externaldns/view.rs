//! What an installation of ExternalDNS looks at, of its arguments or of the settings that it would get.

use serde_json::{Map, Value};

use super::args::Installed;
use super::filter::DomainFilter;
use super::objects;
use super::selector::Selector;
use super::settings::{Prefixes, Settings};
use super::version::{Feature, LEGACY_PREFIX, NEWEST, Version};

pub(super) const PUBLISH_INTERNAL: &str = "publish-internal-services";
pub(super) const IGNORE_ANNOTATION: &str = "ignore-hostname-annotation";
pub(super) const IGNORE_RULES: &str = "ignore-ingress-rules-spec";
pub(super) const IGNORE_TLS: &str = "ignore-ingress-tls-spec";
pub(super) const CREATE_PTR: &str = "create-ptr";

/// Switches that decide which hosts are seen.
const SWITCHES: &[&str] = &[PUBLISH_INTERNAL, IGNORE_ANNOTATION, IGNORE_RULES, IGNORE_TLS, CREATE_PTR];

/// Flags that make hosts of something that isn't read here: templates, and annotations of other tools.
const INVENTING: &[&str] = &["fqdn-template", "fqdn-target-template", "compatibility"];

/// What an installation looks at: the part of its settings that decides which hosts it sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// `--source`.
    pub sources: Vec<String>,
    /// Annotations that are read.
    pub prefixes: Prefixes,
    /// Domains looked after.
    pub domains: DomainFilter,
    /// `--ingress-class`.
    pub ingress_classes: Vec<String>,
    /// `--annotation-filter`.
    pub annotations: Selector,
    /// `--label-filter`.
    pub labels: Selector,
    /// `--namespace`; `None` for all.
    pub namespace: Option<String>,
    /// `--service-type-filter`; none means all.
    pub service_types: Vec<String>,
    /// `--managed-record-types` less `--exclude-record-types`.
    pub record_types: Vec<String>,
    /// Switches that are on: `publish-internal-services`, `ignore-hostname-annotation` and the like.
    pub switches: Vec<&'static str>,
    /// A flag such as `--fqdn-template` with which hosts can't be told from the objects.
    pub inventing: Option<&'static str>,
    /// The Gateways whose routes are looked at.
    pub gateways: Gateways,
    /// Objects that an annotation gives to another controller are seen, too.
    pub any_controller: bool,
    /// The annotation `aws-hosted-zone-id` is read.
    pub pins: bool,
}

/// `--gateway-namespace`, `--gateway-name` and `--gateway-label-filter`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateways {
    /// Their namespace; `None` for all.
    pub namespace: Option<String>,
    /// Their name; `None` for any.
    pub name: Option<String>,
    /// Their labels.
    pub labels: Selector,
    /// The annotation `controller` is read of them.
    pub controlled: bool,
    /// Routes of ListenerSets, which aren't read here, are looked at.
    pub listener_sets: bool,
}

impl Gateways {
    fn read<'a>(version: Version, text: impl Fn(&str) -> Option<&'a str>, on: impl Fn(&str) -> bool) -> Self {
        let owned = |name: &str| text(name).map(str::to_owned);
        Self {
            namespace: owned("gateway-namespace"),
            name: owned("gateway-name"),
            labels: selector(text("gateway-label-filter")),
            controlled: version.supports(Feature::GatewayController),
            listener_sets: on("gateway-listener-sets"),
        }
    }
}

impl View {
    /// What an installation that leaves nothing out would look at, with these annotations.
    pub fn open(prefix: &str, legacy: bool) -> Self {
        let prefixes = Prefixes { prefix: prefix.to_owned(), legacy };
        let sources: Vec<_> = objects::sources().map(str::to_owned).collect();
        let nothing = Self::with(NEWEST, &sources, prefixes, |_| None, |_| Vec::new(), |_| false);
        Self { any_controller: true, ..nothing }
    }

    /// What these sources and flags come to; domains, classes, labels and annotations are the caller's.
    fn with<'a>(
        version: Version,
        sources: &[String],
        prefixes: Prefixes,
        flag: impl Fn(&str) -> Option<&'a str>,
        all: impl Fn(&str) -> Vec<&'a str>,
        on: impl Fn(&str) -> bool,
    ) -> Self {
        let all = |flag: &str| all(flag).into_iter().map(str::to_owned).collect::<Vec<_>>();
        let text = |name: &str| flag(name).filter(|text| !text.is_empty());
        Self {
            sources: sources.to_vec(),
            prefixes,
            domains: DomainFilter::default(),
            ingress_classes: Vec::new(),
            annotations: Selector::default(),
            labels: Selector::default(),
            namespace: text("namespace").map(str::to_owned),
            service_types: all("service-type-filter"),
            record_types: record_types(all("managed-record-types"), &all("exclude-record-types")),
            switches: SWITCHES.iter().copied().filter(|flag| on(flag)).collect(),
            inventing: INVENTING.iter().copied().find(|flag| text(flag).is_some()),
            gateways: Gateways::read(version, text, &on),
            any_controller: false,
            pins: version.supports(Feature::ZonePin),
        }
    }

    /// True where a switch that decides which hosts are seen is on.
    pub(super) fn on(&self, switch: &str) -> bool {
        self.switches.contains(&switch)
    }

    /// The annotations of an object, as they are read.
    pub(super) fn annotations(&self, object: &Value) -> Map<String, Value> {
        with_legacy(object["metadata"]["annotations"].as_object().cloned().unwrap_or_default(), &self.prefixes)
    }

    /// The value of an annotation of ExternalDNS.
    pub(super) fn annotation<'a>(&self, annotations: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
        annotations.get(&format!("{}{name}", self.prefixes.prefix))?.as_str()
    }
}

impl From<&Settings> for View {
    fn from(settings: &Settings) -> Self {
        let (flag, all) = (|flag: &str| settings.extra(flag), |flag: &str| settings.extra_all(flag));
        Self {
            domains: DomainFilter::new(&settings.domain_filters, &settings.exclude_domains, settings.version),
            ingress_classes: settings.ingress_classes.clone(),
            annotations: selector(settings.annotation_filter.as_deref()),
            labels: selector(settings.label_filter.as_deref()),
            ..Self::with(settings.version, &settings.sources, settings.prefixes(), flag, all, |flag| {
                settings.extra_switch(flag)
            })
        }
    }
}

impl From<&Installed> for View {
    fn from(installed: &Installed) -> Self {
        let arguments = &installed.arguments;
        let (flag, all) = (|flag: &str| arguments.get(flag), |flag: &str| arguments.all(flag));
        let on = |flag: &str| arguments.bool(flag) == Some(true);
        Self {
            domains: installed.domain_filter(),
            ingress_classes: installed.ingress_classes.clone(),
            annotations: selector(installed.annotation_filter.as_deref()),
            labels: selector(installed.label_filter.as_deref()),
            ..Self::with(installed.rules(), &installed.sources, installed.prefixes(), flag, all, on)
        }
    }
}

fn selector(text: Option<&str>) -> Selector {
    Selector::parse(text.unwrap_or_default()).unwrap_or_default()
}

fn record_types(managed: Vec<String>, excluded: &[String]) -> Vec<String> {
    let managed = if managed.is_empty() { ["A", "AAAA", "CNAME"].map(str::to_owned).to_vec() } else { managed };
    managed.into_iter().filter(|kind| !excluded.contains(kind)).collect()
}

/// The old keys under the new prefix too; where both are set, the new one stays.
fn with_legacy(mut annotations: Map<String, Value>, prefixes: &Prefixes) -> Map<String, Value> {
    if !prefixes.legacy {
        return annotations;
    }
    let twin = |(key, value): (&String, &Value)| {
        let name = key.strip_prefix(LEGACY_PREFIX)?;
        Some((format!("{}{name}", prefixes.prefix), value.clone()))
    };
    let twins: Vec<_> = annotations.iter().filter_map(twin).collect();
    for (key, value) in twins {
        annotations.entry(key).or_insert(value);
    }
    annotations
}
