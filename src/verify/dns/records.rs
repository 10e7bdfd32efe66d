//! The records of the hosts that objects ask for, and those that nothing asks for any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Check, Contents, Dns, counted, ids, kubectl, listed, namespace, own, shown};
use crate::externaldns::args::Installed;
use crate::externaldns::filter::{Zone, is_below, suitable_zones, twins};
use crate::externaldns::hosts::{Desired, Unread, desired_hosts, unread_annotations, vanishing};
use crate::externaldns::leftovers::{change, commands};
use crate::externaldns::objects::{is_readable, resource};
use crate::externaldns::registry::{Class, Owned, Record, is_too_long, normalize, txt_value};
use crate::externaldns::settings::{APEX_TXT_PREFIX, Prefixes};
use crate::externaldns::version::{Feature, LEGACY_PREFIX, PREFIX};
use crate::externaldns::view::View;
use crate::shell::Command;
use crate::verify::{Look, Status};

/// Flags that make records point to something else than what the objects say.
const RETARGETING: &[&str] =
    &["default-targets", "target-net-filter", "exclude-target-net", "target-template", "fqdn-target-template"];

/// Flags that leave record types out.
const TYPE_FLAGS: &[&str] = &["managed-record-types", "exclude-record-types"];

/// Flags that leave targets out.
const TARGET_FLAGS: &[&str] = &["target-net-filter", "exclude-target-net"];

/// A record that is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) host: String,
    /// The host as the objects have it.
    written: BTreeSet<String>,
    set_identifier: Option<String>,
    record_type: Option<String>,
    /// The id of the zone that it is for; `None` for all that take it.
    zone: Option<String>,
    /// The objects that ask for it.
    pub(super) resources: Vec<String>,
    pub(super) has_target: bool,
    /// What it may point to; none of them where that can't be told.
    pub(super) targets: BTreeSet<String>,
    /// True where the record is an A record, not a CNAME.
    is_address: bool,
    /// Types of records that are its own or in its way.
    types: Vec<String>,
}

/// What is wrong with a record that is asked for, in the order of what to look at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    Homeless,
    Foreign,
    Unowned,
    Missing,
    Elsewhere,
    Late,
    Unmanaged,
    OutsideZone,
    LongLabel,
    Disputed,
    Legacy,
}

impl Trouble {
    fn status(self) -> Status {
        match self {
            Self::Homeless | Self::Foreign | Self::Unowned | Self::Missing | Self::Elsewhere => Status::Fail,
            Self::Late | Self::Unmanaged | Self::OutsideZone | Self::LongLabel | Self::Disputed | Self::Legacy => {
                Status::Warn
            }
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Homeless => "no zone that is looked after takes",
            Self::Foreign => "records of others, which it leaves alone:",
            Self::Unowned => "records of nobody, which it leaves alone:",
            Self::Missing => "no record for",
            Self::Elsewhere => "pointing elsewhere:",
            Self::Late => "no record (yet) for",
            Self::Unmanaged => "of its own, which it doesn't keep up any more:",
            Self::OutsideZone => "without an owner, as their TXT records would lie outside the zone:",
            Self::LongLabel => "without an owner, as the names of their TXT records would be too long:",
            Self::Disputed => "TXT records of several owners for",
            Self::Legacy => "TXT records of an older naming, which the next update replaces, for",
        }
    }
}

/// Something wrong with one record.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) trouble: Trouble,
    /// The record, with what is wrong with it.
    pub(super) text: String,
    /// What mends it.
    pub(super) hint: Option<String>,
}

impl Found {
    fn new(trouble: Trouble, text: impl Into<String>) -> Self {
        Self { trouble, text: text.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// As a check of its own.
    pub(super) fn check(self, id: &'static str) -> Check {
        grouped(id, self.trouble, vec![self])
    }
}

fn grouped(id: &'static str, trouble: Trouble, found: Vec<Found>) -> Check {
    let hint = found.iter().find_map(|one| one.hint.clone());
    let texts: BTreeSet<_> = found.into_iter().map(|one| one.text).collect();
    Check { hint, ..Check::new(id, trouble.status(), format!("{} {}", trouble.sentence(), listed(texts))) }
}

impl Dns {
    /// All records, or those of one host.
    pub(super) fn check_records(&self, host: Option<&str>) -> Check {
        let id = ids::RECORDS;
        let wanted = self.wanted();
        let (wanted, records, objects) = match (&wanted, &self.records, &self.objects) {
            (Ok(wanted), Ok(records), Ok(objects)) => (wanted, records, objects),
            (Err(why), ..) | (_, Err(why), _) | (.., Err(why)) => return Check::skip(id, why),
        };
        if let Some(flag) = self.installed.unjudged() {
            return Check::skip(id, format!("which zones --{flag} selects isn't judged here"));
        }
        let asked = |one: &&Wanted| host.is_none_or(|host| one.is_for(host));
        let wanted: Vec<Wanted> = wanted.iter().filter(asked).cloned().collect();
        let mut troubles: BTreeMap<Trouble, Vec<Found>> = BTreeMap::new();
        for found in wanted.iter().filter(|one| one.has_target).flat_map(|one| self.troubles(one, records)) {
            troubles.entry(found.trouble).or_default().push(found);
        }
        let mut findings: Vec<_> = troubles.into_iter().map(|(trouble, found)| grouped(id, trouble, found)).collect();
        if let Some(unlooked) = self.unlooked().filter(|_| host.is_none() || wanted.is_empty()) {
            let judged = if wanted.is_empty() { String::new() } else { format!("{}; ", self.summary(&wanted)) };
            let judged = if findings.is_empty() { judged } else { String::new() };
            findings.push(Check::skip(id, format!("{judged}hosts of {unlooked} aren't looked at here")));
        }
        if host.is_none() {
            if self.unread.is_empty() {
                findings.extend(self.stale(objects, records));
                findings.extend(self.useless_txts(&wanted, records));
            } else {
                let why = self.unread.join("; ");
                findings.push(Check::skip(id, format!("which records nothing asks for any more can't be told: {why}")));
            }
            findings.extend(self.unread(objects));
        }
        Check::of(id, self.summary(&wanted), findings)
    }

    /// The records that the objects ask for, each once.
    pub(super) fn wanted(&self) -> Look<Vec<Wanted>> {
        let view = View::from(&self.installed);
        let desired = desired_hosts(self.objects.as_ref().map_err(Clone::clone)?, &view);
        let mut all = merged(desired);
        for wanted in &mut all {
            wanted.is_address = self.is_address(wanted);
            wanted.types = self.types(wanted, &view);
        }
        Ok(all)
    }

    fn is_address(&self, wanted: &Wanted) -> bool {
        let prefers_cname = self.installed.arguments.bool("aws-prefer-cname") == Some(true);
        let is = |target: &String| {
            target.parse::<IpAddr>().is_ok() || (target.ends_with(".amazonaws.com") && !prefers_cname)
        };
        wanted.targets.iter().any(is)
    }

    /// The types of records that matter for a host. An AAAA record of others beside an A record doesn't, where none is
    /// wanted, nor the one that versions before v0.16 make without a TXT record of its own.
    fn types(&self, wanted: &Wanted, view: &View) -> Vec<String> {
        if let Some(kind) = &wanted.record_type {
            return vec![kind.clone()];
        }
        let addresses: Vec<_> = wanted.targets.iter().map(|target| target.parse::<IpAddr>().ok()).collect();
        let all = |is: fn(&IpAddr) -> bool| {
            !addresses.is_empty() && addresses.iter().all(|address| address.as_ref().is_some_and(is))
        };
        let is_alias = wanted.is_address && !addresses.iter().any(Option::is_some);
        let untold = is_alias && !self.installed.rules().supports(Feature::AaaaAlias);
        let no_aaaa = untold || all(IpAddr::is_ipv4) || !view.record_types.iter().any(|kind| kind == "AAAA");
        let left_out = |kind: &str| match kind {
            "AAAA" => no_aaaa,
            "A" => all(IpAddr::is_ipv6),
            _ => false,
        };
        ["A", "AAAA", "CNAME"].into_iter().filter(|kind| !left_out(kind)).map(str::to_owned).collect()
    }

    fn summary(&self, wanted: &[Wanted]) -> String {
        let hosts: BTreeSet<_> = wanted.iter().filter(|one| one.has_target).map(|one| &one.host).collect();
        let waiting: BTreeSet<_> = wanted
            .iter()
            .filter(|one| !one.has_target && !hosts.contains(&one.host))
            .map(|one| one.host.clone())
            .collect();
        let mut parts = match (hosts.len(), self.installed.registry.as_str()) {
            (0, _) if waiting.is_empty() => vec!["no object asks for a host".to_owned()],
            (0, _) => Vec::new(),
            (1, "txt") => vec!["1 host, with records of ours".to_owned()],
            (count, "txt") => vec![format!("{count} hosts, all with records of ours")],
            (count, _) => vec![format!("{}, with records", counted(count, "host"))],
        };
        let internal = |host: &String| wanted.iter().any(|one| one.host == *host && self.is_internal(one));
        let (internal, waiting): (BTreeSet<_>, BTreeSet<_>) = waiting.into_iter().partition(internal);
        if !internal.is_empty() {
            parts.push(format!("no record for {}, of type ClusterIP", listed(internal)));
        }
        if !waiting.is_empty() {
            parts.push(format!("no load balancer address yet for {}", listed(waiting)));
        }
        parts.join("; ")
    }

    /// The sources and flags whose hosts can't be read here, if there are any.
    pub(super) fn unlooked(&self) -> Option<String> {
        let sources = self.installed.sources.iter().filter(|source| !is_readable(source)).cloned();
        let invented = View::from(&self.installed).inventing.map(|flag| format!("--{flag}"));
        let all: Vec<_> = sources.chain(invented).collect();
        (!all.is_empty()).then(|| listed(all))
    }

    /// What is wrong with a record that is asked for, in the zones that it goes to.
    pub(super) fn troubles(&self, wanted: &Wanted, records: &[Contents]) -> Vec<Found> {
        let zones: Vec<&Zone> = records.iter().map(|contents| &contents.zone).collect();
        let suitable = suitable_zones(&wanted.host, &zones);
        if suitable.is_empty() {
            return if self.is_of_others(&wanted.host) { Vec::new() } else { vec![self.without_zone(wanted)] };
        }
        let is_meant = |zone: &&&Zone| wanted.zone.as_ref().is_none_or(|id| *id == zone.id);
        if let (None, Some(id)) = (suitable.iter().find(is_meant), &wanted.zone) {
            let zones = self.zones.as_deref().unwrap_or_default();
            if zones.iter().any(|zone| zone.id == *id && self.is_looked_after_by_another(zone, zones)) {
                return Vec::new();
            }
            let text = format!("{} of {} (zone {id}", wanted.host, listed(wanted.resources.clone()));
            let text =
                format!("{text}, which its annotation aws-hosted-zone-id names, isn't among those that take it)");
            return vec![Found::new(Trouble::Homeless, text)];
        }
        let suitable: Vec<_> = suitable.iter().filter(is_meant).collect();
        let contents = records.iter().filter(|contents| suitable.iter().any(|zone| zone.id == contents.zone.id));
        contents.flat_map(|contents| self.troubles_in(wanted, contents)).collect()
    }

    /// True for a host whose zones another installation of the cluster looks after.
    fn is_of_others(&self, host: &str) -> bool {
        let (Ok(others), Ok(zones)) = (&self.others, &self.zones) else { return false };
        others.iter().any(|other| !suitable_zones(host, &other.looked_after(zones)).is_empty())
    }

    fn without_zone(&self, wanted: &Wanted) -> Found {
        let (why, hint) = self.homeless(&wanted.host);
        Found::new(Trouble::Homeless, format!("{} ({why})", wanted.host)).hint(hint)
    }

    fn troubles_in(&self, wanted: &Wanted, contents: &Contents) -> Vec<Found> {
        let here: Vec<&Owned> = contents.found.iter().filter(|owned| wanted.is(&owned.record)).collect();
        let (disputed, here): (Vec<_>, Vec<_>) = here.into_iter().partition(|owned| owned.class == Class::Conflict);
        if here.is_empty() {
            return vec![self.missing(wanted, contents)];
        }
        let mut found: Vec<_> = here.iter().filter_map(|owned| self.trouble(wanted, owned, contents)).collect();
        let own = |one: &&Owned| here.iter().any(|owned| owned.class != Class::Foreign && owned.record == one.record);
        found.extend(disputed.into_iter().filter(own).map(|owned| {
            let owners = owned.owner.as_deref().unwrap_or_default();
            Found::new(Trouble::Disputed, format!("{} ({owners})", title(&owned.record))).hint(format!(
                "{} --zone {} --class conflict",
                self.list(),
                contents.zone.id
            ))
        }));
        found
    }

    fn missing(&self, wanted: &Wanted, contents: &Contents) -> Found {
        let (host, mapper) = (&wanted.host, self.installed.mapper());
        let says = |owned: &&Owned| {
            let named = mapper.host(&owned.record.name).is_some_and(|(name, _)| name == *host);
            owned.class == Class::OrphanTxt && self.is_strange(owned) && named
        };
        let strangers: Vec<_> = contents.found.iter().filter(says).collect();
        if let Some(first) = strangers.first() {
            let owner = first.owner.as_deref().unwrap_or("others");
            let text = format!("{host} (a left-over TXT record would make its record {owner}'s)");
            let sets = contents.sets_of(strangers.iter().map(|owned| &owned.record));
            return Found::new(Trouble::Missing, text).hint(self.there(change(&contents.zone.id, "DELETE", &sets)));
        }
        if let Some((flag, kind)) = self.unmanaged(wanted) {
            let text = format!("{host} of {} (--{flag} leaves {kind} out)", listed(wanted.resources.clone()));
            return Found::new(Trouble::Missing, text).hint(self.with_all_types());
        }
        if let Some(flag) = TARGET_FLAGS.iter().find(|flag| !self.installed.arguments.all(flag).is_empty()) {
            let text = format!("{host} of {} (--{flag} may leave its targets out)", listed(wanted.resources.clone()));
            return Found::new(Trouble::Missing, text);
        }
        if let Some(found) = self.only_in_twin(wanted, &contents.zone) {
            return found;
        }
        if let Some(written) = wanted.miscased(&contents.zone) {
            return self.without_lower_case(wanted, written, &contents.zone);
        }
        let trouble =
            if wanted.targets.is_empty() && wanted.record_type.is_none() { Trouble::Late } else { Trouble::Missing };
        Found::new(trouble, format!("{host} of {}", listed(wanted.resources.clone()))).hint(self.wait_for(host))
    }

    /// ExternalDNS finds no zone for a name whose domain is in another letter case.
    fn without_lower_case(&self, wanted: &Wanted, written: &str, zone: &Zone) -> Found {
        let resources = listed(wanted.resources.clone());
        let text = format!(
            "{} of {resources} (written {written}: ExternalDNS takes zone {} for names in lower case only)",
            wanted.host, zone.name
        );
        let found = Found::new(Trouble::Missing, text);
        let hint = wanted.resources.first().and_then(|name| self.in_lower_case(name, written));
        Found { hint, ..found }
    }

    /// Writes the annotation of an object that has a name in lower case, or opens the object.
    fn in_lower_case(&self, name: &str, written: &str) -> Option<String> {
        let objects = self.objects.as_deref().unwrap_or_default();
        let object = objects.iter().find(|object| resource(object).as_deref() == Some(name))?;
        let said = |key: String| {
            let hosts = object["metadata"]["annotations"].get(&key)?.as_str()?;
            hosts.split(',').any(|host| host.trim() == written).then(|| format!("{key}={}", hosts.to_lowercase()))
        };
        let mut keys = ["hostname", "internal-hostname"].iter().flat_map(|short| self.installed.prefixes().keys(short));
        Some(match keys.find_map(said) {
            Some(lower) => kubectl("annotate", name)?.word(&lower).word("--overwrite").into(),
            None => kubectl("edit", name)?.into(),
        })
    }

    /// Another zone of the same name has the record: ExternalDNS, which takes both for one, never makes it here.
    fn only_in_twin(&self, wanted: &Wanted, zone: &Zone) -> Option<Found> {
        let zones = self.zones.as_deref().ok()?;
        let selected = self.installed.looked_after(zones);
        let twins = twins(&selected).into_iter().find(|twins| twins.iter().any(|twin| twin.id == zone.id))?;
        let has = |contents: &&Contents| {
            let is_twin = contents.zone.id != zone.id && twins.iter().any(|twin| twin.id == contents.zone.id);
            is_twin && contents.found.iter().any(|owned| owned.class.is_owned() && wanted.is(&owned.record))
        };
        let there = self.records.iter().flatten().find(has)?;
        let text = format!(
            "{} of {} in {}: {} of the same name has it",
            wanted.host,
            listed(wanted.resources.clone()),
            shown(zone),
            shown(&there.zone)
        );
        Some(Found::new(Trouble::Missing, text).hint(self.with_one_of(&twins, &selected)))
    }

    /// The flag that keeps ExternalDNS from making a record of the type that is wanted.
    fn unmanaged(&self, wanted: &Wanted) -> Option<(&'static str, String)> {
        let told = wanted.record_type.clone();
        let of_targets = || {
            let address = |target: &String| target.parse::<IpAddr>().ok();
            Some(match wanted.targets.iter().find_map(address) {
                Some(IpAddr::V6(_)) => "AAAA",
                Some(IpAddr::V4(_)) => "A",
                None if wanted.targets.is_empty() => return None,
                None if wanted.is_address => "A",
                None => "CNAME",
            })
        };
        let kind = told.or_else(|| of_targets().map(str::to_owned))?;
        let given = TYPE_FLAGS.iter().find(|flag| !self.installed.arguments.all(flag).is_empty())?;
        (!View::from(&self.installed).record_types.contains(&kind)).then_some((*given, kind))
    }

    fn with_all_types(&self) -> String {
        let command = Command::new(&self.install);
        TYPE_FLAGS.iter().fold(command, |command, flag| command.without_extra(flag)).approved()
    }

    fn is_strange(&self, owned: &Owned) -> bool {
        self.installed.registry == "txt" && owned.owner.as_deref() != Some(&self.installed.owner_id)
    }

    /// What is wrong with a record that is there.
    fn trouble(&self, wanted: &Wanted, owned: &Owned, contents: &Contents) -> Option<Found> {
        let record = &owned.record;
        let title = title(record);
        let elsewhere = self.elsewhere(wanted, record);
        if self.installed.registry == "txt" {
            match owned.class {
                // Another installation of the cluster has made it as it should be.
                Class::Foreign if elsewhere.is_none() && self.is_of_sibling(owned) => return None,
                Class::Foreign => {
                    let owner = owned.owner.as_deref().unwrap_or_default();
                    let resource = owned.resource.as_ref().map(|name| format!(", {name}")).unwrap_or_default();
                    let text = format!("{title} ({owner}{resource}{})", self.whose(owner));
                    if self.is_its_own_id(owner) {
                        return Some(self.left_behind(&text));
                    }
                    return Some(Found::new(Trouble::Foreign, text).hint(self.owned_by(owner)));
                }
                Class::Unowned => return Some(self.unowned(record, elsewhere.as_deref(), contents, wanted)),
                _ => {}
            }
        }
        if let Some((flag, kind)) = self.unmanaged(wanted).filter(|(_, kind)| *kind == record.record_type) {
            let text = format!("{title} (--{flag} leaves {kind} out)");
            return Some(Found::new(Trouble::Unmanaged, text).hint(self.with_all_types()));
        }
        if let Some(at) = elsewhere {
            let to = listed(wanted.targets.iter().cloned());
            return Some(
                Found::new(Trouble::Elsewhere, format!("{title} → {at}, not {to}")).hint(self.redirect(&wanted.host)),
            );
        }
        (owned.class == Class::OwnedLegacy)
            .then(|| Found::new(Trouble::Legacy, title).hint(self.redirect(&wanted.host)))
    }

    /// True for the owner id that it has where none is chosen, while it is told another and nobody else is told it.
    fn is_its_own_id(&self, owner: &str) -> bool {
        let migrates = self.installed.arguments.get("migrate-from-txt-owner") == Some(owner);
        let others = self.others.as_ref().is_ok_and(|others| others.iter().all(|other| other.owner_id != owner));
        owner == self.owner_id && others && !migrates
    }

    /// A record of its own id before `--txt-owner-id` was changed. What it owns under the present id would be left
    /// behind in turn, so the way back is only told where that is nothing.
    fn left_behind(&self, text: &str) -> Found {
        let (back, now) = (&self.owner_id, &self.installed.owner_id);
        let text = format!("{text}: the id that is this installation's own, before --txt-owner-id={now}");
        let count = own(self.records.as_deref().unwrap_or_default()).count();
        if count > 0 {
            let text = format!("{text}, under which it owns {} by now", counted(count, "record"));
            return Found::new(Trouble::Foreign, text).hint(self.owned_by(back));
        }
        let command = Command::new(&self.install).set("--txt-owner-id", [back.as_str()]).word("--abandon-records");
        Found::new(Trouble::Foreign, text).hint(command.approved())
    }

    fn is_of_sibling(&self, owned: &Owned) -> bool {
        owned.owner.as_deref().is_some_and(|owner| self.sibling(owner).is_some())
    }

    /// Another installation of the cluster, by its owner id.
    fn sibling(&self, owner: &str) -> Option<&Installed> {
        let same = |other: &&Installed| other.registry == "txt" && other.owner_id == owner;
        self.others.iter().flatten().find(same)
    }

    /// Names another installation of the cluster by its owner id.
    fn whose(&self, owner: &str) -> String {
        self.sibling(owner)
            .map(|other| format!(": {}/{} of this cluster", other.namespace, other.name))
            .unwrap_or_default()
    }

    /// Has records updated, which a policy may keep it from.
    fn redirect(&self, host: &str) -> String {
        match self.installed.policy.as_deref() {
            Some("create-only") => Command::new(&self.install).set("--policy", ["upsert-only"]).approved(),
            _ => self.wait_for(host),
        }
    }

    /// Where a record points to, if that isn't what the objects say.
    fn elsewhere(&self, wanted: &Wanted, record: &Record) -> Option<String> {
        if wanted.targets.is_empty() || RETARGETING.iter().any(|flag| !self.installed.arguments.all(flag).is_empty()) {
            return None;
        }
        if self.installed.arguments.bool("resolve-service-load-balancer-hostname") == Some(true) {
            return None;
        }
        let points: Vec<_> = record.alias.iter().chain(&record.values).map(|point| target(point)).collect();
        let wanted: BTreeSet<_> = wanted.targets.iter().map(|point| target(point)).collect();
        (!points.iter().all(|point| wanted.contains(point))).then(|| points.join(", "))
    }

    /// A record that nobody owns gets an owner by a TXT record, which interrupts nothing: the next synchronisation
    /// points it to where it should. One of a type that doesn't fit has to go.
    fn unowned(&self, record: &Record, elsewhere: Option<&str>, contents: &Contents, wanted: &Wanted) -> Found {
        let (title, zone) = (title(record), &contents.zone);
        let mapper = self.installed.mapper();
        let txt = mapper.txt_of(record);
        if is_too_long(&txt) {
            return Found::new(Trouble::LongLabel, format!("{title} ({txt})"));
        }
        let homes = self.homes(&txt, zone);
        if homes.is_empty() {
            let trouble = if elsewhere.is_some() { Trouble::Elsewhere } else { Trouble::OutsideZone };
            let text = format!("{title} ({txt} isn't in {})", zone.name);
            return self.with_dotted_prefix(Found::new(trouble, text));
        }
        let sets = contents.sets_of([record]);
        let at = elsewhere.map(|at| format!(" → {at}")).unwrap_or_default();
        if record.record_type == "CNAME" && wanted.is_address && elsewhere.is_some() {
            let text = format!("{title}{at} (an alias can't replace it: it has to be deleted)");
            return Found::new(Trouble::Unowned, text).hint(self.there(change(&zone.id, "DELETE", &sets)));
        }
        let text = format!("{title}{at} (a TXT record makes it ours without an interruption)");
        let txts: Vec<_> = sets.iter().map(|set| self.adopting(set, record, wanted)).collect();
        let hints: Vec<_> = homes.into_iter().map(|home| change(&home.id, "CREATE", &txts)).collect();
        Found::new(Trouble::Unowned, text).hint(self.there(hints.join("\n")))
    }

    /// The zones to which ExternalDNS writes the TXT record of a record in `zone`: that zone, or those above it for a TXT
    /// record that isn't in it.
    fn homes(&self, txt: &str, zone: &Zone) -> Vec<&Zone> {
        let zones = self.zones.as_deref().unwrap_or_default();
        let homes = suitable_zones(txt, &self.installed.looked_after(zones));
        if homes.iter().any(|home| home.id == zone.id) {
            return homes.into_iter().filter(|home| home.id == zone.id).collect();
        }
        homes
    }

    /// The TXT record that makes a record set ours, with its identifier and routing.
    fn adopting(&self, set: &Value, record: &Record, wanted: &Wanted) -> Value {
        let resource = wanted.resources.first().cloned().unwrap_or_default();
        let labels = [("owner", self.installed.owner_id.clone()), ("resource", resource)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value)).into();
        let mut txt = set.clone();
        if let Some(fields) = txt.as_object_mut() {
            fields.remove("AliasTarget");
            fields.remove("HealthCheckId");
        }
        txt["Name"] = json!(self.installed.mapper().txt_of(record));
        txt["Type"] = json!("TXT");
        txt["TTL"] = json!(300);
        txt["ResourceRecords"] = json!([{"Value": txt_value(&labels)}]);
        txt
    }

    /// Gives TXT records a label of their own, so that those of the apex lie inside its zone. Records that it owns would
    /// be without an owner then: no command does that by the way.
    fn with_dotted_prefix(&self, found: Found) -> Found {
        let own = own(self.records.as_deref().unwrap_or_default()).count();
        if own > 0 {
            let text = format!(
                "{}; --txt-prefix {APEX_TXT_PREFIX} would put it there, and leave {} without an owner",
                found.text,
                counted(own, "record")
            );
            return Found { text, ..found };
        }
        let command = Command::new(&self.install).without("--txt-suffix").set("--txt-prefix", [APEX_TXT_PREFIX]);
        found.hint(command.word("--abandon-records").approved())
    }

    /// Own records that nothing asks for, though their namespace is there.
    fn stale(&self, objects: &[Value], records: &[Contents]) -> Vec<Check> {
        if self.installed.registry != "txt" || self.installed.encrypts() {
            return Vec::new();
        }
        let view = View::from(&self.installed);
        let desired = desired_hosts(objects, &view);
        let told = self.installed.sources.iter().all(|source| is_readable(source));
        let is_here = |owned: &&Owned| {
            let known = |name: &str| self.namespaces.as_ref().is_ok_and(|all| !all.contains(name));
            let by_whom = told || owned.resource.is_some();
            by_whom && !namespace(owned).is_some_and(known) && !desired.iter().any(|one| one.host == owned.record.name)
        };
        let mut findings = Vec::new();
        for contents in records {
            let gone = vanishing(&contents.found, objects, &view).into_iter();
            // What the domain filters leave out isn't deleted, and isn't kept up either.
            let ignored = contents.found.iter().filter(|owned| owned.class.is_owned());
            let ignored = ignored.filter(|owned| !view.domains.matches(&owned.record.name));
            let ignored = ignored.filter(|owned| self.lost(&owned.record.name, objects).is_some());
            let gone = gone.chain(ignored).filter(is_here);
            // What is only left out by a filter is asked for: its records are no leftovers.
            let (lost, gone): (Vec<_>, Vec<_>) =
                gone.map(|owned| (self.lost(&owned.record.name, objects), owned)).partition(|(lost, _)| lost.is_some());
            findings.extend(lost.into_iter().filter_map(|(lost, _)| lost).map(|lost| Check {
                id: ids::RECORDS,
                status: Status::Warn,
                ..lost
            }));
            let gone: Vec<_> = gone.into_iter().map(|(_, owned)| owned).collect();
            let names = gone.iter().map(|owned| {
                let asked = owned.resource.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
                format!("{}{asked}", title(&owned.record))
            });
            let names: Vec<_> = names.collect();
            let message = format!("nothing asks any more for {}, which may go once nothing needs them", listed(names));
            findings.extend((!gone.is_empty()).then(|| self.removable(message, contents, &gone, records)));
        }
        findings.dedup();
        findings
    }

    /// Own TXT records that are without a record, or that a newer one has replaced.
    fn useless_txts(&self, wanted: &[Wanted], records: &[Contents]) -> Vec<Check> {
        let mapper = self.installed.mapper();
        let awaited = |owned: &Owned| {
            let host = mapper.host(&owned.record.name).map(|(host, _)| host);
            host.is_some_and(|host| wanted.iter().any(|one| one.host == host))
        };
        let kinds = [
            (Class::OrphanTxt, "TXT records without their record"),
            (Class::ObsoleteTxt, "TXT records of an older naming that are of no use any more"),
        ];
        let mut findings = Vec::new();
        for (contents, (class, what)) in records.iter().flat_map(|zone| kinds.map(|kind| (zone, kind))) {
            let useless: Vec<_> = contents
                .found
                .iter()
                .filter(|owned| owned.class == class && !self.is_strange(owned))
                .filter(|owned| class != Class::OrphanTxt || !awaited(owned))
                .collect();
            if self.installed.registry == "txt" && !useless.is_empty() {
                let names = listed(useless.iter().map(|owned| owned.record.name.clone()));
                findings.push(self.removable(
                    format!("{what}: {names} in {}", shown(&contents.zone)),
                    contents,
                    &useless,
                    records,
                ));
            }
        }
        findings
    }

    /// A warning about records that may go, with their TXT records, which may be in a zone above.
    fn removable(&self, message: String, contents: &Contents, gone: &[&Owned], all: &[Contents]) -> Check {
        let sets = contents.sets_with_txts(gone);
        let here: Vec<_> = sets.iter().map(Record::read).map(|record| normalize(&record.name)).collect();
        let outside: Vec<_> = txts(gone).into_iter().filter(|txt| !here.contains(&txt.name)).collect();
        let above = all.iter().filter(|other| is_below(&contents.zone.name, &other.zone.name));
        let there = above.map(|other| (&other.zone.id, other.sets_of(&outside))).filter(|(_, sets)| !sets.is_empty());
        let deletions = [(&contents.zone.id, sets)].into_iter().chain(there);
        let hints: Vec<_> = deletions.flat_map(|(id, sets)| deletion(id, &sets)).collect();
        Check::warn(ids::RECORDS, message).hint(self.there(hints.join("\n")))
    }

    /// Annotations of ExternalDNS that neither this nor another installation reads.
    fn unread(&self, objects: &[Value]) -> Option<Check> {
        let others = self.others.iter().flatten();
        let read: Vec<String> = others.flat_map(|other| other.prefixes().keys("")).collect();
        let lost = |unread: &Unread| !read.iter().any(|prefix| unread.key.starts_with(prefix.as_str()));
        let found: Vec<_> = unread_annotations(objects, &self.installed.prefixes()).into_iter().filter(lost).collect();
        found.first()?;
        let mended = found.iter().find(|unread| unread.instead.is_none());
        let hint = mended.and_then(|unread| self.reading(&unread.key, &unread.resource));
        let texts = found.iter().map(|unread| match &unread.instead {
            Some(instead) => format!("{} of {} ({instead} says something else)", unread.key, unread.resource),
            None => format!("{} of {}", unread.key, unread.resource),
        });
        let message = format!("annotations that it doesn't read: {}", listed(texts));
        Some(Check { hint, ..Check::warn(ids::RECORDS, message) })
    }

    /// What makes it read an annotation under another prefix: the flags, unless annotations that it reads would be lost
    /// by them or the version has none, and then the annotation under a prefix that it reads.
    pub(super) fn reading(&self, key: &str, name: &str) -> Option<String> {
        let (installed, version) = (&self.installed, self.installed.rules());
        let both = version.supports(Feature::LegacyAnnotations);
        let prefix = if both || !key.starts_with(LEGACY_PREFIX) { PREFIX } else { LEGACY_PREFIX };
        let wanted = Prefixes { prefix: prefix.to_owned(), legacy: both };
        let objects = self.objects.as_deref().unwrap_or_default();
        let read = installed.prefixes().keys("");
        let is_read = |unread: &Unread| read.iter().any(|prefix| unread.key.starts_with(prefix.as_str()));
        let is_own = ![PREFIX, LEGACY_PREFIX].contains(&installed.annotation_prefix.as_str());
        let loses = is_own || unread_annotations(objects, &wanted).iter().any(is_read);
        if loses || !version.supports(Feature::AnnotationPrefix) {
            return self.rewritten(key, name);
        }
        let command = Command::new(&self.install).without("--legacy-annotations").set("--annotation-prefix", [prefix]);
        let command = if both { command.word("--legacy-annotations=true") } else { command };
        Some(command.approved())
    }

    /// Says of an object what an annotation of it says under the prefix that is read.
    fn rewritten(&self, key: &str, name: &str) -> Option<String> {
        let objects = self.objects.as_deref().unwrap_or_default();
        let object = objects.iter().find(|object| resource(object).as_deref() == Some(name))?;
        let own = object["metadata"]["annotations"].as_object()?;
        let said = own.get(key)?.as_str()?;
        let short = [PREFIX, LEGACY_PREFIX].into_iter().find_map(|prefix| key.strip_prefix(prefix))?;
        let read = self.installed.prefixes().keys(short).into_iter().next()?;
        let command = kubectl("annotate", name)?;
        match own.get(&read).and_then(Value::as_str) {
            None => Some(command.word(&format!("{read}={said}")).into()),
            Some(hosts) if short.ends_with("hostname") => {
                Some(command.word(&format!("{read}={hosts},{said}")).word("--overwrite").into())
            }
            Some(_) => None,
        }
    }
}

impl Wanted {
    /// The records of a host that is fine, for people.
    pub(super) fn described(&self, records: &[Contents]) -> Vec<String> {
        let of_zone = |contents: &Contents| {
            let here = contents.found.iter().filter(|owned| self.is(&owned.record) && owned.class != Class::Conflict);
            let here: Vec<_> =
                here.map(|owned| (&owned.record.record_type, owned.record.target(), owned.owner.clone())).collect();
            let (_, target, owner) = here.first()?;
            let types: BTreeSet<_> = here.iter().map(|(kind, ..)| kind.as_str()).collect();
            let types = types.into_iter().collect::<Vec<_>>().join(", ");
            let owner = owner.as_ref().map(|owner| format!(", owner {owner}")).unwrap_or_default();
            Some(format!("{types} → {} in {}{owner}", normalize(target), shown(&contents.zone)))
        };
        records.iter().filter_map(of_zone).collect()
    }

    /// True where it is this name, or a wildcard that stands for it.
    pub(super) fn is_for(&self, host: &str) -> bool {
        let host = normalize(host.trim());
        self.host == host || covers(&self.host, &host)
    }

    /// How the objects write it, where none of them ends as the name of the zone does: ExternalDNS compares these as they
    /// are (`suitableZones` in `provider/aws/aws.go`), unlike the labels before them.
    fn miscased(&self, zone: &Zone) -> Option<&str> {
        let fits = |written: &String| {
            let rest = written.trim_end_matches('.').strip_suffix(zone.name.trim_end_matches('.'));
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let written = self.written.first()?;
        (written.to_lowercase() != *written && !self.written.iter().any(fits)).then_some(written)
    }

    /// True for a record of this name and set, of a type in question.
    fn is(&self, record: &Record) -> bool {
        let same = record.name == self.host && record.set_identifier == self.set_identifier;
        same && self.types.contains(&record.record_type)
    }
}

impl Contents {
    /// The record sets of these records.
    fn sets_of<'r>(&self, records: impl IntoIterator<Item = &'r Record>) -> Vec<Value> {
        let key =
            |record: &Record| (normalize(&record.name), record.record_type.clone(), record.set_identifier.clone());
        let keys: BTreeSet<_> = records.into_iter().map(key).collect();
        self.sets.iter().filter(|set| keys.contains(&key(&Record::read(set)))).cloned().collect()
    }

    /// The record sets of these records and of the TXT records that say whose they are, as far as they are here.
    fn sets_with_txts(&self, owned: &[&Owned]) -> Vec<Value> {
        self.sets_of(owned.iter().map(|owned| &owned.record).chain(&txts(owned)))
    }
}

/// The TXT records that say whose records are, by name and identifier.
fn txts(owned: &[&Owned]) -> Vec<Record> {
    let txt = |owned: &&Owned| {
        let name = owned.txt.clone()?;
        let set_identifier = owned.record.set_identifier.clone();
        Some(Record { name, record_type: "TXT".to_owned(), set_identifier, ..Record::default() })
    };
    owned.iter().filter_map(txt).collect()
}

/// The commands that delete a few record sets in one line, or many with a line for each.
fn deletion(zone_id: &str, sets: &[Value]) -> Vec<String> {
    if sets.len() <= 4 { vec![change(zone_id, "DELETE", sets)] } else { commands(zone_id, sets) }
}

fn merged(desired: BTreeSet<Desired>) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let untold = |one: &Desired| one.has_target && one.targets.is_empty();
    let unsure: BTreeSet<_> = desired.iter().filter(|one| untold(one)).map(|one| one.host.clone()).collect();
    for mut one in desired {
        if unsure.contains(&one.host) {
            one.targets.clear();
        }
        let same = |known: &&mut Wanted| {
            (&known.host, &known.set_identifier, &known.record_type, &known.zone)
                == (&one.host, &one.set_identifier, &one.record_type, &one.zone)
        };
        match wanted.iter_mut().find(same) {
            Some(known) => {
                known.has_target |= one.has_target;
                known.targets.extend(one.targets);
                known.written.insert(one.written);
                // Annotation and rules of one object may write it differently.
                if !known.resources.contains(&one.resource) {
                    known.resources.push(one.resource);
                }
            }
            None => wanted.push(Wanted {
                host: one.host,
                written: [one.written].into(),
                set_identifier: one.set_identifier,
                record_type: one.record_type,
                zone: one.zone,
                resources: vec![one.resource],
                has_target: one.has_target,
                targets: one.targets.into_iter().collect(),
                ..Wanted::default()
            }),
        }
    }
    wanted
}

fn title(record: &Record) -> String {
    format!("{} {}", record.name, record.record_type)
}

/// A name or an address as it is compared: Route53 writes `dualstack.` before the names of some load balancers.
fn target(text: &str) -> String {
    let name = normalize(text);
    let name = name.strip_prefix("dualstack.").unwrap_or(&name);
    name.parse::<IpAddr>().map_or_else(|_| name.to_owned(), |address| address.to_string())
}

/// True for a wildcard that stands for a name.
pub(super) fn covers(wildcard: &str, host: &str) -> bool {
    let rest = wildcard.strip_prefix('*').filter(|rest| rest.starts_with('.'));
    rest.is_some_and(|rest| host.len() > rest.len() && host.ends_with(rest))
}
