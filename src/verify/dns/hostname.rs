//! One name, from what asks for it to its record.

use serde_json::Value;

use super::records::{Found, Wanted, covers};
use super::{Check, Dns, ids, kubectl, listed};
use crate::externaldns::filter::suitable_zones;
use crate::externaldns::hosts::{Desired, Excluded, desired_hosts, exclusion};
use crate::externaldns::objects::resource;
use crate::externaldns::registry::normalize;
use crate::externaldns::selector::Selector;
use crate::externaldns::version::{LEGACY_PREFIX, PREFIX};
use crate::externaldns::view::View;
use crate::shell::Command;

/// How far a name may be off to be taken for a slip of the finger.
const TYPO: usize = 2;

/// Follows a name from the object that asks for it to its record, and says where it is lost.
pub fn follow(dns: &Dns, host: &str) -> Check {
    let id = ids::HOSTNAME;
    let host = normalize(host.trim());
    let wanted = dns.wanted();
    let (wanted, objects) = match (&wanted, &dns.objects) {
        (Ok(wanted), Ok(objects)) => (wanted, objects),
        (Err(why), _) | (_, Err(why)) => return Check::skip(id, why),
    };
    let exact = wanted.iter().find(|one| one.host == host && one.has_target);
    let exact = exact.or_else(|| wanted.iter().find(|one| one.host == host));
    let covering = || wanted.iter().find(|one| covers(&one.host, &host));
    match exact {
        Some(wanted) => dns.followed(wanted),
        None => dns.lost(&host, objects).unwrap_or_else(|| match covering() {
            Some(wanted) => dns.followed(wanted),
            None => dns.unasked(&host, objects),
        }),
    }
}

/// What everything would ask for if nothing were left out, with either prefix.
fn openly(objects: &[Value]) -> Vec<(Desired, View)> {
    let views = [View::open(PREFIX, true), View::open(LEGACY_PREFIX, false)];
    let asked = views.into_iter().flat_map(|view| {
        let desired = desired_hosts(objects, &view);
        desired.into_iter().map(move |one| (one, view.clone()))
    });
    asked.collect()
}

impl Dns {
    /// From the object on.
    fn followed(&self, wanted: &Wanted) -> Check {
        let id = ids::HOSTNAME;
        let from = listed(wanted.resources.clone());
        let host = &wanted.host;
        if !wanted.has_target && self.is_internal(wanted) {
            let message = format!(
                "{from} asks for {host}, and is of type ClusterIP, whose address isn't published without \
                 --publish-internal-services"
            );
            let publish = Command::new(&self.install).word("--extra-arg=--publish-internal-services");
            return Check::fail(id, message).hint(publish.approved());
        }
        if !wanted.has_target {
            let message = format!("{from} asks for {host}, and has no load balancer address yet: there is no record");
            let describe = wanted.resources.first().and_then(|name| kubectl("describe", name));
            return Check { hint: describe.map(String::from), ..Check::fail(id, message) };
        }
        if let Err(why) = &self.zones {
            return Check::skip(id, why);
        }
        let records = match &self.records {
            Ok(records) => records,
            Err(why) => return Check::skip(id, why),
        };
        if let Some(flag) = self.installed.unjudged() {
            return Check::skip(id, format!("which zones --{flag} selects isn't judged here"));
        }
        let mut found = self.troubles(wanted, records);
        found.sort_by_key(|one| one.trouble);
        if found.is_empty() {
            let at = wanted.described(records);
            let at = if at.is_empty() { "another installation looks after its zone".to_owned() } else { at.join("; ") };
            return Check::pass(id, format!("{from} → {host} {at}"));
        }
        let checks = found.into_iter().map(|one: Found| one.check(id)).collect();
        let check = Check::of(id, String::new(), checks);
        Check { message: format!("{from} asks for {host}; {}", check.message), ..check }
    }

    /// True for a Service that has no load balancer.
    pub(super) fn is_internal(&self, wanted: &Wanted) -> bool {
        let named = |object: &&Value| resource(object).is_some_and(|name| wanted.resources.contains(&name));
        let kind = |object: &Value| object["spec"]["type"].as_str().unwrap_or("ClusterIP") == "ClusterIP";
        let all = self.objects.as_deref().unwrap_or_default();
        all.iter().filter(named).any(|object| object["kind"] == "Service" && kind(object))
    }

    /// Objects ask for it, and the installation doesn't see them or leaves the name out.
    pub(super) fn lost(&self, host: &str, objects: &[Value]) -> Option<Check> {
        let view = View::from(&self.installed);
        let asked = openly(objects);
        let (one, open) = asked.iter().find(|(one, _)| one.host == host)?;
        let object = objects.iter().find(|object| resource(object).as_ref() == Some(&one.resource))?;
        if let Some(why) = exclusion(object, &view) {
            return Some(self.excluded(one, object, &why));
        }
        let as_read = View { domains: View::open(PREFIX, true).domains, ..view.clone() };
        if desired_hosts(objects, &as_read).iter().any(|seen| seen.host == host) {
            let (why, hint) = self.out_of_domain(host);
            return Some(Check::fail(ids::HOSTNAME, format!("{} asks for {host}, and {why}", one.resource)).hint(hint));
        }
        Some(self.left_out_of_rules(host, objects).unwrap_or_else(|| self.unread_prefix(one, object, open)))
    }

    /// The name is under another prefix, or a switch says not to look there.
    fn unread_prefix(&self, one: &Desired, object: &Value, open: &View) -> Check {
        let id = ids::HOSTNAME;
        let own = object["metadata"]["annotations"].as_object();
        let names = ["hostname", "internal-hostname"];
        let mut keys = names.iter().flat_map(|name| open.prefixes.keys(name));
        let read: Vec<_> = names.iter().flat_map(|name| self.installed.prefixes().keys(name)).collect();
        let unread = keys.find(|key| !read.contains(key) && own.is_some_and(|own| own.contains_key(key)));
        if let Some(key) = unread {
            let message = format!("{} asks for {} under {key}, which isn't read", one.resource, one.host);
            return Check { hint: self.reading(&key, &one.resource), ..Check::fail(id, message) };
        }
        let ignoring: Vec<_> =
            self.installed.arguments.names().filter(|name| name.starts_with("ignore-")).map(str::to_owned).collect();
        let command = ignoring.iter().fold(Command::new(&self.install), |command, flag| command.without_extra(flag));
        let flags = listed(ignoring.iter().map(|flag| format!("--{flag}")));
        let message = format!("{} asks for {}, and {flags} says not to look there", one.resource, one.host);
        Check::fail(id, message).hint(command.approved())
    }

    fn excluded(&self, one: &Desired, object: &Value, why: &Excluded) -> Check {
        let installed = &self.installed;
        let install = || Command::new(&self.install);
        let change = |verb: &str, what: &str| {
            let command = kubectl(verb, &one.resource)?.word(what);
            // kubectl refuses to change what has another value.
            Some(if what.ends_with('-') { command } else { command.word("--overwrite") }.into())
        };
        let own = || object["metadata"]["namespace"].as_str().unwrap_or("default");
        let (said, hint) = match why {
            Excluded::Kind => ("no source reads it".to_owned(), None),
            Excluded::Source(source) => {
                let sources = installed.sources.iter().map(String::as_str).chain([*source]);
                (format!("{source} isn't among its sources"), Some(install().set("--source", sources).approved()))
            }
            Excluded::Namespace(wanted) => (
                format!("--namespace={wanted} leaves namespace {} out", own()),
                Some(install().without_extra("namespace").approved()),
            ),
            Excluded::Controller(key) => {
                (format!("its annotation {key} gives it to another controller"), change("annotate", &format!("{key}-")))
            }
            Excluded::Labels => {
                let filter = installed.label_filter.as_deref().unwrap_or_default();
                let label = equality(filter).and_then(|pair| change("label", &pair));
                let open = || install().without("--label-filter").approved();
                (format!("--label-filter={filter} leaves it out"), label.or_else(|| Some(open())))
            }
            Excluded::Annotations => {
                let filter = installed.annotation_filter.as_deref().unwrap_or_default();
                let annotation = equality(filter).and_then(|pair| change("annotate", &pair));
                let open = || install().without("--annotation-filter").approved();
                (format!("--annotation-filter={filter} leaves it out"), annotation.or_else(|| Some(open())))
            }
            Excluded::Class(class) => self.other_class(one, class.as_deref()),
            Excluded::ServiceType(kind) => (
                format!("--service-type-filter leaves Services of type {kind} out"),
                Some(install().word(&format!("--extra-arg=--service-type-filter={kind}")).approved()),
            ),
        };
        let message = format!("{} asks for {}, and {said}", one.resource, one.host);
        Check { hint, ..Check::fail(ids::HOSTNAME, message) }
    }

    fn other_class(&self, one: &Desired, class: Option<&str>) -> (String, Option<String>) {
        let classes = &self.installed.ingress_classes;
        let flags = listed(classes.iter().map(|class| format!("--ingress-class={class}")));
        let Some(class) = class else {
            let patch = serde_json::json!({"spec": {"ingressClassName": classes.first()}}).to_string();
            let hint =
                kubectl("patch", &one.resource).map(|it| it.with("--type", "merge").with("--patch", &patch).into());
            return (format!("{flags} leaves it out, as it has no class"), hint);
        };
        let all = classes.iter().map(String::as_str).chain([class]);
        let hint = Command::new(&self.install).set("--ingress-class", all).approved();
        (format!("{flags} leaves class {class} out"), Some(hint))
    }

    /// A name that the domain filters leave out.
    fn out_of_domain(&self, host: &str) -> (String, String) {
        let installed = &self.installed;
        let excluded = installed.exclude_domains.iter().find(|domain| {
            let domain = normalize(domain);
            host == domain.trim_start_matches('.') || host.ends_with(&format!(".{}", domain.trim_start_matches('.')))
        });
        if let Some(domain) = excluded {
            let others = installed.exclude_domains.iter().filter(|other| *other != domain).map(String::as_str);
            let hint = Command::new(&self.install).set("--exclude-domains", others).approved();
            return (format!("--exclude-domains={domain} leaves it out"), hint);
        }
        let zones = self.zones.as_deref().unwrap_or_default();
        let all: Vec<_> = zones.iter().collect();
        let filters = listed(installed.domain_filters.iter().map(|domain| format!("--domain-filter={domain}")));
        let Some(zone) = suitable_zones(host, &all).into_iter().next_back() else {
            let (why, hint) = self.homeless(host);
            return (format!("{filters} leaves it out; {why}"), hint);
        };
        let domains = installed.domain_filters.iter().map(String::as_str).chain([zone.name.as_str()]);
        let hint = Command::new(&self.install).set("--domain-filter", domains).approved();
        (format!("{filters} leaves it out"), hint)
    }

    /// An Ingress has the name in its rules, which one of its annotations leaves out.
    fn left_out_of_rules(&self, host: &str, objects: &[Value]) -> Option<Check> {
        let object = objects.iter().find(|object| in_rules(object).any(|rule| rule == host))?;
        let (name, own) = (resource(object)?, object["metadata"]["annotations"].as_object()?);
        let mut keys = self.installed.prefixes().keys("ingress-hostname-source").into_iter();
        let key = keys.find(|key| own.contains_key(key))?;
        let message = format!("{name} has {host} in its rules, which its annotation {key} leaves out");
        let hint = kubectl("annotate", &name).map(|it| it.word(&format!("{key}-")).into());
        Some(Check { hint, ..Check::fail(ids::HOSTNAME, message) })
    }

    /// An object asks for the name under an annotation that no ExternalDNS reads by itself.
    fn under_other_key(&self, host: &str, objects: &[Value]) -> Option<Check> {
        let says = |(key, value): &(&String, &Value)| {
            let hosts = value.as_str().unwrap_or_default().split(',');
            key.ends_with("/hostname") && hosts.map(|one| normalize(one.trim())).any(|one| one == host)
        };
        let asks = |object: &Value| {
            let own = object["metadata"]["annotations"].as_object()?;
            Some((resource(object)?, own.iter().find(says)?.0.clone(), own.clone()))
        };
        let (name, key, own) = objects.iter().find_map(asks)?;
        let instead = self.installed.prefixes().keys("hostname").into_iter().next()?;
        let message = format!("{name} asks for {host} under {key}, which isn't read: {instead} is");
        let before = own.get(&instead).and_then(Value::as_str).filter(|hosts| !hosts.is_empty());
        let hosts = before.map_or_else(|| host.to_owned(), |hosts| format!("{hosts},{host}"));
        let hint = kubectl("annotate", &name).map(|it| it.word(&format!("{instead}={hosts}")));
        let hint = hint.map(|it| if before.is_some() { it.word("--overwrite") } else { it }.into());
        Some(Check { hint, ..Check::fail(ids::HOSTNAME, message) })
    }

    /// Nothing asks for it; something may ask for a name like it.
    fn unasked(&self, host: &str, objects: &[Value]) -> Check {
        let mut near: Vec<_> = openly(objects).into_iter().map(|(one, _)| one).collect();
        near.sort_by_key(|one| strsim::osa_distance(&one.host, host));
        near.retain(|one| is_slip(&one.host, host) || same_label(&one.host, host));
        let there: Vec<_> = self
            .records
            .iter()
            .flatten()
            .flat_map(|zone| &zone.found)
            .filter(|owned| owned.record.name == host)
            .map(|owned| {
                let owner = owned.owner.as_ref().map_or("no owner".to_owned(), |owner| format!("owner {owner}"));
                format!("{} → {} ({owner})", owned.record.record_type, owned.record.target())
            })
            .collect();
        let there = if there.is_empty() { String::new() } else { format!("; its zone has {}", listed(there)) };
        let listeners = View::from(&self.installed).gateways.listener_sets.then(|| "ListenerSets".to_owned());
        if let Some(unlooked) = self.unlooked().or(listeners) {
            let near = near.first().map(|one| format!(", {} asks for {}", one.resource, one.host)).unwrap_or_default();
            let why = format!("no object that is looked at asks for {host}{near}; hosts of {unlooked} aren't{there}");
            return Check::skip(ids::HOSTNAME, why);
        }
        if !self.unread.is_empty() {
            let why = self.unread.join("; ");
            return Check::skip(ids::HOSTNAME, format!("no object that can be read asks for {host}{there}: {why}"));
        }
        let aside = self.left_out_of_rules(host, objects).or_else(|| self.under_other_key(host, objects));
        if let Some(check) = aside {
            return check;
        }
        let Some(one) = near.first() else {
            let message = format!("no object asks for {host}{there}");
            return Check::fail(ids::HOSTNAME, message).hint("kubectl get ingresses,services --all-namespaces");
        };
        let message = format!("no object asks for {host}, {} asks for {}{there}", one.resource, one.host);
        Check { hint: kubectl("edit", &one.resource).map(String::from), ..Check::fail(ids::HOSTNAME, message) }
    }
}

/// A letter or two wrong in a name that has more of them.
fn is_slip(a: &str, b: &str) -> bool {
    let label = |name: &str| name.split('.').next().unwrap_or_default().len();
    strsim::osa_distance(a, b) <= TYPO.min(label(a).min(label(b)) / 2)
}

/// The names that an Ingress has in its rules, whatever its annotations say.
fn in_rules(object: &Value) -> impl Iterator<Item = String> {
    let rules = object.pointer("/spec/rules").and_then(Value::as_array).into_iter().flatten();
    rules.filter_map(|rule| rule["host"].as_str()).map(normalize)
}

/// Names that differ in their domain only.
fn same_label(a: &str, b: &str) -> bool {
    let label = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    !label(a).is_empty() && label(a) == label(b)
}

/// `key=value` of a selector that asks for just that.
fn equality(filter: &str) -> Option<String> {
    let (key, value) = filter.split_once('=')?;
    let (key, value) = (key.trim(), value.trim_start_matches('=').trim());
    let plain = Selector::parse(filter).is_ok() && !key.ends_with('!') && !value.contains([',', '=', '(']);
    plain.then(|| format!("{key}={value}"))
}
