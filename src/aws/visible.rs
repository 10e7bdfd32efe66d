//! What IAM knows and doesn't show yet: "changes that I make are not always immediately visible" (Troubleshoot IAM, IAM
//! User Guide).

use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::Aws;
use crate::error::Result;
use crate::wait::jittered;

/// For how long something new may be hidden; most often it isn't at all.
const HIDDEN: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Aws {
    /// Looks for `what`, which was just made, until IAM shows it; none where it doesn't within some seconds.
    pub async fn visible<T>(&self, what: &str, look: impl AsyncFn() -> Result<Option<T>>) -> Result<Option<T>> {
        let end = Instant::now() + HIDDEN;
        let mut pause = FIRST_PAUSE;
        loop {
            let found = look().await?;
            if found.is_some() || Instant::now() >= end {
                return Ok(found);
            }
            info!(what, "IAM doesn't show it yet, looking again");
            self.wait()
                .before_next(jittered(pause))
                .await
                .map_err(|end| end.cause(format!("IAM doesn't show {what} yet")))?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
