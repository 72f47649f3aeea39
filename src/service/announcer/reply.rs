//! What came of one announce, in the words of both protocols.

use super::limits::REASON_BYTES_MAX;
use ringseed_sched::announce::Outcome;
use std::net::SocketAddr;

/// An announce that the tracker took.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Taken {
    pub(super) interval_s: u32,
    pub(super) min_interval_s: Option<u32>,
    pub(super) peers: Vec<SocketAddr>,
    /// To be sent back in later announces of the same swarm (BEP 3 "trackerid").
    pub(super) tracker_id: Option<Vec<u8>>,
    /// A word to the user.
    pub(super) warning: Option<String>,
}

/// One that it did not: what that means, and why, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failed {
    pub(super) outcome: Outcome,
    pub(super) why: String,
}

impl Failed {
    /// Nobody answered, or somebody without time for us.
    pub(super) fn silent(why: impl Into<String>) -> Failed {
        Failed { outcome: Outcome::Silent, why: cut(why.into()) }
    }

    /// There is no way from this family to the host.
    pub(super) fn absent(why: impl Into<String>) -> Failed {
        Failed { outcome: Outcome::Absent, why: cut(why.into()) }
    }

    /// We did not wait for the answer.
    pub(super) fn broken_off() -> Failed {
        Failed { outcome: Outcome::BrokenOff, why: "broken off".to_owned() }
    }

    /// The tracker does not want this torrent.
    pub(super) fn refused(why: impl Into<String>) -> Failed {
        Failed {
            outcome: Outcome::Refused(ringseed_sched::announce::Retry::Usual),
            why: cut(why.into()),
        }
    }
}

pub(super) type Reply = Result<Taken, Failed>;

/// Text from outside, safe to print on one line of a terminal and not too long.
pub(super) fn cut(text: String) -> String {
    let clean = |char: char| if char.is_control() { ' ' } else { char };
    let mut text: String = text.chars().map(clean).collect();
    if text.len() > REASON_BYTES_MAX {
        text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_tracker_cannot_steer_a_terminal() {
        assert_eq!(cut("a\x1b[2Jb\nc".to_owned()), "a [2Jb c");
        assert_eq!(cut("ü".repeat(REASON_BYTES_MAX)).len(), REASON_BYTES_MAX + 3);
    }
}
