//! The Kubernetes objects of an installation.

use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value, json};

use super::args::Installed;
use super::rbac;
use super::secret::AES_KEY;
use super::settings::Settings;

/// Field manager, and the value of `app.kubernetes.io/managed-by`.
const MANAGER: &str = "irsactl";

const TEMPLATES: &[(&str, &str)] = &[
    (NAMESPACE, include_str!("../../templates/externaldns/namespace.yaml")),
    (SERVICE_ACCOUNT, include_str!("../../templates/externaldns/service-account.yaml")),
    (CLUSTER_ROLE, include_str!("../../templates/externaldns/cluster-role.yaml")),
    (CLUSTER_ROLE_BINDING, include_str!("../../templates/externaldns/cluster-role-binding.yaml")),
    (DEPLOYMENT, include_str!("../../templates/externaldns/deployment.yaml")),
];
const NAMESPACE: &str = "namespace.yaml";
const SERVICE_ACCOUNT: &str = "service-account.yaml";
const CLUSTER_ROLE: &str = "cluster-role.yaml";
const CLUSTER_ROLE_BINDING: &str = "cluster-role-binding.yaml";
const DEPLOYMENT: &str = "deployment.yaml";

/// The name of the ClusterRoleBinding of an installation, as in ExternalDNS's own manifests.
pub fn cluster_role_binding_name(name: &str) -> String {
    format!("{name}-viewer")
}

/// The labels that select an installation's pods.
pub fn selector(name: &str) -> Value {
    json!({"app.kubernetes.io/name": "external-dns", "app.kubernetes.io/instance": name})
}

/// The objects in the order in which they are needed: Namespace, ServiceAccount, ClusterRole,
/// ClusterRoleBinding, Deployment.
///
/// # Errors
/// Says which template doesn't hold.
pub fn objects(
    settings: &Settings,
    role_arn: Option<&str>,
    with_namespace: bool,
    with_service_account: bool,
) -> Result<Vec<Value>, String> {
    let mut names = vec![CLUSTER_ROLE, CLUSTER_ROLE_BINDING, DEPLOYMENT];
    if with_service_account {
        names.insert(0, SERVICE_ACCOUNT);
    }
    if with_namespace {
        names.insert(0, NAMESPACE);
    }
    render(&names, settings, role_arn)
}

/// The ServiceAccount alone.
///
/// # Errors
/// Says that the template doesn't hold.
pub fn service_account(namespace: &str, name: &str, role_arn: Option<&str>) -> Result<Value, String> {
    one(SERVICE_ACCOUNT, &json!({"namespace": namespace, "name": name, "role_arn": role_arn}))
}

/// The Namespace alone.
///
/// # Errors
/// Says that the template doesn't hold.
pub fn namespace(namespace: &str) -> Result<Value, String> {
    one(NAMESPACE, &json!({"namespace": namespace}))
}

fn render(names: &[&str], settings: &Settings, role_arn: Option<&str>) -> Result<Vec<Value>, String> {
    let selector = selector(&settings.name);
    let mut labels = selector.clone();
    labels["app.kubernetes.io/version"] = json!(settings.version.to_string());
    labels["app.kubernetes.io/managed-by"] = json!(MANAGER);
    let rules: Vec<Value> = rbac::rules(settings).iter().map(rbac::Rule::to_value).collect();
    let values = json!({
        "name": settings.name,
        "namespace": settings.namespace,
        "binding": cluster_role_binding_name(&settings.name),
        "labels": labels,
        "selector": selector,
        "pod_labels": selector,
        "rules": rules,
        "replicas": settings.replicas,
        "image": settings.image,
        "args": settings.args(),
        "region": settings.region,
        "role_arn": role_arn,
    });
    names.iter().map(|name| one(name, &values)).collect()
}

/// Values are escaped as JSON, which is YAML too: no value can break out of its place.
fn one(name: &str, values: &Value) -> Result<Value, String> {
    let broken = |problem: &dyn std::fmt::Display| format!("template {name}: {problem}");
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    for (name, source) in TEMPLATES {
        environment.add_template(name, source).map_err(|problem| broken(&problem))?;
    }
    let template = environment.get_template(name).map_err(|problem| broken(&problem))?;
    let text = template.render(minijinja::value::Serde(values)).map_err(|problem| broken(&problem))?;
    serde_saphyr::from_str(&text).map_err(|problem| broken(&problem))
}

/// YAML documents of the objects, separated by `---`.
pub fn to_yaml(objects: &[Value]) -> String {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let document = |object: &Value| serde_saphyr::to_string_with_options(object, options.clone()).unwrap_or_default();
    objects.iter().map(document).collect::<Vec<_>>().join("---\n")
}

/// Makes rendered objects fit a Deployment that others made and irsactl takes over: what selects its
/// pods can't be changed, and a container is known by its name.
pub fn adopt(objects: &mut [Value], live: &Value) {
    let Some(installed) = Installed::from_deployment(live) else { return };
    let Some(deployment) = objects.iter_mut().find(|object| object["kind"] == "Deployment") else { return };
    if let Some(selector) = live.pointer("/spec/selector") {
        deployment["spec"]["selector"] = selector.clone();
        let labels = selected_labels(live, &installed);
        merge_labels(&mut deployment["spec"]["template"]["metadata"]["labels"], labels);
    }
    deployment["spec"]["template"]["spec"]["containers"][0]["name"] = json!(installed.container);
}

/// Labels of the live pod template that its selector asks for.
fn selected_labels(live: &Value, installed: &Installed) -> Map<String, Value> {
    let mut labels: Map<String, Value> =
        installed.selector.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    let expressions = live.pointer("/spec/selector/matchExpressions").and_then(Value::as_array).into_iter().flatten();
    for key in expressions.filter_map(|expression| expression["key"].as_str()) {
        let escaped = crate::plan::diff::escape(key);
        let value = live.pointer(&format!("/spec/template/metadata/labels/{escaped}"));
        labels.extend(value.map(|value| (key.to_owned(), value.clone())));
    }
    labels
}

fn merge_labels(labels: &mut Value, more: Map<String, Value>) {
    if let Value::Object(labels) = labels {
        labels.extend(more);
    }
}

/// A JSON Patch (RFC 6902) that has to go before the apply of `desired` to a live Deployment; empty if
/// none has to, as once it is done. Apply can't remove what it never set, and some of that can't stay:
/// `rollingUpdate` beside the strategy Recreate is refused by the API server (a `null` doesn't help),
/// a command with arguments in it and `EXTERNAL_DNS_*` variables would still be obeyed.
pub fn takeover_patch(live: &Value, desired: &Value) -> Vec<Value> {
    let patch = takeover(live, desired);
    let uid = live.pointer("/metadata/uid").filter(|_| !patch.is_empty());
    let test = uid.map(|uid| json!({"op": "test", "path": "/metadata/uid", "value": uid}));
    test.into_iter().chain(patch).collect()
}

fn takeover(live: &Value, desired: &Value) -> Vec<Value> {
    let mut patch = Vec::new();
    if live.pointer("/spec/strategy/rollingUpdate").is_some() && desired["spec"]["strategy"]["type"] == "Recreate" {
        patch.push(json!({"op": "add", "path": "/spec/strategy", "value": {"type": "Recreate"}}));
    }
    let containers = desired.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    let Some(wanted) = containers.and_then(|containers| containers.first()) else { return patch };
    let present = live.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    let found = present.into_iter().flatten().enumerate().find(|(_, one)| one["name"] == wanted["name"]);
    let Some((index, container)) = found else { return patch };
    let base = format!("/spec/template/spec/containers/{index}");
    let removals = obsolete(container, wanted);
    if removals.is_empty() {
        return patch;
    }
    // What others put in their places meanwhile isn't theirs.
    let test = |path: &str| json!({"op": "test", "path": format!("{base}{path}"), "value": container.pointer(path)});
    patch.push(test("/name"));
    patch.extend(removals.iter().map(|path| test(path)));
    // Together with what they stood for, so that no pod starts without arguments.
    for key in ["image", "args"] {
        patch.push(json!({"op": "add", "path": format!("{base}/{key}"), "value": wanted[key]}));
    }
    patch.extend(removals.iter().map(|path| json!({"op": "remove", "path": format!("{base}{path}")})));
    patch
}

/// JSON Pointers in a container, those of a list from the last to the first.
fn obsolete(container: &Value, wanted: &Value) -> Vec<String> {
    let items = |one: &Value, key: &str| one[key].as_array().cloned().unwrap_or_default();
    let mut paths = Vec::new();
    let words = items(container, "command");
    if wanted.get("command").is_none() && words.iter().filter_map(Value::as_str).any(|word| word.contains("--")) {
        paths.push("/command".to_owned());
    }
    let kept: Vec<Value> = items(wanted, "env").iter().map(|variable| variable["name"].clone()).collect();
    let ours = |variable: &Value| {
        let name = variable["name"].as_str().unwrap_or_default();
        // The key of encrypted TXT records has no other place.
        name.starts_with("EXTERNAL_DNS_") && name != AES_KEY && !kept.contains(&variable["name"])
    };
    let env = items(container, "env");
    paths.extend(env.iter().enumerate().rev().filter(|(_, one)| ours(one)).map(|(at, _)| format!("/env/{at}")));
    paths
}

/// Namespace and name of the ServiceAccount that a ClusterRoleBinding is for, if it is for one.
pub fn bound_service_account(binding: &Value) -> Option<(String, String)> {
    let subjects = binding.get("subjects")?.as_array()?;
    let [subject] = subjects.as_slice() else { return None };
    let text = |key: &str| subject[key].as_str().map(str::to_owned);
    (subject["kind"] == "ServiceAccount").then(|| text("namespace").zip(text("name"))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(settings: &Settings) -> Vec<Value> {
        objects(settings, Some("arn:aws:iam::111122223333:role/external-dns"), true, true).unwrap()
    }

    fn find<'o>(objects: &'o [Value], kind: &str) -> &'o Value {
        objects.iter().find(|object| object["kind"] == kind).unwrap()
    }

    #[test]
    fn objects_come_in_the_order_they_are_needed() {
        let objects = rendered(&Settings::new("us-east-1", "c1"));
        let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Deployment"]);
        assert_eq!(super::objects(&Settings::new("us-east-1", "c1"), None, false, false).unwrap().len(), 3);
    }

    #[test]
    fn k20_service_account_is_eksctls_and_the_binding_is_for_it() {
        let arn = "arn:aws:iam::180789647333:role/eksctl-eksdemo1-addon-iamserviceaccount-defa-Role1-JTO29BVZMA2N";
        for namespace in ["default", "external-dns"] {
            let mut settings = Settings::new("us-east-1", "c1");
            namespace.clone_into(&mut settings.namespace);
            let objects = objects(&settings, Some(arn), true, true).unwrap();
            assert_eq!(
                find(&objects, "ServiceAccount"),
                &json!({
                    "apiVersion": "v1",
                    "kind": "ServiceAccount",
                    "metadata": {
                        "name": "external-dns",
                        "namespace": namespace,
                        "labels": {"app.kubernetes.io/managed-by": "eksctl"},
                        "annotations": {"eks.amazonaws.com/role-arn": arn},
                    },
                })
            );
            let binding = find(&objects, "ClusterRoleBinding");
            assert_eq!(bound_service_account(binding), Some((namespace.to_owned(), "external-dns".to_owned())));
            assert_eq!(binding["metadata"]["name"], "external-dns-viewer");
            assert_eq!(binding["roleRef"]["name"], find(&objects, "ClusterRole")["metadata"]["name"]);
        }
        let bare = service_account("default", "external-dns", None).unwrap();
        assert_eq!(bare["metadata"].get("annotations"), None);
    }

    #[test]
    fn deployment_is_hardened_and_selects_only_what_never_changes() {
        let objects = rendered(&Settings::new("eu-west-1", "c1"));
        let spec = &find(&objects, "Deployment")["spec"];
        assert_eq!(spec["strategy"], json!({"type": "Recreate"}));
        assert_eq!(
            spec["selector"]["matchLabels"],
            json!({"app.kubernetes.io/name": "external-dns", "app.kubernetes.io/instance": "external-dns"})
        );
        let container = &spec["template"]["spec"]["containers"][0];
        assert_eq!(container["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(container["resources"]["limits"], json!({"memory": "512Mi"}));
        let region = |name: &str| json!({"name": name, "value": "eu-west-1"});
        assert_eq!(container["env"], json!([region("AWS_REGION"), region("AWS_DEFAULT_REGION")]));
        assert_eq!(container["image"], "registry.k8s.io/external-dns/external-dns:v0.23.0");
    }

    #[test]
    fn k25_rendering_twice_is_the_same() {
        let settings = Settings::new("us-east-1", "c1");
        assert_eq!(to_yaml(&rendered(&settings)), to_yaml(&rendered(&settings)));
    }

    #[test]
    fn values_cannot_break_out_of_their_place() {
        let mut settings = Settings::new("us-east-1", "c1");
        settings.image = "x\n  evil: \"yes\" # {{ name }}".to_owned();
        settings.extra_args =
            vec!["--fqdn-template={{.Name}}.example.com".to_owned(), "--default-targets=on".to_owned()];
        let objects = rendered(&settings);
        let container = &find(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], json!(settings.image));
        assert_eq!(container["args"], json!(settings.args()));
    }

    #[test]
    fn yaml_reads_back_even_where_words_look_like_other_types() {
        let objects = [
            json!({
                "a": ["yes", "on", "no", "y", "n", "0777", "1e3", "12:30", "1.30", "null", "~", "", " x", "a: b", "#c", "0x1f", ".5", "=",
                      "true", "-", "- a", "[x]", "{x}", "!x", "&x", "*x", "%x", "@x", "`x", "line\nbreak", "2001-01-01", "1_000", ".inf", "<<"],
                "n": 1, "b": true, "e": {}, "l": [], "nothing": null,
                "long": "x ".repeat(100),
            }),
            json!({"kind": "Second"}),
        ];
        let text = to_yaml(&objects);
        let back: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(back, objects, "{text}");
        for word in ["yes", "on", "no", "y", "n", "0777", "12:30", "1_000", "2001-01-01"] {
            assert!(!text.contains(&format!("- {word}\n")), "{word} is another type in YAML 1.1:\n{text}");
        }
    }

    #[test]
    fn adopted_deployments_keep_what_cannot_change() {
        let live = json!({
            "kind": "Deployment",
            "metadata": {"name": "external-dns", "namespace": "default", "uid": "u"},
            "spec": {
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
                "selector": {"matchLabels": {"app": "external-dns"}},
                "template": {"spec": {"containers": [
                    {"name": "sidecar", "image": "sidecar:1"},
                    {"name": "dns", "image": "k8s.gcr.io/external-dns/external-dns:v0.10.2",
                     "command": ["/external-dns", "--source=service"],
                     "env": [{"name": "EXTERNAL_DNS_PROVIDER", "value": "aws"}, {"name": "TZ", "value": "UTC"},
                             {"name": "EXTERNAL_DNS_POLICY", "value": "sync"}]},
                ]}},
            },
        });
        let mut objects = rendered(&Settings::new("us-east-1", "c1"));
        adopt(&mut objects, &live);
        let spec = &find(&objects, "Deployment")["spec"];
        assert_eq!(spec["selector"], json!({"matchLabels": {"app": "external-dns"}}));
        assert_eq!(spec["template"]["metadata"]["labels"]["app"], "external-dns");
        assert_eq!(spec["template"]["spec"]["containers"][0]["name"], "dns");
        let desired = find(&objects, "Deployment");
        let base = "/spec/template/spec/containers/1";
        let patch = takeover_patch(&live, desired);
        let step = |step: &Value| format!("{} {}", step["op"], step["path"]).replace('"', "");
        let at = |op: &str, path: &str| format!("{op} {base}/{path}");
        let [command, last, first] = ["command", "env/2", "env/0"];
        let tests = ["name", command, last, first].map(|path| at("test", path));
        let changes = [at("add", "image"), at("add", "args")];
        let removals = [command, last, first].map(|path| at("remove", path));
        let first = ["test /metadata/uid", "add /spec/strategy"].map(str::to_owned);
        assert_eq!(patch.iter().map(step).collect::<Vec<_>>(), [&first[..], &tests, &changes, &removals].concat());
        assert_eq!(patch[2]["value"], "dns");
        assert_eq!(patch[4]["value"], json!({"name": "EXTERNAL_DNS_POLICY", "value": "sync"}));
        assert_eq!(takeover_patch(desired, desired), [json!(null); 0]);
    }
}
