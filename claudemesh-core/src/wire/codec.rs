//! How frames become text and text becomes frames.

use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::limits::MAX_IDS_PER_FRAME;
use super::read::read;

/// Why a text is not a frame.
///
/// The messages name the frame's type and what is wrong with it; they never repeat what else the
/// frame carried, so they may be logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Not JSON, cut off, nested too deeply, or with a number that no JSON reader can hold.
    #[error("the frame is not JSON")]
    NotJson,
    /// JSON, but not an object.
    #[error("the frame is not a JSON object")]
    NotAnObject,
    /// A field is missing, twice there, too long or of the wrong type.
    #[error("frame `{frame}`: {why}")]
    Field {
        /// The frame's `type`.
        frame: String,
        /// What is wrong, without the value.
        why: String,
    },
    /// The text is longer than the receiver takes.
    #[error("the frame is longer than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

/// Refuses a text of more than `limit` bytes; call it before decoding.
///
/// # Errors
/// [`WireError::TooLarge`].
pub const fn check_size(text: &str, limit: usize) -> Result<(), WireError> {
    if text.len() > limit {
        Err(WireError::TooLarge { limit })
    } else {
        Ok(())
    }
}

/// A frame whose type is not one of those built here, kept whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnknownFrame {
    /// The whole object, with its `type`, if it had one.
    pub object: Map<String, Value>,
}

impl UnknownFrame {
    /// The frame's `type`; empty if it is absent or not a text.
    pub fn kind(&self) -> &str {
        self.object
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The frame's `type` for a log: at most 64 characters, without control characters.
    pub fn short_kind(&self) -> String {
        short(self.kind())
    }

    /// The object as text.
    pub fn encode(&self) -> String {
        to_text(&self.object)
    }
}

/// The fields of a frame that this version has no name for. They are kept, so that a frame that
/// is passed on loses nothing. A `type` is never among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extra(Map<String, Value>);

impl Extra {
    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Adds a field; `type` is left out. The name must not be one of the frame's own.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let name = name.into();
        if name != "type" {
            self.0.insert(name, value.into());
        }
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// All names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Extra {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut map = Map::deserialize(d)?;
        map.remove("type");
        Ok(Self(map))
    }
}

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
}

/// Reads a frame's `type` and checks the syntax of the rest; empty if there is no text in `type`.
///
/// Check the length first ([`check_size`]).
///
/// # Errors
/// [`WireError`] if it is no JSON object.
pub fn frame_type(text: &str) -> Result<String, WireError> {
    if !text.trim_ascii_start().starts_with('{') {
        return match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Err(WireError::NotAnObject),
            Err(_) => Err(WireError::NotJson),
        };
    }
    let peek: Peek<'_> = serde_json::from_str(text).map_err(|e| refuse("", &e))?;
    match peek.kind {
        Some(raw) if raw.get().starts_with('"') => {
            serde_json::from_str(raw.get()).map_err(|_| WireError::NotJson)
        }
        _ => Ok(String::new()),
    }
}

/// Decodes the one struct that belongs to a type, quickly: for a broker, which reads many.
pub(super) fn quick<T: DeserializeOwned>(kind: &str, text: &str) -> Result<T, WireError> {
    serde_json::from_str(text).map_err(|e| refuse(kind, &e))
}

/// Decodes the one struct that belongs to a type, with little code of its own: for a peer.
pub(super) fn small<T: DeserializeOwned>(kind: &str, text: &str) -> Result<T, WireError> {
    read(text).map_err(|e| refuse(kind, &e))
}

/// Keeps an object as it is.
pub(super) fn unknown(kind: &str, text: &str) -> Result<UnknownFrame, WireError> {
    quick(kind, text).map(|object| UnknownFrame { object })
}

/// One type of frame, for who sends or reads that one alone. What goes through [`ClientFrame`] or
/// [`BrokerFrame`] brings the code of all their types into a program.
///
/// [`ClientFrame`]: super::ClientFrame
/// [`BrokerFrame`]: super::BrokerFrame
pub trait Frame: Serialize + DeserializeOwned {
    /// The frame's `type`.
    const TYPE: &'static str;

    /// The frame as JSON text, `type` first.
    fn encode(&self) -> String {
        encode(Self::TYPE, self)
    }

    /// Decodes a frame of this type.
    ///
    /// # Errors
    /// [`WireError`], also if the text is a frame of another type.
    fn decode(text: &str) -> Result<Self, WireError> {
        let kind = frame_type(text)?;
        if kind == Self::TYPE {
            Self::read(text)
        } else {
            Err(WireError::Field {
                frame: short(&kind),
                why: format!("not a `{}`", Self::TYPE),
            })
        }
    }

    /// Decodes a frame that [`frame_type`] says is of this type.
    ///
    /// # Errors
    /// [`WireError`].
    fn read(text: &str) -> Result<Self, WireError> {
        small(Self::TYPE, text)
    }
}

/// Writes a struct as a frame: its fields after the `type`.
pub(super) fn encode(kind: &str, body: &impl Serialize) -> String {
    with_type(kind, to_text(body))
}

fn with_type(kind: &str, mut text: String) -> String {
    let comma = if text.len() > 2 { "," } else { "" };
    text.insert_str(1, &format!("\"type\":\"{kind}\"{comma}"));
    text
}

/// JSON text. Every map here has text keys and memory takes every write, which are the only ways
/// to fail; should it ever, the other end refuses an object without fields.
pub(super) fn to_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned())
}

/// Turns a JSON error into ours without the value that it quotes.
pub(super) fn refuse(kind: &str, error: &serde_json::Error) -> WireError {
    if error.classify() != Category::Data {
        return WireError::NotJson;
    }
    let message = error.to_string();
    let message = match message.rsplit_once(" at line ") {
        Some((text, _)) if error.line() > 0 => text,
        _ => message.as_str(),
    };
    let ours = ["missing field", "duplicate field", MANY];
    let why = if ours.iter().any(|start| message.starts_with(start)) {
        message.to_owned()
    } else {
        // What was found stands in front and may be payload; what was expected is ours.
        match message.rsplit_once(", expected ") {
            Some((_, expected)) => format!("wrong type or value, expected {expected}"),
            None => "malformed".to_owned(),
        }
    };
    WireError::Field {
        frame: short(kind),
        why,
    }
}

fn short(kind: &str) -> String {
    kind.chars().filter(|c| !c.is_control()).take(64).collect()
}

const MANY: &str = "too many items";

/// Reads a list of at most [`MAX_IDS_PER_FRAME`] items.
pub(super) fn bounded<'de, D, T>(d: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let items = Vec::deserialize(d)?;
    if items.len() > MAX_IDS_PER_FRAME {
        return Err(D::Error::custom(format_args!(
            "{MANY}, at most {MAX_IDS_PER_FRAME}"
        )));
    }
    Ok(items)
}

/// As [`bounded`], for a list that may be absent.
pub(super) fn bounded_option<'de, D, T>(d: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let items: Option<Vec<T>> = Option::deserialize(d)?;
    if items
        .as_ref()
        .is_some_and(|items| items.len() > MAX_IDS_PER_FRAME)
    {
        return Err(D::Error::custom(format_args!(
            "{MANY}, at most {MAX_IDS_PER_FRAME}"
        )));
    }
    Ok(items)
}

/// Reads a field that is there, keeping `null` apart from absence.
pub(super) fn present<'de, D, T>(d: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(d).map(Some)
}

/// Declares the frames of one direction: an enum, its decoding by `type`, and its encoding.
macro_rules! frames {
    (
        $(#[$doc:meta])* $name:ident by $decode:ident {
            $( $(#[$variant_doc:meta])* $variant:ident($body:ty) = $kind:literal, )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        #[allow(
            clippy::large_enum_variant,
            reason = "a frame is decoded, matched and gone; none are kept in lists"
        )]
        pub enum $name {
            $( $(#[$variant_doc])* $variant($body), )*
            /// Any other type, kept whole.
            Unknown(UnknownFrame),
        }

        impl $name {
            /// The types that are decoded here; every other one is [`Self::Unknown`].
            pub const TYPES: &'static [&'static str] = &[$($kind),*];

            /// Decodes one frame. An unknown type is no error; a known one must have its fields.
            ///
            /// Check the length first ([`check_size`](crate::wire::check_size)); nesting is
            /// bounded here.
            ///
            /// # Errors
            /// [`WireError`] says what is wrong, without repeating the frame's content.
            pub fn decode(text: &str) -> Result<Self, WireError> {
                let kind = codec::frame_type(text)?;
                match kind.as_str() {
                    $( $kind => codec::$decode($kind, text).map(Self::$variant), )*
                    other => codec::unknown(other, text).map(Self::Unknown),
                }
            }

            /// The frame as JSON text, `type` first.
            pub fn encode(&self) -> String {
                match self {
                    $( Self::$variant(body) => codec::Frame::encode(body), )*
                    Self::Unknown(frame) => frame.encode(),
                }
            }

            /// The frame's `type`; empty if an unknown frame has none.
            pub fn kind(&self) -> &str {
                match self {
                    $( Self::$variant(_) => $kind, )*
                    Self::Unknown(frame) => frame.kind(),
                }
            }
        }

        $(
            impl From<$body> for $name {
                fn from(body: $body) -> Self {
                    Self::$variant(body)
                }
            }

            impl codec::Frame for $body {
                const TYPE: &'static str = $kind;
            }
        )*
    };
}
pub(super) use frames;
