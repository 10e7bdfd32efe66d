//! Stacks that can only be deleted and made anew, which `update` leaves to `create`: all that `update` isn't told is in the
//! old stack alone, and would be lost with a run that ends between the two.

use super::iamserviceaccount::{Desired, DesiredObject, ObservedStack};
use super::{Op, StackSpec, Step};
use crate::error::{Error, ErrorCode, Result};
use crate::shell::Command;
use crate::stack::flags::{Told, told};
use crate::stack::status::Health;

/// Refuses to make a stack anew of which a part was taken over from the old one.
///
/// # Errors
/// `StackFailed`, with the command that says all that the stack holds.
pub fn refuse(region: &str, desired: &Desired, spec: &StackSpec, found: &ObservedStack, step: &Step) -> Result<()> {
    if spec.basis.is_none() || !matches!(step.op, Op::ReplaceStack { .. } | Op::CreateStack { .. }) {
        return Ok(());
    }
    let error = Error::new(ErrorCode::StackFailed, format!("stack {} can't be updated: {}", spec.name, why(found)))
        .cause("a new one takes its place only: what update isn't told would be lost with a run that ends in between");
    let Some((command, lost)) = create(region, desired, spec) else {
        return Err(error.hint("irsactl create iamserviceaccount makes it anew, told all that the role is to be"));
    };
    let error = error.hint(format!("this makes it anew, with what it holds: {command}"));
    Err(if lost.is_empty() { error } else { error.cause(format!("no flag says what it has at {}", lost.join(", "))) })
}

fn why(found: &ObservedStack) -> String {
    let status = &found.stack.status;
    match (Health::of(status), &found.failure) {
        (Health::Usable, _) => "its role is gone".to_owned(),
        (_, Some(failure)) => format!("it is {status}: {}", failure.reason),
        _ => format!("it is {status}"),
    }
}

/// The command that makes the service account as it should be, and what it doesn't say.
fn create(region: &str, desired: &Desired, spec: &StackSpec) -> Option<(String, Vec<String>)> {
    let Desired { cluster, namespace, name, object, .. } = desired;
    let command = Command::new("irsactl create iamserviceaccount").with("--cluster", cluster).with("--region", region);
    let command = command.with("--namespace", namespace).with("--name", name);
    let stack = Told {
        service_account: (namespace, name),
        name: &spec.name,
        template: &spec.template,
        tags: &spec.tags,
        protected: spec.protected,
        cfn_role: spec.cfn.role_arn.as_deref(),
    };
    completed(command, stack, object.as_ref())
}

/// Completes a command that makes a service account with what its stack and its ServiceAccount hold, and gives what no
/// flag says; `None` as [`told`].
pub fn completed(command: Command, stack: Told<'_>, object: Option<&DesiredObject>) -> Option<(String, Vec<String>)> {
    let (command, mut lost) = told(command, stack)?;
    let command = match object {
        Some(object) => with_object(command, object, &mut lost),
        None => command.word("--role-only"),
    };
    Some((command.approved(), lost))
}

/// Adds the flags of a ServiceAccount; a comma in a value would separate two.
fn with_object(command: Command, object: &DesiredObject, lost: &mut Vec<String>) -> Command {
    let pairs = [("--labels", &object.labels), ("--annotations", &object.annotations)];
    let pairs = pairs.into_iter().flat_map(|(flag, map)| map.iter().map(move |(key, value)| (flag, key, value)));
    let (pairs, unsaid): (Vec<_>, Vec<_>) = pairs.partition(|(.., value)| !value.contains(','));
    lost.extend(unsaid.into_iter().map(|(_, key, _)| format!("the ServiceAccount's annotation {key}")));
    let command =
        pairs.into_iter().fold(command, |command, (flag, key, value)| command.with(flag, &format!("{key}={value}")));
    let consents = [("--override-existing-serviceaccounts", object.take_over), ("--force-conflicts", object.force)];
    consents.into_iter().filter(|(_, given)| *given).fold(command, |command, (flag, _)| command.word(flag))
}
