//! What the policies of a role don't grant, and what is in the way.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Value, json};

use super::Look;
use crate::aws::iam::Refusal;
use crate::externaldns::args::{Installed, ZONES};
use crate::externaldns::filter::Zone;
use crate::externaldns::registry::Mapper;
use crate::externaldns::version::Feature;
use crate::iam::arn::Partition;
use crate::iam::policy::statements as iam_statements;
use crate::iam::policy::{
    Access, Need, ON_RECORDS, PolicyDocument, access, allows_action, is_denied, list, list_zones, on_zones,
};
use crate::iam::wildcard::matches;

/// What a role has to allow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// What the pods need.
    pub certain: Vec<Need>,
    /// What they may need as well.
    pub possible: Vec<Need>,
    /// Why that can't be told.
    pub why: String,
    /// How the records are named that say whose the others are, where the role makes them.
    pub registry: Option<Mapper>,
}

impl Demand {
    /// Exactly these.
    fn certain(needs: Vec<Need>) -> Self {
        Self { certain: needs, ..Self::default() }
    }

    /// All that may be needed.
    pub fn all(&self) -> Vec<Need> {
        self.certain.iter().chain(&self.possible).cloned().collect()
    }

    /// What an ExternalDNS calls: on the zones that it looks after, of those that could be listed, or the role that it
    /// assumes for them.
    pub fn of(partition: &Partition, installed: Option<&Installed>, zones: &Look<Vec<Zone>>) -> Self {
        let registers =
            |it: &&Installed| it.unknown_records().is_none() && it.registry == "txt" && it.assume_role.is_none();
        let registry = installed.filter(registers).map(Installed::mapper);
        Self { registry, ..Self::calls(partition, installed, zones) }
    }

    fn calls(partition: &Partition, installed: Option<&Installed>, zones: &Look<Vec<Zone>>) -> Self {
        let everywhere = ["*".to_owned()];
        let perhaps = |why: String| {
            let possible = [on_zones(partition, &ON_RECORDS, &everywhere), vec![list_zones()]].concat();
            Self { possible, why, ..Self::default() }
        };
        let Some(installed) = installed else {
            return perhaps("for which zones, only the Deployment tells".to_owned());
        };
        if let Some(why) = installed.unknown(ZONES) {
            return perhaps(why);
        }
        if let Some(second) = &installed.assume_role {
            return Self::certain(vec![Need::new("sts:AssumeRole", second)]);
        }
        let tags = on_tags(installed);
        let calls = [&ON_RECORDS[..], tags.as_slice()].concat();
        let on = |actions: &[&str], ids: &[String]| on_zones(partition, actions, ids);
        match (zones, installed.unjudged()) {
            (Ok(zones), None) => {
                let ids = ids(installed.looked_after(zones));
                Self::certain([on(&calls, &ids), vec![list_zones()]].concat())
            }
            (Ok(zones), Some(flag)) => {
                // Tags are read of all zones that the other filters leave.
                let surely = if flag == ZONE_TAGS { tags.as_slice() } else { &[] };
                let perhaps = if flag == ZONE_TAGS { &ON_RECORDS } else { calls.as_slice() };
                let ids = ids(candidates(installed, zones));
                let why = format!("which zones --{flag} selects isn't looked at");
                let certain = [on(surely, &ids), vec![list_zones()]].concat();
                Self { certain, possible: on(perhaps, &ids), why, registry: None }
            }
            (Err(_), None) if installed.zone_id_filters.len() == 1 => {
                Self::certain([on(&calls, &installed.zone_id_filters), vec![list_zones()]].concat())
            }
            (Err(why), _) => {
                let ids = &installed.zone_id_filters;
                let possible = on(&calls, if ids.is_empty() { &everywhere } else { ids });
                let why = format!("which zones there are isn't known: {why}");
                Self { certain: vec![list_zones()], possible, why, registry: None }
            }
        }
    }
}

const ZONE_TAGS: &str = "aws-zone-tags";

/// How this version reads the tags of zones, where it is told to.
fn on_tags(installed: &Installed) -> Option<&'static str> {
    let wanted = installed.arguments.all(ZONE_TAGS).iter().any(|tag| !tag.is_empty());
    let batch = installed.rules().supports(Feature::ZoneTagsBatch);
    wanted.then_some(if batch { "route53:ListTagsForResources" } else { "route53:ListTagsForResource" })
}

/// The zones that it may look after: beside a regular expression, a domain filter doesn't count.
fn candidates<'z>(installed: &Installed, zones: &'z [Zone]) -> Vec<&'z Zone> {
    if !installed.has_regex_filter() {
        return installed.looked_after(zones);
    }
    let any_name = Installed { domain_filters: Vec::new(), exclude_domains: Vec::new(), ..installed.clone() };
    any_name.looked_after(zones)
}

fn ids(zones: Vec<&Zone>) -> Vec<String> {
    zones.into_iter().map(|zone| zone.id.clone()).collect()
}

/// A policy of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// An inline policy, by name.
    Inline(String),
    /// A managed policy, by ARN.
    Managed(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(name) => write!(f, "its inline policy {name}"),
            Self::Managed(arn) => write!(f, "policy {arn}"),
        }
    }
}

/// What decides about a role's permissions, as far as its own documents tell.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// Its policies.
    pub held: Vec<(Holder, PolicyDocument)>,
    /// Its permissions boundary.
    pub boundary: Option<PolicyDocument>,
}

/// A permission that isn't granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What is needed.
    pub need: Need,
    /// What is in the way.
    pub why: Why,
}

/// Why a permission isn't granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing allows it.
    Missing,
    /// Conditions decide, which can't be judged from here.
    Conditional,
    /// A statement denies it; of this policy, where it is known.
    Denied(Option<Holder>),
    /// The permissions boundary doesn't allow it.
    Boundary,
    /// The organisation doesn't allow it.
    Organisation,
}

impl From<Refusal> for Lack {
    fn from(refusal: Refusal) -> Self {
        let reasons = [
            (refusal.organisation, Why::Organisation),
            (refusal.boundary, Why::Boundary),
            (refusal.explicit, Why::Denied(None)),
            (refusal.conditional, Why::Conditional),
        ];
        let why = reasons.into_iter().find_map(|(holds, why)| holds.then_some(why)).unwrap_or(Why::Missing);
        Self { need: refusal.need, why }
    }
}

impl Policies {
    /// The needs that aren't granted.
    pub fn lacking(&self, needs: &[Need]) -> Vec<Lack> {
        let lack = |need: &Need| self.judge(need).map(|why| Lack { need: need.clone(), why });
        needs.iter().filter_map(lack).collect()
    }

    /// The policies that allow all of Route53, domains and zones included.
    pub fn boundless(&self) -> impl Iterator<Item = &Holder> {
        let all = Need::new("route53:*", "*");
        let boundless = move |document: &PolicyDocument| access(&[document], &all) == Access::Granted;
        self.held.iter().filter(move |(_, document)| boundless(document)).map(|(holder, _)| holder)
    }

    /// Hosts whose records may be changed by their exact names, and not the TXT records beside them: a batch is refused as
    /// a whole ("Using IAM policy conditions for fine-grained access control", Amazon Route 53 Developer Guide).
    pub fn without_txt(&self, mapper: &Mapper) -> Vec<String> {
        let statements = self.held.iter().flat_map(|(_, document)| iam_statements(&document.0));
        let changes = |it: &&Value| allows_action(it, ON_RECORDS[0]);
        let names: Option<Vec<Vec<&str>>> = statements.filter(changes).map(names_allowed).collect();
        // One statement without such a condition is enough.
        let names: BTreeSet<&str> = names.unwrap_or_default().into_iter().flatten().collect();
        let exact = |name: &&str| !name.contains(['*', '?', '\\']);
        let registered =
            |host: &str| mapper.txts_of_host(host).iter().any(|txt| names.iter().any(|name| matches(name, txt)));
        let is_txt = |name: &str| {
            names.iter().filter(|it| exact(it)).any(|host| mapper.txts_of_host(host).iter().any(|txt| txt == name))
        };
        let hosts = names.iter().copied().filter(exact).filter(|name| !is_txt(name) && !registered(name));
        hosts.map(str::to_owned).collect()
    }

    fn judge(&self, need: &Need) -> Option<Why> {
        let documents: Vec<_> = self.held.iter().map(|(_, document)| document).collect();
        let own = access(&documents, need);
        if own == Access::Missing {
            let denying = self.held.iter().find(|(_, document)| is_denied(&[document], need));
            return Some(denying.map_or(Why::Missing, |(holder, _)| Why::Denied(Some(holder.clone()))));
        }
        match self.boundary.as_ref().map(|boundary| access(&[boundary], need)) {
            Some(Access::Missing) => Some(Why::Boundary),
            Some(Access::Conditional) => Some(Why::Conditional),
            _ => (own == Access::Conditional).then_some(Why::Conditional),
        }
    }
}

/// Which names of records a change may hold, in lower case and without the final dot.
pub(super) const RECORD_NAMES: &str = "route53:ChangeResourceRecordSetsNormalizedRecordNames";

/// The names that a statement allows; none where it doesn't say so one by one.
fn names_allowed(statement: &Value) -> Option<Vec<&str>> {
    let operators = statement.get("Condition")?.as_object()?.iter();
    let by_name = operators.filter_map(|(operator, keys)| {
        let keys = keys.as_object()?.iter();
        let values = keys.filter(|(key, _)| key.eq_ignore_ascii_case(RECORD_NAMES)).map(|(_, values)| values);
        Some(values.map(move |values| (operator.as_str(), values)))
    });
    let mut names = Vec::new();
    for (operator, values) in by_name.flatten() {
        if operator.contains("Not") || !operator.contains("String") {
            return None;
        }
        names.extend(list(values).into_iter().filter_map(Value::as_str));
    }
    (!names.is_empty()).then_some(names)
}

/// What IAM's simulator finds missing, explained by the documents; these alone judge where the simulator may not be asked.
///
/// # Errors
/// Why neither could be had.
pub fn judged(simulated: Look<Vec<Lack>>, local: Look<Vec<Lack>>) -> Look<Vec<Lack>> {
    match (simulated, local) {
        (Ok(simulated), Ok(local)) => Ok(simulated.into_iter().map(|lack| explained(lack, &local)).collect()),
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(why), Err(also)) => Err(format!("{why}; {also}")),
    }
}

/// The simulator doesn't say which policy denies, and asks for the values of conditions that decide nothing.
fn explained(lack: Lack, local: &[Lack]) -> Lack {
    match local.iter().find(|other| other.need == lack.need) {
        Some(known) if matches!(lack.why, Why::Denied(None) | Why::Conditional) => known.clone(),
        _ => lack,
    }
}

/// The statements that grant needs, one for all resources of the same actions.
pub fn statements<'a>(needs: impl IntoIterator<Item = &'a Need>) -> Vec<Value> {
    let mut by_resource: Vec<(&str, Vec<&str>)> = Vec::new();
    for need in needs {
        match by_resource.iter_mut().find(|(resource, _)| *resource == need.resource) {
            Some((_, actions)) => actions.push(&need.action),
            None => by_resource.push((&need.resource, vec![&need.action])),
        }
    }
    let mut by_actions: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for (resource, actions) in by_resource {
        match by_actions.iter_mut().find(|(same, _)| *same == actions) {
            Some((_, resources)) => resources.push(resource),
            None => by_actions.push((actions, vec![resource])),
        }
    }
    let statement = |(actions, resources)| json!({"Effect": "Allow", "Action": actions, "Resource": resources});
    by_actions.into_iter().map(statement).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(effect: &str, action: &str) -> PolicyDocument {
        PolicyDocument(json!({"Statement": [{"Effect": effect, "Action": action, "Resource": "*"}]}))
    }

    fn inline(name: &str) -> Holder {
        Holder::Inline(name.to_owned())
    }

    #[test]
    fn what_is_in_the_way_is_told() {
        let need = Need::new("s3:GetObject", "arn:aws:s3:::b/*");
        let why = |held: &[(&str, PolicyDocument)], boundary: Option<PolicyDocument>| {
            let held = held.iter().map(|(name, document)| (inline(name), document.clone())).collect();
            let lacking = Policies { held, boundary }.lacking(std::slice::from_ref(&need));
            lacking.into_iter().next().map(|lack| lack.why)
        };
        let allow = ("a", policy("Allow", "s3:*"));
        let deny = ("d", policy("Deny", "s3:GetObject"));
        assert_eq!(why(&[], None), Some(Why::Missing));
        assert_eq!(why(std::slice::from_ref(&allow), None), None);
        assert_eq!(why(&[allow.clone(), deny], None), Some(Why::Denied(Some(inline("d")))));
        assert_eq!(why(std::slice::from_ref(&allow), Some(policy("Allow", "ec2:*"))), Some(Why::Boundary));
        assert_eq!(why(std::slice::from_ref(&allow), Some(policy("Allow", "*"))), None);
        let conditional = json!({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {"Bool": {"aws:SecureTransport": "true"}}}]});
        assert_eq!(why(&[allow], Some(PolicyDocument(conditional))), Some(Why::Conditional));
    }

    #[test]
    fn the_simulator_judges_and_the_documents_explain() {
        let lack = |why: &Why| vec![Lack { need: Need::new("a:B", "*"), why: why.clone() }];
        let denied = Why::Denied(Some(inline("d")));
        for (simulated, local, wanted) in [
            (Why::Denied(None), &denied, &denied),
            (Why::Conditional, &Why::Missing, &Why::Missing),
            (Why::Organisation, &Why::Missing, &Why::Organisation),
        ] {
            assert_eq!(judged(Ok(lack(&simulated)), Ok(lack(local))), Ok(lack(wanted)));
        }
        assert_eq!(judged(Ok(Vec::new()), Ok(lack(&Why::Missing))), Ok(Vec::new()), "the simulator knows more");
        let refused = || Err("no".to_owned());
        assert_eq!(judged(refused(), Ok(lack(&Why::Boundary))), Ok(lack(&Why::Boundary)));
        assert_eq!(judged(refused(), refused()), Err("no; no".to_owned()));
    }

    #[test]
    fn statements_grant_what_is_lacking() {
        let needs = [("a:B", "x"), ("a:D", "*"), ("a:C", "x"), ("a:B", "y"), ("a:C", "y")];
        let needs = needs.map(|(action, resource)| Need::new(action, resource));
        let found = statements(&needs);
        assert_eq!(found[0], json!({"Effect": "Allow", "Action": ["a:B", "a:C"], "Resource": ["x", "y"]}));
        assert_eq!(found[1], json!({"Effect": "Allow", "Action": ["a:D"], "Resource": ["*"]}));
        let document = PolicyDocument(json!({"Statement": found}));
        let policies = Policies { held: vec![(inline("new"), document)], boundary: None };
        assert_eq!(policies.lacking(&needs), []);
    }

    fn zone(id: &str, name: &str) -> Zone {
        Zone { id: id.to_owned(), name: name.to_owned(), private: false, comment: String::new() }
    }

    /// What is needed of ExternalDNS of this version and arguments: for certain, and perhaps; `CALL ZONE`.
    fn demanded(version: &str, arguments: &[&str], zones: &Look<Vec<Zone>>) -> (Vec<String>, Vec<String>, String) {
        let args: Vec<_> = ["--provider=aws"].iter().chain(arguments).collect();
        let image = format!("registry.k8s.io/external-dns/external-dns:{version}");
        let installed = Installed::from_deployment(&json!({"spec": {"template": {"spec": {"containers": [
            {"name": "external-dns", "image": image, "args": args}]}}}}));
        let demand = Demand::of(&Partition::aws(), Some(&installed.unwrap()), zones);
        let said = |needs: &[Need]| {
            let name = |need: &Need| {
                let action = need.action.trim_start_matches("route53:");
                format!("{action} {}", need.resource.rsplit('/').next().unwrap())
            };
            needs.iter().map(name).collect::<Vec<_>>()
        };
        (said(&demand.certain), said(&demand.possible), demand.why)
    }

    const CHANGE: &str = "ChangeResourceRecordSets";
    const LIST: &str = "ListResourceRecordSets";
    const ZONES: &str = "ListHostedZones *";

    #[test]
    fn rights_are_demanded_on_the_zones_that_are_looked_after() {
        let zones = Ok(vec![zone("Z1", "a.com"), zone("Z2", "b.com")]);
        let on = |id: &str| [format!("{CHANGE} {id}"), format!("{LIST} {id}")];
        let (certain, possible, _) = demanded("v0.23.0", &["--domain-filter=a.com"], &zones);
        assert_eq!((certain, possible), ([&on("Z1")[..], &[ZONES.to_owned()]].concat(), Vec::new()));
        // No zone matches: a link of its own.
        let (certain, possible, _) = demanded("v0.23.0", &["--domain-filter=c.com"], &zones);
        assert_eq!((certain, possible), (vec![ZONES.to_owned()], Vec::new()));
    }

    #[test]
    fn what_selects_zones_unseen_is_no_reason_to_demand_rights() {
        let zones = Ok(vec![zone("Z1", "a.com"), zone("Z2", "b.com")]);
        let both = |action: &str| [format!("{action} Z1"), format!("{action} Z2")];
        let records = [both(CHANGE), both(LIST)].concat();
        for (version, tags) in [("v0.23.0", "ListTagsForResources"), ("v0.15.1", "ListTagsForResource")] {
            let (certain, possible, why) = demanded(version, &["--aws-zone-tags=team=a"], &zones);
            assert_eq!(certain, [&both(tags)[..], &[ZONES.to_owned()]].concat(), "the version's own call");
            assert_eq!(possible, records);
            assert!(why.contains("--aws-zone-tags"), "{why}");
        }
        let regex = ["--domain-filter=a.com", "--regex-domain-filter=b"];
        let (certain, possible, why) = demanded("v0.23.0", &regex, &zones);
        assert_eq!((certain, possible), (vec![ZONES.to_owned()], records));
        assert!(why.contains("--regex-domain-filter"), "{why}");
    }

    #[test]
    fn zones_that_can_not_be_listed_are_known_by_their_ids() {
        let refused = Err("no".to_owned());
        let (certain, possible, why) = demanded("v0.23.0", &[], &refused);
        assert_eq!(certain, [ZONES]);
        assert_eq!(possible, [format!("{CHANGE} *"), format!("{LIST} *")]);
        assert!(why.ends_with(": no"), "{why}");
        let (certain, possible, _) = demanded("v0.23.0", &["--zone-id-filter=Z1"], &refused);
        assert_eq!((certain, possible), (vec![format!("{CHANGE} Z1"), format!("{LIST} Z1"), ZONES.to_owned()], vec![]));
        let two = ["--zone-id-filter=Z1", "--zone-id-filter=Z2", "--domain-filter=a.com"];
        let (certain, possible, _) = demanded("v0.23.0", &two, &refused);
        assert_eq!((certain.as_slice(), possible.len()), (&[ZONES.to_owned()][..], 4));
    }

    #[test]
    fn m26_all_of_route53_is_more_than_is_needed() {
        let held = |document: Value| Policies {
            held: vec![(inline("p"), PolicyDocument(json!({"Statement": document})))],
            boundary: None,
        };
        let boundless = |action: &str, resource: &str| {
            let statement = json!({"Effect": "Allow", "Action": action, "Resource": resource});
            held(statement).boundless().count() == 1
        };
        assert!(boundless("route53:*", "*") && boundless("*", "*"));
        assert!(!boundless("route53:*", "arn:aws:route53:::hostedzone/*"));
        assert!(!boundless("route53:List*", "*"));
    }

    #[test]
    fn m24_exact_names_need_the_names_of_their_txt_records() {
        let without = |prefix: &str, operator: &str, names: &[&str]| {
            let condition = json!({operator: {"route53:ChangeResourceRecordSetsNormalizedRecordNames": names}});
            let statement =
                json!({"Effect": "Allow", "Action": "route53:Change*", "Resource": "*", "Condition": condition});
            let document = PolicyDocument(json!({"Statement": [statement]}));
            let policies = Policies { held: vec![(inline("p"), document)], boundary: None };
            policies.without_txt(&Mapper::new(prefix, "", "", "0.23.0".parse().unwrap()))
        };
        let equals = "ForAllValues:StringEquals";
        assert_eq!(without("", equals, &["app.example.com", "a-app.example.com"]), [""; 0]);
        assert_eq!(
            without("", equals, &["app.example.com", "web.example.com"]),
            ["app.example.com", "web.example.com"]
        );
        let both = ["app.example.com", "x-a-app.example.com"];
        assert_eq!(without("x-", equals, &both), [""; 0]);
        assert_eq!(without("", equals, &both).len(), 2, "named for another prefix");
        let like = "ForAllValues:StringLike";
        assert_eq!(without("", like, &["app.example.com", "*-app.example.com"]), [""; 0]);
        assert_eq!(without("", like, &["*.example.com"]), [""; 0]);
        assert_eq!(without("", like, &["team.example.com", "*.team.example.com"]), ["team.example.com"], "an apex");
        assert_eq!(without("", "ForAllValues:StringNotEquals", &["app.example.com"]), [""; 0]);

        let open = policy("Allow", "route53:ChangeResourceRecordSets");
        let exact = json!({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {equals: {"route53:ChangeResourceRecordSetsNormalizedRecordNames": "app.example.com"}}}]});
        let held = vec![(inline("exact"), PolicyDocument(exact)), (inline("open"), open)];
        let policies = Policies { held, boundary: None };
        assert_eq!(policies.without_txt(&Mapper::new("", "", "", "0.23.0".parse().unwrap())), [""; 0]);
    }
}
