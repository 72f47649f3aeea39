//! Announce and scrape over HTTP, without HTTP itself: request targets and bencoded answers, both
//! written and read (BEP 3, 7, 23, 24, 31, 48).

mod answer;
mod query;
#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "test values")]
mod tests;
mod write;

pub use answer::{
    Announced, AnswerError, INTERVAL_DEFAULT_S, Retry, parse_announce_answer, parse_scrape_answer,
};
pub use query::{QueryError, announce_target, parse_announce, parse_scrape, scrape_target};
pub use write::{AnnounceAnswer, PeerEntry, Peers, write_failure, write_scrape_answer};
