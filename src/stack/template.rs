//! The template of a service account's stack: written, read and compared.
//!
//! The shape is eksctl's, so that eksctl reads, updates and deletes such a stack, and irsactl those
//! of eksctl: role and output are called `Role1`, the user's inline policy `Policy1`.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value, json};

use crate::iam::arn::{Arn, Partition};
use crate::iam::intrinsics::resolve;
use crate::iam::policy::{PolicyDocument, canonical, canonical_element, canonical_statement, list, statements};
use crate::iam::trust::{Issuer, Subject, trust_policy};
use crate::iam::wellknown::WellKnown;
use crate::plan::diff::{Change, escape};

use super::names::policy_name;

/// Logical id of the role, and the name of the output with its ARN.
pub const ROLE: &str = "Role1";
/// Logical id of the user's inline policy.
pub const INLINE: &str = "Policy1";

const ROLE_TYPE: &str = "AWS::IAM::Role";
const POLICY_TYPE: &str = "AWS::IAM::Policy";

/// The role that a service account should have.
#[derive(Clone, Debug)]
pub struct RoleSpec {
    /// Namespace of the ServiceAccount.
    pub namespace: String,
    /// Name of the ServiceAccount.
    pub name: String,
    /// The cluster's OIDC issuer.
    pub issuer: Issuer,
    /// The cluster's partition.
    pub partition: Partition,
    /// The cluster's account.
    pub account: String,
    /// ARNs of managed policies to attach, in this order.
    pub managed_policies: Vec<String>,
    /// A policy document to write into the role.
    pub inline: Option<Value>,
    /// Well-known policies to attach or write into the role.
    pub well_known: Vec<WellKnown>,
    /// ARN of the permissions boundary.
    pub boundary: Option<String>,
    /// A fixed name; else CloudFormation makes one.
    pub role_name: Option<String>,
    /// An IAM path, `/` if none.
    pub role_path: Option<String>,
    /// Takes the place of the name in the trust policy, with `*` and `?`.
    pub subject_pattern: Option<String>,
}

impl RoleSpec {
    /// Whom the role trusts.
    pub fn subject(&self) -> Subject {
        let Self { namespace, name, subject_pattern, .. } = self;
        Subject { namespace: namespace.clone(), name: name.clone(), pattern: subject_pattern.clone() }
    }
}

/// The template of the stack `stack_name` with this role (eksctl behaviour).
pub fn template(spec: &RoleSpec, stack_name: &str) -> Value {
    let mut resources = Map::from_iter([(ROLE.to_owned(), role(spec))]);
    if let Some(document) = &spec.inline {
        resources.insert(INLINE.to_owned(), inline_policy(stack_name, INLINE, ROLE, document));
    }
    for known in well_known(spec) {
        for (id, document) in known.policies() {
            let policy = inline_policy(stack_name, &id, ROLE, &document);
            resources.insert(id, policy);
        }
    }
    json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": format!(
            "IAM role for serviceaccount \"{}/{}\" [created and managed by eksctl]", spec.namespace, spec.name
        ),
        "Resources": resources,
        "Outputs": {ROLE: {"Value": {"Fn::GetAtt": [ROLE, "Arn"]}}},
    })
}

/// Each once, in eksctl's order.
fn well_known(spec: &RoleSpec) -> impl Iterator<Item = WellKnown> {
    WellKnown::ALL.into_iter().filter(|known| spec.well_known.contains(known))
}

/// A policy may be named twice, as `policy/NAME` and by its ARN.
fn each_once(items: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let mut seen = HashSet::new();
    items.into_iter().filter(|item| seen.insert(item.clone())).collect()
}

fn role(spec: &RoleSpec) -> Value {
    let mut properties = Map::new();
    let mut set = |key: &str, value: Value| properties.insert(key.to_owned(), value);
    if let Some(name) = &spec.role_name {
        set("RoleName", json!(name));
    }
    if let Some(path) = &spec.role_path {
        set("Path", json!(path));
    }
    let trust = trust_policy(&spec.issuer, &spec.partition, &spec.account, Some(&spec.subject()));
    set("AssumeRolePolicyDocument", trust.0);
    let known = well_known(spec).filter_map(WellKnown::managed).map(managed_by_aws);
    let managed = each_once(spec.managed_policies.iter().map(|arn| json!(arn)).chain(known));
    if !managed.is_empty() {
        set("ManagedPolicyArns", Value::Array(managed));
    }
    if let Some(arn) = &spec.boundary {
        set("PermissionsBoundary", json!(arn));
    }
    json!({"Type": ROLE_TYPE, "Properties": properties})
}

fn inline_policy(stack_name: &str, id: &str, role: &str, document: &Value) -> Value {
    json!({"Type": POLICY_TYPE, "Properties": {
        "PolicyName": policy_name(stack_name, id), "Roles": [{"Ref": role}], "PolicyDocument": document
    }})
}

/// True if the stack needs `CAPABILITY_NAMED_IAM` rather than `CAPABILITY_IAM`: it names an IAM
/// object ("Acknowledging IAM resources in CloudFormation templates").
pub fn needs_named_capability(template: &Value) -> bool {
    const NAMES: [&str; 5] = ["RoleName", "ManagedPolicyName", "UserName", "GroupName", "InstanceProfileName"];
    resources(template).any(|(_, resource)| {
        let made = ["Role", "ManagedPolicy", "User", "Group", "InstanceProfile"];
        let made = made.iter().any(|kind| resource["Type"] == json!(format!("AWS::IAM::{kind}")));
        made && NAMES.iter().any(|name| resource["Properties"].get(name).is_some())
    })
}

/// What a template says about the role, with CloudFormation's functions resolved where that is
/// possible without CloudFormation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoleFacts {
    /// The fixed name, if it is a literal one.
    pub role_name: Option<String>,
    /// The IAM path, if it is a literal one.
    pub role_path: Option<String>,
    /// ARNs, or functions that only CloudFormation can resolve.
    pub managed_policies: Vec<Value>,
    /// An ARN, or a function that only CloudFormation can resolve.
    pub boundary: Option<Value>,
    /// The trust policy.
    pub trust: Option<Value>,
    /// Documents by logical id (by policy name where they are written inside the role).
    pub inline: BTreeMap<String, Value>,
    /// The template's description.
    pub description: Option<String>,
}

impl RoleFacts {
    /// The managed policies whose ARNs are known.
    pub fn managed_arns(&self) -> Vec<String> {
        self.managed_policies.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

/// Parses the body of a template, which is JSON or YAML.
///
/// # Errors
/// Says where it is neither, or is YAML with what would be lost, such as the tag of `!Sub ${x}`.
pub fn parse(body: &str) -> Result<Value, String> {
    if let Ok(value) = serde_json::from_str(body) {
        return Ok(value);
    }
    let options = serde_saphyr::options! {
        reject_unsupported_tags: true,
        with_snippet: false,
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::Reject,
        leading_zero_numbers_as_strings: true,
    };
    serde_saphyr::from_str_with_options(body, options).map_err(|error| error.to_string())
}

/// Reads a template of irsactl, eksctl or others: the role `Role1`, else the one whose ARN is the
/// output `Role1`, else the only role.
///
/// # Errors
/// Says that there is no role, or more than one.
pub fn read(template: &Value) -> Result<RoleFacts, String> {
    let id = role_id(template)?;
    let template = with_known_values(template, template);
    let properties = &template["Resources"][id.as_str()]["Properties"];
    let text = |key: &str| properties.get(key).and_then(Value::as_str).map(str::to_owned);
    Ok(RoleFacts {
        role_name: text("RoleName"),
        role_path: text("Path"),
        managed_policies: properties
            .get("ManagedPolicyArns")
            .map(list)
            .unwrap_or_default()
            .into_iter()
            .cloned()
            .collect(),
        boundary: properties.get("PermissionsBoundary").cloned(),
        trust: properties.get("AssumeRolePolicyDocument").map(document),
        inline: inline_documents(&template, &id),
        description: template.get("Description").and_then(Value::as_str).map(str::to_owned),
    })
}

/// The inline policies that a template of eksctl's shape gives to its role, by the names that they have in IAM.
pub fn inline_policies(template: &Value, stack_name: &str) -> BTreeMap<String, PolicyDocument> {
    let template = with_known_values(template, template);
    let policies = resources(&template).filter(|(_, resource)| resource["Type"] == POLICY_TYPE);
    let named = policies.filter_map(|(_, resource)| {
        let properties = &resource["Properties"];
        let name = properties["PolicyName"].as_str().or_else(|| properties["PolicyName"]["Fn::Sub"].as_str())?;
        let document = PolicyDocument(document(properties.get("PolicyDocument")?));
        Some((name.replace("${AWS::StackName}", stack_name), document))
    });
    named.collect()
}

fn inline_documents(template: &Value, role: &str) -> BTreeMap<String, Value> {
    let role_properties = &template["Resources"][role]["Properties"];
    let of_role = |target: &Value| *target == json!({"Ref": role}) || role_properties.get("RoleName") == Some(target);
    let separate = resources(template).filter_map(|(id, resource)| {
        let properties = &resource["Properties"];
        let targets = match resource["Type"].as_str() {
            Some(POLICY_TYPE) => properties.get("Roles"),
            Some("AWS::IAM::RolePolicy") => properties.get("RoleName"),
            _ => None,
        }?;
        let concerned = list(targets).into_iter().any(of_role);
        concerned.then(|| (id.clone(), properties.get("PolicyDocument").map_or(Value::Null, document)))
    });
    let within = role_properties.get("Policies").map(list).unwrap_or_default().into_iter().map(|policy| {
        let name = policy["PolicyName"].as_str().map_or_else(|| policy["PolicyName"].to_string(), str::to_owned);
        (name, policy.get("PolicyDocument").map_or(Value::Null, document))
    });
    separate.chain(within).collect()
}

/// CloudFormation takes a document as an object or as JSON text.
fn document(value: &Value) -> Value {
    let parsed = value.as_str().and_then(|text| serde_json::from_str(text).ok());
    parsed.unwrap_or_else(|| value.clone())
}

fn resources(template: &Value) -> impl Iterator<Item = (&String, &Value)> {
    template.get("Resources").and_then(Value::as_object).into_iter().flatten()
}

fn role_id(template: &Value) -> Result<String, String> {
    let roles: Vec<&String> =
        resources(template).filter(|(_, resource)| resource["Type"] == ROLE_TYPE).map(|(id, _)| id).collect();
    let output = resolve(&template["Outputs"][ROLE]["Value"], &Partition::aws(), None);
    let output = output["Fn::GetAtt"][0].as_str().or_else(|| output["Ref"].as_str());
    let named = [Some(ROLE), output].into_iter().flatten().find(|id| roles.iter().any(|role| role == id));
    match (named, roles.as_slice()) {
        (Some(id), _) => Ok(id.to_owned()),
        (None, [only]) => Ok((*only).clone()),
        (None, []) => Err("the stack's template has no IAM role".to_owned()),
        (None, _) => Err(format!("the stack's template has several IAM roles and none is called {ROLE}")),
    }
}

/// Resolves functions in `template` by the partition and account of the provider that the role in
/// `source` trusts.
fn with_known_values(template: &Value, source: &Value) -> Value {
    match provider(source) {
        Some((partition, account)) => resolve(template, &partition, Some(&account)),
        // No partition: the list form of Fn::GetAtt only.
        None => getatt_lists(template),
    }
}

fn getatt_lists(value: &Value) -> Value {
    match value {
        Value::Object(object) if object.len() == 1 && object.contains_key("Fn::GetAtt") => {
            resolve(value, &Partition::aws(), None)
        }
        Value::Object(object) => object.iter().map(|(key, item)| (key.clone(), getatt_lists(item))).collect(),
        Value::Array(items) => items.iter().map(getatt_lists).collect(),
        other => other.clone(),
    }
}

fn provider(template: &Value) -> Option<(Partition, String)> {
    let id = role_id(template).ok()?;
    let trust = document(template["Resources"][id.as_str()]["Properties"].get("AssumeRolePolicyDocument")?);
    let federated = statements(&trust).into_iter().filter_map(|statement| statement["Principal"].get("Federated"));
    let arn: Arn = federated.flat_map(list).find_map(|arn| arn.as_str()?.parse().ok())?;
    Some((Partition::new(&arn.partition).ok()?, arn.account))
}

/// What an update from `current` to `desired` would change. Paths are JSON Pointers into the
/// template.
///
/// Forms that mean the same don't count: the order of policies, lists of one, `Fn::Sub` of the
/// partition or its value, the forms of `Fn::GetAtt`, defaults, and what CloudFormation doesn't
/// update by itself (description, metadata, deletion policies).
pub fn differences(current: &Value, desired: &Value) -> Vec<Change> {
    let source = if provider(desired).is_some() { desired } else { current };
    let (current, desired) = (with_known_values(current, source), with_known_values(desired, source));
    let mut found = Vec::new();
    each_key("/Resources", current.get("Resources"), desired.get("Resources"), |path, old, new| match (old, new) {
        (Some(old), Some(new)) if old["Type"] == new["Type"] => {
            let (old, new) = (old.get("Properties"), new.get("Properties"));
            each_key(&format!("{path}/Properties"), old, new, |path, old, new| property(path, old, new, &mut found));
        }
        (old, new) => found.push(Change::new(path, old.cloned(), new.cloned())),
    });
    each_key("/Outputs", current.get("Outputs"), desired.get("Outputs"), |path, old, new| {
        for key in ["Value", "Export"] {
            let (old, new) = (old.and_then(|output| output.get(key)), new.and_then(|output| output.get(key)));
            if old != new {
                found.push(Change::new(format!("{path}/{key}"), old.cloned(), new.cloned()));
            }
        }
    });
    found
}

/// Visits the keys of both objects, those of `new` first.
fn each_key<'a>(
    path: &str,
    old: Option<&'a Value>,
    new: Option<&'a Value>,
    mut visit: impl FnMut(&str, Option<&'a Value>, Option<&'a Value>),
) {
    let object = |side: Option<&'a Value>| side.and_then(Value::as_object);
    let (old, new) = (object(old), object(new));
    let removed = old.into_iter().flat_map(Map::keys).filter(|key| new.is_none_or(|new| !new.contains_key(*key)));
    for key in new.into_iter().flat_map(Map::keys).chain(removed) {
        let path = format!("{path}/{}", escape(key));
        visit(&path, old.and_then(|old| old.get(key)), new.and_then(|new| new.get(key)));
    }
}

fn property(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Change>) {
    let key = path.rsplit('/').next().unwrap_or(path);
    let meaning = |value: Option<&Value>| value.and_then(|value| property_meaning(key, value));
    if meaning(old) == meaning(new) {
        return;
    }
    let before = found.len();
    if let (true, Some(old), Some(new)) = (key.ends_with("PolicyDocument"), old, new) {
        document_changes(path, &document(old), &document(new), found);
    }
    if found.len() == before {
        found.push(Change::new(path, old.cloned(), new.cloned()));
    }
}

/// The one form of a property's values that mean the same; none for what is the default.
fn property_meaning(key: &str, value: &Value) -> Option<Value> {
    let set = || {
        let mut items: Vec<Value> = list(value).into_iter().cloned().collect();
        items.iter_mut().for_each(Value::sort_all_objects);
        items.sort_by_cached_key(Value::to_string);
        items.dedup();
        (!items.is_empty()).then_some(Value::Array(items))
    };
    match (key, value) {
        (_, Value::Null) => None,
        ("Path", Value::String(path)) if path == "/" => None,
        ("MaxSessionDuration", seconds) if *seconds == json!(3600) || *seconds == json!("3600") => None,
        ("Description", Value::String(text)) if text.is_empty() => None,
        ("ManagedPolicyArns" | "Roles" | "Users" | "Groups" | "Tags", _) => set(),
        ("AssumeRolePolicyDocument" | "PolicyDocument", _) => Some(canonical(&document(value))),
        ("Policies", _) => {
            let policies = list(value).into_iter().map(|policy| {
                json!([policy["PolicyName"], policy.get("PolicyDocument").map(|value| canonical(&document(value)))])
            });
            let mut policies: Vec<Value> = policies.collect();
            policies.sort_by_cached_key(Value::to_string);
            (!policies.is_empty()).then_some(Value::Array(policies))
        }
        _ => Some(value.clone()),
    }
}

/// The differing elements where one statement differs, else the statements as a whole.
fn document_changes(path: &str, old: &Value, new: &Value, found: &mut Vec<Change>) {
    let (old_version, new_version) = (old.get("Version"), new.get("Version"));
    if canonical(&json!({"Version": old_version})) != canonical(&json!({"Version": new_version})) {
        found.push(Change::new(format!("{path}/Version"), old_version.cloned(), new_version.cloned()));
    }
    let unmatched = |side: &Value, other: &Value| -> Vec<(usize, Value)> {
        let others: Vec<Value> = statements(other).into_iter().map(canonical_statement).collect();
        let own = statements(side).into_iter().enumerate();
        own.filter(|(_, statement)| !others.contains(&canonical_statement(statement)))
            .map(|(index, statement)| (index, statement.clone()))
            .collect()
    };
    match (unmatched(old, new).as_slice(), unmatched(new, old).as_slice()) {
        ([], []) => {}
        ([(index, old_statement)], [(_, new_statement)]) => {
            let at = if old["Statement"].is_array() { format!("/{index}") } else { String::new() };
            statement_changes(&format!("{path}/Statement{at}"), old_statement, new_statement, found);
        }
        _ => {
            let (old, new) = (old.get("Statement"), new.get("Statement"));
            found.push(Change::new(format!("{path}/Statement"), old.cloned(), new.cloned()));
        }
    }
}

fn statement_changes(path: &str, old: &Value, new: &Value, found: &mut Vec<Change>) {
    each_key(path, Some(old), Some(new), |path, old, new| {
        let key = path.rsplit('/').next().unwrap_or(path);
        let meaning = |value: Option<&Value>| value.map(|value| canonical_element(key, value));
        match key {
            "Sid" => {}
            "Condition" => each_key(path, old, new, |path, old, new| {
                each_key(path, old, new, |path, old, new| {
                    let meaning = |value: Option<&Value>| value.map(|value| canonical_element("Resource", value));
                    if meaning(old) != meaning(new) {
                        found.push(Change::new(path, old.cloned(), new.cloned()));
                    }
                });
            }),
            _ if meaning(old) != meaning(new) => found.push(Change::new(path, old.cloned(), new.cloned())),
            _ => {}
        }
    });
}

/// The template with exactly these managed policies on the role; all else stays as it is, those of well-known policies
/// included.
#[must_use]
pub fn with_managed_policies(current: &Value, arns: &[String]) -> Value {
    let known = attached(current).into_iter().filter(is_well_known);
    with_attached(current, each_once(arns.iter().map(|arn| json!(arn)).chain(known)))
}

/// The template with exactly these well-known policies for the role, as they are now; all else stays as it is.
#[must_use]
pub fn with_well_known(current: &Value, stack_name: &str, wanted: &[WellKnown]) -> Value {
    if role_id(current).is_err() {
        return current.clone();
    }
    let others = attached(current).into_iter().filter(|item| !is_well_known(item));
    let wanted = || WellKnown::ALL.into_iter().filter(|known| wanted.contains(known));
    let known = wanted().filter_map(WellKnown::managed).map(managed_by_aws);
    let mut template = with_attached(current, others.chain(known).collect());
    let documents: BTreeMap<_, _> = wanted().flat_map(WellKnown::policies).collect();
    let stale = WellKnown::ALL.into_iter().flat_map(WellKnown::policies).filter(|(id, _)| !documents.contains_key(id));
    let stale: Vec<_> = stale.map(|(id, _)| id).collect();
    if let Some(resources) = template.get_mut("Resources").and_then(Value::as_object_mut) {
        resources.retain(|id, resource| resource["Type"] != POLICY_TYPE || !stale.contains(id));
    }
    documents.iter().fold(template, |template, (id, document)| with_policy(template, stack_name, id, document))
}

/// The template with this document as the role's inline policy `Policy1`; all else stays as it is.
#[must_use]
pub fn with_inline(current: &Value, stack_name: &str, document: &Value) -> Value {
    with_policy(current.clone(), stack_name, INLINE, document)
}

/// The template with this permissions boundary on the role; all else stays as it is.
#[must_use]
pub fn with_boundary(current: &Value, arn: &str) -> Value {
    with_property(current, "PermissionsBoundary", Some(json!(arn)))
}

/// The template with this trust policy of the role; all else stays as it is.
#[must_use]
pub fn with_trust(current: &Value, trust: &PolicyDocument) -> Value {
    with_property(current, "AssumeRolePolicyDocument", Some(trust.0.clone()))
}

/// What a role's `ManagedPolicyArns` holds.
fn attached(template: &Value) -> Vec<Value> {
    let Ok(id) = role_id(template) else { return Vec::new() };
    let found = template["Resources"][id.as_str()]["Properties"].get("ManagedPolicyArns");
    found.map(list).unwrap_or_default().into_iter().cloned().collect()
}

fn with_attached(current: &Value, items: Vec<Value>) -> Value {
    with_property(current, "ManagedPolicyArns", (!items.is_empty()).then_some(Value::Array(items)))
}

/// AWS's own policy, as eksctl writes it for a well-known policy.
fn managed_by_aws(path: &str) -> Value {
    json!({"Fn::Sub": format!("arn:${{AWS::Partition}}:iam::aws:policy/{path}")})
}

/// True for what stands for a well-known policy: a user's ARN is always written out.
fn is_well_known(item: &Value) -> bool {
    WellKnown::ALL.into_iter().filter_map(WellKnown::managed).any(|path| *item == managed_by_aws(path))
}

fn is_policy(resource: &Value) -> bool {
    resource["Type"] == POLICY_TYPE && resource["Properties"].is_object()
}

/// Writes the document of an inline policy; one that is there keeps its name.
fn with_policy(mut template: Value, stack_name: &str, id: &str, document: &Value) -> Value {
    let Ok(role) = role_id(&template) else { return template };
    if let Some(resources) = template.get_mut("Resources").and_then(Value::as_object_mut) {
        match resources.get_mut(id).filter(|resource| is_policy(resource)) {
            Some(resource) => resource["Properties"]["PolicyDocument"] = document.clone(),
            None => {
                resources.insert(id.to_owned(), inline_policy(stack_name, id, &role, document));
            }
        }
    }
    template
}

fn with_property(current: &Value, key: &str, value: Option<Value>) -> Value {
    let mut template = current.clone();
    let Ok(id) = role_id(current) else { return template };
    let role = template.pointer_mut(&format!("/Resources/{}", escape(&id))).and_then(Value::as_object_mut);
    let properties = role.map(|role| role.entry("Properties").or_insert_with(|| json!({})));
    if let Some(properties) = properties.and_then(Value::as_object_mut) {
        match value {
            Some(value) => {
                properties.insert(key.to_owned(), value);
            }
            None => {
                properties.shift_remove(key);
            }
        }
    }
    template
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ISS: &str = "oidc.eks.us-west-2.amazonaws.com/id/A39A2842863C47208955D753DE205E6E";
    const S3: &str = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
    const STACK: &str = "eksctl-c-addon-iamserviceaccount-default-sa-1";
    const TRUST: &str = "/Resources/Role1/Properties/AssumeRolePolicyDocument";

    fn spec() -> RoleSpec {
        RoleSpec {
            namespace: "default".to_owned(),
            name: "sa-1".to_owned(),
            issuer: Issuer::parse(&format!("https://{ISS}")).unwrap(),
            partition: Partition::aws(),
            account: "456123987123".to_owned(),
            managed_policies: vec![],
            inline: None,
            well_known: vec![],
            boundary: None,
            role_name: None,
            role_path: None,
            subject_pattern: None,
        }
    }

    fn get_star() -> Value {
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:Get*"], "Resource": "*"}]})
    }

    fn ids(template: &Value) -> Vec<&str> {
        let mut ids: Vec<&str> = resources(template).map(|(id, _)| id.as_str()).collect();
        ids.sort_unstable();
        ids
    }

    fn paths(current: &Value, desired: &Value) -> Vec<String> {
        differences(current, desired).into_iter().map(|change| change.path).collect()
    }

    #[test]
    fn c1_managed_policies() {
        let template = template(&RoleSpec { managed_policies: vec![S3.to_owned()], ..spec() }, STACK);
        assert_eq!(ids(&template), ["Role1"]);
        assert_eq!(template["Resources"]["Role1"]["Properties"]["ManagedPolicyArns"], json!([S3]));
        assert_eq!(template["Outputs"], json!({"Role1": {"Value": {"Fn::GetAtt": ["Role1", "Arn"]}}}));
        assert_eq!(
            template["Description"],
            "IAM role for serviceaccount \"default/sa-1\" [created and managed by eksctl]"
        );
        assert!(!needs_named_capability(&template));
    }

    #[test]
    fn c2_inline_policy() {
        let template = template(&RoleSpec { inline: Some(get_star()), ..spec() }, STACK);
        assert_eq!(ids(&template), ["Policy1", "Role1"]);
        assert_eq!(template["Resources"]["Role1"]["Properties"].get("ManagedPolicyArns"), None);
        assert_eq!(
            template["Resources"]["Policy1"],
            json!({"Type": "AWS::IAM::Policy", "Properties": {"PolicyName": {"Fn::Sub": "${AWS::StackName}-Policy1"},
                "Roles": [{"Ref": "Role1"}], "PolicyDocument": get_star()}})
        );
        assert!(!needs_named_capability(&template));
    }

    #[test]
    fn c3_named_role() {
        let named = RoleSpec { role_name: Some("custom-role-name".to_owned()), inline: Some(get_star()), ..spec() };
        let template = template(&named, STACK);
        assert_eq!(template["Resources"]["Role1"]["Properties"]["RoleName"], "custom-role-name");
        assert!(needs_named_capability(&template));
    }

    #[test]
    fn inline_policies_have_the_names_that_iam_knows() {
        let template = template(&RoleSpec { inline: Some(get_star()), ..spec() }, STACK);
        let expected = BTreeMap::from([(format!("{STACK}-Policy1"), PolicyDocument(get_star()))]);
        assert_eq!(inline_policies(&template, STACK), expected);
        let long = "s".repeat(127);
        let names: Vec<_> =
            inline_policies(&super::template(&RoleSpec { inline: Some(get_star()), ..spec() }, &long), &long)
                .into_keys()
                .collect();
        assert!(names.len() == 1 && names[0].len() <= 128 && names[0].contains("Policy1"), "{names:?}");
    }

    #[test]
    fn c5_managed_and_inline() {
        let arns = ["AmazonDynamoDBReadOnlyAccess", "AmazonElastiCacheFullAccess"];
        let arns: Vec<String> = arns.iter().map(|name| format!("arn:aws:iam::aws:policy/{name}")).collect();
        let template =
            template(&RoleSpec { managed_policies: arns.clone(), inline: Some(get_star()), ..spec() }, STACK);
        assert_eq!(ids(&template), ["Policy1", "Role1"]);
        let attached = "/Resources/Role1/Properties/ManagedPolicyArns";
        assert_eq!(template.pointer(attached), Some(&json!(arns)));
        let twice: Vec<_> = arns.iter().chain(&arns).cloned().collect();
        assert_eq!(with_managed_policies(&template, &twice), template, "each is attached once");
        let spec = RoleSpec { managed_policies: twice, ..spec() };
        assert_eq!(super::template(&spec, STACK).pointer(attached), Some(&json!(arns)));
    }

    #[test]
    fn c7_all_well_known_policies() {
        let mut all = WellKnown::ALL.to_vec();
        all.reverse();
        let template = template(&RoleSpec { well_known: all, ..spec() }, STACK);
        assert_eq!(ids(&template).len(), 9);
        assert_eq!(
            template["Resources"]["Role1"]["Properties"]["ManagedPolicyArns"],
            json!([
                {"Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/AmazonEC2ContainerRegistryPowerUser"},
                {"Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"}
            ])
        );
    }

    const EKSCTL: &str = include_str!("../../tests/fixtures/eksctl-external-dns-stack.json");

    fn external_dns() -> RoleSpec {
        RoleSpec {
            namespace: "kube-system".to_owned(),
            name: "external-dns".to_owned(),
            well_known: vec![WellKnown::ExternalDns],
            ..spec()
        }
    }

    #[test]
    fn c9_external_dns_adds_one_action_to_eksctls() {
        let eksctl: Value = serde_json::from_str(EKSCTL).unwrap();
        let ours = template(&external_dns(), STACK);
        assert_eq!(ids(&ours), ids(&eksctl));
        let path = "/Resources/PolicyExternalDNSHostedZones/Properties/PolicyDocument/Statement/0/Action";
        assert_eq!(paths(&eksctl, &ours), [path]);
        let mut same = ours.clone();
        same.pointer_mut(path).unwrap().as_array_mut().unwrap().pop();
        assert_eq!(differences(&eksctl, &same), []);
        assert_eq!(eksctl["Description"], ours["Description"]);
    }

    #[test]
    fn c13_eksctls_template_is_read() {
        let ours = template(&RoleSpec { managed_policies: vec![S3.to_owned()], ..spec() }, STACK);
        let mut eksctl = ours.clone();
        eksctl["Outputs"]["Role1"]["Value"]["Fn::GetAtt"] = json!("Role1.Arn");
        assert_eq!(read(&eksctl).unwrap(), read(&ours).unwrap());
        assert_eq!(differences(&eksctl, &ours), []);
        let facts = read(&serde_json::from_str(EKSCTL).unwrap()).unwrap();
        assert_eq!(facts.inline.len(), 2);
        assert_eq!(
            facts.inline["PolicyExternalDNSChangeSet"]["Statement"][0]["Resource"],
            "arn:aws:route53:::hostedzone/*"
        );
    }

    #[test]
    fn facts_are_those_of_the_spec() {
        let whole = RoleSpec {
            managed_policies: vec![S3.to_owned()],
            well_known: vec![WellKnown::EbsCsiController],
            inline: Some(get_star()),
            boundary: Some("arn:aws:iam::456123987123:policy/B".to_owned()),
            role_name: Some("r".to_owned()),
            role_path: Some("/team/".to_owned()),
            partition: Partition::of_region("cn-north-1"),
            ..spec()
        };
        let facts = read(&template(&whole, STACK)).unwrap();
        assert_eq!(facts.managed_arns(), [S3, "arn:aws-cn:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"]);
        assert_eq!((facts.role_name.as_deref(), facts.role_path.as_deref()), (Some("r"), Some("/team/")));
        assert_eq!(facts.boundary, Some(json!("arn:aws:iam::456123987123:policy/B")));
        assert_eq!(facts.inline, BTreeMap::from([("Policy1".to_owned(), get_star())]));
        assert_eq!(
            facts.trust.unwrap()["Statement"][0]["Principal"]["Federated"],
            format!("arn:aws-cn:iam::456123987123:oidc-provider/{ISS}")
        );
    }

    #[test]
    fn foreign_templates_are_read() {
        let document = get_star();
        let template = json!({"Resources": {
            "Other": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {}}},
            "Mine": {"Type": "AWS::IAM::Role", "Properties": {
                "AssumeRolePolicyDocument": document.to_string(), "ManagedPolicyArns": [{"Ref": "Arn"}, S3],
                "Policies": [{"PolicyName": "inner", "PolicyDocument": document}]}},
            "A": {"Type": "AWS::IAM::RolePolicy",
                "Properties": {"RoleName": {"Ref": "Mine"}, "PolicyName": "a", "PolicyDocument": document}},
            "B": {"Type": "AWS::IAM::Policy", "Properties": {"Roles": [{"Ref": "Other"}], "PolicyDocument": {}}},
            "Bucket": {"Type": "AWS::S3::Bucket"}},
            "Outputs": {"Role1": {"Value": {"Fn::GetAtt": "Mine.Arn"}}}});
        let facts = read(&template).unwrap();
        assert_eq!(facts.inline.keys().collect::<Vec<_>>(), ["A", "inner"]);
        assert_eq!(facts.managed_policies, [json!({"Ref": "Arn"}), json!(S3)]);
        assert_eq!(facts.managed_arns(), [S3]);
        assert_eq!(facts.trust, Some(document));
        assert!(read(&json!({"Resources": {}})).unwrap_err().contains("no IAM role"));
        assert!(read(&json!("x")).is_err());
        let mut two = template.clone();
        two["Outputs"] = json!({});
        assert!(read(&two).unwrap_err().contains("several"));
    }

    #[test]
    fn representation_is_no_difference() {
        let whole = RoleSpec {
            managed_policies: vec![S3.to_owned(), "arn:aws:iam::456123987123:policy/x".to_owned()],
            well_known: vec![WellKnown::ImageBuilder, WellKnown::CertManager],
            inline: Some(get_star()),
            ..spec()
        };
        let ours = template(&whole, STACK);
        let mut other = ours.clone();
        other["Description"] = json!("anything");
        other["Metadata"] = json!({"x": 1});
        other["Outputs"]["Role1"] = json!({"Description": "x", "Value": {"Fn::GetAtt": "Role1.Arn"}});
        other["Resources"]["Role1"]["DeletionPolicy"] = json!("Retain");
        let role = &mut other["Resources"]["Role1"]["Properties"];
        role["Path"] = json!("/");
        role["MaxSessionDuration"] = json!(3600);
        role["ManagedPolicyArns"] = json!([
            {"Fn::Join": ["", ["arn:", {"Ref": "AWS::Partition"},
                ":iam::aws:policy/AmazonEC2ContainerRegistryPowerUser"]]},
            {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:policy/x"}, S3, S3]);
        let statement = &mut role["AssumeRolePolicyDocument"]["Statement"];
        *statement = statement[0].clone();
        statement["Action"] = json!("sts:assumerolewithwebidentity");
        statement["Principal"]["Federated"] = json!([statement["Principal"]["Federated"]]);
        statement["Condition"]["StringEquals"][format!("{ISS}:aud")] = json!(["sts.amazonaws.com"]);
        role["AssumeRolePolicyDocument"] = json!(role["AssumeRolePolicyDocument"].to_string());
        let policy = &mut other["Resources"]["PolicyCertManagerGetChange"]["Properties"];
        policy["Roles"] = json!({"Ref": "Role1"});
        policy["PolicyDocument"]["Statement"][0]["Resource"] = json!(["arn:aws:route53:::change/*"]);
        assert_eq!(differences(&other, &ours), []);
        assert_eq!(differences(&ours, &other), []);
    }

    #[test]
    fn differences_are_named_by_path() {
        let ours = template(&RoleSpec { managed_policies: vec![S3.to_owned()], ..spec() }, STACK);
        let sub = format!("{TRUST}/Statement/0/Condition/StringEquals/{}:sub", escape(ISS));
        let mut other = ours.clone();
        *other.pointer_mut(&sub).unwrap() = json!("x");
        other.pointer_mut(&format!("{TRUST}/Statement/0")).unwrap()["Sid"] = json!("named");
        let change = Change::new(&sub, Some(json!("x")), Some(json!("system:serviceaccount:default:sa-1")));
        assert_eq!(differences(&other, &ours), [change]);

        let mut other = ours.clone();
        other
            .pointer_mut(&format!("{TRUST}/Statement"))
            .unwrap()
            .as_array_mut()
            .unwrap()
            .push(json!({"Effect": "Deny"}));
        assert_eq!(paths(&other, &ours), [format!("{TRUST}/Statement")]);
        other["Resources"]["Role1"]["Properties"]["AssumeRolePolicyDocument"]["Version"] = json!("2008-10-17");
        assert_eq!(paths(&other, &ours), [format!("{TRUST}/Version"), format!("{TRUST}/Statement")]);

        let pattern = template(&RoleSpec { subject_pattern: Some("app-*".to_owned()), ..spec() }, STACK);
        let like = sub.replace("StringEquals", "StringLike");
        let arns = "/Resources/Role1/Properties/ManagedPolicyArns".to_owned();
        assert_eq!(paths(&ours, &pattern), [sub, like, arns.clone()]);
        assert_eq!(differences(&ours, &pattern).pop().unwrap(), Change::new(arns, Some(json!([S3])), None));

        let inline = template(&RoleSpec { inline: Some(get_star()), ..spec() }, STACK);
        let bare = template(&spec(), STACK);
        assert_eq!(paths(&bare, &inline), ["/Resources/Policy1"]);
        assert_eq!(differences(&inline, &bare)[0].after, None);
        let named =
            template(&RoleSpec { role_name: Some("n".to_owned()), role_path: Some("/p/".to_owned()), ..spec() }, STACK);
        let role = |key: &str| format!("/Resources/Role1/Properties/{key}");
        assert_eq!(paths(&bare, &named), [role("RoleName"), role("Path")]);
        let mut moved = bare.clone();
        moved["Outputs"] = json!({});
        assert_eq!(paths(&moved, &bare), ["/Outputs/Role1/Value"]);
    }

    #[test]
    fn j7_update_keeps_what_it_does_not_name() {
        let whole = RoleSpec {
            managed_policies: vec!["arn:aws:iam::aws:policy/Old".to_owned()],
            inline: Some(get_star()),
            boundary: Some("arn:aws:iam::456123987123:policy/B".to_owned()),
            role_name: Some("test-role".to_owned()),
            ..spec()
        };
        let current = template(&whole, STACK);
        let desired = with_managed_policies(&current, &[S3.to_owned()]);
        assert_eq!(desired, template(&RoleSpec { managed_policies: vec![S3.to_owned()], ..whole.clone() }, STACK));
        assert_eq!(paths(&current, &desired), ["/Resources/Role1/Properties/ManagedPolicyArns"]);
        let none = with_managed_policies(&current, &[]);
        assert_eq!(none, template(&RoleSpec { managed_policies: vec![], ..whole }, STACK));
    }

    #[test]
    fn well_known_policies_and_the_user_s_own_are_told_apart() {
        let known = vec![WellKnown::EbsCsiController, WellKnown::CertManager];
        let whole = RoleSpec { managed_policies: vec![S3.to_owned()], well_known: known, ..spec() };
        let current = template(&whole, STACK);
        let other = "arn:aws:iam::aws:policy/Other".to_owned();
        let desired = template(&RoleSpec { managed_policies: vec![other.clone()], ..whole.clone() }, STACK);
        assert_eq!(with_managed_policies(&current, &[other]), desired);
        let known = vec![WellKnown::ImageBuilder, WellKnown::ExternalDns];
        let desired = template(&RoleSpec { well_known: known.clone(), ..whole.clone() }, STACK);
        assert_eq!(with_well_known(&current, STACK, &known), desired);
        let none = template(&RoleSpec { well_known: vec![], ..whole }, STACK);
        assert_eq!(with_well_known(&current, STACK, &[]), none);
        // Attached by its ARN, it is the user's.
        let literal = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPowerUser".to_owned();
        let own = template(&RoleSpec { managed_policies: vec![literal], ..spec() }, STACK);
        assert_eq!(with_well_known(&own, STACK, &[]), own);
    }

    #[test]
    fn eksctls_stacks_are_edited_in_place() {
        let eksctl: Value = serde_json::from_str(EKSCTL).unwrap();
        assert_eq!(eksctl["Outputs"]["Role1"]["Value"]["Fn::GetAtt"], "Role1.Arn");
        let renewed = with_well_known(&eksctl, STACK, &[WellKnown::ExternalDns]);
        assert_eq!(paths(&eksctl, &renewed).len(), 1, "the document of today");
        assert_eq!(differences(&renewed, &template(&external_dns(), STACK)), []);
        assert_eq!(renewed["Outputs"], eksctl["Outputs"]);
        let gone = with_well_known(&eksctl, STACK, &[WellKnown::EbsCsiController]);
        assert_eq!(ids(&gone), ["Role1"]);
        assert_eq!(
            read(&gone).unwrap().managed_arns(),
            ["arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"]
        );
        let with_own = with_inline(&eksctl, STACK, &get_star());
        assert_eq!(differences(&with_own, &eksctl).len(), 1);
        assert_eq!(with_own["Resources"]["Policy1"]["Properties"]["Roles"], json!([{"Ref": "Role1"}]));
    }

    #[test]
    fn inline_policies_keep_their_names_and_new_ones_get_valid_ones() {
        let stack = "s".repeat(128);
        let known = vec![WellKnown::AwsLoadBalancerController];
        let bare = template(&spec(), &stack);
        let desired = template(&RoleSpec { inline: Some(get_star()), well_known: known.clone(), ..spec() }, &stack);
        assert_eq!(with_inline(&with_well_known(&bare, &stack, &known), &stack, &get_star()), desired);
        assert!(desired["Resources"]["Policy1"]["Properties"]["PolicyName"].as_str().unwrap().len() <= 128);

        let mut named = template(&RoleSpec { inline: Some(json!({})), ..spec() }, STACK);
        named["Resources"]["Policy1"]["Properties"]["PolicyName"] = json!("mine");
        let changed = with_inline(&named, STACK, &get_star());
        assert_eq!(changed["Resources"]["Policy1"]["Properties"]["PolicyName"], "mine");
        assert_eq!(read(&changed).unwrap().inline["Policy1"], get_star());
    }

    #[test]
    fn roles_of_other_names_get_their_policies_too() {
        let text = template(&RoleSpec { managed_policies: vec![S3.to_owned()], ..spec() }, STACK).to_string();
        let foreign: Value = serde_json::from_str(&text.replace("\"Role1\"", "\"Mine\"")).unwrap();
        let trust = PolicyDocument(get_star());
        let changed = with_trust(&with_inline(&with_boundary(&foreign, "b"), STACK, &get_star()), &trust);
        let facts = read(&changed).unwrap();
        assert_eq!((facts.inline.len(), facts.boundary, facts.trust), (1, Some(json!("b")), Some(get_star())));
        assert_eq!(with_inline(&json!({"Resources": {}}), STACK, &get_star()), json!({"Resources": {}}));
    }

    prop_compose! {
        fn any_spec()(managed in prop::collection::vec("arn:aws:iam::aws:policy/[A-C]{1,2}", 0..4), inline: bool,
            known in prop::sample::subsequence(WellKnown::ALL.to_vec(), 0..4), named: bool, pattern: bool) -> RoleSpec {
            RoleSpec {
                managed_policies: managed,
                inline: inline.then(get_star),
                well_known: known,
                role_name: named.then(|| "r".to_owned()),
                subject_pattern: pattern.then(|| "a*".to_owned()),
                ..spec()
            }
        }
    }

    #[test]
    fn templates_may_be_yaml() {
        let yaml = "Resources:\n  Role1:\n    Type: AWS::IAM::Role\n";
        assert_eq!(parse(yaml).unwrap()["Resources"]["Role1"]["Type"], "AWS::IAM::Role");
        assert_eq!(parse(r#"{"a": 1}"#).unwrap()["a"], 1);
        assert_eq!(parse("a: 'Hey !Sub'").unwrap()["a"], "Hey !Sub");
        for lost in ["a: !GetAtt Role1.Arn", "a: [!Sub x]", "{\"a\":!Ref b}", "a: !<!Sub> x", "? !Sub x\n: 1"] {
            let refusal = parse(lost).unwrap_err();
            assert!(refusal.contains("tag"), "{lost}: {refusal}");
        }
    }

    proptest! {
        #[test]
        fn an_update_gives_the_template_of_what_it_names(one in any_spec(), other in any_spec()) {
            let desired = RoleSpec {
                managed_policies: other.managed_policies.clone(),
                well_known: other.well_known.clone(),
                inline: Some(get_star()),
                ..one.clone()
            };
            let edited = with_well_known(&template(&one, STACK), STACK, &other.well_known);
            let edited = with_managed_policies(&with_inline(&edited, STACK, &get_star()), &other.managed_policies);
            prop_assert_eq!(edited, template(&desired, STACK));
        }

        #[test]
        fn differences_are_none_only_between_equals(one in any_spec(), other in any_spec()) {
            let (first, second) = (template(&one, STACK), template(&other, STACK));
            prop_assert_eq!(differences(&first, &first), []);
            let (there, back) = (differences(&first, &second), differences(&second, &first));
            prop_assert_eq!(there.len(), back.len());
            let mut sets = [one.managed_policies.clone(), other.managed_policies.clone()];
            for set in &mut sets {
                set.sort();
                set.dedup();
            }
            let same = sets[0] == sets[1] && one.inline == other.inline && one.well_known == other.well_known
                && one.role_name == other.role_name && one.subject_pattern == other.subject_pattern;
            prop_assert_eq!(there.is_empty(), same);
        }
    }
}
