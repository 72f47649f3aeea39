//! Queries and answers of HTTP trackers: a query that was read is read again when it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringseed_wire::limits::{ANSWER_PEERS_MAX, SCRAPE_MAX};
use ringseed_wire::tracker_http::{
    announce_target, parse_announce, parse_announce_answer, parse_scrape, parse_scrape_answer,
    scrape_target,
};

fn query(target: &str) -> &[u8] {
    target.split_once('?').expect("a target has a query").1.as_bytes()
}

fuzz_target!(|input: &[u8]| {
    if let Ok(read) = parse_announce(input) {
        assert_eq!(parse_announce(query(&announce_target("/announce", &read))), Ok(read));
    }
    if let Ok(read) = parse_scrape(input) {
        assert!(read.len() <= SCRAPE_MAX);
        let target = scrape_target("/announce", &read).expect("the path can be scraped");
        assert_eq!(parse_scrape(query(&target)), Ok(read));
    }
    if let Ok(read) = parse_announce_answer(input) {
        assert!(read.peers.len() <= ANSWER_PEERS_MAX);
    }
    if let Ok(read) = parse_scrape_answer(input) {
        assert!(read.len() <= SCRAPE_MAX);
    }
});
