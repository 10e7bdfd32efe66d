//! The tables of flags and sources, against what each release says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use irsactl::externaldns::flags::{self, Flag, Kind};
use irsactl::externaldns::sources;
use irsactl::externaldns::version::NEWEST;

use crate::RELEASES;
use crate::support::Sandbox;

/// What `--help` of each release prints.
fn helps() -> Vec<(&'static str, String)> {
    let sandbox = Sandbox::lease();
    let help = |version| {
        let program = Path::new(sandbox.fact("stateDir")).join(format!("../../bin/external-dns-{version}"));
        let output = Command::new(program).arg("--help").output().unwrap();
        // Which of the two it goes to differs by release.
        (version, String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    RELEASES.into_iter().map(help).collect()
}

/// Name and kind of each flag: `--[no-]events`, `--source=source ...`, `--interval=1m0s`.
fn flags_of(help: &str) -> BTreeMap<&str, Kind> {
    let lines = help.lines().filter_map(|line| line.strip_prefix("  --"));
    let flags = lines.map(|line| {
        let (flag, rest) = line.split_at(line.find([' ', '=']).unwrap_or(line.len()));
        let usage = rest.split("  ").next().unwrap_or_default();
        match flag.strip_prefix("[no-]") {
            Some(name) => (name, Kind::Switch),
            None if usage.ends_with("...") => (flag, Kind::List),
            None => (flag, Kind::Value),
        }
    });
    flags.filter(|(name, _)| !["help", "version"].contains(name)).collect()
}

fn is_of_another_provider(flag: &str) -> bool {
    flags::check(flag, NEWEST).is_err_and(|why| why.contains("another DNS provider"))
}

/// The values of `--source`, which its description ends with.
fn sources_of(help: &str) -> BTreeSet<&str> {
    let (_, description) = help.split_once("\n  --source=").unwrap();
    let (_, options) = description.split_once("options:").unwrap();
    let (options, _) = options.split_once(')').unwrap();
    options.split([',', ' ', '\n']).filter(|word| !word.is_empty()).collect()
}

#[test]
fn each_release_has_the_flags_that_the_table_says() {
    for (release, help) in helps() {
        let version = release.parse().unwrap();
        let known = Flag::all().filter(|flag| flags::check(flag.name, version).is_ok());
        let known: BTreeMap<_, _> = known.map(|flag| (flag.name, flag.kind_in(version))).collect();
        let mut real = flags_of(&help);
        real.retain(|name, _| !is_of_another_provider(name));
        let differs = |name: &&&str| real.get(**name) != known.get(**name);
        let names: BTreeSet<_> = real.keys().chain(known.keys()).collect();
        let differences: Vec<_> = names.iter().filter(|name| differs(name)).collect();
        assert!(real.len() > 80 && differences.is_empty(), "{release}: {differences:?}");
    }
}

#[test]
fn each_release_has_the_sources_that_the_table_says() {
    let helps = helps();
    let all: BTreeSet<_> = helps.iter().flat_map(|(_, help)| sources_of(help)).collect();
    let never =
        |name: &str| sources::check_source(name, NEWEST).is_err_and(|why| why.starts_with(&format!("source {name}: ")));
    let wanted: BTreeSet<_> = all.into_iter().filter(|name| !never(name)).collect();
    for (release, help) in &helps {
        let version = release.parse().unwrap();
        let known = wanted.iter().copied().filter(|name| sources::check_source(name, version).is_ok());
        let real = sources_of(help).into_iter().filter(|name| !never(name));
        assert_eq!(known.collect::<Vec<_>>(), real.collect::<Vec<_>>(), "{release}");
    }
}
