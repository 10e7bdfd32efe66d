//! What both verifications share: looking again, printing, and the exit code.

use futures::future::join;

use crate::Exit;
use crate::cli::shared;
use crate::cli::verify::How;
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::k8s::Kind;
use crate::observe::verify::{Observer, PAUSE, look};
use crate::ui::{report, unless_closed};
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
        unless_closed(ui.document(&report))?;
    } else {
        let seen = report.checks.iter().all(|check| check.status != Status::Skip);
        unless_closed(ui.print(&report::text(&report, if seen { works } else { "No broken link was found" })))?;
    }
    Ok(if holds(&report, how) { Exit::Success } else { Exit::Broken })
}

/// What every verification begins with: the caller and the cluster. The observer of what comes after is none where there
/// is no such cluster, which the report says then.
pub(super) async fn begin<'c>(
    context: &'c Context,
    cluster: &shared::Cluster,
    how: &How,
    aws: &shared::Aws,
    kube: &shared::Kube,
) -> Result<(Report, Option<Observer<'c>>)> {
    let client = context.aws(aws).await?;
    let (caller, found) = join(client.caller(), context.cluster(aws, &cluster.cluster)).await;
    let mut report = Report::default();
    report.extend([Check::pass(ids::CALLER, format!("{} in {}", caller?.arn, client.region()))]);
    let (cluster, issuer) = match found {
        Ok(found) => found,
        Err(error) => {
            report.extend([no_cluster(error)?]);
            return Ok((report, None));
        }
    };
    let kubernetes = match context.kubernetes(&cluster, aws, kube).await {
        Err(error) if error.code == ErrorCode::Usage => return Err(error),
        connected => look(connected)?,
    };
    Ok((report, Some(Observer { aws: client, kubernetes, cluster, issuer, live: how.live })))
}

/// The check of a cluster that isn't there.
///
/// # Errors
/// Where the cluster couldn't be asked for.
fn no_cluster(error: Box<Error>) -> Result<Check> {
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
