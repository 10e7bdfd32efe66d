//! What the status of a stack means for the next step.

/// What can be done with a stack ("Stack status codes", CloudFormation).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Its role is there, and it can be updated.
    Usable,
    /// An operation is running: wait.
    InProgress,
    /// It will never be usable: delete it and create it anew.
    Replace {
        /// What went wrong before.
        why: String,
    },
    /// The undoing of an update got stuck: continue it, then update.
    ContinueRollback,
    /// It is being deleted: wait, then create it.
    Deleting,
    /// It is deleted.
    Gone,
}

impl Health {
    /// The meaning of a `StackStatus`. One that is not known yet is judged by its ending.
    pub fn of(status: &str) -> Self {
        let replace = |why: &str| Self::Replace { why: why.to_owned() };
        match status {
            "CREATE_FAILED" => replace("its creation failed"),
            "ROLLBACK_COMPLETE" => replace("its creation failed and was undone"),
            "ROLLBACK_FAILED" => replace("its creation failed and could not be undone"),
            "DELETE_FAILED" => replace("its deletion failed"),
            "REVIEW_IN_PROGRESS" => replace("a stack whose first change set was never executed"),
            "DELETE_IN_PROGRESS" => Self::Deleting,
            "DELETE_COMPLETE" => Self::Gone,
            "UPDATE_ROLLBACK_FAILED" => Self::ContinueRollback,
            other if other.ends_with("_IN_PROGRESS") => Self::InProgress,
            // UPDATE_FAILED (rollback disabled) and IMPORT_ROLLBACK_FAILED keep the role and take updates.
            _ => Self::Usable,
        }
    }
}

/// The state of a stack, for lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Done.
    Ready,
    /// Something is running.
    Pending,
    /// It needs help.
    Failed,
}

impl State {
    /// As in documents: `ready`, `pending`, `failed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Pending => "pending",
            Self::Failed => "failed",
        }
    }
}

/// The state that a `StackStatus` is listed as.
pub fn state(status: &str) -> State {
    match Health::of(status) {
        Health::Replace { .. } | Health::ContinueRollback | Health::Gone => State::Failed,
        Health::InProgress if status == "ROLLBACK_IN_PROGRESS" => State::Failed,
        Health::InProgress | Health::Deleting => State::Pending,
        Health::Usable if status.ends_with("_FAILED") => State::Failed,
        Health::Usable => State::Ready,
    }
}

/// True once the running operation can only fail, long before CloudFormation has undone it.
pub fn is_failing(status: &str) -> bool {
    status.contains("ROLLBACK") || status.ends_with("_FAILED")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_every_status_has_a_meaning() {
        use State::{Failed, Pending, Ready};
        let replace = |why: &str| Health::Replace { why: why.to_owned() };
        for (status, health, listed) in [
            ("CREATE_IN_PROGRESS", Health::InProgress, Pending),
            ("CREATE_FAILED", replace("its creation failed"), Failed),
            ("CREATE_COMPLETE", Health::Usable, Ready),
            ("ROLLBACK_IN_PROGRESS", Health::InProgress, Failed),
            ("ROLLBACK_FAILED", replace("its creation failed and could not be undone"), Failed),
            ("ROLLBACK_COMPLETE", replace("its creation failed and was undone"), Failed),
            ("DELETE_IN_PROGRESS", Health::Deleting, Pending),
            ("DELETE_FAILED", replace("its deletion failed"), Failed),
            ("DELETE_COMPLETE", Health::Gone, Failed),
            ("UPDATE_IN_PROGRESS", Health::InProgress, Pending),
            ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", Health::InProgress, Pending),
            ("UPDATE_COMPLETE", Health::Usable, Ready),
            ("UPDATE_FAILED", Health::Usable, Failed),
            ("UPDATE_ROLLBACK_IN_PROGRESS", Health::InProgress, Pending),
            ("UPDATE_ROLLBACK_FAILED", Health::ContinueRollback, Failed),
            ("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", Health::InProgress, Pending),
            ("UPDATE_ROLLBACK_COMPLETE", Health::Usable, Ready),
            ("REVIEW_IN_PROGRESS", replace("a stack whose first change set was never executed"), Failed),
            ("IMPORT_IN_PROGRESS", Health::InProgress, Pending),
            ("IMPORT_COMPLETE", Health::Usable, Ready),
            ("IMPORT_ROLLBACK_IN_PROGRESS", Health::InProgress, Pending),
            ("IMPORT_ROLLBACK_FAILED", Health::Usable, Failed),
            ("IMPORT_ROLLBACK_COMPLETE", Health::Usable, Ready),
            ("NEWER_IN_PROGRESS", Health::InProgress, Pending),
        ] {
            assert_eq!((Health::of(status), state(status)), (health, listed), "{status}");
        }
    }

    #[test]
    fn failure_shows_early() {
        assert!(
            is_failing("ROLLBACK_IN_PROGRESS")
                && is_failing("UPDATE_ROLLBACK_IN_PROGRESS")
                && is_failing("CREATE_FAILED")
        );
        assert!(!is_failing("CREATE_IN_PROGRESS") && !is_failing("UPDATE_COMPLETE"));
    }
}
