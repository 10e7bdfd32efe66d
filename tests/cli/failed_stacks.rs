//! Stacks that fail: the cause is named with a hint of its own, the others go on, and the next run repairs.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::config_file::run_with;
use crate::iamserviceaccount::{created, path, stack_name, states};
use crate::support::aws::{S3, policy_arn, wait};
use crate::support::{Run, Sandbox, until};

const CREATE: &str = "create iamserviceaccount --cluster eksdemo1";
const UPDATE: &str = "update iamserviceaccount --cluster eksdemo1";
const DELETE: &str = "delete iamserviceaccount --cluster eksdemo1";
const GET: &str = "get iamserviceaccount --cluster eksdemo1";
const DYNAMO: &str = "arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess";
const CFN: &str = "arn:aws:iam::123456789012:role/cfn";
const NOTHING: [&str; 0] = [];

/// A ClusterConfig with these entries below `iam.serviceAccounts`.
fn config(entries: &[Value]) -> String {
    let metadata = json!({"name": "eksdemo1", "region": "us-west-2"});
    let iam = json!({"serviceAccounts": entries});
    json!({"apiVersion": "eksctl.io/v1alpha5", "kind": "ClusterConfig", "metadata": metadata, "iam": iam}).to_string()
}

fn entry(name: &str) -> Value {
    json!({"metadata": {"name": name}, "attachPolicyARNs": [S3]})
}

/// An entry with an inline policy that allows this.
fn inline(name: &str, actions: &[String]) -> Value {
    let statement = json!({"Effect": "Allow", "Action": actions, "Resource": "*"});
    json!({"metadata": {"name": name}, "attachPolicy": {"Version": "2012-10-17", "Statement": [statement]}})
}

/// The steps of the document on stdout with what became of them, as `Kind name result`.
fn results(run: &Run) -> Vec<String> {
    let plan = run.json();
    let text = |step: &Value, key: &str| step[key].as_str().unwrap_or_default().to_owned();
    let steps = plan["steps"].as_array().unwrap().iter().filter(|step| step["action"] != "none");
    steps.map(|step| format!("{} {} {}", text(step, "kind"), text(step, "name"), text(step, "result"))).collect()
}

/// The role `cfn` that CloudFormation may assume, with these rights.
fn create_cfn_role(sandbox: &Sandbox, actions: &Value) {
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "cloudformation.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ]});
    sandbox.create_role_trusting("cfn", &trust);
    let rights =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]});
    let put = sandbox.iam().put_role_policy().role_name("cfn").policy_name("rights");
    wait(put.policy_document(rights.to_string()).send()).unwrap();
}

#[test]
fn each_known_cause_is_explained_with_a_hint_of_its_own() {
    let sandbox = Sandbox::lease();
    sandbox.create_role("taken");
    let eleven: Vec<_> = (0..11).map(|number| sandbox.create_policy(&format!("p{number}"))).collect();
    create_cfn_role(&sandbox, &json!(["iam:GetRole", "iam:AttachRolePolicy"]));
    let absent = json!({"status": 404, "code": "NoSuchEntity", "message": "none"});
    let unseen = json!({"service": "iam", "action": "GetRole", "userAgent": "irsactl/", "error": absent});
    let unreadable = json!({"deny": "iam:GetPolicy", "userAgent": "irsactl/"});
    let full = json!({"service": "cloudformation", "action": "DescribeStackEvents", "replace": [
        ["Role with name taken already exists.", "Cannot exceed quota for RolesPerAccount: 1000"],
        ["HandlerErrorCode: AlreadyExists", "HandlerErrorCode: ServiceLimitExceeded"],
    ]});
    let [no_attach, no_create] = ["iam:AttachRolePolicy", "iam:CreateRole"].map(|action| json!({"deny": action}));
    let no = policy_arn("no");
    let get_policy = format!("aws iam get-policy --policy-arn {no}");
    let cases: [(&str, Vec<&Value>, String, [&str; 2]); 8] = [
        (
            "name-taken",
            vec![&unseen],
            format!("--attach-policy-arn {S3} --role-name taken"),
            ["Role with name taken already exists", "choose another --role-name"],
        ),
        (
            "roles-quota",
            vec![&unseen, &full],
            format!("--attach-policy-arn {S3} --role-name taken"),
            ["Cannot exceed quota for RolesPerAccount: 1000", "aws iam get-account-summary"],
        ),
        (
            "policy-missing",
            vec![&unreadable],
            "--attach-policy-arn policy/no".to_owned(),
            ["policy/no does not exist or is not attachable", &get_policy],
        ),
        (
            "boundary-missing",
            vec![&unreadable],
            format!("--attach-policy-arn {S3} --permissions-boundary {no}"),
            ["Scope ARN", "check the ARN given with --permissions-boundary"],
        ),
        (
            "policies-quota",
            vec![],
            format!("--attach-policy-arn {}", eleven.join(",")),
            ["Cannot exceed quota for PoliciesPerRole: 10", "attach fewer"],
        ),
        (
            "caller-denied",
            vec![&no_attach],
            format!("--attach-policy-arn {S3}"),
            ["user/admin is not authorized", "the caller, with whose rights CloudFormation works"],
        ),
        (
            "role-denied",
            vec![],
            format!("--attach-policy-arn {S3} --cfn-role-arn role/cfn"),
            ["assumed-role/cfn/AWSCloudFormation is not authorized", "role cfn, with whose rights"],
        ),
        (
            "boundary-demanded",
            vec![&no_create],
            format!("--attach-policy-arn {S3}"),
            ["iam:CreateRole", "give it with --permissions-boundary"],
        ),
    ];
    for (name, faults, flags, parts) in &cases {
        for fault in faults {
            sandbox.fault(fault);
        }
        let line = format!("{CREATE} {name} {flags} --approve -o json");
        let run = sandbox.run(&line).fails("stack-failed", parts);
        let error = run.error();
        let stack = stack_name("default", name);
        assert!(error["message"].as_str().unwrap().contains(&stack), "{error:#}");
        assert!(error["causes"][0].as_str().unwrap().starts_with("Role1 (AWS::IAM::Role): "), "{error:#}");
        assert!(error["hint"].as_str().unwrap().contains(parts[1]), "{error:#}");
        assert_eq!(results(&run).last().unwrap(), &format!("ServiceAccount default/{name} skipped"));
        sandbox.heal();
    }
    // Each is replaced by a run that asks for what can be.
    for (name, ..) in &cases {
        let line = format!("{CREATE} {name} --attach-policy-arn {S3} --approve");
        sandbox.run(&line).ok().shows(&["replaced, because it is ROLLBACK_COMPLETE"]);
    }
}

#[test]
fn an_inline_policy_that_is_too_long_is_explained() {
    let sandbox = Sandbox::lease();
    let actions: Vec<_> = (0..600).map(|number| format!("s3:GetSomething{number:04}")).collect();
    let file = config(&[inline("web", &actions)]);
    let run = run_with(&sandbox, "create iamserviceaccount --approve -o json", &file);
    let run = run.fails("stack-failed", &["Policy1 (AWS::IAM::Policy): Maximum policy size of 10240 bytes"]);
    assert!(run.error()["hint"].as_str().unwrap().contains("aws iam create-policy"), "{}", run.stderr);
}

#[test]
fn cloudformation_works_with_the_rights_of_the_role_that_is_given() {
    let sandbox = Sandbox::lease();
    let flag = "--cfn-role-arn role/cfn --approve";
    let create = format!("{CREATE} web --attach-policy-arn {S3} {flag}");
    sandbox.run(&create).exits(1).says(&["cannot be assumed", "hint: ", "cloudformation.amazonaws.com"]);
    create_cfn_role(&sandbox, &json!("iam:*"));
    let role = || sandbox.stack(&stack_name("default", "web")).unwrap().role_arn;
    let passed = |action: &str| {
        let calls = sandbox.all_aws_calls();
        let call = calls.iter().rfind(|call| call["action"] == action).unwrap();
        assert_eq!(call["params"]["RoleARN"], CFN, "{action}");
    };
    sandbox.run(&create).ok();
    passed("CreateStack");
    assert_eq!(role().as_deref(), Some(CFN));
    // It is how to work, not what to make: with or without it, nothing is to be done.
    sandbox.run(&format!("{CREATE} web --attach-policy-arn {S3} --detailed-exitcode")).ok().shows(&["Nothing to do"]);
    sandbox.run(&format!("{UPDATE} web --attach-policy-arn {DYNAMO} {flag}")).ok();
    passed("CreateChangeSet");
    sandbox.run(&format!("{DELETE} web {flag}")).ok();
    passed("DeleteStack");

    // The right to hand the role over is one of its own.
    sandbox.fault(&json!({"deny": "iam:PassRole"}));
    sandbox.run(&create).exits(1).says(&["needs the IAM action iam:PassRole", CFN]);
    let china = "--cfn-role-arn arn:aws-cn:iam::123456789012:role/cfn";
    sandbox.run(&format!("{CREATE} web --attach-policy-arn {S3} {china}")).exits(2).says(&["partition aws-cn", CFN]);
}

#[test]
fn what_a_creation_without_rollback_left_is_replaced() {
    let sandbox = Sandbox::lease();
    let mut web = inline("web", &["s3:Get*".to_owned()]);
    web["roleName"] = json!("web-role");
    let file = config(&[web]);
    let line = "create iamserviceaccount --approve --cfn-disable-rollback";
    sandbox.fault(&json!({"deny": "iam:PutRolePolicy"}));
    run_with(&sandbox, line, &file).exits(1).says(&["(CREATE_FAILED)", "Policy1", "iam:PutRolePolicy"]);
    let stack = stack_name("default", "web");
    assert_eq!((sandbox.stack_status(&stack).as_str(), sandbox.has_role("web-role")), ("CREATE_FAILED", true));
    sandbox.heal();
    run_with(&sandbox, line, &file).ok().shows(&["replaced, because it is CREATE_FAILED", "iam:PutRolePolicy"]);
    assert_eq!(states(&sandbox.run(&format!("{GET} -o json")).ok()), ["default/web ready irsactl"]);
}

#[test]
fn one_entry_s_failure_leaves_the_others_finished_and_says_which() {
    let sandbox = Sandbox::lease();
    let mut taken = entry("taken");
    taken["roleName"] = json!("taken");
    let file = config(&[entry("one"), entry("refused"), taken, entry("two")]);
    let line = "create iamserviceaccount --approve";
    let absent = json!({"status": 404, "code": "NoSuchEntity", "message": "none"});
    let refuse = |action: &str, stack: &str| {
        let error = json!({"status": 400, "code": "ValidationError", "message": "No such thing"});
        sandbox.fault(&json!({"action": action, "match": {"StackName": stack}, "error": error}));
    };
    refuse("CreateStack", &stack_name("default", "refused"));
    sandbox.fault(&json!({"service": "iam", "action": "GetRole", "match": {"RoleName": "taken"}, "error": absent}));
    sandbox.create_role("taken");

    let run = run_with(&sandbox, &format!("{line} -o json"), &file).exits(1);
    let step = |name: &str, stack: &str, account: &str| {
        let stack = format!("Stack {} {stack}", stack_name("default", name));
        [stack, format!("ServiceAccount default/{name} {account}")]
    };
    let done = |name: &str| step(name, "done", "done");
    let failed = |name: &str| step(name, "failed", "skipped");
    let expected = [done("one"), failed("refused"), failed("taken"), done("two")].concat();
    assert_eq!(results(&run)[1..], expected);
    let said = run.error().to_string();
    assert!(said.contains("No such thing") && said.contains("Role with name taken already exists"), "{said}");
    for name in ["one", "two"] {
        assert!(sandbox.kube("GET", &path("default", name), None).is_some(), "{name}");
    }

    // For people, too; what is done isn't done again.
    sandbox.forget_calls();
    let refused = stack_name("default", "refused");
    run_with(&sandbox, line, &file).exits(1).says(&[
        &format!("failed: Stack {refused}, Stack {}", stack_name("default", "taken")),
        "not reached: ServiceAccount default/refused, ServiceAccount default/taken",
    ]);
    assert!(!sandbox.kube_writes().iter().any(|call| call.contains("default/one")));
    sandbox.heal();
    wait(sandbox.iam().delete_role().role_name("taken").send()).unwrap();
    run_with(&sandbox, line, &file).ok().shows(&["replaced, because it is ROLLBACK_COMPLETE"]);
    let ready = ["one", "refused", "taken", "two"].map(|name| format!("default/{name} ready irsactl"));
    assert_eq!(states(&sandbox.run(&format!("{GET} -o json")).ok()), ready);

    // Deleting is no different.
    refuse("DeleteStack", sandbox.stack(&refused).unwrap().stack_id().unwrap());
    let line = "delete iamserviceaccount --approve";
    let run = run_with(&sandbox, &format!("{line} -o json"), &file).exits(1);
    assert_eq!(results(&run), [done("one"), failed("refused"), done("taken"), done("two")].concat());
    sandbox.heal();
    assert_eq!(states(&sandbox.run(&format!("{GET} -o json")).ok()), ["default/refused ready irsactl"]);
    run_with(&sandbox, line, &file).ok().says(&["no iamserviceaccount default/one found"]);
    assert_eq!(states(&sandbox.run(&format!("{GET} -o json")).ok()), NOTHING);
}

#[test]
fn a_rollback_that_got_stuck_is_continued_and_the_change_is_made() {
    let sandbox = Sandbox::lease();
    let line = "create iamserviceaccount --approve";
    let mut web = inline("web", &["s3:Get*".to_owned()]);
    run_with(&sandbox, line, &config(std::slice::from_ref(&web))).ok();
    web["attachPolicyARNs"] = json!([S3]);
    web["attachPolicy"]["Statement"][0]["Action"] = json!("s3:List*");
    let file = config(&[web]);
    for action in ["iam:PutRolePolicy", "iam:DetachRolePolicy"] {
        sandbox.fault(&json!({"deny": action}));
    }
    run_with(&sandbox, line, &file).exits(1).says(&["Policy1", "iam:PutRolePolicy"]);
    sandbox.heal();
    let stack = stack_name("default", "web");
    until("the rollback failed", || (sandbox.stack_status(&stack) == "UPDATE_ROLLBACK_FAILED").then_some(()));
    assert_eq!(states(&sandbox.run(&format!("{GET} -o json")).ok()), ["default/web failed irsactl"]);
    run_with(&sandbox, line, &file).ok().shows(&["UPDATE_ROLLBACK_FAILED: its rollback is continued"]);
    assert_eq!(sandbox.stack_status(&stack), "UPDATE_COMPLETE");
    run_with(&sandbox, line, &file).ok().shows(&["Nothing to do"]);
}

#[test]
fn no_change_set_is_left_behind_whatever_becomes_of_it() {
    let sandbox = Sandbox::lease();
    created(&sandbox, "default", "web");
    let stack = stack_name("default", "web");
    let line = format!("{UPDATE} web --attach-policy-arn {DYNAMO} --approve");
    let on = |action: &str, effect: &str, value: Value| json!({"service": "cloudformation", "action": action, effect: value});
    let refusal = |code: &str| json!({"status": 400, "code": code, "message": "Not now"});
    let failed =
        json!([["<Status>CREATE_COMPLETE</Status>", "<Status>FAILED</Status><StatusReason>Bad</StatusReason>"]]);
    for (fault, said) in [
        (on("DescribeChangeSet", "replace", failed), "Bad"),
        (on("DescribeChangeSet", "error", refusal("AccessDenied")), "cloudformation:DescribeChangeSet"),
        (on("ExecuteChangeSet", "error", refusal("InsufficientCapabilitiesException")), "Not now"),
    ] {
        sandbox.fault(&fault);
        sandbox.run(&line).exits(1).says(&[said]);
        assert_eq!(sandbox.change_sets(&stack), 0, "{said}");
        sandbox.heal();
    }

    // Nor of a run that is stopped between making and executing it.
    sandbox.fault(&on("CreateChangeSet", "stack_seconds", json!(30)));
    let mut run = sandbox.command(line.split(' '));
    let mut run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the change set", || (sandbox.change_sets(&stack) == 1).then_some(()));
    let interrupt = std::process::Command::new("kill").args(["-INT", &run.id().to_string()]).status();
    assert!(interrupt.unwrap().success());
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!(sandbox.change_sets(&stack), 0);
    sandbox.heal();
    sandbox.run(&line).ok();
    assert_eq!((sandbox.change_sets(&stack), sandbox.stack_status(&stack).as_str()), (0, "UPDATE_COMPLETE"));
}
