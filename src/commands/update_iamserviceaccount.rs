//! `update iamserviceaccount`: one by flags, or those of a ClusterConfig. What isn't named stays as it is.

use std::path::Path;

use futures::future::{try_join, try_join3};

use super::create_iamserviceaccount::{add_all, aws_halves, check_policies, check_roles, finish, objects, policies};
use super::flags;
use super::target::{self, Target};
use crate::Exit;
use crate::aws::eks::Cluster;
use crate::cli::iamserviceaccount::Update;
use crate::config::Entry;
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::iam::trust::{Issuer, Subject, trust_policy};
use crate::plan::iamserviceaccount::{self as entry, Desired, DesiredObject, DesiredRole, Observed, ObservedStack};
use crate::plan::{Basis, Plan, StackSpec};
use crate::shell;
use crate::stack::template::{with_boundary, with_inline, with_managed_policies, with_trust, with_well_known};
use crate::stack::{status::Health, tags};

/// Changes what is named of service accounts that have a stack; the ServiceAccounts converge, too.
pub(crate) async fn run(context: &Context, args: &Update) -> Result<Exit> {
    let target = target::read(&args.target, &args.aws, &beside_file(args))?;
    let entries = target.entries(&args.selection, || of_flags(args))?;
    let aws = context.aws(&target.aws).await?;
    let ((cluster, issuer), (reader, found)) = try_join(
        context.cluster(&target.aws, &target.cluster),
        aws_halves(aws, &context.ui, &target.cluster, &entries),
    )
    .await?;
    let missing: Vec<_> = entries.iter().zip(&found).filter(|(entry, found)| lacks_stack(entry, &found.1)).collect();
    if !missing.is_empty() {
        let missing: Vec<_> = missing.into_iter().map(|(entry, _)| entry.identity()).collect();
        return Err(no_stack(&target.cluster, &missing).hint(how_to_make(args, &target, aws.region(), &missing)));
    }
    let ((), (), (kubernetes, objects)) = try_join3(
        check_policies(aws, &context.ui, &target, &entries, &cluster),
        check_roles(context, aws, &entries, &cluster, &issuer),
        objects(context, &args.kube, &target, &cluster, &entries),
    )
    .await?;

    let mut plan = Plan::new(Some(&cluster.name), aws.region(), &cluster.account);
    let mut halves = Vec::with_capacity(entries.len());
    for ((wanted, (stack_name, observed)), object) in entries.iter().zip(found).zip(objects) {
        let observed = Observed {
            namespace: object.namespace,
            service_account: object.service_account,
            // The role keeps its name.
            role_taken: None,
            ..observed
        };
        note_kept_name(&mut plan, wanted, &observed);
        halves.push((desired(args, wanted, &target, (&cluster, &issuer), stack_name, &observed)?, observed));
    }
    add_all(&mut plan, reader, halves).await?;
    finish(context, &args.plan, plan, aws, kubernetes.as_ref()).await
}

/// What a file says, flags can't.
fn beside_file(args: &Update) -> Vec<(&'static str, bool)> {
    let mut given = flags::given(&args.name, args.namespace.as_deref(), &args.policies, &args.object, &args.tags);
    given.extend([("--role-only", args.role_only), ("--subject-pattern", args.subject_pattern.is_some())]);
    given
}

fn of_flags(args: &Update) -> Result<Entry> {
    let namespace = args.namespace.as_deref();
    Ok(Entry {
        role_only: args.role_only,
        subject_pattern: args.subject_pattern.clone(),
        ..flags::entry(&args.name, namespace, &args.policies, &args.object, &args.tags)?
    })
}

fn lacks_stack(wanted: &Entry, observed: &Observed) -> bool {
    let found = observed.stack.as_ref().filter(|found| Health::of(&found.stack.status) != Health::Gone);
    wanted.role_arn.is_none() && found.is_none()
}

fn no_stack(cluster: &str, names: &[String]) -> Box<Error> {
    let text = format!("cluster {cluster} has no iamserviceaccount {} with a stack", names.join(", "));
    Error::new(ErrorCode::NotFound, text)
}

fn how_to_make(args: &Update, target: &Target, region: &str, names: &[String]) -> String {
    match &args.target.config_file {
        // What came from stdin is used up.
        Some(file) if file == Path::new("-") => {
            "the same file with create in place of update makes what is missing".to_owned()
        }
        Some(file) => format!(
            "this makes what is missing: irsactl create iamserviceaccount --config-file {} --include {} --approve",
            shell::word(&file.to_string_lossy()),
            names.join(",")
        ),
        None => format!(
            "irsactl get iamserviceaccount --cluster {} --region {region} lists those that there are; the same command \
             with create in place of update makes this one",
            target.cluster
        ),
    }
}

/// The role's name is the one thing that an update can't change: it would be another role.
fn note_kept_name(plan: &mut Plan, wanted: &Entry, observed: &Observed) {
    let role = observed.stack.as_ref().and_then(|found| found.role.as_ref()).map(|found| &found.role.name);
    let (Some(role), Some(other)) = (role, &wanted.role_name) else { return };
    if !role.eq_ignore_ascii_case(other) {
        plan.note(format!(
            "role {role} of {} keeps its name: create iamserviceaccount would replace it by {other}",
            wanted.identity()
        ));
    }
}

fn desired(
    args: &Update,
    wanted: &Entry,
    target: &Target,
    (cluster, issuer): (&Cluster, &Issuer),
    stack_name: String,
    observed: &Observed,
) -> Result<Desired> {
    let role = match (&wanted.role_arn, &observed.stack) {
        (Some(arn), _) => DesiredRole::Existing(cluster.role_arn(arn)?),
        (None, found) => {
            let found = found.as_ref().ok_or_else(|| no_stack(&cluster.name, &[wanted.identity()]))?;
            let cfn = target::cfn(&args.cfn, &cluster.partition, &cluster.account)?;
            DesiredRole::Stack(spec(wanted, target, (cluster, issuer), stack_name, found)?.through(cfn).into())
        }
    };
    Ok(Desired {
        cluster: cluster.name.clone(),
        namespace: wanted.namespace.clone(),
        name: wanted.name.clone(),
        role,
        object: (!wanted.role_only).then(|| object(args, wanted, observed)),
    })
}

/// The ServiceAccount with what is wanted beside what irsactl set before.
fn object(args: &Update, wanted: &Entry, observed: &Observed) -> DesiredObject {
    let mut object = observed.service_account.as_ref().map(DesiredObject::kept).unwrap_or_default();
    object.labels.extend(wanted.labels.clone());
    object.annotations.extend(wanted.annotations.clone());
    DesiredObject {
        take_over: args.take_over.override_existing_serviceaccounts,
        force: args.take_over.force_conflicts,
        taken_over: true,
        ..object
    }
}

/// The stack as it is, with what is named in its place.
fn spec(
    wanted: &Entry,
    target: &Target,
    (cluster, issuer): (&Cluster, &Issuer),
    name: String,
    found: &ObservedStack,
) -> Result<StackSpec> {
    let service_account = wanted.identity();
    entry::check_ours(&cluster.name, &service_account, &found.stack)?;
    let mut template = found.template.clone();
    if let Some(arns) = &wanted.managed_policies {
        template = with_managed_policies(&template, &policies(arns, cluster)?);
    }
    if let Some(known) = &wanted.well_known {
        template = with_well_known(&template, &name, known);
    }
    if let Some(document) = &wanted.inline {
        template = with_inline(&template, &name, &document.0);
    }
    if let Some(arn) = policies(wanted.boundary.as_slice(), cluster)?.pop() {
        template = with_boundary(&template, &arn);
    }
    if wanted.subject_pattern.is_some() {
        let Entry { namespace, name, subject_pattern, .. } = wanted.clone();
        let subject = Subject { namespace, name, pattern: subject_pattern };
        let trust = trust_policy(issuer, &cluster.partition, &cluster.account, Some(&subject));
        template = with_trust(&template, &trust);
    }
    let user = target.config.as_ref().map_or_else(|| wanted.tags.clone(), |config| config.tags_of(wanted));
    let tags = tags::merged(&found.stack.tags, &user);
    let basis = Basis { template: found.template.clone(), tags: found.stack.tags.clone() };
    StackSpec::of_template(name, service_account, template, tags, found.stack.protected)
        .map(|spec| spec.taken_over(basis))
        .map_err(|e| Error::new(ErrorCode::StackNotOurs, format!("stack {}: {e}", found.stack.name)))
}
