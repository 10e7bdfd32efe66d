//! What irsactl needs in the cluster: rules of a ClusterRole, and of a Role for each namespace.
//!
//! Who makes a ClusterRole must have its rules ("Using RBAC Authorization", Kubernetes): irsactl gets the few that
//! ExternalDNS reads with, not `escalate`, which would hand it the cluster. A Role needs its namespace, which is printed
//! with it: so irsactl needs no right to make namespaces, and can't delete any.

use serde_json::{Value, json};

use super::{Flags, Task};
use crate::externaldns::manifest::cluster_role_binding_name;
use crate::externaldns::objects::CUSTOM;
use crate::externaldns::rbac;
use crate::k8s::Kind;

/// Calls that irsactl makes without counting on them, and why no Role grants them: verb, resource, reason.
pub const LEFT_OUT: &[(&str, &str, &str)] = &[
    (
        "create",
        "serviceaccounts/token",
        "verify tries the role with a token where the ServiceAccount is named: with tokens of all, anybody would be anything",
    ),
    (
        "list",
        "deployments",
        "get dnsrecords names the installations that there are where it doesn't find the one it is about",
    ),
];

/// What the ClusterRole and the Roles are called.
pub const NAME: &str = "irsactl";

/// Verbs on a kind of object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Right {
    group: String,
    resource: String,
    verbs: Vec<&'static str>,
    /// Only these; empty for all.
    names: Vec<String>,
    /// Only there; none for everywhere, and for what isn't in a namespace.
    namespace: Option<String>,
    /// It only informs.
    optional: bool,
}

fn right(kind: &Kind, verbs: &[&'static str]) -> Right {
    Right {
        group: kind.group.to_owned(),
        resource: kind.plural.to_owned(),
        verbs: verbs.to_vec(),
        names: Vec::new(),
        namespace: None,
        optional: false,
    }
}

impl Right {
    fn on(self, subresource: &str) -> Self {
        Self { resource: format!("{}/{subresource}", self.resource), ..self }
    }

    fn named(self, names: &[&str]) -> Self {
        Self { names: names.iter().map(|&name| name.to_owned()).collect(), ..self }
    }

    fn within(self, namespace: Option<&str>) -> Self {
        Self { namespace: namespace.map(str::to_owned), ..self }
    }

    fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// True where only the verbs differ.
    fn is_about_the_same(&self, other: &Self) -> bool {
        let kind = (&self.group, &self.resource) == (&other.group, &other.resource);
        kind && (&self.namespace, self.optional) == (&other.namespace, other.optional) && self.names == other.names
    }

    /// True where the other grants a verb of this one as well.
    fn is_granted_by(&self, other: &Self, verb: &str) -> bool {
        let names = || {
            other.names.is_empty() || (!self.names.is_empty() && self.names.iter().all(|it| other.names.contains(it)))
        };
        (&other.resource, &other.group) == (&self.resource, &self.group)
            && (other.namespace.is_none() || other.namespace == self.namespace)
            && other.verbs.contains(&verb)
            && (self.optional || !other.optional)
            && names()
    }

    fn to_value(&self) -> Value {
        let mut value = json!({"apiGroups": [self.group], "resources": [self.resource], "verbs": self.verbs});
        if !self.names.is_empty() {
            value["resourceNames"] = json!(self.names);
        }
        value
    }
}

/// Where ServiceAccounts are: a namespace with their names, or everywhere and all of them.
struct Accounts<'a> {
    namespace: Option<&'a str>,
    names: Vec<&'a str>,
}

fn accounts(flags: &Flags) -> Vec<Accounts<'_>> {
    if flags.service_accounts.is_empty() {
        return vec![Accounts { namespace: None, names: Vec::new() }];
    }
    let mut all: Vec<Accounts<'_>> = Vec::new();
    for (namespace, name) in &flags.service_accounts {
        match all.iter_mut().find(|known| known.namespace == Some(namespace)) {
            Some(known) => known.names.push(name),
            None => all.push(Accounts { namespace: Some(namespace), names: vec![name] }),
        }
    }
    for one in &mut all {
        // A name that isn't known stands for all of its namespace.
        if one.names.contains(&"") {
            one.names.clear();
        }
    }
    all
}

/// What a command needs.
fn rights(task: Task, flags: &Flags) -> Vec<Right> {
    if !flags.kubernetes {
        return Vec::new();
    }
    let accounts = accounts(flags);
    let each = |rights: &dyn Fn(&Accounts<'_>) -> Vec<Right>| accounts.iter().flat_map(rights).collect::<Vec<_>>();
    match task {
        // They ask AWS only.
        Task::AssociateProvider | Task::CreatePolicy | Task::RenderRole | Task::RenderManifest => Vec::new(),
        Task::CreateServiceAccount | Task::UpdateServiceAccount => {
            let rights = each(&|it| {
                vec![it.namespaces(), it.right(&Kind::SERVICE_ACCOUNT, &["get", "create", "patch"]), it.new_namespace()]
            });
            rights.into_iter().chain(listings(flags)).collect()
        }
        Task::DeleteServiceAccount => {
            let rights =
                each(&|it| vec![it.namespaces(), it.right(&Kind::SERVICE_ACCOUNT, &["get", "patch", "delete"])]);
            rights.into_iter().chain(listings(flags)).collect()
        }
        Task::GetServiceAccount => each(&|it| match it.names.as_slice() {
            [] => vec![right(&Kind::SERVICE_ACCOUNT, &["get", "list"]).within(it.namespace).optional()],
            _ => vec![it.right(&Kind::SERVICE_ACCOUNT, &["get"]).optional()],
        }),
        Task::GetDnsRecords if !flags.cluster => Vec::new(),
        Task::GetDnsRecords => each(&|it| vec![it.right(&Kind::DEPLOYMENT, &["get"])]),
        Task::Install => accounts.iter().flat_map(|it| install(it, flags)).collect(),
        Task::Uninstall => each(&|it| {
            vec![
                it.namespaces(),
                right(&Kind::DEPLOYMENT, &["list"]),
                it.installation(&Kind::CLUSTER_ROLE, &["get", "delete"], str::to_owned),
                it.installation(&Kind::CLUSTER_ROLE_BINDING, &["get", "delete"], cluster_role_binding_name),
                it.right(&Kind::SERVICE_ACCOUNT, &["get", "patch", "delete"]),
                it.right(&Kind::DEPLOYMENT, &["get", "delete"]),
                right(&Kind::POD, &["list"]).within(it.namespace),
            ]
        }),
        Task::VerifyExternalDns => each(&|it| {
            let asked = [
                right(&Kind::DEPLOYMENT, &["list"]),
                right(&Kind::NAMESPACE, &["list"]),
                right(&Kind::SERVICE, &["list"]),
                right(&Kind::INGRESS, &["list"]),
                right(&Kind::POD, &["get"]).on("log").within(it.namespace),
                right(&REVIEW, &["create"]),
            ];
            let custom =
                CUSTOM.iter().map(|(group, kind, plural)| right(&Kind::namespaced(group, "", kind, plural), &["list"]));
            it.chain(flags).into_iter().chain(asked).chain(custom).map(Right::optional).collect()
        }),
        Task::VerifyServiceAccount => each(&|it| {
            let all = it.names.is_empty().then(|| right(&Kind::SERVICE_ACCOUNT, &["list"]).within(it.namespace));
            it.chain(flags).into_iter().chain(all).map(Right::optional).collect()
        }),
    }
}

/// Many service accounts are found in listings.
fn listings(flags: &Flags) -> impl Iterator<Item = Right> {
    let kinds = if flags.many { &[Kind::NAMESPACE, Kind::SERVICE_ACCOUNT][..] } else { &[] };
    kinds.iter().map(|kind| right(kind, &["list"]).optional())
}

/// What the pod's ServiceAccount may do is asked of the cluster.
const REVIEW: Kind = Kind::cluster("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews");

impl Accounts<'_> {
    fn right(&self, kind: &Kind, verbs: &[&'static str]) -> Right {
        right(kind, verbs).named(&self.names).within(self.namespace)
    }

    /// Their namespaces, to see whether they are there.
    fn namespaces(&self) -> Right {
        right(&Kind::NAMESPACE, &["get"]).named(&self.namespace.into_iter().collect::<Vec<_>>())
    }

    /// Where the namespace isn't known, it can't come with the Role.
    fn new_namespace(&self) -> Right {
        let verbs: &[_] = if self.namespace.is_none() { &["create", "patch"] } else { &[] };
        right(&Kind::NAMESPACE, verbs)
    }

    /// An object of the cluster that belongs to an installation.
    fn installation(&self, kind: &Kind, verbs: &[&'static str], name: impl Fn(&str) -> String) -> Right {
        let names: Vec<_> = self.names.iter().map(|it| name(it)).collect();
        Right { names, ..right(kind, verbs) }
    }

    /// The links from a ServiceAccount to its role.
    fn chain(&self, flags: &Flags) -> Vec<Right> {
        let links = [self.right(&Kind::SERVICE_ACCOUNT, &["get"]), right(&Kind::POD, &["list"]).within(self.namespace)];
        links.into_iter().chain(self.token().filter(|_| flags.live)).collect()
    }

    /// A token of theirs, to be exchanged at STS. Whoever gets tokens of every ServiceAccount is whatever any of them is,
    /// so there is none where their names aren't known.
    fn token(&self) -> Option<Right> {
        (!self.names.is_empty()).then(|| self.right(&Kind::SERVICE_ACCOUNT, &["create"]).on("token"))
    }
}

fn install(it: &Accounts<'_>, flags: &Flags) -> Vec<Right> {
    let mut rights = vec![
        it.namespaces(),
        it.new_namespace(),
        // Other installations of ExternalDNS.
        right(&Kind::DEPLOYMENT, &["list"]),
        it.installation(&Kind::CLUSTER_ROLE, &["get", "create", "patch"], str::to_owned),
        it.installation(&Kind::CLUSTER_ROLE_BINDING, &["get", "create", "patch"], cluster_role_binding_name),
        // Hosts that are asked for, where records are at stake.
        right(&Kind::SERVICE, &["list"]),
        right(&Kind::INGRESS, &["list"]),
        it.right(&Kind::SERVICE_ACCOUNT, &["get", "create", "patch"]),
        it.right(&Kind::DEPLOYMENT, &["get", "create", "patch"]),
        // The rollout, and the first synchronisation in the log.
        right(&Kind::REPLICA_SET, &["list"]).within(it.namespace),
        right(&Kind::POD, &["list"]).within(it.namespace),
        right(&Kind::POD, &["get"]).on("log").within(it.namespace),
        // Why pods don't start.
        right(&Kind::EVENT, &["list"]).within(it.namespace).optional(),
    ];
    // The proof of the role.
    rights.extend(it.token());
    rights.extend(flags.handed_on.iter().flat_map(handed_on));
    rights
}

fn handed_on(rule: &rbac::Rule) -> Vec<Right> {
    let one = |resource: &String| Right {
        group: rule.group.clone(),
        resource: resource.clone(),
        verbs: rule.verbs.to_vec(),
        names: Vec::new(),
        namespace: None,
        optional: false,
    };
    rule.resources.iter().map(one).collect()
}

/// The namespaces, the ClusterRole and the Roles that let irsactl do these tasks. Rights that only inform are in objects
/// of their own.
pub fn objects(tasks: &[(Task, &Flags)]) -> Vec<Value> {
    let all: Vec<_> = tasks.iter().flat_map(|(task, flags)| rights(*task, flags)).collect();
    let all = without_repetition(all);
    let mut namespaces: Vec<_> = all.iter().filter_map(|right| right.namespace.as_deref()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let mut objects: Vec<_> = namespaces.iter().filter(|name| !is_built_in(name)).map(|name| namespace(name)).collect();
    for optional in [false, true] {
        for place in [None].into_iter().chain(namespaces.iter().map(Some)) {
            let place = place.copied();
            let here = |right: &&Right| right.optional == optional && right.namespace.as_deref() == place;
            let rules: Vec<_> = all.iter().filter(here).map(Right::to_value).collect();
            if !rules.is_empty() {
                objects.push(role(place, optional, &rules));
            }
        }
    }
    objects
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// Every cluster has them.
fn is_built_in(namespace: &str) -> bool {
    namespace == "default" || namespace.starts_with("kube-")
}

fn role(namespace: Option<&str>, optional: bool, rules: &[Value]) -> Value {
    let kind = if namespace.is_some() { Kind::ROLE } else { Kind::CLUSTER_ROLE };
    let name = if optional { format!("{NAME}-optional") } else { NAME.to_owned() };
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": metadata, "rules": rules})
}

/// Rights on the same objects in one rule, and none that another one grants.
fn without_repetition(all: Vec<Right>) -> Vec<Right> {
    let mut merged: Vec<Right> = Vec::new();
    for right in all {
        match merged.iter_mut().find(|known| known.is_about_the_same(&right)) {
            Some(known) => known
                .verbs
                .extend(right.verbs.into_iter().filter(|verb| !known.verbs.contains(verb)).collect::<Vec<_>>()),
            None => merged.push(right),
        }
    }
    let others = merged.clone();
    for right in &mut merged {
        let own = right.clone();
        right.verbs.retain(|verb| !others.iter().any(|other| own.is_granted_by(other, verb) && *other != own));
    }
    merged.retain(|right| !right.verbs.is_empty());
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(service_accounts: &[(&str, &str)]) -> Flags {
        let service_accounts =
            service_accounts.iter().map(|(of, name)| ((*of).to_owned(), (*name).to_owned())).collect();
        let handed_on = rbac::rules(&crate::externaldns::settings::Settings::new("us-east-1", "any"));
        Flags { service_accounts, handed_on, many: false, ..Flags::default() }
    }

    /// Every rule: name of its object, resource, verbs, names.
    fn rules(objects: &[Value]) -> Vec<(String, String, Vec<String>, Value)> {
        let texts = |list: &Value| list.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect();
        let of = |object: &Value| {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            let all = object["rules"].as_array().cloned().unwrap_or_default();
            let rule = move |rule: Value| {
                let resource = rule["resources"][0].as_str().unwrap().to_owned();
                (name.clone(), resource, texts(&rule["verbs"]), rule["resourceNames"].clone())
            };
            all.into_iter().map(rule).collect::<Vec<_>>()
        };
        objects.iter().flat_map(of).collect()
    }

    #[test]
    fn nobody_becomes_more_than_it_is() {
        for service_accounts in [&[][..], &[("dns", "external-dns")]] {
            let flags = flags(service_accounts);
            for (_, resource, verbs, _) in rules(&objects(&Task::ALL.map(|task| (task, &flags)))) {
                for verb in verbs {
                    assert!(!["escalate", "bind", "impersonate", "*"].contains(&verb.as_str()), "{verb} {resource}");
                    assert!((&*verb, &*resource) != ("delete", "namespaces"));
                    assert!(!resource.starts_with("secrets") && resource != "*", "{verb} {resource}");
                }
            }
        }
    }

    #[test]
    fn a_token_is_only_of_a_service_account_that_is_named() {
        let mut tokens = 0;
        for task in Task::ALL {
            // The last has a namespace only.
            for service_accounts in [&[][..], &[("dns", "external-dns")], &[("dns", "")]] {
                for (name, resource, _, names) in rules(&objects(&[(task, &flags(service_accounts))])) {
                    if resource == "serviceaccounts/token" {
                        assert_eq!(names, json!(["external-dns"]), "{task:?} {name}");
                        tokens += 1;
                    }
                }
            }
        }
        assert_eq!(tokens, 3);
    }

    #[test]
    fn listings_that_many_service_accounts_are_found_in_only_inform() {
        let many = Flags { many: true, ..flags(&[("apps", "web")]) };
        for task in [Task::CreateServiceAccount, Task::UpdateServiceAccount, Task::DeleteServiceAccount] {
            let all = rules(&objects(&[(task, &many)]));
            let lists = all.iter().filter(|(_, _, verbs, _)| verbs.contains(&"list".to_owned()));
            let lists: Vec<_> = lists.map(|(name, resource, ..)| (name.as_str(), resource.as_str())).collect();
            assert_eq!(lists, [("irsactl-optional", "namespaces"), ("irsactl-optional", "serviceaccounts")]);
        }
    }

    #[test]
    fn custom_resources_are_read_where_sources_may_read_them() {
        let all = rules(&objects(&[(Task::VerifyExternalDns, &flags(&[("dns", "external-dns")]))]));
        for (.., plural) in CUSTOM {
            assert!(
                all.iter().any(|(name, resource, ..)| name == "irsactl-optional" && resource == plural),
                "{plural}"
            );
        }
    }

    #[test]
    fn what_has_a_name_is_changed_by_its_name() {
        let flags = flags(&[("dns", "external-dns")]);
        let all = rules(&objects(&[(Task::Install, &flags), (Task::Uninstall, &flags)]));
        let writing =
            all.iter().filter(|(_, _, verbs, _)| verbs.iter().any(|verb| verb == "patch" || verb == "delete"));
        let names: Vec<_> = writing.map(|(_, resource, _, names)| (resource.as_str(), names.clone())).collect();
        let expected = [
            ("clusterroles", "external-dns"),
            ("clusterrolebindings", "external-dns-viewer"),
            ("serviceaccounts", "external-dns"),
            ("deployments", "external-dns"),
        ];
        assert_eq!(names, expected.map(|(resource, name)| (resource, json!([name]))));
    }

    #[test]
    fn a_right_is_printed_once_and_needed_ones_are_not_optional() {
        let flags = flags(&[("dns", "external-dns")]);
        let all = rules(&objects(&[(Task::VerifyExternalDns, &flags), (Task::Install, &flags)]));
        let of = |wanted: &str| {
            let all = all.iter().filter(|(_, resource, ..)| resource == wanted);
            all.map(|(name, _, verbs, _)| (name.as_str(), verbs.join(","))).collect::<Vec<_>>()
        };
        assert_eq!(of("ingresses"), [("irsactl", "list,get,watch".to_owned())]);
        assert_eq!(of("serviceaccounts/token"), [("irsactl", "create".to_owned())]);
        assert_eq!(of("namespaces"), [("irsactl", "get".to_owned()), ("irsactl-optional", "list".to_owned())]);
    }

    #[test]
    fn a_namespace_comes_with_its_role_unless_every_cluster_has_it() {
        let kinds = |namespace: &str| {
            let objects = objects(&[(Task::CreateServiceAccount, &flags(&[(namespace, "web")]))]);
            objects.iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(kinds("apps"), ["Namespace", "ClusterRole", "Role"]);
        assert_eq!(kinds("default"), ["ClusterRole", "Role"]);
    }
}
