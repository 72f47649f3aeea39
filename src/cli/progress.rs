//! The progress of hashing on stderr: a bar with rate and time left on a terminal, a line for
//! each tenth elsewhere.

use std::io::IsTerminal;

use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};

use crate::store::hashing::Progress;

pub(super) struct HashingBar {
    bar: ProgressBar,
    is_terminal: bool,
    tenths_shown: u64,
}

impl HashingBar {
    pub(super) fn new() -> HashingBar {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = if is_terminal { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let template = "{percent:>3}% [{bar:30}] {binary_bytes} of {binary_total_bytes}, \
                        {binary_bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        HashingBar { bar, is_terminal, tenths_shown: 0 }
    }

    pub(super) fn show(&mut self, progress: Progress) {
        let Progress { done_bytes, total_bytes } = progress;
        if self.is_terminal {
            self.bar.set_length(total_bytes);
            self.bar.set_position(done_bytes);
            return;
        }
        let tenths = done_bytes.saturating_mul(10) / total_bytes.max(1);
        if tenths > self.tenths_shown {
            self.tenths_shown = tenths;
            let rate = BinaryBytes(self.rate(done_bytes));
            let (done, total) = (BinaryBytes(done_bytes), BinaryBytes(total_bytes));
            eprintln!("hashed {}% ({done} of {total}, {rate}/s)", tenths * 10);
        }
    }

    /// Bytes a second since the start.
    fn rate(&self, done_bytes: u64) -> u64 {
        let milliseconds = self.bar.elapsed().as_millis().max(1);
        u64::try_from(u128::from(done_bytes) * 1000 / milliseconds).unwrap_or(u64::MAX)
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
