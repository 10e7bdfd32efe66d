//! Steps in Kubernetes.

use serde_json::{Value, json};

use super::Tools;
use super::proof::prove;
use crate::error::{Error, ErrorCode, Result};
use crate::externaldns::manifest::takeover_patch;
use crate::k8s::{Apply, Kind, Kubernetes, describe};
use crate::plan::diff::escape;
use crate::plan::externaldns::guards;
use crate::plan::iamserviceaccount::{self, ROLE_ANNOTATION, annotation};
use crate::plan::{Action, Op, RoleSource, Step};
use crate::ui::Task;

pub(super) async fn run(step: &Step, tools: &Tools<'_>, task: &Task) -> Result<()> {
    let kubernetes = tools.kubernetes()?;
    match &step.op {
        Op::Apply { object, role } => {
            let object = with_role(object, role.as_ref(), tools)?;
            apply(step.action, &object, kubernetes).await
        }
        Op::Unannotate { namespace, name, uid, role } => {
            unannotate((namespace, name), uid.as_deref(), role, kubernetes, tools).await
        }
        Op::ApplyDeployment { object, before, proof } => {
            if let Some(proof) = proof {
                prove(proof, tools, task).await?;
            }
            if !before.is_empty() {
                make_room(object, before, kubernetes).await?;
            }
            apply(step.action, object, kubernetes).await
        }
        Op::Restart { namespace, name, proof } => {
            if let Some(proof) = proof {
                prove(proof, tools, task).await?;
            }
            kubernetes.restart(namespace, name).await.map(drop)
        }
        Op::DeleteObject { kind, namespace, name, uid } => {
            let namespace = namespace.as_deref();
            kubernetes.delete(kind, namespace, name, uid.as_deref()).await?;
            kubernetes.gone(kind, namespace, name, uid.as_deref().unwrap_or_default()).await
        }
        Op::DeleteNamespace { name, uid } => delete_namespace(name, uid.as_deref(), tools).await,
        _ => Ok(()),
    }
}

/// Conflicts about an object that was there were decided in planning; nobody consented to anything about one that wasn't.
async fn apply(action: Action, object: &Value, kubernetes: &Kubernetes) -> Result<()> {
    if action != Action::Create {
        return kubernetes.apply(object, Apply { dry_run: false, force: true }).await.map(drop);
    }
    // A server-side apply can't be told to create only.
    match kubernetes.find(object).await? {
        Some(_) if object["kind"] == Kind::NAMESPACE.kind => return Ok(()),
        Some(live) if !is_ours(&live) => return Err(made_meanwhile(object)),
        _ => {}
    }
    let applied = kubernetes.apply(object, Apply { dry_run: false, force: false }).await;
    applied.map(drop).map_err(|error| match error.code {
        ErrorCode::Conflict => error.causes.into_iter().fold(made_meanwhile(object), Error::cause),
        _ => error,
    })
}

/// Takes away what an apply can't. It may be done, by an attempt whose reply was lost.
async fn make_room(object: &Value, patch: &[Value], kubernetes: &Kubernetes) -> Result<()> {
    let error = match kubernetes.json_patch(object, patch, false).await {
        Err(error) if error.code == ErrorCode::Conflict => error,
        patched => return patched.map(drop),
    };
    let live = kubernetes.find(object).await?;
    if live.is_some_and(|live| takeover_patch(&live, object).is_empty()) { Ok(()) } else { Err(error) }
}

/// Another run's, too, or what an attempt made whose reply was lost.
fn is_ours(live: &Value) -> bool {
    if live["kind"] == Kind::SERVICE_ACCOUNT.kind { iamserviceaccount::is_ours(live) } else { guards::is_ours(live) }
}

fn made_meanwhile(object: &Value) -> Box<Error> {
    Error::new(ErrorCode::Conflict, format!("{} was made by somebody else meanwhile", describe(object)))
        .cause("it wasn't there when the plan was made, and is left alone")
        .hint("run the same command again: it plans anew")
}

/// Takes the annotation that names the role off a ServiceAccount. Another one, or another role, is left alone.
async fn unannotate(
    (namespace, name): (&str, &str),
    uid: Option<&str>,
    role: &str,
    kubernetes: &Kubernetes,
    tools: &Tools<'_>,
) -> Result<()> {
    let path = format!("/metadata/annotations/{}", escape(ROLE_ANNOTATION));
    let patch = [
        json!({"op": "test", "path": "/metadata/uid", "value": uid}),
        json!({"op": "test", "path": path, "value": role}),
        json!({"op": "remove", "path": path}),
    ];
    let metadata = json!({"namespace": namespace, "name": name});
    let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
    let error = match kubernetes.json_patch(&object, &patch, false).await {
        Err(error) if error.code == ErrorCode::Conflict => error,
        Err(error) if error.code != ErrorCode::NotFound => return Err(error),
        _ => return Ok(()),
    };
    let live = kubernetes.get(&Kind::SERVICE_ACCOUNT, Some(namespace), name).await?.unwrap_or_default();
    match annotation(&live, ROLE_ANNOTATION) {
        Some(found) if found == role && live["metadata"]["uid"].as_str() == uid => Err(error),
        Some(found) => {
            let others = format!("ServiceAccount {namespace}/{name} got role {found} from others meanwhile");
            tools.ui.note(&format!("{others}: it is left alone"));
            Ok(())
        }
        None => Ok(()),
    }
}

/// The object with the role's ARN, now that it is known.
fn with_role(object: &Value, role: Option<&RoleSource>, tools: &Tools<'_>) -> Result<Value> {
    let mut object = object.clone();
    if let Some(role) = role {
        object["metadata"]["annotations"][ROLE_ANNOTATION] = json!(tools.role(role)?);
    }
    Ok(object)
}

/// Only an empty namespace goes; what every namespace has doesn't count.
async fn delete_namespace(name: &str, uid: Option<&str>, tools: &Tools<'_>) -> Result<()> {
    let kubernetes = tools.kubernetes()?;
    let left = kubernetes.contents(name).await?;
    if !left.is_empty() {
        let message = format!("namespace {name} stays: since the plan was made, it holds {}", left.join(", "));
        return Err(Error::new(ErrorCode::Conflict, message));
    }
    kubernetes.delete(&Kind::NAMESPACE, None, name, uid).await?;
    kubernetes.gone(&Kind::NAMESPACE, None, name, uid.unwrap_or_default()).await
}
