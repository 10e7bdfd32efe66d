//! Why a stack failed, from its events.

use std::fmt;

use jiff::Timestamp;

use crate::iam::denial::Denial;
use crate::shell::Command;

const STACK_TYPE: &str = "AWS::CloudFormation::Stack";

/// One event of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The resource in the template; the stack's name for the stack itself.
    pub logical_id: String,
    /// `AWS::IAM::Role` and the like.
    pub resource_type: String,
    /// `CREATE_FAILED` and the like.
    pub status: String,
    /// What CloudFormation says to it.
    pub reason: Option<String>,
    /// The client request token of the operation.
    pub token: Option<String>,
    /// When.
    pub time: Timestamp,
}

/// The first failure of an operation on a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `Role1 (AWS::IAM::Role)`.
    pub resource: String,
    /// What the service answered, without CloudFormation's wrapping.
    pub reason: String,
    /// The handler's error code, such as `AlreadyExists`.
    pub code: Option<String>,
    /// The request id at the service.
    pub request_id: Option<String>,
    /// What to do, for known causes.
    pub hint: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.resource, self.reason)
    }
}

/// The first resource that failed in the newest operation among `events`, newest first as
/// CloudFormation lists them, or oldest first; none while nothing has failed. Resources that were
/// only cancelled for another's failure don't count.
pub fn explain(events: &[Event]) -> Option<Failure> {
    let events = newest_operation(events);
    let failed = |event: &&&Event| event.status.ends_with("_FAILED") && !is_cancelled(event);
    let resource = events.iter().find(|event| failed(event) && event.resource_type != STACK_TYPE);
    let stack = || {
        let stack = events.iter().filter(|event| event.resource_type == STACK_TYPE && event.reason.is_some());
        stack.into_iter().find(|event| failed(event) || event.status.contains("ROLLBACK_IN_PROGRESS"))
    };
    resource.or_else(stack).map(|event| failure(event))
}

/// The events from the start of the last operation on, oldest first.
fn newest_operation(events: &[Event]) -> Vec<&Event> {
    let mut sorted: Vec<&Event> = events.iter().collect();
    // CloudFormation lists the newest first; events of one instant keep their order.
    let newest_first = events.first().zip(events.last()).is_some_and(|(first, last)| first.time >= last.time);
    if newest_first {
        sorted.reverse();
    }
    sorted.sort_by_key(|event| event.time);
    let begins = |event: &&Event| {
        let by_user = ["CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "REVIEW_IN_PROGRESS"];
        event.resource_type == STACK_TYPE && by_user.contains(&event.status.as_str())
    };
    let start = sorted.iter().rposition(begins).unwrap_or(0);
    sorted.split_off(start)
}

fn is_cancelled(event: &Event) -> bool {
    let reason = event.reason.as_deref().unwrap_or_default();
    reason.contains("cancelled") || reason.contains("canceled")
}

fn failure(event: &Event) -> Failure {
    let given = event.reason.as_deref().filter(|reason| !reason.trim().is_empty());
    let text = given.unwrap_or("CloudFormation gives no reason");
    let field = |name: &str| {
        let (_, rest) = text.split_once(name)?;
        let value = rest.split([',', ')']).next()?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    };
    let code = field("HandlerErrorCode: ").or_else(|| field("Error Code: "));
    let reason = unwrapped(text);
    let hint = hint(&reason, code.as_deref().unwrap_or_default());
    Failure {
        resource: format!("{} ({})", event.logical_id, event.resource_type),
        request_id: field("Request ID: "),
        reason,
        code,
        hint,
    }
}

/// The service's sentence out of `Resource handler returned message: "… (Service: Iam, …)"
/// (RequestToken: …, HandlerErrorCode: …)`.
fn unwrapped(said: &str) -> String {
    let text = said.strip_prefix("Resource handler returned message: ").unwrap_or(said);
    let cut = ["(RequestToken:", "(Service:"].iter().filter_map(|mark| text.find(mark)).min().unwrap_or(text.len());
    let sentence = text[..cut].trim().trim_matches('"').trim();
    if sentence.is_empty() { said.to_owned() } else { sentence.to_owned() }
}

/// A cause that people meet with roles: words of which one is in the reason, or the handler's code.
struct Cause {
    words: &'static [&'static str],
    code: &'static str,
    hint: &'static str,
}

/// The first that fits counts (messages of IAM and of CloudFormation's IAM handlers).
const CAUSES: &[Cause] = &[
    Cause {
        words: &["accessdenied", "access denied", "not authorized"],
        code: "AccessDenied",
        hint: "the credentials, or the role of --cfn-role-arn, lack a permission",
    },
    Cause {
        words: &["already exists", "alreadyexists"],
        code: "AlreadyExists",
        hint: "choose another --role-name (in a file: roleName), or use the existing role with --attach-role-arn \
               (in a file: attachRoleARN)",
    },
    Cause {
        words: &["must detach", "deleteconflict", "delete conflict"],
        code: "",
        hint: "something was attached to the role outside the stack: detach it (aws iam detach-role-policy), \
               then delete again",
    },
    Cause {
        words: &["policiesperrole"],
        code: "",
        hint: "a role takes 10 managed policies, or 25 once that IAM quota is raised: attach fewer, or say what some \
               of them say in one policy",
    },
    Cause {
        words: &["maximum policy size"],
        code: "",
        hint: "the inline policies of a role have 10,240 characters at most: shorten them, or make a managed policy \
               of them (aws iam create-policy) and attach that",
    },
    Cause {
        words: &["aclsizeperrole"],
        code: "",
        hint: "a trust policy has 2,048 characters at most, or 8,192 once that IAM quota is raised: shorten it",
    },
    Cause {
        words: &["rolesperaccount", "quota for roles"],
        code: "",
        hint: "the account has as many roles as its IAM quota allows (aws iam get-account-summary): delete some that \
               nothing uses, or have the quota raised",
    },
    Cause {
        words: &["quota", "limitexceeded", "limit exceeded", "cannot exceed"],
        code: "ServiceLimitExceeded",
        hint: "an IAM quota is reached (aws iam get-account-summary): remove what nothing uses, or have it raised",
    },
    Cause {
        words: &["malformedpolicydocument", "syntax errors in policy", "invalid principal", "has prohibited field"],
        code: "",
        hint: "IAM does not take the policy document: check the inline policy, and that the OIDC provider exists",
    },
    Cause {
        words: &["rate exceeded", "throttl"],
        code: "Throttling",
        hint: "AWS was throttling: run the same command again",
    },
    Cause {
        words: &["security token", "expiredtoken", "invalidclienttokenid"],
        code: "",
        hint: "the credentials expired while the stack was being made: renew them and run the same command again",
    },
];

fn hint(reason: &str, code: &str) -> Option<String> {
    if let Some(denial) = Denial::parse(reason) {
        return Some(denied(&denial));
    }
    let lower = reason.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let known = CAUSES.iter().find(|cause| has(cause.words) || (!cause.code.is_empty() && cause.code == code));
    known.map(|cause| cause.hint.to_owned()).or_else(|| {
        let absent = ["does not exist or is not attachable", "nosuchentity", "cannot be found", "not found"];
        (has(&absent) || code == "NotFound" || has(&["boundary"])).then(|| absent_policy(reason, &lower))
    })
}

/// Whose right is missing: CloudFormation works with the caller's, or with those of a role.
fn denied(denial: &Denial<'_>) -> String {
    let Denial { principal, action, resource, by } = denial;
    let session = principal.and_then(|arn| arn.split_once(":assumed-role/")).map(|(_, session)| session);
    let who = match session.and_then(|session| session.strip_suffix("/AWSCloudFormation")) {
        Some(role) => format!("role {role}, with whose rights CloudFormation works on the stack (--cfn-role-arn),"),
        None => "the caller, with whose rights CloudFormation works on the stack,".to_owned(),
    };
    let on = resource.map(|resource| format!(" on {resource}")).unwrap_or_default();
    let hint = match by {
        Some(kind) => format!("{who} is denied {action} by a {kind}: an administrator has to change that one"),
        None => format!("{who} needs the IAM action {action}{on}"),
    };
    // AWS doesn't say which condition wasn't met.
    let bounded = [
        "iam:CreateRole",
        "iam:PutRolePermissionsBoundary",
        "iam:DeleteRolePermissionsBoundary",
        "iam:AttachRolePolicy",
        "iam:PutRolePolicy",
        "iam:DetachRolePolicy",
        "iam:DeleteRolePolicy",
    ];
    if bounded.contains(action) {
        hint + "; where that is allowed with a certain permissions boundary only, give it with --permissions-boundary"
    } else {
        hint
    }
}

fn absent_policy(reason: &str, lower: &str) -> String {
    let boundary = lower.contains("boundary") || lower.contains("scope arn");
    let flag = if boundary { "--permissions-boundary" } else { "--attach-policy-arn" };
    let mut words = reason.split_whitespace().map(|word| word.trim_matches(['"', '.', ',']));
    match words.find(|word| word.starts_with("arn:")) {
        Some(arn) => {
            let command = Command::new("aws iam get-policy").with("--policy-arn", arn);
            format!("check the ARN given with {flag}: {command}")
        }
        None => format!("check the ARN given with {flag}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(second: i64, id: &str, status: &str, reason: &str) -> Event {
        let kind = if id == "stack" { STACK_TYPE } else { "AWS::IAM::Role" };
        Event {
            logical_id: id.to_owned(),
            resource_type: kind.to_owned(),
            status: status.to_owned(),
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
            token: None,
            time: Timestamp::from_second(second).unwrap(),
        }
    }

    const TAKEN: &str = "Resource handler returned message: \"Role with name taken already exists. (Service: Iam, Status Code: 409, Request ID: 1234-5678) (SDK Attempt Count: 1)\" (RequestToken: aaaa-bbbb, HandlerErrorCode: AlreadyExists)";

    #[test]
    fn the_first_real_failure_is_named() {
        let mut events = vec![
            event(9, "stack", "ROLLBACK_COMPLETE", ""),
            event(3, "stack", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [Role1, Policy1]."),
            event(2, "Policy1", "CREATE_FAILED", "Resource creation cancelled"),
            event(2, "Role1", "CREATE_FAILED", TAKEN),
            event(1, "stack", "CREATE_IN_PROGRESS", "User Initiated"),
        ];
        let failure = explain(&events).unwrap();
        assert_eq!(failure.to_string(), "Role1 (AWS::IAM::Role): Role with name taken already exists.");
        assert_eq!(failure.code.as_deref(), Some("AlreadyExists"));
        assert_eq!(failure.request_id.as_deref(), Some("1234-5678"));
        assert!(failure.hint.as_ref().unwrap().contains("--role-name"));
        events.reverse();
        assert_eq!(explain(&events), Some(failure));
    }

    #[test]
    fn events_of_one_instant_are_newest_first() {
        let events = [
            event(1, "Policy1", "CREATE_FAILED", "second"),
            event(1, "Role1", "CREATE_FAILED", "first"),
            event(1, "Policy2", "CREATE_FAILED", "Resource creation cancelled"),
            event(1, "stack", "CREATE_IN_PROGRESS", "User Initiated"),
        ];
        assert_eq!(explain(&events).unwrap().reason, "first");
    }

    #[test]
    fn earlier_operations_do_not_count() {
        let events = [
            event(1, "stack", "UPDATE_IN_PROGRESS", "User Initiated"),
            event(2, "Role1", "UPDATE_FAILED", "old"),
            event(3, "stack", "UPDATE_ROLLBACK_COMPLETE", ""),
            event(4, "stack", "UPDATE_IN_PROGRESS", "User Initiated"),
            event(5, "Role1", "UPDATE_IN_PROGRESS", ""),
        ];
        assert_eq!(explain(&events), None);
        assert_eq!(explain(&[]), None);
    }

    #[test]
    fn the_stack_itself_may_fail() {
        let events = [
            event(1, "stack", "CREATE_IN_PROGRESS", "User Initiated"),
            event(2, "stack", "ROLLBACK_IN_PROGRESS", "Transform failed"),
        ];
        assert_eq!(explain(&events).unwrap().reason, "Transform failed");
        let silent = [event(1, "Role1", "DELETE_FAILED", "")];
        assert!(explain(&silent).unwrap().reason.contains("no reason"));
    }

    #[test]
    fn known_causes_have_a_hint() {
        for (reason, part) in [
            (
                "Policy arn:aws:iam::111122223333:policy/x does not exist or is not attachable. (Service: Iam, Status Code: 404)",
                "get-policy --policy-arn arn:aws:iam::111122223333:policy/x",
            ),
            ("Scope ARN: arn:aws:iam::1:policy/b does not exist or is not attachable.", "--permissions-boundary"),
            ("Cannot exceed quota for PoliciesPerRole: 10", "25 once"),
            ("Cannot exceed quota for RolesPerAccount: 1000", "as many roles"),
            ("Cannot exceed quota for ACLSizePerRole: 2048", "trust policy"),
            ("Maximum policy size of 10240 bytes exceeded for role r", "10,240 characters"),
            ("Cannot exceed quota for SomethingElse: 1", "get-account-summary"),
            (
                "User: arn:aws:iam::1:user/x is not authorized to perform: iam:CreateRole on resource: arn:aws:iam::1:role/r because no identity-based policy allows the iam:CreateRole action",
                "iam:CreateRole",
            ),
            (
                "User: x is not authorized to perform: iam:CreateRole with an explicit deny in a permissions boundary",
                "--permissions-boundary",
            ),
            (
                "User: arn:aws:sts::1:assumed-role/cfn/AWSCloudFormation is not authorized to perform: \
                 iam:AttachRolePolicy on resource: arn:aws:iam::1:role/r because no identity-based policy allows it",
                "role cfn, with whose rights CloudFormation works on the stack (--cfn-role-arn), needs the IAM action \
                 iam:AttachRolePolicy on arn:aws:iam::1:role/r",
            ),
            (
                "User: x is not authorized to perform: iam:TagRole with an explicit deny in a service control policy",
                "is denied iam:TagRole by a service control policy",
            ),
            ("API: iam:CreateRole Access Denied", "lack a permission"),
            ("Syntax errors in policy.", "policy document"),
            ("Cannot delete entity, must detach all policies first.", "detach"),
            ("Rate exceeded", "again"),
            ("The security token included in the request is expired", "renew"),
        ] {
            let hint = explain(&[event(1, "Role1", "CREATE_FAILED", reason)]).unwrap().hint.unwrap();
            assert!(hint.contains(part), "{reason}: {hint}");
        }
        assert_eq!(explain(&[event(1, "Role1", "CREATE_FAILED", "odd")]).unwrap().hint, None);
    }
}
