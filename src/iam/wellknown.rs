//! Well-known policies: what common controllers need, under the names that eksctl gave them.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::policy::embedded;

/// A controller whose permissions are known (eksctl's `wellKnownPolicies`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WellKnown {
    /// Builds and pushes images to ECR.
    ImageBuilder,
    /// Cluster Autoscaler.
    AutoScaler,
    /// AWS Load Balancer Controller.
    AwsLoadBalancerController,
    /// ExternalDNS.
    #[serde(rename = "externalDNS")]
    ExternalDns,
    /// cert-manager with Route53.
    CertManager,
    /// EBS CSI driver.
    #[serde(rename = "ebsCSIController")]
    EbsCsiController,
    /// EFS CSI driver.
    #[serde(rename = "efsCSIController")]
    EfsCsiController,
}

impl WellKnown {
    /// All of them, in eksctl's order.
    pub const ALL: [Self; 7] = [
        Self::ImageBuilder,
        Self::AutoScaler,
        Self::AwsLoadBalancerController,
        Self::ExternalDns,
        Self::CertManager,
        Self::EbsCsiController,
        Self::EfsCsiController,
    ];

    /// The key in eksctl's configuration file.
    pub fn key(self) -> &'static str {
        match self {
            Self::ImageBuilder => "imageBuilder",
            Self::AutoScaler => "autoScaler",
            Self::AwsLoadBalancerController => "awsLoadBalancerController",
            Self::ExternalDns => "externalDNS",
            Self::CertManager => "certManager",
            Self::EbsCsiController => "ebsCSIController",
            Self::EfsCsiController => "efsCSIController",
        }
    }

    /// Finds one by its key, in any case.
    ///
    /// # Errors
    /// Lists the keys.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|known| known.key().eq_ignore_ascii_case(text)).ok_or_else(|| {
            let keys: Vec<_> = Self::ALL.iter().map(|known| known.key()).collect();
            format!("`{text}` is an invalid wellKnownPolicy; there are {}", keys.join(", "))
        })
    }

    /// The path and name of AWS's own policy that is attached, below `policy/`.
    pub fn managed(self) -> Option<&'static str> {
        match self {
            Self::ImageBuilder => Some("AmazonEC2ContainerRegistryPowerUser"),
            Self::EbsCsiController => Some("service-role/AmazonEBSCSIDriverPolicy"),
            _ => None,
        }
    }

    /// The policies written into the role's stack: logical id and document, with `Fn::Sub` for the
    /// partition.
    pub fn policies(self) -> Vec<(String, Value)> {
        let policies = self.file().get("Policies").and_then(Value::as_object).cloned();
        policies.map_or_else(Vec::new, |policies| Map::into_iter(policies).collect())
    }

    /// Which state of the controller's needs the documents are.
    pub fn revision(self) -> Option<String> {
        self.file().get("Revision").and_then(Value::as_str).map(str::to_owned)
    }

    fn file(self) -> Value {
        let text = match self {
            Self::ImageBuilder | Self::EbsCsiController => return Value::Null,
            Self::AutoScaler => include_str!("../../templates/policies/well-known/auto-scaler.json"),
            Self::AwsLoadBalancerController => {
                include_str!("../../templates/policies/well-known/aws-load-balancer-controller.json")
            }
            Self::ExternalDns => include_str!("../../templates/policies/well-known/external-dns.json"),
            Self::CertManager => include_str!("../../templates/policies/well-known/cert-manager.json"),
            Self::EfsCsiController => include_str!("../../templates/policies/well-known/efs-csi-controller.json"),
        };
        embedded(text).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iam::arn::Partition;
    use crate::iam::policy::{PolicyDocument, external_dns_needs, missing, statements};

    #[test]
    fn f24_names_are_found_in_any_case() {
        for known in WellKnown::ALL {
            assert_eq!(WellKnown::parse(&known.key().to_uppercase()).unwrap(), known);
            assert_eq!(serde_json::from_value::<WellKnown>(known.key().into()).unwrap(), known);
        }
        let error = WellKnown::parse("invalid").unwrap_err();
        assert!(error.contains("invalid wellKnownPolicy") && error.contains("ebsCSIController"), "{error}");
    }

    #[test]
    fn c7_documents_are_whole() {
        let counts = |known: WellKnown| -> Vec<(String, usize)> {
            known.policies().into_iter().map(|(id, document)| (id, statements(&document).len())).collect()
        };
        assert_eq!(WellKnown::ALL.iter().map(|known| known.policies().len()).sum::<usize>(), 8);
        assert_eq!(counts(WellKnown::AwsLoadBalancerController), [("PolicyAWSLoadBalancerController".to_owned(), 16)]);
        assert_eq!(counts(WellKnown::AutoScaler), [("PolicyAutoScaling".to_owned(), 2)]);
        assert_eq!(counts(WellKnown::EfsCsiController), [("PolicyEFSCSIController".to_owned(), 4)]);
        for known in WellKnown::ALL {
            assert_eq!(known.managed().is_some(), known.policies().is_empty(), "{}", known.key());
            assert_eq!(known.revision().is_some(), known.managed().is_none(), "{}", known.key());
            for (id, document) in known.policies() {
                PolicyDocument(document).check().unwrap_or_else(|problem| panic!("{id}: {problem}"));
            }
        }
    }

    #[test]
    fn external_dns_gets_what_every_version_calls() {
        let china = Partition::of_region("cn-north-1");
        let documents: Vec<PolicyDocument> = WellKnown::ExternalDns
            .policies()
            .into_iter()
            .map(|(_, document)| PolicyDocument(document).resolved(&china))
            .collect();
        let documents: Vec<&PolicyDocument> = documents.iter().collect();
        assert_eq!(missing(&documents, &external_dns_needs(&china, &[], true)), []);
    }
}
