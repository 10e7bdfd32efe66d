//! `update iamserviceaccount`.

use serde_json::json;

use crate::support::Sandbox;
use crate::support::aws::{S3, name_of, role_arn, tags, wait};

const UPDATE: &str = "update iamserviceaccount --cluster eksdemo1 --name app";
const DYNAMO: &str = "arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess";
const CACHE: &str = "arn:aws:iam::aws:policy/AmazonElastiCacheFullAccess";

/// Creates `default/app` with two policies and a boundary, and gives its role's name.
fn create(sandbox: &Sandbox) -> String {
    let line = format!(
        "create iamserviceaccount --cluster eksdemo1 --name app --role-name app-role --tags team=web \
         --attach-policy-arn {DYNAMO},{CACHE} --permissions-boundary arn:aws:iam::aws:policy/PowerUserAccess --approve"
    );
    sandbox.run(&line).ok();
    "app-role".to_owned()
}

fn attached(sandbox: &Sandbox, role: &str) -> Vec<String> {
    let answer = wait(sandbox.iam().list_attached_role_policies().role_name(role).send()).unwrap();
    answer.attached_policies().iter().map(|policy| policy.policy_arn().unwrap().to_owned()).collect()
}

#[test]
fn j1_j7_m3_managed_policies_are_replaced_and_all_else_stays() {
    let sandbox = Sandbox::lease();
    let role = create(&sandbox);
    let before = wait(sandbox.iam().get_role().role_name(&role).send()).unwrap().role.unwrap();

    let line = format!("{UPDATE} --attach-policy-arn {S3}");
    sandbox.forget_calls();
    let plan = sandbox.run(&format!("{line} -o json")).ok();
    assert_eq!(plan.changes(), ["update Stack eksctl-eksdemo1-addon-iamserviceaccount-default-app"]);
    assert_eq!(sandbox.writes(), [""; 0]);

    sandbox.run(&format!("{line} --approve")).ok().shows(&[S3]);
    assert_eq!(attached(&sandbox, &role), [S3]);
    let after = wait(sandbox.iam().get_role().role_name(&role).send()).unwrap().role.unwrap();
    assert_eq!(after.arn(), before.arn());
    assert_eq!(after.assume_role_policy_document(), before.assume_role_policy_document());
    assert_eq!(after.permissions_boundary(), before.permissions_boundary());
    assert!(after.tags().iter().any(|tag| tag.key() == "team" && tag.value() == "web"));

    sandbox.forget_calls();
    sandbox.run(&format!("{line} --approve")).ok().shows(&["Nothing to do"]);
    assert_eq!(sandbox.writes(), [""; 0]);
}

#[test]
fn boundary_and_tags_change_alone_and_a_lost_annotation_comes_back() {
    let sandbox = Sandbox::lease();
    let role = create(&sandbox);
    let path = "/api/v1/namespaces/default/serviceaccounts/app";
    sandbox.patch(path, &json!({"metadata": {"annotations": {"eks.amazonaws.com/role-arn": null}}}));
    let boundary = "arn:aws:iam::aws:policy/ReadOnlyAccess";
    let run =
        sandbox.run(&format!("{UPDATE} --permissions-boundary {boundary} --tags team=dns --approve -o json")).ok();
    assert_eq!(
        run.changes(),
        ["update Stack eksctl-eksdemo1-addon-iamserviceaccount-default-app", "update ServiceAccount default/app"]
    );
    let mut policies = attached(&sandbox, &role);
    policies.sort();
    assert_eq!(policies, [DYNAMO, CACHE]);
    let after = wait(sandbox.iam().get_role().role_name(&role).send()).unwrap().role.unwrap();
    assert_eq!(after.permissions_boundary().unwrap().permissions_boundary_arn(), Some(boundary));
    assert!(after.tags().iter().any(|tag| tag.key() == "team" && tag.value() == "dns"));
    assert_eq!(sandbox.object(path)["metadata"]["annotations"]["eks.amazonaws.com/role-arn"], after.arn());
}

#[test]
fn j3_what_has_no_stack_is_not_updated() {
    let sandbox = Sandbox::lease();
    sandbox.run(&format!("{UPDATE} --attach-policy-arn {S3} --approve")).exits(1).says(&["default/app", "hint:"]);
    sandbox.run(UPDATE).exits(2).says(&["--attach-policy-arn"]);
    assert_eq!(sandbox.writes(), [""; 0]);
}

/// A stack that has to be made anew is `create`'s: what `update` isn't told would be lost with a run that ends between the
/// deletion and the creation.
#[test]
fn a_stack_that_must_be_made_anew_is_left_to_create_with_all_that_it_holds() {
    let sandbox = Sandbox::lease();
    let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}]}"#;
    let line = format!(
        "create iamserviceaccount --cluster eksdemo1 --name app --role-path /apps/ --subject-pattern app* --tags team=web \
         --attach-policy-arn {DYNAMO},{CACHE} --permissions-boundary arn:aws:iam::aws:policy/PowerUserAccess \
         --attach-policy {document} --well-known-policy externalDNS --termination-protection --labels tier=backend \
         --approve"
    );
    sandbox.run(&line).ok();
    let stack = || sandbox.stack("eksctl-eksdemo1-addon-iamserviceaccount-default-app").unwrap();
    let before = stack();
    let template = || {
        let request = sandbox.cloudformation().get_template().stack_name(before.stack_name().unwrap());
        wait(request.send()).unwrap().template_body
    };
    let whole = template();
    let role = name_of(role_arn(&before)).to_owned();
    for arn in attached(&sandbox, &role) {
        wait(sandbox.iam().detach_role_policy().role_name(&role).policy_arn(arn).send()).unwrap();
    }
    for policy in wait(sandbox.iam().list_role_policies().role_name(&role).send()).unwrap().policy_names {
        wait(sandbox.iam().delete_role_policy().role_name(&role).policy_name(policy).send()).unwrap();
    }
    wait(sandbox.iam().delete_role().role_name(&role).send()).unwrap();

    sandbox.forget_calls();
    let run = sandbox.run(&format!("{UPDATE} --tags team=dns --approve -o json"));
    let run = run.fails("stack-failed", &["can't be updated: its role is gone"]);
    assert_eq!(sandbox.writes(), [""; 0]);
    let hint = run.error()["hint"].as_str().unwrap().to_owned();
    let command = &hint[hint.find("irsactl create").unwrap()..];
    sandbox.follow(command);
    let after = stack();
    assert_ne!(after.stack_id(), before.stack_id());
    assert_eq!((template(), after.enable_termination_protection()), (whole, Some(true)));
    assert_eq!(tags(&after).get("team"), Some(&"dns"));
    let account = sandbox.object("/api/v1/namespaces/default/serviceaccounts/app");
    assert_eq!(account["metadata"]["labels"]["tier"], "backend");
    sandbox.follow(command);
    sandbox.run(&format!("{UPDATE} --tags team=dns")).ok().shows(&["Nothing to do"]);
}
