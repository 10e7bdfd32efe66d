//! What the record of a host would point to.

use serde_json::{Map, Value};

use super::registry::normalize;
use super::view::View;

/// What a record would point to: nothing yet, or these; none of them where only ExternalDNS itself can tell, as with the
/// pods of a headless Service.
pub(super) type Target = Option<Vec<String>>;

/// The targets that an annotation names.
pub(super) fn told(annotations: &Map<String, Value>, view: &View) -> Target {
    known(list(view.annotation(annotations, "target")))
}

/// Names or addresses as a target; none of them is none yet.
pub(super) fn known(targets: impl IntoIterator<Item = String>) -> Target {
    let targets: Vec<_> = targets.into_iter().map(|target| normalize(&target)).collect();
    (!targets.is_empty()).then_some(targets)
}

/// The entries of an annotation.
pub(super) fn list(annotation: Option<&str>) -> Vec<String> {
    let text = annotation.unwrap_or_default().replace(' ', "");
    text.split(',').filter(|host| !host.is_empty()).map(str::to_owned).collect()
}
