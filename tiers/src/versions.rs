//! Which versions of the library lie on a tier. Versions live side by side through an upgrade; what nobody calls any more is
//! removed by hand, since no process can tell who else runs.

use std::collections::HashMap;

use redis::Value;

use crate::library::{FAMILY, VERSION, version_of};
use crate::link::Primary;
use crate::tier::Tier;
use crate::tier_error::TierError;

/// A version of ours on one of a tier's primaries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Installed {
    /// The node.
    pub node: String,
    /// The library.
    pub library: String,
    /// Whether it is older than the version of this process.
    pub is_older: bool,
}

impl Tier {
    /// The versions of the library on every primary.
    pub async fn libraries(&self) -> Result<Vec<Installed>, TierError> {
        let mut all = Vec::new();
        for primary in self.link.primaries().await? {
            all.extend(self.libraries_of(&primary).await?);
        }
        all.sort();
        Ok(all)
    }

    /// Removes every version older than that of this process from every primary, and says which those were. For when no
    /// process of such a version runs any more; one that does loads its own again with its next call.
    pub async fn prune_libraries(&self) -> Result<Vec<Installed>, TierError> {
        let mut pruned = Vec::new();
        for primary in self.link.primaries().await? {
            for old in self.libraries_of(&primary).await?.into_iter().filter(|installed| installed.is_older) {
                let mut command = redis::cmd("FUNCTION");
                command.arg("DELETE").arg(&old.library);
                self.link.send_to(&primary, command).await?;
                pruned.push(old);
            }
        }
        pruned.sort();
        Ok(pruned)
    }

    async fn libraries_of(&self, primary: &Primary) -> Result<Vec<Installed>, TierError> {
        let mut command = redis::cmd("FUNCTION");
        command.arg("LIST").arg("LIBRARYNAME").arg(format!("{FAMILY}*"));
        let answer = self.link.send_to(primary, command).await?;
        let listed: Vec<HashMap<String, Value>> = redis::from_redis_value(answer).map_err(redis::RedisError::from)?;
        let name = |mut library: HashMap<String, Value>| {
            let name = library.remove("library_name")?;
            redis::from_redis_value::<String>(name).ok()
        };
        let installed = |library: String| {
            let version = version_of(&library)?;
            Some(Installed { node: primary.to_string(), library, is_older: version < VERSION })
        };
        Ok(listed.into_iter().filter_map(name).filter_map(installed).collect())
    }
}
