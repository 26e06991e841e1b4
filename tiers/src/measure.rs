//! What a tier's servers hold and spend, as they say it themselves.

use std::collections::HashMap;

use lockstep_schemas::key::Key;

use crate::layout::Place;
use crate::tier::Tier;
use crate::tier_error::TierError;

/// One primary's account of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Account {
    /// CPU seconds since it started, of the server and of the kernel for it.
    pub cpu_seconds: f64,
    /// Bytes that it holds.
    pub used_bytes: u64,
    /// Bytes that it may hold; `None`: no bound is set.
    pub bytes_max: Option<u64>,
}

impl Tier {
    /// Bytes of an entry in the server's memory, its name and all that is kept for it; `None` where there is none.
    pub async fn memory_of(&self, place: &Place, key: &Key) -> Result<Option<u64>, TierError> {
        let mut command = redis::cmd("MEMORY");
        command.arg("USAGE").arg(self.calls.entry(place, key)).arg("SAMPLES").arg(0);
        Ok(redis::from_redis_value(self.link.call(&command).await?).map_err(redis::RedisError::from)?)
    }

    /// The accounts of all primaries.
    pub async fn accounts(&self) -> Result<Vec<Account>, TierError> {
        let mut accounts = Vec::new();
        for primary in self.link.primaries().await? {
            let mut text = String::new();
            for section in ["cpu", "memory"] {
                let mut command = redis::cmd("INFO");
                command.arg(section);
                let answer = self.link.send_to(&primary, command).await?;
                text.push_str(&redis::from_redis_value::<String>(answer).map_err(redis::RedisError::from)?);
            }
            accounts.push(account(&text));
        }
        Ok(accounts)
    }
}

/// What is not told counts as nothing.
fn account(info: &str) -> Account {
    let values: HashMap<&str, &str> = info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let number = |name: &str| values.get(name).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    let bytes = |name: &str| values.get(name).and_then(|text| text.parse::<u64>().ok());
    Account {
        cpu_seconds: number("used_cpu_user") + number("used_cpu_sys"),
        used_bytes: bytes("used_memory").unwrap_or_default(),
        bytes_max: bytes("maxmemory").filter(|bytes| *bytes > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read() {
        let info = "# CPU\r\nused_cpu_sys:1.5\r\nused_cpu_user:2.25\r\n# Memory\r\nused_memory:1024\r\nmaxmemory:0\r\n";
        assert_eq!(account(info), Account { cpu_seconds: 3.75, used_bytes: 1_024, bytes_max: None });
        assert_eq!(account("maxmemory:7\r\n").bytes_max, Some(7));
    }
}
