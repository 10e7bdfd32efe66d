//! `-f`: service accounts of a ClusterConfig.

use serde_json::json;

use crate::support::aws::{S3, name_of, role_arn, tags, wait};
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

/// A file with these entries.
fn entries(list: &str) -> String {
    let head = &CONFIG[..CONFIG.find("  - metadata:").unwrap()];
    format!("{head}{list}")
}

#[test]
fn d5_two_new_entries_with_one_stack_name_get_stacks_of_their_own() {
    let sandbox = Sandbox::lease();
    let one = |namespace: &str, name: &str| {
        format!("  - {{metadata: {{namespace: {namespace}, name: {name}}}, attachPolicyARNs: [{S3}]}}\n")
    };
    let file = entries(&(one("a-b", "c") + &one("a", "b-c")));
    let plan = run_with(&sandbox, "create iamserviceaccount -o json", &file).ok().changes();
    let stacks: Vec<_> = plan.iter().filter_map(|step| step.strip_prefix("create Stack ")).collect();
    let plain = "eksctl-eksdemo1-addon-iamserviceaccount-a-b-c";
    assert!(stacks[0] == plain && stacks[1].starts_with(&format!("{plain}-")), "{stacks:?}");
    run_with(&sandbox, "create iamserviceaccount --approve", &file).ok();
    run_with(&sandbox, "create iamserviceaccount --approve", &file).ok().shows(&["Nothing to do"]);
    for path in ["a-b/serviceaccounts/c", "a/serviceaccounts/b-c"] {
        let account = sandbox.object(&format!("/api/v1/namespaces/{path}"));
        assert!(account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].is_string(), "{path}");
    }
}

#[test]
fn flags_that_no_file_can_say_hold_for_all_its_entries() {
    let sandbox = Sandbox::lease();
    let file = entries(&format!(
        "  - {{metadata: {{name: a}}, attachPolicyARNs: [{S3}], roleOnly: true}}\n  \
         - {{metadata: {{name: b}}, attachPolicyARNs: [{S3}, {S3}], roleOnly: true}}\n"
    ));
    let line = "create iamserviceaccount --role-path /team/ --termination-protection --approve";
    run_with(&sandbox, line, &file).ok();
    for name in ["a", "b"] {
        let stack = sandbox.stack(&format!("eksctl-eksdemo1-addon-iamserviceaccount-default-{name}")).unwrap();
        assert_eq!(stack.enable_termination_protection(), Some(true), "{name}");
        assert!(role_arn(&stack).contains(":role/team/"), "{name}");
    }
    run_with(&sandbox, line, &file).ok().shows(&["Nothing to do"]);
}

#[test]
fn policies_that_are_not_there_are_all_told_at_their_places() {
    let sandbox = Sandbox::lease();
    let entry = |name: &str, keys: &str| format!("  - {{metadata: {{name: {name}}}, {keys}}}\n");
    let good = entry("good", &format!("attachPolicyARNs: [{S3}]"));
    let bad = entry("bad", &format!("attachPolicyARNs: [policy/Gone], permissionsBoundary: {S3}x"));
    let missing = |name: &str| format!("there is no policy arn:aws:iam::123456789012:policy/{name}");
    let refused = run_with(&sandbox, "create iamserviceaccount", &entries(&(good.clone() + &bad))).exits(1);
    let place = "cluster.yaml:12:5: iam.serviceAccounts[1] (default/bad)";
    refused.says(&[
        &format!("{place} attachPolicyARNs: {}", missing("Gone")),
        &format!("{place} permissionsBoundary: there is no policy {S3}x"),
    ]);
    let one = entries(&(good + &entry("bad", "attachPolicyARNs: [policy/Gone]")));
    let line = "create iamserviceaccount --include default/bad";
    run_with(&sandbox, line, &one).exits(1).says(&["iam.serviceAccounts[1] (default/bad) attachPolicyARNs: "]);
    let flags = "--attach-policy-arn policy/Gone,policy/Lost --permissions-boundary policy/Edge";
    sandbox.run(&format!("create iamserviceaccount a --cluster eksdemo1 {flags}")).exits(1).says(&[
        &format!("--attach-policy-arn: {}", missing("Gone")),
        &format!("--attach-policy-arn: {}", missing("Lost")),
        &format!("--permissions-boundary: {}", missing("Edge")),
    ]);
    assert_eq!(sandbox.writes(), NOTHING);
}

#[test]
fn a_creation_takes_tags_back_and_an_update_keeps_them() {
    let sandbox = Sandbox::lease();
    let file = entries(&format!("  - {{metadata: {{name: a}}, attachPolicyARNs: [{S3}], tags: {{cost: \"1\"}}}}\n"));
    let stack = "eksctl-eksdemo1-addon-iamserviceaccount-default-a";
    run_with(&sandbox, "create iamserviceaccount --approve", &file).ok();
    sandbox.run("update iamserviceaccount a --cluster eksdemo1 --tags more=x --approve").ok();
    let before = sandbox.stack(stack).unwrap();
    for (key, value) in [("team", "web"), ("cost", "1"), ("more", "x")] {
        assert_eq!(tags(&before).get(key), Some(&value), "{key}");
    }
    let smaller = file.replace(", tags: {cost: \"1\"}", "");
    let plan = run_with(&sandbox, "create iamserviceaccount --approve", &smaller).ok();
    let plan = plan.shows(&["/Tags/cost: 1 → (none)", "/Tags/more: x → (none)"]);
    assert!(!plan.stdout.contains("/Tags/team"), "the file's own stays: {}", plan.stdout);
    let after = sandbox.stack(stack).unwrap();
    let mut keys: Vec<_> = tags(&after).into_keys().collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "alpha.eksctl.io/cluster-name",
            "alpha.eksctl.io/eksctl-version",
            "alpha.eksctl.io/iamserviceaccount-name",
            "eksctl.cluster.k8s.io/v1alpha1/cluster-name",
            "irsactl.dev/version",
            "team"
        ]
    );
    run_with(&sandbox, "create iamserviceaccount --approve", &smaller).ok().shows(&["Nothing to do"]);
}

#[test]
fn a_policy_named_twice_is_attached_once() {
    let sandbox = Sandbox::lease();
    let arn = sandbox.create_policy("mine");
    let line =
        format!("create iamserviceaccount a --cluster eksdemo1 --role-only --attach-policy-arn policy/mine,{arn}");
    sandbox.run(&format!("{line} --approve")).ok();
    let stack = sandbox.stack("eksctl-eksdemo1-addon-iamserviceaccount-default-a").unwrap();
    assert_eq!(sandbox.attached(name_of(role_arn(&stack))), ["mine"]);
    sandbox.run(&format!("{line} --approve")).ok().shows(&["Nothing to do"]);
    let update = line.replace("create", "update");
    sandbox.run(&format!("{update} --approve")).ok().shows(&["Nothing to do"]);
}

#[test]
fn what_came_from_stdin_is_not_offered_as_a_file() {
    let sandbox = Sandbox::lease();
    let path = sandbox.file("cluster.yaml", CONFIG);
    let mut command = sandbox.command(["update", "iamserviceaccount", "-f", "-"]);
    let run = Run::of(command.stdin(std::fs::File::open(&path).unwrap()));
    assert!(!run.stderr.contains("--config-file -"), "{}", run.stderr);
    run.says(&["the same file with create"]);
    run_with(&sandbox, "update iamserviceaccount", CONFIG)
        .exits(1)
        .says(&[&format!("create iamserviceaccount --config-file {}", path.display())]);
}

#[test]
fn unknown_keys_of_a_file_are_refused_before_any_call() {
    let sandbox = Sandbox::lease();
    let misspelt = CONFIG.replace("nodeGroups:", "nodeGroup:");
    run_with(&sandbox, "create iamserviceaccount", &misspelt)
        .exits(2)
        .says(&["cluster.yaml:7:1: unknown key `nodeGroup`", "did you mean `nodeGroups`?"]);
    assert_eq!(sandbox.aws_calls(), NOTHING);
}
