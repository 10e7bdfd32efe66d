//! Which hosts a route of the Gateway API has, and the addresses of its Gateways, as ExternalDNS resolves them. Source:
//! `source/gateway.go` of ExternalDNS.

use serde_json::Value;

use super::objects::items;
use super::target::{Target, known, told};
use super::view::View;

const GROUP: &str = "gateway.networking.k8s.io";

fn is_gateway(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    object["kind"] == "Gateway" && version.starts_with(GROUP)
}

/// `gateway/namespace/name` of a Gateway.
pub(super) fn resource(object: &Value) -> Option<String> {
    let metadata = is_gateway(object).then(|| &object["metadata"])?;
    Some(format!("gateway/{}/{}", metadata["namespace"].as_str().unwrap_or("default"), metadata["name"].as_str()?))
}

/// A Gateway that the installation looks at.
pub(super) fn seen<'v>(object: &'v Value, view: &View) -> Option<&'v Value> {
    let metadata = &object["metadata"];
    let is = |wanted: &Option<String>, key: &str| wanted.as_deref().is_none_or(|wanted| metadata[key] == wanted);
    let chosen = is(&view.gateways.namespace, "namespace") && is(&view.gateways.name, "name");
    let labelled = view.gateways.labels.matches(metadata["labels"].as_object());
    let annotations = view.annotations(object);
    let ours = view.annotation(&annotations, "controller").is_none_or(|name| name == "dns-controller");
    let controller = ours || !view.gateways.controlled;
    (is_gateway(object) && chosen && labelled && controller).then_some(object)
}

/// The hosts of a route, with the addresses of the Gateways whose listeners take it; `own` are those that the route and
/// its annotations name.
pub(super) fn resolve(route: &Value, own: &[String], gateways: &[&Value], view: &View) -> Vec<(String, Target)> {
    let any = items(route.pointer("/spec/hostnames")).next().is_none();
    let own: Vec<&str> = own.iter().map(String::as_str).chain(any.then_some("")).collect();
    let mut found: Vec<(String, Target)> = Vec::new();
    let mut matched = vec![false; own.len()];
    for (gateway, listener) in listeners(route, gateways) {
        let addresses = || items(gateway.pointer("/status/addresses")).filter_map(|at| at["value"].as_str());
        let target = told(&view.annotations(gateway), view).or_else(|| known(addresses().map(str::to_owned)));
        let name = listener["hostname"].as_str().unwrap_or_default();
        for (host, matched) in own.iter().zip(&mut matched) {
            let Some(host) = overlap(name, host) else { continue };
            *matched = true;
            add(&mut found, host, target.as_ref());
        }
    }
    // A ListenerSet isn't read here: what it takes, and where that points to, only ExternalDNS can tell.
    let untold = view.gateways.listener_sets && accepted(route).any(|parent| parent["kind"] == "ListenerSet");
    if untold {
        found = found.into_iter().map(|(host, _)| (host, Some(Vec::new()))).collect();
    }
    let waiting = own.iter().zip(matched).filter(|(host, matched)| !matched && !host.is_empty());
    found.extend(waiting.map(|(host, _)| ((*host).to_owned(), untold.then(Vec::new))));
    found
}

fn add(found: &mut Vec<(String, Target)>, host: String, target: Option<&Vec<String>>) {
    match found.iter_mut().find(|(known, _)| *known == host) {
        Some((_, targets)) => {
            let more = target.into_iter().flatten().cloned();
            *targets = known(targets.take().into_iter().flatten().chain(more));
        }
        None => found.push((host, target.cloned())),
    }
}

/// The listeners to which a route is attached: those of its parents that accept it.
fn listeners<'v>(route: &'v Value, gateways: &'v [&'v Value]) -> impl Iterator<Item = (&'v Value, &'v Value)> {
    accepted(route)
        .filter(|parent| is_or_absent(&parent["group"], GROUP) && is_or_absent(&parent["kind"], "Gateway"))
        .flat_map(move |parent| {
            let namespace = parent["namespace"].as_str().or_else(|| route["metadata"]["namespace"].as_str());
            let named = move |gateway: &&&Value| {
                let metadata = &gateway["metadata"];
                metadata["name"] == parent["name"] && metadata["namespace"].as_str() == namespace
            };
            gateways.iter().filter(named).flat_map(move |gateway| {
                let taken = move |listener: &&Value| takes(listener, gateway, parent, route);
                items(gateway.pointer("/spec/listeners")).filter(taken).map(move |listener| (*gateway, listener))
            })
        })
}

/// The parents of a route that accept it.
fn accepted(route: &Value) -> impl Iterator<Item = &Value> {
    let accepts = |parent: &&Value| {
        let mut conditions = items(parent.get("conditions"));
        conditions.any(|condition| condition["type"] == "Accepted" && condition["status"] == "True")
    };
    items(route.pointer("/status/parents")).filter(accepts).map(|parent| &parent["parentRef"])
}

fn is_or_absent(value: &Value, wanted: &str) -> bool {
    value.is_null() || value == wanted
}

/// True for a listener of the section, port and protocol that a route is attached to.
fn takes(listener: &Value, gateway: &Value, parent: &Value, route: &Value) -> bool {
    let protocol = match route["kind"].as_str() {
        Some("TLSRoute") => "TLS",
        Some("TCPRoute") => "TCP",
        Some("UDPRoute") => "UDP",
        _ => "HTTP",
    };
    let spoken = listener["protocol"].as_str().unwrap_or_default();
    let spoken = if spoken == "HTTPS" { "HTTP" } else { spoken };
    let same = |key: &str, of: &str| parent[key].is_null() || parent[key] == listener[of];
    let allowed = &listener["allowedRoutes"];
    let mut kinds = items(allowed.get("kinds")).peekable();
    let of_kind = kinds.peek().is_none() || kinds.any(|kind| kind["kind"] == route["kind"]);
    let from = allowed["namespaces"]["from"].as_str().unwrap_or("Same");
    let beside = route["metadata"]["namespace"] == gateway["metadata"]["namespace"];
    spoken == protocol && same("sectionName", "name") && same("port", "port") && of_kind && (from != "Same" || beside)
}

/// The host that a listener and a route have in common; empty stands for any, and any with any is none.
fn overlap(listener: &str, route: &str) -> Option<String> {
    let (listener, route) = (listener.to_lowercase(), route.to_lowercase());
    let covers = |wide: &str, narrow: &str| {
        let below = wide.strip_prefix('*').is_some_and(|rest| narrow.len() > rest.len() && narrow.ends_with(rest));
        wide.is_empty() || wide == narrow || below
    };
    let host = match (listener.as_str(), route.as_str()) {
        (wide, narrow) | (narrow, wide) if !narrow.is_empty() && covers(wide, narrow) => narrow.to_owned(),
        _ => return None,
    };
    Some(host)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::hosts::desired_hosts;
    use super::super::version::PREFIX;
    use super::super::view::Gateways;
    use super::*;

    fn gateway(listeners: &Value) -> Value {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "gw", "namespace": "infra", "labels": {"dns": "yes"}},
            "spec": {"listeners": listeners},
            "status": {"addresses": [{"value": "GW.us-east-1.elb.amazonaws.com."}]},
        })
    }

    fn route(kind: &str, hostnames: &[&str], accepted: &str) -> Value {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": kind,
            "metadata": {"name": "r", "namespace": "app"},
            "spec": {"hostnames": hostnames},
            "status": {"parents": [{
                "parentRef": {"name": "gw", "namespace": "infra", "sectionName": "web"},
                "conditions": [{"type": "Accepted", "status": accepted}],
            }]},
        })
    }

    fn listener(hostname: &str, protocol: &str, from: &str) -> Value {
        let mut listener =
            json!({"name": "web", "protocol": protocol, "port": 80, "allowedRoutes": {"namespaces": {"from": from}}});
        if !hostname.is_empty() {
            listener["hostname"] = json!(hostname);
        }
        listener
    }

    fn shown(objects: &[Value], view: &View) -> Vec<String> {
        let desired = desired_hosts(objects, view).into_iter();
        let target = |has: bool, targets: Vec<String>| if has { targets.join(",") } else { "-".to_owned() };
        desired.map(|one| format!("{} {}", one.host, target(one.has_target, one.targets))).collect()
    }

    #[test]
    fn what_a_listener_set_takes_can_not_be_told() {
        let mut of_set = route("HTTPRoute", &["a.example.com"], "True");
        of_set["status"]["parents"][0]["parentRef"]["kind"] = json!("ListenerSet");
        let objects = [gateway(&json!([listener("", "HTTP", "All")])), of_set];
        let view = View::open(PREFIX, false);
        assert_eq!(shown(&objects, &view), ["a.example.com -"]);
        let gateways = Gateways { listener_sets: true, ..view.gateways.clone() };
        assert_eq!(shown(&objects, &View { gateways, ..view }), ["a.example.com "]);
    }

    #[test]
    fn a_gateway_of_another_controller_is_left_since_v0_23() {
        let mut other = gateway(&json!([listener("", "HTTP", "All")]));
        other["metadata"]["annotations"] = json!({(format!("{PREFIX}controller")): "other"});
        let view = View::open(PREFIX, false);
        assert!(seen(&other, &view).is_none());
        let gateways = Gateways { controlled: false, ..view.gateways.clone() };
        assert!(seen(&other, &View { gateways, ..view }).is_some());
    }

    #[test]
    fn a_route_has_the_hosts_that_it_shares_with_its_listeners() {
        let to = "gw.us-east-1.elb.amazonaws.com";
        let cases: &[(&str, Value, Value, Vec<String>)] = &[
            (
                "its own",
                listener("", "HTTP", "All"),
                route("HTTPRoute", &["a.example.com"], "True"),
                vec![format!("a.example.com {to}")],
            ),
            (
                "a listener's",
                listener("l.example.com", "HTTPS", "All"),
                route("HTTPRoute", &[], "True"),
                vec![format!("l.example.com {to}")],
            ),
            (
                "the narrower",
                listener("*.example.com", "HTTP", "All"),
                route("GRPCRoute", &["a.example.com"], "True"),
                vec![format!("a.example.com {to}")],
            ),
            (
                "the narrower the other way",
                listener("a.example.com", "HTTP", "All"),
                route("HTTPRoute", &["*.example.com"], "True"),
                vec![format!("a.example.com {to}")],
            ),
            (
                "none in common",
                listener("*.example.org", "HTTP", "All"),
                route("HTTPRoute", &["a.example.com"], "True"),
                vec!["a.example.com -".to_owned()],
            ),
            ("any with any", listener("", "HTTP", "All"), route("HTTPRoute", &[], "True"), vec![]),
            (
                "not accepted",
                listener("", "HTTP", "All"),
                route("HTTPRoute", &["a.example.com"], "False"),
                vec!["a.example.com -".to_owned()],
            ),
            (
                "another protocol",
                listener("", "HTTP", "All"),
                route("TLSRoute", &["a.example.com"], "True"),
                vec!["a.example.com -".to_owned()],
            ),
            (
                "another namespace",
                listener("", "HTTP", "Same"),
                route("HTTPRoute", &["a.example.com"], "True"),
                vec!["a.example.com -".to_owned()],
            ),
        ];
        for (name, listener, route, expected) in cases {
            let found = shown(&[gateway(&json!([listener])), route.clone()], &View::open(PREFIX, true));
            assert_eq!(found, *expected, "{name}");
        }
    }

    #[test]
    fn gateways_are_filtered_and_name_a_target() {
        let route = route("HTTPRoute", &["a.example.com"], "True");
        let mut gateway = gateway(&json!([listener("", "HTTP", "All")]));
        gateway["metadata"]["annotations"] = json!({(format!("{PREFIX}target")): "1.2.3.4, 5.6.7.8"});
        let mut view = View::open(PREFIX, false);
        assert_eq!(shown(&[gateway.clone(), route.clone()], &view), ["a.example.com 1.2.3.4,5.6.7.8"]);
        view.gateways.name = Some("other".to_owned());
        assert_eq!(shown(&[gateway, route], &view), ["a.example.com -"]);
    }
}
