//! `verify …`.

use clap::Args;

use super::iamserviceaccount::Name;
use super::{shared, values};

/// How to verify.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Verification")]
pub struct How {
    /// Exchange a token of the ServiceAccount at STS, which is the proof (--live=false leaves it out)
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true",
          hide_possible_values = true, value_name = "BOOL")]
    pub live: bool,

    /// Exit with 4 for warnings, too
    #[arg(long)]
    pub strict: bool,

    /// Look again until everything holds or the time is over
    #[arg(long)]
    pub wait: bool,
}

/// Proves that DNS works, or names the link that is broken.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  # The whole chain, from the cluster's issuer to the records
  irsactl verify external-dns --cluster eksdemo1

  # Why one host has no record
  irsactl verify external-dns --cluster eksdemo1 --hostname app.example.com

  # In a pipeline: wait until it works, fail for warnings, too
  irsactl verify external-dns --cluster eksdemo1 --wait --timeout 5m --strict -o json")]
pub struct ExternalDns {
    #[command(flatten)]
    pub cluster: shared::Cluster,

    /// Namespace of the installation
    #[arg(long, default_value = "external-dns", value_parser = values::installation)]
    pub namespace: String,

    /// Name of the installation
    #[arg(long, default_value = "external-dns", value_parser = values::installation)]
    pub name: String,

    /// Follow this host from the object that asks for it to its record
    #[arg(long, value_name = "HOST", value_parser = values::hostname)]
    pub hostname: Option<String>,

    #[command(flatten)]
    pub how: How,
    #[command(flatten)]
    pub timeout: shared::Timeout,
    #[command(flatten)]
    pub aws: shared::Aws,
    #[command(flatten)]
    pub kube: shared::Kube,
}

/// Proves that service accounts can use their IAM roles, or names the link that is broken.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  # All service accounts with IAM roles
  irsactl verify iamserviceaccount --cluster eksdemo1

  # Why this pod gets AccessDenied
  irsactl verify iamserviceaccount --cluster eksdemo1 --namespace web --name uploads")]
pub struct Iamserviceaccount {
    #[command(flatten)]
    pub cluster: shared::Cluster,

    #[command(flatten)]
    pub name: Name,

    /// Only this namespace (default: all)
    #[arg(long, value_parser = values::namespace)]
    pub namespace: Option<String>,

    #[command(flatten)]
    pub how: How,
    #[command(flatten)]
    pub timeout: shared::Timeout,
    #[command(flatten)]
    pub aws: shared::Aws,
    #[command(flatten)]
    pub kube: shared::Kube,
}
