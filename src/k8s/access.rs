//! What the caller and others may do, what the cluster serves, and tokens of service accounts.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use super::calls::Call;
use super::error::Operation;
use super::kind::escape;
use super::{Kind, Kubernetes};
use crate::error::{Error, ErrorCode, Result};

const CONCURRENCY: usize = 16;
/// The shortest lifetime that Kubernetes grants a token (TokenRequest), in seconds.
const TOKEN_SECONDS: u32 = 600;

/// A question to the cluster's authorization: may somebody do this?
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Review {
    /// `get`, `create`, `patch`, …
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Plural name of the resource.
    pub resource: String,
    /// None asks for all namespaces, or a cluster-scoped resource.
    pub namespace: Option<String>,
    /// None asks for every name.
    pub name: Option<String>,
    /// `token`, `status`, …
    pub subresource: Option<String>,
}

impl Review {
    /// Asks for `verb` on objects of a kind, in `namespace` where the kind has them.
    pub fn new(verb: &str, kind: &Kind, namespace: Option<&str>) -> Self {
        Self {
            verb: verb.to_owned(),
            group: kind.group.to_owned(),
            resource: kind.plural.to_owned(),
            namespace: namespace.filter(|_| kind.namespaced).map(str::to_owned),
            ..Self::default()
        }
    }

    /// The same for one name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// The same for a subresource.
    #[must_use]
    pub fn subresource(mut self, subresource: &str) -> Self {
        self.subresource = Some(subresource.to_owned());
        self
    }

    fn attributes(&self) -> Value {
        let mut attributes = json!({"verb": self.verb, "group": self.group, "resource": self.resource});
        let optional = [("namespace", &self.namespace), ("name", &self.name), ("subresource", &self.subresource)];
        for (field, value) in optional {
            if let Some(value) = value {
                attributes[field] = json!(value);
            }
        }
        attributes
    }
}

/// As people read it: `create deployments.apps in namespace dns`.
impl std::fmt::Display for Review {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if let Some(subresource) = &self.subresource {
            write!(f, "/{subresource}")?;
        }
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        self.namespace.iter().try_for_each(|namespace| write!(f, " in namespace {namespace}"))
    }
}

impl Kubernetes {
    /// Asks the cluster what the caller may do (SelfSubjectAccessReview), all at once; answers are in the order
    /// of the questions.
    pub async fn can_i(&self, reviews: &[Review]) -> Result<Vec<(Review, bool)>> {
        self.review("selfsubjectaccessreviews", "SelfSubjectAccessReview", &json!({}), reviews).await
    }

    /// Asks the cluster what a service account may do (SubjectAccessReview), all at once.
    ///
    /// # Errors
    /// `ClusterForbidden` where the caller may not ask about others.
    pub async fn service_account_can(
        &self,
        namespace: &str,
        name: &str,
        reviews: &[Review],
    ) -> Result<Vec<(Review, bool)>> {
        let namespace_group = format!("system:serviceaccounts:{namespace}");
        let subject = json!({
            "user": format!("system:serviceaccount:{namespace}:{name}"),
            "groups": ["system:serviceaccounts", namespace_group, "system:authenticated"],
        });
        self.review("subjectaccessreviews", "SubjectAccessReview", &subject, reviews).await
    }

    async fn review(
        &self,
        resource: &str,
        kind: &str,
        subject: &Value,
        reviews: &[Review],
    ) -> Result<Vec<(Review, bool)>> {
        let ask = |review: Review| async move {
            let mut spec = subject.clone();
            spec["resourceAttributes"] = review.attributes();
            let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec});
            let path = format!("/apis/authorization.k8s.io/v1/{resource}");
            let operation = Operation::new("ask for the right to", review.to_string());
            let answer = self.json(&Call::post(operation, path, &body).repeatable()).await?;
            Ok((review, answer["status"]["allowed"] == true))
        };
        stream::iter(reviews.to_vec()).map(ask).buffered(CONCURRENCY).try_collect().await
    }

    /// True where the cluster serves a resource in exactly that version of its group.
    pub async fn serves(&self, group: &str, version: &str, plural: &str) -> Result<bool> {
        let path = match group {
            "" => format!("/api/{}", escape(version)),
            group => format!("/apis/{}/{}", escape(group), escape(version)),
        };
        let operation = Operation::new("read", format!("the resources of {group}/{version}"));
        match self.json(&Call::get(operation, path)).await {
            Ok(answer) => {
                let resources = answer["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
                Ok(resources.iter().any(|resource| resource["name"] == plural))
            }
            Err(err) if matches!(err.code, ErrorCode::NotFound | ErrorCode::MissingApi) => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// A token of a service account for `audience`, valid for `seconds` (at least 600; TokenRequest).
    pub async fn token(&self, namespace: &str, service_account: &str, audience: &str) -> Result<String> {
        let path = Kind::SERVICE_ACCOUNT.path(Some(namespace), Some(service_account)) + "/token";
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [audience], "expirationSeconds": TOKEN_SECONDS},
        });
        let object = Kind::SERVICE_ACCOUNT.object(Some(namespace), service_account);
        let operation = Operation::new("request a token of", object.clone());
        let answer = self.json(&Call::post(operation, path, &body).repeatable()).await?;
        let token = answer["status"]["token"].as_str();
        token
            .map(str::to_owned)
            .ok_or_else(|| Error::new(ErrorCode::Kubernetes, format!("Kubernetes: no token came for {object}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reviews_say_what_they_ask() {
        let review = Review::new("create", &Kind::DEPLOYMENT, Some("dns"));
        assert_eq!(review.to_string(), "create deployments.apps in namespace dns");
        let attributes = json!({"verb": "create", "group": "apps", "resource": "deployments", "namespace": "dns"});
        assert_eq!(review.attributes(), attributes);

        let review = Review::new("create", &Kind::SERVICE_ACCOUNT, Some("dns")).named("a").subresource("token");
        assert_eq!(review.to_string(), "create serviceaccounts/token a in namespace dns");
        let review = Review::new("patch", &Kind::CLUSTER_ROLE, Some("dns"));
        assert_eq!(review.namespace, None);
    }
}
