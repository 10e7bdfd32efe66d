//! Who owns which record: names and values of the TXT records that ExternalDNS keeps beside its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use base64::Engine as _;
use serde::Serialize;
use serde_json::Value;

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

    /// The TXT record's name for a host and record type; without a type, the form of older versions, which has none.
    pub fn txt_name(&self, host: &str, record_type: &str) -> String {
        let record_type = record_type.to_ascii_lowercase();
        let (label, rest) = host.split_once('.').map_or((host, None), |(label, rest)| (label, Some(rest)));
        let label = if label == "*" && !self.wildcard.is_empty() { self.wildcard.as_str() } else { label };
        let typed = if self.templated() || record_type.is_empty() { String::new() } else { format!("{record_type}-") };
        let affix = |affix: &str| affix.replace(TEMPLATE, &record_type);
        let rest = rest.map(|rest| format!(".{rest}")).unwrap_or_default();
        format!("{}{typed}{label}{}{rest}", affix(&self.prefix), affix(&self.suffix))
    }

    /// The name of the TXT record that says whose a record is.
    pub fn txt_of(&self, record: &Record) -> String {
        let kind = self.lookup_types(record)[0];
        self.txt_name(&normalize(&record.name), kind)
    }

    /// The names of the TXT records of a host, for each type that it may have as an address or a CNAME.
    pub fn txts_of_host(&self, host: &str) -> [String; 3] {
        ["A", "AAAA", "CNAME"].map(|kind| self.txt_name(host, kind))
    }

    /// The names of all TXT records that may say whose a record is, in the order in which they are looked up.
    pub fn txt_names(&self, record: &Record) -> Vec<String> {
        let host = normalize(&record.name);
        self.lookup_types(record).into_iter().map(|kind| self.txt_name(&host, kind)).collect()
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

/// True for a TXT record's name that ExternalDNS can't write, as a label of it has more than 63 characters.
pub fn is_too_long(txt_name: &str) -> bool {
    txt_name.split('.').any(|label| label.len() > 63)
}

/// A record set of Route53.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Seconds that resolvers may keep it; none for an ALIAS.
    pub ttl: Option<i64>,
}

impl Record {
    /// Reads the `ResourceRecordSet` of Route53's API.
    pub fn read(set: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let values = set["ResourceRecords"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            name: text(&set["Name"]),
            record_type: text(&set["Type"]),
            set_identifier: set["SetIdentifier"].as_str().map(str::to_owned),
            alias: set["AliasTarget"]["DNSName"].as_str().map(str::to_owned),
            values: values.iter().map(|record| text(&record["Value"])).collect(),
            ttl: set["TTL"].as_i64(),
        }
    }

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

/// A normalised DNS name as Route53 writes it, but for the final dot and `*`: whatever isn't a letter, a digit or
/// `-_.` is `\ooo` ("DNS domain name format", Route53 Developer Guide).
pub fn display_name(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:03o}");
            }
        }
    }
    text
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

/// The owner in an encrypted ownership TXT record, which only its key tells.
pub const ENCRYPTED: &str = "(encrypted)";

/// Nonce, tag and the compressed labels of an owner with one letter. What else people keep in base64 is shorter, such as
/// the 32 bytes by which SES knows a domain.
const SHORTEST_ENCRYPTED: usize = 80;

/// True for a value that may be an encrypted ownership TXT record (`--txt-encrypt-enabled`): base64 of a nonce and the
/// compressed labels in AES-256-GCM.
pub fn maybe_encrypted(value: &str) -> bool {
    let joined = value.replace("\" \"", "");
    let decoded = base64::engine::general_purpose::STANDARD.decode(joined.trim_matches('"'));
    decoded.is_ok_and(|bytes| bytes.len() >= SHORTEST_ENCRYPTED)
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
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Owned,
        Self::OwnedLegacy,
        Self::Foreign,
        Self::Unowned,
        Self::OrphanTxt,
        Self::ObsoleteTxt,
        Self::Conflict,
    ];

    /// True for a record of the owner in view.
    pub fn is_owned(self) -> bool {
        matches!(self, Self::Owned | Self::OwnedLegacy)
    }

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
    audit_beside(records, &[], mapper, owner)
}

/// Sorts the records of a zone by owner, where TXT records of theirs lie in another zone that is read together with it,
/// or TXT records here speak of records there: `elsewhere` are those, see [`super::apex`].
pub fn audit_beside(records: &[Record], elsewhere: &[Record], mapper: &Mapper, owner: Option<&str>) -> Vec<Owned> {
    let records: Vec<Record> = records.iter().map(normalized).collect();
    let elsewhere: Vec<Record> = elsewhere.iter().map(normalized).collect();
    let apex = records.iter().find(|record| record.record_type == "SOA").map(|record| record.name.clone());
    let (mut txts, mut strangers, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for record in &records {
        match txt(record, mapper) {
            Some(txt) => txts.push(txt),
            None if txt_labels(record, mapper).is_some() => strangers.push(record),
            None => rest.push(record),
        }
    }
    let here = txts.len();
    txts.extend(elsewhere.iter().filter_map(|record| txt(record, mapper)));
    // What is said here counts before what is said elsewhere.
    let by_key = txts[here..].iter().chain(&txts[..here]).map(|txt| (txt.key(), txt));
    let index: BTreeMap<Key<'_>, &Txt<'_>> = by_key.collect();

    let of_apex =
        |record: &Record| ["SOA", "NS"].contains(&record.record_type.as_str()) && Some(&record.name) == apex.as_ref();
    let conflicts = conflicts(&txts);
    let bare_is_written = mapper.version.supports(Feature::LegacyTxt);
    let mut found = Vec::new();
    let (mut working, mut obsolete) = (BTreeSet::new(), BTreeSet::new());
    let mut spoken_of = |record: &Record| {
        let lookups = lookup(record, mapper, &index);
        for (nth, (_, txt)) in lookups.iter().enumerate() {
            let works = nth == 0 || (bare_is_written && txt.record_type.is_empty());
            let used = if works { &mut working } else { &mut obsolete };
            used.insert(txt.key());
        }
        lookups
    };
    elsewhere.iter().filter(|record| record.record_type != "TXT").for_each(|record| drop(spoken_of(record)));
    for record in rest.into_iter().filter(|record| !of_apex(record)) {
        let lookups = spoken_of(record);
        let said = classified(record, lookups.first().copied(), owner);
        let host = (mapper.lookup_name(&record.name), record.set_identifier.clone());
        let conflict = conflicts.get(&host).map(|owners| {
            let owners = owners.iter().copied().collect::<Vec<_>>().join(", ");
            Owned { class: Class::Conflict, owner: Some(owners), ..said.clone() }
        });
        found.push(said);
        found.extend(conflict);
    }
    for txt in txts[..here].iter().filter(|txt| !working.contains(&txt.key())) {
        let class = if obsolete.contains(&txt.key()) { Class::ObsoleteTxt } else { Class::OrphanTxt };
        found.push(txt.said(class));
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
    let value = record.values.first().filter(|_| record.record_type == "TXT")?;
    labels(value, mapper.version)
}

/// An ownership TXT record of this mapping. An encrypted one is known by its name: it always has the type in it.
fn txt<'a>(record: &'a Record, mapper: &Mapper) -> Option<Txt<'a>> {
    let value = record.values.first().filter(|_| record.record_type == "TXT")?;
    let said = labels(value, mapper.version);
    if said.is_none() && !maybe_encrypted(value) {
        return None;
    }
    let (host, record_type) = mapper.host(&record.name)?;
    let (owner, resource) = match said {
        Some(mut labels) => (labels.remove("owner"), labels.remove("resource")),
        None if record_type.is_empty() => return None,
        None => (Some(ENCRYPTED.to_owned()), None),
    };
    Some(Txt { record, host, record_type, owner, resource })
}

/// The host of which an ownership TXT record speaks; none for any other record.
pub fn speaks_of(record: &Record, mapper: &Mapper) -> Option<String> {
    txt(record, mapper).map(|txt| normalize(&txt.host))
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
        (Some(ENCRYPTED), _) => Class::Foreign,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn mapper(prefix: &str, suffix: &str) -> Mapper {
        Mapper::new(prefix, suffix, "", version("0.23.0"))
    }

    #[test]
    fn a1_to_a32_txt_names_to_hosts() {
        let cases = [
            ("a1", "%{record_type}-", "", "a-foo.example.com", "foo.example.com", "A"),
            ("a3", "%{record_type}-", "", "cname-foo.example.com", "foo.example.com", "CNAME"),
            ("a5", "%{record_type}-", "", "mx-foo.example.com", "foo.example.com", "MX"),
            ("a7", "%{record_type}-", "", "ptr-2.49.168.192.in-addr.arpa", "2.49.168.192.in-addr.arpa", "PTR"),
            ("a9", "%{record_type}-", "", "dname-foo.example.com", "foo.example.com", "DNAME"),
            ("a10", "", "-%{record_type}", "foo-a.example.com", "foo.example.com", "A"),
            ("a12", "", ".foo.bar", "a-example.foo.bar.com", "example.com", "A"),
            ("a15", "", "", "a-foo.example.com", "foo.example.com", "A"),
            ("a17", "", "", "cname-foo.example.com", "foo.example.com", "CNAME"),
            ("a18", "", "", "txt-foo.example.com", "foo.example.com", "TXT"),
            ("a21", "", "", "foo.example.com", "foo.example.com", ""),
            ("a23", "txt.", "", "TxT.tar.test-zone.example.org", "tar.test-zone.example.org", ""),
            ("a26", "", "-txt", "bar-txt.test-zone.example.org", "bar.test-zone.example.org", ""),
            ("a28", "txt-%{record_type}.", "", "txt-a.foo.test-zone.example.org", "foo.test-zone.example.org", "A"),
            ("a30", "", "", "a-team.example.com", "team.example.com", "A"),
            ("a32", "", "", "api-a.example.com", "api-a.example.com", ""),
        ];
        for (id, prefix, suffix, txt, host, record_type) in cases {
            assert_eq!(mapper(prefix, suffix).host(txt), Some((host.to_owned(), record_type)), "{id}");
        }
    }

    #[test]
    fn a14_a20_a25_names_of_other_mappings() {
        assert_eq!(mapper("", ".foo.bar").host("a-example.foo"), None);
        assert_eq!(mapper("pre-", "-suf").host("pre-a-foo-suf.example.com"), None);
        assert_eq!(mapper("txt.", "").host("foobar.test-zone.example.org"), None);
    }

    #[test]
    fn types_in_names_follow_the_version() {
        let old = Mapper::new("", "", "", version("0.17.0"));
        assert_eq!(old.host("mx-foo.example.com"), Some(("mx-foo.example.com".to_owned(), "")));
        assert_eq!(mapper("", "").host("mx-foo.example.com"), Some(("foo.example.com".to_owned(), "MX")));
    }

    #[test]
    fn b1_to_b22_hosts_to_txt_names() {
        let cases = [
            ("b1", "%{record_type}-", "", "", "foo.example.com", "A", "a-foo.example.com"),
            ("b3", "%{record_type}-", "", "", "2.49.168.192.in-addr.arpa", "PTR", "ptr-2.49.168.192.in-addr.arpa"),
            ("b4", "", "-%{record_type}", "", "foo.example.com", "A", "foo-a.example.com"),
            ("b7", "txt-", "", "wild", "*.example.com", "A", "txt-a-wild.example.com"),
            ("b10", "", "", "", "foo.example.com", "A", "a-foo.example.com"),
            ("b12", "", "", "", "foo.example.com", "TXT", "txt-foo.example.com"),
            ("b13", "txt.", "", "", "n.test-zone.example.org", "CNAME", "txt.cname-n.test-zone.example.org"),
            (
                "b15",
                "prefix%{record_type}.",
                "",
                "",
                "n.test-zone.example.org",
                "CNAME",
                "prefixcname.n.test-zone.example.org",
            ),
            ("b17", "%{record_type}-abc-.", "", "", "ex.com", "CNAME", "cname-abc-.ex.com"),
            ("b19", "", "-.%{record_type}", "", "ex.com", "A", "ex-.a.com"),
            ("b20", "", "", "", "example.com", "A", "a-example.com"),
            ("b21", "extdns-%{record_type}.", "", "", "example.com", "AAAA", "extdns-aaaa.example.com"),
            ("b22", "", "", "", "*.example.com", "A", "a-*.example.com"),
        ];
        for (id, prefix, suffix, wildcard, host, record_type, txt) in cases {
            let mapper = Mapper::new(prefix, suffix, wildcard, version("0.23.0"));
            assert_eq!(mapper.txt_name(host, record_type), txt, "{id}");
        }
    }

    #[test]
    fn b_labels_have_63_characters_at_most() {
        let host = |length: usize| format!("{}.example.com", "x".repeat(length));
        let fits = |length, kind| !is_too_long(&mapper("", "").txt_name(&host(length), kind));
        for (kind, longest) in [("A", 61), ("AAAA", 58), ("CNAME", 57)] {
            assert!(fits(longest, kind) && !fits(longest + 1, kind), "{kind}");
        }
    }

    #[test]
    fn the_names_under_which_an_owner_is_looked_for() {
        let alias = Record {
            name: "app.example.com.".to_owned(),
            record_type: "A".to_owned(),
            alias: Some("x.elb.amazonaws.com".to_owned()),
            ..Record::default()
        };
        let names = |prefix: &str, tag: &str| Mapper::new(prefix, "", "", version(tag)).txt_names(&alias);
        assert_eq!(names("", "0.23.0"), ["a-app.example.com", "cname-app.example.com", "app.example.com"]);
        assert_eq!(names("", "0.21.0"), ["cname-app.example.com", "app.example.com"]);
        assert_eq!(names("x-%{record_type}.", "0.21.0"), ["x-cname.app.example.com", "x-.app.example.com"]);
    }

    fn shown(value: &str) -> Option<String> {
        let pairs = labels(value, version("0.23.0"))?.into_iter().map(|(key, value)| format!("{key}={value}"));
        Some(pairs.collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn c1_to_c12_values_to_labels() {
        let foo = "heritage=external-dns,external-dns/owner=foo-owner,external-dns/resource=foo-resource";
        assert_eq!(shown(foo).unwrap(), "owner=foo-owner; resource=foo-resource");
        assert_eq!(shown(&format!("\"{foo}\"")), shown(foo));
        let odd = "heritage=external-dns,,external-dns/owner=bar-owner,external-dns/resource=bar-resource,\
                   external-dns/new-key=bar-new-key,random=stuff,no-equal-sign,,";
        assert_eq!(shown(odd).unwrap(), "new-key=bar-new-key; owner=bar-owner; resource=bar-resource");
        assert_eq!(shown("external-dns/owner=random-owner"), None);
        assert_eq!(shown("heritage=mate,heritage=external-dns,external-dns/owner=random-owner"), None);
        assert_eq!(shown("heritage=external-dns,external-dns/owner=a,b").unwrap(), "owner=a");
        assert_eq!(shown("v=spf1 -all"), None);
        assert_eq!(txt_value(&labels(foo, version("0.23.0")).unwrap()), format!("\"{foo}\""));
    }

    #[test]
    fn c_equals_signs_are_read_from_v022_on() {
        let value = "heritage=external-dns,external-dns/owner=team=platform";
        assert_eq!(shown(value).unwrap(), "owner=team=platform");
        assert_eq!(labels(value, version("0.21.0")).unwrap().len(), 0);
    }

    #[test]
    fn c_encrypted_values_are_suspected() {
        let value = "+lvP8q9KHJ6BS6O81i2Q6DLNdf2JSKy8j/gbZKviTZlGYj7q+yDoYMgkQ1hPn6urtGllM5bfFMcaaHto52otQtiOYrX8990J3kQqg4s47m3bH3Ejl8RSxSSuWJM3HJtPghQzYg0/LSOsdQ0=";
        assert_eq!(shown(value), None);
        assert!(maybe_encrypted(&format!("\"{value}\"")));
        let ses = "\"pmBGN/7MjnfhTKUZ06Enqq1PeGUaOkw8lGhcfwefcHU=\"";
        assert!(!maybe_encrypted("v=spf1 -all") && !maybe_encrypted("c2hvcnQ=") && !maybe_encrypted(ses));
        let encrypted = |name: &str| record(name, "TXT", &format!("\"{value}\""));
        let records = [
            record("app", "A", "192.0.2.1"),
            encrypted("a-app"),
            record("note", "A", "192.0.2.1"),
            encrypted("note"),
            encrypted("a-ghost"),
        ];
        let expected = [
            "app/A foreign (encrypted)",
            "note/A unowned -",
            "note/TXT unowned -",
            "a-ghost/TXT orphan-txt (encrypted)",
        ];
        assert_eq!(audited(&records, &mapper("", "")), expected);
    }

    #[test]
    fn g1_g4_route53_names() {
        let raw = r"txt-\041\042\043\044\045\046\047\050\051\052\053\054-\057\072\073-test.example.com";
        assert_eq!(normalize(raw), "txt-!\"#$%&'()*+,-/:;-test.example.com");
        assert_eq!(normalize(r"\052.Example.com."), "*.example.com");
        assert_eq!(normalize(r"a\b\05"), r"a\b\05");
        assert_eq!(normalize(r"\303\274.example.com"), "ü.example.com");
        for name in [raw, r"\303\274.a_b.example.com", r"\033\13331m.example.com"] {
            assert_eq!(display_name(&normalize(name)), name.replace(r"\052", "*"));
        }
    }

    fn record(name: &str, kind: &str, value: &str) -> Record {
        let alias = value.strip_prefix("ALIAS ").map(str::to_owned);
        let values = if alias.is_some() { Vec::new() } else { vec![value.to_owned()] };
        Record {
            name: format!("{name}.example.com."),
            record_type: kind.to_owned(),
            set_identifier: None,
            alias,
            values,
            ttl: None,
        }
    }

    fn own(name: &str, owner: &str) -> Record {
        record(
            name,
            "TXT",
            &format!("\"heritage=external-dns,external-dns/owner={owner},external-dns/resource=ingress/default/web\""),
        )
    }

    fn alias(name: &str, kind: &str) -> Record {
        record(name, kind, "ALIAS k8s-web.us-east-1.elb.amazonaws.com.")
    }

    /// `host/TYPE class owner` of every finding.
    fn audited(records: &[Record], mapper: &Mapper) -> Vec<String> {
        let found = audit(records, mapper, Some("owner"));
        let line = |owned: &Owned| {
            let host = owned.record.name.trim_end_matches(".example.com");
            let owner = owned.owner.as_deref().unwrap_or("-");
            format!("{host}/{} {} {owner}", owned.record.record_type, owned.class.as_str())
        };
        found.iter().map(line).collect()
    }

    fn cname(name: &str) -> Record {
        record(name, "CNAME", "other.example.org")
    }

    #[test]
    fn d1_to_d8_without_affix() {
        let plain = mapper("", "");
        assert_eq!(audited(&[cname("foobar"), own("foobar", "owner")], &plain), ["foobar/CNAME owned-legacy owner"]);
        assert_eq!(
            audited(&[alias("alias", "A"), own("cname-alias", "owner")], &plain),
            ["alias/A owned-legacy owner"]
        );
        let dual = [
            record("d", "A", "192.0.2.1"),
            record("d", "AAAA", "2001:db8::1"),
            own("d", "owner"),
            own("aaaa-d", "owner-2"),
        ];
        assert_eq!(
            audited(&dual, &plain),
            [
                "d/A owned-legacy owner",
                "d/A conflict owner, owner-2",
                "d/AAAA foreign owner-2",
                "d/AAAA conflict owner, owner-2"
            ]
        );
        let bar = audit(&[cname("txt.bar"), own("txt.bar", "owner")], &plain, Some("owner"));
        assert_eq!(bar[0].resource.as_deref(), Some("ingress/default/web"));
        assert_eq!(
            audited(&[cname("tar"), own("txt.tar", "owner-2")], &plain),
            ["tar/CNAME unowned -", "txt.tar/TXT orphan-txt owner-2"]
        );
        assert_eq!(audited(&[record("qux", "TXT", "\"random\"")], &plain), ["qux/TXT unowned -"]);
        assert_eq!(
            audited(&[alias("app", "AAAA"), own("app", "owner")], &plain),
            ["app/AAAA unowned -", "app/TXT orphan-txt owner"]
        );
    }

    #[test]
    fn d10_to_d18_with_prefix() {
        let prefixed = Mapper::new("txt.", "", "wc", version("0.23.0"));
        assert_eq!(audited(&[cname("bar"), own("txt.bar", "owner")], &prefixed), ["bar/CNAME owned-legacy owner"]);
        let wildcard = [cname(r"\052.wildcard"), own("txt.wc.wildcard", "owner")];
        assert_eq!(audited(&wildcard, &prefixed), ["*.wildcard/CNAME owned-legacy owner"]);
        let set = |mut record: Record, id: &str| {
            record.set_identifier = Some(id.to_owned());
            record
        };
        let multiple = [
            set(cname("multiple"), "test-set-1"),
            set(cname("multiple"), "test-set-2"),
            set(own("multiple", "owner-2"), "test-set-1"),
            set(own("multiple", "owner-2"), "test-set-2"),
        ];
        assert_eq!(audited(&multiple, &prefixed)[..2], ["multiple/CNAME unowned -", "multiple/CNAME unowned -"]);
        let naptr = [record("sip1", "NAPTR", "x"), own("txt.sip1", "owner")];
        assert_eq!(audited(&naptr, &prefixed), ["sip1/NAPTR owned-legacy owner"]);
    }

    #[test]
    fn d20_to_d25_suffix_and_template() {
        let suffixed = mapper("", "-txt");
        assert_eq!(audited(&[cname("bar"), own("bar-txt", "owner")], &suffixed), ["bar/CNAME owned-legacy owner"]);
        let mail = [record("mail", "MX", "10 x"), own("mx-mail-txt", "owner")];
        assert_eq!(audited(&mail, &suffixed), ["mail/MX owned owner"]);
        let templated = mapper("txt-%{record_type}.", "");
        let both = [
            record("foo", "A", "192.0.2.1"),
            own("txt-a.foo", "owner"),
            record("mail", "MX", "10 x"),
            own("txt-mx.mail", "owner"),
        ];
        assert_eq!(audited(&both, &templated), ["foo/A owned owner", "mail/MX owned owner"]);
    }

    #[test]
    fn d27_set_identifiers_are_kept_apart() {
        let mut txt = own("a-x", "owner");
        txt.set_identifier = Some("s1".to_owned());
        let mut second = record("x", "A", "192.0.2.1");
        second.set_identifier = Some("s2".to_owned());
        assert_eq!(audited(&[txt, second], &mapper("", "")), ["x/A unowned -", "a-x/TXT orphan-txt owner"]);
    }

    #[test]
    fn d28_another_installations_affix() {
        let records = [record("bar", "A", "192.0.2.1"), own("bar", "cat")];
        assert_eq!(audited(&records, &mapper("_owner.", "")), ["bar/A unowned -", "bar/TXT foreign cat"]);
    }

    #[test]
    fn e1_to_e3_alias_names_by_version() {
        let records = [alias("alias", "A"), own("cname-alias", "owner"), own("a-alias", "owner")];
        assert_eq!(audited(&records, &mapper("", "")), ["alias/A owned owner", "cname-alias/TXT obsolete-txt owner"]);
        let old = Mapper::new("", "", "", version("0.21.0"));
        assert_eq!(audited(&records, &old), ["alias/A owned owner", "a-alias/TXT orphan-txt owner"]);
    }

    #[test]
    fn bare_names_are_right_up_to_v017_and_obsolete_after() {
        let records = [record("app", "A", "192.0.2.1"), own("app", "owner"), own("a-app", "owner")];
        assert_eq!(audited(&records, &Mapper::new("", "", "", version("0.17.0"))), ["app/A owned owner"]);
        assert_eq!(audited(&records, &mapper("", "")), ["app/A owned owner", "app/TXT obsolete-txt owner"]);
    }

    #[test]
    fn q_zone_end_to_end() {
        let zone = |name: &str, kind: &str| Record { name: "example.com.".to_owned(), ..record(name, kind, "ns") };
        let records = [
            zone("", "NS"),
            zone("", "SOA"),
            alias("app", "A"),
            alias("app", "AAAA"),
            own("a-app", "owner"),
            own("aaaa-app", "owner"),
            record("shop", "A", "192.0.2.1"),
            own("a-shop", "c2"),
            record("raw", "A", "1.2.3.4"),
            own("a-ghost", "owner"),
        ];
        assert_eq!(
            audited(&records, &mapper("", "")),
            [
                "app/A owned owner",
                "app/AAAA owned owner",
                "shop/A foreign c2",
                "raw/A unowned -",
                "a-ghost/TXT orphan-txt owner"
            ]
        );
        let anyone = audit(&records, &mapper("", ""), None);
        assert_eq!(anyone[2].class, Class::Owned);
    }
}
