//! The pace of stack operations: as quick as AWS takes them, and one after the other once it throttles.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tracing::info;

use super::Aws;
use super::error::Refused;

/// Pauses after a throttled call: short, so that no turn is lost, and longer where it goes on.
fn pauses() -> impl Iterator<Item = Duration> {
    [50; 20].into_iter().chain([300; 10]).map(Duration::from_millis)
}

/// All pauses after these.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What all stack operations of a run share. Retries of many calls at the same time would throttle each other, and
/// pauses that grow would leave turns unused: once AWS throttles, one call at a time tries for its turn.
#[derive(Default)]
pub(super) struct Pace {
    throttled: AtomicBool,
    turn: Mutex<()>,
}

impl Aws {
    /// Makes a call of those that start stack operations, until AWS takes it or the time is over.
    pub(super) async fn paced<T>(&self, call: impl AsyncFn() -> Result<T, Refused>) -> Result<T, Refused> {
        let pace = &self.inner.pace;
        if !pace.throttled.load(Ordering::Relaxed) {
            match call().await {
                Err(refused) if refused.is_throttled() => pace.throttled.store(true, Ordering::Relaxed),
                answer => return answer,
            }
        }
        let _turn = pace.turn.lock().await;
        let mut pauses = pauses();
        loop {
            match call().await {
                Err(refused) if refused.is_throttled() => {
                    let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
                    info!("AWS: {} again after {} ms", refused.error, pause.as_millis());
                    let paused = self.wait().pause(pause).await.and_then(|()| self.wait().check());
                    paused.map_err(|end| end.cause(refused.error.to_string()))?;
                }
                answer => return answer,
            }
        }
    }
}
