use serde_json::json;

use super::*;
use crate::externaldns::apex::inquiries;
use crate::externaldns::filter::suitable_zones;
use crate::externaldns::registry::{Record, audit_beside, normalize};
use crate::externaldns::version::{LEGACY_PREFIX, PREFIX};
use crate::verify::Status;

const BALANCER: &str = "k8s-web.us-east-1.elb.amazonaws.com";
const DELETES: &str = "aws route53 change-resource-record-sets --hosted-zone-id Z1";

/// A situation: what the installation is told, and what there is.
#[derive(Clone)]
struct Scene {
    version: &'static str,
    args: Vec<String>,
    zones: Vec<Zone>,
    sets: Vec<Value>,
    objects: Vec<Value>,
    others: Vec<Installed>,
}

fn installed(name: &str, version: &str, args: &[String]) -> Installed {
    let container = json!({"image": format!("registry.k8s.io/external-dns/external-dns:{version}"), "args": args});
    let deployment = json!({
        "metadata": {"name": name, "namespace": "external-dns"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    });
    Installed::from_deployment(&deployment).unwrap()
}

fn zone(id: &str, name: &str, private: bool) -> Zone {
    Zone { id: id.to_owned(), name: name.to_owned(), private, comment: String::new() }
}

fn set(name: &str, kind: &str, value: &str) -> Value {
    json!({"Name": format!("{name}."), "Type": kind, "TTL": 300, "ResourceRecords": [{"Value": value}]})
}

fn alias(name: &str, kind: &str, target: &str) -> Value {
    let target = json!({"HostedZoneId": "Z35", "DNSName": format!("{target}."), "EvaluateTargetHealth": true});
    json!({"Name": format!("{name}."), "Type": kind, "AliasTarget": target})
}

fn txt(name: &str, owner: &str, resource: &str) -> Value {
    let value = format!("\"heritage=external-dns,external-dns/owner={owner},external-dns/resource={resource}\"");
    set(name, "TXT", &value)
}

/// A host with its records, as ExternalDNS makes them.
fn made(host: &str, owner: &str, resource: &str) -> Vec<Value> {
    vec![
        alias(host, "A", &format!("dualstack.{BALANCER}")),
        alias(host, "AAAA", &format!("Dualstack.{BALANCER}")),
        txt(&format!("a-{host}"), owner, resource),
        txt(&format!("aaaa-{host}"), owner, resource),
    ]
}

fn ingress(name: &str, host: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"ingressClassName": "alb", "rules": [{"host": host}]},
        "status": {"loadBalancer": {"ingress": [{"hostname": BALANCER}]}},
    })
}

fn service(name: &str, spec: &Value, annotations: &[(&str, &str)]) -> Value {
    let annotations: serde_json::Map<_, _> =
        annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "annotations": annotations},
        "spec": spec,
    })
}

impl Scene {
    fn healthy() -> Self {
        let args = ["--source=ingress", "--source=service", "--provider=aws", "--policy=upsert-only"];
        let rest = ["--txt-owner-id=c1", "--domain-filter=example.com", "--enable-legacy-annotation-prefix"];
        Self {
            version: "v0.23.0",
            args: args.iter().chain(&rest).map(|arg| (*arg).to_owned()).collect(),
            zones: vec![zone("Z1", "example.com", false)],
            sets: made("app.example.com", "c1", "ingress/default/web"),
            objects: vec![ingress("web", "app.example.com")],
            others: Vec::new(),
        }
    }

    /// Takes an argument off and puts others in.
    fn args(mut self, without: &str, with: &[&str]) -> Self {
        self.args.retain(|arg| !arg.starts_with(without) || without.is_empty());
        self.args.extend(with.iter().map(|arg| (*arg).to_owned()));
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn dns(&self) -> Dns {
        let installed = installed("external-dns", self.version, &self.args);
        let (mapper, all) = (installed.mapper(), self.zones.iter().collect::<Vec<_>>());
        let of_zone = |zone: &Zone| {
            let records = self.sets.iter().map(|set| (Record::read(set), set.clone()));
            let here = |record: &Record| suitable_zones(&normalize(&record.name), &all).contains(&zone);
            records.filter(|(record, _)| here(record)).unzip::<_, _, Vec<_>, Vec<_>>()
        };
        let contents = |zone: &Zone| {
            let (records, sets) = of_zone(zone);
            let elsewhere = inquiries(zone, &records, &installed.looked_after(&self.zones), &mapper);
            let elsewhere = elsewhere.into_iter().flat_map(|(id, name)| {
                let (there, _) = of_zone(self.zones.iter().find(|zone| zone.id == id).unwrap());
                there.into_iter().filter(move |record| normalize(&record.name) == name)
            });
            let elsewhere: Vec<_> = elsewhere.collect();
            let owner = Some(installed.owner_id.as_str());
            Contents { zone: zone.clone(), found: audit_beside(&records, &elsewhere, &mapper, owner), sets }
        };
        let flags: Vec<_> = self.args.iter().filter(|arg| !arg.starts_with("--provider")).cloned().collect();
        Dns {
            commands: Commands { cluster: "eksdemo1".to_owned(), region: "us-east-1".to_owned() },
            install: format!("irsactl install external-dns --cluster eksdemo1 {} --approve", flags.join(" ")),
            owner_id: "eksdemo1-1a2b3c4d".to_owned(),
            records: Ok(installed.looked_after(&self.zones).into_iter().map(contents).collect()),
            zones: Ok(self.zones.clone()),
            objects: Ok(self.objects.clone()),
            unread: Vec::new(),
            others: Ok(self.others.clone()),
            namespaces: Ok(["default", "kube-system"].map(str::to_owned).into()),
            installed,
        }
    }

    /// The status of the three checks, and the one that isn't a pass.
    fn broken(&self) -> Check {
        let checks = self.dns().checks(None);
        assert_eq!(checks.iter().map(|check| check.id).collect::<Vec<_>>(), ["zones", "owner", "records"]);
        let mut broken = checks.iter().filter(|check| [Status::Warn, Status::Fail].contains(&check.status));
        let first = broken.next().unwrap_or_else(|| panic!("nothing is broken: {checks:#?}"));
        assert!(broken.next().is_none(), "more than one is broken: {checks:#?}");
        first.clone()
    }
}

/// A sabotaged installation: its name, the check that fails or warns, what it says, and what the hint has.
type Case = (&'static str, Scene, (&'static str, Status), &'static [&'static str], &'static str);

fn verify(cases: Vec<Case>) {
    for (name, scene, expected, parts, hint) in cases {
        let check = scene.broken();
        assert_eq!((check.id, check.status), expected, "{name}: {check:#?}");
        assert!(parts.iter().all(|part| check.message.contains(part)), "{name}: {check:#?}");
        let found = check.hint.clone().unwrap_or_default();
        let right = if hint.is_empty() { found.is_empty() } else { found.contains(hint) };
        assert!(right, "{name}: {check:#?}");
    }
}

#[test]
fn a_healthy_installation_passes_without_a_warning() {
    let shown = |scene: &Scene| {
        let checks = scene.dns().checks(None);
        assert!(checks.iter().all(|check| check.status == Status::Pass), "{checks:#?}");
        checks.into_iter().map(|check| check.message).collect::<Vec<_>>()
    };
    let healthy = Scene::healthy();
    let expected = ["example.com (Z1)", "c1, which nobody else uses", "1 host, with records of ours"];
    assert_eq!(shown(&healthy), expected);

    let plain = |kind: &str| json!({"type": kind, "clusterIP": "10.0.0.1"});
    let hostname = format!("{LEGACY_PREFIX}hostname");
    let elsewhere =
        installed("private", "v0.23.0", &["--aws-zone-type=private", "--txt-owner-id=c1"].map(str::to_owned));
    let busy = healthy.with(|it| {
        let mut waiting = ingress("new", "new.example.com");
        waiting["status"] = json!({});
        it.objects.push(waiting);
        it.objects.push(service("lb", &plain("LoadBalancer"), &[(&hostname, "lb.example.com,other.example.org")]));
        it.objects[2]["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"ip": "2001:DB8:0::1"}]}});
        it.objects.push(service("own", &plain("ClusterIP"), &[(&hostname, "own.example.com")]));
        it.sets.push(set("lb.example.com", "A", "192.0.2.1"));
        it.sets.push(set("lb.example.com", "AAAA", "2001:db8::1"));
        it.sets.push(txt("a-lb.example.com", "c1", "service/default/lb"));
        it.sets.push(txt("aaaa-lb.example.com", "c1", "service/default/lb"));
        it.sets.extend(made("theirs.example.com", "c2", "ingress/shop/web"));
        it.sets.push(set("example.com", "MX", "10 mail.example.com"));
        it.zones.push(zone("Z2", "example.com", true));
        it.args.push("--aws-zone-type=public".to_owned());
        it.others.push(elsewhere);
    });
    let records = "2 hosts, all with records of ours; no record for own.example.com, of type ClusterIP; \
         no load balancer address yet for new.example.com";
    assert_eq!(shown(&busy)[2], records);
}

#[test]
fn zones_that_the_filters_leave_out() {
    let scene = Scene::healthy;
    let filter = "--domain-filter";
    let fail = (ids::ZONES, Status::Fail);
    let warn = (ids::ZONES, Status::Warn);
    let corp = |it: &mut Scene| it.zones.push(zone("Z2", "corp.example.com", true));
    let many = || {
        let all = ["Z1111111111 a.example.com", "Z2222222222 b.example.com", "Z1 example.org"];
        let all = all.map(|zone_of| zone_of.split_once(' ').unwrap());
        scene().with(|it| it.zones = all.map(|(id, name)| zone(id, name, false)).to_vec())
    };
    verify(vec![
        (
            "no zone at all",
            scene().with(|it| it.zones.clear()),
            fail,
            &["matches no zone", "the account has none"],
            "aws route53 create-hosted-zone --name example.com --caller-reference irsactl-example.com",
        ),
        (
            "no zone, no filter",
            scene().args(filter, &[]).with(|it| it.zones.clear()),
            fail,
            &["no hosted zone"],
            "create-hosted-zone --name example.com",
        ),
        (
            "a slip of the finger",
            scene().args(filter, &["--domain-filter=exmaple.com"]),
            fail,
            &["exmaple.com matches no zone"],
            "--domain-filter example.com --approve",
        ),
        (
            "below the zone",
            scene().args(filter, &["--domain-filter=app.example.com"]),
            fail,
            &["example.com (Z1) lies above it"],
            "--domain-filter example.com --approve",
        ),
        (
            "a comma",
            scene().args(filter, &["--domain-filter=example.com,example.org"]),
            fail,
            &["comma"],
            "--domain-filter example.com --domain-filter example.org",
        ),
        (
            "one of two",
            scene().args("", &["--domain-filter=example.net"]),
            warn,
            &["example.net matches no zone"],
            "create-hosted-zone --name example.net",
        ),
        (
            "private mix-up",
            scene().args("", &["--aws-zone-type=private"]),
            fail,
            &["--aws-zone-type=private leaves example.com (Z1) out"],
            "--aws-zone-type public --approve",
        ),
        (
            "private without a filter",
            scene().args(filter, &["--aws-zone-type=private"]),
            fail,
            &["no zone is private"],
            "--aws-zone-type public",
        ),
        (
            "unknown id",
            scene().args("", &["--zone-id-filter=Z9"]),
            fail,
            &["Z9: there is no such zone"],
            "--zone-id-filter Z1 --approve",
        ),
        (
            "unknown id among many",
            many().args("", &["--zone-id-filter=Z0123456789"]),
            fail,
            &["Z0123456789: there is no such zone; there is a.example.com (Z1111111111), b.example.com (Z2222222222)"],
            "",
        ),
        (
            "a slip of the finger in an id",
            many().args("", &["--zone-id-filter=Z1111111112"]),
            fail,
            &["Z1111111112: there is no such zone"],
            "--zone-id-filter Z1111111111 --approve",
        ),
        (
            "ids with a comma",
            many().args("", &["--zone-id-filter=Z1111111111,Z2222222222"]),
            fail,
            &["one id with a comma in it"],
            "--zone-id-filter Z1111111111 --zone-id-filter Z2222222222 --approve",
        ),
        (
            "ids of other domains",
            many().args(filter, &["--domain-filter=example.com", "--zone-id-filter=Z1"]),
            fail,
            &["the zones of --zone-id-filter are not those of --domain-filter; without it, there is a.example.com"],
            "",
        ),
        (
            "several excluded",
            many().args("", &["--exclude-domains=example.com"]),
            fail,
            &["--exclude-domains=example.com leaves no zone; without it, there is a.example.com"],
            "",
        ),
        (
            "a filter that only a zone of the other type matches, beside one that works",
            scene().args("", &["--aws-zone-type=public", "--domain-filter=corp.example.com"]).with(corp),
            warn,
            &["--aws-zone-type=public leaves corp.example.com (Z2, private) out"],
            "",
        ),
        (
            "one unknown id",
            scene().args("", &["--zone-id-filter=Z9", "--zone-id-filter=Z1"]),
            warn,
            &["Z9"],
            "--zone-id-filter Z1 --approve",
        ),
        (
            "excluded",
            scene().args(filter, &["--exclude-domains=example.com"]),
            fail,
            &["--exclude-domains=example.com leaves no zone"],
            "external-dns --cluster eksdemo1",
        ),
        (
            "twins",
            scene().with(|it| {
                it.zones.push(zone("Z2", "example.com", true));
                let hosts = made("app.example.com", "c1", "ingress/default/web");
                it.sets = hosts;
            }),
            warn,
            &["example.com (Z1, Z2 private)"],
            "--aws-zone-type public --approve",
        ),
    ]);
    let tags = scene().args("", &["--aws-zone-tags=team=a"]).dns().checks(None);
    assert_eq!(tags.iter().map(|check| check.status).collect::<Vec<_>>(), [Status::Skip; 3]);
}

#[test]
fn what_tags_or_regular_expressions_tell_apart_is_not_judged() {
    let twin = installed("twin", "v0.23.0", &["--txt-owner-id=c1", "--aws-zone-tags=team=b"].map(str::to_owned));
    for flag in ["--aws-zone-tags=team=a", "--regex-domain-filter=^example"] {
        let scene = Scene::healthy().args("--policy", &["--policy=sync", flag]).with(|it| {
            it.zones.push(zone("Z2", "example.com", false));
            it.sets.extend(made("shop.example.com", "c2", "ingress/shop/web"));
            it.sets.extend(made("x.example.com", "c1", "ingress/elsewhere/x"));
            it.others.push(twin.clone());
        });
        let checks = scene.dns().checks(None);
        assert!(checks.iter().all(|check| check.status == Status::Skip && check.hint.is_none()), "{checks:#?}");
    }
    // The one with tags is the other, which may look after other zones.
    let other = Scene::healthy().with(|it| it.others.push(twin)).dns().checks(None);
    assert_eq!(other[1].status, Status::Skip, "{other:#?}");
}

#[test]
fn a_filter_for_the_zone_of_another_installation_is_no_finding() {
    let private = ["--aws-zone-type=private", "--txt-owner-id=c2"].map(str::to_owned);
    let scene = Scene::healthy().args("", &["--aws-zone-type=public", "--domain-filter=corp.example.com"]).with(|it| {
        it.zones.push(zone("Z2", "corp.example.com", true));
        it.others.push(installed("private", "v0.23.0", &private));
    });
    let checks = scene.dns().checks(None);
    assert_eq!(checks[0], Check::pass(ids::ZONES, "example.com (Z1)"));
}

#[test]
fn nothing_is_judged_by_what_is_told_elsewhere() {
    let with = |variable: &str| {
        let from = json!({"secretKeyRef": {"name": "dns", "key": "k"}});
        let args = ["--provider=aws", "--source=ingress", "--policy=upsert-only"];
        let container = json!({"name": "c", "image": "external-dns:v0.23.0", "args": args,
            "env": [{"name": variable, "valueFrom": from}]});
        let deployment = json!({"metadata": {"name": "external-dns", "namespace": "external-dns"},
            "spec": {"template": {"spec": {"containers": [container]}}}});
        Installed::from_deployment(&deployment).unwrap()
    };
    let skipped = |dns: &Dns| {
        let checks = dns.verified(&[], Some("app.example.com"));
        assert!(!checks.iter().any(Check::fails), "{checks:#?}");
        let skipped = checks.into_iter().filter(|check| check.status == Status::Skip);
        skipped.map(|check| format!("{}: {}", check.id, check.message)).collect::<Vec<_>>()
    };
    let healthy = Scene::healthy().dns();
    let of = |variable: &str| skipped(&Dns { installed: with(variable), ..healthy.clone() });
    let owner = of("EXTERNAL_DNS_TXT_OWNER_ID");
    let why = "--txt-owner-id isn't known: variable EXTERNAL_DNS_TXT_OWNER_ID comes from Secret dns (key k)";
    assert_eq!(owner.len(), 3, "{owner:?}");
    assert!(owner[0].starts_with(&format!("owner: {why}")) && owner[1].starts_with("records: "), "{owner:?}");
    let mut dns = Dns { others: Ok(vec![with("EXTERNAL_DNS_TXT_OWNER_ID")]), ..healthy.clone() };
    assert!(skipped(&dns)[0].starts_with("owner: whether external-dns/external-dns uses it can't be told"));
    dns.installed = with("EXTERNAL_DNS_DOMAIN_FILTER");
    dns.installed.owner_id = "c1".to_owned();
    dns.others = Ok(Vec::new());
    let zones = dns.checks(None);
    assert!(zones[0].status == Status::Skip && zones[0].message.starts_with("--domain-filter isn't known"));
    assert_eq!(zones[2].status, Status::Skip);
}

#[test]
fn owner_ids_that_are_not_one_clusters_own() {
    let scene = Scene::healthy;
    let id = "--txt-owner-id";
    let fail = (ids::OWNER, Status::Fail);
    let warn = (ids::OWNER, Status::Warn);
    let owned_by = |owner: &'static str| made("app.example.com", owner, "ingress/default/web");
    let twin = installed("twin", "v0.23.0", &["--txt-owner-id=c1".to_owned()]);
    let others = made("shop.example.com", "c2", "ingress/shop/web");
    verify(vec![
        (
            "none",
            scene().args(id, &[]).with(|it| it.sets = owned_by("default")),
            fail,
            &["every installation without one"],
            "--txt-owner-id eksdemo1-1a2b3c4d --extra-arg=--migrate-from-txt-owner=default --abandon-records --approve",
        ),
        (
            "copied",
            scene().args(id, &["--txt-owner-id=my-identifier"]).with(|it| it.sets = owned_by("my-identifier")),
            warn,
            &["not unique", "tutorial"],
            "--txt-owner-id eksdemo1-1a2b3c4d",
        ),
        (
            "with a second =",
            scene().args(id, &["--txt-owner-id=a=b"]).with(|it| it.version = "v0.21.0"),
            fail,
            &["owner id `a=b` has a `=`, which ExternalDNS v0.21.0 can't read back", "doesn't know its own records"],
            "--txt-owner-id=a=b --approve",
        ),
        (
            "with a comma",
            scene().args(id, &["--txt-owner-id=a,b"]).with(|it| it.sets = owned_by("a,b")),
            fail,
            &["is read back as `a`"],
            "--txt-owner-id eksdemo1-1a2b3c4d --abandon-records --approve",
        ),
        (
            "of two installations",
            scene().with(|it| it.others.push(twin)),
            fail,
            &["also that of external-dns/twin"],
            "--txt-owner-id eksdemo1-1a2b3c4d --extra-arg=--migrate-from-txt-owner=c1 --abandon-records --approve",
        ),
        (
            "of two clusters",
            scene().with(|it| it.sets.extend(made("x.example.com", "c1", "ingress/elsewhere/x"))),
            fail,
            &["another cluster uses this owner id, or the namespace is gone", "x.example.com (ingress/elsewhere/x)"],
            "irsactl get dnsrecords --cluster eksdemo1 --region us-east-1 --namespace external-dns --name external-dns --owner c1",
        ),
        (
            "sync among others",
            scene().args("--policy", &["--policy=sync"]).with(|it| it.sets.extend(others)),
            warn,
            &["shares with c2 (2 records)"],
            "--policy upsert-only --approve",
        ),
        (
            "no registry",
            scene().args("", &["--registry=noop"]),
            warn,
            &["noop"],
            "--registry txt --abandon-records --approve",
        ),
    ]);
    // It doesn't take along what only the other asks for.
    let shared = scene().args("", &["--ingress-class=alb"]).with(|it| {
        it.others.push(installed("twin", "v0.23.0", &["--txt-owner-id=c1".to_owned()]));
        let mut theirs = ingress("theirs", "theirs.example.com");
        theirs["spec"]["ingressClassName"] = json!("nginx");
        it.objects.push(theirs);
        it.sets.extend(made("theirs.example.com", "c1", "ingress/default/theirs"));
    });
    let hint = shared.dns().checks(None)[1].hint.clone().unwrap();
    assert!(hint.ends_with("--txt-owner-id eksdemo1-1a2b3c4d --abandon-records --approve"), "{hint}");
    let encrypted = scene().args("", &["--txt-encrypt-enabled"]).dns().checks(None);
    assert_eq!(encrypted[1].status, Status::Skip);
    let unread = Dns { namespaces: Err("needs list namespaces".to_owned()), ..scene().dns() };
    assert_eq!(unread.checks(None)[1], Check::skip("owner", "needs list namespaces"));
}

#[test]
fn records_that_are_not_as_the_objects_ask() {
    let scene = Scene::healthy;
    let fail = (ids::RECORDS, Status::Fail);
    let warn = (ids::RECORDS, Status::Warn);
    let named_as = |host: &str| {
        let mut named = service("c", &json!({"type": "LoadBalancer"}), &[(&format!("{PREFIX}hostname"), host)]);
        named["status"] = json!({"loadBalancer": {"ingress": [{"hostname": BALANCER}]}});
        named
    };
    let host = |name: &'static str| move |it: &mut Scene| it.objects.push(ingress("more", name));
    let only = |sets: Vec<Value>| scene().with(|it| it.sets = sets);
    let app = "app.example.com";
    let long = "x".repeat(62) + ".example.com";
    let nearly = "x".repeat(58) + ".example.com";
    let waits = "--namespace external-dns --name external-dns --hostname app.example.com --wait";
    let of_balancer = |at: &str| vec![alias(app, "A", at), txt("a-app.example.com", "c1", "ingress/default/web")];
    let prefixed = |key: &str| service("s", &json!({"type": "ClusterIP"}), &[(key, "s.example.com")]);
    let named = |name: &str, key: &str| {
        let host = format!("{name}.example.com");
        let mut object = service(name, &json!({"type": "LoadBalancer"}), &[(key, &host)]);
        object["status"] = json!({"loadBalancer": {"ingress": [{"hostname": BALANCER}]}});
        object
    };
    verify(vec![
        ("no record", only(vec![]), fail, &["no record for app.example.com of ingress/default/web"], waits),
        (
            "no zone",
            scene().args("--domain-filter", &[]).with(host("a.example.org")),
            fail,
            &["a.example.org (no hosted zone"],
            "create-hosted-zone --name example.org",
        ),
        (
            "zone left out",
            scene()
                .args("--domain-filter", &["--zone-id-filter=Z1"])
                .with(host("a.example.org"))
                .with(|it| it.zones.push(zone("Z2", "example.org", false))),
            fail,
            &["a.example.org (--zone-id-filter leaves example.org (Z2) out)"],
            "--zone-id-filter Z1 --zone-id-filter Z2 --approve",
        ),
        (
            "foreign",
            only(made(app, "c2", "ingress/shop/web")),
            fail,
            &["app.example.com A (c2, ingress/shop/web)"],
            "--owner c2",
        ),
        (
            "unowned",
            only(vec![alias(app, "A", BALANCER)]),
            fail,
            &["records of nobody", "app.example.com A"],
            r#""Action":"CREATE""#,
        ),
        (
            "unowned, elsewhere",
            only(vec![set(app, "A", "192.0.2.1")]),
            fail,
            &["app.example.com A → 192.0.2.1"],
            r"external-dns/resource=ingress/default/web\",
        ),
        (
            "unowned CNAME",
            only(vec![set(app, "CNAME", "old.example.net")]),
            fail,
            &["it has to be deleted"],
            r#""Action":"DELETE""#,
        ),
        (
            "elsewhere",
            only(of_balancer("old.us-east-1.elb.amazonaws.com")),
            fail,
            &["→ old.us-east-1.elb.amazonaws.com, not k8s-web"],
            waits,
        ),
        (
            "elsewhere, create-only",
            only(of_balancer("old.us-east-1.elb.amazonaws.com")).args("--policy", &["--policy=create-only"]),
            fail,
            &["elsewhere"],
            "--policy upsert-only",
        ),
        (
            "orphan of another",
            only(vec![txt("a-app.example.com", "c2", "ingress/shop/web")]),
            fail,
            &["would make its record c2's"],
            DELETES,
        ),
        (
            "older naming",
            only(vec![alias(app, "A", BALANCER), txt("cname-app.example.com", "c1", "ingress/default/web")]),
            warn,
            &["older naming"],
            "--hostname app.example.com --wait",
        ),
        (
            "apex",
            scene().with(host("example.com")).with(|it| it.sets.push(alias("example.com", "A", BALANCER))),
            warn,
            &["example.com A (a-example.com isn't in example.com); --txt-prefix", "leave 2 records without an owner"],
            "",
        ),
        (
            "long label",
            scene().with(|it| {
                it.objects.push(ingress("l", &long));
                it.sets.push(alias(&long, "A", BALANCER));
            }),
            warn,
            &["too long"],
            "",
        ),
        (
            "long label of an older version",
            scene().with(|it| {
                it.version = "v0.21.0";
                it.args.retain(|arg| !arg.starts_with("--enable-legacy"));
                it.objects = vec![ingress("l", &nearly)];
                it.sets = vec![alias(&nearly, "A", BALANCER)];
            }),
            warn,
            &["too long", "cname-xxx"],
            "",
        ),
        (
            "disputed",
            scene().with(|it| it.sets.push(txt(app, "c2", "ingress/shop/web"))),
            warn,
            &["several owners for app.example.com A (c1, c2)"],
            "--class conflict",
        ),
        (
            "domain in another letter case",
            scene().with(|it| it.objects.push(named_as("x.Example.com"))),
            fail,
            &["no record for x.example.com of service/default/c (written x.Example.com: "],
            "kubectl annotate service c --namespace default external-dns.kubernetes.io/hostname=x.example.com --overwrite",
        ),
        (
            "label in another letter case",
            scene().with(|it| it.objects.push(named_as("X.example.com"))),
            fail,
            &["no record for x.example.com of service/default/c"],
            "--hostname x.example.com --wait",
        ),
        (
            "of a type that is left out",
            scene().args("", &["--managed-record-types=CNAME"]),
            warn,
            &["doesn't keep up any more: app.example.com A (--managed-record-types leaves A out)"],
            "irsactl install external-dns",
        ),
        (
            "own id given up",
            scene().with(|it| it.sets = made(app, "eksdemo1-1a2b3c4d", "ingress/default/web")),
            fail,
            &[
                "(eksdemo1-1a2b3c4d, ingress/default/web): the id that is this installation's own, before --txt-owner-id=c1",
            ],
            "--txt-owner-id eksdemo1-1a2b3c4d --abandon-records --approve",
        ),
        (
            "own id given up, with records by now",
            scene().with(|it| {
                it.sets.extend(made("b.example.com", "eksdemo1-1a2b3c4d", "ingress/default/b"));
                it.objects.push(ingress("b", "b.example.com"));
            }),
            fail,
            &["before --txt-owner-id=c1, under which it owns 2 records by now"],
            "irsactl get dnsrecords",
        ),
        (
            "source gone",
            scene().with(|it| it.sets.extend(made("old.example.com", "c1", "ingress/default/old"))),
            warn,
            &["old.example.com A of ingress/default/old"],
            DELETES,
        ),
        (
            "orphan TXT",
            scene().with(|it| it.sets.push(txt("a-ghost.example.com", "c1", "ingress/default/ghost"))),
            warn,
            &["without their record: a-ghost.example.com"],
            DELETES,
        ),
        (
            "obsolete TXT",
            scene().with(|it| it.sets.push(txt("cname-app.example.com", "c1", "ingress/default/web"))),
            warn,
            &["no use any more: cname-app.example.com"],
            DELETES,
        ),
        (
            "unread prefix",
            scene()
                .args("--enable-legacy", &[])
                .with(|it| it.objects.push(prefixed(&format!("{LEGACY_PREFIX}hostname")))),
            warn,
            &["hostname of service/default/s"],
            "--annotation-prefix external-dns.kubernetes.io/ --legacy-annotations=true --approve",
        ),
        (
            "unread prefix of v0.21",
            scene().args("--enable-legacy", &[]).with(|it| {
                it.version = "v0.21.0";
                it.objects = vec![prefixed(&format!("{PREFIX}hostname"))];
                it.sets.clear();
            }),
            warn,
            &["hostname of service/default/s"],
            "--annotation-prefix external-dns.kubernetes.io/ --approve",
        ),
        (
            "either prefix, of which v0.21 reads one",
            scene().args("--enable-legacy", &[]).with(|it| {
                it.version = "v0.21.0";
                it.objects =
                    vec![named("s", &format!("{PREFIX}hostname")), named("t", &format!("{LEGACY_PREFIX}hostname"))];
                it.sets =
                    vec![alias("t.example.com", "A", BALANCER), txt("cname-t.example.com", "c1", "service/default/t")];
            }),
            warn,
            &["hostname of service/default/s"],
            "kubectl annotate service s --namespace default external-dns.alpha.kubernetes.io/hostname=s.example.com",
        ),
        (
            "a prefix of its own",
            scene().args("--enable-legacy", &["--annotation-prefix=dns.example.io/"]).with(|it| {
                it.objects.push(prefixed(&format!("{LEGACY_PREFIX}hostname")));
            }),
            warn,
            &["hostname of service/default/s"],
            "kubectl annotate service s --namespace default dns.example.io/hostname=s.example.com",
        ),
        (
            "no pods",
            scene().with(|it| {
                it.objects.push(service(
                    "h",
                    &json!({"clusterIP": "None"}),
                    &[(&format!("{PREFIX}hostname"), "h.example.com")],
                ));
            }),
            warn,
            &["no record (yet) for h.example.com"],
            "--hostname h.example.com",
        ),
    ]);
}

#[test]
fn a_zone_of_one_name_that_lacks_the_record_is_named_and_left_out() {
    for private in [true, false] {
        let mut dns = Scene::healthy().with(|it| it.zones[0].private = !private).dns();
        let empty = Contents { zone: zone("Z2", "example.com", private), found: Vec::new(), sets: Vec::new() };
        dns.zones.as_mut().unwrap().push(empty.zone.clone());
        dns.records.as_mut().unwrap().push(empty.clone());
        let (checks, kept) = (dns.checks(None), if private { "public" } else { "private" });
        let lacks = format!("no record for app.example.com of ingress/default/web in {}", shown(&empty.zone));
        assert!(checks[2].fails() && checks[2].message.starts_with(&lacks), "{checks:#?}");
        let hint = checks[2].hint.clone().unwrap();
        assert!(hint.ends_with(&format!("--aws-zone-type {kept} --approve")), "{hint}");
        assert_eq!(checks[0].hint, checks[2].hint, "the same for the zones");
    }
}

#[test]
fn many_findings_are_shortened_and_removed_together() {
    let mut scene = Scene::healthy();
    scene.sets = (0..12).flat_map(|n| made(&format!("old{n}.example.com"), "c1", "ingress/default/old")).collect();
    scene.objects.clear();
    let check = scene.broken();
    assert!(check.message.contains(" and 19 more, which may go once nothing needs them"), "{}", check.message);
    let hint = check.hint.unwrap();
    assert!(hint.starts_with(DELETES) && hint.matches("DELETE").count() == 48, "{hint}");
}

#[test]
fn weighted_records_of_several_clusters_get_along() {
    let weighted = |mut set: Value, id: &str| {
        set["SetIdentifier"] = json!(id);
        set["Weight"] = json!(10);
        set
    };
    let mut scene = Scene::healthy();
    scene.objects[0]["metadata"]["annotations"] = json!({(format!("{PREFIX}set-identifier")): "c1"});
    let of = |id: &'static str| {
        made("app.example.com", id, "ingress/default/web").into_iter().map(move |set| weighted(set, id))
    };
    scene.sets = of("c1").chain(of("c2")).collect();
    assert!(scene.dns().checks(None).iter().all(|check| check.status == Status::Pass));
    scene.sets = of("c2").chain([weighted(alias("app.example.com", "A", BALANCER), "c1")]).collect();
    assert!(scene.broken().hint.unwrap().contains(r#""SetIdentifier":"c1""#));
}

#[test]
fn what_can_not_be_read_is_skipped_with_the_reason() {
    let dns = Scene::healthy().dns();
    let denied = Dns {
        zones: Err("needs route53:ListHostedZones".to_owned()),
        records: Err("no zones".to_owned()),
        ..dns.clone()
    };
    let statuses =
        |dns: &Dns| dns.checks(None).into_iter().map(|check| (check.status, check.message)).collect::<Vec<_>>();
    let skip = |why: &str| (Status::Skip, why.to_owned());
    assert_eq!(statuses(&denied), [skip("needs route53:ListHostedZones"), skip("no zones"), skip("no zones")]);
    let forbidden = Dns { objects: Err("needs list ingresses".to_owned()), ..dns };
    assert_eq!(statuses(&forbidden)[2], skip("needs list ingresses"));
    assert_eq!(follow(&forbidden, "app.example.com").status, Status::Skip);
    // Records of objects that can't be read aren't left over.
    let mut unread = Scene::healthy().args("", &["--source=gateway-httproute"]).with(|it| it.objects.clear()).dns();
    assert_eq!(follow(&unread, "app.example.com").status, Status::Fail);
    unread.unread = vec!["may not list httproutes".to_owned()];
    let found = unread.checks(None).pop().unwrap();
    assert_eq!(found.status, Status::Skip, "{found:?}");
    assert!(found.message.contains("may not list httproutes"), "{found:?}");
    assert_eq!(follow(&unread, "app.example.com").status, Status::Skip);
    let mut lost = Scene::healthy();
    lost.zones.clear();
    assert_eq!(lost.dns().checks(None)[2].status, Status::Skip);
}

#[test]
fn a_name_is_followed_to_where_it_is_lost() {
    let scene = Scene::healthy;
    let annotated = |key: &'static str, value: &'static str| {
        move |it: &mut Scene| it.objects[0]["metadata"]["annotations"][key] = json!(value)
    };
    let named = |key: &str| {
        service("s", &json!({"type": "LoadBalancer", "clusterIP": "10.0.0.1"}), &[(key, "app.example.com")])
    };
    let app = "app.example.com";
    let cases: Vec<(&str, Scene, &str, &[&str], &str)> = vec![
        (
            "a typo",
            scene(),
            "ap.example.com",
            &["no object asks for ap.example.com", "ingress/default/web asks for app.example.com"],
            "kubectl edit ingress web --namespace default",
        ),
        (
            "nothing like it",
            scene(),
            "db.example.net",
            &["no object asks for db.example.net"],
            "kubectl get ingresses,services",
        ),
        (
            "only a record",
            scene().with(|it| it.sets.push(set("raw.example.com", "A", "192.0.2.1"))),
            "raw.example.com",
            &["A → 192.0.2.1 (no owner)"],
            "kubectl",
        ),
        (
            "source",
            scene().args("--source=ingress", &[]),
            app,
            &["ingress isn't among its sources"],
            "--source service --source ingress --approve",
        ),
        (
            "namespace",
            scene().args("", &["--namespace=prod"]),
            app,
            &["--namespace=prod leaves namespace default out"],
            "irsactl install external-dns",
        ),
        (
            "class",
            scene().args("", &["--ingress-class=nginx"]),
            app,
            &["--ingress-class=nginx leaves class alb out"],
            "--ingress-class nginx --ingress-class alb --approve",
        ),
        (
            "no class",
            scene()
                .args("", &["--ingress-class=nginx"])
                .with(|it| it.objects[0]["spec"]["ingressClassName"] = Value::Null),
            app,
            &["it has no class"],
            r#"kubectl patch ingress web --namespace default --type merge --patch '{"spec":{"ingressClassName":"nginx"}}'"#,
        ),
        (
            "labels",
            scene().args("", &["--label-filter=dns=yes"]),
            app,
            &["--label-filter=dns=yes leaves it out"],
            "kubectl label ingress web --namespace default dns=yes --overwrite",
        ),
        (
            "annotations",
            scene().args("", &["--annotation-filter=dns in (a,b)"]),
            app,
            &["--annotation-filter"],
            "irsactl install external-dns",
        ),
        (
            "controller",
            scene().with(annotated("external-dns.kubernetes.io/controller", "other")),
            app,
            &["another controller"],
            "kubectl annotate ingress web --namespace default external-dns.kubernetes.io/controller-",
        ),
        (
            "controller under the older prefix",
            scene().with(annotated("external-dns.alpha.kubernetes.io/controller", "other")),
            app,
            &["another controller"],
            "kubectl annotate ingress web --namespace default external-dns.alpha.kubernetes.io/controller-",
        ),
        (
            "rules left out by an annotation",
            scene().with(annotated("external-dns.kubernetes.io/ingress-hostname-source", "annotation-only")),
            app,
            &["has app.example.com in its rules", "ingress-hostname-source leaves out"],
            "kubectl annotate ingress web --namespace default external-dns.kubernetes.io/ingress-hostname-source-",
        ),
        (
            "an annotation of others",
            scene().with(annotated("dns.example.io/hostname", "odd.example.com")),
            "odd.example.com",
            &["under dns.example.io/hostname, which isn't read"],
            "kubectl annotate ingress web --namespace default external-dns.kubernetes.io/hostname=odd.example.com",
        ),
        (
            "a short name that is like another by chance",
            scene(),
            "ao.example.com",
            &["no object asks for ao.example.com"],
            "kubectl get ingresses,services",
        ),
        (
            "no load balancer at all",
            scene().with(|it| {
                let spec = json!({"type": "ClusterIP", "clusterIP": "10.0.0.1"});
                it.objects = vec![service("s", &spec, &[(&format!("{PREFIX}hostname"), "app.example.com")])];
            }),
            app,
            &["type ClusterIP"],
            "--extra-arg=--publish-internal-services",
        ),
        (
            "record type",
            scene().args("", &["--managed-record-types=CNAME"]).with(|it| it.sets.clear()),
            app,
            &["--managed-record-types leaves A out"],
            "irsactl install external-dns",
        ),
        (
            "service type",
            scene()
                .args("", &["--service-type-filter=ClusterIP"])
                .with(|it| it.objects = vec![named(&format!("{PREFIX}hostname"))]),
            app,
            &["type LoadBalancer"],
            "--extra-arg=--service-type-filter=LoadBalancer",
        ),
        (
            "unread prefix",
            scene()
                .args("--enable-legacy", &[])
                .with(|it| it.objects = vec![named(&format!("{LEGACY_PREFIX}hostname"))]),
            app,
            &["under external-dns.alpha.kubernetes.io/hostname, which isn't read"],
            "--legacy-annotations=true",
        ),
        (
            "rules ignored",
            scene().args("", &["--ignore-ingress-rules-spec"]),
            app,
            &["--ignore-ingress-rules-spec says not to look"],
            "irsactl install",
        ),
        (
            "no address",
            scene().with(|it| it.objects[0]["status"] = json!({})),
            app,
            &["no load balancer address yet"],
            "kubectl describe ingress web --namespace default",
        ),
        (
            "domain filter",
            scene()
                .args("--domain-filter", &["--domain-filter=example.org"])
                .with(|it| it.zones.push(zone("Z2", "example.org", false))),
            app,
            &["--domain-filter=example.org leaves it out"],
            "--domain-filter example.org --domain-filter example.com --approve",
        ),
        (
            "excluded domain",
            scene().args("", &["--exclude-domains=app.example.com"]),
            app,
            &["--exclude-domains=app.example.com leaves it out"],
            "--approve",
        ),
        (
            "no zone",
            scene().args("--domain-filter", &[]).with(|it| it.zones[0].name = "example.org".to_owned()),
            app,
            &["no hosted zone of the account takes app.example.com"],
            "create-hosted-zone --name example.com",
        ),
        (
            "zone type",
            scene().args("--domain-filter", &["--aws-zone-type=private"]),
            app,
            &["--aws-zone-type=private leaves example.com (Z1) out"],
            "--aws-zone-type public",
        ),
        (
            "not written",
            scene().with(|it| it.sets.clear()),
            app,
            &["no record for app.example.com"],
            "--hostname app.example.com --wait",
        ),
        (
            "conflict",
            scene().with(|it| it.sets = made(app, "c2", "ingress/shop/web")),
            app,
            &["c2, ingress/shop/web"],
            "--owner c2",
        ),
        (
            "elsewhere",
            scene().with(|it| it.sets[0] = alias(app, "A", "x.elb.amazonaws.com")),
            app,
            &["→ x.elb.amazonaws.com"],
            "--wait",
        ),
    ];
    for (name, scene, host, parts, hint) in cases {
        let check = follow(&scene.dns(), host);
        assert_eq!((check.id, check.status), (ids::HOSTNAME, Status::Fail), "{name}: {check:#?}");
        assert!(parts.iter().all(|part| check.message.contains(part)), "{name}: {check:#?}");
        assert!(check.hint.as_ref().is_some_and(|found| found.contains(hint)), "{name}: {check:#?}");
    }
}

#[test]
fn the_records_of_an_object_that_a_filter_leaves_out_are_no_leftovers() {
    for (args, hint) in [
        (&["--ingress-class=nginx"][..], "--ingress-class nginx --ingress-class alb"),
        (&["--label-filter=dns=yes"], "kubectl label ingress web"),
        (&["--namespace=prod"], "irsactl install"),
        (&["--ignore-ingress-rules-spec"], "irsactl install"),
        (&["--exclude-domains=app.example.com"], "irsactl install"),
    ] {
        let check = Scene::healthy().args("", args).broken();
        assert_eq!((check.id, check.status), (ids::RECORDS, Status::Warn), "{args:?}: {check:#?}");
        let found = check.hint.unwrap();
        assert!(found.contains(hint) && !found.contains("DELETE"), "{args:?}: {found}");
        assert!(check.message.contains("ingress/default/web asks for app.example.com"), "{}", check.message);
    }
}

#[test]
fn names_of_what_is_not_looked_at_are_not_judged() {
    let templated = Scene::healthy().args("", &["--fqdn-template={{.Name}}.t.example.com"]);
    assert_eq!(follow(&templated.dns(), "web.t.example.com").status, Status::Skip);
    let beside = Scene::healthy().args("", &["--source=istio-gateway"]);
    let said = "no object that is looked at asks for ap.example.com, ingress/default/web asks for app.example.com; \
                hosts of istio-gateway aren't";
    assert_eq!(follow(&beside.dns(), "ap.example.com"), Check::skip("hostname", said));
}

#[test]
fn hosts_that_can_not_be_read_are_skipped_and_no_pass() {
    let records = |scene: &Scene| scene.dns().checks(None).pop().unwrap();
    let only = Scene::healthy().args("--source", &["--source=istio-gateway"]).with(|it| {
        it.objects.clear();
        it.sets.clear();
    });
    assert_eq!(records(&only), Check::skip("records", "hosts of istio-gateway aren't looked at here"));
    let beside = Scene::healthy().args("", &["--source=node"]);
    let said = "1 host, with records of ours; hosts of node aren't looked at here";
    assert_eq!(records(&beside), Check::skip("records", said));
    // A host that can be read is judged all the same.
    assert_eq!(beside.dns().checks(Some("app.example.com"))[2].status, Status::Pass);
    assert_eq!(records(&beside.with(|it| it.sets.clear())).status, Status::Fail);
}

#[test]
fn commands_about_zones_of_another_account_say_where_they_run() {
    let role = "--aws-assume-role=arn:aws:iam::444455556666:role/dns";
    let scene = || Scene::healthy().args("", &[role, "--txt-prefix=x-%{record_type}."]);
    let renamed = |scene: Scene, owner: &'static str| {
        scene.with(|it| {
            it.sets[2] = txt("x-a.app.example.com", owner, "ingress/default/web");
            it.sets[3] = txt("x-aaaa.app.example.com", owner, "ingress/default/web");
        })
    };
    let hint = |scene: Scene| scene.broken().hint.unwrap();
    assert_eq!(
        hint(renamed(scene(), "c2")),
        "in account 444455556666: irsactl get dnsrecords --region us-east-1 --txt-prefix 'x-%{record_type}.' \
         --txt-owner-id c1 --owner c2"
    );
    let gone = renamed(scene(), "c1").with(|it| it.objects.clear());
    assert!(hint(gone).starts_with("in account 444455556666: aws route53 change-resource-record-sets"));
    let no_zone = |scene: Scene| hint(scene.with(|it| it.zones.clear()));
    assert!(no_zone(scene()).starts_with("in account 444455556666: aws route53 create-hosted-zone --name example.com"));
    let private = no_zone(Scene::healthy().args("", &["--aws-zone-type=private"]));
    assert!(
        private.ends_with(
            "--hosted-zone-config PrivateZone=true --vpc VPCRegion=us-east-1,VPCId=\"$(aws eks describe-cluster --name \
             eksdemo1 --region us-east-1 --query cluster.resourcesVpcConfig.vpcId --output text)\""
        ),
        "{private}"
    );
}

#[test]
fn a_host_that_is_pinned_to_a_zone_has_its_record_there_alone() {
    let pinned = |version: &'static str, id: &str| {
        let scene = Scene::healthy().args("--enable-legacy", &[]);
        let annotations = json!({(format!("{PREFIX}aws-hosted-zone-id")): id});
        scene.with(|it| {
            it.version = version;
            it.args.push(format!("--annotation-prefix={PREFIX}"));
            it.zones.push(zone("Z2", "app.example.com", true));
            it.objects[0]["metadata"]["annotations"] = annotations;
        })
    };
    // The scene has a record in each zone; that of the private one is taken away.
    let records = |scene: &Scene| {
        let mut dns = scene.dns();
        dns.records.as_mut().unwrap()[1].found.retain(|owned| owned.record.name != "app.example.com");
        dns.check_records(None)
    };
    assert_eq!(records(&pinned("v0.22.0", "/hostedzone/Z1")).status, Status::Pass);
    assert!(records(&pinned("v0.22.0", "Z2")).message.contains("no record for app.example.com"));
    assert!(records(&pinned("v0.21.0", "Z1")).message.contains("no record for app.example.com"));
    let unknown = records(&pinned("v0.22.0", "Z9"));
    assert_eq!(unknown.status, Status::Fail);
    assert!(unknown.message.contains("zone Z9, which its annotation aws-hosted-zone-id names"), "{unknown:#?}");
    let other = installed("second", "v0.23.0", &["--txt-owner-id=c2".to_owned()]);
    let scene = pinned("v0.22.0", "Z2").args("", &["--aws-zone-type=public"]).with(|it| it.others.push(other));
    assert_eq!(scene.dns().check_records(None).status, Status::Pass);
}

#[test]
fn a_cname_is_what_is_wanted_where_cnames_are_preferred() {
    let unowned = |args: &[&str]| {
        let scene = Scene::healthy().args("", args);
        scene.with(|it| it.sets = vec![set("app.example.com", "CNAME", "old.example.net")]).broken()
    };
    let adopted = unowned(&["--aws-prefer-cname"]);
    assert!(adopted.message.contains("a TXT record makes it ours without an interruption"), "{adopted:#?}");
    let hint = adopted.hint.unwrap();
    assert!(hint.contains("CREATE") && hint.contains("cname-app.example.com") && !hint.contains("DELETE"), "{hint}");
    assert!(unowned(&[]).hint.unwrap().contains("DELETE"));
}

#[test]
fn an_aaaa_record_of_others_is_only_in_the_way_of_one_that_is_wanted() {
    let without_txt = |kind: &'static str| {
        move |it: &mut Scene| it.sets.retain(|set| set["Name"] != format!("{kind}-app.example.com."))
    };
    let alone = without_txt("aaaa");
    let of_addresses = |it: &mut Scene| {
        it.objects[0]["status"]["loadBalancer"]["ingress"] = json!([{"ip": "192.0.2.1"}]);
        it.sets = vec![
            set("app.example.com", "A", "192.0.2.1"),
            set("app.example.com", "AAAA", "2001:db8::1"),
            txt("a-app.example.com", "c1", "ingress/default/web"),
        ];
    };
    let of_version = |version: &'static str| {
        Scene::healthy().args("--enable-legacy", &[]).with(alone).with(|it| {
            it.version = version;
            it.sets.push(txt("cname-app.example.com", "c1", "ingress/default/web"));
            it.sets.retain(|set| set["Name"] != "a-app.example.com.");
        })
    };
    let healthy = [
        Scene::healthy().with(alone).args("", &["--exclude-record-types=AAAA"]),
        Scene::healthy().with(of_addresses),
        of_version("v0.15.0"),
    ];
    for scene in healthy {
        let checks = scene.dns().checks(None);
        assert!(checks.iter().all(|check| check.status == Status::Pass), "{checks:#?}");
    }
    for scene in [Scene::healthy().with(alone), of_version("v0.16.0")] {
        let check = scene.broken();
        assert!(check.message.contains("records of nobody, which it leaves alone: app.example.com AAAA"), "{check:#?}");
    }
}

#[test]
fn the_apex_of_a_zone_is_owned_by_a_txt_record_in_the_zone_above() {
    let dev = "dev.example.com";
    let scene = Scene::healthy().with(|it| {
        it.zones.push(zone("Z2", dev, false));
        it.objects.push(ingress("dev", dev));
        it.sets.extend(made(dev, "c1", "ingress/default/dev"));
    });
    let checks = scene.dns().checks(None);
    assert!(checks.iter().all(|check| check.status == Status::Pass), "{checks:#?}");
    assert_eq!(follow(&scene.dns(), dev).status, Status::Pass);

    // What nothing asks for goes with its TXT records.
    let gone = scene.clone().with(|it| drop(it.objects.pop())).broken();
    let hint = gone.hint.clone().unwrap();
    let (records, txts) = hint.split_once('\n').unwrap();
    assert!(records.contains("--hosted-zone-id Z2") && records.matches("DELETE").count() == 2, "{gone:#?}");
    assert!(txts.contains("--hosted-zone-id Z1") && txts.matches("a-dev.example.com").count() == 2, "{gone:#?}");

    // One of nobody becomes ours by a TXT record above.
    let unowned = scene.clone().with(|it| it.sets.retain(|set| set["Name"] != "a-dev.example.com.")).broken();
    assert!(unowned.message.contains("records of nobody, which it leaves alone: dev.example.com A"), "{unowned:#?}");
    assert!(unowned.hint.unwrap().contains("--hosted-zone-id Z1"));
    // Without the zone above, there is nowhere to write it.
    let alone = scene.args("--domain-filter", &["--domain-filter=dev.example.com"]).dns().checks(None).pop().unwrap();
    assert!(alone.message.contains("a-dev.example.com isn't in dev.example.com"), "{alone:#?}");
}

#[test]
fn records_are_no_leftovers_where_it_can_not_be_told_what_asks() {
    let unlabelled = |name: &str| set(name, "TXT", "\"heritage=external-dns,external-dns/owner=c1\"");
    let named = || service("s", &json!({"type": "LoadBalancer"}), &[("domainName", "s.example.com")]);
    let of_service = |it: &mut Scene| {
        it.objects.push(named());
        it.sets.extend(made("s.example.com", "c1", "service/default/s"));
    };
    let ptr = |it: &mut Scene| {
        it.zones.push(zone("Z2", "2.0.192.in-addr.arpa", false));
        it.sets.push(set("1.2.0.192.in-addr.arpa", "PTR", "app.example.com"));
        it.sets.push(unlabelled("ptr-1.2.0.192.in-addr.arpa"));
    };
    let ptrs = ["--create-ptr", "--managed-record-types=PTR", "--domain-filter=in-addr.arpa"];
    let types = ["--managed-record-types=A", "--managed-record-types=AAAA"];
    let healthy = Scene::healthy();
    let scenes = [
        healthy.clone().args("", &ptrs).args("", &types).with(ptr),
        healthy.clone().args("", &["--compatibility=molecule"]).with(of_service),
        healthy.clone().args("", &["--fqdn-target-template={{.Name}}.example.com:192.0.2.1"]).with(of_service),
        healthy.clone().args("", &["--target-template={{.Name}}.example.net"]).with(|it| {
            it.sets[0] = alias("app.example.com", "A", "web.example.net");
        }),
        healthy.clone().args("", &["--source=node"]).with(|it| {
            it.sets.extend([set("n.example.com", "A", "192.0.2.1"), unlabelled("a-n.example.com")]);
        }),
    ];
    for scene in scenes {
        let checks = scene.dns().checks(None);
        assert!(checks.iter().all(|check| check.hint.is_none() && check.status < Status::Warn), "{checks:#?}");
    }
    // Without the flag, nothing makes them.
    let check = healthy.clone().args("", &ptrs[1..]).args("", &types).with(ptr).broken();
    assert!(check.message.contains("nothing asks any more for 1.2.0.192.in-addr.arpa PTR"), "{check:#?}");
    assert!(healthy.with(of_service).broken().message.contains("s.example.com A of service/default/s"));
}

#[test]
fn one_host_is_judged_without_the_others() {
    let mut scene = Scene::healthy();
    scene.objects.push(ingress("other", "other.example.com"));
    scene.sets.extend(made("other.example.com", "c2", "ingress/default/other"));
    assert!(scene.broken().message.contains("other.example.com"));
    let checks = scene.dns().checks(Some("app.example.com"));
    assert!(checks.iter().all(|check| check.status == Status::Pass), "{checks:#?}");
    // A sibling's records are as good as its own.
    let sibling = installed("second", "v0.23.0", &["--txt-owner-id=c2".to_owned(), "--source=ingress".to_owned()]);
    scene.others.push(sibling);
    assert!(scene.dns().checks(None).iter().all(|check| check.status == Status::Pass));
}

#[test]
fn a_name_that_works_is_shown_with_its_record() {
    let works = follow(&Scene::healthy().dns(), "App.Example.com.");
    let expected =
        format!("ingress/default/web → app.example.com A, AAAA → dualstack.{BALANCER} in example.com (Z1), owner c1");
    assert_eq!(works, Check::pass("hostname", expected));
    let mut wildcard = Scene::healthy();
    wildcard.objects = vec![ingress("web", "*.example.com")];
    wildcard.sets = made(r"\052.example.com", "c1", "ingress/default/web");
    wildcard.sets[2]["Name"] = json!(r"a-\052.example.com.");
    wildcard.sets[3]["Name"] = json!(r"aaaa-\052.example.com.");
    let covered = follow(&wildcard.dns(), "any.example.com");
    assert!(covered.status == Status::Pass && covered.message.contains("*.example.com A, AAAA"), "{covered:?}");
}
