//! The loop over all rights of a document.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use irsactl::operator::kubernetes::LEFT_OUT;

use crate::support::operator::{Operator, rendered};
use crate::support::{Run, Sandbox};

/// Circumstances in which a command needs rights.
pub struct Situation {
    /// What it is, for messages.
    pub name: &'static str,
    /// What the administrator does before.
    pub before: fn(&Sandbox),
    /// The operator's command.
    pub line: &'static str,
    /// The exit codes that it may have with all rights; others mean that one is missing.
    pub codes: &'static [i32],
    /// Rights that nobody can know to be needed before the first write.
    pub late: &'static [&'static str],
}

pub const fn situation(name: &'static str, before: fn(&Sandbox), line: &'static str) -> Situation {
    Situation { name, before, line, codes: &[0], late: &[] }
}

impl Situation {
    pub const fn codes(self, codes: &'static [i32]) -> Self {
        Self { codes, ..self }
    }

    pub const fn late(self, late: &'static [&'static str]) -> Self {
        Self { late, ..self }
    }
}

/// What one run came to.
struct Trial {
    run: Run,
    rights: Vec<String>,
    denied: Vec<String>,
    writes: Vec<String>,
}

fn try_with(policy: &Value, situation: &Situation) -> Trial {
    let sandbox = Sandbox::lease();
    (situation.before)(&sandbox);
    let operator = Operator::new(&sandbox, policy).with_cluster_admin();
    sandbox.heal();
    sandbox.forget_calls();
    let run = operator.run(situation.line);
    let denied = operator.calls().into_iter().filter(|call| call["status"] == 403);
    let denied = denied.map(|call| format!("{}:{}", call["service"], call["action"]).replace('"', "")).collect();
    Trial { run, rights: operator.rights(), denied, writes: operator.writes() }
}

/// Proves the policy that is printed for these words: it suffices in every situation, and for each of its actions there
/// is one in which the command names it once it is taken away.
#[track_caller]
pub fn proves(words: &str, situations: &[Situation]) {
    proves_parts(words, &[""], situations);
}

/// The same for the statements whose names begin with one of these; the others are proved elsewhere.
#[track_caller]
pub fn proves_parts(words: &str, parts: &[&str], situations: &[Situation]) {
    let policy = rendered(words);
    let mut wanting: Vec<String> = Vec::new();
    let mut needed_in: BTreeMap<String, usize> = BTreeMap::new();
    for (index, situation) in situations.iter().enumerate() {
        let trial = try_with(&policy, situation);
        let left_out = |action: &String| !irsactl::operator::aws::LEFT_OUT.iter().any(|(known, _)| known == action);
        let denied: Vec<_> = trial.denied.into_iter().filter(left_out).collect();
        if !situation.codes.contains(&trial.run.code) || !denied.is_empty() {
            wanting.push(format!(
                "{}: exit {}, denied {denied:?}\n{}{}",
                situation.name, trial.run.code, trial.run.stdout, trial.run.stderr
            ));
        }
        for right in trial.rights {
            needed_in.entry(right).or_insert(index);
        }
    }
    let (mut tried, mut before_writes, mut optional) = (0, 0, 0);
    for part in parts {
        let mut sids = policy["Statement"].as_array().unwrap().iter().map(|it| it["Sid"].as_str().unwrap());
        assert!(sids.any(|sid| sid.starts_with(part)), "there is no {part}: {policy:#}");
    }
    for (at, statement) in policy["Statement"].as_array().unwrap().iter().enumerate() {
        let sid = statement["Sid"].as_str().unwrap();
        if !parts.iter().any(|part| sid.starts_with(part)) {
            continue;
        }
        for action in actions(statement) {
            let Some(situation) = needed_in.get(&action).map(|index| &situations[*index]) else {
                wanting.push(format!("nothing needs {action}"));
                continue;
            };
            tried += 1;
            let informs = sid.starts_with("Optional");
            let trial = try_with(&without(&policy, at, &action, informs), situation);
            let (run, text) = (&trial.run, format!("{}{}", trial.run.stdout, trial.run.stderr));
            let goes_on = situation.codes.contains(&run.code);
            optional += usize::from(informs);
            before_writes += usize::from(trial.writes.is_empty() && !informs);
            if !names(&text, &action) && action != "iam:SimulatePrincipalPolicy" || goes_on != informs {
                wanting.push(format!("without {action}, {}: exit {}\n{text}", situation.name, run.code));
            } else if !informs && !trial.writes.is_empty() && !situation.late.contains(&action.as_str()) {
                wanting.push(format!("without {action}, {}: after {:?}\n{text}", situation.name, trial.writes));
            }
        }
    }
    let name = words.split(" --cluster").next().unwrap();
    println!(
        "{name}: {} situations; {tried} rights taken away one by one, of which {optional} inform; {before_writes} of the \
         others missed before the first write",
        situations.len()
    );
    assert!(wanting.is_empty(), "{}", wanting.join("\n\n"));
}

/// `unnamed`: the words name no ServiceAccount.
fn in_cluster(objects: &[Value], unnamed: bool, situation: &Situation) -> Trial {
    let sandbox = Sandbox::lease();
    (situation.before)(&sandbox);
    let everything =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    let operator = Operator::new(&sandbox, &everything).with_rbac(objects);
    sandbox.forget_calls();
    let run = operator.run(situation.line);
    let left_out = |event: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (object, verb) = (&event["objectRef"], text(&event["verb"]));
        let resource = [text(&object["resource"]), text(&object["subresource"])].join("/");
        LEFT_OUT.iter().any(|(known, what, _)| (*known, *what) == (verb.as_str(), resource.as_str()))
    };
    let events = sandbox.kube_events().into_iter();
    let denied = events.filter(|event| event["responseStatus"]["code"] == 403 && !(unnamed && left_out(event)));
    let denied = denied.map(|event| event["requestURI"].as_str().unwrap().to_owned()).collect();
    Trial { run, rights: Vec::new(), denied, writes: operator.writes() }
}

/// Proves the RBAC that is printed for these words: it suffices in every situation, and for each verb of it there is one
/// in which the command names it once it is taken away.
#[track_caller]
pub fn proves_rbac(words: &str, situations: &[Situation]) {
    let objects = rendered(&format!("{words} --kubernetes"))["items"].as_array().unwrap().clone();
    let unnamed = !objects.iter().any(|object| object["kind"] == "Role");
    let mut wanting: Vec<String> = Vec::new();
    for situation in situations {
        let Trial { run, denied, .. } = in_cluster(&objects, unnamed, situation);
        if !situation.codes.contains(&run.code) || !denied.is_empty() {
            wanting.push(format!(
                "{}: exit {}, denied {denied:?}\n{}{}",
                situation.name, run.code, run.stdout, run.stderr
            ));
        }
    }
    let (mut tried, mut informing) = (0, 0);
    for (at, object) in objects.iter().enumerate() {
        let informs = object["metadata"]["name"].as_str().unwrap().ends_with("-optional");
        for (index, rule) in object["rules"].as_array().into_iter().flatten().enumerate() {
            for verb in rule["verbs"].as_array().unwrap() {
                let mut fewer = objects.clone();
                let verbs = fewer[at]["rules"][index]["verbs"].as_array_mut().unwrap();
                verbs.retain(|other| other != verb);
                let empty = verbs.is_empty();
                if empty {
                    fewer[at]["rules"].as_array_mut().unwrap().remove(index);
                }
                tried += 1;
                informing += usize::from(informs);
                let (verb, resource) = (verb.as_str().unwrap(), rule["resources"][0].as_str().unwrap());
                let mut said = Vec::new();
                let named = situations.iter().any(|situation| {
                    let Trial { run, writes, .. } = in_cluster(&fewer, unnamed, situation);
                    let text = format!("{}{}", run.stdout, run.stderr);
                    let early = informs || writes.is_empty() || situation.late.contains(&resource);
                    let goes_on = situation.codes.contains(&run.code);
                    let named = names_right(&text, verb, resource) && early && goes_on == informs;
                    said.push(format!("{}: exit {}, after {writes:?}\n{text}", situation.name, run.code));
                    named
                });
                if !named {
                    let place = &object["metadata"]["namespace"];
                    wanting.push(format!("without {verb} {resource} in {place}:\n{}", said.join("\n")));
                }
            }
        }
    }
    let name = words.split(" --cluster").next().unwrap();
    println!(
        "{name}: {} situations; {tried} verbs taken away one by one, of which {informing} inform",
        situations.len()
    );
    assert!(wanting.is_empty(), "{}", wanting.join("\n\n"));
}

/// True where a text tells that this verb on this resource is missing: in the words of the API server's refusals, of its
/// refusal to hand on rights, or of irsactl's own access reviews.
fn names_right(text: &str, verb: &str, resource: &str) -> bool {
    let refused = format!("cannot {verb} resource \"{resource}\"");
    let reviewed = [' ', '.'].map(|end| format!("may not {verb} {resource}{end}"));
    let (resource, verb) = (format!("\"{resource}\""), format!("\"{verb}\""));
    let handed_on = text.split_once("not currently held").is_some_and(|(_, rules)| {
        let mut rules = rules.lines().filter(|line| line.contains("Verbs:"));
        rules.any(|rule| rule.contains(&resource) && rule.contains(&verb))
    });
    text.contains(&refused) || reviewed.iter().any(|words| text.contains(words)) || handed_on
}

fn actions(statement: &Value) -> Vec<String> {
    match &statement["Action"] {
        Value::String(one) => vec![one.clone()],
        many => many.as_array().unwrap().iter().map(|action| action.as_str().unwrap().to_owned()).collect(),
    }
}

/// The policy without an action: anywhere, or, where it only informs, in its statement.
fn without(policy: &Value, at: usize, action: &str, there_only: bool) -> Value {
    let mut policy = policy.clone();
    let statements = policy["Statement"].as_array_mut().unwrap();
    for (index, statement) in statements.iter_mut().enumerate() {
        if index == at || !there_only {
            let mut kept = actions(statement);
            kept.retain(|other| other != action);
            statement["Action"] = json!(kept);
        }
    }
    statements.retain(|statement| statement["Action"] != json!([]));
    if statements.is_empty() {
        // A policy must allow something.
        statements.push(json!({"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}));
    }
    policy
}

/// True where the text has the action, and not only a longer one.
fn names(text: &str, action: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
    text.match_indices(action).any(|(at, _)| ends(&text[at + action.len()..]))
}
