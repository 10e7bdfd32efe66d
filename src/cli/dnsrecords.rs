//! `get dnsrecords`.

use clap::Args;

use super::{shared, values};
use crate::externaldns::registry::Class;

/// Lists the records of hosted zones and the ExternalDNS that owns each of them.
#[derive(Args, Clone, Debug)]
#[command(long_about = "\
Lists the records of hosted zones and the ExternalDNS that owns each of them.

With --cluster, records are seen as the ExternalDNS of that cluster sees them: its owner id, its TXT naming, its zones. With \
--txt-owner-id, no cluster is asked, for one that is gone or can't be reached. With neither, every record that has an owner is \
`owned`, and the column OWNER says whose.

A record of which two things hold is listed twice. SOA and NS of a zone's own name are left out, and so are the TXT records \
that say who owns a listed record.")]
#[command(after_help = "\
Examples:
  # The records of a cluster's zones
  irsactl get dnsrecords --cluster eksdemo1

  # What stands in the way of a host: records that nobody or somebody else owns
  irsactl get dnsrecords --cluster eksdemo1 --class foreign,unowned,conflict

  # Which clusters share a zone, in the whole account
  irsactl get dnsrecords --all-zones

  # What a cluster left that doesn't exist any more
  irsactl get dnsrecords --zone example.com --owner eksdemo1-1a2b3c4d

  # TXT records without a record
  irsactl get dnsrecords --zone example.com --class orphan-txt -o json | jq -r '.zones[].records[].name'")]
pub struct Get {
    /// See records as the ExternalDNS of this EKS cluster does
    #[arg(short, long, value_name = "NAME", value_parser = values::cluster)]
    pub cluster: Option<String>,

    /// Namespace of this ExternalDNS
    #[arg(long, default_value = "external-dns", value_parser = values::installation, requires = "cluster")]
    pub namespace: String,

    /// Name of this ExternalDNS
    #[arg(long, default_value = "external-dns", value_parser = values::installation, requires = "cluster")]
    pub name: String,

    /// See records as an ExternalDNS with this owner id does
    #[arg(long, value_name = "ID", conflicts_with = "cluster")]
    pub txt_owner_id: Option<String>,

    /// Prefix of the TXT records' names
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["cluster", "txt_suffix"], allow_hyphen_values = true)]
    pub txt_prefix: Option<String>,

    /// Suffix of the TXT records' names
    #[arg(long, value_name = "SUFFIX", conflicts_with = "cluster", allow_hyphen_values = true)]
    pub txt_suffix: Option<String>,

    /// What stands for * in the TXT records' names
    #[arg(long, value_name = "LABEL", conflicts_with = "cluster")]
    pub txt_wildcard_replacement: Option<String>,

    /// Only these hosted zones, by name or id (default: those of the cluster's ExternalDNS, or all; can be repeated)
    #[arg(long, value_name = "NAME|ID", value_delimiter = ',', conflicts_with = "all_zones")]
    pub zone: Vec<String>,

    /// All hosted zones of the account, and which owners share one
    #[arg(long)]
    pub all_zones: bool,

    /// Only records of these owners (can be repeated)
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub owner: Vec<String>,

    /// Only records of these classes (can be repeated)
    #[arg(long, value_name = "CLASS", value_delimiter = ',', value_parser = values::class())]
    pub class: Vec<Class>,

    #[command(flatten)]
    pub timeout: shared::Timeout,
    #[command(flatten)]
    pub aws: shared::Aws,
    #[command(flatten)]
    pub kube: shared::Kube,
}
