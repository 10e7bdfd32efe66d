//! Clusters, and what EKS itself does with service accounts.

use std::collections::BTreeMap;

use super::{Aws, found};
use crate::error::{Error, ErrorCode, Result};
use crate::iam::arn::{Arn, Partition, policy_arn, role_arn};

/// An EKS cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name, unique in account and region.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// The account of the ARN.
    pub account: String,
    /// The partition of the ARN.
    pub partition: Partition,
    /// `ACTIVE`, `CREATING`, `UPDATING`, `DELETING`, `FAILED`, `PENDING`.
    pub status: String,
    /// URL of the Kubernetes API; empty while the cluster is being created.
    pub endpoint: String,
    /// Certificate of its authority: PEM in base64.
    pub ca: String,
    /// URL of its OIDC issuer.
    pub issuer: Option<String>,
    /// Kubernetes version, such as `1.33`.
    pub version: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Cluster {
    /// The ARN of a managed policy; `policy/NAME` is one of the cluster's account.
    ///
    /// # Errors
    /// `Usage` for another partition's.
    pub fn policy_arn(&self, text: &str) -> Result<String> {
        policy_arn(text, &self.partition, &self.account).map_err(Error::usage)
    }

    /// The ARN of a role; `role/NAME` is one of the cluster's account.
    ///
    /// # Errors
    /// `Usage` for another partition's.
    pub fn role_arn(&self, text: &str) -> Result<String> {
        role_arn(text, &self.partition, &self.account).map_err(Error::usage)
    }

    /// Checks that the cluster's API and issuer are there.
    ///
    /// # Errors
    /// `ClusterNotActive` unless it is `ACTIVE` or `UPDATING`.
    pub fn check_usable(&self) -> Result<()> {
        if matches!(self.status.as_str(), "ACTIVE" | "UPDATING") {
            return Ok(());
        }
        let message = format!("cluster {} is {}, not ACTIVE", self.name, self.status);
        let region = self.arn.parse::<Arn>().map(|arn| arn.region).unwrap_or_default();
        let error = Error::new(ErrorCode::ClusterNotActive, message);
        Err(if self.status == "CREATING" {
            error.hint(format!("aws eks wait cluster-active --name {} --region {region}", self.name))
        } else {
            error.hint(format!("aws eks describe-cluster --name {} --region {region}", self.name))
        })
    }
}

/// A Pod Identity association of a service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    /// Its id, such as `a-1b2c3d4e5f6a7b8c9`.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// The role that pods get, or why it can't be read.
    pub role_arn: std::result::Result<String, String>,
}

/// An EKS add-on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addon {
    /// Its name, such as `external-dns`.
    pub name: String,
    /// Its version, such as `v0.19.0-eksbuild.2`.
    pub version: String,
    /// `ACTIVE`, `CREATING`, `DEGRADED`, …
    pub status: String,
    /// The IRSA role of its service account.
    pub service_account_role_arn: Option<String>,
}

/// The tag by which eksctl knows that a cluster's issuer is associated with IAM.
const OIDC_ENABLED: &str = "alpha.eksctl.io/cluster-oidc-enabled";

impl Aws {
    /// Describes a cluster.
    ///
    /// # Errors
    /// `ClusterNotFound`, naming those that exist where that can be listed.
    pub async fn cluster(&self, name: &str) -> Result<Cluster> {
        let answer = self.send("eks:DescribeCluster", name, self.eks().describe_cluster().name(name).send()).await;
        let Some(cluster) = found(answer)?.and_then(|answer| answer.cluster) else {
            return Err(self.no_cluster(name).await);
        };
        let arn = cluster.arn.unwrap_or_default();
        let parsed = arn.parse::<Arn>().ok();
        let issuer = cluster.identity.and_then(|identity| identity.oidc).and_then(|oidc| oidc.issuer);
        Ok(Cluster {
            name: cluster.name.unwrap_or_else(|| name.to_owned()),
            account: parsed.as_ref().map(|arn| arn.account.clone()).unwrap_or_default(),
            partition: parsed.and_then(|arn| Partition::new(&arn.partition).ok()).unwrap_or_else(|| self.partition()),
            arn,
            status: cluster.status.map(|status| status.as_str().to_owned()).unwrap_or_default(),
            endpoint: cluster.endpoint.unwrap_or_default(),
            ca: cluster.certificate_authority.and_then(|authority| authority.data).unwrap_or_default(),
            issuer: issuer.filter(|issuer| !issuer.is_empty()),
            version: cluster.version.unwrap_or_default(),
            tags: cluster.tags.unwrap_or_default().into_iter().collect(),
        })
    }

    /// Names of all clusters of the region.
    pub async fn clusters(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut pages = self.eks().list_clusters().into_paginator().send();
        while let Some(page) = self.page("eks:ListClusters", "", pages.next()).await? {
            names.extend(page.clusters.unwrap_or_default());
        }
        Ok(names)
    }

    async fn no_cluster(&self, name: &str) -> Box<Error> {
        let region = self.region();
        let error = Error::new(ErrorCode::ClusterNotFound, format!("no EKS cluster {name} in {region}"));
        match self.clusters().await {
            Ok(names) if names.is_empty() => {
                error.hint(format!("there is no EKS cluster in {region} in this account: check --region and --profile"))
            }
            Ok(names) => error.hint(format!("clusters in {region}: {}", names.join(", "))),
            Err(_) => error.hint(format!("aws eks list-clusters --region {region}")),
        }
    }

    /// The Pod Identity association of a service account; none, too, where there is no such cluster.
    pub async fn pod_identity_association(
        &self,
        cluster: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<Option<Association>> {
        let object = format!("{cluster} {namespace}/{service_account}");
        let mut pages = self
            .eks()
            .list_pod_identity_associations()
            .cluster_name(cluster)
            .namespace(namespace)
            .service_account(service_account)
            .into_paginator()
            .send();
        let operation = "eks:ListPodIdentityAssociations";
        while let Some(page) = found(self.page(operation, &object, pages.next()).await)?.flatten() {
            let ours = page.associations.unwrap_or_default().into_iter().find(|association| {
                association.namespace.as_deref() == Some(namespace)
                    && association.service_account.as_deref() == Some(service_account)
            });
            if let Some(association) = ours {
                let id = association.association_id.unwrap_or_default();
                let role_arn = self.association_role(cluster, &id).await;
                return Ok(Some(Association { id, arn: association.association_arn.unwrap_or_default(), role_arn }));
            }
        }
        Ok(None)
    }

    /// The list lacks the role; one that can't be read is told as unknown.
    async fn association_role(&self, cluster: &str, id: &str) -> std::result::Result<String, String> {
        let request = self.eks().describe_pod_identity_association().cluster_name(cluster).association_id(id);
        let answer = self.send("eks:DescribePodIdentityAssociation", id, request.send()).await;
        let answer = answer.map_err(|refused| Box::<Error>::from(refused).to_string())?;
        let role = answer.association.and_then(|association| association.role_arn);
        role.ok_or_else(|| "EKS doesn't name it".to_owned())
    }

    /// An add-on of a cluster.
    pub async fn addon(&self, cluster: &str, name: &str) -> Result<Option<Addon>> {
        let request = self.eks().describe_addon().cluster_name(cluster).addon_name(name);
        let answer = found(self.send("eks:DescribeAddon", name, request.send()).await)?;
        Ok(answer.and_then(|answer| answer.addon).map(|addon| Addon {
            name: addon.addon_name.unwrap_or_default(),
            version: addon.addon_version.unwrap_or_default(),
            status: addon.status.map(|status| status.as_str().to_owned()).unwrap_or_default(),
            service_account_role_arn: addon.service_account_role_arn,
        }))
    }

    /// Puts eksctl's tag on a cluster whose issuer is associated with IAM.
    pub async fn mark_oidc_enabled(&self, cluster_arn: &str) -> Result<()> {
        let request = self.eks().tag_resource().resource_arn(cluster_arn).tags(OIDC_ENABLED, "true");
        self.send("eks:TagResource", cluster_arn, request.send()).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_running_cluster_is_usable() {
        let cluster = |status: &str| Cluster {
            name: "demo".to_owned(),
            arn: "arn:aws:eks:us-west-2:123456789012:cluster/demo".to_owned(),
            account: "123456789012".to_owned(),
            partition: Partition::aws(),
            status: status.to_owned(),
            endpoint: String::new(),
            ca: String::new(),
            issuer: None,
            version: "1.33".to_owned(),
            tags: BTreeMap::new(),
        };
        assert!(cluster("ACTIVE").check_usable().is_ok());
        assert!(cluster("UPDATING").check_usable().is_ok());
        let error = cluster("CREATING").check_usable().unwrap_err();
        assert_eq!(error.code, ErrorCode::ClusterNotActive);
        let wait = "aws eks wait cluster-active --name demo --region us-west-2";
        assert_eq!(error.hint.as_deref(), Some(wait));
        assert!(cluster("FAILED").check_usable().is_err());
    }
}
