//! A plan, for people.

use std::fmt::Write;

use serde_json::Value;

use super::{CYAN, DIM, GREEN, RED, YELLOW, clean, paint};
use crate::plan::diff::Change;
use crate::plan::{Action, Op, Outcome, Plan, Step};

/// The plan as text: a line a step, its differences below, and a count.
pub fn text(plan: &Plan) -> String {
    let mut text = format!("{}\n", paint(anstyle::Style::new().bold(), &title(plan)));
    let width = plan.steps.iter().map(|step| step.kind.len()).max().unwrap_or(0);
    for step in &plan.steps {
        text += &line(step, width);
        for change in &step.diff {
            text += &difference(change);
        }
    }
    for note in &plan.notes {
        text += &format!("  {} {}\n", paint(CYAN, "note:"), clean(note));
    }
    text + &format!("{}\n", summary(plan))
}

fn title(plan: &Plan) -> String {
    let place = format!("account {}, {}", plan.account, plan.region);
    match &plan.cluster {
        Some(cluster) => format!("Plan for cluster {cluster} ({place})"),
        None => format!("Plan ({place})"),
    }
}

fn line(step: &Step, width: usize) -> String {
    let (symbol, style) = match step.action {
        Action::Create => ("+", GREEN),
        Action::Update => ("~", YELLOW),
        Action::Delete => ("-", RED),
        Action::None => ("=", DIM),
    };
    let name = clean(&step.name);
    let mut line = format!("  {} {:width$}  {name}", paint(style, symbol), step.kind);
    match (&step.reason, step.action) {
        (Some(reason), _) => line += &paint(DIM, &format!("  {}", clean(reason))),
        (None, Action::None) => line += &paint(DIM, "  unchanged"),
        (None, _) => {}
    }
    line + "\n"
}

fn difference(change: &Change) -> String {
    let path = clean(&change.path);
    let mut text = String::new();
    match (&change.before, &change.after) {
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            let _ = writeln!(text, "      {path}");
            text += &list("-", before.iter().filter(|item| !after.contains(item)), RED);
            text += &list("+", after.iter().filter(|item| !before.contains(item)), GREEN);
        }
        (before, after) => {
            let side = |value: &Option<Value>| value.as_ref().map_or("(none)".to_owned(), inline);
            let _ = writeln!(
                text,
                "      {path}: {} → {}",
                paint(RED.remove_effects(), &side(before)),
                paint(GREEN, &side(after))
            );
        }
    }
    text
}

trait Plain {
    fn remove_effects(self) -> Self;
}

impl Plain for anstyle::Style {
    fn remove_effects(self) -> Self {
        self.effects(anstyle::Effects::new())
    }
}

fn list<'a>(sign: &str, items: impl Iterator<Item = &'a Value>, style: anstyle::Style) -> String {
    items.map(|item| format!("        {}\n", paint(style, &format!("{sign} {}", inline(item))))).collect()
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => clean(text).replace('\n', "\\n"),
        other => clean(&other.to_string()),
    }
}

/// How many steps do what.
pub fn summary(plan: &Plan) -> String {
    let count = |action| plan.steps.iter().filter(|step| step.action == action).count();
    if plan.changes == 0 {
        return "Nothing to do: everything is as it should be.".to_owned();
    }
    format!(
        "Plan: {} to create, {} to change, {} to delete, {} unchanged.",
        count(Action::Create),
        count(Action::Update),
        count(Action::Delete),
        count(Action::None)
    )
}

/// What a step is called while it is under way.
pub fn doing(step: &Step) -> String {
    let verb = match step.action {
        Action::Create => "creating",
        Action::Update => "updating",
        Action::Delete => "deleting",
        Action::None => "checking",
    };
    format!("{verb} {} {}", step.kind, clean(&step.name))
}

/// What a step is called when it is done.
pub fn done(step: &Step) -> String {
    let verb = match (&step.op, step.action) {
        (Op::DeleteStack { wait: false, .. }, _) => "began to delete",
        (_, Action::Create) => "created",
        (_, Action::Update) => "updated",
        (_, Action::Delete) => "deleted",
        (_, Action::None) => "unchanged",
    };
    format!("{} {verb} {} {}", paint(GREEN, "✔"), step.kind, clean(&step.name))
}

/// What is done and what is not, where a run stopped early.
pub fn progress(plan: &Plan) -> String {
    let with = |outcome| {
        let steps = plan.steps.iter().filter(|step| step.result == Some(outcome));
        steps.map(|step| format!("{} {}", step.kind, clean(&step.name))).collect::<Vec<_>>()
    };
    let titles = [
        ("done", Outcome::Done),
        ("failed", Outcome::Failed),
        ("unfinished", Outcome::Unfinished),
        ("not reached", Outcome::Skipped),
    ];
    let mut text = String::new();
    for (title, outcome) in titles {
        let steps = with(outcome);
        if !steps.is_empty() {
            let _ = writeln!(text, "{title}: {}", steps.join(", "));
        }
    }
    text.trim_end().to_owned()
}
