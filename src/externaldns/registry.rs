//! placeholder

/// placeholder
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// placeholder
    pub name: String,
    /// placeholder
    pub record_type: String,
    /// placeholder
    pub set_identifier: Option<String>,
    /// placeholder
    pub alias: Option<String>,
    /// placeholder
    pub values: Vec<String>,
}
