//! What a careless run could destroy: DNS records, another installation's rights, others' policies.

use aws_sdk_route53::types::{Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType};
use serde_json::json;

use crate::support::aws::wait;
use crate::support::{Sandbox, until};

const INSTALL: &str = "install external-dns --cluster eksdemo1 --interval 3s";
const RECORDS: [&str; 2] = ["app.example.com A", "app.example.com AAAA"];

/// How many records the zone holds beside its own.
fn records(sandbox: &Sandbox) -> usize {
    let route53 = aws_sdk_route53::Client::new(&sandbox.aws());
    let zones = wait(route53.list_hosted_zones().send()).unwrap();
    let zone = zones.hosted_zones().iter().find(|zone| zone.name() == "example.com.").unwrap().id().to_owned();
    let sets = wait(route53.list_resource_record_sets().hosted_zone_id(zone).send()).unwrap();
    sets.resource_record_sets().iter().filter(|set| set.name() != "example.com.").count()
}

/// An installation with these flags that has written its records.
fn installed(flags: &str) -> Sandbox {
    let sandbox = Sandbox::lease();
    sandbox.create_ingress("web", "app.example.com");
    sandbox.run(&format!("{INSTALL} {flags} --approve")).ok();
    until("4 records", || (records(&sandbox) == 4).then_some(()));
    sandbox
}

/// The plan is refused, names the records and the flag, and nothing is written.
#[track_caller]
fn refused(sandbox: &Sandbox, line: &str) {
    sandbox.forget_calls();
    let run = sandbox.run(&format!("{line} --approve")).exits(1).says(&RECORDS).says(&["--allow-record-deletion"]);
    assert_eq!(sandbox.writes(), [""; 0], "{}", run.stderr);
    assert_eq!(records(sandbox), 4);
}

#[test]
fn arguments_that_make_sync_delete_records_need_consent() {
    let sandbox = installed("--domain-filter example.com --policy sync");
    let line = format!("{INSTALL} --domain-filter example.com --policy sync");
    for flags in [
        "--extra-arg=--namespace=foo",
        "--extra-arg=--target-net-filter=10.0.0.0/8",
        "--extra-arg=--ignore-ingress-rules-spec",
        "--aws-prefer-cname",
    ] {
        refused(&sandbox, &format!("{line} {flags}"));
    }
    sandbox.run(&format!("{line} --extra-arg=--log-level=debug --extra-arg=--events")).ok();
    sandbox.run(&format!("{INSTALL} --domain-filter example.com --extra-arg=--namespace=foo")).ok();
    let patch = "kind: Deployment\nspec: {template: {spec: {containers: [{name: external-dns, env: [{name: EXTERNAL_DNS_LABEL_FILTER, value: a=b}]}]}}}\n";
    let patch = sandbox.file("patch.yaml", patch);
    sandbox.run(&format!("{line} --patch {}", patch.display())).exits(2).says(&["EXTERNAL_DNS_LABEL_FILTER"]);
}

#[test]
fn records_inside_a_new_filter_count_and_those_of_an_earlier_installation() {
    let sandbox = installed("--domain-filter example.com --policy sync");
    sandbox.run(&format!("{INSTALL} --domain-filter example.org --policy sync --approve")).ok();
    refused(&sandbox, &format!("{INSTALL} --domain-filter example.com --policy sync --label-filter a=b"));

    sandbox.run("uninstall external-dns --cluster eksdemo1 --approve").ok();
    assert!(sandbox.kube("GET", "/api/v1/namespaces/external-dns", None).is_none(), "it is gone when it is said to be");
    refused(&sandbox, &format!("{INSTALL} --domain-filter example.com --policy sync --label-filter a=b"));
    sandbox.run(&format!("{INSTALL} --domain-filter example.com --policy sync --approve")).ok().shows(&["takes over"]);
    assert_eq!(records(&sandbox), 4);
}

#[test]
fn records_whose_txts_would_not_be_found_are_not_abandoned_without_consent() {
    let sandbox = Sandbox::lease();
    sandbox.create_ingress("web", "app.example.com");
    sandbox.create_ingress("any", "*.example.com");
    let line = format!("{INSTALL} --domain-filter example.com");
    sandbox.run(&format!("{line} --extra-arg=--txt-wildcard-replacement=wild --approve")).ok();
    until("8 records", || (records(&sandbox) == 8).then_some(()));
    // What isn't named stays.
    sandbox.run(&line).ok().shows(&["Nothing to do"]);
    sandbox.forget_calls();
    let refused = |flags: &str, said: &str| {
        let run = sandbox.run(&format!("{line} {flags} --approve")).exits(1).says(&[said, "--abandon-records"]);
        run.stderr
    };
    let other = "--txt-wildcard-replacement wild → other would leave records of";
    let names = refused("--extra-arg=--txt-wildcard-replacement=other", other);
    assert!(names.contains("*.example.com A, *.example.com AAAA") && !names.contains("app.example.com"), "{names}");
    refused("--extra-arg=--txt-wildcard-replacement=", "--txt-wildcard-replacement wild → (none)");
    // The TXT record of an ALIAS is looked for under another name; those of AAAA records under the same.
    let names = refused("--external-dns-version 0.21.0", "--external-dns-version v0.23.0 → v0.21.0 would leave");
    assert!(names.contains("app.example.com A") && !names.contains("AAAA"), "{names}");
    assert_eq!(sandbox.writes(), [""; 0]);
    sandbox.run(&format!("{line} --external-dns-version 0.21.0 --abandon-records")).ok().shows(&["app.example.com A"]);
    sandbox.run(&format!("{line} --external-dns-version 0.22.0")).ok();
}

#[test]
fn hosts_that_can_not_be_owned_are_told_before_there_are_records() {
    let sandbox = Sandbox::lease();
    sandbox.create_ingress("apex", "example.com");
    let line = format!("{INSTALL} --domain-filter example.com");
    sandbox.run(&line).ok().shows(&["example.com (a-example.com isn't in zone example.com", "--txt-prefix"]);
    let plan = sandbox.run(&format!("{line} --txt-prefix extdns-%{{record_type}}.")).ok();
    assert!(!plan.stdout.contains("can't own"), "{}", plan.stdout);
}

#[test]
fn records_that_are_there_are_not_written_over_without_consent() {
    let sandbox = Sandbox::lease();
    sandbox.create_ingress("web", "app.example.com");
    let route53 = aws_sdk_route53::Client::new(&sandbox.aws());
    let zone = wait(route53.list_hosted_zones().send()).unwrap().hosted_zones()[0].id().to_owned();
    let value = ResourceRecord::builder().value("192.0.2.7").build().unwrap();
    let set = ResourceRecordSet::builder().name("app.example.com").r#type(RrType::A).ttl(60).resource_records(value);
    let change = Change::builder().action(ChangeAction::Upsert).resource_record_set(set.build().unwrap()).build();
    let batch = ChangeBatch::builder().changes(change.unwrap()).build().unwrap();
    wait(route53.change_resource_record_sets().hosted_zone_id(zone).change_batch(batch).send()).unwrap();

    let line = format!("{INSTALL} --domain-filter example.com --registry noop --approve");
    sandbox.forget_calls();
    sandbox.run(&line).exits(1).says(&["app.example.com", "--take-over-records"]);
    assert_eq!(sandbox.writes(), [""; 0]);
    // With ownership, they stay as they are, and the plan says so.
    let owning = format!("{INSTALL} --domain-filter example.com");
    sandbox.run(&owning).ok().shows(&["stay as they are: app.example.com A (no owner)"]);
    sandbox.run(&format!("{line} --take-over-records")).ok();
}

#[test]
fn uninstall_in_the_wrong_namespace_takes_nothing_from_the_right_one() {
    let sandbox = Sandbox::lease();
    sandbox.run(&format!("{INSTALL} --domain-filter example.com --approve")).ok();
    sandbox.forget_calls();
    let line = "uninstall external-dns --cluster eksdemo1 --namespace typo --approve";
    sandbox.run(line).ok().shows(&["serve namespace external-dns", "Nothing to do"]);
    assert_eq!(sandbox.writes(), [""; 0]);
}

#[test]
fn dns_does_not_work_with_a_policy_that_only_reads() {
    let sandbox = Sandbox::lease();
    let document = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["route53:List*", "route53:Get*"], "Resource": "*"}]});
    let made = wait(sandbox.iam().create_policy().policy_name("read").policy_document(document.to_string()).send());
    let arn = made.unwrap().policy.unwrap().arn.unwrap();
    let line = format!("{INSTALL} --domain-filter example.com --attach-policy-arn {arn} --approve");
    let run = sandbox.run(&line).ok().shows(&["don't allow route53:ChangeResourceRecordSets"]);
    assert!(!run.stdout.contains("DNS works"), "{}", run.stdout);
}

#[test]
fn inline_policies_of_others_are_told_before_anything_is_deleted() {
    let sandbox = Sandbox::lease();
    let create = "create iamserviceaccount --cluster eksdemo1 --name app --role-name app --attach-policy-arn arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess --approve";
    sandbox.run(create).ok();
    let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    wait(sandbox.iam().put_role_policy().role_name("app").policy_name("theirs").policy_document(document).send())
        .unwrap();
    sandbox.forget_calls();
    for flags in ["", "--detach-foreign-policies"] {
        let line = format!("delete iamserviceaccount --cluster eksdemo1 --name app {flags} --approve");
        sandbox
            .run(&line)
            .exits(1)
            .says(&["theirs", "aws iam delete-role-policy --role-name app --policy-name theirs"]);
    }
    assert_eq!(sandbox.writes(), [""; 0]);
    sandbox.run(create).ok().shows(&["theirs (inline)"]);
}

#[test]
fn a_kubeconfig_that_is_not_there_is_an_error() {
    let sandbox = Sandbox::lease();
    sandbox.run("get iamserviceaccount --cluster eksdemo1 --kubeconfig /nonexistent").exits(2).says(&["/nonexistent"]);
}
