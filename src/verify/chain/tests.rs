use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::iam::trust::{Subject, trust_policy};
use crate::verify::permissions::Holder;

const ROLE: &str = "arn:aws:iam::111122223333:role/dns";
const FAR: &str = "arn:aws:iam::444455556666:role/dns";

/// A ServiceAccount that others annotated, whose role works.
fn irsa(role_arn: &str) -> Irsa {
    let issuer = Issuer::parse("https://oidc.eks.us-east-1.amazonaws.com/id/ABC").unwrap();
    let partition = Partition::aws();
    let trust = trust_policy(&issuer, &partition, "111122223333", Some(&Subject::exact("dns", "external-dns")));
    let role = Role {
        name: "dns".to_owned(),
        arn: role_arn.to_owned(),
        path: "/".to_owned(),
        trust,
        boundary: None,
        tags: BTreeMap::new(),
        created: 0,
    };
    let provider = Provider {
        arn: issuer.provider_arn(&partition, "111122223333"),
        url: issuer.host_path(),
        client_ids: vec![AUDIENCE.to_owned()],
        tags: BTreeMap::new(),
    };
    Irsa {
        commands: Commands { cluster: "c1".to_owned(), region: "us-east-1".to_owned() },
        account: "111122223333".to_owned(),
        partition,
        issuer,
        namespace: "dns".to_owned(),
        name: "external-dns".to_owned(),
        provider: Ok(Some(provider)),
        twins: Ok(Vec::new()),
        stack: Ok(None),
        service_account: Ok(Some(json!({"metadata": {"annotations": {ROLE_ANNOTATION: role_arn}}}))),
        association: Ok(None),
        role: Ok(Some(role)),
        demand: Demand::default(),
        lacking: Ok(Vec::new()),
        unread: None,
        policies: Ok(Policies::default()),
        verify: "irsactl verify iamserviceaccount".to_owned(),
        install: None,
        make: None,
        pods: Ok(Vec::new()),
        deployment: None,
        live: Live::Works("it works".to_owned()),
    }
}

/// Its stack, of this status and with these outputs.
fn stack(status: &str, outputs: &[(&str, &str)]) -> ObservedStack {
    let outputs = outputs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    let stack = Stack {
        id: "arn:aws:cloudformation:us-east-1:111122223333:stack/dns-stack/1".to_owned(),
        name: "dns-stack".to_owned(),
        status: status.to_owned(),
        reason: None,
        tags: Vec::new(),
        outputs,
        capabilities: Vec::new(),
        created: 0,
        updated: None,
        protected: false,
        role_arn: None,
    };
    ObservedStack { stack, template: json!({}), role: None, failure: None }
}

/// One of another account, whose IAM can't be read.
fn far() -> Irsa {
    Irsa { provider: Ok(None), role: Err("it is far".to_owned()), ..irsa(FAR) }
}

fn check(irsa: &Irsa, id: &str) -> Check {
    irsa.checks().into_iter().find(|check| check.id == id).unwrap()
}

#[test]
fn a_role_of_another_account_takes_tokens_by_a_provider_there() {
    let provider = check(&far(), ids::OIDC_PROVIDER);
    assert_eq!(provider.status, Status::Skip, "{provider:?}");
    assert_eq!(check(&far(), ids::ASSUME_ROLE).status, Status::Pass);
    let near = Irsa { provider: Ok(None), ..irsa(ROLE) };
    assert_eq!(check(&near, ids::OIDC_PROVIDER).status, Status::Fail);
}

#[test]
fn the_organisation_is_suspected_only_where_all_else_is_known_to_hold() {
    let refused = || Live::Refused("AccessDenied".to_owned());
    let zones_refused = || Live::ZonesRefused { hop: None, said: "AccessDenied".to_owned() };
    let judged = |irsa: Irsa| check(&irsa, ids::ASSUME_ROLE);
    let suspects = |check: &Check| check.message.contains("SCP");
    for live in [refused(), zones_refused()] {
        let found = judged(Irsa { live, ..irsa(ROLE) });
        assert!(found.fails() && suspects(&found), "{found:?}");
        assert!(found.hint.unwrap().starts_with("in the management account of the organisation: aws organizations "));
    }
    let unread = || Irsa { role: Err("iam:GetRole is denied".to_owned()), ..irsa(ROLE) };
    let found = judged(Irsa { live: refused(), ..unread() });
    assert!(found.fails() && !suspects(&found) && found.hint.is_none(), "{found:?}");
    assert!(found.message.contains("role, trust-policy"), "{found:?}");
    let found = judged(Irsa { live: zones_refused(), lacking: Err("no".to_owned()), ..irsa(ROLE) });
    assert!(!suspects(&found) && found.message.contains("permissions"), "{found:?}");

    let found = judged(Irsa { live: refused(), ..far() });
    let hint = found.hint.clone().unwrap();
    assert!(found.fails() && !suspects(&found), "{found:?}");
    assert!(hint.starts_with("in account 444455556666, "), "{hint}");
    assert!(hint.contains("arn:aws:iam::444455556666:oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/ABC"), "{hint}");
    let hint = judged(Irsa { live: zones_refused(), ..far() }).hint.unwrap();
    assert!(hint.starts_with("in account 444455556666: aws iam put-role-policy --role-name dns "), "{hint}");
}

#[test]
fn conditions_of_the_trust_policy_may_be_the_reason_and_may_be_meant() {
    let mut strict = irsa(ROLE);
    let Ok(Some(role)) = &mut strict.role else { panic!("no role") };
    role.trust.0["Statement"][0]["Condition"]["IpAddress"] = json!({"aws:SourceIp": "192.0.2.0/24"});
    let before = role.trust.0["Statement"][0].clone();
    assert_eq!(check(&strict, ids::ASSUME_ROLE).hint, None, "it works");
    strict.live = Live::Refused("AccessDenied".to_owned());
    assert_eq!(check(&strict, ids::TRUST_POLICY).status, Status::Warn);
    let found = check(&strict, ids::ASSUME_ROLE);
    let hint = found.hint.unwrap();
    let (condition, command) = hint.split_once(": ").unwrap();
    assert!(condition.ends_with("aren't meant for the pods"), "{hint}");
    let document =
        command.strip_prefix("aws iam update-assume-role-policy --role-name dns --policy-document '").unwrap();
    let document: Value = serde_json::from_str(document.trim_end_matches('\'')).unwrap();
    assert_eq!(document["Statement"].as_array().unwrap().len(), 2, "{document}");
    assert_eq!(document["Statement"][0], before, "whoever else uses the role still may");
}

#[test]
fn a_role_whose_stack_is_under_way_is_waited_for() {
    let judged = |status: &str, role: Look<Option<Role>>| {
        let install = Some("irsactl install".to_owned());
        check(&Irsa { stack: Ok(Some(stack(status, &[]))), role, install, ..irsa(ROLE) }, ids::ROLE)
    };
    for status in ["CREATE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "DELETE_IN_PROGRESS"] {
        let found = judged(status, Ok(None));
        assert!(found.fails() && found.message.starts_with(&format!("stack dns-stack is {status}, ")), "{found:?}");
        assert_eq!(found.hint.as_deref(), Some("irsactl verify iamserviceaccount --wait"));
        assert_eq!(judged(status, irsa(ROLE).role).status, Status::Pass, "{status}");
    }
    assert_eq!(judged("CREATE_COMPLETE", Ok(None)).hint.as_deref(), Some("irsactl install"));
}

#[test]
fn a_service_account_that_others_bring_is_theirs_to_make() {
    let stack = stack("CREATE_COMPLETE", &[(ROLE_OUTPUT, ROLE)]);
    let judged = |install: Option<&str>| {
        let install = install.map(str::to_owned);
        let irsa = Irsa { stack: Ok(Some(stack.clone())), service_account: Ok(None), install, ..irsa(ROLE) };
        check(&irsa, ids::SERVICE_ACCOUNT).hint.unwrap()
    };
    let hint = judged(None);
    assert!(hint.contains(&format!("with the annotation {ROLE_ANNOTATION}; else: irsactl create ")), "{hint}");
    assert_eq!(judged(Some("irsactl install --approve")), "irsactl install --approve");
    let planned = judged(Some("irsactl install"));
    assert_eq!(planned, "irsactl install", "what isn't known isn't approved");
}

#[test]
fn what_is_lacking_is_allowed_whole_and_beside_what_is_held() {
    let need = |action: &str| Need::new(action, "*");
    let lack = |need: Need| Lack { need, why: Why::Missing };
    let demand = Demand {
        certain: vec![need("route53:ListHostedZones"), need("route53:ListResourceRecordSets")],
        possible: vec![need("route53:ChangeResourceRecordSets")],
        why: "which zones isn't looked at".to_owned(),
        registry: None,
    };
    let held = |name: &str| (Holder::Inline(name.to_owned()), PolicyDocument(json!({"Statement": []})));
    let judged = |names: &[&str], lacking: Vec<Need>| {
        let policies = Policies { held: names.iter().map(|name| held(name)).collect(), boundary: None };
        let lacking = Ok(lacking.into_iter().map(lack).collect());
        check(&Irsa { demand: demand.clone(), lacking, policies: Ok(policies), ..irsa(ROLE) }, ids::PERMISSIONS)
    };
    let found = judged(&["external-dns"], vec![demand.certain[1].clone(), demand.possible[0].clone()]);
    assert_eq!(found.status, Status::Fail);
    let hint = found.hint.unwrap();
    let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["route53:ListHostedZones","route53:ListResourceRecordSets"],"Resource":["*"]}]}"#;
    assert_eq!(
        hint,
        format!(
            "aws iam put-role-policy --role-name dns --policy-name irsactl-external-dns --policy-document '{document}'"
        )
    );
    let further = judged(&["irsactl-external-dns", "irsactl-external-dns-2"], vec![demand.certain[0].clone()]);
    assert!(further.hint.unwrap().contains(" --policy-name irsactl-external-dns-3 "));

    let found = judged(&[], vec![demand.possible[0].clone()]);
    assert_eq!((found.status, found.hint), (Status::Skip, None), "{}", found.message);
    assert!(found.message.ends_with("can't be told: which zones isn't looked at"), "{}", found.message);
    assert_eq!(judged(&[], Vec::new()).status, Status::Pass);
}

/// A pod with containers of these names and variables.
fn pod(metadata: &Value, containers: &[(&str, &[(&str, &str)])]) -> Value {
    let variables = |all: &[(&str, &str)]| {
        all.iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>()
    };
    let containers: Vec<_> = containers
        .iter()
        .map(|(name, all)| json!({"name": name, "env": variables(all), "image": image(name)}))
        .collect();
    json!({"metadata": metadata, "spec": {"containers": containers}})
}

fn image(container: &str) -> String {
    format!("registry.example.com/{container}:v0.23.0")
}

const HAS_ROLE: &[(&str, &str)] = &[("AWS_ROLE_ARN", ROLE)];
const OTHER_ROLE: &[(&str, &str)] = &[("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/logs")];
const HAS_KEYS: &[(&str, &str)] = &[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];

#[test]
fn what_stands_beside_external_dns_is_its_own_business() {
    let judged = |annotation: &str, containers: &[(&str, &[(&str, &str)])]| {
        let metadata = json!({"name": "p", "annotations": {SKIP_CONTAINERS: annotation}});
        let template = |all: &[(&str, &[(&str, &str)])]| pod(&metadata, all);
        let bare: Vec<_> =
            containers.iter().map(|(name, all)| (*name, if *all == HAS_ROLE { &[] } else { *all })).collect();
        let deployment = json!({"metadata": {"name": "external-dns"}, "spec": {"template": template(&bare)}});
        let pods = Ok(vec![template(containers)]);
        check(&Irsa { pods, deployment: Some(deployment), ..irsa(ROLE) }, ids::INJECTION)
    };
    for (skip, sidecar) in [("log-shipper", &[][..]), ("", HAS_KEYS), ("", OTHER_ROLE)] {
        let found = judged(skip, &[("log-shipper", sidecar), ("external-dns", HAS_ROLE)]);
        assert_eq!(found.status, Status::Pass, "{skip} {sidecar:?}: {found:?}");
    }
    let found = judged("log-shipper, external-dns", &[("log-shipper", HAS_KEYS), ("external-dns", &[])]);
    let hint = found.hint.clone().unwrap();
    assert!(found.fails() && hint.contains(r#""eks.amazonaws.com/skip-containers":"log-shipper""#), "{found:?}");
    let unset = "kubectl --namespace dns set env deployment/external-dns --containers=external-dns ";
    for (own, variables) in [(HAS_KEYS, "AWS_ACCESS_KEY_ID- AWS_SECRET_ACCESS_KEY-"), (OTHER_ROLE, "AWS_ROLE_ARN-")] {
        let found = judged("", &[("log-shipper", HAS_KEYS), ("external-dns", own)]);
        assert_eq!(found.hint, Some(format!("{unset}{variables}")), "{found:?}");
    }
}

#[test]
fn containers_that_are_left_alone_need_no_role() {
    let judged = |annotation: &str, containers: &[(&str, &[(&str, &str)])]| {
        let metadata = json!({"name": "p", "annotations": {SKIP_CONTAINERS: annotation}});
        check(&Irsa { pods: Ok(vec![pod(&metadata, containers)]), ..irsa(ROLE) }, ids::INJECTION)
    };
    assert_eq!(judged("proxy", &[("proxy", HAS_KEYS), ("app", HAS_ROLE)]).status, Status::Pass);
    assert_eq!(judged("proxy", &[("proxy", HAS_ROLE), ("app", &[])]).status, Status::Fail);
    assert_eq!(judged("proxy", &[("proxy", &[]), ("app", HAS_KEYS)]).status, Status::Fail);
}

#[test]
fn pods_without_the_role_are_started_anew_by_what_made_them() {
    let owned = |name: &str, kind: &str, owner: &str| {
        let owners = json!([{"kind": kind, "name": owner, "controller": true}]);
        let labels = json!({"pod-template-hash": "5d8f"});
        pod(&json!({"name": name, "ownerReferences": owners, "labels": labels}), &[("app", &[])])
    };
    let hint = |pods: Vec<Value>| check(&Irsa { pods: Ok(pods), ..irsa(ROLE) }, ids::INJECTION).hint.unwrap();
    let kubectl = "kubectl --namespace dns";
    assert_eq!(
        hint(vec![owned("a", "ReplicaSet", "web-5d8f"), owned("b", "ReplicaSet", "web-5d8f")]),
        format!("{kubectl} rollout restart deployment/web")
    );
    assert_eq!(
        hint(vec![owned("a", "StatefulSet", "db"), owned("b", "Job", "backup")]),
        format!("{kubectl} delete pod b && {kubectl} rollout restart statefulset/db")
    );
    assert_eq!(hint(vec![pod(&json!({"name": "alone"}), &[("app", &[])])]), format!("{kubectl} delete pod alone"));
}
