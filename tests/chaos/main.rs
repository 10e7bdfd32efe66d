//! What goes wrong on the way: killed at every write, throttled, cut off, raced, interrupted. A longer suite, which
//! `cargo test` leaves out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc, clippy::must_use_candidate)]
#![allow(unreachable_pub, dead_code, reason = "a test binary has no public face, and needs a part of the support")]

#[path = "../support/mod.rs"]
mod support;

mod consistency;
mod faults;
mod interrupted;
mod killed;
mod races;

/// What the sandbox is told: nothing beyond the ordinary.
const SANDBOX_ENV: &[(&str, &str)] = &[];
