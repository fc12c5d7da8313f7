//! The shape of what is sealed: all of it that the broker looks at.

use claudemesh_core::encoding::unbase64url;
use serde_json::Value;

/// Magic, key id, nonce and tag of a sealed value.
const SEALED_BYTES: usize = 2 + 16 + 24 + 16;

pub(super) fn is_sealed_text(text: &str) -> bool {
    text.strip_prefix("$sealed:").is_some_and(is_blob)
}

pub(super) fn is_sealed_value(value: &Value) -> bool {
    let object = value.as_object().filter(|object| object.len() == 1);
    let blob = object.and_then(|object| object.get("$sealed"));
    blob.and_then(Value::as_str).is_some_and(is_blob)
}

fn is_blob(text: &str) -> bool {
    unbase64url(text).is_ok_and(|blob| blob.len() >= SEALED_BYTES && blob.starts_with(&[0xCE, 2]))
}
