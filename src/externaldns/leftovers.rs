//! What an installation leaves in a zone, and the command that removes it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::args::Installed;
use super::registry::{ENCRYPTED, Mapper, Record, audit_beside, display_name, labels, normalize};
use crate::shell::{self, Command};

/// Route53 takes 1000 values with 32,000 characters in a change batch ("Quotas", Route53 Developer Guide), and a value
/// of a TXT record has 255 at most.
const AT_ONCE: usize = 100;

/// The record sets of a zone, as Route53's API words them, that are `owner`'s: the records, and the TXT records that
/// say so; `elsewhere` are those of other zones that do ([`super::apex`]).
pub fn belonging(sets: &[Value], elsewhere: &[Record], mapper: &Mapper, owner: &str) -> Vec<Value> {
    let records: Vec<_> = sets.iter().map(Record::read).collect();
    let own: BTreeSet<_> = audit_beside(&records, elsewhere, mapper, Some(owner))
        .into_iter()
        .filter(|found| found.class.is_owned())
        .map(|found| key(&found.record))
        .collect();
    let says_so = |record: &Record| {
        let labels = record.values.first().and_then(|value| labels(value, mapper.version()));
        record.record_type == "TXT" && labels.is_some_and(|labels| labels.get("owner").is_some_and(|id| id == owner))
    };
    let belongs = |record: &Record| own.contains(&key(record)) || says_so(record);
    sets.iter().zip(&records).filter(|(_, record)| belongs(record)).map(|(set, _)| set.clone()).collect()
}

fn key(record: &Record) -> (String, String, Option<String>) {
    (normalize(&record.name), record.record_type.clone(), record.set_identifier.clone())
}

/// Why it can't be told from here which records an installation owns, if so, with the command that lists them.
pub fn untold(region: &str, installed: &Installed) -> Option<String> {
    let Installed { registry, assume_role, .. } = installed;
    let unknown = installed.unknown_records();
    if unknown.is_some() {
        return unknown;
    }
    match assume_role {
        _ if registry != "txt" => Some(format!("it keeps no TXT records (--registry={registry})")),
        Some(role) => Some(format!(
            "they are in zones of another account, which it reaches through {role}; with credentials of that account, \
             this lists them: {}",
            owned(region, installed)
        )),
        None if installed.encrypts() => Some(format!(
            "its TXT records are encrypted; this lists records with such TXT records: {}",
            owned(region, installed)
        )),
        None => None,
    }
}

fn owned(region: &str, installed: &Installed) -> Command {
    let owner = if installed.encrypts() { ENCRYPTED } else { &installed.owner_id };
    listing(region, installed).with("--owner", owner)
}

/// Lists the records of all zones of an account, with TXT records named as an installation names them.
pub fn listing(region: &str, installed: &Installed) -> Command {
    let affixes = [
        ("--txt-prefix", &installed.txt_prefix),
        ("--txt-suffix", &installed.txt_suffix),
        ("--txt-wildcard-replacement", &installed.wildcard_replacement),
    ];
    let command = Command::new("irsactl get dnsrecords").with("--region", region);
    let told = affixes.into_iter().filter_map(|(flag, value)| Some((flag, value.as_ref()?)));
    told.fold(command, |command, (flag, value)| command.with(flag, value))
}

/// `name TYPE` of a record set.
pub fn title(set: &Value) -> String {
    let record = Record::read(set);
    format!("{} {}", display_name(&normalize(&record.name)), record.record_type)
}

/// The commands for a POSIX shell that delete these record sets, with a line for each of them.
pub fn commands(zone_id: &str, sets: &[Value]) -> Vec<String> {
    sets.chunks(AT_ONCE).map(|sets| command(zone_id, sets)).collect()
}

/// The command in one line that makes one change (`CREATE`, `DELETE`) to each of these record sets, the first hundred of
/// them.
pub fn change(zone_id: &str, action: &str, sets: &[Value]) -> String {
    let sets = sets.iter().take(AT_ONCE);
    let changes: Vec<_> = sets.map(|set| json!({"Action": action, "ResourceRecordSet": set})).collect();
    let batch = shell::word(&json!({"Changes": changes}).to_string());
    format!("aws route53 change-resource-record-sets --hosted-zone-id {zone_id} --change-batch {batch}")
}

fn command(zone_id: &str, sets: &[Value]) -> String {
    let changes: Vec<_> =
        sets.iter().map(|set| json!({"Action": "DELETE", "ResourceRecordSet": set}).to_string()).collect();
    // No line of JSON ends the document early, and nothing in it means anything to the shell.
    format!(
        "aws route53 change-resource-record-sets --hosted-zone-id {zone_id} --change-batch file:///dev/stdin <<'EOF'\n\
         {{\"Changes\":[\n{}\n]}}\nEOF",
        changes.join(",\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, kind: &str, value: &str) -> Value {
        json!({"Name": name, "Type": kind, "TTL": 300, "ResourceRecords": [{"Value": value}]})
    }

    fn txt(name: &str, owner: &str) -> Value {
        set(name, "TXT", &format!("\"heritage=external-dns,external-dns/owner={owner}\""))
    }

    #[test]
    fn records_and_their_txts_belong_to_their_owner() {
        let own = [
            set("\\052.example.com.", "A", "192.0.2.1"),
            txt("a-\\052.example.com.", "me"),
            txt("a-gone.example.com.", "me"),
            txt("elsewhere.a-x.example.com.", "me"),
        ];
        let others = [
            set("other.example.com.", "A", "192.0.2.2"),
            txt("a-other.example.com.", "you"),
            set("hand.example.com.", "A", "192.0.2.3"),
            set("note.example.com.", "TXT", "\"owner=me\""),
        ];
        let mapper = Mapper::new("", "", "", "0.23.0".parse().unwrap());
        assert_eq!(belonging(&[&own[..], &others].concat(), &[], &mapper, "me"), own);
        assert_eq!(title(&own[0]), "*.example.com A");
    }

    #[test]
    fn what_can_not_be_told_comes_with_a_command_where_there_is_one() {
        let untold = |args: &[&str]| {
            let container = json!({"image": "external-dns:v0.23.0", "args": args});
            let deployment = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
            super::untold("us-west-2", &Installed::from_deployment(&deployment).unwrap())
        };
        assert_eq!(untold(&["--txt-owner-id=me"]), None);
        assert!(untold(&["--registry=noop", "--aws-assume-role=r"]).unwrap().ends_with("(--registry=noop)"));
        let role = untold(&["--txt-owner-id=me", "--aws-assume-role=r", "--txt-prefix=x-%{record_type}."]).unwrap();
        assert!(
            role.ends_with("irsactl get dnsrecords --region us-west-2 --txt-prefix 'x-%{record_type}.' --owner me"),
            "{role}"
        );
        let encrypted = untold(&["--txt-owner-id=me", "--txt-encrypt-enabled"]).unwrap();
        assert!(encrypted.ends_with("--owner '(encrypted)'"), "{encrypted}");
    }

    #[test]
    fn a_command_survives_the_shell() {
        let sets = vec![set("a.example.com.", "TXT", "\"it's $(x) `y` \\ \""); 101];
        let commands = commands("Z1", &sets);
        assert_eq!(commands.len(), 2);
        let (before, batch) = commands[1].split_once(" <<'EOF'\n").unwrap();
        assert_eq!(
            before,
            "aws route53 change-resource-record-sets --hosted-zone-id Z1 --change-batch file:///dev/stdin"
        );
        let batch = batch.strip_suffix("\nEOF").unwrap();
        assert_eq!(commands[0].lines().filter(|line| line.contains("DELETE")).count(), 100);
        let parsed: Value = serde_json::from_str(batch).unwrap();
        assert_eq!(parsed, json!({"Changes": [{"Action": "DELETE", "ResourceRecordSet": sets[0]}]}));
    }
}
