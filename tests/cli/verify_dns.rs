//! `verify external-dns` from the zones to the records: each sabotage is found where it is, and its hint mends it.

use aws_sdk_route53::types::HostedZoneConfig;
use serde_json::{Value, json};

use crate::support::aws::{change, wait};
use crate::support::{Run, Sandbox, until};

const INSTALL: &str = "install external-dns --cluster eksdemo1 --domain-filter example.com --interval 3s --approve";
const VERIFY: &str = "verify external-dns --cluster eksdemo1 --live=false -o json";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/external-dns/deployments/external-dns";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
const NOTHING: [&str; 0] = [];

/// The checks that have this status, as documents.
fn with_status(run: &Run, status: &str) -> Vec<Value> {
    let document = run.json();
    document["checks"].as_array().unwrap().iter().filter(|check| check["status"] == status).cloned().collect()
}

/// The one check with this status, which must have this id and say this; its hint.
#[track_caller]
fn only(run: &Run, status: &str, id: &str, parts: &[&str]) -> String {
    let found = with_status(run, status);
    assert_eq!(found.iter().map(|check| &check["id"]).collect::<Vec<_>>(), [id], "{}", run.stdout);
    let message = found[0]["message"].as_str().unwrap();
    assert!(parts.iter().all(|part| message.contains(part)), "not {parts:?}: {message}");
    found[0]["hint"].as_str().unwrap_or_default().to_owned()
}

/// One link is broken, once pods that were replaced have come up.
#[track_caller]
fn broken(sandbox: &Sandbox, id: &str, parts: &[&str]) -> String {
    let run = until("one link is broken", || {
        let run = sandbox.run(VERIFY);
        (with_status(&run, "fail").len() == 1).then_some(run)
    });
    only(&run.exits(4), "fail", id, parts)
}

/// One link deserves a look.
#[track_caller]
fn warned(sandbox: &Sandbox, id: &str, parts: &[&str]) -> String {
    let run = sandbox.run(VERIFY).ok();
    sandbox.run(&format!("{VERIFY} --strict")).exits(4);
    only(&run, "warn", id, parts)
}

/// Everything holds, without a warning; a synchronisation may be needed for it.
#[track_caller]
fn holds(sandbox: &Sandbox) -> Run {
    sandbox.run(&format!("{VERIFY} --strict --wait --timeout 60s")).ok()
}

fn record(name: &str, kind: &str, value: &str) -> Value {
    let set = json!({"Name": name, "Type": kind, "TTL": 60, "ResourceRecords": [{"Value": value}]});
    json!({"Action": "CREATE", "ResourceRecordSet": set})
}

fn txt(name: &str, owner: &str, resource: &str) -> Value {
    let value = format!("\"heritage=external-dns,external-dns/owner={owner},external-dns/resource={resource}\"");
    record(name, "TXT", &value)
}

fn create(sandbox: &Sandbox, records: &[Value]) {
    change(sandbox, &json!({"Changes": records}));
}

/// An installation that has made the record of an Ingress, and is verified from end to end; its owner id.
fn healthy(sandbox: &Sandbox) -> String {
    sandbox.run(INSTALL).ok();
    sandbox.create_ingress("web", "app.example.com");
    sandbox.run("verify external-dns --cluster eksdemo1 --hostname app.example.com --wait --strict --timeout 60s").ok();
    let args = sandbox.object(DEPLOYMENT)["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    let owner = args.as_array().unwrap().iter().find_map(|arg| arg.as_str()?.strip_prefix("--txt-owner-id="));
    owner.unwrap().to_owned()
}

#[test]
fn records_in_the_way_are_named_and_mended() {
    let sandbox = Sandbox::lease();
    healthy(&sandbox);
    sandbox.forget_calls();
    holds(&sandbox);
    assert_eq!(sandbox.writes(), NOTHING);

    create(&sandbox, &[record("hand.example.com", "A", "192.0.2.1")]);
    sandbox.create_ingress("hand", "hand.example.com");
    let hint = broken(&sandbox, "records", &["records of nobody", "hand.example.com A → 192.0.2.1"]);
    sandbox.follow(&hint);
    holds(&sandbox);

    create(&sandbox, &[record("cname.example.com", "CNAME", "old.example.net")]);
    sandbox.create_ingress("cname", "cname.example.com");
    let hint = broken(&sandbox, "records", &["cname.example.com CNAME → old.example.net", "has to be deleted"]);
    sandbox.follow(&hint);
    holds(&sandbox);

    create(&sandbox, &[txt("a-left.example.com", "other", "ingress/shop/web")]);
    sandbox.create_ingress("left", "left.example.com");
    // Either it is found before the record is made, or the record belongs to the other by then.
    let run = sandbox.run(VERIFY).exits(4);
    only(&run, "fail", "records", &["left.example.com", "other"]);
    sandbox.delete(&format!("{INGRESSES}/left"));
}

#[test]
fn records_of_others_and_of_nothing_are_told_apart() {
    let sandbox = Sandbox::lease();
    let owner = healthy(&sandbox);

    create(
        &sandbox,
        &[record("old.example.com", "A", "192.0.2.1"), txt("a-old.example.com", &owner, "ingress/default/old")],
    );
    let hint = warned(&sandbox, "records", &["nothing asks any more for old.example.com A of ingress/default/old"]);
    sandbox.follow(&hint);
    create(&sandbox, &[txt("a-ghost.example.com", &owner, "ingress/default/ghost")]);
    let hint = warned(&sandbox, "records", &["without their record: a-ghost.example.com"]);
    sandbox.follow(&hint);
    create(&sandbox, &[txt("cname-app.example.com", &owner, "ingress/default/web")]);
    // ExternalDNS may have logged it, too.
    let run = sandbox.run(VERIFY).ok();
    let found = with_status(&run, "warn").into_iter().find(|check| check["id"] == "records").unwrap();
    assert!(found["message"].as_str().unwrap().contains("of no use any more: cname-app.example.com"), "{found}");
    let hint = found["hint"].as_str().unwrap().to_owned();
    sandbox.follow(&hint);
    holds(&sandbox);

    let theirs = [record("shop.example.com", "A", "192.0.2.1"), txt("a-shop.example.com", "other", "ingress/shop/web")];
    create(&sandbox, &theirs);
    holds(&sandbox);
    sandbox.create_ingress("shop", "shop.example.com");
    let hint = broken(&sandbox, "records", &["records of others", "shop.example.com A (other, ingress/shop/web)"]);
    sandbox.follow(&hint);
    let run = sandbox.run(&format!("{VERIFY} --hostname shop.example.com")).exits(4);
    assert_eq!(with_status(&run, "fail").last().unwrap()["id"], "hostname");
    sandbox.delete(&format!("{INGRESSES}/shop"));

    let elsewhere = [record("x.example.com", "A", "192.0.2.1"), txt("a-x.example.com", &owner, "ingress/elsewhere/x")];
    create(&sandbox, &elsewhere);
    let hint =
        broken(&sandbox, "owner", &["another cluster uses this owner id, or the namespace is gone", "x.example.com"]);
    sandbox.follow(&hint);
}

#[test]
fn zones_and_what_is_read_are_mended_by_the_hint() {
    let sandbox = Sandbox::lease();
    healthy(&sandbox);
    let config = HostedZoneConfig::builder().private_zone(true).build();
    let route53 = aws_sdk_route53::Client::new(&sandbox.aws());
    wait(route53.create_hosted_zone().name("example.com").caller_reference("2").hosted_zone_config(config).send())
        .unwrap();
    let hint = only(&sandbox.run(VERIFY), "warn", "zones", &["zones of one name get the same records: example.com ("]);
    assert!(hint.contains("--aws-zone-type public"), "{hint}");
    sandbox.follow(&hint);
    holds(&sandbox);

    let argued = |without: &str, with: &str| {
        let mut containers = sandbox.object(DEPLOYMENT)["spec"]["template"]["spec"]["containers"].clone();
        let args = containers[0]["args"].as_array_mut().unwrap();
        args.retain(|arg| !arg.as_str().unwrap().starts_with(without));
        args.push(json!(with));
        sandbox.patch(DEPLOYMENT, &json!({"spec": {"template": {"spec": {"containers": containers}}}}));
    };
    argued("--domain-filter", "--domain-filter=exmaple.com");
    let hint = broken(&sandbox, "zones", &["--domain-filter=exmaple.com matches no zone"]);
    sandbox.follow(&hint);
    holds(&sandbox);

    let annotation =
        json!({"metadata": {"annotations": {"external-dns.alpha.kubernetes.io/hostname": "two.example.com"}}});
    sandbox.run(&format!("{INSTALL} --aws-zone-type public --legacy-annotations=false")).ok();
    sandbox.patch(&format!("{INGRESSES}/web"), &annotation);
    let run = sandbox.run(&format!("{VERIFY} --hostname two.example.com")).exits(4);
    let hint = only(&run, "fail", "hostname", &["external-dns.alpha.kubernetes.io/hostname, which isn't read"]);
    assert_eq!(hint, warned(&sandbox, "records", &["annotations that it doesn't read"]));
    sandbox.follow(&hint);
    holds(&sandbox);
    let run = sandbox.run(&format!("{VERIFY} --hostname two.example.com --strict --wait --timeout 60s")).ok();
    assert!(run.stdout.contains("ingress/default/web → two.example.com A, AAAA"), "{}", run.stdout);
}

#[test]
fn an_owner_id_that_every_cluster_has_is_replaced_with_its_records() {
    let sandbox = Sandbox::lease();
    sandbox.run(&format!("{INSTALL} --txt-owner-id default")).ok();
    sandbox.create_ingress("web", "app.example.com");
    let run = sandbox.run(&format!("{VERIFY} --hostname app.example.com --wait --timeout 10s")).exits(4);
    let hint = only(&run, "fail", "owner", &["every installation without one has"]);
    assert!(hint.contains("--migrate-from-txt-owner=default"), "{hint}");
    sandbox.follow(&hint);
    let run = holds(&sandbox);
    assert!(run.stdout.contains("1 host, with records of ours"), "{}", run.stdout);
}

#[test]
fn a_name_is_followed_to_where_it_is_lost() {
    let sandbox = Sandbox::lease();
    healthy(&sandbox);
    let follow = |host: &str, parts: &[&str]| {
        let run = sandbox.run(&format!("{VERIFY} --hostname {host}")).exits(4);
        only(&run, "fail", "hostname", parts)
    };
    follow("ap.example.com", &["no object asks for ap.example.com, ingress/default/web asks for app.example.com"]);
    follow("db.example.net", &["no object asks for db.example.net"]);
    sandbox.create_ingress("org", "www.example.org");
    let hint = follow("www.example.org", &["--domain-filter=example.com leaves it out", "no hosted zone"]);
    assert!(hint.starts_with("aws route53 create-hosted-zone --name example.org"), "{hint}");
    sandbox.create_ingress("slow", "slow.example.com");
    sandbox.patch(&format!("{INGRESSES}/slow/status"), &json!({"status": {"loadBalancer": {"ingress": []}}}));
    let hint =
        follow("slow.example.com", &["ingress/default/slow asks for slow.example.com", "no load balancer address"]);
    assert_eq!(hint, "kubectl describe ingress slow --namespace default");
    sandbox.run(&format!("{INSTALL} --ingress-class nginx")).ok();
    let hint = follow("app.example.com", &["--ingress-class=nginx leaves it out, as it has no class"]);
    assert!(hint.starts_with("kubectl patch ingress web --namespace default --type merge"), "{hint}");
}

#[test]
fn the_apex_of_a_zone_is_owned_by_a_txt_record_in_the_zone_above() {
    let sandbox = Sandbox::lease();
    let owner = healthy(&sandbox);
    let route53 = aws_sdk_route53::Client::new(&sandbox.aws());
    wait(route53.create_hosted_zone().name("dev.example.com").caller_reference("2").send()).unwrap();
    sandbox.create_ingress("dev", "dev.example.com");
    sandbox.run(&format!("{VERIFY} --hostname dev.example.com --wait --strict --timeout 60s")).ok();
    let run = holds(&sandbox);
    assert!(run.stdout.contains("2 hosts, all with records of ours"), "{}", run.stdout);

    let listed = |flags: &str| {
        let document = sandbox.run(&format!("get dnsrecords {flags} -o json")).ok().json();
        let zones = document["zones"].as_array().unwrap().iter();
        let records = zones.flat_map(|zone| zone["records"].as_array().unwrap().clone());
        records.map(|record| format!("{} {} {}", record["name"], record["type"], record["class"])).collect::<Vec<_>>()
    };
    let own = [r#""dev.example.com" "A" "owned""#, r#""dev.example.com" "AAAA" "owned""#];
    assert_eq!(listed("--cluster eksdemo1 --class unowned --class orphan-txt"), NOTHING);
    assert_eq!(listed(&format!("--zone dev.example.com --txt-owner-id {owner}")), own);
    assert_eq!(listed(&format!("--zone example.com --txt-owner-id {owner} --class orphan-txt")), NOTHING);
    sandbox.run("uninstall external-dns --cluster eksdemo1").shows(&["dev.example.com A\n", "a-dev.example.com TXT\n"]);

    sandbox.delete(&format!("{INGRESSES}/dev"));
    let hint = warned(&sandbox, "records", &["nothing asks any more for dev.example.com A of ingress/default/dev"]);
    let (records, txts) = hint.split_once('\n').unwrap();
    assert!(records.matches(r#""Name":"dev.example.com.""#).count() == 2, "{hint}");
    sandbox.follow(txts);
    assert_eq!(listed("--cluster eksdemo1 --class unowned").len(), 2);
}

#[test]
fn filters_and_what_others_share_are_mended_by_the_hint() {
    let sandbox = Sandbox::lease();
    healthy(&sandbox);
    let argued = |without: &str, with: &[&str]| {
        let mut containers = sandbox.object(DEPLOYMENT)["spec"]["template"]["spec"]["containers"].clone();
        let args = containers[0]["args"].as_array_mut().unwrap();
        args.retain(|arg| !arg.as_str().unwrap().starts_with(without));
        args.extend(with.iter().map(|arg| json!(arg)));
        sandbox.patch(DEPLOYMENT, &json!({"spec": {"template": {"spec": {"containers": containers}}}}));
    };
    let route53 = aws_sdk_route53::Client::new(&sandbox.aws());
    wait(route53.create_hosted_zone().name("sub.example.com").caller_reference("2").send()).unwrap();

    // A wrong id isn't mended by all zones.
    argued("--zone-id-filter", &["--zone-id-filter=Z0000000000"]);
    let hint = broken(&sandbox, "zones", &["--zone-id-filter=Z0000000000: there is no such zone; there is "]);
    assert_eq!(hint, "");
    argued("--zone-id-filter", &["--zone-id-filter=Z0421873X5K9QJ2VH7RW,Z0000000000"]);
    let hint = broken(&sandbox, "zones", &["one id with a comma in it"]);
    assert!(hint.contains("--zone-id-filter Z0421873X5K9QJ2VH7RW --approve"), "{hint}");
    sandbox.follow(&hint);
    holds(&sandbox);

    argued("--aws-zone-type", &["--aws-zone-type=private"]);
    let hint = broken(&sandbox, "zones", &["--aws-zone-type=private leaves example.com (Z0421873X5K9QJ2VH7RW) out"]);
    assert!(hint.contains("--aws-zone-type public"), "{hint}");
    sandbox.follow(&hint);
    holds(&sandbox);

    // Pointing elsewhere, until the next synchronisation.
    let elsewhere =
        json!({"Name": "app.example.com", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.9"}]});
    sandbox.run(&format!("{INSTALL} --zone-id-filter Z0421873X5K9QJ2VH7RW --aws-zone-type public --replicas 0")).ok();
    change(&sandbox, &json!({"Changes": [{"Action": "UPSERT", "ResourceRecordSet": elsewhere}]}));
    let run = sandbox.run(VERIFY).exits(4);
    let said = "follows from deployment (pointing elsewhere: app.example.com A → 192.0.2.9, not k8s-";
    assert!(run.stdout.contains(said), "{}", run.stdout);
    sandbox.run(&format!("{INSTALL} --zone-id-filter Z0421873X5K9QJ2VH7RW --aws-zone-type public --replicas 1")).ok();
    holds(&sandbox);

    // Records of others where records are deleted.
    let theirs = [record("shop.example.com", "A", "192.0.2.1"), txt("a-shop.example.com", "other", "ingress/shop/web")];
    create(&sandbox, &theirs);
    sandbox.run(&format!("{INSTALL} --zone-id-filter Z0421873X5K9QJ2VH7RW --aws-zone-type public --policy sync")).ok();
    holds_but(&sandbox, "owner", "--policy=sync deletes in zones that it shares with other (1 record)");
    let hint = warned(&sandbox, "owner", &["shares with other"]);
    sandbox.follow(&hint);
    holds(&sandbox);
}

/// Everything holds but for a warning, once pods that were replaced have come up.
#[track_caller]
fn holds_but(sandbox: &Sandbox, id: &str, part: &str) {
    until("one link deserves a look", || {
        let run = sandbox.run(VERIFY);
        let found = with_status(&run, "warn");
        let right = |check: &Value| check["id"] == id && check["message"].as_str().unwrap().contains(part);
        (run.code == 0 && found.iter().all(right) && found.len() == 1).then_some(())
    });
}
