//! `get iamserviceaccount`: whatever happened to service accounts, seen side by side.

use serde_json::{Value, json};

use crate::support::aws::{NewStack, S3, name_of, policy_arn, wait};
use crate::support::{Run, Sandbox};

const GET: &str = "get iamserviceaccount --cluster eksdemo1";
const ROLE: &str = "eks.amazonaws.com/role-arn";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

fn stack_name(name: &str) -> String {
    format!("eksctl-eksdemo1-addon-iamserviceaccount-default-{name}")
}

/// Creates service accounts of `default` from a file, each with these fields.
fn create(sandbox: &Sandbox, accounts: &[(&str, Value)]) {
    let accounts: Vec<_> = accounts
        .iter()
        .map(|(name, fields)| {
            let mut account = fields.clone();
            account["metadata"] = json!({"name": name});
            account
        })
        .collect();
    let config = json!({
        "apiVersion": "eksctl.io/v1alpha5", "kind": "ClusterConfig",
        "metadata": {"name": "eksdemo1", "region": "us-west-2"},
        "iam": {"serviceAccounts": accounts},
    });
    let file = sandbox.file("cluster.json", &config.to_string());
    sandbox.run(&format!("create iamserviceaccount -f {} --approve", file.display())).ok();
}

fn managed() -> Value {
    json!({"attachPolicyARNs": [S3]})
}

/// A ServiceAccount that others annotated.
fn annotate(sandbox: &Sandbox, name: &str, role: &str) {
    sandbox.create(ACCOUNTS, &json!({"metadata": {"name": name, "annotations": {ROLE: role}}}));
}

fn reannotate(sandbox: &Sandbox, name: &str, role: &str) {
    sandbox.patch(&format!("{ACCOUNTS}/{name}"), &json!({"metadata": {"annotations": {ROLE: role}}}));
}

/// The row of a service account of `default`.
#[track_caller]
fn row(rows: &Value, name: &str) -> Value {
    let mut rows = rows.as_array().unwrap().iter();
    rows.find(|row| row["metadata"]["name"] == name).unwrap_or_else(|| panic!("no {name}"))["status"].clone()
}

fn drift(status: &Value) -> String {
    status["drift"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Checks `name state source` and what the drift says.
#[track_caller]
fn is(rows: &Value, name: &str, state: &str, source: &str, sentences: &[&str]) {
    let status = row(rows, name);
    let drift = drift(&status);
    assert_eq!((&status["state"], &status["source"]), (&json!(state), &json!(source)), "{name}: {drift}");
    for sentence in sentences {
        assert!(drift.contains(sentence), "{name}: no `{sentence}` in:\n{drift}");
    }
    assert_eq!(drift.is_empty(), state == "ready", "{name}: {drift}");
}

fn trust(sandbox: &Sandbox, name: &str) -> String {
    let line = format!("render trust-policy --cluster eksdemo1 --namespace default --name {name}");
    sandbox.run(&line).ok().stdout
}

fn set_trust(sandbox: &Sandbox, role: &str, document: &str) {
    wait(sandbox.iam().update_assume_role_policy().role_name(role).policy_document(document).send()).unwrap();
}

fn role_of(sandbox: &Sandbox, name: &str) -> String {
    crate::support::aws::role_arn(&sandbox.stack(&stack_name(name)).unwrap()).to_owned()
}

fn json_of(sandbox: &Sandbox, filter: &str) -> Value {
    sandbox.run(&format!("{GET} {filter} -o json")).ok().json()
}

#[test]
fn each_kind_of_drift_says_what_was_found_and_what_is_needed() {
    let sandbox = Sandbox::lease();
    let names = ["audience", "blank", "extra", "fine", "issuer", "partition", "path", "stranger", "subject"];
    create(&sandbox, &names.map(|name| (name, managed())));
    let arns = |name: &str| role_of(&sandbox, name);
    let policy = |name: &str, from: &str, to: &str| {
        let changed = trust(&sandbox, name).replace(from, to);
        assert!(changed.contains(to), "{changed}");
        set_trust(&sandbox, name_of(&arns(name)), &changed);
    };
    policy("audience", "\"sts.amazonaws.com\"", "\"sts.other.example\"");
    policy("issuer", "oidc-provider/", "oidc-provider/another-");
    policy("subject", "serviceaccount:default:", "serviceaccount:web:");
    for (name, role) in [
        ("blank", format!(" {}", arns("blank"))),
        ("stranger", "arn:aws:iam::111122223333:role/x".to_owned()),
        ("partition", arns("partition").replace("arn:aws:", "arn:aws-cn:")),
        ("path", arns("fine")),
    ] {
        reannotate(&sandbox, name, &role);
    }
    let theirs =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]});
    let put = sandbox.iam().put_role_policy().role_name(name_of(&arns("extra"))).policy_name("theirs");
    wait(put.policy_document(theirs.to_string()).send()).unwrap();
    sandbox.create_role_trusting("shared", &serde_json::from_str(&trust(&sandbox, "helm")).unwrap());
    annotate(&sandbox, "helm", "arn:aws:iam::123456789012:role/shared");
    annotate(&sandbox, "lost", "arn:aws:iam::123456789012:role/team/shared");
    annotate(&sandbox, "odd", "shared");
    annotate(&sandbox, "void", "");
    annotate(&sandbox, "twin", "arn:aws:iam::123456789012:role/shared");

    sandbox.forget_calls();
    let run = sandbox.run(&format!("{GET} -o json")).ok();
    assert_eq!((run.stderr.as_str(), sandbox.writes()), ("", Vec::new()));
    let rows = run.json();
    let found = rows.as_array().unwrap().iter().map(|row| row["metadata"]["name"].as_str().unwrap());
    assert!(found.clone().is_sorted() && found.count() == names.len() + 5);
    for (name, state, source, sentences) in [
        ("audience", "drifted", "irsactl", vec![":aud: found sts.other.example, needed sts.amazonaws.com"]),
        ("blank", "drifted", "irsactl", vec!["blanks around the role: found \" arn:aws:iam::123456789012:role/"]),
        ("extra", "drifted", "irsactl", vec!["policies that its stack didn't give it: theirs (inline)"]),
        ("fine", "ready", "irsactl", vec![]),
        ("helm", "ready", "external", vec![]),
        ("issuer", "drifted", "irsactl", vec!["Principal.Federated: found", "another cluster, or of an earlier one"]),
        (
            "lost",
            "role-missing",
            "external",
            vec!["role/team/shared doesn't exist, a role of this name is", "role/shared"],
        ),
        ("odd", "drifted", "external", vec!["`shared` is not the ARN of a role"]),
        ("partition", "drifted", "irsactl", vec!["a role of another partition: found `arn:aws-cn:"]),
        ("path", "drifted", "irsactl", vec!["another role: found `", "needed arn:aws:iam::123456789012:role/"]),
        ("stranger", "drifted", "irsactl", vec!["another account: found `arn:aws:iam::111122223333:role/x`, needed"]),
        ("subject", "drifted", "irsactl", vec!["trusts the namespace web, not default"]),
        ("twin", "drifted", "external", vec!["trusts the ServiceAccount helm, not twin"]),
        ("void", "not-annotated", "external", vec!["is empty, needed the ARN of a role"]),
    ] {
        is(&rows, name, state, source, &sentences);
        let one = json_of(&sandbox, &format!("--namespace default --name {name}"));
        is(&one, name, state, source, &[]);
    }

    sandbox.forget_calls();
    json_of(&sandbox, "--namespace default --name fine");
    let mut calls = sandbox.aws_calls();
    calls.sort_unstable();
    assert_eq!(
        calls,
        [
            "cloudformation:DescribeStacks",
            "cloudformation:GetTemplate",
            "eks:DescribeCluster",
            "iam:GetOpenIDConnectProvider",
            "iam:GetRole",
            "iam:ListAttachedRolePolicies",
            "iam:ListRolePolicies",
        ]
    );
    let wide = sandbox.run(&format!("{GET} -o wide")).ok().stdout;
    let line = |name: &str| wide.lines().find(|line| line.split_whitespace().nth(1) == Some(name)).unwrap().to_owned();
    let header: Vec<_> = wide.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header[5..], ["SOURCE", "AGE", "STACK", "STACK", "STATUS", "POLICIES", "BOUNDARY", "DRIFT"]);
    for part in ["irsactl", "CREATE_COMPLETE", "AmazonS3ReadOnlyAccess, theirs (inline)"] {
        assert!(line("extra").contains(part), "{wide}");
    }
    assert!(line("fine").split_whitespace().rev().take(3).eq(["-", "-", "AmazonS3ReadOnlyAccess"]), "{wide}");
}

#[test]
fn policies_are_compared_with_the_template_and_with_todays_version() {
    let sandbox = Sandbox::lease();
    let boundary = sandbox.create_policy("limit");
    let dns = json!({"wellKnownPolicies": {"externalDNS": true}, "permissionsBoundary": boundary});
    create(&sandbox, &[("changed", dns.clone()), ("fine", dns), ("managed", managed())]);
    let stack = stack_name("changed");
    let role = role_of(&sandbox, "changed");
    let older = include_str!("../fixtures/eksctl-external-dns-stack.json");
    let older: Value = serde_json::from_str(older).unwrap();
    let document = &older["Resources"]["PolicyExternalDNSHostedZones"]["Properties"]["PolicyDocument"];
    let policy = format!("{stack}-PolicyExternalDNSHostedZones");
    let put = sandbox.iam().put_role_policy().role_name(name_of(&role)).policy_name(&policy);
    wait(put.policy_document(document.to_string()).send()).unwrap();
    wait(sandbox.iam().detach_role_policy().role_name(name_of(&role_of(&sandbox, "managed"))).policy_arn(S3).send())
        .unwrap();
    sandbox.attach(name_of(&role_of(&sandbox, "managed")), &sandbox.create_policy("theirs"));

    let rows = json_of(&sandbox, "");
    is(&rows, "fine", "ready", "irsactl", &[]);
    let lacks = "PolicyExternalDNSHostedZones is an older version: it lacks route53:ListTagsForResources;";
    is(&rows, "changed", "drifted", "irsactl", &[lacks]);
    let status = row(&rows, "fine");
    assert_eq!(status["permissionsBoundary"], policy_arn("limit"));
    let names: Vec<_> = ["ChangeSet", "HostedZones"]
        .map(|id| json!({"name": format!("{}-PolicyExternalDNS{id}", stack_name("fine"))}))
        .into();
    assert_eq!(status["policies"], json!(names));
    assert_eq!(status["createdAt"].as_str().unwrap().len(), "2026-01-02T03:04:05Z".len());
    let wide = sandbox.run(&format!("{GET} -o wide")).ok();
    wide.shows(&["PolicyExternalDNSChangeSet (inline), PolicyExternalDNSHostedZones (inline)   arn:aws:iam::1234"]);

    // One by its name is held against its stack's template, which lists can't afford.
    wait(sandbox.iam().delete_role_permissions_boundary().role_name(name_of(&role)).send()).unwrap();
    for (name, sentences) in [
        (
            "changed",
            vec![
                "PolicyExternalDNSHostedZones was changed outside of the stack: it lacks",
                "found none, needed arn:aws:iam::123456789012:policy/limit",
            ],
        ),
        ("managed", vec!["policy AmazonS3ReadOnlyAccess: it was detached", "its stack didn't give it: theirs"]),
    ] {
        is(&json_of(&sandbox, &format!("--namespace default --name {name}")), name, "drifted", "irsactl", &sentences);
    }
    is(&json_of(&sandbox, "--namespace default --name fine"), "fine", "ready", "irsactl", &[]);

    let renew = drift(&row(&rows, "changed")).split("renews it: irsactl ").nth(1).unwrap().to_owned();
    sandbox.run(&renew).ok();
    is(&json_of(&sandbox, "--namespace default --name changed"), "changed", "ready", "irsactl", &[]);
}

#[test]
fn without_the_provider_a_service_account_is_not_ready_and_the_command_is_named() {
    let sandbox = Sandbox::lease();
    create(&sandbox, &[("one", managed()), ("two", managed())]);
    let issuer = sandbox.fact("issuer").trim_start_matches("https://");
    let arn = format!("arn:aws:iam::123456789012:oidc-provider/{issuer}");
    let remove = sandbox.iam().remove_client_id_from_open_id_connect_provider();
    wait(remove.open_id_connect_provider_arn(&arn).client_id("sts.amazonaws.com").send()).unwrap();
    let one = "--namespace default --name one";
    let sentence = "found the audience none, needed sts.amazonaws.com";
    is(&json_of(&sandbox, one), "one", "drifted", "irsactl", &[sentence]);
    wait(sandbox.iam().delete_open_id_connect_provider().open_id_connect_provider_arn(&arn).send()).unwrap();
    let run = sandbox.run(&format!("{GET} {one} -o json")).ok();
    let sentence = "IAM has no OIDC provider for the cluster's issuer: needed arn:";
    is(&run.json(), "one", "drifted", "irsactl", &[sentence]);
    assert_eq!(run.stderr.matches("warning: ").count(), 1, "{}", run.stderr);
    let command = run.stderr.split("; irsactl ").nth(1).unwrap().trim_end().trim_end_matches(" mends it").to_owned();
    sandbox.run(&command).ok();
    is(&json_of(&sandbox, one), "one", "ready", "irsactl", &[]);
}

#[test]
fn what_may_not_be_read_is_unknown_or_left_out_and_said_once() {
    let sandbox = Sandbox::lease();
    create(&sandbox, &[("one", managed())]);
    let denied = |actions: &[&str], line: &str| -> Run {
        for action in actions {
            sandbox.fault(&json!({"deny": action}));
        }
        let run = sandbox.run(&format!("{GET} {line}")).ok();
        sandbox.heal();
        run
    };
    for (actions, filter) in [
        (vec!["iam:ListRoles"], ""),
        (vec!["iam:ListRoles", "iam:GetAccountAuthorizationDetails"], ""),
        (vec!["iam:GetRole"], "--namespace default --name one"),
    ] {
        let run = denied(&actions, &format!("{filter} -o json")).says(&["warning: ", "can't be read", actions[0]]);
        is(&run.json(), "one", "unknown", "irsactl", &["the roles can't be read"]);
    }
    for (action, filter) in
        [("iam:GetAccountAuthorizationDetails", ""), ("iam:ListAttachedRolePolicies", "--namespace default --name one")]
    {
        let run = denied(&[action], &format!("{filter} -o wide"));
        run.says(&["warning: policies and boundaries can't be read", action]).shows(&["ready", "-          -"]);
        let run = denied(&[action], filter).shows(&["ready"]);
        assert_eq!(run.stderr, "");
        if !filter.is_empty() {
            denied(&[action], &format!("{filter} -v")).says(&["policies and boundaries can't be read"]);
        }
        assert_eq!(row(&denied(&[action], &format!("{filter} -o json")).json(), "one").get("policies"), None);
    }
    let one = "--namespace default --name one -o json";
    let run = denied(&["iam:GetOpenIDConnectProvider"], one).says(&["warning: the OIDC provider can't be read"]);
    is(&run.json(), "one", "ready", "irsactl", &[]);
    let run = denied(&["cloudformation:GetTemplate"], "--namespace default --name one -o json");
    is(&run.json(), "one", "ready", "irsactl", &[]);
}

#[test]
fn one_broken_thing_does_not_hide_the_others() {
    let sandbox = Sandbox::lease();
    create(&sandbox, &[("fine", managed()), ("garbled", managed())]);
    let template =
        sandbox.run(&format!("render stack --cluster eksdemo1 --name x --attach-policy-arn {S3}")).ok().json();
    let mut bare = template.clone();
    bare["Outputs"] = json!({"Other": {"Value": "x"}});
    let tags = |cluster: &'static str, owner: &'static str| {
        [("alpha.eksctl.io/cluster-name", cluster), ("alpha.eksctl.io/iamserviceaccount-name", owner)]
    };
    let others = tags("eksdemo1-addon-x", "default/other");
    for (name, template, tags) in [
        (stack_name("bare"), &bare, &tags("eksdemo1", "default/bare")[..]),
        (stack_name("untagged"), &template, &[][..]),
        (stack_name("odd"), &template, &tags("eksdemo1", "odd")[..]),
        ("eksctl-eksdemo1-addon-x-addon-iamserviceaccount-default-other".to_owned(), &template, &others[..]),
        (stack_name("again"), &template, &tags("eksdemo1", "default/fine")[..]),
    ] {
        sandbox.create_stack(&NewStack { name: &name, template, tags, protected: false });
    }
    // The trust policy of one role comes as something that isn't JSON.
    let name = name_of(&role_of(&sandbox, "garbled")).to_owned();
    let pattern = format!("(<RoleName>{name}</RoleName>.*?<AssumeRolePolicyDocument>).*?</AssumeRolePolicyDocument>");
    let replace = json!([[pattern, r"\1%7Bnot-json</AssumeRolePolicyDocument>"]]);
    sandbox.fault(&json!({"service": "iam", "action": "*Role*", "replace": replace}));
    let rows = json_of(&sandbox, "");
    let names: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bare", "fine", "garbled"]);
    is(&rows, "bare", "failed", "eksctl", &["has no output Role1"]);
    let twice = format!("stack {} is for this service account, too", stack_name("again"));
    is(&rows, "fine", "drifted", "irsactl", &[&twice]);
    is(&rows, "garbled", "drifted", "irsactl", &["trust policy: found no JSON document"]);
    for name in names {
        let one = json_of(&sandbox, &format!("--namespace default --name {name}"));
        // A lookup by name finds the first stack of the two.
        let expected = if name == "fine" { json!("ready") } else { row(&rows, name)["state"].clone() };
        assert_eq!(row(&one, name)["state"], expected, "{name}");
    }
}

#[test]
fn of_a_cluster_that_is_gone_the_leftovers_are_shown() {
    let sandbox = Sandbox::lease();
    create(&sandbox, &[("one", managed())]);
    let eks = aws_sdk_eks::Client::new(&sandbox.aws());
    wait(eks.delete_cluster().name("eksdemo1").send()).unwrap();
    for filter in ["", "--namespace default --name one"] {
        let run = sandbox.run(&format!("{GET} {filter} -o json")).ok().says(&["cluster eksdemo1 doesn't exist"]);
        is(&run.json(), "one", "unknown", "irsactl", &["the ServiceAccounts can't be read"]);
    }
    sandbox.run("get iamserviceaccount --cluster nothere").exits(1).says(&["nothere"]);
}

#[test]
fn a_failed_stack_asked_for_by_name_is_explained() {
    let sandbox = Sandbox::lease();
    sandbox.fault(&json!({"deny": "iam:CreateRole"}));
    sandbox
        .run(&format!("create iamserviceaccount --cluster eksdemo1 broken --attach-policy-arn {S3} --approve"))
        .exits(1);
    sandbox.heal();
    let one = json_of(&sandbox, "--namespace default --name broken");
    is(&one, "broken", "failed", "irsactl", &["Role1 (AWS::IAM::Role)", "iam:CreateRole"]);
}
