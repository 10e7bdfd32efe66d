//! Trust policies: which ServiceAccount may assume a role, and whether an existing one lets it.

use std::fmt;

use serde_json::{Map, Value, json};

use super::arn::Partition;
use super::policy::{PolicyDocument, canonical_element, list, statements};
use super::wildcard::{is_all, matches};

/// The audience of tokens for AWS, in every partition.
pub const AUDIENCE: &str = "sts.amazonaws.com";
/// The call that exchanges a ServiceAccount's token for a role's credentials.
pub const ACTION: &str = "sts:AssumeRoleWithWebIdentity";

/// The OIDC issuer of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Issuer {
    url: String,
    host: String,
    port: u16,
    path: String,
}

impl Issuer {
    /// Reads the issuer's URL, as EKS reports it.
    ///
    /// # Errors
    /// Says what the URL must look like: https, without user, query or fragment
    /// ("Create an OpenID Connect (OIDC) identity provider in IAM").
    pub fn parse(url: &str) -> Result<Self, String> {
        let problem = |what: &str| format!("`{url}` is not an OIDC issuer: {what}");
        let (scheme, rest) = url.split_once("://").ok_or_else(|| problem("expected https://HOST/PATH"))?;
        if !scheme.eq_ignore_ascii_case("https") {
            return Err(problem(&format!("unsupported URL scheme `{scheme}`, expected https")));
        }
        if url.len() > 255 {
            return Err(problem("longer than the 255 characters that IAM takes"));
        }
        if !url.chars().all(|c| c.is_ascii_graphic()) || url.contains(['?', '#', '@', '*', '\\', '"']) {
            return Err(problem("expected https://HOST/PATH without user, query, fragment or blanks"));
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let bracket = authority.rfind(']').unwrap_or(0);
        let (host, port) = match authority[bracket..].find(':') {
            Some(at) => (&authority[..bracket + at], &authority[bracket + at + 1..]),
            None => (authority, "443"),
        };
        let port = port.parse().map_err(|_| problem("the port is not a number"))?;
        if host.is_empty() {
            return Err(problem("it names no host"));
        }
        Ok(Self { url: url.to_owned(), host: host.to_owned(), port, path: path.to_owned() })
    }

    /// The URL as it was given.
    pub fn as_url(&self) -> &str {
        &self.url
    }

    /// The host, without port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 443 if none is given.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host without port, and path: what condition keys begin with and provider ARNs end with.
    pub fn host_path(&self) -> String {
        format!("{}{}", self.host, self.path)
    }

    /// The ARN of the IAM OIDC provider for this issuer.
    pub fn provider_arn(&self, partition: &Partition, account: &str) -> String {
        format!("arn:{partition}:iam::{account}:oidc-provider/{}", self.host_path())
    }

    /// The URL to create the IAM OIDC provider with: https, no port.
    pub fn provider_url(&self) -> String {
        format!("https://{}", self.host_path())
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// Who is trusted: a ServiceAccount, or all of a namespace whose names match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The namespace; always literal.
    pub namespace: String,
    /// The name of the ServiceAccount.
    pub name: String,
    /// Takes the place of the name, with `*` and `?`.
    pub pattern: Option<String>,
}

impl Subject {
    /// Exactly one ServiceAccount.
    pub fn exact(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into(), pattern: None }
    }

    /// The value of the token's `sub` claim, or the pattern for it.
    pub fn sub(&self) -> String {
        subject(&self.namespace, self.pattern.as_deref().unwrap_or(&self.name))
    }
}

fn subject(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// The trust policy of a ServiceAccount's role; without a subject, every ServiceAccount of the
/// cluster is trusted (eksctl behaviour for add-ons).
pub fn trust_policy(
    issuer: &Issuer,
    partition: &Partition,
    account: &str,
    trusted: Option<&Subject>,
) -> PolicyDocument {
    let prefix = issuer.host_path();
    let mut equals = Map::from_iter([(format!("{prefix}:aud"), json!(AUDIENCE))]);
    let mut like = Map::new();
    if let Some(subject) = trusted {
        let target = if subject.pattern.is_some() { &mut like } else { &mut equals };
        target.insert(format!("{prefix}:sub"), json!(subject.sub()));
    }
    let mut condition = Map::from_iter([("StringEquals".to_owned(), Value::Object(equals))]);
    if !like.is_empty() {
        condition.insert("StringLike".to_owned(), Value::Object(like));
    }
    PolicyDocument(json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"Federated": issuer.provider_arn(partition, account)},
            "Action": [ACTION],
            "Condition": condition,
        }]
    }))
}

/// Whether a trust policy lets a ServiceAccount assume the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Allows {
        /// What is insecure, or can't be judged from the policy alone.
        warnings: Vec<String>,
        /// True where nothing restricts the subject, so that any ServiceAccount of the cluster may.
        unrestricted: bool,
    },
    /// STS answers AccessDenied.
    Refuses {
        /// What doesn't match, in the statement that comes nearest.
        reasons: Vec<Mismatch>,
    },
}

impl Verdict {
    /// True if the ServiceAccount may assume the role.
    pub fn allows(&self) -> bool {
        matches!(self, Self::Allows { .. })
    }
}

/// One part of a trust policy that doesn't fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The element: `Principal.Federated`, `Action`, `StringEquals KEY`, `Deny`, `Statement`.
    pub condition: String,
    /// What the policy has there.
    pub found: String,
    /// What the ServiceAccount needs there.
    pub needed: String,
}

impl Mismatch {
    fn new(condition: impl Into<String>, found: impl Into<String>, needed: impl Into<String>) -> Self {
        Self { condition: condition.into(), found: found.into(), needed: needed.into() }
    }

    /// What the difference usually means, where it is a common mistake.
    pub fn explanation(&self) -> Option<String> {
        let (found, needed) = (self.found.as_str(), self.needed.as_str());
        if found.contains("https://") && !needed.contains("https://") {
            return Some("an issuer stands there without https://".to_owned());
        }
        if found == needed.trim_end_matches('/') || found.trim_end_matches('/') == needed {
            return Some("only the slash at the end differs".to_owned());
        }
        if self.condition.starts_with("StringEquals") && found.contains(['*', '?']) {
            return Some("StringEquals takes * and ? literally, StringLike doesn't".to_owned());
        }
        if found.eq_ignore_ascii_case(needed) {
            return Some("only upper and lower case differ".to_owned());
        }
        subject_explanation(found, needed).or_else(|| provider_explanation(found, needed))
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, needed {}", self.condition, self.found, self.needed)?;
        self.explanation().map_or(Ok(()), |text| write!(f, " ({text})"))
    }
}

fn subject_explanation(found: &str, needed: &str) -> Option<String> {
    let parts = |text: &str| {
        let (namespace, name) = text.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        Some((namespace.to_owned(), name.to_owned()))
    };
    let needed = parts(needed)?;
    let Some(found) = parts(found) else {
        let form = "a subject has the form system:serviceaccount:NAMESPACE:NAME";
        return (!found.starts_with("system:serviceaccount:") && !found.contains(", ")).then(|| form.to_owned());
    };
    match (found.0 == needed.0, found.1 == needed.1) {
        (false, true) => Some(format!("it trusts the namespace {}, not {}", found.0, needed.0)),
        (true, false) => Some(format!("it trusts the ServiceAccount {}, not {}", found.1, needed.1)),
        _ => None,
    }
}

fn provider_explanation(found: &str, needed: &str) -> Option<String> {
    let parts = |arn: &str| {
        let (head, issuer) = arn.split_once(":oidc-provider/")?;
        let (partition, account) = head.strip_prefix("arn:")?.split_once(":iam::")?;
        Some([partition, account, issuer].map(str::to_owned))
    };
    let (found, needed) = (parts(found)?, parts(needed)?);
    if found[2] != needed[2] {
        Some("the issuer is that of another cluster, or of an earlier one of this name".to_owned())
    } else if found[1] != needed[1] {
        Some(format!("the provider is in account {}, not {}", found[1], needed[1]))
    } else {
        Some(format!("the partition is {}, not {}", found[0], needed[0]))
    }
}

/// Judges whether `document`, a role's trust policy, lets `namespace`/`name` of the cluster with
/// this issuer assume the role, through the provider `provider_arn`.
///
/// Any Allow statement that fits suffices, any Deny statement that fits refuses. Conditions on
/// anything but the token's `aud` and `sub` (network, organisation, tags) can't be judged here
/// and become warnings.
pub fn verdict(document: &PolicyDocument, issuer: &Issuer, provider_arn: &str, namespace: &str, name: &str) -> Verdict {
    let request = Request::new(issuer, provider_arn, namespace, name);
    let statements = statements(&document.0);
    let mut warnings = Vec::new();
    let mut nearest: Option<Vec<Mismatch>> = None;
    let (mut allowed, mut unrestricted) = (false, false);
    for statement in statements.iter().filter(|statement| statement["Effect"] == "Allow") {
        let mismatches = request.mismatches(statement);
        if mismatches.is_empty() {
            allowed = true;
            unrestricted |= request.is_unrestricted(statement);
            warnings.extend(request.warnings(statement));
        } else if nearest.as_ref().is_none_or(|best| mismatches.len() < best.len()) {
            nearest = Some(mismatches);
        }
    }
    if !allowed {
        let none = || vec![Mismatch::new("Statement", "no statement that allows anything", format!("Allow {ACTION}"))];
        return Verdict::Refuses { reasons: nearest.unwrap_or_else(none) };
    }
    let mut denials = Vec::new();
    for statement in statements.iter().filter(|statement| statement["Effect"] == "Deny") {
        match request.denied_by(statement) {
            Truth::No => {}
            Truth::Yes => {
                let found = statement.get("Condition").map_or_else(|| statement.to_string(), Value::to_string);
                denials.push(Mismatch::new("Deny", found, format!("no Deny that applies to {}", request.sub)));
            }
            Truth::Unknown => warnings.push(format!(
                "a Deny statement may apply, which can't be told from the policy alone: {}",
                statement.get("Condition").unwrap_or(&Value::Null)
            )),
        }
    }
    if denials.is_empty() {
        let mut unique: Vec<String> = Vec::new();
        for warning in warnings {
            if !unique.contains(&warning) {
                unique.push(warning);
            }
        }
        Verdict::Allows { warnings: unique, unrestricted }
    } else {
        Verdict::Refuses { reasons: denials }
    }
}

/// The trust policy with the statements of `wanted`, which trust `namespace`/`name`, in place of those that trust every
/// ServiceAccount of the cluster. What else is in it stays: others may use the role.
///
/// None where more statements don't help: a Deny refuses the ServiceAccount, or what trusts all trusts others as well.
pub fn trusting(
    document: &PolicyDocument,
    issuer: &Issuer,
    provider_arn: &str,
    (namespace, name): (&str, &str),
    wanted: &PolicyDocument,
) -> Option<PolicyDocument> {
    let request = Request::new(issuer, provider_arn, namespace, name);
    let denies = |it: &&Value| it["Effect"] == "Deny" && request.denied_by(it) == Truth::Yes;
    let open =
        |it: &&Value| it["Effect"] == "Allow" && request.mismatches(it).is_empty() && request.is_unrestricted(it);
    let (open, kept): (Vec<_>, Vec<_>) = statements(&document.0).into_iter().partition(open);
    let only_here =
        |it: &Value| canonical_element("Principal", &it["Principal"]) == json!({"Federated": [provider_arn]});
    if kept.iter().any(denies) || !open.into_iter().all(only_here) {
        return None;
    }
    Some(document.with_statements(kept.into_iter().chain(statements(&wanted.0)).cloned().collect()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Yes,
    No,
    Unknown,
}

impl Truth {
    fn of(value: bool) -> Self {
        if value { Self::Yes } else { Self::No }
    }

    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
        }
    }

    fn any(all: impl IntoIterator<Item = Self>) -> Self {
        let mut result = Self::No;
        for truth in all {
            match truth {
                Self::Yes => return Self::Yes,
                Self::Unknown => result = Self::Unknown,
                Self::No => {}
            }
        }
        result
    }
}

/// A token's claims, as IAM sees them.
struct Request<'a> {
    prefix: String,
    provider: &'a str,
    sub: String,
    namespace: &'a str,
}

/// One `operator: {key: values}` of a condition.
struct Clause<'a> {
    operator: &'a str,
    key: &'a str,
    values: &'a Value,
}

/// What is known of a condition key's value.
enum Claim<'a> {
    Value(&'a str),
    Absent,
    Unknown,
}

impl<'a> Request<'a> {
    fn new(issuer: &Issuer, provider: &'a str, namespace: &'a str, name: &str) -> Self {
        Self { prefix: issuer.host_path(), provider, sub: subject(namespace, name), namespace }
    }

    /// Whether a statement that fits lets every subject in.
    fn is_unrestricted(&self, statement: &Value) -> bool {
        self.selecting(&clauses(statement), "sub").next().is_none()
    }

    fn mismatches(&self, statement: &Value) -> Vec<Mismatch> {
        let mut found = Vec::new();
        let principal_fits = self.principal_fits(statement);
        if !principal_fits {
            found.push(Mismatch::new("Principal.Federated", principal_text(statement), self.provider));
        }
        if !action_fits(statement) {
            let key = if statement.get("NotAction").is_some() { "NotAction" } else { "Action" };
            found.push(Mismatch::new(key, texts(statement.get(key).unwrap_or(&Value::Null)), ACTION));
        }
        for clause in clauses(statement) {
            if self.holds(&clause) == Truth::No {
                found.push(self.mismatch(&clause));
            }
        }
        found
    }

    fn mismatch(&self, clause: &Clause<'_>) -> Mismatch {
        let condition = format!("{} {}", clause.operator, clause.key);
        match self.claim(clause.key) {
            Claim::Value(value) => Mismatch::new(condition, texts(clause.values), value),
            Claim::Absent | Claim::Unknown => {
                let claim = clause.key.rsplit(':').next().unwrap_or("sub");
                Mismatch::new(condition, clause.key, format!("{}:{claim}", self.prefix))
            }
        }
    }

    fn principal_fits(&self, statement: &Value) -> bool {
        let Some(principal) = statement.get("Principal") else { return false };
        is_everyone(principal)
            || principal.get("Federated").is_some_and(|federated| {
                list(federated).iter().filter_map(|arn| arn.as_str()).any(|arn| arn == self.provider)
            })
    }

    fn denied_by(&self, statement: &Value) -> Truth {
        let except = statement.get("NotPrincipal").and_then(|principal| principal.get("Federated"));
        let excepted = except.is_some_and(|federated| list(federated).iter().any(|arn| **arn == *self.provider));
        let concerned = self.principal_fits(statement) || (statement.get("NotPrincipal").is_some() && !excepted);
        if !concerned || !action_fits(statement) {
            return Truth::No;
        }
        Truth::any(clauses(statement).iter().map(|clause| self.holds(clause).not())).not()
    }

    fn claim(&self, key: &str) -> Claim<'_> {
        let Some((prefix, claim)) = key.rsplit_once(':') else { return Claim::Unknown };
        if prefix.eq_ignore_ascii_case(&self.prefix) {
            return match claim.to_ascii_lowercase().as_str() {
                "aud" => Claim::Value(AUDIENCE),
                "sub" => Claim::Value(&self.sub),
                _ => Claim::Absent,
            };
        }
        if key.eq_ignore_ascii_case("aws:FederatedProvider") {
            return Claim::Value(self.provider);
        }
        // Another issuer's claim is never part of this token; AWS's own keys have no host in them.
        let of_issuer = prefix.contains(['/', '.']) || ["aud", "sub"].contains(&claim);
        let of_aws = prefix.split(['/', ':']).next().is_some_and(|service| ["aws", "sts", "saml"].contains(&service));
        if of_issuer && !of_aws { Claim::Absent } else { Claim::Unknown }
    }

    fn holds(&self, clause: &Clause<'_>) -> Truth {
        let operator = Operator::of(clause.operator);
        let values = list(clause.values);
        let value = match self.claim(clause.key) {
            Claim::Unknown => return Truth::Unknown,
            Claim::Value(value) => Some(value),
            Claim::Absent => None,
        };
        if operator.name == "Null" {
            let null = |item: &&Value| item.as_bool() == Some(true) || item.as_str() == Some("true");
            return Truth::of(values.iter().any(null) == value.is_none());
        }
        let Some(value) = value else { return operator.without_value() };
        let truth = Truth::any(values.into_iter().map(|wanted| match wanted.as_str() {
            Some(wanted) if wanted.contains("${") => Truth::Unknown,
            Some(wanted) => operator.compare(wanted, value),
            None => Truth::No,
        }));
        if operator.negated { truth.not() } else { truth }
    }

    fn warnings(&self, statement: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        if statement.get("Principal").is_some_and(is_everyone) {
            warnings.push("the Principal is *: anybody is trusted whom the conditions don't exclude".to_owned());
        }
        let clauses = clauses(statement);
        let on = |claim| self.selecting(&clauses, claim);
        let subjects: Vec<Option<String>> = on("sub").map(|clause| self.subject_warning(clause)).collect();
        if subjects.iter().all(Option::is_some) {
            let any = || {
                format!("any ServiceAccount of the cluster can assume the role: nothing restricts {}:sub", self.prefix)
            };
            warnings.push(subjects.into_iter().flatten().next().unwrap_or_else(any));
        }
        if on("aud").next().is_none() {
            warnings.push(format!("the audience is not checked: add {}:aud = {AUDIENCE}", self.prefix));
        }
        let unknown = clauses.iter().filter(|clause| self.holds(clause) == Truth::Unknown);
        warnings.extend(unknown.map(|clause| {
            let (operator, key) = (clause.operator, clause.key);
            format!("{operator} {key} = {} is required too, which can't be judged from here", texts(clause.values))
        }));
        warnings
    }

    /// The clauses that let only some values of a claim of the issuer's tokens through.
    fn selecting<'c>(&self, clauses: &'c [Clause<'c>], claim: &str) -> impl Iterator<Item = &'c Clause<'c>> + use<'c> {
        let key = format!("{}:{claim}", self.prefix);
        clauses
            .iter()
            .filter(move |clause| clause.key.eq_ignore_ascii_case(&key) && Operator::of(clause.operator).selects())
    }

    /// Who else a condition on `sub` lets in; none if it names ServiceAccounts one by one.
    fn subject_warning(&self, clause: &Clause<'_>) -> Option<String> {
        let operator = Operator::of(clause.operator);
        let patterns = list(clause.values).into_iter().filter_map(Value::as_str);
        let pattern = patterns.filter(|text| operator.wild() && text.contains(['*', '?'])).max_by_key(|text| {
            (is_all(text), matches(text, &subject("*", "*")), text.chars().filter(|c| *c == '*').count())
        })?;
        // Names in Kubernetes hold no upper case and no `!`: these stand for any other one.
        let anyone = matches(pattern, &subject("!A", "!A"));
        let any_namespace = pattern.split(':').nth(2).is_none_or(|namespace| namespace.contains(['*', '?']));
        Some(if anyone {
            format!("any ServiceAccount of the cluster can assume the role: {}:sub is like {pattern}", self.prefix)
        } else if any_namespace {
            format!("ServiceAccounts of other namespaces can assume the role: {}:sub is like {pattern}", self.prefix)
        } else {
            let namespace = self.namespace;
            format!(
                "other ServiceAccounts of namespace {namespace} can assume the role: {}:sub is like {pattern}",
                self.prefix
            )
        })
    }
}

/// A condition operator ("IAM JSON policy elements: Condition operators").
struct Operator<'a> {
    name: &'a str,
    negated: bool,
    if_exists: bool,
    /// `ForAllValues`, `ForAnyValue` or nothing.
    set: &'a str,
}

impl<'a> Operator<'a> {
    fn of(text: &'a str) -> Self {
        let (set, rest) = text.split_once(':').unwrap_or(("", text));
        let name = rest.strip_suffix("IfExists").unwrap_or(rest);
        Self { name, negated: name.contains("Not"), if_exists: name != rest, set }
    }

    /// True if it lets in only those that it names.
    fn selects(&self) -> bool {
        !self.negated && (self.name.starts_with("String") || self.name.starts_with("Arn"))
    }

    fn wild(&self) -> bool {
        self.name.contains("Like") || self.name.starts_with("Arn")
    }

    fn without_value(&self) -> Truth {
        Truth::of(self.if_exists || self.set == "ForAllValues" || (self.negated && self.set != "ForAnyValue"))
    }

    /// Whether `value` is what `wanted` says, before negation.
    fn compare(&self, wanted: &str, value: &str) -> Truth {
        match self.name {
            "StringEquals" | "StringNotEquals" => Truth::of(wanted == value),
            "StringEqualsIgnoreCase" | "StringNotEqualsIgnoreCase" => Truth::of(wanted.eq_ignore_ascii_case(value)),
            "StringLike" | "StringNotLike" => Truth::of(matches(wanted, value)),
            "ArnEquals" | "ArnLike" | "ArnNotEquals" | "ArnNotLike" => {
                Truth::of(value.starts_with("arn:") && matches(wanted, value))
            }
            _ => Truth::No,
        }
    }
}

fn clauses(statement: &Value) -> Vec<Clause<'_>> {
    let operators = statement.get("Condition").and_then(Value::as_object);
    let keys = operators.into_iter().flatten().filter_map(|(operator, keys)| Some((operator, keys.as_object()?)));
    keys.flat_map(|(operator, keys)| keys.iter().map(move |(key, values)| Clause { operator, key, values })).collect()
}

fn is_everyone(principal: &Value) -> bool {
    let star = |value: &Value| list(value).iter().any(|name| **name == "*");
    star(principal) || principal.get("AWS").is_some_and(star) || principal.get("Federated").is_some_and(star)
}

fn action_fits(statement: &Value) -> bool {
    let among = |patterns: &Value| {
        let mut patterns = list(patterns).into_iter().filter_map(Value::as_str);
        patterns.any(|pattern| matches(&pattern.to_lowercase(), &ACTION.to_lowercase()))
    };
    match (statement.get("Action"), statement.get("NotAction")) {
        (Some(patterns), _) => among(patterns),
        (None, Some(patterns)) => !among(patterns),
        (None, None) => false,
    }
}

fn principal_text(statement: &Value) -> String {
    let Some(principal) = statement.get("Principal").or_else(|| statement.get("NotPrincipal")) else {
        return "no Principal".to_owned();
    };
    match (principal.get("Federated"), principal.as_object()) {
        (Some(federated), _) => texts(federated),
        (None, Some(kinds)) => {
            let kinds: Vec<String> = kinds.iter().map(|(kind, names)| format!("{kind} {}", texts(names))).collect();
            kinds.join(", ")
        }
        (None, None) => texts(principal),
    }
}

fn texts(values: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let texts: Vec<String> = list(values).into_iter().map(text).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISS: &str = "oidc.eks.us-west-2.amazonaws.com/id/A39A2842863C47208955D753DE205E6E";
    const ABC: &str = "oidc.eks.us-east-1.amazonaws.com/id/ABC";
    const PROVIDER: &str = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/ABC";
    const SUB: &str = "system:serviceaccount:default:external-dns";

    fn trust(subject: Option<&Subject>) -> Value {
        let issuer = Issuer::parse(&format!("https://{ISS}")).unwrap();
        trust_policy(&issuer, &Partition::aws(), "456123987123", subject).0
    }

    fn expected(condition: &Value) -> Value {
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": [ACTION],
            "Principal": {"Federated": format!("arn:aws:iam::456123987123:oidc-provider/{ISS}")},
            "Condition": condition}]})
    }

    #[test]
    fn a1_trust_of_one_service_account() {
        let condition = json!({"StringEquals": {format!("{ISS}:aud"): "sts.amazonaws.com",
            format!("{ISS}:sub"): "system:serviceaccount:default:sa-1"}});
        assert_eq!(trust(Some(&Subject::exact("default", "sa-1"))), expected(&condition));
    }

    #[test]
    fn a2_trust_of_a_pattern() {
        let subject = Subject { pattern: Some("app-*".to_owned()), ..Subject::exact("default", "sa-1") };
        let condition = json!({"StringEquals": {format!("{ISS}:aud"): "sts.amazonaws.com"},
            "StringLike": {format!("{ISS}:sub"): "system:serviceaccount:default:app-*"}});
        assert_eq!(trust(Some(&subject)), expected(&condition));
    }

    #[test]
    fn a3_trust_of_the_whole_cluster() {
        assert_eq!(trust(None), expected(&json!({"StringEquals": {format!("{ISS}:aud"): "sts.amazonaws.com"}})));
    }

    #[test]
    fn a4_a6_port_is_dropped_and_slash_kept() {
        let issuer = Issuer::parse("https://localhost:10028/").unwrap();
        assert_eq!((issuer.host(), issuer.port(), issuer.host_path().as_str()), ("localhost", 10028, "localhost/"));
        assert_eq!(issuer.provider_arn(&Partition::aws(), "12345"), "arn:aws:iam::12345:oidc-provider/localhost/");
        let subject = Subject::exact("test-ns1", "test-sa1");
        let policy = trust_policy(&issuer, &Partition::aws(), "12345", Some(&subject)).0;
        assert_eq!(
            policy["Statement"][0]["Condition"]["StringEquals"],
            json!({"localhost/:aud": "sts.amazonaws.com", "localhost/:sub": "system:serviceaccount:test-ns1:test-sa1"})
        );
    }

    #[test]
    fn b1_b11_issuer_has_host_and_port() {
        let url = "https://exampleIssuer.eksctl.io/id/13EBFE0C5BD60778E91DFE559E02689C";
        let issuer = Issuer::parse(url).unwrap();
        assert_eq!((issuer.host(), issuer.port(), issuer.as_url()), ("exampleIssuer.eksctl.io", 443, url));
        assert_eq!(issuer.provider_url(), url);
        assert_eq!(Issuer::parse("https://h:8443/id/x").unwrap().provider_url(), "https://h/id/x");
        assert_eq!(Issuer::parse("https://[::1]:8443/x").unwrap().host(), "[::1]");
    }

    #[test]
    fn b3_only_https_is_an_issuer() {
        assert!(Issuer::parse("http://foo.com/").unwrap_err().contains("unsupported URL scheme"));
        for bad in [
            "",
            "foo.com",
            "https://",
            "https:///id",
            "https://h:x/",
            "https://h:/",
            "https://u@h/",
            "https://h/?q",
            "https://h/ x",
        ] {
            assert!(Issuer::parse(bad).is_err(), "{bad}");
        }
    }

    fn judge(statements: &Value) -> Verdict {
        let document = PolicyDocument(json!({"Version": "2012-10-17", "Statement": statements}));
        let issuer = Issuer::parse(&format!("https://{ABC}")).unwrap();
        verdict(&document, &issuer, PROVIDER, "default", "external-dns")
    }

    fn allow(provider: &str, condition: &Value) -> Value {
        json!({"Effect": "Allow", "Principal": {"Federated": provider}, "Action": ACTION, "Condition": condition})
    }

    fn key(claim: &str) -> String {
        format!("{ABC}:{claim}")
    }

    fn good() -> Value {
        allow(PROVIDER, &json!({"StringEquals": {key("sub"): SUB, key("aud"): AUDIENCE}}))
    }

    fn warnings(statements: &Value) -> Vec<String> {
        match judge(statements) {
            Verdict::Allows { warnings, .. } => warnings,
            Verdict::Refuses { reasons } => panic!("{reasons:?}"),
        }
    }

    fn reasons(statements: &Value) -> Vec<Mismatch> {
        match judge(statements) {
            Verdict::Refuses { reasons } => reasons,
            Verdict::Allows { warnings, .. } => panic!("{warnings:?}"),
        }
    }

    fn only_reason(statements: &Value) -> Mismatch {
        let mut reasons = reasons(statements);
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        reasons.remove(0)
    }

    #[test]
    fn n1_exact_trust_is_ok() {
        assert!(warnings(&good()).is_empty() && warnings(&json!([good()])).is_empty());
        let lists = allow(PROVIDER, &json!({"StringEquals": {key("sub"): ["x", SUB], key("AUD"): [AUDIENCE]}}));
        assert!(warnings(&lists).is_empty());
        let mut wild = good();
        wild["Action"] = json!(["sts:TagSession", "STS:assume*"]);
        assert!(warnings(&wild).is_empty());
    }

    #[test]
    fn n2_another_namespace_is_refused() {
        let other = "system:serviceaccount:external-dns:external-dns";
        let reason = only_reason(&allow(PROVIDER, &json!({"StringEquals": {key("sub"): other, key("aud"): AUDIENCE}})));
        assert_eq!(reason, Mismatch::new(format!("StringEquals {ABC}:sub"), other, SUB));
        assert!(reason.to_string().ends_with("(it trusts the namespace external-dns, not default)"), "{reason}");
    }

    #[test]
    fn n4_https_in_the_provider_is_malformed() {
        let provider = "arn:aws:iam::111122223333:oidc-provider/https://oidc.eks.us-east-1.amazonaws.com/id/ABC";
        let reason = only_reason(&allow(provider, &json!({"StringEquals": {key("sub"): SUB, key("aud"): AUDIENCE}})));
        assert_eq!(reason, Mismatch::new("Principal.Federated", provider, PROVIDER));
        assert!(reason.explanation().unwrap().contains("https://"));
        let in_key =
            allow(PROVIDER, &json!({"StringEquals": {format!("https://{ABC}:sub"): SUB, key("aud"): AUDIENCE}}));
        let reason = only_reason(&in_key);
        assert_eq!(reason.needed, key("sub"));
        assert!(reason.explanation().unwrap().contains("https://"));
    }

    #[test]
    fn n5_no_subject_lets_everyone_in() {
        let found = warnings(&allow(PROVIDER, &json!({"StringEquals": {key("aud"): AUDIENCE}})));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("any ServiceAccount"), "{found:?}");
        for pattern in ["*", "system:serviceaccount:*", "system:*:*"] {
            let condition = json!({"StringLike": {key("sub"): pattern, key("aud"): AUDIENCE}});
            let found = warnings(&allow(PROVIDER, &condition));
            assert!(found.len() == 1 && found[0].contains("any ServiceAccount"), "{pattern}: {found:?}");
        }
        let negated = json!({"StringNotEquals": {key("sub"): "x"}, "StringEquals": {key("aud"): AUDIENCE}});
        assert!(warnings(&allow(PROVIDER, &negated))[0].contains("any ServiceAccount"));
        let beside_exact = json!([good(), allow(PROVIDER, &json!({"StringEquals": {key("aud"): AUDIENCE}}))]);
        assert_eq!(warnings(&beside_exact).len(), 1);
    }

    #[test]
    fn n6_wildcards_work_with_a_warning() {
        let like = |pattern: &str| {
            warnings(&allow(PROVIDER, &json!({"StringLike": {key("sub"): pattern, key("aud"): AUDIENCE}})))
        };
        let found = like("system:serviceaccount:*:external-dns");
        assert!(found.len() == 1 && found[0].contains("other namespaces"), "{found:?}");
        let found = like("system:serviceaccount:default:external-*");
        assert!(found.len() == 1 && found[0].contains("namespace default"), "{found:?}");
        assert!(like(SUB).is_empty());
        let both =
            json!({"StringLike": {key("sub"): "system:*"}, "StringEquals": {key("sub"): SUB, key("aud"): AUDIENCE}});
        assert!(warnings(&allow(PROVIDER, &both)).is_empty());
        let literal = json!({"StringEquals": {key("sub"): "system:serviceaccount:default:*", key("aud"): AUDIENCE}});
        let reason = only_reason(&allow(PROVIDER, &literal));
        assert!(reason.needed == SUB && reason.explanation().unwrap().contains("StringLike"), "{reason}");
    }

    #[test]
    fn n8_missing_audience_is_a_warning() {
        let found = warnings(&allow(PROVIDER, &json!({"StringEquals": {key("sub"): SUB}})));
        assert!(found.len() == 1 && found[0].contains("audience"), "{found:?}");
        let other = json!({"StringEquals": {key("sub"): SUB, key("aud"): "sts.amazonaws.com.cn"}});
        assert_eq!(only_reason(&allow(PROVIDER, &other)).needed, AUDIENCE);
    }

    #[test]
    fn one_statement_that_allows_suffices() {
        let other_cluster = allow(
            "arn:aws:iam::111122223333:oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/OLD",
            &json!({"StringEquals": {"oidc.eks.us-east-1.amazonaws.com/id/OLD:sub": SUB}}),
        );
        let pods = json!({"Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"]});
        assert!(warnings(&json!([pods, other_cluster, good()])).is_empty());
        let found = reasons(&json!([pods]));
        assert_eq!(found[0].found, "Service pods.eks.amazonaws.com");
        assert_eq!(found[1].condition, "Action");
        let found = reasons(&json!([other_cluster]));
        assert!(found[0].explanation().unwrap().contains("another cluster"), "{found:?}");
        assert_eq!(found[1].needed, key("sub"));
        let near = allow(PROVIDER, &json!({"StringEquals": {key("sub"): "x"}}));
        assert_eq!(only_reason(&json!([other_cluster, near])).found, "x");
        assert_eq!(only_reason(&json!([])).condition, "Statement");
    }

    #[test]
    fn providers_are_told_apart() {
        let with = |provider: &str| {
            let condition = json!({"StringEquals": {key("sub"): SUB, key("aud"): AUDIENCE}});
            only_reason(&allow(provider, &condition)).explanation().unwrap()
        };
        assert!(with(&PROVIDER.replace("111122223333", "444455556666")).contains("account 444455556666"));
        assert!(with(&PROVIDER.replace("arn:aws:", "arn:aws-cn:")).contains("partition is aws-cn"));
        assert!(with(&format!("{PROVIDER}/")).contains("slash"));
        assert!(with(&PROVIDER.to_lowercase()).contains("case"));
    }

    #[test]
    fn a_deny_that_applies_refuses() {
        let deny = |condition: &Value| {
            let deny = json!({"Effect": "Deny", "Principal": "*", "Action": "*", "Condition": condition});
            json!([good(), deny])
        };
        for condition in [
            json!({}),
            json!({"StringLike": {key("sub"): "system:serviceaccount:default:*"}}),
            json!({"StringNotEquals": {key("sub"): "x"}}),
            json!({"Null": {key("amr"): "true"}}),
            json!({"StringNotEquals": {"oidc.eks.us-east-1.amazonaws.com/id/OLD:sub": "x"}}),
        ] {
            assert_eq!(only_reason(&deny(&condition)).condition, "Deny", "{condition}");
        }
        for condition in [
            json!({"StringNotLike": {key("sub"): "system:serviceaccount:default:*"}}),
            json!({"StringEquals": {key("sub"): SUB, key("aud"): "x"}}),
            json!({"StringEquals": {key("aud"): "x"}, "IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}),
        ] {
            assert!(warnings(&deny(&condition)).is_empty(), "{condition}");
        }
        let unknown = warnings(&deny(&json!({"StringNotEquals": {"aws:SourceVpc": "vpc-1"}})));
        assert!(unknown.len() == 1 && unknown[0].contains("Deny"), "{unknown:?}");
        let except = json!([good(), {"Effect": "Deny", "NotPrincipal": {"Federated": PROVIDER}, "Action": "*"}]);
        assert!(warnings(&except).is_empty());
    }

    #[test]
    fn operators_are_evaluated() {
        let holds = |condition: Value| {
            let mut condition = condition;
            condition["StringEqualsIgnoreCase"] = json!({key("sub"): SUB.to_uppercase(), key("aud"): AUDIENCE});
            judge(&allow(PROVIDER, &condition)).allows()
        };
        assert!(holds(json!({"StringEqualsIfExists": {key("amr"): "x"}})));
        assert!(!holds(json!({"StringEquals": {key("amr"): "x"}})));
        assert!(holds(json!({"ForAnyValue:StringLike": {key("sub"): ["system:*", "x"]}})));
        assert!(!holds(json!({"ForAnyValue:StringLike": {key("amr"): "x"}})));
        assert!(holds(json!({"ForAllValues:StringLike": {key("amr"): "x"}})));
        assert!(!holds(json!({"ForAllValues:StringLike": {key("sub"): "x"}})));
        assert!(holds(json!({"Null": {key("sub"): "false", key("amr"): true}})));
        assert!(!holds(json!({"Null": {key("sub"): "true"}})));
        assert!(holds(json!({"ArnEquals": {"aws:FederatedProvider": PROVIDER}})));
        assert!(!holds(json!({"ArnLike": {key("sub"): "*"}})) && !holds(json!({"NumericEquals": {key("sub"): 1}})));
        let unknown = json!({"StringEquals": {key("sub"): SUB, key("aud"): AUDIENCE, "aws:SourceVpc": "vpc-1"}});
        let found = warnings(&allow(PROVIDER, &unknown));
        assert!(found.len() == 1 && found[0].contains("aws:SourceVpc = vpc-1"), "{found:?}");
        let tag = json!({"StringEquals": {key("sub"): SUB, key("aud"): AUDIENCE, "aws:RequestTag/a.b:sub": "x"}});
        assert_eq!(warnings(&allow(PROVIDER, &tag)).len(), 1);
        let everyone = json!({"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "*"});
        assert_eq!(warnings(&everyone).len(), 3);
    }

    #[test]
    fn own_policies_are_allowed() {
        let issuer = Issuer::parse(&format!("https://{ABC}")).unwrap();
        let subject = Subject::exact("default", "external-dns");
        let policy = trust_policy(&issuer, &Partition::aws(), "111122223333", Some(&subject));
        assert_eq!(
            verdict(&policy, &issuer, PROVIDER, "default", "external-dns"),
            Verdict::Allows { warnings: vec![], unrestricted: false }
        );
        assert!(!verdict(&policy, &issuer, PROVIDER, "default", "other").allows());
    }

    #[test]
    fn what_trusts_others_stays_when_one_more_is_trusted() {
        let issuer = Issuer::parse(&format!("https://{ABC}")).unwrap();
        let wanted =
            trust_policy(&issuer, &Partition::aws(), "111122223333", Some(&Subject::exact("default", "external-dns")));
        let mended = |statements: &[Value]| {
            let found = PolicyDocument(json!({"Version": "2012-10-17", "Statement": statements}));
            let mended = trusting(&found, &issuer, PROVIDER, ("default", "external-dns"), &wanted)?;
            assert_eq!(
                verdict(&mended, &issuer, PROVIDER, "default", "external-dns"),
                Verdict::Allows { warnings: Vec::new(), unrestricted: false }
            );
            Some(statements_of(&mended))
        };
        let own = wanted.0["Statement"][0].clone();
        let statement = |effect: &str, principal: Value, condition: Value| json!({"Effect": effect, "Principal": principal, "Action": ACTION, "Condition": condition});
        let here = || json!({"Federated": PROVIDER});
        let other =
            statement("Allow", json!({"Federated": "arn:aws:iam::111122223333:oidc-provider/other"}), json!({}));
        let sub = |name: &str| json!({"StringEquals": {format!("{ABC}:sub"): name}});
        let neighbour = statement("Allow", here(), sub("system:serviceaccount:web:uploads"));
        let ec2 = json!({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"});
        assert_eq!(
            mended(&[other.clone(), neighbour.clone(), ec2.clone()]),
            Some(vec![other.clone(), neighbour.clone(), ec2.clone(), own.clone()])
        );
        let everyone = statement("Allow", here(), json!({}));
        assert_eq!(mended(&[everyone, neighbour.clone()]), Some(vec![neighbour, own]));
        let two = json!({"Federated": [PROVIDER, "arn:aws:iam::111122223333:oidc-provider/other"]});
        assert_eq!(mended(&[statement("Allow", two, json!({}))]), None, "another cluster uses it");
        assert_eq!(mended(&[other, statement("Deny", here(), sub(SUB))]), None);
    }

    fn statements_of(document: &PolicyDocument) -> Vec<Value> {
        statements(&document.0).into_iter().cloned().collect()
    }
}
