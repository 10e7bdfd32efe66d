//! The rights of IAM that a plan will need: so much of [`aws`](super::aws) as its steps are sure to use.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::iam::arn::{Partition, iam_arn};
use crate::iam::policy::Need;
use crate::plan::diff::Change;
use crate::plan::{Action, LiveRole, Op, Plan, Settle, StackSpec, Step};
use crate::stack::names;
use crate::stack::tags::OIDC_ENABLED;

/// Of many alike, so many are asked about.
const ENOUGH: usize = 4;

/// A key that a call may have several values of; of the others, it has one.
const TAG_KEYS: &str = "aws:TagKeys";

/// With more values, nobody is asked about the key.
const MOST_QUESTIONS: usize = 20;

/// Rights, and what conditions may ask of the calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreseen {
    /// Actions and what they are on.
    pub needs: Vec<Need>,
    /// Keys of conditions, and the values that calls will have.
    pub context: BTreeMap<&'static str, Vec<String>>,
}

impl Foreseen {
    fn add(&mut self, action: &str, resource: &str) {
        let alike = self.needs.iter().filter(|need| need.action == action);
        let known = alike.clone().any(|need| need.resource == resource);
        if !known && alike.count() < ENOUGH {
            self.needs.push(Need::new(action, resource));
        }
    }

    fn say(&mut self, key: &'static str, values: impl IntoIterator<Item = String>) {
        let said = self.context.entry(key).or_default();
        for value in values {
            if !said.contains(&value) {
                said.push(value);
            }
        }
        if said.is_empty() {
            self.context.remove(key);
        }
    }

    /// The contexts to ask about. A call has one policy and one boundary: each value of such a key is asked about by itself.
    pub fn contexts(&self) -> Vec<BTreeMap<&'static str, Vec<String>>> {
        let asked = self.context.iter().filter(|(key, values)| **key == TAG_KEYS || values.len() <= MOST_QUESTIONS);
        let asked: Vec<_> = asked.collect();
        let several = asked.iter().filter(|(key, _)| **key != TAG_KEYS).map(|(_, values)| values.len());
        let of = |index: usize| {
            asked.iter().map(move |(key, values)| match **key {
                TAG_KEYS => (TAG_KEYS, (*values).clone()),
                key => (key, vec![values[index % values.len()].clone()]),
            })
        };
        (0..several.max().unwrap_or(1)).map(|index| of(index).collect()).collect()
    }

    /// What is refused for certain, by the refusals in each of the [`contexts`](Self::contexts): what is refused whatever
    /// the values, or with one value whatever it is on. Which of the values a call on this and one on that will have
    /// isn't known.
    pub fn certain(&self, answers: &[Vec<Need>]) -> Vec<Need> {
        let several = self.context.iter().filter(|(key, values)| **key != TAG_KEYS && values.len() > 1).count();
        let alike = |need: &Need| self.needs.iter().filter(|other| other.action == need.action).collect::<Vec<_>>();
        let by_one = |need: &Need| {
            let all = |answer: &Vec<Need>| alike(need).into_iter().all(|need| answer.contains(need));
            several == 1 && alike(need).first() == Some(&need) && answers.iter().any(all)
        };
        let always = |need: &Need| answers.iter().all(|answer| answer.contains(need));
        self.needs.iter().filter(|need| always(need) || by_one(need)).cloned().collect()
    }
}

/// What the steps of a plan will need.
pub fn foreseen(plan: &Plan, partition: &Partition) -> Foreseen {
    let mut found = Foreseen::default();
    let stack =
        |name: &str| format!("arn:{partition}:cloudformation:{}:{}:stack/{name}/{NO_ID}", plan.region, plan.account);
    for step in plan.steps.iter().filter(|step| step.action != Action::None) {
        foresee(step, partition, &plan.account, &stack, &mut found);
    }
    if !found.context.contains_key(TAG_KEYS) {
        // Nothing else is tagged. A key without a value would leave every refusal in doubt.
        found.say(TAG_KEYS, [OIDC_ENABLED.to_owned()]);
    }
    found
}

/// Stands for the id of a stack that isn't there yet.
const NO_ID: &str = "00000000-0000-0000-0000-000000000000";
/// Stands for what CloudFormation puts at the end of a name.
const NO_SUFFIX: &str = "XXXXXXXXXXXX";

fn foresee(step: &Step, partition: &Partition, account: &str, stack: &dyn Fn(&str) -> String, found: &mut Foreseen) {
    let live = step.role.as_ref();
    match &step.op {
        Op::CreateProvider { arn, tags, .. } => {
            say_tags(tags, found);
            found.add("iam:CreateOpenIDConnectProvider", arn);
            found.add("iam:TagOpenIDConnectProvider", arn);
        }
        Op::AddAudience { arn } => found.add("iam:AddClientIDToOpenIDConnectProvider", arn),
        Op::CreatePolicy { arn, tags, .. } => {
            say_tags(tags, found);
            found.add("iam:CreatePolicy", arn);
            found.add("iam:TagPolicy", arn);
        }
        Op::ChangePolicy { arn, .. } => found.add("iam:CreatePolicyVersion", arn),
        Op::DeletePolicy { arn, .. } => {
            found.add("iam:DeletePolicy", arn);
            if let Some(live) = live {
                found.add("iam:DetachRolePolicy", &live.arn);
            }
        }
        Op::CreateStack { stack: spec, .. } => {
            found.add("cloudformation:CreateStack", &stack(&spec.name));
            create_role(spec, partition, account, found);
        }
        Op::ReplaceStack { stack: spec, id, unprotect, first: _ } => {
            delete_stack(id, *unprotect, live, spec.cfn.role_arn.as_deref(), found);
            found.add("cloudformation:CreateStack", &stack(&spec.name));
            create_role(spec, partition, account, found);
        }
        // What it needs is known once that is done.
        Op::ChangeStack { first: Settle::Wait(_), .. } => {}
        Op::ChangeStack { stack: spec, id, first } => {
            if *first == Settle::ContinueRollback {
                found.add("cloudformation:ContinueUpdateRollback", id);
            }
            for action in ["CreateChangeSet", "DescribeChangeSet", "ExecuteChangeSet"] {
                found.add(&format!("cloudformation:{action}"), id);
            }
            change_role(spec, &step.diff, live, found);
        }
        Op::ProtectStack { name } => found.add("cloudformation:UpdateTerminationProtection", &stack(name)),
        Op::DeleteStack { id, unprotect, detach, role_arn, .. } => {
            delete_stack(id, *unprotect, live, role_arn.as_deref(), found);
            if let Some(live) = live.filter(|_| !detach.is_empty()) {
                found.add("iam:DetachRolePolicy", &live.arn);
            }
        }
        op => mend(op, live, found),
    }
}

/// A role is mended itself, with the caller's rights.
fn mend(op: &Op, live: Option<&LiveRole>, found: &mut Foreseen) {
    let Some(live) = live else { return };
    match op {
        Op::SetTrust { .. } => found.add("iam:UpdateAssumeRolePolicy", &live.arn),
        Op::SetBoundary { boundary, .. } => set_boundary(boundary.as_ref(), &live.arn, found),
        Op::SetInlinePolicy { .. } => found.add("iam:PutRolePolicy", &live.arn),
        Op::AttachPolicy { policy, .. } => attach([policy.clone()], &live.arn, found),
        _ => {}
    }
}

fn attach(policies: impl IntoIterator<Item = String>, role: &str, found: &mut Foreseen) {
    found.add("iam:AttachRolePolicy", role);
    found.say("iam:PolicyARN", policies);
}

fn set_boundary(boundary: Option<&String>, role: &str, found: &mut Foreseen) {
    match boundary {
        Some(boundary) => {
            found.add("iam:PutRolePermissionsBoundary", role);
            found.say("iam:PermissionsBoundary", [boundary.clone()]);
        }
        None => found.add("iam:DeleteRolePermissionsBoundary", role),
    }
}

fn pass_role(role: &str, found: &mut Foreseen) {
    found.add("iam:PassRole", role);
    found.say("iam:PassedToService", ["cloudformation.amazonaws.com".to_owned()]);
}

fn say_tags(tags: &[(String, String)], found: &mut Foreseen) {
    found.say(TAG_KEYS, tags.iter().map(|(key, _)| key.clone()));
}

/// What conditions may ask of the calls for a role.
fn say_role(spec: &StackSpec, found: &mut Foreseen) {
    found.say("iam:PermissionsBoundary", spec.boundary.clone());
    found.say("iam:PolicyARN", spec.managed_policies.clone());
    say_tags(&spec.tags, found);
}

/// What CloudFormation calls to make the role of a stack.
fn create_role(spec: &StackSpec, partition: &Partition, account: &str, found: &mut Foreseen) {
    say_role(spec, found);
    if let Some(role) = &spec.cfn.role_arn {
        return pass_role(role, found);
    }
    let property = |name: &str| spec.template.pointer(&format!("/Resources/Role1/Properties/{name}"))?.as_str();
    let name = property("RoleName").map_or_else(|| names::role(&spec.name, NO_SUFFIX), str::to_owned);
    let arn = &iam_arn(partition, account, "role", property("Path").unwrap_or("/"), &name);
    for action in ["iam:CreateRole", "iam:TagRole", "iam:GetRole"] {
        found.add(action, arn);
    }
    if !spec.managed_policies.is_empty() {
        found.add("iam:AttachRolePolicy", arn);
    }
    if !spec.inline.is_empty() {
        found.add("iam:PutRolePolicy", arn);
        found.add("iam:GetRolePolicy", arn);
    }
}

/// What CloudFormation calls to change the role of a stack; the differences are those of its template and tags.
fn change_role(spec: &StackSpec, differences: &[Change], live: Option<&LiveRole>, found: &mut Foreseen) {
    say_role(spec, found);
    for op in live.iter().flat_map(|live| &live.mends) {
        mend(op, live, found);
    }
    if let Some(role) = &spec.cfn.role_arn {
        return pass_role(role, found);
    }
    let Some(live) = live.filter(|live| live.cfn_role.is_none()) else { return };
    for Change { path, before, after } in differences {
        let parts: Vec<_> = path.split('/').skip(1).collect();
        let added = after.is_some();
        match parts.as_slice() {
            ["Tags", _] => found.add(if added { "iam:TagRole" } else { "iam:UntagRole" }, &live.arn),
            ["Resources", "Role1", "Properties", "AssumeRolePolicyDocument", ..] => {
                found.add("iam:UpdateAssumeRolePolicy", &live.arn);
            }
            ["Resources", "Role1", "Properties", "PermissionsBoundary"] => {
                set_boundary(spec.boundary.as_ref(), &live.arn, found);
            }
            ["Resources", "Role1", "Properties", "ManagedPolicyArns"] => {
                if lacks(before.as_ref(), after.as_ref()) {
                    attach(spec.managed_policies.clone(), &live.arn, found);
                }
                if lacks(after.as_ref(), before.as_ref()) {
                    found.add("iam:DetachRolePolicy", &live.arn);
                }
            }
            ["Resources", _, "Properties", "PolicyDocument" | "Policies", ..] => {
                found.add("iam:PutRolePolicy", &live.arn);
            }
            ["Resources", _] => {
                found.add(if added { "iam:PutRolePolicy" } else { "iam:DeleteRolePolicy" }, &live.arn);
            }
            _ => {}
        }
    }
}

/// True where the second list has something that the first hasn't.
fn lacks(first: Option<&Value>, second: Option<&Value>) -> bool {
    let items = |list: Option<&Value>| list.and_then(Value::as_array).cloned().unwrap_or_default();
    let first = items(first);
    items(second).iter().any(|item| !first.contains(item))
}

/// What CloudFormation calls to delete a stack with its role.
fn delete_stack(id: &str, unprotect: bool, live: Option<&LiveRole>, cfn_role: Option<&str>, found: &mut Foreseen) {
    found.add("cloudformation:DeleteStack", id);
    if unprotect {
        found.add("cloudformation:UpdateTerminationProtection", id);
    }
    if let Some(role) = cfn_role {
        return pass_role(role, found);
    }
    let Some(live) = live.filter(|live| live.cfn_role.is_none()) else { return };
    found.add("iam:DeleteRole", &live.arn);
    if live.attached {
        found.add("iam:DetachRolePolicy", &live.arn);
    }
    if live.inline {
        found.add("iam:DeleteRolePolicy", &live.arn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_one_policy() {
        let mut found = Foreseen::default();
        let needs = ["a", "b"].map(|role| Need::new("iam:AttachRolePolicy", role));
        for need in &needs {
            found.add(&need.action, &need.resource);
        }
        found.say(TAG_KEYS, ["x".to_owned(), "y".to_owned()]);
        assert_eq!(found.contexts().len(), 1);
        found.say("iam:PolicyARN", ["p".to_owned(), "q".to_owned()]);
        found.say("iam:PermissionsBoundary", ["edge".to_owned()]);
        let contexts = found.contexts();
        let policies: Vec<_> = contexts.iter().map(|context| context["iam:PolicyARN"].join(",")).collect();
        assert_eq!(policies, ["p", "q"]);
        assert!(contexts.iter().all(|it| it[TAG_KEYS].len() == 2 && it["iam:PermissionsBoundary"] == ["edge"]));
        let [a, b] = needs;
        // Of the two, each may have the policy that it is allowed.
        assert_eq!(found.certain(&[vec![a.clone()], vec![b.clone()]]), []);
        assert_eq!(found.certain(&[vec![a.clone()], vec![a.clone()]]), vec![a.clone()]);
        assert_eq!(found.certain(&[vec![], vec![a.clone(), b.clone()]]), vec![a.clone()]);
        found.say("iam:PermissionsBoundary", ["other".to_owned()]);
        assert_eq!(found.certain(&[vec![], vec![a.clone(), b]]), []);
        found.say("iam:PolicyARN", (0..MOST_QUESTIONS).map(|n| n.to_string()));
        assert!(found.contexts().iter().all(|context| !context.contains_key("iam:PolicyARN")));
    }
}
