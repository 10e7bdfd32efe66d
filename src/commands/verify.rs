//! What both verifications share: looking again, printing, and the exit code.

use crate::Exit;
use crate::cli::verify::How;
use crate::context::Context;
use crate::error::{ErrorCode, Result};
use crate::observe::verify::PAUSE;
use crate::ui::report;
use crate::verify::Report;

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

fn holds(report: &Report, how: &How) -> bool {
    report.ok && !(how.strict && report.has_warnings())
}
