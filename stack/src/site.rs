//! Where the parts of one stack are built.

use std::path::PathBuf;

use crate::certificates::Certificates;
use crate::error::StackError;
use crate::folder::Folder;
use crate::ports::Ports;

/// The ground on which the parts of a stack are built: its folder and the ports still to be given away.
pub(crate) struct Site<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) ports: Ports,
    /// Where the stack is secured.
    pub(crate) certificates: Option<Certificates>,
    logs: PathBuf,
}

impl<'a> Site<'a> {
    pub(crate) fn open(folder: &'a Folder) -> Result<Self, StackError> {
        let logs = folder.part("logs", None)?;
        Ok(Self { folder, ports: Ports::default(), certificates: None, logs })
    }

    /// The log of one server.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
}
