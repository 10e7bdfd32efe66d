//! `uninstall external-dns`: the reverse of `install`. DNS records stay, and are named.

use futures::future::{try_join, try_join_all};

use super::run::{self, Ended};
use crate::Exit;
use crate::aws::Aws;
use crate::aws::eks::Cluster;
use crate::aws::iam::Policy;
use crate::cli::externaldns::Uninstall;
use crate::context::Context;
use crate::error::{ErrorCode, Result};
use crate::externaldns::args::Installed;
use crate::k8s::Kind;
use crate::observe;
use crate::observe::externaldns::InCluster;
use crate::observe::records::{self, Leftover};
use crate::plan::iamserviceaccount::{MANAGED_BY, ObservedStack, label};
use crate::plan::removal::{StackRemoval, add_object, add_policy, add_service_account, add_stack, names_policy, uid};
use crate::plan::{Action, Op, Plan, Step, StepId};
use crate::stack::template;

/// Removes ExternalDNS, its role and what else irsactl made for it.
pub(crate) async fn run(context: &Context, args: &Uninstall) -> Result<Exit> {
    let aws = context.aws(&args.aws).await?;
    let cluster_name = &args.cluster.cluster;
    let who = (args.namespace.as_str(), args.name.as_str());
    let (cluster, place) = try_join(
        context.cluster_if_any(&args.aws, cluster_name),
        observe::iamserviceaccount::place(aws, cluster_name, who.0, who.1),
    )
    .await?;
    let (found, policies) =
        try_join(in_cluster(context, args, cluster.as_ref()), policies(aws, place.stack.as_ref())).await?;
    let installed =
        found.as_ref().and_then(|found| found.objects.deployment.as_ref()).and_then(Installed::from_deployment);
    let leftovers = records::leftovers(aws, &context.ui, installed.as_ref()).await?;
    let account = match &cluster {
        Some(cluster) => cluster.account.clone(),
        None => aws.caller().await?.account,
    };

    let mut plan = Plan::new(Some(cluster_name), aws.region(), &account);
    add(&mut plan, args, who, place.stack.as_ref(), found.as_ref(), &policies)?;
    note_leftovers(&mut plan, &leftovers);
    let kubernetes = found.as_ref().map(|found| &found.kubernetes);
    match run::plan(context, &args.plan, plan, aws, kubernetes).await? {
        Ended::Shown(exit) => Ok(exit),
        Ended::Done(plan) => {
            let mut lines = Vec::new();
            if plan.changes == 0 {
                lines.push(format!("no ExternalDNS {}/{} is installed", who.0, who.1));
            }
            lines.push("the IAM OIDC provider stays: other service accounts may use it".to_owned());
            run::report(&context.ui, &plan, &lines)?;
            Ok(Exit::Success)
        }
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

/// The managed policies of the stack's role, and whom they are attached to.
async fn policies(aws: &Aws, stack: Option<&ObservedStack>) -> Result<Vec<(Policy, Option<Vec<String>>)>> {
    let attached = stack.and_then(|found| found.role.as_ref()).map(|role| role.attached.clone()).unwrap_or_default();
    let own = stack.and_then(|found| template::read(&found.template).ok()).unwrap_or_default();
    let named = attached.into_iter().map(|(_, arn)| arn).filter(|arn| {
        !arn.contains(":iam::aws:") && own.managed_policies.iter().any(|policy| names_policy(policy, arn))
    });
    let reads = named.map(|arn| async move {
        let Some(policy) = aws.policy(&arn).await? else { return Ok(None) };
        let users = match aws.policy_users(&arn).await {
            Ok(users) => Some(users),
            Err(error) if error.code == ErrorCode::AccessDenied => None,
            Err(error) => return Err(error),
        };
        Ok(Some((policy, users)))
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

fn add(
    plan: &mut Plan,
    args: &Uninstall,
    who: (&str, &str),
    stack: Option<&ObservedStack>,
    found: Option<&InCluster>,
    policies: &[(Policy, Option<Vec<String>>)],
) -> Result<()> {
    let mut done: Vec<StepId> = Vec::new();
    if let Some(found) = found {
        let objects = &found.objects;
        done.extend(add_object(plan, &Kind::DEPLOYMENT, objects.deployment.as_ref(), &[]));
        let pods = done.clone();
        done.extend(add_object(plan, &Kind::CLUSTER_ROLE_BINDING, objects.cluster_role_binding.as_ref(), &pods));
        done.extend(add_object(plan, &Kind::CLUSTER_ROLE, objects.cluster_role.as_ref(), &pods));
    }
    let service_account = format!("{}/{}", who.0, who.1);
    let removal = StackRemoval {
        cluster: &args.cluster.cluster,
        service_account: &service_account,
        wait: true,
        detach_foreign: args.detach_foreign_policies,
    };
    let step = stack.map(|found| add_stack(plan, removal, found, &done)).transpose()?;
    let role = stack.and_then(|found| found.role.as_ref()).map(|role| &role.role);
    let after_stack: Vec<_> = step.into_iter().collect();
    for (policy, users) in policies {
        let name = role.map(|role| role.name.as_str());
        add_policy(plan, policy, users.as_deref(), name, &after_stack);
    }
    let Some(found) = found else { return Ok(()) };
    if let Some(object) =
        found.service_account.as_ref().filter(|_| stack.is_some() || found.objects.deployment.is_some())
    {
        let arn = role.map(|role| role.arn.as_str());
        done.extend(add_service_account(plan, who, object, arn, &after_stack));
    }
    if let Some(namespace) = found.namespace.as_ref().filter(|found| label(found, MANAGED_BY) == Some("irsactl")) {
        let op = Op::DeleteNamespace { name: args.namespace.clone(), uid: uid(namespace) };
        let step = Step::new(Action::Delete, "Namespace", &args.namespace, op)
            .because("irsactl made it: it goes if it is empty");
        plan.push(step.after(done));
    }
    Ok(())
}

fn note_leftovers(plan: &mut Plan, leftovers: &[Leftover]) {
    for zone in leftovers {
        let names: Vec<_> = zone.names.iter().map(String::as_str).collect();
        plan.note(format!("these records stay in zone {} ({}): {}", zone.name, zone.id, names.join(", ")));
        plan.note(format!(
            "irsactl deletes no DNS records; once nothing needs them, delete them in the Route53 console or with: aws \
             route53 change-resource-record-sets --hosted-zone-id {} --change-batch file://changes.json",
            zone.id
        ));
    }
}
