//! The CloudFormation stack of a service account; pure.

pub mod events;
pub mod flags;
pub mod names;
pub mod status;
pub mod tags;
pub mod template;
