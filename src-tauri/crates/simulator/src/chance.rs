//! Chance that repeats: everything random follows from a seed and the bytes of the request.

use fastrand::Rng;

/// Mixes bytes into a seed; the same on every machine and in every version.
pub(crate) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = mix(seed, bytes.len() as u64);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    rest.iter().fold(state, |state, byte| mix(state, u64::from(*byte)))
}

/// One word into the state: the finish of splitmix64.
pub(crate) fn mix(state: u64, word: u64) -> u64 {
    let mut z = (state ^ word).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// An id as the API makes them: `msg_01` and 22 letters and digits.
pub(crate) fn id(prefix: &str, seed: u64) -> String {
    let mut rng = Rng::with_seed(seed);
    let mut text = String::with_capacity(prefix.len() + 25);
    text.push_str(prefix);
    text.push_str("_01");
    text.extend((0..22).map(|_| rng.alphanumeric()));
    text
}

/// A version 4 UUID.
pub(crate) fn uuid(seed: u64) -> String {
    let (high, low) = (mix(seed, 1), mix(seed, 2));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 50),
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_every_byte_and_on_the_seed() {
        let text = b"twenty-one bytes long";
        let plain = hash(1, text);
        assert_eq!(plain, hash(1, text));
        assert_ne!(plain, hash(2, text));
        for i in 0..text.len() {
            let mut other = *text;
            other[i] ^= 1;
            assert_ne!(plain, hash(1, &other), "byte {i}");
        }
    }

    #[test]
    fn ids_look_like_the_real_ones() {
        assert_eq!(id("msg", 7).len(), "msg_01KoEzb5DsZ7cLWaVCKnxBA7".len());
        assert_eq!(uuid(7).len(), 36);
        assert_ne!(id("msg", 7), id("msg", 8));
    }
}
