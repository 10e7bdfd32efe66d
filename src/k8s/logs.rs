//! Logs of pods.

use std::fmt::Write as _;
use std::time::Duration;

use futures::io::AsyncBufReadExt as _;
use futures::stream::{self, Stream};

use super::calls::Call;
use super::error::Operation;
use super::kind::escape;
use super::{Kind, Kubernetes};
use crate::error::Result;

impl Kubernetes {
    /// Pods that a label selector chooses.
    pub async fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<serde_json::Value>> {
        self.list(&Kind::POD, Some(namespace), Some(selector), None).await
    }

    /// The log of a container: of its previous run with `previous`, the last `tail` lines, not older than `since`.
    ///
    /// # Errors
    /// `NotFound` where the pod is gone, or its container hasn't run.
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

    /// The lines of a container's log that aren't older than `since`, as they are written, until the container ends or
    /// the connection. Ends with an error when the user interrupts or the time is over.
    ///
    /// # Errors
    /// `NotFound` as for [`Self::logs`].
    pub async fn follow_logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        since: Duration,
    ) -> Result<impl Stream<Item = Result<String>> + use<>> {
        let mut call = log_call(namespace, pod, container);
        let _ = write!(call.path, "&follow=true&sinceSeconds={}", since.as_secs() + 1);
        let send = async |request| self.connection.client.request_stream(request).await;
        // The kubelet answers with the first line, whenever that comes.
        let stream = self.repeated(&call, async |_| self.attempt(&call, Duration::MAX, send).await).await?;
        let state = (Box::pin(stream), self.wait.clone(), call.operation.object);
        Ok(stream::try_unfold(state, |(mut stream, wait, pod)| async move {
            let mut line = Vec::new();
            let read = tokio::select! {
                read = stream.read_until(b'\n', &mut line) => read,
                end = wait.ended() => return Err(end),
            };
            let Ok(length) = read.inspect_err(|err| tracing::info!(pod, %err, "Kubernetes: a log broke off")) else {
                return Ok(None);
            };
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            Ok((length > 0).then_some((text, (stream, wait, pod))))
        }))
    }
}

fn log_call(namespace: &str, pod: &str, container: &str) -> Call {
    let path = Kind::POD.path(Some(namespace), Some(pod));
    let path = format!("{path}/log?container={}", escape(container));
    Call::get(Operation::new("read the log of", Kind::POD.object(Some(namespace), pod)), path)
}
