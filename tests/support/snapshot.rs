//! Everything that matters in both APIs, so that two ends can be compared.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudformation::types::{Capability, StackStatus};
use aws_sdk_route53::types::{ResourceRecord, ResourceRecordSet};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::Sandbox;
use super::aws::{PUBLIC_ZONE, wait};

/// Kinds that irsactl touches, and what controllers make of them.
const COLLECTIONS: [&str; 8] = [
    "/api/v1/namespaces",
    "/api/v1/serviceaccounts",
    "/api/v1/pods",
    "/apis/apps/v1/deployments",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/rbac.authorization.k8s.io/v1/roles",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings",
];

/// What is new each time.
const GENERATED: [&str; 5] = ["uid", "resourceVersion", "creationTimestamp", "generation", "selfLink"];

impl Sandbox {
    /// All roles, policies, providers, stacks and records, and all objects of the kinds that irsactl makes, field
    /// managers included: each value with the way to it, without what is made anew each time (ids, times).
    pub fn snapshot(&self) -> Snapshot {
        let (iam, cloudformation) = (self.iam(), self.cloudformation());
        let route53 = aws_sdk_route53::Client::new(&self.aws());
        let mut all = wait(async {
            json!({
                "roles": roles(&iam).await,
                "policies": policies(&iam).await,
                "providers": providers(&iam).await,
                "stacks": stacks(&cloudformation).await,
                "records": records(&route53).await,
            })
        });
        for collection in COLLECTIONS {
            let items = self.object(collection)["items"].as_array().unwrap().clone();
            let of_interest = items.into_iter().filter(is_of_interest);
            let objects: BTreeMap<_, _> = of_interest.map(|object| (name(&object), essence(object))).collect();
            all[collection] = json!(objects);
        }
        let mut lines = Snapshot::new();
        flatten("", &all, self.fact("issuer").rsplit('/').next().unwrap(), &mut lines);
        lines
    }
}

/// What is there, a line for each value.
pub type Snapshot = BTreeSet<String>;

fn flatten(path: &str, value: &Value, issuer: &str, lines: &mut Snapshot) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(key, value)| flatten(&format!("{path} {key}"), value, issuer, lines));
        }
        Value::Array(items) if !items.is_empty() => {
            let items = items.iter().enumerate();
            items.for_each(|(index, value)| flatten(&format!("{path} {index}"), value, issuer, lines));
        }
        value => drop(lines.insert(without_suffixes(&format!("{path}: {value}").replace(issuer, "ISSUER")))),
    }
}

/// What is in one of two snapshots only.
pub fn differences(wanted: &Snapshot, found: &Snapshot) -> Vec<String> {
    let lost = wanted.difference(found).map(|line| format!("-{line}"));
    lost.chain(found.difference(wanted).map(|line| format!("+{line}"))).collect()
}

async fn roles(iam: &aws_sdk_iam::Client) -> Value {
    let mut roles = Map::new();
    for role in iam.list_roles().send().await.unwrap().roles {
        let name = role.role_name();
        let role = iam.get_role().role_name(name).send().await.unwrap().role.unwrap();
        let attached = iam.list_attached_role_policies().role_name(name).send().await.unwrap();
        let mut inline = Map::new();
        for policy in iam.list_role_policies().role_name(name).send().await.unwrap().policy_names {
            let found = iam.get_role_policy().role_name(name).policy_name(&policy).send().await.unwrap();
            inline.insert(policy, document(&found.policy_document));
        }
        let boundary = role.permissions_boundary.as_ref().and_then(|boundary| boundary.permissions_boundary_arn());
        let mut attached: Vec<_> = attached.attached_policies().iter().filter_map(|p| p.policy_arn()).collect();
        attached.sort_unstable();
        let found = json!({
            "path": role.path(),
            "trust": document(role.assume_role_policy_document().unwrap_or_default()),
            "boundary": boundary,
            "attached": attached,
            "inline": inline,
            "tags": iam_tags(role.tags()),
        });
        roles.insert(without_suffixes(name), found);
    }
    Value::Object(roles)
}

async fn policies(iam: &aws_sdk_iam::Client) -> Value {
    let mut policies = Map::new();
    let local = aws_sdk_iam::types::PolicyScopeType::Local;
    for policy in iam.list_policies().scope(local).send().await.unwrap().policies() {
        let arn = policy.arn().unwrap();
        let found = iam.get_policy().policy_arn(arn).send().await.unwrap().policy.unwrap();
        let mut versions = Map::new();
        for version in iam.list_policy_versions().policy_arn(arn).send().await.unwrap().versions() {
            let id = version.version_id().unwrap();
            let version = iam.get_policy_version().policy_arn(arn).version_id(id).send().await.unwrap();
            versions.insert(id.to_owned(), document(version.policy_version.unwrap().document().unwrap()));
        }
        let found = json!({
            "default": found.default_version_id(),
            "attachments": found.attachment_count(),
            "description": found.description(),
            "versions": versions,
            "tags": iam_tags(found.tags()),
        });
        policies.insert(arn.to_owned(), found);
    }
    Value::Object(policies)
}

async fn providers(iam: &aws_sdk_iam::Client) -> Value {
    let mut providers = Map::new();
    let listed = iam.list_open_id_connect_providers().send().await.unwrap();
    for arn in listed.open_id_connect_provider_list().iter().filter_map(|provider| provider.arn()) {
        let found = iam.get_open_id_connect_provider().open_id_connect_provider_arn(arn).send().await.unwrap();
        let found = json!({"url": found.url(), "clients": found.client_id_list(), "tags": iam_tags(found.tags())});
        providers.insert(arn.to_owned(), found);
    }
    Value::Object(providers)
}

async fn stacks(cloudformation: &aws_sdk_cloudformation::Client) -> Value {
    let mut stacks = Map::new();
    for stack in cloudformation.describe_stacks().send().await.unwrap().stacks() {
        let name = stack.stack_name().unwrap();
        let template = cloudformation.get_template().stack_name(name).send().await.unwrap();
        let sets = cloudformation.list_change_sets().stack_name(name).send().await.unwrap();
        let unexecuted = |status: &&str| !status.starts_with("EXECUTE_");
        let sets = sets.summaries().iter().filter_map(|set| Some(set.execution_status()?.as_str()));
        let outputs = stack.outputs().iter().filter_map(|output| Some((output.output_key()?, output.output_value()?)));
        let tags = stack.tags().iter().filter_map(|tag| Some((tag.key()?, tag.value()?)));
        let found = json!({
            "status": stack.stack_status().map(StackStatus::as_str),
            "protected": stack.enable_termination_protection(),
            "role": stack.role_arn(),
            "capabilities": stack.capabilities().iter().map(Capability::as_str).collect::<Vec<_>>(),
            "outputs": outputs.collect::<BTreeMap<_, _>>(),
            "tags": tags.collect::<BTreeMap<_, _>>(),
            "template": serde_json::from_str::<Value>(template.template_body().unwrap()).unwrap(),
            "change sets that were never executed": sets.filter(unexecuted).count(),
        });
        stacks.insert(name.to_owned(), found);
    }
    Value::Object(stacks)
}

async fn records(route53: &aws_sdk_route53::Client) -> Value {
    let sets = route53.list_resource_record_sets().hosted_zone_id(PUBLIC_ZONE).send().await.unwrap();
    let text = |set: &ResourceRecordSet| {
        let values = set.resource_records().iter().map(ResourceRecord::value).collect::<Vec<_>>();
        format!("{} {} {values:?}", set.name(), set.r#type().as_str())
    };
    json!(sets.resource_record_sets().iter().map(text).collect::<Vec<_>>())
}

fn iam_tags(tags: &[aws_sdk_iam::types::Tag]) -> BTreeMap<&str, &str> {
    // CloudFormation's own has the stack's id.
    let tags = tags.iter().filter(|tag| tag.key() != "aws:cloudformation:stack-id");
    tags.map(|tag| (tag.key(), tag.value())).collect()
}

/// IAM gives documents URL-encoded.
fn document(encoded: &str) -> Value {
    serde_json::from_str(&percent_decode_str(encoded).decode_utf8().unwrap()).unwrap()
}

/// What Kubernetes makes at its start or in its own time is no one's work.
fn is_of_interest(object: &Value) -> bool {
    let metadata = &object["metadata"];
    let ending_pod = metadata["deletionTimestamp"].is_string() && !object["spec"]["containers"].is_null();
    metadata["labels"]["kubernetes.io/bootstrapping"].is_null() && metadata["name"] != "default" && !ending_pod
}

/// Pods have names of their own: they are told by their owner's.
fn name(object: &Value) -> String {
    let metadata = &object["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = match metadata["generateName"].as_str() {
        Some(prefix) => prefix.trim_end_matches('-').rsplit_once('-').unwrap().0.to_owned() + "-*",
        None => text(&metadata["name"]),
    };
    format!("{}/{name}", text(&metadata["namespace"]))
}

fn essence(mut object: Value) -> Value {
    if object["metadata"]["generateName"].is_string() {
        return pod(&object);
    }
    let phase = object["status"]["phase"].clone();
    let fields = object.as_object_mut().unwrap();
    fields.remove("status");
    let metadata = fields["metadata"].as_object_mut().unwrap();
    for generated in GENERATED {
        metadata.remove(generated);
    }
    if let Some(Value::Array(managers)) = metadata.get_mut("managedFields") {
        // Status is the controllers'.
        managers.retain(|manager| manager["subresource"].is_null());
        for manager in managers.iter_mut() {
            manager.as_object_mut().unwrap().remove("time");
        }
        managers.sort_by_key(ToString::to_string);
    }
    object["phase"] = phase;
    object
}

/// Of a pod, what it runs as.
fn pod(pod: &Value) -> Value {
    let container = &pod["spec"]["containers"][0];
    let role = container["env"].as_array().into_iter().flatten().find(|variable| variable["name"] == "AWS_ROLE_ARN");
    json!({
        "phase": pod["status"]["phase"],
        "serviceAccount": pod["spec"]["serviceAccountName"],
        "image": container["image"],
        "args": container["args"],
        "role": role.map(|variable| &variable["value"]),
    })
}

/// Names that CloudFormation makes, without their random end.
fn without_suffixes(text: &str) -> String {
    let mut parts = text.split("-Role1-");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        format!("{text}-Role1-*{rest}")
    })
}
