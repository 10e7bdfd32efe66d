//! What a stack holds, as the flags of `create iamserviceaccount` say it.

use serde_json::Value;

use super::tags::{self, Tags};
use super::template::{INLINE, RoleFacts, RoleSpec, differences, read, template};
use crate::iam::arn::{Arn, Partition};
use crate::iam::policy::{list, statements};
use crate::iam::trust::Issuer;
use crate::iam::wellknown::WellKnown;
use crate::shell::Command;

/// A stack, as far as flags say it.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// `NAMESPACE` and `NAME` of its service account.
    pub service_account: (&'a str, &'a str),
    /// Its name.
    pub name: &'a str,
    /// Its template.
    pub template: &'a Value,
    /// Its tags.
    pub tags: &'a Tags,
    /// It is protected from deletion.
    pub protected: bool,
    /// The role that CloudFormation works on it with.
    pub cfn_role: Option<&'a str>,
}

/// Adds the flags to `command`, and gives the places of the template that no flag says; none where `create` makes nothing
/// like it: no policies, or another trust policy.
pub fn told(command: Command, stack: Told<'_>) -> Option<(Command, Vec<String>)> {
    let role = spec(&read(stack.template).ok()?, stack.service_account)?;
    let lost = differences(stack.template, &template(&role, stack.name));
    let user = tags::of_users(stack.tags).map(|(key, value)| format!("{key}={value}"));
    let command = user.fold(with_role(command, &role), |command, tag| command.with("--tags", &tag));
    let command = if stack.protected { command.word("--termination-protection") } else { command };
    let command = stack.cfn_role.into_iter().fold(command, |command, role| command.with("--cfn-role-arn", role));
    Some((command, lost.into_iter().map(|change| change.path).collect()))
}

fn with_role(command: Command, role: &RoleSpec) -> Command {
    let known: Vec<_> = role.well_known.iter().map(|known| known.key()).collect();
    let inline = role.inline.as_ref().map(Value::to_string);
    let lists = [("--attach-policy-arn", role.managed_policies.join(",")), ("--well-known-policy", known.join(","))];
    let lists = lists.into_iter().filter(|(_, values)| !values.is_empty());
    let values = [
        ("--attach-policy", inline.as_ref()),
        ("--permissions-boundary", role.boundary.as_ref()),
        ("--role-name", role.role_name.as_ref()),
        ("--role-path", role.role_path.as_ref()),
        ("--subject-pattern", role.subject_pattern.as_ref()),
    ];
    let values = values.into_iter().filter_map(|(flag, value)| Some((flag, value?.clone())));
    lists.chain(values).fold(command, |command, (flag, value)| command.with(flag, &value))
}

fn spec(facts: &RoleFacts, (namespace, name): (&str, &str)) -> Option<RoleSpec> {
    let trust = facts.trust.as_ref()?;
    let statements = statements(trust);
    let mut federated = statements.iter().filter_map(|it| it["Principal"].get("Federated")).flat_map(list);
    let provider: Arn = federated.find_map(|arn| arn.as_str()?.parse().ok())?;
    let issuer = Issuer::parse(&format!("https://{}", provider.resource.strip_prefix("oidc-provider/")?)).ok()?;
    let (sub, prefix) = (format!("{}:sub", issuer.host_path()), format!("system:serviceaccount:{namespace}:"));
    let mut patterns = statements.iter().filter_map(|it| it["Condition"]["StringLike"][&sub].as_str());
    let written = |known: &WellKnown| known.policies().iter().any(|(id, _)| facts.inline.contains_key(id));
    let role = RoleSpec {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        partition: Partition::new(&provider.partition).ok()?,
        account: provider.account.clone(),
        managed_policies: facts.managed_arns(),
        inline: facts.inline.get(INLINE).cloned(),
        well_known: WellKnown::ALL.into_iter().filter(written).collect(),
        boundary: facts.boundary.as_ref().and_then(Value::as_str).map(str::to_owned),
        role_name: facts.role_name.clone(),
        role_path: facts.role_path.clone(),
        subject_pattern: patterns.find_map(|it| it.strip_prefix(&prefix)).map(str::to_owned),
        issuer,
    };
    let allows = !role.managed_policies.is_empty() || role.inline.is_some() || !role.well_known.is_empty();
    allows.then_some(role)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn role() -> RoleSpec {
        RoleSpec {
            namespace: "web".to_owned(),
            name: "app".to_owned(),
            issuer: Issuer::parse("https://oidc.eks.us-west-2.amazonaws.com/id/A1").unwrap(),
            partition: Partition::aws(),
            account: "111122223333".to_owned(),
            managed_policies: vec!["arn:aws:iam::aws:policy/A".to_owned(), "arn:aws:iam::aws:policy/B".to_owned()],
            inline: Some(json!({"Version": "2012-10-17", "Statement": []})),
            well_known: vec![WellKnown::ExternalDns],
            boundary: Some("arn:aws:iam::aws:policy/Most".to_owned()),
            role_name: Some("r".to_owned()),
            role_path: Some("/p/".to_owned()),
            subject_pattern: Some("app-*".to_owned()),
        }
    }

    fn told_of(template: &Value) -> Option<(String, Vec<String>)> {
        let tags = [("team", "web"), (tags::CLUSTER, "c")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let stack =
            Told { service_account: ("web", "app"), name: "s", template, tags: &tags, protected: true, cfn_role: None };
        told(Command::new("create"), stack).map(|(command, lost)| (command.to_string(), lost))
    }

    #[test]
    fn all_that_create_can_make_is_told_in_flags() {
        let expected = "create --attach-policy-arn arn:aws:iam::aws:policy/A,arn:aws:iam::aws:policy/B \
             --well-known-policy externalDNS --attach-policy '{\"Version\":\"2012-10-17\",\"Statement\":[]}' \
             --permissions-boundary arn:aws:iam::aws:policy/Most --role-name r --role-path /p/ \
             --subject-pattern 'app-*' --tags team=web --termination-protection";
        assert_eq!(told_of(&template(&role(), "s")), Some((expected.to_owned(), vec![])));
        let known = RoleSpec { inline: None, well_known: vec![WellKnown::EbsCsiController], ..role() };
        assert_eq!(told_of(&template(&known, "s")).unwrap().1, [""; 0], "by the ARN of AWS's own policy");
    }

    #[test]
    fn what_no_flag_says_is_named() {
        let mut made = template(&role(), "s");
        made["Resources"]["Role1"]["Properties"]["MaxSessionDuration"] = json!(7200);
        assert_eq!(told_of(&made).unwrap().1, ["/Resources/Role1/Properties/MaxSessionDuration"]);
        made["Resources"]["Role1"]["Properties"]["AssumeRolePolicyDocument"] = json!({});
        assert_eq!(told_of(&made), None);
    }
}
