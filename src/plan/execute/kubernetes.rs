//! Steps in Kubernetes.

use serde_json::{Value, json};

use super::Tools;
use super::proof::prove;
use crate::error::{Error, ErrorCode, Result};
use crate::k8s::{Apply, Kind};
use crate::plan::iamserviceaccount::ROLE_ANNOTATION;
use crate::plan::{Op, RoleSource};
use crate::ui::Task;

pub(super) async fn run(op: &Op, tools: &Tools<'_>, task: &Task) -> Result<()> {
    let kubernetes = tools.kubernetes()?;
    match op {
        Op::Apply { object, role } => {
            let object = with_role(object, role.as_ref(), tools)?;
            kubernetes.apply(&object, Apply { dry_run: false, force: true }).await.map(drop)
        }
        Op::Unannotate { namespace, name } => {
            let patch = json!({"metadata": {"annotations": {ROLE_ANNOTATION: null}}});
            kubernetes.merge_patch(&Kind::SERVICE_ACCOUNT, Some(namespace), name, &patch).await.map(drop)
        }
        Op::ApplyDeployment { object, before, proof } => {
            if let Some(proof) = proof {
                prove(proof, tools, task).await?;
            }
            if !before.is_empty() {
                kubernetes.json_patch(object, before, false).await?;
            }
            kubernetes.apply(object, Apply { dry_run: false, force: true }).await.map(drop)
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
