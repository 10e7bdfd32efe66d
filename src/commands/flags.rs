//! What flags say of a service account, in the terms of an entry of a ClusterConfig: both ways lead to the same plan.

use std::collections::BTreeMap;
use std::path::Path;

use super::target::{contents, name};
use crate::cli::iamserviceaccount::{Name, ObjectMeta, Policies};
use crate::cli::shared;
use crate::config::{self, Entry};
use crate::error::{Error, Result};
use crate::iam::policy::PolicyDocument;
use crate::iam::wellknown::WellKnown;
use crate::stack::tags::check_user_tags;

/// Where a service account is, if nothing says otherwise (eksctl behaviour).
pub(super) const DEFAULT_NAMESPACE: &str = "default";

/// The name, which must be given in one way.
pub(super) fn required(name: &Name) -> Result<&str> {
    let missing = || Error::usage("--name must be set").hint("give the ServiceAccount's name as NAME or --name NAME");
    name.get().ok_or_else(missing)
}

/// The entry of which all flags are the same for several commands; what isn't named is none.
///
/// # Errors
/// `Usage` where the name is missing or a value doesn't hold.
pub(super) fn entry(
    name: &Name,
    namespace: Option<&str>,
    policies: &Policies,
    object: &ObjectMeta,
    tags: &shared::Tags,
) -> Result<Entry> {
    check_user_tags(&tags.tags).map_err(|e| Error::usage(format!("--tags: {e}")))?;
    let named = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let known = well_known(policies);
    Ok(Entry {
        namespace: namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned(),
        name: required(name)?.to_owned(),
        labels: map("--labels", &object.labels)?,
        annotations: map("--annotations", &object.annotations)?,
        managed_policies: named(&policies.attach_policy_arn),
        well_known: (!known.is_empty()).then_some(known),
        inline: inline(policies)?,
        boundary: policies.permissions_boundary.clone(),
        tags: tags.tags.clone(),
        ..Entry::default()
    })
}

/// Flags that say what a file says for itself, and whether they were given.
pub(super) fn given(
    name: &Name,
    namespace: Option<&str>,
    policies: &Policies,
    object: &ObjectMeta,
    tags: &shared::Tags,
) -> Vec<(&'static str, bool)> {
    vec![
        ("--name", name.get().is_some()),
        ("--namespace", namespace.is_some()),
        ("--attach-policy-arn", !policies.attach_policy_arn.is_empty()),
        ("--well-known-policy", !policies.well_known_policy.is_empty()),
        ("--attach-policy", policies.attach_policy.is_some()),
        ("--permissions-boundary", policies.permissions_boundary.is_some()),
        ("--labels", !object.labels.is_empty()),
        ("--annotations", !object.annotations.is_empty()),
        ("--tags", !tags.tags.is_empty()),
    ]
}

/// Each once, in eksctl's order.
pub(super) fn well_known(policies: &Policies) -> Vec<WellKnown> {
    WellKnown::ALL.into_iter().filter(|known| policies.well_known_policy.contains(known)).collect()
}

/// The document of `--attach-policy`.
///
/// # Errors
/// `Usage` with the place of the mistake.
pub(super) fn inline(policies: &Policies) -> Result<Option<PolicyDocument>> {
    const FLAG: &str = "--attach-policy";
    let Some(given) = &policies.attach_policy else { return Ok(None) };
    let document = if given.trim_start().starts_with('{') {
        config::read_policy("the text", given)
    } else {
        let file = Path::new(given);
        let text = contents(FLAG, file).map_err(|error| {
            error.hint("give a document that begins with {, or a file that holds one; --attach-policy-arn takes ARNs")
        })?;
        config::read_policy(&name(file), text)
    };
    document.map(Some).map_err(|error| error.within(FLAG))
}

fn map(flag: &str, pairs: &[(String, String)]) -> Result<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        if map.insert(key.clone(), value.clone()).is_some() {
            return Err(Error::usage(format!("{flag}: the key `{key}` is given twice")));
        }
    }
    Ok(map)
}
