//! `create policy` and `utils associate-iam-oidc-provider`.

use clap::Args;

use super::{shared, values};

/// The policy that every installation of ExternalDNS shares.
pub const SHARED_POLICY: &str = "AllowExternalDNSUpdates";

/// Creates the IAM policy that ExternalDNS needs.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  irsactl create policy
  irsactl create policy --approve
  irsactl create policy AllowExternalDNSUpdates-team --zone-id-filter Z0123456789ABCDEFGHIJ --approve")]
pub struct Create {
    /// Name of the policy
    #[arg(default_value = SHARED_POLICY, value_parser = values::policy_name)]
    pub name: String,

    /// Only these hosted zones; needs a NAME of its own (can be repeated)
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = values::zone)]
    pub zone_id_filter: Vec<String>,

    /// Change a policy that roles of others are attached to
    #[arg(long)]
    pub allow_shared_policy_change: bool,

    #[command(flatten)]
    pub tags: shared::Tags,
    #[command(flatten)]
    pub plan: shared::Plan,
    #[command(flatten)]
    pub aws: shared::Aws,
}

/// Lets IAM trust the cluster's OIDC issuer.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  irsactl utils associate-iam-oidc-provider --cluster eksdemo1
  irsactl utils associate-iam-oidc-provider --cluster eksdemo1 --approve
  irsactl utils associate-iam-oidc-provider -f cluster.yaml --approve")]
#[command(mut_arg("cluster", |arg| arg.required_unless_present("argument")))]
pub struct AssociateOidcProvider {
    /// EKS cluster (the same as --cluster)
    #[arg(value_name = "CLUSTER", value_parser = values::cluster, conflicts_with_all = ["cluster", "config_file"])]
    argument: Option<String>,

    #[command(flatten)]
    target: shared::Target,
    #[command(flatten)]
    pub tags: shared::Tags,
    #[command(flatten)]
    pub plan: shared::Plan,
    #[command(flatten)]
    pub aws: shared::Aws,
}

impl AssociateOidcProvider {
    /// The cluster, given in either way, or the file.
    pub fn target(&self) -> shared::Target {
        let shared::Target { cluster, config_file } = self.target.clone();
        shared::Target { cluster: cluster.or_else(|| self.argument.clone()), config_file }
    }
}
