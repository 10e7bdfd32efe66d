//! The policies of a role, held against those that its stack gives it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::row::Policy;
use crate::aws::cloudformation::Stack;
use crate::aws::iam::RoleWithPolicies;
use crate::iam::arn::{Arn, Partition};
use crate::iam::policy::{PolicyDocument, list, statements};
use crate::iam::wellknown::WellKnown;
use crate::iam::wildcard::matches;
use crate::plan::iamserviceaccount::{foreign_policies, mends};
use crate::plan::{Op, StackSpec, Step};
use crate::shell::Command;
use crate::stack::template::INLINE;
use crate::stack::{names, tags};

/// The policies of a role: managed ones, then those written into it.
pub(super) fn of(role: &RoleWithPolicies) -> Vec<Policy> {
    let managed = role.attached.iter().map(|(name, arn)| Policy { name: name.clone(), arn: Some(arn.clone()) });
    let inline = role.inline.keys().chain(role.others_inline.iter().flatten());
    managed.chain(inline.map(|name| Policy { name: name.clone(), arn: None })).collect()
}

/// The well-known policies as this version writes them.
pub(super) struct Today(Vec<(WellKnown, Vec<(String, PolicyDocument)>)>);

impl Today {
    /// Those of a partition.
    pub(super) fn new(partition: &Partition) -> Self {
        let policies = |known: WellKnown| {
            let documents = known.policies().into_iter();
            documents.map(|(id, document)| (id, PolicyDocument(document).resolved(partition))).collect()
        };
        Self(WellKnown::ALL.into_iter().map(|known| (known, policies(known))).collect())
    }

    /// What differs from the stack: told by its template where that was read, otherwise by the policies' names, which
    /// say nothing about managed ones.
    pub(super) fn drift(&self, stack: &Stack, template: Option<&Value>, role: &RoleWithPolicies) -> Vec<String> {
        let spec = template.and_then(|template| {
            StackSpec::of_template(stack.name.clone(), String::new(), template.clone(), Vec::new(), false).ok()
        });
        let Some(spec) = spec else {
            let strange = self.strange(&stack.name, role);
            return strange.into_iter().chain(self.outdated(stack, role, &role.inline)).collect();
        };
        let mut drift: Vec<_> = mends(&spec, role).iter().map(|step| mended(step, role)).collect();
        drift.extend(foreign(&role.role.name, &foreign_policies(&spec, role)));
        drift.extend(self.outdated(stack, role, &spec.inline));
        drift
    }

    /// Inline policies whose names no stack of this name gives.
    fn strange(&self, stack: &str, role: &RoleWithPolicies) -> Option<String> {
        let prefix = format!("{stack}-Policy");
        let mut others = role
            .inline
            .keys()
            .chain(role.others_inline.iter().flatten())
            .filter(|name| !name.starts_with(&prefix))
            .peekable();
        others.peek()?;
        let ids = self.0.iter().flat_map(|(_, policies)| policies.iter().map(|(id, _)| id.as_str())).chain([INLINE]);
        let own: BTreeSet<_> = ids.map(|id| names::inline_policy(stack, id)).collect();
        let others: Vec<_> =
            others.filter(|name| !own.contains(*name)).map(|name| format!("{name} (inline)")).collect();
        foreign(&role.role.name, &others)
    }

    /// Well-known policies among `inline` that aren't what this version writes.
    fn outdated(
        &self,
        stack: &Stack,
        role: &RoleWithPolicies,
        inline: &BTreeMap<String, PolicyDocument>,
    ) -> Vec<String> {
        if inline.is_empty() {
            return Vec::new();
        }
        let live = |id: &str| inline.get(&names::inline_policy(&stack.name, id));
        let has = |(known, policies): &&(WellKnown, Vec<(String, PolicyDocument)>)| {
            policies.iter().any(|(id, _)| live(id).is_some()) || is_attached(*known, role)
        };
        let held: Vec<_> = self.0.iter().filter(has).collect();
        let difference = |known: WellKnown, id: &str, today: &PolicyDocument| match live(id) {
            Some(live) if live.same_as(today) => None,
            Some(live) => Some(format!("inline policy {id} is {}", version(live, today))),
            None => Some(format!("inline policy {id} of {} is missing", known.key())),
        };
        let policies = held.iter().flat_map(|(known, policies)| policies.iter().map(|(id, today)| (*known, id, today)));
        let found: Vec<_> = policies.filter_map(|(known, id, today)| difference(known, id, today)).collect();
        if found.is_empty() {
            return found;
        }
        let keys: Vec<_> = held.iter().map(|(known, _)| known.key()).collect();
        let command = update(stack, &keys.join(","));
        found.into_iter().map(|sentence| format!("{sentence}; this renews it: {command}")).collect()
    }
}

fn is_attached(known: WellKnown, role: &RoleWithPolicies) -> bool {
    let managed = known.managed().map(|path| format!(":iam::aws:policy/{path}"));
    managed.is_some_and(|end| role.attached.iter().any(|(_, arn)| arn.ends_with(&end)))
}

/// The command that brings the well-known policies of a stack up to date: it names all that there are.
fn update(stack: &Stack, known: &str) -> String {
    let region = stack.id.parse::<Arn>().map(|arn| arn.region).unwrap_or_default();
    let (namespace, name) = tags::owner(&stack.tags).unwrap_or_default();
    let cluster = tags::cluster(&stack.tags).unwrap_or_default();
    let command = Command::new("irsactl update iamserviceaccount").with("--cluster", cluster).with("--region", &region);
    command.with("--namespace", &namespace).with("--name", &name).with("--well-known-policy", known).approved()
}

fn foreign(role: &str, names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| format!("role {role} has policies that its stack didn't give it: {}", names.join(", ")))
}

/// What a step would mend, as a finding.
fn mended(step: &Step, role: &RoleWithPolicies) -> String {
    let reason = step.reason.as_deref().unwrap_or_default();
    let name = &role.role.name;
    match &step.op {
        Op::AttachPolicy { .. } => format!("policy {}: {reason}", step.name),
        Op::SetBoundary { boundary, .. } => {
            let or_none = |arn: &Option<String>| arn.clone().unwrap_or_else(|| "none".to_owned());
            format!("role {name}: {reason}: found {}, needed {}", or_none(&role.role.boundary), or_none(boundary))
        }
        Op::SetInlinePolicy { name: policy, document, .. } => {
            let change = role.inline.get(policy).map(|live| format!(": it {}", difference(live, document)));
            format!("role {name}: {reason}{}", change.unwrap_or_default())
        }
        _ => format!("role {name}: {reason}"),
    }
}

/// What version of a well-known policy it is that isn't today's.
fn version(live: &PolicyDocument, today: &PolicyDocument) -> String {
    let age = if lacks(live, today).is_empty() { "another" } else { "an older" };
    format!("{age} version: it {}", difference(live, today))
}

/// How a document differs from the one that is wanted, for people: by actions where that tells.
fn difference(live: &PolicyDocument, wanted: &PolicyDocument) -> String {
    let (less, more) = (lacks(live, wanted), lacks(wanted, live));
    match (less.is_empty(), more.is_empty()) {
        (false, true) => format!("lacks {}", less.join(", ")),
        (false, false) => format!("lacks {}, and allows {}", less.join(", "), more.join(", ")),
        (true, false) => format!("allows {}, which isn't needed", more.join(", ")),
        (true, true) => "has other resources or conditions than are needed".to_owned(),
    }
}

/// The actions that `wanted` allows and `live` doesn't.
fn lacks<'a>(live: &PolicyDocument, wanted: &'a PolicyDocument) -> Vec<&'a str> {
    let has: Vec<_> = allowed(live).into_iter().map(str::to_lowercase).collect();
    let covered = |action: &str| has.iter().any(|pattern| matches(pattern, &action.to_lowercase()));
    allowed(wanted).into_iter().filter(|action| !covered(action)).collect()
}

/// The actions that a document allows, as it writes them.
fn allowed(document: &PolicyDocument) -> BTreeSet<&str> {
    let allow = statements(&document.0).into_iter().filter(|statement| statement["Effect"] == "Allow");
    allow.filter_map(|statement| statement.get("Action")).flat_map(list).filter_map(Value::as_str).collect()
}
