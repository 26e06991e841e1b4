//! Doors for the fuzz targets: what they feed is private to this crate, and stays so without the feature `fuzz`.

use crate::{pgoutput, transport};

/// A message of the output plugin.
pub fn pgoutput(message: &[u8]) {
    let _ = pgoutput::decode(message);
}

/// Bytes of the replication connection. The first says how they are cut.
pub fn inbox(bytes: &[u8]) {
    if let Some((cut, bytes)) = bytes.split_first() {
        transport::hear(bytes, usize::from(*cut).max(1));
    }
}
