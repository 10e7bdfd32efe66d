//! The CloudFormation stack of a service account; pure.
