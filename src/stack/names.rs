//! Names of stacks and of the policies in them.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The longest name of a stack (CloudFormation, CreateStack) and of a policy ("IAM and AWS STS
/// quotas"), in characters.
pub const LONGEST: usize = 128;
/// The longest name of a role, in characters.
const LONGEST_ROLE: usize = 64;
/// The most characters that CloudFormation chooses at random for a name ("Name type", CloudFormation User Guide).
const RANDOM: usize = 13;

/// eksctl's name for the stack of a service account, valid or not.
pub fn plain(cluster: &str, namespace: &str, name: &str) -> String {
    format!("eksctl-{cluster}-addon-iamserviceaccount-{namespace}-{name}")
}

/// What the names of all stacks of a cluster's service accounts begin with, as a pattern where the cluster is `*`.
pub fn prefix(cluster: &str) -> String {
    let valid = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '*' { c } else { '-' };
    plain(cluster, "", "").trim_end_matches('-').chars().map(valid).chain(['-']).take(LONGEST - 9).collect()
}

/// So much of a stack's name is sure to be in the name of its role: CloudFormation makes 64 characters of it, the
/// resource's name and a random text, and cuts the first.
fn kept(stack: &str) -> String {
    stack.chars().take(LONGEST_ROLE - "-Role1-".len() - RANDOM).collect()
}

/// The name that CloudFormation makes for the role of a stack, with a random text that isn't known before.
pub fn role(stack: &str, random: &str) -> String {
    format!("{}-Role1-{random}", kept(stack))
}

/// A pattern for the names that CloudFormation makes for the role of a stack.
pub fn roles_of(stack: &str) -> String {
    let kept = kept(stack);
    // A shorter random text leaves more of a name that is cut.
    let more = if kept == stack { "" } else { "*" };
    format!("{kept}{more}-Role1-*")
}

/// The same for all stacks of a cluster's service accounts. Where the cluster is `*`, all of it may be cut but its name.
pub fn roles_of_cluster(cluster: &str) -> String {
    if cluster.contains('*') { "eksctl-*-Role1-*".to_owned() } else { format!("{}*-Role1-*", kept(&prefix(cluster))) }
}

/// The name for where eksctl's is invalid or taken: made valid, cut, and unique by 8 hex digits.
pub fn hashed(cluster: &str, namespace: &str, name: &str) -> String {
    let valid = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    let made: String = plain(cluster, namespace, name).chars().map(valid).take(LONGEST - 9).collect();
    format!("{made}-{}", digest(&format!("{cluster}/{namespace}/{name}")))
}

/// The names that the stack of a service account may have. The first is for a new stack, the next
/// for when another service account holds the first; lookups try them all.
pub fn candidates(cluster: &str, namespace: &str, name: &str) -> Vec<String> {
    let plain = plain(cluster, namespace, name);
    let hashed = hashed(cluster, namespace, name);
    if is_valid(&plain) { vec![plain, hashed] } else { vec![hashed] }
}

/// True for what CloudFormation takes as the name of a stack.
pub fn is_valid(name: &str) -> bool {
    name.len() <= LONGEST
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// The `PolicyName` of an inline policy: eksctl's function of the stack's name, or a literal one,
/// cut and unique, where that is over 128 characters.
pub fn policy_name(stack_name: &str, logical_id: &str) -> Value {
    let whole = format!("{stack_name}-{logical_id}");
    if whole.len() <= LONGEST {
        return json!({"Fn::Sub": format!("${{AWS::StackName}}-{logical_id}")});
    }
    let id: String = logical_id.chars().take(LONGEST / 2).collect();
    let stack: String = stack_name.chars().take(LONGEST - 10 - id.len()).collect();
    json!(format!("{stack}-{id}-{}", digest(&whole)))
}

/// The name in IAM of the inline policy that [`policy_name`] names.
pub fn inline_policy(stack_name: &str, logical_id: &str) -> String {
    let name = policy_name(stack_name, logical_id);
    name.as_str().map_or_else(|| format!("{stack_name}-{logical_id}"), str::to_owned)
}

/// A name as it is, or cut and made unique by 8 hex digits where it is over 128 characters.
pub fn shortened(name: &str) -> String {
    if name.len() <= LONGEST {
        return name.to_owned();
    }
    format!("{}-{}", beginning(name), digest(name))
}

/// So much of a name is in it even where it is [`shortened`].
pub fn beginning(name: &str) -> String {
    name.chars().take(LONGEST - 9).collect()
}

/// 8 hex digits of the SHA-256 of a text.
fn digest(text: &str) -> String {
    let hash = Sha256::digest(text);
    format!("{:08x}", u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn d1_eksctls_name_comes_first() {
        let names = candidates("my-cluster", "default", "test-sa");
        assert_eq!(names[0], "eksctl-my-cluster-addon-iamserviceaccount-default-test-sa");
        assert_eq!(names.len(), 2);
        assert_eq!(names[1], format!("{}-{}", names[0], digest("my-cluster/default/test-sa")));
        assert_eq!(digest("abc"), "ba7816bf");
    }

    #[test]
    fn d5_ambiguous_names_get_apart() {
        let (one, other) = (candidates("c", "a-b", "c"), candidates("c", "a", "b-c"));
        assert_eq!(one[0], other[0]);
        assert_ne!(one[1], other[1]);
    }

    #[test]
    fn d6_other_characters_are_replaced() {
        let names = candidates("bla_bla_bla", "default", "iam.test");
        assert_eq!(names.len(), 1);
        assert!(names[0].starts_with("eksctl-bla-bla-bla-addon-iamserviceaccount-default-iam-test-"), "{names:?}");
        assert_ne!(candidates("a_b", "n", "s"), candidates("a-b", "n", "s"));
    }

    #[test]
    fn d7_long_names_are_cut() {
        let (cluster, namespace) = ("ilya-abcdefg-test1-graviton", "capa-eks-control-plane-system");
        let names = candidates(cluster, namespace, "capa-eks-control-plane-controller-manager");
        assert_eq!((names.len(), names[0].len()), (1, LONGEST));
        assert!(plain(cluster, namespace, "").starts_with(&names[0][..60]));
    }

    #[test]
    fn d7_long_policy_names_are_cut() {
        let sub = json!({"Fn::Sub": "${AWS::StackName}-Policy1"});
        assert_eq!(policy_name(&"s".repeat(120), "Policy1"), sub);
        let stack = "s".repeat(LONGEST);
        let names = ["Policy1", "PolicyExternalDNSChangeSet", "PolicyExternalDNSHostedZones"].map(|id| {
            let name = policy_name(&stack, id);
            name.as_str().unwrap().to_owned()
        });
        assert!(names.iter().all(|name| name.len() == LONGEST), "{names:?}");
        assert!(names[1].contains("-PolicyExternalDNSChangeSet-") && names[1] != names[2]);
    }

    proptest! {
        #[test]
        fn names_are_valid_stable_and_distinct(cluster in "[a-zA-Z0-9][a-zA-Z0-9_-]{0,99}",
            namespace in "[a-z0-9-]{1,63}", name in "[a-z0-9.-]{1,253}", other in "[a-z0-9.-]{1,253}") {
            let names = candidates(&cluster, &namespace, &name);
            prop_assert!(names.iter().all(|name| is_valid(name)));
            prop_assert_eq!(&names, &candidates(&cluster, &namespace, &name));
            if name != other {
                prop_assert!(!candidates(&cluster, &namespace, &other).contains(&names[0]));
                prop_assert_ne!(hashed(&cluster, &namespace, &name), hashed(&cluster, &namespace, &other));
            }
            let policy = policy_name(&names[0], "PolicyAWSLoadBalancerController");
            prop_assert!(policy.as_str().is_none_or(|name| name.len() <= LONGEST));
        }
    }
}
