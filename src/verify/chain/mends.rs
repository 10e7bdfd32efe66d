//! The commands that mend a link of the chain.

use serde_json::json;

use super::{Irsa, needs};
use crate::aws::iam::Role;
use crate::iam::arn::Arn;
use crate::iam::policy::{PolicyDocument, is_denied};
use crate::iam::wellknown::WellKnown;
use crate::plan::iamserviceaccount::{DesiredObject, ObservedStack, is_ours};
use crate::plan::recreation::with_object;
use crate::shell::Command;
use crate::stack::flags::{Told, told};
use crate::stack::template::{self, INLINE, inline_policies};
use crate::verify::permissions::{Holder, Lack, statements};

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
        };
        let (command, mut lost) = told(self.irsactl("create iamserviceaccount"), stack)?;
        let object = self.service_account.as_ref().ok()?.as_ref().map(DesiredObject::kept).unwrap_or_default();
        let command = with_object(command, &object, &mut lost);
        lost.is_empty().then(|| command.approved())
    }

    /// A command of irsactl about this ServiceAccount.
    fn irsactl(&self, words: &str) -> Command {
        self.commands.about(words, &self.namespace, &self.name)
    }

    /// Has the ServiceAccount name the role; that of others with consent.
    pub(super) fn annotate(&self, role: &str) -> String {
        let command = self.repair().unwrap_or_else(|| match &self.install {
            Some(install) => Command::new(install).with("--role-arn", role).approved(),
            None => self.irsactl("create iamserviceaccount").with("--attach-role-arn", role).approved(),
        });
        match &self.service_account {
            Ok(Some(object)) if !is_ours(object) => {
                let flag = "--override-existing-serviceaccounts";
                Command::new(&command).without(flag).word(flag).approved()
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

    /// Allows what is lacking: by what the stack says where that is missing or irsactl looks after it, else beside it.
    pub(super) fn allow(&self, role: &str, lacking: &[&Lack]) -> String {
        let held: Vec<_> = self.policies.iter().flat_map(|all| &all.held).map(|(holder, _)| holder).collect();
        let complete = self.install.is_none() && self.of_stack().iter().all(|holder| held.contains(&holder));
        self.repair().filter(|_| !complete).unwrap_or_else(|| {
            let document = json!({"Version": "2012-10-17", "Statement": statements(needs(lacking))});
            put_policy(role, &self.name, &PolicyDocument(document)).into()
        })
    }

    /// The policies that the stack gives the role.
    fn of_stack(&self) -> Vec<Holder> {
        let Some(found) = self.stack() else { return Vec::new() };
        let managed = template::read(&found.template).map(|facts| facts.managed_arns()).unwrap_or_default();
        let inline = inline_policies(&found.template, &found.stack.name).into_keys();
        managed.into_iter().map(Holder::Managed).chain(inline.map(Holder::Inline)).collect()
    }

    /// Takes a policy away that denies what is needed; one that irsactl looks after is brought back to what it should be.
    pub(super) fn undo(&self, role: &str, holder: &Holder) -> String {
        match (&self.install, holder) {
            (Some(install), holder) if self.of_stack().contains(holder) => install.clone(),
            (_, Holder::Inline(name)) => of_role("delete-role-policy", role).with("--policy-name", name).into(),
            (_, Holder::Managed(arn)) => of_role("detach-role-policy", role).with("--policy-arn", arn).into(),
        }
    }

    /// Has the permissions boundary allow what is lacking; one of AWS's, or one that denies it, can only go.
    pub(super) fn widen(&self, role: &Role, lacking: &[&Lack]) -> String {
        let own = role.boundary.as_deref().filter(|arn| arn.contains(&format!(":{}:", self.account)));
        let denies = |document: &PolicyDocument| needs(lacking).any(|need| is_denied(&[document], need));
        match (own, self.policies.as_ref().and_then(|all| all.boundary.as_ref()).filter(|document| !denies(document))) {
            (Some(arn), Some(document)) => Command::new("aws iam create-policy-version")
                .with("--policy-arn", arn)
                .word("--set-as-default")
                .with("--policy-document", &document.and(statements(needs(lacking))).to_json()),
            _ => of_role("delete-role-permissions-boundary", &role.name),
        }
        .into()
    }

    pub(super) fn organisation(&self) -> String {
        Command::new("aws organizations list-policies-for-target")
            .with("--target-id", &self.account)
            .with("--filter", "SERVICE_CONTROL_POLICY")
            .into()
    }

    /// A command, and where it has to be run.
    pub(super) fn at(&self, role: &Arn, command: Command) -> String {
        if role.account == self.account { command.into() } else { format!("in account {}: {command}", role.account) }
    }
}

/// A command of the AWS CLI about a role.
pub(super) fn of_role(operation: &str, role: &str) -> Command {
    Command::new(&format!("aws iam {operation}")).with("--role-name", role)
}

/// Gives a role one more policy.
pub(super) fn put_policy(role: &str, name: &str, document: &PolicyDocument) -> Command {
    of_role("put-role-policy", role).with("--policy-name", name).with("--policy-document", &document.to_json())
}

/// Sets whom a role trusts.
pub(super) fn set_trust(role: &str, document: &str) -> String {
    of_role("update-assume-role-policy", role).with("--policy-document", document).into()
}

/// Shows what may deny something.
pub(super) fn list_policies(role: &str) -> String {
    of_role("list-role-policies", role).into()
}
