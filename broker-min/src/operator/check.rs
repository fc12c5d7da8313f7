//! `check`: whether a broker could run with these settings, and what is doubtful about them.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;

use claudemesh_core::broker_url::Reach;

use super::OperatorError;
use crate::cli::{Args, WhoCreates};
use crate::store::format_of_file;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Ok,
    Warning,
    Wrong,
}

struct Report<'a> {
    out: &'a mut dyn Write,
    wrong: bool,
}

impl Report<'_> {
    fn say(&mut self, level: Level, what: &str) -> std::io::Result<()> {
        self.wrong |= level == Level::Wrong;
        let mark = match level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Wrong => "WRONG",
        };
        writeln!(self.out, "{mark:>7}: {what}")
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), OperatorError> {
    let mut report = Report { out, wrong: false };
    listening(args, &mut report)?;
    certificate(args, &mut report)?;
    urls(args, &mut report)?;
    proxies(args, &mut report)?;
    creation(args, &mut report)?;
    folder(args, &mut report)?;
    database(args, &mut report)?;
    if report.wrong {
        Err(OperatorError::Unsound)
    } else {
        Ok(())
    }
}

fn listening(args: &Args, report: &mut Report<'_>) -> std::io::Result<()> {
    let addr = args.listen;
    match TcpListener::bind(addr) {
        Ok(_) => report.say(Level::Ok, &format!("{addr} is free to listen on")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => report.say(
            Level::Warning,
            &format!("{addr} is in use; that is as it should be only if the broker runs now"),
        ),
        Err(error) => report.say(
            Level::Wrong,
            &format!("{addr} cannot be listened on: {error}; choose another --listen"),
        ),
    }
}

fn certificate(args: &Args, report: &mut Report<'_>) -> std::io::Result<()> {
    let Some(files) = args.tls() else {
        if !args.listen.ip().is_loopback() && args.trusted_proxies.is_empty() {
            return report.say(
                Level::Warning,
                "others can reach it without TLS: who writes to whom can be seen on the way; give \
                 --tls-cert and --tls-key, or put a proxy before it and name it with \
                 --trusted-proxy",
            );
        }
        return Ok(());
    };
    match files.check() {
        Ok(()) => report.say(Level::Ok, "the certificate and its key fit each other")?,
        Err(error) => report.say(Level::Wrong, &error.to_string())?,
    }
    #[cfg(unix)]
    if let Ok(meta) = std::fs::metadata(&files.key) {
        let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions());
        if mode & 0o007 != 0 {
            let what = format!(
                "everybody on this machine may use {}: chmod o= it",
                files.key.display()
            );
            report.say(Level::Warning, &what)?;
        }
    }
    Ok(())
}

fn urls(args: &Args, report: &mut Report<'_>) -> std::io::Result<()> {
    if args.public_urls.is_empty() {
        if args.listen.ip().is_loopback() && args.trusted_proxies.is_empty() {
            return report.say(Level::Ok, "it is for this machine alone: no --public-url");
        }
        return report.say(
            Level::Warning,
            "without --public-url a hello is bound to whatever address the request names, so one \
             who stands in between can pass it on, and links name an address that may lead \
             nowhere; give the address that peers dial",
        );
    }
    for url in &args.public_urls {
        if url.reach() == Reach::Machine && !args.listen.ip().is_loopback() {
            let what = format!("{url} leads to the own machine of whoever dials it");
            report.say(Level::Warning, &what)?;
        } else if !url.is_tls() && args.tls_cert.is_some() {
            let what = format!("{url} is without TLS, but this broker speaks TLS: write wss://");
            report.say(Level::Wrong, &what)?;
        } else if url.is_tls() && args.tls_cert.is_none() && args.trusted_proxies.is_empty() {
            let what = format!(
                "{url} is with TLS, which this broker does not speak: give --tls-cert and \
                 --tls-key, or name the proxy that does with --trusted-proxy"
            );
            report.say(Level::Warning, &what)?;
        } else if !url.is_tls() && url.reach() == Reach::Anywhere {
            let what = format!("{url} is without TLS: who writes to whom can be seen on the way");
            report.say(Level::Warning, &what)?;
        } else {
            report.say(Level::Ok, &format!("peers dial {url}"))?;
        }
    }
    Ok(())
}

fn proxies(args: &Args, report: &mut Report<'_>) -> std::io::Result<()> {
    for network in &args.trusted_proxies {
        let everybody = ["0.0.0.1", "203.0.113.1", "2001:db8::1"]
            .iter()
            .any(|ip| ip.parse().is_ok_and(|ip| network.contains(ip)));
        if everybody {
            let what = format!(
                "{network} trusts strangers: anybody could say to be another address; name the \
                 proxies alone"
            );
            report.say(Level::Wrong, &what)?;
        }
    }
    Ok(())
}

fn creation(args: &Args, report: &mut Report<'_>) -> std::io::Result<()> {
    let open = args.who_creates() == WhoCreates::Open;
    if open && !(args.listen.ip().is_loopback() && args.public_urls.is_empty()) {
        return report.say(
            Level::Warning,
            "anybody who reaches it may make meshes (--create open)",
        );
    }
    let what = match args.who_creates() {
        WhoCreates::Open => "everybody on this machine may make meshes",
        WhoCreates::Token => "meshes are made with a token: broker-min token add NAME",
        WhoCreates::Closed => "no meshes are made here (--create closed)",
    };
    report.say(Level::Ok, what)
}

fn folder(args: &Args, report: &mut Report<'_>) -> std::io::Result<()> {
    let dir: &Path = &args.data;
    let shown = dir.display();
    match std::fs::metadata(dir) {
        Ok(meta) if !meta.is_dir() => {
            return report.say(Level::Wrong, &format!("{shown} is no folder"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return report.say(Level::Ok, &format!("{shown} will be made"));
        }
        Err(error) => return report.say(Level::Wrong, &format!("{shown}: {error}")),
    }
    let probe = dir.join(format!(".check-{}", std::process::id()));
    let written = std::fs::write(&probe, b"x");
    let _ = std::fs::remove_file(&probe);
    match written {
        Ok(()) => report.say(Level::Ok, &format!("{shown} can be written"))?,
        Err(error) => report.say(
            Level::Wrong,
            &format!("{shown} cannot be written: {error}; give it to the broker's user"),
        )?,
    }
    if args.store.is_some() {
        if dir.join("broker.db").exists() {
            let what = format!(
                "{shown} holds a store of its own, which is not used with --store; `broker-min move` \
                 brings it over"
            );
            report.say(Level::Warning, &what)?;
        }
        return Ok(());
    }
    match format_of_file(dir) {
        Ok(None) => report.say(Level::Ok, "there is no store yet"),
        Ok(Some((found, newest))) if found < newest => report.say(
            Level::Ok,
            &format!(
                "the store has format {found}; at the next start a copy of it is kept and it is \
                 brought to {newest}"
            ),
        ),
        Ok(Some((found, _))) => report.say(Level::Ok, &format!("the store has format {found}")),
        Err(error) => report.say(Level::Wrong, &error.to_string()),
    }
}

#[cfg(not(feature = "postgres"))]
fn database(args: &Args, report: &mut Report<'_>) -> std::io::Result<()> {
    match &args.store {
        None => Ok(()),
        Some(_) => report.say(Level::Wrong, &OperatorError::NoPostgres.to_string()),
    }
}

#[cfg(feature = "postgres")]
fn database(args: &Args, report: &mut Report<'_>) -> std::io::Result<()> {
    use crate::store::StoreTls;
    let Some(text) = &args.store else {
        return Ok(());
    };
    let url = match text.url() {
        Ok(url) => url,
        Err(error) => return report.say(Level::Wrong, &error.to_string()),
    };
    let weak = matches!(
        url.tls(),
        StoreTls::Disable | StoreTls::Prefer | StoreTls::Require
    );
    if url.is_remote() && weak {
        let what = format!(
            "sslmode={}: whoever stands between this machine and the database can read and change \
             all that is kept; use verify-full",
            url.tls().as_str()
        );
        report.say(Level::Warning, &what)?;
    }
    match crate::store::postgres_admin::survey(&url) {
        Ok(said) => {
            for (doubtful, what) in said {
                let level = if doubtful { Level::Warning } else { Level::Ok };
                report.say(level, &what)?;
            }
            Ok(())
        }
        Err(error) => report.say(Level::Wrong, &error.to_string()),
    }
}
