//! Spinners, for terminals.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

#[derive(Clone)]
pub(super) struct Progress {
    bars: Option<MultiProgress>,
}

impl Progress {
    pub(super) fn new(bars: bool) -> Self {
        Self { bars: bars.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr())) }
    }

    pub(super) fn has_bars(&self) -> bool {
        self.bars.is_some()
    }

    /// Writes something while no spinner is drawn.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    pub(super) fn task(&self, what: &str) -> Task {
        let bar = self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}");
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_message(what.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Task { what: what.to_owned(), bar }
    }
}

/// Something under way. It vanishes from the terminal when dropped.
pub struct Task {
    what: String,
    bar: Option<ProgressBar>,
}

impl Task {
    /// Shows how far it is, on a terminal only.
    pub fn detail(&self, detail: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {}", self.what, super::clean(detail)));
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
