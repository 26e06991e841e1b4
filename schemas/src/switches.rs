//! What operators have switched: lanes that are paused, views that readers pass by, versions of views. A pause and a bypass
//! have a reason and end by themselves; the topic keeps them all, and so is the trail of who did what.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::shown::JsonFault;
use crate::versions::Versions;

/// Switches that are known at once; of more, the oldest are forgotten.
const SWITCHES_MAX: usize = 10_000;

/// What is switched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum What {
    /// The lane of a partition applies nothing; of every partition of the group, where none is named.
    Pause {
        /// The group.
        group: String,
        /// The partition.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        partition: Option<u32>,
    },
    /// Readers of a view go to the database.
    Bypass {
        /// The view.
        view: String,
    },
    /// The view is filled once, because the installation is new; off: that is done.
    Warming {
        /// The view.
        view: String,
    },
    /// Which versions of a view's entries are kept, and which one is read.
    Versions {
        /// The view.
        view: String,
    },
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Pause { group, partition: Some(partition) } => write!(f, "pause of {group}.{partition}"),
            What::Pause { group, partition: None } => write!(f, "pause of {group}"),
            What::Bypass { view } => write!(f, "bypass of {view}"),
            What::Warming { view } => write!(f, "first warming of {view}"),
            What::Versions { view } => write!(f, "versions of {view}"),
        }
    }
}

/// One turn of a switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// What is switched.
    #[serde(flatten)]
    pub what: What,
    /// On, or off.
    pub on: bool,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who: user and host.
    pub by: String,
    /// When, microseconds since 1970.
    pub at: i64,
    /// When it is off again, microseconds since 1970.
    pub until: i64,
    /// Of [`What::Versions`]: which.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub versions: Option<Versions>,
}

impl Switch {
    /// The record's value.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From the record's value.
    pub fn from_json(value: &[u8]) -> Result<Self, JsonFault> {
        Ok(serde_json::from_slice(value)?)
    }
}

/// The switches as they stand.
#[derive(Clone, Debug, Default)]
pub struct Switches {
    newest: BTreeMap<What, Switch>,
    /// What is done once, and was.
    done: BTreeSet<String>,
    versions: BTreeMap<String, Versions>,
    /// The topic is read again from its beginning where reading failed: what was taken in counts once.
    next: i64,
    /// The newest turn that was taken in.
    newest_at: i64,
}

impl Switches {
    /// Takes the topic's record at an offset in; `false`: it was taken in before. A newer one at an older offset is of a
    /// topic that was made anew.
    pub fn take(&mut self, offset: i64, switch: Switch) -> bool {
        if offset < self.next && switch.at <= self.newest_at {
            return false;
        }
        (self.next, self.newest_at) = (offset + 1, self.newest_at.max(switch.at));
        match (&switch.what, switch.versions) {
            (What::Warming { view }, _) if !switch.on => drop(self.done.insert(view.clone())),
            (What::Versions { view }, Some(versions)) => drop(self.versions.insert(view.clone(), versions)),
            _ => {}
        }
        if switch.on {
            self.newest.insert(switch.what.clone(), switch);
        } else {
            self.newest.remove(&switch.what);
        }
        if self.newest.len() > SWITCHES_MAX {
            let oldest = self.newest.values().min_by_key(|switch| switch.at).map(|switch| switch.what.clone());
            oldest.map(|what| self.newest.remove(&what));
        }
        true
    }

    /// Passes over a record of the topic that can't be read.
    pub fn pass(&mut self, offset: i64) {
        self.next = self.next.max(offset + 1);
    }

    /// Those that are on at a time, microseconds since 1970.
    pub fn on(&self, now: i64) -> impl Iterator<Item = &Switch> {
        self.newest.values().filter(move |switch| switch.until > now)
    }

    /// Whether the lane of a partition is paused.
    pub fn pauses(&self, group: &str, partition: u32, now: i64) -> bool {
        let meant = |what: &What| match what {
            What::Pause { group: of, partition: None } => of == group,
            What::Pause { group: of, partition: Some(one) } => of == group && *one == partition,
            What::Bypass { .. } | What::Warming { .. } | What::Versions { .. } => false,
        };
        // Asked for each round of records: mostly there are none at all.
        !self.newest.is_empty() && self.on(now).any(|switch| meant(&switch.what))
    }

    /// Whether readers pass a view by.
    pub fn bypasses(&self, view: &str, now: i64) -> bool {
        !self.newest.is_empty()
            && self.on(now).any(|switch| matches!(&switch.what, What::Bypass { view: of } if of == view))
    }

    /// Whether the view was filled in the installation's beginning.
    pub fn was_warmed(&self, view: &str) -> bool {
        self.done.contains(view)
    }

    /// The versions of every view that has more than the first, or had.
    pub fn versions(&self) -> &BTreeMap<String, Versions> {
        &self.versions
    }

    /// The offset of the next record.
    pub fn next(&self) -> i64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switch(what: What, on: bool, until: i64) -> Switch {
        Switch { what, on, reason: "a test".to_owned(), by: "op@host".to_owned(), at: 1, until, versions: None }
    }

    fn pause(partition: Option<u32>) -> What {
        What::Pause { group: "catalogue".to_owned(), partition }
    }

    #[test]
    fn switches_come_back() {
        let versions = What::Versions { view: "cart".to_owned() };
        for what in [pause(None), pause(Some(3)), What::Bypass { view: "cart".to_owned() }, versions] {
            let one = Switch { versions: Some(Versions::default().begun()), ..switch(what, true, 9) };
            assert_eq!(Switch::from_json(&one.to_json()).expect("ours"), one);
        }
        assert!(Switch::from_json(b"{}").is_err());
    }

    #[test]
    fn what_is_done_once_stays_done() {
        let warming = || What::Warming { view: "cart".to_owned() };
        let mut switches = Switches::default();
        switches.take(0, switch(warming(), true, i64::MAX));
        assert!(!switches.was_warmed("cart") && switches.on(5).count() == 1);
        switches.take(1, switch(warming(), false, 0));
        assert!(switches.was_warmed("cart") && switches.on(5).count() == 0);
        let versions = Versions::default().begun();
        let turn = Switch { versions: Some(versions), ..switch(What::Versions { view: "cart".to_owned() }, true, 9) };
        switches.take(2, turn);
        assert_eq!((switches.versions().get("cart"), switches.next()), (Some(&versions), 3));
        switches.pass(3);
        assert_eq!(switches.next(), 4);
    }

    #[test]
    fn the_newest_turn_counts_until_it_runs_out() {
        let mut switches = Switches::default();
        switches.take(0, switch(pause(Some(3)), true, 100));
        switches.take(1, switch(What::Bypass { view: "cart".to_owned() }, true, 50));
        let paused = |switches: &Switches, partition, now| switches.pauses("catalogue", partition, now);
        assert!(paused(&switches, 3, 99) && !paused(&switches, 3, 100) && !paused(&switches, 2, 1));
        assert!(switches.bypasses("cart", 1) && !switches.bypasses("cart", 50) && !switches.bypasses("profile", 1));
        switches.take(2, switch(pause(Some(3)), false, 100));
        assert!(!paused(&switches, 3, 1));
        switches.take(0, switch(pause(Some(3)), true, 100));
        assert!(!paused(&switches, 3, 1), "the topic is read again from its beginning");
        switches.take(3, switch(pause(None), true, 100));
        assert!(paused(&switches, 2, 1) && !switches.pauses("customers", 2, 1));
        assert_eq!(switches.on(60).count(), 1);
    }

    #[test]
    fn a_topic_made_anew_is_heard() {
        let turn = |what: What, at| Switch { at, ..switch(what, true, i64::MAX) };
        let mut switches = Switches::default();
        assert!(switches.take(6, turn(pause(None), 5)));
        assert!(!switches.take(6, turn(pause(None), 5)), "read again");
        assert!(switches.take(0, turn(What::Bypass { view: "cart".to_owned() }, 8)), "newer, at an older offset");
        assert!(switches.bypasses("cart", 9) && switches.pauses("catalogue", 0, 9));
        assert_eq!(switches.next(), 1);
    }
}
