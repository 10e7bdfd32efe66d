//! All calls to the Kubernetes API. Objects are `serde_json::Value`s, as in the manifests.

mod access;
mod calls;
mod connect;
mod contents;
pub mod diff;
mod error;
mod kind;
mod kubeconfig;
mod logs;
mod managed;
mod plugin;
mod pod;
mod quantity;
mod retry;
mod rollout;
mod schema;
mod token;

use std::fmt;
use std::sync::Arc;

pub use access::Review;
pub use calls::Apply;
pub use kind::{Kind, describe};
pub use pod::condition;
use serde_json::Value;

use crate::wait::Wait;

/// What keeps a pod from being ready, as people read it, and whether it is about to be; none for a ready pod.
pub fn pod_trouble(pod: &Value) -> Option<(String, bool)> {
    pod::trouble(pod).map(|trouble| (trouble.text, trouble.severity == pod::Severity::Starting))
}

/// True for an object that has been deleted and isn't gone yet.
pub fn is_ending(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// True for a pod whose containers have ended for good: evicted, or done.
pub fn has_ended(pod: &Value) -> bool {
    ["Succeeded", "Failed"].iter().any(|phase| pod["status"]["phase"] == **phase)
}

/// True for the object of this namespace and name.
pub fn is_named(object: &Value, namespace: &str, name: &str) -> bool {
    object["metadata"]["namespace"] == namespace && object["metadata"]["name"] == name
}

/// The field manager of everything that irsactl applies.
pub const FIELD_MANAGER: &str = "irsactl";

/// A connection to one cluster's API; clones share it.
#[derive(Clone)]
pub struct Kubernetes {
    connection: Arc<connect::Connection>,
    wait: Wait,
}

impl Kubernetes {
    /// URL of the API server.
    pub fn server(&self) -> &str {
        &self.connection.server
    }

    /// The certificates (DER) that the API server is verified with; empty where the platform's own are used, or none.
    pub fn ca(&self) -> &[Vec<u8>] {
        &self.connection.ca
    }

    /// True where the API server is verified with exactly the certificates of `ca_base64`, the
    /// `certificateAuthority.data` of EKS: then this is that cluster.
    pub fn has_ca(&self, ca_base64: &str) -> bool {
        connect::certificates(ca_base64).is_ok_and(|certificates| !certificates.is_empty() && certificates == self.ca())
    }

    /// The same connection with other limits of time.
    #[must_use]
    pub fn with_wait(&self, wait: Wait) -> Self {
        Self { connection: Arc::clone(&self.connection), wait }
    }
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubernetes").field("server", &self.server()).finish_non_exhaustive()
    }
}
