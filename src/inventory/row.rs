//! What `get iamserviceaccount` prints of a service account.

use std::collections::BTreeMap;

use serde::Serialize;

/// One service account, in the shape that eksctl prints.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which.
    pub metadata: Metadata,
    /// How it is.
    pub status: Status,
}

/// Which service account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// How a service account is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its role.
    #[serde(rename = "roleARN", skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// Its stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_name: Option<String>,
    /// The stack's tags.
    pub tags: BTreeMap<String, String>,
    /// The stack's capabilities.
    pub capabilities: Vec<String>,
    /// In a word.
    pub state: State,
    /// Who made it.
    pub source: Source,
    /// CloudFormation's word for the stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_status: Option<String>,
    /// When the stack, or else the role, was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<jiff::Timestamp>,
    /// The policies of the role, where they can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<Policy>>,
    /// ARN of the role's permissions boundary, where it has one and it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions_boundary: Option<String>,
    /// What isn't as it should be, in sentences.
    pub drift: Vec<String>,
}

/// A policy of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Its ARN; an inline policy has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
}

/// The state of a service account. Of several, the one that comes last counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// All of it is there and fits.
    #[default]
    Ready,
    /// It can't be read.
    Unknown,
    /// It is all there, and something was changed.
    Drifted,
    /// The ServiceAccount doesn't name a role.
    NotAnnotated,
    /// There is no ServiceAccount.
    #[serde(rename = "serviceaccount-missing")]
    ServiceAccountMissing,
    /// The role is gone.
    RoleMissing,
    /// The stack is under way.
    Pending,
    /// The stack failed.
    Failed,
}

impl State {
    /// The word, as in the documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Unknown => "unknown",
            Self::Drifted => "drifted",
            Self::NotAnnotated => "not-annotated",
            Self::ServiceAccountMissing => "serviceaccount-missing",
            Self::RoleMissing => "role-missing",
            Self::Pending => "pending",
            Self::Failed => "failed",
        }
    }
}

/// Who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// irsactl.
    Irsactl,
    /// eksctl.
    Eksctl,
    /// Others: Helm, terraform, hands.
    External,
}

impl Source {
    /// The word, as in the documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Irsactl => "irsactl",
            Self::Eksctl => "eksctl",
            Self::External => "external",
        }
    }
}
