//! `uninstall external-dns`, and what it leaves.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::aws::{change, name_of, policy_arn, role_arn, wait};
use crate::support::{Run, Sandbox, until};

const INSTALL: &str = "install external-dns --cluster eksdemo1 --domain-filter example.com --interval 3s --approve";
const UNINSTALL: &str = "uninstall external-dns --cluster eksdemo1";
const STACK: &str = "eksctl-eksdemo1-addon-iamserviceaccount-external-dns-external-dns";
const SERVICE_ACCOUNT: &str = "/api/v1/namespaces/external-dns/serviceaccounts/external-dns";
const NAMESPACE: &str = "/api/v1/namespaces/external-dns";
const POLICY: &str = "AllowExternalDNSUpdates";
const ZONE: &str = "Z0421873X5K9QJ2VH7RW";
const NOTHING: [&str; 0] = [];

/// Installs without a pod, which is quicker where none is needed.
fn install(sandbox: &Sandbox, flags: &str) {
    sandbox.run(&format!("{INSTALL} --replicas 0 {flags}")).ok();
}

/// Records of the zone, as `name TYPE`.
fn records(sandbox: &Sandbox) -> BTreeSet<String> {
    let route53 = aws_sdk_route53::Client::new(&sandbox.aws());
    let sets = wait(route53.list_resource_record_sets().hosted_zone_id(ZONE).send()).unwrap();
    sets.resource_record_sets().iter().map(|set| format!("{} {}", set.name(), set.r#type().as_str())).collect()
}

/// What a shell makes of the printed commands: their change batches.
fn batches(run: &Run) -> Vec<Value> {
    let start = "aws route53 change-resource-record-sets ";
    let commands = run.stdout.match_indices(start).map(|(at, _)| {
        let (command, _) = run.stdout[at..].split_once("\nEOF\n").unwrap();
        format!("aws() {{ printf '%s\\n' \"$*\"; cat; }}\n{command}\nEOF\n")
    });
    let batch = |script: String| {
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let (words, document) = said.split_once('\n').unwrap();
        let expected = "--hosted-zone-id Z0421873X5K9QJ2VH7RW --change-batch file:///dev/stdin";
        assert_eq!(words, format!("route53 change-resource-record-sets {expected}"));
        serde_json::from_str(document).unwrap()
    };
    commands.map(batch).collect()
}

#[test]
fn everything_goes_but_the_records_which_are_named_with_what_removes_them() {
    let sandbox = Sandbox::lease();
    let empty = records(&sandbox);
    sandbox.create_ingress("weighted", "weighted.example.com");
    let annotations = json!({
        "external-dns.kubernetes.io/set-identifier": "it's one",
        "external-dns.kubernetes.io/aws-weight": "10",
    });
    let weighted = "/apis/networking.k8s.io/v1/namespaces/default/ingresses/weighted";
    sandbox.patch(weighted, &json!({"metadata": {"annotations": annotations}}));
    sandbox.run(INSTALL).ok();
    sandbox.create_ingress("web", "app.example.com");
    sandbox.create_ingress("star", "*.example.com");
    let wanted = ["aaaa-app", "aaaa-\\052", "aaaa-weighted"].map(|name| format!("{name}.example.com. TXT"));
    until("records", || wanted.iter().all(|name| records(&sandbox).contains(name)).then_some(()));
    let heritage = "\"heritage=external-dns,external-dns/owner=me,external-dns/resource=ingress/default/web\"";
    change(
        &sandbox,
        &json!({"Changes": [
            {"Action": "CREATE", "ResourceRecordSet":
                {"Name": "hand.example.com.", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.1"}]}},
            {"Action": "CREATE", "ResourceRecordSet":
                {"Name": "a-other.example.com.", "Type": "TXT", "TTL": 60, "ResourceRecords": [{"Value": heritage}]}},
        ]}),
    );
    let role = role_arn(&sandbox.stack(STACK).unwrap()).to_owned();

    sandbox.forget_calls();
    let plan = sandbox.run(&format!("{UNINSTALL} -o json")).ok();
    assert_eq!(
        plan.changes(),
        [
            "delete Deployment external-dns/external-dns".to_owned(),
            "delete ClusterRoleBinding external-dns-viewer".to_owned(),
            "delete ClusterRole external-dns".to_owned(),
            format!("delete Policy {POLICY}"),
            format!("delete Stack {STACK}"),
            "delete ServiceAccount external-dns/external-dns".to_owned(),
            "delete Namespace external-dns".to_owned(),
        ]
    );
    let plan = plan.says(&["these records stay in zone example.com", "app.example.com AAAA", "*.example.com A"]);
    assert!(!plan.stderr.contains("hand.example.com") && !plan.stderr.contains("other.example.com"), "{}", plan.stderr);
    assert_eq!(sandbox.writes(), NOTHING);

    let done = sandbox.run(&format!("{UNINSTALL} --approve")).ok().shows(&["the IAM OIDC provider stays"]);
    let writes = sandbox.writes();
    let order = ["iam:DetachRolePolicy", "iam:DeletePolicy", "cloudformation:DeleteStack"];
    assert_eq!(writes.iter().filter(|call| order.contains(&call.as_str())).collect::<Vec<_>>(), order);
    let of_kube: Vec<_> = writes.iter().filter_map(|call| call.strip_prefix("delete ")).collect();
    assert_eq!(of_kube[0], "deployments external-dns/external-dns");
    assert_eq!(
        of_kube[of_kube.len() - 2..],
        ["serviceaccounts external-dns/external-dns", "namespaces external-dns/external-dns"]
    );
    assert_eq!((sandbox.has_role(name_of(&role)), sandbox.has_policy(POLICY)), (false, false));
    assert!(sandbox.kube("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/external-dns", None).is_none());
    sandbox.run("utils associate-iam-oidc-provider --cluster eksdemo1").ok().shows(&["Nothing to do"]);

    // No record was touched; the printed command removes exactly those that were ExternalDNS's.
    assert!(records(&sandbox).contains("app.example.com. A"));
    let batches = batches(&done);
    assert!(batches[0].to_string().contains(r#""SetIdentifier":"it's one","Weight":10"#), "{batches:?}");
    for batch in batches {
        change(&sandbox, &batch);
    }
    let left: BTreeSet<_> = records(&sandbox).difference(&empty).cloned().collect();
    assert_eq!(left.iter().collect::<Vec<_>>(), ["a-other.example.com. TXT", "hand.example.com. A"]);

    until("the namespace is gone", || sandbox.kube("GET", NAMESPACE, None).is_none().then_some(()));
    sandbox.forget_calls();
    sandbox.run(&format!("{UNINSTALL} --approve")).ok().shows(&["Nothing to do", "is installed"]);
    assert_eq!(sandbox.writes(), NOTHING);
}

#[test]
fn what_others_need_stays() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "");
    sandbox.create_role("another");
    sandbox.attach("another", &policy_arn(POLICY));
    sandbox.create(&format!("{NAMESPACE}/configmaps"), &json!({"metadata": {"name": "theirs"}}));
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/external-dns";
    sandbox.patch(role, &json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}}));
    let done = sandbox.run(&format!("{UNINSTALL} --approve")).ok();
    done.shows(&[
        "policy AllowExternalDNSUpdates stays: role/another",
        "namespace external-dns stays: it holds configmaps/theirs",
        "ClusterRole external-dns wasn't made by irsactl",
    ]);
    assert!(sandbox.has_policy(POLICY));
    sandbox.object(role);
    sandbox.object(&format!("{NAMESPACE}/configmaps/theirs"));
    assert!(sandbox.kube("GET", SERVICE_ACCOUNT, None).is_none());
    assert_eq!(sandbox.stack_status(STACK), "gone");
}

#[test]
fn what_irsactl_did_not_make_stays() {
    let sandbox = Sandbox::lease();
    sandbox.create_namespace("external-dns");
    let helm = json!({"metadata": {"name": "external-dns", "labels": {"app.kubernetes.io/managed-by": "Helm"}}});
    sandbox.create(&format!("{NAMESPACE}/serviceaccounts"), &helm);
    let document = sandbox.run("render policy").ok().stdout;
    wait(sandbox.iam().create_policy().policy_name(POLICY).policy_document(document).send()).unwrap();
    install(&sandbox, "--override-existing-serviceaccounts");
    sandbox
        .run(&format!("{UNINSTALL} --approve"))
        .ok()
        .shows(&["only loses the role", "policy AllowExternalDNSUpdates wasn't made"]);
    assert!(sandbox.has_policy(POLICY));
    assert!(sandbox.object(SERVICE_ACCOUNT)["metadata"]["annotations"].is_null());
    sandbox.object(NAMESPACE);
}

/// The stack tells what the policy is called, until the policy is gone.
#[test]
fn a_run_that_ended_early_is_finished_by_the_next() {
    let sandbox = Sandbox::lease();
    for (flags, next, goes) in [
        ("", "", &["- Policy", "- Stack", "- ServiceAccount", "- Namespace"][..]),
        ("--policy-name Mine", "--aws-only", &["- Policy  Mine", "- Stack"]),
    ] {
        install(&sandbox, flags);
        sandbox.fault(&json!({"deny": "iam:DeletePolicy"}));
        let failed = sandbox.run(&format!("{UNINSTALL} --approve")).exits(1);
        failed.says(&["iam:DeletePolicy", "failed: Policy ", "not reached: Stack "]);
        sandbox.heal();
        sandbox.run(&format!("{UNINSTALL} {next} --approve")).ok().shows(goes);
        assert_eq!(sandbox.stack_status(STACK), "gone");
        assert!(!sandbox.has_policy(POLICY) && !sandbox.has_policy("Mine"));
        let gone = || sandbox.kube("GET", NAMESPACE, None).is_none().then_some(());
        if next.is_empty() {
            until("the namespace is gone", gone);
        }
    }
}

#[test]
fn a_stack_that_others_delete_still_names_its_policy() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "--policy-name Mine");
    let role = name_of(role_arn(&sandbox.stack(STACK).unwrap())).to_owned();
    sandbox.detach(&role, &policy_arn("Mine"));
    wait(sandbox.iam().delete_role().role_name(&role).send()).unwrap();
    sandbox.slow_stacks();
    wait(sandbox.cloudformation().delete_stack().stack_name(STACK).send()).unwrap();
    assert_eq!(sandbox.stack_status(STACK), "DELETE_IN_PROGRESS");
    let line = format!("{UNINSTALL} --aws-only --approve");
    sandbox.run_waiting(&line).ok().shows(&["it is being deleted: waits for it"]);
    assert_eq!((sandbox.stack_status(STACK).as_str(), sandbox.has_policy("Mine")), ("gone", false));
}

#[test]
fn an_installation_whose_stack_others_deleted_leaves_no_policy_of_its_own() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "--least-privilege");
    let scoped = format!("{POLICY}-us-west-2-eksdemo1");
    wait(sandbox.cloudformation().delete_stack().stack_name(STACK).send()).unwrap();
    until("the stack is gone", || (sandbox.stack_status(STACK) == "gone").then_some(()));
    sandbox.run("create policy --approve").ok();
    sandbox.run(&format!("{UNINSTALL} --aws-only --approve")).ok();
    assert_eq!(
        (sandbox.has_policy(&scoped), sandbox.has_policy(POLICY)),
        (false, true),
        "the shared one may be wanted"
    );
}

#[test]
fn a_namespace_that_cannot_be_read_stays() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "");
    let error = json!({"status": 400, "message": "the server of this API is broken"});
    sandbox.kube_fault(&json!({"path": "/apis/policy/v1", "error": error}));
    let done = sandbox.run(&format!("{UNINSTALL} --approve")).ok();
    done.shows(&["namespace external-dns stays: what it holds can't be read: ", "the server of this API is broken"]);
    sandbox.object(NAMESPACE);
    assert!(!sandbox.has_policy(POLICY));
}

#[test]
fn one_of_several_installations_goes_alone() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "");
    install(&sandbox, "--name internal --least-privilege");
    let scoped = format!("{POLICY}-us-west-2-eksdemo1-internal");
    assert!(sandbox.has_policy(&scoped));
    let done = sandbox.run(&format!("{UNINSTALL} --name internal --approve")).ok();
    done.shows(&[
        &format!("- Policy              {scoped}"),
        "namespace external-dns stays: it holds deployments/external-dns",
    ]);
    assert!(!sandbox.has_policy(&scoped) && sandbox.has_policy(POLICY));
    sandbox.object("/apis/apps/v1/namespaces/external-dns/deployments/external-dns");
    sandbox.object("/apis/rbac.authorization.k8s.io/v1/clusterroles/external-dns");
    assert!(sandbox.kube("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/internal", None).is_none());
    sandbox.run(&format!("{UNINSTALL} --approve")).ok().shows(&["- Namespace"]);
    assert!(!sandbox.has_policy(POLICY));
}

#[test]
fn a_cluster_that_is_gone_leaves_nothing_in_aws() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "--termination-protection");
    let eks = aws_sdk_eks::Client::new(&sandbox.aws());
    wait(eks.delete_cluster().name("eksdemo1").send()).unwrap();
    sandbox
        .run(&format!("{UNINSTALL} --approve"))
        .ok()
        .says(&["warning: cluster eksdemo1 doesn't exist"])
        .shows(&["irsactl get dnsrecords --region us-west-2 --owner eksdemo1-"]);
    assert_eq!((sandbox.stack_status(STACK).as_str(), sandbox.has_policy(POLICY)), ("gone", false));
}

#[test]
fn foreign_policies_on_the_role_are_refused_before_anything_goes() {
    let sandbox = Sandbox::lease();
    install(&sandbox, "");
    let role = role_arn(&sandbox.stack(STACK).unwrap()).to_owned();
    sandbox.attach(name_of(&role), &sandbox.create_policy("theirs"));
    sandbox.forget_calls();
    sandbox
        .run(&format!("{UNINSTALL} --approve"))
        .exits(1)
        .says(&["aws iam detach-role-policy", "--detach-foreign-policies"]);
    assert_eq!(sandbox.writes(), NOTHING);
    sandbox.run(&format!("{UNINSTALL} --aws-only --detach-foreign-policies --approve")).ok();
    assert_eq!(sandbox.kube_writes(), NOTHING);
    assert_eq!((sandbox.stack_status(STACK).as_str(), sandbox.has_policy("theirs")), ("gone", true));
}
