//! `render operator-policy`: what irsactl itself needs, narrowed by the flags of the command that it is for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::flags::DEFAULT_NAMESPACE;
use super::install_external_dns::{Facts, settings};
use super::target::{contents, name};
use crate::cli::externaldns::{Role, Settings as InstallFlags};
use crate::cli::iamserviceaccount::{Name, Policies};
use crate::cli::operator::{OperatorPolicy, Words};
use crate::config::filter::Filter;
use crate::config::{self, ClusterConfig, Entry};
use crate::error::{Error, ErrorCode, Result};
use crate::externaldns::owner::{DEFAULT_NAME, scoped_policy};
use crate::externaldns::rbac;
use crate::externaldns::settings::Settings;
use crate::iam::arn::Partition;
use crate::iam::policy::PolicyDocument;
use crate::observe::iamserviceaccount::FEW;
use crate::operator::{Flags, Place, RoleName, Task, aws, kubernetes};

/// What is printed.
pub(super) enum Document {
    /// An IAM policy.
    Policy(PolicyDocument),
    /// Namespaces, a ClusterRole and Roles.
    Objects(Vec<Value>),
}

/// Writes down the rights.
///
/// # Errors
/// `Usage` for a command that needs none, and for flags and files that don't hold.
pub(super) fn document(args: &OperatorPolicy) -> Result<Document> {
    let config = args.command.as_ref().map(config).transpose()?.flatten();
    let place = place(args, config.as_ref());
    let needs = match &args.command {
        None => Task::ALL.iter().map(|task| (*task, anything(*task))).collect(),
        Some(words) => vec![needs(words, config.as_ref(), &place)?],
    };
    let needs: Vec<_> = needs.iter().map(|(task, flags)| (*task, flags)).collect();
    if args.kubernetes {
        let objects = kubernetes::objects(&needs);
        return if objects.is_empty() { Err(nothing("in the cluster")) } else { Ok(Document::Objects(objects)) };
    }
    let policy = aws::policy(&needs, &place).map_err(Error::usage)?;
    if policy.0["Statement"].as_array().is_none_or(Vec::is_empty) {
        Err(nothing("in AWS"))
    } else {
        Ok(Document::Policy(policy))
    }
}

fn nothing(place: &str) -> Box<Error> {
    Error::usage(format!("this command needs no rights {place}"))
}

/// The file of `--config-file`, which narrows as flags do.
fn config(words: &Words) -> Result<Option<ClusterConfig>> {
    let Some(file) = words.flags.try_get_one::<PathBuf>("config_file").ok().flatten() else { return Ok(None) };
    config::read(&name(file), contents("--config-file", Path::new(file))?).map(Some)
}

fn place(args: &OperatorPolicy, config: Option<&ClusterConfig>) -> Place {
    let words = args.command.as_ref();
    let given = |ids: &[&str], own: &Option<String>, of_file: Option<&String>| {
        let value = words.and_then(|words| ids.iter().find_map(|id| words.value(id)));
        value.or(own.as_ref()).or(of_file).cloned().unwrap_or_else(|| "*".to_owned())
    };
    let region = given(&["region"], &args.region, config.map(|config| &config.region));
    let partition = args.partition.clone();
    Place {
        partition: partition
            .unwrap_or_else(|| if region == "*" { Partition::aws() } else { Partition::of_region(&region) }),
        account: given(&["account_id"], &args.account_id, None),
        // `utils associate-iam-oidc-provider CLUSTER`; elsewhere, an argument is a ServiceAccount's name.
        cluster: match words.filter(|words| words.words[0] == "utils").and_then(|words| words.value("argument")) {
            Some(cluster) => cluster.clone(),
            None => given(&["cluster"], &args.cluster, config.map(|config| &config.name)),
        },
        region,
    }
}

/// What any flags could need, for an ExternalDNS of the usual name: who makes Deployments and gets tokens everywhere is
/// whatever any ServiceAccount of the cluster is.
fn anything(task: Task) -> Flags {
    let of_external_dns =
        matches!(task, Task::Install | Task::Uninstall | Task::VerifyExternalDns | Task::GetDnsRecords);
    let usual = of_external_dns.then(|| (DEFAULT_NAME.to_owned(), DEFAULT_NAME.to_owned()));
    let handed_on = rbac::rules(&Settings::new("us-east-1", "any"));
    Flags { handed_on, service_accounts: usual.into_iter().collect(), ..Flags::default() }
}

/// What the command needs.
fn needs(words: &Words, config: Option<&ClusterConfig>, place: &Place) -> Result<(Task, Flags)> {
    let names: Vec<_> = words.words.iter().map(String::as_str).collect();
    let task = Task::of(&names).ok_or_else(|| nothing("anywhere"))?;
    let one: Vec<_> = words.value("namespace").cloned().zip(of_name(words)).into_iter().collect();
    let flags = match task {
        Task::AssociateProvider => Flags::default(),
        Task::CreatePolicy => {
            Flags { policy: words.value("name").cloned(), zones: words.values("zone_id_filter"), ..Flags::default() }
        }
        // What the file doesn't name isn't known.
        Task::DeleteServiceAccount if words.is_set("only_missing") => Flags {
            cfn_role: words.value("cfn_role_arn").cloned(),
            detach_foreign: words.is_set("detach_foreign_policies"),
            ..Flags::default()
        },
        Task::CreateServiceAccount | Task::UpdateServiceAccount | Task::DeleteServiceAccount => {
            let entries = match config {
                Some(config) => selected(words, config)?,
                None => vec![entry(words)?],
            };
            entries_need(task, words, config.is_some(), &entries, place)
        }
        Task::GetServiceAccount | Task::VerifyServiceAccount => {
            Flags { service_accounts: one.clone(), stacks: one, live: live(words), ..Flags::default() }
        }
        Task::GetDnsRecords => {
            let cluster = place.cluster != "*";
            Flags { service_accounts: one, cluster, ..Flags::default() }
        }
        Task::Install => install(words, place)?,
        Task::Uninstall => {
            let kubernetes = !words.is_set("aws_only");
            let role = RoleName { name: words.value("role_name").cloned(), path: words.value("role_path").cloned() };
            let policy = words.value("policy_name").map_or(Flags::default().policy, |name| Some(format!("{name}*")));
            let roles = BTreeSet::from([role]);
            Flags { roles, policy, service_accounts: one.clone(), stacks: one, kubernetes, ..Flags::default() }
        }
        // Which ServiceAccount an installation of others has isn't known.
        Task::VerifyExternalDns => Flags { service_accounts: one, live: live(words), ..Flags::default() },
        Task::RenderRole => {
            let known = words.value("oidc_issuer").is_some() && words.value("account_id").is_some();
            Flags { cluster: !known, ..Flags::default() }
        }
        Task::RenderManifest => {
            Flags { foreign_only: words.value("role_arn").is_some(), stacks: one, ..Flags::default() }
        }
    };
    Ok((task, flags))
}

/// `--live`, which not all commands have.
fn live(words: &Words) -> bool {
    words.flags.try_get_one::<bool>("live").ok().flatten().is_none_or(|live| *live)
}

/// `NAME` or `--name NAME`.
fn of_name(words: &Words) -> Option<String> {
    words.value("argument").or_else(|| words.value("name")).cloned()
}

fn read<T: clap::FromArgMatches>(words: &Words) -> Result<T> {
    words
        .read()
        .map_err(|error| Error::new(ErrorCode::Internal, "the command has other flags").cause(error.to_string()))
}

fn selected(words: &Words, config: &ClusterConfig) -> Result<Vec<Entry>> {
    let filter = Filter::new(&words.values("include"), &words.values("exclude"))?;
    Ok(filter.part(config.entries()?.to_vec(), Entry::identity)?.0)
}

/// The service account that flags describe; its name may be missing.
fn entry(words: &Words) -> Result<Entry> {
    let named = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let policies = if words.words[0] == "delete" { Policies::default() } else { read::<Policies>(words)? };
    Ok(Entry {
        namespace: words.value("namespace").cloned().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        name: read::<Name>(words)?.get().unwrap_or_default().to_owned(),
        managed_policies: named(policies.attach_policy_arn),
        well_known: (!policies.well_known_policy.is_empty()).then_some(policies.well_known_policy),
        // Whatever is in it needs the same rights.
        inline: policies.attach_policy.map(|_| PolicyDocument(Value::Null)),
        role_arn: words.value("attach_role_arn").cloned(),
        boundary: policies.permissions_boundary,
        role_name: words.value("role_name").cloned(),
        role_only: words.is_set("role_only"),
        ..Entry::default()
    })
}

/// What service accounts need of which flags or a file say so much.
fn entries_need(task: Task, words: &Words, file: bool, entries: &[Entry], place: &Place) -> Flags {
    let role_only = words.is_set("role_only");
    let own: Vec<_> = entries.iter().filter(|entry| entry.role_arn.is_none()).collect();
    let in_cluster = entries.iter().filter(|entry| !role_only && !entry.role_only);
    let boundaries: Vec<_> = own.iter().filter_map(|entry| entry.boundary.clone()).collect();
    let attached: Vec<_> = own.iter().flat_map(|entry| attached(entry, place)).collect();
    let inline = own.iter().any(|entry| {
        entry.inline.is_some() || entry.well_known.iter().flatten().any(|known| known.managed().is_none())
    });
    // What a command line doesn't say may come later; what an update doesn't say stays as it is.
    let told = task == Task::CreateServiceAccount && (file || inline || own.is_empty() || !attached.is_empty());
    let path = words.value("role_path").cloned();
    let identity = |entry: &Entry| (entry.namespace.clone(), entry.name.clone());
    let known = entries.iter().all(|entry| !entry.name.is_empty());
    let role = |entry: &&Entry| RoleName { name: entry.role_name.clone(), path: path.clone() };
    Flags {
        roles: own.iter().map(role).collect(),
        foreign_roles: entries.iter().filter_map(|entry| entry.role_arn.clone()).collect(),
        foreign_only: own.is_empty(),
        attached: (told || !attached.is_empty()).then_some(attached),
        inline: inline || !told,
        unbounded: boundaries.len() < own.len(),
        boundaries: (told || !boundaries.is_empty()).then_some(boundaries),
        cfn_role: words.value("cfn_role_arn").cloned(),
        policy: None,
        detach_foreign: words.is_set("detach_foreign_policies"),
        only_missing: false,
        kubernetes: in_cluster.clone().next().is_some(),
        service_accounts: in_cluster.map(identity).collect(),
        stacks: entries.iter().filter(|_| known).map(identity).collect(),
        many: entries.len() > FEW,
        ..Flags::default()
    }
}

fn attached(entry: &Entry, place: &Place) -> Vec<String> {
    let known = entry.well_known.iter().flatten().filter_map(|known| known.managed());
    let known = known.map(|policy| format!("arn:{}:iam::aws:policy/{policy}", place.partition));
    entry.managed_policies.iter().flatten().cloned().chain(known).collect()
}

fn install(words: &Words, place: &Place) -> Result<Flags> {
    let (args, role) = (read::<InstallFlags>(words)?, read::<Role>(words)?);
    let facts = Facts {
        cluster: &place.cluster,
        cluster_arn: &place.cluster,
        region: if place.region == "*" { "us-east-1" } else { &place.region },
        partition: &place.partition,
        kubernetes_minor: None,
        installed: None,
    };
    let rules = rbac::rules(&settings(&args, &facts)?.0);
    let given = role.role_arn.is_some() || !role.attach_policy_arn.is_empty() || args.aws_assume_role.is_some();
    let policy = if role.least_privilege {
        scoped_policy(&role.policy_name, &place.region, &place.cluster, &args.name)
    } else {
        role.policy_name
    };
    Ok(Flags {
        roles: BTreeSet::from([RoleName { name: role.role_name, path: role.role_path }]),
        foreign_only: role.role_arn.is_some(),
        foreign_roles: role.role_arn.into_iter().collect(),
        attached: Some(role.attach_policy_arn),
        inline: args.aws_assume_role.is_some(),
        unbounded: role.permissions_boundary.is_none(),
        boundaries: Some(role.permissions_boundary.into_iter().collect()),
        policy: (!given).then_some(policy),
        elsewhere: args.aws_assume_role.is_some(),
        kubernetes: !role.aws_only,
        service_accounts: vec![(args.namespace.clone(), args.name.clone())],
        stacks: vec![(args.namespace, args.name)],
        handed_on: rules,
        ..Flags::default()
    })
}
