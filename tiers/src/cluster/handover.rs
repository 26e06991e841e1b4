//! A slot's way from one primary to another. Where the servers can, at one stroke; else name by name, which is short only
//! where little lies in the slot: until it is over, calls on its partitions are answered TRYAGAIN.
//!
//! Every step may be repeated, so whoever is killed in the middle begins again and ends it.

use std::time::Duration;

use redis::{Cmd, Value};
use tokio::time::Instant;

use super::{Cluster, Primary, of_slot};
use crate::library;
use crate::tier_error::TierError;

/// One command between nodes.
pub(super) const STEP_WAIT_MAX: Duration = Duration::from_secs(15);
const STEP_MS_MAX: u64 = 10_000;
/// Names of one bundle.
const BUNDLE: usize = 200;
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Until all nodes say the same.
const AGREE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Until a slot has gone at one stroke: all of it is copied first.
const STROKE_WAIT_MAX: Duration = Duration::from_secs(600);

/// How a slot goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// With all that is in it: nobody notices but by a redirection.
    AtOneStroke,
    /// Name by name: what is not needed goes first.
    NameByName,
    /// It is there already, or another command has come as far.
    IsThere,
}

/// A slot that was handed over.
#[derive(Clone, Copy, Debug)]
pub struct Handed {
    /// How.
    pub how: How,
    /// Names that went.
    pub names: u64,
    /// For how long it was on its way.
    pub took: Duration,
}

impl Cluster {
    /// How a slot can go to a node; `Err`: why it can't.
    pub async fn way(&self, slot: u16, to: &str) -> Result<Result<How, String>, TierError> {
        let Some(target) = self.at(to) else {
            return Ok(Err(format!(
                "{to} is no primary of the cluster; its primaries are {}",
                self.addresses().join(", ")
            )));
        };
        let Some(owner) = self.owner(slot) else { return Ok(Err(format!("slot {slot} has no primary now"))) };
        if let Some(other) = owner.member.migrating.get(&slot).filter(|id| **id != target.member.id) {
            let other = self.by_id(other).map_or_else(|| other.clone(), |node| node.member.address());
            return Ok(Err(format!(
                "slot {slot} is on its way to {other}; end that first, by the same command with {other}"
            )));
        }
        if owner.member.id == target.member.id {
            return Ok(Ok(How::IsThere));
        }
        // What another tool has begun name by name is ended so.
        let is_begun = owner.member.migrating.contains_key(&slot);
        Ok(Ok(if !is_begun && owner.can_at_one_stroke().await? { How::AtOneStroke } else { How::NameByName }))
    }

    /// Whether a slot is on its way name by name already.
    pub fn is_under_way(&self, slot: u16) -> bool {
        self.owner(slot).is_some_and(|owner| owner.member.migrating.contains_key(&slot))
    }

    /// Hands a slot over.
    pub async fn hand_over(&self, slot: u16, to: &str, how: How) -> Result<Handed, TierError> {
        let began = Instant::now();
        let (Some(target), Some(owner)) = (self.at(to), self.owner(slot)) else { return Err(TierError::Silent) };
        let names = match how {
            How::IsThere => 0,
            How::AtOneStroke => owner.at_one_stroke(slot, target).await?,
            How::NameByName => owner.name_by_name(slot, target).await?,
        };
        if how != How::AtOneStroke {
            self.settle(slot, target).await?;
        }
        self.agreed(slot, target).await?;
        Ok(Handed { how, names, took: began.elapsed() })
    }

    /// The new owner is told first: should we be killed here, the old one still sends everybody on to it.
    async fn settle(&self, slot: u16, target: &Primary) -> Result<(), TierError> {
        target.ask::<Value>(set_slot(slot, "NODE", &target.member.id)).await?;
        for primary in self.primaries.iter().filter(|primary| primary.member.id != target.member.id) {
            primary.ask::<Value>(set_slot(slot, "NODE", &target.member.id)).await?;
        }
        Ok(())
    }

    /// Waits until each primary says that the slot is the new owner's.
    async fn agreed(&self, slot: u16, target: &Primary) -> Result<(), TierError> {
        let deadline = Instant::now() + AGREE_WAIT_MAX;
        for primary in &self.primaries {
            loop {
                let told = super::nodes::parse(&primary.ask::<String>(super::nodes_command()).await?);
                if told.iter().any(|one| one.id == target.member.id && one.has(slot)) {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(TierError::Silent);
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
        Ok(())
    }
}

impl Primary {
    /// Loads the function library. Who refuses functions is sent scripts.
    async fn know_the_rules(&self) -> Result<(), TierError> {
        match self.ask::<Value>(library::load()).await {
            Err(TierError::Redis(error)) if library::is_refused(error.raw()) => Ok(()),
            loaded => loaded.map(drop),
        }
    }

    /// Valkey from 9.0 on.
    async fn can_at_one_stroke(&self) -> Result<bool, TierError> {
        let mut help = redis::cmd("CLUSTER");
        help.arg("HELP");
        let help: Vec<String> = self.ask(help).await?;
        Ok(help.iter().any(|line| line.to_uppercase().starts_with("MIGRATESLOTS")))
    }

    async fn at_one_stroke(&self, slot: u16, target: &Primary) -> Result<u64, TierError> {
        target.know_the_rules().await?;
        let names: u64 = self.ask(of_slot("COUNTKEYSINSLOT", slot)).await?;
        let mut command = redis::cmd("CLUSTER");
        command.arg("MIGRATESLOTS").arg("SLOTSRANGE").arg(slot).arg(slot).arg("NODE").arg(&target.member.id);
        match self.ask::<Value>(command).await {
            Ok(_) => {}
            // One that was killed has asked for it already: it goes on without him.
            Err(TierError::Redis(error)) if error.to_string().contains("already") => {}
            Err(error) => return Err(error),
        }
        let deadline = Instant::now() + STROKE_WAIT_MAX;
        loop {
            let told = super::nodes::parse(&self.ask::<String>(super::nodes_command()).await?);
            if told.iter().any(|one| one.id == target.member.id && one.has(slot)) {
                return Ok(names);
            }
            if let Some(why) = self.stroke_failed(slot).await? {
                return Err(TierError::Answer { function: "CLUSTER MIGRATESLOTS", answer: why });
            }
            if Instant::now() > deadline {
                return Err(TierError::Silent);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// What became of the newest stroke of a slot, where it has failed.
    async fn stroke_failed(&self, slot: u16) -> Result<Option<String>, TierError> {
        let mut command = redis::cmd("CLUSTER");
        command.arg("GETSLOTMIGRATIONS");
        let told: Vec<Value> = self.ask(command).await?;
        let range = format!("{slot}-{slot}");
        let of_slot = |one: &Value| pairs(one).into_iter().any(|(name, text)| name == "slot_ranges" && text == range);
        // The newest comes first.
        let Some(newest) = told.iter().find(|one| of_slot(one)) else { return Ok(None) };
        let text = |wanted: &str| pairs(newest).into_iter().find(|(name, _)| name == wanted).map(|(_, text)| text);
        let state = text("state").unwrap_or_default();
        let has_failed = ["failed", "cancelled"].iter().any(|end| state.starts_with(end));
        Ok(has_failed.then(|| format!("{state}: {}", text("message").unwrap_or_default())))
    }

    async fn name_by_name(&self, slot: u16, target: &Primary) -> Result<u64, TierError> {
        target.know_the_rules().await?;
        target.ask::<Value>(set_slot(slot, "IMPORTING", &self.member.id)).await?;
        self.ask::<Value>(set_slot(slot, "MIGRATING", &target.member.id)).await?;
        let mut moved = 0;
        loop {
            let mut names = of_slot("GETKEYSINSLOT", slot);
            names.arg(BUNDLE);
            let names: Vec<Vec<u8>> = self.ask(names).await?;
            if names.is_empty() {
                return Ok(moved);
            }
            self.ask::<Value>(migrate(target, &names)).await?;
            moved += names.len() as u64;
        }
    }
}

fn set_slot(slot: u16, state: &str, node: &str) -> Cmd {
    let mut command = of_slot("SETSLOT", slot);
    command.arg(state).arg(node);
    command
}

/// What an interrupted one has left there is the same, or older.
fn migrate(target: &Primary, names: &[Vec<u8>]) -> Cmd {
    let mut command = redis::cmd("MIGRATE");
    command.arg(&target.member.host).arg(target.member.port).arg("").arg(0).arg(STEP_MS_MAX).arg("REPLACE");
    match (&target.user, &target.password) {
        (Some(user), Some(password)) => drop(command.arg("AUTH2").arg(user).arg(password)),
        (None, Some(password)) => drop(command.arg("AUTH").arg(password)),
        (_, None) => {}
    }
    command.arg("KEYS").arg(names);
    command
}

/// The texts of a map, or of a list of names and values.
fn pairs(value: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| redis::from_redis_value::<String>(value.clone()).unwrap_or_default();
    match value {
        Value::Map(map) => map.iter().map(|(name, value)| (text(name), text(value))).collect(),
        Value::Array(list) => list.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_maps_say_the_same() {
        let word = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let list = Value::Array(vec![word("state"), word("failed"), word("message"), word("x")]);
        let map = Value::Map(vec![(word("state"), word("failed")), (word("message"), word("x"))]);
        let expected = [("state", "failed"), ("message", "x")].map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!((pairs(&list), pairs(&map)), (expected.to_vec(), expected.to_vec()));
        assert!(pairs(&Value::Nil).is_empty());
    }
}
