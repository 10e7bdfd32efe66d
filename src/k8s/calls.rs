//! Reading and writing objects.

use std::fmt::Write as _;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request};
use serde_json::{Value, json};

use super::diff::differences;
use super::error::Operation;
use super::kind::escape;
use super::retry::{ATTEMPTS, pause};
use super::{FIELD_MANAGER, Kind, Kubernetes, describe};
use crate::error::{Error, ErrorCode, Result};

/// Longest time that an answer may take, as long as the server's own limit; where a call can be repeated, the first
/// attempts get less, since a connection may have died without a word.
const ANSWER: Duration = Duration::from_mins(1);
const FIRST_ANSWER: Duration = Duration::from_secs(20);
const PAGE: usize = 500;
/// How often a listing is begun anew that took longer than the server keeps its version.
const RESTARTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How to apply an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Apply {
    /// Everything is checked, admission included, and nothing stored.
    pub dry_run: bool,
    /// Fields that other managers hold are taken over.
    pub force: bool,
}

/// One request, ready to be sent more than once.
pub(super) struct Call {
    pub(super) operation: Operation,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<(&'static str, Vec<u8>)>,
    /// Sending it twice does what sending it once does.
    pub(super) repeatable: bool,
    /// It is about the version that was read only: where that is outdated, there is no use in sending it again.
    pub(super) conditional: bool,
}

impl Call {
    pub(super) fn get(operation: Operation, path: String) -> Self {
        Self { operation, method: Method::GET, path, body: None, repeatable: true, conditional: false }
    }

    /// A change that can be sent again.
    fn patch(operation: Operation, path: String, format: &'static str, body: &Value) -> Self {
        let body = Some((format, body.to_string().into_bytes()));
        Self { operation, method: Method::PATCH, path, body, repeatable: true, conditional: false }
    }

    pub(super) fn post(operation: Operation, path: String, body: &Value) -> Self {
        let body = Some(("application/json", body.to_string().into_bytes()));
        Self { operation, method: Method::POST, path, body, repeatable: false, conditional: false }
    }

    /// Marks a POST that stores nothing.
    pub(super) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    pub(super) fn request(&self) -> Result<Request<Vec<u8>>> {
        let mut request = Request::builder().method(self.method.clone()).uri(&self.path);
        let mut bytes = Vec::new();
        if let Some((content_type, body)) = &self.body {
            request = request.header(CONTENT_TYPE, *content_type);
            bytes.clone_from(body);
        }
        request.body(bytes).map_err(|err| {
            Error::new(ErrorCode::Internal, format!("no request for {} can be made", self.path)).cause(err.to_string())
        })
    }
}

impl Kubernetes {
    /// Version of the API server: major, minor and the full text, such as `v1.33.4-eks-1234567`.
    pub async fn version(&self) -> Result<(u32, u32, String)> {
        let call = Call::get(Operation::new("read", "the server's version"), "/version".to_owned());
        let answer = self.json(&call).await?;
        let number = |field: &str| {
            let text = answer[field].as_str().unwrap_or_default();
            text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or_default()
        };
        Ok((number("major"), number("minor"), answer["gitVersion"].as_str().unwrap_or_default().to_owned()))
    }

    /// The OIDC issuer that signs the cluster's service account tokens; none where the caller may not read it.
    pub async fn issuer(&self) -> Result<Option<String>> {
        let path = "/.well-known/openid-configuration".to_owned();
        let call = Call::get(Operation::new("read", "the OIDC issuer"), path);
        match self.json(&call).await {
            Ok(answer) => Ok(answer["issuer"].as_str().map(str::to_owned)),
            Err(err)
                if matches!(err.code, ErrorCode::ClusterForbidden | ErrorCode::NotFound | ErrorCode::MissingApi) =>
            {
                Ok(None)
            }
            Err(err) => Err(err),
        }
    }

    /// One object; none where it, its namespace or its API doesn't exist.
    pub async fn get(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> Result<Option<Value>> {
        let call = Call::get(Operation::new("read", kind.object(namespace, name)), kind.path(namespace, Some(name)));
        match self.json(&call).await {
            Ok(object) => Ok(Some(object)),
            Err(err) if matches!(err.code, ErrorCode::NotFound | ErrorCode::MissingApi) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// The object that `object` names; none where it doesn't exist.
    pub async fn find(&self, object: &Value) -> Result<Option<Value>> {
        let (kind, namespace, name) = identity(object)?;
        self.get(&kind, namespace, name).await
    }

    /// All objects of a kind, of all namespaces without `namespace`, that a label selector and a field selector
    /// choose, read in pages.
    ///
    /// # Errors
    /// `MissingApi` where the cluster doesn't serve the kind.
    pub async fn list(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        labels: Option<&str>,
        fields: Option<&str>,
    ) -> Result<Vec<Value>> {
        let mut query = format!("limit={PAGE}");
        if let Some(labels) = labels {
            let _ = write!(query, "&labelSelector={}", escape(labels));
        }
        if let Some(fields) = fields {
            let _ = write!(query, "&fieldSelector={}", escape(fields));
        }
        let place = namespace.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
        let operation = Operation::new("list", format!("{}{place}", kind.plural));
        let mut items = Vec::new();
        let mut token = String::new();
        let mut restarts = 0;
        loop {
            let mut path = format!("{}?{query}", kind.path(namespace, None));
            if !token.is_empty() {
                let _ = write!(path, "&continue={}", escape(&token));
            }
            let mut page = match self.json(&Call::get(operation.clone(), path)).await {
                Err(err) if err.code == ErrorCode::Conflict && !token.is_empty() && restarts < RESTARTS => {
                    restarts += 1;
                    items.clear();
                    token.clear();
                    continue;
                }
                page => page?,
            };
            if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
                items.extend(found.into_iter().map(|item| typed(item, kind)));
            }
            page["metadata"]["continue"].as_str().unwrap_or_default().clone_into(&mut token);
            if token.is_empty() {
                return Ok(items);
            }
        }
    }

    /// Server-side apply with field manager `irsactl` and strict validation; answers the object as stored.
    ///
    /// # Errors
    /// `Conflict` names managers and fields, or says that the object isn't of the `uid` and `resourceVersion` that
    /// `object` has; `AdmissionDenied`, `ClusterForbidden`, `NamespaceTerminating`,
    /// `NotFound` where the namespace doesn't exist.
    pub async fn apply(&self, object: &Value, how: Apply) -> Result<Value> {
        let (kind, namespace, name) = identity(object)?;
        let mut path = kind.path(namespace, Some(name));
        let _ = write!(path, "?fieldManager={FIELD_MANAGER}&fieldValidation=Strict&force={}", how.force);
        if how.dry_run {
            path.push_str("&dryRun=All");
        }
        let verb = if how.dry_run { "apply (dry run)" } else { "apply" };
        let operation = Operation::new(verb, describe(object));
        let version = &object["metadata"]["resourceVersion"];
        let conditional = !version.is_null();
        let call = Call { conditional, ..Call::patch(operation, path, "application/apply-patch+yaml", object) };
        let mut attempt = 1;
        loop {
            let error = match self.json(&call).await {
                Err(error) if error.code == ErrorCode::Conflict && conditional && how.force => error,
                answer => return answer,
            };
            let live = self.get(&kind, namespace, name).await?.unwrap_or_default();
            if live["metadata"]["resourceVersion"] != *version {
                // It may be done, by an attempt whose reply was lost.
                return if differences(&live, object, FIELD_MANAGER).is_empty() { Ok(live) } else { Err(error) };
            }
            if attempt == ATTEMPTS {
                return Err(error);
            }
            tracing::info!(attempt, why = %error, "Kubernetes: {verb} {} again", call.operation.object);
            let pause = pause(attempt, Duration::ZERO);
            self.wait.before_next(pause).await.map_err(|end| end.cause(error.to_string()))?;
            attempt += 1;
        }
    }

    /// A JSON merge patch (RFC 7386); answers the object as stored.
    pub async fn merge_patch(&self, kind: &Kind, namespace: Option<&str>, name: &str, patch: &Value) -> Result<Value> {
        let query = format!("?fieldManager={FIELD_MANAGER}&fieldValidation=Strict");
        let url = kind.path(namespace, Some(name)) + &query;
        let operation = Operation::new("change", kind.object(namespace, name));
        self.json(&Call::patch(operation, url, "application/merge-patch+json", patch)).await
    }

    /// A JSON Patch (RFC 6902) of the object that `object` names; answers it as stored.
    ///
    /// # Errors
    /// `Conflict` where a `test` among the operations fails, or a path isn't there.
    pub async fn json_patch(&self, object: &Value, operations: &[Value], dry_run: bool) -> Result<Value> {
        let (kind, namespace, name) = identity(object)?;
        let mut path = kind.path(namespace, Some(name));
        let _ = write!(path, "?fieldManager={FIELD_MANAGER}&fieldValidation=Strict");
        if dry_run {
            path.push_str("&dryRun=All");
        }
        let operation = Operation::new("change", describe(object));
        // Once it is done, the test fails.
        let repeatable = operations.first().is_some_and(|first| first["op"] == "test");
        let patch = Call::patch(operation, path, "application/json-patch+json", &json!(operations));
        self.json(&Call { repeatable, ..patch }).await
    }

    /// Deletes an object, dependents in the background; with `uid` only if it is still that one. False where it
    /// doesn't exist.
    ///
    /// # Errors
    /// `Conflict` where another object of the name has taken its place.
    pub async fn delete(&self, kind: &Kind, namespace: Option<&str>, name: &str, uid: Option<&str>) -> Result<bool> {
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        if let Some(uid) = uid {
            options["preconditions"] = json!({"uid": uid});
        }
        let operation = Operation::new("delete", kind.object(namespace, name));
        let body = Some(("application/json", options.to_string().into_bytes()));
        let path = kind.path(namespace, Some(name));
        let call =
            Call { operation, method: Method::DELETE, path, body, repeatable: uid.is_some(), conditional: false };
        match self.json(&call).await {
            Ok(_) => Ok(true),
            Err(err) if matches!(err.code, ErrorCode::NotFound | ErrorCode::MissingApi) => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Waits until an object is gone, or another of the same name has taken its place.
    pub async fn gone(&self, kind: &Kind, namespace: Option<&str>, name: &str, uid: &str) -> Result<()> {
        let late = |err: Box<Error>| err.context(format!("{} is still being deleted", kind.object(namespace, name)));
        let mut pause = FIRST_PAUSE;
        while self.get(kind, namespace, name).await?.is_some_and(|object| object["metadata"]["uid"] == uid) {
            self.wait.before_next(pause).await.map_err(late)?;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
        Ok(())
    }

    /// Starts the pods of a Deployment anew, as `kubectl rollout restart` does.
    pub async fn restart(&self, namespace: &str, deployment: &str) -> Result<Value> {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
        let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
        self.merge_patch(&Kind::DEPLOYMENT, Some(namespace), deployment, &patch).await
    }

    /// Sends a call and parses the answer.
    pub(super) async fn json(&self, call: &Call) -> Result<Value> {
        let text = self.text(call).await?;
        serde_json::from_str(&text).map_err(|err| {
            let Operation { verb, object } = &call.operation;
            Error::new(ErrorCode::Kubernetes, format!("Kubernetes: the answer to {verb} {object} is no JSON"))
                .cause(err.to_string())
        })
    }

    /// Sends a call, again where that helps.
    pub(super) async fn text(&self, call: &Call) -> Result<String> {
        self.answer(call, async |request| self.connection.client.request_text(request).await).await
    }

    /// Has `send` send a call, again where that helps.
    pub(super) async fn answer<T>(
        &self,
        call: &Call,
        send: impl AsyncFn(Request<Vec<u8>>) -> Result<T, kube::Error>,
    ) -> Result<T> {
        let limit = |attempt| if call.repeatable { ANSWER.min(FIRST_ANSWER * attempt) } else { ANSWER };
        self.repeated(call, async |attempt| self.attempt(call, limit(attempt), &send).await).await
    }

    /// One attempt of a call, which `send` sends and whose answer comes within `limit`. The outer error ends all attempts.
    pub(super) async fn attempt<T>(
        &self,
        call: &Call,
        limit: Duration,
        send: impl AsyncFnOnce(Request<Vec<u8>>) -> Result<T, kube::Error>,
    ) -> Result<Result<T, kube::Error>> {
        let answer = async {
            let request = self.authorized(call).await?;
            let late = |_| {
                let text = format!("no answer within {}s to {} {}", limit.as_secs(), call.method, call.path);
                Err(kube::Error::Service(text.into()))
            };
            Ok(tokio::time::timeout(limit, send(request)).await.unwrap_or_else(late))
        };
        let ended =
            async { if call.method == Method::GET { self.wait.ended().await } else { self.wait.overdue().await } };
        tokio::select! {
            answer = answer => answer,
            end = ended => {
                let Operation { verb, object } = &call.operation;
                Err(end.cause(format!("Kubernetes: the answer to {verb} {object} was under way")))
            }
        }
    }

    async fn authorized(&self, call: &Call) -> Result<Request<Vec<u8>>> {
        let mut request = call.request()?;
        if let Some(token) = &self.connection.token {
            request.headers_mut().insert(AUTHORIZATION, token.header().await?);
        }
        Ok(request)
    }
}

/// Kind, namespace and name of an object to be written.
fn identity(object: &Value) -> Result<(Kind, Option<&str>, &str)> {
    let metadata = &object["metadata"];
    match (Kind::of(object), metadata["name"].as_str()) {
        (Some(kind), Some(name)) => Ok((kind, metadata["namespace"].as_str(), name)),
        _ => Err(Error::new(ErrorCode::Internal, format!("{} can't be applied", describe(object)))),
    }
}

/// Items of a list have no `apiVersion` and `kind` of their own.
fn typed(mut item: Value, kind: &Kind) -> Value {
    if let Value::Object(fields) = &mut item {
        fields.entry("apiVersion").or_insert_with(|| kind.api_version().into());
        fields.entry("kind").or_insert_with(|| kind.kind.into());
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, channel};

    use futures::TryStreamExt as _;
    use tokio_util::sync::CancellationToken;

    use crate::wait::Wait;

    /// Answers each request with the next of `answers`; an empty one closes the connection. Gives the requests.
    fn server(answers: &'static [&'static str]) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (send, requests) = channel();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = vec![0; 16 * 1024];
                let length = stream.read(&mut request).unwrap();
                send.send(String::from_utf8_lossy(&request[..length]).into_owned()).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        (url, requests)
    }

    async fn connect(url: &str, cancel: &CancellationToken) -> Kubernetes {
        let wait = Wait::new(cancel.clone(), Duration::from_secs(20));
        Kubernetes::eks(url, "", || std::future::ready(Ok("token".to_owned())), wait).await.unwrap()
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    const THROTTLED: &str = "HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

    #[tokio::test]
    async fn reads_survive_a_busy_server_and_a_lost_connection() {
        let (url, requests) = server(&[BUSY, "", THROTTLED, OK]);
        let kubernetes = connect(&url, &CancellationToken::new()).await;
        let object = kubernetes.get(&Kind::POD, Some("dns"), "a").await.unwrap();
        assert_eq!(object, Some(json!({})));
        let requests: Vec<_> = requests.iter().collect();
        assert_eq!(requests.len(), 4);
        let request = requests[0].to_ascii_lowercase();
        assert!(request.starts_with("get /api/v1/namespaces/dns/pods/a http/1.1"), "{request}");
        let agent = concat!("user-agent: irsactl/", env!("CARGO_PKG_VERSION"), "\r\n");
        assert!(request.contains(agent), "{request}");
        assert!(request.contains("authorization: bearer token\r\n"), "{request}");
    }

    #[tokio::test]
    async fn a_post_is_repeated_only_where_nothing_was_done() {
        let (url, requests) = server(&[THROTTLED, ""]);
        let kubernetes = connect(&url, &CancellationToken::new()).await;
        let call = Call::post(Operation::new("create", "x"), "/x".to_owned(), &json!({}));
        let error = kubernetes.json(&call).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::ClusterUnreachable);
        assert_eq!(requests.iter().count(), 2);
    }

    #[tokio::test]
    async fn a_pause_ends_with_the_interruption() {
        let (url, requests) = server(&[BUSY, BUSY]);
        let cancel = CancellationToken::new();
        let kubernetes = connect(&url, &cancel).await;
        let interrupt = async {
            tokio::task::spawn_blocking(move || requests.recv().unwrap()).await.unwrap();
            cancel.cancel();
        };
        let (read, ()) = tokio::join!(kubernetes.get(&Kind::POD, Some("dns"), "a"), interrupt);
        assert_eq!(read.unwrap_err().code, ErrorCode::Interrupted);
    }

    const PAGE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n\
        {\"metadata\": {\"continue\": \"x\"}, \"items\": [{\"kind\": \"first\"}]}";
    const LAST: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"items\": [{\"kind\": \"last\"}]}";
    const GONE: &str = "HTTP/1.1 410 Gone\r\nconnection: close\r\n\r\n\
        {\"kind\": \"Status\", \"status\": \"Failure\", \"code\": 410, \"reason\": \"Expired\", \"message\": \"too old\"}";

    #[tokio::test]
    async fn a_listing_whose_version_is_gone_is_begun_anew() {
        let (url, requests) = server(&[PAGE, GONE, PAGE, LAST]);
        let kubernetes = connect(&url, &CancellationToken::new()).await;
        let found = kubernetes.list(&Kind::POD, None, None, None).await.unwrap();
        let kinds: Vec<_> = found.iter().filter_map(|item| item["kind"].as_str()).collect();
        assert_eq!(kinds, ["first", "last"], "each once");
        let continued: Vec<_> = requests.iter().map(|request| request.contains("&continue=x")).collect();
        assert_eq!(continued, [false, true, false, true]);

        let (url, requests) = server(&[PAGE, GONE, PAGE, GONE, PAGE, GONE, PAGE, GONE]);
        let kubernetes = connect(&url, &CancellationToken::new()).await;
        let error = kubernetes.list(&Kind::POD, None, None, None).await.unwrap_err();
        assert_eq!((error.code, requests.iter().count()), (ErrorCode::Conflict, 8), "{error}");
    }

    #[tokio::test]
    async fn of_very_long_lines_of_a_log_there_are_fewer() {
        let long = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned() + &"x".repeat(1 << 20);
        let (url, requests) = server(vec![long.leak(), OK].leak());
        let kubernetes = connect(&url, &CancellationToken::new()).await;
        let log = kubernetes.logs("dns", "a", "c", false, Some(500), None).await.unwrap();
        let asked: Vec<_> =
            requests.iter().map(|request| request.contains("&limitBytes=1048576&tailLines=250 ")).collect();
        assert_eq!((log.as_str(), asked), ("{}", vec![false, true]));
    }

    #[tokio::test]
    async fn a_line_without_an_end_comes_in_pieces() {
        let endless = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned() + &"x".repeat(100_000) + "\nlast\n";
        let (url, _requests) = server(vec![&*endless.leak()].leak());
        let kubernetes = connect(&url, &CancellationToken::new()).await;
        let log = kubernetes.follow_logs("dns", "a", "c", Duration::ZERO).await.unwrap();
        let lines: Vec<_> = log.try_collect().await.unwrap();
        let lengths: Vec<_> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [65_536, 100_000 - 65_536, 4]);
    }

    #[tokio::test]
    async fn an_apply_is_strict_and_says_who_applies() {
        let (url, requests) = server(&[OK]);
        let kubernetes = connect(&url, &CancellationToken::new()).await;
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "dns"}});
        kubernetes.apply(&object, Apply { dry_run: true, force: true }).await.unwrap();
        let request = requests.recv().unwrap();
        let query = "fieldManager=irsactl&fieldValidation=Strict&force=true&dryRun=All";
        assert!(request.starts_with(&format!("PATCH /api/v1/namespaces/dns?{query} ")), "{request}");
        assert!(request.contains("application/apply-patch+yaml"), "{request}");
        let unknown = json!({"apiVersion": "v2", "kind": "Namespace", "metadata": {"name": "dns"}});
        let error = kubernetes.apply(&unknown, Apply::default()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Internal);
    }
}
