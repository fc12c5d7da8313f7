//! `claudemesh restore`: puts a backup back. It reads no configuration first: the one that is here
//! may be what is wrong.

use claudemesh_core::Config;
use claudemesh_core::config::{BackupError, Restored};
use serde_json::json;

use super::passphrase;
use crate::cli::Restore;
use crate::context::{ask, is_interactive};
use crate::exit::{Code, Failure};
use crate::format::clean_line;
use crate::output::Output;

pub(super) async fn run(args: Restore, out: &Output) -> Result<Code, Failure> {
    let dir = Config::default_dir()?;
    if !args.file.exists() {
        let message = format!("there is no file {}", args.file.display());
        return Err(Failure::new(Code::NotFound, message));
    }
    let passphrase = passphrase::get(args.passphrase_file.as_deref(), false, out).await?;
    let put = |replace| Config::restore_into(&dir, &args.file, &passphrase, replace);
    let (config, restored) = match put(args.yes) {
        Err(BackupError::Exists { path }) => {
            let what = format!(
                "{} is here already; it would be kept beside it as .before-restore",
                path.display()
            );
            if !is_interactive(out) {
                let message = format!("{what}. Say --yes to replace it");
                return Err(Failure::new(Code::Exists, message));
            }
            if !ask(&format!("{what}. Replace it?")).await? {
                return Err(Failure::new(Code::Failed, "nothing was replaced"));
            }
            put(true)?
        }
        other => other?,
    };
    told(&config, &restored, out)
}

fn told(config: &Config, restored: &Restored, out: &Output) -> Result<Code, Failure> {
    let names: Vec<_> = config.meshes().iter().map(|mesh| &mesh.slug).collect();
    let answer = json!({
        "full": restored.full,
        "meshes": names,
        "stores": restored.stores,
        "sessions": restored.sessions,
        "set_aside": restored.set_aside,
    });
    out.answer(&answer, || {
        let shown: Vec<_> = names.iter().map(|name| clean_line(name)).collect();
        let what = match restored.full {
            true => format!(
                ", messages of {}, keys of {} sessions",
                restored.stores, restored.sessions
            ),
            false => String::new(),
        };
        let aside = restored.set_aside.iter();
        let aside: String = aside
            .map(|path| format!("Kept: {}\n", path.display()))
            .collect();
        format!(
            "Restored {} meshes{what}: {}\n{aside}Next: `claudemesh doctor`\n",
            restored.meshes,
            shown.join(", ")
        )
    })?;
    Ok(Code::Ok)
}
