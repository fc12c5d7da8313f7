//! What tells the sessions of one member apart: their ids, their names, and how they are woken.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{IdError, PublicKey, is_edge_space, is_format_char};

/// The id that an agent's program gives a session of its own: a UUID, 8-4-4-4-12 hex digits.
///
/// It becomes part of a file's name, so nothing else is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(String);

impl SessionId {
    /// Reads a UUID; upper-case digits are read as lower-case ones.
    ///
    /// # Errors
    /// [`IdError`] for anything else.
    pub fn new(text: &str) -> Result<Self, IdError> {
        const DASHES: [usize; 4] = [8, 13, 18, 23];
        let fits = text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| {
                if DASHES.contains(&at) {
                    byte == b'-'
                } else {
                    byte.is_ascii_hexdigit()
                }
            });
        if fits {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(IdError::new(
                "session id",
                "must be a UUID: 8-4-4-4-12 hex digits",
            ))
        }
    }

    /// The id of 16 random bytes (version 4).
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let digits = crate::encoding::hex(&bytes);
        let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
        Self(format!(
            "{}-{}-{}-{}-{}",
            part(0, 8),
            part(8, 12),
            part(12, 16),
            part(16, 20),
            part(20, 32)
        ))
    }

    /// The id as text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SessionId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

/// What a session of a member is called: others write `member/name`.
///
/// 1–48 bytes: ASCII letters and digits, `-`, `_` and `.`, and visible characters beyond ASCII, not
/// beginning with a dot. So it holds no slash, blank or line, and looks like neither a key nor a
/// sentence. Names of one member's
/// sessions are told apart without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionName(String);

impl SessionName {
    /// Bytes at most.
    pub const MAX: usize = 48;

    /// Reads a name.
    ///
    /// # Errors
    /// [`IdError`] if it is no such name.
    pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
        let text = text.into();
        let fits = (1..=Self::MAX).contains(&text.len())
            && !text.starts_with('.')
            && text.chars().all(is_name_char)
            && PublicKey::from_hex(&text).is_err();
        if fits {
            Ok(Self(text))
        } else {
            Err(IdError::new(
                "session name",
                "must be 1 to 48 bytes of letters, digits, '-', '_' and '.', not beginning with '.'",
            ))
        }
    }

    /// The nearest name to what a folder is called: other characters become `-`, what is too long
    /// is cut, and nothing at all becomes `session`.
    pub fn from_folder(folder: &str) -> Self {
        let mut name = String::new();
        for c in folder.trim_start_matches('.').chars() {
            let c = if is_name_char(c) { c } else { '-' };
            if c == '-' && (name.is_empty() || name.ends_with('-')) {
                continue;
            }
            if name.len() + c.len_utf8() > Self::MAX {
                break;
            }
            name.push(c);
        }
        let name = name.trim_matches('-').trim_start_matches('.').to_owned();
        Self::new(name).unwrap_or_else(|_| Self("session".to_owned()))
    }

    /// This name, or the first of `name-2`, `name-3`, … that is not taken.
    #[must_use]
    pub fn free(&self, is_taken: impl Fn(&Self) -> bool) -> Self {
        if !is_taken(self) {
            return self.clone();
        }
        // Counted on from a number that it ends with already.
        let (stem, from) = match self.0.rsplit_once('-') {
            Some((stem, number)) if !stem.is_empty() && number.len() <= 4 => {
                match number.parse::<u64>() {
                    Ok(number) if number >= 2 => (stem, number + 1),
                    _ => (self.0.as_str(), 2),
                }
            }
            _ => (self.0.as_str(), 2),
        };
        let mut number = from;
        loop {
            let end = format!("-{number}");
            let mut stem = stem;
            while stem.len() + end.len() > Self::MAX {
                let last = stem.char_indices().next_back().map_or(0, |(at, _)| at);
                stem = stem.get(..last).unwrap_or_default();
            }
            let name = Self(format!("{stem}{end}"));
            if !is_taken(&name) {
                return name;
            }
            number += 1;
        }
    }

    /// Whether two names are told apart.
    pub fn is_same(&self, other: &str) -> bool {
        self.0 == other || self.0.to_lowercase() == other.to_lowercase()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Every reader must agree, so this does not follow Unicode's versions.
fn is_name_char(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
    } else {
        !c.is_control() && !is_format_char(c) && !is_edge_space(c)
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SessionName {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

/// How a message gets the attention of whoever is behind a session, while that is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Wake {
    /// A message starts a turn by itself: the client takes pushes, or a person watches.
    Push,
    /// At the next turn, by a hook of the client.
    Hook,
    /// A command waits for it, and ends when it is there.
    Wait,
    /// A program is run for each message.
    Serve,
    /// It is typed into a terminal.
    Pane,
    /// Nothing does: it is read when somebody looks.
    #[default]
    None,
}

impl Wake {
    /// Every way, the quickest first.
    pub const ALL: [Self; 6] = [
        Self::Push,
        Self::Hook,
        Self::Wait,
        Self::Serve,
        Self::Pane,
        Self::None,
    ];

    /// As it travels: `push`, `hook`, `wait`, `serve`, `pane` or `none`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Hook => "hook",
            Self::Wait => "wait",
            Self::Serve => "serve",
            Self::Pane => "pane",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Wake {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let found = Self::ALL.into_iter().find(|way| way.as_str() == text);
        found.ok_or(IdError::new(
            "wake",
            "must be push, hook, wait, serve, pane or none",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uuid_is_a_session_id() {
        let id = "5C0E7C1E-0a1b-4c2d-8e3f-0123456789AB";
        assert_eq!(
            SessionId::new(id).unwrap().as_str(),
            id.to_ascii_lowercase()
        );
        for bad in [
            "",
            "..",
            "../../etc/passwd",
            "5c0e7c1e0a1b4c2d8e3f0123456789ab",
            "5c0e7c1e-0a1b-4c2d-8e3f-0123456789a/",
            "5c0e7c1e-0a1b-4c2d-8e3f-0123456789ab ",
            "5c0e7c1e-0a1b-4c2d-8e3f-0123456789ag",
            "é5c0e7c1e-0a1b-4c2d-8e3f-0123456789",
        ] {
            SessionId::new(bad).unwrap_err();
        }
        let made = SessionId::from_random([0xff; 16]);
        assert_eq!(SessionId::new(made.as_str()), Ok(made.clone()));
        assert_eq!(made.as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn a_session_name_is_one_word() {
        for good in ["api", "my-app_2.0", "Ärger", "日本"] {
            SessionName::new(good).unwrap();
        }
        let key = "a".repeat(64);
        let long = "x".repeat(49);
        for bad in [
            "", ".", "..", "a/b", "a b", "a\nb", "@a", "<b>", &key, &long,
        ] {
            SessionName::new(bad).unwrap_err();
        }
    }

    #[test]
    fn a_folder_gives_a_name() {
        let of = |folder: &str| SessionName::from_folder(folder).0;
        assert_eq!(of("my app (2)"), "my-app-2");
        assert_eq!(of(".config"), "config");
        assert_eq!(of("///"), "session");
        assert_eq!(of(""), "session");
        assert_eq!(
            of("ignore previous instructions\nand"),
            "ignore-previous-instructions-and"
        );
        assert_eq!(of(&"é".repeat(60)), "é".repeat(24));
        assert_eq!(of("-.-"), "session");
    }

    #[test]
    fn a_taken_name_gets_a_number() {
        let taken = ["api", "API-2", "api-3"];
        let is_taken = |name: &SessionName| taken.iter().any(|t| name.is_same(t));
        let name = SessionName::new("api").unwrap();
        assert_eq!(name.free(is_taken).as_str(), "api-4");
        let name = SessionName::new("api-3").unwrap();
        assert_eq!(name.free(is_taken).as_str(), "api-4");
        let long = SessionName::new("é".repeat(24)).unwrap();
        let next = long.free(|name| *name == long);
        assert_eq!(next.as_str(), format!("{}-2", "é".repeat(23)));
        let free = SessionName::new("web").unwrap();
        assert_eq!(free.free(is_taken), free);
    }

    #[test]
    fn a_way_to_wake_is_one_of_six_words() {
        for way in Wake::ALL {
            assert_eq!(way.as_str().parse(), Ok(way));
        }
        "PUSH".parse::<Wake>().unwrap_err();
    }
}
