//! Waiting that ends at a deadline or when the user interrupts, whichever comes first.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorCode, RESUMES, Result};

/// For the answer to a write that is under way when the time is over.
const GRACE: Duration = Duration::from_secs(5);

/// A pause of at most this length, and at least half of it: callers that were refused together don't come back together.
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(f64::midpoint(1.0, fastrand::f64()))
}

/// The one way to wait: every pause of the program goes through here, so that Ctrl-C and `--timeout`
/// are obeyed between calls and never in the middle of one.
#[derive(Clone, Debug)]
pub struct Wait {
    cancel: CancellationToken,
    deadline: Instant,
    timeout: Duration,
}

impl Wait {
    /// Waits that end after `timeout` or when `cancel` is cancelled.
    pub fn new(cancel: CancellationToken, timeout: Duration) -> Self {
        Self { cancel, deadline: Instant::now() + timeout, timeout }
    }

    /// The same, with a deadline of its own that is never later than this one's.
    #[must_use]
    pub fn at_most(&self, timeout: Duration) -> Self {
        let deadline = self.deadline.min(Instant::now() + timeout);
        Self { cancel: self.cancel.clone(), deadline, timeout }
    }

    /// Fails when the user has interrupted or the time is over.
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(interrupted());
        }
        if Instant::now() >= self.deadline {
            return Err(self.timed_out());
        }
        Ok(())
    }

    /// Pauses for `duration`, or less where the deadline comes first.
    ///
    /// # Errors
    /// `Interrupted` at once when the user interrupts, `Timeout` when the deadline has passed.
    pub async fn pause(&self, duration: Duration) -> Result<()> {
        self.check()?;
        let until = self.deadline.min(Instant::now() + duration);
        tokio::select! {
            () = self.cancel.cancelled() => Err(interrupted()),
            () = tokio::time::sleep_until(until) => Ok(()),
        }
    }

    /// Pauses before something is tried again.
    ///
    /// # Errors
    /// As [`pause`](Self::pause), and `Timeout` where the time is over by then.
    pub async fn before_next(&self, duration: Duration) -> Result<()> {
        self.pause(duration).await?;
        self.check()
    }

    /// Resolves when the user interrupts.
    pub async fn interrupted(&self) {
        self.cancel.cancelled().await;
    }

    /// Resolves when the user interrupts or the time is over, with the error that says so.
    pub async fn ended(&self) -> Box<Error> {
        tokio::select! {
            () = self.cancel.cancelled() => interrupted(),
            () = tokio::time::sleep_until(self.deadline) => self.timed_out(),
        }
    }

    /// Resolves some seconds after the time is over: even a write gets no longer.
    pub async fn overdue(&self) -> Box<Error> {
        tokio::time::sleep_until(self.deadline + GRACE).await;
        self.timed_out()
    }

    /// True once the user has interrupted.
    pub fn is_interrupted(&self) -> bool {
        self.cancel.is_cancelled()
    }

    fn timed_out(&self) -> Box<Error> {
        Error::new(ErrorCode::Timeout, format!("not finished within {:?}", self.timeout))
            .hint(format!("run the same command again{RESUMES}; --timeout gives it more time"))
    }
}

/// The error of an interrupted run.
pub fn interrupted() -> Box<Error> {
    Error::new(ErrorCode::Interrupted, "interrupted").hint(format!("run the same command again{RESUMES}"))
}
