//! The links of ExternalDNS in the cluster: its rights, its Deployment, its arguments, its pods and what they log.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Check, Commands, Look, ids, unless_after};
use crate::externaldns::args::{Finding, IMAGE, Installed};
use crate::externaldns::logs::{self, Class, Severity};
use crate::externaldns::patch;
use crate::externaldns::rbac::required_apis;
use crate::externaldns::reproduce::Reproduction;
use crate::externaldns::version::{NEWEST, REPOSITORY};
use crate::k8s::{FIELD_MANAGER, Review, condition, has_ended, is_ending, pod_trouble};

/// So many refusals in a row for too many calls are no hiccup any more.
const THROTTLED_TOO_OFTEN: usize = 3;

/// What was read of an installation.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What mends it.
    pub commands: Commands,
    /// The namespace of the installation.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its IAM half, as words of `install`.
    pub role: Vec<String>,
    /// There is a ServiceAccount or a stack for it.
    pub has_account: bool,
    /// Namespace and name of every other ExternalDNS in the cluster.
    pub others: Vec<(String, String)>,
    /// The Deployment.
    pub deployment: Look<Option<Value>>,
    /// What it was told.
    pub installed: Option<Installed>,
    /// The minor version of Kubernetes.
    pub minor: Option<u32>,
    /// The rights that its sources need, and whether its ServiceAccount has them.
    pub rights: Look<Vec<(Review, bool)>>,
    /// APIs that its sources need and the cluster doesn't serve, as group, version and plural.
    pub unserved: Look<Vec<(String, String, String)>>,
    /// Its pods.
    pub pods: Look<Vec<Value>>,
    /// The end of the newest pod's log; none without a pod.
    pub log: Look<Option<String>>,
}

impl Workload {
    /// `namespace/name`.
    pub fn full(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The command that installs it as it is; without consent where nothing tells what it was told.
    pub fn install(&self) -> String {
        self.install_with(|_, _| false, &[])
    }

    /// True where irsactl installed it, or nobody did.
    pub fn is_ours(&self) -> bool {
        self.installed.as_ref().is_none_or(|installed| installed.managed_by.as_deref() == Some(FIELD_MANAGER))
    }

    /// The command that brings the role back to what it should be; a stack that no option makes isn't its business.
    /// Where there is no stack, the role is left to be named.
    pub fn mends_role(&self, has_stack: bool) -> Option<String> {
        match (has_stack, self.role.iter().any(|word| word.starts_with("--role-arn"))) {
            (true, true) => None,
            (true, false) => Some(self.install()),
            (false, _) => Some(Self { role: Vec::new(), ..self.clone() }.install()),
        }
    }

    fn install_without(&self, flags: &[&str]) -> String {
        self.install_with(|name, _| flags.contains(&name), &[])
    }

    fn install_with(&self, left_out: impl Fn(&str, &str) -> bool, more: &[String]) -> String {
        let live = self.deployment.as_ref().ok().and_then(Option::as_ref);
        let patch = live.and_then(|live| patch::given(live, &self.commands.region));
        let reproduction = Reproduction {
            cluster: &self.commands.cluster,
            region: &self.commands.region,
            namespace: &self.namespace,
            name: &self.name,
            installed: self.installed.as_ref(),
            role: &self.role,
            patch: patch.as_ref(),
        };
        reproduction.command(left_out, more)
    }

    /// Looks again until it holds.
    fn wait(&self) -> String {
        format!("{} --wait --strict --timeout 5m", self.commands.verify_external_dns(&self.namespace, &self.name))
    }

    fn kubectl(&self, what: &str) -> String {
        format!("kubectl --namespace {} {what}", self.namespace)
    }

    /// What restarts its pods.
    pub fn restart(&self) -> String {
        self.kubectl(&format!("rollout restart deployment/{}", self.name))
    }

    fn previous_log(&self) -> String {
        self.kubectl(&format!("logs deployment/{} --previous", self.name))
    }

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

    /// Where nothing has this name and ExternalDNS has another, the links of a service account that isn't there follow.
    pub fn unless_elsewhere(&self, chain: Vec<Check>) -> Vec<Check> {
        if self.others.is_empty() || !self.role.is_empty() || !matches!(self.deployment, Ok(None)) {
            return chain;
        }
        let missing = self.missing();
        chain.into_iter().map(|check| unless_after(check, &[&missing])).collect()
    }

    fn check_rbac(&self) -> Check {
        let id = ids::RBAC;
        let Some(installed) = &self.installed else { return Check::skip(id, self.unseen()) };
        if let Some(why) = installed.unknown(&["source", "namespace"]) {
            return Check::skip(id, why);
        }
        let (rights, unserved) = match (&self.rights, &self.unserved) {
            (Ok(rights), Ok(unserved)) => (rights, unserved),
            (Err(why), _) | (_, Err(why)) => return Check::skip(id, why),
        };
        let mut findings = Vec::new();
        if !unserved.is_empty() {
            findings.push(self.without_apis(installed, unserved));
        }
        let account = format!("{}/{}", installed.namespace, installed.service_account);
        let served = |right: &Review| {
            !unserved.iter().any(|(group, _, plural)| *group == right.group && *plural == right.resource)
        };
        if let Some(denied) = denied(rights, served) {
            findings.push(
                Check::fail(id, format!("ServiceAccount {account} may not {denied}, which the sources need"))
                    .hint(self.install()),
            );
        }
        Check::of(id, format!("ServiceAccount {account} may read what the sources need"), findings)
    }

    /// Sources whose API isn't served keep ExternalDNS from starting: it works without them.
    fn without_apis(&self, installed: &Installed, unserved: &[(String, String, String)]) -> Check {
        let version = installed.rules();
        let lacks = |source: &str| required_apis(source, version).iter().any(|api| unserved.contains(api));
        let sources: Vec<_> =
            installed.sources.iter().filter(|source| lacks(source)).map(|source| format!("source {source}")).collect();
        let apis: Vec<_> =
            unserved.iter().map(|(group, version, plural)| format!("{plural}.{group}/{version}")).collect();
        let who = if sources.is_empty() { "which ExternalDNS reads".to_owned() } else { sources.join(" and ") };
        let message = format!("the cluster doesn't serve {}, which {who} needs", apis.join(", "));
        Check::fail(ids::RBAC, message).hint(self.install_with(|name, value| name == "source" && lacks(value), &[]))
    }

    fn check_deployment(&self) -> Check {
        let id = ids::DEPLOYMENT;
        let full = self.full();
        let (deployment, installed) = match (&self.deployment, &self.installed) {
            (Err(why), _) => return Check::skip(id, why),
            (Ok(None), _) => return self.missing(),
            (Ok(Some(_)), None) => {
                return Check::fail(id, format!("Deployment {full} doesn't run ExternalDNS"))
                    .hint(self.kubectl(&format!("get deployment {} --output wide", self.name)));
            }
            (Ok(Some(deployment)), Some(installed)) => (deployment, installed),
        };
        if installed.replicas == 0 {
            return Check::fail(id, format!("Deployment {full} is stopped (0 replicas)")).hint(self.install());
        }
        let mut findings = Vec::new();
        findings.extend(self.paused(deployment));
        let version = installed.rules();
        if let Some(problem) = self.minor.and_then(|minor| version.check_kubernetes(minor).err()) {
            findings.push(Check::fail(id, problem).hint(self.install_without(&[IMAGE])));
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
            let look = if reason.contains("quota") {
                "describe resourcequota"
            } else {
                "get events --field-selector reason=FailedCreate"
            };
            let message = format!("Deployment {full} gets no pods: {reason}");
            findings.push(Check::fail(id, message).hint(self.kubectl(look)));
        }
        Check::of(id, format!("{full} runs {}", installed.image), findings)
    }

    /// Changes of a paused Deployment reach no pod.
    fn paused(&self, deployment: &Value) -> Option<Check> {
        if deployment["spec"]["paused"] != true {
            return None;
        }
        let pending = deployment["status"]["updatedReplicas"] != deployment["spec"]["replicas"];
        let make = if pending { Check::fail } else { Check::warn };
        let what = if pending { "what was changed since doesn't run" } else { "changes of it would reach no pod" };
        let resume = self.kubectl(&format!("rollout resume deployment/{}", self.name));
        Some(make(ids::DEPLOYMENT, format!("Deployment {} is paused: {what}", self.full())).hint(resume))
    }

    /// Why nothing is known of ExternalDNS.
    fn unseen(&self) -> &str {
        match &self.deployment {
            Err(why) => why,
            Ok(_) => "there is no ExternalDNS",
        }
    }

    /// No Deployment of this name: it may be another that is meant. With which options one ran that is gone, nothing
    /// tells: they have to be added.
    fn missing(&self) -> Check {
        let message = format!("there is no Deployment {}", self.full());
        let Some((namespace, name)) = self.others.first() else {
            if !self.has_account {
                return Check::fail(ids::DEPLOYMENT, message).hint(self.install());
            }
            let message = format!(
                "{message}; if there was one: its owner id, TXT names, filters and policy have to be given again, or its \
                 records are left behind"
            );
            return Check::fail(ids::DEPLOYMENT, message).hint(self.install());
        };
        let all: Vec<_> = self.others.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
        let check = Check::fail(ids::DEPLOYMENT, format!("{message}; ExternalDNS is {}", all.join(" and ")));
        check.hint(if self.role.is_empty() {
            self.commands.verify_external_dns(namespace, name)
        } else {
            self.install()
        })
    }

    fn check_arguments(&self) -> Check {
        let id = ids::ARGUMENTS;
        let Some(installed) = &self.installed else { return Check::skip(id, self.unseen()) };
        let found = installed.findings();
        let without: Vec<_> = found.iter().flat_map(|finding| finding.without).copied().collect();
        let hint = self.install_without(&without);
        let check = |finding: Finding| {
            let make = if finding.fatal { Check::fail } else { Check::warn };
            make(id, finding.message).hint(&hint)
        };
        let unknown = installed.untold().map(|why| Check::skip(id, why));
        Check::of(id, "they fit together and the version", found.into_iter().map(check).chain(unknown).collect())
    }

    fn check_pods(&self) -> Check {
        let id = ids::PODS;
        let pods = match &self.pods {
            Ok(pods) => pods,
            Err(why) => return Check::skip(id, why),
        };
        let running = current(pods);
        if running.is_empty() {
            return Check::fail(id, format!("Deployment {} has no pod yet", self.full())).hint(self.wait());
        }
        let findings = running.iter().filter_map(|pod| self.check_pod(pod)).collect();
        Check::of(id, format!("{} ready", running.len()), findings)
    }

    fn check_pod(&self, pod: &Value) -> Option<Check> {
        let name = pod["metadata"]["name"].as_str().unwrap_or("?");
        if is_ready(pod) {
            let restarts: u64 = containers(pod).filter_map(|status| status["restartCount"].as_u64()).sum();
            let last = containers(pod).find_map(|status| ended(&status["lastState"]["terminated"]));
            let last = last.map(|last| format!(", last after {last}")).unwrap_or_default();
            let times = if restarts == 1 { "once".to_owned() } else { format!("{restarts} times") };
            return (restarts > 0).then(|| {
                Check::warn(ids::PODS, format!("pod {name} was restarted {times}{last}")).hint(self.previous_log())
            });
        }
        let (trouble, starting) = pod_trouble(pod)?;
        let words = self.last_words().map(|words| format!("; its log ends with: {words}")).unwrap_or_default();
        let mut waiting = containers(pod).filter_map(|status| status["state"]["waiting"]["reason"].as_str());
        let unpullable = waiting.any(|reason| ["ErrImagePull", "ImagePullBackOff"].contains(&reason));
        let crashed = containers(pod).any(|status| status["restartCount"].as_u64() > Some(0));
        let message = format!("pod {name} {trouble}{words}");
        Some(if starting && !unpullable && !crashed {
            Check::warn(ids::PODS, message).hint(self.wait())
        } else {
            Check::fail(ids::PODS, message).hint(self.mend_pod(name, unpullable, crashed))
        })
    }

    /// Why it exits, in its own words.
    fn last_words(&self) -> Option<String> {
        let log = self.log.as_ref().ok()?.as_ref()?;
        let wrong = logs::story(log).wrong;
        let fatal = wrong.iter().rfind(|(class, _)| logs::severity(class) == Severity::Fatal)?;
        Some(logs::explain(&fatal.0).0)
    }

    /// What was changed and never worked is undone; else what is wrong is to be looked at.
    fn mend_pod(&self, name: &str, unpullable: bool, crashed: bool) -> String {
        let image = self.installed.as_ref().map(|installed| installed.image.as_str()).unwrap_or_default();
        if self.never_worked() {
            self.kubectl(&format!("rollout undo deployment/{}", self.name))
        } else if unpullable && image.starts_with(REPOSITORY) && image != NEWEST.image() {
            self.install_without(&[IMAGE])
        } else if crashed {
            self.previous_log()
        } else {
            self.kubectl(&format!("describe pod {name}"))
        }
    }

    /// True where the Deployment was changed and its pods have never been available since.
    fn never_worked(&self) -> bool {
        let Ok(Some(deployment)) = &self.deployment else { return false };
        let revision = deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str();
        let revision: u32 = revision.and_then(|text| text.parse().ok()).unwrap_or(1);
        let done = condition(deployment, "Progressing").is_some_and(|it| it["reason"] == "NewReplicaSetAvailable");
        // Until the controller has come to the change, what it says is about the pods before it.
        let unseen = deployment["status"]["observedGeneration"] != deployment["metadata"]["generation"];
        let replaced = deployment["status"]["updatedReplicas"].as_u64().unwrap_or_default() > 0;
        if done { unseen || !replaced } else { revision > 1 }
    }

    fn check_logs(&self) -> Check {
        let id = ids::LOGS;
        let log = match &self.log {
            Ok(Some(log)) => log,
            Ok(None) => return Check::skip(id, "there is no pod"),
            Err(why) => return Check::skip(id, why),
        };
        let story = logs::story(log);
        let findings: Vec<_> = story.wrong.iter().map(|(class, times)| self.said(class, *times)).collect();
        if !self.tells_of_syncs() {
            let over = |check: Check| match check.status {
                super::Status::Fail => Check {
                    status: super::Status::Warn,
                    message: format!("{} (its log level keeps back whether that is over)", check.message),
                    ..check
                },
                _ => check,
            };
            let why = "its log level, or a dry run, keeps back whether a synchronisation succeeded";
            let findings: Vec<_> = findings.into_iter().map(over).collect();
            return if findings.is_empty() { Check::skip(id, why) } else { Check::of(id, why, findings) };
        }
        if findings.is_empty() && !story.synced {
            return Check::warn(id, "it hasn't synchronised yet").hint(self.wait());
        }
        Check::of(id, "the last synchronisation succeeded", findings)
    }

    fn tells_of_syncs(&self) -> bool {
        self.installed.as_ref().is_none_or(|installed| {
            let known = installed.unknown(&["log-level", "dry-run"]).is_none();
            known && logs::tells_of_syncs(&installed.arguments.words().collect::<Vec<_>>())
        })
    }

    fn said(&self, class: &Class, times: usize) -> Check {
        let (message, _) = logs::explain(class);
        let hiccup = *class == Class::Throttling && times < THROTTLED_TOO_OFTEN;
        // What selects the zones can't be judged from outside: then the log has the verdict.
        let unjudged = self.installed.as_ref().and_then(Installed::unjudged);
        if let (Some(flag), Class::NoZones | Class::NoZoneMatch) = (unjudged, class) {
            return Check::fail(ids::LOGS, format!("{message} (--{flag})")).hint(self.install_without(&[flag]));
        }
        let check = match logs::severity(class) {
            Severity::Error | Severity::Fatal if !hiccup => Check::fail(ids::LOGS, message),
            _ => Check::warn(ids::LOGS, message),
        };
        match self.mend(class) {
            Some(command) => check.hint(command),
            None => check,
        }
    }

    /// The command that mends what a log tells of, or shows it.
    fn mend(&self, class: &Class) -> Option<String> {
        let Commands { region, .. } = &self.commands;
        Some(match class {
            Class::OidcProvider => self.commands.associate(),
            Class::Trust | Class::NodeRole | Class::NoCredentials => self.restart(),
            Class::Policy { .. } | Class::Rbac { .. } | Class::Flag { .. } | Class::FsGroup => self.install(),
            Class::Conflict | Class::NotOwned | Class::Cleanup | Class::MissingTxt | Class::LabelTooLong => {
                self.commands.get_dnsrecords(&self.namespace, &self.name)
            }
            Class::NoZones | Class::NoZoneMatch => "aws route53 list-hosted-zones".to_owned(),
            Class::Throttling => {
                let slower = ["--interval 5m".to_owned(), "--extra-arg=--aws-zones-cache-duration=1h".to_owned()];
                self.install_with(|name, _| ["interval", "aws-zones-cache-duration"].contains(&name), &slower)
            }
            Class::Network { .. } => format!("aws ec2 describe-vpc-endpoints --region {region}"),
            Class::Region { .. } if self.installed.as_ref()?.version? < NEWEST => self.install_without(&[IMAGE]),
            Class::DryRun => self.install_without(&["dry-run"]),
            Class::SoftErrors(_) | Class::Submit | Class::Fatal { .. } => {
                self.kubectl(&format!("logs deployment/{}", self.name))
            }
            _ => return None,
        })
    }
}

/// Those that aren't allowed, by verbs.
fn denied(rights: &[(Review, bool)], served: impl Fn(&Review) -> bool) -> Option<String> {
    let denied = rights.iter().filter(|(right, allowed)| !allowed && served(right));
    let denied: Vec<_> = denied.map(|(review, _)| review).collect();
    let what = |review: &Review| Review { verb: String::new(), ..review.clone() }.to_string().trim().to_owned();
    let mut groups: Vec<(BTreeSet<&str>, Vec<String>)> = Vec::new();
    for review in &denied {
        let resource = what(review);
        if groups.iter().any(|(_, resources)| resources.contains(&resource)) {
            continue;
        }
        let same = denied.iter().filter(|other| what(other) == resource);
        let verbs: BTreeSet<_> = same.map(|other| other.verb.as_str()).collect();
        match groups.iter_mut().find(|(known, _)| *known == verbs) {
            Some((_, resources)) => resources.push(resource),
            None => groups.push((verbs, vec![resource])),
        }
    }
    let text = |(verbs, resources): (BTreeSet<&str>, Vec<String>)| {
        format!("{} {}", verbs.into_iter().collect::<Vec<_>>().join(" and "), resources.join(", "))
    };
    let texts: Vec<_> = groups.into_iter().map(text).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// The pods that count: those that are ending don't, nor those that have ended (evicted ones stay until somebody deletes
/// them), unless there is no other.
pub fn current(pods: &[Value]) -> Vec<&Value> {
    let staying = pods.iter().filter(|pod| !is_ending(pod));
    let (ended, alive): (Vec<_>, Vec<_>) = staying.partition(|pod| has_ended(pod));
    if alive.is_empty() { ended } else { alive }
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["status"]["containerStatuses"].as_array().into_iter().flatten()
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// `exit code 137 (OOMKilled) at 2026-01-01T00:00:00Z`.
fn ended(terminated: &Value) -> Option<String> {
    let code = terminated["exitCode"].as_i64()?;
    let reason = terminated["reason"].as_str().filter(|reason| *reason != "Error");
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let at = terminated["finishedAt"].as_str().map(|at| format!(" at {at}")).unwrap_or_default();
    Some(format!("exit code {code}{reason}{at}"))
}

/// Why the ReplicaSet may not make pods: quota, admission.
fn refused(deployment: &Value) -> Option<&str> {
    let refused = condition(deployment, "ReplicaFailure").filter(|failure| failure["status"] == "True")?;
    refused["message"].as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::externaldns::settings::Settings;
    use crate::verify::Status;

    const HEALTHY: &str = "level=info msg=\"All records are already up to date\"";

    /// A working installation of this version with these extra arguments, whose log ends with these lines.
    fn workload(version: &str, extra: &[&str], log: &[&str]) -> Workload {
        let mut settings = Settings::new("us-west-2", "demo-1");
        settings.version = version.parse().unwrap();
        settings.extra_args = extra.iter().map(|&extra| extra.to_owned()).collect();
        let container = json!({"name": "c", "image": format!("{REPOSITORY}:{version}"), "args": settings.args()});
        let metadata = json!({"name": "external-dns", "namespace": "dns",
            "labels": {"app.kubernetes.io/managed-by": "irsactl"}});
        let deployment = json!({"metadata": metadata, "spec": {"template": {"spec": {"containers": [container]}}}});
        let ready = json!([{"type": "Ready", "status": "True"}]);
        Workload {
            commands: Commands { cluster: "demo".to_owned(), region: "us-west-2".to_owned() },
            namespace: "dns".to_owned(),
            name: "external-dns".to_owned(),
            role: Vec::new(),
            has_account: false,
            others: Vec::new(),
            installed: Installed::from_deployment(&deployment),
            deployment: Ok(Some(deployment)),
            minor: Some(35),
            rights: Ok(Vec::new()),
            unserved: Ok(Vec::new()),
            pods: Ok(vec![json!({"metadata": {"name": "p"}, "status": {"conditions": ready}})]),
            log: Ok(Some([&[HEALTHY], log].concat().join("\n"))),
        }
    }

    /// The checks that don't pass, as `status id: message | hint`, with the place in hints left out.
    fn found(workload: &Workload) -> Vec<String> {
        let checks = workload.checks(&[]);
        let ids: Vec<_> = checks.iter().map(|check| check.id).collect();
        assert_eq!(ids, ["rbac", "deployment", "arguments", "pods", "logs"]);
        let shown = |check: &Check| {
            let hint = check.hint.as_deref().unwrap_or("nothing");
            let hint = hint.replace(" --cluster demo --region us-west-2 --namespace dns --name external-dns", "");
            format!("{} {}: {} | {hint}", check.status.as_str(), check.id, check.message)
        };
        checks.iter().filter(|check| check.status != Status::Pass).map(shown).collect()
    }

    #[test]
    fn a_healthy_installation_has_nothing_to_look_at() {
        for version in ["v0.18.0", "v0.20.0", "v0.21.0", "v0.22.0", "v0.23.0"] {
            assert_eq!(found(&workload(version, &[], &[])), [""; 0], "{version}");
        }
    }

    #[test]
    fn versions_fit_the_cluster_and_the_tables() {
        for version in ["v0.14.0", "v0.17.0"] {
            let mut old = workload(version, &[], &[]);
            old.minor = Some(32);
            assert_eq!(found(&old), [""; 0], "{version}");
            old.minor = Some(33);
            let [check] = &found(&old)[..] else { panic!("{:?}", found(&old)) };
            assert!(
                check.starts_with(&format!("fail deployment: ExternalDNS {version} does not run on Kubernetes 1.33"))
            );
            assert!(check.ends_with("| irsactl install external-dns --approve"), "{check}");
        }
        let newer = found(&workload("v0.24.1", &["--flag-of-tomorrow"], &[]));
        assert_eq!(newer.len(), 1, "{newer:?}");
        assert!(newer[0].starts_with("warn deployment: ExternalDNS v0.24.1 is newer"), "{newer:?}");
    }

    #[test]
    fn nothing_is_said_of_what_is_not_there() {
        let mut gone = workload("v0.23.0", &[], &[]);
        (gone.deployment, gone.installed) = (Ok(None), None);
        (gone.pods, gone.log) = (Ok(Vec::new()), Ok(None));
        let status: Vec<_> = gone.checks(&[]).iter().map(|check| check.status).collect();
        assert_eq!(status, [Status::Skip, Status::Fail, Status::Skip, Status::Skip, Status::Skip]);
        let chain = || vec![Check::fail(ids::ROLE, "none"), Check::pass(ids::OIDC_PROVIDER, "there")];
        assert_eq!(gone.unless_elsewhere(chain()), chain());

        gone.others = vec![("kube-system".to_owned(), "dns".to_owned())];
        let hint = gone.checks(&[])[1].hint.clone().unwrap();
        assert!(hint.starts_with("irsactl verify") && hint.ends_with("--namespace kube-system --name dns"), "{hint}");
        assert_eq!(gone.unless_elsewhere(chain())[0].status, Status::Skip);
        // It was here, too.
        gone.role = vec!["--least-privilege".to_owned()];
        assert!(gone.checks(&[])[1].hint.as_deref().unwrap().ends_with("--least-privilege"));
        assert_eq!(gone.unless_elsewhere(chain()), chain());

        let mut unreadable = workload("v0.23.0", &[], &[]);
        unreadable.rights = Err("the caller may not create subjectaccessreviews".to_owned());
        unreadable.log = Err("the caller may not get pods/log".to_owned());
        let found = found(&unreadable);
        assert!(found.len() == 2 && found.iter().all(|check| check.starts_with("skip")), "{found:?}");
    }

    #[test]
    fn the_end_of_the_log_counts() {
        let throttled = "level=error msg=\"Failed to do run once: soft error: Throttling: Rate exceeded\"";
        let denied = "level=error msg=\"assumed-role/dns/1 is not authorized to perform: route53:ListHostedZones\"";
        let token = "open /var/run/secrets/eks.amazonaws.com/serviceaccount/token: permission denied";
        let region = "Could not find canonical hosted zone for domain x.elb.ap-east-2.amazonaws.com. This may be";
        let again = "level=error msg=\"Failed to do run once: soft error (consecutive soft errors: 7)\"";
        let install = "irsactl install external-dns";
        for (version, log, expected) in [
            ("v0.23.0", &[throttled][..], "warn logs: Route53 throttles".to_owned()),
            ("v0.23.0", &[throttled, throttled, throttled], "fail logs: Route53 throttles".to_owned()),
            ("v0.23.0", &[denied], "fail logs: the role lacks route53:ListHostedZones".to_owned()),
            ("v0.23.0", &[denied, HEALTHY], String::new()),
            ("v0.23.0", &[denied, again, again], format!("| {install} --approve")),
            ("v0.23.0", &[again, again], "fail logs: 7 synchronisations in a row failed".to_owned()),
            ("v0.23.0", &[token], "fail logs: the process can't read its ServiceAccount token".to_owned()),
            // Said in every round, before its success.
            ("v0.21.0", &[region, HEALTHY], "warn logs: this version doesn't know the region".to_owned()),
            ("v0.21.0", &[region, HEALTHY], format!("| {install} --approve")),
            ("v0.23.0", &[region, HEALTHY], "| nothing".to_owned()),
            ("v0.23.0", &[region, HEALTHY, HEALTHY], String::new()),
        ] {
            let found = found(&workload(version, &[], log)).join("\n");
            assert!(found.contains(&expected) && found.is_empty() == expected.is_empty(), "{log:?}: {found}");
        }
        let mut young = workload("v0.23.0", &[], &[]);
        young.log = Ok(Some("level=info msg=\"Created Kubernetes client\"".to_owned()));
        let wait = "irsactl verify external-dns --wait --strict --timeout 5m";
        assert_eq!(found(&young), [format!("warn logs: it hasn't synchronised yet | {wait}")]);
    }

    #[test]
    fn a_log_that_keeps_success_back_proves_nothing() {
        let quiet = |log: &[&str]| {
            let mut quiet = workload("v0.23.0", &["--log-level=error"], &[]);
            quiet.log = Ok(Some(log.join("\n")));
            found(&quiet)
        };
        assert!(quiet(&[])[0].starts_with("skip logs: its log level"));
        let unsure = quiet(&["level=error msg=\"Throttling\"", "level=error msg=\"dial tcp sts.amazonaws.com\""]);
        assert!(
            unsure[0].starts_with("warn logs: ") && unsure[0].contains("keeps back whether that is over"),
            "{unsure:?}"
        );
        let variable = |variable: serde_json::Value| {
            let mut quiet = workload("v0.23.0", &["--log-level=info"], &[]);
            let mut deployment = quiet.deployment.clone().unwrap().unwrap();
            let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
            container["args"].as_array_mut().unwrap().retain(|word| word != "--log-level=info");
            container["env"] = json!([variable]);
            quiet.installed = Installed::from_deployment(&deployment);
            quiet.log = Ok(Some(String::new()));
            found(&quiet).pop().unwrap()
        };
        let name = "EXTERNAL_DNS_LOG_LEVEL";
        assert!(variable(json!({"name": name, "value": "error"})).starts_with("skip logs: its log level"));
        let from = json!({"configMapKeyRef": {"name": "dns", "key": "level"}});
        assert!(variable(json!({"name": name, "valueFrom": from})).starts_with("skip logs: its log level"));
        assert!(variable(json!({"name": name, "value": "debug"})).starts_with("warn logs: it hasn't synchronised"));
        let dry = found(&workload("v0.23.0", &["--dry-run"], &[]));
        assert_eq!(dry[0], "fail arguments: --dry-run: no record is changed | irsactl install external-dns --approve");
    }

    #[test]
    fn pods_that_were_restarted_or_are_refused_are_told() {
        let last =
            json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-02T03:04:05Z"}});
        let status = json!({"conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "c", "ready": true, "restartCount": 3, "lastState": last}]});
        let mut restarted = workload("v0.23.0", &[], &[]);
        restarted.pods = Ok(vec![json!({"metadata": {"name": "p"}, "status": status})]);
        let message = "pod p was restarted 3 times, last after exit code 137 (OOMKilled) at 2026-01-02T03:04:05Z";
        let hint = "kubectl --namespace dns logs deployment/external-dns --previous";
        assert_eq!(found(&restarted), [format!("warn pods: {message} | {hint}")]);

        let mut evicted = workload("v0.23.0", &[], &[]);
        let ended = json!({"metadata": {"name": "old"}, "status": {"phase": "Failed", "reason": "Evicted",
            "containerStatuses": [{"name": "c", "restartCount": 2}]}});
        let healthy = evicted.pods.clone().unwrap();
        evicted.pods = Ok([vec![ended.clone()], healthy].concat());
        assert_eq!(found(&evicted), [""; 0]);
        evicted.pods = Ok(vec![ended]);
        assert!(found(&evicted)[0].starts_with("fail pods: pod old "), "{:?}", found(&evicted));

        let mut refused = workload("v0.23.0", &[], &[]);
        refused.pods = Ok(Vec::new());
        if let Ok(Some(deployment)) = &mut refused.deployment {
            let message =
                "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0";
            let failure = json!({"type": "ReplicaFailure", "status": "True", "message": message});
            deployment["status"]["conditions"] = json!([failure]);
        }
        let found = found(&refused);
        assert!(found[0].starts_with("fail deployment: ") && found[0].contains("exceeded quota"), "{found:?}");
        assert!(found[0].ends_with("| kubectl --namespace dns describe resourcequota"), "{found:?}");
        assert!(found[1].starts_with("skip pods: follows from deployment"), "{found:?}");
    }
}
