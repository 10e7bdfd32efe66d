//! The command that installs what is installed: hints are complete commands.

use super::args::Installed;
use super::settings::Settings;

/// Options of `install external-dns` that are called as the flags of ExternalDNS that they set.
const OPTIONS: &[&str] = &[
    "annotation-filter",
    "annotation-prefix",
    "aws-assume-role",
    "aws-assume-role-external-id",
    "aws-zone-type",
    "domain-filter",
    "exclude-domains",
    "ingress-class",
    "interval",
    "label-filter",
    "policy",
    "registry",
    "source",
    "zone-id-filter",
];

/// What is kept without being named, and what irsactl sets by itself.
const KEPT: &[&str] =
    &["enable-legacy-annotation-prefix", "provider", "txt-owner-id", "txt-prefix", "txt-suffix", "aws-prefer-cname"];

/// The command that brings a live installation back to what its arguments say, except the flags of `without`.
pub fn install_command(cluster: &str, region: &str, installed: &Installed, without: &[&str]) -> String {
    let mut words = vec![format!(
        "irsactl install external-dns --cluster {cluster} --region {region} --namespace {} --name {}",
        installed.namespace, installed.name
    )];
    if let Some(version) = installed.version {
        if installed.image != version.image() {
            words.push(format!("--image {}", quoted(&installed.image)));
        } else if installed.version != Some(super::version::NEWEST) {
            words.push(format!("--external-dns-version {version}"));
        }
    }
    let mut usual = Settings::new(region, &installed.owner_id);
    usual.version = installed.rules();
    let usual = usual.args();
    let other_sources = installed.sources != ["service", "ingress"];
    for (name, value) in installed.arguments.given() {
        let said = value.map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}"));
        let usual = usual.contains(&said) && !(name == "source" && other_sources);
        if usual || KEPT.contains(&name) || without.contains(&name) {
            continue;
        }
        words.push(match value {
            Some(value) if OPTIONS.contains(&name) => format!("--{name} {}", quoted(value)),
            _ => format!("--extra-arg={}", quoted(&said)),
        });
    }
    if installed.arguments.bool("aws-prefer-cname") == Some(true) {
        words.push("--aws-prefer-cname".to_owned());
    }
    words.push("--approve".to_owned());
    words.join(" ")
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn installed(image: &str, args: &[String]) -> Installed {
        let container = json!({"name": "external-dns", "image": image, "args": args});
        let deployment = json!({"metadata": {"name": "external-dns", "namespace": "dns"},
            "spec": {"template": {"spec": {"containers": [container]}}}});
        Installed::from_deployment(&deployment).unwrap()
    }

    #[test]
    fn what_is_usual_is_left_out() {
        let mut settings = Settings::new("us-west-2", "x");
        let image = settings.image.clone();
        let place =
            "irsactl install external-dns --cluster demo --region us-west-2 --namespace dns --name external-dns";
        let command =
            |settings: &Settings| install_command("demo", "us-west-2", &installed(&image, &settings.args()), &[]);
        assert_eq!(command(&settings), format!("{place} --approve"));
        settings.domain_filters = vec!["example.com".to_owned()];
        settings.sources = vec!["ingress".to_owned()];
        settings.label_filter = Some("a in (b, c)".to_owned());
        settings.txt_prefix = Some("x-".to_owned());
        settings.extra_args = vec!["--events".to_owned(), "--log-level=debug".to_owned()];
        assert_eq!(
            command(&settings),
            format!(
                "{place} --extra-arg=--log-level=debug --source ingress --domain-filter example.com \
                 --label-filter 'a in (b, c)' --extra-arg=--events --approve"
            )
        );
        let old = installed("registry.k8s.io/external-dns/external-dns:v0.21.0", &["--source=service".to_owned()]);
        let command = install_command("demo", "us-west-2", &old, &["source"]);
        assert_eq!(command, format!("{place} --external-dns-version v0.21.0 --approve"));
    }
}
