//! `token`: who may make meshes.

use std::io::Write;
use std::time::Duration;

use clap::Subcommand;

use super::{DataArg, OperatorError, duration, now, when};
use crate::create::Tokens;

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Token {
    /// Make a token; it is shown once
    Add {
        /// For whom or what it is
        name: String,
        /// For how long it is good; without it, until it is revoked
        #[arg(long, value_name = "TIME", value_parser = duration)]
        expires: Option<Duration>,
        #[command(flatten)]
        data: DataArg,
    },
    /// List the tokens' names
    List {
        #[command(flatten)]
        data: DataArg,
    },
    /// Take a token back; meshes that were made with it stay
    Revoke {
        /// Its name
        name: String,
        #[command(flatten)]
        data: DataArg,
    },
}

pub(super) fn run(token: &Token, out: &mut dyn Write) -> Result<(), OperatorError> {
    match token {
        Token::Add {
            name,
            expires,
            data,
        } => {
            let now = now();
            let until = expires.map(|time| {
                now.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
            });
            let token = Tokens::new(&data.data).add(name, now, until)?;
            writeln!(out, "{token}")?;
        }
        Token::List { data } => {
            for row in Tokens::new(&data.data).list()? {
                let until = match row.expires_at {
                    Some(at) if at <= now() => format!("expired {}", when(at)),
                    Some(at) => format!("good until {}", when(at)),
                    None => "good until revoked".to_owned(),
                };
                writeln!(out, "{}: made {}, {until}", row.name, when(row.made_at))?;
            }
        }
        Token::Revoke { name, data } => {
            Tokens::new(&data.data).revoke(name)?;
            writeln!(out, "revoked {name}")?;
        }
    }
    Ok(())
}
