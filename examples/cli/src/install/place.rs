//! Where the clients keep their configuration, and how a program is named in it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::agent::client::Client;
use crate::exit::{Code, Failure};

/// The folders of the clients, for this user.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    home: PathBuf,
    claude: Option<PathBuf>,
    codex: Option<PathBuf>,
}

impl Places {
    /// As the environment has them.
    ///
    /// # Errors
    /// [`Code::Io`] if nobody knows where this user's home is.
    pub(crate) fn new() -> Result<Self, Failure> {
        let set = |name: &str| {
            let value: Option<OsString> = std::env::var_os(name);
            value.filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        Ok(Self {
            home: home.ok_or_else(|| {
                Failure::new(
                    Code::Io,
                    "where your home folder is, is not known: set HOME",
                )
            })?,
            claude: set("CLAUDE_CONFIG_DIR"),
            codex: set("CODEX_HOME"),
        })
    }

    /// The folder by which a client is known to be in use here.
    pub(crate) fn folder(&self, client: Client) -> PathBuf {
        match client {
            Client::ClaudeCode => self.claude.clone().unwrap_or_else(|| self.at(".claude")),
            Client::Codex => self.codex.clone().unwrap_or_else(|| self.at(".codex")),
            Client::Gemini => self.at(".gemini"),
            Client::Cursor => self.at(".cursor"),
        }
    }

    /// The clients that were used here.
    pub(crate) fn found(&self) -> Vec<Client> {
        let all = Client::ALL.into_iter();
        all.filter(|client| self.folder(*client).is_dir()).collect()
    }

    pub(super) fn claude_json(&self) -> PathBuf {
        match &self.claude {
            Some(dir) => dir.join(".claude.json"),
            None => self.at(".claude.json"),
        }
    }

    pub(super) fn claude_settings(&self) -> PathBuf {
        self.folder(Client::ClaudeCode).join("settings.json")
    }

    pub(super) fn codex_config(&self) -> PathBuf {
        self.folder(Client::Codex).join("config.toml")
    }

    pub(super) fn codex_hooks(&self) -> PathBuf {
        self.folder(Client::Codex).join("hooks.json")
    }

    pub(super) fn gemini_settings(&self) -> PathBuf {
        self.folder(Client::Gemini).join("settings.json")
    }

    pub(super) fn cursor_mcp(&self) -> PathBuf {
        self.folder(Client::Cursor).join("mcp.json")
    }

    pub(super) fn cursor_hooks(&self) -> PathBuf {
        self.folder(Client::Cursor).join("hooks.json")
    }

    pub(super) fn skill(&self, client: Client) -> PathBuf {
        let dir = match client {
            // It reads what several clients have in common.
            Client::Codex => self.at(".agents"),
            other => self.folder(other),
        };
        dir.join("skills").join(super::SERVER).join("SKILL.md")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }
}

/// This program, as an absolute path. One that PATH leads to goes before the file behind it: a
/// package manager puts a new version there.
pub(crate) fn program() -> Result<String, Failure> {
    let own = std::env::current_exe().map_err(|error| {
        Failure::new(
            Code::Io,
            format!("where this program is, is not known: {error}"),
        )
    })?;
    let own = own.canonicalize().unwrap_or(own);
    let found = on_path(super::SERVER).into_iter().find(|path| {
        let same = path.canonicalize().is_ok_and(|path| path == own);
        same && path.is_absolute()
    });
    let path = found.unwrap_or(own);
    match path.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Failure::new(
            Code::Io,
            format!(
                "{} cannot be written into a configuration: its name is no text",
                path.display()
            ),
        )),
    }
}

/// The programs of this name that PATH leads to, in its order.
pub(crate) fn on_path(name: &str) -> Vec<PathBuf> {
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).map(|dir| dir.join(&name));
    all.filter(|path| is_program(path)).collect()
}

fn is_program(path: &Path) -> bool {
    let Ok(about) = path.metadata() else {
        return false;
    };
    #[cfg(unix)]
    let may_run = std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let may_run = true;
    about.is_file() && may_run
}

/// Words as a line for the system's shell.
pub(crate) fn command_line(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ':' | '@');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    match cfg!(windows) {
        // No path there holds a quotation mark.
        true => format!("\"{}\"", word.replace('"', "")),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Whether a hook or a status line of a client calls this program, wherever it is.
pub(super) fn is_ours(command: &str) -> bool {
    let command = command.trim();
    let called = ["hook", "status-line"].into_iter().find_map(|verb| {
        let (program, rest) = command.split_once(&format!(" {verb}"))?;
        (rest.is_empty() || rest.starts_with(' ')).then_some(program)
    });
    called.is_some_and(|program| {
        let program = program.trim_matches(['\'', '"']);
        let name = program.rsplit(['/', '\\']).next().unwrap_or_default();
        matches!(name, "claudemesh" | "claudemesh.exe")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_ours_is_known_wherever_the_program_is() {
        for ours in [
            "claudemesh hook prompt",
            "/usr/local/bin/claudemesh hook stop --client codex",
            "'/opt/my tools/claudemesh' hook session-start",
            "\"C:\\tools\\claudemesh.exe\" hook prompt",
            "claudemesh status-line",
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in [
            "",
            "claudemesh",
            "claudemesh hooks",
            "notify hook claudemesh",
            "my-claudemesh hook prompt",
            "echo claudemesh",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_shell_reads_the_words_that_were_meant() {
        for word in [
            "plain",
            "with space",
            "it's",
            "$(id)",
            "`id`",
            "a\"b",
            "",
            "x;y&z",
        ] {
            let line = command_line(&["printf".to_owned(), "%s".to_owned(), word.to_owned()]);
            let said = std::process::Command::new("sh")
                .args(["-c", &line])
                .output();
            assert_eq!(String::from_utf8(said.unwrap().stdout).unwrap(), word);
        }
    }
}
