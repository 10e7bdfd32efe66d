//! Interrupted at a call of every kind: a write under way comes to its end, what is done is told, and the next run
//! finishes.

use crate::support::kill::{Scenario, interrupt_at, record};
use crate::support::scenarios::{CHANGED_INSTALLATION, CREATION, DELETION, INSTALLATION, REMOVAL, UPDATE};

fn here_and_there(scenario: Scenario) {
    let (points, wanted) = record(scenario);
    let points: Vec<_> = points.into_iter().step_by(3).collect();
    interrupt_at(scenario, &points, &wanted);
}

#[test]
fn installations() {
    here_and_there(INSTALLATION);
    here_and_there(CHANGED_INSTALLATION);
}

#[test]
fn service_accounts() {
    here_and_there(CREATION);
    here_and_there(UPDATE);
}

#[test]
fn removals() {
    here_and_there(DELETION);
    here_and_there(REMOVAL);
}
