//! `create iamserviceaccount`.

use futures::future::{try_join, try_join4};

use super::run::{self, Ended};
use crate::Exit;
use crate::aws::Aws;
use crate::aws::eks::Cluster;
use crate::cli::iamserviceaccount::{Create, Name};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::iam::arn::policy_arn;
use crate::iam::trust::Issuer;
use crate::k8s::Kubernetes;
use crate::observe;
use crate::plan::iamserviceaccount::{self as entry, Desired, DesiredObject, DesiredRole, Observed};
use crate::plan::{Action, Plan, StackSpec, provider};
use crate::stack::tags;
use crate::stack::template::RoleSpec;

/// Gives a service account an IAM role, or brings both to what is asked for.
pub(crate) async fn run(context: &Context, args: &Create) -> Result<Exit> {
    let name = required(&args.name)?;
    tags::check_user_tags(&args.tags.tags).map_err(|e| Error::usage(format!("--tags: {e}")))?;
    let aws = context.aws(&args.aws).await?;
    let who = (args.namespace.as_str(), name);
    let ((cluster, issuer), (stack_name, mut observed)) =
        try_join(context.cluster(&args.aws, &args.cluster.cluster), aws_half(aws, args, who)).await?;
    let provider_arn = issuer.provider_arn(&cluster.partition, &cluster.account);
    let (found, (), (), kubernetes) = try_join4(
        aws.oidc_provider(&provider_arn),
        check_policies(aws, args, &cluster),
        check_role(context, aws, args, &issuer, &provider_arn, who),
        objects(context, args, &cluster, who, &mut observed),
    )
    .await?;

    let desired = desired(args, name, &cluster, &issuer, stack_name)?;
    let mut plan = Plan::new(Some(&cluster.name), aws.region(), &cluster.account);
    plan.outputs.provider_arn = Some(provider_arn.clone());
    let provider_tags = tags::cluster_tags(&cluster.name, crate::VERSION, &args.tags.tags);
    plan.push(provider::step(&cluster, &issuer, &provider_arn, found.as_ref(), &provider_tags));
    entry::add(&mut plan, &desired, &observed, &[])?;
    match run::plan(context, &args.plan, plan, aws, kubernetes.as_ref()).await? {
        Ended::Shown(exit) => Ok(exit),
        Ended::Done(plan) => {
            let role = plan.outputs.role_arn.clone().unwrap_or_default();
            let mut lines = vec![format!("role ARN: {role}")];
            if plan.steps.iter().any(|step| step.kind == "ServiceAccount" && step.action == Action::Update) {
                lines.push(format!(
                    "pods of {}/{name} that run already get the role when they are restarted",
                    args.namespace
                ));
            }
            run::report(&context.ui, &plan, &lines)?;
            Ok(Exit::Success)
        }
    }
}

/// The name, which must be given in one way.
pub(super) fn required(name: &Name) -> Result<&str> {
    let missing = || Error::usage("--name must be set").hint("give the ServiceAccount's name as NAME or --name NAME");
    name.get().ok_or_else(missing)
}

async fn aws_half(aws: &Aws, args: &Create, who: (&str, &str)) -> Result<(String, Observed)> {
    observe::iamserviceaccount::aws_half(aws, &args.cluster.cluster, who, args.role_name.as_deref()).await
}

fn policies(arns: &[String], cluster: &Cluster) -> Result<Vec<String>> {
    let complete = |arn: &String| policy_arn(arn, &cluster.partition, Some(&cluster.account)).map_err(Error::usage);
    arns.iter().map(complete).collect()
}

async fn check_policies(aws: &Aws, args: &Create, cluster: &Cluster) -> Result<()> {
    let attached = policies(&args.attach_policy_arn, cluster)?;
    let boundary = policies(args.permissions_boundary.as_slice(), cluster)?;
    try_join(
        observe::policy::check_exist(aws, "--attach-policy-arn", &attached),
        observe::policy::check_exist(aws, "--permissions-boundary", &boundary),
    )
    .await
    .map(drop)
}

async fn check_role(
    context: &Context,
    aws: &Aws,
    args: &Create,
    issuer: &Issuer,
    provider_arn: &str,
    who: (&str, &str),
) -> Result<()> {
    match &args.attach_role_arn {
        Some(role) => observe::iamserviceaccount::check_trust(aws, &context.ui, role, issuer, provider_arn, who).await,
        None => Ok(()),
    }
}

async fn objects(
    context: &Context,
    args: &Create,
    cluster: &Cluster,
    (namespace, name): (&str, &str),
    observed: &mut Observed,
) -> Result<Option<Kubernetes>> {
    if args.role_only {
        return Ok(None);
    }
    let kubernetes = context.kubernetes(cluster, &args.aws, &args.kube).await?;
    let read = observe::iamserviceaccount::objects(&kubernetes, namespace, name, observed).await;
    match read {
        Ok(()) => Ok(Some(kubernetes)),
        Err(error) => Err(context.explain_access(error, &cluster.name).await),
    }
}

fn desired(args: &Create, name: &str, cluster: &Cluster, issuer: &Issuer, stack_name: String) -> Result<Desired> {
    let role = match &args.attach_role_arn {
        Some(arn) => DesiredRole::Existing(arn.clone()),
        None => DesiredRole::Stack(stack(args, name, cluster, issuer, stack_name)?),
    };
    let object = (!args.role_only)
        .then_some(DesiredObject { take_over: args.override_existing_serviceaccounts, force: args.force_conflicts });
    Ok(Desired {
        cluster: cluster.name.clone(),
        namespace: args.namespace.clone(),
        name: name.to_owned(),
        role,
        object,
    })
}

fn stack(args: &Create, name: &str, cluster: &Cluster, issuer: &Issuer, stack_name: String) -> Result<StackSpec> {
    let spec = RoleSpec {
        namespace: args.namespace.clone(),
        name: name.to_owned(),
        issuer: issuer.clone(),
        partition: cluster.partition.clone(),
        account: cluster.account.clone(),
        managed_policies: policies(&args.attach_policy_arn, cluster)?,
        inline: None,
        well_known: Vec::new(),
        boundary: policies(args.permissions_boundary.as_slice(), cluster)?.pop(),
        role_name: args.role_name.clone(),
        role_path: args.role_path.clone(),
        subject_pattern: args.subject_pattern.clone(),
    };
    let tags = tags::tags(&cluster.name, &args.namespace, name, crate::VERSION, &args.tags.tags);
    Ok(StackSpec::new(spec, stack_name, tags, args.termination_protection))
}
