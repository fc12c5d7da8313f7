//! The one encoding of everything that is signed, and strict text encodings.
//!
//! Implements docs/protocol.md, section "Encoding". A signed thing travels as its exact bytes and
//! is decoded strictly: the right name, the right number of fields, no rest. It is never rebuilt
//! from JSON, so two programs cannot disagree about what was signed.

use base64ct::{Base64, Base64UrlUnpadded, Encoding as _};

/// Why bytes or text could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are of another kind than was asked for.
    #[error("these bytes are of another kind (wrong name in front)")]
    WrongName,
    /// A field is cut off, or its length runs past the end.
    #[error("the bytes end in the middle of a field")]
    Truncated,
    /// There are fewer or more fields than this kind has.
    #[error("wrong number of fields")]
    FieldCount,
    /// A field has a length or value that its type does not allow.
    #[error("the field `{0}` has a wrong length or value")]
    Field(&'static str),
    /// The text is not of the encoding that is wanted here (strict, no white space).
    #[error("not valid {0}")]
    Text(&'static str),
}

/// Builds `enc(name; f1, f2, …)`: `claudemesh/` name, a zero byte, then each field as its
/// big-endian u32 length and its bytes.
#[derive(Debug, Clone)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    /// Starts an encoding under `name`, for example `log-entry/1`.
    pub fn new(name: &str) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(b"claudemesh/");
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        Self(bytes)
    }

    /// Adds a field of raw bytes; an absent field is the empty one.
    #[must_use]
    pub fn bytes(mut self, field: &[u8]) -> Self {
        // Fields are bounded far below 4 GiB by every caller; a longer one would not round-trip.
        let len = u32::try_from(field.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&len.to_be_bytes());
        self.0.extend_from_slice(field);
        self
    }

    /// Adds a text field.
    #[must_use]
    pub fn text(self, field: &str) -> Self {
        self.bytes(field.as_bytes())
    }

    /// Adds an integer field: eight bytes, big-endian.
    #[must_use]
    pub fn int(self, field: u64) -> Self {
        self.bytes(&field.to_be_bytes())
    }

    /// Adds a field that may be absent.
    #[must_use]
    pub fn optional(self, field: Option<&[u8]>) -> Self {
        self.bytes(field.unwrap_or_default())
    }

    /// Adds a list: one field that holds length-prefixed items.
    #[must_use]
    pub fn list<'a>(self, items: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut field = Vec::new();
        for item in items {
            let len = u32::try_from(item.len()).unwrap_or(u32::MAX);
            field.extend_from_slice(&len.to_be_bytes());
            field.extend_from_slice(item);
        }
        self.bytes(&field)
    }

    /// The finished bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads the fields of `enc(name; …)` in order.
#[derive(Debug, Clone)]
pub struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    /// Checks the name in front and stands at the first field.
    ///
    /// # Errors
    /// [`DecodeError::WrongName`] if the bytes are of another kind.
    pub fn new(name: &str, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let rest = bytes
            .strip_prefix(b"claudemesh/")
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .and_then(|rest| rest.strip_prefix(&[0]))
            .ok_or(DecodeError::WrongName)?;
        Ok(Self(rest))
    }

    /// The next field's bytes.
    ///
    /// # Errors
    /// [`DecodeError::FieldCount`] if there is none, [`DecodeError::Truncated`] if it is cut off.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        if self.0.is_empty() {
            return Err(DecodeError::FieldCount);
        }
        take_prefixed(&mut self.0)
    }

    /// The next field as a fixed number of bytes.
    ///
    /// # Errors
    /// As [`Decoder::bytes`], and [`DecodeError::Field`] for another length.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        self.bytes()?
            .try_into()
            .map_err(|_| DecodeError::Field(what))
    }

    /// The next field as fixed bytes, or none where it is empty.
    ///
    /// # Errors
    /// As [`Decoder::array`].
    pub fn optional<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<Option<[u8; N]>, DecodeError> {
        let field = self.bytes()?;
        if field.is_empty() {
            return Ok(None);
        }
        field
            .try_into()
            .map(Some)
            .map_err(|_| DecodeError::Field(what))
    }

    /// The next field as text.
    ///
    /// # Errors
    /// As [`Decoder::bytes`], and [`DecodeError::Field`] where it is not UTF-8.
    pub fn text(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| DecodeError::Field(what))
    }

    /// The next field as an integer.
    ///
    /// # Errors
    /// As [`Decoder::array`].
    pub fn int(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// The next field as an integer, or none where it is empty.
    ///
    /// # Errors
    /// As [`Decoder::array`].
    pub fn optional_int(&mut self, what: &'static str) -> Result<Option<u64>, DecodeError> {
        Ok(self.optional(what)?.map(u64::from_be_bytes))
    }

    /// The next field as a list of byte strings.
    ///
    /// # Errors
    /// As [`Decoder::bytes`].
    pub fn list(&mut self) -> Result<Vec<&'a [u8]>, DecodeError> {
        let mut field = self.bytes()?;
        let mut items = Vec::new();
        while !field.is_empty() {
            items.push(take_prefixed(&mut field)?);
        }
        Ok(items)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`DecodeError::FieldCount`] if anything is left.
    pub fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::FieldCount)
        }
    }
}

fn take_prefixed<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let (len, after) = rest
        .split_first_chunk::<4>()
        .ok_or(DecodeError::Truncated)?;
    let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| DecodeError::Truncated)?;
    if len > after.len() {
        return Err(DecodeError::Truncated);
    }
    let (field, after) = after.split_at(len);
    *rest = after;
    Ok(field)
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

/// Decodes hex of either case; nothing but hex digits is accepted.
///
/// # Errors
/// [`DecodeError::Text`] for anything else.
pub fn unhex(text: &str) -> Result<Vec<u8>, DecodeError> {
    base16ct::mixed::decode_vec(text).map_err(|_| DecodeError::Text("hex"))
}

/// Decodes hex of either case to a fixed length.
///
/// # Errors
/// [`DecodeError::Text`] for anything else.
pub fn unhex_array<const N: usize>(text: &str) -> Result<[u8; N], DecodeError> {
    unhex(text)?
        .try_into()
        .map_err(|_| DecodeError::Text("hex of this length"))
}

/// Standard base64 with padding, as nonces and ciphertexts travel.
pub fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// Decodes standard base64; padding is required, white space and stray bits are refused.
///
/// # Errors
/// [`DecodeError::Text`] for anything else.
pub fn unbase64(text: &str) -> Result<Vec<u8>, DecodeError> {
    Base64::decode_vec(text).map_err(|_| DecodeError::Text("base64"))
}

/// URL-safe base64 without padding, as links and blobs travel.
pub fn base64url(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// Decodes URL-safe base64 without padding.
///
/// # Errors
/// [`DecodeError::Text`] for anything else.
pub fn unbase64url(text: &str) -> Result<Vec<u8>, DecodeError> {
    Base64UrlUnpadded::decode_vec(text).map_err(|_| DecodeError::Text("base64url"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_round_trip_and_the_rest_is_refused() {
        let bytes = Encoder::new("x/1")
            .text("héllo")
            .int(7)
            .optional(None)
            .list([b"a".as_slice(), b"".as_slice()])
            .finish();
        let mut fields = Decoder::new("x/1", &bytes).unwrap();
        assert_eq!(fields.text("t").unwrap(), "héllo");
        assert_eq!(fields.int("i").unwrap(), 7);
        assert_eq!(fields.optional::<32>("o").unwrap(), None);
        assert_eq!(
            fields.list().unwrap(),
            vec![b"a".as_slice(), b"".as_slice()]
        );
        fields.clone().end().unwrap();
        assert_eq!(fields.bytes(), Err(DecodeError::FieldCount));

        let mut longer = bytes.clone();
        longer.push(0);
        let mut fields = Decoder::new("x/1", &longer).unwrap();
        for _ in 0..4 {
            fields.bytes().unwrap();
        }
        assert_eq!(fields.end(), Err(DecodeError::FieldCount));
    }

    /// Each text stands for its bytes alone: what is not exactly it is refused.
    #[test]
    fn texts_are_read_strictly() {
        for length in 0..=70_u8 {
            let bytes: Vec<u8> = (0..length).map(|n| n.wrapping_mul(37) ^ 0x5a).collect();
            assert_eq!(unhex(&hex(&bytes)).unwrap(), bytes);
            assert_eq!(unhex(&hex(&bytes).to_uppercase()).unwrap(), bytes);
            let (padded, bare) = (base64(&bytes), base64url(&bytes));
            assert_eq!(padded.len(), bytes.len().div_ceil(3) * 4);
            assert_eq!(unbase64(&padded).unwrap(), bytes);
            assert_eq!(unbase64url(&bare).unwrap(), bytes);
            assert!(!bare.contains(['=', '+', '/']));
            if padded.ends_with('=') {
                assert!(unbase64(padded.trim_end_matches('=')).is_err());
                assert!(unbase64url(&format!("{bare}=")).is_err());
                assert!(unbase64(&format!("{padded}AAAA")).is_err());
                assert!(unbase64(&format!("{padded}{padded}")).is_err());
            }
            for other in ["\n", " ", "=", "====", "é", "\0"] {
                assert!(
                    unbase64(&format!("{padded}{other}")).is_err(),
                    "{padded}{other:?}"
                );
                assert!(
                    unbase64(&format!("{other}{padded}")).is_err(),
                    "{other:?}{padded}"
                );
                assert!(
                    unbase64url(&format!("{bare}{other}")).is_err(),
                    "{bare}{other:?}"
                );
                assert!(unhex(&format!("{}{other}", hex(&bytes))).is_err());
            }
        }
        // Bits behind the last byte are zero, or two texts would be the same bytes.
        assert_eq!(unbase64("/w==").unwrap(), [255]);
        for stray in ["/x==", "/z==", "//9=", "//+="] {
            assert!(unbase64(stray).is_err(), "{stray}");
        }
        for stray in ["_x", "_z", "__9", "_"] {
            assert!(unbase64url(stray).is_err(), "{stray}");
        }
        for bad in ["+w", "/w", "0", "0g", "é0", "0x00"] {
            assert!(unhex(bad).is_err(), "{bad}");
        }
        assert!(unbase64url("+w").is_err() && unbase64url("/w").is_err());
        assert!(unbase64("_w==").is_err() && unbase64("-w==").is_err());
    }

    #[test]
    fn lengths_that_run_past_the_end_are_refused() {
        let mut bytes = Encoder::new("x/1").finish();
        bytes.extend_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(
            Decoder::new("x/1", &bytes).unwrap().bytes(),
            Err(DecodeError::Truncated)
        );
        assert_eq!(
            Decoder::new("x/2", &bytes).unwrap_err(),
            DecodeError::WrongName
        );
    }
}
