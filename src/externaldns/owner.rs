//! Owner ids: how one ExternalDNS knows its records from those of another.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::version::{Feature, Version};
use crate::stack::names::{LONGEST, beginning, shortened};

/// The name of an installation where nothing says otherwise.
pub const DEFAULT_NAME: &str = "external-dns";

/// The owner id of a new installation: `<cluster>-<8 hex digits>`.
///
/// The digits are of the hash of the cluster's ARN, so a cluster that is built anew under the same
/// name inherits its records, and two clusters of one name in two regions don't share any. An
/// installation not named `external-dns` hashes `<ARN>/<name>`. The account id is never part of
/// it: TXT records are public.
pub fn derived_owner_id(cluster: &str, cluster_arn: &str, name: &str) -> String {
    let hashed = if name == DEFAULT_NAME { cluster_arn.to_owned() } else { format!("{cluster_arn}/{name}") };
    let digest = Sha256::digest(hashed.as_bytes());
    let digits = digest.iter().take(4).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    format!("{cluster}-{digits}")
}

/// The name of a policy that only one installation has (`--least-privilege`), beside the shared one: cut and unique
/// where it would be too long. A pattern where region or cluster are `*`.
pub fn scoped_policy(shared: &str, region: &str, cluster: &str, name: &str) -> String {
    let instance = if name == DEFAULT_NAME { String::new() } else { format!("-{name}") };
    let whole = format!("{shared}-{region}-{cluster}{instance}");
    let longest = |text: &str, unknown: usize| if text == "*" { unknown } else { 0 };
    let may_be = whole.len() + longest(region, LONGEST_REGION) + longest(cluster, LONGEST_CLUSTER);
    match whole.split_once('*') {
        Some((known, _)) if may_be > LONGEST => format!("{}*", beginning(known)),
        Some(_) => whole,
        None => shortened(&whole),
    }
}

/// No region has a longer name so far.
const LONGEST_REGION: usize = "ap-southeast-1".len();
/// The longest name of a cluster (CreateCluster, Amazon EKS API Reference).
const LONGEST_CLUSTER: usize = 100;

/// Why an owner id is not unique to a cluster, if it is one that people copy from documentation.
pub fn copied(owner_id: &str) -> Option<&'static str> {
    match owner_id {
        "default" => Some("it is the default of ExternalDNS, which every installation without an id has"),
        "my-hostedzone-identifier" | "my-identifier" => Some("it is the example of the ExternalDNS tutorial"),
        "external-dns" => Some("it is a common choice that does not name the cluster"),
        _ if is_zone_id(owner_id) => Some("it looks like the id of a hosted zone, which several clusters may write to"),
        _ => None,
    }
}

/// Why a version of ExternalDNS doesn't know its own records again by an owner id: its labels are separated by commas, and
/// before v0.22 one with a second `=` is passed over (`endpoint/labels.go`).
pub fn unreadable(owner_id: &str, version: Version) -> Option<String> {
    if let Some((read, _)) = owner_id.split_once(',') {
        return Some(format!("has a comma, and is read back as `{read}`"));
    }
    let passed_over = owner_id.contains('=') && !version.supports(Feature::EqualsInLabels);
    passed_over.then(|| format!("has a `=`, which ExternalDNS {version} can't read back: v0.22.0 and later can"))
}

fn is_zone_id(text: &str) -> bool {
    let upper = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    text.len() >= 11 && text.starts_with('Z') && text.bytes().all(upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:eks:us-east-1:111122223333:cluster/eksdemo1";

    #[test]
    fn derived_id_names_the_cluster_and_never_the_account() {
        let id = derived_owner_id("eksdemo1", ARN, "external-dns");
        assert_eq!(id, "eksdemo1-c8958d12");
        assert_ne!(id, derived_owner_id("eksdemo1", ARN, "external-dns-private"));
        assert_ne!(id, derived_owner_id("eksdemo1", &ARN.replace("us-east-1", "us-east-2"), "external-dns"));
    }

    #[test]
    fn a_policy_for_one_installation_names_it() {
        let name = |name| scoped_policy("AllowExternalDNSUpdates", "us-west-2", "eksdemo1", name);
        assert_eq!(name("external-dns"), "AllowExternalDNSUpdates-us-west-2-eksdemo1");
        assert_eq!(name("internal"), "AllowExternalDNSUpdates-us-west-2-eksdemo1-internal");
    }

    #[test]
    fn ids_that_are_not_read_back_as_they_are() {
        let of = |id: &str, version: &str| unreadable(id, version.parse().unwrap());
        assert!(of("a=b", "v0.21.0").is_some_and(|why| why.contains("v0.22.0 and later")));
        assert_eq!((of("a=b", "v0.22.0"), of("a-b", "v0.14.0")), (None, None));
        assert!(of("a,b", "v0.23.0").is_some_and(|why| why.ends_with("read back as `a`")));
    }

    #[test]
    fn a_policy_of_a_long_name_is_cut_and_stays_unique() {
        let cluster = "c".repeat(100);
        let name = |region, cluster: &str, name| scoped_policy("AllowExternalDNSUpdates", region, cluster, name);
        let [one, other] = ["one", "other"].map(|installation| name("ap-southeast-1", &cluster, installation));
        assert_ne!(one, other);
        assert!(one.len() == 128 && one.starts_with("AllowExternalDNSUpdates-ap-southeast-1-ccc"), "{one}");
        assert_eq!(name("eu-west-1", &cluster[..94], "external-dns").len(), 128, "as it is");

        assert_eq!(name("*", "eksdemo1", "one"), "AllowExternalDNSUpdates-*-eksdemo1-one");
        assert_eq!(name("*", &cluster, "one"), "AllowExternalDNSUpdates-*", "its end may be cut");
        assert_eq!(name("us-west-2", "*", "one"), "AllowExternalDNSUpdates-us-west-2-*");
    }

    #[test]
    fn k26_copied_ids_are_known() {
        for id in ["default", "my-hostedzone-identifier", "external-dns", "Z0123456789ABCDEFGHIJ"] {
            assert!(copied(id).is_some(), "{id}");
        }
        for id in ["team=platform", "eksdemo1-0a1b2c3d", "Z1", "Zebra-cluster-1"] {
            assert_eq!(copied(id), None, "{id}");
        }
    }
}
