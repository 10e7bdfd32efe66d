//! The ExternalDNS tutorial, step by step, in the namespace `default`; and `render` against a live cluster.

use serde_json::Value;

use crate::support::aws::{S3, wait};
use crate::support::{Sandbox, until};

/// What `kubectl apply -f -` does with a manifest.
fn apply(sandbox: &Sandbox, manifest: &str) {
    let objects: Vec<Value> = serde_saphyr::from_multiple(manifest).unwrap();
    for object in objects {
        let collection = match object["kind"].as_str().unwrap() {
            "ServiceAccount" => "/api/v1/namespaces/default/serviceaccounts",
            "ClusterRole" => "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            "ClusterRoleBinding" => "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            "Deployment" => "/apis/apps/v1/namespaces/default/deployments",
            other => panic!("a {other} in the manifest"),
        };
        let name = object["metadata"]["name"].as_str().unwrap();
        if sandbox.kube("PATCH", &format!("{collection}/{name}"), Some(&object)).is_none() {
            sandbox.create(collection, &object);
        }
    }
}

#[test]
fn the_tutorial_in_the_namespace_default_ends_in_dns_records() {
    let sandbox = Sandbox::lease();
    let policy = sandbox.run("create policy --approve -o json").ok().json()["outputs"]["policyARN"].clone();
    let policy = policy.as_str().unwrap();
    let create = format!(
        "create iamserviceaccount --name external-dns --namespace default --cluster eksdemo1 --attach-policy-arn {policy} \
         --approve --override-existing-serviceaccounts"
    );
    sandbox.run(&create).ok();
    let table = sandbox.run("get iamserviceaccount --cluster eksdemo1").ok().stdout;
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    let [namespace, name, role, state] = row[..] else { panic!("{table}") };
    assert_eq!((namespace, name, state), ("default", "external-dns", "ready"));

    let render = "render manifest --cluster eksdemo1 --namespace default";
    let manifest = sandbox.run(&format!("{render} --role-arn {role}")).ok().stdout;
    assert_eq!(sandbox.run(render).ok().stdout, manifest, "without --role-arn, the stack's role is found");
    sandbox.create_ingress("web", "app.example.com");
    apply(&sandbox, &manifest);

    let route53 = aws_sdk_route53::Client::new(&sandbox.aws());
    until("a record of app.example.com", || {
        let sets = route53.list_resource_record_sets().hosted_zone_id("Z0421873X5K9QJ2VH7RW").send();
        let sets = wait(sets).unwrap().resource_record_sets;
        sets.iter().any(|set| set.name() == "app.example.com." && set.r#type().as_str() == "A").then_some(())
    });
    // The manifest is what irsactl itself installs, and the ServiceAccount is still irsactl's.
    sandbox.run(&format!("{create} --detailed-exitcode")).ok().shows(&["Nothing to do"]);
    sandbox.run("uninstall external-dns --cluster eksdemo1 --namespace default --approve").ok();
    assert!(!sandbox.has_policy("AllowExternalDNSUpdates"));
    assert!(sandbox.kube("GET", "/apis/apps/v1/namespaces/default/deployments/external-dns", None).is_none());
}

#[test]
fn render_asks_the_cluster_for_what_no_flag_says() {
    let sandbox = Sandbox::lease();
    let issuer = sandbox.fact("issuer");
    let who = "--namespace web --name uploads";
    let flags = format!("--oidc-issuer {issuer} --account-id 123456789012");
    for what in [format!("trust-policy {who}"), format!("stack {who} --attach-policy-arn policy/x --role-path /x/")] {
        let asked = sandbox.run(&format!("render {what} --cluster eksdemo1")).ok();
        assert_eq!(asked.json(), sandbox.run(&format!("render {what} {flags}")).ok().json(), "{what}");
    }
    sandbox.run(&format!("create iamserviceaccount --cluster eksdemo1 {who} --attach-policy-arn {S3} --approve")).ok();
    let stack = "eksctl-eksdemo1-addon-iamserviceaccount-web-uploads";
    let body = wait(sandbox.cloudformation().get_template().stack_name(stack).send()).unwrap().template_body.unwrap();
    let rendered = sandbox.run(&format!("render stack --cluster eksdemo1 {who} --attach-policy-arn {S3}")).ok().json();
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), rendered);

    sandbox.run("render manifest --cluster eksdemo1").exits(1).says(&["no stack", "--role-arn"]);
    sandbox.run("install external-dns --cluster eksdemo1 --aws-only --approve").ok();
    let values = sandbox.run("render helm-values --cluster eksdemo1").ok();
    values.shows(&["eks.amazonaws.com/role-arn:", ":role/eksctl-eksdemo1-addon-iamserviceaccount-exter-Role1-"]);
    sandbox.run("render trust-policy --name x --cluster nowhere").exits(1).says(&["nowhere"]);
}
