//! The ways to a broker: a private authority, a proxy, another address.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{CertificateParams, KeyPair};

use crate::common::{Broker, Person, program, said};

/// A broker with a certificate of its own for `broker.test`, which no name server knows.
struct Secure {
    dir: tempfile::TempDir,
    child: std::process::Child,
    port: u16,
}

impl Drop for Secure {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn secure() -> Secure {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["broker.test".to_owned()]).unwrap();
    let cert = params.self_signed(&key).unwrap();
    std::fs::write(dir.path().join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
    let mut child = program()
        .args([
            "broker",
            "--log",
            "error",
            "--listen",
            "127.0.0.1:0",
            "--create",
            "open",
        ])
        .env("CLAUDEMESH_BROKER_TLS_CERT", dir.path().join("cert.pem"))
        .env("CLAUDEMESH_BROKER_TLS_KEY", dir.path().join("key.pem"))
        .arg("--data")
        .arg(dir.path().join("data"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = child.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    let port = line.trim().strip_prefix("listening on wss://127.0.0.1:");
    let port = port.and_then(|rest| rest.strip_suffix("/ws")).unwrap();
    let port = port.parse().unwrap();
    Secure { dir, child, port }
}

/// A proxy that takes every name for this machine; gives its port and what it was asked.
fn proxy() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let heard = Arc::clone(&heard);
            thread::spawn(move || {
                let mut client = stream.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    client.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                let port = head
                    .split([':', ' '])
                    .nth(2)
                    .unwrap()
                    .parse::<u16>()
                    .unwrap();
                let allowed = head.contains("Proxy-Authorization: Basic");
                heard.lock().unwrap().push(head);
                if !allowed {
                    client.write_all(b"HTTP/1.1 407 No\r\n\r\n").unwrap();
                    return;
                }
                let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
                drop(std::io::copy(&mut server, &mut client));
            });
        }
    });
    (port, asked)
}

#[test]
fn a_proxy_and_an_authority_from_the_environment_are_used() {
    let broker = secure();
    let (proxy, asked) = proxy();
    let ca = broker.dir.path().join("cert.pem");
    let url = format!("wss://broker.test:{}/ws", broker.port);
    let ana = Person::new();
    let create = |name: &str, proxy: &str, more: &[(&str, &str)]| {
        let mut command = ana.command(&["create", name, "--broker", &url, "--name", "ana"]);
        command.env("HTTPS_PROXY", proxy).env("SSL_CERT_FILE", &ca);
        said(command.envs(more.iter().copied()).output().unwrap())
    };
    let with_password = format!("http://ana:secret@127.0.0.1:{proxy}");
    let made = create("team", &with_password, &[]);
    assert_eq!(made.code, 0, "{made:?}");
    let first = asked.lock().unwrap().first().unwrap().clone();
    let connect = format!("CONNECT broker.test:{} HTTP/1.1\r\n", broker.port);
    assert!(first.starts_with(&connect), "{first}");

    let without = create("two", &format!("http://127.0.0.1:{proxy}"), &[]);
    assert_eq!(without.code, 4, "{without:?}");
    assert!(without.err.contains("user and a password"), "{without:?}");
    let before = asked.lock().unwrap().len();
    let around = create("three", &with_password, &[("NO_PROXY", "broker.test")]);
    assert_eq!(around.code, 4, "{around:?}");
    assert_eq!(asked.lock().unwrap().len(), before);

    // A WebSocket goes the same way; and a flag goes before the environment.
    let mut command = ana.command(&["invite", "--json"]);
    command
        .env("HTTPS_PROXY", &with_password)
        .env("SSL_CERT_FILE", &ca);
    let invite = said(command.output().unwrap());
    assert_eq!(invite.code, 0, "{invite:?}");
    let mut command = ana.command(&["invite", "--ca", "/nothing.pem"]);
    command
        .env("HTTPS_PROXY", &with_password)
        .env("SSL_CERT_FILE", &ca);
    let lost = said(command.output().unwrap());
    assert_eq!(lost.code, 4, "{lost:?}");
    assert!(lost.err.contains("nothing.pem"), "{lost:?}");
}

#[test]
fn a_broker_that_moved_is_found_at_its_new_address() {
    let broker = Broker::start();
    let ana = Person::new();
    ana.json(
        0,
        &["create", "team", "--broker", &broker.url(), "--name", "ana"],
    );
    let moved = broker.url().replace("127.0.0.1", "localhost");
    let said = ana.json(0, &["set-url", "team", &moved]);
    assert_eq!(said["broker"], moved);
    assert_eq!(said["before"], broker.url());
    assert_eq!(ana.run(&["invite"]).code, 0);

    let nobody = ana.run(&["set-url", "team", "ws://127.0.0.1:9/ws"]);
    assert_eq!(nobody.code, 4, "{nobody:?}");
    assert!(nobody.err.contains("Nothing was changed"), "{nobody:?}");
    assert_eq!(ana.run(&["invite"]).code, 0);
    let forced = ana.json(
        0,
        &["set-url", "team", "ws://127.0.0.1:9/ws", "--unchecked"],
    );
    assert_eq!(forced["broker"], "ws://127.0.0.1:9/ws");
    assert_eq!(ana.run(&["set-url", "other", &moved]).code, 5);
}

#[test]
fn a_token_makes_a_mesh_where_one_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let mut child = program()
        .args([
            "broker",
            "--listen",
            "127.0.0.1:0",
            "--data",
            data,
            "--create",
            "token",
        ])
        .args(["--log", "error"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = child.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap();
    let ana = Person::new();
    let refused = ana.json(2, &["create", "team", "--broker", url]);
    let why = refused["error"]["message"].as_str().unwrap();
    assert!(
        why.contains("token_required") && why.contains("token add"),
        "{why}"
    );
    let token = ana.run(&["broker", "token", "add", "ana", "--data", data]);
    assert_eq!(token.code, 0, "{token:?}");
    let token = token.out.trim();
    let made = ana.json(0, &["create", "team", "--broker", url, "--token", token]);
    assert_eq!(made["mesh"], "team");
    ana.run(&["broker", "token", "revoke", "ana", "--data", data]);
    let mut command = ana.command(&["create", "two", "--broker", url]);
    command.env("CLAUDEMESH_BROKER_TOKEN", token);
    assert_eq!(said(command.output().unwrap()).code, 2);
    drop(child.kill());
    drop(child.wait());
}
