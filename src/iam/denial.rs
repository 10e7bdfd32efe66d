//! AWS's words for a right that is missing, taken apart.

/// What a sentence such as `User: U is not authorized to perform: A on resource: R because …` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial<'a> {
    /// The ARN of who was refused.
    pub principal: Option<&'a str>,
    /// The action that was refused.
    pub action: &'a str,
    /// On what.
    pub resource: Option<&'a str>,
    /// The kind of policy that denies it explicitly; a grant doesn't help then.
    pub by: Option<&'static str>,
}

/// Kinds of policies that can deny ("Troubleshoot access denied error messages", IAM User Guide).
const KINDS: [&str; 4] =
    ["service control policy", "resource control policy", "permissions boundary", "identity-based policy"];

impl<'a> Denial<'a> {
    /// Reads the sentence; none where it names no action.
    pub fn parse(said: &'a str) -> Option<Self> {
        let (before, rest) = said.split_once("not authorized to perform:")?;
        let rest = rest.trim_start();
        let end = rest.find(|c: char| c.is_whitespace() || c == ',' || c == ';').unwrap_or(rest.len());
        let action = rest[..end].trim_end_matches('.');
        let principal = before.split_once("User:").and_then(|(_, user)| user.split_whitespace().next());
        action.contains(':').then(|| Self { principal, action, resource: resource(said), by: by(said) })
    }
}

fn resource(said: &str) -> Option<&str> {
    let rest = said.split_once("on resource:")?.1.trim_start();
    let end = [" because ", " with an explicit deny"].iter().filter_map(|word| rest.find(word)).min();
    let resource = rest[..end.unwrap_or(rest.len())].trim().trim_end_matches('.');
    // IAM says `policy NAME` for one that isn't there yet.
    let plain = !resource.is_empty() && !resource.contains(char::is_whitespace);
    plain.then_some(resource)
}

fn by(said: &str) -> Option<&'static str> {
    let (_, by) = said.split_once("with an explicit deny")?;
    Some(KINDS.into_iter().find(|kind| by.contains(kind)).unwrap_or("policy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_s_sentences_are_taken_apart() {
        let missing = "User: arn:aws:iam::1:user/x is not authorized to perform: iam:CreateRole on resource: \
                       arn:aws:iam::1:role/r because no identity-based policy allows the iam:CreateRole action";
        let (principal, resource) = (Some("arn:aws:iam::1:user/x"), Some("arn:aws:iam::1:role/r"));
        let expected = Denial { principal, action: "iam:CreateRole", resource, by: None };
        assert_eq!(Denial::parse(missing), Some(expected.clone()));
        for (words, by) in [
            ("in a service control policy: arn:aws:organizations::1:policy/p", "service control policy"),
            ("in an identity-based policy", "identity-based policy"),
            ("in a permissions boundary", "permissions boundary"),
            ("in a policy of tomorrow", "policy"),
        ] {
            let said = missing.split(" because").next().unwrap();
            let said = format!("{said} with an explicit deny {words}");
            assert_eq!(Denial::parse(&said), Some(Denial { by: Some(by), ..expected.clone() }), "{words}");
        }
    }

    #[test]
    fn what_is_left_out_is_none() {
        let short = Denial::parse("x is not authorized to perform: iam:CreateRole.").unwrap();
        assert_eq!(short, Denial { principal: None, action: "iam:CreateRole", resource: None, by: None });
        let named = "x is not authorized to perform: iam:CreatePolicy on resource: policy Dns because …";
        assert_eq!(Denial::parse(named).unwrap().resource, None);
        assert_eq!(Denial::parse("not authorized to perform: this"), None);
        assert_eq!(Denial::parse("Access Denied"), None);
    }
}
