//! Events that were written lately, for the other watchers that want the same bytes.

use std::collections::{HashMap, VecDeque};

use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use bytes::Bytes;
use parking_lot::Mutex;
use store::Revision;

use super::EventKind;
use crate::encode::Form;

/// How many bytes of events are kept for all tenants together. Watchers of one change are told within milliseconds.
const KEPT: usize = 1 << 20;
/// What keeping an event costs beside its bytes, about.
const OVERHEAD: usize = 256;

/// A change, and what it is to a watcher. A transaction writes at most once to a collection, and the resource is a part
/// of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantId,
    revision: Revision,
    kind: EventKind,
}

/// Written events by change and form, the latest ones. Empty as long as no one watches.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    frames: HashMap<Key, Vec<(Form, Bytes)>>,
    order: VecDeque<(Key, usize)>,
    bytes: usize,
}

impl Frames {
    /// The event in this form; `write` makes it if no other watcher has.
    pub(super) fn get(
        &self,
        (tenant, revision, kind): (TenantId, Revision, EventKind),
        form: &Form,
        write: impl FnOnce() -> Result<Bytes, ApiError>,
    ) -> Result<Bytes, ApiError> {
        let key = Key { tenant, revision, kind };
        let find = |held: &Held| held.frames.get(&key)?.iter().find(|(f, _)| f == form).map(|(_, b)| b.clone());
        if let Some(frame) = find(&self.held.lock()) {
            return Ok(frame);
        }
        let frame = write()?;
        let mut held = self.held.lock();
        // Another watcher may have been as fast.
        if let Some(there) = find(&held) {
            return Ok(there);
        }
        held.insert(key, form.clone(), frame.clone());
        Ok(frame)
    }
}

impl Held {
    fn insert(&mut self, key: Key, form: Form, frame: Bytes) {
        let size = frame.len() + OVERHEAD;
        self.bytes += size;
        self.order.push_back((key, size));
        self.frames.entry(key).or_default().push((form, frame));
        while self.bytes > KEPT && self.order.len() > 1 {
            let Some((key, size)) = self.order.pop_front() else { return };
            self.bytes -= size;
            // Frames of a key lie in the order in which they came.
            if let Some(frames) = self.frames.get_mut(&key) {
                frames.remove(0);
                if frames.is_empty() {
                    self.frames.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{Encoder, WatchEncoder};
    use crate::negotiate::{Accepted, As};
    use crate::resources::Found;
    use apimachinery::{builtin, table::Include};

    fn form(accepted: Accepted) -> Form {
        let found = Found::built_in(builtin::resource("", "v1", "pods").unwrap());
        WatchEncoder::new(Encoder::new(accepted, found, Include::default(), jiff::Timestamp::UNIX_EPOCH))
            .form()
            .unwrap()
    }

    #[test]
    fn an_event_is_written_once_for_each_form_and_the_oldest_go_first() {
        let frames = Frames::default();
        let tenant = TenantId::from_bytes([1; 16]);
        let whole = form(Accepted::json());
        let partial = form(Accepted { form: As::Partial { version: "v1", list: false }, ..Accepted::json() });
        let write = |text: &'static [u8]| move || Ok(Bytes::from_static(text));
        let no_write = || panic!("it is there");
        let get =
            |revision, form: &Form, text| frames.get((tenant, revision, EventKind::Added), form, write(text)).unwrap();
        assert_eq!(get(1, &whole, b"whole"), "whole");
        assert_eq!(get(1, &partial, b"partial"), "partial");
        assert_eq!(frames.get((tenant, 1, EventKind::Added), &whole, no_write).unwrap(), "whole");
        assert_eq!(frames.get((tenant, 1, EventKind::Added), &partial, no_write).unwrap(), "partial");
        let other = TenantId::from_bytes([2; 16]);
        let theirs = frames.get((other, 1, EventKind::Added), &whole, write(b"other")).unwrap();
        assert_eq!(theirs, "other");
        static LARGE: [u8; KEPT / 4] = [0; KEPT / 4];
        for revision in 2..6 {
            get(revision, &whole, &LARGE);
        }
        assert_eq!(get(1, &whole, b"anew"), "anew");
        let held = frames.held.lock();
        assert!(held.bytes <= KEPT && held.order.len() == held.frames.len(), "{held:?}");
    }
}
