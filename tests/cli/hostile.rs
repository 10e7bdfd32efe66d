//! Files that are not what a user meant, or that somebody made to do harm: the memory is limited, nothing hangs, and the
//! answer is a short refusal that names the file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Run, Sandbox, irsactl};

const HEAD: &str = "apiVersion: eksctl.io/v1alpha5\nkind: ClusterConfig\nmetadata: {name: c, region: us-west-2}\n";
const STACK: &str =
    "render stack --name a --account-id 111122223333 --oidc-issuer https://oidc.example.com/id/A --attach-policy";
const MANIFEST: &str =
    "render manifest --cluster c --region us-west-2 --role-arn arn:aws:iam::111122223333:role/x --patch";

/// What reads a file that is named after it.
const READERS: [&str; 5] = [
    "create iamserviceaccount -f",
    "get iamserviceaccount -f",
    "utils associate-iam-oidc-provider -f",
    STACK,
    MANIFEST,
];

/// With a gigabyte of address space, most of it for threads, and the end after two minutes.
fn limited(command: &Command) -> Command {
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -v 1000000 && exec timeout -s KILL 120 \"$@\"", "limited"]);
    limited.arg(command.get_program()).args(command.get_args()).env_clear().stdin(Stdio::null());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited
}

fn read(reader: &str, file: &Path) -> Run {
    Run::of(&mut limited(&irsactl(reader.split_whitespace().map(Into::into).chain([file.as_os_str().to_owned()]))))
}

/// A refusal of the file before anything was called: clear, and no longer than a screen or two.
#[track_caller]
fn refused(run: Run, file: &str) -> Run {
    let run = run.exits(2).says(&["error: ", file]);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.len() < 25_000, "{} bytes of stderr", run.stderr.len());
    let control = run.stderr.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(control, None, "{}", run.stderr);
    run
}

/// A list `[item, item, …]` of what `item` makes of its number.
fn list(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).fold("[".to_owned(), |mut all, number| {
        let _ = write!(all, "{},", item(number));
        all
    }) + "]"
}

/// Ten lists, each of ten times the one before.
fn laughs(key: &str) -> String {
    let lists = (1..10).map(|n| format!("{key}{n}: &a{n} {}\n", list(10, |_| format!("*a{}", n - 1))));
    format!("{key}0: &a0 [ha, ha]\n{}", lists.collect::<String>())
}

/// Name, contents, and what the refusal says to all readers that don't stumble earlier.
fn harmful() -> Vec<(&'static str, Vec<u8>)> {
    let long = "x".repeat(2 << 20);
    let text = |text: String| text.into_bytes();
    let policy = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", "Action": "#;
    vec![
        ("empty", Vec::new()),
        ("zeros", vec![0; 1 << 20]),
        ("binary", (0..1 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).collect()),
        ("escapes", text(format!("{HEAD}\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m: \u{202e}x\n"))),
        ("escapes-in-a-value", text(HEAD.replace("ClusterConfig", "\"\\e]0;owned\\a\\e[2J\""))),
        ("latin-1", [HEAD.as_bytes(), b"vpc: caf\xe9\n"].concat()),
        ("utf-16", HEAD.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("flow", text("[".repeat(100_000))),
        ("objects", text("{\"a\":".repeat(100_000))),
        ("lists", text("- ".repeat(100_000))),
        ("keys", text("? ".repeat(100_000))),
        ("deep-section", text(format!("{HEAD}iam: {}", "{serviceAccounts: ".repeat(100_000)))),
        ("deep-patch", text(format!("kind: Deployment\nspec: {}", "{a: ".repeat(100_000)))),
        ("laughs", text(laughs("k"))),
        ("laughs-in-a-section", text(format!("{HEAD}vpc:\n{}", laughs("  k").replace('\n', "\n  ")))),
        ("laughs-in-a-patch", text(format!("kind: Deployment\nspec:\n{}", laughs("  k")))),
        ("long-key", text(format!("{HEAD}? \"{long}\"\n: 1\n"))),
        ("long-key-in-json", text(format!("{{\"apiVersion\": \"eksctl.io/v1alpha5\", \"{long}\": 1}}"))),
        ("long-name", text(format!("{HEAD}iam: {{serviceAccounts: [{{metadata: {{name: {long}}}}}]}}"))),
        ("long-action", text(format!("{policy}\"{long}\"}}]}}"))),
        (
            "one-value-everywhere",
            text(format!(
                "{}iam: {{serviceAccounts: {}}}",
                HEAD.replace("{name", &format!("{{tags: {{z: &x \"{}\"}}, name", "V".repeat(60_000))),
                list(300, |_| "{metadata: {name: *x}, roleName: *x, subjectPattern: *x}".to_owned())
            )),
        ),
        (
            "many-tags",
            text(HEAD.replace("{name", &format!("{{tags: {{{}}}, name", list(60_000, |n| format!("k{n}: v")))))
                .into_iter()
                .filter(|byte| !b"[]".contains(byte))
                .collect(),
        ),
        (
            "many-entries",
            text(format!("{HEAD}iam: {{serviceAccounts: {}}}", list(20_000, |n| format!("{{roleName: r{n}}}")))),
        ),
        ("many-documents", text("---\n".repeat(500_000))),
        ("many-comments", text("# x\n".repeat(300_000))),
        ("many-anchors", text(format!("{HEAD}vpc: {}", list(100_000, |n| format!("&a{n} x"))))),
        ("many-merges", text(format!("{HEAD}vpc: &m {{a: 1}}\naddons: {}", list(20_000, |_| "{<<: *m}".to_owned())))),
        ("another-kind", text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n".to_owned())),
        ("a-text", text("just a text\n".to_owned())),
        ("a-number", text("42\n".to_owned())),
        ("tab", text(format!("{HEAD}\tiam: {{}}\n"))),
    ]
}

#[test]
fn harmful_files_are_refused_by_every_reader() {
    let home = tempfile::tempdir().unwrap();
    let mut runs = 0;
    for (name, contents) in harmful() {
        let file = home.path().join(name);
        std::fs::write(&file, contents).unwrap();
        for reader in READERS {
            let run = read(reader, &file);
            // What is no patch for the rendered objects holds as a file.
            let named = if run.stderr.contains("irsactl makes none here") { "patch for kind" } else { name };
            refused(run, named);
            runs += 1;
        }
    }
    assert_eq!(runs, harmful().len() * READERS.len());
}

#[test]
fn what_has_no_end_is_not_read_to_the_end() {
    let home = tempfile::tempdir().unwrap();
    let large = home.path().join("large");
    std::fs::File::create(&large).unwrap().set_len(100 << 20).unwrap();
    let text = home.path().join("text");
    std::fs::write(&text, format!("{HEAD}{}", "vpc: {id: vpc-0123456789abcdef0} # a line\n".repeat(2_500_000)))
        .unwrap();
    for reader in READERS {
        for file in [&large, &text, Path::new("/dev/zero"), Path::new("/dev/urandom")] {
            refused(read(reader, file), &file.display().to_string()).says(&["at most 8 MiB", "hint: "]);
        }
        refused(read(reader, home.path()), "Is a directory").says(&["hint: "]);
        refused(read(reader, &home.path().join("missing")), "missing").says(&["No such file", "hint: "]);
        refused(read(reader, Path::new("/dev/null")), "empty");
    }
    for reader in READERS {
        let mut command = limited(&irsactl(reader.split_whitespace().chain(["-"])));
        let endless = std::fs::File::open("/dev/zero").unwrap();
        refused(Run::of(command.stdin(endless)), "stdin").says(&["at most 8 MiB"]);
    }
    let fifo = fifo(home.path());
    let mut writer = Command::new("bash").arg("-c").arg(format!("yes > {} 2>&-", fifo.display())).spawn().unwrap();
    refused(read(MANIFEST, &fifo), "fifo").says(&["at most 8 MiB"]);
    writer.wait().unwrap();
}

fn fifo(home: &Path) -> PathBuf {
    let fifo = home.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    fifo
}

/// What editors and systems do to a text doesn't change what it says.
#[test]
fn a_mark_other_line_ends_and_pipes_are_read() {
    let home = tempfile::tempdir().unwrap();
    let policy = "Version: \"2012-10-17\"\nStatement:\n- Effect: Allow\n  Action: s3:GetObject\n  Resource: \"*\"\n";
    let plain = home.path().join("plain");
    std::fs::write(&plain, policy).unwrap();
    let expected = read(STACK, &plain).ok().stdout;
    assert!(expected.contains("s3:GetObject"));
    for other in [format!("\u{feff}{policy}"), policy.replace('\n', "\r\n"), format!("---\n{policy}...\n")] {
        let file = home.path().join("other");
        std::fs::write(&file, &other).unwrap();
        assert_eq!(read(STACK, &file).ok().stdout, expected, "{other:?}");
        let stdin = std::fs::File::open(&file).unwrap();
        let piped = Run::of(limited(&irsactl(STACK.split_whitespace().chain(["-"]))).stdin(stdin));
        assert_eq!(piped.ok().stdout, expected, "{other:?}");
    }
    let fifo = fifo(home.path());
    let mut writer = Command::new("cp").args([&plain, &fifo]).spawn().unwrap();
    assert_eq!(read(STACK, &fifo).ok().stdout, expected);
    writer.wait().unwrap();
}

/// A reader of YAML or JSON that would change what it hands on refuses it.
#[test]
fn what_would_be_lost_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("lossy");
    let policy = |resource: &str, value: &str| {
        format!(
            "{{Version: '2012-10-17', Statement: [{{Effect: Allow, Action: 's3:*', Resource: {resource}, \
             Condition: {{StringEquals: {{k: {value}}}}}}}]}}"
        )
    };
    for (text, said) in [
        (policy("!Sub '${x}'", "a"), "tag"),
        (policy("'*'", "123456789012345678901234567890"), "too many digits"),
        (policy("'*'", "1e999"), "not a finite number"),
        (policy("'*'", "a").replace("Effect: Allow", "Effect: Allow, Effect: Deny"), "given twice"),
    ] {
        std::fs::write(&file, &text).unwrap();
        refused(read(STACK, &file), "lossy").says(&[said]);
    }
    for (text, said) in [
        ("{kind: Deployment, metadata: {labels: {a: !Ref b}}}", "tag"),
        ("{kind: Deployment, spec: {template: {spec: {priority: .inf}}}}", "not a finite number"),
        ("{kind: Deployment, metadata: {labels: {a: b, a: c}}}", "given twice"),
    ] {
        std::fs::write(&file, text).unwrap();
        refused(read(MANIFEST, &file), "lossy").says(&[said]);
    }
}

#[test]
fn a_harmful_kubeconfig_is_refused_and_its_lines_are_not_shown() {
    let sandbox = Sandbox::lease();
    let secret = "current-context: c\nusers:\n- name: u\n  user: {token: s3cr3t-t0ken}\n";
    let mut files = vec![PathBuf::from("/dev/zero"), PathBuf::from("/dev/null"), std::env::temp_dir()];
    for (name, contents) in harmful() {
        let contents = String::from_utf8(contents).unwrap_or_default();
        files.push(sandbox.file(name, &contents));
        files.push(sandbox.file(&format!("{name}-secret"), &format!("{secret}{contents}")));
    }
    files.push(sandbox.file("unclosed", &format!("{secret}  [")));
    files.push(sandbox.file("wrong", &secret.replace("- name", "- names")));
    for file in files {
        let line = format!("get iamserviceaccount --cluster eksdemo1 --kubeconfig {}", file.display());
        let run = Run::of(&mut limited(&sandbox.command(line.split_whitespace())));
        let run = refused(run, &file.display().to_string());
        assert!(!run.stderr.contains("s3cr3t"), "{}", run.stderr);
    }
    let environment = |value: &str| {
        let mut command = sandbox.command("get iamserviceaccount --cluster eksdemo1 --context c".split_whitespace());
        Run::of(&mut limited(command.env("KUBECONFIG", value)))
    };
    refused(environment("/dev/zero"), "at most 8 MiB");
    refused(environment(":/dev/null:/dev/zero"), "at most 8 MiB");
    let mut command = sandbox.command("get iamserviceaccount --cluster eksdemo1".split_whitespace());
    let run = Run::of(&mut limited(command.env("AWS_CA_BUNDLE", "/dev/zero")));
    run.exits(1).says(&["AWS_CA_BUNDLE", "at most 8 MiB"]);
}

#[test]
fn what_aws_says_is_a_line_of_the_log() {
    let sandbox = Sandbox::lease();
    let error = serde_json::json!({"status": 403, "code": "AccessDenied", "message": "no\r\u{202e}owned"});
    sandbox.fault(&serde_json::json!({"service": "iam", "action": "SimulatePrincipalPolicy", "error": error}));
    let run = sandbox.run("create policy --approve -v").ok().says(&["owned"]);
    let obeyed = run.stderr.chars().find(|c| *c == '\r' || *c == '\u{202e}');
    assert_eq!(obeyed, None, "{}", run.stderr);
}
