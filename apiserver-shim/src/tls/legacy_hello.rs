//! Clients that offer no signature algorithms: the `wget` of busybox, which is what many a pod has. Go's TLS serves them, rustls refuses
//! their hello (RFC 5246, 7.4.1.4.1, would have the server sign with SHA-1, which no one should).
//!
//! Their hello is given to rustls with the extension that it lacks. Both sides hash what was sent, so the hash functions of these
//! handshakes are ones that take the extension out again. They also read one message from a record, where rustls puts a whole flight into
//! one. Everything else is rustls, TLS 1.2. Nothing is weaker for other clients: whoever takes the extension out of somebody's hello on
//! the way changes the hash that the client finishes with.

use std::sync::{Arc, LazyLock};

use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{CipherSuiteCommon, SupportedCipherSuite, Tls12CipherSuite};

/// More than the hello of such a client has: it offers little.
pub(super) const LONGEST: usize = 1024;
/// `signature_algorithms`: ECDSA with P-256 and SHA-256, which is what our certificates are signed with.
const EXTENSION: [u8; 8] = [0x00, 0x0d, 0x00, 0x04, 0x00, 0x02, 0x04, 0x03];
const SIGNATURE_ALGORITHMS: u16 = 0x0d;
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;

/// What rustls is made of for these handshakes.
pub(super) static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = ring::default_provider();
    provider.cipher_suites = provider.cipher_suites.iter().filter_map(|suite| restoring(*suite)).collect();
    Arc::new(provider)
});

/// The length of the hello in `bytes`, the first that a client has sent, if it is a whole one without signature algorithms.
pub(super) fn legacy_hello_length(bytes: &[u8]) -> Option<usize> {
    let [22, 3, _, high, low, rest @ ..] = bytes else { return None };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let message = rest.get(..length)?;
    let at = extensions_at(message)?;
    let mut extensions = message.get(at + 2..)?;
    while let [a, b, c, d, rest @ ..] = extensions {
        if u16::from_be_bytes([*a, *b]) == SIGNATURE_ALGORITHMS {
            return None;
        }
        extensions = rest.get(usize::from(u16::from_be_bytes([*c, *d]))..)?;
    }
    extensions.is_empty().then_some(RECORD_HEADER + length)
}

/// The hello with the extension that it lacks.
pub(super) fn legacy_hello_complete(record: &[u8]) -> Option<Vec<u8>> {
    let message = lengthened(record.get(RECORD_HEADER..)?, EXTENSION.len().cast_signed())?;
    let mut complete = record.get(..3)?.to_vec();
    complete.extend(u16::try_from(message.len() + EXTENSION.len()).ok()?.to_be_bytes());
    complete.extend(message);
    complete.extend(EXTENSION);
    Some(complete)
}

/// A flight with a record for each message.
pub(super) fn messages_apart(flight: &[u8]) -> Option<Vec<u8>> {
    let mut apart = Vec::with_capacity(flight.len() + 16 * RECORD_HEADER);
    let mut records = flight;
    while let [kind, major, minor, high, low, rest @ ..] = records {
        let (mut messages, behind) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        while let [_, a, b, c, ..] = messages {
            let length = MESSAGE_HEADER + u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let (message, rest) = messages.split_at_checked(length)?;
            apart.extend([*kind, *major, *minor]);
            apart.extend(u16::try_from(length).ok()?.to_be_bytes());
            apart.extend(message);
            messages = rest;
        }
        records = behind;
    }
    Some(apart)
}

/// Where the extensions' length is in a ClientHello that ends with its extensions (RFC 5246, 7.4.1.2).
fn extensions_at(message: &[u8]) -> Option<usize> {
    let [1, a, b, c, ..] = message else { return None };
    let whole = MESSAGE_HEADER + u32::from_be_bytes([0, *a, *b, *c]) as usize;
    let mut at = MESSAGE_HEADER + 2 + 32;
    at += 1 + usize::from(*message.get(at)?);
    at += 2 + usize::from(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    at += 1 + usize::from(*message.get(at)?);
    let length = usize::from(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    (whole == message.len() && at + 2 + length == whole).then_some(at)
}

/// A ClientHello whose lengths say that its extensions are longer by so much.
fn lengthened(message: &[u8], by: isize) -> Option<Vec<u8>> {
    let at = extensions_at(message)?;
    let longer = |length: usize| length.checked_add_signed(by);
    let whole = u32::try_from(longer(message.len() - MESSAGE_HEADER)?).ok()?.to_be_bytes();
    let extensions = u16::try_from(longer(message.len() - at - 2)?).ok()?.to_be_bytes();
    let mut message = message.to_vec();
    message.get_mut(1..4)?.copy_from_slice(whole.get(1..)?);
    message.get_mut(at..at + 2)?.copy_from_slice(&extensions);
    Some(message)
}

/// The hello as it was sent.
fn original(complete: &[u8]) -> Option<Vec<u8>> {
    let mut message = lengthened(complete, -EXTENSION.len().cast_signed())?;
    message.ends_with(&EXTENSION).then(|| message.truncate(message.len() - EXTENSION.len()))?;
    Some(message)
}

fn restoring(suite: SupportedCipherSuite) -> Option<SupportedCipherSuite> {
    let SupportedCipherSuite::Tls12(suite) = suite else { return None };
    let hash: &'static Restoring = Box::leak(Box::new(Restoring(suite.common.hash_provider)));
    let common = CipherSuiteCommon { hash_provider: hash, ..suite.common };
    // rustls wants suites that live as long as the program; these are made once.
    Some(SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
        common,
        prf_provider: suite.prf_provider,
        kx: suite.kx,
        sign: suite.sign,
        aead_alg: suite.aead_alg,
    }))))
}

/// A hash function that sees hellos as they were sent.
struct Restoring(&'static dyn Hash);

impl Hash for Restoring {
    fn start(&self) -> Box<dyn Context> {
        Box::new(Transcript { hash: self.0.start(), begun: false })
    }

    fn hash(&self, data: &[u8]) -> Output {
        self.0.hash(data)
    }

    fn output_len(&self) -> usize {
        self.0.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.0.algorithm()
    }
}

struct Transcript {
    hash: Box<dyn Context>,
    begun: bool,
}

impl Context for Transcript {
    fn fork_finish(&self) -> Output {
        self.hash.fork_finish()
    }

    fn fork(&self) -> Box<dyn Context> {
        Box::new(Self { hash: self.hash.fork(), begun: self.begun })
    }

    fn finish(self: Box<Self>) -> Output {
        self.hash.finish()
    }

    fn update(&mut self, data: &[u8]) {
        // The first that is hashed, if it is not nothing, is the whole hello.
        let first = !data.is_empty() && !std::mem::replace(&mut self.begun, true);
        match first.then(|| original(data)).flatten() {
            Some(sent) => self.hash.update(&sent),
            None => self.hash.update(data),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the wget of busybox 1.35 sends, with a random of ones and the server name `a`.
    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = [&[3, 3][..], &[1; 32], &[0], &[0, 4, 0xc0, 0x2b, 0x00, 0xff], &[1, 0]].concat();
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        let message = [&[1, 0, 0, u8::try_from(body.len()).unwrap()], &body[..]].concat();
        [&[22, 3, 1, 0, u8::try_from(message.len()).unwrap()], &message[..]].concat()
    }

    const GROUPS: [u8; 8] = [0, 10, 0, 4, 0, 2, 0, 29];

    #[test]
    fn only_a_whole_hello_without_signature_algorithms_is_one() {
        let legacy = hello(&GROUPS);
        assert_eq!(legacy_hello_length(&legacy), Some(legacy.len()));
        assert_eq!(legacy_hello_length(&[&legacy[..], b"more"].concat()), Some(legacy.len()));
        for cut in 0..legacy.len() {
            assert_eq!(legacy_hello_length(&legacy[..cut]), None, "{cut}");
        }
        assert_eq!(legacy_hello_length(&hello(&[&GROUPS[..], &EXTENSION].concat())), None);
        assert_eq!(legacy_hello_length(&hello(&[0, 10, 0, 200])), None, "an extension that ends behind the hello");
        assert_eq!(legacy_hello_length(b"GET / HTTP/1.1\r\n\r\n"), None);
    }

    #[test]
    fn a_flight_of_two_messages_is_two_records() {
        let flight = [22, 3, 3, 0, 9, 2, 0, 0, 1, 7, 14, 0, 0, 0];
        let apart = [22, 3, 3, 0, 5, 2, 0, 0, 1, 7, 22, 3, 3, 0, 4, 14, 0, 0, 0];
        assert_eq!(messages_apart(&flight), Some(apart.to_vec()));
        assert_eq!(messages_apart(&apart), Some(apart.to_vec()));
        assert_eq!(messages_apart(&flight[..12]), None);
    }

    #[test]
    fn rustls_takes_the_completed_hello_and_the_hash_is_that_of_the_sent_one() {
        let legacy = hello(&GROUPS);
        let complete = legacy_hello_complete(&legacy).unwrap();
        assert_eq!(complete, hello(&[&GROUPS[..], &EXTENSION].concat()));
        let mut acceptor = rustls::server::Acceptor::default();
        acceptor.read_tls(&mut &complete[..]).unwrap();
        assert!(acceptor.accept().is_ok_and(|accepted| accepted.is_some()));

        let suites = &PROVIDER.cipher_suites;
        let hashes = suites.iter().filter_map(|s| if let SupportedCipherSuite::Tls12(s) = s { Some(s) } else { None });
        assert_eq!(hashes.clone().count(), suites.len());
        for hash in hashes.map(|suite| suite.common.hash_provider) {
            let mut transcript = hash.start();
            transcript.update(b"");
            transcript.update(&complete[RECORD_HEADER..]);
            transcript.update(b"and so on");
            let sent = [&legacy[RECORD_HEADER..], b"and so on"].concat();
            assert_eq!(transcript.finish().as_ref(), hash.hash(&sent).as_ref());
        }
    }
}
