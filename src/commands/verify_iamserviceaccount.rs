//! `verify iamserviceaccount`.

use futures::stream::{self, StreamExt, TryStreamExt};

use super::verify;
use crate::Exit;
use crate::cli::verify::Iamserviceaccount;
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::k8s::Kind;
use crate::observe::verify::{Needs, Observer, look};
use crate::plan::iamserviceaccount::{ROLE_ANNOTATION, annotation};
use crate::stack::tags;
use crate::verify::{Check, Look, Report};

/// How many service accounts are looked at side by side.
const AT_ONCE: usize = 8;

/// Walks the chain of one service account, or of all of them.
pub(crate) async fn run(context: &Context, args: &Iamserviceaccount) -> Result<Exit> {
    let works = "Every service account can use its role";
    verify::run(context, &args.how, works, async || report(context, args).await).await
}

async fn report(context: &Context, args: &Iamserviceaccount) -> Result<Report> {
    let (mut report, observer) = verify::begin(context, &args.cluster, &args.how, &args.aws, &args.kube).await?;
    let Some(observer) = observer else { return Ok(report) };
    let all = accounts(context, args, &observer).await?;
    let several = all.len() > 1;
    let chains = stream::iter(&all).map(async |(namespace, name)| {
        let irsa = observer.irsa((namespace, name), Needs::default()).await?;
        Ok::<_, Box<Error>>((format!("{namespace}/{name}"), irsa))
    });
    let chains: Vec<_> = chains.buffered(AT_ONCE).try_collect().await?;
    let unread = chains.first().and_then(|(_, irsa)| irsa.service_account.as_ref().err()).map(String::as_str);
    report.extend([verify::cluster(context, &observer, unread).await]);
    let mut found = chains.into_iter().filter(|(_, irsa)| irsa.exists()).peekable();
    if found.peek().is_none() {
        return Err(none(args, &observer.cluster.name, observer.aws.region()));
    }
    for (full, irsa) in found {
        let of = several.then_some(full);
        report.extend(irsa.checks().into_iter().map(|check| Check { service_account: of.clone(), ..check }));
    }
    Ok(report)
}

fn none(args: &Iamserviceaccount, cluster: &str, region: &str) -> Box<Error> {
    let which = match (&args.namespace, args.name.get()) {
        (Some(namespace), Some(name)) => format!(" {namespace}/{name}"),
        (None, Some(name)) => format!(" {name}"),
        (Some(namespace), None) => format!(" of namespace {namespace}"),
        (None, None) => String::new(),
    };
    Error::new(ErrorCode::NotFound, format!("no service account{which} with an IAM role was found"))
        .hint(format!("irsactl get iamserviceaccount --cluster {cluster} --region {region} lists them"))
}

/// Which service accounts: the one that is named, or those that have a stack or an annotation.
async fn accounts(
    context: &Context,
    args: &Iamserviceaccount,
    observer: &Observer<'_>,
) -> Result<Vec<(String, String)>> {
    if let (Some(namespace), Some(name)) = (&args.namespace, args.name.get()) {
        return Ok(vec![(namespace.clone(), name.to_owned())]);
    }
    let namespace = args.namespace.as_deref();
    let kind = &Kind::SERVICE_ACCOUNT;
    let objects: Look<_> =
        observer.in_cluster(async |kubernetes| kubernetes.list(kind, namespace, None, None).await).await?;
    let text = |object: &serde_json::Value, key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    let annotated = objects.unwrap_or_default().into_iter().filter(|it| annotation(it, ROLE_ANNOTATION).is_some());
    let mut all: Vec<_> = annotated.map(|object| (text(&object, "namespace"), text(&object, "name"))).collect();
    let stacks = look(observer.aws.stacks().await)?.unwrap_or_else(|why| {
        context.ui.warn(&format!("service accounts that have a stack only can't be listed: {why}"));
        Vec::new()
    });
    let own = stacks.iter().filter(|stack| tags::cluster(&stack.tags) == Some(observer.cluster.name.as_str()));
    all.extend(own.filter_map(|stack| tags::owner(&stack.tags)));
    all.retain(|(of, name)| namespace.is_none_or(|wanted| of == wanted) && args.name.get().is_none_or(|it| it == name));
    all.sort_unstable();
    all.dedup();
    Ok(all)
}
