//! What the API server's refusals mean to a user.

use kube::client::AuthError;
use kube::core::Status;

use super::FIELD_MANAGER;
use crate::error::{self, Error, ErrorCode};

/// What was tried, for messages: `verb` is an infinitive.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) verb: &'static str,
    pub(super) object: String,
}

impl Operation {
    pub(super) fn new(verb: &'static str, object: impl Into<String>) -> Self {
        Self { verb, object: object.into() }
    }

    fn failed(&self) -> String {
        format!("Kubernetes: can't {} {}", self.verb, self.object)
    }
}

/// The error that the user sees for `err`.
pub(super) fn explain(err: &kube::Error, operation: &Operation, server: &str) -> Box<Error> {
    if let Some(error) = unusable_credentials(err, server) {
        return error;
    }
    match err {
        kube::Error::Api(status) => refused(status, operation, server),
        kube::Error::Service(_) | kube::Error::HyperError(_) => unreachable_server(server, &chain(err)),
        other => Error::new(ErrorCode::Kubernetes, operation.failed()).cause(other.to_string()),
    }
}

/// The error of credentials that can't be had or sent; its cause is for the caller to tell.
pub(super) fn no_credentials(server: &str) -> Box<Error> {
    Error::new(ErrorCode::ClusterUnauthorized, format!("the kubeconfig gives no credentials for {server}"))
        .hint("kubectl must work with the same kubeconfig and context: try kubectl get namespaces")
}

/// The same for kube's error about credentials; none for its other errors.
pub(super) fn unusable_credentials(err: &kube::Error, server: &str) -> Option<Box<Error>> {
    is_of_credentials(err).then(|| no_credentials(server).cause(UNUSABLE))
}

/// Instead of kube's own words, which hold a command with its variables and arguments, and what it printed.
const UNUSABLE: &str = "its auth-provider gives none, or they have characters of no header";

/// True for kube's error about credentials, which is inside of another one where a token was to be renewed.
pub(super) fn is_of_credentials(err: &kube::Error) -> bool {
    error::chain(err).any(<dyn std::error::Error>::is::<AuthError>)
}

/// The API server doesn't answer, or not as itself.
fn unreachable_server(server: &str, causes: &[String]) -> Box<Error> {
    let mut error =
        Error::new(ErrorCode::ClusterUnreachable, format!("Kubernetes API server {server} can't be reached"));
    error.causes.extend_from_slice(causes);
    if causes.iter().any(|cause| cause.contains("certificate")) {
        return error.hint(
            "its certificate isn't signed by the cluster's CA: a proxy may be in between (HTTPS_PROXY, NO_PROXY), \
             or the kubeconfig is of another cluster",
        );
    }
    error.hint(
        "a private endpoint answers only from inside the VPC: run there, or through a proxy (HTTPS_PROXY); a private \
         network also needs endpoints for sts, iam, cloudformation and eks. --aws-only (of iamserviceaccount: \
         --role-only) does the AWS part without it",
    )
}

/// An error in one line, for the log.
pub(super) fn summary(err: &kube::Error) -> String {
    match err {
        kube::Error::Api(status) => format!("{} {}", status.code, status.message.trim()),
        other if is_of_credentials(other) => UNUSABLE.to_owned(),
        other => chain(other).join(": "),
    }
}

/// The texts of an error and its sources, without repetitions.
pub(super) fn chain(err: &(dyn std::error::Error + 'static)) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for source in error::chain(err).skip(1) {
        let text = source.to_string();
        // Outer errors often repeat the inner ones after a colon.
        let own = source.source().map_or(text.as_str(), |inner| {
            text.strip_suffix(&inner.to_string()).unwrap_or(&text).trim_end_matches([':', ' '])
        });
        let says_nothing = own.is_empty() || own.starts_with("client error (");
        if !says_nothing && texts.last().is_none_or(|last| last != own) {
            texts.push(own.to_owned());
        }
    }
    texts
}

fn refused(status: &Status, operation: &Operation, server: &str) -> Box<Error> {
    let error = |code| Error::new(code, operation.failed()).cause(status.message.trim());
    match status.code {
        401 => Error::new(
            ErrorCode::ClusterUnauthorized,
            format!(
                "Kubernetes API server {server} doesn't know the caller (401, {} {})",
                operation.verb, operation.object
            ),
        ),
        400 | 403 | 409 | 422 | 500 if is_admission(status) => admission(status, operation),
        403 => forbidden(status, operation),
        409 if !conflicts(status).is_empty() => conflict(status, operation),
        409 if status.reason == "AlreadyExists" => error(ErrorCode::AlreadyExists),
        // 410: the version of a listing isn't kept any more.
        409 | 410 => error(ErrorCode::Conflict).hint(CHANGED),
        422 if is_failed_patch(status) => error(ErrorCode::Conflict).hint(CHANGED),
        422 => invalid(status, operation),
        400 | 500 if is_unknown_field(&status.message) => error(ErrorCode::Kubernetes)
            .hint("this cluster's API doesn't know the field: check --patch and its spelling"),
        404 if is_unserved(status) => {
            Error::new(ErrorCode::MissingApi, format!("{}: this cluster doesn't serve that API", operation.failed()))
        }
        404 => error(ErrorCode::NotFound),
        400 if has_no_log(&status.message) => error(ErrorCode::NotFound),
        429 => error(ErrorCode::Kubernetes).hint("the API server is overloaded: run the same command again later"),
        _ => error(ErrorCode::Kubernetes),
    }
}

const CHANGED: &str = "it was changed meanwhile: run the same command again";

/// True where a JSON Patch doesn't fit the object: that is all that the API server says of it.
fn is_failed_patch(status: &Status) -> bool {
    let causes = status.details.as_ref().is_some_and(|details| !details.causes.is_empty());
    !causes && status.message.contains("the server rejected our request due to an error in our request")
}

/// True where the path itself is unknown, not the object in it.
fn is_unserved(status: &Status) -> bool {
    status.details.as_ref().is_none_or(|details| details.name.is_empty())
        && (status.message.contains("could not find the requested resource")
            || status.message.contains("404 page not found"))
}

/// A container that hasn't run yet.
fn has_no_log(message: &str) -> bool {
    message.contains(" is waiting to start") || message.starts_with("previous terminated container ")
}

fn is_unknown_field(message: &str) -> bool {
    message.contains("unknown field") || message.contains("field not declared in schema")
}

/// RBAC says `User "…" cannot …` or that rights would be escalated; every other refusal is admission's.
pub(super) fn is_admission(status: &Status) -> bool {
    let message = &status.message;
    let by_plugin = status.code == 403
        && message.contains("is forbidden:")
        && !message.contains(" cannot ")
        && !message.contains("attempting to grant");
    by_plugin
        || has_cause(status, "NamespaceTerminating")
        || message.contains("admission webhook")
        || message.contains("failed calling webhook")
        || message.contains("ValidatingAdmissionPolicy")
}

fn has_cause(status: &Status, reason: &str) -> bool {
    status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == reason)
}

fn admission(status: &Status, operation: &Operation) -> Box<Error> {
    let message = &status.message;
    if has_cause(status, "NamespaceTerminating") || message.contains("because it is being terminated") {
        return Error::new(ErrorCode::NamespaceTerminating, operation.failed())
            .cause(message.trim())
            .hint("wait until the namespace is gone (kubectl get namespaces), or choose another with --namespace");
    }
    let error = Error::new(ErrorCode::AdmissionDenied, format!("{}: refused by admission", operation.failed()))
        .cause(message.trim());
    if message.contains("failed calling webhook") {
        return error.hint("the webhook itself doesn't answer: mend it (kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations)");
    }
    if message.contains("PodSecurity") {
        return error.hint("the pod breaks the namespace's Pod Security Standard: change --patch, or choose another namespace with --namespace");
    }
    if message.contains("exceeded quota") || message.contains("failed quota") {
        return error.hint(
            "the namespace's ResourceQuota leaves no room: raise it, or choose another namespace with --namespace",
        );
    }
    error.hint(
        "the cluster's policy refuses the object: --patch changes it, another --namespace may have another policy",
    )
}

fn forbidden(status: &Status, operation: &Operation) -> Box<Error> {
    let error = Error::new(ErrorCode::ClusterForbidden, format!("{}: the caller lacks the right", operation.failed()))
        .cause(status.message.trim());
    if status.message.contains("attempting to grant") {
        return error.hint(
            "whoever creates a ClusterRole must hold every right in it, or the verbs escalate and bind: a cluster admin can run \
             this, or give those rights",
        );
    }
    error.hint(
        "a cluster admin can give it with a Role or ClusterRole and a binding, or with an EKS access policy \
         (aws eks associate-access-policy)",
    )
}

/// The managers and fields of an apply conflict: `(manager, field)`.
fn conflicts(status: &Status) -> Vec<(String, String)> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .map(|cause| {
            let manager = cause.message.split('"').nth(1).unwrap_or(&cause.message);
            (manager.to_owned(), cause.field.clone())
        })
        .collect()
}

fn conflict(status: &Status, operation: &Operation) -> Box<Error> {
    let mut error = Error::new(
        ErrorCode::Conflict,
        format!("{}: fields are held by another manager than {FIELD_MANAGER}", operation.failed()),
    );
    for (manager, field) in conflicts(status) {
        error.causes.push(format!("{field} is held by {manager}"));
    }
    error.hint("--force-conflicts takes the fields over; the other manager may then change them back")
}

fn invalid(status: &Status, operation: &Operation) -> Box<Error> {
    let mut error = Error::new(ErrorCode::Kubernetes, format!("{}: the object is invalid", operation.failed()));
    let causes = status.details.iter().flat_map(|details| &details.causes);
    error.causes.extend(causes.map(|cause| format!("{}: {}", cause.field, cause.message)));
    if error.causes.is_empty() {
        error.causes.push(status.message.clone());
    }
    if status.message.contains("field is immutable") || status.message.contains("cannot change roleRef") {
        return error.hint("the field can't be changed in place: delete the object, then run the same command again");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const SERVER: &str = "https://k8s.test";

    fn explained(code: u16, reason: &str, message: &str, details: &Value) -> Box<Error> {
        let status =
            json!({"status": "Failure", "code": code, "reason": reason, "message": message, "details": details});
        let status: Status = serde_json::from_value(status).unwrap();
        explain(&kube::Error::Api(Box::new(status)), &Operation::new("apply", "Deployment dns/external-dns"), SERVER)
    }

    #[test]
    fn refusals_have_codes() {
        let rbac = r#"deployments.apps "external-dns" is forbidden: User "arn:aws:iam::1:user/dev" cannot patch resource "deployments" in API group "apps" in the namespace "dns""#;
        let escalation = r#"clusterroles.rbac.authorization.k8s.io "external-dns" is forbidden: user "dev" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:"#;
        let security = r#"pods "a" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true"#;
        let quota = r#"pods "a" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"#;
        let webhook = r#"admission webhook "validate.kyverno.svc-fail" denied the request: labels are required"#;
        let broken =
            r#"Internal error occurred: failed calling webhook "a.b": Post "https://x": no endpoints available"#;
        let policy =
            r#"deployments.apps "a" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"#;
        for (code, reason, message, expected) in [
            (401, "Unauthorized", "Unauthorized", ErrorCode::ClusterUnauthorized),
            (403, "Forbidden", rbac, ErrorCode::ClusterForbidden),
            (403, "Forbidden", escalation, ErrorCode::ClusterForbidden),
            (403, "Forbidden", security, ErrorCode::AdmissionDenied),
            (403, "Forbidden", quota, ErrorCode::AdmissionDenied),
            (403, "", webhook, ErrorCode::AdmissionDenied),
            (400, "", webhook, ErrorCode::AdmissionDenied),
            (409, "Conflict", webhook, ErrorCode::AdmissionDenied),
            (500, "InternalError", broken, ErrorCode::AdmissionDenied),
            (422, "Invalid", policy, ErrorCode::AdmissionDenied),
            (404, "NotFound", r#"namespaces "dns" not found"#, ErrorCode::NotFound),
            (404, "NotFound", "the server could not find the requested resource", ErrorCode::MissingApi),
            (410, "Expired", "The provided continue parameter is too old", ErrorCode::Conflict),
            (
                400,
                "BadRequest",
                r#"container "a" in pod "b" is waiting to start: ContainerCreating"#,
                ErrorCode::NotFound,
            ),
            (400, "BadRequest", r#"previous terminated container "a" in pod "b" not found"#, ErrorCode::NotFound),
            (400, "BadRequest", "container a is not valid for pod b", ErrorCode::Kubernetes),
            (409, "AlreadyExists", r#"namespaces "dns" already exists"#, ErrorCode::AlreadyExists),
            (
                409,
                "Conflict",
                "Precondition failed: UID in precondition: a, UID in object meta: b",
                ErrorCode::Conflict,
            ),
            (422, "Invalid", "the server rejected our request due to an error in our request", ErrorCode::Conflict),
            (500, "InternalError", "etcdserver: request timed out", ErrorCode::Kubernetes),
        ] {
            let error = explained(code, reason, message, &json!({}));
            assert_eq!(error.code, expected, "{message}");
            assert!(error.to_string().contains("Deployment dns/external-dns"), "{error}");
        }
    }

    #[test]
    fn a_terminating_namespace_is_named_as_such() {
        let message = r#"deployments.apps "a" is forbidden: unable to create new content in namespace dns because it is being terminated"#;
        let causes =
            json!({"causes": [{"reason": "NamespaceTerminating", "message": "namespace dns is being terminated"}]});
        assert_eq!(explained(403, "Forbidden", message, &causes).code, ErrorCode::NamespaceTerminating);
    }

    #[test]
    fn a_conflict_names_managers_and_fields() {
        let details = json!({"causes": [
            {"reason": "FieldManagerConflict", "message": "conflict with \"argocd\" using apps/v1", "field": ".spec.replicas"},
            {"reason": "FieldManagerConflict", "message": "conflict with \"hpa\"", "field": ".spec.paused"}
        ]});
        let error = explained(409, "Conflict", "Apply failed with 2 conflicts", &details);
        assert_eq!(error.code, ErrorCode::Conflict);
        assert_eq!(error.causes, [".spec.replicas is held by argocd", ".spec.paused is held by hpa"]);
        assert!(error.hint.unwrap().contains("--force-conflicts"));
    }

    #[test]
    fn invalid_fields_are_listed() {
        let causes = json!({"causes": [{"field": "spec.selector", "message": "Invalid value: field is immutable"}]});
        let error =
            explained(422, "Invalid", "Deployment.apps \"a\" is invalid: spec.selector: field is immutable", &causes);
        assert_eq!(error.code, ErrorCode::Kubernetes);
        assert_eq!(error.causes, ["spec.selector: Invalid value: field is immutable"]);
        assert!(error.hint.unwrap().contains("delete"));
    }

    #[test]
    fn what_a_command_for_credentials_was_told_and_printed_is_not_told() {
        let failed = || {
            let (status, printed) = (std::process::ExitStatus::default(), b"SECRET".to_vec());
            let out = std::process::Output { status, stdout: printed.clone(), stderr: printed };
            AuthError::AuthExecRun { cmd: "TOKEN=SECRET plugin".to_owned(), out: Box::new(out) }
        };
        for err in [kube::Error::Auth(failed()), kube::Error::Service(Box::new(failed()))] {
            assert!(format!("{err} {}", chain(&err).join(" ")).contains("SECRET"), "kube has learnt to keep it");
            let error = explain(&err, &Operation::new("read", "x"), SERVER);
            assert_eq!(error.code, ErrorCode::ClusterUnauthorized);
            assert!(!format!("{error:?} {}", summary(&err)).contains("SECRET"), "{error:?}");
        }
    }

    #[test]
    fn repeated_causes_are_said_once() {
        #[derive(Debug)]
        struct Layer(&'static str, Option<Box<Layer>>);
        impl std::fmt::Display for Layer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0)
            }
        }
        impl std::error::Error for Layer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                self.1.as_deref().map(|layer| layer as _)
            }
        }
        let layer = |text, inner| Layer(text, Some(Box::new(inner)));
        let inner = layer("tcp connect error: refused", Layer("refused", None));
        let outer = layer("x", layer("client error (Connect)", layer("tunnel", layer("tunnel", inner))));
        assert_eq!(chain(&outer), ["tunnel", "tcp connect error", "refused"]);
    }
}
