//! Commands for a POSIX shell, as hints have them. What others wrote (names, ARNs, annotations) is a word of its own,
//! quoted where the shell would make something else of it.

use std::fmt;

/// A word as the shell reads it.
pub fn word(text: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_=+:,./@%".contains(c);
    if !text.is_empty() && text.chars().all(harmless) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A flag with its value.
pub fn option(flag: &str, value: &str) -> String {
    format!("{flag} {}", word(value))
}

/// The words of a command, as the shell reads them.
#[derive(Clone, Debug)]
pub struct Command(Vec<String>);

impl Command {
    /// A command whose words are quoted where they have to be; `--approve` is left to [`approved`](Self::approved).
    pub fn new(line: &str) -> Self {
        let mut words = vec![String::new()];
        let (mut quoted, mut escaped) = (false, false);
        for character in line.trim().chars() {
            quoted ^= character == '\'' && !escaped;
            escaped = character == '\\' && !quoted;
            match words.last_mut() {
                Some(word) if quoted || character != ' ' => word.push(character),
                _ => words.push(String::new()),
            }
        }
        words.retain(|word| !word.is_empty() && word != "--approve");
        Self(words)
    }

    /// Takes a flag off, with its value, wherever it stands.
    #[must_use]
    pub fn without(mut self, flag: &str) -> Self {
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
    #[must_use]
    pub fn without_extra(mut self, flag: &str) -> Self {
        let extra = format!("--extra-arg=--{flag}");
        self.0.retain(|word| {
            let word = word.replace('\'', "");
            !word.strip_prefix(&extra).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        });
        self
    }

    /// One more word.
    #[must_use]
    pub fn word(mut self, text: &str) -> Self {
        self.0.push(word(text));
        self
    }

    /// One more flag with its value.
    #[must_use]
    pub fn with(self, flag: &str, value: &str) -> Self {
        self.word(flag).word(value)
    }

    /// The flag with these values and no others.
    #[must_use]
    pub fn set<'v>(self, flag: &str, values: impl IntoIterator<Item = &'v str>) -> Self {
        values.into_iter().fold(self.without(flag), |command, value| command.with(flag, value))
    }

    /// The command, which changes something.
    pub fn approved(self) -> String {
        self.word("--approve").into()
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl From<Command> for String {
    fn from(command: Command) -> Self {
        command.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_words_stay_whole() {
        let values = ["it's --approve  or 'not'", "", "a\\", "$(x); y\nz", "'"];
        let command = values.iter().fold(Command::new("aws"), |command, value| command.with("--x", value));
        let line = command.to_string();
        assert_eq!(Command::new(&line).to_string(), line);
        assert_eq!(Command::new(&line).without("--x").to_string(), "aws");
        assert!(line.starts_with("aws --x 'it'\\''s --approve  or "), "{line}");
    }

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
