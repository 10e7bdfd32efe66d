//! `verify external-dns`: every link in the cluster, broken one by one; it names that one, and its hint mends it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::aws::{name_of, role_arn, wait};
use crate::support::{Sandbox, until};

const INSTALL: &str = "install external-dns --cluster eksdemo1 --domain-filter example.com --interval 3s";
const VERIFY: &str = "verify external-dns --cluster eksdemo1";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/external-dns/deployments";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/external-dns/deployments/external-dns";
const PODS: &str = "/api/v1/namespaces/external-dns/pods";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1";
const STACK: &str = "eksctl-eksdemo1-addon-iamserviceaccount-external-dns-external-dns";
const NOTHING: [&str; 0] = [];

/// The checks of a status.
fn with_status(document: &Value, status: &str) -> Vec<Value> {
    document["checks"].as_array().unwrap().iter().filter(|check| check["status"] == status).cloned().collect()
}

/// One link is broken, and this is it; what is wrong with its pods may take a moment to show. Gives its hint.
#[track_caller]
fn broken(sandbox: &Sandbox, flags: &str, id: &str, parts: &[&str]) -> String {
    only(sandbox, flags, "fail", id, parts)
}

/// One link deserves a look, and nothing is broken. Gives the hint.
#[track_caller]
fn warned(sandbox: &Sandbox, id: &str, parts: &[&str]) -> String {
    only(sandbox, "", "warn", id, parts)
}

#[track_caller]
fn only(sandbox: &Sandbox, flags: &str, status: &str, id: &str, parts: &[&str]) -> String {
    let fits = |check: &Value| {
        let message = check["message"].as_str().unwrap();
        check["id"] == id && parts.iter().all(|part| message.contains(part))
    };
    let deadline = Instant::now() + Duration::from_mins(3);
    loop {
        let run = sandbox.run(&format!("{VERIFY} {flags} -o json"));
        let failed = with_status(&run.json(), "fail");
        assert_eq!(run.code, if failed.is_empty() { 0 } else { 4 });
        let found = with_status(&run.json(), status);
        if found.len() == 1 && fits(&found[0]) && (status == "fail" || failed.is_empty()) {
            return found[0]["hint"].as_str().unwrap_or_default().to_owned();
        }
        assert!(Instant::now() < deadline, "{status} isn't {id} {parts:?}: {}", run.stdout);
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Every link holds again, without a warning.
#[track_caller]
fn holds(sandbox: &Sandbox) {
    let run = sandbox.run(&format!("{VERIFY} --wait --strict --timeout 5m -o json")).ok();
    for status in ["fail", "warn", "skip"] {
        assert_eq!(with_status(&run.json(), status), [json!(null); 0], "{}", run.stdout);
    }
}

/// The hint of the broken link mends it.
#[track_caller]
fn mended(sandbox: &Sandbox, hint: &str) {
    sandbox.follow(hint);
    holds(sandbox);
}

fn install(sandbox: &Sandbox, flags: &str) {
    sandbox.run(&format!("{INSTALL} {flags} --approve")).ok();
    holds(sandbox);
}

/// The arguments of ExternalDNS, changed.
fn arguments(sandbox: &Sandbox, change: impl FnOnce(&mut Vec<String>)) {
    let mut deployment = sandbox.object(DEPLOYMENT);
    let args = &mut deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let mut words: Vec<String> = serde_json::from_value(args.clone()).unwrap();
    change(&mut words);
    *args = json!(words);
    sandbox.kube("PUT", DEPLOYMENT, Some(&deployment)).unwrap();
}

fn add(sandbox: &Sandbox, more: &[&str]) {
    arguments(sandbox, |words| words.extend(more.iter().map(|&word| word.to_owned())));
}

fn container(sandbox: &Sandbox, key: &str, value: &Value) {
    let mut deployment = sandbox.object(DEPLOYMENT);
    deployment["spec"]["template"]["spec"]["containers"][0][key] = value.clone();
    sandbox.kube("PUT", DEPLOYMENT, Some(&deployment)).unwrap();
}

#[test]
fn rights_that_are_missing_are_named_and_given_back() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "");
    sandbox.forget_calls();
    holds(&sandbox);
    assert_eq!(sandbox.writes(), NOTHING, "verify changes nothing");

    let role = format!("{RBAC}/clusterroles/external-dns");
    sandbox.delete(&role);
    let all = "may not list and watch nodes, pods, services, endpointslices.discovery.k8s.io, ingresses.networking";
    let hint = broken(&sandbox, "", "rbac", &[all, "external-dns/external-dns"]);
    mended(&sandbox, &hint);

    let without = |resource: &str| {
        let mut object = sandbox.object(&role);
        object["rules"].as_array_mut().unwrap().retain(|rule| rule["resources"] != json!([resource]));
        sandbox.kube("PUT", &role, Some(&object)).unwrap();
    };
    without("endpointslices");
    let hint = broken(&sandbox, "", "rbac", &["may not list and watch endpointslices.discovery.k8s.io, which"]);
    mended(&sandbox, &hint);
    without("ingresses");
    let hint = broken(&sandbox, "", "rbac", &["may not list and watch ingresses.networking.k8s.io, which"]);
    mended(&sandbox, &hint);

    let binding = format!("{RBAC}/clusterrolebindings/external-dns-viewer");
    let subject = json!([{"kind": "ServiceAccount", "name": "external-dns", "namespace": "default"}]);
    sandbox.patch(&binding, &json!({"subjects": subject}));
    let hint = broken(&sandbox, "", "rbac", &[all]);
    mended(&sandbox, &hint);
    sandbox.delete(&binding);
    let hint = broken(&sandbox, "", "rbac", &[all]);
    mended(&sandbox, &hint);

    add(&sandbox, &["--source=gateway-httproute"]);
    let parts = ["doesn't serve gateways.gateway.networking.k8s.io/v1", "which source gateway-httproute needs"];
    let hint = broken(&sandbox, "", "rbac", &parts);
    assert!(hint.contains("--source service --source ingress"), "{hint}");
    mended(&sandbox, &hint);
}

#[test]
fn a_deployment_that_is_gone_stopped_or_elsewhere_is_found() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "");
    let hint =
        broken(&sandbox, "--name other", "deployment", &["no Deployment external-dns/other", "is external-dns/"]);
    sandbox.follow(&hint);
    let hint = broken(&sandbox, "--namespace dns", "deployment", &["no Deployment dns/external-dns"]);
    sandbox.follow(&hint);

    sandbox.patch(DEPLOYMENT, &json!({"spec": {"replicas": 0}}));
    let hint = broken(&sandbox, "", "deployment", &["is stopped (0 replicas)"]);
    mended(&sandbox, &hint);

    sandbox.patch(DEPLOYMENT, &json!({"spec": {"replicas": 2}}));
    let hint = warned(&sandbox, "arguments", &["2 replicas race"]);
    mended(&sandbox, &hint);

    forbid_pods(&sandbox);
    sandbox.kube("DELETE", PODS, None);
    let hint = broken(&sandbox, "", "deployment", &["gets no pods", "no pods today"]);
    assert_eq!(hint, "kubectl --namespace external-dns get events --field-selector reason=FailedCreate");
    sandbox.delete(&format!("{POLICIES}/validatingadmissionpolicybindings/no-pods"));
    sandbox.delete(&format!("{POLICIES}/validatingadmissionpolicies/no-pods"));
    holds(&sandbox);

    sandbox.delete(DEPLOYMENT);
    // What it was told, nothing tells any more.
    let hint = broken(&sandbox, "", "deployment", &["there is no Deployment", "owner id, TXT names, filters"]);
    assert!(hint.starts_with("irsactl install external-dns ") && !hint.contains("--approve"), "{hint}");
    mended(&sandbox, &format!("{hint} --domain-filter example.com --interval 3s --approve"));

    sandbox.patch(DEPLOYMENT, &json!({"spec": {"paused": true}}));
    let hint = warned(&sandbox, "deployment", &["is paused"]);
    mended(&sandbox, &hint);
}

#[test]
fn what_the_deployment_says_itself_comes_before_the_role() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "");
    let env = |variables: &Value| {
        let mut containers = sandbox.object(DEPLOYMENT)["spec"]["template"]["spec"]["containers"].clone();
        containers[0]["env"] = variables.clone();
        sandbox.patch(DEPLOYMENT, &json!({"spec": {"template": {"spec": {"containers": containers}}}}));
    };
    env(&json!([
        {"name": "AWS_ACCESS_KEY_ID", "value": sandbox.fact("adminKey")},
        {"name": "AWS_SECRET_ACCESS_KEY", "value": sandbox.fact("adminSecret")},
    ]));
    let hint = broken(&sandbox, "", "injection", &["sets AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "not the role"]);
    mended(&sandbox, &hint);
    env(&json!([{"name": "AWS_ROLE_ARN", "value": "arn:aws:iam::123456789012:role/foo"}]));
    let hint = broken(&sandbox, "", "injection", &["sets AWS_ROLE_ARN to arn:aws:iam::123456789012:role/foo"]);
    mended(&sandbox, &hint);
    let skip = json!({"eks.amazonaws.com/skip-containers": "external-dns"});
    sandbox.patch(DEPLOYMENT, &json!({"spec": {"template": {"metadata": {"annotations": skip}}}}));
    let hint = broken(&sandbox, "", "injection", &["eks.amazonaws.com/skip-containers=external-dns"]);
    mended(&sandbox, &hint);
}

#[test]
fn a_container_beside_external_dns_may_be_left_alone() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "");
    let pod = sandbox.object(DEPLOYMENT)["spec"]["template"]["spec"].clone();
    let mut beside = pod["containers"][0].clone();
    beside["name"] = json!("log-shipper");
    beside["args"] = json!(["--provider=inmemory", "--source=fake", "--policy=upsert-only", "--metrics-address=:7980"]);
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        beside[probe] = Value::Null;
    }
    let containers = json!([pod["containers"][0], beside]);
    let told = |skip: &str| {
        let annotations = json!({"eks.amazonaws.com/skip-containers": skip});
        let template = json!({"metadata": {"annotations": annotations}, "spec": {"containers": containers}});
        sandbox.patch(DEPLOYMENT, &json!({"spec": {"template": template}}));
    };
    told("log-shipper");
    holds(&sandbox);
    let pods = sandbox.object(PODS)["items"].clone();
    let alone = |pod: &&Value| pod["metadata"]["annotations"]["eks.amazonaws.com/skip-containers"] == "log-shipper";
    let newest = pods.as_array().unwrap().iter().find(alone).unwrap();
    let has_role = |container: &Value| container["env"].to_string().contains("AWS_ROLE_ARN");
    let found = newest["spec"]["containers"].as_array().unwrap().iter().map(has_role).collect::<Vec<_>>();
    assert_eq!(found, [true, false], "{newest}");

    told("log-shipper,external-dns");
    let hint =
        broken(&sandbox, "", "injection", &["skip-containers=log-shipper,external-dns: no role for external-dns"]);
    mended(&sandbox, &hint);
}

#[test]
fn a_role_that_is_gone_with_its_stack_is_made_again() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "");
    let stacks = aws_sdk_cloudformation::Client::new(&sandbox.aws());
    wait(stacks.delete_stack().stack_name(STACK).send()).unwrap();
    until("the stack is gone", || sandbox.stack(STACK).is_none().then_some(()));
    let hint = broken(&sandbox, "", "role", &["doesn't exist"]);
    mended(&sandbox, &hint);
}

/// Admission refuses pods in the namespace.
fn forbid_pods(sandbox: &Sandbox) {
    let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]);
    let policy = json!({"metadata": {"name": "no-pods"}, "spec": {
        "matchConstraints": {"resourceRules": rules},
        "validations": [{"expression": "object.metadata.namespace != 'external-dns'", "message": "no pods today"}],
    }});
    sandbox.create(&format!("{POLICIES}/validatingadmissionpolicies"), &policy);
    let spec = json!({"policyName": "no-pods", "validationActions": ["Deny"]});
    let binding = json!({"metadata": {"name": "no-pods"}, "spec": spec});
    sandbox.create(&format!("{POLICIES}/validatingadmissionpolicybindings"), &binding);
    let pod = json!({"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "c", "image": "none"}]}});
    until("pods are refused", || {
        let refused = sandbox.try_kube("POST", &format!("{PODS}?dryRun=All"), Some(&pod)).is_err();
        refused.then_some(())
    });
}

#[test]
fn arguments_that_keep_it_from_working_are_left_out() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "--txt-prefix x-");
    for (more, parts) in [
        (&["--no-such-flag"][..], &["v0.23.0 has no flag --no-such-flag"][..]),
        (&["--txt-new-format-only"], &["removed in ExternalDNS v0.18.0"]),
        (&["--interval=3s"], &["--interval is given twice"]),
        (&["--txt-suffix=-x"], &["--txt-prefix and --txt-suffix are mutually exclusive"]),
        (&["--dry-run"], &["--dry-run: no record is changed"]),
        (&["--once"], &["--once: ExternalDNS ends after one"]),
        (&["--source=sevice"], &["`sevice` is not a source"]),
    ] {
        add(&sandbox, more);
        let hint = broken(&sandbox, "", "arguments", parts);
        mended(&sandbox, &hint);
    }
    for (flag, parts) in [("--source=", &["no --source"][..]), ("--policy=", &["--policy must be set explicitly"])] {
        arguments(&sandbox, |words| words.retain(|word| !word.starts_with(flag)));
        let hint = broken(&sandbox, "", "arguments", parts);
        mended(&sandbox, &hint);
    }
    let alpha = "--annotation-prefix=external-dns.alpha.kubernetes.io/";
    arguments(&sandbox, |words| {
        let prefix = words.iter_mut().find(|word| word.starts_with("--annotation-prefix")).unwrap();
        alpha.clone_into(prefix);
    });
    let hint = broken(&sandbox, "", "arguments", &["--enable-legacy-annotation-prefix with the legacy"]);
    mended(&sandbox, &hint);
}

#[test]
fn pods_that_do_not_run_are_explained() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "");
    let undo = "kubectl --namespace external-dns rollout undo deployment/external-dns";

    container(&sandbox, "image", &json!("registry.example.com/external-dns:v0.23.0-rc1"));
    let parts = ["can't pull its image", "registry.example.com/external-dns:v0.23.0-rc1"];
    let hint = broken(&sandbox, "", "pods", &parts);
    assert_eq!(hint, undo);
    mended(&sandbox, &hint);

    // What no table knows is told by its log.
    add(&sandbox, &["--fqdn-template={{"]);
    let hint = broken(&sandbox, "", "pods", &["keeps ending: exit code 1", "its log ends with", "unclosed action"]);
    assert_eq!(hint, undo);
    mended(&sandbox, &hint);

    sandbox.patch(DEPLOYMENT, &json!({"spec": {"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}}));
    let hint = broken(&sandbox, "", "pods", &["fits no node", "node affinity/selector"]);
    mended(&sandbox, &hint);

    sandbox.follow("kubectl --namespace external-dns rollout restart deployment/external-dns");
    holds(&sandbox);
}

#[test]
fn a_first_image_that_cannot_be_pulled_is_replaced() {
    let sandbox = Sandbox::lease();
    sandbox.run(&format!("{INSTALL} --external-dns-version v0.22.0 --approve")).exits(1);
    let hint = broken(&sandbox, "", "pods", &["can't pull its image", "external-dns:v0.22.0"]);
    assert!(hint.starts_with("irsactl install"), "{hint}");
    mended(&sandbox, &hint);

    // A build that doesn't say its version is told from its arguments as the newest.
    container(&sandbox, "image", &json!("registry.example.com/external-dns:prod"));
    let run =
        until("the pull has failed", || Some(sandbox.run(&format!("{VERIFY} -o json"))).filter(|run| run.code != 0));
    let warned = with_status(&run.exits(4).json(), "warn");
    assert!(warned[0]["message"].as_str().unwrap().contains(":prod doesn't say its version: judged as v0.23.0"));
}

#[test]
fn the_log_is_read_to_its_end() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "");
    let role = name_of(role_arn(&sandbox.stack(STACK).unwrap())).to_owned();
    let policy = "arn:aws:iam::123456789012:policy/AllowExternalDNSUpdates";
    wait(sandbox.iam().detach_role_policy().role_name(&role).policy_arn(policy).send()).unwrap();
    let logs = || {
        let run = sandbox.run(&format!("{VERIFY} -o json")).exits(4);
        let logs = run.json()["checks"].as_array().unwrap().iter().find(|check| check["id"] == "logs").cloned();
        logs.unwrap()
    };
    let refused = until("the log tells of the refusal", || {
        let logs = logs();
        (logs["status"] == "skip").then_some(logs)
    });
    let message = refused["message"].as_str().unwrap();
    assert!(message.starts_with("follows from permissions (the role lacks route53:ListHostedZones"), "{message}");
    let hint = broken(&sandbox, "", "permissions", &["the role may not", "route53:ListHostedZones"]);
    mended(&sandbox, &hint);

    // What nothing else shows: AWS refuses ExternalDNS, and only ExternalDNS.
    sandbox.fault(&json!({"service": "route53", "userAgent": "aws-sdk-go",
        "error": {"status": 400, "code": "Throttling", "message": "Rate exceeded"}}));
    let hint = broken(&sandbox, "", "logs", &["Route53 throttles"]);
    assert!(hint.contains("--interval 5m --extra-arg=--aws-zones-cache-duration=1h --approve"), "{hint}");
    sandbox.heal();
    holds(&sandbox);

    sandbox.run(&format!("{INSTALL} --extra-arg=--log-level=error --approve")).ok();
    let run = sandbox.run(&format!("{VERIFY} -o json")).ok();
    let skipped = with_status(&run.json(), "skip");
    assert_eq!(skipped.len(), 1, "{}", run.stdout);
    assert!(skipped[0]["message"].as_str().unwrap().contains("keeps back whether a synchronisation succeeded"));
}

#[test]
fn it_has_not_synchronised_yet() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "");
    sandbox.fault(&json!({"service": "route53", "userAgent": "aws-sdk-go", "hold": true}));
    sandbox.kube("DELETE", PODS, None);
    let hint = warned(&sandbox, "logs", &["hasn't synchronised yet"]);
    sandbox.heal();
    mended(&sandbox, &hint);
}

#[test]
fn a_healthy_installation_of_an_older_version_has_no_warning() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "--external-dns-version v0.21.0");
    add(&sandbox, &["--enable-legacy-annotation-prefix"]);
    let hint = broken(&sandbox, "", "arguments", &["needs ExternalDNS v0.23.0 or later, and this is v0.21.0"]);
    assert!(hint.contains("--external-dns-version v0.21.0"), "{hint}");
    mended(&sandbox, &hint);
    arguments(&sandbox, |words| words.retain(|word| !word.starts_with("--policy=")));
    let hint = warned(&sandbox, "arguments", &["v0.21.0 defaults to sync, which deletes records"]);
    assert!(hint.contains("--policy sync"), "{hint}");
}

/// The hint of a broken ClusterRole is the installation as it is: what was installed plans nothing after it.
#[test]
fn the_hint_repeats_the_installation_to_the_letter() {
    let sandbox = Sandbox::lease();
    let iam = sandbox.iam();
    let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "route53:*", "Resource": "*"},
        {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}]});
    for name in ["dns", "limit"] {
        wait(iam.create_policy().policy_name(name).policy_document(document.to_string()).send()).unwrap();
    }
    let options = [
        "--source service,ingress --exclude-domains internal.example.com --zone-id-filter Z0PUBLIC --policy sync \
         --txt-prefix x-%{record_type}. --aws-zone-type public --aws-prefer-cname --ingress-class alb,nginx \
         --legacy-annotations=false --extra-arg=--events --extra-arg=--log-format=json \
         --extra-arg=--no-aws-evaluate-target-health --extra-arg=--managed-record-types=A",
        "--external-dns-version v0.21.0 --source ingress --txt-suffix -x --annotation-prefix dns.example.com/ \
         --policy create-only",
        "--image mirror.example.com/external-dns:v0.23.0 --registry noop --annotation-prefix dns.example.com/ \
         --legacy-annotations --txt-owner-id mine",
        "--policy-name TeamDNS --role-name dns --role-path /team/ --permissions-boundary \
         arn:aws:iam::123456789012:policy/limit --tags team=dns --termination-protection",
        "--least-privilege",
        "--attach-policy-arn arn:aws:iam::123456789012:policy/dns",
    ];
    for (index, options) in options.into_iter().enumerate() {
        let name = format!("dns-{index}");
        let zone = crate::support::aws::PUBLIC_ZONE;
        let line = format!("{INSTALL} --name {name} {options} --approve").replace("Z0PUBLIC", zone);
        let mut words: Vec<_> = line.split_whitespace().collect();
        words.extend(["--label-filter", "tier in (web, api)", "--annotation-filter", "dns notin (off)"]);
        repeated(&sandbox, &name, &words);
    }
}

/// What a patch set is set by the hint, too; what may be a secret isn't told, and nothing is installed without it.
#[test]
fn the_hint_repeats_the_patch_of_the_installation() {
    let sandbox = Sandbox::lease();
    sandbox.create_namespace("external-dns");
    let secret = json!({"metadata": {"name": "key"}, "stringData": {"key": ";k&l)nUC/33:{?d{3)54+,AD?]SX%yh^"}});
    sandbox.create("/api/v1/namespaces/external-dns/secrets", &secret);
    let patch = "kind: Deployment
metadata: {annotations: {team: \"it's DNS\"}}
spec:
  template:
    metadata: {labels: {team: dns}}
    spec:
      tolerations: [{key: dns, operator: Exists}]
      nodeSelector: {kubernetes.io/os: linux}
      imagePullSecrets: [{name: pull}]
      priorityClassName: system-cluster-critical
      volumes: [{name: tmp, emptyDir: {}}]
      containers:
      - name: external-dns
        resources: {limits: {memory: 600Mi}, requests: {cpu: 10m}}
        volumeMounts: [{name: tmp, mountPath: /tmp}]
        env:
        - name: EXTERNAL_DNS_TXT_ENCRYPT_AES_KEY
          valueFrom: {secretKeyRef: {name: key, key: key}}
";
    let patch = sandbox.file("patch.yaml", patch);
    let line = format!("{INSTALL} --extra-arg=--txt-encrypt-enabled --patch {} --approve", patch.display());
    repeated(&sandbox, "external-dns", &line.split_whitespace().collect::<Vec<_>>());

    let token = "kind: Deployment\nspec: {template: {spec: {containers: [{name: external-dns, env: [\
                 {name: ANYTHING, value: t0ps3cret}]}]}}}\n";
    let patch = sandbox.file("token.yaml", token);
    sandbox.run(&format!("{INSTALL} --patch {} --approve", patch.display())).ok();
    sandbox.delete(&format!("{RBAC}/clusterroles/external-dns"));
    let hint = broken(&sandbox, "", "rbac", &["may not list and watch"]);
    assert!(hint.contains("--patch '(the file that it was installed with: ") && !hint.contains("t0ps3cret"), "{hint}");
    let unshown = hint.split_once("--patch '").and_then(|(_, rest)| rest.split_once('\'')).unwrap().0;
    let words = ["install", "external-dns", "--cluster", "eksdemo1", "--patch", unshown, "--approve"];
    crate::support::Run::of(&mut sandbox.command(words)).exits(2).says(&[unshown]);
}

/// Installs, breaks the ClusterRole, follows the hint; installing again as at first plans nothing.
#[track_caller]
fn repeated(sandbox: &Sandbox, name: &str, words: &[&str]) {
    let run = |words: &[&str]| crate::support::Run::of(&mut sandbox.command(words));
    run(words).ok();
    sandbox.delete(&format!("{RBAC}/clusterroles/{name}"));
    let hint = broken(sandbox, &format!("--name {name}"), "rbac", &["may not list and watch"]);
    sandbox.forget_calls();
    sandbox.follow(&hint);
    assert_eq!(sandbox.writes(), [format!("patch clusterroles {name}")], "{hint}");
    let again: Vec<_> = words.iter().copied().filter(|word| *word != "--approve").collect();
    run(&again).ok().shows(&["Nothing to do"]);
    let collection = format!("{DEPLOYMENTS}/{name}");
    sandbox.delete(&collection);
}

#[test]
fn the_hint_keeps_a_role_that_others_made() {
    let sandbox = Sandbox::lease();
    let issuer = sandbox.fact("issuer").trim_start_matches("https://").to_owned();
    sandbox.run("utils associate-iam-oidc-provider --cluster eksdemo1 --approve").ok();
    let condition = json!({"StringEquals": {
        format!("{issuer}:aud"): "sts.amazonaws.com",
        format!("{issuer}:sub"): "system:serviceaccount:external-dns:external-dns"}});
    let provider = format!("arn:aws:iam::123456789012:oidc-provider/{issuer}");
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Federated": provider},
        "Action": "sts:AssumeRoleWithWebIdentity", "Condition": condition}]});
    sandbox.create_role_trusting("theirs", &trust);
    sandbox.attach("theirs", "arn:aws:iam::aws:policy/AmazonRoute53FullAccess");
    let line = format!("{INSTALL} --role-arn arn:aws:iam::123456789012:role/theirs --approve");
    repeated(&sandbox, "external-dns", &line.split_whitespace().collect::<Vec<_>>());
}
