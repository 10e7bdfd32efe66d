//! The commands that mend a link of the chain.

use serde_json::json;

use super::{Irsa, needs};
use crate::aws::iam::Role;
use crate::error::shell_word;
use crate::iam::arn::Arn;
use crate::iam::policy::{PolicyDocument, is_denied};
use crate::iam::wellknown::WellKnown;
use crate::plan::iamserviceaccount::is_ours;
use crate::stack::template::{self, INLINE, inline_policies};
use crate::verify::command::Command;
use crate::verify::permissions::{Holder, Lack, statements};

impl Irsa {
    /// Brings stack, role and ServiceAccount back to what they should be; none without a stack.
    pub(super) fn repair(&self) -> Option<String> {
        let found = self.stack()?;
        if self.install.is_some() {
            return self.install.clone();
        }
        let facts = template::read(&found.template).ok()?;
        let known: Vec<_> = WellKnown::ALL
            .into_iter()
            .filter(|known| known.policies().iter().any(|(id, _)| facts.inline.contains_key(id)))
            .map(WellKnown::key)
            .collect();
        let arns = facts.managed_arns();
        let what = if !arns.is_empty() {
            format!("--attach-policy-arn {}", arns.join(","))
        } else if !known.is_empty() {
            format!("--well-known-policy {}", known.join(","))
        } else {
            format!("--attach-policy {}", shell_word(&facts.inline.get(INLINE)?.to_string()))
        };
        Some(format!("irsactl update iamserviceaccount {} {what} --approve", self.place()))
    }

    fn place(&self) -> String {
        format!("{} --namespace {} --name {}", self.commands.place(), self.namespace, self.name)
    }

    /// Has the ServiceAccount name the role; that of others with consent.
    pub(super) fn annotate(&self, role: &str) -> String {
        let command = self.repair().unwrap_or_else(|| match &self.install {
            Some(install) => Command::new(install).with("--role-arn", role).approved(),
            None => format!("irsactl create iamserviceaccount {} --attach-role-arn {role} --approve", self.place()),
        });
        match &self.service_account {
            Ok(Some(object)) if !is_ours(object) => {
                Command::new(&command).switch("--override-existing-serviceaccounts").approved()
            }
            _ => command,
        }
    }

    /// Makes a role where there is none.
    pub(super) fn make(&self) -> String {
        let new = || {
            let line = format!("irsactl create iamserviceaccount {} --attach-policy-arn POLICY_ARN", self.place());
            match &self.service_account {
                Ok(Some(object)) if !is_ours(object) => format!("{line} --override-existing-serviceaccounts --approve"),
                _ => format!("{line} --approve"),
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
            put_policy(role, &self.name, &PolicyDocument(document))
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
            (_, Holder::Inline(name)) => {
                format!("aws iam delete-role-policy --role-name {role} --policy-name {}", shell_word(name))
            }
            (_, Holder::Managed(arn)) => format!("aws iam detach-role-policy --role-name {role} --policy-arn {arn}"),
        }
    }

    /// Has the permissions boundary allow what is lacking; one of AWS's, or one that denies it, can only go.
    pub(super) fn widen(&self, role: &Role, lacking: &[&Lack]) -> String {
        let own = role.boundary.as_deref().filter(|arn| arn.contains(&format!(":{}:", self.account)));
        let denies = |document: &PolicyDocument| needs(lacking).any(|need| is_denied(&[document], need));
        match (own, self.policies.as_ref().and_then(|all| all.boundary.as_ref()).filter(|document| !denies(document))) {
            (Some(arn), Some(document)) => format!(
                "aws iam create-policy-version --policy-arn {arn} --set-as-default --policy-document {}",
                shell_word(&document.and(statements(needs(lacking))).to_json())
            ),
            _ => format!("aws iam delete-role-permissions-boundary --role-name {}", role.name),
        }
    }

    pub(super) fn organisation(&self) -> String {
        format!(
            "aws organizations list-policies-for-target --target-id {} --filter SERVICE_CONTROL_POLICY",
            self.account
        )
    }

    /// A command, and where it has to be run.
    pub(super) fn at(&self, role: &Arn, command: String) -> String {
        if role.account == self.account { command } else { format!("in account {}: {command}", role.account) }
    }
}

/// Gives a role one more policy.
pub(super) fn put_policy(role: &str, name: &str, document: &PolicyDocument) -> String {
    let document = shell_word(&document.to_json());
    format!("aws iam put-role-policy --role-name {role} --policy-name {name} --policy-document {document}")
}

/// Sets whom a role trusts.
pub(super) fn set_trust(role: &str, document: &str) -> String {
    format!("aws iam update-assume-role-policy --role-name {role} --policy-document {}", shell_word(document))
}

/// Shows what may deny something.
pub(super) fn list_policies(role: &str) -> String {
    format!("aws iam list-role-policies --role-name {role}")
}
