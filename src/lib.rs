//! irsactl: IAM roles for Kubernetes service accounts on Amazon EKS, and ExternalDNS end to end.
//!
//! The way through the program: command line (`cli`) → reading AWS and Kubernetes (`observe`) → what to
//! do, as data (`plan`) → shown, or carried out (`plan::execute`). `commands` has one function per verb and noun.

#![forbid(unsafe_code)]

pub mod aws;
pub mod cli;
mod commands;
pub mod config;
mod context;
pub mod error;
pub mod externaldns;
mod files;
pub mod iam;
pub mod inventory;
pub mod k8s;
pub mod names;
mod observe;
pub mod operator;
pub mod plan;
pub mod shell;
pub mod stack;
pub mod ui;
pub mod verify;
pub mod wait;

use std::ffi::OsString;
use std::time::Duration;

use clap::{ColorChoice, CommandFactory, FromArgMatches};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use cli::{Cli, Command};
use context::Context;
use error::{Error, ErrorCode, Result};
use ui::{Output, Ui};
use wait::Wait;

/// The version of irsactl.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long threads that are blocked may hold up the end.
const FAREWELL: Duration = Duration::from_millis(500);

/// Where a command has no `--timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(5);

/// The whole program; gives the exit code.
pub fn main() -> u8 {
    std::panic::set_hook(Box::new(tell_of_panic));
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match parse(&arguments) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    start_log(cli.global.verbose);
    let output = cli.global.output.unwrap_or_default();
    let ui = Ui::new(output, cli.global.quiet, cli.global.verbose > 0);
    match start(&cli, &ui, &arguments) {
        Ok(exit) => exit.code(),
        Err(error) if ui::is_broken_pipe(&error) => 0,
        Err(error) => {
            ui.error(&error);
            error.code.exit_code()
        }
    }
}

/// A mistake of ours. Only what the source says is told: a formatted message may hold what was at hand, secrets too.
fn tell_of_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
    let message = panic.payload().downcast_ref::<&str>().copied().unwrap_or("it can't go on");
    let error = Error::new(ErrorCode::Internal, format!("a mistake in irsactl{place}: {message}"));
    Ui::new(Output::Table, false, false).error(&error.hint("run the same command again, and report it if it repeats"));
}

/// What a command that succeeded ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or nothing to do.
    Success,
    /// An unapproved plan has changes, and `--detailed-exitcode` was given.
    Changes,
    /// `verify` found a broken link.
    Broken,
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Changes => 3,
            Self::Broken => 4,
        }
    }
}

fn parse(arguments: &[OsString]) -> std::result::Result<Cli, u8> {
    let color = color_of(arguments);
    color.write_global();
    let choice = match color {
        anstream::ColorChoice::Always | anstream::ColorChoice::AlwaysAnsi => ColorChoice::Always,
        anstream::ColorChoice::Never => ColorChoice::Never,
        anstream::ColorChoice::Auto => ColorChoice::Auto,
    };
    let matches = Cli::command().color(choice).try_get_matches_from(arguments);
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| refuse(&error, arguments))
}

/// The colours of usage errors and help are decided before the command line is understood.
fn color_of(arguments: &[OsString]) -> anstream::ColorChoice {
    match value_of(arguments, &["--color"]).as_deref() {
        Some("always") => anstream::ColorChoice::Always,
        Some("never") => anstream::ColorChoice::Never,
        _ => anstream::ColorChoice::Auto,
    }
}

/// The last value of a flag on a command line that may not hold.
fn value_of(arguments: &[OsString], flags: &[&str]) -> Option<String> {
    let words: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    let mut found = None;
    for (index, word) in words.iter().enumerate() {
        for flag in flags {
            match word.strip_prefix(flag) {
                Some("") => found = words.get(index + 1).map(ToString::to_string).or(found),
                Some(value) => {
                    let inline = if flag.starts_with("--") {
                        value.strip_prefix('=')
                    } else {
                        Some(value.trim_start_matches('='))
                    };
                    found = inline.map(str::to_owned).or(found);
                }
                None => {}
            }
        }
    }
    found
}

fn refuse(error: &clap::Error, arguments: &[OsString]) -> u8 {
    if !error.use_stderr() {
        // A reader that went away has seen enough of the help.
        let _ = error.print();
        return 0;
    }
    let output = match value_of(arguments, &["--output", "-o"]).as_deref() {
        Some("json") => Output::Json,
        Some("yaml") => Output::Yaml,
        _ => {
            let _ = error.print();
            return ErrorCode::Usage.exit_code();
        }
    };
    let rendered = error.render().to_string();
    let message = rendered.trim().trim_start_matches("error: ");
    let (message, rest) = message.split_once("\n\n").unwrap_or((message, ""));
    let mut usage = Error::usage(message);
    if !rest.trim().is_empty() {
        usage = usage.hint(rest.trim());
    }
    Ui::new(output, false, false).error(&usage);
    ErrorCode::Usage.exit_code()
}

/// Only what irsactl itself says at `-v`; the SDKs' own logs come with `-vv`, never at a level that shows requests.
fn start_log(verbose: u8) {
    use tracing::Level;
    let irsactl = if verbose > 1 { Level::TRACE } else { Level::DEBUG };
    let sdk = if verbose > 2 { Level::DEBUG } else { Level::INFO };
    let mut filter = Targets::new().with_target("irsactl", irsactl);
    match verbose {
        0 => return,
        1 => {}
        _ => filter = filter.with_targets([("kube_client", sdk), ("aws_config", sdk)]),
    }
    let ansi = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let lines = tracing_subscriber::fmt::layer().with_writer(|| ui::LogLines).with_ansi(ansi);
    tracing_subscriber::registry().with(lines).with(filter).with(filter_fn(|event| !quotes_errors(event))).init();
}

/// The SDK logs whole errors of credential providers, which may quote a request with its tokens. The run's own error
/// tells why there are no credentials.
fn quotes_errors(event: &tracing::Metadata<'_>) -> bool {
    let quoted = ["context", "err", "error"].iter().any(|name| event.fields().field(name).is_some());
    quoted && event.target().starts_with("aws_")
}

fn start(cli: &Cli, ui: &Ui, arguments: &[OsString]) -> Result<Exit> {
    match &cli.command {
        Command::Completion(args) => return commands::completion::run(ui, args.shell),
        Command::Version => return commands::version::run(ui),
        _ => {}
    }
    // One provider is in the tree, and rustls wants to be told.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let effect = Effect::of(&cli.command);
    // It collects entropy for 30 ms when it is first asked for some: beside the first calls, not in their way.
    let collect = || rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut [0; 1]);
    let entropy = (effect != Effect::Prints).then(|| std::thread::spawn(collect));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| Error::new(ErrorCode::Internal, format!("can't start: {e}")))?;
    let result = runtime.block_on(async {
        let cancel = CancellationToken::new();
        // Heard before anything is read or called: a task of its own may begin later than that.
        if let Ok(signals) = Signals::hear() {
            tokio::spawn(watch_signals(signals, effect, cancel.clone(), ui.clone()));
        }
        let wait = Wait::new(cancel, timeout(&cli.command));
        tokio::spawn(watch_inputs(wait.clone(), ui.clone()));
        let context = Context::new(ui.clone(), wait);
        let result = dispatch(&cli.command, &context, cli.global.output).await;
        result.map_err(|error| match same_command(arguments, context.region()) {
            Some(command) => effect.told(error).with_command(&command),
            None => effect.told(error),
        })
    });
    // A plugin that is still running isn't waited for; threads that work must not outlive what the process tears down.
    runtime.shutdown_timeout(FAREWELL);
    let _ = entropy.map(std::thread::JoinHandle::join);
    result
}

/// The process's own command, as a shell reads it, with its region and approved; none where it reads stdin, which is
/// used up.
fn same_command(arguments: &[OsString], region: Option<&str>) -> Option<String> {
    let words: Vec<_> = arguments.iter().skip(1).map(|word| word.to_string_lossy()).collect();
    if words.iter().any(|word| *word == "-" || *word == "-f-" || word.ends_with("=-")) {
        return None;
    }
    let mut command = words.iter().fold("irsactl".to_owned(), |command, word| command + " " + &shell::word(word));
    // A file names its region.
    let named = value_of(arguments, &["--region", "-r", "--config-file", "-f"]).is_some();
    if let Some(region) = region.filter(|_| !named) {
        command += &format!(" --region {region}");
    }
    if !words.iter().any(|word| word.starts_with("--approve")) {
        command += " --approve";
    }
    Some(command)
}

/// Ctrl-C and SIGTERM, which end the process as the system does until they are heard.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn hear() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The first signal ends the run between calls, the second at once; and so does the first where it only prints, which
/// changes nothing.
async fn watch_signals(mut signals: Signals, effect: Effect, cancel: CancellationToken, ui: Ui) {
    loop {
        signals.next().await;
        if effect == Effect::Prints || cancel.is_cancelled() || files::is_reading() {
            leave(&ui, &effect.told(wait::interrupted()));
        }
        ui.say("interrupted: stopping after the calls under way; once more stops at once");
        cancel.cancel();
    }
}

/// An input that never ends is given up when the time is over: no call waits for that.
async fn watch_inputs(wait: Wait, ui: Ui) {
    let end = wait.ended().await;
    if end.code == ErrorCode::Timeout && files::is_reading() {
        leave(&ui, &end.cause("a file or a pipe was still being read"));
    }
}

#[allow(clippy::exit, reason = "the process ends at once")]
fn leave(ui: &Ui, error: &Error) -> ! {
    ui.error(error);
    std::process::exit(i32::from(error.code.exit_code()))
}

/// What a command does to the world.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It prints what it knows.
    Prints,
    /// It looks.
    Reads,
    /// It may change something.
    Changes,
}

impl Effect {
    fn of(command: &Command) -> Self {
        match command {
            Command::Render(_) | Command::Completion(_) | Command::Version => Self::Prints,
            Command::Get(_) | Command::Verify(_) => Self::Reads,
            _ => Self::Changes,
        }
    }

    /// The error that ends the command.
    fn told(self, error: Box<Error>) -> Box<Error> {
        if self == Self::Changes { error } else { error.of_reading() }
    }
}

fn timeout(command: &Command) -> Duration {
    use cli::{Create, Delete, Get, Install, Uninstall, Update, Utils, Verify};
    match command {
        Command::Create(Create::Policy(args)) => args.plan.timeout.timeout,
        Command::Create(Create::Iamserviceaccount(args)) => args.plan.timeout.timeout,
        Command::Get(Get::Iamserviceaccount(args)) => args.timeout.timeout,
        Command::Get(Get::Dnsrecords(args)) => args.timeout.timeout,
        Command::Update(Update::Iamserviceaccount(args)) => args.plan.timeout.timeout,
        Command::Delete(Delete::Iamserviceaccount(args)) => args.plan.timeout.timeout,
        Command::Install(Install::ExternalDns(args)) => args.plan.timeout.timeout,
        Command::Uninstall(Uninstall::ExternalDns(args)) => args.plan.timeout.timeout,
        Command::Utils(Utils::AssociateIamOidcProvider(args)) => args.plan.timeout.timeout,
        Command::Verify(Verify::ExternalDns(args)) => args.timeout.timeout,
        Command::Verify(Verify::Iamserviceaccount(args)) => args.timeout.timeout,
        Command::Render(_) | Command::Completion(_) | Command::Version => DEFAULT_TIMEOUT,
    }
}

async fn dispatch(command: &Command, context: &Context, output: Option<Output>) -> Result<Exit> {
    use cli::{Create, Delete, Get, Install, Uninstall, Update, Utils, Verify};
    match command {
        Command::Create(Create::Policy(args)) => commands::create_policy::run(context, args).await,
        Command::Create(Create::Iamserviceaccount(args)) => {
            commands::create_iamserviceaccount::run(context, args).await
        }
        Command::Get(Get::Iamserviceaccount(args)) => commands::get_iamserviceaccount::run(context, args).await,
        Command::Get(Get::Dnsrecords(args)) => commands::get_dnsrecords::run(context, args).await,
        Command::Update(Update::Iamserviceaccount(args)) => {
            commands::update_iamserviceaccount::run(context, args).await
        }
        Command::Delete(Delete::Iamserviceaccount(args)) => {
            commands::delete_iamserviceaccount::run(context, args).await
        }
        Command::Install(Install::ExternalDns(args)) => commands::install_external_dns::run(context, args).await,
        Command::Uninstall(Uninstall::ExternalDns(args)) => commands::uninstall_external_dns::run(context, args).await,
        Command::Verify(Verify::ExternalDns(args)) => commands::verify_external_dns::run(context, args).await,
        Command::Verify(Verify::Iamserviceaccount(args)) => {
            commands::verify_iamserviceaccount::run(context, args).await
        }
        Command::Render(what) => commands::render::run(context, what, output).await,
        Command::Utils(Utils::AssociateIamOidcProvider(args)) => {
            commands::associate_iam_oidc_provider::run(context, args).await
        }
        Command::Completion(args) => commands::completion::run(&context.ui, args.shell),
        Command::Version => commands::version::run(&context.ui),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_completed_for_its_hint() {
        let same = |words: &[&str]| {
            let arguments: Vec<_> = ["/usr/bin/irsactl"].iter().chain(words).map(OsString::from).collect();
            same_command(&arguments, Some("us-west-2"))
        };
        for (words, expected) in [
            (
                &["--tags=a=it's", "--label-filter", "a in (b)"][..],
                r"'--tags=a=it'\''s' --label-filter 'a in (b)' --region us-west-2 --approve",
            ),
            (&["--approve", "-r", "us-east-1"], "--approve -r us-east-1"),
            (&["--region=us-east-1"], "--region=us-east-1 --approve"),
            (&["-f", "cluster.yaml"], "-f cluster.yaml --approve"),
            (&["-fcluster.yaml", "--approve"], "-fcluster.yaml --approve"),
        ] {
            assert_eq!(same(words), Some(format!("irsactl {expected}")));
        }
        for words in [&["-f", "-"][..], &["-f-"], &["--config-file=-"], &["--attach-policy", "-"]] {
            assert_eq!(same(words), None, "stdin is used up: {words:?}");
        }
    }
}
