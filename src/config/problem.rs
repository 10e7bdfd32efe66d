//! What is wrong with a file, and how a user is told: the place, what was expected, the lines.

use std::borrow::Cow;

use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{CroppedRegion, DeserializeError, Location, MessageFormatter, UserMessageFormatter};

use super::{LARGEST, Place};
use crate::error::{Error, Result};
use crate::files::too_large;

/// The most mistakes that are told at once.
const MOST: usize = 20;
/// Characters of the beginning and of the end that are shown of a long message.
const HALF: usize = 300;
/// Characters beside the place that are shown of a long line.
const RADIUS: usize = 60;

/// One mistake.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    location: Location,
    text: String,
    hint: Option<String>,
}

impl Problem {
    /// A mistake at a place.
    pub(super) fn new(location: Location, text: impl Into<String>) -> Self {
        Self { location, text: text.into(), hint: None }
    }

    /// A mistake of the whole file.
    pub(super) fn nowhere(text: impl Into<String>) -> Self {
        Self::new(Location::UNKNOWN, text)
    }

    /// Adds what to do.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The mistake, of what stands at `path`.
    pub(super) fn within(mut self, path: &str) -> Self {
        self.text = format!("{path}: {}", self.text);
        self
    }

    /// What the parser or the schema refused in `text`.
    pub(super) fn from_parser(error: &DeserializeError, text: &str) -> Self {
        use DeserializeError as E;
        let error = innermost(error);
        let problem = |text: String| Self::new(error.location().unwrap_or(Location::UNKNOWN), text);
        match error {
            E::SerdeUnknownField { field, expected, .. } => unknown_key(problem, field, expected),
            E::SerdeUnknownVariant { variant, expected, .. } => unknown_key(problem, variant, expected),
            E::DuplicateMappingKey { key: Some(key), .. } => problem(format!("the key `{key}` is given twice")),
            E::Unexpected { expected: "mapping start", .. } => problem("expected keys and values here".to_owned()),
            E::Unexpected { expected: "sequence start", .. } => problem("expected a list here".to_owned()),
            E::Unexpected { expected: "string scalar", .. } => problem("expected a text here".to_owned()),
            E::NullIntoString { .. } => problem("expected a text here, found nothing".to_owned()),
            E::InvalidScalar { ty, .. } => problem(format!("expected a {ty} here")),
            E::Budget { breach: BudgetBreach::Depth { depth }, .. } => {
                problem(format!("nested too deeply: {depth} levels"))
            }
            E::Budget { .. } => problem("too much: more values than such a file ever has".to_owned())
                .hint("aliases of aliases multiply; write values out, or split the file"),
            other => {
                let message = UserMessageFormatter.format_message(other).into_owned();
                let tab = message.contains("tab") || is_indented_by_tab(text, error.location());
                let problem = problem(message);
                if tab { problem.hint("YAML is indented with blanks, not tabs") } else { problem }
            }
        }
    }

    /// Where it is, if it is somewhere.
    fn place(&self) -> Option<Place> {
        (self.location != Location::UNKNOWN).then(|| self.location.into())
    }
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }
}

/// What was refused in the first place, where it was reached through aliases.
fn innermost(error: &DeserializeError) -> &DeserializeError {
    match error {
        DeserializeError::AliasError { error, .. } | DeserializeError::WithSnippet { error, .. } => innermost(error),
        other => other,
    }
}

fn is_indented_by_tab(text: &str, location: Option<Location>) -> bool {
    let index = location.and_then(|location| usize::try_from(location.line()).ok()?.checked_sub(1));
    let line = index.and_then(|index| text.lines().nth(index)).unwrap_or_default();
    let json = text.trim_start().starts_with('{');
    !json && line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t')
}

fn unknown_key(problem: impl Fn(String) -> Problem, key: &str, known: &[&str]) -> Problem {
    match nearest(key, known) {
        Some(near) => problem(format!("unknown key `{key}`")).hint(format!("did you mean `{near}`?")),
        None => problem(format!("unknown key `{key}`; there are {}", known.join(", "))),
    }
}

/// A text without its middle where that is long: what was found there may be megabytes.
fn brief(text: &str) -> Cow<'_, str> {
    let left_out = text.chars().count().saturating_sub(2 * HALF);
    if left_out == 0 {
        return Cow::Borrowed(text);
    }
    let (first, last): (String, String) =
        (text.chars().take(HALF).collect(), text.chars().skip(HALF + left_out).collect());
    Cow::Owned(format!("{first}… ({left_out} characters) …{last}"))
}

/// The key that was probably meant: the same in another case, or a few letters away.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let length = key.chars().count();
    let longest = known.iter().map(|known| known.len()).max().unwrap_or_default();
    if length > 2 * longest {
        return None; // The distance of a long text takes long to learn, and would be too far.
    }
    let lower = key.to_lowercase();
    let far = (length / 3).max(1);
    let distance = |known: &str| {
        let known = known.to_lowercase();
        // The last part of a path is the key itself, somewhere else.
        let moved = known.rsplit('.').next() == Some(lower.as_str());
        if moved { 0 } else { strsim::damerau_levenshtein(&lower, &known) }
    };
    let best = known.iter().map(|known| (distance(known), *known)).min_by_key(|(distance, _)| *distance);
    best.filter(|(distance, _)| *distance <= far).map(|(_, known)| known)
}

/// A file that is read.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    file: &'a str,
    /// What it should be.
    what: &'a str,
    /// Its contents, without a byte order mark.
    pub(super) text: &'a str,
}

impl<'a> Source<'a> {
    /// Takes a file's bytes.
    ///
    /// # Errors
    /// Where they are too many, or not UTF-8.
    pub(super) fn new(file: &'a str, what: &'a str, bytes: &'a [u8]) -> Result<Self> {
        let refusal = |text: String| Self { file, what, text: "" }.error(&[Problem::nowhere(text)]);
        if bytes.len() > LARGEST {
            return Err(refusal(too_large()).hint("split it, and run irsactl once for each part"));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).matches('\n').count() + 1;
            refusal(format!("it is not UTF-8 text: see line {line}")).hint("save it in the encoding UTF-8")
        })?;
        Ok(Self { file, what, text: text.strip_prefix('\u{feff}').unwrap_or(text) })
    }

    /// The error with all mistakes.
    pub(super) fn error(&self, problems: &[Problem]) -> Box<Error> {
        let mut error = Error::usage(format!("{} is not a valid {}", self.file, self.what));
        error.causes.extend(problems.iter().take(MOST).map(|problem| self.describe(problem)));
        if problems.len() > MOST {
            error.causes.push(format!("{} more mistakes", problems.len() - MOST));
        }
        error.hint = problems.iter().find_map(|problem| problem.hint.clone());
        error
    }

    fn describe(&self, problem: &Problem) -> String {
        match problem.place() {
            Some(place) => {
                format!("{}:{place}: {}\n{}", self.file, brief(&problem.text), self.snippet(problem.location))
            }
            None => brief(&problem.text).into_owned(),
        }
    }

    /// The lines around a place, with a caret below it.
    fn snippet(&self, location: Location) -> String {
        let line = usize::try_from(location.line()).unwrap_or(usize::MAX);
        let first = line.saturating_sub(2).max(1);
        let lines: Vec<&str> = self.text.lines().skip(first - 1).take(line - first + 1).collect();
        let region = CroppedRegion::new(lines.join("\n"), "", first, first + lines.len(), location);
        let error = DeserializeError::Message { msg: String::new(), location };
        let error =
            DeserializeError::WithSnippet { regions: vec![region], crop_radius: RADIUS, error: Box::new(error) };
        let rendered = error.render_with_formatter(&Silent);
        // Before the lines come the message and the file's name, which are told already.
        let lines: Vec<&str> = rendered.lines().skip_while(|line| line.trim() != "|").map(str::trim_end).collect();
        lines.join("\n")
    }
}

/// Leaves the message out of a snippet.
struct Silent;

impl MessageFormatter for Silent {
    fn format_message<'a>(&self, _: &'a DeserializeError) -> Cow<'a, str> {
        Cow::Borrowed("")
    }
}
