//! Which programs started this one.

/// Programs above this one that are looked at, at most.
#[cfg(unix)]
const FAR: usize = 12;
/// Programs that only start others.
#[cfg(unix)]
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "fish", "ksh", "env"];

/// What started this process: its parent, and who started that one if it is only a shell. One of
/// them is the client.
pub(super) fn started_by() -> Vec<u32> {
    #[cfg(unix)]
    {
        let mut by = Vec::new();
        for id in above() {
            by.push(id);
            let name = name_of(id).unwrap_or_default();
            if !SHELLS.contains(&name.trim_start_matches('-')) {
                break;
            }
        }
        by
    }
    #[cfg(not(unix))]
    Vec::new()
}

/// The programs above this one, nearest first; never the system's first one.
pub(super) fn above() -> Vec<u32> {
    #[cfg(unix)]
    {
        let mut above = Vec::new();
        let mut next = Some(std::os::unix::process::parent_id());
        while let Some(id) = next.filter(|id| *id > 1 && above.len() < FAR) {
            above.push(id);
            next = parent_of(id);
        }
        above
    }
    #[cfg(not(unix))]
    Vec::new()
}

#[cfg(unix)]
fn parent_of(id: u32) -> Option<u32> {
    // The name is in brackets and may hold any character; what follows the last one is numbers.
    if let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) {
        let rest = stat.rsplit_once(')')?.1;
        return rest.split_whitespace().nth(1)?.parse().ok();
    }
    asked("ppid=", id)?.parse().ok()
}

#[cfg(unix)]
fn name_of(id: u32) -> Option<String> {
    if let Ok(name) = std::fs::read_to_string(format!("/proc/{id}/comm")) {
        return Some(name.trim().to_owned());
    }
    let path = asked("comm=", id)?;
    Some(path.rsplit('/').next()?.to_owned())
}

/// Where the system keeps no such files, its `ps` knows.
#[cfg(unix)]
fn asked(what: &str, id: u32) -> Option<String> {
    let mut ps = std::process::Command::new("ps");
    let output = ps.args(["-o", what, "-p", &id.to_string()]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
