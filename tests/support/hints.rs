//! Does what a hint says, as someone who copies it into a shell.

use std::process::Command;

use serde_json::{Value, json};

use super::aws::{change_in, wait};
use super::{Run, Sandbox};

impl Sandbox {
    /// Runs the commands of a hint, which must succeed. irsactl is run; what other tools would do is done by the same
    /// calls, as the tools may not be here.
    #[track_caller]
    pub fn follow(&self, hint: &str) {
        for command in commands(command_of(hint)) {
            self.follow_one(&command);
        }
    }

    #[track_caller]
    fn follow_one(&self, hint: &str) {
        let words = words(hint);
        let of = |flag: &str| {
            let value = words.iter().position(|word| word == flag).and_then(|at| words.get(at + 1));
            value.unwrap_or_else(|| panic!("no {flag} in: {hint}")).as_str()
        };
        let first: Vec<_> = words.iter().map(String::as_str).take(3).collect();
        match first.as_slice() {
            ["irsactl", ..] => drop(Run::of(&mut self.command(&words[1..])).ok()),
            ["aws", "iam", operation] => self.iam_command(operation, &of),
            ["aws", "route53", "change-resource-record-sets"] => {
                let batch = match of("--change-batch") {
                    "file:///dev/stdin" => here_document(hint),
                    batch => batch,
                };
                change_in(self, of("--hosted-zone-id"), &serde_json::from_str(batch).unwrap());
            }
            ["aws", "route53", "create-hosted-zone"] => {
                let request = aws_sdk_route53::Client::new(&self.aws()).create_hosted_zone().name(of("--name"));
                wait(request.caller_reference(of("--caller-reference")).send()).unwrap();
            }
            ["aws", "eks", "delete-pod-identity-association"] => {
                assert_eq!(of("--region"), self.fact("region"));
                let eks = aws_sdk_eks::Client::new(&self.aws());
                let request = eks.delete_pod_identity_association().cluster_name(of("--cluster-name"));
                wait(request.association_id(of("--association-id")).send()).unwrap();
            }
            ["kubectl", "patch", kind] => {
                let path = object_path(kind, of("--namespace"), &words[3]);
                self.patch(&path, &serde_json::from_str(of("--patch")).unwrap());
            }
            ["kubectl", verb @ ("annotate" | "label"), kind] => {
                let path = object_path(kind, of("--namespace"), &words[3]);
                self.set(&path, if *verb == "label" { "labels" } else { "annotations" }, &words[6..]);
            }
            ["kubectl", "--namespace", namespace] if words[3..5] == ["rollout", "restart"] => {
                let name = words[5].strip_prefix("deployment/").unwrap();
                let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
                let annotations =
                    json!({"kubectl.kubernetes.io/restartedAt": format!("{:?}", std::time::SystemTime::now())});
                self.patch(&path, &json!({"spec": {"template": {"metadata": {"annotations": annotations}}}}));
            }
            ["kubectl", "--namespace", namespace] if words[3..5] == ["rollout", "undo"] => {
                self.undo(namespace, words[5].strip_prefix("deployment/").unwrap());
            }
            ["kubectl", "--namespace", namespace] if words[3..5] == ["rollout", "resume"] => {
                let name = words[5].strip_prefix("deployment/").unwrap();
                let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
                self.patch(&path, &json!({"spec": {"paused": null}}));
            }
            ["kubectl", "--namespace", namespace] if words[3..5] == ["patch", "deployment"] => {
                let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{}", words[5]);
                self.patch(&path, &serde_json::from_str(of("--patch")).unwrap());
            }
            ["kubectl", "--namespace", namespace] if words[3..5] == ["set", "env"] => {
                let path = format!(
                    "/apis/apps/v1/namespaces/{namespace}/deployments/{}",
                    words[5].strip_prefix("deployment/").unwrap()
                );
                let mut containers = self.object(&path)["spec"]["template"]["spec"]["containers"].clone();
                let container = words[6].strip_prefix("--containers=").unwrap();
                let gone: Vec<_> = words[7..].iter().map(|word| word.strip_suffix('-').unwrap()).collect();
                let mut all = containers.as_array_mut().unwrap().iter_mut();
                let env = all.find(|it| it["name"] == container).unwrap()["env"].as_array_mut().unwrap();
                env.retain(|variable| !gone.contains(&variable["name"].as_str().unwrap()));
                self.patch(&path, &json!({"spec": {"template": {"spec": {"containers": containers}}}}));
            }
            _ => panic!("no command: {hint}"),
        }
    }

    /// Sets `key=value` or takes `key-` off, as kubectl does: another value is replaced with `--overwrite` only.
    fn set(&self, path: &str, what: &str, words: &[String]) {
        let (key, value) = match words[0].split_once('=') {
            Some((key, value)) => (key, json!(value)),
            None => (words[0].strip_suffix('-').unwrap(), Value::Null),
        };
        let before = self.object(path)["metadata"][what][key].clone();
        let free = before.is_null() || value.is_null() || before == value;
        assert!(free || words.contains(&"--overwrite".to_owned()), "{key} is {before} already");
        self.patch(path, &json!({"metadata": {what: {key: value}}}));
    }

    /// Gives a Deployment the pod template of its last revision but one.
    fn undo(&self, namespace: &str, name: &str) {
        let apps = format!("/apis/apps/v1/namespaces/{namespace}");
        let path = format!("{apps}/deployments/{name}");
        let mut deployment = self.object(&path);
        let sets = self.object(&format!("{apps}/replicasets"));
        let mut sets: Vec<_> = sets["items"].as_array().unwrap().iter().collect();
        sets.retain(|set| set["metadata"]["ownerReferences"][0]["uid"] == deployment["metadata"]["uid"]);
        sets.sort_by_key(|set| {
            let revision = &set["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
            revision.as_str().unwrap().parse::<u32>().unwrap()
        });
        let mut template = sets[sets.len() - 2]["spec"]["template"].clone();
        template["metadata"]["labels"].as_object_mut().unwrap().remove("pod-template-hash");
        deployment["spec"]["template"] = template;
        self.kube("PUT", &path, Some(&deployment)).unwrap();
    }

    fn iam_command<'a>(&self, operation: &str, of: &dyn Fn(&str) -> &'a str) {
        let iam = self.iam();
        if operation == "create-policy-version" {
            let request = iam.create_policy_version().policy_arn(of("--policy-arn")).set_as_default(true);
            return wait(request.policy_document(of("--policy-document")).send()).map(drop).unwrap();
        }
        let role = of("--role-name");
        match operation {
            "update-assume-role-policy" => {
                let request = iam.update_assume_role_policy().role_name(role);
                wait(request.policy_document(of("--policy-document")).send()).map(drop).unwrap();
            }
            "create-role" => {
                let request = iam.create_role().role_name(role);
                wait(request.assume_role_policy_document(of("--assume-role-policy-document")).send())
                    .map(drop)
                    .unwrap();
            }
            "put-role-policy" => {
                let request = iam.put_role_policy().role_name(role).policy_name(of("--policy-name"));
                wait(request.policy_document(of("--policy-document")).send()).map(drop).unwrap();
            }
            "delete-role-policy" => {
                let request = iam.delete_role_policy().role_name(role).policy_name(of("--policy-name"));
                wait(request.send()).map(drop).unwrap();
            }
            "delete-role-permissions-boundary" => {
                wait(iam.delete_role_permissions_boundary().role_name(role).send()).map(drop).unwrap();
            }
            _ => panic!("aws iam {operation}"),
        }
    }
}

/// A hint without what it says before its command: when that is the right one.
pub fn command_of(hint: &str) -> &str {
    let is_command = ["irsactl ", "aws ", "kubectl "].iter().any(|tool| hint.starts_with(tool));
    if is_command { hint } else { hint.split_once(": ").map_or(hint, |(_, command)| command) }
}

/// The commands of a hint: one a line, with its here-document, or several that go on only after success.
fn commands(hint: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut reads = false;
    for line in hint.lines() {
        if let Some(command) = commands.last_mut().filter(|_| reads) {
            *command = format!("{command}\n{line}");
            reads = line != "EOF";
        } else {
            commands.extend(line.split(" && ").map(str::to_owned));
            reads = line.ends_with(" <<'EOF'");
        }
    }
    commands
}

fn object_path(kind: &str, namespace: &str, name: &str) -> String {
    let api = match kind {
        "ingress" => "/apis/networking.k8s.io/v1",
        "service" => "/api/v1",
        "httproute" => "/apis/gateway.networking.k8s.io/v1",
        _ => panic!("which API has {kind}?"),
    };
    let plural = if kind == "ingress" { "ingresses".to_owned() } else { format!("{kind}s") };
    format!("{api}/namespaces/{namespace}/{plural}/{name}")
}

/// What a command reads from its here-document.
fn here_document(command: &str) -> &str {
    let (_, document) = command.split_once(" <<'EOF'\n").unwrap();
    document.strip_suffix("\nEOF").unwrap()
}

/// The words of a command as a shell sees them.
fn words(command: &str) -> Vec<String> {
    let output = Command::new("sh").arg("-c").arg(format!("printf '%s\\0' {command}")).output().unwrap();
    assert!(output.status.success(), "no command: {command}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim_end_matches('\0').split('\0').map(str::to_owned).collect()
}
