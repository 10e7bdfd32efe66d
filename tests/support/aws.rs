//! AWS with all rights, for what a test sets up and looks at.

use std::collections::BTreeMap;

use aws_sdk_cloudformation::types::{Capability, Stack, Tag};
use aws_sdk_route53::types::{Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType};
use serde_json::{Value, json};

use super::{RUNTIME, Sandbox, until};

/// An AWS managed policy.
pub const S3: &str = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";

/// The zone example.com.
pub const PUBLIC_ZONE: &str = "Z0421873X5K9QJ2VH7RW";

/// Runs a call to its end.
pub fn wait<T>(call: impl Future<Output = T>) -> T {
    RUNTIME.block_on(call)
}

/// A stack that others make.
pub struct NewStack<'a> {
    pub name: &'a str,
    pub template: &'a Value,
    pub tags: &'a [(&'a str, &'a str)],
    pub protected: bool,
}

impl Sandbox {
    /// IAM as the administrator.
    pub fn iam(&self) -> aws_sdk_iam::Client {
        aws_sdk_iam::Client::new(&self.aws())
    }

    /// CloudFormation as the administrator.
    pub fn cloudformation(&self) -> aws_sdk_cloudformation::Client {
        aws_sdk_cloudformation::Client::new(&self.aws())
    }

    /// A stack by name or id.
    pub fn stack(&self, name: &str) -> Option<Stack> {
        let answer = wait(self.cloudformation().describe_stacks().stack_name(name).send());
        answer.ok().and_then(|answer| answer.stacks.unwrap_or_default().into_iter().next())
    }

    /// The status of a stack; `gone` where there is none.
    pub fn stack_status(&self, name: &str) -> String {
        let status = self.stack(name).and_then(|stack| stack.stack_status);
        status.map_or("gone".to_owned(), |status| status.as_str().to_owned())
    }

    /// Creates a stack, and waits until CloudFormation is done with it, whatever came of it.
    pub fn create_stack(&self, stack: &NewStack<'_>) {
        let tags = stack.tags.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build());
        let request = self
            .cloudformation()
            .create_stack()
            .stack_name(stack.name)
            .template_body(stack.template.to_string())
            .set_tags(Some(tags.collect()))
            .enable_termination_protection(stack.protected)
            .capabilities(Capability::CapabilityNamedIam);
        wait(request.send()).unwrap();
        until("the stack is done", || (!self.stack_status(stack.name).ends_with("_IN_PROGRESS")).then_some(()));
    }

    /// How many change sets a stack has that were never executed.
    pub fn change_sets(&self, stack: &str) -> usize {
        let answer = wait(self.cloudformation().list_change_sets().stack_name(stack).send()).unwrap();
        let executed = |status: &str| status.starts_with("EXECUTE_");
        let sets = answer.summaries().iter().map(|set| set.execution_status().map_or("", |status| status.as_str()));
        sets.filter(|status| !executed(status)).count()
    }

    /// Names of the managed policies of a role.
    pub fn attached(&self, role: &str) -> Vec<String> {
        let answer = wait(self.iam().list_attached_role_policies().role_name(role).send()).unwrap();
        let policies = answer.attached_policies.unwrap_or_default().into_iter();
        policies.map(|policy| policy.policy_name.unwrap_or_default()).collect()
    }

    /// True where a role exists.
    pub fn has_role(&self, name: &str) -> bool {
        wait(self.iam().get_role().role_name(name).send()).is_ok()
    }

    /// True where a policy of this account exists.
    pub fn has_policy(&self, name: &str) -> bool {
        wait(self.iam().get_policy().policy_arn(policy_arn(name)).send()).is_ok()
    }

    /// Creates a policy that allows listing buckets, and gives its ARN.
    pub fn create_policy(&self, name: &str) -> String {
        let document = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"},
        ]});
        wait(self.iam().create_policy().policy_name(name).policy_document(document.to_string()).send()).unwrap();
        policy_arn(name)
    }

    /// Creates a role that EC2 may assume.
    pub fn create_role(&self, name: &str) {
        let trust = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
        ]});
        self.create_role_trusting(name, &trust);
    }

    /// Creates a role with this trust policy.
    pub fn create_role_trusting(&self, name: &str, trust: &Value) {
        let request = self.iam().create_role().role_name(name).assume_role_policy_document(trust.to_string());
        wait(request.send()).unwrap();
    }

    /// Detaches a policy from a role.
    pub fn detach(&self, role: &str, arn: &str) {
        wait(self.iam().detach_role_policy().role_name(role).policy_arn(arn).send()).unwrap();
    }

    /// Attaches a policy to a role.
    pub fn attach(&self, role: &str, arn: &str) {
        wait(self.iam().attach_role_policy().role_name(role).policy_arn(arn).send()).unwrap();
    }
}

/// The tags of a stack.
pub fn tags(stack: &Stack) -> BTreeMap<&str, &str> {
    stack.tags().iter().filter_map(|tag| Some((tag.key()?, tag.value()?))).collect()
}

/// The role of a service account's stack, as its ARN.
pub fn role_arn(stack: &Stack) -> &str {
    stack.outputs().iter().find(|output| output.output_key() == Some("Role1")).and_then(|o| o.output_value()).unwrap()
}

/// The name at the end of an ARN.
pub fn name_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap()
}

/// The ARN of a policy of the sandbox's account.
pub fn policy_arn(name: &str) -> String {
    format!("arn:aws:iam::123456789012:policy/{name}")
}

/// Changes the zone example.com as a person would.
pub fn change(sandbox: &Sandbox, batch: &Value) {
    change_in(sandbox, PUBLIC_ZONE, batch);
}

/// Changes a zone as `aws route53 change-resource-record-sets --change-batch` would.
pub fn change_in(sandbox: &Sandbox, zone: &str, batch: &Value) {
    let changes = batch["Changes"].as_array().unwrap().iter().map(|change| {
        let set = &change["ResourceRecordSet"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let values = set["ResourceRecords"].as_array().map(|records| {
            records
                .iter()
                .map(|r| ResourceRecord::builder().value(text(&r["Value"]).unwrap()).build().unwrap())
                .collect()
        });
        let alias = set.get("AliasTarget").map(|alias| {
            aws_sdk_route53::types::AliasTarget::builder()
                .hosted_zone_id(text(&alias["HostedZoneId"]).unwrap())
                .dns_name(text(&alias["DNSName"]).unwrap())
                .evaluate_target_health(alias["EvaluateTargetHealth"].as_bool().unwrap())
                .build()
                .unwrap()
        });
        let set = ResourceRecordSet::builder()
            .name(text(&set["Name"]).unwrap())
            .r#type(RrType::from(text(&set["Type"]).unwrap().as_str()))
            .set_set_identifier(text(&set["SetIdentifier"]))
            .set_weight(set["Weight"].as_i64())
            .set_ttl(set["TTL"].as_i64())
            .set_resource_records(values)
            .set_alias_target(alias)
            .build()
            .unwrap();
        let action = ChangeAction::from(text(&change["Action"]).unwrap().as_str());
        Change::builder().action(action).resource_record_set(set).build().unwrap()
    });
    let batch = ChangeBatch::builder().set_changes(Some(changes.collect())).build().unwrap();
    let route53 = aws_sdk_route53::Client::new(&sandbox.aws());
    wait(route53.change_resource_record_sets().hosted_zone_id(zone).change_batch(batch).send()).unwrap();
}
