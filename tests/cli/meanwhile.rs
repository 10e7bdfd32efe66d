//! What others do between a plan and its steps is neither undone nor taken for one's own.

use serde_json::{Value, json};

use crate::support::aws::{S3, name_of, role_arn, tags, wait};
use crate::support::{Run, Running, Sandbox, until};

const STACK: &str = "eksctl-eksdemo1-addon-iamserviceaccount-default-web";
const ACCOUNT: &str = "/api/v1/namespaces/default/serviceaccounts/web";
const ROLE: &str = "eks.amazonaws.com/role-arn";

fn line(verb: &str, rest: &str) -> String {
    format!("{verb} iamserviceaccount --cluster eksdemo1 --name web {rest} --approve")
}

fn create(sandbox: &Sandbox) {
    sandbox.run(&line("create", &format!("--attach-policy-arn {S3} --tags team=web"))).ok();
}

/// Starts a run whose next call of this kind waits until the sandbox is healed.
fn held(sandbox: &Sandbox, line: &str, rule: &Value) -> Running {
    let mut rule = rule.clone();
    rule["hold"] = json!(true);
    rule["times"] = json!(1);
    if rule.get("action").is_some() {
        sandbox.fault(&rule);
    } else {
        sandbox.kube_fault(&rule);
    }
    let run = Run::start(sandbox.command(line.split_whitespace()));
    until("the call is held", || sandbox.faults().iter().any(|rule| rule["held"] == 1).then_some(()));
    run
}

fn goes_on(sandbox: &Sandbox, run: Running) -> Run {
    sandbox.heal();
    run.end()
}

/// The last call before anything is written, and the write to the cluster.
fn before_writing() -> Value {
    json!({"action": "SimulatePrincipalPolicy"})
}

fn writing() -> Value {
    json!({"verb": "patch", "dryRun": false, "path": ACCOUNT})
}

#[test]
fn updates_do_not_undo_each_other_s_stack() {
    let sandbox = Sandbox::lease();
    create(&sandbox);
    let [tag, boundary] = ["--tags x=y", "--permissions-boundary policy/PowerUserAccess"].map(|it| line("update", it));
    let boundary = boundary.replace("policy/", "arn:aws:iam::aws:policy/");
    for other in [line("update", "--tags team=dns"), boundary] {
        let run = held(&sandbox, &tag, &before_writing());
        sandbox.run(&other).ok();
        let run = goes_on(&sandbox, run).exits(1);
        run.says(&["was changed by another run meanwhile", "hint: run the same command again"]);
    }
    let run = held(&sandbox, &tag, &before_writing());
    sandbox.run(&tag).ok();
    goes_on(&sandbox, run).ok();
    let found = sandbox.stack(STACK).unwrap();
    assert_eq!((tags(&found).get("team"), tags(&found).get("x")), (Some(&"dns"), Some(&"y")));
    let body = wait(sandbox.cloudformation().get_template().stack_name(STACK).send()).unwrap().template_body.unwrap();
    assert!(body.contains("PowerUserAccess"), "{body}");
}

#[test]
fn updates_do_not_undo_each_other_s_service_account() {
    let sandbox = Sandbox::lease();
    create(&sandbox);
    let update = |label: &str| line("update", &format!("--labels {label}"));
    let run = held(&sandbox, &update("b=2"), &writing());
    sandbox.run(&update("a=1")).ok();
    let conflict = goes_on(&sandbox, run).exits(1);
    conflict.says(&["ServiceAccount default/web", "the object has been modified", "run the same command again"]);
    let labels = || sandbox.object(ACCOUNT)["metadata"]["labels"].clone();
    assert_eq!((&labels()["a"], &labels()["b"]), (&json!("1"), &Value::Null));
    // Its own doing is no conflict, though the reply is lost.
    sandbox.kube_fault(&json!({"verb": "patch", "dryRun": false, "drop": true, "after": true, "times": 1}));
    sandbox.run(&update("b=2")).ok();
    assert_eq!((&labels()["a"], &labels()["b"]), (&json!("1"), &json!("2")));
}

/// Nobody consented to anything about what wasn't there when the plan was made.
#[test]
fn what_others_made_since_the_plan_is_not_taken_over() {
    let sandbox = Sandbox::lease();
    let create = line("create", &format!("--namespace apps --attach-policy-arn {S3}"));
    let run = held(&sandbox, &create, &before_writing());
    sandbox.create_namespace("apps");
    let managed = "app.kubernetes.io/managed-by";
    let labels = json!({managed: "Helm"});
    let accounts = "/api/v1/namespaces/apps/serviceaccounts";
    sandbox.create(accounts, &json!({"metadata": {"name": "web", "labels": labels}}));
    let run = goes_on(&sandbox, run).exits(1);
    run.says(&["ServiceAccount apps/web was made by somebody else meanwhile", "run the same command again"]);
    let account = sandbox.object(&format!("{accounts}/web"));
    assert_eq!((&account["metadata"]["labels"], &account["metadata"]["annotations"]), (&labels, &Value::Null));
    assert_eq!(sandbox.object("/api/v1/namespaces/apps")["metadata"]["labels"][managed], Value::Null);
    sandbox.run(&create).exits(1).says(&["made by Helm", "--override-existing-serviceaccounts"]);

    let install = "install external-dns --cluster eksdemo1 --domain-filter example.com --approve";
    sandbox.create_namespace("external-dns");
    let run = held(&sandbox, install, &json!({"action": "AssumeRoleWithWebIdentity"}));
    let container = json!({"name": "dns", "image": "registry.k8s.io/external-dns/external-dns:v0.22.0"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    let theirs = json!({"metadata": {"name": "external-dns", "labels": labels},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}});
    let deployments = "/apis/apps/v1/namespaces/external-dns/deployments";
    sandbox.create(deployments, &theirs);
    let run = goes_on(&sandbox, run).exits(1);
    run.says(&["Deployment external-dns/external-dns was made by somebody else meanwhile"]);
    let found = sandbox.object(&format!("{deployments}/external-dns"));
    assert_eq!((&found["metadata"]["labels"], &found["spec"]["replicas"]), (&labels, &json!(0)));
    assert!(!found.to_string().contains("irsactl"), "{found}");
}

/// What an earlier attempt made whose reply was lost, and what another run made, is one's own.
#[test]
fn what_was_made_meanwhile_by_irsactl_is_gone_on_with() {
    let sandbox = Sandbox::lease();
    let create = line("create", &format!("--namespace apps --attach-policy-arn {S3}"));
    sandbox.kube_fault(&json!({"verb": "patch", "dryRun": false, "drop": true, "after": true, "times": 2}));
    sandbox.run(&create).ok();
    assert_eq!(sandbox.faults()[0]["hits"], 2, "the replies were lost");
    sandbox.heal();
    sandbox.run(&create).ok().shows(&["Nothing to do"]);

    let other = create.replace("--name web", "--name other");
    let run = held(&sandbox, &other, &before_writing());
    sandbox.run(&other).ok();
    goes_on(&sandbox, run).ok();
    sandbox.run(&other).ok().shows(&["Nothing to do"]);
}

#[test]
fn a_conflict_that_stays_is_told_in_the_server_s_words() {
    let sandbox = Sandbox::lease();
    create(&sandbox);
    let update = line("update", "--labels a=1");
    let refuse = |message: &str| {
        let error = json!({"status": 409, "reason": "Conflict", "message": message});
        sandbox.kube_fault(&json!({"verb": "patch", "path": ACCOUNT, "error": error}));
    };
    refuse("the object is busy");
    let run = sandbox.run(&format!("{update} --timeout 5s -v")).exits(1);
    run.says(&[
        "not finished within 5s",
        "the object is busy",
        "Kubernetes: apply (dry run) ServiceAccount default/web again",
    ]);
    sandbox.heal();
    refuse("admission webhook \"labels.example.com\" denied the request: no");
    sandbox.forget_calls();
    sandbox.run(&update).exits(1).says(&["refused by admission", "denied the request: no"]);
    assert_eq!(sandbox.faults()[0]["hits"], 1, "once is enough");
}

#[test]
fn a_service_account_of_others_loses_the_role_that_was_read_only() {
    let sandbox = Sandbox::lease();
    let own = json!({"metadata": {"name": "web", "labels": {"app": "web"}}});
    let theirs = "arn:aws:iam::123456789012:role/theirs";
    let collection = ACCOUNT.strip_suffix("/web").unwrap();
    let deletion = || {
        sandbox.create(collection, &own);
        sandbox.run(&line("create", &format!("--attach-policy-arn {S3} --override-existing-serviceaccounts"))).ok();
        held(&sandbox, &line("delete", ""), &writing())
    };
    let run = deletion();
    sandbox.patch(ACCOUNT, &json!({"metadata": {"annotations": {ROLE: theirs}}}));
    goes_on(&sandbox, run).ok().says(&["note: ServiceAccount default/web got role", theirs, "left alone"]);
    assert_eq!(sandbox.object(ACCOUNT)["metadata"]["annotations"][ROLE], theirs);
    sandbox.delete(ACCOUNT);

    let run = deletion();
    sandbox.delete(ACCOUNT);
    goes_on(&sandbox, run).ok();

    // Its own doing is no surprise, though the reply is lost.
    sandbox.create(collection, &own);
    sandbox.run(&line("create", &format!("--attach-policy-arn {S3} --override-existing-serviceaccounts"))).ok();
    let mut lost = writing();
    lost["drop"] = json!(true);
    lost["after"] = json!(true);
    lost["times"] = json!(1);
    sandbox.kube_fault(&lost);
    sandbox.run(&line("delete", "")).ok();
    assert_eq!(sandbox.faults()[0]["hits"], 1, "the reply was lost");
    assert_eq!(sandbox.object(ACCOUNT)["metadata"]["annotations"], Value::Null);
}

#[test]
fn protection_that_a_killed_run_left_out_is_put_on_by_the_next() {
    let sandbox = Sandbox::lease();
    create(&sandbox);
    let protected = || sandbox.stack(STACK).unwrap().enable_termination_protection();
    let line = line("create", &format!("--attach-policy-arn {S3} --termination-protection"));
    sandbox.leave_under_way(&line, STACK, "UPDATE_IN_PROGRESS");
    assert_eq!(protected(), Some(false));
    sandbox.run_waiting(&line).ok().shows(&["UPDATE_IN_PROGRESS: waits for it"]);
    assert_eq!(protected(), Some(true));
}

#[test]
fn a_deletion_that_is_refused_says_that_the_protection_is_off() {
    let sandbox = Sandbox::lease();
    sandbox.run(&line("create", &format!("--attach-policy-arn {S3} --termination-protection"))).ok();
    let refusal = json!({"status": 400, "code": "ValidationError", "message": "Not now"});
    sandbox.fault(&json!({"action": "DeleteStack", "error": refusal}));
    let off = format!("the termination protection of stack {STACK} is off now");
    sandbox.run(&line("delete", "")).exits(1).says(&["Not now", &off]);
    assert_eq!(sandbox.stack(STACK).unwrap().enable_termination_protection(), Some(false));
}

/// A role that was made long ago, and that IAM hides for a moment.
#[test]
fn a_role_that_is_hidden_for_a_moment_is_not_lost() {
    let sandbox = Sandbox::lease();
    create(&sandbox);
    let old = json!([["(Creation|LastUpdated)Time>[^<]*<", "\\1Time>2020-01-01T00:00:00Z<"]]);
    sandbox.fault(&json!({"action": "DescribeStacks", "replace": old}));
    let absent = json!({"status": 404, "code": "NoSuchEntity", "message": "none"});
    sandbox.fault(&json!({"action": "GetRole", "error": absent, "times": 2}));
    let role = role_arn(&sandbox.stack(STACK).unwrap()).to_owned();
    sandbox.run(&line("create", &format!("--attach-policy-arn {S3} --tags team=web"))).ok().shows(&["Nothing to do"]);
    assert_eq!(role_arn(&sandbox.stack(STACK).unwrap()), role);
}

#[test]
fn iam_s_conflicts_of_a_moment_are_waited_out() {
    let sandbox = Sandbox::lease();
    create(&sandbox);
    let role = name_of(role_arn(&sandbox.stack(STACK).unwrap())).to_owned();
    sandbox.detach(&role, S3);
    let bound = sandbox.iam().put_role_permissions_boundary().role_name(&role).permissions_boundary(S3);
    wait(bound.send()).unwrap();
    let busy = |action: &str, code: &str| {
        let error = json!({"status": 409, "code": code, "message": "Wait a few minutes and submit it again."});
        sandbox.fault(&json!({"userAgent": "irsactl/", "action": action, "error": error, "times": 2}));
    };
    busy("DeleteRolePermissionsBoundary", "EntityTemporarilyUnmodifiable");
    busy("AttachRolePolicy", "ConcurrentModification");
    sandbox.forget_calls();
    sandbox.run(&line("create", &format!("--attach-policy-arn {S3} --tags team=web"))).ok();
    assert_eq!(sandbox.attached(&role), [name_of(S3)]);
    let mut calls = sandbox.aws_writes();
    calls.sort_unstable();
    assert_eq!(calls, [["iam:AttachRolePolicy"; 3], ["iam:DeleteRolePermissionsBoundary"; 3]].concat());
}
