//! Which partition an entity belongs to, and how that partition's keys are named on a cluster.

/// murmur2 as Kafka's Java client computes it, over the entity key's text.
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c_u32 ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    for (i, byte) in rest.iter().enumerate().rev() {
        h ^= u32::from(*byte) << (8 * i);
    }
    if !rest.is_empty() {
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

/// The partition of an entity: Kafka's default partitioner, applied to the entity key's text.
pub fn partition_of(entity: &str, partitions: u32) -> u32 {
    (murmur2(entity.as_bytes()) & 0x7fff_ffff) % partitions
}

/// Redis Cluster's slot of a hash tag: CRC16 (XMODEM), modulo 16,384.
pub fn slot_of(tag: &str) -> u16 {
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(byte) << 8),
            |crc, _| {
                if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 }
            },
        )
    });
    crc % 16_384
}

/// The hash tag of each partition of a group: `<ns><group>.<NN><salt>`, the salt chosen so that partition i lies in the
/// i-th of equal ranges of slots. Placement is thus even on any number of nodes with contiguous slot ranges.
pub fn hash_tags(namespace: &str, group: &str, partitions: u32) -> Vec<String> {
    let width = (partitions.saturating_sub(1)).to_string().len().max(2);
    (0..partitions)
        .map(|partition| {
            let range = |p: u32| (u64::from(p) * 16_384 / u64::from(partitions)) as u16;
            let (from, to) = (range(partition), range(partition + 1));
            let stem = format!("{namespace}{group}.{partition:0width$}");
            let salted = |salt: u32| if salt == 0 { stem.clone() } else { format!("{stem}-{salt}") };
            let even = (0..1_000_000).map(salted).find(|tag| (from..to).contains(&slot_of(tag)));
            even.unwrap_or_else(|| stem.clone())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of Kafka's own test of its murmur2 (`UtilsTest`).
    #[test]
    fn murmur2_of_the_java_client() {
        let cases: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (text, expected) in cases {
            assert_eq!(murmur2(text.as_bytes()) as i32, expected, "{text}");
        }
    }

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(slot_of("123456789"), 0x31C3);
        assert_eq!(slot_of("user1000"), 3443);
    }

    #[test]
    fn partitions_spread_evenly() {
        for (group, partitions) in [("catalogue", 16), ("customers", 128)] {
            for (i, tag) in hash_tags("", group, partitions).iter().enumerate() {
                let slot = u32::from(slot_of(tag));
                assert_eq!(slot * partitions / 16_384, i as u32, "{tag}");
            }
        }
    }
}
