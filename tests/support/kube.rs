//! The Kubernetes API with all rights, for what a test sets up and looks at.

use std::time::{Duration, Instant};

use kube::{Client, Config};
use serde_json::{Value, json};

use super::{RUNTIME, Sandbox};

impl Sandbox {
    /// A call to the Kubernetes API; none for 404. `PATCH` is a merge patch, `APPLY` a server-side apply.
    #[track_caller]
    pub fn kube(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Value> {
        match self.try_kube(method, path, body) {
            Ok(answer) => Some(answer),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// A call that may be refused.
    pub fn try_kube(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, kube::Error> {
        let (method, content) = match method {
            "APPLY" => ("PATCH", "application/apply-patch+yaml"),
            "PATCH" => (method, "application/merge-patch+json"),
            _ => (method, "application/json"),
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content)
            .body(body.map(Value::to_string).unwrap_or_default().into_bytes())
            .unwrap();
        RUNTIME.block_on(async { self.client().await.request::<Value>(request).await })
    }

    /// Past the proxy: faults are for irsactl.
    async fn client(&self) -> Client {
        let cluster = json!({"server": self.fact("apiServer"), "certificate-authority": self.fact("caFile")});
        let kubeconfig = json!({
            "clusters": [{"name": "sandbox", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self.fact("adminToken")}}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "admin"}}],
            "current-context": "sandbox",
        });
        let options = kube::config::KubeConfigOptions::default();
        let kubeconfig = serde_json::from_value(kubeconfig).unwrap();
        Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap()).unwrap()
    }

    /// The object at this path, which must exist.
    #[track_caller]
    pub fn object(&self, path: &str) -> Value {
        self.kube("GET", path, None).unwrap_or_else(|| panic!("there is no {path}"))
    }

    /// What a pod of `external-dns` has said so far; empty where it hasn't started.
    pub fn pod_log(&self, name: &str) -> String {
        let path = format!("/api/v1/namespaces/external-dns/pods/{name}/log");
        let request = http::Request::builder().uri(path).body(Vec::new()).unwrap();
        RUNTIME.block_on(async { self.client().await.request_text(request).await.unwrap_or_default() })
    }

    /// Creates an object at this collection.
    pub fn create(&self, collection: &str, object: &Value) {
        self.kube("POST", collection, Some(object)).unwrap();
    }

    /// Creates a namespace.
    pub fn create_namespace(&self, name: &str) {
        self.create("/api/v1/namespaces", &json!({"metadata": {"name": name}}));
    }

    /// Changes an object by a merge patch.
    pub fn patch(&self, path: &str, patch: &Value) {
        self.kube("PATCH", path, Some(patch)).unwrap();
    }

    /// Deletes an object.
    pub fn delete(&self, path: &str) {
        self.kube("DELETE", path, None);
    }

    /// An Ingress in `default` with a load balancer, as the AWS load balancer controller would leave it.
    pub fn create_ingress(&self, name: &str, host: &str) {
        let collection = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
        let backend = json!({"service": {"name": name, "port": {"number": 80}}});
        let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
        self.create(
            collection,
            &json!({"metadata": {"name": name}, "spec": {"rules": [{"host": host, "http": {"paths": paths}}]}}),
        );
        let balancer = "k8s-default-web-0a1b2c3d4e-1234567890.us-west-2.elb.amazonaws.com";
        let status = json!({"status": {"loadBalancer": {"ingress": [{"hostname": balancer}]}}});
        self.patch(&format!("{collection}/{name}/status"), &status);
    }

    /// Has the cluster serve a kind of custom resources, in namespaces and with any fields.
    #[track_caller]
    pub fn serve(&self, group: &str, version: &str, kind: &str, plural: &str) {
        let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
        let definition = json!({"metadata": {
            "name": format!("{plural}.{group}"),
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api/pull/2997"},
        }, "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{"name": version, "served": true, "storage": true, "schema": schema}],
        }});
        self.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition);
        until("the API is served", || self.kube("GET", &format!("/apis/{group}/{version}/{plural}"), None));
    }
}

/// Waits until it holds, and says what didn't otherwise.
#[track_caller]
pub fn until<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_mins(3);
    loop {
        if let Some(value) = holds() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within three minutes: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
