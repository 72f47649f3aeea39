//! Announces over UDP.

use super::fake_http::{HttpTracker, fine};
use super::fake_udp::{Fate, Packet, UdpTracker};
use super::*;
use ringseed_wire::tracker::AnnounceEvent;
use std::sync::atomic::{AtomicBool, Ordering};

/// Loses the packets whose numbers are given, answers the others.
async fn losing(lost: &'static [usize]) -> UdpTracker {
    UdpTracker::start(move |number, _| match lost.contains(&number) {
        true => Fate::Lost,
        false => Fate::Answered,
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn an_announce_says_who_what_and_how_much_and_carries_its_path() {
    let tracker = losing(&[]).await;
    let running = Running::start(AnnouncerOptions { numwant: 30, ..options() });
    running.add(5, &[&[&tracker.url("/announce?passkey=abc")]]);
    running.until_announced(1).await;
    let (connection_id, announce, url_data) = tracker.announces().remove(0);
    assert_eq!(connection_id, 1);
    assert_eq!(url_data, b"/announce?passkey=abc");
    assert_eq!(announce.info_hash, info_hash(5));
    assert_eq!(announce.peer_id.0, *b"-RS0001-abcdefghijkl");
    assert_eq!((announce.port, announce.numwant), (PORT, Some(30)));
    assert_eq!((announce.uploaded, announce.downloaded, announce.left), (1005, 0, 0));
    assert_eq!(announce.event, AnnounceEvent::Started);
    assert_eq!(*running.desk.peers.lock().unwrap(), ["192.0.2.9:6881".parse().unwrap()]);
    assert_eq!(running.stop().await, StopSummary { told: 1, given_up: 0 });
    let (_, last, _) = tracker.announces().remove(1);
    assert_eq!((last.event, last.numwant), (AnnounceEvent::Stopped, Some(0)));
    assert_eq!(tracker.letters(), "caa", "the connection id serves again");
}

#[tokio::test(start_paused = true)]
async fn a_lost_packet_is_sent_again_after_fifteen_seconds() {
    for (lost, letters) in [(&[0][..], "cca"), (&[1], "caa")] {
        let start = Instant::now();
        let tracker = losing(lost).await;
        let running = Running::start(options());
        running.add(0, &[&[&tracker.url("/announce")]]);
        running.until_announced(1).await;
        assert_eq!(tracker.letters(), letters);
        assert_eq!(seconds_since(start), 15);
        assert_eq!(running.notices(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_the_next_tier_comes_after_two_transmissions() {
    let start = Instant::now();
    let tracker = UdpTracker::start(|_, _| Fate::Lost).await;
    let http = HttpTracker::start(|_| fine()).await;
    let running = Running::start(options());
    running.add(0, &[&[&tracker.url("/announce")], &[&http.url("/announce")]]);
    running.until_announced(1).await;
    assert_eq!(seconds_since(start), 15 + 30);
    assert_eq!(tracker.letters(), "cc");
    let notices = running.notices();
    assert!(notices.len() == 1 && notices[0].contains("no answer within 45 s"), "{notices:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_tracker_is_asked_at_the_growing_distances_of_bep_15() {
    let tracker = UdpTracker::start(|_, _| Fate::Lost).await;
    let running = Running::start(options());
    (0..1000).for_each(|torrent| running.add(torrent, &[&[&tracker.url("/announce")]]));
    pass(Duration::from_secs(2 * 3600)).await;
    let times: Vec<_> = tracker.packets().iter().map(|(at, _)| *at).collect();
    let waits: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    // An attempt is two packets 15 s apart; the pauses between attempts double.
    let expected = [15, 30 + 60, 15, 30 + 120, 15, 30 + 240, 15, 30 + 480, 15, 30 + 960];
    assert!(waits.len() >= expected.len(), "{waits:?}");
    for (wait, least) in waits.iter().zip(expected) {
        assert!((least..=least + least / 8 + 1).contains(wait), "{waits:?}");
    }
    assert_eq!(running.notices().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_id_serves_all_torrents_for_a_minute() {
    let tracker = losing(&[]).await;
    let running = Running::start(options());
    let url = tracker.url("/announce");
    (0..50).for_each(|torrent| running.add(torrent, &[&[&url]]));
    running.until_announced(50).await;
    assert_eq!(tracker.letters(), format!("c{}", "a".repeat(50)));
    pass(Duration::from_secs(50)).await;
    running.add(50, &[&[&url]]);
    running.until_announced(51).await;
    pass(Duration::from_secs(10)).await;
    running.add(51, &[&[&url]]);
    running.until_announced(52).await;
    assert_eq!(tracker.letters(), format!("c{}ca", "a".repeat(51)));
    let ids: Vec<_> = tracker.announces().into_iter().map(|(id, _, _)| id).collect();
    assert_eq!(ids[..51], [1; 51]);
    assert_eq!(ids[51], 2);
}

#[tokio::test(start_paused = true)]
async fn a_tracker_that_forgot_our_connection_id_is_asked_for_a_new_one() {
    let restarted = Arc::new(AtomicBool::new(false));
    let forgot = Arc::clone(&restarted);
    let tracker = UdpTracker::start(move |_, packet| match packet {
        Packet::Announce { connection_id: 1, .. } if forgot.load(Ordering::Relaxed) => {
            Fate::Refused
        }
        _ => Fate::Answered,
    })
    .await;
    let running = Running::start(options());
    running.add(0, &[&[&tracker.url("/announce")]]);
    running.until_announced(1).await;
    restarted.store(true, Ordering::Relaxed);
    running.add(1, &[&[&tracker.url("/announce")]]);
    running.until_announced(2).await;
    assert_eq!(tracker.letters(), "caaca");
    assert_eq!(running.handle.status().failed, 0);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_the_torrents_and_told_once() {
    let tracker = UdpTracker::start(|_, packet| match packet {
        Packet::Announce { announce, .. } if announce.info_hash != info_hash(0) => Fate::Refused,
        _ => Fate::Answered,
    })
    .await;
    let running = Running::start(options());
    (0..5).for_each(|torrent| running.add(torrent, &[&[&tracker.url("/announce")]]));
    running.until("all are answered", |handle| handle.status().failed == 4).await;
    let refuses = format!("tracker udp://{} refuses an announce: no", tracker.address);
    assert_eq!(running.notices(), [refuses]);
    assert_eq!(running.stop().await, StopSummary { told: 1, given_up: 0 });
}

#[tokio::test(start_paused = true)]
async fn forged_answers_are_passed_over() {
    let tracker = UdpTracker::start(|_, _| Fate::Forged).await;
    let running = Running::start(AnnouncerOptions { numwant: 5, ..options() });
    running.add(0, &[&[&tracker.url("/announce")]]);
    running.until_announced(1).await;
    assert_eq!(running.desk.peers.lock().unwrap().len(), 1, "the true answer has a peer");
    // The forged ones ask for the next announce in a second, the true one in half an hour.
    pass(Duration::from_secs(1700)).await;
    assert_eq!(running.handle.status().announced, 1);
}

/// The same inside the runtime that tokio-uring drives, in real time.
#[test]
fn both_protocols_work_under_tokio_uring() {
    tokio_uring::builder().start(async {
        let (udp, http) = (losing(&[]).await, HttpTracker::start(|_| fine()).await);
        let running = Running::start(options());
        for torrent in 0..20 {
            running.add(torrent, &[&[&udp.url("/announce")]]);
            running.add(20 + torrent, &[&[&http.url("/announce")]]);
        }
        running.until_announced(40).await;
        assert_eq!(running.stop().await, StopSummary { told: 40, given_up: 0 });
        assert_eq!((udp.announces().len(), http.count()), (40, 40));
    });
}
