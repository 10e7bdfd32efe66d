//! Carries a plan out: independent steps side by side, each as soon as what it needs is done.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;

use super::{Action, Outcome, Plan, RoleSource, Step};
use crate::aws::{AT_ONCE, Aws};
use crate::error::{Error, ErrorCode, Result};
use crate::k8s::Kubernetes;
use crate::ui::{Ui, plan as text};
use crate::wait::Wait;

mod kubernetes;
mod proof;
mod stack;

pub use proof::prove;

/// What steps are carried out with.
pub struct Tools<'a> {
    /// AWS, as the caller.
    pub aws: &'a Aws,
    /// The cluster, where the plan touches it.
    pub kubernetes: Option<&'a Kubernetes>,
    /// For progress.
    pub ui: &'a Ui,
    /// For pauses.
    pub wait: &'a Wait,
    /// The roles of the stacks that are there.
    pub roles: Mutex<BTreeMap<String, String>>,
    waiting: Waiting,
}

/// How many steps wait for CloudFormation only: they leave their places to others.
#[derive(Default)]
struct Waiting {
    steps: AtomicUsize,
    changed: Notify,
}

/// A step that waits, until dropped.
struct Idle<'a>(&'a Waiting);

impl Waiting {
    fn enter(&self) -> Idle<'_> {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        Idle(self)
    }

    fn count(&self) -> usize {
        self.steps.load(Ordering::Relaxed)
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.steps.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<'a> Tools<'a> {
    /// The tools of one run.
    pub fn new(aws: &'a Aws, kubernetes: Option<&'a Kubernetes>, ui: &'a Ui, wait: &'a Wait) -> Self {
        Self { aws, kubernetes, ui, wait, roles: Mutex::default(), waiting: Waiting::default() }
    }

    fn kubernetes(&self) -> Result<&Kubernetes> {
        self.kubernetes.ok_or_else(|| Error::new(ErrorCode::Internal, "a step needs Kubernetes, and there is none"))
    }

    fn set_role(&self, stack: &str, arn: String) {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner).insert(stack.to_owned(), arn);
    }

    /// The ARN of a role, once its stack is there.
    ///
    /// # Errors
    /// `Internal` where the plan forgot to wait for the stack.
    pub fn role(&self, source: &RoleSource) -> Result<String> {
        match source {
            RoleSource::Known(arn) => Ok(arn.clone()),
            RoleSource::Stack(stack) => {
                let roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
                let missing = || Error::new(ErrorCode::Internal, format!("the role of stack {stack} isn't known yet"));
                roles.get(stack).cloned().ok_or_else(missing)
            }
        }
    }
}

/// Carries the plan out and writes the results into it. One step's failure leaves those that
/// don't need it going on; an interruption starts nothing more.
///
/// # Errors
/// The first failure; the others are among its causes.
pub async fn execute(plan: &mut Plan, tools: &Tools<'_>) -> Result<()> {
    plan.mark(Outcome::Skipped);
    let mut failures: Vec<Box<Error>> = Vec::new();
    let mut started = vec![false; plan.steps.len()];
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < AT_ONCE + tools.waiting.count() && tools.wait.check().is_ok() {
            let Some(next) = (0..started.len()).find(|&i| !started[i] && is_ready(plan, i)) else { break };
            started[next] = true;
            let step = plan.steps[next].clone();
            running.push(async move { (next, carry_out(&step, tools).await) });
        }
        let ended = tokio::select! {
            ended = running.next() => ended,
            () = tools.waiting.changed.notified() => continue,
        };
        let Some((index, result)) = ended else { break };
        let step = &mut plan.steps[index];
        step.result = Some(match &result {
            Ok(()) => Outcome::Done,
            Err(error) if matches!(error.code, ErrorCode::Interrupted | ErrorCode::Timeout) => Outcome::Unfinished,
            Err(_) => Outcome::Failed,
        });
        if let Err(error) = result {
            step.error = Some(error.to_string());
            failures.push(error);
        }
    }
    drop(running);
    plan.resolve(&tools.roles.lock().unwrap_or_else(PoisonError::into_inner));
    conclude(failures, plan, tools.wait)
}

fn is_ready(plan: &Plan, index: usize) -> bool {
    let step = &plan.steps[index];
    let done = |step: &Step| step.action == Action::None || step.result == Some(Outcome::Done);
    step.action != Action::None && step.needs.iter().all(|&id| done(plan.step(id)))
}

async fn carry_out(step: &Step, tools: &Tools<'_>) -> Result<()> {
    let start = Instant::now();
    let task = tools.ui.task(&text::doing(step));
    let result = run(step, tools, &task).await;
    drop(task);
    if result.is_ok() {
        tools.ui.say(&format!("{} ({:.1} s)", text::done(step), start.elapsed().as_secs_f32()));
    }
    result
}

async fn run(step: &Step, tools: &Tools<'_>, task: &crate::ui::Task) -> Result<()> {
    use super::Op;
    let aws = tools.aws;
    match &step.op {
        Op::None => Ok(()),
        Op::CreateProvider { arn, issuer, tags, cluster_arn } => {
            // eksctl's mark on the cluster; the provider works without it. Once there is a provider, no run comes here.
            if let Err(error) = aws.mark_oidc_enabled(cluster_arn).await {
                tools.ui.warn(&format!("the cluster isn't tagged alpha.eksctl.io/cluster-oidc-enabled: {error}"));
            }
            aws.create_oidc_provider(issuer, arn, tags).await
        }
        Op::AddAudience { arn } => aws.add_audience(arn).await,
        Op::CreatePolicy { name, arn, document, tags } => {
            aws.create_policy((name, arn), document, "Created by irsactl", tags).await
        }
        Op::ChangePolicy { arn, document } => aws.put_policy_version(arn, document).await,
        Op::DeletePolicy { arn, role } => {
            if let Some(role) = role {
                aws.detach_policy(role, arn).await?;
            }
            aws.delete_policy(arn).await
        }
        Op::CreateStack { .. }
        | Op::ChangeStack { .. }
        | Op::ProtectStack { .. }
        | Op::ReplaceStack { .. }
        | Op::DeleteStack { .. } => stack::run(&step.op, tools, task).await,
        Op::SetTrust { role, document } => aws.set_trust(role, document).await,
        Op::SetBoundary { role, boundary } => aws.set_boundary(role, boundary.as_deref()).await,
        Op::SetInlinePolicy { role, name, document } => aws.put_inline_policy(role, name, document).await,
        Op::AttachPolicy { role, policy } => aws.attach_policy(role, policy).await,
        Op::Apply { .. }
        | Op::Unannotate { .. }
        | Op::ApplyDeployment { .. }
        | Op::Restart { .. }
        | Op::DeleteObject { .. }
        | Op::DeleteNamespace { .. } => kubernetes::run(step, tools, task).await,
    }
}

#[allow(clippy::vec_box, reason = "errors come boxed")]
fn conclude(mut failures: Vec<Box<Error>>, plan: &Plan, wait: &Wait) -> Result<()> {
    let pending = plan.steps.iter().any(|step| step.result == Some(Outcome::Skipped));
    if failures.is_empty() {
        return if pending { wait.check() } else { Ok(()) };
    }
    // What stopped the run is its reason; a failure before that is worth more than the interruption.
    let first = failures.iter().position(|error| error.code != ErrorCode::Interrupted).unwrap_or(0);
    let mut error = failures.swap_remove(first);
    for other in failures.iter().filter(|other| other.code != ErrorCode::Interrupted) {
        error = error.cause(format!("also failed: {other}"));
    }
    if wait.is_interrupted() {
        error.code = ErrorCode::Interrupted;
    }
    Err(error)
}
