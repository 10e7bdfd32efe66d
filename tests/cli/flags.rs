//! What a file says of a service account, said by flags.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::aws::{S3, name_of, role_arn, wait};
use crate::support::{Run, Sandbox, irsactl};

const CREATE: &str = "create iamserviceaccount --cluster eksdemo1";
const STACK: &str = "eksctl-eksdemo1-addon-iamserviceaccount-default-app";
const NOTHING: [&str; 0] = [];
const WELL_KNOWN: [&str; 7] = [
    "imageBuilder",
    "autoScaler",
    "awsLoadBalancerController",
    "externalDNS",
    "certManager",
    "ebsCSIController",
    "efsCSIController",
];

const POLICY: &str = "\
# What the tool needs beside the rest.
Version: \"2012-10-17\"
Statement:
- Effect: Allow
  Action: [\"s3:Put*\"]
  Resource: \"*\"
  Condition: {StringEquals: {aws:PrincipalAccount: 012345678901}}
";

/// The same as the flags of [`flags`].
const CONFIG: &str = "\
apiVersion: eksctl.io/v1alpha5
kind: ClusterConfig
metadata: {name: eksdemo1, region: us-west-2}
iam:
  serviceAccounts:
  - metadata:
      name: app
      labels: {tier: backend, example.com/part: \"1\"}
      annotations: {example.com/why: \"it=uploads\"}
    attachPolicyARNs: [arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess]
    wellKnownPolicies: {externalDNS: true, ebsCSIController: true}
    attachPolicy:
      Version: \"2012-10-17\"
      Statement:
      - Effect: Allow
        Action: [\"s3:Put*\"]
        Resource: \"*\"
        Condition: {StringEquals: {aws:PrincipalAccount: 012345678901}}
    permissionsBoundary: arn:aws:iam::aws:policy/PowerUserAccess
    roleName: app-role
    tags: {Owner: Jane}
    subjectPattern: app*
";

fn flags(policy: &str) -> String {
    format!(
        "{CREATE} --name app --attach-policy-arn {S3} --well-known-policy EBScsiController,externaldns \
         --attach-policy {policy} --permissions-boundary arn:aws:iam::aws:policy/PowerUserAccess --role-name app-role \
         --tags Owner=Jane --subject-pattern app* --labels tier=backend --labels example.com/part=1 \
         --annotations example.com/why=it=uploads"
    )
}

/// The template that CloudFormation has.
fn template(sandbox: &Sandbox) -> Value {
    let answer = wait(sandbox.cloudformation().get_template().stack_name(STACK).send()).unwrap();
    serde_json::from_str(answer.template_body().unwrap()).unwrap()
}

#[test]
fn flags_and_file_ask_for_the_same() {
    let sandbox = Sandbox::lease();
    let policy = sandbox.file("policy.yaml", POLICY);
    let file = sandbox.file("cluster.yaml", CONFIG);
    let by_flags = flags(&policy.display().to_string());
    let by_file = format!("create iamserviceaccount -f {}", file.display());
    let plan = |line: &str| sandbox.run(&format!("{line} -o json")).ok().json();
    assert_eq!(plan(&by_flags), plan(&by_file));

    sandbox.run(&format!("{by_flags} --approve")).ok();
    let account = sandbox.object("/api/v1/namespaces/default/serviceaccounts/app");
    let labels = json!({"app.kubernetes.io/managed-by": "eksctl", "tier": "backend", "example.com/part": "1"});
    assert_eq!(account["metadata"]["labels"], labels);
    assert_eq!(account["metadata"]["annotations"]["example.com/why"], "it=uploads");
    let first = template(&sandbox);
    assert_eq!(
        first["Resources"]["Policy1"]["Properties"]["PolicyDocument"]["Statement"][0]["Condition"],
        json!({"StringEquals": {"aws:PrincipalAccount": "012345678901"}})
    );
    sandbox.forget_calls();
    sandbox.run(&format!("{by_file} --approve")).ok().shows(&["Nothing to do"]);
    assert_eq!(sandbox.writes(), NOTHING);

    sandbox.run("delete iamserviceaccount --cluster eksdemo1 --name app --approve").ok();
    sandbox.run(&format!("{by_file} --approve")).ok();
    assert_eq!(template(&sandbox), first);
    sandbox.forget_calls();
    sandbox.run(&format!("{by_flags} --approve")).ok().shows(&["Nothing to do"]);
    assert_eq!(sandbox.writes(), NOTHING);
    // `create` states the whole: what isn't named any more goes.
    let changes = sandbox.run(&format!("{CREATE} --name app --well-known-policy externalDNS --role-name app-role"));
    changes.ok().shows(&["Policy1", "ManagedPolicyArns", "PermissionsBoundary", "tier", "example.com~1why"]);
}

#[test]
fn c7_each_well_known_policy_has_a_flag() {
    let sandbox = Sandbox::lease();
    let all = WELL_KNOWN.map(str::to_lowercase).join(",");
    sandbox.run(&format!("{CREATE} --name app --well-known-policy {all} --role-only --approve")).ok();
    let stack = sandbox.stack(STACK).unwrap();
    let role = name_of(role_arn(&stack));
    let mut attached = sandbox.attached(role);
    attached.sort();
    assert_eq!(attached, ["AmazonEBSCSIDriverPolicy", "AmazonEC2ContainerRegistryPowerUser"]);
    let inline = wait(sandbox.iam().list_role_policies().role_name(role).send()).unwrap();
    assert_eq!((inline.policy_names().len(), template(&sandbox)["Resources"].as_object().unwrap().len()), (8, 9));
    assert!(sandbox.kube("GET", "/api/v1/namespaces/default/serviceaccounts/app", None).is_none(), "role only");

    // Each alone, in place of the others: what is its own stays, and no more.
    for (name, resources) in [("imageBuilder", 1), ("certManager", 4), ("awsLoadBalancerController", 2)] {
        let update = "update iamserviceaccount --cluster eksdemo1 --name app --role-only --well-known-policy";
        sandbox.run(&format!("{update} {name} --approve")).ok();
        assert_eq!(template(&sandbox)["Resources"].as_object().unwrap().len(), resources, "{name}");
        let inline = wait(sandbox.iam().list_role_policies().role_name(role).send()).unwrap();
        assert_eq!(inline.policy_names().len(), resources - 1, "{name}");
        assert_eq!(sandbox.attached(role).len(), usize::from(name == "imageBuilder"), "{name}");
    }
}

const RENDER: &str = "render stack --cluster eksdemo1 --name app --account-id 111122223333 \
                      --oidc-issuer https://oidc.eks.us-west-2.amazonaws.com/id/A39A2842863C47208955D753DE205E6E";

#[test]
fn render_stack_knows_the_same_flags() {
    let run = |rest: &str| Run::of(&mut irsactl(format!("{RENDER} {rest}").split_whitespace())).ok().json();
    let resources = WELL_KNOWN.map(|name| run(&format!("--well-known-policy {name}"))["Resources"].clone());
    let counts = resources.map(|resources| resources.as_object().unwrap().len());
    assert_eq!(counts, [1, 2, 2, 3, 4, 1, 2]);

    let mut command = irsactl(format!("{RENDER} --attach-policy -").split_whitespace());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(POLICY.as_bytes()).unwrap();
    let stack: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    let document = &stack["Resources"]["Policy1"]["Properties"]["PolicyDocument"];
    assert_eq!(document["Statement"][0]["Action"], json!(["s3:Put*"]));
    let text = document.to_string();
    let same = irsactl(RENDER.split_whitespace().chain(["--attach-policy", text.as_str()])).output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&same.stdout).unwrap(), stack);
}

#[test]
fn what_does_not_hold_is_refused_before_any_call() {
    let home = tempfile::tempdir().unwrap();
    let policy = home.path().join("policy.yaml");
    std::fs::write(&policy, "Statement:\n- Effect: Allow\n  Action: [s3:Get*\n").unwrap();
    let policy = policy.display().to_string();
    let role = "arn:aws:iam::111122223333:role/x";
    let cases: [(&[&str], &[&str]); 21] = [
        (&["--well-known-policy", "externalDN"], &["--well-known-policy", "'externalDNS'", "certManager"]),
        (&["--well-known-policy", "autoScaler,nonsense"], &["nonsense", "imageBuilder"]),
        (&["--attach-policy", "{\"Version\": \"2012-10-17\"}"], &["--attach-policy", "the text:1:1", "no Statement"]),
        (&["--attach-policy", "{\"Version\": [}"], &["--attach-policy", "the text:1:13"]),
        (&["--attach-policy", &policy], &["--attach-policy", ".yaml:3:11", "Action: [s3:Get*"]),
        (&["--attach-policy", "/nonexistent.json"], &["--attach-policy /nonexistent.json"]),
        (&["--attach-policy", "arn:aws:iam::aws:policy/X"], &["--attach-policy-arn takes ARNs"]),
        (&["--attach-policy-arn", "policy/x", "--labels", "a"], &["--labels", "KEY=VALUE"]),
        (&["--attach-policy-arn", "policy/x", "--labels", "a=b c"], &["--labels", "is not a label"]),
        (&["--attach-policy-arn", "policy/x", "--labels", "a/b/c=d"], &["--labels", "is not a label"]),
        (&["--attach-policy-arn", "policy/x", "--labels", "a=1,a=2"], &["--labels", "`a` is given twice"]),
        (
            &["--attach-policy-arn", "policy/x", "--labels", "app.kubernetes.io/managed-by=Helm"],
            &["--labels", "is eksctl on every ServiceAccount"],
        ),
        (&["--attach-policy-arn", "policy/x", "--annotations", "a b=c"], &["--annotations", "is not the key"]),
        (&["--attach-policy-arn", "policy/x", "--annotations", "a=b,c"], &["--annotations", "a value with a comma"]),
        (
            &["--attach-policy-arn", "policy/x", "--annotations", "eks.amazonaws.com/role-arn=x"],
            &["--annotations", "is set by irsactl", "--attach-role-arn"],
        ),
        (&["--attach-policy-arn", "policy/x", "--labels", "a=b", "--role-only"], &["--labels", "--role-only"]),
        (
            &["--attach-policy-arn", "policy/x", "--annotations", "a=b", "--role-only"],
            &["--annotations", "--role-only"],
        ),
        (&["--attach-role-arn", role, "--well-known-policy", "autoScaler"], &["--well-known-policy", "cannot be used"]),
        (&["--attach-role-arn", role, "--attach-policy", "{}"], &["--attach-policy", "cannot be used"]),
        (&["--labels", "a=b"], &["--attach-policy-arn", "--well-known-policy", "--attach-policy", "--config-file"]),
        (&["--permissions-boundary", "policy/x"], &["--well-known-policy"]),
    ];
    let (longest, namespace) = ("a".repeat(253), "n".repeat(63));
    let line = format!(
        "create iamserviceaccount --cluster c --namespace {namespace} --name {longest} --attach-policy-arn policy/x"
    );
    Run::of(&mut irsactl(line.split(' '))).exits(2).says(&["has 317 characters", "at most 256"]);
    for (flags, named) in cases {
        let create = ["create", "iamserviceaccount", "--cluster", "c", "--name", "a", "--region", "us-west-2"];
        let run = Run::of(&mut irsactl(create.iter().chain(flags))).exits(2).says(named);
        assert_eq!(run.stdout, "", "{flags:?}");
    }
    let update = ["update", "iamserviceaccount", "--cluster", "c", "--name", "a", "--role-only"];
    for (flags, named) in [
        (&[][..], "--config-file"),
        (&["--labels", "a=b"], "--role-only"),
        (&["--attach-policy", "{}"], "--attach-policy"),
        (&["--tags", "aws:x=y"], "--tags"),
        (&["--include", "x"], "--config-file"),
    ] {
        Run::of(&mut irsactl(update.iter().chain(flags))).exits(2).says(&[named]);
    }
}

#[test]
fn flags_that_a_file_makes_meaningless_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("cluster.yaml");
    std::fs::write(&file, CONFIG).unwrap();
    let file = file.display().to_string();
    let common = [
        "--cluster c",
        "--region us-east-1",
        "--name a",
        "--namespace web",
        "--attach-policy-arn policy/x",
        "--well-known-policy autoScaler",
        "--attach-policy {}",
        "--permissions-boundary policy/x",
        "--labels a=b",
        "--annotations a=b",
        "--tags a=b",
        "--role-only",
        "--subject-pattern a*",
    ];
    let own = ["--attach-role-arn arn:aws:iam::111122223333:role/x", "--role-name x"];
    let create = common.iter().chain(&own).map(|flag| ("create", flag));
    for (verb, flag) in create.chain(common.iter().map(|flag| ("update", flag))) {
        let name = flag.split(' ').next().unwrap();
        let line = format!("{verb} iamserviceaccount --config-file {file} {flag}");
        let run = Run::of(&mut irsactl(line.split_whitespace()));
        run.exits(2).says(&[&format!("{name} can't be used with --config-file")]);
    }
}
