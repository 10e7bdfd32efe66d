//! Files that users name: whatever they are, no more than a limit is read of them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The largest file that is read, in bytes; a thousand service accounts with a policy each take one million.
pub const LARGEST: usize = 8 << 20;

/// How many inputs are being read: a pipe may never end.
static READING: AtomicUsize = AtomicUsize::new(0);

/// True while an input is being read, which is between calls.
pub(crate) fn is_reading() -> bool {
    READING.load(Ordering::SeqCst) > 0
}

/// The beginning of a file, `-` being stdin: one byte more than [`LARGEST`] of a file that is larger.
///
/// # Errors
/// Where it can't be read.
pub(crate) fn beginning(file: &Path) -> io::Result<Vec<u8>> {
    READING.fetch_add(1, Ordering::SeqCst);
    let bytes = read(file, LARGEST as u64 + 1);
    READING.fetch_sub(1, Ordering::SeqCst);
    bytes
}

fn read(file: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut bytes)?;
    } else {
        File::open(file)?.take(most).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// What is said of a larger one.
pub(crate) fn too_large() -> String {
    format!("it is too large: irsactl reads at most {} MiB", LARGEST >> 20)
}

/// A file as a whole.
///
/// # Errors
/// Where it can't be read, or is too large.
pub(crate) fn whole(file: &Path) -> io::Result<Vec<u8>> {
    let bytes = beginning(file)?;
    if bytes.len() > LARGEST { Err(io::Error::new(io::ErrorKind::FileTooLarge, too_large())) } else { Ok(bytes) }
}
