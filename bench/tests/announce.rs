//! Announces against small trackers of plain sockets: what is sent, counted and timed. The trackers
//! are written apart from the codecs of the load, so that no bug is on both sides.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hdrhistogram::Histogram;
use ringseed_meta::Instant;
use ringseed_swarm::announce::{self, Announcers};
use ringseed_swarm::clock::{Clock, Schedule};
use ringseed_swarm::context::Context;
use ringseed_swarm::note::{Event, Note};
use ringseed_swarm::plan::{Announces, Demand, Place, Tracker, Transport};
use ringseed_swarm::results::{Counts, distribution};

const ID: u64 = 0x0102_0304_0506_0708;

/// What a stub tracker has seen.
#[derive(Default)]
struct Seen {
    sources: Mutex<BTreeSet<IpAddr>>,
    infohashes: Mutex<BTreeSet<Vec<u8>>>,
    connections: AtomicU64,
    /// Announces over HTTP.
    announces: AtomicU64,
    /// Who announced over UDP: torrent, address and port.
    peers: Mutex<BTreeSet<(Vec<u8>, IpAddr, u16)>>,
}

/// When the tracker answers: each answer so much later, or nothing at all for a while.
#[derive(Clone, Copy, Default)]
struct Manners {
    delay: Duration,
    /// It stands still once for so long, after so many requests.
    stall: Option<(Duration, usize)>,
    /// One announce or scrape of so many gets no answer.
    drops_one_in: Option<usize>,
}

/// Waits for a time without a clock of its own.
fn pause(time: Duration) {
    let (_never, nothing) = channel::<()>();
    assert_eq!(nothing.recv_timeout(time), Err(RecvTimeoutError::Timeout));
}

/// Serves UDP until the test's process ends.
fn udp_tracker(manners: Manners) -> (SocketAddr, Arc<Seen>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let to_tell = seen.clone();
    let (send, late) = channel::<(SocketAddr, Vec<u8>, Instant)>();
    let clock = Clock::start();
    let sender = socket.try_clone().unwrap();
    std::thread::spawn(move || {
        while let Ok((to, answer, at)) = late.recv() {
            let wait = at.since(clock.now());
            if !wait.is_zero() {
                pause(wait);
            }
            sender.send_to(&answer, to).unwrap();
        }
    });
    std::thread::spawn(move || {
        let mut stall = manners.stall;
        for number in 0.. {
            let mut datagram = [0; 2048];
            let (bytes, from) = socket.recv_from(&mut datagram).unwrap();
            let answer = udp_answer(&datagram[..bytes], &to_tell);
            to_tell.sources.lock().unwrap().insert(from.ip());
            if datagram[11] == 1 {
                let port = u16::from_be_bytes([datagram[96], datagram[97]]);
                let peer = (datagram[16..36].to_vec(), from.ip(), port);
                to_tell.peers.lock().unwrap().insert(peer);
            }
            if let Some((time, after)) = stall
                && number == after
            {
                stall = None;
                pause(time);
            }
            let is_connect = datagram[11] == 0;
            if !is_connect && manners.drops_one_in.is_some_and(|many| number % many == 0) {
                continue;
            }
            send.send((from, answer, clock.now().after(manners.delay))).unwrap();
        }
    });
    (address, seen)
}

fn udp_answer(request: &[u8], seen: &Seen) -> Vec<u8> {
    let (id, action) = (&request[..8], request[11]);
    let mut answer = vec![0, 0, 0, action];
    answer.extend_from_slice(&request[12..16]);
    match action {
        0 => {
            assert_eq!(id, 0x0417_2710_1980_u64.to_be_bytes());
            answer.extend_from_slice(&ID.to_be_bytes());
        }
        1 => {
            assert_eq!((id, request.len()), (&ID.to_be_bytes()[..], 98));
            seen.infohashes.lock().unwrap().insert(request[16..36].to_vec());
            answer.extend_from_slice(&[0, 0, 7, 8, 0, 0, 0, 1, 0, 0, 0, 1, 127, 0, 0, 1, 26, 225]);
        }
        2 => {
            assert_eq!((id, request.len()), (&ID.to_be_bytes()[..], 36));
            answer.extend_from_slice(&[0; 12]);
        }
        other => panic!("action {other}"),
    }
    answer
}

/// Serves HTTP until the test's process ends; `keeps`: more than one request on a connection.
fn http_tracker(keeps: bool) -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let to_tell = seen.clone();
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            let (peer, seen) = (peer.unwrap(), to_tell.clone());
            seen.connections.fetch_add(1, Ordering::Relaxed);
            seen.sources.lock().unwrap().insert(peer.peer_addr().unwrap().ip());
            // An error is the load closing the connection.
            std::thread::spawn(move || drop(serve_http(peer, keeps, &seen)));
        }
    });
    (address, seen)
}

fn serve_http(mut peer: TcpStream, keeps: bool, seen: &Seen) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let mut some = [0; 4096];
        let length = peer.read(&mut some)?;
        if length == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&some[..length]);
        while let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let request = String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
            let body = if request.starts_with("GET /announce?info_hash=%")
                || request.starts_with("GET /announce?info_hash=")
            {
                seen.announces.fetch_add(1, Ordering::Relaxed);
                b"d8:completei1e10:incompletei0e8:intervali1800e5:peers6:\x7f\0\0\x01\x1a\xe1e"
                    .to_vec()
            } else {
                let hash = unescaped(request.strip_prefix("GET /scrape?info_hash=").unwrap());
                [b"d5:filesd20:", &hash[..], b"d8:completei1e10:downloadedi0e10:incompletei0eeee"]
                    .concat()
            };
            let connection = if keeps { "" } else { "Connection: close\r\n" };
            let head =
                format!("HTTP/1.1 200 OK\r\n{connection}Content-Length: {}\r\n\r\n", body.len());
            peer.write_all(&[head.as_bytes(), &body].concat())?;
            if !keeps {
                return Ok(());
            }
        }
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes().take_while(|byte| *byte != b' ' && *byte != b'&');
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    bytes
}

/// What a run has told.
#[derive(Default)]
struct Told {
    counts: Counts,
    announce: Option<Histogram<u64>>,
    scrapes: u64,
    intervals: Vec<(Instant, Instant)>,
    errors: Vec<(String, u64)>,
    ended: Option<Result<(), String>>,
}

impl Told {
    fn take(&mut self, note: Note) {
        match note.event {
            Event::Interval(seen) => {
                self.counts.requests += seen.counts.requests;
                self.counts.answers += seen.counts.answers;
                self.counts.errors += seen.counts.errors;
                self.intervals.push((seen.begin, seen.until));
                for (name, histogram) in &seen.latencies {
                    match *name {
                        "announce" => self
                            .announce
                            .get_or_insert_with(distribution::new_histogram)
                            .add(histogram)
                            .unwrap(),
                        "scrape" => self.scrapes += histogram.len(),
                        _ => {}
                    }
                }
            }
            Event::Error(error) => self.errors.push((error.what, error.times)),
            Event::Ended(how) => self.ended = Some(how),
            Event::Ready => {}
            other => panic!("{other:?}"),
        }
    }

    /// Microseconds.
    fn percentile(&self, quantile: f64) -> u64 {
        self.announce.as_ref().unwrap().value_at_quantile(quantile)
    }
}

const COUNTED: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_millis(250);

/// Runs a load for a second, after all its sources were ready (or a second was over).
fn run(tracker: Tracker, rate: f64, from: Option<(IpAddr, u32)>) -> Told {
    run_load(tracker, at_a_rate(rate), from)
}

/// A load over UDP; over HTTP where a tracker of that kind is asked.
fn at_a_rate(rate: f64) -> Announces {
    Announces {
        transport: Transport::Udp,
        demand: Demand::Rate(rate),
        torrents: 8,
        peers: 0,
        scrapes: 0.25,
        fill: false,
    }
}

fn run_load(tracker: Tracker, load: Announces, from: Option<(IpAddr, u32)>) -> Told {
    let transport = if tracker.udp.is_some() { Transport::Udp } else { Transport::Http };
    let announces = Announces { transport, ..load };
    let (clock, schedule) = (Clock::start(), Arc::new(Schedule::new()));
    let (tell, told) = channel();
    let places = Arc::new([Place::default()]);
    let context = Context { load: 7, clock, schedule: schedule.clone(), places, tell };
    let announcers = Announcers { tracker, from, addresses_before: 0 };
    assert_eq!(announce::start(&context, &announcers, &announces).unwrap(), 1);
    drop(context);
    let mut all = Told::default();
    wait_for_ready(&told, &mut all, clock, announce::connections_of(transport, 1));
    let (_, until) = schedule.begin(clock.now(), Duration::from_millis(100), COUNTED, INTERVAL);
    while all.ended.is_none() {
        match told.recv_timeout(until.since(clock.now()) + Duration::from_millis(1)) {
            Ok(note) => all.take(note),
            Err(_) if clock.now() > until => schedule.close(),
            Err(_) => {}
        }
    }
    all
}

fn wait_for_ready(told: &Receiver<Note>, all: &mut Told, clock: Clock, sources: u32) {
    let mut ready = 0;
    let give_up = clock.now().after(Duration::from_secs(1));
    while let Ok(note) = told.recv_timeout(give_up.since(clock.now())) {
        assert_eq!(note.load, 7);
        ready += u32::from(matches!(note.event, Event::Ready));
        if ready == sources {
            return;
        }
        all.take(note);
    }
}

fn udp(address: SocketAddr) -> Tracker {
    Tracker { http: None, udp: Some(address) }
}

fn http(address: SocketAddr) -> Tracker {
    Tracker { http: Some(format!("http://{address}/announce")), udp: None }
}

#[track_caller]
fn assert_all_answered(told: &Told, rate: u64) {
    assert_eq!(told.ended, Some(Ok(())));
    let Counts { requests, answers, errors, .. } = told.counts;
    assert!(requests.abs_diff(rate) <= 1, "{requests} requests at {rate} a second");
    // The last answers may come after the time that counts, of a busy machine many: they are timed,
    // and not of its rate.
    assert!((requests / 2..=requests).contains(&answers), "{answers} of {requests}");
    assert_eq!(errors, 0, "{:?}", told.errors);
    let announces = told.announce.as_ref().unwrap().len();
    assert_eq!(announces + told.scrapes, requests);
    assert!(told.scrapes.abs_diff(rate / 4) < rate / 10, "{} scrapes", told.scrapes);
}

#[test]
fn a_udp_tracker_that_answers_is_asked_at_the_rate_from_all_sources() {
    let (address, seen) = udp_tracker(Manners::default());
    let told = run(udp(address), 400.0, Some(("127.0.3.1".parse().unwrap(), 2)));
    assert_all_answered(&told, 400);
    let sources = seen.sources.lock().unwrap();
    let right = (0..32).map(|number| IpAddr::from([127, 0, 3, 1 + 2 * number])).collect();
    assert_eq!(*sources, right);
    assert_eq!(seen.infohashes.lock().unwrap().len(), 8);
    // The intervals follow each other and make up the second.
    assert_eq!(told.intervals.len(), 4);
    assert!(told.intervals.windows(2).all(|pair| pair[0].1 == pair[1].0));
    assert_eq!(told.intervals[3].1.since(told.intervals[0].0), COUNTED);
}

#[test]
fn a_delay_of_the_tracker_is_what_every_answer_shows() {
    let (address, _) =
        udp_tracker(Manners { delay: Duration::from_millis(20), ..Manners::default() });
    let told = run(udp(address), 500.0, None);
    assert_all_answered(&told, 500);
    let (least, median) = (told.announce.as_ref().unwrap().min(), told.percentile(0.5));
    assert!(least >= 19_900 && (20_000..40_000).contains(&median), "{least} and {median} us");
}

#[test]
fn what_a_tracker_does_not_answer_is_the_slowest_of_all() {
    let (address, _) = udp_tracker(Manners { drops_one_in: Some(5), ..Manners::default() });
    let told = run(udp(address), 500.0, None);
    let Counts { requests, answers, errors, .. } = told.counts;
    assert!(errors.abs_diff(requests / 5) <= 10, "{errors} of {requests}: {:?}", told.errors);
    assert!(answers + errors <= requests && answers > 200, "{answers} of {requests}");
    assert_eq!(told.announce.as_ref().unwrap().len() + told.scrapes, requests);
    let (p75, p99) = (told.percentile(0.75), told.percentile(0.99));
    assert!(p75 < 1_000_000 && p99 > 1_990_000, "p75 {p75} us, p99 {p99} us");
}

#[test]
fn an_answer_behind_the_time_that_counts_is_timed_and_not_of_its_rate() {
    let delay = Duration::from_millis(300);
    let (address, _) = udp_tracker(Manners { delay, ..Manners::default() });
    let told = run(udp(address), 500.0, None);
    let Counts { requests, answers, errors, .. } = told.counts;
    // Of a second, all but the last 300 ms are answered within it, at most.
    assert!((100..=355).contains(&answers) && errors == 0, "{answers} of {requests}");
    assert_eq!(told.announce.as_ref().unwrap().len() + told.scrapes, requests);
}

#[test]
fn a_tracker_that_stalls_is_charged_for_all_that_was_due_meanwhile() {
    // 400 ms of standing still within a second: of all requests 40 % come due meanwhile, and wait
    // between 400 ms and nothing, evenly. So a tenth waits over 300 ms, a fifth over 200 ms.
    let stall = Some((Duration::from_millis(400), 200));
    let (address, _) = udp_tracker(Manners { stall, ..Manners::default() });
    let told = run(udp(address), 400.0, None);
    assert_all_answered(&told, 400);
    for (quantile, right_ms) in [(0.9, 300), (0.8, 200), (0.7, 100)] {
        let us = told.percentile(quantile);
        let (low, high) = ((right_ms - 60) * 1_000, (right_ms + 120) * 1_000);
        assert!((low..high).contains(&us), "p{quantile}: {us} us, {right_ms} ms predicted");
    }
    assert!((390_000..550_000).contains(&told.percentile(1.0)));
}

#[test]
fn an_http_tracker_that_keeps_connections_is_asked_on_a_bounded_pool() {
    let (address, seen) = http_tracker(true);
    let told = run(http(address), 2_000.0, Some(("127.0.4.1".parse().unwrap(), 1)));
    assert_all_answered(&told, 2_000);
    assert_eq!(seen.connections.load(Ordering::Relaxed), 64);
    assert_eq!(seen.sources.lock().unwrap().len(), 64);
}

#[test]
fn an_http_tracker_that_closes_after_each_answer_is_asked_all_the_same() {
    let (address, seen) = http_tracker(false);
    let told = run(http(address), 500.0, None);
    assert_all_answered(&told, 500);
    assert!(seen.connections.load(Ordering::Relaxed) >= 500);
}

#[test]
fn a_closed_loop_has_so_many_requests_under_way_and_no_more() {
    let delay = Duration::from_millis(20);
    let (address, _) = udp_tracker(Manners { delay, ..Manners::default() });
    let load = Announces { demand: Demand::AtOnce(8), ..at_a_rate(0.0) };
    let told = run_load(udp(address), load, None);
    let Counts { requests, answers, errors, .. } = told.counts;
    // Fifty rounds of 20 ms at the most (fewer on a busy machine), and those under way at the begin and at the end.
    assert!((16..=408).contains(&answers) && errors == 0, "{answers} of {requests}");
    assert!(requests - answers <= 8, "{answers} of {requests}");
    assert!(told.announce.as_ref().unwrap().min() >= 19_900);
    let (address, seen) = http_tracker(true);
    let told = run_load(http(address), load, None);
    assert!(told.counts.answers > 16 && told.counts.errors == 0, "{:?}", told.errors);
    assert!(seen.connections.load(Ordering::Relaxed) <= 64);
}

#[test]
fn a_fill_makes_every_peer_known_before_the_load_begins() {
    let load = Announces { peers: 320, fill: true, ..at_a_rate(1.0) };
    let from = Some(("127.0.5.1".parse().unwrap(), 1));
    let (address, seen) = udp_tracker(Manners::default());
    let told = run_load(udp(address), load, from);
    assert_eq!((told.errors.len(), seen.peers.lock().unwrap().len()), (0, 320));
    // Neither are they in the figures.
    assert!(told.counts.requests <= 2, "{}", told.counts.requests);
    let (address, seen) = http_tracker(true);
    let told = run_load(http(address), load, from);
    let announces = seen.announces.load(Ordering::Relaxed);
    // Connections do not take turns exactly: some ask again before the last has asked.
    assert!((320..640).contains(&announces), "{announces}");
    assert!(told.errors.is_empty() && told.counts.requests <= 2, "{:?}", told.errors);
    let (address, seen) = http_tracker(false);
    run_load(http(address), load, from);
    assert!((320..640).contains(&seen.announces.load(Ordering::Relaxed)), "connections closed");
}

#[test]
fn a_tracker_that_is_not_there_is_an_error_for_each_request() {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = run(udp(nobody), 200.0, None);
    assert_eq!((told.ended, told.counts.answers), (Some(Ok(())), 0));
    assert_eq!(told.counts.errors, told.counts.requests);
    assert!(told.errors.iter().any(|(what, _)| what.contains("refused")), "{:?}", told.errors);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = run(http(nobody), 200.0, None);
    assert_eq!((told.ended, told.counts.answers), (Some(Ok(())), 0));
    assert_eq!(told.counts.errors, told.counts.requests);
    assert!(
        told.errors.iter().any(|(what, _)| what.contains("cannot connect")),
        "{:?}",
        told.errors
    );
}

#[test]
fn a_load_that_cannot_be_carried_out_ends_with_the_reason() {
    let told = run(Tracker { http: Some("https://a.b/announce".into()), udp: None }, 1.0, None);
    assert!(told.ended.unwrap().unwrap_err().contains("no TLS"));
    let told = run(Tracker { http: Some("http://127.0.0.1:1/x".into()), udp: None }, 1.0, None);
    assert!(told.ended.unwrap().unwrap_err().contains("no scrape (BEP 48)"));
}
