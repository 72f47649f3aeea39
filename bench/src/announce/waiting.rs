//! UDP requests without an answer, by transaction id. All wait equally long, so they run out in
//! the order in which they were sent; ids are numbers in that order, told apart from a guess by a key.

use std::collections::VecDeque;

use ringseed_meta::Instant;

use super::limits::{ANSWER_WITHIN, WAITING_MAX};
use super::tally::Question;

/// Questions in the order of their ids; `None` where the answer has come.
#[derive(Debug)]
pub struct Waiting {
    key: u32,
    /// Number of the first.
    first: u32,
    questions: VecDeque<Option<Question>>,
    open: usize,
}

impl Waiting {
    /// Nothing waits. Ids are numbers xor `key`.
    pub fn new(key: u32) -> Waiting {
        Waiting { key, first: 0, questions: VecDeque::new(), open: 0 }
    }

    /// Questions without an answer.
    pub fn open(&self) -> usize {
        self.open
    }

    /// A question is sent: its transaction id. `None`: too many wait.
    pub fn push(&mut self, question: Question) -> Option<u32> {
        if self.questions.len() >= WAITING_MAX {
            return None;
        }
        let number = self.first.wrapping_add(self.questions.len() as u32);
        self.questions.push_back(Some(question));
        self.open += 1;
        Some(number ^ self.key)
    }

    /// The question with this transaction id is answered. `None`: none that waits has it.
    pub fn take(&mut self, transaction_id: u32) -> Option<Question> {
        let place = (transaction_id ^ self.key).wrapping_sub(self.first);
        let question = self.questions.get_mut(place as usize)?.take()?;
        self.open -= 1;
        self.drop_answered();
        Some(question)
    }

    /// The next question that has waited for too long at `now`.
    pub fn take_overdue(&mut self, now: Instant) -> Option<Question> {
        let overdue = |question: &&Question| question.asked.after(ANSWER_WITHIN) <= now;
        self.questions.front()?.as_ref().filter(overdue)?;
        self.take_first()
    }

    /// The next question of those that wait.
    pub fn take_first(&mut self) -> Option<Question> {
        let question = self.questions.pop_front()??;
        self.first = self.first.wrapping_add(1);
        self.open -= 1;
        self.drop_answered();
        Some(question)
    }

    /// The front is a question that waits, or there is none.
    fn drop_answered(&mut self) {
        while self.questions.pop_front_if(|question| question.is_none()).is_some() {
            self.first = self.first.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::announce::crowd::{Ask, Peer, Topic};

    fn question(number: u64) -> Question {
        let at = Instant::from_us(number);
        let ask = Ask { torrent: number as u32, peer: Peer::Only, topic: Topic::Scrape };
        Question { ask, due: at, asked: at }
    }

    proptest! {
        /// Against the plainest model: a list of pairs.
        #[test]
        fn each_id_finds_its_question_once(key: u32, first: u32, steps in prop::collection::vec((0..4u8, any::<prop::sample::Index>()), 1..300)) {
            let mut waiting = Waiting { first, ..Waiting::new(key) };
            let mut model: Vec<(u32, u64)> = Vec::new();
            for (number, (step, index)) in (0..).zip(steps) {
                match step {
                    0 | 1 => model.push((waiting.push(question(number)).unwrap(), number)),
                    2 if !model.is_empty() => {
                        let (id, number) = model.remove(index.index(model.len()));
                        prop_assert_eq!(waiting.take(id), Some(question(number)));
                        prop_assert_eq!(waiting.take(id), None);
                    }
                    _ => {
                        let first = (!model.is_empty()).then(|| question(model.remove(0).1));
                        prop_assert_eq!(waiting.take_first(), first);
                    }
                }
                prop_assert_eq!(waiting.open(), model.len());
                prop_assert!(waiting.questions.front().is_none_or(Option::is_some));
            }
        }
    }

    #[test]
    fn what_waits_too_long_comes_out_in_order_and_nothing_else() {
        let mut waiting = Waiting::new(7);
        let ids: Vec<u32> = (0..3).map(|number| waiting.push(question(number)).unwrap()).collect();
        let late = Instant::ZERO.after(ANSWER_WITHIN);
        assert_eq!(waiting.take(ids[0]), Some(question(0)));
        assert_eq!(waiting.take_overdue(late), None);
        let later = Instant::from_us(late.as_us() + 1);
        assert_eq!(waiting.take_overdue(later), Some(question(1)));
        assert_eq!(waiting.take_overdue(later), None);
        assert_eq!((waiting.take(ids[1]), waiting.take(ids[2])), (None, Some(question(2))));
    }
}
