//! Ownership across zones. ExternalDNS reads all its zones together, and a TXT record goes to the zone of its own name:
//! that of a zone's apex, `a-dev.example.com`, lies in the zone above, unless a prefix with a dot puts it inside. Source:
//! `provider/aws/aws.go` (`suitableZones`) and `registry/txt` of ExternalDNS.

use std::collections::BTreeSet;

use super::filter::{Zone, is_below};
use super::registry::{Mapper, Record, normalize, speaks_of};

/// What to look up in other zones, those among `together`, to tell whose the records of a zone are: TXT records of its
/// apex in the zones above it, and records of the apexes below it of which TXT records here speak. Each is a zone and a
/// name.
pub fn inquiries<'z>(
    zone: &Zone,
    records: &[Record],
    together: &[&'z Zone],
    mapper: &Mapper,
) -> BTreeSet<(&'z str, String)> {
    let apex = normalize(&zone.name);
    let above: Vec<_> = together.iter().filter(|other| is_below(&zone.name, &other.name)).collect();
    let below: Vec<_> = together.iter().filter(|other| is_below(&other.name, &zone.name)).collect();
    let mut found = BTreeSet::new();
    for record in records {
        if !above.is_empty() && may_be_owned(record) && normalize(&record.name) == apex {
            let outside = mapper.txt_names(record).into_iter().filter(|txt| *txt != apex && !is_below(txt, &apex));
            found.extend(outside.flat_map(|txt| above.iter().map(move |other| (other.id.as_str(), txt.clone()))));
        }
        let host = if below.is_empty() { None } else { speaks_of(record, mapper) };
        let there = below.iter().filter(|other| host.as_ref() == Some(&normalize(&other.name)));
        found.extend(there.map(|other| (other.id.as_str(), normalize(&other.name))));
    }
    found
}

/// False for what makes a zone a zone.
pub fn may_be_owned(record: &Record) -> bool {
    !["SOA", "NS"].contains(&record.record_type.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::registry::{Class, audit_beside};
    use super::*;

    fn zone(id: &str, name: &str) -> Zone {
        Zone { id: id.to_owned(), name: name.to_owned(), private: false, comment: String::new() }
    }

    fn record(name: &str, kind: &str, value: &str) -> Record {
        let values = vec![value.to_owned()];
        Record { name: name.to_owned(), record_type: kind.to_owned(), values, ..Record::default() }
    }

    fn txt(name: &str, owner: &str) -> Record {
        record(name, "TXT", &format!("\"heritage=external-dns,external-dns/owner={owner}\""))
    }

    #[test]
    fn the_txt_record_of_an_apex_is_looked_for_above_and_its_record_below() {
        let (parent, child) = (zone("P", "example.com"), zone("C", "dev.example.com."));
        let other = zone("O", "example.org");
        let all = [&parent, &child, &other];
        let plain = Mapper::new("", "", "", "0.23.0".parse().unwrap());
        let inside = Mapper::new("extdns-%{record_type}.", "", "", "0.23.0".parse().unwrap());
        let of_child = [
            record("dev.example.com.", "NS", "ns"),
            record("dev.example.com.", "A", "192.0.2.1"),
            record("app.dev.example.com.", "A", "192.0.2.1"),
        ];
        let asked = |zone: &Zone, records: &[Record], mapper: &Mapper| {
            let found = inquiries(zone, records, &all, mapper).into_iter();
            found.map(|(id, name)| format!("{id} {name}")).collect::<Vec<_>>()
        };
        assert_eq!(asked(&child, &of_child, &plain), ["P a-dev.example.com"]);
        assert_eq!(asked(&child, &of_child, &inside), [""; 0]);
        let of_parent = [txt("a-dev.example.com.", "me"), txt("a-x.example.com.", "me")];
        assert_eq!(asked(&parent, &of_parent, &plain), ["C dev.example.com"]);
        assert_eq!(asked(&child, &of_parent, &plain), [""; 0]);

        let classes = |records: &[Record], elsewhere: &[Record]| {
            let found = audit_beside(records, elsewhere, &plain, Some("me")).into_iter();
            found.map(|owned| (owned.record.name, owned.class)).collect::<Vec<_>>()
        };
        let owned = |name: &str, class| (name.to_owned(), class);
        assert_eq!(classes(&of_child[1..2], &of_parent[..1]), [owned("dev.example.com", Class::Owned)]);
        assert_eq!(classes(&of_child[1..2], &[]), [owned("dev.example.com", Class::Unowned)]);
        assert_eq!(classes(&of_parent[..1], &of_child[1..2]), []);
        assert_eq!(classes(&of_parent[..1], &[]), [owned("a-dev.example.com", Class::OrphanTxt)]);
        // What the zone itself says counts first.
        let here = [of_child[1].clone(), txt("a-dev.example.com", "you")];
        assert_eq!(classes(&here, &of_parent[..1])[0], owned("dev.example.com", Class::Foreign));
    }
}
