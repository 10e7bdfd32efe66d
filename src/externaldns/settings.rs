//! What an installation of ExternalDNS is told, checked, and its command line.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::extra::{Extra, OVERRIDABLE};
use super::flags::{self, Flag, Kind, go_duration};
use super::owner;
use super::registry::{Mapper, is_too_long};
use super::selector::Selector;
use super::sources;
use super::version::{self, Feature, LEGACY_PREFIX, NEWEST, PREFIX, Version};
use crate::iam::arn::{Partition, check_role_arn};
use crate::names::is_dns_label;

/// How ExternalDNS changes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Creates and updates; never deletes what nobody asks for any more.
    UpsertOnly,
    /// Creates, updates and deletes.
    Sync,
    /// Only creates.
    CreateOnly,
}

impl Policy {
    /// The value of `--policy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpsertOnly => "upsert-only",
            Self::Sync => "sync",
            Self::CreateOnly => "create-only",
        }
    }

    /// The policy of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::UpsertOnly, Self::Sync, Self::CreateOnly].into_iter().find(|policy| policy.as_str() == text)
    }
}

/// Where ExternalDNS keeps which records are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Registry {
    /// In TXT records beside them.
    Txt,
    /// Nowhere: all records count as its own.
    Noop,
}

impl Registry {
    /// The value of `--registry`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Txt => "txt",
            Self::Noop => "noop",
        }
    }
}

/// A kind of hosted zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZoneType {
    /// Answers the internet.
    Public,
    /// Answers VPCs.
    Private,
}

impl ZoneType {
    /// The value of `--aws-zone-type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// An installation of ExternalDNS.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Name of ServiceAccount, Deployment and cluster-scoped objects.
    pub name: String,
    /// Namespace of ServiceAccount and Deployment.
    pub namespace: String,
    /// What the image holds.
    pub version: Version,
    /// Image with tag.
    pub image: String,
    /// Which kinds of objects are read for hostnames.
    pub sources: Vec<String>,
    /// Suffixes of zones and hosts; none means all.
    pub domain_filters: Vec<String>,
    /// Suffixes taken out of that again.
    pub exclude_domains: Vec<String>,
    /// Ids of hosted zones, bare; none means all.
    pub zone_id_filters: Vec<String>,
    /// How records change.
    pub policy: Policy,
    /// Where ownership is kept.
    pub registry: Registry,
    /// Whose records are its own.
    pub owner_id: String,
    /// Set before the names of TXT records; may hold `%{record_type}`.
    pub txt_prefix: Option<String>,
    /// Set after the first label of the names of TXT records; excludes a prefix.
    pub txt_suffix: Option<String>,
    /// One kind of zone only.
    pub zone_type: Option<ZoneType>,
    /// Role that the pod's role assumes for Route53.
    pub assume_role: Option<String>,
    /// The external id that this role asks for.
    pub assume_role_external_id: Option<String>,
    /// Time between two synchronisations, a Go duration.
    pub interval: String,
    /// Classes of Ingress; none means all.
    pub ingress_classes: Vec<String>,
    /// Selector on annotations.
    pub annotation_filter: Option<String>,
    /// Selector on labels.
    pub label_filter: Option<String>,
    /// Prefix of the annotations that are read; `None` is irsactl's choice for the version.
    pub annotation_prefix: Option<String>,
    /// Whether the old prefix is read too; `None` is irsactl's choice for the version.
    pub legacy_annotations: Option<bool>,
    /// 0 or 1: there is no leader election.
    pub replicas: u8,
    /// More flags, as `--flag=value` or `--flag`.
    pub extra_args: Vec<String>,
    /// CNAME records instead of ALIAS.
    pub prefer_cname: bool,
    /// Region of the cluster.
    pub region: String,
    /// Partition of the region.
    pub partition: Partition,
}

/// What the flags `--annotation-prefix` and `--enable-legacy-annotation-prefix` come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// The prefix read.
    pub prefix: String,
    /// Whether [`LEGACY_PREFIX`] is read beside it.
    pub legacy: bool,
}

impl Prefixes {
    /// The keys under which `name` is looked for, the one that wins first.
    pub fn keys(&self, name: &str) -> Vec<String> {
        let legacy = self.legacy.then(|| format!("{LEGACY_PREFIX}{name}"));
        [Some(format!("{}{name}", self.prefix)), legacy].into_iter().flatten().collect()
    }
}

/// A TXT prefix with which the TXT records of a zone's own name are in the zone, and none has a CNAME record's name.
pub const APEX_TXT_PREFIX: &str = "extdns-%{record_type}.";

/// The partitions whose load balancers are in ExternalDNS's table (`provider/aws/aws.go`).
const WITH_ALIAS: [&str; 3] = ["aws", "aws-cn", "aws-us-gov"];

impl Settings {
    /// A new installation with all choices at their defaults.
    pub fn new(region: &str, owner_id: &str) -> Self {
        let mut settings = Self {
            name: owner::DEFAULT_NAME.to_owned(),
            namespace: owner::DEFAULT_NAME.to_owned(),
            version: NEWEST,
            image: NEWEST.image(),
            sources: vec!["service".to_owned(), "ingress".to_owned()],
            domain_filters: Vec::new(),
            exclude_domains: Vec::new(),
            zone_id_filters: Vec::new(),
            policy: Policy::UpsertOnly,
            registry: Registry::Txt,
            owner_id: owner_id.to_owned(),
            txt_prefix: None,
            txt_suffix: None,
            zone_type: None,
            assume_role: None,
            assume_role_external_id: None,
            interval: "1m".to_owned(),
            ingress_classes: Vec::new(),
            annotation_filter: None,
            label_filter: None,
            annotation_prefix: None,
            legacy_annotations: None,
            replicas: 1,
            extra_args: Vec::new(),
            prefer_cname: false,
            region: region.to_owned(),
            partition: Partition::of_region(region),
        };
        settings.suit_partition(false);
        settings
    }

    /// Chooses what GovCloud needs where nobody chose: private zones, no ALIAS, and TXT records under other names than
    /// the CNAME records' ("GovCloud caveats", AWS tutorial of ExternalDNS). Names that are `in_use` stay.
    pub fn suit_partition(&mut self, in_use: bool) {
        if !self.partition.is_gov() {
            return;
        }
        self.zone_type.get_or_insert(ZoneType::Private);
        self.prefer_cname = true;
        let free = self.txt_prefix.is_none() && self.txt_suffix.is_none() && !in_use;
        if free && self.registry == Registry::Txt {
            self.txt_prefix = Some(APEX_TXT_PREFIX.to_owned());
        }
    }

    /// Which annotations are read.
    ///
    /// v0.23 and later read both prefixes, so that annotations of either age work; v0.20 to v0.22
    /// can read one and are told the old one, which manifests in use carry; older ones know no
    /// other.
    pub fn prefixes(&self) -> Prefixes {
        let both = self.version.supports(Feature::LegacyAnnotations);
        let chosen = if both { PREFIX } else { LEGACY_PREFIX };
        let prefix = self.annotation_prefix.clone().unwrap_or_else(|| chosen.to_owned());
        let legacy = both && self.legacy_annotations.unwrap_or(prefix == PREFIX);
        Prefixes { prefix, legacy }
    }

    /// How names of TXT records follow from hosts.
    pub fn mapper(&self) -> Mapper {
        let wildcard = self.extra("txt-wildcard-replacement").unwrap_or_default();
        let text = |affix: &Option<String>| affix.clone().unwrap_or_default();
        Mapper::new(&text(&self.txt_prefix), &text(&self.txt_suffix), wildcard, self.version)
    }

    /// The value of a flag among the extra arguments, the last where there are several.
    pub fn extra(&self, flag: &str) -> Option<&str> {
        self.extras().filter(|extra| extra.name == flag).filter_map(|extra| extra.value).next_back()
    }

    /// All values of a flag among the extra arguments.
    pub fn extra_all(&self, flag: &str) -> Vec<&str> {
        self.extras().filter(|extra| extra.name == flag).filter_map(|extra| extra.value).collect()
    }

    /// Whether a switch is on among the extra arguments.
    pub fn extra_switch(&self, flag: &str) -> bool {
        self.extras().rfind(|extra| extra.name == flag).is_some_and(|extra| extra.on())
    }

    /// True if zones are chosen by their tags, which takes a permission of its own.
    pub fn zone_tags(&self) -> bool {
        self.extra("aws-zone-tags").is_some()
    }

    fn extras(&self) -> impl DoubleEndedIterator<Item = Extra<'_>> {
        self.extra_args.iter().filter_map(|text| Extra::parse(text).ok())
    }

    /// The command line, in the order of the Helm chart, so that two renderings are alike.
    pub fn args(&self) -> Vec<String> {
        let mut args = Args::default();
        let text = |option: &Option<String>| option.clone().filter(|text| !text.is_empty());
        args.one("log-level", Some(self.extra("log-level").unwrap_or("info")));
        args.one("log-format", Some(self.extra("log-format").unwrap_or("text")));
        args.one("interval", Some(&self.interval));
        args.all("source", &self.sources);
        args.one("policy", Some(self.policy.as_str()));
        args.one("registry", Some(self.registry.as_str()));
        if self.registry == Registry::Txt {
            args.one("txt-owner-id", Some(&self.owner_id));
            args.one("txt-prefix", text(&self.txt_prefix));
            args.one("txt-suffix", text(&self.txt_suffix));
        }
        args.all("domain-filter", &self.domain_filters);
        args.all("exclude-domains", &self.exclude_domains);
        args.all("zone-id-filter", &self.zone_id_filters);
        args.one("label-filter", text(&self.label_filter));
        args.one("annotation-filter", text(&self.annotation_filter));
        self.annotation_args(&mut args);
        args.all("ingress-class", &self.ingress_classes);
        args.one("provider", Some("aws"));
        args.one("aws-zone-type", self.zone_type.map(ZoneType::as_str));
        args.one("aws-assume-role", text(&self.assume_role));
        args.one("aws-assume-role-external-id", text(&self.assume_role_external_id));
        args.switch("aws-prefer-cname", self.prefer_cname);
        let shown_above = |extra: &Extra<'_>| {
            OVERRIDABLE.contains(&extra.name) || (self.prefer_cname && extra.name == "aws-prefer-cname")
        };
        args.0.extend(self.extras().filter(|extra| !shown_above(extra)).map(|extra| extra.rendered()));
        args.0
    }

    /// Rendered even where it is the default of the version, so that another image changes nothing.
    fn annotation_args(&self, args: &mut Args) {
        if self.version.supports(Feature::AnnotationPrefix) {
            let Prefixes { prefix, legacy } = self.prefixes();
            args.one("annotation-prefix", Some(prefix));
            args.switch("enable-legacy-annotation-prefix", legacy);
        }
    }

    /// Checks everything that can be checked without a cluster; returns warnings.
    ///
    /// # Errors
    /// Says which option doesn't hold and which version or value does.
    pub fn validate(&self) -> Result<Vec<String>, String> {
        let mut warnings = Vec::new();
        warnings.extend(self.version.warning());
        self.check_names()?;
        self.check_image(&mut warnings)?;
        self.check_sources()?;
        self.check_filters()?;
        self.check_registry(&mut warnings)?;
        self.check_annotations()?;
        self.check_aws(&mut warnings)?;
        self.check_extra_args(&mut warnings)?;
        Ok(warnings)
    }

    fn check_names(&self) -> Result<(), String> {
        for (what, name) in [("name", &self.name), ("namespace", &self.namespace)] {
            if !is_dns_label(name) {
                return Err(format!("`{name}` is not a {what}: 1 to 63 of the characters a-z 0-9 -, no - at the ends"));
            }
        }
        if self.replicas > 1 {
            return Err(format!("{} replicas: ExternalDNS has no leader election, so 0 or 1", self.replicas));
        }
        match go_duration(&self.interval) {
            Some(seconds) if seconds > 0.0 => Ok(()),
            _ => Err(format!("interval `{}` is not a duration above zero, such as 1m or 30s", self.interval)),
        }
    }

    fn check_image(&self, warnings: &mut Vec<String>) -> Result<(), String> {
        let Self { image, version, .. } = self;
        if version < &version::FLOOR {
            return Err(format!("ExternalDNS {version} is too old: irsactl installs {} and later", version::FLOOR));
        }
        if image.is_empty() || image.contains(char::is_whitespace) {
            return Err(format!("`{image}` is not an image"));
        }
        if let Some(why) = abandoned_image(image) {
            return Err(format!("image {image}: {why}; take {}", version.image()));
        }
        match (Version::of_image(image), version::image_tag(image)) {
            (Some(of_image), _) if of_image != *version => {
                return Err(format!("image {image} is {of_image}, not {version}: name one version only"));
            }
            (None, None) if !image.contains('@') => {
                return Err(format!("image {image} has no tag: give it the tag of a version, such as :{version}"));
            }
            (None, _) => warnings.push(format!("image {image} doesn't say its version: taken for {version}")),
            _ => {}
        }
        Ok(())
    }

    fn check_sources(&self) -> Result<(), String> {
        if self.sources.is_empty() {
            return Err("no source: ExternalDNS needs at least one, such as ingress".to_owned());
        }
        self.sources.iter().try_for_each(|source| sources::check_source(source, self.version))
    }

    fn check_filters(&self) -> Result<(), String> {
        let lists = [("domain-filter", &self.domain_filters), ("exclude-domains", &self.exclude_domains)];
        for (flag, domains) in lists {
            domains.iter().try_for_each(|domain| check_domain(flag, domain))?;
        }
        self.zone_id_filters.iter().try_for_each(|id| check_zone_id(id))?;
        self.ingress_classes.iter().try_for_each(|class| {
            let list = class.is_empty() || class.contains([',', ' ']);
            if list { Err(format!("ingress class `{class}`: one class at a time")) } else { Ok(()) }
        })?;
        let selector = |flag: &str, text: &Option<String>| {
            Selector::parse(text.as_deref().unwrap_or_default()).map_err(|problem| format!("--{flag}: {problem}"))
        };
        selector("label-filter", &self.label_filter)?;
        let annotations = selector("annotation-filter", &self.annotation_filter)?;
        if let Some(operator) = annotations.beyond_annotations() {
            return Err(format!("--annotation-filter: ExternalDNS takes no {operator} for annotations"));
        }
        if !self.ingress_classes.is_empty() && annotations.keys().any(|key| key == "kubernetes.io/ingress.class") {
            return Err("--ingress-class and an --annotation-filter on kubernetes.io/ingress.class exclude each other"
                .to_owned());
        }
        let filtered = self.annotation_filter.as_ref().is_some_and(|text| !text.is_empty());
        let crd = self.sources.iter().any(|source| source == "crd");
        if crd && filtered && self.version.supports(Feature::CrdFilterBroken) {
            return Err(format!(
                "--annotation-filter with source crd yields nothing in ExternalDNS {}: v0.23.0 has that mended",
                self.version
            ));
        }
        Ok(())
    }

    fn check_registry(&self, warnings: &mut Vec<String>) -> Result<(), String> {
        if self.registry == Registry::Noop {
            return self.check_noop(warnings);
        }
        check_owner_id(&self.owner_id, self.version)?;
        if let Some(why) = owner::copied(&self.owner_id) {
            warnings.push(format!(
                "owner id `{}` is not unique to this cluster: {why}; two clusters with one id delete each other's records",
                self.owner_id
            ));
        }
        let given = |affix: &Option<String>| affix.clone().filter(|text| !text.is_empty());
        let (prefix, suffix) = (given(&self.txt_prefix), given(&self.txt_suffix));
        if prefix.is_some() && suffix.is_some() {
            return Err("--txt-prefix and --txt-suffix are mutually exclusive".to_owned());
        }
        for affix in [&prefix, &suffix].into_iter().flatten() {
            check_affix(affix)?;
            if is_too_long(&self.mapper().txt_name("a.example.com", "A")) {
                return Err(format!("`{affix}` makes labels longer than the 63 characters of DNS"));
            }
        }
        if suffix.is_some_and(|suffix| suffix.contains('.')) && !self.version.supports(Feature::DottedSuffix) {
            return Err(format!(
                "a --txt-suffix with a dot crashes ExternalDNS {} on short names: it needs {}",
                self.version,
                Feature::DottedSuffix.since()
            ));
        }
        Ok(())
    }

    fn check_noop(&self, warnings: &mut Vec<String>) -> Result<(), String> {
        if self.policy == Policy::Sync {
            return Err("--registry=noop with --policy=sync deletes every record that no source asks for".to_owned());
        }
        if self.txt_prefix.is_some() || self.txt_suffix.is_some() {
            warnings.push("--txt-prefix and --txt-suffix have no meaning with --registry=noop".to_owned());
        }
        warnings.push("--registry=noop: no ownership is kept, so records of others are overwritten".to_owned());
        Ok(())
    }

    fn check_annotations(&self) -> Result<(), String> {
        let Self { version, legacy_annotations, annotation_prefix, .. } = self;
        let prefix = annotation_prefix.as_deref();
        if prefix.is_some_and(|prefix| !prefix.ends_with('/') || prefix.len() < 2) {
            let prefix = prefix.unwrap_or_default();
            return Err(format!("annotation prefix `{prefix}`: expected a domain; it must end with '/'"));
        }
        if prefix.is_some_and(|prefix| prefix != LEGACY_PREFIX) {
            flags::check("annotation-prefix", *version)?;
        }
        if legacy_annotations.is_none() {
            return Ok(());
        }
        flags::check("enable-legacy-annotation-prefix", *version)
            .map_err(|_| format!("--legacy-annotations needs ExternalDNS v0.23.0 or later, and this is {version}"))?;
        match prefix {
            Some(prefix) if *legacy_annotations == Some(true) && prefix.starts_with(LEGACY_PREFIX) => Err(format!(
                "--legacy-annotations cannot be used with --annotation-prefix {prefix}, which is the legacy prefix"
            )),
            _ => Ok(()),
        }
    }

    fn check_aws(&self, warnings: &mut Vec<String>) -> Result<(), String> {
        if let Some(role) = &self.assume_role {
            let arn = check_role_arn(role).map_err(|problem| format!("--aws-assume-role: {problem}"))?;
            if arn.partition != self.partition.as_str() {
                let why = "zones there need static keys of that account, which irsactl never handles";
                return Err(format!(
                    "--aws-assume-role {role}: no role can be assumed from partition {} in partition {}; {why}",
                    self.partition, arn.partition
                ));
            }
        } else if self.assume_role_external_id.is_some() {
            return Err("--aws-assume-role-external-id needs --aws-assume-role".to_owned());
        }
        if self.partition.is_gov() {
            self.check_gov(warnings)?;
        }
        self.check_cname()?;
        if !WITH_ALIAS.contains(&self.partition.as_str()) {
            warnings.push(format!(
                "ExternalDNS doesn't know the load balancers of partition {}: they get CNAME instead of ALIAS records",
                self.partition
            ));
        }
        if let Some(since) = Version::region_since(&self.region).filter(|_| !self.version.knows_region(&self.region)) {
            warnings.push(format!(
                "ExternalDNS {} doesn't know the load balancers of {}, {since} does: they get CNAME instead of ALIAS records",
                self.version, self.region
            ));
        }
        Ok(())
    }

    /// What can't work in GovCloud; [`Self::suit_partition`] chooses what does.
    fn check_gov(&self, warnings: &mut Vec<String>) -> Result<(), String> {
        if self.zone_type == Some(ZoneType::Public) {
            return Err("--aws-zone-type public: Route53 in AWS GovCloud has private zones only".to_owned());
        }
        let off = self.extras().rfind(|extra| extra.name == "aws-prefer-cname").is_some_and(|extra| !extra.on());
        if off || !self.prefer_cname {
            return Err("AWS GovCloud has no ALIAS records to load balancers: it needs --aws-prefer-cname".to_owned());
        }
        if !self.has_affix() && self.registry == Registry::Txt && !self.version.supports(Feature::LegacyTxt) {
            warnings.push(format!(
                "no --txt-prefix, which ExternalDNS asks for in AWS GovCloud: {} works without, an older one doesn't",
                self.version
            ));
        }
        Ok(())
    }

    fn has_affix(&self) -> bool {
        [&self.txt_prefix, &self.txt_suffix].into_iter().flatten().any(|text| !text.is_empty())
    }

    /// Where all records are CNAME records, TXT records of the same name can't be.
    fn check_cname(&self) -> Result<(), String> {
        let same_name =
            self.registry == Registry::Txt && !self.has_affix() && self.version.supports(Feature::LegacyTxt);
        if !same_name || self.extra_switch("txt-new-format-only") {
            return Ok(());
        }
        let why = if self.partition.is_gov() {
            "AWS GovCloud".to_owned()
        } else if !WITH_ALIAS.contains(&self.partition.as_str()) {
            format!("partition {}", self.partition)
        } else if self.prefer_cname || self.extra_switch("aws-prefer-cname") {
            "--aws-prefer-cname".to_owned()
        } else {
            return Ok(());
        };
        Err(format!(
            "{why} needs --txt-prefix, such as {APEX_TXT_PREFIX}: ExternalDNS {} writes a TXT record of the CNAME's \
             name, which Route53 refuses",
            self.version
        ))
    }

    fn check_extra_args(&self, warnings: &mut Vec<String>) -> Result<(), String> {
        let mut given = BTreeSet::new();
        for text in &self.extra_args {
            let extra = Extra::parse(text)?;
            extra.check(self.version)?;
            let once = Flag::find(extra.name).is_some_and(|flag| flag.kind_in(self.version) != Kind::List);
            if !given.insert(extra.name) && once {
                return Err(format!("--extra-arg=--{}: ExternalDNS exits where it is given twice", extra.name));
            }
            warnings.extend(self.extra_warning(&extra));
        }
        let regex = self.extra("regex-domain-filter").is_some() || self.extra("regex-domain-exclusion").is_some();
        if regex && !(self.domain_filters.is_empty() && self.exclude_domains.is_empty()) {
            return Err("a regex filter makes ExternalDNS ignore --domain-filter and --exclude-domains".to_owned());
        }
        if self.extra("regex-domain-exclusion").is_some()
            && self.extra("regex-domain-filter").is_some()
            && !self.version.supports(Feature::RegexBoth)
        {
            return Err(format!(
                "ExternalDNS {} ignores --regex-domain-filter beside --regex-domain-exclusion: both need {}",
                self.version,
                Feature::RegexBoth.since()
            ));
        }
        if self.zone_tags() && !self.version.supports(Feature::ZoneTagsBatch) {
            return Err(format!(
                "--aws-zone-tags of ExternalDNS {} needs route53:ListTagsForResource, which the policy doesn't grant: \
                 take {} or later",
                self.version,
                Feature::ZoneTagsBatch.since()
            ));
        }
        if self.extra_switch("create-ptr") && !self.extra_all("managed-record-types").contains(&"PTR") {
            return Err("--create-ptr needs --managed-record-types=PTR beside the other types".to_owned());
        }
        if self.extra_switch("ignore-hostname-annotation") && self.extra("fqdn-template").is_none() {
            return Err("--ignore-hostname-annotation needs --fqdn-template".to_owned());
        }
        Ok(())
    }

    fn extra_warning(&self, extra: &Extra<'_>) -> Option<String> {
        let text = match extra.name {
            "dry-run" if extra.on() => "--dry-run: ExternalDNS will only log the changes it would make",
            "log-level" if ["panic", "fatal", "error", "warning"].contains(&extra.value.unwrap_or_default()) => {
                "this --log-level leaves out the lines that tell whether ExternalDNS works"
            }
            "migrate-from-txt-owner" if self.policy == Policy::Sync => {
                "--migrate-from-txt-owner with --policy=sync may delete records of others in a shared zone"
            }
            "txt-encrypt-enabled" if extra.on() => {
                "--txt-encrypt-enabled needs the key in EXTERNAL_DNS_TXT_ENCRYPT_AES_KEY, from a Secret, through --patch"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}

#[derive(Default)]
struct Args(Vec<String>);

impl Args {
    fn one(&mut self, flag: &str, value: Option<impl AsRef<str>>) {
        self.0.extend(value.map(|value| format!("--{flag}={}", value.as_ref())));
    }

    fn all(&mut self, flag: &str, values: &[String]) {
        for value in values {
            let arg = format!("--{flag}={value}");
            if !self.0.contains(&arg) {
                self.0.push(arg);
            }
        }
    }

    fn switch(&mut self, flag: &str, on: bool) {
        self.0.extend(on.then(|| format!("--{flag}")));
    }
}

/// Why nobody should run an image from where it is.
pub(super) fn abandoned_image(image: &str) -> Option<&'static str> {
    let path = image.strip_prefix("docker.io/").or_else(|| image.strip_prefix("index.docker.io/")).unwrap_or(image);
    if path.starts_with("k8s.gcr.io/") {
        return Some("k8s.gcr.io is frozen and serves no release after v0.10");
    }
    (path.starts_with("bitnami/") || path.starts_with("bitnamilegacy/"))
        .then_some("the bitnami images have left docker.io and get no updates")
}

fn check_domain(flag: &str, domain: &str) -> Result<(), String> {
    if domain.contains(',') {
        return Err(format!("--{flag} `{domain}`: ExternalDNS would take the comma for a part of one name"));
    }
    let trimmed = domain.trim().trim_end_matches('.');
    if let Some(c) = trimmed.chars().find(|c| c.is_control() || "*/:@\"'`\\ ".contains(*c)) {
        return Err(format!("--{flag} `{}` is not a domain: it holds {c:?}", domain.escape_debug()));
    }
    if trimmed.trim_start_matches('.').is_empty() || trimmed.contains(char::is_whitespace) || trimmed.contains("..") {
        return Err(format!("--{flag} `{domain}` is not a domain"));
    }
    Ok(())
}

fn check_zone_id(id: &str) -> Result<(), String> {
    let valid = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    if id.starts_with('Z') && (2..=32).contains(&id.len()) && id.bytes().all(valid) {
        return Ok(());
    }
    Err(format!("`{id}` is not the id of a hosted zone: expected one like Z0123456789ABCDEFGHIJ"))
}

fn check_owner_id(id: &str, version: Version) -> Result<(), String> {
    if id.is_empty() {
        return Err("the owner id cannot be empty".to_owned());
    }
    if id.len() > 128 || !id.chars().all(|c| c.is_ascii_graphic()) || id.contains([',', '"', '\\']) {
        return Err(format!(
            "owner id `{id}` can't be kept in a TXT record: up to 128 visible ASCII characters without , \" and \\"
        ));
    }
    if id.contains('=') && !version.supports(Feature::EqualsInLabels) {
        return Err(format!(
            "owner id `{id}` has a `=`, which ExternalDNS {version} can't read back: it needs v0.22.0"
        ));
    }
    Ok(())
}

fn check_affix(affix: &str) -> Result<(), String> {
    let plain = affix.replace("%{record_type}", "cname");
    let valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !plain.chars().all(valid) || plain.contains("..") {
        return Err(format!("`{affix}` can't be a part of a DNS name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(version: &str) -> Settings {
        let version: Version = version.parse().unwrap();
        Settings { version, image: version.image(), ..Settings::new("us-east-1", "eksdemo1-0a1b2c3d") }
    }

    fn refusal(change: impl Fn(&mut Settings)) -> String {
        refusal_of("0.23.0", change)
    }

    fn refusal_of(version: &str, change: impl Fn(&mut Settings)) -> String {
        let mut settings = settings(version);
        change(&mut settings);
        settings.validate().unwrap_err()
    }

    fn warnings(change: impl Fn(&mut Settings)) -> Vec<String> {
        let mut settings = settings("0.23.0");
        change(&mut settings);
        settings.validate().unwrap()
    }

    #[allow(clippy::unnecessary_wraps)]
    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn annotation_args(settings: &Settings) -> Vec<String> {
        settings.args().into_iter().filter(|arg| arg.contains("annotation-prefix")).collect()
    }

    #[test]
    fn k1_arguments_in_the_charts_order() {
        assert_eq!(
            settings("0.23.0").args(),
            [
                "--log-level=info",
                "--log-format=text",
                "--interval=1m",
                "--source=service",
                "--source=ingress",
                "--policy=upsert-only",
                "--registry=txt",
                "--txt-owner-id=eksdemo1-0a1b2c3d",
                "--annotation-prefix=external-dns.kubernetes.io/",
                "--enable-legacy-annotation-prefix",
                "--provider=aws",
            ]
        );
    }

    #[test]
    fn k23_k25_every_option_has_its_place() {
        let all = Settings {
            domain_filters: vec!["example.com".to_owned(), "example.org".to_owned(), "example.com".to_owned()],
            exclude_domains: vec!["dev.example.com".to_owned()],
            zone_id_filters: vec!["Z0123456789".to_owned()],
            policy: Policy::Sync,
            txt_prefix: some("extdns-%{record_type}."),
            zone_type: Some(ZoneType::Public),
            assume_role: some("arn:aws:iam::111122223333:role/dns"),
            assume_role_external_id: some("id"),
            interval: "5m".to_owned(),
            ingress_classes: vec!["alb".to_owned()],
            annotation_filter: some("dns=yes"),
            label_filter: some("team in (a,b)"),
            prefer_cname: true,
            extra_args: [
                "--log-level=debug",
                "--events=true",
                "--no-aws-evaluate-target-health",
                "--aws-api-retries=5",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..settings("0.21.0")
        };
        assert_eq!(all.validate(), Ok(vec![]));
        assert_eq!(
            all.args(),
            [
                "--log-level=debug",
                "--log-format=text",
                "--interval=5m",
                "--source=service",
                "--source=ingress",
                "--policy=sync",
                "--registry=txt",
                "--txt-owner-id=eksdemo1-0a1b2c3d",
                "--txt-prefix=extdns-%{record_type}.",
                "--domain-filter=example.com",
                "--domain-filter=example.org",
                "--exclude-domains=dev.example.com",
                "--zone-id-filter=Z0123456789",
                "--label-filter=team in (a,b)",
                "--annotation-filter=dns=yes",
                "--annotation-prefix=external-dns.alpha.kubernetes.io/",
                "--ingress-class=alb",
                "--provider=aws",
                "--aws-zone-type=public",
                "--aws-assume-role=arn:aws:iam::111122223333:role/dns",
                "--aws-assume-role-external-id=id",
                "--aws-prefer-cname",
                "--events",
                "--no-aws-evaluate-target-health",
                "--aws-api-retries=5",
            ]
        );
    }

    #[test]
    fn every_argument_of_every_version_exists_in_it() {
        for minor in 14..=23 {
            let settings = settings(&format!("0.{minor}.0"));
            settings.validate().unwrap();
            for arg in settings.args() {
                let name = arg.trim_start_matches("--").split('=').next().unwrap();
                flags::check(name, settings.version).unwrap();
            }
        }
    }

    #[test]
    fn annotations_by_version() {
        let alpha = "--annotation-prefix=external-dns.alpha.kubernetes.io/";
        let new = "--annotation-prefix=external-dns.kubernetes.io/";
        let legacy = "--enable-legacy-annotation-prefix";
        let of = |version: &str, prefix: Option<&str>, both: Option<bool>| {
            let mut settings = settings(version);
            settings.annotation_prefix = prefix.map(str::to_owned);
            settings.legacy_annotations = both;
            settings.validate().unwrap();
            annotation_args(&settings)
        };
        assert_eq!(of("0.19.0", None, None), [""; 0]);
        assert_eq!(of("0.19.0", Some(LEGACY_PREFIX), None), [""; 0]);
        for version in ["0.20.0", "0.21.0", "0.22.0"] {
            assert_eq!(of(version, None, None), [alpha]);
            assert_eq!(of(version, Some(PREFIX), None), [new]);
        }
        assert_eq!(of("0.23.0", None, None), [new, legacy]);
        assert_eq!(of("0.24.0", None, None), [new, legacy]);
        assert_eq!(of("0.23.0", Some(PREFIX), None), [new, legacy]);
        assert_eq!(of("0.23.0", None, Some(false)), [new]);
        assert_eq!(of("0.23.0", Some(LEGACY_PREFIX), None), [alpha]);
        assert_eq!(of("0.23.0", Some("dns.example.com/"), None), ["--annotation-prefix=dns.example.com/"]);
        assert_eq!(
            of("0.23.0", Some("dns.example.com/"), Some(true)),
            ["--annotation-prefix=dns.example.com/", legacy]
        );
    }

    #[test]
    fn annotation_options_that_a_version_lacks() {
        assert!(refusal_of("0.19.0", |s| s.annotation_prefix = some(PREFIX)).contains("v0.20.0"));
        assert!(refusal_of("0.22.0", |s| s.legacy_annotations = Some(true)).contains("v0.23.0"));
        assert!(refusal(|s| s.annotation_prefix = some("no-slash")).contains("must end with '/'"));
        assert!(refusal(|s| s.annotation_prefix = some("")).contains("must end with '/'"));
        let both = refusal(|s| {
            s.annotation_prefix = some(LEGACY_PREFIX);
            s.legacy_annotations = Some(true);
        });
        assert!(both.contains("cannot be used with --annotation-prefix"), "{both}");
    }

    #[test]
    fn k3_prefix_and_suffix_exclude_each_other() {
        let both = refusal(|s| (s.txt_prefix, s.txt_suffix) = (some("a-"), some("-b")));
        assert!(both.contains("mutually exclusive"));
        assert!(refusal_of("0.21.0", |s| s.txt_suffix = some(".foo")).contains("v0.22.0"));
        assert!(warnings(|s| s.txt_suffix = some(".foo")).is_empty());
        assert!(refusal(|s| s.txt_prefix = some("a b")).contains("DNS name"));
        assert!(refusal(|s| s.txt_prefix = Some("x".repeat(63))).contains("63"));
    }

    #[test]
    fn k23_commas_are_no_lists() {
        assert!(refusal(|s| s.domain_filters = vec!["a.com,b.com".to_owned()]).contains("comma"));
        assert!(refusal(|s| s.exclude_domains = vec![" ".to_owned()]).contains("not a domain"));
        assert!(refusal(|s| s.domain_filters = vec!["ex\u{1b}[31m.com".to_owned()]).contains("not a domain"));
        assert!(refusal(|s| s.domain_filters = vec!["*.example.com".to_owned()]).contains("'*'"));
        assert!(refusal(|s| s.zone_id_filters = vec!["Z1,Z2".to_owned()]).contains("hosted zone"));
        for bad in ["Z1;rm", "z0123456789", "", "/hostedzone/Z1"] {
            assert!(refusal(|s| s.zone_id_filters = vec![bad.to_owned()]).contains("hosted zone"), "{bad}");
        }
    }

    #[test]
    fn k24_images_that_nobody_should_run() {
        for bad in [
            "k8s.gcr.io/external-dns/external-dns:v0.23.0",
            "bitnami/external-dns:0.23.0",
            "docker.io/bitnami/external-dns:0.23.0",
        ] {
            assert!(refusal(|s| s.image = bad.to_owned()).contains("registry.k8s.io"), "{bad}");
        }
        assert!(refusal(|s| s.image = "mirror/external-dns:v0.21.0".to_owned()).contains("v0.21.0, not v0.23.0"));
        assert!(refusal(|s| s.image = "mirror:5000/external-dns".to_owned()).contains("no tag"));
        assert!(warnings(|s| s.image = "mirror/bitnami/external-dns:0.23.0".to_owned()).is_empty());
        assert_eq!(warnings(|s| s.image = "mirror/external-dns@sha256:ab".to_owned()).len(), 1);
        assert_eq!(warnings(|s| s.image = "mirror/external-dns:latest".to_owned()).len(), 1);
    }

    #[test]
    fn k26_owner_ids() {
        for copied in ["default", "my-hostedzone-identifier", "external-dns", "Z0123456789ABCDEFGHIJ"] {
            assert!(warnings(|s| copied.clone_into(&mut s.owner_id))[0].contains("not unique"), "{copied}");
        }
        for bad in ["a,b", "a\"b", "a b", "a\tb", "ü", ""] {
            refusal(|s| bad.clone_into(&mut s.owner_id));
        }
        assert!(warnings(|s| "team=platform".clone_into(&mut s.owner_id)).is_empty());
        assert!(refusal_of("0.21.0", |s| "team=platform".clone_into(&mut s.owner_id)).contains("v0.22.0"));
    }

    #[test]
    fn noop_never_syncs() {
        let noop = |s: &mut Settings| s.registry = Registry::Noop;
        assert_eq!(warnings(noop).len(), 1);
        assert!(refusal(|s| (s.registry, s.policy) = (Registry::Noop, Policy::Sync)).contains("deletes every record"));
        let mut settings = settings("0.23.0");
        noop(&mut settings);
        assert!(!settings.args().iter().any(|arg| arg.starts_with("--txt-")));
    }

    #[test]
    fn names_replicas_intervals_and_sources() {
        for bad in ["", "Ext", "a_b", "-a", "a.b"] {
            refusal(|s| bad.clone_into(&mut s.name));
            refusal(|s| bad.clone_into(&mut s.namespace));
        }
        assert!(refusal(|s| s.replicas = 2).contains("leader election"));
        for bad in ["", "1", "0s", "1 m", "m", "-1m"] {
            assert!(refusal(|s| bad.clone_into(&mut s.interval)).contains("duration"), "{bad}");
        }
        assert!(warnings(|s| "1m30.5s".clone_into(&mut s.interval)).is_empty());
        assert!(refusal(|s| s.sources = vec![]).contains("no source"));
        assert!(refusal_of("0.20.0", |s| s.sources = vec!["unstructured".to_owned()]).contains("v0.21.0"));
    }

    #[test]
    fn filters_that_exclude_each_other() {
        assert!(refusal(|s| s.label_filter = some("a b")).contains("--label-filter"));
        for (filter, operator) in [("a>3", "no >"), ("a<3", "no <"), ("team!=b", "no !="), ("x,team!=", "no !=")] {
            assert!(refusal(|s| s.annotation_filter = some(filter)).contains(operator), "{filter}");
        }
        assert!(warnings(|s| s.annotation_filter = some("a in (b),!c,d notin (e)")).is_empty());
        assert!(warnings(|s| s.label_filter = some("team!=b,a>3")).is_empty());
        let classes = refusal(|s| {
            s.ingress_classes = vec!["alb".to_owned()];
            s.annotation_filter = some("kubernetes.io/ingress.class in (alb)");
        });
        assert!(classes.contains("exclude each other"));
        let crd = |s: &mut Settings| {
            s.sources = vec!["crd".to_owned()];
            s.annotation_filter = some("a=b");
        };
        assert!(refusal_of("0.22.0", crd).contains("v0.23.0"));
        assert!(warnings(crd).is_empty());
    }

    #[test]
    fn roles_are_assumed_within_a_partition() {
        assert!(refusal(|s| s.assume_role = some("arn:aws-us-gov:iam::111122223333:role/x")).contains("partition"));
        assert!(refusal(|s| s.assume_role = some("external-dns")).contains("not the ARN"));
        assert!(refusal(|s| s.assume_role_external_id = some("x")).contains("needs --aws-assume-role"));
    }

    #[test]
    fn records_that_are_all_cname_need_txt_records_of_other_names() {
        let cname = |s: &mut Settings| s.prefer_cname = true;
        assert!(refusal_of("0.17.0", cname).contains("--aws-prefer-cname needs --txt-prefix"));
        let iso = |s: &mut Settings| s.partition = Partition::of_region("us-iso-east-1");
        assert!(refusal_of("0.15.1", iso).contains("partition aws-iso needs --txt-prefix"));
        let fine = |version: &str, change: &dyn Fn(&mut Settings)| {
            let mut settings = settings(version);
            cname(&mut settings);
            change(&mut settings);
            settings.validate().unwrap()
        };
        fine("0.18.0", &|_| ());
        fine("0.17.0", &|s| s.txt_prefix = some("txt."));
        fine("0.17.0", &|s| s.extra_args = vec!["--txt-new-format-only".to_owned()]);
        fine("0.17.0", &|s| s.registry = Registry::Noop);
    }

    #[test]
    fn txt_names_have_room_for_a_host() {
        for (length, fits) in [(60, true), (61, false)] {
            let settings = |affix: String| {
                let prefix = Settings { txt_prefix: Some(affix.clone()), ..settings("0.23.0") };
                [prefix, Settings { txt_suffix: Some(affix), ..settings("0.23.0") }]
            };
            for settings in settings("x".repeat(length)) {
                assert_eq!(settings.validate().is_ok(), fits, "{length}");
            }
        }
        assert!(warnings(|s| s.txt_prefix = Some(format!("{}.", "x".repeat(63)))).is_empty());
    }

    #[test]
    fn gov_cloud_gets_private_zones_cname_and_a_prefix() {
        let gov = || Settings::new("us-gov-west-1", "c1");
        assert_eq!(gov().validate(), Ok(vec![]));
        let args = gov().args();
        for arg in ["--aws-prefer-cname", "--txt-prefix=extdns-%{record_type}.", "--aws-zone-type=private"] {
            assert!(args.iter().any(|given| given == arg), "{arg}: {args:?}");
        }
        assert!(!settings("0.23.0").args().iter().any(|arg| arg.contains("cname") || arg.contains("txt-prefix")));
        // What was chosen stays, and so does what is in use.
        let suited = |mut settings: Settings, in_use| {
            settings.suit_partition(in_use);
            (settings.txt_prefix, settings.txt_suffix)
        };
        let bare = || Settings { txt_prefix: None, ..gov() };
        assert_eq!(suited(Settings { txt_prefix: some("x-"), ..gov() }, false), (some("x-"), None));
        assert_eq!(suited(Settings { txt_suffix: some("-x"), ..bare() }, false), (None, some("-x")));
        assert_eq!(suited(bare(), true), (None, None));
        assert_eq!(suited(Settings { registry: Registry::Noop, ..bare() }, false), (None, None));
        let named = Settings { extra_args: vec!["--aws-prefer-cname".to_owned()], ..gov() };
        assert_eq!(named.args(), args);
    }

    #[test]
    fn what_cannot_work_in_gov_cloud_is_refused() {
        let gov = || Settings::new("us-gov-west-1", "c1");
        let refused = |settings: Settings| settings.validate().unwrap_err();
        assert!(refused(Settings { prefer_cname: false, ..gov() }).contains("--aws-prefer-cname"));
        let off = vec!["--no-aws-prefer-cname".to_owned()];
        assert!(refused(Settings { extra_args: off, ..gov() }).contains("--aws-prefer-cname"));
        assert!(refused(Settings { zone_type: Some(ZoneType::Public), ..gov() }).contains("private zones only"));
        let role = some("arn:aws:iam::111122223333:role/x");
        assert!(refused(Settings { assume_role: role, ..gov() }).contains("static keys"));
        // Without a prefix, versions up to v0.17 want a TXT record under the CNAME's own name.
        let bare = |version: &str| {
            let version: Version = version.parse().unwrap();
            Settings { txt_prefix: some(""), version, image: version.image(), ..gov() }
        };
        assert!(refused(bare("0.17.0")).contains("--txt-prefix"));
        assert!(bare("0.18.0").validate().unwrap()[0].contains("--txt-prefix"));
    }

    #[test]
    fn partitions_whose_load_balancers_no_version_knows() {
        for (region, known) in
            [("cn-north-1", true), ("us-gov-east-1", true), ("us-iso-east-1", false), ("eusc-de-east-1", false)]
        {
            let warnings = Settings::new(region, "c1").validate().unwrap();
            assert_eq!(warnings.is_empty(), known, "{region}: {warnings:?}");
        }
    }

    #[test]
    fn regions_unknown_to_a_version() {
        let mut settings = settings("0.18.0");
        "ap-east-2".clone_into(&mut settings.region);
        assert!(settings.validate().unwrap()[0].contains("v0.19.0"));
    }

    #[test]
    fn extra_arguments_are_checked() {
        let extra = |text: &str| refusal(|s| s.extra_args = vec![text.to_owned()]);
        for value in [
            "--kube-api-qps=0",
            "--kube-api-burst=0",
            "--compatibility=foo",
            "--aws-api-retries=abc",
            "--txt-cache-interval=5",
            "--min-ttl=60",
            "--managed-record-types=A,CNAME",
            "--managed-record-types=a",
            "--exclude-record-types=A,AAAA",
            "--service-type-filter=LoadBalancer,NodePort",
            "--default-targets=a,b",
        ] {
            assert!(extra(value).contains("expected "), "{value}");
        }
        for value in [
            "--kube-api-qps=20",
            "--aws-zones-cache-duration=1h",
            "--txt-cache-interval=0",
            "--managed-record-types=TXT",
            "--fqdn-template={{.Name}}.a,{{.Name}}.b",
            "--aws-zone-tags=team=a,b",
        ] {
            assert!(warnings(|s| s.extra_args = vec![value.to_owned()]).is_empty(), "{value}");
        }
        for (text, part) in [
            ("--domain-filter=example.com", "use --domain-filter"),
            ("--no-enable-legacy-annotation-prefix", "use --legacy-annotations"),
            ("--aws-profile=other", "--aws-assume-role"),
            ("--kubeconfig=/x", "its own cluster"),
            ("--txt-encrypt-aes-key=secret", "--patch"),
            ("--once", "over and over"),
            ("--cloudflare-proxied", "another DNS provider"),
            ("--txt-new-format-only", "removed in ExternalDNS v0.18.0"),
            ("--nonsense", "no flag --nonsense"),
            ("events", "expected --flag=value"),
            ("--", "expected --flag=value"),
            ("--events=maybe", "--events or --no-events"),
            ("--aws-api-retries", "--aws-api-retries=VALUE"),
            ("--log-level=loud", "panic, fatal"),
            ("--create-ptr", "PTR"),
            ("--ignore-hostname-annotation", "--fqdn-template"),
        ] {
            let refusal = extra(text);
            assert!(refusal.contains(part), "{text}: {refusal}");
        }
        assert_eq!(warnings(|s| s.extra_args = vec!["--log-level=error".to_owned()]).len(), 1);
        let twice = |text: &str| vec![text.to_owned(), text.to_owned()];
        assert!(refusal(|s| s.extra_args = twice("--events")).contains("twice"));
        assert!(warnings(|s| s.extra_args = twice("--managed-record-types=A")).is_empty());
        assert!(warnings(|s| s.extra_args = twice("--fqdn-template=a.b")).is_empty());
        assert!(refusal_of("0.21.0", |s| s.extra_args = twice("--fqdn-template=a.b")).contains("twice"));
        assert!(!extra("--txt-encrypt-aes-key=secret").contains("secret"));
        assert!(
            refusal_of("0.18.0", |s| s.extra_args = vec!["--events-emit=RecordReady".to_owned()]).contains("v0.19.0")
        );
        assert!(refusal_of("0.15.1", |s| s.extra_args = vec!["--aws-zone-tags=a=b".to_owned()]).contains("v0.16.0"));
        assert_eq!(warnings(|s| s.extra_args = vec!["--dry-run".to_owned()]).len(), 1);
        assert_eq!(warnings(|s| s.extra_args = vec!["--no-dry-run".to_owned()]).len(), 0);
    }
}
