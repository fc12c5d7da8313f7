//! Frames of both ends: what decodes encodes, and decodes to the same again.

use claudemesh_core::wire::{BrokerFrame, ClientFrame, decode_send};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(frame) = ClientFrame::decode(text) {
        let again = ClientFrame::decode(&frame.encode());
        assert_eq!(again.as_ref(), Ok(&frame));
        // The borrowed reading of a send reads the same.
        if let Some(Ok(send)) = decode_send(text) {
            assert_eq!(ClientFrame::Send(send.into_owned()), frame);
        }
    }
    if let Ok(frame) = BrokerFrame::decode(text) {
        let again = BrokerFrame::decode(&frame.encode());
        assert_eq!(again.as_ref(), Ok(&frame));
    }
}
