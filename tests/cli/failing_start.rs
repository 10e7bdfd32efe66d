//! `install external-dns` where the pod can't work: the reason is told at once, and how to go on.

use serde_json::{Value, json};

use crate::drift::{DEPLOYMENT, INSTALL, Live, PODS, answer};
use crate::support::{Sandbox, until};

fn error(stderr: &str) -> Value {
    let document = &stderr[stderr.find('{').expect("an error document")..];
    serde_json::from_str::<Value>(document).unwrap()["error"].clone()
}

#[test]
fn a_pod_that_does_not_start_is_explained_before_the_time_is_over() {
    let sandbox = Sandbox::lease();
    for (flags, causes) in [
        ("--image registry.k8s.io/external-dns/external-dns:v0.22.0", &["ImagePullBackOff", "v0.22.0"][..]),
        ("--extra-arg=--fqdn-template={{", &["last lines of its log", "level=fatal"][..]),
    ] {
        let run = sandbox.run(&format!("{INSTALL} {flags} --approve -o json")).exits(1);
        let error = error(&run.stderr);
        assert_eq!(error["code"], "rollout-failed", "{error}");
        for cause in causes {
            assert!(error["causes"].to_string().contains(cause), "no `{cause}`: {error}");
        }
        assert!(error["hint"].as_str().unwrap().starts_with("kubectl -n external-dns "), "{error}");
        let plan = run.json();
        assert!(plan["steps"].as_array().unwrap().iter().all(|step| step["result"] != "failed"), "{plan}");
    }
    Live::install(&sandbox, INSTALL).has_nothing_to_do("an installation whose pod didn't start");
}

#[test]
fn a_role_that_route53_refuses_is_told_before_the_pod_starts() {
    let sandbox = Sandbox::lease();
    let iam = aws_sdk_iam::Client::new(&sandbox.aws());
    let deny = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "route53:*", "Resource": "*"}]});
    let made = answer(iam.create_policy().policy_name("no-dns").policy_document(deny.to_string()).send());
    let boundary = made.policy.unwrap().arn.unwrap();
    let install = format!("{INSTALL} --permissions-boundary {boundary}");
    let run = sandbox.run(&format!("{install} --timeout 30s --approve -o json")).exits(1);
    let error = error(&run.stderr);
    assert_eq!(error["code"], "role-not-usable", "{error}");
    assert!(error["causes"].to_string().contains("route53:ListHostedZones"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("boundary"), "{error}");
    assert!(sandbox.kube("GET", DEPLOYMENT, None).is_none(), "there is no Deployment");
}

#[test]
fn what_the_log_said_before_a_repair_does_not_count() {
    let sandbox = Sandbox::lease();
    let live = Live::install(&sandbox, INSTALL);
    let policy = live.policy_arn("AllowExternalDNSUpdates");
    answer(live.iam.detach_role_policy().role_name(live.role()).policy_arn(policy).send());
    let pod = live.pods()[0].clone();
    sandbox.delete(&format!("{PODS}/{pod}"));
    until("a pod that is refused twice", || {
        let pod = live.pods().into_iter().find(|other| *other != pod)?;
        let log = sandbox.pod_log(&pod);
        (log.matches("AccessDenied").count() >= 2).then_some(())
    });
    sandbox.forget_calls();
    let repaired = sandbox.run(&format!("{INSTALL} --approve -o json"));
    assert_eq!(repaired.code, 0, "{}", repaired.stderr);
    assert_eq!(repaired.changes(), ["create PolicyAttachment AllowExternalDNSUpdates"]);
    assert!(sandbox.aws_calls().contains(&"sts:AssumeRoleWithWebIdentity".to_owned()), "the role is proved again");
    live.has_nothing_to_do("a policy that was detached while the pod started");
}
