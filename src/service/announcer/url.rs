//! Announce URLs, as torrents have them: `http://`, `https://` and `udp://`.

use super::limits::URL_BYTES_MAX;
use hyper::Uri;
use ringseed_sched::limits::HOSTS_MAX;
use std::fmt::{self, Write};

/// How a tracker is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scheme {
    /// BEP 3.
    Http,
    /// The same over TLS.
    Https,
    /// BEP 15.
    Udp,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Udp => "udp",
        })
    }
}

/// An announce URL in its parts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TrackerUrl {
    /// How.
    pub scheme: Scheme,
    /// Name or address, in lower case; an IPv6 address without brackets.
    pub host: String,
    /// TCP or UDP port.
    pub port: u16,
    /// Path and query; may hold a secret (a passkey) and is never shown.
    pub target: String,
}

/// Why a URL names no tracker that can be announced to. The text shows no path, which may hold a
/// passkey.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// It cannot be read as a URL.
    #[error("tracker URL of {bytes} bytes is not of the form scheme://host[:port]/path")]
    Form {
        /// Its length.
        bytes: usize,
    },
    /// It is too long.
    #[error("tracker URL has {bytes} bytes; at most {URL_BYTES_MAX} are used")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// No scheme that is spoken here.
    #[error("tracker URL has scheme '{0}'; http, https and udp are spoken")]
    Scheme(String),
    /// BEP 15 has no default port.
    #[error("UDP tracker '{0}' names no port; write udp://host:port")]
    NoPort(String),
    /// The schedule has no more queues.
    #[error("tracker '{0}' is left out: {HOSTS_MAX} tracker hosts are known, which is the most")]
    TooManyHosts(String),
    /// Passwords in URLs are not sent.
    #[error("tracker URL of '{0}' holds a user name, which is not supported")]
    User(String),
}

impl TrackerUrl {
    /// Reads a URL. Bytes that no URL may have are escaped, a fragment is dropped: torrents have
    /// them.
    ///
    /// # Errors
    /// What makes it useless.
    pub fn parse(text: &str) -> Result<TrackerUrl, UrlError> {
        let text = text.trim();
        let bytes = text.len();
        if bytes > URL_BYTES_MAX {
            return Err(UrlError::TooLong { bytes });
        }
        let text = text.split_once('#').map_or(text, |(text, _)| text);
        let uri: Uri = escaped(text).parse().map_err(|_| UrlError::Form { bytes })?;
        TrackerUrl::of(&uri).ok_or(UrlError::Form { bytes })?
    }

    /// `None`: no scheme or no host.
    fn of(uri: &Uri) -> Option<Result<TrackerUrl, UrlError>> {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let authority = uri.authority()?;
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        if host.is_empty() {
            return None;
        }
        let (scheme, port) = match scheme.as_str() {
            "http" => (Scheme::Http, Some(80)),
            "https" => (Scheme::Https, Some(443)),
            "udp" => (Scheme::Udp, None),
            _ => return Some(Err(UrlError::Scheme(scheme))),
        };
        if authority.as_str().contains('@') {
            return Some(Err(UrlError::User(host)));
        }
        let behind_brackets = authority.as_str().rsplit(']').next()?;
        let port = match authority.port_u16() {
            Some(port) => Some(port).filter(|port| *port != 0)?,
            // One is named, and it is no port.
            None if behind_brackets.contains(':') => return None,
            None => match port {
                Some(port) => port,
                None => return Some(Err(UrlError::NoPort(host))),
            },
        };
        let target = uri.path_and_query().map_or("", |target| target.as_str());
        let slash = if target.starts_with('/') { "" } else { "/" };
        let target = format!("{slash}{target}");
        Some(Ok(TrackerUrl { scheme, host, port, target }))
    }

    /// Scheme, host and port: what may be shown, and what has a queue of its own.
    pub fn origin(&self) -> String {
        let TrackerUrl { scheme, port, .. } = self;
        format!("{scheme}://{}:{port}", self.authority_host())
    }

    /// The whole URL, secrets and all.
    pub(super) fn to_text(&self) -> String {
        format!("{}{}", self.origin(), self.target)
    }

    fn authority_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

/// `text` with what a URL may not contain escaped.
fn escaped(text: &str) -> String {
    let mut url = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~'
                if !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'}') =>
            {
                url.push(char::from(byte));
            }
            _ => {
                // Writing to a String does not fail.
                let _ = write!(url, "%{byte:02X}");
            }
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Scheme, String, u16, String) {
        let url = TrackerUrl::parse(text).unwrap();
        (url.scheme, url.host, url.port, url.target)
    }

    #[test]
    fn the_three_schemes_are_read_with_their_ports() {
        use Scheme::{Http, Https, Udp};
        for (text, scheme, host, port, target) in [
            ("http://t.example/announce", Http, "t.example", 80, "/announce"),
            ("HTTPS://T.Example/a?passkey=X", Https, "t.example", 443, "/a?passkey=X"),
            (" udp://t.example:6969/announce ", Udp, "t.example", 6969, "/announce"),
            ("udp://t.example:6969", Udp, "t.example", 6969, "/"),
            ("http://[2001:db8::1]:80/a", Http, "2001:db8::1", 80, "/a"),
            ("http://[2001:db8::1]/a", Http, "2001:db8::1", 80, "/a"),
            ("http://t.example?x", Http, "t.example", 80, "/?x"),
        ] {
            assert_eq!(parts(text), (scheme, host.to_owned(), port, target.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_no_url_may_hold_is_escaped_and_a_fragment_dropped() {
        assert_eq!(parts("http://t/a b?q=ü#top").3, "/a%20b?q=%C3%BC");
        assert_eq!(parts("http://t/a%20b").3, "/a%20b", "escapes stay");
    }

    #[test]
    fn useless_urls_are_refused_and_show_no_path() {
        let text = |url: &str| TrackerUrl::parse(url).unwrap_err().to_string();
        assert!(text("wss://t.example/SECRET").contains("scheme 'wss'"));
        assert!(text("udp://t.example/SECRET").contains("names no port"));
        assert!(text("http://me:you@t.example/SECRET").contains("user name"));
        for url in [
            "",
            "x",
            "http://",
            "/announce",
            "http:///SECRET",
            "udp://t:0/SECRET",
            "http://t:99999/a",
            "http://t:x/SECRET",
            "udp://:80/SECRET",
        ] {
            assert!(!text(url).contains("SECRET"), "{url}");
        }
        assert!(matches!(
            TrackerUrl::parse(&"x".repeat(URL_BYTES_MAX + 1)),
            Err(UrlError::TooLong { .. })
        ));
    }

    #[test]
    fn the_origin_puts_brackets_back() {
        let url = TrackerUrl::parse("http://[::1]:6969/announce?k").unwrap();
        assert_eq!(url.origin(), "http://[::1]:6969");
        assert_eq!(url.to_text(), "http://[::1]:6969/announce?k");
    }
}
