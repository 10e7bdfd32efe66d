//! `render …`: prints what would be sent. Flags suffice; what they don't say is asked of the cluster.

use serde_json::Value;

use super::flags::{self, required};
use super::install_external_dns::{Facts, patches, settings};
use super::render_operator_policy::{self, Document};
use crate::Exit;
use crate::aws::region_at_hand;
use crate::cli::operator::OperatorPolicy;
use crate::cli::render::{Manifest, Place, Policy, Render, Stack, TrustPolicy};
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::externaldns::settings::Settings;
use crate::externaldns::{helm, manifest, patch};
use crate::iam::arn::{Arn, Partition, policy_arn, role_arn};
use crate::iam::policy::external_dns;
use crate::iam::trust::{Issuer, Subject, trust_policy};
use crate::observe::iamserviceaccount::place;
use crate::stack::names;
use crate::stack::template::{RoleSpec, template};
use crate::ui::{Output, to_json, to_yaml};

/// Namespaces that every cluster has: one that a manifest makes would count as irsactl's own.
const OF_KUBERNETES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Prints what would be sent.
pub(crate) async fn run(context: &Context, what: &Render, output: Option<Output>) -> Result<Exit> {
    match what {
        Render::Policy(args) => print(context, output, Output::Json, &policy(args)),
        Render::TrustPolicy(args) => print(context, output, Output::Json, &trust(context, args).await?),
        Render::Stack(args) => print(context, output, Output::Json, &stack(context, args).await?),
        Render::Manifest(args) => objects(context, args, output).await,
        Render::HelmValues(args) => {
            if !args.settings.patch.is_empty() {
                return Err(Error::usage("--patch: values can't say what a patch does")
                    .hint("set it in values of your own, or take irsactl render manifest"));
            }
            let (settings, role) = installation(context, args).await?;
            helm::check(&settings).map_err(Error::usage)?;
            print(context, output, Output::Yaml, &helm::values(&settings, Some(&role)))
        }
        Render::OperatorPolicy(args) => operator_policy(context, args, output),
    }
}

fn print(context: &Context, asked: Option<Output>, default: Output, value: &Value) -> Result<Exit> {
    let text = if format(asked, default) == Output::Yaml { to_yaml(value)? } else { to_json(value)? };
    context.ui.print_raw(&text)?;
    Ok(Exit::Success)
}

fn format(asked: Option<Output>, default: Output) -> Output {
    asked.filter(|output| output.is_document()).unwrap_or(default)
}

fn policy(args: &Policy) -> Value {
    let of_region = || args.region.as_deref().map_or_else(Partition::aws, Partition::of_region);
    external_dns(&args.partition.clone().unwrap_or_else(of_region), &args.zone_id_filter).0
}

/// Issuer, account and partition, from flags or from the cluster.
struct Located {
    issuer: Issuer,
    account: String,
    partition: Partition,
}

async fn located(context: &Context, place: &Place) -> Result<Located> {
    if let (Some(issuer), Some(account)) = (&place.oidc_issuer, &place.account_id) {
        let issuer = Issuer::parse(issuer).map_err(|e| Error::usage(format!("--oidc-issuer: {e}")))?;
        let of_region = || place.aws.region.as_deref().map_or_else(Partition::aws, Partition::of_region);
        return Ok(Located {
            issuer,
            account: account.clone(),
            partition: place.partition.clone().unwrap_or_else(of_region),
        });
    }
    let missing = if place.oidc_issuer.is_none() { "--oidc-issuer" } else { "--account-id" };
    let Some(cluster) = &place.cluster else { return Err(is_missing(missing)) };
    let (cluster, issuer) = context.cluster(&place.aws, cluster).await?;
    Ok(Located { issuer, account: cluster.account, partition: cluster.partition })
}

fn is_missing(flag: &str) -> Box<Error> {
    Error::usage(format!("{flag} must be set")).hint("or give --cluster, which is then asked")
}

async fn trust(context: &Context, args: &TrustPolicy) -> Result<Value> {
    let subject = Subject {
        namespace: args.namespace.clone(),
        name: required(&args.name)?.to_owned(),
        pattern: args.subject_pattern.clone(),
    };
    let located = located(context, &args.place).await?;
    Ok(trust_policy(&located.issuer, &located.partition, &located.account, Some(&subject)).0)
}

async fn stack(context: &Context, args: &Stack) -> Result<Value> {
    let name = required(&args.name)?;
    let inline = flags::inline(&args.policies)?;
    let located = located(context, &args.place).await?;
    let complete = |arn: &String| policy_arn(arn, &located.partition, &located.account).map_err(Error::usage);
    let cluster = args.place.cluster.as_deref().unwrap_or("cluster");
    let stack_name = names::candidates(cluster, &args.namespace, name).swap_remove(0);
    let spec = RoleSpec {
        namespace: args.namespace.clone(),
        name: name.to_owned(),
        managed_policies: args.policies.attach_policy_arn.iter().map(complete).collect::<Result<_>>()?,
        inline: inline.map(|document| document.0),
        well_known: flags::well_known(&args.policies),
        boundary: args.policies.permissions_boundary.as_ref().map(complete).transpose()?,
        role_name: args.role_name.clone(),
        role_path: args.role_path.clone(),
        subject_pattern: args.subject_pattern.clone(),
        issuer: located.issuer,
        partition: located.partition,
        account: located.account,
    };
    Ok(template(&spec, &stack_name))
}

async fn objects(context: &Context, args: &Manifest, output: Option<Output>) -> Result<Exit> {
    let patches = patches(&args.settings.patch)?;
    let (settings, role) = installation(context, args).await?;
    let internal = |e: String| Error::new(ErrorCode::Internal, format!("rendering the manifest: {e}"));
    let with_namespace = !OF_KUBERNETES.contains(&settings.namespace.as_str());
    let mut objects = manifest::objects(&settings, Some(&role), with_namespace, true).map_err(internal)?;
    patch::apply(&mut objects, &patches).map_err(|e| Error::usage(format!("--patch: {e}")))?;
    print_objects(context, output, &objects)
}

fn operator_policy(context: &Context, args: &OperatorPolicy, output: Option<Output>) -> Result<Exit> {
    match render_operator_policy::document(args)? {
        Document::Policy(policy) => print(context, output, Output::Json, &policy.0),
        Document::Objects(objects) => print_objects(context, output, &objects),
    }
}

/// Prints Kubernetes objects: documents of YAML, or a list in JSON.
fn print_objects(context: &Context, output: Option<Output>, objects: &[Value]) -> Result<Exit> {
    if format(output, Output::Yaml) == Output::Json {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        context.ui.print_raw(&to_json(&list)?)?;
    } else {
        context.ui.print_raw(&manifest::to_yaml(objects))?;
    }
    Ok(Exit::Success)
}

/// Settings and role. The role's account and the region give the cluster's ARN, so that flags suffice.
async fn installation(context: &Context, args: &Manifest) -> Result<(Settings, String)> {
    let place = &args.place;
    let role = role(context, args).await?;
    let region = match region_at_hand(&place.aws.options()).await {
        Some(region) => region,
        None => context.aws(&place.aws).await?.region().to_owned(),
    };
    let partition = place.partition.clone().unwrap_or_else(|| Partition::of_region(&region));
    let account = account(place, &role)?;
    if place.account_id.is_none() && args.settings.txt_owner_id.is_none() {
        let said = format!("the owner id is made for a cluster in account {account}, as the role is");
        context.ui.note(&format!("{said}: --account-id names another"));
    }
    let role = role_arn(&role, &partition, &account).map_err(Error::usage)?;
    let cluster = match (&place.cluster, &args.settings.txt_owner_id) {
        (Some(cluster), _) => cluster.as_str(),
        // Only the owner id would need it.
        (None, Some(_)) => "",
        (None, None) => {
            return Err(Error::usage("--txt-owner-id must be set")
                .hint("or give --cluster: the owner id is then made from the cluster's ARN"));
        }
    };
    let cluster_arn = format!("arn:{partition}:eks:{region}:{account}:cluster/{cluster}");
    let facts = Facts {
        cluster,
        cluster_arn: &cluster_arn,
        region: &region,
        partition: &partition,
        kubernetes_minor: None,
        installed: None,
    };
    let (settings, warnings) = settings(&args.settings, &facts)?;
    for warning in &warnings {
        context.ui.warn(warning);
    }
    Ok((settings, role))
}

/// The account: by its flag, or the role's.
fn account(place: &Place, role: &str) -> Result<String> {
    let of_role = || role.parse::<Arn>().ok().map(|arn| arn.account);
    place.account_id.clone().or_else(of_role).ok_or_else(|| {
        Error::usage("--account-id must be set").hint(format!("or give the whole ARN of {role} with --role-arn"))
    })
}

async fn role(context: &Context, args: &Manifest) -> Result<String> {
    if let Some(role) = &args.role_arn {
        return Ok(role.clone());
    }
    let Some(cluster) = &args.place.cluster else { return Err(is_missing("--role-arn")) };
    let aws = context.aws(&args.place.aws).await?;
    let (namespace, name) = (&args.settings.namespace, &args.settings.name);
    let found = place(aws, cluster, namespace, name).await?.stack;
    let role = found.as_ref().and_then(|found| found.stack.outputs.get("Role1")).cloned();
    role.ok_or_else(|| {
        Error::new(ErrorCode::NotFound, format!("cluster {cluster} has no stack with a role for {namespace}/{name}"))
            .hint("give --role-arn, or make the role first: irsactl create iamserviceaccount")
    })
}
