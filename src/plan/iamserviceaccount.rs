//! A service account with an IAM role: the stack, its role, the namespace and the ServiceAccount.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::diff::Change;
use super::{Action, LiveRole, Op, Plan, RoleSource, ServiceAccountOutput, Settle, StackSpec, Step, StepId};
use crate::aws::cloudformation::{Action as StackAction, Stack};
/// A role as IAM has it.
pub use crate::aws::iam::RoleWithPolicies as ObservedRole;
use crate::error::{Error, ErrorCode, Result};
use crate::iam::trust::AUDIENCE;
use crate::k8s::FIELD_MANAGER;
use crate::k8s::diff::{conflicting_owners, differences, is_field_of};
use crate::stack::events::Failure;
use crate::stack::status::Health;
use crate::stack::{tags, template};

/// The output of a stack that holds its role's ARN.
pub const ROLE_OUTPUT: &str = template::ROLE;
/// The annotation that names the role (amazon-eks-pod-identity-webhook).
pub const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";
/// The annotation that gives the pods' tokens another audience (amazon-eks-pod-identity-webhook).
pub const AUDIENCE_ANNOTATION: &str = "eks.amazonaws.com/audience";

/// How many seconds the pod identity webhook lets a pod's token live.
pub const TOKEN_EXPIRATION: &str = "eks.amazonaws.com/token-expiration";
/// The label by which tools know what they made.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// A service account as it should be.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Its cluster.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: DesiredRole,
    /// The Kubernetes half, unless only the role is wanted.
    pub object: Option<DesiredObject>,
}

/// Where the role comes from.
#[derive(Clone, Debug)]
pub enum DesiredRole {
    /// A stack makes it.
    Stack(Arc<StackSpec>),
    /// Others made it.
    Existing(String),
}

/// The ServiceAccount as it should be.
#[derive(Clone, Debug, Default)]
pub struct DesiredObject {
    /// Consent to annotate a ServiceAccount that neither irsactl nor eksctl made.
    pub take_over: bool,
    /// Take fields over from other field managers.
    pub force: bool,
    /// Labels that it gets beside ours.
    pub labels: BTreeMap<String, String>,
    /// Annotations that it gets beside that of the role.
    pub annotations: BTreeMap<String, String>,
    /// Some of them were taken over from the ServiceAccount as it was read: they hold for that version of it only.
    pub taken_over: bool,
}

impl DesiredObject {
    /// What is kept of a ServiceAccount: the labels and annotations that irsactl set beside its own, which an apply
    /// without them would take away.
    pub fn kept(found: &Value) -> Self {
        let kept = |which: &str| {
            let all = found["metadata"][which].as_object().into_iter().flatten();
            let own = |key: &str| [MANAGED_BY, ROLE_ANNOTATION].contains(&key);
            let ours = |key: &str| !own(key) && is_field_of(found, &["metadata", which, key], FIELD_MANAGER);
            let pairs = all.filter(|(key, _)| ours(key));
            pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
        };
        Self { labels: kept("labels"), annotations: kept("annotations"), take_over: !is_ours(found), ..Self::default() }
    }
}

/// A stack that was found.
#[derive(Clone, Debug)]
pub struct ObservedStack {
    /// The stack.
    pub stack: Stack,
    /// Its template.
    pub template: Value,
    /// Its role as IAM has it; none where it is gone.
    pub role: Option<ObservedRole>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

impl ObservedStack {
    /// True for a stack that can only be replaced.
    pub fn has_failed(&self) -> bool {
        matches!(Health::of(&self.stack.status), Health::Replace { .. })
    }

    /// Its role, as far as it decides about the rights that a step needs.
    pub fn live_role(&self) -> Option<LiveRole> {
        let found = self.role.as_ref()?;
        Some(LiveRole {
            arn: found.role.arn.clone(),
            attached: !found.attached.is_empty(),
            inline: !found.inline.is_empty(),
            cfn_role: self.stack.role_arn.clone(),
            mends: Vec::new(),
        })
    }
}

impl AsRef<Stack> for ObservedStack {
    fn as_ref(&self) -> &Stack {
        &self.stack
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The stack of that name.
    pub stack: Option<ObservedStack>,
    /// The role that `--role-name` asks for, where no stack of ours has it.
    pub role_taken: Option<String>,
    /// The namespace.
    pub namespace: Option<Value>,
    /// The ServiceAccount.
    pub service_account: Option<Value>,
}

/// The steps of one entry, for those that come after.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where the role's ARN comes from.
    pub role: RoleSource,
    /// All steps of the AWS half.
    pub aws: Vec<StepId>,
    /// The namespace.
    pub namespace: Option<StepId>,
    /// The ServiceAccount.
    pub service_account: Option<StepId>,
}

/// Adds the steps that bring one service account to what is desired; the stack comes after `needs`.
///
/// # Errors
/// Where something of others is in the way.
pub fn add(plan: &mut Plan, desired: &Desired, observed: &Observed, needs: &[StepId]) -> Result<Entry> {
    let (role, aws) = match &desired.role {
        DesiredRole::Existing(arn) => {
            note_stack(plan, desired, observed);
            (RoleSource::Known(arn.clone()), needs.to_vec())
        }
        DesiredRole::Stack(spec) => add_role(plan, desired, spec, observed, needs)?,
    };
    plan.outputs.service_accounts.push(ServiceAccountOutput {
        namespace: desired.namespace.clone(),
        name: desired.name.clone(),
        role_arn: None,
        source: role.clone(),
    });
    let mut entry = Entry { role, aws, namespace: None, service_account: None };
    if let Some(object) = &desired.object {
        let namespace = add_namespace(plan, desired, observed)?;
        let account = service_account(desired, object, observed, &entry.role)?;
        entry.namespace = Some(namespace);
        entry.service_account = Some(plan.push(account.after(entry.aws.iter().copied().chain([namespace]))));
    }
    Ok(entry)
}

/// A role of others is used: the stack's isn't any more.
fn note_stack(plan: &mut Plan, desired: &Desired, observed: &Observed) {
    let Desired { cluster, namespace, name, .. } = desired;
    let full = format!("{namespace}/{name}");
    let own = observed.stack.as_ref().filter(|found| check_ours(cluster, &full, &found.stack).is_ok());
    if let Some(found) = own {
        plan.note(format!(
            "stack {} and its role stay, unused; this removes them: irsactl delete iamserviceaccount --cluster \
             {cluster} --region {} --namespace {namespace} --name {name} --role-only --approve",
            found.stack.name, plan.region
        ));
    }
}

fn add_role(
    plan: &mut Plan,
    desired: &Desired,
    spec: &Arc<StackSpec>,
    observed: &Observed,
    needs: &[StepId],
) -> Result<(RoleSource, Vec<StepId>)> {
    if let Some(found) = &observed.stack {
        check_ours(&desired.cluster, &spec.service_account, &found.stack)?;
    }
    if let Some(role) = &observed.role_taken {
        return Err(Error::new(ErrorCode::AlreadyExists, format!("a role named {role} exists and isn't this stack's"))
            .hint(
                "give the role another --role-name, or use it as it is with --attach-role-arn (install: --role-arn)",
            ));
    }
    let Some(found) = &observed.stack else {
        let op = Op::CreateStack { stack: spec.clone(), forerunner: None };
        let step = Step::new(Action::Create, "Stack", &spec.name, op).because("the service account has no role yet");
        let id = plan.push(step.after(needs.iter().copied()));
        return Ok((RoleSource::Stack(spec.name.clone()), vec![id]));
    };
    let mended = |role: &ObservedRole| mends(spec, role).into_iter().map(|step| step.op).collect();
    let live =
        found.live_role().map(|live| LiveRole { mends: found.role.as_ref().map(mended).unwrap_or_default(), ..live });
    let step = stack_step(spec, found).with_role(live);
    super::recreation::refuse(&plan.region, desired, spec, found, &step)?;
    if replaces_role(&step) {
        super::removal::check_no_foreign(found, None)?;
    }
    // CloudFormation leaves the role as it is.
    let untouched = matches!(step.op, Op::None | Op::ProtectStack { .. });
    let source = match &found.role {
        Some(role) if untouched || keeps_role(&step) => RoleSource::Known(role.role.arn.clone()),
        _ => RoleSource::Stack(spec.name.clone()),
    };
    let mut ids = vec![plan.push(step.after(needs.iter().copied()))];
    found.role.iter().for_each(|role| note_unread(plan, role));
    if let (Some(role), true) = (&found.role, untouched) {
        let mut needs = needs.to_vec();
        for step in mends(spec, role) {
            let bounds = matches!(step.op, Op::SetBoundary { .. });
            let id = plan.push(step.with_role(found.live_role()).after(needs.iter().copied()));
            ids.push(id);
            // Who may only change roles that have a certain boundary sets it first.
            needs.extend(bounds.then_some(id));
        }
        note_foreign_policies(plan, spec, role);
    }
    Ok((source, ids))
}

/// True for a change of a stack at rest that leaves its role.
fn keeps_role(step: &Step) -> bool {
    matches!(step.op, Op::ChangeStack { first: Settle::Nothing, .. }) && !replaces_role(step)
}

/// True for a change that deletes the role and makes another.
fn replaces_role(step: &Step) -> bool {
    let replaces = |change: &Change| change.path.ends_with("/RoleName") || change.path.ends_with("/Path");
    match &step.op {
        Op::ReplaceStack { .. } => true,
        Op::ChangeStack { .. } => step.diff.iter().any(replaces),
        _ => false,
    }
}

/// A stack of the right name is ours only if its tags say so.
///
/// # Errors
/// `StackNotOurs`.
pub fn check_ours(cluster: &str, service_account: &str, stack: &Stack) -> Result<()> {
    let owner = tags::owner(&stack.tags).map(|(namespace, name)| format!("{namespace}/{name}"));
    if tags::cluster(&stack.tags) == Some(cluster) && owner.as_deref() == Some(service_account) {
        return Ok(());
    }
    let whose = match (tags::cluster(&stack.tags), owner) {
        (Some(cluster), Some(owner)) => format!("its tags say that it is for {owner} of cluster {cluster}"),
        _ => "its tags don't say that it is a service account's".to_owned(),
    };
    Err(Error::new(
        ErrorCode::StackNotOurs,
        format!("stack {} isn't for {service_account} of cluster {cluster}", stack.name),
    )
    .cause(whose)
    .hint("it is left alone; delete it if nothing needs it, or give the ServiceAccount another name"))
}

fn stack_step(spec: &Arc<StackSpec>, found: &ObservedStack) -> Step {
    let stack = &found.stack;
    let id = stack.id.clone();
    let create = |forerunner| {
        Step::new(Action::Create, "Stack", &spec.name, Op::CreateStack { stack: spec.clone(), forerunner })
    };
    let replace = |first| {
        let op = Op::ReplaceStack { stack: spec.clone(), id: id.clone(), unprotect: stack.protected, first };
        Step::new(Action::Update, "Stack", &spec.name, op)
    };
    let change = |first| {
        let op = Op::ChangeStack { stack: spec.clone(), id: id.clone(), first };
        let differences = spec.differences(&found.template, &stack.tags);
        Step::new(Action::Update, "Stack", &spec.name, op).with_diff(differences)
    };
    match Health::of(&stack.status) {
        Health::Gone => create(None).because("the service account has no role yet"),
        Health::Deleting => create(Some(id.clone())).because("the old one is being deleted"),
        Health::InProgress if stack.status == "ROLLBACK_IN_PROGRESS" => replace(Settle::Wait(StackAction::Other))
            .because("its creation failed and is being undone: it is replaced after that"),
        Health::InProgress if stack.status.starts_with("UPDATE_ROLLBACK") => change(Settle::Wait(StackAction::Other))
            .because("a change of it failed and is being undone: it is changed after that"),
        Health::InProgress => {
            change(Settle::Wait(under_way(&stack.status))).because(format!("it is {}: waits for it", stack.status))
        }
        Health::Replace { why } => {
            let why = found.failure.as_ref().map_or(why, |failure| format!("{}: {}", stack.status, failure.reason));
            replace(Settle::Nothing).because(format!("replaced, because it is {why}"))
        }
        Health::ContinueRollback => {
            change(Settle::ContinueRollback).because(format!("it is {}: its rollback is continued", stack.status))
        }
        Health::Usable if found.role.is_none() => {
            replace(Settle::Nothing).because("replaced, because its role is gone")
        }
        Health::Usable => usable(spec, stack, change(Settle::Nothing)),
    }
}

fn under_way(status: &str) -> StackAction {
    match status.split('_').next() {
        Some("CREATE" | "ROLLBACK") => StackAction::Create,
        Some("UPDATE") => StackAction::Update,
        _ => StackAction::Other,
    }
}

/// The change of a stack that is at rest, where something is to be changed at all.
fn usable(spec: &StackSpec, stack: &Stack, mut change: Step) -> Step {
    let protect = spec.protected && !stack.protected;
    match (change.diff.is_empty(), protect) {
        (true, false) => return Step::unchanged("Stack", &spec.name),
        (true, true) => change.op = Op::ProtectStack { name: spec.name.clone() },
        (false, _) => {}
    }
    if protect {
        change.diff.push(Change::new("/EnableTerminationProtection", Some(json!(false)), Some(json!(true))));
    }
    change.because("it differs from what is asked for")
}

/// What was changed behind CloudFormation's back is mended at the role itself, its boundary first.
pub fn mends(spec: &StackSpec, found: &ObservedRole) -> Vec<Step> {
    let role = &found.role;
    let mut steps = Vec::new();
    if role.boundary != spec.boundary {
        let op = Op::SetBoundary { role: role.name.clone(), boundary: spec.boundary.clone() };
        let value = |boundary: &Option<String>| boundary.as_ref().map(|arn| json!(arn));
        let change = Change::new("/PermissionsBoundary", value(&role.boundary), value(&spec.boundary));
        steps.push(
            Step::new(Action::Update, "Role", &role.name, op)
                .because("its permissions boundary was changed outside of the stack")
                .with_diff(vec![change]),
        );
    }
    if !role.trust.same_as(&spec.trust) {
        let op = Op::SetTrust { role: role.name.clone(), document: spec.trust.clone() };
        steps.push(
            Step::new(Action::Update, "Role", &role.name, op)
                .because("its trust policy was changed outside of the stack")
                .with_diff(super::diff::changes(&role.trust.0, &spec.trust.0)),
        );
    }
    for (name, document) in &spec.inline {
        let live = found.inline.get(name);
        if live.is_some_and(|live| live.same_as(document)) {
            continue;
        }
        let op = Op::SetInlinePolicy { role: role.name.clone(), name: name.clone(), document: document.clone() };
        let what = if live.is_some() { "changed" } else { "removed" };
        steps.push(
            Step::new(Action::Update, "Role", &role.name, op)
                .because(format!("its inline policy {name} was {what} outside of the stack"))
                .with_diff(super::diff::changes(live.map_or(&Value::Null, |live| &live.0), &document.0)),
        );
    }
    let lost = spec.managed_policies.iter().filter(|arn| !found.attached.iter().any(|(_, attached)| attached == *arn));
    for arn in lost {
        let name = arn.rsplit('/').next().unwrap_or(arn);
        let op = Op::AttachPolicy { role: role.name.clone(), policy: arn.clone() };
        steps.push(
            Step::new(Action::Create, "PolicyAttachment", name, op)
                .because(format!("it was detached from role {}", role.name)),
        );
    }
    steps
}

fn note_foreign_policies(plan: &mut Plan, spec: &StackSpec, found: &ObservedRole) {
    let names = foreign_policies(spec, found);
    if !names.is_empty() {
        let list = names.join(", ");
        plan.note(format!("role {} has policies that others attached, which are left alone: {list}", found.role.name));
    }
}

/// Says that others may have given a role more than can be read.
pub(super) fn note_unread(plan: &mut Plan, found: &ObservedRole) {
    if let Err(why) = &found.others_inline {
        plan.note(format!("whether others gave role {} inline policies can't be read: {why}", found.role.name));
    }
}

/// The policies that others gave a role, for people.
pub fn foreign_policies(spec: &StackSpec, found: &ObservedRole) -> Vec<String> {
    let foreign = found.attached.iter().filter(|(_, arn)| !spec.managed_policies.contains(arn));
    let inline = found.others_inline.iter().flatten().map(|name| format!("{name} (inline)"));
    foreign.map(|(name, _)| name.clone()).chain(inline).collect()
}

fn add_namespace(plan: &mut Plan, desired: &Desired, observed: &Observed) -> Result<StepId> {
    let name = &desired.namespace;
    if let Some(id) = plan.find("Namespace", name) {
        return Ok(id);
    }
    let Some(found) = &observed.namespace else {
        let metadata = json!({"name": name, "labels": {MANAGED_BY: "irsactl"}});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        let op = Op::Apply { object: namespace, role: None };
        return Ok(plan.push(Step::new(Action::Create, "Namespace", name, op).because("it doesn't exist")));
    };
    if found.pointer("/status/phase").and_then(Value::as_str) == Some("Terminating") {
        return Err(Error::new(ErrorCode::NamespaceTerminating, format!("namespace {name} is being deleted")).hint(
            format!("kubectl wait --for=delete namespace/{name} --timeout=5m, then run the same command again"),
        ));
    }
    Ok(plan.push(Step::unchanged("Namespace", name)))
}

/// True where irsactl or eksctl made it.
pub fn is_ours(service_account: &Value) -> bool {
    label(service_account, MANAGED_BY) == Some("eksctl")
}

/// A label of a Kubernetes object.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

/// The audience of the tokens that the pods of a ServiceAccount get, where STS doesn't take it.
pub fn wrong_audience(service_account: &Value) -> Option<&str> {
    annotation(service_account, AUDIENCE_ANNOTATION).filter(|audience| *audience != AUDIENCE)
}

/// An annotation of a Kubernetes object.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

fn service_account(desired: &Desired, wanted: &DesiredObject, observed: &Observed, role: &RoleSource) -> Result<Step> {
    let name = format!("{}/{}", desired.namespace, desired.name);
    let found = observed.service_account.as_ref();
    let arn = match role {
        RoleSource::Known(arn) => arn.clone(),
        RoleSource::Stack(stack) => format!("(known once stack {stack} is there)"),
    };
    let foreign = found.is_some_and(|found| !is_ours(found));
    let mut labels = wanted.labels.clone();
    if !foreign {
        labels.insert(MANAGED_BY.to_owned(), "eksctl".to_owned());
    }
    let mut annotations = wanted.annotations.clone();
    annotations.insert(ROLE_ANNOTATION.to_owned(), arn);
    let mut metadata = json!({"name": desired.name, "namespace": desired.namespace, "annotations": annotations});
    if !labels.is_empty() {
        metadata["labels"] = json!(labels);
    }
    if let Some(found) = found.filter(|_| wanted.taken_over) {
        metadata["uid"] = found["metadata"]["uid"].clone();
        metadata["resourceVersion"] = found["metadata"]["resourceVersion"].clone();
    }
    let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
    let op = |object: &Value| Op::Apply { object: object.clone(), role: Some(role.clone()) };
    let Some(found) = found else {
        return Ok(Step::new(Action::Create, "ServiceAccount", name, op(&object)).because("it doesn't exist"));
    };
    let fields = differences(found, &object, FIELD_MANAGER);
    if fields.is_empty() {
        return Ok(Step::unchanged("ServiceAccount", name));
    }
    if foreign && !wanted.take_over {
        return Err(foreign_service_account(&name, found));
    }
    if !wanted.force {
        refuse_conflicts("ServiceAccount", &name, found, &object)?;
    }
    let named = annotation(found, ROLE_ANNOTATION) == annotation(&object, ROLE_ANNOTATION);
    let reason = reason(&fields, if named { "it differs from what is asked for" } else { "it doesn't name the role" });
    let diff = fields.into_iter().map(|field| field.change).collect();
    Ok(Step::new(Action::Update, "ServiceAccount", name, op(&object)).because(reason).with_diff(diff))
}

/// Why a Kubernetes object is changed: who changed it, where that is known.
pub fn reason(fields: &[crate::k8s::diff::FieldChange], otherwise: &str) -> String {
    let mut by: Vec<_> = fields.iter().filter_map(|field| field.changed_by.as_deref()).collect();
    by.sort_unstable();
    by.dedup();
    if by.is_empty() { otherwise.to_owned() } else { format!("it was changed by {}", by.join(", ")) }
}

fn foreign_service_account(name: &str, found: &Value) -> Box<Error> {
    let maker = label(found, MANAGED_BY).unwrap_or("someone else");
    Error::new(
        ErrorCode::ForeignObject,
        format!("ServiceAccount {name} exists, and neither irsactl nor eksctl made it"),
    )
    .cause(format!("it was made by {maker}"))
    .hint_consent(
        "its labels stay as they are when --override-existing-serviceaccounts annotates it all the same",
        "--override-existing-serviceaccounts",
    )
}

/// Fields that another field manager holds are its own.
///
/// # Errors
/// `Conflict`, naming manager and fields.
pub fn refuse_conflicts(kind: &str, name: &str, found: &Value, object: &Value) -> Result<()> {
    let conflicts = conflicting_owners(found, object);
    let Some((_, manager)) = conflicts.first() else { return Ok(()) };
    let fields: Vec<_> = conflicts.iter().map(|(path, manager)| format!("{path} ({manager})")).collect();
    Err(Error::new(ErrorCode::Conflict, format!("{kind} {name} has fields that {manager} manages"))
        .cause(fields.join(", "))
        .hint_consent("--force-conflicts takes them over", "--force-conflicts"))
}
