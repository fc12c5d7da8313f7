//! One connection to PostgreSQL, used from one thread, with the statements that it has prepared.
//!
//! The store's threads are plain ones, so each connection has a small runtime of its own that
//! runs while a call waits for its answer. There are as many connections as threads that use one,
//! and each is used by that thread alone: a pool between them would have nothing to share.

use std::collections::HashMap;
use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::tls;
use crate::store::postgres_url::{PostgresUrl, PostgresUrlError, StoreTls};
use crate::store::{Durability, StoreError};

/// For how long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// For how long an answer is waited for; the server gives up before.
const ANSWER: Duration = Duration::from_secs(40);
/// The same where an operator waits: whoever has had enough stops the command.
const FOREVER: Duration = Duration::from_secs(86_400);
/// For how long a connection takes leave.
const LEAVE: Duration = Duration::from_millis(200);

/// Parameters of a statement.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection is gone, or never came about.
    Lost(String),
    /// The server refused: its code and what it said, without what it said of values.
    Refused(SqlState, String),
    /// What it holds is not what a broker wrote.
    Damaged(String),
    /// As it stands.
    Store(StoreError),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(db) = error.as_db_error() {
            let code = db.code();
            let leaving = [
                &SqlState::ADMIN_SHUTDOWN,
                &SqlState::CRASH_SHUTDOWN,
                &SqlState::CANNOT_CONNECT_NOW,
                &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            ];
            if leaving.contains(&code) || code.code().starts_with("08") {
                return Self::Lost(db.message().to_owned());
            }
            return Self::Refused(code.clone(), db.message().to_owned());
        }
        let mut why = error.to_string();
        if let Some(source) = error.source() {
            let source = source.to_string();
            if !why.contains(&source) {
                why = format!("{why}: {source}");
            }
        }
        // No wait helps against these.
        if why.starts_with("invalid configuration") || why.starts_with("authentication error") {
            return Self::Refused(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, why);
        }
        Self::Lost(why)
    }
}

impl Fault {
    /// What it means for who called the store: nothing of the call is kept.
    pub(super) fn told(self, label: &str) -> StoreError {
        let path = label.to_owned();
        match self {
            Self::Store(error) => error,
            Self::Lost(why) => StoreError::Away { path, why },
            Self::Damaged(why) => StoreError::Damaged { path, why },
            Self::Refused(code, why) => match code {
                SqlState::DISK_FULL => StoreError::Full { path },
                SqlState::READ_ONLY_SQL_TRANSACTION => StoreError::ReadOnly { path },
                SqlState::TOO_MANY_CONNECTIONS => StoreError::Away { path, why },
                SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => {
                    StoreError::Damaged { path, why }
                }
                SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_COLUMN => {
                    StoreError::Damaged { path, why }
                }
                _ => StoreError::Io { path, why },
            },
        }
    }
}

/// A value that no broker wrote.
pub(super) fn bad(what: &str) -> Fault {
    Fault::Damaged(format!("{what} is not what a broker wrote"))
}

/// A column of a row.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Fault> {
    row.try_get(column)
        .map_err(|error| Fault::Damaged(error.to_string()))
}

/// How to reach a store.
pub(super) struct Target {
    config: Config,
    tls: Option<tokio_postgres_rustls::MakeRustlsConnect>,
    pub(super) schema: String,
    pub(super) label: String,
    synchronous: &'static str,
}

impl Target {
    /// Reads the URL, its passfile and the authorities.
    pub(super) fn new(url: &PostgresUrl, durability: Durability) -> Result<Self, PostgresUrlError> {
        // What the library says of a URL may repeat a part of it.
        let unreadable =
            |_| PostgresUrlError("its host, port or a parameter cannot be read".into());
        let mut config: Config = url.plain.parse().map_err(unreadable)?;
        if config.get_hosts().is_empty() {
            config.host("localhost");
        }
        if config.get_password().is_none()
            && let Some(password) = super::passfile::password(url, &config)?
        {
            config.password(password);
        }
        config.ssl_mode(match url.tls {
            StoreTls::Disable => tokio_postgres::config::SslMode::Disable,
            StoreTls::Prefer => tokio_postgres::config::SslMode::Prefer,
            _ => tokio_postgres::config::SslMode::Require,
        });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_application_name().is_none() {
            config.application_name(format!("broker-min {}", url.schema));
        }
        config
            .tcp_user_timeout(Duration::from_secs(20))
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        let tls = match url.tls {
            StoreTls::Disable => None,
            _ => Some(tls::connector(url)?),
        };
        Ok(Self {
            config,
            tls,
            schema: url.schema.clone(),
            label: url.label.clone(),
            synchronous: match durability {
                Durability::Power => "on",
                Durability::Process => "off",
            },
        })
    }
}

/// A connection.
pub(super) struct Line {
    runtime: Option<Runtime>,
    client: Option<Client>,
    driving: Option<JoinHandle<()>>,
    prepared: HashMap<&'static str, Statement>,
    answer: Duration,
}

impl Line {
    /// Connects. With `bounded` no statement may take long.
    pub(super) fn open(target: &Target, bounded: bool) -> Result<Self, Fault> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Fault::Lost(error.to_string()))?;
        let mut line = Self {
            runtime: Some(runtime),
            client: None,
            driving: None,
            prepared: HashMap::new(),
            answer: if bounded { ANSWER } else { FOREVER },
        };
        let config = &target.config;
        let connected = line.wait(async {
            Ok(match &target.tls {
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    let driving = tokio::spawn(async move {
                        // Whoever waits for an answer hears that the connection is gone.
                        let _ = connection.await;
                    });
                    (client, driving)
                }
                Some(tls) => {
                    let (client, connection) = config.connect(tls.clone()).await?;
                    let driving = tokio::spawn(async move {
                        let _ = connection.await;
                    });
                    (client, driving)
                }
            })
        })?;
        line.client = Some(connected.0);
        line.driving = Some(connected.1);
        let limit = if bounded { "30s" } else { "0" };
        // The schema's name has been checked: it is small letters, digits and _.
        line.batch(&format!(
            "SET search_path = {}, pg_temp; SET synchronous_commit = {}; SET timezone = 'UTC';
             SET statement_timeout = '{limit}'; SET lock_timeout = '10s';
             SET idle_in_transaction_session_timeout = '{limit}'; SET client_min_messages = error;
             SET default_transaction_isolation = 'read committed'",
            target.schema, target.synchronous
        ))?;
        Ok(line)
    }

    /// Whether the connection was seen to be gone.
    pub(super) fn is_closed(&self) -> bool {
        self.client.as_ref().is_none_or(Client::is_closed)
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let runtime = self.runtime.as_ref();
        let runtime = runtime.ok_or_else(|| Fault::Lost("the connection is closed".to_owned()))?;
        runtime.block_on(async {
            match tokio::time::timeout(self.answer, work).await {
                Ok(done) => done,
                Err(_) => Err(Fault::Lost("it did not answer in time".to_owned())),
            }
        })
    }

    fn client(&self) -> Result<&Client, Fault> {
        let client = self.client.as_ref();
        client.ok_or_else(|| Fault::Lost("the connection is closed".to_owned()))
    }

    /// Runs statements without parameters.
    pub(super) fn batch(&self, sql: &str) -> Result<(), Fault> {
        let client = self.client()?;
        self.wait(async { Ok(client.batch_execute(sql).await?) })
    }

    fn statement(&mut self, sql: &'static str) -> Result<Statement, Fault> {
        if let Some(statement) = self.prepared.get(sql) {
            return Ok(statement.clone());
        }
        let client = self.client()?;
        let statement = self.wait(async { Ok(client.prepare(sql).await?) })?;
        self.prepared.insert(sql, statement.clone());
        Ok(statement)
    }

    /// All rows of an answer.
    pub(super) fn rows(
        &mut self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, Fault> {
        let statement = self.statement(sql)?;
        let client = self.client()?;
        self.wait(async { Ok(client.query(&statement, params).await?) })
    }

    /// The first row of an answer.
    pub(super) fn row(
        &mut self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Option<Row>, Fault> {
        Ok(self.rows(sql, params)?.into_iter().next())
    }

    /// The only row of an answer that always has one.
    pub(super) fn one(&mut self, sql: &'static str, params: Params<'_>) -> Result<Row, Fault> {
        self.row(sql, params)?.ok_or_else(|| bad("an empty answer"))
    }

    /// Does something; says how many rows it concerned.
    pub(super) fn execute(&mut self, sql: &'static str, params: Params<'_>) -> Result<u64, Fault> {
        let statement = self.statement(sql)?;
        let client = self.client()?;
        self.wait(async { Ok(client.execute(&statement, params).await?) })
    }

    /// Does something once: it is not prepared for a second time.
    pub(super) fn execute_once(&self, sql: &str, params: Params<'_>) -> Result<(), Fault> {
        let client = self.client()?;
        self.wait(async { Ok(client.execute(sql, params).await?) })
            .map(drop)
    }

    /// Asks something once.
    pub(super) fn rows_once(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Fault> {
        let client = self.client()?;
        self.wait(async { Ok(client.query(sql, params).await?) })
    }

    /// Does many things in order without waiting for one before the next is sent.
    pub(super) fn execute_all(&mut self, all: &[(&'static str, Params<'_>)]) -> Result<(), Fault> {
        let mut statements = Vec::with_capacity(all.len());
        for (sql, _) in all {
            statements.push(self.statement(sql)?);
        }
        let client = self.client()?;
        self.wait(async {
            let each = statements.iter().zip(all);
            try_join_all(each.map(|(statement, (_, params))| client.execute(statement, params)))
                .await?;
            Ok(())
        })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.client = None;
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        // A polite end, where this thread may wait for it.
        if let Some(driving) = self.driving.take()
            && Handle::try_current().is_err()
        {
            let _ = runtime.block_on(async { tokio::time::timeout(LEAVE, driving).await });
        }
        runtime.shutdown_background();
    }
}
