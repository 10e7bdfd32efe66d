//! IAM documents and names; pure.

pub mod arn;
