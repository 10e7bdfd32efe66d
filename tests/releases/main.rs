//! Every release of ExternalDNS that irsactl knows well, really run. A longer suite, which `cargo test` leaves out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::panic_in_result_fn,
    clippy::missing_panics_doc,
    clippy::must_use_candidate
)]
#![allow(unreachable_pub, dead_code, reason = "a test binary has no public face, and needs a part of the support")]

#[path = "../support/mod.rs"]
mod support;

mod flags;
mod install;
mod logs;

/// What the sandbox is told: to build and run all of [`RELEASES`].
const SANDBOX_ENV: &[(&str, &str)] = &[("IRSACTL_SANDBOX_RELEASES", "all")];

const RELEASES: [&str; 5] = ["v0.19.0", "v0.20.0", "v0.21.0", "v0.22.0", "v0.23.0"];
