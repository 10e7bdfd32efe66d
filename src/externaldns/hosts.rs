//! Which hostnames the objects of a cluster ask for, as an installation of ExternalDNS sees them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::filter::bare_id;
use super::gateway;
use super::objects::{KINDS, OTHERS, items, kind, resource};
use super::registry::{Owned, normalize};
use super::settings::Prefixes;
use super::target::{Target, known, list, told};
use super::version::{LEGACY_PREFIX, PREFIX};
use super::view::{CREATE_PTR, IGNORE_ANNOTATION, IGNORE_RULES, IGNORE_TLS, PUBLISH_INTERNAL, View};

/// A host that an object asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Desired {
    /// `kind/namespace/name`, as in ownership TXT records.
    pub resource: String,
    /// The host, normalised.
    pub host: String,
    /// The host as the object has it.
    pub written: String,
    /// False while there is nothing that its record could point to, such as the address of a load
    /// balancer; then there is no record.
    pub has_target: bool,
    /// What its record should point to, normalised; empty where that can't be told from the object.
    pub targets: Vec<String>,
    /// What tells its record apart from others of the name.
    pub set_identifier: Option<String>,
    /// The id of the zone that its record is for; `None` for all that take it.
    pub zone: Option<String>,
    /// The type of its record, where the object says one that isn't that of an address.
    pub record_type: Option<String>,
}

/// The hosts that the objects (Ingress, Service, DNSEndpoint, routes of the Gateway API with their Gateways) ask for and
/// that the installation looks after.
pub fn desired_hosts(objects: &[Value], view: &View) -> BTreeSet<Desired> {
    let gateways: Vec<_> = objects.iter().filter_map(|object| gateway::seen(object, view)).collect();
    let selected = objects.iter().filter_map(|object| Some((object, selected(object, view).ok()?)));
    selected.flat_map(|(object, annotations)| asked(object, &annotations, &gateways, view)).collect()
}

/// Why the installation doesn't look at an object; none where it does.
pub fn exclusion(object: &Value, view: &View) -> Option<Excluded> {
    selected(object, view).err()
}

/// Why an installation doesn't look at an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Excluded {
    /// It is of a kind that no source reads.
    Kind,
    /// Its source isn't among `--source`.
    Source(&'static str),
    /// It isn't in the namespace of `--namespace`.
    Namespace(String),
    /// The annotation with this key says that another controller looks after it.
    Controller(String),
    /// `--label-filter` doesn't select it.
    Labels,
    /// `--annotation-filter` doesn't select it.
    Annotations,
    /// An Ingress of a class that isn't among `--ingress-class`.
    Class(Option<String>),
    /// A Service of a type that isn't among `--service-type-filter`.
    ServiceType(String),
}

/// The installation's own records that a synchronisation with `after` would delete: those that
/// nothing asks for in its view. Meaningful where its policy is `sync`.
///
/// A record counts as asked for where that can't be told (templates, kinds not read here).
pub fn vanishing<'o>(audited: &'o [Owned], objects: &[Value], after: &View) -> Vec<&'o Owned> {
    let desired = desired_hosts(objects, after);
    let asked: BTreeSet<&str> = desired.iter().filter(|one| one.has_target).map(|one| one.host.as_str()).collect();
    let seen = resources(objects, after);
    let gone = |owned: &&Owned| {
        let host = normalize(&owned.record.name);
        let mine = owned.class.is_owned();
        let managed = after.record_types.contains(&owned.record.record_type) && after.domains.matches(&host);
        let below = || desired.iter().any(|one| one.resource.starts_with("service/") && below(&host, &one.host));
        mine && managed && !asked.contains(host.as_str()) && !below() && !may_ask(owned, &seen, after)
    };
    audited.iter().filter(gone).collect()
}

/// Headless Services have records for their pods, NodePort Services for their ports.
fn below(host: &str, parent: &str) -> bool {
    host.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
}

/// True if the object behind a record may ask for it in a way that can't be read here.
fn may_ask(owned: &Owned, seen: &BTreeMap<String, bool>, view: &View) -> bool {
    // The PTR record that ExternalDNS makes of an address has no object in its TXT record.
    let mirrored = owned.record.record_type == "PTR" && view.on(CREATE_PTR);
    let Some(resource) = &owned.resource else { return mirrored || view.inventing.is_some() };
    let kind = resource.split('/').next().unwrap_or_default().to_ascii_lowercase();
    if let Some((_, sources)) = OTHERS.iter().find(|(name, _)| *name == kind) {
        return sources.iter().any(|source| view.sources.iter().any(|wanted| wanted == source));
    }
    if KINDS.iter().any(|(.., name)| *name == kind) {
        return seen.get(resource).is_some_and(|open| *open || view.inventing.is_some());
    }
    view.sources.iter().any(|source| source == "unstructured")
}

/// Selected objects by resource, and whether they ask for hosts that are written elsewhere.
fn resources(objects: &[Value], view: &View) -> BTreeMap<String, bool> {
    let selected = objects.iter().filter_map(|object| Some((object, selected(object, view).ok()?)));
    let open = |object: &Value, annotations: &Map<String, Value>| {
        kind(object).is_some_and(|(_, _, name)| name.ends_with("route"))
            && route_hosts(object, annotations, view).is_empty()
    };
    selected.filter_map(|(object, annotations)| Some((resource(object)?, open(object, &annotations)))).collect()
}

/// The annotations of an object that the installation looks at, or why it doesn't.
fn selected(object: &Value, view: &View) -> Result<Map<String, Value>, Excluded> {
    let (_, source, _) = kind(object).ok_or(Excluded::Kind)?;
    let unless = |excluded: bool, why: Excluded| if excluded { Err(why) } else { Ok(()) };
    unless(!view.sources.iter().any(|wanted| wanted == source), Excluded::Source(source))?;
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or("default");
    let elsewhere = view.namespace.as_deref().filter(|wanted| *wanted != namespace);
    elsewhere.map_or(Ok(()), |wanted| Err(Excluded::Namespace(wanted.to_owned())))?;
    let annotations = view.annotations(object);
    let other = view.annotation(&annotations, "controller").is_some_and(|name| name != "dns-controller");
    if other && !view.any_controller {
        let own = metadata["annotations"].as_object();
        let keys = view.prefixes.keys("controller");
        let key = keys.into_iter().find(|key| own.is_some_and(|own| own.contains_key(key)));
        return Err(Excluded::Controller(key.unwrap_or_default()));
    }
    unless(!view.labels.matches(metadata["labels"].as_object()), Excluded::Labels)?;
    unless(!view.annotations.matches(Some(&annotations)), Excluded::Annotations)?;
    match *source {
        "ingress" if !class_matches(object, &annotations, &view.ingress_classes) => {
            Err(Excluded::Class(class(object, &annotations).map(str::to_owned)))
        }
        "service" => {
            let kind = object["spec"]["type"].as_str().unwrap_or("ClusterIP");
            let of_type = view.service_types.is_empty() || view.service_types.iter().any(|wanted| wanted == kind);
            unless(!of_type, Excluded::ServiceType(kind.to_owned())).map(|()| annotations)
        }
        _ => Ok(annotations),
    }
}

/// An annotation of ExternalDNS that an installation doesn't read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// `kind/namespace/name`.
    pub resource: String,
    /// The annotation's key.
    pub key: String,
    /// The annotation that is read instead and says something else; `None` if nothing is.
    pub instead: Option<String>,
}

/// The annotations, under either of the prefixes that ExternalDNS has had, that an installation with
/// these prefixes doesn't read and that say what no annotation that it reads says.
pub fn unread_annotations(objects: &[Value], prefixes: &Prefixes) -> Vec<Unread> {
    let read = prefixes.keys("");
    let of_object = |object: &Value| {
        let annotations = object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        let resource = resource(object).or_else(|| gateway::resource(object))?;
        let ignored = |(key, value): (&String, &Value)| {
            let prefix = [PREFIX, LEGACY_PREFIX].into_iter().find(|prefix| key.starts_with(prefix))?;
            let name = &key[prefix.len()..];
            let first = read.iter().map(|prefix| format!("{prefix}{name}")).find(|key| annotations.contains_key(key));
            let said = first.as_ref().is_some_and(|first| annotations.get(first) == Some(value));
            (!said).then(|| Unread { resource: resource.clone(), key: key.clone(), instead: first })
        };
        Some(annotations.iter().filter_map(ignored).collect::<Vec<_>>())
    };
    objects.iter().filter_map(of_object).flatten().collect()
}

/// The class in the spec counts before the one in the old annotation.
fn class<'a>(ingress: &'a Value, annotations: &'a Map<String, Value>) -> Option<&'a str> {
    let in_spec = ingress["spec"]["ingressClassName"].as_str().filter(|class| !class.is_empty());
    in_spec.or_else(|| annotations.get("kubernetes.io/ingress.class")?.as_str())
}

fn class_matches(ingress: &Value, annotations: &Map<String, Value>, classes: &[String]) -> bool {
    let class = class(ingress, annotations);
    classes.is_empty() || class.is_some_and(|class| classes.iter().any(|wanted| wanted == class))
}

fn asked(object: &Value, annotations: &Map<String, Value>, gateways: &[&Value], view: &View) -> Vec<Desired> {
    let Some(resource) = resource(object) else { return Vec::new() };
    if object["kind"] == "DNSEndpoint" {
        let endpoints = items(object.pointer("/spec/endpoints"));
        return endpoints.filter_map(|endpoint| of_endpoint(&resource, endpoint, view)).collect();
    }
    let set_identifier = view.annotation(annotations, "set-identifier").filter(|id| !id.is_empty());
    let zone = view.annotation(annotations, "aws-hosted-zone-id").filter(|id| view.pins && !id.is_empty());
    let told = told(annotations, view);
    let hosts: Vec<(String, Target)> = match object["kind"].as_str() {
        Some("Ingress") => {
            let target = told.or_else(|| known(balancer(object)));
            ingress_hosts(object, annotations, view).into_iter().map(|host| (host, target.clone())).collect()
        }
        Some("Service") => service_hosts(object, annotations, view, told.as_ref()),
        _ => gateway::resolve(object, &route_hosts(object, annotations, view), gateways, view),
    };
    let wanted = hosts.into_iter().map(|(written, target)| (normalize(&written), written, target));
    wanted
        .filter(|(host, ..)| !host.is_empty() && view.domains.matches(host))
        .map(|(host, written, target)| Desired {
            resource: resource.clone(),
            host,
            written,
            has_target: target.is_some(),
            targets: target.unwrap_or_default(),
            set_identifier: set_identifier.map(str::to_owned),
            zone: zone.map(bare_id).map(str::to_owned),
            record_type: None,
        })
        .collect()
}

/// An entry of a DNSEndpoint.
fn of_endpoint(resource: &str, endpoint: &Value, view: &View) -> Option<Desired> {
    let kind = endpoint["recordType"].as_str().unwrap_or("A");
    let written = endpoint["dnsName"].as_str()?;
    let host = normalize(written);
    if host.is_empty() || !view.domains.matches(&host) || !view.record_types.iter().any(|managed| managed == kind) {
        return None;
    }
    let address = ["A", "AAAA", "CNAME"].contains(&kind);
    let targets = items(endpoint.get("targets")).filter_map(Value::as_str).map(normalize);
    let mut own = items(endpoint.get("providerSpecific"));
    let zone = own.find(|property| property["name"] == "aws/hosted-zone-id").filter(|_| view.pins);
    Some(Desired {
        resource: resource.to_owned(),
        host,
        written: written.to_owned(),
        has_target: true,
        targets: targets.filter(|_| address).collect(),
        set_identifier: endpoint["setIdentifier"].as_str().filter(|id| !id.is_empty()).map(str::to_owned),
        zone: zone
            .and_then(|property| property["value"].as_str())
            .filter(|id| !id.is_empty())
            .map(bare_id)
            .map(str::to_owned),
        record_type: (!address).then(|| kind.to_owned()),
    })
}

fn balancer(object: &Value) -> impl Iterator<Item = String> {
    let points = items(object.pointer("/status/loadBalancer/ingress"));
    points.filter_map(|point| point["hostname"].as_str().or_else(|| point["ip"].as_str())).map(str::to_owned)
}

fn ingress_hosts(ingress: &Value, annotations: &Map<String, Value>, view: &View) -> Vec<String> {
    let mut defined: Vec<String> = Vec::new();
    if !view.on(IGNORE_RULES) {
        let rules = items(ingress.pointer("/spec/rules"));
        defined.extend(rules.filter_map(|rule| rule["host"].as_str()).map(str::to_owned));
    }
    if !view.on(IGNORE_TLS) {
        let hosts = items(ingress.pointer("/spec/tls")).flat_map(|tls| items(tls.get("hosts")));
        defined.extend(hosts.filter_map(Value::as_str).map(str::to_owned));
    }
    chosen(defined, annotations, view, "ingress-hostname-source", true)
}

fn route_hosts(route: &Value, annotations: &Map<String, Value>, view: &View) -> Vec<String> {
    let defined = items(route.pointer("/spec/hostnames")).filter_map(Value::as_str).map(str::to_owned);
    chosen(defined.collect(), annotations, view, "gateway-hostname-source", false)
}

/// Hosts of spec and annotation, or of the one that an annotation names. An Ingress with another
/// value there has none (`strict`).
fn chosen(
    mut defined: Vec<String>,
    annotations: &Map<String, Value>,
    view: &View,
    source: &str,
    strict: bool,
) -> Vec<String> {
    let listed = if view.on(IGNORE_ANNOTATION) { Vec::new() } else { list(view.annotation(annotations, "hostname")) };
    let source = view.annotation(annotations, source).map(str::to_ascii_lowercase);
    match source.as_deref() {
        Some("annotation-only") => listed,
        Some("defined-hosts-only") => defined,
        Some(_) if strict => Vec::new(),
        _ => {
            defined.extend(listed);
            defined
        }
    }
}

fn service_hosts(
    service: &Value,
    annotations: &Map<String, Value>,
    view: &View,
    told: Option<&Vec<String>>,
) -> Vec<(String, Target)> {
    if view.on(IGNORE_ANNOTATION) {
        return Vec::new();
    }
    let texts = |value: Option<&Value>| items(value).filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let spec = &service["spec"];
    let kind = spec["type"].as_str().unwrap_or("ClusterIP");
    let headless = spec["clusterIP"] == "None";
    let own = || {
        let listed = texts(spec.get("clusterIPs"));
        let one = || spec["clusterIP"].as_str().map(str::to_owned).into_iter().collect();
        known(if listed.is_empty() { one() } else { listed })
    };
    let untold = || Some(Vec::new());
    let outside = match kind {
        "LoadBalancer" => known(texts(spec.get("externalIPs"))).or_else(|| known(balancer(service))),
        "ClusterIP" if headless => untold(),
        "ClusterIP" => view.on(PUBLISH_INTERNAL).then(own).flatten(),
        "ExternalName" => known(spec["externalName"].as_str().map(str::to_owned)),
        _ => untold(),
    };
    let inside = if ["LoadBalancer", "ClusterIP"].contains(&kind) && !headless { own() } else { outside.clone() };
    let (outside, inside) = (told.cloned().or(outside), told.cloned().or(inside));
    let hosts = list(view.annotation(annotations, "hostname")).into_iter().map(|host| (host, outside.clone()));
    let inner = list(view.annotation(annotations, "internal-hostname")).into_iter();
    hosts.chain(inner.map(|host| (host, inside.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::externaldns::registry::{Mapper, Record, audit};
    use crate::externaldns::settings::Settings;
    use serde_json::json;

    fn ingress(name: &str, host: &str, annotations: &Value) -> Value {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": name, "namespace": "default", "annotations": annotations, "labels": {"team": "a"}},
            "spec": {"rules": if host.is_empty() { json!([]) } else { json!([{"host": host}]) }, "ingressClassName": "alb"},
            "status": {"loadBalancer": {"ingress": [{"hostname": "k8s-web.us-east-1.elb.amazonaws.com"}]}},
        })
    }

    fn settings(version: &str) -> Settings {
        let mut settings = Settings::new("us-east-1", "c1");
        settings.version = version.parse().unwrap();
        settings
    }

    fn hosts(objects: &[Value], settings: &Settings) -> Vec<String> {
        desired_hosts(objects, &settings.into()).into_iter().map(|one| one.host).collect()
    }

    #[test]
    fn f6_annotations_are_read_under_the_right_prefix() {
        let objects = [ingress("web", "", &json!({format!("{LEGACY_PREFIX}hostname"): "x.example.com"}))];
        assert_eq!(hosts(&objects, &settings("0.21.0")), ["x.example.com"]);
        let mut new = settings("0.22.0");
        assert_eq!(hosts(&objects, &new), ["x.example.com"]);
        new.annotation_prefix = Some(PREFIX.to_owned());
        assert_eq!(hosts(&objects, &new), [""; 0]);
        let mut newest = settings("0.23.0");
        assert_eq!(hosts(&objects, &newest), ["x.example.com"]);
        newest.legacy_annotations = Some(false);
        assert_eq!(hosts(&objects, &newest), [""; 0]);
    }

    #[test]
    fn f7_no_status_is_no_target() {
        let mut object = ingress("web", "app.example.com", &json!({}));
        object["status"] = json!({});
        let desired = desired_hosts(&[object], &(&settings("0.23.0")).into());
        assert!(desired.iter().all(|one| !one.has_target && one.resource == "ingress/default/web"));
    }

    #[test]
    fn both_prefixes_the_configured_one_wins() {
        let both = json!({format!("{LEGACY_PREFIX}hostname"): "old.example.com", format!("{PREFIX}hostname"): "new.example.com"});
        assert_eq!(hosts(&[ingress("web", "", &both)], &settings("0.23.0")), ["new.example.com"]);
    }

    #[test]
    fn unread_annotations_are_those_that_get_lost() {
        let (old, new) = (format!("{LEGACY_PREFIX}hostname"), format!("{PREFIX}hostname"));
        let objects = [
            ingress("old", "", &json!({&old: "a.example.com", "other": "x"})),
            ingress("same", "", &json!({&old: "a.example.com", &new: "a.example.com"})),
            ingress("differs", "", &json!({&old: "a.example.com", &new: "b.example.com"})),
        ];
        let unread = |prefix: &str, legacy| {
            let found = unread_annotations(&objects, &Prefixes { prefix: prefix.to_owned(), legacy });
            found.into_iter().map(|one| (one.resource, one.key, one.instead)).collect::<Vec<_>>()
        };
        let differs =
            |key: &str, instead: &str| ("ingress/default/differs".to_owned(), key.to_owned(), Some(instead.to_owned()));
        let lost = ("ingress/default/old".to_owned(), old.clone(), None);
        assert_eq!(unread(PREFIX, false), [lost, differs(&old, &new)]);
        assert_eq!(unread(PREFIX, true), [differs(&old, &new)]);
        assert_eq!(unread(LEGACY_PREFIX, false), [differs(&new, &old)]);
    }

    #[test]
    fn ingress_hosts_are_of_rules_tls_and_annotation() {
        let mut object =
            ingress("web", "b.example.com", &json!({format!("{PREFIX}hostname"): "c.example.com, d.example.com."}));
        object["spec"]["tls"] = json!([{"hosts": ["a.example.com"]}]);
        let all = settings("0.23.0");
        let every = ["a.example.com", "b.example.com", "c.example.com", "d.example.com"];
        assert_eq!(hosts(&[object.clone()], &all), every);
        let source = format!("{PREFIX}ingress-hostname-source");
        object["metadata"]["annotations"][&source] = json!("annotation-only");
        assert_eq!(hosts(&[object.clone()], &all), every[2..]);
        object["metadata"]["annotations"][&source] = json!("Defined-Hosts-Only");
        assert_eq!(hosts(&[object], &all), every[..2]);
    }

    #[test]
    fn filters_leave_objects_out() {
        let objects = [ingress("web", "app.example.com", &json!({}))];
        let with = |change: &dyn Fn(&mut Settings)| {
            let mut settings = settings("0.23.0");
            change(&mut settings);
            hosts(&objects, &settings).len()
        };
        assert_eq!(with(&|_| ()), 1);
        assert_eq!(with(&|s| s.ingress_classes = vec!["nginx".to_owned()]), 0);
        assert_eq!(with(&|s| s.ingress_classes = vec!["nginx".to_owned(), "alb".to_owned()]), 1);
        assert_eq!(with(&|s| s.label_filter = Some("team=b".to_owned())), 0);
        assert_eq!(with(&|s| s.annotation_filter = Some("dns".to_owned())), 0);
        assert_eq!(with(&|s| s.domain_filters = vec!["example.org".to_owned()]), 0);
        assert_eq!(with(&|s| s.extra_args = vec!["--namespace=other".to_owned()]), 0);
        assert_eq!(with(&|s| s.sources = vec!["service".to_owned()]), 0);
        let skipped = [ingress("web", "app.example.com", &json!({format!("{PREFIX}controller"): "other"}))];
        assert_eq!(hosts(&skipped, &settings("0.23.0")).len(), 0);
    }

    #[test]
    fn services_and_routes_and_endpoints() {
        let objects = [
            json!({"kind": "Service", "metadata": {"name": "s", "namespace": "a", "annotations": {
                (format!("{PREFIX}hostname")): "s.example.com", (format!("{PREFIX}internal-hostname")): "i.example.com"}},
                "spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1"}}),
            json!({"kind": "HTTPRoute", "metadata": {"name": "r", "namespace": "a"}, "spec": {"hostnames": ["r.example.com"]}}),
            json!({"kind": "DNSEndpoint", "metadata": {"name": "e", "namespace": "a"},
                "spec": {"endpoints": [{"dnsName": "e.example.com"}]}}),
        ];
        let mut settings = settings("0.23.0");
        settings.sources = ["service", "crd", "gateway-httproute"].map(str::to_owned).to_vec();
        let desired = desired_hosts(&objects, &(&settings).into());
        let shown: Vec<_> =
            desired.iter().map(|one| (one.resource.as_str(), one.host.as_str(), one.has_target)).collect();
        assert_eq!(
            shown,
            [
                ("crd/a/e", "e.example.com", true),
                ("httproute/a/r", "r.example.com", false),
                ("service/a/s", "i.example.com", true),
                ("service/a/s", "s.example.com", false),
            ]
        );
    }

    #[test]
    fn vanishing_records_are_those_that_nothing_asks_for() {
        let record = |name: &str, kind: &str, value: &str| Record {
            name: name.to_owned(),
            record_type: kind.to_owned(),
            set_identifier: None,
            alias: None,
            values: vec![value.to_owned()],
            ttl: None,
        };
        let txt = |name: &str, resource: &str| {
            record(
                name,
                "TXT",
                &format!("\"heritage=external-dns,external-dns/owner=c1,external-dns/resource={resource}\""),
            )
        };
        let records = [
            record("app.example.com.", "A", "192.0.2.1"),
            txt("a-app.example.com.", "ingress/default/web"),
            record("old.example.com.", "A", "192.0.2.1"),
            txt("a-old.example.com.", "ingress/default/web"),
            record("gone.example.com.", "A", "192.0.2.1"),
            txt("a-gone.example.com.", "ingress/default/gone"),
            record("tr.example.com.", "A", "192.0.2.1"),
            txt("a-tr.example.com.", "ingressroute/default/tr"),
            record("else.example.org.", "A", "192.0.2.1"),
            txt("a-else.example.org.", "ingress/default/gone"),
            record("raw.example.com.", "A", "192.0.2.1"),
        ];
        let mut settings = settings("0.23.0");
        settings.domain_filters = vec!["example.com".to_owned()];
        settings.sources.push("traefik-proxy".to_owned());
        let audited = audit(&records, &Mapper::new("", "", "", settings.version), Some("c1"));
        let objects =
            [ingress("web", "app.example.com", &json!({format!("{LEGACY_PREFIX}hostname"): "old.example.com"}))];
        let names = |settings: &Settings| {
            let gone = vanishing(&audited, &objects, &settings.into());
            gone.into_iter().map(|owned| owned.record.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&settings), ["gone.example.com"]);
        settings.legacy_annotations = Some(false);
        assert_eq!(names(&settings), ["old.example.com", "gone.example.com"]);
        settings.sources = vec!["service".to_owned()];
        assert_eq!(names(&settings), ["app.example.com", "old.example.com", "gone.example.com", "tr.example.com"]);
    }
}
