//! Invite links: every form is read, a changed one is refused, and the seed stays a secret.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail as tests do.

use claudemesh_core::broker_url::BrokerUrl;
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::encoding::{base64url, unbase64url};
use claudemesh_core::id::{Hash, MeshId, MeshSlug};
use claudemesh_core::invite::{
    Fragment, InviteError, InviteToken, IssuedInvite, Link, LinkParts, Offer, TokenRole, parse_link,
};
use claudemesh_core::membership::{Role, RuleError};

const SEED: [u8; 32] = [0xa7; 32];
const INVITE: Hash = Hash([0x3c; 32]);
const EXPIRES: u64 = 1_800_000_000;

/// A token of the existing system, made with libsodium.
const REFERENCE: &str = "eyJ2IjoxLCJtZXNoX2lkIjoiOWYzYzFkMmUtN2E0MS00YzU1LThiMGUtNmYxYTJiM2M0ZDVlIiwibWVzaF9zbHVnIjoiYWNtZS1wYXltZW50cyIsImJyb2tlcl91cmwiOiJ3c3M6Ly9pYy5jbGF1ZGVtZXNoLmNvbS93cyIsImV4cGlyZXNfYXQiOjQxMDI0NDQ4MDAsIm1lc2hfcm9vdF9rZXkiOiJ3TUhDdzhURnhzZkl5Y3JMek0zT3o5RFIwdFBVMWRiWDJObmEyOXpkM3Q4Iiwicm9sZSI6Im1lbWJlciIsIm93bmVyX3B1YmtleSI6Ijc5YjU1NjJlOGZlNjU0Zjk0MDc4YjExMmU4YTk4YmE3OTAxZjg1M2FlNjk1YmVkN2UwZTM5MTBiYWQwNDk2NjQiLCJzaWduYXR1cmUiOiJlYjFhN2JiMmRlMzViMjQ0OTg2ZGYzOWE2MDc1ZmJhOWZlZWQxOWQzMzk3NjdiNzY0OWIxMDhlYzUzNTczNDU0NWRkZDhhNDA5NzRmMjE3NjBmZTE2NzkwZTc1ZGJjNjAxNzIyZDAzZjQ0MGJiM2Y2MGQyZjU5ZDg2MjRiODMwNiJ9";

fn issue(broker: &str, role: Role) -> IssuedInvite {
    let offer = Offer {
        mesh: MeshId::new("a".repeat(32)).unwrap(),
        slug: MeshSlug::new("team").unwrap(),
        broker: broker.parse::<BrokerUrl>().unwrap(),
        expires_at: EXPIRES * 1_000 + 999,
        role,
    };
    let issuer = KeyPair::from_seed(&[1; 32]);
    IssuedInvite::new(&offer, &issuer, INVITE, SEED, &[8; 32])
}

fn issued() -> IssuedInvite {
    issue("wss://broker.example/ws", Role::Member)
}

fn parts(link: Link) -> (bool, LinkParts) {
    match link {
        Link::Token(parts) => (true, parts),
        Link::Code(parts) => (false, parts),
        _ => panic!("a form that this test does not know"),
    }
}

/// Token or code, its text and its origin.
fn read(input: &str) -> Result<(bool, String, Option<String>), InviteError> {
    parse_link(input).map(parts).map(|(token, parts)| {
        assert!(parts.fragment.is_none());
        (token, parts.text, parts.origin)
    })
}

fn refused(input: &str) -> InviteError {
    match parse_link(input) {
        Err(error) => error,
        Ok(_) => panic!("{input} was taken"),
    }
}

#[test]
fn an_issued_link_reads_back_and_its_token_verifies() {
    for (broker, origin) in [
        ("wss://broker.example/ws", "https://broker.example"),
        ("wss://broker.example:8443/x", "https://broker.example:8443"),
        ("ws://localhost:7900/ws", "http://localhost:7900"),
        ("ws://[::1]:7900/ws", "http://[::1]:7900"),
    ] {
        let invite = issue(broker, Role::Member);
        let link = invite.link();
        let (is_token, read) = parts(parse_link(&format!("  {link}\n")).unwrap());
        assert!(is_token);
        assert_eq!(read.text, invite.token);
        assert_eq!(read.origin.as_deref(), Some(origin));
        let fragment = read.fragment.unwrap();
        assert_eq!(fragment.invite(), INVITE);
        assert_eq!(fragment.key().public(), KeyPair::from_seed(&SEED).public());
        assert_eq!(fragment.expose().len(), 86);

        let token = InviteToken::parse(&read.text).unwrap();
        token.verify(EXPIRES - 1).unwrap();
        assert_eq!(token.issuer(), Some(KeyPair::from_seed(&[1; 32]).public()));
        assert_eq!(token.mesh_id, "a".repeat(32));
        assert_eq!(token.broker_url, broker);
        assert_eq!(token.encode(), invite.token);
    }
}

#[test]
fn a_legacy_link_has_no_fragment_and_no_token_has_the_seed() {
    let invite = issued();
    let legacy = invite.legacy_link();
    assert!(!legacy.contains('#'));
    assert!(invite.link().starts_with(&format!("{legacy}#")));
    let (_, read) = parts(parse_link(&legacy).unwrap());
    assert!(read.fragment.is_none());
    let json = String::from_utf8(unbase64url(&invite.token).unwrap()).unwrap();
    assert!(!json.contains(&base64url(&SEED)) && !json.contains(&"a7".repeat(32)));
}

#[test]
fn a_token_names_two_roles_and_never_outlives_its_log_entry() {
    for (role, named) in [
        (Role::Admin, TokenRole::Admin),
        (Role::Member, TokenRole::Member),
        (Role::Pending, TokenRole::Member),
    ] {
        let token = InviteToken::parse(&issue("wss://b.example", role).token).unwrap();
        assert_eq!(token.role, named);
        // The entry's milliseconds are cut off.
        assert_eq!(token.expires_at, EXPIRES);
        token.verify(EXPIRES).unwrap();
        let late = InviteError::Expired {
            expires_at: EXPIRES,
            now: EXPIRES + 1,
        };
        assert_eq!(token.verify(EXPIRES + 1), Err(late));
    }
}

#[test]
fn every_form_of_link_is_read_as_the_existing_clients_read_it() {
    let home = || Some("https://claudemesh.com".to_owned());
    let code = |origin| Ok((false, "abc12345".to_owned(), origin));
    assert_eq!(read("abc12345"), code(None));
    for input in [
        "https://claudemesh.com/i/abc12345",
        "https://claudemesh.com/i/abc12345/",
        "https://claudemesh.com/es/i/abc12345",
        "claudemesh.com/i/abc12345",
        "claudemesh://i/abc12345",
        "claudemesh://abc12345",
        " \thttps://claudemesh.com/i/abc12345\r\n",
    ] {
        assert_eq!(read(input), code(home()), "{input}");
    }
    let other = Some("https://other.example".to_owned());
    assert_eq!(read("https://other.example/i/abc12345"), code(other));

    let token = |text: &str, origin| Ok((true, text.to_owned(), origin));
    let long = "abcdefghijklmnopqrstu";
    assert_eq!(read(long), token(long, None));
    assert_eq!(refused(&long[..17]), InviteError::Format);
    for (input, origin) in [
        ("https://claudemesh.com/join/@", home()),
        ("https://claudemesh.com/es/join/@", home()),
        ("https://claudemesh.com/join/@/", home()),
        ("claudemesh://join/@", home()),
        ("ic://join/@", None),
        ("ic://join/@/", None),
        ("@", None),
        (
            "https://self.example:8443/join/@",
            Some("https://self.example:8443".to_owned()),
        ),
        (
            "http://localhost:7900/join/@",
            Some("http://localhost:7900".to_owned()),
        ),
    ] {
        let input = input.replace('@', REFERENCE);
        assert_eq!(read(&input), token(REFERENCE, origin), "{input}");
    }
    assert_eq!(
        read("https://claudemesh.com/join/TOKEN_-9"),
        token("TOKEN_-9", home())
    );
}

#[test]
fn the_fragment_goes_with_every_form() {
    let fragment = Fragment::new(SEED, INVITE).expose();
    for form in [
        "https://b.example/join/TOKEN",
        "https://b.example/i/abc12345",
        "claudemesh://join/TOKEN",
        "claudemesh://i/abc12345",
        "claudemesh://abc12345",
        "ic://join/TOKEN",
        "b.example/i/abc12345",
        "abc12345",
        "abcdefghijklmnopqrstuvw",
    ] {
        let (_, read) = parts(parse_link(&format!("{form}#{fragment}")).unwrap());
        assert_eq!(read.fragment.unwrap().invite(), INVITE, "{form}");
    }
}

#[test]
fn a_cut_or_changed_fragment_never_falls_back_to_a_link_without_one() {
    let link = issued().link();
    let start = link.find('#').unwrap() + 1;
    for length in start..link.len() {
        assert_eq!(refused(&link[..length]), InviteError::Fragment);
    }
    for bad in ["A", "=", "#", ".", "%41", "A".repeat(44).as_str()] {
        assert_eq!(refused(&format!("{link}{bad}")), InviteError::Fragment);
    }
    // The last character holds two bits only; others in it are refused, not ignored.
    let mut stray = link.clone();
    let last = stray.pop().unwrap();
    let next = char::from(last as u8 + 1);
    stray.push(next);
    assert_eq!(refused(&stray), InviteError::Fragment);
    // A changed seed or id still reads, and is another key or id: the log refuses it.
    let mut bytes = unbase64url(&link[start..]).unwrap();
    bytes[0] ^= 1;
    bytes[63] ^= 1;
    let changed = Fragment::parse(&base64url(&bytes)).unwrap();
    assert_ne!(changed.key().public(), KeyPair::from_seed(&SEED).public());
    assert_ne!(changed.invite(), INVITE);
}

#[test]
fn what_is_no_link_is_refused() {
    for empty in ["", "  \n", "ic://join/", "ic://join//"] {
        let error = refused(empty);
        let expected = [InviteError::Empty, InviteError::Format];
        assert!(expected.contains(&error), "{empty}");
    }
    assert_eq!(refused(""), InviteError::Empty);
    assert_eq!(refused("ic://join/"), InviteError::Empty);
    for bad in [
        "abc",
        "ftp://b.example/join/TOKEN",
        "https://b.example/",
        "https://b.example/join/",
        "https://b.example/join/a/b",
        "https://b.example/join/TOKEN?x=1",
        "https://b.example/join/TÖKEN",
        "https://b.example/eng/join/TOKEN",
        "https://b.example/EN/join/TOKEN",
        "https:///join/TOKEN",
        "https://user@b.example/join/TOKEN",
        "https://b.exam\"ple/join/TOKEN",
        "https://b.example\\@evil.example/join/TOKEN",
        "https://b.example?x/join/TOKEN",
        "https://bücher.example/join/TOKEN",
        "claudemesh://",
        "claudemesh://join/",
        "ic://join/a b",
        "é",
        "https://é/é/join/é",
        &"a".repeat(16_385),
    ] {
        assert_eq!(refused(bad), InviteError::Format, "{bad}");
    }
    // A bare token has over 20 characters, and no input over 16 KiB.
    let dashed = |length: usize| format!("-{}", "a".repeat(length - 1));
    assert_eq!(refused(&dashed(20)), InviteError::Format);
    for length in [21, 16_384] {
        assert!(read(&dashed(length)).unwrap().0, "{length}");
    }
}

/// The token with its JSON changed.
fn changed(token: &str, from: &str, to: &str) -> Result<InviteToken, InviteError> {
    let json = String::from_utf8(unbase64url(token).unwrap()).unwrap();
    assert!(json.contains(from), "{json}");
    InviteToken::parse(&base64url(json.replacen(from, to, 1).as_bytes()))
}

#[test]
fn a_changed_token_does_not_verify() {
    for token in [issued().token.as_str(), REFERENCE] {
        InviteToken::parse(token).unwrap().verify(EXPIRES).unwrap();
        let slug = InviteToken::parse(token).unwrap().mesh_slug;
        for (from, to) in [
            ("\"role\":\"member\"", "\"role\":\"admin\""),
            ("wss://", "ws://"),
            (slug.as_str(), "other"),
            ("\"mesh_id\":\"", "\"mesh_id\":\"0"),
            ("\"expires_at\":", "\"expires_at\":9"),
            ("\"mesh_root_key\":\"", "\"mesh_root_key\":\"A"),
        ] {
            let token = changed(token, from, to).unwrap();
            assert_eq!(token.verify(EXPIRES), Err(InviteError::Signature), "{to}");
        }
        // Every changed byte of the JSON is refused somewhere.
        let json = unbase64url(token).unwrap();
        for at in 0..json.len() {
            let mut json = json.clone();
            json[at] ^= 1;
            let read = InviteToken::parse(&base64url(&json));
            read.and_then(|token| token.verify(EXPIRES)).unwrap_err();
        }
    }
    // Another issuer's name over the same signature; a key that is none.
    let own = KeyPair::from_seed(&[1; 32]).public().to_hex();
    let other = KeyPair::from_seed(&[2; 32]).public().to_hex();
    let weak = format!("01{}", "00".repeat(31));
    for key in [other, weak] {
        let token = changed(&issued().token, &own, &key).unwrap();
        assert_eq!(token.verify(EXPIRES), Err(InviteError::Signature));
    }
}

#[test]
fn a_malformed_token_says_which_field() {
    let token = issued().token;
    for (from, to, field) in [
        ("\"v\":1", "\"v\":2", "v must be 1"),
        ("\"v\":1", "\"v\":\"1\"", "v must be 1"),
        ("\"v\":1,", "", "v must be 1"),
        ("mesh_id", "mesh", "mesh_id required"),
        ("\"team\"", "\"\"", "mesh_slug required"),
        ("\"team\"", "7", "mesh_slug required"),
        ("broker_url", "url", "broker_url required"),
        ("mesh_root_key", "key", "mesh_root_key required"),
        ("\"member\"", "\"owner\"", "role must be admin or member"),
        (
            "1800000000",
            "\"1800000000\"",
            "expires_at must be a positive number",
        ),
        (
            "1800000000",
            "-1800000000",
            "expires_at must be a positive number",
        ),
        ("1800000000", "0", "expires_at must be a positive number"),
        (
            "\"owner_pubkey\":\"",
            "\"owner_pubkey\":\"0",
            "owner_pubkey must be 64 hex chars",
        ),
        (
            "\"signature\":\"",
            "\"signature\":\"g",
            "signature must be 128 hex chars",
        ),
    ] {
        let error = changed(&token, from, to).unwrap_err();
        assert_eq!(error, InviteError::Payload(field), "{to}");
    }
    let parse = |json: &str| InviteToken::parse(&base64url(json.as_bytes())).unwrap_err();
    assert_eq!(parse("[]"), InviteError::Payload("is not an object"));
    assert!(matches!(parse("not json"), InviteError::Json(_)));
    assert!(matches!(parse(&"[".repeat(6_000)), InviteError::Json(_)));
    let text = |token: &str| InviteToken::parse(token).unwrap_err();
    assert_eq!(text(""), InviteError::Empty);
    assert!(matches!(text("a+b/"), InviteError::Json(_)));
    assert!(matches!(text(&format!("{token}=")), InviteError::Json(_)));
    assert!(matches!(text(&"A".repeat(8_192)), InviteError::Json(_)));
    assert!(matches!(text(&"A".repeat(8_193)), InviteError::Payload(_)));
}

#[test]
fn errors_say_what_to_do_next_and_never_tell_the_secret() {
    let link = issued().link();
    let secret = link.split_once('#').unwrap().1;
    let broken = link.replace("/join/", "/jo in/");
    let mut errors = vec![
        refused(&link[..link.len() - 1]),
        refused(&format!("{link}x")),
        refused(&broken),
        refused(&format!("mailto:{link}")),
        InviteError::Empty,
        InviteError::Signature,
    ];
    let token = issued().token;
    errors.push(InviteToken::parse(&token[..token.len() - 7]).unwrap_err());
    errors.push(InviteToken::parse(&format!("{token}#{secret}")).unwrap_err());
    errors.push(InviteToken::parse(&base64url(secret.as_bytes())).unwrap_err());
    errors.push(changed(&token, "\"team\"", "\"\"").unwrap_err());
    let verified = InviteToken::parse(&token).unwrap().verify(EXPIRES + 1);
    errors.push(verified.unwrap_err());
    let hex = claudemesh_core::encoding::hex(&SEED);
    for error in errors {
        for text in [error.to_string(), format!("{error:?}")] {
            for part in [&secret[..20], &secret[60..], &hex[..16]] {
                assert!(!text.contains(part), "{text}");
            }
        }
        let text = error.to_string();
        assert!(
            text.contains("paste the whole link") || text.contains("ask for a new"),
            "{text}"
        );
    }
    for rule in [
        RuleError::InviteClosed,
        RuleError::InviteExpired,
        RuleError::InviteUsedUp,
    ] {
        assert!(rule.to_string().contains("ask for a new link"));
    }
}
