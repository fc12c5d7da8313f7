use std::io::Write as _;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConnection, ConnectionCommon, Error, NamedGroup, ServerConfig, ServerConnection,
    SupportedCipherSuite,
};

use super::super::trust;

const RSA: &str = include_str!("../../../testdata/tls/rsa-2048-of-tests.pem");

fn key(kind: &str) -> KeyPair {
    let made = match kind {
        "P-256" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        "P-384" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        "Ed25519" => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        _ => KeyPair::from_pem(RSA),
    };
    made.unwrap()
}

/// A server with a certificate of this kind, by an authority of the same kind, and with ring's cryptography
/// but for these; and the authority.
struct Server {
    authority: tempfile::NamedTempFile,
    chain: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Server {
    fn new(kind: &str) -> Self {
        let of_authority = key(kind);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, kind);
        let pem = params.self_signed(&of_authority).unwrap().pem();
        let mut authority = tempfile::NamedTempFile::new().unwrap();
        authority.write_all(pem.as_bytes()).unwrap();
        let issuer = Issuer::new(params, of_authority);
        let own = key(kind);
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        Self {
            authority,
            chain: params.signed_by(&own, &issuer).unwrap().der().clone(),
            key: PrivatePkcs8KeyDer::from(own.serialize_der()).into(),
        }
    }

    fn config(&self, provider: CryptoProvider) -> Arc<ServerConfig> {
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.chain.clone()], self.key.clone_key())
            .unwrap();
        Arc::new(config)
    }

    /// A handshake, and a message each way; gives what was agreed on.
    fn meets(
        &self,
        suites: &[SupportedCipherSuite],
        groups: &[&'static dyn SupportedKxGroup],
    ) -> Result<(SupportedCipherSuite, NamedGroup), Error> {
        let config = self.config(CryptoProvider {
            cipher_suites: suites.to_vec(),
            kx_groups: groups.to_vec(),
            ..default_provider()
        });
        let mut server = ServerConnection::new(config).unwrap();
        let client = trust::client(Some(self.authority.path())).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        client.writer().write_all(b"there").unwrap();
        let (mut there, mut back) = (Vec::new(), Vec::new());
        for _ in 0..12 {
            carry(&mut client, &mut server);
            // Why a server refuses is told by what it then says to the client.
            let refused = server.process_new_packets().is_err();
            read(&mut server.reader(), &mut there);
            if there == b"there" && back.is_empty() {
                server.writer().write_all(b"back").unwrap();
            }
            carry(&mut server, &mut client);
            client.process_new_packets()?;
            assert!(!refused, "the server refused without a word");
            read(&mut client.reader(), &mut back);
            if back == b"back" {
                let group = client.negotiated_key_exchange_group().unwrap();
                return Ok((client.negotiated_cipher_suite().unwrap(), group.name()));
            }
        }
        panic!("they never met");
    }
}

/// What one side has to say goes to the other.
fn carry<A, B>(from: &mut ConnectionCommon<A>, to: &mut ConnectionCommon<B>) {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut rest = wire.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
    }
}

fn read(from: &mut impl std::io::Read, into: &mut Vec<u8>) {
    let mut buffer = [0; 64];
    if let Ok(length) = from.read(&mut buffer) {
        into.extend_from_slice(&buffer[..length]);
    }
}

/// Every suite, group and kind of certificate that a peer offers, with ring at the other end.
#[test]
fn servers_of_every_kind_are_met() {
    let mut met = 0;
    for kind in ["P-256", "P-384", "Ed25519", "RSA"] {
        let server = Server::new(kind);
        for suite in super::SUITES {
            let name = format!("{:?}", suite.suite());
            // TLS 1.2 names the kind of certificate with the suite.
            let fits = name.starts_with("TLS13") || name.contains("ECDHE_RSA") == (kind == "RSA");
            for group in [kx_group::X25519, kx_group::SECP256R1] {
                let agreed = server.meets(&[*suite], &[group]);
                if fits {
                    assert_eq!(agreed.unwrap(), (*suite, group.name()), "{kind} {name}");
                    met += 1;
                } else {
                    assert!(agreed.is_err(), "{kind} {name}");
                }
            }
        }
        // Left to itself ring takes what it likes best of what is offered.
        let provider = default_provider();
        let (suite, group) = server
            .meets(&provider.cipher_suites, &provider.kx_groups)
            .unwrap();
        assert!(super::SUITES.contains(&suite));
        assert_eq!(group, NamedGroup::X25519, "{kind}");
    }
    assert_eq!(met, 4 * 2 * 2 + 4 * 2 * 2);
}

#[test]
fn a_server_with_nothing_in_common_is_refused_by_an_error() {
    let server = Server::new("P-256");
    let suites = [cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    let refused = server.meets(&suites, &[kx_group::X25519]).unwrap_err();
    assert!(matches!(refused, Error::AlertReceived(_)), "{refused}");
    let suites = [cipher_suite::TLS13_AES_128_GCM_SHA256];
    let refused = server.meets(&suites, &[kx_group::SECP384R1]).unwrap_err();
    assert!(matches!(refused, Error::AlertReceived(_)), "{refused}");
    let said = trust::explain(&std::io::Error::other(refused), None);
    assert!(said.contains("its operator must allow TLS"), "{said}");
}

/// What a plain `openssl req -x509` writes is an authority, which a server cannot show as its own.
#[test]
fn an_authority_shown_as_a_servers_certificate_is_refused_and_told_of() {
    let key = key("P-256");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let mut authority = tempfile::NamedTempFile::new().unwrap();
    authority.write_all(certificate.pem().as_bytes()).unwrap();
    let server = Server {
        authority,
        chain: certificate.der().clone(),
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    };
    let provider = default_provider();
    let refused = server
        .meets(&provider.cipher_suites, &provider.kx_groups)
        .unwrap_err();
    let said = trust::explain(&std::io::Error::other(refused), None);
    assert!(said.contains("must issue one for the server"), "{said}");
}

/// Another authority's certificate is not believed, whatever its kind.
#[test]
fn a_certificate_of_another_authority_is_refused() {
    for kind in ["P-256", "P-384", "Ed25519"] {
        let mut server = Server::new(kind);
        server.authority = Server::new(kind).authority;
        let provider = default_provider();
        let refused = server.meets(&provider.cipher_suites, &provider.kx_groups);
        assert!(
            matches!(refused, Err(Error::InvalidCertificate(_))),
            "{kind}: {refused:?}"
        );
    }
}
