//! What the program can be told to do, by its own word.

use std::collections::BTreeSet;

use crate::common::program;

/// Every verb that the help names, such as `state set`; hidden ones are not in it. What only has
/// verbs below it, such as `state`, is none; what can also stand alone, such as `invite`, is one.
pub(crate) fn verbs() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    gather(&[], &mut found);
    found
}

fn gather(path: &[String], found: &mut BTreeSet<String>) {
    let mut help = program();
    help.args(path).arg("--help").env("COLUMNS", "100");
    let output = help.output().unwrap();
    assert!(output.status.success(), "{path:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let usage = text.lines().find(|line| line.starts_with("Usage: "));
    let usage = usage.unwrap_or_else(|| panic!("no usage of {path:?}: {text}"));
    let below = match path {
        [] => in_groups(&text),
        _ => below(&text),
    };
    // A verb is missed if the help is written in another way than this reads it.
    assert_eq!(below.is_empty(), !usage.contains("COMMAND"), "{text}");
    if below.is_empty() || usage.contains("[COMMAND]") {
        found.insert(path.join(" "));
    }
    for name in below {
        let mut path = path.to_vec();
        path.push(name);
        gather(&path, found);
    }
}

/// The names in the groups of the first help: between its usage and its options.
fn in_groups(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| !line.starts_with("Usage: "));
    lines
        .take_while(|line| *line != "Options:")
        .filter_map(|line| line.strip_prefix("  "))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// The names under `Commands:`; what goes on in a further line is moved in by more.
fn below(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}
