//! The forms in which an invite is pasted.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::InviteError;
use crate::crypto::KeyPair;
use crate::encoding::{base64url, unbase64url};
use crate::id::{Hash, InviteId};

/// Characters of a pasted input at most.
const MAX_INPUT: usize = 16_384;
/// Where links without a host of their own belong.
const DEFAULT_ORIGIN: &str = "https://claudemesh.com";

/// What stands behind the `#` of a link: the invite key's seed and the invite's id. A secret.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Fragment {
    seed: [u8; 32],
    #[zeroize(skip)]
    invite: InviteId,
}

impl Fragment {
    /// Puts the two together.
    pub fn new(seed: [u8; 32], invite: InviteId) -> Self {
        Self { seed, invite }
    }

    /// Reads the 86 characters of base64url.
    ///
    /// # Errors
    /// [`InviteError::Fragment`].
    pub fn parse(text: &str) -> Result<Self, InviteError> {
        let mut bytes = unbase64url(text).map_err(|_| InviteError::Fragment)?;
        let parts = bytes
            .split_first_chunk::<32>()
            .and_then(|(seed, rest)| Some((*seed, Hash(rest.try_into().ok()?))));
        bytes.zeroize();
        let (seed, invite) = parts.ok_or(InviteError::Fragment)?;
        Ok(Self { seed, invite })
    }

    /// The invite's id.
    pub fn invite(&self) -> InviteId {
        self.invite
    }

    /// The invite key, which signs the new member's entry.
    pub fn key(&self) -> KeyPair {
        KeyPair::from_seed(&self.seed)
    }

    /// The 86 characters, exposed on purpose.
    pub fn expose(&self) -> String {
        let mut bytes = [0u8; 64];
        bytes[..32].copy_from_slice(&self.seed);
        bytes[32..].copy_from_slice(&self.invite.0);
        let text = base64url(&bytes);
        bytes.zeroize();
        text
    }
}

/// What was read from a pasted input.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkParts {
    /// Token or code.
    pub text: String,
    /// Scheme and host of the link, if it had one: `https://host[:port]`.
    pub origin: Option<String>,
    /// The secret part, absent in links of the existing system.
    pub fragment: Option<Fragment>,
}

/// An invite as pasted.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Link {
    /// The link carries the token itself.
    Token(LinkParts),
    /// The link carries a short code, which its host exchanges for a token.
    Code(LinkParts),
}

/// Reads every form of link that the existing clients read, and ours.
///
/// # Errors
/// [`InviteError::Format`], [`InviteError::Empty`], [`InviteError::Fragment`].
pub fn parse_link(input: &str) -> Result<Link, InviteError> {
    let input = input.trim();
    if input.len() > MAX_INPUT {
        return Err(InviteError::Format);
    }
    let (address, fragment) = match input.split_once('#') {
        Some((address, fragment)) => (address, Some(Fragment::parse(fragment)?)),
        None => (input, None),
    };
    let token = |text: &str, origin: Option<String>| {
        let text = text.to_owned();
        Link::Token(LinkParts {
            text,
            origin,
            fragment: fragment.clone(),
        })
    };
    let code = |text: &str, origin: Option<String>| {
        let text = text.to_owned();
        Link::Code(LinkParts {
            text,
            origin,
            fragment: fragment.clone(),
        })
    };

    if let Some(rest) = address.strip_prefix("claudemesh://") {
        let normal = if rest.starts_with("i/") || rest.starts_with("join/") {
            format!("{DEFAULT_ORIGIN}/{rest}")
        } else {
            format!("{DEFAULT_ORIGIN}/i/{rest}")
        };
        return match web_link(&normal) {
            Some((origin, Kind::Token, text)) => Ok(token(text, Some(origin))),
            Some((origin, Kind::Code, text)) => Ok(code(text, Some(origin))),
            None => Err(InviteError::Format),
        };
    }
    if let Some(rest) = address.strip_prefix("ic://join/") {
        let text = rest.strip_suffix('/').unwrap_or(rest);
        return match text {
            "" => Err(InviteError::Empty),
            text if is_token(text) => Ok(token(text, None)),
            _ => Err(InviteError::Format),
        };
    }
    match web_link(address) {
        Some((origin, Kind::Token, text)) => return Ok(token(text, Some(origin))),
        Some((origin, Kind::Code, text)) => return Ok(code(text, Some(origin))),
        None => {}
    }
    if !address.contains("://")
        && let Some((origin, Kind::Code, text)) = web_link(&format!("https://{address}"))
    {
        return Ok(code(text, Some(origin)));
    }
    if (6..=16).contains(&address.len()) && is_code(address) {
        return Ok(code(address, None));
    }
    if address.len() > 20 && is_token(address) {
        return Ok(token(address, None));
    }
    if address.is_empty() {
        Err(InviteError::Empty)
    } else {
        Err(InviteError::Format)
    }
}

enum Kind {
    Token,
    Code,
}

/// `http[s]://host[/xx]/join/<token>` or `…/i/<code>[/]`, where `xx` is a language.
fn web_link(address: &str) -> Option<(String, Kind, &str)> {
    let scheme = ["https://", "http://"]
        .into_iter()
        .find(|s| address.starts_with(s))?;
    let rest = &address[scheme.len()..];
    let (host, path) = rest.split_once('/')?;
    let proper = |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'@' | b'"' | b'\\');
    if host.is_empty() || !host.bytes().all(proper) {
        return None;
    }
    let origin = format!("{scheme}{host}");
    let path = match path.split_once('/') {
        Some((lang, rest))
            if lang.len() == 2
                && lang.bytes().all(|b| b.is_ascii_lowercase())
                && (rest.starts_with("i/") || rest.starts_with("join/")) =>
        {
            &path[3..]
        }
        _ => path,
    };
    if let Some(text) = path.strip_prefix("i/") {
        let text = text.strip_suffix('/').unwrap_or(text);
        return is_code(text).then_some((origin, Kind::Code, text));
    }
    let text = path.strip_prefix("join/")?;
    let text = text.strip_suffix('/').unwrap_or(text);
    is_token(text).then_some((origin, Kind::Token, text))
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}
