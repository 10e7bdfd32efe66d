//! What verification looks at on the DNS side: zones and their records, and what asks for them.

use std::collections::BTreeSet;

use futures::future::{join, join3, try_join_all};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use super::records::{AT_ONCE, Viewer, beside, seen};
use super::verify::{Observer, look};
use crate::aws::Aws;
use crate::error::{ErrorCode, Result};
use crate::externaldns::args::Installed;
use crate::externaldns::filter::Zone;
use crate::externaldns::objects::CUSTOM;
use crate::externaldns::owner::derived_owner_id;
use crate::externaldns::rbac::required_apis;
use crate::externaldns::registry::Record;
use crate::k8s::{Kind, Kubernetes};
use crate::verify::Look;
use crate::verify::dns::{Contents, Dns};

/// The versions in which the objects of sources are served.
const VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha2", "v1alpha1"];

/// Reads what an installation should have done in Route53 and what it did; `zones` and `deployments` were read before.
///
/// # Errors
/// Where the user interrupted, or the time is over.
pub(crate) async fn read(
    observer: &Observer<'_>,
    installed: &Installed,
    zones: &Look<Vec<Zone>>,
    deployments: &Look<Vec<Value>>,
) -> Result<Dns> {
    let ((zones, records), objects, namespaces) = join3(
        in_route53(observer.aws, installed, zones),
        observer.in_cluster(async |kubernetes| objects(kubernetes, installed).await),
        observer.in_cluster(async |kubernetes| namespaces(kubernetes).await),
    )
    .await;
    let (objects, unread) = match objects? {
        Ok((objects, unread)) => (Ok(objects), unread),
        Err(why) => (Err(why), Vec::new()),
    };
    let is_other = |other: &Installed| (&other.namespace, &other.name) != (&installed.namespace, &installed.name);
    let others = |all: &Vec<Value>| all.iter().filter_map(Installed::from_deployment).filter(is_other).collect();
    Ok(Dns {
        commands: observer.commands(),
        installed: installed.clone(),
        install: String::new(),
        owner_id: derived_owner_id(&observer.cluster.name, &observer.cluster.arn, &installed.name),
        zones: zones?,
        records: records?,
        objects,
        unread,
        others: deployments.as_ref().map(others).map_err(Clone::clone),
        namespaces: namespaces?,
    })
}

type Dual = (Result<Look<Vec<Zone>>>, Result<Look<Vec<Contents>>>);

/// The zones, those of another account with its role, and the records of those that are looked after.
async fn in_route53(aws: &Aws, installed: &Installed, own: &Look<Vec<Zone>>) -> Dual {
    let assumed = match &installed.assume_role {
        None => Ok(Ok(aws.clone())),
        Some(role) => look(aws.assume_role(role, installed.assume_role_external_id.as_deref()).await),
    };
    let aws = match assumed {
        Ok(Ok(aws)) => aws,
        Ok(Err(why)) => {
            let why = format!("its zones are in another account, which can't be looked into: {why}");
            return (Ok(Err(why.clone())), Ok(Err(why)));
        }
        Err(end) => return (Ok(own.clone()), Err(end)),
    };
    let zones = if installed.assume_role.is_some() { look(aws.zones().await) } else { Ok(own.clone()) };
    let records = match &zones {
        Ok(Ok(zones)) => look(contents(&aws, installed, zones).await),
        Ok(Err(why)) => Ok(Err(why.clone())),
        Err(_) => Ok(Ok(Vec::new())),
    };
    (zones, records)
}

async fn contents(aws: &Aws, installed: &Installed, zones: &[Zone]) -> Result<Vec<Contents>> {
    let (viewer, together) = (&Viewer::from(installed), &installed.looked_after(zones));
    let reads = together.iter().map(|zone| async move {
        let sets = aws.record_sets(&zone.id).await?;
        let records: Vec<_> = sets.iter().map(Record::read).collect();
        let elsewhere = beside(aws, zone, &records, together, &viewer.mapper).await?;
        Ok(Contents { zone: Zone::clone(zone), found: seen(&records, &elsewhere, viewer), sets })
    });
    stream::iter(reads).buffered(AT_ONCE).try_collect().await
}

async fn namespaces(kubernetes: &Kubernetes) -> Result<BTreeSet<String>> {
    let all = kubernetes.list(&Kind::NAMESPACE, None, None, None).await?;
    Ok(all.iter().filter_map(|namespace| namespace["metadata"]["name"].as_str()).map(str::to_owned).collect())
}

/// The objects of its sources. Ingresses and Services in any case, as far as they may be read: a host may be lost for
/// want of the source. Beside them why custom resources can't be read.
async fn objects(kubernetes: &Kubernetes, installed: &Installed) -> Result<(Vec<Value>, Vec<String>)> {
    let built_in = [(Kind::INGRESS, "ingress"), (Kind::SERVICE, "service")].map(|(kind, source)| async move {
        let needed = installed.sources.iter().any(|wanted| wanted == source);
        match kubernetes.list(&kind, None, None, None).await {
            Err(error) if !needed && error.code == ErrorCode::ClusterForbidden => Ok(Vec::new()),
            found => found,
        }
    });
    let custom = custom(installed).into_iter().map(|kind| async move {
        match kubernetes.list(&kind, None, None, None).await {
            // That it isn't served is a link of its own.
            Err(error) if matches!(error.code, ErrorCode::MissingApi | ErrorCode::NotFound) => Ok(Ok(Vec::new())),
            Err(error) if error.code == ErrorCode::ClusterForbidden => Ok(Err(error.to_string())),
            found => found.map(Ok),
        }
    });
    let (built_in, custom) = join(try_join_all(built_in), try_join_all(custom)).await;
    let (mut objects, mut unread) = (built_in?.concat(), Vec::new());
    for found in custom? {
        match found {
            Ok(found) => objects.extend(found),
            Err(why) => unread.push(why),
        }
    }
    Ok((objects, unread))
}

/// The custom resources of its sources in which hosts can be read.
fn custom(installed: &Installed) -> Vec<Kind> {
    let apis: BTreeSet<_> =
        installed.sources.iter().flat_map(|source| required_apis(source, installed.rules())).collect();
    let kind = |(group, version, plural): &(String, String, String)| {
        let version = VERSIONS.iter().find(|known| *known == version)?;
        let (group, kind, plural) = CUSTOM.iter().find(|(known, _, name)| known == group && name == plural)?;
        Some(Kind::namespaced(group, version, kind, plural))
    };
    apis.iter().filter_map(kind).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_read_in_the_versions_that_are_needed() {
        let kinds = |tag: &str, sources: &[&str]| {
            let args: Vec<_> = sources.iter().map(|source| format!("--source={source}")).collect();
            let container = json!({"image": format!("external-dns:{tag}"), "args": args});
            let deployment = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
            let kinds = custom(&Installed::from_deployment(&deployment).unwrap());
            kinds.iter().map(|kind| format!("{} {}", kind.api_version(), kind.kind)).collect::<Vec<_>>()
        };
        let gateway = "gateway.networking.k8s.io";
        let sources = ["service", "crd", "gateway-httproute", "gateway-tcproute", "traefik-proxy"];
        assert_eq!(
            kinds("v0.23.0", &sources),
            [
                "externaldns.k8s.io/v1alpha1 DNSEndpoint".to_owned(),
                format!("{gateway}/v1 Gateway"),
                format!("{gateway}/v1 HTTPRoute"),
                format!("{gateway}/v1alpha2 TCPRoute"),
            ]
        );
        assert_eq!(kinds("v0.20.0", &["gateway-httproute"])[0], format!("{gateway}/v1beta1 Gateway"));
    }
}
