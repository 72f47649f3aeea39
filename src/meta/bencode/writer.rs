//! Writes canonical bencode: dictionaries come out sorted whatever the order of the calls.

use alloc::vec::Vec;
use core::ops::Range;

/// Appends values to a buffer.
///
/// ```
/// use ringseed_meta::bencode::Writer;
/// let mut writer = Writer::new();
/// writer.dict(|dict| {
///     dict.int(b"length", 3);
///     dict.list(b"tags", |list| list.bytes(b"spam"));
///     dict.bytes(b"cow", b"moo");
/// });
/// assert_eq!(writer.finish(), b"d3:cow3:moo6:lengthi3e4:tagsl4:spamee");
/// ```
#[derive(Default, Debug)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// An empty one.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// Writes an integer.
    pub fn int(&mut self, value: i64) {
        self.out.push(b'i');
        if value < 0 {
            self.out.push(b'-');
        }
        self.digits(value.unsigned_abs());
        self.out.push(b'e');
    }

    /// Writes a byte string.
    pub fn bytes(&mut self, value: &[u8]) {
        self.digits(value.len() as u64);
        self.out.push(b':');
        self.out.extend_from_slice(value);
    }

    /// Writes a list of what `contents` writes.
    pub fn list(&mut self, contents: impl FnOnce(&mut Writer)) {
        self.out.push(b'l');
        contents(self);
        self.out.push(b'e');
    }

    /// Writes a dictionary of the entries that `contents` writes.
    pub fn dict(&mut self, contents: impl FnOnce(&mut DictWriter<'_>)) {
        self.out.push(b'd');
        let start = self.out.len();
        let mut dict = DictWriter { writer: self, entries: Vec::new() };
        contents(&mut dict);
        let entries = dict.entries;
        self.sort(start, &entries);
        self.out.push(b'e');
    }

    /// Appends one value that is bencode already, byte for byte.
    pub fn raw(&mut self, value: &[u8]) {
        self.out.extend_from_slice(value);
    }

    fn digits(&mut self, mut value: u64) {
        let mut digits = [0u8; 20];
        let mut used = 0usize;
        for (place, digit) in digits.iter_mut().rev().enumerate() {
            *digit = b'0'.saturating_add(u8::try_from(value % 10).unwrap_or(0));
            value /= 10;
            used = place.saturating_add(1);
            if value == 0 {
                break;
            }
        }
        self.out.extend(digits.iter().skip(digits.len().saturating_sub(used)));
    }

    /// Brings the entries of the dictionary that begins at `start` into the order of their keys.
    fn sort(&mut self, start: usize, entries: &[Entry]) {
        let key = |entry: &Entry| self.out.get(entry.key.clone()).unwrap_or_default();
        if entries.is_sorted_by(|one, two| key(one) < key(two)) {
            return;
        }
        let ends = entries.iter().skip(1).map(|next| next.start).chain([self.out.len()]);
        let mut spans: Vec<(&Entry, usize)> = entries.iter().zip(ends).collect();
        // Stable, and each key's last entry is kept: a key written twice has its last value.
        spans.sort_by_key(|(entry, _)| key(entry));
        let mut sorted = Vec::with_capacity(self.out.len().saturating_sub(start));
        for (at, (entry, end)) in spans.iter().enumerate() {
            let next = spans.get(at.saturating_add(1));
            if next.is_none_or(|(next, _)| key(next) != key(entry)) {
                sorted.extend_from_slice(self.out.get(entry.start..*end).unwrap_or_default());
            }
        }
        self.out.truncate(start);
        self.out.extend_from_slice(&sorted);
    }
}

#[derive(Debug)]
struct Entry {
    /// Where the entry begins: the length of its key.
    start: usize,
    key: Range<usize>,
}

/// Writes the entries of one dictionary, in any order. A key written twice keeps its last value.
#[derive(Debug)]
pub struct DictWriter<'w> {
    writer: &'w mut Writer,
    entries: Vec<Entry>,
}

impl DictWriter<'_> {
    /// Writes the key; exactly one value must follow, by any call of the [`Writer`].
    pub fn entry(&mut self, key: &[u8]) -> &mut Writer {
        let start = self.writer.out.len();
        self.writer.bytes(key);
        let end = self.writer.out.len();
        self.entries.push(Entry { start, key: end.saturating_sub(key.len())..end });
        self.writer
    }

    /// An entry whose value is an integer.
    pub fn int(&mut self, key: &[u8], value: i64) {
        self.entry(key).int(value);
    }

    /// An entry whose value is a byte string.
    pub fn bytes(&mut self, key: &[u8], value: &[u8]) {
        self.entry(key).bytes(value);
    }

    /// An entry whose value is a list.
    pub fn list(&mut self, key: &[u8], contents: impl FnOnce(&mut Writer)) {
        self.entry(key).list(contents);
    }

    /// An entry whose value is a dictionary.
    pub fn dict(&mut self, key: &[u8], contents: impl FnOnce(&mut DictWriter<'_>)) {
        self.entry(key).dict(contents);
    }

    /// An entry whose value is bencode already.
    pub fn raw(&mut self, key: &[u8], value: &[u8]) {
        self.entry(key).raw(value);
    }
}
