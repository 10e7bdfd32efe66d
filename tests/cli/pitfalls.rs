//! What eksctl's users stumble over, by the rows of its ranked pain points, and what irsactl does instead.

use serde_json::{Value, json};

use crate::config_file::run_with;
use crate::iamserviceaccount::{create_foreign, created, path, stack_name, states, trust};
use crate::interop::{made_by_eksctl, template};
use crate::support::Sandbox;
use crate::support::aws::{S3, name_of, role_arn, tags, wait};

const CREATE: &str = "create iamserviceaccount --cluster eksdemo1";
const GET: &str = "get iamserviceaccount --cluster eksdemo1";
const UPDATE: &str = "update iamserviceaccount --cluster eksdemo1";
const DELETE: &str = "delete iamserviceaccount --cluster eksdemo1";
const DYNAMO: &str = "arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess";
const ROLE: &str = "eks.amazonaws.com/role-arn";
const NOTHING: [&str; 0] = [];

/// A ClusterConfig with these entries below `iam.serviceAccounts`.
fn config(entries: &str) -> String {
    format!(
        "apiVersion: eksctl.io/v1alpha5\nkind: ClusterConfig\nmetadata: {{name: eksdemo1, region: us-west-2}}\n\
         iam:\n  serviceAccounts:\n{entries}"
    )
}

/// The template of the stack of `default/web`, as it was written.
fn written_template(sandbox: &Sandbox) -> Value {
    let request = sandbox.cloudformation().get_template().stack_name(stack_name("default", "web"));
    serde_json::from_str(&wait(request.send()).unwrap().template_body.unwrap()).unwrap()
}

/// eksctl's template for `default/web` with everything in it that its `update` drops or fails on.
fn rich_template(sandbox: &Sandbox) -> Value {
    let mut rich = template(sandbox, &json!([S3]));
    let role = &mut rich["Resources"]["Role1"]["Properties"];
    role["RoleName"] = json!("web-role");
    role["PermissionsBoundary"] = json!("arn:aws:iam::aws:policy/PowerUserAccess");
    let issuer = sandbox.fact("issuer").trim_start_matches("https://");
    role["AssumeRolePolicyDocument"]["Statement"][0]["Condition"] = json!({
        "StringEquals": {format!("{issuer}:aud"): "sts.amazonaws.com"},
        "StringLike": {format!("{issuer}:sub"): "system:serviceaccount:default:web-*"},
    });
    let policy = |id: &str, action: &str| {
        let statement = json!({"Effect": "Allow", "Action": [action], "Resource": "*"});
        json!({"Type": "AWS::IAM::Policy", "Properties": {
            "PolicyName": {"Fn::Sub": format!("${{AWS::StackName}}-{id}")},
            "Roles": [{"Ref": "Role1"}],
            "PolicyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        }})
    };
    for (id, action) in [("Policy1", "s3:Get*"), ("PolicyCertManagerGetChange", "route53:GetChange")] {
        rich["Resources"][id] = policy(id, action);
    }
    rich
}

#[test]
fn row_8_update_replaces_the_managed_policies_and_drops_nothing() {
    let sandbox = Sandbox::lease();
    let before = rich_template(&sandbox);
    let role = made_by_eksctl(&sandbox, &before);
    let inline = || wait(sandbox.iam().list_role_policies().role_name("web-role").send()).unwrap().policy_names;
    let (policies, account) = (inline(), path("default", "web"));
    sandbox.patch(&account, &json!({"metadata": {"annotations": {ROLE: null, "theirs": "1"}}}));
    sandbox.forget_calls();

    // The plan names every change, and nothing else changes.
    let line = format!("{UPDATE} web --attach-policy-arn {DYNAMO} --tags team=dns");
    let plan = sandbox.run(&format!("{line} -o json")).ok();
    let stack = format!("update Stack {}", stack_name("default", "web"));
    assert_eq!(plan.changes(), [stack.as_str(), "update ServiceAccount default/web"]);
    let diff = plan.json()["steps"][0]["diff"].as_array().unwrap().clone();
    let paths: Vec<_> = diff.iter().map(|change| change["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/Resources/Role1/Properties/ManagedPolicyArns", "/Tags/team"]);
    assert_eq!(sandbox.writes(), NOTHING);

    sandbox.run(&format!("{line} --approve")).ok();
    let mut expected = before;
    expected["Resources"]["Role1"]["Properties"]["ManagedPolicyArns"] = json!([DYNAMO]);
    assert_eq!(written_template(&sandbox), expected);
    assert_eq!((sandbox.attached("web-role"), inline()), (vec![name_of(DYNAMO).to_owned()], policies));
    let live = wait(sandbox.iam().get_role().role_name("web-role").send()).unwrap().role.unwrap();
    assert!(live.permissions_boundary().is_some() && live.assume_role_policy_document().unwrap().contains("web-"));
    let found = sandbox.stack(&stack_name("default", "web")).unwrap();
    assert_eq!((tags(&found)["team"], role_arn(&found)), ("dns", role.as_str()));
    // The ServiceAccount is looked after, too.
    assert_eq!(sandbox.object(&account)["metadata"]["annotations"], json!({ROLE: role, "theirs": "1"}));
    sandbox.run(&format!("{line} --detailed-exitcode")).ok().shows(&["Nothing to do"]);
}

#[test]
fn row_9_the_label_of_helm_is_not_stolen_and_delete_leaves_its_serviceaccount() {
    let sandbox = Sandbox::lease();
    create_foreign(&sandbox, "web", &json!({"theirs": "1"}));
    let line = format!("{CREATE} web --attach-policy-arn {S3} --approve");
    sandbox.run(&line).exits(1).says(&[
        "neither irsactl nor eksctl made it",
        "Helm",
        "--override-existing-serviceaccounts",
    ]);
    assert_eq!(sandbox.writes(), NOTHING);
    sandbox.run(&format!("{line} --override-existing-serviceaccounts")).ok();
    let account = sandbox.object(&path("default", "web"));
    assert_eq!(account["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": "Helm"}));
    assert!(account["metadata"]["annotations"][ROLE].is_string());
    sandbox.run(&line).ok().shows(&["Nothing to do"]);

    sandbox.run(&format!("{DELETE} web --approve")).ok().shows(&["- Stack", "~ ServiceAccount", "only loses the role"]);
    let account = sandbox.object(&path("default", "web"));
    assert_eq!(account["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": "Helm"}));
    assert_eq!(account["metadata"]["annotations"], json!({"theirs": "1"}));

    // The same where the role is one of others, too: irsactl takes off what it set.
    sandbox.create_role_trusting("jobs", &trust(&sandbox, "web"));
    let role = "arn:aws:iam::123456789012:role/jobs";
    sandbox.run(&format!("{CREATE} web --attach-role-arn {role} --override-existing-serviceaccounts --approve")).ok();
    sandbox.run(&format!("{DELETE} web --approve")).ok().shows(&["~ ServiceAccount"]);
    assert_eq!(sandbox.object(&path("default", "web"))["metadata"]["annotations"], json!({"theirs": "1"}));
    // What others set is theirs, also where it names the role of the stack.
    sandbox.run(&format!("{CREATE} chart --attach-policy-arn {S3} --role-name chart --role-only --approve")).ok();
    let chart = json!({ROLE: "arn:aws:iam::123456789012:role/chart"});
    create_foreign(&sandbox, "chart", &chart);
    let shown = ["- Stack", "ServiceAccount default/chart was made by others and is left alone; its annotation"];
    sandbox.run(&format!("{DELETE} chart --approve")).ok().shows(&shown);
    assert_eq!(sandbox.object(&path("default", "chart"))["metadata"]["annotations"], chart);

    create_foreign(&sandbox, "helm", &json!({ROLE: role}));
    sandbox.forget_calls();
    let external = format!("default/helm is external: its annotation names role {role}, which others made");
    sandbox.run(&format!("{DELETE} helm --approve")).ok().shows(&[&external, "left alone", "Nothing to do"]);
    assert_eq!(sandbox.writes(), NOTHING);
}

#[test]
fn row_12_approve_and_detailed_exitcode_are_one_rule_for_every_command() {
    let sandbox = Sandbox::lease();
    created(&sandbox, "default", "web");
    let provider = sandbox.fact("issuer").trim_start_matches("https://");
    let provider = format!("arn:aws:iam::123456789012:oidc-provider/{provider}");
    wait(sandbox.iam().delete_open_id_connect_provider().open_id_connect_provider_arn(provider).send()).unwrap();
    let file =
        sandbox.file("web.yaml", &config(&format!("  - {{metadata: {{name: web}}, attachPolicyARNs: [{DYNAMO}]}}\n")));
    let file = file.display();
    sandbox.forget_calls();
    let lines = [
        "create policy Dns".to_owned(),
        "install external-dns --cluster eksdemo1".to_owned(),
        "utils associate-iam-oidc-provider --cluster eksdemo1".to_owned(),
        format!("utils associate-iam-oidc-provider -f {file}"),
        format!("{CREATE} web --attach-policy-arn {DYNAMO}"),
        format!("create iamserviceaccount -f {file}"),
        format!("{UPDATE} web --attach-policy-arn {DYNAMO}"),
        format!("{DELETE} web"),
        format!("delete iamserviceaccount -f {file}"),
    ];
    for line in &lines {
        for (flags, code) in [("", 0), ("--approve=false", 0), ("--detailed-exitcode", 3)] {
            let run = sandbox.run(&format!("{line} {flags}")).exits(code).shows(&["Plan"]);
            run.says(&["No changes were applied: run again with --approve"]);
        }
        assert_eq!(sandbox.writes(), NOTHING, "{line}");
    }
    // Each is accepted with --approve, which is then 0, whatever the detailed exit code would be.
    let approve = |line: &str| sandbox.run(&format!("{line} --approve --detailed-exitcode")).ok();
    for line in [0, 3, 5, 6, 7].map(|index: usize| &lines[index]) {
        approve(line);
    }
    sandbox.forget_calls();
    for line in [0, 2, 3, 7, 8].map(|index: usize| &lines[index]) {
        assert!(!approve(line).stderr.contains("--approve"), "{line}");
    }
    assert_eq!(sandbox.writes(), NOTHING);
}

#[test]
fn row_13_delete_waits_and_names_the_namespace_that_was_meant() {
    let sandbox = Sandbox::lease();
    let role = created(&sandbox, "web", "uploads");
    let stack = stack_name("web", "uploads");
    sandbox.forget_calls();
    let line = format!("{DELETE} --namespace web --name uploads");
    sandbox.run(&line).ok().shows(&["- Stack", name_of(&role), "- ServiceAccount", "2 to delete"]).says(&["--approve"]);
    assert_eq!(sandbox.writes(), NOTHING);
    sandbox.fault(&json!({"service": "cloudformation", "action": "DeleteStack", "stack_seconds": 2}));
    sandbox.run(&format!("{line} --approve")).ok();
    assert_eq!(sandbox.writes(), ["cloudformation:DeleteStack", "delete serviceaccounts web/uploads"]);
    assert_eq!((sandbox.stack_status(&stack).as_str(), sandbox.has_role(name_of(&role))), ("gone", false));
    assert!(sandbox.kube("GET", &path("web", "uploads"), None).is_none());
    assert!(sandbox.kube("GET", "/api/v1/namespaces/web", None).is_some());

    sandbox.forget_calls();
    sandbox.run(&format!("{line} --approve")).ok().says(&["no iamserviceaccount web/uploads found"]);
    created(&sandbox, "web", "uploads");
    sandbox.forget_calls();
    sandbox.run(&format!("{DELETE} uploads --approve")).ok().says(&["default/uploads", "web/uploads", "--namespace"]);
    assert_eq!(sandbox.writes(), NOTHING);
}

#[test]
fn row_13_created_again_right_after_delete() {
    let sandbox = Sandbox::lease();
    let role = created(&sandbox, "default", "web");
    let stack = stack_name("default", "web");
    sandbox.slow_stacks();
    sandbox.run(&format!("{DELETE} web --approve --wait=false")).ok().says(&["began to delete Stack"]);
    assert_eq!(sandbox.stack_status(&stack), "DELETE_IN_PROGRESS");
    assert!(sandbox.kube("GET", &path("default", "web"), None).is_none());

    let line = format!("{CREATE} web --attach-policy-arn {S3} --approve");
    sandbox.run_waiting(&line).ok().shows(&["+ Stack", "the old one is being deleted", "+ ServiceAccount"]);
    let anew = role_arn(&sandbox.stack(&stack).unwrap()).to_owned();
    assert!(anew != role && !sandbox.has_role(name_of(&role)));
    assert_eq!(sandbox.object(&path("default", "web"))["metadata"]["annotations"][ROLE], anew);
    // And once more: what is being deleted already is waited for.
    sandbox.slow_stacks();
    sandbox.run(&format!("{DELETE} web --approve --wait=false")).ok();
    sandbox.run_waiting(&format!("{DELETE} web --approve")).ok().shows(&["it is being deleted: waits for it"]);
    assert_eq!(sandbox.stack_status(&stack), "gone");
}

#[test]
fn row_13_entries_with_a_role_of_others_are_deleted_by_a_file() {
    let sandbox = Sandbox::lease();
    sandbox.create_role_trusting("jobs", &trust(&sandbox, "jobs"));
    let file = config(&format!(
        "  - {{metadata: {{name: web}}, attachPolicyARNs: [{S3}]}}\n  \
         - {{metadata: {{name: jobs}}, attachRoleARN: \"arn:aws:iam::123456789012:role/jobs\"}}\n"
    ));
    run_with(&sandbox, "create iamserviceaccount --approve", &file).ok();
    let deleted = run_with(&sandbox, "delete iamserviceaccount --approve -o json", &file).ok();
    let stack = format!("delete Stack {}", stack_name("default", "web"));
    let expected = [&stack, "delete ServiceAccount default/web", "delete ServiceAccount default/jobs"];
    assert_eq!(deleted.changes(), expected);
    assert!(sandbox.kube("GET", &path("default", "jobs"), None).is_none() && sandbox.has_role("jobs"));
}

#[test]
fn row_13_only_missing_leaves_aws_node_alone() {
    let sandbox = Sandbox::lease();
    created(&sandbox, "kube-system", "aws-node");
    created(&sandbox, "default", "old");
    created(&sandbox, "default", "web");
    let file = config(&format!("  - {{metadata: {{name: web}}, attachPolicyARNs: [{S3}]}}\n"));
    let line = "delete iamserviceaccount --only-missing -o json";
    let plan = run_with(&sandbox, line, &file).ok();
    let stack = format!("delete Stack {}", stack_name("default", "old"));
    assert_eq!(plan.changes(), [stack.as_str(), "delete ServiceAccount default/old"]);
    run_with(&sandbox, &format!("{line} --approve"), &file).ok();
    let left = states(&sandbox.run(&format!("{GET} -o json")).ok());
    assert_eq!(left, ["default/web ready irsactl", "kube-system/aws-node ready irsactl"]);
}

#[test]
fn row_13_delete_needs_neither_provider_nor_cluster() {
    let sandbox = Sandbox::lease();
    created(&sandbox, "default", "one");
    created(&sandbox, "default", "two");
    let issuer = sandbox.fact("issuer").trim_start_matches("https://");
    let arn = format!("arn:aws:iam::123456789012:oidc-provider/{issuer}");
    wait(sandbox.iam().delete_open_id_connect_provider().open_id_connect_provider_arn(arn).send()).unwrap();
    sandbox.run(&format!("{DELETE} one --approve")).ok();
    assert!(sandbox.kube("GET", &path("default", "one"), None).is_none());

    let eks = aws_sdk_eks::Client::new(&sandbox.aws());
    wait(eks.delete_cluster().name("eksdemo1").send()).unwrap();
    sandbox.run(&format!("{DELETE} two --approve")).ok().says(&["warning: cluster eksdemo1 doesn't exist"]);
    assert_eq!(sandbox.stack_status(&stack_name("default", "two")), "gone");
}

#[test]
fn row_21_an_attached_role_is_checked_listed_and_never_changed() {
    let sandbox = Sandbox::lease();
    let line = format!("{CREATE} jobs --attach-role-arn arn:aws:iam::123456789012:role/jobs");
    sandbox.run(&format!("{line} --approve")).exits(1).says(&["there is no role arn:aws:iam::123456789012:role/jobs"]);
    sandbox.create_role_trusting("jobs", &trust(&sandbox, "others"));
    let refused = sandbox.run(&format!("{line} --approve")).exits(1);
    let refused = refused.says(&["doesn't trust ServiceAccount default/jobs", "hint: ", "irsactl render trust-policy"]);
    assert_eq!(sandbox.writes(), NOTHING);

    // What the hint prints is what the role needs.
    let command = refused.stderr.split("irsactl ").last().unwrap().trim().to_owned();
    let document = sandbox.run(&command).ok().json().to_string();
    wait(sandbox.iam().update_assume_role_policy().role_name("jobs").policy_document(document).send()).unwrap();
    sandbox.run(&format!("{line} --approve")).ok();
    assert!(!sandbox.aws_writes().iter().any(|call| call.starts_with("cloudformation:")), "{:?}", sandbox.aws_writes());
    let account = sandbox.object(&path("default", "jobs"));
    assert_eq!(account["metadata"]["annotations"][ROLE], "arn:aws:iam::123456789012:role/jobs");
    assert_eq!(states(&sandbox.run(&format!("{GET} -o json")).ok()), ["default/jobs ready external"]);
    sandbox.forget_calls();
    sandbox.run(&format!("{line} --approve")).ok().shows(&["Nothing to do"]);
    let shorthand = format!("{CREATE} jobs --attach-role-arn role/jobs --approve");
    sandbox.run(&shorthand).ok().shows(&["Nothing to do"]);
    assert_eq!(sandbox.writes(), NOTHING);
    // Whoever changes the trust policy later is found out.
    let theirs = trust(&sandbox, "others").to_string();
    wait(sandbox.iam().update_assume_role_policy().role_name("jobs").policy_document(theirs).send()).unwrap();
    let listed = sandbox.run(&format!("{GET} -o json")).ok();
    assert_eq!(states(&listed), ["default/jobs drifted external"]);
    let mine = trust(&sandbox, "jobs").to_string();
    wait(sandbox.iam().update_assume_role_policy().role_name("jobs").policy_document(mine).send()).unwrap();

    sandbox
        .run(&format!("{CREATE} far --attach-role-arn arn:aws:iam::111122223333:role/far --approve"))
        .ok()
        .says(&["warning: ", "another account"]);
    // A role made before stays until somebody wants it gone.
    created(&sandbox, "default", "both");
    sandbox.create_role_trusting("both", &trust(&sandbox, "both"));
    let both = format!("{CREATE} both --attach-role-arn arn:aws:iam::123456789012:role/both --approve");
    let note = "irsactl delete iamserviceaccount --cluster eksdemo1 --region us-west-2 --namespace default --name both \
                --role-only --approve";
    sandbox.run(&both).ok().shows(&["~ ServiceAccount", "its role stay", note]);
    sandbox.run(note.strip_prefix("irsactl ").unwrap()).ok();
    sandbox.run(&both).ok().shows(&["Nothing to do"]);

    sandbox.fault(&json!({"deny": "iam:GetRole"}));
    sandbox.run(&line).ok().says(&["warning: ", "can't be read", "iam:GetRole"]);
    sandbox.heal();
    sandbox.run(&format!("{DELETE} jobs --approve")).ok().shows(&["- ServiceAccount"]);
    assert!(sandbox.has_role("jobs"));
}

#[test]
fn row_22_termination_protection_is_asked_for_and_taken_off_by_delete() {
    let sandbox = Sandbox::lease();
    let protected = |name: &str| sandbox.stack(&stack_name("default", name)).unwrap().enable_termination_protection();
    created(&sandbox, "default", "web");
    assert_eq!(protected("web"), Some(false));
    sandbox.forget_calls();
    sandbox.run(&format!("{DELETE} web --approve")).ok();
    assert_eq!(sandbox.aws_writes(), ["cloudformation:DeleteStack"]);

    let line = format!("{CREATE} safe --attach-policy-arn {S3}");
    sandbox.run(&format!("{line} --termination-protection --approve")).ok();
    assert_eq!(protected("safe"), Some(true));
    // Without the flag it stays as it is; nobody has to repeat it.
    sandbox.run(&format!("{line} --detailed-exitcode")).ok().shows(&["Nothing to do"]);
    sandbox.forget_calls();
    let plan = sandbox.run(&format!("{DELETE} safe")).ok().shows(&["its termination protection is taken off"]);
    assert_eq!((sandbox.writes().len(), protected("safe")), (0, Some(true)), "{}", plan.stdout);
    sandbox.run(&format!("{DELETE} safe --approve")).ok();
    let writes = ["cloudformation:UpdateTerminationProtection", "cloudformation:DeleteStack"];
    assert_eq!(sandbox.aws_writes(), writes);
    assert_eq!(sandbox.stack_status(&stack_name("default", "safe")), "gone");

    // A failed stack that eksctl protected is no obstacle either.
    sandbox.fault(&json!({"deny": "iam:CreateRole"}));
    sandbox.run(&format!("{line} --termination-protection --approve")).exits(1);
    sandbox.heal();
    assert_eq!(protected("safe"), Some(true));
    sandbox.run(&format!("{line} --approve")).ok().shows(&["replaced, because it is ROLLBACK_COMPLETE"]);
    assert_eq!(protected("safe"), Some(false));
}
