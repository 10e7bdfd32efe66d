//! IAM shows what is new only after a while: nothing is made twice or anew, and the end is the same.

use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::{agrees, undisturbed};
use crate::support::kill::{Scenario, say};
use crate::support::scenarios::{CHANGED_INSTALLATION, CREATION, INSTALLATION};
use crate::support::{Sandbox, until};

/// For how long IAM hides what is new.
const HIDDEN: Duration = Duration::from_secs(10);

fn hidden(action: &str) -> Value {
    let error = json!({"status": 404, "code": "NoSuchEntity", "message": "It cannot be found."});
    json!({"userAgent": "irsactl/", "service": "iam", "action": action, "error": error})
}

/// Runs the command while IAM hides things until some seconds after a call (or after the begin), and says how often.
fn survives(scenario: Scenario, sandbox: &Sandbox, rules: &[Value], after: Option<&str>) {
    sandbox.forget_calls();
    sandbox.fault(&rules.iter().cloned().collect());
    let line = (scenario.command)(sandbox);
    let hits = std::thread::scope(|scope| {
        let run = scope.spawn(|| sandbox.run(&line));
        if let Some(after) = after {
            until(after, || sandbox.aws_calls().iter().any(|call| call == after).then_some(()));
        }
        std::thread::sleep(HIDDEN);
        let hits: u64 = sandbox.faults().iter().filter_map(|rule| rule["hits"].as_u64()).sum();
        sandbox.heal();
        run.join().unwrap().ok();
        hits
    });
    say(&format!("hidden for {HIDDEN:?}: {}: {} calls, {hits} hidden", scenario.name, sandbox.aws_calls().len()));
    assert!(hits > 0, "nothing was hidden");
}

/// The run before was killed right after the call: this one doesn't see what it made.
fn after_a_killed_run(made: &str, hides: &str) {
    let wanted = undisturbed(INSTALLATION);
    let sandbox = Sandbox::lease();
    sandbox.fault(&json!({"action": made, "hold": true, "after": true, "times": 1}));
    let mut run = sandbox.command((INSTALLATION.command)(&sandbox).split_whitespace());
    let mut run = run.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null()).spawn().unwrap();
    until("the call is held", || sandbox.faults().iter().any(|rule| rule["held"] == 1).then_some(()));
    run.kill().unwrap();
    run.wait().unwrap();
    sandbox.heal();
    survives(INSTALLATION, &sandbox, &[hidden(hides)], None);
    let writes = sandbox.aws_writes();
    assert!(!writes.iter().any(|call| call.contains("Delete")), "{writes:?}");
    agrees(&wanted, &sandbox, &format!("{hides} after {made}"));
}

#[test]
fn a_policy_that_is_hidden() {
    after_a_killed_run("CreatePolicy", "GetPolicy");
}

#[test]
fn a_provider_that_is_hidden() {
    after_a_killed_run("CreateOpenIDConnectProvider", "GetOpenIDConnectProvider");
}

/// The run before is done: a role that this one doesn't see isn't made anew.
#[test]
fn roles_that_are_hidden() {
    for scenario in [INSTALLATION, CREATION] {
        let wanted = undisturbed(scenario);
        let sandbox = Sandbox::lease();
        (scenario.prepare)(&sandbox);
        sandbox.run(&(scenario.command)(&sandbox)).ok();
        survives(scenario, &sandbox, &[hidden("GetRole"), hidden("ListAttachedRolePolicies")], None);
        assert_eq!(sandbox.writes(), [""; 0]);
        agrees(&wanted, &sandbox, "hidden roles");
    }
}

/// What is attached to it must be shown, and the role be there.
#[test]
fn what_a_change_makes_is_hidden() {
    let wanted = undisturbed(CHANGED_INSTALLATION);
    let sandbox = Sandbox::lease();
    (CHANGED_INSTALLATION.prepare)(&sandbox);
    let stack = sandbox.stack("eksctl-eksdemo1-addon-iamserviceaccount-external-dns-external-dns").unwrap();
    let role = crate::support::aws::name_of(crate::support::aws::role_arn(&stack)).to_owned();
    sandbox.detach(&role, &crate::support::aws::policy_arn("AllowExternalDNSUpdates"));
    survives(CHANGED_INSTALLATION, &sandbox, &[hidden("AttachRolePolicy")], Some("iam:AttachRolePolicy"));
    agrees(&wanted, &sandbox, "hidden for a change");
}

/// STS hears of a new role last.
#[test]
fn sts_refuses_for_half_a_minute() {
    let wanted = undisturbed(INSTALLATION);
    let sandbox = Sandbox::lease();
    sandbox.fault(&json!({"propagation_seconds": 30}));
    sandbox.run(&(INSTALLATION.command)(&sandbox)).ok();
    let calls = sandbox.all_aws_calls();
    let refused = calls.iter().filter(|call| call["action"] == "AssumeRoleWithWebIdentity" && call["status"] == 403);
    let (own, pods): (Vec<_>, Vec<_>) =
        refused.partition(|call| call["userAgent"].as_str().unwrap().contains("irsactl/"));
    say(&format!("refused by STS for 30 s: {}: {} exchanges refused", INSTALLATION.name, own.len()));
    assert!(own.len() > 5 && pods.is_empty(), "{} of its own, {} of pods", own.len(), pods.len());
    agrees(&wanted, &sandbox, "refused by STS for 30 s");
}

/// STS says this of a provider that it doesn't know yet.
#[test]
fn sts_does_not_know_the_provider_yet() {
    let wanted = undisturbed(INSTALLATION);
    let sandbox = Sandbox::lease();
    let message = "No OpenIDConnect provider found in your account for the issuer";
    let error = json!({"status": 400, "code": "InvalidIdentityToken", "message": message});
    let rule = json!({"userAgent": "irsactl/", "action": "AssumeRoleWithWebIdentity", "error": error});
    survives(INSTALLATION, &sandbox, &[rule], Some("sts:AssumeRoleWithWebIdentity"));
    agrees(&wanted, &sandbox, "a provider that STS doesn't know");
}
