//! A stand-in for a client: lines of JSON-RPC to `claudemesh mcp`, and what comes back.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::Person;

/// What an answer may take, on a machine that does much else.
const SOON: Duration = Duration::from_secs(30);

pub(crate) struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    /// Notifications that came while an answer was waited for.
    pub(crate) pushes: Vec<Value>,
    next: u64,
}

impl Agent {
    /// A client that has begun in the way of 2025.
    pub(crate) fn start(person: &Person, args: &[&str]) -> Self {
        let mut agent = Self::silent(person, args);
        agent.initialize("2025-06-18");
        agent
    }

    /// One that has said nothing yet.
    pub(crate) fn silent(person: &Person, args: &[&str]) -> Self {
        let (mut agent, stdout) = Self::deaf(person, args);
        agent.lines = follow(stdout);
        agent
    }

    /// One whose answers the test reads itself.
    pub(crate) fn deaf(person: &Person, args: &[&str]) -> (Self, ChildStdout) {
        let mut command = person.command(&[&["mcp"], args].concat());
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.stderr(Stdio::null()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let agent = Self {
            child,
            stdin,
            lines: mpsc::channel().1,
            pushes: Vec::new(),
            next: 1,
        };
        (agent, stdout)
    }

    pub(crate) fn write(&mut self, message: &Value) {
        let line = format!("{message}\n");
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(line.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Asks, and gives the number of the question.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        self.write(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// The answer to a question, whole.
    pub(crate) fn answer(&mut self, id: u64) -> Value {
        let until = Instant::now() + SOON;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let message = self.lines.recv_timeout(left).unwrap_or_else(|error| {
                panic!("no answer to {id}: {error}");
            });
            if message["id"] == id {
                return message;
            }
            assert!(message.get("id").is_none(), "{message}");
            self.pushes.push(message);
        }
    }

    /// What comes by itself next.
    pub(crate) fn push(&mut self) -> Value {
        if !self.pushes.is_empty() {
            return self.pushes.remove(0);
        }
        let message = self.lines.recv_timeout(SOON).unwrap();
        assert!(message.get("id").is_none(), "{message}");
        message
    }

    pub(crate) fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params);
        self.answer(id)
    }

    pub(crate) fn initialize(&mut self, version: &str) -> Value {
        let who = json!({ "name": "stand-in", "version": "1" });
        let params = json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": who });
        let answer = self.request("initialize", params);
        self.write(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        answer
    }

    /// The result of a tool, as data; it has to be one.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.tool(tool, arguments);
        assert_ne!(result["isError"], true, "{result}");
        result["structuredContent"].clone()
    }

    /// The error of a tool, as data.
    pub(crate) fn refused(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.tool(tool, arguments);
        assert_eq!(result["isError"], true, "{result}");
        // Whoever sees the text alone is told the same.
        let error = &result["structuredContent"]["error"];
        let text = result["content"][0]["text"].as_str().unwrap();
        for part in ["code", "message", "next"] {
            assert!(text.contains(error[part].as_str().unwrap()), "{result}");
        }
        error.clone()
    }

    /// What a tool answered, whole.
    pub(crate) fn tool(&mut self, tool: &str, arguments: Value) -> Value {
        let params = json!({ "name": tool, "arguments": arguments });
        let answer = self.request("tools/call", params);
        assert!(answer.get("error").is_none(), "{answer}");
        answer["result"].clone()
    }

    /// The texts of what is unread, once something is.
    pub(crate) fn messages(&mut self) -> Vec<Value> {
        let until = Instant::now() + SOON;
        loop {
            let answer = self.call("check_messages", json!({}));
            let messages = answer["messages"].as_array().unwrap().clone();
            if !messages.is_empty() || Instant::now() > until {
                return messages;
            }
        }
    }

    /// Waits until the tools have their peer, with a connection.
    pub(crate) fn connected(&mut self) {
        let until = Instant::now() + SOON;
        while self.call("mesh_info", json!({}))["connected"] != true {
            assert!(Instant::now() < until, "not connected");
        }
    }

    /// The client goes: the end of stdin. Gives the code with which the server ended.
    pub(crate) fn end(mut self) -> i32 {
        drop(self.stdin.take());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// SIGKILL, on unix; gives what it had answered until then.
    pub(crate) fn kill(mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn follow(stdout: ChildStdout) -> Receiver<Value> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            // A process that was killed may have written half a line.
            let Ok(message) = serde_json::from_str(&line) else {
                return;
            };
            if tell.send(message).is_err() {
                return;
            }
        }
    });
    told
}
