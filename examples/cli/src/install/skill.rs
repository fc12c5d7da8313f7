//! The skill file: what a model reads when it is about to use the mesh.

use std::path::Path;

use super::edit::{Edit, read};
use crate::exit::Failure;

const TEXT: &str = include_str!("skill.md");
/// By which a file of ours is known, whatever version wrote it.
const MARK: &str = "<!-- written by `claudemesh install`; take out this line to keep changes -->";

pub(super) fn put(path: &Path) -> Result<Edit, Failure> {
    let before = read(path)?;
    let after = Some(TEXT.to_owned());
    Ok(match is_ours(before.as_deref()) {
        true => Edit::ours(path.to_owned(), before, after),
        // One that somebody changed is theirs now.
        false => Edit::new(path.to_owned(), before.clone(), before),
    })
}

pub(super) fn remove(path: &Path) -> Result<Edit, Failure> {
    let before = read(path)?;
    Ok(match before {
        Some(text) if is_ours(Some(&text)) => Edit::ours(path.to_owned(), Some(text), None),
        before => Edit::new(path.to_owned(), before.clone(), before),
    })
}

/// No file is ours as well.
fn is_ours(text: Option<&str>) -> bool {
    text.is_none_or(|text| text.contains(MARK))
}
