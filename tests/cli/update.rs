//! `update iamserviceaccount`.

use serde_json::json;

use crate::support::Sandbox;
use crate::support::aws::{S3, wait};

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
