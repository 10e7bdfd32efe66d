//! What ExternalDNS reads in Kubernetes, by source and version.

use serde_json::{Value, json};

use super::args::Arguments;
use super::settings::Settings;
use super::sources::{Source, TRAEFIK, find};
use super::version::{Feature, Version};

const GATEWAY: &str = "gateway.networking.k8s.io";
const READ: &[&str] = &["get", "watch", "list"];
const WATCH: &[&str] = &["list", "watch"];

/// A rule of a ClusterRole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// API group, empty for the core.
    pub group: String,
    /// Resources, plural and lower case, subresources after `/`.
    pub resources: Vec<String>,
    /// Verbs.
    pub verbs: &'static [&'static str],
}

impl Rule {
    fn new(group: &str, resources: &[&str], verbs: &'static [&'static str]) -> Self {
        Self { group: group.to_owned(), resources: resources.iter().map(|&name| name.to_owned()).collect(), verbs }
    }

    /// The namespace in which ExternalDNS lists a resource of the rule, where it isn't all of them: `--namespace` doesn't
    /// count for what has no namespace, nor for Gateways, which have a flag of their own, and ListenerSets.
    pub fn namespace<'a>(&self, resource: &str, arguments: &'a Arguments) -> Option<&'a str> {
        let namespace = match (self.group.as_str(), resource) {
            ("", "nodes" | "namespaces") | (GATEWAY, "listenersets") => None,
            (GATEWAY, "gateways") => arguments.get("gateway-namespace"),
            _ => arguments.get("namespace"),
        };
        namespace.filter(|name| !name.is_empty())
    }

    /// As it stands in a ClusterRole.
    pub fn to_value(&self) -> Value {
        json!({"apiGroups": [self.group], "resources": self.resources, "verbs": self.verbs})
    }
}

/// Built-in resources in the order of the ClusterRole.
const BUILT_IN: &[(&str, &str, &[&str])] = &[
    ("nodes", "", WATCH),
    ("pods", "", READ),
    ("services", "", READ),
    ("endpoints", "", READ),
    ("endpointslices", "discovery.k8s.io", READ),
    ("ingresses", "networking.k8s.io", READ),
    ("namespaces", "", READ),
];

/// The rules of the ClusterRole: what the sources need in this version, and nothing else.
pub fn rules(settings: &Settings) -> Vec<Rule> {
    let sources: Vec<_> = settings.sources.iter().filter_map(|name| find(name)).collect();
    let mut needed: Vec<&str> = sources.iter().flat_map(|source| built_in(source, settings)).collect();
    if !settings.version.supports(Feature::EndpointSlices) {
        needed.iter_mut().filter(|name| **name == "endpointslices").for_each(|name| *name = "endpoints");
    }
    let wanted = BUILT_IN.iter().filter(|(name, ..)| needed.contains(name));
    let mut rules: Vec<Rule> = wanted.map(|(name, group, verbs)| Rule::new(group, &[name], verbs)).collect();
    for source in &sources {
        for (group, resources) in source.custom.iter().filter(|_| source.name != CRD) {
            if *group != "traefik.containo.us" || legacy_traefik(settings) {
                add(&mut rules, Rule::new(group, resources, READ));
            }
        }
        match source.name {
            CRD => {
                let (group, _, resource) = crd(settings);
                add(&mut rules, Rule::new(&group, &[&resource], READ));
                add(&mut rules, Rule::new(&group, &[&format!("{resource}/status")], &["update"]));
            }
            "skipper-routegroup" => {
                add(&mut rules, Rule::new("zalando.org", &["routegroups/status"], &["patch", "update"]));
            }
            "unstructured" => unstructured(settings).for_each(|(group, _, resource)| {
                add(&mut rules, Rule::new(group, &[resource], READ));
            }),
            name if name.starts_with("gateway-") && settings.extra_switch("gateway-listener-sets") => {
                add(&mut rules, Rule::new(GATEWAY, &["listenersets"], READ));
            }
            _ => {}
        }
    }
    if settings.extra("events-emit").is_some() {
        add(&mut rules, Rule::new("events.k8s.io", &["events"], &["create"]));
    }
    rules
}

/// What the source reads of the built-in resources. Of Services, only those of type NodePort need nodes, and only they and
/// those of type ClusterIP need pods and endpoints.
fn built_in(source: &Source, settings: &Settings) -> Vec<&'static str> {
    let types = settings.extra_all("service-type-filter");
    let trimmed = source.name == "service" && !types.is_empty() && settings.version.supports(Feature::ServiceTypeTrims);
    let needed = |name: &&str| match *name {
        "nodes" => types.contains(&"NodePort"),
        "pods" | "endpointslices" => types.contains(&"NodePort") || types.contains(&"ClusterIP"),
        _ => true,
    };
    source.built_in.iter().copied().filter(|name| !trimmed || needed(name)).collect()
}

/// The old group of Traefik is read up to v0.18 unless switched off, later only if switched on.
fn legacy_traefik(settings: &Settings) -> bool {
    if super::flags::check("traefik-enable-legacy", settings.version).is_ok() {
        return settings.extra_switch("traefik-enable-legacy");
    }
    !settings.extra_switch("traefik-disable-legacy")
}

const CRD: &str = "crd";

/// Group, version and resource of what source crd reads: up to v0.20 what two flags say, which later versions ignore
/// (`source/crd.go`).
fn crd(settings: &Settings) -> (String, String, String) {
    let chosen = settings.version.supports(Feature::CrdSourceChosen);
    let said = |flag: &str, default| settings.extra(flag).filter(|_| chosen).unwrap_or(default);
    let api = said("crd-source-apiversion", "externaldns.k8s.io/v1alpha1");
    let (group, version) = api.split_once('/').unwrap_or(("", api));
    owned(group, version, &format!("{}s", said("crd-source-kind", "DNSEndpoint").to_lowercase()))
}

/// Group, version and resource of each `--unstructured-resource=resource.version.group`.
fn unstructured(settings: &Settings) -> impl Iterator<Item = (&str, &str, &str)> {
    settings.extra_all("unstructured-resource").into_iter().filter_map(|text| {
        let mut parts = text.splitn(3, '.');
        let (resource, version) = (parts.next()?, parts.next()?);
        Some((parts.next().unwrap_or_default(), version, resource))
    })
}

/// Adds a rule, its resources joined to those of a rule of the same group and verbs.
fn add(rules: &mut Vec<Rule>, rule: Rule) {
    let same = |other: &&mut Rule| other.group == rule.group && other.verbs == rule.verbs;
    match rules.iter_mut().find(same) {
        Some(other) if !rule.group.is_empty() => {
            for resource in rule.resources {
                if !other.resources.contains(&resource) {
                    other.resources.push(resource);
                }
            }
        }
        _ => rules.push(rule),
    }
}

/// Group, version and plural of the custom resources that a source reads in a version of
/// ExternalDNS. Where the API server doesn't serve one of them, the process exits after a minute.
pub fn required_apis(source: &str, version: Version) -> Vec<(String, String, String)> {
    let Some(source) = find(source) else { return Vec::new() };
    let legacy = super::flags::check("traefik-enable-legacy", version).is_err();
    let groups = source.custom.iter().filter(|(group, _)| *group != "traefik.containo.us" || legacy);
    groups
        .flat_map(|(group, resources)| resources.iter().map(move |resource| (*group, *resource)))
        .map(|(group, resource)| {
            (group.to_owned(), api_version(group, resource, version).to_owned(), resource.to_owned())
        })
        .collect()
}

/// All custom resources that these settings need the API server to serve.
pub fn apis(settings: &Settings) -> Vec<(String, String, String)> {
    let mut apis: Vec<_> = settings.sources.iter().flat_map(|source| apis_of(source, settings)).collect();
    apis.sort();
    apis.dedup();
    apis
}

/// The [`required_apis`] of a source with these settings.
pub fn apis_of(source: &str, settings: &Settings) -> Vec<(String, String, String)> {
    let mut apis = required_apis(source, settings.version);
    match source {
        CRD => apis = vec![crd(settings)],
        "traefik-proxy" => {
            apis.retain(|(group, ..)| group == "traefik.io" && !settings.extra_switch("traefik-disable-new"));
            let legacy = TRAEFIK.iter().filter(|_| legacy_traefik(settings));
            apis.extend(legacy.map(|kind| owned("traefik.containo.us", "v1alpha1", kind)));
        }
        "unstructured" => apis.extend(unstructured(settings).map(|(group, version, kind)| owned(group, version, kind))),
        name if name.starts_with("gateway-") && settings.extra_switch("gateway-listener-sets") => {
            apis.push(owned("gateway.networking.k8s.io", "v1", "listenersets"));
        }
        _ => {}
    }
    apis
}

fn owned(group: &str, version: &str, kind: &str) -> (String, String, String) {
    (group.to_owned(), version.to_owned(), kind.to_owned())
}

/// The API version that a version of ExternalDNS reads.
fn api_version(group: &str, resource: &str, version: Version) -> &'static str {
    let either = |feature, yes, no| if version.supports(feature) { yes } else { no };
    match (group, resource) {
        ("gateway.networking.k8s.io", "gateways" | "httproutes") => either(Feature::GatewayV1, "v1", "v1beta1"),
        ("gateway.networking.k8s.io", "grpcroutes") => either(Feature::GrpcRouteV1, "v1", "v1alpha2"),
        ("gateway.networking.k8s.io", "tlsroutes") => either(Feature::TlsRouteV1, "v1", "v1alpha2"),
        ("gateway.networking.k8s.io", _) => "v1alpha2",
        ("networking.istio.io", _) => {
            either(Feature::IstioV1, "v1", either(Feature::IstioV1beta1, "v1beta1", "v1alpha3"))
        }
        ("externaldns.k8s.io" | "traefik.io" | "traefik.containo.us", _) => "v1alpha1",
        ("getambassador.io", _) => "v2",
        ("configuration.konghq.com", _) => "v1beta1",
        _ => "v1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(sources: &[&str], version: &str) -> Settings {
        let mut settings = Settings::new("us-east-1", "c1");
        settings.sources = sources.iter().map(|&source| source.to_owned()).collect();
        settings.version = version.parse().unwrap();
        settings
    }

    fn shown(settings: &Settings) -> Vec<String> {
        let line = |rule: &Rule| format!("{}/{} {}", rule.group, rule.resources.join(","), rule.verbs.join(","));
        rules(settings).iter().map(line).collect()
    }

    #[test]
    fn l1_service_and_ingress() {
        assert_eq!(
            shown(&settings(&["service", "ingress"], "0.23.0")),
            [
                "/nodes list,watch",
                "/pods get,watch,list",
                "/services get,watch,list",
                "discovery.k8s.io/endpointslices get,watch,list",
                "networking.k8s.io/ingresses get,watch,list",
            ]
        );
    }

    #[test]
    fn l3_ingress_alone_reads_only_ingresses() {
        assert_eq!(shown(&settings(&["ingress"], "0.23.0")), ["networking.k8s.io/ingresses get,watch,list"]);
    }

    #[test]
    fn l6_crd_and_traefik() {
        assert_eq!(
            shown(&settings(&["crd", "traefik-proxy"], "0.18.0")),
            [
                "externaldns.k8s.io/dnsendpoints get,watch,list",
                "externaldns.k8s.io/dnsendpoints/status update",
                "traefik.io/ingressroutes,ingressroutetcps,ingressrouteudps get,watch,list",
                "traefik.containo.us/ingressroutes,ingressroutetcps,ingressrouteudps get,watch,list",
            ]
        );
        assert!(!shown(&settings(&["traefik-proxy"], "0.19.0")).iter().any(|rule| rule.contains("containo")));
    }

    #[test]
    fn l9_gateway_routes() {
        let mut settings = settings(&["gateway-httproute", "gateway-grpcroute"], "0.23.0");
        assert_eq!(
            shown(&settings),
            ["/namespaces get,watch,list", "gateway.networking.k8s.io/gateways,httproutes,grpcroutes get,watch,list"]
        );
        settings.extra_args = vec!["--gateway-listener-sets".to_owned()];
        assert!(shown(&settings)[1].contains("listenersets"));
    }

    #[test]
    fn l10_service_reads_endpoints_before_v018() {
        let old = shown(&settings(&["service"], "0.17.0"));
        assert!(old.contains(&"/endpoints get,watch,list".to_owned()));
        assert!(!old.iter().any(|rule| rule.contains("endpointslices")));
        assert!(shown(&settings(&["service"], "0.18.0")).iter().any(|rule| rule.contains("endpointslices")));
    }

    #[test]
    fn what_services_need_follows_from_their_types() {
        let read = |version: &str, types: &[&str]| {
            let mut settings = settings(&["service"], version);
            settings.extra_args = types.iter().map(|name| format!("--service-type-filter={name}")).collect();
            let resources = rules(&settings).into_iter().flat_map(|rule| rule.resources);
            resources.collect::<Vec<_>>().join(" ")
        };
        let all = "nodes pods services endpointslices";
        for (types, resources) in [
            (&[][..], all),
            (&["LoadBalancer"], "services"),
            (&["ExternalName"], "services"),
            (&["LoadBalancer", "ClusterIP"], "pods services endpointslices"),
            (&["NodePort"], all),
        ] {
            assert_eq!(read("0.19.0", types), resources, "{types:?}");
            assert_eq!(read("0.18.0", types), all, "{types:?}");
        }
        let mut settings = settings(&["service", "node"], "0.23.0");
        settings.extra_args =
            ["--service-type-filter=LoadBalancer", "--events-emit=RecordReady"].map(str::to_owned).into();
        let with_nodes = ["/nodes list,watch", "/services get,watch,list", "events.k8s.io/events create"];
        assert_eq!(shown(&settings), with_nodes, "another source needs them");
    }

    #[test]
    fn gateways_have_a_namespace_of_their_own() {
        let within = |arguments: &[&str], group: &str, resource: &str| {
            let arguments: Vec<_> = arguments.iter().map(|&text| text.to_owned()).collect();
            let arguments = Arguments::parse(&arguments, &[]);
            Rule::new(group, &[resource], READ).namespace(resource, &arguments).map(str::to_owned)
        };
        let both = ["--namespace=web", "--gateway-namespace=infra"];
        for (group, resource, namespace) in [
            (GATEWAY, "gateways", Some("infra")),
            (GATEWAY, "httproutes", Some("web")),
            (GATEWAY, "listenersets", None),
            ("networking.istio.io", "gateways", Some("web")),
            ("", "services", Some("web")),
            ("", "nodes", None),
            ("", "namespaces", None),
        ] {
            assert_eq!(within(&both, group, resource).as_deref(), namespace, "{group}/{resource}");
        }
        assert_eq!(within(&["--namespace=web"], GATEWAY, "gateways"), None, "all Gateways are read");
        assert_eq!(within(&["--namespace="], "", "services"), None);
    }

    #[test]
    fn api_versions_follow_the_version() {
        let of = |source, version: &str| {
            let apis = required_apis(source, version.parse().unwrap());
            apis.into_iter().map(|(group, version, kind)| format!("{kind}.{version}.{group}")).collect::<Vec<_>>()
        };
        assert_eq!(of("ingress", "0.23.0"), [""; 0]);
        assert_eq!(
            of("gateway-httproute", "0.20.0"),
            ["gateways.v1beta1.gateway.networking.k8s.io", "httproutes.v1beta1.gateway.networking.k8s.io"]
        );
        assert_eq!(
            of("gateway-tlsroute", "0.22.0"),
            ["gateways.v1.gateway.networking.k8s.io", "tlsroutes.v1.gateway.networking.k8s.io"]
        );
        assert_eq!(of("crd", "0.23.0"), ["dnsendpoints.v1alpha1.externaldns.k8s.io"]);
        assert_eq!(of("istio-gateway", "0.20.0"), ["gateways.v1beta1.networking.istio.io"]);
        let mut unstructured = settings(&["unstructured"], "0.21.0");
        unstructured.extra_args = vec!["--unstructured-resource=ipaddresspools.v1beta1.metallb.io".to_owned()];
        assert_eq!(apis(&unstructured), [owned("metallb.io", "v1beta1", "ipaddresspools")]);
        assert_eq!(shown(&unstructured), ["metallb.io/ipaddresspools get,watch,list"]);
    }

    #[test]
    fn apis_follow_the_arguments() {
        let of = |source: &str, version: &str, extra: &str| {
            let mut settings = settings(&[source], version);
            settings.extra_args = vec![extra.to_owned()];
            let kinds = apis(&settings).into_iter();
            let all: Vec<_> = kinds.map(|(group, version, kind)| format!("{kind}.{version}.{group}")).collect();
            all.into_iter().filter(|api| !api.contains("tcps") && !api.contains("udps")).collect::<Vec<_>>()
        };
        let [new, legacy] = ["ingressroutes.v1alpha1.traefik.io", "ingressroutes.v1alpha1.traefik.containo.us"];
        assert_eq!(of("traefik-proxy", "0.18.0", "--traefik-disable-legacy"), [new]);
        assert_eq!(of("traefik-proxy", "0.18.0", "--traefik-disable-new"), [legacy]);
        assert_eq!(of("traefik-proxy", "0.19.0", "--traefik-enable-legacy"), [legacy, new]);
        assert_eq!(of("gateway-httproute", "0.21.0", "--gateway-listener-sets").len(), 3);
        assert_eq!(of("ingress", "0.21.0", "--gateway-listener-sets"), [""; 0]);
    }

    #[test]
    fn what_source_crd_reads_could_be_chosen_up_to_v020() {
        let mut settings = settings(&["crd"], "0.20.0");
        settings.extra_args =
            vec!["--crd-source-apiversion=example.com/v1".to_owned(), "--crd-source-kind=Host".to_owned()];
        assert_eq!(apis(&settings), [owned("example.com", "v1", "hosts")]);
        assert_eq!(shown(&settings), ["example.com/hosts get,watch,list", "example.com/hosts/status update"]);
        settings.version = "0.21.0".parse().unwrap();
        assert_eq!(apis(&settings), [owned("externaldns.k8s.io", "v1alpha1", "dnsendpoints")]);
        assert!(shown(&settings)[0].starts_with("externaldns.k8s.io/dnsendpoints"));
    }
}
