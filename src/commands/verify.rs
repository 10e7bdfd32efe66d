//! What both verifications share: looking again, printing, and the exit code.

use crate::Exit;
use crate::cli::verify::How;
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::k8s::Kind;
use crate::observe::verify::{Observer, PAUSE};
use crate::ui::report;
use crate::verify::{Check, Report, Status, ids};

/// Looks, again and again with `--wait`, and reports the last look.
pub(super) async fn run(
    context: &Context,
    how: &How,
    works: &str,
    look: impl AsyncFn() -> Result<Report>,
) -> Result<Exit> {
    let mut report = look().await?;
    let task = how.wait.then(|| context.ui.task("waiting until every link holds"));
    while how.wait && !holds(&report, how) {
        let again = async {
            context.wait.pause(PAUSE).await?;
            look().await
        };
        match again.await {
            Ok(found) => report = found,
            // The time is over: what was seen last is the answer.
            Err(error) if error.code == ErrorCode::Timeout => break,
            Err(error) => return Err(error),
        }
    }
    drop(task);
    let ui = &context.ui;
    if ui.output().is_document() {
        ui.document(&report)?;
    } else {
        let seen = report.checks.iter().all(|check| check.status != Status::Skip);
        ui.print(&report::text(&report, if seen { works } else { "No broken link was found" }))?;
    }
    Ok(if holds(&report, how) { Exit::Success } else { Exit::Broken })
}

/// The check of a cluster that isn't there.
///
/// # Errors
/// Where the cluster couldn't be asked for.
pub(super) fn no_cluster(error: Box<Error>) -> Result<Check> {
    if !matches!(error.code, ErrorCode::ClusterNotFound | ErrorCode::ClusterNotActive) {
        return Err(error);
    }
    let check = Check::fail(ids::CLUSTER, error.message.clone());
    Ok(match error.hint {
        Some(hint) => check.hint(hint),
        None => check,
    })
}

/// The check of the cluster, whose API answered, or can't be read; then with what gives the caller access.
pub(super) async fn cluster(context: &Context, observer: &Observer<'_>, unread: Option<&str>) -> Check {
    let arn = &observer.cluster.arn;
    let Some(why) = unread else { return Check::pass(ids::CLUSTER, format!("{arn}, issuer {}", observer.issuer)) };
    let check = Check::skip(ids::CLUSTER, format!("{arn}, whose Kubernetes API can't be read: {why}"));
    match access(context, observer).await {
        Some(hint) => check.hint(hint),
        None => check,
    }
}

async fn access(context: &Context, observer: &Observer<'_>) -> Option<String> {
    let kubernetes = observer.kubernetes.as_ref().ok()?;
    let error = kubernetes.list(&Kind::SERVICE_ACCOUNT, None, None, None).await.err()?;
    context.explain_access(error, &observer.cluster.name).await.hint.clone()
}

fn holds(report: &Report, how: &How) -> bool {
    report.ok && !(how.strict && report.has_warnings())
}
