//! A sample of the runs that `tests/chaos` kills: a few points of each command.

use crate::support::kill::{Scenario, kill_at, record};
use crate::support::scenarios::{CHANGED_INSTALLATION, CREATION, DELETION, INSTALLATION, RECREATION, REMOVAL, UPDATE};

/// Kills runs at every nth point.
fn sample(scenario: Scenario, nth: usize) {
    let (points, wanted) = record(scenario);
    let points: Vec<_> = points.into_iter().skip(1).step_by(nth).collect();
    assert!(!points.is_empty(), "{}", scenario.name);
    kill_at(scenario, &points, &wanted);
}

#[test]
fn installations() {
    sample(INSTALLATION, 8);
    sample(CHANGED_INSTALLATION, 8);
}

#[test]
fn service_accounts() {
    sample(CREATION, 13);
    sample(UPDATE, 9);
    sample(RECREATION, 3);
}

#[test]
fn removals() {
    sample(DELETION, 12);
    sample(REMOVAL, 8);
}
