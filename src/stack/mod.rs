//! The CloudFormation stack of a service account; pure.

pub mod events;
