//! What a user is called.

use std::fmt;
use std::str::FromStr;

use crate::limits::NAME_BYTES_MAX;

/// A user's name: visible characters without spaces, so that a line of a list can be taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name(String);

/// Why a text is no name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// It is empty.
    #[error("a user's name is empty: give at least one character")]
    Empty,
    /// It is too long.
    #[error("a user's name of {bytes} bytes: at most {NAME_BYTES_MAX} are kept; shorten it")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It has a character that a list or a terminal could take for something else.
    #[error("a user's name with {0:?}: use visible characters without spaces")]
    Character(char),
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong { bytes: text.len() });
        }
        match text.chars().find(|c| c.is_control() || c.is_whitespace()) {
            Some(character) => Err(NameError::Character(character)),
            None => Ok(Name(text.to_owned())),
        }
    }
}

impl Name {
    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_visible_word() {
        for good in ["a", "Ann-3", "Zoë", &"n".repeat(NAME_BYTES_MAX)] {
            assert_eq!(good.parse::<Name>().unwrap().to_string(), good);
        }
        assert_eq!("".parse::<Name>(), Err(NameError::Empty));
        let long = "n".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(long.parse::<Name>(), Err(NameError::TooLong { bytes: NAME_BYTES_MAX + 1 }));
        for (bad, character) in
            [("a b", ' '), ("a\n", '\n'), ("\u{1b}[1m", '\u{1b}'), ("\u{a0}", '\u{a0}')]
        {
            assert_eq!(bad.parse::<Name>(), Err(NameError::Character(character)), "{bad:?}");
        }
    }
}
