//! An installation of ExternalDNS: policy, role and ServiceAccount, RBAC and Deployment.

pub mod guards;
pub mod records;

use serde_json::Value;

use super::diff::Change;
use super::iamserviceaccount::{self as entry, label, reason, refuse_conflicts};
use super::{Action, Op, Plan, Proof, RoleSource, Step, StepId, policy};
use crate::aws::iam::Policy;
use crate::error::{Error, ErrorCode, Result};
use crate::externaldns::manifest;
use crate::externaldns::patch;
use crate::externaldns::secret;
use crate::externaldns::settings::Settings;
use crate::k8s::diff::{FieldChange, differences};
use crate::k8s::{FIELD_MANAGER, Kind, is_ending};
use crate::verify::Look;

/// An installation as it should be.
#[derive(Clone, Debug)]
pub struct Desired {
    /// What ExternalDNS is told.
    pub settings: Settings,
    /// Partial objects that are merged into the manifest.
    pub patches: Vec<Value>,
    /// The policy, unless others bring one.
    pub policy: Option<policy::Desired>,
    /// Role and ServiceAccount.
    pub entry: entry::Desired,
    /// Take over a Deployment that others made.
    pub adopt: bool,
    /// Take fields over from other field managers.
    pub force: bool,
}

/// What was found in AWS and in the cluster.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The policy.
    pub policy: Option<Policy>,
    /// To whom else the policy is attached, or why that can't be read.
    pub policy_users: Look<Vec<String>>,
    /// Stack, role, namespace and ServiceAccount.
    pub entry: entry::Observed,
    /// The cluster's objects; none with `--aws-only`.
    pub objects: Option<Objects>,
}

/// What was found in the cluster.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// The ClusterRole of that name.
    pub cluster_role: Option<Value>,
    /// The ClusterRoleBinding of that name.
    pub cluster_role_binding: Option<Value>,
    /// The Deployment of that namespace and name.
    pub deployment: Option<Value>,
    /// Every Deployment of ExternalDNS in the cluster.
    pub installations: Vec<Value>,
    /// The pods of the namespace.
    pub pods: Vec<Value>,
}

/// Adds the steps of an installation; those of the provider are there already.
///
/// # Errors
/// Where something of others is in the way.
pub fn add(plan: &mut Plan, desired: &Desired, observed: &Observed, provider: StepId) -> Result<()> {
    let mut needs = Vec::new();
    if let Some(policy) = &desired.policy {
        let step = policy::step(policy, observed.policy.as_ref(), &observed.policy_users)?;
        needs.push(plan.push(step));
        plan.outputs.policy_arn = Some(policy.arn.clone());
    }
    let entry = entry::add(plan, &desired.entry, &observed.entry, &needs)?;
    let Some(objects) = &observed.objects else { return Ok(()) };
    let rendered = rendered(desired, objects)?;
    let mut before: Vec<_> = [provider].into_iter().chain(needs).chain(entry.aws.clone()).collect();
    before.extend(entry.service_account);
    let step = |kind, live: &Option<Value>| object_step(desired, kind, live.as_ref(), find(&rendered, kind)?);
    let role = plan.push(step(&Kind::CLUSTER_ROLE, &objects.cluster_role)?);
    // Who may not bind everything may bind only a role that is there.
    let binding = plan.push(step(&Kind::CLUSTER_ROLE_BINDING, &objects.cluster_role_binding)?.after([role]));
    before.extend([role, binding]);
    let deployment = find(&rendered, &Kind::DEPLOYMENT)?;
    let mended = before.iter().any(|&id| plan.is_change(id));
    let step = deployment_step(desired, objects, deployment, &entry.role, mended)?;
    plan.push(step.after(before));
    Ok(())
}

/// The manifest with patches, and with the selector of a Deployment that is there: it can't be changed.
fn rendered(desired: &Desired, objects: &Objects) -> Result<Vec<Value>> {
    let internal = |e: String| Error::new(ErrorCode::Internal, format!("rendering the manifest: {e}"));
    let mut rendered = manifest::objects(&desired.settings, None, false, false).map_err(internal)?;
    patch::apply(&mut rendered, &desired.patches).map_err(|e| Error::usage(format!("--patch: {e}")))?;
    if let Some(live) = &objects.deployment {
        manifest::adopt(&mut rendered, live);
    }
    Ok(rendered)
}

fn find<'a>(objects: &'a [Value], kind: &Kind) -> Result<&'a Value> {
    let missing = || Error::new(ErrorCode::Internal, format!("the manifest has no {}", kind.kind));
    objects.iter().find(|object| object["kind"] == kind.kind).ok_or_else(missing)
}

/// `namespace/name`, or the name alone.
pub fn full_name(object: &Value) -> String {
    let text = |path| object.pointer(path).and_then(Value::as_str);
    let name = text("/metadata/name").unwrap_or_default();
    text("/metadata/namespace").map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

/// Brings one object of ours to what is rendered.
fn object_step(desired: &Desired, kind: &Kind, live: Option<&Value>, object: &Value) -> Result<Step> {
    let name = full_name(object);
    let op = Op::Apply { object: object.clone(), role: None };
    let Some(live) = live else {
        return Ok(Step::new(Action::Create, kind.kind, name, op).because("it doesn't exist"));
    };
    match compare(desired, kind, &name, live, object)? {
        None => Ok(Step::unchanged(kind.kind, name)),
        Some(step) => Ok(Step { op, ..step }),
    }
}

/// The step that an existing object needs, without its op.
fn compare(desired: &Desired, kind: &Kind, name: &str, live: &Value, object: &Value) -> Result<Option<Step>> {
    guards::ours(kind, live, desired.adopt)?;
    let ours = guards::is_ours(live);
    let fields = differences(live, object, FIELD_MANAGER);
    if fields.is_empty() {
        return Ok(None);
    }
    if !desired.force && !desired.adopt {
        refuse_conflicts(kind.kind, name, live, object)?;
    }
    let why = if ours { reason(&fields, "it differs from what is asked for") } else { "it is taken over".to_owned() };
    let shown = |field: &str, value: Option<Value>| value.map(|value| secret::shown(field, &value));
    let diff = fields.into_iter().map(|FieldChange { field, change: Change { path, before, after }, .. }| {
        Change::new(path, shown(&field, before), shown(&field, after))
    });
    let diff = diff.collect();
    Ok(Some(Step::new(Action::Update, kind.kind, name, Op::None).because(why).with_diff(diff)))
}

/// `mended` is true where something that the pods need changes.
fn deployment_step(
    desired: &Desired,
    objects: &Objects,
    object: &Value,
    role: &RoleSource,
    mended: bool,
) -> Result<Step> {
    let name = full_name(object);
    let proof = (desired.settings.replicas > 0).then(|| proof(&desired.settings, role));
    let before = objects.deployment.as_ref().map(|live| manifest::takeover_patch(live, object)).unwrap_or_default();
    let apply = Op::ApplyDeployment { object: object.clone(), before, proof: proof.clone() };
    let Some(live) = &objects.deployment else {
        let why = format!("ExternalDNS {} isn't installed", desired.settings.version);
        return Ok(Step::new(Action::Create, "Deployment", name, apply).because(why));
    };
    if let Some(step) = compare(desired, &Kind::DEPLOYMENT, &name, live, object)? {
        return Ok(Step { op: apply, ..step });
    }
    let why = restart_reason(live, &objects.pods, role, mended).filter(|_| desired.settings.replicas > 0);
    let Some(why) = why else {
        return Ok(Step::unchanged("Deployment", name));
    };
    let (namespace, name_only) = (desired.settings.namespace.clone(), desired.settings.name.clone());
    let op = Op::Restart { namespace, name: name_only, proof };
    Ok(Step::new(Action::Update, "Deployment", name, op).because(why))
}

/// The test of the role of an installation.
pub fn proof(settings: &Settings, role: &RoleSource) -> Proof {
    Proof {
        namespace: settings.namespace.clone(),
        service_account: settings.name.clone(),
        role: role.clone(),
        assume: settings.assume_role.clone().map(|role| (role, settings.assume_role_external_id.clone())),
    }
}

/// Pods get their role when they are made; those from before must be made anew. Those that keep ending would wait for
/// minutes before they find out that what they lacked is mended.
fn restart_reason(live: &Value, pods: &[Value], role: &RoleSource, mended: bool) -> Option<&'static str> {
    let RoleSource::Known(arn) = role else { return Some("its pods must be restarted to get the new role") };
    let own = |pod: &&Value| belongs_to(pod, live) && !is_ending(pod);
    if pods.iter().filter(own).any(|pod| injected_role(pod) != Some(arn)) {
        return Some("its pods run without the role: they are restarted");
    }
    if mended && pods.iter().filter(own).any(has_ended) {
        return Some("its pods ended for want of what is mended: they are restarted");
    }
    // An earlier run may have mended it.
    let waits = pods.iter().filter(own).any(waits_to_start_again);
    waits.then_some("its pods keep ending, and wait for minutes before another try: they are restarted")
}

fn container_statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    pod.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten()
}

/// True where a container of the pod had to be started again.
fn has_ended(pod: &Value) -> bool {
    container_statuses(pod).any(|status| status["restartCount"].as_u64() > Some(0))
}

/// True where the kubelet holds a container back that ended again and again.
fn waits_to_start_again(pod: &Value) -> bool {
    container_statuses(pod).any(|status| status["state"]["waiting"]["reason"] == "CrashLoopBackOff")
}

/// True where the labels of the pod are those that the Deployment selects.
pub fn belongs_to(pod: &Value, deployment: &Value) -> bool {
    let selector = deployment.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    selector.is_some_and(|labels| labels.iter().all(|(key, value)| label(pod, key) == value.as_str()))
}

/// The role that the pod identity webhook gave to a pod.
pub fn injected_role(pod: &Value) -> Option<&str> {
    let containers = pod.pointer("/spec/containers")?.as_array()?;
    let env = containers.iter().filter_map(|container| container.get("env")?.as_array()).flatten();
    env.into_iter().find(|variable| variable["name"] == "AWS_ROLE_ARN")?.get("value")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_restarted_where_they_would_not_help_themselves() {
        let labels = json!({"app": "dns"});
        let deployment = json!({"spec": {"selector": {"matchLabels": labels}}});
        let pod = |role: &str, restarts: u64| {
            json!({
                "metadata": {"labels": labels},
                "spec": {"containers": [{"env": [{"name": "AWS_ROLE_ARN", "value": role}]}]},
                "status": {"containerStatuses": [{"restartCount": restarts}]},
            })
        };
        let known = RoleSource::Known("r".to_owned());
        let reason = |pod: Value, mended| restart_reason(&deployment, &[pod], &known, mended);
        assert_eq!(reason(pod("r", 0), true), None);
        assert_eq!(reason(pod("r", 3), false), None, "nothing is mended by it");
        assert!(reason(pod("r", 3), true).is_some_and(|why| why.contains("ended")));
        let mut waiting = pod("r", 3);
        waiting["status"]["containerStatuses"][0]["state"] = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        assert!(
            reason(waiting, false).is_some_and(|why| why.contains("keep ending")),
            "an earlier run may have mended it"
        );
        assert!(reason(pod("other", 0), false).is_some_and(|why| why.contains("without the role")));
        assert_eq!(reason(json!({"metadata": {"labels": {"app": "web"}}}), true), None, "it is another's");
        let new = RoleSource::Stack("s".to_owned());
        assert!(restart_reason(&deployment, &[], &new, false).is_some_and(|why| why.contains("new role")));
    }
}
