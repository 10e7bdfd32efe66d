//! What irsactl reads of others, whatever it holds: files, documents of IAM, templates of other tools, DNS records, objects
//! and logs of a cluster. A reader gives a value or a refusal: it never panics, hangs or takes much memory, and what it
//! accepts it keeps.
//!
//! The ordinary suite tries the same few hundred inputs for each property every time; `tests/hostile/fuzz SECONDS` tries
//! others for as long as one likes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::panic_in_result_fn,
    clippy::print_stderr,
    clippy::missing_panics_doc
)]
#![allow(unreachable_pub, reason = "a test binary has no public face")]

mod cluster;
mod command_line;
mod config;
mod dns;
mod hints;
mod iam;
mod inputs;
mod property;
mod stack;
