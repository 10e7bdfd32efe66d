//! `utils associate-iam-oidc-provider`.

use super::run::{self, Ended};
use super::target;
use crate::Exit;
use crate::cli::policy::AssociateOidcProvider;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::plan::{Plan, provider};
use crate::shell::Command;
use crate::stack::tags;

/// Creates the IAM OIDC provider of the cluster's issuer, or adds the audience that it lacks.
pub(crate) async fn run(context: &Context, args: &AssociateOidcProvider) -> Result<Exit> {
    tags::check_user_tags(&args.tags.tags).map_err(|e| Error::usage(format!("--tags: {e}")))?;
    let target = target::read(&args.target(), &args.aws, &[("--tags", !args.tags.tags.is_empty())])?;
    let user = target.config.as_ref().map_or(args.tags.tags.as_slice(), |config| config.tags.as_slice());
    if let Some(config) = target.config.as_ref().filter(|config| config.with_oidc == Some(false)) {
        return Err(Error::usage(format!("{}: iam.withOIDC is false", config.file))
            .hint("set it to true, or leave it out: this command makes the provider that it refuses"));
    }
    let aws = context.aws(&target.aws).await?;
    let (cluster, issuer) = context.cluster(&target.aws, &target.cluster).await?;
    let arn = issuer.provider_arn(&cluster.partition, &cluster.account);
    let found = aws.oidc_provider(&arn).await?;
    let mut plan = Plan::new(Some(&cluster.name), aws.region(), &cluster.account);
    plan.push(provider::step(
        &cluster,
        &issuer,
        &arn,
        found.as_ref(),
        &tags::cluster_tags(&cluster.name, crate::VERSION, user),
    ));
    if let Some(provider) = &found {
        let command = Command::new("aws iam tag-open-id-connect-provider").with("--open-id-connect-provider-arn", &arn);
        plan.note_tags(&format!("provider {}", provider.url), &command, &provider.tags, user);
    }
    plan.outputs.provider_arn = Some(arn.clone());
    match run::plan(context, &args.plan, plan, aws, None).await? {
        Ended::Shown(exit) => Ok(exit),
        Ended::Done(plan) => {
            run::report(&context.ui, &plan, &[format!("provider ARN: {arn}")])?;
            Ok(Exit::Success)
        }
    }
}
