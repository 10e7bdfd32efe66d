//! Steps of stacks.

use serde_json::Value;

use super::Tools;
use crate::aws::cloudformation::{Action, Changed, NewStack, Operation, Stack, StackChange};
use crate::error::{Error, ErrorCode, Result};
use crate::iam::arn::Arn;
use crate::plan::iamserviceaccount::{ROLE_OUTPUT, mends};
use crate::plan::{Op, Settle, StackSpec};
use crate::stack::tags;
use crate::stack::template::{differences, needs_named_capability};
use crate::ui::Task;

pub(super) async fn run(op: &Op, tools: &Tools<'_>, task: &Task) -> Result<()> {
    match op {
        Op::CreateStack { stack, forerunner } => {
            if let Some(id) = forerunner {
                wait(&operation(id, &stack.name, Action::Delete), tools, task).await?;
            }
            create(stack, tools, task).await
        }
        Op::ReplaceStack { stack, id, unprotect, first } => {
            settle(*first, id, &stack.name, stack.cfn.role_arn.as_deref(), tools, task).await?;
            let role = stack.cfn.role_arn.as_deref();
            wait(&delete(id, *unprotect, role, tools).await?, tools, task).await?;
            create(stack, tools, task).await
        }
        Op::WaitForStack { stack, id, action, template } => {
            let found = wait(&operation(id, &stack.name, *action), tools, task).await?;
            converge(stack, found, Some(template), tools, task).await
        }
        Op::ChangeStack { stack, id, first } => {
            settle(*first, id, &stack.name, stack.cfn.role_arn.as_deref(), tools, task).await?;
            change(stack, id, tools, task).await
        }
        Op::ProtectStack { name } => tools.aws.set_protection(name, true).await,
        Op::DeleteStack { name, id, unprotect, detach, wait: until_gone, role_arn, first } => {
            settle(*first, id, name, role_arn.as_deref(), tools, task).await?;
            for (role, policy) in detach {
                tools.aws.detach_policy(role, policy).await?;
            }
            let operation = delete(id, *unprotect, role_arn.as_deref(), tools).await?;
            if *until_gone { wait(&operation, tools, task).await.map(drop) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

fn operation(id: &str, name: &str, action: Action) -> Operation {
    Operation { id: id.to_owned(), name: name.to_owned(), action, token: None }
}

async fn wait(operation: &Operation, tools: &Tools<'_>, task: &Task) -> Result<Option<Stack>> {
    let _idle = tools.waiting.enter();
    tools.aws.wait_stack(operation, |stack| task.detail(&stack.status)).await
}

async fn create(spec: &StackSpec, tools: &Tools<'_>, task: &Task) -> Result<()> {
    let new = NewStack {
        name: spec.name.clone(),
        template: spec.template.clone(),
        tags: spec.tags.clone(),
        named_capability: needs_named_capability(&spec.template),
        protected: spec.protected,
        role_arn: spec.cfn.role_arn.clone(),
        disable_rollback: spec.cfn.disable_rollback,
    };
    let operation = match tools.aws.create_stack(&new).await {
        Err(error) if error.code == ErrorCode::AlreadyExists => return join(spec, error, tools, task).await,
        created => created?,
    };
    let stack = wait(&operation, tools, task).await?;
    keep_role(spec, stack.as_ref(), tools).map(drop)
}

/// Another run for the same service account was quicker: its stack is waited for, and changed where it differs.
async fn join(spec: &StackSpec, error: Box<Error>, tools: &Tools<'_>, task: &Task) -> Result<()> {
    let Some(stack) = tools.aws.stack(&spec.name).await? else { return Err(error) };
    let owner = |tags| tags::owner(tags).map(|(namespace, name)| format!("{namespace}/{name}"));
    let same = tags::cluster(&stack.tags) == tags::cluster(&spec.tags);
    if !same || owner(&stack.tags).as_deref() != Some(spec.service_account.as_str()) {
        return Err(error);
    }
    let operation = Operation { action: Action::Create, ..Operation::of_others(&stack) };
    let stack = wait(&operation, tools, task).await?;
    converge(spec, stack, None, tools, task).await
}

/// Brings a stack that another run was working on to what this one wants. What was taken over from the stack as it was
/// `read` holds only if it is still so.
async fn converge(
    spec: &StackSpec,
    stack: Option<Stack>,
    read: Option<&Value>,
    tools: &Tools<'_>,
    task: &Task,
) -> Result<()> {
    let Some(found) = stack else { return finish(spec, None, tools).await };
    let template = tools.aws.template(&found.id).await?.unwrap_or_default();
    if !spec.whole && read.is_some_and(|read| !differences(read, &template).is_empty()) {
        let message = format!("stack {} was changed by another run while this one waited for it", spec.name);
        return Err(Error::new(ErrorCode::Conflict, message).hint("run the same command again: it plans anew"));
    }
    let tags = tags::differences(&found.tags, &spec.tags_on(&found.tags));
    if differences(&template, &spec.template).is_empty() && tags.is_empty() {
        return finish(spec, Some(found), tools).await;
    }
    change(spec, &found.id, tools, task).await
}

async fn settle(
    first: Settle,
    id: &str,
    name: &str,
    role_arn: Option<&str>,
    tools: &Tools<'_>,
    task: &Task,
) -> Result<()> {
    let operation = match first {
        Settle::Nothing => return Ok(()),
        Settle::Wait => operation(id, name, Action::Other),
        Settle::ContinueRollback => tools.aws.continue_rollback(id, role_arn).await?,
    };
    wait(&operation, tools, task).await.map(drop)
}

async fn change(spec: &StackSpec, id: &str, tools: &Tools<'_>, task: &Task) -> Result<()> {
    let before = tools.aws.stack(id).await?;
    let change = StackChange {
        name: id.to_owned(),
        template: spec.template.clone(),
        tags: spec.tags_on(before.as_ref().map_or(&[], |stack| &stack.tags)),
        capabilities: before.as_ref().map(|stack| stack.capabilities.clone()).unwrap_or_default(),
        named_capability: needs_named_capability(&spec.template),
        role_arn: spec.cfn.role_arn.clone(),
        description: format!("updating iamserviceaccount {}", spec.service_account),
    };
    let unprotected = before.as_ref().is_some_and(|stack| !stack.protected);
    let changed = match tools.aws.change_stack(&change).await {
        Ok(Changed::Yes(operation)) => wait(&operation, tools, task).await?,
        Ok(Changed::No) => before,
        Err(error) if error.code == ErrorCode::Conflict => changed_by_others(spec, id, error, tools, task).await?,
        Err(error) => return Err(error),
    };
    if spec.protected && unprotected {
        tools.aws.set_protection(id, true).await?;
    }
    finish(spec, changed, tools).await
}

/// Another run's change came first: it is waited for, and is as good as this one's where it comes to the same.
async fn changed_by_others(
    spec: &StackSpec,
    id: &str,
    error: Box<Error>,
    tools: &Tools<'_>,
    task: &Task,
) -> Result<Option<Stack>> {
    let Some(found) = wait(&operation(id, &spec.name, Action::Other), tools, task).await? else { return Err(error) };
    let template = tools.aws.template(id).await?.unwrap_or_default();
    let tags = tags::differences(&found.tags, &spec.tags_on(&found.tags));
    let same = differences(&template, &spec.template).is_empty() && tags.is_empty();
    if same && found.status == "UPDATE_COMPLETE" { Ok(Some(found)) } else { Err(error) }
}

/// What was changed behind CloudFormation's back is mended, too: an update that doesn't touch it leaves it.
async fn finish(spec: &StackSpec, stack: Option<Stack>, tools: &Tools<'_>) -> Result<()> {
    let role = keep_role(spec, stack.as_ref(), tools)?;
    let inline: Vec<_> = spec.inline.keys().cloned().collect();
    let Some(found) = tools.aws.role_with_policies(role.name(), &inline).await? else { return Ok(()) };
    for step in mends(spec, &found) {
        match &step.op {
            Op::SetTrust { role, document } => tools.aws.set_trust(role, document).await?,
            Op::SetBoundary { role, boundary } => tools.aws.set_boundary(role, boundary.as_deref()).await?,
            Op::SetInlinePolicy { role, name, document } => tools.aws.put_inline_policy(role, name, document).await?,
            Op::AttachPolicy { role, policy } => tools.aws.attach_policy(role, policy).await?,
            _ => {}
        }
    }
    Ok(())
}

/// Remembers the stack's role for the steps that come after.
fn keep_role(spec: &StackSpec, stack: Option<&Stack>, tools: &Tools<'_>) -> Result<Arn> {
    let output = stack.and_then(|stack| stack.outputs.get(ROLE_OUTPUT));
    let missing = || Error::new(ErrorCode::StackFailed, format!("stack {} has no output {ROLE_OUTPUT}", spec.name));
    let text = output.ok_or_else(missing)?;
    let arn = text.parse().map_err(|e: String| missing().cause(e))?;
    tools.set_role(&spec.name, text.clone());
    Ok(arn)
}

/// Begins the deletion of a stack.
async fn delete(id: &str, unprotect: bool, role_arn: Option<&str>, tools: &Tools<'_>) -> Result<Operation> {
    if unprotect {
        tools.aws.set_protection(id, false).await?;
    }
    tools.aws.delete_stack(id, role_arn).await
}
