//! What verification looks at. What can't be read is noted with the reason, and the rest goes on.

use std::time::Duration;

use futures::future::{join, join3, join4, try_join_all, try_join3};
use serde_json::Value;

use super::iamserviceaccount::Reader;
use crate::aws::Aws;
use crate::aws::eks::Cluster;
use crate::aws::iam::Role;
use crate::cli::policy::SHARED_POLICY;
use crate::error::{Error, ErrorCode, Result};
use crate::externaldns::args::{Arguments, Installed};
use crate::externaldns::rbac::{self, Rule};
use crate::externaldns::reproduce::{RoleFacts, role_words};
use crate::externaldns::settings::Settings;
use crate::iam::arn::Arn;
use crate::iam::policy::{Need, PolicyDocument};
use crate::iam::trust::{AUDIENCE, Issuer};
use crate::k8s::{Kind, Kubernetes, Review, has_ended, is_named};
use crate::plan::iamserviceaccount::{ObservedStack, ROLE_ANNOTATION, annotation};
use crate::stack::tags;
use crate::verify::chain::{Hop, Irsa, Live};
use crate::verify::permissions::{Demand, Holder, Lack, Policies, judged};
use crate::verify::workload::{Workload, current};
use crate::verify::{Commands, Look};

/// How much of a log is read.
const LOG_LINES: u32 = 2000;

/// What everything is read with.
pub(crate) struct Observer<'a> {
    /// AWS, as the caller.
    pub(crate) aws: &'a Aws,
    /// The cluster's API, or why it can't be reached.
    pub(crate) kubernetes: Look<Kubernetes>,
    /// The cluster.
    pub(crate) cluster: Cluster,
    /// Its issuer.
    pub(crate) issuer: Issuer,
    /// Exchange a token at STS.
    pub(crate) live: bool,
}

/// What the pods need of AWS, and with what it is tried.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    /// Permissions.
    pub(crate) permissions: Demand,
    /// A role that is assumed with the first.
    pub(crate) second: Option<Hop>,
    /// List the hosted zones with the role.
    pub(crate) zones: bool,
}

/// What was read of a role.
struct Seen {
    role: Look<Option<Role>>,
    lacking: Look<Vec<Lack>>,
    unread: Option<String>,
    policies: Look<Policies>,
}

impl Seen {
    fn of(role: Look<Option<Role>>) -> Self {
        let lacking = role.as_ref().map(|_| Vec::new()).map_err(Clone::clone);
        Self { role, lacking, unread: None, policies: Ok(Policies::default()) }
    }
}

/// What was read, or why it couldn't be.
///
/// # Errors
/// Where the user interrupted, or the time is over.
pub(crate) fn look<T>(result: Result<T>) -> Result<Look<T>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) if matches!(error.code, ErrorCode::Interrupted | ErrorCode::Timeout) => Err(error),
        Err(error) => Ok(Err(reason(&error))),
    }
}

/// What AWS said where it refuses.
///
/// # Errors
/// Where it couldn't be asked.
fn refusal(error: Box<Error>) -> Result<String> {
    match error.code {
        ErrorCode::AccessDenied | ErrorCode::RoleNotUsable => Ok(reason(&error)),
        _ => Err(error),
    }
}

fn far(role: &str) -> String {
    format!("{role} is of another account or partition, whose IAM can't be read from here")
}

fn reason(error: &Error) -> String {
    let causes: String = error.causes.iter().map(|cause| format!(": {cause}")).collect();
    format!("{}{causes}", error.message)
}

impl Observer<'_> {
    /// What mends links.
    pub(crate) fn commands(&self) -> Commands {
        Commands { cluster: self.cluster.name.clone(), region: self.aws.region().to_owned() }
    }

    /// Reads something of the cluster.
    pub(crate) async fn in_cluster<T>(&self, read: impl AsyncFn(&Kubernetes) -> Result<T>) -> Result<Look<T>> {
        match &self.kubernetes {
            Ok(kubernetes) => look(read(kubernetes).await),
            Err(why) => Ok(Err(why.clone())),
        }
    }

    /// The chain of one service account.
    pub(crate) async fn irsa(&self, (namespace, name): (&str, &str), needs: Needs) -> Result<Irsa> {
        let provider_arn = self.issuer.provider_arn(&self.cluster.partition, &self.cluster.account);
        let reader = Reader::stacks_only(self.aws);
        let kind = &Kind::SERVICE_ACCOUNT;
        let (provider, stack, object, association) = join4(
            self.aws.oidc_provider(&provider_arn),
            reader.place(&self.cluster.name, (namespace, name)),
            self.in_cluster(async |kubernetes| kubernetes.get(kind, Some(namespace), name).await),
            self.aws.pod_identity_association(&self.cluster.name, namespace, name),
        )
        .await;
        let selector = format!("spec.serviceAccountName={name}");
        let mut irsa = Irsa {
            commands: self.commands(),
            account: self.cluster.account.clone(),
            partition: self.cluster.partition.clone(),
            issuer: self.issuer.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            provider: look(provider)?,
            twins: Ok(Vec::new()),
            stack: look(stack)?.map(|place| place.stack),
            service_account: object?,
            association: look(association)?,
            role: Ok(None),
            demand: needs.permissions.clone(),
            lacking: Ok(Vec::new()),
            unread: None,
            policies: Ok(Policies::default()),
            verify: self.commands().verify_iamserviceaccount(namespace, name),
            install: None,
            make: None,
            pods: Ok(Vec::new()),
            deployment: None,
            live: Live::LeftOut,
        };
        let role_arn = irsa.role_arn();
        let (twins, role, pods, live) = join4(
            self.twins(&irsa),
            self.role(role_arn.as_deref(), &needs.permissions.all()),
            self.in_cluster(async |kubernetes| {
                kubernetes.list(&Kind::POD, Some(namespace), None, Some(&selector)).await
            }),
            self.exchange((namespace, name), role_arn.as_deref(), &needs),
        )
        .await;
        irsa.twins = twins?;
        Seen { role: irsa.role, lacking: irsa.lacking, unread: irsa.unread, policies: irsa.policies } = role?;
        irsa.pods = pods?.map(|pods| pods.into_iter().filter(|pod| !has_ended(pod)).collect());
        irsa.live = live?;
        Ok(irsa)
    }

    /// Where the provider is missing: those of the same cluster under another host.
    async fn twins(&self, irsa: &Irsa) -> Result<Look<Vec<String>>> {
        if !matches!(irsa.provider, Ok(None)) {
            return Ok(Ok(Vec::new()));
        }
        let own = irsa.provider_arn();
        let last = |arn: &str| arn.rsplit('/').next().map(str::to_owned);
        let all = look(self.aws.oidc_providers().await)?;
        Ok(all.map(|all| all.into_iter().filter(|arn| *arn != own && last(arn) == last(&own)).collect()))
    }

    /// The role, and what it lacks of the needs.
    async fn role(&self, arn: Option<&str>, needs: &[Need]) -> Result<Seen> {
        let Some(arn) = arn else { return Ok(Seen::of(Ok(None))) };
        let parsed = match arn.parse::<Arn>() {
            Ok(parsed) if self.is_near(&parsed) => parsed,
            Ok(_) => return Ok(Seen::of(Err(far(arn)))),
            Err(problem) => return Ok(Seen::of(Err(problem))),
        };
        let (role, simulated) = join(self.aws.role(parsed.name()), self.aws.simulate(arn, needs)).await;
        let mut seen = Seen::of(look(role)?);
        let Ok(Some(role)) = &seen.role else { return Ok(seen) };
        let simulated = look(simulated)?.map(|refusals| refusals.into_iter().map(Lack::from).collect::<Vec<_>>());
        if needs.is_empty() {
            return Ok(seen);
        }
        let policies = look(self.policies(role).await)?;
        if !simulated.as_ref().is_ok_and(Vec::is_empty) {
            seen.unread = simulated.as_ref().err().or(policies.as_ref().err()).cloned();
            seen.lacking = judged(simulated, policies.as_ref().map(|all| all.lacking(needs)).map_err(Clone::clone));
        }
        seen.policies = policies;
        Ok(seen)
    }

    /// All policies of a role, and its boundary.
    async fn policies(&self, role: &Role) -> Result<Policies> {
        let managed = async {
            let arns = self.aws.attached_policies(&role.name).await?.into_iter().map(|(_, arn)| arn);
            let documents = arns.map(async |arn| {
                let policy = self.aws.policy(&arn).await?;
                Ok(policy.map(|policy| (Holder::Managed(arn), policy.document)))
            });
            try_join_all(documents).await
        };
        let inline = async {
            let names = self.aws.inline_policies(&role.name).await?.into_iter();
            let documents = names.map(async |name| {
                let document = self.aws.inline_policy(&role.name, &name).await?;
                Ok(document.map(|document| (Holder::Inline(name), document)))
            });
            try_join_all(documents).await
        };
        let boundary = async {
            match &role.boundary {
                Some(arn) => self.aws.policy(arn).await,
                None => Ok(None),
            }
        };
        let (managed, inline, boundary) = try_join3(managed, inline, boundary).await?;
        let held = managed.into_iter().chain(inline).flatten().collect();
        Ok(Policies { held, boundary: boundary.map(|policy| policy.document) })
    }

    /// A token of the ServiceAccount exchanged at STS, and what it is for tried with it.
    async fn exchange(&self, who: (&str, &str), role: Option<&str>, needs: &Needs) -> Result<Live> {
        if !self.live {
            return Ok(Live::LeftOut);
        }
        let Some(role) = role else { return Ok(Live::Impossible("there is no role".to_owned())) };
        let token = self.in_cluster(async |kubernetes| kubernetes.token(who.0, who.1, AUDIENCE).await).await?;
        let token = match token {
            Ok(token) => token,
            Err(why) => return Ok(Live::Impossible(why)),
        };
        match self.attempt(role, &token, needs).await {
            Ok(live) => Ok(live),
            Err(error) => Ok(Live::Impossible(look::<()>(Err(error))?.err().unwrap_or_default())),
        }
    }

    async fn attempt(&self, role: &str, token: &str, needs: &Needs) -> Result<Live> {
        let mut assumed = match self.aws.assume_role_with_web_identity(role, token, "irsactl").await {
            Ok(assumed) => assumed,
            Err(error) => return refusal(error).map(Live::Refused),
        };
        if let Some(hop) = &needs.second {
            assumed = match assumed.assume_role(&hop.role.to_string(), hop.external_id.as_deref()).await {
                Ok(assumed) => assumed,
                Err(error) => {
                    let said = refusal(error)?;
                    return Ok(Live::HopRefused { hop: hop.clone(), said, trust: self.trust(&hop.role).await? });
                }
            };
        }
        let works = "STS exchanges a token of the ServiceAccount for the role";
        if !needs.zones {
            return Ok(Live::Works(works.to_owned()));
        }
        match assumed.zones().await {
            Ok(zones) => Ok(Live::Works(format!("{works}, which lists {} hosted zones", zones.len()))),
            Err(error) => Ok(Live::ZonesRefused { hop: needs.second.clone(), said: refusal(error)? }),
        }
    }

    fn is_near(&self, role: &Arn) -> bool {
        role.account == self.cluster.account && role.partition == self.cluster.partition.as_str()
    }

    /// Whom a role trusts.
    async fn trust(&self, role: &Arn) -> Result<Look<Option<PolicyDocument>>> {
        if !self.is_near(role) {
            return Ok(Err(far(&role.to_string())));
        }
        Ok(look(self.aws.role(role.name()).await)?.map(|found| found.map(|found| found.trust)))
    }

    /// The installation of ExternalDNS of a namespace and name, with all Deployments as read before.
    pub(crate) async fn workload(
        &self,
        (namespace, name): (&str, &str),
        deployments: &Look<Vec<Value>>,
    ) -> Result<Workload> {
        let own = |it: &&Value| is_named(it, namespace, name);
        let deployment = deployments.as_ref().map(|all| all.iter().find(own).cloned()).map_err(Clone::clone);
        let all = deployments.iter().flatten().filter(|it| !own(it)).filter_map(Installed::from_deployment);
        let installed = deployment.as_ref().ok().and_then(Option::as_ref).and_then(Installed::from_deployment);
        let seen = match (&deployment, &installed) {
            (Err(why), _) => Err(why.clone()),
            (_, None) => Err("there is no ExternalDNS".to_owned()),
            (_, Some(installed)) => Ok(installed),
        };
        let (version, (rights, unserved), pods) =
            join3(self.in_cluster(async |kubernetes| kubernetes.version().await), self.rights(&seen), self.pods(&seen))
                .await;
        let pods = pods?;
        let log = match (&pods, &installed) {
            (Ok(pods), Some(installed)) => self.log(pods, installed).await?,
            (Err(why), _) => Err(why.clone()),
            _ => Ok(None),
        };
        Ok(Workload {
            commands: self.commands(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            role: Vec::new(),
            has_account: false,
            others: all.map(|other| (other.namespace, other.name)).collect(),
            deployment,
            installed,
            minor: version?.ok().map(|(_, minor, _)| minor),
            rights: rights?,
            unserved: unserved?,
            pods,
            log,
        })
    }

    /// The words of `install` that leave the IAM half of an installation as it is.
    pub(crate) async fn role_words(&self, irsa: &Irsa, workload: &Workload) -> Result<Vec<String>> {
        let named = irsa.service_account.as_ref().ok().and_then(Option::as_ref);
        let stack = irsa.stack.as_ref().ok().and_then(Option::as_ref);
        if stack.is_some_and(ObservedStack::has_failed) {
            // What it was to hold may be why it failed.
            return Ok(Vec::new());
        }
        let mut facts = RoleFacts {
            stack,
            // A role that is gone is nothing to keep.
            named: named
                .and_then(|object| annotation(object, ROLE_ANNOTATION))
                .filter(|_| !matches!(irsa.role, Ok(None))),
            second: workload.installed.as_ref().and_then(|installed| installed.assume_role.as_deref()),
            policy: None,
            shared: SHARED_POLICY,
        };
        let unusual = facts.unusual_policy();
        // One that irsactl keeps, or would make where it is gone.
        let ours = match &unusual {
            Some(arn) => look(self.aws.policy(arn).await)?
                .is_ok_and(|found| found.is_none_or(|policy| policy.tags.contains_key(tags::IRSACTL_VERSION))),
            None => false,
        };
        let of_account = format!(":{}:policy/", self.cluster.account);
        let name = unusual.as_ref().and_then(|arn| arn.split_once(&of_account)).map(|(_, name)| name);
        facts.policy = name.filter(|name| ours && !name.contains('/'));
        Ok(role_words(self.aws.region(), &self.cluster.name, &workload.name, &facts))
    }

    /// Whether its ServiceAccount may read what its sources need, and which APIs are missing.
    async fn rights(
        &self,
        installed: &Look<&Installed>,
    ) -> (Result<Look<Vec<(Review, bool)>>>, Result<Look<Vec<(String, String, String)>>>) {
        let installed = match installed {
            Ok(installed) => *installed,
            Err(why) => return (Ok(Err(why.clone())), Ok(Err(why.clone()))),
        };
        let settings = settings(self.aws.region(), installed);
        let reviews = reviews(&rbac::rules(&settings), &installed.arguments);
        let (namespace, account) = (installed.namespace.as_str(), installed.service_account.as_str());
        join(
            self.in_cluster(async |kubernetes| kubernetes.service_account_can(namespace, account, &reviews).await),
            self.in_cluster(async |kubernetes| {
                let mut missing = Vec::new();
                for api in rbac::apis(&settings) {
                    if !kubernetes.serves(&api.0, &api.1, &api.2).await? {
                        missing.push(api);
                    }
                }
                Ok(missing)
            }),
        )
        .await
    }

    async fn pods(&self, installed: &Look<&Installed>) -> Result<Look<Vec<Value>>> {
        let installed = match installed {
            Ok(installed) => *installed,
            Err(why) => return Ok(Err(why.clone())),
        };
        let labels: Vec<_> = installed.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let selector = labels.join(",");
        self.in_cluster(async |kubernetes| kubernetes.pods(&installed.namespace, &selector).await).await
    }

    /// The end of the log of the newest pod, that of its previous run before it.
    async fn log(&self, pods: &[Value], installed: &Installed) -> Result<Look<Option<String>>> {
        let newest = current(pods).into_iter().max_by_key(|pod| pod["metadata"]["creationTimestamp"].as_str());
        let Some(name) = newest.and_then(|pod| pod["metadata"]["name"].as_str()) else { return Ok(Ok(None)) };
        let read = async |previous: bool| {
            self.in_cluster(async |kubernetes| {
                let container = installed.container.as_str();
                kubernetes.logs(&installed.namespace, name, container, previous, Some(LOG_LINES), None).await
            })
            .await
        };
        let current = read(false).await?;
        let previous = read(true).await?.unwrap_or_default();
        Ok(current.map(|current| Some(previous + &current)))
    }
}

/// The settings that decide which rights are needed.
fn settings(region: &str, installed: &Installed) -> Settings {
    let mut settings = Settings::new(region, &installed.owner_id);
    settings.version = installed.rules();
    settings.sources.clone_from(&installed.sources);
    settings.extra_args = installed.arguments.words().collect();
    settings
}

fn reviews(rules: &[Rule], arguments: &Arguments) -> Vec<Review> {
    let mut reviews = Vec::new();
    for rule in rules {
        for resource in &rule.resources {
            for verb in rule.verbs.iter().filter(|verb| **verb == "list" || **verb == "watch") {
                reviews.push(Review {
                    verb: (*verb).to_owned(),
                    group: rule.group.clone(),
                    resource: resource.clone(),
                    namespace: rule.namespace(resource, arguments).map(str::to_owned),
                    ..Review::default()
                });
            }
        }
    }
    reviews
}

/// Pauses between looks with `--wait`.
pub(crate) const PAUSE: Duration = Duration::from_secs(2);
