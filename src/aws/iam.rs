//! OIDC providers, policies and roles.
//!
//! A lost reply is retried by the SDK, and IAM then answers that the thing exists: creations read it back, and succeed
//! where it is what was asked for.

use std::collections::{BTreeMap, BTreeSet};

use aws_config::retry::RetryConfig;
use aws_sdk_iam::types::{
    ContextEntry, ContextKeyTypeEnum, EntityType, EvaluationResult, PolicyEvaluationDecisionType, RoleDetail, Tag,
};
use futures::future::{try_join_all, try_join4};

use super::error::Refused;
use super::pace::pauses;
use super::{Aws, found};
use crate::error::{Error, ErrorCode, Result};
use crate::iam::policy::{Need, PolicyDocument};
use crate::iam::trust::AUDIENCE;
use crate::operator::foresight::Foreseen;
use crate::shell::Command;

/// How many versions of a policy IAM keeps ("IAM and AWS STS quotas", IAM User Guide).
const VERSIONS: usize = 5;
/// How often room is made for a version of a policy: another run may take it.
const ROOM_ATTEMPTS: u32 = 2;

/// An IAM OIDC provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its ARN.
    pub arn: String,
    /// The issuer without its scheme.
    pub url: String,
    /// Audiences that it takes.
    pub client_ids: Vec<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Provider {
    /// True when tokens for STS are taken.
    pub fn takes_sts(&self) -> bool {
        self.client_ids.iter().any(|id| id == AUDIENCE)
    }
}

/// A customer-managed or AWS-managed policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its ARN.
    pub arn: String,
    /// Its name, unique in the account whatever its path.
    pub name: String,
    /// Its path; begins and ends with `/`.
    pub path: String,
    /// The version in force, such as `v3`.
    pub default_version: String,
    /// How many users, groups and roles it is attached to; boundaries don't count.
    pub attachment_count: u32,
    /// The version in force.
    pub document: PolicyDocument,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A role.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// Its name, unique in the account whatever its path.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// Its path; begins and ends with `/`.
    pub path: String,
    /// Who may assume it.
    pub trust: PolicyDocument,
    /// ARN of its permissions boundary; a listing lacks it.
    pub boundary: Option<String>,
    /// Its tags; a listing lacks them.
    pub tags: BTreeMap<String, String>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
}

/// What the policy simulator doesn't allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked for.
    pub need: Need,
    /// A statement denies it.
    pub explicit: bool,
    /// The permissions boundary doesn't allow it.
    pub boundary: bool,
    /// The organisation doesn't allow it.
    pub organisation: bool,
    /// Conditions decide, and what they ask for isn't known here.
    pub conditional: bool,
}

/// A role and what it is allowed.
#[derive(Clone, Debug)]
pub struct RoleWithPolicies {
    /// The role.
    pub role: Role,
    /// The managed policies attached to it, as (name, ARN).
    pub attached: Vec<(String, String)>,
    /// Those of its inline policies that were asked for, by name.
    pub inline: BTreeMap<String, PolicyDocument>,
    /// The names of its other inline policies, or why they can't be listed.
    pub others_inline: Result<Vec<String>, String>,
}

impl RoleWithPolicies {
    /// The same where only inline policies of these names were asked for.
    #[must_use]
    pub fn expecting(mut self, inline: &[String]) -> Self {
        let (asked, others): (_, BTreeMap<_, _>) = self.inline.into_iter().partition(|(name, _)| inline.contains(name));
        self.inline = asked;
        self.others_inline.iter_mut().for_each(|known| known.extend(others.keys().cloned()));
        self
    }
}

impl Aws {
    /// An OIDC provider.
    pub async fn oidc_provider(&self, arn: &str) -> Result<Option<Provider>> {
        let request = self.iam().get_open_id_connect_provider().open_id_connect_provider_arn(arn);
        let answer = found(self.send("iam:GetOpenIDConnectProvider", arn, request.send()).await)?;
        Ok(answer.map(|provider| Provider {
            arn: arn.to_owned(),
            url: without_scheme(&provider.url.unwrap_or_default()).to_owned(),
            client_ids: provider.client_id_list.unwrap_or_default(),
            tags: tag_map(provider.tags.unwrap_or_default()),
        }))
    }

    /// ARNs of all OIDC providers of the account.
    pub async fn oidc_providers(&self) -> Result<Vec<String>> {
        let request = self.iam().list_open_id_connect_providers();
        let answer = self.send("iam:ListOpenIDConnectProviders", "", request.send()).await?;
        let providers = answer.open_id_connect_provider_list.unwrap_or_default();
        Ok(providers.into_iter().filter_map(|provider| provider.arn).collect())
    }

    /// Creates the OIDC provider of an issuer, which has this ARN then, for the audience of STS. IAM finds the
    /// certificate's thumbprint itself.
    pub async fn create_oidc_provider(&self, url: &str, arn: &str, tags: &[(String, String)]) -> Result<()> {
        let request = self
            .iam()
            .create_open_id_connect_provider()
            .url(url)
            .client_id_list(AUDIENCE)
            .set_tags(Some(iam_tags(tags)?));
        let refused = match self.send("iam:CreateOpenIDConnectProvider", url, request.send()).await {
            Err(refused) if refused.is_taken() => refused,
            answer => return answer.map(drop).map_err(Into::into),
        };
        match self.visible(arn, async || self.oidc_provider(arn).await).await? {
            Some(provider) if provider.takes_sts() => Ok(()),
            Some(_) => {
                let hint = Command::new("aws iam add-client-id-to-open-id-connect-provider");
                let hint = hint.with("--open-id-connect-provider-arn", arn).with("--client-id", AUDIENCE);
                Err(refused.recoded(ErrorCode::AlreadyExists, hint))
            }
            None => Err(refused.into()),
        }
    }

    /// Makes an OIDC provider take tokens for STS.
    pub async fn add_audience(&self, arn: &str) -> Result<()> {
        let request = self
            .iam()
            .add_client_id_to_open_id_connect_provider()
            .open_id_connect_provider_arn(arn)
            .client_id(AUDIENCE);
        self.send("iam:AddClientIDToOpenIDConnectProvider", arn, request.send()).await?;
        Ok(())
    }

    /// A policy with the version in force.
    pub async fn policy(&self, arn: &str) -> Result<Option<Policy>> {
        let answer = self.send("iam:GetPolicy", arn, self.iam().get_policy().policy_arn(arn).send()).await;
        let Some(policy) = found(answer)?.and_then(|answer| answer.policy) else { return Ok(None) };
        let version = policy.default_version_id.unwrap_or_default();
        let Some(document) = self.policy_version(arn, &version).await? else { return Ok(None) };
        Ok(Some(Policy {
            arn: arn.to_owned(),
            name: policy.policy_name.unwrap_or_default(),
            path: policy.path.unwrap_or_else(|| "/".to_owned()),
            default_version: version,
            attachment_count: policy.attachment_count.and_then(|n| u32::try_from(n).ok()).unwrap_or_default(),
            document,
            tags: tag_map(policy.tags.unwrap_or_default()),
        }))
    }

    async fn policy_version(&self, arn: &str, version: &str) -> Result<Option<PolicyDocument>> {
        let request = self.iam().get_policy_version().policy_arn(arn).version_id(version);
        let answer = found(self.send("iam:GetPolicyVersion", arn, request.send()).await)?;
        let document = answer.and_then(|answer| answer.policy_version).and_then(|version| version.document);
        document.map(|document| decode(arn, &document)).transpose()
    }

    /// True when a policy exists; AWS's own can be asked for too.
    pub async fn policy_exists(&self, arn: &str) -> Result<bool> {
        let answer = self.send("iam:GetPolicy", arn, self.iam().get_policy().policy_arn(arn).send()).await;
        Ok(found(answer)?.is_some())
    }

    /// Who uses a policy, as permissions or as boundary: `role/NAME`, `user/NAME`, `group/NAME`.
    pub async fn policy_users(&self, arn: &str) -> Result<Vec<String>> {
        let mut users = Vec::new();
        let mut pages = self.iam().list_entities_for_policy().policy_arn(arn).into_paginator().send();
        while let Some(page) = self.page("iam:ListEntitiesForPolicy", arn, pages.next()).await? {
            let roles = page.policy_roles.unwrap_or_default().into_iter().filter_map(|role| role.role_name);
            users.extend(roles.map(|name| format!("role/{name}")));
            let names = page.policy_users.unwrap_or_default().into_iter().filter_map(|user| user.user_name);
            users.extend(names.map(|name| format!("user/{name}")));
            let groups = page.policy_groups.unwrap_or_default().into_iter().filter_map(|group| group.group_name);
            users.extend(groups.map(|name| format!("group/{name}")));
        }
        Ok(users)
    }

    /// Creates a customer-managed policy, which has this ARN then.
    ///
    /// # Errors
    /// `AlreadyExists` when a policy of this name exists with another document, or under another path.
    pub async fn create_policy(
        &self,
        (name, arn): (&str, &str),
        document: &PolicyDocument,
        description: &str,
        tags: &[(String, String)],
    ) -> Result<()> {
        let request = self
            .iam()
            .create_policy()
            .policy_name(name)
            .policy_document(document.to_json())
            .description(description)
            .set_tags(Some(iam_tags(tags)?));
        let refused = match self.send("iam:CreatePolicy", name, request.send()).await {
            Err(refused) if refused.is_taken() => refused,
            Err(refused) => return Err(refused.into()),
            Ok(_) => {
                // A stack that attaches it would fail.
                let _ = self.visible(arn, async || Ok(self.policy_exists(arn).await?.then_some(()))).await;
                return Ok(());
            }
        };
        let hint = match self.visible(arn, async || self.policy(arn).await).await? {
            Some(policy) if policy.document.same_as(document) => return Ok(()),
            Some(_) => {
                format!("see what it grants: {}", Command::new("aws iam get-policy").with("--policy-arn", arn))
            }
            None => format!(
                "its path is another one; this finds it: aws iam list-policies --scope Local --query \
                 \"Policies[?PolicyName=='{name}'].Arn\""
            ),
        };
        Err(refused.recoded(ErrorCode::AlreadyExists, hint))
    }

    /// Makes a document the version in force. Of the five versions that IAM keeps, the oldest that isn't in force goes
    /// only where there's no room.
    pub async fn put_policy_version(&self, arn: &str, document: &PolicyDocument) -> Result<()> {
        let (mut refusals, mut pauses, mut unsure) = (0, pauses(), false);
        // Another run may have been quicker, or an attempt of this one whose reply was lost.
        while !self.is_in_force(arn, document).await? {
            let Err(refused) = self.create_policy_version(arn, document).await else { return Ok(()) };
            if is_limit(&refused) && refusals < ROOM_ATTEMPTS {
                refusals += 1;
                // No version goes for one that is there already and that IAM doesn't show yet.
                let in_force = async || Ok(self.is_in_force(arn, document).await?.then_some(()));
                if unsure && self.visible(arn, in_force).await?.is_some() {
                    return Ok(());
                }
                self.make_room(arn, document).await?;
                continue;
            }
            unsure |= refused.passing && !refused.is_throttled();
            match pauses.next() {
                Some(pause) if refused.passing || refused.is_throttled() => self.after(&refused, pause).await?,
                _ => return Err(refused.into()),
            }
        }
        Ok(())
    }

    async fn is_in_force(&self, arn: &str, document: &PolicyDocument) -> Result<bool> {
        Ok(self.policy(arn).await?.is_some_and(|policy| policy.document.same_as(document)))
    }

    /// Made once by the SDK: a repetition would make another version.
    async fn create_policy_version(&self, arn: &str, document: &PolicyDocument) -> Result<(), Refused> {
        let request =
            self.iam().create_policy_version().policy_arn(arn).policy_document(document.to_json()).set_as_default(true);
        let once = aws_sdk_iam::config::Builder::new().retry_config(RetryConfig::disabled());
        self.send("iam:CreatePolicyVersion", arn, request.customize().config_override(once).send()).await?;
        Ok(())
    }

    /// Deletes the oldest version that isn't in force, where there are as many as IAM keeps. The versions are listed
    /// before the last look at the one in force: what another run deletes after that is the same one.
    async fn make_room(&self, arn: &str, document: &PolicyDocument) -> Result<()> {
        let others = self.other_versions(arn).await?;
        let full = others.len() + 1 >= VERSIONS;
        match others.first() {
            Some(oldest) if full && !self.is_in_force(arn, document).await? => {
                self.delete_policy_version(arn, oldest).await
            }
            _ => Ok(()),
        }
    }

    /// Versions that aren't in force, oldest first.
    async fn other_versions(&self, arn: &str) -> Result<Vec<String>> {
        let mut versions = Vec::new();
        let mut pages = self.iam().list_policy_versions().policy_arn(arn).into_paginator().send();
        while let Some(page) = self.page("iam:ListPolicyVersions", arn, pages.next()).await? {
            let others = page.versions.unwrap_or_default().into_iter().filter(|version| !version.is_default_version);
            versions.extend(others.filter_map(|version| version.version_id));
        }
        // Numbers only grow: v9 is older than v10.
        versions.sort_by_key(|version| version.trim_start_matches('v').parse::<u64>().unwrap_or_default());
        Ok(versions)
    }

    async fn delete_policy_version(&self, arn: &str, version: &str) -> Result<()> {
        let request = self.iam().delete_policy_version().policy_arn(arn).version_id(version);
        found(self.send("iam:DeletePolicyVersion", arn, request.send()).await).map(drop)
    }

    /// Deletes a policy with all its versions; one that is gone is no error.
    ///
    /// # Errors
    /// `PolicyInUse` while it is attached.
    pub async fn delete_policy(&self, arn: &str) -> Result<()> {
        let request = || self.iam().delete_policy().policy_arn(arn).send();
        match self.send("iam:DeletePolicy", arn, request()).await {
            // Attached, or with other versions: versions must not be lost where it is the former.
            Err(refused) if is_delete_conflict(&refused) => {
                let users = self.policy_users(arn).await?;
                if !users.is_empty() {
                    let hint = format!("it is used by {}", users.join(", "));
                    return Err(refused.recoded(ErrorCode::PolicyInUse, hint));
                }
            }
            answer => return found(answer).map(drop),
        }
        for version in self.other_versions(arn).await? {
            self.delete_policy_version(arn, &version).await?;
        }
        match self.send("iam:DeletePolicy", arn, request()).await {
            Err(refused) if is_delete_conflict(&refused) => {
                let command = Command::new("aws iam list-entities-for-policy").with("--policy-arn", arn);
                let hint = format!("see who uses it: {command}");
                Err(refused.recoded(ErrorCode::PolicyInUse, hint))
            }
            answer => found(answer).map(drop),
        }
    }

    /// A role.
    pub async fn role(&self, name: &str) -> Result<Option<Role>> {
        let answer = self.send("iam:GetRole", name, self.iam().get_role().role_name(name).send()).await;
        Ok(found(answer)?.and_then(|answer| answer.role).map(read_role))
    }

    /// All roles of the account, without tags and boundaries.
    pub async fn roles(&self) -> Result<Vec<Role>> {
        let mut roles = Vec::new();
        let mut pages = self.iam().list_roles().max_items(1000).into_paginator().send();
        while let Some(page) = self.page("iam:ListRoles", "", pages.next()).await? {
            roles.extend(page.roles.into_iter().map(read_role));
        }
        Ok(roles)
    }

    /// All roles of the account with all that they are allowed, in as few calls as there are pages.
    pub async fn roles_with_policies(&self) -> Result<Vec<RoleWithPolicies>> {
        let mut roles = Vec::new();
        let request = self.iam().get_account_authorization_details().filter(EntityType::Role).max_items(1000);
        let mut pages = request.into_paginator().send();
        while let Some(page) = self.page("iam:GetAccountAuthorizationDetails", "", pages.next()).await? {
            roles.extend(page.role_detail_list.unwrap_or_default().into_iter().map(read_details));
        }
        Ok(roles)
    }

    /// A role, the managed policies attached to it, and its inline policies of these names, read at the same time.
    pub async fn role_with_policies(&self, name: &str, inline: &[String]) -> Result<Option<RoleWithPolicies>> {
        let documents = inline.iter().map(|policy| async move {
            Ok(self.inline_policy(name, policy).await?.map(|document| (policy.clone(), document)))
        });
        let names = async {
            match self.inline_policies(name).await {
                Err(error) if error.code == ErrorCode::AccessDenied => Ok(Err(error.to_string())),
                names => names.map(Ok),
            }
        };
        let (role, attached, documents, names) =
            try_join4(self.role(name), self.attached_policies(name), try_join_all(documents), names).await?;
        Ok(role.map(|role| RoleWithPolicies {
            role,
            attached,
            inline: documents.into_iter().flatten().collect(),
            others_inline: names.map(|names| names.into_iter().filter(|name| !inline.contains(name)).collect()),
        }))
    }

    /// Those of these needs that IAM's policy simulator doesn't allow a role: its policies, its boundary and the
    /// organisation's policies count ("Testing IAM policies with the IAM policy simulator", IAM User Guide).
    pub async fn simulate(&self, role_arn: &str, needs: &[Need]) -> Result<Vec<Refusal>> {
        let mut resources: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
        for resource in needs.iter().map(|need| need.resource.as_str()).collect::<BTreeSet<_>>() {
            let actions = needs.iter().filter(|need| need.resource == resource).map(|need| need.action.as_str());
            resources.entry(actions.collect()).or_default().push(resource);
        }
        let calls = resources.iter().map(|(actions, resources)| self.simulated(role_arn, actions, resources));
        Ok(try_join_all(calls).await?.into_iter().flatten().collect())
    }

    async fn simulated(&self, role_arn: &str, actions: &[&str], resources: &[&str]) -> Result<Vec<Refusal>> {
        let texts = |all: &[&str]| Some(all.iter().map(|text| (*text).to_owned()).collect());
        let request = self
            .iam()
            .simulate_principal_policy()
            .policy_source_arn(role_arn)
            .set_action_names(texts(actions))
            .set_resource_arns(texts(resources));
        let mut refusals = Vec::new();
        let mut pages = request.into_paginator().send();
        while let Some(page) = self.page("iam:SimulatePrincipalPolicy", role_arn, pages.next()).await? {
            refusals.extend(page.evaluation_results.unwrap_or_default().into_iter().flat_map(refused));
        }
        Ok(refusals)
    }

    /// Those of these needs that the simulator is sure that IAM doesn't allow a caller: where conditions decide that
    /// nobody can foresee, it isn't sure.
    pub async fn foresee(&self, caller_arn: &str, foreseen: &Foreseen) -> Result<Vec<Refusal>> {
        let contexts = foreseen.contexts();
        let calls = contexts.iter().map(|context| self.foresee_with(caller_arn, &foreseen.needs, context));
        let answers = try_join_all(calls).await?;
        let needs: Vec<Vec<_>> =
            answers.iter().map(|answer| answer.iter().map(|refusal| refusal.need.clone()).collect()).collect();
        let refusal = |need: Need| answers.iter().flatten().find(|refusal| refusal.need == need).cloned();
        Ok(foreseen.certain(&needs).into_iter().filter_map(refusal).collect())
    }

    /// Every action is judged on every resource.
    async fn foresee_with(
        &self,
        caller_arn: &str,
        needs: &[Need],
        context: &BTreeMap<&'static str, Vec<String>>,
    ) -> Result<Vec<Refusal>> {
        let distinct = |text: fn(&Need) -> &str| {
            let all: BTreeSet<_> = needs.iter().map(text).collect();
            Some(all.into_iter().map(str::to_owned).collect::<Vec<_>>())
        };
        let context = context.iter().map(|(key, values)| {
            let kind = if values.len() > 1 { ContextKeyTypeEnum::StringList } else { ContextKeyTypeEnum::String };
            ContextEntry::builder()
                .context_key_name(*key)
                .set_context_key_values(Some(values.clone()))
                .context_key_type(kind)
                .build()
        });
        let request = self
            .iam()
            .simulate_principal_policy()
            .policy_source_arn(caller_arn)
            .set_action_names(distinct(|need| &need.action))
            .set_resource_arns(distinct(|need| &need.resource))
            .set_context_entries(Some(context.collect()))
            .max_items(1000);
        let answer = self.send("iam:SimulatePrincipalPolicy", caller_arn, request.send()).await?;
        let refusals = answer.evaluation_results.unwrap_or_default().into_iter().flat_map(refused);
        Ok(refusals.filter(|refusal| !refusal.conditional).collect())
    }

    /// Managed policies of a role: name and ARN; none where the role is gone.
    pub async fn attached_policies(&self, role: &str) -> Result<Vec<(String, String)>> {
        let mut policies = Vec::new();
        let mut pages = self.iam().list_attached_role_policies().role_name(role).into_paginator().send();
        while let Some(page) = self.next("iam:ListAttachedRolePolicies", role, pages.next()).await? {
            for policy in page.attached_policies.unwrap_or_default() {
                policies.push((policy.policy_name.unwrap_or_default(), policy.policy_arn.unwrap_or_default()));
            }
        }
        Ok(policies)
    }

    /// Names of a role's inline policies; none where the role is gone.
    pub async fn inline_policies(&self, role: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut pages = self.iam().list_role_policies().role_name(role).into_paginator().send();
        while let Some(page) = self.next("iam:ListRolePolicies", role, pages.next()).await? {
            names.extend(page.policy_names);
        }
        Ok(names)
    }

    /// An inline policy of a role.
    pub async fn inline_policy(&self, role: &str, name: &str) -> Result<Option<PolicyDocument>> {
        let request = self.iam().get_role_policy().role_name(role).policy_name(name);
        let answer = found(self.send("iam:GetRolePolicy", &format!("{role}/{name}"), request.send()).await)?;
        answer.map(|answer| decode(name, &answer.policy_document)).transpose()
    }

    /// Creates or replaces an inline policy of a role.
    pub async fn put_inline_policy(&self, role: &str, name: &str, document: &PolicyDocument) -> Result<()> {
        let request =
            self.iam().put_role_policy().role_name(role).policy_name(name).policy_document(document.to_json());
        self.send("iam:PutRolePolicy", &format!("{role}/{name}"), request.send()).await?;
        Ok(())
    }

    /// Attaches a managed policy to a role.
    pub async fn attach_policy(&self, role: &str, arn: &str) -> Result<()> {
        let object = format!("{arn} to {role}");
        let attach = || {
            let request = self.iam().attach_role_policy().role_name(role).policy_arn(arn);
            self.send("iam:AttachRolePolicy", &object, request.send())
        };
        match self.visible(arn, async || found(attach().await)).await? {
            Some(_) => Ok(()),
            None => Ok(attach().await.map(drop)?),
        }
    }

    /// Detaches a managed policy from a role; one that isn't attached is no error.
    pub async fn detach_policy(&self, role: &str, arn: &str) -> Result<()> {
        let request = self.iam().detach_role_policy().role_name(role).policy_arn(arn);
        found(self.send("iam:DetachRolePolicy", &format!("{arn} from {role}"), request.send()).await).map(drop)
    }

    /// Replaces a role's trust policy.
    pub async fn set_trust(&self, role: &str, document: &PolicyDocument) -> Result<()> {
        let request = self.iam().update_assume_role_policy().role_name(role).policy_document(document.to_json());
        self.send("iam:UpdateAssumeRolePolicy", role, request.send()).await?;
        Ok(())
    }

    /// Sets or removes a role's permissions boundary.
    pub async fn set_boundary(&self, role: &str, boundary: Option<&str>) -> Result<()> {
        if let Some(arn) = boundary {
            let request = self.iam().put_role_permissions_boundary().role_name(role).permissions_boundary(arn);
            self.send("iam:PutRolePermissionsBoundary", role, request.send()).await?;
            return Ok(());
        }
        let request = self.iam().delete_role_permissions_boundary().role_name(role);
        found(self.send("iam:DeleteRolePermissionsBoundary", role, request.send()).await).map(drop)
    }

    /// As [`Aws::page`]; a listing about something that is gone is empty.
    async fn next<T, E>(
        &self,
        operation: &'static str,
        object: &str,
        next: impl Future<
            Output = Option<
                Result<T, aws_sdk_iam::error::SdkError<E, aws_smithy_runtime_api::client::orchestrator::HttpResponse>>,
            >,
        >,
    ) -> Result<Option<T>>
    where
        E: aws_sdk_iam::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        found(self.page(operation, object, next).await).map(Option::flatten)
    }
}

fn is_limit(refused: &Refused) -> bool {
    matches!(refused.code.as_str(), "LimitExceeded" | "LimitExceededException")
}

fn is_delete_conflict(refused: &Refused) -> bool {
    matches!(refused.code.as_str(), "DeleteConflict" | "DeleteConflictException")
}

/// What the simulator doesn't allow of an action. Where resources were named, the answers are those for each of them
/// (`SimulatePrincipalPolicy`, `ResourceSpecificResults`), else the one of the action.
fn refused(result: EvaluationResult) -> Vec<Refusal> {
    let organisation = result.organizations_decision_detail.is_some_and(|detail| !detail.allowed_by_organizations);
    let mut answers = Vec::new();
    for it in result.resource_specific_results.unwrap_or_default() {
        let boundary = it.permissions_boundary_decision_detail;
        answers.push((it.eval_resource_name, it.eval_resource_decision, boundary, it.missing_context_values));
    }
    if answers.is_empty() {
        let resource = result.eval_resource_name.unwrap_or_else(|| "*".to_owned());
        let boundary = result.permissions_boundary_decision_detail;
        answers.push((resource, result.eval_decision, boundary, result.missing_context_values));
    }
    let refused = answers.into_iter().filter(|answer| answer.1 != PolicyEvaluationDecisionType::Allowed);
    refused
        .map(|(resource, decision, boundary, missing)| Refusal {
            need: Need::new(&result.eval_action_name, resource),
            explicit: decision == PolicyEvaluationDecisionType::ExplicitDeny,
            boundary: boundary.is_some_and(|detail| !detail.allowed_by_permissions_boundary),
            organisation,
            conditional: missing.is_some_and(|keys| !keys.is_empty()),
        })
        .collect()
}

fn read_role(role: aws_sdk_iam::types::Role) -> Role {
    Role {
        trust: decode_leniently(&role.assume_role_policy_document.unwrap_or_default()),
        name: role.role_name,
        arn: role.arn,
        path: role.path,
        boundary: role.permissions_boundary.and_then(|boundary| boundary.permissions_boundary_arn),
        tags: tag_map(role.tags.unwrap_or_default()),
        created: role.create_date.secs(),
    }
}

fn read_details(role: RoleDetail) -> RoleWithPolicies {
    let inline = role.role_policy_list.unwrap_or_default().into_iter().map(|policy| {
        (policy.policy_name.unwrap_or_default(), decode_leniently(&policy.policy_document.unwrap_or_default()))
    });
    let attached = role.attached_managed_policies.unwrap_or_default().into_iter();
    RoleWithPolicies {
        role: Role {
            trust: decode_leniently(&role.assume_role_policy_document.unwrap_or_default()),
            name: role.role_name.unwrap_or_default(),
            arn: role.arn.unwrap_or_default(),
            path: role.path.unwrap_or_else(|| "/".to_owned()),
            boundary: role.permissions_boundary.and_then(|boundary| boundary.permissions_boundary_arn),
            tags: tag_map(role.tags.unwrap_or_default()),
            created: role.create_date.as_ref().map(aws_smithy_types::DateTime::secs).unwrap_or_default(),
        },
        attached: attached.map(|p| (p.policy_name.unwrap_or_default(), p.policy_arn.unwrap_or_default())).collect(),
        inline: inline.collect(),
        others_inline: Ok(Vec::new()),
    }
}

/// IAM returns documents URL-encoded.
fn decode(owner: &str, document: &str) -> Result<PolicyDocument> {
    PolicyDocument::from_encoded(document).map_err(|reason| {
        Error::new(ErrorCode::Aws, format!("a policy document of {owner} can't be read")).cause(reason)
    })
}

/// One role's document that can't be read doesn't hide the others: it stays text, which allows nothing.
fn decode_leniently(document: &str) -> PolicyDocument {
    PolicyDocument::from_encoded(document).unwrap_or_else(|_| PolicyDocument(document.into()))
}

fn without_scheme(url: &str) -> &str {
    url.strip_prefix("https://").unwrap_or(url)
}

fn tag_map(tags: Vec<Tag>) -> BTreeMap<String, String> {
    tags.into_iter().map(|tag| (tag.key, tag.value)).collect()
}

fn iam_tags(tags: &[(String, String)]) -> Result<Vec<Tag>> {
    let tag = |(key, value): &(String, String)| Tag::builder().key(key).value(value).build();
    let tags: std::result::Result<_, _> = tags.iter().map(tag).collect();
    tags.map_err(|error| Error::new(ErrorCode::Internal, "malformed tags").cause(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_encoded() {
        let encoded = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%5D%7D";
        assert_eq!(decode("role", encoded).unwrap().0["Version"], "2012-10-17");
        let error = decode("Dns", "%7B").unwrap_err();
        assert!(error.message.contains("Dns"));
        assert_eq!((decode_leniently("%7B").0, decode_leniently("{}").0), ("%7B".into(), serde_json::json!({})));
    }

    #[test]
    fn issuers_have_no_scheme_in_iam() {
        assert_eq!(
            without_scheme("https://oidc.eks.us-west-2.amazonaws.com/id/A"),
            "oidc.eks.us-west-2.amazonaws.com/id/A"
        );
        assert_eq!(without_scheme("oidc.eks.us-west-2.amazonaws.com/id/A"), "oidc.eks.us-west-2.amazonaws.com/id/A");
    }
}
