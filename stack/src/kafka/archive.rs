//! The JVM's archive of the broker's classes (AppCDS), which halves a broker's start.
//!
//! It is made once, by a broker that runs for that only, and lies beside the folder of jars. It fits one JVM and one
//! set of jars, which its name is made from.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::error::StackError;
use crate::kafka::Kafka;
use crate::kafka::jars::Jars;
use crate::ports::Ports;
use crate::site::Site;
use crate::spawn::Spawner;
use crate::sys;

const PREFIX: &str = "kafka-classes-";
const SUFFIX: &str = ".jsa";
/// The JVM writes the archive when it ends.
const WRITE_LIMIT: Duration = Duration::from_secs(60);

/// The archive, where it has been made.
pub(super) fn find(java: &Path, jars: &Jars) -> Option<PathBuf> {
    path(java, jars).filter(|path| path.exists())
}

/// Removes an archive that may be damaged. False: there was none.
pub(super) fn discard(java: &Path, jars: &Jars) -> bool {
    find(java, jars).is_some_and(|path| fs::remove_file(path).is_ok())
}

impl Kafka {
    /// Whether [`Self::make_archive`] has something to do.
    pub(crate) fn lacks_archive(&self) -> bool {
        path(&self.java, &self.jars).is_some_and(|path| !path.exists())
    }

    /// Makes the archive by running a broker beside this one.
    pub(crate) fn make_archive(&self, site: &Site<'_>, spawner: &Spawner) -> Result<(), StackError> {
        let Some(archive) = path(&self.java, &self.jars) else {
            return Ok(());
        };
        let action = || format!("make {}", archive.display());
        // Stacks that start side by side make it once.
        let lock = File::create(archive.with_extension("lock")).map_err(StackError::io(action()))?;
        lock.lock().map_err(StackError::io(action()))?;
        if archive.exists() {
            return Ok(());
        }
        let unfinished = archive.with_extension("unfinished");
        let mut ports = Ports::default();
        let broker = Self {
            folder: site.folder.part("kafka-archive", None)?,
            log: site.log("kafka-archive"),
            port: ports.take()?,
            controller_port: ports.take()?,
            secured: None,
            proxied: None,
            ..self.clone()
        };
        drop(ports);
        broker.format(spawner)?;
        let flags = vec![format!("-XX:ArchiveClassesAtExit={}", unfinished.display()), "-Xlog:cds=off".into()];
        let launch = broker.launch("kafka-archive", flags).arguments(["kafka.Kafka"]);
        let mut process = broker.start_by(spawner, &launch.arguments([broker.settings_file()]))?;
        sys::send_signal(process.pid(), libc::SIGTERM);
        process.wait(WRITE_LIMIT);
        remove_others(&archive);
        fs::rename(&unfinished, &archive).map_err(StackError::io(action()))
    }
}

/// Archives of other JVMs and jars: 50 MB each, and soon of no use.
fn remove_others(archive: &Path) {
    let Some(entries) = archive.parent().and_then(|folder| fs::read_dir(folder).ok()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            // One that stays only takes up room.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// `None`: something that the name is made from cannot be read; then there is no archive.
fn path(java: &Path, jars: &Jars) -> Option<PathBuf> {
    let java = java.canonicalize().ok()?;
    let virtual_machine = java.parent()?.parent()?.join("lib/server/libjvm.so");
    let mut hasher = DefaultHasher::new();
    for file in std::iter::once(&virtual_machine).chain(&jars.files) {
        let found = fs::metadata(file).ok()?;
        let modified = found.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        (file, found.len(), modified).hash(&mut hasher);
    }
    let name = format!("{PREFIX}{:016x}{SUFFIX}", hasher.finish());
    Some(jars.folder.parent()?.join(name))
}
