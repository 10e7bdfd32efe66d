//! Bearer tokens that are made anew before they expire.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::lock::Mutex;
use http::header::HeaderValue;

use super::error::no_credentials;
use crate::error::{Error, ErrorCode, Result};
use crate::files;

/// A file's token is read again after this time.
const REREAD: Duration = Duration::from_mins(1);

/// A token, and for how long it may be used; without a time, for as long as the run takes.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) token: String,
    pub(super) lifetime: Option<Duration>,
}

type Make = dyn Fn() -> BoxFuture<'static, Result<Made>> + Send + Sync;

/// The `Authorization` header, and when it ends.
type Current = (HeaderValue, Option<Instant>);

/// A bearer token that is made anew before it expires.
pub(super) struct Token {
    make: Box<Make>,
    current: Mutex<Option<Current>>,
}

impl Token {
    pub(super) fn new(make: Box<Make>) -> Self {
        Self { make, current: Mutex::new(None) }
    }

    /// The same with a token that was made already.
    pub(super) fn starting_with(self, first: &Made) -> Result<Self> {
        Ok(Self { current: Mutex::new(Some(current(first)?)), ..self })
    }

    /// A token that stays as it is.
    pub(super) fn fixed(token: &str) -> Result<Self> {
        let made = Made { token: token.trim().to_owned(), lifetime: None };
        let first = made.clone();
        Self::new(Box::new(move || Box::pin(std::future::ready(Ok(made.clone()))))).starting_with(&first)
    }

    /// What a file holds, read again each minute as kubectl does; while it can't be read, what it held before.
    pub(super) fn of_file(path: PathBuf, server: &str) -> Self {
        let server = server.to_owned();
        let last = std::sync::Mutex::new(None);
        Self::new(Box::new(move || {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            let made = match (read(&path), last.clone()) {
                (Ok(token), _) | (Err(_), Some(token)) => {
                    *last = Some(token.clone());
                    Ok(Made { token, lifetime: Some(REREAD) })
                }
                (Err(why), None) => {
                    Err(no_credentials(&server).cause(format!("its token file {}: {why}", path.display())))
                }
            };
            Box::pin(std::future::ready(made))
        }))
    }

    /// The value of the `Authorization` header.
    pub(super) async fn header(&self) -> Result<HeaderValue> {
        let mut known = self.current.lock().await;
        if let Some((header, end)) = known.as_ref()
            && end.is_none_or(|end| Instant::now() < end)
        {
            return Ok(header.clone());
        }
        let (header, _) = known.insert(current(&(self.make)().await?)?);
        Ok(header.clone())
    }
}

/// The token of a file, which ends with a line end or not.
fn read(path: &Path) -> std::result::Result<String, String> {
    let bytes = files::whole(path).map_err(|err| err.to_string())?;
    let token = String::from_utf8_lossy(&bytes).trim().to_owned();
    if token.is_empty() { Err("it is empty".to_owned()) } else { Ok(token) }
}

fn current(made: &Made) -> Result<Current> {
    let mut header = HeaderValue::try_from(format!("Bearer {}", made.token)).map_err(|_| {
        Error::new(ErrorCode::ClusterUnauthorized, "the token for the cluster has characters of no token")
    })?;
    header.set_sensitive(true);
    Ok((header, made.lifetime.and_then(|lifetime| Instant::now().checked_add(lifetime))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn counted(lifetime: Option<Duration>) -> (Token, Arc<AtomicUsize>) {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let token = Token::new(Box::new(move || {
            let number = count.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move { Ok(Made { token: format!("secret-{number}"), lifetime }) })
        }));
        (token, made)
    }

    #[tokio::test]
    async fn a_token_of_a_kubeconfig_is_sent_or_refused() {
        assert_eq!(Token::fixed("secret\n").unwrap().header().await.unwrap(), "Bearer secret");
        for bad in ["a\nb", "a\u{1b}[m"] {
            let error = Token::fixed(bad).err().unwrap();
            assert_eq!(error.code, ErrorCode::ClusterUnauthorized);
            assert!(!error.to_string().contains(bad));
        }
    }

    #[tokio::test]
    async fn a_token_is_made_once_and_never_shown() {
        for lifetime in [None, Some(Duration::from_mins(10)), Some(Duration::MAX)] {
            let (token, made) = counted(lifetime);
            let header = token.header().await.unwrap();
            assert_eq!(header, "Bearer secret-0");
            assert!(!format!("{header:?}").contains("secret"));
            assert_eq!(token.header().await.unwrap(), "Bearer secret-0");
            assert_eq!(made.load(Ordering::SeqCst), 1);
        }
    }

    #[tokio::test]
    async fn a_token_that_ends_is_made_anew() {
        let (token, _) = counted(Some(Duration::ZERO));
        assert_eq!(token.header().await.unwrap(), "Bearer secret-0");
        assert_eq!(token.header().await.unwrap(), "Bearer secret-1");
        let (token, made) = counted(None);
        let token = token.starting_with(&Made { token: "first".to_owned(), lifetime: None }).unwrap();
        assert_eq!(token.header().await.unwrap(), "Bearer first");
        assert_eq!(made.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_token_file_is_read_as_kubectl_does() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let token = Token::of_file(file.path().to_owned(), "https://k8s.test");
        let error = token.header().await.unwrap_err();
        assert_eq!(error.code, ErrorCode::ClusterUnauthorized);
        assert!(error.to_string().contains("empty"), "{error}");
        std::fs::write(file.path(), "a\n").unwrap();
        assert_eq!(token.header().await.unwrap(), "Bearer a", "without the line end");
        *token.current.lock().await = None;
        std::fs::write(file.path(), "").unwrap();
        assert_eq!(token.header().await.unwrap(), "Bearer a", "what it held before");
        let error = Token::of_file("/dev/zero".into(), "https://k8s.test").header().await.unwrap_err();
        assert!(error.to_string().contains("too large"), "{error}");
    }
}
