//! What Kubernetes and EKS take as names; pure.

/// Checks the name of a namespace, a DNS-1123 label ("Object Names and IDs", Kubernetes
/// documentation).
///
/// # Errors
/// Says what was expected.
pub fn check_namespace(text: &str) -> Result<(), String> {
    is_dns_label(text).then_some(()).ok_or_else(|| {
        format!(
            "`{text}` is not a namespace name: at most 63 of a-z 0-9 -, beginning and ending with a letter or digit"
        )
    })
}

/// Checks the name of a service account, a DNS-1123 subdomain.
///
/// # Errors
/// Says what was expected.
pub fn check_service_account(text: &str) -> Result<(), String> {
    is_dns_subdomain(text).then_some(()).ok_or_else(|| {
        format!(
            "`{text}` is not a ServiceAccount name: at most 253 of a-z 0-9 - ., each part beginning and ending with a \
             letter or digit"
        )
    })
}

/// Checks the pattern that takes the place of a service account's name in a trust policy.
///
/// # Errors
/// Says what was expected.
pub fn check_subject_pattern(text: &str) -> Result<(), String> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.*?".contains(c);
    if !text.is_empty() && text.len() <= 253 && text.chars().all(valid) {
        return Ok(());
    }
    Err(format!("`{text}` is not a pattern of ServiceAccount names: a-z 0-9 - . and the wildcards * and ?"))
}

/// Checks the name of an EKS cluster (CreateCluster, Amazon EKS API Reference).
///
/// # Errors
/// Says what was expected.
pub fn check_cluster(text: &str) -> Result<(), String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts && text.len() <= 100 && text.chars().all(valid) {
        return Ok(());
    }
    Err(format!(
        "`{text}` is not an EKS cluster name: at most 100 of A-Z a-z 0-9 - _, beginning with a letter or digit"
    ))
}

/// Checks the form of an AWS region's name; which ones there are is AWS's to say.
///
/// # Errors
/// Says what was expected.
pub fn check_region(text: &str) -> Result<(), String> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let shape = text.split('-').count() >= 3 && text.ends_with(|c: char| c.is_ascii_digit());
    if shape && text.chars().all(valid) {
        return Ok(());
    }
    Err(format!("`{text}` is not an AWS region: expected one like us-west-2"))
}

/// True for a DNS label of RFC 1123, the form of most names in Kubernetes.
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && has_dns_characters(text)
}

fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(has_dns_characters)
}

fn has_dns_characters(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(inner) && text.ends_with(inner) && text.chars().all(|c| inner(c) || c == '-')
}

/// True for the key of a label or annotation: `[prefix/]name` ("Labels and Selectors", Kubernetes
/// documentation).
pub fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    !name.is_empty() && is_label_value(name) && prefix.is_none_or(is_dns_subdomain)
}

/// True for the value of a label; empty is allowed.
pub fn is_label_value(value: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ends =
        value.starts_with(|c: char| c.is_ascii_alphanumeric()) && value.ends_with(|c: char| c.is_ascii_alphanumeric());
    value.is_empty() || (value.len() <= 63 && ends && value.chars().all(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kubernetes() {
        assert!(check_namespace("kube-system").is_ok());
        assert!(check_service_account("my.sa-1").is_ok());
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", &"a".repeat(64)] {
            assert!(check_namespace(bad).is_err(), "{bad}");
        }
        for bad in ["", ".", "a..b", "a.-b", "A", &"a".repeat(254)] {
            assert!(check_service_account(bad).is_err(), "{bad}");
        }
        assert!(check_subject_pattern("app-*").is_ok());
        for bad in ["", "App-*", "a/b", "*:*", "a b"] {
            assert!(check_subject_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn clusters_may_have_underscores() {
        assert!(check_cluster("bla_bla_bla").is_ok());
        assert!(check_cluster("_x").is_err());
        assert!(check_region("us-gov-west-1").is_ok());
        assert!(check_region("narnia").is_err());
    }

    #[test]
    fn labels_follow_kubernetes() {
        for good in ["app", "a.b/c_D", "eks.amazonaws.com/role-arn"] {
            assert!(is_label_key(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "A/b", "a b", &"a".repeat(64)] {
            assert!(!is_label_key(bad), "{bad}");
        }
        assert!(is_label_value("") && is_label_value("v1.2_3") && !is_label_value("-a") && !is_label_value("a b"));
    }
}
