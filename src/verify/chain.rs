//! The links from the issuer to the role that a pod assumes: what every user of IRSA needs.

use serde_json::Value;

use super::{Check, Commands, Look, ids, unless_after};
use crate::aws::eks::Association;
use crate::aws::iam::{Provider, Refusal, RoleWithPolicies};
use crate::iam::arn::{Arn, Partition};
use crate::iam::policy::{Access, Need, PolicyDocument, access, is_denied};
use crate::iam::trust::{AUDIENCE, Issuer, Subject, Verdict, trust_policy, verdict};
use crate::iam::wellknown::WellKnown;
use crate::plan::iamserviceaccount::{ObservedStack, ROLE_ANNOTATION, ROLE_OUTPUT, annotation};
use crate::stack::status::Health;
use crate::stack::template::{self, INLINE};

/// What was read about one service account.
#[derive(Clone, Debug)]
pub struct Irsa {
    /// What mends it.
    pub commands: Commands,
    /// The account of the cluster.
    pub account: String,
    /// Its partition.
    pub partition: Partition,
    /// Its issuer.
    pub issuer: Issuer,
    /// Namespace of the ServiceAccount.
    pub namespace: String,
    /// Name of the ServiceAccount.
    pub name: String,
    /// The IAM OIDC provider of the issuer.
    pub provider: Look<Option<Provider>>,
    /// Providers of the same cluster under another host.
    pub twins: Vec<String>,
    /// The stack that makes the role.
    pub stack: Look<Option<ObservedStack>>,
    /// The ServiceAccount.
    pub service_account: Look<Option<Value>>,
    /// The Pod Identity association that overrides IRSA.
    pub association: Look<Option<Association>>,
    /// The role, where one is known and in the cluster's account.
    pub role: Look<Option<RoleWithPolicies>>,
    /// The permissions that the pods need and the role lacks.
    pub lacking: Look<Vec<Lack>>,
    /// What mends lacking permissions, where the stack can't.
    pub grant: Option<String>,
    /// The pods of the ServiceAccount.
    pub pods: Look<Vec<Value>>,
    /// What restarts the pods.
    pub restart: Option<String>,
    /// A token exchanged at STS.
    pub live: Live,
}

/// A permission that isn't granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The IAM action.
    pub action: String,
    /// The ARN.
    pub resource: String,
    /// Why, where more is known than that nothing allows it: an explicit deny, the boundary.
    pub why: Option<String>,
    /// Conditions decide, which can't be judged from here.
    pub conditional: bool,
}

impl From<Refusal> for Lack {
    fn from(refusal: Refusal) -> Self {
        let reasons = [
            (refusal.explicit, "a statement denies it"),
            (refusal.boundary, "the permissions boundary doesn't allow it"),
            (refusal.organisation, "the organisation doesn't allow it"),
        ];
        let why = reasons.iter().find(|(holds, _)| *holds).map(|(_, why)| (*why).to_owned());
        let conditional = refusal.conditional && why.is_none();
        Self { action: refusal.need.action, resource: refusal.need.resource, why, conditional }
    }
}

/// The needs that a role's policies and its boundary don't grant.
pub fn lacking(policies: &[&PolicyDocument], boundary: Option<&PolicyDocument>, needs: &[Need]) -> Vec<Lack> {
    let lack = |need: &Need, why: Option<&str>, conditional| Lack {
        action: need.action.clone(),
        resource: need.resource.clone(),
        why: why.map(str::to_owned),
        conditional,
    };
    let judge = |need: &Need| match (access(policies, need), boundary.map(|boundary| access(&[boundary], need))) {
        (Access::Missing, _) => Some(lack(need, is_denied(policies, need).then_some("a statement denies it"), false)),
        (_, Some(Access::Missing)) => Some(lack(need, Some("the permissions boundary doesn't allow it"), false)),
        (Access::Granted, None | Some(Access::Granted)) => None,
        (Access::Conditional, _) | (_, Some(Access::Conditional)) => Some(lack(need, None, true)),
    };
    needs.iter().filter_map(judge).collect()
}

/// What came of the exchange.
#[derive(Clone, Debug)]
pub enum Live {
    /// `--live=false`.
    LeftOut,
    /// It couldn't be tried.
    Impossible(String),
    /// STS, or Route53 after it, said no.
    Refused(String),
    /// It works; what was done with it.
    Works(String),
}

impl Irsa {
    /// `namespace/name`.
    pub fn full(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The ARN of the IAM OIDC provider of the issuer.
    pub fn provider_arn(&self) -> String {
        self.issuer.provider_arn(&self.partition, &self.account)
    }

    fn stack(&self) -> Option<&ObservedStack> {
        self.stack.as_ref().ok()?.as_ref()
    }

    /// The role of the stack.
    fn made(&self) -> Option<&str> {
        self.stack()?.stack.outputs.get(ROLE_OUTPUT).map(String::as_str)
    }

    /// The annotation that names the role.
    fn named(&self) -> Option<&str> {
        annotation(self.service_account.as_ref().ok()?.as_ref()?, ROLE_ANNOTATION)
    }

    /// The role that the pods should have: the stack's, else the one that the ServiceAccount names.
    pub fn role_arn(&self) -> Option<String> {
        self.made().or_else(|| self.named()).map(|arn| arn.trim().to_owned())
    }

    /// Brings stack, role and ServiceAccount back to what the stack's template says.
    fn repair(&self) -> Option<String> {
        let found = self.stack()?;
        let facts = template::read(&found.template).ok()?;
        let known: Vec<_> = WellKnown::ALL
            .into_iter()
            .filter(|known| known.policies().iter().any(|(id, _)| facts.inline.contains_key(id)))
            .map(WellKnown::key)
            .collect();
        let arns = facts.managed_arns();
        let what = if !arns.is_empty() {
            format!("--attach-policy-arn {}", arns.join(","))
        } else if !known.is_empty() {
            format!("--well-known-policy {}", known.join(","))
        } else {
            format!("--attach-policy '{}'", facts.inline.get(INLINE)?)
        };
        Some(format!("irsactl update iamserviceaccount {} {what} --approve", self.place()))
    }

    fn place(&self) -> String {
        format!("{} --namespace {} --name {}", self.commands.place(), self.namespace, self.name)
    }

    fn annotate(&self, role: &str) -> String {
        self.repair().unwrap_or_else(|| {
            format!("irsactl create iamserviceaccount {} --attach-role-arn {role} --approve", self.place())
        })
    }

    /// All links, in their order.
    pub fn checks(&self) -> Vec<Check> {
        let provider = self.check_provider();
        let role = self.check_role();
        let trust = unless_after(self.check_trust(), &[&role]);
        let permissions = unless_after(self.check_permissions(), &[&role]);
        let account = unless_after(self.check_service_account(), &[&role]);
        let association = self.check_association();
        let injection = unless_after(self.check_injection(), &[&role, &account, &association]);
        let live = unless_after(self.check_live(), &[&role, &provider, &trust, &account, &permissions]);
        vec![provider, role, trust, permissions, account, association, injection, live]
    }

    fn check_provider(&self) -> Check {
        let id = ids::OIDC_PROVIDER;
        let found = match &self.provider {
            Ok(found) => found,
            Err(why) => return Check::skip(id, why),
        };
        let arn = self.provider_arn();
        match found {
            None => {
                let twins = match self.twins.as_slice() {
                    [] => String::new(),
                    twins => format!(", only one of another host form of the same cluster: {}", twins.join(", ")),
                };
                Check::fail(id, format!("IAM has no OIDC provider {arn}{twins}")).hint(self.commands.associate())
            }
            Some(provider) if !provider.takes_sts() => {
                let audiences = provider.client_ids.join(", ");
                let message = format!("{arn} doesn't take the audience {AUDIENCE} (it takes: {audiences})");
                Check::fail(id, message).hint(self.commands.associate())
            }
            Some(_) => Check::pass(id, format!("{arn} takes {AUDIENCE}")),
        }
    }

    fn check_role(&self) -> Check {
        let id = ids::ROLE;
        if let Some(found) = self.stack()
            && matches!(Health::of(&found.stack.status), Health::Replace { .. })
        {
            let why = found.failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
            let check = Check::fail(id, format!("stack {} is {}{why}", found.stack.name, found.stack.status));
            return self.with_repair(check);
        }
        let Some(arn) = self.role_arn() else {
            return match (&self.stack, &self.service_account) {
                (Err(why), _) | (_, Err(why)) => Check::skip(id, why),
                _ => Check::fail(id, format!("{} has no role: neither a stack nor an annotation", self.full()))
                    .hint(self.grant.clone().unwrap_or_else(|| self.create())),
            };
        };
        match &self.role {
            Err(why) => Check::skip(id, why),
            Ok(Some(found)) if found.role.arn == arn => Check::pass(id, arn),
            Ok(Some(found)) => {
                Check::fail(id, format!("there is no role {arn}, the one of that name is {}", found.role.arn))
                    .hint(self.annotate(&found.role.arn))
            }
            Ok(None) => self.with_repair(Check::fail(id, format!("role {arn} doesn't exist"))),
        }
    }

    fn create(&self) -> String {
        format!("irsactl create iamserviceaccount --help shows how {} gets one", self.full())
    }

    fn with_repair(&self, check: Check) -> Check {
        let repair = self.repair();
        check.hint(repair.or_else(|| self.grant.clone()).unwrap_or_else(|| self.create()))
    }

    fn check_trust(&self) -> Check {
        let id = ids::TRUST_POLICY;
        let found = match &self.role {
            Ok(Some(found)) => &found.role,
            Ok(None) => return Check::skip(id, "there is no role"),
            Err(why) => return Check::skip(id, why),
        };
        let mend = || {
            let subject = Subject::exact(&self.namespace, &self.name);
            let document = trust_policy(&self.issuer, &self.partition, &self.account, Some(&subject)).to_json();
            let set = "aws iam update-assume-role-policy";
            let by_hand = format!("{set} --role-name {} --policy-document '{document}'", found.name);
            self.repair().unwrap_or(by_hand)
        };
        match verdict(&found.trust, &self.issuer, &self.provider_arn(), &self.namespace, &self.name) {
            Verdict::Refuses { reasons } => {
                let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
                let message = format!("role {} doesn't trust {}: {}", found.name, self.full(), reasons.join("; "));
                Check::fail(id, message).hint(mend())
            }
            Verdict::Allows { warnings, unrestricted: true } => {
                Check::fail(id, format!("role {}: {}", found.name, warnings.join("; "))).hint(mend())
            }
            Verdict::Allows { warnings, .. } if !warnings.is_empty() => {
                Check::warn(id, format!("role {}: {}", found.name, warnings.join("; ")))
            }
            Verdict::Allows { .. } => Check::pass(id, format!("allows {} with audience {AUDIENCE}", self.full())),
        }
    }

    fn check_permissions(&self) -> Check {
        let id = ids::PERMISSIONS;
        let lacking = match (&self.role, &self.lacking) {
            (Ok(Some(_)), Ok(lacking)) => lacking,
            (Ok(None), _) => return Check::skip(id, "there is no role"),
            (Err(why), _) | (_, Err(why)) => return Check::skip(id, why),
        };
        let text = |lack: &Lack| {
            let why = lack.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            format!("{} on {}{why}", lack.action, lack.resource)
        };
        let (unsure, missing): (Vec<_>, Vec<_>) = lacking.iter().partition(|lack| lack.conditional);
        let mut findings = Vec::new();
        if !missing.is_empty() {
            let missing: Vec<_> = missing.into_iter().map(text).collect();
            let check = Check::fail(id, format!("the role may not {}", missing.join(", ")));
            findings.push(match self.grant.clone().or_else(|| self.repair()) {
                Some(command) => check.hint(command),
                None => check,
            });
        }
        if !unsure.is_empty() {
            let unsure: Vec<_> = unsure.into_iter().map(text).collect();
            findings.push(Check::warn(id, format!("only under conditions: {}", unsure.join(", "))));
        }
        Check::of(id, "the role may do what the pods need", findings)
    }

    fn check_service_account(&self) -> Check {
        let id = ids::SERVICE_ACCOUNT;
        let full = self.full();
        let object = match &self.service_account {
            Ok(Some(object)) => object,
            Ok(None) => {
                let check = Check::fail(id, format!("ServiceAccount {full} doesn't exist"));
                return self.with_annotation(check);
            }
            Err(why) => return Check::skip(id, why),
        };
        let Some(named) = annotation(object, ROLE_ANNOTATION) else {
            return self.with_annotation(Check::fail(id, format!("{full} has no annotation {ROLE_ANNOTATION}")));
        };
        let expected = self.role_arn().unwrap_or_default();
        if named != named.trim() {
            let message = format!("the annotation of {full} has whitespace around the ARN: {named:?}");
            return self.with_annotation(Check::fail(id, message));
        }
        if named != expected {
            let message = format!("{full} names role {named}, and its stack made {expected}");
            return self.with_annotation(Check::fail(id, message));
        }
        match named.parse::<Arn>() {
            Err(problem) => Check::fail(id, format!("the annotation of {full}: {problem}")),
            Ok(arn) if arn.kind() != "role" => Check::fail(id, format!("{full} names {named}, which is no role")),
            Ok(arn) if arn.partition != self.partition.as_str() => {
                let message = format!("{full} names a role of partition {}, not {}", arn.partition, self.partition);
                self.with_annotation(Check::fail(id, message))
            }
            Ok(arn) if arn.account != self.account => {
                Check::warn(id, format!("{full} names a role of account {}, not {}", arn.account, self.account))
            }
            Ok(_) => Check::pass(id, format!("{full} names the role")),
        }
    }

    fn with_annotation(&self, check: Check) -> Check {
        match self.role_arn() {
            Some(role) => check.hint(self.annotate(&role)),
            None => check,
        }
    }

    fn check_association(&self) -> Check {
        let id = ids::POD_IDENTITY;
        match &self.association {
            Err(why) => Check::skip(id, why),
            Ok(None) => Check::pass(id, "no association overrides IRSA"),
            Ok(Some(found)) => {
                let role = found.role_arn.as_deref().unwrap_or("another role");
                let message = format!("association {} gives the pods {role} instead", found.id);
                Check::fail(id, message).hint(format!(
                    "aws eks delete-pod-identity-association --cluster-name {} --association-id {} --region {}",
                    self.commands.cluster, found.id, self.commands.region
                ))
            }
        }
    }

    fn check_injection(&self) -> Check {
        let id = ids::INJECTION;
        let pods = match &self.pods {
            Ok(pods) => pods,
            Err(why) => return Check::skip(id, why),
        };
        let Some(role) = self.role_arn() else { return Check::skip(id, "there is no role") };
        let running: Vec<_> = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect();
        if running.is_empty() {
            return Check::pass(id, "no pod runs with this ServiceAccount");
        }
        let without = running.iter().filter(|pod| injected(pod).as_deref() != Some(role.as_str()));
        let without: Vec<_> = without.map(|pod| describe(pod)).collect();
        if without.is_empty() {
            return Check::pass(id, format!("{} of {} pods have the role", running.len(), running.len()));
        }
        let message = format!(
            "{} without the role: older than the annotation, or the pod identity webhook was down when they started",
            without.join(", ")
        );
        let check = Check::fail(id, message);
        match &self.restart {
            Some(command) => check.hint(command),
            None => check,
        }
    }

    fn check_live(&self) -> Check {
        let id = ids::ASSUME_ROLE;
        match &self.live {
            Live::LeftOut => Check::skip(id, "left out by --live=false"),
            Live::Impossible(why) => Check::skip(id, why),
            Live::Works(what) => Check::pass(id, what),
            Live::Refused(said) => Check::fail(
                id,
                format!(
                    "every link looks intact, and AWS refuses: {said}; look for a service or resource control policy \
                     of the organisation (SCP, RCP)"
                ),
            )
            .hint(format!(
                "aws organizations list-policies-for-target --target-id {} --filter SERVICE_CONTROL_POLICY",
                self.account
            )),
        }
    }
}

/// The role that the webhook gave to a pod.
fn injected(pod: &Value) -> Option<String> {
    let containers = pod["spec"]["containers"].as_array()?;
    let variables = containers.iter().filter_map(|container| container["env"].as_array()).flatten();
    let role = variables.filter(|variable| variable["name"] == "AWS_ROLE_ARN").find_map(|it| it["value"].as_str());
    role.map(str::to_owned)
}

fn describe(pod: &Value) -> String {
    let name = pod["metadata"]["name"].as_str().unwrap_or("a pod");
    match injected(pod) {
        Some(other) => format!("pod {name} (it has {other})"),
        None => format!("pod {name}"),
    }
}
