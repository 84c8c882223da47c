//! The partitioner of Kafka's Java client, so that a producer in any language lands a file at home.

/// Murmur2 as Kafka's Java client computes it (`org.apache.kafka.common.utils.Utils#murmur2`).
pub fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let len = u32::try_from(data.len()).expect("a key is shorter than 4 GiB");
    let mut h = 0x9747_b28c_u32 ^ len;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().expect("chunks of four"));
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let tail = chunks.remainder();
    for (i, byte) in tail.iter().enumerate().rev() {
        h ^= u32::from(*byte) << (8 * i);
    }
    if !tail.is_empty() {
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^= h >> 15;
    h.cast_signed()
}

/// The home partition of a key: murmur2 made positive, modulo the number of home partitions.
pub fn home_partition(key: &str, home_partitions: i32) -> i32 {
    assert!(home_partitions > 0, "home_partitions is at least 1");
    (murmur2(key.as_bytes()) & 0x7fff_ffff) % home_partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_java_client() {
        // The vectors of Kafka's UtilsTest#testMurmur2.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }
}
