//! Private mode: users come and go while the tracker runs.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::http::{Client, announce};
use crate::program::Program;
use crate::udp::{ANNOUNCE, ERROR, SCRAPE, Socket, body};

/// A private tracker with its file of users.
pub(crate) struct Club {
    pub(crate) program: Program,
    folder: tempfile::TempDir,
}

/// As long as a change may take, and as a busy machine needs.
const SOON: Duration = Duration::from_secs(20);

impl Club {
    pub(crate) fn open() -> Club {
        let folder = tempfile::tempdir().unwrap();
        let program = Club::start(folder.path());
        Club { program, folder }
    }

    fn start(folder: &Path) -> Program {
        let users = folder.join("users.db");
        Program::start(&[
            "--http=127.0.0.1:0",
            "--udp=127.0.0.1:0",
            "--users",
            users.to_str().unwrap(),
        ])
    }

    /// What `ringseed-tracker user` prints, and whether it was content.
    pub(crate) fn user(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringseed-tracker"));
        let done = command
            .arg("user")
            .args(arguments)
            .arg("--users")
            .arg(self.folder.path().join("users.db"));
        let done = done.output().unwrap();
        let said = if done.status.success() { done.stdout } else { done.stderr };
        (done.status.success(), String::from_utf8(said).unwrap())
    }

    /// A user that the tracker knows of already.
    pub(crate) fn add(&self, name: &str) -> String {
        let (added, passkey) = self.user(&["add", name]);
        assert!(added, "{passkey}");
        let passkey = passkey.trim_end().to_owned();
        self.until(|| {
            !self
                .asks(&format!("/{passkey}/scrape?info_hash={}", "x".repeat(20)))
                .contains("failure")
        });
        passkey
    }

    fn asks(&self, target: &str) -> String {
        let answer = Client::connect(self.program.http[0]).get(target);
        String::from_utf8_lossy(&answer.body).into_owned()
    }

    fn announces(&self, passkey: &str, rest: &str) -> String {
        let bare = announce('t', 'p', 7000, rest);
        let target = match rest.contains("uploaded") {
            true => bare.replacen("&uploaded=0&downloaded=0", "", 1),
            false => bare,
        };
        self.asks(&format!("/{passkey}{target}"))
    }

    fn until(&self, done: impl Fn() -> bool) {
        let until = SystemTime::now() + SOON;
        while !done() {
            assert!(SystemTime::now() < until, "not within {SOON:?}");
        }
    }

    fn lists(&self, line: &str) {
        self.until(|| self.user(&["list"]).1.lines().any(|listed| listed == line));
    }
}

#[test]
fn users_come_and_go_while_the_tracker_runs() {
    let club = Club::open();
    let refused = club.asks(&announce('t', 'p', 7000, "&left=5"));
    assert!(refused.contains("is private") && refused.ends_with("8:retry in5:nevere"), "{refused}");
    let unknown = "0123456789abcdef".repeat(2);
    let refused = club.announces(&unknown, "&left=5");
    assert!(refused.contains("not known") && refused.ends_with("8:retry ini5ee"), "{refused}");
    assert!(!refused.contains(&unknown), "a passkey is repeated");
    let ann = club.add("ann");
    assert!(club.announces(&ann, "&left=5").contains("10:incompletei1e"));
    assert!(
        club.asks(&format!("/{ann}/scrape?info_hash={}", "t".repeat(20)))
            .contains("10:incompletei1e")
    );
    assert!(club.asks(&format!("/scrape?info_hash={}", "t".repeat(20))).contains("is private"));
    let revoked = SystemTime::now();
    assert!(club.user(&["revoke", "ann"]).0);
    club.until(|| club.announces(&ann, "&left=5").contains("was revoked"));
    assert!(revoked.elapsed().unwrap() < SOON);
    let refused = club.announces(&ann, "&left=5");
    assert!(refused.ends_with("8:retry in5:nevere"), "{refused}");
    club.lists("ann\trevoked\t0\t0");
    let again = club.add("ann");
    assert!(club.announces(&again, "&left=5").contains("10:incompletei1e"));
    assert!(club.announces(&ann, "&left=5").contains("not known"));
    let stats = club.asks("/stats");
    assert!(stats.contains("\"users\": 1,"), "{stats}");
    for page in ["/", "/stats", "/metrics"] {
        let page = club.asks(page);
        assert!(![&ann, &again].iter().any(|passkey| page.contains(passkey.as_str())), "{page}");
    }
    let page = Client::connect(club.program.http[0]).get(&format!("/{again}/stats"));
    assert_eq!(page.status, 404);
}

#[test]
fn what_users_move_is_counted_over_http_and_udp() {
    let club = Club::open();
    let (ann, bob) = (club.add("ann"), club.add("bob"));
    club.announces(&ann, "&left=5&event=started&uploaded=0&downloaded=0");
    club.announces(&ann, "&left=5&uploaded=1000&downloaded=300");
    club.lists("ann\tmay announce\t1000\t300");
    club.announces(&ann, "&left=5&uploaded=1500&downloaded=300");
    // Its client was started again.
    club.announces(&ann, "&left=5&event=started&uploaded=0&downloaded=0");
    club.announces(&ann, "&left=0&event=stopped&uploaded=70&downloaded=7");
    club.lists("ann\tmay announce\t1570\t307");
    let socket = Socket::to(club.program.udp[0]);
    let id = socket.connect();
    // Downloaded and uploaded stand behind the infohash and the peer id.
    let mut announce = body(b't', b's', 5, 2, -1, 7001);
    announce[40..48].copy_from_slice(&40u64.to_be_bytes());
    announce[56..64].copy_from_slice(&20u64.to_be_bytes());
    let url = |path: &str| [&[2, path.len() as u8], path.as_bytes()].concat();
    socket.send(
        id,
        ANNOUNCE,
        1,
        &[&announce[..], &url(&format!("/{bob}/announce?a=b")), &[0]].concat(),
    );
    assert_eq!(socket.receive().0, ANNOUNCE);
    club.lists("bob\tmay announce\t20\t40");
    // In two pieces, with a filler between.
    announce[56..64].copy_from_slice(&21u64.to_be_bytes());
    let (one, two) = (url(&format!("/{}", &bob[..9])), url(&format!("{}/announce", &bob[9..])));
    socket.send(id, ANNOUNCE, 2, &[&announce[..], &one, &[1], &two].concat());
    assert_eq!(socket.receive().0, ANNOUNCE);
    club.lists("bob\tmay announce\t21\t40");
    for (number, without) in
        [url("/announce"), Vec::new(), url(&format!("/{}/announce", &bob[1..]))].iter().enumerate()
    {
        socket.send(id, ANNOUNCE, number as u32, &[&announce[..], without].concat());
        let (action, _, said) = socket.receive();
        let said = String::from_utf8(said).unwrap();
        assert!(action == ERROR && said.contains("passkey") && !said.contains(&bob[1..]), "{said}");
    }
    socket.send(id, SCRAPE, 9, &[b't'; 20]);
    let (action, _, said) = socket.receive();
    assert!(action == ERROR && String::from_utf8(said).unwrap().contains("over HTTP"));
}

#[test]
fn what_was_moved_last_is_written_at_a_stop_and_users_outlive_it() {
    let Club { program, folder } = Club::open();
    let club = Club { program, folder };
    let ann = club.add("ann");
    club.announces(&ann, "&left=5&event=started&uploaded=0&downloaded=0");
    club.announces(&ann, "&left=5&uploaded=12345&downloaded=678");
    let Club { program, folder } = club;
    assert_eq!(program.stop("TERM").code(), Some(0));
    let club = Club { program: Club::start(folder.path()), folder };
    assert_eq!(club.user(&["list"]).1, "ann\tmay announce\t12345\t678\n");
    // Known from the first announce on; counting begins with what it tells.
    assert!(
        club.announces(&ann, "&left=5&uploaded=12350&downloaded=678").contains("10:incompletei")
    );
    club.announces(&ann, "&left=5&uploaded=12400&downloaded=679");
    club.lists("ann\tmay announce\t12395\t679");
}

#[test]
fn the_shell_is_told_what_is_wrong() {
    let club = Club::open();
    club.add("ann");
    for (arguments, word) in [
        (&["add", "ann"][..], "a user ann already"),
        (&["add", "a b"], "without spaces"),
        (&["revoke", "bob"], "no user bob"),
        (&["list", "--config", "/nowhere"], ""),
    ] {
        let (_, said) = club.user(arguments);
        assert!(said.contains(word), "{said}");
    }
    let mut nameless = Command::new(env!("CARGO_BIN_EXE_ringseed-tracker"));
    let nameless = nameless.args(["user", "list"]).output().unwrap();
    assert_eq!(nameless.status.code(), Some(1));
    assert!(String::from_utf8(nameless.stderr).unwrap().contains("--users FILE"));
    let list = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(list.path(), "no database, but long enough to be looked at\n".repeat(40))
        .unwrap();
    let mut wrong = Command::new(env!("CARGO_BIN_EXE_ringseed-tracker"));
    let wrong = wrong.args(["--http", "127.0.0.1:0", "--users"]).arg(list.path()).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("another program's file"));
}
