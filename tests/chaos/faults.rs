//! Faults on the way: throttled, refused for a moment, cut off, stalled, answered too late. Each command comes to the
//! end that it comes to undisturbed.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::support::Sandbox;
use crate::support::kill::{Scenario, say};
use crate::support::scenarios::{CHANGED_INSTALLATION, CREATION, DELETION, INSTALLATION, REMOVAL, UPDATE};
use crate::support::snapshot::{Snapshot, differences};

pub const ALL: [Scenario; 6] = [INSTALLATION, CHANGED_INSTALLATION, CREATION, UPDATE, DELETION, REMOVAL];

/// What each command leaves undisturbed.
static UNDISTURBED: LazyLock<Mutex<BTreeMap<&str, Snapshot>>> = LazyLock::new(Mutex::default);

pub fn undisturbed(scenario: Scenario) -> Snapshot {
    let mut known: MutexGuard<'_, _> = UNDISTURBED.lock().unwrap_or_else(PoisonError::into_inner);
    let find = || {
        let sandbox = Sandbox::lease();
        (scenario.prepare)(&sandbox);
        sandbox.run(&(scenario.command)(&sandbox)).ok();
        sandbox.snapshot()
    };
    known.entry(scenario.name).or_insert_with(find).clone()
}

/// Rules of AWS, and of Kubernetes.
struct Faults {
    aws: Vec<Value>,
    kubernetes: Vec<Value>,
}

/// Runs all commands with these faults, and says how many calls and faults there were.
fn survived(what: &str, faults: &Faults) {
    let hits: u64 = ALL.iter().map(|scenario| survived_by(*scenario, what, faults)).sum();
    assert!(hits > 0, "{what}: no fault hit");
}

fn survived_by(scenario: Scenario, what: &str, faults: &Faults) -> u64 {
    let wanted = undisturbed(scenario);
    let sandbox = Sandbox::lease();
    (scenario.prepare)(&sandbox);
    let own = |rule: &Value| {
        let mut rule = rule.clone();
        rule.as_object_mut().unwrap().entry("userAgent").or_insert(json!("irsactl/"));
        rule
    };
    sandbox.forget_calls();
    sandbox.fault(&faults.aws.iter().map(own).collect());
    sandbox.kube_fault(&faults.kubernetes.iter().map(own).collect());
    let run = sandbox.run(&(scenario.command)(&sandbox));
    let name = scenario.name;
    let calls = sandbox.aws_calls().len() + sandbox.kube_events().len();
    let hits: u64 = sandbox.faults().iter().filter_map(|rule| rule["hits"].as_u64()).sum();
    sandbox.heal();
    say(&format!("{what}: {name}: {calls} calls that came through, {hits} faults"));
    assert_eq!(run.code, 0, "{what}: {name}:\n{}", run.stderr);
    agrees(&wanted, &sandbox, &format!("{what}: {name}"));
    hits
}

/// Checks that the end is the one that was wanted.
#[track_caller]
pub fn agrees(wanted: &Snapshot, sandbox: &Sandbox, what: &str) {
    let found = differences(wanted, &sandbox.snapshot());
    assert!(found.is_empty(), "{what}: it leaves something else:\n  {}", found.join("\n  "));
}

fn throttling(service: &str, status: u16, code: &str, every: f64) -> Value {
    let error = json!({"status": status, "code": code, "message": "Rate exceeded"});
    json!({"service": service, "error": error, "every": every, "seed": code.len()})
}

fn refusal(status: u16, every: f64) -> Value {
    json!({"error": {"status": status, "message": "not now"}, "every": every, "seed": status})
}

#[test]
fn throttled() {
    let busy =
        json!({"status": 429, "retryAfter": 1, "plain": true, "message": "Too many requests, please try again later."});
    survived(
        "30 % throttled",
        &Faults {
            aws: vec![
                throttling("iam", 400, "Throttling", 0.3),
                throttling("cloudformation", 400, "Throttling", 0.3),
                throttling("eks", 429, "ThrottlingException", 0.15),
                throttling("eks", 429, "TooManyRequestsException", 0.15),
                throttling("sts", 400, "Throttling", 0.3),
                throttling("route53", 400, "Throttling", 0.15),
                throttling("route53", 400, "PriorRequestNotComplete", 0.15),
            ],
            kubernetes: vec![json!({"error": busy, "every": 0.15, "seed": 1}), refusal(429, 0.15)],
        },
    );
}

#[test]
fn refused_for_a_moment() {
    let aws = |status: u16, code: &str, after: bool| {
        let error = json!({"status": status, "code": code, "message": "try again"});
        json!({"error": error, "every": 0.025, "seed": status, "after": after})
    };
    survived(
        "5 % 500 and 503",
        &Faults {
            aws: vec![
                aws(500, "InternalFailure", false),
                aws(503, "ServiceUnavailable", false),
                aws(500, "InternalFailure", true),
                aws(503, "ServiceUnavailable", true),
            ],
            kubernetes: vec![refusal(500, 0.05), refusal(503, 0.05)],
        },
    );
}

#[test]
fn replies_are_lost() {
    let actions = [
        "CreateStack",
        "DeleteStack",
        "CreateChangeSet",
        "ExecuteChangeSet",
        "CreatePolicy",
        "CreatePolicyVersion",
        "DeletePolicy",
        "DeletePolicyVersion",
        "CreateOpenIDConnectProvider",
        "UpdateAssumeRolePolicy",
        "AttachRolePolicy",
        "DetachRolePolicy",
        "UpdateTerminationProtection",
    ];
    let lost = |action: &&str| json!({"action": action, "drop": true, "after": true, "times": 2});
    let lost_in_kubernetes =
        |verb: &&str| json!({"verb": verb, "dryRun": false, "drop": true, "after": true, "every": 0.5, "times": 3});
    survived(
        "replies lost",
        &Faults {
            aws: actions.iter().map(lost).collect(),
            kubernetes: ["patch", "delete"].iter().map(lost_in_kubernetes).collect(),
        },
    );
}

#[test]
fn connections_are_cut() {
    let often = |effect: &str| json!({effect: true, "every": 0.1, "seed": effect.len()});
    let faults = || vec![often("cut"), often("drop")];
    survived("20 % of connections cut", &Faults { aws: faults(), kubernetes: faults() });
}

#[test]
fn calls_stall() {
    let faults = || vec![json!({"delay_ms": 3000, "every": 0.1, "seed": 9})];
    survived("10 % stall for 3 s", &Faults { aws: faults(), kubernetes: faults() });
}

#[test]
fn the_kubernetes_api_restarts() {
    for after in [false, true] {
        let first = json!({"verb": "list", "down_seconds": 2, "times": 1, "after": after});
        let middle = json!({"verb": "patch", "dryRun": false, "down_seconds": 4, "times": 1, "after": after});
        let end = json!({"verb": "delete", "down_seconds": 4, "times": 1, "after": after});
        survived("the Kubernetes API restarts", &Faults { aws: vec![], kubernetes: vec![first, middle, end] });
    }
}

#[test]
fn objects_are_changed_meanwhile() {
    let message = "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest \
                   version and try again";
    let error = json!({"status": 409, "message": message});
    let conflict = |verb: &str| json!({"verb": verb, "error": error, "every": 0.5, "seed": 3, "times": 6});
    survived("conflicts", &Faults { aws: vec![], kubernetes: vec![conflict("patch"), conflict("delete")] });
}

/// The log is read first, then followed until the pod has synchronised, which takes its time.
#[test]
fn streams_end() {
    let slow = json!({"service": "route53", "userAgent": "aws-sdk-go", "delay_ms": 1500});
    for end in [json!({"end_seconds": 0.3}), json!({"end_seconds": 0.3, "cut": true}), json!({"drop": true})] {
        let mut rule = json!({"path": "*/log", "skip": 1, "times": 3});
        rule.as_object_mut().unwrap().extend(end.as_object().unwrap().clone());
        let faults = Faults { aws: vec![slow.clone()], kubernetes: vec![rule] };
        assert!(survived_by(INSTALLATION, &format!("streams end, {end}"), &faults) > 3);
    }
}

/// Ends within the time (and the seconds that a write under way gets), with an error that says what didn't work.
#[test]
fn permanent_faults_end_with_the_time() {
    let busy = json!({"status": 429, "message": "Too many requests, please try again later."});
    let throttling = json!({"status": 400, "code": "Throttling", "message": "Rate exceeded"});
    let unavailable = json!({"status": 503, "code": "ServiceUnavailable", "message": "try again"});
    let aws = [
        (json!({"service": "iam", "error": throttling}), "iam:"),
        (json!({"service": "cloudformation", "error": unavailable}), "cloudformation:"),
        (json!({"action": "CreateStack", "error": throttling}), "cloudformation:CreateStack"),
        (json!({"action": "CreatePolicy", "error": unavailable}), "iam:CreatePolicy"),
        (json!({"action": "CreatePolicy", "hold": true}), "iam:CreatePolicy"),
        (json!({"action": "DescribeStacks", "skip": 2, "hold": true}), "cloudformation:DescribeStacks"),
        (json!({"action": "CreateStack", "drop": true, "after": true}), "CreateStack"),
        (json!({"action": "GetPolicy", "cut": true}), "iam:GetPolicy"),
    ];
    let kubernetes = [
        (json!({"error": busy}), "Kubernetes"),
        (json!({"error": {"status": 503, "message": "not now"}}), "Kubernetes"),
        (json!({"verb": "patch", "hold": true}), "Kubernetes"),
        (json!({"verb": "patch", "dryRun": false, "drop": true}), "Kubernetes"),
        (json!({"down_seconds": 600, "skip": 1, "times": 1}), "Kubernetes"),
        (json!({"verb": "list", "cut": true}), "Kubernetes"),
        (json!({"path": "*/log", "hold": true}), "log of"),
    ];
    for (in_aws, (rule, says)) in aws.iter().map(|rule| (true, rule)).chain(kubernetes.iter().map(|rule| (false, rule)))
    {
        let sandbox = Sandbox::lease();
        let line = format!("{} --timeout 12s -v", (INSTALLATION.command)(&sandbox));
        let mut own = rule.clone();
        own["userAgent"] = json!("irsactl/");
        if in_aws {
            sandbox.fault(&own);
        } else {
            sandbox.kube_fault(&own);
        }
        let start = std::time::Instant::now();
        let run = sandbox.run(&line);
        let seconds = start.elapsed().as_secs();
        sandbox.heal();
        let error = run.stderr.rfind("\nerror: ").map_or("", |at| &run.stderr[at + 1..]);
        say(&format!("permanent {rule}: exit code {}, {seconds} s: {}", run.code, error.lines().next().unwrap_or("")));
        assert!(seconds < 25, "{rule}: {seconds} s:\n{}", run.stderr);
        assert!(run.code == 1 && error.contains(says) && error.contains("hint: "), "{rule}:\n{}", run.stderr);
        let again = run.stderr.contains(" again") || ["hold", "drop"].iter().any(|effect| rule.get(effect).is_some());
        assert!(again, "{rule}: -v tells of attempts:\n{}", run.stderr);
    }
}
