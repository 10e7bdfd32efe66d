//! `create policy` and `utils associate-iam-oidc-provider`.

use serde_json::{Value, json};

use crate::support::aws::{policy_arn, wait};
use crate::support::{Run, Sandbox};

const SHARED: &str = "AllowExternalDNSUpdates";

/// Versions of a policy, newest first, and the document in force.
fn versions(sandbox: &Sandbox, name: &str) -> (Vec<String>, Value) {
    let iam = sandbox.iam();
    let listed = wait(iam.list_policy_versions().policy_arn(policy_arn(name)).send()).unwrap();
    let versions = listed.versions.unwrap_or_default();
    let current = versions.iter().find(|version| version.is_default_version).unwrap().version_id.clone().unwrap();
    let answer = wait(iam.get_policy_version().policy_arn(policy_arn(name)).version_id(current).send()).unwrap();
    let text = answer.policy_version.unwrap().document.unwrap();
    let text = percent_encoding::percent_decode_str(&text).decode_utf8().unwrap().into_owned();
    (versions.into_iter().filter_map(|version| version.version_id).collect(), serde_json::from_str(&text).unwrap())
}

/// Makes a document the one in force.
fn put_version(sandbox: &Sandbox, name: &str, document: &Value) {
    let request = sandbox.iam().create_policy_version().policy_arn(policy_arn(name));
    wait(request.policy_document(document.to_string()).set_as_default(true).send()).unwrap();
}

fn route53(actions: &Value) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]})
}

/// A document that ExternalDNS can't work with.
fn too_little() -> Value {
    route53(&json!(["route53:ChangeResourceRecordSets", "route53:ListHostedZones"]))
}

#[test]
fn the_policy_is_created_once() {
    let sandbox = Sandbox::lease();
    let line = "create policy --tags team=dns";
    let plan = sandbox.run(&format!("{line} -o json --detailed-exitcode")).exits(3);
    assert_eq!(plan.changes(), [format!("create Policy {SHARED}")]);
    assert_eq!(plan.json()["outputs"]["policyARN"], policy_arn(SHARED));
    assert_eq!(sandbox.writes(), [""; 0]);

    sandbox.run(&format!("{line} --approve")).ok().shows(&[&format!("policy ARN: {}", policy_arn(SHARED))]);
    assert_eq!(versions(&sandbox, SHARED).1, sandbox.run("render policy").ok().json());
    let found = wait(sandbox.iam().get_policy().policy_arn(policy_arn(SHARED)).send()).unwrap().policy.unwrap();
    let mut tags: Vec<_> = found.tags().iter().map(|tag| (tag.key(), tag.value())).collect();
    tags.sort_unstable();
    assert_eq!(tags, [("irsactl.dev/version", env!("CARGO_PKG_VERSION")), ("team", "dns")]);

    sandbox.forget_calls();
    sandbox.run(&format!("{line} --approve --detailed-exitcode")).ok().shows(&["Nothing to do"]);
    put_version(&sandbox, SHARED, &route53(&json!("route53:*")));
    sandbox.run(&format!("{line} --approve")).ok().shows(&["Nothing to do"]);
    assert_eq!(sandbox.writes(), [""; 0], "another document that suffices is left alone");
}

#[test]
fn a_document_that_lacks_something_becomes_a_new_version() {
    let sandbox = Sandbox::lease();
    sandbox.run("create policy --approve").ok();
    put_version(&sandbox, SHARED, &too_little());
    sandbox.forget_calls();
    let plan = sandbox.run("create policy").ok();
    plan.shows(&["doesn't allow route53:ListResourceRecordSets", "/Statement", "1 to change"]);
    assert_eq!(sandbox.writes(), [""; 0]);
    sandbox.run("create policy --approve").ok();
    assert_eq!(sandbox.writes(), ["iam:CreatePolicyVersion"], "there was room");
    assert_eq!(versions(&sandbox, SHARED).0.len(), 3);

    put_version(&sandbox, SHARED, &route53(&json!("s3:*")));
    put_version(&sandbox, SHARED, &too_little());
    sandbox.forget_calls();
    sandbox.run("create policy --approve").ok();
    assert_eq!(sandbox.writes(), ["iam:CreatePolicyVersion", "iam:DeletePolicyVersion", "iam:CreatePolicyVersion"]);
    let (mut left, document) = versions(&sandbox, SHARED);
    left.sort_unstable();
    assert_eq!(left, ["v2", "v3", "v4", "v5", "v6"], "only the oldest went");
    assert_eq!(document, sandbox.run("render policy").ok().json());
}

/// The shared policy lacks something again, and there is no room.
fn put_version_in_place_of(sandbox: &Sandbox, version: &str) {
    wait(sandbox.iam().delete_policy_version().policy_arn(policy_arn(SHARED)).version_id(version).send()).unwrap();
    put_version(sandbox, SHARED, &too_little());
}

#[test]
fn a_version_whose_reply_is_lost_is_made_once() {
    let sandbox = Sandbox::lease();
    sandbox.run("create policy --approve").ok();
    put_version(&sandbox, SHARED, &too_little());
    let lost = |skip: u32| {
        sandbox.fault(&json!({"action": "CreatePolicyVersion", "skip": skip, "drop": true, "after": true, "times": 1}));
        sandbox.run("create policy --approve").ok();
        sandbox.heal();
        let mut left = versions(&sandbox, SHARED).0;
        left.sort_unstable();
        left
    };
    assert_eq!(lost(0), ["v1", "v2", "v3"]);
    put_version(&sandbox, SHARED, &route53(&json!("s3:*")));
    put_version(&sandbox, SHARED, &too_little());
    // The first is refused: there is no room.
    assert_eq!(lost(1), ["v2", "v3", "v4", "v5", "v6"], "only the oldest went");
    // The one that was made isn't shown at once.
    put_version_in_place_of(&sandbox, "v2");
    let hidden = json!([["<DefaultVersionId>v8<", "<DefaultVersionId>v7<"]]);
    sandbox.fault(&json!({"action": "GetPolicy", "userAgent": "irsactl/", "replace": hidden, "times": 8}));
    assert_eq!(lost(1), ["v4", "v5", "v6", "v7", "v8"], "only the oldest went");
}

#[test]
fn a_policy_that_others_use_changes_with_consent_only() {
    let sandbox = Sandbox::lease();
    sandbox.run("create policy --approve").ok();
    put_version(&sandbox, SHARED, &too_little());
    let refused = |run: Run, who: &str| {
        run.exits(1).says(&["would change for others", who, "--allow-shared-policy-change"]);
        assert_eq!(sandbox.writes(), [""; 0]);
    };
    sandbox.forget_calls();
    sandbox.fault(&json!({"deny": "iam:ListEntitiesForPolicy"}));
    refused(sandbox.run("create policy --approve"), "can't be read");
    sandbox.heal();
    sandbox.create_role("another");
    sandbox.attach("another", &policy_arn(SHARED));
    refused(sandbox.run("create policy --approve"), "role/another");
    sandbox.run("create policy --approve --allow-shared-policy-change").ok();
    assert_eq!(sandbox.writes(), ["iam:CreatePolicyVersion"]);
}

#[test]
fn a_policy_for_some_zones_has_a_name_of_its_own() {
    let sandbox = Sandbox::lease();
    let zone = "Z0421873X5K9QJ2VH7RW";
    sandbox.run(&format!("create policy --zone-id-filter {zone} --approve")).exits(2).says(&["others share", "a name"]);
    assert_eq!(sandbox.aws_calls(), [""; 0]);

    sandbox
        .run("create policy dns-team --zone-id-filter ZNOTHERE00 --approve")
        .exits(1)
        .says(&["no hosted zone ZNOTHERE00"]);
    assert_eq!(sandbox.writes(), [""; 0]);

    let line = format!("create policy dns-team --zone-id-filter /hostedzone/{zone}");
    let done = sandbox.run(&format!("{line} --approve -o json")).ok().json();
    assert_eq!(done["outputs"]["policyARN"], policy_arn("dns-team"));
    let resource = |zones: &[&str]| {
        json!(zones.iter().map(|zone| format!("arn:aws:route53:::hostedzone/{zone}")).collect::<Vec<_>>())
    };
    assert_eq!(versions(&sandbox, "dns-team").1["Statement"][0]["Resource"], resource(&[zone]));
    sandbox.forget_calls();
    sandbox.run(&format!("{line} --approve")).ok().shows(&["Nothing to do"]);
    assert_eq!(sandbox.writes(), [""; 0]);

    // One more than is asked for is too much here.
    put_version(&sandbox, "dns-team", &sandbox.run("render policy").ok().json());
    sandbox.run(&format!("{line} --approve")).ok().shows(&["~ Policy"]);
    assert_eq!(versions(&sandbox, "dns-team").1["Statement"][0]["Resource"], resource(&[zone]));
}

#[test]
fn a_policy_name_that_is_taken_elsewhere_is_explained() {
    let sandbox = Sandbox::lease();
    let request = sandbox.iam().create_policy().policy_name(SHARED).path("/team/");
    wait(request.policy_document(too_little().to_string()).send()).unwrap();
    sandbox.run("create policy --approve").exits(1).says(&[
        "hint: its path is another one",
        "aws iam list-policies --scope Local --query \"Policies[?PolicyName=='AllowExternalDNSUpdates'].Arn\"",
    ]);
    assert!(!sandbox.has_policy(SHARED));
}

/// The provider's ARN.
fn provider(sandbox: &Sandbox) -> String {
    let issuer = sandbox.fact("issuer").trim_start_matches("https://");
    format!("arn:aws:iam::123456789012:oidc-provider/{issuer}")
}

const ASSOCIATE: &str = "utils associate-iam-oidc-provider --cluster eksdemo1";

#[test]
fn m1_b7_b11_b12_b14_the_provider_is_created_once() {
    let sandbox = Sandbox::lease();
    let plan = sandbox.run(ASSOCIATE).ok().shows(&["+ OidcProvider"]).says(&["No changes were applied"]);
    assert_eq!((sandbox.writes(), plan.code), (vec![], 0));
    let done = sandbox.run(&format!("{ASSOCIATE} --tags team=dns --approve -o json")).ok().json();
    assert_eq!(done["outputs"]["providerARN"], provider(&sandbox));
    assert_eq!(sandbox.writes(), ["eks:TagResource", "iam:CreateOpenIDConnectProvider"]);

    let found =
        wait(sandbox.iam().get_open_id_connect_provider().open_id_connect_provider_arn(provider(&sandbox)).send());
    let found = found.unwrap();
    assert_eq!(found.client_id_list(), ["sts.amazonaws.com"]);
    let tags: Vec<_> = found.tags().iter().map(|tag| format!("{}={}", tag.key(), tag.value())).collect();
    for tag in ["alpha.eksctl.io/cluster-name=eksdemo1", "alpha.eksctl.io/eksctl-version=0.231.0", "team=dns"] {
        assert!(tags.iter().any(|found| found == tag), "{tag} in {tags:?}");
    }
    let eks = aws_sdk_eks::Client::new(&sandbox.aws());
    let cluster = wait(eks.describe_cluster().name("eksdemo1").send()).unwrap().cluster.unwrap();
    assert_eq!(cluster.tags.unwrap()["alpha.eksctl.io/cluster-oidc-enabled"], "true");

    sandbox.forget_calls();
    sandbox.run(&format!("{ASSOCIATE} --approve")).ok().shows(&["Nothing to do"]);
    assert_eq!(sandbox.writes(), [""; 0]);
}

#[test]
fn a_lost_audience_is_added() {
    let sandbox = Sandbox::lease();
    let request = sandbox.iam().create_open_id_connect_provider().url(sandbox.fact("issuer"));
    wait(request.client_id_list("others").send()).unwrap();
    sandbox.run(ASSOCIATE).ok().shows(&["~ OidcProvider", "tokens for sts.amazonaws.com", "+ sts.amazonaws.com"]);
    sandbox.run(&format!("{ASSOCIATE} --approve")).ok();
    assert_eq!(sandbox.writes(), ["iam:AddClientIDToOpenIDConnectProvider"]);
}

#[test]
fn the_provider_works_without_the_right_to_tag_the_cluster() {
    let sandbox = Sandbox::lease();
    sandbox.fault(&json!({"deny": "eks:TagResource"}));
    sandbox.run(&format!("{ASSOCIATE} --approve")).ok().says(&["warning: ", "cluster-oidc-enabled", "eks:TagResource"]);
    sandbox.heal();
    sandbox.run(&format!("{ASSOCIATE} --approve")).ok().shows(&["Nothing to do"]);
}

#[test]
fn tags_for_what_exists_are_told_with_the_command_that_sets_them() {
    let sandbox = Sandbox::lease();
    sandbox.run("create policy --tags team=dns --approve").ok();
    sandbox.run(&format!("{} --tags team=dns --approve", ASSOCIATE.replace("--cluster ", ""))).ok();
    sandbox.forget_calls();
    let arn = policy_arn(SHARED);
    for (line, command) in [
        ("create policy", format!("aws iam tag-policy --policy-arn {arn}")),
        (
            ASSOCIATE,
            format!("aws iam tag-open-id-connect-provider --open-id-connect-provider-arn {}", provider(&sandbox)),
        ),
    ] {
        let words = line.split(' ').chain(["--tags", "team=dns,Owner=Jane Doe", "--approve"]);
        let run = Run::of(&mut sandbox.command(words)).ok();
        run.shows(&["tags, which are set at creation only", &format!("{command} --tags 'Key=Owner,Value=Jane Doe'\n")]);
        let run = sandbox.run(&format!("{line} --tags team=dns --approve")).ok();
        assert!(!run.stdout.contains("note:"), "{}", run.stdout);
    }
    assert_eq!(sandbox.writes(), [""; 0]);
}
