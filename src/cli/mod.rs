//! The grammar of the command line: clap structs and the checks of single values, nothing else.

pub mod dnsrecords;
pub mod externaldns;
pub mod iamserviceaccount;
pub mod operator;
pub mod policy;
pub mod render;
pub mod shared;
mod values;
pub mod verify;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// IAM roles for Kubernetes service accounts on Amazon EKS, and ExternalDNS end to end
#[derive(Parser, Clone, Debug)]
#[command(name = "irsactl", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "\
Commands that change something print their plan and stop; --approve carries it out.

Examples:
  irsactl install external-dns --cluster eksdemo1 --domain-filter example.com --approve
  irsactl get iamserviceaccount --cluster eksdemo1")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub global: shared::Global,
}

/// What to do.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Create a policy or an iamserviceaccount
    #[command(subcommand, arg_required_else_help = true)]
    Create(Create),
    /// List iamserviceaccounts or DNS records
    #[command(subcommand, arg_required_else_help = true)]
    Get(Get),
    /// Change an iamserviceaccount
    #[command(subcommand, arg_required_else_help = true)]
    Update(Update),
    /// Delete an iamserviceaccount
    #[command(subcommand, arg_required_else_help = true)]
    Delete(Delete),
    /// Install ExternalDNS
    #[command(subcommand, arg_required_else_help = true)]
    Install(Install),
    /// Uninstall ExternalDNS
    #[command(subcommand, arg_required_else_help = true)]
    Uninstall(Uninstall),
    /// Prove that it works, or name the broken link
    #[command(subcommand, arg_required_else_help = true)]
    Verify(Verify),
    /// Print what would be sent
    #[command(subcommand, arg_required_else_help = true)]
    Render(render::Render),
    /// Single steps
    #[command(subcommand, arg_required_else_help = true)]
    Utils(Utils),
    /// Print the completion script of a shell
    Completion(Completion),
    /// Print the version
    Version,
}

/// `create …`
#[derive(Subcommand, Clone, Debug)]
pub enum Create {
    Policy(policy::Create),
    #[command(visible_alias = "iamserviceaccounts")]
    Iamserviceaccount(iamserviceaccount::Create),
}

/// `get …`
#[derive(Subcommand, Clone, Debug)]
pub enum Get {
    #[command(visible_alias = "iamserviceaccounts")]
    Iamserviceaccount(iamserviceaccount::Get),
    #[command(visible_alias = "dnsrecord")]
    Dnsrecords(dnsrecords::Get),
}

/// `update …`
#[derive(Subcommand, Clone, Debug)]
pub enum Update {
    #[command(visible_alias = "iamserviceaccounts")]
    Iamserviceaccount(iamserviceaccount::Update),
}

/// `delete …`
#[derive(Subcommand, Clone, Debug)]
pub enum Delete {
    #[command(visible_alias = "iamserviceaccounts")]
    Iamserviceaccount(iamserviceaccount::Delete),
}

/// `install …`
#[derive(Subcommand, Clone, Debug)]
pub enum Install {
    ExternalDns(Box<externaldns::Install>),
}

/// `uninstall …`
#[derive(Subcommand, Clone, Debug)]
pub enum Uninstall {
    ExternalDns(externaldns::Uninstall),
}

/// `verify …`
#[derive(Subcommand, Clone, Debug)]
pub enum Verify {
    ExternalDns(verify::ExternalDns),
    #[command(visible_alias = "iamserviceaccounts")]
    Iamserviceaccount(verify::Iamserviceaccount),
}

/// `utils …`
#[derive(Subcommand, Clone, Debug)]
pub enum Utils {
    AssociateIamOidcProvider(policy::AssociateOidcProvider),
}

/// Prints the completion script of a shell.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  irsactl completion bash > /etc/bash_completion.d/irsactl
  irsactl completion zsh > \"${fpath[1]}/_irsactl\"")]
pub struct Completion {
    /// Shell
    pub shell: Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn refusal(line: &str) -> String {
        Cli::try_parse_from(line.split_whitespace()).unwrap_err().to_string()
    }

    fn accepted(line: &str) {
        Cli::try_parse_from(line.split_whitespace()).unwrap();
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    const POLICY: &str = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";

    #[test]
    fn f1_f3_flags_are_accepted() {
        accepted(&format!("irsactl create iamserviceaccount --cluster c --name sa --attach-policy-arn {POLICY}"));
        accepted(&format!(
            "irsactl create iamserviceaccount --cluster c sa --attach-policy-arn {POLICY} --subject-pattern app-*"
        ));
    }

    #[test]
    fn f4_cluster_is_required() {
        let said = refusal(&format!("irsactl create iamserviceaccount --name sa --attach-policy-arn {POLICY}"));
        assert!(said.contains("--cluster"), "{said}");
        assert!(refusal("irsactl get iamserviceaccount").contains("--cluster"));
    }

    #[test]
    fn f5_name_is_given_once() {
        let said =
            refusal(&format!("irsactl create iamserviceaccount --cluster c --name sa sa --attach-policy-arn {POLICY}"));
        assert!(said.contains("--name") && said.contains("cannot be used"), "{said}");
    }

    #[test]
    fn f6_permissions_are_required() {
        let said = refusal("irsactl create iamserviceaccount --cluster c sa");
        assert!(said.contains("--attach-policy-arn") && said.contains("--attach-role-arn"), "{said}");
    }

    #[test]
    fn f7_f9_a_foreign_role_excludes_what_shapes_ours() {
        let role = "--attach-role-arn arn:aws:iam::111122223333:role/r";
        for flags in ["--role-name foo", "--role-only", &format!("--attach-policy-arn {POLICY}")] {
            let said = refusal(&format!("irsactl create iamserviceaccount --cluster c sa {role} {flags}"));
            assert!(said.contains("cannot be used with"), "{said}");
        }
    }

    #[test]
    fn f18_delete_takes_approve() {
        accepted("irsactl delete iamserviceaccount --cluster c --name n --approve");
        accepted("irsactl delete iamserviceaccount --cluster c --name n --approve=false --wait=false");
    }

    #[test]
    fn f19_formats_are_listed() {
        let said = refusal("irsactl get iamserviceaccount --cluster c -o foo");
        assert!(["yaml", "json", "table"].iter().all(|format| said.contains(format)), "{said}");
    }
}
