//! `-f`: service accounts of a ClusterConfig.

use serde_json::json;

use crate::support::aws::{S3, wait};
use crate::support::{Run, Sandbox};

const NOTHING: [&str; 0] = [];

const CONFIG: &str = "\
apiVersion: eksctl.io/v1alpha5
kind: ClusterConfig
metadata:
  name: eksdemo1
  region: us-west-2
  tags: {team: web}
nodeGroups: [{name: ng-1}]
iam:
  withOIDC: true
  serviceAccounts:
  - metadata:
      name: reader
      namespace: web
      labels: {tier: backend}
      annotations: {example.com/owner: web}
    attachPolicyARNs: [arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess]
    roleName: web-reader
    tags: {Owner: Jane}
  - metadata: {name: writer, namespace: web}
    attachPolicy:
      Version: \"2012-10-17\"
      Statement:
      - {Effect: Allow, Action: [\"s3:Put*\"], Resource: \"*\"}
  - metadata: {name: dns}
    wellKnownPolicies: {externalDNS: true}
    roleOnly: true
";

/// Runs a command with `-f -` and the file on stdin.
pub fn run_with(sandbox: &Sandbox, line: &str, file: &str) -> Run {
    let path = sandbox.file("cluster.yaml", file);
    sandbox.run(&format!("{line} -f {}", path.display()))
}

#[test]
fn every_entry_gets_what_the_file_says_and_the_second_run_does_nothing() {
    let sandbox = Sandbox::lease();
    let create = "create iamserviceaccount";
    let plan = run_with(&sandbox, &format!("{create} -o json"), CONFIG).ok();
    let stack = |rest: &str| format!("create Stack eksctl-eksdemo1-addon-iamserviceaccount-{rest}");
    assert_eq!(
        plan.changes()[1..],
        [
            stack("web-reader"),
            "create Namespace web".to_owned(),
            "create ServiceAccount web/reader".to_owned(),
            stack("web-writer"),
            "create ServiceAccount web/writer".to_owned(),
            stack("default-dns"),
        ]
    );
    assert_eq!(sandbox.writes(), NOTHING);

    let done = run_with(&sandbox, &format!("{create} --approve -o json"), CONFIG).ok().json();
    assert_eq!(done["outputs"]["serviceAccounts"].as_array().unwrap().len(), 3);
    let reader = sandbox.object("/api/v1/namespaces/web/serviceaccounts/reader");
    assert_eq!(reader["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": "eksctl", "tier": "backend"}));
    assert_eq!(reader["metadata"]["annotations"]["example.com/owner"], "web");
    assert!(sandbox.kube("GET", "/api/v1/namespaces/default/serviceaccounts/dns", None).is_none(), "roleOnly");
    let role = wait(sandbox.iam().get_role().role_name("web-reader").send()).unwrap().role.unwrap();
    for (key, value) in [("team", "web"), ("Owner", "Jane"), ("alpha.eksctl.io/iamserviceaccount-name", "web/reader")] {
        assert!(role.tags().iter().any(|tag| tag.key() == key && tag.value() == value), "{key}");
    }

    sandbox.forget_calls();
    run_with(&sandbox, &format!("{create} --approve"), CONFIG).ok().shows(&["Nothing to do"]);
    assert_eq!(sandbox.writes(), NOTHING);

    // An update keeps labels and annotations that it doesn't name.
    sandbox.run(&format!("update iamserviceaccount --cluster eksdemo1 --namespace web --name reader --attach-policy-arn {S3},arn:aws:iam::aws:policy/ReadOnlyAccess --approve")).ok();
    assert_eq!(
        sandbox.object("/api/v1/namespaces/web/serviceaccounts/reader")["metadata"]["labels"]["tier"],
        "backend"
    );

    g11_what_the_file_does_not_name_any_more_is_deleted(&sandbox);
}

fn g11_what_the_file_does_not_name_any_more_is_deleted(sandbox: &Sandbox) {
    let smaller = &CONFIG[..CONFIG.find("  - metadata: {name: writer").unwrap()];
    let line = "delete iamserviceaccount --only-missing";
    let plan = run_with(sandbox, &format!("{line} --exclude default/* -o json"), smaller).ok();
    assert_eq!(
        plan.changes(),
        ["delete Stack eksctl-eksdemo1-addon-iamserviceaccount-web-writer", "delete ServiceAccount web/writer"]
    );
    run_with(sandbox, &format!("{line} --approve"), smaller).ok();
    let rows = run_with(sandbox, "get iamserviceaccount -o json", CONFIG).ok().json();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    run_with(sandbox, "delete iamserviceaccount --approve", CONFIG).ok();
    assert_eq!(sandbox.run("get iamserviceaccount --cluster eksdemo1 -o json").ok().json(), json!([]));
}

#[test]
fn g2_g8_globs_choose_among_the_entries() {
    let sandbox = Sandbox::lease();
    let create = "create iamserviceaccount -o json";
    let plan = run_with(&sandbox, &format!("{create} --include web/* --exclude */writer"), CONFIG).ok();
    let accounts = &plan.json()["outputs"]["serviceAccounts"];
    assert_eq!(accounts.as_array().unwrap().len(), 1);
    assert_eq!(accounts[0]["name"], "reader");
    run_with(&sandbox, "create iamserviceaccount --include nothing/*", CONFIG)
        .exits(2)
        .says(&["nothing/*", "web/reader"]);
}

#[test]
fn e8_f13_mistakes_are_told_at_their_place_before_any_call() {
    let sandbox = Sandbox::lease();
    let misspelt = CONFIG.replace("attachPolicyARNs", "attachPolicyARNS");
    run_with(&sandbox, "create iamserviceaccount", &misspelt).exits(2).says(&[
        "cluster.yaml:16:",
        "attachPolicyARNS",
        "did you mean `attachPolicyARNs`",
    ]);
    for flag in ["--namespace web", "--attach-policy-arn policy/x", "--region us-east-1", "--cluster c", "--name a"] {
        let name = flag.split(' ').next().unwrap();
        run_with(&sandbox, &format!("create iamserviceaccount {flag}"), CONFIG).exits(2).says(&[name, "--config-file"]);
    }
    run_with(&sandbox, "utils associate-iam-oidc-provider", &CONFIG.replace("withOIDC: true", "withOIDC: false"))
        .exits(2)
        .says(&["withOIDC"]);
    sandbox.run("create iamserviceaccount -f /nonexistent.yaml").exits(2).says(&["/nonexistent.yaml"]);
    sandbox.run("create iamserviceaccount --cluster c --name a --include x/*").exits(2).says(&["--config-file"]);
    assert_eq!(sandbox.aws_calls(), NOTHING);
}

#[test]
fn the_provider_of_a_file_s_cluster_is_made() {
    let sandbox = Sandbox::lease();
    run_with(&sandbox, "utils associate-iam-oidc-provider --approve", CONFIG).ok();
    assert!(sandbox.aws_writes().contains(&"iam:CreateOpenIDConnectProvider".to_owned()));
}
