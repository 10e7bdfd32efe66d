//! The ClusterRole and the Roles of each command.

use serde_json::json;

use irsactl::externaldns::objects::CUSTOM;

use crate::proof::{proves_rbac, situation};
use crate::support::Sandbox;
use crate::support::operator::{Operator, rendered};

const INSTALL: &str = "install external-dns --cluster eksdemo1 --domain-filter example.com --interval 3s --approve";
const WORDS: &str = "install external-dns --domain-filter example.com --cluster eksdemo1";
const CREATE: &str = "create iamserviceaccount web --namespace apps --cluster eksdemo1 --approve \
                      --attach-policy-arn arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";

const FAILING: &str = "install external-dns --cluster eksdemo1 --domain-filter example.com --interval 3s --approve \
                       --image registry.k8s.io/external-dns/external-dns:v0.22.0 --external-dns-version v0.22.0";

fn in_aws(sandbox: &Sandbox) {
    sandbox.run(&format!("{INSTALL} --aws-only")).ok();
}

/// The namespace came with the Role.
fn installed(sandbox: &Sandbox) {
    sandbox.create_namespace("external-dns");
    sandbox.run(INSTALL).ok();
}

fn role(sandbox: &Sandbox) {
    sandbox.run(&format!("{CREATE} --role-only")).ok();
}

fn made(sandbox: &Sandbox) {
    sandbox.run(CREATE).ok();
}

#[test]
fn install() {
    // A record that somebody else owns, and that an Ingress asks for.
    let strangers = |sandbox: &Sandbox| {
        in_aws(sandbox);
        sandbox.create_ingress("web", "web.example.com");
        let record =
            json!({"Name": "web.example.com", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.1"}]});
        crate::support::aws::change(sandbox, &json!({"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}));
    };
    proves_rbac(
        WORDS,
        &[
            situation("nothing", in_aws, INSTALL),
            situation("strangers", strangers, INSTALL),
            situation("a pod that doesn't start", in_aws, FAILING).codes(&[1]),
        ],
    );
}

#[test]
fn uninstall() {
    const UNINSTALL: &str = "uninstall external-dns --cluster eksdemo1 --approve";
    let annotated = |sandbox: &Sandbox| {
        sandbox.create_namespace("external-dns");
        let account = json!({"metadata": {"name": "external-dns"}});
        sandbox.create("/api/v1/namespaces/external-dns/serviceaccounts", &account);
        sandbox.run(&format!("{INSTALL} --override-existing-serviceaccounts")).ok();
    };
    proves_rbac(
        "uninstall external-dns --cluster eksdemo1",
        &[situation("installed", installed, UNINSTALL), situation("annotated", annotated, UNINSTALL)],
    );
}

#[test]
fn create_iamserviceaccount() {
    proves_rbac(
        "create iamserviceaccount web --namespace apps --cluster eksdemo1",
        &[situation("nothing", role, CREATE)],
    );
}

#[test]
fn update_iamserviceaccount() {
    let line = "update iamserviceaccount web --namespace apps --cluster eksdemo1 --labels a=b --approve";
    proves_rbac(
        "update iamserviceaccount web --namespace apps --cluster eksdemo1",
        &[situation("role only", role, line)],
    );
}

#[test]
fn delete_iamserviceaccount() {
    let line = "delete iamserviceaccount web --namespace apps --cluster eksdemo1 --approve";
    let annotated = |sandbox: &Sandbox| {
        sandbox.create_namespace("apps");
        sandbox.create("/api/v1/namespaces/apps/serviceaccounts", &json!({"metadata": {"name": "web"}}));
        sandbox.run(&format!("{CREATE} --override-existing-serviceaccounts")).ok();
    };
    proves_rbac(
        "delete iamserviceaccount web --namespace apps --cluster eksdemo1",
        &[situation("made", made, line), situation("annotated", annotated, line)],
    );
}

#[test]
fn get() {
    let (all, one) =
        ("get iamserviceaccount --cluster eksdemo1", "get iamserviceaccount web --namespace apps --cluster eksdemo1");
    proves_rbac(all, &[situation("all", made, all), situation("one", made, one)]);
    proves_rbac(one, &[situation("one", made, one)]);
    let records = "get dnsrecords --cluster eksdemo1";
    proves_rbac(records, &[situation("installed", installed, records)]);
}

#[test]
fn verify() {
    let all = "verify iamserviceaccount --cluster eksdemo1";
    proves_rbac(all, &[situation("all", made, all)]);
    let one = "verify iamserviceaccount web --namespace apps --cluster eksdemo1";
    proves_rbac(one, &[situation("one", made, one)]);
    let dns = "verify external-dns --cluster eksdemo1";
    let asked = |sandbox: &Sandbox| {
        installed(sandbox);
        sandbox.create_ingress("web", "web.example.com");
    };
    let sources = |sandbox: &Sandbox| {
        let routes = ["http", "grpc", "tls", "tcp", "udp"].map(|kind| format!("gateway-{kind}route")).join(",");
        for (group, kind, plural) in CUSTOM {
            let version = match *kind {
                "DNSEndpoint" => "v1alpha1",
                "TCPRoute" | "UDPRoute" => "v1alpha2",
                _ => "v1",
            };
            sandbox.serve(group, version, kind, plural);
        }
        sandbox.create_namespace("external-dns");
        sandbox.run(&format!("{INSTALL} --source crd,{routes}")).ok();
    };
    proves_rbac(
        dns,
        &[
            situation("installed", installed, dns).codes(&[0, 4]),
            situation("asked", asked, dns).codes(&[0, 4]),
            situation("custom resources", sources, dns),
        ],
    );
}

/// Without a command.
#[test]
fn everything() {
    let sandbox = Sandbox::lease();
    let objects = rendered("--kubernetes")["items"].as_array().unwrap().clone();
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    let operator = Operator::new(&sandbox, &policy).with_rbac(&objects);
    for line in [
        INSTALL,
        CREATE,
        "update iamserviceaccount web --namespace apps --cluster eksdemo1 --labels a=b --approve",
        "get iamserviceaccount --cluster eksdemo1",
        "get dnsrecords --cluster eksdemo1",
        "verify external-dns --cluster eksdemo1",
        "verify iamserviceaccount --cluster eksdemo1",
        "delete iamserviceaccount web --namespace apps --cluster eksdemo1 --approve",
        "uninstall external-dns --cluster eksdemo1 --approve",
    ] {
        operator.run(line).ok();
    }
}
