//! The service accounts with IAM roles of a cluster.

use std::collections::HashMap;

use futures::future::{join, join3};
use serde_json::Value;
use tracing::debug;

use super::iamserviceaccount::locate;
use crate::aws::Aws;
use crate::aws::cloudformation::Stack;
use crate::aws::iam::RoleWithPolicies;
use crate::cli::iamserviceaccount::Get;
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::iam::arn::{Arn, Partition};
use crate::iam::trust::Issuer;
use crate::inventory::{Roles, Seen, provider_problem};
use crate::k8s::{Kind, Kubernetes};
use crate::plan::iamserviceaccount::{ObservedStack, ROLE_ANNOTATION, ROLE_OUTPUT, annotation, check_ours};
use crate::stack::status::{self, State};
use crate::stack::template::inline_policies;
use crate::stack::{events, tags};
use crate::ui::Output;

/// What CloudFormation and IAM say.
#[derive(Default)]
struct Found {
    stacks: Vec<Stack>,
    template: Option<Value>,
    failure: Option<String>,
    roles: Option<Roles>,
    policies: HashMap<String, RoleWithPolicies>,
}

/// Reads what `get` shows: one service account by its name, or all of them by listing.
pub(crate) async fn read(context: &Context, args: &Get, cluster: &str) -> Result<Seen> {
    let aws = context.aws(&args.aws).await?;
    let only = args.namespace.as_deref().zip(args.name.get());
    let on_aws = async {
        match only {
            Some(who) => one(context, aws, cluster, who).await,
            None => all(context, aws).await,
        }
    };
    let (seen, found) = join(in_cluster(context, aws, args, cluster), on_aws).await;
    let seen = match (seen, &found) {
        (Err(error), Ok(found)) if error.code == ErrorCode::ClusterNotFound => {
            left_behind(context, error, cluster, found)
        }
        (seen, _) => seen,
    }?;
    let mut found = found?;
    if only.is_some() && found.stacks.is_empty() {
        let annotated = seen.service_accounts.iter().flatten().find_map(|object| annotation(object, ROLE_ANNOTATION));
        let arn = annotated.and_then(|arn| arn.trim().parse::<Arn>().ok()).filter(|arn| arn.account == seen.account);
        match arn {
            Some(arn) => found.read_role(context, aws, arn.name(), &[]).await?,
            None => found.roles = Some(Roles::default()),
        }
    }
    let Found { stacks, template, failure, roles, policies } = found;
    Ok(Seen { stacks, template, failure, roles, policies, ..seen })
}

/// All stacks and roles, listed side by side; their policies, which are the longest listing, not for the short table.
async fn all(context: &Context, aws: &Aws) -> Result<Found> {
    let policies =
        async { if context.ui.output() == Output::Table { Ok(Vec::new()) } else { aws.roles_with_policies().await } };
    let (stacks, roles, policies) = join3(aws.stacks(), aws.roles(), policies).await;
    let mut found = Found { stacks: stacks?, ..Found::default() };
    found.roles = readable(context, "the roles", roles)?.map(Roles::from_iter);
    match policies {
        Ok(policies) => found.keep(policies),
        Err(error) => without_policies(context, &error),
    }
    Ok(found)
}

/// The stack of one service account with its template, and its role.
async fn one(context: &Context, aws: &Aws, cluster: &str, who: (&str, &str)) -> Result<Found> {
    let full = format!("{}/{}", who.0, who.1);
    let (_, stack) = locate(cluster, who, async |name| stack(context, aws, name).await).await?;
    let mut found = Found::default();
    let Some(ObservedStack { stack, template, .. }) =
        stack.filter(|found| check_ours(cluster, &full, &found.stack).is_ok())
    else {
        return Ok(found);
    };
    found.roles = Some(Roles::default());
    if status::state(&stack.status) == State::Failed {
        let events = readable(context, "why the stack failed", aws.events(&stack.id, None).await)?;
        found.failure = events.and_then(|events| Some(events::explain(&events)?.to_string()));
    }
    if let Some(role) = stack.outputs.get(ROLE_OUTPUT).and_then(|arn| arn.parse::<Arn>().ok()) {
        let inline: Vec<_> = inline_policies(&template, &stack.name).into_keys().collect();
        found.read_role(context, aws, role.name(), &inline).await?;
    }
    found.template = Some(template).filter(Value::is_object);
    found.stacks.push(stack);
    Ok(found)
}

/// A stack with its template; null where that may not be read.
async fn stack(context: &Context, aws: &Aws, name: &str) -> Result<Option<ObservedStack>> {
    let (stack, template) = join(aws.stack(name), aws.template(name)).await;
    let Some(stack) = stack? else { return Ok(None) };
    let template = readable(context, "the stack's template, which tells changes of the role,", template)?.flatten();
    Ok(Some(ObservedStack { stack, template: template.unwrap_or_default(), role: None, failure: None }))
}

impl Found {
    async fn read_role(&mut self, context: &Context, aws: &Aws, name: &str, inline: &[String]) -> Result<()> {
        match aws.role_with_policies(name, inline).await {
            Ok(role) => {
                if let Some(Err(why)) = role.as_ref().map(|found| &found.others_inline) {
                    context.ui.warn(&format!("inline policies of others can't be read: {why}"));
                }
                self.roles = Some(role.iter().map(|found| found.role.clone()).collect());
                self.keep(role);
            }
            Err(denied) if denied.code == ErrorCode::AccessDenied => {
                self.roles = readable(context, "the role", aws.role(name).await)?.map(Roles::from_iter);
                if self.roles.is_some() {
                    without_policies(context, &denied);
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn keep(&mut self, policies: impl IntoIterator<Item = RoleWithPolicies>) {
        self.policies = policies.into_iter().map(|found| (found.role.arn.clone(), found)).collect();
    }
}

/// The cluster, the provider of its issuer, and its ServiceAccounts.
async fn in_cluster(context: &Context, aws: &Aws, args: &Get, name: &str) -> Result<Seen> {
    let cluster = aws.cluster(name).await?;
    let mut seen = Seen::new(&cluster.account, &cluster.partition);
    seen.issuer = cluster.issuer.as_deref().and_then(|url| Issuer::parse(url).ok()).map(|issuer| {
        let provider = issuer.provider_arn(&cluster.partition, &cluster.account);
        (issuer, provider)
    });
    let objects = async {
        let kubernetes = context.kubernetes(&cluster, &args.aws, &args.kube).await?;
        service_accounts(&kubernetes, args.namespace.as_deref(), args.name.get()).await
    };
    // In place of the policies: a list costs four calls to AWS, however it is printed.
    let one = args.namespace.is_some() && args.name.get().is_some();
    let provider = async {
        match seen.issuer.as_ref().filter(|_| one || context.ui.output() == Output::Table) {
            Some((_, arn)) => aws.oidc_provider(arn).await.map(|found| provider_problem(arn, found.as_ref())),
            None => Ok(None),
        }
    };
    let (objects, problem) = join(objects, provider).await;
    seen.service_accounts = unless_unreachable(context, name, objects).await?;
    seen.provider_problem = readable(context, "the OIDC provider", problem)?.flatten();
    Ok(seen)
}

async fn service_accounts(kubernetes: &Kubernetes, namespace: Option<&str>, name: Option<&str>) -> Result<Vec<Value>> {
    let kind = &Kind::SERVICE_ACCOUNT;
    if let (Some(_), Some(name)) = (namespace, name) {
        return Ok(kubernetes.get(kind, namespace, name).await?.into_iter().collect());
    }
    let named = name.map(|name| format!("metadata.name={name}"));
    kubernetes.list(kind, namespace, None, named.as_deref()).await
}

/// Of a cluster that is gone, what it left is shown.
fn left_behind(context: &Context, error: Box<Error>, cluster: &str, found: &Found) -> Result<Seen> {
    let mut stacks = found.stacks.iter().filter(|stack| tags::cluster(&stack.tags) == Some(cluster));
    let arn = stacks.find_map(|stack| stack.id.parse::<Arn>().ok());
    let Some(arn) = arn else { return Err(error) };
    context.ui.warn(&format!("cluster {cluster} doesn't exist: only what it left in AWS is shown"));
    let partition = Partition::new(&arn.partition).unwrap_or_else(|_| Partition::aws());
    Ok(Seen::new(&arn.account, &partition))
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

/// Policies only inform: where the caller may not read them, people are told if they asked for them.
fn without_policies(context: &Context, error: &Error) {
    let text = format!("policies and boundaries can't be read: {error}");
    if error.code == ErrorCode::AccessDenied && context.ui.output() == Output::Table {
        debug!("{text}");
    } else {
        context.ui.warn(&text);
    }
}

/// A cluster that can't be reached doesn't hide what is in AWS; a kubeconfig that doesn't hold is the user's to mend.
async fn unless_unreachable<T>(context: &Context, cluster: &str, result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code == ErrorCode::Usage => Err(error),
        Err(error) => {
            let error = context.explain_access(error, cluster).await;
            // Hints of other errors are for commands that write.
            let access = matches!(error.code, ErrorCode::ClusterUnauthorized | ErrorCode::ClusterForbidden);
            let hint = error.hint.as_ref().filter(|_| access).map(|hint| format!("; {hint}")).unwrap_or_default();
            context.ui.warn(&format!("the ServiceAccounts can't be read: {error}{hint}"));
            Ok(None)
        }
    }
}
