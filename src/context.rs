//! What every command needs: the terminal, the clock, and the clients, built when they are first used.

use tokio::sync::OnceCell;

use crate::aws::Aws;
use crate::aws::eks::Cluster;
use crate::cli::shared;
use crate::error::{Error, ErrorCode, Result};
use crate::iam::arn::Arn;
use crate::iam::trust::Issuer;
use crate::k8s::Kubernetes;
use crate::shell::Command;
use crate::ui::Ui;
use crate::wait::Wait;

/// The surroundings of a command.
pub(crate) struct Context {
    /// The terminal.
    pub(crate) ui: Ui,
    /// Deadline and interruption.
    pub(crate) wait: Wait,
    aws: OnceCell<Aws>,
}

impl Context {
    pub(crate) fn new(ui: Ui, wait: Wait) -> Self {
        Self { ui, wait, aws: OnceCell::new() }
    }

    /// AWS, as the caller.
    pub(crate) async fn aws(&self, args: &shared::Aws) -> Result<&Aws> {
        let options = args.options();
        tokio::select! {
            biased;
            aws = self.aws.get_or_try_init(|| Aws::connect(&options, self.wait.clone())) => aws,
            end = self.wait.ended() => Err(end.cause("the AWS credentials were being fetched")),
        }
    }

    /// The region, once it is known.
    pub(crate) fn region(&self) -> Option<&str> {
        self.aws.get().map(Aws::region)
    }

    /// The cluster, which must be usable, and its issuer.
    pub(crate) async fn cluster(&self, args: &shared::Aws, name: &str) -> Result<(Cluster, Issuer)> {
        let cluster = self.aws(args).await?.cluster(name).await?;
        cluster.check_usable()?;
        let issuer = issuer(&cluster)?;
        Ok((cluster, issuer))
    }

    /// The cluster; none where it is gone, which doesn't keep what is in AWS from being removed.
    pub(crate) async fn cluster_if_any(&self, args: &shared::Aws, name: &str) -> Result<Option<Cluster>> {
        match self.aws(args).await?.cluster(name).await {
            Ok(cluster) => Ok(Some(cluster)),
            Err(error) if error.code == ErrorCode::ClusterNotFound => {
                self.ui.warn(&format!("cluster {name} doesn't exist: only AWS is cleaned up"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The cluster's Kubernetes API: its endpoint with an EKS token, or a kubeconfig that must be of the same cluster.
    pub(crate) async fn kubernetes(
        &self,
        cluster: &Cluster,
        aws: &shared::Aws,
        kube: &shared::Kube,
    ) -> Result<Kubernetes> {
        if kube.kubeconfig.is_none() && kube.context.is_none() {
            let caller = self.aws(aws).await?.clone();
            let name = cluster.name.clone();
            let token = move || {
                let (caller, name) = (caller.clone(), name.clone());
                async move { caller.cluster_token(&name).await }
            };
            return Kubernetes::eks(&cluster.endpoint, &cluster.ca, token, self.wait.clone()).await;
        }
        let file = kube.kubeconfig.as_ref().map(|file| file.to_string_lossy());
        let kubernetes = Kubernetes::kubeconfig(file.as_deref(), kube.context.as_deref(), self.wait.clone()).await?;
        check_same_cluster(&kubernetes, cluster).await?;
        Ok(kubernetes)
    }

    /// Says how the caller becomes known to the cluster (401), or gets the rights that it lacks (403).
    pub(crate) async fn explain_access(&self, error: Box<Error>, cluster: &str) -> Box<Error> {
        // Rights that are handed on need more than this.
        let escalates = || error.causes.iter().any(|cause| cause.contains("attempting to grant"));
        // Where the kubeconfig gives no credentials, its error says what helps.
        let unknown = error.code == ErrorCode::ClusterUnauthorized && error.hint.is_none();
        if !unknown && (error.code != ErrorCode::ClusterForbidden || escalates()) {
            return error;
        }
        let Some(aws) = self.aws.get() else { return error };
        let Ok(caller) = aws.caller().await else { return error };
        let command = |operation: &str| {
            let command = Command::new(operation).with("--cluster-name", cluster).with("--region", aws.region());
            command.with("--principal-arn", &caller.principal())
        };
        let policy = format!("arn:{}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy", caller.partition);
        let give = command("aws eks associate-access-policy").with("--access-scope", "type=cluster");
        let give = give.with("--policy-arn", &policy);
        error.hint(if unknown {
            format!("make the caller known to the cluster: {} && {give}", command("aws eks create-access-entry"))
        } else {
            format!(
                "a cluster admin can give this right with a Role or ClusterRole and a binding, or all rights: {give}"
            )
        })
    }
}

fn issuer(cluster: &Cluster) -> Result<Issuer> {
    let url = cluster.issuer.as_deref().ok_or_else(|| {
        Error::new(ErrorCode::ClusterNotActive, format!("cluster {} has no OIDC issuer yet", cluster.name))
    })?;
    Issuer::parse(url).map_err(|e| Error::new(ErrorCode::Aws, format!("cluster {}: {e}", cluster.name)))
}

/// A kubeconfig is of the cluster if it trusts the same CA, or its API server issues tokens in the cluster's name.
async fn check_same_cluster(kubernetes: &Kubernetes, cluster: &Cluster) -> Result<()> {
    if kubernetes.has_ca(&cluster.ca) {
        return Ok(());
    }
    let issuer = kubernetes.issuer().await?;
    if issuer.is_some() && issuer == cluster.issuer {
        return Ok(());
    }
    let region = cluster.arn.parse::<Arn>().map(|arn| arn.region).unwrap_or_default();
    let write = format!("aws eks update-kubeconfig --name {} --region {region}", cluster.name);
    Err(Error::new(ErrorCode::ClusterMismatch, format!("the kubeconfig isn't of cluster {}", cluster.name))
        .cause(format!("it leads to {}, the cluster's endpoint is {}", kubernetes.server(), cluster.endpoint))
        .cause("its tokens are of another issuer, and it trusts another CA")
        .hint(format!("{write} writes one that is; or choose another --context, or leave --kubeconfig out")))
}
