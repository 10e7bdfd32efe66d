//! Bad input and bad circumstances in AWS: a clear error, nothing changed.

use std::collections::BTreeSet;

use aws_sdk_route53::types as dns;
use serde_json::{Value, json};

use crate::support::{RUNTIME, Run, Sandbox, irsactl, until};

pub const INSTALL: &str = "install external-dns --cluster eksdemo1 --domain-filter example.com --interval 3s";
const STACK: &str = "eksctl-eksdemo1-addon-iamserviceaccount-external-dns-external-dns";
const ACCOUNT: &str = "123456789012";
const CREATE: &str = "create iamserviceaccount --name app --cluster eksdemo1 --attach-policy-arn arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";

/// The flags that consent to what is refused without them.
const CONSENTS: &[&str] = &[
    "--abandon-records",
    "--adopt",
    "--allow-record-deletion",
    "--allow-shared-policy-change",
    "--force-conflicts",
    "--override-existing-serviceaccounts",
    "--take-over-records",
];

/// The error of an approved run that must have changed nothing. The hint about consent ends with the command to copy.
#[track_caller]
pub fn refused(sandbox: &Sandbox, line: &str, code: &str, parts: &[&str]) -> Run {
    let run = sandbox.run(&format!("{line} --approve -o json")).fails(code, parts);
    assert_eq!(sandbox.writes(), [""; 0], "{line}");
    for flag in parts.iter().filter(|part| CONSENTS.contains(part)) {
        let hint = run.error()["hint"].as_str().unwrap().to_owned();
        let region = sandbox.fact("region");
        assert!(hint.ends_with(&format!("irsactl {line} --approve -o json --region {region} {flag}")), "{hint}");
    }
    run
}

fn iam(sandbox: &Sandbox) -> aws_sdk_iam::Client {
    aws_sdk_iam::Client::new(&sandbox.aws())
}

fn route53(sandbox: &Sandbox) -> aws_sdk_route53::Client {
    aws_sdk_route53::Client::new(&sandbox.aws())
}

/// The id of the zone example.com.
fn zone_id(sandbox: &Sandbox) -> String {
    let zones = RUNTIME.block_on(route53(sandbox).list_hosted_zones().send()).unwrap();
    zones.hosted_zones()[0].id().trim_start_matches("/hostedzone/").to_owned()
}

fn create_zone(sandbox: &Sandbox, name: &str, vpc: Option<&str>) {
    let mut request = route53(sandbox).create_hosted_zone().name(name).caller_reference(format!("{name}{vpc:?}"));
    if let Some(vpc) = vpc {
        let vpc = dns::Vpc::builder().vpc_id(vpc).vpc_region(dns::VpcRegion::UsWest2).build();
        request = request.vpc(vpc).hosted_zone_config(dns::HostedZoneConfig::builder().private_zone(true).build());
    }
    RUNTIME.block_on(request.send()).unwrap();
}

/// A record of ExternalDNS, with the TXT record that says whose it is.
fn create_owned_record(sandbox: &Sandbox, host: &str, owner: &str, resource: &str) {
    let set = |name: String, kind: dns::RrType, value: String| {
        let record = dns::ResourceRecord::builder().value(value).build().unwrap();
        let set = dns::ResourceRecordSet::builder()
            .name(name)
            .r#type(kind)
            .ttl(300)
            .resource_records(record)
            .build()
            .unwrap();
        dns::Change::builder().action(dns::ChangeAction::Create).resource_record_set(set).build().unwrap()
    };
    let heritage = format!("\"heritage=external-dns,external-dns/owner={owner},external-dns/resource={resource}\"");
    let changes = dns::ChangeBatch::builder()
        .changes(set(host.to_owned(), dns::RrType::A, "192.0.2.1".to_owned()))
        .changes(set(format!("a-{host}"), dns::RrType::Txt, heritage))
        .build()
        .unwrap();
    let request = route53(sandbox).change_resource_record_sets().hosted_zone_id(zone_id(sandbox)).change_batch(changes);
    RUNTIME.block_on(request.send()).unwrap();
}

/// A role whose trust policy lets a service account of the cluster in.
fn create_role(sandbox: &Sandbox, name: &str, subject: &str) -> String {
    let issuer = sandbox.fact("issuer").trim_start_matches("https://");
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}")},
        "Condition": {"StringEquals": {format!("{issuer}:sub"): subject, format!("{issuer}:aud"): "sts.amazonaws.com"}},
    }]});
    let request = iam(sandbox).create_role().role_name(name).assume_role_policy_document(trust.to_string());
    RUNTIME.block_on(request.send()).unwrap().role.unwrap().arn
}

fn create_policy(sandbox: &Sandbox, name: &str, actions: &Value) -> String {
    let document =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]});
    let request = iam(sandbox).create_policy().policy_name(name).policy_document(document.to_string());
    RUNTIME.block_on(request.send()).unwrap().policy.unwrap().arn.unwrap()
}

#[test]
fn a_cluster_that_is_not_there_or_not_ready() {
    let sandbox = Sandbox::lease();
    for command in ["install external-dns", "create iamserviceaccount --name app --attach-policy-arn policy/x"] {
        let line = format!("{command} --cluster nope");
        refused(&sandbox, &line, "cluster-not-found", &["no EKS cluster nope in us-west-2", "eksdemo1"]);
    }
    for status in ["CREATING", "FAILED", "DELETING"] {
        sandbox.aws_control("/_sandbox/cluster-status", &json!({"name": "eksdemo1", "status": status}));
        let said = format!("cluster eksdemo1 is {status}");
        for line in [INSTALL, CREATE] {
            refused(&sandbox, line, "cluster-not-active", &[&said, "aws eks ", "--name eksdemo1 --region us-west-2"]);
        }
    }
}

#[test]
fn credentials_that_aws_does_not_accept() {
    let sandbox = Sandbox::lease();
    for code in ["ExpiredToken", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"] {
        sandbox.fault(&json!({"error": {"status": 403, "code": code, "message": "The security token is bad\nSECRET"}}));
        for line in [INSTALL, CREATE] {
            let run = refused(&sandbox, line, "expired-credentials", &[code, "AWS doesn't accept the credentials"]);
            assert!(run.error()["hint"].is_string() && !run.stderr.contains("SECRET"), "{}", run.stderr);
        }
        sandbox.heal();
    }
}

/// Every action that a command line needs of its caller, those of CloudFormation in the caller's name included.
fn actions_of(line: &str) -> BTreeSet<String> {
    let sandbox = Sandbox::lease();
    sandbox.run(&format!("{line} --approve")).ok();
    let everybodys = ["sts:GetCallerIdentity", "sts:AssumeRoleWithWebIdentity"];
    let called = sandbox.aws_calls().into_iter().filter(|call| !everybodys.contains(&call.as_str()));
    called.chain(IN_STACK.iter().map(ToString::to_string)).collect()
}

const IN_STACK: [&str; 2] = ["iam:CreateRole", "iam:AttachRolePolicy"];

/// What tells lacking rights before the first write; without it, the write itself does.
const FORESIGHT: &str = "iam:SimulatePrincipalPolicy";

/// Denies each action in turn: the error names it, and once it is allowed, the next run finishes. `informing` ones may be
/// denied: a warning names them.
fn denies_each_action(line: &str, informing: &[&str]) {
    let line = format!("{line} --approve");
    let actions = actions_of(&line.replace(" --approve", ""));
    assert!(actions.contains("cloudformation:CreateStack") && actions.contains("eks:DescribeCluster"), "{actions:?}");
    for action in actions.iter().map(String::as_str) {
        let sandbox = Sandbox::lease();
        sandbox.fault(&json!({"deny": action, "userAgent": "irsactl/"}));
        let run = sandbox.run(&format!("{line} -o json"));
        if action == FORESIGHT {
            run.ok();
            continue;
        }
        if informing.contains(&action) {
            run.ok().says(&["warning:", action]);
            continue;
        }
        let run = run.fails(if IN_STACK.contains(&action) { "stack-failed" } else { "access-denied" }, &[action]);
        assert!(run.error()["hint"].as_str().unwrap().contains(action), "{action}: {}", run.stderr);
        if sandbox.writes().is_empty() {
            assert_eq!(run.stdout, "", "{action}");
            continue;
        }
        let steps = run.json()["steps"].as_array().unwrap().clone();
        assert!(steps.iter().any(|step| step["result"] == "failed" && step["error"].is_string()), "{action}");
        sandbox.heal();
        sandbox.run(&line).ok().shows(&["role ARN: "]);
    }
}

#[test]
fn a_right_that_an_installation_lacks_is_named() {
    let informing =
        ["eks:ListPodIdentityAssociations", "eks:DescribeAddon", "eks:TagResource", "route53:ListResourceRecordSets"];
    denies_each_action(INSTALL, &informing);
}

#[test]
fn a_right_that_a_service_account_lacks_is_named() {
    denies_each_action(CREATE, &["eks:TagResource", "iam:GetPolicy"]);
}

#[test]
fn options_of_another_version_are_refused_before_any_call() {
    for (flags, said) in [
        ("--external-dns-version v0.21.0 --legacy-annotations", "v0.23"),
        ("--external-dns-version v0.19.0 --annotation-prefix dns.example.com/", "v0.20"),
        ("--external-dns-version v0.20.0 --source unstructured", "v0.21"),
        ("--external-dns-version v0.13.0", "v0.14"),
        ("--extra-arg=--nonsense", "--extra-arg=--nonsense"),
    ] {
        let line = format!("install external-dns --cluster c --region us-west-2 {flags}");
        let run = Run::of(&mut irsactl(line.split_whitespace())).exits(2).says(&[said]);
        assert_eq!(run.stdout, "", "{line}");
    }
}

#[test]
fn what_a_refused_run_has_done_is_said() {
    let sandbox = Sandbox::lease();
    sandbox.fault(&json!({"deny": "cloudformation:CreateStack"}));
    let run = sandbox.run(&format!("{INSTALL} --approve")).exits(1).says(&[
        "cloudformation:CreateStack",
        "done: ",
        "Policy AllowExternalDNSUpdates",
        &format!("failed: Stack {STACK}"),
        "not reached: ServiceAccount external-dns/external-dns",
        "hint: ",
    ]);
    assert!(!run.stdout.contains("DNS works"));
    sandbox.heal();
    sandbox.run(&format!("{INSTALL} --approve")).ok().shows(&["DNS works"]);
}

#[test]
fn policies_that_do_not_exist() {
    let sandbox = Sandbox::lease();
    let no = "arn:aws:iam::123456789012:policy/no";
    for (line, named) in [
        (format!("{INSTALL} --attach-policy-arn policy/no"), "--attach-policy-arn"),
        (format!("{INSTALL} --permissions-boundary {no}"), "--permissions-boundary"),
        (format!("{CREATE},policy/no"), "--attach-policy-arn"),
        (format!("{CREATE} --permissions-boundary {no}"), "--permissions-boundary"),
    ] {
        refused(&sandbox, &line, "not-found", &[named, no, "aws iam list-policies"]);
    }
}

#[test]
fn zones_that_do_not_match() {
    let sandbox = Sandbox::lease();
    let install = "install external-dns --cluster eksdemo1 --interval 3s";
    let missing = format!("{install} --zone-id-filter ZNOSUCHZONE");
    refused(&sandbox, &missing, "zone-not-found", &["ZNOSUCHZONE", "aws route53 list-hosted-zones"]);
    let elsewhere = "--aws-assume-role arn:aws:iam::111122223333:role/dns";
    sandbox.run(&format!("{missing} {elsewhere}")).ok().shows(&["another account"]);
    let none = format!("{install} --domain-filter example.org");
    refused(&sandbox, &format!("{none} --least-privilege"), "zone-not-found", &["--least-privilege"]);
    create_zone(&sandbox, "xn--mnchen-3ya.de", None);
    sandbox.run(&format!("{install} --domain-filter münchen.de --least-privilege")).ok();

    create_zone(&sandbox, "example.com", Some("vpc-0a1b2c3d"));
    let twins = ["several hosted zones named example.com", "--aws-zone-type"];
    refused(&sandbox, INSTALL, "zone-ambiguous", &twins);
    sandbox.run(&format!("{INSTALL} --aws-zone-type public")).ok();
    // Whether tags tell them apart isn't known.
    sandbox.run(&format!("{INSTALL} --extra-arg=--aws-zone-tags=team=dns")).ok().shows(&["unless --aws-zone-tags"]);
    let named = format!("--zone-id-filter {} --least-privilege", zone_id(&sandbox));
    sandbox.run(&format!("{install} {named} --extra-arg=--aws-zone-tags=team=dns")).ok();
    sandbox.run(&format!("{install} --zone-id-filter {}", zone_id(&sandbox))).ok();

    let run = sandbox.run(&format!("{none} --approve")).ok().shows(&["no hosted zone matches"]);
    assert!(!run.stdout.contains("DNS works"), "{}", run.stdout);
    let again = sandbox.run(&format!("{none} --approve")).ok().shows(&["Nothing to do", "no hosted zone matches"]);
    assert!(!again.stdout.contains("DNS works"), "{}", again.stdout);
}

#[test]
fn a_pod_identity_association_is_refused_with_the_command_that_removes_it() {
    let sandbox = Sandbox::lease();
    let eks = aws_sdk_eks::Client::new(&sandbox.aws());
    let role = create_role(&sandbox, "other", "x");
    let request = eks
        .create_pod_identity_association()
        .cluster_name("eksdemo1")
        .namespace("external-dns")
        .service_account("external-dns")
        .role_arn(role);
    let association = RUNTIME.block_on(request.send()).unwrap().association.unwrap();
    let id = association.association_id.unwrap();
    let command = format!(
        "aws eks delete-pod-identity-association --cluster-name eksdemo1 --association-id {id} --region us-west-2"
    );
    refused(&sandbox, INSTALL, "pod-identity", &["external-dns/external-dns", &command]);
    let delete = eks.delete_pod_identity_association().cluster_name("eksdemo1").association_id(id);
    RUNTIME.block_on(delete.send()).unwrap();
    sandbox.run(INSTALL).ok();
}

#[test]
fn the_eks_add_on_is_another_installation() {
    let sandbox = Sandbox::lease();
    let eks = aws_sdk_eks::Client::new(&sandbox.aws());
    RUNTIME.block_on(eks.create_addon().cluster_name("eksdemo1").addon_name("external-dns").send()).unwrap();
    let command = "aws eks delete-addon --cluster-name eksdemo1 --addon-name external-dns --region us-west-2";
    refused(&sandbox, INSTALL, "foreign-installation", &["EKS add-on external-dns", command]);
    refused(&sandbox, &format!("{INSTALL} --adopt"), "foreign-installation", &["EKS add-on external-dns", command]);
    sandbox.run(&format!("{INSTALL} --name private")).ok();
}

#[test]
fn a_role_name_that_is_taken() {
    let sandbox = Sandbox::lease();
    create_role(&sandbox, "dns", "x");
    for line in [INSTALL, CREATE] {
        refused(&sandbox, &format!("{line} --role-name dns"), "already-exists", &["dns", "--role-arn"]);
    }
}

#[test]
fn a_role_of_others_must_be_there_and_trust_the_service_account() {
    let sandbox = Sandbox::lease();
    let install = |arn: &str| format!("{INSTALL} --role-arn {arn}");
    let no = format!("arn:aws:iam::{ACCOUNT}:role/no");
    refused(&sandbox, &install(&no), "not-found", &[&no, "aws iam list-roles"]);
    let other = create_role(&sandbox, "other", "system:serviceaccount:default:other");
    let said = ["other", "external-dns/external-dns", "irsactl render trust-policy --namespace external-dns"];
    refused(&sandbox, &install(&other), "role-not-usable", &said);
    let create = format!("create iamserviceaccount --name app --cluster eksdemo1 --attach-role-arn {other}");
    refused(&sandbox, &create, "role-not-usable", &["default/app"]);
    let elsewhere = "arn:aws:iam::111122223333:role/dns";
    sandbox.run(&install(elsewhere)).ok().says(&["warning:", "another account"]);

    let fits = create_role(&sandbox, "fits", "system:serviceaccount:external-dns:external-dns");
    let policy = create_policy(&sandbox, "dns", &json!("route53:*"));
    let attach = iam(&sandbox).attach_role_policy().role_name("fits").policy_arn(policy);
    RUNTIME.block_on(attach.send()).unwrap();
    sandbox.run(&format!("{} --approve", install(&fits))).ok().shows(&["DNS works", &fits]);
    let written = sandbox.aws_writes();
    assert!(!written.iter().any(|call| call.contains("Role") || call.contains("Stack")), "{written:?}");
}

#[test]
fn a_policy_that_others_use_is_not_changed() {
    let sandbox = Sandbox::lease();
    let policy = create_policy(&sandbox, "AllowExternalDNSUpdates", &json!("route53:ListHostedZones"));
    create_role(&sandbox, "other", "x");
    let attach = iam(&sandbox).attach_role_policy().role_name("other").policy_arn(&policy);
    RUNTIME.block_on(attach.send()).unwrap();
    let said = ["AllowExternalDNSUpdates", "role/other", "--allow-shared-policy-change"];
    refused(&sandbox, INSTALL, "policy-in-use", &said);
    sandbox.fault(&json!({"deny": "iam:ListEntitiesForPolicy"}));
    refused(&sandbox, INSTALL, "policy-in-use", &["can't be read", "--allow-shared-policy-change"]);
    sandbox.heal();
    let plan = sandbox.run(&format!("{INSTALL} --allow-shared-policy-change -o json")).ok();
    assert!(plan.changes().contains(&"update Policy AllowExternalDNSUpdates".to_owned()), "{}", plan.stdout);
}

#[test]
fn records_of_an_owner_id_are_not_taken_over_by_accident() {
    let sandbox = Sandbox::lease();
    create_owned_record(&sandbox, "shop.example.com", "team-a", "ingress/default/shop");
    let chosen = format!("{INSTALL} --txt-owner-id team-a");
    let said = ["team-a", "shop.example.com A", "--take-over-records"];
    refused(&sandbox, &chosen, "records-at-risk", &said);
    sandbox.run(&format!("{chosen} --take-over-records")).ok().shows(&["shop.example.com"]);
    sandbox.fault(&json!({"deny": "route53:ListResourceRecordSets"}));
    refused(&sandbox, &chosen, "records-at-risk", &["team-a", "can't be read"]);
    sandbox.heal();
    sandbox.create_ingress("shop", "shop.example.com");
    sandbox.run(&chosen).ok().shows(&["it takes over the records"]);
    // The derived id is the cluster's own, from before it was made anew.
    let role = format!("arn:aws:iam::{ACCOUNT}:role/x");
    let manifest = sandbox.run(&format!("render manifest --cluster eksdemo1 --role-arn {role}")).ok().stdout;
    let owner = manifest.split("--txt-owner-id=").nth(1).unwrap().split_whitespace().next().unwrap();
    create_owned_record(&sandbox, "old.example.com", owner, "ingress/default/old");
    sandbox.run(INSTALL).ok().shows(&["it takes over the records", "old.example.com A"]);
}

/// Starts a run and sends it signals once it waits for what doesn't come.
fn interrupt(sandbox: &Sandbox, line: &str, waits: fn(&Sandbox) -> bool, signals: &[&str]) -> Run {
    let run = Run::start(sandbox.command(line.split_whitespace()));
    until("it waits", || waits(sandbox).then_some(()));
    for signal in signals {
        let id = run.process.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, id.as_str()]).status().unwrap().success());
        // Two at the same time count as one.
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    run.end()
}

fn for_the_stack(sandbox: &Sandbox) -> bool {
    sandbox.stack_status(STACK) == "CREATE_IN_PROGRESS"
}

fn for_a_call(sandbox: &Sandbox) -> bool {
    sandbox.faults().iter().any(|rule| rule["held"].as_u64() > Some(0))
}

#[test]
fn an_interrupted_run_says_what_is_done_and_the_next_one_finishes() {
    for signals in [&["-INT"][..], &["-TERM"], &["-INT", "-INT"]] {
        let sandbox = Sandbox::lease();
        sandbox.slow_stacks();
        let run = interrupt(&sandbox, &format!("{INSTALL} --approve"), for_the_stack, signals).exits(130);
        if signals.len() == 1 {
            run.says(&[
                "interrupted",
                "done: ",
                "Policy AllowExternalDNSUpdates",
                &format!("Stack {STACK}"),
                "not reached: ",
                "Deployment external-dns/external-dns",
                "hint: run the same command again",
            ]);
        }
        sandbox.run_waiting(&format!("{INSTALL} --approve")).ok().shows(&["DNS works"]);
    }
}

#[test]
fn an_interrupted_run_prints_its_document() {
    let sandbox = Sandbox::lease();
    sandbox.slow_stacks();
    let line = format!("{INSTALL} --approve -o json");
    let run = interrupt(&sandbox, &line, for_the_stack, &["-INT"]).exits(130);
    assert_eq!(run.error()["code"], "interrupted");
    let plan = run.json();
    let result = |kind: &str| {
        plan["steps"].as_array().unwrap().iter().find(|step| step["kind"] == kind).unwrap()["result"].clone()
    };
    assert_eq!(
        (result("Policy"), result("Stack"), result("Deployment")),
        (json!("done"), json!("unfinished"), json!("skipped"))
    );
}

#[test]
fn an_interruption_while_reading_or_waiting_for_pods_ends_at_once_too() {
    let sandbox = Sandbox::lease();
    sandbox.fault(&json!({"action": "DescribeCluster", "hold": true}));
    let run = interrupt(&sandbox, &format!("{INSTALL} --approve -o json"), for_a_call, &["-INT"]);
    assert_eq!(run.exits(130).error()["code"], "interrupted");
    assert_eq!(sandbox.writes(), [""; 0]);
    sandbox.heal();
    // The proof lists the zones, the pod afterwards does it slowly.
    sandbox.fault(&json!({"service": "route53", "userAgent": "aws-sdk-go", "hold": true}));
    sandbox.forget_calls();
    let line = format!("{INSTALL} --approve");
    let run = interrupt(&sandbox, &line, for_a_call, &["-INT"]).exits(130);
    run.says(&["✔ created Deployment external-dns/external-dns", "interrupted", "hint: run the same command again"]);
    sandbox.run(&format!("{line} --timeout 2s -o json")).fails("timeout", &["--timeout"]);
    sandbox.heal();
    sandbox.run(&line).ok().shows(&["DNS works"]);
}

#[test]
fn credentials_that_expire_in_the_middle() {
    let sandbox = Sandbox::lease();
    let expired = json!({"status": 403, "code": "ExpiredToken", "message": "The security token included is expired"});
    sandbox.fault(&json!({"action": "CreateStack", "error": expired}));
    let line = format!("{INSTALL} --approve");
    sandbox.run(&line).exits(1).says(&["ExpiredToken", "done: ", "failed: Stack", "not reached: ", "hint: "]);
    sandbox.heal();
    sandbox.run(&line).ok().shows(&["DNS works"]);
}

#[test]
fn the_rights_that_a_repair_lacks_are_named() {
    let sandbox = Sandbox::lease();
    sandbox.run(&format!("{INSTALL} --aws-only --approve")).ok();
    let line = format!("{INSTALL} --aws-only");
    let role = sandbox.run(&format!("{line} -o json")).ok().json()["outputs"]["roleARN"].as_str().unwrap().to_owned();
    let role = role.rsplit('/').next().unwrap();
    let policy = format!("arn:aws:iam::{ACCOUNT}:policy/AllowExternalDNSUpdates");
    let nothing = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]});
    let nobody = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Action": "sts:AssumeRole", "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")},
    }]});
    let (nothing, nobody) = (nothing.to_string(), nobody.to_string());
    let iam = iam(&sandbox);
    RUNTIME.block_on(async {
        iam.detach_role_policy().role_name(role).policy_arn(&policy).send().await.unwrap();
        iam.update_assume_role_policy().role_name(role).policy_document(&nobody).send().await.unwrap();
        let version = iam.create_policy_version().policy_arn(&policy).policy_document(&nothing).set_as_default(true);
        version.send().await.unwrap();
    });
    // What needs nothing of another is tried all the same: one run names all that is missing.
    for actions in [&["iam:CreatePolicyVersion"][..], &["iam:AttachRolePolicy", "iam:UpdateAssumeRolePolicy"]] {
        for action in actions {
            sandbox.fault(&json!({"deny": action}));
        }
        sandbox.run(&format!("{line} --approve -o json")).fails("access-denied", actions);
        sandbox.heal();
    }
    sandbox.run(&format!("{line} --approve")).ok().shows(&["role ARN: "]);
    for action in
        ["cloudformation:CreateChangeSet", "cloudformation:DescribeChangeSet", "cloudformation:ExecuteChangeSet"]
    {
        sandbox.fault(&json!({"deny": action}));
        sandbox.run(&format!("{line} --tags team=a --approve -o json")).fails("access-denied", &[action]);
        sandbox.heal();
    }
    sandbox.run(&format!("{line} --tags team=a --approve")).ok();
    sandbox.run(&format!("{line} --tags team=a")).ok().shows(&["Nothing to do"]);
}

#[test]
fn a_call_that_aws_does_not_answer_well_ends_with_the_time() {
    let sandbox = Sandbox::lease();
    for effect in [
        json!({"error": {"status": 400, "code": "Throttling", "message": "Rate exceeded"}}),
        json!({"error": {"status": 500, "code": "InternalFailure", "message": "oh"}}),
        json!({"hold": true}),
    ] {
        let mut rule = effect;
        rule["action"] = json!("DescribeStacks");
        sandbox.fault(&rule);
        refused(&sandbox, &format!("{INSTALL} --timeout 15s"), "timeout", &["15s", "cloudformation:DescribeStacks"]);
        sandbox.heal();
    }
    sandbox.fault(&json!({"action": "GetCallerIdentity", "drop": true}));
    refused(&sandbox, INSTALL, "aws", &["sts:GetCallerIdentity", "no connection to 127.0.0.1", "AWS_ENDPOINT_URL"]);
}

#[test]
fn a_timeout_that_is_too_short() {
    let sandbox = Sandbox::lease();
    sandbox.slow_stacks();
    let line = format!("{INSTALL} --approve");
    let run = sandbox.run(&format!("{line} --timeout 30s -o json")).fails("timeout", &["30s", "--timeout"]);
    assert!(run.json()["steps"].as_array().unwrap().iter().any(|step| step["result"] == "skipped"), "{}", run.stdout);
    sandbox.run_waiting(&line).ok().shows(&["DNS works"]);
}

#[test]
fn no_secret_is_ever_printed() {
    let sandbox = Sandbox::lease();
    let denied = json!({"service": "cloudformation", "times": 1, "error": {"status": 403, "code": "AccessDenied", "message": "no"}});
    sandbox.fault(&denied);
    let kubeconfig = std::fs::read_to_string(sandbox.fact("kubeconfig")).unwrap();
    let token = kubeconfig.split("token:").nth(1).unwrap().split(['"', ' ', '\n', '}']).find(|word| !word.is_empty());
    let file = sandbox.file("kubeconfig", &kubeconfig);
    let secret = sandbox.fact("adminSecret");
    for flags in ["--approve", "--approve -o json", "", &format!("--kubeconfig {}", file.display())] {
        let line = format!("{INSTALL} -vvv {flags}");
        let run = sandbox.run(&line);
        let printed = run.stdout + &run.stderr;
        for secret in
            [secret, token.unwrap(), "k8s-aws-v1.", "X-Amz-Signature", "X-Amz-Security-Token", "eyJ", "Bearer"]
        {
            let place =
                printed.find(secret).map(|at| printed[at.saturating_sub(200)..].chars().take(300).collect::<String>());
            assert_eq!(place, None, "{secret} in the output of {line}");
        }
    }
}

#[test]
fn a_live_installation_does_not_lose_records_by_accident() {
    let sandbox = Sandbox::lease();
    sandbox.run(&format!("{INSTALL} --approve --txt-owner-id mine")).ok();
    create_owned_record(&sandbox, "old.example.com", "mine", "ingress/default/old");
    sandbox.forget_calls();
    for (flags, consent) in [
        ("--policy sync", "--allow-record-deletion"),
        ("--txt-owner-id other", "--abandon-records"),
        ("--txt-prefix dns-", "--abandon-records"),
        ("--txt-suffix -dns", "--abandon-records"),
        ("--registry noop", "--abandon-records"),
    ] {
        let line = format!("{INSTALL} {flags}");
        refused(&sandbox, &line, "records-at-risk", &["old.example.com A", consent, flags.split(' ').next().unwrap()]);
        sandbox.run(&format!("{line} {consent}")).ok().shows(&["old.example.com A", "~ Deployment"]);
    }
    // What can't be read counts as being there.
    sandbox.fault(&json!({"deny": "route53:ListResourceRecordSets"}));
    refused(&sandbox, &format!("{INSTALL} --policy sync"), "records-at-risk", &["can't be read"]);
    sandbox.heal();
    // Without flags the identity stays.
    sandbox.run(&format!("{INSTALL} --approve")).ok().shows(&["Nothing to do"]);
    assert_eq!(sandbox.writes(), [""; 0]);

    // Where everything that it owns is asked for, nothing is at stake.
    sandbox.create_ingress("old", "old.example.com");
    sandbox.run(&format!("{INSTALL} --policy sync --approve")).ok().shows(&["DNS works"]);
    sandbox.forget_calls();
    // What is outside of the domain filter isn't looked at any more: it stays.
    sandbox.run("install external-dns --cluster eksdemo1 --domain-filter sub.example.com --policy sync").ok();
    let fewer = format!("{INSTALL} --policy sync --source service");
    refused(&sandbox, &fewer, "records-at-risk", &["--source", "old.example.com A"]);
    let prefix = format!("{INSTALL} --policy sync --legacy-annotations=false");
    sandbox.run(&prefix).ok();
}
