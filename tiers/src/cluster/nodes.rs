//! `CLUSTER NODES`, read. Pure.

use std::collections::BTreeMap;

/// A node of a cluster, as a node tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Member {
    pub id: String,
    pub host: String,
    pub port: u16,
    pub is_primary: bool,
    /// First and last of each range.
    pub slots: Vec<(u16, u16)>,
    /// Slots that it hands over, and to whom. A node tells this of itself only.
    pub migrating: BTreeMap<u16, String>,
    /// Slots that it takes in, and from whom. A node tells this of itself only.
    pub importing: BTreeMap<u16, String>,
}

impl Member {
    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Whether a slot is its own.
    pub fn has(&self, slot: u16) -> bool {
        self.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot))
    }
}

/// Every node that is told, but for those that can't be reached or have failed. Lines of another form are passed over.
pub(super) fn parse(text: &str) -> Vec<Member> {
    text.lines().filter_map(member).collect()
}

/// `<id> <host:port@bus,name> <flags> <primary> <ping> <pong> <epoch> <link> <slot> ...`
fn member(line: &str) -> Option<Member> {
    let mut words = line.split_whitespace();
    let (id, address, flags) = (words.next()?, words.next()?, words.next()?);
    let (host, port) = address.split('@').next()?.rsplit_once(':')?;
    let mut flags = flags.split(',');
    let is_lost = |flag: &str| ["fail", "noaddr", "handshake"].contains(&flag);
    if flags.clone().any(is_lost) || host.is_empty() {
        return None;
    }
    let mut member = Member {
        id: id.to_owned(),
        host: host.to_owned(),
        port: port.parse().ok()?,
        is_primary: flags.any(|flag| flag == "master"),
        ..Member::default()
    };
    for word in words.skip(5) {
        if let Some(moving) = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')) {
            if let Some((slot, to)) = moving.split_once("->-") {
                member.migrating.insert(slot.parse().ok()?, to.to_owned());
            } else if let Some((slot, from)) = moving.split_once("-<-") {
                member.importing.insert(slot.parse().ok()?, from.to_owned());
            }
            continue;
        }
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        member.slots.push((first.parse().ok()?, last.parse().ok()?));
    }
    Some(member)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
        aa 127.0.0.1:7001@17001,host-a myself,master - 0 0 1 connected 0-5460 7000 [93->-bb] [7-<-cc]\n\
        bb 127.0.0.1:7002@17002 master - 0 0 2 connected\n\
        cc 127.0.0.1:7003@17003 master,fail - 0 0 2 disconnected 5461-6999\n\
        dd 127.0.0.1:7004@17004 slave aa 0 0 1 connected\n\
        odd\n";

    #[test]
    fn nodes_are_read() {
        let members = parse(NODES);
        let names: Vec<_> = members.iter().map(|one| (one.id.as_str(), one.address(), one.is_primary)).collect();
        let at = |port: u16| format!("127.0.0.1:{port}");
        assert_eq!(names, [("aa", at(7001), true), ("bb", at(7002), true), ("dd", at(7004), false)]);
        for (slot, expected) in [(0, true), (5460, true), (5461, false), (7000, true), (16_383, false)] {
            assert_eq!(members[0].has(slot), expected, "{slot}");
        }
        assert_eq!(members[0].migrating, BTreeMap::from([(93, "bb".to_owned())]));
        assert_eq!(members[0].importing, BTreeMap::from([(7, "cc".to_owned())]));
        assert!(parse("aa 127.0.0.1:x@1 master - 0 0 1 connected 5").is_empty());
    }
}
