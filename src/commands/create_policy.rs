//! `create policy`.

use futures::future::try_join;

use super::run::{self, Ended};
use crate::Exit;
use crate::cli::policy::{Create, SHARED_POLICY};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::iam::arn::iam_arn;
use crate::iam::policy::{external_dns, external_dns_needs};
use crate::observe;
use crate::plan::Plan;
use crate::plan::policy::{self, Desired};
use crate::shell::Command;
use crate::stack::tags;

/// Creates the policy that ExternalDNS needs, or brings an existing one up to it.
pub(crate) async fn run(context: &Context, args: &Create) -> Result<Exit> {
    if !args.zone_id_filter.is_empty() && args.name == SHARED_POLICY {
        return Err(Error::usage(format!("--zone-id-filter would narrow {SHARED_POLICY}, which others share"))
            .hint(format!("give the policy a name: {}", with_name_of_its_own(args))));
    }
    tags::check_user_tags(&args.tags.tags).map_err(|e| Error::usage(format!("--tags: {e}")))?;
    let (ui, aws) = (&context.ui, context.aws(&args.aws).await?);
    let caller = aws.caller().await?;
    let desired = Desired {
        arn: iam_arn(&caller.partition, &caller.account, "policy", "/", &args.name),
        name: args.name.clone(),
        document: external_dns(&caller.partition, &args.zone_id_filter),
        needs: args.zone_id_filter.is_empty().then(|| external_dns_needs(&caller.partition, &[], false)),
        tags: tags::own_tags(crate::VERSION, &args.tags.tags),
        allow_shared_change: args.allow_shared_policy_change,
    };
    let (found, ()) =
        try_join(aws.policy(&desired.arn), observe::policy::check_zones(aws, ui, &args.zone_id_filter)).await?;
    let others = observe::policy::others(aws, &desired, found.as_ref(), None).await?;
    let mut plan = Plan::new(None, aws.region(), &caller.account);
    plan.push(policy::step(&desired, found.as_ref(), &others)?);
    if let Some(policy) = &found {
        let command = Command::new("aws iam tag-policy").with("--policy-arn", &policy.arn);
        plan.note_tags(&format!("policy {}", policy.name), &command, &policy.tags, &args.tags.tags);
    }
    plan.outputs.policy_arn = Some(desired.arn.clone());
    match run::plan(context, &args.plan, plan, aws, None).await? {
        Ended::Shown(exit) => Ok(exit),
        Ended::Done(plan) => {
            run::report(ui, &plan, &[format!("policy ARN: {}", desired.arn)])?;
            Ok(Exit::Success)
        }
    }
}

fn with_name_of_its_own(args: &Create) -> String {
    let region = args.aws.region.iter().map(|region| format!(" --region {region}")).collect::<String>();
    let zones = args.zone_id_filter.join(",");
    format!("irsactl create policy {SHARED_POLICY}-team --zone-id-filter {zones}{region} --approve")
}
