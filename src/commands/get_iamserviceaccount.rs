//! `get iamserviceaccount`.

use super::target;
use crate::Exit;
use crate::cli::iamserviceaccount::Get;
use crate::context::Context;
use crate::error::Result;
use crate::inventory::{Policy, Row, rows};
use crate::observe::inventory;
use crate::ui::age::age;
use crate::ui::{Output, Ui, table};

/// Lists the service accounts with IAM roles.
pub(crate) async fn run(context: &Context, args: &Get) -> Result<Exit> {
    let target = target::read(&args.target, &args.aws, &[])?;
    let args = Get { aws: target.aws, ..args.clone() };
    let seen = inventory::read(context, &args, &target.cluster).await?;
    let mut rows = rows(&target.cluster, &seen);
    rows.retain(|row| args.namespace.as_ref().is_none_or(|namespace| row.metadata.namespace == *namespace));
    rows.retain(|row| args.name.get().is_none_or(|name| row.metadata.name == name));
    if let Some(problem) =
        seen.provider_problem.filter(|problem| rows.iter().any(|row| row.status.drift.contains(problem)))
    {
        let region = context.aws(&args.aws).await?.region();
        context.ui.warn(&format!(
            "{problem}; irsactl utils associate-iam-oidc-provider --cluster {} --region {region} --approve mends it",
            target.cluster
        ));
    }
    print(&context.ui, &rows)?;
    Ok(Exit::Success)
}

fn print(ui: &Ui, rows: &[Row]) -> Result<()> {
    match ui.output() {
        Output::Json | Output::Yaml => ui.document(&rows),
        Output::Table | Output::Wide if rows.is_empty() => ui.print("No iamserviceaccounts found\n"),
        Output::Table => ui.print(&table::render(&SHORT, &rows.iter().map(short).collect::<Vec<_>>())),
        Output::Wide => {
            let header: Vec<_> = SHORT.into_iter().chain(MORE).collect();
            let now = jiff::Timestamp::now().as_second();
            ui.print(&table::render(&header, &rows.iter().map(|row| wide(row, now)).collect::<Vec<_>>()))
        }
    }
}

const SHORT: [&str; 4] = ["NAMESPACE", "NAME", "ROLE ARN", "STATE"];
const MORE: [&str; 7] = ["SOURCE", "AGE", "STACK", "STACK STATUS", "POLICIES", "BOUNDARY", "DRIFT"];

fn short(row: &Row) -> Vec<String> {
    let role = or_dash(row.status.role_arn.clone());
    vec![row.metadata.namespace.clone(), row.metadata.name.clone(), role, row.status.state.as_str().to_owned()]
}

fn wide(row: &Row, now: i64) -> Vec<String> {
    let status = &row.status;
    let policies = status.policies.iter().flatten().map(|policy| policy_name(policy, status.stack_name.as_deref()));
    let mut cells = short(row);
    cells.extend([
        status.source.as_str().to_owned(),
        or_dash(status.created_at.map(|made| age(now - made.as_second()))),
        or_dash(status.stack_name.clone()),
        or_dash(status.stack_status.clone()),
        or_dash(Some(policies.collect::<Vec<_>>().join(", "))),
        or_dash(status.permissions_boundary.clone()),
        or_dash(Some(status.drift.join("; "))),
    ]);
    cells
}

/// An inline policy is named after its stack, which has a column of its own.
fn policy_name(policy: &Policy, stack: Option<&str>) -> String {
    if policy.arn.is_some() {
        return policy.name.clone();
    }
    let own = stack.and_then(|stack| policy.name.strip_prefix(stack)?.strip_prefix('-'));
    format!("{} (inline)", own.unwrap_or(&policy.name))
}

fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
}
