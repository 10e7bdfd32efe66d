//! `update iamserviceaccount -f`, and what `update` changes beside managed policies.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::aws::{NewStack, S3, name_of, role_arn, tags, wait};
use crate::support::{Run, Sandbox};

const UPDATE: &str = "update iamserviceaccount";
const DYNAMO: &str = "arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess";
const NOTHING: [&str; 0] = [];

const HEAD: &str = "\
apiVersion: eksctl.io/v1alpha5
kind: ClusterConfig
metadata: {name: eksdemo1, region: us-west-2}
iam:
  serviceAccounts:
";

fn stack(name: &str) -> String {
    format!("eksctl-eksdemo1-addon-iamserviceaccount-web-{name}")
}

fn account(name: &str) -> String {
    format!("/api/v1/namespaces/web/serviceaccounts/{name}")
}

/// Entries of the namespace `web`: a name, and the other keys.
fn config(entries: &[(&str, &str)]) -> String {
    let entry = |(name, keys): &(&str, &str)| format!("  - {{metadata: {{namespace: web, name: {name}}}, {keys}}}\n");
    HEAD.to_owned() + &entries.iter().map(entry).collect::<String>()
}

fn run_with(sandbox: &Sandbox, line: &str, file: &str) -> Run {
    let path = sandbox.file("cluster.yaml", file);
    sandbox.run(&format!("{line} -f {}", path.display()))
}

fn template(sandbox: &Sandbox, name: &str) -> Value {
    let answer = wait(sandbox.cloudformation().get_template().stack_name(stack(name)).send()).unwrap();
    serde_json::from_str(answer.template_body().unwrap()).unwrap()
}

fn role(sandbox: &Sandbox, name: &str) -> aws_sdk_iam::types::Role {
    let arn = role_arn(&sandbox.stack(&stack(name)).unwrap()).to_owned();
    wait(sandbox.iam().get_role().role_name(name_of(&arn)).send()).unwrap().role.unwrap()
}

const ARNS: &str = "attachPolicyARNs: [arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess]";

#[test]
fn j1_of_three_entries_only_the_one_that_differs_is_changed() {
    let sandbox = Sandbox::lease();
    let inline =
        "attachPolicy: {Version: \"2012-10-17\", Statement: [{Effect: Allow, Action: \"s3:Get*\", Resource: \"*\"}]}";
    let before = config(&[("a", ARNS), ("b", inline), ("c", "wellKnownPolicies: {autoScaler: true}")]);
    run_with(&sandbox, "create iamserviceaccount --approve", &before).ok();
    sandbox.forget_calls();
    run_with(&sandbox, &format!("{UPDATE} --approve"), &before).ok().shows(&["Nothing to do"]);
    assert_eq!(sandbox.writes(), NOTHING);

    let after = before.replace("s3:Get*", "s3:Put*");
    let plan = run_with(&sandbox, &format!("{UPDATE} -o json"), &after).ok();
    assert_eq!(plan.changes(), [format!("update Stack {}", stack("b"))]);
    assert_eq!(plan.json()["outputs"]["serviceAccounts"].as_array().unwrap().len(), 3);
    assert_eq!(sandbox.writes(), NOTHING);
    run_with(&sandbox, &format!("{UPDATE} --approve --exclude */b"), &after).ok().shows(&["Nothing to do"]);
    assert_eq!(sandbox.writes(), NOTHING);

    run_with(&sandbox, &format!("{UPDATE} --approve --include web/*"), &after).ok();
    assert_eq!(sandbox.writes(), ["cloudformation:CreateChangeSet", "cloudformation:ExecuteChangeSet"]);
    let document = &template(&sandbox, "b")["Resources"]["Policy1"]["Properties"]["PolicyDocument"];
    assert_eq!(document["Statement"][0]["Action"], "s3:Put*");
    let trust = role(&sandbox, "b").assume_role_policy_document.unwrap();
    assert!(trust.contains("system%3Aserviceaccount%3Aweb%3Ab"), "{trust}");

    // From stdin, and done already.
    let mut command = sandbox.command([&UPDATE.split(' ').collect::<Vec<_>>()[..], &["-f", "-", "--approve"]].concat());
    command.stdin(Stdio::from(std::fs::File::open(sandbox.file("cluster.yaml", &after)).unwrap()));
    Run::of(&mut command).ok().shows(&["Nothing to do"]);
}

#[test]
fn j3_entries_without_a_stack_are_named_and_nothing_is_changed() {
    let sandbox = Sandbox::lease();
    let before = config(&[("a", ARNS)]);
    run_with(&sandbox, "create iamserviceaccount --approve", &before).ok();
    sandbox.forget_calls();
    let after = config(&[("a", "wellKnownPolicies: {autoScaler: true}"), ("new", ARNS), ("newer", ARNS)]);
    run_with(&sandbox, &format!("{UPDATE} --approve -o json"), &after).fails(
        "not-found",
        &[
            "web/new, web/newer",
            "irsactl create iamserviceaccount --config-file",
            "--include web/new,web/newer --approve",
        ],
    );
    assert_eq!(sandbox.writes(), NOTHING);
    run_with(&sandbox, &format!("{UPDATE} --approve --include web/a"), &after).ok();
    run_with(&sandbox, &format!("{UPDATE} --include nothing"), &after).exits(2).says(&["nothing", "web/newer"]);
}

#[test]
fn j4_j7_what_an_entry_does_not_name_stays() {
    let sandbox = Sandbox::lease();
    let whole = config(&[(
        "a",
        "roleName: test-role, permissionsBoundary: arn:aws:iam::aws:policy/PowerUserAccess, tags: {team: web}, \
         wellKnownPolicies: {ebsCSIController: true, certManager: true}, subjectPattern: a*, \
         attachPolicy: {Version: \"2012-10-17\", Statement: [{Effect: Allow, Action: \"s3:Get*\", Resource: \"*\"}]}",
    )]);
    let whole = whole.replace("name: a}", "name: a, labels: {tier: backend}, annotations: {example.com/x: y}}");
    run_with(&sandbox, "create iamserviceaccount --approve", &whole).ok();
    let (first, first_role) = (template(&sandbox, "a"), role(&sandbox, "a"));
    // What others add to the ServiceAccount is theirs.
    sandbox.patch(&account("a"), &json!({"metadata": {"labels": {"theirs": "1"}}}));

    let named = config(&[("a", &format!("attachPolicyARNs: [{DYNAMO}]"))]);
    let named = named.replace("name: a}", "name: a, labels: {stage: test}}");
    run_with(&sandbox, &format!("{UPDATE} --approve"), &named).ok();
    let mut expected = first.clone();
    expected["Resources"]["Role1"]["Properties"]["ManagedPolicyArns"] = json!([
        DYNAMO,
        {"Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"},
    ]);
    assert_eq!(template(&sandbox, "a"), expected);
    let now = role(&sandbox, "a");
    assert_eq!((now.arn(), now.permissions_boundary()), (first_role.arn(), first_role.permissions_boundary()));
    assert_eq!(tags(&sandbox.stack(&stack("a")).unwrap()).get("team"), Some(&"web"));
    let metadata = sandbox.object(&account("a"))["metadata"].clone();
    let labels = json!({"app.kubernetes.io/managed-by": "eksctl", "tier": "backend", "theirs": "1", "stage": "test"});
    assert_eq!((&metadata["labels"], &metadata["annotations"]["example.com/x"]), (&labels, &json!("y")));

    sandbox.forget_calls();
    run_with(&sandbox, &format!("{UPDATE} --approve"), &named).ok().shows(&["Nothing to do"]);
    let renamed = named.replace("attachPolicyARNs", "roleName: other, attachPolicyARNs");
    run_with(&sandbox, &format!("{UPDATE} --approve"), &renamed).ok().shows(&["test-role of web/a keeps its name"]);
    assert_eq!(sandbox.writes(), NOTHING);

    // What is named to be empty, is.
    let fewer = "attachPolicyARNs: [], wellKnownPolicies: {certManager: false, externalDNS: true}, subjectPattern: b*";
    run_with(&sandbox, &format!("{UPDATE} --approve"), &config(&[("a", fewer)])).ok();
    let resources = template(&sandbox, "a")["Resources"].clone();
    let mut ids: Vec<_> = resources.as_object().unwrap().keys().collect();
    ids.sort();
    assert_eq!(ids, ["Policy1", "PolicyExternalDNSChangeSet", "PolicyExternalDNSHostedZones", "Role1"]);
    assert_eq!(resources["Role1"]["Properties"].get("ManagedPolicyArns"), None);
    let trust = role(&sandbox, "a").assume_role_policy_document.unwrap();
    assert!(trust.contains("serviceaccount%3Aweb%3Ab%2A"), "{trust}");
}

#[test]
fn each_flag_replaces_what_it_names_and_maps_grow() {
    let sandbox = Sandbox::lease();
    let create =
        format!("create iamserviceaccount --cluster eksdemo1 --namespace web --name a --attach-policy-arn {S3}");
    sandbox.run(&format!("{create} --well-known-policy autoScaler --labels tier=backend,old=1 --approve")).ok();
    let update = format!("{UPDATE} --cluster eksdemo1 --namespace web --name a --approve -o json");
    let policy = sandbox.file(
        "policy.json",
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}}"#,
    );
    sandbox.run(&format!("{update} --well-known-policy EFScsiController --attach-policy {}", policy.display())).ok();
    let resources = template(&sandbox, "a")["Resources"].clone();
    let mut ids: Vec<_> = resources.as_object().unwrap().keys().collect();
    ids.sort();
    assert_eq!(ids, ["Policy1", "PolicyEFSCSIController", "Role1"]);
    assert_eq!(resources["Role1"]["Properties"]["ManagedPolicyArns"], json!([S3]));

    sandbox.forget_calls();
    let run = sandbox.run(&format!("{update} --labels old=2,new=3 --annotations example.com/x=y")).ok();
    assert_eq!(run.changes(), ["update ServiceAccount web/a"]);
    assert_eq!(sandbox.aws_writes(), NOTHING);
    let metadata = sandbox.object(&account("a"))["metadata"].clone();
    let labels = json!({"app.kubernetes.io/managed-by": "eksctl", "tier": "backend", "old": "2", "new": "3"});
    assert_eq!((&metadata["labels"], &metadata["annotations"]["example.com/x"]), (&labels, &json!("y")));
    assert_eq!(metadata["annotations"]["eks.amazonaws.com/role-arn"], role(&sandbox, "a").arn());
    sandbox.forget_calls();
    assert_eq!(
        sandbox.run(&format!("{update} --labels tier=backend --annotations example.com/x=y")).ok().changes(),
        NOTHING
    );
    assert_eq!(sandbox.writes(), NOTHING);
}

#[test]
fn eksctl_s_stack_gets_the_policies_of_today_and_roles_of_others_stay() {
    let sandbox = Sandbox::lease();
    sandbox.create_namespace("web");
    let issuer = sandbox.fact("issuer").trim_start_matches("https://");
    let text = include_str!("../fixtures/eksctl-external-dns-stack.json")
        .replace("oidc.eks.us-west-2.amazonaws.com/id/A39A2842863C47208955D753DE205E6E", issuer)
        .replace("456123987123", "123456789012")
        .replace("kube-system", "web");
    let made: Value = serde_json::from_str(&text).unwrap();
    let owned = [
        ("alpha.eksctl.io/cluster-name", "eksdemo1"),
        ("alpha.eksctl.io/eksctl-version", "0.215.0"),
        ("alpha.eksctl.io/iamserviceaccount-name", "web/external-dns"),
    ];
    sandbox.create_stack(&NewStack { name: &stack("external-dns"), template: &made, tags: &owned, protected: true });
    let trust: Value = made["Resources"]["Role1"]["Properties"]["AssumeRolePolicyDocument"].clone();
    sandbox.create_role_trusting(
        "jobs",
        &serde_json::from_str(&trust.to_string().replace("external-dns", "jobs")).unwrap(),
    );

    let jobs = "attachRoleARN: arn:aws:iam::123456789012:role/jobs";
    let file = config(&[("external-dns", "wellKnownPolicies: {externalDNS: true}"), ("jobs", jobs)]);
    sandbox.forget_calls();
    run_with(&sandbox, &format!("{UPDATE} --approve"), &file).ok().shows(&["ListTagsForResources"]);
    let count = |what: &str| sandbox.aws_writes().iter().filter(|call| call.contains(what)).count();
    assert_eq!((count("CreateChangeSet"), count("iam:")), (1, 0));
    let after = template(&sandbox, "external-dns");
    assert_eq!(after["Outputs"], made["Outputs"]);
    assert_eq!(after["Resources"]["Role1"], made["Resources"]["Role1"]);
    let annotation = "eks.amazonaws.com/role-arn";
    assert_eq!(
        sandbox.object(&account("jobs"))["metadata"]["annotations"][annotation],
        "arn:aws:iam::123456789012:role/jobs"
    );
    sandbox.forget_calls();
    run_with(&sandbox, &format!("{UPDATE} --approve"), &file).ok().shows(&["Nothing to do"]);
    assert_eq!(sandbox.writes(), NOTHING);
}
