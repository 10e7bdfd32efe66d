//! `verify external-dns` from the zones to the records: each sabotage is found where it is, and its hint mends it.

use aws_sdk_route53::types::{Change, ChangeAction, ChangeBatch, HostedZoneConfig, ResourceRecordSet};
use serde_json::{Value, json};

use crate::support::aws::{PUBLIC_ZONE, change, wait};
use crate::support::{Run, Sandbox, until};

const INSTALL: &str = "install external-dns --cluster eksdemo1 --domain-filter example.com --interval 3s --approve";
const VERIFY: &str = "verify external-dns --cluster eksdemo1 --live=false -o json";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/external-dns/deployments/external-dns";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/external-dns/deployments";
const GATEWAYS: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways";
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

/// One link deserves a look, once the synchronisation under way is over.
#[track_caller]
fn warned(sandbox: &Sandbox, id: &str, parts: &[&str]) -> String {
    holds_but(sandbox, id, parts[0]);
    let run = sandbox.run(VERIFY).ok();
    sandbox.run(&format!("{VERIFY} --strict")).exits(4);
    only(&run, "warn", id, parts)
}

/// Everything holds, without a warning; a synchronisation may be needed for it.
#[track_caller]
fn holds(sandbox: &Sandbox) -> Run {
    sandbox.run(&format!("{VERIFY} --strict --wait --timeout 5m")).ok()
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

/// Tells the installation something else in place of the arguments that begin like this.
fn argued(sandbox: &Sandbox, without: &str, with: &str) {
    let mut containers = sandbox.object(DEPLOYMENT)["spec"]["template"]["spec"]["containers"].clone();
    let args = containers[0]["args"].as_array_mut().unwrap();
    args.retain(|arg| !arg.as_str().unwrap().starts_with(without));
    args.push(json!(with));
    sandbox.patch(DEPLOYMENT, &json!({"spec": {"template": {"spec": {"containers": containers}}}}));
}

/// Has ExternalDNS change no record until the sandbox is healed.
fn hold(sandbox: &Sandbox) {
    sandbox.fault(&json!({"service": "route53", "action": "ChangeResourceRecordSets", "userAgent": "aws-sdk-go",
        "hold": true}));
}

/// Deletes these records, `NAME TYPE`, and makes others in the same moment.
fn replace(sandbox: &Sandbox, gone: &[String], new: &[Value]) {
    let route53 = aws_sdk_route53::Client::new(&sandbox.aws());
    let found = wait(route53.list_resource_record_sets().hosted_zone_id(PUBLIC_ZONE).send()).unwrap();
    let title = |set: &ResourceRecordSet| format!("{} {}", set.name.trim_end_matches('.'), set.r#type.as_str());
    let sets: Vec<_> = found.resource_record_sets.into_iter().filter(|set| gone.contains(&title(set))).collect();
    assert_eq!(sets.len(), gone.len(), "{sets:?}");
    let delete = |set| Change::builder().action(ChangeAction::Delete).resource_record_set(set).build().unwrap();
    let batch = ChangeBatch::builder().set_changes(Some(sets.into_iter().map(delete).collect())).build().unwrap();
    wait(route53.change_resource_record_sets().hosted_zone_id(PUBLIC_ZONE).change_batch(batch).send()).unwrap();
    if !new.is_empty() {
        create(sandbox, new);
    }
}

/// The name is followed to its record.
#[track_caller]
fn found(sandbox: &Sandbox, host: &str, resource: &str) {
    let run = sandbox.run(&format!("{VERIFY} --hostname {host} --wait --strict --timeout 5m")).ok();
    run.shows(&[&format!("{resource} → {host} A, AAAA")]);
}

/// The name is lost, and nothing else; where, and the hint.
#[track_caller]
fn lost(sandbox: &Sandbox, host: &str, parts: &[&str]) -> String {
    let run = until("one name is lost", || {
        let run = sandbox.run(&format!("{VERIFY} --hostname {host}"));
        (with_status(&run, "fail").len() == 1).then_some(run)
    });
    only(&run.exits(4), "fail", "hostname", parts)
}

/// An installation that has made the record of an Ingress, and is verified from end to end; its owner id.
fn healthy(sandbox: &Sandbox) -> String {
    sandbox.run(INSTALL).ok();
    sandbox.create_ingress("web", "app.example.com");
    sandbox.run("verify external-dns --cluster eksdemo1 --hostname app.example.com --wait --strict --timeout 5m").ok();
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
    let run = sandbox.run(VERIFY).exits(4);
    let hint = only(&run, "warn", "zones", &["zones of one name get the same records: example.com ("]);
    let lacks =
        ["no record for app.example.com", ", private): example.com (Z0421873X5K9QJ2VH7RW) of the same name has it"];
    assert_eq!(only(&run, "fail", "records", &lacks), hint);
    assert!(hint.contains("--aws-zone-type public"), "{hint}");
    sandbox.follow(&hint);
    holds(&sandbox);

    argued(&sandbox, "--domain-filter", "--domain-filter=exmaple.com");
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
    let run = sandbox.run(&format!("{VERIFY} --hostname two.example.com --strict --wait --timeout 5m")).ok();
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
}

#[test]
fn a_name_that_is_left_out_is_let_in_by_the_hint() {
    let sandbox = Sandbox::lease();
    healthy(&sandbox);
    let (app, web) = ("app.example.com", "ingress/default/web");
    let mended = |hint: &str| {
        sandbox.follow(hint);
        found(&sandbox, app, web);
    };
    sandbox.run(&format!("{INSTALL} --ingress-class nginx")).ok();
    let hint = lost(&sandbox, app, &["--ingress-class=nginx leaves it out, as it has no class"]);
    assert!(hint.starts_with("kubectl patch ingress web --namespace default --type merge"), "{hint}");
    mended(&hint);
    sandbox.patch(&format!("{INGRESSES}/web"), &json!({"spec": {"ingressClassName": "alb"}}));
    let hint = lost(&sandbox, app, &["--ingress-class=nginx leaves class alb out"]);
    mended(&hint);

    sandbox.run(&format!("{INSTALL} --label-filter dns=on")).ok();
    let hint = lost(&sandbox, app, &["ingress/default/web asks for app.example.com, and --label-filter=dns=on"]);
    assert!(hint.starts_with("kubectl label ingress web "), "{hint}");
    mended(&hint);
    sandbox.run(&format!("{INSTALL} --annotation-filter dns=on")).ok();
    let hint = lost(&sandbox, app, &["ingress/default/web asks for app.example.com, and --annotation-filter=dns=on"]);
    assert!(hint.starts_with("kubectl annotate ingress web "), "{hint}");
    mended(&hint);
    sandbox.patch(&format!("{INGRESSES}/web"), &json!({"metadata": {"annotations": {"dns": "off"}}}));
    let hint = lost(&sandbox, app, &["--annotation-filter=dns=on leaves it out"]);
    mended(&hint);

    sandbox.run(INSTALL).ok();
    let status = format!("{INGRESSES}/web/status");
    let balancer = sandbox.object(&status)["status"].clone();
    sandbox.patch(&status, &json!({"status": {"loadBalancer": {"ingress": []}}}));
    let hint = lost(&sandbox, app, &["ingress/default/web asks for app.example.com", "no load balancer address yet"]);
    assert_eq!(hint, "kubectl describe ingress web --namespace default");
    sandbox.patch(&status, &json!({"status": balancer}));
    found(&sandbox, app, web);

    sandbox.create_ingress("org", "www.example.org");
    let hint = lost(&sandbox, "www.example.org", &["--domain-filter=example.com leaves it out", "no hosted zone"]);
    assert!(hint.starts_with("aws route53 create-hosted-zone --name example.org"), "{hint}");
    sandbox.follow(&hint);
    let hint = lost(&sandbox, "www.example.org", &["--domain-filter=example.com leaves it out"]);
    sandbox.follow(&hint);
    found(&sandbox, "www.example.org", "ingress/default/org");
    found(&sandbox, app, web);
}

#[test]
fn services_and_routes_are_followed_to_their_records() {
    let sandbox = Sandbox::lease();
    for (kind, plural) in [("HTTPRoute", "httproutes"), ("Gateway", "gateways")] {
        sandbox.serve("gateway.networking.k8s.io", "v1", kind, plural);
    }
    sandbox.run(&format!("{INSTALL} --source service --source gateway-httproute")).ok();
    let balancer = "k8s-default-svc-0a1b2c3d4e-1234567890.us-west-2.elb.amazonaws.com";
    create_service(&sandbox, "svc", "svc.example.com", balancer);
    create_route(&sandbox, "route", "route.example.com", balancer);

    for (host, resource) in
        [("svc.example.com", "service/default/svc"), ("route.example.com", "httproute/default/route")]
    {
        found(&sandbox, host, resource);
        let titles = |names: &[&str]| names.iter().map(|name| name.replace('@', host)).collect::<Vec<_>>();

        hold(&sandbox);
        replace(&sandbox, &titles(&["@ A", "@ AAAA", "a-@ TXT", "aaaa-@ TXT"]), &[]);
        let hint = broken(&sandbox, "records", &[&format!("no record for {host} of {resource}")]);
        sandbox.heal();
        sandbox.follow(&hint);
        holds(&sandbox);

        hold(&sandbox);
        replace(&sandbox, &titles(&["@ A"]), &[record(host, "A", "192.0.2.9")]);
        let hint = broken(&sandbox, "records", &[&format!("pointing elsewhere: {host} A → 192.0.2.9, not {balancer}")]);
        sandbox.heal();
        sandbox.follow(&hint);
        holds(&sandbox);

        hold(&sandbox);
        let txt = [txt(&format!("a-{host}"), "other", "service/shop/web")];
        replace(&sandbox, &titles(&["a-@ TXT"]), &txt);
        let others = format!("records of others, which it leaves alone: {host} A (other, service/shop/web)");
        let hint = broken(&sandbox, "records", &[&others]);
        sandbox.follow(&hint);
        let run = sandbox.run(&format!("{VERIFY} --hostname {host}")).exits(4);
        let found = with_status(&run, "fail").pop().unwrap();
        let said = format!("{resource} asks for {host}; {others}");
        assert!(found["id"] == "hostname" && found["message"].as_str().unwrap().starts_with(&said), "{found}");
        replace(&sandbox, &titles(&["@ A", "a-@ TXT"]), &[]);
        sandbox.heal();
        holds(&sandbox);
    }

    sandbox.delete("/api/v1/namespaces/default/services/svc");
    let hint = warned(&sandbox, "records", &["nothing asks any more for svc.example.com A of service/default/svc"]);
    sandbox.follow(&hint);
    holds(&sandbox);
    sandbox.patch(&format!("{GATEWAYS}/gw"), &json!({"status": {"addresses": []}}));
    let hint = lost(&sandbox, "route.example.com", &["httproute/default/route asks for", "no load balancer address"]);
    assert_eq!(hint, "kubectl describe httproute route --namespace default");
}

/// A Service with a load balancer, as the controller of the cloud would leave it.
fn create_service(sandbox: &Sandbox, name: &str, host: &str, balancer: &str) {
    let services = "/api/v1/namespaces/default/services";
    let metadata = json!({"name": name, "annotations": {"external-dns.kubernetes.io/hostname": host}});
    sandbox.create(services, &json!({"metadata": metadata, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}));
    let status = json!({"status": {"loadBalancer": {"ingress": [{"hostname": balancer}]}}});
    sandbox.patch(&format!("{services}/{name}/status"), &status);
}

/// A route and its Gateway `gw`, as the controller of the Gateway API would leave them.
fn create_route(sandbox: &Sandbox, name: &str, host: &str, balancer: &str) {
    let kind = |kind: &str| json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind});
    let merged = |mut object: Value, rest: Value| {
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        object
    };
    let listeners = json!([{"name": "http", "protocol": "HTTP", "port": 80}]);
    let gateway = json!({"metadata": {"name": "gw"}, "spec": {"gatewayClassName": "alb", "listeners": listeners},
        "status": {"addresses": [{"type": "Hostname", "value": balancer}]}});
    sandbox.create(GATEWAYS, &merged(kind("Gateway"), gateway));
    let accepted = json!([{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    let parent = json!({"parentRef": {"name": "gw"}, "controllerName": "example.com/alb", "conditions": accepted});
    let route = json!({"metadata": {"name": name}, "spec": {"hostnames": [host], "parentRefs": [{"name": "gw"}]},
        "status": {"parents": [parent]}});
    let routes = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes";
    sandbox.create(routes, &merged(kind("HTTPRoute"), route));
}

#[test]
fn an_owner_id_of_two_installations_is_given_up_by_one() {
    let sandbox = Sandbox::lease();
    sandbox.run(&format!("{INSTALL} --txt-owner-id team")).ok();
    sandbox.create_ingress("web", "app.example.com");
    found(&sandbox, "app.example.com", "ingress/default/web");
    let twin = format!("{DEPLOYMENTS}/twin");
    let label = json!({"app": "twin"});
    let mut deployment = sandbox.object(DEPLOYMENT);
    deployment["metadata"] = json!({"name": "twin"});
    deployment["spec"]["replicas"] = json!(0);
    deployment["spec"]["selector"]["matchLabels"] = label.clone();
    deployment["spec"]["template"]["metadata"]["labels"] = label;
    sandbox.create(DEPLOYMENTS, &deployment);
    let hint = broken(&sandbox, "owner", &["owner id team is also that of external-dns/twin"]);
    sandbox.follow(&hint);
    holds(&sandbox);
    found(&sandbox, "app.example.com", "ingress/default/web");

    // The id that is its own is the other's to give up.
    let args = sandbox.object(DEPLOYMENT)["spec"]["template"]["spec"]["containers"].clone();
    let team = sandbox.object(&twin)["spec"]["template"]["spec"]["containers"].clone();
    sandbox.patch(&twin, &json!({"spec": {"template": {"spec": {"containers": args}}}}));
    let hint = broken(&sandbox, "owner", &["is also that of external-dns/twin"]);
    assert_eq!(hint, "kubectl edit deployment twin --namespace external-dns");
    sandbox.patch(&twin, &json!({"spec": {"template": {"spec": {"containers": team}}}}));
    holds(&sandbox);
}

#[test]
fn txt_records_of_older_naming_and_none_at_all() {
    let sandbox = Sandbox::lease();
    let owner = healthy(&sandbox);
    sandbox.run(&format!("{INSTALL} --policy create-only")).ok();
    holds(&sandbox);
    let old = txt("app.example.com", &owner, "ingress/default/web");
    replace(&sandbox, &["a-app.example.com TXT".to_owned()], &[old]);
    let hint = warned(&sandbox, "records", &["TXT records of an older naming", "app.example.com A"]);
    sandbox.follow(&hint);
    let hint = until("they are migrated", || {
        let run = sandbox.run(VERIFY);
        let found = with_status(&run, "warn");
        let useless = |check: &&Value| check["message"].as_str().unwrap().contains("no use any more: app.example.com");
        found.iter().find(useless).map(|check| check["hint"].as_str().unwrap().to_owned())
    });
    sandbox.follow(&hint);
    holds(&sandbox);
    found(&sandbox, "app.example.com", "ingress/default/web");

    argued(&sandbox, "--registry", "--registry=noop");
    let hint = warned(&sandbox, "owner", &["--registry=noop: nothing says which records are its own"]);
    sandbox.follow(&hint);
    holds(&sandbox);
}

#[test]
fn the_apex_of_a_zone_is_owned_by_a_txt_record_in_the_zone_above() {
    let sandbox = Sandbox::lease();
    let owner = healthy(&sandbox);
    let route53 = aws_sdk_route53::Client::new(&sandbox.aws());
    wait(route53.create_hosted_zone().name("dev.example.com").caller_reference("2").send()).unwrap();
    sandbox.create_ingress("dev", "dev.example.com");
    sandbox.run(&format!("{VERIFY} --hostname dev.example.com --wait --strict --timeout 5m")).ok();
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
    sandbox.follow(records);
    holds(&sandbox);
}

#[test]
fn filters_and_what_others_share_are_mended_by_the_hint() {
    let sandbox = Sandbox::lease();
    healthy(&sandbox);
    let route53 = aws_sdk_route53::Client::new(&sandbox.aws());
    wait(route53.create_hosted_zone().name("sub.example.com").caller_reference("2").send()).unwrap();

    // A wrong id isn't mended by all zones.
    argued(&sandbox, "--zone-id-filter", "--zone-id-filter=Z0000000000");
    let hint = broken(&sandbox, "zones", &["--zone-id-filter=Z0000000000: there is no such zone; there is "]);
    assert_eq!(hint, "");
    argued(&sandbox, "--zone-id-filter", "--zone-id-filter=Z0421873X5K9QJ2VH7RW,Z0000000000");
    let hint = broken(&sandbox, "zones", &["one id with a comma in it"]);
    assert!(hint.contains("--zone-id-filter Z0421873X5K9QJ2VH7RW --approve"), "{hint}");
    sandbox.follow(&hint);
    holds(&sandbox);

    argued(&sandbox, "--aws-zone-type", "--aws-zone-type=private");
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
    let hint = warned(&sandbox, "owner", &["--policy=sync deletes in zones that it shares with other (1 record)"]);
    sandbox.follow(&hint);
    holds(&sandbox);
}

#[test]
fn arguments_and_names_that_give_records_up_are_mended_by_the_hint() {
    let sandbox = Sandbox::lease();
    let owner = healthy(&sandbox);

    argued(&sandbox, "--txt-owner-id", "--txt-owner-id=other");
    let own = format!("({owner}, ingress/default/web): the id that is this installation's own");
    let hint = broken(&sandbox, "records", &[&own, "before --txt-owner-id=other"]);
    sandbox.follow(&hint);
    holds(&sandbox);

    for (flag, why) in [
        (
            "--exclude-domains=app.example.com",
            "asks for app.example.com, and --exclude-domains=app.example.com leaves it",
        ),
        ("--managed-record-types=CNAME", "app.example.com A (--managed-record-types leaves A out)"),
    ] {
        argued(&sandbox, flag, flag);
        holds_but(&sandbox, "records", why);
        sandbox.follow(&warned(&sandbox, "records", &[why]));
        holds(&sandbox);
    }

    let key = "external-dns.alpha.kubernetes.io/hostname";
    sandbox.create_ingress("apex", "example.com");
    sandbox.patch(&format!("{INGRESSES}/web"), &json!({"metadata": {"annotations": {key: "x.Example.com"}}}));
    let run = until("what is left fits no zone", || {
        let run = sandbox.run(VERIFY);
        let said = ["without an owner", "x.example.com of ingress/default/web (written x.Example.com"];
        said.iter().all(|part| run.stdout.contains(part)).then_some(run)
    });
    assert!(with_status(&run, "warn").iter().all(|check| check["id"] != "logs"), "{}", run.stdout);
    let hint = only(&run, "fail", "records", &["no record for x.example.com"]);
    assert!(hint.contains("kubectl annotate ingress web"), "{hint}");
    sandbox.follow(&hint);
    holds_but(&sandbox, "records", "without an owner");
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
