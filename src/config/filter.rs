//! `--include` and `--exclude`: which of many service accounts a command is about (eksctl
//! behaviour).

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Error, Result};

/// Globs over identities, `NAMESPACE/NAME`. `*` matches `/`, too. What is both included and
/// excluded is excluded; where nothing is included by name, everything is.
#[derive(Clone, Debug)]
pub struct Filter {
    included: Vec<String>,
    include: GlobSet,
    exclude: GlobSet,
}

impl Filter {
    /// From the values of the flags.
    ///
    /// # Errors
    /// `Usage`, with the glob that can't be understood.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self> {
        let included = include.to_vec();
        Ok(Self { included, include: globs("--include", include)?, exclude: globs("--exclude", exclude)? })
    }

    /// True if the service account is wanted.
    pub fn matches(&self, identity: &str) -> bool {
        let included = self.include.is_empty() || self.include.is_match(identity);
        included && !self.exclude.is_match(identity)
    }

    /// Parts things into those that are wanted and those that aren't.
    ///
    /// # Errors
    /// `Usage` where globs include, and none of the things matches one: that is a slip of the pen.
    pub fn part<T>(&self, things: Vec<T>, identity: impl Fn(&T) -> String) -> Result<(Vec<T>, Vec<T>)> {
        if !self.include.is_empty() && !things.iter().any(|thing| self.include.is_match(identity(thing))) {
            let globs = self.included.join(",");
            let error =
                Error::usage(format!("no iamserviceaccounts match include glob filter specification: \"{globs}\""));
            return Err(error.hint(choice(&things.iter().map(identity).collect::<Vec<_>>())));
        }
        Ok(things.into_iter().partition(|thing| self.matches(&identity(thing))))
    }
}

fn choice(identities: &[String]) -> String {
    const SHOWN: usize = 10;
    match identities {
        [] => "there are no service accounts to choose from".to_owned(),
        all if all.len() <= SHOWN => format!("there are {}", all.join(", ")),
        all => format!("there are {} and {} more", all[..SHOWN].join(", "), all.len() - SHOWN),
    }
}

/// A namespace and a name have 317 characters; sets of characters take more. Longer ones take long to be understood.
const LONGEST: usize = 1024;

fn globs(flag: &str, patterns: &[String]) -> Result<GlobSet> {
    let refusal = |problem: globset::Error| Error::usage(format!("{flag}: {problem}"));
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        if pattern.len() > LONGEST {
            return Err(Error::usage(format!(
                "{flag}: a glob of {} characters matches no NAMESPACE/NAME",
                pattern.len()
            )));
        }
        set.add(GlobBuilder::new(pattern).literal_separator(false).backslash_escape(true).build().map_err(refusal)?);
    }
    set.build().map_err(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: [&str; 9] = ["a1", "a2", "b1", "b2", "banana", "apple", "pineapple", "strawberry", "raspberry"];

    fn part(names: &[&str], include: &[&str], exclude: &[&str]) -> Result<Vec<String>> {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (included, excluded) = Filter::new(&owned(include), &owned(exclude))?.part(owned(names), Clone::clone)?;
        assert_eq!(included.len() + excluded.len(), names.len());
        Ok(included)
    }

    #[test]
    fn g1_to_g4_include_and_exclude() {
        assert_eq!(part(&X, &[], &[]).unwrap(), X);
        assert_eq!(part(&X, &["banana", "*apple", "*berry"], &[]).unwrap(), X[4..]);
        assert_eq!(part(&X, &[], &["banana", "*apple", "*berry"]).unwrap(), X[..4]);
        let included = part(&X, &["raspberry", "a?", "b?"], &["*apple", "*berry"]).unwrap();
        assert_eq!(included, X[..4], "exclude wins over an include by name, too");
    }

    #[test]
    fn g8_an_include_that_matches_nothing_is_an_error() {
        let error = part(&X, &["t?xyz?", "ab*z123?"], &[]).unwrap_err();
        assert!(error.message.ends_with("filter specification: \"t?xyz?,ab*z123?\""), "{error}");
        assert_eq!((error.code.exit_code(), error.hint.unwrap()), (2, format!("there are {}", X.join(", "))));
        assert_eq!(part(&X, &["zzz", "a1"], &["no-such"]).unwrap(), ["a1"]);
        assert_eq!(part(&X, &["a1"], &["a*"]).unwrap(), [""; 0]);
        assert!(part(&[], &["*"], &[]).is_err());
    }

    #[test]
    fn globs_cross_slashes() {
        let names = ["kube-system/aws-node", "web/a", "web/b", "web-2/a"];
        assert_eq!(part(&names, &["*a"], &[]).unwrap(), ["web/a", "web-2/a"]);
        assert_eq!(part(&names, &["kube*"], &[]).unwrap(), names[..1]);
        assert_eq!(part(&names, &["web/{a,b}"], &[]).unwrap(), names[1..3]);
        assert_eq!(part(&names, &["web?[!b]"], &[]).unwrap(), ["web/a"]);
        assert_eq!(part(&names, &["web"], &[]).unwrap_err().hint.unwrap().matches("web").count(), 3);
    }

    #[test]
    fn a_glob_that_is_none_is_refused() {
        let error = part(&X, &["a[b"], &[]).unwrap_err();
        assert!(error.message.starts_with("--include: ") && error.message.contains("a[b"), "{error}");
    }
}
