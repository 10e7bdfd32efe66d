//! Reading AWS and Kubernetes, at the same time and in as few calls as possible. Nothing here changes anything.

pub(crate) mod dns;
pub(crate) mod externaldns;
pub(crate) mod iamserviceaccount;
pub(crate) mod inventory;
pub(crate) mod policy;
pub(crate) mod records;
pub(crate) mod verify;
