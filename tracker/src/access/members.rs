//! Who may announce where a tracker is private. Published as the lists are: made by one thread, looked
//! at by those that answer.

use hashbrown::HashMap;
use ringseed_users::{Digest, Passholder, Passkey, UserId};

/// All users, by their passkeys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    by_passkey: HashMap<Digest, Standing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    May(UserId),
    Revoked,
}

/// Why somebody is not taken for a user. Its text is for the client; it repeats nothing of what was
/// sent, since that may be a passkey.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Stranger {
    #[error("this tracker is private: use the announce URL with the passkey that you were given")]
    NoPasskey,
    #[error(
        "this passkey is not known here: look for a slip in the announce URL, or ask for another"
    )]
    Unknown,
    #[error("this passkey was revoked: ask for another")]
    Revoked,
    #[error("this tracker is private and a scrape over UDP has no passkey: scrape over HTTP")]
    UdpScrape,
}

impl Members {
    pub(crate) fn new(passholders: Vec<Passholder>) -> Members {
        let standing = |holder: &Passholder| match holder.is_revoked {
            true => Standing::Revoked,
            false => Standing::May(holder.id),
        };
        let by_passkey = passholders.iter().map(|holder| (holder.passkey, standing(holder)));
        Members { by_passkey: by_passkey.collect() }
    }

    /// Whose passkey it is, as it stands in a URL.
    pub(crate) fn find(&self, passkey: Option<&str>) -> Result<UserId, Stranger> {
        let passkey = passkey.ok_or(Stranger::NoPasskey)?;
        let passkey: Passkey = passkey.parse().map_err(|_| Stranger::Unknown)?;
        match self.by_passkey.get(&passkey.digest()) {
            Some(Standing::May(user)) => Ok(*user),
            Some(Standing::Revoked) => Err(Stranger::Revoked),
            None => Err(Stranger::Unknown),
        }
    }

    /// Those that may announce.
    pub(crate) fn len(&self) -> usize {
        let may = |standing: &&Standing| matches!(standing, Standing::May(_));
        self.by_passkey.values().filter(may).count()
    }
}

/// The passkey and the page of a path: `/<passkey>/announce`, or without one `/announce`.
pub(crate) fn split_path(path: &str) -> (Option<&str>, &str) {
    let second = path.strip_prefix('/').and_then(|rest| rest.find('/'));
    match second.and_then(|slash| path.split_at_checked(slash + 1)) {
        Some((passkey, page)) => (passkey.strip_prefix('/'), page),
        None => (None, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passkey_tells_who_it_is_until_it_is_revoked() {
        let (ann, bob) = (Passkey::new().unwrap(), Passkey::new().unwrap());
        let holder = |id, passkey: &Passkey, is_revoked| Passholder {
            id: UserId(id),
            passkey: passkey.digest(),
            is_revoked,
        };
        let members = Members::new(vec![holder(1, &ann, false), holder(2, &bob, true)]);
        assert_eq!(members.len(), 1);
        assert_eq!(members.find(Some(&ann.reveal())), Ok(UserId(1)));
        assert_eq!(members.find(Some(&bob.reveal())), Err(Stranger::Revoked));
        assert_eq!(members.find(None), Err(Stranger::NoPasskey));
        let other = Passkey::new().unwrap().reveal();
        for unknown in [other.as_str(), "", "announce", &ann.reveal()[1..]] {
            assert_eq!(members.find(Some(unknown)), Err(Stranger::Unknown));
        }
    }

    #[test]
    fn a_path_is_a_page_with_or_without_a_passkey() {
        for (path, split) in [
            ("/announce", (None, "/announce")),
            ("/k/announce", (Some("k"), "/announce")),
            ("//announce", (Some(""), "/announce")),
            ("/k/x/announce", (Some("k"), "/x/announce")),
            ("/k/", (Some("k"), "/")),
            ("/", (None, "/")),
            ("", (None, "")),
            ("k/announce", (None, "k/announce")),
        ] {
            assert_eq!(split_path(path), split, "{path}");
        }
    }
}
