//! Steps of stacks.

use serde_json::Value;

use super::Tools;
use crate::aws::cloudformation::{Action, Changed, NewStack, Operation, Stack, StackChange, stack_name};
use crate::error::{Error, ErrorCode, Result};
use crate::iam::arn::Arn;
use crate::plan::iamserviceaccount::{ROLE_OUTPUT, check_ours, mends};
use crate::plan::{Op, Settle, StackSpec};
use crate::stack::status::Health;
use crate::stack::tags;
use crate::stack::template::needs_named_capability;
use crate::ui::Task;

pub(super) async fn run(op: &Op, tools: &Tools<'_>, task: &Task) -> Result<()> {
    match op {
        Op::CreateStack { stack, forerunner } => {
            if let Some(id) = forerunner {
                wait(&operation(id, Action::Delete), tools, task).await?;
            }
            create(stack, tools, task).await
        }
        Op::ReplaceStack { stack, id, unprotect, first } => {
            let role_arn = stack.cfn.role_arn.as_deref();
            settle(*first, id, role_arn, tools, task).await?;
            delete(id, *unprotect, role_arn, true, tools, task).await?;
            create(stack, tools, task).await
        }
        Op::ChangeStack { stack, id, first } => {
            settle(*first, id, stack.cfn.role_arn.as_deref(), tools, task).await?;
            converge(stack, id, tools, task).await
        }
        Op::ProtectStack { name } => tools.aws.set_protection(name, true).await,
        Op::DeleteStack { name: _, id, unprotect, detach, wait, role_arn, first } => {
            let role_arn = role_arn.as_deref();
            settle(*first, id, role_arn, tools, task).await?;
            for (role, policy) in detach {
                tools.aws.detach_policy(role, policy).await?;
            }
            delete(id, *unprotect, role_arn, *wait, tools, task).await
        }
        _ => Ok(()),
    }
}

fn operation(id: &str, action: Action) -> Operation {
    Operation { id: id.to_owned(), name: stack_name(id).to_owned(), action, token: None }
}

async fn wait(operation: &Operation, tools: &Tools<'_>, task: &Task) -> Result<Option<Stack>> {
    let _idle = tools.waiting.enter();
    tools.aws.wait_stack(operation, |stack| task.detail(&stack.status)).await
}

/// Waits for what the stack needs before it takes another operation.
async fn settle(first: Settle, id: &str, role_arn: Option<&str>, tools: &Tools<'_>, task: &Task) -> Result<()> {
    let operation = match first {
        Settle::Nothing => return Ok(()),
        Settle::Wait(action) => operation(id, action),
        Settle::ContinueRollback => tools.aws.continue_rollback(id, role_arn).await?,
    };
    wait(&operation, tools, task).await.map(drop)
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
    let stack = wait(&operation, tools, task).await?.ok_or_else(|| deleted(&spec.name))?;
    keep_role(spec, &stack, tools).map(drop)
}

/// Another run for the same service account was quicker: its stack is waited for, and changed where it differs.
async fn join(spec: &StackSpec, error: Box<Error>, tools: &Tools<'_>, task: &Task) -> Result<()> {
    let Some(stack) = tools.aws.stack(&spec.name).await? else { return Err(error) };
    let cluster = tags::cluster(&spec.tags).unwrap_or_default();
    if check_ours(cluster, &spec.service_account, &stack).is_err() {
        return Err(error);
    }
    wait(&operation(&stack.id, Action::Create), tools, task).await?;
    converge(spec, &stack.id, tools, task).await
}

/// A stack once nothing is under way, with its template.
struct AtRest {
    stack: Stack,
    template: Value,
}

impl AtRest {
    async fn read(id: &str, tools: &Tools<'_>, task: &Task) -> Result<Self> {
        let stack = wait(&operation(id, Action::Other), tools, task).await?;
        let stack = stack.ok_or_else(|| deleted(stack_name(id)))?;
        let template = tools.aws.template(id).await?.unwrap_or_default();
        Ok(Self { stack, template })
    }

    fn is_as_wanted(&self, spec: &StackSpec) -> bool {
        let usable = Health::of(&self.stack.status) == Health::Usable;
        usable && spec.differences(&self.template, &self.stack.tags).is_empty()
    }

    /// What was taken over from the stack must still be so.
    fn check_basis(&self, spec: &StackSpec) -> Result<()> {
        let outdated = spec.basis.as_ref().is_some_and(|basis| basis.is_outdated(&self.template, &self.stack.tags));
        if outdated {
            Err(overtaken(format!("stack {} was changed by another run meanwhile", spec.name)))
        } else {
            Ok(())
        }
    }
}

fn deleted(name: &str) -> Box<Error> {
    overtaken(format!("stack {name} was deleted by another run or tool"))
}

fn overtaken(message: String) -> Box<Error> {
    Error::new(ErrorCode::Conflict, message).hint("run the same command again: it plans anew")
}

/// Brings a stack to what is wanted, as it is by now: others may have worked on it since it was read.
async fn converge(spec: &StackSpec, id: &str, tools: &Tools<'_>, task: &Task) -> Result<()> {
    let found = AtRest::read(id, tools, task).await?;
    if found.is_as_wanted(spec) {
        return finish(spec, &found.stack, tools).await;
    }
    found.check_basis(spec)?;
    match change(spec, &found.stack, tools, task).await {
        Err(error) if error.code == ErrorCode::Conflict => {
            // Another run's change came first: it is as good as this one's where it comes to the same.
            let found = AtRest::read(id, tools, task).await?;
            if found.is_as_wanted(spec) { finish(spec, &found.stack, tools).await } else { Err(error) }
        }
        changed => finish(spec, &changed?, tools).await,
    }
}

async fn change(spec: &StackSpec, before: &Stack, tools: &Tools<'_>, task: &Task) -> Result<Stack> {
    let change = StackChange {
        name: before.id.clone(),
        template: spec.template.clone(),
        tags: spec.tags_on(&before.tags),
        capabilities: before.capabilities.clone(),
        named_capability: needs_named_capability(&spec.template),
        role_arn: spec.cfn.role_arn.clone(),
        description: format!("updating iamserviceaccount {}", spec.service_account),
    };
    match tools.aws.change_stack(&change).await? {
        Changed::Yes(operation) => wait(&operation, tools, task).await?.ok_or_else(|| deleted(&spec.name)),
        Changed::No => Ok(before.clone()),
    }
}

/// What a change set doesn't hold: termination protection, and what was changed behind CloudFormation's back, which an
/// update that doesn't touch it leaves.
async fn finish(spec: &StackSpec, stack: &Stack, tools: &Tools<'_>) -> Result<()> {
    if spec.protected && !stack.protected {
        tools.aws.set_protection(&stack.id, true).await?;
    }
    let role = keep_role(spec, stack, tools)?;
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
fn keep_role(spec: &StackSpec, stack: &Stack, tools: &Tools<'_>) -> Result<Arn> {
    let missing = || Error::new(ErrorCode::StackFailed, format!("stack {} has no output {ROLE_OUTPUT}", spec.name));
    let text = stack.outputs.get(ROLE_OUTPUT).ok_or_else(missing)?;
    let arn = text.parse().map_err(|e: String| missing().cause(e))?;
    tools.set_role(&spec.name, text.clone());
    Ok(arn)
}

/// Deletes a stack, and waits until it is gone where that is asked for.
async fn delete(
    id: &str,
    unprotect: bool,
    role_arn: Option<&str>,
    until_gone: bool,
    tools: &Tools<'_>,
    task: &Task,
) -> Result<()> {
    if unprotect {
        tools.aws.set_protection(id, false).await?;
    }
    let deleted = async {
        let operation = tools.aws.delete_stack(id, role_arn).await?;
        if until_gone { wait(&operation, tools, task).await.map(drop) } else { Ok(()) }
    };
    let unprotected = |error: Box<Error>| {
        let left = format!("the termination protection of stack {} is off now", stack_name(id));
        if unprotect { error.cause(left) } else { error }
    };
    deleted.await.map_err(unprotected)
}
