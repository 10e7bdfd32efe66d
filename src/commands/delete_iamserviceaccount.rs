//! `delete iamserviceaccount`.

use futures::future::try_join;
use serde_json::Value;

use super::create_iamserviceaccount::required;
use super::run::{self, Ended};
use crate::Exit;
use crate::aws::Aws;
use crate::aws::eks::Cluster;
use crate::cli::iamserviceaccount::Delete;
use crate::context::Context;
use crate::error::Result;
use crate::k8s::{Kind, Kubernetes};
use crate::observe::iamserviceaccount::place;
use crate::plan::Plan;
use crate::plan::iamserviceaccount::ObservedStack;
use crate::plan::removal::{StackRemoval, add_service_account, add_stack, names_a_role_of_ours};
use crate::stack::tags;

/// Removes both halves of a service account with an IAM role.
pub(crate) async fn run(context: &Context, args: &Delete) -> Result<Exit> {
    let name = required(&args.name)?;
    let who = (args.namespace.as_str(), name);
    let aws = context.aws(&args.aws).await?;
    let (cluster, place) = try_join(
        context.cluster_if_any(&args.aws, &args.cluster.cluster),
        place(aws, &args.cluster.cluster, who.0, who.1),
    )
    .await?;
    let (kubernetes, object) = object(context, args, cluster.as_ref(), who).await?;
    let account = match &cluster {
        Some(cluster) => cluster.account.clone(),
        None => aws.caller().await?.account,
    };
    let mut plan = Plan::new(Some(&args.cluster.cluster), aws.region(), &account);
    add(&mut plan, args, who, place.stack.as_ref(), object.as_ref())?;
    if plan.changes == 0 {
        not_found(context, aws, args, who).await?;
    }
    match run::plan(context, &args.plan, plan, aws, kubernetes.as_ref()).await? {
        Ended::Shown(exit) => Ok(exit),
        Ended::Done(plan) => {
            run::report(&context.ui, &plan, &[])?;
            Ok(Exit::Success)
        }
    }
}

async fn object(
    context: &Context,
    args: &Delete,
    cluster: Option<&Cluster>,
    (namespace, name): (&str, &str),
) -> Result<(Option<Kubernetes>, Option<Value>)> {
    let Some(cluster) = cluster.filter(|_| !args.role_only) else { return Ok((None, None)) };
    let kubernetes = context.kubernetes(cluster, &args.aws, &args.kube).await?;
    match kubernetes.get(&Kind::SERVICE_ACCOUNT, Some(namespace), name).await {
        Ok(object) => Ok((Some(kubernetes), object)),
        Err(error) => Err(context.explain_access(error, &cluster.name).await),
    }
}

fn add(
    plan: &mut Plan,
    args: &Delete,
    who: (&str, &str),
    stack: Option<&ObservedStack>,
    object: Option<&Value>,
) -> Result<()> {
    let service_account = format!("{}/{}", who.0, who.1);
    let removal = StackRemoval {
        cluster: &args.cluster.cluster,
        service_account: &service_account,
        wait: args.wait,
        detach_foreign: args.detach_foreign_policies,
    };
    let step = stack.map(|found| add_stack(plan, removal, found, &[])).transpose()?;
    let role = stack.and_then(|found| found.stack.outputs.get("Role1")).map(String::as_str);
    if let Some(object) = object.filter(|object| step.is_some() || names_a_role_of_ours(object)) {
        add_service_account(plan, who, object, role, &step.into_iter().collect::<Vec<_>>());
    }
    Ok(())
}

/// Nothing of that name: says where there is one.
async fn not_found(context: &Context, aws: &Aws, args: &Delete, (namespace, name): (&str, &str)) -> Result<()> {
    let stacks = aws.stacks().await?;
    let mine = stacks.iter().filter(|stack| tags::cluster(&stack.tags) == Some(&args.cluster.cluster));
    let owners = mine.filter_map(|stack| tags::owner(&stack.tags)).filter(|(_, other)| other == name);
    let elsewhere: Vec<_> = owners.map(|(namespace, name)| format!("{namespace}/{name}")).collect();
    context.ui.note(&format!("no iamserviceaccount {namespace}/{name} found"));
    if !elsewhere.is_empty() {
        context.ui.warn(&format!("there is {}: did you mean another --namespace?", elsewhere.join(", ")));
    }
    Ok(())
}
