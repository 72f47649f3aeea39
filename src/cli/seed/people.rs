//! What `ringseed seed` prints for people: what is seeded and where, then one live line.

use std::io::{IsTerminal, Write};

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::torrent_file::Printable;
use crate::service::figures::{Distribution, Snapshot};
use crate::service::{Event, Hashing, Rate, TorrentReady};

/// Torrents that are printed in full; of more only the number is told.
const TORRENTS_SHOWN_MAX: u64 = 10;

/// Seconds between two lines of the rate where there is no terminal to draw on.
const PLAIN_LINE_S: u64 = 10;

/// The terminal, or the log.
pub(super) struct Voice {
    line: ProgressBar,
    /// The bar of what is being hashed, and its name.
    hashing: Option<(ProgressBar, String)>,
    is_terminal: bool,
    verbose: bool,
    shown: u64,
    seconds: u64,
    last: Rate,
}

impl Voice {
    pub(super) fn new(verbose: bool) -> Voice {
        let is_terminal = std::io::stderr().is_terminal();
        let line = ProgressBar::with_draw_target(None, target(is_terminal));
        line.set_style(style("{msg}"));
        Voice {
            line,
            hashing: None,
            is_terminal,
            verbose,
            shown: 0,
            seconds: 0,
            last: Rate::default(),
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        match event {
            Event::Listening { addresses, trackers, kernel, kernel_reason, plan, sandbox } => {
                for address in addresses {
                    self.say(&format!("accepting peers on {address}"));
                }
                for tracker in trackers {
                    self.say(&format!("embedded tracker {tracker}"));
                }
                let inside = if sandbox.on { "sandbox" } else { "no sandbox" };
                self.say(&format!(
                    "in use: {kernel}: {kernel_reason}; {plan}; {inside}: {}",
                    sandbox.reason
                ));
            }
            Event::Hashing { what, progress } => self.hashing(what, progress),
            Event::Torrent(torrent) => self.torrent(&torrent),
            Event::Ready { seeding, failed } => {
                let failed = match failed {
                    0 => String::new(),
                    failed => format!(", {failed} failed"),
                };
                let torrents = if seeding == 1 { "torrent" } else { "torrents" };
                self.say(&format!("seeding {seeding} {torrents}{failed}"));
            }
            Event::Rate(rate) => self.rate(rate),
            Event::Counters { snapshot, was_asked: true } => self.counters(&snapshot),
            Event::Counters { .. } => {}
            Event::Error { message, .. } => self.complain(&format!("error: {message}")),
            Event::PeerFault { peer, fault } if self.verbose => {
                self.complain(&format!("closed {peer}: {fault}"));
            }
            Event::PeerFault { .. } => {}
            Event::Note(message) => self.complain(&format!("note: {message}")),
            Event::Stopped { sent_bytes, announces_given_up } => {
                let given_up = match announces_given_up {
                    0 => String::new(),
                    count => format!("; {count} announces given up"),
                };
                self.say(&format!("stopped; sent {}{given_up}", BinaryBytes(sent_bytes)));
            }
        }
    }

    pub(super) fn end(&mut self) {
        self.end_hashing();
        self.line.finish_and_clear();
    }

    fn say(&self, text: &str) {
        // A reader that went away does not stop a seeder.
        self.line.suspend(|| drop(writeln!(std::io::stdout(), "{}", Printable(text))));
    }

    fn complain(&self, text: &str) {
        self.line.suspend(|| drop(writeln!(std::io::stderr(), "{}", Printable(text))));
    }

    fn torrent(&mut self, torrent: &TorrentReady) {
        self.shown += 1;
        if self.shown > TORRENTS_SHOWN_MAX {
            if self.shown == TORRENTS_SHOWN_MAX + 1 {
                self.say("further torrents are counted only (--json tells each)");
            }
            return;
        }
        self.say(&torrent.name);
        if let Some(hash) = torrent.info_hash_v1 {
            self.say(&format!("  infohash     {hash}"));
        }
        if let Some(hash) = torrent.info_hash_v2 {
            self.say(&format!("  infohash v2  {hash}"));
        }
        self.say(&format!("  torrent      {}", torrent.torrent_file.display()));
        self.say(&format!("  magnet       {}", torrent.magnet));
    }

    fn hashing(&mut self, what: String, progress: Hashing) {
        let is_new = self.hashing.as_ref().is_none_or(|(_, name)| *name != what);
        if is_new {
            self.end_hashing();
            let target = target(self.is_terminal);
            let bar = ProgressBar::with_draw_target(Some(progress.total_bytes), target);
            bar.set_style(style(HASHING));
            bar.set_message(what.clone());
            if !self.is_terminal {
                self.say(&format!("hashing {what}: {}", BinaryBytes(progress.total_bytes)));
            }
            self.hashing = Some((bar, what));
        }
        if let Some((bar, _)) = &self.hashing {
            bar.set_position(progress.done_bytes);
            if progress.done_bytes == progress.total_bytes {
                self.end_hashing();
            }
        }
    }

    fn end_hashing(&mut self) {
        if let Some((bar, _)) = self.hashing.take() {
            bar.finish_and_clear();
        }
    }

    /// A line for each figure.
    fn counters(&self, snapshot: &Snapshot) {
        let of_all = snapshot.total.each().map(|(name, _, value)| format!("{name} {value}\n"));
        let threads = snapshot.io_worker_threads;
        let threads = threads.map(|threads| format!("io_worker_threads {threads}\n"));
        let of_times = snapshot.total.distributions().map(times);
        let devices = snapshot.devices.iter().flat_map(|device| {
            let numbers = device.each().map(|(name, _, value)| format!("{name} {value}\n"));
            let times = device.distributions().map(times);
            let name = device.name();
            numbers.into_iter().chain(times).map(move |line| format!("device {name} {line}"))
        });
        let text: String = devices.chain(of_all).chain(threads).chain(of_times).collect();
        for line in text.lines() {
            self.say(line);
        }
    }

    fn rate(&mut self, rate: Rate) {
        self.seconds += 1;
        let text = format!(
            "{} peers, {}/s, {} sent",
            rate.peers,
            BinaryBytes(rate.bytes_per_s),
            BinaryBytes(rate.sent_bytes)
        );
        let changed = rate.peers != self.last.peers || rate.sent_bytes != self.last.sent_bytes;
        if self.is_terminal {
            self.line.set_message(text);
            self.line.tick();
        } else if changed && self.seconds.is_multiple_of(PLAIN_LINE_S) {
            self.say(&text);
        }
        if self.seconds.is_multiple_of(PLAIN_LINE_S) {
            self.last = rate;
        }
    }
}

const HASHING: &str =
    "hashing {msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";

/// A template that cannot be read is a mistake of ours, and no reason not to seed.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn target(is_terminal: bool) -> ProgressDrawTarget {
    if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}
/// A line for a distribution.
fn times((name, of): (&str, &Distribution)) -> String {
    format!(
        "{name} count {} p50 {} p99 {} p99.99 {} max {}\n",
        of.count(),
        of.percentile_us(5_000),
        of.percentile_us(9_900),
        of.percentile_us(9_999),
        of.max_us()
    )
}
