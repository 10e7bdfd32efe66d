//! Removing what was made: stack, ServiceAccount, policy.

use serde_json::Value;

use super::iamserviceaccount::{
    MANAGED_BY, ObservedRole, ObservedStack, ROLE_ANNOTATION, annotation, check_ours, is_ours, label, note_unread,
};
use super::{Action, Op, Plan, Settle, Step, StepId};
use crate::aws::cloudformation::{Action as StackAction, Stack};
use crate::aws::iam::Policy;
use crate::error::{Error, ErrorCode, Result};
use crate::k8s::diff::is_field_of;
use crate::k8s::{FIELD_MANAGER, Kind};
use crate::shell::Command;
use crate::stack::status::Health;
use crate::stack::{tags, template};
use crate::verify::Look;

/// How a stack is removed.
#[derive(Clone, Copy, Debug)]
pub struct StackRemoval<'a> {
    /// The cluster that it must be of.
    pub cluster: &'a str,
    /// `namespace/name` that it must be of.
    pub service_account: &'a str,
    /// Wait until it is gone.
    pub wait: bool,
    /// Detach the policies that others attached.
    pub detach_foreign: bool,
    /// The role with whose rights CloudFormation works.
    pub role_arn: Option<&'a str>,
}

/// Adds the deletion of a stack.
///
/// # Errors
/// `StackNotOurs`, `Conflict` while it is being changed, or `PolicyInUse` where others attached policies to the role: then
/// CloudFormation couldn't delete it.
pub fn add_stack(
    plan: &mut Plan,
    removal: StackRemoval<'_>,
    found: &ObservedStack,
    needs: &[StepId],
) -> Result<StepId> {
    check_ours(removal.cluster, removal.service_account, &found.stack)?;
    let foreign = found.role.as_ref().map(|role| foreign_policies(found, role)).unwrap_or_default();
    let first = before_deletion(&found.stack.status);
    if first != Settle::Nothing && !foreign.is_empty() {
        return Err(is_changing(&found.stack));
    }
    if removal.detach_foreign {
        found.role.as_ref().map_or(Ok(()), check_no_inline)?;
    } else {
        check_no_foreign(found, Some("--detach-foreign-policies"))?;
    }
    found.role.iter().for_each(|role| note_unread(plan, role));
    let role = found.role.as_ref().map(|role| role.role.name.clone()).unwrap_or_default();
    let op = Op::DeleteStack {
        name: found.stack.name.clone(),
        id: found.stack.id.clone(),
        unprotect: found.stack.protected,
        detach: foreign.iter().map(|(_, arn)| (role.clone(), arn.clone())).collect(),
        wait: removal.wait,
        role_arn: removal.role_arn.map(str::to_owned),
        first,
    };
    let mut reason = match Health::of(&found.stack.status) {
        Health::Deleting => "it is being deleted: waits for it".to_owned(),
        Health::InProgress if first != Settle::Nothing => format!("it is {}: waits for it", found.stack.status),
        Health::InProgress => format!("it is {}", found.stack.status),
        _ if role.is_empty() => "its role is gone, or was never made".to_owned(),
        _ => format!("it holds the role {role}"),
    };
    if found.stack.protected {
        reason += "; its termination protection is taken off";
    }
    if !foreign.is_empty() {
        let names: Vec<_> = foreign.iter().map(|(name, _)| name.as_str()).collect();
        reason += &format!("; policies of others are detached: {}", names.join(", "));
    }
    let step = Step::new(Action::Delete, "Stack", &found.stack.name, op).because(reason).with_role(found.live_role());
    Ok(plan.push(step.after(needs.iter().copied())))
}

/// CloudFormation deletes a stack that is being created, and none that is being updated.
fn before_deletion(status: &str) -> Settle {
    let updating = status.starts_with("UPDATE_") && matches!(Health::of(status), Health::InProgress);
    if updating { Settle::Wait(StackAction::Other) } else { Settle::Nothing }
}

/// While an update is under way, a policy of the role may be its old one, or one that others attached.
fn is_changing(stack: &Stack) -> Box<Error> {
    let message = format!("stack {} is {}: another run or tool is changing it", stack.name, stack.status);
    Error::new(ErrorCode::Conflict, message).hint("run the same command again when that is done")
}

/// The policies attached to the role that the stack's template doesn't name.
fn foreign_policies(found: &ObservedStack, role: &ObservedRole) -> Vec<(String, String)> {
    let own = template::read(&found.template).unwrap_or_default();
    let is_own = |arn: &str| own.managed_policies.iter().any(|policy| names_policy(policy, arn));
    role.attached.iter().filter(|(_, arn)| !is_own(arn)).cloned().collect()
}

/// True where a template's entry is the policy of this ARN; its partition may be left to CloudFormation.
pub fn names_policy(entry: &Value, arn: &str) -> bool {
    let without_partition = |text: &str| text.splitn(3, ':').nth(2).map(str::to_owned);
    let text = entry.as_str().or_else(|| entry["Fn::Sub"].as_str()).unwrap_or_default();
    text == arn || (text.starts_with("arn:${AWS::Partition}:") && without_partition(text) == without_partition(arn))
}

/// Fails where others attached policies to a role that is to go: CloudFormation couldn't delete it, and they would be
/// lost. `consent` is the flag that detaches them, where the command has one.
///
/// # Errors
/// `PolicyInUse`, with the commands that detach them.
pub fn check_no_foreign(found: &ObservedStack, consent: Option<&'static str>) -> Result<()> {
    let Some(role) = &found.role else { return Ok(()) };
    check_no_inline(role)?;
    let foreign = foreign_policies(found, role);
    if foreign.is_empty() {
        return Ok(());
    }
    let role = &role.role.name;
    let names: Vec<_> = foreign.iter().map(|(name, _)| name.as_str()).collect();
    let detach: Vec<_> = foreign
        .iter()
        .map(|(_, arn)| Command::new("aws iam detach-role-policy").with("--role-name", role).with("--policy-arn", arn))
        .map(String::from)
        .collect();
    let message = format!("role {role} has policies that others attached: {}", names.join(", "));
    let error = Error::new(ErrorCode::PolicyInUse, message);
    let detach = detach.join("; ");
    Err(match consent {
        Some(flag) => error.hint_consent(format!("detach them ({detach}), or let {flag} do it"), flag),
        None => error.hint(format!("detach them first, for the role is replaced: {detach}")),
    })
}

/// An inline policy lives with its role only: nobody but its owner can say that it may be lost.
fn check_no_inline(found: &ObservedRole) -> Result<()> {
    let role = &found.role.name;
    // What can't be read, CloudFormation tells.
    let others = found.others_inline.as_deref().unwrap_or_default();
    if others.is_empty() {
        return Ok(());
    }
    let names = others.join(", ");
    let delete: Vec<_> = others
        .iter()
        .map(|name| Command::new("aws iam delete-role-policy").with("--role-name", role).with("--policy-name", name))
        .map(String::from)
        .collect();
    Err(Error::new(ErrorCode::PolicyInUse, format!("role {role} has inline policies of others: {names}"))
        .cause("CloudFormation can't delete a role that has them")
        .hint(format!("delete them first, where nothing needs them: {}", delete.join("; "))))
}

/// Adds the deletion of a ServiceAccount that irsactl or eksctl made; others lose the annotation that irsactl set. One that
/// others set is theirs, even if it names `role_arn`, the role that goes.
pub fn add_service_account(
    plan: &mut Plan,
    (namespace, name): (&str, &str),
    found: &Value,
    role_arn: Option<&str>,
    needs: &[StepId],
) -> Option<StepId> {
    let full = format!("{namespace}/{name}");
    let annotated = annotation(found, ROLE_ANNOTATION);
    let step = if is_ours(found) {
        let op = Op::DeleteObject {
            kind: Kind::SERVICE_ACCOUNT,
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
            uid: uid(found),
        };
        Step::new(Action::Delete, "ServiceAccount", full, op).because("irsactl or eksctl made it")
    } else if let Some(role) = annotated.filter(|_| is_annotated_by_us(found)) {
        let op = Op::Unannotate {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid(found),
            role: role.to_owned(),
        };
        let gone = super::diff::Change::new(
            format!("/metadata/annotations/{}", super::diff::escape(ROLE_ANNOTATION)),
            Some(role.into()),
            None,
        );
        Step::new(Action::Update, "ServiceAccount", full, op)
            .because("others made it: it only loses the role")
            .with_diff(vec![gone])
    } else {
        let named = annotated.filter(|role| Some(*role) == role_arn);
        let named = named.map(|role| format!("; its annotation, which others set, names role {role}, which goes"));
        let named = named.unwrap_or_default();
        plan.note(format!("ServiceAccount {full} was made by others and is left alone{named}"));
        return None;
    };
    Some(plan.push(step.after(needs.iter().copied())))
}

/// True for a ServiceAccount to which irsactl or eksctl gave its role, whether or not the role is still there.
pub fn names_a_role_of_ours(service_account: &Value) -> bool {
    let named = annotation(service_account, ROLE_ANNOTATION).is_some();
    named && (is_ours(service_account) || is_annotated_by_us(service_account))
}

/// The role of others that others gave a ServiceAccount, which isn't ours to take away.
pub fn external_role(service_account: &Value) -> Option<&str> {
    annotation(service_account, ROLE_ANNOTATION).filter(|_| !names_a_role_of_ours(service_account))
}

fn is_annotated_by_us(service_account: &Value) -> bool {
    is_field_of(service_account, &["metadata", "annotations", ROLE_ANNOTATION], FIELD_MANAGER)
}

/// Adds the deletion of a Kubernetes object that irsactl made; one of others is left alone.
pub fn add_object(plan: &mut Plan, kind: &Kind, found: Option<&Value>, needs: &[StepId]) -> Option<StepId> {
    let found = found?;
    let name = found.pointer("/metadata/name")?.as_str()?.to_owned();
    let namespace = found.pointer("/metadata/namespace").and_then(Value::as_str).map(str::to_owned);
    let full = namespace.as_ref().map_or(name.clone(), |namespace| format!("{namespace}/{name}"));
    if !is_made_by_irsactl(found) {
        plan.note(format!("{} {full} wasn't made by irsactl and is left alone", kind.kind));
        return None;
    }
    let op = Op::DeleteObject { kind: *kind, namespace, name, uid: uid(found) };
    let step = Step::new(Action::Delete, kind.kind, full, op).because("irsactl made it");
    Some(plan.push(step.after(needs.iter().copied())))
}

/// True for an object, other than a ServiceAccount, that irsactl made.
pub fn is_made_by_irsactl(object: &Value) -> bool {
    label(object, MANAGED_BY) == Some("irsactl")
}

/// Adds the deletion of a namespace that irsactl made, if nothing is in it that the plan doesn't delete. `contents` are
/// its objects as `plural/name`, or why they can't be read.
pub fn add_namespace(plan: &mut Plan, found: &Value, contents: &Look<Vec<String>>, needs: &[StepId]) {
    let name = found.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let deleted = |object: &&String| {
        plan.steps.iter().any(|step| match &step.op {
            Op::DeleteObject { kind, namespace: Some(_), name, .. } => **object == format!("{}/{name}", kind.plural),
            _ => false,
        })
    };
    let others = contents.as_ref().map(|all| all.iter().filter(|object| !deleted(object)).map(String::as_str));
    match others.map(Iterator::collect::<Vec<_>>).as_deref() {
        Ok([]) => {
            let op = Op::DeleteNamespace { name: name.to_owned(), uid: uid(found) };
            let step =
                Step::new(Action::Delete, "Namespace", name, op).because("irsactl made it, and it is empty then");
            plan.push(step.after(needs.iter().copied()));
        }
        Ok(others) => plan.note(format!("namespace {name} stays: it holds {}", others.join(", "))),
        Err(why) => plan.note(format!("namespace {name} stays: what it holds can't be read: {why}")),
    }
}

/// Adds the deletion of a policy, if irsactl made it and only the role of `stack` has it, if any does.
pub fn add_policy(
    plan: &mut Plan,
    policy: &Policy,
    users: &Look<Vec<String>>,
    stack: Option<&ObservedStack>,
    needs: &[StepId],
) -> Option<StepId> {
    if !policy.tags.contains_key(tags::IRSACTL_VERSION) {
        plan.note(format!("policy {} wasn't made by irsactl and is left alone", policy.name));
        return None;
    }
    let role = stack.and_then(|found| found.role.as_ref()).map(|role| role.role.name.clone());
    let own = role.as_ref().map(|role| format!("role/{role}"));
    let (own, others): (Vec<_>, Vec<_>) = match users {
        Ok(users) => users.iter().partition(|user| Some(*user) == own.as_ref()),
        Err(why) => {
            plan.note(format!("policy {} stays: who has it can't be read: {why}", policy.name));
            return None;
        }
    };
    if !others.is_empty() {
        let list: Vec<_> = others.iter().map(|user| user.as_str()).collect();
        plan.note(format!("policy {} stays: {} has it, too", policy.name, list.join(", ")));
        return None;
    }
    let has_it = !own.is_empty();
    let op = Op::DeletePolicy { arn: policy.arn.clone(), role: role.filter(|_| has_it) };
    let live = stack.filter(|_| has_it).and_then(ObservedStack::live_role);
    let step = Step::new(Action::Delete, "Policy", &policy.name, op).because("nothing else has it").with_role(live);
    Some(plan.push(step.after(needs.iter().copied())))
}

/// The uid of an object, so that only what was read is deleted.
pub fn uid(object: &Value) -> Option<String> {
    object.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned)
}
