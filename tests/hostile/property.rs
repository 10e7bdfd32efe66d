//! How a property is tried: on a fixed number of inputs that are the same every time, or for some time on others.

use std::process::Command;
use std::sync::Once;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestError, TestRng, TestRunner};

/// Inputs of each property in the ordinary suite, and in each round of the longer one.
const INPUTS: u32 = 300;
/// An input that takes longer hangs: the slowest takes a thousandth of it.
const HANGS: Duration = Duration::from_mins(1);
/// Address space of the whole test, in bytes.
const MEMORY: u64 = 4 << 30;
/// Seconds that the longer run gives to each property; its inputs are random.
const SECONDS: &str = "HOSTILE_SECONDS";

static LIMIT: Once = Once::new();

/// Tries a property, and says how many inputs were tried.
#[track_caller]
pub fn holds<S: Strategy>(name: &str, inputs: S, property: impl Fn(S::Value) -> TestCaseResult) {
    LIMIT.call_once(limit_memory);
    let seconds: Option<u64> = std::env::var(SECONDS).ok().map(|text| text.parse().expect("seconds are a number"));
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or_default());
    let (alive, watched) = channel();
    let watched_name = name.to_owned();
    std::thread::spawn(move || {
        loop {
            match watched.recv_timeout(HANGS) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("{watched_name}: an input hangs");
                    std::process::abort();
                }
            }
        }
    });
    let mut tried = 0_u64;
    loop {
        let config = Config { cases: INPUTS, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
        let mut runner = match seconds {
            Some(_) => TestRunner::new(config),
            None => TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32])),
        };
        let result = runner.run(&inputs, |input| {
            let _ = alive.send(());
            property(input)
        });
        match result {
            Ok(()) => tried += u64::from(INPUTS),
            Err(TestError::Fail(reason, input)) => panic!("{name}: {reason}\ninput: {input:#?}"),
            Err(TestError::Abort(reason)) => panic!("{name}: {reason}"),
        }
        if Instant::now() >= until {
            break;
        }
    }
    eprintln!("tried {tried} {name}");
}

/// What needs more memory ends this process.
fn limit_memory() {
    let limit = Command::new("prlimit")
        .arg(format!("--pid={}", std::process::id()))
        .arg(format!("--as={MEMORY}"))
        .status()
        .expect("prlimit is there (util-linux)");
    assert!(limit.success());
}
