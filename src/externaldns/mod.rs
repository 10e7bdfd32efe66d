//! ExternalDNS: versions, settings, manifests, and who owns which record. No network in here.

pub mod apex;
pub mod args;
mod extra;
pub mod filter;
pub mod flags;
mod gateway;
pub mod helm;
pub mod hosts;
pub mod leftovers;
pub mod listing;
pub mod logs;
pub mod manifest;
pub mod objects;
pub mod owner;
pub mod patch;
pub mod protect;
pub mod rbac;
pub mod registry;
pub mod reproduce;
pub mod secret;
pub mod selector;
pub mod settings;
pub mod sources;
mod target;
pub mod version;
pub mod view;
