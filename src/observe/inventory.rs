//! The service accounts with IAM roles of a cluster.

use std::collections::BTreeMap;

use futures::future::{join3, try_join};

use super::iamserviceaccount::stack_of;
use crate::aws::Aws;
use crate::aws::eks::Cluster;
use crate::aws::iam::Role;
use crate::cli::iamserviceaccount::Get;
use crate::context::Context;
use crate::error::{ErrorCode, Result};
use crate::iam::arn::Arn;
use crate::iam::trust::Issuer;
use crate::inventory::Seen;
use crate::k8s::{Kind, Kubernetes};
use crate::plan::iamserviceaccount::{ROLE_ANNOTATION, ROLE_OUTPUT, annotation};

/// Reads what `get` shows: one service account by its name, or all of them by listing.
pub(crate) async fn read(context: &Context, args: &Get, name: &str) -> Result<Seen> {
    let aws = context.aws(&args.aws).await?;
    if let (Some(namespace), Some(account)) = (&args.namespace, args.name.get()) {
        return one(context, aws, args, name, (namespace, account)).await;
    }
    let (cluster, stacks, roles) = join3(aws.cluster(name), aws.stacks(), aws.roles()).await;
    let cluster = cluster?;
    let mut seen = Seen { stacks: stacks?, ..begin(&cluster) };
    seen.roles = readable(context, "the roles", roles)?.map(by_arn);
    let objects = async {
        let kubernetes = context.kubernetes(&cluster, &args.aws, &args.kube).await?;
        kubernetes.list(&Kind::SERVICE_ACCOUNT, args.namespace.as_deref(), None, None).await
    };
    seen.service_accounts = unless_unreachable(context, objects.await)?;
    Ok(seen)
}

async fn one(
    context: &Context,
    aws: &Aws,
    args: &Get,
    cluster_name: &str,
    (namespace, name): (&str, &str),
) -> Result<Seen> {
    let (cluster, stack) = try_join(aws.cluster(cluster_name), stack_of(aws, cluster_name, (namespace, name))).await?;
    let mut seen = Seen { stacks: stack.into_iter().collect(), ..begin(&cluster) };
    let objects = async {
        let kubernetes: Kubernetes = context.kubernetes(&cluster, &args.aws, &args.kube).await?;
        let found = kubernetes.get(&Kind::SERVICE_ACCOUNT, Some(namespace), name).await?;
        Ok(found.into_iter().collect::<Vec<_>>())
    };
    seen.service_accounts = unless_unreachable(context, objects.await)?;
    let made = seen.stacks.first().and_then(|stack| stack.outputs.get(ROLE_OUTPUT)).map(String::as_str);
    let named = seen.service_accounts.iter().flatten().find_map(|object| annotation(object, ROLE_ANNOTATION));
    let role: Option<Arn> = made.or(named.filter(|_| seen.stacks.is_empty())).and_then(|arn| arn.parse().ok());
    seen.roles = match role.filter(|arn| arn.account == seen.account) {
        Some(arn) => readable(context, "the role", aws.role(arn.name()).await)?.map(Vec::from_iter).map(by_arn),
        None => Some(BTreeMap::new()),
    };
    Ok(seen)
}

fn begin(cluster: &Cluster) -> Seen {
    let issuer = cluster.issuer.as_deref().and_then(|url| Issuer::parse(url).ok());
    let issuer = issuer.map(|issuer| {
        let provider = issuer.provider_arn(&cluster.partition, &cluster.account);
        (issuer, provider)
    });
    Seen { account: cluster.account.clone(), issuer, ..Seen::default() }
}

fn by_arn(roles: Vec<Role>) -> BTreeMap<String, Role> {
    roles.into_iter().map(|role| (role.arn.clone(), role)).collect()
}

/// What IAM doesn't let the caller read is unknown, with a warning.
fn readable<T>(context: &Context, what: &str, result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code == ErrorCode::AccessDenied => {
            context.ui.warn(&format!("{what} can't be read: {error}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A cluster that can't be reached doesn't hide what is in AWS; a kubeconfig that doesn't hold is the user's to mend.
fn unless_unreachable<T>(context: &Context, result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code == ErrorCode::Usage => Err(error),
        Err(error) => {
            context.ui.warn(&format!("the ServiceAccounts can't be read: {error}"));
            Ok(None)
        }
    }
}
