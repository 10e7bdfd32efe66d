//! Changes of a live installation that cost records.

use std::collections::BTreeSet;

use super::args::{Arguments, Installed, OWNERSHIP};
use super::filter::entries;
use super::flags::Flag;
use super::registry::Owned;
use super::secret::{HIDDEN, is_secret};
use super::settings::{Policy, Registry, Settings};
use super::version::{Feature, LEGACY_PREFIX, PREFIX};

/// What happens to records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// Records lose their owner: nobody changes or deletes them any more.
    Orphans,
    /// Records may be deleted.
    Deletes,
}

impl Risk {
    /// The flag that consents to it.
    pub fn consent(self) -> &'static str {
        match self {
            Self::Orphans => "--abandon-records",
            Self::Deletes => "--allow-record-deletion",
        }
    }
}

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `--txt-owner-id`.
    Owner,
    /// `--txt-prefix`.
    TxtPrefix,
    /// `--txt-suffix`.
    TxtSuffix,
    /// `--txt-wildcard-replacement`: wildcards are looked up under another name.
    WildcardReplacement,
    /// `--txt-encrypt-enabled` goes, and the key with it: what is encrypted can't be read any more.
    Encryption,
    /// An older version, which doesn't find all TXT records that the newer one wrote.
    Downgrade,
    /// `--registry`.
    Registry,
    /// `--policy` becomes `sync`.
    ToSync,
    /// A domain filter goes, or the domains looked after change otherwise.
    DomainFilter,
    /// A zone id or zone type goes.
    ZoneFilter,
    /// A source goes.
    DroppedSource,
    /// Other annotations are read.
    AnnotationPrefix,
    /// Fewer objects are read: `--ingress-class`, `--label-filter`, `--annotation-filter`, `--namespace` and the like.
    NarrowedSources,
    /// Another argument, whose effect on records can't be told from here: all of them may go.
    Opaque,
}

impl What {
    /// True where only some records lose their owner: [`orphaned`] says which.
    pub fn spares_records(self) -> bool {
        matches!(self, Self::WildcardReplacement | Self::Encryption | Self::Downgrade)
    }
}

/// A change of a live installation that costs records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectedChange {
    /// What changes.
    pub what: What,
    /// The flag that changes: ExternalDNS's, or irsactl's for its version.
    pub flag: &'static str,
    /// Its value now, as text that may be shown; empty if not set.
    pub before: String,
    /// Its value to be.
    pub after: String,
    /// What happens to records.
    pub risk: Risk,
}

/// What a change from a live installation to other settings does to its records.
///
/// Records are deleted by `sync` only: where neither side syncs, nothing is, and what is listed as
/// [`Risk::Deletes`] is what would vanish with `sync`. [`crate::externaldns::hosts::vanishing`]
/// says which records that are.
pub fn protected_changes(installed: &Installed, wanted: &Settings) -> Vec<ProtectedChange> {
    let mut found = Found(Vec::new());
    identity(installed, wanted, &mut found);
    let syncs = installed.policy.as_deref() == Some("sync");
    if wanted.policy == Policy::Sync && !syncs {
        found.add(What::ToSync, "policy", installed.policy.as_deref().unwrap_or_default(), "sync", Risk::Deletes);
    }
    visibility(installed, wanted, &mut found);
    others(installed, wanted, &mut found);
    found.0
}

/// Flags that are judged one by one above, or that say nothing about records.
const JUDGED: &[&str] = &[
    "annotation-filter",
    "annotation-prefix",
    "domain-filter",
    "enable-legacy-annotation-prefix",
    "exclude-domains",
    "ingress-class",
    "label-filter",
    "policy",
    "provider",
    "registry",
    "source",
    "txt-encrypt-enabled",
    "txt-owner-id",
    "txt-prefix",
    "txt-suffix",
    "txt-wildcard-replacement",
    "zone-id-filter",
    "aws-zone-type",
];
/// Flags that change when and how is synchronised, but not what.
const HARMLESS: &[&str] = &[
    "aws-api-retries",
    "aws-assume-role",
    "aws-assume-role-external-id",
    "aws-batch-change-interval",
    "aws-batch-change-size",
    "aws-batch-change-size-bytes",
    "aws-batch-change-size-values",
    "aws-evaluate-target-health",
    "aws-zones-cache-duration",
    "dry-run",
    "events",
    "events-emit",
    "interval",
    "kube-api-burst",
    "kube-api-qps",
    "kube-api-request-timeout",
    "log-format",
    "log-level",
    "metrics-address",
    "migrate-from-txt-owner",
    "min-event-sync-interval",
    "min-ttl",
    "once",
    "provider-cache-time",
    "request-timeout",
    "txt-cache-interval",
];
/// Flags whose effect [`crate::externaldns::view::View`] knows.
const VIEWED: &[&str] = &[
    "exclude-record-types",
    "ignore-hostname-annotation",
    "ignore-ingress-rules-spec",
    "ignore-ingress-tls-spec",
    "managed-record-types",
    "namespace",
    "publish-internal-services",
    "service-type-filter",
];

/// Every other argument that changes, `--extra-arg`s and those of a foreign Deployment included.
fn others(installed: &Installed, wanted: &Settings, found: &mut Found) {
    let (before, after) = (&installed.arguments, Arguments::parse(&wanted.args(), &[]));
    let mut names: Vec<&str> = before.names().chain(before.variables()).chain(after.names()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names.into_iter().filter(|name| !JUDGED.contains(name) && !HARMLESS.contains(name)) {
        let value = |arguments: &Arguments| match arguments.bool(name) {
            Some(on) => on.to_string(),
            None => arguments.all(name).join(", "),
        };
        let (old, new) = (value(before), value(&after));
        let Some(flag) = Flag::find(name).map(|flag| flag.name).filter(|_| old != new) else { continue };
        let what = if VIEWED.contains(&name) { What::NarrowedSources } else { What::Opaque };
        found.add(what, flag, &old, &new, Risk::Deletes);
    }
    // What it was told elsewhere may be anything; whose records are whose has to be known.
    let changes = |name: &str| before.unknown(name).is_some() && before.all(name) != after.all(name);
    let whose = |name: &str| OWNERSHIP.contains(&name) || HARMLESS.contains(&name) || is_secret(name);
    if let Some(flag) = Flag::all().find(|flag| !whose(flag.name) && changes(flag.name)) {
        found.add(What::Opaque, flag.name, "(unknown)", &after.all(flag.name).join(", "), Risk::Deletes);
    }
}

const WILDCARD_REPLACEMENT: &str = "txt-wildcard-replacement";
const ENCRYPTION: &str = "txt-encrypt-enabled";

/// Takes over from a live installation what can't change without losing records, unless it is
/// `named` on the command line: registry, owner id, TXT prefix and suffix (the two go together), the
/// replacement of wildcards, and an annotation prefix that irsactl's choice for the version wouldn't
/// read.
pub fn inherit(wanted: &mut Settings, installed: &Installed, named: &[What]) {
    let free = |what: What| !named.contains(&what);
    if free(What::Registry) {
        match installed.registry.as_str() {
            "noop" => wanted.registry = Registry::Noop,
            "txt" => wanted.registry = Registry::Txt,
            _ => {}
        }
    }
    if installed.registry != "noop" {
        if free(What::Owner) {
            installed.owner_id.clone_into(&mut wanted.owner_id);
        }
        if free(What::TxtPrefix) && free(What::TxtSuffix) {
            wanted.txt_prefix.clone_from(&installed.txt_prefix);
            wanted.txt_suffix.clone_from(&installed.txt_suffix);
        }
        let replacement = installed.wildcard_replacement.as_ref();
        if let Some(text) = replacement.filter(|_| wanted.extra(WILDCARD_REPLACEMENT).is_none()) {
            wanted.extra_args.push(format!("--{WILDCARD_REPLACEMENT}={text}"));
        }
    }
    let can = wanted.version.supports(Feature::AnnotationPrefix);
    if free(What::AnnotationPrefix) && wanted.annotation_prefix.is_none() && can && !read_by_default(wanted, installed)
    {
        wanted.annotation_prefix = Some(installed.annotation_prefix.clone());
    }
}

/// What isn't known of how a live installation marks its records is as it is told anew: the reverse of [`inherit`].
pub fn complete(installed: &mut Installed, wanted: &Settings) {
    let unknown = |installed: &Installed, flag: &str| installed.arguments.unknown(flag).is_some();
    if unknown(installed, "registry") {
        wanted.registry.as_str().clone_into(&mut installed.registry);
    }
    if unknown(installed, "txt-owner-id") {
        wanted.owner_id.clone_into(&mut installed.owner_id);
    }
    if unknown(installed, "txt-prefix") {
        installed.txt_prefix.clone_from(&wanted.txt_prefix);
    }
    if unknown(installed, "txt-suffix") {
        installed.txt_suffix.clone_from(&wanted.txt_suffix);
    }
    if unknown(installed, WILDCARD_REPLACEMENT) {
        installed.wildcard_replacement = wanted.extra(WILDCARD_REPLACEMENT).map(str::to_owned);
    }
}

/// True if all that a live installation reads is read by irsactl's choice too.
fn read_by_default(wanted: &Settings, installed: &Installed) -> bool {
    let read = wanted.prefixes().keys("");
    let known = [PREFIX, LEGACY_PREFIX].contains(&installed.annotation_prefix.as_str());
    let turned_off = wanted.legacy_annotations == Some(false);
    (known && turned_off) || installed.prefixes().keys("").iter().all(|prefix| read.contains(prefix))
}

struct Found(Vec<ProtectedChange>);

impl Found {
    fn add(&mut self, what: What, flag: &'static str, before: &str, after: &str, risk: Risk) {
        let shown = |value: &str| if is_secret(flag) && !value.is_empty() { HIDDEN } else { value }.to_owned();
        self.0.push(ProtectedChange { what, flag, before: shown(before), after: shown(after), risk });
    }
}

fn identity(installed: &Installed, wanted: &Settings, found: &mut Found) {
    if installed.registry != wanted.registry.as_str() {
        found.add(What::Registry, "registry", &installed.registry, wanted.registry.as_str(), Risk::Orphans);
        return;
    }
    if installed.registry == "noop" {
        return;
    }
    let lower = |text: &Option<String>| text.as_deref().unwrap_or_default().to_ascii_lowercase();
    let pairs = [
        (What::Owner, "txt-owner-id", installed.owner_id.clone(), wanted.owner_id.clone()),
        (What::TxtPrefix, "txt-prefix", lower(&installed.txt_prefix), lower(&wanted.txt_prefix)),
        (What::TxtSuffix, "txt-suffix", lower(&installed.txt_suffix), lower(&wanted.txt_suffix)),
    ];
    let migrated =
        |what: What| what == What::Owner && wanted.extra("migrate-from-txt-owner") == Some(&installed.owner_id);
    // ExternalDNS doesn't run with both: whichever stays is how its records are named.
    let (prefix, suffix) = (installed.txt_prefix == wanted.txt_prefix, installed.txt_suffix == wanted.txt_suffix);
    let one_stays = installed.txt_prefix.is_some() && installed.txt_suffix.is_some() && prefix != suffix;
    for (what, flag, before, after) in pairs {
        let chosen = one_stays && what != What::Owner;
        if before != after && !migrated(what) && !chosen {
            found.add(what, flag, &before, &after, Risk::Orphans);
        }
    }
    lookups(installed, wanted, found);
}

/// What makes ExternalDNS look for TXT records that are there elsewhere, or not understand them.
fn lookups(installed: &Installed, wanted: &Settings, found: &mut Found) {
    let before = installed.wildcard_replacement.as_deref().unwrap_or_default();
    let after = wanted.extra(WILDCARD_REPLACEMENT).unwrap_or_default();
    if !before.eq_ignore_ascii_case(after) {
        found.add(What::WildcardReplacement, WILDCARD_REPLACEMENT, before, after, Risk::Orphans);
    }
    // What isn't encrypted is read in either case (`endpoint/labels.go`).
    if installed.encrypts() && !wanted.extra_switch(ENCRYPTION) {
        found.add(What::Encryption, ENCRYPTION, "true", "", Risk::Orphans);
    }
    let (before, after) = (installed.rules(), wanted.version);
    if !after.finds_txts_of(before) {
        let flag = "external-dns-version";
        found.add(What::Downgrade, flag, &before.to_string(), &after.to_string(), Risk::Orphans);
    }
}

/// The records that an installation owns and whose owner isn't found any more: those of `before` that are nobody's in
/// `after`, the same zone as the wanted settings see it.
pub fn orphaned(before: &[Owned], after: &[Owned]) -> Vec<Owned> {
    let is_owned = |owned: &&Owned| owned.class.is_owned();
    let key =
        |Owned { record, .. }: &Owned| (record.name.clone(), record.record_type.clone(), record.set_identifier.clone());
    let kept: BTreeSet<_> = after.iter().filter(is_owned).map(key).collect();
    before.iter().filter(is_owned).filter(|owned| !kept.contains(&key(owned))).cloned().collect()
}

fn visibility(installed: &Installed, wanted: &Settings, found: &mut Found) {
    let missing = |before: &[String], after: &[String]| before.iter().any(|one| !after.contains(one));
    let mut lists = |what, flag, before: &[String], after: &[String]| {
        found.add(what, flag, &before.join(", "), &after.join(", "), Risk::Deletes);
    };
    let clean = |domains: &[String]| entries(domains, wanted.version);
    let (before, after) = (clean(&installed.domain_filters), clean(&wanted.domain_filters));
    // Adding a first filter narrows too: records outside it are never looked at again.
    if missing(&before, &after) || (before.is_empty() && !after.is_empty()) {
        lists(What::DomainFilter, "domain-filter", &before, &after);
    }
    let (before, after) = (clean(&installed.exclude_domains), clean(&wanted.exclude_domains));
    if before.iter().collect::<BTreeSet<_>>() != after.iter().collect() {
        lists(What::DomainFilter, "exclude-domains", &before, &after);
    }
    if missing(&installed.zone_id_filters, &wanted.zone_id_filters) {
        lists(What::ZoneFilter, "zone-id-filter", &installed.zone_id_filters, &wanted.zone_id_filters);
    }
    if missing(&installed.sources, &wanted.sources) {
        lists(What::DroppedSource, "source", &installed.sources, &wanted.sources);
    }
    let classes = (&installed.ingress_classes, &wanted.ingress_classes);
    if !classes.1.is_empty() && (classes.0.is_empty() || missing(classes.0, classes.1)) {
        lists(What::NarrowedSources, "ingress-class", classes.0, classes.1);
    }
    selectors(installed, wanted, found);
}

fn selectors(installed: &Installed, wanted: &Settings, found: &mut Found) {
    let text = |option: &Option<String>| option.clone().unwrap_or_default();
    let filters = [
        ("label-filter", text(&installed.label_filter), text(&wanted.label_filter)),
        ("annotation-filter", text(&installed.annotation_filter), text(&wanted.annotation_filter)),
    ];
    for (flag, before, after) in filters {
        if before != after && !after.is_empty() {
            found.add(What::NarrowedSources, flag, &before, &after, Risk::Deletes);
        }
    }
    let zone_type = wanted.zone_type.map(super::settings::ZoneType::as_str);
    if installed.zone_type.is_some() && installed.zone_type.as_deref() != zone_type {
        let before = text(&installed.zone_type);
        found.add(What::ZoneFilter, "aws-zone-type", &before, zone_type.unwrap_or_default(), Risk::Deletes);
    }
    let (before, after) = (installed.prefixes(), wanted.prefixes());
    let read = after.keys("");
    if before.keys("").iter().any(|prefix| !read.contains(prefix)) {
        let shown = |prefixes: &super::settings::Prefixes| prefixes.keys("").join(", ");
        found.add(What::AnnotationPrefix, "annotation-prefix", &shown(&before), &shown(&after), Risk::Deletes);
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::{Mapper, Record, audit};
    use super::*;
    use serde_json::json;

    fn installed(args: &[&str], version: &str) -> Installed {
        Installed::from_deployment(&json!({
            "metadata": {"name": "external-dns", "namespace": "external-dns"},
            "spec": {"template": {"spec": {"containers": [
                {"name": "external-dns", "image": format!("registry.k8s.io/external-dns/external-dns:{version}"), "args": args},
            ]}}},
        }))
        .unwrap()
    }

    fn changes(args: &[&str], version: &str, wanted: &Settings) -> Vec<(What, String, String)> {
        let found = protected_changes(&installed(args, version), wanted);
        found.into_iter().map(|change| (change.what, change.before, change.after)).collect()
    }

    fn text(what: What, before: &str, after: &str) -> (What, String, String) {
        (what, before.to_owned(), after.to_owned())
    }

    #[test]
    fn other_arguments_are_judged_or_cost_everything() {
        let mut wanted = Settings::new("us-east-1", "c1");
        let args = wanted.args();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let whats = |wanted: &Settings| {
            changes(&args, "v0.23.0", wanted).into_iter().map(|(what, ..)| what).collect::<Vec<_>>()
        };
        wanted.extra_args = vec!["--namespace=foo".to_owned(), "--log-level=debug".to_owned()];
        assert_eq!(whats(&wanted), [What::NarrowedSources]);
        wanted.extra_args = vec!["--target-net-filter=10.0.0.0/8".to_owned()];
        assert_eq!(whats(&wanted), [What::Opaque]);
        wanted.extra_args.clear();
        wanted.prefer_cname = true;
        assert_eq!(whats(&wanted), [What::Opaque]);
    }

    #[test]
    fn what_is_told_elsewhere_may_be_anything_but_whose_the_records_are() {
        let mut wanted = Settings::new("us-east-1", "c1");
        wanted.policy = Policy::Sync;
        let args: Vec<_> = wanted.args().into_iter().filter(|word| !word.starts_with("--txt-owner-id")).collect();
        let elsewhere = |flag: &str| json!({"name": format!("EXTERNAL_DNS_{flag}"), "valueFrom": {"secretKeyRef": {}}});
        let container = json!({"image": "external-dns:v0.23.0", "args": args,
            "env": [elsewhere("TXT_OWNER_ID"), elsewhere("DOMAIN_FILTER"), elsewhere("TXT_ENCRYPT_AES_KEY")]});
        let deployment = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        let mut installed = Installed::from_deployment(&deployment).unwrap();
        complete(&mut installed, &wanted);
        assert_eq!(installed.owner_id, "c1");
        assert_eq!(protected_changes(&installed, &wanted), []);
        wanted.domain_filters = vec!["example.com".to_owned()];
        let found = protected_changes(&installed, &wanted);
        let told = |change: &ProtectedChange| (change.what, change.before.clone(), change.after.clone());
        let unknown = text(What::Opaque, "(unknown)", "example.com");
        assert_eq!(found.last().map(told), Some(unknown));
    }

    #[test]
    fn a_key_is_not_told() {
        let wanted = Settings::new("us-east-1", "c1");
        let args: Vec<_> = wanted.args().into_iter().chain(["--txt-encrypt-aes-key=SECRET".to_owned()]).collect();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        assert_eq!(changes(&args, "v0.23.0", &wanted), [text(What::Opaque, "(hidden)", "")]);
    }

    #[test]
    fn its_own_arguments_change_nothing() {
        let mut wanted = Settings::new("us-east-1", "c1");
        wanted.domain_filters = vec!["example.com".to_owned()];
        let args = wanted.args();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        assert_eq!(changes(&args, "v0.23.0", &wanted), []);
        wanted.domain_filters.push("example.org".to_owned());
        wanted.sources.push("crd".to_owned());
        assert_eq!(changes(&args, "v0.23.0", &wanted), []);
    }

    #[test]
    fn owner_affixes_and_registry_orphan() {
        let wanted = Settings::new("us-east-1", "c1");
        let base = ["--source=service", "--source=ingress", "--policy=upsert-only"];
        let with = |more: &[&'static str]| changes(&[&base, more].concat(), "v0.21.0", &wanted);
        assert_eq!(with(&[]), [text(What::Owner, "default", "c1")]);
        assert_eq!(with(&["--txt-owner-id=c1", "--txt-prefix=x-"]), [text(What::TxtPrefix, "x-", "")]);
        assert_eq!(with(&["--txt-owner-id=c1", "--registry=dynamodb"]), [text(What::Registry, "dynamodb", "txt")]);
        let mut migrating = wanted.clone();
        migrating.extra_args = vec!["--migrate-from-txt-owner=old".to_owned()];
        assert_eq!(changes(&[&base[..], &["--txt-owner-id=old"]].concat(), "v0.21.0", &migrating), []);
    }

    #[test]
    fn txts_that_would_not_be_found_or_read_orphan() {
        let wanted = Settings::new("us-east-1", "c1");
        let base = ["--source=service", "--source=ingress", "--policy=upsert-only", "--txt-owner-id=c1"];
        let live = |more: &[&'static str], version| installed(&[&base, more].concat(), version);
        let risks = |live: &Installed, wanted: &Settings| {
            let found = protected_changes(live, wanted).into_iter();
            found.filter(|change| change.risk == Risk::Orphans).map(|change| change.what).collect::<Vec<_>>()
        };
        let extra = |text: &str| Settings { extra_args: vec![text.to_owned()], ..wanted.clone() };

        let wild = live(&["--txt-wildcard-replacement=Wild"], "v0.23.0");
        assert_eq!(risks(&wild, &wanted), [What::WildcardReplacement]);
        assert_eq!(risks(&wild, &extra("--txt-wildcard-replacement=any")), [What::WildcardReplacement]);
        assert_eq!(risks(&live(&[], "v0.23.0"), &extra("--txt-wildcard-replacement=any")), [What::WildcardReplacement]);
        let mut kept = wanted.clone();
        inherit(&mut kept, &wild, &[]);
        assert_eq!(protected_changes(&wild, &kept), []);
        let mut dropped = extra("--txt-wildcard-replacement=");
        inherit(&mut dropped, &wild, &[]);
        assert_eq!(risks(&wild, &dropped), [What::WildcardReplacement]);

        let encrypted = live(&["--txt-encrypt-enabled"], "v0.23.0");
        assert_eq!(risks(&encrypted, &wanted), [What::Encryption]);
        assert_eq!(risks(&encrypted, &extra("--txt-encrypt-enabled")), []);
        assert_eq!(risks(&live(&[], "v0.23.0"), &extra("--txt-encrypt-enabled")), []);

        let older = |version: &str| Settings { version: version.parse().unwrap(), ..wanted.clone() };
        assert_eq!(risks(&live(&[], "v0.23.0"), &older("0.21.0")), [What::Downgrade]);
        assert_eq!(risks(&live(&[], "v0.20.0"), &older("0.19.0")), []);
        assert_eq!(risks(&live(&[], "v0.21.0"), &wanted), []);
    }

    #[test]
    fn orphaned_are_those_whose_owner_is_not_found_any_more() {
        let record = |name: &str, kind: &str, value: &str| Record {
            name: name.to_owned(),
            record_type: kind.to_owned(),
            values: vec![value.to_owned()],
            ..Record::default()
        };
        let alias = |name: &str| Record { alias: Some("lb".to_owned()), ..record(name, "A", "") };
        let txt = |name: &str| record(name, "TXT", "\"heritage=external-dns,external-dns/owner=c1\"");
        let records = [
            alias("app.x."),
            txt("a-app.x."),
            alias("both.x."),
            txt("a-both.x."),
            txt("cname-both.x."),
            record("*.x.", "A", "192.0.2.1"),
            txt("a-wild.x."),
            alias("theirs.x."),
        ];
        let seen = |wildcard: &str, version: &str| {
            audit(&records, &Mapper::new("", "", wildcard, version.parse().unwrap()), Some("c1"))
        };
        let names = |after: &[Owned]| {
            orphaned(&seen("wild", "0.23.0"), after).into_iter().map(|owned| owned.record.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&seen("wild", "0.22.0")), [""; 0]);
        assert_eq!(names(&seen("wild", "0.21.0")), ["app.x"]);
        assert_eq!(names(&seen("", "0.23.0")), ["*.x"]);
    }

    #[test]
    fn the_newest_reads_what_the_old_one_read() {
        let mut wanted = Settings::new("us-east-1", "c1");
        let args = ["--source=service", "--source=ingress", "--policy=sync", "--txt-owner-id=c1"];
        assert_eq!(changes(&args, "v0.21.0", &wanted), []);
        wanted.legacy_annotations = Some(false);
        assert_eq!(
            changes(&args, "v0.21.0", &wanted),
            [text(What::AnnotationPrefix, "external-dns.alpha.kubernetes.io/", "external-dns.kubernetes.io/")]
        );
    }

    #[test]
    fn identity_is_inherited_unless_named() {
        let args = [
            "--source=service",
            "--policy=sync",
            "--txt-owner-id=old",
            "--txt-suffix=-s",
            "--annotation-prefix=dns.example.com/",
        ];
        let live = installed(&args, "v0.21.0");
        let mut wanted = Settings::new("us-east-1", "c1");
        inherit(&mut wanted, &live, &[]);
        assert_eq!((wanted.owner_id.as_str(), wanted.txt_suffix.as_deref()), ("old", Some("-s")));
        assert_eq!(wanted.annotation_prefix.as_deref(), Some("dns.example.com/"));
        assert_eq!(protected_changes(&live, &wanted), []);
        let mut named = Settings { txt_prefix: Some("p-".to_owned()), ..Settings::new("us-east-1", "c1") };
        inherit(&mut named, &live, &[What::Owner, What::TxtPrefix, What::AnnotationPrefix]);
        assert_eq!((named.owner_id.as_str(), named.txt_suffix, named.annotation_prefix), ("c1", None, None));
    }

    #[test]
    fn known_prefixes_need_no_inheritance_where_both_are_read() {
        let mut wanted = Settings::new("us-east-1", "c1");
        for version in ["v0.19.0", "v0.21.0", "v0.22.0", "v0.23.0"] {
            inherit(&mut wanted, &installed(&["--source=service"], version), &[]);
            assert_eq!(wanted.annotation_prefix, None, "{version}");
        }
        wanted.version = "0.22.0".parse().unwrap();
        inherit(&mut wanted, &installed(&["--source=service"], "v0.22.0"), &[]);
        assert_eq!(wanted.annotation_prefix.as_deref(), Some(PREFIX));
    }

    #[test]
    fn sync_and_narrower_views_may_delete() {
        let mut wanted = Settings::new("us-east-1", "c1");
        wanted.policy = Policy::Sync;
        wanted.sources = vec!["ingress".to_owned()];
        wanted.ingress_classes = vec!["alb".to_owned()];
        let args = [
            "--source=service",
            "--source=ingress",
            "--policy=upsert-only",
            "--txt-owner-id=c1",
            "--domain-filter=example.com",
            "--zone-id-filter=/hostedzone/Z1",
            "--aws-zone-type=public",
        ];
        let found = protected_changes(&installed(&args, "v0.23.0"), &wanted);
        assert!(found.iter().all(|change| change.risk == Risk::Deletes));
        assert_eq!(
            found.iter().map(|change| change.what).collect::<Vec<_>>(),
            [
                What::ToSync,
                What::DomainFilter,
                What::ZoneFilter,
                What::DroppedSource,
                What::NarrowedSources,
                What::ZoneFilter
            ]
        );
        assert_eq!((found[2].before.as_str(), found[2].after.as_str()), ("Z1", ""));
    }
}
