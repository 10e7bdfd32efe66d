//! How the API understands lists, maps and missing values of the kinds that irsactl writes.

use serde_json::{Map, Value};

use super::quantity;

/// Where a value is: its own field and the one around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) parent: &'a str,
    pub(super) field: &'a str,
}

/// The fields by which the items of a list are told apart; none for lists that are one value.
pub(super) fn list_keys(field: &str, item: &Value) -> Option<&'static [&'static str]> {
    match field {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" | "secrets" => Some(&["name"]),
        "volumeMounts" => Some(&["mountPath"]),
        "ports" if item.get("containerPort").is_some() => Some(&["containerPort", "protocol"]),
        "ports" if item.get("port").is_some() => Some(&["port", "protocol"]),
        "hostAliases" => Some(&["ip"]),
        "topologySpreadConstraints" => Some(&["topologyKey", "whenUnsatisfiable"]),
        "ownerReferences" => Some(&["uid"]),
        _ => None,
    }
}

/// The keys of a list's item, with the API's default where it leaves one out.
pub(super) fn keys_of(field: &str, item: &Value) -> Option<Map<String, Value>> {
    let keys = list_keys(field, item)?;
    let value = |key: &str| match item.get(key) {
        None if key == "protocol" => Some(Value::from("TCP")),
        value => value.cloned(),
    };
    keys.iter().map(|key| Some(((*key).to_owned(), value(key)?))).collect()
}

/// True for objects that have one manager as a whole.
pub(super) fn is_atomic(place: Place<'_>) -> bool {
    let atomic = [
        "configMapKeyRef",
        "fieldRef",
        "labelSelector",
        "nodeSelector",
        "resourceFieldRef",
        "roleRef",
        "secretKeyRef",
        "selector",
    ];
    atomic.contains(&place.field)
}

/// True where the API doesn't tell `value` from an absent one.
pub(super) fn is_nothing(field: &str, value: &Value) -> bool {
    let maps = ["annotations", "labels", "limits", "matchLabels", "nodeSelector", "requests"];
    let flags = ["hostIPC", "hostNetwork", "hostPID", "paused", "readOnly", "stdin", "stdinOnce", "tty"];
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty() && maps.contains(&field),
        Value::String(text) => text.is_empty(),
        Value::Bool(flag) => !flag && flags.contains(&field),
        Value::Number(number) => field == "minReadySeconds" && number.as_u64() == Some(0),
    }
}

/// True where both values mean the same as a whole; fields that the server fills in don't count.
pub(super) fn same(place: Place<'_>, live: &Value, desired: &Value) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => same_fields(place, live, desired),
        (Value::Array(live), Value::Array(desired)) if live.len() == desired.len() => {
            if is_set(place.field) {
                desired.iter().all(|item| live.contains(item)) && live.iter().all(|item| desired.contains(item))
            } else {
                live.iter().zip(desired).all(|(live, desired)| same(place, live, desired))
            }
        }
        (live, desired) => live == desired || is_quantity(place) && quantity::equal(live, desired),
    }
}

fn same_fields(place: Place<'_>, live: &Map<String, Value>, desired: &Map<String, Value>) -> bool {
    let filled_in = ["apiGroup", "apiVersion", "defaultMode", "divisor", "expirationSeconds", "protocol"];
    let as_wanted = desired.iter().all(|(field, wanted)| {
        let inner = Place { parent: place.field, field };
        live.get(field).map_or_else(|| is_nothing(field, wanted), |found| same(inner, found, wanted))
    });
    let more = |(field, found): (&String, &Value)| {
        !desired.contains_key(field) && !is_nothing(field, found) && !filled_in.contains(&field.as_str())
    };
    as_wanted && !live.iter().any(more)
}

fn is_set(field: &str) -> bool {
    ["add", "apiGroups", "drop", "finalizers", "nonResourceURLs", "resourceNames", "resources", "verbs"]
        .contains(&field)
}

fn is_quantity(place: Place<'_>) -> bool {
    ["limits", "requests", "hard"].contains(&place.parent) || ["divisor", "sizeLimit"].contains(&place.field)
}
