//! Versions of ExternalDNS and what each of them can do.

use std::fmt;
use std::str::FromStr;

/// A released version of ExternalDNS, such as `v0.23.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 0 in every release so far.
    pub major: u16,
    /// The release: 23 in `v0.23.0`.
    pub minor: u16,
    /// The patch of the release.
    pub patch: u16,
}

/// What is installed unless another version is asked for, and the newest that the tables here know.
pub const NEWEST: Version = Version::new(23, 0);

/// The oldest version that the tables here know.
pub const FLOOR: Version = Version::new(14, 0);

/// The repository of the official images.
pub const REPOSITORY: &str = "registry.k8s.io/external-dns/external-dns";

/// The annotation prefix that v0.22 and later read.
pub const PREFIX: &str = "external-dns.kubernetes.io/";

/// The annotation prefix that versions up to v0.21 read.
pub const LEGACY_PREFIX: &str = "external-dns.alpha.kubernetes.io/";

impl Version {
    /// `v0.<minor>.<patch>`.
    pub const fn new(minor: u16, patch: u16) -> Self {
        Self { major: 0, minor, patch }
    }

    /// The version that an image's tag names; builds of others (`v0.19.0-eksbuild.2`) included.
    ///
    /// `None` for a tag that isn't a version, for `latest`, and where there is only a digest.
    pub fn of_image(image: &str) -> Option<Self> {
        let tag = image_tag(image)?;
        let release = tag.split(['-', '+', '_']).next().unwrap_or(tag);
        release.parse().ok()
    }

    /// The official image of this version.
    pub fn image(self) -> String {
        format!("{REPOSITORY}:{self}")
    }

    /// True where this version has `feature`. Versions newer than [`NEWEST`] count as the newest.
    pub fn supports(self, feature: Feature) -> bool {
        feature.in_version(self)
    }

    /// Said of versions that are newer than the tables here.
    pub fn warning(self) -> Option<String> {
        (self.release() > NEWEST.release())
            .then(|| format!("ExternalDNS {self} is newer than this irsactl knows: treated as {NEWEST}"))
    }

    /// Checks that this version may be installed on Kubernetes 1.`minor`.
    ///
    /// # Errors
    /// Names the version to take instead ("Kubernetes version compatibility", README of ExternalDNS).
    pub fn check_kubernetes(self, minor: u32) -> Result<(), String> {
        if self < FLOOR {
            return Err(format!("ExternalDNS {self} is too old: irsactl installs {FLOOR} and later"));
        }
        let feature = Feature::Kubernetes133;
        if minor >= 33 && !self.supports(feature) {
            return Err(format!(
                "ExternalDNS {self} does not run on Kubernetes 1.{minor}: from 1.33 on it has to be {} or later",
                feature.since()
            ));
        }
        if minor < 21 && self.supports(feature) {
            return Err(format!("ExternalDNS {self} needs Kubernetes 1.21 or later; the cluster has 1.{minor}"));
        }
        Ok(())
    }

    /// The annotation prefix that this version reads when nothing says otherwise.
    pub fn default_prefix(self) -> &'static str {
        if self.supports(Feature::NewPrefix) { PREFIX } else { LEGACY_PREFIX }
    }

    /// False where load balancers of `region` are missing from this version's list of canonical
    /// zones, so that their hosts become CNAMEs instead of ALIAS records.
    pub fn knows_region(self, region: &str) -> bool {
        Self::region_since(region).is_none_or(|since| since <= self)
    }

    /// The first version that knows the load balancers of a region that opened lately.
    pub fn region_since(region: &str) -> Option<Self> {
        REGIONS.iter().find(|(name, _)| *name == region).map(|(_, since)| *since)
    }

    /// The record types that stand in the names of ownership TXT records, in the order in which
    /// they are tried.
    pub fn txt_types(self) -> impl Iterator<Item = &'static str> {
        TXT_TYPES.iter().filter(move |(_, since)| *since <= self).map(|(name, _)| *name)
    }

    /// True where this version finds every ownership TXT record that `other` wrote.
    pub fn finds_txts_of(self, other: Self) -> bool {
        let alias = Feature::AliasTxtIsA;
        (self.supports(alias) || !other.supports(alias)) && self.txt_types().count() >= other.txt_types().count()
    }

    fn release(self) -> (u16, u16) {
        (self.major, self.minor)
    }
}

/// The tag of an image, without its digest.
pub fn image_tag(image: &str) -> Option<&str> {
    let name = image.split('@').next().unwrap_or(image);
    let (_, tag) = name.rsplit_once(':')?;
    (!tag.is_empty() && !tag.contains('/')).then_some(tag)
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = String;

    /// `v0.23.0`, `0.23.0`, `v0.23` or `0.23`.
    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("`{text}` is not a version of ExternalDNS: expected one like {NEWEST}");
        let digits = text.strip_prefix('v').unwrap_or(text);
        let numbers = digits.split('.').map(parse_number).collect::<Option<Vec<_>>>().ok_or_else(malformed)?;
        match numbers[..] {
            [major, minor] => Ok(Self { major, minor, patch: 0 }),
            [major, minor, patch] => Ok(Self { major, minor, patch }),
            _ => Err(malformed()),
        }
    }
}

fn parse_number(text: &str) -> Option<u16> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// What sets versions apart, apart from their flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Runs on Kubernetes 1.33 and later.
    Kubernetes133,
    /// Exits without `--policy`; before, the default is `sync`.
    PolicyMandatory,
    /// Reads `external-dns.kubernetes.io/` annotations by default.
    NewPrefix,
    /// Has `--annotation-prefix`.
    AnnotationPrefix,
    /// Has `--enable-legacy-annotation-prefix`.
    LegacyAnnotations,
    /// Writes a TXT record with the bare name of the host beside the one with the type.
    LegacyTxt,
    /// The TXT record of an A record that is an ALIAS has `a-` in its name; before, `cname-`.
    AliasTxtIsA,
    /// Creates an AAAA ALIAS beside every A ALIAS, with a TXT record of its own.
    AaaaAlias,
    /// Tries to create a TXT record whose name exists already; the batch fails.
    RecreatesTxt,
    /// Deletes a TXT record with the value read from Route53, not with the value it would write.
    DeletesStoredTxt,
    /// Reads TXT labels whose value contains `=`.
    EqualsInLabels,
    /// Takes a `--txt-suffix` with a dot in it without a crash on short names.
    DottedSuffix,
    /// Reads EndpointSlices for Services; before, Endpoints.
    EndpointSlices,
    /// Needs no pods, nodes and slices with `--service-type-filter=LoadBalancer`.
    ServiceTypeTrims,
    /// Reads Gateway and HTTPRoute as `v1`; others as `v1beta1`.
    GatewayV1,
    /// Reads GRPCRoute as `v1`; others as `v1alpha2`.
    GrpcRouteV1,
    /// Reads TLSRoute as `v1`; others as `v1alpha2`.
    TlsRouteV1,
    /// Reads Istio objects as `v1`; before, as `v1beta1`.
    IstioV1,
    /// Reads Istio objects as `v1beta1`; before, as `v1alpha3`.
    IstioV1beta1,
    /// Reads zone tags with `route53:ListTagsForResources`; before, one zone a call.
    ZoneTagsBatch,
    /// Takes credentials from an EKS Pod Identity association.
    PodIdentity,
    /// A refused AWS call is logged and retried; before, the process exits.
    SoftErrors,
    /// The crd source yields nothing with an annotation filter.
    CrdFilterBroken,
    /// Source crd reads what `--crd-source-apiversion` and `--crd-source-kind` say; later versions ignore them.
    CrdSourceChosen,
    /// Uses the inclusion regex beside an exclusion regex.
    RegexBoth,
    /// Reads the annotation `aws-hosted-zone-id`.
    ZonePin,
    /// Leaves Gateways that the annotation `controller` gives to others, with their routes; before, only the route's counted.
    GatewayController,
    /// Domain filters match international names in either form, `münchen.de` and `xn--mnchen-3ya.de`.
    UnicodeFilters,
}

/// First version with a feature, and the first without it again. Source: release notes and code of
/// the release tags of ExternalDNS.
const FEATURES: &[(Feature, Version, Option<Version>)] = &[
    (Feature::Kubernetes133, Version::new(18, 0), None),
    (Feature::PolicyMandatory, Version::new(22, 0), None),
    (Feature::NewPrefix, Version::new(22, 0), None),
    (Feature::AnnotationPrefix, Version::new(20, 0), None),
    (Feature::LegacyAnnotations, Version::new(23, 0), None),
    (Feature::LegacyTxt, Version::new(0, 0), Some(Version::new(18, 0))),
    (Feature::AliasTxtIsA, Version::new(22, 0), None),
    (Feature::AaaaAlias, Version::new(16, 0), None),
    (Feature::RecreatesTxt, Version::new(0, 0), Some(Version::new(19, 0))),
    (Feature::DeletesStoredTxt, Version::new(23, 0), None),
    (Feature::EqualsInLabels, Version::new(22, 0), None),
    (Feature::DottedSuffix, Version::new(22, 0), None),
    (Feature::EndpointSlices, Version::new(18, 0), None),
    (Feature::ServiceTypeTrims, Version::new(19, 0), None),
    (Feature::GatewayV1, Version::new(14, 1), Some(Version::new(15, 0))),
    (Feature::GatewayV1, Version::new(21, 0), None),
    (Feature::GrpcRouteV1, Version::new(15, 0), None),
    (Feature::TlsRouteV1, Version::new(22, 0), None),
    (Feature::IstioV1, Version::new(21, 0), None),
    (Feature::IstioV1beta1, Version::new(19, 0), None),
    (Feature::ZoneTagsBatch, Version::new(16, 0), None),
    (Feature::PodIdentity, Version::new(15, 1), None),
    (Feature::SoftErrors, Version::new(14, 1), None),
    (Feature::CrdFilterBroken, Version::new(22, 0), Some(Version::new(23, 0))),
    (Feature::CrdSourceChosen, Version::new(0, 0), Some(Version::new(21, 0))),
    (Feature::RegexBoth, Version::new(21, 0), None),
    (Feature::ZonePin, Version::new(22, 0), None),
    (Feature::GatewayController, Version::new(23, 0), None),
    (Feature::UnicodeFilters, Version::new(18, 0), None),
];

/// First versions that know the load balancers of regions that opened lately.
const REGIONS: &[(&str, Version)] = &[
    ("il-central-1", Version::new(14, 1)),
    ("ca-west-1", Version::new(14, 2)),
    ("ap-southeast-5", Version::new(15, 1)),
    ("mx-central-1", Version::new(16, 0)),
    ("ap-southeast-7", Version::new(17, 0)),
    ("ap-east-2", Version::new(19, 0)),
    ("ap-southeast-6", Version::new(20, 0)),
];

/// Record types in the names of TXT records and the first version that has each.
const TXT_TYPES: &[(&str, Version)] = &[
    ("A", Version::new(0, 0)),
    ("AAAA", Version::new(0, 0)),
    ("CNAME", Version::new(0, 0)),
    ("NS", Version::new(0, 0)),
    ("MX", Version::new(18, 0)),
    ("PTR", Version::new(21, 0)),
    ("SRV", Version::new(21, 0)),
    ("NAPTR", Version::new(21, 0)),
    ("TXT", Version::new(22, 0)),
    ("DNAME", Version::new(22, 0)),
    ("TLSA", Version::new(23, 0)),
];

impl Feature {
    /// The first version that has it for good.
    pub fn since(self) -> Version {
        let mut rows = FEATURES.iter().filter(|(feature, ..)| *feature == self);
        rows.next_back().map_or(NEWEST, |(_, since, _)| *since)
    }

    fn in_version(self, version: Version) -> bool {
        let mut rows = FEATURES.iter().filter(|(feature, ..)| *feature == self);
        rows.any(|(_, since, until)| *since <= version && until.is_none_or(|until| version < until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn short_and_long_forms_are_one_version() {
        for text in ["v0.23.0", "0.23.0", "v0.23", "0.23"] {
            assert_eq!(version(text), NEWEST);
        }
        assert_eq!(NEWEST.to_string(), "v0.23.0");
        assert!(version("v0.9.0") < version("v0.14.2"));
        for bad in ["", "v", "latest", "v0", "0.23.0.1", "v0.+1", "0.23.x", "v0.23.0-rc1"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn version_is_read_from_images() {
        let of = |image| Version::of_image(image).map(|version| version.to_string());
        assert_eq!(of("registry.k8s.io/external-dns/external-dns:v0.21.0"), Some("v0.21.0".to_owned()));
        assert_eq!(of("host:5000/external-dns:0.19.0-eksbuild.2@sha256:ab"), Some("v0.19.0".to_owned()));
        assert_eq!(of("host:5000/external-dns"), None);
        assert_eq!(of("external-dns:latest"), None);
        assert_eq!(of("external-dns@sha256:0123"), None);
    }

    #[test]
    fn kubernetes_133_needs_v018() {
        assert!(version("0.17").check_kubernetes(32).is_ok());
        assert!(version("0.17").check_kubernetes(33).unwrap_err().contains("v0.18.0"));
        assert!(version("0.18").check_kubernetes(33).is_ok());
        assert!(version("0.13.6").check_kubernetes(30).unwrap_err().contains("v0.14.0"));
        assert!(NEWEST.check_kubernetes(20).is_err());
    }

    #[test]
    fn newer_versions_count_as_the_newest() {
        let next = version("0.24.1");
        assert!(next.supports(Feature::LegacyAnnotations));
        assert!(next.warning().unwrap().contains("v0.23.0"));
        assert_eq!(version("0.23.4").warning(), None);
    }

    #[test]
    fn features_come_and_go() {
        assert!(version("0.14.2").supports(Feature::GatewayV1));
        assert!(!version("0.15.0").supports(Feature::GatewayV1));
        assert!(version("0.21.0").supports(Feature::GatewayV1));
        assert!(version("0.22.1").supports(Feature::CrdFilterBroken));
        assert!(!version("0.23.0").supports(Feature::CrdFilterBroken));
        assert_eq!(Feature::GatewayV1.since(), version("0.21"));
        assert_eq!(version("0.21").default_prefix(), LEGACY_PREFIX);
        assert_eq!(version("0.22").default_prefix(), PREFIX);
        assert!(!version("0.18").knows_region("ap-east-2"));
        assert!(version("0.19").knows_region("ap-east-2"));
        assert!(version("0.14").knows_region("us-east-1"));
        assert!(version("0.23").finds_txts_of(version("0.14")) && version("0.19").finds_txts_of(version("0.20")));
        assert!(!version("0.21").finds_txts_of(version("0.22")));
    }
}
