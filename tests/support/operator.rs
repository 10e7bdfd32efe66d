//! A user of the account who has the rights that a document gives, and no others.

use serde_json::{Value, json};

use super::aws::{policy_arn, wait};
use super::{Run, Sandbox, irsactl};

/// What narrows a policy to the sandbox.
pub const HERE: &str = "--cluster eksdemo1 --region us-west-2 --account-id 123456789012";

const GROUP: &str = "operators";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// What `render operator-policy` prints for these words.
pub fn rendered(words: &str) -> Value {
    let line = format!("render operator-policy {words} -o json");
    Run::of(&mut irsactl(line.split_whitespace())).ok().json()
}

/// The user.
pub struct Operator<'s> {
    sandbox: &'s Sandbox,
    arn: String,
    key: String,
    secret: String,
}

impl<'s> Operator<'s> {
    /// A user with this policy, who is nobody in the cluster.
    pub fn new(sandbox: &'s Sandbox, policy: &Value) -> Self {
        let (iam, name) = (sandbox.iam(), "operator");
        wait(async {
            let user = iam.create_user().user_name(name).send().await.unwrap().user.unwrap();
            iam.create_policy().policy_name(name).policy_document(policy.to_string()).send().await.unwrap();
            iam.attach_user_policy().user_name(name).policy_arn(policy_arn(name)).send().await.unwrap();
            let key = iam.create_access_key().user_name(name).send().await.unwrap().access_key.unwrap();
            Self { sandbox, arn: user.arn, key: key.access_key_id, secret: key.secret_access_key }
        })
    }

    /// Lets the user in, with all rights in the cluster.
    pub fn with_cluster_admin(self) -> Self {
        self.enter();
        self.bind("ClusterRole", "cluster-admin", None);
        self
    }

    /// Lets the user in, with these objects as the only rights.
    pub fn with_rbac(self, objects: &[Value]) -> Self {
        self.enter();
        for object in objects {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
            let (kind, name) = (text("/kind").unwrap(), text("/metadata/name").unwrap());
            match (kind, text("/metadata/namespace")) {
                ("Namespace", _) => drop(self.sandbox.try_kube("POST", "/api/v1/namespaces", Some(object))),
                ("Role", Some(namespace)) => {
                    self.sandbox.create(&format!("{RBAC}/namespaces/{namespace}/roles"), object);
                    self.bind("Role", name, Some(namespace));
                }
                ("ClusterRole", None) => {
                    self.sandbox.create(&format!("{RBAC}/clusterroles"), object);
                    self.bind("ClusterRole", name, None);
                }
                other => panic!("{other:?}"),
            }
        }
        self
    }

    fn enter(&self) {
        let eks = aws_sdk_eks::Client::new(&self.sandbox.aws());
        let request = eks.create_access_entry().cluster_name("eksdemo1").principal_arn(&self.arn);
        wait(request.kubernetes_groups(GROUP).send()).unwrap();
    }

    fn bind(&self, kind: &str, name: &str, namespace: Option<&str>) {
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
        let group = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": GROUP}]);
        let binding = json!({"metadata": {"name": format!("operators-{name}")}, "roleRef": role, "subjects": group});
        let path = match namespace {
            Some(namespace) => format!("{RBAC}/namespaces/{namespace}/rolebindings"),
            None => format!("{RBAC}/clusterrolebindings"),
        };
        self.sandbox.create(&path, &binding);
    }

    /// Runs a command line as this user.
    pub fn run(&self, line: &str) -> Run {
        let mut command = self.sandbox.command(line.split_whitespace());
        Run::of(command.env("AWS_ACCESS_KEY_ID", &self.key).env("AWS_SECRET_ACCESS_KEY", &self.secret))
    }

    /// The calls of this user to AWS since the record was cleared.
    pub fn calls(&self) -> Vec<Value> {
        let mut calls = self.sandbox.all_aws_calls();
        calls.retain(|call| call["accessKey"] == self.key.as_str());
        calls
    }

    /// What this user changed, in both APIs.
    pub fn writes(&self) -> Vec<String> {
        let reads = ["Get", "List", "Describe", "Simulate", "AssumeRole"];
        let done = self.calls().into_iter().filter(|call| call["status"].as_u64().is_some_and(|status| status < 400));
        let names = done.map(|call| call["action"].as_str().unwrap_or_default().to_owned());
        let changes = names.filter(|action| !reads.iter().any(|verb| action.starts_with(verb)));
        changes.chain(self.sandbox.kube_changes()).collect()
    }

    /// The rights that this user's calls were held to, and what CloudFormation did for them.
    pub fn rights(&self) -> Vec<String> {
        let calls = self.calls();
        let rights = calls.iter().flat_map(|call| call["rights"].as_array().unwrap().iter());
        rights.map(|right| right.as_str().unwrap().to_owned()).collect()
    }
}
