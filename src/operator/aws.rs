//! What irsactl needs of IAM. CloudFormation works with its caller's rights ("Controlling access with IAM", CloudFormation
//! User Guide), so what it calls for an `AWS::IAM::Role` (the handlers' permissions in the type's schema) counts, too.
//!
//! `sts:GetCallerIdentity` and `sts:AssumeRoleWithWebIdentity` need no right. Left out on purpose, see [`LEFT_OUT`].

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Flags, Place, RoleName, Task};
use crate::iam::arn::{policy_arn, role_arn};
use crate::iam::policy::PolicyDocument;
use crate::iam::wildcard::covers;
use crate::stack::names;
use crate::stack::tags::OIDC_ENABLED;

/// Calls that irsactl makes without counting on them, and why no policy grants them.
pub const LEFT_OUT: &[(&str, &str)] = &[
    ("eks:ListClusters", "names the clusters that there are in the hint of one that isn't there"),
    ("sts:AssumeRole", "verify looks into the zones of another account, where ExternalDNS has a role there"),
    ("sts:AssumeRoleWithWebIdentity", "is called without credentials"),
    ("sts:GetCallerIdentity", "is allowed to everybody"),
];

/// Actions that belong together, on what, and the name of their statement, which parts share that are on the same and
/// under no condition. What begins with `Optional` only informs: without it, commands go on and say what they can't read.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    sid: &'static str,
    actions: &'static [&'static str],
    on: On,
}

/// What a part is about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum On {
    /// Everything.
    All,
    Cluster,
    /// EKS's own ExternalDNS.
    Addon,
    Associations,
    /// The IAM providers of EKS's issuers.
    Providers,
    /// Every provider of the account.
    AllProviders,
    /// The stacks of the cluster's service accounts.
    Stacks,
    /// The roles that these stacks make.
    Roles,
    /// The same, before they are there, too: IAM knows no path then.
    RoleNames,
    /// Every role of the account: others may have given it to a service account.
    AllRoles,
    /// Roles of others that flags name.
    ForeignRoles,
    /// The role that CloudFormation works with.
    CfnRole,
    /// Who may be the caller.
    Callers,
    /// The policy that irsactl makes.
    OwnPolicy,
    /// The policies of the account, whatever their names.
    AllPolicies,
    /// These and AWS's own.
    EveryPolicy,
    /// Managed policies and boundaries that flags name.
    GivenPolicies,
    /// Hosted zones by their ids.
    Zones,
}

const fn part(sid: &'static str, on: On, actions: &'static [&'static str]) -> Part {
    Part { sid, actions, on }
}

// The cluster: endpoint, CA and issuer, without which nothing goes.
const CLUSTER: Part = part("ReadCluster", On::Cluster, &["eks:DescribeCluster"]);
// eksctl's tag `alpha.eksctl.io/cluster-oidc-enabled`.
const MARK_CLUSTER: Part = part("OptionalMarkCluster", On::Cluster, &["eks:TagResource"]);
// What else gives a ServiceAccount a role, or installs ExternalDNS.
const ASSOCIATIONS: Part = part("OptionalReadPodIdentity", On::Cluster, &["eks:ListPodIdentityAssociations"]);
const ASSOCIATION: Part =
    part("OptionalReadPodIdentityRole", On::Associations, &["eks:DescribePodIdentityAssociation"]);
const ADDON: Part = part("OptionalReadAddon", On::Addon, &["eks:DescribeAddon"]);

// The IAM OIDC provider of the cluster's issuer.
const READ_PROVIDER: Part = part("ReadProvider", On::Providers, &["iam:GetOpenIDConnectProvider"]);
const SEE_PROVIDER: Part = part("OptionalReadProvider", On::Providers, &["iam:GetOpenIDConnectProvider"]);
const LIST_PROVIDERS: Part = part("OptionalListProviders", On::AllProviders, &["iam:ListOpenIDConnectProviders"]);
const MAKE_PROVIDER: Part = part(
    "MakeProvider",
    On::Providers,
    &["iam:CreateOpenIDConnectProvider", "iam:TagOpenIDConnectProvider", "iam:AddClientIDToOpenIDConnectProvider"],
);

// The stack of a service account: what is there, and why it failed.
const READ_STACKS: Part = part(
    "ReadStacks",
    On::Stacks,
    &["cloudformation:DescribeStacks", "cloudformation:GetTemplate", "cloudformation:DescribeStackEvents"],
);
// An update leaves a stack that failed alone, and says why it failed.
const READ_TEMPLATES: Part =
    part("ReadStacks", On::Stacks, &["cloudformation:DescribeStacks", "cloudformation:GetTemplate"]);
const EXPLAIN_FAILURE: Part = part("OptionalExplainStack", On::Stacks, &["cloudformation:DescribeStackEvents"]);
const SEE_STACKS: Part = part(
    "OptionalReadStacks",
    On::Stacks,
    &["cloudformation:DescribeStacks", "cloudformation:GetTemplate", "cloudformation:DescribeStackEvents"],
);
const READ_STACK: Part = part("ReadStack", On::Stacks, &["cloudformation:DescribeStacks"]);
const EXPLAIN_STACK: Part =
    part("OptionalExplainStack", On::Stacks, &["cloudformation:GetTemplate", "cloudformation:DescribeStackEvents"]);
const LIST_STACKS: Part = part("ListStacks", On::All, &["cloudformation:DescribeStacks"]);
const SEE_ALL_STACKS: Part = part("OptionalListStacks", On::All, &["cloudformation:DescribeStacks"]);
const SEE_ALL_ROLES: Part = part("OptionalListRoles", On::All, &["iam:GetAccountAuthorizationDetails"]);
// Changes go through change sets; a stuck rollback is continued first.
const CHANGE_STACKS: Part = part(
    "ChangeStacks",
    On::Stacks,
    &[
        "cloudformation:CreateChangeSet",
        "cloudformation:DescribeChangeSet",
        "cloudformation:ExecuteChangeSet",
        "cloudformation:DeleteChangeSet",
        "cloudformation:ContinueUpdateRollback",
    ],
);
// A stack that failed is deleted and made again.
const CREATE_STACKS: Part = part("ChangeStacks", On::Stacks, &["cloudformation:CreateStack"]);
const DELETE_STACKS: Part =
    part("ChangeStacks", On::Stacks, &["cloudformation:DeleteStack", "cloudformation:UpdateTerminationProtection"]);

// The role: trust, boundary and policies, for what was changed behind CloudFormation's back.
const READ_ROLES: Part =
    part("ReadRoles", On::RoleNames, &["iam:GetRole", "iam:ListAttachedRolePolicies", "iam:GetRolePolicy"]);
// Inline policies of others.
const LIST_INLINE: Part = part("OptionalListInlinePolicies", On::Roles, &["iam:ListRolePolicies"]);
const SEE_ROLES: Part = part("OptionalReadRoles", On::AllRoles, &["iam:GetRole"]);
const SEE_ROLE_POLICIES: Part = part(
    "OptionalReadRolePolicies",
    On::AllRoles,
    &["iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "iam:GetRolePolicy"],
);
const LIST_ROLES: Part = part("OptionalListRoles", On::All, &["iam:ListRoles", "iam:GetAccountAuthorizationDetails"]);
const SIMULATE: Part = part("OptionalSimulateRoles", On::AllRoles, &["iam:SimulatePrincipalPolicy"]);
const SEE_FOREIGN_ROLES: Part = part("OptionalReadGivenRoles", On::ForeignRoles, &["iam:GetRole"]);
// By CloudFormation, and where somebody changed the role itself.
const MEND_TRUST: Part = part("ChangeRoles", On::Roles, &["iam:UpdateAssumeRolePolicy"]);
const SET_BOUNDARY: Part = part("SetBoundary", On::Roles, &["iam:PutRolePermissionsBoundary"]);
const TAKE_BOUNDARY: Part = part("ChangeRoles", On::Roles, &["iam:DeleteRolePermissionsBoundary"]);
const ATTACH: Part = part("AttachPolicies", On::Roles, &["iam:AttachRolePolicy"]);
const PUT_INLINE: Part = part("PutInlinePolicies", On::Roles, &["iam:PutRolePolicy"]);
// By CloudFormation only.
const CREATE_ROLES: Part = part("CreateRoles", On::Roles, &["iam:CreateRole"]);
const TAG_ROLES: Part = part("ChangeRoles", On::Roles, &["iam:TagRole"]);
// An update adds tags only.
const UNTAG_ROLES: Part = part("ChangeRoles", On::Roles, &["iam:UntagRole"]);
const DELETE_ROLES: Part = part("ChangeRoles", On::Roles, &["iam:DeleteRole"]);
const TAKE_POLICIES: Part = part("TakePolicies", On::Roles, &["iam:DetachRolePolicy", "iam:DeleteRolePolicy"]);
const DETACH: Part = part("DetachPolicies", On::Roles, &["iam:DetachRolePolicy"]);
const PASS_ROLE: Part = part("PassRole", On::CfnRole, &["iam:PassRole"]);

// The policy that ExternalDNS's role gets: versions are pruned where five are there.
const READ_POLICY: Part = part("ReadPolicy", On::OwnPolicy, &["iam:GetPolicy", "iam:GetPolicyVersion"]);
const MAKE_POLICY: Part = part(
    "MakePolicy",
    On::OwnPolicy,
    &[
        "iam:CreatePolicy",
        "iam:TagPolicy",
        "iam:CreatePolicyVersion",
        "iam:ListPolicyVersions",
        "iam:DeletePolicyVersion",
    ],
);
// Who else has it: where that can't be read, it counts as in use, and isn't changed.
const POLICY_USERS: Part = part("ReadPolicyUsers", On::OwnPolicy, &["iam:ListEntitiesForPolicy"]);
const ANY_POLICY_USERS: Part = part("OptionalReadPolicyUsers", On::AllPolicies, &["iam:ListEntitiesForPolicy"]);
const READ_POLICIES: Part = part("ReadPolicies", On::AllPolicies, &["iam:GetPolicy", "iam:GetPolicyVersion"]);
const SEE_POLICIES: Part = part("OptionalReadPolicies", On::EveryPolicy, &["iam:GetPolicy", "iam:GetPolicyVersion"]);
const DELETE_POLICY: Part =
    part("DeletePolicy", On::OwnPolicy, &["iam:DeletePolicy", "iam:ListPolicyVersions", "iam:DeletePolicyVersion"]);
const CHECK_GIVEN: Part = part("OptionalReadGivenPolicies", On::GivenPolicies, &["iam:GetPolicy"]);
const SEE_GIVEN: Part =
    part("OptionalReadGivenPolicies", On::GivenPolicies, &["iam:GetPolicy", "iam:GetPolicyVersion"]);

// DNS is only read.
const LIST_ZONES: Part = part("ListZones", On::All, &["route53:ListHostedZones"]);
const SEE_ZONES: Part = part("OptionalListZones", On::All, &["route53:ListHostedZones"]);
const ZONES_BY_ID: Part = part("OptionalReadZones", On::Zones, &["route53:GetHostedZone"]);
const RECORDS: Part = part("ReadRecords", On::Zones, &["route53:ListResourceRecordSets"]);
const SEE_RECORDS: Part = part("OptionalReadRecords", On::Zones, &["route53:ListResourceRecordSets"]);

// A write that isn't allowed is refused before the first.
const FORESEE: Part = part("OptionalForesee", On::Callers, &["iam:SimulatePrincipalPolicy"]);

/// What a command needs.
fn parts(task: Task, flags: &Flags) -> Vec<Part> {
    let entry = [READ_STACKS, READ_ROLES, LIST_INLINE];
    let listings = if flags.many { &[SEE_ALL_STACKS, SEE_ALL_ROLES][..] } else { &[] }.iter().copied();
    match task {
        Task::AssociateProvider => vec![CLUSTER, READ_PROVIDER, MAKE_PROVIDER, MARK_CLUSTER, FORESEE],
        Task::CreatePolicy => {
            let zones = (!flags.zones.is_empty()).then_some(ZONES_BY_ID);
            [READ_POLICY, MAKE_POLICY, POLICY_USERS, FORESEE].into_iter().chain(zones).collect()
        }
        Task::CreateServiceAccount => {
            let provider = [CLUSTER, READ_PROVIDER, MAKE_PROVIDER, MARK_CLUSTER, FORESEE];
            let parts = provider.into_iter().chain(entry).chain(given(flags, CHECK_GIVEN)).chain(make_roles(flags));
            parts.chain(listings).collect()
        }
        Task::UpdateServiceAccount => {
            let entry = [CLUSTER, READ_TEMPLATES, EXPLAIN_FAILURE, READ_ROLES, LIST_INLINE].into_iter();
            let parts = entry.chain(given(flags, CHECK_GIVEN)).chain(make_roles(flags));
            // What has to be made anew is left to `create`.
            let others = [UNTAG_ROLES, CREATE_STACKS, DELETE_STACKS, CREATE_ROLES, DELETE_ROLES];
            parts.filter(|part| !others.contains(part)).chain(listings).collect()
        }
        Task::DeleteServiceAccount => {
            let all = if flags.only_missing { LIST_STACKS } else { SEE_ALL_STACKS };
            let parts = [CLUSTER, all, DELETE_STACKS, FORESEE].into_iter().chain(entry).chain(remove_roles(flags));
            parts.chain(listings).collect()
        }
        Task::GetServiceAccount => {
            let all = [LIST_STACKS, LIST_ROLES];
            let one = [READ_STACK, EXPLAIN_STACK, SEE_ROLES, SEE_ROLE_POLICIES];
            let rest = if flags.service_accounts.is_empty() { [&all[..], &one].concat() } else { one.to_vec() };
            [CLUSTER, SEE_PROVIDER].into_iter().chain(rest).collect()
        }
        Task::GetDnsRecords => flags.cluster.then_some(CLUSTER).into_iter().chain([LIST_ZONES, RECORDS]).collect(),
        Task::Install => install(flags),
        Task::Uninstall => {
            let policies = [READ_POLICIES, ANY_POLICY_USERS, DELETE_POLICY];
            let left = [SEE_ZONES, SEE_RECORDS].into_iter().filter(|_| flags.kubernetes);
            let stack = [CLUSTER, DELETE_STACKS, FORESEE].into_iter().chain(entry).chain(remove_roles(flags));
            stack.chain(policies).chain(left).collect()
        }
        Task::VerifyExternalDns => {
            let policies = [SEE_ROLE_POLICIES, SEE_POLICIES, SIMULATE];
            chain().into_iter().chain(policies).chain([SEE_ZONES, SEE_RECORDS]).collect()
        }
        Task::VerifyServiceAccount => {
            let all = flags.service_accounts.is_empty().then_some(SEE_ALL_STACKS);
            chain().into_iter().chain(all).collect()
        }
        Task::RenderRole => flags.cluster.then_some(CLUSTER).into_iter().collect(),
        Task::RenderManifest => {
            if flags.cluster && !flags.foreign_only {
                entry.to_vec()
            } else {
                Vec::new()
            }
        }
    }
}

/// The links from a ServiceAccount to its role.
fn chain() -> [Part; 7] {
    [CLUSTER, SEE_PROVIDER, LIST_PROVIDERS, SEE_STACKS, SEE_ROLES, ASSOCIATIONS, ASSOCIATION]
}

fn install(flags: &Flags) -> Vec<Part> {
    let mut parts = vec![CLUSTER, READ_PROVIDER, MAKE_PROVIDER, MARK_CLUSTER, FORESEE];
    parts.extend([READ_STACKS, READ_ROLES, LIST_INLINE]);
    if flags.policy.is_some() {
        parts.extend([READ_POLICY, MAKE_POLICY, POLICY_USERS]);
    }
    parts.extend(given(flags, SEE_GIVEN));
    parts.extend(make_roles(flags));
    parts.extend([ASSOCIATIONS, ADDON]);
    if !flags.elsewhere {
        parts.push(LIST_ZONES);
        parts.extend(flags.kubernetes.then_some(SEE_RECORDS));
    }
    parts
}

/// What flags name and others made.
fn given(flags: &Flags, policies: Part) -> Vec<Part> {
    let named = |all: &Option<Vec<String>>| all.as_ref().is_none_or(|all| !all.is_empty());
    let policies = (named(&flags.attached) || named(&flags.boundaries)).then_some(policies);
    let roles = (!flags.foreign_roles.is_empty()).then_some(SEE_FOREIGN_ROLES);
    policies.into_iter().chain(roles).collect()
}

/// Stacks with roles, made, changed and replaced.
fn make_roles(flags: &Flags) -> Vec<Part> {
    if flags.foreign_only {
        return Vec::new();
    }
    let named = |all: &Option<Vec<String>>| all.as_ref().is_none_or(|all| !all.is_empty());
    let mut parts = vec![CREATE_STACKS, CHANGE_STACKS, DELETE_STACKS, MEND_TRUST, FORESEE];
    parts.extend((flags.policy.is_some() || named(&flags.attached)).then_some(ATTACH));
    parts.extend(flags.inline.then_some(PUT_INLINE));
    parts.extend(named(&flags.boundaries).then_some(SET_BOUNDARY));
    parts.extend(flags.unbounded.then_some(TAKE_BOUNDARY));
    if flags.cfn_role.is_some() {
        parts.push(PASS_ROLE);
    } else {
        parts.extend([CREATE_ROLES, TAG_ROLES, UNTAG_ROLES, DELETE_ROLES, TAKE_POLICIES]);
    }
    parts
}

/// What CloudFormation calls to delete a role.
fn remove_roles(flags: &Flags) -> Vec<Part> {
    match (&flags.cfn_role, flags.detach_foreign) {
        (Some(_), true) => vec![PASS_ROLE, DETACH],
        (Some(_), false) => vec![PASS_ROLE],
        (None, _) => vec![DELETE_ROLES, TAKE_POLICIES],
    }
}

/// The least policy that lets irsactl do these tasks. Where the names of many service accounts would make it longer than
/// IAM takes, it is about all of the cluster.
///
/// # Errors
/// An ARN of another partition, and roles and policies that are too many to be named in one policy.
pub fn policy(tasks: &[(Task, &Flags)], place: &Place) -> Result<PolicyDocument, String> {
    let length = |flags: &Flags| place.stacks(flags).iter().map(|name| ARN + name.len()).sum::<usize>();
    let named = |flags: &Flags| flags.roles.len() + flags.foreign_roles.len() + distinct(flags.attached.as_ref());
    // Roles and policies of any names can't be allowed in their place: that would be every role of the account.
    let too_long =
        || format!("it would be longer than the {LONGEST} characters of an IAM policy: name fewer at a time");
    if tasks.iter().any(|(_, flags)| named(flags) * SHORTEST_ARN > LONGEST) {
        return Err(too_long());
    }
    if tasks.iter().all(|(_, flags)| length(flags) <= LONGEST) {
        let narrow = document(tasks, place)?;
        if narrow.to_json().len() <= LONGEST {
            return Ok(narrow);
        }
    }
    let wide: Vec<_> =
        tasks.iter().map(|(task, flags)| (*task, Flags { stacks: Vec::new(), ..(*flags).clone() })).collect();
    let wide = document(&wide.iter().map(|(task, flags)| (*task, flags)).collect::<Vec<_>>(), place)?;
    if wide.to_json().len() > LONGEST { Err(too_long()) } else { Ok(wide) }
}

fn distinct(all: Option<&Vec<String>>) -> usize {
    all.into_iter().flatten().collect::<BTreeSet<_>>().len()
}

fn document(tasks: &[(Task, &Flags)], place: &Place) -> Result<PolicyDocument, String> {
    let mut statements: Vec<Statement> = Vec::new();
    for (task, flags) in tasks {
        for part in parts(*task, flags) {
            let statement = Statement::new(part, flags, place)?;
            match statements.iter_mut().find(|other| other.sid == statement.sid) {
                Some(other) => other.merge(statement),
                None => statements.push(statement),
            }
        }
    }
    without_repetition(&mut statements);
    // What may be dropped comes last.
    statements.sort_by_key(Statement::is_optional);
    Ok(PolicyDocument(json!({
        "Version": "2012-10-17",
        "Statement": statements.iter().filter(|it| !it.actions.is_empty()).map(Statement::to_value).collect::<Vec<_>>(),
    })))
}

/// The most characters of a managed policy ("IAM and AWS STS quotas").
const LONGEST: usize = 6144;

/// No role or policy takes fewer characters in a policy: `"arn:aws:iam::*:role/x",`.
const SHORTEST_ARN: usize = 23;

/// About so many characters of a stack's ARN come before its name.
const ARN: usize = 50;

/// A statement that allows something.
#[derive(Clone, Debug, PartialEq)]
struct Statement {
    sid: &'static str,
    actions: Vec<&'static str>,
    resources: Vec<String>,
    condition: Map<String, Value>,
}

impl Statement {
    fn new(part: Part, flags: &Flags, place: &Place) -> Result<Self, String> {
        let resources = place.resources(part.on, flags)?;
        let condition = condition(part, flags, place)?;
        Ok(Self { sid: part.sid, actions: part.actions.to_vec(), resources, condition })
    }

    fn is_optional(&self) -> bool {
        self.sid.starts_with("Optional")
    }

    /// Several commands share a part; where they are about different things, all of them count.
    fn merge(&mut self, other: Self) {
        self.actions
            .extend(other.actions.into_iter().filter(|action| !self.actions.contains(action)).collect::<Vec<_>>());
        self.resources.extend(other.resources);
        self.resources = widest(std::mem::take(&mut self.resources));
        if self.condition != other.condition {
            self.condition = Map::new();
        }
    }

    /// True where whatever the other allows of this action is allowed here, too.
    fn covers(&self, other: &Self, action: &str) -> bool {
        let narrower = self.is_optional() && !other.is_optional();
        let same = self.condition.is_empty() || self.condition == other.condition;
        let covered = |resource: &String| self.resources.iter().any(|own| covers(own, resource));
        !narrower && same && self.actions.contains(&action) && other.resources.iter().all(covered)
    }

    fn to_value(&self) -> Value {
        let list = |all: &[String]| match all {
            [one] => json!(one),
            many => json!(many),
        };
        let actions: Vec<_> = self.actions.iter().map(|&action| action.to_owned()).collect();
        let mut value = json!({
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": list(&actions),
            "Resource": list(&self.resources),
        });
        if !self.condition.is_empty() {
            value["Condition"] = json!(self.condition);
        }
        value
    }
}

/// Each once, without those that another one covers.
fn widest(all: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for one in all {
        if !kept.iter().any(|other| covers(other, &one)) {
            kept.retain(|other| !covers(&one, other));
            kept.push(one);
        }
    }
    kept
}

/// Leaves every action only where it isn't allowed anyway.
fn without_repetition(statements: &mut [Statement]) {
    for index in 0..statements.len() {
        let own = statements[index].clone();
        let elsewhere = |action: &&str| {
            let others = statements.iter().enumerate().filter(|(other, _)| *other != index);
            let mut covering = others.filter(|(_, other)| other.covers(&own, action));
            // Of two that cover each other, the first stays.
            covering.any(|(other, statement)| other < index || !own.covers(statement, action))
        };
        let kept = own.actions.iter().copied().filter(|action| !elsewhere(action)).collect();
        statements[index].actions = kept;
    }
}

/// The parts that are only for roles with one of the boundaries, where each has one: what isn't bounded gets no policies
/// ("Actions, resources, and condition keys for AWS Identity and Access Management", Service Authorization Reference).
const BOUNDED: [&str; 6] =
    ["CreateRoles", "SetBoundary", "AttachPolicies", "PutInlinePolicies", "TakePolicies", "DetachPolicies"];

/// What narrows a part beyond its resources: which policies and boundaries roles get, whom a role is passed to, and which
/// tag a cluster gets.
fn condition(part: Part, flags: &Flags, place: &Place) -> Result<Map<String, Value>, String> {
    let mut all = Map::new();
    let mut only = |operator: &str, key: &str, value: Value| all.insert(operator.to_owned(), json!({key: value}));
    match (part.sid, &flags.attached) {
        ("AttachPolicies", Some(known)) => {
            let own = flags.policy.iter().map(|name| place.own_policy(name));
            let all: Vec<_> = own.chain(place.policies(known)?).collect();
            only("ArnLike", "iam:PolicyARN", json!(all));
        }
        ("PassRole", _) => drop(only("StringEquals", "iam:PassedToService", json!("cloudformation.amazonaws.com"))),
        ("OptionalMarkCluster", _) => drop(only("ForAllValues:StringEquals", "aws:TagKeys", json!([OIDC_ENABLED]))),
        _ => {}
    }
    let bounded = BOUNDED.contains(&part.sid) && !flags.unbounded;
    if let Some(known) = flags.boundaries.as_ref().filter(|known| bounded && !known.is_empty()) {
        only("ArnEquals", "iam:PermissionsBoundary", json!(place.policies(known)?));
    }
    Ok(all)
}

impl Place {
    fn resources(&self, on: On, flags: &Flags) -> Result<Vec<String>, String> {
        let Self { partition, region, account, cluster } = self;
        let iam = |rest: &str| format!("arn:{partition}:iam::{account}:{rest}");
        let eks = |rest: &str| format!("arn:{partition}:eks:{region}:{account}:{rest}");
        let stack = |name: &str| format!("arn:{partition}:cloudformation:{region}:{account}:stack/{name}");
        let one = |arn: String| vec![arn];
        let every_policy = || vec![iam("policy/*"), format!("arn:{partition}:iam::aws:policy/*")];
        Ok(match on {
            On::All => one("*".to_owned()),
            On::Cluster => one(eks(&format!("cluster/{cluster}"))),
            On::Addon => one(eks(&format!("addon/{cluster}/external-dns/*"))),
            On::Associations => one(eks(&format!("podidentityassociation/{cluster}/*"))),
            On::Providers => {
                let dual_stack =
                    if partition.as_str() == "aws-cn" { "api.amazonwebservices.com.cn" } else { "api.aws" };
                let hosts = [
                    format!("oidc.eks.{region}.{}", partition.dns_suffix()),
                    format!("oidc-eks.{region}.{dual_stack}"),
                ];
                hosts.iter().map(|host| iam(&format!("oidc-provider/{host}/id/*"))).collect()
            }
            On::AllProviders => one(iam("oidc-provider/*")),
            On::Stacks => match self.stacks(flags) {
                stacks if stacks.is_empty() => one(stack(&format!("{}*", names::prefix(cluster)))),
                stacks => stacks.iter().map(|name| stack(&format!("{name}/*"))).collect(),
            },
            On::Roles => widest(self.roles(flags, flags.roles.clone())),
            On::RoleNames => {
                let named = flags.roles.iter().filter(|role| role.name.is_some());
                let free = named.map(|role| RoleName { path: None, ..role.clone() });
                widest(self.roles(flags, free.chain(flags.roles.iter().cloned()).collect()))
            }
            On::AllRoles => one(iam("role/*")),
            On::ForeignRoles => {
                let complete = |role: &String| role_arn(role, partition, account);
                widest(flags.foreign_roles.iter().map(complete).collect::<Result<_, _>>()?)
            }
            On::CfnRole => {
                let complete = |role: &String| role_arn(role, partition, account);
                flags.cfn_role.iter().map(complete).collect::<Result<_, _>>()?
            }
            On::Callers => vec![iam("role/*"), iam("user/*")],
            On::OwnPolicy => flags.policy.iter().map(|name| self.own_policy(name)).collect(),
            On::AllPolicies => one(iam("policy/*")),
            On::EveryPolicy => every_policy(),
            On::GivenPolicies => match (&flags.attached, &flags.boundaries) {
                (Some(attached), Some(boundaries)) => {
                    widest(self.policies(&[attached.clone(), boundaries.clone()].concat())?)
                }
                _ => every_policy(),
            },
            On::Zones => match flags.zones.as_slice() {
                [] => one(format!("arn:{partition}:route53:::hostedzone/*")),
                ids => ids.iter().map(|id| format!("arn:{partition}:route53:::hostedzone/{id}")).collect(),
            },
        })
    }

    /// The names of the stacks that flags name; empty where any may be meant.
    fn stacks(&self, flags: &Flags) -> Vec<String> {
        let cluster = &self.cluster;
        let known = flags.stacks.iter().filter(|_| !cluster.contains('*'));
        known.flat_map(|(namespace, name)| names::candidates(cluster, namespace, name)).collect()
    }

    /// The roles that stacks make.
    fn roles(&self, flags: &Flags, names: BTreeSet<RoleName>) -> Vec<String> {
        let Self { partition, account, cluster, .. } = self;
        let made = match self.stacks(flags) {
            stacks if stacks.is_empty() => vec![names::roles_of_cluster(cluster)],
            stacks => stacks.iter().map(|stack| names::roles_of(stack)).collect(),
        };
        let arns = |role: RoleName| {
            let path = role.path.unwrap_or_else(|| "/".to_owned());
            let names = role.name.map_or_else(|| made.clone(), |name| vec![name]);
            names.into_iter().map(move |name| format!("arn:{partition}:iam::{account}:role{path}{name}"))
        };
        let all: Vec<_> = names.into_iter().flat_map(arns).collect();
        if all.is_empty() { arns(RoleName::default()).collect() } else { all }
    }

    fn own_policy(&self, name: &str) -> String {
        format!("arn:{}:iam::{}:policy/{name}", self.partition, self.account)
    }

    fn policies(&self, all: &[String]) -> Result<Vec<String>, String> {
        let once: BTreeSet<&String> = all.iter().collect();
        once.into_iter().map(|text| policy_arn(text, &self.partition, &self.account)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iam::arn::Partition;
    use crate::iam::wildcard::matches;

    fn here() -> Place {
        let text = str::to_owned;
        Place {
            partition: Partition::aws(),
            region: text("us-west-2"),
            account: text("123456789012"),
            cluster: text("c"),
        }
    }

    fn statements(tasks: &[(Task, &Flags)]) -> Vec<Value> {
        policy(tasks, &here()).unwrap().0["Statement"].as_array().unwrap().clone()
    }

    fn actions(statement: &Value) -> Vec<String> {
        match &statement["Action"] {
            Value::String(one) => vec![one.clone()],
            many => many.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect(),
        }
    }

    fn all_actions(task: Task, flags: &Flags) -> Vec<String> {
        statements(&[(task, flags)]).iter().flat_map(actions).collect()
    }

    #[test]
    fn no_action_has_a_wildcard_nor_changes_dns_or_what_others_made() {
        let flags = Flags::default();
        let never = ["iam:DeleteOpenIDConnectProvider", "route53:ChangeResourceRecordSets", "iam:PassRole"];
        for statement in statements(&Task::ALL.map(|task| (task, &flags))) {
            for action in actions(&statement) {
                let left_out = LEFT_OUT.iter().any(|(known, _)| *known == action);
                assert!(!action.contains('*') && !left_out && !never.contains(&&*action), "{action}");
                let reads = ["Get", "List", "Describe"].iter().any(|verb| action.contains(&format!(":{verb}")));
                assert!(reads || statement["Resource"] != "*", "{statement:#}");
            }
        }
    }

    #[test]
    fn with_a_role_for_cloudformation_it_is_passed_and_none_is_made() {
        let flags = Flags { cfn_role: Some("role/cfn".to_owned()), ..Flags::default() };
        let all = statements(&[(Task::CreateServiceAccount, &flags)]);
        let pass = all.iter().find(|statement| statement["Sid"] == "PassRole").unwrap();
        assert_eq!(pass["Resource"], "arn:aws:iam::123456789012:role/cfn");
        assert_eq!(pass["Condition"]["StringEquals"]["iam:PassedToService"], "cloudformation.amazonaws.com");
        let made = |action: &String| action == "iam:CreateRole" || action == "iam:DeleteRole";
        assert!(!all.iter().flat_map(actions).any(|action| made(&action)));
    }

    #[test]
    fn a_boundary_that_is_told_must_be_on_every_role_and_stays() {
        let told = vec!["policy/edge".to_owned()];
        let flags = Flags { boundaries: Some(told), unbounded: false, ..Flags::default() };
        let all = statements(&[(Task::CreateServiceAccount, &flags)]);
        let edge = json!(["arn:aws:iam::123456789012:policy/edge"]);
        // Whatever changes what a role may do.
        let powerful = ["CreateRole", "PutRolePermissionsBoundary", "AttachRolePolicy", "PutRolePolicy"];
        for action in powerful.into_iter().chain(["DetachRolePolicy", "DeleteRolePolicy"]) {
            let mut allowing = all.iter().filter(|statement| actions(statement).contains(&format!("iam:{action}")));
            let bounded = |statement: &Value| statement["Condition"]["ArnEquals"]["iam:PermissionsBoundary"] == edge;
            assert!(allowing.clone().next().is_some() && allowing.all(bounded), "{action}");
        }
        // IAM knows no such key there.
        let delete = all.iter().find(|statement| actions(statement).contains(&"iam:DeleteRole".to_owned())).unwrap();
        assert!(delete["Condition"].is_null());
        assert!(
            !all_actions(Task::CreateServiceAccount, &flags).contains(&"iam:DeleteRolePermissionsBoundary".to_owned())
        );
    }

    #[test]
    fn only_policies_that_are_told_can_be_attached() {
        let told = vec!["arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess".to_owned()];
        let flags = Flags { attached: Some(told.clone()), policy: None, ..Flags::default() };
        let all = statements(&[(Task::CreateServiceAccount, &flags)]);
        let attach = all.iter().find(|statement| statement["Sid"] == "AttachPolicies").unwrap();
        assert_eq!(attach["Condition"]["ArnLike"]["iam:PolicyARN"], json!(told));
    }

    fn allows(all: &[Value], action: &str, resource: &str) -> bool {
        let covers = |pattern: &Value| matches(pattern.as_str().unwrap(), resource);
        let of = |statement: &Value| match &statement["Resource"] {
            Value::Array(patterns) => patterns.iter().any(covers),
            pattern => covers(pattern),
        };
        all.iter().any(|statement| actions(statement).iter().any(|it| it == action) && of(statement))
    }

    fn role(name: &str) -> String {
        format!("arn:aws:iam::123456789012:role/{name}")
    }

    #[test]
    fn a_service_account_that_is_named_is_the_only_one() {
        let stacks = vec![("apps".to_owned(), "web".to_owned())];
        let all = statements(&[(Task::CreateServiceAccount, &Flags { stacks, many: false, ..Flags::default() })]);
        let stack = |name: &str| format!("arn:aws:cloudformation:us-west-2:123456789012:stack/{name}/id");
        for action in ["cloudformation:CreateStack", "cloudformation:DeleteStack", "cloudformation:DescribeStacks"] {
            for name in names::candidates("c", "apps", "web") {
                assert!(allows(&all, action, &stack(&name)), "{action} {name}");
            }
            for other in
                ["eksctl-c-addon-iamserviceaccount-apps-web2", "eksctl-c-addon-iamserviceaccount-kube-system-web"]
            {
                assert!(!allows(&all, action, &stack(other)), "{action} {other}");
            }
        }
        for action in ["iam:CreateRole", "iam:UpdateAssumeRolePolicy", "iam:PutRolePolicy", "iam:GetRole"] {
            assert!(allows(&all, action, &role("eksctl-c-addon-iamserviceaccount-apps-web-Role1-1O7FLE9TPVYC1")));
            assert!(!allows(&all, action, &role("eksctl-c-addon-iamserviceaccount-apps-api-Role1-1O7FLE9TPVYC1")));
            assert!(!allows(&all, action, &role("eksctl-c-addon-iamserviceaccount-apps-web")));
        }
    }

    #[test]
    fn roles_of_nodes_and_of_the_cluster_are_never_meant() {
        let anywhere = Place { cluster: "*".to_owned(), ..here() };
        for place in [here(), anywhere] {
            let flags = Flags::default();
            let all = policy(&[(Task::CreateServiceAccount, &flags)], &place).unwrap();
            let all = all.0["Statement"].as_array().unwrap();
            for action in ["iam:UpdateAssumeRolePolicy", "iam:AttachRolePolicy", "iam:DeleteRole"] {
                assert!(allows(all, action, &role("eksctl-c-addon-iamserviceaccount-apps-web-Role1-1O7FLE9TPVYC1")));
                for other in [
                    "eksctl-c-nodegroup-ng-1-NodeInstanceRole-1O7FLE9TPVYC1",
                    "eksctl-c-cluster-ServiceRole-1O7FLE9TPVYC",
                ] {
                    assert!(!allows(all, action, &role(other)), "{action} {other}");
                }
            }
        }
    }

    #[test]
    fn names_narrow_as_long_as_iam_takes_the_policy() {
        let named = |count: usize| {
            let stacks = (0..count).map(|n| ("apps".to_owned(), format!("web-{n}"))).collect();
            policy(&[(Task::CreateServiceAccount, &Flags { stacks, ..Flags::default() })], &here()).unwrap().to_json()
        };
        assert!(named(1).contains("-apps-web-0/*") && named(1).len() <= LONGEST, "{}", named(1).len());
        assert!(!named(40).contains("-apps-web-1") && named(40).len() <= LONGEST, "{}", named(40).len());
        assert_eq!(named(100_000), named(40));
    }

    #[test]
    fn names_that_one_policy_cannot_hold_are_refused() {
        let named = |count: usize| {
            let role = |n: usize| RoleName { name: Some(format!("role-of-some-length-{n}")), path: None };
            let roles = (0..count).map(role).collect();
            policy(&[(Task::CreateServiceAccount, &Flags { roles, ..Flags::default() })], &here())
        };
        assert!(named(3).unwrap().to_json().len() <= LONGEST);
        for count in [100, 100_000] {
            assert!(named(count).unwrap_err().contains("6144 characters"), "{count}");
        }
    }

    #[test]
    fn only_providers_of_eks_are_made_and_only_its_tag_is_set() {
        let all = statements(&[(Task::AssociateProvider, &Flags::default())]);
        let provider = |url: &str| format!("arn:aws:iam::123456789012:oidc-provider/{url}");
        let make = |url: &str| allows(&all, "iam:CreateOpenIDConnectProvider", &provider(url));
        assert!(make("oidc.eks.us-west-2.amazonaws.com/id/A") && make("oidc-eks.us-west-2.api.aws/id/A"));
        assert!(!make("oidc.eks.us-west-2.attacker.com") && !make("oidc.eks.us-west-2.amazonaws.com.evil/id/A"));
        let tag = all.iter().find(|statement| actions(statement) == ["eks:TagResource"]).unwrap();
        assert_eq!(tag["Condition"]["ForAllValues:StringEquals"]["aws:TagKeys"], json!([OIDC_ENABLED]));
        let china = Place { partition: Partition::of_region("cn-north-1"), region: "cn-north-1".to_owned(), ..here() };
        let all = policy(&[(Task::AssociateProvider, &Flags::default())], &china).unwrap().to_json();
        assert!(all.contains("oidc-provider/oidc.eks.cn-north-1.amazonaws.com.cn/id/*"), "{all}");
    }

    #[test]
    fn each_action_is_allowed_once_for_the_same_resources() {
        let flags = Flags::default();
        let all = statements(&Task::ALL.map(|task| (task, &flags)));
        let mut seen: Vec<(String, Value)> = Vec::new();
        for statement in all.iter().filter(|statement| statement["Condition"].is_null()) {
            for action in actions(statement) {
                let one = (action, statement["Resource"].clone());
                assert!(!seen.contains(&one), "{one:?}");
                seen.push(one);
            }
        }
    }
}
