//! The commands that mend a link of the chain.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Irsa, Live, needs};
use crate::aws::iam::Role;
use crate::externaldns::registry::Mapper;
use crate::iam::arn::Arn;
use crate::iam::policy::{Need, ON_RECORDS, PolicyDocument, is_denied, list_zones};
use crate::iam::trust::{AUDIENCE, Subject, trust_policy, trusting};
use crate::iam::wellknown::WellKnown;
use crate::plan::iamserviceaccount::{DesiredObject, ObservedStack, is_ours};
use crate::plan::recreation::completed;
use crate::shell::Command;
use crate::stack::flags::Told;
use crate::stack::template::{self, INLINE, inline_policies};
use crate::verify::permissions::{Holder, Lack, RECORD_NAMES, statements};

impl Irsa {
    /// Brings stack, role and ServiceAccount back to what they should be; none without a stack.
    pub(super) fn repair(&self) -> Option<String> {
        let found = self.stack()?;
        if self.install.is_some() {
            return self.install.clone();
        }
        if found.has_failed() || matches!(self.role, Ok(None)) {
            return self.recreate(found);
        }
        let facts = template::read(&found.template).ok()?;
        let known: Vec<_> = WellKnown::ALL
            .into_iter()
            .filter(|known| known.policies().iter().any(|(id, _)| facts.inline.contains_key(id)))
            .map(WellKnown::key)
            .collect();
        let arns = facts.managed_arns();
        let command = self.irsactl("update iamserviceaccount");
        let command = if !arns.is_empty() {
            command.with("--attach-policy-arn", &arns.join(","))
        } else if !known.is_empty() {
            command.with("--well-known-policy", &known.join(","))
        } else {
            command.with("--attach-policy", &facts.inline.get(INLINE)?.to_string())
        };
        Some(command.approved())
    }

    /// Makes a stack anew that can't be updated; none where the command can't say all that it holds.
    fn recreate(&self, found: &ObservedStack) -> Option<String> {
        let stack = Told {
            service_account: (&self.namespace, &self.name),
            name: &found.stack.name,
            template: &found.template,
            tags: &found.stack.tags,
            protected: found.stack.protected,
            cfn_role: None,
        };
        let object = self.service_account.as_ref().ok()?.as_ref().map(DesiredObject::kept).unwrap_or_default();
        let (command, lost) = completed(self.irsactl("create iamserviceaccount"), stack, Some(&object))?;
        lost.is_empty().then_some(command)
    }

    /// A command of irsactl about this ServiceAccount.
    fn irsactl(&self, words: &str) -> Command {
        self.commands.about(words, &self.namespace, &self.name)
    }

    /// Has the ServiceAccount name the role; that of others with consent.
    pub(super) fn annotate(&self, role: &str) -> String {
        let command = self.repair().unwrap_or_else(|| match &self.install {
            Some(install) => longer(install, |command| command.with("--role-arn", role)),
            None => self.irsactl("create iamserviceaccount").with("--attach-role-arn", role).approved(),
        });
        match &self.service_account {
            Ok(Some(object)) if !is_ours(object) => {
                let flag = "--override-existing-serviceaccounts";
                longer(&command, |command| command.without(flag).word(flag))
            }
            _ => command,
        }
    }

    /// Makes a role where there is none.
    pub(super) fn make(&self) -> String {
        let new = || {
            let command = self.irsactl("create iamserviceaccount").with("--attach-policy-arn", "POLICY_ARN");
            match &self.service_account {
                Ok(Some(object)) if !is_ours(object) => command.word("--override-existing-serviceaccounts").approved(),
                _ => command.approved(),
            }
        };
        self.repair().or_else(|| self.make.clone()).unwrap_or_else(new)
    }

    /// What the role has to trust.
    fn wanted_trust(&self, account: &str) -> PolicyDocument {
        let subject = Subject::exact(&self.namespace, &self.name);
        trust_policy(&self.issuer, &self.partition, account, Some(&subject))
    }

    /// Has the role trust the ServiceAccount, and still everybody else who uses it.
    pub(super) fn trust(&self, role: &Role) -> String {
        self.repair().or_else(|| self.trusting(role)).unwrap_or_else(|| show_trust(&role.name))
    }

    /// Has the role trust the ServiceAccount in place of all of the cluster.
    pub(super) fn restrict(&self, role: &Role) -> String {
        let unused = format!("where no other ServiceAccount of the cluster uses role {}", role.name);
        let restricted = || self.trusting(role).map(|command| format!("{unused}: {command}"));
        self.repair().or_else(restricted).unwrap_or_else(|| show_trust(&role.name))
    }

    /// Has the role trust the ServiceAccount whatever its conditions say, which may be somebody's wish.
    pub(super) fn trust_anyway(&self) -> Option<String> {
        let role = self.role.as_ref().ok()?.as_ref()?;
        let anyway = |command| format!("where the conditions of its trust policy aren't meant for the pods: {command}");
        Some(self.trusting(role).map_or_else(|| show_trust(&role.name), anyway))
    }

    fn trusting(&self, role: &Role) -> Option<String> {
        let (provider, who) = (self.provider_arn(), (self.namespace.as_str(), self.name.as_str()));
        let document = trusting(&role.trust, &self.issuer, &provider, who, &self.wanted_trust(&self.account))?;
        Some(set_trust(&role.name, &document.to_json()))
    }

    /// Allows what the pods need: by what the stack says where that is missing or irsactl looks after it, else beside it.
    pub(super) fn allow(&self, role: &str) -> String {
        let held: Vec<_> = self.policies.iter().flat_map(|all| &all.held).map(|(holder, _)| holder).collect();
        let complete = self.install.is_none() && self.of_stack().iter().all(|holder| held.contains(&holder));
        self.repair()
            .filter(|_| !complete)
            .unwrap_or_else(|| put_policy(role, &self.free_name(), &allowing(&self.demand.certain)).into())
    }

    /// Allows changes of these hosts together with those of the TXT records beside them, and of nothing else: one batch
    /// has to be allowed by one statement.
    pub(super) fn allow_names(&self, role: &str, hosts: &[String], mapper: &Mapper) -> String {
        let txts = hosts.iter().flat_map(|host| mapper.txts_of_host(host));
        let names: Vec<_> = hosts.iter().cloned().chain(txts).collect();
        let all = self.demand.all();
        let mut document = allowing(all.iter().filter(|need| need.action == ON_RECORDS[0]));
        for statement in document.0["Statement"].as_array_mut().into_iter().flatten() {
            statement["Condition"] = json!({"ForAllValues:StringEquals": {RECORD_NAMES: names}});
        }
        put_policy(role, &self.free_name(), &document).into()
    }

    /// A name for a further inline policy: one of that name would be overwritten.
    fn free_name(&self) -> String {
        let held = self.policies.iter().flat_map(|all| &all.held);
        let taken: Vec<_> = held
            .filter_map(|(holder, _)| match holder {
                Holder::Inline(name) => Some(name.as_str()),
                Holder::Managed(_) => None,
            })
            .collect();
        // Names of policies have 128 characters at most, those of ServiceAccounts 253.
        let base = format!("irsactl-{}", self.name.chars().take(100).collect::<String>());
        let further = (2..).map(|number: usize| format!("{base}-{number}"));
        let mut names = std::iter::once(base.clone()).chain(further);
        names.find(|name| !taken.contains(&name.as_str())).unwrap_or_default()
    }

    /// The policies that the stack gives the role.
    fn of_stack(&self) -> Vec<Holder> {
        let Some(found) = self.stack() else { return Vec::new() };
        let managed = template::read(&found.template).map(|facts| facts.managed_arns()).unwrap_or_default();
        let inline = inline_policies(&found.template, &found.stack.name).into_keys();
        managed.into_iter().map(Holder::Managed).chain(inline.map(Holder::Inline)).collect()
    }

    /// Takes a policy away that denies what is needed, which may be somebody's wish; one that irsactl looks after is
    /// brought back to what it should be.
    pub(super) fn undo(&self, role: &str, holder: &Holder) -> String {
        let command = match (&self.install, holder) {
            (Some(install), holder) if self.of_stack().contains(holder) => return install.clone(),
            (_, Holder::Inline(name)) => of_role("delete-role-policy", role).with("--policy-name", name),
            (_, Holder::Managed(arn)) => of_role("detach-role-policy", role).with("--policy-arn", arn),
        };
        format!("have it allow that; where it isn't meant at all, this takes the whole policy away: {command}")
    }

    /// Has the permissions boundary allow what is lacking; one of AWS's, or one that denies it, can only go, where it
    /// isn't somebody's wish.
    pub(super) fn widen(&self, role: &Role, lacking: &[&Lack]) -> String {
        let own = role.boundary.as_deref().filter(|arn| arn.contains(&format!(":{}:", self.account)));
        let denies = |document: &PolicyDocument| needs(lacking).any(|need| is_denied(&[document], need));
        let document = self.policies.as_ref().ok().and_then(|all| all.boundary.as_ref());
        if let (Some(arn), Some(document)) = (own, document.filter(|document| !denies(document))) {
            return Command::new("aws iam create-policy-version")
                .with("--policy-arn", arn)
                .word("--set-as-default")
                .with("--policy-document", &document.and(statements(needs(lacking))).to_json())
                .into();
        }
        let command = of_role("delete-role-permissions-boundary", &role.name);
        format!("have it allow that; where it isn't meant at all, this takes the boundary away: {command}")
    }

    /// Shows the control policies of the organisation, which only its management account can.
    pub(super) fn organisation(&self) -> String {
        let command = Command::new("aws organizations list-policies-for-target")
            .with("--target-id", &self.account)
            .with("--filter", "SERVICE_CONTROL_POLICY");
        format!("in the management account of the organisation: {command}")
    }

    /// What a role of another account needs there, whose IAM can't be read from here.
    pub(super) fn mend_far(&self) -> Option<String> {
        let role = self.far_role()?;
        if matches!(self.live, Live::ZonesRefused { .. }) {
            return Some(self.at(&role, allow_listing(role.name())));
        }
        let trust = self.wanted_trust(&role.account).to_json();
        Some(format!(
            "in account {}, have IAM know the OIDC provider {} with audience {AUDIENCE}, and the trust policy of {role} \
             allow: {trust}",
            role.account,
            self.issuer.provider_url()
        ))
    }

    /// Has pods started anew by what made them; one that nothing makes has to be made again by hand.
    pub(super) fn restart<'p>(&self, pods: impl IntoIterator<Item = &'p Value>) -> Option<String> {
        let commands: BTreeSet<String> = pods.into_iter().filter_map(|pod| self.started_anew(pod)).collect();
        (!commands.is_empty()).then(|| Vec::from_iter(commands).join(" && "))
    }

    fn started_anew(&self, pod: &Value) -> Option<String> {
        let metadata = &pod["metadata"];
        let mut owners = metadata["ownerReferences"].as_array().into_iter().flatten();
        let owner = owners.find(|owner| owner["controller"] == true);
        let owner = owner.and_then(|owner| Some((owner["kind"].as_str()?, owner["name"].as_str()?)));
        let hash = metadata["labels"]["pod-template-hash"].as_str();
        let rolled = match (owner, hash) {
            // A Deployment's name, and the hash of its pod template.
            (Some(("ReplicaSet", name)), Some(hash)) => {
                name.strip_suffix(hash).and_then(|name| name.strip_suffix('-')).map(|name| format!("deployment/{name}"))
            }
            (Some((kind @ ("StatefulSet" | "DaemonSet"), name)), _) => Some(format!("{}/{name}", kind.to_lowercase())),
            _ => None,
        };
        let command = match rolled {
            Some(rolled) => self.kubectl("rollout restart").word(&rolled),
            None => self.kubectl("delete pod").word(metadata["name"].as_str()?),
        };
        Some(command.into())
    }

    pub(super) fn kubectl(&self, verb: &str) -> Command {
        let command = Command::new("kubectl").with("--namespace", &self.namespace);
        verb.split(' ').fold(command, Command::word)
    }

    /// A command, and where it has to be run.
    pub(super) fn at(&self, role: &Arn, command: Command) -> String {
        if role.account == self.account { command.into() } else { format!("in account {}: {command}", role.account) }
    }
}

/// A command with more words, approved where it was.
fn longer(command: &str, more: impl FnOnce(Command) -> Command) -> String {
    let longer = more(Command::new(command));
    if command.ends_with(" --approve") { longer.approved() } else { longer.into() }
}

/// A command of the AWS CLI about a role.
pub(super) fn of_role(operation: &str, role: &str) -> Command {
    Command::new(&format!("aws iam {operation}")).with("--role-name", role)
}

fn allowing<'a>(needs: impl IntoIterator<Item = &'a Need>) -> PolicyDocument {
    PolicyDocument(json!({"Version": "2012-10-17", "Statement": statements(needs)}))
}

/// Has a role list the zones of its account, in a policy that is always the same.
pub(super) fn allow_listing(role: &str) -> Command {
    put_policy(role, "irsactl-list-hosted-zones", &allowing([&list_zones()]))
}

/// Gives a role one more policy.
fn put_policy(role: &str, name: &str, document: &PolicyDocument) -> Command {
    of_role("put-role-policy", role).with("--policy-name", name).with("--policy-document", &document.to_json())
}

/// Sets whom a role trusts.
pub(super) fn set_trust(role: &str, document: &str) -> String {
    of_role("update-assume-role-policy", role).with("--policy-document", document).into()
}

/// Shows whom a role trusts, and whom it refuses.
fn show_trust(role: &str) -> String {
    of_role("get-role", role).with("--query", "Role.AssumeRolePolicyDocument").into()
}

/// Shows what may deny something.
pub(super) fn list_policies(role: &str) -> String {
    of_role("list-role-policies", role).into()
}
