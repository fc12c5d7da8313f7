//! A disk that fails where it is told to: SQLite's own file layer, with one call of it, or all from
//! that one on, answered by an error. It fails for the thread that asked for it and nobody else.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Once;

use rusqlite::ffi;

/// Which call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A read.
    Read,
    /// A write that writes nothing.
    Write,
    /// A write of which half is on the disk.
    HalfWrite,
    /// A write for which there is no room.
    Full,
    /// An fsync.
    Sync,
    /// More of the shared index of the log.
    Shared,
}

pub const CALLS: [Call; 6] = [
    Call::Read,
    Call::Write,
    Call::HalfWrite,
    Call::Full,
    Call::Sync,
    Call::Shared,
];

#[derive(Debug, Clone, Copy)]
struct Fault {
    call: Call,
    /// So many calls of the kind work before it.
    after: u32,
    lasting: bool,
    fired: bool,
}

thread_local! {
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// A folder for files that nobody has to find after a power cut: in memory, where that is to be had.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// From now on this thread's call number `after` of a kind fails, and if it lasts, all later ones.
pub fn fail(call: Call, after: u32, lasting: bool) {
    let fired = false;
    FAULT.set(Some(Fault {
        call,
        after,
        lasting,
        fired,
    }));
}

/// The disk works again. Whether it failed in between.
pub fn heal() -> bool {
    FAULT.take().is_some_and(|fault| fault.fired)
}

fn fails(call: Call) -> bool {
    let Some(mut fault) = FAULT.get() else {
        return false;
    };
    let same = fault.call == call;
    let fails = same && fault.after == 0 && (fault.lasting || !fault.fired);
    if same {
        fault.after = fault.after.saturating_sub(1);
        fault.fired |= fails;
        FAULT.set(Some(fault));
    }
    fails
}

/// The methods of an open file, and those that they stand before.
#[repr(C)]
struct Methods {
    own: ffi::sqlite3_io_methods,
    real: *const ffi::sqlite3_io_methods,
}

/// Puts itself before SQLite's own file layer, for every file that is opened from now on.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the default layer lives as long as the program, and so does the copy of it.
        unsafe {
            let real = ffi::sqlite3_vfs_find(ptr::null());
            let mut own: ffi::sqlite3_vfs = *real;
            own.zName = c"failing".as_ptr();
            own.pNext = ptr::null_mut();
            own.xOpen = Some(open);
            assert_eq!(ffi::sqlite3_vfs_register(Box::leak(Box::new(own)), 1), 0);
        }
    });
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const std::ffi::c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: the arguments are handed on as they came. An open file's first word is its methods,
    // which are replaced by ones that live for ever and begin with the same table.
    unsafe {
        let real = ffi::sqlite3_vfs_find(c"unix".as_ptr());
        let result = (*real).xOpen.unwrap()(real, name, file, flags, out);
        let methods = (*file).pMethods;
        if result == ffi::SQLITE_OK && !methods.is_null() {
            let mut own = *methods;
            own.xRead = Some(read);
            own.xWrite = Some(write);
            own.xSync = Some(sync);
            own.xShmMap = Some(shared);
            let own = Methods { own, real: methods };
            (*file).pMethods = ptr::from_ref(Box::leak(Box::new(own))).cast();
        }
        result
    }
}

/// # Safety
/// The file must have been opened by [`open`].
unsafe fn real(file: *mut ffi::sqlite3_file) -> ffi::sqlite3_io_methods {
    // SAFETY: as above.
    unsafe { *(*(*file).pMethods.cast::<Methods>()).real }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    bytes: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    if fails(Call::Read) {
        return ffi::SQLITE_IOERR_READ;
    }
    // SAFETY: handed on as it came.
    unsafe { real(file).xRead.unwrap()(file, buffer, bytes, offset) }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    buffer: *const c_void,
    bytes: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    if fails(Call::Write) {
        return ffi::SQLITE_IOERR_WRITE;
    }
    let (half, full) = (fails(Call::HalfWrite), fails(Call::Full));
    let bytes = if half || full { bytes / 2 } else { bytes };
    // SAFETY: handed on as it came, or the first half of it.
    let result = unsafe { real(file).xWrite.unwrap()(file, buffer, bytes, offset) };
    match (half, full) {
        (true, _) => ffi::SQLITE_IOERR_WRITE,
        (_, true) => ffi::SQLITE_FULL,
        _ => result,
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    if fails(Call::Sync) {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    // SAFETY: handed on as it came.
    unsafe { real(file).xSync.unwrap()(file, flags) }
}

unsafe extern "C" fn shared(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    if fails(Call::Shared) {
        return ffi::SQLITE_IOERR_SHMSIZE;
    }
    // SAFETY: handed on as it came.
    unsafe { real(file).xShmMap.unwrap()(file, page, size, extend, out) }
}
