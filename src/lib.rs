//! irsactl: IAM roles for Kubernetes service accounts on Amazon EKS, and ExternalDNS end to end.

pub mod aws;
pub mod error;
pub mod externaldns;
pub mod iam;
pub mod k8s;
pub mod plan;
pub mod stack;
pub mod wait;
