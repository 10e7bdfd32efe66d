//! `verify`: every link from the issuer to the role, broken one by one; it names that one, and its hint mends it.

use serde_json::{Value, json};

use crate::support::aws::{name_of, role_arn, wait};
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
        let sandbox = Sandbox::lease();
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

    fn delete_role(&self) {
        let (iam, role) = (self.iam(), self.role());
        wait(iam.detach_role_policy().role_name(role).policy_arn(POLICY).send()).unwrap();
        wait(iam.delete_role().role_name(role).send()).unwrap();
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
        let document = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        let request = self.iam().put_role_policy().role_name(self.role()).policy_name("audit");
        wait(request.policy_document(document).send()).unwrap();
    }

    /// Makes this the policy's document.
    fn set_policy(&self, statements: &Value) {
        let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        let request = self.iam().create_policy_version().policy_arn(POLICY).policy_document(document);
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
            (new != old && self.object(&format!("{PODS}/{new}"))["status"]["phase"] == "Running").then_some(())
        });
    }

    /// Breaks a link: it alone fails, says all of this, and its hint, which begins like this, mends it.
    #[track_caller]
    fn broken(&self, link: &str, says: &[&str], hint: &str, sabotage: impl FnOnce()) {
        sabotage();
        let found = self.finding(link, "fail", says);
        assert!(found.starts_with(hint), "{link}: {found}");
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
        for skipped in skips {
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
        assert!(statuses(&run).iter().all(|(_, status)| status == "pass"), "after {after}: {}", run.stdout);
    }
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
    let zone = "arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ";
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
    dns.broken("permissions", &[&on_zone(change), "a statement denies it"], "aws iam delete-role-policy ", || {
        dns.put_inline(&json!({"Effect": "Deny", "Action": change, "Resource": "*"}));
    });
    dns.broken(
        "permissions",
        &["permissions boundary", "AmazonS3ReadOnlyAccess"],
        "aws iam delete-role-permissions-boundary ",
        || {
            let request = dns.iam().put_role_permissions_boundary().role_name(dns.role());
            wait(request.permissions_boundary(crate::support::aws::S3).send()).unwrap();
        },
    );
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
    dns.broken("role", &[&format!("role {role} doesn't exist")], "irsactl ", || dns.delete_role());
}

#[test]
fn what_the_pods_got() {
    let dns = Dns::install("");
    let restart = "kubectl --namespace external-dns rollout restart deployment/external-dns";
    dns.broken("injection", &["without the role", "webhook"], restart, || {
        dns.control("/webhook", &json!({"enabled": false}));
        dns.restart();
        dns.control("/webhook", &json!({"enabled": true}));
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

#[test]
fn sts_has_the_last_word() {
    let dns = Dns::install("");
    dns.fault(&json!({"action": "AssumeRoleWithWebIdentity", "error": {"status": 403, "code": "AccessDenied",
        "message": "Not authorized to perform sts:AssumeRoleWithWebIdentity"}}));
    dns.finding("assume-role", "fail", &["every link looks intact", "Not authorized", "SCP", "RCP"]);
    dns.heal();
    dns.works("the organisation allowed it");
}
