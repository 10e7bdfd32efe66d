//! Which cluster a command is about, and which of its service accounts: by flags, or by a ClusterConfig.

use std::path::Path;

use crate::cli::shared;
use crate::config::filter::Filter;
use crate::config::{self, ClusterConfig, Entry};
use crate::error::{Error, Result};
use crate::files;
use crate::iam::arn::{Partition, role_arn};
use crate::plan::Cfn;

/// What a command is about.
pub(super) struct Target {
    /// The cluster.
    pub(super) cluster: String,
    /// The account and region.
    pub(super) aws: shared::Aws,
    /// The file, where one is given.
    pub(super) config: Option<ClusterConfig>,
}

impl Target {
    /// The service accounts that the file names and the globs let through, or the one of the flags.
    ///
    /// # Errors
    /// `Usage` for a file without a list of them, for globs that match nothing, and for a name that is too long.
    pub(super) fn entries(
        &self,
        selection: &shared::Selection,
        of_flags: impl FnOnce() -> Result<Entry>,
    ) -> Result<Vec<Entry>> {
        let Some(config) = &self.config else {
            let entry = of_flags()?;
            entry.check_owner().map_err(Error::usage)?;
            return Ok(vec![entry]);
        };
        let filter = Filter::new(&selection.include, &selection.exclude)?;
        Ok(filter.part(config.entries()?.to_vec(), Entry::identity)?.0)
    }

    /// Where an entry of the file stands, for messages; none where flags say it.
    pub(super) fn place(&self, entry: &Entry) -> Option<String> {
        let config = self.config.as_ref()?;
        let index = config.service_accounts.iter().flatten().position(|other| other.place == entry.place)?;
        Some(format!("{}:{}: iam.serviceAccounts[{index}] ({})", config.file, entry.place, entry.identity()))
    }
}

/// Reads the target. `beside` names flags that a file makes meaningless, and says whether they were given.
///
/// # Errors
/// `Usage` for such a flag, and for a file that doesn't hold.
pub(super) fn read(target: &shared::Target, aws: &shared::Aws, beside: &[(&str, bool)]) -> Result<Target> {
    let Some(file) = &target.config_file else {
        let cluster = target.cluster.clone().ok_or_else(|| Error::usage("--cluster must be set"))?;
        return Ok(Target { cluster, aws: aws.clone(), config: None });
    };
    let always = [("--cluster", target.cluster.is_some()), ("--region", aws.region.is_some())];
    if let Some((flag, _)) = always.iter().chain(beside).find(|(_, given)| *given) {
        return Err(Error::usage(format!("{flag} can't be used with --config-file"))
            .hint("the file says it: change it there, or leave one of the two out"));
    }
    let config = config::read(&name(file), contents("--config-file", file)?)?;
    let aws = shared::Aws { region: Some(config.region.clone()), profile: aws.profile.clone() };
    Ok(Target { cluster: config.name.clone(), aws, config: Some(config) })
}

/// How CloudFormation is to work; `role/NAME` is a role of this account.
///
/// # Errors
/// `Usage` for a role of another partition.
pub(super) fn cfn(args: &shared::Cfn, partition: &Partition, account: &str) -> Result<Cfn> {
    let complete = |role: &String| role_arn(role, partition, account).map_err(Error::usage);
    let role_arn = args.cfn_role_arn.as_ref().map(complete).transpose()?;
    Ok(Cfn { role_arn, disable_rollback: args.cfn_disable_rollback })
}

/// The file's name, for messages.
pub(super) fn name(file: &Path) -> String {
    if file == Path::new("-") { "stdin".to_owned() } else { file.display().to_string() }
}

/// The file that `flag` names, read no further than one that is refused for its size.
pub(super) fn contents(flag: &str, file: &Path) -> Result<Vec<u8>> {
    let unreadable =
        |e| Error::usage(format!("{flag} {}: {e}", name(file))).hint("give the path of a file, or - for stdin");
    files::beginning(file).map_err(unreadable)
}
