//! Quantities of resources: `1000m` is `1`, `1Gi` is `1024Mi`.

use serde_json::Value;

const NANO: i128 = 1_000_000_000;

/// True where both are quantities of the same amount.
pub(super) fn equal(one: &Value, other: &Value) -> bool {
    matches!((amount(one), amount(other)), (Some(one), Some(other)) if one == other)
}

/// The amount in billionths ("Quantity", Kubernetes API conventions); none for other texts.
fn amount(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let digits = text.trim_start_matches(['+', '-']);
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let nano = mantissa.checked_mul(multiplier(suffix)?)?.checked_div(scale)?;
    Some(if text.starts_with('-') { -nano } else { nano })
}

fn multiplier(suffix: &str) -> Option<i128> {
    let thousands = |exponent| NANO.checked_mul(1000_i128.checked_pow(exponent)?);
    let binary = |exponent| NANO.checked_mul(1024_i128.checked_pow(exponent)?);
    match suffix {
        "n" => Some(1),
        "u" => Some(1_000),
        "m" => Some(1_000_000),
        "" => Some(NANO),
        "k" => thousands(1),
        "M" => thousands(2),
        "G" => thousands(3),
        "T" => thousands(4),
        "P" => thousands(5),
        "E" => thousands(6),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            10_i128.checked_pow(u32::try_from(exponent.checked_add(9)?).ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts_are_compared() {
        for (one, other) in [
            (json!("1000m"), json!("1")),
            (json!(1), json!("1")),
            (json!("0.5"), json!("500m")),
            (json!("1Gi"), json!("1024Mi")),
            (json!("1e3"), json!("1k")),
            (json!("1E"), json!("1000P")),
            (json!("0.1Gi"), json!("107374182400m")),
        ] {
            assert!(equal(&one, &other), "{one} {other}");
        }
        for (one, other) in [
            (json!("512Mi"), json!("512M")),
            (json!("50m"), json!("50Mi")),
            (json!("a"), json!("a")),
            (json!("-1"), json!("1")),
            (json!("99999999999999999999999999999999Ei"), json!("1")),
            (json!("1e2147483647"), json!("1")),
        ] {
            assert!(!equal(&one, &other), "{one} {other}");
        }
    }
}
