//! Files with many service accounts: found by listings, made side by side, in AWS's pace.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::aws::{S3, name_of};
use crate::support::{Run, Sandbox};

const DYNAMO: &str = "arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess";
const CREATE: &str = "create iamserviceaccount";
const MANY: usize = 24;

fn config(count: usize, policy: impl Fn(usize) -> &'static str) -> String {
    let account = |number: usize| {
        json!({
            "metadata": {"name": format!("app-{number:02}"), "namespace": format!("team-{}", number % 3)},
            "attachPolicyARNs": [policy(number)],
        })
    };
    let accounts: Vec<_> = (0..count).map(account).collect();
    let metadata = json!({"name": "eksdemo1", "region": "us-west-2"});
    json!({"apiVersion": "eksctl.io/v1alpha5", "kind": "ClusterConfig", "metadata": metadata,
        "iam": {"serviceAccounts": accounts}})
    .to_string()
}

fn run(sandbox: &Sandbox, line: &str, config: &str) -> Run {
    let file = sandbox.file("cluster.json", config);
    sandbox.run(&format!("{line} -f {}", file.display()))
}

/// How often each action was called.
fn counts(sandbox: &Sandbox) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in sandbox.aws_calls() {
        *counts.entry(call.rsplit(':').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    counts
}

fn roles(sandbox: &Sandbox) -> Vec<Value> {
    let rows = sandbox.run("get iamserviceaccount --cluster eksdemo1 -o json").ok().json();
    rows.as_array().unwrap().clone()
}

#[test]
fn many_are_found_in_listings_and_one_that_drifted_is_mended_alone() {
    let sandbox = Sandbox::lease();
    let all = config(MANY, |_| S3);
    run(&sandbox, &format!("{CREATE} --approve"), &all).ok();
    assert!(roles(&sandbox).iter().all(|row| row["status"]["state"] == "ready"));

    sandbox.forget_calls();
    run(&sandbox, &format!("{CREATE} --approve"), &all).ok().shows(&["Nothing to do"]);
    let calls = counts(&sandbox);
    assert_eq!(calls["GetTemplate"], MANY);
    let others: usize = calls.iter().filter(|(action, _)| *action != "GetTemplate").map(|(_, count)| count).sum();
    assert!(others <= 8, "{calls:?}");
    assert_eq!(sandbox.writes(), [""; 0]);

    let role = name_of(roles(&sandbox)[5]["status"]["roleARN"].as_str().unwrap()).to_owned();
    sandbox.detach(&role, S3);
    sandbox.forget_calls();
    let plan = run(&sandbox, &format!("{CREATE} --approve -o json"), &all).ok();
    assert_eq!(plan.changes(), ["create PolicyAttachment AmazonS3ReadOnlyAccess"]);
    assert_eq!(sandbox.writes(), ["iam:AttachRolePolicy"]);

    let one_else = config(MANY, |number| if number == 7 { DYNAMO } else { S3 });
    sandbox.forget_calls();
    run(&sandbox, "update iamserviceaccount --approve", &one_else).ok();
    assert_eq!(sandbox.writes(), ["cloudformation:CreateChangeSet", "cloudformation:ExecuteChangeSet"]);

    run(&sandbox, "delete iamserviceaccount --approve", &all).ok();
    assert_eq!(roles(&sandbox).len(), 0);
}

#[test]
fn many_without_the_right_to_list_are_read_by_name() {
    let sandbox = Sandbox::lease();
    let all = config(MANY, |_| S3);
    run(&sandbox, &format!("{CREATE} --approve"), &all).ok();
    sandbox.fault(&json!({"deny": "iam:GetAccountAuthorizationDetails"}));
    run(&sandbox, CREATE, &all).ok().shows(&["Nothing to do"]);
    // CloudFormation lists all stacks, or tells one by its name.
    let list = json!({"error": {"status": 403, "code": "AccessDenied", "message": "not authorized"}});
    let mut rule =
        json!({"service": "cloudformation", "action": "DescribeStacks", "userAgent": "irsactl/", "times": 1});
    rule["error"] = list["error"].clone();
    sandbox.fault(&rule);
    run(&sandbox, CREATE, &all).ok().shows(&["Nothing to do"]);
}

#[test]
fn throttled_creations_take_turns_and_none_fails() {
    let sandbox = Sandbox::lease();
    let throttling = json!({"status": 400, "code": "Throttling", "message": "Rate exceeded"});
    sandbox.fault(&json!({"action": "CreateStack", "per_second": 5, "error": throttling}));
    run(&sandbox, &format!("{CREATE} --approve"), &config(MANY, |_| S3)).ok();
    sandbox.heal();
    assert!(roles(&sandbox).iter().filter(|row| row["status"]["state"] == "ready").count() == MANY);
}

#[test]
fn with_a_third_of_all_calls_throttled_everything_finishes() {
    let sandbox = Sandbox::lease();
    let throttling = json!({"status": 400, "code": "Throttling", "message": "Rate exceeded"});
    sandbox.fault(&json!({"userAgent": "irsactl/", "every": 0.33, "error": throttling}));
    let all = config(MANY, |_| S3);
    run(&sandbox, &format!("{CREATE} --approve"), &all).ok();
    run(&sandbox, "update iamserviceaccount --approve", &config(MANY, |_| DYNAMO)).ok();
    assert_eq!(roles(&sandbox).len(), MANY);
    run(&sandbox, "delete iamserviceaccount --approve", &all).ok();
    sandbox.heal();
    assert_eq!(roles(&sandbox).len(), 0);
}
