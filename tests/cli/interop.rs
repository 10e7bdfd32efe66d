//! Stacks and ServiceAccounts as eksctl makes them, and what eksctl looks for in irsactl's.

use aws_sdk_cloudformation::types::{Capability, ChangeSetType, Tag};
use serde_json::{Value, json};

use crate::support::aws::{NewStack, S3, name_of, role_arn, tags, wait};
use crate::support::{Sandbox, until};

const CREATE: &str = "create iamserviceaccount --cluster eksdemo1";
const GET: &str = "get iamserviceaccount --cluster eksdemo1 -o json";
const DELETE: &str = "delete iamserviceaccount --cluster eksdemo1";
const STACK: &str = "eksctl-eksdemo1-addon-iamserviceaccount-default-web";
const ACCOUNT: &str = "/api/v1/namespaces/default/serviceaccounts/web";
const DYNAMO: &str = "arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess";
const ROLE: &str = "eks.amazonaws.com/role-arn";
const NOTHING: [&str; 0] = [];

/// eksctl's tags of the stack of `default/web`, one of `metadata.tags` among them.
const TAGS: [(&str, &str); 5] = [
    ("alpha.eksctl.io/cluster-name", "eksdemo1"),
    ("eksctl.cluster.k8s.io/v1alpha1/cluster-name", "eksdemo1"),
    ("alpha.eksctl.io/eksctl-version", "0.215.0"),
    ("team", "web"),
    ("alpha.eksctl.io/iamserviceaccount-name", "default/web"),
];

/// eksctl's template for `default/web`.
pub fn template(sandbox: &Sandbox, policies: &Value) -> Value {
    let issuer = sandbox.fact("issuer").trim_start_matches("https://");
    let condition = json!({"StringEquals": {
        format!("{issuer}:aud"): "sts.amazonaws.com",
        format!("{issuer}:sub"): "system:serviceaccount:default:web",
    }});
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Action": ["sts:AssumeRoleWithWebIdentity"],
        "Condition": condition,
        "Effect": "Allow",
        "Principal": {"Federated": format!("arn:aws:iam::123456789012:oidc-provider/{issuer}")},
    }]});
    json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "IAM role for serviceaccount \"default/web\" [created and managed by eksctl]",
        "Resources": {"Role1": {
            "Type": "AWS::IAM::Role",
            "Properties": {"AssumeRolePolicyDocument": trust, "ManagedPolicyArns": policies},
        }},
        "Outputs": {"Role1": {"Value": {"Fn::GetAtt": "Role1.Arn"}}},
    })
}

/// What `eksctl utils associate-iam-oidc-provider` and `eksctl create iamserviceaccount` leave; gives the role's ARN.
pub fn made_by_eksctl(sandbox: &Sandbox, template: &Value) -> String {
    create_provider(sandbox);
    sandbox.create_stack(&NewStack { name: STACK, template, tags: &TAGS, protected: true });
    let role = role_arn(&sandbox.stack(STACK).unwrap()).to_owned();
    annotate_as_eksctl(sandbox, &role);
    role
}

fn create_provider(sandbox: &Sandbox) {
    let provider = sandbox.iam().create_open_id_connect_provider().url(sandbox.fact("issuer"));
    wait(provider.client_id_list("sts.amazonaws.com").thumbprint_list("0".repeat(40)).send()).unwrap();
}

/// eksctl creates ServiceAccounts by POST, as the field manager `eksctl`.
fn annotate_as_eksctl(sandbox: &Sandbox, role: &str) {
    let labels = json!({"app.kubernetes.io/managed-by": "eksctl"});
    let object = json!({"metadata": {"name": "web", "labels": labels, "annotations": {ROLE: role}}});
    sandbox.create("/api/v1/namespaces/default/serviceaccounts?fieldManager=eksctl", &object);
}

/// State and source of the only service account.
fn state(sandbox: &Sandbox) -> (String, String) {
    let rows = sandbox.run(GET).ok().json();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    let text = |key: &str| rows[0]["status"][key].as_str().unwrap().to_owned();
    (text("state"), text("source"))
}

#[test]
fn c13_d3_what_eksctl_made_is_listed_kept_changed_and_deleted() {
    let sandbox = Sandbox::lease();
    let role = made_by_eksctl(&sandbox, &template(&sandbox, &json!([S3])));
    assert_eq!(state(&sandbox), ("ready".to_owned(), "eksctl".to_owned()));
    sandbox.forget_calls();
    let line = format!("{CREATE} web --approve");
    sandbox.run(&format!("{line} --attach-policy-arn {S3}")).ok().shows(&["Nothing to do"]);
    assert_eq!(sandbox.writes(), NOTHING);

    let change = format!("{line} --attach-policy-arn {DYNAMO} --tags a=b");
    sandbox.run(&change).ok().shows(&["~ Stack", "ManagedPolicyArns", "/Tags/a: (none) → b", "1 to change"]);
    let found = sandbox.stack(STACK).unwrap();
    assert_eq!((role_arn(&found), sandbox.attached(name_of(&role))), (role.as_str(), vec![name_of(DYNAMO).to_owned()]));
    for (key, value) in TAGS.into_iter().filter(|(key, _)| !key.ends_with("eksctl-version")).chain([("a", "b")]) {
        assert_eq!(tags(&found).get(key), Some(&value), "{key}");
    }
    assert_eq!(found.enable_termination_protection(), Some(true), "eksctl's protection stays");
    assert_eq!(sandbox.change_sets(STACK), 0);
    assert_eq!(sandbox.aws_writes().last().unwrap(), "cloudformation:ExecuteChangeSet");

    sandbox.run(&format!("{DELETE} web --approve")).ok().shows(&["- Stack", "- ServiceAccount"]);
    assert_eq!(sandbox.stack_status(STACK), "gone");
    assert!(sandbox.kube("GET", ACCOUNT, None).is_none() && !sandbox.has_role(name_of(&role)));
}

#[test]
fn what_eksctl_lost_is_mended() {
    let sandbox = Sandbox::lease();
    let role = made_by_eksctl(&sandbox, &template(&sandbox, &json!([S3])));
    let line = format!("{CREATE} web --attach-policy-arn {S3} --approve");
    sandbox.patch(ACCOUNT, &json!({"metadata": {"annotations": {ROLE: "arn:aws:iam::123456789012:role/old"}}}));
    assert_eq!(state(&sandbox).0, "drifted");
    sandbox.run(&line).ok().shows(&["~ ServiceAccount", "role/old", &role]);
    sandbox.delete(ACCOUNT);
    sandbox.run(&line).ok().shows(&["+ ServiceAccount"]);
    assert_eq!(sandbox.object(ACCOUNT)["metadata"]["annotations"][ROLE], role);
    assert_eq!(state(&sandbox).0, "ready");
}

#[test]
fn a_stack_with_policies_of_its_own_shows_what_would_go() {
    let sandbox = Sandbox::lease();
    let text = include_str!("../fixtures/eksctl-external-dns-stack.json");
    let issuer = sandbox.fact("issuer").trim_start_matches("https://");
    let text = text
        .replace("oidc.eks.us-west-2.amazonaws.com/id/A39A2842863C47208955D753DE205E6E", issuer)
        .replace("456123987123", "123456789012")
        .replace("kube-system:external-dns", "default:web");
    let role = made_by_eksctl(&sandbox, &serde_json::from_str(&text).unwrap());
    assert_eq!(state(&sandbox), ("drifted".to_owned(), "eksctl".to_owned()));
    sandbox
        .run(GET)
        .ok()
        .shows(&["PolicyExternalDNSHostedZones is an older version: it lacks route53:ListTagsForResources;"]);
    sandbox.run(&format!("{CREATE} web --attach-policy-arn {S3}")).ok().shows(&[
        "/Resources/PolicyExternalDNSChangeSet",
        "/Resources/PolicyExternalDNSHostedZones",
        "→ (none)",
        &format!("+ {S3}").replace("+ ", ""),
    ]);
    sandbox.run(&format!("{DELETE} web --approve")).ok();
    assert!(!sandbox.has_role(name_of(&role)));
}

#[test]
fn a_role_that_eksctl_attached_is_listed_and_let_go() {
    let sandbox = Sandbox::lease();
    create_provider(&sandbox);
    let trust = sandbox.run("render trust-policy --cluster eksdemo1 --name web").ok().json();
    sandbox.create_role_trusting("web", &trust);
    annotate_as_eksctl(&sandbox, "arn:aws:iam::123456789012:role/web");
    assert_eq!(state(&sandbox), ("ready".to_owned(), "external".to_owned()));
    sandbox.run(&format!("{DELETE} web --approve")).ok().shows(&["- ServiceAccount"]);
    assert!(sandbox.kube("GET", ACCOUNT, None).is_none() && sandbox.has_role("web"));
}

#[test]
fn eksctl_finds_updates_and_deletes_what_irsactl_made() {
    let sandbox = Sandbox::lease();
    sandbox.run(&format!("{CREATE} web --attach-policy-arn {S3} --tags team=web --approve")).ok();
    let found = sandbox.stack(STACK).unwrap();
    // eksctl lists by name (`^(eksctl|EKS)-CLUSTER-addon-.+$`) and tag, and reads the output Role1.
    assert_eq!(found.stack_name(), Some(STACK));
    for (key, value) in TAGS.into_iter().filter(|(key, _)| !key.ends_with("eksctl-version")) {
        assert_eq!(tags(&found).get(key), Some(&value), "{key}");
    }
    let role = role_arn(&found).to_owned();
    assert_eq!(found.capabilities(), [Capability::CapabilityIam]);
    let body = wait(sandbox.cloudformation().get_template().stack_name(STACK).send()).unwrap().template_body.unwrap();
    let mut body: Value = serde_json::from_str(&body).unwrap();
    body["Outputs"] = json!({"Role1": {"Value": {"Fn::GetAtt": "Role1.Arn"}}});
    assert_eq!(body, template(&sandbox, &json!([S3])), "the template is eksctl's but for the form of GetAtt");
    let account = sandbox.object(ACCOUNT);
    assert_eq!(account["metadata"]["labels"]["app.kubernetes.io/managed-by"], "eksctl");

    // `eksctl update iamserviceaccount`: a change set with a template of its own and the tags that there are.
    let tags = found.tags().iter().cloned().chain([Tag::builder().key("meta").value("data").build()]);
    let request = sandbox
        .cloudformation()
        .create_change_set()
        .stack_name(STACK)
        .change_set_name("updating-policy-0b5f4b0e")
        .change_set_type(ChangeSetType::Update)
        .capabilities(Capability::CapabilityIam)
        .template_body(template(&sandbox, &json!([DYNAMO])).to_string())
        .set_tags(Some(tags.collect()));
    wait(request.send()).unwrap();
    let set = sandbox.cloudformation().execute_change_set().stack_name(STACK);
    wait(set.change_set_name("updating-policy-0b5f4b0e").send()).unwrap();
    until("the update is done", || (sandbox.stack_status(STACK) == "UPDATE_COMPLETE").then_some(()));
    assert_eq!(state(&sandbox), ("ready".to_owned(), "irsactl".to_owned()));
    let tags = "--tags team=web,meta=data";
    sandbox.run(&format!("{CREATE} web --attach-policy-arn {DYNAMO} {tags} --detailed-exitcode")).ok();

    // `eksctl delete iamserviceaccount`: by id, and the ServiceAccount by its label.
    wait(sandbox.cloudformation().delete_stack().stack_name(found.stack_id().unwrap()).send()).unwrap();
    until("the stack is gone", || (sandbox.stack_status(STACK) == "gone").then_some(()));
    assert!(!sandbox.has_role(name_of(&role)));
    sandbox.delete(ACCOUNT);
    assert_eq!(sandbox.run(GET).ok().stdout, "[]\n");
}

#[test]
fn a_failed_change_leaves_the_stack_as_it_was_and_no_change_set() {
    let sandbox = Sandbox::lease();
    let role = made_by_eksctl(&sandbox, &template(&sandbox, &json!([S3])));
    let line = format!("{CREATE} web --attach-policy-arn {DYNAMO} --approve");
    sandbox.fault(&json!({"deny": "iam:AttachRolePolicy"}));
    sandbox.run(&line).exits(1).says(&["failed", "Role1", "iam:AttachRolePolicy"]);
    sandbox.heal();
    until("the rollback is over", || (sandbox.stack_status(STACK) == "UPDATE_ROLLBACK_COMPLETE").then_some(()));
    assert_eq!((sandbox.change_sets(STACK), state(&sandbox).0.as_str()), (0, "ready"));

    let error = json!({"status": 400, "code": "InsufficientCapabilitiesException", "message": "no"});
    sandbox.fault(&json!({"service": "cloudformation", "action": "ExecuteChangeSet", "error": error}));
    sandbox.run(&line).exits(1);
    sandbox.heal();
    assert_eq!(sandbox.change_sets(STACK), 0);
    sandbox.run(&line).ok();
    assert_eq!((sandbox.attached(name_of(&role)), sandbox.change_sets(STACK)), (vec![name_of(DYNAMO).to_owned()], 0));
}
