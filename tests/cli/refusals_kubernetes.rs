//! Bad circumstances in the cluster, and what others made: a clear error, nothing changed.

use aws_sdk_eks::Client as Eks;
use serde_json::{Value, json};

use super::refusals_aws::{INSTALL, refused};
use crate::support::{RUNTIME, Run, Sandbox, until};

const NAMESPACES: &str = "/api/v1/namespaces";
const CLUSTER_ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
const CREATE: &str = "create iamserviceaccount --name app --cluster eksdemo1 --attach-policy-arn arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";

fn deployments(namespace: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/deployments")
}

fn accounts(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/serviceaccounts")
}

/// A user of the account that may do everything in AWS and is nobody in the cluster.
pub struct User {
    arn: String,
    key: String,
    secret: String,
}

impl User {
    pub fn new(sandbox: &Sandbox, name: &str) -> Self {
        let iam = aws_sdk_iam::Client::new(&sandbox.aws());
        RUNTIME.block_on(async {
            let user = iam.create_user().user_name(name).send().await.unwrap().user.unwrap();
            let administrator = "arn:aws:iam::aws:policy/AdministratorAccess";
            iam.attach_user_policy().user_name(name).policy_arn(administrator).send().await.unwrap();
            let key = iam.create_access_key().user_name(name).send().await.unwrap().access_key.unwrap();
            Self { arn: user.arn, key: key.access_key_id, secret: key.secret_access_key }
        })
    }

    /// Makes the user a member of a group of the cluster.
    fn enter(&self, sandbox: &Sandbox, group: &str) {
        let request = Eks::new(&sandbox.aws())
            .create_access_entry()
            .cluster_name("eksdemo1")
            .principal_arn(&self.arn)
            .kubernetes_groups(group);
        RUNTIME.block_on(request.send()).unwrap();
    }

    pub fn run(&self, sandbox: &Sandbox, line: &str) -> Run {
        let mut command = sandbox.command(line.split_whitespace());
        Run::of(command.env("AWS_ACCESS_KEY_ID", &self.key).env("AWS_SECRET_ACCESS_KEY", &self.secret))
    }
}

/// A rule of RBAC, in short: `group/resource: verb,verb`.
fn rule(text: &str) -> Value {
    let (what, verbs) = text.split_once(": ").unwrap();
    let (group, resource) = what.split_once('/').unwrap();
    json!({"apiGroups": [group], "resources": [resource], "verbs": verbs.split(',').collect::<Vec<_>>()})
}

/// What an installation needs in the cluster; the last three are what it hands on.
const RIGHTS: &[&str] = &[
    "/namespaces: get,create,patch",
    "/serviceaccounts: get,create,patch",
    "/serviceaccounts/token: create",
    "apps/deployments: get,list,create,patch",
    "apps/replicasets: get,list",
    "rbac.authorization.k8s.io/clusterroles: get,create,patch",
    "rbac.authorization.k8s.io/clusterrolebindings: get,create,patch",
    "/pods: get,list,watch",
    "/pods/log: get",
    "/events: get,list",
    "/services: get,list,watch",
    "/nodes: get,list,watch",
    "networking.k8s.io/ingresses: get,list,watch",
    "extensions/ingresses: get,list,watch",
    "discovery.k8s.io/endpointslices: get,list,watch",
];

fn set_rights(sandbox: &Sandbox, rights: &[&str]) {
    let rules: Vec<_> = rights.iter().map(|text| rule(text)).collect();
    let path = format!("{CLUSTER_ROLES}/deployers");
    sandbox.patch(&path, &json!({"rules": rules}));
}

#[test]
fn a_cluster_that_cannot_be_reached() {
    let sandbox = Sandbox::lease();
    let endpoint = "https://127.0.0.1:9";
    sandbox.fault(&json!({
        "action": "DescribeCluster",
        "replace": [["\"endpoint\": ?\"[^\"]*\"", format!("\"endpoint\": \"{endpoint}\"")]],
    }));
    for line in [INSTALL, CREATE] {
        refused(&sandbox, line, "cluster-unreachable", &[endpoint, "sts, iam, cloudformation and eks", "VPC"]);
    }
    refused(&sandbox, INSTALL, "cluster-unreachable", &["--aws-only"]);
    sandbox.run(&format!("{INSTALL} --aws-only --approve")).ok();
}

#[test]
fn a_caller_whom_the_cluster_does_not_know_is_told_how_to_become_known() {
    let sandbox = Sandbox::lease();
    let user = User::new(&sandbox, "ops");
    let command =
        format!("aws eks create-access-entry --cluster-name eksdemo1 --region us-west-2 --principal-arn {}", user.arn);
    for line in [INSTALL, CREATE] {
        let run = user.run(&sandbox, &format!("{line} --approve -o json"));
        run.fails("cluster-unauthorized", &[&command, "aws eks associate-access-policy --cluster-name eksdemo1"]);
        assert_eq!(sandbox.writes(), [""; 0]);
    }
    let get = user.run(&sandbox, "get iamserviceaccount --cluster eksdemo1").ok();
    get.says(&["warning: the ServiceAccounts can't be read", &command]).shows(&["No iamserviceaccounts found"]);
    user.enter(&sandbox, "nobody");
    let run = user
        .run(&sandbox, &format!("{INSTALL} --approve -o json"))
        .fails("cluster-forbidden", &["is forbidden", "aws eks associate-access-policy --cluster-name eksdemo1"]);
    assert!(run.error()["hint"].is_string());
    assert_eq!(sandbox.writes(), [""; 0]);
}

#[test]
fn one_right_that_is_missing_is_told_before_the_first_write() {
    let sandbox = Sandbox::lease();
    let user = User::new(&sandbox, "ops");
    user.enter(&sandbox, "deployers");
    sandbox.create(CLUSTER_ROLES, &json!({"metadata": {"name": "deployers"}, "rules": []}));
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "deployers"});
    let group = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "deployers"}]);
    sandbox.create(BINDINGS, &json!({"metadata": {"name": "deployers"}, "roleRef": role, "subjects": group}));
    let install = format!("{INSTALL} --approve -o json");
    // Where the namespace is new, access reviews stand in for dry runs.
    for namespace_exists in [false, true] {
        if namespace_exists {
            sandbox.create_namespace("external-dns");
        }
        for (missing, verb, named) in [
            ("/namespaces", "create", "namespaces"),
            ("/serviceaccounts", "create", "serviceaccounts"),
            ("/serviceaccounts", "patch", "serviceaccounts"),
            ("/serviceaccounts/token", "create", "serviceaccounts/token"),
            ("apps/deployments", "list", "deployments"),
            ("apps/deployments", "create", "deployments"),
            ("apps/deployments", "patch", "deployments"),
            ("rbac.authorization.k8s.io/clusterroles", "create", "clusterroles"),
            ("rbac.authorization.k8s.io/clusterrolebindings", "create", "clusterrolebindings"),
            ("/pods", "list", "pods"),
            ("/pods/log", "get", "pods/log"),
            ("/services", "watch", "services"),
        ] {
            if namespace_exists && missing == "/namespaces" {
                continue;
            }
            let without = |text: &&str| {
                let (what, verbs) = text.split_once(": ").unwrap();
                let left: Vec<_> = verbs.split(',').filter(|other| what != missing || *other != verb).collect();
                if left.is_empty() { None } else { Some(format!("{what}: {}", left.join(","))) }
            };
            let rights: Vec<_> = RIGHTS.iter().filter_map(without).collect();
            set_rights(&sandbox, &rights.iter().map(String::as_str).collect::<Vec<_>>());
            let run = user.run(&sandbox, &install);
            assert_eq!(run.code, 1, "without {verb} {missing}: {}", run.stdout);
            let error = run.error();
            assert_eq!(error["code"], "cluster-forbidden", "without {verb} {missing}: {error:#}");
            let text = error.to_string();
            assert!(text.contains(named) && text.contains(verb), "without {verb} {missing}: {error:#}");
            assert_eq!(sandbox.writes(), [""; 0], "without {verb} {missing}");
        }
    }
    // A service account alone needs less, and that it needs.
    let few = ["/namespaces: get,create,patch", "/serviceaccounts: get"];
    set_rights(&sandbox, &few);
    let create = format!("{CREATE} --approve -o json");
    user.run(&sandbox, &create).fails("cluster-forbidden", &["serviceaccounts", "patch"]);
    assert_eq!(sandbox.writes(), [""; 0]);
    set_rights(&sandbox, &[few[0], "/serviceaccounts: get,create,patch"]);
    user.run(&sandbox, &create).ok();

    set_rights(&sandbox, RIGHTS);
    user.run(&sandbox, &format!("{INSTALL} --approve")).ok().shows(&["DNS works"]);
}

/// Lets admission refuse objects of a kind.
fn refuse_by_admission(sandbox: &Sandbox, group: &str, resource: &str) {
    let collection = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic";
    let rules = json!([{"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]}]);
    let validation = json!([{"expression": "false", "message": "not on a Friday"}]);
    sandbox.create(
        &format!("{collection}ies"),
        &json!({"metadata": {"name": resource}, "spec": {"matchConstraints": {"resourceRules": rules}, "validations": validation}}),
    );
    sandbox.create(
        &format!("{collection}ybindings"),
        &json!({"metadata": {"name": resource}, "spec": {"policyName": resource, "validationActions": ["Deny"]}}),
    );
}

fn admit_again(sandbox: &Sandbox, resource: &str) {
    let collection = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic";
    sandbox.delete(&format!("{collection}ybindings/{resource}"));
    sandbox.delete(&format!("{collection}ies/{resource}"));
}

#[test]
fn what_admission_refuses_is_told_before_the_first_write() {
    let sandbox = Sandbox::lease();
    let rbac = "rbac.authorization.k8s.io";
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "x"}});
    let sample = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "x", "image": "x"}]}},
    }});
    for (group, resource, collection, object) in [
        ("", "namespaces", NAMESPACES.to_owned(), namespace),
        (rbac, "clusterroles", CLUSTER_ROLES.to_owned(), role),
        ("apps", "deployments", deployments("external-dns"), sample.clone()),
    ] {
        if resource == "deployments" {
            sandbox.create_namespace("external-dns");
        }
        refuse_by_admission(&sandbox, group, resource);
        let dry = format!("{collection}?dryRun=All");
        // The API server takes a moment to heed a new policy.
        until("the policy is heeded", || sandbox.try_kube("POST", &dry, Some(&object)).is_err().then_some(()));
        refused(&sandbox, INSTALL, "admission-denied", &["not on a Friday"]);
        admit_again(&sandbox, resource);
        until("the policy is gone", || sandbox.try_kube("POST", &dry, Some(&object)).ok());
    }
    let broken = json!({"metadata": {"name": "broken"}, "webhooks": [{
        "name": "broken.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"url": "https://127.0.0.1:9/"},
        "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}],
    }]});
    let webhooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    sandbox.create(webhooks, &broken);
    let dry = format!("{}?dryRun=All", deployments("external-dns"));
    until("the webhook is heeded", || sandbox.try_kube("POST", &dry, Some(&sample)).is_err().then_some(()));
    let said = ["broken.example.com", "kubectl get validatingwebhookconfigurations"];
    refused(&sandbox, INSTALL, "admission-denied", &said);
    sandbox.delete(&format!("{webhooks}/broken"));
    until("the webhook is gone", || sandbox.try_kube("POST", &dry, Some(&sample)).ok());
    sandbox.run(&format!("{INSTALL} --approve")).ok().shows(&["DNS works"]);
}

#[test]
fn its_pod_keeps_to_the_restricted_pod_security_standard() {
    let sandbox = Sandbox::lease();
    let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    sandbox.create(NAMESPACES, &json!({"metadata": {"name": "external-dns", "labels": restricted}}));
    let plain = json!({"metadata": {"name": "plain"}, "spec": {"containers": [{"name": "x", "image": "x"}]}});
    let pods = format!("{NAMESPACES}/external-dns/pods");
    until("pods of less are refused", || {
        let refused = sandbox.try_kube("POST", &format!("{pods}?dryRun=All"), Some(&plain)).unwrap_err().to_string();
        refused.contains("violates PodSecurity \"restricted").then_some(())
    });
    sandbox.run(&format!("{INSTALL} --approve")).ok().shows(&["DNS works"]);
    let namespace = sandbox.object(&format!("{NAMESPACES}/external-dns"));
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    let pods = sandbox.object(&pods);
    let phases: Vec<_> = pods["items"].as_array().unwrap().iter().map(|pod| &pod["status"]["phase"]).collect();
    assert_eq!(phases, ["Running"]);
}

#[test]
fn a_kubeconfig_must_be_of_the_cluster() {
    let sandbox = Sandbox::lease();
    let text = std::fs::read_to_string(sandbox.fact("kubeconfig")).unwrap();
    let file = sandbox.file("kubeconfig", &text);
    let own = format!("{INSTALL} --kubeconfig {}", file.display());
    sandbox.run(&own).ok();
    sandbox.run(&format!("{own} --context sandbox")).ok();
    for (flags, said) in [
        ("--kubeconfig /nonexistent".to_owned(), "/nonexistent"),
        (format!("--kubeconfig {} --context nowhere", file.display()), "nowhere"),
    ] {
        sandbox.run(&format!("{INSTALL} --approve {flags}")).exits(2).says(&[said]);
    }
    // An issuer of another cluster is enough, a CA isn't: it may be a proxy's.
    let other_ca = json!([
        "\"data\": ?\"[^\"]*\"",
        "\"data\": \"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJBRENCcHdJQkFUQUtCZ2dxaGtqT1BRUURBakFBCi0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K\""
    ]);
    let other_issuer = json!(["/id/[0-9A-F]{32}", "/id/00000000000000000000000000000000"]);
    sandbox.fault(&json!({"action": "DescribeCluster", "replace": [other_ca]}));
    sandbox.run(&own).ok();
    sandbox.fault(&json!({"action": "DescribeCluster", "replace": [other_issuer]}));
    for line in [INSTALL, CREATE] {
        let line = format!("{line} --kubeconfig {}", file.display());
        let hint = "aws eks update-kubeconfig --name eksdemo1 --region us-west-2";
        refused(&sandbox, &line, "cluster-mismatch", &["the kubeconfig isn't of cluster eksdemo1", hint]);
    }
}

#[test]
fn a_version_that_the_cluster_cannot_run() {
    let sandbox = Sandbox::lease();
    let line = format!("{INSTALL} --external-dns-version v0.17.0");
    refused(&sandbox, &line, "unsupported-version", &["v0.17.0", "1.36", "--external-dns-version"]);
}

#[test]
fn a_namespace_that_is_being_deleted() {
    let sandbox = Sandbox::lease();
    for name in ["external-dns", "app"] {
        sandbox.create(NAMESPACES, &json!({"metadata": {"name": name, "finalizers": ["example.com/held"]}}));
        sandbox.delete(&format!("{NAMESPACES}/{name}"));
    }
    let said = ["being deleted", "kubectl wait --for=delete namespace/"];
    refused(&sandbox, INSTALL, "namespace-terminating", &said);
    refused(&sandbox, &format!("{CREATE} --namespace app"), "namespace-terminating", &said);
    for name in ["external-dns", "app"] {
        sandbox.patch(&format!("{NAMESPACES}/{name}"), &json!({"metadata": {"finalizers": null}}));
    }
    until("the namespace is gone", || {
        sandbox.kube("GET", &format!("{NAMESPACES}/external-dns"), None).is_none().then_some(())
    });
    sandbox.run(INSTALL).ok();
}

/// A Deployment of ExternalDNS that others made.
fn external_dns(labels: &Value, selector: &Value, container: &Value) -> Value {
    let mut container = container.clone();
    container["name"] = json!("external-dns");
    container["image"] = json!("registry.k8s.io/external-dns/external-dns:v0.21.0");
    json!({"metadata": {"name": "external-dns", "labels": labels}, "spec": {
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": selector},
        "template": {
            "metadata": {"labels": selector},
            "spec": {"serviceAccountName": "external-dns", "containers": [container]},
        },
    }})
}

fn helm_release() -> Value {
    external_dns(
        &json!({"app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "external-dns-1.19.0"}),
        &json!({"app.kubernetes.io/name": "external-dns", "app.kubernetes.io/instance": "external-dns"}),
        &json!({"args": ["--log-level=info", "--source=service", "--source=ingress", "--policy=upsert-only", "--registry=txt",
                         "--txt-owner-id=helm-team", "--domain-filter=example.com", "--provider=aws", "--interval=3s"]}),
    )
}

/// As the tutorial has it.
fn tutorial() -> Value {
    external_dns(
        &json!({}),
        &json!({"app": "external-dns"}),
        &json!({"args": ["--source=service", "--source=ingress", "--domain-filter=example.com", "--provider=aws",
                         "--policy=upsert-only", "--aws-zone-type=public", "--registry=txt", "--interval=3s",
                         "--txt-owner-id=my-identifier"]}),
    )
}

#[test]
fn another_installation_is_named_with_its_owner_id() {
    let sandbox = Sandbox::lease();
    sandbox.create_namespace("dns");
    sandbox.create(&deployments("dns"), &helm_release());
    let path = format!("{}/external-dns", deployments("dns"));
    let said = ["Deployment dns/external-dns (Helm)", "owner id helm-team", "--name"];
    let kubectl = "kubectl delete deployment external-dns --namespace dns";
    refused(&sandbox, INSTALL, "foreign-installation", &[&said[..], &[kubectl]].concat());
    sandbox.patch(&path, &json!({"metadata": {"annotations": {"meta.helm.sh/release-name": "dns"}}}));
    refused(&sandbox, INSTALL, "foreign-installation", &[&said[..], &["helm uninstall dns --namespace dns"]].concat());
    sandbox.delete(&path);
    sandbox.run(&format!("{INSTALL} --namespace dns --approve")).ok();
    sandbox.forget_calls();
    let uninstall = "irsactl uninstall external-dns --cluster eksdemo1 --region us-west-2 --namespace dns \
                     --name external-dns --approve";
    refused(&sandbox, INSTALL, "foreign-installation", &[uninstall]);
}

#[test]
fn an_installation_beside_another_needs_an_owner_id_of_its_own() {
    let sandbox = Sandbox::lease();
    sandbox.create_namespace("dns");
    sandbox.create(&deployments("dns"), &tutorial());
    let beside = format!("{INSTALL} --name private");
    let said = ["Deployment dns/external-dns", "owner id my-identifier"];
    refused(&sandbox, &format!("{beside} --txt-owner-id my-identifier"), "foreign-installation", &said);
    sandbox.run(&format!("{beside} --approve")).ok().shows(&["DNS works", "owner id my-identifier"]);
    sandbox.forget_calls();
    sandbox.run(&format!("{beside} --approve")).ok().shows(&["Nothing to do"]);
    assert_eq!(sandbox.writes(), [""; 0]);
}

fn adopts(sandbox: &Sandbox, deployment: &Value, owner: &str) {
    sandbox.create_namespace("external-dns");
    sandbox.create(&accounts("external-dns"), &json!({"metadata": {"name": "external-dns", "labels": {"team": "a"}}}));
    sandbox.create(&deployments("external-dns"), deployment);
    let foreign =
        refused(sandbox, INSTALL, "foreign-installation", &["Deployment external-dns/external-dns", owner, "--adopt"]);
    assert!(foreign.stdout.is_empty());
    sandbox.run(&format!("{INSTALL} --adopt --approve")).ok().shows(&["DNS works"]);
    let live = sandbox.object(&format!("{}/external-dns", deployments("external-dns")));
    assert_eq!(live["spec"]["selector"], deployment["spec"]["selector"]);
    let container = &live["spec"]["template"]["spec"]["containers"][0];
    let text = container.to_string();
    assert!(text.contains(&format!("--txt-owner-id={owner}")) && text.contains(":v0.23.0"), "{text}");
    assert!(
        container["command"].is_null() && live["spec"]["template"]["spec"]["containers"].as_array().unwrap().len() == 1
    );
    assert_eq!(
        sandbox.object(&format!("{}/external-dns", accounts("external-dns")))["metadata"]["labels"]["team"],
        "a"
    );
    sandbox.forget_calls();
    sandbox.run(&format!("{INSTALL} --approve")).ok().shows(&["Nothing to do", "DNS works"]);
    assert_eq!(sandbox.writes(), [""; 0]);
}

#[test]
fn a_deployment_as_in_the_tutorial_is_adopted() {
    adopts(&Sandbox::lease(), &tutorial(), "my-identifier");
}

#[test]
fn a_deployment_whose_arguments_are_its_command_is_adopted() {
    let mut deployment = tutorial();
    let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
    let args = container.as_object_mut().unwrap().remove("args").unwrap();
    let words = std::iter::once(json!("/bin/external-dns")).chain(args.as_array().unwrap().clone());
    container["command"] = words.collect();
    container["env"] = json!([{"name": "EXTERNAL_DNS_TXT_PREFIX", "value": "dns-"}]);
    deployment["spec"]["strategy"] = json!({"type": "RollingUpdate"});
    let sandbox = Sandbox::lease();
    // What an apply can't take away goes before it; that this is done isn't known then.
    let path = format!("{}/external-dns", deployments("external-dns"));
    let lost = json!({"verb": "patch", "path": path, "dryRun": false, "drop": true, "after": true, "times": 1});
    sandbox.kube_fault(&lost);
    adopts(&sandbox, &deployment, "my-identifier");
    let live = sandbox.object(&format!("{}/external-dns", deployments("external-dns")));
    assert!(live.to_string().contains("--txt-prefix=dns-"), "{live}");
}

/// Variables count as flags do: the hint repeats them. What comes from elsewhere isn't read: nobody pretends to know it.
#[test]
fn what_variables_say_is_repeated_and_what_is_elsewhere_is_asked_for() {
    let variable = |flag: &str, value: &str| json!({"name": format!("EXTERNAL_DNS_{flag}"), "value": value});
    let key = json!({"configMapKeyRef": {"name": "dns", "key": "owner"}});
    let env = json!([
        variable("SOURCE", "ingress"),
        variable("DOMAIN_FILTER", "example.com"),
        variable("INTERVAL", "3s"),
        variable("POLICY", "sync"),
        variable("EVENTS", "true"),
        {"name": "EXTERNAL_DNS_TXT_OWNER_ID", "valueFrom": key},
    ]);
    let args = json!({"args": ["--provider=aws"], "env": env});
    let sandbox = Sandbox::lease();
    sandbox.create_namespace("external-dns");
    let owner = json!({"metadata": {"name": "dns"}, "data": {"owner": "team"}});
    sandbox.create("/api/v1/namespaces/external-dns/configmaps", &owner);
    sandbox.create(&accounts("external-dns"), &json!({"metadata": {"name": "external-dns"}}));
    let deployment = external_dns(&json!({}), &json!({"app": "external-dns"}), &args);
    sandbox.create(&deployments("external-dns"), &deployment);

    let why = "--txt-owner-id isn't known: variable EXTERNAL_DNS_TXT_OWNER_ID comes from ConfigMap dns (key owner)";
    refused(&sandbox, INSTALL, "foreign-installation", &["owner id is unknown", "--adopt"]);
    refused(&sandbox, &format!("{INSTALL} --adopt"), "records-at-risk", &["--txt-owner-id", why]);
    sandbox.run(&format!("{INSTALL} --adopt --txt-owner-id team")).ok().shows(&["what --txt-owner-id is so far"]);
    let verify = || {
        let document = sandbox.run("verify external-dns --cluster eksdemo1 -o json").exits(4).json();
        let checks = document["checks"].as_array().unwrap().clone();
        move |id: &str| checks.iter().find(|check| check["id"] == id).cloned().unwrap()
    };
    let check = verify();
    assert_eq!(check("records")["status"], "skip", "{}", check("records"));
    for id in ["arguments", "owner"] {
        assert_eq!(check(id)["status"], "skip", "{}", check(id));
        assert!(check(id)["message"].as_str().unwrap().starts_with(why), "{}", check(id));
    }
    assert!(!check("rbac")["hint"].as_str().unwrap().contains("--approve"), "{}", check("rbac"));

    let path = format!("{}/external-dns", deployments("external-dns"));
    let mut live = sandbox.object(&path);
    live["spec"]["template"]["spec"]["containers"][0]["env"][5] = variable("TXT_OWNER_ID", "team");
    sandbox.kube("PUT", &path, Some(&live)).unwrap();
    let check = verify();
    assert_eq!(check("owner")["status"], "pass", "{}", check("owner"));
    sandbox.follow(check("rbac")["hint"].as_str().unwrap());
    let container = sandbox.object(&path)["spec"]["template"]["spec"]["containers"][0].clone();
    for told in ["domain-filter=example.com", "interval=3s", "policy=sync", "events", "txt-owner-id=team"] {
        assert!(container["args"].as_array().unwrap().contains(&json!(format!("--{told}"))), "{told}: {container}");
    }
    assert!(!container["env"].to_string().contains("EXTERNAL_DNS_"), "{container}");
}

#[test]
fn a_helm_release_is_adopted() {
    adopts(&Sandbox::lease(), &helm_release(), "helm-team");
}

#[test]
fn a_source_whose_api_is_not_served() {
    let sandbox = Sandbox::lease();
    let routes = format!("{INSTALL} --source gateway-httproute");
    let said = ["gateway-httproute", "gateway.networking.k8s.io/v1"];
    refused(&sandbox, &routes, "missing-api", &said);
    for (kind, plural) in [("HTTPRoute", "httproutes"), ("Gateway", "gateways")] {
        sandbox.serve("gateway.networking.k8s.io", "v1", kind, plural);
    }
    // Arguments say what a source reads, too.
    let sets = format!("{routes} --extra-arg=--gateway-listener-sets");
    refused(&sandbox, &sets, "missing-api", &["listenersets.gateway.networking.k8s.io/v1"]);
    let pools = format!("{INSTALL} --source unstructured --extra-arg=--unstructured-resource=pools.v1.example.com");
    refused(&sandbox, &pools, "missing-api", &["source unstructured needs pools.example.com/v1"]);
    for (kind, plural) in [
        ("IngressRoute", "ingressroutes"),
        ("IngressRouteTCP", "ingressroutetcps"),
        ("IngressRouteUDP", "ingressrouteudps"),
    ] {
        sandbox.serve("traefik.io", "v1alpha1", kind, plural);
    }
    let traefik = format!("{INSTALL} --name traefik --source traefik-proxy --external-dns-version 0.18.0");
    refused(&sandbox, &traefik, "missing-api", &["ingressroutes.traefik.containo.us/v1alpha1"]);
    sandbox.run(&format!("{traefik} --extra-arg=--traefik-disable-legacy")).ok();
    sandbox.run(&format!("{routes} --approve")).ok().shows(&["DNS works"]);
}

#[test]
fn a_service_account_that_others_made() {
    let sandbox = Sandbox::lease();
    let account = |name: &str| json!({"metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "Helm", "team": "a"}}});
    sandbox.create_namespace("external-dns");
    sandbox.create(&accounts("external-dns"), &account("external-dns"));
    sandbox.create(&accounts("default"), &account("app"));
    for (line, path) in [
        (INSTALL, format!("{}/external-dns", accounts("external-dns"))),
        (CREATE, format!("{}/app", accounts("default"))),
    ] {
        refused(&sandbox, line, "foreign-object", &["Helm", "--override-existing-serviceaccounts"]);
        sandbox.run(&format!("{line} --override-existing-serviceaccounts --approve")).ok();
        let found = sandbox.object(&path);
        assert_eq!(found["metadata"]["labels"], account("x")["metadata"]["labels"]);
        assert!(found["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].is_string());
        sandbox.forget_calls();
        // Once it is annotated, nothing of others would change.
        sandbox.run(&format!("{line} --approve")).ok().shows(&["Nothing to do"]);
        assert_eq!(sandbox.writes(), [""; 0]);
    }
}

/// Lets another manager apply a part of an object.
fn apply_as(sandbox: &Sandbox, manager: &str, path: &str, object: &Value) {
    let url = format!("{path}?fieldManager={manager}&force=true");
    sandbox.kube("APPLY", &url, Some(object)).unwrap();
}

#[test]
fn a_field_that_another_manager_applies() {
    let sandbox = Sandbox::lease();
    sandbox.run(&format!("{INSTALL} --approve")).ok();
    let path = format!("{}/external-dns", deployments("external-dns"));
    let part = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "external-dns"}, "spec": {"replicas": 0}});
    apply_as(&sandbox, "argocd-controller", &path, &part);
    let role = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
        "name": "external-dns", "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/other"}}});
    sandbox.forget_calls();
    let said = ["Deployment external-dns/external-dns", "argocd-controller", "replicas", "--force-conflicts"];
    refused(&sandbox, INSTALL, "conflict", &said);
    sandbox.run(&format!("{INSTALL} --force-conflicts --approve")).ok().shows(&["DNS works"]);
    let account = format!("{}/external-dns", accounts("external-dns"));
    apply_as(&sandbox, "flux", &account, &role);
    sandbox.forget_calls();
    refused(&sandbox, INSTALL, "conflict", &["flux", "role-arn", "--force-conflicts"]);
    sandbox.run(&format!("{INSTALL} --force-conflicts --approve")).ok();
    sandbox.forget_calls();
    sandbox.run(&format!("{INSTALL} --approve")).ok().shows(&["Nothing to do"]);
    assert_eq!(sandbox.writes(), [""; 0]);
}
