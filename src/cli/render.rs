//! `render …`: print what would be sent.

use clap::{Args, Subcommand};

use super::{externaldns, operator, shared, values};
use crate::iam::arn::Partition;

/// What can be printed.
#[derive(Subcommand, Clone, Debug)]
pub enum Render {
    /// The IAM policy that ExternalDNS needs
    Policy(Policy),
    /// The trust policy of a service account's role
    TrustPolicy(TrustPolicy),
    /// The CloudFormation template of a service account's role
    Stack(Stack),
    /// The Kubernetes objects of ExternalDNS
    Manifest(Manifest),
    /// Values for the Helm chart of ExternalDNS
    HelmValues(Manifest),
    /// The IAM policy, or the RBAC, that irsactl itself needs
    OperatorPolicy(operator::OperatorPolicy),
}

/// Prints the IAM policy that ExternalDNS needs.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  irsactl render policy
  irsactl render policy --zone-id-filter Z0123456789ABCDEFGHIJ --partition aws-cn")]
pub struct Policy {
    /// Only these hosted zones (can be repeated)
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = values::zone)]
    pub zone_id_filter: Vec<String>,

    /// AWS partition (default: the region's, else aws)
    #[arg(long, value_parser = values::partition)]
    pub partition: Option<Partition>,

    /// AWS region
    #[arg(short, long, value_parser = values::region)]
    pub region: Option<String>,
}

/// Where roles are rendered for: flags, or the cluster itself.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// EKS cluster; what the flags don't say is asked of it
    #[arg(short, long, value_name = "NAME", value_parser = values::cluster)]
    pub cluster: Option<String>,

    /// Issuer of the cluster's service account tokens
    #[arg(long, value_name = "URL", value_parser = values::issuer)]
    pub oidc_issuer: Option<String>,

    /// AWS account
    #[arg(long, value_name = "ID", value_parser = values::account)]
    pub account_id: Option<String>,

    /// AWS partition (default: the region's, else aws)
    #[arg(long, value_parser = values::partition)]
    pub partition: Option<Partition>,

    #[command(flatten)]
    pub aws: shared::Aws,
}

/// Prints the trust policy of a service account's role.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  irsactl render trust-policy --cluster eksdemo1 --namespace external-dns --name external-dns
  irsactl render trust-policy --namespace default --name web --account-id 111122223333 \\
    --oidc-issuer https://oidc.eks.us-west-2.amazonaws.com/id/A39A2842863C47208955D753DE205E6E")]
pub struct TrustPolicy {
    #[command(flatten)]
    pub name: super::iamserviceaccount::Name,

    /// Namespace of the ServiceAccount
    #[arg(long, default_value = "default", value_parser = values::namespace)]
    pub namespace: String,

    /// Let every ServiceAccount of the namespace that matches assume the role
    #[arg(long, value_name = "PATTERN", value_parser = values::subject_pattern)]
    pub subject_pattern: Option<String>,

    #[command(flatten)]
    pub place: Place,
}

/// Prints the CloudFormation template of a service account's role.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  irsactl render stack --cluster eksdemo1 --name external-dns --attach-policy-arn policy/AllowExternalDNSUpdates
  irsactl render stack --name external-dns --account-id 111122223333 --well-known-policy externalDNS \\
    --oidc-issuer https://oidc.eks.us-west-2.amazonaws.com/id/A39A2842863C47208955D753DE205E6E")]
#[group(id = "permissions", required = true, multiple = true,
        args = ["attach_policy_arn", "well_known_policy", "attach_policy"])]
pub struct Stack {
    #[command(flatten)]
    pub name: super::iamserviceaccount::Name,

    /// Namespace of the ServiceAccount
    #[arg(long, default_value = "default", value_parser = values::namespace)]
    pub namespace: String,

    #[command(flatten)]
    pub policies: super::iamserviceaccount::Policies,

    /// Name of the role
    #[arg(long, value_name = "NAME", value_parser = values::role_name)]
    pub role_name: Option<String>,

    /// Path of the role
    #[arg(long, value_name = "PATH", value_parser = values::iam_path)]
    pub role_path: Option<String>,

    /// Let every ServiceAccount of the namespace that matches assume the role
    #[arg(long, value_name = "PATTERN", value_parser = values::subject_pattern)]
    pub subject_pattern: Option<String>,

    #[command(flatten)]
    pub place: Place,
}

/// Prints the Kubernetes objects of ExternalDNS, or its Helm values.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  irsactl render manifest --cluster eksdemo1 --namespace default \\
    --role-arn arn:aws:iam::111122223333:role/external-dns | kubectl apply -f -
  irsactl render helm-values --cluster eksdemo1 --domain-filter example.com > values.yaml")]
pub struct Manifest {
    #[command(flatten)]
    pub place: Place,

    /// Role of the ServiceAccount (default: that of the service account's stack)
    #[arg(long, value_name = "ARN", value_parser = values::role)]
    pub role_arn: Option<String>,

    #[command(flatten)]
    pub settings: externaldns::Settings,
}
