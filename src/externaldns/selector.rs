//! Label selectors in text form (`app=web,tier in (a, b),!legacy`), which ExternalDNS also uses to
//! filter by annotation. Source: "Labels and Selectors", Kubernetes documentation.

use serde_json::{Map, Value};

use crate::names::{is_label_key, is_label_value};

/// A parsed selector: all requirements have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Not(String),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

impl Selector {
    /// Parses a selector; an empty one selects everything.
    ///
    /// # Errors
    /// Quotes the requirement that doesn't hold.
    pub fn parse(text: &str) -> Result<Self, String> {
        split(text)?.into_iter().map(Requirement::parse).collect::<Result<_, _>>().map(Self)
    }

    /// True if `labels` (labels or annotations) fulfil every requirement.
    pub fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.and_then(|labels| labels.get(&requirement.key)).and_then(Value::as_str);
            requirement.test.holds(value)
        })
    }

    /// The operator that an annotation filter can't have: ExternalDNS makes a `LabelSelector` of it, which knows only
    /// `=`, `==`, `in`, `notin` and whether the key is there.
    pub fn beyond_annotations(&self) -> Option<&'static str> {
        self.0.iter().find_map(|requirement| match requirement.test {
            Test::Greater(_) => Some(">"),
            Test::Less(_) => Some("<"),
            Test::Not(_) => Some("!="),
            _ => None,
        })
    }

    /// The keys that it looks at.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|requirement| requirement.key.as_str())
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::In(values) => value.is_some_and(|value| values.iter().any(|wanted| wanted == value)),
            Self::NotIn(values) => value.is_none_or(|value| values.iter().all(|unwanted| unwanted != value)),
            Self::Not(unwanted) => value != Some(unwanted.as_str()),
            Self::Exists => value.is_some(),
            Self::Absent => value.is_none(),
            Self::Greater(than) => number().is_some_and(|number| number > *than),
            Self::Less(than) => number().is_some_and(|number| number < *than),
        }
    }
}

/// Splits at the commas outside parentheses.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
        if !(0..=1).contains(&depth) {
            return Err(malformed(text));
        }
    }
    if depth != 0 {
        return Err(malformed(text));
    }
    parts.push(text[start..].trim());
    if parts == [""] {
        return Ok(Vec::new());
    }
    Ok(parts)
}

impl Requirement {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(key) = text.strip_prefix('!') {
            return Self::built(text, key, Test::Absent);
        }
        if let Some((head, list)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
            let values: Vec<_> = list.split(',').map(|value| value.trim().to_owned()).collect();
            let (key, operator) = head.trim().rsplit_once(char::is_whitespace).ok_or_else(|| malformed(text))?;
            return match operator {
                "in" => Self::built(text, key, Test::In(values)),
                "notin" => Self::built(text, key, Test::NotIn(values)),
                _ => Err(malformed(text)),
            };
        }
        let one = |value: &str| vec![value.trim().to_owned()];
        let number = |value: &str| value.trim().parse().map_err(|_| malformed(text));
        for operator in ["!=", "==", "=", ">", "<"] {
            if let Some((key, value)) = text.split_once(operator) {
                let wanted = match operator {
                    "!=" => Test::Not(value.trim().to_owned()),
                    ">" => Test::Greater(number(value)?),
                    "<" => Test::Less(number(value)?),
                    _ => Test::In(one(value)),
                };
                return Self::built(text, key, wanted);
            }
        }
        Self::built(text, text, Test::Exists)
    }

    fn built(text: &str, key: &str, wanted: Test) -> Result<Self, String> {
        let key = key.trim();
        let values: &[String] = match &wanted {
            Test::In(values) | Test::NotIn(values) => values,
            Test::Not(value) => std::slice::from_ref(value),
            _ => &[],
        };
        if !is_label_key(key) || !values.iter().all(|value| is_label_value(value)) {
            return Err(malformed(text));
        }
        Ok(Self { key: key.to_owned(), test: wanted })
    }
}

fn malformed(text: &str) -> String {
    format!("`{text}` is not a label selector: expected requirements like app=web, tier in (a,b) or !legacy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(selector: &str, labels: &Value) -> bool {
        Selector::parse(selector).unwrap().matches(labels.as_object())
    }

    #[test]
    fn requirements_are_all_needed() {
        let labels = json!({"app": "web", "tier": "a", "size": "3"});
        for yes in ["", "app", "app=web", "app == web", "app!=db", "none!=x", "!none", "tier in (a, b),app", "size>2"] {
            assert!(matches(yes, &labels), "{yes}");
        }
        for no in ["none", "app=db", "!app", "tier notin (a)", "tier in (b,c)", "app=web,size<3"] {
            assert!(!matches(no, &labels), "{no}");
        }
        assert!(matches("!app", &Value::Null));
    }

    #[test]
    fn malformed_selectors_are_refused() {
        for bad in [
            "a b", "a=b,", "=b", "a in b", "a in (b", "a)", "a is (b)", "a/b/c=d", "a>x", "a=b c", "-a", "A.b/c=d",
            "a=b=c", ",",
        ] {
            assert!(Selector::parse(bad).is_err(), "{bad}");
        }
        let classes = "kubernetes.io/ingress.class in (alb)";
        assert_eq!(Selector::parse(classes).unwrap().keys().collect::<Vec<_>>(), ["kubernetes.io/ingress.class"]);
    }
}
