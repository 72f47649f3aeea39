//! What a completion answers: packed into the kernel's 64-bit token.

use ringseed_ring::Token;

use super::mailbox::ConnectionId;
use crate::store::fetch::FetchId;

/// The kinds of ops that a worker pushes, each with the place it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Errand {
    /// The waker was rung.
    Wake,
    /// Accepting on a listener, by its place.
    Accept(u32),
    Receive(ConnectionId),
    Send(ConnectionId),
    Writable(ConnectionId),
    Close(ConnectionId),
    /// Leaving the kernel.
    Detach(ConnectionId),
    /// Opening a file, by its place in the list of opens.
    Open(u32),
    ReadAhead(FetchId),
    ReadByte(FetchId),
    ReadDiscard(FetchId),
    /// Looking at a file of a distant mount, by its place in the list of looks.
    Look(u32),
    /// Nobody waits for the completion.
    Nothing,
}

const INDEX_BITS: u32 = 24;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;

/// Connections, fetches and opens of one worker at a time: what fits the token's index.
pub(super) const INDEX_MAX: u32 = INDEX_MASK as u32;

fn pack(kind: u64, index: u32, generation: u32) -> Token {
    debug_assert!(index <= INDEX_MAX, "the index does not fit its bits");
    Token(kind << 56 | (u64::from(index) & INDEX_MASK) << 32 | u64::from(generation))
}

impl Errand {
    pub(super) fn token(self) -> Token {
        match self {
            Errand::Wake => Token::WAKE,
            Errand::Accept(place) => pack(1, place, 0),
            Errand::Receive(id) => pack(2, id.slot, id.generation),
            Errand::Send(id) => pack(3, id.slot, id.generation),
            Errand::Writable(id) => pack(4, id.slot, id.generation),
            Errand::Close(id) => pack(5, id.slot, id.generation),
            Errand::Open(place) => pack(6, place, 0),
            Errand::ReadAhead(id) => pack(7, id.index, id.generation),
            Errand::ReadByte(id) => pack(8, id.index, id.generation),
            Errand::ReadDiscard(id) => pack(9, id.index, id.generation),
            Errand::Nothing => pack(10, 0, 0),
            Errand::Look(place) => pack(11, place, 0),
            Errand::Detach(id) => pack(12, id.slot, id.generation),
        }
    }

    pub(super) fn of(token: Token) -> Errand {
        if token == Token::WAKE {
            return Errand::Wake;
        }
        let index = (token.0 >> 32 & INDEX_MASK) as u32;
        let generation = token.0 as u32;
        let connection = ConnectionId { slot: index, generation };
        let fetch = FetchId { index, generation };
        match token.0 >> 56 {
            1 => Errand::Accept(index),
            2 => Errand::Receive(connection),
            3 => Errand::Send(connection),
            4 => Errand::Writable(connection),
            5 => Errand::Close(connection),
            6 => Errand::Open(index),
            7 => Errand::ReadAhead(fetch),
            8 => Errand::ReadByte(fetch),
            9 => Errand::ReadDiscard(fetch),
            11 => Errand::Look(index),
            12 => Errand::Detach(connection),
            _ => Errand::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errand_comes_back_from_its_token() {
        let id = ConnectionId { slot: INDEX_MAX, generation: u32::MAX };
        let fetch = FetchId { index: 7, generation: 9 };
        for errand in [
            Errand::Wake,
            Errand::Accept(3),
            Errand::Receive(id),
            Errand::Send(id),
            Errand::Writable(id),
            Errand::Close(id),
            Errand::Open(5),
            Errand::ReadAhead(fetch),
            Errand::ReadByte(fetch),
            Errand::ReadDiscard(fetch),
            Errand::Look(6),
            Errand::Nothing,
            Errand::Detach(id),
        ] {
            assert_eq!(Errand::of(errand.token()), errand);
        }
    }
}
