//! Stacks and change sets.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::retry::RetryConfig;
use aws_sdk_cloudformation::types::{Capability, ChangeSetStatus, ChangeSetType, ExecutionStatus, Tag, TemplateStage};
use aws_smithy_types::DateTime;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tracing::debug;

use super::error::{Prose, Refused, prose};
use super::{Aws, found};
use crate::error::{Error, ErrorCode, Result};
use crate::stack::events::Event;

/// A stack as CloudFormation describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// Its ARN; a stack that is deleted and made again gets another one.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `CREATE_COMPLETE`, `ROLLBACK_IN_PROGRESS`, …
    pub status: String,
    /// Why it is in that status.
    pub reason: Option<String>,
    /// Its tags, in AWS's order.
    pub tags: Vec<(String, String)>,
    /// Its outputs.
    pub outputs: BTreeMap<String, String>,
    /// `CAPABILITY_IAM`, `CAPABILITY_NAMED_IAM`.
    pub capabilities: Vec<String>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// When it was last changed, in seconds since 1970.
    pub updated: Option<i64>,
    /// True while termination protection is on.
    pub protected: bool,
    /// The service role that CloudFormation works with, if not with the caller's rights.
    pub role_arn: Option<String>,
}

/// A stack to create.
#[derive(Clone, Debug)]
pub struct NewStack {
    /// Its name.
    pub name: String,
    /// Its template.
    pub template: Value,
    /// Its tags, which its role gets too.
    pub tags: Vec<(String, String)>,
    /// True where the template names a role: `CAPABILITY_NAMED_IAM`, else `CAPABILITY_IAM`.
    pub named_capability: bool,
    /// Termination protection.
    pub protected: bool,
    /// The service role that CloudFormation works with.
    pub role_arn: Option<String>,
    /// Leaves what was made when something fails.
    pub disable_rollback: bool,
}

/// A change of a stack.
#[derive(Clone, Debug)]
pub struct StackChange {
    /// Name or id of the stack.
    pub name: String,
    /// Its whole new template.
    pub template: Value,
    /// All its tags from now on.
    pub tags: Vec<(String, String)>,
    /// Capabilities that the stack has.
    pub capabilities: Vec<String>,
    /// True where the template names a role.
    pub named_capability: bool,
    /// The service role that CloudFormation works with.
    pub role_arn: Option<String>,
    /// What the change is for; shown in the console.
    pub description: String,
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is under way.
    Yes(Operation),
    /// Nothing differs; no trace is left.
    No,
}

/// What is being done with a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `CreateStack`
    Create,
    /// `ExecuteChangeSet`
    Update,
    /// `DeleteStack`
    Delete,
    /// `ContinueUpdateRollback`
    ContinueRollback,
    /// Somebody else's operation, to be waited for only.
    Other,
}

/// An operation under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Id of the stack.
    pub id: String,
    /// Name of the stack.
    pub name: String,
    /// What is being done.
    pub action: Action,
    /// Marks the events of this operation.
    pub token: Option<String>,
}

impl Aws {
    /// A stack by name or id. Deleted ones are found by id only.
    pub async fn stack(&self, name: &str) -> Result<Option<Stack>> {
        let request = self.cloudformation().describe_stacks().stack_name(name);
        let answer = found(self.send("cloudformation:DescribeStacks", name, request.send()).await)?;
        Ok(answer.and_then(|answer| answer.stacks).and_then(|stacks| stacks.into_iter().next()).map(Stack::from))
    }

    /// All stacks of the region, deleted ones excepted, with tags and outputs: one call per page, none per stack.
    pub async fn stacks(&self) -> Result<Vec<Stack>> {
        self.list_stacks().await.map_err(Into::into)
    }

    pub(super) async fn list_stacks(&self) -> Result<Vec<Stack>, Refused> {
        let mut stacks = Vec::new();
        let mut pages = self.cloudformation().describe_stacks().into_paginator().send();
        while let Some(page) = self.page("cloudformation:DescribeStacks", "", pages.next()).await? {
            stacks.extend(page.stacks.unwrap_or_default().into_iter().map(Stack::from));
        }
        Ok(stacks)
    }

    /// The template of a stack, as its maker wrote it.
    ///
    /// # Errors
    /// `Aws` where it is neither JSON nor YAML.
    pub async fn template(&self, stack: &str) -> Result<Option<Value>> {
        let request = self.cloudformation().get_template().stack_name(stack).template_stage(TemplateStage::Original);
        let answer = found(self.send("cloudformation:GetTemplate", stack, request.send()).await)?;
        let body = answer.and_then(|answer| answer.template_body);
        body.map(|body| read_template(stack, &body)).transpose()
    }

    /// Starts the creation of a stack.
    ///
    /// # Errors
    /// `AlreadyExists` when a stack of this name exists that this call didn't make.
    pub async fn create_stack(&self, stack: &NewStack) -> Result<Operation> {
        let token = token(&stack.name);
        let request = self
            .cloudformation()
            .create_stack()
            .stack_name(&stack.name)
            .template_body(stack.template.to_string())
            .set_tags(Some(tags(&stack.tags)))
            .capabilities(capability(stack.named_capability))
            .enable_termination_protection(stack.protected)
            .disable_rollback(stack.disable_rollback)
            .set_role_arn(stack.role_arn.clone())
            .client_request_token(&token);
        let call = async || {
            self.send(
                "cloudformation:CreateStack",
                &stack.name,
                request.clone().customize().config_override(once()).send(),
            )
            .await
        };
        let id = match self.paced(call).await {
            Ok(answer) => answer.stack_id.unwrap_or_else(|| stack.name.clone()),
            Err(refused) if refused.is_taken() => self.stack_made_before(&stack.name, &token, refused).await?,
            Err(refused) => return Err(refused.into()),
        };
        Ok(Operation { id, name: stack.name.clone(), action: Action::Create, token: Some(token) })
    }

    /// The retry of a lost reply finds the stack that the first attempt made: its events carry our token.
    async fn stack_made_before(&self, name: &str, token: &str, refused: Refused) -> Result<String> {
        let ours = |event: &Event| event.token.as_deref() == Some(token);
        let stack = self.stack(name).await?;
        let Some(stack) = stack else { return Err(refused.into()) };
        if self.events(&stack.id, Some(token)).await?.iter().any(ours) {
            return Ok(stack.id);
        }
        let hint = format!(
            "see what it is: aws cloudformation describe-stacks --stack-name {name} --region {}",
            self.region()
        );
        Err(refused.recoded(ErrorCode::AlreadyExists, hint))
    }

    /// Changes a stack through a change set, which is executed, or removed where it is empty or fails.
    ///
    /// # Errors
    /// `StackFailed` with CloudFormation's reason when the change set can't be made, `Conflict` where another change came
    /// first.
    pub async fn change_stack(&self, change: &StackChange) -> Result<Changed> {
        let token = token(&change.name);
        let name = token.clone();
        let stack_id = match self.create_change_set(change, &name).await {
            Ok(stack_id) => stack_id.unwrap_or_else(|| change.name.clone()),
            Err(refused) if prose(&refused.code, &refused.said) == Some(Prose::NothingToDo) => return Ok(Changed::No),
            // Only the retry of a lost reply can find a change set of this name.
            Err(refused) if refused.is_taken() => change.name.clone(),
            Err(refused) => return Err(overtaken(refused)),
        };
        let ready = self.change_set_ready(&stack_id, &name).await;
        let executed = match ready {
            Ok(true) => self.execute_change_set(&stack_id, &name).await,
            Ok(false) => {
                self.remove_change_set(&stack_id, &name).await?;
                return Ok(Changed::No);
            }
            Err(error) => Err(error),
        };
        if let Err(error) = executed {
            if let Err(left) = self.remove_change_set(&stack_id, &name).await {
                debug!("a change set stays behind: {left}");
            }
            return Err(error);
        }
        let stack_name = stack_name(&stack_id).to_owned();
        Ok(Changed::Yes(Operation { id: stack_id, name: stack_name, action: Action::Update, token: Some(token) }))
    }

    async fn create_change_set(&self, change: &StackChange, name: &str) -> Result<Option<String>, Refused> {
        let mut capabilities: Vec<_> = change.capabilities.iter().map(|c| Capability::from(c.as_str())).collect();
        let needed = capability(change.named_capability);
        if !capabilities.contains(&needed) && !capabilities.contains(&Capability::CapabilityNamedIam) {
            capabilities.push(needed);
        }
        let description = Some(change.description.clone()).filter(|text| !text.is_empty());
        let request = self
            .cloudformation()
            .create_change_set()
            .stack_name(&change.name)
            .change_set_name(name)
            .change_set_type(ChangeSetType::Update)
            .set_description(description)
            .template_body(change.template.to_string())
            .set_tags(Some(tags(&change.tags)))
            .set_capabilities(Some(capabilities))
            .set_role_arn(change.role_arn.clone())
            .client_token(name);
        let call = async || {
            self.send(
                "cloudformation:CreateChangeSet",
                &change.name,
                request.clone().customize().config_override(once()).send(),
            )
            .await
        };
        Ok(self.paced(call).await?.stack_id)
    }

    /// Waits for a change set; false where it holds no change.
    async fn change_set_ready(&self, stack: &str, name: &str) -> Result<bool> {
        for pause in pauses() {
            let request = self.cloudformation().describe_change_set().stack_name(stack).change_set_name(name);
            let answer = self.send("cloudformation:DescribeChangeSet", stack_name(stack), request.send()).await;
            let set = answer.map_err(overtaken)?;
            let reason = set.status_reason.unwrap_or_default();
            match set.status {
                Some(ChangeSetStatus::CreateComplete) => return Ok(true),
                Some(ChangeSetStatus::Failed) if prose("", &reason) == Some(Prose::NothingToDo) => return Ok(false),
                Some(ChangeSetStatus::Failed) => {
                    let message = format!("stack {} can't be changed", stack_name(stack));
                    return Err(Error::new(ErrorCode::StackFailed, message).cause(reason));
                }
                _ => self.wait().pause(pause).await?,
            }
        }
        Err(Error::new(ErrorCode::Internal, "the pauses came to an end"))
    }

    async fn execute_change_set(&self, stack: &str, name: &str) -> Result<()> {
        let request = self
            .cloudformation()
            .execute_change_set()
            .stack_name(stack)
            .change_set_name(name)
            .client_request_token(name);
        let call = async || {
            self.send(
                "cloudformation:ExecuteChangeSet",
                stack_name(stack),
                request.clone().customize().config_override(once()).send(),
            )
            .await
        };
        let Err(refused) = self.paced(call).await else { return Ok(()) };
        if is_overtaken(&refused) {
            // The retry of a lost reply finds the change set under way.
            let request = self.cloudformation().describe_change_set().stack_name(stack).change_set_name(name);
            let answer = self.send("cloudformation:DescribeChangeSet", stack_name(stack), request.send()).await;
            let begun = [ExecutionStatus::ExecuteInProgress, ExecutionStatus::ExecuteComplete];
            let status = found(answer)?.and_then(|set| set.execution_status);
            if status.is_some_and(|status| begun.contains(&status)) {
                return Ok(());
            }
        }
        Err(overtaken(refused))
    }

    /// Change sets that stay behind pile up until none can be made; done even after an interrupt.
    async fn remove_change_set(&self, stack: &str, name: &str) -> Result<()> {
        let request = self.cloudformation().delete_change_set().stack_name(stack).change_set_name(name);
        self.send_anyway("cloudformation:DeleteChangeSet", stack_name(stack), request.send()).await?;
        Ok(())
    }

    /// Starts the deletion of a stack; one that is gone is no error.
    ///
    /// # Errors
    /// `StackFailed` while termination protection is on.
    pub async fn delete_stack(&self, id: &str, role_arn: Option<&str>) -> Result<Operation> {
        let token = token(id);
        let request = self
            .cloudformation()
            .delete_stack()
            .stack_name(id)
            .set_role_arn(role_arn.map(str::to_owned))
            .client_request_token(&token);
        let name = stack_name(id);
        let call = async || {
            self.send("cloudformation:DeleteStack", name, request.clone().customize().config_override(once()).send())
                .await
        };
        if let Err(refused) = self.paced(call).await {
            if prose(&refused.code, &refused.said) == Some(Prose::Protected) {
                let hint = format!(
                    "aws cloudformation update-termination-protection --no-enable-termination-protection \
                    --stack-name {name} --region {}",
                    self.region()
                );
                return Err(refused.recoded(ErrorCode::StackFailed, hint));
            }
            if !refused.is_absent() {
                return Err(refused.into());
            }
        }
        Ok(Operation { id: id.to_owned(), name: name.to_owned(), action: Action::Delete, token: Some(token) })
    }

    /// Puts a stack's termination protection on, or takes it off.
    pub async fn set_protection(&self, name: &str, on: bool) -> Result<()> {
        let request =
            self.cloudformation().update_termination_protection().stack_name(name).enable_termination_protection(on);
        self.send("cloudformation:UpdateTerminationProtection", stack_name(name), request.send()).await?;
        Ok(())
    }

    /// Goes on with a rollback that failed (`UPDATE_ROLLBACK_FAILED`).
    pub async fn continue_rollback(&self, id: &str, role_arn: Option<&str>) -> Result<Operation> {
        let token = token(id);
        let request = self
            .cloudformation()
            .continue_update_rollback()
            .stack_name(id)
            .set_role_arn(role_arn.map(str::to_owned))
            .client_request_token(&token);
        let name = stack_name(id);
        self.send("cloudformation:ContinueUpdateRollback", name, request.send()).await?;
        Ok(Operation { id: id.to_owned(), name: name.to_owned(), action: Action::ContinueRollback, token: Some(token) })
    }

    /// Events of a stack, newest first: those of one operation where a token is given, else all of them. No page
    /// older than that operation is fetched.
    pub async fn events(&self, stack: &str, token: Option<&str>) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        let mut pages = self.cloudformation().describe_stack_events().stack_name(stack).into_paginator().send();
        let name = stack_name(stack);
        while let Some(page) = self.page("cloudformation:DescribeStackEvents", name, pages.next()).await? {
            let page: Vec<_> = page.stack_events.unwrap_or_default().into_iter().map(event).collect();
            let Some(token) = token else {
                events.extend(page);
                continue;
            };
            let ours = |event: &Event| event.token.as_deref() == Some(token);
            let older = page.last().is_some_and(|last| !ours(last));
            let any = page.iter().any(ours);
            events.extend(page.into_iter().filter(ours));
            if older && (any || !events.is_empty()) {
                break;
            }
        }
        Ok(events)
    }
}

/// True where another operation on the stack came first: it takes all other change sets with it.
fn is_overtaken(refused: &Refused) -> bool {
    let change_set = ["ChangeSetNotFound", "InvalidChangeSetStatus"];
    change_set.iter().any(|code| refused.code.trim_end_matches("Exception") == *code)
        || prose(&refused.code, &refused.said) == Some(Prose::Busy)
}

fn overtaken(refused: Refused) -> Box<Error> {
    if is_overtaken(&refused) {
        let hint = "another run or tool changes the stack: run the same command again, which plans anew";
        return refused.recoded(ErrorCode::Conflict, hint);
    }
    refused.into()
}

impl AsRef<Self> for Stack {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl From<aws_sdk_cloudformation::types::Stack> for Stack {
    fn from(stack: aws_sdk_cloudformation::types::Stack) -> Self {
        let outputs = stack.outputs.unwrap_or_default().into_iter();
        let tags = stack.tags.unwrap_or_default().into_iter();
        let capabilities = stack.capabilities.unwrap_or_default().into_iter();
        Self {
            name: stack.stack_name.unwrap_or_default(),
            id: stack.stack_id.unwrap_or_default(),
            status: stack.stack_status.map(|status| status.as_str().to_owned()).unwrap_or_default(),
            reason: stack.stack_status_reason,
            tags: tags.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())).collect(),
            outputs: outputs.filter_map(|output| Some((output.output_key?, output.output_value?))).collect(),
            capabilities: capabilities.map(|capability| capability.as_str().to_owned()).collect(),
            created: stack.creation_time.as_ref().map(DateTime::secs).unwrap_or_default(),
            updated: stack.last_updated_time.as_ref().map(DateTime::secs),
            protected: stack.enable_termination_protection.unwrap_or_default(),
            role_arn: stack.role_arn,
        }
    }
}

fn event(event: aws_sdk_cloudformation::types::StackEvent) -> Event {
    Event {
        logical_id: event.logical_resource_id.unwrap_or_default(),
        resource_type: event.resource_type.unwrap_or_default(),
        status: event.resource_status.map(|status| status.as_str().to_owned()).unwrap_or_default(),
        reason: event.resource_status_reason,
        token: event.client_request_token,
        time: event.timestamp.as_ref().map(timestamp).unwrap_or_default(),
    }
}

fn timestamp(time: &DateTime) -> Timestamp {
    let nanos = i32::try_from(time.subsec_nanos()).unwrap_or_default();
    Timestamp::new(time.secs(), nanos).unwrap_or_default()
}

/// The name in a stack's id (`arn:…:stack/NAME/UUID`), or the name itself.
pub fn stack_name(id: &str) -> &str {
    match id.split_once(":stack/") {
        Some((_, rest)) => rest.split('/').next().unwrap_or(rest),
        None => id,
    }
}

/// For the calls that [`Aws::paced`] repeats: the SDK makes them once.
fn once() -> aws_sdk_cloudformation::config::Builder {
    aws_sdk_cloudformation::config::Builder::new().retry_config(RetryConfig::disabled())
}

/// Pauses between polls: quick at first, then half a second, so that no more than that is lost; an update waits twice.
pub(super) fn pauses() -> impl Iterator<Item = Duration> {
    [20, 80, 150, 300].into_iter().chain(std::iter::repeat(500)).map(Duration::from_millis)
}

/// Marks one call, all its retries included: CloudFormation then does it once, and its events carry the mark.
/// Also the name of a change set, so it begins with a letter.
fn token(object: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let digest = Sha256::digest(format!("{object}\n{now}\n{}", std::process::id()));
    digest.iter().take(12).fold("irsactl-".to_owned(), |token, byte| format!("{token}{byte:02x}"))
}

fn capability(named: bool) -> Capability {
    if named { Capability::CapabilityNamedIam } else { Capability::CapabilityIam }
}

fn tags(tags: &[(String, String)]) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// A template's body as JSON.
fn read_template(stack: &str, body: &str) -> Result<Value> {
    crate::stack::template::parse(body).map_err(|reason| {
        Error::new(ErrorCode::Aws, format!("the template of stack {} can't be read", stack_name(stack))).cause(reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_in_an_id() {
        let id = "arn:aws:cloudformation:us-west-2:123456789012:stack/eksctl-demo-addon-x/0a1b";
        assert_eq!(stack_name(id), "eksctl-demo-addon-x");
        assert_eq!(stack_name("eksctl-demo-addon-x"), "eksctl-demo-addon-x");
    }

    #[test]
    fn tokens_are_valid_names_and_differ() {
        let (one, other) = (token("x"), token("x"));
        assert_ne!(one, other);
        assert!(one.len() <= 128 && one.starts_with("irsactl-"));
    }

    #[test]
    fn polls_lose_less_than_a_second() {
        assert!(pauses().take(50).all(|pause| pause < Duration::from_secs(1)));
    }
}
