//! Looks for texts in the broker's files.

use std::io;
use std::path::{Path, PathBuf};

/// A file and what is in it.
pub(super) struct Kept {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

/// All files in a folder and the folders in it.
pub(super) fn files(dir: &Path) -> io::Result<Vec<Kept>> {
    let mut all = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                dirs.push(path);
            } else if kind.is_file() {
                let bytes = std::fs::read(&path)?;
                all.push(Kept { path, bytes });
            }
        }
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(all)
}

/// Where `needle` begins first.
pub(super) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len().max(1))
        .position(|window| window == needle)
}

/// The part of a stored message that carries its text, as the file has it.
pub(super) fn ciphertext(bytes: &[u8]) -> Option<String> {
    let start = find(bytes, b"\"ciphertext\":\"")? + b"\"ciphertext\":\"".len();
    let rest = bytes.get(start..)?;
    let text = rest.iter().take(48).take_while(|&&b| b != b'"');
    Some(text.map(|&b| char::from(b)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found() {
        assert_eq!(find(b"abcabc", b"ca"), Some(2));
        assert_eq!(find(b"ab", b"abc"), None);
        let frame = br#"{"type":"send","ciphertext":"QUJD","x":1}"#;
        assert_eq!(ciphertext(frame).as_deref(), Some("QUJD"));
    }
}
