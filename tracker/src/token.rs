//! What a completion belongs to: the kernel's 64-bit token, with its meaning.

use ringseed_ring::Token;

/// The op that a token stands for. Numbers are places: of a listener, a socket, a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tag {
    HttpAccept(u32),
    HttpReceive(u32),
    HttpSend(u32),
    HttpWritable(u32),
    HttpClose(u32),
    UdpReceive(u32),
    UdpClose(u32),
    ListenerClose(u32),
    UdpSend(u32),
    /// Nothing depends on how it ends.
    Ignored,
}

impl Tag {
    pub(crate) fn token(self) -> Token {
        let (kind, place) = match self {
            Tag::Ignored => (0, 0),
            Tag::HttpAccept(place) => (1, place),
            Tag::HttpReceive(place) => (2, place),
            Tag::HttpSend(place) => (3, place),
            Tag::HttpWritable(place) => (4, place),
            Tag::HttpClose(place) => (5, place),
            Tag::UdpReceive(place) => (6, place),
            Tag::UdpClose(place) => (7, place),
            Tag::ListenerClose(place) => (8, place),
            Tag::UdpSend(place) => (9, place),
        };
        Token(kind << 32 | u64::from(place))
    }

    pub(crate) fn of(token: Token) -> Tag {
        let place = token.0 as u32;
        match token.0 >> 32 {
            1 => Tag::HttpAccept(place),
            2 => Tag::HttpReceive(place),
            3 => Tag::HttpSend(place),
            4 => Tag::HttpWritable(place),
            5 => Tag::HttpClose(place),
            6 => Tag::UdpReceive(place),
            7 => Tag::UdpClose(place),
            8 => Tag::ListenerClose(place),
            9 => Tag::UdpSend(place),
            _ => Tag::Ignored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_means_what_it_was_made_of() {
        for place in [0, 1, u32::MAX] {
            for tag in [
                Tag::HttpAccept(place),
                Tag::HttpReceive(place),
                Tag::HttpSend(place),
                Tag::HttpWritable(place),
                Tag::HttpClose(place),
                Tag::UdpReceive(place),
                Tag::UdpClose(place),
                Tag::ListenerClose(place),
                Tag::UdpSend(place),
                Tag::Ignored,
            ] {
                assert_eq!(Tag::of(tag.token()), tag);
                assert_ne!(tag.token(), Token::WAKE);
            }
        }
        assert_eq!(Tag::of(Token::WAKE), Tag::Ignored);
    }
}
