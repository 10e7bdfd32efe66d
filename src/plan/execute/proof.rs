//! The proof of a role: a token of the service account is exchanged at STS, and the zones listed with it.

use std::time::Duration;

use super::Tools;
use crate::error::{ErrorCode, Result};
use crate::iam::policy::assume_role_trust;
use crate::iam::trust::AUDIENCE;
use crate::plan::Proof;
use crate::ui::Task;
use crate::wait::jittered;

/// IAM is eventually consistent: a new role is refused for seconds ("Changes that I make are not
/// always immediately visible", IAM User Guide).
const PROPAGATION: Duration = Duration::from_mins(2);

/// Proves that the service account may use its role, as often as it takes until IAM has heard of it.
///
/// # Errors
/// `RoleNotUsable` where it is still refused after two minutes.
pub async fn prove(proof: &Proof, tools: &Tools<'_>, task: &Task) -> Result<()> {
    let role = tools.role(&proof.role)?;
    task.detail("a token of the service account is exchanged at STS");
    let kubernetes = tools.kubernetes()?;
    let token = kubernetes.token(&proof.namespace, &proof.service_account, AUDIENCE).await?;
    let wait = tools.wait.at_most(PROPAGATION);
    let mut pause = Duration::from_millis(200);
    let mut refusal = None;
    loop {
        let end = match attempt(proof, &role, &token, tools).await {
            Ok(()) => return Ok(()),
            Err(error) if may_pass(error.code) => {
                task.detail("STS refuses the role still: a new one takes seconds");
                refusal = Some(error);
                wait.before_next(jittered(pause)).await.err()
            }
            Err(error) => Some(error),
        };
        if let Some(end) = end {
            let refused = refusal.filter(|_| end.code == ErrorCode::Timeout);
            return Err(refused.map_or(end, |refusal| unusable(proof, &role, &refusal)));
        }
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

async fn attempt(proof: &Proof, role: &str, token: &str, tools: &Tools<'_>) -> Result<()> {
    let assumed = tools.aws.assume_role_with_web_identity(role, token, "irsactl").await?;
    match &proof.assume {
        Some((second, external_id)) => {
            assumed.assume_role(second, external_id.as_deref()).await?.zones().await.map(drop)
        }
        None => assumed.zones().await.map(drop),
    }
}

fn may_pass(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::RoleNotUsable | ErrorCode::AccessDenied | ErrorCode::ExpiredCredentials | ErrorCode::NotFound
    )
}

fn unusable(proof: &Proof, role: &str, refusal: &crate::error::Error) -> Box<crate::error::Error> {
    let account = format!("{}/{}", proof.namespace, proof.service_account);
    let mut error = crate::error::Error::new(
        ErrorCode::RoleNotUsable,
        format!("ServiceAccount {account} can't use role {role}; no pod was started"),
    )
    .cause(refusal.to_string());
    if let Some((second, external_id)) = &proof.assume {
        let trust = assume_role_trust(role, external_id.as_deref()).to_json();
        error =
            error.hint(format!("{second} must be allowed to list hosted zones, and its trust policy allow: {trust}"));
    }
    let lacking = refusal.to_string().contains("no identity-based policy allows");
    error.or_hint(|| {
        if lacking {
            "the role's policies don't allow it: attach one that does, or leave --attach-policy-arn and --role-arn out"
        } else {
            "the trust policy was just checked: look for a service control policy of the organisation, or a permissions \
             boundary, that denies it"
        }
        .to_owned()
    })
}
