//! When a call to the API server is made again, and after which pause.

use std::time::Duration;

use http::Method;
use hyper_util::client::legacy::Error as Transport;
use kube::core::Status;

use super::Kubernetes;
use super::calls::Call;
use super::error::{explain, is_admission, is_of_credentials, summary};
use crate::error::{Result, chain};
use crate::wait::jittered;

/// Attempts of a call, the first included, as for AWS: with the pauses, about half a minute.
pub(super) const ATTEMPTS: u32 = 12;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest that the server can ask for (`Retry-After`).
const LONGEST_ASKED: Duration = Duration::from_secs(10);

impl Kubernetes {
    /// Makes a call, again after a pause where the server is busy, restarts, or the connection breaks. `once` is an
    /// attempt, of which it gets the number; its outer error ends all.
    pub(super) async fn repeated<T>(
        &self,
        call: &Call,
        once: impl AsyncFn(u32) -> Result<Result<T, kube::Error>>,
    ) -> Result<T> {
        let mut attempt = 1;
        loop {
            self.wait.check()?;
            let answer = once(attempt).await?;
            if !answer.as_ref().is_err_and(is_unconnected) {
                self.connection.note_reached();
            }
            let failure = match answer {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let explained = || explain(&failure, &call.operation, self.server());
            let again = asked_pause(&failure, call, self.connection.was_reached());
            let Some(asked) = again.filter(|_| attempt < ATTEMPTS) else { return Err(explained()) };
            let pause = pause(attempt, asked);
            tracing::info!(
                attempt,
                path = call.path,
                why = summary(&failure),
                "Kubernetes: {} {} again after {} ms",
                call.operation.verb,
                call.operation.object,
                pause.as_millis()
            );
            self.wait.before_next(pause).await.map_err(|end| end.cause(explained().to_string()))?;
            attempt += 1;
        }
    }
}

/// Pauses double.
pub(super) fn pause(attempt: u32, asked: Duration) -> Duration {
    let longest = LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.pow(attempt.min(ATTEMPTS) - 1));
    asked.min(LONGEST_ASKED) + jittered(longest)
}

/// How long the server asks to wait before another attempt; none where another attempt is no use or no good.
fn asked_pause(failure: &kube::Error, call: &Call, reached: bool) -> Option<Duration> {
    let kube::Error::Api(status) = failure else {
        return is_passing(failure, call, reached).then_some(Duration::ZERO);
    };
    let asked = status.details.as_ref().map_or(0, |details| u64::from(details.retry_after_seconds));
    let again = match status.code {
        // Refused before anything was done (API Priority and Fairness).
        429 => true,
        500 => call.repeatable && !is_admission(status),
        502..=504 => call.repeatable,
        409 => is_outdated(status, call),
        _ => false,
    };
    again.then_some(Duration::from_secs(asked))
}

/// Another change came first, and this one wasn't made; a conflict of managers says so in its causes, one about another
/// object of the name in its message, and a webhook may refuse with any code.
fn is_outdated(status: &Status, call: &Call) -> bool {
    let causes = status.details.as_ref().is_some_and(|details| !details.causes.is_empty());
    let change = [Method::PATCH, Method::DELETE].contains(&call.method);
    change && !call.conditional && !causes && !is_admission(status) && !status.message.contains("Precondition failed")
}

/// True where the server is only away for a moment: a connection that was there is lost, or none can be made to a
/// server that was there before. Where there was no connection, nothing was sent.
fn is_passing(failure: &kube::Error, call: &Call, reached: bool) -> bool {
    if is_unconnected(failure) {
        return reached;
    }
    call.repeatable
        && !is_of_credentials(failure)
        && matches!(failure, kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_))
}

fn is_unconnected(failure: &kube::Error) -> bool {
    let kube::Error::Service(error) = failure else { return false };
    chain(error.as_ref()).any(|error| error.downcast_ref::<Transport>().is_some_and(Transport::is_connect))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::error::Operation;

    #[test]
    fn an_answer_that_never_came_is_asked_for_again_where_that_does_no_harm() {
        let late = kube::Error::Service("no answer within 20s".into());
        let read = Call::get(Operation::new("read", "x"), String::new());
        assert_eq!(asked_pause(&late, &read, true), Some(Duration::ZERO));
        let write = Call::post(Operation::new("create", "x"), String::new(), &serde_json::Value::Null);
        assert_eq!(asked_pause(&late, &write, true), None);
    }
}
