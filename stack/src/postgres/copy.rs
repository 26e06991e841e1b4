//! Copies of folders, with their links, owners and modes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use crate::error::StackError;
use crate::folder::closed_part;
use crate::programs::Programs;
use crate::site::Site;

/// The folder of the server's programs, or a copy of all that belongs to them, where the server's user could not reach
/// them: a cache in root's home is closed to others.
pub(super) fn reachable(site: &Site<'_>, programs: &Programs) -> Result<PathBuf, StackError> {
    if programs.postgres_account.is_none() || closed_part(&programs.postgres).is_none() {
        return Ok(programs.postgres.clone());
    }
    let copy = site.folder.part("programs", None)?;
    for part in ["bin", "lib", "share"] {
        tree(&programs.postgres.with_file_name(part), &copy.join(part))?;
    }
    Ok(copy.join("bin"))
}

/// Copies a folder with all that is in it, sockets apart.
pub(super) fn tree(from: &Path, to: &Path) -> Result<(), StackError> {
    copy(from, to).map_err(StackError::io(format!("copy {}", from.display())))
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let found = fs::symlink_metadata(from)?;
    if found.is_dir() {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            copy(&from.join(&name), &to.join(&name))?;
        }
        fs::set_permissions(to, found.permissions())?;
    } else if found.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else if found.is_file() {
        fs::copy(from, to)?;
    } else {
        return Ok(());
    }
    lchown(to, Some(found.uid()), Some(found.gid()))
}
