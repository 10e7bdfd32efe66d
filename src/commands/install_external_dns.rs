//! `install external-dns`.

mod confirm;
mod settings;

use futures::future::{try_join_all, try_join3, try_join4};
use serde_json::Value;

use super::run::{self, Ended};
use crate::Exit;
use crate::aws::Aws;
use crate::aws::eks::Cluster;
use crate::aws::iam::{Policy, Provider};
use crate::cli::externaldns::Install;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::externaldns::args::Installed;
use crate::externaldns::filter::{Zone, select_zones};
use crate::externaldns::owner::scoped_policy;
use crate::externaldns::protect::complete;
use crate::externaldns::rbac::apis_of;
use crate::externaldns::settings::Settings;
use crate::iam::arn::iam_arn;
use crate::iam::policy::{
    Access, PolicyDocument, access, assume_role, assume_role_trust, external_dns, external_dns_needs,
};
use crate::k8s::{Kind, Kubernetes};
use crate::observe;
use crate::observe::externaldns::{Account, InCluster};
use crate::observe::policy::Named;
use crate::plan::externaldns::{self as installation, Desired, Observed, guards, records};
use crate::plan::iamserviceaccount::{self as entry, DesiredObject, DesiredRole};
use crate::plan::{Plan, RoleSource, StackSpec, policy, provider};
use crate::stack::tags;
use crate::stack::template::RoleSpec;

pub(super) use settings::{Facts, patches, settings};

/// Installs ExternalDNS, or brings an installation to what is asked for.
pub(crate) async fn run(context: &Context, args: &Install) -> Result<Exit> {
    tags::check_user_tags(&args.role.tags.tags).map_err(|e| Error::usage(format!("--tags: {e}")))?;
    let patches = patches(&args.settings.patch)?;
    // What flags alone decide is decided before the first call.
    settings::check_offline(&args.settings, args.role.least_privilege, args.aws.region.as_deref())?;

    let seen = read(context, args).await?;
    let Planned { plan, settings, zones, lacking } = plan(context, args, &seen, patches).await?;
    let kubernetes = seen.kubernetes();
    match run::plan(context, &args.plan, plan, context.aws(&args.aws).await?, kubernetes).await? {
        Ended::Shown(exit) => Ok(exit),
        Ended::Done(plan) => {
            confirm::end(context, args, &plan, &settings, &confirm::Outlook { zones, lacking }, kubernetes).await
        }
    }
}

/// Everything that was read.
struct Seen {
    /// What names lead to in AWS.
    account: Account,
    /// The ARN of the issuer's provider.
    provider_arn: String,
    /// The provider.
    provider: Option<Provider>,
    /// The policy, where irsactl keeps one.
    policy: Option<Policy>,
    /// The documents of the policies that the flags give.
    given: Vec<PolicyDocument>,
    /// The cluster; none with `--aws-only`.
    in_cluster: Option<InCluster>,
}

async fn read(context: &Context, args: &Install) -> Result<Seen> {
    let aws = context.aws(&args.aws).await?;
    let role_name = args.role.role_name.as_deref();
    let account =
        observe::externaldns::account(context, &args.aws, &args.cluster.cluster, &args.settings, role_name).await?;
    context.ui.say(&format!("acting as {}", account.caller.arn));
    let provider_arn = account.issuer.provider_arn(&account.cluster.partition, &account.cluster.account);
    let policy = async {
        match policy_arn_of(args, &account.cluster, aws.region()) {
            Some((_, arn)) => aws.policy(&arn).await,
            None => Ok(None),
        }
    };
    let (in_cluster, provider, policy, given) = try_join4(
        in_cluster(context, args, &account.cluster),
        aws.oidc_provider(&provider_arn),
        policy,
        given(context, args, &account, &provider_arn),
    )
    .await?;
    Ok(Seen { account, provider_arn, provider, policy, given, in_cluster })
}

/// A plan, and what it leads to.
struct Planned {
    plan: Plan,
    settings: Settings,
    /// How many zones the settings select.
    zones: usize,
    /// Actions that the given policies don't allow.
    lacking: Vec<String>,
}

async fn plan(context: &Context, args: &Install, seen: &Seen, patches: Vec<Value>) -> Result<Planned> {
    let aws = context.aws(&args.aws).await?;
    let cluster = &seen.account.cluster;
    let installed = seen.installed();
    let facts = Facts {
        cluster: &cluster.name,
        cluster_arn: &cluster.arn,
        region: aws.region(),
        partition: &cluster.partition,
        kubernetes_minor: seen.in_cluster.as_ref().map(|found| found.minor),
        installed: installed.as_ref(),
    };
    let (mut settings, warnings) = settings(&args.settings, &facts)?;

    let mut plan = Plan::new(Some(&cluster.name), aws.region(), &cluster.account);
    plan.notes.extend(warnings);
    guard(&mut plan, seen, &settings, args.consent.adopt)?;
    if let Some(installed) = &installed {
        guards::told(&mut plan, installed, |flag| settings::is_told(&args.settings, flag))?;
    }
    let zones = guards::zones(&mut plan, &settings, &seen.account.zones)?;
    if args.role.least_privilege {
        let ids: Vec<_> = zones.iter().map(|zone| zone.id.clone()).collect();
        settings.zone_id_filters = settings::least_privilege(ids)?;
    }
    check_records(context, args, seen, &settings, &mut plan).await?;
    check_served(seen, &settings).await?;
    let lacking = lacking(args, seen, &settings, &zones);
    if !lacking.is_empty() {
        plan.note(format!("the policies of --attach-policy-arn don't allow {}", lacking.join(", ")));
    }

    let desired = desired(args, seen, settings, patches, aws)?;
    let policy_users = match &desired.policy {
        Some(policy) => observe::policy::others(aws, policy, seen.policy.as_ref(), seen.role_name()).await?,
        None => Ok(Vec::new()),
    };
    let observed = Observed {
        policy: seen.policy.clone(),
        policy_users,
        entry: seen.entry(),
        objects: seen.in_cluster.as_ref().map(|found| found.objects.clone()),
    };
    let provider_tags = tags::cluster_tags(&cluster.name, crate::VERSION, &args.role.tags.tags);
    let arn = &seen.provider_arn;
    let provider = provider::step(cluster, &seen.account.issuer, arn, seen.provider.as_ref(), &provider_tags);
    let provider = plan.push(provider);
    plan.outputs.provider_arn = Some(arn.clone());
    installation::add(&mut plan, &desired, &observed, provider)?;
    note_second_hop(&mut plan, &desired.settings);
    Ok(Planned { plan, settings: desired.settings, zones: zones.len(), lacking })
}

/// Refuses what would cost records, unless it is consented to.
async fn check_records(
    context: &Context,
    args: &Install,
    seen: &Seen,
    settings: &Settings,
    plan: &mut Plan,
) -> Result<()> {
    let aws = context.aws(&args.aws).await?;
    let mut installed = seen.installed();
    if let Some(installed) = &mut installed {
        complete(installed, settings);
    }
    let zones = &seen.account.zones;
    let stake =
        observe::records::at_stake(aws, &context.ui, seen.kubernetes(), installed.as_ref(), settings, zones).await?;
    let (own, objects) = (stake.records.as_deref(), stake.objects.as_slice());
    records::overwrite(plan, args.consent.take_over_records, &stake.overwritten)?;
    records::note_strangers(plan, &stake.strangers);
    records::note_unownable(plan, settings, &select_zones(zones, settings), objects);
    let consent =
        records::Consent { delete: args.consent.allow_record_deletion, abandon: args.consent.abandon_records };
    if let Some(installed) = &installed {
        return records::change(plan, installed, settings, consent, (own, &stake.orphaned), objects);
    }
    let chosen = args.settings.txt_owner_id.is_some() && !args.consent.take_over_records;
    records::takeover(plan, settings, chosen, consent, own, objects)
}

impl Seen {
    /// The installation of this namespace and name, with its settings.
    fn installed(&self) -> Option<Installed> {
        self.in_cluster.as_ref()?.objects.deployment.as_ref().and_then(Installed::from_deployment)
    }

    fn entry(&self) -> entry::Observed {
        let mut entry = self.account.entry.clone();
        if let Some(found) = &self.in_cluster {
            entry.namespace.clone_from(&found.namespace);
            entry.service_account.clone_from(&found.service_account);
        }
        entry
    }

    fn kubernetes(&self) -> Option<&Kubernetes> {
        self.in_cluster.as_ref().map(|found| &found.kubernetes)
    }

    fn role_name(&self) -> Option<&str> {
        self.account.entry.stack.as_ref()?.role.as_ref().map(|role| role.role.name.as_str())
    }
}

async fn in_cluster(context: &Context, args: &Install, cluster: &Cluster) -> Result<Option<InCluster>> {
    if args.role.aws_only {
        return Ok(None);
    }
    let kubernetes = context.kubernetes(cluster, &args.aws, &args.kube).await?;
    let (namespace, name) = (&args.settings.namespace, &args.settings.name);
    match observe::externaldns::in_cluster(kubernetes, namespace, name).await {
        Ok(found) => Ok(Some(found)),
        Err(error) => Err(context.explain_access(error, &cluster.name).await),
    }
}

fn guard(plan: &mut Plan, seen: &Seen, settings: &Settings, adopt: bool) -> Result<()> {
    let cluster = &seen.account.cluster.name;
    guards::pod_identity(settings, cluster, seen.account.association.as_ref())?;
    let Some(found) = &seen.in_cluster else { return Ok(()) };
    let objects = &found.objects;
    let deployment = objects.deployment.as_ref();
    guards::addon(settings, cluster, deployment, seen.account.addon.as_ref())?;
    if let Some(deployment) = deployment {
        guards::ours(&Kind::DEPLOYMENT, deployment, adopt)?;
    }
    guards::installations(plan, settings, cluster, deployment.is_some(), &objects.installations)?;
    guards::binding(settings, objects.cluster_role_binding.as_ref(), &objects.installations)
}

fn desired(args: &Install, seen: &Seen, settings: Settings, patches: Vec<Value>, aws: &Aws) -> Result<Desired> {
    let policy = kept_policy(args, seen, &settings, aws);
    let role = match &args.role.role_arn {
        Some(arn) => DesiredRole::Existing(seen.account.cluster.role_arn(arn)?),
        None => DesiredRole::Stack(stack(args, seen, &settings, policy.as_ref())?.into()),
    };
    let object = (!args.role.aws_only).then_some(DesiredObject {
        take_over: args.consent.take_over.override_existing_serviceaccounts || args.consent.adopt,
        force: args.consent.take_over.force_conflicts || args.consent.adopt,
        ..DesiredObject::default()
    });
    let entry = entry::Desired {
        cluster: args.cluster.cluster.clone(),
        namespace: settings.namespace.clone(),
        name: settings.name.clone(),
        role,
        object,
    };
    Ok(Desired {
        settings,
        patches,
        policy,
        entry,
        adopt: args.consent.adopt,
        force: args.consent.take_over.force_conflicts,
    })
}

/// Name and ARN of the policy that irsactl keeps: shared by all installations, or of this one and its zones.
fn policy_arn_of(args: &Install, cluster: &Cluster, region: &str) -> Option<(String, String)> {
    let (role, settings) = (&args.role, &args.settings);
    if role.role_arn.is_some() || !role.attach_policy_arn.is_empty() || settings.aws_assume_role.is_some() {
        return None;
    }
    let mut name = role.policy_name.clone();
    if role.least_privilege {
        name = scoped_policy(&name, region, &cluster.name, &settings.name);
    }
    let arn = iam_arn(&cluster.partition, &cluster.account, "policy", "/", &name);
    Some((name, arn))
}

fn kept_policy(args: &Install, seen: &Seen, settings: &Settings, aws: &Aws) -> Option<policy::Desired> {
    let partition = &seen.account.cluster.partition;
    let (name, arn) = policy_arn_of(args, &seen.account.cluster, aws.region())?;
    let zones: &[String] = if args.role.least_privilege { &settings.zone_id_filters } else { &[] };
    Some(policy::Desired {
        name,
        arn,
        document: external_dns(partition, zones),
        needs: (!args.role.least_privilege).then(|| external_dns_needs(partition, &[], settings.zone_tags())),
        tags: tags::own_tags(crate::VERSION, &args.role.tags.tags),
        allow_shared_change: args.consent.allow_shared_policy_change,
    })
}

fn stack(args: &Install, seen: &Seen, settings: &Settings, policy: Option<&policy::Desired>) -> Result<StackSpec> {
    let cluster = &seen.account.cluster;
    let complete = |arn: &String| cluster.policy_arn(arn);
    let given: Vec<_> = args.role.attach_policy_arn.iter().map(complete).collect::<Result<_>>()?;
    let spec = RoleSpec {
        namespace: settings.namespace.clone(),
        name: settings.name.clone(),
        issuer: seen.account.issuer.clone(),
        partition: cluster.partition.clone(),
        account: cluster.account.clone(),
        managed_policies: policy.map(|policy| policy.arn.clone()).into_iter().chain(given).collect(),
        inline: settings.assume_role.as_deref().map(|role| assume_role(role).0),
        well_known: Vec::new(),
        boundary: args.role.permissions_boundary.as_ref().map(complete).transpose()?,
        role_name: args.role.role_name.clone(),
        role_path: args.role.role_path.clone(),
        subject_pattern: None,
    };
    let user = &args.role.tags.tags;
    let tags = tags::tags(&cluster.name, &settings.namespace, &settings.name, crate::VERSION, user);
    Ok(StackSpec::new(spec, seen.account.stack_name.clone(), tags, args.role.termination_protection))
}

/// What others made and the flags name must be there, and fit; gives the documents of the policies.
async fn given(
    context: &Context,
    args: &Install,
    account: &Account,
    provider_arn: &str,
) -> Result<Vec<PolicyDocument>> {
    let aws = context.aws(&args.aws).await?;
    let cluster = &account.cluster;
    let complete = |arn: &String| cluster.policy_arn(arn);
    let attached: Vec<_> = args.role.attach_policy_arn.iter().map(complete).collect::<Result<_>>()?;
    let boundary = args.role.permissions_boundary.iter().map(complete);
    let boundary: Vec<_> = boundary
        .map(|arn| Ok(Named { place: "--permissions-boundary".to_owned(), arn: arn? }))
        .collect::<Result<_>>()?;
    let role = async {
        match &args.role.role_arn {
            Some(role) => {
                let who = (args.settings.namespace.as_str(), args.settings.name.as_str());
                let (role, issuer) = (cluster.role_arn(role)?, &account.issuer);
                observe::iamserviceaccount::check_trust(aws, &context.ui, &role, issuer, provider_arn, who).await
            }
            None => Ok(()),
        }
    };
    let (documents, (), ()) = try_join3(
        observe::policy::documents(aws, &context.ui, "--attach-policy-arn", &attached),
        observe::policy::check_exist(aws, &context.ui, &boundary),
        role,
    )
    .await?;
    Ok(documents)
}

/// What ExternalDNS calls and the given policies don't allow; a condition may allow it.
fn lacking(args: &Install, seen: &Seen, settings: &Settings, zones: &[&Zone]) -> Vec<String> {
    if args.role.attach_policy_arn.is_empty() || settings.assume_role.is_some() {
        return Vec::new();
    }
    let ids: Vec<_> = zones.iter().map(|zone| zone.id.clone()).collect();
    let needs = external_dns_needs(&seen.account.cluster.partition, &ids, settings.zone_tags());
    let documents: Vec<_> = seen.given.iter().collect();
    let mut actions: Vec<_> =
        needs.into_iter().filter(|need| access(&documents, need) == Access::Missing).map(|need| need.action).collect();
    actions.dedup();
    actions
}

async fn check_served(seen: &Seen, settings: &Settings) -> Result<()> {
    let Some(found) = &seen.in_cluster else { return Ok(()) };
    let kubernetes: &Kubernetes = &found.kubernetes;
    let checks = settings.sources.iter().map(|source| async move {
        observe::externaldns::check_served(kubernetes, &apis_of(source, settings), source).await
    });
    try_join_all(checks).await.map(drop)
}

/// The other side of `--aws-assume-role` must trust the role.
fn note_second_hop(plan: &mut Plan, settings: &Settings) {
    let Some(second) = &settings.assume_role else { return };
    plan.resolve(&std::collections::BTreeMap::default());
    let role = match plan.outputs.service_accounts.first().map(|account| &account.source) {
        Some(RoleSource::Known(arn)) => arn.clone(),
        _ => format!("arn:{}:iam::{}:role/(known once the stack is there)", settings.partition, plan.account),
    };
    let trust = assume_role_trust(&role, settings.assume_role_external_id.as_deref());
    plan.note(format!("the trust policy of {second} must allow: {}", trust.to_json()));
}
