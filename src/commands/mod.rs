//! One function per verb and noun: reads, plans, shows, and carries out what is approved.

pub(crate) mod associate_iam_oidc_provider;
pub(crate) mod completion;
pub(crate) mod create_iamserviceaccount;
pub(crate) mod create_policy;
pub(crate) mod delete_iamserviceaccount;
mod flags;
pub(crate) mod get_dnsrecords;
pub(crate) mod get_iamserviceaccount;
pub(crate) mod install_external_dns;
mod preflight;
pub(crate) mod render;
mod render_operator_policy;
mod run;
mod target;
pub(crate) mod uninstall_external_dns;
pub(crate) mod update_iamserviceaccount;
mod verify;
pub(crate) mod verify_external_dns;
pub(crate) mod verify_iamserviceaccount;
pub(crate) mod version;
