//! Options of `install external-dns`, on a new installation and on one that is there.

use serde_json::{Value, json};

use crate::drift::{DEPLOYMENT, INSTALL, Live, STACK, answer, container};
use crate::support::Sandbox;

const UPDATE: &str = "update Deployment external-dns/external-dns";

/// The arguments of the live Deployment.
fn args(sandbox: &Sandbox) -> Vec<String> {
    let args = container(sandbox)["args"].clone();
    args.as_array().unwrap().iter().map(|arg| arg.as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn has_args(sandbox: &Sandbox, wanted: &[&str]) {
    let args = args(sandbox);
    for arg in wanted {
        assert!(args.iter().any(|found| found == arg), "no {arg} in {args:?}");
    }
}

#[test]
fn an_upgrade_keeps_what_the_records_depend_on() {
    let sandbox = Sandbox::lease();
    let identity = "--txt-owner-id mine --txt-prefix x-%{record_type}-";
    let mut live = Live::install(&sandbox, &format!("{INSTALL} {identity} --external-dns-version v0.21.0"));
    live.install = INSTALL.to_owned();
    let changes = ["update ClusterRole external-dns", "update ClusterRoleBinding external-dns-viewer", UPDATE];
    let plan = live.repairs("v0.23.0 with nothing else named", &changes).to_string();
    assert!(plan.contains("v0.21.0") && plan.contains("v0.23.0"), "{plan}");
    has_args(&sandbox, &["--txt-owner-id=mine", "--txt-prefix=x-%{record_type}-"]);
    live.install = format!("{INSTALL} {identity}");
    live.has_nothing_to_do("the same, named");
    live.install = format!("{INSTALL} --external-dns-version v0.21.0");
    live.repairs("and back", &changes);
    has_args(&sandbox, &["--txt-owner-id=mine", "--txt-prefix=x-%{record_type}-"]);
}

#[test]
fn changed_settings_change_the_deployment_only() {
    let sandbox = Sandbox::lease();
    let patch = sandbox.file(
        "patch.yaml",
        "kind: Deployment\nspec:\n  template:\n    spec:\n      tolerations:\n      - {key: dns, operator: Exists}\n      \
         nodeSelector: {kubernetes.io/os: linux}\n      containers:\n      - name: external-dns\n        \
         resources: {requests: {cpu: 100m}, limits: {memory: 1Gi}}\n",
    );
    let mut live = Live::install(&sandbox, &format!("{INSTALL} --txt-prefix x-"));
    let domain = INSTALL.replace("example.com", "sub.example.com");
    let mirror = "--image mirror.example.com/dns/external-dns:v0.23.0";
    let patched = format!("{INSTALL} --patch {}", patch.display());
    for (install, wanted) in [
        (INSTALL.replace("3s", "4s"), &["--interval=4s", "--txt-prefix=x-"][..]),
        (format!("{INSTALL} --exclude-domains internal.example.com"), &["--exclude-domains=internal.example.com"]),
        (format!("{domain} --label-filter team=dns"), &["--domain-filter=sub.example.com", "--label-filter=team=dns"]),
        (format!("{INSTALL} --extra-arg=--log-level=debug"), &["--log-level=debug"]),
        (format!("{INSTALL} --extra-arg=--log-level=error"), &["--log-level=error"]),
        (format!("{INSTALL} {mirror}"), &["--interval=3s", "--domain-filter=example.com"]),
        (patched, &["--txt-prefix=x-"]),
        (format!("{INSTALL} --replicas 0"), &[]),
        (INSTALL.to_owned(), &["--source=service", "--source=ingress"]),
    ] {
        live.install.clone_from(&install);
        live.repairs(&install, &[UPDATE]);
        has_args(&sandbox, wanted);
        if install.contains("--log-level=error") {
            sandbox.run(&format!("{install} --approve")).ok().shows(&["its log doesn't tell whether it synchronises"]);
        }
        let deployment = sandbox.object(DEPLOYMENT);
        let pod = &deployment["spec"]["template"]["spec"];
        let is = |flag: &str| install.contains(flag);
        assert_eq!(deployment["spec"]["replicas"], i32::from(!is("--replicas 0")), "{install}");
        assert_eq!(pod["tolerations"].is_array() && pod["nodeSelector"].is_object(), is("--patch"), "{install}");
        assert_eq!(pod["containers"][0]["resources"]["requests"]["memory"], "50Mi", "{install}");
        assert_eq!(pod["containers"][0]["resources"]["limits"]["memory"] == "1Gi", is("--patch"), "{install}");
        assert_eq!(pod["containers"][0]["image"].as_str().unwrap().starts_with("mirror."), is("--image"), "{install}");
    }
    live.install = format!("{INSTALL} --source service");
    live.repairs("another source", &["update ClusterRole external-dns", UPDATE]);
}

#[test]
fn changed_options_of_the_role_go_through_its_stack() {
    let sandbox = Sandbox::lease();
    let mut live = Live::install(&sandbox, INSTALL);
    let boundary = live.policy_arn("boundary");
    let all = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    answer(live.iam.create_policy().policy_name("boundary").policy_document(all.to_string()).send());
    let role = live.role();

    live.install = format!("{INSTALL} --permissions-boundary {boundary} --tags team=dns");
    live.repairs("a boundary and tags", &["update Stack STACK"]);
    let found = answer(live.iam.get_role().role_name(&role).send()).role.unwrap();
    assert_eq!(found.permissions_boundary().unwrap().permissions_boundary_arn(), Some(boundary.as_str()));
    assert!(found.tags().iter().any(|tag| (tag.key(), tag.value()) == ("team", "dns")), "{found:?}");

    live.install = format!("{INSTALL} --tags team=web");
    live.repairs("no boundary, another tag", &["update Stack STACK"]);
    let found = answer(live.iam.get_role().role_name(&role).send()).role.unwrap();
    assert!(found.permissions_boundary().is_none(), "{found:?}");

    live.install = format!("{INSTALL} --policy-name Other");
    live.repairs("another policy", &["create Policy Other", "update Stack STACK"]);
    assert_eq!(attached(&live, &role), ["Other"]);

    live.install = format!("{INSTALL} --least-privilege");
    let own = "AllowExternalDNSUpdates-us-west-2-eksdemo1";
    live.repairs("its own policy", &[&format!("create Policy {own}"), "update Stack STACK", UPDATE]);
    assert_eq!(attached(&live, &role), [own]);
    assert!(args(&sandbox).iter().any(|arg| arg.starts_with("--zone-id-filter=Z")), "{:?}", args(&sandbox));

    live.install = format!("{INSTALL} --role-name dns");
    live.repairs(
        "a name for the role",
        &["update Stack STACK", "update ServiceAccount external-dns/external-dns", UPDATE],
    );
    assert_eq!((live.role().as_str(), attached(&live, "dns")), ("dns", vec!["AllowExternalDNSUpdates".to_owned()]));
}

/// The names of the managed policies of a role.
fn attached(live: &Live<'_>, role: &str) -> Vec<String> {
    let answer = answer(live.iam.list_attached_role_policies().role_name(role).send());
    answer.attached_policies().iter().map(|policy| policy.policy_name().unwrap().to_owned()).collect()
}

#[test]
fn a_role_of_others_takes_the_place_of_the_stacks() {
    let sandbox = Sandbox::lease();
    let mut live = Live::install(&sandbox, INSTALL);
    let found = answer(live.iam.get_role().role_name(live.role()).send()).role.unwrap();
    let trust = percent_encoding::percent_decode_str(found.assume_role_policy_document().unwrap()).decode_utf8_lossy();
    let arn = answer(live.iam.create_role().role_name("own").assume_role_policy_document(trust).send());
    let arn = arn.role.unwrap().arn;
    let policy = live.policy_arn("AllowExternalDNSUpdates");
    answer(live.iam.attach_role_policy().role_name("own").policy_arn(policy).send());

    live.install = format!("{INSTALL} --role-arn {arn}");
    sandbox.run(&live.install).ok().shows(&[&format!("stack {STACK} and its role stay, unused")]);
    let changes = ["update ServiceAccount external-dns/external-dns", UPDATE];
    live.repairs("another role", &changes);
    live.install = INSTALL.to_owned();
    live.repairs("and back", &changes);
}

#[test]
fn aws_only_makes_no_call_to_kubernetes() {
    let sandbox = Sandbox::lease();
    let line = "install external-dns --cluster eksdemo1 --domain-filter example.com --aws-only";
    let issuer = sandbox.fact("issuer").trim_start_matches("https://");
    let changes = [
        format!("create OidcProvider {issuer}"),
        "create Policy AllowExternalDNSUpdates".to_owned(),
        format!("create Stack {STACK}"),
    ];
    assert_eq!(sandbox.run(&format!("{line} -o json")).ok().changes(), changes);
    let done = sandbox.run(&format!("{line} --approve")).ok();
    done.shows(&["role ARN: arn:aws:iam::", "next: irsactl render helm-values --cluster eksdemo1"]);
    assert_eq!(sandbox.run(&format!("{line} --approve -o json")).ok().changes(), [""; 0]);
    assert!(sandbox.kube_events().is_empty(), "{:?}", sandbox.kube_events());

    // The rest is done when it is asked for.
    let changes = sandbox.run(&format!("{INSTALL} -o json")).ok().changes();
    assert_eq!((changes.len(), changes[0].as_str()), (5, "create Namespace external-dns"), "{changes:?}");
    Live::install(&sandbox, INSTALL).has_nothing_to_do("after --aws-only");
}

#[test]
fn zones_of_another_account_are_reached_through_a_second_role() {
    let sandbox = Sandbox::lease();
    let second = format!("arn:aws:iam::{}:role/zones", sandbox.fact("account"));
    let install = format!("{INSTALL} --aws-assume-role {second} --aws-assume-role-external-id secret7");
    let plan = sandbox.run(&install).ok();
    plan.shows(&[&format!("the trust policy of {second} must allow"), "sts:ExternalId", "secret7"]);
    let first = sandbox.run(&format!("{install} --aws-only --approve -o json")).ok().json();
    let first = first["outputs"]["roleARN"].as_str().unwrap();
    let trust = format!("\"AWS\":\"{first}\"");
    sandbox.run(&install).ok().shows(&[&trust]);
    sandbox.run(&format!("{install} -o json")).ok().says(&["note: the trust policy of", &trust]);
    let refused = sandbox.run(&format!("{install} --timeout 20s --approve")).exits(1);
    refused.says(&["can't use role", "sts:AssumeRole", "its trust policy allow", &trust]);
    assert!(sandbox.kube("GET", DEPLOYMENT, None).is_none(), "the pod isn't started before the role works");

    let iam = aws_sdk_iam::Client::new(&sandbox.aws());
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"AWS": first}, "Condition": {"StringEquals": {"sts:ExternalId": "secret7"}}}]});
    answer(iam.create_role().role_name("zones").assume_role_policy_document(trust.to_string()).send());
    let route53 = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "route53:*", "Resource": "*"}]});
    let grant = iam.put_role_policy().role_name("zones").policy_name("dns");
    answer(grant.policy_document(route53.to_string()).send());

    let live = Live::install(&sandbox, &install);
    has_args(&sandbox, &[&format!("--aws-assume-role={second}"), "--aws-assume-role-external-id=secret7"]);
    live.has_nothing_to_do("with a second role");
    let (role, name) = (live.role(), format!("{STACK}-Policy1"));
    assert_eq!(attached(&live, &role), [""; 0]);
    assert_eq!(answer(iam.list_role_policies().role_name(&role).send()).policy_names, [name.as_str()]);
    let inline = || {
        let found = answer(iam.get_role_policy().role_name(&role).policy_name(&name).send()).policy_document;
        let text = percent_encoding::percent_decode_str(&found).decode_utf8_lossy().into_owned();
        serde_json::from_str::<Value>(&text).unwrap()["Statement"].clone()
    };
    let allowed = json!([{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": second}]);
    assert_eq!(inline(), allowed);

    answer(iam.delete_role_policy().role_name(&role).policy_name(&name).send());
    let plan = live.repairs("the inline policy was removed", &["update Role ROLE"]).to_string();
    assert!(plan.contains("was removed outside of the stack"), "{plan}");
    let change = iam.put_role_policy().role_name(&role).policy_name(&name);
    answer(change.policy_document(route53.to_string()).send());
    let plan = live.repairs("the inline policy was changed", &["update Role ROLE"]).to_string();
    assert!(plan.contains("was changed outside of the stack"), "{plan}");
    assert_eq!(inline(), allowed);
}

#[test]
fn a_second_installation_works_beside_the_first() {
    let sandbox = Sandbox::lease();
    let route53 = aws_sdk_route53::Client::new(&sandbox.aws());
    let vpc = aws_sdk_route53::types::Vpc::builder().vpc_id("vpc-0a1b2c3d").vpc_region("us-west-2".into()).build();
    answer(route53.create_hosted_zone().name("example.com").caller_reference("private").vpc(vpc).send());
    sandbox.run(INSTALL).exits(1).says(&["several hosted zones named example.com", "--aws-zone-type"]);

    let public = Live::install(&sandbox, &format!("{INSTALL} --aws-zone-type public"));
    let install = format!("{INSTALL} --aws-zone-type private --name external-dns-private");
    let plan = sandbox.run(&format!("{install} -o json")).ok();
    assert_eq!(
        plan.changes(),
        [
            "create Stack eksctl-eksdemo1-addon-iamserviceaccount-external-dns-external-dns-private",
            "create ServiceAccount external-dns/external-dns-private",
            "create ClusterRole external-dns-private",
            "create ClusterRoleBinding external-dns-private-viewer",
            "create Deployment external-dns/external-dns-private",
        ]
    );
    let private = Live::install(&sandbox, &install);
    for live in [public, private] {
        live.has_nothing_to_do("two installations");
    }
    let deployments = sandbox.object("/apis/apps/v1/namespaces/external-dns/deployments");
    let owners: Vec<_> = deployments["items"].as_array().unwrap().iter().map(owner).collect();
    assert!(owners.len() == 2 && owners[0] != owners[1], "{owners:?}");
}

fn owner(deployment: &Value) -> String {
    let args = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    args.iter().find_map(|arg| arg.as_str()?.strip_prefix("--txt-owner-id=")).unwrap().to_owned()
}
