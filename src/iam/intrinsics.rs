//! CloudFormation's functions, as far as their values are known without CloudFormation.

use serde_json::{Map, Value, json};

use super::arn::Partition;

/// Replaces `Fn::Sub`, `Fn::Join` and `Ref` of `AWS::Partition`, `AWS::URLSuffix` and (if given)
/// `AWS::AccountId` by their values, and writes `Fn::GetAtt` as a list. What depends on more stays.
///
/// Source: "Intrinsic function reference" and "Pseudo parameters reference", CloudFormation.
pub fn resolve(value: &Value, partition: &Partition, account: Option<&str>) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| resolve(item, partition, account)).collect(),
        Value::Object(object) => function(object, partition, account).unwrap_or_else(|| {
            let known = object.iter().map(|(key, item)| (key.clone(), resolve(item, partition, account)));
            Value::Object(known.collect())
        }),
        other => other.clone(),
    }
}

fn function(object: &Map<String, Value>, partition: &Partition, account: Option<&str>) -> Option<Value> {
    let (name, argument) = object.iter().next().filter(|_| object.len() == 1)?;
    match (name.as_str(), argument) {
        ("Ref", Value::String(name)) => pseudo(name, partition, account).map(Value::from),
        ("Fn::Sub", Value::String(text)) => {
            let text = substitute(text, partition, account);
            Some(if text.contains("${") { json!({"Fn::Sub": text}) } else { Value::String(text) })
        }
        ("Fn::GetAtt", Value::String(path)) => {
            let (resource, attribute) = path.split_once('.')?;
            Some(json!({"Fn::GetAtt": [resource, attribute]}))
        }
        ("Fn::Join", Value::Array(arguments)) => {
            let [Value::String(separator), Value::Array(parts)] = arguments.as_slice() else { return None };
            let parts: Vec<Value> = parts.iter().map(|part| resolve(part, partition, account)).collect();
            let texts: Option<Vec<&str>> = parts.iter().map(Value::as_str).collect();
            texts.map(|texts| Value::String(texts.join(separator)))
        }
        _ => None,
    }
}

fn pseudo<'a>(name: &str, partition: &'a Partition, account: Option<&'a str>) -> Option<&'a str> {
    match name {
        "AWS::Partition" => Some(partition.as_str()),
        "AWS::URLSuffix" => Some(partition.dns_suffix()),
        "AWS::AccountId" => account,
        _ => None,
    }
}

fn substitute(text: &str, partition: &Partition, account: Option<&str>) -> String {
    let mut text = text.to_owned();
    for name in ["AWS::Partition", "AWS::URLSuffix", "AWS::AccountId"] {
        if let Some(known) = pseudo(name, partition, account) {
            text = text.replace(&format!("${{{name}}}"), known);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_functions_become_values() {
        let china = Partition::of_region("cn-north-1");
        let arn = "arn:aws-cn:iam::aws:policy/X";
        for form in [
            json!({"Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/X"}),
            json!({"Fn::Join": ["", ["arn:", {"Ref": "AWS::Partition"}, ":iam::aws:policy/X"]]}),
            json!({"Fn::Join": [":", ["arn", {"Ref": "AWS::Partition"}, "iam", "", "aws", "policy/X"]]}),
            json!(arn),
        ] {
            assert_eq!(resolve(&form, &china, None), json!(arn), "{form}");
        }
        let account = json!([{"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/x"}]);
        assert_eq!(resolve(&account, &china, Some("123456789012")), json!(["arn:aws-cn:iam::123456789012:role/x"]));
        let unknown = json!({"Fn::Sub": "arn:aws-cn:iam::${AWS::AccountId}:role/x"});
        assert_eq!(resolve(&account, &china, None), json!([unknown]));
    }

    #[test]
    fn other_functions_stay() {
        let aws = Partition::aws();
        for form in [
            json!({"Fn::Sub": "${AWS::StackName}-Policy1"}),
            json!({"Ref": "Role1"}),
            json!({"Fn::Join": ["-", [{"Ref": "AWS::StackName"}, "x"]]}),
            json!({"StringEquals": {"aws:username": "${aws:username}"}}),
        ] {
            assert_eq!(resolve(&form, &aws, None), form);
        }
        let list = json!({"Fn::GetAtt": ["Role1", "Arn"]});
        assert_eq!(resolve(&json!({"Fn::GetAtt": "Role1.Arn"}), &aws, None), list);
        assert_eq!(resolve(&list, &aws, None), list);
    }
}
