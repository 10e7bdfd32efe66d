//! The command line itself.

use clap::CommandFactory as _;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use irsactl::cli::Cli;
use irsactl::config::filter::Filter;
use irsactl::ui::clean;

use crate::inputs::text;
use crate::property::holds;

/// Every word of the grammar: commands and long flags.
fn words(command: &clap::Command) -> Vec<String> {
    let flags = command.get_arguments().filter_map(|argument| argument.get_long()).map(|flag| format!("--{flag}"));
    let below = command.get_subcommands().flat_map(|sub| std::iter::once(sub.get_name().to_owned()).chain(words(sub)));
    flags.chain(below).collect()
}

#[test]
fn any_arguments_are_understood_or_refused() {
    let known = words(&Cli::command());
    let starts: [&[&str]; 5] = [
        &["install", "external-dns"],
        &["create", "iamserviceaccount"],
        &["render", "stack"],
        &["get", "dnsrecords"],
        &[],
    ];
    let start = select(starts.to_vec());
    let word = prop_oneof![
        3 => select(known.clone()),
        2 => text(),
        2 => (select(known), text()).prop_map(|(flag, value)| format!("{flag}={value}")),
    ];
    holds("command lines", (start, vec(word, 0..8)), |(start, more)| {
        let line = std::iter::once("irsactl").chain(start.iter().copied()).chain(more.iter().map(String::as_str));
        if let Err(error) = Cli::command().try_get_matches_from(line) {
            prop_assert!(!error.render().to_string().is_empty());
        }
        Ok(())
    });
}

#[test]
fn any_text_is_clean_for_a_terminal() {
    holds("texts", (text(), vec(text(), 0..3)), |(word, globs)| {
        let cleaned = clean(&word);
        prop_assert!(cleaned.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
        prop_assert_eq!(&clean(&cleaned), &cleaned);
        if let Ok(filter) = Filter::new(&globs, &[]) {
            let _ = filter.matches(&word);
        }
        Ok(())
    });
}
