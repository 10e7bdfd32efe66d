//! `create|get|update|delete iamserviceaccount`.

use clap::Args;

use super::{shared, values};
use crate::iam::wellknown::WellKnown;

/// Which service account: `NAME` or `--name NAME`, as in eksctl.
#[derive(Args, Clone, Debug)]
#[group(id = "service-account", multiple = false)]
pub struct Name {
    /// ServiceAccount
    #[arg(value_name = "NAME", value_parser = values::service_account)]
    argument: Option<String>,

    /// ServiceAccount (the same as the argument)
    #[arg(long, value_parser = values::service_account)]
    name: Option<String>,
}

impl Name {
    /// The name, given in either way.
    pub fn get(&self) -> Option<&str> {
        self.argument.as_deref().or(self.name.as_deref())
    }
}

/// What a role may do, and at most may do.
#[derive(Args, Clone, Debug, Default)]
pub struct Policies {
    /// Managed policies of the role; policy/NAME is completed for the account (can be repeated)
    #[arg(long, value_name = "ARN", value_delimiter = ',', value_parser = values::policy)]
    pub attach_policy_arn: Vec<String>,

    /// Policies that this controller is known to need (can be repeated)
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = values::well_known(), ignore_case = true)]
    pub well_known_policy: Vec<WellKnown>,

    /// Inline policy of the role: a document in JSON, or a file in JSON or YAML; - reads stdin
    #[arg(long, value_name = "FILE|JSON")]
    pub attach_policy: Option<String>,

    /// Permissions boundary of the role
    #[arg(long, value_name = "ARN", value_parser = values::policy)]
    pub permissions_boundary: Option<String>,
}

/// What a ServiceAccount gets beside the annotation of its role.
#[derive(Args, Clone, Debug, Default)]
pub struct ObjectMeta {
    /// Labels of the ServiceAccount (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = values::label,
          conflicts_with = "role_only")]
    pub labels: Vec<(String, String)>,

    /// Annotations of the ServiceAccount (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = values::annotation,
          conflicts_with = "role_only")]
    pub annotations: Vec<(String, String)>,
}

/// Gives service accounts an IAM role.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  # Show what would be done
  irsactl create iamserviceaccount --cluster eksdemo1 --name external-dns --attach-policy-arn policy/AllowExternalDNSUpdates

  # Do it
  irsactl create iamserviceaccount --cluster eksdemo1 --namespace web --name uploads \\
    --attach-policy-arn arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess --approve

  # What a controller is known to need, and a policy of one's own
  irsactl create iamserviceaccount --cluster eksdemo1 --namespace kube-system --name cluster-autoscaler \\
    --well-known-policy autoScaler --attach-policy extra.json --labels team=platform --approve

  # All that a ClusterConfig names
  irsactl create iamserviceaccount -f cluster.yaml --include 'web/*' --approve

  # Let it use a role that others made
  irsactl create iamserviceaccount --cluster eksdemo1 --name jobs --attach-role-arn arn:aws:iam::111122223333:role/jobs --approve")]
#[group(id = "permissions", required = true, multiple = true,
        args = ["attach_policy_arn", "well_known_policy", "attach_policy", "attach_role_arn", "config_file"])]
pub struct Create {
    #[command(flatten)]
    pub target: shared::Target,

    #[command(flatten)]
    pub selection: shared::Selection,

    #[command(flatten)]
    pub name: Name,

    /// Namespace of the ServiceAccount [default: default]
    #[arg(long, value_parser = values::namespace)]
    pub namespace: Option<String>,

    #[command(flatten)]
    pub policies: Policies,

    /// Use this role as it is: no stack, no policies; role/NAME is completed for the account
    #[arg(long, value_name = "ARN", value_parser = values::role,
          conflicts_with_all = ["attach_policy_arn", "well_known_policy", "attach_policy", "role_name", "role_only", "role_path", "permissions_boundary",
                                "subject_pattern", "tags", "termination_protection"])]
    pub attach_role_arn: Option<String>,

    /// Name of the role (default: CloudFormation's choice)
    #[arg(long, value_name = "NAME", value_parser = values::role_name)]
    pub role_name: Option<String>,

    /// Path of the role; with a file, of the roles of all its entries
    #[arg(long, value_name = "PATH", value_parser = values::iam_path)]
    pub role_path: Option<String>,

    /// Make the role only; Kubernetes is never touched
    #[arg(long)]
    pub role_only: bool,

    /// Let every ServiceAccount of the namespace that matches assume the role
    #[arg(long, value_name = "PATTERN", value_parser = values::subject_pattern)]
    pub subject_pattern: Option<String>,

    /// Protect the stack from deletion; with a file, the stacks of all its entries
    #[arg(long)]
    pub termination_protection: bool,

    #[command(flatten)]
    pub object: ObjectMeta,
    #[command(flatten)]
    pub take_over: shared::TakeOver,
    #[command(flatten)]
    pub tags: shared::Tags,
    #[command(flatten)]
    pub cfn: shared::Cfn,
    #[command(flatten)]
    pub plan: shared::Plan,
    #[command(flatten)]
    pub aws: shared::Aws,
    #[command(flatten)]
    pub kube: shared::Kube,
}

/// Lists the service accounts with IAM roles.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  irsactl get iamserviceaccount --cluster eksdemo1
  irsactl get iamserviceaccount --cluster eksdemo1 --namespace web -o wide
  irsactl get iamserviceaccount external-dns --cluster eksdemo1 -o json | jq -r '.[].status.roleARN'")]
pub struct Get {
    #[command(flatten)]
    pub target: shared::Target,

    #[command(flatten)]
    pub name: Name,

    /// Only this namespace (default: all)
    #[arg(long, value_parser = values::namespace)]
    pub namespace: Option<String>,

    #[command(flatten)]
    pub timeout: shared::Timeout,
    #[command(flatten)]
    pub aws: shared::Aws,
    #[command(flatten)]
    pub kube: shared::Kube,
}

/// Changes what is named of service accounts with an IAM role, and keeps the rest.
///
/// Policies, boundary and pattern take the place of those that there are; tags, labels and annotations are added.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  # Exactly these managed policies; inline policies, boundary, role name and tags stay
  irsactl update iamserviceaccount --cluster eksdemo1 --namespace web --name uploads \\
    --attach-policy-arn arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess --approve

  # The inline policy, and the documents of today for what external-dns is known to need
  irsactl update iamserviceaccount --cluster eksdemo1 --name external-dns \\
    --well-known-policy externalDNS --attach-policy extra.json --approve

  # What a ClusterConfig says of those that it names
  irsactl update iamserviceaccount -f cluster.yaml --include 'web/*' --approve")]
#[group(id = "changes", required = true, multiple = true,
        args = ["attach_policy_arn", "well_known_policy", "attach_policy", "permissions_boundary", "subject_pattern",
                "tags", "labels", "annotations", "config_file"])]
pub struct Update {
    #[command(flatten)]
    pub target: shared::Target,

    #[command(flatten)]
    pub selection: shared::Selection,

    #[command(flatten)]
    pub name: Name,

    /// Namespace of the ServiceAccount [default: default]
    #[arg(long, value_parser = values::namespace)]
    pub namespace: Option<String>,

    #[command(flatten)]
    pub policies: Policies,

    /// Let every ServiceAccount of the namespace that matches assume the role
    #[arg(long, value_name = "PATTERN", value_parser = values::subject_pattern)]
    pub subject_pattern: Option<String>,

    /// Leave Kubernetes alone
    #[arg(long)]
    pub role_only: bool,

    #[command(flatten)]
    pub object: ObjectMeta,
    #[command(flatten)]
    pub take_over: shared::TakeOver,
    #[command(flatten)]
    pub tags: shared::Tags,
    #[command(flatten)]
    pub cfn: shared::Cfn,
    #[command(flatten)]
    pub plan: shared::Plan,
    #[command(flatten)]
    pub aws: shared::Aws,
    #[command(flatten)]
    pub kube: shared::Kube,
}

/// Removes the IAM role of service accounts, and the ServiceAccount if irsactl or eksctl made it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  irsactl delete iamserviceaccount --cluster eksdemo1 --namespace web --name uploads
  irsactl delete iamserviceaccount --cluster eksdemo1 --namespace web --name uploads --approve

  # What a ClusterConfig doesn't name any more
  irsactl delete iamserviceaccount -f cluster.yaml --only-missing --approve")]
pub struct Delete {
    #[command(flatten)]
    pub target: shared::Target,

    #[command(flatten)]
    pub selection: shared::Selection,

    /// Those that the cluster has and the file doesn't name, instead of those that it names
    #[arg(long, requires = "config_file")]
    pub only_missing: bool,

    #[command(flatten)]
    pub name: Name,

    /// Namespace of the ServiceAccount [default: default]
    #[arg(long, value_parser = values::namespace)]
    pub namespace: Option<String>,

    /// Leave Kubernetes alone
    #[arg(long)]
    pub role_only: bool,

    /// Wait until the stack is gone (--wait=false returns early)
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true",
          hide_possible_values = true)]
    pub wait: bool,

    /// Detach the policies that others attached to the role
    #[arg(long)]
    pub detach_foreign_policies: bool,

    #[command(flatten)]
    pub cfn: shared::Cfn,
    #[command(flatten)]
    pub plan: shared::Plan,
    #[command(flatten)]
    pub aws: shared::Aws,
    #[command(flatten)]
    pub kube: shared::Kube,
}
