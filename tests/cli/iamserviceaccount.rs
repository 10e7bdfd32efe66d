//! `create|get|delete iamserviceaccount`.

use serde_json::{Value, json};

use crate::support::aws::{NewStack, S3, name_of, policy_arn, role_arn, tags, wait};
use crate::support::{Run, Sandbox, until};

const CREATE: &str = "create iamserviceaccount --cluster eksdemo1";
const GET: &str = "get iamserviceaccount --cluster eksdemo1";
const DELETE: &str = "delete iamserviceaccount --cluster eksdemo1";
const NOTHING: [&str; 0] = [];
const ROLE: &str = "eks.amazonaws.com/role-arn";

pub fn stack_name(namespace: &str, name: &str) -> String {
    format!("eksctl-eksdemo1-addon-iamserviceaccount-{namespace}-{name}")
}

pub fn path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}")
}

/// Creates a service account with irsactl, and gives its role's ARN.
pub fn created(sandbox: &Sandbox, namespace: &str, name: &str) -> String {
    let line = format!("{CREATE} --namespace {namespace} --name {name} --attach-policy-arn {S3} --approve -o json");
    sandbox.run(&line).ok().json()["outputs"]["roleARN"].as_str().unwrap().to_owned()
}

/// A ServiceAccount of somebody else.
pub fn create_foreign(sandbox: &Sandbox, name: &str, annotations: &Value) {
    let labels = json!({"app.kubernetes.io/managed-by": "Helm"});
    let metadata = json!({"name": name, "labels": labels, "annotations": annotations});
    sandbox.create("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": metadata}));
}

/// The trust policy that lets a ServiceAccount of `default` in.
pub fn trust(sandbox: &Sandbox, name: &str) -> Value {
    sandbox.run(&format!("render trust-policy --cluster eksdemo1 --namespace default --name {name}")).ok().json()
}

/// Makes the cluster's endpoint one that nothing answers at.
fn hide_kubernetes(sandbox: &Sandbox) {
    let replace = json!([[r#""endpoint": ?"https://[^"]*""#, r#""endpoint":"https://127.0.0.1:1""#]]);
    sandbox.fault(&json!({"service": "eks", "action": "DescribeCluster", "replace": replace}));
}

/// The states of the service accounts, as `namespace/name state source`.
pub fn states(run: &Run) -> Vec<String> {
    let rows = run.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |row: &Value| {
        let (who, how) = (&row["metadata"], &row["status"]);
        format!("{}/{} {} {}", text(&who["namespace"]), text(&who["name"]), text(&how["state"]), text(&how["source"]))
    };
    rows.as_array().unwrap().iter().map(row).collect()
}

#[test]
fn d4_m2_m8_m12_created_once_with_everything_that_is_missing() {
    let sandbox = Sandbox::lease();
    let two =
        "arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess,arn:aws:iam::aws:policy/AmazonElastiCacheFullAccess";
    let line = format!("{CREATE} --namespace app1 app-cache-access --attach-policy-arn {two} --tags Owner=Jane");
    let stack = stack_name("app1", "app-cache-access");
    let plan = sandbox.run(&format!("{line} -o json")).ok();
    assert_eq!(
        plan.changes()[1..],
        [
            format!("create Stack {stack}"),
            "create Namespace app1".into(),
            "create ServiceAccount app1/app-cache-access".into()
        ]
    );
    assert_eq!(sandbox.writes(), NOTHING);

    let done = sandbox.run(&format!("{line} --approve -o json")).ok().json();
    let found = sandbox.stack(&stack).unwrap();
    let role = role_arn(&found);
    assert_eq!(
        done["outputs"]["serviceAccounts"],
        json!([{"namespace": "app1", "name": "app-cache-access", "roleARN": role}])
    );
    for (key, value) in [
        ("Owner", "Jane"),
        ("alpha.eksctl.io/cluster-name", "eksdemo1"),
        ("eksctl.cluster.k8s.io/v1alpha1/cluster-name", "eksdemo1"),
        ("alpha.eksctl.io/eksctl-version", "0.231.0"),
        ("alpha.eksctl.io/iamserviceaccount-name", "app1/app-cache-access"),
        ("irsactl.dev/version", env!("CARGO_PKG_VERSION")),
    ] {
        assert_eq!(tags(&found).get(key), Some(&value), "{key}");
    }
    assert_eq!(found.enable_termination_protection(), Some(false));
    let mut attached = sandbox.attached(name_of(role));
    attached.sort_unstable();
    assert_eq!(attached, ["AmazonDynamoDBReadOnlyAccess", "AmazonElastiCacheFullAccess"]);
    let account = sandbox.object(&path("app1", "app-cache-access"));
    assert_eq!(account["metadata"]["annotations"], json!({ROLE: role}));
    assert_eq!(account["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": "eksctl"}));
    let namespace = sandbox.object("/api/v1/namespaces/app1");
    assert_eq!(namespace["metadata"]["labels"]["app.kubernetes.io/managed-by"], "irsactl");

    sandbox.forget_calls();
    sandbox.run(&format!("{line} --approve --detailed-exitcode")).ok().shows(&["Nothing to do"]);
    assert_eq!(sandbox.writes(), NOTHING);
}

#[test]
fn m9_each_lost_piece_is_restored_alone() {
    let sandbox = Sandbox::lease();
    let role = created(&sandbox, "default", "web");
    let line = format!("{CREATE} web --attach-policy-arn {S3} --approve");
    let mended = |what: &str, writes: &[&str]| {
        sandbox.forget_calls();
        sandbox.run(&line).ok().shows(&[what]);
        assert_eq!(sandbox.writes(), writes, "{what}");
        sandbox.run(&format!("{line} --detailed-exitcode")).ok().shows(&["Nothing to do"]);
    };
    sandbox.delete(&path("default", "web"));
    mended("+ ServiceAccount", &["patch serviceaccounts default/web"]);
    sandbox.patch(&path("default", "web"), &json!({"metadata": {"annotations": {ROLE: null}}}));
    mended("~ ServiceAccount", &["patch serviceaccounts default/web"]);
    assert_eq!(sandbox.object(&path("default", "web"))["metadata"]["annotations"][ROLE], role);

    wait(sandbox.iam().detach_role_policy().role_name(name_of(&role)).policy_arn(S3).send()).unwrap();
    mended("+ PolicyAttachment", &["iam:AttachRolePolicy"]);
    let other = trust(&sandbox, "other").to_string();
    wait(sandbox.iam().update_assume_role_policy().role_name(name_of(&role)).policy_document(other).send()).unwrap();
    mended("system:serviceaccount:default:web", &["iam:UpdateAssumeRolePolicy"]);
    sandbox.attach(name_of(&role), &sandbox.create_policy("theirs"));
    mended("others attached, which are left alone: theirs", &[]);

    wait(sandbox.iam().detach_role_policy().role_name(name_of(&role)).policy_arn(policy_arn("theirs")).send()).unwrap();
    wait(sandbox.iam().detach_role_policy().role_name(name_of(&role)).policy_arn(S3).send()).unwrap();
    wait(sandbox.iam().delete_role().role_name(name_of(&role)).send()).unwrap();
    sandbox.forget_calls();
    sandbox.run(&line).ok().shows(&["~ Stack", "its role is gone"]);
    let anew = role_arn(&sandbox.stack(&stack_name("default", "web")).unwrap()).to_owned();
    assert_ne!(anew, role);
    assert_eq!(sandbox.object(&path("default", "web"))["metadata"]["annotations"][ROLE], anew);
}

#[test]
fn every_field_is_changed_and_the_plan_shows_it() {
    let sandbox = Sandbox::lease();
    let boundary = sandbox.create_policy("boundary");
    let mine = sandbox.create_policy("mine");
    let base = format!("{CREATE} web --attach-policy-arn {S3}");
    sandbox.run(&format!("{base} --approve")).ok();
    let stack = stack_name("default", "web");
    let role = || name_of(role_arn(&sandbox.stack(&stack).unwrap())).to_owned();
    let before = role();
    let get = |name: &str| wait(sandbox.iam().get_role().role_name(name).send()).unwrap().role.unwrap();

    let line = format!(
        "{CREATE} web --attach-policy-arn policy/mine --permissions-boundary {boundary} --tags a=b \
                        --subject-pattern web-* --termination-protection"
    );
    let shown = [
        "ManagedPolicyArns",
        "- arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess",
        &format!("+ {mine}"),
        "PermissionsBoundary: (none) → ",
        ":sub: (none) → system:serviceaccount:default:web-*",
        "/Tags/a: (none) → b",
        "/EnableTerminationProtection: false → true",
        "1 to change",
    ];
    sandbox.run(&format!("{line} --approve")).ok().shows(&shown);
    let found = sandbox.stack(&stack).unwrap();
    assert_eq!((found.enable_termination_protection(), tags(&found)["a"]), (Some(true), "b"));
    let now = get(&before);
    assert_eq!(now.permissions_boundary.unwrap().permissions_boundary_arn.unwrap(), boundary);
    assert!(now.assume_role_policy_document.unwrap().contains("web-"));
    assert_eq!(sandbox.attached(&before), ["mine"]);
    assert_eq!(sandbox.change_sets(&stack), 0);
    sandbox.run(&format!("{line} --approve")).ok().shows(&["Nothing to do"]);

    // A new name or path is a new role, and the ServiceAccount follows.
    let named = format!("{base} --role-name web-role --role-path /apps/");
    let shown =
        ["RoleName: (none) → web-role", "Path: (none) → /apps/", "PermissionsBoundary", "→ (none)", "~ ServiceAccount"];
    sandbox.run(&format!("{named} --approve")).ok().shows(&shown);
    let arn = role_arn(&sandbox.stack(&stack).unwrap()).to_owned();
    assert_eq!(arn, "arn:aws:iam::123456789012:role/apps/web-role");
    assert_eq!(sandbox.object(&path("default", "web"))["metadata"]["annotations"][ROLE], arn);
    assert!(!sandbox.has_role(&before), "the old role is gone");
    assert!(get("web-role").permissions_boundary.is_none());

    // What others protected stays so; protection alone needs no change set.
    assert_eq!(sandbox.stack(&stack).unwrap().enable_termination_protection(), Some(true));
    let set = sandbox.cloudformation().update_termination_protection().stack_name(&stack);
    wait(set.enable_termination_protection(false).send()).unwrap();
    sandbox.forget_calls();
    sandbox.run(&format!("{named} --termination-protection --approve")).ok();
    assert_eq!(sandbox.writes(), ["cloudformation:UpdateTerminationProtection"]);
}

#[test]
fn m14_role_only_makes_no_kubernetes_call() {
    let sandbox = Sandbox::lease();
    hide_kubernetes(&sandbox);
    let line = format!("{CREATE} batch --attach-policy-arn {S3}");
    sandbox.run(&format!("{line} --approve")).exits(1).says(&["127.0.0.1:1", "hint: ", "--role-only"]);
    assert_eq!(sandbox.writes(), NOTHING);
    sandbox.run(&format!("{line} --role-only --approve")).ok().shows(&["role ARN: arn:aws:iam::123456789012:role/"]);
    let listed = sandbox.run(&format!("{GET} -o json")).ok().says(&["warning: the ServiceAccounts can't be read"]);
    assert_eq!(states(&listed), ["default/batch unknown irsactl"]);
    sandbox.run(&format!("{DELETE} batch --role-only --approve")).ok();
    assert_eq!(sandbox.stack_status(&stack_name("default", "batch")), "gone");
    sandbox.heal();
    assert!(sandbox.kube("GET", &path("default", "batch"), None).is_none());
}

#[test]
fn d5_d7_names_that_clash_or_are_too_long_work() {
    let sandbox = Sandbox::lease();
    let long = "capa-eks-control-plane-controller-manager-of-the-second-region";
    let names = [("a-b", "c"), ("a", "b-c"), ("default", "my.app"), ("capa-eks-control-plane-system", long)];
    for (namespace, name) in names {
        created(&sandbox, namespace, name);
    }
    let listed = sandbox.run(&format!("{GET} -o json")).ok();
    let mut sorted = names;
    sorted.sort_unstable();
    let ready: Vec<_> = sorted.iter().map(|(namespace, name)| format!("{namespace}/{name} ready irsactl")).collect();
    assert_eq!(states(&listed), ready);
    let stacks: Vec<_> =
        listed.json().as_array().unwrap().iter().map(|row| row["status"]["stackName"].to_string()).collect();
    assert!(stacks.iter().any(|name| name.trim_matches('"') == stack_name("a-b", "c")), "{stacks:?}");
    for (namespace, name) in names {
        let line = format!("--namespace {namespace} --name {name}");
        assert_eq!(states(&sandbox.run(&format!("{GET} {line} -o json")).ok()).len(), 1, "{line}");
        let again = sandbox.run(&format!("{CREATE} {line} --attach-policy-arn {S3} --detailed-exitcode")).ok();
        again.shows(&["Nothing to do"]);
    }
    sandbox.run(&format!("{DELETE} --namespace a --name b-c --approve")).ok();
    assert_eq!(sandbox.stack_status(&stack_name("a-b", "c")), "CREATE_COMPLETE");
    sandbox.run(&format!("{DELETE} --namespace a-b --name c --approve")).ok();
    assert_eq!(states(&sandbox.run(&format!("{GET} -o json")).ok()).len(), 2);
}

#[test]
fn d6_a_cluster_whose_name_no_stack_can_have() {
    let sandbox = Sandbox::lease();
    let eks = aws_sdk_eks::Client::new(&sandbox.aws());
    let like = wait(eks.describe_cluster().name("eksdemo1").send()).unwrap().cluster.unwrap();
    let network = aws_sdk_eks::types::VpcConfigRequest::builder()
        .set_subnet_ids(like.resources_vpc_config.unwrap().subnet_ids)
        .build();
    let create = eks.create_cluster().name("bla_bla_bla").role_arn(like.role_arn.unwrap());
    wait(create.resources_vpc_config(network).send()).unwrap();
    sandbox.aws_control("/_sandbox/cluster-status", &json!({"name": "bla_bla_bla", "status": "ACTIVE"}));
    let line = "iamserviceaccount --cluster bla_bla_bla --name iam-test --role-only";
    let done = sandbox.run(&format!("create {line} --attach-policy-arn {S3} --approve -o json")).ok();
    let stack = done.changes()[1].clone();
    assert!(stack.starts_with("create Stack eksctl-bla-bla-bla-addon-iamserviceaccount-default-iam-test-"), "{stack}");
    sandbox.run(&format!("delete {line} --approve")).ok().shows(&["- Stack", "eksctl-bla-bla-bla-addon"]);
}

#[test]
fn a_failed_creation_is_explained_at_once_and_replaced_by_the_next_run() {
    let sandbox = Sandbox::lease();
    sandbox.fault(&json!({"deny": "iam:CreateRole"}));
    // The rollback takes longer than the user.
    let still = json!([["ROLLBACK_COMPLETE", "ROLLBACK_IN_PROGRESS"]]);
    sandbox.fault(&json!({"service": "cloudformation", "action": "DescribeStack*", "replace": still}));
    let line = format!("{CREATE} web --attach-policy-arn {S3} --approve");
    sandbox.run(&line).exits(1).says(&["failed", "Role1", "iam:CreateRole", "hint: "]);
    let stack = stack_name("default", "web");
    assert!(sandbox.kube("GET", &path("default", "web"), None).is_none());
    sandbox.heal();
    until("the rollback is over", || (sandbox.stack_status(&stack) == "ROLLBACK_COMPLETE").then_some(()));

    let listed = sandbox.run(&format!("{GET} -o json")).ok();
    assert_eq!(states(&listed), ["default/web failed irsactl"]);
    assert!(listed.json()[0]["status"]["drift"][0].as_str().unwrap().contains("ROLLBACK_COMPLETE"));
    sandbox
        .run(&line.replace(" --approve", ""))
        .ok()
        .shows(&["replaced, because it is ROLLBACK_COMPLETE", "iam:CreateRole"]);

    // The next run waits for it.
    sandbox.fault(&json!({"service": "cloudformation", "action": "DescribeStacks", "times": 3, "replace": still}));
    sandbox.run(&line).ok().shows(&["~ Stack", "is being undone: it is replaced after that"]);
    assert_eq!(states(&sandbox.run(&format!("{GET} -o json")).ok()), ["default/web ready irsactl"]);
}

#[test]
fn a_role_name_that_is_taken_is_refused_before_anything_is_written() {
    let sandbox = Sandbox::lease();
    sandbox.create_role("Taken");
    let refused = |line: &str| {
        sandbox.forget_calls();
        sandbox.run(&format!("{CREATE} web --attach-policy-arn {S3} --role-name {line} --approve")).exits(1).says(&[
            "a role named Taken exists",
            "--role-name",
            "--attach-role-arn",
        ]);
        assert_eq!(sandbox.writes(), NOTHING);
    };
    refused("Taken");
    created(&sandbox, "default", "web");
    refused("Taken");
    assert_eq!(states(&sandbox.run(&format!("{GET} -o json")).ok()), ["default/web ready irsactl"]);
}

#[test]
fn i2_i4_i7_i8_i12_get_prints_tables_and_documents() {
    let sandbox = Sandbox::lease();
    sandbox.run(GET).ok().shows(&["No iamserviceaccounts found\n"]);
    for format in ["json", "yaml"] {
        assert_eq!(sandbox.run(&format!("{GET} -o {format}")).ok().stdout.trim(), "[]");
    }
    let role = created(&sandbox, "monitoring", "app");
    created(&sandbox, "default", "app");
    created(&sandbox, "default", "another-app");

    let table = sandbox.run(GET).ok().stdout;
    let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAMESPACE", "NAME", "ROLE", "ARN", "STATE"]);
    assert_eq!(lines[1][..2], ["default", "another-app"]);
    assert_eq!(lines[3], ["monitoring", "app", &role, "ready"]);
    let wide = sandbox.run(&format!("{GET} -o wide")).ok();
    wide.shows(&["SOURCE", "STACK STATUS", "DRIFT", "irsactl", &stack_name("monitoring", "app"), "CREATE_COMPLETE"]);

    for (filter, expected) in [
        ("app", vec!["default/app ready irsactl", "monitoring/app ready irsactl"]),
        ("--name app --namespace default", vec!["default/app ready irsactl"]),
        ("--namespace default", vec!["default/another-app ready irsactl", "default/app ready irsactl"]),
        ("--name ap", vec![]),
        ("--name app --namespace kube-system", vec![]),
    ] {
        let run = sandbox.run(&format!("{GET} {filter} -o json")).ok();
        assert_eq!(states(&run), expected, "{filter}");
        assert_eq!(run.stderr, "", "{filter}");
    }
    let row = &sandbox.run(&format!("{GET} --name app --namespace monitoring -o json")).ok().json()[0];
    let status = &row["status"];
    assert_eq!(row["metadata"], json!({"name": "app", "namespace": "monitoring"}));
    assert_eq!((&status["roleARN"], &status["capabilities"]), (&json!(role), &json!(["CAPABILITY_IAM"])));
    assert_eq!(status["tags"]["alpha.eksctl.io/iamserviceaccount-name"], "monitoring/app");
    let yaml: Value = serde_saphyr::from_str(&sandbox.run(&format!("{GET} -o yaml")).ok().stdout).unwrap();
    assert_eq!(yaml, sandbox.run(&format!("{GET} -o json")).ok().json());
    assert_eq!(sandbox.run(&format!("{GET} -o foo")).exits(2).stdout, "");
}

#[test]
fn i9_every_state_is_told_and_none_hides_another() {
    let sandbox = Sandbox::lease();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    created(&sandbox, "default", "fine");
    let role = created(&sandbox, "default", "drifted");
    let gone = created(&sandbox, "default", "roleless");
    created(&sandbox, "default", "objectless");
    created(&sandbox, "default", "bare");
    let other = trust(&sandbox, "other").to_string();
    wait(sandbox.iam().update_assume_role_policy().role_name(name_of(&role)).policy_document(other).send()).unwrap();
    wait(sandbox.iam().detach_role_policy().role_name(name_of(&gone)).policy_arn(S3).send()).unwrap();
    wait(sandbox.iam().delete_role().role_name(name_of(&gone)).send()).unwrap();
    sandbox.delete(&format!("{accounts}/objectless"));
    sandbox.patch(&format!("{accounts}/bare"), &json!({"metadata": {"annotations": {ROLE: null}}}));
    create_foreign(&sandbox, "helm", &json!({ROLE: created(&sandbox, "default", "twin")}));
    create_foreign(&sandbox, "far", &json!({ROLE: "arn:aws:iam::111122223333:role/far"}));
    create_foreign(&sandbox, "unrelated", &json!({}));

    sandbox.fault(&json!({"deny": "iam:CreateRole"}));
    sandbox.run(&format!("{CREATE} broken --attach-policy-arn {S3} --approve")).exits(1);
    sandbox.heal();
    let slow = format!("{CREATE} slow --attach-policy-arn {S3} --approve");
    sandbox.leave_under_way(&slow, &stack_name("default", "slow"), "CREATE_IN_PROGRESS");

    let listed = sandbox.run(&format!("{GET} -o json")).ok();
    let expected = [
        "default/bare not-annotated irsactl",
        "default/broken failed irsactl",
        "default/drifted drifted irsactl",
        "default/far unknown external",
        "default/fine ready irsactl",
        "default/helm drifted external",
        "default/objectless serviceaccount-missing irsactl",
        "default/roleless role-missing irsactl",
        "default/slow pending irsactl",
        "default/twin ready irsactl",
    ];
    assert_eq!(states(&listed), expected);
    for row in listed.json().as_array().unwrap() {
        let silent = row["status"]["drift"].as_array().unwrap().is_empty();
        assert_eq!(silent, ["ready", "pending"].contains(&row["status"]["state"].as_str().unwrap()), "{row}");
    }
    for line in expected {
        let name = line.split(['/', ' ']).nth(1).unwrap();
        let one = sandbox.run(&format!("{GET} --namespace default --name {name} -o json")).ok();
        assert_eq!(states(&one), [line], "one by its name");
    }

    for (filter, deny) in [("", "iam:ListRoles"), ("--namespace default --name fine", "iam:GetRole")] {
        sandbox.fault(&json!({"deny": deny}));
        let run = sandbox.run(&format!("{GET} {filter} -o json")).ok().says(&["warning: ", "can't be read", deny]);
        assert!(states(&run).contains(&"default/fine unknown irsactl".to_owned()), "{:?}", states(&run));
    }
}

#[test]
fn m15_listing_many_costs_no_more_calls_than_listing_few() {
    let sandbox = Sandbox::lease();
    let cost = || {
        sandbox.forget_calls();
        let run = sandbox.run(&format!("{GET} -o json")).ok();
        (states(&run).len(), sandbox.aws_calls())
    };
    let (none, mut few) = cost();
    let template =
        sandbox.run(&format!("render stack --cluster eksdemo1 --name x --attach-policy-arn {S3}")).ok().json();
    for number in 0..12 {
        let name = stack_name("default", &format!("sa-{number}"));
        let owner = format!("default/sa-{number}");
        let tags =
            [("alpha.eksctl.io/cluster-name", "eksdemo1"), ("alpha.eksctl.io/iamserviceaccount-name", owner.as_str())];
        sandbox.create_stack(&NewStack { name: &name, template: &template, tags: &tags, protected: false });
    }
    let (many, mut calls) = cost();
    few.sort_unstable();
    calls.sort_unstable();
    assert_eq!((none, many), (0, 12));
    assert_eq!(calls, few);
    // Cluster, provider, stacks, roles.
    assert!(calls.len() <= 4, "{calls:?}");
}

#[test]
fn a_role_with_policies_of_others_is_deleted_with_consent_only() {
    let sandbox = Sandbox::lease();
    let role = created(&sandbox, "default", "web");
    let theirs = sandbox.create_policy("theirs");
    sandbox.attach(name_of(&role), &theirs);
    sandbox.forget_calls();
    let detach = format!("aws iam detach-role-policy --role-name {} --policy-arn {theirs}", name_of(&role));
    sandbox.run(&format!("{DELETE} web --approve")).exits(1).says(&[
        "others attached: theirs",
        &detach,
        "irsactl delete iamserviceaccount --cluster eksdemo1 web --approve --region us-west-2 --detach-foreign-policies",
    ]);
    assert_eq!(sandbox.writes(), NOTHING);
    sandbox.run(&format!("{DELETE} web --approve --detach-foreign-policies")).ok();
    assert_eq!(
        sandbox.writes(),
        ["iam:DetachRolePolicy", "cloudformation:DeleteStack", "delete serviceaccounts default/web"]
    );
    assert!(!sandbox.has_role(name_of(&role)) && sandbox.has_policy("theirs"));
}

#[test]
fn a_stack_that_could_not_be_deleted_is_replaced_or_deleted_once_it_can_be() {
    let sandbox = Sandbox::lease();
    let role = created(&sandbox, "default", "web");
    let stack = stack_name("default", "web");
    let theirs = sandbox.create_policy("theirs");
    sandbox.attach(name_of(&role), &theirs);
    wait(sandbox.cloudformation().delete_stack().stack_name(&stack).send()).unwrap();
    until("the deletion failed", || (sandbox.stack_status(&stack) == "DELETE_FAILED").then_some(()));
    assert_eq!(states(&sandbox.run(&format!("{GET} -o json")).ok()), ["default/web failed irsactl"]);
    let create = format!("{CREATE} web --attach-policy-arn {S3} --approve");
    let detach = format!("aws iam detach-role-policy --role-name {} --policy-arn {theirs}", name_of(&role));
    sandbox.forget_calls();
    sandbox.run(&create).exits(1).says(&["others attached: theirs", &detach]);
    assert_eq!(sandbox.writes(), NOTHING);
    wait(sandbox.iam().detach_role_policy().role_name(name_of(&role)).policy_arn(theirs).send()).unwrap();
    sandbox.run(&create).ok().shows(&["replaced, because it is DELETE_FAILED"]);
    assert_eq!(states(&sandbox.run(&format!("{GET} -o json")).ok()), ["default/web ready irsactl"]);

    sandbox.fault(&json!({"deny": "iam:DeleteRole"}));
    let delete = format!("{DELETE} web --approve");
    sandbox.run(&delete).exits(1).says(&["iam:DeleteRole", "not reached: ServiceAccount default/web"]);
    sandbox.heal();
    sandbox.run(&delete).ok();
    assert_eq!(states(&sandbox.run(&format!("{GET} -o json")).ok()), NOTHING);
}

#[test]
fn a_stack_of_another_cluster_is_left_alone() {
    let sandbox = Sandbox::lease();
    let template =
        sandbox.run(&format!("render stack --cluster eksdemo1 --name web --attach-policy-arn {S3}")).ok().json();
    let name = stack_name("default", "web");
    let tags = [("alpha.eksctl.io/cluster-name", "other"), ("alpha.eksctl.io/iamserviceaccount-name", "default/web")];
    sandbox.create_stack(&NewStack { name: &name, template: &template, tags: &tags, protected: false });
    let create = format!("{CREATE} web --attach-policy-arn {S3} --approve");
    for line in [create, format!("{DELETE} web --approve")] {
        sandbox.run(&line).exits(1).says(&[
            "isn't for default/web of cluster eksdemo1",
            "default/web of cluster other",
            "hint: ",
        ]);
        assert_eq!(sandbox.writes(), NOTHING);
    }
    assert_eq!(states(&sandbox.run(&format!("{GET} -o json")).ok()), NOTHING);
    assert_eq!(sandbox.stack_status(&name), "CREATE_COMPLETE");
}

#[test]
fn an_audience_or_a_pattern_that_keeps_the_pods_out_is_told() {
    let sandbox = Sandbox::lease();
    let create = |rest: &str| format!("{CREATE} web --attach-policy-arn {S3} {rest}");
    sandbox
        .run(&create("--annotations eks.amazonaws.com/audience=foo"))
        .exits(2)
        .says(&["eks.amazonaws.com/audience", "must be sts.amazonaws.com"]);
    sandbox.run(&create("--subject-pattern app-*")).ok().shows(&["leaves default/web itself out"]);
    sandbox.run(&create("--approve")).ok();
    let audience = json!({"metadata": {"annotations": {"eks.amazonaws.com/audience": "foo"}}});
    sandbox.patch("/api/v1/namespaces/default/serviceaccounts/web", &audience);
    let rows = sandbox.run(&format!("{GET} -o json")).ok().json();
    assert_eq!(rows[0]["status"]["state"], "drifted");
    assert!(rows[0]["status"]["drift"].to_string().contains("found foo, needed sts.amazonaws.com"), "{rows}");
    let verify = "verify iamserviceaccount --cluster eksdemo1 --namespace default --name web -o json";
    let report = sandbox.run(verify).exits(4).json();
    let broken: Vec<_> = report["checks"].as_array().unwrap().iter().filter(|it| it["status"] == "fail").collect();
    assert_eq!((broken.len(), &broken[0]["id"]), (1, &json!("service-account")), "{report}");
}
