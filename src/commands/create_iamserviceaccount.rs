//! `create iamserviceaccount`: one by flags, or those of a ClusterConfig.

use std::collections::HashSet;

use futures::future::{try_join, try_join_all, try_join4};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::flags;
use super::run::{self, Ended};
use super::target::{self, Target};
use crate::Exit;
use crate::aws::eks::Cluster;
use crate::aws::iam::Provider;
use crate::aws::{AT_ONCE, Aws};
use crate::cli::iamserviceaccount::Create;
use crate::cli::shared;
use crate::config::Entry;
use crate::context::Context;
use crate::error::Result;
use crate::iam::trust::Issuer;
use crate::iam::wildcard::matches;
use crate::k8s::Kubernetes;
use crate::observe;
use crate::observe::iamserviceaccount::{Objects, Reader, objects_of};
use crate::observe::policy::Named;
use crate::plan::iamserviceaccount::{self as entry, Desired, DesiredObject, DesiredRole, Observed};
use crate::plan::{Action, Plan, StackSpec, provider};
use crate::stack::template::RoleSpec;
use crate::stack::{names, tags};
use crate::ui::Ui;

/// Gives service accounts an IAM role, or brings both to what is asked for.
pub(crate) async fn run(context: &Context, args: &Create) -> Result<Exit> {
    let target = target::read(&args.target, &args.aws, &beside_file(args))?;
    let entries = target.entries(&args.selection, || of_flags(args))?;
    let aws = context.aws(&target.aws).await?;
    let ((reader, mut found), seen) = try_join(
        aws_halves(aws, &context.ui, &target.cluster, &entries),
        observe(context, args, &target, aws, &entries),
    )
    .await?;
    let Seen { cluster, issuer, provider_arn, provider: found_provider, kubernetes, objects } = seen;
    tell_apart(&cluster.name, &entries, &mut found);

    let mut plan = Plan::new(Some(&cluster.name), aws.region(), &cluster.account);
    plan.outputs.provider_arn = Some(provider_arn.clone());
    let shared_tags = target.config.as_ref().map_or(args.tags.tags.as_slice(), |config| config.tags.as_slice());
    let provider_tags = tags::cluster_tags(&cluster.name, crate::VERSION, shared_tags);
    plan.push(provider::step(&cluster, &issuer, &provider_arn, found_provider.as_ref(), &provider_tags));
    let mut halves = Vec::with_capacity(entries.len());
    for ((wanted, (stack_name, observed)), object) in entries.iter().zip(found).zip(objects) {
        let Objects { namespace, service_account } = object;
        let observed = Observed { namespace, service_account, ..observed };
        halves.push((desired(args, wanted, &target, &cluster, &issuer, stack_name)?, observed));
    }
    for entry in &entries {
        note_pattern(&mut plan, entry);
    }
    add_all(&mut plan, reader, halves).await?;
    finish(context, &args.plan, plan, aws, kubernetes.as_ref()).await
}

/// Adds the steps of all entries, once what listings said of their roles is confirmed.
pub(super) async fn add_all(plan: &mut Plan, reader: Reader<'_>, mut halves: Vec<(Desired, Observed)>) -> Result<()> {
    try_join_all(halves.iter_mut().map(|(desired, observed)| reader.confirm(desired, observed))).await?;
    // Of many entries, what was listed is large.
    drop(reader);
    halves.into_iter().try_for_each(|(desired, observed)| entry::add(plan, &desired, &observed, &[]).map(drop))
}

/// Takes the plan to its end, and reports it.
pub(super) async fn finish(
    context: &Context,
    options: &shared::Plan,
    plan: Plan,
    aws: &Aws,
    kubernetes: Option<&Kubernetes>,
) -> Result<Exit> {
    match run::plan(context, options, plan, aws, kubernetes).await? {
        Ended::Shown(exit) => Ok(exit),
        Ended::Done(plan) => {
            run::report(&context.ui, &plan, &lines(&plan))?;
            Ok(Exit::Success)
        }
    }
}

fn note_pattern(plan: &mut Plan, entry: &Entry) {
    let Some(pattern) = entry.subject_pattern.as_ref().filter(|pattern| !matches(pattern, &entry.name)) else { return };
    let who = entry.identity();
    plan.note(format!("the subject pattern {pattern} leaves {who} itself out: its own pods can't assume the role"));
}

/// What there is beside stacks and roles.
struct Seen {
    cluster: Cluster,
    issuer: Issuer,
    provider_arn: String,
    provider: Option<Provider>,
    kubernetes: Option<Kubernetes>,
    objects: Vec<Objects>,
}

/// Reads it, and fails where something that the entries name doesn't exist.
async fn observe(context: &Context, args: &Create, target: &Target, aws: &Aws, entries: &[Entry]) -> Result<Seen> {
    let (cluster, issuer) = context.cluster(&target.aws, &target.cluster).await?;
    let provider_arn = issuer.provider_arn(&cluster.partition, &cluster.account);
    let (provider, (), (), (kubernetes, objects)) = try_join4(
        aws.oidc_provider(&provider_arn),
        check_policies(aws, &context.ui, target, entries, &cluster),
        check_roles(context, aws, entries, &cluster, &issuer),
        objects(context, &args.kube, target, &cluster, entries),
    )
    .await?;
    Ok(Seen { cluster, issuer, provider_arn, provider, kubernetes, objects })
}

/// What a file says, flags can't.
fn beside_file(args: &Create) -> Vec<(&'static str, bool)> {
    let mut given = flags::given(&args.name, args.namespace.as_deref(), &args.policies, &args.object, &args.tags);
    given.extend([
        ("--attach-role-arn", args.attach_role_arn.is_some()),
        ("--role-name", args.role_name.is_some()),
        ("--role-only", args.role_only),
        ("--subject-pattern", args.subject_pattern.is_some()),
    ]);
    given
}

fn of_flags(args: &Create) -> Result<Entry> {
    let namespace = args.namespace.as_deref();
    Ok(Entry {
        role_arn: args.attach_role_arn.clone(),
        role_name: args.role_name.clone(),
        role_only: args.role_only,
        subject_pattern: args.subject_pattern.clone(),
        ..flags::entry(&args.name, namespace, &args.policies, &args.object, &args.tags)?
    })
}

/// Reads something of each entry, several at the same time, in their order.
async fn read_each<'e, T, F>(entries: &'e [Entry], read: impl Fn(&'e Entry) -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>>,
{
    stream::iter(entries).map(read).buffered(AT_ONCE).try_collect().await
}

/// All about the entries but their Kubernetes halves: where their stacks are, and what was found.
pub(super) async fn aws_halves<'a>(
    aws: &'a Aws,
    ui: &Ui,
    cluster: &str,
    entries: &[Entry],
) -> Result<(Reader<'a>, Vec<(String, Observed)>)> {
    let reader = Reader::new(aws, ui, entries.len()).await?;
    let half = |entry: &Entry| {
        let (reader, who) = (&reader, (entry.namespace.clone(), entry.name.clone()));
        let role_name = entry.role_name.clone();
        async move { reader.aws_half(cluster, (&who.0, &who.1), role_name.as_deref()).await }
    };
    let halves = read_each(entries, half).await?;
    Ok((reader, halves))
}

/// No two new stacks get one name (`a-b/c` and `a/b-c`): the later entry's is hashed.
fn tell_apart(cluster: &str, entries: &[Entry], found: &mut [(String, Observed)]) {
    let mut taken = HashSet::new();
    for (entry, (stack_name, observed)) in entries.iter().zip(found).filter(|(entry, _)| entry.role_arn.is_none()) {
        if !taken.insert(stack_name.clone()) && observed.stack.is_none() {
            *stack_name = names::hashed(cluster, &entry.namespace, &entry.name);
        }
    }
}

/// The policies' ARNs, completed for the cluster's account.
pub(super) fn policies(arns: &[String], cluster: &Cluster) -> Result<Vec<String>> {
    arns.iter().map(|arn| cluster.policy_arn(arn)).collect()
}

/// Fails where a policy that an entry names doesn't exist.
pub(super) async fn check_policies(
    aws: &Aws,
    ui: &Ui,
    target: &Target,
    entries: &[Entry],
    cluster: &Cluster,
) -> Result<()> {
    let mut named = Vec::new();
    for entry in entries {
        let place = target.place(entry);
        let uses = [
            ("attachPolicyARNs", "--attach-policy-arn", entry.managed_policies.as_deref().unwrap_or_default()),
            ("permissionsBoundary", "--permissions-boundary", entry.boundary.as_slice()),
        ];
        for (key, flag, arns) in uses {
            let place = place.as_ref().map_or_else(|| flag.to_owned(), |place| format!("{place} {key}"));
            named.extend(policies(arns, cluster)?.into_iter().map(|arn| Named { place: place.clone(), arn }));
        }
    }
    observe::policy::check_exist(aws, ui, &named).await
}

/// Fails where an entry uses a role of others that doesn't let it in.
pub(super) async fn check_roles(
    context: &Context,
    aws: &Aws,
    entries: &[Entry],
    cluster: &Cluster,
    issuer: &Issuer,
) -> Result<()> {
    let provider = &issuer.provider_arn(&cluster.partition, &cluster.account);
    let checks = entries.iter().map(async |entry| {
        let Some(role) = &entry.role_arn else { return Ok(()) };
        let (role, who) = (cluster.role_arn(role)?, (entry.namespace.as_str(), entry.name.as_str()));
        observe::iamserviceaccount::check_trust(aws, &context.ui, &role, issuer, provider, who).await
    });
    try_join_all(checks).await.map(drop)
}

/// The Kubernetes halves; the API isn't needed where only roles are wanted.
pub(super) async fn objects(
    context: &Context,
    kube: &shared::Kube,
    target: &Target,
    cluster: &Cluster,
    entries: &[Entry],
) -> Result<(Option<Kubernetes>, Vec<Objects>)> {
    if entries.iter().all(|entry| entry.role_only) {
        return Ok((None, vec![Objects::default(); entries.len()]));
    }
    let kubernetes = context.kubernetes(cluster, &target.aws, kube).await?;
    let who = entries.iter().map(|entry| {
        let who = (entry.namespace.as_str(), entry.name.as_str());
        (!entry.role_only).then_some(who)
    });
    match objects_of(&kubernetes, &context.ui, &who.collect::<Vec<_>>()).await {
        Ok(found) => Ok((Some(kubernetes), found)),
        Err(error) => Err(context.explain_access(error, &cluster.name).await),
    }
}

fn desired(
    args: &Create,
    entry: &Entry,
    target: &Target,
    cluster: &Cluster,
    issuer: &Issuer,
    stack_name: String,
) -> Result<Desired> {
    let role = match &entry.role_arn {
        Some(arn) => DesiredRole::Existing(cluster.role_arn(arn)?),
        None => DesiredRole::Stack(stack(args, entry, target, cluster, issuer, stack_name)?.into()),
    };
    let object = (!entry.role_only).then(|| DesiredObject {
        take_over: args.take_over.override_existing_serviceaccounts,
        force: args.take_over.force_conflicts,
        labels: entry.labels.clone(),
        annotations: entry.annotations.clone(),
        taken_over: false,
    });
    Ok(Desired {
        cluster: cluster.name.clone(),
        namespace: entry.namespace.clone(),
        name: entry.name.clone(),
        role,
        object,
    })
}

fn stack(
    args: &Create,
    entry: &Entry,
    target: &Target,
    cluster: &Cluster,
    issuer: &Issuer,
    stack_name: String,
) -> Result<StackSpec> {
    let spec = RoleSpec {
        namespace: entry.namespace.clone(),
        name: entry.name.clone(),
        issuer: issuer.clone(),
        partition: cluster.partition.clone(),
        account: cluster.account.clone(),
        managed_policies: policies(entry.managed_policies.as_deref().unwrap_or_default(), cluster)?,
        inline: entry.inline.as_ref().map(|document| document.0.clone()),
        well_known: entry.well_known.clone().unwrap_or_default(),
        boundary: policies(entry.boundary.as_slice(), cluster)?.pop(),
        role_name: entry.role_name.clone(),
        role_path: args.role_path.clone(),
        subject_pattern: entry.subject_pattern.clone(),
    };
    let user = target.config.as_ref().map_or_else(|| entry.tags.clone(), |config| config.tags_of(entry));
    let tags = tags::tags(&cluster.name, &entry.namespace, &entry.name, crate::VERSION, &user);
    let cfn = target::cfn(&args.cfn, &cluster.partition, &cluster.account)?;
    Ok(StackSpec::new(spec, stack_name, tags, args.termination_protection).through(cfn))
}

/// What people are told at the end.
pub(super) fn lines(plan: &Plan) -> Vec<String> {
    let accounts = &plan.outputs.service_accounts;
    let arn = |index: usize| accounts[index].role_arn.as_deref().unwrap_or_default();
    let mut lines: Vec<_> = match accounts.as_slice() {
        [_] => vec![format!("role ARN: {}", arn(0))],
        all => all.iter().enumerate().map(|(i, who)| format!("{}/{}: {}", who.namespace, who.name, arn(i))).collect(),
    };
    let changed = plan.steps.iter().filter(|step| step.kind == "ServiceAccount" && step.action == Action::Update);
    let names: Vec<_> = changed.map(|step| step.name.as_str()).collect();
    if !names.is_empty() {
        lines.push(format!("pods of {} that run already get the role when they are restarted", names.join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d5_of_two_new_stacks_with_one_name_the_later_is_hashed() {
        let entry = |namespace: &str, name: &str| Entry {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Entry::default()
        };
        let role = Some("arn:aws:iam::111122223333:role/r".to_owned());
        let entries = [
            Entry { role_arn: role, ..entry("a-b-c", "d") },
            entry("a-b", "c-d"),
            entry("a", "b-c-d"),
            entry("a", "other"),
        ];
        let plain = |entry: &Entry| names::plain("c", &entry.namespace, &entry.name);
        let mut found: Vec<_> = entries.iter().map(|entry| (plain(entry), Observed::default())).collect();
        tell_apart("c", &entries, &mut found);
        let names: Vec<_> = found.into_iter().map(|(name, _)| name).collect();
        let expected = [plain(&entries[0]), plain(&entries[1]), names::hashed("c", "a", "b-c-d"), plain(&entries[3])];
        assert_eq!(names, expected, "an entry with a role of others makes no stack");
    }
}
