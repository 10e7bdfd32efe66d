//! `install external-dns`.

mod confirm;
mod settings;

use futures::future::{try_join_all, try_join3};
use serde_json::Value;

use super::run::{self, Ended};
use crate::Exit;
use crate::aws::Aws;
use crate::aws::eks::Cluster;
use crate::cli::externaldns::Install;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::externaldns::args::Installed;
use crate::externaldns::rbac::required_apis;
use crate::externaldns::settings::Settings;
use crate::iam::arn::{iam_arn, policy_arn};
use crate::iam::policy::{assume_role, assume_role_trust, external_dns, external_dns_needs};
use crate::k8s::Kubernetes;
use crate::observe;
use crate::observe::externaldns::{Account, InCluster};
use crate::plan::externaldns::{self as installation, Desired, Observed, guards, records};
use crate::plan::iamserviceaccount::{self as entry, DesiredObject, DesiredRole, trust_of};
use crate::plan::{Plan, RoleSource, StackSpec, policy, provider};
use crate::stack::tags;
use crate::stack::template::{RoleSpec, template};

pub(super) use settings::{Facts, patches, settings};

/// Installs ExternalDNS, or brings an installation to what is asked for.
pub(crate) async fn run(context: &Context, args: &Install) -> Result<Exit> {
    tags::check_user_tags(&args.role.tags.tags).map_err(|e| Error::usage(format!("--tags: {e}")))?;
    let patches = patches(&args.settings.patch)?;
    // What flags alone decide is decided before the first call.
    settings::check_offline(&args.settings)?;

    let aws = context.aws(&args.aws).await?;
    let cluster_name = &args.cluster.cluster;
    let account =
        observe::externaldns::account(context, &args.aws, cluster_name, &args.settings, args.role.role_name.as_deref())
            .await?;
    context.ui.say(&format!("acting as {}", account.caller.arn));
    let in_cluster = in_cluster(context, args, &account.cluster).await?;
    let seen = Seen { account, in_cluster };
    let installed = seen.installed();
    let facts = Facts {
        cluster: cluster_name,
        cluster_arn: &seen.account.cluster.arn,
        region: aws.region(),
        partition: &seen.account.cluster.partition,
        kubernetes_minor: seen.in_cluster.as_ref().map(|found| found.minor),
        installed: installed.as_ref(),
    };
    let (mut settings, warnings) = settings(&args.settings, &facts)?;

    let mut plan = Plan::new(Some(cluster_name), aws.region(), &seen.account.cluster.account);
    plan.notes.extend(warnings);
    guard(&mut plan, &seen, &settings, cluster_name)?;
    let zones = guards::zones(&mut plan, &settings, &seen.account.zones)?;
    if args.role.least_privilege {
        let ids: Vec<_> = zones.iter().map(|zone| zone.id.clone()).collect();
        settings.zone_id_filters = settings::least_privilege(ids)?;
    }
    let kubernetes = seen.in_cluster.as_ref().map(|found| &found.kubernetes);
    let stake =
        observe::records::at_stake(aws, &context.ui, kubernetes, installed.as_ref(), &settings, &seen.account.zones)
            .await?;
    let (own, objects) = (stake.records.as_deref(), stake.objects.as_slice());
    if let Some(installed) = &installed {
        records::change(&mut plan, installed, &settings, consent(args), own, objects)?;
    } else {
        let chosen = args.settings.txt_owner_id.is_some() && !args.consent.take_over_records;
        records::takeover(&mut plan, &settings, chosen, own.unwrap_or_default(), objects)?;
    }

    let desired = desired(args, &seen, settings, patches, aws)?;
    let provider_arn = seen.account.issuer.provider_arn(&seen.account.cluster.partition, &seen.account.cluster.account);
    let (provider, (policy, policy_users), ()) = try_join3(
        aws.oidc_provider(&provider_arn),
        policy_of(aws, &desired, &seen),
        check_given(context, args, &desired, &seen, &provider_arn),
    )
    .await?;
    check_served(&seen, &desired.settings).await?;

    let step = provider::step(
        &seen.account.cluster,
        &seen.account.issuer,
        &provider_arn,
        provider.as_ref(),
        &tags::cluster_tags(cluster_name, crate::VERSION, &args.role.tags.tags),
    );
    plan.outputs.provider_arn = Some(provider_arn);
    let provider = plan.push(step);
    let observed = Observed {
        policy,
        policy_users,
        entry: seen.entry(),
        objects: seen.in_cluster.as_ref().map(|found| found.objects.clone()),
    };
    installation::add(&mut plan, &desired, &observed, provider)?;
    note_second_hop(&mut plan, &desired.settings);

    match run::plan(context, &args.plan, plan, aws, kubernetes).await? {
        Ended::Shown(exit) => Ok(exit),
        Ended::Done(plan) => confirm::end(context, args, &plan, &desired.settings, zones.len(), kubernetes).await,
    }
}

/// Everything that was read.
pub(super) struct Seen {
    /// AWS.
    pub(super) account: Account,
    /// The cluster; none with `--aws-only`.
    pub(super) in_cluster: Option<InCluster>,
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
        Err(error) => Err(context.explain_access(error, &args.aws, &cluster.name).await),
    }
}

fn guard(plan: &mut Plan, seen: &Seen, settings: &Settings, cluster: &str) -> Result<()> {
    guards::pod_identity(settings, cluster, seen.account.association.as_ref())?;
    let Some(found) = &seen.in_cluster else { return Ok(()) };
    let objects = &found.objects;
    let installed = objects.deployment.is_some();
    guards::installations(plan, settings, installed, &objects.installations, seen.account.addon.as_ref())?;
    guards::binding(settings, objects.cluster_role_binding.as_ref())
}

fn consent(args: &Install) -> records::Consent {
    records::Consent { delete: args.consent.allow_record_deletion, abandon: args.consent.abandon_records }
}

fn desired(args: &Install, seen: &Seen, settings: Settings, patches: Vec<Value>, aws: &Aws) -> Result<Desired> {
    let policy = shared_policy(args, seen, &settings, aws);
    let role = match &args.role.role_arn {
        Some(arn) => DesiredRole::Existing(arn.clone()),
        None => DesiredRole::Stack(stack(args, seen, &settings, policy.as_ref())?),
    };
    let object = (!args.role.aws_only).then_some(DesiredObject {
        take_over: args.consent.override_existing_serviceaccounts || args.consent.adopt,
        force: args.consent.force_conflicts || args.consent.adopt,
        namespace_label: None,
    });
    let entry = entry::Desired {
        cluster: args.cluster.cluster.clone(),
        namespace: settings.namespace.clone(),
        name: settings.name.clone(),
        role,
        object,
    };
    Ok(Desired { settings, patches, policy, entry, adopt: args.consent.adopt, force: args.consent.force_conflicts })
}

/// The policy that irsactl keeps: shared by all installations, or of this one and its zones.
fn shared_policy(args: &Install, seen: &Seen, settings: &Settings, aws: &Aws) -> Option<policy::Desired> {
    if args.role.role_arn.is_some() || !args.role.attach_policy_arn.is_empty() || settings.assume_role.is_some() {
        return None;
    }
    let cluster = &seen.account.cluster;
    let zones: &[String] = if args.role.least_privilege { &settings.zone_id_filters } else { &[] };
    let name = if args.role.least_privilege {
        let instance = if settings.name == "external-dns" { String::new() } else { format!("-{}", settings.name) };
        format!("{}-{}-{}{instance}", args.role.policy_name, aws.region(), cluster.name)
    } else {
        args.role.policy_name.clone()
    };
    let zone_tags = settings.extra_args.iter().any(|arg| arg.starts_with("--aws-zone-tags"));
    Some(policy::Desired {
        arn: iam_arn(&cluster.partition, &cluster.account, "policy", "/", &name),
        name,
        document: external_dns(&cluster.partition, zones),
        needs: (!args.role.least_privilege).then(|| external_dns_needs(&cluster.partition, &[], zone_tags)),
        tags: tags::own_tags(crate::VERSION, &args.role.tags.tags),
        allow_shared_change: args.consent.allow_shared_policy_change,
    })
}

fn stack(args: &Install, seen: &Seen, settings: &Settings, policy: Option<&policy::Desired>) -> Result<StackSpec> {
    let cluster = &seen.account.cluster;
    let complete = |arn: &String| policy_arn(arn, &cluster.partition, Some(&cluster.account)).map_err(Error::usage);
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
    let template = template(&spec, &seen.account.stack_name);
    Ok(StackSpec {
        name: seen.account.stack_name.clone(),
        service_account: format!("{}/{}", settings.namespace, settings.name),
        tags: tags::tags(&cluster.name, &settings.namespace, &settings.name, crate::VERSION, &args.role.tags.tags),
        protected: args.role.termination_protection,
        trust: trust_of(&template),
        managed_policies: spec.managed_policies,
        boundary: spec.boundary,
        template,
    })
}

async fn policy_of(
    aws: &Aws,
    desired: &Desired,
    seen: &Seen,
) -> Result<(Option<crate::aws::iam::Policy>, Option<Vec<String>>)> {
    match &desired.policy {
        Some(policy) => observe::policy::policy(aws, policy, seen.role_name()).await,
        None => Ok((None, Some(Vec::new()))),
    }
}

/// What others made and the flags name must be there, and fit.
async fn check_given(
    context: &Context,
    args: &Install,
    desired: &Desired,
    seen: &Seen,
    provider_arn: &str,
) -> Result<()> {
    let aws = context.aws(&args.aws).await?;
    let cluster = &seen.account.cluster;
    let complete = |arn: &String| policy_arn(arn, &cluster.partition, Some(&cluster.account)).map_err(Error::usage);
    let attached: Vec<_> = args.role.attach_policy_arn.iter().map(complete).collect::<Result<_>>()?;
    let boundary: Vec<_> = args.role.permissions_boundary.iter().map(complete).collect::<Result<_>>()?;
    let role = async {
        match &args.role.role_arn {
            Some(role) => {
                let who = (desired.settings.namespace.as_str(), desired.settings.name.as_str());
                let issuer = &seen.account.issuer;
                observe::iamserviceaccount::check_trust(aws, &context.ui, role, issuer, provider_arn, who).await
            }
            None => Ok(()),
        }
    };
    try_join3(
        observe::policy::check_exist(aws, "--attach-policy-arn", &attached),
        observe::policy::check_exist(aws, "--permissions-boundary", &boundary),
        role,
    )
    .await
    .map(drop)
}

async fn check_served(seen: &Seen, settings: &Settings) -> Result<()> {
    let Some(found) = &seen.in_cluster else { return Ok(()) };
    let kubernetes: &Kubernetes = &found.kubernetes;
    let checks = settings.sources.iter().map(|source| async move {
        observe::externaldns::check_served(kubernetes, &required_apis(source, settings.version), source).await
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
