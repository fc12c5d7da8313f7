//! The programs that agents run in, and what their hooks say and hear.

use clap::ValueEnum;
use serde_json::{Value, json};

/// A program that an agent runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// Claude Code
    ClaudeCode,
    /// Codex
    Codex,
    /// Gemini CLI
    Gemini,
    /// Cursor
    Cursor,
}

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Moment {
    /// A session begins, or goes on
    SessionStart,
    /// The user has asked something
    Prompt,
    /// A turn ends
    Stop,
}

impl Moment {
    /// All of them, in the order in which they come.
    pub(crate) const ALL: [Self; 3] = [Self::SessionStart, Self::Prompt, Self::Stop];

    /// As it is written on the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::SessionStart => "session-start",
            Self::Prompt => "prompt",
            Self::Stop => "stop",
        }
    }
}

impl Client {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::ClaudeCode, Self::Codex, Self::Gemini, Self::Cursor];

    /// As it is written on the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Cursor => "cursor",
        }
    }

    /// As people write it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::ClaudeCode => "Claude Code",
            Self::Codex => "Codex",
            Self::Gemini => "Gemini CLI",
            Self::Cursor => "Cursor",
        }
    }

    /// The program that starts it in a terminal.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Cursor => "cursor-agent",
        }
    }

    /// What wakes an agent in it, the soonest first; docs/agents.md has it at length.
    pub(crate) const fn woken_by(self) -> &'static str {
        match self {
            Self::ClaudeCode => {
                "set up; woken by a push after `claudemesh launch`, else by hooks at session start, \
                 prompt and turn end, and by `claudemesh wait` in the background"
            }
            Self::Codex => {
                "set up; woken by hooks at session start, prompt and turn end, once /hooks let them \
                 through"
            }
            Self::Gemini => "set up; woken by hooks at session start, prompt and turn end",
            Self::Cursor => "set up; woken by hooks at session start and turn end",
        }
    }

    /// What it calls that moment; none if nothing can be handed in then.
    pub(crate) const fn event(self, moment: Moment) -> Option<&'static str> {
        match (self, moment) {
            (Self::ClaudeCode | Self::Codex | Self::Gemini, Moment::SessionStart) => {
                Some("SessionStart")
            }
            (Self::ClaudeCode | Self::Codex, Moment::Prompt) => Some("UserPromptSubmit"),
            (Self::ClaudeCode | Self::Codex, Moment::Stop) => Some("Stop"),
            (Self::Gemini, Moment::Prompt) => Some("BeforeAgent"),
            (Self::Gemini, Moment::Stop) => Some("AfterAgent"),
            (Self::Cursor, Moment::SessionStart) => Some("sessionStart"),
            // It may only be let through or held up.
            (Self::Cursor, Moment::Prompt) => None,
            (Self::Cursor, Moment::Stop) => Some("stop"),
        }
    }

    /// What a hook says to hand in a text; at the end of a turn this begins another one.
    pub(crate) fn handed_in(self, moment: Moment, text: &str) -> Value {
        let event = self.event(moment).unwrap_or_default();
        match (self, moment) {
            (Self::Cursor, Moment::Stop) => json!({ "followup_message": text }),
            (Self::Cursor, _) => json!({ "additional_context": text }),
            (Self::Gemini, Moment::Stop) => json!({ "decision": "deny", "reason": text }),
            (_, Moment::Stop) => json!({ "decision": "block", "reason": text }),
            _ => json!({
                "hookSpecificOutput": { "hookEventName": event, "additionalContext": text },
            }),
        }
    }

    /// What a hook says to tell the user something, if it can.
    pub(crate) fn told(self, text: &str) -> Option<Value> {
        match self {
            Self::Cursor => None,
            _ => Some(json!({ "systemMessage": text })),
        }
    }
}

/// What a client tells its hooks, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The client's own name for its session.
    pub(crate) session: Option<String>,
    /// How many turns a hook has begun since the user last asked something, as far as the client
    /// says: that there was one, or their number.
    pub(crate) turns: u32,
}

impl Told {
    /// Reads what stood on stdin; what is not understood is left out.
    pub(crate) fn read(text: &str) -> Self {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let word = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let active = value.get("stop_hook_active").and_then(Value::as_bool);
        let count = value.get("loop_count").and_then(Value::as_u64).unwrap_or(0);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            session: word("session_id").or_else(|| word("conversation_id")),
            turns: count.max(u32::from(active.unwrap_or(false))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_say_is_understood_and_anything_else_is_no_reason_to_fail() {
        let claude = Told::read(r#"{"session_id":"a","stop_hook_active":true,"cwd":"/x"}"#);
        assert_eq!((claude.session.as_deref(), claude.turns), (Some("a"), 1));
        let cursor = Told::read(r#"{"conversation_id":"b","loop_count":3,"status":"completed"}"#);
        assert_eq!((cursor.session.as_deref(), cursor.turns), (Some("b"), 3));
        for other in [
            "",
            "[]",
            "null",
            "{\"session_id\":7,\"loop_count\":-1}",
            "{",
        ] {
            assert_eq!(Told::read(other), Told::default(), "{other}");
        }
    }
}
