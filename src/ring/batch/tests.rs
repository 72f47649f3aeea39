use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::File;

const FILE: File = File { index: 3, generation: 5 };

/// What a batch says, as one value for each byte: its own bytes, file offsets, zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    Own(u8),
    Of(u64),
    Zero,
}

fn units(batch: &Batch) -> Vec<Unit> {
    let mut units = Vec::new();
    for part in batch.remaining() {
        match part {
            Part::Bytes { start, length } => {
                units.extend(batch.bytes_of(start, length).iter().map(|byte| Unit::Own(*byte)));
            }
            Part::Run(run) => {
                assert_eq!(run.file, FILE);
                units.extend((0..u64::from(run.length)).map(|at| Unit::Of(run.offset + at)));
            }
            Part::Zeros(length) => units.extend((0..length).map(|_| Unit::Zero)),
        }
    }
    units
}

#[derive(Clone, Debug)]
enum Step {
    Bytes(Vec<u8>),
    Run(u64, u32),
    Zeros(u32),
    /// Of what is left, so many 256ths.
    Advance(u8),
    Truncate(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        vec(any::<u8>(), 0..20).prop_map(Step::Bytes),
        (0..1_000u64, 0..40u32).prop_map(|(offset, length)| Step::Run(offset, length)),
        (0..20u32).prop_map(Step::Zeros),
        any::<u8>().prop_map(Step::Advance),
        any::<u8>().prop_map(Step::Truncate),
    ]
}

fn share(length: usize, of_256: u8) -> usize {
    length * usize::from(of_256) / 255
}

proptest! {
    #[test]
    fn the_cursor_is_where_the_sent_bytes_end(steps in vec(step(), 0..40)) {
        let mut batch = Batch::default();
        let mut wanted: Vec<Unit> = Vec::new();
        for step in steps {
            match step {
                Step::Bytes(bytes) => {
                    batch.push_bytes(&bytes);
                    wanted.extend(bytes.iter().map(|byte| Unit::Own(*byte)));
                }
                Step::Run(offset, length) => {
                    batch.push_run(Run { file: FILE, offset, length });
                    wanted.extend((0..u64::from(length)).map(|at| Unit::Of(offset + at)));
                }
                Step::Zeros(length) => {
                    batch.push_zeros(length);
                    wanted.extend((0..length).map(|_| Unit::Zero));
                }
                Step::Advance(of_256) => {
                    let sent = share(wanted.len(), of_256);
                    batch.advance(sent as u64);
                    wanted.drain(..sent);
                }
                Step::Truncate(of_256) => {
                    let left = share(wanted.len(), of_256);
                    batch.truncate(left as u64);
                    wanted.truncate(left);
                }
            }
            prop_assert_eq!(batch.len(), wanted.len() as u64);
            prop_assert_eq!(batch.is_empty(), wanted.is_empty());
            prop_assert_eq!(&units(&batch), &wanted);
            let plain = batch.as_plain_bytes().map(<[u8]>::to_vec);
            let own = |unit: &Unit| matches!(unit, Unit::Own(_));
            if let Some(plain) = plain {
                let plain: Vec<Unit> = plain.into_iter().map(Unit::Own).collect();
                prop_assert_eq!(&plain, &wanted);
            } else {
                prop_assert!(wanted.is_empty() || batch.remaining().count() > 1 || !wanted.iter().all(own));
            }
        }
        batch.clear();
        prop_assert!(batch.is_empty() && units(&batch).is_empty());
    }
}

#[test]
fn neighbouring_bytes_are_one_part() {
    let mut batch = Batch::default();
    batch.push_bytes(b"have");
    batch.push_bytes(b"header");
    batch.push_run(Run { file: FILE, offset: 0, length: 1 });
    batch.push_bytes(b"header");
    assert_eq!(batch.remaining().count(), 3);
}
