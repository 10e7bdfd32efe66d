//! The end of an installation: the rollout, and the first successful synchronisation. `Available` alone proves nothing:
//! ExternalDNS stays Ready when STS or Route53 refuses it.

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

use super::super::run;
use crate::Exit;
use crate::cli::externaldns::Install;
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::externaldns::logs::{self, Class, Severity};
use crate::externaldns::settings::Settings;
use crate::k8s::{Kind, Kubernetes};
use crate::plan::Plan;
use crate::plan::externaldns::belongs_to;
use crate::ui::{GREEN, Task, Ui, paint};
use crate::wait::Wait;

/// The container of the manifest.
const CONTAINER: &str = "external-dns";

/// Refusals that come twice don't pass by themselves.
const TOO_OFTEN: usize = 2;

/// Waits for the proof and reports.
pub(super) async fn end(
    context: &Context,
    args: &Install,
    plan: &Plan,
    settings: &Settings,
    zones: usize,
    kubernetes: Option<&Kubernetes>,
) -> Result<Exit> {
    let ui = &context.ui;
    let synced = match kubernetes {
        Some(kubernetes) if settings.replicas > 0 => match wait_for_sync(ui, &context.wait, kubernetes, settings).await
        {
            Ok(()) => true,
            Err(error) => {
                if ui.output().is_document() {
                    ui.document(plan)?;
                }
                return Err(error);
            }
        },
        _ => false,
    };
    run::report(ui, plan, &lines(args, plan, settings, zones, synced))?;
    Ok(Exit::Success)
}

fn lines(args: &Install, plan: &Plan, settings: &Settings, zones: usize, synced: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(role) = &plan.outputs.role_arn {
        lines.push(format!("role ARN: {role}"));
    }
    let cluster = &args.cluster.cluster;
    if args.role.aws_only {
        lines.push(format!(
            "next: irsactl render helm-values --cluster {cluster} --region {} --namespace {} --name {}",
            plan.region, settings.namespace, settings.name
        ));
        return lines;
    }
    let elsewhere = settings.assume_role.is_some();
    lines.push(match (synced, zones) {
        (true, 0) if !elsewhere => {
            "ExternalDNS runs, but no hosted zone matches its filters: it writes no record".to_owned()
        }
        (true, _) => paint(GREEN, "DNS works: ExternalDNS has synchronised with Route53 through its role"),
        (false, _) => "ExternalDNS is installed and stopped (--replicas 0)".to_owned(),
    });
    lines.push(format!("next: irsactl get iamserviceaccount --cluster {cluster} --region {}", plan.region));
    lines
}

async fn wait_for_sync(ui: &Ui, wait: &Wait, kubernetes: &Kubernetes, settings: &Settings) -> Result<()> {
    let name = format!("{}/{}", settings.namespace, settings.name);
    let task = ui.task(&format!("waiting for Deployment {name} to roll out"));
    kubernetes.rollout(&settings.namespace, &settings.name, wait.clone(), |progress| task.detail(progress)).await?;
    drop(task);
    let task = ui.task("waiting for the first synchronisation");
    let mut refusals = Vec::new();
    loop {
        if let Some(pod) = pod(kubernetes, settings).await?
            && synced(kubernetes, settings, &pod, &mut refusals, &task).await?
        {
            return Ok(());
        }
        // The log ended: the pod did, too. The rollout says why, unless it comes up again.
        wait.pause(Duration::from_millis(500)).await.map_err(|error| not_synced(error, &refusals))?;
        kubernetes.rollout(&settings.namespace, &settings.name, wait.clone(), |_| {}).await?;
    }
}

/// The pod that runs, newest first.
async fn pod(kubernetes: &Kubernetes, settings: &Settings) -> Result<Option<String>> {
    let namespace = Some(settings.namespace.as_str());
    let Some(deployment) = kubernetes.get(&Kind::DEPLOYMENT, namespace, &settings.name).await? else { return Ok(None) };
    let mut pods = kubernetes.list(&Kind::POD, namespace, None, None).await?;
    pods.retain(|pod| belongs_to(pod, &deployment) && pod.pointer("/metadata/deletionTimestamp").is_none());
    let text = |pod: &Value, path| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let newest = pods.into_iter().max_by_key(|pod| text(pod, "/metadata/creationTimestamp"));
    Ok(newest.map(|pod| text(&pod, "/metadata/name")))
}

/// Reads the pod's log until it says that it has synchronised; false where the log ends before.
async fn synced(
    kubernetes: &Kubernetes,
    settings: &Settings,
    pod: &str,
    refusals: &mut Vec<(Class, String)>,
    task: &Task,
) -> Result<bool> {
    let mut log = Box::pin(kubernetes.follow_logs(&settings.namespace, pod, CONTAINER).await?);
    loop {
        let Some(line) = log.next().await else { return Ok(false) };
        let line = line.map_err(|end| not_synced(end, refusals))?;
        let Some(class) = logs::classify(&line) else { continue };
        if logs::is_first_sync(&class) {
            return Ok(true);
        }
        let severity = logs::severity(&class);
        if severity == Severity::Fatal {
            return Err(refused(&class, &line));
        }
        if severity == Severity::Error && class != Class::Throttling {
            task.detail(&logs::explain(&class).0);
            refusals.push((class.clone(), line.clone()));
            if refusals.iter().filter(|(other, _)| *other == class).count() >= TOO_OFTEN {
                return Err(refused(&class, &line));
            }
        }
    }
}

fn refused(class: &Class, line: &str) -> Box<Error> {
    let (message, hint) = logs::explain(class);
    let error = Error::new(ErrorCode::SyncFailed, format!("ExternalDNS runs, but doesn't synchronise: {message}"))
        .cause(format!("its log says: {}", line.trim()));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn not_synced(end: Box<Error>, refusals: &[(Class, String)]) -> Box<Error> {
    match refusals.last() {
        Some((class, line)) if end.code == ErrorCode::Timeout => refused(class, line),
        _ => end,
    }
}
