//! The links of ExternalDNS in the cluster: its rights, its Deployment, its arguments, its pods and what they log.

use serde_json::Value;

use super::{Check, Look, ids, unless_after};
use crate::externaldns::args::{Finding, Installed};
use crate::externaldns::logs::{self, Class, Severity};
use crate::k8s::{Review, pod_trouble};

/// What was read of an installation.
#[derive(Clone, Debug)]
pub struct Workload {
    /// `namespace/name` of the Deployment.
    pub full: String,
    /// The command that installs it as it is.
    pub install: String,
    /// The Deployment.
    pub deployment: Look<Option<Value>>,
    /// What it was told.
    pub installed: Option<Installed>,
    /// The minor version of Kubernetes.
    pub minor: Option<u32>,
    /// The rights that its sources need, and whether its ServiceAccount has them.
    pub rights: Look<Vec<(Review, bool)>>,
    /// APIs that its sources need and the cluster doesn't serve.
    pub unserved: Look<Vec<String>>,
    /// Its pods.
    pub pods: Look<Vec<Value>>,
    /// The end of the newest pod's log; none without a pod.
    pub log: Look<Option<String>>,
}

impl Workload {
    /// All links, in their order: rbac, deployment, arguments, pods, logs. What the pods do follows from `before`, too.
    pub fn checks(&self, before: &[Check]) -> Vec<Check> {
        let deployment = self.check_deployment();
        let arguments = unless_after(self.check_arguments(), &[&deployment]);
        let rbac = unless_after(self.check_rbac(), &[&deployment]);
        let pods = unless_after(self.check_pods(), &[&deployment, &arguments, &rbac]);
        let causes: Vec<_> = before.iter().chain([&deployment, &arguments, &rbac, &pods]).collect();
        let logs = unless_after(self.check_logs(), &causes);
        vec![rbac, deployment, arguments, pods, logs]
    }

    fn check_rbac(&self) -> Check {
        let id = ids::RBAC;
        let (rights, unserved) = match (&self.rights, &self.unserved) {
            (Ok(rights), Ok(unserved)) => (rights, unserved),
            (Err(why), _) | (_, Err(why)) => return Check::skip(id, why),
        };
        let mut findings = Vec::new();
        if !unserved.is_empty() {
            let message = format!("the cluster doesn't serve {}, which a source reads", unserved.join(", "));
            findings
                .push(Check::fail(id, message).hint("install the CustomResourceDefinitions, or leave the source out"));
        }
        let denied: Vec<_> =
            rights.iter().filter(|(_, allowed)| !allowed).map(|(right, _)| right.to_string()).collect();
        if !denied.is_empty() {
            let message = format!("its ServiceAccount may not {}", denied.join(", "));
            findings.push(Check::fail(id, message).hint(&self.install));
        }
        Check::of(id, "its ServiceAccount may read what the sources need", findings)
    }

    fn check_deployment(&self) -> Check {
        let id = ids::DEPLOYMENT;
        let full = &self.full;
        let deployment = match (&self.deployment, &self.installed) {
            (Err(why), _) => return Check::skip(id, why),
            (Ok(None), _) => {
                return Check::fail(id, format!("there is no Deployment {full}")).hint(&self.install);
            }
            (Ok(Some(_)), None) => {
                return Check::fail(id, format!("Deployment {full} doesn't run ExternalDNS"));
            }
            (Ok(Some(deployment)), Some(_)) => deployment,
        };
        let Some(installed) = &self.installed else { return Check::skip(id, "there is none") };
        if installed.replicas == 0 {
            return Check::fail(id, format!("Deployment {full} is stopped (0 replicas)")).hint(&self.install);
        }
        let mut findings = Vec::new();
        let version = installed.rules();
        if let Some(problem) = self.minor.and_then(|minor| version.check_kubernetes(minor).err()) {
            findings.push(Check::fail(id, problem));
        }
        match (installed.version, version.warning()) {
            (None, _) => {
                let message = format!("image {} doesn't say its version: judged as {version}", installed.image);
                findings.push(Check::warn(id, message));
            }
            (Some(_), Some(warning)) => findings.push(Check::warn(id, warning)),
            _ => {}
        }
        if let Some(reason) = refused(deployment) {
            findings.push(Check::fail(id, format!("Deployment {full} gets no pods: {reason}")));
        }
        Check::of(id, format!("{full} runs {}", installed.image), findings)
    }

    fn check_arguments(&self) -> Check {
        let id = ids::ARGUMENTS;
        let Some(installed) = &self.installed else { return Check::skip(id, "there is no ExternalDNS") };
        // The owner is a link of its own.
        let own = |finding: &Finding| !finding.message.starts_with("owner id");
        let findings = installed.findings().into_iter().filter(own).map(|finding| {
            if finding.fatal {
                Check::fail(id, finding.message).hint(&self.install)
            } else {
                Check::warn(id, finding.message)
            }
        });
        Check::of(id, "they fit together and the version", findings.collect())
    }

    fn check_pods(&self) -> Check {
        let id = ids::PODS;
        let pods = match &self.pods {
            Ok(pods) => pods,
            Err(why) => return Check::skip(id, why),
        };
        let running: Vec<_> = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect();
        if running.is_empty() {
            return Check::fail(id, format!("Deployment {} has no pod", self.full)).hint(&self.install);
        }
        let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or("?").to_owned();
        let troubles = running.iter().filter_map(|pod| {
            let trouble = pod_trouble(pod)?;
            let check = Check::fail(id, format!("pod {} {trouble}", name(pod)));
            Some(check.hint(&self.install))
        });
        let restarts = running.iter().filter(|pod| pod_trouble(pod).is_none()).filter_map(|pod| {
            let count: u64 = pod["status"]["containerStatuses"]
                .as_array()?
                .iter()
                .filter_map(|status| status["restartCount"].as_u64())
                .sum();
            (count > 0).then(|| Check::warn(id, format!("pod {} was restarted {count} times", name(pod))))
        });
        Check::of(id, format!("{} ready", running.len()), troubles.chain(restarts).collect())
    }

    fn check_logs(&self) -> Check {
        let id = ids::LOGS;
        let log = match &self.log {
            Ok(Some(log)) => log,
            Ok(None) => return Check::skip(id, "there is no pod"),
            Err(why) => return Check::skip(id, why),
        };
        let quiet = self.installed.as_ref().is_some_and(|installed| {
            let said: Vec<_> = installed.arguments.given().map(|(name, value)| said(name, value)).collect();
            !logs::tells_of_syncs(&said)
        });
        let mut synced = false;
        let mut since: Vec<Class> = Vec::new();
        for class in log.lines().filter_map(logs::classify) {
            if logs::is_first_sync(&class) {
                (synced, since) = (true, Vec::new());
            }
            if logs::severity(&class) != Severity::Fine && !since.contains(&class) {
                since.push(class);
            }
        }
        let findings: Vec<_> = since.iter().map(|class| found(id, class)).collect();
        if findings.is_empty() && !synced {
            return if quiet {
                Check::skip(id, "its log level, or a dry run, keeps back whether a synchronisation succeeded")
            } else {
                Check::warn(id, "it hasn't synchronised yet").hint("irsactl verify external-dns --wait waits for it")
            };
        }
        Check::of(id, "the last synchronisation succeeded", findings)
    }
}

fn said(name: &str, value: Option<&str>) -> String {
    value.map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}"))
}

fn found(id: &'static str, class: &Class) -> Check {
    let (message, hint) = logs::explain(class);
    let check = match logs::severity(class) {
        Severity::Error | Severity::Fatal => Check::fail(id, message),
        _ => Check::warn(id, message),
    };
    match hint {
        Some(hint) => check.hint(hint),
        None => check,
    }
}

/// Why the ReplicaSet may not make pods: quota, admission.
fn refused(deployment: &Value) -> Option<&str> {
    let conditions = deployment["status"]["conditions"].as_array()?;
    let refused = conditions.iter().find(|it| it["type"] == "ReplicaFailure" && it["status"] == "True")?;
    refused["message"].as_str()
}
