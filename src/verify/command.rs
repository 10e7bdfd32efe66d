//! A command line with another value for one of its flags.

use crate::error::shell_word;

/// The words of a command, quoted as they were.
#[derive(Clone, Debug)]
pub(super) struct Command(Vec<String>);

impl Command {
    pub(super) fn new(line: &str) -> Self {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for character in line.trim().chars() {
            quoted ^= character == '\'';
            match words.last_mut() {
                Some(word) if quoted || character != ' ' => word.push(character),
                _ => words.push(String::new()),
            }
        }
        words.retain(|word| !word.is_empty() && word != "--approve");
        Self(words)
    }

    /// Takes a flag off, with its value, wherever it stands.
    pub(super) fn without(mut self, flag: &str) -> Self {
        let assigned = format!("{flag}=");
        let mut words = std::mem::take(&mut self.0).into_iter().peekable();
        while let Some(word) = words.next() {
            if word == flag {
                words.next_if(|value| !value.starts_with("--"));
            } else if !word.starts_with(&assigned) {
                self.0.push(word);
            }
        }
        self
    }

    /// Takes an argument of ExternalDNS off.
    pub(super) fn without_extra(mut self, flag: &str) -> Self {
        let extra = format!("--extra-arg=--{flag}");
        self.0.retain(|word| {
            let word = word.replace('\'', "");
            !word.strip_prefix(&extra).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        });
        self
    }

    pub(super) fn switch(mut self, flag: &str) -> Self {
        self.0.push(shell_word(flag));
        self
    }

    pub(super) fn with(self, flag: &str, value: &str) -> Self {
        self.switch(flag).switch(value)
    }

    /// The flag with these values and no others.
    pub(super) fn set<'v>(self, flag: &str, values: impl IntoIterator<Item = &'v str>) -> Self {
        values.into_iter().fold(self.without(flag), |command, value| command.with(flag, value))
    }

    /// The command, which changes something.
    pub(super) fn approved(self) -> String {
        self.switch("--approve").0.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flag_changes_and_the_rest_stays() {
        let line = "irsactl install external-dns --cluster c1 --domain-filter a.com --domain-filter=b.com \
                    --label-filter 'x in (a, b)' --extra-arg=--namespace=web --least-privilege --approve";
        let start = "irsactl install external-dns --cluster c1";
        let rest = "--label-filter 'x in (a, b)' --extra-arg=--namespace=web --least-privilege";
        let corrected = Command::new(line).set("--domain-filter", ["c.com"]).approved();
        assert_eq!(corrected, format!("{start} {rest} --domain-filter c.com --approve"));
        let without =
            Command::new(line).without_extra("namespace").without("--least-privilege").without("--domain-filter");
        assert_eq!(without.approved(), format!("{start} --label-filter 'x in (a, b)' --approve"));
    }
}
