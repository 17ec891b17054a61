use std::io::Read;

use apimachinery::builtin;
use apimachinery::envelope::Stored;
use apimachinery::gvk::GroupVersionKind;
use apimachinery::table::Include;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::BodyExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::encode::Encoder;
use crate::negotiate::{Accepted, As, Encoding};
use crate::resources::Found;

const TENANT: TenantId = TenantId::from_bytes([1; 16]);

/// The objects of a collection, which change as one in use does.
struct Collection {
    random: StdRng,
    revision: u64,
    items: Vec<Live>,
}

impl Collection {
    fn new(seed: u64, count: usize) -> Self {
        let mut this = Self { random: StdRng::seed_from_u64(seed), revision: 100, items: Vec::new() };
        for i in 0..count {
            let live = this.object(i, None);
            this.items.push(live);
        }
        this
    }

    fn object(&mut self, i: usize, uid: Option<Uuid>) -> Live {
        self.revision += 1;
        let uid = uid.unwrap_or_else(|| uuid::Builder::from_random_bytes(self.random.random()).into_uuid());
        // Few are larger than a piece.
        let length = if self.random.random_ratio(1, 100) { 40_000 } else { self.random.random_range(0..2000) };
        let text: String = (0..length).map(|_| char::from(self.random.random_range(b' '..b'~'))).collect();
        let object = json!({
            "metadata": {"name": format!("object-{i}"), "namespace": "default", "uid": uid.to_string(), "labels": {"a": "b"}},
            "data": {"text": text},
        });
        let stored = Stored::encode("v1", &object, &[]).unwrap();
        Live { kind: Arc::new(GroupVersionKind::new("", "v1", "ConfigMap")), stored, revision: self.revision }
    }

    /// Changes, inserts and deletes some.
    fn change(&mut self, count: usize) {
        for i in 0..count {
            let at = self.random.random_range(0..self.items.len());
            match self.random.random_range(0..4) {
                0 => drop(self.items.remove(at)),
                1 => {
                    let live = self.object(10_000 + i, None);
                    self.items.insert(at, live);
                }
                _ => {
                    let uid = self.items[at].stored.uid();
                    self.items[at] = self.object(at, Some(uid));
                }
            }
        }
    }

    fn listing(&self) -> Listing {
        Listing { items: self.items.clone(), revision: self.revision, continue_token: String::new(), remaining: None }
    }
}

fn encoders() -> Vec<Encoder> {
    let found = Found::built_in(builtin::resource("", "v1", "configmaps").unwrap());
    let forms = [As::Object, As::Partial { version: "v1", list: true }];
    let encodings = [Encoding::Json { pretty: false }, Encoding::Protobuf];
    forms
        .iter()
        .flat_map(|form| encodings.map(|encoding| Accepted { encoding, form: form.clone() }))
        .map(|accepted| Encoder::new(accepted, found.clone(), Include::default(), jiff::Timestamp::UNIX_EPOCH))
        .collect()
}

async fn body(cache: &Arc<Cache>, tenant: TenantId, encoder: &Encoder, listing: &Listing, gzip: bool) -> (Bytes, bool) {
    let pieced = list(cache, tenant, &encoder.list_writer().unwrap(), listing, gzip).await.unwrap();
    let compressed = pieced.is_compressed();
    let said = http_body::Body::size_hint(&pieced).exact();
    let bytes = pieced.collect().await.unwrap().to_bytes();
    assert_eq!(said, (!compressed).then_some(bytes.len() as u64));
    (bytes, compressed)
}

/// A decoder of one member, which must be all.
fn unpack(bytes: &[u8]) -> Vec<u8> {
    let mut rest = bytes;
    let mut plain = Vec::new();
    let mut decoder = GzDecoder::new(&mut rest);
    decoder.read_to_end(&mut plain).unwrap();
    assert!(rest.is_empty(), "{} bytes behind the end", rest.len());
    plain
}

#[tokio::test]
async fn whatever_changed_between_lists_what_is_kept_makes_no_difference() {
    let cache = Arc::new(Cache::default());
    for seed in 0..4 {
        let mut collection = Collection::new(seed, 500);
        for round in 0..6 {
            let listing = collection.listing();
            for encoder in encoders() {
                // What nothing is kept for says what is right.
                let (plain, compressed) = body(&Arc::default(), TENANT, &encoder, &listing, false).await;
                assert!(!compressed);
                assert_eq!(body(&cache, TENANT, &encoder, &listing, false).await, (plain.clone(), false));
                let (packed, compressed) = body(&cache, TENANT, &encoder, &listing, true).await;
                assert_eq!(compressed, plain.len() > COMPRESS_FROM);
                let unpacked = if compressed { unpack(&packed) } else { packed.to_vec() };
                assert!(unpacked == plain, "seed {seed}, round {round}, {:?}", encoder.accepted());
            }
            collection.change(1 << (round * 2));
        }
    }
}

#[tokio::test]
async fn a_change_makes_few_pieces_anew_and_a_list_that_comes_again_none() {
    let cache = Arc::new(Cache::default());
    let mut collection = Collection::new(7, 2000);
    let encoder = &encoders()[0];
    let first = body(&cache, TENANT, encoder, &collection.listing(), true).await;
    let all = cache.len();
    assert!(all > 50, "{all} pieces");
    assert_eq!(body(&cache, TENANT, encoder, &collection.listing(), true).await, first);
    assert_eq!(cache.len(), all);
    collection.change(8);
    body(&cache, TENANT, encoder, &collection.listing(), true).await;
    let new = cache.len() - all;
    assert!((1..=24).contains(&new), "{new} of {all} pieces are new");
    // A page of it has the pieces of the whole, but for the ends.
    let before = cache.len();
    let mut page = collection.listing();
    page.items.drain(..400);
    page.items.truncate(1000);
    body(&cache, TENANT, encoder, &page, true).await;
    assert!(cache.len() - before <= 6, "{} of a page's pieces are new", cache.len() - before);
}

#[tokio::test]
async fn tenants_forms_and_encodings_share_nothing() {
    let cache = Arc::new(Cache::default());
    let collection = Collection::new(3, 600);
    let mut pieces = 0;
    for tenant in [TENANT, TenantId::from_bytes([2; 16])] {
        for encoder in encoders() {
            for gzip in [true, false] {
                let (_, compressed) = body(&cache, tenant, &encoder, &collection.listing(), gzip).await;
                let now = cache.len();
                // JSON that is not compressed is a copy of what is stored.
                let kept = compressed || !gzip && encoder.accepted().encoding == Encoding::Protobuf;
                assert_eq!(now > pieces, kept, "{:?}, gzip: {gzip}", encoder.accepted());
                pieces = now;
            }
        }
    }
}

/// As when one is made of another's backup: the same uids at the same revisions, but then each goes its own way.
#[tokio::test]
async fn a_tenant_never_sees_what_is_kept_for_another() {
    let cache = Arc::new(Cache::default());
    let mut collection = Collection::new(5, 600);
    let ours = collection.listing();
    for live in &mut collection.items {
        let mut value = live.to_value().unwrap();
        let text = value["data"]["text"].as_str().unwrap().to_uppercase();
        value["data"]["text"] = json!(text);
        live.stored = Stored::encode("v1", &value, &[]).unwrap();
    }
    let theirs = collection.listing();
    for encoder in encoders() {
        for gzip in [false, true] {
            for (tenant, listing) in [(TENANT, &ours), (TenantId::from_bytes([2; 16]), &theirs)] {
                let right = body(&Arc::default(), tenant, &encoder, listing, gzip).await;
                for _ in 0..2 {
                    assert!(body(&cache, tenant, &encoder, listing, gzip).await == right, "{:?}", encoder.accepted());
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_kept_of_lists_however_long_stays_within_its_bound() {
    let cache = Arc::new(Cache::default());
    let collection = Collection::new(9, 16_000);
    let protobuf = &encoders()[1];
    for gzip in [false, true, false] {
        let (bytes, compressed) = body(&cache, TENANT, protobuf, &collection.listing(), gzip).await;
        assert!(compressed || bytes.len() > Cache::covers(false), "{}", bytes.len());
        assert!(cache.bytes() <= Cache::KEPT, "{}", cache.bytes());
    }
    // All that is kept of a list is there when it comes again.
    let kept = cache.len();
    body(&cache, TENANT, protobuf, &collection.listing(), false).await;
    assert_eq!(cache.len(), kept);
}

#[tokio::test]
async fn all_but_the_last_of_what_is_sent_fills_its_record() {
    let cache = Arc::new(Cache::default());
    let collection = Collection::new(11, 500);
    for gzip in [false, true] {
        let writer = encoders();
        let writer = writer[1].list_writer().unwrap();
        let mut pieced = list(&cache, TENANT, &writer, &collection.listing(), gzip).await.unwrap();
        let mut lengths = Vec::new();
        while let Some(frame) = pieced.frame().await {
            lengths.push(frame.unwrap().into_data().unwrap().len());
        }
        let last = lengths.pop().unwrap();
        assert!(lengths.len() > 10 && lengths.iter().all(|&length| length == body::CHUNK), "{lengths:?}");
        assert!((1..=body::CHUNK).contains(&last) && http_body::Body::is_end_stream(&pieced));
    }
}
