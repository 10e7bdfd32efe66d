//! The kinds of objects that may ask for hosts, and their names in TXT records.

use std::collections::BTreeSet;

use serde_json::Value;

/// Kinds of objects whose hosts can be read here, with their source and their name in TXT records.
pub(super) const KINDS: &[(&str, &str, &str)] = &[
    ("Ingress", "ingress", "ingress"),
    ("Service", "service", "service"),
    ("DNSEndpoint", "crd", "crd"),
    ("HTTPRoute", "gateway-httproute", "httproute"),
    ("GRPCRoute", "gateway-grpcroute", "grpcroute"),
    ("TLSRoute", "gateway-tlsroute", "tlsroute"),
    ("TCPRoute", "gateway-tcproute", "tcproute"),
    ("UDPRoute", "gateway-udproute", "udproute"),
];

/// Custom resources in which hosts can be read, with group and plural.
pub const CUSTOM: &[(&str, &str, &str)] = &[
    ("gateway.networking.k8s.io", "Gateway", "gateways"),
    ("gateway.networking.k8s.io", "HTTPRoute", "httproutes"),
    ("gateway.networking.k8s.io", "GRPCRoute", "grpcroutes"),
    ("gateway.networking.k8s.io", "TLSRoute", "tlsroutes"),
    ("gateway.networking.k8s.io", "TCPRoute", "tcproutes"),
    ("gateway.networking.k8s.io", "UDPRoute", "udproutes"),
    ("externaldns.k8s.io", "DNSEndpoint", "dnsendpoints"),
];

/// Names in TXT records of kinds whose hosts can't be read here, with their sources.
pub(super) const OTHERS: &[(&str, &[&str])] = &[
    ("node", &["node"]),
    ("pod", &["pod"]),
    ("gateway", &["istio-gateway"]),
    ("virtualservice", &["istio-virtualservice"]),
    ("httpproxy", &["contour-httpproxy"]),
    ("proxy", &["gloo-proxy"]),
    ("route", &["openshift-route"]),
    ("routegroup", &["skipper-routegroup"]),
    ("ingressroute", &["traefik-proxy"]),
    ("ingressroutetcp", &["traefik-proxy"]),
    ("ingressrouteudp", &["traefik-proxy"]),
    ("host", &["ambassador-host"]),
    ("tcpingress", &["kong-tcpingress"]),
    ("f5-virtualserver", &["f5-virtualserver"]),
    ("f5-transportserver", &["f5-transportserver"]),
];

/// True for a source whose hosts can be read here.
pub fn is_readable(source: &str) -> bool {
    KINDS.iter().any(|(_, known, _)| *known == source)
}

/// The sources whose hosts can be read here.
pub(super) fn sources() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(_, source, _)| *source)
}

/// The names of the objects in TXT records: `kind/namespace/name`.
pub fn resource_names(objects: &[Value]) -> BTreeSet<String> {
    objects.iter().filter_map(resource).collect()
}

pub(super) fn kind(object: &Value) -> Option<&'static (&'static str, &'static str, &'static str)> {
    let kind = object["kind"].as_str()?;
    KINDS.iter().find(|(name, ..)| *name == kind)
}

/// `kind/namespace/name`, as in ownership TXT records.
pub(crate) fn resource(object: &Value) -> Option<String> {
    let (.., name) = kind(object)?;
    let metadata = &object["metadata"];
    Some(format!("{name}/{}/{}", metadata["namespace"].as_str().unwrap_or("default"), metadata["name"].as_str()?))
}

/// The items of a list; none where there is no list.
pub(super) fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}
