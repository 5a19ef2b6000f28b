//! Changes inputs by a fixed seed and hands them to a target: no coverage, no nightly compiler, the same inputs each time.

use std::path::Path;

/// Largest input made, in bytes.
const INPUT_MAX_BYTES: usize = 1 << 16;

/// Numbers at which something turns over.
const EDGES: [&[u8]; 8] = [
    &[0],
    &[0xff],
    &[0x7f],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0, 0, 0, 0, 0, 0, 0, 0x80],
    b"9223372036854775807",
    b"delay-",
];

/// xorshift64*: small, and the same everywhere.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Of this seed.
    #[must_use]
    pub const fn of(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % limit).unwrap_or(0)
    }

    fn one_of<'i, T: ?Sized>(&mut self, items: &'i [&'i T]) -> Option<&'i T> {
        let at = self.below(items.len());
        items.get(at).copied()
    }
}

/// One of `inputs`, changed in up to eight places.
#[must_use]
pub fn changed(inputs: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random| {
        let at = random.below(inputs.len());
        inputs.get(at).cloned().unwrap_or_default()
    };
    let mut input = pick(random);
    for _ in 0..=random.below(8) {
        let at = random.below(input.len() + 1);
        let (from, to) = (at, (at + random.below(32)).min(input.len()));
        match random.below(7) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = random.next().to_le_bytes()[0];
                }
            }
            2 => drop(input.drain(from..to)),
            3 => {
                let edge = random.one_of(&EDGES).unwrap_or_default();
                input.splice(at..at, edge.iter().copied());
            }
            4 => {
                let part: Vec<u8> = input.get(from..to).unwrap_or_default().to_vec();
                let times = 1 + random.below(64);
                input.splice(at..at, part.repeat(times));
            }
            5 => {
                let other = pick(random);
                let cut = random.below(other.len() + 1);
                input.truncate(at);
                input.extend(other.get(cut..).unwrap_or_default());
            }
            _ => input.truncate(at),
        }
        input.truncate(INPUT_MAX_BYTES);
    }
    input
}

/// The files of a folder of the corpus, in order of their names; none if there is no such folder.
///
/// # Errors
/// A file that cannot be read.
pub fn corpus(target: &str) -> std::io::Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut paths = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(std::fs::read).collect()
}
