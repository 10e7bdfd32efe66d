//! One error type for everything a user can be told: what failed, why, and what to do next.

use std::fmt;

/// Ends a hint to run a command that changes something again.
pub(crate) const RESUMES: &str = ": it goes on where this run stopped";

/// The documented, stable identifiers of errors (`error.code` of `-o json`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The command line doesn't hold: unknown, missing or contradicting flags, malformed values.
    Usage,
    /// No AWS region is configured.
    NoRegion,
    /// No AWS credentials were found, or the profile doesn't exist.
    NoCredentials,
    /// The AWS credentials have expired or are not accepted.
    ExpiredCredentials,
    /// AWS refused an action for lack of permission.
    AccessDenied,
    /// AWS kept throttling until the retries or the time ran out.
    Throttled,
    /// No EKS cluster of that name exists in the region.
    ClusterNotFound,
    /// The EKS cluster exists but can't be used in its status.
    ClusterNotActive,
    /// The Kubernetes API doesn't answer.
    ClusterUnreachable,
    /// The Kubernetes API doesn't know the caller (401).
    ClusterUnauthorized,
    /// The caller lacks a Kubernetes right (403).
    ClusterForbidden,
    /// The kubeconfig belongs to another cluster than `--cluster`.
    ClusterMismatch,
    /// The cluster's admission refuses an object.
    AdmissionDenied,
    /// An API group, version or resource that is needed isn't served by the cluster.
    MissingApi,
    /// A named thing doesn't exist.
    NotFound,
    /// A name is taken by something that isn't ours.
    AlreadyExists,
    /// A field is held by another field manager.
    Conflict,
    /// An object was made by somebody else and no consent was given to take it over.
    ForeignObject,
    /// Another installation of ExternalDNS is in the way.
    ForeignInstallation,
    /// A Pod Identity association overrides IRSA for the service account.
    PodIdentity,
    /// A policy is used by others and would be changed or deleted.
    PolicyInUse,
    /// A change would delete, orphan or take over DNS records.
    RecordsAtRisk,
    /// A hosted zone doesn't exist, or none matches where one is needed.
    ZoneNotFound,
    /// Several zones match where one is meant.
    ZoneAmbiguous,
    /// The ExternalDNS version can't run on this cluster.
    UnsupportedVersion,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// A CloudFormation stack failed.
    StackFailed,
    /// A CloudFormation stack of the right name belongs to something else.
    StackNotOurs,
    /// The role can't be assumed by the service account.
    RoleNotUsable,
    /// The Deployment didn't roll out.
    RolloutFailed,
    /// ExternalDNS runs, but doesn't synchronise.
    SyncFailed,
    /// The time given by `--timeout` ran out.
    Timeout,
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// A file can't be read or written.
    Io,
    /// AWS answered with another error.
    Aws,
    /// Kubernetes answered with another error.
    Kubernetes,
    /// A bug in irsactl.
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of the reference.
    pub const ALL: &[Self] = &[
        Self::Usage,
        Self::NoRegion,
        Self::NoCredentials,
        Self::ExpiredCredentials,
        Self::AccessDenied,
        Self::Throttled,
        Self::ClusterNotFound,
        Self::ClusterNotActive,
        Self::ClusterUnreachable,
        Self::ClusterUnauthorized,
        Self::ClusterForbidden,
        Self::ClusterMismatch,
        Self::AdmissionDenied,
        Self::MissingApi,
        Self::NotFound,
        Self::AlreadyExists,
        Self::Conflict,
        Self::ForeignObject,
        Self::ForeignInstallation,
        Self::PodIdentity,
        Self::PolicyInUse,
        Self::RecordsAtRisk,
        Self::ZoneNotFound,
        Self::ZoneAmbiguous,
        Self::UnsupportedVersion,
        Self::NamespaceTerminating,
        Self::StackFailed,
        Self::StackNotOurs,
        Self::RoleNotUsable,
        Self::RolloutFailed,
        Self::SyncFailed,
        Self::Timeout,
        Self::Interrupted,
        Self::Io,
        Self::Aws,
        Self::Kubernetes,
        Self::Internal,
    ];

    /// The kebab-case name that machines match on.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::NoRegion => "no-region",
            Self::NoCredentials => "no-credentials",
            Self::ExpiredCredentials => "expired-credentials",
            Self::AccessDenied => "access-denied",
            Self::Throttled => "throttled",
            Self::ClusterNotFound => "cluster-not-found",
            Self::ClusterNotActive => "cluster-not-active",
            Self::ClusterUnreachable => "cluster-unreachable",
            Self::ClusterUnauthorized => "cluster-unauthorized",
            Self::ClusterForbidden => "cluster-forbidden",
            Self::ClusterMismatch => "cluster-mismatch",
            Self::AdmissionDenied => "admission-denied",
            Self::MissingApi => "missing-api",
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::Conflict => "conflict",
            Self::ForeignObject => "foreign-object",
            Self::ForeignInstallation => "foreign-installation",
            Self::PodIdentity => "pod-identity",
            Self::PolicyInUse => "policy-in-use",
            Self::RecordsAtRisk => "records-at-risk",
            Self::ZoneNotFound => "zone-not-found",
            Self::ZoneAmbiguous => "zone-ambiguous",
            Self::UnsupportedVersion => "unsupported-version",
            Self::NamespaceTerminating => "namespace-terminating",
            Self::StackFailed => "stack-failed",
            Self::StackNotOurs => "stack-not-ours",
            Self::RoleNotUsable => "role-not-usable",
            Self::RolloutFailed => "rollout-failed",
            Self::SyncFailed => "sync-failed",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
            Self::Io => "io",
            Self::Aws => "aws",
            Self::Kubernetes => "kubernetes",
            Self::Internal => "internal",
        }
    }

    /// The exit code of the process that ends with this error.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Interrupted => 130,
            _ => 1,
        }
    }
}

/// What a user is told when something fails.
#[derive(Clone, Debug)]
pub struct Error {
    /// Stable identifier.
    pub code: ErrorCode,
    /// What failed, with the operation and the object; no full stop.
    pub message: String,
    /// Why, from the outside in.
    pub causes: Vec<String>,
    /// What to do next, with a full command where there is one.
    pub hint: Option<String>,
    /// The flag with which the same command would go on; its command line ends the hint.
    pub consent: Option<&'static str>,
    /// AWS request id, for support cases.
    pub request_id: Option<String>,
}

/// Result with irsactl's error.
pub type Result<T, E = Box<Error>> = std::result::Result<T, E>;

impl Error {
    /// A new error without causes or hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            code,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            consent: None,
            request_id: None,
        })
    }

    /// Wrong usage of the command line (exit code 2).
    pub fn usage(message: impl Into<String>) -> Box<Self> {
        Self::new(ErrorCode::Usage, message)
    }

    /// Adds a cause below the ones already there.
    #[must_use]
    pub fn cause(mut self: Box<Self>, cause: impl Into<String>) -> Box<Self> {
        self.causes.push(cause.into());
        self
    }

    /// Says where: before what failed, the flag that was given.
    #[must_use]
    pub(crate) fn within(mut self: Box<Self>, flag: &str) -> Box<Self> {
        self.message = format!("{flag}: {}", self.message);
        self
    }

    /// Sets what to do next.
    #[must_use]
    pub fn hint(mut self: Box<Self>, hint: impl Into<String>) -> Box<Self> {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the hint unless a more specific one is there.
    #[must_use]
    pub fn or_hint(mut self: Box<Self>, hint: impl FnOnce() -> String) -> Box<Self> {
        self.hint.get_or_insert_with(hint);
        self
    }

    /// The same of a command that changes nothing, which has nothing to go on with.
    #[must_use]
    pub(crate) fn of_reading(mut self: Box<Self>) -> Box<Self> {
        self.hint = self.hint.map(|hint| hint.replace(RESUMES, ""));
        self
    }

    /// Sets the hint, whose last words say what `flag` does.
    #[must_use]
    pub fn hint_consent(mut self: Box<Self>, hint: impl Into<String>, flag: &'static str) -> Box<Self> {
        self.consent = Some(flag);
        self.hint(hint)
    }

    /// Ends a hint about a flag with the whole command, which is `command` and the flag.
    #[must_use]
    pub fn with_command(mut self: Box<Self>, command: &str) -> Box<Self> {
        if let (Some(flag), Some(hint)) = (self.consent, &mut self.hint) {
            *hint = format!("{hint}: {command} {flag}");
        }
        self
    }

    /// Sets the AWS request id.
    #[must_use]
    pub fn request_id(mut self: Box<Self>, id: Option<&str>) -> Box<Self> {
        self.request_id = id.map(str::to_owned);
        self
    }

    /// Puts an outer message around this one, which becomes the first cause.
    #[must_use]
    pub fn context(mut self: Box<Self>, message: impl Into<String>) -> Box<Self> {
        let inner = std::mem::replace(&mut self.message, message.into());
        self.causes.insert(0, inner);
        self
    }
}

/// An error, and what it comes from, from the outside to the inside.
pub(crate) fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_about_a_flag_ends_with_the_command() {
        let error = Error::new(ErrorCode::Conflict, "x").hint_consent("--adopt takes it over", "--adopt");
        let hint = error.with_command("irsactl install external-dns").hint.unwrap();
        assert_eq!(hint, "--adopt takes it over: irsactl install external-dns --adopt");
        let other = Error::new(ErrorCode::Conflict, "x").hint("wait").with_command("irsactl");
        assert_eq!(other.hint.as_deref(), Some("wait"));
    }
}
