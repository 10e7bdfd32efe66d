//! The links from the issuer to the role that a pod assumes: what every user of IRSA needs.

mod mends;
#[cfg(test)]
mod tests;

use serde_json::Value;

use mends::{allow_listing, list_policies, of_role, set_trust};

use super::permissions::{Demand, Lack, Policies, Why};
use super::{Check, Commands, Look, Status, ids, unless_after};
use crate::aws::cloudformation::Stack;
use crate::aws::eks::Association;
use crate::aws::iam::{Provider, Role};
use crate::externaldns::args::Installed;
use crate::iam::arn::{Arn, Partition};
use crate::iam::policy::{Need, PolicyDocument, assume_role_trust};
use crate::iam::trust::{AUDIENCE, Issuer, Verdict, verdict};
use crate::k8s::is_ending;
use crate::plan::iamserviceaccount::{
    AUDIENCE_ANNOTATION, ObservedStack, ROLE_ANNOTATION, ROLE_OUTPUT, annotation, wrong_audience,
};
use crate::shell::Command;
use crate::stack::status::Health;

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
    pub twins: Look<Vec<String>>,
    /// The stack that makes the role.
    pub stack: Look<Option<ObservedStack>>,
    /// The ServiceAccount.
    pub service_account: Look<Option<Value>>,
    /// The Pod Identity association that overrides IRSA.
    pub association: Look<Option<Association>>,
    /// The role, where one is known and in the cluster's account.
    pub role: Look<Option<Role>>,
    /// The permissions that the pods need.
    pub demand: Demand,
    /// Those that the role lacks.
    pub lacking: Look<Vec<Lack>>,
    /// Why IAM's simulator couldn't be asked, or its policies not be read.
    pub unread: Option<String>,
    /// Its policies, where permissions are needed of it.
    pub policies: Look<Policies>,
    /// The command that verifies it again.
    pub verify: String,
    /// The command that makes all of it as it should be, where irsactl made it; without `--approve` where it can't say
    /// all that has to be told.
    pub install: Option<String>,
    /// The command that makes the role, where there is none.
    pub make: Option<String>,
    /// The pods of the ServiceAccount.
    pub pods: Look<Vec<Value>>,
    /// The Deployment of ExternalDNS, where it is one that is verified.
    pub deployment: Option<Value>,
    /// A token exchanged at STS.
    pub live: Live,
}

/// A role that is assumed with the pods' role, for zones of another account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The role.
    pub role: Arn,
    /// What its trust policy may ask for.
    pub external_id: Option<String>,
}

/// What came of the exchange.
#[derive(Clone, Debug)]
pub enum Live {
    /// `--live=false`.
    LeftOut,
    /// It couldn't be tried.
    Impossible(String),
    /// STS refuses the role to the token.
    Refused(String),
    /// STS refuses the second role to the first.
    HopRefused {
        /// The second role.
        hop: Hop,
        /// What STS said.
        said: String,
        /// Whom the second role trusts, where that can be read; none where there is no such role.
        trust: Look<Option<PolicyDocument>>,
    },
    /// The list of zones is refused to the last role; to the second one, where there are two.
    ZonesRefused {
        /// The second role.
        hop: Option<Hop>,
        /// What Route53 said.
        said: String,
    },
    /// It works; what was done with it.
    Works(String),
}

impl Irsa {
    /// False where there is neither a ServiceAccount nor a stack for it.
    pub fn exists(&self) -> bool {
        !matches!((&self.stack, &self.service_account), (Ok(None), Ok(None)))
    }

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

    /// The role, where it is in another account: its OIDC provider has to be there, too ("Cross-account IAM permissions",
    /// Amazon EKS User Guide).
    fn far_role(&self) -> Option<Arn> {
        let arn: Arn = self.role_arn()?.parse().ok()?;
        (arn.account != self.account && arn.partition == self.partition.as_str()).then_some(arn)
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
        let live = self.unexplained(live, [&provider, &role, &trust], &permissions);
        vec![provider, role, trust, permissions, account, association, injection, live]
    }

    fn check_provider(&self) -> Check {
        let id = ids::OIDC_PROVIDER;
        if let Some(role) = self.far_role() {
            let why =
                format!("role {role} takes tokens by a provider of its own account, whose IAM can't be read from here");
            return Check::skip(id, why);
        }
        let found = match &self.provider {
            Ok(found) => found,
            Err(why) => return Check::skip(id, why),
        };
        let arn = self.provider_arn();
        match found {
            None => {
                let twins = match self.twins.as_deref() {
                    Ok([]) => String::new(),
                    Err(why) => format!("; whether it has one of another host form can't be read: {why}"),
                    Ok(twins) => format!(", only one of another host form of the same cluster: {}", twins.join(", ")),
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
        if let Some(found) = self.stack().filter(|found| found.has_failed()) {
            let why = found.failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
            let check = Check::fail(id, format!("stack {} is {}{why}", found.stack.name, found.stack.status));
            return check.hint(self.make());
        }
        if let Some(check) = self.check_under_way() {
            return check;
        }
        let Some(arn) = self.role_arn() else {
            return match (&self.stack, &self.service_account) {
                (Err(why), _) | (_, Err(why)) => Check::skip(id, why),
                _ => Check::fail(id, format!("{} has no role: neither a stack nor an annotation", self.full()))
                    .hint(self.make()),
            };
        };
        match &self.role {
            Err(why) => Check::skip(id, why),
            Ok(Some(found)) if found.arn == arn => {
                let stack =
                    self.stack.as_ref().err().map(|why| format!("; whether it has a stack can't be read: {why}"));
                Check::pass(id, format!("{arn}{}", stack.unwrap_or_default()))
            }
            Ok(Some(found)) => {
                Check::fail(id, format!("there is no role {arn}, the one of that name is {}", found.arn))
                    .hint(self.annotate(&found.arn))
            }
            Ok(None) => Check::fail(id, format!("role {arn} doesn't exist")).hint(self.make()),
        }
    }

    /// A role that isn't there yet, or not any more: its stack is being made, undone or deleted. Only what began that
    /// knows what else was to be done.
    fn check_under_way(&self) -> Option<Check> {
        let Stack { name, status, .. } = &self.stack()?.stack;
        let under_way = matches!(Health::of(status), Health::InProgress | Health::Deleting);
        if !under_way || !matches!(self.role, Ok(None)) {
            return None;
        }
        let again = "the command that began it, run again, waits for it and does the rest";
        let check = Check::fail(ids::ROLE, format!("stack {name} is {status}, and there is no role; {again}"));
        Some(check.hint(format!("{} --wait", self.verify)))
    }

    fn check_trust(&self) -> Check {
        let id = ids::TRUST_POLICY;
        let found = match &self.role {
            Ok(Some(found)) => found,
            Ok(None) => return Check::skip(id, self.no_role()),
            Err(why) => return Check::skip(id, why),
        };
        match verdict(&found.trust, &self.issuer, &self.provider_arn(), &self.namespace, &self.name) {
            Verdict::Refuses { reasons } => {
                let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
                let message = format!("role {} doesn't trust {}: {}", found.name, self.full(), reasons.join("; "));
                Check::fail(id, message).hint(self.trust(found))
            }
            Verdict::Allows { warnings, unrestricted: true } => {
                Check::fail(id, format!("role {}: {}", found.name, warnings.join("; "))).hint(self.restrict(found))
            }
            Verdict::Allows { warnings, .. } if !warnings.is_empty() => {
                Check::warn(id, format!("role {}: {}", found.name, warnings.join("; ")))
            }
            Verdict::Allows { .. } => Check::pass(id, format!("allows {} with audience {AUDIENCE}", self.full())),
        }
    }

    fn check_permissions(&self) -> Check {
        let id = ids::PERMISSIONS;
        let (found, lacking) = match (&self.role, &self.lacking) {
            (Ok(Some(found)), Ok(lacking)) => (found, lacking),
            (Ok(None), _) => return Check::skip(id, self.no_role()),
            (Err(why), _) | (_, Err(why)) => return Check::skip(id, why),
        };
        let (unsure, lacking): (Vec<_>, Vec<_>) =
            lacking.iter().partition(|lack| self.demand.possible.contains(&lack.need));
        let mut reasons: Vec<&Why> = Vec::new();
        for lack in lacking.iter().filter(|lack| lack.why != Why::Conditional) {
            if !reasons.contains(&&lack.why) {
                reasons.push(&lack.why);
            }
        }
        let of = |why: &Why| lacking.iter().copied().filter(|lack| lack.why == *why).collect::<Vec<_>>();
        let mut findings: Vec<_> = reasons.into_iter().map(|why| self.lacks(found, why, &of(why))).collect();
        let conditional = of(&Why::Conditional);
        if !conditional.is_empty() {
            findings.push(Check::warn(id, format!("only under conditions: {}", named(&conditional))));
        }
        if !unsure.is_empty() {
            let message = format!("whether it needs {} can't be told: {}", named(&unsure), self.demand.why);
            findings.push(Check::skip(id, message));
        }
        findings.extend(self.policies.as_ref().ok().and_then(|all| self.without_txt(&found.name, all)));
        let boundless: Vec<_> = self.policies.iter().flat_map(Policies::boundless).map(ToString::to_string).collect();
        if !boundless.is_empty() {
            let message = format!("{} allows all of Route53 (route53:* on *)", boundless.join(" and "));
            findings.push(Check::warn(id, message));
        }
        let by_whom = match (&self.unread, &self.policies) {
            (Some(why), _) => format!(", by its policies alone: {why}"),
            (None, Err(why)) => format!("; whether that is more than they need can't be read: {why}"),
            (None, Ok(_)) => String::new(),
        };
        Check::of(id, format!("the role may do what the pods need{by_whom}"), findings)
    }

    /// Hosts that it may have records of, and not the TXT records that belong to them.
    fn without_txt(&self, role: &str, policies: &Policies) -> Option<Check> {
        let mapper = self.demand.registry.as_ref()?;
        let hosts = policies.without_txt(mapper);
        let first = hosts.first()?;
        let message = format!(
            "the role may change records of {} by name, and not the TXT records beside them, such as {}: each change \
             of them is refused",
            hosts.join(", "),
            mapper.txt_name(first, "A")
        );
        Some(Check::fail(ids::PERMISSIONS, message).hint(self.allow_names(role, &hosts, mapper)))
    }

    /// Permissions that are lacking for one reason.
    fn lacks(&self, role: &Role, why: &Why, lacking: &[&Lack]) -> Check {
        let boundary = role.boundary.as_deref().unwrap_or_default();
        let (because, hint) = match why {
            Why::Missing | Why::Conditional => (String::new(), self.allow(&role.name)),
            Why::Denied(None) => (": a statement denies it".to_owned(), list_policies(&role.name)),
            Why::Denied(Some(holder)) => (format!(": {holder} denies it"), self.undo(&role.name, holder)),
            Why::Boundary => {
                (format!(": its permissions boundary {boundary} doesn't allow it"), self.widen(role, lacking))
            }
            Why::Organisation => {
                (": a policy of the organisation (SCP, RCP) doesn't allow it".to_owned(), self.organisation())
            }
        };
        let unread = self.unread.as_ref().map(|why| format!("; what decides can't be read: {why}")).unwrap_or_default();
        Check::fail(ids::PERMISSIONS, format!("the role may not {}{because}{unread}", named(lacking))).hint(hint)
    }

    fn check_service_account(&self) -> Check {
        let id = ids::SERVICE_ACCOUNT;
        let full = self.full();
        let object = match &self.service_account {
            Ok(Some(object)) => object,
            Ok(None) => {
                let check = Check::fail(id, format!("ServiceAccount {full} doesn't exist"));
                return self.unless_of_others(self.with_annotation(check));
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
        if let Some(audience) = wrong_audience(object) {
            let message = format!("{full}: {AUDIENCE_ANNOTATION} is {audience}, and STS takes {AUDIENCE} only");
            let mend = Command::new("kubectl annotate serviceaccount").word(&self.name);
            let mend = mend.with("--namespace", &self.namespace).word(&format!("{AUDIENCE_ANNOTATION}-"));
            let pods = self.pods.iter().flatten().filter(|pod| !is_ending(pod));
            return Check::fail(id, message).hint(match self.restart(pods) {
                Some(restart) => format!("{mend} && {restart}"),
                None => mend.into(),
            });
        }
        match named.parse::<Arn>() {
            Err(problem) => Check::fail(id, format!("the annotation of {full}: {problem}")).hint(self.make()),
            Ok(arn) if arn.kind() != "role" => {
                Check::fail(id, format!("{full} names {named}, which is no role")).hint(self.make())
            }
            Ok(arn) if arn.partition != self.partition.as_str() => {
                let message = format!("{full} names a role of partition {}, not {}", arn.partition, self.partition);
                let mended = Arn { partition: self.partition.to_string(), ..arn };
                Check::fail(id, message).hint(self.annotate(&mended.to_string()))
            }
            Ok(arn) if arn.account != self.account => {
                Check::warn(id, format!("{full} names a role of account {}, not {}", arn.account, self.account))
            }
            Ok(_) => Check::pass(id, format!("{full} names the role")),
        }
    }

    fn with_annotation(&self, check: Check) -> Check {
        check.hint(self.role_arn().map_or_else(|| self.make(), |role| self.annotate(&role)))
    }

    /// Nothing tells whether a stack was made for a ServiceAccount that a chart or Terraform brings.
    fn unless_of_others(&self, check: Check) -> Check {
        let (Some(_), Some(hint), None) = (self.made(), &check.hint, &self.install) else { return check };
        let theirs = format!(
            "where others make it (--role-only), nothing is to be done but to have them, with the annotation \
             {ROLE_ANNOTATION}; else: {hint}"
        );
        check.hint(theirs)
    }

    fn check_association(&self) -> Check {
        let id = ids::POD_IDENTITY;
        match &self.association {
            Err(why) => Check::skip(id, why),
            Ok(None) => Check::pass(id, "no association overrides IRSA"),
            Ok(Some(found)) => {
                let message = match &found.role_arn {
                    Ok(role) => format!("association {} gives the pods {role} instead", found.id),
                    Err(why) => {
                        format!("association {} gives the pods another role, which can't be read: {why}", found.id)
                    }
                };
                Check::fail(id, message).hint(
                    Command::new("aws eks delete-pod-identity-association")
                        .with("--cluster-name", &self.commands.cluster)
                        .with("--association-id", &found.id)
                        .with("--region", &self.commands.region),
                )
            }
        }
    }

    fn check_injection(&self) -> Check {
        let id = ids::INJECTION;
        let pods = match &self.pods {
            Ok(pods) => pods,
            Err(why) => return Check::skip(id, why),
        };
        let Some(role) = self.role_arn() else { return Check::skip(id, self.no_role()) };
        if let Some(check) = self.deployment.as_ref().and_then(|deployment| self.check_template(deployment, &role)) {
            return check;
        }
        let own = self.deployment.as_ref().and_then(Installed::from_deployment).map(|installed| installed.container);
        let alive = pods.iter().filter(|pod| !is_ending(pod)).map(|pod| (pod, users(pod, own.as_deref())));
        let running: Vec<_> = alive.filter(|(_, users)| !users.is_empty()).collect();
        if running.is_empty() {
            return Check::pass(id, "no pod runs with this ServiceAccount");
        }
        let with_keys = running.iter().filter(|(_, users)| users.iter().copied().any(has_keys));
        let with_keys: Vec<_> = with_keys.map(|(pod, users)| describe(pod, users)).collect();
        if !with_keys.is_empty() {
            let message = format!(
                "{} with keys of their own in {}: SDKs take them, not the role",
                with_keys.join(", "),
                KEYS.join(" and ")
            );
            return Check::fail(id, message);
        }
        let has_role = |users: &[&Value]| users.iter().any(|it| value_of(it, ROLE_VARIABLE) == Some(role.as_str()));
        let without: Vec<_> = running.iter().filter(|(_, users)| !has_role(users)).collect();
        if without.is_empty() {
            return Check::pass(id, format!("{} of {} pods have the role", running.len(), running.len()));
        }
        let names: Vec<_> = without.iter().map(|(pod, users)| describe(pod, users)).collect();
        let message = format!(
            "{} without the role: older than the annotation, or the pod identity webhook was down when they started",
            names.join(", ")
        );
        Check { hint: self.restart(without.into_iter().map(|(pod, _)| *pod)), ..Check::fail(id, message) }
    }

    /// What the Deployment says itself of ExternalDNS's container comes before the webhook, and before the role ("Pod
    /// identity webhook", "Standardized credential providers").
    fn check_template(&self, deployment: &Value, role: &str) -> Option<Check> {
        let Installed { name, container: own, .. } = Installed::from_deployment(deployment)?;
        let template = &deployment["spec"]["template"];
        let container = containers(template).find(|it| it["name"] == own.as_str())?;
        let unset = |variables: &[&str]| {
            let command = self.kubectl("set env").word(&format!("deployment/{name}"));
            let command = command.word(&format!("--containers={own}"));
            variables.iter().fold(command, |command, variable| command.word(&format!("{variable}-")))
        };
        if has_keys(container) {
            let message = format!(
                "Deployment {} sets {}: ExternalDNS takes these keys, not the role",
                self.full_of(&name),
                KEYS.join(" and ")
            );
            return Some(Check::fail(ids::INJECTION, message).hint(unset(&KEYS)));
        }
        if let Some(other) = value_of(container, ROLE_VARIABLE).filter(|it| *it != role) {
            let message = format!(
                "Deployment {} sets {ROLE_VARIABLE} to {other}, which the webhook leaves alone",
                self.full_of(&name)
            );
            return Some(Check::fail(ids::INJECTION, message).hint(unset(&[ROLE_VARIABLE])));
        }
        let skipped = skipped(template);
        if !skipped.contains(&own.as_str()) {
            return None;
        }
        let message = format!(
            "the pods of Deployment {} have {SKIP_CONTAINERS}={}: no role for {own}",
            self.full_of(&name),
            skipped.join(",")
        );
        let rest: Vec<_> = skipped.into_iter().filter(|name| *name != own).collect();
        let rest = if rest.is_empty() { Value::Null } else { rest.join(",").into() };
        let patch = serde_json::json!({"spec": {"template": {"metadata": {"annotations": {SKIP_CONTAINERS: rest}}}}});
        let command = self.kubectl("patch deployment").word(&name).with("--patch", &patch.to_string());
        Some(Check::fail(ids::INJECTION, message).hint(command))
    }

    fn full_of(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }

    /// Why no role is known.
    fn no_role(&self) -> &str {
        match (&self.stack, &self.service_account) {
            (Err(why), _) | (_, Err(why)) => why,
            _ => "there is no role",
        }
    }

    fn check_live(&self) -> Check {
        let id = ids::ASSUME_ROLE;
        match &self.live {
            Live::LeftOut => Check::skip(id, "left out by --live=false"),
            Live::Impossible(_) if self.role_arn().is_none() => Check::skip(id, self.no_role()),
            Live::Impossible(why) => Check::skip(id, why),
            Live::Works(what) => Check::pass(id, what),
            Live::HopRefused { hop, said, trust } => self.check_hop(hop, said, trust),
            Live::ZonesRefused { hop: Some(hop), said } => {
                let message = format!("STS gives the pods {}, which may not list hosted zones: {said}", hop.role);
                Check::fail(id, message).hint(self.at(&hop.role, allow_listing(hop.role.name())))
            }
            Live::Refused(said) | Live::ZonesRefused { said, .. } => Check::fail(id, format!("AWS refuses: {said}")),
        }
    }

    /// Where every link before it holds, the organisation refuses it.
    fn unexplained(&self, live: Check, trusted: [&Check; 3], permissions: &Check) -> Check {
        let refused: &[&[&Check]] = match &self.live {
            Live::Refused(_) => &[&trusted],
            Live::ZonesRefused { hop: None, .. } => &[&trusted, &[permissions]],
            _ => return live,
        };
        if !live.fails() {
            return live;
        }
        let unknown = refused.iter().copied().flatten().filter(|check| check.status != Status::Pass);
        let unknown: Vec<_> = unknown.map(|check| check.id).collect();
        if !unknown.is_empty() {
            let message = format!("{}; what of {} isn't known may be the reason", live.message, unknown.join(", "));
            let conditional = matches!(self.live, Live::Refused(_)) && trusted[2].status == Status::Warn;
            let hint = self.mend_far().or_else(|| conditional.then(|| self.trust_anyway()).flatten());
            return Check { message, hint, ..live };
        }
        let message = format!(
            "every link looks intact, and {}; look for a service or resource control policy of the organisation (SCP, \
             RCP)",
            live.message
        );
        Check::fail(live.id, message).hint(self.organisation())
    }

    /// The second role must trust the first.
    fn check_hop(&self, hop: &Hop, said: &str, trust: &Look<Option<PolicyDocument>>) -> Check {
        let Hop { role, external_id } = hop;
        let first = self.role_arn().unwrap_or_default();
        let needed = assume_role_trust(&first, external_id.as_deref());
        let statements = needed.0["Statement"].as_array().cloned().unwrap_or_default();
        let (found, hint) = match trust {
            Ok(Some(found)) => {
                let whole = found.and(statements).to_json();
                (format!("its trust policy is {}", found.to_json()), set_trust(role.name(), &whole))
            }
            Ok(None) => {
                let create = of_role("create-role", role.name());
                let create = create.with("--assume-role-policy-document", &needed.to_json());
                ("there is no such role".to_owned(), create.into())
            }
            Err(why) => (
                why.clone(),
                format!("in account {}, have the trust policy of {role} allow: {}", role.account, needed.to_json()),
            ),
        };
        let message = format!(
            "STS gives the pods {first}, and refuses {role} to it: {said}; {found}, and must allow {needed}",
            needed = needed.to_json()
        );
        Check::fail(ids::ASSUME_ROLE, message).hint(hint)
    }
}

/// What the AWS SDKs take before a role ("Standardized credential providers").
const KEYS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// What the pod identity webhook sets.
const ROLE_VARIABLE: &str = "AWS_ROLE_ARN";

/// Containers that the pod identity webhook leaves alone.
const SKIP_CONTAINERS: &str = "eks.amazonaws.com/skip-containers";

/// The containers of a pod or a pod template.
fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["spec"]["containers"].as_array().into_iter().flatten()
}

/// What the webhook is told to leave alone in a pod or a pod template.
fn skipped(pod: &Value) -> Vec<&str> {
    let names = pod["metadata"]["annotations"][SKIP_CONTAINERS].as_str().unwrap_or_default();
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// The containers of a pod that need the role: ExternalDNS's own, where that is known; else those that the webhook isn't
/// told to leave alone.
fn users<'p>(pod: &'p Value, own: Option<&str>) -> Vec<&'p Value> {
    if let Some(container) = own.and_then(|own| containers(pod).find(|it| it["name"] == own)) {
        return vec![container];
    }
    let skipped = skipped(pod);
    containers(pod).filter(|it| !it["name"].as_str().is_some_and(|name| skipped.contains(&name))).collect()
}

fn variable<'v>(container: &'v Value, name: &str) -> Option<&'v Value> {
    container["env"].as_array()?.iter().find(|variable| variable["name"] == name)
}

fn value_of<'v>(container: &'v Value, name: &str) -> Option<&'v str> {
    variable(container, name)?["value"].as_str()
}

fn has_keys(container: &Value) -> bool {
    KEYS.iter().all(|name| variable(container, name).is_some())
}

fn needs<'a>(lacking: &'a [&Lack]) -> impl Iterator<Item = &'a Need> {
    lacking.iter().map(|lack| &lack.need)
}

fn named(lacking: &[&Lack]) -> String {
    let texts: Vec<_> = needs(lacking).map(|need| format!("{} on {}", need.action, need.resource)).collect();
    texts.join(", ")
}

fn describe(pod: &Value, users: &[&Value]) -> String {
    let name = pod["metadata"]["name"].as_str().unwrap_or("a pod");
    match users.iter().find_map(|it| value_of(it, ROLE_VARIABLE)) {
        Some(other) => format!("pod {name} (it has {other})"),
        None => format!("pod {name}"),
    }
}
