//! Files: ClusterConfig, policies, patches.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use serde_json::{Value, json};

use irsactl::config::{self, ClusterConfig, Place};
use irsactl::error::{Error, ErrorCode};
use irsactl::externaldns::{manifest, patch, settings::Settings};
use irsactl::names::{check_cluster, check_namespace, check_region, check_service_account};

use crate::inputs::{Form, bytes, mutated};
use crate::property::holds;

fn policy() -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "A", "Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "arn:aws:s3:::b/*",
         "Condition": {"StringEquals": {"aws:PrincipalTag/team": ["a", "b"]}, "NumericLessThan": {"s3:max-keys": 10}}},
        {"Effect": "Deny", "NotAction": "s3:*", "NotResource": ["*"]},
    ]})
}

fn configs() -> Vec<Value> {
    let header = json!({"name": "c", "region": "us-west-2", "version": "1.33", "tags": {"team": "a"}});
    let file = |metadata: &Value, iam: Value| {
        json!({"apiVersion": "eksctl.io/v1alpha5", "kind": "ClusterConfig", "metadata": metadata, "iam": iam,
               "vpc": {"id": "0"}, "nodeGroups": [{"name": "n"}]})
    };
    vec![
        file(
            &header,
            json!({"withOIDC": true, "serviceAccounts": [
                {"metadata": {"name": "a", "namespace": "n", "labels": {"k": "v"}, "annotations": {"example.com/k": "v: w"}},
                 "attachPolicyARNs": ["arn:aws:iam::aws:policy/ReadOnlyAccess", "policy/Mine"], "tags": {"x": "y"}},
                {"metadata": {"name": "b"}, "wellKnownPolicies": {"externalDNS": true, "autoScaler": false}, "roleOnly": true},
                {"metadata": {"name": "c"}, "attachPolicy": policy(), "roleName": "r", "permissionsBoundary": "policy/B"},
                {"metadata": {"name": "d"}, "attachRoleARN": "arn:aws:iam::111122223333:role/x"},
                {"metadata": {"name": "e"}, "attachPolicyARNs": ["policy/M"], "subjectPattern": "e-*"},
            ]}),
        ),
        file(&header, json!({"serviceAccounts": []})),
        file(&json!({"name": "c", "region": "cn-north-1"}), json!({"withOIDC": false})),
    ]
}

fn patches() -> Vec<Value> {
    vec![
        json!({"kind": "Deployment", "spec": {"template": {"spec": {
            "tolerations": [{"key": "dns", "operator": "Exists"}], "nodeSelector": {"a": "b"},
            "containers": [{"name": "external-dns", "resources": {"limits": {"memory": "1Gi"}},
                            "env": [{"name": "HTTPS_PROXY", "value": "http://p"}, {"name": "AWS_REGION", "$patch": "delete"}]},
                           {"name": "sidecar", "image": "s:1"}]}}}}),
        json!({"kind": "ServiceAccount", "metadata": {"annotations": {"a": null}}, "imagePullSecrets": [{"name": "x"}]}),
        json!({"kind": "ClusterRole", "rules": []}),
    ]
}

/// A refusal is of the user's file, and no longer than a screen or two.
fn check_refusal(error: &Error) -> TestCaseResult {
    prop_assert_eq!(error.code, ErrorCode::Usage);
    prop_assert!(!error.causes.is_empty());
    prop_assert!(error.to_string().len() < 40_000);
    Ok(())
}

fn placeless(mut config: ClusterConfig) -> ClusterConfig {
    for entry in config.service_accounts.iter_mut().flatten() {
        entry.place = Place::default();
    }
    config
}

#[test]
fn any_bytes_are_a_config_or_refused() {
    holds("bytes as ClusterConfig", bytes(configs()), |bytes| match config::read("c.yaml", &bytes) {
        Ok(_) => Ok(()),
        Err(error) => check_refusal(&error),
    });
}

#[test]
fn a_config_that_is_accepted_holds() {
    holds("ClusterConfig documents", mutated(configs()), |document| {
        let [json, pretty, yaml] =
            [Form::Json, Form::Pretty, Form::Yaml].map(|form| config::read("c", form.write(&document)).map(placeless));
        let config = match (json, pretty, yaml) {
            (Ok(json), Ok(pretty), Ok(yaml)) => {
                prop_assert!(json == pretty && json == yaml, "{json:#?}\n{yaml:#?}");
                json
            }
            (Err(error), Err(_), Err(_)) => return check_refusal(&error),
            (json, _, yaml) => return Err(TestCaseError::fail(format!("JSON: {json:?}\nYAML: {yaml:?}"))),
        };
        prop_assert!(check_cluster(&config.name).is_ok() && check_region(&config.region).is_ok());
        for (at, entry) in config.service_accounts.iter().flatten().enumerate() {
            prop_assert!(check_namespace(&entry.namespace).is_ok() && check_service_account(&entry.name).is_ok());
            let written = &document["iam"]["serviceAccounts"][at];
            prop_assert_eq!(entry.inline.as_ref().map(|policy| &policy.0), written.get("attachPolicy"));
            let gives = entry.role_arn.is_some()
                || entry.inline.is_some()
                || entry.managed_policies.iter().any(|list| !list.is_empty())
                || entry.well_known.iter().any(|list| !list.is_empty());
            prop_assert!(gives, "{entry:?}");
        }
        Ok(())
    });
}

#[test]
fn any_bytes_are_a_policy_or_refused() {
    holds("bytes as policy", bytes(vec![policy()]), |bytes| match config::read_policy("p", &bytes) {
        Ok(policy) => {
            policy.check().map_err(TestCaseError::fail)?;
            Ok(())
        }
        Err(error) => check_refusal(&error),
    });
}

#[test]
fn a_policy_that_is_accepted_is_kept() {
    let inputs = (mutated(vec![policy()]), Form::any());
    holds("policy documents", inputs, |(document, form)| match config::read_policy("p", form.write(&document)) {
        Ok(policy) => {
            prop_assert_eq!(&policy.0, &document);
            prop_assert_eq!(config::read_policy("p", policy.to_json()).unwrap(), policy);
            Ok(())
        }
        Err(error) => check_refusal(&error),
    });
}

#[test]
fn any_bytes_are_a_patch_or_refused() {
    holds("bytes as patch", bytes(patches()), |bytes| match config::read_patch("p", &bytes) {
        Ok(_) => Ok(()),
        Err(error) => check_refusal(&error),
    });
}

#[test]
fn a_patch_changes_nothing_that_irsactl_decides() {
    let settings = Settings::new("us-east-1", "owner");
    let rendered = manifest::objects(&settings, Some("arn:aws:iam::111122223333:role/x"), true, true).unwrap();
    let live = rendered.last().unwrap().clone();
    holds("patches", mutated(patches()), |document| {
        let Ok(found) = config::read_patch("p", document.to_string()) else { return Ok(()) };
        let mut objects = rendered.clone();
        if patch::apply(&mut objects, &found).is_err() {
            return Ok(());
        }
        prop_assert_eq!(objects.len(), rendered.len());
        for (object, before) in objects.iter().zip(&rendered) {
            for path in [
                "/apiVersion",
                "/kind",
                "/metadata/name",
                "/metadata/namespace",
                "/roleRef",
                "/spec/replicas",
                "/spec/selector",
                "/spec/template/spec/serviceAccountName",
            ] {
                prop_assert_eq!(object.pointer(path), before.pointer(path), "{}", path);
            }
            let container = |object: &Value, key: &str| {
                let containers = object.pointer("/spec/template/spec/containers").and_then(Value::as_array);
                let own = containers.into_iter().flatten().find(|one| one["name"] == "external-dns");
                own.and_then(|own| own.get(key)).cloned()
            };
            for key in ["args", "image", "command", "envFrom"] {
                prop_assert_eq!(container(object, key), container(before, key), "{}", key);
            }
        }
        manifest::adopt(&mut objects, &live);
        let yaml = manifest::to_yaml(&objects);
        let back: Vec<Value> = serde_saphyr::from_multiple(&yaml).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(back, objects);
        Ok(())
    });
}
