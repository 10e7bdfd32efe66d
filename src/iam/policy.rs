//! Policy documents: written, compared and evaluated.

use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::arn::Partition;
use super::intrinsics::resolve;
use super::wildcard::{covers, intersects, is_all};

/// An IAM policy document: of an identity, or the trust policy of a role.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyDocument(pub Value);

/// One call that must be allowed.
///
/// The resource may hold wildcards: then all that it matches must be allowed. A plain `*` stands
/// for calls that take no resource, such as `route53:ListHostedZones`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Need {
    /// `service:Operation`.
    pub action: String,
    /// An ARN, a pattern of ARNs, or `*`.
    pub resource: String,
}

impl Need {
    /// A call of `action` on `resource`.
    pub fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self { action: action.into(), resource: resource.into() }
    }
}

/// The most characters of a managed policy ("IAM and AWS STS quotas").
pub const LONGEST_MANAGED: usize = 6144;

const STATEMENT_KEYS: [&str; 7] = ["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"];

impl PolicyDocument {
    /// Reads the policy of an identity (a managed or inline policy) as people write it.
    ///
    /// # Errors
    /// Says which element breaks the grammar ("Grammar of the IAM JSON policy language").
    pub fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("the policy is not JSON: {error}"))?;
        let document = Self(value);
        document.check()?;
        Ok(document)
    }

    /// Reads a document as IAM returns it: URL-encoded JSON of any kind of policy (RFC 3986).
    ///
    /// # Errors
    /// Says that the text is not a JSON object.
    pub fn from_encoded(text: &str) -> Result<Self, String> {
        let decoded = percent_decode_str(text).decode_utf8().unwrap_or_default();
        let value = serde_json::from_str(text)
            .or_else(|_| serde_json::from_str(&decoded))
            .map_err(|error| format!("the policy document is not JSON: {error}"))?;
        match value {
            Value::Object(_) => Ok(Self(value)),
            _ => Err("the policy document is not a JSON object".to_owned()),
        }
    }

    /// Checks the grammar of an identity's policy.
    ///
    /// # Errors
    /// As [`PolicyDocument::parse`].
    pub fn check(&self) -> Result<(), String> {
        let object = self.0.as_object().ok_or("the policy is not a JSON object")?;
        if let Some(key) = object.keys().find(|key| !["Version", "Id", "Statement"].contains(&key.as_str())) {
            return Err(format!("the policy has an unknown element `{key}`; there are Version, Id and Statement"));
        }
        match object.get("Version").map(Value::as_str) {
            None | Some(Some("2012-10-17" | "2008-10-17")) => {}
            Some(_) => return Err("the policy's Version is neither \"2012-10-17\" nor \"2008-10-17\"".to_owned()),
        }
        let statements = statements(&self.0);
        if statements.is_empty() {
            return Err("the policy has no Statement".to_owned());
        }
        if let Some(number) = rounded(&self.0) {
            return Err(format!("the policy has a number of too many digits, read as {number}: write it as text"));
        }
        for (index, statement) in statements.into_iter().enumerate() {
            check_statement(statement).map_err(|problem| format!("the policy's Statement[{index}] {problem}"))?;
        }
        Ok(())
    }

    /// True if both say the same: a string or a list of one, the order and repetition of lists and
    /// statements, the case of actions and condition keys, and the names (Sid, Id) don't matter.
    ///
    /// A missing Version is 2008-10-17, which has no policy variables
    /// ("IAM JSON policy elements: Version").
    pub fn same_as(&self, other: &Self) -> bool {
        canonical(&self.0) == canonical(&other.0)
    }

    /// Its size as IAM counts it against [`LONGEST_MANAGED`]: characters without white space.
    pub fn size(&self) -> usize {
        self.to_json().chars().filter(|c| !c.is_whitespace()).count()
    }

    /// As compact JSON.
    pub fn to_json(&self) -> String {
        self.0.to_string()
    }

    /// As indented JSON.
    pub fn pretty(&self) -> String {
        format!("{:#}", self.0)
    }

    /// The document with more statements.
    #[must_use]
    pub fn and(&self, more: Vec<Value>) -> Self {
        self.with_statements(statements(&self.0).into_iter().cloned().chain(more).collect())
    }

    /// The document with these statements and no others.
    #[must_use]
    pub fn with_statements(&self, statements: Vec<Value>) -> Self {
        let mut document = self.0.as_object().cloned().unwrap_or_default();
        document.insert("Statement".to_owned(), Value::Array(statements));
        Self(Value::Object(document))
    }

    /// The document with the values of CloudFormation's functions, see [`resolve`].
    #[must_use]
    pub fn resolved(&self, partition: &Partition) -> Self {
        Self(resolve(&self.0, partition, None))
    }
}

/// A number that may have been another one before it was read.
fn rounded(value: &Value) -> Option<f64> {
    const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64())?;
            (float.abs() >= LARGEST_EXACT).then_some(float)
        }
        Value::Array(items) => items.iter().find_map(rounded),
        Value::Object(object) => object.values().find_map(rounded),
        _ => None,
    }
}

fn check_statement(statement: &Value) -> Result<(), String> {
    let Some(object) = statement.as_object() else { return Err("is not an object".to_owned()) };
    if object.contains_key("Principal") || object.contains_key("NotPrincipal") {
        return Err("has a Principal: that belongs into a trust or resource policy, not into a role's".to_owned());
    }
    if let Some(key) = object.keys().find(|key| !STATEMENT_KEYS.contains(&key.as_str())) {
        return Err(format!("has an unknown element `{key}`; there are {}", STATEMENT_KEYS.join(", ")));
    }
    if !matches!(object.get("Effect").and_then(Value::as_str), Some("Allow" | "Deny")) {
        return Err("needs an Effect, \"Allow\" or \"Deny\"".to_owned());
    }
    for (plain, negated) in [("Action", "NotAction"), ("Resource", "NotResource")] {
        let key = match (object.contains_key(plain), object.contains_key(negated)) {
            (true, true) => return Err(format!("has both {plain} and {negated}")),
            (false, false) => return Err(format!("has neither {plain} nor {negated}")),
            (true, false) => plain,
            (false, true) => negated,
        };
        check_list(key, &object[key])?;
    }
    match object.get("Condition") {
        Some(Value::Object(operators)) if operators.values().all(Value::is_object) => Ok(()),
        None => Ok(()),
        Some(_) => Err("has a Condition that is not {\"Operator\": {\"key\": \"value\"}}".to_owned()),
    }
}

fn check_list(key: &str, value: &Value) -> Result<(), String> {
    let items = list(value);
    if items.is_empty() {
        return Err(format!("has an empty {key}"));
    }
    for item in items {
        // CloudFormation's functions are allowed: inline policies are written into templates.
        let fits = match (item, key) {
            (Value::String(text), "Action" | "NotAction") => {
                text == "*"
                    || text.split_once(':').is_some_and(|(service, name)| !service.is_empty() && !name.is_empty())
            }
            (Value::String(text), _) => is_all(text) || text.starts_with("arn:") || text.starts_with("${"),
            (Value::Object(function), _) => function.len() == 1,
            _ => false,
        };
        if !fits {
            let wanted = if key.ends_with("Action") { "service:Action or *" } else { "an ARN or *" };
            return Err(format!("has the {key} {item}, which is not {wanted}"));
        }
    }
    Ok(())
}

/// The statements of a document: a list, or one object.
pub(crate) fn statements(document: &Value) -> Vec<&Value> {
    document.get("Statement").map(list).unwrap_or_default()
}

/// A list's items, or the one value that stands for a list of one.
pub(crate) fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        other => vec![other],
    }
}

/// The one form of all documents that say the same.
pub(crate) fn canonical(document: &Value) -> Value {
    let version = document.get("Version").cloned().unwrap_or_else(|| json!("2008-10-17"));
    let statements = statements(document).into_iter().map(canonical_statement).collect();
    json!({"Version": version, "Statement": sorted(statements)})
}

/// The one form of a statement: see [`canonical`].
pub(crate) fn canonical_statement(statement: &Value) -> Value {
    let Some(object) = statement.as_object() else { return statement.clone() };
    let mut result = Map::new();
    for (key, value) in object.iter().filter(|(key, _)| *key != "Sid") {
        let value = canonical_element(key, value);
        if key != "Condition" || value.as_object().is_some_and(|operators| !operators.is_empty()) {
            result.insert(key.clone(), value);
        }
    }
    result.sort_keys();
    Value::Object(result)
}

/// The one form of an element of a statement, such as `Action` or `Condition`.
pub(crate) fn canonical_element(key: &str, value: &Value) -> Value {
    match key {
        "Action" | "NotAction" => {
            let lower = |item: &Value| item.as_str().map_or_else(|| item.clone(), |text| json!(text.to_lowercase()));
            sorted(list(value).into_iter().map(lower).collect())
        }
        "Resource" | "NotResource" => sorted(list(value).into_iter().cloned().collect()),
        "Principal" | "NotPrincipal" => canonical_principal(value),
        "Condition" => canonical_condition(value),
        _ => value.clone(),
    }
}

fn canonical_principal(value: &Value) -> Value {
    let Some(object) = value.as_object() else { return json!({"AWS": [value]}) };
    let mut result = Map::new();
    for (kind, names) in object {
        let account = |name: &Value| match name.as_str() {
            Some(text) if kind == "AWS" => json!(account_of_root(text).unwrap_or(text)),
            _ => name.clone(),
        };
        result.insert(kind.clone(), sorted(list(names).into_iter().map(account).collect()));
    }
    result.sort_keys();
    Value::Object(result)
}

/// `arn:aws:iam::111122223333:root` is the account `111122223333`
/// ("AWS JSON policy elements: Principal").
fn account_of_root(arn: &str) -> Option<&str> {
    let rest = arn.strip_prefix("arn:")?.split_once(":iam::")?.1;
    rest.strip_suffix(":root")
}

fn canonical_condition(value: &Value) -> Value {
    let Some(operators) = value.as_object() else { return value.clone() };
    let mut result = Map::new();
    for (operator, keys) in operators {
        let Some(keys) = keys.as_object() else { return value.clone() };
        // Pairs, not a map: two spellings of one key are two conditions.
        let pairs = keys.iter().map(|(key, values)| {
            let text = |value: &Value| match value {
                Value::Bool(_) | Value::Number(_) => json!(value.to_string()),
                other => other.clone(),
            };
            json!([key.to_lowercase(), sorted(list(values).into_iter().map(text).collect())])
        });
        let pairs: Vec<Value> = pairs.collect();
        if !pairs.is_empty() {
            result.insert(operator.clone(), sorted(pairs));
        }
    }
    result.sort_keys();
    Value::Object(result)
}

fn sorted(mut values: Vec<Value>) -> Value {
    for value in &mut values {
        value.sort_all_objects();
    }
    values.sort_by_cached_key(Value::to_string);
    values.dedup();
    Value::Array(values)
}

/// Whether documents grant a [`Need`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whatever the circumstances.
    Granted,
    /// Only under conditions, which can't be judged from the documents alone.
    Conditional,
    /// Not at all, or not on the whole resource.
    Missing,
}

/// Whether the documents together grant a need: an Allow that covers the whole need and no Deny
/// that touches it ("Policy evaluation logic", IAM User Guide).
pub fn access(documents: &[&PolicyDocument], need: &Need) -> Access {
    let statements: Vec<&Value> = documents.iter().flat_map(|document| statements(&document.0)).collect();
    let allow = |sure: bool| statements.iter().any(|it| allows(it, need) && !(sure && has_condition(it)));
    let deny = |sure: bool| statements.iter().any(|it| denies(it, need) && !(sure && has_condition(it)));
    if allow(true) && !deny(false) {
        Access::Granted
    } else if allow(false) && !deny(true) {
        Access::Conditional
    } else {
        Access::Missing
    }
}

/// Whether a Deny without conditions touches a need.
pub fn is_denied(documents: &[&PolicyDocument], need: &Need) -> bool {
    let mut statements = documents.iter().flat_map(|document| statements(&document.0));
    statements.any(|statement| denies(statement, need) && !has_condition(statement))
}

/// Which needs the documents together don't surely grant: as [`access`], where a statement with a
/// condition doesn't allow, and does deny.
pub fn missing(documents: &[&PolicyDocument], needs: &[Need]) -> Vec<Need> {
    needs.iter().filter(|need| access(documents, need) != Access::Granted).cloned().collect()
}

fn has_condition(statement: &Value) -> bool {
    statement.get("Condition").is_some_and(|condition| condition.as_object().is_none_or(|keys| !keys.is_empty()))
}

/// Whether a statement allows an action, on whatever resource and under whatever condition.
pub(crate) fn allows_action(statement: &Value, action: &str) -> bool {
    let action = action.to_lowercase();
    let covers = |pattern: &str| covers(&pattern.to_lowercase(), &action);
    let touches = |pattern: &str| intersects(&pattern.to_lowercase(), &action);
    effect(statement) == Some("Allow") && selects_all(statement, "Action", &covers, &touches)
}

fn allows(statement: &Value, need: &Need) -> bool {
    effect(statement) == Some("Allow") && selects(statement, need, selects_all)
}

fn denies(statement: &Value, need: &Need) -> bool {
    effect(statement) == Some("Deny") && selects(statement, need, selects_any)
}

type Test<'a> = &'a dyn Fn(&str) -> bool;

/// Whether the statement is about the need: its action and its resource, each by `quantifier`.
fn selects(statement: &Value, need: &Need, quantifier: fn(&Value, &str, Test<'_>, Test<'_>) -> bool) -> bool {
    let action = need.action.to_lowercase();
    let resource = need.resource.as_str();
    let action_covers = |pattern: &str| covers(&pattern.to_lowercase(), &action);
    let action_touches = |pattern: &str| intersects(&pattern.to_lowercase(), &action);
    let resource_covers = |pattern: &str| resource_relation(pattern, resource, covers);
    let resource_touches = |pattern: &str| resource_relation(pattern, resource, intersects);
    quantifier(statement, "Action", &action_covers, &action_touches)
        && quantifier(statement, "Resource", &resource_covers, &resource_touches)
}

fn effect(statement: &Value) -> Option<&str> {
    statement.get("Effect").and_then(Value::as_str)
}

/// True if the statement's `key` (or what `Not…` leaves) surely includes all of the need.
fn selects_all(statement: &Value, key: &str, covers: Test<'_>, touches: Test<'_>) -> bool {
    match (statement.get(key), statement.get(format!("Not{key}"))) {
        (Some(patterns), _) => certain(patterns, covers),
        (None, Some(patterns)) => !possible(patterns, touches),
        (None, None) => false,
    }
}

/// True if the statement's `key` (or what `Not…` leaves) may include a part of the need.
fn selects_any(statement: &Value, key: &str, covers: Test<'_>, touches: Test<'_>) -> bool {
    match (statement.get(key), statement.get(format!("Not{key}"))) {
        (Some(patterns), _) => possible(patterns, touches),
        (None, Some(patterns)) => !certain(patterns, covers),
        (None, None) => true,
    }
}

fn certain(patterns: &Value, covers: Test<'_>) -> bool {
    list(patterns).into_iter().filter_map(Value::as_str).any(covers)
}

/// Policy variables and CloudFormation's functions may become anything.
fn possible(patterns: &Value, touches: Test<'_>) -> bool {
    list(patterns).into_iter().any(|pattern| pattern.as_str().is_none_or(|text| touches(&without_variables(text))))
}

fn without_variables(pattern: &str) -> String {
    let mut result = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some((before, variable)) = rest.split_once("${") {
        let Some((_, after)) = variable.split_once('}') else { break };
        result.push_str(before);
        result.push('*');
        rest = after;
    }
    result + rest
}

/// A wildcard doesn't span the segments of an ARN, missing segments are `*`
/// ("IAM JSON policy elements: Resource").
fn resource_relation(pattern: &str, need: &str, relation: fn(&str, &str) -> bool) -> bool {
    if is_all(pattern) || need == "*" {
        return is_all(pattern);
    }
    segments(pattern).iter().zip(segments(need)).all(|(pattern, need)| relation(pattern, need))
}

fn segments(arn: &str) -> [&str; 6] {
    let mut segments = ["*"; 6];
    for (segment, part) in segments.iter_mut().zip(arn.splitn(6, ':')) {
        *segment = part;
    }
    segments
}

const EXTERNAL_DNS: &str = include_str!("../../templates/policies/external-dns.json");

/// What ExternalDNS needs on Route53, for all zones or for exactly those of `zone_ids` (bare ids,
/// see [`zone_id`]; order kept, repetitions dropped): ExternalDNS documentation, "AWS" tutorial.
pub fn external_dns(partition: &Partition, zone_ids: &[String]) -> PolicyDocument {
    let mut document = embedded(EXTERNAL_DNS).resolved(partition);
    if !zone_ids.is_empty() {
        let zones = json!(zone_arns(partition, zone_ids));
        let statements = document.0.get_mut("Statement").and_then(Value::as_array_mut);
        for statement in statements.into_iter().flatten().filter(|statement| statement["Resource"] != json!(["*"])) {
            statement["Resource"] = zones.clone();
        }
    }
    document
}

/// The calls that every supported version of ExternalDNS makes, on all zones or those of
/// `zone_ids`; `zone_tags`: also those of `--aws-zone-tags` (v0.16 and later).
pub fn external_dns_needs(partition: &Partition, zone_ids: &[String], zone_tags: bool) -> Vec<Need> {
    let all = ["*".to_owned()];
    let zones = if zone_ids.is_empty() { &all } else { zone_ids };
    let mut needs = on_zones(partition, &ON_RECORDS, zones);
    if zone_tags {
        needs.extend(on_zones(partition, &["route53:ListTagsForResources"], zones));
    }
    needs.push(list_zones());
    needs
}

/// What ExternalDNS calls on every zone that it looks after.
pub const ON_RECORDS: [&str; 2] = ["route53:ChangeResourceRecordSets", "route53:ListResourceRecordSets"];

/// How ExternalDNS learns which zones there are; the call takes no zone.
pub fn list_zones() -> Need {
    Need::new("route53:ListHostedZones", "*")
}

/// Calls on exactly these zones (bare ids, or `*` for all).
pub fn on_zones(partition: &Partition, actions: &[&str], zone_ids: &[String]) -> Vec<Need> {
    let zones = zone_arns(partition, zone_ids);
    actions.iter().flat_map(|action| zones.iter().map(move |zone| Need::new(*action, zone))).collect()
}

fn zone_arns(partition: &Partition, zone_ids: &[String]) -> Vec<String> {
    let mut arns: Vec<String> = Vec::new();
    for id in zone_ids {
        let arn = format!("arn:{partition}:route53:::hostedzone/{id}");
        if !arns.contains(&arn) {
            arns.push(arn);
        }
    }
    arns
}

/// Parses a document that is part of the program; a test reads each of them.
#[expect(clippy::expect_used, reason = "embedded at build time, and every such file is read by a test")]
pub(crate) fn embedded(text: &str) -> PolicyDocument {
    PolicyDocument(serde_json::from_str(text).expect("an embedded document is JSON"))
}

/// Lets a role assume exactly one other, whose zones are in another account.
pub fn assume_role(role_arn: &str) -> PolicyDocument {
    PolicyDocument(json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role_arn}]
    }))
}

/// The trust policy that the role in the other account needs: for one role, with an external id
/// where one was agreed.
pub fn assume_role_trust(base_role_arn: &str, external_id: Option<&str>) -> PolicyDocument {
    let mut statement = json!({"Effect": "Allow", "Principal": {"AWS": base_role_arn}, "Action": "sts:AssumeRole"});
    if let Some(id) = external_id {
        statement["Condition"] = json!({"StringEquals": {"sts:ExternalId": id}});
    }
    PolicyDocument(json!({"Version": "2012-10-17", "Statement": [statement]}))
}

/// The bare id of a hosted zone, given as `Z…`, as Route53's `/hostedzone/Z…` or as its ARN.
///
/// # Errors
/// Says what an id looks like (Route53 API, `ResourceId`: 32 characters at most).
pub fn zone_id(text: &str) -> Result<String, String> {
    let resource = match text.strip_prefix("arn:") {
        Some(rest) => rest.split_once(":route53:::").map_or("", |(_, resource)| resource),
        None => text,
    };
    let id = resource.strip_prefix('/').unwrap_or(resource).strip_prefix("hostedzone/").unwrap_or(resource);
    let valid = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    if id.is_empty() || id.len() > 32 || !id.chars().all(valid) {
        return Err(format!(
            "`{text}` is not the id of a hosted zone: expected upper-case letters and digits, \
             as in Z0123456789ABCDEFGHIJ"
        ));
    }
    Ok(id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn document(value: Value) -> PolicyDocument {
        PolicyDocument(value)
    }

    fn statement(value: impl Into<Value>) -> PolicyDocument {
        document(json!({"Version": "2012-10-17", "Statement": [value.into()]}))
    }

    fn zones(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn m3_scoped_policy_names_exactly_its_zones() {
        let policy = external_dns(&Partition::aws(), &zones(&["Z2", "Z1", "Z2"]));
        assert_eq!(
            policy.0,
            json!({"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": ["route53:ChangeResourceRecordSets", "route53:ListResourceRecordSets",
                 "route53:ListTagsForResources"],
                 "Resource": ["arn:aws:route53:::hostedzone/Z2", "arn:aws:route53:::hostedzone/Z1"]},
                {"Effect": "Allow", "Action": ["route53:ListHostedZones"], "Resource": ["*"]}]})
        );
    }

    #[test]
    fn the_shared_policy_follows_the_partition() {
        let policy = external_dns(&Partition::of_region("cn-north-1"), &[]);
        assert_eq!(policy.0["Statement"][0]["Resource"], json!(["arn:aws-cn:route53:::hostedzone/*"]));
        assert!(PolicyDocument::parse(&policy.to_json()).unwrap().same_as(&policy));
    }

    #[test]
    fn m4_m5_zone_ids_in_all_spellings() {
        for text in ["Z1", "/hostedzone/Z1", "hostedzone/Z1", "arn:aws:route53:::hostedzone/Z1"] {
            assert_eq!(zone_id(text).unwrap(), "Z1", "{text}");
        }
    }

    #[test]
    fn m6_other_zone_ids_are_refused() {
        let long = "Z".repeat(33);
        for text in [
            "Z1;rm",
            "z1",
            "",
            " ",
            "example.com",
            "arn:aws:s3:::Z1",
            "arn:aws:iam::1:role/Z1",
            "Z1 ",
            "/Z1",
            "*",
            &long,
        ] {
            assert!(zone_id(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cross_account_documents() {
        let role = "arn:aws:iam::222222222222:role/external-dns-target";
        assert_eq!(missing(&[&assume_role(role)], &[Need::new("sts:AssumeRole", role)]), []);
        assert_eq!(
            assume_role_trust("arn:aws:iam::111111111111:role/base", Some("id")).0["Statement"][0],
            json!({"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:role/base"},
                "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"sts:ExternalId": "id"}}})
        );
        assert_eq!(assume_role_trust("r", None).0["Statement"][0].get("Condition"), None);
    }

    #[test]
    fn malformed_policies_are_named() {
        for (text, part) in [
            ("", "not JSON"),
            ("[]", "not a JSON object"),
            ("{}", "no Statement"),
            (r#"{"Statement":[]}"#, "no Statement"),
            (r#"{"Statement":"foo"}"#, "Statement[0] is not an object"),
            (r#"{"Statement":{"Effect":"allow","Action":"*","Resource":"*"}}"#, "Effect"),
            (r#"{"Statement":{"Effect":"Allow","Resource":"*"}}"#, "neither Action nor NotAction"),
            (r#"{"Statement":{"Effect":"Allow","Action":"*"}}"#, "neither Resource nor NotResource"),
            (r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":[]}}"#, "empty Resource"),
            (r#"{"Statement":{"Effect":"Allow","Action":"s3","Resource":"*"}}"#, "service:Action"),
            (r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"bucket"}}"#, "an ARN"),
            (r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":1}}"#, "an ARN"),
            (r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}}"#, "trust"),
            (r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Conditions":{}}}"#, "`Conditions`"),
            (r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":[]}}"#, "Condition"),
            (r#"{"Version":"2012-10-18","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#, "Version"),
        ] {
            let error = PolicyDocument::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let version = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
        assert_eq!(PolicyDocument::parse(version).unwrap().to_json(), version);
    }

    #[test]
    fn encoded_documents_are_read() {
        let policy = external_dns(&Partition::aws(), &[]);
        let json = policy.to_json();
        let encoded = percent_encoding::utf8_percent_encode(&json, percent_encoding::NON_ALPHANUMERIC);
        assert_eq!(PolicyDocument::from_encoded(&encoded.to_string()).unwrap(), policy);
        assert_eq!(PolicyDocument::from_encoded(&policy.to_json()).unwrap(), policy);
        assert!(PolicyDocument::from_encoded("%5B%5D").is_err() && PolicyDocument::from_encoded("%7B").is_err());
    }

    #[test]
    fn representation_does_not_matter() {
        let one = document(json!({"Version": "2012-10-17", "Id": "x", "Statement": [
            {"Sid": "A", "Effect": "Allow", "Action": ["s3:Get*", "S3:PutObject", "s3:get*"], "Resource": ["b", "a"],
             "Condition": {"Bool": {"aws:SecureTransport": true}, "StringEquals": {"aws:x": ["1"]}}},
            {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*", "Condition": {}}]}));
        let other = document(json!({"Statement": [
            {"Action": ["*"], "Resource": ["*"], "Principal": {"AWS": "*"}, "Effect": "Deny"},
            {"Resource": ["a", "b", "a"], "Action": ["S3:putObject", "s3:Get*"], "Effect": "Allow",
             "Condition": {"StringEquals": {"AWS:X": "1"}, "Bool": {"aws:securetransport": ["true"]}}}],
            "Version": "2012-10-17"}));
        assert!(one.same_as(&other) && other.same_as(&one));
        let root = |principal: &str| statement(json!({"Effect": "Allow", "Principal": {"AWS": principal}}));
        assert!(root("arn:aws:iam::111122223333:root").same_as(&root("111122223333")));
        let single = document(json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow"}}));
        assert!(single.same_as(&statement(json!({"Effect": "Allow"}))));
    }

    #[test]
    fn meaning_matters() {
        let base = json!({"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b",
            "Condition": {"StringEquals": {"k": "v"}}});
        for (pointer, value) in [
            ("/Effect", json!("Deny")),
            ("/Action", json!("s3:Get*")),
            ("/Resource", json!("arn:aws:s3:::B")),
            ("/Condition", json!({"StringLike": {"k": "v"}})),
            ("/Condition", json!({})),
            ("/Condition/StringEquals/k", json!("V")),
        ] {
            let mut changed = base.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert!(!statement(base.clone()).same_as(&statement(changed)), "{pointer}");
        }
        let old = document(json!({"Statement": [base]}));
        assert!(!old.same_as(&statement(base.clone())));
        assert!(old.same_as(&document(json!({"Version": "2008-10-17", "Statement": base}))));
    }

    fn lacks(policy: &PolicyDocument, action: &str, resource: &str) -> bool {
        !missing(&[policy], &[Need::new(action, resource)]).is_empty()
    }

    const ZONES: &str = "arn:aws:route53:::hostedzone/*";
    const ZONE: &str = "arn:aws:route53:::hostedzone/Z1";
    const CHANGE: &str = "route53:ChangeResourceRecordSets";

    #[test]
    fn seed_and_documented_policies_suffice() {
        let aws = Partition::aws();
        let seed = document(json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["route53:ChangeResourceRecordSets"], "Resource": [ZONES]},
            {"Effect": "Allow", "Action": ["route53:ListHostedZones", "route53:ListResourceRecordSets"],
             "Resource": ["*"]}]}));
        assert_eq!(missing(&[&seed], &external_dns_needs(&aws, &[], false)), []);
        assert_eq!(
            missing(&[&seed], &external_dns_needs(&aws, &[], true)),
            [Need::new("route53:ListTagsForResources", ZONES)]
        );
        assert_eq!(missing(&[&external_dns(&aws, &[])], &external_dns_needs(&aws, &[], true)), []);
        let scoped = external_dns(&aws, &zones(&["Z1"]));
        assert_eq!(missing(&[&scoped], &external_dns_needs(&aws, &zones(&["Z1"]), true)), []);
        assert_eq!(missing(&[&scoped], &external_dns_needs(&aws, &[], false)).len(), 2);
        assert_eq!(missing(&[&scoped], &external_dns_needs(&aws, &zones(&["Z1", "Z2"]), false)).len(), 2);
        assert_eq!(missing(&[], &external_dns_needs(&aws, &[], false)).len(), 3);
    }

    #[test]
    fn m20_singular_tag_action_is_not_the_plural() {
        let singular = statement(json!({"Effect": "Allow", "Action": "route53:ListTagsForResource", "Resource": "*"}));
        assert!(lacks(&singular, "route53:ListTagsForResources", ZONES));
    }

    #[test]
    fn wildcards_allow_only_what_they_cover() {
        let allow = |action: &str, resource: &str| {
            statement(json!({"Effect": "Allow", "Action": action, "Resource": resource}))
        };
        for (action, resource) in [
            ("*", "*"),
            ("Route53:change*", ZONES),
            ("route53:*RecordSets", "arn:aws:route53:::*"),
            ("route53:?hangeResourceRecordSets", "arn:*:route53:::hosted*"),
            ("*:*", "arn:aws:route53"),
            (CHANGE, "arn:aws:route53:*:*:hostedzone/*"),
        ] {
            assert!(!lacks(&allow(action, resource), CHANGE, ZONES), "{action} {resource}");
            assert!(!lacks(&allow(action, resource), CHANGE, ZONE), "{action} {resource}");
        }
        for (action, resource) in [
            ("route53:List*", "*"),
            (CHANGE, "arn:aws:route53:::hostedzone/Z*"),
            (CHANGE, "arn:aws-cn:route53:::hostedzone/*"),
            (CHANGE, "arn:aws:route53::1:hostedzone/*"),
            (CHANGE, "arn:*"),
            (CHANGE, "arn:aws:route53:::hostedzone/${aws:PrincipalTag/zone}"),
            (CHANGE, "${x}"),
        ] {
            let expected = resource != "arn:*";
            assert_eq!(lacks(&allow(action, resource), CHANGE, ZONES), expected, "{action} {resource}");
        }
        assert!(lacks(&allow("route53:*", "arn:aws:route53:::*"), "route53:ListHostedZones", "*"));
    }

    #[test]
    fn a_deny_that_touches_wins() {
        let with = |deny: Value| {
            let mut all = json!({"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "*", "Resource": "*"}]});
            all["Statement"].as_array_mut().unwrap().push(deny);
            document(all)
        };
        for deny in [
            json!({"Effect": "Deny", "Action": "route53:Change*", "Resource": "*"}),
            json!({"Effect": "Deny", "Action": "*", "Resource": ZONE}),
            json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"Bool": {"aws:x": "true"}}}),
            json!({"Effect": "Deny", "NotAction": "s3:*", "Resource": "*"}),
            json!({"Effect": "Deny", "Action": "*", "NotResource": "arn:aws:s3:::*"}),
            json!({"Effect": "Deny", "Action": "*", "NotResource": "arn:aws:route53:::hostedzone/Z2"}),
            json!({"Effect": "Deny", "Action": "*", "Resource": "arn:aws:route53:::hostedzone/${aws:username}"}),
            json!({"Effect": "Deny", "Action": "*", "Resource": {"Fn::Sub": "x"}}),
        ] {
            assert!(lacks(&with(deny.clone()), CHANGE, ZONES), "{deny}");
        }
        for deny in [
            json!({"Effect": "Deny", "Action": "s3:*", "Resource": "*"}),
            json!({"Effect": "Deny", "Action": "*", "Resource": "arn:aws:s3:::*"}),
            json!({"Effect": "Deny", "NotAction": "route53:*", "Resource": "*"}),
            json!({"Effect": "Deny", "Action": "*", "NotResource": "arn:aws:route53:::*"}),
        ] {
            assert!(!lacks(&with(deny.clone()), CHANGE, ZONES), "{deny}");
        }
        let zone = with(json!({"Effect": "Deny", "Action": "route53:*", "Resource": ZONE}));
        assert!(!lacks(&zone, "route53:ListHostedZones", "*"));
        assert!(!lacks(&zone, CHANGE, "arn:aws:route53:::hostedzone/Z2"));
    }

    #[test]
    fn negated_allows_and_conditions_are_read_with_caution() {
        let policy = statement(json!({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}));
        assert!(!lacks(&policy, CHANGE, ZONES) && lacks(&policy, "iam:GetRole", "*"));
        let policy = statement(json!({"Effect": "Allow", "Action": "*", "NotResource": ZONE}));
        assert!(lacks(&policy, CHANGE, ZONES) && lacks(&policy, CHANGE, ZONE));
        assert!(!lacks(&policy, CHANGE, "arn:aws:route53:::hostedzone/Z2"));
        assert!(!lacks(&policy, "route53:ListHostedZones", "*"));
        let condition = json!({"StringEquals": {"aws:RequestedRegion": "us-east-1"}});
        let policy = statement(json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}));
        assert!(lacks(&policy, CHANGE, ZONES));
        let deny = json!({"Effect": "Deny", "Action": CHANGE, "Resource": "*"});
        let deny = statement(deny);
        let need = Need::new(CHANGE, ZONES);
        assert_eq!(access(&[&policy], &need), Access::Conditional);
        assert_eq!(access(&[&policy, &deny], &need), Access::Missing);
        assert_eq!(access(&[&policy, &external_dns(&Partition::aws(), &[])], &need), Access::Granted);
    }

    fn shuffled(value: &Value) -> Value {
        match value {
            Value::Object(object) => object.iter().rev().map(|(key, item)| (key.clone(), shuffled(item))).collect(),
            Value::Array(items) if items.len() == 1 => shuffled(&items[0]),
            Value::Array(items) => items.iter().rev().map(shuffled).collect(),
            other => other.clone(),
        }
    }

    prop_compose! {
        fn any_statement()(allow: bool, negated: bool, actions in prop::collection::vec("[a-c]:[A-C*]{1,3}", 1..4),
            resources in prop::collection::vec("arn:aws:[ab]:::[xy*?]{1,3}", 1..4), key in "[ab]:[c-d]",
            values in prop::collection::vec("[a-c]{1,2}", 0..3)) -> Value {
            let mut statement = json!({"Effect": if allow { "Allow" } else { "Deny" }, "Action": actions});
            statement[if negated { "NotResource" } else { "Resource" }] = json!(resources);
            if !values.is_empty() {
                statement["Condition"] = json!({"StringEquals": {key: values}});
            }
            statement
        }
    }

    proptest! {
        #[test]
        fn same_as_ignores_order_and_survives_text(list in prop::collection::vec(any_statement(), 1..4)) {
            let policy = document(json!({"Version": "2012-10-17", "Statement": list}));
            prop_assert!(policy.same_as(&policy));
            prop_assert!(policy.same_as(&document(shuffled(&policy.0))));
            prop_assert!(PolicyDocument::parse(&policy.pretty()).unwrap().same_as(&policy));
            let needs = [Need::new("a:A", "arn:aws:a:::x"), Need::new("b:B", "arn:aws:a:::*"), Need::new("c:C", "*")];
            prop_assert_eq!(missing(&[&policy], &needs), missing(&[&document(shuffled(&policy.0))], &needs));
        }
    }
}
