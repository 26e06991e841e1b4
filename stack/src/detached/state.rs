//! The files by which a detached stack is found.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::StackError;
use crate::identity::Identity;
use crate::{Endpoints, sys};

/// Whoever only looks at the lock holds it for a moment too.
const LOCK_LIMIT: Duration = Duration::from_millis(500);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The state folder that is used where none is named: `$XDG_RUNTIME_DIR/lockstep`, else `/tmp/lockstep-<uid>`.
pub fn default_state() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder).join("lockstep"),
        None => PathBuf::from(format!("/tmp/lockstep-{}", sys::effective_uid())),
    }
}

/// Makes the state folder, for this user only: `stack.json` may hold a password.
pub(super) fn make_state(state: &Path) -> Result<(), StackError> {
    let action = || format!("make the folder {}", state.display());
    let made = DirBuilder::new().recursive(true).mode(0o700).create(state);
    made.map_err(StackError::io(action()))?;
    let found = fs::symlink_metadata(state).map_err(StackError::io(action()))?;
    if !found.is_dir() || found.uid() != sys::effective_uid() {
        return Err(StackError::FolderForeign { folder: state.to_owned() });
    }
    Ok(())
}

pub(super) fn read_endpoints(state: &Path) -> Option<Endpoints> {
    let text = fs::read_to_string(state.join("stack.json")).ok()?;
    serde_json::from_str(&text).ok()
}

/// Becomes the holder of this state folder, until the file is closed.
pub(super) fn lock(state: &Path) -> Result<File, StackError> {
    let path = state.join("lock");
    let action = || format!("lock {}", path.display());
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let mut file = file.map_err(StackError::io(action()))?;
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                thread::sleep(POLL_INTERVAL);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(StackError::AlreadyRunning { state: state.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(StackError::io(action())(error)),
        }
    }
    let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
    written.map_err(StackError::io(action()))?;
    Ok(file)
}

/// The process that holds the lock now. Nobody else can have it, so its id is that of our holder.
pub(super) fn holder_of(state: &Path) -> Option<Identity> {
    let mut file = File::open(state.join("lock")).ok()?;
    if !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    Identity::of(text.parse().ok()?)
}

/// Removes what a holder that was killed has left.
pub(super) fn clear(state: &Path) {
    let left = read_endpoints(state).filter(|endpoints| endpoints.temporary);
    if let Some(endpoints) = left {
        // What is not there any more need not be removed.
        let _ = fs::remove_dir_all(endpoints.dir);
    }
    for file in ["stack.json", "failure"] {
        let _ = fs::remove_file(state.join(file));
    }
}

/// Readers see the whole text or no file.
pub(super) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut options = File::options();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    fs::rename(unfinished, path)
}
