//! `version`.

use serde_json::json;

use crate::Exit;
use crate::error::Result;
use crate::externaldns::version::NEWEST;
use crate::ui::Ui;

/// Prints the version of irsactl, and of the ExternalDNS that it installs.
pub(crate) fn run(ui: &Ui) -> Result<Exit> {
    let (own, externaldns) = (crate::VERSION, NEWEST.to_string());
    if ui.output().is_document() {
        ui.document(&json!({"version": own, "externalDNS": externaldns}))?;
    } else {
        ui.print(&format!("irsactl {own} (installs ExternalDNS {externaldns})\n"))?;
    }
    Ok(Exit::Success)
}
