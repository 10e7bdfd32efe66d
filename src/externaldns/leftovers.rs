//! What an installation leaves in a zone, and the command that removes it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::registry::{Class, Mapper, Record, audit, labels, normalize};

/// Route53 takes 1000 values in a change batch (`ChangeResourceRecordSets`), and a shell 128 KiB in an argument.
const AT_ONCE: usize = 100;

/// The record sets of a zone, as Route53's API words them, that are `owner`'s: the records, and the TXT records that
/// say so.
pub fn belonging(sets: &[Value], mapper: &Mapper, owner: &str) -> Vec<Value> {
    let records: Vec<_> = sets.iter().map(Record::read).collect();
    let own: BTreeSet<_> = audit(&records, mapper, Some(owner))
        .into_iter()
        .filter(|found| matches!(found.class, Class::Owned | Class::OwnedLegacy))
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

/// `name TYPE` of a record set.
pub fn title(set: &Value) -> String {
    let record = Record::read(set);
    format!("{} {}", normalize(&record.name), record.record_type)
}

/// The commands for a POSIX shell that delete these record sets.
pub fn commands(zone_id: &str, sets: &[Value]) -> Vec<String> {
    sets.chunks(AT_ONCE).map(|sets| command(zone_id, sets)).collect()
}

fn command(zone_id: &str, sets: &[Value]) -> String {
    let changes: Vec<_> = sets.iter().map(|set| json!({"Action": "DELETE", "ResourceRecordSet": set})).collect();
    // A quote can only be inside of a string, where JSON has another way to write it.
    let batch = json!({"Changes": changes}).to_string().replace('\'', "\\u0027");
    format!("aws route53 change-resource-record-sets --hosted-zone-id {zone_id} --change-batch '{batch}'")
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
        assert_eq!(belonging(&[&own[..], &others].concat(), &mapper, "me"), own);
        assert_eq!(title(&own[0]), "*.example.com A");
    }

    #[test]
    fn a_command_survives_the_shell() {
        let sets = vec![set("a.example.com.", "TXT", "\"it's $(x) `y` \\ \""); 101];
        let commands = commands("Z1", &sets);
        assert_eq!(commands.len(), 2);
        let (before, batch) = commands[1].split_once('\'').unwrap();
        assert!(before.starts_with("aws route53 change-resource-record-sets --hosted-zone-id Z1 "), "{before}");
        let batch = batch.strip_suffix('\'').unwrap();
        assert!(!batch.contains('\''));
        let parsed: Value = serde_json::from_str(batch).unwrap();
        assert_eq!(parsed, json!({"Changes": [{"Action": "DELETE", "ResourceRecordSet": sets[0]}]}));
    }
}
