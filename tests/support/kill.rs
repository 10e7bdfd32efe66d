//! Kills irsactl in the middle of a chosen call, and compares what the next run makes of it with an undisturbed one.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::snapshot::{Snapshot, differences};
use super::{Run, Running, Sandbox, is_aws_read, is_write, lock, until};

/// A command, and what is there before it.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub prepare: fn(&Sandbox),
    /// The command line; files are the sandbox's own.
    pub command: fn(&Sandbox) -> String,
}

/// Where in a call a run is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before anything was done.
    Before,
    /// It took effect, and its reply has not arrived.
    After,
}

/// The nth call of an action on an object.
#[derive(Clone)]
pub struct Point {
    api: Api,
    label: String,
    nth: usize,
    write: bool,
    moment: Moment,
    /// Stacks take longer than the run lives.
    slow: bool,
}

#[derive(Clone)]
enum Api {
    Aws { service: String, action: String, object: Option<(String, String)> },
    Kubernetes { verb: String, path: String, dry: bool },
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} #{}{}", self.moment, self.label, self.nth, if self.slow { ", under way" } else { "" })
    }
}

/// Parameters that name what a call is about; the first one that a call has counts.
const OBJECTS: [&str; 8] = [
    "StackName",
    "PolicyArn",
    "RoleName",
    "PolicyName",
    "OpenIDConnectProviderArn",
    "Url",
    "PolicySourceArn",
    "HostedZoneId",
];

/// Every how many reads a run is killed at one.
const READS: usize = 7;

impl Point {
    fn of_aws(call: &Value, issuer: &str) -> Self {
        let text = |key: &str| call[key].as_str().unwrap_or_default().to_owned();
        let (service, action) = (text("service"), text("action"));
        let object = OBJECTS.iter().find_map(|&key| {
            let value = call["params"][key].as_str()?;
            Some((key.to_owned(), glob(value, issuer)))
        });
        let name = object.as_ref().map(|(_, value)| value.clone()).unwrap_or_default();
        let label = format!("{service}:{action} {name}").trim_end().to_owned();
        let write = !is_aws_read(&action);
        Self { api: Api::Aws { service, action, object }, label, nth: 1, write, moment: Moment::Before, slow: false }
    }

    fn of_kubernetes(event: &Value) -> Option<Self> {
        let uri = event["requestURI"].as_str()?;
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let (verb, path, dry) = (event["verb"].as_str()?.to_owned(), anonymous(path), query.contains("dryRun"));
        let label = format!("{verb}{} {path}", if dry { " (dry run)" } else { "" });
        let api = Api::Kubernetes { verb, path, dry };
        Some(Self { api, label, nth: 1, write: is_write(event), moment: Moment::Before, slow: false })
    }

    /// Where it starts an operation on a stack: the same, and the next run finds the operation under way.
    fn under_way(&self) -> Option<Self> {
        let begins = self.write && self.moment == Moment::After && self.label.starts_with("cloudformation:");
        begins.then(|| Self { slow: true, ..self.clone() })
    }

    /// Holds the call.
    fn hold(&self, sandbox: &Sandbox) {
        let mut rule = json!({"userAgent": super::USER_AGENT, "skip": self.nth - 1, "times": 1, "hold": true});
        rule["after"] = json!(self.moment == Moment::After);
        match &self.api {
            Api::Aws { service, action, object } => {
                if self.slow {
                    // A change set that is ready late stays so.
                    let seconds = if action == "CreateChangeSet" { 3 } else { 3600 };
                    sandbox.fault(&json!({"service": service, "action": action, "stack_seconds": seconds}));
                }
                rule["service"] = json!(service);
                rule["action"] = json!(action);
                if let Some((key, value)) = object {
                    rule["match"] = json!({key: value});
                }
                sandbox.fault(&rule);
            }
            Api::Kubernetes { verb, path, dry } => {
                rule["verb"] = json!(verb);
                rule["path"] = json!(path);
                rule["dryRun"] = json!(dry);
                sandbox.kube_fault(&rule);
            }
        }
    }
}

/// A name whose generated parts may be others.
fn glob(value: &str, issuer: &str) -> String {
    let value = value.replace(issuer, "*");
    let cut = |mark: &str| value.find(mark).map(|at| format!("{}{mark}*", &value[..at]));
    let stack = value.split_once(":stack/").and_then(|(arn, rest)| Some((arn, rest.split_once('/')?.0)));
    let stack = stack.map(|(arn, name)| format!("{arn}:stack/{name}/*"));
    stack.or_else(|| cut("-Role1-")).unwrap_or(value)
}

/// A path without the name of a pod.
fn anonymous(path: &str) -> String {
    let Some((collection, rest)) = path.split_once("/pods/") else { return path.to_owned() };
    let rest = rest.split_once('/').map(|(_, rest)| format!("/{rest}")).unwrap_or_default();
    format!("{collection}/pods/*{rest}")
}

/// Runs the command undisturbed: where it can be killed, and what it leaves.
pub fn record(scenario: Scenario) -> (Vec<Point>, Snapshot) {
    let sandbox = Sandbox::lease();
    (scenario.prepare)(&sandbox);
    sandbox.forget_calls();
    sandbox.run(&(scenario.command)(&sandbox)).ok();
    let issuer = sandbox.fact("issuer").rsplit('/').next().unwrap().to_owned();
    let calls = sandbox.all_aws_calls();
    let own = calls.iter().filter(|call| super::is_own(&call["userAgent"]));
    let aws = own.map(|call| Point::of_aws(call, &issuer));
    let events = sandbox.kube_events();
    let all = aws.chain(events.iter().filter_map(Point::of_kubernetes));
    let mut seen = BTreeMap::new();
    let all = all.map(|point| {
        let nth: &mut usize = seen.entry(point.label.clone()).or_default();
        *nth += 1;
        Point { nth: *nth, ..point }
    });
    let (writes, reads): (Vec<_>, Vec<_>) = all.partition(|point| point.write);
    let both = |point: Point| [Moment::Before, Moment::After].map(|moment| Point { moment, ..point.clone() });
    let reads = reads.into_iter().filter(|read| read.nth == 1).step_by(READS);
    let mut points: Vec<_> = writes.into_iter().flat_map(both).chain(reads).collect();
    let under_way: Vec<_> = points.iter().filter_map(Point::under_way).collect();
    points.extend(under_way);
    (points, sandbox.snapshot())
}

/// Starts the command, and gives the run once it is held at the point; none where it ended without coming there.
fn held(sandbox: &Sandbox, line: &str, point: &Point) -> Option<Running> {
    point.hold(sandbox);
    let mut run = Run::start(sandbox.command(line.split_whitespace()));
    let mut over = false;
    until("the call is held", || {
        over = run.process.try_wait().unwrap().is_some();
        (over || calls_held(sandbox) > 0).then_some(())
    });
    (!over).then_some(run)
}

fn calls_held(sandbox: &Sandbox) -> u64 {
    sandbox.faults().iter().filter_map(|rule| rule["held"].as_u64()).sum()
}

/// Stops a run at the point, repeats it to the end, and compares what is there then. False where the run didn't come
/// there: it reads no more than it needs.
fn stopped(scenario: Scenario, point: &Point, wanted: &Snapshot, stop: &Stop) -> Result<bool, String> {
    let sandbox = Sandbox::lease();
    (scenario.prepare)(&sandbox);
    let line = (scenario.command)(&sandbox);
    let Some(run) = held(&sandbox, &line, point) else {
        return if point.write { Err("it came to its end without this call".to_owned()) } else { Ok(false) };
    };
    stop(&sandbox, run, point)?;
    if !point.slow {
        sandbox.heal();
    }
    let Run { code, stderr, .. } = sandbox.run_waiting(&line);
    if code != 0 {
        return Err(format!("the next run exits {code}:\n{stderr}"));
    }
    let found = differences(wanted, &sandbox.snapshot());
    if found.is_empty() { Ok(true) } else { Err(format!("it leaves something else:\n  {}", found.join("\n  "))) }
}

/// How a run that is held is stopped.
type Stop = dyn Fn(&Sandbox, Running, &Point) -> Result<(), String> + Sync;

fn kill(sandbox: &Sandbox, mut run: Running) {
    run.process.kill().unwrap();
    run.process.wait().unwrap();
    until("the killed client is noticed", || (calls_held(sandbox) == 0).then_some(()));
}

/// One signal lets a write come to its end, and two don't.
fn interrupt(signals: &[&str], sandbox: &Sandbox, run: Running, point: &Point) -> Result<(), String> {
    for signal in signals {
        let id = run.process.id().to_string();
        assert!(Command::new("kill").args([*signal, id.as_str()]).status().unwrap().success());
        std::thread::sleep(Duration::from_secs(1));
    }
    let mut run = run;
    let mut is_over = || run.process.try_wait().unwrap().is_some();
    if signals.len() > 1 {
        until("it ends at once", || is_over().then_some(()));
    } else if point.write && is_over() {
        return Err("it didn't wait for the answer to a write".to_owned());
    }
    sandbox.heal();
    let Run { code, stderr, .. } = run.end();
    let told = |parts: &[&str]| parts.iter().any(|part| stderr.contains(part));
    let all = told(&["interrupted"])
        && told(&["done: ", "unfinished: ", "not reached: "])
        && told(&["hint: run the same command again"]);
    // It may have been the last call.
    let well = if code == 130 { all || !point.write || signals.len() > 1 } else { code == 0 && point.write };
    if well { Ok(()) } else { Err(format!("exit code {code}:\n{stderr}")) }
}

/// Interrupts runs at these points in turn by Ctrl-C, SIGTERM and Ctrl-C twice, and says what came of it.
#[allow(dead_code, reason = "for the longer suite")]
pub fn interrupt_at(scenario: Scenario, points: &[Point], wanted: &Snapshot) {
    let signals: [&[&str]; 3] = [&["-INT"], &["-TERM"], &["-INT", "-INT"]];
    let next = AtomicUsize::new(0);
    stop_at(scenario, points, wanted, "interruptions", &move |sandbox, run, point| {
        let nth = next.fetch_add(1, Ordering::Relaxed);
        let signals = signals[nth % signals.len()];
        interrupt(signals, sandbox, run, point).map_err(|why| format!("{signals:?}: {why}"))
    });
}

/// Kills runs at all these points, and says what came of it.
pub fn kill_at(scenario: Scenario, points: &[Point], wanted: &Snapshot) {
    stop_at(scenario, points, wanted, "kill points", &|sandbox, run, _| {
        kill(sandbox, run);
        Ok(())
    });
}

/// Stops runs at all these points, in all sandboxes, and says what came of it.
fn stop_at(scenario: Scenario, points: &[Point], wanted: &Snapshot, what: &str, stop: &Stop) {
    let next = Mutex::new(points.iter());
    let ends = Mutex::new(Vec::new());
    let work = || {
        while let Some(point) = lock(&next).next() {
            let end = stopped(scenario, point, wanted, stop).map_err(|why| format!("{point}: {why}"));
            lock(&ends).push(end);
        }
    };
    std::thread::scope(|scope| (0..super::POOL).for_each(|_| drop(scope.spawn(work))));
    let (ends, failures): (Vec<_>, Vec<_>) = lock(&ends).drain(..).partition(Result::is_ok);
    let missed = ends.iter().filter(|end| **end == Ok(false)).count();
    let (name, passed) = (scenario.name, ends.len() - missed);
    say(&format!("{name}: {} {what}, {passed} passed, {missed} reads not made", points.len()));
    let failures: Vec<_> = failures.into_iter().filter_map(Result::err).collect();
    assert!(failures.is_empty() && passed > 0, "{name}:\n{}", failures.join("\n"));
}

/// Says it even where a test's output is kept back.
pub fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}
