//! What a simulated file holds: cheap to make, different at every offset.

use std::rc::Rc;
use std::sync::OnceLock;

use super::random::{Random, mix};

/// Bytes of noise that all generated content is cut from.
const NOISE_BYTES: usize = 1 << 20;
/// Content is made in stretches of this many bytes, each from another place in the noise.
const STRETCH_BYTES: usize = 1024;

fn noise() -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut random = Random::new(0x7265_7370_6163_6564);
        (0..NOISE_BYTES / 8).flat_map(|_| random.bits().to_le_bytes()).collect()
    })
}

/// What a file holds, as a function of the offset; the file's size is kept apart.
#[derive(Clone, Debug)]
pub enum Content {
    /// Noise that the number decides. Costs a copy to make, so tests may compare megabytes.
    Noise(u64),
    /// These bytes, then zeros.
    Bytes(Rc<[u8]>),
}

impl Content {
    /// Fills `out` with the content from `offset` on.
    pub fn fill(&self, offset: u64, out: &mut [u8]) {
        match self {
            Content::Noise(seed) => fill_noise(*seed, offset, out),
            Content::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let length = out.len().min(bytes.len() - start);
                let (given, beyond) = out.split_at_mut(length);
                given.copy_from_slice(&bytes[start..start + length]);
                beyond.fill(0);
            }
        }
    }

    /// The same as a vector.
    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(offset, &mut bytes);
        bytes
    }
}

fn fill_noise(seed: u64, offset: u64, out: &mut [u8]) {
    let mut offset = offset;
    let mut out = out;
    while !out.is_empty() {
        let stretch = offset / STRETCH_BYTES as u64;
        let within = (offset % STRETCH_BYTES as u64) as usize;
        let length = out.len().min(STRETCH_BYTES - within);
        let at = mix(seed ^ mix(stretch)) as usize % (NOISE_BYTES - STRETCH_BYTES);
        let (given, rest) = out.split_at_mut(length);
        given.copy_from_slice(&noise()[at + within..at + within + length]);
        out = rest;
        offset += length as u64;
    }
}
