//! `uninstall external-dns`: the reverse of `install`. DNS records stay, and are named.

use futures::future::{try_join, try_join_all, try_join3};
use serde_json::Value;

use super::run::{self, Ended};
use crate::Exit;
use crate::aws::Aws;
use crate::aws::eks::Cluster;
use crate::aws::iam::Policy;
use crate::aws::sts::Caller;
use crate::cli::externaldns::Uninstall;
use crate::cli::policy::SHARED_POLICY;
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::externaldns::args::Installed;
use crate::externaldns::leftovers;
use crate::externaldns::manifest::bound_service_account;
use crate::externaldns::owner::{derived_owner_id, scoped_policy};
use crate::iam::arn::iam_arn;
use crate::k8s::Kind;
use crate::observe;
use crate::observe::externaldns::InCluster;
use crate::observe::records::{self, Leftover};
use crate::plan::externaldns::Objects;
use crate::plan::iamserviceaccount::ObservedStack;
use crate::plan::removal::{
    StackRemoval, add_namespace, add_object, add_policy, add_service_account, add_stack, is_made_by_irsactl,
    names_a_role_of_ours,
};
use crate::plan::{Plan, StepId};
use crate::stack::template;
use crate::verify::Look;

/// Removes ExternalDNS, its role and what else irsactl made for it.
pub(crate) async fn run(context: &Context, args: &Uninstall) -> Result<Exit> {
    let aws = context.aws(&args.aws).await?;
    let seen = read(context, args).await?;
    let mut plan = Plan::new(Some(&args.cluster.cluster), aws.region(), &seen.caller.account);
    add(&mut plan, args, &seen)?;
    note_leftovers(&mut plan, args, &seen);
    match run::plan(context, &args.plan, plan, aws, seen.found.as_ref().map(|found| &found.kubernetes)).await? {
        Ended::Shown(exit) => Ok(exit),
        Ended::Done(plan) => {
            let mut lines = Vec::new();
            if plan.changes == 0 {
                lines.push(format!("no ExternalDNS {}/{} is installed", args.namespace, args.name));
            }
            lines.push("the IAM OIDC provider stays: other service accounts may use it".to_owned());
            run::report(&context.ui, &plan, &lines)?;
            Ok(Exit::Success)
        }
    }
}

/// Everything that was read.
struct Seen {
    /// Who is calling.
    caller: Caller,
    /// The stack.
    stack: Option<ObservedStack>,
    /// The cluster; none with `--aws-only`, and where it is gone.
    found: Option<InCluster>,
    /// The policies that may go, and whom they are attached to.
    policies: Vec<(Policy, Look<Vec<String>>)>,
    /// What is in a namespace that irsactl made, or why that can't be read.
    contents: Look<Vec<String>>,
    /// What ExternalDNS was told; none without its Deployment.
    installed: Option<Installed>,
    /// The records that stay, as far as it is known whose they are.
    leftovers: Vec<Leftover>,
}

async fn read(context: &Context, args: &Uninstall) -> Result<Seen> {
    let aws = context.aws(&args.aws).await?;
    let cluster_name = &args.cluster.cluster;
    let (cluster, place, caller) = try_join3(
        context.cluster_if_any(&args.aws, cluster_name),
        observe::iamserviceaccount::place(aws, cluster_name, &args.namespace, &args.name),
        aws.caller(),
    )
    .await?;
    let stack = place.stack;
    let (found, named) =
        try_join(in_cluster(context, args, cluster.as_ref()), policies(aws, named_policies(stack.as_ref()))).await?;
    let deployment = found.as_ref().and_then(|found| found.objects.deployment.as_ref());
    let unnamed = match &stack {
        None => left_policies(found.as_ref(), &caller, aws.region(), args),
        Some(_) => Vec::new(),
    };
    let installed = deployment.and_then(Installed::from_deployment);
    let (leftovers, unnamed, contents) = try_join3(
        leftovers(context, aws, installed.as_ref()),
        policies(aws, unnamed),
        contents(found.as_ref(), &args.namespace),
    )
    .await?;
    Ok(Seen { caller, stack, policies: [named, unnamed].concat(), contents, installed, leftovers, found })
}

async fn leftovers(context: &Context, aws: &Aws, installed: Option<&Installed>) -> Result<Vec<Leftover>> {
    match installed.filter(|installed| leftovers::untold(aws.region(), installed).is_none()) {
        Some(installed) => records::leftovers(aws, &context.ui, installed).await,
        None => Ok(Vec::new()),
    }
}

async fn in_cluster(context: &Context, args: &Uninstall, cluster: Option<&Cluster>) -> Result<Option<InCluster>> {
    let Some(cluster) = cluster.filter(|_| !args.aws_only) else { return Ok(None) };
    let kubernetes = context.kubernetes(cluster, &args.aws, &args.kube).await?;
    match observe::externaldns::in_cluster(kubernetes, &args.namespace, &args.name).await {
        Ok(found) => Ok(Some(found)),
        Err(error) => Err(context.explain_access(error, &cluster.name).await),
    }
}

/// The policies that the stack's template names, AWS's own excepted. The role may be gone already.
fn named_policies(stack: Option<&ObservedStack>) -> Vec<String> {
    let named = stack.and_then(|found| template::read(&found.template).ok()).unwrap_or_default().managed_arns();
    named.into_iter().filter(|arn| !arn.contains(":iam::aws:")).collect()
}

/// The policies that a stack of this installation may have named, where it was deleted by others: that of its own, and
/// the shared one where the ServiceAccount tells that there was an installation.
fn left_policies(found: Option<&InCluster>, caller: &Caller, region: &str, args: &Uninstall) -> Vec<String> {
    let account = found.and_then(|found| found.service_account.as_ref());
    let scoped = scoped_policy(SHARED_POLICY, region, &args.cluster.cluster, &args.name);
    let shared = account.is_some_and(names_a_role_of_ours).then(|| SHARED_POLICY.to_owned());
    let names = std::iter::once(scoped).chain(shared);
    names.map(|name| iam_arn(&caller.partition, &caller.account, "policy", "/", &name)).collect()
}

/// Policies that exist, and whom they are attached to.
async fn policies(aws: &Aws, arns: Vec<String>) -> Result<Vec<(Policy, Look<Vec<String>>)>> {
    let reads = arns.into_iter().map(|arn| async move {
        let Some(policy) = aws.policy(&arn).await? else { return Ok(None) };
        Ok::<_, Box<Error>>(Some((policy, observe::policy::users(aws, &arn).await?)))
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

/// What is in a namespace that irsactl made, or why that can't be read.
async fn contents(found: Option<&InCluster>, namespace: &str) -> Result<Look<Vec<String>>> {
    let Some(found) = found.filter(|found| found.namespace.as_ref().is_some_and(is_made_by_irsactl)) else {
        return Ok(Ok(Vec::new()));
    };
    match found.kubernetes.contents(namespace).await {
        Err(error) if matches!(error.code, ErrorCode::Timeout | ErrorCode::Interrupted) => Err(error),
        contents => Ok(contents.map_err(|error| error.to_string())),
    }
}

/// The namespace of the installation that the cluster-scoped objects of this name belong to, if it is another one.
fn serves_elsewhere(objects: &Objects, (namespace, name): (&str, &str)) -> Option<String> {
    let bound = objects.cluster_role_binding.as_ref().and_then(bound_service_account).map(|(namespace, _)| namespace);
    let same_name = |deployment: &&Value| deployment.pointer("/metadata/name").is_some_and(|found| found == name);
    let of = |deployment: &Value| deployment.pointer("/metadata/namespace")?.as_str().map(str::to_owned);
    let running = || objects.installations.iter().filter(same_name).find_map(of);
    let own = objects.deployment.is_some();
    bound.or_else(|| running().filter(|_| !own)).filter(|found| found != namespace)
}

fn add(plan: &mut Plan, args: &Uninstall, seen: &Seen) -> Result<()> {
    let who = (args.namespace.as_str(), args.name.as_str());
    let mut done: Vec<StepId> = Vec::new();
    if let Some(found) = &seen.found {
        let objects = &found.objects;
        done.extend(add_object(plan, &Kind::DEPLOYMENT, objects.deployment.as_ref(), &[]));
        if let Some(namespace) = serves_elsewhere(objects, who) {
            plan.note(format!(
                "ClusterRole and ClusterRoleBinding of this name serve namespace {namespace} and are left alone; what is \
                 installed there goes with --namespace {namespace}"
            ));
        } else {
            let pods = done.clone();
            done.extend(add_object(plan, &Kind::CLUSTER_ROLE_BINDING, objects.cluster_role_binding.as_ref(), &pods));
            done.extend(add_object(plan, &Kind::CLUSTER_ROLE, objects.cluster_role.as_ref(), &pods));
        }
    }
    let service_account = format!("{}/{}", who.0, who.1);
    let removal = StackRemoval {
        cluster: &args.cluster.cluster,
        service_account: &service_account,
        wait: true,
        detach_foreign: args.detach_foreign_policies,
        role_arn: None,
    };
    let stack = seen.stack.as_ref();
    let policies = seen.policies.iter().filter_map(|(policy, users)| add_policy(plan, policy, users, stack, &done));
    let mut aws: Vec<StepId> = policies.collect();
    // The stack goes after its policies: it tells a run that goes on what they are called.
    let before = [done.as_slice(), &aws].concat();
    aws.extend(stack.map(|found| add_stack(plan, removal, found, &before)).transpose()?);
    let Some(found) = &seen.found else { return Ok(()) };
    // The ServiceAccount goes last: it tells a run that goes on what an earlier one was about.
    let installed = stack.is_some() || found.objects.deployment.is_some();
    let wanted = |object: &&Value| installed || names_a_role_of_ours(object);
    if let Some(object) = found.service_account.as_ref().filter(wanted) {
        let role = stack.and_then(|found| found.role.as_ref());
        let arn = role.map(|role| role.role.arn.as_str());
        done.extend(add_service_account(plan, who, object, arn, &aws));
    }
    if let Some(namespace) = found.namespace.as_ref().filter(|found| is_made_by_irsactl(found)) {
        add_namespace(plan, namespace, &seen.contents, &done);
    }
    Ok(())
}

fn note_leftovers(plan: &mut Plan, args: &Uninstall, seen: &Seen) {
    let Some(installed) = &seen.installed else {
        if plan.changes > 0 {
            let Caller { account, partition, .. } = &seen.caller;
            let cluster = &args.cluster.cluster;
            let arn = format!("arn:{partition}:eks:{}:{account}:cluster/{cluster}", plan.region);
            let owner = derived_owner_id(cluster, &arn, &args.name);
            plan.note(format!(
                "DNS records stay, but which isn't known without the Deployment; unless --txt-owner-id said otherwise, \
                 this lists them: irsactl get dnsrecords --region {} --owner {owner}",
                plan.region
            ));
        }
        return;
    };
    if let Some(why) = leftovers::untold(&plan.region, installed) {
        plan.note(format!("DNS records stay, but which isn't known: {why}"));
    }
    for Leftover { zone, sets } in &seen.leftovers {
        let names: String = sets.iter().map(|set| format!("\n    {}", leftovers::title(set))).collect();
        plan.note(format!("these records stay in zone {} ({}):{names}", zone.name, zone.id));
        let commands = leftovers::commands(&zone.id, sets).join("\n");
        plan.note(format!("irsactl deletes no DNS records; once nothing needs them, this does:\n{commands}"));
    }
}
