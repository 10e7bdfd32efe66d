//! DNS records, TXT records among them, and the commands that are made of them.

use std::collections::BTreeMap;
use std::process::Command;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use irsactl::externaldns::filter::DomainFilter;
use irsactl::externaldns::leftovers;
use irsactl::externaldns::registry::{
    Class, Mapper, Record, audit, display_name, is_too_long, labels, maybe_encrypted, normalize, txt_value,
};
use irsactl::externaldns::version::{NEWEST, Version, image_tag};
use irsactl::shell;

use crate::inputs::{json, mutated, text};
use crate::property::holds;

fn version() -> impl Strategy<Value = Version> {
    (14..24_u32).prop_map(|minor| format!("v0.{minor}.0").parse().unwrap())
}

fn mapper() -> impl Strategy<Value = Mapper> {
    let affix = select(&["", "txt.", "extdns-%{record_type}.", "a-", "%{record_type}"][..]);
    (affix, any::<bool>(), select(&["", "any"][..]), version()).prop_map(|(affix, prefix, wildcard, version)| {
        let (prefix, suffix) = if prefix { (affix, "") } else { ("", affix) };
        Mapper::new(prefix, suffix.trim_end_matches('.'), wildcard, version)
    })
}

fn record() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        "(a-|cname-|txt\\.|any\\.)?[a-c]{1,2}\\.example\\.com\\.",
        text(),
        Just("example.com.".to_owned()),
        Just("\\052.example.com.".to_owned())
    ];
    let value = prop_oneof![
        "\"heritage=external-dns,external-dns/owner=[ab],external-dns/resource=ingress/[ab]/[ab]\"",
        text(),
        Just("192.0.2.1".to_owned())
    ];
    let kind = select(&["A", "AAAA", "CNAME", "TXT", "TXT", "TXT", "MX", "NS", "SOA", "X"][..]);
    (name, kind, vec(value, 0..3), proptest::option::of(text()), any::<bool>()).prop_map(
        |(name, kind, values, id, alias)| {
            let values: Vec<_> = values.into_iter().map(|value| json!({"Value": value})).collect();
            let mut set = json!({"Name": name, "Type": kind, "TTL": 300, "ResourceRecords": values});
            if let Some(id) = id {
                set["SetIdentifier"] = json!(id);
            }
            if alias {
                set["AliasTarget"] = json!({"DNSName": "lb.example.com."});
            }
            set
        },
    )
}

#[test]
fn any_records_are_sorted_by_owner() {
    let odd = mutated(vec![json!({"Name": "a.example.com.", "Type": "TXT", "ResourceRecords": [{"Value": "\"x\""}]})]);
    let sets = vec(prop_oneof![4 => record(), 1 => odd, 1 => json()], 0..12);
    holds("zones", (sets, mapper(), proptest::option::of(select(&["a", "b", ""][..]))), |(sets, mapper, owner)| {
        let records: Vec<Record> = sets.iter().map(Record::read).collect();
        let found = audit(&records, &mapper, owner);
        for owned in &found {
            let original = |record: &Record| {
                normalize(&record.name) == owned.record.name && record.record_type == owned.record.record_type
            };
            prop_assert!(records.iter().any(original), "{owned:?}");
            let own = matches!(owned.class, Class::Owned | Class::OwnedLegacy);
            prop_assert!(!own || owner.is_none_or(|owner| owned.owner.as_deref() == Some(owner)), "{owned:?}");
            prop_assert!(owned.class != Class::Unowned || owned.owner.is_none(), "{owned:?}");
        }
        // Nothing is left out that isn't a zone's own or a TXT record at work.
        for record in records.iter().filter(|record| !["SOA", "NS", "TXT"].contains(&record.record_type.as_str())) {
            prop_assert!(found.iter().any(|owned| owned.record.name == normalize(&record.name)), "{record:?}");
        }
        // What is called an installation's own is all that a removal deletes.
        if let Some(owner) = owner {
            for set in leftovers::belonging(&sets, &[], &mapper, owner) {
                prop_assert!(sets.contains(&set));
                let of_type = set["Type"].as_str().unwrap_or_default();
                let owned = found.iter().any(|one| {
                    matches!(one.class, Class::Owned | Class::OwnedLegacy) && one.record.record_type == of_type
                });
                prop_assert!(owned || of_type == "TXT", "{set}");
            }
        }
        for set in &sets {
            let _ = leftovers::title(set);
        }
        Ok(())
    });
}

#[test]
fn labels_survive_a_txt_record() {
    let pairs = proptest::collection::btree_map(
        "[a-z][a-z0-9-]{0,8}",
        "[ -+.-<>-~]{0,20}".prop_map(|text: String| text.replace('"', "")),
        0..5,
    );
    holds("labels of TXT records", (pairs, text(), version()), |(pairs, word, version)| {
        let pairs: BTreeMap<String, String> = pairs;
        let pairs: BTreeMap<_, _> = pairs.into_iter().filter(|(_, value)| !value.contains([',', '='])).collect();
        prop_assert_eq!(labels(&txt_value(&pairs), NEWEST), Some(pairs.clone()));
        // Others' words are never an owner.
        let found = labels(&word, version);
        prop_assert!(found.is_none() || word.replace("\" \"", "").contains("heritage=external-dns"));
        let _ = maybe_encrypted(&word);
        Ok(())
    });
}

#[test]
fn names_survive_both_ways() {
    let host = "(\\*\\.)?[a-z0-9_][a-z0-9_-]{0,9}(\\.[a-z0-9-]{1,9}){1,3}";
    holds("hosts", (host, mapper(), select(&["A", "AAAA", "CNAME"][..]), text()), |(host, mapper, kind, word)| {
        let host: String = host;
        let txt = mapper.txt_name(&host, kind);
        let back = mapper.host(&txt);
        prop_assert!(back.is_some(), "{} is of no host", txt);
        let _ = (mapper.host(&word), mapper.txt_name(&word, &word), is_too_long(&word));
        prop_assert_eq!(normalize(&display_name(&host)), host.as_str());
        let plain = normalize(&word);
        // A name that is shown is that name again, but for what has no place in one.
        if !plain.ends_with('.') && plain.is_ascii() {
            prop_assert_eq!(normalize(&display_name(&plain)), plain);
        }
        let filter = DomainFilter::new(std::slice::from_ref(&word), &[], mapper.version());
        let _ = (filter.matches(&host), filter.matches_parent(&word), filter.is_empty());
        let _ = (Version::of_image(&word), image_tag(&word), word.parse::<Version>());
        Ok(())
    });
}

/// What a shell makes of a line.
fn bash(line: &str) -> Vec<u8> {
    let output =
        Command::new("/bin/bash").arg("-c").arg(line).env_clear().env("PATH", "/nonexistent").output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn a_shell_reads_what_was_meant() {
    // What no argument can hold.
    let word = || text().prop_map(|text| text.replace('\0', ""));
    holds("words for a shell", vec(word(), 1..20), |words| {
        let line = words.iter().fold("printf '%s\\0'".to_owned(), |line, word| line + " " + &shell::word(word));
        let expected = words.iter().fold(String::new(), |all, word| all + word + "\0");
        prop_assert_eq!(String::from_utf8(bash(&line)).unwrap(), expected);
        Ok(())
    });
}

#[test]
fn records_survive_the_command_that_deletes_them() {
    holds("commands that delete", vec(record(), 1..4), |sets| {
        let aws = "aws() { while IFS= read -r line; do printf '%s\\n' \"$line\"; done; }\n";
        let expected: Vec<_> = sets.iter().map(|set| json!({"Action": "DELETE", "ResourceRecordSet": set})).collect();
        for command in leftovers::commands("Z1", &sets) {
            let batch: Value = serde_json::from_slice(&bash(&format!("{aws}{command}")))
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(&batch, &json!({"Changes": expected}));
        }
        let change = leftovers::change("Z1", "DELETE", &sets);
        let batch: Value = serde_json::from_slice(&bash(&format!("aws() {{ printf '%s' \"$6\"; }}\n{change}")))
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(batch, json!({"Changes": expected}));
        Ok(())
    });
}
