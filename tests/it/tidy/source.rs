//! Rust text with comments and literals blanked, so that rules see code only.

/// `text` with comments, strings and character literals replaced by spaces; line breaks stay.
pub(super) fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at).unwrap_or(at);
        if end == at {
            let length = text[at..].chars().next().map_or(1, char::len_utf8);
            code.push_str(&text[at..at + length]);
            at += length;
        } else {
            code.extend(text[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment or literal that starts at `at` ends, if one starts there.
fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return Some(at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(block_comment_end(bytes, at));
    }
    let starts_word = at == 0 || !is_word(bytes[at - 1]);
    if starts_word && let Some(end) = raw_string_end(bytes, at) {
        return Some(end);
    }
    match rest[0] {
        b'"' => Some(quoted_end(bytes, at + 1, b'"')),
        b'\'' if is_character(rest) => Some(quoted_end(bytes, at + 1, b'\'')),
        _ => None,
    }
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// `r"..."`, `r#"..."#`, `br"..."`.
fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut from = at;
    if bytes[from] == b'b' {
        from += 1;
    }
    if bytes.get(from) != Some(&b'r') {
        return None;
    }
    from += 1;
    let hashes = bytes[from..].iter().take_while(|byte| **byte == b'#').count();
    from += hashes;
    if bytes.get(from) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let inner = &bytes[from + 1..];
    let length = inner.windows(close.len()).position(|window| window == close);
    Some(length.map_or(bytes.len(), |length| from + 1 + length + close.len()))
}

fn quoted_end(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// A character literal, as opposed to a lifetime.
fn is_character(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        Some(byte) if byte.is_ascii() => rest.get(2) == Some(&b'\''),
        Some(_) => rest.iter().take(6).skip(2).any(|byte| *byte == b'\''),
        None => false,
    }
}

/// Whether `byte` belongs to an identifier.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The line, from 1, of the byte at `at`.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// Positions at which `word` stands as a whole word.
pub(super) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = text.as_bytes();
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let end = at + word.len();
        (*at == 0 || !is_word(bytes[at - 1])) && bytes.get(end).is_none_or(|byte| !is_word(*byte))
    })
}

#[test]
fn comments_and_literals_are_no_code() {
    let code =
        code_only("a // unsafe\nb /* x /* y */ unsafe */ c \"un\\\"safe\" r#\"un\"safe\"# d");
    assert!(!code.contains("unsafe") && !code.contains("safe"));
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert_eq!(code.lines().count(), 2);
}

#[test]
fn a_lifetime_is_no_character_literal() {
    let code =
        code_only("fn f<'a>(x: &'a str, y: char) -> bool { y == '\"' && x == \"'\" } unsafe");
    assert!(code.contains("&'a str") && code.ends_with("unsafe"));
}

#[test]
fn a_word_is_found_whole_only() {
    assert_eq!(words("unsafe unsafe_code an_unsafe unsafe", "unsafe").collect::<Vec<_>>(), [0, 29]);
}
