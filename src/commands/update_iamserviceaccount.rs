//! `update iamserviceaccount`.

use std::collections::BTreeMap;

use futures::future::{try_join, try_join3};

use super::create_iamserviceaccount::required;
use super::run::{self, Ended};
use crate::Exit;
use crate::aws::eks::Cluster;
use crate::cli::iamserviceaccount::Update;
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::iam::arn::policy_arn;
use crate::k8s::Kubernetes;
use crate::observe;
use crate::plan::iamserviceaccount::{self as entry, Desired, DesiredObject, DesiredRole, Observed, ObservedStack};
use crate::plan::{Plan, StackSpec};
use crate::stack::template::{with_boundary, with_managed_policies};
use crate::stack::{status::Health, tags};

/// Changes what the flags name of a service account that has a stack; the ServiceAccount converges, too.
pub(crate) async fn run(context: &Context, args: &Update) -> Result<Exit> {
    let name = required(&args.name)?;
    tags::check_user_tags(&args.tags.tags).map_err(|e| Error::usage(format!("--tags: {e}")))?;
    let aws = context.aws(&args.aws).await?;
    let who = (args.namespace.as_str(), name);
    let ((cluster, _), place) = try_join(
        context.cluster(&args.aws, &args.cluster.cluster),
        observe::iamserviceaccount::place(aws, &args.cluster.cluster, who.0, who.1),
    )
    .await?;
    let found = place.stack.filter(|found| Health::of(&found.stack.status) != Health::Gone);
    let found = found.ok_or_else(|| not_found(args, who))?;
    let spec = spec(args, who, &cluster, place.name, &found)?;
    let mut observed = Observed { stack: Some(found), ..Observed::default() };
    let boundary = spec.boundary.clone().filter(|_| args.permissions_boundary.is_some());
    let attached: &[String] = if args.attach_policy_arn.is_empty() { &[] } else { &spec.managed_policies };
    let ((), (), kubernetes) = try_join3(
        observe::policy::check_exist(aws, &context.ui, "--attach-policy-arn", attached),
        observe::policy::check_exist(aws, &context.ui, "--permissions-boundary", boundary.as_slice()),
        objects(context, args, &cluster, who, &mut observed),
    )
    .await?;

    let desired = Desired {
        cluster: cluster.name.clone(),
        namespace: args.namespace.clone(),
        name: name.to_owned(),
        role: DesiredRole::Stack(spec.into()),
        object: (!args.role_only).then_some(DesiredObject {
            take_over: args.take_over.override_existing_serviceaccounts,
            force: args.take_over.force_conflicts,
            labels: kept(&observed, "labels"),
            annotations: kept(&observed, "annotations"),
        }),
    };
    let mut plan = Plan::new(Some(&cluster.name), aws.region(), &cluster.account);
    entry::add(&mut plan, &desired, &observed, &[])?;
    match run::plan(context, &args.plan, plan, aws, kubernetes.as_ref()).await? {
        Ended::Shown(exit) => Ok(exit),
        Ended::Done(plan) => {
            let role = plan.outputs.role_arn.clone().unwrap_or_default();
            run::report(&context.ui, &plan, &[format!("role ARN: {role}")])?;
            Ok(Exit::Success)
        }
    }
}

/// Labels or annotations of a ServiceAccount of ours: an update keeps what it doesn't name.
fn kept(observed: &Observed, which: &str) -> BTreeMap<String, String> {
    let object = observed.service_account.as_ref().filter(|object| entry::is_ours(object));
    let found = object.and_then(|object| object["metadata"][which].as_object()).into_iter().flatten();
    let own = [entry::MANAGED_BY, entry::ROLE_ANNOTATION];
    let others = found.filter(|(key, _)| !own.contains(&key.as_str()));
    others.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn not_found(args: &Update, (namespace, name): (&str, &str)) -> Box<Error> {
    let cluster = &args.cluster.cluster;
    Error::new(
        ErrorCode::NotFound,
        format!("cluster {cluster} has no iamserviceaccount {namespace}/{name} with a stack"),
    )
    .hint(format!("irsactl get iamserviceaccount --cluster {cluster} lists them; create iamserviceaccount makes one"))
}

/// The stack as it is, with what the flags name in its place.
fn spec(args: &Update, who: (&str, &str), cluster: &Cluster, name: String, found: &ObservedStack) -> Result<StackSpec> {
    let service_account = format!("{}/{}", who.0, who.1);
    entry::check_ours(&cluster.name, &service_account, &found.stack)?;
    let complete = |arn: &String| policy_arn(arn, &cluster.partition, Some(&cluster.account)).map_err(Error::usage);
    let mut template = found.template.clone();
    if !args.attach_policy_arn.is_empty() {
        let arns: Vec<_> = args.attach_policy_arn.iter().map(complete).collect::<Result<_>>()?;
        template = with_managed_policies(&template, &arns);
    }
    if let Some(arn) = &args.permissions_boundary {
        template = with_boundary(&template, &complete(arn)?);
    }
    let tags = tags::merged(&found.stack.tags, &args.tags.tags);
    StackSpec::of_template(name, service_account, template, tags, found.stack.protected)
        .map_err(|e| Error::new(ErrorCode::StackNotOurs, format!("stack {}: {e}", found.stack.name)))
}

async fn objects(
    context: &Context,
    args: &Update,
    cluster: &Cluster,
    (namespace, name): (&str, &str),
    observed: &mut Observed,
) -> Result<Option<Kubernetes>> {
    if args.role_only {
        return Ok(None);
    }
    let kubernetes = context.kubernetes(cluster, &args.aws, &args.kube).await?;
    match observe::iamserviceaccount::objects(&kubernetes, namespace, name, observed).await {
        Ok(()) => Ok(Some(kubernetes)),
        Err(error) => Err(context.explain_access(error, &cluster.name).await),
    }
}
