//! What a `ClusterConfig` must mean: every mistake is found before the first call.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use super::problem::Problem;
use super::schema::{API_VERSION, Iam, KIND, Metadata, ObjectMeta, Root, ServiceAccount, Text};
use super::{ClusterConfig, Entry, merged};
use crate::iam::arn::{check_name, check_policy, check_role};
use crate::iam::policy::PolicyDocument;
use crate::iam::trust::AUDIENCE;
use crate::iam::wellknown::WellKnown;
use crate::names::{
    check_cluster, check_namespace, check_region, check_service_account, check_subject_pattern, is_label_key,
    is_label_value,
};
use crate::plan::iamserviceaccount::{AUDIENCE_ANNOTATION, MANAGED_BY, ROLE_ANNOTATION, TOKEN_EXPIRATION};
use crate::stack::tags::check_user_tags;

/// The value of [`MANAGED_BY`] on a ServiceAccount that irsactl or eksctl made.
const EKSCTL: &str = "eksctl";

type Problems = Vec<Problem>;
type Tags = Vec<(String, String)>;

/// What the file says; it holds only if no problem was added.
pub(super) fn config(file: &str, root: Spanned<Root>, problems: &mut Problems) -> ClusterConfig {
    let (place, root) = (root.referenced, root.value);
    header(place, &root, problems);
    let ours = root.may_be_ours();
    let (name, region, tags) = match root.metadata {
        // Of what isn't a ClusterConfig, nothing more can be said.
        None if !ours => Default::default(),
        metadata => cluster(&metadata.unwrap_or_else(|| Spanned::new(Metadata::default(), place, place)), problems),
    };
    let (with_oidc, service_accounts) = root.iam.map_or((None, None), |iam| iam_section(iam, &tags, problems));
    ClusterConfig { file: file.to_owned(), name, region, tags, with_oidc, service_accounts }
}

fn header(place: Location, root: &Root, problems: &mut Problems) {
    for (key, found, wanted) in [("apiVersion", &root.api_version, API_VERSION), ("kind", &root.kind, KIND)] {
        match found {
            Some(found) if found.value == wanted => {}
            Some(found) => {
                let text = format!("{key} is `{}`: expected {wanted}", found.value);
                problems.push(Problem::new(found.referenced, text));
            }
            None => problems.push(Problem::new(place, format!("{key} must be set: expected {wanted}"))),
        }
    }
}

fn cluster(metadata: &Spanned<Metadata>, problems: &mut Problems) -> (String, String, Tags) {
    let Spanned { value, referenced: place, .. } = metadata;
    let name = required("metadata.name", *place, value.name.as_ref(), check_cluster, problems);
    let region = required("metadata.region", *place, value.region.as_ref(), check_region, problems);
    (name, region, tags("metadata.tags", value.tags.as_ref(), &[], problems))
}

fn iam_section(iam: Iam, shared: &Tags, problems: &mut Problems) -> (Option<bool>, Option<Vec<Entry>>) {
    let entries = iam.service_accounts.map(|list| {
        let each = list.iter().enumerate().map(|(index, raw)| entry(index, raw, shared, problems));
        let entries: Vec<Entry> = each.collect();
        unique(&list, &entries, problems);
        entries
    });
    let forbidden = iam.with_oidc.as_ref().filter(|with_oidc| !with_oidc.value);
    if let Some(forbidden) = forbidden.filter(|_| entries.as_ref().is_some_and(|entries| !entries.is_empty())) {
        let text = "iam.withOIDC is false, but iam.serviceAccounts need the OIDC provider";
        problems.push(Problem::new(forbidden.referenced, text).hint("set iam.withOIDC to true, or leave it out"));
    }
    (iam.with_oidc.map(|value| value.value), entries)
}

/// No two entries may be for one service account, nor make roles of one name. Stacks of one name
/// are told apart when they are made.
fn unique(raw: &[Spanned<ServiceAccount>], entries: &[Entry], problems: &mut Problems) {
    let mut identities = HashMap::new();
    let mut roles = HashMap::new();
    for (index, (raw, entry)) in raw.iter().zip(entries).enumerate() {
        let identity = entry.identity();
        if let Some(first) = identities.insert(identity.clone(), index).filter(|_| !entry.name.is_empty()) {
            let text = format!(
                "<namespace>/<name> of iam.serviceAccounts[{index}] \"{identity}\" is not unique: \
                 iam.serviceAccounts[{first}] in line {} is the same",
                entries[first].place.line
            );
            problems.push(Problem::new(raw.referenced, text));
        }
        let Some(name) = &raw.value.role_name else { continue };
        // "Role names are not distinguished by case" (CreateRole, IAM API Reference).
        if let Some(first) = roles.insert(name.value.to_lowercase(), index) {
            let text = format!(
                "iam.serviceAccounts[{index}].roleName: iam.serviceAccounts[{first}] has a role of this name, too"
            );
            problems.push(Problem::new(name.referenced, text));
        }
    }
}

fn entry(index: usize, raw: &Spanned<ServiceAccount>, shared: &Tags, problems: &mut Problems) -> Entry {
    let path = format!("iam.serviceAccounts[{index}]");
    let (place, raw) = (raw.referenced, &raw.value);
    let (namespace, name, labels, annotations) = object_meta(&path, place, raw.metadata.as_ref(), problems);
    let mut text = |key: &str, found: Option<&Text>, check: fn(&str) -> Result<(), String>| {
        found.map(|found| checked(&format!("{path}.{key}"), found, check, problems))
    };
    let entry = Entry {
        namespace,
        name,
        labels,
        annotations,
        role_arn: text("attachRoleARN", raw.attach_role_arn.as_ref(), check_role),
        boundary: text("permissionsBoundary", raw.permissions_boundary.as_ref(), check_policy),
        role_name: text("roleName", raw.role_name.as_ref(), |name| check_name("role", name, 64)),
        subject_pattern: text("subjectPattern", raw.subject_pattern.as_ref(), check_subject_pattern),
        managed_policies: managed_policies(&path, raw, problems),
        well_known: well_known(raw),
        inline: inline(&path, raw, problems),
        role_only: raw.role_only.unwrap_or_default(),
        tags: tags(&format!("{path}.tags"), raw.tags.as_ref(), shared, problems),
        place: place.into(),
    };
    permissions(&path, place, &entry, problems);
    if let Err(problem) = entry.check_owner() {
        problems.push(Problem::new(place, format!("{path}.metadata: {problem}")));
    }
    entry
}

type ObjectNames = (String, String, BTreeMap<String, String>, BTreeMap<String, String>);

fn object_meta(
    path: &str,
    place: Location,
    metadata: Option<&Spanned<ObjectMeta>>,
    problems: &mut Problems,
) -> ObjectNames {
    let path = format!("{path}.metadata");
    let none = Spanned::new(ObjectMeta::default(), place, place);
    let Spanned { value, referenced: place, .. } = metadata.unwrap_or(&none);
    let name = required(&format!("{path}.name"), *place, value.name.as_ref(), check_service_account, problems);
    let namespace = value.namespace.as_ref().filter(|namespace| !namespace.value.is_empty());
    let namespace = namespace.map(|found| checked(&format!("{path}.namespace"), found, check_namespace, problems));
    let labels = pairs(&format!("{path}.labels"), value.labels.as_ref(), check_label, problems);
    let annotations = pairs(&format!("{path}.annotations"), value.annotations.as_ref(), check_annotation, problems);
    (namespace.unwrap_or_else(|| "default".to_owned()), name, labels, annotations)
}

fn pairs(
    path: &str,
    found: Option<&BTreeMap<String, Text>>,
    check: fn(&str, &str) -> Result<(), String>,
    problems: &mut Problems,
) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    for (key, value) in found.into_iter().flatten() {
        if let Err(problem) = check(key, &value.value) {
            problems.push(Problem::new(value.referenced, format!("{path}: {problem}")));
        }
        pairs.insert(key.clone(), value.value.clone());
    }
    pairs
}

/// Checks a label of a ServiceAccount ("Labels and Selectors", Kubernetes documentation).
///
/// # Errors
/// Says what was expected, or that the label is ours.
pub fn check_label(key: &str, value: &str) -> Result<(), String> {
    if !is_label_key(key) || !is_label_value(value) {
        return Err(format!(
            "`{key}: {value}` is not a label: expected [prefix/]name and a value, of at most 63 of A-Z a-z 0-9 - _ ."
        ));
    }
    if key == MANAGED_BY && value != EKSCTL {
        return Err(format!("`{key}` is {EKSCTL} on every ServiceAccount that is made here"));
    }
    Ok(())
}

/// Checks an annotation of a ServiceAccount ("Annotations", Kubernetes documentation); its value may be anything.
///
/// # Errors
/// Says what was expected, or that the annotation is ours.
pub fn check_annotation(key: &str, value: &str) -> Result<(), String> {
    if key == AUDIENCE_ANNOTATION && value != AUDIENCE {
        return Err(format!("`{key}` must be {AUDIENCE}: STS takes no other tokens"));
    }
    check_token_expiration(key, value)?;
    if key == ROLE_ANNOTATION {
        return Err(format!(
            "`{key}` is set by irsactl; --attach-role-arn, in a file attachRoleARN, names a role of yours"
        ));
    }
    is_label_key(key).then_some(()).ok_or_else(|| format!("`{key}` is not the key of an annotation: [prefix/]name"))
}

/// The webhook hands on any number (amazon-eks-pod-identity-webhook), and EKS issues tokens for a day at most.
///
/// # Errors
/// Where an annotation asks for a token of another lifetime than 600 to 86400 seconds.
pub fn check_token_expiration(key: &str, value: &str) -> Result<(), String> {
    let seconds = value.parse::<u32>();
    if key == TOKEN_EXPIRATION && !seconds.is_ok_and(|seconds| (600..=86400).contains(&seconds)) {
        return Err(format!("`{key}` is {value}: expected seconds, 600 to 86400"));
    }
    Ok(())
}

fn managed_policies(path: &str, raw: &ServiceAccount, problems: &mut Problems) -> Option<Vec<String>> {
    let arns = raw.attach_policy_arns.as_ref()?.iter().enumerate();
    let checked = arns.map(|(i, arn)| checked(&format!("{path}.attachPolicyARNs[{i}]"), arn, check_policy, problems));
    Some(checked.collect())
}

fn well_known(raw: &ServiceAccount) -> Option<Vec<WellKnown>> {
    let wanted = raw.well_known_policies.as_ref()?.iter().filter(|(_, wanted)| **wanted == Some(true));
    Some(wanted.map(|(known, _)| *known).collect())
}

fn inline(path: &str, raw: &ServiceAccount, problems: &mut Problems) -> Option<PolicyDocument> {
    let found = raw.attach_policy.as_ref()?;
    if let Err(problem) = policy(found) {
        problems.push(problem.within(&format!("{path}.attachPolicy")));
    }
    Some(PolicyDocument(found.value.clone()))
}

/// The document of an inline policy.
pub(super) fn policy(found: &Spanned<Value>) -> Result<PolicyDocument, Problem> {
    let document = PolicyDocument(found.value.clone());
    document.check().map_err(|problem| Problem::new(found.referenced, problem))?;
    Ok(document)
}

/// The partial objects of a patch.
pub(super) fn patch(found: &[Spanned<Value>]) -> Result<Vec<Value>, Problem> {
    const HINT: &str = "begin with kind: Deployment, or another kind that is rendered: a patch is a partial object";
    // Kinds are names of types ("API conventions", Kubernetes).
    let is_kind = |kind: &str| (1..=63).contains(&kind.len()) && kind.chars().all(|c| c.is_ascii_alphanumeric());
    let has_kind = |value: &Value| value.get("kind").and_then(Value::as_str).is_some_and(is_kind);
    if let Some(other) = found.iter().find(|document| !has_kind(&document.value)) {
        return Err(Problem::new(other.referenced, "this document has no kind").hint(HINT));
    }
    if found.is_empty() {
        return Err(Problem::nowhere("it is empty").hint(HINT));
    }
    Ok(found.iter().map(|document| document.value.clone()).collect())
}

/// Permissions come from policies, or from a role that is used as it is.
fn permissions(path: &str, place: Location, entry: &Entry, problems: &mut Problems) {
    let policies = [
        ("attachPolicyARNs", entry.managed_policies.as_ref().is_some_and(|arns| !arns.is_empty())),
        ("wellKnownPolicies", entry.well_known.as_ref().is_some_and(|known| !known.is_empty())),
        ("attachPolicy", entry.inline.is_some()),
    ];
    if entry.role_arn.is_none() {
        if policies.iter().all(|(_, set)| !set) {
            let text = format!(
                "{path} gives no permissions: set attachPolicyARNs, wellKnownPolicies, attachPolicy or attachRoleARN"
            );
            problems.push(Problem::new(place, text));
        }
        return;
    }
    let more = [
        ("permissionsBoundary", entry.boundary.is_some()),
        ("roleName", entry.role_name.is_some()),
        ("roleOnly", entry.role_only),
        ("subjectPattern", entry.subject_pattern.is_some()),
        ("tags", !entry.tags.is_empty()),
    ];
    let beside: Vec<&str> = policies.into_iter().chain(more).filter(|(_, set)| *set).map(|(key, _)| key).collect();
    if !beside.is_empty() {
        let text = format!(
            "{path}.attachRoleARN excludes {}: that role is used as it is, and none is made",
            beside.join(", ")
        );
        problems.push(Problem::new(place, text));
    }
}

fn tags(
    path: &str,
    found: Option<&Spanned<BTreeMap<String, String>>>,
    shared: &[(String, String)],
    problems: &mut Problems,
) -> Tags {
    let Some(found) = found else { return Vec::new() };
    let tags: Tags = found.value.clone().into_iter().collect();
    // What is wrong with the shared ones is told once.
    let together = if check_user_tags(shared).is_ok() { merged(shared, &tags) } else { tags.clone() };
    if let Err(problem) = check_user_tags(&together) {
        problems.push(Problem::new(found.referenced, format!("{path}: {problem}")));
    }
    tags
}

fn required(
    path: &str,
    place: Location,
    found: Option<&Text>,
    check: fn(&str) -> Result<(), String>,
    problems: &mut Problems,
) -> String {
    if let Some(found) = found.filter(|found| !found.value.is_empty()) {
        return checked(path, found, check, problems);
    }
    let place = found.map_or(place, |found| found.referenced);
    problems.push(Problem::new(place, format!("{path} must be set")));
    String::new()
}

fn checked(path: &str, found: &Text, check: fn(&str) -> Result<(), String>, problems: &mut Problems) -> String {
    if let Err(problem) = check(&found.value) {
        problems.push(Problem::new(found.referenced, format!("{path}: {problem}")));
    }
    found.value.clone()
}
