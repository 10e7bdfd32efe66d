//! What `render operator-policy` prints suffices for each command, and nothing in it is too much: without any one of its
//! rights, the command names it. A longer suite, which `cargo test` leaves out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc, clippy::must_use_candidate)]
#![allow(unreachable_pub, dead_code, reason = "a test binary has no public face, and needs a part of the support")]

#[path = "../support/mod.rs"]
mod support;

mod iam;
mod proof;

/// What the sandbox is told.
const SANDBOX_ENV: &[(&str, &str)] = &[];
