//! `install|uninstall external-dns` and the settings of ExternalDNS.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{policy, shared, values};

/// How ExternalDNS treats records that nothing asks for any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PolicyMode {
    /// Creates and updates.
    #[default]
    UpsertOnly,
    /// Creates, updates and deletes.
    Sync,
    /// Creates only.
    CreateOnly,
}

/// How ExternalDNS remembers which records are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Registry {
    /// In TXT records.
    Txt,
    /// Not at all.
    Noop,
}

/// Public or private hosted zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ZoneType {
    /// Reachable from the internet.
    Public,
    /// Of VPCs.
    Private,
}

/// What ExternalDNS is told, in its own words.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "ExternalDNS")]
pub struct Settings {
    /// Namespace
    #[arg(long, default_value = "external-dns", value_parser = values::installation)]
    pub namespace: String,

    /// Name of the Deployment, the ServiceAccount and the ClusterRole
    #[arg(long, default_value = "external-dns", value_parser = values::installation)]
    pub name: String,

    /// Kinds of objects whose hostnames get records (can be repeated)
    #[arg(long, value_name = "SOURCE", value_delimiter = ',', default_values = ["service", "ingress"])]
    pub source: Vec<String>,

    /// Only zones and records of these domains (can be repeated)
    #[arg(long, value_name = "DOMAIN", value_delimiter = ',')]
    pub domain_filter: Vec<String>,

    /// Not these domains (can be repeated)
    #[arg(long, value_name = "DOMAIN", value_delimiter = ',')]
    pub exclude_domains: Vec<String>,

    /// Only these hosted zones (can be repeated)
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = values::zone)]
    pub zone_id_filter: Vec<String>,

    /// Which changes to records are made
    #[arg(long, value_enum, default_value_t)]
    pub policy: PolicyMode,

    /// Where it is written which records are its own (default: txt, or what is installed)
    #[arg(long, value_enum)]
    pub registry: Option<Registry>,

    /// Owner of the records (default: the cluster's name and a hash of its ARN, or what is installed)
    #[arg(long, value_name = "ID")]
    pub txt_owner_id: Option<String>,

    /// Prefix of the TXT records' names (default: none, extdns-%{record_type}. in GovCloud, or what is installed)
    #[arg(long, value_name = "PREFIX", conflicts_with = "txt_suffix")]
    pub txt_prefix: Option<String>,

    /// Suffix of the TXT records' names (default: none, or what is installed)
    #[arg(long, value_name = "SUFFIX", allow_hyphen_values = true)]
    pub txt_suffix: Option<String>,

    /// Only public or only private zones (default: both; GovCloud has private ones only)
    #[arg(long, value_enum, value_name = "TYPE")]
    pub aws_zone_type: Option<ZoneType>,

    /// Role of another account whose zones are managed
    #[arg(long, value_name = "ARN", value_parser = values::role_arn)]
    pub aws_assume_role: Option<String>,

    /// External id that this role asks for
    #[arg(long, value_name = "ID", requires = "aws_assume_role")]
    pub aws_assume_role_external_id: Option<String>,

    /// Write CNAME records where an ALIAS would be possible (always in GovCloud)
    #[arg(long)]
    pub aws_prefer_cname: bool,

    /// Time between two synchronisations
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = values::go_duration,
          allow_hyphen_values = true)]
    pub interval: String,

    /// Only Ingresses of these classes (can be repeated)
    #[arg(long, value_name = "CLASS", value_delimiter = ',')]
    pub ingress_class: Vec<String>,

    /// Only objects whose annotations match this selector
    #[arg(long, value_name = "SELECTOR")]
    pub annotation_filter: Option<String>,

    /// Only objects whose labels match this selector
    #[arg(long, value_name = "SELECTOR")]
    pub label_filter: Option<String>,

    /// Prefix of the annotations that are read
    #[arg(long, value_name = "PREFIX")]
    pub annotation_prefix: Option<String>,

    /// Read external-dns.alpha.kubernetes.io/ annotations, too (default from v0.23 on)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub legacy_annotations: Option<bool>,

    /// 1, or 0 to stop it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub replicas: u8,

    /// Release of ExternalDNS (default: v0.23.0, or the tag of --image)
    #[arg(long, value_name = "VERSION")]
    pub external_dns_version: Option<String>,

    /// Image of a mirror; its tag is the release, or --external-dns-version says it
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,

    /// Another argument of ExternalDNS, as --extra-arg=--flag=value (can be repeated)
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub extra_arg: Vec<String>,

    /// Partial objects that are merged into the manifest: one in JSON, or a file in JSON or YAML (can be repeated)
    #[arg(long, value_name = "FILE|JSON")]
    pub patch: Vec<PathBuf>,
}

/// Installs ExternalDNS with an IAM role of its own and proves that it works.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  # Show what would be done
  irsactl install external-dns --cluster eksdemo1 --domain-filter example.com

  # Do it, and wait for the first synchronisation
  irsactl install external-dns --cluster eksdemo1 --domain-filter example.com --approve

  # Permissions for the matching zones only
  irsactl install external-dns --cluster eksdemo1 --domain-filter example.com --least-privilege --approve

  # Zones of another account
  irsactl install external-dns --cluster eksdemo1 --domain-filter example.com \\
    --aws-assume-role arn:aws:iam::111122223333:role/dns --approve")]
pub struct Install {
    #[command(flatten)]
    pub cluster: shared::Cluster,
    #[command(flatten)]
    pub plan: shared::Plan,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub role: Role,
    #[command(flatten)]
    pub consent: Consent,
    #[command(flatten)]
    pub aws: shared::Aws,
    #[command(flatten)]
    pub kube: shared::Kube,
}

/// The IAM side of an installation.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "IAM")]
pub struct Role {
    /// Name of the shared policy
    #[arg(long, value_name = "NAME", default_value = policy::SHARED_POLICY, value_parser = values::policy_name,
          conflicts_with_all = ["attach_policy_arn", "role_arn", "least_privilege"])]
    pub policy_name: String,

    /// Permissions for the zones that the filters match only, in a policy of this installation's own
    #[arg(long, conflicts_with_all = ["attach_policy_arn", "role_arn", "aws_assume_role"])]
    pub least_privilege: bool,

    /// Attach these managed policies instead (can be repeated)
    #[arg(long, value_name = "ARN", value_delimiter = ',', value_parser = values::policy, conflicts_with = "role_arn")]
    pub attach_policy_arn: Vec<String>,

    /// Name of the role (default: CloudFormation's choice)
    #[arg(long, value_name = "NAME", value_parser = values::role_name, conflicts_with = "role_arn")]
    pub role_name: Option<String>,

    /// Path of the role
    #[arg(long, value_name = "PATH", value_parser = values::iam_path, conflicts_with = "role_arn")]
    pub role_path: Option<String>,

    /// Use this role as it is: no stack, no policy
    #[arg(long, value_name = "ARN", value_parser = values::role)]
    pub role_arn: Option<String>,

    /// Permissions boundary of the role
    #[arg(long, value_name = "ARN", value_parser = values::policy, conflicts_with = "role_arn")]
    pub permissions_boundary: Option<String>,

    /// Protect the stack from deletion
    #[arg(long, conflicts_with = "role_arn")]
    pub termination_protection: bool,

    /// Stop after the ServiceAccount's role; the Kubernetes API isn't needed
    #[arg(long, conflicts_with_all = ["patch", "kubeconfig", "context", "adopt", "force_conflicts"])]
    pub aws_only: bool,

    #[command(flatten)]
    pub tags: shared::Tags,
}

/// Consent to what could hurt.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Consent")]
pub struct Consent {
    /// Take over a Deployment of this namespace and name that others made
    #[arg(long)]
    pub adopt: bool,

    #[command(flatten)]
    pub take_over: shared::TakeOver,

    /// Change the policy although roles of others are attached to it
    #[arg(long)]
    pub allow_shared_policy_change: bool,

    /// Accept that ExternalDNS deletes the records that the plan names
    #[arg(long)]
    pub allow_record_deletion: bool,

    /// Accept that the records of the installation have no owner any more
    #[arg(long)]
    pub abandon_records: bool,

    /// Accept that the records of an owner that this cluster doesn't know are taken over
    #[arg(long)]
    pub take_over_records: bool,
}

/// Removes ExternalDNS and its IAM role; DNS records stay.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  irsactl uninstall external-dns --cluster eksdemo1
  irsactl uninstall external-dns --cluster eksdemo1 --approve")]
pub struct Uninstall {
    #[command(flatten)]
    pub cluster: shared::Cluster,

    /// Namespace
    #[arg(long, default_value = "external-dns", value_parser = values::installation)]
    pub namespace: String,

    /// Name of the installation
    #[arg(long, default_value = "external-dns", value_parser = values::installation)]
    pub name: String,

    /// Remove the role and the policy only; the Kubernetes API isn't needed
    #[arg(long, conflicts_with_all = ["kubeconfig", "context"])]
    pub aws_only: bool,

    /// Detach the policies that others attached to the role
    #[arg(long)]
    pub detach_foreign_policies: bool,

    #[command(flatten)]
    pub plan: shared::Plan,
    #[command(flatten)]
    pub aws: shared::Aws,
    #[command(flatten)]
    pub kube: shared::Kube,
}
