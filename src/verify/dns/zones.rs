//! Which zones an installation looks after, and why not others.

use std::collections::BTreeSet;

use super::{Check, Dns, ids, listed, shown};
use crate::externaldns::args::Installed;
use crate::externaldns::filter::{DomainFilter, Zone, bare_id, suitable_zones, twins};
use crate::shell::Command;

/// What may be a slip of the finger.
const TYPO: usize = 2;

/// A domain filter that finds no zone.
struct Unmatched {
    why: String,
    mend: Mend,
}

enum Mend {
    /// Other domains in its place.
    Domains(Vec<String>),
    /// The other zone type.
    Type,
    /// A zone of this name.
    Create,
    /// This command.
    Command(String),
}

impl Dns {
    pub(super) fn check_zones(&self) -> Check {
        let id = ids::ZONES;
        let zones = match &self.zones {
            Ok(zones) => zones,
            Err(why) => return Check::skip(id, why),
        };
        let selected = self.installed.looked_after(zones);
        let mut findings = Vec::new();
        findings.extend(self.unmatched_ids(zones, &selected));
        // With a regular expression, ExternalDNS doesn't read the other domain filters.
        if !self.installed.has_regex_filter() {
            findings.extend(self.unmatched_domains(zones, &selected));
            if selected.is_empty() && !findings.iter().any(Check::fails) {
                findings.push(self.no_zone(zones));
            }
        }
        match self.installed.unjudged() {
            None => findings.extend(self.twins(&selected)),
            Some(flag) => findings.push(Check::skip(id, format!("which zones --{flag} selects isn't judged here"))),
        }
        Check::of(id, listed(selected.into_iter().map(shown)), findings)
    }

    /// Domain filters that find no zone.
    fn unmatched_domains<'f>(&'f self, zones: &[Zone], selected: &[&Zone]) -> Option<Check> {
        let filters = &self.installed.domain_filters;
        let unmatched = |filter: &'f String| Some((filter, self.unmatched(filter, zones, selected)?));
        let found: Vec<(&String, Unmatched)> = filters.iter().filter_map(unmatched).collect();
        let first = found.first()?;
        let hint = match &first.1.mend {
            Mend::Create => Some(self.create_zone(first.0)),
            // Where other filters find zones, their records would be given up.
            Mend::Type => selected.is_empty().then(|| self.with_other_type()),
            Mend::Command(command) => Some(command.clone()),
            Mend::Domains(_) => Some(self.with_domains(&found)),
        };
        let check = if selected.is_empty() { Check::fail } else { Check::warn };
        let check = check(ids::ZONES, listed(found.into_iter().map(|(_, unmatched)| unmatched.why)));
        Some(Check { hint, ..check })
    }

    /// Other domains in the place of those that find no zone.
    fn with_domains(&self, found: &[(&String, Unmatched)]) -> String {
        let filters = &self.installed.domain_filters;
        let corrected = filters.iter().flat_map(|filter| match found.iter().find(|(wrong, _)| *wrong == filter) {
            Some((_, Unmatched { mend: Mend::Domains(instead), .. })) => instead.clone(),
            _ => vec![filter.clone()],
        });
        let corrected: BTreeSet<_> = corrected.collect();
        Command::new(&self.install).set("--domain-filter", corrected.iter().map(String::as_str)).approved()
    }

    fn unmatched(&self, filter: &str, zones: &[Zone], selected: &[&Zone]) -> Option<Unmatched> {
        let domain = DomainFilter::new(&[filter.to_owned()], &[], self.installed.rules());
        let parents = self.installed.arguments.bool("aws-zone-match-parent") == Some(true);
        let matches = |zone: &Zone| domain.matches(&zone.name) || (parents && domain.matches_parent(&zone.name));
        if selected.iter().any(|zone| matches(zone)) {
            return None;
        }
        let unmatched = |why: String, mend: Mend| Some(Unmatched { why, mend });
        let flag = format!("--domain-filter={filter}");
        if filter.contains(',') {
            let parts = filter.split(',').map(|part| part.trim().to_owned()).collect();
            let why = format!("{flag} is one name with a comma in it, which nothing matches");
            return unmatched(why, Mend::Domains(parts));
        }
        if let Some(zone) = zones.iter().find(|zone| matches(zone)) {
            if !selected.is_empty() && self.is_looked_after_by_another(zone, zones) {
                return None;
            }
            let excluded = |zone: &Zone| {
                !DomainFilter::new(&[], &self.installed.exclude_domains, self.installed.rules()).matches(&zone.name)
            };
            if selected.is_empty() && !zones.iter().any(|zone| matches(zone) && self.has_id(zone) && !excluded(zone)) {
                // It isn't this filter that is wrong.
                return None;
            }
            let kind = self.installed.zone_type.as_deref().filter(|kind| zone.private != (*kind == "private"));
            return match kind {
                Some(kind) if self.has_id(zone) => {
                    let why = format!("--aws-zone-type={kind} leaves {} out, which {flag} is about", shown(zone));
                    unmatched(why, Mend::Type)
                }
                _ => {
                    let (why, command) = self.homeless(&zone.name);
                    unmatched(why, Mend::Command(command))
                }
            };
        }
        let all: Vec<_> = zones.iter().collect();
        if let Some(zone) = suitable_zones(filter.trim_start_matches('.'), &all).first() {
            let why = format!("{flag} matches no zone: {} lies above it", shown(zone));
            return unmatched(why, Mend::Domains(vec![zone.name.clone()]));
        }
        let alike = zones.iter().find(|zone| strsim::osa_distance(&zone.name, filter) <= TYPO);
        let instead = alike.or_else(|| zones.first().filter(|_| zones.len() == 1 && selected.is_empty()));
        let known = match zones {
            [] => "the account has none".to_owned(),
            zones => format!("there is {}", listed(zones.iter().map(shown))),
        };
        let mend = instead.map_or(Mend::Create, |zone| Mend::Domains(vec![zone.name.clone()]));
        unmatched(format!("{flag} matches no zone: {known}"), mend)
    }

    /// True for a zone that another installation of the cluster looks after.
    pub(super) fn is_looked_after_by_another(&self, zone: &Zone, zones: &[Zone]) -> bool {
        let others = self.others.iter().flatten().filter(|other| other.unjudged().is_none());
        others.flat_map(|other| other.looked_after(zones)).any(|known| known.id == zone.id)
    }

    fn has_id(&self, zone: &Zone) -> bool {
        let ids = &self.installed.zone_id_filters;
        ids.is_empty() || ids.contains(&zone.id)
    }

    fn with_other_type(&self) -> String {
        let other = if self.installed.zone_type.as_deref() == Some("private") { "public" } else { "private" };
        Command::new(&self.install).set("--aws-zone-type", [other]).approved()
    }

    /// Zone ids that don't exist. What mends them never opens zones that nobody named.
    fn unmatched_ids(&self, zones: &[Zone], selected: &[&Zone]) -> Option<Check> {
        let ids = &self.installed.zone_id_filters;
        let is_known = |id: &str| zones.iter().any(|zone| zone.id == id);
        let unknown: Vec<_> = ids.iter().filter(|id| !is_known(id)).collect();
        if unknown.is_empty() {
            return None;
        }
        let without = Installed { zone_id_filters: Vec::new(), ..self.installed.clone() };
        let open = without.looked_after(zones);
        let mut corrected: Vec<_> = ids.iter().flat_map(|id| meant(id, zones, &open)).collect();
        if let ([], [only]) = (corrected.as_slice(), open.as_slice()) {
            corrected.push(only.id.clone());
        }
        let why = |id: &&String| {
            let comma = " is one id with a comma in it, which no zone has";
            format!("--zone-id-filter={id}{}", if id.contains(',') { comma } else { ": there is no such zone" })
        };
        let why = listed(unknown.iter().map(why));
        let check = if selected.is_empty() { Check::fail } else { Check::warn };
        if corrected.is_empty() {
            let there = if open.is_empty() { zones.iter().collect() } else { open };
            let there = if there.is_empty() { "none".to_owned() } else { listed(there.into_iter().map(shown)) };
            return Some(check(ids::ZONES, format!("{why}; there is {there}")));
        }
        let command = Command::new(&self.install).set("--zone-id-filter", corrected.iter().map(String::as_str));
        Some(check(ids::ZONES, why).hint(command.approved()))
    }

    /// Nothing is left, though each filter finds something, or there is none.
    fn no_zone(&self, zones: &[Zone]) -> Check {
        let Installed { zone_type, exclude_domains, .. } = &self.installed;
        if zones.is_empty() {
            return Check::fail(ids::ZONES, "the account has no hosted zone")
                .hint(self.create_zone(&self.some_domain()));
        }
        let any_type = Installed { zone_type: None, ..self.installed.clone() };
        let left = any_type.looked_after(zones);
        if let (Some(kind), false) = (zone_type, left.is_empty()) {
            let zones = listed(left.into_iter().map(shown));
            let message = format!("no zone is {kind}: --aws-zone-type={kind} leaves {zones} out");
            return Check::fail(ids::ZONES, message).hint(self.with_other_type());
        }
        let all_domains = Installed { exclude_domains: Vec::new(), ..self.installed.clone() };
        let left = all_domains.looked_after(zones);
        if !left.is_empty() {
            let excluded = listed(exclude_domains.iter().map(|domain| format!("--exclude-domains={domain}")));
            let command = Command::new(&self.install).without("--exclude-domains");
            return one_of(format!("{excluded} leaves no zone"), &left, |_| command);
        }
        let any_id = Installed { zone_id_filters: Vec::new(), ..self.installed.clone() };
        let left = any_id.looked_after(zones);
        let message = "the filters leave no zone: the zones of --zone-id-filter are not those of --domain-filter";
        one_of(message.to_owned(), &left, |zone| {
            Command::new(&self.install).set("--zone-id-filter", [zone.id.as_str()])
        })
    }

    /// Zones of one name, which all get every record.
    fn twins(&self, selected: &[&Zone]) -> Option<Check> {
        let twins = twins(selected);
        let first = twins.first()?;
        let names = twins.iter().map(|zones| {
            let ids = zones.iter().map(|zone| format!("{}{}", zone.id, if zone.private { " private" } else { "" }));
            format!("{} ({})", zones[0].name, ids.collect::<Vec<_>>().join(", "))
        });
        let message = format!("zones of one name get the same records: {}", listed(names));
        Some(Check::warn(ids::ZONES, message).hint(self.with_one_of(first, selected)))
    }

    /// Leaves one of the zones of one name: those with records of its own, the public ones where there is no telling.
    pub(super) fn with_one_of(&self, twins: &[&Zone], selected: &[&Zone]) -> String {
        let has_own = |zone: &Zone| {
            let of_zone = self.records.iter().flatten().filter(|contents| contents.zone.id == zone.id);
            of_zone.flat_map(|contents| &contents.found).any(|owned| owned.class.is_owned())
        };
        let kind = |private| move |zone: &&&Zone| zone.private == private;
        let (private, public) = (twins.iter().filter(kind(true)), twins.iter().filter(kind(false)));
        let mixed = private.clone().next().is_some() && public.clone().next().is_some();
        let command = Command::new(&self.install);
        let command = if self.installed.zone_type.is_none() && mixed {
            let inside = private.clone().any(|zone| has_own(zone)) && !public.clone().any(|zone| has_own(zone));
            command.with("--aws-zone-type", if inside { "private" } else { "public" })
        } else {
            let kept = twins.iter().find(|zone| has_own(zone)).unwrap_or(&twins[0]);
            let others = selected.iter().filter(|zone| zone.name != kept.name || zone.id == kept.id);
            command.set("--zone-id-filter", others.map(|zone| zone.id.as_str()))
        };
        command.approved()
    }

    /// A domain that a zone is wanted for.
    fn some_domain(&self) -> String {
        let of_filter = self.installed.domain_filters.first().cloned();
        let of_host = || Some(parent(&self.wanted().ok()?.into_iter().next()?.host).to_owned());
        of_filter.or_else(of_host).unwrap_or_else(|| "example.com".to_owned())
    }

    /// Why no zone takes a host, and what mends it.
    pub(super) fn homeless(&self, host: &str) -> (String, String) {
        let zones = self.zones.as_deref().unwrap_or_default();
        let all: Vec<_> = zones.iter().collect();
        let Some(zone) = suitable_zones(host, &all).into_iter().next_back() else {
            return (format!("no hosted zone of the account takes {host}"), self.create_zone(parent(host)));
        };
        let command = Command::new(&self.install);
        let Installed { zone_type, zone_id_filters, domain_filters, exclude_domains, .. } = &self.installed;
        let excluding = |domains: &[String]| DomainFilter::new(&[], domains, self.installed.rules());
        let (flag, command) = match zone_type.as_deref() {
            Some(kind) if zone.private != (kind == "private") => {
                return (format!("--aws-zone-type={kind} leaves {} out", shown(zone)), self.with_other_type());
            }
            _ if !self.has_id(zone) => {
                let known = zone_id_filters.iter().filter(|id| zones.iter().any(|zone| zone.id == **id));
                let ids = known.chain([&zone.id]).map(String::as_str);
                ("--zone-id-filter", command.set("--zone-id-filter", ids))
            }
            _ if !excluding(exclude_domains).matches(&zone.name) => {
                let spares = |domain: &&String| excluding(std::slice::from_ref(domain)).matches(&zone.name);
                let others = exclude_domains.iter().filter(spares).map(String::as_str);
                ("--exclude-domains", command.set("--exclude-domains", others))
            }
            _ => {
                let domains = domain_filters.iter().chain([&zone.name]).map(String::as_str);
                ("--domain-filter", command.set("--domain-filter", domains))
            }
        };
        (format!("{flag} leaves {} out", shown(zone)), command.approved())
    }
}

/// Zones that a filter leaves out: with a command that takes the one in, without one where there are several, for which
/// of them are meant is the user's to say.
fn one_of(message: String, left: &[&Zone], command: impl FnOnce(&Zone) -> Command) -> Check {
    match left {
        [zone] => Check::fail(ids::ZONES, message).hint(command(zone).approved()),
        [] => Check::fail(ids::ZONES, message),
        zones => {
            let zones = listed(zones.iter().map(|zone| shown(zone)));
            Check::fail(ids::ZONES, format!("{message}; without it, there is {zones}"))
        }
    }
}

/// The zones that an id of `--zone-id-filter` may be about: one of this id, each of a list with commas, or one of those
/// that nothing else leaves out with an id like it.
fn meant(id: &str, zones: &[Zone], open: &[&Zone]) -> Vec<String> {
    let known = |part: &String| zones.iter().any(|zone| zone.id == *part);
    let listed: Vec<_> = id.split(',').map(bare_id).map(str::to_owned).filter(known).collect();
    if !listed.is_empty() {
        return listed;
    }
    let alike = open.iter().find(|zone| strsim::osa_distance(&zone.id, id) <= TYPO && zone.id.len() > 2 * TYPO);
    alike.map(|zone| zone.id.clone()).into_iter().collect()
}

/// The domain in which a host lies.
fn parent(host: &str) -> &str {
    host.split_once('.').map(|(_, rest)| rest).filter(|rest| rest.contains('.')).unwrap_or(host)
}
