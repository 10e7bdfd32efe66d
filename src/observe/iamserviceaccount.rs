//! A service account with an IAM role: its stack, its role, its namespace and its ServiceAccount.

use std::collections::HashMap;

use futures::future::{join, try_join};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;

use crate::aws::cloudformation::Stack;
use crate::aws::iam::{Role, RoleWithPolicies};
use crate::aws::{AT_ONCE, Aws};
use crate::error::{Error, ErrorCode, Result};
use crate::iam::arn::Arn;
use crate::iam::trust::{Issuer, Verdict, verdict};
use crate::k8s::{Kind, Kubernetes};
use crate::plan::iamserviceaccount::{Desired, DesiredRole, Observed, ObservedStack, ROLE_OUTPUT, mends};
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

/// Up to this many service accounts are read by their names; more are found in listings, which cost a call for each
/// page of the account's stacks and roles.
pub(crate) const FEW: usize = 16;

/// Reads stacks and roles: by their names, or, for many, from listings.
pub(crate) struct Reader<'a> {
    aws: &'a Aws,
    stacks: Option<HashMap<String, Stack>>,
    roles: Option<HashMap<String, RoleWithPolicies>>,
}

impl<'a> Reader<'a> {
    /// By their names.
    pub(crate) fn by_name(aws: &'a Aws) -> Self {
        Self { aws, stacks: None, roles: None }
    }

    /// By their names, and without the roles that stacks made.
    pub(crate) fn stacks_only(aws: &'a Aws) -> Self {
        Self { roles: Some(HashMap::new()), ..Self::by_name(aws) }
    }

    /// For as many service accounts. A listing that the caller may not make is done without.
    pub(crate) async fn new(aws: &'a Aws, ui: &Ui, many: usize) -> Result<Self> {
        let mut reader = Self::by_name(aws);
        if many > FEW {
            let (stacks, roles) = join(aws.stacks(), aws.roles_with_policies()).await;
            let stacks = unless_denied(ui, stacks)?;
            reader.stacks = stacks.map(|all| all.into_iter().map(|stack| (stack.name.clone(), stack)).collect());
            let roles = unless_denied(ui, roles)?;
            reader.roles = roles.map(|all| all.into_iter().map(|found| (found.role.name.clone(), found)).collect());
        }
        Ok(reader)
    }

    /// Where the stack of a service account is, with all that a plan needs to know of it.
    pub(crate) async fn place(&self, cluster: &str, (namespace, name): (&str, &str)) -> Result<Place> {
        let (name, stack) = locate(cluster, (namespace, name), async |name| self.stack(name).await).await?;
        Ok(Place { name, stack })
    }

    /// Everything about one entry but its Kubernetes half.
    pub(crate) async fn aws_half(
        &self,
        cluster: &str,
        who: (&str, &str),
        role_name: Option<&str>,
    ) -> Result<(String, Observed)> {
        let place = self.place(cluster, who).await?;
        let role_taken = self.role_taken(role_name, place.stack.as_ref()).await?;
        Ok((place.name, Observed { stack: place.stack, role_taken, ..Observed::default() }))
    }

    /// A stack with its template, its role, and, where it failed, the reason.
    async fn stack(&self, name: &str) -> Result<Option<ObservedStack>> {
        let (stack, template) = match &self.stacks {
            Some(stacks) => match stacks.get(name) {
                Some(stack) => (Some(stack.clone()), self.aws.template(&stack.id).await?),
                None => (None, None),
            },
            None => try_join(self.aws.stack(name), self.aws.template(name)).await?,
        };
        let Some(stack) = stack else { return Ok(None) };
        let template = template.unwrap_or_default();
        let failed = matches!(Health::of(&stack.status), Health::Replace { .. });
        let failure =
            async { if failed { Ok(events::explain(&self.aws.events(&stack.id, None).await?)) } else { Ok(None) } };
        let (role, failure) = try_join(self.role_of(&stack, &template), failure).await?;
        Ok(Some(ObservedStack { stack, template, role, failure }))
    }

    async fn role_of(&self, stack: &Stack, template: &Value) -> Result<Option<RoleWithPolicies>> {
        let Some(arn) = stack.outputs.get(ROLE_OUTPUT).and_then(|arn| arn.parse::<Arn>().ok()) else { return Ok(None) };
        let inline: Vec<_> = inline_policies(template, &stack.name).into_keys().collect();
        if let Some(roles) = &self.roles {
            return Ok(roles.get(arn.name()).cloned().map(|role| role.expecting(&inline)));
        }
        let read = async || self.aws.role_with_policies(arn.name(), &inline).await;
        // It may be hidden rather than gone, for a while after it was made or changed.
        let is_there = Health::of(&stack.status) == Health::Usable;
        if is_there { self.aws.visible(arn.name(), read).await } else { read().await }
    }

    /// The name of the role that `--role-name` asks for, where it is taken by a role that isn't the stack's.
    pub(crate) async fn role_taken(
        &self,
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
        let role = match &self.roles {
            Some(roles) => {
                roles.values().map(|found| &found.role).find(|role| role.name.eq_ignore_ascii_case(name)).cloned()
            }
            None => self.aws.role(name).await?,
        };
        Ok(role.filter(|role| !made_by_stack(role)).map(|role| role.name))
    }

    /// Reads a role anew where the listing says that it isn't as it should be: a listing may be some seconds old.
    pub(crate) async fn confirm(&self, desired: &Desired, observed: &mut Observed) -> Result<()> {
        let (DesiredRole::Stack(spec), Some(found)) = (&desired.role, &mut observed.stack) else { return Ok(()) };
        let differs = found.role.as_ref().is_none_or(|role| !mends(spec, role).is_empty());
        if self.roles.is_some() && differs {
            found.role = Self::by_name(self.aws).role_of(&found.stack, &found.template).await?;
        }
        Ok(())
    }
}

/// Looks a stack up by its name, with all that a plan needs to know of it.
pub(crate) async fn place(aws: &Aws, cluster: &str, namespace: &str, name: &str) -> Result<Place> {
    Reader::by_name(aws).place(cluster, (namespace, name)).await
}

fn unless_denied<T>(ui: &Ui, listing: Result<T>) -> Result<Option<T>> {
    match listing {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.code, ErrorCode::AccessDenied | ErrorCode::ClusterForbidden) => {
            ui.note(&format!("each is read by its name: {error}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
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

/// The Kubernetes half of a service account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    /// Its namespace.
    pub(crate) namespace: Option<Value>,
    /// Its ServiceAccount.
    pub(crate) service_account: Option<Value>,
}

impl Objects {
    async fn read(kubernetes: &Kubernetes, (namespace, name): (&str, &str)) -> Result<Self> {
        let (namespace, service_account) = try_join(
            kubernetes.get(&Kind::NAMESPACE, None, namespace),
            kubernetes.get(&Kind::SERVICE_ACCOUNT, Some(namespace), name),
        )
        .await?;
        Ok(Self { namespace, service_account })
    }
}

/// The Kubernetes half.
pub(crate) async fn objects(
    kubernetes: &Kubernetes,
    namespace: &str,
    name: &str,
    observed: &mut Observed,
) -> Result<()> {
    let objects = Objects::read(kubernetes, (namespace, name)).await?;
    (observed.namespace, observed.service_account) = (objects.namespace, objects.service_account);
    Ok(())
}

/// The Kubernetes halves of service accounts, in their order; nothing is read where there is none.
pub(crate) async fn objects_of(kubernetes: &Kubernetes, ui: &Ui, all: &[Option<(&str, &str)>]) -> Result<Vec<Objects>> {
    if all.len() > FEW
        && let Some(mut listed) = unless_denied(ui, Listed::read(kubernetes).await)?
    {
        return Ok(all.iter().map(|who| who.map(|who| listed.take(who)).unwrap_or_default()).collect());
    }
    let read = async |who: &Option<(&str, &str)>| match who {
        Some(who) => Objects::read(kubernetes, *who).await,
        None => Ok(Objects::default()),
    };
    stream::iter(all).map(read).buffered(AT_ONCE).try_collect().await
}

/// Namespaces and ServiceAccounts of a whole cluster.
struct Listed {
    namespaces: HashMap<String, Value>,
    service_accounts: HashMap<(String, String), Value>,
}

impl Listed {
    async fn read(kubernetes: &Kubernetes) -> Result<Self> {
        let (namespaces, accounts) = try_join(
            kubernetes.list(&Kind::NAMESPACE, None, None, None),
            kubernetes.list(&Kind::SERVICE_ACCOUNT, None, None, None),
        )
        .await?;
        let text = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            namespaces: namespaces.into_iter().map(|object| (text(&object, "name"), object)).collect(),
            service_accounts: accounts
                .into_iter()
                .map(|object| ((text(&object, "namespace"), text(&object, "name")), object))
                .collect(),
        })
    }

    fn take(&mut self, (namespace, name): (&str, &str)) -> Objects {
        let service_account = self.service_accounts.remove(&(namespace.to_owned(), name.to_owned()));
        Objects { namespace: self.namespaces.get(namespace).cloned(), service_account }
    }
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
            .hint("aws iam list-roles --query 'Roles[].Arn' lists the roles that there are"));
    };
    match verdict(&role.trust, issuer, provider_arn, namespace, name) {
        Verdict::Allows { warnings, .. } => {
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
