//! Installation, verification and upgrade of each release.

use std::collections::{BTreeMap, BTreeSet};

use irsactl::externaldns::version::{Feature, LEGACY_PREFIX, PREFIX, Version};
use serde_json::{Value, json};

use crate::RELEASES;
use crate::support::{Run, Sandbox, until};

pub const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/external-dns/deployments/external-dns";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// Installs this release, or upgrades to it.
pub fn install(sandbox: &Sandbox, version: &str) -> Run {
    sandbox.run(&format!(
        "install external-dns --cluster eksdemo1 --domain-filter example.com --interval 3s \
         --external-dns-version {version} --approve"
    ))
}

/// The owner id that the installation's arguments name.
fn owner(sandbox: &Sandbox) -> String {
    let deployment = sandbox.object(DEPLOYMENT);
    let args = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    args.iter().find_map(|arg| arg.as_str()?.strip_prefix("--txt-owner-id=")).unwrap().to_owned()
}

/// The installation's records of the zone: class and owner of each `name TYPE`.
fn records(sandbox: &Sandbox) -> BTreeMap<String, (String, String)> {
    let run = sandbox.run("get dnsrecords --cluster eksdemo1 -o json").ok();
    let document = run.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let records = document["zones"][0]["records"].as_array().unwrap().iter();
    let addresses = records.filter(|record| record["type"] == "A" || record["type"] == "AAAA");
    addresses
        .map(|record| {
            let name = format!("{} {}", text(&record["name"]), text(&record["type"]));
            (name, (text(&record["class"]), text(&record["owner"])))
        })
        .collect()
}

/// Waits until these hosts, and no others, have records that the installation owns by this release's naming.
#[track_caller]
fn until_owned(sandbox: &Sandbox, hosts: &BTreeSet<String>, owner: &str) {
    let owned = || ("owned".to_owned(), owner.to_owned());
    let types = |host: &String| ["A", "AAAA"].map(|kind| (format!("{host}.example.com {kind}"), owned()));
    let wanted: BTreeMap<_, _> = hosts.iter().flat_map(types).collect();
    let mut found = BTreeMap::new();
    let what = format!("{hosts:?} are owned");
    until(&what, || {
        found = records(sandbox);
        (found == wanted).then_some(())
    });
}

/// An annotation that asks for a record.
fn asking(prefix: &str, host: &str) -> Value {
    json!({format!("{prefix}hostname"): format!("{host}.example.com")})
}

fn create_annotated_ingress(sandbox: &Sandbox, name: &str, prefix: &str, host: &str) {
    sandbox.create_ingress(name, &format!("{name}.example.com"));
    let annotations = asking(prefix, host);
    sandbox.patch(&format!("{INGRESSES}/{name}"), &json!({"metadata": {"annotations": annotations}}));
}

fn create_annotated_service(sandbox: &Sandbox, name: &str, prefix: &str, host: &str) {
    let spec = json!({"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": name}});
    sandbox.create(SERVICES, &json!({"metadata": {"name": name, "annotations": asking(prefix, host)}, "spec": spec}));
    let balancer = "a0123456789abcdef-1234567890.elb.us-west-2.amazonaws.com";
    let status = json!({"status": {"loadBalancer": {"ingress": [{"hostname": balancer}]}}});
    sandbox.patch(&format!("{SERVICES}/{name}/status"), &status);
}

/// The checks of a verification that finds no broken link: those that hold, and the others.
#[track_caller]
fn verified(sandbox: &Sandbox) -> (Vec<Value>, Vec<Value>) {
    let report = sandbox.run("verify external-dns --cluster eksdemo1 -o json").ok().json();
    report["checks"].as_array().unwrap().iter().cloned().partition(|check| check["status"] == "pass")
}

/// Verifies that every link holds, without a warning.
#[track_caller]
fn assert_healthy(sandbox: &Sandbox) {
    let (holding, others) = verified(sandbox);
    assert!(others.is_empty() && holding.iter().any(|check| check["id"] == "records"), "{others:#?}");
}

/// Verifies that the TXT records of the releases before are told of, and removes them as the hint says.
#[track_caller]
fn remove_obsolete(sandbox: &Sandbox, hosts: &BTreeSet<String>) {
    let (_, others) = verified(sandbox);
    let [check] = &others[..] else { panic!("{others:#?}") };
    assert_eq!(check["id"], "records");
    let hint = check["hint"].as_str().unwrap();
    assert!(hosts.iter().all(|host| hint.contains(&format!("\"cname-{host}.example.com.\""))), "{hint}");
    sandbox.follow(hint);
}

/// From nothing to records of an Ingress and a Service, to a verification without a warning.
fn works(version: &str) {
    let sandbox = Sandbox::lease();
    install(&sandbox, version).ok().shows(&["DNS works"]);
    assert!(sandbox.object(DEPLOYMENT).to_string().contains(&format!("external-dns:{version}")));
    create_annotated_ingress(&sandbox, "web", LEGACY_PREFIX, "by-annotation");
    create_annotated_service(&sandbox, "api", LEGACY_PREFIX, "api");
    let mut hosts = BTreeSet::from(["web", "by-annotation", "api"].map(str::to_owned));
    if version.parse::<Version>().unwrap().supports(Feature::LegacyAnnotations) {
        create_annotated_ingress(&sandbox, "new", PREFIX, "by-new-annotation");
        hosts.extend(["new", "by-new-annotation"].map(str::to_owned));
    }
    until_owned(&sandbox, &hosts, &owner(&sandbox));
    assert_healthy(&sandbox);

    sandbox.forget_calls();
    install(&sandbox, version).ok().shows(&["Nothing to do", "DNS works"]);
    assert_eq!(sandbox.writes(), [""; 0]);
}

#[test]
fn v0_19_0_works() {
    works("v0.19.0");
}

#[test]
fn v0_20_0_works() {
    works("v0.20.0");
}

#[test]
fn v0_21_0_works() {
    works("v0.21.0");
}

#[test]
fn v0_22_0_works() {
    works("v0.22.0");
}

#[test]
fn v0_23_0_works() {
    works("v0.23.0");
}

#[test]
fn upgrades_lose_no_record_and_no_owner() {
    let sandbox = Sandbox::lease();
    let mut hosts = BTreeSet::new();
    let mut first = None;
    for version in RELEASES {
        install(&sandbox, version).ok().shows(&["DNS works"]);
        let owner = owner(&sandbox);
        assert_eq!(first.get_or_insert_with(|| owner.clone()), &owner, "{version}");
        // Before its own Ingress: what the release before has made is its own.
        until_owned(&sandbox, &hosts, &owner);
        if version == "v0.22.0" {
            // From now on, the TXT records of aliases have another name.
            remove_obsolete(&sandbox, &hosts);
        }

        let name = version.replace('.', "-");
        create_annotated_ingress(&sandbox, &name, LEGACY_PREFIX, &format!("annotated-{name}"));
        hosts.extend([name.clone(), format!("annotated-{name}")]);
        until_owned(&sandbox, &hosts, &owner);
        assert_healthy(&sandbox);
    }
}
