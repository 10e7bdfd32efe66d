//! No run may print a secret: every test's every run is looked through.

use std::process::Command;

use serde_json::Value;

use super::get;

/// How secrets look: presigned URLs, EKS tokens, JSON web tokens, headers.
const FORMS: [&str; 6] =
    ["X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Credential", "k8s-aws-v1.", "eyJhbGciOi", "Bearer "];

/// A shorter value may be a word of the text by chance.
const SHORTEST: usize = 16;

/// What was printed by this command holds no secret of its environment, of its sandbox, or of any known form.
#[track_caller]
pub fn assert_none(command: &Command, printed: &str) {
    if printed.is_empty() {
        return;
    }
    for secret in FORMS.into_iter().map(str::to_owned).chain(in_use(command)) {
        let Some(at) = printed.find(&secret) else { continue };
        let from = printed[..at].char_indices().rev().nth(200).map_or(0, |(index, _)| index);
        panic!("{command:?} printed a secret, {secret}, after: {}", &printed[from..at]);
    }
}

/// The values that this command was given, those of its kubeconfig, and every one that its sandbox's AWS knows or has
/// issued.
fn in_use(command: &Command) -> Vec<String> {
    let mut found = Vec::new();
    let mut endpoint = None;
    for (name, value) in command.get_envs() {
        let (Some(name), Some(value)) = (name.to_str(), value.and_then(|value| value.to_str())) else { continue };
        if name.contains("SECRET") || name.contains("TOKEN") || name.contains("PASSWORD") {
            found.push(value.to_owned());
        }
        if name == "AWS_ENDPOINT_URL" {
            endpoint = Some(value.to_owned());
        }
    }
    let mut args = command.get_args().filter_map(|arg| arg.to_str());
    if args.by_ref().any(|arg| arg == "--kubeconfig") {
        found.extend(args.next().map(tokens).unwrap_or_default());
    }
    if let Some(endpoint) = endpoint.filter(|url| url.starts_with("http://127.0.0.1:") && is_sandbox(url)) {
        let issued = get(&format!("{endpoint}/_sandbox/secrets"));
        found.extend(issued.as_array().unwrap().iter().filter_map(Value::as_str).map(str::to_owned));
    }
    found.retain(|secret| secret.len() >= SHORTEST);
    found
}

/// The tokens of a kubeconfig; a test may name what can't be read to its end.
fn tokens(path: &str) -> Vec<String> {
    let readable = std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() < 1 << 20);
    let text = if readable { std::fs::read_to_string(path).unwrap_or_default() } else { String::new() };
    text.lines().filter_map(|line| line.trim().strip_prefix("token: ")).map(str::to_owned).collect()
}

/// True unless a test leads its command to where nobody is.
fn is_sandbox(endpoint: &str) -> bool {
    ureq::get(&format!("{endpoint}/_sandbox/faults")).call().is_ok()
}
