//! The service accounts with IAM roles of a cluster: stacks, roles and ServiceAccounts held against each other; pure.

mod policies;
mod row;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::aws::cloudformation::Stack;
use crate::aws::iam::{Provider, Role, RoleWithPolicies};
use crate::iam::arn::{Arn, Partition, check_role_arn};
use crate::iam::trust::{AUDIENCE, Issuer, Verdict, verdict};
use crate::plan::iamserviceaccount::{AUDIENCE_ANNOTATION, ROLE_ANNOTATION, ROLE_OUTPUT, annotation, wrong_audience};
use crate::stack::names;
use crate::stack::status::{self, Health};
use crate::stack::tags::{self, Source as Maker};

pub use row::{Metadata, Policy, Row, Source, State, Status};

/// What was read. A part that couldn't be read is none, and makes states `unknown`.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The account.
    pub account: String,
    /// The partition.
    pub partition: Partition,
    /// The cluster's issuer and its provider's ARN; none where the cluster is gone.
    pub issuer: Option<(Issuer, String)>,
    /// What is wrong with the provider: [`provider_problem`].
    pub provider_problem: Option<String>,
    /// Stacks, those of other clusters included.
    pub stacks: Vec<Stack>,
    /// The template of the stack, where one service account was asked for by its name.
    pub template: Option<Value>,
    /// Why the stack failed, where one service account was asked for by its name.
    pub failure: Option<String>,
    /// The account's roles.
    pub roles: Option<Roles>,
    /// Roles with their policies, by ARN. Where there are none, states don't count policies.
    pub policies: HashMap<String, RoleWithPolicies>,
    /// The ServiceAccounts of the cluster.
    pub service_accounts: Option<Vec<Value>>,
}

impl Seen {
    /// Nothing yet, of this account.
    pub fn new(account: &str, partition: &Partition) -> Self {
        Self {
            account: account.to_owned(),
            partition: partition.clone(),
            issuer: None,
            provider_problem: None,
            stacks: Vec::new(),
            template: None,
            failure: None,
            roles: None,
            policies: HashMap::new(),
            service_accounts: None,
        }
    }
}

/// Roles of an account, found by name in any case: IAM keeps names unique that way, whatever the path.
#[derive(Clone, Debug, Default)]
pub struct Roles(HashMap<String, Role>);

impl Roles {
    fn named(&self, name: &str) -> Option<&Role> {
        self.0.get(&name.to_lowercase())
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<T: IntoIterator<Item = Role>>(roles: T) -> Self {
        Self(roles.into_iter().map(|role| (role.name.to_lowercase(), role)).collect())
    }
}

/// What keeps every role of the cluster from being assumed.
pub fn provider_problem(arn: &str, found: Option<&Provider>) -> Option<String> {
    let Some(provider) = found else {
        return Some(format!("IAM has no OIDC provider for the cluster's issuer: needed {arn}"));
    };
    if provider.takes_sts() {
        return None;
    }
    let found = if provider.client_ids.is_empty() { "none".to_owned() } else { provider.client_ids.join(", ") };
    Some(format!("the OIDC provider {arn} doesn't take tokens for STS: found the audience {found}, needed {AUDIENCE}"))
}

/// Namespace and name of a service account.
type Key = (String, String);

/// One row per service account that has a stack or an annotation, sorted by namespace and name.
pub fn rows(cluster: &str, seen: &Seen) -> Vec<Row> {
    let today = policies::Today::new(&seen.partition);
    let objects: BTreeMap<Key, &Value> =
        seen.service_accounts.iter().flatten().filter_map(|object| Some((key(object)?, object))).collect();
    let mut stacks: BTreeMap<Key, Vec<&Stack>> = BTreeMap::new();
    for stack in seen.stacks.iter().filter(|stack| tags::cluster(&stack.tags) == Some(cluster)) {
        if let Some(who) = tags::owner(&stack.tags) {
            stacks.entry(who).or_default().push(stack);
        }
    }
    let annotated = objects.iter().filter(|(_, object)| annotation(object, ROLE_ANNOTATION).is_some());
    let keys: BTreeSet<&Key> = stacks.keys().chain(annotated.map(|(who, _)| who)).collect();
    keys.into_iter()
        .map(|who| {
            let object = objects.get(who).copied();
            let chain = Chain { seen, today: &today, who, object, state: State::Ready, drift: Vec::new() };
            match stacks.get(who) {
                Some(stacks) => chain.of_stack(first(cluster, who, stacks), stacks),
                None => chain.of_others(),
            }
        })
        .collect()
}

fn key(object: &Value) -> Option<Key> {
    let text = |path| object.pointer(path).and_then(Value::as_str).map(str::to_owned);
    Some((text("/metadata/namespace")?, text("/metadata/name")?))
}

/// Of several stacks for one service account, the one that a lookup by name finds.
fn first<'a>(cluster: &str, (namespace, name): &Key, stacks: &[&'a Stack]) -> &'a Stack {
    let [only] = stacks else {
        let mut names = names::candidates(cluster, namespace, name).into_iter();
        let found = names.find_map(|name| stacks.iter().find(|stack| stack.name == name));
        return found.unwrap_or(&stacks[0]);
    };
    only
}

/// What a pod's credentials hang on, from the stack to the ServiceAccount, and what is found wrong with it.
struct Chain<'a> {
    seen: &'a Seen,
    today: &'a policies::Today,
    who: &'a Key,
    object: Option<&'a Value>,
    state: State,
    drift: Vec<String>,
}

impl Chain<'_> {
    fn finds(&mut self, state: State, sentence: impl Into<String>) {
        self.state = self.state.max(state);
        self.drift.push(sentence.into());
    }

    fn of_stack(mut self, stack: &Stack, all: &[&Stack]) -> Row {
        let role_arn = stack.outputs.get(ROLE_OUTPUT);
        match status::state(&stack.status) {
            status::State::Pending => self.state = State::Pending,
            status::State::Failed => self.finds(State::Failed, failure(stack, self.seen.failure.as_deref())),
            status::State::Ready => match role_arn {
                Some(role_arn) => {
                    self.role(role_arn, Some(stack));
                    self.annotation(role_arn);
                }
                None => self.finds(State::Failed, format!("stack {} has no output {ROLE_OUTPUT}", stack.name)),
            },
        }
        for other in all.iter().filter(|other| other.id != stack.id) {
            self.finds(State::Drifted, format!("stack {} is for this service account, too", other.name));
        }
        let source = match tags::source(&stack.tags) {
            Maker::Irsactl => Source::Irsactl,
            Maker::Eksctl => Source::Eksctl,
        };
        let mut row = self.row(role_arn.map(String::as_str), source, Some(stack.created));
        row.status.stack_name = Some(stack.name.clone());
        row.status.tags = stack.tags.iter().cloned().collect();
        row.status.capabilities.clone_from(&stack.capabilities);
        row.status.stack_status = Some(stack.status.clone());
        row
    }

    fn of_others(mut self) -> Row {
        let annotated = self.object.and_then(|object| annotation(object, ROLE_ANNOTATION)).unwrap_or_default();
        let role_arn = annotated.trim();
        if role_arn.is_empty() {
            self.finds(
                State::NotAnnotated,
                format!("the annotation {ROLE_ANNOTATION} is empty, needed the ARN of a role"),
            );
            return self.row(None, Source::External, None);
        }
        if role_arn != annotated {
            self.finds(State::Drifted, blanks(annotated, role_arn));
        }
        self.role(role_arn, None);
        self.audience();
        self.row(Some(role_arn), Source::External, None)
    }

    fn role(&mut self, role_arn: &str, stack: Option<&Stack>) {
        let arn = match check_role_arn(role_arn) {
            Ok(arn) => arn,
            Err(problem) => return self.finds(State::Drifted, problem),
        };
        let Seen { account, partition, .. } = self.seen;
        if arn.partition != partition.as_str() {
            let sentence =
                format!("found role {role_arn} of partition {}, needed one of partition {partition}", arn.partition);
            return self.finds(State::Drifted, sentence);
        }
        if arn.account != *account {
            let sentence = format!("role {role_arn} is of account {}, which can't be read from {account}", arn.account);
            return self.finds(State::Unknown, sentence);
        }
        let Some(roles) = &self.seen.roles else { return self.finds(State::Unknown, "the roles can't be read") };
        match roles.named(arn.name()) {
            Some(role) if role.arn == role_arn => self.existing_role(role, stack),
            other => {
                let other = other.map(|role| format!(", a role of this name is {}", role.arn)).unwrap_or_default();
                self.finds(State::RoleMissing, format!("role {role_arn} doesn't exist{other}"));
            }
        }
    }

    fn existing_role(&mut self, role: &Role, stack: Option<&Stack>) {
        self.trust(role);
        if let Some(problem) = &self.seen.provider_problem {
            self.finds(State::Drifted, problem);
        }
        let with_policies = self.seen.policies.get(&role.arn);
        if let (Some(stack), Some(role)) = (stack, with_policies) {
            for sentence in self.today.drift(stack, self.seen.template.as_ref(), role) {
                self.finds(State::Drifted, sentence);
            }
        }
    }

    fn trust(&mut self, role: &Role) {
        let Some((issuer, provider)) = &self.seen.issuer else {
            return self.finds(State::Unknown, "the cluster's issuer can't be read");
        };
        if !role.trust.0.is_object() {
            return self.finds(State::Drifted, "the role's trust policy: found no JSON document");
        }
        if let Verdict::Refuses { reasons } = verdict(&role.trust, issuer, provider, &self.who.0, &self.who.1) {
            for reason in reasons {
                self.finds(State::Drifted, format!("the role's trust policy: {reason}"));
            }
        }
    }

    /// The Kubernetes half, where a stack made the role.
    fn audience(&mut self) {
        if let Some(found) = self.object.and_then(wrong_audience) {
            let sentence = format!("the annotation {AUDIENCE_ANNOTATION}: found {found}, needed {AUDIENCE}");
            self.finds(State::Drifted, sentence);
        }
    }

    fn annotation(&mut self, role_arn: &str) {
        if self.seen.service_accounts.is_none() {
            return self.finds(State::Unknown, "the ServiceAccounts can't be read");
        }
        let Some(object) = self.object else {
            return self.finds(State::ServiceAccountMissing, "there is no ServiceAccount");
        };
        match annotation(object, ROLE_ANNOTATION) {
            None => self.finds(
                State::NotAnnotated,
                format!("the ServiceAccount has no annotation {ROLE_ANNOTATION}, needed {role_arn}"),
            ),
            Some(found) if found.trim().is_empty() => {
                self.finds(
                    State::NotAnnotated,
                    format!("the annotation {ROLE_ANNOTATION} is empty, needed {role_arn}"),
                );
            }
            Some(found) if found == role_arn => self.audience(),
            Some(found) => self.finds(State::Drifted, misnamed(found, role_arn)),
        }
    }

    fn row(self, role_arn: Option<&str>, source: Source, created: Option<i64>) -> Row {
        let role = role_arn.and_then(|arn| {
            let name = arn.rsplit('/').next()?;
            self.seen.roles.as_ref()?.named(name).filter(|role| role.arn == arn)
        });
        let with_policies = role_arn.and_then(|arn| self.seen.policies.get(arn));
        let created = created.or(role.map(|role| role.created)).filter(|seconds| *seconds > 0);
        let status = Status {
            role_arn: role_arn.map(str::to_owned),
            stack_name: None,
            tags: BTreeMap::new(),
            capabilities: Vec::new(),
            state: self.state,
            source,
            stack_status: None,
            created_at: created.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()),
            policies: with_policies.map(policies::of),
            permissions_boundary: with_policies.and_then(|role| role.role.boundary.clone()),
            drift: self.drift,
        };
        let (namespace, name) = self.who.clone();
        Row { metadata: Metadata { name, namespace }, status }
    }
}

fn failure(stack: &Stack, explained: Option<&str>) -> String {
    let meaning = || match Health::of(&stack.status) {
        Health::Replace { why } => Some(why),
        _ => None,
    };
    let why = explained.map(str::to_owned).or_else(|| stack.reason.clone()).or_else(meaning);
    format!("the stack is {}{}", stack.status, why.map(|why| format!(": {why}")).unwrap_or_default())
}

/// An annotation that isn't the ARN of the role that the stack made.
fn misnamed(found: &str, needed: &str) -> String {
    let parts = |text: &str| text.trim().parse::<Arn>().ok();
    let what = match (parts(found), parts(needed)) {
        _ if found.trim() == needed => return blanks(found, needed),
        (None, _) => "what isn't the ARN of a role",
        (Some(one), Some(other)) if one.partition != other.partition => "a role of another partition",
        (Some(one), Some(other)) if one.account != other.account => "a role of another account",
        _ => "another role",
    };
    format!("the ServiceAccount's annotation names {what}: found `{found}`, needed {needed}")
}

fn blanks(found: &str, needed: &str) -> String {
    format!("the ServiceAccount's annotation has blanks around the role: found {found:?}, needed {needed}")
}
