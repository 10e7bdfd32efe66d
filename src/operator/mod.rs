//! The rights that irsactl itself needs, of IAM ([`aws`]) and in the cluster ([`kubernetes`]): the one place that knows.
//! A [`Task`] is a command; what it needs is a list of parts, each with the reason for it. Pure.

pub mod aws;
pub mod foresight;
pub mod kubernetes;

use std::collections::BTreeSet;

use crate::cli::policy::SHARED_POLICY;
use crate::externaldns::rbac::Rule;
use crate::iam::arn::Partition;

/// A command, as far as rights differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// `utils associate-iam-oidc-provider`
    AssociateProvider,
    /// `create policy`
    CreatePolicy,
    /// `create iamserviceaccount`
    CreateServiceAccount,
    /// `update iamserviceaccount`
    UpdateServiceAccount,
    /// `delete iamserviceaccount`
    DeleteServiceAccount,
    /// `get iamserviceaccount`
    GetServiceAccount,
    /// `get dnsrecords`
    GetDnsRecords,
    /// `install external-dns`
    Install,
    /// `uninstall external-dns`
    Uninstall,
    /// `verify external-dns`
    VerifyExternalDns,
    /// `verify iamserviceaccount`
    VerifyServiceAccount,
    /// `render trust-policy` and `render stack`, which may ask the cluster
    RenderRole,
    /// `render manifest` and `render helm-values`, which may look for the role
    RenderManifest,
}

impl Task {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::AssociateProvider,
        Self::CreatePolicy,
        Self::CreateServiceAccount,
        Self::UpdateServiceAccount,
        Self::DeleteServiceAccount,
        Self::GetServiceAccount,
        Self::GetDnsRecords,
        Self::Install,
        Self::Uninstall,
        Self::VerifyExternalDns,
        Self::VerifyServiceAccount,
        Self::RenderRole,
        Self::RenderManifest,
    ];

    /// The command of these words; none for one that asks nobody.
    pub fn of(words: &[&str]) -> Option<Self> {
        Some(match words {
            ["utils", "associate-iam-oidc-provider"] => Self::AssociateProvider,
            ["create", "policy"] => Self::CreatePolicy,
            ["create", "iamserviceaccount"] => Self::CreateServiceAccount,
            ["update", "iamserviceaccount"] => Self::UpdateServiceAccount,
            ["delete", "iamserviceaccount"] => Self::DeleteServiceAccount,
            ["get", "iamserviceaccount"] => Self::GetServiceAccount,
            ["get", "dnsrecords"] => Self::GetDnsRecords,
            ["install", "external-dns"] => Self::Install,
            ["uninstall", "external-dns"] => Self::Uninstall,
            ["verify", "external-dns"] => Self::VerifyExternalDns,
            ["verify", "iamserviceaccount"] => Self::VerifyServiceAccount,
            ["render", "trust-policy" | "stack"] => Self::RenderRole,
            ["render", "manifest" | "helm-values"] => Self::RenderManifest,
            _ => return None,
        })
    }
}

/// Where the rights are to hold; what isn't said is `*`.
#[derive(Clone, Debug)]
pub struct Place {
    /// The partition.
    pub partition: Partition,
    /// The region, or `*`.
    pub region: String,
    /// The account, or `*`.
    pub account: String,
    /// The cluster, or `*`.
    pub cluster: String,
}

/// What the flags of a command, or its file, say about the rights that it needs. The default knows nothing: it takes what
/// any flags could need.
#[derive(Clone, Debug)]
pub struct Flags {
    /// The names and paths of roles that stacks make; none: CloudFormation's choice.
    pub roles: BTreeSet<RoleName>,
    /// Roles of others that are used as they are.
    pub foreign_roles: Vec<String>,
    /// Every service account uses a role of others: no stack is made.
    pub foreign_only: bool,
    /// The managed policies that roles get beside irsactl's own; none where that isn't known.
    pub attached: Option<Vec<String>>,
    /// Roles may get inline policies.
    pub inline: bool,
    /// The permissions boundaries of roles; none where that isn't known.
    pub boundaries: Option<Vec<String>>,
    /// Some role may have no permissions boundary.
    pub unbounded: bool,
    /// The role that CloudFormation works with.
    pub cfn_role: Option<String>,
    /// The policy that irsactl makes: its name, with `*` for what isn't known; none where it makes none.
    pub policy: Option<String>,
    /// Hosted zones that are named by their ids.
    pub zones: Vec<String>,
    /// The zones are another account's.
    pub elsewhere: bool,
    /// Policies that others attached to a role may be detached.
    pub detach_foreign: bool,
    /// Only what a file doesn't name.
    pub only_missing: bool,
    /// A token of the service account is exchanged at STS.
    pub live: bool,
    /// The cluster may be asked.
    pub cluster: bool,
    /// The Kubernetes API may be needed.
    pub kubernetes: bool,
    /// Namespaces and names of service accounts in the cluster; empty where all of them may be meant.
    pub service_accounts: Vec<(String, String)>,
    /// Namespaces and names of the service accounts whose stacks are meant; empty for all of the cluster's.
    pub stacks: Vec<(String, String)>,
    /// They are so many that they are found in listings.
    pub many: bool,
    /// The rules that ExternalDNS gets: nobody may give rights that he doesn't have.
    pub handed_on: Vec<Rule>,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            roles: BTreeSet::new(),
            foreign_roles: Vec::new(),
            foreign_only: false,
            attached: None,
            inline: true,
            boundaries: None,
            unbounded: true,
            cfn_role: None,
            policy: Some(format!("{SHARED_POLICY}*")),
            zones: Vec::new(),
            elsewhere: false,
            detach_foreign: true,
            only_missing: true,
            live: true,
            cluster: true,
            kubernetes: true,
            service_accounts: Vec::new(),
            stacks: Vec::new(),
            many: true,
            handed_on: Vec::new(),
        }
    }
}

/// How a role is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoleName {
    /// Its name; CloudFormation's choice where none is given.
    pub name: Option<String>,
    /// Its path; begins and ends with `/`.
    pub path: Option<String>,
}
