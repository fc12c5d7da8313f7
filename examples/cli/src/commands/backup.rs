//! `claudemesh backup`: keys, or everything, into a file under a passphrase.

use std::path::PathBuf;

use claudemesh_core::config::Contents;
use claudemesh_core::time::iso;
use serde_json::json;

use super::passphrase;
use crate::cli::Backup;
use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::format::now_ms;

pub(super) async fn run(context: &mut Context, args: Backup) -> Result<Code, Failure> {
    if context.config.meshes().is_empty() {
        return Err(Failure::new(
            Code::NoMesh,
            "there is nothing to back up: no mesh yet (`claudemesh create` or `claudemesh join`)",
        ));
    }
    let file = args.file.unwrap_or_else(file_name);
    // Before somebody thinks of a passphrase.
    if !args.force && file.exists() {
        let message = format!(
            "{} is there already; choose another name, or say --force to replace it",
            file.display()
        );
        return Err(Failure::new(Code::Exists, message));
    }
    let from = args.passphrase_file.as_deref();
    let passphrase = passphrase::get(from, true, &context.out).await?;
    let contents = match args.full {
        true => Contents::Everything,
        false => Contents::Config,
    };
    let made = context
        .config
        .back_up(&file, &passphrase, contents, args.force)?;
    let answer = json!({
        "path": made.path,
        "full": args.full,
        "meshes": made.meshes,
        "stores": made.stores,
        "sessions": made.sessions,
        "bytes": made.bytes,
    });
    context.out.answer(&answer, || {
        let what = match args.full {
            true => format!(
                "keys and settings, messages of {} meshes, keys of {} sessions",
                made.stores, made.sessions
            ),
            false => "keys and settings; --full has messages and keys of channels, too".to_owned(),
        };
        format!(
            "Backed up {} meshes to {} ({what}).\nKeep it away from this machine, and the \
             passphrase away from it: nobody can open it without.\n",
            made.meshes,
            made.path.display()
        )
    })?;
    Ok(Code::Ok)
}

/// As the existing system calls it.
fn file_name() -> PathBuf {
    let now = iso(now_ms()).replace([':', '.'], "-");
    format!("claudemesh-backup-{now}.cmb").into()
}
