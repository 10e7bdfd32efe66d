//! DNS records that a plan could cost: deleted, orphaned or taken over ones are named before anything happens.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::Plan;
use crate::error::{Error, ErrorCode, Result};
use crate::externaldns::args::Installed;
use crate::externaldns::filter::{Zone, suitable_zones};
use crate::externaldns::hosts::{desired_hosts, vanishing};
use crate::externaldns::protect::{ProtectedChange, Risk, What, protected_changes};
use crate::externaldns::registry::{Owned, Record, is_too_long};
use crate::externaldns::settings::{APEX_TXT_PREFIX, Policy, Registry, Settings};
use crate::externaldns::view::View;

/// How many records a message names.
const NAMED: usize = 10;

/// What the user accepts.
#[derive(Clone, Copy, Debug)]
pub struct Consent {
    /// `--allow-record-deletion`.
    pub delete: bool,
    /// `--abandon-records`.
    pub abandon: bool,
}

/// Refuses a change of a live installation that would cost records, unless it is consented to. `records` are its own;
/// none where they can't be read, which counts as all of them at stake. `orphaned` are those of them whose TXT records
/// wouldn't be found any more.
///
/// # Errors
/// `RecordsAtRisk`, naming the change, the records and the flag.
pub fn change(
    plan: &mut Plan,
    installed: &Installed,
    settings: &Settings,
    consent: Consent,
    (records, orphaned): (Option<&[Owned]>, &[Owned]),
    objects: &[Value],
) -> Result<()> {
    let changes = protected_changes(installed, settings);
    let of = |risk: Risk| changes.iter().filter(move |change| change.risk == risk);
    orphaning(plan, installed, &of(Risk::Orphans).collect::<Vec<_>>(), consent, (records, orphaned))?;
    let deleting: Vec<_> = of(Risk::Deletes).map(said).collect();
    if deleting.is_empty() || settings.policy != Policy::Sync {
        return Ok(());
    }
    let opaque = changes.iter().any(|change| change.what == What::Opaque);
    let gone =
        records.map(
            |records| {
                if opaque { records.iter().collect() } else { vanishing(records, objects, &View::from(settings)) }
            },
        );
    if gone.as_ref().is_some_and(Vec::is_empty) {
        return Ok(());
    }
    let names = gone.map_or_else(unreadable, |gone| name(gone.into_iter()));
    let message = format!("{} would let ExternalDNS delete records", deleting.join(", "));
    consented(plan, consent.delete, Risk::Deletes, &message, &names)
}

/// Refuses what leaves records without an owner.
fn orphaning(
    plan: &mut Plan,
    installed: &Installed,
    changes: &[&ProtectedChange],
    consent: Consent,
    (records, orphaned): (Option<&[Owned]>, &[Owned]),
) -> Result<()> {
    let some = changes.iter().all(|change| change.what.spares_records());
    let lost = records.map(|records| if some { orphaned } else { records });
    if changes.is_empty() || (some && lost.is_some_and(<[_]>::is_empty)) {
        return Ok(());
    }
    let names = lost.map_or_else(unreadable, |lost| name(lost.iter()));
    let said: Vec<_> = changes.iter().copied().map(said).collect();
    let owned = if some { "records" } else { "the records" };
    let message = format!("{} would leave {owned} of {} without an owner", said.join(", "), installed.owner_id);
    consented(plan, consent.abandon, Risk::Orphans, &message, &names)
}

fn said(change: &ProtectedChange) -> String {
    let value = |text: &str| if text.is_empty() { "(none)".to_owned() } else { text.to_owned() };
    format!("--{} {} → {}", change.flag, value(&change.before), value(&change.after))
}

fn consented(plan: &mut Plan, consent: bool, risk: Risk, message: &str, records: &str) -> Result<()> {
    if consent {
        plan.note(format!("{message}: {records}"));
        return Ok(());
    }
    Err(Error::new(ErrorCode::RecordsAtRisk, message)
        .cause(format!("these are at stake: {records}"))
        .hint_consent(format!("keep the setting as it is, or accept it with {}", risk.consent()), risk.consent()))
}

/// A new installation with an owner id that has records: with an id that was chosen, those of objects that this cluster
/// doesn't have are probably another cluster's; with the derived one, they are this cluster's from before.
///
/// With `sync`, those that nothing asks for are deleted at once.
///
/// # Errors
/// `RecordsAtRisk` for a chosen id, and for records that would be deleted without consent.
pub fn takeover(
    plan: &mut Plan,
    settings: &Settings,
    chosen: bool,
    consent: Consent,
    records: Option<&[Owned]>,
    objects: &[Value],
) -> Result<()> {
    let Some(records) = records else {
        return if chosen { Err(strangers(settings, &unreadable())) } else { Ok(()) };
    };
    if records.is_empty() {
        return Ok(());
    }
    let here: BTreeSet<_> = objects.iter().filter_map(resource).collect();
    let others: Vec<_> = records
        .iter()
        .filter(|record| record.resource.as_ref().is_none_or(|resource| !here.contains(resource)))
        .collect();
    if chosen && !others.is_empty() {
        return Err(strangers(settings, &name(others.into_iter())));
    }
    let owner = &settings.owner_id;
    let gone = vanishing(records, objects, &View::from(settings));
    if settings.policy == Policy::Sync && !gone.is_empty() {
        let message = format!("--policy sync would let ExternalDNS delete records that {owner} owns already");
        consented(plan, consent.delete, Risk::Deletes, &message, &name(gone.into_iter()))?;
    }
    plan.note(format!("it takes over the records that {owner} owns already: {}", name(records.iter())));
    Ok(())
}

/// Records of hosts that the cluster asks for and that others have, or nobody: a new installation leaves them as they are.
pub fn note_strangers(plan: &mut Plan, records: &[Owned]) {
    let said: Vec<_> = records
        .iter()
        .map(|found| {
            let owner = found.owner.as_ref().map_or("no owner".to_owned(), |owner| format!("owner {owner}"));
            format!("{} {} ({owner})", found.record.name, found.record.record_type)
        })
        .collect();
    if !said.is_empty() {
        plan.note(format!("these records of hosts that the cluster asks for stay as they are: {}", said.join(", ")));
    }
}

/// Hosts that the cluster asks for and whose TXT record can't be written: their records are nobody's. Better known before
/// there are records, which a `--txt-prefix` would leave without an owner.
pub fn note_unownable(plan: &mut Plan, settings: &Settings, zones: &[&Zone], objects: &[Value]) {
    let hosts: BTreeSet<_> = desired_hosts(objects, &View::from(settings)).into_iter().map(|it| it.host).collect();
    let problems: Vec<_> = hosts.iter().filter_map(|host| unownable(settings, host, zones)).collect();
    if settings.registry == Registry::Txt && !problems.is_empty() {
        plan.note(format!(
            "ExternalDNS can't own the records of hosts that the cluster asks for: {}",
            problems.join(", ")
        ));
    }
}

/// Why no zone takes the TXT record of a host, which has the shortest name for an A record.
fn unownable(settings: &Settings, host: &str, zones: &[&Zone]) -> Option<String> {
    let txt = settings.mapper().txt_name(host, "A");
    let zone = *suitable_zones(host, zones).last()?;
    if is_too_long(&txt) {
        return Some(format!("{host} (a label of {txt} has more than 63 characters)"));
    }
    let remedy = format!("--txt-prefix {APEX_TXT_PREFIX} puts it there");
    suitable_zones(&txt, zones).is_empty().then(|| format!("{host} ({txt} isn't in zone {}: {remedy})", zone.name))
}

/// Without ownership, ExternalDNS writes over what others made.
///
/// # Errors
/// `RecordsAtRisk`, naming the records.
pub fn overwrite(plan: &mut Plan, consent: bool, records: &[Record]) -> Result<()> {
    let names: Vec<_> = records.iter().map(|record| format!("{} {}", record.name, record.record_type)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let (message, names) =
        ("--registry noop would let ExternalDNS write over records that are there", names.join(", "));
    if consent {
        plan.note(format!("{message}: {names}"));
        return Ok(());
    }
    Err(Error::new(ErrorCode::RecordsAtRisk, message)
        .cause(format!("these are at stake: {names}"))
        .hint_consent("leave --registry out, or take them over with --take-over-records", "--take-over-records"))
}

fn strangers(settings: &Settings, records: &str) -> Box<Error> {
    let message = format!("owner id {} may own records of objects that this cluster doesn't have", settings.owner_id);
    Error::new(ErrorCode::RecordsAtRisk, message)
        .cause(format!("another cluster may look after them: {records}"))
        .hint_consent(
            "leave --txt-owner-id out, choose another one, or take them over with --take-over-records",
            "--take-over-records",
        )
}

/// `kind/namespace/name`, as ExternalDNS writes it.
fn resource(object: &Value) -> Option<String> {
    let text = |path| object.pointer(path).and_then(Value::as_str);
    let kind = text("/kind")?.to_lowercase();
    Some(format!("{kind}/{}/{}", text("/metadata/namespace")?, text("/metadata/name")?))
}

fn unreadable() -> String {
    "its records, which can't be read".to_owned()
}

fn name<'a>(records: impl Iterator<Item = &'a Owned>) -> String {
    let mut names: Vec<_> =
        records.map(|owned| format!("{} {}", owned.record.name, owned.record.record_type)).collect();
    names.dedup();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    match (names.is_empty(), more) {
        (true, _) => "no records so far".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_whose_txt_records_have_no_place_are_known() {
        let zone = |name: &str, id: &str| Zone {
            id: id.to_owned(),
            name: name.to_owned(),
            private: false,
            comment: String::new(),
        };
        let (above, below) = (zone("example.com", "Z1"), zone("sub.example.com", "Z2"));
        let mut settings = Settings::new("us-east-1", "c1");
        let long = |length| format!("{}.example.com", "h".repeat(length));
        let said = |settings: &Settings, host: &str| unownable(settings, host, &[&above, &below]);
        assert!(said(&settings, "example.com").is_some_and(|why| why.contains("a-example.com isn't in zone")));
        assert_eq!(said(&settings, "sub.example.com"), None, "its TXT record is in the zone above");
        assert!(unownable(&settings, "sub.example.com", &[&below]).is_some());
        assert_eq!((said(&settings, &long(61)), said(&settings, "app.example.org")), (None, None));
        assert!(said(&settings, &long(62)).is_some_and(|why| why.contains("63 characters")));
        settings.txt_prefix = Some(APEX_TXT_PREFIX.to_owned());
        assert_eq!((said(&settings, "example.com"), said(&settings, &long(63))), (None, None));
    }
}
