//! The one door to the terminal: stdout carries the product, stderr the narration.

pub mod age;
pub mod plan;
mod progress;
pub mod report;
pub mod table;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::error::{Error, ErrorCode, Result};

pub use progress::Task;

/// How the product is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For people, with more columns.
    Wide,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

impl Output {
    /// True where a program reads.
    pub fn is_document(self) -> bool {
        matches!(self, Self::Json | Self::Yaml)
    }
}

/// Success, for finished things.
pub const GREEN: Style = AnsiColor::Green.on_default();
/// Changes.
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
/// Errors and deletions.
pub const RED: Style = AnsiColor::Red.on_default().bold();
/// Hints and commands.
pub const CYAN: Style = AnsiColor::Cyan.on_default();
/// What is of less interest.
pub const DIM: Style = Style::new().dimmed();

/// Text in a style; colours that the stream doesn't take are stripped when it is written.
pub fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Text from AWS or Kubernetes, with what a terminal would obey made visible: control characters, and those that turn
/// the direction of text.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmless(c) { cleaned.push(c) } else { cleaned.extend(c.escape_unicode()) }
    }
    cleaned
}

fn is_harmless(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c == '\n' || c == '\t' || !(c.is_control() || turns)
}

/// The last door before a terminal: of control sequences, only colours come through.
fn only_colours(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let mut out = clean(parts.next().unwrap_or_default());
    for part in parts {
        let parameters = part.strip_prefix('[').and_then(|rest| rest.split_once('m'));
        match parameters.filter(|(numbers, _)| numbers.bytes().all(|b| b.is_ascii_digit() || b == b';')) {
            Some((numbers, rest)) => out += &format!("\u{1b}[{numbers}m{}", clean(rest)),
            None => out += &clean(&format!("\u{1b}{part}")),
        }
    }
    out
}

/// The log's way to stderr: a line an event, and of control sequences only colours, whatever the event quotes.
pub struct LogLines;

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = log_line(&String::from_utf8_lossy(line));
        io::stderr().lock().write_all(text.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log_line(event: &str) -> String {
    let line = event.strip_suffix('\n').unwrap_or(event);
    only_colours(line).replace('\n', "\\n") + "\n"
}

/// What a command prints through.
#[derive(Clone)]
pub struct Ui {
    output: Output,
    quiet: bool,
    silent: bool,
    progress: progress::Progress,
}

impl Ui {
    /// A door for `output`; `quiet` keeps narration (not warnings and errors) back, `verbose` turns progress bars into
    /// plain lines, since the log would break them. Where a program reads, stderr is for it, too: without `verbose`,
    /// there is no narration beside the error's document.
    pub fn new(output: Output, quiet: bool, verbose: bool) -> Self {
        let silent = quiet || (output.is_document() && !verbose);
        let bars = io::stderr().is_terminal() && !silent && !verbose;
        Self { output, quiet, silent, progress: progress::Progress::new(bars) }
    }

    /// The format of the product.
    pub fn output(&self) -> Output {
        self.output
    }

    /// Prints text of the product, for people.
    ///
    /// # Errors
    /// Where stdout can't be written.
    pub fn print(&self, text: &str) -> Result<()> {
        self.progress
            .suspend(|| write_all(&mut AutoStream::auto(io::stdout().lock()), &only_colours(text)))
            .map_err(|e| write_error(&e))
    }

    /// Prints text of the product for programs: as it is.
    ///
    /// # Errors
    /// Where stdout can't be written.
    pub fn print_raw(&self, text: &str) -> Result<()> {
        self.progress.suspend(|| write_all(&mut io::stdout().lock(), text)).map_err(|e| write_error(&e))
    }

    /// Prints the product as a document, in JSON or YAML as asked for (JSON where a person's format is).
    ///
    /// # Errors
    /// Where stdout can't be written.
    pub fn document(&self, value: &impl Serialize) -> Result<()> {
        let text = if self.output == Output::Yaml { to_yaml(value)? } else { to_json(value)? };
        self.print_raw(&text)
    }

    /// Begins a document that is one list under `key`, and prints it item by item.
    pub fn list(&self, key: &'static str) -> List<'_> {
        List { ui: self, key, empty: true }
    }

    /// Narrates, on stderr.
    pub fn say(&self, text: &str) {
        if !self.silent {
            self.to_stderr(text);
        }
    }

    /// Says what people should know and a document has no place for, on stderr.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.to_stderr(&format!("note: {}", clean(text)));
        }
    }

    /// Warns, on stderr, also when quiet.
    pub fn warn(&self, text: &str) {
        self.to_stderr(&format!("{} {}", paint(YELLOW.bold(), "warning:"), clean(text)));
    }

    /// Says what went wrong, on stderr.
    pub fn error(&self, error: &Error) {
        match self.output {
            Output::Json | Output::Yaml => self.error_document(error),
            Output::Table | Output::Wide => self.to_stderr(error_text(error).trim_end()),
        }
    }

    fn error_document(&self, error: &Error) {
        let document = ErrorDocument { error: error.into() };
        let text = if self.output == Output::Yaml { to_yaml(&document) } else { to_json(&document) };
        if let Ok(text) = text {
            let _ = write_all(&mut io::stderr().lock(), &text);
        }
    }

    /// Begins something that takes time: a spinner on a terminal, a plain line elsewhere.
    pub fn task(&self, what: &str) -> Task {
        let what = clean(what);
        if !self.silent && !self.progress.has_bars() {
            self.to_stderr(&what);
        }
        self.progress.task(&what)
    }

    fn to_stderr(&self, text: &str) {
        // Nobody is left to be told when stderr itself is closed.
        let text = only_colours(text) + "\n";
        let _ = self.progress.suspend(|| write_all(&mut AutoStream::auto(io::stderr().lock()), &text));
    }
}

/// A document that is one list, `{"key": […]}`, of which one item at a time is in memory.
pub struct List<'u> {
    ui: &'u Ui,
    key: &'static str,
    empty: bool,
}

impl List<'_> {
    /// Prints the next item.
    ///
    /// # Errors
    /// Where stdout can't be written.
    pub fn item(&mut self, value: &impl Serialize) -> Result<()> {
        let text = if self.ui.output == Output::Yaml {
            let key = if self.empty { format!("{}:\n", self.key) } else { String::new() };
            key + &yaml_item(value)?
        } else {
            let before = if self.empty { format!("{{\n  \"{}\": [\n    ", self.key) } else { ",\n    ".to_owned() };
            // No line end is inside of a JSON string.
            before + &to_json(value)?.trim_end().replace('\n', "\n    ")
        };
        self.empty = false;
        self.ui.print_raw(&text)
    }

    /// Prints the end.
    ///
    /// # Errors
    /// Where stdout can't be written.
    pub fn end(self) -> Result<()> {
        match (self.ui.output, self.empty) {
            (Output::Yaml, true) => self.ui.print_raw(&format!("{}: []\n", self.key)),
            (Output::Yaml, false) => Ok(()),
            (_, true) => self.ui.print_raw(&format!("{{\n  \"{}\": []\n}}\n", self.key)),
            (_, false) => self.ui.print_raw("\n  ]\n}\n"),
        }
    }
}

fn write_all(stream: &mut impl Write, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

/// A reader that went away (`irsactl … | head`) ends the program quietly: see [`is_broken_pipe`] and [`unless_closed`].
const BROKEN_PIPE: &str = "stdout was closed";

fn write_error(error: &io::Error) -> Box<Error> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Error::new(ErrorCode::Io, BROKEN_PIPE);
    }
    Error::new(ErrorCode::Io, "can't write to stdout").cause(error.to_string())
}

/// True for the error of a pipe whose reader is gone.
pub fn is_broken_pipe(error: &Error) -> bool {
    error.code == ErrorCode::Io && error.message == BROKEN_PIPE
}

/// What printing came to, where a reader that went away (`irsactl … | grep -q`) changes neither what is done nor the exit
/// code.
///
/// # Errors
/// Where stdout can't be written for another reason.
pub fn unless_closed(printed: Result<()>) -> Result<()> {
    match printed {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        printed => printed,
    }
}

/// Pretty JSON with a line end. What terminals obey and JSON may hold as it is (DEL, C1, turns of direction) is escaped
/// like the other control characters.
///
/// # Errors
/// `Internal` where the value can't be serialised.
pub fn to_json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::new(ErrorCode::Internal, e.to_string()))?;
    let mut escaped = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match c {
            _ if !is_harmless(c) => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            _ => escaped.push(c),
        }
    }
    Ok(escaped + "\n")
}

/// YAML with a line end. JSON, which is YAML and has an escape for everything, where there is something that terminals
/// obey and YAML's writer leaves as it is.
///
/// # Errors
/// `Internal` where the value can't be serialised.
pub fn to_yaml(value: &impl Serialize) -> Result<String> {
    let text = serde_saphyr::to_string(value).map_err(|e| Error::new(ErrorCode::Internal, e.to_string()))?;
    if !text.chars().all(is_harmless) {
        return to_json(value);
    }
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

/// YAML of one item of a list.
fn yaml_item(value: &impl Serialize) -> Result<String> {
    let text = to_yaml(value)?;
    Ok(format!("- {}\n", text.strip_suffix('\n').unwrap_or(&text).replace('\n', "\n  ")))
}

#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: ErrorFields<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorFields<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    causes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl<'a> From<&'a Error> for ErrorFields<'a> {
    fn from(error: &'a Error) -> Self {
        Self {
            code: error.code.as_str(),
            message: &error.message,
            causes: &error.causes,
            hint: error.hint.as_deref(),
            request_id: error.request_id.as_deref(),
        }
    }
}

/// An error for people: what, why, what next.
fn error_text(error: &Error) -> String {
    let mut text = format!("{} {}\n", paint(RED, "error:"), clean(&error.message));
    for cause in &error.causes {
        let cause = clean(cause).replace('\n', "\n  ");
        text += &format!("  {} {cause}\n", paint(DIM, "because:"));
    }
    if let Some(id) = &error.request_id {
        text += &format!("  {} {}\n", paint(DIM, "request id:"), clean(id));
    }
    if let Some(hint) = &error.hint {
        text += &format!("{} {}\n", paint(CYAN, "hint:"), clean(hint));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_made_visible() {
        assert_eq!(clean("a\u{1b}[31mred\r\n\tb\u{202e}"), "a\\u{1b}[31mred\\u{d}\n\tb\\u{202e}");
    }

    #[test]
    fn only_colours_reach_the_terminal() {
        for text in [paint(RED, "ü"), paint(RED.bold(), "a\n\tb") + "c", "plain".to_owned()] {
            assert_eq!(only_colours(&text), text);
        }
        for (text, shown) in [
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("\u{1b}[2Jm", "\\u{1b}[2Jm"),
            ("a\u{1b}", "a\\u{1b}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{1b}[1m\u{1b}[?25l\r", "\u{1b}[1m\\u{1b}[?25l\\u{d}"),
        ] {
            assert_eq!(only_colours(text), shown);
        }
    }

    #[test]
    fn a_log_line_stays_one() {
        let event = format!("{} a\nb\rc\u{202e}\n", paint(DIM, "INFO"));
        assert_eq!(log_line(&event), format!("{} a\\nb\\u{{d}}c\\u{{202e}}\n", paint(DIM, "INFO")));
    }

    #[test]
    fn documents_hold_no_control_characters() {
        let text = "\u{1b}[31m \u{7f} \u{9b}1m ü\r\u{7} \u{202e}\u{2066}";
        for document in [to_json(&[text]).unwrap(), to_yaml(&[text]).unwrap()] {
            assert!(document.chars().all(is_harmless), "{document:?}");
            let read: Vec<String> = serde_saphyr::from_str(&document).unwrap();
            assert_eq!(read, [text]);
        }
    }

    #[test]
    fn items_of_a_list_are_read_back() {
        let item = |text: &str| serde_json::json!({"a": text, "b": [{"c": [text, text]}, {}], "d": []});
        let long = "long ".repeat(40);
        let texts = ["plain", "turned\u{202e}", "a\n\n  b\n\n", "  a\nb", long.trim(), "\u{7}", "- a"];
        let list: String = texts.iter().map(|text| yaml_item(&item(text)).unwrap()).collect();
        let read: serde_json::Value = serde_saphyr::from_str(&format!("key:\n{list}")).unwrap();
        assert_eq!(read["key"], serde_json::json!(texts.map(item)), "{list}");
        assert_eq!(yaml_item(&item("x")).unwrap(), to_yaml(&[item("x")]).unwrap());
    }

    #[test]
    fn an_error_says_what_why_and_what_next() {
        let error = Error::new(ErrorCode::AccessDenied, "can't read the policy")
            .cause("AccessDenied: no")
            .hint("irsactl version")
            .request_id(Some("r-1"));
        let text = anstream::adapter::strip_str(&error_text(&error)).to_string();
        assert_eq!(
            text,
            "error: can't read the policy\n  because: AccessDenied: no\n  request id: r-1\nhint: irsactl version\n"
        );
    }
}
