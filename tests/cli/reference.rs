//! docs/cli.md is the command line as it is.

use std::fmt::Write;
use std::path::Path;

use clap::{Command, CommandFactory};
use irsactl::cli::Cli;

#[test]
fn docs_cli_md_is_up_to_date() {
    let mut text =
        "# Command line\n\nGenerated from the program; `IRSACTL_UPDATE=1 cargo test --test cli reference` renews it.\n"
            .to_owned();
    let mut root = Cli::command().term_width(100);
    root.build();
    describe(&mut root, &mut text);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    if std::env::var_os("IRSACTL_UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(stored == text, "docs/cli.md is stale: IRSACTL_UPDATE=1 cargo test --test cli reference");
}

fn describe(command: &mut Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let help = command.render_long_help().to_string();
    let lines: Vec<_> = help.trim_end().lines().map(str::trim_end).collect();
    writeln!(text, "\n## {name}\n\n```text\n{}\n```", lines.join("\n")).unwrap();
    if command.get_name() == "operator-policy" {
        // Its commands are the others, with their flags.
        return;
    }
    let names: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names.iter().filter(|name| *name != "help") {
        describe(command.find_subcommand_mut(name).unwrap(), text);
    }
}
