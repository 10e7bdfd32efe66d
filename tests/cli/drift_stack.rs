//! `install external-dns` after the stack or its role was lost, failed or is under way.

use serde_json::{Value, json};

use crate::drift::{INSTALL, Live, STACK, answer};
use crate::support::aws::{S3, name_of, role_arn, tags, wait};
use crate::support::{Sandbox, until};

const DYNAMO: &str = "arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess";

const REPLACED: &[&str] = &[
    "update Stack STACK",
    "update ServiceAccount external-dns/external-dns",
    "update Deployment external-dns/external-dns",
];

#[test]
fn a_lost_role_is_made_anew_and_the_pod_gets_it() {
    let sandbox = Sandbox::lease();
    let live = Live::install(&sandbox, INSTALL);

    let (role, pods) = (live.role(), live.pods());
    let policy = live.policy_arn("AllowExternalDNSUpdates");
    answer(live.iam.detach_role_policy().role_name(&role).policy_arn(policy).send());
    answer(live.iam.delete_role().role_name(&role).send());
    let plan = live.repairs("the role was deleted behind CloudFormation's back", REPLACED).to_string();
    assert!(plan.contains("replaced, because its role is gone"), "{plan}");
    assert!(live.role() != role && live.pods() != pods, "there is another role, and another pod");

    let (role, pods) = (live.role(), live.pods());
    answer(live.stacks.delete_stack().stack_name(STACK).send());
    let mut changes = REPLACED.to_vec();
    changes[0] = "create Stack STACK";
    live.repairs("the stack was deleted", &changes);
    assert!(live.role() != role && live.pods() != pods, "there is another role, and another pod");
}

#[test]
fn a_stack_that_failed_is_explained_and_replaced() {
    let sandbox = Sandbox::lease();
    sandbox.fault(&json!({"deny": "iam:CreateRole"}));
    let failed = sandbox.run(&format!("{INSTALL} --approve -o json")).exits(1);
    failed.says(&[STACK, "ROLLBACK_COMPLETE", "hint", "needs the IAM action iam:CreateRole"]);
    let plan = sandbox.run(&format!("{INSTALL} -o json")).ok();
    assert_eq!(plan.changes()[0], format!("update Stack {STACK}"), "{}", plan.stdout);
    plan.shows(&["replaced, because it is ROLLBACK_COMPLETE", "iam:CreateRole"]);
    sandbox.heal();
    Live::install(&sandbox, INSTALL).has_nothing_to_do("a stack in ROLLBACK_COMPLETE");
}

#[test]
fn a_run_that_was_killed_is_finished_by_the_next() {
    let sandbox = Sandbox::lease();
    let approved = format!("{INSTALL} --approve");
    sandbox.leave_under_way(&approved, STACK, "CREATE_IN_PROGRESS");
    let plan = sandbox.run(&format!("{INSTALL} -o json")).ok();
    assert_eq!(plan.changes()[0], format!("update Stack {STACK}"), "{}", plan.stdout);
    plan.shows(&["it is CREATE_IN_PROGRESS: waits for it"]);
    sandbox.run_waiting(&approved).ok();
    let made = sandbox.aws_writes().into_iter().filter(|call| call.starts_with("cloudformation:")).collect::<Vec<_>>();
    assert_eq!(made, [""; 0], "the stack of the first run is the one");

    let live = Live::install(&sandbox, INSTALL);
    sandbox.slow_stacks();
    answer(live.stacks.delete_stack().stack_name(STACK).send());
    sandbox.run_waiting(&approved).ok().shows(&["+ Stack", "the old one is being deleted", "DNS works"]);
    live.has_nothing_to_do("the stack was being deleted");
}

#[test]
fn a_change_that_fails_is_undone_explained_and_made_by_the_next_run() {
    let sandbox = Sandbox::lease();
    let mut live = Live::install(&sandbox, INSTALL);
    let boundary = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
    live.install = format!("{INSTALL} --tags team=dns --permissions-boundary {boundary} --replicas 0");
    sandbox.fault(&json!({"deny": "iam:PutRolePermissionsBoundary"}));
    let failed = sandbox.run(&format!("{} --approve -o json", live.install)).exits(1);
    failed.says(&["UPDATE_ROLLBACK_COMPLETE", "iam:PutRolePermissionsBoundary", "hint"]);
    sandbox.heal();
    live.repairs("the update was undone", &["update Stack STACK", "update Deployment external-dns/external-dns"]);
}

#[test]
fn a_deletion_that_others_policies_stopped_names_them() {
    let sandbox = Sandbox::lease();
    let live = Live::install(&sandbox, INSTALL);
    let other = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
    answer(live.iam.attach_role_policy().role_name(live.role()).policy_arn(other).send());
    sandbox.run(INSTALL).ok().shows(&["Nothing to do", "policies that others attached", "AmazonS3ReadOnlyAccess"]);

    answer(live.stacks.delete_stack().stack_name(STACK).send());
    sandbox.forget_calls();
    let refused = sandbox.run(&format!("{INSTALL} --approve -o json")).exits(1);
    refused.says(&["AmazonS3ReadOnlyAccess", "for the role is replaced: aws iam detach-role-policy", other]);
    assert_eq!(sandbox.writes(), [""; 0]);
    answer(live.iam.detach_role_policy().role_name(live.role()).policy_arn(other).send());
    let plan = live.repairs("the stack was deleted by half", REPLACED).to_string();
    assert!(plan.contains("replaced, because it is DELETE_FAILED"), "{plan}");
}

#[test]
fn several_losses_at_once_are_made_good_in_one_run() {
    let sandbox = Sandbox::lease();
    let live = Live::install(&sandbox, INSTALL);
    let policy = live.policy_arn("AllowExternalDNSUpdates");
    answer(live.stacks.delete_stack().stack_name(STACK).send());
    answer(live.iam.delete_policy().policy_arn(policy).send());
    sandbox.delete("/api/v1/namespaces/external-dns");
    until("the namespace is gone", || {
        sandbox.kube("GET", "/api/v1/namespaces/external-dns", None).is_none().then_some(())
    });
    live.repairs(
        "policy, stack and namespace were deleted",
        &[
            "create Policy AllowExternalDNSUpdates",
            "create Stack STACK",
            "create Namespace external-dns",
            "create ServiceAccount external-dns/external-dns",
            "create Deployment external-dns/external-dns",
        ],
    );
}

#[test]
fn the_pod_starts_only_when_sts_knows_the_new_role() {
    let sandbox = Sandbox::lease();
    sandbox.fault(&json!({"propagation_seconds": 12}));
    Live::install(&sandbox, INSTALL);
    let calls = sandbox.all_aws_calls();
    let exchanges = calls.iter().filter(|call| call["action"] == "AssumeRoleWithWebIdentity");
    let (own, pods): (Vec<_>, Vec<_>) =
        exchanges.partition(|call| call["userAgent"].as_str().unwrap().contains("irsactl/"));
    let statuses = |calls: &[&Value]| calls.iter().map(|call| call["status"].as_u64().unwrap()).collect::<Vec<_>>();
    let (last, refused) = statuses(&own).split_last().map(|(last, refused)| (*last, refused.to_vec())).unwrap();
    assert!(last == 200 && refused.len() > 2 && refused.iter().all(|status| *status == 403), "{refused:?}, {last}");
    assert!(!pods.is_empty() && statuses(&pods).iter().all(|status| *status == 200), "no pod was refused");
}

#[test]
fn a_stack_that_another_run_works_on_is_brought_to_what_this_one_wants() {
    let sandbox = Sandbox::lease();
    let create = |rest: &str| format!("create iamserviceaccount --cluster eksdemo1 --name web {rest} --approve");
    let stack = "eksctl-eksdemo1-addon-iamserviceaccount-default-web";
    let everything = r#"--attach-policy {"Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*"}]}"#;
    let other = create(&format!("--attach-policy-arn {DYNAMO} {everything}"));
    sandbox.leave_under_way(&other, stack, "CREATE_IN_PROGRESS");
    let wanted = create(&format!("--attach-policy-arn {S3} --tags a=b"));
    sandbox.run_waiting(&wanted).ok().shows(&["it is CREATE_IN_PROGRESS: waits for it", "Policy1"]);
    let found = sandbox.stack(stack).unwrap();
    let role = name_of(role_arn(&found)).to_owned();
    assert_eq!(sandbox.attached(&role), [name_of(S3)]);
    assert_eq!(tags(&found).get("a"), Some(&"b"));
    let inline = wait(sandbox.iam().list_role_policies().role_name(&role).send()).unwrap();
    assert_eq!(inline.policy_names, [""; 0], "nothing of the other run stays");
    sandbox.run(&wanted).ok().shows(&["Nothing to do"]);

    // What an update takes over from a stack must still be so when its turn comes.
    let update = |rest: &str| format!("update iamserviceaccount --cluster eksdemo1 --name web {rest} --approve");
    sandbox.leave_under_way(&update("--tags x=y"), stack, "UPDATE_IN_PROGRESS");
    sandbox.run_waiting(&update("--tags z=z")).ok();
    let found = sandbox.stack(stack).unwrap();
    assert_eq!((tags(&found).get("x"), tags(&found).get("z")), (Some(&"y"), Some(&"z")));
}

#[test]
fn of_two_runs_at_once_the_last_word_counts_whole() {
    let sandbox = Sandbox::lease();
    sandbox.fault(&json!({"service": "cloudformation", "action": "CreateStack", "stack_seconds": 3}));
    let run = |policy: &str| {
        let line =
            format!("create iamserviceaccount --cluster eksdemo1 --name race --attach-policy-arn {policy} --approve");
        sandbox.run(&line).ok();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| run(S3));
        scope.spawn(|| run(DYNAMO));
    });
    let found = sandbox.stack("eksctl-eksdemo1-addon-iamserviceaccount-default-race").unwrap();
    assert_eq!(sandbox.attached(name_of(role_arn(&found))).len(), 1);
}
