//! Phases that are repeated: what each repetition is called.

use std::time::Duration;

use crate::limits::PHASES_MAX;
use crate::plan::Phase;

/// The name of a phase in its round.
pub fn name_in(phase: &str, round: u32) -> String {
    format!("{phase} #{round}")
}

/// The phase's own name and its round. None: it is not repeated.
pub fn round_of(name: &str) -> Option<(&str, u32)> {
    let (phase, round) = name.rsplit_once(" #")?;
    let digits = round.bytes().all(|byte| byte.is_ascii_digit());
    Some((phase, round.parse().ok().filter(|_| digits)?))
}

/// The phases `rounds` times over; once, they keep their names.
pub fn repeat(phases: &[Phase], rounds: u32) -> Vec<Phase> {
    if rounds <= 1 {
        return phases.to_vec();
    }
    let in_round = |round| {
        phases.iter().map(move |phase| Phase { name: name_in(&phase.name, round), ..phase.clone() })
    };
    (1..=rounds).flat_map(in_round).collect()
}

/// How many whole rounds take about `time` (one at least, no more than there may be phases), by
/// warm-up and counted time. How long phases open cannot be known before.
pub fn within(phases: &[Phase], time: Duration) -> u32 {
    let round: Duration = phases.iter().map(|phase| phase.warm_up + phase.length).sum();
    let fitting = time.as_micros() / round.as_micros().max(1);
    u32::try_from(fitting).unwrap_or(u32::MAX).clamp(1, most(phases))
}

/// How many rounds a run of these phases may have.
pub fn most(phases: &[Phase]) -> u32 {
    (PHASES_MAX / phases.len().max(1)).max(1) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn phase(name: &str, seconds: u64) -> Phase {
        let s = Duration::from_secs;
        Phase { name: name.into(), opening: s(9), warm_up: s(1), length: s(seconds), loads: vec![] }
    }

    #[test]
    fn each_round_has_all_phases_in_order() {
        let phases = [phase("a", 1), phase("b", 2)];
        let names = |rounds| -> Vec<String> {
            repeat(&phases, rounds).into_iter().map(|phase| phase.name).collect()
        };
        assert_eq!(names(2), ["a #1", "b #1", "a #2", "b #2"]);
        assert_eq!(names(1), ["a", "b"]);
    }

    #[test]
    fn as_many_rounds_as_fit() {
        let phases = [phase("a", 1), phase("b", 7)];
        let s = Duration::from_secs;
        assert_eq!([5, 10, 29, 30].map(|time| within(&phases, s(time))), [1, 1, 2, 3]);
        assert_eq!(within(&phases, Duration::MAX), most(&phases));
    }

    proptest! {
        #[test]
        fn a_name_in_a_round_is_taken_apart_again(name in "\\PC{0,30}", round in any::<u32>()) {
            let in_round = name_in(&name, round);
            prop_assert_eq!(round_of(&in_round), Some((name.as_str(), round)));
        }
    }

    #[test]
    fn other_names_have_no_round() {
        for name in ["flood", "a #", "a #x", "a #+1", "a#1", "a # 1"] {
            assert_eq!(round_of(name), None, "{name}");
        }
    }
}
