//! Values out of bytes, and bytes with the right head: a checksum keeps a fuzzer out unless it is computed for it.

use bytes::Bytes;
use delayq_core::record::Header;

/// Takes values off the front; zeros when nothing is left.
pub(crate) struct Input<'b>(pub(crate) &'b [u8]);

impl<'b> Input<'b> {
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub(crate) fn number(&mut self) -> i64 {
        let mut bytes = [0; 8];
        for byte in &mut bytes {
            *byte = self.byte();
        }
        i64::from_le_bytes(bytes)
    }

    /// Up to 255 bytes, by a length before them.
    pub(crate) fn short(&mut self) -> &'b [u8] {
        let wanted = usize::from(self.byte());
        let (found, rest) = self.0.split_at(wanted.min(self.0.len()));
        self.0 = rest;
        found
    }

    pub(crate) fn value(&mut self) -> Option<Bytes> {
        let null = self.byte() == 0;
        (!null).then(|| Bytes::copy_from_slice(self.short()))
    }

    /// As many headers as are left, at most 64.
    pub(crate) fn headers(&mut self) -> Vec<Header> {
        let mut headers = Vec::new();
        while !self.0.is_empty() && headers.len() < 64 {
            let name = String::from_utf8_lossy(self.short()).into_owned();
            headers.push(Header {
                name: name.into(),
                value: self.value(),
            });
        }
        headers
    }
}

/// A batch with a right checksum around any content. `compressed` needs content that zstd takes, which is any.
pub(crate) fn sealed_batch(version: u8, compressed: bool, plain: &[u8]) -> Vec<u8> {
    let packed = compressed
        .then(|| zstd::bulk::compress(plain, 1))
        .and_then(Result::ok);
    let mut out = b"DQ".to_vec();
    out.extend([version, u8::from(packed.is_some())]);
    out.extend(u32::try_from(plain.len()).unwrap_or(u32::MAX).to_le_bytes());
    let payload = packed.as_deref().unwrap_or(plain);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), payload);
    out.extend(crc.to_le_bytes());
    out.extend(payload);
    out
}

/// Commit metadata with a right checksum around any content.
pub(crate) fn sealed_metadata(plain: &[u8]) -> String {
    use base64::Engine as _;
    let packed = zstd::bulk::compress(plain, 1).unwrap_or_default();
    let mut bytes = crc32c::crc32c(&packed).to_le_bytes().to_vec();
    bytes.extend(packed);
    format!(
        "q1.{}",
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    )
}
