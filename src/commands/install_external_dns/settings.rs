//! From flags to the settings of ExternalDNS: what an installation has is kept unless it is named.

use std::path::PathBuf;

use serde_json::Value;

use crate::cli::externaldns as cli;
use crate::commands::target::{contents, name};
use crate::config;
use crate::error::{Error, ErrorCode, Result};
use crate::externaldns::args::{Arguments, Installed};
use crate::externaldns::filter::unjudged;
use crate::externaldns::owner::derived_owner_id;
use crate::externaldns::protect::{What, inherit};
use crate::externaldns::settings::{Policy, Registry, Settings, ZoneType};
use crate::externaldns::version::{NEWEST, Version, image_tag};
use crate::iam::arn::{Arn, Partition};

/// Where the installation is, or is to be.
pub(crate) struct Facts<'a> {
    /// The cluster.
    pub(crate) cluster: &'a str,
    /// Its ARN.
    pub(crate) cluster_arn: &'a str,
    /// Its region.
    pub(crate) region: &'a str,
    /// Its partition.
    pub(crate) partition: &'a Partition,
    /// The minor version of its Kubernetes, where that is known.
    pub(crate) kubernetes_minor: Option<u32>,
    /// What is there.
    pub(crate) installed: Option<&'a Installed>,
}

/// The settings, complete, and what people should know about them.
pub(crate) fn settings(args: &cli::Settings, facts: &Facts<'_>) -> Result<(Settings, Vec<String>)> {
    let mut settings = build(args, facts)?;
    if let Some(installed) = facts.installed {
        inherit(&mut settings, installed, &named(args));
    }
    settings.suit_partition(facts.installed.is_some_and(|installed| installed.registry != Registry::Noop.as_str()));
    let warnings = settings.validate().map_err(Error::usage)?;
    if let Some(minor) = facts.kubernetes_minor {
        let supported = settings.version.check_kubernetes(minor);
        supported.map_err(|e| {
            Error::new(ErrorCode::UnsupportedVersion, e)
                .hint(format!("leave --external-dns-version and --image out: irsactl then installs {NEWEST}"))
        })?;
    }
    Ok((settings, warnings))
}

/// Refuses what can be refused without knowing the cluster; the region may be known.
pub(super) fn check_offline(args: &cli::Settings, least_privilege: bool, region: Option<&str>) -> Result<()> {
    // Where the region isn't said, the role that is assumed is of its partition.
    let assumed =
        args.aws_assume_role.as_deref().and_then(|role| Partition::new(&role.parse::<Arn>().ok()?.partition).ok());
    let partition = region.map(Partition::of_region).or(assumed).unwrap_or_else(Partition::aws);
    let region = region.unwrap_or("us-east-1");
    let facts = Facts {
        cluster: "c",
        cluster_arn: "arn:aws:eks:us-east-1:000000000000:cluster/c",
        region,
        partition: &partition,
        kubernetes_minor: None,
        installed: None,
    };
    let mut settings = build(args, &facts)?;
    settings.suit_partition(false);
    settings.validate().map_err(Error::usage)?;
    if least_privilege { check_least_privilege(&settings) } else { Ok(()) }
}

/// Refuses a policy for the zones that are selected where that can't be told, and none is named.
fn check_least_privilege(settings: &Settings) -> Result<()> {
    let Some(flag) = unjudged(settings).filter(|_| settings.zone_id_filters.is_empty()) else { return Ok(()) };
    Err(Error::usage(format!("--least-privilege: irsactl can't tell which zones --{flag} selects"))
        .hint("name the zones with --zone-id-filter, too"))
}

/// The zones that a policy of this installation's own is for.
pub(super) fn least_privilege(zones: Vec<String>) -> Result<Vec<String>> {
    if zones.is_empty() {
        return Err(Error::new(ErrorCode::ZoneNotFound, "--least-privilege: no hosted zone matches the filters")
            .hint("aws route53 list-hosted-zones lists the zones that there are"));
    }
    Ok(zones)
}

/// The partial objects of `--patch`: of a file, or one that is given as it is, in JSON.
pub(crate) fn patches(files: &[PathBuf]) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for file in files {
        let patch = match file.to_str().filter(|text| text.trim_start().starts_with('{')) {
            Some(object) => config::read_patch("the text", object),
            None => config::read_patch(&name(file), contents("--patch", file)?),
        };
        found.extend(patch.map_err(|error| error.within("--patch"))?);
    }
    Ok(found)
}

fn build(args: &cli::Settings, facts: &Facts<'_>) -> Result<Settings> {
    let (version, image) = version_and_image(args)?;
    let off = |arg: &String| ["--no-aws-prefer-cname", "--aws-prefer-cname=false"].contains(&arg.as_str());
    if let Some(off) = args.extra_arg.iter().find(|arg| off(arg)).filter(|_| args.aws_prefer_cname) {
        return Err(Error::usage(format!("--aws-prefer-cname and --extra-arg={off} exclude each other")));
    }
    Ok(Settings {
        name: args.name.clone(),
        namespace: args.namespace.clone(),
        version,
        image,
        sources: args.source.clone(),
        domain_filters: args.domain_filter.clone(),
        exclude_domains: args.exclude_domains.clone(),
        zone_id_filters: args.zone_id_filter.clone(),
        policy: match args.policy {
            cli::PolicyMode::UpsertOnly => Policy::UpsertOnly,
            cli::PolicyMode::Sync => Policy::Sync,
            cli::PolicyMode::CreateOnly => Policy::CreateOnly,
        },
        registry: match args.registry {
            Some(cli::Registry::Noop) => Registry::Noop,
            Some(cli::Registry::Txt) | None => Registry::Txt,
        },
        owner_id: args
            .txt_owner_id
            .clone()
            .unwrap_or_else(|| derived_owner_id(facts.cluster, facts.cluster_arn, &args.name)),
        txt_prefix: args.txt_prefix.clone(),
        txt_suffix: args.txt_suffix.clone(),
        zone_type: args.aws_zone_type.map(|zone_type| match zone_type {
            cli::ZoneType::Public => ZoneType::Public,
            cli::ZoneType::Private => ZoneType::Private,
        }),
        assume_role: args.aws_assume_role.clone(),
        assume_role_external_id: args.aws_assume_role_external_id.clone(),
        interval: args.interval.clone(),
        ingress_classes: args.ingress_class.clone(),
        annotation_filter: args.annotation_filter.clone(),
        label_filter: args.label_filter.clone(),
        annotation_prefix: args.annotation_prefix.clone(),
        legacy_annotations: args.legacy_annotations,
        replicas: args.replicas,
        extra_args: args.extra_arg.clone(),
        prefer_cname: args.aws_prefer_cname,
        region: facts.region.to_owned(),
        partition: facts.partition.clone(),
    })
}

/// What the command line says about the identity of an installation; the rest is kept.
fn named(args: &cli::Settings) -> Vec<What> {
    let flags = [
        (args.registry.is_some(), What::Registry),
        (args.txt_owner_id.is_some(), What::Owner),
        (args.txt_prefix.is_some(), What::TxtPrefix),
        (args.txt_suffix.is_some(), What::TxtSuffix),
        (args.annotation_prefix.is_some(), What::AnnotationPrefix),
    ];
    flags.into_iter().filter_map(|(named, what)| named.then_some(what)).collect()
}

/// Whether the command line says a flag of ExternalDNS, or a default does.
pub(super) fn is_told(args: &cli::Settings, flag: &str) -> bool {
    match flag {
        "source" | "policy" | "interval" | "provider" => true,
        "registry" => args.registry.is_some(),
        "txt-owner-id" => args.txt_owner_id.is_some(),
        // They exclude each other.
        "txt-prefix" | "txt-suffix" => args.txt_prefix.is_some() || args.txt_suffix.is_some(),
        "domain-filter" => !args.domain_filter.is_empty(),
        "exclude-domains" => !args.exclude_domains.is_empty(),
        "zone-id-filter" => !args.zone_id_filter.is_empty(),
        "ingress-class" => !args.ingress_class.is_empty(),
        "aws-zone-type" => args.aws_zone_type.is_some(),
        "aws-assume-role" => args.aws_assume_role.is_some(),
        "aws-assume-role-external-id" => args.aws_assume_role_external_id.is_some(),
        "aws-prefer-cname" => args.aws_prefer_cname,
        "annotation-filter" => args.annotation_filter.is_some(),
        "label-filter" => args.label_filter.is_some(),
        "annotation-prefix" => args.annotation_prefix.is_some(),
        "enable-legacy-annotation-prefix" => args.legacy_annotations.is_some(),
        other => Arguments::parse(&args.extra_arg, &[]).names().any(|name| name == other),
    }
}

/// The image's tag is the version; a flag that says otherwise is refused, and is needed where the tag says none.
fn version_and_image(args: &cli::Settings) -> Result<(Version, String)> {
    let parse = |text: &str| text.parse::<Version>();
    let named = args.external_dns_version.as_deref().map(parse).transpose();
    let named = named.map_err(|e| Error::usage(format!("--external-dns-version: {e}")))?;
    let Some(image) = &args.image else {
        let version = named.unwrap_or(NEWEST);
        return Ok((version, version.image()));
    };
    match (Version::of_image(image), named) {
        (Some(tagged), Some(named)) if tagged != named => {
            Err(Error::usage(format!("--image {image} is {tagged}, and --external-dns-version says {named}")))
        }
        (Some(tagged), _) => Ok((tagged, image.clone())),
        (None, Some(named)) => Ok((named, image.clone())),
        (None, None) => {
            let problem = image_tag(image).map_or_else(
                || format!("a tag such as :{NEWEST} is needed"),
                |tag| format!("the tag must be the version: {}", parse(tag).err().unwrap_or_default()),
            );
            Err(Error::usage(format!("--image {image}: {problem}")).hint("or --external-dns-version says which it is"))
        }
    }
}
