//! Differences between JSON documents, as people and programs read them.

use serde::Serialize;
use serde_json::Value;

/// One difference. Absent sides are left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// JSON Pointer to the value (RFC 6901).
    pub path: String,
    /// The value found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The value wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl Change {
    /// A difference at `path`.
    pub fn new(path: impl Into<String>, before: Option<Value>, after: Option<Value>) -> Self {
        Self { path: path.into(), before, after }
    }
}

/// All differences from `before` to `after`: objects by key, other values as a whole.
pub fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    walk("", Some(before), Some(after), &mut found);
    found
}

fn walk(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Change>) {
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let removed = old.keys().filter(|key| !new.contains_key(*key));
            for key in new.keys().chain(removed) {
                walk(&format!("{path}/{}", escape(key)), old.get(key), new.get(key), found);
            }
        }
        (old, new) if old == new => {}
        (old, new) => found.push(Change::new(path, old.cloned(), new.cloned())),
    }
}

/// Escapes one token of a JSON Pointer.
pub fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_compared_by_key() {
        let before = json!({"a": {"x/y": 1, "gone": true}, "same": [1]});
        let after = json!({"a": {"x/y": 2}, "same": [1], "new": "n"});
        assert_eq!(
            changes(&before, &after),
            [
                Change::new("/a/x~1y", Some(json!(1)), Some(json!(2))),
                Change::new("/a/gone", Some(json!(true)), None),
                Change::new("/new", None, Some(json!("n"))),
            ]
        );
    }
}
