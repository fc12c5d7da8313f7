//! `mesh`, `gc`: what is done to meshes.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use claudemesh_core::id::MeshId;

use super::place::Place;
use super::{OperatorError, StoreArg, duration, now, when};
use crate::rules::{MeshState, RulesFile};
use crate::store::MeshInfo;

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Mesh {
    /// List all meshes
    List {
        #[command(flatten)]
        data: StoreArg,
    },
    /// Show what is kept for a mesh, in numbers
    Show(One),
    /// Turn its members away until it is resumed; what waits stays
    Suspend(One),
    /// Serve it again
    Resume(One),
    /// Delete it with all that is kept for it. Its members are turned away at once; a broker that
    /// runs deletes its rows when it starts next
    Delete {
        #[command(flatten)]
        one: One,
        /// Do it; there is no way back but a backup
        #[arg(long)]
        yes: bool,
    },
    /// Write all that is kept for it as lines of JSON: ciphertext and metadata
    Export(One),
    /// Set how much may wait in it, and for how long; without a flag, show it
    Quota(Quota),
}

/// Which mesh, and where.
#[derive(Debug, Clone, Args)]
pub(super) struct One {
    /// The mesh's id, the first digits of it, or its name if only one has it
    mesh: String,
    #[command(flatten)]
    data: StoreArg,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Quota {
    #[command(flatten)]
    one: One,
    /// Bytes that may wait
    #[arg(long, value_name = "N")]
    bytes: Option<u64>,
    /// Deliveries that may wait
    #[arg(long, value_name = "N")]
    rows: Option<u64>,
    /// For how long messages are kept at most, such as 30d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    retention: Option<Duration>,
    /// Back to the broker's own numbers
    #[arg(long, conflicts_with_all = ["bytes", "rows", "retention"])]
    reset: bool,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Gc {
    #[command(flatten)]
    data: StoreArg,
}

pub(super) fn run(mesh: Mesh, out: &mut dyn Write) -> Result<(), OperatorError> {
    match mesh {
        Mesh::List { data } => list(&data, out),
        Mesh::Show(one) => show(&one, out),
        Mesh::Suspend(one) => set(&one, MeshState::Suspended, "suspended", out),
        Mesh::Resume(one) => set(&one, MeshState::Active, "resumed", out),
        Mesh::Delete { one, yes } => delete(&one, yes, out),
        Mesh::Export(one) => {
            let mesh = find(&one)?.mesh;
            Place::of(&one.data)?.export(&mesh, out)?;
            Ok(())
        }
        Mesh::Quota(args) => quota(&args, out),
    }
}

fn list(data: &StoreArg, out: &mut dyn Write) -> Result<(), OperatorError> {
    let rules = RulesFile::new(&data.data).read()?;
    for info in Place::of(data)?.inspect()? {
        let state = state_text(rules.state(&info.mesh));
        writeln!(
            out,
            "{} {}: {state}, {} members, {} waiting ({} bytes), last seen {}",
            info.mesh,
            clean(&info.slug),
            info.members,
            info.waiting,
            info.waiting_bytes,
            when(info.last_seen),
        )?;
    }
    Ok(())
}

fn show(one: &One, out: &mut dyn Write) -> Result<(), OperatorError> {
    let info = find(one)?;
    let rules = RulesFile::new(&one.data.data).read()?;
    writeln!(out, "mesh:          {}", info.mesh)?;
    writeln!(out, "name:          {}", clean(&info.slug))?;
    writeln!(
        out,
        "state:         {}",
        state_text(rules.state(&info.mesh))
    )?;
    writeln!(out, "owner's name:  {}", clean(&info.owner_name))?;
    writeln!(out, "made:          {}", when(info.created_at))?;
    writeln!(out, "last seen:     {}", when(info.last_seen))?;
    writeln!(out, "members:       {}", info.members)?;
    writeln!(out, "log entries:   {}", info.log_entries)?;
    writeln!(out, "channels:      {}", info.channels)?;
    writeln!(
        out,
        "waiting:       {} ({} bytes)",
        info.waiting, info.waiting_bytes
    )?;
    writeln!(
        out,
        "topic history: {} ({} bytes)",
        info.history, info.history_bytes
    )?;
    writeln!(out, "values:        {}", info.values)?;
    limits(one, &info, out)
}

fn limits(one: &One, info: &MeshInfo, out: &mut dyn Write) -> Result<(), OperatorError> {
    let rules = RulesFile::new(&one.data.data).read()?;
    let rule = rules.of(&info.mesh).cloned().unwrap_or_default();
    let number = |value: Option<u64>, unit: &str| match value {
        Some(value) => format!("{value} {unit}"),
        None => "as for all".to_owned(),
    };
    writeln!(out, "quota:         {}", number(rule.quota_bytes, "bytes"))?;
    writeln!(
        out,
        "quota:         {}",
        number(rule.quota_rows, "deliveries")
    )?;
    let retention = rule.retention_ms.map(|ms| ms / 1_000);
    writeln!(out, "retention:     {}", number(retention, "s"))?;
    Ok(())
}

fn set(one: &One, state: MeshState, word: &str, out: &mut dyn Write) -> Result<(), OperatorError> {
    let info = find(one)?;
    RulesFile::new(&one.data.data).change(&info.mesh, |rule| rule.state = state)?;
    writeln!(
        out,
        "{word} {}; a running broker follows within a second",
        info.mesh
    )?;
    Ok(())
}

fn delete(one: &One, yes: bool, out: &mut dyn Write) -> Result<(), OperatorError> {
    let info = find(one)?;
    if !yes {
        return Err(OperatorError::Unsure(format!(
            "{} ({}) has {} members and {} messages waiting, and would be deleted for good; say \
             --yes to do it",
            info.mesh,
            clean(&info.slug),
            info.members,
            info.waiting
        )));
    }
    set(one, MeshState::Deleted, "deleted", out)?;
    writeln!(
        out,
        "its rows go when the broker starts next, or with `broker-min gc` while it is stopped"
    )?;
    Ok(())
}

fn quota(args: &Quota, out: &mut dyn Write) -> Result<(), OperatorError> {
    let info = find(&args.one)?;
    let retention = args
        .retention
        .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let file = RulesFile::new(&args.one.data.data);
    file.change(&info.mesh, |rule| {
        if args.reset {
            (rule.quota_bytes, rule.quota_rows, rule.retention_ms) = (None, None, None);
        }
        rule.quota_bytes = args.bytes.or(rule.quota_bytes);
        rule.quota_rows = args.rows.or(rule.quota_rows);
        rule.retention_ms = retention.or(rule.retention_ms);
    })?;
    limits(&args.one, &info, out)
}

pub(super) fn gc(args: &Gc, out: &mut dyn Write) -> Result<(), OperatorError> {
    let dir = &args.data.data;
    let rules = RulesFile::new(dir).read()?;
    let report = Place::of(&args.data)?.gc(&rules, now())?;
    let [before, after] = report.bytes;
    writeln!(
        out,
        "deleted {} meshes and {} messages of topics; the store had {before} bytes and has {after}",
        report.meshes, report.history
    )?;
    Ok(())
}

/// The mesh that is meant.
fn find(one: &One) -> Result<MeshInfo, OperatorError> {
    let all = Place::of(&one.data)?.inspect()?;
    let wanted = one.mesh.as_str();
    if let Ok(id) = MeshId::new(wanted)
        && let Some(info) = all.iter().find(|info| info.mesh == id)
    {
        return Ok(info.clone());
    }
    let fits = |info: &&MeshInfo| {
        info.slug == wanted || (wanted.len() >= 4 && info.mesh.as_str().starts_with(wanted))
    };
    let mut found = all.iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.clone()),
        (None, _) => Err(OperatorError::NoMesh(wanted.to_owned())),
        (Some(_), Some(_)) => Err(OperatorError::Unsure(format!(
            "several meshes fit {wanted:?}; give the whole id, as `mesh list` shows it"
        ))),
    }
}

const fn state_text(state: MeshState) -> &'static str {
    match state {
        MeshState::Active => "active",
        MeshState::Suspended => "suspended",
        MeshState::Deleted => "deleted",
    }
}

/// What members wrote, without what could play tricks on a terminal.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
