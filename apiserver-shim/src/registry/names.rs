//! Names that the server makes up.
//!
//! Source: `k8s.io/apiserver/pkg/storage/names`.

use rand::Rng;

const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;
const MAX_BASE: usize = 63 - SUFFIX;

/// `base`, cut to 58 bytes, with five random characters behind it.
pub(crate) fn generate(base: &str) -> String {
    let mut end = base.len().min(MAX_BASE);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut rng = rand::rng();
    let mut name = base[..end].to_owned();
    name.extend((0..SUFFIX).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])));
    name
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_long_base_is_cut_so_that_the_name_fits() {
        let name = super::generate(&"a".repeat(80));
        assert_eq!(name.len(), 63);
        assert!(super::generate("x-").starts_with("x-"));
    }
}
