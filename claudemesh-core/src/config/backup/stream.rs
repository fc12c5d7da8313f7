//! `CMB2`: "CMB2", salt (16 bytes), the first 16 bytes of every nonce, passes (u32be), memory in
//! KiB (u32be); then boxes of 65,536 bytes of plaintext each, the last one of what is left.
//!
//! The nonce of box n (from 0) is those 16 bytes and n as u64be. Each box is bound to the 44 bytes
//! before the first one and to a byte that is 1 for the last box and 0 for the others, so none can
//! be taken out, doubled, moved or cut off at the end.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::plain::derive;
use super::{BackupError, FULL, Passphrase, random, unknown_magic};
use crate::crypto::{Cost, PassphraseKey, SALT_LEN, TAG_LEN, XNONCE_LEN};

/// Bytes of plaintext in a box.
const CHUNK: usize = 65_536;
const PREFIX_LEN: usize = XNONCE_LEN - 8;
const HEAD: usize = FULL.len() + SALT_LEN + PREFIX_LEN + 8;

/// The key, what stands before the boxes, and the number of the next one.
struct Boxes {
    key: PassphraseKey,
    prefix: [u8; PREFIX_LEN],
    /// The head, and room for the byte that tells the last box.
    with: [u8; HEAD + 1],
    next: u64,
}

impl Boxes {
    fn new(key: PassphraseKey, prefix: [u8; PREFIX_LEN], head: &[u8; HEAD]) -> Self {
        let mut with = [0; HEAD + 1];
        for (to, from) in with.iter_mut().zip(head) {
            *to = *from;
        }
        Self {
            key,
            prefix,
            with,
            next: 0,
        }
    }

    fn nonce(&self) -> [u8; XNONCE_LEN] {
        let mut nonce = [0; XNONCE_LEN];
        let bytes = self.prefix.into_iter().chain(self.next.to_be_bytes());
        for (to, from) in nonce.iter_mut().zip(bytes) {
            *to = from;
        }
        nonce
    }

    fn with(&mut self, last: bool) -> [u8; HEAD + 1] {
        if let Some(flag) = self.with.last_mut() {
            *flag = u8::from(last);
        }
        self.with
    }
}

/// Seals what is written to it.
pub(super) struct Sealer<W: Write> {
    boxes: Boxes,
    out: W,
    waiting: Zeroizing<Vec<u8>>,
}

impl<W: Write> Sealer<W> {
    pub(super) fn new(mut out: W, passphrase: &Passphrase) -> Result<Self, BackupError> {
        let secret = passphrase.for_sealing()?;
        let (salt, prefix) = (random::<SALT_LEN>()?, random::<PREFIX_LEN>()?);
        let cost = Cost::STANDARD;
        let mut head = [0; HEAD];
        let numbers = [cost.passes().to_be_bytes(), cost.memory_kib().to_be_bytes()];
        let parts = [&FULL[..], &salt, &prefix, numbers.as_flattened()];
        for (to, from) in head.iter_mut().zip(parts.concat()) {
            *to = from;
        }
        let key = derive(secret, &salt, cost)?;
        out.write_all(&head).map_err(wrote)?;
        Ok(Self {
            boxes: Boxes::new(key, prefix, &head),
            out,
            waiting: Zeroizing::new(Vec::with_capacity(CHUNK)),
        })
    }

    pub(super) fn put(&mut self, mut bytes: &[u8]) -> Result<(), BackupError> {
        while !bytes.is_empty() {
            // A full box is written once it is known that it is not the last.
            if self.waiting.len() == CHUNK {
                self.seal(false)?;
            }
            let room = (CHUNK - self.waiting.len()).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            self.waiting.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Writes the last box.
    pub(super) fn finish(mut self) -> Result<W, BackupError> {
        self.seal(true)?;
        Ok(self.out)
    }

    fn seal(&mut self, last: bool) -> Result<(), BackupError> {
        let (nonce, with) = (self.boxes.nonce(), self.boxes.with(last));
        let sealed = self.boxes.key.seal(&nonce, &with, &self.waiting);
        let sealed = sealed.map_err(|_| BackupError::Malformed("a box that is too long"))?;
        self.out.write_all(&sealed).map_err(wrote)?;
        self.boxes.next += 1;
        self.waiting.clear();
        Ok(())
    }
}

/// The path is added by who knows it.
fn wrote(source: io::Error) -> BackupError {
    let path = PathBuf::from("the backup");
    BackupError::File { path, source }
}

/// Opens what a [`Sealer`] wrote, piece by piece.
pub(super) struct Opener<R: Read> {
    boxes: Boxes,
    input: R,
    path: PathBuf,
    /// The first byte of the next box, if there is one.
    ahead: Option<u8>,
    open: Zeroizing<Vec<u8>>,
    /// How much of `open` was given out.
    taken: usize,
    ended: bool,
}

impl<R: Read> Opener<R> {
    /// Reads the head; the first four bytes were read by the caller.
    pub(super) fn new(
        mut input: R,
        path: &Path,
        passphrase: &Passphrase,
    ) -> Result<Self, BackupError> {
        let failed = |source| BackupError::File {
            path: path.to_owned(),
            source,
        };
        let mut head = [0; HEAD];
        let read = fill(&mut input, &mut head).map_err(failed)?;
        if !head.starts_with(FULL) {
            return Err(unknown_magic(head.get(..read).unwrap_or_default()));
        }
        if read < HEAD {
            return Err(BackupError::Truncated);
        }
        let (salt, prefix) = (
            array(&head, FULL.len()),
            array(&head, FULL.len() + SALT_LEN),
        );
        let passes = u32::from_be_bytes(array(&head, HEAD - 8));
        let memory_kib = u32::from_be_bytes(array(&head, HEAD - 4));
        let cost =
            Cost::new(passes, memory_kib).map_err(|_| BackupError::Cost { passes, memory_kib })?;
        let key = derive(passphrase.bytes(), &salt, cost)?;
        let mut first = [0];
        let ahead = (fill(&mut input, &mut first).map_err(failed)? == 1).then_some(first[0]);
        let mut opener = Self {
            boxes: Boxes::new(key, prefix, &head),
            input,
            path: path.to_owned(),
            ahead,
            open: Zeroizing::new(Vec::new()),
            taken: 0,
            ended: false,
        };
        opener.next_box()?;
        Ok(opener)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        let mut at = 0;
        self.give(N as u64, |part| {
            for (to, from) in bytes.iter_mut().skip(at).zip(part) {
                *to = *from;
            }
            at += part.len();
            Ok(())
        })?;
        Ok(bytes)
    }

    /// The next `count` bytes, in parts.
    pub(super) fn give(
        &mut self,
        mut count: u64,
        mut to: impl FnMut(&[u8]) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        while count > 0 {
            if self.taken == self.open.len() {
                if self.ended {
                    return Err(BackupError::Malformed("a part is shorter than it says"));
                }
                self.next_box()?;
                continue;
            }
            let rest = self.open.get(self.taken..).unwrap_or_default();
            let now = usize::try_from(count).unwrap_or(usize::MAX).min(rest.len());
            to(rest.get(..now).unwrap_or_default())?;
            self.taken += now;
            count -= now as u64;
        }
        Ok(())
    }

    /// Nothing may follow.
    pub(super) fn end(mut self) -> Result<(), BackupError> {
        if !self.ended {
            // The last box may be empty; it is looked at all the same.
            if self.taken == self.open.len() {
                self.next_box()?;
            }
        }
        if !self.ended || self.taken != self.open.len() {
            return Err(BackupError::Malformed("something follows its end"));
        }
        Ok(())
    }

    fn next_box(&mut self) -> Result<(), BackupError> {
        let Some(first) = self.ahead.take() else {
            return Err(BackupError::Truncated);
        };
        let mut sealed = vec![0; CHUNK + TAG_LEN + 1];
        sealed[0] = first;
        let rest = sealed.get_mut(1..).unwrap_or_default();
        let read = 1 + fill(&mut self.input, rest).map_err(|source| BackupError::File {
            path: self.path.clone(),
            source,
        })?;
        self.ahead = (read == sealed.len()).then(|| sealed.pop()).flatten();
        sealed.truncate(read);
        let last = self.ahead.is_none();
        let nonce = self.boxes.nonce();
        let with = self.boxes.with(last);
        let opened = match self.boxes.key.open(&nonce, &with, &sealed) {
            Ok(opened) => opened,
            Err(_) => return Err(self.refused(&sealed, last)),
        };
        self.open = opened;
        self.taken = 0;
        self.ended = last;
        self.boxes.next += 1;
        Ok(())
    }

    /// Why a box did not open.
    fn refused(&mut self, sealed: &[u8], last: bool) -> BackupError {
        let nonce = self.boxes.nonce();
        let other = self.boxes.with(!last);
        if last && self.boxes.key.open(&nonce, &other, sealed).is_ok() {
            // A whole box, but not the last one.
            return BackupError::Truncated;
        }
        match self.boxes.next {
            0 => BackupError::NotOpened,
            _ => BackupError::Altered,
        }
    }
}

/// Reads until the room is full or nothing is left; says how much.
fn fill(input: &mut impl Read, room: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = room.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(some) => read += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

fn array<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    let mut out = [0; N];
    for (to, byte) in out.iter_mut().zip(bytes.iter().skip(from)) {
        *to = *byte;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(plaintext: &[u8]) -> Vec<u8> {
        let mut sealer =
            Sealer::new(Vec::new(), &Passphrase::new("correct horse battery")).unwrap();
        // In uneven parts, as files come.
        for part in plaintext.chunks(1_000) {
            sealer.put(part).unwrap();
        }
        sealer.finish().unwrap()
    }

    fn opened(file: &[u8], count: u64) -> Result<Vec<u8>, BackupError> {
        let passphrase = Passphrase::new("correct horse battery");
        let mut opener = Opener::new(file, Path::new("x.cmb"), &passphrase)?;
        let mut out = Vec::new();
        opener.give(count, |part| {
            out.extend_from_slice(part);
            Ok(())
        })?;
        opener.end()?;
        Ok(out)
    }

    #[test]
    fn every_length_around_a_box_comes_back() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK] {
            let plaintext: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let file = sealed(&plaintext);
            assert_eq!(
                file.len(),
                HEAD + length + TAG_LEN * length.div_ceil(CHUNK).max(1)
            );
            assert_eq!(opened(&file, length as u64).unwrap(), plaintext, "{length}");
            let more = opened(&file, length as u64 + 1);
            assert!(matches!(more, Err(BackupError::Malformed(_))), "{length}");
        }
        let less = opened(&sealed(&[1, 2, 3]), 2);
        assert!(matches!(less, Err(BackupError::Malformed(_))));
    }

    #[test]
    fn boxes_cannot_be_cut_off_moved_or_changed() {
        let (length, box_len) = (3 * CHUNK, CHUNK + TAG_LEN);
        let file = sealed(&vec![7; length]);
        let fails = |file: &[u8]| opened(file, length as u64).unwrap_err();
        for boxes in 1..3 {
            let cut = fails(&file[..HEAD + boxes * box_len]);
            assert!(matches!(cut, BackupError::Truncated), "{cut:?}");
        }
        for cut in [0, 3, 4, HEAD - 1, HEAD] {
            let error = fails(&file[..cut]);
            assert!(matches!(error, BackupError::Truncated), "{cut}: {error:?}");
        }
        let mut moved = file.clone();
        moved[HEAD..HEAD + 2 * box_len].rotate_left(box_len);
        assert!(matches!(fails(&moved), BackupError::NotOpened));
        for at in [HEAD + box_len, file.len() - 1] {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(matches!(fails(&changed), BackupError::Altered), "{at}");
        }
        // The head is bound to every box: nothing in it can be changed.
        for at in [4, 20] {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(matches!(fails(&changed), BackupError::NotOpened), "{at}");
        }
        let mut more = file;
        more.push(0);
        assert!(matches!(fails(&more), BackupError::Altered));
    }

    #[test]
    fn a_file_that_asks_for_a_whole_machine_is_not_opened() {
        let file = sealed(b"small");
        for (passes, memory_kib) in [
            (0, 65_536),
            (17, 65_536),
            (2, 1),
            (2, u32::MAX),
            (u32::MAX, 9_000),
        ] {
            let mut asks = file.clone();
            asks[HEAD - 8..HEAD - 4].copy_from_slice(&u32::to_be_bytes(passes));
            asks[HEAD - 4..HEAD].copy_from_slice(&u32::to_be_bytes(memory_kib));
            let error = opened(&asks, 5).unwrap_err();
            assert!(matches!(error, BackupError::Cost { .. }), "{error:?}");
        }
    }
}
