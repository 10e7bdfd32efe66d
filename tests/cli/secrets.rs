//! Secrets in files and plugins: used, and never shown. That no run of any test prints one of its sandbox is looked after
//! by `support::secrets`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::support::{Run, Sandbox, irsactl};

const SECRET: &str = "TopSecretValue0123456789";

/// A program of the test's own.
fn program(sandbox: &Sandbox, name: &str, script: &str) -> PathBuf {
    let path = sandbox.file(name, &format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// The sandbox's kubeconfig, with this exec plugin in the place of its token.
fn with_plugin(sandbox: &Sandbox, plugin: &Path, argument: &str) -> (PathBuf, String) {
    let text = std::fs::read_to_string(sandbox.fact("kubeconfig")).unwrap();
    let (before, token) = text.split_once("token: ").unwrap();
    let token = token.trim();
    let exec = format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1, command: {}, args: ['{argument}'], interactiveMode: Never, \
         provideClusterInfo: true, env: [{{name: PLUGIN_TOKEN, value: {token}}}]}}\n",
        plugin.display()
    );
    (sandbox.file("kubeconfig-exec", &format!("{before}{exec}")), token.to_owned())
}

#[test]
fn an_exec_plugin_is_run_as_kubectl_runs_it() {
    let sandbox = Sandbox::lease();
    let seen = sandbox.file("seen", "");
    let script = format!(
        r#"printf '%s\n' "$1" "$KUBERNETES_EXEC_INFO" > {}
printf '{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"%s"}}}}' "$PLUGIN_TOKEN""#,
        seen.display()
    );
    let plugin = program(&sandbox, "plugin", &script);
    let (file, token) = with_plugin(&sandbox, &plugin, "$(exit 1); `exit 2`");
    let line = format!("get iamserviceaccount --cluster eksdemo1 -vvv --kubeconfig {}", file.display());
    let run = sandbox.run(&line).ok();
    assert!(!format!("{run:?}").contains(&token), "{run:?}");
    let seen = std::fs::read_to_string(seen).unwrap();
    let (argument, info) = seen.split_once('\n').unwrap();
    assert_eq!(argument, "$(exit 1); `exit 2`", "no shell has read it");
    let info: serde_json::Value = serde_json::from_str(info).unwrap();
    assert_eq!(info["kind"], "ExecCredential");
    assert!(info["spec"]["cluster"]["server"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{info}");
}

#[test]
fn what_a_plugin_that_fails_has_printed_stays_with_it() {
    let sandbox = Sandbox::lease();
    for (script, said) in [
        (format!("echo {SECRET}; echo no session >&2; exit 3"), "no session"),
        (format!("echo '{{\"status\": {{\"token\": \"{SECRET}\"'"), "ExecCredential"),
        (format!("echo '{{\"kind\": \"{SECRET}\"}}'"), ""),
    ] {
        let plugin = program(&sandbox, "plugin", &script);
        let (file, _) = with_plugin(&sandbox, &plugin, "x");
        for output in ["-vvv", "-o json"] {
            let line = format!("verify external-dns --cluster eksdemo1 {output} --kubeconfig {}", file.display());
            let run = sandbox.run(&line);
            let printed = run.stdout.clone() + &run.stderr;
            assert!(printed.contains(said) && !printed.contains(SECRET), "{script}: {printed}");
        }
    }
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
}
