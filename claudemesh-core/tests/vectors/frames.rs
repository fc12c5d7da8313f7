//! Frames as the reference's clients send them.

use claudemesh_core::wire::ClientFrame;
use serde_json::Value;

use crate::harness::{Section, Vectors, same, text};

/// Each frame is one we have a type for, and loses nothing on the way through it.
pub(crate) fn frames(_: &Vectors, section: &Value, run: &mut Section<'_>) {
    for (name, frame) in section.as_object().into_iter().flatten() {
        run.decide(name, || {
            let kind = text(frame, "type").ok_or("undecided: no type")?;
            let decoded = ClientFrame::decode(&frame.to_string()).map_err(|e| e.to_string())?;
            let typed = match kind {
                "hello" => matches!(decoded, ClientFrame::Hello(..)),
                "session_hello" => matches!(decoded, ClientFrame::SessionHello(..)),
                _ => !matches!(decoded, ClientFrame::Unknown(..)),
            };
            if !typed {
                return Err(format!("not decoded to a typed `{kind}`"));
            }
            let again: Value =
                serde_json::from_str(&decoded.encode()).map_err(|e| e.to_string())?;
            same("encoded again", &again, Some(frame))
        });
    }
}
