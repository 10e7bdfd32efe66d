//! How a connection to the API server is made: from the facts of EKS, or from a kubeconfig.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderValue, USER_AGENT};
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::error::unusable_credentials;
use super::kind::escape;
use super::token::{Made, Token};
use super::{Kubernetes, kubeconfig, plugin};
use crate::error::{Error, ErrorCode, Result};
use crate::wait::Wait;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// EKS accepts a token for 15 minutes ("Cluster access management", Amazon EKS User Guide), but no longer than the
/// credentials that signed it, which may have five minutes left.
const TOKEN_LIFETIME: Duration = Duration::from_mins(4);

pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) server: String,
    pub(super) ca: Vec<Vec<u8>>,
    /// What is made anew before it ends; with other credentials, the client itself authenticates.
    pub(super) token: Option<Token>,
    reached: AtomicBool,
}

impl Connection {
    /// Notes that a connection was made.
    pub(super) fn note_reached(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }

    /// True once there was a connection: the server is there, and a call that doesn't get through is worth another try.
    pub(super) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }
}

impl Kubernetes {
    /// Connects to an EKS cluster: its `endpoint`, its CA as base64 of PEM, and bearer tokens that `token` makes
    /// whenever one is needed. Nothing is sent yet.
    ///
    /// # Errors
    /// `Kubernetes` where endpoint or CA are malformed.
    pub async fn eks<F, T>(endpoint: &str, ca_base64: &str, token: F, wait: Wait) -> Result<Self>
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String>> + Send + 'static,
    {
        let kubeconfig = json!({
            "clusters": [{
                "name": "eks",
                "cluster": {"server": endpoint, "certificate-authority-data": ca_base64},
            }],
            "contexts": [{"name": "eks", "context": {"cluster": "eks", "user": ""}}],
            "current-context": "eks",
        });
        let malformed = |cause: String| {
            Error::new(ErrorCode::Kubernetes, format!("the endpoint or CA of {endpoint} is malformed")).cause(cause)
        };
        let kubeconfig = serde_json::from_value::<Kubeconfig>(kubeconfig).map_err(|err| malformed(err.to_string()))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|err| malformed(err.to_string()))?;
        let token = Token::new(Box::new(move || {
            let token = token();
            Box::pin(async { Ok(Made { token: token.await?, lifetime: Some(TOKEN_LIFETIME) }) })
        }));
        Self::connect(with_proxy(config, None)?, Some(token), wait)
    }

    /// Connects as kubectl does: kubeconfig at `path`, else from `$KUBECONFIG`, else `~/.kube/config`; `context`,
    /// else the current one. An exec plugin is run at once, nothing else is sent yet.
    ///
    /// # Errors
    /// `Usage` where the file can't be read or has no such context, `ClusterUnauthorized` where its exec plugin fails.
    pub async fn kubeconfig(path: Option<&str>, context: Option<&str>, wait: Wait) -> Result<Self> {
        let origin = path.map_or_else(|| "the kubeconfig".to_owned(), |path| format!("kubeconfig {path}"));
        let unusable = |cause: String| Error::usage(format!("{origin} can't be used")).cause(cause);
        let mut kubeconfig = kubeconfig::read(path).map_err(unusable)?;
        kubeconfig::read_certificates(&mut kubeconfig, context).map_err(unusable)?;
        let proxy = kubeconfig::proxy_url(&mut kubeconfig, context);
        let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|err| {
            let hint = context.map(|_| "kubectl config get-contexts lists the contexts");
            let error = unusable(err.to_string());
            hint.map_or(error.clone(), |hint| error.hint(hint))
        })?;
        let mut config = without_userinfo(with_proxy(config, proxy)?)?;
        let token = renewed(&mut config.auth_info, &address(&config.cluster_url), &wait).await?;
        Self::connect(config, token, wait)
    }

    fn connect(mut config: Config, token: Option<Token>, wait: Wait) -> Result<Self> {
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.default_retry = false;
        let agent = HeaderValue::from_static(concat!("irsactl/", env!("CARGO_PKG_VERSION")));
        config.headers.push((USER_AGENT, agent));
        let server = address(&config.cluster_url);
        let verified = config.root_cert.clone().filter(|_| !config.accept_invalid_certs);
        let client = Client::try_from(config).map_err(|err| {
            let other = || Error::new(ErrorCode::Kubernetes, format!("no connection to {server} can be set up"));
            unusable_credentials(&err, &server).unwrap_or_else(|| other().cause(err.to_string()))
        })?;
        let (ca, reached) = (verified.unwrap_or_default(), AtomicBool::new(false));
        Ok(Self { connection: Arc::new(Connection { client, server, ca, token, reached }), wait })
    }
}

fn address(server: &http::Uri) -> String {
    server.to_string().trim_end_matches('/').to_owned()
}

/// The token of a user, whose file or exec plugin may give one; all else that a kubeconfig holds is for the client, in
/// whose order they count.
async fn renewed(user: &mut AuthInfo, server: &str, wait: &Wait) -> Result<Option<Token>> {
    let (file, exec) = (user.token_file.take(), user.exec.take());
    let has_password = user.username.is_some() && user.password.is_some();
    if user.auth_provider.is_some() || has_password {
        return Ok(None);
    }
    if let Some(token) = user.token.take() {
        return Token::fixed(token.expose_secret()).map(Some);
    }
    match (file, exec) {
        (Some(file), _) => Ok(Some(Token::of_file(file.into(), server))),
        (None, Some(exec)) => plugin::credentials(exec, user, server, wait).await,
        (None, None) => Ok(None),
    }
}

/// What a server's URL names as user and password is sent as basic authentication, before all other credentials, as
/// kubectl does; the URL itself is shown.
fn without_userinfo(mut config: Config) -> Result<Config> {
    let authority = config.cluster_url.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    let Some((userinfo, host)) = authority.rsplit_once('@') else { return Ok(config) };
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let auth = &mut config.auth_info;
    (auth.auth_provider, auth.exec, auth.token, auth.token_file) = (None, None, None, None);
    (auth.username, auth.password) = (Some(decoded(user)), Some(decoded(password).into()));
    let mut parts = config.cluster_url.into_parts();
    parts.authority = host.parse().ok();
    config.cluster_url =
        http::Uri::from_parts(parts).map_err(|_| Error::usage("the server of the kubeconfig is no URL"))?;
    Ok(config)
}

/// The proxy of the kubeconfig, else that of the environment. kube compares `NO_PROXY` with the proxy's address
/// instead of the cluster's, so that its own choice is replaced.
fn with_proxy(mut config: Config, explicit: Option<String>) -> Result<Config> {
    let url = match explicit {
        Some(url) => Some(url),
        None => environment_proxy(&Matcher::from_env(), &config.cluster_url),
    };
    config.proxy_url = url
        .map(|url| url.parse::<http::Uri>())
        .transpose()
        .map_err(|err| Error::usage("the proxy for the Kubernetes API is no URL").cause(err.to_string()))?;
    match &config.proxy_url {
        Some(proxy) if !matches!(proxy.scheme_str(), Some("http" | "https")) => Err(unknown_proxy(proxy)),
        _ => Ok(config),
    }
}

/// Of the proxy's URL, the user's password isn't told.
fn unknown_proxy(proxy: &http::Uri) -> Box<Error> {
    let scheme = proxy.scheme_str().map(|scheme| format!("{scheme}://")).unwrap_or_default();
    Error::usage(format!(
        "the proxy for the Kubernetes API, {scheme}{}, can't be used",
        proxy.host().unwrap_or_default()
    ))
    .hint("only http:// and https:// proxies are spoken to: change proxy-url in the kubeconfig, or HTTPS_PROXY")
}

fn environment_proxy(proxies: &Matcher, server: &http::Uri) -> Option<String> {
    let proxy = proxies.intercept(server)?;
    let Some(userinfo) = proxy.basic_auth().and_then(userinfo) else {
        return Some(proxy.uri().to_string());
    };
    let uri = proxy.uri();
    Some(format!("{}://{userinfo}@{}", uri.scheme_str().unwrap_or("http"), uri.authority()?))
}

/// `user:password`, escaped for a URL, of an `Authorization: Basic` value.
fn userinfo(basic: &HeaderValue) -> Option<String> {
    let text = STANDARD.decode(basic.to_str().ok()?.strip_prefix("Basic ")?).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(format!("{}:{}", escape(user), escape(password)))
}

/// The certificates (DER) of base64 of PEM.
pub(super) fn certificates(ca_base64: &str) -> Result<Vec<Vec<u8>>, String> {
    let pem = STANDARD.decode(ca_base64.trim()).map_err(|err| err.to_string())?;
    CertificateDer::pem_slice_iter(&pem)
        .map(|certificate| certificate.map(|der| der.to_vec()).map_err(|err| err.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_util::sync::CancellationToken;

    /// Self-signed, with a key that nobody has.
    const CA: &str = "-----BEGIN CERTIFICATE-----
MIIBbjCCARWgAwIBAgIUbmPWWEoQjA06u3hj7tELH/eV13IwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBYTAgFw0yNjExMzAxNjUzMDVaGA8yMTI2MTEwNjE2NTMwNVow
DDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABExvpznUWYbn
2rnJPkkkelPI2c6bw9WgNv2wj/eya9STeOJ1RbZR722HVSd7pU8HAm3IGoeuI6Rv
i4aiuZMhNt2jUzBRMB0GA1UdDgQWBBSmyS9QmUfDF6KvtdJrN8QF4ejclzAfBgNV
HSMEGDAWgBSmyS9QmUfDF6KvtdJrN8QF4ejclzAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0cAMEQCIFW0+yxF6mAgubrxl/WiWFL8UWHNXFlDCf9+iuP+zBaO
AiAWSUgZeiK9wWothxgygrUPcGSJgwiPbO4G9KNhQwx0TQ==
-----END CERTIFICATE-----
";

    fn wait() -> Wait {
        Wait::new(CancellationToken::new(), Duration::from_secs(5))
    }

    #[test]
    fn the_proxy_is_not_used_for_hosts_in_no_proxy() {
        let proxies =
            Matcher::builder().all("http://us%40er:p%3Aw@proxy.test:3128").no("127.0.0.1,.eks.amazonaws.com").build();
        let proxy = |server: &'static str| environment_proxy(&proxies, &http::Uri::from_static(server));
        assert_eq!(proxy("https://127.0.0.1:6443"), None);
        assert_eq!(proxy("https://abc.gr7.us-west-2.eks.amazonaws.com"), None);
        assert_eq!(proxy("https://k8s.example.com").as_deref(), Some("http://us%40er:p%3Aw@proxy.test:3128"));
    }

    #[test]
    fn a_proxy_that_is_not_spoken_to_is_named_without_its_password() {
        for (proxy, named) in [
            ("socks5://user:SECRET@h.test:1080", " socks5://h.test,"),
            ("user:SECRET@h.test:3128", " h.test,"),
            ("http://user:SECRET @h.test", "no URL"),
        ] {
            let config = Config::new(http::Uri::from_static("https://k8s.test"));
            let error = with_proxy(config, Some(proxy.to_owned())).unwrap_err();
            assert_eq!(error.code, ErrorCode::Usage);
            assert!(error.to_string().contains(named) && !format!("{error:?}").contains("SECRET"), "{error:?}");
        }
    }

    #[test]
    fn a_password_in_the_address_is_sent_and_not_shown() {
        let config = |server: &'static str| {
            let mut config = Config::new(http::Uri::from_static(server));
            config.auth_info.token = Some("token".to_owned().into());
            without_userinfo(config).unwrap()
        };
        let with = config("https://us%40er:p%3Aw@k8s.test:6443/clusters/a");
        assert_eq!(address(&with.cluster_url), "https://k8s.test:6443/clusters/a");
        assert_eq!(with.auth_info.username.as_deref(), Some("us@er"));
        assert_eq!(json!(with.auth_info)["password"], "p:w");
        assert!(with.auth_info.token.is_none(), "kubectl sends the one of the address");
        let without = config("https://k8s.test");
        assert!(without.auth_info.token.is_some() && without.auth_info.username.is_none());
    }

    #[tokio::test]
    async fn a_server_that_is_not_verified_is_no_cluster_by_its_ca() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = STANDARD.encode(CA);
        for (insecure, known) in [(false, true), (true, false)] {
            let mut kubeconfig = json!({
                "clusters": [{"name": "a", "cluster": {"server": "http://k8s.test", "insecure-skip-tls-verify": insecure}}],
                "contexts": [{"name": "a", "context": {"cluster": "a", "user": ""}}],
                "current-context": "a",
            });
            kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"] = json!(ca);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), kubeconfig.to_string()).unwrap();
            let kubernetes = Kubernetes::kubeconfig(file.path().to_str(), None, wait()).await.unwrap();
            assert_eq!(kubernetes.has_ca(&ca), known);
        }
    }

    #[test]
    fn certificates_are_compared_without_their_layout() {
        let one = certificates(&STANDARD.encode(CA)).unwrap();
        let other = certificates(&STANDARD.encode(CA.replace('\n', "\r\n"))).unwrap();
        assert_eq!(one.len(), 1);
        assert_eq!(one, other);
        assert!(certificates("%%%").is_err());
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_or_context_is_wrong_usage() {
        let error = Kubernetes::kubeconfig(Some("/nonexistent/kubeconfig"), None, wait()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Usage);
        assert!(error.to_string().contains("/nonexistent/kubeconfig"), "{error}");

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "clusters: []\ncontexts: []\n").unwrap();
        let error = Kubernetes::kubeconfig(file.path().to_str(), Some("nowhere"), wait()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Usage);
        assert!(error.to_string().contains("nowhere"), "{error}");
    }
}
