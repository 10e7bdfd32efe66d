//! Logs of pods.

use std::fmt::Write as _;
use std::time::Duration;

use futures::io::{AsyncBufReadExt as _, AsyncReadExt as _};
use futures::stream::{self, Stream};

use super::calls::Call;
use super::error::Operation;
use super::kind::escape;
use super::{Kind, Kubernetes};
use crate::error::Result;

/// The most that is read of a log at once, in bytes: 2,000 lines of ExternalDNS take half a million.
const MOST: usize = 1 << 20;
/// The longest line that is followed, in bytes: what is longer comes in pieces.
const LONGEST_LINE: u64 = 1 << 16;

impl Kubernetes {
    /// Pods that a label selector chooses.
    pub async fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<serde_json::Value>> {
        self.list(&Kind::POD, Some(namespace), Some(selector), None).await
    }

    /// The log of a container: of its previous run with `previous`, the last `tail` lines, not older than `since`. Of lines
    /// that are very long, there are fewer.
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
        let _ = write!(call.path, "&limitBytes={MOST}");
        if previous {
            call.path.push_str("&previous=true");
        }
        if let Some(since) = since {
            let _ = write!(call.path, "&sinceSeconds={}", since.as_secs().max(1));
        }
        let Some(mut lines) = tail else { return self.beginning(&call).await };
        let all = call.path.clone();
        loop {
            call.path = format!("{all}&tailLines={lines}");
            let text = self.beginning(&call).await?;
            // The limit cuts off the end, which tells most.
            if text.len() < MOST || lines <= 1 {
                return Ok(text);
            }
            lines /= 2;
        }
    }

    /// A log up to the limit, which may cut a character in two.
    async fn beginning(&self, call: &Call) -> Result<String> {
        let send = async |request| {
            let stream = self.connection.client.request_stream(request).await?;
            let mut bytes = Vec::new();
            let mut stream = Box::pin(stream).take(MOST as u64);
            stream.read_to_end(&mut bytes).await.map_err(kube::Error::ReadEvents)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        self.answer(call, send).await
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
            let mut part = stream.as_mut().take(LONGEST_LINE);
            let read = tokio::select! {
                read = part.read_until(b'\n', &mut line) => read,
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
