//! A clean cluster and AWS account for a test, and what it sees of them.

pub mod aws;
pub mod hints;
pub mod kill;
mod kube;
#[allow(dead_code, reason = "the longer suite needs all of it")]
pub mod operator;
pub mod scenarios;
mod secrets;
pub mod snapshot;

pub use kube::until;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

/// How many sandboxes run side by side; each takes half a gigabyte.
const POOL: usize = 2;

/// What irsactl is known by in both APIs' records.
const USER_AGENT: &str = "irsactl/";

static FREE: LazyLock<(Mutex<Pool>, Condvar)> = LazyLock::new(Default::default);
pub static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

#[derive(Default)]
struct Pool {
    idle: Vec<Server>,
    started: usize,
}

/// A running sandbox. It ends with this process: its stdin is closed then.
struct Server {
    facts: Value,
    _process: Child,
}

/// A sandbox that is a test's alone, as clean as a new one.
pub struct Sandbox {
    server: Option<Server>,
    /// Where the audit log was when the record was cleared last.
    audit_from: Mutex<u64>,
    home: tempfile::TempDir,
}

impl Sandbox {
    /// Leases a clean sandbox: eksdemo1 in us-west-2 of account 123456789012, with the public zone example.com.
    pub fn lease() -> Self {
        let server = take();
        let home = tempfile::tempdir().unwrap();
        let sandbox = Self { server: Some(server), audit_from: Mutex::new(0), home };
        post(&format!("{}/wipe", sandbox.fact("control")), None);
        post(&format!("{}/_sandbox/seed", sandbox.fact("awsUrl")), None);
        sandbox.forget_calls();
        sandbox
    }

    /// An address or name of the sandbox.
    pub fn fact(&self, name: &str) -> &str {
        let facts = &self.server.as_ref().unwrap().facts;
        facts[name].as_str().unwrap_or_else(|| panic!("no fact {name}"))
    }

    /// A file of the test's own.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The real binary, with an environment that leads to the sandbox only.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = irsactl(arguments);
        command.env("HOME", self.home.path()).current_dir(self.home.path());
        let exports = &self.server.as_ref().unwrap().facts["exports"];
        for (name, value) in exports.as_object().unwrap().iter().filter(|(name, _)| *name != "KUBECONFIG") {
            command.env(name, value.as_str().unwrap());
        }
        command
    }

    /// Runs a command line, its words separated by blanks.
    pub fn run(&self, line: &str) -> Run {
        Run::of(&mut self.command(line.split_whitespace()))
    }

    /// Every call to AWS since the record was cleared, whoever made it.
    pub fn all_aws_calls(&self) -> Vec<Value> {
        get(&format!("{}/_sandbox/calls", self.fact("awsUrl"))).as_array().unwrap().clone()
    }

    /// The calls that irsactl made to AWS since the record was cleared, as `service:Action`.
    pub fn aws_calls(&self) -> Vec<String> {
        let calls = self.all_aws_calls();
        let own = calls.iter().filter(|call| is_own(&call["userAgent"]));
        own.map(|call| format!("{}:{}", call["service"].as_str().unwrap(), call["action"].as_str().unwrap())).collect()
    }

    /// Those of them that change something.
    pub fn aws_writes(&self) -> Vec<String> {
        let is_read = |call: &String| is_aws_read(call.split(':').nth(1).unwrap());
        self.aws_calls().into_iter().filter(|call| !is_read(call)).collect()
    }

    /// The calls that irsactl made to Kubernetes and that change something, as `verb resource namespace/name`. Dry
    /// runs, access reviews and token requests change nothing.
    pub fn kube_writes(&self) -> Vec<String> {
        self.kube_events().iter().filter(|event| is_write(event)).map(called).collect()
    }

    /// Those of them that took effect.
    #[allow(dead_code, reason = "the longer suite needs it")]
    pub fn kube_changes(&self) -> Vec<String> {
        let taken = |event: &&Value| event["responseStatus"]["code"].as_u64().is_some_and(|code| code < 400);
        self.kube_events().iter().filter(|event| is_write(event)).filter(taken).map(called).collect()
    }

    /// Every call that irsactl made to Kubernetes, as its audit log has it.
    pub fn kube_events(&self) -> Vec<Value> {
        let log = std::fs::read(self.fact("auditLog")).unwrap();
        let from = usize::try_from(*lock(&self.audit_from)).unwrap();
        let lines = String::from_utf8_lossy(&log[from.min(log.len())..]).into_owned();
        let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| is_own(&event["userAgent"])).collect()
    }

    /// Every call of irsactl that changes something, in both APIs.
    pub fn writes(&self) -> Vec<String> {
        self.aws_writes().into_iter().chain(self.kube_writes()).collect()
    }

    /// Begins a new record of calls.
    pub fn forget_calls(&self) {
        let url = format!("{}/_sandbox/calls", self.fact("awsUrl"));
        ureq::delete(&url).call().unwrap();
        let length = std::fs::metadata(self.fact("auditLog")).map_or(0, |meta| meta.len());
        *lock(&self.audit_from) = length;
    }

    /// Makes AWS misbehave from now on.
    pub fn fault(&self, rule: &Value) {
        post(&format!("{}/_sandbox/faults", self.fact("awsUrl")), Some(rule));
    }

    /// Makes the Kubernetes API misbehave from now on.
    pub fn kube_fault(&self, rule: &Value) {
        self.control("/faults", rule);
    }

    /// The rules of both APIs, with how often each hit, and how many calls it holds.
    pub fn faults(&self) -> Vec<Value> {
        let rules = self.fault_addresses().map(|url| get(&url).as_array().unwrap().clone());
        rules.concat()
    }

    /// Makes both APIs behave again.
    pub fn heal(&self) {
        for url in self.fault_addresses() {
            ureq::delete(&url).call().unwrap();
        }
    }

    /// Operations on stacks go on until the sandbox is healed.
    pub fn slow_stacks(&self) {
        for action in ["CreateStack", "ExecuteChangeSet", "DeleteStack"] {
            self.fault(&json!({"service": "cloudformation", "action": action, "stack_seconds": 3600}));
        }
    }

    /// Kills a run once the stack has this status, in which it stays until the sandbox is healed.
    #[track_caller]
    pub fn leave_under_way(&self, line: &str, stack: &str, status: &str) {
        self.slow_stacks();
        let mut run = Run::start(self.command(line.split_whitespace()));
        until(status, || (self.stack_status(stack) == status).then_some(()));
        run.process.kill().unwrap();
        run.process.wait().unwrap();
    }

    /// A run that finds a stack operation under way: it ends, with all faults, once the run waits for it.
    pub fn run_waiting(&self, line: &str) -> Run {
        self.forget_calls();
        let mut run = Run::start(self.command(line.split_whitespace()));
        let looks = || self.aws_calls().iter().filter(|call| *call == "cloudformation:DescribeStacks").count();
        until("it waits for the stack", || {
            let over = run.process.try_wait().unwrap().is_some();
            (over || looks() > 5).then_some(())
        });
        self.heal();
        run.end()
    }

    fn fault_addresses(&self) -> [String; 2] {
        [format!("{}/_sandbox/faults", self.fact("awsUrl")), format!("{}/faults", self.fact("control"))]
    }

    /// Says something to the cluster's control address.
    pub fn control(&self, path: &str, body: &Value) {
        post(&format!("{}{path}", self.fact("control")), Some(body));
    }

    /// Says something to the AWS side's control address.
    pub fn aws_control(&self, path: &str, body: &Value) {
        post(&format!("{}{path}", self.fact("awsUrl")), Some(body));
    }

    /// AWS as the account's administrator, for what a test sets up and looks at.
    pub fn aws(&self) -> aws_config::SdkConfig {
        let credentials = aws_credential_types::Credentials::new(
            self.fact("adminKey"),
            self.fact("adminSecret"),
            None,
            None,
            "sandbox",
        );
        RUNTIME.block_on(
            aws_config::defaults(aws_config::BehaviorVersion::latest())
                .region(aws_config::Region::new(self.fact("region").to_owned()))
                .endpoint_url(self.fact("awsUrl"))
                .credentials_provider(credentials)
                .load(),
        )
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let (pool, freed) = &*FREE;
        lock(pool).idle.extend(self.server.take());
        freed.notify_one();
    }
}

fn take() -> Server {
    let (pool, freed) = &*FREE;
    let mut pool = lock(pool);
    loop {
        if let Some(server) = pool.idle.pop() {
            return server;
        }
        if pool.started < POOL {
            pool.started += 1;
            drop(pool);
            return start();
        }
        pool = freed.wait(pool).unwrap_or_else(PoisonError::into_inner);
    }
}

fn start() -> Server {
    let up = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sandbox/up");
    let mut process = Command::new(up)
        .arg("--json")
        .envs(crate::SANDBOX_ENV.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tests/sandbox/up starts (it needs python3)");
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let facts = serde_json::from_str(&line).expect("the sandbox says where it is");
    Server { facts, _process: process }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn get(url: &str) -> Value {
    let text = ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap();
    serde_json::from_str(&text).unwrap()
}

fn post(url: &str, body: Option<&Value>) {
    let body = body.unwrap_or(&json!({})).to_string();
    ureq::post(url).header("content-type", "application/json").send(body).unwrap_or_else(|e| panic!("{url}: {e}"));
}

fn is_own(user_agent: &Value) -> bool {
    user_agent.as_str().is_some_and(|agent| agent.contains(USER_AGENT))
}

fn is_aws_read(action: &str) -> bool {
    ["Get", "List", "Describe", "Simulate", "AssumeRole"].iter().any(|verb| action.starts_with(verb))
}

fn is_write(event: &Value) -> bool {
    let verb = event["verb"].as_str().unwrap_or_default();
    let resource = event["objectRef"]["resource"].as_str().unwrap_or_default();
    let harmless = resource.ends_with("accessreviews") || event["objectRef"]["subresource"] == "token";
    let dry = event["requestURI"].as_str().unwrap_or_default().contains("dryRun=All");
    !["get", "list", "watch"].contains(&verb) && !harmless && !dry
}

fn called(event: &Value) -> String {
    let text = |key: &str| event["objectRef"][key].as_str().unwrap_or_default();
    let namespace = if text("namespace").is_empty() { String::new() } else { format!("{}/", text("namespace")) };
    format!("{} {} {namespace}{}", event["verb"].as_str().unwrap_or_default(), text("resource"), text("name"))
}

/// The real binary in an environment that leads nowhere.
pub fn irsactl<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_irsactl"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", "/nonexistent");
    command
}

/// A run that goes on.
pub struct Running {
    command: Command,
    pub process: Process,
}

/// A process that ends with the test: it would go on in the next one's sandbox.
pub struct Process(Option<Child>);

impl Deref for Process {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().unwrap()
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Running {
    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Run {
        let output = self.process.0.take().unwrap().wait_with_output().unwrap();
        Run::ended(&self.command, output)
    }
}

/// What a run printed and ended with.
#[derive(Debug)]
pub struct Run {
    /// The exit code; -1 for a signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Runs to the end.
    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self::ended(command, output)
    }

    /// Starts what [`Running::end`] gives.
    pub fn start(mut command: Command) -> Running {
        let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running { command, process: Process(Some(process)) }
    }

    /// Whatever was run, it must not have printed a secret.
    #[track_caller]
    fn ended(command: &Command, output: Output) -> Self {
        let run = Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        for printed in [&run.stdout, &run.stderr] {
            secrets::assert_none(command, printed);
        }
        run
    }

    /// The run, which must have succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// The run, which must have ended with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The run, whose stderr must hold all of this.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "no `{part}` in stderr:\n{}\nstdout:\n{}", self.stderr, self.stdout);
        }
        self
    }

    /// The run, whose stdout must hold all of this.
    #[track_caller]
    pub fn shows(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stdout.contains(part), "no `{part}` in stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        }
        self
    }

    /// The document of the error, which `-o json` puts at the end of stderr.
    #[track_caller]
    pub fn error(&self) -> Value {
        let start = self.stderr.find("{\n").unwrap_or_else(|| panic!("no document in stderr:\n{}", self.stderr));
        let document: Value = serde_json::from_str(&self.stderr[start..]).unwrap();
        document["error"].clone()
    }

    /// The run, which must have failed (exit code 1) with an error of this code whose text holds all of this.
    #[track_caller]
    pub fn fails(self, code: &str, parts: &[&str]) -> Self {
        let run = self.exits(1);
        let error = run.error();
        assert_eq!(error["code"], code, "{error:#}");
        let text: Vec<_> = [&error["message"], &error["hint"]]
            .into_iter()
            .chain(error["causes"].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .collect();
        let text = text.join("\n");
        for part in parts {
            assert!(text.contains(part), "no `{part}` in:\n{text}");
        }
        run
    }

    /// The document on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}\nstderr:\n{}", self.stdout, self.stderr))
    }

    /// The steps of the plan on stdout that change something, as `action Kind name`.
    #[track_caller]
    pub fn changes(&self) -> Vec<String> {
        let plan = self.json();
        let text = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
        let steps = plan["steps"].as_array().unwrap().iter().filter(|step| step["action"] != "none");
        steps.map(|step| format!("{} {} {}", text(step, "action"), text(step, "kind"), text(step, "name"))).collect()
    }
}
