//! `install external-dns` after somebody deleted or changed one piece: exactly that is planned and repaired.

use std::fmt::Debug;
use std::future::Future;

use serde_json::{Value, json};

use crate::support::{RUNTIME, Sandbox, until};

pub const INSTALL: &str = "install external-dns --cluster eksdemo1 --domain-filter example.com --interval 3s";
pub const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/external-dns/deployments/external-dns";
pub const SERVICE_ACCOUNT: &str = "/api/v1/namespaces/external-dns/serviceaccounts/external-dns";
pub const PODS: &str = "/api/v1/namespaces/external-dns/pods";
pub const STACK: &str = "eksctl-eksdemo1-addon-iamserviceaccount-external-dns-external-dns";
const CLUSTER_ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/external-dns";
const BINDING: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/external-dns-viewer";
const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";

/// The answer of a call that must succeed.
#[track_caller]
pub fn answer<T, E: Debug>(call: impl Future<Output = Result<T, E>>) -> T {
    RUNTIME.block_on(call).unwrap()
}

/// A live installation, and the account that it is in.
pub struct Live<'a> {
    pub sandbox: &'a Sandbox,
    pub install: String,
    pub iam: aws_sdk_iam::Client,
    pub stacks: aws_sdk_cloudformation::Client,
}

impl<'a> Live<'a> {
    /// Installs with this command line.
    pub fn install(sandbox: &'a Sandbox, install: &str) -> Self {
        sandbox.run(&format!("{install} --approve")).ok();
        Self::of(sandbox, install)
    }

    /// What this command line has left.
    pub fn of(sandbox: &'a Sandbox, install: &str) -> Self {
        let config = sandbox.aws();
        let (iam, stacks) = (aws_sdk_iam::Client::new(&config), aws_sdk_cloudformation::Client::new(&config));
        Self { sandbox, install: install.to_owned(), iam, stacks }
    }

    /// The name of the role that the stack made.
    pub fn role(&self) -> String {
        let answer = RUNTIME.block_on(self.stacks.describe_stacks().stack_name(STACK).send());
        let stack = answer.ok().and_then(|answer| answer.stacks?.pop());
        let output = stack.and_then(|stack| stack.outputs?.pop()?.output_value);
        output.unwrap_or_default().rsplit('/').next().unwrap().to_owned()
    }

    pub fn policy_arn(&self, name: &str) -> String {
        format!("arn:aws:iam::{}:policy/{name}", self.sandbox.fact("account"))
    }

    pub fn issuer(&self) -> &str {
        self.sandbox.fact("issuer").trim_start_matches("https://")
    }

    fn provider_arn(&self) -> String {
        format!("arn:aws:iam::{}:oidc-provider/{}", self.sandbox.fact("account"), self.issuer())
    }

    /// The pods that aren't on their way out.
    pub fn pods(&self) -> Vec<String> {
        let pods = self.sandbox.object(PODS);
        let pods =
            pods["items"].as_array().unwrap().iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        pods.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The plan has exactly these changes and makes no write; approved, it leaves nothing to do. Gives the plan.
    #[track_caller]
    pub fn repairs(&self, what: &str, changes: &[&str]) -> Value {
        let changes: Vec<_> = changes
            .iter()
            .map(|change| change.replace("ROLE", &self.role()).replace("STACK", STACK).replace("ISSUER", self.issuer()))
            .collect();
        self.sandbox.forget_calls();
        let plan = self.sandbox.run(&format!("{} -o json", self.install)).ok();
        assert_eq!(plan.changes(), changes, "{what}: {}", plan.stdout);
        assert_eq!(self.sandbox.writes(), [""; 0], "{what}: a plan changes nothing");
        let done = self.sandbox.run(&format!("{} --approve -o json", self.install));
        assert_eq!(done.code, 0, "{what}: {}", done.stderr);
        assert_eq!(done.changes(), changes, "{what}");
        self.has_nothing_to_do(what);
        plan.json()
    }

    /// Nothing is planned, and nothing is written.
    #[track_caller]
    pub fn has_nothing_to_do(&self, what: &str) {
        self.sandbox.forget_calls();
        let again = self.sandbox.run(&format!("{} --approve -o json", self.install)).ok();
        assert_eq!(again.changes(), [""; 0], "{what}, after the repair: {}", again.stdout);
        assert_eq!(self.sandbox.writes(), [""; 0], "{what}, after the repair");
        let calls = self.sandbox.aws_calls();
        assert!(calls.len() <= 15, "{what}: {} calls to find out: {calls:?}", calls.len());
    }
}

/// One thing that somebody does, what is planned then, and words of the plan that say why.
struct Case {
    what: &'static str,
    done: fn(&Live<'_>),
    plan: &'static [&'static str],
    why: &'static [&'static str],
}

fn try_all(live: &Live<'_>, cases: &[Case]) {
    for case in cases {
        (case.done)(live);
        let plan = live.repairs(case.what, case.plan).to_string();
        for part in case.why {
            assert!(plan.contains(part), "{}: no `{part}` in {plan}", case.what);
        }
    }
}

#[test]
fn what_was_changed_in_iam_is_mended() {
    let sandbox = Sandbox::lease();
    let live = Live::install(&sandbox, INSTALL);
    let pods = live.pods();
    try_all(
        &live,
        &[
            Case {
                what: "the policy was detached",
                done: |live| {
                    let policy = live.policy_arn("AllowExternalDNSUpdates");
                    answer(live.iam.detach_role_policy().role_name(live.role()).policy_arn(policy).send());
                },
                plan: &["create PolicyAttachment AllowExternalDNSUpdates"],
                why: &["it was detached from role"],
            },
            Case {
                what: "the trust policy was changed",
                done: |live| {
                    let nobody = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
                        "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
                    let request = live.iam.update_assume_role_policy().role_name(live.role());
                    answer(request.policy_document(nobody.to_string()).send());
                },
                plan: &["update Role ROLE"],
                why: &["outside of the stack", "ec2.amazonaws.com"],
            },
            Case {
                what: "a boundary was put on the role",
                done: |live| {
                    let boundary = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
                    let request = live.iam.put_role_permissions_boundary().role_name(live.role());
                    answer(request.permissions_boundary(boundary).send());
                },
                plan: &["update Role ROLE"],
                why: &["permissions boundary", "AmazonS3ReadOnlyAccess"],
            },
            Case {
                what: "the provider's audience was removed",
                done: |live| {
                    let request = live.iam.remove_client_id_from_open_id_connect_provider();
                    let request = request.open_id_connect_provider_arn(live.provider_arn());
                    answer(request.client_id("sts.amazonaws.com").send());
                },
                plan: &["update OidcProvider ISSUER"],
                why: &["it doesn't accept tokens for sts.amazonaws.com"],
            },
            Case {
                what: "the provider was deleted",
                done: |live| {
                    let request = live.iam.delete_open_id_connect_provider();
                    answer(request.open_id_connect_provider_arn(live.provider_arn()).send());
                },
                plan: &["create OidcProvider ISSUER"],
                why: &["IAM doesn't know the cluster's issuer yet"],
            },
            Case {
                what: "four more versions of the policy, the last one too narrow",
                done: |live| {
                    for bucket in ["a", "b", "c", "d"] {
                        let narrow = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
                            "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::{bucket}/*")}]});
                        let request = live.iam.create_policy_version().set_as_default(true);
                        let request = request.policy_arn(live.policy_arn("AllowExternalDNSUpdates"));
                        answer(request.policy_document(narrow.to_string()).send());
                    }
                },
                plan: &["update Policy AllowExternalDNSUpdates"],
                why: &["it doesn't allow", "route53:ChangeResourceRecordSets", "arn:aws:s3:::d/*"],
            },
        ],
    );
    assert_eq!(live.pods(), pods, "the pod wasn't restarted for any of it");
    let request = live.iam.list_policy_versions().policy_arn(live.policy_arn("AllowExternalDNSUpdates"));
    let versions = answer(request.send());
    let mut kept: Vec<_> = versions.versions().iter().map(|version| version.version_id().unwrap()).collect();
    kept.sort_unstable();
    assert_eq!(kept, ["v2", "v3", "v4", "v5", "v6"], "the oldest one made room");
}

#[test]
fn what_was_changed_in_the_cluster_is_taken_back() {
    let sandbox = Sandbox::lease();
    let live = Live::install(&sandbox, INSTALL);
    try_all(
        &live,
        &[
            Case {
                what: "the annotation was removed",
                done: |live| {
                    let patch = json!({"metadata": {"annotations": {ROLE_ANNOTATION: null}}});
                    edit(live.sandbox, SERVICE_ACCOUNT, &patch);
                },
                plan: &["update ServiceAccount external-dns/external-dns"],
                why: &[ROLE_ANNOTATION],
            },
            Case {
                what: "the annotation names another role",
                done: |live| {
                    let other = "arn:aws:iam::123456789012:role/other";
                    let patch = json!({"metadata": {"annotations": {ROLE_ANNOTATION: other}}});
                    edit(live.sandbox, SERVICE_ACCOUNT, &patch);
                },
                plan: &["update ServiceAccount external-dns/external-dns"],
                why: &["changed by kubectl-edit", "role/other"],
            },
            Case {
                what: "the ServiceAccount was deleted",
                done: |live| live.sandbox.delete(SERVICE_ACCOUNT),
                plan: &["create ServiceAccount external-dns/external-dns"],
                why: &["it doesn't exist"],
            },
            Case {
                what: "a rule of the ClusterRole was removed",
                done: |live| {
                    let mut rules = live.sandbox.object(CLUSTER_ROLE)["rules"].clone();
                    rules.as_array_mut().unwrap().pop();
                    edit(live.sandbox, CLUSTER_ROLE, &json!({"rules": rules}));
                },
                plan: &["update ClusterRole external-dns"],
                why: &["it was changed by kubectl-edit"],
            },
            Case {
                what: "irsactl's label was taken off",
                done: |live| {
                    let patch = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
                    edit(live.sandbox, CLUSTER_ROLE, &patch);
                },
                plan: &["update ClusterRole external-dns"],
                why: &["managed-by"],
            },
            Case {
                what: "the ClusterRoleBinding was deleted",
                done: |live| live.sandbox.delete(BINDING),
                plan: &["create ClusterRoleBinding external-dns-viewer"],
                why: &["it doesn't exist"],
            },
            Case {
                what: "an argument of the Deployment was changed",
                done: |live| {
                    let mut args = container(live.sandbox)["args"].clone();
                    for arg in args.as_array_mut().unwrap() {
                        *arg = json!(arg.as_str().unwrap().replace("--policy=upsert-only", "--policy=create-only"));
                    }
                    edit_container(live.sandbox, &json!({"name": "external-dns", "args": args}));
                },
                plan: &["update Deployment external-dns/external-dns"],
                why: &["it was changed by kubectl-edit", "--policy=create-only"],
            },
            Case {
                what: "the image was changed",
                done: |live| {
                    let image = "registry.k8s.io/external-dns/external-dns:v0.21.0";
                    edit_container(live.sandbox, &json!({"name": "external-dns", "image": image}));
                },
                plan: &["update Deployment external-dns/external-dns"],
                why: &["it was changed by kubectl-edit", "v0.21.0"],
            },
            Case {
                what: "it was scaled to 0",
                done: |live| {
                    let path = format!("{DEPLOYMENT}/scale?fieldManager=kubectl");
                    live.sandbox.patch(&path, &json!({"spec": {"replicas": 0}}));
                },
                plan: &["update Deployment external-dns/external-dns"],
                // The API server keeps no manager for a scale to 0.
                why: &["it differs from what is asked for", "/spec/replicas"],
            },
            Case {
                what: "the strategy was changed",
                done: |live| {
                    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2}});
                    edit(live.sandbox, DEPLOYMENT, &json!({"spec": {"strategy": rolling}}));
                },
                plan: &["update Deployment external-dns/external-dns"],
                why: &["it was changed by kubectl-edit", "RollingUpdate"],
            },
            Case {
                what: "the Deployment was deleted",
                done: |live| live.sandbox.delete(DEPLOYMENT),
                plan: &["create Deployment external-dns/external-dns"],
                why: &["isn't installed"],
            },
        ],
    );
}

#[test]
fn fields_that_irsactl_does_not_render_are_no_drift() {
    let sandbox = Sandbox::lease();
    let live = Live::install(&sandbox, INSTALL);
    edit_container(&sandbox, &json!({"name": "external-dns", "env": [{"name": "TEAM", "value": "dns"}]}));
    edit(&sandbox, DEPLOYMENT, &json!({"metadata": {"labels": {"team": "dns"}}, "spec": {"minReadySeconds": 1}}));
    edit(&sandbox, SERVICE_ACCOUNT, &json!({"metadata": {"annotations": {"team": "dns"}}}));
    let restarted = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}}});
    edit(&sandbox, DEPLOYMENT, &json!({"spec": {"template": restarted}}));
    live.has_nothing_to_do("an environment variable, labels and annotations of others");
    let env = container(&sandbox)["env"].to_string();
    assert!(env.contains("TEAM"), "{env}");
}

#[test]
fn pods_that_run_without_the_role_are_restarted() {
    let sandbox = Sandbox::lease();
    sandbox.control("/webhook", &json!({"enabled": false}));
    let failed = sandbox.run(&format!("{INSTALL} --approve")).exits(1);
    failed.says(&[
        "runs without the role",
        "the pod identity webhook",
        "hint: run the same command again: it restarts",
    ]);
    sandbox.control("/webhook", &json!({"enabled": true}));
    let live = Live::of(&sandbox, INSTALL);
    let plan = live.repairs("the pod was made without the role", &["update Deployment external-dns/external-dns"]);
    assert!(plan.to_string().contains("its pods run without the role: they are restarted"), "{plan}");
}

/// What they lacked is mended, by others or by a run that was killed before it restarted them.
#[test]
fn pods_that_wait_to_be_started_again_are_restarted() {
    let sandbox = Sandbox::lease();
    sandbox.create_namespace("external-dns");
    let settings = "/api/v1/namespaces/external-dns/configmaps";
    sandbox.create(settings, &json!({"metadata": {"name": "settings"}, "data": {"mode": "standard"}}));
    let from = json!({"configMapKeyRef": {"name": "settings", "key": "mode"}});
    let container = json!({"name": "external-dns", "env": [{"name": "AWS_RETRY_MODE", "valueFrom": from}]});
    let patch = json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": [container]}}}});
    let patch = sandbox.file("patch.json", &patch.to_string());
    let live = Live::install(&sandbox, &format!("{INSTALL} --patch {}", patch.display()));

    let set = |mode: &str| sandbox.patch(&format!("{settings}/settings"), &json!({"data": {"mode": mode}}));
    set("none");
    sandbox.delete(&format!("{PODS}/{}", live.pods()[0]));
    until("the kubelet holds the pod back for half a minute", || {
        let pods = sandbox.object(PODS);
        let statuses = pods["items"].as_array().unwrap().iter().map(|pod| &pod["status"]["containerStatuses"][0]);
        let held = |status: &Value| status["state"]["waiting"]["reason"] == "CrashLoopBackOff";
        statuses.into_iter().any(|status| held(status) && status["restartCount"].as_u64() >= Some(5)).then_some(())
    });
    set("standard");
    let run = sandbox.run(&format!("{} --approve", live.install)).ok();
    run.shows(&["~ Deployment", "its pods keep ending", "DNS works"]);
    live.has_nothing_to_do("pods that kept ending");
}

/// As `kubectl edit` does it.
pub fn edit(sandbox: &Sandbox, path: &str, patch: &Value) {
    sandbox.patch(&format!("{path}?fieldManager=kubectl-edit"), patch);
}

/// The container of the Deployment.
pub fn container(sandbox: &Sandbox) -> Value {
    sandbox.object(DEPLOYMENT)["spec"]["template"]["spec"]["containers"][0].clone()
}

/// Edits the container: its fields, and those of its lists that are named.
fn edit_container(sandbox: &Sandbox, fields: &Value) {
    let mut container = container(sandbox);
    for (name, value) in fields.as_object().unwrap() {
        match (&mut container[name], value) {
            (Value::Array(list), Value::Array(more)) if name == "env" => list.extend(more.iter().cloned()),
            (field, value) => *field = value.clone(),
        }
    }
    edit(sandbox, DEPLOYMENT, &json!({"spec": {"template": {"spec": {"containers": [container]}}}}));
}
