//! The command that installs what is installed: hints are complete commands.
//!
//! What an installation can't be told by options is left out, and so is what makes ExternalDNS exit: run as it is, the
//! command plans nothing where nothing is broken, and mends what is.

use serde_json::Value;

use super::args::{IMAGE, Installed, word};
use super::extra::Extra;
use super::flags::{Flag, Kind};
use super::owner::scoped_policy;
use super::patch;
use super::secret::is_secret;
use super::settings::{Policy, Registry, Settings, ZoneType, abandoned_image};
use super::sources::check_source;
use super::version::{FLOOR, LEGACY_PREFIX, NEWEST};
use crate::iam::policy::assume_role;
use crate::k8s::FIELD_MANAGER;
use crate::plan::iamserviceaccount::{ObservedStack, ROLE_OUTPUT};
use crate::shell::{self, Command, option};
use crate::stack::tags;
use crate::stack::template::{self, INLINE};

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
const KEPT: &[&str] = &[
    "enable-legacy-annotation-prefix",
    "provider",
    "txt-owner-id",
    "txt-prefix",
    "txt-suffix",
    "aws-prefer-cname",
    "no-aws-prefer-cname",
];

/// An installation, and where it is.
#[derive(Clone, Copy, Debug)]
pub struct Reproduction<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// Its region.
    pub region: &'a str,
    /// The namespace of the installation.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What it was told; none where its Deployment is gone.
    pub installed: Option<&'a Installed>,
    /// Its IAM half, see [`role_words`].
    pub role: &'a [String],
    /// The patch that it was given.
    pub patch: Option<&'a Value>,
}

/// In the place of a patch that isn't shown: no file is called so, and nothing is installed without it.
const UNSHOWN: &str = "(the file that it was installed with: what it sets may be secret)";

impl Reproduction<'_> {
    /// The command, without the flags (name and value; [`IMAGE`] for the image) that are `left_out`, and with `more`
    /// words.
    pub fn command(&self, left_out: impl Fn(&str, &str) -> bool, more: &[String]) -> String {
        let Self { cluster, region, namespace, name, .. } = self;
        let command = Command::new("irsactl install external-dns").with("--cluster", cluster).with("--region", region);
        let mut lost = self.installed.is_none();
        let mut words = vec![command.with("--namespace", namespace).with("--name", name).into()];
        if let Some(installed) = self.installed {
            if installed.managed_by.as_deref() != Some(FIELD_MANAGER) {
                words.push("--adopt".to_owned());
            }
            if !left_out(IMAGE, &installed.image) {
                words.extend(image_words(installed));
            }
            let flags = flag_words(self.region, installed, left_out);
            lost = installed.lost().iter().any(|(lost, _)| !flags.iter().any(|(name, _)| name == lost));
            words.extend(flags.into_iter().map(|(_, word)| word));
            words.extend(choices(installed));
        }
        words.extend(self.patch.map(|patch| {
            let shown = patch::may_be_shown(patch);
            option("--patch", &if shown { patch.to_string() } else { UNSHOWN.to_owned() })
        }));
        words.extend(self.role.iter().chain(more).cloned());
        // What isn't known can't be repeated: the plan says what has to be told.
        words.extend((!lost).then(|| "--approve".to_owned()));
        words.join(" ")
    }
}

fn image_words(installed: &Installed) -> Option<String> {
    let image = &installed.image;
    let official = installed.version.is_some_and(|version| *image == version.image());
    match installed.version {
        Some(version) if version < FLOOR => None,
        Some(version) if official || abandoned_image(image).is_some() => {
            (version != NEWEST).then(|| format!("--external-dns-version {version}"))
        }
        Some(_) => Some(option("--image", image)),
        None if abandoned_image(image).is_some() => None,
        None => Some(format!("{} --external-dns-version {NEWEST}", option("--image", image))),
    }
}

/// The flags that hold, each with its name, those that are usual left out.
fn flag_words(region: &str, installed: &Installed, left_out: impl Fn(&str, &str) -> bool) -> Vec<(String, String)> {
    let mut usual = Settings::new(region, &installed.owner_id);
    usual.version = installed.rules();
    let usual = usual.args();
    let other_sources = installed.sources != ["service", "ingress"];
    let given = installed.arguments.holding();
    let mut words = Vec::new();
    for (index, (name, value)) in given.iter().enumerate() {
        let (name, value) = (name.as_str(), value.as_deref());
        let said = word(name, value);
        let is_usual = usual.contains(&said) && !(name == "source" && other_sources);
        let list = Flag::find(name).is_some_and(|flag| flag.kind_in(installed.rules()) == Kind::List);
        let said_later = !list && given[index + 1..].iter().any(|(other, _)| other == name);
        if is_usual || said_later || KEPT.contains(&name) || left_out(name, value.unwrap_or_default()) {
            continue;
        }
        let extra = || Extra::parse(&said).and_then(|extra| extra.check(installed.rules()));
        match value {
            Some(value) if OPTIONS.contains(&name) && takes(installed, name, value) => {
                words.push((name.to_owned(), option(&format!("--{name}"), value)));
            }
            // Those of the options are no extra arguments.
            _ if extra().is_ok() && !is_secret(name) => {
                words.push((name.to_owned(), format!("--extra-arg={}", shell::word(&said))));
            }
            _ => {}
        }
    }
    words
}

/// Whether `install` takes a value that ExternalDNS was given.
fn takes(installed: &Installed, name: &str, value: &str) -> bool {
    match name {
        _ if value.is_empty() => false,
        "policy" => Policy::parse(value).is_some_and(|policy| policy != Policy::Sync || installed.registry != "noop"),
        "registry" => [Registry::Txt, Registry::Noop].iter().any(|registry| registry.as_str() == value),
        "aws-zone-type" => [ZoneType::Public, ZoneType::Private].iter().any(|kind| kind.as_str() == value),
        "source" => check_source(value, installed.rules()).is_ok(),
        _ => true,
    }
}

/// What holds by default or by the sum of several flags.
fn choices(installed: &Installed) -> Vec<String> {
    let mut words = Vec::new();
    let given = |flag: &str| installed.arguments.get(flag).is_some();
    if !given("policy") && installed.policy.as_deref() == Some("sync") && installed.registry != "noop" {
        words.push("--policy sync".to_owned());
    }
    if let (Some(prefix), Some(suffix)) = (&installed.txt_prefix, &installed.txt_suffix) {
        // It ran before the second was added.
        let first = installed.arguments.names().find(|name| ["txt-prefix", "txt-suffix"].contains(name));
        let (flag, affix) =
            if first == Some("txt-suffix") { ("--txt-suffix", suffix) } else { ("--txt-prefix", prefix) };
        words.push(option(flag, affix));
    }
    let mut usual = Settings::new("", &installed.owner_id);
    usual.version = installed.rules();
    usual.annotation_prefix = given("annotation-prefix").then(|| installed.annotation_prefix.clone());
    let contradicts = installed.legacy_annotations && installed.annotation_prefix.starts_with(LEGACY_PREFIX);
    if super::flags::check("enable-legacy-annotation-prefix", usual.version).is_ok()
        && usual.prefixes().legacy != installed.legacy_annotations
        && !contradicts
    {
        words.push(format!("--legacy-annotations={}", installed.legacy_annotations));
    }
    if installed.arguments.bool("aws-prefer-cname") == Some(true) {
        words.push("--aws-prefer-cname".to_owned());
    }
    words
}

/// The IAM half of an installation.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoleFacts<'a> {
    /// The stack that makes its role.
    pub stack: Option<&'a ObservedStack>,
    /// The role that its ServiceAccount names.
    pub named: Option<&'a str>,
    /// The role that it assumes with the first.
    pub second: Option<&'a str>,
    /// The name of the policy that irsactl keeps for it, where it isn't the usual one.
    pub policy: Option<&'a str>,
    /// The usual name of the policy.
    pub shared: &'a str,
}

impl RoleFacts<'_> {
    /// The only managed policy of the stack's role, whose name isn't the usual one.
    pub fn unusual_policy(&self) -> Option<String> {
        let facts = template::read(&self.stack?.template).ok()?;
        let [arn] = &facts.managed_arns()[..] else { return None };
        (arn.rsplit('/').next() != Some(self.shared)).then(|| arn.clone())
    }
}

/// The IAM half of an installation of this region, cluster and name as options of `install`, which plans nothing with
/// them. A role that no option makes is used as it is.
pub fn role_words(region: &str, cluster: &str, name: &str, facts: &RoleFacts<'_>) -> Vec<String> {
    let Some(found) = facts.stack else {
        return facts.named.map(|role| option("--role-arn", role.trim())).into_iter().collect();
    };
    made_by_options(region, cluster, name, facts, found).unwrap_or_else(|| {
        let role = found.stack.outputs.get(ROLE_OUTPUT);
        role.map(|role| option("--role-arn", role)).into_iter().collect()
    })
}

/// None where the stack holds what no option makes.
fn made_by_options(
    region: &str,
    cluster: &str,
    name: &str,
    facts: &RoleFacts<'_>,
    found: &ObservedStack,
) -> Option<Vec<String>> {
    let made = template::read(&found.template).ok()?;
    let policies = made.managed_policies.iter().map(|policy| policy.as_str()).collect::<Option<Vec<_>>>()?;
    let inline = facts.second.map(|second| (INLINE.to_owned(), assume_role(second).0));
    if made.inline != inline.into_iter().collect() {
        return None;
    }
    let mut words = match policies[..] {
        [] if facts.second.is_some() => Vec::new(),
        [] => return None,
        [arn] if facts.second.is_none() => policy_words(region, cluster, name, facts, arn),
        _ => vec![option("--attach-policy-arn", &policies.join(","))],
    };
    words.extend(made.role_name.map(|name| option("--role-name", &name)));
    words.extend(made.role_path.map(|path| option("--role-path", &path)));
    if let Some(boundary) = &made.boundary {
        words.push(option("--permissions-boundary", boundary.as_str()?));
    }
    let tags: Vec<_> = tags::of_users(&found.stack.tags).map(|(key, value)| format!("{key}={value}")).collect();
    if !tags.is_empty() {
        words.push(option("--tags", &tags.join(",")));
    }
    Some(words)
}

fn policy_words(region: &str, cluster: &str, name: &str, facts: &RoleFacts<'_>, arn: &str) -> Vec<String> {
    let policy = arn.rsplit('/').next().unwrap_or(arn);
    let own = arn.contains(&format!(":policy/{policy}"));
    let word = if own && policy == facts.shared {
        return Vec::new();
    } else if own && policy == scoped_policy(facts.shared, region, cluster, name) {
        "--least-privilege".to_owned()
    } else if facts.policy == Some(policy) {
        option("--policy-name", policy)
    } else {
        option("--attach-policy-arn", arn)
    };
    vec![word]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn installed(image: &str, args: &[String]) -> Installed {
        let container = json!({"name": "external-dns", "image": image, "args": args});
        let labels = json!({"app.kubernetes.io/managed-by": "irsactl"});
        let deployment = json!({"metadata": {"name": "external-dns", "namespace": "dns", "labels": labels},
            "spec": {"template": {"spec": {"containers": [container]}}}});
        Installed::from_deployment(&deployment).unwrap()
    }

    /// What follows the place.
    fn words(installed: &Installed) -> String {
        let place = ("demo", "us-west-2", "dns", "external-dns");
        let (cluster, region, namespace, name) = place;
        let all = Reproduction { cluster, region, namespace, name, installed: Some(installed), role: &[], patch: None };
        let command = all.command(|_, _| false, &[]);
        let place =
            "irsactl install external-dns --cluster demo --region us-west-2 --namespace dns --name external-dns ";
        command.strip_prefix(place).and_then(|rest| rest.strip_suffix("--approve")).unwrap().trim().to_owned()
    }

    fn given(image: &str, args: &[&str]) -> String {
        let args: Vec<_> = args.iter().map(|&arg| arg.to_owned()).collect();
        words(&installed(&format!("{}:{image}", super::super::version::REPOSITORY), &args))
    }

    #[test]
    fn what_is_usual_is_left_out() {
        let mut settings = Settings::new("us-west-2", "x");
        let image = settings.image.clone();
        let command = |settings: &Settings| words(&installed(&image, &settings.args()));
        assert_eq!(command(&settings), "");
        settings.domain_filters = vec!["example.com".to_owned()];
        settings.sources = vec!["ingress".to_owned()];
        settings.label_filter = Some("a in (b, c)".to_owned());
        settings.txt_prefix = Some("x-".to_owned());
        settings.extra_args = vec!["--events".to_owned(), "--log-level=debug".to_owned()];
        assert_eq!(
            command(&settings),
            "--extra-arg=--log-level=debug --source ingress --domain-filter example.com --label-filter 'a in (b, c)' \
             --extra-arg=--events"
        );
    }
    #[test]
    fn the_version_and_its_defaults_are_kept() {
        assert_eq!(
            given("v0.21.0", &["--source=service"]),
            "--external-dns-version v0.21.0 --source service --policy sync"
        );
        assert_eq!(
            given("v0.23.0", &["--source=service", "--source=ingress", "--policy=upsert-only"]),
            "--legacy-annotations=false"
        );
        let mirror = |image: &str| words(&installed(image, &Settings::new("us-west-2", "x").args()));
        assert_eq!(mirror("mirror/external-dns:v0.23.0"), "--image mirror/external-dns:v0.23.0");
        assert_eq!(
            mirror("mirror/external-dns:prod"),
            "--image mirror/external-dns:prod --external-dns-version v0.23.0"
        );
        assert_eq!(mirror("bitnami/external-dns:0.23.0"), "");
    }

    #[test]
    fn variables_are_repeated_as_flags_and_what_is_unknown_is_not_approved() {
        let variable = |flag: &str, value: &str| json!({"name": format!("EXTERNAL_DNS_{flag}"), "value": value});
        let container = json!({"name": "c", "image": "registry.k8s.io/external-dns/external-dns:v0.23.0",
        "args": ["--provider=aws", "--source=ingress"],
        "env": [
            variable("SOURCE", "service"),
            variable("DOMAIN_FILTER", "a.com\nb.com"),
            variable("ZONE_ID_FILTER", "Z1"),
            variable("AWS_ASSUME_ROLE", "arn:aws:iam::1:role/x"),
            variable("POLICY", "sync"),
            variable("EVENTS", "true"),
            variable("TXT_OWNER_ID", "c1"),
            variable("NO_SUCH_FLAG", "x"),
        ]});
        let mut deployment = json!({"metadata": {"name": "external-dns", "namespace": "dns",
            "labels": {"app.kubernetes.io/managed-by": "irsactl"}},
            "spec": {"template": {"spec": {"containers": [container]}}}});
        let installed = Installed::from_deployment(&deployment).unwrap();
        assert_eq!(
            words(&installed),
            "--source ingress --aws-assume-role arn:aws:iam::1:role/x --domain-filter a.com --domain-filter b.com \
             --extra-arg=--events --policy sync --zone-id-filter Z1 --legacy-annotations=false"
        );
        let env = &mut deployment["spec"]["template"]["spec"]["containers"][0]["env"];
        env[6] = json!({"name": "EXTERNAL_DNS_TXT_OWNER_ID", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
        let installed = Installed::from_deployment(&deployment).unwrap();
        let place = ("demo", "us-west-2", "dns", "external-dns");
        let (cluster, region, namespace, name) = place;
        let all =
            Reproduction { cluster, region, namespace, name, installed: Some(&installed), role: &[], patch: None };
        assert!(!all.command(|_, _| false, &[]).contains("--approve"));
    }

    #[test]
    fn what_makes_it_exit_is_left_out() {
        let usual = Settings::new("us-west-2", "x").args();
        let with = |more: &[&str]| {
            let args: Vec<_> = usual.iter().map(String::as_str).chain(more.iter().copied()).collect();
            given("v0.23.0", &args)
        };
        for more in [
            &["--txt-new-format-only"][..],
            &["--no-such-flag=1"],
            &["--once"],
            &["--metrics-address=:1"],
            &["--source=no-such-source", "--source=cloudfoundry"],
            &["--aws-zone-type="],
            &["--interval=1m"],
            &["--policy=never"],
        ] {
            let left = with(more);
            assert!(left.is_empty() || left == "--source service --source ingress", "{more:?}: {left}");
        }
        assert_eq!(with(&["--interval=2m", "--interval=3m"]), "--interval 3m");
        assert_eq!(with(&["--txt-prefix=a", "--txt-suffix=b"]), "--txt-prefix a");
        assert_eq!(with(&["--txt-suffix=b", "--txt-prefix=a"]), "--txt-suffix b");
        assert_eq!(
            with(&["--annotation-prefix=external-dns.alpha.kubernetes.io/"]),
            "--annotation-prefix external-dns.alpha.kubernetes.io/"
        );
    }

    fn stack(managed: &serde_json::Value, inline: Option<&serde_json::Value>) -> ObservedStack {
        let mut resources = json!({"Role1": {"Type": "AWS::IAM::Role", "Properties": {
            "RoleName": "dns", "ManagedPolicyArns": managed, "PermissionsBoundary": "arn:aws:iam::1:policy/b"}}});
        if let Some(document) = inline {
            resources[INLINE] = json!({"Type": "AWS::IAM::Policy", "Properties": {
                "PolicyName": "p", "Roles": [{"Ref": "Role1"}], "PolicyDocument": document}});
        }
        let stack = crate::aws::cloudformation::Stack {
            outputs: [(ROLE_OUTPUT.to_owned(), "arn:aws:iam::1:role/dns".to_owned())].into(),
            tags: tags::tags("demo", "dns", "external-dns", "1", &[("team".to_owned(), "the DNS".to_owned())]),
            ..Default::default()
        };
        ObservedStack { stack, template: json!({"Resources": resources}), role: None, failure: None }
    }

    #[test]
    fn the_iam_half_is_told_by_options_or_taken_as_it_is() {
        let (own, second) = ("arn:aws:iam::1:policy", "arn:aws:iam::2:role/zones");
        let shared = format!("{own}/Shared");
        let usual = RoleFacts { shared: "Shared", ..RoleFacts::default() };
        let words = |stack: &ObservedStack, second: Option<&'static str>, policy: Option<&'static str>| {
            let facts = RoleFacts { stack: Some(stack), second, policy, ..usual };
            role_words("us-west-2", "demo", "external-dns", &facts).join(" ")
        };
        let rest = "--role-name dns --permissions-boundary arn:aws:iam::1:policy/b --tags 'team=the DNS'";
        for (managed, kept, word) in [
            (json!([shared]), None, String::new()),
            (json!([format!("{own}/Shared-us-west-2-demo")]), None, "--least-privilege ".to_owned()),
            (json!([format!("{own}/team")]), Some("team"), "--policy-name team ".to_owned()),
            (json!([format!("{own}/team")]), None, format!("--attach-policy-arn {own}/team ")),
            (
                json!([shared, "arn:aws:iam::aws:policy/x"]),
                None,
                format!("--attach-policy-arn {shared},arn:aws:iam::aws:policy/x "),
            ),
        ] {
            assert_eq!(words(&stack(&managed, None), None, kept), format!("{word}{rest}"));
        }
        let hop = assume_role(second).0;
        assert_eq!(words(&stack(&json!([]), Some(&hop)), Some(second), None), rest);
        // What options can't make.
        let as_it_is = "--role-arn arn:aws:iam::1:role/dns";
        assert_eq!(words(&stack(&json!([shared]), Some(&hop)), None, None), as_it_is);
        assert_eq!(words(&stack(&json!([]), None), None, None), as_it_is);
        assert_eq!(words(&stack(&json!([{"Ref": "Policy"}]), None), None, None), as_it_is);
        // No stack.
        let named = RoleFacts { named: Some(" arn:aws:iam::1:role/x"), ..usual };
        assert_eq!(role_words("us-west-2", "demo", "external-dns", &named), ["--role-arn arn:aws:iam::1:role/x"]);
        assert!(role_words("us-west-2", "demo", "external-dns", &usual).is_empty());
    }
}
