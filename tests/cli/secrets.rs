//! Secrets in files and plugins: used, and never shown. That no run of any test prints one of its sandbox is looked after
//! by `support::secrets`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::aws::change;
use crate::support::{Run, Sandbox, irsactl};

const SECRET: &str = "TopSecretValue0123456789";

/// A program of the test's own.
fn program(sandbox: &Sandbox, name: &str, script: &str) -> PathBuf {
    let path = sandbox.file(name, &format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// The sandbox's kubeconfig, with this in the place of its token; and the token.
fn with_user(sandbox: &Sandbox, user: &str) -> (PathBuf, String) {
    let text = std::fs::read_to_string(sandbox.fact("kubeconfig")).unwrap();
    let (before, token) = text.split_once("token: ").unwrap();
    (sandbox.file("kubeconfig-user", &format!("{before}{user}\n")), token.trim().to_owned())
}

/// The sandbox's kubeconfig, with this exec plugin in the place of its token, which is told to the plugin.
fn with_plugin(sandbox: &Sandbox, plugin: &Path, argument: &str, more: &str) -> (PathBuf, String) {
    let (_, token) = with_user(sandbox, "");
    let exec = format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1, command: {}, args: ['{argument}', '{token}'], \
         provideClusterInfo: true, env: [{{name: PLUGIN_TOKEN, value: {token}}}], {more}}}",
        plugin.display()
    );
    with_user(sandbox, &exec)
}

/// Prints the token that it was told, with more fields.
fn credential(more: &str) -> String {
    let status = format!(r#"{{"token":"%s"{more}}}"#);
    let credential =
        format!(r#"{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{status}}}"#);
    format!(r#"printf '{credential}' "$PLUGIN_TOKEN""#)
}

#[test]
fn an_exec_plugin_is_run_as_kubectl_runs_it() {
    let sandbox = Sandbox::lease();
    let seen = sandbox.file("seen", "");
    let script = format!(
        r#"printf '%s\n' "$1" "$KUBERNETES_EXEC_INFO" "$(cat)" >> {}
echo it asks nothing >&2
{}"#,
        seen.display(),
        credential("")
    );
    let plugin = program(&sandbox, "plugin", &script);
    let (file, token) = with_plugin(&sandbox, &plugin, "$(exit 1); `exit 2`", "");
    let line = format!("get iamserviceaccount --cluster eksdemo1 -vvv --kubeconfig {}", file.display());
    let mut command = sandbox.command(line.split_whitespace());
    // What a pipe holds is for irsactl.
    let run = Run::of(command.stdin(std::fs::File::open(&file).unwrap())).ok();
    assert!(!format!("{run:?}").contains(&token), "{run:?}");
    assert!(run.stderr.contains("it asks nothing"), "{run:?}");
    let seen = std::fs::read_to_string(seen).unwrap();
    let [argument, info, stdin] = seen.lines().collect::<Vec<_>>()[..] else { panic!("it ran more than once: {seen}") };
    assert_eq!((argument, stdin), ("$(exit 1); `exit 2`", ""), "no shell has read it");
    let info: serde_json::Value = serde_json::from_str(info).unwrap();
    assert_eq!((&info["kind"], &info["spec"]["interactive"]), (&"ExecCredential".into(), &false.into()));
    assert!(info["spec"]["cluster"]["server"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{info}");
}

/// What is printed with this kubeconfig, in every way to say it, holds `said` and neither secret.
fn tells(sandbox: &Sandbox, (file, token): &(PathBuf, String), said: &str) {
    for output in ["-vvv", "-o json"] {
        let line = format!("verify external-dns --cluster eksdemo1 {output} --kubeconfig {}", file.display());
        let run = sandbox.run(&line);
        let printed = run.stdout + &run.stderr;
        assert!(printed.contains(said), "{said}: {printed}");
        assert!(!printed.contains(SECRET) && !printed.contains(token), "{printed}");
        assert!(!printed.contains("can't be reached") && !printed.contains(" again after "), "{printed}");
    }
}

#[test]
fn what_a_plugin_that_fails_has_printed_stays_with_it() {
    let sandbox = Sandbox::lease();
    for (script, said) in [
        (format!("echo {SECRET}; exit 3"), "plugin ended with exit status: 3"),
        ("echo no session >&2; exit 3".to_owned(), "no session"),
        (format!("echo '{{\"status\": {{\"token\": \"{SECRET}\"'"), "plugin printed no ExecCredential"),
        (format!("echo '{{\"kind\": \"{SECRET}\"}}'"), "plugin printed no ExecCredential"),
        ("echo '{\"status\": {\"token\": \"\"}}'".to_owned(), "neither a token nor a certificate"),
        // It fails when it is asked again, for the token has expired.
        (
            format!(
                "[ -e \"$0.$PPID\" ] || {{ touch \"$0.$PPID\"; {}; exit 0; }}; echo {SECRET}; exit 4",
                credential(r#","expirationTimestamp":"2020-01-01T00:00:00Z""#)
            ),
            "plugin ended with exit status: 4",
        ),
    ] {
        let plugin = program(&sandbox, "plugin", &script);
        tells(&sandbox, &with_plugin(&sandbox, &plugin, "x", "interactiveMode: Never"), said);
    }
    let hint = "installHint: 'get it from https://plugin.test'";
    let absent = with_plugin(&sandbox, Path::new("no-such-plugin"), "x", hint);
    tells(&sandbox, &absent, "no-such-plugin isn't found");
    let line = format!("get iamserviceaccount --cluster eksdemo1 --kubeconfig {}", absent.0.display());
    let run = sandbox.run(&line);
    assert!(run.stderr.contains("get it from https://plugin.test"), "{run:?}");
    let plugin = program(&sandbox, "plugin", &credential(""));
    tells(&sandbox, &with_plugin(&sandbox, &plugin, "x", "interactiveMode: Always"), "standard input is no terminal");
}

#[test]
fn a_token_file_is_used_as_kubectl_uses_it() {
    let sandbox = Sandbox::lease();
    let (_, token) = with_user(&sandbox, "");
    sandbox.file("token", &format!("{token}\n"));
    let (file, _) = with_user(&sandbox, "tokenFile: token");
    sandbox.run(&format!("get iamserviceaccount --cluster eksdemo1 --kubeconfig {}", file.display())).ok();
    tells(&sandbox, &with_user(&sandbox, "tokenFile: /dev/zero"), "/dev/zero: it is too large");
}

/// Every way to say it.
fn hides(sandbox: &Sandbox, what: &str, change: impl Fn(&mut std::process::Command)) {
    for flags in ["", "-vvv", "-o json", "-o yaml -vv"] {
        let line = format!("get iamserviceaccount --cluster eksdemo1 --timeout 10s {flags}");
        let mut command = irsactl(line.split_whitespace());
        command.env("AWS_ENDPOINT_URL", sandbox.fact("awsUrl")).env("AWS_REGION", "us-west-2");
        change(&mut command);
        let run = Run::of(&mut command);
        assert_ne!(run.code, 0, "{what}");
        let printed = run.stdout + &run.stderr;
        assert!(printed.contains("error") && !printed.contains(SECRET), "{what}, {flags}: {printed}");
    }
}

#[test]
fn files_and_programs_with_credentials_are_not_quoted() {
    let sandbox = Sandbox::lease();
    for text in [
        format!("[default]\naws_access_key_id = AKIA\naws_secret_access_key {SECRET}\n"),
        format!("[default\naws_secret_access_key = {SECRET}\n"),
        format!(
            "[default]\naws_access_key_id = AKIA\naws_secret_access_key = {SECRET}\naws_session_token = {SECRET}\n"
        ),
        format!("{SECRET}\n"),
    ] {
        let file = sandbox.file("credentials", &text);
        hides(&sandbox, &text, |command| {
            command.env("AWS_SHARED_CREDENTIALS_FILE", &file);
        });
    }
    for script in [
        format!("echo '{{\"Version\": 1, \"SecretAccessKey\": \"{SECRET}\"}}'"),
        format!("echo {SECRET}"),
        format!("echo {SECRET}; exit 1"),
    ] {
        let plugin = program(&sandbox, "process", &script);
        let file = sandbox.file("config", &format!("[default]\ncredential_process = {}\n", plugin.display()));
        hides(&sandbox, &script, |command| {
            command.env("AWS_CONFIG_FILE", &file);
        });
    }
}

#[test]
fn the_password_of_a_proxy_is_not_shown() {
    let sandbox = Sandbox::lease();
    let proxy = format!("http://user:{SECRET}@127.0.0.1:1");
    hides(&sandbox, "a proxy", |command| {
        command.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_ENDPOINT_URL", "http://aws.invalid").env("HTTP_PROXY", &proxy).env("HTTPS_PROXY", &proxy);
    });
    let text = std::fs::read_to_string(sandbox.fact("kubeconfig")).unwrap();
    let text = text.replacen("    server:", &format!("    proxy-url: {proxy}\n    server:"), 1);
    let file = sandbox.file("kubeconfig-proxy", &text);
    let line = format!("verify external-dns --cluster eksdemo1 -vvv --timeout 10s --kubeconfig {}", file.display());
    let run = sandbox.run(&line);
    let printed = run.stdout + &run.stderr;
    assert!(!printed.contains(SECRET) && printed.contains("127.0.0.1"), "{printed}");
    for (unknown, shown) in [("socks5://user", "socks5://127.0.0.1,"), ("user", " 127.0.0.1,")] {
        let text = text.replace("http://user", unknown);
        let file = sandbox.file("kubeconfig-proxy", &text);
        tells(&sandbox, &(file, SECRET.to_owned()), shown);
    }
}

#[test]
fn the_password_in_an_address_is_not_shown() {
    let sandbox = Sandbox::lease();
    hides(&sandbox, "an endpoint", |command| {
        command.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_ENDPOINT_URL", format!("https://user:{SECRET}@127.0.0.1:1"));
    });
    let text = std::fs::read_to_string(sandbox.fact("kubeconfig")).unwrap();
    // The sandbox knows no passwords: who sends one is nobody.
    for (address, said) in [("https://", "system:anonymous"), ("https://127.0.0.1:1/", "https://127.0.0.1:1/")] {
        let address = address.replacen("https://", &format!("https://user:{SECRET}@"), 1);
        let file = sandbox.file("kubeconfig-address", &text.replacen("https://", &address, 1));
        let line = format!("get iamserviceaccount --cluster eksdemo1 -vvv --kubeconfig {}", file.display());
        let run = sandbox.run(&line);
        assert!(!run.stderr.contains(SECRET) && run.stderr.contains(said), "{run:?}");
    }
}

#[test]
fn a_request_that_is_quoted_by_sts_is_not_shown() {
    let sandbox = Sandbox::lease();
    let credentials = "[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = wrong\n\
                       aws_session_token = session\n";
    let config = "[profile role]\nsource_profile = default\nrole_arn = arn:aws:iam::123456789012:role/x\n";
    let files = (sandbox.file("credentials", credentials), sandbox.file("config", config));
    let quoted = format!("POST\n/\n\nhost:sts.amazonaws.com\nx-amz-security-token:{SECRET}");
    let said = format!("The signature does not match.\n\nThe Canonical String should have been\n'{quoted}'");
    let error = json!({"status": 403, "code": "SignatureDoesNotMatch", "message": said});
    sandbox.fault(&json!({"service": "sts", "action": "AssumeRole", "error": error}));
    hides(&sandbox, "a signature", |command| {
        command.env("AWS_SHARED_CREDENTIALS_FILE", &files.0).env("AWS_CONFIG_FILE", &files.1);
        command.env("AWS_PROFILE", "role");
    });
}

#[test]
fn a_key_among_the_arguments_of_a_deployment_is_not_shown() {
    let sandbox = Sandbox::lease();
    sandbox.create_namespace("external-dns");
    let labels = json!({"app": "external-dns"});
    let arguments = ["--source=service", "--provider=aws", "--policy=sync", &format!("--txt-encrypt-aes-key={SECRET}")];
    let container = json!({
        "name": "external-dns",
        "image": "registry.k8s.io/external-dns/external-dns:v0.23.0",
        "args": arguments,
        "env": [{"name": "EXTERNAL_DNS_PDNS_API_KEY", "value": SECRET}],
    });
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    let spec = json!({"replicas": 0, "selector": {"matchLabels": labels}, "template": template});
    let deployment = json!({"metadata": {"name": "external-dns"}, "spec": spec});
    sandbox.create("/apis/apps/v1/namespaces/external-dns/deployments", &deployment);
    // What sync would delete.
    let owned = "\"heritage=external-dns,external-dns/owner=default,external-dns/resource=ingress/default/web\"";
    let record = |name: &str, kind: &str, value: &str| {
        let set = json!({"Name": name, "Type": kind, "TTL": 60, "ResourceRecords": [{"Value": value}]});
        json!({"Action": "CREATE", "ResourceRecordSet": set})
    };
    let changes = [record("app.example.com", "A", "192.0.2.1"), record("a-app.example.com", "TXT", owned)];
    change(&sandbox, &json!({"Changes": changes}));
    let plan = "install external-dns --cluster eksdemo1 --adopt";
    for (line, shown) in [
        (plan.to_owned(), "- --txt-encrypt-aes-key=(hidden)"),
        (format!("{plan} -o json"), "--txt-encrypt-aes-key=(hidden)"),
        (format!("{plan} --policy sync"), "--txt-encrypt-aes-key (hidden) → (none)"),
        ("verify external-dns --cluster eksdemo1".to_owned(), "irsactl install external-dns"),
    ] {
        let run = sandbox.run(&line);
        let printed = run.stdout + &run.stderr;
        assert!(printed.contains(shown) && !printed.contains(SECRET), "{line}: {printed}");
    }
}
