//! docs/self-host.md, each block as it stands, in one shell, with a private authority.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::common::PROGRAM;

fn certificates(etc: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "ours");
    std::fs::write(etc.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let cert = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(etc.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(etc.join("key.pem"), key.serialize_pem()).unwrap();
}

#[test]
fn every_step_of_the_guide_works_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["etc", "bin", "home"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    certificates(&at("etc"));
    // The broker's own program takes what `claudemesh broker` takes.
    let shim = at("bin").join("broker-min");
    std::fs::write(
        &shim,
        format!("#!/bin/sh\nexec '{PROGRAM}' broker \"$@\"\n"),
    )
    .unwrap();
    std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).unwrap();

    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/self-host.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let mut script = "set -eux\ntrap 'kill -9 $BROKER 2>/dev/null || true' EXIT\n".to_owned();
    let (mut is_command, mut blocks) = (false, 0);
    for line in guide.lines() {
        if line.starts_with("```") {
            is_command = line == "```sh";
            blocks += usize::from(is_command);
        } else if is_command {
            script.push_str(line);
            script.push('\n');
        }
    }
    assert!(blocks >= 10, "{blocks}");
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let program = Path::new(PROGRAM).parent().unwrap();
    let path = format!(
        "{}:{}:/usr/bin:/bin",
        at("bin").display(),
        program.display()
    );
    let ran = Command::new("/bin/sh")
        .args(["-c", &script])
        .env_clear()
        .env("PATH", path)
        .env("HOME", at("home"))
        .env("BROKER_HOST", "localhost")
        .env("BROKER_PORT", port.to_string())
        .env("ETC", at("etc"))
        .env("DATA", at("data"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!(
        "{}\n{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    let log = std::fs::read_to_string(at("etc").join("log")).unwrap_or_default();
    assert!(ran.status.success(), "{said}\n{log}");
}
