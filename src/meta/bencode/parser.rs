//! One pass over the input, a stack of open containers instead of recursion.

use alloc::vec::Vec;

use super::{Document, Error, Fault, Kind, Limits, Node, Value};

pub(super) struct Parser<'a> {
    bytes: &'a [u8],
    limits: Limits,
    at: usize,
    nodes: Vec<Node>,
    open: Vec<Open>,
    unsorted_key: Option<usize>,
}

/// A container whose end was not seen yet.
struct Open {
    node: usize,
    kind: Kind,
    /// Of a dictionary: the node of the last key.
    last_key: Option<usize>,
    /// Of a dictionary: the last key waits for its value.
    value_due: bool,
    sorted: bool,
}

/// Longest canonical integer of 64 bits: a minus and 19 digits.
const DIGITS_MAX: usize = 20;

impl<'a> Parser<'a> {
    pub(super) fn new(bytes: &'a [u8], limits: Limits) -> Result<Parser<'a>, Error> {
        let limit = limits.bytes_max.min(u32::MAX as usize);
        if bytes.len() > limit {
            let fault = Fault::TooManyBytes { bytes: bytes.len(), limit };
            return Err(Error { offset: limit, fault });
        }
        Ok(Parser { bytes, limits, at: 0, nodes: Vec::new(), open: Vec::new(), unsorted_key: None })
    }

    pub(super) fn run(mut self) -> Result<Document<'a>, Error> {
        loop {
            self.step()?;
            if self.open.is_empty() {
                let Parser { bytes, nodes, unsorted_key, .. } = self;
                return Ok(Document { bytes, nodes, unsorted_key });
            }
        }
    }

    fn fail<T>(&self, offset: usize, fault: Fault) -> Result<T, Error> {
        Err(Error { offset, fault })
    }

    fn peek(&self) -> Result<u8, Error> {
        match self.bytes.get(self.at) {
            Some(&byte) => Ok(byte),
            None => self.fail(self.at, Fault::Truncated),
        }
    }

    /// Reads one integer, string, start or end of a container.
    fn step(&mut self) -> Result<(), Error> {
        let byte = self.peek()?;
        if byte == b'e' && !self.open.is_empty() {
            return self.close();
        }
        let key_due = self.open.last().is_some_and(|o| o.kind == Kind::Dict && !o.value_due);
        if key_due && !byte.is_ascii_digit() {
            return self.fail(self.at, Fault::KeyNotString);
        }
        match byte {
            b'0'..=b'9' => self.string()?,
            b'i' => self.integer()?,
            b'l' => return self.open(Kind::List),
            b'd' => return self.open(Kind::Dict),
            other => return self.fail(self.at, Fault::UnexpectedByte(other)),
        }
        if key_due {
            self.note_key()
        } else {
            self.note_value()
        }
        Ok(())
    }

    fn push(&mut self, node: Node) -> Result<(), Error> {
        if self.nodes.len() >= self.limits.values_max {
            let fault = Fault::TooManyValues { limit: self.limits.values_max };
            return self.fail(node.start as usize, fault);
        }
        self.nodes.push(node);
        Ok(())
    }

    fn open(&mut self, kind: Kind) -> Result<(), Error> {
        if self.open.len() >= self.limits.depth_max {
            return self.fail(self.at, Fault::TooDeep { limit: self.limits.depth_max });
        }
        let node = self.nodes.len();
        self.push(Node { kind, start: narrow(self.at), end: 0, link: 0 })?;
        self.open.push(Open { node, kind, last_key: None, value_due: false, sorted: true });
        self.at = self.at.saturating_add(1);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        if open.value_due {
            return self.fail(self.at, Fault::ValueMissing);
        }
        self.at = self.at.saturating_add(1);
        let (end, link) = (narrow(self.at), narrow(self.nodes.len()));
        if let Some(node) = self.nodes.get_mut(open.node) {
            node.end = end;
            node.link = link;
        }
        if !open.sorted {
            self.refuse_duplicates(open.node)?;
        }
        self.note_value();
        Ok(())
    }

    /// A value is complete: the container around it may go on with the next key.
    fn note_value(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.value_due = false;
        }
    }

    /// The last node is a key: compares it with the key before it. Equal neighbours make the
    /// dictionary unsorted, and an unsorted one is searched for duplicates when it ends.
    fn note_key(&mut self) {
        let key = self.nodes.len().saturating_sub(1);
        let view = |at| Value { bytes: self.bytes, nodes: &self.nodes, at };
        let Some(open) = self.open.last_mut() else { return };
        if let Some(last) = open.last_key
            && view(last).as_bytes() >= view(key).as_bytes()
        {
            open.sorted = false;
            self.unsorted_key.get_or_insert(view(key).offset());
        }
        open.last_key = Some(key);
        open.value_due = true;
    }

    fn refuse_duplicates(&self, dict: usize) -> Result<(), Error> {
        let dict = Value { bytes: self.bytes, nodes: &self.nodes, at: dict };
        let mut keys: Vec<_> =
            dict.children().step_by(2).map(|key| (key.as_bytes(), key.offset())).collect();
        keys.sort_unstable();
        let twice = keys.windows(2).filter_map(|pair| match pair {
            [(one, _), (two, offset)] if one == two => Some(*offset),
            _ => None,
        });
        match twice.min() {
            Some(offset) => self.fail(offset, Fault::DuplicateKey),
            None => Ok(()),
        }
    }

    fn string(&mut self) -> Result<(), Error> {
        let start = self.at;
        let digits = self.number(b':')?;
        let Ok(length) = digits.parse::<u64>() else {
            return self.fail(start, Fault::NumberTooLarge);
        };
        let left = self.bytes.len().saturating_sub(self.at);
        let Some(taken) = usize::try_from(length).ok().filter(|&taken| taken <= left) else {
            return self.fail(start, Fault::StringPastEnd { length, left });
        };
        let link = narrow(self.at);
        self.at = self.at.saturating_add(taken);
        self.push(Node { kind: Kind::String, start: narrow(start), end: narrow(self.at), link })
    }

    fn integer(&mut self) -> Result<(), Error> {
        let start = self.at;
        self.at = self.at.saturating_add(1);
        let digits = self.number(b'e')?;
        if digits.parse::<i64>().is_err() {
            return self.fail(start, Fault::NumberTooLarge);
        }
        let link = narrow(self.nodes.len().saturating_add(1));
        self.push(Node { kind: Kind::Integer, start: narrow(start), end: narrow(self.at), link })
    }

    /// The digits up to `end`, with a minus if `end` is the end of an integer; goes behind `end`.
    fn number(&mut self, end: u8) -> Result<&'a str, Error> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let window = rest.get(..rest.len().min(DIGITS_MAX.saturating_add(1))).unwrap_or_default();
        let minus = usize::from(end == b'e' && window.first() == Some(&b'-'));
        let digits = window.get(minus..).unwrap_or_default();
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let length = minus.saturating_add(count);
        match rest.get(length) {
            None => return self.fail(self.bytes.len(), Fault::Truncated),
            Some(_) if length > DIGITS_MAX => return self.fail(self.at, Fault::NumberTooLarge),
            Some(&byte) if byte != end => return self.fail(self.at, Fault::NumberNotCanonical),
            Some(_) => {}
        }
        let zero_first = digits.first() == Some(&b'0') && (count > 1 || minus > 0);
        if count == 0 || zero_first {
            return self.fail(self.at, Fault::NumberNotCanonical);
        }
        self.at = self.at.saturating_add(length).saturating_add(1);
        Ok(core::str::from_utf8(rest.get(..length).unwrap_or_default()).unwrap_or_default())
    }
}

/// Offsets and node counts fit: the input is at most `u32::MAX` bytes.
fn narrow(value: usize) -> u32 {
    debug_assert!(u32::try_from(value).is_ok());
    u32::try_from(value).unwrap_or(u32::MAX)
}
