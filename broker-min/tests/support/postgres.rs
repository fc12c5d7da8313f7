//! A real PostgreSQL, if there is one for tests: `CLAUDEMESH_TEST_POSTGRES` is its URL, as
//! `scripts/postgres run` sets it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "each test file uses a part of it, and says what it skips"
)]

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use broker_min::store::PostgresUrl;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A server to make schemas in.
#[derive(Clone)]
pub struct Server(String);

/// The server for tests; without one, says that `test` is skipped.
pub fn server(test: &str) -> Option<Server> {
    match std::env::var("CLAUDEMESH_TEST_POSTGRES") {
        Ok(url) if !url.is_empty() => Some(Server(url)),
        _ => {
            // Not by a macro of the test harness, which would swallow it.
            let line = format!(
                "SKIPPED {test}: no PostgreSQL; scripts/postgres run cargo test … runs it\n"
            );
            let _ = std::io::stderr().write_all(line.as_bytes());
            None
        }
    }
}

impl Server {
    pub fn at(url: &str) -> Self {
        Self(url.trim().to_owned())
    }

    /// A schema of its own, which is gone with the value.
    pub fn schema(&self) -> Schema {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}_{number}", std::process::id());
        let text = format!("{}?schema={name}", self.0);
        Schema {
            server: self.0.clone(),
            url: text.parse().unwrap(),
            text,
            name,
        }
    }

    /// What statements say, row by row.
    pub fn query(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        query(&self.0, sql)
    }

    /// Its password.
    pub fn password(&self) -> &str {
        let before = self.0.rsplit_once('@').unwrap().0;
        before.rsplit_once(':').unwrap().1
    }

    /// The URL with other parameters.
    pub fn with(&self, host: &str, parameters: &str) -> String {
        format!("{}?{parameters}", self.0.replace("127.0.0.1", host))
    }
}

/// A schema for one test.
pub struct Schema {
    server: String,
    text: String,
    url: PostgresUrl,
    pub name: String,
}

impl Schema {
    pub fn url(&self) -> &PostgresUrl {
        &self.url
    }

    /// The URL as an operator would write it, with its password.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The URL without its password, which stands in a file that is made in `dir`.
    pub fn with_passfile(&self, dir: &std::path::Path) -> String {
        let (user, rest) = self.text.rsplit_once('@').unwrap();
        let (user, password) = user.rsplit_once(':').unwrap();
        let file = dir.join("pgpass");
        std::fs::write(&file, format!("*:*:*:*:{password}\n")).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        format!("{user}@{rest}&passfile={}", file.display())
    }

    /// A connection that looks at, or changes, what the store keeps.
    pub fn sql(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let sql = format!("SET search_path = {}; {sql}", self.name);
        query(&self.server, &sql)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let server = self.server.clone();
        let sql = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.name);
        let _ =
            std::thread::spawn(move || std::panic::catch_unwind(|| query(&server, &sql))).join();
    }
}

/// Runs statements on a thread of its own; gives the rows as texts.
pub fn query(url: &str, sql: &str) -> Vec<Vec<Option<String>>> {
    let (url, sql) = (url.to_owned(), sql.to_owned());
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
                .await
                .unwrap();
            tokio::spawn(async move {
                let _ = connection.await;
            });
            let mut rows = Vec::new();
            for message in client.simple_query(&sql).await.unwrap() {
                if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                    let columns = 0..row.len();
                    rows.push(columns.map(|at| row.get(at).map(str::to_owned)).collect());
                }
            }
            rows
        })
    };
    std::thread::spawn(run).join().unwrap()
}
