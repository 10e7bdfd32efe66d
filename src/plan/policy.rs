//! A managed policy.

use super::diff::changes;
use super::{Action, Op, Step};
use crate::aws::iam::Policy;
use crate::error::{Error, ErrorCode, Result};
use crate::iam::policy::{Need, PolicyDocument, missing};
use crate::verify::Look;

/// A managed policy as it should be.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// The document that a new policy gets.
    pub document: PolicyDocument,
    /// What an existing document must allow to be left alone; none: it must be the same.
    pub needs: Option<Vec<Need>>,
    /// Tags for a new policy.
    pub tags: Vec<(String, String)>,
    /// Consent to a change that others feel.
    pub allow_shared_change: bool,
}

impl Desired {
    /// True where the policy that exists needs no change.
    pub fn is_met_by(&self, document: &PolicyDocument) -> bool {
        match &self.needs {
            Some(needs) => missing(&[document], needs).is_empty(),
            None => document.same_as(&self.document),
        }
    }
}

/// Creates the policy, or gives it a new default version where its document doesn't hold.
///
/// `others` are the entities that it is attached to and that aren't this command's, or why that can't be read.
///
/// # Errors
/// `PolicyInUse` where a change would reach others without consent.
pub fn step(desired: &Desired, observed: Option<&Policy>, others: &Look<Vec<String>>) -> Result<Step> {
    let Some(policy) = observed else {
        let op = Op::CreatePolicy {
            name: desired.name.clone(),
            arn: desired.arn.clone(),
            document: desired.document.clone(),
            tags: desired.tags.clone(),
        };
        return Ok(Step::new(Action::Create, "Policy", &desired.name, op).because("it doesn't exist"));
    };
    if desired.is_met_by(&policy.document) {
        return Ok(Step::unchanged("Policy", &desired.name));
    }
    if !desired.allow_shared_change {
        refuse_shared(desired, others)?;
    }
    let op = Op::ChangePolicy { arn: policy.arn.clone(), document: desired.document.clone() };
    Ok(Step::new(Action::Update, "Policy", &desired.name, op)
        .because(reason(desired, policy))
        .with_diff(changes(&policy.document.0, &desired.document.0)))
}

fn reason(desired: &Desired, policy: &Policy) -> String {
    let lacking = desired.needs.as_ref().map(|needs| missing(&[&policy.document], needs)).unwrap_or_default();
    match lacking.as_slice() {
        [] => "its document differs".to_owned(),
        needs => format!("it doesn't allow {}", join(needs.iter().map(|need| need.action.as_str()))),
    }
}

fn refuse_shared(desired: &Desired, others: &Look<Vec<String>>) -> Result<()> {
    let users = match others.as_deref() {
        Ok([]) => return Ok(()),
        Ok(others) => format!("it is attached to: {}", join(others.iter().map(String::as_str))),
        Err(why) => format!("whom it is attached to can't be read: {why}"),
    };
    Err(Error::new(ErrorCode::PolicyInUse, format!("policy {} would change for others, too", desired.name))
        .cause(users)
        .hint_consent(
            "another policy name leaves it alone; --allow-shared-policy-change changes it all the same",
            "--allow-shared-policy-change",
        ))
}

fn join<'a>(items: impl Iterator<Item = &'a str>) -> String {
    items.collect::<Vec<_>>().join(", ")
}
