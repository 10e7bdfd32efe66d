//! `delete iamserviceaccount`.

use futures::future::try_join;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;

use super::flags::{DEFAULT_NAMESPACE, required};
use super::run::{self, Ended};
use super::target::{self, Target};
use crate::Exit;
use crate::aws::eks::Cluster;
use crate::aws::{AT_ONCE, Aws};
use crate::cli::iamserviceaccount::Delete;
use crate::config::Entry;
use crate::config::filter::Filter;
use crate::context::Context;
use crate::error::{ErrorCode, Result};
use crate::k8s::Kubernetes;
use crate::observe::iamserviceaccount::{Place, Reader, objects_of};
use crate::plan::Plan;
use crate::plan::iamserviceaccount::{ObservedStack, ROLE_OUTPUT};
use crate::plan::removal::{StackRemoval, add_service_account, add_stack, external_role, names_a_role_of_ours};
use crate::stack::tags;
use crate::ui::Ui;

/// Removes both halves of service accounts with an IAM role: one by flags, those of a file, or those that it doesn't name.
pub(crate) async fn run(context: &Context, args: &Delete) -> Result<Exit> {
    let beside = [("--name", args.name.get().is_some()), ("--namespace", args.namespace.is_some())];
    let target = target::read(&args.target, &args.aws, &beside)?;
    if target.config.is_none() {
        required(&args.name)?;
    }
    let aws = context.aws(&target.aws).await?;
    let wanted = wanted(args, &target, aws).await?;
    let (cluster, places) = try_join(
        context.cluster_if_any(&target.aws, &target.cluster),
        places(aws, &context.ui, &target.cluster, &wanted),
    )
    .await?;
    let (kubernetes, objects) = objects(context, args, &target, cluster.as_ref(), &wanted).await?;
    let account = match &cluster {
        Some(cluster) => cluster.account.clone(),
        None => aws.caller().await?.account,
    };
    let cfn = target::cfn(&args.cfn, &aws.partition(), &account)?;
    let mut plan = Plan::new(Some(&target.cluster), aws.region(), &account);
    let mut absent = Vec::new();
    for ((one, place), object) in wanted.iter().zip(&places).zip(&objects) {
        let before = plan.changes;
        let service_account = format!("{}/{}", one.namespace, one.name);
        let removal = StackRemoval {
            cluster: &target.cluster,
            service_account: &service_account,
            wait: args.wait,
            detach_foreign: args.detach_foreign_policies,
            role_arn: cfn.role_arn.as_deref(),
        };
        add(&mut plan, removal, one, place.stack.as_ref(), object.as_ref())?;
        if plan.changes > before {
            continue;
        }
        match object.as_ref().and_then(external_role) {
            Some(role) => plan.note(format!(
                "ServiceAccount {service_account} is external: its annotation names role {role}, which others made; it \
                 is left alone"
            )),
            None => absent.push(one),
        }
    }
    if !absent.is_empty() {
        let owners = match owners(aws, &target.cluster).await {
            Err(error) if error.code == ErrorCode::AccessDenied => {
                context.ui.warn(&format!("whether there is one in another namespace can't be read: {error}"));
                Vec::new()
            }
            owners => owners?,
        };
        tell_absent(&context.ui, &absent, &owners);
    }
    match run::plan(context, &args.plan, plan, aws, kubernetes.as_ref()).await? {
        Ended::Shown(exit) => Ok(exit),
        Ended::Done(plan) => {
            run::report(&context.ui, &plan, &[])?;
            Ok(Exit::Success)
        }
    }
}

async fn places(aws: &Aws, ui: &Ui, cluster: &str, wanted: &[Wanted]) -> Result<Vec<Place>> {
    let reader = Reader::new(aws, ui, wanted.len()).await?;
    let places = stream::iter(wanted).map(|one| reader.place(cluster, (&one.namespace, &one.name)));
    places.buffered(AT_ONCE).try_collect().await
}

/// A service account that goes.
struct Wanted {
    namespace: String,
    name: String,
    role_only: bool,
}

async fn wanted(args: &Delete, target: &Target, aws: &Aws) -> Result<Vec<Wanted>> {
    let Some(config) = &target.config else {
        let namespace = args.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let name = required(&args.name)?.to_owned();
        return Ok(vec![Wanted { namespace, name, role_only: args.role_only }]);
    };
    let entries = config.entries()?;
    let named = |entry: &Entry| Wanted {
        namespace: entry.namespace.clone(),
        name: entry.name.clone(),
        role_only: args.role_only || entry.role_only,
    };
    let candidates = if args.only_missing {
        let owners = owners(aws, &target.cluster).await?;
        let kept = |owner: &(String, String)| {
            *owner != (IMPLICIT.0.to_owned(), IMPLICIT.1.to_owned())
                && entries.iter().all(|entry| (&entry.namespace, &entry.name) != (&owner.0, &owner.1))
        };
        let missing = owners.into_iter().filter(kept);
        missing.map(|(namespace, name)| Wanted { namespace, name, role_only: args.role_only }).collect()
    } else {
        entries.iter().map(named).collect()
    };
    let filter = Filter::new(&args.selection.include, &args.selection.exclude)?;
    Ok(filter.part(candidates, |one: &Wanted| format!("{}/{}", one.namespace, one.name))?.0)
}

/// eksctl makes it without a file's asking, so no file names it.
const IMPLICIT: (&str, &str) = ("kube-system", "aws-node");

/// Those that have a stack in the cluster, as (namespace, name).
async fn owners(aws: &Aws, cluster: &str) -> Result<Vec<(String, String)>> {
    let stacks = aws.stacks().await?;
    let mine = stacks.iter().filter(|stack| tags::cluster(&stack.tags) == Some(cluster));
    Ok(mine.filter_map(|stack| tags::owner(&stack.tags)).collect())
}

async fn objects(
    context: &Context,
    args: &Delete,
    target: &Target,
    cluster: Option<&Cluster>,
    wanted: &[Wanted],
) -> Result<(Option<Kubernetes>, Vec<Option<Value>>)> {
    let Some(cluster) = cluster.filter(|_| wanted.iter().any(|one| !one.role_only)) else {
        return Ok((None, vec![None; wanted.len()]));
    };
    let kubernetes = context.kubernetes(cluster, &target.aws, &args.kube).await?;
    let who = wanted.iter().map(|one| {
        let who = (one.namespace.as_str(), one.name.as_str());
        (!one.role_only).then_some(who)
    });
    match objects_of(&kubernetes, &context.ui, &who.collect::<Vec<_>>()).await {
        Ok(found) => Ok((Some(kubernetes), found.into_iter().map(|objects| objects.service_account).collect())),
        Err(error) => Err(context.explain_access(error, &cluster.name).await),
    }
}

fn add(
    plan: &mut Plan,
    removal: StackRemoval<'_>,
    one: &Wanted,
    stack: Option<&ObservedStack>,
    object: Option<&Value>,
) -> Result<()> {
    let step = stack.map(|found| add_stack(plan, removal, found, &[])).transpose()?;
    let role = stack.and_then(|found| found.stack.outputs.get(ROLE_OUTPUT)).map(String::as_str);
    if let Some(object) = object.filter(|object| step.is_some() || names_a_role_of_ours(object)) {
        let who = (one.namespace.as_str(), one.name.as_str());
        add_service_account(plan, who, object, role, &step.into_iter().collect::<Vec<_>>());
    }
    Ok(())
}

/// Nothing of those names: says where there is one.
fn tell_absent(ui: &Ui, absent: &[&Wanted], owners: &[(String, String)]) {
    for one in absent {
        ui.note(&format!("no iamserviceaccount {}/{} found", one.namespace, one.name));
        let others = owners.iter().filter(|(_, name)| *name == one.name);
        let elsewhere: Vec<_> = others.map(|(namespace, name)| format!("{namespace}/{name}")).collect();
        if !elsewhere.is_empty() {
            ui.warn(&format!("there is {}: did you mean another --namespace?", elsewhere.join(", ")));
        }
    }
}
