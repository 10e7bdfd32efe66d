//! Amazon Resource Names and the partitions they live in.

use std::fmt;
use std::str::FromStr;

/// An AWS partition: `aws`, `aws-cn`, `aws-us-gov`, `aws-iso`, …
///
/// Known ones are told apart by the prefix of their regions, so that a region that opened
/// yesterday needs no new release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition(String);

/// Region prefix, partition, DNS suffix (AWS's `partitions.json`).
const PARTITIONS: &[(&str, &str, &str)] = &[
    ("cn-", "aws-cn", "amazonaws.com.cn"),
    ("us-gov-", "aws-us-gov", "amazonaws.com"),
    ("us-iso-", "aws-iso", "c2s.ic.gov"),
    ("us-isob-", "aws-iso-b", "sc2s.sgov.gov"),
    ("eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"),
    ("us-isof-", "aws-iso-f", "csp.hci.ic.gov"),
    ("eusc-", "aws-eusc", "amazonaws.eu"),
];

impl Partition {
    /// The commercial partition, where nothing says otherwise.
    pub fn aws() -> Self {
        Self("aws".to_owned())
    }

    /// The partition of a name such as `aws-cn`.
    ///
    /// # Errors
    /// Says what a partition looks like.
    pub fn new(name: &str) -> Result<Self, String> {
        let known = name == "aws" || PARTITIONS.iter().any(|(_, partition, _)| *partition == name);
        if known {
            Ok(Self(name.to_owned()))
        } else {
            let all: Vec<_> = PARTITIONS.iter().map(|(_, partition, _)| *partition).collect();
            Err(format!("`{name}` is not an AWS partition; there are aws, {}", all.join(", ")))
        }
    }

    /// The partition that a region belongs to.
    pub fn of_region(region: &str) -> Self {
        let found = PARTITIONS.iter().find(|(prefix, _, _)| region.starts_with(prefix));
        Self(found.map_or("aws", |(_, partition, _)| *partition).to_owned())
    }

    /// The name, as in ARNs.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The DNS suffix of its services, such as `amazonaws.com.cn`.
    pub fn dns_suffix(&self) -> &'static str {
        let found = PARTITIONS.iter().find(|(_, partition, _)| *partition == self.0);
        found.map_or("amazonaws.com", |(_, _, suffix)| suffix)
    }

    /// True for GovCloud, where Route53 has private zones only and no ALIAS to load balancers.
    pub fn is_gov(&self) -> bool {
        self.0 == "aws-us-gov"
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An ARN, `arn:partition:service:region:account:resource`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arn {
    /// `aws`, `aws-cn`, …
    pub partition: String,
    /// `iam`, `eks`, …
    pub service: String,
    /// Empty for global services.
    pub region: String,
    /// Twelve digits, `aws` for AWS's own policies, or empty.
    pub account: String,
    /// All that follows, colons included.
    pub resource: String,
}

impl Arn {
    /// The last component of a path-like resource: the name of a role, policy or user.
    pub fn name(&self) -> &str {
        self.resource.rsplit('/').next().unwrap_or(&self.resource)
    }

    /// The type of the resource: `role`, `policy`, `oidc-provider`, `cluster`, …
    pub fn kind(&self) -> &str {
        self.resource.split(['/', ':']).next().unwrap_or(&self.resource)
    }
}

impl FromStr for Arn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("`{text}` is not an ARN: expected arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE");
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().map(str::to_owned).ok_or_else(malformed);
        if next()? != "arn" {
            return Err(malformed());
        }
        let arn = Self { partition: next()?, service: next()?, region: next()?, account: next()?, resource: next()? };
        let clean = !text.contains(char::is_whitespace) && !text.contains(char::is_control);
        let whole = arn.partition.starts_with("aws") && !arn.service.is_empty() && !arn.resource.is_empty();
        if clean && whole { Ok(arn) } else { Err(malformed()) }
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, service, region, account, resource } = self;
        write!(f, "arn:{partition}:{service}:{region}:{account}:{resource}")
    }
}

/// True for an account id: twelve digits.
pub fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The ARN of a role or policy; `path` starts and ends with `/`.
pub fn iam_arn(partition: &Partition, account: &str, kind: &str, path: &str, name: &str) -> String {
    format!("arn:{partition}:iam::{account}:{kind}{path}{name}")
}

/// A thing of IAM that is named by its ARN, or by `KIND/NAME` in the account at hand.
#[derive(Clone, Copy)]
struct Named {
    kind: &'static str,
    longest: usize,
}

const POLICY: Named = Named { kind: "policy", longest: 128 };
const ROLE: Named = Named { kind: "role", longest: 64 };

impl Named {
    /// Path and name after `KIND/`, if the text is in that form.
    fn shorthand(self, text: &str) -> Option<Result<&str, String>> {
        let rest = text.strip_prefix(self.kind)?.strip_prefix('/')?;
        let (path, name) = rest.rsplit_once('/').map_or(("/".to_owned(), rest), |(p, name)| (format!("/{p}/"), name));
        Some(check_path(&path).and_then(|()| check_name(self.kind, name, self.longest)).map(|()| rest))
    }

    fn check(self, text: &str) -> Result<(), String> {
        match self.shorthand(text) {
            Some(short) => short.map(drop),
            None => check_iam_arn(text, self.kind, self.longest).map(drop),
        }
    }

    fn complete(self, text: &str, partition: &Partition, account: &str) -> Result<String, String> {
        if let Some(short) = self.shorthand(text) {
            return Ok(format!("arn:{partition}:iam::{account}:{}/{}", self.kind, short?));
        }
        let arn = check_iam_arn(text, self.kind, self.longest)?;
        if arn.partition == partition.as_str() {
            return Ok(text.to_owned());
        }
        let right = Arn { partition: partition.to_string(), ..arn.clone() };
        Err(format!("`{text}` is of partition {}, and nothing in {partition} can use it: {right}?", arn.partition))
    }
}

/// A managed policy's ARN, checked; `policy/NAME` is completed for the partition and account. AWS's own policies are
/// named in full.
///
/// # Errors
/// Says what an ARN of a policy looks like, or that this one is of another partition.
pub fn policy_arn(text: &str, partition: &Partition, account: &str) -> Result<String, String> {
    POLICY.complete(text, partition, account)
}

/// A role's ARN, checked; `role/NAME` is completed for the partition and account.
///
/// # Errors
/// Says what an ARN of a role looks like, or that this one is of another partition.
pub fn role_arn(text: &str, partition: &Partition, account: &str) -> Result<String, String> {
    ROLE.complete(text, partition, account)
}

/// Checks that `text` is a managed policy's ARN, or `policy/NAME` to be completed by [`policy_arn`].
///
/// # Errors
/// Says what an ARN of a policy looks like.
pub fn check_policy(text: &str) -> Result<(), String> {
    POLICY.check(text)
}

/// Checks that `text` is a role's ARN, or `role/NAME` to be completed by [`role_arn`].
///
/// # Errors
/// Says what an ARN of a role looks like.
pub fn check_role(text: &str) -> Result<(), String> {
    ROLE.check(text)
}

/// Checks that `text` is the whole ARN of a role.
///
/// # Errors
/// Says what an ARN of a role looks like.
pub fn check_role_arn(text: &str) -> Result<Arn, String> {
    check_iam_arn(text, ROLE.kind, ROLE.longest)
}

fn check_iam_arn(text: &str, kind: &str, longest: usize) -> Result<Arn, String> {
    let expected = format!("expected arn:aws:iam::ACCOUNT:{kind}/NAME");
    let arn: Arn = text.parse().map_err(|_| format!("`{text}` is not the ARN of a {kind}: {expected}"))?;
    let account = is_account_id(&arn.account) || (kind == "policy" && arn.account == "aws");
    let right = arn.service == "iam" && arn.region.is_empty() && account && arn.kind() == kind;
    if !right || !arn.resource.contains('/') {
        return Err(format!("`{text}` is not the ARN of a {kind}: {expected}"));
    }
    check_name(kind, arn.name(), longest)?;
    Ok(arn)
}

/// Checks the name of a role (64 characters at most) or policy (128).
///
/// # Errors
/// Says which characters and length IAM takes ("IAM and AWS STS quotas", IAM User Guide).
pub fn check_name(kind: &str, name: &str, longest: usize) -> Result<(), String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if name.is_empty() || name.len() > longest || !name.chars().all(valid) {
        return Err(format!(
            "`{name}` is not a {kind} name: IAM takes 1 to {longest} of the characters A-Z a-z 0-9 + = , . @ _ -"
        ));
    }
    Ok(())
}

/// Checks the path of a role or policy.
///
/// # Errors
/// Says what a path looks like.
pub fn check_path(path: &str) -> Result<(), String> {
    let valid = path.len() <= 512 && path.chars().all(|c| ('\u{21}'..='\u{7e}').contains(&c));
    if valid && path.starts_with('/') && path.ends_with('/') && path != "//" {
        Ok(())
    } else {
        Err(format!("`{path}` is not an IAM path: it begins and ends with /, as in /platform/dns/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l4_partition_follows_from_the_region() {
        let suffix = |region| Partition::of_region(region).dns_suffix();
        assert_eq!(suffix("us-west-1"), "amazonaws.com");
        assert_eq!(suffix("us-gov-east-1"), "amazonaws.com");
        assert_eq!(suffix("cn-northwest-1"), "amazonaws.com.cn");
        assert_eq!(suffix("us-iso-east-1"), "c2s.ic.gov");
        assert_eq!(suffix("us-isob-east-1"), "sc2s.sgov.gov");
    }

    /// One region of each partition, one that doesn't exist yet among them.
    const REGIONS: [(&str, &str); 9] = [
        ("us-west-2", "aws"),
        ("mars-central-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-south-9", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
        ("eu-isoe-west-1", "aws-iso-e"),
        ("us-isof-south-1", "aws-iso-f"),
        ("eusc-de-east-1", "aws-eusc"),
    ];

    #[test]
    fn shorthands_are_completed_for_partition_and_account() {
        for (region, name) in REGIONS {
            let partition = Partition::of_region(region);
            assert_eq!(Partition::new(name).unwrap(), partition, "{region}");
            let policy = policy_arn("policy/team/Dns", &partition, "123456789012").unwrap();
            assert_eq!(policy, format!("arn:{name}:iam::123456789012:policy/team/Dns"));
            let role = role_arn("role/dns", &partition, "123456789012").unwrap();
            assert_eq!(role, format!("arn:{name}:iam::123456789012:role/dns"));
            // What is whole stays as it is, other accounts' included.
            for whole in [policy, format!("arn:{name}:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy")] {
                assert_eq!(policy_arn(&whole, &partition, "000000000000").unwrap(), whole);
            }
        }
    }

    #[test]
    fn an_arn_of_another_partition_is_refused_with_the_right_one() {
        let china = Partition::of_region("cn-north-1");
        let refusal = policy_arn("arn:aws:iam::aws:policy/ReadOnlyAccess", &china, "123456789012").unwrap_err();
        assert!(refusal.contains("partition aws,") && refusal.contains("arn:aws-cn:iam::aws:policy/ReadOnlyAccess"));
        assert!(role_arn("arn:aws:iam::123456789012:role/x", &china, "123456789012").is_err());
    }

    #[test]
    fn malformed_arns_are_refused() {
        for bad in ["", "123", "arn:aws:iam::1111:role/x", "arn:aws:s3:::b", "arn:aws:iam::111122223333:role/"] {
            assert!(check_role_arn(bad).is_err(), "{bad}");
        }
        assert!(check_role_arn("arn:aws:iam::111122223333:role/team/external-dns").is_ok());
        for bad in ["role/", "role//x", "role/a b", "role", "policy/x", "role/\u{e9}"] {
            assert!(check_role(bad).is_err(), "{bad}");
        }
        assert!(check_policy(" arn:aws:iam::aws:policy/X").is_err());
    }
}
