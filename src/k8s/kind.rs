//! The kinds of objects that irsactl reads and writes.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// Everything but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Escapes one segment of a path or one value of a query.
pub(super) fn escape(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, RESERVED)
}

/// A kind of object and where the API serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version of the group.
    pub version: &'static str,
    /// Name of the kind, as in manifests.
    pub kind: &'static str,
    /// Name of the resource, as in paths and RBAC rules.
    pub plural: &'static str,
    /// False for cluster-scoped kinds.
    pub namespaced: bool,
}

impl Kind {
    /// `v1/Namespace`.
    pub const NAMESPACE: Self = Self::cluster("", "v1", "Namespace", "namespaces");
    /// `v1/ServiceAccount`.
    pub const SERVICE_ACCOUNT: Self = Self::namespaced("", "v1", "ServiceAccount", "serviceaccounts");
    /// `v1/Pod`.
    pub const POD: Self = Self::namespaced("", "v1", "Pod", "pods");
    /// `v1/Event`.
    pub const EVENT: Self = Self::namespaced("", "v1", "Event", "events");
    /// `v1/Service`.
    pub const SERVICE: Self = Self::namespaced("", "v1", "Service", "services");
    /// `v1/Secret`.
    pub const SECRET: Self = Self::namespaced("", "v1", "Secret", "secrets");
    /// `v1/ConfigMap`.
    pub const CONFIG_MAP: Self = Self::namespaced("", "v1", "ConfigMap", "configmaps");
    /// `v1/Node`.
    pub const NODE: Self = Self::cluster("", "v1", "Node", "nodes");
    /// `apps/v1/Deployment`.
    pub const DEPLOYMENT: Self = Self::namespaced("apps", "v1", "Deployment", "deployments");
    /// `apps/v1/ReplicaSet`.
    pub const REPLICA_SET: Self = Self::namespaced("apps", "v1", "ReplicaSet", "replicasets");
    /// `networking.k8s.io/v1/Ingress`.
    pub const INGRESS: Self = Self::namespaced("networking.k8s.io", "v1", "Ingress", "ingresses");
    /// `rbac.authorization.k8s.io/v1/ClusterRole`.
    pub const CLUSTER_ROLE: Self = Self::cluster("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles");
    /// `rbac.authorization.k8s.io/v1/ClusterRoleBinding`.
    pub const CLUSTER_ROLE_BINDING: Self =
        Self::cluster("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings");
    /// `rbac.authorization.k8s.io/v1/Role`.
    pub const ROLE: Self = Self::namespaced("rbac.authorization.k8s.io", "v1", "Role", "roles");
    /// `rbac.authorization.k8s.io/v1/RoleBinding`.
    pub const ROLE_BINDING: Self = Self::namespaced("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings");

    const ALL: &[Self] = &[
        Self::NAMESPACE,
        Self::SERVICE_ACCOUNT,
        Self::POD,
        Self::EVENT,
        Self::SERVICE,
        Self::SECRET,
        Self::CONFIG_MAP,
        Self::NODE,
        Self::DEPLOYMENT,
        Self::REPLICA_SET,
        Self::INGRESS,
        Self::CLUSTER_ROLE,
        Self::CLUSTER_ROLE_BINDING,
        Self::ROLE,
        Self::ROLE_BINDING,
    ];

    /// A kind whose objects live in namespaces.
    pub const fn namespaced(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self { group, version, kind, plural, namespaced: true }
    }

    /// A cluster-scoped kind.
    pub const fn cluster(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Self {
        Self { group, version, kind, plural, namespaced: false }
    }

    /// The kind of an object by its `apiVersion` and `kind`; none for kinds that irsactl doesn't handle.
    pub fn of(object: &Value) -> Option<Self> {
        let api_version = object["apiVersion"].as_str()?;
        let kind = object["kind"].as_str()?;
        Self::ALL.iter().find(|known| known.kind == kind && known.api_version() == api_version).copied()
    }

    /// `apiVersion` as in manifests: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `Kind namespace/name` or `Kind name`, as people read it.
    pub fn object(&self, namespace: Option<&str>, name: &str) -> String {
        match namespace {
            Some(namespace) if self.namespaced => format!("{} {namespace}/{name}", self.kind),
            _ => format!("{} {name}", self.kind),
        }
    }

    /// Path of the API: of all objects without `namespace`, of one with `name`.
    pub(super) fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = match self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            let _ = write!(path, "/namespaces/{}", escape(namespace));
        }
        let _ = write!(path, "/{}", self.plural);
        if let Some(name) = name {
            let _ = write!(path, "/{}", escape(name));
        }
        path
    }
}

/// `Kind namespace/name` or `Kind name` of an object, as people read it.
pub fn describe(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or("object");
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_of_the_api() {
        assert_eq!(Kind::POD.path(None, None), "/api/v1/pods");
        assert_eq!(Kind::NAMESPACE.path(Some("x"), Some("x")), "/api/v1/namespaces/x");
        assert_eq!(Kind::DEPLOYMENT.path(Some("dns"), Some("a")), "/apis/apps/v1/namespaces/dns/deployments/a");
        assert_eq!(
            Kind::CLUSTER_ROLE.path(None, Some("system:a/b")),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Aa%2Fb"
        );
    }

    #[test]
    fn kind_of_an_object() {
        let object =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "b"}});
        assert_eq!(Kind::of(&object), Some(Kind::DEPLOYMENT));
        assert_eq!(describe(&object), "Deployment b/a");
        assert_eq!(Kind::of(&json!({"apiVersion": "v1", "kind": "Deployment"})), None);
    }
}
