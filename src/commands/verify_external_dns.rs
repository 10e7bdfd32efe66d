//! `verify external-dns`.

use futures::future::{join, join3};
use serde_json::Value;

use super::verify;
use crate::Exit;
use crate::aws::Aws;
use crate::cli::verify::ExternalDns;
use crate::context::Context;
use crate::error::Result;
use crate::externaldns::args::Installed;
use crate::k8s::{Kind, is_named};
use crate::observe::dns;
use crate::observe::verify::{Needs, Observer, look};
use crate::shell::Command;
use crate::verify::chain::Hop;
use crate::verify::dns::{Dns, without_installation};
use crate::verify::permissions::Demand;
use crate::verify::{Look, Report};

/// Walks the chain from the cluster's issuer to the records.
pub(crate) async fn run(context: &Context, args: &ExternalDns) -> Result<Exit> {
    let works = "DNS works";
    verify::run(context, &args.how, works, async || report(context, args).await).await
}

async fn report(context: &Context, args: &ExternalDns) -> Result<Report> {
    let (mut report, observer) = verify::begin(context, &args.cluster, &args.how, &args.aws, &args.kube).await?;
    let Some(observer) = observer else { return Ok(report) };
    let aws = observer.aws;
    let (deployments, zones) = join(deployments(&observer), aws.zones()).await;
    let (deployments, zones) = (deployments?, look(zones)?);
    let unread = deployments.as_ref().err().map(String::as_str);
    report.extend([verify::cluster(context, &observer, unread).await]);
    let deployment = deployments.iter().flatten().find(|it| is_named(it, &args.namespace, &args.name));
    let installed = deployment.and_then(Installed::from_deployment);
    let account = installed.as_ref().map_or(args.name.clone(), |installed| installed.service_account.clone());
    let wanted = Needs {
        permissions: Demand::of(&observer.cluster.partition, installed.as_ref(), &zones),
        second: installed.as_ref().and_then(second),
        zones: installed.as_ref().and_then(|installed| installed.unknown(&["aws-assume-role"])).is_none(),
    };
    let who = (args.namespace.as_str(), args.name.as_str());
    let in_route53 = async {
        match &installed {
            Some(installed) => dns::read(&observer, installed, &zones, &deployments).await.map(Some),
            None => Ok(None),
        }
    };
    let (irsa, workload, dns) =
        join3(observer.irsa((&args.namespace, &account), wanted), observer.workload(who, &deployments), in_route53)
            .await;
    let (mut irsa, mut workload, dns) = (irsa?, workload?, dns?);
    workload.has_account = irsa.exists();
    workload.role = observer.role_words(&irsa, &workload).await?;
    irsa.deployment = workload.deployment.as_ref().ok().cloned().flatten();
    irsa.verify = irsa.commands.verify_external_dns(&args.namespace, &args.name);
    if workload.is_ours() {
        irsa.install = workload.mends_role(irsa.stack.as_ref().is_ok_and(Option::is_some));
        irsa.make = Some(workload.install());
    } else {
        irsa.make = Some(make(args, aws, &account));
    }
    let chain = workload.unless_elsewhere(irsa.checks());
    let install = workload.install();
    let workload = workload.checks(&chain);
    let before: Vec<_> = chain.iter().chain(&workload).collect();
    let records = match dns {
        Some(dns) => Dns { install, ..dns }.verified(&before, args.hostname.as_deref()),
        None => without_installation(args.hostname.as_deref()),
    };
    report.extend(chain);
    report.extend(workload);
    report.extend(records);
    Ok(report)
}

/// The role of another account, which it assumes with its own.
fn second(installed: &Installed) -> Option<Hop> {
    let role = installed.assume_role.as_ref()?.parse().ok()?;
    Some(Hop { role, external_id: installed.assume_role_external_id.clone() })
}

/// The role of an ExternalDNS that others installed.
fn make(args: &ExternalDns, aws: &Aws, account: &str) -> String {
    Command::new("irsactl create iamserviceaccount")
        .with("--cluster", &args.cluster.cluster)
        .with("--region", aws.region())
        .with("--namespace", &args.namespace)
        .with("--name", account)
        .with("--well-known-policy", "externalDNS")
        .word("--override-existing-serviceaccounts")
        .approved()
}

async fn deployments(observer: &Observer<'_>) -> Result<Look<Vec<Value>>> {
    observer.in_cluster(async |kubernetes| kubernetes.list(&Kind::DEPLOYMENT, None, None, None).await).await
}
