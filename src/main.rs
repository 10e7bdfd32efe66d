//! See `lib.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(irsactl::main())
}
