//! Killed at every write, before it is done and before its reply: the next run comes to the same end.

use crate::support::kill::{Scenario, kill_at, record};
use crate::support::scenarios::{CHANGED_INSTALLATION, CREATION, DELETION, INSTALLATION, RECREATION, REMOVAL, UPDATE};

fn everywhere(scenario: Scenario) {
    let (points, wanted) = record(scenario);
    kill_at(scenario, &points, &wanted);
}

#[test]
fn install() {
    everywhere(INSTALLATION);
}

#[test]
fn install_changed() {
    everywhere(CHANGED_INSTALLATION);
}

#[test]
fn create_of_a_file() {
    everywhere(CREATION);
}

#[test]
fn update() {
    everywhere(UPDATE);
}

#[test]
fn create_anew() {
    everywhere(RECREATION);
}

#[test]
fn delete() {
    everywhere(DELETION);
}

#[test]
fn uninstall() {
    everywhere(REMOVAL);
}
