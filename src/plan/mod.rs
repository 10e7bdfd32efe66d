//! Plans: what will be done, as data. A plan is printed, serialised and executed, the same object each time.

pub mod diff;
pub mod execute;
pub mod externaldns;
pub mod iamserviceaccount;
pub mod policy;
pub mod provider;
pub mod recreation;
pub mod removal;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::aws::cloudformation::Action as StackAction;
use crate::iam::policy::PolicyDocument;
use crate::k8s::Kind;
use crate::shell::{self, Command};
use crate::stack::tags;
use crate::stack::template::{self, RoleSpec, inline_policies, read, template};
use diff::Change;

/// What a command will do, and, once it has run, what became of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The EKS cluster, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The AWS region.
    pub region: String,
    /// The AWS account.
    pub account: String,
    /// True where `--approve` was given.
    pub approved: bool,
    /// How many steps change something.
    pub changes: usize,
    /// The steps, in the order in which they are shown.
    pub steps: Vec<Step>,
    /// What there is once the steps are done, as far as it is known.
    pub outputs: Outputs,
    /// What people should know and no step says.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// What others need to go on with.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outputs {
    /// The role, where the command is about one.
    #[serde(rename = "roleARN", skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// The policy.
    #[serde(rename = "policyARN", skip_serializing_if = "Option::is_none")]
    pub policy_arn: Option<String>,
    /// The IAM OIDC provider.
    #[serde(rename = "providerARN", skip_serializing_if = "Option::is_none")]
    pub provider_arn: Option<String>,
    /// Each service account and its role.
    #[serde(rename = "serviceAccounts", skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<ServiceAccountOutput>,
}

/// A service account and its role.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceAccountOutput {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its role's ARN, once known.
    #[serde(rename = "roleARN", skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// Where the role's ARN comes from.
    #[serde(skip)]
    pub source: RoleSource,
}

/// What is done with a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is missing.
    Create,
    /// It differs.
    Update,
    /// It is not wanted any more.
    Delete,
    /// It is as it should be.
    None,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Not approved.
    Planned,
    /// Carried out.
    Done,
    /// Tried in vain.
    Failed,
    /// Begun when the run ended: what became of it isn't known.
    Unfinished,
    /// Not reached.
    Skipped,
}

/// Names a step of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(usize);

/// One thing, and what is done with it.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// `OidcProvider`, `Policy`, `Stack`, `Role`, `PolicyAttachment`, or a Kubernetes kind.
    pub kind: String,
    /// Name; `namespace/name` where it has a namespace.
    pub name: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<Change>,
    /// What became of it; none for `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Outcome>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The steps that must be done before.
    #[serde(skip)]
    pub needs: Vec<StepId>,
    /// What is sent.
    #[serde(skip)]
    pub op: Op,
    /// The role that is there, for what is done with it.
    #[serde(skip)]
    pub role: Option<LiveRole>,
}

/// A role that is there, as far as it decides about the rights that a step needs.
#[derive(Clone, Debug)]
pub struct LiveRole {
    /// Its ARN.
    pub arn: String,
    /// It has managed policies.
    pub attached: bool,
    /// It has inline policies.
    pub inline: bool,
    /// The role with whose rights CloudFormation works on its stack, if not with the caller's.
    pub cfn_role: Option<String>,
    /// What is mended at the role itself, once its stack is changed.
    pub mends: Vec<Op>,
}

/// Where a role's ARN comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleSource {
    /// It is known.
    Known(String),
    /// The output of this stack, which a step makes.
    Stack(String),
}

/// A stack as it should be.
#[derive(Clone, Debug)]
pub struct StackSpec {
    /// Its name.
    pub name: String,
    /// `namespace/name` of the service account.
    pub service_account: String,
    /// Its template.
    pub template: Value,
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// To be protected from deletion; otherwise its protection is left as it is.
    pub protected: bool,
    /// The trust policy of its role.
    pub trust: PolicyDocument,
    /// The managed policies of its role.
    pub managed_policies: Vec<String>,
    /// The inline policies of its role, by name.
    pub inline: BTreeMap<String, PolicyDocument>,
    /// The permissions boundary of its role.
    pub boundary: Option<String>,
    /// What isn't named was taken over from here; none where this is all that it should be, as `create` says it.
    pub basis: Option<Basis>,
    /// How CloudFormation works on it.
    pub cfn: Cfn,
}

/// A stack as it was read.
#[derive(Clone, Debug)]
pub struct Basis {
    /// Its template.
    pub template: Value,
    /// Its tags.
    pub tags: Vec<(String, String)>,
}

impl Basis {
    /// True where a stack is something else by now.
    pub fn is_outdated(&self, template: &Value, tags: &[(String, String)]) -> bool {
        let changes = template::differences(&self.template, template).into_iter();
        changes.chain(tags::differences(&self.tags, tags)).next().is_some()
    }
}

/// How CloudFormation works on a stack: no property of the stack, so never a reason to change it.
#[derive(Clone, Debug, Default)]
pub struct Cfn {
    /// The role with whose rights it works, where not with the caller's.
    pub role_arn: Option<String>,
    /// What a failed creation made is left, to look at it.
    pub disable_rollback: bool,
}

impl StackSpec {
    /// The stack of a role, under `name`, with all its `tags`: it is told as a whole.
    pub fn new(role: RoleSpec, name: String, tags: Vec<(String, String)>, protected: bool) -> Self {
        let template = template(&role, &name);
        let managed_policies = template::read(&template).unwrap_or_default().managed_arns();
        let trust = template.pointer("/Resources/Role1/Properties/AssumeRolePolicyDocument").cloned();
        Self {
            service_account: format!("{}/{}", role.namespace, role.name),
            inline: inline_policies(&template, &name),
            name,
            template,
            tags,
            protected,
            trust: PolicyDocument(trust.unwrap_or_default()),
            // Those that a well-known policy stands for, too.
            managed_policies,
            boundary: role.boundary,
            basis: None,
            cfn: Cfn::default(),
        }
    }
}

impl StackSpec {
    /// A stack as its template describes it: one of eksctl or others, changed or not.
    ///
    /// # Errors
    /// Says that the template has no role that can be told.
    pub fn of_template(
        name: String,
        service_account: String,
        template: Value,
        tags: Vec<(String, String)>,
        protected: bool,
    ) -> Result<Self, String> {
        let facts = read(&template)?;
        Ok(Self {
            service_account,
            trust: PolicyDocument(facts.trust.clone().unwrap_or_default()),
            managed_policies: facts.managed_arns(),
            inline: inline_policies(&template, &name),
            boundary: facts.boundary.as_ref().and_then(Value::as_str).map(str::to_owned),
            basis: None,
            name,
            template,
            tags,
            protected,
            cfn: Cfn::default(),
        })
    }

    /// The tags that a stack with these ones gets: those of users that aren't named go from a stack of ours that is told as
    /// a whole. Of one that eksctl made, others may have set them.
    pub fn tags_on(&self, existing: &[(String, String)]) -> Vec<(String, String)> {
        let whole = self.basis.is_none() && tags::source(existing) == tags::Source::Irsactl;
        let combine = if whole { tags::replaced } else { tags::merged };
        combine(existing, &self.tags)
    }

    /// What a stack with this template and these tags lacks, and has too much.
    pub fn differences(&self, template: &Value, tags: &[(String, String)]) -> Vec<Change> {
        let mut found = template::differences(template, &self.template);
        found.extend(tags::differences(tags, &self.tags_on(tags)));
        found
    }

    /// The same, with all that isn't named taken over from a stack.
    #[must_use]
    pub fn taken_over(self, basis: Basis) -> Self {
        Self { basis: Some(basis), ..self }
    }

    /// The same stack, worked on in this way.
    #[must_use]
    pub fn through(self, cfn: Cfn) -> Self {
        Self { cfn, ..self }
    }
}

/// The test of a role before pods rely on it: a token of the service account is exchanged at STS.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The service account's namespace.
    pub namespace: String,
    /// Its name.
    pub service_account: String,
    /// The role.
    pub role: RoleSource,
    /// A role that the first one assumes, and its external id.
    pub assume: Option<(String, Option<String>)>,
}

/// What a stack needs before it takes another operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// Nothing.
    Nothing,
    /// The end of what is under way: of a creation or a change that was wanted, its success; of all else, whatever comes
    /// of it.
    Wait(StackAction),
    /// Its rollback got stuck, and is continued.
    ContinueRollback,
}

/// What a step sends.
#[derive(Clone, Debug)]
pub enum Op {
    /// Nothing.
    None,
    /// Creates the IAM OIDC provider of `issuer` and marks the cluster.
    CreateProvider { arn: String, issuer: String, tags: Vec<(String, String)>, cluster_arn: String },
    /// Adds the audience `sts.amazonaws.com` to a provider.
    AddAudience { arn: String },
    /// Creates a managed policy.
    CreatePolicy { name: String, arn: String, document: PolicyDocument, tags: Vec<(String, String)> },
    /// Makes `document` the default version of a managed policy.
    ChangePolicy { arn: String, document: PolicyDocument },
    /// Detaches a managed policy from the role that has it, and deletes it with its versions.
    DeletePolicy { arn: String, role: Option<String> },
    /// Creates a stack, after the deletion of its forerunner has ended.
    CreateStack { stack: Arc<StackSpec>, forerunner: Option<String> },
    /// Changes a stack through a change set where it differs, then mends its role.
    ChangeStack { stack: Arc<StackSpec>, id: String, first: Settle },
    /// Protects a stack from deletion.
    ProtectStack { name: String },
    /// Deletes a stack that failed, and creates it anew.
    ReplaceStack { stack: Arc<StackSpec>, id: String, unprotect: bool, first: Settle },
    /// Deletes a stack, after the policies that others attached to its role are detached.
    DeleteStack {
        name: String,
        id: String,
        unprotect: bool,
        detach: Vec<(String, String)>,
        wait: bool,
        role_arn: Option<String>,
        first: Settle,
    },
    /// Sets the trust policy of a role.
    SetTrust { role: String, document: PolicyDocument },
    /// Sets the permissions boundary of a role, or takes it off.
    SetBoundary { role: String, boundary: Option<String> },
    /// Writes an inline policy of a role.
    SetInlinePolicy { role: String, name: String, document: PolicyDocument },
    /// Attaches a managed policy to a role.
    AttachPolicy { role: String, policy: String },
    /// Applies a Kubernetes object; its `role-arn` annotation is filled in where a role is named. Conflicts with other
    /// field managers were refused in planning: what is left (kubectl edit, eksctl) is taken back.
    Apply { object: Value, role: Option<RoleSource> },
    /// Takes the annotation that names this role off a ServiceAccount that others made, if both are still what was read.
    Unannotate { namespace: String, name: String, uid: Option<String>, role: String },
    /// Proves the role, then applies a Deployment; a JSON Patch goes before where the live one has what an apply can't
    /// take away.
    ApplyDeployment { object: Value, before: Vec<Value>, proof: Option<Proof> },
    /// Proves the role, then restarts the pods of a Deployment.
    Restart { namespace: String, name: String, proof: Option<Proof> },
    /// Deletes a Kubernetes object, if it is still the one that was read.
    DeleteObject { kind: Kind, namespace: Option<String>, name: String, uid: Option<String> },
    /// Deletes a namespace if nothing is left in it.
    DeleteNamespace { name: String, uid: Option<String> },
}

impl Plan {
    /// An empty plan.
    pub fn new(cluster: Option<&str>, region: &str, account: &str) -> Self {
        Self {
            cluster: cluster.map(str::to_owned),
            region: region.to_owned(),
            account: account.to_owned(),
            approved: false,
            changes: 0,
            steps: Vec::new(),
            outputs: Outputs::default(),
            notes: Vec::new(),
        }
    }

    /// Adds a step.
    pub fn push(&mut self, step: Step) -> StepId {
        self.changes += usize::from(step.action != Action::None);
        self.steps.push(step);
        StepId(self.steps.len() - 1)
    }

    /// Adds what people should know.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Says how a thing that exists gets the user's tags that it lacks: they are set at its creation only. `command` is
    /// AWS's, which tags it.
    pub fn note_tags(
        &mut self,
        what: &str,
        command: &Command,
        existing: &BTreeMap<String, String>,
        wanted: &[(String, String)],
    ) {
        let lacking = wanted.iter().filter(|(key, value)| existing.get(key) != Some(value));
        let words: Vec<_> = lacking.map(|(key, value)| shell::word(&format!("Key={key},Value={value}"))).collect();
        if !words.is_empty() {
            self.note(format!(
                "{what} exists and keeps its tags, which are set at creation only; this tags it: {command} --tags {}",
                words.join(" ")
            ));
        }
    }

    /// The step of that id.
    pub fn step(&self, id: StepId) -> &Step {
        &self.steps[id.0]
    }

    /// The step for a thing, if there is one already.
    pub fn find(&self, kind: &str, name: &str) -> Option<StepId> {
        self.steps.iter().position(|step| step.kind == kind && step.name == name).map(StepId)
    }

    /// True where `id` changes something.
    pub fn is_change(&self, id: StepId) -> bool {
        self.step(id).action != Action::None
    }

    /// True where a step of this kind changes something.
    pub fn changes_kind(&self, kind: &str) -> bool {
        self.steps.iter().any(|step| step.kind == kind && step.action != Action::None)
    }

    /// Gives every step that changes something the same result, before any is carried out.
    pub fn mark(&mut self, outcome: Outcome) {
        for step in self.steps.iter_mut().filter(|step| step.action != Action::None) {
            step.result = Some(outcome);
        }
    }

    /// Fills in the roles that the stacks gave.
    pub fn resolve(&mut self, roles: &BTreeMap<String, String>) {
        for account in &mut self.outputs.service_accounts {
            account.role_arn = match &account.source {
                RoleSource::Known(arn) => Some(arn.clone()),
                RoleSource::Stack(stack) => roles.get(stack).cloned(),
            };
        }
        if let [only] = self.outputs.service_accounts.as_slice() {
            self.outputs.role_arn.clone_from(&only.role_arn);
        }
    }
}

impl Step {
    /// A step without differences.
    pub fn new(action: Action, kind: &str, name: impl Into<String>, op: Op) -> Self {
        Self {
            action,
            kind: kind.to_owned(),
            name: name.into(),
            reason: None,
            diff: Vec::new(),
            result: None,
            error: None,
            needs: Vec::new(),
            op,
            role: None,
        }
    }

    /// Says which role is there.
    #[must_use]
    pub fn with_role(mut self, role: Option<LiveRole>) -> Self {
        self.role = role;
        self
    }

    /// Something that is as it should be.
    pub fn unchanged(kind: &str, name: impl Into<String>) -> Self {
        Self::new(Action::None, kind, name, Op::None)
    }

    /// Says why.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Says what differs.
    #[must_use]
    pub fn with_diff(mut self, diff: Vec<Change>) -> Self {
        self.diff = diff;
        self
    }

    /// Says what must be done before.
    #[must_use]
    pub fn after(mut self, needs: impl IntoIterator<Item = StepId>) -> Self {
        self.needs.extend(needs);
        self
    }
}
