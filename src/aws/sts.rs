//! Who the caller is, and roles.

use std::time::SystemTime;

use aws_credential_types::Credentials;

use super::Aws;
use super::error::Refused;
use crate::error::{Error, ErrorCode, Result};
use crate::iam::arn::{Arn, Partition};

/// The identity behind the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Twelve digits.
    pub account: String,
    /// ARN of the user, or of the session of an assumed role.
    pub arn: String,
    /// The partition of the ARN.
    pub partition: Partition,
}

impl Caller {
    /// The ARN as IAM knows it: a session's role instead of the session, without the role's path, which STS leaves
    /// out. That's the name in access entries and aws-auth mappings.
    pub fn principal(&self) -> String {
        let Ok(arn) = self.arn.parse::<Arn>() else { return self.arn.clone() };
        let mut parts = arn.resource.split('/');
        match (arn.service.as_str(), parts.next(), parts.next()) {
            ("sts", Some("assumed-role"), Some(role)) => {
                format!("arn:{}:iam::{}:role/{role}", arn.partition, arn.account)
            }
            _ => self.arn.clone(),
        }
    }
}

impl Aws {
    /// Asks who the caller is; needs no permission.
    ///
    /// # Errors
    /// `ExpiredCredentials` and the like.
    pub async fn caller(&self) -> Result<Caller> {
        let answer = self.send("sts:GetCallerIdentity", "", self.sts().get_caller_identity().send()).await?;
        let arn = answer.arn.unwrap_or_default();
        let account = answer.account.unwrap_or_default();
        let partition = arn.parse::<Arn>().ok().and_then(|arn| Partition::new(&arn.partition).ok());
        Ok(Caller { account, partition: partition.unwrap_or_else(|| self.partition()), arn })
    }

    /// AWS as a role that a web identity token (of a Kubernetes service account) is exchanged for. The exchange needs
    /// no credentials of the caller.
    ///
    /// # Errors
    /// `RoleNotUsable` when STS refuses the token or the role's trust policy the subject. A new role or provider is
    /// refused for some seconds.
    pub async fn assume_role_with_web_identity(&self, role_arn: &str, token: &str, session: &str) -> Result<Self> {
        let request = self
            .sts()
            .assume_role_with_web_identity()
            .role_arn(role_arn)
            .role_session_name(session)
            .web_identity_token(token);
        let answer = self.send("sts:AssumeRoleWithWebIdentity", role_arn, request.send()).await;
        let answer = answer.map_err(web_identity_refused)?;
        self.assumed(role_arn, answer.credentials)
    }

    /// AWS as another role, with the external id that its trust policy asks for, if any.
    ///
    /// # Errors
    /// `RoleNotUsable` when the caller isn't allowed to, or isn't trusted.
    pub async fn assume_role(&self, role_arn: &str, external_id: Option<&str>) -> Result<Self> {
        let request = self
            .sts()
            .assume_role()
            .role_arn(role_arn)
            .role_session_name("irsactl")
            .set_external_id(external_id.map(str::to_owned));
        let answer = self.send("sts:AssumeRole", role_arn, request.send()).await.map_err(|refused| {
            if refused.is_denied() {
                let hint = format!(
                    "the caller needs sts:AssumeRole on {role_arn}, and the role's trust policy has to allow it \
                     (external id included)"
                );
                return refused.recoded(ErrorCode::RoleNotUsable, hint);
            }
            refused.into()
        })?;
        self.assumed(role_arn, answer.credentials)
    }

    fn assumed(&self, role_arn: &str, credentials: Option<aws_sdk_sts::types::Credentials>) -> Result<Self> {
        let missing = || Error::new(ErrorCode::Aws, format!("STS gave no credentials for {role_arn}"));
        let given = credentials.ok_or_else(missing)?;
        let expiry = SystemTime::try_from(given.expiration).ok();
        let token = Some(given.session_token);
        let credentials = Credentials::new(given.access_key_id, given.secret_access_key, token, expiry, "irsactl");
        let renew = format!("the session of {role_arn} is over: run the same command again");
        Ok(self.with_credentials(credentials, renew))
    }
}

/// STS's answers to a token that it doesn't take, one link of the chain each.
fn web_identity_refused(refused: Refused) -> Box<Error> {
    let said = refused.said.to_lowercase();
    let hint = match refused.code.as_str() {
        "AccessDenied" | "AccessDeniedException" => "the role's trust policy doesn't allow this service account",
        "InvalidIdentityToken" | "InvalidIdentityTokenException" if said.contains("provider") => {
            "IAM has no OIDC provider for the cluster's issuer"
        }
        "InvalidIdentityToken" | "InvalidIdentityTokenException" if said.contains("audience") => {
            "the IAM OIDC provider lacks the audience sts.amazonaws.com"
        }
        "InvalidIdentityToken" | "InvalidIdentityTokenException" => "STS doesn't take the service account's token",
        "IDPRejectedClaim" | "IDPRejectedClaimException" => "the cluster's issuer rejects the token",
        "IDPCommunicationError" | "IDPCommunicationErrorException" => "STS can't read the keys of the cluster's issuer",
        "ExpiredTokenException" => "the service account's token has expired",
        _ => return refused.into(),
    };
    refused.recoded(ErrorCode::RoleNotUsable, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(arn: &str) -> Caller {
        Caller { account: "123456789012".to_owned(), arn: arn.to_owned(), partition: Partition::aws() }
    }

    #[test]
    fn principal_of_a_session_is_the_role() {
        let session = caller("arn:aws:sts::123456789012:assumed-role/admin/me@example.com");
        assert_eq!(session.principal(), "arn:aws:iam::123456789012:role/admin");
        let user = caller("arn:aws:iam::123456789012:user/team/me");
        assert_eq!(user.principal(), user.arn);
    }

    #[test]
    fn refused_tokens_name_the_link() {
        let refused = |code: &str, said: &str| Refused {
            code: code.to_owned(),
            said: said.to_owned(),
            passing: false,
            error: Error::new(ErrorCode::Aws, "sts:AssumeRoleWithWebIdentity failed"),
        };
        let hint = |code, said| {
            let error = web_identity_refused(refused(code, said));
            assert_eq!(error.code, ErrorCode::RoleNotUsable);
            error.hint.unwrap()
        };
        let no_provider =
            "No OpenIDConnect provider found in your account for https://oidc.eks.us-west-2.amazonaws.com/id/A";
        assert!(
            hint("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity").contains("trust policy")
        );
        assert!(hint("InvalidIdentityToken", no_provider).contains("no OIDC provider"));
        assert!(hint("InvalidIdentityToken", "Incorrect token audience").contains("audience"));
        assert_eq!(web_identity_refused(refused("ValidationError", "x")).code, ErrorCode::Aws);
    }
}
