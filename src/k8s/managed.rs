//! `metadata.managedFields`: who holds which field ("Server-Side Apply", Kubernetes documentation).

use serde_json::{Map, Value};

/// One step from the root of an object to a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// A field of an object.
    Field(String),
    /// The item of a list whose fields have these values.
    Item(Map<String, Value>),
    /// A member of a set.
    Member(Value),
}

/// One entry of `managedFields`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub(super) manager: &'a str,
    pub(super) applies: bool,
    pub(super) subresource: &'a str,
    /// RFC 3339 in UTC, so that texts compare as times.
    pub(super) time: &'a str,
    pub(super) fields: &'a Map<String, Value>,
}

/// The entries of an object.
pub(super) fn owners(object: &Value) -> Vec<Owner<'_>> {
    let entries = object["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().filter_map(owner).collect()
}

fn owner(entry: &Value) -> Option<Owner<'_>> {
    let text = |field: &str| entry[field].as_str().unwrap_or_default();
    Some(Owner {
        manager: text("manager"),
        applies: entry["operation"] == "Apply",
        subresource: text("subresource"),
        time: text("time"),
        fields: entry["fieldsV1"].as_object().filter(|fields| !fields.is_empty())?,
    })
}

impl Owner<'_> {
    /// True where the entry has the field at `path`, or holds something around it as a whole.
    pub(super) fn holds(&self, path: &[Step]) -> bool {
        let mut node = self.fields;
        for step in path {
            if node.is_empty() {
                return true;
            }
            let Some(child) = child(node, step) else { return false };
            node = child;
        }
        true
    }

    /// True for tools that write what they hold in a repository or chart again and again, or on the next upgrade.
    pub(super) fn is_deployer(&self) -> bool {
        let name = self.manager.to_ascii_lowercase();
        let prefixes = ["helm", "argocd", "argo-cd", "flux", "kustomize-controller"];
        prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}

fn child<'a>(node: &'a Map<String, Value>, step: &Step) -> Option<&'a Map<String, Value>> {
    let found = match step {
        Step::Field(name) => node.get(&format!("f:{name}")),
        Step::Item(keys) => node
            .iter()
            .find(|(key, _)| parsed(key, "k:").is_some_and(|found| found.as_object() == Some(keys)))
            .map(second),
        Step::Member(value) => {
            node.iter().find(|(key, _)| parsed(key, "v:").is_some_and(|found| &found == value)).map(second)
        }
    };
    found?.as_object()
}

fn second<'a>((_, value): (&'a String, &'a Value)) -> &'a Value {
    value
}

/// The step that a key of `fieldsV1` stands for; none for `.`, the field itself.
pub(super) fn step(key: &str) -> Option<Step> {
    if let Some(name) = key.strip_prefix("f:") {
        return Some(Step::Field(name.to_owned()));
    }
    if let Some(Value::Object(keys)) = parsed(key, "k:") {
        return Some(Step::Item(keys));
    }
    parsed(key, "v:").map(Step::Member)
}

fn parsed(key: &str, prefix: &str) -> Option<Value> {
    serde_json::from_str(key.strip_prefix(prefix)?).ok()
}
