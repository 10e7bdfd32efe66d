//! What may be written in a `ClusterConfig` (the eksctl config file schema), as types.
//!
//! Keys are known, case-exact: those of a file, of `metadata` and of `iam`. The other sections of a file belong to eksctl
//! and may hold anything.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{NonFiniteFloatPolicy, Options, Spanned};

use super::problem::Problem;
use crate::iam::wellknown::WellKnown;

/// What `apiVersion` must be.
pub(super) const API_VERSION: &str = "eksctl.io/v1alpha5";
/// What `kind` must be.
pub(super) const KIND: &str = "ClusterConfig";

/// A string and where it stands. Numbers and booleans are taken as they are written.
pub(super) type Text = Spanned<String>;

/// A whole file.
#[derive(Default)]
pub(super) struct Root {
    pub(super) api_version: Option<Text>,
    pub(super) kind: Option<Text>,
    pub(super) metadata: Option<Spanned<Metadata>>,
    pub(super) iam: Option<Iam>,
}

impl Root {
    /// False as soon as it is known for something else, of whose contents nothing can be said.
    pub(super) fn may_be_ours(&self) -> bool {
        let fits = |found: &Option<Text>, wanted| found.as_ref().is_none_or(|found| found.value == wanted);
        fits(&self.api_version, API_VERSION) && fits(&self.kind, KIND)
    }
}

/// `metadata`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) name: Option<Text>,
    pub(super) region: Option<Text>,
    pub(super) tags: Option<Spanned<BTreeMap<String, String>>>,
    #[serde(rename = "version")]
    _version: Option<IgnoredAny>,
    #[serde(rename = "forceUpdateVersion")]
    _force_update_version: Option<IgnoredAny>,
    #[serde(rename = "annotations")]
    _annotations: Option<IgnoredAny>,
    #[serde(rename = "accountID")]
    _account: Option<IgnoredAny>,
}

/// `iam`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Iam {
    #[serde(rename = "withOIDC")]
    pub(super) with_oidc: Option<Spanned<bool>>,
    pub(super) service_accounts: Option<Vec<Spanned<ServiceAccount>>>,
    #[serde(rename = "podIdentityAssociations")]
    _pod_identity_associations: Option<IgnoredAny>,
    #[serde(rename = "serviceRoleARN")]
    _service_role: Option<IgnoredAny>,
    #[serde(rename = "serviceRolePermissionsBoundary")]
    _service_role_boundary: Option<IgnoredAny>,
    #[serde(rename = "fargatePodExecutionRoleARN")]
    _fargate_role: Option<IgnoredAny>,
    #[serde(rename = "fargatePodExecutionRolePermissionsBoundary")]
    _fargate_role_boundary: Option<IgnoredAny>,
    #[serde(rename = "vpcResourceControllerPolicy")]
    _vpc_resource_controller_policy: Option<IgnoredAny>,
}

/// One of `iam.serviceAccounts`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ServiceAccount {
    pub(super) metadata: Option<Spanned<ObjectMeta>>,
    #[serde(rename = "attachPolicyARNs")]
    pub(super) attach_policy_arns: Option<Vec<Text>>,
    pub(super) well_known_policies: Option<BTreeMap<WellKnown, Option<bool>>>,
    pub(super) attach_policy: Option<Spanned<Value>>,
    #[serde(rename = "attachRoleARN")]
    pub(super) attach_role_arn: Option<Text>,
    pub(super) permissions_boundary: Option<Text>,
    pub(super) role_name: Option<Text>,
    pub(super) role_only: Option<bool>,
    pub(super) tags: Option<Spanned<BTreeMap<String, String>>>,
    pub(super) subject_pattern: Option<Text>,
    /// What eksctl's `get` prints; of no use here.
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
}

/// `metadata` of a service account.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ObjectMeta {
    pub(super) name: Option<Text>,
    pub(super) namespace: Option<Text>,
    pub(super) labels: Option<BTreeMap<String, Text>>,
    pub(super) annotations: Option<BTreeMap<String, Text>>,
}

impl<'de> Deserialize<'de> for Root {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RootVisitor)
    }
}

struct RootVisitor;

impl<'de> Visitor<'de> for RootVisitor {
    type Value = Root;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a ClusterConfig")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Root, A::Error> {
        let mut root = Root::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "apiVersion" => root.api_version = map.next_value()?,
                "kind" => root.kind = map.next_value()?,
                "metadata" if root.may_be_ours() => root.metadata = map.next_value()?,
                "iam" if root.may_be_ours() => root.iam = map.next_value()?,
                other => {
                    if root.may_be_ours() {
                        check_key(other)?;
                    }
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(root)
    }
}

/// The keys of a file: ours first, then the sections of eksctl.
const KEYS: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "iam",
    "kubernetesNetworkConfig",
    "autoModeConfig",
    "remoteNetworkConfig",
    "iamIdentityMappings",
    "identityProviders",
    "accessConfig",
    "vpc",
    "addons",
    "addonsConfig",
    "privateCluster",
    "nodeGroups",
    "managedNodeGroups",
    "fargateProfiles",
    "availabilityZones",
    "localZones",
    "cloudWatch",
    "secretsEncryption",
    "status",
    "gitops",
    "git",
    "karpenter",
    "outpost",
    "zonalShiftConfig",
    "upgradePolicy",
    "capabilities",
    "deletionProtection",
    "controlPlaneScalingConfig",
];

fn check_key<E: serde::de::Error>(key: &str) -> Result<(), E> {
    match key {
        "serviceAccounts" => Err(E::unknown_field(key, &["iam.serviceAccounts"])),
        "withOIDC" => Err(E::unknown_field(key, &["iam.withOIDC"])),
        known if KEYS.contains(&known) => Ok(()),
        _ => Err(E::unknown_field(key, KEYS)),
    }
}

/// Reads the one document of a file.
pub(super) fn parse(text: &str) -> Result<Spanned<Root>, Problem> {
    let found = parse_one(text, options(), "a second document begins here; a file holds one ClusterConfig", SPLIT)?;
    found.ok_or_else(|| Problem::nowhere("the file is empty").hint(EXAMPLE))
}

const SPLIT: &str = "put each ClusterConfig into a file of its own and run irsactl once for each";

/// Reads the one policy of a file.
pub(super) fn parse_policy(text: &str) -> Result<Spanned<Value>, Problem> {
    let found = parse_one(text, strict(), "a second document begins here; a role has one such policy", JOIN)?;
    found.ok_or_else(|| Problem::nowhere("it is empty").hint("begin with Version: \"2012-10-17\" and a list Statement"))
}

const JOIN: &str = "put the statements of both into one list";

/// Reads all documents of a file but empty ones.
pub(super) fn parse_all(text: &str) -> Result<Vec<Spanned<Value>>, Problem> {
    let mut documents: Vec<Spanned<Value>> = parse_many(text, strict())?;
    documents.retain(|document| !document.value.is_null());
    Ok(documents)
}

fn parse_many<T: DeserializeOwned>(text: &str, options: Options) -> Result<Vec<Spanned<T>>, Problem> {
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| Problem::from_parser(&error, text))
}

fn parse_one<T: DeserializeOwned>(
    text: &str,
    options: Options,
    more: &str,
    hint: &str,
) -> Result<Option<Spanned<T>>, Problem> {
    let mut documents = parse_many::<T>(text, options)?;
    match documents.get(1) {
        Some(second) => Err(Problem::new(second.referenced, more).hint(hint)),
        None => Ok(documents.pop()),
    }
}

const EXAMPLE: &str =
    "begin with apiVersion: eksctl.io/v1alpha5, kind: ClusterConfig, and metadata with name and region";

/// Room for the few thousand roles that an account may have, and none for what explodes.
fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: 500_000,
            max_events: 1_500_000,
            // One anchored policy may well serve hundreds of service accounts.
            enforce_alias_anchor_ratio: false,
        },
        emit_comments: false,
        // eksctl's sections may hold anything.
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        // An account id in a policy's condition may begin with 0.
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    }
}

/// What is handed on as it is: nothing that would be lost on the way, such as the tag of `!Sub ${x}`.
fn strict() -> Options {
    let mut options = options();
    options.reject_unsupported_tags = true;
    options.non_finite_float_policy = NonFiniteFloatPolicy::Reject;
    options
}
