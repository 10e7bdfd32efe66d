//! What needs neither AWS nor Kubernetes: the environment leads nowhere, and nothing is missed.

use serde_json::{Value, json};

use crate::support::{Run, irsactl};

const ISSUER: &str = "https://oidc.eks.us-west-2.amazonaws.com/id/A39A2842863C47208955D753DE205E6E";
const ROLE: &str = "arn:aws:iam::111122223333:role/eksctl-eksdemo1-addon-iamserviceaccount-defa-Role1-JTO29BVZMA2N";

fn run(line: &str) -> Run {
    Run::of(&mut irsactl(line.split_whitespace()))
}

fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap()
}

#[test]
fn help_has_examples_for_every_command() {
    for command in [
        "install external-dns",
        "uninstall external-dns",
        "create policy",
        "create iamserviceaccount",
        "get iamserviceaccount",
        "update iamserviceaccount",
        "get dnsrecords",
        "delete iamserviceaccount",
        "utils associate-iam-oidc-provider",
        "render policy",
        "render trust-policy",
        "render stack",
        "render manifest",
        "completion",
    ] {
        run(&format!("{command} --help")).ok().shows(&["Examples:", "irsactl "]);
    }
}

#[test]
fn version_says_what_it_installs() {
    run("version").ok().shows(&[env!("CARGO_PKG_VERSION"), "v0.23.0"]);
    assert_eq!(run("version -o json").ok().json()["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn completion_is_printed_for_shells() {
    for shell in ["bash", "zsh", "fish"] {
        run(&format!("completion {shell}")).ok().shows(&["irsactl"]);
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let irsactl = env!("CARGO_BIN_EXE_irsactl");
    let script = format!("{irsactl} completion bash | head -1; exit ${{PIPESTATUS[0]}}");
    let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn render_policy_is_the_documented_one() {
    let policy = run("render policy").ok().json();
    assert_eq!(
        policy,
        json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow",
             "Action": ["route53:ChangeResourceRecordSets", "route53:ListResourceRecordSets", "route53:ListTagsForResources"],
             "Resource": ["arn:aws:route53:::hostedzone/*"]},
            {"Effect": "Allow", "Action": ["route53:ListHostedZones"], "Resource": ["*"]},
        ]})
    );
}

#[test]
fn m3_to_m6_render_policy_for_zones() {
    let line = "render policy --zone-id-filter /hostedzone/Z0123456789 --zone-id-filter Z9876543210,Z0123456789 --region cn-north-1";
    let policy = run(line).ok().json();
    assert_eq!(
        policy["Statement"][0]["Resource"],
        json!(["arn:aws-cn:route53:::hostedzone/Z0123456789", "arn:aws-cn:route53:::hostedzone/Z9876543210"])
    );
    run("render policy --zone-id-filter Z1;rm").exits(2).says(&["--zone-id-filter"]);
}

#[test]
fn a1_a2_render_trust_policy() {
    let trust = |flags: &str| {
        run(&format!("render trust-policy --oidc-issuer {ISSUER} --account-id 456123987123 --name sa-1 {flags}"))
            .ok()
            .json()
    };
    let issuer = "oidc.eks.us-west-2.amazonaws.com/id/A39A2842863C47208955D753DE205E6E";
    let expected = |condition: Value| {
        json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Action": ["sts:AssumeRoleWithWebIdentity"],
            "Principal": {"Federated": format!("arn:aws:iam::456123987123:oidc-provider/{issuer}")},
            "Condition": condition,
        }]})
    };
    let (aud, sub) = (format!("{issuer}:aud"), format!("{issuer}:sub"));
    assert_eq!(
        trust(""),
        expected(json!({"StringEquals": {&aud: "sts.amazonaws.com", &sub: "system:serviceaccount:default:sa-1"}}))
    );
    assert_eq!(
        trust("--subject-pattern app-*"),
        expected(json!({"StringEquals": {&aud: "sts.amazonaws.com"},
                        "StringLike": {&sub: "system:serviceaccount:default:app-*"}}))
    );
}

#[test]
fn a_missing_input_of_render_is_named() {
    run("render trust-policy --name a --account-id 456123987123").exits(2).says(&["--oidc-issuer"]);
    run(&format!("render trust-policy --name a --oidc-issuer {ISSUER}")).exits(2).says(&["--account-id"]);
    run("render manifest --region us-west-2").exits(2).says(&["--role-arn"]);
    run(&format!("render manifest --region us-west-2 --role-arn {ROLE}")).exits(2).says(&["--txt-owner-id"]);
}

#[test]
fn c1_render_stack_is_eksctls() {
    let line = format!(
        "render stack --name sa-1 --cluster c --oidc-issuer {ISSUER} --account-id 456123987123 \
         --attach-policy-arn arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    );
    let stack = run(&line).ok().json();
    assert_eq!(stack["Description"], "IAM role for serviceaccount \"default/sa-1\" [created and managed by eksctl]");
    assert_eq!(stack["Resources"].as_object().unwrap().keys().collect::<Vec<_>>(), ["Role1"]);
    assert_eq!(
        stack["Resources"]["Role1"]["Properties"]["ManagedPolicyArns"],
        json!(["arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"])
    );
    assert_eq!(stack["Outputs"]["Role1"]["Value"], json!({"Fn::GetAtt": ["Role1", "Arn"]}));
}

#[test]
fn k20_render_manifest_needs_no_network() {
    for namespace in ["default", "external-dns"] {
        let line =
            format!("render manifest --cluster eksdemo1 --region us-west-2 --namespace {namespace} --role-arn {ROLE}");
        let yaml = run(&line).ok().stdout;
        let objects = documents(&yaml);
        let find = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap();
        assert_eq!(find("ServiceAccount")["metadata"]["annotations"]["eks.amazonaws.com/role-arn"], ROLE);
        assert_eq!(find("ClusterRoleBinding")["subjects"][0]["namespace"], namespace);
        // K25: rendering twice gives identical bytes.
        assert_eq!(run(&line).ok().stdout, yaml);
    }
}

#[test]
fn rendering_takes_the_region_from_the_environment_without_credentials() {
    for variable in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        let line = format!("render manifest --role-arn {ROLE} --txt-owner-id x");
        let mut command = irsactl(line.split_whitespace());
        let run = Run::of(command.env(variable, "eu-north-1")).ok();
        assert!(run.stdout.contains("eu-north-1") && run.stderr.is_empty(), "{run:?}");
    }
    let line = format!("render manifest --cluster c --region us-west-2 --role-arn {ROLE}");
    run(&line).ok().says(&["note: the owner id", "account 111122223333", "--account-id"]);
    assert_eq!(run(&format!("{line} --account-id 111122223333")).ok().stderr, "");
}

/// A Namespace that every cluster has would be taken for irsactl's own.
#[test]
fn rendered_manifests_make_no_namespace_of_kubernetes() {
    let kinds = |namespace: &str| {
        let line =
            format!("render manifest --txt-owner-id x --region us-west-2 --role-arn {ROLE} --namespace {namespace}");
        documents(&run(&line).ok().stdout).iter().map(|object| object["kind"].clone()).collect::<Vec<_>>()
    };
    assert!(!kinds("kube-system").contains(&json!("Namespace")));
    assert!(kinds("dns").contains(&json!("Namespace")));
}

#[test]
fn k23_lists_take_commas_and_repetition() {
    let line = format!(
        "render manifest --cluster c --region us-west-2 --role-arn {ROLE} --domain-filter a.com,b.com --domain-filter c.com"
    );
    let objects = documents(&run(&line).ok().stdout);
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let args = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    let filters: Vec<_> = args.iter().filter(|arg| arg.as_str().unwrap().starts_with("--domain-filter")).collect();
    assert_eq!(filters, ["--domain-filter=a.com", "--domain-filter=b.com", "--domain-filter=c.com"]);
}

#[test]
fn wrong_usage_is_refused_before_any_call() {
    for (line, named) in [
        ("install external-dns", "--cluster"),
        ("install external-dns --cluster -x", "--cluster"),
        ("install external-dns --cluster c --namespace Bad", "--namespace"),
        ("install external-dns --cluster c --name Bad_", "--name"),
        ("install external-dns --cluster c --txt-prefix a --txt-suffix b", "--txt-suffix"),
        ("install external-dns --cluster c --role-arn arn:aws:iam::1:role/x", "--role-arn"),
        ("install external-dns --cluster c --attach-policy-arn nonsense", "--attach-policy-arn"),
        ("install external-dns --cluster c --policy-name a/b", "--policy-name"),
        ("install external-dns --cluster c --role-name a/b", "--role-name"),
        ("install external-dns --cluster c --replicas 2", "--replicas"),
        ("install external-dns --cluster c --policy delete-all", "--policy"),
        ("install external-dns --cluster c --registry noop --policy sync", "noop"),
        ("install external-dns --cluster c --external-dns-version v0.17.0 --annotation-prefix x.io/", "v0.20"),
        ("install external-dns --cluster c --external-dns-version soon", "--external-dns-version"),
        (
            "install external-dns --cluster c --image r.example.com/external-dns:v0.21.0 --external-dns-version v0.23.0",
            "v0.21.0",
        ),
        ("install external-dns --cluster c --extra-arg=--txt-owner-id=x", "--txt-owner-id"),
        ("install external-dns --cluster c --patch /nonexistent", "/nonexistent"),
        ("install external-dns --cluster c --annotation-filter team!=b", "no !="),
        ("install external-dns --cluster c --aws-prefer-cname --extra-arg=--no-aws-prefer-cname", "exclude each other"),
        ("install external-dns --cluster c --extra-arg=--managed-record-types=A,CNAME", "one of A, AAAA, CNAME"),
        ("render helm-values --role-arn arn:aws:iam::111122223333:role/x --patch p.yaml", "--patch"),
        (
            "create iamserviceaccount --cluster c --name x --attach-policy-arn arn:aws:iam::aws:policy/x \
             --annotations eks.amazonaws.com/token-expiration=100000",
            "600 to 86400",
        ),
        ("install external-dns --cluster c --least-privilege --extra-arg=--aws-zone-tags=team=dns", "--zone-id-filter"),
        (
            "install external-dns --cluster c --least-privilege --extra-arg=--regex-domain-filter=x$",
            "--regex-domain-filter",
        ),
        ("install external-dns --cluster c --region nowhere", "--region"),
        ("install external-dns --cluster c --timeout soon", "--timeout"),
        ("install external-dns --cluster c --tags novalue", "--tags"),
        ("install external-dns --cluster c --tags aws:x=y", "--tags"),
        (
            "create policy --zone-id-filter Z0123456789,Z9876543210 --region us-east-1",
            "irsactl create policy AllowExternalDNSUpdates-team --zone-id-filter Z0123456789,Z9876543210 --region \
             us-east-1 --approve",
        ),
        ("utils associate-iam-oidc-provider", "--cluster"),
        ("utils associate-iam-oidc-provider c --cluster c", "cannot be used with"),
        ("utils associate-iam-oidc-provider c -f c.yaml", "cannot be used with"),
        ("create iamserviceaccount --cluster c --attach-policy-arn policy/x", "--name"),
        ("delete iamserviceaccount --cluster c", "--name"),
        ("frobnicate", "frobnicate"),
    ] {
        let run = run(line).exits(2).says(&[named]);
        assert_eq!(run.stdout, "", "{line}");
    }
}

#[test]
fn errors_are_documents_where_documents_are_asked_for() {
    for line in ["install external-dns -o json", "get iamserviceaccount --cluster c --region us-west-2 -o json"] {
        let run = run(line);
        let error: Value = serde_json::from_str(&run.stderr).unwrap();
        assert!(error["error"]["code"].is_string() && error["error"]["message"].is_string(), "{error}");
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn no_region_no_credentials_no_profile() {
    run("install external-dns --cluster c").exits(1).says(&["region", "--region"]);
    run("install external-dns --cluster c --region us-west-2").exits(1).says(&["credentials"]);
    run("install external-dns --cluster c --region us-west-2 --profile nope").exits(1).says(&["nope"]);
    let error = run("get iamserviceaccount --cluster c --region us-west-2 -o json").exits(1).stderr;
    assert_eq!(serde_json::from_str::<Value>(&error).unwrap()["error"]["code"], "no-credentials");
}
