//! `get dnsrecords`: whose records are in a zone.

use aws_sdk_route53::Client;
use aws_sdk_route53::types::{
    AliasTarget, Change, ChangeAction, ChangeBatch, HostedZoneConfig, ResourceRecord, ResourceRecordSet, RrType,
};
use serde_json::{Value, json};

use crate::support::aws::wait;
use crate::support::{Run, Sandbox, until};

const ZONE: &str = "Z0421873X5K9QJ2VH7RW";
const INSTALL: &str = "install external-dns --cluster eksdemo1 --domain-filter example.com --interval 3s --approve";
const BALANCER: &str = "lb-1.us-west-2.elb.amazonaws.com";
/// Encrypted with the key `)K_Fy|?Z.64#UuHm`}[d!GC%WJM_fs{_`, from the tests of ExternalDNS.
const SECRET: &str = "\"+lvP8q9KHJ6BS6O81i2Q6DLNdf2JSKy8j/gbZKviTZlGYj7q+yDoYMgkQ1hPn6urtGllM5bfFMcaaHto52otQtiOYrX8990J3kQqg4s47m3bH3Ejl8RSxSSuWJM3HJtPghQzYg0/LSOsdQ0=\"";
const NOTHING: [&str; 0] = [];

fn route53(sandbox: &Sandbox) -> Client {
    Client::new(&sandbox.aws())
}

/// Another zone; its id.
fn create_zone(sandbox: &Sandbox, name: &str, private: bool) -> String {
    let config = HostedZoneConfig::builder().private_zone(private).build();
    let request = route53(sandbox).create_hosted_zone().name(name).caller_reference(format!("{name}{private}"));
    let made = wait(request.hosted_zone_config(config).send()).unwrap().hosted_zone.unwrap();
    made.id.rsplit('/').next().unwrap().to_owned()
}

/// Creates records by hand: `name`, type (with `/set` where there are several), and values or `ALIAS target`.
fn put(sandbox: &Sandbox, zone: &str, records: &[(&str, &str, &str)]) {
    let changes = records.iter().map(|(name, kind, value)| {
        let (kind, set) = kind.split_once('/').map_or((*kind, None), |(kind, set)| (kind, Some(set)));
        let mut record = ResourceRecordSet::builder().name(*name).r#type(RrType::from(kind));
        if let Some(set) = set {
            record = record.set_identifier(set).weight(1);
        }
        record = if let Some(target) = value.strip_prefix("ALIAS ") {
            let alias = AliasTarget::builder().hosted_zone_id("Z1H1FL5HABSF5").dns_name(target);
            record.alias_target(alias.evaluate_target_health(true).build().unwrap())
        } else {
            let values = value.split(" | ").map(|value| ResourceRecord::builder().value(value).build().unwrap());
            record.ttl(300).set_resource_records(Some(values.collect()))
        };
        let record = record.build().unwrap();
        Change::builder().action(ChangeAction::Create).resource_record_set(record).build().unwrap()
    });
    let batch = ChangeBatch::builder().set_changes(Some(changes.collect())).build().unwrap();
    wait(route53(sandbox).change_resource_record_sets().hosted_zone_id(zone).change_batch(batch).send()).unwrap();
}

fn owner(id: &str) -> String {
    format!("\"heritage=external-dns,external-dns/owner={id},external-dns/resource=ingress/default/web\"")
}

/// `name/TYPE class owner` of every record in the document.
#[track_caller]
fn listed(run: &Run) -> Vec<String> {
    let document = run.json();
    let zones = document["zones"].as_array().unwrap().iter();
    let records = zones.flat_map(|zone| zone["records"].as_array().into_iter().flatten());
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    records
        .map(|record| {
            let name = text(&record["name"]);
            let name = name.strip_suffix(".example.com").unwrap_or(&name);
            format!("{name}/{} {} {}", text(&record["type"]), text(&record["class"]), text(&record["owner"]))
        })
        .collect()
}

#[test]
fn every_record_has_its_class_and_owner() {
    let sandbox = Sandbox::lease();
    let (me, you) = (owner("me"), owner("you"));
    let alias = format!("ALIAS {BALANCER}.");
    put(
        &sandbox,
        ZONE,
        &[
            ("example.com", "A", "192.0.2.1"),
            ("*.wild.example.com", "CNAME", "wild.example.org"),
            (r"cname-\052.wild.example.com", "TXT", &me),
            ("app.example.com", "A", &alias),
            ("a-app.example.com", "TXT", &me),
            ("cname-app.example.com", "TXT", &me),
            ("blue.example.com", "A/one", "192.0.2.1"),
            ("blue.example.com", "A/two", "192.0.2.2"),
            ("a-blue.example.com", "TXT/one", &me),
            ("both.example.com", "A", "192.0.2.1"),
            ("a-both.example.com", "TXT", &me),
            ("both.example.com", "TXT", &you),
            ("a-ghost.example.com", "TXT", &me),
            ("hand.example.com", "A", "192.0.2.1 | 192.0.2.2"),
            ("hidden.example.com", "A", "192.0.2.1"),
            ("a-hidden.example.com", "TXT", SECRET),
            ("note.example.com", "TXT", "\"pmBGN/7MjnfhTKUZ06Enqq1PeGUaOkw8lGhcfwefcHU=\""),
            ("old.example.com", "A", &alias),
            ("cname-old.example.com", "TXT", &me),
            ("older.example.com", "A", "192.0.2.1"),
            ("older.example.com", "TXT", &me),
            ("shop.example.com", "A", "192.0.2.1"),
            ("a-shop.example.com", "TXT", &you),
        ],
    );
    sandbox.forget_calls();
    let run = sandbox.run("get dnsrecords --zone example.com --txt-owner-id me -o json").ok();
    let expected = [
        "example.com/A unowned -",
        "a-ghost/TXT orphan-txt me",
        "app/A owned me",
        "blue/A owned me",
        "blue/A unowned -",
        "both/A owned me",
        "both/A conflict me, you",
        "both/TXT obsolete-txt you",
        "cname-app/TXT obsolete-txt me",
        "hand/A unowned -",
        "hidden/A foreign (encrypted)",
        "note/TXT unowned -",
        "old/A owned-legacy me",
        "older/A owned-legacy me",
        "shop/A foreign you",
        "*.wild/CNAME owned me",
    ];
    assert_eq!(listed(&run), expected);
    let document = run.json();
    let zone = &document["zones"][0];
    assert_eq!((&zone["id"], &zone["name"], &zone["private"]), (&json!(ZONE), &json!("example.com"), &json!(false)));
    assert_eq!(
        [&zone["records"][2], &zone["records"][3], &zone["records"][9]],
        [
            &json!({"name": "app.example.com", "type": "A", "target": BALANCER, "class": "owned", "owner": "me",
                    "resource": "ingress/default/web"}),
            &json!({"name": "blue.example.com", "type": "A", "target": "192.0.2.1", "class": "owned", "owner": "me",
                    "resource": "ingress/default/web", "setIdentifier": "one"}),
            &json!({"name": "hand.example.com", "type": "A", "target": "192.0.2.1,192.0.2.2", "class": "unowned"}),
        ]
    );
    let yaml = sandbox.run("get dnsrecords --zone example.com --txt-owner-id me -o yaml").ok();
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml.stdout).unwrap(), document);
    assert_eq!(sandbox.writes(), NOTHING);
    assert_eq!(sandbox.kube_events().len(), 0);

    // Without an owner in view, whoever has a TXT record owns.
    let anyone = listed(&sandbox.run("get dnsrecords -o json").ok());
    for line in ["shop/A owned you", "hidden/A foreign (encrypted)", "old/A owned-legacy me"] {
        assert!(anyone.iter().any(|found| found == line), "{line}: {anyone:?}");
    }

    let filtered = |flags: &str| listed(&sandbox.run(&format!("get dnsrecords {flags} -o json")).ok());
    let view = "--txt-owner-id me";
    assert_eq!(filtered(&format!("{view} --class foreign,conflict")), [expected[6], expected[10], expected[14]]);
    assert_eq!(filtered(&format!("{view} --owner you")), [expected[6], expected[7], expected[14]]);
    assert_eq!(filtered("--owner you --class owned --zone EXAMPLE.com."), ["shop/A owned you"]);
    assert_eq!(filtered(&format!("--zone /hostedzone/{ZONE} --class orphan-txt")), [expected[1]]);
    assert_eq!(filtered("--owner yo"), NOTHING);

    let table = sandbox.run("get dnsrecords --txt-owner-id me").ok();
    let lines: Vec<_> = table.stdout.lines().collect();
    assert_eq!(
        lines[0],
        "Zone example.com (Z0421873X5K9QJ2VH7RW, public): 4 owned, 2 owned-legacy, 2 foreign, 4 unowned, 1 orphan-txt, \
         2 obsolete-txt, 1 conflict"
    );
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cells(lines[1]), ["NAME", "TYPE", "TARGET", "CLASS", "OWNER"]);
    assert_eq!(cells(lines[4]), ["app.example.com", "A", BALANCER, "owned", "me"]);
    assert!(lines[3].contains('…') && !lines[3].contains("default/web"), "{}", lines[3]);
    let wide = sandbox.run("get dnsrecords --txt-owner-id me --owner me --class owned -o wide").ok();
    let lines: Vec<_> = wide.stdout.lines().collect();
    assert_eq!(cells(lines[1])[5..], ["RESOURCE", "SET", "IDENTIFIER", "TTL"]);
    assert_eq!(cells(lines[2])[5..], ["ingress/default/web", "-", "-"]);
    assert_eq!(cells(lines[3])[5..], ["ingress/default/web", "one", "300"]);
    sandbox.run("get dnsrecords --class conflict --owner nobody").ok().shows(&["No DNS records found"]);
}

#[test]
fn txt_names_with_affixes_are_read_as_told() {
    let sandbox = Sandbox::lease();
    let me = owner("me");
    for (flags, records, expected) in [
        (
            "--txt-prefix txt-",
            vec![("p1", "A"), ("txt-a-p1", "TXT"), ("p2", "CNAME"), ("txt-p2", "TXT")],
            vec!["p1/A owned me", "p2/CNAME owned-legacy me"],
        ),
        (
            "--txt-suffix -txt",
            vec![("s1", "A"), ("a-s1-txt", "TXT"), ("s2", "A"), ("s2-txt", "TXT")],
            vec!["s1/A owned me", "s2/A owned-legacy me"],
        ),
        (
            "--txt-prefix own-%{record_type}.",
            vec![
                ("", "A"),
                ("own-a", "TXT"),
                ("t1", "AAAA"),
                ("own-aaaa.t1", "TXT"),
                ("t2", "MX"),
                ("own-mx.t2", "TXT"),
            ],
            vec!["example.com/A owned me", "t1/AAAA owned me", "t2/MX owned me"],
        ),
        ("--txt-wildcard-replacement any", vec![("*.w", "A"), ("a-any.w", "TXT")], vec!["*.w/A owned me"]),
    ] {
        let value = |kind: &str| match kind {
            "A" => "192.0.2.1",
            "AAAA" => "2001:db8::1",
            "CNAME" => "other.example.org",
            "MX" => "10 mail.example.org",
            _ => me.as_str(),
        };
        let names: Vec<_> = records.iter().map(|(name, _)| format!("{name}.example.com")).collect();
        let names: Vec<_> = names.iter().map(|name| name.trim_start_matches('.')).collect();
        let sets: Vec<_> = names.iter().zip(&records).map(|(name, (_, kind))| (*name, *kind, value(kind))).collect();
        put(&sandbox, ZONE, &sets);
        let found = listed(&sandbox.run(&format!("get dnsrecords {flags} --class owned,owned-legacy -o json")).ok());
        assert_eq!(found, expected, "{flags}");
    }
    // Seen without the affixes, they belong to nothing, which may be a matter of naming.
    sandbox
        .run("get dnsrecords --txt-owner-id other")
        .ok()
        .shows(&["orphan-txt"])
        .says(&["no record belongs to TXT records of me (", "--txt-prefix"]);
}

#[test]
fn a_cluster_sees_its_own_records_and_those_of_the_cluster_beside_it() {
    let sandbox = Sandbox::lease();
    let elsewhere = create_zone(&sandbox, "example.org", false);
    put(&sandbox, &elsewhere, &[("x.example.org", "A", "192.0.2.1")]);
    put(
        &sandbox,
        ZONE,
        &[
            ("hand.example.com", "A", "192.0.2.1"),
            ("shop.example.com", "A", "192.0.2.1"),
            ("a-shop.example.com", "TXT", &owner("eksdemo2-00000000")),
        ],
    );
    // Without an installation, the hint leads to what one would have left.
    let absent =
        sandbox.run("get dnsrecords --cluster eksdemo1 -o json").fails("not-found", &["--txt-owner-id eksdemo1-"]);
    let hint = absent.error()["hint"].as_str().unwrap().to_owned();
    let (_, id) = hint.rsplit_once(' ').unwrap();

    sandbox.create_ingress("web", "app.example.com");
    sandbox.run(&format!("{INSTALL} --txt-prefix extdns-%{{record_type}}.")).ok();
    let own = [format!("app/A owned {id}"), format!("app/AAAA owned {id}")];
    let line = "get dnsrecords --cluster eksdemo1";
    until("own records", || {
        let found = listed(&sandbox.run(&format!("{line} --class owned -o json")).ok());
        (found == own).then_some(())
    });
    sandbox.forget_calls();
    let run = sandbox.run(&format!("{line} -o json")).ok();
    // The TXT record of the other cluster has another naming.
    let expected =
        [own[0].as_str(), &own[1], "hand/A unowned -", "shop/A unowned -", "a-shop/TXT foreign eksdemo2-00000000"];
    let mut found = listed(&run);
    found.sort_by_key(|line| expected.iter().position(|one| one == line));
    assert_eq!(found, expected);
    assert_eq!(run.json()["zones"].as_array().unwrap().len(), 1, "its domain filter");
    let first = run.json()["zones"][0]["records"].as_array().unwrap().clone();
    let app = first.iter().find(|record| record["name"] == "app.example.com").unwrap();
    assert_eq!(app["resource"], "ingress/default/web");
    assert!(app["target"].as_str().unwrap().starts_with("k8s-default-web-"), "{app}");
    assert_eq!(sandbox.writes(), NOTHING);

    assert_eq!(listed(&sandbox.run(&format!("{line} --zone example.org -o json")).ok()), ["x.example.org/A unowned -"]);
    let both = sandbox.run(&format!("{line} --all-zones")).ok();
    let both = both.shows(&[
        "Zone example.org",
        "Zones that several owners share:",
        &format!("example.com ({ZONE}): {id} (2 records), eksdemo2-00000000 (1 record)"),
    ]);
    let shared = both.stdout.split("share:").nth(1).unwrap();
    assert!(!shared.contains("example.org"), "{shared}");
    let document = sandbox.run(&format!("{line} --all-zones -o json")).ok().says(&["note: Zones that several owners"]);
    assert_eq!(document.json()["zones"].as_array().unwrap().len(), 2);
    sandbox
        .run(&format!("{line} --name other -o json"))
        .fails("not-found", &["it has external-dns/external-dns", "--namespace external-dns --name external-dns"]);

    // What it leaves is still told apart without the cluster's help.
    sandbox.run("uninstall external-dns --cluster eksdemo1 --approve").ok();
    let left = format!("get dnsrecords --owner {id} --txt-prefix extdns-%{{record_type}}. -o json");
    assert_eq!(listed(&sandbox.run(&left).ok()), own);
}

#[test]
fn records_with_encrypted_txts_are_recognised() {
    let sandbox = Sandbox::lease();
    sandbox.create_namespace("external-dns");
    let secret = json!({"metadata": {"name": "key"}, "stringData": {"key": ";k&l)nUC/33:{?d{3)54+,AD?]SX%yh^"}});
    sandbox.create("/api/v1/namespaces/external-dns/secrets", &secret);
    let patch = "kind: Deployment\nspec: {template: {spec: {containers: [{name: external-dns, env: [\
                 {name: EXTERNAL_DNS_TXT_ENCRYPT_AES_KEY, valueFrom: {secretKeyRef: {name: key, key: key}}}]}]}}}\n";
    let patch = sandbox.file("patch.yaml", patch);
    sandbox.create_ingress("web", "app.example.com");
    let flags = format!("--extra-arg=--txt-encrypt-enabled --patch {}", patch.display());
    sandbox.run(&format!("{INSTALL} {flags}")).ok();
    let own = ["app/A owned (encrypted)", "app/AAAA owned (encrypted)"];
    until("own records", || {
        (listed(&sandbox.run("get dnsrecords --cluster eksdemo1 -o json").ok()) == own).then_some(())
    });
    let foreign = sandbox.run("get dnsrecords --txt-owner-id me --class foreign -o json").ok();
    assert_eq!(listed(&foreign), ["app/A foreign (encrypted)", "app/AAAA foreign (encrypted)"]);
    let plan = sandbox.run("uninstall external-dns --cluster eksdemo1").ok();
    plan.shows(&["which isn't known: its TXT records are encrypted", "--owner '(encrypted)'"]);
    // Without the key, they are nobody's.
    sandbox.run(INSTALL).exits(1).says(&["--txt-encrypt-enabled", "app.example.com A", "--abandon-records"]);
    let narrower = sandbox.run(&format!("{INSTALL} {flags} --policy sync --label-filter a=b")).exits(1);
    narrower.says(&["app.example.com A", "--allow-record-deletion"]);
}

#[test]
fn one_zone_that_can_not_be_read_hides_no_other() {
    let sandbox = Sandbox::lease();
    let private = create_zone(&sandbox, "example.com", true);
    let other = create_zone(&sandbox, "example.org", false);
    let (me, you) = (owner("me"), owner("you"));
    for (zone, domain) in [(ZONE, "example.com"), (&private, "example.com"), (&other, "example.org")] {
        let names = ["x", "a-x", "y", "a-y"].map(|name| format!("{name}.{domain}"));
        let values = ["192.0.2.1", &me, "192.0.2.2", &you];
        let kinds = ["A", "TXT", "A", "TXT"];
        let sets: Vec<_> = (0..4).map(|i| (names[i].as_str(), kinds[i], values[i])).collect();
        put(&sandbox, zone, &sets);
    }
    let zones = |run: &Run| {
        let document = run.json();
        let ids = document["zones"].as_array().unwrap().iter();
        ids.map(|zone| (zone["id"].as_str().unwrap().to_owned(), zone["records"].as_array().map(Vec::len)))
            .collect::<Vec<_>>()
    };
    let named = sandbox.run("get dnsrecords --zone example.com -o json").ok();
    assert_eq!(zones(&named), [(ZONE.to_owned(), Some(2)), (private.clone(), Some(2))], "public and private");

    sandbox.fault(&json!({"deny": "route53:ListResourceRecordSets", "match": {"Id": private}}));
    let all = sandbox.run("get dnsrecords --all-zones -o json").ok();
    let all = all.says(&["warning: zone example.com", "route53:ListResourceRecordSets"]);
    assert_eq!(zones(&all), [(ZONE.to_owned(), Some(2)), (private.clone(), None), (other.clone(), Some(2))]);
    let table = sandbox.run("get dnsrecords").ok().says(&["warning: zone example.com"]);
    let table = table.shows(&[&format!("  example.org ({other}): me (1 record), you (1 record)\n")]);
    assert!(!table.stdout.contains(&private), "{}", table.stdout);
    // Asked for by name, it is an error, after what can be shown.
    let missed = sandbox.run("get dnsrecords --zone example.com -o json");
    assert_eq!(zones(&missed), [(ZONE.to_owned(), Some(2)), (private.clone(), None)]);
    missed.fails("access-denied", &[&private, "the caller needs the IAM action route53:ListResourceRecordSets"]);
    let absent = sandbox.run("get dnsrecords --zone example.com,example.net -o json");
    absent.fails("zone-not-found", &["there is no hosted zone example.net", "example.org ("]);
    sandbox.heal();
    sandbox.fault(&json!({"deny": "route53:ListHostedZones"}));
    sandbox.run("get dnsrecords -o json").fails("access-denied", &["route53:ListHostedZones"]);
}

#[test]
fn large_zones_come_page_by_page_and_records_find_their_txts_at_the_other_end() {
    let sandbox = Sandbox::lease();
    let me = owner("me");
    let names: Vec<_> = (0..350)
        .flat_map(|i| [(format!("h{i:03}.example.com"), "A"), (format!("zz-a-h{i:03}.example.com"), "TXT")])
        .collect();
    for chunk in names.chunks(100) {
        let value = |kind: &str| if kind == "A" { "192.0.2.1" } else { me.as_str() };
        put(&sandbox, ZONE, &chunk.iter().map(|(name, kind)| (name.as_str(), *kind, value(kind))).collect::<Vec<_>>());
    }
    sandbox.forget_calls();
    let run = sandbox.run("get dnsrecords --txt-owner-id me --txt-prefix zz- -o json").ok();
    let found = listed(&run);
    assert_eq!(found.len(), 350);
    assert!(found.iter().all(|line| line.ends_with(" owned me")), "{found:?}");
    let calls = sandbox.aws_calls();
    assert_eq!(calls.iter().filter(|call| *call == "route53:ListResourceRecordSets").count(), 3, "{calls:?}");

    // A reader that has seen enough ends it quietly.
    for format in ["table", "json", "yaml"] {
        let mut command = sandbox.command(["get", "dnsrecords", "-o", format]);
        let mut child =
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{format}");
    }
}

#[test]
fn no_terminal_obeys_what_a_record_says() {
    let sandbox = Sandbox::lease();
    put(
        &sandbox,
        ZONE,
        &[
            (r"\033\133red.example.com", "A", "192.0.2.1"),
            ("note.example.com", "TXT", "\"\u{9b}31m \u{7f}\""),
            ("a-app.example.com", "TXT", "\"heritage=external-dns,external-dns/owner=\u{9b}31m\""),
        ],
    );
    for format in ["table", "wide", "json", "yaml"] {
        let run = sandbox.run(&format!("get dnsrecords -o {format}")).ok();
        let obeyed = |c: char| c.is_control() && c != '\n';
        assert!(!run.stdout.contains(obeyed) && !run.stderr.contains(obeyed), "{format}: {run:?}");
        assert!(run.stdout.contains(r"\033\133red.example.com") || run.stdout.contains(r"\\033\\133red"), "{run:?}");
    }
}

#[test]
fn usage() {
    let run = |line: &str| Run::of(&mut crate::support::irsactl(line.split_whitespace()));
    for (flags, said) in [
        ("--class mine", "owned-legacy"),
        ("--cluster c --txt-owner-id x", "cannot be used with"),
        ("--cluster c --txt-prefix x", "cannot be used with"),
        ("--txt-prefix x --txt-suffix y", "cannot be used with"),
        ("--all-zones --zone example.com", "cannot be used with"),
        ("--namespace x", "--cluster"),
        ("--context x", "--cluster"),
    ] {
        run(&format!("get dnsrecords {flags}")).exits(2).says(&[said]);
    }
}
