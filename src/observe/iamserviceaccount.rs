//! A service account with an IAM role: its stack, its role, its namespace and its ServiceAccount.

use futures::future::try_join;

use crate::aws::Aws;
use crate::aws::cloudformation::Stack;
use crate::aws::iam::Role;
use crate::error::{Error, ErrorCode, Result};
use crate::iam::arn::Arn;
use crate::iam::trust::{Issuer, Verdict, verdict};
use crate::k8s::{Kind, Kubernetes};
use crate::plan::iamserviceaccount::{Observed, ObservedStack};
use crate::stack::status::Health;
use crate::stack::template::inline_policies;
use crate::stack::{events, names, tags};
use crate::ui::Ui;

/// The tag by which CloudFormation marks what a stack made.
const STACK_ID: &str = "aws:cloudformation:stack-id";

/// Where the stack of a service account is, or is to be.
pub(crate) struct Place {
    /// The stack's name.
    pub(crate) name: String,
    /// The stack, where there is one.
    pub(crate) stack: Option<ObservedStack>,
}

/// Looks a stack up by its name, with all that a plan needs to know of it.
pub(crate) async fn place(aws: &Aws, cluster: &str, namespace: &str, name: &str) -> Result<Place> {
    let (name, stack) = locate(cluster, (namespace, name), async |name| stack(aws, name).await).await?;
    Ok(Place { name, stack })
}

/// Reads the stack under the names that it may have. Another service account may hold the first (`a-b/c` and `a/b-c`):
/// then the hashed one counts. Where there is no stack, the name for a new one comes alone.
pub(crate) async fn locate<S: AsRef<Stack>>(
    cluster: &str,
    (namespace, name): (&str, &str),
    read: impl AsyncFn(&str) -> Result<Option<S>>,
) -> Result<(String, Option<S>)> {
    let mut free = None;
    for candidate in names::candidates(cluster, namespace, name) {
        match read(&candidate).await? {
            Some(stack) if !is_anothers(stack.as_ref(), cluster, namespace, name) => {
                return Ok((candidate, Some(stack)));
            }
            Some(_) => {}
            None => free = free.or(Some(candidate)),
        }
    }
    Ok((free.unwrap_or_else(|| names::hashed(cluster, namespace, name)), None))
}

/// True where the stack is of the same cluster, but of another service account.
fn is_anothers(stack: &Stack, cluster: &str, namespace: &str, name: &str) -> bool {
    let another =
        tags::owner(&stack.tags).is_some_and(|(ns, other)| (ns.as_str(), other.as_str()) != (namespace, name));
    another && tags::cluster(&stack.tags) == Some(cluster)
}

/// A stack with its template, its role, and, where it failed, the reason.
async fn stack(aws: &Aws, name: &str) -> Result<Option<ObservedStack>> {
    let (stack, template) = try_join(aws.stack(name), aws.template(name)).await?;
    let Some(stack) = stack else { return Ok(None) };
    let role_name = stack.outputs.get("Role1").and_then(|arn| arn.parse::<Arn>().ok()).map(|arn| arn.name().to_owned());
    let failed = matches!(Health::of(&stack.status), Health::Replace { .. });
    let template = template.unwrap_or_default();
    let inline: Vec<_> = inline_policies(&template, name).into_keys().collect();
    let role = async {
        match &role_name {
            Some(role) => aws.role_with_policies(role, &inline).await,
            None => Ok(None),
        }
    };
    let failure = async { if failed { Ok(events::explain(&aws.events(&stack.id, None).await?)) } else { Ok(None) } };
    let (role, failure) = try_join(role, failure).await?;
    Ok(Some(ObservedStack { stack, template, role, failure }))
}

/// The name of the role that `--role-name` asks for, where it is taken by a role that isn't the stack's.
pub(crate) async fn role_taken(
    aws: &Aws,
    role_name: Option<&str>,
    stack: Option<&ObservedStack>,
) -> Result<Option<String>> {
    let Some(name) = role_name else { return Ok(None) };
    let own = stack.and_then(|found| found.role.as_ref()).map(|role| &role.role.name);
    // Names are unique without regard to case.
    if own.is_some_and(|own| own.eq_ignore_ascii_case(name)) {
        return Ok(None);
    }
    let made_by_stack = |role: &Role| {
        // What a failed stack left behind goes with it.
        stack.is_some_and(|found| role.tags.get(STACK_ID) == Some(&found.stack.id))
    };
    Ok(aws.role(name).await?.filter(|role| !made_by_stack(role)).map(|role| role.name))
}

/// The Kubernetes half.
pub(crate) async fn objects(
    kubernetes: &Kubernetes,
    namespace: &str,
    name: &str,
    observed: &mut Observed,
) -> Result<()> {
    (observed.namespace, observed.service_account) = try_join(
        kubernetes.get(&Kind::NAMESPACE, None, namespace),
        kubernetes.get(&Kind::SERVICE_ACCOUNT, Some(namespace), name),
    )
    .await?;
    Ok(())
}

/// Fails where a role of others doesn't let the service account in; warns where that can't be told.
pub(crate) async fn check_trust(
    aws: &Aws,
    ui: &Ui,
    role_arn: &str,
    issuer: &Issuer,
    provider_arn: &str,
    (namespace, name): (&str, &str),
) -> Result<()> {
    let arn: Arn = role_arn.parse().map_err(|e: String| Error::usage(e))?;
    let own = provider_arn.parse::<Arn>().is_ok_and(|provider| provider.account == arn.account);
    if !own {
        ui.warn(&format!("role {role_arn} is of another account: whether it trusts the service account can't be read"));
        return Ok(());
    }
    let role = match aws.role(arn.name()).await {
        Ok(role) => role,
        Err(error) if error.code == ErrorCode::AccessDenied => {
            ui.warn(&format!("whether role {role_arn} trusts the service account can't be read: {error}"));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let Some(role) = role.filter(|role| role.arn == role_arn) else {
        return Err(Error::new(ErrorCode::NotFound, format!("there is no role {role_arn}"))
            .hint("aws iam list-roles --query Roles[].Arn lists the roles that there are"));
    };
    match verdict(&role.trust, issuer, provider_arn, namespace, name) {
        Verdict::Allows { warnings } => {
            for warning in warnings {
                ui.warn(&format!("role {}: {warning}", arn.name()));
            }
            Ok(())
        }
        Verdict::Refuses { reasons } => {
            let mut error = Error::new(
                ErrorCode::RoleNotUsable,
                format!("role {} doesn't trust ServiceAccount {namespace}/{name} of this cluster", arn.name()),
            );
            for reason in reasons {
                error = error.cause(reason.to_string());
            }
            Err(error.hint(format!(
                "irsactl never changes this role; its trust policy must contain what this prints: irsactl render \
                 trust-policy --namespace {namespace} --name {name} --oidc-issuer {} --account-id {}",
                issuer.as_url(),
                arn.account
            )))
        }
    }
}

/// Everything about one entry but its Kubernetes half.
pub(crate) async fn aws_half(
    aws: &Aws,
    cluster: &str,
    (namespace, name): (&str, &str),
    role_name: Option<&str>,
) -> Result<(String, Observed)> {
    let place = place(aws, cluster, namespace, name).await?;
    let role_taken = role_taken(aws, role_name, place.stack.as_ref()).await?;
    Ok((place.name, Observed { stack: place.stack, role_taken, ..Observed::default() }))
}
