//! Writing and reading the project's own binary formats.
//!
//! Numbers are big endian, so that encoded stamps and ids sort like their values. Byte strings carry
//! their length in four bytes. A varint is LEB128: seven bits a byte, lowest first, at most ten bytes.

use bytes::Bytes;

/// Bytes that are not what they were taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be read at byte {offset}: {reason}")]
pub struct FormatError {
    /// What was being read, for example `change record`.
    pub what: &'static str,
    pub offset: usize,
    pub reason: String,
}

impl FormatError {
    pub fn new(what: &'static str, offset: usize, reason: impl Into<String>) -> Self {
        Self { what, offset, reason: reason.into() }
    }

    /// A version this program does not know, refused by name.
    pub fn version(what: &'static str, found: u8, known: u8) -> Self {
        let reason = format!(
            "format version {found} is unknown to this program, which reads up to {known}; \
             was it written by a newer release?"
        );
        Self { what, offset: 0, reason }
    }
}

/// Appends to a buffer it owns.
#[derive(Debug, Default)]
pub struct Encoder(pub Vec<u8>);

impl Encoder {
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }
    pub fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }
    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }
    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
    /// The bytes alone, without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    /// Four bytes of length, then the bytes. Nothing this project writes comes near 4 GiB.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).expect("a field is shorter than 4 GiB"));
        self.raw(bytes);
    }
    /// Appends crc32c of everything so far.
    pub fn checksum(&mut self) {
        let sum = crc32c(&self.0);
        self.u32(sum);
    }
    pub fn finish(self) -> Bytes {
        self.0.into()
    }
}

/// CRC-32C (Castagnoli), the checksum of stored and sent records.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// CRC-64/NVME, the hash of the change chain and of digests.
pub fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes)
}

/// Checks and removes the crc32c at the end of `bytes`.
pub fn verify_checksum<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], FormatError> {
    let Some(body) = bytes.len().checked_sub(4) else {
        return Err(FormatError::new(what, bytes.len(), "it is shorter than its checksum"));
    };
    let (body, sum) = bytes.split_at(body);
    if crc32c(body).to_be_bytes() != sum {
        return Err(FormatError::new(what, body.len(), "its checksum does not match"));
    }
    Ok(body)
}

macro_rules! read_methods {
    () => {
        pub fn error(&self, reason: impl Into<String>) -> FormatError {
            FormatError::new(self.what, self.at, reason)
        }
        pub fn offset(&self) -> usize {
            self.at
        }
        pub fn u8(&mut self) -> Result<u8, FormatError> {
            Ok(self.array::<1>()?[0])
        }
        pub fn u16(&mut self) -> Result<u16, FormatError> {
            Ok(u16::from_be_bytes(self.array()?))
        }
        pub fn u32(&mut self) -> Result<u32, FormatError> {
            Ok(u32::from_be_bytes(self.array()?))
        }
        pub fn u64(&mut self) -> Result<u64, FormatError> {
            Ok(u64::from_be_bytes(self.array()?))
        }
        pub fn varint(&mut self) -> Result<u64, FormatError> {
            let mut value = 0_u64;
            for shift in (0..64).step_by(7) {
                let byte = self.u8()?;
                if shift == 63 && byte > 1 {
                    break;
                }
                value |= u64::from(byte & 0x7f) << shift;
                if byte == 0 && shift > 0 {
                    return Err(self.error("a number is not in its shortest form"));
                }
                if byte & 0x80 == 0 {
                    return Ok(value);
                }
            }
            Err(self.error("a number is longer than 64 bits"))
        }
        /// Reads the version byte and refuses any but 1 to `known`.
        pub fn version(&mut self, known: u8) -> Result<u8, FormatError> {
            match self.u8()? {
                found if (1..=known).contains(&found) => Ok(found),
                found => Err(FormatError::version(self.what, found, known)),
            }
        }
        /// Nothing may be left.
        pub fn end(&self) -> Result<(), FormatError> {
            match self.remaining() {
                0 => Ok(()),
                left => Err(self.error(format!("{left} bytes are left over"))),
            }
        }
    };
}

/// Reads from a borrowed slice.
#[derive(Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    what: &'static str,
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, at: 0, what }
    }
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        if len > self.remaining() {
            return Err(self.error(format!("{len} bytes wanted, {} there", self.remaining())));
        }
        let slice = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(slice)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        Ok(self.raw(N)?.try_into().expect("raw returns N bytes"))
    }
    pub fn bytes(&mut self) -> Result<&'a [u8], FormatError> {
        let len = self.u32()? as usize;
        self.raw(len)
    }
    read_methods!();
}

/// Reads from shared bytes: what it hands out are views of them, not copies.
#[derive(Debug)]
pub struct SliceDecoder {
    bytes: Bytes,
    at: usize,
    what: &'static str,
}

impl SliceDecoder {
    pub fn new(bytes: Bytes, what: &'static str) -> Self {
        Self { bytes, at: 0, what }
    }
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }
    fn claim(&mut self, len: usize) -> Result<std::ops::Range<usize>, FormatError> {
        if len > self.remaining() {
            return Err(self.error(format!("{len} bytes wanted, {} there", self.remaining())));
        }
        let start = self.at;
        self.at += len;
        Ok(start..self.at)
    }
    pub fn raw(&mut self, len: usize) -> Result<Bytes, FormatError> {
        let range = self.claim(len)?;
        Ok(self.bytes.slice(range))
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let range = self.claim(N)?;
        Ok(self.bytes[range].try_into().expect("claim gives N bytes"))
    }
    pub fn bytes(&mut self) -> Result<Bytes, FormatError> {
        let len = self.u32()? as usize;
        self.raw(len)
    }
    read_methods!();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check values of the CRC catalogue (reveng): CRC-32/ISCSI and CRC-64/NVME of "123456789".
    #[test]
    fn checksums_are_the_standard_ones() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc64(b"123456789"), 0xae8b_1486_0a79_9888);
    }

    #[test]
    fn numbers_and_bytes_have_the_written_form() {
        let mut e = Encoder::default();
        e.u8(1);
        e.u16(0x0203);
        e.u32(4);
        e.u64(5);
        e.varint(300);
        e.bytes(b"ab");
        let expected =
            [&[1, 2, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5, 0xac, 0x02, 0, 0, 0, 2][..], b"ab"]
                .concat();
        assert_eq!(e.0, expected);
        let mut d = Decoder::new(&expected, "test");
        assert_eq!(d.u8(), Ok(1));
        assert_eq!(d.u16(), Ok(0x0203));
        assert_eq!(d.u32(), Ok(4));
        assert_eq!(d.u64(), Ok(5));
        assert_eq!(d.varint(), Ok(300));
        assert_eq!(d.bytes(), Ok(&b"ab"[..]));
        assert_eq!(d.end(), Ok(()));
    }

    #[test]
    fn hostile_lengths_are_refused_before_anything_is_allocated() {
        let mut d = Decoder::new(&[0xff, 0xff, 0xff, 0xff, 1], "test");
        assert!(d.bytes().is_err());
        let mut d = SliceDecoder::new(Bytes::from_static(&[0xff; 11]), "test");
        assert!(d.varint().is_err());
        assert!(Decoder::new(&[], "test").u64().is_err());
    }

    #[test]
    fn unknown_versions_are_refused_by_name() {
        let error = Decoder::new(&[9], "change record").version(1).expect_err("version 9");
        assert!(error.to_string().contains("format version 9 is unknown"), "{error}");
    }
}
