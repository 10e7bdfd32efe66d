//! placeholder

/// placeholder
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// placeholder
    pub logical_id: String,
    /// placeholder
    pub resource_type: String,
    /// placeholder
    pub status: String,
    /// placeholder
    pub reason: Option<String>,
    /// placeholder
    pub token: Option<String>,
    /// placeholder
    pub time: i64,
}

/// placeholder
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// placeholder
    pub resource: String,
    /// placeholder
    pub reason: String,
    /// placeholder
    pub hint: Option<String>,
}

/// placeholder
pub fn explain(events: &[Event]) -> Option<Failure> {
    let mut failed = events.iter().filter(|event| event.status.ends_with("_FAILED"));
    let first = failed.next_back()?;
    Some(Failure { resource: first.logical_id.clone(), reason: first.reason.clone().unwrap_or_default(), hint: None })
}
