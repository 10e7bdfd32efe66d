//! Black-box tests: the real binary, the real parts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::panic_in_result_fn,
    clippy::missing_panics_doc,
    clippy::must_use_candidate
)]
#![allow(unreachable_pub, reason = "a test binary has no public face")]

#[path = "../support/mod.rs"]
mod support;

mod config_file;
mod dnsrecords;
mod drift;
mod drift_stack;
mod endings;
mod failed_stacks;
mod failing_start;
mod flags;
mod get;
mod guards;
mod hostile;
mod iamserviceaccount;
mod install;
mod interop;
mod killed;
mod many;
mod meanwhile;
mod offline;
mod operator_policy;
mod options;
mod partitions;
mod pitfalls;
mod policy;
mod reference;
mod refusals_aws;
mod refusals_kubernetes;
mod secrets;
mod tutorial;
mod uninstall;
mod update;
mod update_file;
mod verify_chain;
mod verify_dns;
mod verify_workload;

/// What the sandbox is told: nothing beyond the ordinary.
const SANDBOX_ENV: &[(&str, &str)] = &[];
