//! Verification: the chain from the cluster's issuer to the DNS record, judged link by link from what was read; pure.
//!
//! A link that fails only because one before it fails is skipped, and says so: what fails is what has to be mended.

pub mod chain;
pub mod dns;
pub mod permissions;
pub mod workload;

use serde::Serialize;

use crate::shell::Command;

/// What was looked at; where it couldn't be, why, with the permission that is missing.
pub type Look<T> = Result<T, String>;

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It holds.
    Pass,
    /// It couldn't be looked at, or follows from another that fails.
    Skip,
    /// It works, with something to look at.
    Warn,
    /// The link is broken.
    Fail,
}

impl Status {
    /// The word, as in the documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// A link of the chain, and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Which link; one of [`ids`].
    pub id: &'static str,
    /// `namespace/name`, where several service accounts are verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// What came of it.
    pub status: Status,
    /// What was found.
    pub message: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The names of the links, in their order.
pub mod ids {
    #![allow(missing_docs, reason = "they are the words of the document")]
    pub const CALLER: &str = "caller";
    pub const CLUSTER: &str = "cluster";
    pub const OIDC_PROVIDER: &str = "oidc-provider";
    pub const ROLE: &str = "role";
    pub const TRUST_POLICY: &str = "trust-policy";
    pub const PERMISSIONS: &str = "permissions";
    pub const SERVICE_ACCOUNT: &str = "service-account";
    pub const POD_IDENTITY: &str = "pod-identity";
    pub const INJECTION: &str = "injection";
    pub const ASSUME_ROLE: &str = "assume-role";
    pub const RBAC: &str = "rbac";
    pub const DEPLOYMENT: &str = "deployment";
    pub const ARGUMENTS: &str = "arguments";
    pub const PODS: &str = "pods";
    pub const LOGS: &str = "logs";
    pub const ZONES: &str = "zones";
    pub const OWNER: &str = "owner";
    pub const RECORDS: &str = "records";
    pub const HOSTNAME: &str = "hostname";
}

impl Check {
    fn new(id: &'static str, status: Status, message: impl Into<String>) -> Self {
        Self { id, service_account: None, status, message: message.into(), hint: None }
    }

    /// It holds.
    pub fn pass(id: &'static str, message: impl Into<String>) -> Self {
        Self::new(id, Status::Pass, message)
    }

    /// It is broken.
    pub fn fail(id: &'static str, message: impl Into<String>) -> Self {
        Self::new(id, Status::Fail, message)
    }

    /// It works, with something to look at.
    pub fn warn(id: &'static str, message: impl Into<String>) -> Self {
        Self::new(id, Status::Warn, message)
    }

    /// It couldn't be looked at.
    pub fn skip(id: &'static str, why: impl Into<String>) -> Self {
        Self::new(id, Status::Skip, why)
    }

    /// The command that mends it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Several findings about one link: the worst decides, and what to do about it is the hint; none is a pass with
    /// `message`.
    pub fn of(id: &'static str, message: impl Into<String>, findings: Vec<Self>) -> Self {
        let Some(worst) = findings.iter().map(|finding| finding.status).max() else { return Self::pass(id, message) };
        let hint = findings.iter().filter(|finding| finding.status == worst).find_map(|finding| finding.hint.clone());
        let messages: Vec<_> = findings.into_iter().map(|finding| finding.message).collect();
        Self { hint, ..Self::new(id, worst, messages.join("; ")) }
    }

    /// True where the link is broken.
    pub fn fails(&self) -> bool {
        self.status == Status::Fail
    }
}

/// All checks, in their order.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// No link is broken.
    pub ok: bool,
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    /// Adds checks.
    pub fn extend(&mut self, checks: impl IntoIterator<Item = Check>) {
        self.checks.extend(checks);
        self.ok = !self.checks.iter().any(Check::fails);
    }

    /// Whether something deserves a look.
    pub fn has_warnings(&self) -> bool {
        self.checks.iter().any(|check| check.status == Status::Warn)
    }
}

/// A check that fails or can't be made is skipped where one of these links is broken: it follows from that.
pub fn unless_after(check: Check, before: &[&Check]) -> Check {
    match before.iter().find(|cause| cause.fails()) {
        Some(cause) if check.status != Status::Pass => {
            let said = if check.fails() { format!(" ({})", check.message) } else { String::new() };
            Check { hint: None, ..Check::skip(check.id, format!("follows from {}{said}", cause.id)) }
        }
        _ => check,
    }
}

/// What mends links, as complete commands.
#[derive(Clone, Debug)]
pub struct Commands {
    /// The cluster.
    pub cluster: String,
    /// The region.
    pub region: String,
}

impl Commands {
    /// A command of irsactl about this cluster.
    fn irsactl(&self, words: &str) -> Command {
        let command = Command::new(&format!("irsactl {words}"));
        command.with("--cluster", &self.cluster).with("--region", &self.region)
    }

    /// A command about an object of this cluster.
    fn about(&self, words: &str, namespace: &str, name: &str) -> Command {
        self.irsactl(words).with("--namespace", namespace).with("--name", name)
    }

    /// Creates the IAM OIDC provider, or gives it its audience.
    pub fn associate(&self) -> String {
        self.irsactl("utils associate-iam-oidc-provider").approved()
    }

    /// Lists the records as an installation sees them.
    pub fn get_dnsrecords(&self, namespace: &str, name: &str) -> String {
        self.about("get dnsrecords", namespace, name).into()
    }

    /// Verifies a service account.
    pub fn verify_iamserviceaccount(&self, namespace: &str, name: &str) -> String {
        self.about("verify iamserviceaccount", namespace, name).into()
    }

    /// Verifies an installation.
    pub fn verify_external_dns(&self, namespace: &str, name: &str) -> String {
        self.about("verify external-dns", namespace, name).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides_and_a_consequence_is_skipped() {
        let found = vec![Check::warn("zones", "a").hint("x"), Check::fail("zones", "b").hint("y")];
        let check = Check::of("zones", "fine", found);
        assert_eq!((check.status, check.message.as_str(), check.hint.as_deref()), (Status::Fail, "a; b", Some("y")));
        assert_eq!(Check::of("zones", "fine", Vec::new()), Check::pass("zones", "fine"));

        let after = unless_after(Check::fail("records", "none").hint("z"), &[&check]);
        assert_eq!((after.status, after.hint), (Status::Skip, None));
        assert_eq!(after.message, "follows from zones (none)");
        assert!(unless_after(Check::pass("records", "all"), &[&check]).status == Status::Pass);
    }

    #[test]
    fn a_report_is_ok_without_broken_links() {
        let mut report = Report::default();
        report.extend([Check::pass("caller", ""), Check::warn("owner", "")]);
        assert!(report.ok && report.has_warnings());
        report.extend([Check::fail("role", "")]);
        assert!(!report.ok);
        let document = serde_json::to_value(&report).unwrap();
        assert_eq!(document["checks"][0], serde_json::json!({"id": "caller", "status": "pass", "message": ""}));
    }
}
