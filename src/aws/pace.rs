//! Calls that the SDK makes once, and that are repeated here: those that start stack operations go as quick as AWS takes
//! them, and one after the other once it throttles.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tracing::info;

use super::Aws;
use super::error::Refused;
use crate::error::Result;
use crate::wait::jittered;

/// How often a call is made again that failed in passing: about a minute, as the SDK does it.
const REPETITIONS: u32 = 11;
const FIRST_PAUSE: Duration = Duration::from_millis(150);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Pauses after failures of a call: they double.
pub(super) fn pauses() -> impl Iterator<Item = Duration> {
    let longest = |nth| LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.pow(nth));
    (0..REPETITIONS).map(move |nth| jittered(longest(nth) * 2))
}

/// Pauses after a throttled call: short, so that no turn is lost, and longer where it goes on.
fn turns() -> impl Iterator<Item = Duration> {
    [50; 20].into_iter().chain([300; 10]).map(Duration::from_millis)
}

/// All pauses after these.
const LONGEST_TURN: Duration = Duration::from_secs(1);

/// What all stack operations of a run share. Retries of many calls at the same time would throttle each other, and
/// pauses that grow would leave turns unused: once AWS throttles, one call at a time tries for its turn.
#[derive(Default)]
pub(super) struct Pace {
    throttled: AtomicBool,
    turn: Mutex<()>,
}

impl Aws {
    /// Makes a call of those that start stack operations, until AWS takes it or the time is over. The SDK makes each
    /// once; their tokens make repetitions harmless.
    pub(super) async fn paced<T>(&self, call: impl AsyncFn() -> Result<T, Refused>) -> Result<T, Refused> {
        let pace = &self.inner.pace;
        if !pace.throttled.load(Ordering::Relaxed) {
            match self.repeated(&call).await {
                Err(refused) if refused.is_throttled() => pace.throttled.store(true, Ordering::Relaxed),
                answer => return answer,
            }
        }
        let _turn = pace.turn.lock().await;
        let mut turns = turns();
        loop {
            match self.repeated(&call).await {
                Err(refused) if refused.is_throttled() => {
                    self.after(&refused, jittered(turns.next().unwrap_or(LONGEST_TURN))).await?;
                }
                answer => return answer,
            }
        }
    }

    /// Makes a call again while it fails in passing.
    async fn repeated<T>(&self, call: impl AsyncFn() -> Result<T, Refused>) -> Result<T, Refused> {
        let mut pauses = pauses();
        loop {
            match (call().await, pauses.next()) {
                (Err(refused), Some(pause)) if refused.passing => self.after(&refused, pause).await?,
                (answer, _) => return answer,
            }
        }
    }

    /// Pauses before a call is made again.
    ///
    /// # Errors
    /// Where the user interrupts or the time is over, with what AWS said last.
    pub(super) async fn after(&self, refused: &Refused, pause: Duration) -> Result<()> {
        info!("AWS: {} again after {} ms", refused.error, pause.as_millis());
        self.wait().before_next(pause).await.map_err(|end| end.cause(refused.error.to_string()))
    }
}
