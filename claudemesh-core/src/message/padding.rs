//! What hides the length of a signed thing before it is sealed.

use super::MAX_PADDED;
use crate::encoding::DecodeError;
use crate::id::Signature;

/// `u32 length || bytes || signature || zeros` up to a size class, or none if it is too long.
pub(crate) fn pad(bytes: &[u8], signature: &Signature) -> Option<Vec<u8>> {
    let class = size_class(4 + bytes.len() + 64)?;
    let mut padded = Vec::with_capacity(class);
    padded.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_be_bytes());
    padded.extend_from_slice(bytes);
    padded.extend_from_slice(&signature.0);
    padded.resize(class, 0);
    Some(padded)
}

/// What [`pad`] was given. The size class must be the smallest that fits, and the rest zeros.
pub(crate) fn unpad(padded: &[u8]) -> Result<(&[u8], Signature), DecodeError> {
    let cut = DecodeError::Truncated;
    let (length, rest) = padded.split_first_chunk::<4>().ok_or(cut)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| cut)?;
    let (bytes, rest) = rest.split_at_checked(length).ok_or(cut)?;
    let (signature, zeros) = rest.split_first_chunk::<64>().ok_or(cut)?;
    let proper = size_class(4 + length + 64) == Some(padded.len()) && zeros.iter().all(|b| *b == 0);
    if !proper {
        return Err(DecodeError::Field("padding"));
    }
    Ok((bytes, Signature(*signature)))
}

/// 256, 512 … 32,768, then 47,104 bytes: what the broker can tell about a length.
fn size_class(length: usize) -> Option<usize> {
    (0..8)
        .map(|k| 256 << k)
        .chain([MAX_PADDED])
        .find(|class| length <= *class)
}
