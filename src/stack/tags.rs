//! Tags of stacks, which CloudFormation passes on to the role.

use crate::plan::diff::{Change, escape};

/// The cluster that a stack or provider belongs to.
pub const CLUSTER: &str = "alpha.eksctl.io/cluster-name";
/// The same, of eksctl's early days; still written and read by eksctl.
pub const LEGACY_CLUSTER: &str = "eksctl.cluster.k8s.io/v1alpha1/cluster-name";
/// The version of eksctl that made it, here the one whose format is followed.
pub const EKSCTL_VERSION: &str = "alpha.eksctl.io/eksctl-version";
/// `NAMESPACE/NAME` of the service account.
pub const SERVICE_ACCOUNT: &str = "alpha.eksctl.io/iamserviceaccount-name";
/// The version of irsactl that made it.
pub const IRSACTL_VERSION: &str = "irsactl.dev/version";
/// On the cluster: it has an IAM OIDC provider.
pub const OIDC_ENABLED: &str = "alpha.eksctl.io/cluster-oidc-enabled";
/// The version of eksctl whose stack format is followed.
pub const EKSCTL_FORMAT: &str = "0.231.0";

/// How many tags AWS takes on a stack or role.
const MOST: usize = 50;
/// How long the value of a tag may be, in characters.
const LONGEST_VALUE: usize = 256;
const OURS: [&str; 5] = [CLUSTER, LEGACY_CLUSTER, EKSCTL_VERSION, IRSACTL_VERSION, SERVICE_ACCOUNT];

/// How the keys begin that eksctl and irsactl set.
const TOOLS: [&str; 3] = ["alpha.eksctl.io/", "eksctl.cluster.k8s.io/", "irsactl.dev/"];

/// Tags as AWS lists them: key and value.
pub type Tags = [(String, String)];

/// The tags of a service account's stack: eksctl's, irsactl's and the user's (see
/// [`check_user_tags`]; the last of equal keys counts, ours win).
pub fn tags(cluster: &str, namespace: &str, name: &str, version: &str, user: &Tags) -> Vec<(String, String)> {
    let mut tags = cluster_tags(cluster, version, user);
    tags.insert(1, (LEGACY_CLUSTER.to_owned(), cluster.to_owned()));
    tags.push((SERVICE_ACCOUNT.to_owned(), format!("{namespace}/{name}")));
    tags
}

/// The tags of what belongs to the whole cluster, such as the IAM OIDC provider.
pub fn cluster_tags(cluster: &str, version: &str, user: &Tags) -> Vec<(String, String)> {
    let ours = [(CLUSTER, cluster), (EKSCTL_VERSION, EKSCTL_FORMAT), (IRSACTL_VERSION, version)];
    let mut tags: Vec<(String, String)> = ours.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    for (key, value) in user.iter().filter(|(key, _)| !OURS.contains(&key.as_str())) {
        match tags.iter_mut().find(|(known, _)| known == key) {
            Some(tag) => tag.1.clone_from(value),
            None => tags.push((key.clone(), value.clone())),
        }
    }
    tags
}

/// The tags of what belongs to no cluster, such as a shared policy.
pub fn own_tags(version: &str, user: &Tags) -> Vec<(String, String)> {
    let own = (IRSACTL_VERSION.to_owned(), version.to_owned());
    std::iter::once(own).chain(user.iter().filter(|(key, _)| !OURS.contains(&key.as_str())).cloned()).collect()
}

/// The value of a tag.
pub fn value<'a>(tags: &'a Tags, key: &str) -> Option<&'a str> {
    tags.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
}

/// Checks that the tag of a service account's stack can hold `NAMESPACE/NAME`, or it wouldn't be found again.
///
/// # Errors
/// Says how long it may be.
pub fn check_owner(namespace: &str, name: &str) -> Result<(), String> {
    let length = namespace.len() + 1 + name.len();
    if length <= LONGEST_VALUE {
        return Ok(());
    }
    Err(format!(
        "NAMESPACE/NAME `{namespace}/{name}` has {length} characters: the tag by which its stack is found holds at most \
         {LONGEST_VALUE}"
    ))
}

/// The namespace and name of the service account that a stack or role is for.
pub fn owner(tags: &Tags) -> Option<(String, String)> {
    let (namespace, name) = value(tags, SERVICE_ACCOUNT)?.split_once('/')?;
    let whole = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
    whole.then(|| (namespace.to_owned(), name.to_owned()))
}

/// The cluster that a stack or role belongs to.
pub fn cluster(tags: &Tags) -> Option<&str> {
    value(tags, CLUSTER).or_else(|| value(tags, LEGACY_CLUSTER))
}

/// `existing` tags with those of `wanted` added or put in their place: an update keeps what it
/// doesn't name. AWS's own tags (`aws:…`) can't be sent back and are left out.
pub fn merged(existing: &Tags, wanted: &Tags) -> Vec<(String, String)> {
    let kept = existing.iter().filter(|(key, _)| !is_reserved(key) && value(wanted, key).is_none());
    kept.chain(wanted).cloned().collect()
}

/// `existing` tags with those of `wanted` in place of all of the user's: a creation states the whole. What the tools keep
/// for themselves stays.
pub fn replaced(existing: &Tags, wanted: &Tags) -> Vec<(String, String)> {
    let tools = existing.iter().filter(|(key, _)| TOOLS.iter().any(|tool| key.starts_with(tool)));
    merged(&tools.cloned().collect::<Vec<_>>(), wanted)
}

/// The tags that users gave.
pub fn of_users(existing: &Tags) -> impl Iterator<Item = &(String, String)> {
    existing.iter().filter(|(key, _)| !is_reserved(key) && !TOOLS.iter().any(|tool| key.starts_with(tool)))
}

/// What changing `current` tags into `desired` ones means for the user. Versions of tools and AWS's
/// own tags don't count: a new release is no reason to update a stack.
pub fn differences(current: &Tags, desired: &Tags) -> Vec<Change> {
    let removed = current.iter().filter(|(key, _)| value(desired, key).is_none());
    let mut found = Vec::new();
    for (key, _) in desired.iter().chain(removed) {
        let (before, after) = (value(current, key), value(desired, key));
        let counts = !is_reserved(key) && ![EKSCTL_VERSION, IRSACTL_VERSION].contains(&key.as_str());
        if counts && before != after {
            found.push(Change::new(format!("/Tags/{}", escape(key)), before.map(Into::into), after.map(Into::into)));
        }
    }
    found
}

fn is_reserved(key: &str) -> bool {
    key.to_lowercase().starts_with("aws:")
}

/// Which tool made a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// irsactl.
    Irsactl,
    /// eksctl.
    Eksctl,
}

impl Source {
    /// As in documents: `irsactl`, `eksctl`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Irsactl => "irsactl",
            Self::Eksctl => "eksctl",
        }
    }
}

/// Which tool made the stack with these tags.
pub fn source(tags: &Tags) -> Source {
    if value(tags, IRSACTL_VERSION).is_some() { Source::Irsactl } else { Source::Eksctl }
}

/// Checks tags that a user gives, beside which ours are set ("Tag naming limits and requirements",
/// Tagging AWS resources; "Tags for AWS Identity and Access Management resources").
///
/// # Errors
/// Says which tag breaks which rule.
pub fn check_user_tags(tags: &Tags) -> Result<(), String> {
    let most = MOST - OURS.len();
    if tags.len() > most {
        return Err(format!("{} tags are given; AWS takes {MOST}, which leaves {most} beside irsactl's", tags.len()));
    }
    for (index, (key, value)) in tags.iter().enumerate() {
        let problem = |what: &str| Err(format!("the tag `{key}={value}` {what}"));
        let valid = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c));
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > LONGEST_VALUE {
            return problem("has a key that is not 1 to 128 characters long, or a value of more than 256");
        }
        if !valid(key) || !valid(value) {
            return problem("holds other characters than letters, digits, blanks and _ . : / = + - @");
        }
        if is_reserved(key) {
            return problem("begins with aws:, which is reserved");
        }
        if OURS.iter().any(|ours| ours.eq_ignore_ascii_case(key)) {
            return problem("is one that irsactl sets");
        }
        if tags[..index].iter().any(|(other, _)| other.to_lowercase() == key.to_lowercase()) {
            return problem("has a key that is given twice; IAM does not tell upper from lower case");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn d4_stack_tags() {
        let user = pairs(&[("Owner", "John Doe"), (CLUSTER, "other")]);
        let expected = pairs(&[
            ("alpha.eksctl.io/cluster-name", "c"),
            ("eksctl.cluster.k8s.io/v1alpha1/cluster-name", "c"),
            ("alpha.eksctl.io/eksctl-version", "0.231.0"),
            ("irsactl.dev/version", "1.2.3"),
            ("Owner", "John Doe"),
            ("alpha.eksctl.io/iamserviceaccount-name", "default/x"),
        ]);
        let tags = tags("c", "default", "x", "1.2.3", &user);
        assert_eq!(tags, expected);
        assert_eq!(owner(&tags), Some(("default".to_owned(), "x".to_owned())));
        assert_eq!((cluster(&tags), source(&tags)), (Some("c"), Source::Irsactl));
    }

    #[test]
    fn d3_an_update_keeps_tags() {
        let existing = pairs(&[("existing", "tag"), ("meta", "old"), ("aws:cloudformation:stack-id", "x")]);
        let merged = merged(&existing, &tags("cluster", "n", "s", "1", &pairs(&[("meta", "data")])));
        for (key, wanted) in [("existing", "tag"), (CLUSTER, "cluster"), ("meta", "data")] {
            assert_eq!(value(&merged, key), Some(wanted));
        }
        assert_eq!(merged.len(), 7);
    }

    #[test]
    fn a_creation_takes_back_tags_of_users_only() {
        let existing = pairs(&[("team", "a"), ("alpha.eksctl.io/x", "y"), ("aws:z", "z"), (IRSACTL_VERSION, "0")]);
        let all = replaced(&existing, &tags("cluster", "n", "s", "1", &pairs(&[("cost", "1")])));
        assert_eq!((value(&all, "team"), value(&all, "aws:z")), (None, None));
        for (key, wanted) in [("alpha.eksctl.io/x", "y"), (IRSACTL_VERSION, "1"), ("cost", "1"), (CLUSTER, "cluster")] {
            assert_eq!(value(&all, key), Some(wanted));
        }
        let told: Vec<_> = differences(&existing, &all).into_iter().map(|change| change.path).collect();
        assert!(told.contains(&"/Tags/team".to_owned()) && !told.contains(&"/Tags/aws:z".to_owned()), "{told:?}");
    }

    #[test]
    fn versions_are_no_difference() {
        let current = pairs(&[(EKSCTL_VERSION, "0.100.0"), ("a/b", "1"), ("gone", "x"), ("aws:x", "y")]);
        let desired = pairs(&[(EKSCTL_VERSION, EKSCTL_FORMAT), (IRSACTL_VERSION, "1"), ("a/b", "2"), ("new", "n")]);
        assert_eq!(
            differences(&current, &desired),
            [
                Change::new("/Tags/a~1b", Some("1".into()), Some("2".into())),
                Change::new("/Tags/new", None, Some("n".into())),
                Change::new("/Tags/gone", Some("x".into()), None),
            ]
        );
        assert_eq!(differences(&desired, &desired), []);
    }

    #[test]
    fn i1_foreign_tags_are_read() {
        let tags = pairs(&[(LEGACY_CLUSTER, "old"), (SERVICE_ACCOUNT, "a/b")]);
        assert_eq!((cluster(&tags), source(&tags), source(&tags).as_str()), (Some("old"), Source::Eksctl, "eksctl"));
        for bad in ["a", "a/b/c", "/b", "a/"] {
            assert_eq!(owner(&pairs(&[(SERVICE_ACCOUNT, bad)])), None, "{bad}");
        }
        assert_eq!(owner(&[]), None);
    }

    #[test]
    fn a_service_account_must_fit_into_its_tag() {
        assert!(check_owner(&"n".repeat(63), &"a".repeat(192)).is_ok());
        let refused = check_owner(&"n".repeat(63), &"a".repeat(193)).unwrap_err();
        assert!(refused.contains("has 257 characters") && refused.contains("at most 256"), "{refused}");
    }

    #[test]
    fn user_tags_are_checked() {
        let long = ["k".repeat(129), "v".repeat(257)];
        for bad in [
            ("", "v"),
            (long[0].as_str(), "v"),
            ("k", long[1].as_str()),
            ("AWS:x", "v"),
            ("a*", "v"),
            ("k", "a\nb"),
            (CLUSTER, "c"),
        ] {
            assert!(check_user_tags(&pairs(&[bad])).is_err(), "{bad:?}");
        }
        assert!(check_user_tags(&pairs(&[("Team", "a"), ("team", "b")])).is_err());
        let many = |count: usize| (0..count).map(|n| (format!("k{n}"), String::new())).collect::<Vec<_>>();
        assert!(check_user_tags(&many(45)).is_ok() && check_user_tags(&many(46)).is_err());
        assert!(check_user_tags(&pairs(&[("Owner", "John Döe"), ("a/b", "x=y")])).is_ok());
    }
}
