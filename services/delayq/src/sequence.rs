//! Numbers without pattern, the same in each run: for loads and samples that must repeat.

/// xorshift64*, <https://en.wikipedia.org/wiki/Xorshift#xorshift*>.
#[derive(Debug)]
pub(crate) struct Sequence(u64);

impl Default for Sequence {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Sequence {
    /// Another run of numbers for each `stream`.
    pub(crate) fn of(stream: u64) -> Self {
        let Self(start) = Self::default();
        // The state must not be 0.
        Self((start ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93)) | 1)
    }

    /// The next number, of 48 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// The next number, below `limit`; 0 for a limit of 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).unwrap_or(0) % limit.max(1)
    }
}
