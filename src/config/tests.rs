use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::stack::names::candidates;

const HEAD: &str = "apiVersion: eksctl.io/v1alpha5\nkind: ClusterConfig\nmetadata: {name: c, region: us-west-2}\n";

fn with_head(rest: &str) -> String {
    format!("{HEAD}{rest}")
}

/// A file whose `iam.serviceAccounts` are these lines.
fn entries(list: &str) -> String {
    with_head(&format!("iam:\n  serviceAccounts:\n{list}"))
}

/// A file with one service account, of these flow mapping's keys.
fn entry(keys: &str) -> String {
    entries(&format!("  - {{metadata: {{name: sa}}, {keys}}}\n"))
}

fn one(text: &str) -> Entry {
    read("c.yaml", text).unwrap().service_accounts.unwrap().remove(0)
}

/// The causes of the refusal, in one text.
fn refusal(text: impl AsRef<[u8]>) -> String {
    let error = read("c.yaml", text).expect_err("it should be refused");
    assert_eq!(error.code.exit_code(), 2);
    assert_eq!(error.message, "c.yaml is not a valid ClusterConfig");
    error.causes.join("\n") + &error.hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default()
}

#[test]
fn a_whole_file_is_read() {
    let text = r#"
apiVersion: eksctl.io/v1alpha5
kind: ClusterConfig
metadata:
  name: eksdemo1
  region: us-east-1
  version: "1.33"
  tags: {team: platform, cost: 42}
nodeGroups: [{name: ng-1, maxPodsPerNode: .inf, ? [a] : !x b}]
vpc: {id: "0"}
capabilities: &policy {withOIDCs: [1]}
iam:
  withOIDC: true
  vpcResourceControllerPolicy: false
  podIdentityAssociations: [{namespace: x}]
  serviceAccounts:
  - metadata:
      name: s3-reader
      namespace: backend
      labels: {aws-usage: application}
      annotations: {example.com/why: "reads: things"}
    attachPolicyARNs:
    - arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess
    - policy/Mine
    attachPolicy: &document
      Version: 2012-10-17
      Statement:
      - {Effect: Allow, Action: ["s3:Get*"], Resource: "*", Condition: {StringEquals: {aws:PrincipalAccount: 012345678901}}}
    wellKnownPolicies: {externalDNS: true, autoScaler: yes, certManager: false, imageBuilder: }
    permissionsBoundary: arn:aws:iam::111122223333:policy/Boundary
    roleName: s3-reader
    roleOnly: true
    tags: {Owner: John Doe}
    subjectPattern: s3-*
    status: {roleARN: "arn:…", stackName: x, tags: {}, capabilities: [a]}
  - metadata: {name: plain}
    attachPolicy: *document
  - metadata: {name: existing, namespace: ""}
    attachRoleARN: arn:aws:iam::111122223333:role/jobs
"#;
    let config = read("c.yaml", text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((config.name.as_str(), config.region.as_str()), ("eksdemo1", "us-east-1"));
    assert_eq!(config.tags, [("cost".to_owned(), "42".to_owned()), ("team".to_owned(), "platform".to_owned())]);
    assert_eq!(config.with_oidc, Some(true));
    let entries = config.entries().unwrap();
    let identities: Vec<_> = entries.iter().map(Entry::identity).collect();
    assert_eq!(identities, ["backend/s3-reader", "default/plain", "default/existing"]);
    let first = &entries[0];
    let arns = ["arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess", "policy/Mine"];
    assert_eq!(first.managed_policies.as_deref().unwrap(), arns);
    assert_eq!(first.well_known.as_deref().unwrap(), [WellKnown::AutoScaler, WellKnown::ExternalDns]);
    assert_eq!((entries[1].managed_policies.as_ref(), entries[1].well_known.as_ref()), (None, None));
    let condition = first.inline.as_ref().unwrap().0.pointer("/Statement/0/Condition/StringEquals").unwrap();
    assert_eq!(condition, &json!({"aws:PrincipalAccount": "012345678901"}), "an account id is no number");
    assert_eq!(first.inline, entries[1].inline);
    assert_eq!((first.role_name.as_deref(), first.subject_pattern.as_deref()), (Some("s3-reader"), Some("s3-*")));
    assert_eq!(first.boundary.as_deref(), Some("arn:aws:iam::111122223333:policy/Boundary"));
    assert!(first.role_only && first.place == Place { line: 17, column: 5 });
    assert_eq!(first.labels["aws-usage"], "application");
    assert_eq!(first.annotations["example.com/why"], "reads: things");
    assert_eq!(config.tags_of(first).len(), 3);
    assert_eq!(entries[2].role_arn.as_deref(), Some("arn:aws:iam::111122223333:role/jobs"));
}

#[test]
fn json_is_read_as_well() {
    let text = "{\n\t\"apiVersion\": \"eksctl.io/v1alpha5\", \"kind\": \"ClusterConfig\",\n\t\"metadata\": {\"name\": \"c\", \
                \"region\": \"cn-north-1\"},\n\t\"iam\": {\"serviceAccounts\": [{\"metadata\": {\"name\": \"a\"}, \
                \"attachPolicyARNs\": [\"policy\\/X\"]}]}\n}\n";
    let expected = one(text);
    assert_eq!(expected.managed_policies.as_deref().unwrap(), ["policy/X"]);
    assert_eq!(one(&text.replace(['\n', '\t'], "")).managed_policies, expected.managed_policies);
    assert_eq!(one(&format!("\u{feff}{text}")), expected);
    assert_eq!(one(&text.replace('\n', "\r\n")), expected);
}

#[test]
fn e1_service_accounts_are_optional() {
    for iam in ["", "iam:\n", "iam: {withOIDC: false}\n", "iam: {withOIDC: true}\n", "iam: {serviceAccounts: }\n"] {
        assert_eq!(read("c.yaml", with_head(iam)).unwrap().service_accounts, None, "{iam}");
    }
    let none = read("c.yaml", with_head("iam: {withOIDC: false, serviceAccounts: []}\n")).unwrap();
    assert_eq!(none.entries().unwrap(), []);
}

#[test]
fn e2_oidc_may_be_left_out_but_not_forbidden() {
    let list = "serviceAccounts: [{metadata: {name: sa-1}, attachPolicyARNs: [policy/X]}]";
    assert!(read("c.yaml", with_head(&format!("iam: {{{list}}}\n"))).is_ok());
    let refused = refusal(with_head(&format!("iam: {{withOIDC: false, {list}}}\n")));
    assert!(refused.starts_with("c.yaml:4:17: iam.withOIDC is false, but iam.serviceAccounts need"), "{refused}");
}

#[test]
fn e3_empty_arns_and_malformed_policies_are_refused() {
    let refused = refusal(entries(
        "  - {metadata: {name: sa-1}, attachPolicyARNs: [\"\"]}\n  - {metadata: {name: sa-2}, attachPolicy: {Statement: foo}}\n",
    ));
    assert!(
        refused.contains("c.yaml:6:49: iam.serviceAccounts[0].attachPolicyARNs[0]: `` is not the ARN"),
        "{refused}"
    );
    assert!(
        refused.contains("c.yaml:7:44: iam.serviceAccounts[1].attachPolicy: the policy's Statement[0]"),
        "{refused}"
    );
}

#[test]
fn e4_every_entry_has_a_name() {
    for nameless in ["{attachPolicyARNs: [policy/X]}", "{metadata: {name: \"\"}, attachPolicyARNs: [policy/X]}"] {
        let text = entries(&format!("  - {{metadata: {{name: a}}, attachPolicyARNs: [policy/X]}}\n  - {nameless}\n"));
        let refused = refusal(text);
        assert!(refused.contains("iam.serviceAccounts[1].metadata.name must be set"), "{refused}");
        assert!(refused.contains("c.yaml:7:"), "{refused}");
    }
}

#[test]
fn e6_identities_are_unique() {
    let sa = |name: &str| format!("  - {{metadata: {{{name}}}, attachPolicyARNs: [policy/X]}}\n");
    let names = ["name: sa-1, namespace: \"\"", "name: sa-2, namespace: ns-2", "name: sa-2, namespace: ns-2"];
    let rest = ["name: sa-3", "name: sa-1"];
    let text: String = names.iter().chain(&rest).map(|name| sa(name)).collect();
    let refused = refusal(entries(&text));
    for expected in [
        "<namespace>/<name> of iam.serviceAccounts[2] \"ns-2/sa-2\" is not unique: iam.serviceAccounts[1] in line 7",
        "<namespace>/<name> of iam.serviceAccounts[4] \"default/sa-1\" is not unique: iam.serviceAccounts[0] in line 6",
    ] {
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn d5_names_that_make_one_stack_name_are_fine() {
    let sa = |namespace: &str, name: &str| {
        format!("  - {{metadata: {{name: {name}, namespace: {namespace}}}, attachPolicyARNs: [policy/X]}}\n")
    };
    let config = read("c.yaml", entries(&(sa("a-b", "c") + &sa("a", "b-c")))).unwrap();
    let entries = config.entries().unwrap();
    let names = |entry: &Entry| candidates(&config.name, &entry.namespace, &entry.name);
    assert_eq!(names(&entries[0])[0], names(&entries[1])[0]);
}

#[test]
fn e8_a_key_in_another_case_is_named() {
    let error = read("c.yaml", entries("  - metadata: {name: a}\n    attachPolicyARNS: [policy/X]\n")).unwrap_err();
    assert_eq!(
        error.causes,
        ["c.yaml:7:5: unknown key `attachPolicyARNS`\n  |\n\
          5 |   serviceAccounts:\n6 |   - metadata: {name: a}\n7 |     attachPolicyARNS: [policy/X]\n  |     ^"]
    );
    assert_eq!(error.hint.as_deref(), Some("did you mean `attachPolicyARNs`?"));
}

#[test]
fn keys_are_exact_and_the_nearest_is_named() {
    for (text, expected) in [
        (with_head("iam: {withOidc: true}\n"), "4:7: unknown key `withOidc` → `withOIDC`"),
        (with_head("IAM: {withOIDC: true}\n"), "4:1: unknown key `IAM` → `iam`"),
        (with_head("iamIdentityMapping: []\n"), "4:1: unknown key `iamIdentityMapping` → `iamIdentityMappings`"),
        (with_head("vpc: {x: y}\nmanagedNodegroup: []\n"), "5:1: unknown key `managedNodegroup` → `managedNodeGroups`"),
        (with_head("foo: bar\n"), "4:1: unknown key `foo`; there are apiVersion, kind, metadata, iam,"),
        (with_head("serviceAccounts: []\n"), "4:1: unknown key `serviceAccounts` → `iam.serviceAccounts`"),
        (HEAD.replace("region:", "regoin:"), "3:21: unknown key `regoin` → `region`"),
        (HEAD.replace("kind:", "Kind:"), "2:1: unknown key `Kind` → `kind`"),
        (entry("wellKnownPolicies: {externalDns: true}"), "unknown key `externalDns` → `externalDNS`"),
        (entry("wellKnownPolicies: {s3: true}"), "unknown key `s3`; there are imageBuilder, autoScaler,"),
        (entry("policies: []"), "unknown key `policies`; there are metadata, attachPolicyARNs,"),
        (entry("attachPolicyArn: x"), "unknown key `attachPolicyArn` → `attachPolicyARNs`"),
        (entries("  - {metadata: {name: a, label: {}}}\n"), "unknown key `label` → `labels`"),
    ] {
        let refused = refusal(text);
        let (key, hint) = expected.split_once(" → ").unwrap_or((expected, ""));
        assert!(refused.contains(key) && refused.contains('^'), "{expected}\n{refused}");
        assert!(
            hint.is_empty() || refused.ends_with(&format!("\nhint: did you mean {hint}?")),
            "{expected}\n{refused}"
        );
    }
}

#[test]
fn e11_a_file_without_service_accounts_says_so() {
    let error = read("c.yaml", HEAD).unwrap().entries().unwrap_err();
    assert_eq!((error.message.as_str(), error.code.exit_code()), ("'iam.serviceAccounts' is not defined in c.yaml", 2));
}

#[test]
fn it_must_be_a_cluster_config() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: {a: b}}\nspec: {iam: 1}\n";
    let refused = refusal(pod);
    assert!(refused.contains("c.yaml:1:13: apiVersion is `v1`: expected eksctl.io/v1alpha5"), "{refused}");
    assert!(refused.contains("c.yaml:2:7: kind is `Pod`: expected ClusterConfig"), "{refused}");
    assert!(!refused.contains("labels"), "nothing is said of what isn't ours: {refused}");
    let old = refusal(HEAD.replace("v1alpha5", "v1alpha4"));
    assert!(old.contains("apiVersion is `eksctl.io/v1alpha4`"), "{old}");
    let bare = refusal("metadata: {name: c}\n");
    for expected in ["apiVersion must be set", "kind must be set", "metadata.region must be set"] {
        assert!(bare.contains(expected), "{expected}\n{bare}");
    }
    let headless = refusal("apiVersion: eksctl.io/v1alpha5\nkind: ClusterConfig\n");
    assert!(headless.contains("metadata.name must be set") && headless.contains("metadata.region"), "{headless}");
    assert!(refusal("kind: Pod\n").lines().all(|line| !line.contains("metadata")));
}

#[test]
fn values_are_checked_where_they_stand() {
    let arn = "arn:aws:iam::111122223333:role/r";
    for (text, path, expected) in [
        (HEAD.replace("name: c", "name: _c"), "metadata.name", "is not an EKS cluster name"),
        (HEAD.replace("us-west-2", "narnia"), "metadata.region", "is not an AWS region"),
        (HEAD.replace("2}", "2, tags: {aws:x: y}}"), "metadata.tags", "begins with aws:"),
        (
            entries("  - {metadata: {name: Sa}}\n"),
            "iam.serviceAccounts[0].metadata.name",
            "is not a ServiceAccount name",
        ),
        (entries("  - {metadata: {name: a, namespace: a.b}}\n"), "[0].metadata.namespace", "is not a namespace name"),
        (entries("  - {metadata: {name: a, labels: {-: b}}}\n"), "[0].metadata.labels", "is not a label"),
        (
            entries("  - {metadata: {name: a, labels: {app.kubernetes.io/managed-by: Helm}}}\n"),
            "[0].metadata.labels",
            "is eksctl on every ServiceAccount",
        ),
        (
            entries("  - {metadata: {name: a, annotations: {eks.amazonaws.com/role-arn: x}}}\n"),
            "[0].metadata.annotations",
            "attachRoleARN, names a role of yours",
        ),
        (entry("attachPolicyARNs: [policy/X, 123]"), "[0].attachPolicyARNs[1]", "is not the ARN of a policy"),
        (entry("attachRoleARN: \"\""), "[0].attachRoleARN", "is not the ARN of a role"),
        (entry("attachPolicyARNs: [policy/X], permissionsBoundary: \"\""), "[0].permissionsBoundary", "is not the ARN"),
        (entry("attachPolicyARNs: [policy/X], roleName: a b"), "[0].roleName", "is not a role name"),
        (entry("attachPolicyARNs: [policy/X], subjectPattern: \"*:*\""), "[0].subjectPattern", "is not a pattern"),
        (entry("attachPolicyARNs: [policy/X], tags: {a: b, A: c}"), "[0].tags", "has a key that is given twice"),
        (entry("attachPolicy: {}"), "[0].attachPolicy", "the policy has no Statement"),
        (entry("attachPolicy: text"), "[0].attachPolicy", "the policy is not a JSON object"),
        (entry("roleOnly: false"), "iam.serviceAccounts[0]", "gives no permissions"),
        (
            entries(&format!(
                "  - {{metadata: {{name: {}, namespace: {}}}, attachPolicyARNs: [policy/X]}}\n",
                "a".repeat(253),
                "n".repeat(63)
            )),
            "[0].metadata",
            "has 317 characters",
        ),
        (entry("attachPolicyARNs: [], wellKnownPolicies: {externalDNS: false}"), "[0]", "gives no permissions"),
        (
            entry(&format!("attachRoleARN: {arn}, attachPolicyARNs: [policy/X], roleOnly: true")),
            "[0].attachRoleARN",
            "excludes attachPolicyARNs, roleOnly",
        ),
    ] {
        let refused = refusal(&text);
        let told =
            refused.lines().any(|line| line.starts_with("c.yaml:") && line.contains(path) && line.contains(expected));
        assert!(told, "{path} {expected}\n{text}\n{refused}");
    }
    assert!(one(&entry(&format!("attachRoleARN: {arn}, roleOnly: false, attachPolicyARNs: []"))).role_arn.is_some());
}

#[test]
fn role_names_and_shared_tags_are_looked_at_together() {
    let sa = |name: &str, role: &str| {
        format!("  - {{metadata: {{name: {name}}}, attachPolicyARNs: [policy/X], roleName: {role}}}\n")
    };
    let refused = refusal(entries(&(sa("a", "Role") + &sa("b", "role"))));
    assert!(refused.contains("[1].roleName: iam.serviceAccounts[0] has a role of this name"), "{refused}");
    let tagged = entry("attachPolicyARNs: [policy/X], tags: {team: b}").replace("-2}", "-2, tags: {Team: a}}");
    assert!(refusal(tagged).contains("[0].tags: the tag `team=b` has a key that is given twice"));
    let overridden = entry("attachPolicyARNs: [policy/X], tags: {team: b}").replace("-2}", "-2, tags: {team: a}}");
    let config = read("c.yaml", overridden).unwrap();
    assert_eq!(config.tags_of(&config.entries().unwrap()[0]), [("team".to_owned(), "b".to_owned())]);
}

#[test]
fn what_is_not_one_document_of_the_right_shape_is_refused() {
    let deep = "a: ".to_owned() + &"[".repeat(100_000);
    let bomb: String = (1..12).fold("vpc:\n  a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, level| {
        text + &format!("  a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(","))
    });
    for (text, expected) in [
        (String::new(), "the file is empty"),
        ("# nothing\n---\n".to_owned(), "the file is empty"),
        ("null".to_owned(), "the file is empty"),
        ("text".to_owned(), "c.yaml:1:1: expected keys and values here"),
        ("[]".to_owned(), "c.yaml:1:1: expected keys and values here"),
        (format!("{HEAD}---\n{HEAD}"), "c.yaml:5:1: a second document begins here"),
        (with_head("metadata: {name: d}\n"), "c.yaml:4:1: the key `metadata` is given twice"),
        (entry("roleName: a, roleName: b"), "the key `roleName` is given twice"),
        (with_head("iam:\n\twithOIDC: true\n"), "hint: YAML is indented with blanks, not tabs"),
        (format!("{HEAD}\tiam: {{}}\n"), "hint: YAML is indented with blanks, not tabs"),
        (with_head("iam: []\n"), "c.yaml:4:6: expected keys and values here"),
        (with_head("iam: {serviceAccounts: x}\n"), "c.yaml:4:24: expected a list here"),
        (with_head("iam: {withOIDC: maybe}\n"), "expected a boolean here"),
        (entry("attachPolicyARNs: policy/X"), "expected a list here"),
        (entry("attachPolicyARNs: [~]"), "expected a text here, found nothing"),
        (entry("roleName: [a]"), "expected a text here"),
        (with_head("iam: *nothing\n"), "c.yaml:4:6: reference to unknown value"),
        (with_head("iam: {a: \"b\n"), "c.yaml:4:"),
        (deep, "c.yaml:1:"),
        (bomb, "more values than such a file ever has"),
        ("x: 1\n".repeat(LARGEST / 5 + 1), "irsactl reads at most 8 MiB"),
    ] {
        let refused = refusal(&text);
        assert!(refused.contains(expected), "{expected}\n{refused}");
    }
    assert!(refusal(b"a: b\nc: \xff\n").contains("it is not UTF-8 text: see line 2"));
    assert!(read("c.yaml", format!("---\n{HEAD}---\n")).is_ok(), "an empty document more does no harm");
}

#[test]
fn aliases_and_merge_keys_share_what_entries_have_in_common() {
    let text = entries(
        "  - &base\n    metadata: {name: a}\n    attachPolicyARNs: &arns [policy/X]\n    permissionsBoundary: policy/B\n  \
         - <<: *base\n    metadata: {name: b}\n",
    );
    let many: String =
        (0..300).map(|n| format!("  - {{metadata: {{name: n{n}}}, attachPolicyARNs: *arns}}\n")).collect();
    let config = read("c.yaml", text + &many).unwrap_or_else(|error| panic!("{error}"));
    let entries = config.entries().unwrap();
    assert_eq!((entries[1].name.as_str(), entries[1].boundary.as_deref()), ("b", Some("policy/B")));
    assert!(entries.iter().all(|entry| entry.managed_policies.as_deref() == Some(&["policy/X".to_owned()])));
}

#[test]
fn an_empty_list_is_named_and_a_missing_one_is_not() {
    let some = one(&entry("attachPolicyARNs: [], wellKnownPolicies: {externalDNS: false, certManager: true}"));
    assert_eq!(some.managed_policies, Some(vec![]));
    assert_eq!(some.well_known, Some(vec![WellKnown::CertManager]));
    let none = one(&entry("attachPolicyARNs: , wellKnownPolicies: {autoScaler: true}"));
    assert_eq!(none.managed_policies, None);
}

#[test]
fn a_policy_alone_is_read_as_attach_policy_is() {
    let yaml = "# why\nVersion: 2012-10-17\nStatement:\n- {Effect: Allow, Action: s3:Get*, Resource: '*', \
                Condition: {StringEquals: {aws:PrincipalAccount: 012345678901}}}\n";
    let expected = one(&entry(&format!("attachPolicy: {}", read_policy("p", yaml).unwrap().to_json()))).inline;
    assert_eq!(Some(read_policy("p", yaml).unwrap()), expected);
    assert_eq!(Some(read_policy("p", expected.as_ref().unwrap().pretty()).unwrap()), expected);
    for (text, place, said) in [
        ("{Version: [", "p.yaml:1:", ""),
        ("{\"Statement\": [\n{\"Effect\": \"Maybe\"}]}", "p.yaml:1:1: ", "the policy's Statement[0] needs an Effect"),
        ("[]", "p.yaml:1:1: ", "the policy is not a JSON object"),
        ("Statment: []", "p.yaml:1:1: ", "unknown element `Statment`"),
        ("Version: a\nVersion: b", "p.yaml:2:1: ", "`Version` is given twice"),
        ("a: 1\n---\nb: 1", "p.yaml:3:1: ", "a second document begins here; a role has one"),
        ("", "", "it is empty"),
    ] {
        let error = read_policy("p.yaml", text).unwrap_err();
        assert_eq!((error.message.as_str(), error.code.exit_code()), ("p.yaml is not a valid policy document", 2));
        assert!(error.causes[0].starts_with(place) && error.causes[0].contains(said), "{text}\n{error:?}");
    }
}

#[test]
fn mistakes_are_counted_and_long_lines_are_cut() {
    let many: String =
        (0..30).map(|n| format!("  - {{metadata: {{name: N{n}}}, attachPolicyARNs: [policy/X]}}\n")).collect();
    let error = read("c.yaml", entries(&many)).unwrap_err();
    assert_eq!((error.causes.len(), error.causes[20].as_str()), (21, "10 more mistakes"));
    let padding = "x".repeat(5_000);
    let error =
        read("c.yaml", entry(&format!("tags: {{{padding}: a}}, attachPolicyARNs: [policy/X], roleName: \" \"")))
            .unwrap_err();
    let last = error.causes.last().unwrap();
    assert!(last.contains("roleName: \" \"") && last.lines().skip(1).all(|line| line.len() < 300), "{last}");
}

fn document(name: &str, rest: &[(String, Option<String>, [bool; 4])]) -> Value {
    let entries: Vec<Value> = rest
        .iter()
                .map(|(name, namespace, [managed, inline, known, only])| {
            let mut entry = json!({"metadata": {"name": name}});
            if let Some(namespace) = namespace {
                entry["metadata"]["namespace"] = json!(namespace);
            }
            if *managed {
                entry["attachPolicyARNs"] = json!(["arn:aws:iam::aws:policy/ReadOnlyAccess", format!("policy/{name}")]);
                entry["tags"] = json!({"name": name});
            }
            if *inline {
                entry["attachPolicy"] = json!({"Version": "2012-10-17", "Statement": [
                    {"Effect": "Deny", "NotAction": "s3:*", "Resource": ["*"], "Condition": {"Bool": {"aws:x": true}}}]});
            }
            if !managed && !inline {
                entry["attachRoleARN"] = json!("arn:aws:iam::111122223333:role/r");
            } else {
                entry["wellKnownPolicies"] = json!({"certManager": known});
                entry["roleOnly"] = json!(only);
            }
            entry
        })
        .collect();
    json!({"apiVersion": "eksctl.io/v1alpha5", "kind": "ClusterConfig", "vpc": {"nat": null},
           "metadata": {"name": name, "region": "eu-central-1"}, "iam": {"serviceAccounts": entries}})
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read("c.yaml", &text);
        let _ = read("c.yaml", entries(&text));
        let _ = read("c.yaml", &bytes);
    }

    #[test]
    fn no_damage_panics(at in any::<prop::sample::Index>(), with in "[\\[\\]{}&*!|>'\"%@`:,#?\\n\\t -]{0,3}", cut in 0usize..9) {
        let whole = entry("attachPolicy: {Version: '2012-10-17', Statement: []}, tags: {a: \"b\"}, roleName: é");
        let mut text: Vec<char> = whole.chars().collect();
        let start = at.index(text.len());
        let end = (start + cut).min(text.len());
        text.splice(start..end, with.chars());
        let _ = read("c.yaml", text.into_iter().collect::<String>());
    }

    #[test]
    fn yaml_and_json_say_the_same(name in "[a-zA-Z0-9][a-zA-Z0-9_-]{0,20}", list in proptest::collection::btree_map(
        ("[a-z0-9]{1,8}(\\.[a-z0-9]{1,8})?", proptest::option::of("[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?")), any::<[bool; 4]>(), 0..6)) {
        let list: Vec<_> = list.into_iter().map(|((name, namespace), sources)| (name, namespace, sources)).collect();
        let identity = |(name, namespace, _): &(String, Option<String>, [bool; 4])| {
            format!("{}/{name}", namespace.as_deref().unwrap_or("default"))
        };
        let mut identities: Vec<String> = list.iter().map(identity).collect();
        let document = document(&name, &list);
        let (yaml, json) = (serde_saphyr::to_string(&document).unwrap(), document.to_string());
        let (from_yaml, from_json) = (read("c", &yaml), read("c", &json));
        identities.sort();
        if identities.windows(2).any(|pair| pair[0] == pair[1]) {
            prop_assert!(from_yaml.is_err() && from_json.is_err());
            return Ok(());
        }
        let mut from_yaml = from_yaml.map_err(|error| TestCaseError::fail(format!("{error}\n{yaml}")))?;
        let mut from_json = from_json.map_err(|error| TestCaseError::fail(format!("{error}\n{json}")))?;
        for config in [&mut from_yaml, &mut from_json] {
            for entry in config.service_accounts.iter_mut().flatten() {
                entry.place = Place::default();
            }
        }
        prop_assert_eq!(&from_yaml, &from_json);
        for (entry, (name, namespace, [managed, inline, _, only])) in from_yaml.entries().unwrap().iter().zip(&list) {
            prop_assert_eq!((&entry.name, entry.namespace.as_str()), (name, namespace.as_deref().unwrap_or("default")));
            prop_assert_eq!(entry.managed_policies.as_ref().map(Vec::len), managed.then_some(2));
            prop_assert_eq!(entry.inline.is_some(), *inline);
            prop_assert_eq!(entry.role_arn.is_none(), *managed || *inline);
            prop_assert_eq!(entry.role_only, (*managed || *inline) && *only);
        }
    }
}
