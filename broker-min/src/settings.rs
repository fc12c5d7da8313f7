//! Flags, environment and one file: three ways to say the same settings.
//!
//! Each flag `--some-name` of the broker is also the variable `CLAUDEMESH_BROKER_SOME_NAME` and the
//! line `some-name = …` of the file that `--config` names. A flag goes before the variable, the
//! variable before the file. The file is a small part of TOML: comments, and `name = value` with a
//! text in double quotes, a whole number, or a list of texts in brackets on one line.

use std::ffi::OsString;
use std::path::Path;

use clap::{ArgAction, Command};

use crate::store::PostgresUrl;

/// What the variables' names begin with.
pub const PREFIX: &str = "CLAUDEMESH_BROKER_";
/// Bytes of a file at most.
const MAX_FILE: u64 = 1 << 20;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{path}: {source}; --config names the file of settings")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line of the file cannot be used.
    #[error("{path}, line {line}: {why}")]
    Line {
        /// The file.
        path: String,
        /// Which, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// A password stands where every user of the machine can read it.
    #[error(
        "--store holds a password, which everybody on this machine can read in the list of \
         processes; put the URL into the variable CLAUDEMESH_BROKER_STORE or the file of --config, \
         or the password into a passfile"
    )]
    Password,
    /// A variable is not UTF-8.
    #[error("{0} is not UTF-8")]
    Variable(String),
}

/// A setting: what it is called in each of the three ways, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// As a flag without its dashes, and in the file.
    pub name: String,
    /// As a variable.
    pub variable: String,
    /// The value if nothing is said.
    pub default: String,
    /// What it is for.
    pub help: String,
    /// Whether it may be given many times: commas part the values of the variable.
    pub many: bool,
}

/// All settings of `command`, in its order.
pub fn all(command: &Command) -> Vec<Setting> {
    let arguments = command.get_arguments().filter_map(|argument| {
        let name = argument.get_long()?;
        if matches!(name, "help" | "version") {
            return None;
        }
        let defaults = argument.get_default_values().iter();
        let defaults: Vec<_> = defaults.map(|text| text.to_string_lossy()).collect();
        Some(Setting {
            name: name.to_owned(),
            variable: format!("{PREFIX}{}", name.to_ascii_uppercase().replace('-', "_")),
            default: defaults.join(", "),
            help: argument
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default(),
            many: matches!(argument.get_action(), ArgAction::Append),
        })
    });
    arguments.collect()
}

/// Adds to the arguments `given` what the environment and the file say of flags that are not among
/// them. `variable` reads the environment.
///
/// # Errors
/// [`SettingsError`].
pub fn expand(
    command: &Command,
    given: Vec<OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<OsString>, SettingsError> {
    no_password(&given)?;
    let settings = all(command);
    let said = |name: &str| given.iter().any(|argument| flag(argument) == Some(name));
    let mut values: Vec<(String, String)> = Vec::new();
    for setting in &settings {
        if said(&setting.name) {
            continue;
        }
        let Some(value) = variable(&setting.variable).filter(|value| !value.is_empty()) else {
            continue;
        };
        let value = value
            .into_string()
            .map_err(|_| SettingsError::Variable(setting.variable.clone()))?;
        if setting.many {
            let parts = value.split(',').map(str::trim).filter(|v| !v.is_empty());
            values.extend(parts.map(|part| (setting.name.clone(), part.to_owned())));
        } else {
            values.push((setting.name.clone(), value));
        }
    }
    let file = value_of(&given, "config").or_else(|| {
        let found = values.iter().find(|(name, _)| name == "config");
        found.map(|(_, value)| OsString::from(value))
    });
    if let Some(file) = file {
        let taken: Vec<String> = values.iter().map(|(name, _)| name.clone()).collect();
        for (name, value) in read(Path::new(&file), &settings)? {
            if !said(&name) && !taken.contains(&name) {
                values.push((name, value));
            }
        }
    }
    let mut arguments = given;
    for (name, value) in values {
        arguments.push(format!("--{name}={value}").into());
    }
    Ok(arguments)
}

/// As [`expand`], with the environment of this process.
///
/// # Errors
/// [`SettingsError`].
pub fn expand_from_env(
    command: &Command,
    given: Vec<OsString>,
) -> Result<Vec<OsString>, SettingsError> {
    expand(command, given, |name| std::env::var_os(name))
}

/// Refuses a password among the arguments of this process.
///
/// # Errors
/// [`SettingsError::Password`].
pub fn no_password(given: &[OsString]) -> Result<(), SettingsError> {
    let holds = |text: OsString| PostgresUrl::holds_password(&text.to_string_lossy());
    match value_of(given, "store") {
        Some(text) if holds(text.clone()) => Err(SettingsError::Password),
        _ => Ok(()),
    }
}

fn flag(argument: &OsString) -> Option<&str> {
    let name = argument.to_str()?.strip_prefix("--")?;
    Some(name.split_once('=').map_or(name, |(name, _)| name))
}

fn value_of(arguments: &[OsString], name: &str) -> Option<OsString> {
    let at = arguments.iter().position(|a| flag(a) == Some(name))?;
    let inline = arguments.get(at)?.to_str()?.split_once('=');
    match inline {
        Some((_, value)) => Some(value.into()),
        None => arguments.get(at + 1).cloned(),
    }
}

fn read(path: &Path, settings: &[Setting]) -> Result<Vec<(String, String)>, SettingsError> {
    use std::io::Read as _;
    let failed = |source| SettingsError::Read {
        path: path.display().to_string(),
        source,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(failed)?;
    parse(&text, settings).map_err(|(line, why)| SettingsError::Line {
        path: path.display().to_string(),
        line,
        why,
    })
}

/// The settings of a file; or the number of a line and what is wrong with it.
fn parse(text: &str, settings: &[Setting]) -> Result<Vec<(String, String)>, (usize, String)> {
    let mut values: Vec<(String, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line_number = at + 1;
        let wrong = |why: String| (line_number, why);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            return Err(wrong(
                "sections are not used; write name = value".to_owned(),
            ));
        }
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| wrong("write name = value".to_owned()))?;
        let name = name.trim();
        let setting = settings
            .iter()
            .find(|setting| setting.name == name && name != "config")
            .ok_or_else(|| wrong(unknown(name, settings)))?;
        if values.iter().any(|(other, _)| other == name) {
            return Err(wrong(format!("{name} was set before")));
        }
        let found = value_list(value.trim()).map_err(wrong)?;
        if found.len() != 1 && !setting.many {
            return Err(wrong(format!("{name} takes one value")));
        }
        values.extend(found.into_iter().map(|value| (name.to_owned(), value)));
    }
    Ok(values)
}

fn unknown(name: &str, settings: &[Setting]) -> String {
    let folded = name.replace('_', "-").to_ascii_lowercase();
    let near = settings.iter().find(|setting| {
        setting.name == folded
            || setting.name.starts_with(&folded)
            || folded.starts_with(&setting.name)
    });
    match near {
        Some(near) => format!("there is no setting {name:?}; is {} meant?", near.name),
        None => format!("there is no setting {name:?}; docs/operations.md has the table of them"),
    }
}

/// The value or values that stand behind the `=`.
fn value_list(text: &str) -> Result<Vec<String>, String> {
    let mut rest = text;
    let in_list = match rest.strip_prefix('[') {
        Some(inner) => {
            rest = inner.trim_start();
            true
        }
        None => false,
    };
    let mut values = Vec::new();
    loop {
        if in_list && let Some(after) = rest.strip_prefix(']') {
            rest = after;
            break;
        }
        let (value, after) = one_value(rest)?;
        values.push(value);
        rest = after.trim_start();
        if !in_list {
            break;
        }
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None if rest.starts_with(']') => {}
            None => return Err("a list is [\"one\", \"two\"], on one line".to_owned()),
        }
    }
    let rest = rest.trim();
    if rest.is_empty() || rest.starts_with('#') {
        Ok(values)
    } else {
        Err("something stands behind the value".to_owned())
    }
}

fn one_value(text: &str) -> Result<(String, &str), String> {
    if let Some(inner) = text.strip_prefix('"') {
        let mut value = String::new();
        let mut chars = inner.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    let rest = inner.get(at + 1..).unwrap_or_default();
                    return Ok((value, rest));
                }
                '\\' => match chars.next() {
                    Some((_, c @ ('"' | '\\'))) => value.push(c),
                    _ => return Err("after \\ only \" or \\ may stand".to_owned()),
                },
                c => value.push(c),
            }
        }
        return Err("a \" is missing at the end of the text".to_owned());
    }
    let end = text.find([',', ']', '#', ' ', '\t']).unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    let number = value.replace('_', "");
    if value == "true" || value == "false" {
        Ok((value.to_owned(), rest))
    } else if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
        Ok((number, rest))
    } else {
        Err("a text stands in double quotes: name = \"value\"".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Args;
    use clap::{CommandFactory as _, Parser as _};

    fn expanded(given: &[&str], env: &[(&str, &str)]) -> Result<Vec<String>, SettingsError> {
        let given = given.iter().map(OsString::from).collect();
        let variable = |name: &str| {
            let found = env.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let all = expand(&Args::command(), given, variable)?;
        Ok(all.into_iter().map(|a| a.into_string().unwrap()).collect())
    }

    #[test]
    fn a_flag_goes_before_the_variable_and_the_variable_before_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("broker.toml");
        let text = "# the team's broker\n\
            listen = \"0.0.0.0:1\"   # all\n\
            log = \"warn\"\n\
            hello-ms = 5_000\n\
            mailbox-rows = 7\n\
            public-url = [\"wss://a.example/ws\", \"wss://b.example/ws\"]\n\
            trusted-proxy = \"10.0.0.0/8\"\n";
        std::fs::write(&file, text).unwrap();
        let given = [
            "--config",
            file.to_str().unwrap(),
            "--data",
            "d",
            "--log=debug",
        ];
        let env = [
            ("CLAUDEMESH_BROKER_LISTEN", "127.0.0.1:2"),
            ("CLAUDEMESH_BROKER_LOG", "x"),
        ];
        let all = expanded(&given, &env).unwrap();
        assert!(all.contains(&"--listen=127.0.0.1:2".to_owned()), "{all:?}");
        assert!(all.contains(&"--hello-ms=5000".to_owned()), "{all:?}");
        assert!(
            !all.iter().any(|a| a == "--log=x" || a == "--log=warn"),
            "{all:?}"
        );
        assert_eq!(
            all.iter()
                .filter(|a| a.starts_with("--public-url="))
                .count(),
            2
        );
        let name = ["broker-min".to_owned()];
        let args = Args::try_parse_from(name.into_iter().chain(all)).unwrap();
        assert_eq!(args.listen.to_string(), "127.0.0.1:2");
        assert_eq!(args.public_urls.len(), 2);
        assert_eq!(args.trusted_proxies.len(), 1);
    }

    #[test]
    fn lists_in_variables_are_parted_by_commas() {
        let env = [(
            "CLAUDEMESH_BROKER_PUBLIC_URL",
            "wss://a.example, wss://b.example",
        )];
        let all = expanded(&[], &env).unwrap();
        assert_eq!(
            all,
            [
                "--public-url=wss://a.example",
                "--public-url=wss://b.example"
            ]
        );
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_with_its_line() {
        let settings = all(&Args::command());
        for (text, line, part) in [
            ("listen", 1, "name = value"),
            ("\n[broker]", 2, "sections"),
            ("listn = \"x\"", 1, "no setting"),
            ("hello_ms = 1", 1, "is hello-ms meant"),
            ("listen = 127.0.0.1", 1, "double quotes"),
            ("listen = \"a", 1, "missing"),
            ("listen = \"a\" b", 1, "behind"),
            ("listen = [\"a\", \"b\"]", 1, "one value"),
            ("listen = \"a\"\nlisten = \"b\"", 2, "before"),
            ("config = \"b\"", 1, "no setting"),
        ] {
            let (at, why) = parse(text, &settings).unwrap_err();
            assert_eq!(at, line, "{text}");
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
