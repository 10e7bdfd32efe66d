//! What each release logs when something is wrong, and whether it is understood.

use irsactl::externaldns::logs::{Class, classify};
use serde_json::{Value, json};

use crate::install::{DEPLOYMENT, install};
use crate::support::{Sandbox, until};

const PODS: &str = "/api/v1/namespaces/external-dns/pods";

/// The running pod of the installation.
fn pod(sandbox: &Sandbox) -> Option<String> {
    let pods = sandbox.object(&format!("{PODS}?labelSelector=app.kubernetes.io/name=external-dns"));
    let alive = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    pods["items"].as_array()?.iter().find(alive)?["metadata"]["name"].as_str().map(str::to_owned)
}

fn understood(sandbox: &Sandbox, pod: &str) -> Vec<Class> {
    sandbox.pod_log(pod).lines().filter_map(classify).collect()
}

/// Waits until the installation's log says it, after what it has said before.
#[track_caller]
fn until_said(sandbox: &Sandbox, what: &str, is_it: impl Fn(&Class) -> bool) {
    let before = pod(sandbox).map(|pod| (understood(sandbox, &pod).len(), pod));
    until(what, || {
        let pod = pod(sandbox)?;
        let known = before.as_ref().filter(|(_, name)| *name == pod).map_or(0, |(count, _)| *count);
        understood(sandbox, &pod).iter().skip(known).any(&is_it).then_some(())
    });
}

/// Starts ExternalDNS as it is installed, changed by `change`.
fn start(sandbox: &Sandbox, name: &str, change: impl FnOnce(&mut Value)) {
    let mut spec = sandbox.object(DEPLOYMENT)["spec"]["template"]["spec"].clone();
    spec["restartPolicy"] = "Never".into();
    change(&mut spec);
    sandbox.create(PODS, &json!({"metadata": {"name": name}, "spec": spec}));
}

fn speaks(version: &str) {
    let sandbox = Sandbox::lease();
    install(&sandbox, version).ok();
    // It gives up after a minute, during which the rest is tried.
    start(&sandbox, "blind", |spec| spec["serviceAccountName"] = "default".into());
    start(&sandbox, "told-nonsense", |spec| {
        spec["containers"][0]["args"].as_array_mut().unwrap().push("--nonsense".into());
    });

    // Not irsactl's own calls, but those of the pod.
    let answer = |action: &str, status: u16, code: &str, message: &str| {
        let error = json!({"status": status, "code": code, "message": message});
        json!({"action": action, "userAgent": "aws-sdk-go", "error": error})
    };
    for action in ["ListHostedZones", "ListResourceRecordSets"] {
        sandbox.fault(&json!({"deny": format!("route53:{action}"), "userAgent": "aws-sdk-go"}));
        let wanted = format!("route53:{action}");
        until_said(&sandbox, &wanted, |class| matches!(class, Class::Policy { action, .. } if *action == wanted));
        sandbox.heal();
    }
    sandbox.fault(&answer("ListHostedZones", 400, "Throttling", "Rate exceeded"));
    until_said(&sandbox, "throttling", |class| *class == Class::Throttling);
    sandbox.heal();
    until_said(&sandbox, "recovery", |class| matches!(class, Class::Recovered | Class::Healthy));

    let taken = "[Tried to create resource record set [name='web.example.com.', type='A'] but it already exists]";
    sandbox.fault(&answer("ChangeResourceRecordSets", 400, "InvalidChangeBatch", taken));
    sandbox.create_ingress("web", "web.example.com");
    until_said(&sandbox, "a conflict", |class| *class == Class::Conflict);
    sandbox.heal();
    until_said(&sandbox, "records written", |class| *class == Class::Applied);

    let refused = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
    let unknown = "No OpenIDConnect provider found in your account for https://oidc.eks.us-west-2.amazonaws.com/id/AB";
    for (status, code, message, class) in
        [(403, "AccessDenied", refused, Class::Trust), (400, "InvalidIdentityToken", unknown, Class::OidcProvider)]
    {
        sandbox.fault(&answer("AssumeRoleWithWebIdentity", status, code, message));
        sandbox.delete(&format!("{PODS}/{}", pod(&sandbox).unwrap()));
        until_said(&sandbox, message, |said| *said == class);
        sandbox.heal();
    }

    let nonsense = understood(&sandbox, "told-nonsense");
    assert!(nonsense.iter().any(|class| matches!(class, Class::Flag { .. })), "{nonsense:?}");
    let blind = |class: &Class| matches!(class, Class::Rbac { .. });
    until("the blind gives up", || understood(&sandbox, "blind").iter().any(blind).then_some(()));
}

#[test]
fn v0_19_0_speaks() {
    speaks("v0.19.0");
}

#[test]
fn v0_20_0_speaks() {
    speaks("v0.20.0");
}

#[test]
fn v0_21_0_speaks() {
    speaks("v0.21.0");
}

#[test]
fn v0_22_0_speaks() {
    speaks("v0.22.0");
}

#[test]
fn v0_23_0_speaks() {
    speaks("v0.23.0");
}
