//! The records of hosted zones as `get dnsrecords` lists them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::filter::Zone;
use super::registry::{Class, ENCRYPTED, Owned, display_name};

/// A hosted zone and its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Bare id.
    pub id: String,
    /// DNS name without the final dot.
    pub name: String,
    /// True for a zone of VPCs.
    pub private: bool,
    /// What was found; none where it can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<Vec<Row>>,
}

/// A record, and one thing that holds for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// DNS name without the final dot; unusual characters as Route53 writes them.
    pub name: String,
    /// `A`, `AAAA`, `CNAME`, `TXT`, …
    #[serde(rename = "type")]
    pub record_type: String,
    /// The DNS name of an ALIAS, or the values, separated by commas.
    pub target: String,
    /// What holds for it.
    pub class: Class,
    /// Owner id; several of them in a conflict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// `kind/namespace/name` of the object that asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// What tells record sets of one name and type apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_identifier: Option<String>,
    /// Seconds that resolvers may keep it.
    #[serde(skip)]
    pub ttl: Option<i64>,
}

impl Listed {
    /// A zone with its records in the order of their labels from the right, which is Route53's.
    pub fn new(zone: &Zone, found: Option<Vec<Owned>>) -> Self {
        let sorted = |found: Vec<Owned>| {
            let mut rows: Vec<_> = found.into_iter().map(Row::from).collect();
            rows.sort_by(|a, b| a.place().cmp(b.place()).then_with(|| a.rest().cmp(&b.rest())));
            rows
        };
        Self { id: zone.id.clone(), name: zone.name.clone(), private: zone.private, records: found.map(sorted) }
    }

    /// How many records each owner has, a conflict apart.
    pub fn owners(&self) -> BTreeMap<String, usize> {
        let mut owners = BTreeMap::new();
        for row in self.records.iter().flatten().filter(|row| row.class != Class::Conflict) {
            if let Some(owner) = &row.owner {
                *owners.entry(owner.clone()).or_default() += 1;
            }
        }
        owners
    }

    /// How many records each class has.
    pub fn classes(&self) -> BTreeMap<Class, usize> {
        let mut classes = BTreeMap::new();
        for row in self.records.iter().flatten() {
            *classes.entry(row.class).or_default() += 1;
        }
        classes
    }

    /// Owners other than the one in view whose TXT records belong to no record: their installations may name TXT
    /// records in another way.
    pub fn misread(&self, owner: Option<&str>) -> impl Iterator<Item = &str> {
        let leftover = |row: &&Row| row.record_type == "TXT" && [Class::OrphanTxt, Class::Foreign].contains(&row.class);
        let owners = self.records.iter().flatten().filter(leftover).filter_map(|row| row.owner.as_deref());
        owners.filter(move |&theirs| Some(theirs) != owner && theirs != ENCRYPTED)
    }
}

impl Row {
    fn place(&self) -> impl Iterator<Item = &str> {
        self.name.rsplit('.')
    }

    fn rest(&self) -> (&str, Option<&str>, Class) {
        (&self.record_type, self.set_identifier.as_deref(), self.class)
    }

    /// True if this is an owner of the record, or one of those in conflict.
    fn is_owned_by(&self, owner: &str) -> bool {
        let owners = self.owner.as_deref().unwrap_or_default();
        owners == owner || (self.class == Class::Conflict && owners.split(", ").any(|one| one == owner))
    }
}

impl From<Owned> for Row {
    fn from(found: Owned) -> Self {
        let Owned { record, class, owner, resource, .. } = found;
        Self {
            name: display_name(&record.name),
            target: match record.alias {
                Some(alias) => alias.trim_end_matches('.').to_owned(),
                None => record.values.join(","),
            },
            record_type: record.record_type,
            class,
            owner,
            resource,
            set_identifier: record.set_identifier,
            ttl: record.ttl,
        }
    }
}

/// Which records are asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of these owners; of any where empty.
    pub owners: Vec<String>,
    /// Of these classes; of any where empty.
    pub classes: Vec<Class>,
}

impl Wanted {
    /// True where nothing is left out.
    pub fn is_all(&self) -> bool {
        self.owners.is_empty() && self.classes.is_empty()
    }

    /// True for a record that is asked for.
    pub fn matches(&self, row: &Row) -> bool {
        let by_owner = self.owners.is_empty() || self.owners.iter().any(|owner| row.is_owned_by(owner));
        by_owner && (self.classes.is_empty() || self.classes.contains(&row.class))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::registry::{Mapper, Record, audit};
    use super::*;

    fn record(name: &str, kind: &str, value: &str) -> Record {
        let alias = value.strip_prefix("ALIAS ").map(str::to_owned);
        let values = if alias.is_some() { vec![] } else { value.split(' ').map(str::to_owned).collect() };
        Record { name: name.to_owned(), record_type: kind.to_owned(), alias, values, ..Record::default() }
    }

    fn txt(name: &str, owner: &str) -> Record {
        record(
            name,
            "TXT",
            &format!("\"heritage=external-dns,external-dns/owner={owner},external-dns/resource=a/b/c\""),
        )
    }

    fn listed(records: &[Record]) -> Listed {
        let zone = Zone { id: "Z1".to_owned(), name: "b.c".to_owned(), private: true, comment: String::new() };
        let mapper = Mapper::new("", "", "", "0.23.0".parse().unwrap());
        Listed::new(&zone, Some(audit(records, &mapper, Some("me"))))
    }

    #[test]
    fn the_document_has_what_is_known() {
        let zone = listed(&[
            record(r"\052.b.c.", "A", "ALIAS x.elb.amazonaws.com."),
            txt(r"a-\052.b.c.", "me"),
            record(r"\033.b.c.", "A", "192.0.2.1 192.0.2.2"),
            record("b.c.", "MX", "mail"),
        ]);
        let row = |name, kind, target, class| json!({"name": name, "type": kind, "target": target, "class": class});
        let mut owned = row("*.b.c", "A", "x.elb.amazonaws.com", "owned");
        owned["owner"] = json!("me");
        owned["resource"] = json!("a/b/c");
        let records = json!([
            row("b.c", "MX", "mail", "unowned"),
            owned,
            row(r"\033.b.c", "A", "192.0.2.1,192.0.2.2", "unowned"),
        ]);
        let expected = json!({"id": "Z1", "name": "b.c", "private": true, "records": records});
        assert_eq!(serde_json::to_value(&zone).unwrap(), expected);
        let unread = Listed { records: None, ..zone };
        assert_eq!(serde_json::to_value(&unread).unwrap(), json!({"id": "Z1", "name": "b.c", "private": true}));
    }

    #[test]
    fn owners_are_counted_and_filtered_those_of_a_conflict_too() {
        let zone = listed(&[
            record("app.b.c.", "A", "192.0.2.1"),
            txt("a-app.b.c.", "me"),
            txt("app.b.c.", "you"),
            txt("other.a-x.b.c.", "you"),
        ]);
        assert_eq!(zone.owners(), [("me".to_owned(), 1), ("you".to_owned(), 2)].into());
        assert_eq!(
            zone.classes().into_iter().collect::<Vec<_>>(),
            [(Class::Owned, 1), (Class::OrphanTxt, 1), (Class::ObsoleteTxt, 1), (Class::Conflict, 1)]
        );
        assert_eq!(zone.misread(Some("me")).collect::<Vec<_>>(), ["you"]);
        assert_eq!(zone.misread(Some("you")).count(), 0);
        let classes = |owner: &str| {
            let wanted = Wanted { owners: vec![owner.to_owned()], classes: Vec::new() };
            let rows = zone.records.iter().flatten().filter(|row| wanted.matches(row));
            rows.map(|row| row.class.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(classes("me"), ["owned", "conflict"]);
        assert_eq!(classes("you"), ["orphan-txt", "conflict", "obsolete-txt"]);
        assert!(classes("yo").is_empty());
    }
}
