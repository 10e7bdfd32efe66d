//! How a run ends: where what it starts with stalls, and where nobody reads what it prints.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Run, Sandbox, irsactl, until};

/// A program that takes longer than any run, and says by a file of its own that it has begun.
fn slow(folder: &Path) -> (PathBuf, PathBuf) {
    let (program, begun) = (folder.join("slow"), folder.join("begun"));
    std::fs::write(&program, format!("#!/bin/sh\n: > {}\nexec sleep 60 2>&-\n", begun.display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    (program, begun)
}

/// Ends by itself with the time, and at once by a signal.
fn ends(command: &dyn Fn(&str) -> Command, begun: &Path, says: &str) -> Run {
    Run::of(&mut command("15s")).exits(1).says(&["not finished within 15s", says, "hint: "]);

    std::fs::remove_file(begun).unwrap();
    let start = Instant::now();
    let run = Run::start(command("10m"));
    until("it waits", || begun.exists().then_some(()));
    assert!(Command::new("kill").args(["-TERM", &run.process.id().to_string()]).status().unwrap().success());
    let run = run.end().exits(130).says(&["interrupted"]);
    assert!(start.elapsed() < Duration::from_secs(50), "it didn't wait for the program");
    run
}

#[test]
fn a_credential_process_that_stalls_ends_with_the_time_and_by_signals() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config");
    let (program, begun) = slow(home.path());
    std::fs::write(&file, format!("[default]\ncredential_process = {}\n", program.display())).unwrap();
    let command = |timeout: &str| {
        let mut command = irsactl(["get", "iamserviceaccount", "--cluster", "eksdemo1", "--timeout", timeout]);
        command.env("AWS_CONFIG_FILE", &file).env("AWS_REGION", "us-west-2");
        command
    };
    let said = "the AWS credentials were being fetched";
    let run = ends(&command, &begun, said).says(&[said, "hint: run the same command again"]);
    assert!(!run.stderr.contains("goes on where"), "what only looks begins anew: {}", run.stderr);
}

#[test]
fn an_exec_plugin_that_stalls_ends_with_the_time_and_by_signals() {
    let sandbox = Sandbox::lease();
    let (plugin, begun) = slow(sandbox.file("kubeconfig-exec", "").parent().unwrap());
    let text = std::fs::read_to_string(sandbox.fact("kubeconfig")).unwrap();
    let (before, _) = text.split_once("token: ").unwrap();
    let exec = format!(
        "{before}exec: {{apiVersion: client.authentication.k8s.io/v1, command: {}, interactiveMode: Never}}\n",
        plugin.display()
    );
    let file = sandbox.file("kubeconfig-exec", &exec);
    let command = |timeout: &str| {
        let line =
            format!("install external-dns --cluster eksdemo1 --timeout {timeout} --kubeconfig {}", file.display());
        sandbox.command(line.split_whitespace())
    };
    // By a signal, a call to AWS that is under way beside it may end first.
    ends(&command, &begun, "the kubeconfig's exec plugin");
}

/// Nobody reads what it prints.
fn unread(sandbox: &Sandbox, line: &str) -> Run {
    let mut run = Run::start(sandbox.command(line.split_whitespace()));
    drop(run.process.stdout.take());
    run.end()
}

#[test]
fn a_reader_that_goes_away_changes_neither_what_is_done_nor_the_exit_code() {
    let sandbox = Sandbox::lease();
    for output in ["", "-o json"] {
        unread(&sandbox, &format!("create policy --detailed-exitcode {output}")).exits(3);
        sandbox.fault(&json!({"deny": "iam:CreatePolicy"}));
        let failed = unread(&sandbox, &format!("create policy --approve {output}")).exits(1);
        failed.says(&["iam:CreatePolicy"]);
        sandbox.heal();
    }
    assert!(!sandbox.has_policy("AllowExternalDNSUpdates"));
    unread(&sandbox, "create policy --approve").ok();
    until("the policy is there", || sandbox.has_policy("AllowExternalDNSUpdates").then_some(()));
    unread(&sandbox, "verify external-dns --cluster eksdemo1").exits(4);
}

#[test]
fn a_pipe_that_never_ends_is_given_up_with_the_time_and_by_the_first_signal() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("cluster.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let start = |timeout: &str| {
        let words = ["create", "iamserviceaccount", "-f", pipe.to_str().unwrap(), "--timeout", timeout];
        let run = Run::start(irsactl(words));
        // It opens once somebody reads.
        (run, std::fs::File::create(&pipe).unwrap())
    };
    let (run, _open) = start("3s");
    run.end().exits(1).says(&["not finished within 3s", "still being read"]);
    let (run, _open) = start("1m");
    assert!(Command::new("kill").args(["-TERM", &run.process.id().to_string()]).status().unwrap().success());
    run.end().exits(130).says(&["interrupted", "hint: run the same command again"]);
}
