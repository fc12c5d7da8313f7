//! What a message's attributes say that this crate knows: by which session it was said, how far a
//! chain of automatic answers has come, and whether an answer is awaited.
//!
//! Implements docs/protocol.md, section "Attributes". They are signed with the message. What does
//! not read as it should is read as what stops a loop, never as what feeds one.

use crate::id::{PublicKey, SessionName};

/// `session=<64 hex digits>/<name>`: the session of the sender that said it.
const SESSION: &str = "session=";
/// `hops=<n>`: how many automatic answers led to this message.
const HOPS: &str = "hops=";
/// `expects_reply=0`: nobody waits for an answer.
const EXPECTS_REPLY: &str = "expects_reply=";
/// Hops at most.
pub const MAX_HOPS: u8 = 15;
/// A chain of automatic answers ends here unless somebody says otherwise.
pub const DEFAULT_HOP_LIMIT: u8 = 8;

/// The session by which a message was said, in its sender's own signed words.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SenderSession {
    /// The key that it is addressed by.
    pub key: PublicKey,
    /// What it is called among its member's sessions.
    pub name: SessionName,
}

impl SenderSession {
    /// A session of this key and name.
    pub const fn new(key: PublicKey, name: SessionName) -> Self {
        Self { key, name }
    }

    pub(crate) fn to_attribute(&self) -> String {
        format!("{SESSION}{}/{}", self.key, self.name)
    }
}

/// The one value of an attribute; an error if there are several.
fn value<'a>(attributes: &'a [String], name: &str) -> Result<Option<&'a str>, ()> {
    let mut found = attributes.iter().filter_map(|text| text.strip_prefix(name));
    match (found.next(), found.next()) {
        (one, None) => Ok(one),
        _ => Err(()),
    }
}

/// Which session says it to be, if it names one, once and well-formed.
pub fn sender_session(attributes: &[String]) -> Option<SenderSession> {
    let (key, name) = value(attributes, SESSION).ok()??.split_once('/')?;
    let lower = !key.bytes().any(|b| b.is_ascii_uppercase());
    let key = PublicKey::from_hex(key).ok().filter(|_| lower)?;
    let name = SessionName::new(name).ok()?;
    Some(SenderSession { key, name })
}

/// How many automatic answers led to this message: 0 to [`MAX_HOPS`]. What does not read as such a
/// number, or stands there twice, is [`MAX_HOPS`].
pub fn hops(attributes: &[String]) -> u8 {
    match value(attributes, HOPS) {
        Ok(None) => 0,
        Ok(Some(text)) => {
            let number = text
                .parse()
                .ok()
                .filter(|hops: &u8| hops.to_string() == text);
            number.unwrap_or(MAX_HOPS).min(MAX_HOPS)
        }
        Err(()) => MAX_HOPS,
    }
}

/// Whether its sender may wait for an answer: not so where it says that it does not, or says it in a
/// way that is not known.
pub fn expects_reply(attributes: &[String]) -> bool {
    matches!(value(attributes, EXPECTS_REPLY), Ok(None | Some("1")))
}

/// Says how many automatic answers led to a message; [`MAX_HOPS`] at most.
#[cfg(any(test, feature = "client"))]
pub(crate) fn set_hops(attributes: &mut Vec<String>, hops: u8) {
    attributes.retain(|text| !text.starts_with(HOPS));
    if hops > 0 {
        attributes.push(format!("{HOPS}{}", hops.min(MAX_HOPS)));
    }
}

/// Says whether an answer is awaited.
#[cfg(any(test, feature = "client"))]
pub(crate) fn set_expects_reply(attributes: &mut Vec<String>, expects: bool) {
    attributes.retain(|text| !text.starts_with(EXPECTS_REPLY));
    if !expects {
        attributes.push(format!("{EXPECTS_REPLY}0"));
    }
}

/// Says by which session a message is said; only that session's own machine does.
pub(crate) fn set_session(attributes: &mut Vec<String>, session: Option<&SenderSession>) {
    attributes.retain(|text| !text.starts_with(SESSION));
    attributes.extend(session.map(SenderSession::to_attribute));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn hops_are_counted_and_what_is_odd_is_the_most() {
        assert_eq!(hops(&list(&[])), 0);
        assert_eq!(hops(&list(&["a=b", "hops=3"])), 3);
        assert_eq!(hops(&list(&["hops=15"])), 15);
        let odd = [
            "hops=", "hops=-1", "hops=+1", "hops=01", "hops=16", "hops=999", "hops=x", "hops= 1",
        ];
        for text in odd {
            assert_eq!(hops(&list(&[text])), MAX_HOPS, "{text}");
        }
        assert_eq!(hops(&list(&["hops=1", "hops=0"])), MAX_HOPS);
        let mut all = list(&["hops=9", "x=y"]);
        set_hops(&mut all, 0);
        assert_eq!(all, list(&["x=y"]));
        set_hops(&mut all, 200);
        assert_eq!(hops(&all), MAX_HOPS);
    }

    #[test]
    fn an_answer_is_awaited_unless_it_is_not() {
        assert!(expects_reply(&list(&[])));
        assert!(expects_reply(&list(&["expects_reply=1"])));
        for texts in [
            &["expects_reply=0"][..],
            &["expects_reply="],
            &["expects_reply=no"],
            &["expects_reply=1", "expects_reply=1"],
        ] {
            assert!(!expects_reply(&list(texts)), "{texts:?}");
        }
        let mut all = Vec::new();
        set_expects_reply(&mut all, false);
        assert!(!expects_reply(&all));
        set_expects_reply(&mut all, true);
        assert!(all.is_empty());
    }

    #[test]
    fn a_session_is_named_once_and_whole() {
        let session = SenderSession {
            key: PublicKey([7; 32]),
            name: SessionName::new("api").unwrap(),
        };
        let mut all = list(&["session=someone", "x=y"]);
        set_session(&mut all, Some(&session));
        assert_eq!(sender_session(&all), Some(session.clone()));
        assert_eq!(all.len(), 2);
        let text = session.to_attribute();
        for bad in [
            vec![text.clone(), text.clone()],
            vec![text.to_uppercase()],
            vec![text.replace("/api", "/a/b")],
            vec![text.replace("/api", "/a b")],
            vec![text.replace("/api", "")],
            vec![text.replace("07", "0")],
            vec![],
        ] {
            assert_eq!(sender_session(&bad), None, "{bad:?}");
        }
    }
}
