//! A managed policy, and who else uses it.

use crate::aws::Aws;
use crate::aws::iam::Policy;
use crate::error::{Error, ErrorCode, Result};
use crate::plan::policy::Desired;

/// The policy, and the entities that it is attached to besides `own_role`, which are asked for only where it must
/// change; none where they can't be read: then it counts as in use.
pub(crate) async fn policy(
    aws: &Aws,
    desired: &Desired,
    own_role: Option<&str>,
) -> Result<(Option<Policy>, Option<Vec<String>>)> {
    let found = aws.policy(&desired.arn).await?;
    let users = match &found {
        Some(policy) if !desired.is_met_by(&policy.document) => match aws.policy_users(&desired.arn).await {
            Ok(users) => Some(users),
            Err(error) if error.code == ErrorCode::AccessDenied => None,
            Err(error) => return Err(error),
        },
        _ => Some(Vec::new()),
    };
    let own = own_role.map(|role| format!("role/{role}"));
    let others = users.map(|users| users.into_iter().filter(|user| Some(user) != own.as_ref()).collect());
    Ok((found, others))
}

/// Fails where one of these managed policies doesn't exist.
pub(crate) async fn check_exist(aws: &Aws, flag: &str, arns: &[String]) -> Result<()> {
    let checks = arns.iter().map(|arn| async move {
        match aws.policy_exists(arn).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::new(ErrorCode::NotFound, format!("{flag}: there is no policy {arn}"))
                .hint("aws iam list-policies lists the policies that there are")),
            // Attaching tells, where looking isn't allowed.
            Err(error) if error.code == ErrorCode::AccessDenied => Ok(()),
            Err(error) => Err(error),
        }
    });
    futures::future::try_join_all(checks).await.map(drop)
}
