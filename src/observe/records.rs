//! The records of the zones that an installation looks after.

use std::collections::BTreeSet;

use futures::future::try_join;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use serde_json::Value;

use crate::aws::Aws;
use crate::aws::eks::Cluster;
use crate::cli::shared;
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::externaldns::apex::{inquiries, may_be_owned};
use crate::externaldns::args::Installed;
use crate::externaldns::filter::{Zone, select_zones};
use crate::externaldns::hosts::desired_hosts;
use crate::externaldns::leftovers::belonging;
use crate::externaldns::owner::derived_owner_id;
use crate::externaldns::protect::{orphaned, protected_changes};
use crate::externaldns::registry::{Class, ENCRYPTED, Mapper, Owned, Record, audit_beside, normalize};
use crate::externaldns::settings::{Registry, Settings};
use crate::externaldns::view::View;
use crate::k8s::{Kind, Kubernetes};
use crate::ui::Ui;

/// Route53 answers five requests a second per account.
pub(super) const AT_ONCE: usize = 4;

/// The records of some zones.
#[derive(Default)]
struct Audited {
    /// All of them, sorted by owner as `now` sees them.
    found: Vec<Owned>,
    /// Those that `now` owns and `then` doesn't.
    orphaned: Vec<Owned>,
}

/// Reads the records of these zones; none where they can't be read.
async fn audited(aws: &Aws, ui: &Ui, zones: &[&Zone], now: &Viewer, then: &Viewer) -> Result<Option<Audited>> {
    let reads = zones.iter().map(|zone| async move {
        let records = aws.records(&zone.id).await?;
        let found = seen(&records, &beside(aws, zone, &records, zones, &now.mapper).await?, now);
        let orphaned = if now == then {
            Vec::new()
        } else {
            let elsewhere = beside(aws, zone, &records, zones, &then.mapper).await?;
            orphaned(&found, &seen(&records, &elsewhere, then))
        };
        Ok(Audited { found, orphaned })
    });
    let found: Result<Vec<_>> = stream::iter(reads).buffered(AT_ONCE).try_collect().await;
    let joined = |mut all: Audited, zone: Audited| {
        all.found.extend(zone.found);
        all.orphaned.extend(zone.orphaned);
        all
    };
    match found {
        Ok(zones) => Ok(Some(zones.into_iter().fold(Audited::default(), joined))),
        Err(error) => unreadable(ui, error),
    }
}

/// The records of other zones, of those read `together` with this one, that tell whose its records are, or that its TXT
/// records speak of: each is read by its name, so that no other zone is read whole for them.
pub(super) async fn beside(
    aws: &Aws,
    zone: &Zone,
    records: &[Record],
    together: &[&Zone],
    mapper: &Mapper,
) -> Result<Vec<Record>> {
    let reads = inquiries(zone, records, together, mapper).into_iter();
    let reads = reads.map(|(id, name)| async move { aws.records_at(id, &name).await });
    let found: Vec<_> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().filter(may_be_owned).collect())
}

fn is_own(record: &Owned, viewer: &Viewer) -> bool {
    let own = record.class.is_owned() || matches!(record.class, Class::OrphanTxt | Class::ObsoleteTxt);
    let encrypted = viewer.encrypts && record.owner.as_deref() == Some(ENCRYPTED);
    own && (encrypted || record.owner == viewer.owner)
}

fn unreadable<T>(ui: &Ui, error: Box<Error>) -> Result<Option<T>> {
    if error.code != ErrorCode::AccessDenied {
        return Err(error);
    }
    ui.warn(&format!("the records of the zones can't be read: {error}"));
    Ok(None)
}

/// The records that a change could cost, and what asks for them.
#[derive(Default)]
pub(crate) struct AtStake {
    /// The owner's records; none where they can't be read.
    pub(crate) records: Option<Vec<Owned>>,
    /// Those that a live installation wouldn't find the owner of any more, were only its TXT records looked for
    /// otherwise.
    pub(crate) orphaned: Vec<Owned>,
    /// The Ingresses and Services of the cluster.
    pub(crate) objects: Vec<Value>,
    /// Records of hosts that they ask for, which an installation without ownership would overwrite.
    pub(crate) overwritten: Vec<Record>,
    /// Records of hosts that they ask for and that a new installation doesn't own: it will leave them as they are.
    pub(crate) strangers: Vec<Owned>,
}

/// Reads what an installation could take over or lose: the records of the owner id of a new one and what the cluster
/// asks for, or those of a live one whose identity or view changes. Nothing is read where nothing is at stake.
pub(crate) async fn at_stake(
    aws: &Aws,
    ui: &Ui,
    kubernetes: Option<&Kubernetes>,
    installed: Option<&Installed>,
    settings: &Settings,
    zones: &[Zone],
) -> Result<AtStake> {
    let Some(kubernetes) = kubernetes.filter(|_| settings.assume_role.is_none()) else {
        // A new installation has nothing to lose; whether it takes something over is nothing that can be asked here.
        return Ok(AtStake { records: installed.is_none().then(Vec::new), ..AtStake::default() });
    };
    let selected = select_zones(zones, settings);
    if settings.registry == Registry::Noop && installed.is_none() {
        let objects = sources(kubernetes).await?;
        let overwritten = overwritten(aws, &selected, settings, &objects).await?;
        return Ok(AtStake { records: Some(Vec::new()), objects, overwritten, ..AtStake::default() });
    }
    let (zones, viewer) = match installed {
        // Whose what is encrypted is can't be told.
        None if settings.registry == Registry::Txt => (selected, Viewer { encrypts: false, ..Viewer::from(settings) }),
        Some(installed) if !protected_changes(installed, settings).is_empty() => {
            // Those that it will look after, too: they may hold records from before.
            let mut all = installed.looked_after(zones);
            all.extend(
                selected.into_iter().filter(|zone| !all.iter().any(|other| other.id == zone.id)).collect::<Vec<_>>(),
            );
            (all, Viewer::from(installed))
        }
        _ => return Ok(AtStake { records: Some(Vec::new()), ..AtStake::default() }),
    };
    // Another owner id is a change of its own.
    let then = Viewer { owner: viewer.owner.clone(), ..Viewer::from(settings) };
    let Some(audited) = audited(aws, ui, &zones, &viewer, &then).await? else { return Ok(AtStake::default()) };
    let Audited { found, orphaned } = audited;
    let (records, mut strangers): (Vec<_>, Vec<_>) = found.into_iter().partition(|record| is_own(record, &viewer));
    strangers.retain(|record| installed.is_none() && is_address(&record.record));
    if records.is_empty() && installed.is_some() {
        return Ok(AtStake { records: Some(records), ..AtStake::default() });
    }
    let objects = sources(kubernetes).await?;
    let hosts = hosts(settings, &objects);
    strangers.retain(|record| hosts.contains(&record.record.name));
    Ok(AtStake { records: Some(records), orphaned, objects, strangers, ..AtStake::default() })
}

/// The objects whose hosts can be told.
async fn sources(kubernetes: &Kubernetes) -> Result<Vec<Value>> {
    let list = |kind: &'static Kind| kubernetes.list(kind, None, None, None);
    let (ingresses, services) = try_join(list(&Kind::INGRESS), list(&Kind::SERVICE)).await?;
    Ok(ingresses.into_iter().chain(services).collect())
}

/// The hosts that the objects ask for.
fn hosts(settings: &Settings, objects: &[Value]) -> BTreeSet<String> {
    desired_hosts(objects, &View::from(settings)).into_iter().map(|host| host.host).collect()
}

fn is_address(record: &Record) -> bool {
    ["A", "AAAA", "CNAME"].contains(&record.record_type.as_str())
}

/// The address records of hosts that the objects ask for.
async fn overwritten(aws: &Aws, zones: &[&Zone], settings: &Settings, objects: &[Value]) -> Result<Vec<Record>> {
    let hosts = hosts(settings, objects);
    let reads = zones.iter().map(|zone| aws.records(&zone.id));
    let records: Vec<Vec<Record>> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
    let taken = |record: &Record| is_address(record) && hosts.contains(&normalize(&record.name));
    Ok(records.into_iter().flatten().filter(taken).collect())
}

/// Whose eyes records are seen with.
#[derive(PartialEq, Eq)]
pub(crate) struct Viewer {
    /// How TXT records are named.
    pub(crate) mapper: Mapper,
    /// The owner id; with none, every record that has an owner is `owned`.
    pub(crate) owner: Option<String>,
    /// True for an installation whose own TXT records are encrypted.
    pub(crate) encrypts: bool,
}

impl From<&Installed> for Viewer {
    fn from(installed: &Installed) -> Self {
        let owner = Some(installed.owner_id.clone());
        Self { mapper: installed.mapper(), owner, encrypts: installed.encrypts() }
    }
}

impl From<&Settings> for Viewer {
    fn from(settings: &Settings) -> Self {
        let owner = Some(settings.owner_id.clone());
        Self { mapper: settings.mapper(), owner, encrypts: settings.extra_switch("txt-encrypt-enabled") }
    }
}

/// The records of zones in the order of `zones`, each zone read whole before it is sorted by owner: a record and the TXT
/// record that says whose it is may be at its two ends. A few zones are read ahead, so that memory is bounded by them.
/// Where the two are in different zones of those read `together`, the one in the other zone is read by its name.
pub(crate) fn listed<'a>(
    aws: &'a Aws,
    ui: &'a Ui,
    zones: &'a [Zone],
    together: &'a [&'a Zone],
    viewer: &'a Viewer,
) -> impl Stream<Item = (&'a Zone, Result<Vec<Owned>>)> {
    let read = move |zone: &'a Zone| async move {
        let records = aws.records(&zone.id).await?;
        let elsewhere = match beside(aws, zone, &records, together, &viewer.mapper).await {
            Err(error) if error.code == ErrorCode::AccessDenied => {
                ui.warn(&format!("zone {} ({}): who owns its apex isn't known: {error}", zone.name, zone.id));
                Vec::new()
            }
            found => found?,
        };
        Ok(seen(&records, &elsewhere, viewer))
    };
    stream::iter(zones.iter().map(move |zone| async move { (zone, read(zone).await) })).buffered(AT_ONCE)
}

pub(super) fn seen(records: &[Record], elsewhere: &[Record], viewer: &Viewer) -> Vec<Owned> {
    let mut found = audit_beside(records, elsewhere, &viewer.mapper, viewer.owner.as_deref());
    let own = |record: &&mut Owned| record.class == Class::Foreign && record.owner.as_deref() == Some(ENCRYPTED);
    for record in found.iter_mut().filter(|_| viewer.encrypts).filter(own) {
        record.class = Class::Owned;
    }
    found
}

/// The ExternalDNS of a cluster that has this namespace and name.
///
/// # Errors
/// `NotFound` where there is none, naming those that are there.
pub(crate) async fn installation(
    context: &Context,
    cluster: &str,
    (namespace, name): (&str, &str),
    aws: &shared::Aws,
    kube: &shared::Kube,
) -> Result<Installed> {
    let (cluster, _) = context.cluster(aws, cluster).await?;
    let read = async {
        let kubernetes = context.kubernetes(&cluster, aws, kube).await?;
        let deployment = kubernetes.get(&Kind::DEPLOYMENT, Some(namespace), name).await?;
        if let Some(installed) = deployment.as_ref().and_then(Installed::from_deployment) {
            return Ok(installed);
        }
        let others = match kubernetes.list(&Kind::DEPLOYMENT, None, None, None).await {
            Ok(deployments) => deployments.iter().filter_map(Installed::from_deployment).collect(),
            Err(error) if error.code == ErrorCode::ClusterForbidden => Vec::new(),
            Err(error) => return Err(error),
        };
        let region = context.aws(aws).await?.region();
        Err(not_installed(&cluster, region, (namespace, name), &others))
    };
    match read.await {
        Ok(installed) => Ok(installed),
        Err(error) => Err(context.explain_access(error, &cluster.name).await),
    }
}

fn not_installed(cluster: &Cluster, region: &str, (namespace, name): (&str, &str), others: &[Installed]) -> Box<Error> {
    let error =
        Error::new(ErrorCode::NotFound, format!("cluster {} has no ExternalDNS {namespace}/{name}", cluster.name));
    match others {
        [] => {
            let owner = derived_owner_id(&cluster.name, &cluster.arn, name);
            error.hint(format!(
                "records of one that irsactl installed are seen with irsactl get dnsrecords --region {region} \
                 --txt-owner-id {owner}"
            ))
        }
        [one, ..] => {
            let names: Vec<_> = others.iter().map(|found| format!("{}/{}", found.namespace, found.name)).collect();
            error.cause(format!("it has {}", names.join(", "))).hint(format!(
                "irsactl get dnsrecords --cluster {} --region {region} --namespace {} --name {}",
                cluster.name, one.namespace, one.name
            ))
        }
    }
}

/// Records that stay in a zone when an installation goes.
pub(crate) struct Leftover {
    /// The zone.
    pub(crate) zone: Zone,
    /// The record sets, as Route53's API words them.
    pub(crate) sets: Vec<Value>,
}

/// What an installation that goes leaves in the zones that it looked after, as far as its TXT records tell
/// ([`leftovers::untold`](crate::externaldns::leftovers::untold)).
pub(crate) async fn leftovers(aws: &Aws, ui: &Ui, installed: &Installed) -> Result<Vec<Leftover>> {
    match read_leftovers(aws, installed).await {
        Ok(found) => Ok(found),
        Err(error) => Ok(unreadable(ui, error)?.unwrap_or_default()),
    }
}

async fn read_leftovers(aws: &Aws, installed: &Installed) -> Result<Vec<Leftover>> {
    let zones = aws.zones().await?;
    let (together, mapper) = (&installed.looked_after(&zones), &installed.mapper());
    let reads = together.iter().map(|zone| async move {
        let sets = aws.record_sets(&zone.id).await?;
        let records: Vec<_> = sets.iter().map(Record::read).collect();
        let elsewhere = beside(aws, zone, &records, together, mapper).await?;
        let sets = belonging(&sets, &elsewhere, mapper, &installed.owner_id);
        Ok(Leftover { zone: Zone::clone(zone), sets })
    });
    let found: Result<Vec<_>> = stream::iter(reads).buffered(AT_ONCE).try_collect().await;
    Ok(found?.into_iter().filter(|left| !left.sets.is_empty()).collect())
}
