//! Flags that many commands have.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

use super::values;
use crate::aws::Options;
use crate::ui::Output;

/// Flags of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct Global {
    /// Format of the result on stdout
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT")]
    pub output: Option<Output>,

    /// Say more on stderr (can be repeated)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// Say nothing on stderr but warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// When to use colours; auto obeys NO_COLOR and pipes
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR says otherwise.
    #[default]
    Auto,
    /// In pipes, too.
    Always,
    /// Nowhere.
    Never,
}

/// Which account and region to talk to.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "AWS")]
pub struct Aws {
    /// AWS region (default: the environment's or the profile's)
    #[arg(short, long, value_parser = values::region)]
    pub region: Option<String>,

    /// Profile of the AWS configuration
    #[arg(short, long)]
    pub profile: Option<String>,
}

impl Aws {
    /// How AWS is reached.
    pub fn options(&self) -> Options {
        Options { region: self.region.clone(), profile: self.profile.clone() }
    }
}

/// Which cluster to talk to.
#[derive(Args, Clone, Debug)]
pub struct Cluster {
    /// EKS cluster
    #[arg(short, long, value_name = "NAME", value_parser = values::cluster)]
    pub cluster: String,
}

/// Which cluster to talk to: a flag, or a file.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// EKS cluster
    #[arg(short, long, value_name = "NAME", value_parser = values::cluster, required_unless_present = "config_file")]
    pub cluster: Option<String>,

    /// eksctl's ClusterConfig, YAML or JSON; - reads stdin
    #[arg(short = 'f', long, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
}

/// Which service accounts of a file.
#[derive(Args, Clone, Debug, Default)]
pub struct Selection {
    /// Only those of the file whose NAMESPACE/NAME matches this glob (can be repeated)
    #[arg(long, value_name = "GLOB", value_delimiter = ',', requires = "config_file")]
    pub include: Vec<String>,

    /// Not those of the file whose NAMESPACE/NAME matches this glob (can be repeated)
    #[arg(long, value_name = "GLOB", value_delimiter = ',', requires = "config_file")]
    pub exclude: Vec<String>,
}

/// How to reach the Kubernetes API.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Kubernetes")]
pub struct Kube {
    /// Use this kubeconfig instead of the cluster's endpoint with an EKS token
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Use this context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// Plan or do.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Plan")]
pub struct Plan {
    /// Carry the plan out; without it, nothing is changed
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
          hide_default_value = true, hide_possible_values = true)]
    pub approve: bool,

    /// Exit with 3 when the plan has changes and isn't approved
    #[arg(long)]
    pub detailed_exitcode: bool,

    #[command(flatten)]
    pub timeout: Timeout,
}

/// How long to wait in all.
#[derive(Args, Clone, Debug)]
pub struct Timeout {
    /// Longest time for the whole command
    #[arg(long, default_value = "25m", value_name = "DURATION", value_parser = values::duration,
          allow_hyphen_values = true)]
    pub timeout: Duration,
}

/// Consent to take over what others made.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct TakeOver {
    /// Annotate a ServiceAccount that neither irsactl nor eksctl made
    #[arg(long)]
    pub override_existing_serviceaccounts: bool,

    /// Take fields over from other field managers
    #[arg(long)]
    pub force_conflicts: bool,
}

/// How CloudFormation works on the stack.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "CloudFormation")]
pub struct Cfn {
    /// Role with whose rights CloudFormation works, instead of the caller's
    #[arg(long, value_name = "ARN", value_parser = values::role)]
    pub cfn_role_arn: Option<String>,

    /// Leave what a failed creation made, to look at it; the next run replaces it
    #[arg(long)]
    pub cfn_disable_rollback: bool,
}

/// Tags for what is created in AWS.
#[derive(Args, Clone, Debug, Default)]
pub struct Tags {
    /// Tags for what is created in AWS
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = values::tag)]
    pub tags: Vec<(String, String)>,
}
