//! placeholder

use percent_encoding::percent_decode_str;
use serde_json::Value;

/// placeholder
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyDocument(pub Value);

impl PolicyDocument {
    /// placeholder
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map(Self).map_err(|error| error.to_string())
    }
    /// placeholder
    pub fn from_encoded(text: &str) -> Result<Self, String> {
        Self::parse(&percent_decode_str(text).decode_utf8_lossy())
    }
    /// placeholder
    pub fn to_json(&self) -> String {
        self.0.to_string()
    }
    /// placeholder
    pub fn same_as(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
