//! `get iamserviceaccount`.

use super::target;
use crate::Exit;
use crate::cli::iamserviceaccount::Get;
use crate::context::Context;
use crate::error::Result;
use crate::inventory::{Row, Seen, rows};
use crate::observe::inventory;
use crate::ui::{Output, table};

/// Lists the service accounts with IAM roles.
pub(crate) async fn run(context: &Context, args: &Get) -> Result<Exit> {
    let target = target::read(&args.target, &args.aws, &[])?;
    let args = Get { aws: target.aws, ..args.clone() };
    let seen: Seen = inventory::read(context, &args, &target.cluster).await?;
    let mut rows = rows(&target.cluster, &seen);
    rows.retain(|row| args.namespace.as_ref().is_none_or(|namespace| row.metadata.namespace == *namespace));
    rows.retain(|row| args.name.get().is_none_or(|name| row.metadata.name == name));
    let ui = &context.ui;
    match ui.output() {
        Output::Json | Output::Yaml => ui.document(&rows)?,
        Output::Table | Output::Wide if rows.is_empty() => ui.print("No iamserviceaccounts found\n")?,
        Output::Table => ui.print(&table::render(&HEADER, &rows.iter().map(short).collect::<Vec<_>>()))?,
        Output::Wide => {
            let header: Vec<_> = HEADER.into_iter().chain(["SOURCE", "STACK", "STACK STATUS", "DRIFT"]).collect();
            ui.print(&table::render(&header, &rows.iter().map(wide).collect::<Vec<_>>()))?;
        }
    }
    Ok(Exit::Success)
}

const HEADER: [&str; 4] = ["NAMESPACE", "NAME", "ROLE ARN", "STATE"];

fn short(row: &Row) -> Vec<String> {
    let role = row.status.role_arn.clone().unwrap_or_else(|| "-".to_owned());
    vec![row.metadata.namespace.clone(), row.metadata.name.clone(), role, row.status.state.as_str().to_owned()]
}

fn wide(row: &Row) -> Vec<String> {
    let or_dash = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let status = &row.status;
    let mut cells = short(row);
    cells.extend([
        status.source.as_str().to_owned(),
        or_dash(&status.stack_name),
        or_dash(&status.stack_status),
        if status.drift.is_empty() { "-".to_owned() } else { status.drift.join("; ") },
    ]);
    cells
}
