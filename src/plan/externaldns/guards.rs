//! What an installation must not run into: others' installations, others' objects, others' records.

use serde_json::Value;

use super::super::Plan;
use super::super::iamserviceaccount::{MANAGED_BY, annotation, label};
use super::full_name;
use crate::aws::eks::{Addon, Association};
use crate::error::{Error, ErrorCode, Result};
use crate::externaldns::args::Installed;
use crate::externaldns::filter::{self, Zone};
use crate::externaldns::owner::DEFAULT_NAME;
use crate::externaldns::settings::Settings;
use crate::k8s::diff::is_field_of;
use crate::k8s::{FIELD_MANAGER, Kind};
use crate::shell::Command;

/// True where irsactl made it: its label says so, or, where somebody took that off, another label that it applied.
pub fn is_ours(live: &Value) -> bool {
    match label(live, MANAGED_BY) {
        Some(manager) => manager == FIELD_MANAGER,
        None => is_field_of(live, &["metadata", "labels", "app.kubernetes.io/name"], FIELD_MANAGER),
    }
}

/// An object of the installation that others made stays theirs, unless it is adopted.
///
/// # Errors
/// `ForeignInstallation` for a Deployment, naming its owner id; else `ForeignObject`.
pub fn ours(kind: &Kind, live: &Value, adopt: bool) -> Result<()> {
    if adopt || is_ours(live) {
        return Ok(());
    }
    let name = full_name(live);
    let maker = label(live, MANAGED_BY).map_or("nobody's label is on it".to_owned(), |by| format!("it is {by}'s"));
    let code = if kind.kind == "Deployment" { ErrorCode::ForeignInstallation } else { ErrorCode::ForeignObject };
    let owner = Installed::from_deployment(live).map(|installed| format!("; its owner id is {}", installed.owner()));
    Err(Error::new(code, format!("{} {name} exists, and irsactl didn't make it", kind.kind))
        .cause(maker + owner.as_deref().unwrap_or_default())
        .hint_consent("another --name installs beside it; --adopt takes it over", "--adopt"))
}

/// What an installation was told elsewhere than in its Deployment isn't read: installed anew, it would be told something
/// else. `named` are the flags that are told again.
///
/// # Errors
/// `RecordsAtRisk`, naming the flags.
pub fn told(plan: &mut Plan, installed: &Installed, named: impl Fn(&str) -> bool) -> Result<()> {
    let (taken, lost): (Vec<_>, Vec<_>) = installed.lost().into_iter().partition(|(flag, _)| named(flag));
    for (flag, why) in taken {
        plan.note(format!("what --{flag} is so far isn't known: {why}"));
    }
    if lost.is_empty() {
        return Ok(());
    }
    let Installed { namespace, name, .. } = installed;
    let flags: Vec<_> = lost.iter().map(|(flag, _)| format!("--{flag}")).collect();
    let message = format!("what ExternalDNS {namespace}/{name} is told can't be taken over: {}", flags.join(", "));
    let error = lost.into_iter().fold(Error::new(ErrorCode::RecordsAtRisk, message), |error, (flag, why)| {
        error.cause(format!("--{flag} isn't known: {why}, which irsactl doesn't read"))
    });
    Err(error
        .hint("give them as its pods have them (those that irsactl has no option for as --extra-arg=--flag=value)"))
}

/// A Pod Identity association overrides the annotation: the pod would get another role.
///
/// # Errors
/// `PodIdentity`, with the command that removes it.
pub fn pod_identity(settings: &Settings, cluster: &str, association: Option<&Association>) -> Result<()> {
    let Some(association) = association else { return Ok(()) };
    let account = format!("{}/{}", settings.namespace, settings.name);
    Err(Error::new(ErrorCode::PodIdentity, format!("a Pod Identity association gives {account} another role"))
        .cause(format!("{} overrides the ServiceAccount's annotation", association.id))
        .hint(
            Command::new("aws eks delete-pod-identity-association")
                .with("--cluster-name", cluster)
                .with("--association-id", &association.id)
                .with("--region", &settings.region),
        ))
}

/// EKS keeps the objects of its add-on as they are: nothing of it can be adopted. `live` is the Deployment of this
/// namespace and name.
///
/// # Errors
/// `ForeignInstallation`, with the command that removes it.
pub fn addon(settings: &Settings, cluster: &str, live: Option<&Value>, addon: Option<&Addon>) -> Result<()> {
    let Some(addon) = addon.filter(|_| settings.name == DEFAULT_NAME && !live.is_some_and(is_ours)) else {
        return Ok(());
    };
    let owner = live.and_then(Installed::from_deployment).map(|found| format!(", owner id {}", found.owner()));
    let message = format!(
        "ExternalDNS is installed already: EKS add-on {} {}{}",
        addon.name,
        addon.version,
        owner.unwrap_or_default()
    );
    let remove = Command::new("aws eks delete-addon")
        .with("--cluster-name", cluster)
        .with("--addon-name", &addon.name)
        .with("--region", &settings.region);
    Err(beside(message, &remove))
}

/// Another installation of ExternalDNS: two with one owner id delete each other's records.
///
/// # Errors
/// `ForeignInstallation`, naming it and its owner id.
pub fn installations(
    plan: &mut Plan,
    settings: &Settings,
    cluster: &str,
    installed: bool,
    others: &[Value],
) -> Result<()> {
    let own = format!("{}/{}", settings.namespace, settings.name);
    for other in others.iter().filter(|deployment| full_name(deployment) != own) {
        let name = full_name(other);
        let found = Installed::from_deployment(other);
        let owner = found.as_ref().map(Installed::owner).unwrap_or_default();
        let maker = label(other, MANAGED_BY).map(|by| format!(" ({by})")).unwrap_or_default();
        let same_name = name.rsplit('/').next() == Some(settings.name.as_str());
        if owner == settings.owner_id || (!installed && (same_name || settings.name == DEFAULT_NAME)) {
            let message = format!("ExternalDNS is installed already: Deployment {name}{maker}, owner id {owner}");
            return Err(beside(message, &removal(other, cluster, &settings.region)));
        }
        plan.note(format!("there is another ExternalDNS: Deployment {name}{maker}, owner id {owner}"));
    }
    Ok(())
}

/// The command that removes an installation, by who made it.
fn removal(deployment: &Value, cluster: &str, region: &str) -> Command {
    let text = |path| deployment.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    if is_ours(deployment) {
        let command =
            Command::new("irsactl uninstall external-dns").with("--cluster", cluster).with("--region", region);
        return command.with("--namespace", namespace).with("--name", name).word("--approve");
    }
    let command = match annotation(deployment, "meta.helm.sh/release-name") {
        Some(release) => Command::new("helm uninstall").word(release),
        None => Command::new("kubectl delete deployment").word(name),
    };
    command.with("--namespace", namespace)
}

fn beside(message: String, remove: &Command) -> Box<Error> {
    Error::new(ErrorCode::ForeignInstallation, message)
        .hint(format!("install beside it with another --name and owner id, or remove it: {remove}"))
}

/// A ClusterRoleBinding of this name that serves an ExternalDNS in another namespace. One that serves nobody is mended.
///
/// # Errors
/// `ForeignInstallation`.
pub fn binding(settings: &Settings, live: Option<&Value>, installations: &[Value]) -> Result<()> {
    let mut subjects = live.and_then(|binding| binding["subjects"].as_array()).into_iter().flatten();
    let serves = |subject: &Value, other: &Value| {
        let account = other.pointer("/spec/template/spec/serviceAccountName").and_then(Value::as_str);
        subject["namespace"] == other["metadata"]["namespace"] && subject["name"].as_str() == account
    };
    let elsewhere = |subject: &Value| {
        let namespace = subject["namespace"].as_str().filter(|namespace| *namespace != settings.namespace)?;
        installations.iter().any(|other| serves(subject, other)).then(|| namespace.to_owned())
    };
    subjects.find_map(elsewhere).map_or(Ok(()), |namespace| {
        let message = format!("ClusterRoleBinding {}-viewer serves namespace {namespace}", settings.name);
        Err(Error::new(ErrorCode::ForeignInstallation, message)
            .hint(format!("install beside it with another --name, or into it with --namespace {namespace}")))
    })
}

/// A `--zone-id-filter` that names nothing.
pub fn no_zone(id: &str) -> Box<Error> {
    Error::new(ErrorCode::ZoneNotFound, format!("--zone-id-filter: there is no hosted zone {id}"))
        .hint("aws route53 list-hosted-zones lists the zones that there are")
}

/// The zones that the settings select; an installation that selects none isn't wrong, but does nothing.
///
/// # Errors
/// `ZoneNotFound` for an id that doesn't exist, `ZoneAmbiguous` for twins of one name.
pub fn zones<'a>(plan: &mut Plan, settings: &Settings, zones: &'a [Zone]) -> Result<Vec<&'a Zone>> {
    if settings.assume_role.is_some() {
        plan.note("the zones are another account's: whether the filters match any can't be seen from here");
        return Ok(Vec::new());
    }
    if let Some(id) = settings.zone_id_filters.iter().find(|id| !zones.iter().any(|zone| zone.id == **id)) {
        return Err(no_zone(id));
    }
    let selected = filter::select_zones(zones, settings);
    let twins = filter::twins(&selected);
    let twin = twins.first().and_then(|twins| twins.first());
    if let (Some(twin), Some(flag)) = (twin, filter::unjudged(settings)) {
        plan.note(format!(
            "there are several hosted zones named {}: unless --{flag} selects one of them, each record goes to all",
            twin.name
        ));
    } else if let Some(twin) = twin {
        return Err(Error::new(
            ErrorCode::ZoneAmbiguous,
            format!("there are several hosted zones named {}", twin.name),
        )
        .cause("each record would be written to all of them")
        .hint("choose with --aws-zone-type public|private, or with --zone-id-filter"));
    }
    if selected.is_empty() {
        plan.note("no hosted zone matches the filters: ExternalDNS will run and write no record");
    }
    Ok(selected)
}
