//! The op table, the completions that are ready, and the ledger that sees each op finished once.

use std::collections::{BTreeMap, VecDeque};

use super::random::Random;
use crate::slab::Slab;
use crate::{Completion, OpId, Outcome, Socket, Token};

/// An op in flight.
#[derive(Debug)]
pub(crate) struct Live {
    /// The kernel that it was pushed to.
    pub(crate) kernel: usize,
    pub(crate) token: Token,
    pub(crate) kind: &'static str,
    pub(crate) socket: Option<Socket>,
    /// Its last completion was posted (and perhaps not taken yet).
    pub(crate) finished: bool,
    /// When its last late completion comes: the ones behind it may not overtake.
    pub(crate) posted_us: u64,
    /// Completions that are late.
    pub(crate) late: u32,
}

/// A completion as it is handed over.
pub(crate) struct Taken {
    pub(crate) completion: Completion,
    /// Others had been ready before.
    pub(crate) out_of_turn: bool,
    /// The socket that has an op less now.
    pub(crate) socket: Option<Socket>,
}

/// Ops in flight and, for each kernel, completions ready to be taken.
pub(crate) struct Ops {
    table: Slab<Live>,
    ready: Vec<VecDeque<Completion>>,
    ledger: Ledger,
}

impl Ops {
    pub(crate) fn new(ops_max: u32) -> Ops {
        Ops { table: Slab::new(ops_max), ready: Vec::new(), ledger: Ledger::default() }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.table.is_full()
    }

    /// Ops in flight.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// `None` when the table is full: ask `is_full` first.
    pub(crate) fn start(&mut self, live: Live) -> Option<OpId> {
        let (token, kind) = (live.token, live.kind);
        let (index, generation) = self.table.insert(live).ok()?;
        let op = OpId { index, generation };
        self.ledger.started(op, token, kind);
        Some(op)
    }

    /// A name for an op that has no completion (a cancel).
    pub(crate) fn nameless() -> OpId {
        OpId { index: u32::MAX, generation: 0 }
    }

    pub(crate) fn get(&mut self, op: OpId) -> Option<&mut Live> {
        self.table.get_mut(op.index, op.generation)
    }

    /// Whether the socket has ops in flight besides its close.
    pub(crate) fn has_others(&self, socket: Socket, close: OpId) -> bool {
        self.table.iter().any(|(index, generation, live)| {
            live.socket == Some(socket) && OpId { index, generation } != close
        })
    }

    /// Ops of a socket that have not posted their last completion.
    pub(crate) fn unfinished_of(&self, socket: Socket) -> Vec<OpId> {
        let of = self.table.iter().filter(|(_, _, live)| live.socket == Some(socket));
        let unfinished = of.filter(|(_, _, live)| !live.finished);
        unfinished.map(|(index, generation, _)| OpId { index, generation }).collect()
    }

    pub(crate) fn make_ready(&mut self, kernel: usize, completion: Completion) {
        if self.ready.len() <= kernel {
            self.ready.resize_with(kernel + 1, VecDeque::new);
        }
        self.ready[kernel].push_back(completion);
    }

    /// Of any kernel: its thread would run now.
    pub(crate) fn any_ready(&self) -> bool {
        self.ready.iter().any(|ready| !ready.is_empty())
    }

    /// Of this kernel.
    pub(crate) fn has_ready(&self, kernel: usize) -> bool {
        self.ready.get(kernel).is_some_and(|ready| !ready.is_empty())
    }

    /// Forgets what a receive has delivered and nobody has taken.
    pub(crate) fn forget_received(&mut self, op: OpId) {
        for ready in &mut self.ready {
            ready.retain(|completion| {
                completion.op != op || !matches!(completion.outcome, Outcome::Received { .. })
            });
        }
    }

    /// Receive buffers in completions not taken yet.
    pub(crate) fn buffers_ready(&self) -> usize {
        let holds = |completion: &&Completion| {
            matches!(completion.outcome, Outcome::Received { .. } | Outcome::Datagram { .. })
        };
        self.ready.iter().flatten().filter(holds).count()
    }

    /// The kernel's next completion; with randomness, that of any op (its first).
    pub(crate) fn take(&mut self, kernel: usize, reorder: Option<&mut Random>) -> Option<Taken> {
        let ready = self.ready.get_mut(kernel)?;
        let any = reorder.map_or(0, |random| random.below(ready.len() as u64) as usize);
        let op = ready.get(any)?.op;
        // Completions of one op keep their order. Wake-ups all bear one name.
        let first = ready.iter().position(|completion| completion.op == op)?;
        let completion = ready.remove(first)?;
        self.ledger.completed(&completion);
        let live = if completion.more { None } else { self.table.remove(op.index, op.generation) };
        let socket = live.and_then(|live| live.socket);
        Some(Taken { completion, out_of_turn: first > 0, socket })
    }

    pub(crate) fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
}

/// Sees that each op is finished exactly once. Apart from the table on purpose: what the table
/// gets wrong shows here.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    open: BTreeMap<(u32, u32), (Token, &'static str)>,
    violations: Vec<String>,
}

impl Ledger {
    fn started(&mut self, op: OpId, token: Token, kind: &'static str) {
        if let Some((_, before)) = self.open.insert((op.index, op.generation), (token, kind)) {
            self.violations.push(format!("{op:?} given to a {kind} while a {before} has it"));
        }
    }

    fn completed(&mut self, completion: &Completion) {
        if completion.token == Token::WAKE {
            return;
        }
        let key = (completion.op.index, completion.op.generation);
        match self.open.get(&key) {
            None => self.violations.push(format!(
                "{:?} completed ({:?}) although it was finished",
                completion.op, completion.outcome
            )),
            Some((token, kind)) if *token != completion.token => self.violations.push(format!(
                "{kind} {:?} completed with {:?}, pushed with {token:?}",
                completion.op, completion.token
            )),
            Some(_) if !completion.more => {
                self.open.remove(&key);
            }
            Some(_) => {}
        }
    }

    /// Ops that were started and not finished, as `kind token`.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        self.open.values().map(|(token, kind)| format!("{kind} {token:?}")).collect()
    }

    pub(crate) fn take_violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }
}
