//! IAM documents and names; pure.

pub mod arn;

pub mod policy;
