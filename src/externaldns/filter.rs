//! Which domains and hosted zones an installation looks after.

use std::collections::BTreeMap;

use super::settings::{Settings, ZoneType};
use super::version::{Feature, NEWEST, Version};

/// A domain filter, as a version of ExternalDNS reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainFilter {
    include: Vec<String>,
    exclude: Vec<String>,
    version: Version,
}

impl Default for DomainFilter {
    /// Everything.
    fn default() -> Self {
        Self::new(&[], &[], NEWEST)
    }
}

impl DomainFilter {
    /// `--domain-filter` and `--exclude-domains`; entries that are empty after trimming don't count.
    pub fn new(include: &[String], exclude: &[String], version: Version) -> Self {
        Self { include: entries(include, version), exclude: entries(exclude, version), version }
    }

    /// True for a domain in the filter: everything, if the filter names nothing.
    pub fn matches(&self, domain: &str) -> bool {
        let domain = normalized(domain, self.version);
        let any = |filters: &[String]| filters.iter().any(|filter| within(&domain, filter));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }

    /// True if a zone lies above a filter, which `--aws-zone-match-parent` takes for a match.
    pub fn matches_parent(&self, zone: &str) -> bool {
        let zone = normalized(zone, self.version);
        let mut filters = self.include.iter().filter(|filter| !filter.starts_with('.'));
        self.exclude.iter().all(|filter| !within(&zone, filter))
            && filters.any(|filter| filter.ends_with(&format!(".{zone}")))
    }

    /// True if it names nothing.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }
}

/// The entries of a list of domains that count, as `version` compares them.
pub(super) fn entries(domains: &[String], version: Version) -> Vec<String> {
    domains.iter().map(|domain| normalized(domain, version)).filter(|text| !text.is_empty()).collect()
}

fn clean(domain: &str) -> String {
    domain.trim().trim_end_matches('.').to_lowercase()
}

/// The form in which `version` compares domains: the Unicode one of international names
/// (`normalizeDomain` in `endpoint/domain_filter.go`), or any, in lower case.
fn normalized(domain: &str, version: Version) -> String {
    let domain = clean(domain);
    if !version.supports(Feature::UnicodeFilters) {
        return domain;
    }
    // "Transitional processing" (UTS #46), which the crate has no more.
    let mapped = domain.replace('ß', "ss").replace('ς', "σ").replace(['\u{200c}', '\u{200d}'], "");
    match idna::domain_to_unicode(&mapped) {
        (unicode, Ok(())) => unicode,
        _ => domain,
    }
}

/// `example.com` holds itself and all below it; `.example.com` only what is below.
fn within(domain: &str, filter: &str) -> bool {
    if filter.starts_with('.') {
        return domain.ends_with(filter);
    }
    domain.strip_suffix(filter).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A zone's id without `/hostedzone/`.
pub fn bare_id(id: &str) -> &str {
    id.trim().rsplit('/').next().unwrap_or_default()
}

/// True for a name below a domain, which isn't the domain itself.
pub fn is_below(name: &str, domain: &str) -> bool {
    let (name, domain) = (clean(name), clean(domain));
    name != domain && within(&name, &domain)
}

/// A hosted zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Bare id, such as `Z0123456789ABCDEFGHIJ`.
    pub id: String,
    /// DNS name without the final dot.
    pub name: String,
    /// True for a zone of VPCs.
    pub private: bool,
    /// What its makers wrote about it; empty if nothing.
    pub comment: String,
}

/// Flags that select zones by what isn't judged here: tags, which would have to be read, and regular expressions, whose
/// language is Go's.
pub(super) const UNJUDGED: &[&str] = &["aws-zone-tags", "regex-domain-filter", "regex-domain-exclusion"];

/// The flag among these settings that may leave out some of the zones that [`select_zones`] gives.
pub fn unjudged(settings: &Settings) -> Option<&'static str> {
    UNJUDGED.iter().copied().find(|flag| settings.extra(flag).is_some_and(|value| !value.is_empty()))
}

/// The zones that ExternalDNS would manage with these settings, as far as names, ids and types tell: see [`unjudged`].
pub fn select_zones<'z>(zones: &'z [Zone], settings: &Settings) -> Vec<&'z Zone> {
    let filter = DomainFilter::new(&settings.domain_filters, &settings.exclude_domains, settings.version);
    let parents = settings.extra_switch("aws-zone-match-parent");
    let by_id = |zone: &&Zone| settings.zone_id_filters.is_empty() || settings.zone_id_filters.contains(&zone.id);
    let by_type = |zone: &&Zone| settings.zone_type.is_none_or(|kind| (kind == ZoneType::Private) == zone.private);
    let by_name = |zone: &&Zone| filter.matches(&zone.name) || (parents && filter.matches_parent(&zone.name));
    zones.iter().filter(by_id).filter(by_type).filter(by_name).collect()
}

/// Zones of one name among those selected: each record would go to all of them, and an
/// `--aws-zone-type` or zone id has to tell them apart.
pub fn twins<'z>(zones: &[&'z Zone]) -> Vec<Vec<&'z Zone>> {
    let mut by_name: BTreeMap<String, Vec<&Zone>> = BTreeMap::new();
    for zone in zones {
        by_name.entry(clean(&zone.name)).or_default().push(zone);
    }
    by_name.into_values().filter(|zones| zones.len() > 1).collect()
}

/// The zones that a host's record goes to: all private zones above it and the closest public one.
pub fn suitable_zones<'z>(host: &str, zones: &[&'z Zone]) -> Vec<&'z Zone> {
    let host = clean(host);
    let above: Vec<&Zone> = zones.iter().copied().filter(|zone| within(&host, &clean(&zone.name))).collect();
    let public = above.iter().copied().filter(|zone| !zone.private).max_by_key(|zone| zone.name.len());
    above.iter().copied().filter(|zone| zone.private).chain(public).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Filters and exclusions separated by `;`.
    fn matches(include: &str, exclude: &str, domain: &str) -> bool {
        let list = |text: &str| text.split(';').map(str::to_owned).collect::<Vec<_>>();
        DomainFilter::new(&list(include), &list(exclude), NEWEST).matches(domain)
    }

    #[test]
    fn j1_to_j7_suffixes_end_at_labels() {
        assert!(matches("google.com.;exaring.de;inovex.de", "", "exaring.de"));
        assert!(matches("foo.org.      ", "", "foo.org"));
        assert!(!matches("foo.org.", "", "baz.org"));
        assert!(matches("", "", "foo.org"));
        assert!(matches("bar.sub.example.org", "", "foo.bar.sub.example.org"));
        assert!(!matches("example.org", "", "anexample.org"));
        assert!(matches("Example.ORG", "", "foo.EXAMPLE.org."));
    }

    #[test]
    fn j9_j10_leading_dot_leaves_the_apex_out() {
        assert!(!matches(".example.org", "", "example.org"));
        assert!(matches(".example.org", "", "test.example.org"));
    }

    #[test]
    fn j14_to_j20_exclusions() {
        assert!(matches("example.org", "api.example.org", "foo.test.example.org"));
        assert!(!matches("example.org", "api.example.org", "api.example.org"));
        assert!(matches("example.org.", "api.example.org", "dev-api.example.org"));
        assert!(!matches("example.org.", "api.example.org", "dev.api.example.org"));
        assert!(matches("example.org;api.example.org", "internal.api.example.org", "foo.api.example.org"));
    }

    #[test]
    fn international_names_match_in_either_form() {
        let (unicode, ascii) = ("münchen.de", "xn--mnchen-3ya.de");
        for (filter, domain) in
            [(unicode, ascii), (ascii, unicode), ("MÜNCHEN.de.", ascii), (".münchen.de", "a.xn--mnchen-3ya.de")]
        {
            assert!(matches(filter, "", domain), "{filter} {domain}");
        }
        assert!(!matches("", unicode, ascii) && !matches("", unicode, "*._x.xn--mnchen-3ya.de"));
        assert!(matches("straße.de", "", "strasse.de") && !matches("straße.de", "", "xn--strae-oqa.de"));
        let old = DomainFilter::new(&[unicode.to_owned()], &[], "0.17.0".parse().unwrap());
        assert!(old.matches("a.München.de") && !old.matches(ascii));
        let parent = DomainFilter::new(&["a.münchen.de".to_owned()], &[], NEWEST);
        assert!(parent.matches_parent("xn--mnchen-3ya.de."));
    }

    #[test]
    fn j23_a_comma_is_a_part_of_the_name() {
        assert!(!matches("a.com,b.com", "", "a.com"));
    }

    fn zone(id: &str, name: &str, private: bool) -> Zone {
        Zone { id: id.to_owned(), name: name.to_owned(), private, comment: String::new() }
    }

    fn ids(zones: &[&Zone]) -> Vec<String> {
        zones.iter().map(|zone| zone.id.clone()).collect()
    }

    #[test]
    fn i1_i2_i5_suitable_zones() {
        let zones = [
            zone("example-org", "example.org", false),
            zone("bar-example-org", "bar.example.org", false),
            zone("longfoo-bar-example-org", "longfoo.bar.example.org", false),
            zone("example-org-private", "example.org", true),
            zone("bar-example-org-private", "bar.example.org", true),
        ];
        let all: Vec<_> = zones.iter().collect();
        let suitable = |host| ids(&suitable_zones(host, &all));
        assert_eq!(suitable("foobar.example.org."), ["example-org-private", "example-org"]);
        assert_eq!(suitable("bar.example.org."), ["example-org-private", "bar-example-org-private", "bar-example-org"]);
        assert_eq!(suitable("foo.kubernetes.io."), [""; 0]);
    }

    #[test]
    fn zones_are_selected_by_id_type_and_name() {
        let zones =
            [zone("Z1", "example.com", false), zone("Z2", "example.com", true), zone("Z3", "sub.example.com", false)];
        let mut settings = Settings::new("us-east-1", "c1");
        assert_eq!(ids(&select_zones(&zones, &settings)), ["Z1", "Z2", "Z3"]);
        settings.domain_filters = vec!["sub.example.com".to_owned()];
        assert_eq!(ids(&select_zones(&zones, &settings)), ["Z3"]);
        settings.extra_args = vec!["--aws-zone-match-parent".to_owned()];
        assert_eq!(ids(&select_zones(&zones, &settings)), ["Z1", "Z2", "Z3"]);
        settings.zone_type = Some(ZoneType::Private);
        assert_eq!(ids(&select_zones(&zones, &settings)), ["Z2"]);
        settings.zone_type = None;
        settings.zone_id_filters = vec!["Z1".to_owned()];
        assert_eq!(ids(&select_zones(&zones, &settings)), ["Z1"]);
    }

    #[test]
    fn twins_share_a_name() {
        let zones =
            [zone("Z1", "example.com", false), zone("Z2", "example.com.", true), zone("Z3", "example.org", false)];
        let all: Vec<_> = zones.iter().collect();
        assert_eq!(twins(&all).iter().map(|twins| ids(twins)).collect::<Vec<_>>(), [["Z1", "Z2"]]);
    }
}
