//! IAM documents and names; pure.

pub mod arn;
pub mod denial;
pub mod intrinsics;
pub mod policy;
pub mod trust;
pub mod wellknown;
pub mod wildcard;
