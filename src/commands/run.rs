//! From a plan to its end: shown, or approved, tested and carried out, and reported.

use futures::future::try_join;

use crate::Exit;
use crate::aws::Aws;
use crate::cli::shared;
use crate::context::Context;
use crate::error::{ErrorCode, RESUMES, Result};
use crate::k8s::Kubernetes;
use crate::plan::execute::{Tools, execute};
use crate::plan::{Outcome, Plan};
use crate::ui::{Ui, plan as text, unless_closed};

use super::preflight;

/// What became of a plan.
pub(super) enum Ended {
    /// It was only shown.
    Shown(Exit),
    /// Everything in it is done.
    Done(Plan),
}

/// Shows the plan, and carries it out where that is approved. The caller reports the end of an approved plan.
pub(super) async fn plan(
    context: &Context,
    options: &shared::Plan,
    mut plan: Plan,
    aws: &Aws,
    kubernetes: Option<&Kubernetes>,
) -> Result<Ended> {
    let ui = &context.ui;
    plan.approved = options.approve;
    plan.resolve(&std::collections::BTreeMap::default());
    if ui.output().is_document() {
        // The document has no place for them.
        plan.notes.iter().for_each(|note| ui.note(note));
    } else {
        unless_closed(ui.print(&text::text(&plan)))?;
    }
    if !options.approve {
        plan.mark(Outcome::Planned);
        return show_only(ui, options, &plan).map(Ended::Shown);
    }
    if plan.changes == 0 {
        return Ok(Ended::Done(plan));
    }
    plan.mark(Outcome::Skipped);
    let tools = Tools::new(aws, kubernetes, ui, &context.wait);
    let result = async {
        try_join(preflight::check(&plan, kubernetes, ui), preflight::foresee(&plan, aws)).await?;
        execute(&mut plan, &tools).await
    }
    .await;
    match result {
        Ok(()) => Ok(Ended::Done(plan)),
        Err(error) => {
            // Nothing is left half done without saying so.
            if ui.output().is_document() {
                // The error comes first.
                let _ = ui.document(&plan);
            } else {
                ui.say(&text::progress(&plan));
            }
            let error = match &plan.cluster {
                Some(cluster) => context.explain_access(error, cluster).await,
                None => error,
            };
            Err(if error.code == ErrorCode::Usage {
                error
            } else {
                error.or_hint(|| format!("run the same command again{RESUMES}"))
            })
        }
    }
}

fn show_only(ui: &Ui, options: &shared::Plan, plan: &Plan) -> Result<Exit> {
    if ui.output().is_document() {
        unless_closed(ui.document(plan))?;
    }
    if plan.changes > 0 {
        ui.say("No changes were applied: run again with --approve");
    }
    Ok(if plan.changes > 0 && options.detailed_exitcode { Exit::Changes } else { Exit::Success })
}

/// Reports a plan that is done: the document, or a few lines for people.
pub(super) fn report(ui: &Ui, plan: &Plan, lines: &[String]) -> Result<()> {
    if ui.output().is_document() {
        return ui.document(plan);
    }
    lines.iter().try_for_each(|line| ui.print(&format!("{line}\n")))
}
