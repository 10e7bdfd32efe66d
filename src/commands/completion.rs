//! `completion SHELL`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::Exit;
use crate::cli::Cli;
use crate::error::Result;
use crate::ui::Ui;

/// Prints the completion script of a shell.
pub(crate) fn run(ui: &Ui, shell: Shell) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "irsactl", &mut script);
    ui.print_raw(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
