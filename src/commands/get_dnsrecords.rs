//! `get dnsrecords`.

use std::collections::BTreeMap;
use std::pin::pin;

use futures::future::try_join;
use futures::stream::StreamExt;

use crate::Exit;
use crate::cli::dnsrecords::Get;
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::externaldns::args::Installed;
use crate::externaldns::filter::Zone;
use crate::externaldns::leftovers::untold;
use crate::externaldns::listing::{Listed, Row, Wanted};
use crate::externaldns::registry::{Mapper, normalize};
use crate::externaldns::version::NEWEST;
use crate::observe::records::{self, Viewer};
use crate::ui::{List, Output, Ui, clean, table};

/// Lists records by their owner, zone by zone as they are read.
pub(crate) async fn run(context: &Context, args: &Get) -> Result<Exit> {
    if args.cluster.is_none() && (args.kube.kubeconfig.is_some() || args.kube.context.is_some()) {
        return Err(Error::usage("--kubeconfig and --context need --cluster"));
    }
    let aws = context.aws(&args.aws).await?;
    let (installed, zones) = try_join(installed(context, args), aws.zones()).await?;
    let viewer = viewer(args, installed.as_ref());
    if let Some(installed) = &installed {
        warn(&context.ui, aws.region(), installed);
    }
    let all = zones;
    let zones = selected(args, installed.as_ref(), &all)?;
    let together = match &installed {
        Some(installed) if !args.all_zones => installed.looked_after(&all),
        _ => all.iter().collect(),
    };
    let wanted = Wanted { owners: args.owner.clone(), classes: args.class.clone() };
    let of_all = args.all_zones || (args.zone.is_empty() && installed.is_none());
    let mut report = Report::new(&context.ui, &viewer, wanted, of_all);
    let mut unreadable = None;
    let mut reads = pin!(records::listed(aws, &context.ui, &zones, &together, &viewer));
    while let Some((zone, read)) = reads.next().await {
        let found = match read {
            Ok(found) => Some(found),
            Err(error) if error.code != ErrorCode::AccessDenied => return Err(error),
            Err(error) => {
                // What was asked for by name is missed; what wasn't is one of many.
                if args.zone.is_empty() {
                    context.ui.warn(&format!("zone {} ({}) can't be read: {error}", zone.name, zone.id));
                } else {
                    unreadable.get_or_insert(error.context(format!("zone {} ({}) can't be read", zone.name, zone.id)));
                }
                None
            }
        };
        report.zone(Listed::new(zone, found))?;
    }
    report.end()?;
    unreadable.map_or(Ok(Exit::Success), Err)
}

async fn installed(context: &Context, args: &Get) -> Result<Option<Installed>> {
    let Some(cluster) = &args.cluster else { return Ok(None) };
    let place = (args.namespace.as_str(), args.name.as_str());
    records::installation(context, cluster, place, &args.aws, &args.kube).await.map(Some)
}

fn viewer(args: &Get, installed: Option<&Installed>) -> Viewer {
    if let Some(installed) = installed {
        return installed.into();
    }
    let text = |affix: &Option<String>| affix.clone().unwrap_or_default();
    let wildcard = text(&args.txt_wildcard_replacement);
    let mapper = Mapper::new(&text(&args.txt_prefix), &text(&args.txt_suffix), &wildcard, NEWEST);
    Viewer { mapper, owner: args.txt_owner_id.clone(), encrypts: false }
}

/// Says where what is listed doesn't tell what an installation owns.
fn warn(ui: &Ui, region: &str, installed: &Installed) {
    // Encrypted TXT records are listed, too, and told apart.
    let listed =
        installed.unknown_records().is_none() && installed.registry == "txt" && installed.assume_role.is_none();
    if let Some(why) = untold(region, installed).filter(|_| !listed) {
        let Installed { namespace, name, .. } = installed;
        ui.warn(&format!("ExternalDNS {namespace}/{name}: which records it owns isn't known: {why}"));
    }
}

/// The zones that are asked for, by name.
fn selected(args: &Get, installed: Option<&Installed>, zones: &[Zone]) -> Result<Vec<Zone>> {
    let mut selected = match installed {
        _ if !args.zone.is_empty() => named(&args.zone, zones)?,
        Some(installed) if !args.all_zones => installed.looked_after(zones).into_iter().cloned().collect(),
        _ => zones.to_vec(),
    };
    let key = |zone: &Zone| (zone.name.clone(), zone.private, zone.id.clone());
    selected.sort_by_key(key);
    selected.dedup_by_key(|zone| key(zone));
    Ok(selected)
}

/// Zones by id or name; a name may be that of several.
fn named(names: &[String], zones: &[Zone]) -> Result<Vec<Zone>> {
    let mut found = Vec::new();
    for name in names {
        let id = name.rsplit('/').next().unwrap_or(name);
        let domain = normalize(name);
        let before = found.len();
        found.extend(zones.iter().filter(|zone| zone.id == id || normalize(&zone.name) == domain).cloned());
        if found.len() == before {
            let known: Vec<_> = zones.iter().map(|zone| format!("{} ({})", zone.name, zone.id)).take(10).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let more = if zones.len() > 10 { format!(" and {} more", zones.len() - 10) } else { String::new() };
            return Err(Error::new(ErrorCode::ZoneNotFound, format!("there is no hosted zone {name}"))
                .cause(format!("the account has {known}{more}"))
                .hint("name one of them, or choose another account with --profile"));
        }
    }
    Ok(found)
}

/// What is printed, zone by zone.
struct Report<'u> {
    ui: &'u Ui,
    wanted: Wanted,
    owner: Option<&'u str>,
    /// The document; none for people.
    document: Option<List<'u>>,
    /// True once something was printed for people.
    printed: bool,
    /// What is said of zones that several owners share; none where not all zones are read.
    shared: Option<Vec<String>>,
    /// Owners with TXT records that belong to no record, and how many.
    misread: BTreeMap<String, usize>,
}

impl<'u> Report<'u> {
    fn new(ui: &'u Ui, viewer: &'u Viewer, wanted: Wanted, all: bool) -> Self {
        let document = ui.output().is_document().then(|| ui.list("zones"));
        let owner = viewer.owner.as_deref();
        Self { ui, wanted, owner, document, printed: false, shared: all.then(Vec::new), misread: BTreeMap::new() }
    }

    fn zone(&mut self, mut zone: Listed) -> Result<()> {
        if let Some(shared) = &mut self.shared {
            shared.extend(sharing(&zone));
        }
        for owner in zone.misread(self.owner) {
            *self.misread.entry(owner.to_owned()).or_default() += 1;
        }
        if let Some(rows) = &mut zone.records {
            rows.retain(|row| self.wanted.matches(row));
        }
        if let Some(document) = &mut self.document {
            return document.item(&zone);
        }
        let Some(rows) = zone.records.as_ref().filter(|rows| self.wanted.is_all() || !rows.is_empty()) else {
            return Ok(());
        };
        let before = if self.printed { "\n" } else { "" };
        self.printed = true;
        let table = match (rows.is_empty(), self.ui.output()) {
            (true, _) => String::new(),
            (_, Output::Wide) => table::render(&WIDE, &rows.iter().map(wide).collect::<Vec<_>>()),
            _ => table::render(&HEADER, &rows.iter().map(short).collect::<Vec<_>>()),
        };
        self.ui.print(&format!("{before}{}\n{table}", clean(&title(&zone))))
    }

    fn end(self) -> Result<()> {
        let people = self.document.is_none();
        if let Some(document) = self.document {
            document.end()?;
        } else if !self.printed {
            self.ui.print("No DNS records found\n")?;
        }
        if let Some(shared) = self.shared.filter(|shared| !shared.is_empty()) {
            let text = format!("Zones that several owners share:\n{}", shared.concat());
            if people { self.ui.print(&clean(&format!("\n{text}")))? } else { self.ui.note(clean(&text).trim_end()) }
        }
        for (owner, count) in self.misread {
            self.ui.note(&clean(&format!(
                "no record belongs to TXT records of {owner} ({}) by this naming: if its ExternalDNS has a prefix or \
                 suffix, its records are seen with --txt-owner-id and --txt-prefix or --txt-suffix",
                records(count)
            )));
        }
        Ok(())
    }
}

fn title(zone: &Listed) -> String {
    let classes = zone.classes();
    let counts: Vec<_> = classes.iter().map(|(class, count)| format!("{count} {}", class.as_str())).collect();
    let counts = if counts.is_empty() { "no records".to_owned() } else { counts.join(", ") };
    format!("Zone {} ({}, {}): {counts}", zone.name, zone.id, if zone.private { "private" } else { "public" })
}

fn records(count: usize) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{count} records") }
}

/// A line about a zone that more than one owner has records in.
fn sharing(zone: &Listed) -> Option<String> {
    let owners = zone.owners();
    let said: Vec<_> = owners.iter().map(|(owner, count)| format!("{owner} ({})", records(*count))).collect();
    (said.len() > 1).then(|| format!("  {} ({}): {}\n", zone.name, zone.id, said.join(", ")))
}

const HEADER: [&str; 5] = ["NAME", "TYPE", "TARGET", "CLASS", "OWNER"];
const WIDE: [&str; 8] = ["NAME", "TYPE", "TARGET", "CLASS", "OWNER", "RESOURCE", "SET IDENTIFIER", "TTL"];

/// Targets that are longer are cut off in the narrow table: keys and the values of TXT records.
const LONGEST_TARGET: usize = 80;

fn or_dash(value: Option<&str>) -> String {
    value.unwrap_or("-").to_owned()
}

fn short(row: &Row) -> Vec<String> {
    let mut cells = cells(row);
    if let Some((end, _)) = cells[2].char_indices().nth(LONGEST_TARGET) {
        cells[2].truncate(end);
        cells[2].push('…');
    }
    cells
}

fn wide(row: &Row) -> Vec<String> {
    let mut cells = cells(row);
    cells.extend([
        or_dash(row.resource.as_deref()),
        or_dash(row.set_identifier.as_deref()),
        or_dash(row.ttl.map(|ttl| ttl.to_string()).as_deref()),
    ]);
    cells
}

fn cells(row: &Row) -> Vec<String> {
    let Row { name, record_type, target, class, owner, .. } = row;
    vec![name.clone(), record_type.clone(), target.clone(), class.as_str().to_owned(), or_dash(owner.as_deref())]
}
