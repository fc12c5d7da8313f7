//! A session statement where a broker has no place for it: as a text among the `capabilities` of the
//! profile.

use crate::wire::SignedBlob;

/// How the text begins; the statement in base64url and its signature in hex follow, joined by a dot.
pub const PROFILE_STATEMENT: &str = "claudemesh-session/1:";
/// Bytes of what follows at most: a statement has at most 2 KiB.
const MAX_TEXT: usize = 4_096;

/// A statement as the text in a profile.
pub fn statement_to_profile(blob: &SignedBlob) -> String {
    format!("{PROFILE_STATEMENT}{}.{}", blob.e, blob.sig)
}

/// The statement in a text of a profile, nothing of it checked; none if the text is something else,
/// or longer than 4,096 bytes behind [`PROFILE_STATEMENT`].
pub fn statement_of_profile(text: &str) -> Option<SignedBlob> {
    let text = text.strip_prefix(PROFILE_STATEMENT)?;
    let (e, sig) = text.split_once('.').filter(|_| text.len() <= MAX_TEXT)?;
    Some(SignedBlob {
        e: e.to_owned(),
        sig: sig.to_owned(),
        cosig: None,
    })
}
