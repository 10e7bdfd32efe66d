//! The sources of ExternalDNS: in which versions they exist, and what they read.

use super::version::Version;

/// A source, the versions that have it and what it reads.
pub(super) struct Source {
    pub(super) name: &'static str,
    pub(super) since: Version,
    pub(super) until: Option<Version>,
    /// Names of built-in resources, with their verbs in `rbac`.
    pub(super) built_in: &'static [&'static str],
    /// Group and resources of others.
    pub(super) custom: &'static [(&'static str, &'static [&'static str])],
}

const ALWAYS: Version = Version::new(0, 0);
pub(super) const TRAEFIK: &[&str] = &["ingressroutes", "ingressroutetcps", "ingressrouteudps"];

const fn source(
    name: &'static str,
    built_in: &'static [&'static str],
    custom: &'static [(&'static str, &'static [&'static str])],
) -> Source {
    Source { name, since: ALWAYS, until: None, built_in, custom }
}

/// Source: ClusterRole of the Helm chart of ExternalDNS, and the informers that each source starts.
const SOURCES: &[Source] = &[
    source("service", &["nodes", "pods", "services", "endpointslices"], &[]),
    source("ingress", &["ingresses"], &[]),
    source("node", &["nodes"], &[]),
    source("pod", &["nodes", "pods"], &[]),
    source("crd", &[], &[("externaldns.k8s.io", &["dnsendpoints"])]),
    source("gateway-httproute", &["namespaces"], &[("gateway.networking.k8s.io", &["gateways", "httproutes"])]),
    source("gateway-grpcroute", &["namespaces"], &[("gateway.networking.k8s.io", &["gateways", "grpcroutes"])]),
    source("gateway-tlsroute", &["namespaces"], &[("gateway.networking.k8s.io", &["gateways", "tlsroutes"])]),
    source("gateway-tcproute", &["namespaces"], &[("gateway.networking.k8s.io", &["gateways", "tcproutes"])]),
    source("gateway-udproute", &["namespaces"], &[("gateway.networking.k8s.io", &["gateways", "udproutes"])]),
    source("istio-gateway", &["services", "ingresses"], &[("networking.istio.io", &["gateways"])]),
    source(
        "istio-virtualservice",
        &["services", "ingresses"],
        &[("networking.istio.io", &["gateways", "virtualservices"])],
    ),
    source(
        "contour-httpproxy",
        &["nodes", "pods", "services", "ingresses"],
        &[("projectcontour.io", &["httpproxies"])],
    ),
    source(
        "gloo-proxy",
        &["nodes", "pods", "services", "ingresses"],
        &[("gloo.solo.io", &["proxies"]), ("gateway.solo.io", &["virtualservices", "gateways"])],
    ),
    source("openshift-route", &["nodes", "pods", "services", "ingresses"], &[("route.openshift.io", &["routes"])]),
    source("skipper-routegroup", &["nodes", "pods", "services", "ingresses"], &[("zalando.org", &["routegroups"])]),
    source("traefik-proxy", &[], &[("traefik.io", TRAEFIK), ("traefik.containo.us", TRAEFIK)]),
    source("ambassador-host", &["services"], &[("getambassador.io", &["hosts"])]),
    source("kong-tcpingress", &[], &[("configuration.konghq.com", &["tcpingresses"])]),
    source("f5-virtualserver", &[], &[("cis.f5.com", &["virtualservers"])]),
    Source {
        since: Version::new(16, 0),
        ..source("f5-transportserver", &[], &[("cis.f5.com", &["transportservers"])])
    },
    Source { since: Version::new(21, 0), ..source("unstructured", &[], &[]) },
];

/// Sources that exist and that irsactl doesn't install, and why.
const REFUSED: &[(&str, &str)] = &[
    ("cloudfoundry", "it reads Cloud Foundry, not Kubernetes"),
    ("fake", "it makes up hostnames"),
    ("empty", "it never yields a hostname"),
    ("connector", "it reads a server outside Kubernetes"),
];

/// Checks that `version` has a source that irsactl installs.
///
/// # Errors
/// Names the version that has it, or the sources there are.
pub fn check_source(name: &str, version: Version) -> Result<(), String> {
    match REFUSED.iter().find(|(refused, _)| *refused == name) {
        Some((_, why)) => Err(format!("source {name}: {why}")),
        None => check_exists(name, version),
    }
}

/// Checks that `version` has a source, be it one that irsactl doesn't install.
///
/// # Errors
/// Names the version that has it, or the sources there are.
pub fn check_exists(name: &str, version: Version) -> Result<(), String> {
    if REFUSED.iter().any(|(refused, _)| *refused == name) {
        return Ok(());
    }
    let Some(source) = find(name) else {
        let all: Vec<_> = SOURCES.iter().map(|source| source.name).collect();
        return Err(format!("`{name}` is not a source of ExternalDNS; there are {}", all.join(", ")));
    };
    if version < source.since {
        return Err(format!("source {name} needs ExternalDNS {} or later, and this is {version}", source.since));
    }
    match source.until {
        Some(until) if version >= until => Err(format!("source {name} was removed in ExternalDNS {until}")),
        _ => Ok(()),
    }
}

pub(super) fn find(name: &str) -> Option<&'static Source> {
    SOURCES.iter().find(|source| source.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_sources_are_refused() {
        let refusal = |name, version: &str| check_source(name, version.parse().unwrap()).unwrap_err();
        assert!(refusal("unstructured", "0.20.0").contains("v0.21.0 or later"));
        assert!(refusal("f5-transportserver", "0.15.0").contains("v0.16.0"));
        assert!(refusal("services", "0.23.0").contains("gateway-httproute"));
        assert!(refusal("fake", "0.23.0").contains("makes up"));
    }
}
