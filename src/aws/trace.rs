//! What is added to every request, and seen of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_cloudformation::operation::create_change_set::CreateChangeSetError;
use aws_sdk_cloudformation::operation::create_stack::CreateStackError;
use aws_sdk_cloudformation::operation::delete_stack::DeleteStackError;
use aws_sdk_cloudformation::operation::execute_change_set::ExecuteChangeSetError;
use aws_sdk_sts::config::interceptors::{
    BeforeTransmitInterceptorContextMut, BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
    InterceptorContext,
};
use aws_sdk_sts::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sts::error::{BoxError, ProvideErrorMetadata};
use aws_smithy_runtime_api::client::interceptors::context::Error;
use aws_smithy_runtime_api::client::orchestrator::{Metadata, OrchestratorError};
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction, RetryClassifierPriority};
use tokio::sync::watch;
use tracing::info;

use super::USER_AGENT;
use super::error::is_throttled;
use crate::wait::Wait;

tokio::task_local! {
    /// Is told when an attempt of this task's call begins (true) and ends.
    pub(super) static ATTEMPT: watch::Sender<bool>;
}

/// A call that is made outside of [`ATTEMPT`] has nobody who wants to know.
fn attempts(under_way: bool) {
    let _ = ATTEMPT.try_with(|attempt| attempt.send_replace(under_way));
}

/// Puts the program's name into the `User-Agent`, notes the endpoint's host and tells of attempts that failed.
#[derive(Debug)]
pub(super) struct Trace {
    service: &'static str,
    seen: Seen,
    endpoint: Arc<Endpoint>,
}

/// What was seen of all calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Service → host of its endpoint, as far as called.
    hosts: Arc<Mutex<BTreeMap<&'static str, String>>>,
    /// Operation → why its last attempt failed.
    failures: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Seen {
    /// The host that an operation's calls go to.
    pub(super) fn host(&self, operation: &str) -> Option<String> {
        let service = operation.split(':').next().unwrap_or(operation);
        lock(&self.hosts).get(service).cloned()
    }

    /// Why the last attempt of an operation failed, if it did.
    pub(super) fn failure(&self, operation: &str) -> Option<String> {
        lock(&self.failures).get(operation).cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trace {
    pub(super) fn new(service: &'static str, seen: Seen, endpoint: Arc<Endpoint>) -> Self {
        Self { service, seen, endpoint }
    }

    fn operation(&self, config: &ConfigBag) -> String {
        format!("{}:{}", self.service, config.load::<Metadata>().map_or("", Metadata::name))
    }
}

impl Intercept for Trace {
    fn name(&self) -> &'static str {
        "irsactl"
    }

    /// The header isn't part of the signature.
    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        let agent = headers.get("user-agent").unwrap_or_default();
        if !agent.starts_with(USER_AGENT) {
            let agent = format!("{USER_AGENT} {agent}");
            headers.try_insert("user-agent", agent.trim_end().to_owned())?;
        }
        Ok(())
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(host) = host(context.request().uri()) {
            let mut hosts = lock(&self.seen.hosts);
            if hosts.get(self.service).is_none_or(|known| known != host) {
                hosts.insert(self.service, host.to_owned());
            }
        }
        attempts(true);
        let attempt = config.load::<RequestAttempts>().map_or(1, RequestAttempts::attempts);
        if attempt > 1 {
            let operation = self.operation(config);
            let why = self.seen.failure(&operation).unwrap_or_default();
            info!(attempt, why, "AWS: {operation} again");
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        attempts(false);
        let failure = context.output_or_error().and_then(Result::err);
        let mut failures = lock(&self.seen.failures);
        match failure {
            Some(failure) => failures.insert(self.operation(config), why(failure)),
            None => failures.remove(&self.operation(config)),
        };
        drop(failures);
        if context.response().is_some() {
            self.endpoint.answered.store(true, Ordering::Relaxed);
        } else {
            self.endpoint.failures.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// AWS's code, or that there was no answer.
fn why(failure: &OrchestratorError<Error>) -> String {
    let Some(error) = failure.as_operation_error() else { return "no answer".to_owned() };
    let text = error.to_string();
    let code = text.strip_prefix("unhandled error (").and_then(|rest| rest.strip_suffix(')'));
    code.map_or(text.clone(), str::to_owned)
}

/// Host and port of a URL, without the user and password before them.
pub(super) fn host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    authority.rsplit('@').next().filter(|host| !host.is_empty())
}

/// How a service's endpoint has behaved so far.
#[derive(Debug, Default)]
pub(super) struct Endpoint {
    answered: AtomicBool,
    failures: AtomicU32,
}

impl Endpoint {
    /// True for an endpoint that isn't there, rather than one that was cut off for a moment.
    fn is_absent(&self) -> bool {
        !self.answered.load(Ordering::Relaxed) && self.failures.load(Ordering::Relaxed) >= 3
    }
}

/// Ends retries that lead nowhere: of an endpoint that never answered, of quotas (`LimitExceededException` of
/// CloudFormation), which the SDK takes for throttling, of a run that is over, and of throttled stack operations, which
/// [`Aws::paced`](super::Aws::paced) repeats.
#[derive(Debug)]
pub(super) struct Hopeless {
    endpoint: Arc<Endpoint>,
    wait: Wait,
}

impl Hopeless {
    pub(super) fn new(endpoint: Arc<Endpoint>, wait: Wait) -> Self {
        Self { endpoint, wait }
    }
}

impl ClassifyRetry for Hopeless {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(error) = context.output_or_error().and_then(Result::err) else {
            return RetryAction::NoActionIndicated;
        };
        let error = error.as_operation_error();
        let quota =
            error.and_then(|error| error.downcast_ref()).is_some_and(CreateStackError::is_limit_exceeded_exception);
        let hopeless = quota || error.is_some_and(is_paced) || self.endpoint.is_absent() || self.wait.check().is_err();
        if hopeless { RetryAction::RetryForbidden } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "irsactl"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

/// True for a throttled call that starts a stack operation.
fn is_paced(error: &Error) -> bool {
    fn code<E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static>(error: &Error) -> Option<&str> {
        error.downcast_ref::<E>().and_then(ProvideErrorMetadata::code)
    }
    let code = code::<CreateStackError>(error)
        .or_else(|| code::<CreateChangeSetError>(error))
        .or_else(|| code::<ExecuteChangeSetError>(error))
        .or_else(|| code::<DeleteStackError>(error));
    code.is_some_and(is_throttled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_answered_once_is_waited_for() {
        let endpoint = Endpoint::default();
        endpoint.failures.store(2, Ordering::Relaxed);
        assert!(!endpoint.is_absent());
        endpoint.failures.store(3, Ordering::Relaxed);
        assert!(endpoint.is_absent());
        endpoint.answered.store(true, Ordering::Relaxed);
        assert!(!endpoint.is_absent());
    }

    #[test]
    fn host_of_an_endpoint() {
        assert_eq!(host("https://sts.us-west-2.amazonaws.com/?Action=x"), Some("sts.us-west-2.amazonaws.com"));
        assert_eq!(host("http://127.0.0.1:4566/clusters/a"), Some("127.0.0.1:4566"));
        assert_eq!(host("https://user:SECRET@gw.test:8443/sts"), Some("gw.test:8443"));
        assert_eq!(host("nonsense"), None);
    }
}
