//! Keys and passwords among the arguments of an ExternalDNS that others told: never shown.

use serde_json::Value;

/// In the place of a value that isn't shown.
pub const HIDDEN: &str = "(hidden)";

/// The variable of the key of encrypted TXT records.
pub(super) const AES_KEY: &str = "EXTERNAL_DNS_TXT_ENCRYPT_AES_KEY";

/// How the names of flags end that ExternalDNS doesn't log (`secure` in its configuration), whatever the provider:
/// `--txt-encrypt-aes-key`, `--pdns-api-key`, `--rfc2136-tsig-secret`, …; and what variables of sidecars are called.
const ENDINGS: [&str; 6] = ["key", "pass", "passwd", "password", "secret", "token"];

/// True for a flag, or a variable in its place, whose value isn't shown.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// A field of a Deployment as it may be shown: `field` as people read it, such as `containers[external-dns].args`.
pub fn shown(field: &str, value: &Value) -> Value {
    let variable = field.strip_suffix("].value").and_then(|rest| rest.rsplit_once("env[")).map(|(_, name)| name);
    if variable.is_some_and(is_secret) { HIDDEN.into() } else { without_secrets(value) }
}

fn without_secrets(value: &Value) -> Value {
    match value {
        Value::String(text) => without_login(&words(text)).into(),
        Value::Array(items) => list(items),
        Value::Object(fields) => {
            let secret = fields.get("name").and_then(Value::as_str).is_some_and(is_secret);
            let shown = |key: &str, value: &Value| match value {
                Value::String(_) if secret && key == "value" => HIDDEN.into(),
                value => without_secrets(value),
            };
            fields.iter().map(|(key, value)| (key.clone(), shown(key, value))).collect()
        }
        other => other.clone(),
    }
}

/// The address of a proxy may have a name and a password in it.
fn without_login(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let host = rest.find(['/', '?', '#', ' ']).unwrap_or(rest.len());
    match rest[..host].rfind('@') {
        Some(at) => format!("{scheme}://{HIDDEN}{}", without_login(&rest[at..])),
        None => format!("{scheme}://{}", without_login(rest)),
    }
}

/// The value of a flag may be the item behind it.
fn list(items: &[Value]) -> Value {
    let flag = |item: &Value| item.as_str().and_then(|text| text.strip_prefix("--")).is_some_and(is_secret);
    let behind = |index: usize| index > 0 && flag(&items[index - 1]);
    items
        .iter()
        .enumerate()
        .map(|(index, item)| if behind(index) { HIDDEN.into() } else { without_secrets(item) })
        .collect()
}

/// An argument; or the command line of a shell, where a value ends with the next flag.
fn words(text: &str) -> String {
    if text.starts_with("--") {
        return flag(text);
    }
    text.split(" --")
        .enumerate()
        .map(|(index, part)| if index == 0 { part.to_owned() } else { flag(&format!(" --{part}")) })
        .collect()
}

fn flag(text: &str) -> String {
    let name = text.trim_start_matches([' ', '-']);
    match name.split_once(['=', ' ']) {
        Some((name, value)) if is_secret(name) => format!("{}{HIDDEN}", &text[..text.len() - value.len()]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_of_secret_flags_and_variables_are_hidden() {
        let name = "EXTERNAL_DNS_TXT_ENCRYPT_AES_KEY";
        for (value, expected) in [
            (
                json!(["--source=service", "--txt-encrypt-aes-key=SECRET"]),
                json!(["--source=service", "--txt-encrypt-aes-key=(hidden)"]),
            ),
            (json!(["--pdns-api-key=SE --CRET"]), json!(["--pdns-api-key=(hidden)"])),
            (json!(["--pdns-api-key", "SECRET --x", "--once"]), json!(["--pdns-api-key", "(hidden)", "--once"])),
            (
                json!("sh -c 'external-dns --pihole-password=SE CRET --once'"),
                json!("sh -c 'external-dns --pihole-password=(hidden) --once'"),
            ),
            (
                json!([{"name": name, "value": "SECRET"}, {"name": "TZ", "value": "UTC"}]),
                json!([{"name": name, "value": "(hidden)"}, {"name": "TZ", "value": "UTC"}]),
            ),
            (
                json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "key", "key": "key"}}}),
                json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "key", "key": "key"}}}),
            ),
            (json!(["--domain-filter=a", 1, null]), json!(["--domain-filter=a", 1, null])),
            (
                json!({"name": "HTTPS_PROXY", "value": "http://me:SECRET@proxy:3128"}),
                json!({"name": "HTTPS_PROXY", "value": "http://(hidden)@proxy:3128"}),
            ),
            (
                json!(["--a=http://x/@y", "http://a:S@b,https://c:S@d/e"]),
                json!(["--a=http://x/@y", "http://(hidden)@b,https://(hidden)@d/e"]),
            ),
            (json!({"name": "DB_PASS", "value": "SECRET"}), json!({"name": "DB_PASS", "value": "(hidden)"})),
        ] {
            assert_eq!(shown("spec", &value), expected);
        }
        let field = format!("spec.template.spec.containers[external-dns].env[{name}].value");
        assert_eq!(shown(&field, &json!("SECRET")), HIDDEN);
        assert_eq!(shown(&field.replace(name, "TZ"), &json!("UTC")), "UTC");
    }
}
