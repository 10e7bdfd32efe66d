//! Waiting for stacks: one poll for all that are in flight, whoever waits for them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex as Lock, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Aws;
use super::cloudformation::{Action, Operation, Stack, pauses};
use crate::error::{Error, ErrorCode, Result};
use crate::stack::events::{Failure, explain};

/// Up to this many stacks are described one by one, more by one listing of them all.
const FEW: usize = 2;
/// The least pause between listings of all stacks: they come in pages.
const LISTING: Duration = Duration::from_millis(500);

/// What all waits share.
#[derive(Default)]
pub(super) struct Watch {
    /// Id of a stack → number of waits for it.
    in_flight: Lock<BTreeMap<String, usize>>,
    last: Mutex<Snapshot>,
}

/// The last poll. A stack that was asked for and isn't there is `None`.
#[derive(Default)]
struct Snapshot {
    at: Option<Instant>,
    stacks: HashMap<String, Option<Stack>>,
    /// Listing all stacks isn't allowed; the caller's rights end at some names.
    unlistable: bool,
}

/// Keeps a stack in flight until dropped.
struct InFlight<'a> {
    watch: &'a Watch,
    id: &'a str,
}

impl Watch {
    fn enter<'a>(&'a self, id: &'a str) -> InFlight<'a> {
        *self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).entry(id.to_owned()).or_default() += 1;
        InFlight { watch: self, id }
    }

    fn ids(&self) -> Vec<String> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut ids = self.watch.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waits) = ids.get_mut(self.id) {
            *waits -= 1;
            if *waits == 0 {
                ids.remove(self.id);
            }
        }
    }
}

/// Where an operation stands.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Going,
    Done,
    Failed,
}

impl Aws {
    /// Waits for the end of an operation on a stack, and gives the stack, or `None` where it is deleted. `progress`
    /// is told of each new status. Any number of waits at the same time share their polls.
    ///
    /// # Errors
    /// `StackFailed` as soon as a rollback begins, with the reason from the stack's events.
    pub async fn wait_stack(&self, operation: &Operation, mut progress: impl FnMut(&Stack)) -> Result<Option<Stack>> {
        let in_flight = self.inner.watch.enter(&operation.id);
        let mut status = String::new();
        let mut seen = Instant::now();
        for pause in pauses() {
            self.pause_until(seen + pause).await?;
            let (at, stack) = self.poll(&operation.id, seen).await?;
            seen = at;
            if let Some(stack) = stack.as_ref().filter(|stack| stack.status != status) {
                status.clone_from(&stack.status);
                progress(stack);
            }
            match stage(operation.action, stack.as_ref().map(|stack| stack.status.as_str())) {
                Stage::Going => {}
                Stage::Done => return Ok(stack.filter(|stack| stack.status != "DELETE_COMPLETE")),
                Stage::Failed => {
                    drop(in_flight);
                    return Err(self.failed(operation, stack.as_ref()).await);
                }
            }
        }
        Err(Error::new(ErrorCode::Internal, "the pauses came to an end"))
    }

    async fn pause_until(&self, time: Instant) -> Result<()> {
        let pause = time.saturating_duration_since(Instant::now());
        self.wait().pause(pause).await
    }

    /// The stack as of a poll after `seen`: that of another wait, or a new one for all.
    async fn poll(&self, id: &str, seen: Instant) -> Result<(Instant, Option<Stack>)> {
        let mut last = self.inner.watch.last.lock().await;
        if let Some((at, stack)) = last.of(id).filter(|(at, _)| *at > seen) {
            return Ok((at, stack));
        }
        let mut ids = self.inner.watch.ids();
        let listed = ids.len() > FEW && !last.unlistable;
        if let Some(at) = last.at.filter(|_| listed) {
            self.pause_until(at + LISTING).await?;
            ids = self.inner.watch.ids();
        }
        let at = Instant::now();
        let stacks = if listed { self.poll_listing(&mut last, &ids).await? } else { self.poll_each(&ids).await? };
        last.stacks = stacks;
        last.at = Some(at);
        Ok((at, last.stacks.get(id).cloned().flatten()))
    }

    async fn poll_each(&self, ids: &[String]) -> Result<HashMap<String, Option<Stack>>> {
        let each = ids.iter().map(async |id| Ok::<_, Box<Error>>((id.clone(), self.stack(id).await?)));
        Ok(try_join_all(each).await?.into_iter().collect())
    }

    async fn poll_listing(&self, last: &mut Snapshot, ids: &[String]) -> Result<HashMap<String, Option<Stack>>> {
        let listing = match self.list_stacks().await {
            Ok(stacks) => stacks,
            Err(refused) if refused.is_denied() => {
                last.unlistable = true;
                return self.poll_each(ids).await;
            }
            Err(refused) => return Err(refused.into()),
        };
        let mut stacks: HashMap<_, _> = listing.into_iter().map(|stack| (stack.id.clone(), Some(stack))).collect();
        // A deleted stack isn't listed, and a new one may not be yet: by id, both are told apart.
        let missing: Vec<_> = ids.iter().filter(|id| !stacks.contains_key(*id)).cloned().collect();
        stacks.extend(self.poll_each(&missing).await?);
        Ok(stacks)
    }

    /// Why an operation failed, from the stack's events, which may come a moment after its status.
    async fn failed(&self, operation: &Operation, stack: Option<&Stack>) -> Box<Error> {
        let mut failure = None;
        let token = operation.token.as_deref();
        // In the end, events without our token are better than none.
        for (pause, token) in pauses().zip([token, token, token, None]) {
            match self.events(&operation.id, token).await {
                Ok(events) => failure = explain(&events),
                Err(error) => return error.context(format!("stack {} failed", operation.name)),
            }
            if failure.is_some() || self.wait().pause(pause).await.is_err() {
                break;
            }
        }
        stack_failed(&operation.name, stack, failure, self.region())
    }
}

impl Snapshot {
    fn of(&self, id: &str) -> Option<(Instant, Option<Stack>)> {
        Some((self.at?, self.stacks.get(id)?.clone()))
    }
}

fn stack_failed(name: &str, stack: Option<&Stack>, failure: Option<Failure>, region: &str) -> Box<Error> {
    let status = stack.map_or("gone", |stack| &stack.status);
    let error = Error::new(ErrorCode::StackFailed, format!("stack {name} failed ({status})"));
    let events = || format!("aws cloudformation describe-stack-events --stack-name {name} --region {region}");
    match failure {
        Some(failure) => {
            let error = error.cause(failure.to_string()).request_id(failure.request_id.as_deref());
            match failure.hint {
                Some(hint) => error.hint(hint),
                None => error.hint(events()),
            }
        }
        None => match stack.and_then(|stack| stack.reason.clone()) {
            Some(reason) => error.cause(reason).hint(events()),
            None => error.hint(events()),
        },
    }
}

/// Reads a stack's status in the light of what is being done with it ("Stack status codes", CloudFormation User Guide).
/// `None` is a stack that doesn't exist.
fn stage(action: Action, status: Option<&str>) -> Stage {
    let Some(status) = status else {
        // Right after CreateStack, a read may not know the stack.
        return if matches!(action, Action::Delete | Action::Other) { Stage::Done } else { Stage::Going };
    };
    let done = match action {
        Action::Create => matches!(status, "CREATE_COMPLETE" | "UPDATE_COMPLETE"),
        Action::Update => status == "UPDATE_COMPLETE",
        Action::Delete => status == "DELETE_COMPLETE",
        Action::ContinueRollback => status == "UPDATE_ROLLBACK_COMPLETE",
        Action::Other => !status.ends_with("_IN_PROGRESS"),
    };
    let failed = match action {
        Action::Create | Action::Update => {
            status.contains("ROLLBACK") || status.ends_with("_FAILED") || status.starts_with("DELETE_")
        }
        Action::Delete => status == "DELETE_FAILED",
        Action::ContinueRollback => status.ends_with("_FAILED"),
        Action::Other => false,
    };
    // All else is on its way, or what the stack was before the operation.
    if done {
        Stage::Done
    } else if failed {
        Stage::Failed
    } else {
        Stage::Going
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollback_is_a_failure_from_its_beginning() {
        for status in ["ROLLBACK_IN_PROGRESS", "ROLLBACK_COMPLETE", "CREATE_FAILED", "DELETE_IN_PROGRESS"] {
            assert_eq!(stage(Action::Create, Some(status)), Stage::Failed, "{status}");
        }
        for status in ["UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_FAILED"] {
            assert_eq!(stage(Action::Update, Some(status)), Stage::Failed, "{status}");
        }
    }

    #[test]
    fn stages_of_operations() {
        assert_eq!(stage(Action::Create, None), Stage::Going);
        assert_eq!(stage(Action::Create, Some("CREATE_IN_PROGRESS")), Stage::Going);
        assert_eq!(stage(Action::Create, Some("CREATE_COMPLETE")), Stage::Done);
        assert_eq!(stage(Action::Update, Some("CREATE_COMPLETE")), Stage::Going);
        assert_eq!(stage(Action::Update, Some("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")), Stage::Going);
        assert_eq!(stage(Action::Update, Some("UPDATE_COMPLETE")), Stage::Done);
        assert_eq!(stage(Action::Delete, None), Stage::Done);
        assert_eq!(stage(Action::Delete, Some("CREATE_COMPLETE")), Stage::Going);
        assert_eq!(stage(Action::Delete, Some("DELETE_FAILED")), Stage::Failed);
        assert_eq!(stage(Action::ContinueRollback, Some("UPDATE_ROLLBACK_IN_PROGRESS")), Stage::Going);
        assert_eq!(stage(Action::ContinueRollback, Some("UPDATE_ROLLBACK_COMPLETE")), Stage::Done);
        assert_eq!(stage(Action::Other, Some("DELETE_IN_PROGRESS")), Stage::Going);
        assert_eq!(stage(Action::Other, None), Stage::Done);
    }

    #[test]
    fn failure_is_told_with_resource_and_reason() {
        let failure = Failure {
            resource: "Role1".to_owned(),
            reason: "Role with name x already exists.".to_owned(),
            code: None,
            request_id: Some("req-1".to_owned()),
            hint: None,
        };
        let error = stack_failed("eksctl-demo-addon-x", None, Some(failure), "us-west-2");
        assert_eq!(error.code, ErrorCode::StackFailed);
        assert_eq!(error.causes, ["Role1: Role with name x already exists."]);
        assert_eq!(error.request_id.as_deref(), Some("req-1"));
        assert!(error.hint.unwrap().contains("--region us-west-2"));
    }

    #[test]
    fn stacks_in_flight_are_counted() {
        let watch = Watch::default();
        let one = watch.enter("a");
        let other = watch.enter("a");
        drop(one);
        assert_eq!(watch.ids(), ["a"]);
        drop(other);
        assert!(watch.ids().is_empty());
    }
}
