//! `render operator-policy`: a sample of what `cargo test --test permissions` proves for every right of every command.

use serde_json::{Value, json};

use crate::support::Sandbox;
use crate::support::aws::wait;
use crate::support::operator::{HERE, Operator, rendered};

const INSTALL: &str = "install external-dns --cluster eksdemo1 --domain-filter example.com --interval 3s --approve";

fn of_install() -> Value {
    rendered(&format!("install external-dns {HERE}"))
}

fn without(mut policy: Value, action: &str) -> Value {
    let statements = policy["Statement"].as_array_mut().unwrap();
    for statement in statements.iter_mut() {
        if let Some(actions) = statement["Action"].as_array_mut() {
            actions.retain(|other| other != action);
        }
    }
    statements.retain(|statement| statement["Action"] != json!([]) && statement["Action"] != action);
    policy
}

#[test]
fn what_it_prints_suffices() {
    let sandbox = Sandbox::lease();
    let operator = Operator::new(&sandbox, &of_install()).with_cluster_admin();
    operator.run(INSTALL).ok().shows(&["DNS works"]);
    assert_eq!(operator.calls().iter().find(|call| call["status"] == 403), None);
}

#[test]
fn a_right_that_is_missing_is_named_before_the_first_write() {
    for action in ["iam:CreatePolicy", "iam:AttachRolePolicy", "cloudformation:CreateStack", "eks:DescribeCluster"] {
        let sandbox = Sandbox::lease();
        let operator = Operator::new(&sandbox, &without(of_install(), action)).with_cluster_admin();
        operator.run(INSTALL).exits(1).says(&[action]);
        assert_eq!(operator.writes(), [""; 0], "{action}");
    }
}

#[test]
fn each_of_several_policies_is_foreseen_by_itself() {
    let command = "create iamserviceaccount --name web --namespace default --attach-policy-arn policy/a";
    let sandbox = Sandbox::lease();
    for name in ["a", "b", "c"] {
        let policy = json!({"Version": "2012-10-17", "Statement":
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::{name}/*")}});
        wait(sandbox.iam().create_policy().policy_name(name).policy_document(policy.to_string()).send()).unwrap();
    }
    let two = format!("{command} --attach-policy-arn policy/b");
    let operator = Operator::new(&sandbox, &rendered(&format!("{two} {HERE}"))).with_cluster_admin();
    let third = format!("{two} --attach-policy-arn policy/c --cluster eksdemo1 --approve");
    operator.run(&third).exits(1).says(&["iam:AttachRolePolicy", "nothing was changed"]);
    assert_eq!(operator.writes(), [""; 0]);
    operator.run(&format!("{two} --cluster eksdemo1 --approve")).ok();
}

#[test]
fn a_role_and_a_policy_of_other_names_are_removed_where_the_flags_say_them() {
    let sandbox = Sandbox::lease();
    let delete = format!("delete iamserviceaccount {HERE} --name web");
    let create = delete.replace("delete", "create") + " --role-name mine --attach-policy-arn policy/x --approve";
    let create = create.replace("policy/x", "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess");
    sandbox.run(&create.replace(HERE, "--cluster eksdemo1")).ok();
    let operator = Operator::new(&sandbox, &rendered(&format!("{delete} --role-name mine"))).with_cluster_admin();
    operator.run(&format!("{} --approve", delete.replace(HERE, "--cluster eksdemo1"))).ok();
    assert!(!sandbox.has_role("mine"));
    drop(sandbox);

    let sandbox = Sandbox::lease();
    sandbox.run(&format!("{INSTALL} --policy-name dns --role-name mine")).ok();
    let uninstall = rendered(&format!("uninstall external-dns {HERE} --role-name mine --policy-name dns"));
    let operator = Operator::new(&sandbox, &uninstall).with_cluster_admin();
    operator.run("uninstall external-dns --cluster eksdemo1 --approve").ok();
    assert!(!sandbox.has_role("mine") && !sandbox.has_policy("dns"));
}

/// A file says what stays, so it doesn't narrow what goes.
#[test]
fn what_a_file_does_not_name_can_be_anything() {
    let sandbox = Sandbox::lease();
    let policy = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
    let accounts = format!(
        "iam: {{serviceAccounts: [{{metadata: {{name: keep}}, roleName: keep, roleOnly: true, attachPolicyARNs: ['{policy}']}}]}}"
    );
    let text = format!(
        "apiVersion: eksctl.io/v1alpha5\nkind: ClusterConfig\nmetadata: {{name: eksdemo1, region: us-west-2}}\n{accounts}\n"
    );
    let file = sandbox.file("keep.yaml", &text);
    let policy = rendered(&format!("delete iamserviceaccount -f {} --only-missing", file.display())).to_string();
    assert!(policy.contains("eksctl-eksdemo1-addon-iamserviceaccount-*") && !policy.contains("role/keep"), "{policy}");
}
