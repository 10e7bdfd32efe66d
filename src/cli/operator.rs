//! `render operator-policy`: the words of another command, which needs nothing to be given that it does itself.

use clap::builder::Resettable;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Id, Subcommand};

use super::values;
use crate::iam::arn::Partition;

/// Prints the least rights that irsactl itself needs: an IAM policy, or with --kubernetes what it needs in the cluster.
///
/// The flags of COMMAND narrow them, and none is required; without a COMMAND, all that irsactl can do is allowed.
#[derive(Args, Clone, Debug)]
#[command(disable_help_subcommand = true)]
#[command(after_help = "\
Statements and roles whose names have `Optional` in them only inform: without them, commands go on, and say what they \
can't read.

Roles, policies and a role for CloudFormation that have names of their own are covered where the flags of COMMAND name \
them.

Examples:
  # Everything, anywhere in the account
  irsactl render operator-policy

  # What installs ExternalDNS in one cluster
  irsactl render operator-policy install external-dns --cluster eksdemo1 --region us-west-2 --account-id 111122223333

  # A ClusterRole and Roles for the same
  irsactl render operator-policy install external-dns --cluster eksdemo1 --kubernetes")]
pub struct OperatorPolicy {
    /// Print what is needed in the cluster: a ClusterRole, and Roles with their namespaces
    #[arg(long, global = true)]
    pub kubernetes: bool,

    /// Only in this AWS account
    #[arg(long, global = true, value_name = "ID", value_parser = values::account)]
    pub account_id: Option<String>,

    /// AWS partition (default: the region's, else aws)
    #[arg(long, global = true, value_parser = values::partition)]
    pub partition: Option<Partition>,

    /// Only in this AWS region
    #[arg(short, long, value_parser = values::region)]
    pub region: Option<String>,

    /// Only for this EKS cluster
    #[arg(short, long, value_name = "NAME", value_parser = values::cluster)]
    pub cluster: Option<String>,

    #[command(subcommand)]
    pub command: Option<Words>,
}

/// Another command of irsactl, and what its flags say.
#[derive(Clone, Debug)]
pub struct Words {
    /// Its words, such as `install external-dns`.
    pub words: Vec<String>,
    /// Its flags.
    pub flags: ArgMatches,
}

impl Words {
    /// The value of a flag that the command may not have.
    pub fn value(&self, id: &str) -> Option<&String> {
        self.flags.try_get_one::<String>(id).ok().flatten()
    }

    /// True where a switch is given that the command may not have.
    pub fn is_set(&self, id: &str) -> bool {
        self.flags.try_get_one::<bool>(id).is_ok_and(|value| value == Some(&true))
    }

    /// The values of a flag that the command may not have.
    pub fn values(&self, id: &str) -> Vec<String> {
        let all = self.flags.try_get_many::<String>(id).ok().flatten();
        all.map(|all| all.cloned().collect()).unwrap_or_default()
    }

    /// Some of its flags, as the command itself has them.
    ///
    /// # Errors
    /// Where the command doesn't have them.
    pub fn read<T: FromArgMatches>(&self) -> Result<T, clap::Error> {
        T::from_arg_matches(&self.flags)
    }
}

impl FromArgMatches for Words {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut words = Vec::new();
        let mut flags = matches;
        while let Some((word, below)) = flags.subcommand() {
            words.push(word.to_owned());
            flags = below;
        }
        Ok(Self { words, flags: flags.clone() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The commands that ask nobody, and this one.
const WITHOUT: [&str; 3] = ["completion", "version", "operator-policy"];

impl Subcommand for Words {
    fn augment_subcommands(command: Command) -> Command {
        // The grammar within itself is made when somebody asks for it.
        command.defer(|command| {
            let whole = super::Command::augment_subcommands(Command::new("irsactl"));
            let parts = whole.get_subcommands().filter(|it| takes_part(it)).cloned();
            let parts = parts.map(|it| if it.get_name() == "render" { without_this(&it) } else { it });
            command.subcommands(parts.map(|it| relaxed(with_names(it))))
        })
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(_: &str) -> bool {
        true
    }
}

fn takes_part(command: &Command) -> bool {
    !WITHOUT.contains(&command.get_name())
}

/// `render` without this command, which would go on for ever.
fn without_this(render: &Command) -> Command {
    Command::new("render")
        .about(render.get_about().cloned().unwrap_or_default())
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(render.get_subcommands().filter(|it| takes_part(it)).cloned())
}

/// Commands find out by themselves what a service account was made with: the rights for it need its names.
fn with_names(command: Command) -> Command {
    let name = |id: &'static str, flag: &'static str, help: &'static str| {
        Arg::new(id).long(flag).value_name("NAME").help(help).value_parser(values::role_name)
    };
    let role = || {
        let path = Arg::new("role_path").long("role-path").value_name("PATH").value_parser(values::iam_path);
        [name("role_name", "role-name", "Name that the role was given"), path.help("Path that the role was given")]
    };
    match command.get_name() {
        "update" | "delete" => command.mut_subcommand("iamserviceaccount", |it| it.args(role())),
        "uninstall" => command.mut_subcommand("external-dns", |it| {
            let policy = name("policy_name", "policy-name", "Name that the policy was given");
            it.args(role()).arg(policy.value_parser(values::policy_name))
        }),
        _ => command,
    }
}

/// The command without anything that must be given.
fn relaxed(command: Command) -> Command {
    let groups: Vec<_> = command.get_groups().map(|group| group.get_id().clone()).collect();
    let free = |arg: Arg| arg.required(false).required_unless_present(Resettable::<Id>::Reset);
    let command = groups.into_iter().fold(command, |it, id| it.mut_group(id, |group| group.required(false)));
    command.mut_args(free).mut_subcommands(relaxed).disable_help_subcommand(true)
}
