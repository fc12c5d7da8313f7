//! What other peers ask of this machine through a broker of the existing system.

use claudemesh_core::session::{Event, In};

use crate::support::*;

/// Each frame by which a broker passes such a request, or its answer, on.
const FORWARDED: [(&str, &str); 5] = [
    (
        "peer_file_request_forward",
        r#"{"type":"peer_file_request_forward","requesterPubkey":"KEY","filePath":"/etc/canary","_reqId":"r1"}"#,
    ),
    (
        "peer_dir_request_forward",
        r#"{"type":"peer_dir_request_forward","requesterPubkey":"KEY","dirPath":"/canary","pattern":"*","_reqId":"r2"}"#,
    ),
    (
        "mcp_call_forward",
        r#"{"type":"mcp_call_forward","callId":"c1","serverName":"canary","toolName":"run","args":{"canary":1},"callerName":"eve"}"#,
    ),
    (
        "peer_file_response_forward",
        r#"{"type":"peer_file_response_forward","filePath":"/canary","content":"Y2FuYXJ5","_reqId":"r3"}"#,
    ),
    (
        "peer_dir_response_forward",
        r#"{"type":"peer_dir_response_forward","dirPath":"/canary","entries":["canary"],"_reqId":"r4"}"#,
    ),
];

fn is_left_alone(rig: &mut Rig) {
    for (kind, text) in FORWARDED {
        rig.forget();
        let text = text.replace("KEY", &key(BEN).to_hex());
        for _ in 0..3 {
            rig.put(In::Frame(text.clone()));
        }
        rig.pass(100);
        assert!(rig.texts.is_empty(), "{kind}: {:?}", rig.texts);
        let told = rig.events.iter();
        let told: Vec<&Event> = told
            .filter(|it| matches!(it, Event::NotAnswered { .. }))
            .collect();
        assert_eq!(told, [&Event::NotAnswered { kind }]);
        let everything = format!("{:?}", rig.events);
        assert!(!everything.contains("canary"), "{everything}");
        assert!(rig.inbox().is_empty());
    }
}

#[test]
fn files_folders_and_calls_that_peers_ask_for_are_not_answered() {
    // In a mesh with a log, and on a broker of the existing system.
    let mesh = Mesh::new(&[BEN]);
    is_left_alone(&mut Rig::connected(&mesh, ANA));
    is_left_alone(&mut crate::legacy::rig());
}
