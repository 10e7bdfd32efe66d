//! Logs of pods.

use std::fmt::Write as _;
use std::time::Duration;

use futures::io::AsyncBufReadExt as _;
use futures::stream::{self, Stream};

use super::calls::Call;
use super::error::{Operation, explain};
use super::kind::escape;
use super::{Kind, Kubernetes};
use crate::error::{Error, ErrorCode, Result};
use crate::wait::{Wait, interrupted};

impl Kubernetes {
    /// Pods that a label selector chooses.
    pub async fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<serde_json::Value>> {
        self.list(&Kind::POD, Some(namespace), Some(selector), None).await
    }

    /// The log of a container: of its previous run with `previous`, the last `tail` lines, not older than `since`.
    pub async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
        tail: Option<u32>,
        since: Option<Duration>,
    ) -> Result<String> {
        let mut call = log_call(namespace, pod, container);
        if previous {
            call.path.push_str("&previous=true");
        }
        if let Some(lines) = tail {
            let _ = write!(call.path, "&tailLines={lines}");
        }
        if let Some(since) = since {
            let _ = write!(call.path, "&sinceSeconds={}", since.as_secs().max(1));
        }
        self.text(&call).await
    }

    /// The lines of a container's log that aren't older than `since`, as they are written, until the container ends.
    /// Ends with an error when the user interrupts or the time is over.
    pub async fn follow_logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        since: Duration,
    ) -> Result<impl Stream<Item = Result<String>> + use<>> {
        self.wait.check()?;
        let mut call = log_call(namespace, pod, container);
        let _ = write!(call.path, "&follow=true&sinceSeconds={}", since.as_secs() + 1);
        let request = self.authorized(&call).await?;
        let stream = tokio::select! {
            stream = self.connection.client.request_stream(request) => stream,
            () = self.wait.interrupted() => return Err(interrupted()),
        };
        let stream = stream.map_err(|err| explain(&err, &call.operation, self.server()))?;
        let state = (Box::pin(stream), self.wait.clone(), call.operation.object);
        Ok(stream::try_unfold(state, |(mut stream, wait, pod)| async move {
            let mut line = Vec::new();
            let read = tokio::select! {
                read = stream.read_until(b'\n', &mut line) => read,
                end = end_of(&wait) => return Err(end),
            };
            let length = read.map_err(|err| {
                Error::new(ErrorCode::Kubernetes, format!("the log of {pod} broke off")).cause(err.to_string())
            })?;
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            Ok((length > 0).then_some((text, (stream, wait, pod))))
        }))
    }
}

/// Resolves when the time is over or the user interrupts.
async fn end_of(wait: &Wait) -> Box<Error> {
    loop {
        if let Err(end) = wait.pause(Duration::from_hours(1)).await {
            return end;
        }
    }
}

fn log_call(namespace: &str, pod: &str, container: &str) -> Call {
    let path = Kind::POD.path(Some(namespace), Some(pod));
    let path = format!("{path}/log?container={}", escape(container));
    Call::get(Operation::new("read the log of", Kind::POD.object(Some(namespace), pod)), path)
}
