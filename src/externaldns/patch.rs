//! Patches that users lay over the rendered objects.

use serde_json::{Map, Value, json};

use super::args::Installed;
use super::manifest;
use super::secret::{self, AES_KEY};
use super::settings::Settings;
use crate::config::check_token_expiration;
use crate::k8s::FIELD_MANAGER;
use crate::k8s::diff::applied_beyond;
use crate::plan::diff::escape;

/// Lists that are sets of named things, by the field that names them ("patchMergeKey" in the types
/// of the Kubernetes API). Other lists are replaced as a whole.
const MERGED: &[(&str, &str)] = &[
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("imagePullSecrets", "name"),
    ("ports", "containerPort"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey"),
];

/// Lays patches over the objects of their kind: maps merge, lists of named things merge by name,
/// other lists are replaced, null removes.
///
/// # Errors
/// Names the kind that isn't among the objects, or a field that a patch can't change.
pub fn apply(objects: &mut [Value], patches: &[Value]) -> Result<(), String> {
    for patch in patches {
        let kind = patch["kind"].as_str().unwrap_or_default();
        let known: Vec<String> =
            objects.iter().filter_map(|object| object["kind"].as_str()).map(str::to_owned).collect();
        let Some(object) = objects.iter_mut().find(|object| object["kind"] == kind && same_name(object, patch)) else {
            let name = patch.pointer("/metadata/name").and_then(Value::as_str);
            let named = name.filter(|_| known.iter().any(|one| one == kind)).map(|name| format!(" named {name}"));
            return Err(format!(
                "patch for kind {kind}{}: irsactl makes none here; there are {}",
                named.unwrap_or_default(),
                known.join(", ")
            ));
        };
        check_containers(object, patch)?;
        check_annotations(patch)?;
        let before = object.clone();
        merge(object, patch, "");
        check_decided(&before, object)?;
    }
    Ok(())
}

/// A patch with a name is for the object of that name.
fn same_name(object: &Value, patch: &Value) -> bool {
    ["name", "namespace"].iter().all(|key| {
        let wanted = patch.pointer(&format!("/metadata/{key}"));
        wanted.is_none_or(|wanted| object.pointer(&format!("/metadata/{key}")) == Some(wanted))
    })
}

/// What identifies an object, and what irsactl plans by, isn't a patch's to change.
const DECIDED: [&str; 8] = [
    "/apiVersion",
    "/metadata/annotations/eks.amazonaws.com~1role-arn",
    "/metadata/name",
    "/metadata/namespace",
    "/roleRef",
    "/spec/replicas",
    "/spec/selector",
    "/spec/template/spec/serviceAccountName",
];
/// The same of a container of ours.
const DECIDED_IN_CONTAINER: [&str; 4] = ["args", "command", "image", "envFrom"];

/// However a patch goes about it: a null, or a list that is replaced, takes away what it doesn't name.
fn check_decided(before: &Value, after: &Value) -> Result<(), String> {
    let refusal = |path: &str| {
        Err(format!("patch for kind {}: {path} can't be patched", before["kind"].as_str().unwrap_or_default()))
    };
    let no_map = |path: &&str| after.pointer(path).is_some_and(|value| !value.is_object());
    let maps = ["/metadata/annotations", "/metadata/labels"].into_iter().find(no_map).map(str::to_owned);
    if let Some(path) = maps.or_else(|| changed_type("", before, after)) {
        return refusal(&format!("the type of {path}"));
    }
    if let Some(path) = DECIDED.iter().find(|path| before.pointer(path) != after.pointer(path)) {
        return refusal(path);
    }
    for own in containers(before) {
        let found = containers(after).iter().find(|one| one["name"] == own["name"]);
        let changed = |field: &&&str| found.is_none_or(|found| found.get(**field) != own.get(**field));
        if let Some(field) = DECIDED_IN_CONTAINER.iter().find(changed) {
            return refusal(&format!("{field} of container {}", own["name"].as_str().unwrap_or_default()));
        }
    }
    Ok(())
}

/// Where something is left that is no object or list any more.
fn changed_type(path: &str, before: &Value, after: &Value) -> Option<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before.iter().find_map(|(key, before)| {
            after.get(key).and_then(|after| changed_type(&format!("{path}/{}", escape(key)), before, after))
        }),
        (Value::Object(_), _) | (_, Value::Object(_)) => Some(path.to_owned()),
        _ => (before.is_array() != after.is_array()).then(|| path.to_owned()),
    }
}

fn containers(object: &Value) -> &[Value] {
    object.pointer("/spec/template/spec/containers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn check_containers(object: &Value, patch: &Value) -> Result<(), String> {
    let own = containers(object);
    containers(patch)
        .iter()
        .filter(|one| own.iter().any(|own| own["name"] == one["name"]))
        .try_for_each(check_container)
}

/// The webhook reads those of ServiceAccounts and of pods.
fn check_annotations(patch: &Value) -> Result<(), String> {
    let maps = ["/metadata/annotations", "/spec/template/metadata/annotations"].map(|path| patch.pointer(path));
    let annotations = maps.into_iter().flatten().filter_map(Value::as_object).flatten();
    annotations
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .try_for_each(|(key, value)| check_token_expiration(key, value))
}

/// What ExternalDNS is told, and as whom it calls AWS, is what irsactl plans by: a patch would go round all that it
/// checks.
fn check_container(container: &Value) -> Result<(), String> {
    let name = container["name"].as_str().unwrap_or_default();
    if let Some(field) = DECIDED_IN_CONTAINER.iter().find(|field| container.get(**field).is_some()) {
        return Err(format!(
            "container {name}: {field} can't be patched: use irsactl's options, --image or --extra-arg=--flag=value"
        ));
    }
    let names = container["env"].as_array().into_iter().flatten().filter_map(|variable| variable["name"].as_str());
    let decides = |name: &str| name.starts_with("EXTERNAL_DNS_") || name.starts_with("AWS_");
    let ours = |name: &&str| decides(name) && !HARMLESS.contains(name);
    match names.into_iter().find(ours) {
        Some(variable) => {
            Err(format!("container {name}: {variable} can't be patched: it changes what irsactl decides"))
        }
        None => Ok(()),
    }
}

/// Variables of the AWS SDK that change neither identity nor endpoint, and the key of encrypted TXT records, for which
/// there is no other place.
const HARMLESS: [&str; 6] =
    ["AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED", "AWS_MAX_ATTEMPTS", "AWS_REGION", "AWS_RETRY_MODE", AES_KEY];

/// The patch that a live Deployment of irsactl's was given: what irsactl applied to it beyond what it renders; none where
/// that is nothing. What a patch took away leaves no trace.
pub fn given(live: &Value, region: &str) -> Option<Value> {
    let installed = Installed::from_deployment(live)?;
    let mut settings = Settings::new(region, &installed.owner_id);
    (settings.name, settings.namespace) = (installed.name.clone(), installed.namespace);
    let mut objects = manifest::objects(&settings, None, false, false).ok()?;
    let rendered_as = containers(objects.last()?).first()?["name"].clone();
    manifest::adopt(&mut objects, live);
    let mut rendered = objects.pop()?;
    for path in DECIDED.iter().chain(&["/metadata/labels/app.kubernetes.io~1version"]) {
        if let (Some(place), Some(value)) = (rendered.pointer_mut(path), live.pointer(path)) {
            value.clone_into(place);
        }
    }
    let own = containers(live).iter().find(|one| one["name"] == *installed.container)?;
    for field in DECIDED_IN_CONTAINER {
        if let Some(value) = own.get(field) {
            rendered["spec"]["template"]["spec"]["containers"][0][field] = value.clone();
        }
    }
    let mut patch = applied_beyond(live, &rendered, FIELD_MANAGER);
    // A Deployment that was adopted has a container of another name, which the manifest gets at last.
    let patched = patch.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut);
    for container in patched.into_iter().flatten().filter(|one| one["name"] == *installed.container) {
        container["name"] = rendered_as.clone();
    }
    patch.as_object_mut()?.insert("kind".to_owned(), json!("Deployment"));
    Some(patch)
}

/// True where nothing in a patch has to stay unseen: a variable may be a secret under any name.
pub fn may_be_shown(patch: &Value) -> bool {
    let proxies = ["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"];
    let harmless = |variable: &Value| {
        let name = variable["name"].as_str().unwrap_or_default();
        let plain = proxies.contains(&name) && !variable["value"].as_str().is_some_and(|value| value.contains('@'));
        variable.get("value").is_none() || plain || (HARMLESS.contains(&name) && !secret::is_secret(name))
    };
    let spec = &patch["spec"]["template"]["spec"];
    let all = ["containers", "initContainers"].iter().filter_map(|list| spec[list].as_array()).flatten();
    let mut variables = all.filter_map(|container| container["env"].as_array()).flatten();
    variables.all(harmless) && secret::shown("", patch) == *patch
}

fn merge(target: &mut Value, patch: &Value, key: &str) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => merge_maps(target, patch),
        (Value::Array(target), Value::Array(patch)) => match merge_key(key, target, patch) {
            Some(name) => merge_lists(target, patch, name),
            None => patch.clone_into(target),
        },
        (target, patch) => *target = without_nulls(patch),
    }
}

fn merge_maps(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value, key);
        }
    }
}

/// The field by which two lists merge, if all their items have it.
fn merge_key(key: &str, target: &[Value], patch: &[Value]) -> Option<&'static str> {
    let (_, name) = MERGED.iter().find(|(list, _)| *list == key)?;
    target.iter().chain(patch).all(|item| item.get(name).is_some()).then_some(name)
}

fn merge_lists(target: &mut Vec<Value>, patch: &[Value], name: &str) {
    for item in patch {
        let at = target.iter().position(|other| other[name] == item[name]);
        let delete = item.get("$patch").is_some_and(|directive| directive == "delete");
        match at {
            Some(at) if delete => {
                target.remove(at);
            }
            Some(at) => merge(&mut target[at], item, ""),
            None if delete => {}
            None => target.push(without_nulls(item)),
        }
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::externaldns::manifest;
    use crate::externaldns::settings::Settings;
    use serde_json::json;

    fn patched(text: &str) -> Result<Value, String> {
        let mut objects = manifest::objects(&Settings::new("us-east-1", "c1"), None, true, true)?;
        let patches = config::read_patch("p.yaml", text).map_err(|error| error.to_string())?;
        apply(&mut objects, &patches)?;
        Ok(objects.into_iter().find(|object| object["kind"] == "Deployment").unwrap())
    }

    #[test]
    fn maps_and_named_lists_merge_others_are_replaced() {
        let deployment = patched(
            "kind: Deployment
spec:
  template:
    spec:
      tolerations: [{key: dns, operator: Exists}]
      nodeSelector: {kubernetes.io/arch: arm64}
      volumes: [{name: tmp, emptyDir: {}}]
      securityContext: {fsGroup: null}
      containers:
      - name: external-dns
        resources: {limits: {memory: 1Gi}}
        env:
        - {name: AWS_REGION, value: eu-west-1}
        - {name: HTTPS_PROXY, value: 'http://proxy:3128'}
      - {name: sidecar, image: 'sidecar:1', command: null}
---
kind: Deployment
metadata: {labels: {team: dns}}
",
        )
        .unwrap();
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["tolerations"], json!([{"key": "dns", "operator": "Exists"}]));
        assert_eq!(pod["securityContext"], json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}));
        let container = &pod["containers"][0];
        assert_eq!(container["resources"]["requests"]["cpu"], "50m");
        assert_eq!(container["resources"]["limits"]["memory"], "1Gi");
        assert_eq!(container["env"][0], json!({"name": "AWS_REGION", "value": "eu-west-1"}));
        assert_eq!(container["env"][1]["value"], "us-east-1");
        assert_eq!(container["env"][2]["name"], "HTTPS_PROXY");
        assert_eq!(pod["containers"][1], json!({"name": "sidecar", "image": "sidecar:1"}));
        assert_eq!(deployment["metadata"]["labels"]["team"], "dns");
        assert_eq!(deployment["metadata"]["labels"]["app.kubernetes.io/managed-by"], "irsactl");
    }

    #[test]
    fn named_things_can_be_taken_out() {
        let text = r#"{"kind": "Deployment", "spec": {"template": {"spec": {"containers": [
            {"name": "external-dns", "env": [{"name": "AWS_DEFAULT_REGION", "$patch": "delete"}], "livenessProbe": null}]}}}}"#;
        let container = patched(text).unwrap()["spec"]["template"]["spec"]["containers"][0].clone();
        assert_eq!(container["env"].as_array().unwrap().len(), 1);
        assert_eq!(container.get("livenessProbe"), None);
    }

    #[test]
    fn the_patch_of_a_deployment_is_told_from_what_was_applied() {
        let live = |container: &str, fields: Value| {
            let mut settings = Settings::new("us-east-1", "c1");
            settings.domain_filters = vec!["example.com".to_owned()];
            settings.version = "0.22.0".parse().unwrap();
            let mut live = manifest::objects(&settings, None, false, false).unwrap().pop().unwrap();
            live["spec"]["replicas"] = json!(0);
            live["spec"]["template"]["spec"]["priorityClassName"] = json!("high");
            let own = &mut live["spec"]["template"]["spec"]["containers"][0];
            own["name"] = json!(container);
            own["image"] = json!("mirror/external-dns:prod");
            own["resources"]["limits"]["memory"] = json!("1Gi");
            live["metadata"]["managedFields"] =
                json!([{"manager": "irsactl", "operation": "Apply", "fieldsV1": {"f:spec": fields}}]);
            given(&live, "us-east-1")
        };
        let fields = |container: &str| {
            let limits = json!({"f:image": {}, "f:args": {}, "f:resources": {"f:limits": {"f:memory": {}}}});
            let containers = json!({format!("k:{{\"name\":\"{container}\"}}"): limits});
            let pod = json!({"f:containers": containers, "f:priorityClassName": {}});
            json!({"f:replicas": {}, "f:template": {"f:spec": pod}})
        };
        // One that was adopted has its own name.
        for container in ["external-dns", "dns"] {
            let patch = live(container, fields(container)).unwrap();
            let limits = json!({"limits": {"memory": "1Gi"}});
            let pod =
                json!({"containers": [{"name": "external-dns", "resources": limits}], "priorityClassName": "high"});
            assert_eq!(patch, json!({"kind": "Deployment", "spec": {"template": {"spec": pod}}}));
        }
        assert_eq!(live("external-dns", json!({"f:replicas": {}})), None, "others set it");
    }

    #[test]
    fn a_patch_that_may_hold_a_secret_is_not_shown() {
        let with = |variable: Value| json!({"spec": {"template": {"spec": {"containers": [{"name": "external-dns", "env": [variable]}]}}}});
        let from = json!({"secretKeyRef": {"name": "key", "key": "key"}});
        assert!(may_be_shown(&with(json!({"name": "EXTERNAL_DNS_TXT_ENCRYPT_AES_KEY", "valueFrom": from}))));
        assert!(may_be_shown(&with(json!({"name": "HTTPS_PROXY", "value": "http://proxy:3128"}))));
        assert!(may_be_shown(&with(json!({"name": "AWS_REGION", "value": "eu-west-1"}))));
        for (name, value) in [
            ("EXTERNAL_DNS_TXT_ENCRYPT_AES_KEY", "x"),
            ("HTTPS_PROXY", "http://user:word@proxy:3128"),
            ("ANYTHING", "x"),
        ] {
            assert!(!may_be_shown(&with(json!({"name": name, "value": value}))), "{name}");
        }
        let sidecar = json!({"name": "sidecar", "args": ["--token=x"]});
        assert!(!may_be_shown(&json!({"spec": {"template": {"spec": {"containers": [sidecar]}}}})));
    }

    #[test]
    fn patches_that_hit_nothing_are_refused() {
        assert!(patched("kind: StatefulSet").unwrap_err().contains("Deployment"));
        assert!(patched("kind: Deployment\nmetadata: {name: other}").unwrap_err().contains("named other"));
        assert!(patched("spec: {}").unwrap_err().contains("this document has no kind"));
        assert!(patched("[1, 2]").is_err());
        assert!(patched("").is_err());
        assert!(patched("kind: [").is_err());
        for own in ["args: [--policy=sync]", "image: other:1", "env: [{name: EXTERNAL_DNS_POLICY, value: sync}]"] {
            let text = format!(
                "kind: Deployment\nspec: {{template: {{spec: {{containers: [{{name: external-dns, {own}}}]}}}}}}"
            );
            assert!(patched(&text).unwrap_err().contains("can't be patched"), "{own}");
        }
        let selector = "kind: Deployment\nspec: {selector: {matchLabels: {app: x}}}";
        assert!(patched(selector).unwrap_err().contains("/spec/selector"));
        for lost in
            ["null", "{template: null}", "{template: {spec: {containers: [{name: external-dns}, {image: 'x:1'}]}}}"]
        {
            let text = format!("kind: Deployment\nspec: {lost}");
            assert!(patched(&text).unwrap_err().contains("can't be patched"), "{lost}");
        }
        for other in ["labels: x", "labels: [x]", "annotations: 1"] {
            let text = format!("kind: ServiceAccount\nmetadata: {{{other}}}");
            assert!(patched(&text).unwrap_err().contains("the type of /metadata/"), "{other}");
        }
        let role = "kind: ServiceAccount\nmetadata: {annotations: {eks.amazonaws.com/role-arn: x}}";
        assert!(patched(role).unwrap_err().contains("role-arn"));
        let token = |place: &str, seconds: &str| {
            patched(
                &place.replace("TOKEN", &format!("annotations: {{eks.amazonaws.com/token-expiration: '{seconds}'}}")),
            )
        };
        for place in
            ["kind: ServiceAccount\nmetadata: {TOKEN}", "kind: Deployment\nspec: {template: {metadata: {TOKEN}}}"]
        {
            assert!(token(place, "100000").unwrap_err().contains("600 to 86400"), "{place}");
            assert!(token(place, "3600").is_ok(), "{place}");
        }
    }
}
