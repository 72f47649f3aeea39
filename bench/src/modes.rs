//! What can be asked of each mode. The flags of a subcommand are the fields of a load in a scenario
//! file: the same names, defaults and bounds.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use serde::{Deserialize, Deserializer, de};

use crate::abuse;
use crate::limits::{
    AT_ONCE_MAX, BYTES_PER_S_MAX, CHURN_BLOCKS_MAX, CONNECTIONS_MAX, DEPTH_MAX, PEERS_MAX,
    RATE_MAX, TORRENTS_MAX,
};
use crate::order::Order;
use crate::plan::{Announces, Demand, Kind, Rate, Transport};

/// A value that nothing can be made of.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} {value}: {limit}; {cure}")]
pub struct OutOfBounds {
    /// As scenario files write it.
    pub field: &'static str,
    pub value: String,
    pub limit: String,
    pub cure: &'static str,
}

impl OutOfBounds {
    /// The same, with the field named as a flag.
    pub fn of_a_flag(&self) -> String {
        let flag = self.field.replace('_', "-");
        format!("--{flag} {}: {}; {}", self.value, self.limit, self.cure)
    }
}

/// A whole number of `from` to `to`.
pub(crate) fn whole(
    field: &'static str,
    value: i64,
    from: u32,
    to: u32,
    cure: &'static str,
) -> Result<u32, OutOfBounds> {
    u32::try_from(value).ok().filter(|value| (from..=to).contains(value)).ok_or_else(|| {
        OutOfBounds { field, value: value.to_string(), limit: format!("{from} to {to}"), cure }
    })
}

/// A number over 0, up to `to`.
fn above_zero(
    field: &'static str,
    value: f64,
    to: f64,
    cure: &'static str,
) -> Result<f64, OutOfBounds> {
    if value > 0.0 && value <= to {
        return Ok(value);
    }
    Err(OutOfBounds { field, value: value.to_string(), limit: format!("over 0, up to {to}"), cure })
}

fn connections(value: i64) -> Result<u32, OutOfBounds> {
    whole("connections", value, 1, CONNECTIONS_MAX, "for more, add a load or run a second program")
}

fn depth(value: i64) -> Result<u32, OutOfBounds> {
    whole("depth", value, 1, DEPTH_MAX, "for more requests at once, add connections")
}

/// As many requests as are wanted at once on each of many connections.
#[derive(Clone, PartialEq, Debug, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[group(skip)]
pub struct Flood {
    /// Leechers to run
    #[arg(long, value_name = "N", default_value_t = Flood::default().connections, allow_negative_numbers = true)]
    connections: i64,
    /// Requests that each keeps outstanding
    #[arg(long, value_name = "N", default_value_t = Flood::default().depth, allow_negative_numbers = true)]
    depth: i64,
    /// Order in which pieces are asked for: sequential, random, or hot-set:R:P (R of 100 requests
    /// go to P of 100 pieces)
    #[arg(long, value_name = "ORDER", default_value_t = Flood::default().order)]
    #[serde(deserialize_with = "from_text")]
    order: Order,
}

impl Default for Flood {
    fn default() -> Flood {
        Flood { connections: 100, depth: 64, order: Order::Sequential }
    }
}

impl Flood {
    /// A closed loop; with `verify` each piece is hashed.
    pub fn kind(&self, verify: bool) -> Result<Kind, OutOfBounds> {
        let (connections, depth) = (connections(self.connections)?, depth(self.depth)?);
        Ok(Kind::Flood { connections, depth, order: self.order, verify })
    }
}

/// Requests at fixed times, whatever has been answered.
#[derive(Clone, PartialEq, Debug, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[group(skip)]
pub struct Latency {
    /// Leechers that the requests are spread over
    #[arg(long, value_name = "N", default_value_t = Latency::default().connections, allow_negative_numbers = true)]
    pub connections: i64,
    /// Requests a second, or a share of the most that a flood has reached, such as 50%
    #[arg(long, value_name = "N|N%", default_value = "1000", allow_negative_numbers = true)]
    pub rate: AskedRate,
    /// Order in which pieces are asked for: sequential, random, or hot-set:R:P (R of 100 requests
    /// go to P of 100 pieces)
    #[arg(long, value_name = "ORDER", default_value_t = Latency::default().order)]
    #[serde(deserialize_with = "from_text")]
    pub order: Order,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency {
            connections: 100,
            rate: AskedRate(Rate::PerSecond(1_000.0)),
            order: Order::Random,
        }
    }
}

impl Latency {
    /// An open loop.
    pub fn kind(&self) -> Result<Kind, OutOfBounds> {
        let rate = match self.rate.0 {
            Rate::PerSecond(rate) => Rate::PerSecond(requests_per_s(rate)?),
            Rate::OfPeak(share) if share > 0.0 && share <= 1.0 => Rate::OfPeak(share),
            Rate::OfPeak(share) => {
                return Err(OutOfBounds {
                    field: "rate",
                    value: format!("{}%", share * 100.0),
                    limit: "over 0 %, up to 100 % of the measured peak".into(),
                    cure: "give a share within, or requests a second",
                });
            }
        };
        Ok(Kind::Latency { connections: connections(self.connections)?, rate, order: self.order })
    }
}

fn requests_per_s(rate: f64) -> Result<f64, OutOfBounds> {
    above_zero("rate", rate, RATE_MAX, "give so many a second that one machine can send them")
}

/// Leechers that come and go.
#[derive(Clone, PartialEq, Debug, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[group(skip)]
pub struct Churn {
    /// Leechers that connect each second
    #[arg(long, value_name = "N", default_value_t = Churn::default().rate, allow_negative_numbers = true)]
    rate: f64,
    /// Blocks that each fetches before it leaves; 0: it leaves when it is unchoked
    #[arg(long, value_name = "N", default_value_t = Churn::default().blocks, allow_negative_numbers = true)]
    blocks: i64,
}

impl Default for Churn {
    fn default() -> Churn {
        Churn { rate: 100.0, blocks: 4 }
    }
}

impl Churn {
    /// Connections at a rate.
    pub fn kind(&self) -> Result<Kind, OutOfBounds> {
        let cure = "a leecher that stays is a flood";
        let blocks = whole("blocks", self.blocks, 0, CHURN_BLOCKS_MAX, cure)?;
        Ok(Kind::Churn { rate: requests_per_s(self.rate)?, blocks })
    }
}

/// Connections that say hello and nothing more.
#[derive(Clone, PartialEq, Debug, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[group(skip)]
pub struct Idle {
    /// Connections to hold
    #[arg(long, value_name = "N", default_value_t = Idle::default().connections, allow_negative_numbers = true)]
    connections: i64,
}

impl Default for Idle {
    fn default() -> Idle {
        Idle { connections: 1_000 }
    }
}

impl Idle {
    /// Silence.
    pub fn kind(&self) -> Result<Kind, OutOfBounds> {
        Ok(Kind::Idle { connections: connections(self.connections)? })
    }
}

/// Readers that ask for much and read little.
#[derive(Clone, PartialEq, Debug, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[group(skip)]
pub struct Slow {
    /// Slow readers to run
    #[arg(long, value_name = "N", default_value_t = Slow::default().connections, allow_negative_numbers = true)]
    connections: i64,
    /// Requests that each slow reader keeps outstanding
    #[arg(long, value_name = "N", default_value_t = Slow::default().depth, allow_negative_numbers = true)]
    depth: i64,
    /// Bytes a second that each slow reader reads
    #[arg(long, value_name = "BYTES", default_value_t = Slow::default().bytes_per_s, allow_negative_numbers = true)]
    bytes_per_s: i64,
}

impl Default for Slow {
    fn default() -> Slow {
        Slow { connections: 100, depth: 64, bytes_per_s: 16_384 }
    }
}

impl Slow {
    /// A closed loop with a brake.
    pub fn kind(&self) -> Result<Kind, OutOfBounds> {
        let cure = "a reader that is faster is a flood";
        let bytes_per_s = whole("bytes_per_s", self.bytes_per_s, 1, BYTES_PER_S_MAX, cure)?;
        let (connections, depth) = (connections(self.connections)?, depth(self.depth)?);
        Ok(Kind::Slow { connections, depth, bytes_per_s })
    }
}

/// Announces and scrapes, at fixed times or so many at once.
#[derive(Clone, PartialEq, Debug, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[group(skip)]
pub struct Announce {
    /// Announces and scrapes a second, to each tracker address
    #[arg(long, value_name = "N", default_value_t = Announce::default().rate, allow_negative_numbers = true)]
    rate: f64,
    /// Keep so many requests without an answer, instead of a rate; 0: by the rate
    #[arg(long, value_name = "N", default_value_t = Announce::default().at_once, allow_negative_numbers = true)]
    at_once: i64,
    /// Infohashes that are announced
    #[arg(long, value_name = "N", default_value_t = Announce::default().torrents, allow_negative_numbers = true)]
    torrents: i64,
    /// Peers in all, spread over the torrents by Zipf's law (give --from, so that each source has an
    /// address); 0: one of each source in each torrent
    #[arg(long, value_name = "N", default_value_t = Announce::default().peers, allow_negative_numbers = true)]
    peers: i64,
    /// Each peer announces once before the load begins, within the time of --opening
    #[arg(long)]
    fill: bool,
    /// Share of scrapes among the requests, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = Announce::default().scrapes, allow_negative_numbers = true)]
    scrapes: f64,
}

impl Default for Announce {
    fn default() -> Announce {
        Announce { rate: 1_000.0, at_once: 0, torrents: 100, peers: 0, fill: false, scrapes: 0.1 }
    }
}

impl Announce {
    /// A load against a tracker.
    pub fn kind(&self, transport: Transport) -> Result<Kind, OutOfBounds> {
        let cure = "each is a swarm that the tracker keeps";
        let torrents = whole("torrents", self.torrents, 1, TORRENTS_MAX, cure)?;
        if !(0.0..=1.0).contains(&self.scrapes) {
            return Err(OutOfBounds {
                field: "scrapes",
                value: self.scrapes.to_string(),
                limit: "0 to 1".into(),
                cure: "it is a share: 0.1 makes each tenth request a scrape",
            });
        }
        let cure = "start a second program from other addresses";
        let peers = whole("peers", self.peers, 0, PEERS_MAX, cure)?;
        let cure = "the sockets of a tracker hold no more";
        let demand = match whole("at_once", self.at_once, 0, AT_ONCE_MAX, cure)? {
            0 => Demand::Rate(requests_per_s(self.rate)?),
            requests => Demand::AtOnce(requests),
        };
        let (scrapes, fill) = (self.scrapes, self.fill);
        Ok(Kind::Announce(Announces { transport, demand, torrents, peers, scrapes, fill }))
    }
}

/// Hostile peers.
#[derive(Clone, PartialEq, Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[group(skip)]
pub struct Abuse {
    /// Only these of the hostile peers [default: all]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    only: Vec<String>,
}

impl Abuse {
    /// The catalogue, or a part of it.
    pub fn kind(&self) -> Result<Kind, OutOfBounds> {
        let is_one = |name: &str| abuse::catalogue().any(|(of_one, _)| of_one == name);
        if let Some(unknown) = self.only.iter().find(|name| !is_one(name)) {
            let names: Vec<&str> = abuse::catalogue().map(|(name, _)| name).collect();
            return Err(OutOfBounds {
                field: "only",
                value: format!("'{unknown}'"),
                limit: format!("no hostile peer is called so; there are {}", names.join(", ")),
                cure: "for all of them leave it out",
            });
        }
        Ok(Kind::Abuse { only: self.only.clone() })
    }
}

/// A rate as people write it: `1000`, or `50%` of the peak.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AskedRate(pub Rate);

impl FromStr for AskedRate {
    type Err = String;

    fn from_str(text: &str) -> Result<AskedRate, String> {
        let number = |text: &str| text.trim().parse::<f64>();
        match text.strip_suffix('%') {
            Some(percent) => number(percent).map(|percent| Rate::OfPeak(percent / 100.0)),
            None => number(text).map(Rate::PerSecond),
        }
        .map(AskedRate)
        .map_err(|_| format!("rate '{text}': a number, or a share such as \"50%\", is needed"))
    }
}

impl<'de> Deserialize<'de> for AskedRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AskedRate, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = AskedRate;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("requests a second, or a share such as \"50%\"")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<AskedRate, E> {
                Ok(AskedRate(Rate::PerSecond(value as f64)))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<AskedRate, E> {
                Ok(AskedRate(Rate::PerSecond(value)))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<AskedRate, E> {
                value.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_defaults_are_possible() {
        assert!(Flood::default().kind(false).is_ok() && Latency::default().kind().is_ok());
        assert!(Churn::default().kind().is_ok() && Idle::default().kind().is_ok());
        assert!(Slow::default().kind().is_ok() && Abuse::default().kind().is_ok());
        assert!(Announce::default().kind(Transport::Udp).is_ok());
    }

    #[test]
    fn an_error_names_field_value_limit_and_cure() {
        let flood = Flood { connections: 99_999, ..Flood::default() };
        let error = flood.kind(false).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "connections 99999: 1 to {CONNECTIONS_MAX}; for more, add a load or run a second program"
            )
        );
        let slow = Slow { bytes_per_s: 0, ..Slow::default() };
        assert!(slow.kind().unwrap_err().of_a_flag().starts_with("--bytes-per-s 0: 1 to "));
    }

    #[test]
    fn rates_are_numbers_or_shares() {
        let rate = |text: &str| text.parse::<AskedRate>().map(|rate| rate.0);
        assert_eq!(rate("1000"), Ok(Rate::PerSecond(1000.0)));
        assert_eq!(rate("50%"), Ok(Rate::OfPeak(0.5)));
        assert_eq!(rate("12.5 %"), Ok(Rate::OfPeak(0.125)));
        assert!(rate("fast").unwrap_err().contains("'fast'") && rate("%").is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_lies_within_its_bounds(number in any::<i64>(), rate in any::<f64>()) {
            let flood = Flood { connections: number, depth: number, ..Flood::default() };
            if let Ok(Kind::Flood { connections, depth, .. }) = flood.kind(true) {
                prop_assert!((1..=CONNECTIONS_MAX).contains(&connections));
                prop_assert!((1..=DEPTH_MAX).contains(&depth));
            }
            for rate in [rate, f64::NAN, f64::INFINITY, 0.0, -1.0] {
                if let Ok(Kind::Churn { rate, .. }) = (Churn { rate, blocks: 1 }).kind() {
                    prop_assert!(rate > 0.0 && rate <= RATE_MAX);
                }
                let latency = Latency { rate: AskedRate(Rate::OfPeak(rate)), ..Latency::default() };
                if let Ok(Kind::Latency { rate: Rate::OfPeak(share), .. }) = latency.kind() {
                    prop_assert!(share > 0.0 && share <= 1.0);
                }
            }
        }
    }
}
