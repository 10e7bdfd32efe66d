//! `verify`: every link from the issuer to the role, broken one by one; it names that one, and its hint mends it.

use irsactl::iam::policy::PolicyDocument;
use serde_json::{Value, json};

use crate::support::aws::{NewStack, S3, name_of, role_arn, wait};
use crate::support::hints::command_of;
use crate::support::{Run, Sandbox, until};

const INSTALL: &str = "install external-dns --cluster eksdemo1 --domain-filter example.com --interval 3s --approve";
const VERIFY: &str = "verify external-dns --cluster eksdemo1";
const ACCOUNT: &str = "/api/v1/namespaces/external-dns/serviceaccounts/external-dns";
const PODS: &str = "/api/v1/namespaces/external-dns/pods";
const STACK: &str = "eksctl-eksdemo1-addon-iamserviceaccount-external-dns-external-dns";
const POLICY: &str = "arn:aws:iam::123456789012:policy/AllowExternalDNSUpdates";
const ANNOTATION: &str = "eks.amazonaws.com/role-arn";
const SUB: &str = "system:serviceaccount:external-dns:external-dns";
/// The links up to the role, which every user of IRSA has.
const CHAIN: [&str; 10] = [
    "caller",
    "cluster",
    "oidc-provider",
    "role",
    "trust-policy",
    "permissions",
    "service-account",
    "pod-identity",
    "injection",
    "assume-role",
];

/// A working installation.
struct Dns {
    sandbox: Sandbox,
    role_arn: String,
    /// Host and path of the issuer.
    issuer: String,
}

impl std::ops::Deref for Dns {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl Dns {
    fn install(flags: &str) -> Self {
        Self::on(Sandbox::lease(), flags)
    }

    fn on(sandbox: Sandbox, flags: &str) -> Self {
        sandbox.run(&format!("{INSTALL} {flags}")).ok();
        let issuer = sandbox.fact("issuer").trim_start_matches("https://").to_owned();
        let role_arn = role_arn(&sandbox.stack(STACK).unwrap()).to_owned();
        Self { sandbox, role_arn, issuer }
    }

    fn role(&self) -> &str {
        name_of(&self.role_arn)
    }

    fn provider(&self) -> String {
        format!("arn:aws:iam::123456789012:oidc-provider/{}", self.issuer)
    }

    fn create_provider(&self, host_path: &str, audience: &str) {
        let request = self.iam().create_open_id_connect_provider().url(format!("https://{host_path}"));
        wait(request.client_id_list(audience).thumbprint_list("9e99a48a9960b14926bb7f3b02e22da2b0ab7280").send())
            .unwrap();
    }

    fn delete_provider(&self, arn: &str) {
        wait(self.iam().delete_open_id_connect_provider().open_id_connect_provider_arn(arn).send()).unwrap();
    }

    /// A trust policy with this condition.
    fn trust(&self, condition: &Value) -> Value {
        json!({"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
            "Principal": {"Federated": self.provider()}, "Condition": condition})
    }

    fn equals(&self, audience: &str, subject: &str) -> Value {
        json!({"StringEquals": {self.key("aud"): audience, self.key("sub"): subject}})
    }

    fn key(&self, claim: &str) -> String {
        format!("{}:{claim}", self.issuer)
    }

    fn set_trust(&self, statements: &Value) {
        let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        let request = self.iam().update_assume_role_policy().role_name(self.role()).policy_document(document);
        wait(request.send()).unwrap();
    }

    fn put_inline(&self, statement: &Value) {
        self.put_policy(self.role(), "audit", statement);
    }

    fn put_policy(&self, role: &str, name: &str, statement: &Value) {
        let document = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        let request = self.iam().put_role_policy().role_name(role).policy_name(name);
        wait(request.policy_document(document).send()).unwrap();
    }

    /// Makes this the policy's document.
    fn set_policy(&self, statements: &Value) {
        let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        let iam = self.iam();
        let versions = wait(iam.list_policy_versions().policy_arn(POLICY).send()).unwrap().versions.unwrap();
        for old in versions.iter().filter(|version| !version.is_default_version) {
            let id = old.version_id.clone().unwrap();
            wait(iam.delete_policy_version().policy_arn(POLICY).version_id(id).send()).unwrap();
        }
        let request = iam.create_policy_version().policy_arn(POLICY).policy_document(document);
        wait(request.set_as_default(true).send()).unwrap();
    }

    fn annotate(&self, role: &Value) {
        self.patch(ACCOUNT, &json!({"metadata": {"annotations": {ANNOTATION: role}}}));
    }

    fn pod(&self) -> String {
        until("one pod", || {
            let pods = self.object(PODS);
            let pods = pods["items"].as_array().unwrap();
            let alive: Vec<_> = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect();
            match alive.as_slice() {
                [pod] => pod["metadata"]["name"].as_str().map(str::to_owned),
                _ => None,
            }
        })
    }

    /// Has the pod started anew, and waits until it runs.
    fn restart(&self) {
        let old = self.pod();
        self.delete(&format!("{PODS}/{old}"));
        until("a new pod", || {
            let new = self.pod();
            let conditions = self.object(&format!("{PODS}/{new}"))["status"]["conditions"].clone();
            let ready = |it: &Value| it["type"] == "Ready" && it["status"] == "True";
            (new != old && conditions.as_array().is_some_and(|all| all.iter().any(ready))).then_some(())
        });
    }

    /// Breaks a link: it alone fails, says all of this, and its hint, which begins like this, mends it.
    #[track_caller]
    fn broken(&self, link: &str, says: &[&str], hint: &str, sabotage: impl FnOnce()) {
        sabotage();
        let found = self.finding(link, "fail", says);
        assert!(command_of(&found).starts_with(hint), "{link}: {found}");
        self.follow(&found);
        self.works(link);
    }

    /// The hint of the only check that doesn't pass; others may follow from it.
    #[track_caller]
    fn finding(&self, link: &str, status: &str, says: &[&str]) -> String {
        let run = self.run(&format!("{VERIFY} -o json")).exits(if status == "fail" { 4 } else { 0 });
        let checks = run.json()["checks"].as_array().unwrap().clone();
        let bad: Vec<_> =
            checks.iter().filter(|check| ["fail", "warn"].iter().any(|it| check["status"] == **it)).collect();
        assert!(bad.len() == 1 && bad[0]["id"] == link && bad[0]["status"] == status, "{link}: {bad:#?}");
        let skips = checks.iter().filter(|check| check["status"] == "skip");
        for skipped in skips.filter(|check| !is_far(check)) {
            assert!(skipped["message"].as_str().unwrap().starts_with("follows from"), "{link}: {skipped:#}");
        }
        let message = bad[0]["message"].as_str().unwrap();
        for part in says {
            assert!(message.contains(part), "{link}: no `{part}` in: {message}");
        }
        bad[0]["hint"].as_str().unwrap_or_default().to_owned()
    }

    /// Everything holds, at the latest in a minute.
    #[track_caller]
    fn works(&self, after: &str) {
        let run = self.run(&format!("{VERIFY} --wait --timeout 60s --strict -o json"));
        let document = run.json();
        let mut checks = document["checks"].as_array().unwrap().iter();
        assert!(checks.all(|check| check["status"] == "pass" || is_far(check)), "after {after}: {}", run.stdout);
    }
}

/// What is in the account of the second role isn't the caller's to look at.
fn is_far(check: &Value) -> bool {
    check["message"].as_str().unwrap().starts_with("its zones are in another account")
}

/// The checks, as (id, status).
fn statuses(run: &Run) -> Vec<(String, String)> {
    let document = run.json();
    let checks = document["checks"].as_array().unwrap().iter();
    let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    checks.map(|check| (text(check, "id"), text(check, "status"))).collect()
}

#[test]
fn a_working_installation_passes_without_a_warning() {
    let dns = Dns::install("");
    let run = dns.run(&format!("{VERIFY} --strict -o json")).ok();
    let statuses = statuses(&run);
    assert!(statuses.iter().all(|(_, status)| status == "pass"), "{}", run.stdout);
    assert!(statuses.iter().map(|(id, _)| id.as_str()).take(CHAIN.len()).eq(CHAIN), "{statuses:?}");
}

#[test]
fn the_provider() {
    let dns = Dns::install("");
    let (provider, associate) = (dns.provider(), "irsactl utils associate-iam-oidc-provider ");
    dns.broken("oidc-provider", &["IAM has no OIDC provider", &provider], associate, || {
        dns.delete_provider(&provider);
    });
    dns.broken("oidc-provider", &[&provider, "audience sts.amazonaws.com", "it takes: kubernetes"], associate, || {
        dns.delete_provider(&provider);
        dns.create_provider(&dns.issuer, "kubernetes");
    });
    let twin = format!("oidc-eks.us-west-2.api.aws/id/{}", name_of(&dns.issuer));
    dns.broken("oidc-provider", &[&provider, &format!("oidc-provider/{twin}")], associate, || {
        dns.delete_provider(&provider);
        dns.create_provider(&twin, "sts.amazonaws.com");
    });
}

#[test]
fn the_trust_policy() {
    let dns = Dns::install("");
    let good = dns.equals("sts.amazonaws.com", SUB);
    let sub = dns.key("sub");
    let other = format!("oidc.eks.us-west-2.amazonaws.com/id/{}", "0".repeat(32));
    let federated = format!("arn:aws:iam::123456789012:oidc-provider/{other}");
    let mut elsewhere = dns.trust(&good);
    elsewhere["Principal"]["Federated"] = json!(federated);
    let mut denied = dns.trust(&good);
    denied["Effect"] = json!("Deny");
    let wild = "system:serviceaccount:external-dns:*";
    let with = |audience: &str, subject: &str| dns.trust(&dns.equals(audience, subject));
    for (statements, says) in [
        (json!([elsewhere]), vec![federated.as_str(), "needed arn:aws:iam::123456789012:oidc-provider/"]),
        (
            json!([with("sts.amazonaws.com", "system:serviceaccount:dns:external-dns")]),
            vec!["found system:serviceaccount:dns:external-dns", SUB, "it trusts the namespace dns"],
        ),
        (
            json!([with("sts.amazonaws.com", "system:serviceaccount:external-dns:dns")]),
            vec!["found system:serviceaccount:external-dns:dns", SUB],
        ),
        (json!([with("kubernetes", SUB)]), vec!["found kubernetes", "needed sts.amazonaws.com"]),
        (json!([with("sts.amazonaws.com", wild)]), vec![wild, SUB, "StringLike"]),
        (
            json!([dns.trust(&json!({"StringEquals": {dns.key("aud"): "sts.amazonaws.com"}}))]),
            vec!["any ServiceAccount of the cluster", &sub],
        ),
        (json!([dns.trust(&good), denied]), vec!["Deny", SUB]),
        (
            json!([{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}]),
            vec!["Action: found sts:AssumeRole, needed sts:AssumeRoleWithWebIdentity"],
        ),
    ] {
        dns.broken("trust-policy", &says, "irsactl ", || dns.set_trust(&statements));
    }
    // A pattern is somebody's wish, perhaps.
    let like = json!({"StringEquals": {dns.key("aud"): "sts.amazonaws.com"}, "StringLike": {&sub: wild}});
    dns.set_trust(&json!([dns.trust(&like)]));
    dns.finding("trust-policy", "warn", &[wild, "other ServiceAccounts of namespace external-dns"]);
    dns.run(&format!("{VERIFY} --strict")).exits(4);
}

#[test]
fn the_permissions() {
    let dns = Dns::install("");
    let zone = "arn:aws:route53:::hostedzone/Z0421873X5K9QJ2VH7RW";
    let allow = |action: &[&str], resource: &str| json!({"Effect": "Allow", "Action": action, "Resource": resource});
    let (change, list) = ("route53:ChangeResourceRecordSets", "route53:ListResourceRecordSets");
    let all = json!([
        allow(&[change, list, "route53:ListTagsForResources"], "arn:aws:route53:::hostedzone/*"),
        allow(&["route53:ListHostedZones"], "*")
    ]);
    let on_zone = |action: &str| format!("{action} on {zone}");
    dns.broken("permissions", &[&on_zone(change), &on_zone(list), "route53:ListHostedZones on *"], "irsactl ", || {
        wait(dns.iam().detach_role_policy().role_name(dns.role()).policy_arn(POLICY).send()).unwrap();
    });
    dns.broken("permissions", &[&on_zone(list)], "irsactl ", || {
        dns.set_policy(&json!([allow(&[change], "*"), allow(&["route53:ListHostedZones"], "*")]));
    });
    dns.broken("permissions", &[&on_zone(change)], "irsactl ", || {
        let mut other = all.clone();
        other[0]["Resource"] = json!("arn:aws:route53:::hostedzone/ZOTHER");
        dns.set_policy(&other);
    });
    dns.broken(
        "permissions",
        &[&on_zone(change), "its inline policy audit denies it"],
        "aws iam delete-role-policy ",
        || {
            dns.put_inline(&json!({"Effect": "Deny", "Action": change, "Resource": "*"}));
        },
    );
    dns.broken("permissions", &[&on_zone(change), "AllowExternalDNSUpdates denies it"], "irsactl ", || {
        let mut denied = all.as_array().unwrap().clone();
        denied.push(json!({"Effect": "Deny", "Action": change, "Resource": zone}));
        dns.set_policy(&json!(denied));
    });
    let names = |names: &[&str]| {
        json!({"ForAllValues:StringEquals": {
        "route53:ChangeResourceRecordSetsNormalizedRecordNames": names}})
    };
    let mut by_name = vec![allow(&[change], zone), allow(&[list], zone), allow(&["route53:ListHostedZones"], "*")];
    by_name[0]["Condition"] = names(&["app.example.com"]);
    let says = ["records of app.example.com by name, and not the TXT records", "such as a-app.example.com"];
    dns.broken("permissions", &says, "aws iam put-role-policy ", || dns.set_policy(&json!(by_name)));
    dns.set_policy(&all);
    wait(dns.iam().delete_role_policy().role_name(dns.role()).policy_name("irsactl-external-dns").send()).unwrap();
    let bound = |arn: &str| {
        wait(dns.iam().put_role_permissions_boundary().role_name(dns.role()).permissions_boundary(arn).send()).unwrap();
    };
    let boundary = dns.create_policy("boundary");
    let says = [&on_zone(change), "permissions boundary", &boundary];
    dns.broken("permissions", &says, "aws iam create-policy-version ", || bound(&boundary));
    let says = [&on_zone(change), "permissions boundary", S3];
    dns.broken("permissions", &says, "aws iam delete-role-permissions-boundary ", || bound(S3));
}

#[test]
fn the_service_account() {
    let dns = Dns::install("");
    let role = dns.role_arn.clone();
    dns.broken("service-account", &["ServiceAccount external-dns/external-dns doesn't exist"], "irsactl ", || {
        dns.delete(ACCOUNT);
    });
    let found = |role: &str| role.to_owned();
    for (annotation, says) in [
        (Value::Null, vec!["no annotation eks.amazonaws.com/role-arn".to_owned()]),
        (
            json!("arn:aws:iam::123456789012:role/other"),
            vec![found("arn:aws:iam::123456789012:role/other"), role.clone()],
        ),
        (json!(format!("{role}\n")), vec!["whitespace".to_owned()]),
        (json!(format!(" {role}")), vec!["whitespace".to_owned()]),
        (json!(role.replace("123456789012", "111122223333")), vec![found("111122223333"), role.clone()]),
        (json!(role.replace("arn:aws:", "arn:aws-cn:")), vec![found("aws-cn"), role.clone()]),
        (json!(""), vec![role.clone()]),
        (json!(dns.role()), vec![role.clone()]),
    ] {
        let says: Vec<_> = says.iter().map(String::as_str).collect();
        dns.broken("service-account", &says, "irsactl ", || dns.annotate(&annotation));
    }
}

#[test]
fn the_role() {
    let dns = Dns::install("");
    let role = dns.role_arn.clone();
    dns.broken("role", &[&format!("role {role} doesn't exist")], "irsactl ", || delete_role(&dns, dns.role()));
    // The stack failed when it was made again.
    let broken = json!({"Resources": {"Role1": {"Type": "AWS::IAM::Role", "Properties": {
        "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}]},
        "ManagedPolicyArns": ["arn:aws:iam::123456789012:policy/absent"]}}}});
    dns.broken("role", &[STACK, "ROLLBACK_COMPLETE", "absent"], "irsactl ", || {
        let stack = dns.stack(STACK).unwrap();
        wait(dns.cloudformation().delete_stack().stack_name(STACK).send()).unwrap();
        until("the stack is gone", || (dns.stack_status(STACK) == "gone").then_some(()));
        let tags: Vec<_> = crate::support::aws::tags(&stack).into_iter().collect();
        dns.create_stack(&NewStack { name: STACK, template: &broken, tags: &tags, protected: false });
    });
}

#[test]
fn what_is_not_known_is_not_approved() {
    let sandbox = Sandbox::lease();
    let checks = || {
        let document = sandbox.run(&format!("{VERIFY} -o json")).exits(4).json();
        let checks = document["checks"].as_array().unwrap().clone();
        for hint in checks.iter().filter_map(|check| check["hint"].as_str()) {
            assert!(!(hint.contains("irsactl install") && hint.contains("--approve")), "{hint}");
        }
        move |id: &str, key: &str| {
            let check = checks.iter().find(|check| check["id"] == id).unwrap();
            check[key].as_str().unwrap_or_default().to_owned()
        }
    };
    let found = checks();
    for id in ["role", "deployment"] {
        assert!(found(id, "hint").starts_with("irsactl install external-dns --cluster eksdemo1 "), "{id}");
    }
    let install = format!("{INSTALL} --txt-owner-id mine --policy sync");
    sandbox.leave_under_way(&install, STACK, "CREATE_IN_PROGRESS");
    let found = checks();
    assert!(found("role", "message").starts_with(&format!("stack {STACK} is CREATE_IN_PROGRESS, ")));
    let (hint, verify) = (found("role", "hint"), format!("irsactl {VERIFY} "));
    assert!(hint.starts_with(&verify) && hint.ends_with(" --wait"), "{hint}");
    sandbox.run_waiting(&install).ok();
    sandbox.follow(&hint);
}

#[test]
fn what_the_pods_got() {
    let dns = Dns::install("");
    let restart = "kubectl --namespace external-dns rollout restart deployment/external-dns";
    dns.broken("injection", &["without the role", "webhook"], restart, || {
        dns.control("/webhook", &json!({"enabled": false}));
        dns.restart();
        dns.control("/webhook", &json!({"enabled": true}));
        let found = failures(&dns.run("verify iamserviceaccount --cluster eksdemo1 -o json").exits(4));
        assert_eq!(found, [(String::new(), "injection".to_owned(), restart.to_owned())]);
    });
    dns.broken("injection", &["older than the annotation"], restart, || {
        dns.annotate(&Value::Null);
        dns.restart();
        dns.annotate(&json!(dns.role_arn));
    });
    let eks = aws_sdk_eks::Client::new(&dns.aws());
    dns.broken("pod-identity", &["other-role"], "aws eks delete-pod-identity-association ", || {
        dns.create_role("other-role");
        let request = eks.create_pod_identity_association().cluster_name("eksdemo1").namespace("external-dns");
        let request = request.service_account("external-dns").role_arn("arn:aws:iam::123456789012:role/other-role");
        wait(request.send()).unwrap();
    });
}

/// Has the role `zones` trust this role with an external id.
fn set_trust(sandbox: &Sandbox, role: &str, external_id: &str) {
    let statement = json!({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": role},
        "Condition": {"StringEquals": {"sts:ExternalId": external_id}}});
    let document = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
    let request = sandbox.iam().update_assume_role_policy().role_name("zones").policy_document(document);
    wait(request.send()).unwrap();
}

#[test]
fn the_second_role() {
    let zones = "arn:aws:iam::123456789012:role/zones";
    let sandbox = Sandbox::lease();
    sandbox.create_role("zones");
    sandbox.attach("zones", "arn:aws:iam::aws:policy/AmazonRoute53FullAccess");
    let flags = format!("--aws-assume-role {zones} --aws-assume-role-external-id secret7");
    sandbox.run(&format!("{INSTALL} --aws-only {flags}")).ok();
    let role_arn = role_arn(&sandbox.stack(STACK).unwrap()).to_owned();
    set_trust(&sandbox, &role_arn, "secret7");
    let dns = Dns::on(sandbox, &flags);
    dns.works("the installation");
    let trust = |external_id: &str| set_trust(&dns, &role_arn, external_id);
    let first = dns.role_arn.as_str();
    dns.broken(
        "assume-role",
        &["refuses", zones, "secret8", "must allow", "secret7", first],
        "aws iam update-assume-role-policy --role-name zones ",
        || {
            trust("secret8");
        },
    );
    dns.broken("permissions", &["sts:AssumeRole on arn:aws:iam::123456789012:role/zones"], "irsactl ", || {
        wait(dns.iam().delete_role_policy().role_name(dns.role()).policy_name(format!("{STACK}-Policy1")).send())
            .unwrap();
    });
    let put_records = || {
        let records = json!({"Effect": "Allow", "Resource": "arn:aws:route53:::hostedzone/*",
            "Action": ["route53:ChangeResourceRecordSets", "route53:ListResourceRecordSets"]});
        dns.put_policy("zones", "records", &records);
    };
    let detach = || {
        put_records();
        let policy = "arn:aws:iam::aws:policy/AmazonRoute53FullAccess";
        wait(dns.iam().detach_role_policy().role_name("zones").policy_arn(policy).send()).unwrap();
    };
    dns.broken(
        "assume-role",
        &[zones, "may not list hosted zones", "route53:ListHostedZones"],
        "aws iam put-role-policy --role-name zones ",
        detach,
    );
    delete_role(&dns, "zones");
    let create = dns.finding("assume-role", "fail", &[zones, "there is no such role"]);
    assert!(create.starts_with("aws iam create-role --role-name zones "), "{create}");
    dns.follow(&create);
    put_records();
    let put = dns.finding("assume-role", "fail", &[zones, "may not list hosted zones"]);
    dns.follow(&put);
    dns.works("the second role");
}

#[test]
fn sts_has_the_last_word() {
    let dns = Dns::install("");
    dns.fault(&json!({"action": "AssumeRoleWithWebIdentity", "error": {"status": 403, "code": "AccessDenied",
        "message": "Not authorized to perform sts:AssumeRoleWithWebIdentity"}}));
    dns.finding("assume-role", "fail", &["every link looks intact", "Not authorized", "SCP", "RCP"]);
    dns.heal();
    dns.works("the organisation allowed it");
}

#[test]
fn a_proof_changes_nothing() {
    let dns = Dns::install("");
    let posts = || {
        let events = dns.kube_events().into_iter();
        let posts = events.filter(|event| !["get", "list", "watch"].contains(&event["verb"].as_str().unwrap()));
        let text = |event: &Value, key: &str| event["objectRef"][key].as_str().unwrap_or_default().to_owned();
        posts.map(|event| format!("{}/{}", text(&event, "resource"), text(&event, "subresource"))).collect::<Vec<_>>()
    };
    let exchanges = || dns.aws_calls().iter().filter(|call| call.starts_with("sts:AssumeRole")).count();
    for line in [VERIFY, "verify iamserviceaccount --cluster eksdemo1"] {
        dns.forget_calls();
        dns.run(line).ok();
        assert_eq!(dns.writes(), [""; 0], "{line}");
        let found = posts();
        assert!(found.contains(&"serviceaccounts/token".to_owned()), "{line}: {found:?}");
        let harmless = ["serviceaccounts/token", "subjectaccessreviews/", "selfsubjectaccessreviews/"];
        assert!(found.iter().all(|post| harmless.contains(&post.as_str())), "{line}: {found:?}");
        assert_eq!(exchanges(), 1, "{line}");

        dns.forget_calls();
        let run = dns.run(&format!("{line} --live=false -o json")).ok();
        let left_out = ("assume-role".to_owned(), "skip".to_owned());
        assert!(statuses(&run).contains(&left_out), "{}", run.stdout);
        assert!(!posts().contains(&"serviceaccounts/token".to_owned()), "{line}: {:?}", posts());
        assert_eq!((exchanges(), dns.writes()), (0, Vec::new()), "{line}");
    }
}

#[test]
fn what_can_not_be_read_is_no_proof() {
    let dns = Dns::install("");
    let skipped = |run: &Run| {
        let checks = run.json()["checks"].as_array().unwrap().clone();
        let skips = checks.iter().filter(|check| check["status"] == "skip");
        let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
        skips.map(|check| (text(check, "id"), text(check, "message"))).collect::<Vec<_>>()
    };
    for (denied, ids) in [
        ("iam:GetOpenIDConnectProvider", vec!["oidc-provider"]),
        ("iam:GetRole", vec!["role", "trust-policy", "permissions"]),
        ("eks:ListPodIdentityAssociations", vec!["pod-identity"]),
        ("cloudformation:*", vec![]),
        ("iam:SimulatePrincipalPolicy", vec![]),
        ("iam:GetPolicy*", vec![]),
        ("iam:SimulatePrincipalPolicy iam:GetPolicy*", vec!["permissions"]),
        ("iam:SimulatePrincipalPolicy iam:ListAttachedRolePolicies", vec!["permissions"]),
        ("iam:SimulatePrincipalPolicy iam:ListRolePolicies", vec!["permissions"]),
    ] {
        for action in denied.split(' ') {
            dns.fault(&json!({"deny": action}));
        }
        let run = dns.run(&format!("{VERIFY} -o json")).ok();
        let skips = skipped(&run);
        assert!(skips.iter().map(|(id, _)| id.as_str()).eq(ids), "{denied}: {skips:#?}");
        for (id, message) in skips {
            let permission = denied.split(' ').next().unwrap();
            assert!(message.contains(permission), "{denied}: {id}: {message}");
        }
        dns.heal();
    }
    // Another broken link is found all the same.
    dns.fault(&json!({"deny": "iam:GetOpenIDConnectProvider"}));
    dns.annotate(&Value::Null);
    let run = dns.run(&format!("{VERIFY} -o json")).exits(4);
    assert!(statuses(&run).contains(&("service-account".to_owned(), "fail".to_owned())), "{}", run.stdout);
    dns.heal();
    dns.annotate(&json!(dns.role_arn));
}

#[test]
fn without_the_cluster_the_half_in_aws_is_proven() {
    let dns = Dns::install("");
    let user = crate::refusals_kubernetes::User::new(&dns, "ops");
    let passes = |run: &Run| {
        let found = statuses(run).into_iter().filter(|(_, status)| status == "pass");
        found.map(|(id, _)| id).collect::<Vec<_>>()
    };
    let in_aws = ["caller", "oidc-provider", "role", "trust-policy", "permissions", "pod-identity"];
    for line in [VERIFY, "verify iamserviceaccount --cluster eksdemo1"] {
        let run = user.run(&dns, &format!("{line} -o json")).ok();
        assert_eq!(passes(&run), in_aws, "{line}: {}", run.stdout);
        let cluster = &run.json()["checks"][1];
        assert!(cluster["message"].as_str().unwrap().contains("know the caller"), "{cluster:#}");
        assert!(cluster["hint"].as_str().unwrap().contains("aws eks create-access-entry --cluster-name eksdemo1"));
        user.run(&dns, line).ok().shows(&["No broken link was found ("]);
    }
    dns.fault(&json!({"action": "DescribeCluster",
        "replace": [["\"endpoint\": ?\"[^\"]*\"", "\"endpoint\": \"https://127.0.0.1:9\""]]}));
    let run = dns.run(&format!("{VERIFY} -o json")).ok();
    assert_eq!(passes(&run), in_aws, "{}", run.stdout);
    assert!(run.json()["checks"][1]["message"].as_str().unwrap().contains("127.0.0.1:9"), "{}", run.stdout);
    dns.delete_provider(&dns.provider());
    assert_eq!(dns.run(VERIFY).code, 4);
    dns.heal();

    // An endpoint of AWS that doesn't answer is no refusal.
    dns.run("utils associate-iam-oidc-provider --cluster eksdemo1 --approve").ok();
    dns.fault(&json!({"action": "AssumeRoleWithWebIdentity", "drop": true}));
    let run = dns.run(&format!("{VERIFY} -o json")).ok();
    assert!(statuses(&run).contains(&("assume-role".to_owned(), "skip".to_owned())), "{}", run.stdout);
}

#[test]
fn waiting_ends_with_the_repair() {
    let dns = Dns::install("");
    dns.annotate(&Value::Null);
    dns.run(&format!("{VERIFY} --wait --timeout 10s")).exits(4).shows(&["The broken link is service-account"]);
    dns.forget_calls();
    let run = Run::start(dns.command(format!("{VERIFY} --wait --timeout 1h").split(' ')));
    let walks = || dns.aws_calls().iter().filter(|call| *call == "iam:GetRole").count();
    until("it walks the chain again", || (walks() > 1).then_some(()));
    dns.annotate(&json!(dns.role_arn));
    run.end().ok().shows(&["DNS works"]);
}

#[test]
fn it_is_told_in_plain_text() {
    let dns = Dns::install("");
    let run = dns.run(VERIFY).ok().shows(&["✓ caller ", "✓ assume-role ", "\nDNS works\n"]);
    assert!(!run.stdout.contains('\u{1b}') && run.stderr.is_empty(), "{run:?}");
    dns.annotate(&Value::Null);
    let mut command = dns.command(VERIFY.split(' '));
    let run = Run::of(command.env("NO_COLOR", "1").env("CLICOLOR_FORCE", "1")).exits(4);
    let run = run.shows(&["✗ service-account ", "hint: irsactl ", "The broken link is service-account"]);
    assert!(!run.stdout.contains('\u{1b}'), "{run:?}");

    let run = dns.run("verify external-dns --cluster other -o json").exits(4);
    assert_eq!(run.json()["checks"][1]["id"], "cluster");
    assert_eq!(statuses(&run)[1].1, "fail");
    dns.run("verify iamserviceaccount --cluster other -o json").exits(4);
}

/// Deletes a role with all that hangs on it.
fn delete_role(sandbox: &Sandbox, role: &str) {
    let iam = sandbox.iam();
    for policy in wait(iam.list_attached_role_policies().role_name(role).send()).unwrap().attached_policies.unwrap() {
        wait(iam.detach_role_policy().role_name(role).policy_arn(policy.policy_arn.unwrap()).send()).unwrap();
    }
    for policy in wait(iam.list_role_policies().role_name(role).send()).unwrap().policy_names {
        wait(iam.delete_role_policy().role_name(role).policy_name(policy).send()).unwrap();
    }
    wait(iam.delete_role().role_name(role).send()).unwrap();
}

/// Failing checks, as (service account, id, hint).
fn failures(run: &Run) -> Vec<(String, String, String)> {
    let document = run.json();
    let checks = document["checks"].as_array().unwrap().iter().filter(|check| check["status"] == "fail");
    let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    checks.map(|check| (text(check, "serviceAccount"), text(check, "id"), text(check, "hint"))).collect()
}

#[test]
fn service_accounts_one_or_all() {
    let sandbox = Sandbox::lease();
    let verify = "verify iamserviceaccount --cluster eksdemo1 -o json";
    sandbox.run(verify).fails("not-found", &["no service account", "irsactl get iamserviceaccount --cluster eksdemo1"]);
    let names = ["a", "b", "c", "d", "e"];
    let policies =
        ["--attach-policy-arn arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess", "--well-known-policy ebsCSIController"];
    for (name, policy) in names.iter().zip(policies.iter().cycle()) {
        let line =
            format!("create iamserviceaccount --cluster eksdemo1 --name {name} --namespace web {policy} --approve");
        sandbox.run(&line).ok();
    }
    let run = sandbox.run(verify).ok();
    let ids: Vec<_> = statuses(&run).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids[..10], CHAIN);
    assert_eq!(ids.len(), 2 + 5 * 8, "caller and cluster once");
    assert!(statuses(&run).iter().all(|(_, status)| status == "pass"), "{}", run.stdout);

    let account = |name: &str| format!("/api/v1/namespaces/web/serviceaccounts/{name}");
    let role = |name: &str| {
        let annotation = sandbox.object(&account(name))["metadata"]["annotations"][ANNOTATION].clone();
        name_of(annotation.as_str().unwrap()).to_owned()
    };
    let (b, d) = (role("b"), role("d"));
    sandbox.patch(&account("a"), &json!({"metadata": {"annotations": {ANNOTATION: null}}}));
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    let request = sandbox.iam().update_assume_role_policy().role_name(&b).policy_document(trust.to_string());
    wait(request.send()).unwrap();
    sandbox.delete(&account("c"));
    delete_role(&sandbox, &d);
    let found = failures(&sandbox.run(verify).exits(4));
    let named: Vec<_> = found.iter().map(|(who, id, _)| (who.as_str(), id.as_str())).collect();
    let wanted =
        [("web/a", "service-account"), ("web/b", "trust-policy"), ("web/c", "service-account"), ("web/d", "role")];
    assert_eq!(named, wanted);
    let text = sandbox.run("verify iamserviceaccount --cluster eksdemo1").exits(4);
    text.shows(&["web/a\n", "web/e\n", "Broken links: "]);

    for ((_, id, hint), name) in found.iter().zip(names) {
        let one = format!("{verify} --namespace web --name {name}");
        let alone = sandbox.run(&one).exits(4);
        let said: Vec<_> = failures(&alone).into_iter().map(|(who, id, hint)| (who, (id, hint))).collect();
        assert_eq!(said, [(String::new(), (id.clone(), hint.clone()))], "{name}");
        sandbox.follow(hint);
        sandbox.run(&format!("{one} --wait --timeout 60s --strict")).ok();
    }
    sandbox.run(verify).ok();
    let absent = format!("{verify} --namespace web --name x");
    sandbox.run(&absent).fails("not-found", &["no service account web/x", "irsactl get iamserviceaccount"]);
    sandbox.run(&format!("{verify} --namespace other")).fails("not-found", &["of namespace other"]);
}

#[test]
fn roles_that_no_stack_made() {
    let sandbox = Sandbox::lease();
    sandbox.run("utils associate-iam-oidc-provider --cluster eksdemo1 --approve").ok();
    sandbox.create_role("made-by-hand");
    let arn = "arn:aws:iam::123456789012:role/made-by-hand";
    let annotate = |role: &str| {
        let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "app", "namespace": "default",
            "annotations": {ANNOTATION: role}}});
        sandbox.delete("/api/v1/namespaces/default/serviceaccounts/app");
        sandbox.create("/api/v1/namespaces/default/serviceaccounts", &object);
    };
    let verify = "verify iamserviceaccount --cluster eksdemo1 --namespace default --name app -o json";
    let mends = |link: &str, hint: &str| {
        let found = failures(&sandbox.run(verify).exits(4));
        assert!(found.len() == 1 && found[0].1 == link && found[0].2.starts_with(hint), "{link}: {found:#?}");
        sandbox.follow(&found[0].2);
        sandbox.run(&format!("{verify} --wait --timeout 60s --strict")).ok();
    };
    annotate(arn);
    let trusts = || {
        let role = wait(sandbox.iam().get_role().role_name("made-by-hand").send()).unwrap().role.unwrap();
        let document = PolicyDocument::from_encoded(&role.assume_role_policy_document.unwrap()).unwrap();
        document.0["Statement"].as_array().unwrap().clone()
    };
    let others = trusts();
    mends("trust-policy", "aws iam update-assume-role-policy --role-name made-by-hand ");
    assert_eq!(trusts()[..others.len()], others, "whoever else uses the role still may");
    annotate(&format!("{arn} "));
    mends("service-account", "irsactl create iamserviceaccount ");
    annotate(&arn.replace("arn:aws:", "arn:aws-cn:"));
    mends("service-account", "irsactl create iamserviceaccount ");
    annotate("arn:aws:iam::111122223333:role/theirs");
    let run = sandbox.run(&format!("{verify} --live=false")).ok();
    assert!(statuses(&run).contains(&("service-account".to_owned(), "warn".to_owned())), "{}", run.stdout);
    assert!(statuses(&run).contains(&("trust-policy".to_owned(), "skip".to_owned())), "{}", run.stdout);
}

#[test]
fn an_external_dns_that_others_installed() {
    let dns = Dns::install("");
    let deployment = "/apis/apps/v1/namespaces/external-dns/deployments/external-dns";
    dns.patch(deployment, &json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}}));
    let update = "irsactl update iamserviceaccount ";
    dns.broken("service-account", &["no annotation"], update, || dns.annotate(&Value::Null));
    dns.broken("trust-policy", &["found"], update, || {
        dns.set_trust(&json!([dns.trust(&dns.equals("kubernetes", SUB))]));
    });
    dns.broken("permissions", &["route53:ListHostedZones"], update, || {
        wait(dns.iam().detach_role_policy().role_name(dns.role()).policy_arn(POLICY).send()).unwrap();
    });
    dns.broken("permissions", &["route53:ListHostedZones"], "aws iam put-role-policy ", || {
        dns.set_policy(
            &json!([{"Effect": "Allow", "Action": "route53:*", "Resource": "arn:aws:route53:::hostedzone/*"}]),
        );
    });
    // A policy of the name that comes to mind stays what it is.
    let change = json!({"Effect": "Allow", "Action": "route53:ChangeResourceRecordSets", "Resource": "*"});
    dns.broken("permissions", &["route53:ListResourceRecordSets on"], "aws iam put-role-policy ", || {
        let request = dns.iam().delete_role_policy().role_name(dns.role()).policy_name("irsactl-external-dns");
        wait(request.send()).unwrap();
        dns.put_policy(dns.role(), "external-dns", &change);
        dns.set_policy(&json!([{"Effect": "Allow", "Action": "route53:ListHostedZones", "Resource": "*"}]));
    });
    let kept = dns.iam().get_role_policy().role_name(dns.role()).policy_name("external-dns");
    let kept = PolicyDocument::from_encoded(&wait(kept.send()).unwrap().policy_document).unwrap();
    assert_eq!(kept.0["Statement"], json!([change]));
}

#[test]
fn rights_on_zones_that_can_not_be_told_are_no_fault() {
    let dns = Dns::install("--least-privilege");
    let permissions = |statement: &Value| {
        dns.put_inline(statement);
        let run = dns.run(&format!("{VERIFY} -o json"));
        let checks = run.json()["checks"].as_array().unwrap().clone();
        let check = checks.into_iter().find(|check| check["id"] == "permissions").unwrap();
        ["status", "message", "hint"].map(|key| check[key].as_str().unwrap_or_default().to_owned())
    };
    let deployment = "/apis/apps/v1/namespaces/external-dns/deployments/external-dns";
    let told = |change: &dyn Fn(&str) -> Option<String>| {
        let mut containers = dns.object(deployment)["spec"]["template"]["spec"]["containers"].clone();
        let args = containers[0]["args"].as_array().unwrap().iter().filter_map(|arg| change(arg.as_str().unwrap()));
        containers[0]["args"] = args.collect();
        dns.patch(deployment, &json!({"spec": {"template": {"spec": {"containers": containers}}}}));
    };
    let nothing = json!({"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"});
    let route53 = aws_sdk_route53::Client::new(&dns.aws());
    wait(route53.create_hosted_zone().name("team-b.example").caller_reference("b").send()).unwrap();
    // Rights on the zones of one team, which only tags tell.
    told(&|arg| match arg.split_once('=') {
        Some(("--domain-filter", _)) => Some("--aws-zone-tags=team=a".to_owned()),
        Some(("--zone-id-filter", _)) => None,
        _ => Some(arg.to_owned()),
    });
    let [status, message, _] = permissions(&nothing);
    assert!(status == "fail" && message.contains("may not route53:ListTagsForResources"), "{message}");
    let tags = json!({"Effect": "Allow", "Action": "route53:ListTagsForResources", "Resource": "*"});
    let [status, message, hint] = permissions(&tags);
    assert!(status == "skip" && message.contains("--aws-zone-tags") && hint.is_empty(), "{message}: {hint}");
    let all = json!({"Effect": "Allow", "Action": "route53:*", "Resource": "*"});
    let [status, message, _] = permissions(&all);
    assert!(
        status == "warn" && message == "its inline policy audit allows all of Route53 (route53:* on *)",
        "{message}"
    );
    // No zone matches, which is a link of its own.
    told(&|arg| Some(arg.replace("--aws-zone-tags=team=a", "--domain-filter=exmaple.com")));
    let [status, message, _] = permissions(&nothing);
    assert_eq!(status, "pass", "{message}");
}
