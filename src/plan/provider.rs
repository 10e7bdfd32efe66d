//! The IAM OIDC provider of a cluster.

use serde_json::json;

use super::diff::Change;
use super::{Action, Op, Step};
use crate::aws::eks::Cluster;
use crate::aws::iam::Provider;
use crate::iam::trust::{AUDIENCE, Issuer};

/// Makes IAM trust the issuer, with the audience that the AWS SDKs ask tokens for.
pub fn step(
    cluster: &Cluster,
    issuer: &Issuer,
    arn: &str,
    observed: Option<&Provider>,
    tags: &[(String, String)],
) -> Step {
    let Some(provider) = observed else {
        let op = Op::CreateProvider {
            arn: arn.to_owned(),
            issuer: issuer.provider_url(),
            tags: tags.to_vec(),
            cluster_arn: cluster.arn.clone(),
        };
        return Step::new(Action::Create, "OidcProvider", issuer.host_path(), op)
            .because("IAM doesn't know the cluster's issuer yet");
    };
    if provider.takes_sts() {
        return Step::unchanged("OidcProvider", issuer.host_path());
    }
    let after: Vec<_> = provider.client_ids.iter().map(String::as_str).chain([AUDIENCE]).collect();
    Step::new(Action::Update, "OidcProvider", issuer.host_path(), Op::AddAudience { arn: arn.to_owned() })
        .because(format!("it doesn't accept tokens for {AUDIENCE}"))
        .with_diff(vec![Change::new("/clientIDList", Some(json!(provider.client_ids)), Some(json!(after)))])
}
