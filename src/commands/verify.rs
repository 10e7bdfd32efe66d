//! What both verifications share: looking again, printing, and the exit code.

use crate::Exit;
use crate::cli::verify::How;
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::observe::verify::PAUSE;
use crate::ui::report;
use crate::verify::{Check, Report, ids};

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
        ui.print(&report::text(&report, works))?;
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

fn holds(report: &Report, how: &How) -> bool {
    report.ok && !(how.strict && report.has_warnings())
}
