//! Names in order, up to a fixed number: what a table is made of, on each of its levels.

use smol_str::SmolStr;

use super::heads::Heads;

/// Items in a run, at most.
pub(super) const FULL: usize = 128;
/// A run of so many has heads. Small collections, of which an idle tenant has most, do without.
const HEADS: usize = FULL / 2;

/// What lies in a run.
pub(super) trait Named {
    /// Its name, or that of the first it has.
    fn name(&self) -> &SmolStr;
    /// How many names of it hold a value now.
    fn live(&self) -> usize;
}

/// Items in the order of their names.
#[derive(Debug)]
pub(super) struct Run<T> {
    /// No item is before this.
    first: SmolStr,
    pub(super) items: Vec<T>,
    pub(super) live: usize,
    heads: Option<Box<Heads>>,
}

impl<T> Default for Run<T> {
    fn default() -> Self {
        Self { first: SmolStr::default(), items: Vec::new(), live: 0, heads: None }
    }
}

impl<T: Named> Named for Run<T> {
    fn name(&self) -> &SmolStr {
        &self.first
    }

    fn live(&self) -> usize {
        self.live
    }
}

impl<T: Named> Run<T> {
    pub(super) fn of(items: Vec<T>) -> Self {
        let first = items.first().map(|item| item.name().clone()).unwrap_or_default();
        let live = items.iter().map(Named::live).sum();
        Self { first, items, live, heads: None }
    }

    /// Where an item of this name is, or belongs.
    pub(super) fn place(&self, name: &str) -> Result<usize, usize> {
        let among = match &self.heads {
            Some(heads) => heads.narrow(self.items.len(), &self.first, name),
            None => 0..self.items.len(),
        };
        let found = self.items[among.clone()].binary_search_by(|item| item.name().as_str().cmp(name));
        found.map(|i| among.start + i).map_err(|i| among.start + i)
    }

    /// Puts an item in its place. If this is full gives the run that now comes behind it; of the last one of all nothing
    /// is moved, so that what is written in order leaves full runs.
    pub(super) fn insert(&mut self, i: usize, item: T, is_last: bool) -> Option<Self> {
        if self.items.len() < FULL {
            self.put(i, item);
            return None;
        }
        let middle = if is_last && i == FULL { FULL } else { FULL / 2 };
        let mut rest = self.split_off(middle);
        if i > middle || middle == FULL {
            rest.put(i - middle, item);
        } else {
            self.put(i, item);
        }
        Some(rest)
    }

    fn put(&mut self, i: usize, item: T) {
        let (items, name) = (self.items.len(), item.name());
        self.begin(name);
        self.heads.take_if(|heads| !heads.cover(&self.first, name));
        if let Some(heads) = &mut self.heads {
            heads.insert(items, i, name);
        }
        if items == self.items.capacity() {
            self.items.reserve_exact((items / 4).max(1));
        }
        self.live += item.live();
        self.items.insert(i, item);
        if self.heads.is_none() && items + 1 >= HEADS {
            self.heads_make();
        }
    }

    /// Lets this begin with a name, if that is before all there is.
    pub(super) fn begin(&mut self, name: &SmolStr) {
        if self.items.is_empty() || *name < self.first {
            let before = std::mem::replace(&mut self.first, name.clone());
            if self.heads.as_ref().is_some_and(|heads| !heads.cover(&before, name)) {
                self.heads_make();
            }
        }
    }

    /// The item at a place has another name now, in the same order and not before the beginning.
    pub(super) fn rename(&mut self, i: usize) {
        if let Some(heads) = &mut self.heads {
            heads.set(i, self.items[i].name());
        }
    }

    pub(super) fn remove(&mut self, i: usize) {
        if let Some(heads) = &mut self.heads {
            heads.remove(self.items.len(), i);
        }
        self.live -= self.items.remove(i).live();
        if self.items.len() * 2 < self.items.capacity() {
            self.items.shrink_to_fit();
            if self.items.len() < HEADS {
                self.heads = None;
            }
        }
    }

    /// Takes the items from a place on away.
    fn split_off(&mut self, at: usize) -> Self {
        let mut rest = Self::of(self.items.split_off(at));
        self.items.shrink_to_fit();
        self.live -= rest.live;
        if !rest.items.is_empty() {
            rest.heads = self.heads.as_ref().map(|heads| Box::new(heads.split_off(at)));
        }
        for half in [self, &mut rest] {
            let last = half.items.last().map(Named::name);
            if half.heads.as_ref().zip(last).is_some_and(|(heads, last)| heads.is_loose(&half.first, last)) {
                half.heads_make();
            }
        }
        rest
    }

    fn heads_make(&mut self) {
        let names = self.items.iter().map(|item| item.name().as_str());
        self.heads = Some(Box::new(Heads::of(&self.first, names)));
    }
}
