//! What a namespace holds.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use super::Kubernetes;
use super::calls::Call;
use super::error::Operation;
use crate::error::{Error, ErrorCode, Result};

const CONCURRENCY: usize = 16;

/// What every namespace has by itself, and what passes by itself.
const ALWAYS_THERE: [(&str, &str); 2] = [("configmaps", "kube-root-ca.crt"), ("serviceaccounts", "default")];
const PASSING: [&str; 2] = ["events", "leases"];

impl Kubernetes {
    /// The objects in a namespace, of every kind that the cluster serves, as `plural/name`; not what every namespace
    /// has by itself, and not what its owner takes along.
    ///
    /// # Errors
    /// `ClusterForbidden` where a kind can't be listed, or why the server of an API doesn't answer: then nobody knows.
    pub async fn contents(&self, namespace: &str) -> Result<Vec<String>> {
        let paths = self.namespaced_collections(namespace).await?;
        let found: Vec<Vec<String>> = stream::iter(paths)
            .map(|(plural, path)| async move {
                let call = Call::get(Operation::new("list", format!("{plural} in namespace {namespace}")), path);
                match self.json(&call).await {
                    Ok(list) => Ok(names(&plural, &list)),
                    Err(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::MissingApi) => Ok(Vec::new()),
                    Err(error) => Err(error),
                }
            })
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Plural and path of every collection of a namespace that can be listed.
    async fn namespaced_collections(&self, namespace: &str) -> Result<Vec<(String, String)>> {
        let groups = self.json(&Call::get(Operation::new("list", "the API groups"), "/apis".to_owned())).await?;
        let preferred = groups["groups"].as_array().into_iter().flatten();
        let versions = preferred.filter_map(|group| group["preferredVersion"]["groupVersion"].as_str());
        let roots: Vec<_> = versions.map(|version| format!("/apis/{version}")).chain(["/api/v1".to_owned()]).collect();
        let found: Vec<Vec<_>> = stream::iter(roots)
            .map(|root| async move {
                let call = Call::get(Operation::new("list", format!("the resources of {root}")), root.clone());
                let answer = self.json(&call).await?;
                let listable = answer["resources"].as_array().into_iter().flatten().filter(|kind| is_listable(kind));
                let plurals = listable.filter_map(|kind| kind["name"].as_str());
                let path = |plural: &str| (plural.to_owned(), format!("{root}/namespaces/{namespace}/{plural}"));
                Ok::<_, Box<Error>>(plurals.map(path).collect::<Vec<_>>())
            })
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().filter(|(plural, _)| !PASSING.contains(&plural.as_str())).collect())
    }
}

/// What is listed and can't be deleted is a view of something else (PodMetrics), and goes with it.
fn is_listable(kind: &Value) -> bool {
    let has = |verb: &str| kind["verbs"].as_array().is_some_and(|verbs| verbs.iter().any(|found| found == verb));
    kind["namespaced"] == true && has("list") && has("delete")
}

fn names(plural: &str, list: &Value) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    let own = items.filter(|item| item["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty));
    let names = own.filter_map(|item| item["metadata"]["name"].as_str());
    names.filter(|name| !ALWAYS_THERE.contains(&(plural, name))).map(|name| format!("{plural}/{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn views_of_other_objects_hold_no_namespace() {
        let kind = |verbs: &[&str]| json!({"name": "pods", "namespaced": true, "verbs": verbs});
        assert!(is_listable(&kind(&["create", "delete", "get", "list"])));
        assert!(!is_listable(&kind(&["get", "list"])), "pods of metrics.k8s.io");
        assert!(!is_listable(&kind(&["create"])));
    }
}
