//! What an existing installation of ExternalDNS was told, whoever made it and in whatever shape.

use std::collections::BTreeMap;

use serde_json::Value;

use super::filter::{DomainFilter, UNJUDGED, Zone};
use super::flags::{self, Flag, Kind};
use super::registry::Mapper;
use super::secret::is_secret;
use super::settings::{Policy, Prefixes, abandoned_image};
use super::sources;
use super::version::{Feature, NEWEST, Version};

/// Flags that say which records are its own.
pub const OWNERSHIP: &[&str] =
    &["registry", "txt-owner-id", "txt-prefix", "txt-suffix", "txt-wildcard-replacement", "txt-encrypt-enabled"];

/// Flags that say which zones it looks after, and as whom.
pub const ZONES: &[&str] = &[
    "aws-assume-role",
    "aws-assume-role-external-id",
    "aws-zone-match-parent",
    "aws-zone-tags",
    "aws-zone-type",
    "domain-filter",
    "exclude-domains",
    "regex-domain-exclusion",
    "regex-domain-filter",
    "zone-id-filter",
];

/// In the place of a flag: image and version.
pub const IMAGE: &str = "image";

/// The arguments of a container: command, args and `EXTERNAL_DNS_*` variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    given: Vec<(String, Option<String>)>,
    env: BTreeMap<String, String>,
    /// Variables whose value the container doesn't say, and where it is.
    elsewhere: BTreeMap<String, String>,
    /// Where more variables are that the container doesn't name: their prefix, and where.
    unnamed: Vec<(String, String)>,
}

impl Arguments {
    /// Parses a command line and the variables beside it, as ExternalDNS does.
    pub fn parse(args: &[String], env: &[(String, String)]) -> Self {
        let mut given = Vec::new();
        let mut rest = args.iter().peekable();
        while let Some(arg) = rest.next() {
            let Some(body) = arg.strip_prefix("--").filter(|body| !body.is_empty()) else { continue };
            if let Some((name, value)) = body.split_once('=') {
                given.push((name.to_owned(), Some(value.to_owned())));
                continue;
            }
            let switch = switch_name(body).is_some();
            let next = rest.next_if(|next| !switch && !next.starts_with("--"));
            given.push((body.to_owned(), next.cloned()));
        }
        let env = env.iter().filter(|(name, _)| name.starts_with("EXTERNAL_DNS_")).cloned().collect();
        Self { given, env, ..Self::default() }
    }

    /// Those of a container in a pod template. `$(NAME)` is replaced by the container's variable of
    /// that name, as the kubelet does; a shell's command line is split at blanks.
    pub fn of_container(container: &Value) -> Self {
        let env: Vec<(String, String)> = list(container, "env")
            .filter(|variable| variable.get("valueFrom").is_none())
            .filter_map(|variable| Some((text(variable, "name")?, text(variable, "value")?)))
            .collect();
        // A variable may refer to those before it.
        let expand = |word: &str, before: usize| {
            let known = env[..before].iter().rev().filter(|_| word.contains("$("));
            known.fold(word.to_owned(), |word, (name, value)| with_variable(word, name, value))
        };
        let words = ["command", "args"].into_iter().flat_map(|key| list(container, key)).filter_map(Value::as_str);
        let words: Vec<String> = words.flat_map(shell_words).map(|word| expand(&word, env.len())).collect();
        let told = |(at, (name, value)): (usize, &(String, String))| {
            (name.clone(), if flag_of(name).is_some() { expand(value, at) } else { value.clone() })
        };
        let told: Vec<_> = env.iter().enumerate().map(told).collect();
        let elsewhere = list(container, "env")
            .filter_map(|variable| Some((text(variable, "name")?, place(variable.get("valueFrom")?))));
        let unnamed = list(container, "envFrom").map(|more| (text(more, "prefix").unwrap_or_default(), place(more)));
        Self { elsewhere: elsewhere.collect(), unnamed: unnamed.collect(), ..Self::parse(&words, &told) }
    }

    /// Where the value of a flag is, if the container doesn't say it: `variable X comes from Secret y`.
    pub fn unknown(&self, flag: &str) -> Option<String> {
        let is_it = |name: &str| name == flag || name.strip_prefix("no-") == Some(flag);
        let mut given = self.given.iter().filter(|(name, _)| is_it(name)).peekable();
        if given.peek().is_some() {
            return given.filter_map(|(_, value)| value.as_deref()).find_map(|value| self.refers(value));
        }
        let name = variable_of(flag);
        match self.env.get(&name).filter(|value| !value.is_empty()) {
            Some(value) => self.refers(value),
            None => self.place_of(&name),
        }
    }

    /// True for a flag that isn't known and that the container names: who writes the container anew loses its value.
    pub fn is_elsewhere(&self, flag: &str) -> bool {
        let (name, variable) = (|name| name == flag, variable_of(flag));
        let named =
            self.names().any(name) || self.elsewhere.contains_key(&variable) || self.env.contains_key(&variable);
        named && self.unknown(flag).is_some()
    }

    /// Where the first variable is that a text refers to and whose value isn't here.
    fn refers(&self, text: &str) -> Option<String> {
        let names = text.split("$(").skip(1).filter_map(|rest| rest.split_once(')'));
        names.map(|(name, _)| name).find_map(|name| self.place_of(name))
    }

    fn place_of(&self, variable: &str) -> Option<String> {
        if let Some(place) = self.elsewhere.get(variable) {
            return Some(format!("variable {variable} comes from {place}"));
        }
        let (_, place) = self.unnamed.iter().find(|(prefix, _)| variable.starts_with(prefix))?;
        Some(format!("variable {variable} may come from {place}"))
    }

    /// The value of a flag: the last one given, else the variable's.
    pub fn get(&self, flag: &str) -> Option<&str> {
        let given = self.given.iter().rev().find(|(name, value)| name == flag && value.is_some());
        given.and_then(|(_, value)| value.as_deref()).or_else(|| self.variable(flag))
    }

    /// All values of a flag; those of the variable are one a line.
    pub fn all(&self, flag: &str) -> Vec<&str> {
        let given: Vec<_> =
            self.given.iter().filter(|(name, _)| name == flag).filter_map(|(_, value)| value.as_deref()).collect();
        if !given.is_empty() {
            return given;
        }
        self.variable(flag).map(|text| text.lines().filter(|line| !line.is_empty()).collect()).unwrap_or_default()
    }

    /// Whether a switch is on, off (`--no-…`), or not given.
    pub fn bool(&self, flag: &str) -> Option<bool> {
        let given = self.given.iter().rev().find_map(|(name, value)| {
            let on = value.as_deref() != Some("false");
            if name == flag {
                return Some(on);
            }
            (name.strip_prefix("no-") == Some(flag)).then_some(false)
        });
        given.or_else(|| self.variable(flag).map(|value| value == "1" || value.eq_ignore_ascii_case("true")))
    }

    /// The flags of the command line, each with its value.
    pub fn given(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.given.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// The flags that hold, each with its value: those of the command line, then those of variables for flags that it
    /// doesn't name. Switches have none.
    pub fn holding(&self) -> Vec<(String, Option<String>)> {
        let mut all = self.given.clone();
        for flag in self.variables().filter_map(Flag::find) {
            if self.names().any(|name| name == flag.name) {
                continue;
            }
            let name = |on: bool| if on { flag.name.to_owned() } else { format!("no-{}", flag.name) };
            let values = match flag.kind {
                Kind::Switch => {
                    all.extend(self.bool(flag.name).map(|on| (name(on), None)));
                    continue;
                }
                Kind::Value => self.variable(flag.name).into_iter().collect(),
                Kind::List | Kind::ListSince(_) => self.all(flag.name),
            };
            all.extend(values.into_iter().map(|value| (flag.name.to_owned(), Some(value.to_owned()))));
        }
        all
    }

    /// All flags that hold, as a command line, a word a flag.
    pub fn words(&self) -> impl Iterator<Item = String> {
        self.holding().into_iter().map(|(name, value)| word(&name, value.as_deref()))
    }

    /// The names of all flags on the command line, without `--` and `no-`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.given.iter().map(|(name, _)| switch_name(name).unwrap_or(name))
    }

    /// Flags given as `EXTERNAL_DNS_*` variables; ExternalDNS ignores variables of flags that it doesn't have.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.env.iter().filter(|(_, value)| !value.is_empty()).filter_map(|(name, _)| flag_of(name))
    }

    fn variable(&self, flag: &str) -> Option<&str> {
        self.env.get(&variable_of(flag)).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// The variable that stands for a flag.
fn variable_of(flag: &str) -> String {
    format!("EXTERNAL_DNS_{}", flag.replace('-', "_").to_ascii_uppercase())
}

/// The flag that a variable stands for, if it does.
fn flag_of(variable: &str) -> Option<&'static str> {
    let name = variable.strip_prefix("EXTERNAL_DNS_")?.to_ascii_lowercase().replace('_', "-");
    Flag::find(&name).map(|flag| flag.name)
}

/// Where the value of a variable is, or a whole set of them: `ConfigMap dns (key owner)`.
fn place(source: &Value) -> String {
    let kinds = [
        ("configMapKeyRef", "ConfigMap"),
        ("configMapRef", "ConfigMap"),
        ("secretKeyRef", "Secret"),
        ("secretRef", "Secret"),
    ];
    let reference = kinds.iter().find_map(|(field, kind)| Some((source.get(field)?, kind)));
    let Some((reference, kind)) = reference else { return "the pod's own fields".to_owned() };
    let key = text(reference, "key").map(|key| format!(" (key {key})")).unwrap_or_default();
    format!("{kind} {}{key}", text(reference, "name").unwrap_or_default())
}

/// The longest argument of a process, in bytes (execve(2)).
const LONGEST: usize = 128 << 10;

/// A word with the value of a variable in place of `$(NAME)`; as it is where no process could be started with the result,
/// which the variables of variables can make as long as they like.
fn with_variable(word: String, name: &str, value: &str) -> String {
    let reference = format!("$({name})");
    let longer = word.matches(&reference).count().saturating_mul(value.len());
    if longer > LONGEST { word } else { word.replace(&reference, value) }
}

/// `--name=value`, or `--name`.
pub fn word(name: &str, value: Option<&str>) -> String {
    value.map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}"))
}

/// The switch that an argument without a value names, `no-` taken off.
fn switch_name(name: &str) -> Option<&str> {
    let positive = if Flag::find(name).is_some() { name } else { name.strip_prefix("no-").unwrap_or(name) };
    Flag::find(positive).filter(|flag| flag.kind == Kind::Switch).map(|_| positive)
}

fn shell_words(word: &str) -> Vec<String> {
    let script = !word.starts_with("--") && word.contains(" --");
    if !script {
        return vec![word.to_owned()];
    }
    word.split_whitespace().map(|word| word.replace(['"', '\'', '\\'], "")).collect()
}

/// An ExternalDNS that runs in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Installed {
    /// Name of the Deployment.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Name of the container.
    pub container: String,
    /// The image.
    pub image: String,
    /// The image's version, if its tag says so.
    pub version: Option<Version>,
    /// Who made it: `app.kubernetes.io/managed-by`, `Helm` where it is a release of Helm.
    pub managed_by: Option<String>,
    /// The ServiceAccount of its pods.
    pub service_account: String,
    /// Labels that select its pods.
    pub selector: BTreeMap<String, String>,
    /// How many pods are wanted.
    pub replicas: i64,
    /// `--provider`.
    pub provider: Option<String>,
    /// `--source`.
    pub sources: Vec<String>,
    /// `--domain-filter`.
    pub domain_filters: Vec<String>,
    /// `--exclude-domains`.
    pub exclude_domains: Vec<String>,
    /// `--zone-id-filter`, bare ids.
    pub zone_id_filters: Vec<String>,
    /// `--policy` or the version's default, which is that of older ones where the image doesn't say its version; `None`
    /// where it exits for want of one.
    pub policy: Option<String>,
    /// `--registry` or its default.
    pub registry: String,
    /// `--txt-owner-id` or its default.
    pub owner_id: String,
    /// `--txt-prefix`; `None` where empty.
    pub txt_prefix: Option<String>,
    /// `--txt-suffix`; `None` where empty.
    pub txt_suffix: Option<String>,
    /// `--txt-wildcard-replacement`; `None` where empty.
    pub wildcard_replacement: Option<String>,
    /// `--annotation-prefix` or the version's default.
    pub annotation_prefix: String,
    /// `--enable-legacy-annotation-prefix`.
    pub legacy_annotations: bool,
    /// `--annotation-filter`; `None` where empty.
    pub annotation_filter: Option<String>,
    /// `--label-filter`; `None` where empty.
    pub label_filter: Option<String>,
    /// `--ingress-class`.
    pub ingress_classes: Vec<String>,
    /// `--aws-zone-type`; `None` for both.
    pub zone_type: Option<String>,
    /// `--aws-assume-role`.
    pub assume_role: Option<String>,
    /// `--aws-assume-role-external-id`.
    pub assume_role_external_id: Option<String>,
    /// `--interval` or its default.
    pub interval: String,
    /// All arguments.
    pub arguments: Arguments,
}

impl Installed {
    /// Reads a Deployment (or another kind with a pod template); `None` if it isn't ExternalDNS.
    pub fn from_deployment(deployment: &Value) -> Option<Self> {
        let container = container(deployment)?;
        let arguments = Arguments::of_container(container);
        let image = text(container, "image").unwrap_or_default();
        let version = Version::of_image(&image);
        let rules = version.unwrap_or(NEWEST);
        let one = |flag: &str| arguments.get(flag).filter(|value| !value.is_empty()).map(str::to_owned);
        let all = |flag: &str| arguments.all(flag).into_iter().map(str::to_owned).collect::<Vec<_>>();
        let bare = |id: String| id.rsplit('/').next().unwrap_or_default().to_owned();
        let metadata = |key: &str| deployment.pointer(&format!("/metadata/{key}")).and_then(Value::as_str);
        let pod = |key: &str| deployment.pointer(&format!("/spec/template/spec/{key}"));
        // One that doesn't say its version and runs without is of those that have a default.
        let defaults = version.is_none_or(|version| !version.supports(Feature::PolicyMandatory));
        let policy = one("policy").or_else(|| defaults.then(|| "sync".to_owned()));
        Some(Self {
            name: metadata("name").unwrap_or_default().to_owned(),
            namespace: metadata("namespace").unwrap_or("default").to_owned(),
            container: text(container, "name").unwrap_or_default(),
            version,
            managed_by: managed_by(deployment),
            service_account: pod("serviceAccountName").and_then(Value::as_str).unwrap_or("default").to_owned(),
            selector: strings(deployment.pointer("/spec/selector/matchLabels")),
            replicas: deployment.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1),
            provider: one("provider"),
            sources: all("source"),
            domain_filters: all("domain-filter"),
            exclude_domains: all("exclude-domains"),
            zone_id_filters: all("zone-id-filter").into_iter().map(bare).collect(),
            policy,
            registry: one("registry").unwrap_or_else(|| "txt".to_owned()),
            owner_id: one("txt-owner-id").unwrap_or_else(|| "default".to_owned()),
            txt_prefix: one("txt-prefix"),
            txt_suffix: one("txt-suffix"),
            wildcard_replacement: one("txt-wildcard-replacement"),
            annotation_prefix: one("annotation-prefix").unwrap_or_else(|| rules.default_prefix().to_owned()),
            legacy_annotations: arguments.bool("enable-legacy-annotation-prefix").unwrap_or(false),
            annotation_filter: one("annotation-filter"),
            label_filter: one("label-filter"),
            ingress_classes: all("ingress-class"),
            zone_type: one("aws-zone-type"),
            assume_role: one("aws-assume-role"),
            assume_role_external_id: one("aws-assume-role-external-id"),
            interval: one("interval").unwrap_or_else(|| "1m".to_owned()),
            image,
            arguments,
        })
    }

    /// The version whose rules apply: the newest where the image doesn't say.
    pub fn rules(&self) -> Version {
        self.version.unwrap_or(NEWEST)
    }

    /// The first of these flags whose value isn't known, and why.
    pub fn unknown(&self, flags: &[&str]) -> Option<String> {
        flags.iter().find_map(|flag| {
            self.arguments.unknown(flag).map(|why| format!("--{flag} isn't known: {why}, which isn't read"))
        })
    }

    /// The first flag that says which records are its own, and in which zones, whose value isn't known, and why.
    pub fn unknown_records(&self) -> Option<String> {
        self.unknown(OWNERSHIP).or_else(|| self.unknown(ZONES))
    }

    /// The first of all flags whose value isn't known, and why; keys and passwords aside, on which nothing here depends.
    pub fn untold(&self) -> Option<String> {
        let all: Vec<_> = self.others(OWNERSHIP).map(|flag| flag.name).collect();
        self.unknown(OWNERSHIP).or_else(|| self.unknown(&all))
    }

    /// Flags whose value nobody would know who installs anew, and why: they have to be told again.
    pub fn lost(&self) -> Vec<(&'static str, String)> {
        // Those that are always written are lost even where they only may be told elsewhere.
        let written = ["registry", "txt-owner-id", "txt-prefix", "txt-suffix"];
        let is_lost = |flag: &Flag| written.contains(&flag.name) || self.arguments.is_elsewhere(flag.name);
        let all = self.others(&[]).filter(is_lost);
        all.filter_map(|flag| Some((flag.name, self.arguments.unknown(flag.name)?))).collect()
    }

    /// The flags that its version has, without keys, passwords and these.
    fn others<'f>(&self, without: &'f [&str]) -> impl Iterator<Item = Flag> + use<'f> {
        let rules = self.rules();
        Flag::all().filter(move |flag| {
            !without.contains(&flag.name) && !is_secret(flag.name) && flags::check(flag.name, rules).is_ok()
        })
    }

    /// The owner id, or why it isn't known, as it is told.
    pub fn owner(&self) -> String {
        self.arguments.unknown("txt-owner-id").map_or_else(|| self.owner_id.clone(), |why| format!("unknown ({why})"))
    }

    /// Which annotations are read.
    pub fn prefixes(&self) -> Prefixes {
        Prefixes { prefix: self.annotation_prefix.clone(), legacy: self.legacy_annotations }
    }

    /// How names of its TXT records follow from hosts.
    pub fn mapper(&self) -> Mapper {
        let text = |affix: &Option<String>| affix.clone().unwrap_or_default();
        let wildcard = text(&self.wildcard_replacement);
        Mapper::new(&text(&self.txt_prefix), &text(&self.txt_suffix), &wildcard, self.rules())
    }

    /// True if its TXT records are encrypted, so that nobody else can tell whose they are.
    pub fn encrypts(&self) -> bool {
        self.arguments.bool("txt-encrypt-enabled") == Some(true)
    }

    /// Which domains it looks after.
    pub fn domain_filter(&self) -> DomainFilter {
        DomainFilter::new(&self.domain_filters, &self.exclude_domains, self.rules())
    }

    /// The zones that it looks after, as far as names, ids and types tell: see [`Installed::unjudged`].
    pub fn looked_after<'z>(&self, zones: &'z [Zone]) -> Vec<&'z Zone> {
        let filter = self.domain_filter();
        let parents = self.arguments.bool("aws-zone-match-parent") == Some(true);
        let by_name = |zone: &&Zone| filter.matches(&zone.name) || (parents && filter.matches_parent(&zone.name));
        let by_id = |zone: &&Zone| self.zone_id_filters.is_empty() || self.zone_id_filters.contains(&zone.id);
        let by_type = |zone: &&Zone| match self.zone_type.as_deref() {
            Some("public") => !zone.private,
            Some("private") => zone.private,
            _ => true,
        };
        zones.iter().filter(by_name).filter(by_id).filter(by_type).collect()
    }

    /// A flag that selects zones by what isn't judged here: tags, or regular expressions.
    pub fn unjudged(&self) -> Option<&'static str> {
        UNJUDGED.iter().copied().find(|flag| self.is_given(flag))
    }

    /// True with a regular expression for domains, beside which ExternalDNS doesn't read the other domain filters.
    pub fn has_regex_filter(&self) -> bool {
        ["regex-domain-filter", "regex-domain-exclusion"].iter().any(|flag| self.is_given(flag))
    }

    fn is_given(&self, flag: &str) -> bool {
        !self.arguments.all(flag).is_empty()
    }

    /// What is wrong with what it was told, as far as neither zones nor other owners are needed to tell.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.flag_findings(&mut findings);
        self.policy_findings(&mut findings);
        self.registry_findings(&mut findings);
        self.source_findings(&mut findings);
        if self.arguments.bool("dry-run") == Some(true) {
            findings.push(Finding { without: &["dry-run"], ..Finding::fatal("--dry-run: no record is changed") });
        }
        if self.arguments.bool("once") == Some(true) {
            findings.push(Finding::fatal("--once: ExternalDNS ends after one synchronisation"));
        }
        match self.provider.as_deref() {
            Some("aws") => {}
            Some(other) => findings.push(Finding::fatal(format!("--provider={other} is not Route53"))),
            None if self.arguments.unknown("provider").is_some() => {}
            None => findings.push(Finding::fatal("no --provider: ExternalDNS exits at once")),
        }
        if self.replicas > 1 {
            let why = format!("{} replicas race for the same records: there is no leader election", self.replicas);
            findings.push(Finding::harmless(why));
        }
        if let Some(why) = abandoned_image(&self.image) {
            findings.push(Finding::harmless(format!("image {}: {why}", self.image)));
        }
        findings
    }

    fn flag_findings(&self, findings: &mut Vec<Finding>) {
        let mut names: Vec<_> = self.arguments.names().collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            let once = Flag::find(pair[0]).is_some_and(|flag| flag.kind_in(self.rules()) != Kind::List);
            if once && pair[0] == pair[1] {
                findings.push(Finding::fatal(format!("--{} is given twice: ExternalDNS exits at once", pair[0])));
            }
        }
        names.dedup();
        for name in names {
            if let Err(problem) = flags::check(name, self.rules()) {
                // A build that doesn't say its version may know it.
                let fatal = self.version.is_some() && !flags::is_of_other_provider(name);
                findings.push(Finding { fatal, ..Finding::harmless(problem) });
            }
        }
    }

    fn policy_findings(&self, findings: &mut Vec<Finding>) {
        match self.policy.as_deref() {
            _ if self.arguments.unknown("policy").is_some() => {}
            None => {
                findings
                    .push(Finding::fatal("--policy must be set explicitly (one of: sync, upsert-only, create-only)"));
            }
            Some(policy) if Policy::parse(policy).is_none() => {
                findings
                    .push(Finding::fatal(format!("--policy={policy}: there are sync, upsert-only and create-only")));
            }
            Some(_) if self.arguments.get("policy").is_none() => {
                let which = self.version.map_or("before v0.22.0".to_owned(), |version| version.to_string());
                let why = format!("no --policy: ExternalDNS {which} defaults to sync, which deletes records");
                findings.push(Finding::harmless(why));
            }
            _ => {}
        }
        if self.registry == "noop" && self.policy.as_deref() == Some("sync") {
            let why = "--registry=noop with --policy=sync deletes every record that no source asks for";
            findings.push(Finding::harmless(why));
        }
    }

    fn registry_findings(&self, findings: &mut Vec<Finding>) {
        if self.unknown(&["txt-prefix", "txt-suffix"]).is_none()
            && self.txt_prefix.is_some()
            && self.txt_suffix.is_some()
        {
            findings.push(Finding::fatal("--txt-prefix and --txt-suffix are mutually exclusive: ExternalDNS exits"));
        }
        if self.legacy_annotations && self.annotation_prefix.starts_with(super::version::LEGACY_PREFIX) {
            let why = "--enable-legacy-annotation-prefix with the legacy --annotation-prefix: ExternalDNS exits";
            findings.push(Finding::fatal(why));
        }
    }

    fn source_findings(&self, findings: &mut Vec<Finding>) {
        let unknown = self.arguments.unknown("source").is_some();
        if self.sources.is_empty() && !unknown {
            findings.push(Finding::fatal("no --source: ExternalDNS exits at once"));
        }
        let version = self.rules();
        for problem in
            self.sources.iter().filter(|_| !unknown).filter_map(|source| sources::check_exists(source, version).err())
        {
            findings.push(Finding { fatal: self.version.is_some(), ..Finding::harmless(problem) });
        }
        let crd = self.sources.iter().any(|source| source == "crd");
        if crd && self.annotation_filter.is_some() && version.supports(Feature::CrdFilterBroken) {
            let why = format!("source crd yields nothing with --annotation-filter in ExternalDNS {version}");
            findings.push(Finding { without: &[IMAGE], ..Finding::fatal(why) });
        }
    }
}

/// Something wrong with an installation's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// True if ExternalDNS exits for it, or changes no record.
    pub fatal: bool,
    /// What and why.
    pub message: String,
    /// Flags that a command which mends it leaves out, beside what it leaves out of itself.
    pub without: &'static [&'static str],
}

impl Finding {
    fn fatal(message: impl Into<String>) -> Self {
        Self { fatal: true, ..Self::harmless(message) }
    }

    fn harmless(message: impl Into<String>) -> Self {
        Self { fatal: false, message: message.into(), without: &[] }
    }
}

/// True for a Deployment whose image, or whose arguments, are those of ExternalDNS.
pub fn is_external_dns(deployment: &Value) -> bool {
    container(deployment).is_some()
}

fn container(deployment: &Value) -> Option<&Value> {
    let containers = deployment.pointer("/spec/template/spec/containers")?.as_array()?;
    let by_image = containers.iter().find(|container| text(container, "image").is_some_and(|image| named(&image)));
    by_image.or_else(|| {
        containers.iter().find(|container| {
            let arguments = Arguments::of_container(container);
            arguments.get("provider").is_some() && arguments.get("source").is_some()
        })
    })
}

/// True for `…/external-dns` with any tag or digest.
fn named(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    let repository = last.split(':').next().unwrap_or_default();
    ["external-dns", "externaldns"].contains(&repository)
}

fn managed_by(deployment: &Value) -> Option<String> {
    let metadata = deployment.get("metadata")?;
    if metadata.pointer("/annotations/meta.helm.sh~1release-name").is_some() {
        return Some("Helm".to_owned());
    }
    text(metadata.get("labels")?, "app.kubernetes.io/managed-by")
}

fn list<'v>(object: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    object.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text(object: &Value, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn strings(map: Option<&Value>) -> BTreeMap<String, String> {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::externaldns::settings::Settings;
    use crate::externaldns::version::{LEGACY_PREFIX, PREFIX};
    use serde_json::json;

    fn arguments(args: &[&str], env: &[(&str, &str)]) -> Arguments {
        let args: Vec<_> = args.iter().map(|&arg| arg.to_owned()).collect();
        let env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Arguments::parse(&args, &env)
    }

    fn deployment(container: &Value) -> Value {
        json!({
            "kind": "Deployment",
            "metadata": {"name": "dns", "namespace": "kube-system"},
            "spec": {"template": {"spec": {"serviceAccountName": "dns", "containers": [container]}}},
        })
    }

    fn installed(image: &str, args: &[&str]) -> Installed {
        Installed::from_deployment(&deployment(&json!({"name": "c", "image": image, "args": args}))).unwrap()
    }

    #[test]
    fn both_forms_switches_and_repetition() {
        let arguments = arguments(
            &[
                "--source=service",
                "--source",
                "ingress",
                "--events",
                "--no-aws-evaluate-target-health",
                "--txt-owner-id",
                "a=b",
            ],
            &[],
        );
        assert_eq!(arguments.all("source"), ["service", "ingress"]);
        assert_eq!(arguments.get("txt-owner-id"), Some("a=b"));
        assert_eq!(arguments.bool("events"), Some(true));
        assert_eq!(arguments.bool("aws-evaluate-target-health"), Some(false));
        assert_eq!(arguments.bool("dry-run"), None);
        assert_eq!(arguments.get("events"), None);
    }

    #[test]
    fn variables_count_where_the_flag_is_absent() {
        let env = [
            ("EXTERNAL_DNS_DOMAIN_FILTER", "a.com\nb.com\n"),
            ("EXTERNAL_DNS_POLICY", "sync"),
            ("EXTERNAL_DNS_DRY_RUN", "1"),
            ("AWS_REGION", "us-east-1"),
        ];
        let arguments = arguments(&["--policy=upsert-only"], &env);
        assert_eq!(arguments.all("domain-filter"), ["a.com", "b.com"]);
        assert_eq!(arguments.get("policy"), Some("upsert-only"));
        assert_eq!(arguments.bool("dry-run"), Some(true));
        assert_eq!(arguments.variables().count(), 3);
        let words: Vec<_> = arguments.words().collect();
        assert_eq!(words, ["--policy=upsert-only", "--domain-filter=a.com", "--domain-filter=b.com", "--dry-run"]);
    }

    #[test]
    fn commands_shells_and_variables_in_arguments() {
        let container = json!({
            "name": "c", "image": "mirror/external-dns:v0.21.0",
            "command": ["/bin/sh", "-c", "exec external-dns --source=service --txt-owner-id='$(OWNER)' --provider aws"],
            "env": [{"name": "OWNER", "value": "c1"}, {"name": "S", "valueFrom": {}}],
        });
        let installed = Installed::from_deployment(&deployment(&container)).unwrap();
        assert_eq!(installed.owner_id, "c1");
        assert_eq!(installed.sources, ["service"]);
        assert_eq!(installed.provider.as_deref(), Some("aws"));
    }

    #[test]
    fn what_the_container_does_not_say_is_unknown() {
        let key = |kind: &str| json!({kind: {"name": "dns", "key": "id"}});
        let container = json!({
            "name": "c", "image": "mirror/external-dns:v0.21.0",
            "args": ["--source=$(KIND)", "--domain-filter=$(DOMAIN)", "--zone-id-filter=$(ZONE)", "--label-filter=$(NONE)"],
            "env": [
                {"name": "KIND", "value": "ingress"},
                {"name": "DOMAIN", "value": "$(PART).example.com"},
                {"name": "PART", "value": "later"},
                {"name": "ZONE", "valueFrom": key("secretKeyRef")},
                {"name": "EXTERNAL_DNS_TXT_OWNER_ID", "valueFrom": key("configMapKeyRef")},
                {"name": "EXTERNAL_DNS_TXT_PREFIX", "value": "$(KIND)-$(ZONE)"},
                {"name": "EXTERNAL_DNS_POLICY", "value": "sync"},
                {"name": "EXTERNAL_DNS_ANNOTATION_FILTER", "value": "a=$(KIND)"},
            ],
        });
        let told = Arguments::of_container(&container);
        assert_eq!((told.get("source"), told.unknown("source")), (Some("ingress"), None));
        assert_eq!((told.get("annotation-filter"), told.unknown("annotation-filter")), (Some("a=ingress"), None));
        assert_eq!(
            (told.unknown("policy"), told.unknown("registry"), told.unknown("label-filter")),
            (None, None, None)
        );
        let zone = Some("variable ZONE comes from Secret dns (key id)".to_owned());
        assert_eq!((told.unknown("zone-id-filter"), told.unknown("txt-prefix")), (zone.clone(), zone));
        let owner = "variable EXTERNAL_DNS_TXT_OWNER_ID comes from ConfigMap dns (key id)";
        assert_eq!(told.unknown("txt-owner-id").as_deref(), Some(owner));
        assert!(told.is_elsewhere("txt-owner-id") && told.is_elsewhere("txt-prefix") && !told.is_elsewhere("policy"));

        let mut more = container.clone();
        more["envFrom"] = json!([{"secretRef": {"name": "all"}}]);
        let told = Arguments::of_container(&more);
        assert_eq!((told.unknown("source"), told.unknown("policy")), (None, None));
        let registry = "variable EXTERNAL_DNS_REGISTRY may come from Secret all";
        assert_eq!(told.unknown("registry").as_deref(), Some(registry));
        assert!(told.unknown("label-filter").is_some() && !told.is_elsewhere("registry"));
        more["envFrom"][0]["prefix"] = json!("OTHER_");
        assert_eq!(Arguments::of_container(&more).unknown("registry"), None);
    }

    #[test]
    fn external_dns_is_known_by_image_or_arguments() {
        let of = |image: &str, args: &[&str]| {
            is_external_dns(&deployment(&json!({"name": "c", "image": image, "args": args})))
        };
        for image in [
            "registry.k8s.io/external-dns/external-dns:v0.23.0",
            "bitnami/external-dns",
            "host:5000/eks/external-dns:v0.19.0-eksbuild.2@sha256:ab",
        ] {
            assert!(of(image, &[]), "{image}");
        }
        assert!(of("mirror/dns:1", &["--source=service", "--provider=aws"]));
        assert!(!of("mirror/external-dns-management:1", &[]));
        assert!(!of("registry.k8s.io/external-secrets:v1", &["--source=x"]));
        assert!(!is_external_dns(&json!({"kind": "Service"})));
    }

    #[test]
    fn defaults_are_those_of_the_version() {
        let old = installed("registry.k8s.io/external-dns/external-dns:v0.21.0", &["--source=service"]);
        assert_eq!((old.policy.as_deref(), old.annotation_prefix.as_str()), (Some("sync"), LEGACY_PREFIX));
        assert_eq!((old.owner_id.as_str(), old.registry.as_str(), old.interval.as_str()), ("default", "txt", "1m"));
        let new = installed("registry.k8s.io/external-dns/external-dns:v0.22.0", &["--source=service"]);
        assert_eq!((new.policy, new.annotation_prefix.as_str()), (None, PREFIX));
    }

    #[test]
    fn what_irsactl_renders_reads_back() {
        let mut settings = Settings::new("us-east-1", "c1");
        settings.domain_filters = vec!["example.com".to_owned()];
        settings.txt_prefix = Some("extdns-%{record_type}.".to_owned());
        let objects = crate::externaldns::manifest::objects(&settings, None, false, false).unwrap();
        let installed = Installed::from_deployment(&objects[2]).unwrap();
        assert_eq!(installed.version, Some(settings.version));
        assert_eq!(installed.managed_by.as_deref(), Some("irsactl"));
        assert_eq!((installed.name.as_str(), installed.container.as_str()), ("external-dns", "external-dns"));
        assert_eq!(installed.domain_filters, settings.domain_filters);
        assert_eq!(installed.txt_prefix, settings.txt_prefix);
        assert_eq!(installed.prefixes(), settings.prefixes());
        assert_eq!(installed.mapper(), settings.mapper());
        assert_eq!(installed.findings(), []);
    }

    #[test]
    fn helm_releases_are_known() {
        let mut release = deployment(&json!({"name": "c", "image": "external-dns:v0.22.0"}));
        release["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": "dns"});
        assert_eq!(Installed::from_deployment(&release).unwrap().managed_by.as_deref(), Some("Helm"));
    }

    fn findings(image: &str, args: &[&str]) -> Vec<(bool, String)> {
        let found = installed(image, args).findings();
        found.into_iter().map(|finding| (finding.fatal, finding.message)).collect()
    }

    #[test]
    fn k21_policy_left_out() {
        let base = ["--source=service", "--provider=aws", "--txt-owner-id=c1"];
        let new = findings("registry.k8s.io/external-dns/external-dns:v0.22.0", &base);
        assert_eq!(
            new,
            [(true, "--policy must be set explicitly (one of: sync, upsert-only, create-only)".to_owned())]
        );
        for image in ["external-dns:v0.21.0", "external-dns:prod", "external-dns@sha256:ab"] {
            let old = findings(&format!("registry.k8s.io/external-dns/{image}"), &base);
            assert!(old.len() == 1 && !old[0].0 && old[0].1.contains("defaults to sync"), "{old:?}");
        }
    }

    #[test]
    fn arguments_that_make_it_exit_or_go_wrong() {
        let frozen = findings(
            "k8s.gcr.io/external-dns/external-dns:v0.10.2",
            &["--source=service", "--provider=aws", "--policy=sync", "--txt-owner-id=c1"],
        );
        assert!(frozen.len() == 1 && !frozen[0].0 && frozen[0].1.contains("frozen"), "{frozen:?}");
        let usual = ["--source=ingress", "--policy=sync", "--txt-owner-id=c1"];
        for (version, more, fatal, message) in [
            ("v0.18.0", &["--txt-new-format-only"][..], true, "was removed in ExternalDNS v0.18.0"),
            ("v0.23.0", &["--no-such-flag"], true, "has no flag --no-such-flag"),
            ("prod", &["--no-such-flag"], false, "has no flag --no-such-flag"),
            ("v0.23.0", &["--cloudflare-proxied"], false, "another DNS provider"),
            ("v0.23.0", &["--policy=sync"], true, "--policy is given twice: ExternalDNS exits at once"),
            ("v0.23.0", &["--source=sevice"], true, "`sevice` is not a source"),
            ("v0.20.0", &["--source=unstructured"], true, "needs ExternalDNS v0.21.0"),
            ("v0.22.0", &["--source=crd", "--annotation-filter=a=b"], true, "source crd yields nothing"),
            ("v0.23.0", &["--dry-run"], true, "no record is changed"),
            ("v0.23.0", &["--once"], true, "ends after one"),
            ("v0.23.0", &["--txt-prefix=a", "--txt-suffix=b"], true, "mutually exclusive"),
        ] {
            let args: Vec<_> = usual.iter().chain(&["--provider=aws"]).chain(more).copied().collect();
            let found = findings(&format!("registry.k8s.io/external-dns/external-dns:{version}"), &args);
            assert!(
                found.len() == 1 && found[0].0 == fatal && found[0].1.contains(message),
                "{version} {more:?} {found:?}"
            );
        }
        for (provider, message) in [(&["--provider=google"][..], "is not Route53"), (&[], "no --provider")] {
            let args: Vec<_> = usual.iter().chain(provider).copied().collect();
            let found = findings("registry.k8s.io/external-dns/external-dns:v0.23.0", &args);
            assert!(found.len() == 1 && found[0].0 && found[0].1.contains(message), "{found:?}");
        }
    }
}
