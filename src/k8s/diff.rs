//! What an apply would change, and who would mind.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::FIELD_MANAGER;
use super::managed::{Owner, Step, owners, step};
use super::schema::{Place, is_atomic, is_nothing, keys_of, same};
use crate::plan::diff::{Change, escape};

/// A field that isn't as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    /// Where, what is there and what should be.
    pub change: Change,
    /// The field as people read it: `spec.template.spec.containers[external-dns].args`.
    pub field: String,
    /// The field manager that made it so, where the object tells.
    pub changed_by: Option<String>,
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What applying `desired` as `manager` changes in `live`: only fields of `desired` are compared, as the API
/// understands them, and fields that `manager` applied earlier and that `desired` no longer has are removed.
pub fn differences(live: &Value, desired: &Value, manager: &str) -> Vec<FieldChange> {
    let owners = owners(live);
    let mut found = compare(live, desired);
    if let Some(ours) =
        owners.iter().find(|owner| owner.applies && owner.manager == manager && owner.subresource.is_empty())
    {
        let others = owners.iter().filter(|owner| owner.subresource != "status" && !std::ptr::eq(*owner, ours));
        let others: Vec<_> = others.copied().collect();
        removals(&Spot::default(), ours.fields, live, Some(desired), &others, &mut found);
    }
    let changed_by = |path: &[Step]| changed_by(path, &owners, manager);
    found
        .into_iter()
        .map(|Found { spot, before, after }| FieldChange {
            changed_by: before.is_some().then(|| changed_by(&spot.path)).flatten(),
            field: spot.field,
            change: Change::new(spot.pointer, before, after),
        })
        .collect()
}

/// What `manager` applied of `live` beyond `desired`: what `desired` lacks or has otherwise, as a partial object that is
/// laid over it; null where that is nothing. Fields that others hold, too, stay without being applied.
pub fn applied_beyond(live: &Value, desired: &Value, manager: &str) -> Value {
    let owners = owners(live);
    let ours = |owner: &&Owner<'_>| owner.applies && owner.manager == manager && owner.subresource.is_empty();
    let (ours, others): (Vec<_>, Vec<_>) =
        owners.iter().filter(|owner| owner.subresource != "status").partition(|owner| ours(owner));
    let Some(ours) = ours.first() else { return Value::Null };
    let others: Vec<_> = others.into_iter().copied().collect();
    let mut found = compare(live, desired);
    found.retain(|found| ours.holds(&found.spot.path));
    removals(&Spot::default(), ours.fields, live, Some(desired), &others, &mut found);
    let mut beyond = Value::Null;
    for Found { spot, before, .. } in found {
        put(&mut beyond, &spot.path, before.unwrap_or_default());
    }
    beyond
}

/// Sets the value at the end of a path, and makes what leads there.
fn put(place: &mut Value, path: &[Step], value: Value) {
    let Some((step, rest)) = path.split_first() else {
        *place = value;
        return;
    };
    match (step, place.take()) {
        (Step::Field(name), fields) => {
            let mut fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
            put(fields.entry(name.clone()).or_insert(Value::Null), rest, value);
            *place = fields.into();
        }
        (step, items) => {
            let mut items = if let Value::Array(items) = items { items } else { Vec::new() };
            let is_it = |item: &Value| match step {
                Step::Item(keys) => keys.iter().all(|(key, value)| item.get(key) == Some(value)),
                Step::Member(member) => item == member,
                Step::Field(_) => false,
            };
            let at = items.iter().position(is_it).unwrap_or_else(|| {
                items.push(if let Step::Item(keys) = step { keys.clone().into() } else { Value::Null });
                items.len() - 1
            });
            put(&mut items[at], rest, value);
            *place = items.into();
        }
    }
}

/// Fields that differ and that somebody holds who would change them back: `(JSON Pointer, manager)`. Those are other
/// appliers, and Helm, Argo CD and Flux however they write.
pub fn conflicting_owners(live: &Value, desired: &Value) -> Vec<(String, String)> {
    let owners = owners(live);
    let strict = |owner: &&Owner<'_>| owner.manager != FIELD_MANAGER && (owner.applies || owner.is_deployer());
    let mut found: Vec<(String, String)> = Vec::new();
    for Found { spot, before, .. } in compare(live, desired) {
        if before.is_none() {
            continue;
        }
        for owner in owners.iter().filter(strict).filter(|owner| owner.holds(&spot.path)) {
            let entry = (spot.pointer.clone(), owner.manager.to_owned());
            if !found.contains(&entry) {
                found.push(entry);
            }
        }
    }
    found
}

/// True where `manager` wrote this field of `object` last, or is among those who applied it.
pub fn is_field_of(object: &Value, fields: &[&str], manager: &str) -> bool {
    let path: Vec<_> = fields.iter().map(|field| Step::Field((*field).to_owned())).collect();
    owners(object).iter().any(|owner| owner.manager == manager && owner.holds(&path))
}

/// The last manager that wrote the field, `Update` before `Apply`.
fn changed_by(path: &[Step], owners: &[Owner<'_>], ours: &str) -> Option<String> {
    let others = owners.iter().filter(|owner| owner.manager != ours && owner.subresource != "status");
    let holders = others.filter(|owner| owner.holds(path));
    holders.max_by_key(|owner| (!owner.applies, owner.time)).map(|owner| owner.manager.to_owned())
}

/// Where a value is, in three notations.
#[derive(Clone, Debug, Default)]
struct Spot {
    path: Vec<Step>,
    pointer: String,
    field: String,
}

impl Spot {
    fn field(&self, name: &str) -> Self {
        let mut inner = self.clone();
        inner.path.push(Step::Field(name.to_owned()));
        inner.pointer.push('/');
        inner.pointer.push_str(&escape(name));
        if name.contains(['.', '/']) {
            let _ = write!(inner.field, "[{name}]");
        } else {
            inner.field.push_str(if self.field.is_empty() { "" } else { "." });
            inner.field.push_str(name);
        }
        inner
    }

    fn item(&self, index: usize, step: Step) -> Self {
        let mut inner = self.clone();
        let _ = write!(inner.pointer, "/{index}");
        let label = match &step {
            Step::Item(keys) => keys.values().next().map(text).unwrap_or_default(),
            Step::Member(value) => text(value),
            Step::Field(name) => name.clone(),
        };
        let _ = write!(inner.field, "[{label}]");
        inner.path.push(step);
        inner
    }

    fn place(&self) -> Place<'_> {
        let mut names = self.path.iter().rev().map(|step| match step {
            Step::Field(name) => name.as_str(),
            Step::Item(_) | Step::Member(_) => "",
        });
        let field = names.next().unwrap_or_default();
        Place { parent: names.next().unwrap_or_default(), field }
    }
}

struct Found {
    spot: Spot,
    before: Option<Value>,
    after: Option<Value>,
}

fn compare(live: &Value, desired: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    walk(Spot::default(), Some(live), desired, &mut found);
    found
}

fn walk(spot: Spot, live: Option<&Value>, desired: &Value, found: &mut Vec<Found>) {
    let place = spot.place();
    let live = live.filter(|value| !value.is_null());
    match (live, desired) {
        (_, Value::Null) => {}
        (Some(Value::Object(live)), Value::Object(fields)) if !is_atomic(place) => {
            for (name, wanted) in fields.iter().filter(|(name, _)| !is_identity(&spot, name)) {
                walk(spot.field(name), live.get(name), wanted, found);
            }
        }
        (Some(Value::Array(live)), Value::Array(items))
            if items.iter().chain(live).any(|item| keys_of(place.field, item).is_some()) =>
        {
            walk_items(&spot, live, items, found);
        }
        (Some(live), desired) if same(place, live, desired) => {}
        (None, desired) if is_nothing(place.field, desired) => {}
        (live, desired) => {
            found.push(Found { before: live.cloned(), after: Some(desired.clone()), spot });
        }
    }
}

fn walk_items(spot: &Spot, live: &[Value], desired: &[Value], found: &mut Vec<Found>) {
    let list = spot.place().field;
    for (index, wanted) in desired.iter().enumerate() {
        let Some(keys) = keys_of(list, wanted) else { continue };
        let present = live.iter().find(|item| keys_of(list, item).as_ref() == Some(&keys));
        walk(spot.item(index, Step::Item(keys)), present, wanted, found);
    }
}

/// Which object it is, and which version of it, isn't compared.
fn is_identity(spot: &Spot, name: &str) -> bool {
    match spot.path.as_slice() {
        [] => ["apiVersion", "kind", "status"].contains(&name),
        [Step::Field(field)] if field == "metadata" => {
            ["name", "namespace", "uid", "resourceVersion", "managedFields"].contains(&name)
        }
        _ => false,
    }
}

/// Fields that `fields` (of `fieldsV1`) holds and `desired` no longer has; what others hold too stays.
fn removals(
    spot: &Spot,
    fields: &Map<String, Value>,
    live: &Value,
    desired: Option<&Value>,
    others: &[Owner<'_>],
    found: &mut Vec<Found>,
) {
    for (step, children) in fields.iter().filter_map(|(key, children)| Some((step(key)?, children.as_object()?))) {
        let Some((inner, value)) = descend(spot, live, &step) else { continue };
        let wanted = desired.and_then(|desired| descend(spot, desired, &step)).map(|(_, value)| value);
        if let Some(wanted) = wanted.filter(|value| !value.is_null()) {
            removals(&inner, children, value, Some(wanted), others, found);
            continue;
        }
        let held_by_others = others.iter().any(|owner| owner.holds(&inner.path));
        let whole = match step {
            Step::Field(_) => children.keys().all(|key| key == "."),
            Step::Item(_) | Step::Member(_) => true,
        };
        if whole && !held_by_others {
            found.push(Found { before: Some(value.clone()), after: None, spot: inner });
        } else if !whole || !children.is_empty() {
            let mut parts = Vec::new();
            removals(&inner, children, value, None, others, &mut parts);
            found.extend(collapse(inner, value, parts));
        }
    }
}

/// One removal of the object instead of one for each of its fields, where nothing of it stays.
fn collapse(spot: Spot, value: &Value, parts: Vec<Found>) -> Vec<Found> {
    let length = match value {
        Value::Object(fields) => fields.len(),
        Value::Array(items) => items.len(),
        _ => return parts,
    };
    let direct = parts.iter().filter(|part| part.spot.path.len() == spot.path.len() + 1).count();
    if direct == length && direct == parts.len() {
        return vec![Found { before: Some(value.clone()), after: None, spot }];
    }
    parts
}

/// The value one step further.
fn descend<'a>(spot: &Spot, value: &'a Value, step: &Step) -> Option<(Spot, &'a Value)> {
    let list = spot.place().field;
    let index = match step {
        Step::Field(name) => return value.get(name).map(|value| (spot.field(name), value)),
        Step::Item(keys) => {
            value.as_array()?.iter().position(|item| keys_of(list, item).as_ref().is_some_and(|found| found == keys))
        }
        Step::Member(member) => value.as_array()?.iter().position(|item| item == member),
    };
    let index = index?;
    Some((spot.item(index, step.clone()), value.get(index)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn desired() -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "external-dns", "namespace": "external-dns",
                "labels": {"app.kubernetes.io/managed-by": "irsactl"}
            },
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": {"app.kubernetes.io/name": "external-dns"}},
                "template": {
                    "metadata": {"labels": {"app.kubernetes.io/name": "external-dns"}},
                    "spec": {
                        "hostNetwork": false,
                        "serviceAccountName": "external-dns",
                        "containers": [{
                            "name": "external-dns",
                            "image": "registry.k8s.io/external-dns/external-dns:v0.23.0",
                            "args": ["--policy=upsert-only", "--source=service"],
                            "env": [{"name": "AWS_REGION", "value": "us-west-2"}],
                            "ports": [{"name": "http", "containerPort": 7979}],
                            "resources": {"requests": {"cpu": "1000m", "memory": "50Mi"}},
                            "securityContext": {"allowPrivilegeEscalation": false}
                        }]
                    }
                }
            }
        })
    }

    /// The same, as the API server stores it: defaults filled in, quantities normalised, managers recorded.
    fn live() -> Value {
        let mut live = desired();
        live["metadata"]["uid"] = json!("1");
        live["metadata"]["generation"] = json!(3);
        live["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "2"});
        live["metadata"]["managedFields"] = json!([
            {
                "manager": "irsactl", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
                "time": "2026-11-24T10:00:00Z",
                "fieldsV1": {
                    "f:metadata": {"f:labels": {"f:app.kubernetes.io/managed-by": {}}},
                    "f:spec": {
                        "f:replicas": {},
                        "f:selector": {},
                        "f:strategy": {"f:type": {}},
                        "f:template": {
                            "f:metadata": {"f:labels": {"f:app.kubernetes.io/name": {}}},
                            "f:spec": {
                                "f:serviceAccountName": {},
                                "f:containers": {
                                    "k:{\"name\":\"external-dns\"}": {
                                        ".": {}, "f:name": {}, "f:image": {}, "f:args": {},
                                        "f:env": {"k:{\"name\":\"AWS_REGION\"}": {".": {}, "f:name": {}, "f:value": {}}},
                                        "f:ports": {
                                            "k:{\"containerPort\":7979,\"protocol\":\"TCP\"}":
                                                {".": {}, "f:containerPort": {}, "f:name": {}}
                                        },
                                        "f:resources": {"f:requests": {"f:cpu": {}, "f:memory": {}}},
                                        "f:securityContext": {"f:allowPrivilegeEscalation": {}}
                                    }
                                }
                            }
                        }
                    }
                }
            },
            {
                "manager": "kube-controller-manager", "operation": "Update", "subresource": "status",
                "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "time": "2026-11-24T10:00:09Z",
                "fieldsV1": {
                    "f:metadata": {"f:annotations": {".": {}, "f:deployment.kubernetes.io/revision": {}}},
                    "f:status": {"f:replicas": {}}
                }
            }
        ]);
        live["spec"]["progressDeadlineSeconds"] = json!(600);
        let pod = &mut live["spec"]["template"]["spec"];
        pod.as_object_mut().unwrap().remove("hostNetwork");
        pod["serviceAccount"] = json!("external-dns");
        pod["restartPolicy"] = json!("Always");
        let container = &mut pod["containers"][0];
        container["ports"][0]["protocol"] = json!("TCP");
        container["resources"]["requests"]["cpu"] = json!("1");
        container["terminationMessagePath"] = json!("/dev/termination-log");
        live["status"] = json!({"replicas": 1});
        live
    }

    fn owner(manager: &str, operation: &str, fields: &Value) -> Value {
        json!({
            "manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
            "time": "2026-11-24T11:00:00Z", "fieldsV1": fields
        })
    }

    fn add_owner(live: &mut Value, entry: Value) {
        live["metadata"]["managedFields"].as_array_mut().unwrap().push(entry);
    }

    fn in_container(fields: &Value) -> Value {
        json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"external-dns\"}": fields}}}}})
    }

    /// One line: the field, what changes in it (of lists, only the items that do), and by whom it was changed.
    fn summary(found: &FieldChange) -> String {
        let change = match (&found.change.before, &found.change.after) {
            (Some(Value::Array(before)), Some(Value::Array(after))) => items_changed(before, after),
            (Some(before), Some(after)) => format!("{} → {}", text(before), text(after)),
            (None, Some(after)) => format!("+ {}", text(after)),
            (Some(before), None) => format!("- {}", text(before)),
            (None, None) => String::new(),
        };
        let by = found.changed_by.as_ref().map(|manager| format!(" (changed by {manager})")).unwrap_or_default();
        format!("{}: {change}{by}", found.field)
    }

    fn items_changed(before: &[Value], after: &[Value]) -> String {
        let removed = before.iter().filter(|item| !after.contains(item)).map(|item| format!("- {}", text(item)));
        let added = after.iter().filter(|item| !before.contains(item)).map(|item| format!("+ {}", text(item)));
        let all: Vec<_> = removed.chain(added).collect();
        if all.is_empty() { "other order".to_owned() } else { all.join(", ") }
    }

    fn summaries(live: &Value, desired: &Value) -> Vec<String> {
        differences(live, desired, FIELD_MANAGER).iter().map(summary).collect()
    }

    #[test]
    fn what_the_server_stores_is_no_difference() {
        assert_eq!(summaries(&live(), &desired()), Vec::<String>::new());
    }

    #[test]
    fn an_edited_argument_names_the_editor() {
        let mut live = live();
        live["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["--policy=sync", "--source=service"]);
        add_owner(&mut live, owner("kubectl-edit", "Update", &in_container(&json!({"f:args": {}}))));
        let found = differences(&live, &desired(), FIELD_MANAGER);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].change.path, "/spec/template/spec/containers/0/args");
        assert_eq!(found[0].changed_by.as_deref(), Some("kubectl-edit"));
        assert_eq!(
            summary(&found[0]),
            "spec.template.spec.containers[external-dns].args: - --policy=sync, + --policy=upsert-only (changed by kubectl-edit)"
        );
        assert_eq!(conflicting_owners(&live, &desired()), []);
    }

    #[test]
    fn scaling_is_seen_through_its_subresource() {
        let mut live = live();
        live["spec"]["replicas"] = json!(0);
        let mut entry = owner("kubectl", "Update", &json!({"f:spec": {"f:replicas": {}}}));
        entry["subresource"] = json!("scale");
        add_owner(&mut live, entry);
        assert_eq!(summaries(&live, &desired()), ["spec.replicas: 0 → 1 (changed by kubectl)"]);
    }

    #[test]
    fn items_of_lists_are_matched_by_name() {
        let mut live = live();
        let container = &mut live["spec"]["template"]["spec"]["containers"];
        container[0]["env"] = json!([{"name": "OTHER", "value": "1"}]);
        container.as_array_mut().unwrap().insert(0, json!({"name": "sidecar", "image": "x"}));
        let found = differences(&live, &desired(), FIELD_MANAGER);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].change.path, "/spec/template/spec/containers/0/env/0");
        assert_eq!(found[0].change.before, None);
        assert_eq!(found[0].change.after, Some(json!({"name": "AWS_REGION", "value": "us-west-2"})));
    }

    #[test]
    fn fields_that_are_no_longer_rendered_are_removed() {
        let mut desired = desired();
        desired["metadata"]["labels"] = json!({});
        let container = &mut desired["spec"]["template"]["spec"]["containers"][0];
        container["env"] = json!([]);
        container["resources"] = json!({"requests": {"memory": "50Mi"}});
        container["ports"] = json!([{"name": "http", "containerPort": 8080}]);
        let found = differences(&live(), &desired, FIELD_MANAGER);
        let removed: Vec<_> = found
            .iter()
            .filter(|found| found.change.after.is_none())
            .map(|found| (found.field.as_str(), found.change.before.clone().unwrap()))
            .collect();
        let env = json!({"name": "AWS_REGION", "value": "us-west-2"});
        let port = json!({"name": "http", "containerPort": 7979, "protocol": "TCP"});
        let container = "spec.template.spec.containers[external-dns]";
        assert_eq!(
            removed,
            [
                ("metadata.labels[app.kubernetes.io/managed-by]", json!("irsactl")),
                (&*format!("{container}.env[AWS_REGION]"), env),
                (&*format!("{container}.ports[7979]"), port),
                (&*format!("{container}.resources.requests.cpu"), json!("1")),
            ]
        );
        assert_eq!(found.iter().filter(|found| found.change.after.is_some()).count(), 1);
    }

    #[test]
    fn a_removed_object_is_one_removal_and_what_others_hold_stays() {
        let mut desired = desired();
        desired["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("resources");
        let mut live = live();
        let found = differences(&live, &desired, FIELD_MANAGER);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].change.path, "/spec/template/spec/containers/0/resources");

        let shared = in_container(&json!({"f:resources": {"f:requests": {"f:cpu": {}}}}));
        add_owner(&mut live, owner("vpa", "Apply", &shared));
        let found = differences(&live, &desired, FIELD_MANAGER);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].field, "spec.template.spec.containers[external-dns].resources.requests.memory");
    }

    #[test]
    fn appliers_and_deployers_hold_on_to_their_fields() {
        let image = in_container(&json!({"f:image": {}}));
        for (manager, operation, conflicts) in [
            ("platform-team", "Apply", true),
            ("helm", "Update", true),
            ("argocd-controller", "Update", true),
            ("kustomize-controller", "Apply", true),
            ("helm-controller", "Update", true),
            ("kubectl-client-side-apply", "Update", false),
            ("eksctl", "Update", false),
        ] {
            let mut live = live();
            live["spec"]["template"]["spec"]["containers"][0]["image"] = json!("mirror/external-dns:v0.23.0");
            add_owner(&mut live, owner(manager, operation, &image));
            let expected = if conflicts {
                vec![("/spec/template/spec/containers/0/image".to_owned(), manager.to_owned())]
            } else {
                vec![]
            };
            assert_eq!(conflicting_owners(&live, &desired()), expected, "{manager}");
            assert_eq!(differences(&live, &desired(), FIELD_MANAGER)[0].changed_by.as_deref(), Some(manager));
        }
    }

    #[test]
    fn a_field_that_another_applier_holds_with_the_same_value_is_no_conflict() {
        let mut live = live();
        add_owner(&mut live, owner("platform-team", "Apply", &in_container(&json!({"f:image": {}}))));
        assert_eq!(conflicting_owners(&live, &desired()), []);
        assert_eq!(summaries(&live, &desired()), Vec::<String>::new());
    }

    #[test]
    fn rules_are_compared_as_a_whole_and_their_lists_as_sets() {
        let rules = json!([
            {"apiGroups": [""], "resources": ["services", "pods"], "verbs": ["get", "watch", "list"]},
            {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["get"]}
        ]);
        let desired = json!({"kind": "ClusterRole", "metadata": {"name": "a"}, "rules": rules});
        let mut live = desired.clone();
        live["rules"][0]["verbs"] = json!(["list", "get", "watch"]);
        assert_eq!(differences(&live, &desired, FIELD_MANAGER), []);
        live["rules"][0]["resourceNames"] = json!(["one"]);
        let found = differences(&live, &desired, FIELD_MANAGER);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].change.path, "/rules");
    }

    #[test]
    fn a_missing_security_setting_is_a_difference() {
        let mut live = live();
        live["spec"]["template"]["spec"]["containers"][0]["securityContext"] = json!({});
        let field = "spec.template.spec.containers[external-dns].securityContext.allowPrivilegeEscalation";
        assert_eq!(summaries(&live, &desired()), [format!("{field}: + false")]);
    }

    #[test]
    fn annotations_of_others_on_a_service_account_are_left_alone() {
        let annotation = json!({"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/a"});
        let desired = json!({"kind": "ServiceAccount", "metadata": {"name": "a", "annotations": annotation}});
        let mut live = desired.clone();
        live["metadata"]["annotations"]["meta.helm.sh/release-name"] = json!("x");
        live["secrets"] = json!([{"name": "token"}]);
        assert_eq!(differences(&live, &desired, FIELD_MANAGER), []);
        live["metadata"]["annotations"].as_object_mut().unwrap().remove("eks.amazonaws.com/role-arn");
        let found = differences(&live, &desired, FIELD_MANAGER);
        assert_eq!(found[0].change.path, "/metadata/annotations/eks.amazonaws.com~1role-arn");
        assert_eq!(found[0].field, "metadata.annotations[eks.amazonaws.com/role-arn]");
    }

    #[test]
    fn what_was_applied_beyond_is_told_from_what_others_wrote() {
        let mut live = live();
        assert_eq!(applied_beyond(&live, &desired(), FIELD_MANAGER), Value::Null);
        let ours = &mut live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:template"]["f:spec"];
        ours["f:tolerations"] = json!({});
        ours["f:imagePullSecrets"] = json!({"k:{\"name\":\"pull\"}": {".": {}, "f:name": {}}});
        let container = &mut ours["f:containers"]["k:{\"name\":\"external-dns\"}"];
        container["f:resources"]["f:limits"] = json!({"f:cpu": {}});
        container["f:env"]["k:{\"name\":\"TZ\"}"] = json!({".": {}, "f:name": {}, "f:value": {}});
        let pod = &mut live["spec"]["template"]["spec"];
        pod["tolerations"] = json!([{"key": "dns", "operator": "Exists"}]);
        pod["imagePullSecrets"] = json!([{"name": "pull"}]);
        pod["nodeSelector"] = json!({"of": "others"});
        let container = &mut pod["containers"][0];
        container["resources"]["requests"]["cpu"] = json!("2");
        container["resources"]["limits"] = json!({"cpu": "2", "memory": "1Gi"});
        container["env"].as_array_mut().unwrap().push(json!({"name": "TZ", "value": "UTC"}));
        let container = json!({"name": "external-dns", "env": [{"name": "TZ", "value": "UTC"}],
            "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}});
        let tolerations = json!([{"key": "dns", "operator": "Exists"}]);
        let spec =
            json!({"containers": [container], "tolerations": tolerations, "imagePullSecrets": [{"name": "pull"}]});
        let beyond = applied_beyond(&live, &desired(), FIELD_MANAGER);
        assert_eq!(beyond, json!({"spec": {"template": {"spec": spec}}}));
    }

    #[test]
    fn fields_belong_to_who_wrote_them() {
        let fields = json!({"f:metadata": {"f:annotations": {".": {}, "f:a/b": {}}}});
        let object = json!({"metadata": {"annotations": {"a/b": "1", "c": "2"}, "managedFields": [
            {"manager": "irsactl", "operation": "Apply", "fieldsV1": fields},
        ]}});
        assert!(is_field_of(&object, &["metadata", "annotations", "a/b"], "irsactl"));
        assert!(!is_field_of(&object, &["metadata", "annotations", "c"], "irsactl"));
        assert!(!is_field_of(&object, &["metadata", "annotations", "a/b"], "helm"));
    }
}
