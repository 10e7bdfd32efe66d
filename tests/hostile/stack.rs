//! Templates, tags and events of stacks, those of other tools included.

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use irsactl::iam::arn::Partition;
use irsactl::iam::trust::{Issuer, Subject, trust_policy};
use irsactl::iam::wellknown::WellKnown;
use irsactl::shell::Command;
use irsactl::stack::events::{Event, explain};
use irsactl::stack::flags::{Told, told};
use irsactl::stack::status::state;
use irsactl::stack::{names, tags, template};

use crate::inputs::{Form, bytes, mutated, object, text};
use crate::property::holds;

const STACK: &str = "eksctl-c-addon-iamserviceaccount-kube-system-external-dns";

/// Of eksctl; of terraform and of people, in the forms that CloudFormation takes.
fn templates() -> Vec<Value> {
    let eksctl: Value = serde_json::from_str(include_str!("../fixtures/eksctl-external-dns-stack.json")).unwrap();
    let trust = eksctl["Resources"]["Role1"]["Properties"]["AssumeRolePolicyDocument"].clone();
    let get = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}});
    let others = json!({
        "Parameters": {"Name": {"Type": "String"}},
        "Resources": {
            "Other": {"Type": "AWS::IAM::Role", "DependsOn": "Role", "Properties": {"AssumeRolePolicyDocument": trust.to_string()}},
            "Role": {"Type": "AWS::IAM::Role", "Metadata": {"a": 1}, "Properties": {
                "RoleName": {"Fn::Sub": "${Name}-role"}, "Path": "/x/", "MaxSessionDuration": "3600", "Description": "d",
                "AssumeRolePolicyDocument": trust, "PermissionsBoundary": {"Ref": "Boundary"},
                "ManagedPolicyArns": ["arn:aws:iam::aws:policy/ReadOnlyAccess", {"Ref": "Managed"},
                    {"Fn::Join": ["", ["arn:", {"Ref": "AWS::Partition"}, ":iam::aws:policy/X"]]}],
                "Policies": [{"PolicyName": "inline", "PolicyDocument": get.to_string()}],
                "Tags": [{"Key": "a", "Value": "b"}]}},
            "Managed": {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"ManagedPolicyName": "m", "PolicyDocument": get}},
            "Policy": {"Type": "AWS::IAM::RolePolicy", "Properties": {"RoleName": {"Ref": "Role"}, "PolicyName": "p"}},
        },
        "Outputs": {"Role1": {"Value": {"Fn::GetAtt": "Role.Arn"}, "Export": {"Name": "x"}}},
    });
    vec![eksctl, others, json!({"Resources": {"Bucket": {"Type": "AWS::S3::Bucket"}}}), Value::Null]
}

#[test]
fn any_bytes_are_a_template_or_refused() {
    holds("bytes as template", bytes(templates()), |bytes| {
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(found) = template::parse(&text) {
            let _ = template::read(&found);
            prop_assert_eq!(template::parse(&found.to_string()).unwrap(), found);
        }
        Ok(())
    });
}

#[test]
fn any_template_is_read() {
    holds("templates", (mutated(templates()), Form::any()), |(document, form)| {
        let parsed = template::parse(&form.write(&document)).map_err(TestCaseError::fail)?;
        prop_assert_eq!(&parsed, &document);
        prop_assert_eq!(template::differences(&document, &document), []);
        let _ = (template::needs_named_capability(&document), template::inline_policies(&document, STACK));
        if let Ok(facts) = template::read(&document) {
            let _ = facts.managed_arns();
            let stack = Told {
                service_account: ("kube-system", "external-dns"),
                name: STACK,
                template: &document,
                tags: &[],
                protected: false,
                cfn_role: None,
            };
            if let Some((command, _)) = told(Command::new("irsactl create iamserviceaccount"), stack) {
                let line = command.to_string();
                prop_assert_eq!(Command::new(&line).to_string(), line);
            }
            // Reading twice finds the same.
            prop_assert_eq!(template::read(&document), Ok(facts));
        }
        Ok(())
    });
}

#[test]
fn differences_have_two_sides() {
    holds("pairs of templates", (mutated(templates()), mutated(templates())), |(one, other)| {
        let there = template::differences(&one, &other);
        let _ = template::differences(&other, &one);
        for change in &there {
            prop_assert!(change.path.starts_with('/') && change.before != change.after, "{change:?}");
        }
        Ok(())
    });
}

#[test]
fn an_edit_changes_what_it_names() {
    let issuer = Issuer::parse("https://oidc.example.com/id/A").unwrap();
    let trust = trust_policy(&issuer, &Partition::aws(), "111122223333", Some(&Subject::exact("n", "s")));
    let get = json!({"Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}]});
    let arns = ["arn:aws:iam::aws:policy/A".to_owned(), "arn:aws:iam::aws:policy/B".to_owned()];
    let edit = |number: usize, current: &Value| match number {
        0 => template::with_managed_policies(current, &arns),
        1 => template::with_well_known(current, STACK, &WellKnown::ALL),
        2 => template::with_well_known(current, STACK, &[]),
        3 => template::with_inline(current, STACK, &get),
        4 => template::with_boundary(current, &arns[0]),
        _ => template::with_trust(current, &trust),
    };
    holds("edits of templates", (mutated(templates()), 0..6_usize), |(document, number)| {
        let edited = edit(number, &document);
        prop_assert_eq!(&edit(number, &edited), &edited, "once is enough");
        let Ok(before) = template::read(&document) else {
            prop_assert_eq!(edited, document);
            return Ok(());
        };
        // Whatever else the template holds stays.
        for (key, value) in object(&document).iter().filter(|(key, _)| *key != "Resources") {
            prop_assert_eq!(edited.get(key), Some(value));
        }
        let kept = object(&edited["Resources"]);
        for (id, resource) in object(&document["Resources"]) {
            if !["AWS::IAM::Role", "AWS::IAM::Policy"].iter().any(|kind| resource["Type"] == *kind) {
                let replaced = number == 3 && id == template::INLINE || number == 1 && id.starts_with("Policy");
                prop_assert!(replaced || kept.get(&id) == Some(&resource), "{}", id);
            }
        }
        let after = template::read(&edited).map_err(TestCaseError::fail)?;
        // Whose provider is trusted is by what functions get their values.
        if number != 5 {
            prop_assert_eq!(
                (before.role_name, before.role_path, before.description),
                (after.role_name, after.role_path, after.description)
            );
        }
        Ok(())
    });
}

fn event() -> impl Strategy<Value = Event> {
    let statuses =
        ["CREATE_IN_PROGRESS", "CREATE_FAILED", "UPDATE_FAILED", "ROLLBACK_IN_PROGRESS", "DELETE_COMPLETE", ""];
    let reasons = [
        "Resource handler returned message: \"User: arn:aws:iam::1:user/x is not authorized to perform: iam:CreateRole on resource: \
         arn:aws:iam::1:role/r (Service: Iam, Status Code: 403, Request ID: 0a1b)\" (RequestToken: 1, HandlerErrorCode: AccessDenied)",
        "Resource creation cancelled",
        "(Service: ",
        "HandlerErrorCode: ",
        "Resource handler returned message: ",
    ];
    let kinds = ["AWS::CloudFormation::Stack", "AWS::IAM::Role", "AWS::IAM::Policy"];
    let reason = prop_oneof![select(reasons.to_vec()).prop_map(str::to_owned), text()];
    let status = prop_oneof![4 => select(statuses.to_vec()).prop_map(str::to_owned), 1 => text()];
    (text(), select(kinds.to_vec()), status, proptest::option::of(reason), 0..20_i64).prop_map(
        |(logical_id, kind, status, reason, second)| Event {
            logical_id,
            resource_type: kind.to_owned(),
            status,
            reason,
            token: None,
            time: Timestamp::from_second(second).unwrap(),
        },
    )
}

#[test]
fn any_events_are_explained() {
    holds("event lists", vec(event(), 0..12), |events| {
        let Some(failure) = explain(&events) else {
            return Ok(());
        };
        prop_assert!(!failure.to_string().is_empty() && !failure.reason.is_empty());
        let of_event = |event: &Event| failure.resource == format!("{} ({})", event.logical_id, event.resource_type);
        prop_assert!(events.iter().any(of_event));
        prop_assert_eq!(explain(&events), Some(failure));
        Ok(())
    });
}

#[test]
fn any_tags_and_statuses_are_read() {
    let pairs = || {
        let known = [tags::CLUSTER, tags::LEGACY_CLUSTER, tags::SERVICE_ACCOUNT, tags::IRSACTL_VERSION, "aws:x"];
        vec((prop_oneof![select(known.to_vec()).prop_map(str::to_owned), text()], text()), 0..8)
    };
    holds("tags", (pairs(), pairs(), text()), |(one, other, word)| {
        let _ = (tags::owner(&one), tags::cluster(&one), tags::source(&one), tags::differences(&one, &other));
        if let Some((namespace, name)) = tags::owner(&one) {
            prop_assert_eq!(tags::value(&one, tags::SERVICE_ACCOUNT), Some(&*format!("{namespace}/{name}")));
        }
        // What is merged needs no more merging, and holds nothing that AWS keeps for itself.
        let merged = tags::merged(&one, &[]);
        prop_assert!(merged.iter().all(|(key, _)| !key.to_lowercase().starts_with("aws:")));
        prop_assert_eq!(&tags::merged(&merged, &[]), &merged);
        if tags::check_user_tags(&one).is_ok() {
            prop_assert_eq!(&merged, &one);
            let all = tags::tags("c", "n", "s", "1", &one);
            prop_assert_eq!(tags::owner(&all), Some(("n".to_owned(), "s".to_owned())));
            prop_assert!(one.iter().all(|pair| all.contains(pair)));
        }
        let _ = state(&word);
        prop_assert!(names::candidates(&word, &word, &word).iter().all(|name| names::is_valid(name)));
        Ok(())
    });
}
