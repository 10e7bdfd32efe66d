//! Why a pod doesn't start, from its status alone.

use serde_json::Value;

/// What keeps a pod from being ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// What is wrong, as people read it.
    pub(super) text: String,
    /// The container concerned, where it is one.
    pub(super) container: Option<String>,
    /// True where the log of the previous run tells more than that of the current one.
    pub(super) crashed: bool,
    pub(super) severity: Severity,
}

/// How long to wait for a pod in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// It takes its time.
    Starting,
    /// It may mend itself: a node may come, a volume may be mounted.
    Doubtful,
    /// It doesn't start without a change.
    Hopeless,
}

impl Trouble {
    fn new(severity: Severity, text: impl Into<String>) -> Self {
        Self { text: text.into(), container: None, crashed: false, severity }
    }

    /// A pod that has been deleted; with strategy Recreate the new one waits for it.
    pub(super) fn ending() -> Self {
        Self::new(Severity::Starting, "is still ending")
    }

    fn of(mut self, container: &str) -> Self {
        self.container = Some(container.to_owned());
        self
    }

    fn crashed(mut self) -> Self {
        self.crashed = true;
        self
    }
}

/// What keeps a pod from being ready, the worst of it; none for a ready pod.
pub(super) fn trouble(pod: &Value) -> Option<Trouble> {
    if let Some(message) = unscheduled(pod) {
        return Some(Trouble::new(Severity::Doubtful, message));
    }
    let statuses = ["initContainerStatuses", "containerStatuses"];
    let containers = statuses.iter().filter_map(|field| pod["status"][field].as_array()).flatten();
    let worst = containers.filter_map(container_trouble).max_by_key(|trouble| trouble.severity);
    worst.or_else(|| match condition(pod, "Ready") {
        Some(ready) if ready["status"] == "True" => None,
        _ => Some(Trouble::new(Severity::Starting, format!("is {}", word(&pod["status"]["phase"], "Pending")))),
    })
}

fn unscheduled(pod: &Value) -> Option<String> {
    let scheduled = condition(pod, "PodScheduled")?;
    let unschedulable = scheduled["status"] == "False" && scheduled["reason"] == "Unschedulable";
    unschedulable.then(|| format!("fits no node: {}", word(&scheduled["message"], "no reason given")))
}

/// A condition in an object's status.
pub fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == name)
}

fn container_trouble(status: &Value) -> Option<Trouble> {
    let name = word(&status["name"], "container");
    let restarts = status["restartCount"].as_u64().unwrap_or_default();
    let state = &status["state"];
    let waiting = state["waiting"]["reason"].as_str().unwrap_or_default();
    let message = state["waiting"]["message"].as_str().unwrap_or_default();
    let trouble = match waiting {
        // The first ErrImagePull may be the registry's hiccup; after it comes ImagePullBackOff.
        "ErrImagePull" => Trouble::new(Severity::Starting, format!("can't pull its image: {message}")),
        "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError" => {
            Trouble::new(Severity::Hopeless, format!("can't pull its image: {waiting}: {message}"))
        }
        "CrashLoopBackOff" => {
            Trouble::new(Severity::Hopeless, format!("keeps ending: {}", ended(&status["lastState"]["terminated"])))
                .crashed()
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "StartError" => {
            Trouble::new(Severity::Hopeless, format!("can't be created: {waiting}: {message}"))
        }
        "" | "ContainerCreating" | "PodInitializing" => return running_trouble(status, restarts).map(|it| it.of(name)),
        other => Trouble::new(Severity::Starting, format!("waits: {other}: {message}")),
    };
    Some(trouble.of(name))
}

fn running_trouble(status: &Value, restarts: u64) -> Option<Trouble> {
    let terminated = &status["state"]["terminated"];
    if terminated["exitCode"].as_i64().is_some_and(|code| code != 0) {
        let severity = if restarts == 0 { Severity::Starting } else { Severity::Hopeless };
        return Some(Trouble::new(severity, format!("ended: {}", ended(terminated))));
    }
    let previous = &status["lastState"]["terminated"];
    if restarts >= 2 {
        let text = format!("was restarted {restarts} times: {}", ended(previous));
        return Some(Trouble::new(Severity::Hopeless, text).crashed());
    }
    if status["ready"] == true || !terminated.is_null() {
        return None;
    }
    let text = match restarts {
        0 if status["state"]["running"].is_null() => "is being created".to_owned(),
        0 => "runs and isn't ready yet".to_owned(),
        _ => format!("was restarted once: {}", ended(previous)),
    };
    let trouble = Trouble::new(Severity::Starting, text);
    Some(if restarts > 0 { trouble.crashed() } else { trouble })
}

/// `exit code 1 (Error)`, with the container's own last words where it left them.
fn ended(terminated: &Value) -> String {
    let code = terminated["exitCode"]
        .as_i64()
        .map_or_else(|| "unknown exit code".to_owned(), |code| format!("exit code {code}"));
    let reason = terminated["reason"].as_str().filter(|reason| *reason != "Error").map(|reason| format!(" ({reason})"));
    let message = terminated["message"].as_str().map(|message| format!(": {}", message.trim()));
    format!("{code}{}{}", reason.unwrap_or_default(), message.unwrap_or_default())
}

fn word<'a>(value: &'a Value, otherwise: &'a str) -> &'a str {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with_container(status: &Value) -> Option<Trouble> {
        trouble(&json!({
            "status": {
                "phase": "Pending",
                "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}],
                "containerStatuses": [status]
            }
        }))
    }

    #[test]
    fn a_ready_pod_has_no_trouble() {
        let pod = json!({"status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "a", "ready": true, "restartCount": 1, "state": {"running": {}}}]
        }});
        assert_eq!(trouble(&pod), None);
        assert_eq!(trouble(&json!({})).unwrap().severity, Severity::Starting);
    }

    #[test]
    fn images_fail_at_the_second_time() {
        let waiting = |reason: &str| {
            let state = json!({"waiting": {"reason": reason, "message": "not found"}});
            with_container(&json!({"name": "a", "ready": false, "restartCount": 0, "state": state})).unwrap()
        };
        assert_eq!(waiting("ErrImagePull").severity, Severity::Starting);
        let trouble = waiting("ImagePullBackOff");
        assert_eq!(trouble.severity, Severity::Hopeless);
        assert_eq!(trouble.text, "can't pull its image: ImagePullBackOff: not found");
        assert_eq!(trouble.container.as_deref(), Some("a"));
        assert_eq!(waiting("CreateContainerConfigError").severity, Severity::Hopeless);
        assert_eq!(waiting("ContainerCreating").severity, Severity::Starting);
    }

    #[test]
    fn crashes_are_told_with_their_exit_code() {
        let last = json!({"terminated": {"exitCode": 1, "reason": "Error"}});
        let state = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let status = json!({"name": "a", "restartCount": 1, "state": state, "lastState": last});
        let trouble = with_container(&status).unwrap();
        assert_eq!((trouble.text.as_str(), trouble.crashed), ("keeps ending: exit code 1", true));
        assert_eq!(trouble.severity, Severity::Hopeless);

        let oom = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let status = json!({"name": "a", "restartCount": 2, "state": {"running": {}}, "lastState": oom, "ready": true});
        assert_eq!(with_container(&status).unwrap().text, "was restarted 2 times: exit code 137 (OOMKilled)");

        let first = json!({"name": "a", "restartCount": 0, "state": last, "ready": false});
        assert_eq!(with_container(&first).unwrap().severity, Severity::Starting);
    }

    #[test]
    fn no_node_may_come_yet() {
        let message = "0/1 nodes are available: 1 Insufficient cpu.";
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
        let trouble = trouble(&json!({"status": {"phase": "Pending", "conditions": [condition]}})).unwrap();
        assert_eq!(trouble.severity, Severity::Doubtful);
        assert!(trouble.text.contains("Insufficient cpu"));
    }
}
