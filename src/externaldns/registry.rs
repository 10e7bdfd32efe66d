//! Who owns which record: names and values of the TXT records that ExternalDNS keeps beside its own.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use serde::Serialize;

use super::version::{Feature, Version};

const TEMPLATE: &str = "%{record_type}";

/// How the name of an ownership TXT record follows from a host, and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapper {
    prefix: String,
    suffix: String,
    wildcard: String,
    version: Version,
}

impl Mapper {
    /// The mapping for `--txt-prefix`, `--txt-suffix` and `--txt-wildcard-replacement`, each empty
    /// where not set.
    pub fn new(prefix: &str, suffix: &str, wildcard: &str, version: Version) -> Self {
        let lower = str::to_ascii_lowercase;
        Self { prefix: lower(prefix), suffix: lower(suffix), wildcard: lower(wildcard), version }
    }

    /// The version whose rules it follows.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The TXT record's name for a host and record type.
    pub fn txt_name(&self, host: &str, record_type: &str) -> String {
        let record_type = record_type.to_ascii_lowercase();
        let (label, rest) = host.split_once('.').map_or((host, None), |(label, rest)| (label, Some(rest)));
        let label = if label == "*" && !self.wildcard.is_empty() { self.wildcard.as_str() } else { label };
        let typed = if self.templated() { String::new() } else { format!("{record_type}-") };
        let affix = |affix: &str| affix.replace(TEMPLATE, &record_type);
        let rest = rest.map(|rest| format!(".{rest}")).unwrap_or_default();
        format!("{}{typed}{label}{}{rest}", affix(&self.prefix), affix(&self.suffix))
    }

    /// Host and record type that a TXT record's name stands for; an empty type is the form without
    /// one, which versions up to v0.17 write. `None` for a name of another mapping.
    pub fn host(&self, txt_name: &str) -> Option<(String, &'static str)> {
        let name = txt_name.to_ascii_lowercase();
        if self.suffix.is_empty() {
            return self.strip(&name);
        }
        if !self.prefix.is_empty() {
            return None;
        }
        let labels = 1 + self.suffix.matches('.').count();
        let parts: Vec<_> = name.splitn(labels + 1, '.').collect();
        let (head, rest) = parts.split_at_checked(labels)?;
        let (host, record_type) = self.strip(&head.join("."))?;
        Some((rest.first().map_or(host.clone(), |rest| format!("{host}.{rest}")), record_type))
    }

    fn strip(&self, name: &str) -> Option<(String, &'static str)> {
        let affix = |affix: &str, with: &str| affix.replace(TEMPLATE, with);
        let without = |with: &str| {
            let inner = name.strip_prefix(affix(&self.prefix, with).as_str())?;
            inner.strip_suffix(affix(&self.suffix, with).as_str())
        };
        if self.templated() {
            let typed = |kind: &'static str| without(&kind.to_ascii_lowercase()).map(|host| (host.to_owned(), kind));
            if let Some(found) = self.version.txt_types().find_map(typed) {
                return Some(found);
            }
        }
        Some(self.leading_type(without("")?))
    }

    /// Takes the type off `a-host`.
    fn leading_type(&self, name: &str) -> (String, &'static str) {
        let (first, rest) = name.split_once('-').map_or((name, name), |(first, rest)| (first, rest));
        let found = self.version.txt_types().find(|kind| kind.eq_ignore_ascii_case(first));
        found.map_or((name.to_owned(), ""), |kind| (rest.to_owned(), kind))
    }

    fn templated(&self) -> bool {
        self.prefix.contains(TEMPLATE) || self.suffix.contains(TEMPLATE)
    }

    /// Why ExternalDNS can't write the TXT record of a host, which leaves the host's record without
    /// an owner.
    pub fn problem(&self, host: &str, record_type: &str, zone: &str) -> Option<TxtProblem> {
        let txt = self.txt_name(host, record_type);
        if txt.split('.').next().is_some_and(|label| label.len() > 63) {
            return Some(TxtProblem::LabelTooLong { txt });
        }
        let zone = normalize(zone);
        let inside = txt == zone || txt.strip_suffix(&zone).is_some_and(|rest| rest.ends_with('.'));
        (!inside).then_some(TxtProblem::OutsideZone { txt, zone })
    }

    /// The name under which a host is looked up: a wildcard under its replacement.
    fn lookup_name(&self, host: &str) -> String {
        match host.strip_prefix("*.") {
            Some(rest) if !self.wildcard.is_empty() => format!("{}.{rest}", self.wildcard),
            _ => host.to_owned(),
        }
    }

    /// The types under which the owner of a record is looked up; all but the first are leftovers of
    /// older versions.
    fn lookup_types<'r>(&self, record: &'r Record) -> Vec<&'r str> {
        let alias = record.record_type == "A" && record.alias.is_some();
        let mut types = match alias {
            true if self.version.supports(Feature::AliasTxtIsA) => vec!["A", "CNAME"],
            true => vec!["CNAME"],
            false => vec![record.record_type.as_str()],
        };
        if record.record_type != "AAAA" {
            types.push("");
        }
        types
    }
}

/// Why a TXT record can't be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxtProblem {
    /// Its first label has more than 63 characters.
    LabelTooLong {
        /// The name it would have.
        txt: String,
    },
    /// It lies outside the zone, as that of a zone's apex does without a dotted prefix.
    OutsideZone {
        /// The name it would have.
        txt: String,
        /// The zone of the host.
        zone: String,
    },
}

/// A record set of Route53.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// DNS name, as Route53 writes it or normalised.
    pub name: String,
    /// `A`, `AAAA`, `CNAME`, `TXT`, …
    pub record_type: String,
    /// What tells record sets of one name and type apart.
    pub set_identifier: Option<String>,
    /// The target of an ALIAS.
    pub alias: Option<String>,
    /// The values of any other record.
    pub values: Vec<String>,
}

impl Record {
    /// Target of the ALIAS, or the values.
    pub fn target(&self) -> String {
        self.alias.clone().unwrap_or_else(|| self.values.join(", "))
    }
}

/// A DNS name as people write it: Route53's `\ooo` decoded, lower case, no final dot.
pub fn normalize(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.trim_end_matches('.').as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|digits| first == b'\\' && digits.iter().all(|b| (b'0'..=b'7').contains(b)));
        let code = digits.map(|digits| digits.iter().fold(0_u32, |code, digit| code * 8 + u32::from(digit - b'0')));
        if let Some(code) = code.and_then(|code| u8::try_from(code).ok()) {
            bytes.push(code.to_ascii_lowercase());
            rest = &tail[3..];
        } else {
            bytes.push(first.to_ascii_lowercase());
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The labels in the value of an ownership TXT record, without `external-dns/`; `None` for any other
/// value, an encrypted one included.
pub fn labels(value: &str, version: Version) -> Option<BTreeMap<String, String>> {
    let joined = value.replace("\" \"", "");
    let mut ours = false;
    let mut labels = BTreeMap::new();
    for token in joined.trim_matches('"').split(',') {
        let Some((key, text)) = token.split_once('=') else { continue };
        if text.contains('=') && !version.supports(Feature::EqualsInLabels) {
            continue;
        }
        match key.strip_prefix("external-dns") {
            _ if key == "heritage" && text != "external-dns" => return None,
            _ if key == "heritage" => ours = true,
            Some(name) => {
                labels.insert(name.trim_start_matches('/').to_owned(), text.to_owned());
            }
            None => {}
        }
    }
    ours.then_some(labels)
}

/// The value of an ownership TXT record, quoted as Route53 wants it.
pub fn txt_value(labels: &BTreeMap<String, String>) -> String {
    let pairs = labels.iter().map(|(key, value)| format!(",external-dns/{key}={value}"));
    format!("\"heritage=external-dns{}\"", pairs.collect::<String>())
}

/// True for a value that may be an encrypted ownership TXT record: base64 of more than nonce and tag.
pub fn maybe_encrypted(value: &str) -> bool {
    let decoded = base64::engine::general_purpose::STANDARD.decode(value.trim_matches('"'));
    decoded.is_ok_and(|bytes| bytes.len() > 28)
}

/// What is said about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The installation's own.
    Owned,
    /// Its own by an older name of the TXT record, which the next synchronisation replaces.
    OwnedLegacy,
    /// Another owner's.
    Foreign,
    /// Nobody's: ExternalDNS never changes it.
    Unowned,
    /// A TXT record without the record that it speaks of.
    OrphanTxt,
    /// A TXT record of an older naming beside the newer one.
    ObsoleteTxt,
    /// TXT records of different owners for one host.
    Conflict,
}

impl Class {
    /// Its name in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owned => "owned",
            Self::OwnedLegacy => "owned-legacy",
            Self::Foreign => "foreign",
            Self::Unowned => "unowned",
            Self::OrphanTxt => "orphan-txt",
            Self::ObsoleteTxt => "obsolete-txt",
            Self::Conflict => "conflict",
        }
    }
}

/// A record and one thing that holds for it; where several do, there are several of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The record, its name normalised.
    pub record: Record,
    /// What holds for it.
    pub class: Class,
    /// Owner id in its TXT record, or those that are in conflict.
    pub owner: Option<String>,
    /// `kind/namespace/name` of the object that asked for it.
    pub resource: Option<String>,
    /// Name of the TXT record that says so.
    pub txt: Option<String>,
}

/// An ownership TXT record.
struct Txt<'a> {
    record: &'a Record,
    host: String,
    record_type: &'static str,
    owner: Option<String>,
    resource: Option<String>,
}

type Key<'a> = (&'a str, &'a str, Option<&'a str>);

/// Sorts the records of a zone by owner.
///
/// `owner` is the id of the installation whose view this is; with `None` every record that has an
/// owner is `owned`. SOA and NS of the zone's apex and the TXT records that do their work are left
/// out. Where ExternalDNS itself can't tell (a TXT named `a-team` is that of `team` or an old one of
/// `a-team`) the answer is the one it gives.
pub fn audit(records: &[Record], mapper: &Mapper, owner: Option<&str>) -> Vec<Owned> {
    let records: Vec<Record> = records.iter().map(normalized).collect();
    let apex = records.iter().find(|record| record.record_type == "SOA").map(|record| record.name.clone());
    let (registry, rest): (Vec<_>, Vec<_>) =
        records.iter().partition(|record| record.record_type == "TXT" && txt_labels(record, mapper).is_some());
    let (txts, strangers): (Vec<_>, Vec<_>) =
        registry.into_iter().partition(|record| mapper.host(&record.name).is_some());
    let txts: Vec<Txt<'_>> = txts.into_iter().filter_map(|record| txt(record, mapper)).collect();
    let index: BTreeMap<Key<'_>, &Txt<'_>> = txts.iter().map(|txt| (txt.key(), txt)).collect();

    let is_apex =
        |record: &Record| ["SOA", "NS"].contains(&record.record_type.as_str()) && Some(&record.name) == apex.as_ref();
    let plain: Vec<_> = rest.into_iter().filter(|record| !is_apex(record)).collect();
    let conflicts = conflicts(&txts);
    let mut found = Vec::new();
    let mut working = BTreeSet::new();
    let mut obsolete = BTreeSet::new();
    for record in &plain {
        let lookups = lookup(record, mapper, &index);
        if let Some((first, others)) = lookups.split_first() {
            working.insert(first.1.key());
            let bare_is_written = mapper.version.supports(Feature::LegacyTxt);
            let outdated = others.iter().filter(|(_, txt)| !(bare_is_written && txt.record_type.is_empty()));
            obsolete.extend(outdated.map(|(_, txt)| txt.key()));
            working.extend(
                others
                    .iter()
                    .filter(|(_, txt)| bare_is_written && txt.record_type.is_empty())
                    .map(|(_, txt)| txt.key()),
            );
        }
        found.push(classified(record, lookups.first().copied(), owner));
        let host = mapper.lookup_name(&record.name);
        if let Some(owners) = conflicts.get(&(host, record.set_identifier.clone())) {
            let owners = owners.iter().copied().collect::<Vec<_>>().join(", ");
            found.push(Owned {
                class: Class::Conflict,
                owner: Some(owners),
                ..classified(record, lookups.first().copied(), owner)
            });
        }
    }
    for txt in &txts {
        if !working.contains(&txt.key()) {
            let class = if obsolete.contains(&txt.key()) { Class::ObsoleteTxt } else { Class::OrphanTxt };
            found.push(txt.said(class));
        }
    }
    found.extend(strangers.into_iter().map(|record| stranger(record, mapper, owner)));
    found
}

impl Txt<'_> {
    fn key(&self) -> (&str, &str, Option<&str>) {
        (&self.host, self.record_type, self.record.set_identifier.as_deref())
    }

    fn said(&self, class: Class) -> Owned {
        let Self { record, owner, resource, .. } = self;
        Owned {
            record: Record::clone(record),
            class,
            owner: owner.clone(),
            resource: resource.clone(),
            txt: Some(record.name.clone()),
        }
    }
}

fn normalized(record: &Record) -> Record {
    Record { name: normalize(&record.name), ..record.clone() }
}

fn txt_labels(record: &Record, mapper: &Mapper) -> Option<BTreeMap<String, String>> {
    labels(record.values.first()?, mapper.version)
}

fn txt<'a>(record: &'a Record, mapper: &Mapper) -> Option<Txt<'a>> {
    let mut labels = txt_labels(record, mapper)?;
    let (host, record_type) = mapper.host(&record.name)?;
    Some(Txt { record, host, record_type, owner: labels.remove("owner"), resource: labels.remove("resource") })
}

/// The TXT records that speak of a record, with their place in the order of lookup.
fn lookup<'t>(record: &Record, mapper: &Mapper, index: &BTreeMap<Key<'_>, &'t Txt<'t>>) -> Vec<(usize, &'t Txt<'t>)> {
    let host = mapper.lookup_name(&record.name);
    let set = record.set_identifier.as_deref();
    let types = mapper.lookup_types(record).into_iter().enumerate();
    types.filter_map(|(place, kind)| index.get(&(host.as_str(), kind, set)).map(|txt| (place, *txt))).collect()
}

fn classified(record: &Record, txt: Option<(usize, &Txt<'_>)>, owner: Option<&str>) -> Owned {
    let theirs = txt.and_then(|(_, txt)| txt.owner.as_deref()).filter(|owner| !owner.is_empty());
    let class = match (theirs, txt) {
        (None, _) | (_, None) => Class::Unowned,
        (Some(theirs), _) if owner.is_some_and(|owner| owner != theirs) => Class::Foreign,
        (_, Some((0, _))) => Class::Owned,
        _ => Class::OwnedLegacy,
    };
    Owned {
        record: record.clone(),
        class,
        owner: theirs.map(str::to_owned),
        resource: txt.and_then(|(_, txt)| txt.resource.clone()),
        txt: txt.map(|(_, txt)| txt.record.name.clone()),
    }
}

/// A TXT record of ExternalDNS whose name isn't of this mapping: an installation with other affixes.
fn stranger(record: &Record, mapper: &Mapper, owner: Option<&str>) -> Owned {
    let mut labels = txt_labels(record, mapper).unwrap_or_default();
    let theirs = labels.remove("owner");
    let class = if owner.is_some() && theirs.as_deref() == owner { Class::OrphanTxt } else { Class::Foreign };
    Owned {
        record: record.clone(),
        class,
        owner: theirs,
        resource: labels.remove("resource"),
        txt: Some(record.name.clone()),
    }
}

/// Hosts (with set identifier) whose TXT records name more than one owner.
fn conflicts<'t>(txts: &'t [Txt<'_>]) -> BTreeMap<(String, Option<String>), BTreeSet<&'t str>> {
    let mut owners: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for txt in txts {
        let key = (txt.host.clone(), txt.record.set_identifier.clone());
        owners.entry(key).or_default().extend(txt.owner.as_deref().filter(|owner| !owner.is_empty()));
    }
    owners.retain(|_, owners| owners.len() > 1);
    owners
}
