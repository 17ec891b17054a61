//! Whole numbers in as few bytes as they need: seven bits a byte, the lowest first.

pub(crate) fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub(crate) fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

/// A difference of two numbers, so that a small one of either sign is a small number.
pub(crate) fn zigzag(from: u64, to: u64) -> u64 {
    let difference = to.wrapping_sub(from) as i64;
    ((difference << 1) ^ (difference >> 63)) as u64
}

/// What [`zigzag`] led to.
pub(crate) fn unzigzag(from: u64, coded: u64) -> u64 {
    from.wrapping_add(((coded >> 1) as i64 ^ -((coded & 1) as i64)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_differences_come_back() {
        for n in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, n);
            let mut rest = &out[..];
            assert_eq!((take_varint(&mut rest), rest.len()), (Some(n), 0));
            for from in [0, 1, n, u64::MAX / 2, u64::MAX] {
                assert_eq!(unzigzag(from, zigzag(from, n)), n);
            }
        }
        assert_eq!(take_varint(&mut &[0x80][..]), None);
        assert_eq!(zigzag(7, 6), 1);
    }
}
