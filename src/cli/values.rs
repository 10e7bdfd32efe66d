//! What the values of flags look like; each refusal says what was expected.

use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::config::{check_annotation, check_label};
use crate::externaldns::registry::Class;
use crate::iam::arn::{Partition, check_name, check_path, check_policy, check_role, check_role_arn};
use crate::iam::wellknown::WellKnown;
use crate::names::{check_cluster, check_namespace, check_region, check_service_account, check_subject_pattern};

pub(super) fn namespace(text: &str) -> Result<String, String> {
    check_namespace(text).map(|()| text.to_owned())
}

/// The name of an installation: of a Deployment, a ServiceAccount, a ClusterRole, and a label's value.
pub(super) fn installation(text: &str) -> Result<String, String> {
    let refusal = "is not a name for a Deployment and its labels: at most 63 of a-z 0-9 -, beginning and ending with a \
                   letter or digit";
    check_namespace(text).map(|()| text.to_owned()).map_err(|_| format!("`{text}` {refusal}"))
}

/// A host, as it stands in an Ingress: no URL, no trailing dot.
pub(super) fn hostname(text: &str) -> Result<String, String> {
    let host = text.strip_suffix('.').unwrap_or(text).to_lowercase();
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '*')
    };
    let valid = host.len() <= 253 && host.contains('.') && host.split('.').all(label);
    valid.then_some(host).ok_or_else(|| format!("`{text}` is not a host: expected a name such as app.example.com"))
}

pub(super) fn service_account(text: &str) -> Result<String, String> {
    check_service_account(text).map(|()| text.to_owned())
}

pub(super) fn cluster(text: &str) -> Result<String, String> {
    check_cluster(text).map(|()| text.to_owned())
}

pub(super) fn region(text: &str) -> Result<String, String> {
    check_region(text).map(|()| text.to_owned())
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

/// A role's ARN, or `role/NAME` to be completed later.
pub(super) fn role(text: &str) -> Result<String, String> {
    check_role(text).map(|()| text.to_owned())
}

/// A managed policy's ARN, or `policy/NAME` to be completed later.
pub(super) fn policy(text: &str) -> Result<String, String> {
    check_policy(text).map(|()| text.to_owned())
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
    pair(text).ok_or_else(|| format!("`{text}` is not a tag: expected KEY=VALUE"))
}

/// A label of a ServiceAccount, `KEY=VALUE`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = pair(text).ok_or_else(|| format!("`{text}` is not a label: expected KEY=VALUE"))?;
    check_label(&key, &value).map(|()| (key, value))
}

/// An annotation of a ServiceAccount, `KEY=VALUE`.
pub(super) fn annotation(text: &str) -> Result<(String, String), String> {
    let refusal = || {
        format!(
            "`{text}` is not an annotation: expected KEY=VALUE; a value with a comma can be given in a --config-file"
        )
    };
    let (key, value) = pair(text).ok_or_else(refusal)?;
    check_annotation(&key, &value).map(|()| (key, value))
}

fn pair(text: &str) -> Option<(String, String)> {
    text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
}

/// The name of a well-known policy.
pub(super) fn well_known() -> impl TypedValueParser<Value = WellKnown> {
    PossibleValuesParser::new(WellKnown::ALL.map(WellKnown::key)).try_map(|key| WellKnown::parse(&key))
}

/// The pattern after `system:serviceaccount:NAMESPACE:` in a trust policy.
pub(super) fn subject_pattern(text: &str) -> Result<String, String> {
    check_subject_pattern(text).map(|()| text.to_owned())
}

/// More isn't meant, and can be more than a clock has.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// A duration in Go's or ISO's spelling, such as `25m0s`, `90s` or `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let refusal = || format!("`{text}` is not a duration: expected one like 90s, 25m or 1h30m");
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| refusal())?;
    let duration = Duration::try_from(parsed).map_err(|_| refusal())?;
    if duration.is_zero() {
        Err(format!("`{text}` is too short: expected some time, such as 90s"))
    } else if duration > LONGEST {
        Err(format!("`{text}` is too long: expected a year at most"))
    } else {
        Ok(duration)
    }
}

/// A duration that is handed on as it is written.
pub(super) fn go_duration(text: &str) -> Result<String, String> {
    duration(text).map(|_| text.to_owned())
}

/// A class of records, by its name in output.
pub(super) fn class() -> impl TypedValueParser<Value = Class> {
    let values = Class::ALL.map(|class| PossibleValue::new(class.as_str()).help(meaning(class)));
    PossibleValuesParser::new(values).try_map(|text| {
        let found = Class::ALL.into_iter().find(|class| class.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is not a class of records"))
    })
}

fn meaning(class: Class) -> &'static str {
    match class {
        Class::Owned => "Its TXT record names the owner in view",
        Class::OwnedLegacy => "The same, by a TXT record of older naming, which waits for its migration",
        Class::Foreign => "Its TXT record names another owner, or is encrypted",
        Class::Unowned => "It has no TXT record, and ExternalDNS never touches it",
        Class::OrphanTxt => "A TXT record whose record is missing",
        Class::ObsoleteTxt => "A TXT record of older naming beside the newer one",
        Class::Conflict => "The TXT records of its name tell different owners",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        assert_eq!(duration("25m0s").unwrap(), Duration::from_mins(25));
        assert_eq!(duration("1h30m").unwrap(), Duration::from_mins(90));
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        for bad in ["", "5", "0s", "-1m", "soon", "2562047788015215h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
