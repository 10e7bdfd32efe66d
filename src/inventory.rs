//! The service accounts with IAM roles of a cluster: stacks, roles and ServiceAccounts held against each other; pure.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::aws::cloudformation::Stack;
use crate::aws::iam::Role;
use crate::iam::arn::Arn;
use crate::iam::trust::{Issuer, Verdict, verdict};
use crate::plan::iamserviceaccount::{ROLE_ANNOTATION, annotation};
use crate::stack::status::{self, Health};
use crate::stack::tags::{self, Source as Maker};

/// What was read. A part that couldn't be read is none, and makes states `unknown`.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The account.
    pub account: String,
    /// The cluster's issuer and its provider's ARN; none where the cluster is gone.
    pub issuer: Option<(Issuer, String)>,
    /// Stacks, those of other clusters included.
    pub stacks: Vec<Stack>,
    /// Roles by ARN.
    pub roles: Option<BTreeMap<String, Role>>,
    /// The ServiceAccounts of the cluster.
    pub service_accounts: Option<Vec<Value>>,
}

/// One service account, in the shape that eksctl prints.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which.
    pub metadata: Metadata,
    /// How it is.
    pub status: Status,
}

/// Which service account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// How a service account is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its role.
    #[serde(rename = "roleARN", skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// Its stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_name: Option<String>,
    /// The stack's tags.
    pub tags: BTreeMap<String, String>,
    /// The stack's capabilities.
    pub capabilities: Vec<String>,
    /// In a word.
    pub state: State,
    /// Who made it.
    pub source: Source,
    /// CloudFormation's word for the stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_status: Option<String>,
    /// What isn't as it should be, in sentences.
    pub drift: Vec<String>,
}

/// The state of a service account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// All of it is there and fits.
    Ready,
    /// It is all there, and something was changed.
    Drifted,
    /// The role is gone.
    RoleMissing,
    /// There is no ServiceAccount.
    #[serde(rename = "serviceaccount-missing")]
    ServiceAccountMissing,
    /// The ServiceAccount doesn't name a role.
    NotAnnotated,
    /// The stack is under way.
    Pending,
    /// The stack failed.
    Failed,
    /// It can't be read.
    Unknown,
}

impl State {
    /// The word, as in the documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drifted => "drifted",
            Self::RoleMissing => "role-missing",
            Self::ServiceAccountMissing => "serviceaccount-missing",
            Self::NotAnnotated => "not-annotated",
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// irsactl.
    Irsactl,
    /// eksctl.
    Eksctl,
    /// Others: Helm, terraform, hands.
    External,
}

impl Source {
    /// The word, as in the documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Irsactl => "irsactl",
            Self::Eksctl => "eksctl",
            Self::External => "external",
        }
    }
}

/// One row per service account that has a stack or an annotation, sorted by namespace and name.
pub fn rows(cluster: &str, seen: &Seen) -> Vec<Row> {
    let objects: BTreeMap<_, _> =
        seen.service_accounts.iter().flatten().filter_map(|object| Some((key(object)?, object))).collect();
    let mine = seen.stacks.iter().filter(|stack| tags::cluster(&stack.tags) == Some(cluster));
    let owned = mine.filter_map(|stack| tags::owner(&stack.tags).map(|owner| (metadata(owner), stack)));
    let stacks: BTreeMap<_, _> = owned.collect();

    let of_stacks = stacks.iter().map(|(who, stack)| stack_row(who, stack, objects.get(who).copied(), seen));
    let annotated = objects
        .iter()
        .filter(|(who, object)| !stacks.contains_key(*who) && annotation(object, ROLE_ANNOTATION).is_some());
    let mut rows: Vec<_> = of_stacks.chain(annotated.map(|(who, object)| external_row(who, object, seen))).collect();
    rows.sort_by(|a, b| (&a.metadata.namespace, &a.metadata.name).cmp(&(&b.metadata.namespace, &b.metadata.name)));
    rows
}

fn metadata((namespace, name): (String, String)) -> Metadata {
    Metadata { name, namespace }
}

fn key(object: &Value) -> Option<Metadata> {
    let text = |path| object.pointer(path).and_then(Value::as_str).map(str::to_owned);
    Some(metadata((text("/metadata/namespace")?, text("/metadata/name")?)))
}

fn stack_row(who: &Metadata, stack: &Stack, object: Option<&Value>, seen: &Seen) -> Row {
    let role_arn = stack.outputs.get("Role1").cloned();
    let mut drift = Vec::new();
    let state = match status::state(&stack.status) {
        status::State::Pending => State::Pending,
        status::State::Failed => {
            drift.push(failure(stack));
            State::Failed
        }
        status::State::Ready => chain_state(who, role_arn.as_deref(), object, seen, &mut drift),
    };
    let source = match tags::source(&stack.tags) {
        Maker::Irsactl => Source::Irsactl,
        Maker::Eksctl => Source::Eksctl,
    };
    let status = Status {
        role_arn,
        stack_name: Some(stack.name.clone()),
        tags: stack.tags.iter().cloned().collect(),
        capabilities: stack.capabilities.clone(),
        state,
        source,
        stack_status: Some(stack.status.clone()),
        drift,
    };
    Row { metadata: who.clone(), status }
}

fn failure(stack: &Stack) -> String {
    let why = match Health::of(&stack.status) {
        Health::Replace { why } => Some(why),
        _ => None,
    };
    let why = stack.reason.clone().or(why).map(|why| format!(": {why}")).unwrap_or_default();
    format!("the stack is {}{why}", stack.status)
}

fn external_row(who: &Metadata, object: &Value, seen: &Seen) -> Row {
    let role_arn = annotation(object, ROLE_ANNOTATION).map(str::to_owned);
    let mut drift = Vec::new();
    let state = chain_state(who, role_arn.as_deref(), Some(object), seen, &mut drift);
    let status = Status {
        role_arn,
        stack_name: None,
        tags: BTreeMap::new(),
        capabilities: Vec::new(),
        state,
        source: Source::External,
        stack_status: None,
        drift,
    };
    Row { metadata: who.clone(), status }
}

/// The state of a chain whose stack, if any, is complete.
fn chain_state(
    who: &Metadata,
    role_arn: Option<&str>,
    object: Option<&Value>,
    seen: &Seen,
    drift: &mut Vec<String>,
) -> State {
    let Some(role_arn) = role_arn else {
        drift.push("the stack has no output Role1".to_owned());
        return State::Failed;
    };
    let role = role_state(who, role_arn, seen, drift);
    let object = object_state(role_arn, object, seen, drift);
    // The worst of both: what is missing before what differs, what differs before what is unknown.
    let worst = [State::RoleMissing, State::ServiceAccountMissing, State::NotAnnotated, State::Drifted, State::Unknown];
    worst.into_iter().find(|state| role == *state || object == *state).unwrap_or(State::Ready)
}

fn role_state(who: &Metadata, role_arn: &str, seen: &Seen, drift: &mut Vec<String>) -> State {
    let Ok(arn) = role_arn.parse::<Arn>() else {
        drift.push(format!("`{role_arn}` is not the ARN of a role"));
        return State::Drifted;
    };
    if arn.account != seen.account {
        drift.push(format!("the role is of account {}, which can't be read", arn.account));
        return State::Unknown;
    }
    let Some(roles) = &seen.roles else {
        drift.push("the roles can't be read".to_owned());
        return State::Unknown;
    };
    let Some(role) = roles.get(role_arn) else {
        drift.push(format!("role {role_arn} doesn't exist"));
        return State::RoleMissing;
    };
    let Some((issuer, provider)) = &seen.issuer else {
        drift.push("the cluster can't be read".to_owned());
        return State::Unknown;
    };
    match verdict(&role.trust, issuer, provider, &who.namespace, &who.name) {
        Verdict::Allows { .. } => State::Ready,
        Verdict::Refuses { reasons } => {
            drift.extend(reasons.iter().map(|reason| format!("the role's trust policy: {reason}")));
            State::Drifted
        }
    }
}

fn object_state(role_arn: &str, object: Option<&Value>, seen: &Seen, drift: &mut Vec<String>) -> State {
    if seen.service_accounts.is_none() {
        drift.push("the ServiceAccounts can't be read".to_owned());
        return State::Unknown;
    }
    let Some(object) = object else {
        drift.push("there is no ServiceAccount".to_owned());
        return State::ServiceAccountMissing;
    };
    match annotation(object, ROLE_ANNOTATION) {
        None => {
            drift.push(format!("the ServiceAccount has no annotation {ROLE_ANNOTATION}"));
            State::NotAnnotated
        }
        Some(found) if found == role_arn => State::Ready,
        Some(found) => {
            drift.push(format!("the ServiceAccount names role `{found}`, the stack made {role_arn}"));
            State::Drifted
        }
    }
}
