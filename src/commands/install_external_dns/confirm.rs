//! The end of an installation: the rollout, and the first successful synchronisation. `Available` alone proves nothing:
//! ExternalDNS stays Ready when STS or Route53 refuses it.

use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::Value;
use tokio::time::timeout;

use super::super::run;
use crate::Exit;
use crate::cli::externaldns::Install;
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::externaldns::logs::{self, Class, Severity};
use crate::externaldns::settings::Settings;
use crate::k8s::{Kind, Kubernetes, is_ending};
use crate::plan::execute::{Tools, prove};
use crate::plan::externaldns::{belongs_to, injected_role, proof};
use crate::plan::{Plan, RoleSource};
use crate::ui::{GREEN, Task, Ui, paint, report};
use crate::verify::{Check, Report, ids};
use crate::wait::Wait;

/// The container of the manifest.
const CONTAINER: &str = "external-dns";

/// As much of the log is read back for its last word.
const PAST_LINES: u32 = 500;

/// A log that says nothing for so long is read anew.
const SILENCE: Duration = Duration::from_secs(30);

/// Refusals that come twice don't pass by themselves.
const TOO_OFTEN: usize = 2;

/// What an installation has come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It has synchronised.
    Synced,
    /// It runs, and its log is told not to say more.
    Running,
    /// It has no pod.
    Stopped,
}

/// What is known of DNS before ExternalDNS has said anything.
pub(super) struct Outlook {
    /// How many zones it looks after.
    pub(super) zones: usize,
    /// Actions that its policies don't allow.
    pub(super) lacking: Vec<String>,
}

/// Waits for the proof and reports.
pub(super) async fn end(
    context: &Context,
    args: &Install,
    plan: &Plan,
    settings: &Settings,
    outlook: &Outlook,
    kubernetes: Option<&Kubernetes>,
) -> Result<Exit> {
    let ui = &context.ui;
    let end = match kubernetes {
        Some(kubernetes) if settings.replicas > 0 => match works(context, args, plan, settings, kubernetes).await {
            Ok(end) => end,
            Err(error) => {
                if ui.output().is_document() {
                    // The error comes first.
                    let _ = ui.document(plan);
                }
                return Err(error);
            }
        },
        _ => End::Stopped,
    };
    run::report(ui, plan, &lines(args, plan, settings, outlook, end))?;
    Ok(Exit::Success)
}

fn lines(args: &Install, plan: &Plan, settings: &Settings, outlook: &Outlook, end: End) -> Vec<String> {
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
    if end == End::Stopped {
        lines.push("ExternalDNS is installed and stopped (--replicas 0)".to_owned());
        return lines;
    }
    let mut report = Report::default();
    report.extend(checks(settings, outlook, end));
    lines.extend(report::text(&report, &paint(GREEN, works_text(end))).lines().map(str::to_owned));
    lines.push(format!(
        "next: irsactl verify external-dns --cluster {cluster} --region {} --namespace {} --name {}",
        plan.region, settings.namespace, settings.name
    ));
    lines
}

fn works_text(end: End) -> &'static str {
    match end {
        End::Synced => "DNS works: ExternalDNS has synchronised with Route53 through its role",
        _ => "ExternalDNS runs and its role works; its log doesn't tell whether it synchronises",
    }
}

/// The short form of `verify external-dns`, from what this run has read.
fn checks(settings: &Settings, outlook: &Outlook, end: End) -> [Check; 4] {
    [
        match outlook.lacking.as_slice() {
            [] => Check::pass(ids::PERMISSIONS, "its policies allow what it calls"),
            lacking => {
                let message = format!("its policies don't allow {}: it can't keep records", lacking.join(", "));
                Check::fail(ids::PERMISSIONS, message)
            }
        },
        Check::pass(ids::INJECTION, "its pod has the role"),
        match end {
            End::Synced => Check::pass(ids::LOGS, "it has synchronised with Route53"),
            _ => Check::skip(ids::LOGS, "it is told not to say whether it synchronises"),
        },
        match outlook.zones {
            0 if settings.assume_role.is_some() => Check::pass(ids::ZONES, "they are in another account"),
            0 => Check::fail(ids::ZONES, "no hosted zone matches its filters: it writes no record"),
            zones => Check::pass(ids::ZONES, format!("{zones} match its filters")),
        },
    ]
}

/// Proves a role that was mended under a pod that goes on, or that the log tells nothing of, and waits for the
/// synchronisation.
async fn works(
    context: &Context,
    args: &Install,
    plan: &Plan,
    settings: &Settings,
    kubernetes: &Kubernetes,
) -> Result<End> {
    let (ui, wait) = (&context.ui, &context.wait);
    if !plan.changes_kind("Deployment")
        && (plan.changes > 0 || !logs::tells_of_syncs(&settings.extra_args))
        && let Some(account) = plan.outputs.service_accounts.first()
        && let Some(role) = &account.role_arn
    {
        let task = ui.task(&format!("proving role {role}"));
        let proof = proof(settings, &RoleSource::Known(role.clone()));
        prove(&proof, &Tools::new(context.aws(&args.aws).await?, Some(kubernetes), ui, wait), &task).await?;
    }
    wait_for_sync(ui, wait, kubernetes, settings).await
}

async fn wait_for_sync(ui: &Ui, wait: &Wait, kubernetes: &Kubernetes, settings: &Settings) -> Result<End> {
    let name = format!("{}/{}", settings.namespace, settings.name);
    let task = ui.task(&format!("waiting for Deployment {name} to roll out"));
    kubernetes.rollout(&settings.namespace, &settings.name, wait.clone(), |progress| task.detail(progress)).await?;
    drop(task);
    if !logs::tells_of_syncs(&settings.extra_args) {
        return Ok(End::Running);
    }
    let task = ui.task("waiting for the first synchronisation");
    let mut refusals = Vec::new();
    loop {
        if let Some(pod) = pod(kubernetes, settings).await? {
            let name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            if injected_role(&pod).is_none() {
                return Err(without_role(name));
            }
            match synced(kubernetes, &settings.namespace, name, SILENCE, &mut refusals, &task).await {
                Ok(false) => {}
                Ok(true) => return Ok(End::Synced),
                // Another pod takes its place.
                Err(error) if error.code == ErrorCode::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        // The log ended: the pod did, too. The rollout says why, unless it comes up again.
        wait.pause(Duration::from_millis(500)).await.map_err(|error| not_synced(error, &refusals))?;
        kubernetes.rollout(&settings.namespace, &settings.name, wait.clone(), |_| {}).await?;
    }
}

/// The pod that runs, newest first.
async fn pod(kubernetes: &Kubernetes, settings: &Settings) -> Result<Option<Value>> {
    let namespace = Some(settings.namespace.as_str());
    let Some(deployment) = kubernetes.get(&Kind::DEPLOYMENT, namespace, &settings.name).await? else { return Ok(None) };
    let mut pods = kubernetes.list(&Kind::POD, namespace, None, None).await?;
    pods.retain(|pod| belongs_to(pod, &deployment) && !is_ending(pod));
    let made = |pod: &Value| pod.pointer("/metadata/creationTimestamp").and_then(Value::as_str).map(str::to_owned);
    Ok(pods.into_iter().max_by_key(made))
}

/// The annotation was there before the pod: EKS's webhook wasn't.
fn without_role(pod: &str) -> Box<Error> {
    Error::new(ErrorCode::SyncFailed, format!("pod {pod} runs without the role"))
        .cause("the pod identity webhook of EKS, which gives pods their role when they are made, didn't answer")
        .hint("run the same command again: it restarts the pod")
}

/// Reads the pod's log until it says that it has synchronised; false where the log ends before, or falls silent: the
/// connection may have died without a word. Of what it has said so far, the last word counts, and refusals don't: this
/// run may have mended what they are about.
async fn synced(
    kubernetes: &Kubernetes,
    namespace: &str,
    pod: &str,
    silence: Duration,
    refusals: &mut Vec<(Class, String)>,
    task: &Task,
) -> Result<bool> {
    let start = Instant::now();
    let past = kubernetes.logs(namespace, pod, CONTAINER, false, Some(PAST_LINES), None).await?;
    if past.lines().rev().find_map(verdict) == Some(true) {
        return Ok(true);
    }
    let log = timeout(silence, kubernetes.follow_logs(namespace, pod, CONTAINER, start.elapsed()));
    let Ok(log) = log.await else { return Ok(false) };
    let mut log = Box::pin(log?);
    loop {
        let Ok(Some(line)) = timeout(silence, log.next()).await else { return Ok(false) };
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

/// True for a line that says that it has synchronised, false for one that says why it doesn't.
fn verdict(line: &str) -> Option<bool> {
    let class = logs::classify(line)?;
    let failed = logs::severity(&class) >= Severity::Error;
    (failed || logs::is_first_sync(&class)).then_some(!failed)
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::ui::Output;

    /// A log that was read, and one that is followed on a connection that dies after this, without a word.
    async fn is_read_anew(before: &'static str) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in ["HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", before] {
                let (mut stream, _) = listener.accept().unwrap();
                assert!(stream.read(&mut [0; 16 * 1024]).unwrap() > 0);
                stream.write_all(answer.as_bytes()).unwrap();
                if answer == before {
                    // Until the client goes away.
                    let _ = stream.read(&mut [0; 1]);
                }
            }
        });
        let wait = Wait::new(CancellationToken::new(), Duration::from_secs(20));
        let token = || std::future::ready(Ok("token".to_owned()));
        let kubernetes = Kubernetes::eks(&url, "", token, wait).await.unwrap();
        let task = Ui::new(Output::Table, true, false).task("");
        let silence = Duration::from_millis(200);
        let synced = synced(&kubernetes, "dns", "pod", silence, &mut Vec::new(), &task).await;
        assert!(!synced.unwrap());
    }

    #[tokio::test]
    async fn a_log_that_falls_silent_is_read_anew() {
        is_read_anew("").await;
        is_read_anew("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    }
}
