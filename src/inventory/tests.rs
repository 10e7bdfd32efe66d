use serde_json::json;

use super::*;
use crate::iam::policy::PolicyDocument;
use crate::iam::trust::{Subject, trust_policy};
use crate::stack::template::{RoleSpec, template};

const ACCOUNT: &str = "111122223333";
const ISSUER: &str = "https://oidc.eks.us-west-2.amazonaws.com/id/A1";

fn arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

fn stack_name(name: &str) -> String {
    format!("eksctl-c-addon-iamserviceaccount-default-{name}")
}

fn stack(cluster: &str, name: &str, status: &str) -> Stack {
    let tags = [(tags::CLUSTER, cluster.to_owned()), (tags::SERVICE_ACCOUNT, format!("default/{name}"))];
    Stack {
        id: format!("arn:aws:cloudformation:us-west-2:{ACCOUNT}:stack/{}/1", stack_name(name)),
        name: stack_name(name),
        status: status.to_owned(),
        reason: None,
        tags: tags.map(|(key, value)| (key.to_owned(), value)).into(),
        outputs: BTreeMap::from([(ROLE_OUTPUT.to_owned(), arn(name))]),
        capabilities: vec!["CAPABILITY_IAM".to_owned()],
        created: 1_700_000_000,
        updated: None,
        protected: false,
        role_arn: None,
    }
}

/// A role that trusts the ServiceAccount of its name.
fn role(name: &str) -> Role {
    let issuer = Issuer::parse(ISSUER).unwrap();
    Role {
        name: name.to_owned(),
        arn: arn(name),
        path: "/".to_owned(),
        trust: trust_policy(&issuer, &Partition::aws(), ACCOUNT, Some(&Subject::exact("default", name))),
        boundary: None,
        tags: BTreeMap::new(),
        created: 1_600_000_000,
    }
}

fn object(name: &str, annotation: Option<&str>) -> Value {
    let annotations = annotation.map(|arn| json!({ROLE_ANNOTATION: arn})).unwrap_or_default();
    json!({"metadata": {"namespace": "default", "name": name, "annotations": annotations}})
}

/// Stacks, roles and annotated ServiceAccounts of these names.
fn seen(names: &[&str]) -> Seen {
    let issuer = Issuer::parse(ISSUER).unwrap();
    let provider = issuer.provider_arn(&Partition::aws(), ACCOUNT);
    Seen {
        issuer: Some((issuer, provider)),
        stacks: names.iter().map(|name| stack("c", name, "CREATE_COMPLETE")).collect(),
        roles: Some(names.iter().map(|name| role(name)).collect()),
        service_accounts: Some(names.iter().map(|name| object(name, Some(&arn(name)))).collect()),
        ..Seen::new(ACCOUNT, &Partition::aws())
    }
}

/// Rows as `name state`, and all sentences.
fn told(seen: &Seen) -> (Vec<String>, Vec<String>) {
    let rows = rows("c", seen);
    let states = rows.iter().map(|row| format!("{} {}", row.metadata.name, row.status.state.as_str())).collect();
    (states, rows.into_iter().flat_map(|row| row.status.drift).collect())
}

#[track_caller]
fn finds(seen: &Seen, state: &str, sentences: &[&str]) {
    let (states, drift) = told(seen);
    assert_eq!(states, [format!("a {state}")], "{drift:?}");
    assert_eq!(drift.len(), sentences.len(), "{drift:?}");
    for (found, wanted) in drift.iter().zip(sentences) {
        assert!(found.contains(wanted), "no `{wanted}` in {found}");
    }
}

#[test]
fn annotations_that_name_something_else_are_told_with_what_is_needed() {
    for (found, state, wanted) in [
        (Some(arn("a")), "ready", None),
        (
            None,
            "not-annotated",
            Some("no annotation eks.amazonaws.com/role-arn, needed arn:aws:iam::111122223333:role/a"),
        ),
        (Some(String::new()), "not-annotated", Some("is empty, needed arn:")),
        (Some(arn("b")), "drifted", Some("names another role: found `arn:aws:iam::111122223333:role/b`, needed")),
        (Some(arn("a").replace('1', "4")), "drifted", Some("a role of another account")),
        (Some(arn("a").replace("aws:", "aws-cn:")), "drifted", Some("a role of another partition")),
        (
            Some(format!(" {}\n", arn("a"))),
            "drifted",
            Some(r#"blanks around the role: found " arn:aws:iam::111122223333:role/a\n""#),
        ),
        (Some("a".to_owned()), "drifted", Some("what isn't the ARN of a role: found `a`")),
    ] {
        let mut seen = seen(&["a"]);
        seen.service_accounts = Some(vec![object("a", found.as_deref())]);
        finds(&seen, state, wanted.as_slice());
    }
}

#[test]
fn service_accounts_without_a_stack_are_judged_by_their_annotation() {
    for (found, state, wanted) in [
        (arn("a"), "ready", vec![]),
        (format!("{} ", arn("a")), "drifted", vec!["blanks around"]),
        (" ".to_owned(), "not-annotated", vec!["is empty, needed the ARN of a role"]),
        (arn("gone"), "role-missing", vec!["role/gone doesn't exist"]),
        (
            arn("path/a"),
            "role-missing",
            vec!["role/path/a doesn't exist, a role of this name is arn:aws:iam::111122223333:role/a"],
        ),
        (arn("b"), "drifted", vec!["trust policy: StringEquals"]),
        (
            "arn:aws:iam::444455556666:role/a".to_owned(),
            "unknown",
            vec!["is of account 444455556666, which can't be read from 111122223333"],
        ),
        (arn("a").replace("aws:", "aws-cn:"), "drifted", vec!["of partition aws-cn, needed one of partition aws"]),
        (arn("a").replace(":role", ":policy"), "drifted", vec!["is not the ARN of a role"]),
    ] {
        let mut seen = seen(&["a"]);
        seen.stacks.clear();
        seen.roles = Some([role("a"), role("b")].into_iter().collect());
        seen.service_accounts = Some(vec![object("a", Some(&found)), object("unrelated", None)]);
        finds(&seen, state, &wanted);
        assert_eq!(rows("c", &seen)[0].status.source, Source::External);
    }
}

#[test]
fn i9_stacks_in_any_condition_have_a_row() {
    for (status, state, wanted) in [
        ("CREATE_COMPLETE", "ready", vec![]),
        ("UPDATE_IN_PROGRESS", "pending", vec![]),
        ("ROLLBACK_COMPLETE", "failed", vec!["ROLLBACK_COMPLETE: its creation failed and was undone"]),
    ] {
        let mut seen = seen(&["a"]);
        seen.stacks[0].status = status.to_owned();
        finds(&seen, state, &wanted);
    }
    let mut failed = seen(&["a"]);
    failed.stacks[0].status = "CREATE_FAILED".to_owned();
    failed.stacks[0].reason = Some("The following resource(s) failed".to_owned());
    finds(&failed, "failed", &["CREATE_FAILED: The following resource(s) failed"]);
    failed.failure = Some("Role1: it exists".to_owned());
    finds(&failed, "failed", &["CREATE_FAILED: Role1: it exists"]);
    let mut bare = seen(&["a"]);
    bare.stacks[0].outputs.clear();
    finds(&bare, "failed", &["has no output Role1"]);
    let mut twice = seen(&["a"]);
    twice.stacks.insert(0, Stack { id: "2".to_owned(), name: "old".to_owned(), ..twice.stacks[0].clone() });
    finds(&twice, "drifted", &["stack old is for this service account, too"]);
}

#[test]
fn roles_that_cannot_be_assumed_are_told() {
    let mut gone = seen(&["a"]);
    gone.roles = Some(Roles::default());
    finds(&gone, "role-missing", &["role/a doesn't exist"]);
    let mut garbled = seen(&["a"]);
    garbled.roles = Some([Role { trust: PolicyDocument(json!("%7B")), ..role("a") }].into_iter().collect());
    finds(&garbled, "drifted", &["found no JSON document"]);
    let mut without_provider = seen(&["a"]);
    without_provider.provider_problem = provider_problem("arn:p", None);
    finds(&without_provider, "drifted", &["no OIDC provider for the cluster's issuer: needed arn:p"]);

    let provider = |ids: &[&str]| Provider {
        arn: "arn:p".to_owned(),
        url: String::new(),
        client_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        tags: BTreeMap::new(),
    };
    assert_eq!(provider_problem("arn:p", Some(&provider(&["x", AUDIENCE]))), None);
    let problem = provider_problem("arn:p", Some(&provider(&["x", "y"]))).unwrap();
    assert!(problem.contains("found the audience x, y, needed sts.amazonaws.com"), "{problem}");
    assert!(provider_problem("arn:p", Some(&provider(&[]))).unwrap().contains("found the audience none"));
}

#[test]
fn what_cannot_be_read_is_unknown_whatever_else_could_be() {
    let mut roles = seen(&["a"]);
    roles.roles = None;
    let mut narrow = role("a");
    narrow.boundary = Some("arn:b".to_owned());
    roles.policies = HashMap::from([(
        arn("a"),
        with_policies(narrow, &[(&format!("{}-PolicyAutoScaling", stack_name("a")), json!({}))]),
    )]);
    finds(&roles, "unknown", &["the roles can't be read"]);
    assert_eq!(rows("c", &roles)[0].status.permissions_boundary.as_deref(), Some("arn:b"));
    let mut objects = seen(&["a"]);
    objects.service_accounts = None;
    finds(&objects, "unknown", &["the ServiceAccounts can't be read"]);
    let mut issuer = seen(&["a"]);
    issuer.issuer = None;
    finds(&issuer, "unknown", &["the cluster's issuer can't be read"]);
}

#[test]
fn other_clusters_are_not_shown_and_rows_are_sorted() {
    let mut many = seen(&["b", "a"]);
    many.stacks.extend([
        stack("c-addon-x", "x", "CREATE_COMPLETE"),
        Stack { tags: Vec::new(), ..stack("c", "y", "CREATE_COMPLETE") },
    ]);
    let mut other = object("a", Some(&arn("x")));
    other["metadata"]["namespace"] = json!("apps");
    many.service_accounts.as_mut().unwrap().push(other);
    let rows = rows("c", &many);
    let names: Vec<_> = rows.iter().map(|row| format!("{}/{}", row.metadata.namespace, row.metadata.name)).collect();
    assert_eq!(names, ["apps/a", "default/a", "default/b"]);
}

fn with_policies(role: Role, inline: &[(&str, Value)]) -> RoleWithPolicies {
    let inline = inline.iter().map(|(name, document)| ((*name).to_owned(), PolicyDocument(document.clone()))).collect();
    let attached = vec![("S3".to_owned(), "arn:aws:iam::aws:policy/S3".to_owned())];
    RoleWithPolicies { role, attached, inline, others_inline: Ok(Vec::new()) }
}

/// What a stack with ExternalDNS's policies has in IAM, changed by `change`.
fn with_well_known(seen: &mut Seen, change: impl Fn(&mut BTreeMap<String, PolicyDocument>)) {
    let spec = spec();
    let inline = crate::stack::template::inline_policies(&template(&spec, &stack_name("a")), &stack_name("a"));
    let mut found = with_policies(role("a"), &[]);
    found.inline = inline;
    change(&mut found.inline);
    seen.policies = HashMap::from([(arn("a"), found)]);
}

fn spec() -> RoleSpec {
    RoleSpec {
        namespace: "default".to_owned(),
        name: "a".to_owned(),
        issuer: Issuer::parse(ISSUER).unwrap(),
        partition: Partition::aws(),
        account: ACCOUNT.to_owned(),
        managed_policies: vec!["arn:aws:iam::aws:policy/S3".to_owned()],
        inline: None,
        well_known: vec![crate::iam::wellknown::WellKnown::ExternalDns],
        boundary: None,
        role_name: None,
        role_path: None,
        subject_pattern: None,
    }
}

#[test]
fn well_known_policies_of_another_version_are_told_by_their_names() {
    let zones = format!("{}-PolicyExternalDNSHostedZones", stack_name("a"));
    let actions = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| format!("route53:{name}")).collect();
        PolicyDocument(
            json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": names, "Resource": "*"}]}),
        )
    };
    let lists = ["ListHostedZones", "ListResourceRecordSets", "ListTagsForResource", "ListTagsForResources"];
    let check = |document: Option<PolicyDocument>, wanted: &[&str]| {
        let mut seen = seen(&["a"]);
        with_well_known(&mut seen, |inline| match &document {
            Some(document) => drop(inline.insert(zones.clone(), document.clone())),
            None => drop(inline.remove(&zones)),
        });
        finds(&seen, if wanted.is_empty() { "ready" } else { "drifted" }, wanted);
    };
    check(Some(actions(&lists)), &[]);
    check(
        Some(actions(&lists[..3])),
        &["PolicyExternalDNSHostedZones is an older version: it lacks route53:ListTagsForResources; "],
    );
    check(Some(actions(&["List*", "GetChange"])), &["is another version: it allows route53:GetChange, route53:List*"]);
    check(None, &["inline policy PolicyExternalDNSHostedZones of externalDNS is missing"]);
    let mut narrowed = actions(&lists);
    narrowed.0["Statement"][0]["Resource"] = json!("arn:aws:route53:::hostedzone/Z1");
    check(Some(narrowed), &["is another version: it has other resources"]);

    let mut strange = seen(&["a"]);
    with_well_known(&mut strange, |inline| drop(inline.insert("theirs".to_owned(), actions(&lists))));
    finds(&strange, "drifted", &["role a has policies that its stack didn't give it: theirs (inline)"]);
}

#[test]
fn with_the_template_every_change_of_the_role_is_told() {
    let mut same = seen(&["a"]);
    with_well_known(&mut same, |_| {});
    same.template = Some(template(&spec(), &stack_name("a")));
    finds(&same, "ready", &[]);

    let mut changed = same.clone();
    let found = changed.policies.get_mut(&arn("a")).unwrap();
    found.attached = vec![("Theirs".to_owned(), "arn:t".to_owned())];
    found.role.boundary = Some("arn:b".to_owned());
    let documents: Vec<_> = found.inline.values_mut().collect();
    for document in documents {
        document.0["Statement"][0]["Action"] = json!(["route53:ListHostedZones"]);
    }
    finds(
        &changed,
        "drifted",
        &[
            "role a: its permissions boundary was changed outside of the stack: found arn:b, needed none",
            "PolicyExternalDNSChangeSet was changed outside of the stack: it lacks route53:ChangeResourceRecordSets, and allows",
            "PolicyExternalDNSHostedZones was changed outside of the stack: it lacks route53:ListResourceRecordSets,",
            "policy S3: it was detached from role a",
            "role a has policies that its stack didn't give it: Theirs",
        ],
    );

    let mut trusting = same.clone();
    trusting.policies.get_mut(&arn("a")).unwrap().role.trust.0["Statement"][0]["Sid"] = json!("x");
    trusting.policies.get_mut(&arn("a")).unwrap().role.trust.0["Statement"][0]["Action"] = json!("sts:*");
    finds(&trusting, "drifted", &["role a: its trust policy was changed outside of the stack"]);

    let mut older = same;
    let mut written = older.template.take().unwrap();
    let zones = "/Resources/PolicyExternalDNSHostedZones/Properties/PolicyDocument/Statement/0/Action/3";
    *written.pointer_mut(zones).unwrap() = json!("route53:ListHostedZones");
    older.policies.get_mut(&arn("a")).unwrap().inline =
        crate::stack::template::inline_policies(&written, &stack_name("a"));
    older.template = Some(written);
    finds(&older, "drifted", &["is an older version: it lacks route53:ListTagsForResources"]);
}

#[test]
fn a_row_has_what_eksctl_prints_and_more() {
    let mut seen = seen(&["a"]);
    let mut found = with_policies(role("a"), &[("Policy1", json!({}))]);
    found.role.boundary = Some("arn:b".to_owned());
    seen.policies = HashMap::from([(arn("a"), found)]);
    let row = serde_json::to_value(&rows("c", &seen)[0]).unwrap();
    assert_eq!(row["metadata"], json!({"name": "a", "namespace": "default"}));
    let keys: Vec<_> = row["status"].as_object().unwrap().keys().cloned().collect();
    let own =
        ["roleARN", "stackName", "tags", "capabilities", "state", "source", "stackStatus", "createdAt", "policies"];
    assert_eq!(keys, [&own[..], &["permissionsBoundary", "drift"]].concat());
    assert_eq!(row["status"]["createdAt"], "2023-11-14T22:13:20Z");
    let policies = json!([{"name": "S3", "arn": "arn:aws:iam::aws:policy/S3"}, {"name": "Policy1"}]);
    assert_eq!(row["status"]["policies"], policies);

    seen.stacks.clear();
    seen.policies.clear();
    let row = serde_json::to_value(&rows("c", &seen)[0]).unwrap();
    let keys: Vec<_> = row["status"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["roleARN", "tags", "capabilities", "state", "source", "createdAt", "drift"]);
    assert_eq!(row["status"]["createdAt"], "2020-09-13T12:26:40Z");
}
