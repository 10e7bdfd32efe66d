//! The configuration file that irsactl and eksctl share, `ClusterConfig`: read and checked before
//! the first call; pure.
//!
//! `schema` says what may be written, `check` what it must mean, `problem` how a user is told.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::error::{Error, Result};
pub use crate::files::LARGEST;
use crate::iam::policy::PolicyDocument;
use crate::iam::wellknown::WellKnown;
use crate::stack::tags::check_owner;

mod check;
pub use check::{check_annotation, check_label, check_token_expiration};
pub mod filter;
mod problem;
mod schema;

/// What a `ClusterConfig` says about the cluster and its service accounts. Values are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterConfig {
    /// The file's name, for messages.
    pub file: String,
    /// `metadata.name`: the EKS cluster.
    pub name: String,
    /// `metadata.region`.
    pub region: String,
    /// `metadata.tags`: for everything of the cluster.
    pub tags: Vec<(String, String)>,
    /// `iam.withOIDC`; never false beside service accounts.
    pub with_oidc: Option<bool>,
    /// `iam.serviceAccounts`, if the file has the list at all.
    pub service_accounts: Option<Vec<Entry>>,
}

/// One of `iam.serviceAccounts`, or what flags say in its place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// `metadata.namespace`, `default` if it has none.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`: of the ServiceAccount.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`: of the ServiceAccount.
    pub annotations: BTreeMap<String, String>,
    /// `attachPolicyARNs`: ARNs, or `policy/NAME` to be completed for the account. None where there is no such key: an
    /// update keeps what isn't named.
    pub managed_policies: Option<Vec<String>>,
    /// `wellKnownPolicies` that are true, in eksctl's order; none where there is no such key.
    pub well_known: Option<Vec<WellKnown>>,
    /// `attachPolicy`.
    pub inline: Option<PolicyDocument>,
    /// `attachRoleARN`: a role that is used as it is; then there are no policies, names or tags.
    pub role_arn: Option<String>,
    /// `permissionsBoundary`: an ARN or `policy/NAME`.
    pub boundary: Option<String>,
    /// `roleName`.
    pub role_name: Option<String>,
    /// `roleOnly`: Kubernetes is never touched.
    pub role_only: bool,
    /// `tags`: the service account's own.
    pub tags: Vec<(String, String)>,
    /// `subjectPattern`.
    pub subject_pattern: Option<String>,
    /// Where it stands in the file.
    pub place: Place,
}

/// A place in a file; both count from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The character in the line.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl Entry {
    /// `NAMESPACE/NAME`, by which eksctl tells entries apart.
    pub fn identity(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Checks that its stack, where it has one, can be tagged with its identity.
    ///
    /// # Errors
    /// Says how long that may be.
    pub fn check_owner(&self) -> Result<(), String> {
        if self.role_arn.is_some() { Ok(()) } else { check_owner(&self.namespace, &self.name) }
    }
}

impl ClusterConfig {
    /// The service accounts, for commands that make no sense without.
    ///
    /// # Errors
    /// `Usage` where the file has no list of them; an empty one is fine.
    pub fn entries(&self) -> Result<&[Entry]> {
        self.service_accounts.as_deref().ok_or_else(|| {
            Error::usage(format!("'iam.serviceAccounts' is not defined in {}", self.file))
                .hint("list the service accounts under iam.serviceAccounts, each with metadata.name")
        })
    }

    /// The cluster's tags and those of the service account, which win.
    pub fn tags_of(&self, entry: &Entry) -> Vec<(String, String)> {
        merged(&self.tags, &entry.tags)
    }
}

fn merged(shared: &[(String, String)], own: &[(String, String)]) -> Vec<(String, String)> {
    let kept = shared.iter().filter(|(key, _)| own.iter().all(|(other, _)| other != key));
    kept.chain(own).cloned().collect()
}

/// Reads a `ClusterConfig` in YAML or JSON. `file` names it in messages. Sections that are not
/// about IAM may hold anything, but are known by their names.
///
/// # Errors
/// `Usage` with every mistake that was found as a cause: its place, what was expected, and the
/// lines. A key that isn't known ends the reading.
pub fn read(file: &str, text: impl AsRef<[u8]>) -> Result<ClusterConfig> {
    let source = problem::Source::new(file, "ClusterConfig", text.as_ref())?;
    let root = schema::parse(source.text).map_err(|problem| source.error(&[problem]))?;
    let mut problems = Vec::new();
    let config = check::config(file, root, &mut problems);
    if problems.is_empty() { Ok(config) } else { Err(source.error(&problems)) }
}

/// Reads the document of an inline policy, in YAML or JSON, as `attachPolicy` of a `ClusterConfig` is read. `file` names
/// it in messages.
///
/// # Errors
/// `Usage` with the mistake as a cause: its place, what was expected, and the lines.
pub fn read_policy(file: &str, text: impl AsRef<[u8]>) -> Result<PolicyDocument> {
    let source = problem::Source::new(file, "policy document", text.as_ref())?;
    let parsed = schema::parse_policy(source.text).and_then(|found| check::policy(&found));
    parsed.map_err(|problem| source.error(&[problem]))
}

/// Reads the partial objects of a `--patch` file, in YAML or JSON. `file` names it in messages.
///
/// # Errors
/// `Usage` with the mistake as a cause: its place, what was expected, and the lines.
pub fn read_patch(file: &str, text: impl AsRef<[u8]>) -> Result<Vec<Value>> {
    let source = problem::Source::new(file, "patch", text.as_ref())?;
    let parsed = schema::parse_all(source.text).and_then(|found| check::patch(&found));
    parsed.map_err(|problem| source.error(&[problem]))
}

#[cfg(test)]
mod tests;
