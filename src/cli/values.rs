//! What the values of flags look like; each refusal says what was expected.

use std::time::Duration;

use crate::iam::arn::{Partition, check_name, check_path, check_role_arn, policy_arn};

/// A DNS-1123 label, as namespaces are named ("Object Names and IDs", Kubernetes documentation).
pub(super) fn namespace(text: &str) -> Result<String, String> {
    dns_label(text).then(|| text.to_owned()).ok_or_else(|| {
        format!(
            "`{text}` is not a namespace name: at most 63 of a-z 0-9 -, beginning and ending with a letter or digit"
        )
    })
}

/// A DNS-1123 subdomain, as service accounts are named.
pub(super) fn service_account(text: &str) -> Result<String, String> {
    let valid = text.len() <= 253 && text.split('.').all(dns_characters);
    valid.then(|| text.to_owned()).ok_or_else(|| {
        format!(
            "`{text}` is not a ServiceAccount name: at most 253 of a-z 0-9 - ., each part beginning and ending with a \
             letter or digit"
        )
    })
}

fn dns_label(text: &str) -> bool {
    text.len() <= 63 && dns_characters(text)
}

fn dns_characters(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !text.is_empty() && text.starts_with(inner) && text.ends_with(inner) && text.chars().all(|c| inner(c) || c == '-')
}

/// The name of an EKS cluster (CreateCluster, Amazon EKS API Reference).
pub(super) fn cluster(text: &str) -> Result<String, String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts && text.len() <= 100 && text.chars().all(valid) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` is not an EKS cluster name: at most 100 of A-Z a-z 0-9 - _, beginning with a letter or digit"
    ))
}

/// The name of an AWS region; which ones there are is AWS's to say.
pub(super) fn region(text: &str) -> Result<String, String> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let shape = text.split('-').count() >= 3 && text.ends_with(|c: char| c.is_ascii_digit());
    if shape && text.chars().all(valid) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is not an AWS region: expected one like us-west-2"))
}

pub(super) fn role_name(text: &str) -> Result<String, String> {
    check_name("role", text, 64).map(|()| text.to_owned())
}

pub(super) fn policy_name(text: &str) -> Result<String, String> {
    check_name("policy", text, 128).map(|()| text.to_owned())
}

pub(super) fn iam_path(text: &str) -> Result<String, String> {
    check_path(text).map(|()| text.to_owned())
}

pub(super) fn role_arn(text: &str) -> Result<String, String> {
    check_role_arn(text).map(|_| text.to_owned())
}

/// A managed policy's ARN, or `policy/NAME` to be completed later.
pub(super) fn policy(text: &str) -> Result<String, String> {
    policy_arn(text, &Partition::aws(), Some("000000000000")).map(|_| text.to_owned())
}

pub(super) fn zone(text: &str) -> Result<String, String> {
    crate::iam::policy::zone_id(text)
}

pub(super) fn partition(text: &str) -> Result<Partition, String> {
    Partition::new(text)
}

pub(super) fn account(text: &str) -> Result<String, String> {
    let valid = crate::iam::arn::is_account_id(text);
    valid.then(|| text.to_owned()).ok_or_else(|| format!("`{text}` is not an AWS account id: expected twelve digits"))
}

pub(super) fn issuer(text: &str) -> Result<String, String> {
    crate::iam::trust::Issuer::parse(text).map(|_| text.to_owned())
}

/// `KEY=VALUE`.
pub(super) fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not a tag: expected KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The pattern after `system:serviceaccount:NAMESPACE:` in a trust policy.
pub(super) fn subject_pattern(text: &str) -> Result<String, String> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.*?".contains(c);
    if !text.is_empty() && text.len() <= 253 && text.chars().all(valid) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is not a pattern of ServiceAccount names: a-z 0-9 - . and the wildcards * and ?"))
}

/// A duration in Go's or ISO's spelling, such as `25m0s`, `90s` or `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let refusal = || format!("`{text}` is not a duration: expected one like 90s, 25m or 1h30m");
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| refusal())?;
    let duration = Duration::try_from(parsed).map_err(|_| refusal())?;
    if duration.is_zero() { Err(refusal()) } else { Ok(duration) }
}

/// A duration that is handed on as it is written.
pub(super) fn go_duration(text: &str) -> Result<String, String> {
    duration(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kubernetes() {
        assert!(namespace("kube-system").is_ok());
        assert!(service_account("my.sa-1").is_ok());
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", &"a".repeat(64)] {
            assert!(namespace(bad).is_err(), "{bad}");
        }
        for bad in ["", ".", "a..b", "a.-b", "A"] {
            assert!(service_account(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_go_s() {
        assert_eq!(duration("25m0s").unwrap(), Duration::from_mins(25));
        assert_eq!(duration("1h30m").unwrap(), Duration::from_mins(90));
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        for bad in ["", "5", "0s", "-1m", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn clusters_may_have_underscores() {
        assert!(cluster("bla_bla_bla").is_ok());
        assert!(cluster("_x").is_err());
        assert!(region("us-gov-west-1").is_ok());
        assert!(region("narnia").is_err());
    }
}
