//! `install external-dns`, end to end.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{Run, Sandbox, until};

const INSTALL: &str = "install external-dns --cluster eksdemo1 --domain-filter example.com --interval 3s";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/external-dns/deployments/external-dns";
const SERVICE_ACCOUNT: &str = "/api/v1/namespaces/external-dns/serviceaccounts/external-dns";
const STACK: &str = "eksctl-eksdemo1-addon-iamserviceaccount-external-dns-external-dns";

/// Records of the zone, as `name TYPE`.
fn records(sandbox: &Sandbox) -> BTreeSet<String> {
    let route53 = aws_sdk_route53::Client::new(&sandbox.aws());
    crate::support::RUNTIME.block_on(async {
        let zones = route53.list_hosted_zones().send().await.unwrap();
        let zone = zones.hosted_zones().iter().find(|zone| zone.name() == "example.com.").unwrap();
        let sets = route53.list_resource_record_sets().hosted_zone_id(zone.id()).send().await.unwrap();
        sets.resource_record_sets().iter().map(|set| format!("{} {}", set.name(), set.r#type().as_str())).collect()
    })
}

#[test]
fn from_nothing_to_dns_records() {
    let sandbox = Sandbox::lease();
    let plan = sandbox.run(&format!("{INSTALL} -o json")).ok();
    assert_eq!(
        plan.changes(),
        [
            format!("create OidcProvider {}", sandbox.fact("issuer").trim_start_matches("https://")),
            "create Policy AllowExternalDNSUpdates".to_owned(),
            format!("create Stack {STACK}"),
            "create Namespace external-dns".to_owned(),
            "create ServiceAccount external-dns/external-dns".to_owned(),
            "create ClusterRole external-dns".to_owned(),
            "create ClusterRoleBinding external-dns-viewer".to_owned(),
            "create Deployment external-dns/external-dns".to_owned(),
        ]
    );
    assert_eq!(sandbox.writes(), [""; 0], "a plan changes nothing");

    let done = sandbox.run(&format!("{INSTALL} --approve -o json")).ok().json();
    let role = done["outputs"]["roleARN"].as_str().unwrap();
    assert!(done["steps"].as_array().unwrap().iter().all(|step| step["result"] == "done"), "{done}");
    let account = sandbox.object(SERVICE_ACCOUNT);
    assert_eq!(account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"], role);
    assert_eq!(account["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": "eksctl"}));

    sandbox.create_ingress("web", "app.example.com");
    let wanted = ["app.example.com. A", "app.example.com. AAAA", "a-app.example.com. TXT", "aaaa-app.example.com. TXT"];
    until("records for app.example.com", || {
        let found = records(&sandbox);
        wanted.iter().all(|record| found.contains(*record)).then_some(())
    });

    sandbox.forget_calls();
    let again = sandbox.run(&format!("{INSTALL} --approve")).ok().shows(&["Nothing to do", "DNS works"]);
    assert_eq!(sandbox.writes(), [""; 0], "{}", again.stderr);
    assert!(sandbox.aws_calls().len() <= 15, "{:?}", sandbox.aws_calls());
    sandbox.run(&format!("{INSTALL} --detailed-exitcode")).ok();
}

#[test]
fn a_plan_with_changes_exits_3_where_asked() {
    let sandbox = Sandbox::lease();
    sandbox.run(&format!("{INSTALL} --detailed-exitcode")).exits(3).shows(&["Plan: 8 to create"]).says(&["--approve"]);
    assert_eq!(sandbox.writes(), [""; 0]);
}

#[test]
fn v0_21_0_works_too() {
    let sandbox = Sandbox::lease();
    sandbox.run(&format!("{INSTALL} --external-dns-version v0.21.0 --approve")).ok().shows(&["DNS works"]);
    sandbox.create_ingress("web", "app.example.com");
    until("records for app.example.com", || records(&sandbox).contains("cname-app.example.com. TXT").then_some(()));
    assert!(sandbox.object(DEPLOYMENT).to_string().contains("external-dns:v0.21.0"));
}

#[test]
fn two_at_once_make_one_installation() {
    let sandbox = Sandbox::lease();
    sandbox.fault(&json!({"stack_seconds": 2}));
    let start = || Run::start(sandbox.command(format!("{INSTALL} --approve -o json").split_whitespace()));
    for run in [start(), start()] {
        run.end().ok();
    }
    sandbox.heal();
    sandbox.run(&format!("{INSTALL} --approve")).ok().shows(&["Nothing to do", "DNS works"]);
}
