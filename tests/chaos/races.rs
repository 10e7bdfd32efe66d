//! Two at once, and irsactl beside eksctl: one makes each thing, the other waits or reports.

use std::collections::BTreeMap;

use aws_sdk_cloudformation::types::{Capability, ChangeSetType};
use serde_json::{Value, json};

use crate::faults::{ALL, agrees, undisturbed};
use crate::support::aws::{S3, name_of, role_arn, wait};
use crate::support::kill::{Scenario, say};
use crate::support::scenarios::CHANGED_INSTALLATION;
use crate::support::{Run, Sandbox, until};

const STACK: &str = "eksctl-eksdemo1-addon-iamserviceaccount-default-web";
const DYNAMO: &str = "arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess";

/// How often each thing was created.
fn creations(sandbox: &Sandbox) -> BTreeMap<String, usize> {
    let calls = sandbox.all_aws_calls();
    let mut made = BTreeMap::new();
    for call in calls.iter().filter(|call| call["status"] == 200) {
        let (action, params) = (call["action"].as_str().unwrap_or_default(), &call["params"]);
        let key = match action {
            "CreateStack" => "StackName",
            "CreatePolicy" => "PolicyName",
            "CreateOpenIDConnectProvider" => "Url",
            _ => continue,
        };
        *made.entry(format!("{action} {}", params[key])).or_default() += 1;
    }
    made
}

fn both(scenario: Scenario, stack_seconds: u32) {
    let wanted = undisturbed(scenario);
    let sandbox = Sandbox::lease();
    (scenario.prepare)(&sandbox);
    let line = (scenario.command)(&sandbox);
    sandbox.forget_calls();
    sandbox.fault(&json!({"service": "cloudformation", "stack_seconds": stack_seconds}));
    let start = || Run::start(sandbox.command(line.split_whitespace()));
    let runs = [start(), start()].map(crate::support::Running::end);
    sandbox.heal();
    let made = creations(&sandbox);
    let codes: Vec<_> = runs.iter().map(|run| run.code).collect();
    say(&format!(
        "two at once, stacks take {stack_seconds} s: {}: exit codes {codes:?}, created {made:?}",
        scenario.name
    ));
    assert!(made.values().all(|times| *times == 1), "{made:?}");
    assert!(codes.contains(&0), "{}\n{}", runs[0].stderr, runs[1].stderr);
    if let Some(run) = runs.iter().find(|run| run.code != 0) {
        assert!(run.stderr.contains("run the same command again"), "{}", run.stderr);
        sandbox.run(&line).ok();
    }
    if scenario.name == CHANGED_INSTALLATION.name {
        // IAM can't be told to make a version only once.
        sandbox.run(&line).ok().shows(&["Nothing to do"]);
    } else {
        agrees(&wanted, &sandbox, scenario.name);
    }
}

#[test]
fn two_at_once() {
    for scenario in ALL {
        both(scenario, 0);
        both(scenario, 2);
    }
}

fn create(rest: &str) -> String {
    format!("create iamserviceaccount --cluster eksdemo1 --name web {rest} --approve")
}

/// From now on, operations on stacks take some seconds.
fn slow(sandbox: &Sandbox) {
    sandbox.fault(&json!({"service": "cloudformation", "stack_seconds": 4}));
}

fn attached(sandbox: &Sandbox) -> Vec<String> {
    sandbox.attached(name_of(role_arn(&sandbox.stack(STACK).unwrap())))
}

fn template(sandbox: &Sandbox) -> String {
    let answer = wait(sandbox.cloudformation().get_template().stack_name(STACK).send());
    answer.unwrap().template_body.unwrap()
}

#[test]
fn while_eksctl_creates_the_stack() {
    let sandbox = Sandbox::lease();
    sandbox.run(&create(&format!("--attach-policy-arn {S3}"))).ok();
    let (template, tags) = (template(&sandbox), sandbox.stack(STACK).unwrap().tags().to_vec());
    sandbox.run("delete iamserviceaccount --cluster eksdemo1 --name web --approve --wait").ok();
    slow(&sandbox);
    let request = sandbox.cloudformation().create_stack().stack_name(STACK).template_body(template);
    wait(request.set_tags(Some(tags)).capabilities(Capability::CapabilityIam).send()).unwrap();
    sandbox.forget_calls();
    sandbox.run(&create(&format!("--attach-policy-arn {DYNAMO}"))).ok().shows(&["CREATE_IN_PROGRESS: waits for it"]);
    assert_eq!(attached(&sandbox), [name_of(DYNAMO)]);
    assert!(!sandbox.aws_writes().iter().any(|call| call.ends_with(":CreateStack")), "{:?}", sandbox.aws_writes());
}

#[test]
fn while_eksctl_updates_the_stack() {
    let sandbox = Sandbox::lease();
    sandbox.run(&create(&format!("--attach-policy-arn {S3}"))).ok();
    let other = template(&sandbox).replace(S3, DYNAMO);
    let update = || {
        let client = sandbox.cloudformation();
        let request = client.create_change_set().stack_name(STACK).change_set_name("updating-policy-0b5f4b0e");
        let request = request.change_set_type(ChangeSetType::Update).capabilities(Capability::CapabilityIam);
        let request = request.template_body(&other).set_tags(Some(sandbox.stack(STACK).unwrap().tags().to_vec()));
        wait(request.send()).unwrap();
        slow(&sandbox);
        wait(client.execute_change_set().stack_name(STACK).change_set_name("updating-policy-0b5f4b0e").send()).unwrap();
        assert_eq!(sandbox.stack_status(STACK), "UPDATE_IN_PROGRESS");
    };
    update();
    sandbox.run(&create(&format!("--attach-policy-arn {S3} --tags a=b"))).ok().shows(&["UPDATE_IN_PROGRESS"]);
    assert_eq!(attached(&sandbox), [name_of(S3)]);
    sandbox.heal();
    update();
    let delete = "delete iamserviceaccount --cluster eksdemo1 --name web --approve --wait";
    sandbox.run(delete).exits(1).says(&["UPDATE_IN_PROGRESS", "another run or tool", "run the same command again"]);
    until("the update is done", || (sandbox.stack_status(STACK) == "UPDATE_COMPLETE").then_some(()));
    sandbox.run(delete).ok();
    assert_eq!(sandbox.stack_status(STACK), "gone");
}

#[test]
fn while_eksctl_deletes_the_stack() {
    let sandbox = Sandbox::lease();
    let line = create(&format!("--attach-policy-arn {S3}"));
    for next in [&line[..], "delete iamserviceaccount --cluster eksdemo1 --name web --approve --wait"] {
        sandbox.run(&line).ok();
        let role = role_arn(&sandbox.stack(STACK).unwrap()).to_owned();
        slow(&sandbox);
        wait(sandbox.cloudformation().delete_stack().stack_name(STACK).send()).unwrap();
        assert_eq!(sandbox.stack_status(STACK), "DELETE_IN_PROGRESS");
        sandbox.run(next).ok();
        sandbox.heal();
        until("the role is gone", || (!sandbox.has_role(name_of(&role))).then_some(()));
        let wanted = if next == line { "CREATE_COMPLETE" } else { "gone" };
        assert_eq!(sandbox.stack_status(STACK), wanted);
    }
    let accounts: Value = sandbox.object("/api/v1/namespaces/default/serviceaccounts");
    assert!(!accounts.to_string().contains("eks.amazonaws.com/role-arn"), "{accounts}");
}
