//! Every call to AWS.
//!
//! All calls go through [`Aws::send`]: it times them, maps their errors, and obeys Ctrl-C and `--timeout`: reads are
//! given up at once, writes never in the middle of one. Retries are the SDK's.

pub mod cloudformation;
pub mod eks;
pub mod iam;
pub mod route53;
pub mod sts;
pub mod token;

mod ca;
mod connect;
mod error;
mod pace;
mod trace;
mod visible;
mod watch;

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use aws_config::SdkConfig;
use aws_sdk_sts::config::retry::{RetryPartition, TokenBucket};
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio::sync::Semaphore;
use tracing::debug;

use crate::error::Result;
use crate::iam::arn::Partition;
use crate::wait::Wait;

pub use connect::{Options, region_at_hand};
use error::{Call, Refused, aws_error};
use pace::Pace;
use trace::{ATTEMPT, Again, Endpoint, Seen, Trace};
use watch::Watch;

/// The program's name and version in the `User-Agent` of every call.
pub const USER_AGENT: &str = concat!("irsactl/", env!("CARGO_PKG_VERSION"));

/// How many calls are under way at the same time.
pub const AT_ONCE: usize = 20;

/// AWS, with one identity in one region. Cheap to clone; clients of the services are made on first use.
#[derive(Clone)]
pub struct Aws {
    inner: Arc<Inner>,
}

struct Inner {
    config: SdkConfig,
    region: String,
    wait: Wait,
    /// What renews the credentials: a command, or a sentence.
    renew: String,
    seen: Seen,
    clients: Clients,
    watch: Watch,
    pace: Pace,
    /// Calls at the same time; AWS throttles more.
    places: Semaphore,
}

#[derive(Default)]
struct Clients {
    cloudformation: OnceLock<aws_sdk_cloudformation::Client>,
    eks: OnceLock<aws_sdk_eks::Client>,
    iam: OnceLock<aws_sdk_iam::Client>,
    route53: OnceLock<aws_sdk_route53::Client>,
    sts: OnceLock<aws_sdk_sts::Client>,
}

macro_rules! client {
    ($service:ident, $sdk:ident) => {
        fn $service(&self) -> &$sdk::Client {
            self.inner.clients.$service.get_or_init(|| {
                let endpoint = Arc::<Endpoint>::default();
                let trace = Trace::new(stringify!($service), self.inner.seen.clone(), endpoint.clone());
                let config = $sdk::config::Builder::from(&self.inner.config)
                    .interceptor(trace)
                    .retry_classifier(Again::new(endpoint, self.wait().clone()))
                    .retry_partition(retry_partition(stringify!($service)))
                    .build();
                $sdk::Client::from_conf(config)
            })
        }
    };
}

impl Aws {
    /// The region of all regional calls.
    pub fn region(&self) -> &str {
        &self.inner.region
    }

    /// The partition of the region.
    pub fn partition(&self) -> Partition {
        Partition::of_region(&self.inner.region)
    }

    fn new(config: SdkConfig, region: String, wait: Wait, renew: String) -> Self {
        let inner = Inner {
            config,
            region,
            wait,
            renew,
            seen: Seen::default(),
            clients: Clients::default(),
            watch: Watch::default(),
            pace: Pace::default(),
            places: Semaphore::new(AT_ONCE),
        };
        Self { inner: Arc::new(inner) }
    }

    fn wait(&self) -> &Wait {
        &self.inner.wait
    }

    client!(cloudformation, aws_sdk_cloudformation);
    client!(eks, aws_sdk_eks);
    client!(iam, aws_sdk_iam);
    client!(route53, aws_sdk_route53);
    client!(sts, aws_sdk_sts);

    /// Makes a call, unless the user has interrupted or the time is over.
    ///
    /// The requests of the SDK are futures of many kilobytes: they are boxed before anything awaits them.
    fn send<T, E>(
        &self,
        operation: &'static str,
        object: &str,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> impl Future<Output = Result<T, Refused>>
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let request = Box::pin(request);
        async move {
            let start = Instant::now();
            let answer = self.unless_ended(operation, object, request).await?;
            self.answered(operation, object, start, answer)
        }
    }

    /// Awaits a call that the user may interrupt, or whose time may be over: an attempt of a write is never cut off while
    /// AWS may still answer it, only the pause before the next one.
    async fn unless_ended<T>(&self, operation: &str, object: &str, call: impl Future<Output = T>) -> Result<T> {
        // Nothing closes the semaphore.
        let _place = self.inner.places.acquire().await.ok();
        let wait = self.wait();
        wait.check()?;
        let (attempt, mut attempts) = tokio::sync::watch::channel(false);
        let ended = async {
            let end = wait.ended().await;
            if !is_read(operation) {
                // Once the call is over, nobody waits here any more.
                let _ = attempts.wait_for(|under_way| !under_way).await;
            }
            end
        };
        let end = tokio::select! {
            biased;
            answer = ATTEMPT.scope(attempt, call) => return Ok(answer),
            end = ended => end,
            end = wait.overdue() => end,
        };
        Err(end.cause(self.under_way(operation, object)))
    }

    fn under_way(&self, operation: &str, object: &str) -> String {
        let what = format!("{operation} {object}");
        match self.inner.seen.failure(operation) {
            Some(why) => format!("{} didn't get through: {why}", what.trim_end()),
            None => format!("{} was under way", what.trim_end()),
        }
    }

    /// Makes a call that cleans up, even after an interrupt.
    fn send_anyway<T, E>(
        &self,
        operation: &'static str,
        object: &str,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> impl Future<Output = Result<T, Refused>>
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let request = Box::pin(request);
        async move {
            let start = Instant::now();
            let answer = request.await;
            self.answered(operation, object, start, answer)
        }
    }

    /// Fetches the next page of a listing, if there is one.
    async fn page<T, E>(
        &self,
        operation: &'static str,
        object: &str,
        next: impl Future<Output = Option<Result<T, SdkError<E, HttpResponse>>>>,
    ) -> Result<Option<T>, Refused>
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let start = Instant::now();
        let answer = self.unless_ended(operation, object, next).await?;
        answer.map(|answer| self.answered(operation, object, start, answer)).transpose()
    }

    fn answered<T, E>(
        &self,
        operation: &'static str,
        object: &str,
        start: Instant,
        answer: Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<T, Refused>
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let ms = start.elapsed().as_millis();
        match answer {
            Ok(answer) => {
                debug!(operation, object, ms, "AWS call");
                Ok(answer)
            }
            Err(error) => {
                let host = self.inner.seen.host(operation);
                let refused = aws_error(&Call { operation, object, host, renew: &self.inner.renew }, &error);
                debug!(operation, object, ms, code = refused.code, said = refused.said, "AWS call");
                Err(refused)
            }
        }
    }
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws").field("region", &self.inner.region).finish_non_exhaustive()
    }
}

/// True for a call that changes nothing.
fn is_read(operation: &str) -> bool {
    let action = operation.split(':').nth(1).unwrap_or(operation);
    ["Get", "List", "Describe", "Simulate", "AssumeRole"].iter().any(|verb| action.starts_with(verb))
}

/// Turns "doesn't exist" into `None`.
fn found<T>(answer: Result<T, Refused>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(refused) if refused.is_absent() => Ok(None),
        Err(refused) => Err(refused.into()),
    }
}

/// Retries of one call don't take from those of another: the SDK's shared budget is made for servers, and a run that
/// creates two hundred stacks at once would use it up while AWS throttles.
fn retry_partition(service: &'static str) -> RetryPartition {
    RetryPartition::custom(format!("irsactl-{service}")).token_bucket(TokenBucket::unlimited()).build()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityError;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::error::ErrorCode;

    type Answer = Result<(), SdkError<GetCallerIdentityError, HttpResponse>>;

    fn aws(cancel: &CancellationToken) -> Aws {
        let wait = Wait::new(cancel.clone(), Duration::from_mins(1));
        Aws::new(SdkConfig::builder().build(), "us-west-2".to_owned(), wait, String::new())
    }

    #[tokio::test]
    async fn an_interrupt_stops_the_next_call_but_not_the_one_under_way() {
        let cancel = CancellationToken::new();
        let aws = aws(&cancel);
        let call = async {
            cancel.cancel();
            Answer::Ok(())
        };
        assert!(aws.send("iam:CreatePolicy", "", call).await.is_ok());
        let refused = aws.send("sts:GetCallerIdentity", "", async { Answer::Ok(()) }).await.unwrap_err();
        assert_eq!(refused.error.code, ErrorCode::Interrupted);
        assert!(aws.send_anyway("sts:GetCallerIdentity", "", async { Answer::Ok(()) }).await.is_ok());
    }

    #[tokio::test]
    async fn an_interrupt_ends_a_read_under_way() {
        let cancel = CancellationToken::new();
        let aws = aws(&cancel);
        let never = async {
            cancel.cancel();
            std::future::pending::<Answer>().await
        };
        let refused = aws.send("sts:GetCallerIdentity", "", never).await.unwrap_err();
        assert_eq!(refused.error.code, ErrorCode::Interrupted);
    }

    #[test]
    fn absent_things_are_none_and_refusals_errors() {
        let refused = |code: &str| Refused {
            code: code.to_owned(),
            said: String::new(),
            passing: false,
            error: crate::error::Error::new(ErrorCode::Aws, "x"),
        };
        for code in ["NoSuchEntity", "ResourceNotFoundException", "NoSuchHostedZone", "ChangeSetNotFound"] {
            assert!(found::<()>(Err(refused(code))).unwrap().is_none(), "{code}");
        }
        assert!(found::<()>(Err(refused("ValidationError"))).is_err());
    }
}
