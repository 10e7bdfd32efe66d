//! `render operator-policy`: a sample of what `cargo test --test permissions` proves for every right of every command.

use serde_json::{Value, json};

use crate::support::Sandbox;
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
