//! Exec plugins of kubeconfigs, which print the caller's credentials ("client-go credential plugins", Kubernetes's
//! documentation).
//!
//! kube's own way of running one isn't used: it asks three times, and its errors quote the plugin's variables, arguments
//! and output, which hold secrets.

use std::io::{ErrorKind, IsTerminal as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;

use super::error::no_credentials;
use super::token::{Made, Token};
use crate::error::{Error, ErrorCode, Result};
use crate::wait::Wait;

/// A token is made anew this long before it expires.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);

#[derive(Deserialize)]
struct ExecCredential {
    status: Option<Status>,
}

/// What a plugin gives: a token, a client certificate, or both.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<Timestamp>,
}

impl Status {
    fn made(&mut self) -> Option<Made> {
        let token = self.token.take().filter(|token| !token.is_empty())?;
        let left = |end: Timestamp| Duration::try_from(end.duration_since(Timestamp::now()) - MARGIN);
        Some(Made { token, lifetime: self.expiration_timestamp.map(|end| left(end).unwrap_or_default()) })
    }
}

/// A plugin, and for which server it is run.
struct Plugin {
    exec: ExecConfig,
    server: String,
    wait: Wait,
}

/// Runs the plugin: a certificate goes into `user`, a token is given and made anew before it expires.
///
/// # Errors
/// `ClusterUnauthorized`, naming the plugin and how it ended.
pub(super) async fn credentials(
    exec: ExecConfig,
    user: &mut AuthInfo,
    server: &str,
    wait: &Wait,
) -> Result<Option<Token>> {
    let plugin = Arc::new(Plugin { exec, server: server.to_owned(), wait: wait.clone() });
    let mut status = run(&plugin).await?;
    let first = status.made();
    if let (Some(certificate), Some(key)) = (&status.client_certificate_data, &status.client_key_data) {
        user.client_certificate_data = Some(STANDARD.encode(certificate));
        user.client_key_data = Some(STANDARD.encode(key).into());
    } else if first.is_none() {
        return Err(plugin.failed("gave neither a token nor a certificate with its key"));
    }
    let Some(first) = first else { return Ok(None) };
    let token = Token::new(Box::new(move || {
        let plugin = Arc::clone(&plugin);
        Box::pin(async move { run(&plugin).await?.made().ok_or_else(|| plugin.failed("gave no token any more")) })
    }));
    token.starting_with(&first).map(Some)
}

/// Runs it until it has ended or the run's time is over.
async fn run(plugin: &Arc<Plugin>) -> Result<Status> {
    let running = Arc::clone(plugin);
    let ended = tokio::task::spawn_blocking(move || running.output());
    tokio::select! {
        ended = ended => ended
            .unwrap_or_else(|err| Err(Error::new(ErrorCode::Internal, "no plugin can be run").cause(err.to_string()))),
        end = plugin.wait.ended() => Err(end.cause(format!("the kubeconfig's exec plugin {} was running", plugin.name()))),
    }
}

impl Plugin {
    fn name(&self) -> &str {
        self.exec.command.as_deref().unwrap_or_default()
    }

    fn failed(&self, why: &str) -> Box<Error> {
        no_credentials(&self.server).cause(format!("its exec plugin {} {why}", self.name()))
    }

    fn output(&self) -> Result<Status> {
        let interactive = self.may_ask()?;
        let stdin = if interactive { Stdio::inherit() } else { Stdio::null() };
        let output = self.command(interactive).stdin(stdin).stderr(Stdio::inherit()).output();
        let output = output.map_err(|err| match err.kind() {
            ErrorKind::NotFound => {
                let error = self.failed("isn't found");
                self.exec.install_hint.as_ref().map_or(error.clone(), |hint| error.hint(hint.trim()))
            }
            _ => self.failed(&format!("can't be started: {err}")),
        })?;
        if !output.status.success() {
            return Err(self.failed(&format!("ended with {}", output.status)));
        }
        let credential = serde_saphyr::from_slice::<ExecCredential>(&output.stdout);
        let status = credential.ok().and_then(|credential| credential.status);
        status.ok_or_else(|| self.failed("printed no ExecCredential with a status"))
    }

    fn command(&self, interactive: bool) -> Command {
        let exec = &self.exec;
        let mut spec = json!({"interactive": interactive});
        if let Some(cluster) = exec.cluster.as_ref().filter(|_| exec.provide_cluster_info) {
            spec["cluster"] = json!(cluster);
        }
        let info = json!({"apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec});
        let mut command = Command::new(self.name());
        command.args(exec.args.iter().flatten());
        for variable in exec.env.iter().flatten() {
            if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
                command.env(name, value);
            }
        }
        command.env("KUBERNETES_EXEC_INFO", info.to_string());
        command
    }

    /// True where the plugin may ask the user: where stdin is a terminal.
    fn may_ask(&self) -> Result<bool> {
        let terminal = std::io::stdin().is_terminal();
        match self.exec.interactive_mode {
            Some(ExecInteractiveMode::Never) => Ok(false),
            Some(ExecInteractiveMode::Always) if !terminal => {
                Err(self.failed("asks the user, and standard input is no terminal"))
            }
            _ => Ok(terminal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_util::sync::CancellationToken;

    async fn given(script: &str, timeout: Duration) -> (Result<Option<Token>>, AuthInfo) {
        let (args, env) = (vec!["-c".to_owned(), script.to_owned()], None);
        let exec = ExecConfig { command: Some("sh".to_owned()), args: Some(args), env, ..ExecConfig::default() };
        let mut user = AuthInfo::default();
        let wait = Wait::new(CancellationToken::new(), timeout);
        (credentials(exec, &mut user, "https://k8s.test", &wait).await, user)
    }

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn a_certificate_is_the_clients_and_a_token_is_sent() {
        let status = |status: &str| format!("echo '{{\"status\": {{{status}}}}}'");
        let certificate = r#""clientCertificateData": "CERT", "clientKeyData": "KEY""#;
        let (token, user) = given(&status(certificate), LONG).await;
        assert!(token.unwrap().is_none());
        assert_eq!(user.client_certificate_data, Some(STANDARD.encode("CERT")));
        assert_eq!(json!(user)["client-key-data"], STANDARD.encode("KEY"));
        let (token, user) = given(&status(&format!(r#"{certificate}, "token": "t""#)), LONG).await;
        assert_eq!(token.unwrap().unwrap().header().await.unwrap(), "Bearer t");
        assert!(user.client_certificate_data.is_some());
        let (token, _) = given(&status(r#""token": "", "clientKeyData": "KEY""#), LONG).await;
        assert_eq!(token.err().unwrap().code, ErrorCode::ClusterUnauthorized);
    }

    #[test]
    fn a_token_is_made_anew_before_it_ends() {
        let lifetime = |left: i64| {
            let end = Timestamp::now() + SignedDuration::from_secs(left);
            let text = format!(r#"{{"token": "t", "expirationTimestamp": "{end}"}}"#);
            serde_json::from_str::<Status>(&text).unwrap().made().unwrap().lifetime.unwrap().as_secs()
        };
        assert!((839..=840).contains(&lifetime(900)));
        assert_eq!((lifetime(30), lifetime(-30)), (0, 0));
    }

    #[tokio::test]
    async fn a_plugin_that_hangs_is_waited_for_until_the_time_is_over() {
        let (token, _) = given("sleep 1", Duration::from_millis(100)).await;
        let error = token.err().unwrap();
        assert_eq!(error.code, ErrorCode::Timeout);
        assert!(error.to_string().contains("exec plugin sh"), "{error}");
    }
}
