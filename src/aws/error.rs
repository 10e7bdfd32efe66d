//! What AWS said, turned into what a user is told.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::ErrorMetadata;

use crate::error::{Error, ErrorCode, RESUMES, chain};
use crate::iam::denial::Denial;

/// Error codes of refused permissions ("Common errors", AWS API references).
const DENIED: &[&str] = &["AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized"];

/// Error codes of credentials that have expired or aren't known ("Common errors", AWS API references).
const UNACCEPTED: &[&str] = &[
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClient",
    "UnrecognizedClientException",
];

/// Error codes of throttling; the SDK retries them, so that they only surface when the attempts are used up.
const THROTTLED: &[&str] = &[
    "BandwidthLimitExceeded",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// How the error codes begin by which IAM says that something else is being done with the thing ("ConcurrentModification",
/// "EntityTemporarilyUnmodifiable", IAM API Reference).
const BUSY: &[&str] = &["ConcurrentModification", "EntityTemporarilyUnmodifiable"];

/// Error codes of things that don't exist, in the services that are called here.
const ABSENT: &[&str] = &[
    "ChangeSetNotFound",
    "ChangeSetNotFoundException",
    "NoSuchEntity",
    "NoSuchEntityException",
    "NoSuchHostedZone",
    "ResourceNotFoundException",
];

/// True for the code of an answer that says only that there are too many calls.
pub(super) fn is_throttled(code: &str) -> bool {
    THROTTLED.contains(&code)
}

/// True for the code of an answer that says only that something else is being done with the thing at this moment.
pub(super) fn is_busy(code: &str) -> bool {
    BUSY.iter().any(|begin| code.starts_with(begin))
}

/// An answer of AWS that isn't success, with what callers decide on and what users are told.
#[derive(Debug)]
pub(super) struct Refused {
    /// AWS's error code; empty where AWS didn't answer.
    pub(super) code: String,
    /// AWS's own words; empty where AWS didn't answer.
    pub(super) said: String,
    /// It may go well a moment later: AWS failed, or the connection broke, and whether it was done isn't known.
    pub(super) passing: bool,
    /// What the user is told.
    pub(super) error: Box<Error>,
}

impl Refused {
    /// True when AWS says that the thing doesn't exist.
    pub(super) fn is_absent(&self) -> bool {
        ABSENT.contains(&self.code.as_str()) || prose(&self.code, &self.said) == Some(Prose::NoSuchStack)
    }

    /// True when AWS says that a thing of this name exists.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self.code.as_str(), "EntityAlreadyExists" | "EntityAlreadyExistsException" | "AlreadyExistsException")
    }

    /// True when AWS wants fewer calls.
    pub(super) fn is_throttled(&self) -> bool {
        is_throttled(&self.code)
    }

    /// True when AWS refused for lack of permission.
    pub(super) fn is_denied(&self) -> bool {
        self.error.code == ErrorCode::AccessDenied
    }

    /// The same with another code and hint.
    pub(super) fn recoded(self, code: ErrorCode, hint: impl Into<String>) -> Box<Error> {
        let mut error = self.error;
        error.code = code;
        error.hint(hint)
    }
}

impl From<Refused> for Box<Error> {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

impl From<Box<Error>> for Refused {
    fn from(error: Box<Error>) -> Self {
        Self { code: String::new(), said: String::new(), passing: false, error }
    }
}

/// What CloudFormation tells only in English: the error code of all of these is `ValidationError` or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prose {
    /// The stack doesn't exist.
    NoSuchStack,
    /// Template, tags and capabilities are what they were.
    NothingToDo,
    /// Another operation on the stack is going on.
    Busy,
    /// Termination protection is on.
    Protected,
}

/// Reads CloudFormation's sentences; `code` is empty for the reason of a change set's status.
pub(super) fn prose(code: &str, said: &str) -> Option<Prose> {
    if !matches!(code, "" | "ValidationError" | "ValidationException") {
        return None;
    }
    let absent = said.contains("Stack with id") || said.contains("Stack [") || said.contains("Stack '");
    if said.contains("does not exist") && absent {
        return Some(Prose::NoSuchStack);
    }
    let unchanged = ["No updates are to be performed", "didn't contain changes", "didn\u{2019}t contain changes"];
    if unchanged.iter().any(|words| said.contains(words)) {
        return Some(Prose::NothingToDo);
    }
    if said.contains("TerminationProtection is enabled") {
        return Some(Prose::Protected);
    }
    let refused = said.contains("can not be") || said.contains("cannot be");
    (said.contains("_IN_PROGRESS state") && refused).then_some(Prose::Busy)
}

/// The circumstances of a call, for its error.
pub(super) struct Call<'a> {
    /// Service and action as in IAM policies, such as `iam:CreatePolicy`.
    pub(super) operation: &'a str,
    /// What it is about: a name or ARN, or nothing.
    pub(super) object: &'a str,
    /// The endpoint's host, if the call got that far.
    pub(super) host: Option<String>,
    /// What renews the caller's credentials.
    pub(super) renew: &'a str,
}

/// What is known of a failed call, free of the SDK's types.
#[derive(Default)]
struct Facts {
    code: String,
    said: String,
    request_id: Option<String>,
    status: Option<u16>,
    reached: bool,
    timed_out: bool,
    passing: bool,
    no_credentials: Option<String>,
    root: String,
}

/// Turns an SDK error into ours.
pub(super) fn aws_error<E>(call: &Call<'_>, error: &SdkError<E, HttpResponse>) -> Refused
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let meta = error.meta();
    let id = meta.request_id().or_else(|| error.request_id());
    let facts = Facts {
        code: meta.code().unwrap_or_default().to_owned(),
        said: first_line(meta.message().unwrap_or_default()),
        request_id: id.map(str::to_owned),
        status: error.raw_response().map(|response| response.status().as_u16()),
        passing: match error {
            SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
            SdkError::DispatchFailure(failure) => {
                let broken = failure.as_connector_error().is_some_and(|error| error.as_other().is_some());
                failure.is_timeout() || failure.is_io() || broken
            }
            SdkError::ServiceError(answer) => answer.raw().status().as_u16() >= 500,
            _ => false,
        },
        reached: matches!(error, SdkError::ServiceError(_) | SdkError::ResponseError(_)),
        timed_out: match error {
            SdkError::TimeoutError(_) => true,
            SdkError::DispatchFailure(failure) => failure.is_timeout(),
            _ => false,
        },
        no_credentials: chain(error).find_map(|e| e.downcast_ref::<CredentialsError>()).map(|e| innermost(e)),
        root: innermost(error),
    };
    explain(call, facts)
}

fn explain(call: &Call<'_>, facts: Facts) -> Refused {
    let what = match call.object {
        "" => call.operation.to_owned(),
        object => format!("{} of {object}", call.operation),
    };
    let code = facts.code.as_str();
    let error = if let Some(reason) = &facts.no_credentials {
        Error::new(ErrorCode::NoCredentials, format!("{what} failed: no AWS credentials"))
            .cause(reason)
            .hint(call.renew)
    } else if !facts.reached {
        unreached(call, &what, &facts)
    } else if DENIED.contains(&code) {
        denied(call, &what, &facts)
    } else if UNACCEPTED.contains(&code) {
        Error::new(ErrorCode::ExpiredCredentials, format!("{what} failed: AWS doesn't accept the credentials"))
            .cause(sentence(&facts))
            .hint(call.renew)
    } else if is_throttled(code) {
        Error::new(ErrorCode::Throttled, format!("{what} failed: AWS kept throttling"))
            .cause(sentence(&facts))
            .hint(format!("run the same command again in a minute{RESUMES}"))
    } else {
        let error = Error::new(ErrorCode::Aws, format!("{what} failed")).cause(sentence(&facts));
        let service = call.operation.split(':').next().unwrap_or_default();
        if facts.said.contains("is invalid or cannot be assumed") {
            error.hint(NOT_A_SERVICE_ROLE)
        } else if code.starts_with("LimitExceeded") {
            error.hint(format!(
                "a quota of the account is reached: remove what nothing uses, or have it raised \
                 (aws service-quotas list-service-quotas --service-code {service})"
            ))
        } else {
            error
        }
    };
    let error = error.request_id(facts.request_id.as_deref());
    Refused { passing: facts.passing || is_busy(code), code: facts.code, said: facts.said, error }
}

/// CloudFormation's service role.
const NOT_A_SERVICE_ROLE: &str = "CloudFormation must be able to assume the role: its trust policy names the service \
                                  cloudformation.amazonaws.com; --cfn-role-arn gives another one";

fn unreached(call: &Call<'_>, what: &str, facts: &Facts) -> Box<Error> {
    let service = call.operation.split(':').next().unwrap_or(call.operation);
    let host = call.host.clone().unwrap_or_else(|| format!("the endpoint of {service}"));
    let message = if facts.timed_out {
        format!("{what} failed: no answer from {host} in time")
    } else {
        format!("{what} failed: no connection to {host}")
    };
    let error = Error::new(ErrorCode::Aws, message).cause(&facts.root);
    if facts.root.contains("certificate") {
        return error.hint("set AWS_CA_BUNDLE to the file of the authorities that your network's TLS is signed by");
    }
    error.hint(
        "check the network: HTTPS_PROXY, AWS_CA_BUNDLE, AWS_ENDPOINT_URL and the region; a private network needs \
         endpoints for sts, iam, cloudformation and eks",
    )
}

fn denied(call: &Call<'_>, what: &str, facts: &Facts) -> Box<Error> {
    let denial = Denial::parse(&facts.said);
    let action = denial.as_ref().map_or(call.operation, |denial| denial.action);
    let hint = match denial.as_ref().map(|denial| (denial.by, denial.resource)) {
        Some((Some(kind), _)) => format!("{action} is denied by a {kind}: an administrator has to change that one"),
        Some((None, Some(resource))) => format!("the caller needs the IAM action {action} on {resource}"),
        _ => format!("the caller needs the IAM action {action}"),
    };
    Error::new(ErrorCode::AccessDenied, format!("{what} was refused")).cause(sentence(facts)).hint(hint)
}

/// AWS's code and words in one sentence.
fn sentence(facts: &Facts) -> String {
    match (facts.code.as_str(), facts.said.as_str()) {
        ("", "") => match facts.status {
            Some(status) => format!("HTTP status {status}: {}", facts.root),
            None => facts.root.clone(),
        },
        (code, "") => code.to_owned(),
        ("", said) => said.to_owned(),
        (code, said) => format!("{code}: {said}"),
    }
}

/// Signature errors go on with the whole canonical request, security token included: only the first line is told.
fn first_line(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default().trim_end();
    // A sentence that the lines after it would end.
    let whole = line.strip_suffix(':').and_then(|line| line.rsplit_once(". ")).map_or(line, |(whole, _)| whole);
    whole.to_owned()
}

/// The last cause of an error: the SDK's outer ones say no more than "dispatch failure".
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(told).unwrap_or_default()
}

/// All causes of an error, for decisions that AWS's libraries only offer as text.
pub(super) fn all_causes(error: &(dyn StdError + 'static)) -> String {
    chain(error).map(told).collect::<Vec<_>>().join(": ")
}

/// One cause of an error. That of an answer writes AWS's words with their line ends escaped.
fn told(error: &(dyn StdError + 'static)) -> String {
    match error.downcast_ref::<ErrorMetadata>() {
        Some(meta) => first_line(meta.message().or(meta.code()).unwrap_or_default()),
        None => first_line(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str, said: &str) -> Refused {
        let call =
            Call { operation: "iam:CreatePolicy", object: "Dns", host: None, renew: "aws sso login --profile p" };
        let facts = Facts {
            code: code.to_owned(),
            said: said.to_owned(),
            request_id: Some("req-1".to_owned()),
            reached: true,
            ..Facts::default()
        };
        explain(&call, facts)
    }

    #[test]
    fn sentence_no_such_stack() {
        for said in [
            "Stack with id eksctl-demo-addon-x does not exist",
            "Stack [eksctl-demo-addon-x] does not exist",
            "Stack 'eksctl-demo-addon-x' does not exist",
        ] {
            assert_eq!(prose("ValidationError", said), Some(Prose::NoSuchStack), "{said}");
        }
        assert!(refused("ValidationError", "Stack with id x does not exist").is_absent());
        let other = "Template format error: Unresolved resource dependencies: Role1 does not exist";
        assert_eq!(prose("ValidationError", other), None);
        assert_eq!(prose("AccessDenied", "Stack with id x does not exist"), None);
    }

    #[test]
    fn sentence_no_updates() {
        assert_eq!(prose("ValidationError", "No updates are to be performed."), Some(Prose::NothingToDo));
        assert_eq!(prose("", "No updates are to be performed."), Some(Prose::NothingToDo));
    }

    #[test]
    fn sentence_empty_change_set() {
        let said =
            "The submitted information didn't contain changes. Submit different information to create a change set.";
        assert_eq!(prose("", said), Some(Prose::NothingToDo));
    }

    #[test]
    fn sentence_busy() {
        let said = "Stack:arn:aws:cloudformation:us-west-2:123456789012:stack/x/1 is in UPDATE_IN_PROGRESS state and \
                    can not be updated.";
        assert_eq!(prose("ValidationError", said), Some(Prose::Busy));
        let rolled_back = "Stack:arn:x is in ROLLBACK_COMPLETE state and can not be updated.";
        assert_eq!(prose("ValidationError", rolled_back), None);
    }

    #[test]
    fn sentence_protected() {
        let said = "Stack [x] cannot be deleted while TerminationProtection is enabled";
        assert_eq!(prose("ValidationError", said), Some(Prose::Protected));
    }

    #[test]
    fn denied_names_the_action() {
        let said = "User: arn:aws:iam::123456789012:user/dev is not authorized to perform: iam:TagPolicy on resource: \
                    arn:aws:iam::123456789012:policy/Dns because no identity-based policy allows the \
                    iam:TagPolicy action";
        let error = refused("AccessDenied", said).error;
        assert_eq!(error.code, ErrorCode::AccessDenied);
        assert_eq!(error.message, "iam:CreatePolicy of Dns was refused");
        let hint = "the caller needs the IAM action iam:TagPolicy on arn:aws:iam::123456789012:policy/Dns";
        assert_eq!(error.hint.as_deref(), Some(hint));
        assert_eq!(error.request_id.as_deref(), Some("req-1"));
        let plain = refused("AccessDeniedException", "").error;
        assert_eq!(plain.hint.as_deref(), Some("the caller needs the IAM action iam:CreatePolicy"));
    }

    #[test]
    fn a_quota_and_a_role_of_cloudformation_have_hints() {
        let hint = |code: &str, said: &str| refused(code, said).error.hint.unwrap();
        assert!(hint("LimitExceededException", "Limit for stack has been exceeded").contains("list-service-quotas"));
        assert!(hint("ValidationError", "Role arn:… is invalid or cannot be assumed").contains("--cfn-role-arn"));
    }

    #[test]
    fn explicit_deny_names_the_kind_of_policy() {
        let said = "User: x is not authorized to perform: iam:CreatePolicy on resource: policy Dns with \
                    an explicit deny in a service control policy";
        let hint = refused("AccessDenied", said).error.hint.unwrap();
        assert!(hint.contains("service control policy"), "{hint}");
    }

    #[test]
    fn expired_and_throttled_have_codes_of_their_own() {
        let expired = refused("ExpiredTokenException", "The security token included in the request is expired").error;
        assert_eq!(expired.code, ErrorCode::ExpiredCredentials);
        assert_eq!(expired.hint.as_deref(), Some("aws sso login --profile p"));
        assert_eq!(refused("Throttling", "Rate exceeded").error.code, ErrorCode::Throttled);
        let other = refused("MalformedPolicyDocument", "Syntax errors in policy.").error;
        assert_eq!(
            other.to_string(),
            "iam:CreatePolicy of Dns failed: MalformedPolicyDocument: Syntax errors in policy."
        );
    }

    #[test]
    fn no_connection_names_the_host() {
        let host = Some("iam.amazonaws.com".to_owned());
        let call = Call { operation: "iam:GetRole", object: "x", host, renew: "" };
        let error = explain(&call, Facts { root: "Connection refused".to_owned(), ..Facts::default() }).error;
        assert_eq!(
            error.to_string(),
            "iam:GetRole of x failed: no connection to iam.amazonaws.com: Connection refused"
        );
    }

    type StsError = SdkError<aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityError, HttpResponse>;

    #[test]
    fn errors_of_the_sdk_are_told_apart() {
        let call = Call { operation: "sts:GetCallerIdentity", object: "", host: None, renew: "aws configure" };
        let none = StsError::construction_failure(CredentialsError::not_loaded("no keys"));
        let error = aws_error(&call, &none).error;
        assert_eq!(error.code, ErrorCode::NoCredentials);
        assert_eq!(error.hint.as_deref(), Some("aws configure"));
        let slow = aws_error(&call, &StsError::timeout_error("20 s are over")).error;
        assert_eq!(slow.code, ErrorCode::Aws);
        assert!(slow.message.contains("no answer from the endpoint of sts"), "{slow}");
    }

    #[test]
    fn untrusted_certificates_name_the_bundle() {
        let call = Call { operation: "iam:GetRole", object: "x", host: None, renew: "" };
        let facts = Facts { root: "invalid peer certificate: UnknownIssuer".to_owned(), ..Facts::default() };
        assert!(explain(&call, facts).error.hint.unwrap().contains("AWS_CA_BUNDLE"));
    }

    #[test]
    fn what_passes_is_told_from_what_stays() {
        type StsError = SdkError<aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityError, HttpResponse>;
        let call = Call { operation: "sts:GetCallerIdentity", object: "", host: None, renew: "" };
        assert!(aws_error(&call, &StsError::timeout_error("20 s are over")).passing);
        assert!(!aws_error(&call, &StsError::construction_failure(CredentialsError::not_loaded("no keys"))).passing);
        for (code, passing) in [
            ("ConcurrentModification", true),
            ("EntityTemporarilyUnmodifiableException", true),
            ("LimitExceeded", false),
            ("Throttling", false),
        ] {
            assert_eq!(refused(code, "").passing, passing, "{code}");
        }
    }

    #[test]
    fn canonical_requests_are_never_told() {
        use aws_sdk_sts::operation::assume_role::AssumeRoleError;

        let said = "The request signature we calculated does not match.\n\nCanonical …x-amz-security-token:SECRET";
        assert_eq!(first_line(said), "The request signature we calculated does not match.");
        let meta = ErrorMetadata::builder().code("SignatureDoesNotMatch").message(said).build();
        let error = CredentialsError::provider_error(AssumeRoleError::generic(meta));
        for told in [innermost(&error), all_causes(&error)] {
            assert!(told.ends_with("The request signature we calculated does not match."), "{told}");
        }
    }
}
