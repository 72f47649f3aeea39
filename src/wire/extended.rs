//! The extension protocol's handshake (BEP 10) and metadata messages (BEP 9).

use alloc::string::String;
use core::net::IpAddr;

use bytes::BufMut;
use ringseed_meta::bencode::{self, Value, Writer};

use crate::message::{frame_bytes, id as message_id};
use crate::{ProtocolError, limits};

/// Extended message id of the handshake (BEP 10).
pub const HANDSHAKE_ID: u8 = 0;
/// The id under which we take `ut_metadata` (BEP 9); told in our handshake's `m`.
pub const METADATA_ID: u8 = 1;

/// A handshake's dictionary fits 4 KiB; a value takes two bytes at least.
const HANDSHAKE_LIMITS: bencode::Limits = bencode::Limits {
    bytes_max: limits::EXTENDED_HANDSHAKE_BYTES_MAX as usize,
    depth_max: limits::EXTENDED_DEPTH_MAX,
    values_max: limits::EXTENDED_HANDSHAKE_BYTES_MAX as usize / 2,
};

pub(crate) const METADATA_LIMITS: bencode::Limits = bencode::Limits {
    bytes_max: limits::METADATA_HEAD_BYTES_MAX,
    depth_max: limits::EXTENDED_DEPTH_MAX,
    values_max: limits::METADATA_HEAD_BYTES_MAX / 2,
};

/// Whether we take extended messages with this id.
pub(crate) fn is_known(id: u8) -> bool {
    matches!(id, HANDSHAKE_ID | METADATA_ID)
}

/// Extended handshake (BEP 10; `metadata_size` BEP 9, `upload_only` BEP 21). All of it optional;
/// a value of the wrong type or out of range counts as absent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExtendedHandshake {
    /// Client and version (`v`), without control characters, cut at
    /// [`limits::CLIENT_NAME_BYTES_MAX`].
    pub client: String,
    /// TCP port it listens on (`p`).
    pub port: Option<u16>,
    /// Requests it queues without dropping one (`reqq`).
    pub requests_max: Option<u32>,
    /// The address under which it sees the receiver (`yourip`).
    pub your_ip: Option<IpAddr>,
    /// Bytes of the info dictionary (`metadata_size`).
    pub metadata_bytes: Option<u32>,
    /// It will download nothing more (`upload_only`).
    pub upload_only: bool,
    /// The id for `ut_metadata` messages to the sender (`m`): `None` is not told, 0 is off.
    pub metadata_id: Option<u8>,
}

impl ExtendedHandshake {
    /// Reads the dictionary of an extended handshake.
    ///
    /// # Errors
    /// Broken or too long bencode, or no dictionary.
    pub fn parse(dict: &[u8]) -> Result<ExtendedHandshake, ProtocolError> {
        let id = HANDSHAKE_ID;
        let document = bencode::parse_prefix(dict, &HANDSHAKE_LIMITS)
            .map_err(|error| ProtocolError::Extended { id, error })?;
        let dict = document.root().as_dict().ok_or(ProtocolError::ExtendedIncomplete { id })?;
        let mut handshake = ExtendedHandshake::default();
        // One pass: a lookup for each key would read the dictionary once for each.
        for (key, value) in dict.iter() {
            match key {
                b"v" => handshake.client = client_name(value.as_bytes().unwrap_or_default()),
                b"p" => handshake.port = number(value).filter(|port| *port != 0),
                b"reqq" => handshake.requests_max = number(value),
                b"yourip" => handshake.your_ip = value.as_bytes().and_then(ip_address),
                b"metadata_size" => handshake.metadata_bytes = number(value),
                b"upload_only" => handshake.upload_only = value.as_int().is_some_and(|on| on != 0),
                b"m" => handshake.metadata_id = value.get(b"ut_metadata").and_then(number),
                _ => {}
            }
        }
        Ok(handshake)
    }

    /// Appends the message, [`METADATA_ID`] standing in for `metadata_id` when that is set.
    pub fn write(&self, out: &mut impl BufMut) {
        let mut writer = Writer::new();
        writer.dict(|dict| {
            dict.dict(b"m", |m| {
                if let Some(id) = self.metadata_id {
                    m.int(b"ut_metadata", i64::from(id));
                }
            });
            if let Some(bytes) = self.metadata_bytes {
                dict.int(b"metadata_size", i64::from(bytes));
            }
            if let Some(port) = self.port {
                dict.int(b"p", i64::from(port));
            }
            if let Some(requests) = self.requests_max {
                dict.int(b"reqq", i64::from(requests));
            }
            if self.upload_only {
                dict.int(b"upload_only", 1);
            }
            if !self.client.is_empty() {
                dict.bytes(b"v", self.client.as_bytes());
            }
            match self.your_ip {
                Some(IpAddr::V4(ip)) => dict.bytes(b"yourip", &ip.octets()),
                Some(IpAddr::V6(ip)) => dict.bytes(b"yourip", &ip.octets()),
                None => {}
            }
        });
        write_extended(out, HANDSHAKE_ID, &writer.finish(), &[]);
    }
}

fn client_name(bytes: &[u8]) -> String {
    let bytes = bytes.get(..limits::CLIENT_NAME_BYTES_MAX).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).collect()
}

fn number<T: TryFrom<u64>>(value: Value<'_>) -> Option<T> {
    value.as_uint().and_then(|number| T::try_from(number).ok())
}

/// An address as its 4 or 16 bytes.
pub(crate) fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A metadata message (BEP 9). Its `piece` is 16 KiB of the info dictionary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetadataMessage {
    /// Asks for a piece.
    Request {
        /// Which.
        piece: u32,
    },
    /// Brings a piece; its bytes stand behind the dictionary.
    Data {
        /// Which.
        piece: u32,
        /// Bytes of the whole info dictionary.
        total_bytes: u32,
    },
    /// The piece will not come.
    Reject {
        /// Which.
        piece: u32,
    },
    /// BEP 9: "an unrecognized message ID MUST be ignored".
    Unknown,
}

impl MetadataMessage {
    /// Reads the dictionary of a metadata message.
    ///
    /// # Errors
    /// Broken or too long bencode, no dictionary, or a key that is missing or out of range.
    pub fn parse(dict: &[u8]) -> Result<MetadataMessage, ProtocolError> {
        let id = METADATA_ID;
        let document = bencode::parse_prefix(dict, &METADATA_LIMITS)
            .map_err(|error| ProtocolError::Extended { id, error })?;
        let root = document.root();
        let uint = |key: &[u8]| {
            let value: Option<u32> = root.get(key).and_then(number);
            value.ok_or(ProtocolError::ExtendedIncomplete { id })
        };
        match uint(b"msg_type")? {
            0 => Ok(MetadataMessage::Request { piece: uint(b"piece")? }),
            1 => Ok(MetadataMessage::Data {
                piece: uint(b"piece")?,
                total_bytes: uint(b"total_size")?,
            }),
            2 => Ok(MetadataMessage::Reject { piece: uint(b"piece")? }),
            _ => Ok(MetadataMessage::Unknown),
        }
    }

    /// Appends the message under the id that the receiver told; `data` is empty but for
    /// [`MetadataMessage::Data`].
    pub fn write(&self, out: &mut impl BufMut, their_id: u8, data: &[u8]) {
        let mut writer = Writer::new();
        writer.dict(|dict| match *self {
            MetadataMessage::Request { piece } => metadata_keys(dict, 0, piece),
            MetadataMessage::Data { piece, total_bytes } => {
                metadata_keys(dict, 1, piece);
                dict.int(b"total_size", i64::from(total_bytes));
            }
            MetadataMessage::Reject { piece } => metadata_keys(dict, 2, piece),
            MetadataMessage::Unknown => dict.int(b"msg_type", 3),
        });
        write_extended(out, their_id, &writer.finish(), data);
    }
}

fn metadata_keys(dict: &mut bencode::DictWriter<'_>, msg_type: i64, piece: u32) {
    dict.int(b"msg_type", msg_type);
    dict.int(b"piece", i64::from(piece));
}

fn write_extended(out: &mut impl BufMut, id: u8, dict: &[u8], data: &[u8]) {
    out.put_u32(frame_bytes(dict.len().saturating_add(data.len()), 2));
    out.put_slice(&[message_id::EXTENDED, id]);
    out.put_slice(dict);
    out.put_slice(data);
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// The dictionary of the one message in `out`.
    fn dict(out: &[u8]) -> &[u8] {
        out.get(6..).unwrap_or_default()
    }

    #[test]
    fn the_example_of_bep_10_is_read() {
        let dict = b"d1:md11:LT_metadatai1e6:\xb5T_PEXi2ee1:pi6881e1:v13:\xc2\xb5Torrent 1.2e";
        let read = ExtendedHandshake::parse(dict).unwrap();
        let expected = ExtendedHandshake {
            client: "µTorrent 1.2".to_string(),
            port: Some(6881),
            ..ExtendedHandshake::default()
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn values_of_the_wrong_kind_count_as_absent() {
        let dict = b"d1:mle13:metadata_sizei-5e1:p3:abc4:reqqi99999999999e11:upload_only1:1\
            1:vi7e6:yourip5:abcdee";
        assert_eq!(ExtendedHandshake::parse(dict), Ok(ExtendedHandshake::default()));
        let named = b"d1:md11:ut_metadatai256ee1:pi0ee";
        assert_eq!(ExtendedHandshake::parse(named), Ok(ExtendedHandshake::default()));
    }

    #[test]
    fn a_client_name_is_made_safe_and_cut() {
        let client = |name: &str| {
            let mut out = Vec::new();
            let written = ExtendedHandshake { client: name.to_string(), ..Default::default() };
            written.write(&mut out);
            ExtendedHandshake::parse(dict(&out)).unwrap().client
        };
        assert_eq!(client("a\x1b[31m\r\nb"), "a[31mb");
        assert_eq!(client(&"ä".repeat(60)).chars().count(), 32);
    }

    #[test]
    fn metadata_messages_are_those_of_bep_9() {
        let written = |message: MetadataMessage, data: &[u8]| {
            let mut out = Vec::new();
            message.write(&mut out, 3, data);
            out
        };
        let request = written(MetadataMessage::Request { piece: 0 }, &[]);
        assert_eq!(request, b"\x00\x00\x00\x1b\x14\x03d8:msg_typei0e5:piecei0ee");
        let data = written(MetadataMessage::Data { piece: 0, total_bytes: 34256 }, b"xxx");
        assert_eq!(dict(&data), b"d8:msg_typei1e5:piecei0e10:total_sizei34256eexxx");
        let reject = written(MetadataMessage::Reject { piece: 0 }, &[]);
        assert_eq!(dict(&reject), b"d8:msg_typei2e5:piecei0ee");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            client in "[ -~]{0,64}", port in prop::option::of(1u16..), numbers: [Option<u32>; 2],
            your_ip: Option<IpAddr>, upload_only: bool, metadata_id: Option<u8>,
        ) {
            let [requests_max, metadata_bytes] = numbers;
            let handshake = ExtendedHandshake {
                client, port, requests_max, your_ip, metadata_bytes, upload_only, metadata_id,
            };
            let mut out = Vec::new();
            handshake.write(&mut out);
            prop_assert_eq!(ExtendedHandshake::parse(dict(&out)), Ok(handshake));
        }

        #[test]
        fn metadata_messages_come_through(piece: u32, total_bytes: u32) {
            let all = [
                MetadataMessage::Request { piece },
                MetadataMessage::Data { piece, total_bytes },
                MetadataMessage::Reject { piece },
                MetadataMessage::Unknown,
            ];
            for message in all {
                let mut out = Vec::new();
                message.write(&mut out, 1, &[]);
                prop_assert_eq!(MetadataMessage::parse(dict(&out)), Ok(message));
            }
        }

        #[test]
        fn arbitrary_dictionaries_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ExtendedHandshake::parse(&bytes);
            let _ = MetadataMessage::parse(&bytes);
        }
    }
}
