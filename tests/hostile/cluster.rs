//! Objects and logs of a cluster, and kubeconfigs.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use irsactl::error::ErrorCode;
use irsactl::externaldns::args::{Arguments, Installed, is_external_dns};
use irsactl::externaldns::hosts::{desired_hosts, exclusion, unread_annotations};
use irsactl::externaldns::logs::{classify, explain, severity, story};
use irsactl::externaldns::objects::resource_names;
use irsactl::externaldns::protect::protected_changes;
use irsactl::externaldns::selector::Selector;
use irsactl::externaldns::settings::Settings;
use irsactl::externaldns::view::View;
use irsactl::externaldns::{helm, manifest, patch};
use irsactl::k8s::{Kubernetes, diff};
use irsactl::plan::iamserviceaccount::{annotation, is_ours, label, wrong_audience};
use irsactl::plan::removal::{external_role, is_made_by_irsactl, names_a_role_of_ours, uid};
use irsactl::wait::Wait;

use crate::inputs::{bytes, mutated, text};
use crate::property::holds;

const ROLE: &str = "arn:aws:iam::111122223333:role/x";

fn rendered() -> Vec<Value> {
    manifest::objects(&Settings::new("us-east-1", "owner"), Some(ROLE), true, true).unwrap()
}

/// A Deployment as an API server shows it, and one as a Helm chart makes it.
fn deployments() -> Vec<Value> {
    let mut own = rendered().pop().unwrap();
    own["metadata"]["uid"] = json!("0-1");
    own["metadata"]["managedFields"] = json!([{"manager": "irsactl", "operation": "Apply", "time": "2026-01-01T00:00:00Z",
        "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"external-dns\"}": {".": {}, "f:image": {}}}}}}}}]);
    let helm = json!({"kind": "Deployment", "metadata": {"name": "e", "namespace": "n", "annotations": {"meta.helm.sh/release-name": "e"}},
        "spec": {"selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}]},
        "strategy": {"rollingUpdate": {"maxSurge": "25%"}}, "template": {"metadata": {"labels": {"a": "b", "c": "d"}}, "spec": {"containers": [
            {"name": "x", "image": "r.example.com:5000/external-dns:0.18.0@sha256:00", "command": ["/bin/external-dns", "--source=ingress"],
             "args": ["--txt-owner-id", "me", "--domain-filter=a.com", "--no-interval", "--policy=sync", "--provider=aws"],
             "env": [{"name": "EXTERNAL_DNS_TXT_PREFIX", "value": "t."}, {"name": "AWS_REGION", "valueFrom": {"a": 1}}]}]}}}});
    let mut bomb = own.clone();
    let variables = (1..60).map(|n| json!({"name": format!("V{n}"), "value": format!("$(V{0})$(V{0})", n + 1)}));
    bomb["spec"]["template"]["spec"]["containers"][0]["env"] = variables.collect();
    bomb["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["--txt-owner-id=$(V1)"]);
    vec![own, helm, bomb]
}

fn sources() -> Vec<Value> {
    let annotations = json!({"external-dns.alpha.kubernetes.io/hostname": "a.example.com, b.example.com",
        "external-dns.kubernetes.io/set-identifier": "x", "external-dns.alpha.kubernetes.io/ttl": "1m"});
    let metadata = json!({"name": "a", "namespace": "n", "annotations": annotations, "labels": {"l": "1"}});
    let address = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]}});
    vec![
        json!({"kind": "Ingress", "metadata": metadata, "spec": {"ingressClassName": "c", "rules": [{"host": "*.example.com"}],
            "tls": [{"hosts": ["t.example.com"]}]}, "status": address}),
        json!({"kind": "Service", "metadata": metadata, "spec": {"type": "LoadBalancer"}, "status": address}),
        json!({"kind": "Service", "metadata": metadata, "spec": {"clusterIP": "None", "externalName": "x.example.com"}}),
        json!({"kind": "DNSEndpoint", "metadata": metadata, "spec": {"endpoints": [
            {"dnsName": "e.example.com", "recordType": "TXT", "targets": ["x"], "setIdentifier": "s"}]}}),
        json!({"kind": "HTTPRoute", "metadata": metadata, "spec": {"hostnames": ["h.example.com"], "parentRefs": [{"name": "g"}]},
            "status": {"parents": [{"parentRef": {"name": "g"}, "conditions": [{"type": "Accepted", "status": "True"}]}]}}),
        json!({"kind": "Gateway", "metadata": metadata, "spec": {"listeners": [{"name": "l", "hostname": "*.example.com"}]},
            "status": {"addresses": [{"value": "192.0.2.1"}]}}),
    ]
}

#[test]
fn any_deployment_is_understood() {
    holds("Deployments", (mutated(deployments()), text()), |(live, word)| {
        let _ = is_external_dns(&live);
        if let Some(installed) = Installed::from_deployment(&live) {
            let _ = (installed.findings(), installed.prefixes(), installed.mapper(), installed.domain_filter());
            let settings = Settings::new("us-east-1", &word);
            let _ = protected_changes(&installed, &settings);
            let _ = (installed.untold(), installed.lost(), installed.arguments.words().count());
            let _ = patch::given(&live, "us-east-1").as_ref().map(patch::may_be_shown);
            let again = Installed::from_deployment(&live).unwrap();
            prop_assert_eq!(format!("{installed:?}"), format!("{again:?}"));
        }
        let mut objects = rendered();
        manifest::adopt(&mut objects, &live);
        let desired = objects.last().unwrap();
        // What is patched is patched in its place: the paths are there.
        for step in manifest::takeover_patch(&live, desired) {
            let path = step["path"].as_str().unwrap();
            prop_assert!(step["op"] == "add" || live.pointer(path).is_some(), "{step}");
        }
        let found = diff::differences(&live, desired, "irsactl");
        prop_assert!(found.iter().all(|change| change.change.before != change.change.after));
        let _ = diff::conflicting_owners(&live, desired);
        prop_assert!(diff::differences(desired, desired, "irsactl").is_empty());
        Ok(())
    });
}

#[test]
fn any_object_is_read() {
    let mut objects = rendered();
    objects.extend(sources());
    let views =
        [View::open("external-dns.alpha.kubernetes.io/", false), View::open("external-dns.kubernetes.io/", true)];
    holds("objects", vec(mutated(objects), 0..4), |objects| {
        for view in &views {
            let hosts = desired_hosts(&objects, view);
            let names = resource_names(&objects);
            prop_assert!(hosts.iter().all(|desired| names.contains(&desired.resource)), "{hosts:?} {names:?}");
            let _ = unread_annotations(&objects, &view.prefixes);
            let _ = objects.iter().filter_map(|object| exclusion(object, view)).count();
        }
        for object in &objects {
            let _ = (manifest::bound_service_account(object), is_ours(object), wrong_audience(object), uid(object));
            let _ = (label(object, "a"), annotation(object, "a"), external_role(object));
            let _ = (is_made_by_irsactl(object), names_a_role_of_ours(object));
        }
        Ok(())
    });
}

#[test]
fn any_arguments_are_read() {
    let argument =
        prop_oneof!["--(no-)?(txt-owner-id|domain-filter|source|policy|interval|dry-run|once)(=[a-z.]{0,6})?", text(),];
    holds("arguments of a container", (vec(argument, 0..8), text()), |(arguments, word)| {
        let args = Arguments::parse(&arguments, &[(word.clone(), word.clone())]);
        let words: Vec<String> = args.words().collect();
        let again = Arguments::parse(&words, &[]);
        prop_assert_eq!(again.words().collect::<Vec<_>>(), words, "reading what was read");
        for flag in ["txt-owner-id", "domain-filter", "dry-run", word.as_str()] {
            let _ = (args.get(flag), args.all(flag), args.bool(flag));
        }
        if let Ok(selector) = Selector::parse(&word) {
            let _ = (selector.matches(None), selector.keys().count(), selector.beyond_annotations());
        }
        let mut settings = Settings::new(&word, &word);
        settings.domain_filters.push(word);
        if settings.validate().is_ok() {
            let _ = helm::values(&settings, Some(ROLE));
            let objects = manifest::objects(&settings, Some(ROLE), true, true).map_err(TestCaseError::fail)?;
            let args = objects.last().unwrap()["spec"]["template"]["spec"]["containers"][0]["args"].clone();
            prop_assert_eq!(args, json!(settings.args()), "what is rendered is what was meant");
        }
        Ok(())
    });
}

#[test]
fn any_log_is_read() {
    let line = prop_oneof![
        "time=\"2026-01-01T00:00:00Z\" level=(info|error|fatal|debug) msg=\"[ -~]{0,60}\"( [a-z]{1,5}=[a-z]{0,5})?",
        r#"\{"level":"(info|error)","msg":"[ -!#-~]{0,40}","time":"2026"\}"#,
        Just("level=error msg=\"records retrieval failed: failed to list hosted zones: AccessDenied: User: x is not authorized to perform: route53:ListHostedZones\"".to_owned()),
        Just("level=info msg=\"All records are already up to date\"".to_owned()),
        text(),
    ];
    holds("logs", vec(line, 0..20), |lines| {
        for line in &lines {
            if let Some(class) = classify(line) {
                let _ = (severity(&class), explain(&class));
            }
        }
        let _ = format!("{:?}", story(&lines.join("\n")));
        Ok(())
    });
}

#[test]
fn any_bytes_are_a_kubeconfig_or_refused() {
    let secrets = ["t0ken-a", "t0ken-b", "t0ken-c", "t0ken-d", "t0ken-e"];
    let seed = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority-data": "LS0tLS1=",
            "proxy-url": "http://p:1", "insecure-skip-tls-verify": true}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "n"}}],
        "users": [{"name": "u", "user": {"token": secrets[0], "password": secrets[1], "username": "u", "client-key-data": secrets[2],
            "client-certificate-data": secrets[3]}}]});
    let mut plain = seed.clone();
    plain["users"][0]["user"] = json!({"token": secrets[4]});
    plain["clusters"][0]["cluster"] = json!({"server": "https://127.0.0.1:1"});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("kubeconfig");
    holds("kubeconfigs", bytes(vec![seed, plain]), |bytes| {
        std::fs::write(&file, &bytes).unwrap();
        let wait = Wait::new(CancellationToken::new(), Duration::from_mins(1));
        let Err(error) = runtime.block_on(Kubernetes::kubeconfig(file.to_str(), None, wait)) else { return Ok(()) };
        let known = [ErrorCode::Usage, ErrorCode::Kubernetes, ErrorCode::ClusterUnauthorized].contains(&error.code);
        prop_assert!(known, "{error:?}");
        // One that stands in a second place, such as the name of a context, is none there.
        let text = String::from_utf8_lossy(&bytes);
        let shown = |secret: &&&str| text.matches(**secret).count() == 1 && format!("{error:?}").contains(**secret);
        prop_assert_eq!(secrets.iter().find(shown), None, "{:?}", error);
        prop_assert!(error.to_string().len() < 40_000);
        Ok(())
    });
}
