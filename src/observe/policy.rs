//! A managed policy, and who else uses it.

use std::collections::HashSet;

use crate::aws::Aws;
use crate::aws::iam::Policy;
use crate::error::{Error, ErrorCode, Result};
use crate::iam::policy::PolicyDocument;
use crate::plan::externaldns::guards::no_zone;
use crate::plan::policy::Desired;
use crate::ui::Ui;
use crate::verify::Look;

/// The entities that the policy is attached to besides `own_role`, asked for only where it must change, or why they can't
/// be read: then it counts as in use.
pub(crate) async fn others(
    aws: &Aws,
    desired: &Desired,
    found: Option<&Policy>,
    own_role: Option<&str>,
) -> Result<Look<Vec<String>>> {
    if found.is_none_or(|policy| desired.is_met_by(&policy.document)) {
        return Ok(Ok(Vec::new()));
    }
    let own = own_role.map(|role| format!("role/{role}"));
    let users = users(aws, &desired.arn).await?;
    Ok(users.map(|users| users.into_iter().filter(|user| Some(user) != own.as_ref()).collect()))
}

/// Who has the policy, or why that can't be read.
pub(crate) async fn users(aws: &Aws, arn: &str) -> Result<Look<Vec<String>>> {
    match aws.policy_users(arn).await {
        Ok(users) => Ok(Ok(users)),
        Err(error) => refusal(error).map(Err),
    }
}

/// What AWS said where it doesn't let the caller look.
fn refusal(error: Box<Error>) -> Result<String> {
    if error.code == ErrorCode::AccessDenied { Ok(error.to_string()) } else { Err(error) }
}

/// Fails where one of these hosted zones doesn't exist.
pub(crate) async fn check_zones(aws: &Aws, ui: &Ui, ids: &[String]) -> Result<()> {
    let checks = ids.iter().map(|id| async move {
        match aws.zone(id).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(no_zone(id)),
            // A policy can be written without the right to look at the zones.
            Err(error) if error.code == ErrorCode::AccessDenied => {
                ui.warn(&format!("whether there is a hosted zone {id} can't be read: {error}"));
                Ok(())
            }
            Err(error) => Err(error),
        }
    });
    futures::future::try_join_all(checks).await.map(drop)
}

/// The documents of managed policies that must exist; those that can't be read are left out, with a warning.
pub(crate) async fn documents(aws: &Aws, ui: &Ui, flag: &str, arns: &[String]) -> Result<Vec<PolicyDocument>> {
    let reads = arns.iter().map(|arn| async move {
        match aws.policy(arn).await {
            Ok(found) => Ok(Some(found.ok_or_else(|| missing(flag, arn))?.document)),
            Err(error) if error.code == ErrorCode::AccessDenied => {
                ui.warn(&unreadable(flag, arn, &error));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    });
    Ok(futures::future::try_join_all(reads).await?.into_iter().flatten().collect())
}

const LIST_POLICIES: &str = "aws iam list-policies --query 'Policies[].Arn' lists the policies that there are";

fn missing(place: &str, arn: &str) -> Box<Error> {
    Error::new(ErrorCode::NotFound, no_policy(place, arn)).hint(LIST_POLICIES)
}

fn no_policy(place: &str, arn: &str) -> String {
    format!("{place}: there is no policy {arn}")
}

fn unreadable(flag: &str, arn: &str, error: &Error) -> String {
    format!("{flag}: whether there is a policy {arn} can't be read: {error}")
}

/// A managed policy that a flag or a file names.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// The flag, or the place in the file.
    pub(crate) place: String,
    /// The policy.
    pub(crate) arn: String,
}

/// The most places that are told at once.
const MOST: usize = 20;

/// Fails where one of these managed policies doesn't exist, with every place that names such a one.
pub(crate) async fn check_exist(aws: &Aws, ui: &Ui, named: &[Named]) -> Result<()> {
    let mut first_uses: Vec<_> = named.iter().collect();
    first_uses.sort_by_key(|named| &named.arn);
    first_uses.dedup_by_key(|named| &named.arn);
    let checks = first_uses.into_iter().map(|Named { place, arn }| async move {
        match aws.policy_exists(arn).await {
            Ok(exists) => Ok((!exists).then_some(arn)),
            // Attaching tells, where looking isn't allowed.
            Err(error) if error.code == ErrorCode::AccessDenied => {
                ui.warn(&unreadable(place, arn, &error));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    });
    let gone: HashSet<_> = futures::future::try_join_all(checks).await?.into_iter().flatten().collect();
    let lost: Vec<_> = named.iter().filter(|named| gone.contains(&named.arn)).collect();
    match lost.as_slice() {
        [] => Ok(()),
        [only] => Err(missing(&only.place, &only.arn)),
        many => Err(all_missing(many)),
    }
}

fn all_missing(lost: &[&Named]) -> Box<Error> {
    let mut error = Error::new(ErrorCode::NotFound, "there are no such policies").hint(LIST_POLICIES);
    error.causes.extend(lost.iter().take(MOST).map(|Named { place, arn }| no_policy(place, arn)));
    if lost.len() > MOST {
        error.causes.push(format!("{} more places", lost.len() - MOST));
    }
    error
}
