//! The commands that change something, each with all that it can do.

use serde_json::{Value, json};

use super::Sandbox;
use super::aws::{S3, name_of, role_arn, wait};
use super::kill::Scenario;

const DYNAMO: &str = "arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess";
const INSTALL: &str = "install external-dns --cluster eksdemo1 --domain-filter example.com --interval 3s --approve";

pub const INSTALLATION: Scenario =
    Scenario { name: "install external-dns", prepare: |_| {}, command: |_| INSTALL.to_owned() };

/// An installation that others changed, brought to something else: every kind of change.
pub const CHANGED_INSTALLATION: Scenario = Scenario {
    name: "install external-dns, changed",
    prepare: |sandbox| {
        sandbox.run(&format!("{INSTALL} --replicas 0")).ok();
        let document = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "route53:ListHostedZones", "Resource": "*"},
        ]});
        let arn = super::aws::policy_arn("AllowExternalDNSUpdates");
        // IAM keeps five versions: there is no room for another.
        for _ in 0..4 {
            let request = sandbox.iam().create_policy_version().policy_arn(&arn).set_as_default(true);
            wait(request.policy_document(document.to_string()).send()).unwrap();
        }
    },
    command: |_| format!("{INSTALL} --tags team=dns --policy upsert-only --label-filter a=b"),
};

pub const CREATION: Scenario = Scenario {
    name: "create iamserviceaccount -f",
    prepare: |_| {},
    command: |sandbox| on_file(sandbox, "create iamserviceaccount --approve", &before()),
};

/// Entries whose stack, ServiceAccount and role differ from the file.
pub const UPDATE: Scenario = Scenario {
    name: "update iamserviceaccount -f",
    prepare: |sandbox| {
        create(sandbox);
        let stack = sandbox.stack("eksctl-eksdemo1-addon-iamserviceaccount-web-reader").unwrap();
        let role = name_of(role_arn(&stack)).to_owned();
        let trust = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
        ]});
        let request = sandbox.iam().update_assume_role_policy().role_name(&role);
        wait(request.policy_document(trust.to_string()).send()).unwrap();
        sandbox.detach(&role, S3);
    },
    command: |sandbox| on_file(sandbox, "update iamserviceaccount --approve", &after()),
};

/// A protected stack whose role is gone: it is deleted, and made anew.
pub const RECREATION: Scenario = Scenario {
    name: "create iamserviceaccount, anew",
    prepare: |sandbox| {
        sandbox.run(RECREATE).ok();
        let stack = sandbox.stack("eksctl-eksdemo1-addon-iamserviceaccount-web-reader").unwrap();
        let role = name_of(role_arn(&stack));
        sandbox.detach(role, S3);
        wait(sandbox.iam().delete_role().role_name(role).send()).unwrap();
    },
    command: |_| RECREATE.to_owned(),
};

const RECREATE: &str = "create iamserviceaccount --cluster eksdemo1 --namespace web --name reader --tags team=web \
    --attach-policy-arn arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess --termination-protection --approve";

pub const DELETION: Scenario = Scenario {
    name: "delete iamserviceaccount -f",
    prepare: |sandbox| {
        create(sandbox);
        let stack = sandbox.stack("eksctl-eksdemo1-addon-iamserviceaccount-web-writer").unwrap();
        sandbox.attach(name_of(role_arn(&stack)), S3);
        let stacks = sandbox.cloudformation();
        let name = "eksctl-eksdemo1-addon-iamserviceaccount-web-reader";
        let request = stacks.update_termination_protection().stack_name(name).enable_termination_protection(true);
        wait(request.send()).unwrap();
    },
    command: |sandbox| on_file(sandbox, "delete iamserviceaccount --detach-foreign-policies --approve", &before()),
};

pub const REMOVAL: Scenario = Scenario {
    name: "uninstall external-dns",
    prepare: |sandbox| drop(sandbox.run(INSTALL).ok()),
    command: |_| "uninstall external-dns --cluster eksdemo1 --approve".to_owned(),
};

fn create(sandbox: &Sandbox) {
    sandbox.run(&on_file(sandbox, "create iamserviceaccount --approve", &before())).ok();
}

fn entry(name: &str, fields: &Value) -> Value {
    let mut entry = json!({"metadata": {"name": name, "namespace": "web"}});
    entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    entry
}

fn inline(actions: &[&str]) -> Value {
    let statement = json!({"Effect": "Allow", "Action": actions, "Resource": "*"});
    json!({"Version": "2012-10-17", "Statement": [statement]})
}

/// Five entries, no two alike.
fn before() -> Vec<Value> {
    vec![
        entry("reader", &json!({"attachPolicyARNs": [S3]})),
        entry("writer", &json!({"attachPolicy": inline(&["s3:Put*"])})),
        entry("named", &json!({"attachPolicyARNs": [S3], "roleName": "named", "tags": {"Owner": "Jane"}})),
        entry("dns", &json!({"wellKnownPolicies": {"externalDNS": true}})),
        entry("lone", &json!({"attachPolicyARNs": [DYNAMO], "roleOnly": true})),
    ]
}

fn after() -> Vec<Value> {
    let mut entries = before();
    entries[1]["attachPolicy"] = inline(&["s3:Put*", "s3:Get*"]);
    entries[2]["metadata"]["labels"] = json!({"tier": "backend"});
    entries[3] = entry("dns", &json!({"wellKnownPolicies": {"externalDNS": true}, "attachPolicyARNs": [DYNAMO]}));
    entries
}

fn on_file(sandbox: &Sandbox, line: &str, entries: &[Value]) -> String {
    let metadata = json!({"name": "eksdemo1", "region": "us-west-2"});
    let config = json!({"apiVersion": "eksctl.io/v1alpha5", "kind": "ClusterConfig", "metadata": metadata,
        "iam": {"serviceAccounts": entries}});
    format!("{line} -f {}", sandbox.file("cluster.json", &config.to_string()).display())
}
