//! How tracker hosts are doing, and which of it people should read: changes of a host, not
//! fates of torrents.

use super::UrlError;
use super::limits::REASONS_MAX;
use super::reply::{Failed, Reply, cut};
use ringseed_sched::announce::{Family, Outcome};
use std::fmt;

/// Something about trackers that people should read. Hosts are told as scheme, host and port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A host does not answer, or no longer.
    Failing {
        /// Which.
        tracker: String,
        /// From which of our families.
        family: Family,
        /// What happened.
        why: String,
    },
    /// It answers again.
    Working {
        /// Which.
        tracker: String,
    },
    /// It refuses a torrent for a reason that was not told yet; other torrents may follow.
    Refusing {
        /// Which.
        tracker: String,
        /// The reason.
        why: String,
    },
    /// It answers, with a warning that was not told yet.
    Warning {
        /// Which.
        tracker: String,
        /// Its text.
        text: String,
    },
    /// A tracker's URL cannot be used and is left out.
    Unusable {
        /// Why.
        why: UrlError,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Failing { tracker, family, why } => {
                let over = match family {
                    Family::V4 => "IPv4",
                    Family::V6 => "IPv6",
                };
                write!(f, "tracker {tracker} does not answer over {over}: {why}; it is asked again")
            }
            Notice::Working { tracker } => write!(f, "tracker {tracker} answers again"),
            Notice::Refusing { tracker, why } => {
                write!(f, "tracker {tracker} refuses an announce: {why}")
            }
            Notice::Warning { tracker, text } => write!(f, "tracker {tracker} warns: {text}"),
            Notice::Unusable { why } => write!(f, "{why}; it is left out"),
        }
    }
}

/// A tracker host at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostStatus {
    /// Scheme, host and port.
    pub tracker: String,
    /// Announces it took.
    pub announced: u64,
    /// Announces that failed.
    pub failed: u64,
    /// Whether it answers, in one of the families at least; `None` until something is known.
    pub works: Option<bool>,
    /// Why the last announce that failed did.
    pub last_error: Option<String>,
}

/// A host and family, as its answers show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Unknown,
    Works,
    /// So many announces in a row were not answered, and nothing was said yet.
    Doubtful,
    Fails,
    Absent,
}

pub(super) struct Health {
    tracker: String,
    announced: u64,
    failed: u64,
    states: [State; 2],
    last_error: Option<String>,
    /// Reasons and warnings told before.
    said: Vec<String>,
}

impl Health {
    pub(super) fn new(tracker: String) -> Health {
        Health {
            tracker,
            announced: 0,
            failed: 0,
            states: [State::Unknown; 2],
            last_error: None,
            said: Vec::new(),
        }
    }

    /// Counts a reply; says what is new about it.
    pub(super) fn on_reply(&mut self, family: Family, reply: &Reply) -> Option<Notice> {
        match reply {
            Ok(taken) => {
                self.announced += 1;
                self.on_answer(family).or_else(|| {
                    let text = cut(taken.warning.clone()?);
                    self.is_new(&text)
                        .then(|| Notice::Warning { tracker: self.tracker.clone(), text })
                })
            }
            Err(Failed { outcome: Outcome::BrokenOff, .. }) => None,
            Err(Failed { outcome: Outcome::Absent, why }) => self.on_absent(family, why),
            Err(Failed { outcome: Outcome::Silent, why }) => {
                self.failed += 1;
                self.on_silence(family, why)
            }
            Err(Failed { why, .. }) => {
                self.failed += 1;
                self.last_error = Some(why.clone());
                self.on_answer(family).or_else(|| {
                    let (tracker, why) = (self.tracker.clone(), why.clone());
                    self.is_new(&why).then_some(Notice::Refusing { tracker, why })
                })
            }
        }
    }

    fn on_answer(&mut self, family: Family) -> Option<Notice> {
        let before = std::mem::replace(&mut self.states[family as usize], State::Works);
        let tracker = self.tracker.clone();
        (before == State::Fails && !self.other_is(family, State::Works))
            .then_some(Notice::Working { tracker })
    }

    /// One lost answer of a host that works is the network's way; two in a row are news.
    fn on_silence(&mut self, family: Family, why: &str) -> Option<Notice> {
        let state = &mut self.states[family as usize];
        let before = *state;
        *state = if before == State::Works { State::Doubtful } else { State::Fails };
        let is_news = *state == State::Fails && before != State::Fails;
        let said = self.other_is(family, State::Fails) && self.last_error.as_deref() == Some(why);
        self.last_error = Some(why.to_owned());
        let (tracker, why) = (self.tracker.clone(), why.to_owned());
        (is_news && !said).then_some(Notice::Failing { tracker, family, why })
    }

    /// That a host lacks one family is not worth a word; both are.
    fn on_absent(&mut self, family: Family, why: &str) -> Option<Notice> {
        let before = std::mem::replace(&mut self.states[family as usize], State::Absent);
        if before == State::Absent || !self.other_is(family, State::Absent) {
            return None;
        }
        self.failed += 1;
        self.last_error = Some(why.to_owned());
        let why = "it has no address that can be reached from here".to_owned();
        Some(Notice::Failing { tracker: self.tracker.clone(), family, why })
    }

    fn other_is(&self, family: Family, state: State) -> bool {
        self.states[1 - family as usize] == state
    }

    fn is_new(&mut self, text: &str) -> bool {
        let new = self.said.len() < REASONS_MAX && !self.said.iter().any(|said| said == text);
        if new {
            self.said.push(text.to_owned());
        }
        new
    }

    pub(super) fn status(&self) -> HostStatus {
        let any = |state| self.states.contains(&state);
        let works = match () {
            () if any(State::Works) || any(State::Doubtful) => Some(true),
            () if any(State::Fails) || self.states == [State::Absent; 2] => Some(false),
            () => None,
        };
        HostStatus {
            tracker: self.tracker.clone(),
            announced: self.announced,
            failed: self.failed,
            works,
            last_error: self.last_error.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reply::Taken;
    use super::*;

    fn health() -> Health {
        Health::new("udp://t:1".to_owned())
    }

    fn taken() -> Reply {
        Ok(Taken::default())
    }

    fn silent() -> Reply {
        Err(Failed::silent("no answer"))
    }

    fn failing(family: Family, why: &str) -> Option<Notice> {
        Some(Notice::Failing { tracker: "udp://t:1".to_owned(), family, why: why.to_owned() })
    }

    #[test]
    fn a_host_that_never_answered_is_told_once_and_again_when_it_does() {
        let mut health = health();
        assert_eq!(health.on_reply(Family::V4, &silent()), failing(Family::V4, "no answer"));
        (0..100).for_each(|_| assert_eq!(health.on_reply(Family::V4, &silent()), None));
        let working = Some(Notice::Working { tracker: "udp://t:1".to_owned() });
        assert_eq!(health.on_reply(Family::V4, &taken()), working);
        assert_eq!(health.on_reply(Family::V4, &taken()), None);
        assert_eq!(health.status().failed, 101);
        assert_eq!(health.status().works, Some(true));
    }

    #[test]
    fn one_lost_answer_of_a_host_that_works_is_no_news() {
        let mut health = health();
        assert_eq!(health.on_reply(Family::V4, &taken()), None);
        assert_eq!(health.on_reply(Family::V4, &silent()), None);
        assert_eq!(health.on_reply(Family::V4, &taken()), None);
        assert_eq!(health.on_reply(Family::V4, &silent()), None);
        assert_eq!(health.on_reply(Family::V4, &silent()), failing(Family::V4, "no answer"));
    }

    #[test]
    fn a_reason_is_told_once_for_all_torrents_and_many_reasons_are_cut() {
        let mut health = health();
        let refused = |why: &str| Err(Failed::refused(why));
        let told = |notice: Option<Notice>| matches!(notice, Some(Notice::Refusing { .. }));
        assert!(told(health.on_reply(Family::V4, &refused("unregistered"))));
        assert!(!told(health.on_reply(Family::V4, &refused("unregistered"))));
        assert!(!told(health.on_reply(Family::V6, &refused("unregistered"))));
        let more = (0..100).filter(|number| {
            told(health.on_reply(Family::V4, &refused(&format!("reason {number}"))))
        });
        assert_eq!(more.count(), REASONS_MAX - 1);
    }

    #[test]
    fn a_family_that_a_host_lacks_is_no_news_unless_it_lacks_both() {
        let mut health = health();
        let absent = || Err(Failed::absent("it has no IPv6 address"));
        assert_eq!(health.on_reply(Family::V6, &absent()), None);
        assert_eq!(health.status().works, None);
        let notice = health.on_reply(Family::V4, &absent());
        assert!(matches!(notice, Some(Notice::Failing { .. })));
        assert_eq!(health.on_reply(Family::V4, &absent()), None);
        assert_eq!(health.status().works, Some(false));
    }

    #[test]
    fn a_host_that_fails_alike_in_both_families_is_told_once() {
        let mut health = health();
        assert_eq!(health.on_reply(Family::V4, &silent()), failing(Family::V4, "no answer"));
        assert_eq!(health.on_reply(Family::V6, &silent()), None);
        let other = Err(Failed::silent("refused"));
        let mut health = super::Health::new("udp://t:1".to_owned());
        assert_eq!(health.on_reply(Family::V4, &silent()), failing(Family::V4, "no answer"));
        assert_eq!(health.on_reply(Family::V6, &other), failing(Family::V6, "refused"));
    }
}
