//! A verification, for people.

use super::{CYAN, DIM, GREEN, RED, YELLOW, clean, paint};
use crate::verify::{Check, Report, Status};

/// A line a check, what mends it below, and what it all comes to.
pub fn text(report: &Report, works: &str) -> String {
    let width = report.checks.iter().map(|check| check.id.len()).max().unwrap_or(0);
    let mut text = String::new();
    let mut of = None;
    for check in &report.checks {
        if check.service_account != of {
            of.clone_from(&check.service_account);
            text += &of.as_ref().map(|who| format!("{}\n", clean(who))).unwrap_or_default();
        }
        text += &line(check, width);
    }
    text + &summary(report, works)
}

fn line(check: &Check, width: usize) -> String {
    let (symbol, style) = match check.status {
        Status::Pass => ("✓", GREEN),
        Status::Warn => ("!", YELLOW),
        Status::Fail => ("✗", RED),
        Status::Skip => ("-", DIM),
    };
    let mut text = format!("{} {:width$}  {}\n", paint(style, symbol), check.id, clean(&check.message));
    if let Some(hint) = &check.hint {
        text += &format!("  {:width$}  {} {}\n", "", paint(CYAN, "hint:"), clean(hint));
    }
    text
}

fn summary(report: &Report, works: &str) -> String {
    let named = |check: &Check| match &check.service_account {
        Some(account) => format!("{} of {}", check.id, clean(account)),
        None => check.id.to_owned(),
    };
    let broken: Vec<_> = report.checks.iter().filter(|check| check.fails()).map(named).collect();
    let warnings = report.checks.iter().filter(|check| check.status == Status::Warn).count();
    let skipped = report.checks.iter().filter(|check| check.status == Status::Skip).count();
    let mut rest = Vec::new();
    if warnings > 0 {
        rest.push(format!("{warnings} with something to look at"));
    }
    if skipped > 0 {
        rest.push(format!("{skipped} not checked"));
    }
    let rest = if rest.is_empty() { String::new() } else { format!(" ({})", rest.join(", ")) };
    match broken.as_slice() {
        [] => format!("{works}{rest}\n"),
        [one] => format!("The broken link is {one}{rest}\n"),
        many => format!("Broken links: {}{rest}\n", many.join(", ")),
    }
}
