//! What can be refused is refused before the first write: every object goes through a server-side dry run, or, where
//! its namespace doesn't exist yet, through access reviews.

use std::collections::BTreeSet;

use futures::future::try_join;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tracing::debug;

use crate::aws::iam::Refusal;
use crate::aws::{AT_ONCE, Aws};
use crate::error::{Error, ErrorCode, Result};
use crate::iam::policy::Need;
use crate::k8s::{Apply, Kind, Kubernetes, Review};
use crate::operator::foresight::foreseen;
use crate::plan::iamserviceaccount::ROLE_ANNOTATION;
use crate::plan::{Action, Op, Plan, Proof, RoleSource, Step};
use crate::ui::Ui;

/// A role that stands for one that a stack will make.
const STAND_IN: &str = "arn:aws:iam::123456789012:role/known-once-the-stack-is-there";

/// Tries all that the plan will do in Kubernetes.
///
/// # Errors
/// The refusal, before anything was changed.
pub(crate) async fn check(plan: &Plan, kubernetes: Option<&Kubernetes>, ui: &Ui) -> Result<()> {
    let Some(kubernetes) = kubernetes else { return Ok(()) };
    let _task = ui.task("checking that the cluster accepts the objects");
    let missing = created(plan, "Namespace");
    let mut asked = BTreeSet::new();
    let steps = plan.steps.iter().filter(|step| step.action != Action::None);
    // Of many alike in a namespace that doesn't exist yet, one is enough.
    let tries = steps.filter(|step| alike(step, &missing).is_none_or(|group| asked.insert(group))).map(|step| async {
        match &step.op {
            Op::Apply { object, role } => {
                let object = stand_in(object, role.as_ref());
                try_apply(kubernetes, &object, &missing, plan).await
            }
            Op::ApplyDeployment { object, before, proof } => {
                let tried = async {
                    // The apply would be refused until the patch is in.
                    match before.as_slice() {
                        [] => try_apply(kubernetes, object, &missing, plan).await,
                        patch => kubernetes.json_patch(object, patch, true).await.map(drop),
                    }
                };
                let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                try_join(tried, review_proof(kubernetes, name, proof.as_ref())).await.map(drop)
            }
            Op::Restart { namespace, name, proof } => {
                let patch = vec![Review::new("patch", &Kind::DEPLOYMENT, Some(namespace)).named(name)];
                try_join(review(kubernetes, patch), review_proof(kubernetes, name, proof.as_ref())).await.map(drop)
            }
            Op::Unannotate { namespace, name, .. } => {
                let patch = Review::new("patch", &Kind::SERVICE_ACCOUNT, Some(namespace)).named(name);
                review(kubernetes, vec![patch]).await
            }
            Op::DeleteObject { kind, namespace, name, .. } => {
                // Its end is awaited.
                let verbs = ["delete", "get"];
                let reviews = verbs.map(|verb| Review::new(verb, kind, namespace.as_deref()).named(name));
                review(kubernetes, reviews.into()).await
            }
            Op::DeleteNamespace { name, .. } => {
                review(kubernetes, vec![Review::new("delete", &Kind::NAMESPACE, None).named(name)]).await
            }
            _ => Ok(()),
        }
    });
    let tries = stream::iter(tries).buffered(AT_ONCE).try_collect::<()>();
    tries.await.map_err(|error| error.or_hint(|| "nothing was changed".to_owned()))
}

/// Asks IAM's simulator whether the caller may do what the plan will do in AWS. A caller who may not ask, and whom it
/// doesn't know (a role with a path, whose sessions leave it out), finds out by doing it.
///
/// # Errors
/// `AccessDenied` for what is certainly refused, before anything was changed.
pub(crate) async fn foresee(plan: &Plan, aws: &Aws) -> Result<()> {
    let refused = async {
        let caller = aws.caller().await?;
        let foreseen = foreseen(plan, &caller.partition);
        if foreseen.needs.is_empty() { Ok(Vec::new()) } else { aws.foresee(&caller.principal(), &foreseen).await }
    };
    let refused = refused.await.unwrap_or_else(|error| {
        debug!("the caller's rights can't be foreseen: {error}");
        Vec::new()
    });
    let Some(first) = refused.first() else { return Ok(()) };
    let mut error = Error::new(ErrorCode::AccessDenied, "the caller may not do what the plan needs");
    let in_full = |need: &Need| format!("{} on {}", need.action, need.resource);
    let missing = format!("the caller needs the IAM action {}; nothing was changed", in_full(&first.need));
    error.causes = refused.iter().map(|it| format!("{} isn't allowed: {}", in_full(&it.need), reason(it))).collect();
    Err(error.hint(missing))
}

fn reason(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal { organisation: true, .. } => "a policy of the organisation is in the way",
        Refusal { boundary: true, .. } => "the caller's permissions boundary is in the way",
        Refusal { explicit: true, .. } => "a policy denies it",
        _ => "no policy of the caller allows it",
    }
}

/// Kind and namespace of an object that only access reviews can try.
fn alike(step: &Step, missing: &[String]) -> Option<(String, String)> {
    let Op::Apply { object, .. } = &step.op else { return None };
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str)?;
    let alone = missing.iter().any(|name| name == namespace);
    alone.then(|| (step.kind.clone(), namespace.to_owned()))
}

fn created(plan: &Plan, kind: &str) -> Vec<String> {
    let steps = plan.steps.iter().filter(|step| step.kind == kind && step.action == Action::Create);
    steps.map(|step| step.name.clone()).collect()
}

fn stand_in(object: &Value, role: Option<&RoleSource>) -> Value {
    let mut object = object.clone();
    if let Some(RoleSource::Stack(_)) = role {
        object["metadata"]["annotations"][ROLE_ANNOTATION] = json!(STAND_IN);
    }
    object
}

async fn try_apply(kubernetes: &Kubernetes, object: &Value, missing: &[String], plan: &Plan) -> Result<()> {
    let kind = Kind::of(object).ok_or_else(|| Error::new(ErrorCode::Internal, "an object without kind"))?;
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name").unwrap_or_default());
    if let Some(namespace) = namespace.filter(|namespace| missing.iter().any(|missing| missing == namespace)) {
        let verbs = ["create", "patch"];
        let reviews = verbs.map(|verb| Review::new(verb, &kind, Some(namespace)).named(name));
        return review(kubernetes, reviews.into()).await;
    }
    match kubernetes.apply(object, Apply { dry_run: true, force: true }).await {
        // A binding can't be tried before its role is there, but the right to make it can.
        Err(error) if kind.kind == "ClusterRoleBinding" && error.code == ErrorCode::NotFound => {
            if created(plan, "ClusterRole").is_empty() {
                return Err(error);
            }
            review(kubernetes, vec![Review::new("create", &kind, None).named(name)]).await
        }
        other => other.map(drop),
    }
}

/// The rights that the proof of a Deployment needs: a token of the ServiceAccount before the rollout, and the pods' logs
/// after it.
async fn review_proof(kubernetes: &Kubernetes, deployment: &str, proof: Option<&Proof>) -> Result<()> {
    let Some(Proof { namespace, service_account, .. }) = proof else { return Ok(()) };
    let ask = |verb, kind| Review::new(verb, kind, Some(namespace));
    let reviews = vec![
        ask("create", &Kind::SERVICE_ACCOUNT).named(service_account).subresource("token"),
        ask("get", &Kind::DEPLOYMENT).named(deployment),
        ask("list", &Kind::REPLICA_SET),
        ask("list", &Kind::POD),
        ask("get", &Kind::POD).subresource("log"),
    ];
    review(kubernetes, reviews).await
}

async fn review(kubernetes: &Kubernetes, reviews: Vec<Review>) -> Result<()> {
    let answers = kubernetes.can_i(&reviews).await?;
    let denied = answers.into_iter().find(|(_, allowed)| !allowed);
    denied.map_or(Ok(()), |(review, _)| {
        Err(Error::new(ErrorCode::ClusterForbidden, format!("the caller may not {review}"))
            .hint("ask an administrator of the cluster for this right; nothing was changed"))
    })
}
