//! Links, tokens and their payloads, as somebody pastes them.

use claudemesh_core::invite::{Fragment, InviteToken, parse_link};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = parse_link(text);
    if let Ok(fragment) = Fragment::parse(text) {
        let again = Fragment::parse(&fragment.expose()).expect("an own fragment is read");
        assert_eq!(again.invite(), fragment.invite());
    }
    for token in [InviteToken::parse(text), InviteToken::from_json(text)] {
        let Ok(token) = token else { continue };
        let _ = token.verify(1_800_000_000_000);
        let _ = token.issuer();
        let again = InviteToken::parse(&token.encode()).expect("an own token is read");
        assert_eq!(again.canonical(), token.canonical());
    }
}
