//! The private folder of a stack.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::StackError;
use crate::sys::{self, Account};

const PREFIX: &str = "lockstep-stack-";
const LOCK: &str = "lock";
/// A folder younger than this may be one whose owner has not locked it yet.
const SWEEP_AGE_MIN: Duration = Duration::from_secs(10);

/// A folder that belongs to one stack. Where it is temporary, it is removed on drop.
pub(crate) struct Folder {
    path: PathBuf,
    temporary: bool,
    /// Held as long as the stack lives, so that others can tell an abandoned temporary folder.
    _lock: Option<File>,
}

impl Folder {
    /// `foreign`: servers will run as other users than this process, and have to reach their own folders.
    pub(crate) fn create(given: Option<&Path>, foreign: bool) -> Result<Self, StackError> {
        let folder = match given {
            Some(path) => Self::adopt(path)?,
            None => Self::temporary(foreign)?,
        };
        if foreign && let Some(closed) = closed_part(&folder.path) {
            return Err(StackError::FolderClosed { folder: closed });
        }
        Ok(folder)
    }

    fn adopt(path: &Path) -> Result<Self, StackError> {
        let action = || format!("make the folder {}", path.display());
        fs::create_dir_all(path).map_err(StackError::io(action()))?;
        let path = path.canonicalize().map_err(StackError::io(action()))?;
        let mut entries = fs::read_dir(&path).map_err(StackError::io(action()))?;
        if entries.next().is_some() {
            return Err(StackError::FolderInUse { folder: path });
        }
        Ok(Self { path, temporary: false, _lock: None })
    }

    fn temporary(foreign: bool) -> Result<Self, StackError> {
        let mut base = std::env::temp_dir();
        if foreign && closed_part(&base).is_some() {
            base = PathBuf::from("/tmp");
        }
        sweep(&base);
        let name: String = std::iter::repeat_with(fastrand::alphanumeric).take(8).collect();
        let path = base.join(format!("{PREFIX}{name}"));
        let action = || format!("make the folder {}", path.display());
        // 0711: others may pass through to what is handed to them, and see nothing else.
        DirBuilder::new().mode(0o700).create(&path).map_err(StackError::io(action()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o711)).map_err(StackError::io(action()))?;
        let lock = File::create(path.join(LOCK)).map_err(StackError::io(action()))?;
        lock.lock().map_err(StackError::io(action()))?;
        Ok(Self { path, temporary: true, _lock: Some(lock) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// Makes a folder within, for a server that runs as `account`.
    pub(crate) fn part(&self, name: &str, account: Option<Account>) -> Result<PathBuf, StackError> {
        let path = self.path.join(name);
        let made = DirBuilder::new().mode(0o755).create(&path);
        made.map_err(StackError::io(format!("make the folder {}", path.display())))?;
        hand_over(&path, account)?;
        Ok(path)
    }

    /// Empties the folder for another attempt.
    pub(crate) fn clear(&self) -> Result<(), StackError> {
        let action = || format!("empty the folder {}", self.path.display());
        for entry in fs::read_dir(&self.path).map_err(StackError::io(action()))? {
            let path = entry.map_err(StackError::io(action()))?.path();
            if path.is_dir() {
                fs::remove_dir_all(&path).map_err(StackError::io(action()))?;
            }
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // There is nobody left to tell; the next stack sweeps what remains.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Gives a file or folder to the user that a server runs as.
pub(crate) fn hand_over(path: &Path, account: Option<Account>) -> Result<(), StackError> {
    let Some(account) = account else { return Ok(()) };
    let done = chown(path, Some(account.uid), Some(account.gid));
    done.map_err(StackError::io(format!("hand over {}", path.display())))
}

/// The folder, on the way down to `path`, that other users may not enter.
pub(crate) fn closed_part(path: &Path) -> Option<PathBuf> {
    let open = |part: &Path| fs::metadata(part).is_ok_and(|found| found.mode() & 0o001 != 0);
    path.ancestors().find(|part| !open(part)).map(Path::to_owned)
}

/// Removes temporary folders whose owner was killed before it could.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if ours && matches!(is_abandoned(&entry.path()), Ok(true)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_abandoned(path: &Path) -> io::Result<bool> {
    let found = fs::symlink_metadata(path)?;
    let age = SystemTime::now().duration_since(found.modified()?).unwrap_or_default();
    if !found.is_dir() || found.uid() != sys::effective_uid() || age < SWEEP_AGE_MIN {
        return Ok(false);
    }
    Ok(File::open(path.join(LOCK))?.try_lock().is_ok())
}
