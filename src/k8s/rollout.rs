//! Waiting for a Deployment, and telling at once why its pods don't start.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pod::{Severity, Trouble, condition, trouble};
use super::{Kind, Kubernetes, is_ending};
use crate::error::{Error, ErrorCode, Result};
use crate::wait::Wait;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A node or a volume may come; autoscalers tell about it in events.
const DOUBT: Duration = Duration::from_secs(30);
/// A quota or webhook may just have been mended; the controller tries again at once.
const REFUSAL: Duration = Duration::from_secs(3);
/// What is read to explain a failure may take this long after the deadline.
const EXPLANATION: Duration = Duration::from_secs(5);
const LOG_LINES: u32 = 10;
const LOG_COLUMNS: usize = 300;
const EVENTS: usize = 5;

/// What a Deployment's status says, by the rules of `kubectl rollout status`.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Done,
    Waiting(String),
    /// The controller can't create pods; it goes on trying.
    Refused(String),
    Failed(String),
}

impl Kubernetes {
    /// Waits until a Deployment has rolled out, by the rules of `kubectl rollout status`. `on_progress` gets a
    /// sentence whenever something changes. Pods of the current ReplicaSet that can't start end the waiting at once.
    ///
    /// # Errors
    /// `RolloutFailed` with the pod's state, events and last log lines; `Timeout` with the same where the time is over.
    pub async fn rollout(
        &self,
        namespace: &str,
        deployment: &str,
        wait: Wait,
        on_progress: impl FnMut(&str),
    ) -> Result<()> {
        let kubernetes = self.with_wait(wait);
        let mut watch = Watch { kubernetes, namespace, deployment, on_progress, said: String::new(), doubt: None };
        watch.run().await
    }
}

struct Watch<'a, F> {
    kubernetes: Kubernetes,
    namespace: &'a str,
    deployment: &'a str,
    on_progress: F,
    said: String,
    /// Since when what may mend itself hasn't.
    doubt: Option<Instant>,
}

impl<F: FnMut(&str)> Watch<'_, F> {
    async fn run(&mut self) -> Result<()> {
        let mut pause = FIRST_PAUSE;
        loop {
            let (progress, pod) = match self.look().await {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(()),
                Err(err) if err.code == ErrorCode::Timeout => return Err(self.explain_timeout(err).await),
                Err(err) => return Err(err),
            };
            self.say(&progress, pod.as_ref());
            if let Err(err) = self.kubernetes.wait.pause(pause).await {
                let timeout = err.code == ErrorCode::Timeout;
                return Err(if timeout { self.explain_timeout(err).await } else { err });
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// None when the rollout is done; else what is waited for, and the pod in most trouble.
    async fn look(&mut self) -> Result<Option<(String, Option<(Value, Trouble)>)>> {
        let object = self.read().await?;
        let progress = match progress(&object) {
            Progress::Done => return Ok(None),
            Progress::Failed(why) => {
                let pod = self.worst_pod(&object).await?;
                return Err(self.failed(&why, pod.as_ref()).await);
            }
            Progress::Refused(why) => {
                if self.doubted_for(REFUSAL) {
                    return Err(self.failed(&why, None).await.hint(
                        "the namespace's quota or an admission policy refuses the pod: --patch changes the pod, --namespace picks \
                         another place",
                    ));
                }
                return Ok(Some((why, None)));
            }
            Progress::Waiting(text) => text,
        };
        let pod = self.worst_pod(&object).await?;
        match pod.as_ref().map(|(pod, trouble)| (pod, trouble.severity)) {
            Some((_, Severity::Hopeless)) => return Err(self.failed("a pod can't start", pod.as_ref()).await),
            Some((_, Severity::Doubtful)) if self.doubted_for(DOUBT) => {
                if let Some((pod, _)) = &pod
                    && !self.help_is_coming(pod).await?
                {
                    return Err(self.failed("a pod can't be placed", Some(&(pod.clone(), trouble_of(pod)))).await);
                }
            }
            Some((_, Severity::Doubtful)) => {}
            Some((pod, Severity::Starting)) => {
                if let Some(unmounted) = self.unmounted(pod).await? {
                    if self.doubted_for(DOUBT) {
                        return Err(self.failed(&unmounted, Some(&(pod.clone(), trouble_of(pod)))).await);
                    }
                } else {
                    self.doubt = None;
                }
            }
            None => self.doubt = None,
        }
        Ok(Some((progress, pod)))
    }

    async fn read(&self) -> Result<Value> {
        let object = self.kubernetes.get(&Kind::DEPLOYMENT, Some(self.namespace), self.deployment).await?;
        object.ok_or_else(|| Error::new(ErrorCode::RolloutFailed, format!("{} doesn't exist", self.name())))
    }

    fn name(&self) -> String {
        Kind::DEPLOYMENT.object(Some(self.namespace), self.deployment)
    }

    fn say(&mut self, progress: &str, pod: Option<&(Value, Trouble)>) {
        let text = match pod {
            Some((pod, trouble)) => format!("{progress}; {}", sentence(pod, trouble)),
            None => progress.to_owned(),
        };
        if text != self.said {
            (self.on_progress)(&text);
            self.said = text;
        }
    }

    /// True where the same doubt has lasted for `limit`.
    fn doubted_for(&mut self, limit: Duration) -> bool {
        self.doubt.get_or_insert_with(Instant::now).elapsed() >= limit
    }

    /// The pod of the current ReplicaSet that is in most trouble, else one that is on its way out.
    async fn worst_pod(&self, deployment: &Value) -> Result<Option<(Value, Trouble)>> {
        if deployment["spec"]["replicas"] == 0 {
            return Ok(None);
        }
        let selector = selector(deployment);
        let namespace = Some(self.namespace);
        let (sets, pods) = futures::try_join!(
            self.kubernetes.list(&Kind::REPLICA_SET, namespace, Some(&selector), None),
            self.kubernetes.list(&Kind::POD, namespace, Some(&selector), None),
        )?;
        let (ending, pods): (Vec<_>, Vec<_>) = pods.into_iter().partition(is_ending);
        let new =
            pods.into_iter().filter(|pod| current_set(deployment, &sets).is_some_and(|current| is_owned(pod, current)));
        let troubled = new.filter_map(|pod| trouble(&pod).map(|trouble| (pod, trouble)));
        let worst = troubled.max_by_key(|(_, trouble)| trouble.severity);
        Ok(worst.or_else(|| ending.into_iter().next().map(|pod| (pod, Trouble::ending()))))
    }

    /// True where an autoscaler has said that it makes a node for the pod.
    async fn help_is_coming(&self, pod: &Value) -> Result<bool> {
        let reasons = ["TriggeredScaleUp", "Nominated"];
        let events = self.events(pod).await?;
        Ok(events.iter().any(|event| event["reason"].as_str().is_some_and(|reason| reasons.contains(&reason))))
    }

    /// What keeps the volumes or the network from a pod that has a node and no container yet.
    async fn unmounted(&self, pod: &Value) -> Result<Option<String>> {
        let created = pod["status"]["containerStatuses"].as_array().is_some_and(|statuses| {
            statuses.iter().any(|status| status["state"]["waiting"]["reason"] != "ContainerCreating")
        });
        if created || pod["spec"]["nodeName"].is_null() {
            return Ok(None);
        }
        let reasons = ["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"];
        let events = self.events(pod).await?;
        let event =
            events.iter().find(|event| event["reason"].as_str().is_some_and(|reason| reasons.contains(&reason)));
        Ok(event.map(event_text))
    }

    /// Events of a pod, newest first; none where they may not be read, for they only explain.
    async fn events(&self, pod: &Value) -> Result<Vec<Value>> {
        match self.list_events(pod).await {
            Err(error) if error.code == ErrorCode::ClusterForbidden => {
                tracing::debug!("events can't be read: {error}");
                Ok(Vec::new())
            }
            events => events,
        }
    }

    async fn list_events(&self, pod: &Value) -> Result<Vec<Value>> {
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
        let fields = format!("involvedObject.uid={uid}");
        let mut events = self.kubernetes.list(&Kind::EVENT, Some(self.namespace), None, Some(&fields)).await?;
        events.sort_by(|one, other| last_seen(other).cmp(last_seen(one)));
        Ok(events)
    }

    async fn failed(&self, why: &str, pod: Option<&(Value, Trouble)>) -> Box<Error> {
        let error = Error::new(ErrorCode::RolloutFailed, format!("{} doesn't roll out: {why}", self.name()));
        match pod {
            Some((pod, trouble)) => self.with_evidence(error, pod, trouble).await,
            None => error.hint(format!("kubectl -n {} describe deployment {}", self.namespace, self.deployment)),
        }
    }

    /// Adds a pod's state, events and last log lines, as far as they can be read.
    async fn with_evidence(&self, mut error: Box<Error>, pod: &Value, trouble: &Trouble) -> Box<Error> {
        error.causes.push(sentence(pod, trouble));
        let warnings = self.list_events(pod).await.unwrap_or_else(|why| {
            error.causes.push(format!("its events can't be read: {why}"));
            Vec::new()
        });
        let warnings = warnings.iter().filter(|event| event["type"] == "Warning" && tells_more(event, trouble));
        let mut texts: Vec<_> = warnings.map(event_text).collect();
        texts.dedup();
        error.causes.extend(texts.into_iter().take(EVENTS));
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        if let Some(container) = &trouble.container {
            let log = self.last_words(name, container, trouble.crashed).await;
            if !log.trim().is_empty() {
                error.causes.push(format!("last lines of its log:\n{}", shortened(log.trim_end())));
            }
        }
        let namespace = self.namespace;
        error.or_hint(|| match (&trouble.container, trouble.crashed) {
            (Some(container), true) => format!("kubectl -n {namespace} logs {name} -c {container} --previous"),
            _ => format!("kubectl -n {namespace} describe pod {name}"),
        })
    }

    /// The end of the log of the run that failed; a container that never ran has none.
    async fn last_words(&self, pod: &str, container: &str, previous: bool) -> String {
        let read = |previous| self.kubernetes.logs(self.namespace, pod, container, previous, Some(LOG_LINES), None);
        match read(previous).await {
            Ok(log) if !log.trim().is_empty() => log,
            _ if previous => read(false).await.unwrap_or_default(),
            _ => String::new(),
        }
    }

    /// The time is over: what was still missing, read with a little time of its own.
    async fn explain_timeout(&mut self, error: Box<Error>) -> Box<Error> {
        let spare = Wait::new(CancellationToken::new(), EXPLANATION);
        self.kubernetes = self.kubernetes.with_wait(spare);
        let mut error = error.context(format!("{} isn't rolled out", self.name()));
        let Ok(object) = self.read().await else { return error };
        if let Progress::Waiting(text) | Progress::Refused(text) | Progress::Failed(text) = progress(&object) {
            error.causes.push(text);
        }
        match self.worst_pod(&object).await {
            Ok(Some((pod, trouble))) => self.with_evidence(error, &pod, &trouble).await,
            _ => error,
        }
    }
}

/// A log without the ends of lines that would fill the screen: ExternalDNS begins with all its settings in one.
fn shortened(log: &str) -> String {
    let short = |line: &str| match line.char_indices().nth(LOG_COLUMNS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    };
    log.lines().map(short).collect::<Vec<_>>().join("\n")
}

fn trouble_of(pod: &Value) -> Trouble {
    trouble(pod).unwrap_or(Trouble {
        text: "is ready".to_owned(),
        container: None,
        crashed: false,
        severity: Severity::Starting,
    })
}

fn sentence(pod: &Value, trouble: &Trouble) -> String {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    match &trouble.container {
        Some(container) => format!("pod {name}: container {container} {}", trouble.text),
        None => format!("pod {name} {}", trouble.text),
    }
}

fn last_seen(event: &Value) -> &str {
    let times = [&event["lastTimestamp"], &event["eventTime"], &event["metadata"]["creationTimestamp"]];
    times.iter().find_map(|time| time.as_str()).unwrap_or_default()
}

fn event_text(event: &Value) -> String {
    let text = |field: &str| event[field].as_str().unwrap_or_default().trim();
    format!("{}: {}", text("reason"), text("message"))
}

/// False for events that say what the pod's state says already.
fn tells_more(event: &Value, trouble: &Trouble) -> bool {
    let message = event["message"].as_str().unwrap_or_default().trim();
    !trouble.text.contains(message.strip_prefix("Error: ").unwrap_or(message))
}

/// The label selector that a Deployment chooses its pods with.
fn selector(deployment: &Value) -> String {
    let labels = deployment["spec"]["selector"]["matchLabels"].as_object();
    let labels = labels.into_iter().flatten().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    labels.collect::<Vec<_>>().join(",")
}

fn is_owned(object: &Value, owner: &Value) -> bool {
    let uid = &owner["metadata"]["uid"];
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten().any(|reference| &reference["uid"] == uid)
}

/// The ReplicaSet that the controller made for what the Deployment asks for now. There is none until the old pods have
/// gone, with `Recreate`: the newest one is then still that of before.
fn current_set<'a>(deployment: &Value, sets: &'a [Value]) -> Option<&'a Value> {
    let wanted = template(deployment);
    sets.iter().find(|set| is_owned(set, deployment) && template(set) == wanted)
}

/// The pod template, without the label that tells ReplicaSets apart.
fn template(object: &Value) -> Value {
    let mut template = object["spec"]["template"].clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.shift_remove("pod-template-hash");
    }
    template
}

fn progress(deployment: &Value) -> Progress {
    let status = &deployment["status"];
    let count = |name: &str| status[name].as_u64().unwrap_or_default();
    let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
    let generation = deployment["metadata"]["generation"].as_u64().unwrap_or_default();
    if is_ending(deployment) {
        return Progress::Failed("it is being deleted".to_owned());
    }
    if generation > count("observedGeneration") {
        return Progress::Waiting("the controller hasn't seen the change yet".to_owned());
    }
    if deployment["spec"]["paused"] == true {
        return Progress::Failed("it is paused (kubectl rollout resume ends that)".to_owned());
    }
    let (replicas, updated, available) = (count("replicas"), count("updatedReplicas"), count("availableReplicas"));
    if let Some(text) = missing(deployment, wanted, replicas, updated, available) {
        return blocked(deployment).unwrap_or(Progress::Waiting(text));
    }
    Progress::Done
}

/// What is missing to a complete rollout; a failure of an earlier one doesn't count once all is there.
fn missing(deployment: &Value, wanted: u64, replicas: u64, updated: u64, available: u64) -> Option<String> {
    let old = replicas.saturating_sub(updated);
    if updated < wanted {
        let recreate = deployment["spec"]["strategy"]["type"] == "Recreate";
        return Some(if recreate && old > 0 {
            format!("{old} old pods must end before new ones start")
        } else {
            format!("{updated} of {wanted} new pods are there")
        });
    }
    if old > 0 {
        return Some(format!("{old} old pods are about to end"));
    }
    (available < updated).then(|| format!("{available} of {updated} new pods are available"))
}

fn blocked(deployment: &Value) -> Option<Progress> {
    if let Some(progressing) = condition(deployment, "Progressing")
        && progressing["reason"] == "ProgressDeadlineExceeded"
    {
        return Some(Progress::Failed("it exceeded its progress deadline".to_owned()));
    }
    let failure = condition(deployment, "ReplicaFailure").filter(|failure| failure["status"] == "True")?;
    let message = failure["message"].as_str().unwrap_or_default();
    Some(Progress::Refused(format!("its pod can't be created: {message}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(replicas: u64, status: &Value) -> Value {
        json!({
            "metadata": {"name": "a", "uid": "d", "generation": 2},
            "spec": {"replicas": replicas, "strategy": {"type": "Recreate"}},
            "status": status
        })
    }

    #[test]
    fn long_lines_of_a_log_are_cut() {
        let long = "é".repeat(LOG_COLUMNS);
        assert_eq!(shortened(&format!("{long}\n{long}é\nend")), format!("{long}\n{long}…\nend"));
    }

    fn waiting(replicas: u64, status: &Value) -> String {
        match progress(&deployment(replicas, status)) {
            Progress::Waiting(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_old_status_proves_nothing() {
        let old = json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1});
        assert_eq!(waiting(1, &old), "the controller hasn't seen the change yet");
        let new = json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1});
        assert_eq!(progress(&deployment(1, &new)), Progress::Done);
    }

    #[test]
    fn with_recreate_the_old_pod_goes_first() {
        assert_eq!(
            waiting(1, &json!({"observedGeneration": 2, "replicas": 1})),
            "1 old pods must end before new ones start"
        );
        assert_eq!(waiting(1, &json!({"observedGeneration": 2})), "0 of 1 new pods are there");
        let created = json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1});
        assert_eq!(waiting(1, &created), "0 of 1 new pods are available");
    }

    #[test]
    fn no_replicas_are_a_complete_rollout_once_the_old_are_gone() {
        assert_eq!(progress(&deployment(0, &json!({"observedGeneration": 2}))), Progress::Done);
        assert_eq!(waiting(0, &json!({"observedGeneration": 2, "replicas": 1})), "1 old pods are about to end");
    }

    #[test]
    fn what_the_controller_gives_up_or_is_refused() {
        let late = json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"});
        let status = json!({"observedGeneration": 2, "conditions": [late]});
        assert!(matches!(progress(&deployment(1, &status)), Progress::Failed(_)));

        let refused =
            json!({"type": "ReplicaFailure", "status": "True", "message": "pods \"a\" is forbidden: exceeded quota"});
        let status = json!({"observedGeneration": 2, "conditions": [refused]});
        let Progress::Refused(text) = progress(&deployment(1, &status)) else { panic!("not refused") };
        assert!(text.contains("exceeded quota"));
    }

    #[test]
    fn a_paused_or_deleted_deployment_never_rolls_out() {
        let mut paused = deployment(1, &json!({"observedGeneration": 2}));
        paused["spec"]["paused"] = json!(true);
        assert!(matches!(progress(&paused), Progress::Failed(_)));
        let mut deleted = deployment(1, &json!({"observedGeneration": 2}));
        deleted["metadata"]["deletionTimestamp"] = json!("2026-11-24T10:00:00Z");
        assert!(matches!(progress(&deleted), Progress::Failed(_)));
    }

    #[test]
    fn only_the_replica_set_of_the_current_template_counts() {
        let set = |uid: &str, owner: &str, image: &str| {
            let template = json!({
                "metadata": {"labels": {"app": "a", "pod-template-hash": uid}},
                "spec": {"containers": [{"name": "a", "image": image}]}
            });
            json!({"metadata": {"uid": uid, "ownerReferences": [{"uid": owner}]}, "spec": {"template": template}})
        };
        let mut wanted = deployment(1, &json!({}));
        wanted["spec"]["template"] = json!({
            "metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "a", "image": "new"}]}
        });
        let before = [set("1", "d", "old"), set("2", "other", "new")];
        assert!(current_set(&wanted, &before).is_none(), "the old pods are still there");
        let after = [set("1", "d", "old"), set("2", "other", "new"), set("3", "d", "new")];
        assert_eq!(current_set(&wanted, &after).unwrap()["metadata"]["uid"], "3");
    }
}
