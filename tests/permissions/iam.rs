//! The IAM policy of each command.

use aws_sdk_eks::Client as Eks;
use serde_json::json;

use crate::proof::{proves, proves_parts, situation};
use crate::support::aws::{S3, name_of, policy_arn, role_arn, wait};
use crate::support::operator::{HERE, Operator, rendered};
use crate::support::{Sandbox, until};

const INSTALL: &str = "install external-dns --cluster eksdemo1 --domain-filter example.com --interval 3s --approve";
const INSTALLED: &str = "eksctl-eksdemo1-addon-iamserviceaccount-external-dns-external-dns";
const CREATE: &str = "create iamserviceaccount web --namespace apps --cluster eksdemo1 --approve \
                      --attach-policy-arn arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
const WEB: &str = "eksctl-eksdemo1-addon-iamserviceaccount-apps-web";
const ELSEWHERE: &str = "arn:aws:iam::111122223333:role/dns";
/// What nobody knows of a stack that failed.
const LEFT: &[&str] = &["iam:DeleteRole", "iam:DetachRolePolicy", "iam:DeleteRolePolicy"];

/// How many versions a policy has is nothing that a plan asks.
const PRUNING: &[&str] = &["iam:ListPolicyVersions", "iam:DeletePolicyVersion"];

fn nothing(_: &Sandbox) {}

fn document(action: &str) -> String {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}).to_string()
}

/// The issuer's provider loses its audience.
fn without_audience(sandbox: &Sandbox) {
    let iam = sandbox.iam();
    wait(async {
        let all = iam.list_open_id_connect_providers().send().await.unwrap();
        let arn = all.open_id_connect_provider_list()[0].arn().unwrap().to_owned();
        let request = iam.remove_client_id_from_open_id_connect_provider().open_id_connect_provider_arn(arn);
        request.client_id("sts.amazonaws.com").send().await.unwrap();
    });
}

fn a_provider_without_audience(sandbox: &Sandbox) {
    sandbox.run("utils associate-iam-oidc-provider --cluster eksdemo1 --approve").ok();
    without_audience(sandbox);
}

/// More versions of a policy, none of which suffices.
fn versions(sandbox: &Sandbox, policy: &str, actions: &[&str]) {
    let iam = sandbox.iam();
    for action in actions {
        let request = iam.create_policy_version().policy_arn(policy_arn(policy)).policy_document(document(action));
        wait(request.set_as_default(true).send()).unwrap();
    }
}

const FOUR: &[&str] = &["s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:DeleteObject"];

/// The role of a stack.
fn role(sandbox: &Sandbox, stack: &str) -> String {
    name_of(role_arn(&sandbox.stack(stack).unwrap())).to_owned()
}

/// Somebody changes all that can be changed of a role.
fn tamper(sandbox: &Sandbox, role: &str, policy: &str) {
    sandbox.detach(role, policy);
    let iam = sandbox.iam();
    let nobody = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Action": "sts:AssumeRole", "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
    }]});
    wait(iam.update_assume_role_policy().role_name(role).policy_document(nobody.to_string()).send()).unwrap();
    wait(iam.put_role_permissions_boundary().role_name(role).permissions_boundary(S3).send()).unwrap();
}

/// A creation that failed and couldn't be undone: the role is left, and the stack protected.
fn left(sandbox: &Sandbox, flags: &str) {
    for action in ["iam:AttachRolePolicy", "iam:DeleteRole"] {
        sandbox.fault(&json!({"deny": action}));
    }
    let line = format!(
        "create iamserviceaccount {flags} --cluster eksdemo1 --role-only --termination-protection --approve \
         --attach-policy-arn {S3}"
    );
    sandbox.run(&line).exits(1);
    sandbox.heal();
}

/// A change that failed and couldn't be undone.
fn stuck(sandbox: &Sandbox, flags: &str, stack: &str) {
    for action in ["iam:PutRolePolicy", "iam:DetachRolePolicy"] {
        sandbox.fault(&json!({"deny": action}));
    }
    let dynamo = "arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess";
    let line =
        format!("create iamserviceaccount {flags},{dynamo} --cluster eksdemo1 --role-only --approve --attach-policy");
    let mut words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    words.push(document("s3:ListBucket"));
    crate::support::Run::of(&mut sandbox.command(&words)).exits(1);
    until("the rollback failed", || (sandbox.stack_status(stack) == "UPDATE_ROLLBACK_FAILED").then_some(()));
    sandbox.heal();
}

/// A stack that says the same in other words: a change set for ours holds no change.
fn reword(sandbox: &Sandbox, stack: &str, policy: &str) {
    let cloudformation = sandbox.cloudformation();
    let body = wait(cloudformation.get_template().stack_name(stack).send()).unwrap().template_body.unwrap();
    let mut template: serde_json::Value = serde_json::from_str(&body).unwrap();
    template["Parameters"] = json!({"Policy": {"Type": "String", "Default": policy}});
    template["Resources"]["Role1"]["Properties"]["ManagedPolicyArns"] = json!([{"Ref": "Policy"}]);
    // Words alone are no change of a stack.
    let mut tags = sandbox.stack(stack).unwrap().tags.unwrap();
    tags.retain(|tag| tag.key() != Some("team"));
    let request = cloudformation.update_stack().stack_name(stack).template_body(template.to_string());
    wait(request.set_tags(Some(tags)).capabilities("CAPABILITY_NAMED_IAM".into()).send()).unwrap();
    until("the stack is changed", || (sandbox.stack_status(stack) == "UPDATE_COMPLETE").then_some(()));
}

fn associate(sandbox: &Sandbox, namespace: &str, name: &str) {
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"], "Principal": {"Service": "pods.eks.amazonaws.com"},
    }]});
    sandbox.create_role_trusting("pods", &trust);
    let request = Eks::new(&sandbox.aws()).create_pod_identity_association().cluster_name("eksdemo1");
    let request = request.namespace(namespace).service_account(name).role_arn("arn:aws:iam::123456789012:role/pods");
    wait(request.send()).unwrap();
}

#[test]
fn associate_iam_oidc_provider() {
    let line = "utils associate-iam-oidc-provider --cluster eksdemo1 --approve";
    proves(
        &format!("utils associate-iam-oidc-provider {HERE}"),
        &[situation("nothing", nothing, line), situation("no audience", a_provider_without_audience, line)],
    );
}

#[test]
fn create_policy() {
    let line = "create policy --approve";
    let five = |sandbox: &Sandbox| {
        sandbox.create_policy("AllowExternalDNSUpdates");
        versions(sandbox, "AllowExternalDNSUpdates", FOUR);
    };
    proves(
        "create policy --account-id 123456789012",
        &[situation("nothing", nothing, line), situation("five versions", five, line)],
    );
    let line = "create policy team --zone-id-filter Z0421873X5K9QJ2VH7RW --approve";
    let five = |sandbox: &Sandbox| {
        sandbox.create_policy("team");
        versions(sandbox, "team", FOUR);
    };
    proves(
        "create policy team --zone-id-filter Z0421873X5K9QJ2VH7RW --account-id 123456789012",
        &[situation("nothing", nothing, line), situation("five versions", five, line)],
    );
}

#[test]
fn install() {
    let tampered = |sandbox: &Sandbox| {
        sandbox.run(&format!("{INSTALL} --aws-only --tags team=a").replace(" --interval 3s", "")).ok();
        tamper(sandbox, &role(sandbox, INSTALLED), &policy_arn("AllowExternalDNSUpdates"));
        versions(sandbox, "AllowExternalDNSUpdates", FOUR);
        without_audience(sandbox);
    };
    let other = |sandbox: &Sandbox| {
        sandbox.create_policy("other");
        sandbox.run(&format!("{INSTALL} --aws-only --attach-policy-arn policy/other")).ok();
    };
    let elsewhere = |sandbox: &Sandbox| {
        sandbox.run(&format!("{INSTALL} --aws-only --aws-assume-role {ELSEWHERE}")).ok();
    };
    let failed = |sandbox: &Sandbox| left(sandbox, "external-dns --namespace external-dns");
    let stuck = |sandbox: &Sandbox| {
        sandbox.run(&format!("{INSTALL} --aws-only")).ok();
        let policies = "--attach-policy-arn policy/AllowExternalDNSUpdates";
        stuck(sandbox, &format!("external-dns --namespace external-dns {policies}"), INSTALLED);
    };
    let reworded = |sandbox: &Sandbox| {
        sandbox.run(&format!("{INSTALL} --aws-only --tags team=a").replace(" --interval 3s", "")).ok();
        reword(sandbox, INSTALLED, &policy_arn("AllowExternalDNSUpdates"));
    };
    proves(
        &format!("install external-dns --domain-filter example.com {HERE}"),
        &[
            situation("nothing", nothing, INSTALL),
            situation("changed in IAM", tampered, INSTALL).late(PRUNING),
            situation("other policies", other, INSTALL),
            situation("zones elsewhere before", elsewhere, INSTALL),
            situation("a failed stack", failed, INSTALL).late(LEFT),
            situation("a stuck rollback", stuck, INSTALL),
            situation("other words", reworded, INSTALL).late(&["cloudformation:DeleteChangeSet"]),
        ],
    );
}

#[test]
fn create_iamserviceaccount() {
    let tampered = |sandbox: &Sandbox| {
        sandbox.run(&format!("{CREATE} --tags team=a")).ok();
        tamper(sandbox, &role(sandbox, WEB), S3);
        without_audience(sandbox);
    };
    let other = |sandbox: &Sandbox| {
        let line = "create iamserviceaccount web --namespace apps --cluster eksdemo1 --approve --attach-policy-arn";
        sandbox.create_policy("other");
        sandbox.run(&format!("{line} policy/other --well-known-policy certManager")).ok();
    };
    let failed = |sandbox: &Sandbox| left(sandbox, "web --namespace apps");
    let stuck = |sandbox: &Sandbox| {
        sandbox.run(CREATE).ok();
        stuck(sandbox, &format!("web --namespace apps --attach-policy-arn {S3}"), WEB);
    };
    let reworded = |sandbox: &Sandbox| {
        sandbox.run(&format!("{CREATE} --tags team=a")).ok();
        reword(sandbox, WEB, S3);
    };
    proves(
        &format!("create iamserviceaccount web --namespace apps --attach-policy-arn {S3} {HERE}"),
        &[
            situation("nothing", nothing, CREATE),
            situation("changed in IAM", tampered, CREATE),
            situation("other policies", other, CREATE),
            situation("a failed stack", failed, CREATE).late(LEFT),
            situation("a stuck rollback", stuck, CREATE),
            situation("other words", reworded, CREATE).late(&["cloudformation:DeleteChangeSet"]),
        ],
    );
}

#[test]
fn delete_iamserviceaccount() {
    const DELETE: &str = "delete iamserviceaccount web --namespace apps --cluster eksdemo1 --approve";
    let protected = |sandbox: &Sandbox| {
        sandbox.run(&format!("{CREATE} --well-known-policy certManager --termination-protection")).ok();
    };
    let failed = |sandbox: &Sandbox| left(sandbox, "web --namespace apps");
    proves(
        &format!("delete iamserviceaccount web --namespace apps {HERE}"),
        &[
            situation("nothing", nothing, DELETE),
            situation("protected", protected, DELETE),
            situation("a failed stack", failed, DELETE).late(LEFT),
        ],
    );
}

#[test]
fn get_iamserviceaccount() {
    let made = |sandbox: &Sandbox| drop(sandbox.run(&format!("{CREATE} --well-known-policy certManager")).ok());
    let failed = |sandbox: &Sandbox| left(sandbox, "web --namespace apps");
    proves(
        &format!("get iamserviceaccount {HERE}"),
        &[
            situation("all", made, "get iamserviceaccount --cluster eksdemo1 -o json"),
            situation("a short table", made, "get iamserviceaccount --cluster eksdemo1"),
            situation("one", made, "get iamserviceaccount web --namespace apps --cluster eksdemo1 -o json"),
            situation(
                "a failed stack",
                failed,
                "get iamserviceaccount web --namespace apps --cluster eksdemo1 -o json",
            ),
        ],
    );
}

#[test]
fn get_dnsrecords() {
    let installed = |sandbox: &Sandbox| drop(sandbox.run(INSTALL).ok());
    proves(
        &format!("get dnsrecords {HERE}"),
        &[
            situation("of a zone", nothing, "get dnsrecords --zone example.com"),
            situation("of a cluster", installed, "get dnsrecords --cluster eksdemo1"),
        ],
    );
}

#[test]
fn uninstall() {
    const UNINSTALL: &str = "uninstall external-dns --cluster eksdemo1 --approve";
    let installed = |sandbox: &Sandbox| {
        sandbox.run(&format!("{INSTALL} --termination-protection")).ok();
        versions(sandbox, "AllowExternalDNSUpdates", FOUR);
    };
    let elsewhere = |sandbox: &Sandbox| {
        sandbox.run(&format!("{INSTALL} --aws-only --aws-assume-role {ELSEWHERE}")).ok();
    };
    let failed = |sandbox: &Sandbox| left(sandbox, "external-dns --namespace external-dns");
    proves(
        &format!("uninstall external-dns {HERE}"),
        &[
            situation("installed", installed, UNINSTALL).late(&["iam:ListPolicyVersions", "iam:DeletePolicyVersion"]),
            situation("zones elsewhere", elsewhere, UNINSTALL),
            situation("a failed stack", failed, UNINSTALL).late(LEFT),
        ],
    );
}

#[test]
fn verify() {
    const ONE: &str = "verify iamserviceaccount web --namespace apps --cluster eksdemo1";
    let made = |sandbox: &Sandbox| drop(sandbox.run(CREATE).ok());
    let failed = |sandbox: &Sandbox| left(sandbox, "web --namespace apps");
    let orphan = |sandbox: &Sandbox| {
        sandbox.run(CREATE).ok();
        let iam = sandbox.iam();
        let all = wait(iam.list_open_id_connect_providers().send()).unwrap();
        let arn = all.open_id_connect_provider_list()[0].arn().unwrap();
        wait(iam.delete_open_id_connect_provider().open_id_connect_provider_arn(arn).send()).unwrap();
    };
    let associated = |sandbox: &Sandbox| {
        sandbox.run(CREATE).ok();
        associate(sandbox, "apps", "web");
    };
    proves(
        &format!("verify iamserviceaccount {HERE}"),
        &[
            situation("all", made, "verify iamserviceaccount --cluster eksdemo1"),
            situation("a failed stack", failed, ONE).codes(&[0, 4]),
            situation("no provider", orphan, ONE).codes(&[4]),
            situation("an association", associated, ONE).codes(&[4]),
        ],
    );
}

#[test]
fn verify_external_dns() {
    const VERIFY: &str = "verify external-dns --cluster eksdemo1";
    let installed = |sandbox: &Sandbox| drop(sandbox.run(INSTALL).ok());
    let failed = |sandbox: &Sandbox| left(sandbox, "external-dns --namespace external-dns");
    let orphan = |sandbox: &Sandbox| {
        sandbox.run(&format!("{INSTALL} --aws-only")).ok();
        let iam = sandbox.iam();
        let all = wait(iam.list_open_id_connect_providers().send()).unwrap();
        let arn = all.open_id_connect_provider_list()[0].arn().unwrap();
        wait(iam.delete_open_id_connect_provider().open_id_connect_provider_arn(arn).send()).unwrap();
    };
    let associated = |sandbox: &Sandbox| {
        sandbox.run(&format!("{INSTALL} --aws-only")).ok();
        associate(sandbox, "external-dns", "external-dns");
    };
    let lacking = |sandbox: &Sandbox| {
        sandbox.run(INSTALL).ok();
        let (iam, role) = (sandbox.iam(), role(sandbox, INSTALLED));
        wait(iam.put_role_policy().role_name(&role).policy_name("more").policy_document(document("s3:*")).send())
            .unwrap();
        versions(sandbox, "AllowExternalDNSUpdates", &["route53:ListHostedZones"]);
    };
    proves(
        &format!("verify external-dns {HERE}"),
        &[
            situation("installed", installed, VERIFY).codes(&[0, 4]),
            situation("a failed stack", failed, VERIFY).codes(&[0, 4]),
            situation("no provider", orphan, VERIFY).codes(&[4]),
            situation("an association", associated, VERIFY).codes(&[4]),
            situation("a role that lacks rights", lacking, VERIFY).codes(&[0, 4]),
        ],
    );
}

#[test]
fn update_iamserviceaccount() {
    const UPDATE: &str = "update iamserviceaccount web --namespace apps --cluster eksdemo1 --approve \
                          --attach-policy-arn arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
    const TAGGED: &str = "update iamserviceaccount web --namespace apps --cluster eksdemo1 --approve --tags team=a \
                          --attach-policy-arn arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
    const FEWER: &str = "update iamserviceaccount web --namespace apps --cluster eksdemo1 --approve \
                         --well-known-policy certManager";
    let other = |sandbox: &Sandbox| {
        sandbox.create_policy("other");
        let line = "create iamserviceaccount web --namespace apps --cluster eksdemo1 --approve --attach-policy-arn";
        sandbox.run(&format!("{line} policy/other --well-known-policy certManager")).ok();
    };
    let tampered = |sandbox: &Sandbox| {
        sandbox.run(CREATE).ok();
        tamper(sandbox, &role(sandbox, WEB), S3);
    };
    let bounded = |sandbox: &Sandbox| {
        sandbox.run(&format!("{CREATE} --permissions-boundary {S3} --well-known-policy certManager")).ok();
        let (iam, role) = (sandbox.iam(), role(sandbox, WEB));
        wait(iam.delete_role_permissions_boundary().role_name(&role).send()).unwrap();
        let policies = wait(iam.list_role_policies().role_name(&role).send()).unwrap();
        let request = iam.delete_role_policy().role_name(&role).policy_name(&policies.policy_names()[0]);
        wait(request.send()).unwrap();
    };
    let more =
        |sandbox: &Sandbox| drop(sandbox.run(&format!("{CREATE} --well-known-policy certManager,autoScaler")).ok());
    let stuck = |sandbox: &Sandbox| {
        sandbox.run(CREATE).ok();
        stuck(sandbox, &format!("web --namespace apps --attach-policy-arn {S3}"), WEB);
    };
    let reworded = |sandbox: &Sandbox| {
        sandbox.run(&format!("{CREATE} --tags team=a")).ok();
        reword(sandbox, WEB, S3);
    };
    proves(
        &format!("update iamserviceaccount web --namespace apps {HERE}"),
        &[
            situation("other policies", other, TAGGED),
            situation("changed in IAM", tampered, UPDATE),
            situation("a boundary lost", bounded, UPDATE),
            situation("fewer policies", more, FEWER),
            situation("a failed stack", |sandbox| left(sandbox, "web --namespace apps"), UPDATE).codes(&[1]),
            situation("a stuck rollback", stuck, UPDATE),
            situation("other words", reworded, UPDATE).late(&["cloudformation:DeleteChangeSet"]),
        ],
    );
}

/// Policies and roles that others made.
fn others(sandbox: &Sandbox) {
    sandbox.create_policy("limit");
    let create = sandbox.iam().create_policy().policy_name("own").policy_document(document("route53:*"));
    wait(create.send()).unwrap();
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "cloudformation.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ]});
    sandbox.create_role_trusting("cfn", &trust);
    let put = sandbox.iam().put_role_policy().role_name("cfn").policy_name("rights");
    wait(put.policy_document(document("iam:*")).send()).unwrap();
}

/// And a role that lost its boundary and what it was for.
fn unbounded(sandbox: &Sandbox) {
    others(sandbox);
    let flags = "--attach-policy-arn policy/own --permissions-boundary policy/limit --well-known-policy certManager";
    sandbox.run(&format!("create iamserviceaccount web --namespace apps --cluster eksdemo1 --approve {flags}")).ok();
    let (iam, role) = (sandbox.iam(), role(sandbox, WEB));
    sandbox.detach(&role, &policy_arn("own"));
    let policies = wait(iam.list_role_policies().role_name(&role).send()).unwrap();
    let request = iam.delete_role_policy().role_name(&role).policy_name(&policies.policy_names()[0]);
    wait(request.send()).unwrap();
    wait(iam.delete_role_permissions_boundary().role_name(&role).send()).unwrap();
}

/// And a role that service accounts may use.
fn jobs(sandbox: &Sandbox) {
    others(sandbox);
    let line =
        "create iamserviceaccount jobs --cluster eksdemo1 --namespace apps --subject-pattern * --role-only --approve";
    sandbox.run(&format!("{line} --role-name jobs --attach-policy-arn policy/own")).ok();
}

#[test]
fn flags_decide() {
    macro_rules! flags {
        ($command:expr, $parts:expr, $flags:expr) => {
            flags!($command, $parts, $flags, others)
        };
        ($command:expr, $parts:expr, $flags:expr, $before:expr) => {{
            const FLAGS: &str = $flags;
            let line = format!("{} {FLAGS} --cluster eksdemo1 --approve", $command);
            let situation = situation("nothing", $before, line.leak());
            proves_parts(&format!("{} {FLAGS} {HERE}", $command), $parts, &[situation]);
        }};
    }
    let install = "install external-dns --aws-only";
    flags!(
        install,
        &["CreateRoles", "AttachPolicies", "OptionalReadGivenPolicies"],
        "--attach-policy-arn policy/own --permissions-boundary policy/limit --role-name dns --role-path /dns/"
    );
    flags!(install, &["PutInline"], "--aws-assume-role arn:aws:iam::111122223333:role/dns");
    flags!(install, &["AttachPolicies"], "--least-privilege --domain-filter example.com");
    flags!(install, &[], "--policy-name dns");
    let create = "create iamserviceaccount web --namespace apps";
    flags!(create, &["OptionalReadGivenRoles"], "--attach-role-arn role/jobs", jobs);
    flags!(create, &["PassRole"], "--attach-policy-arn policy/own --cfn-role-arn role/cfn");
    flags!(
        create,
        &["SetBoundary", "AttachPolicies", "PutInline"],
        "--attach-policy-arn policy/own --well-known-policy certManager --permissions-boundary policy/limit",
        unbounded
    );
    flags!(
        create,
        &["CreateRoles", "PutInline"],
        "--well-known-policy certManager --permissions-boundary policy/limit"
    );
}

#[test]
fn other_flags_of_delete_and_render() {
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/permissions/cluster.yaml");
    const MANY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/permissions/many.yaml");
    let file = |command: &str| -> &'static str { format!("{command} -f {FILE} --approve").leak() };
    let made = |sandbox: &Sandbox| {
        others(sandbox);
        sandbox.run(CREATE).ok();
    };
    let create = "create iamserviceaccount";
    let words = format!("{create} -f {FILE} --account-id 123456789012");
    proves_parts(&words, &["CreateRoles"], &[situation("a file", others, file(create))]);
    // Many are found in listings; nothing is made for that.
    for command in [create, "delete iamserviceaccount"] {
        let line: &'static str = format!("{command} -f {MANY}").leak();
        let words = format!("{command} -f {MANY} --account-id 123456789012");
        proves_parts(&words, &["OptionalListStacks", "OptionalListRoles"], &[situation("many", others, line)]);
    }
    let delete = "delete iamserviceaccount --only-missing";
    let words = format!("{delete} -f {FILE} --account-id 123456789012");
    proves_parts(&words, &["ListStacks"], &[situation("a file", made, file(delete))]);
    let words = format!("delete iamserviceaccount web --namespace apps --cfn-role-arn role/cfn {HERE}");
    let line = "delete iamserviceaccount web --namespace apps --cluster eksdemo1 --cfn-role-arn role/cfn --approve";
    proves_parts(&words, &["PassRole"], &[situation("made", made, line)]);
    for render in ["trust-policy --name web", "stack --name web --well-known-policy certManager"] {
        let line: &'static str = format!("render {render} --cluster eksdemo1").leak();
        proves(
            &format!("render {render} {HERE}").replace(" --account-id 123456789012", ""),
            &[situation("nothing", nothing, line)],
        );
    }
    let line = "render manifest --cluster eksdemo1 --namespace apps --name web --account-id 123456789012";
    let words = format!("render manifest --namespace apps --name web {HERE}");
    proves_parts(&words, &[], &[situation("made", made, line)]);
}

#[test]
fn everything() {
    let sandbox = Sandbox::lease();
    let operator = Operator::new(&sandbox, &rendered(HERE)).with_cluster_admin();
    sandbox.forget_calls();
    for line in [
        "create policy --approve",
        "utils associate-iam-oidc-provider --cluster eksdemo1 --approve",
        INSTALL,
        CREATE,
        "create iamserviceaccount web --namespace apps --cluster eksdemo1 --well-known-policy certManager --approve",
        "update iamserviceaccount web --namespace apps --cluster eksdemo1 --tags a=b --approve",
        "get iamserviceaccount --cluster eksdemo1 -o json",
        "get dnsrecords --cluster eksdemo1",
        "verify external-dns --cluster eksdemo1",
        "verify iamserviceaccount --cluster eksdemo1",
        "delete iamserviceaccount web --namespace apps --cluster eksdemo1 --approve",
        "uninstall external-dns --cluster eksdemo1 --approve",
    ] {
        operator.run(line).ok();
    }
    let denied: Vec<_> = operator.calls().into_iter().filter(|call| call["status"] == 403).collect();
    assert!(denied.is_empty(), "{denied:#?}");
}
