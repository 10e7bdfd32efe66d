//! An installation of ExternalDNS: everything that its plan depends on.

use futures::future::{try_join, try_join5};
use serde_json::Value;

use crate::aws::Aws;
use crate::aws::eks::{Addon, Association, Cluster};
use crate::aws::sts::Caller;
use crate::cli::{externaldns::Settings, shared};
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::externaldns::args::is_external_dns;
use crate::externaldns::filter::Zone;
use crate::externaldns::manifest::cluster_role_binding_name;
use crate::iam::trust::Issuer;
use crate::k8s::{Kind, Kubernetes, is_named};
use crate::observe::iamserviceaccount as entry;
use crate::plan::externaldns::Objects;
use crate::plan::iamserviceaccount::Observed;
use crate::ui::Ui;

/// What AWS says that depends on names alone.
pub(crate) struct Account {
    /// Who is calling.
    pub(crate) caller: Caller,
    /// The cluster.
    pub(crate) cluster: Cluster,
    /// Its issuer.
    pub(crate) issuer: Issuer,
    /// The stack's name.
    pub(crate) stack_name: String,
    /// Stack and role.
    pub(crate) entry: Observed,
    /// A Pod Identity association of the ServiceAccount.
    pub(crate) association: Option<Association>,
    /// The EKS add-on.
    pub(crate) addon: Option<Addon>,
    /// All hosted zones.
    pub(crate) zones: Vec<Zone>,
}

/// Reads AWS as far as names lead; nothing here waits for anything else.
pub(crate) async fn account(
    context: &Context,
    args: &shared::Aws,
    cluster: &str,
    settings: &Settings,
    role_name: Option<&str>,
) -> Result<Account> {
    let aws = context.aws(args).await?;
    let reader = entry::Reader::by_name(aws);
    let who = (settings.namespace.as_str(), settings.name.as_str());
    let ui = &context.ui;
    let informing = try_join(
        async { readable(ui, "Pod Identity associations", aws.pod_identity_association(cluster, who.0, who.1).await) },
        async { readable(ui, "EKS add-ons", aws.addon(cluster, "external-dns").await) },
    );
    let (caller, (cluster, issuer), (stack_name, entry), (association, addon), zones) = try_join5(
        aws.caller(),
        context.cluster(args, cluster),
        reader.aws_half(cluster, who, role_name),
        informing,
        zones(aws, settings.aws_assume_role.is_some()),
    )
    .await?;
    Ok(Account { caller, cluster, issuer, stack_name, entry, association, addon, zones })
}

/// Reads that only inform may be refused: a warning, and the run goes on.
fn readable<T>(ui: &Ui, what: &str, result: Result<Option<T>>) -> Result<Option<T>> {
    match result {
        Err(error) if error.code == ErrorCode::AccessDenied => {
            ui.warn(&format!("{what} can't be read: {error}"));
            Ok(None)
        }
        other => other,
    }
}

/// The hosted zones; those of another account are none of the caller's business.
async fn zones(aws: &Aws, elsewhere: bool) -> Result<Vec<Zone>> {
    if elsewhere { Ok(Vec::new()) } else { aws.zones().await }
}

/// What the cluster says.
pub(crate) struct InCluster {
    /// The connection.
    pub(crate) kubernetes: Kubernetes,
    /// The minor version of Kubernetes.
    pub(crate) minor: u32,
    /// Namespace and ServiceAccount.
    pub(crate) namespace: Option<Value>,
    /// The ServiceAccount.
    pub(crate) service_account: Option<Value>,
    /// RBAC, Deployments and pods.
    pub(crate) objects: Objects,
}

/// Reads the cluster.
pub(crate) async fn in_cluster(kubernetes: Kubernetes, namespace: &str, name: &str) -> Result<InCluster> {
    let mut entry = Observed::default();
    let viewer = cluster_role_binding_name(name);
    let (version, (), (cluster_role, cluster_role_binding), deployments, pods) = {
        let kubernetes = &kubernetes;
        try_join5(
            kubernetes.version(),
            entry::objects(kubernetes, namespace, name, &mut entry),
            try_join(
                kubernetes.get(&Kind::CLUSTER_ROLE, None, name),
                kubernetes.get(&Kind::CLUSTER_ROLE_BINDING, None, &viewer),
            ),
            kubernetes.list(&Kind::DEPLOYMENT, None, None, None),
            kubernetes.list(&Kind::POD, Some(namespace), None, None),
        )
        .await?
    };
    let objects = Objects {
        cluster_role,
        cluster_role_binding,
        deployment: deployments.iter().find(|deployment| is_named(deployment, namespace, name)).cloned(),
        installations: deployments.into_iter().filter(is_external_dns).collect(),
        pods,
    };
    Ok(InCluster {
        kubernetes,
        minor: version.1,
        namespace: entry.namespace,
        service_account: entry.service_account,
        objects,
    })
}

/// Fails where an API that a source needs isn't served.
pub(crate) async fn check_served(
    kubernetes: &Kubernetes,
    apis: &[(String, String, String)],
    source: &str,
) -> Result<()> {
    for (group, version, plural) in apis {
        if !kubernetes.serves(group, version, plural).await? {
            return Err(Error::new(ErrorCode::MissingApi, format!("source {source} needs {plural}.{group}/{version}"))
                .cause("the cluster doesn't serve it: ExternalDNS would end a minute after its start")
                .hint("install the CustomResourceDefinitions first, or leave the source out"));
        }
    }
    Ok(())
}
