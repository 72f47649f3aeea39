//! Announces over HTTP and HTTPS.

use super::fake_http::{Answer, HttpTracker, fine, moved};
use super::*;
use ringseed_sched::announce as pacing;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn event(target: &str) -> &str {
    match target.split_once("&event=") {
        Some((_, rest)) => rest.split('&').next().unwrap(),
        None => "",
    }
}

fn events(tracker: &HttpTracker) -> Vec<String> {
    tracker.targets().iter().map(|target| event(target).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_announce_says_who_what_and_how_much() {
    let tracker = HttpTracker::start(|_| fine()).await;
    let running = Running::start(options());
    running.add(5, &[&[&tracker.url("/announce?passkey=abc")]]);
    running.until_announced(1).await;
    let target = &tracker.targets()[0];
    for part in [
        "/announce?passkey=abc&info_hash=%00%00%00%05%00",
        "&peer_id=-RS0001-abcdefghijkl",
        "&port=6881",
        "&uploaded=1005",
        "&downloaded=0",
        "&left=0",
        "&event=started",
        "&compact=1",
        "&numwant=0",
        "&key=",
    ] {
        assert!(target.contains(part), "{part} is not in {target}");
    }
    let head = tracker.seen.heads.lock().unwrap()[0].to_ascii_lowercase();
    assert!(head.contains("user-agent: ringseed/test"), "{head}");
    assert!(head.contains(&format!("host: {}", tracker.address)), "{head}");
    assert_eq!(running.stop().await, StopSummary { told: 1, given_up: 0 });
    assert_eq!(events(&tracker), ["started", "stopped"]);
}

#[tokio::test(start_paused = true)]
async fn a_hybrid_announces_both_infohashes() {
    let tracker = HttpTracker::start(|_| fine()).await;
    let running = Running::start(options());
    running.handle.add(&Subject {
        torrent: TorrentId(0),
        swarms: smallvec![InfoHash([b'a'; 20]), InfoHash([b'b'; 20])],
        tiers: &[vec![tracker.url("/announce")]],
    });
    running.until_announced(2).await;
    let has = |hash: &str| tracker.targets().iter().any(|target| target.contains(hash));
    assert!(has("info_hash=aaaaaaaaaaaaaaaaaaaa&") && has("info_hash=bbbbbbbbbbbbbbbbbbbb&"));
    assert_eq!(running.stop().await.told, 2);
}

#[tokio::test(start_paused = true)]
async fn many_torrents_share_few_connections() {
    let tracker = HttpTracker::start(|_| fine()).await;
    let running = Running::start(options());
    let url = tracker.url("/announce");
    (0..300).for_each(|torrent| running.add(torrent, &[&[&url]]));
    running.until_announced(300).await;
    assert_eq!(tracker.count(), 300);
    assert_eq!(tracker.seen.most.load(Ordering::Relaxed), 8, "at once, as the bound says");
    assert_eq!(tracker.seen.connections.load(Ordering::Relaxed), 8, "and each kept alive");
    assert_eq!(running.stop().await, StopSummary { told: 300, given_up: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_once_for_all_torrents_and_the_next_tier_serves() {
    let refusing = HttpTracker::start(|_| {
        Answer::Status("200 OK", b"d14:failure reason20:unregistered torrente".to_vec())
    })
    .await;
    let tracker = HttpTracker::start(|_| fine()).await;
    let running = Running::start(options());
    let (first, second) = (refusing.url("/SECRET/announce"), tracker.url("/announce"));
    (0..50).for_each(|torrent| running.add(torrent, &[&[&first], &[&second]]));
    running.until_announced(50).await;
    let notices = running.notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    let refuses =
        format!("tracker http://{} refuses an announce: unregistered torrent", refusing.address);
    assert_eq!(notices[0], refuses, "no path, which may be a secret");
    let status = running.handle.status();
    assert_eq!((status.announced, status.failed), (50, 50));
    assert_eq!(running.stop().await.told, 50);
    assert!(!events(&refusing).contains(&"stopped".to_owned()), "it never knew us");
}

/// A first tier that does `bad`: the second tier must serve, and the notice say `why`.
async fn passed_over(bad: impl Fn(&str) -> Answer + Send + Sync + 'static, why: &str) -> Instant {
    let start = Instant::now();
    let (broken, tracker) = (HttpTracker::start(bad).await, HttpTracker::start(|_| fine()).await);
    let running = Running::start(options());
    running.add(0, &[&[&broken.url("/announce")], &[&tracker.url("/announce")]]);
    running.until_announced(1).await;
    assert_eq!(tracker.count(), 1);
    let notices = running.notices();
    assert!(notices.len() == 1 && notices[0].contains(why), "{notices:?}");
    start
}

#[tokio::test(start_paused = true)]
async fn nonsense_and_errors_are_passed_over_and_named() {
    let status = |line: &'static str| move |_: &str| Answer::Status(line, b"<html>".to_vec());
    passed_over(status("200 OK"), "unreadable").await;
    passed_over(status("404 Not Found"), "404 Not Found").await;
    passed_over(status("503 Service Unavailable"), "503 Service Unavailable").await;
    passed_over(|_| Answer::Raw(b"\x00\xff garbage".to_vec()), "does not answer").await;
    passed_over(|_| Answer::Raw(Vec::new()), "does not answer").await;
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nd8:inter";
    passed_over(move |_| Answer::Raw(cut.to_vec()), "breaks off").await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_is_cut_off() {
    let endless = || {
        let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        bytes.resize(4 * 1024 * 1024, b'x');
        Answer::Raw(bytes)
    };
    passed_over(move |_| endless(), "longer than 1048576 bytes").await;
    let head = || {
        let mut bytes = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
        bytes.resize(1024 * 1024, b'x');
        Answer::Raw(bytes)
    };
    passed_over(move |_| head(), "does not answer").await;
}

#[tokio::test(start_paused = true)]
async fn a_tracker_that_never_answers_is_given_up_after_thirty_seconds() {
    let start = passed_over(|_| Answer::Silence, "no answer within 30 s").await;
    assert_eq!(seconds_since(start), 30);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_there_is_told_once_and_asked_seldom() {
    let tracker = HttpTracker::start(|_| fine()).await;
    let running = Running::start(options());
    let (dead, alive) = (format!("http://{}/announce", nobody()), tracker.url("/announce"));
    (0..100).for_each(|torrent| running.add(torrent, &[&[&dead], &[&alive]]));
    running.until_announced(100).await;
    let notices = running.notices();
    assert!(notices.len() == 1 && notices[0].contains("refused"), "{notices:?}");
    assert!(running.handle.status().failed <= 8);
}

#[tokio::test(start_paused = true)]
async fn redirects_are_followed_here_and_elsewhere_but_not_in_circles() {
    let goal = HttpTracker::start(|_| fine()).await;
    let away = goal.url("/elsewhere?k=v");
    let first = HttpTracker::start(move |target| match target {
        "/here" => moved(&away),
        "/circle" => moved("/circle"),
        "/udp" => moved("udp://127.0.0.1:1/"),
        _ if target.starts_with("/circle") => moved("/circle"),
        _ if target.starts_with("/udp") => moved("udp://127.0.0.1:1/"),
        _ => moved("/here"),
    })
    .await;
    let running = Running::start(options());
    running.add(0, &[&[&first.url("/announce")]]);
    running.until_announced(1).await;
    assert_eq!(goal.targets(), ["/elsewhere?k=v"]);
    let before = first.count();
    running.add(1, &[&[&first.url("/circle")]]);
    running.until("the circle is noticed", |_| !running.notices().is_empty()).await;
    assert!(running.notices()[0].contains("more than 3 redirects"), "{:?}", running.notices());
    assert_eq!(first.count() - before, 4);
    running.add(2, &[&[&first.url("/udp")]]);
    running.until("the way to nowhere is noticed", |_| running.notices().len() == 2).await;
    assert!(running.notices()[1].contains("leads nowhere"), "{:?}", running.notices());
}

#[tokio::test(start_paused = true)]
async fn the_next_announce_comes_when_the_interval_is_over() {
    let tracker = HttpTracker::start(|_| {
        let body = b"d8:intervali600e12:min intervali900e10:tracker id3:xyz5:peers0:e";
        Answer::Status("200 OK", body.to_vec())
    })
    .await;
    let running = Running::start(options());
    running.add(0, &[&[&tracker.url("/announce")]]);
    running.until_announced(1).await;
    let start = Instant::now();
    running.until_announced(2).await;
    let seconds = seconds_since(start);
    assert!((899..=900 + 900 / 8 + 1).contains(&seconds), "{seconds} s");
    assert_eq!(events(&tracker), ["started", ""]);
    let targets = tracker.targets();
    assert!(!targets[0].contains("trackerid"));
    assert!(targets[1].contains("&trackerid=xyz"), "it is sent back: {}", targets[1]);
}

#[tokio::test(start_paused = true)]
async fn warnings_and_peers_are_handed_on() {
    let tracker = HttpTracker::start(|_| {
        let mut body = b"d8:intervali1800e5:peers6:".to_vec();
        body.extend([192, 0, 2, 7, 0x1a, 0xe1]);
        body.extend(b"15:warning message9:old agente");
        Answer::Status("200 OK", body)
    })
    .await;
    let running = Running::start(AnnouncerOptions { numwant: 50, ..options() });
    (0..9).for_each(|torrent| running.add(torrent, &[&[&tracker.url("/announce")]]));
    running.until_announced(9).await;
    assert_eq!(running.desk.peers.lock().unwrap()[0], "192.0.2.7:6881".parse().unwrap());
    let warns = format!("tracker http://{} warns: old agent", tracker.address);
    assert_eq!(running.notices(), [warns]);
    assert!(tracker.targets()[0].contains("&numwant=50"));
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_what_is_not_told_in_time_is_given_up_and_counted() {
    let tracker = HttpTracker::start(|target| match event(target) {
        "stopped" => Answer::Silence,
        _ => fine(),
    })
    .await;
    let running = Running::start(options());
    (0..40).for_each(|torrent| running.add(torrent, &[&[&tracker.url("/announce")]]));
    running.until_announced(40).await;
    let start = Instant::now();
    let summary = in_small_steps(running.handle.stop_all(Duration::from_secs(10))).await;
    assert_eq!(summary, StopSummary { told: 0, given_up: 40 });
    assert_eq!(seconds_since(start), 10);
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_nobody_waits_for_a_tracker_that_never_answered() {
    let silent = HttpTracker::start(|_| Answer::Silence).await;
    let tracker = HttpTracker::start(|_| fine()).await;
    let running = Running::start(options());
    running.add(0, &[&[&tracker.url("/announce")]]);
    (1..5).for_each(|torrent| running.add(torrent, &[&[&silent.url("/announce")]]));
    running.until_announced(1).await;
    let start = Instant::now();
    assert_eq!(running.stop().await, StopSummary { told: 1, given_up: 0 });
    assert_eq!(seconds_since(start), 2);
}

#[tokio::test(start_paused = true)]
async fn a_torrent_that_is_removed_is_stopped_with_its_last_totals() {
    let tracker = HttpTracker::start(|_| fine()).await;
    let running = Running::start(options());
    running.add(7, &[&[&tracker.url("/announce")]]);
    running.until_announced(1).await;
    running.handle.completed(TorrentId(7));
    running.until_announced(2).await;
    running.handle.remove(TorrentId(7));
    running.until_announced(3).await;
    assert_eq!(events(&tracker), ["started", "completed", "stopped"]);
    assert!(tracker.targets()[2].contains("&uploaded=1007&"));
    assert_eq!(running.handle.status().entries, 0);
}

#[tokio::test(start_paused = true)]
async fn each_family_is_announced_by_itself_and_a_missing_one_is_no_news() {
    let v4 = HttpTracker::start(|_| fine()).await;
    let Ok(v6) = HttpTracker::listen("[::1]:0", None, |_| fine()).await else {
        // A box without IPv6 shows the same by the first half alone.
        return;
    };
    let running =
        Running::start(AnnouncerOptions { families: vec![Family::V4, Family::V6], ..options() });
    running.add(0, &[&[&v4.url("/announce")], &[&v6.url("/announce")]]);
    running.until_announced(2).await;
    assert_eq!((v4.count(), v6.count()), (1, 1));
    assert_eq!(running.notices(), [""; 0]);
    assert_eq!(running.stop().await, StopSummary { told: 2, given_up: 0 });
}

#[tokio::test(start_paused = true)]
async fn names_are_resolved_and_unknown_ones_told() {
    let tracker = HttpTracker::start(|_| fine()).await;
    let running = Running::start(options());
    let url = format!("http://localhost:{}/announce", tracker.address.port());
    running.add(0, &[&["http://tracker.invalid/announce"], &[&url]]);
    running.until_announced(1).await;
    let notices = running.notices();
    assert!(notices.len() == 1 && notices[0].contains("tracker.invalid"), "{notices:?}");
}

#[tokio::test(start_paused = true)]
async fn unusable_urls_are_left_out_and_show_no_secret() {
    let tracker = HttpTracker::start(|_| fine()).await;
    let running = Running::start(options());
    running.add(0, &[&["wss://t.example/SECRET", &tracker.url("/announce")]]);
    running.add(1, &[&["udp://t.example/SECRET"]]);
    running.until_announced(1).await;
    let notices = running.notices();
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(!notices.concat().contains("SECRET"), "{notices:?}");
    assert_eq!(running.handle.status().entries, 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_comes_back_is_told_and_serves_those_who_waited() {
    let works = Arc::new(AtomicBool::new(false));
    let (now_works, asked) = (Arc::clone(&works), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&asked);
    let tracker = HttpTracker::start(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        match now_works.load(Ordering::Relaxed) {
            true => fine(),
            false => Answer::Status("503 Service Unavailable", Vec::new()),
        }
    })
    .await;
    let pacing = pacing::Options { concurrency_per_host: 4, ..pacing::Options::default() };
    let running = Running::start(AnnouncerOptions { pacing, ..options() });
    (0..100).for_each(|torrent| running.add(torrent, &[&[&tracker.url("/announce")]]));
    running.until("it fails", |_| !running.notices().is_empty()).await;
    pass(Duration::from_secs(3600)).await;
    assert!(asked.load(Ordering::Relaxed) < 12, "{asked:?} times in an hour");
    works.store(true, Ordering::Relaxed);
    running.until("all are served", |handle| handle.status().announced >= 100).await;
    let notices = running.notices();
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices[1].ends_with("answers again"), "{notices:?}");
}

mod tls {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    /// A server's certificate for `localhost`, and the authority that signed it.
    fn certificates() -> (TlsAcceptor, Vec<u8>) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::from_params(&params, &authority_key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        (TlsAcceptor::from(Arc::new(config)), authority.der().to_vec())
    }

    #[tokio::test(start_paused = true)]
    async fn https_works_with_a_trusted_certificate_and_only_with_one() {
        let (tls, authority) = certificates();
        let tracker = HttpTracker::listen("127.0.0.1:0", Some(tls), |_| fine()).await.unwrap();
        let url = format!("https://localhost:{}/announce", tracker.address.port());

        let stranger = Running::start(options());
        stranger.add(0, &[&[&url]]);
        stranger.until("it is not trusted", |_| !stranger.notices().is_empty()).await;
        assert!(stranger.notices()[0].contains("certificate"), "{:?}", stranger.notices());
        assert_eq!(tracker.count(), 0);

        let ca_certificates = vec![authority];
        let running = Running::start(AnnouncerOptions { ca_certificates, ..options() });
        (0..20).for_each(|torrent| running.add(torrent, &[&[&url]]));
        running.until_announced(20).await;
        assert_eq!(tracker.seen.connections.load(Ordering::Relaxed) - 1, 8, "kept alive");
        assert_eq!(running.stop().await, StopSummary { told: 20, given_up: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_redirect_from_https_to_http_is_not_followed() {
        let (tls, authority) = certificates();
        let open = HttpTracker::start(|_| fine()).await;
        let url = open.url("/announce");
        let tracker =
            HttpTracker::listen("127.0.0.1:0", Some(tls), move |_| moved(&url)).await.unwrap();
        let ca_certificates = vec![authority];
        let running = Running::start(AnnouncerOptions { ca_certificates, ..options() });
        let url = format!("https://localhost:{}/announce", tracker.address.port());
        running.add(0, &[&[&url]]);
        running.until("it is refused", |_| !running.notices().is_empty()).await;
        assert!(running.notices()[0].contains("from https to http"), "{:?}", running.notices());
        assert_eq!(open.count(), 0);
    }
}
