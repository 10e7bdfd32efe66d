//! How a connection to the API server is made: from the facts of EKS, or from a kubeconfig.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use futures::lock::Mutex;
use http::header::{HeaderValue, USER_AGENT};
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use super::Kubernetes;
use super::kind::escape;
use crate::error::{Error, ErrorCode, Result};
use crate::files::{self, LARGEST};
use crate::wait::Wait;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// EKS accepts a token for 15 minutes ("Cluster access management", Amazon EKS User Guide), but no longer than the
/// credentials that signed it, which may have five minutes left.
const TOKEN_LIFETIME: Duration = Duration::from_mins(4);

pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) server: String,
    pub(super) ca: Vec<Vec<u8>>,
    /// Set for EKS; with a kubeconfig, the client itself authenticates.
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

type MakeToken = dyn Fn() -> BoxFuture<'static, Result<String>> + Send + Sync;

/// A bearer token that is made anew before it expires.
pub(super) struct Token {
    make: Box<MakeToken>,
    current: Mutex<Option<(HeaderValue, Instant)>>,
}

impl Token {
    fn new(make: Box<MakeToken>) -> Self {
        Self { make, current: Mutex::new(None) }
    }

    /// The value of the `Authorization` header.
    pub(super) async fn header(&self) -> Result<HeaderValue> {
        let mut current = self.current.lock().await;
        if let Some((header, made)) = current.as_ref()
            && made.elapsed() < TOKEN_LIFETIME
        {
            return Ok(header.clone());
        }
        let token = (self.make)().await?;
        let mut header = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| Error::new(ErrorCode::Internal, "the token for the cluster has characters of no token"))?;
        header.set_sensitive(true);
        *current = Some((header.clone(), Instant::now()));
        Ok(header)
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
        let token = Token::new(Box::new(move || Box::pin(token())));
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
        let kubeconfig = read_kubeconfig(path).map_err(unusable)?;
        let proxy = proxy_url(&kubeconfig, context);
        let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|err| {
            let hint = context.map(|_| "kubectl config get-contexts lists the contexts");
            let error = unusable(err.to_string());
            hint.map_or(error.clone(), |hint| error.hint(hint))
        })?;
        let config = with_proxy(config, proxy)?;
        // An exec plugin runs while the client is built, and may take seconds.
        let connected = tokio::runtime::Handle::current();
        let waiting = wait.clone();
        let connection = tokio::task::spawn_blocking(move || {
            let _runtime = connected.enter();
            Self::connect(config, None, wait)
        });
        tokio::select! {
            connection = connection => connection.map_err(|err| {
                Error::new(ErrorCode::Internal, "the connection can't be set up").cause(err.to_string())
            })?,
            end = waiting.ended() => Err(end.cause(format!("the exec plugin of {origin} was running"))),
        }
    }

    fn connect(mut config: Config, token: Option<Token>, wait: Wait) -> Result<Self> {
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.default_retry = false;
        let agent = HeaderValue::from_static(concat!("irsactl/", env!("CARGO_PKG_VERSION")));
        config.headers.push((USER_AGENT, agent));
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let ca = config.root_cert.clone().unwrap_or_default();
        let client = Client::try_from(config).map_err(|err| unusable_client(&server, &err))?;
        Ok(Self {
            connection: Arc::new(Connection { client, server, ca, token, reached: AtomicBool::new(false) }),
            wait,
        })
    }
}

fn unusable_client(server: &str, err: &kube::Error) -> Box<Error> {
    let kube::Error::Auth(auth) = err else {
        return Error::new(ErrorCode::Kubernetes, format!("no connection to {server} can be set up"))
            .cause(err.to_string());
    };
    let cause = match auth {
        // The plugin's standard output may hold a token.
        kube::client::AuthError::AuthExecRun { cmd, out } => {
            let stderr = String::from_utf8_lossy(&out.stderr);
            format!("{cmd} ended with {}: {}", out.status, stderr.trim())
        }
        kube::client::AuthError::AuthExecParse(_) => "the exec plugin printed no ExecCredential".to_owned(),
        other => other.to_string(),
    };
    Error::new(ErrorCode::ClusterUnauthorized, format!("the kubeconfig gives no credentials for {server}"))
        .cause(cause)
        .hint("kubectl must work with the same kubeconfig and context: try kubectl get namespaces")
}

/// The file at `path`, else those of `$KUBECONFIG` together, else `~/.kube/config`.
fn read_kubeconfig(path: Option<&str>) -> Result<Kubeconfig, String> {
    let files: Vec<PathBuf> = match (path, std::env::var_os("KUBECONFIG")) {
        (Some(path), _) => vec![path.into()],
        (None, Some(list)) => std::env::split_paths(&list).filter(|file| !file.as_os_str().is_empty()).collect(),
        (None, None) => Vec::new(),
    };
    if files.is_empty() {
        let home = std::env::home_dir().ok_or("neither $KUBECONFIG nor $HOME is set")?;
        return read_file(&home.join(".kube/config"));
    }
    files.iter().try_fold(Kubeconfig::default(), |all, file| all.merge(read_file(file)?).map_err(|err| err.to_string()))
}

/// kube reads a file to its end, wherever that is.
fn read_file(file: &Path) -> Result<Kubeconfig, String> {
    let unreadable = |err: std::io::Error| format!("{}: {err}", file.display());
    let meta = std::fs::metadata(file).map_err(unreadable)?;
    let read = if meta.is_file() && meta.len() <= LARGEST as u64 {
        Kubeconfig::read_from(file)
    } else {
        let bytes = files::whole(file).map_err(unreadable)?;
        Kubeconfig::from_yaml(&String::from_utf8_lossy(&bytes))
    };
    read.map_err(|err| match err {
        // The lines around the mistake may hold a token.
        KubeconfigError::Parse(error) => format!("{}: {}", file.display(), error.without_snippet()),
        other => other.to_string(),
    })
}

/// `proxy-url` of the cluster that `context` names.
fn proxy_url(kubeconfig: &Kubeconfig, context: Option<&str>) -> Option<String> {
    let context = context.or(kubeconfig.current_context.as_deref())?;
    let context = kubeconfig.contexts.iter().find(|named| named.name == context)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == context.cluster)?.cluster.as_ref()?;
    cluster.proxy_url.clone().filter(|url| !url.is_empty())
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
    Ok(config)
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
    use std::sync::atomic::AtomicUsize;
    use tokio_util::sync::CancellationToken;

    const CA: &str = "-----BEGIN CERTIFICATE-----\nMIIBADCBpwIBATAKBggqhkjOPQQDAjAAMB4XDTI2MDEwMTAwMDAwMFoXDTM2MDEw\n-----END CERTIFICATE-----\n";

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
    fn the_proxy_of_the_kubeconfig_is_that_of_its_context() {
        let text = "
clusters:
- {name: a, cluster: {server: https://a, proxy-url: http://proxy-a:1}}
- {name: b, cluster: {server: https://b}}
contexts:
- {name: one, context: {cluster: a, user: u}}
- {name: two, context: {cluster: b, user: u}}
current-context: one
";
        let kubeconfig = Kubeconfig::from_yaml(text).unwrap();
        assert_eq!(proxy_url(&kubeconfig, None).as_deref(), Some("http://proxy-a:1"));
        assert_eq!(proxy_url(&kubeconfig, Some("two")), None);
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
    async fn a_token_is_made_once_and_never_shown() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let token = Token::new(Box::new(move || {
            let number = count.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move { Ok(format!("secret-{number}")) })
        }));
        let header = token.header().await.unwrap();
        assert_eq!(header, "Bearer secret-0");
        assert!(!format!("{header:?}").contains("secret"));
        assert_eq!(token.header().await.unwrap(), "Bearer secret-0");
        *token.current.lock().await = Instant::now().checked_sub(TOKEN_LIFETIME).map(|then| (header, then));
        assert_eq!(token.header().await.unwrap(), "Bearer secret-1");
        assert_eq!(made.load(Ordering::SeqCst), 2);
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
