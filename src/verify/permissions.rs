//! What the policies of a role don't grant, and what is in the way.

use std::fmt;

use serde_json::{Value, json};

use super::Look;
use crate::aws::iam::Refusal;
use crate::iam::policy::{Access, Need, PolicyDocument, access, is_denied};

/// A policy of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// An inline policy, by name.
    Inline(String),
    /// A managed policy, by ARN.
    Managed(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(name) => write!(f, "its inline policy {name}"),
            Self::Managed(arn) => write!(f, "policy {arn}"),
        }
    }
}

/// What decides about a role's permissions, as far as its own documents tell.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// Its policies.
    pub held: Vec<(Holder, PolicyDocument)>,
    /// Its permissions boundary.
    pub boundary: Option<PolicyDocument>,
}

/// A permission that isn't granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What is needed.
    pub need: Need,
    /// What is in the way.
    pub why: Why,
}

/// Why a permission isn't granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing allows it.
    Missing,
    /// Conditions decide, which can't be judged from here.
    Conditional,
    /// A statement denies it; of this policy, where it is known.
    Denied(Option<Holder>),
    /// The permissions boundary doesn't allow it.
    Boundary,
    /// The organisation doesn't allow it.
    Organisation,
}

impl From<Refusal> for Lack {
    fn from(refusal: Refusal) -> Self {
        let reasons = [
            (refusal.organisation, Why::Organisation),
            (refusal.boundary, Why::Boundary),
            (refusal.explicit, Why::Denied(None)),
            (refusal.conditional, Why::Conditional),
        ];
        let why = reasons.into_iter().find_map(|(holds, why)| holds.then_some(why)).unwrap_or(Why::Missing);
        Self { need: refusal.need, why }
    }
}

impl Policies {
    /// The needs that aren't granted.
    pub fn lacking(&self, needs: &[Need]) -> Vec<Lack> {
        let lack = |need: &Need| self.judge(need).map(|why| Lack { need: need.clone(), why });
        needs.iter().filter_map(lack).collect()
    }

    fn judge(&self, need: &Need) -> Option<Why> {
        let documents: Vec<_> = self.held.iter().map(|(_, document)| document).collect();
        let own = access(&documents, need);
        if own == Access::Missing {
            let denying = self.held.iter().find(|(_, document)| is_denied(&[document], need));
            return Some(denying.map_or(Why::Missing, |(holder, _)| Why::Denied(Some(holder.clone()))));
        }
        match self.boundary.as_ref().map(|boundary| access(&[boundary], need)) {
            Some(Access::Missing) => Some(Why::Boundary),
            Some(Access::Conditional) => Some(Why::Conditional),
            _ => (own == Access::Conditional).then_some(Why::Conditional),
        }
    }
}

/// What IAM's simulator finds missing, explained by the documents; these alone judge where the simulator may not be asked.
///
/// # Errors
/// Why neither could be had.
pub fn judged(simulated: Look<Vec<Lack>>, local: Look<Vec<Lack>>) -> Look<Vec<Lack>> {
    match (simulated, local) {
        (Ok(simulated), Ok(local)) => Ok(simulated.into_iter().map(|lack| explained(lack, &local)).collect()),
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(why), Err(also)) => Err(format!("{why}; {also}")),
    }
}

/// The simulator doesn't say which policy denies, and asks for the values of conditions that decide nothing.
fn explained(lack: Lack, local: &[Lack]) -> Lack {
    match local.iter().find(|other| other.need == lack.need) {
        Some(known) if matches!(lack.why, Why::Denied(None) | Why::Conditional) => known.clone(),
        _ => lack,
    }
}

/// The statements that grant needs.
pub fn statements<'a>(needs: impl IntoIterator<Item = &'a Need>) -> Vec<Value> {
    let mut actions: Vec<(&str, Vec<&str>)> = Vec::new();
    for need in needs {
        match actions.iter_mut().find(|(resource, _)| *resource == need.resource) {
            Some((_, actions)) => actions.push(&need.action),
            None => actions.push((&need.resource, vec![&need.action])),
        }
    }
    let statement =
        |(resource, actions): (&str, Vec<&str>)| json!({"Effect": "Allow", "Action": actions, "Resource": resource});
    actions.into_iter().map(statement).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(effect: &str, action: &str) -> PolicyDocument {
        PolicyDocument(json!({"Statement": [{"Effect": effect, "Action": action, "Resource": "*"}]}))
    }

    fn inline(name: &str) -> Holder {
        Holder::Inline(name.to_owned())
    }

    #[test]
    fn what_is_in_the_way_is_told() {
        let need = Need::new("s3:GetObject", "arn:aws:s3:::b/*");
        let why = |held: &[(&str, PolicyDocument)], boundary: Option<PolicyDocument>| {
            let held = held.iter().map(|(name, document)| (inline(name), document.clone())).collect();
            let lacking = Policies { held, boundary }.lacking(std::slice::from_ref(&need));
            lacking.into_iter().next().map(|lack| lack.why)
        };
        let allow = ("a", policy("Allow", "s3:*"));
        let deny = ("d", policy("Deny", "s3:GetObject"));
        assert_eq!(why(&[], None), Some(Why::Missing));
        assert_eq!(why(std::slice::from_ref(&allow), None), None);
        assert_eq!(why(&[allow.clone(), deny], None), Some(Why::Denied(Some(inline("d")))));
        assert_eq!(why(std::slice::from_ref(&allow), Some(policy("Allow", "ec2:*"))), Some(Why::Boundary));
        assert_eq!(why(std::slice::from_ref(&allow), Some(policy("Allow", "*"))), None);
        let conditional = json!({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {"Bool": {"aws:SecureTransport": "true"}}}]});
        assert_eq!(why(&[allow], Some(PolicyDocument(conditional))), Some(Why::Conditional));
    }

    #[test]
    fn the_simulator_judges_and_the_documents_explain() {
        let lack = |why: &Why| vec![Lack { need: Need::new("a:B", "*"), why: why.clone() }];
        let denied = Why::Denied(Some(inline("d")));
        for (simulated, local, wanted) in [
            (Why::Denied(None), &denied, &denied),
            (Why::Conditional, &Why::Missing, &Why::Missing),
            (Why::Organisation, &Why::Missing, &Why::Organisation),
        ] {
            assert_eq!(judged(Ok(lack(&simulated)), Ok(lack(local))), Ok(lack(wanted)));
        }
        assert_eq!(judged(Ok(Vec::new()), Ok(lack(&Why::Missing))), Ok(Vec::new()), "the simulator knows more");
        let refused = || Err("no".to_owned());
        assert_eq!(judged(refused(), Ok(lack(&Why::Boundary))), Ok(lack(&Why::Boundary)));
        assert_eq!(judged(refused(), refused()), Err("no; no".to_owned()));
    }

    #[test]
    fn statements_grant_what_is_lacking() {
        let needs = [Need::new("a:B", "x"), Need::new("a:D", "*"), Need::new("a:C", "x")];
        let found = statements(&needs);
        assert_eq!(found[0], json!({"Effect": "Allow", "Action": ["a:B", "a:C"], "Resource": "x"}));
        assert_eq!(found[1], json!({"Effect": "Allow", "Action": ["a:D"], "Resource": "*"}));
        let document = PolicyDocument(json!({"Statement": found}));
        let policies = Policies { held: vec![(inline("new"), document)], boundary: None };
        assert_eq!(policies.lacking(&needs), []);
    }
}
