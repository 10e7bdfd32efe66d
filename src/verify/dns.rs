//! The links from the zones to the records: what an installation of ExternalDNS looks after, what it owns, and what it
//! should have made.

mod hostname;
mod records;
#[cfg(test)]
mod tests;
mod zones;

pub use hostname::follow;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Check, Commands, Look, ids, unless_after};
use crate::externaldns::args::{Installed, OWNERSHIP, ZONES};
use crate::externaldns::filter::Zone;
use crate::externaldns::flags;
use crate::externaldns::hosts::desired_hosts;
use crate::externaldns::leftovers::listing;
use crate::externaldns::objects::resource_names;
use crate::externaldns::owner;
use crate::externaldns::registry::{Class, Owned};
use crate::externaldns::version::NEWEST;
use crate::externaldns::view::View;
use crate::iam::arn::Arn;
use crate::shell::{Command, option};

/// How many things a message names.
const NAMED: usize = 5;

/// What was read about the DNS side of an installation.
#[derive(Clone, Debug)]
pub struct Dns {
    /// Where it runs.
    pub commands: Commands,
    /// The installation.
    pub installed: Installed,
    /// The `irsactl install external-dns` command that makes it what it is.
    pub install: String,
    /// The owner id that it has where none is chosen.
    pub owner_id: String,
    /// All zones of the account that it looks after.
    pub zones: Look<Vec<Zone>>,
    /// The records of the zones that it looks after.
    pub records: Look<Vec<Contents>>,
    /// What asks for hosts: Ingresses, Services and whatever else its sources read.
    pub objects: Look<Vec<Value>>,
    /// Why objects of some of its sources aren't among them.
    pub unread: Vec<String>,
    /// The other installations in the cluster.
    pub others: Look<Vec<Installed>>,
    /// The namespaces of the cluster.
    pub namespaces: Look<BTreeSet<String>>,
}

/// The records of a zone.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The zone.
    pub zone: Zone,
    /// Who owns what, as the installation sees it.
    pub found: Vec<Owned>,
    /// The record sets as Route53's API words them, which a deletion has to repeat.
    pub sets: Vec<Value>,
}

impl Dns {
    /// Zones, owner and records: all, or those of one host.
    pub fn checks(&self, host: Option<&str>) -> Vec<Check> {
        let zones = match self.installed.unknown(ZONES) {
            Some(why) => Check::skip(ids::ZONES, why),
            None => self.check_zones(),
        };
        let owner = unless_after(self.check_owner(), &[&zones]);
        let records = match self.unjudgeable() {
            _ if zones.fails() => Check::skip(ids::RECORDS, format!("follows from {}", zones.id)),
            Some(why) => Check::skip(ids::RECORDS, why),
            None => self.check_records(host),
        };
        vec![zones, owner, records]
    }

    /// Zones, owner, records and the host that is asked about, where links before them may be broken: then no record
    /// can be expected.
    pub fn verified(&self, before: &[&Check], host: Option<&str>) -> Vec<Check> {
        let mut checks = self.checks(host);
        let zones = checks[0].clone();
        let before: Vec<_> = before.iter().copied().chain([&zones]).collect();
        checks.extend(host.map(|host| match self.unjudgeable() {
            Some(why) => Check::skip(ids::HOSTNAME, why),
            None => follow(self, host),
        }));
        let expected = |check: Check| match check.id {
            ids::RECORDS | ids::HOSTNAME => unless_after(check, &before),
            _ => check,
        };
        checks.into_iter().map(expected).collect()
    }

    fn check_owner(&self) -> Check {
        let id = ids::OWNER;
        let Installed { registry, owner_id, .. } = &self.installed;
        if let Some(why) = self.installed.unknown(OWNERSHIP) {
            return Check::skip(id, why);
        }
        match registry.as_str() {
            "txt" => {}
            "noop" => {
                let message = "--registry=noop: nothing says which records are its own, it writes over those of others";
                let txt = Command::new(&self.install).set("--registry", ["txt"]).word("--abandon-records");
                return Check::warn(id, message).hint(txt.approved());
            }
            other => return Check::skip(id, format!("owners are kept in the registry {other}, not in TXT records")),
        }
        let mut findings = Vec::new();
        findings.extend(self.unreadable_id());
        findings.extend(self.common_id());
        findings.extend(self.shared_id());
        match (&self.records, self.installed.encrypts()) {
            (Err(why), _) => findings.push(Check::skip(id, why)),
            (_, true) => findings.push(Check::skip(id, "its TXT records are encrypted: whose they are can't be told")),
            (Ok(records), false) => findings.extend(self.judged_owners(records)),
        }
        Check::of(id, format!("{owner_id}, which nobody else uses"), findings)
    }

    /// Why it can't be told whose records are and what they should be.
    fn unjudgeable(&self) -> Option<String> {
        let unreadable = self.unreadable_id().map(|check| format!("follows from {}", check.id));
        unreadable.or_else(|| self.installed.untold())
    }

    /// An id by which it doesn't know its records again.
    fn unreadable_id(&self) -> Option<Check> {
        let Installed { registry, owner_id, .. } = &self.installed;
        let why = owner::unreadable(owner_id, self.installed.rules()).filter(|_| registry == "txt")?;
        let newer = Command::new(&self.install).without("--image").without("--external-dns-version");
        let can = owner::unreadable(owner_id, NEWEST).is_none();
        let hint = if can { newer.approved() } else { self.other_owner() };
        let message = format!("owner id `{owner_id}` {why}: it doesn't know its own records");
        Some(Check::fail(ids::OWNER, message).hint(hint))
    }

    /// What the records say of who else there is. What is in a zone that isn't its own is nothing to it.
    fn judged_owners(&self, records: &[Contents]) -> Vec<Check> {
        if let Some(flag) = self.installed.unjudged() {
            return vec![Check::skip(ids::OWNER, format!("which zones --{flag} selects isn't judged here"))];
        }
        self.unknown_namespaces(records).into_iter().chain(self.synced_strangers(records)).collect()
    }

    /// An id that doesn't name the cluster.
    fn common_id(&self) -> Option<Check> {
        let given = self.installed.arguments.get("txt-owner-id").filter(|id| !id.is_empty());
        let Some(given) = given.filter(|id| *id != "default") else {
            let message = "no --txt-owner-id: it is `default`, which every installation without one has";
            return Some(Check::fail(ids::OWNER, message).hint(self.other_owner()));
        };
        let why = owner::copied(given)?;
        let check = Check::warn(ids::OWNER, format!("owner id `{given}` is not unique to this cluster: {why}"));
        Some(check.hint(self.other_owner()))
    }

    /// Another installation of the cluster with the same id in the same zones.
    fn shared_id(&self) -> Option<Check> {
        let others = match &self.others {
            Ok(others) => others,
            Err(why) => return Some(Check::skip(ids::OWNER, format!("who else uses it can't be told: {why}"))),
        };
        let unknown = |other: &Installed| other.unknown(&["registry", "txt-owner-id"]);
        let same = |other: &&Installed| {
            other.registry == "txt" && other.owner_id == self.installed.owner_id && unknown(other).is_none()
        };
        let Some(other) = others.iter().filter(same).find(|other| self.overlaps(other)) else {
            let (other, why) = others.iter().find_map(|other| Some((other, unknown(other)?)))?;
            let who = format!("whether {}/{} uses it can't be told: {why}", other.namespace, other.name);
            return Some(Check::skip(ids::OWNER, who));
        };
        if let Some(flag) = self.installed.unjudged().or_else(|| other.unjudged()) {
            let message = format!(
                "owner id {} is also that of {}/{}: whether they share a zone isn't judged here, with --{flag}",
                self.installed.owner_id, other.namespace, other.name
            );
            return Some(Check::skip(ids::OWNER, message));
        }
        let message = format!(
            "owner id {} is also that of {}/{}: each takes the other's records for its own",
            self.installed.owner_id, other.namespace, other.name
        );
        let check = Check::fail(ids::OWNER, message);
        Some(if self.owner_id == self.installed.owner_id {
            check.hint(format!("kubectl edit deployment {} --namespace {}", other.name, other.namespace))
        } else {
            check.hint(self.other_owner())
        })
    }

    fn overlaps(&self, other: &Installed) -> bool {
        let Ok(zones) = &self.zones else { return true };
        let own = self.installed.looked_after(zones);
        other.looked_after(zones).iter().any(|zone| own.contains(zone))
    }

    /// Own records of namespaces that the cluster doesn't have.
    fn unknown_namespaces(&self, records: &[Contents]) -> Option<Check> {
        let namespaces = match &self.namespaces {
            Ok(namespaces) => namespaces,
            Err(why) => return Some(Check::skip(ids::OWNER, why)),
        };
        let elsewhere = |owned: &&Owned| namespace(owned).is_some_and(|name| !namespaces.contains(name));
        let found = own(records).filter(elsewhere);
        let names: BTreeSet<_> = found
            .map(|owned| format!("{} ({})", owned.record.name, owned.resource.as_deref().unwrap_or_default()))
            .collect();
        if names.is_empty() {
            return None;
        }
        let message = format!(
            "another cluster uses this owner id, or the namespace is gone: {} owns {}",
            self.installed.owner_id,
            listed(names)
        );
        Some(Check::fail(ids::OWNER, message).hint(self.owned_by(&self.installed.owner_id)))
    }

    /// Records of others where records are deleted.
    fn synced_strangers(&self, records: &[Contents]) -> Option<Check> {
        if self.installed.policy.as_deref() != Some("sync") {
            return None;
        }
        let mut owners: BTreeMap<&str, usize> = BTreeMap::new();
        let foreign = records.iter().flat_map(|zone| &zone.found).filter(|owned| owned.class == Class::Foreign);
        for owner in foreign.filter_map(|owned| owned.owner.as_deref()) {
            *owners.entry(owner).or_default() += 1;
        }
        if owners.is_empty() {
            return None;
        }
        let owners = owners.into_iter().map(|(owner, count)| format!("{owner} ({})", counted(count, "record")));
        let message = format!("--policy=sync deletes in zones that it shares with {}", listed(owners));
        let upsert = Command::new(&self.install).set("--policy", ["upsert-only"]);
        Some(Check::warn(ids::OWNER, message).hint(upsert.approved()))
    }

    /// Gives it the owner id that is its own, and its records with it where that takes nobody else's.
    fn other_owner(&self) -> String {
        let command = Command::new(&self.install).set("--txt-owner-id", [self.owner_id.as_str()]);
        let migrates = flags::check("migrate-from-txt-owner", self.installed.rules()).is_ok();
        let command = if migrates && self.owns_only_its_own() {
            command
                .without_extra("migrate-from-txt-owner")
                .word(&format!("--extra-arg=--migrate-from-txt-owner={}", self.installed.owner_id))
        } else {
            command
        };
        command.word("--abandon-records").approved()
    }

    /// True where everything that its owner id owns is of objects of this cluster, or of those that it reads itself where
    /// another installation has the same id: with `--policy=sync`, it would delete the records that it takes along and
    /// doesn't ask for.
    fn owns_only_its_own(&self) -> bool {
        let (Ok(records), Ok(objects), Ok(others)) = (&self.records, &self.objects, &self.others) else { return false };
        let asking = || desired_hosts(objects, &View::from(&self.installed)).into_iter().map(|one| one.resource);
        let shared = others.iter().any(|other| other.registry == "txt" && other.owner_id == self.installed.owner_id);
        let here: BTreeSet<String> = if shared { asking().collect() } else { resource_names(objects) };
        let mut owned = own(records).peekable();
        owned.peek().is_some() && owned.all(|owned| owned.resource.as_ref().is_some_and(|name| here.contains(name)))
    }

    /// Lists what an owner has.
    fn owned_by(&self, owner: &str) -> String {
        format!("{} {}", self.list(), option("--owner", owner))
    }

    /// Lists the records as it sees them. Those of another account aren't seen by way of the cluster.
    fn list(&self) -> String {
        if self.installed.assume_role.is_some() {
            let command = listing(&self.commands.region, &self.installed);
            return self.there(command.with("--txt-owner-id", &self.installed.owner_id).into());
        }
        self.commands.get_dnsrecords(&self.installed.namespace, &self.installed.name)
    }

    /// A command, and where it has to be run: in the account of the zones.
    fn there(&self, command: String) -> String {
        match self.account() {
            Some(account) => format!("in account {account}: {command}"),
            None => command,
        }
    }

    /// The account of the zones, where it is that of a role that is assumed for them.
    fn account(&self) -> Option<String> {
        let role: Arn = self.installed.assume_role.as_ref()?.parse().ok()?;
        Some(role.account)
    }

    /// Makes a zone, a private one for the cluster's VPC where it looks after private ones only.
    fn create_zone(&self, name: &str) -> String {
        let name = name.trim_matches('.');
        let create = Command::new("aws route53 create-hosted-zone")
            .with("--name", name)
            .with("--caller-reference", &format!("irsactl-{name}"));
        if self.installed.zone_type.as_deref() != Some("private") {
            return self.there(create.into());
        }
        if let Some(account) = self.account() {
            return format!("in account {account}, make a private hosted zone {name}, and associate the cluster's VPC");
        }
        let Commands { cluster, region } = &self.commands;
        let vpc = Command::new("aws eks describe-cluster").with("--name", cluster).with("--region", region);
        let vpc = vpc.word("--query").word("cluster.resourcesVpcConfig.vpcId").word("--output").word("text");
        let create = create.with("--hosted-zone-config", "PrivateZone=true");
        format!("{create} --vpc VPCRegion={region},VPCId=\"$({vpc})\"")
    }

    /// Follows a host until it works.
    fn wait_for(&self, host: &str) -> String {
        let verify = self.commands.verify_external_dns(&self.installed.namespace, &self.installed.name);
        format!("{verify} {} --wait", option("--hostname", host))
    }
}

/// What can be said without an installation.
pub fn without_installation(host: Option<&str>) -> Vec<Check> {
    let ids = [ids::ZONES, ids::OWNER, ids::RECORDS].into_iter().chain(host.map(|_| ids::HOSTNAME));
    ids.map(|id| Check::skip(id, "there is no installation that can be looked at")).collect()
}

/// A `kubectl` command about an object, `kind/namespace/name` as in TXT records.
fn kubectl(verb: &str, resource: &str) -> Option<Command> {
    let mut parts = resource.splitn(3, '/');
    let (kind, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
    let kind = if kind == "crd" { "dnsendpoint" } else { kind };
    Some(Command::new("kubectl").word(verb).word(kind).word(name).with("--namespace", namespace))
}

/// The installation's own records.
fn own(records: &[Contents]) -> impl Iterator<Item = &Owned> {
    records.iter().flat_map(|zone| &zone.found).filter(|owned| owned.class.is_owned())
}

/// The namespace of the object that asked for a record.
fn namespace(owned: &Owned) -> Option<&str> {
    let mut parts = owned.resource.as_deref()?.split('/');
    let namespace = parts.nth(1).filter(|namespace| !namespace.is_empty());
    parts.next().and(namespace)
}

/// `a, b and 12 more`.
fn listed(names: impl IntoIterator<Item = String>) -> String {
    let mut names: Vec<_> = names.into_iter().collect();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let names = names.join(", ");
    if more == 0 { names } else { format!("{names} and {more} more") }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// `name (id)` of a zone, and that it is private.
fn shown(zone: &Zone) -> String {
    format!("{} ({}{})", zone.name, zone.id, if zone.private { ", private" } else { "" })
}
