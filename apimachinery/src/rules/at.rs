//! A place in an object: the value that stands there and how to say where it is.
//!
//! The path is only put into words when something is wrong, so that looking at a valid object allocates nothing.

use serde_json::{Map, Value};

use crate::field::{Errors, Path};

static NULL: Value = Value::Null;

/// A value of an object together with its path. A missing field is a place too: its value is `null`.
#[derive(Clone, Copy, Debug)]
pub struct At<'v, 'p> {
    value: &'v Value,
    step: Step<'v, 'p>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'v, 'p> {
    Root(&'p str),
    Field(&'p At<'v, 'p>, &'p str),
    Item(&'p At<'v, 'p>, usize),
    Entry(&'p At<'v, 'p>, &'p str),
}

impl<'v, 'p> At<'v, 'p> {
    /// The top of an object.
    pub fn root(object: &'v Value) -> Self {
        Self { value: object, step: Step::Root("") }
    }

    /// A value whose path is known as text.
    pub fn named(value: &'v Value, path: &'p str) -> Self {
        Self { value, step: Step::Root(path) }
    }

    /// The same place with another value (a part of it that the message is to show, or the old one).
    pub fn with_value<'w>(&self, value: &'w Value) -> At<'w, 'p>
    where
        'v: 'w,
    {
        At { value, step: self.step }
    }

    /// The value; `null` if there is none.
    pub fn value(&self) -> &'v Value {
        self.value
    }

    /// The field `name` of this object.
    pub fn field<'s>(&'s self, name: &'s str) -> At<'v, 's> {
        At { value: self.value.get(name).unwrap_or(&NULL), step: Step::Field(self, name) }
    }

    /// The item at `index` of this list.
    pub fn item<'s>(&'s self, index: usize) -> At<'v, 's> {
        At { value: self.value.get(index).unwrap_or(&NULL), step: Step::Item(self, index) }
    }

    /// The entry `key` of this map; its path is `map[key]`.
    pub fn entry<'s>(&'s self, key: &'s str) -> At<'v, 's> {
        At { value: self.value.get(key).unwrap_or(&NULL), step: Step::Entry(self, key) }
    }

    /// The items of this list, none if it is not there.
    pub fn items<'s>(&'s self) -> impl ExactSizeIterator<Item = At<'v, 's>> + DoubleEndedIterator {
        let list = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().enumerate().map(move |(i, value)| At { value, step: Step::Item(self, i) })
    }

    /// The entries of this map in the order of their keys, none if it is not there.
    pub fn entries<'s>(&'s self) -> impl Iterator<Item = (&'v str, At<'v, 's>)>
    where
        'v: 's,
    {
        let mut keys: Vec<&'v str> =
            self.value.as_object().map(|m| m.keys().map(String::as_str).collect()).unwrap_or_default();
        keys.sort_unstable();
        keys.into_iter()
            .map(move |key| (key, At { value: self.value.get(key).unwrap_or(&NULL), step: Step::Entry(self, key) }))
    }

    /// Whether there is a value here (`null` is none).
    pub fn exists(&self) -> bool {
        !self.value.is_null()
    }

    /// Whether this is nothing, or an empty string, list or map.
    pub fn is_empty(&self) -> bool {
        match self.value {
            Value::Null => true,
            Value::String(s) => s.is_empty(),
            Value::Array(a) => a.is_empty(),
            Value::Object(m) => m.is_empty(),
            _ => false,
        }
    }

    /// The text here, empty if there is none.
    pub fn str(&self) -> &'v str {
        self.value.as_str().unwrap_or_default()
    }

    /// The text here, if there is any value.
    pub fn opt_str(&self) -> Option<&'v str> {
        self.value.as_str()
    }

    /// The number here, zero if there is none.
    pub fn int(&self) -> i64 {
        self.value.as_i64().unwrap_or_default()
    }

    /// The number here.
    pub fn opt_int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// Whether `true` stands here.
    pub fn bool(&self) -> bool {
        self.value.as_bool().unwrap_or_default()
    }

    /// The map here.
    pub fn map(&self) -> Option<&'v Map<String, Value>> {
        self.value.as_object()
    }

    /// How many items the list or map here has.
    pub fn len(&self) -> usize {
        match self.value {
            Value::Array(a) => a.len(),
            Value::Object(m) => m.len(),
            _ => 0,
        }
    }

    /// Where this is.
    pub fn path(&self) -> Path {
        match self.step {
            Step::Root(path) => Path::new(path),
            Step::Field(parent, name) => parent.path().child(name),
            Step::Item(parent, index) => parent.path().index(index),
            Step::Entry(parent, key) => parent.path().key(key),
        }
    }

    /// There must be a value here.
    pub fn required(&self, errors: &mut Errors, detail: &str) {
        errors.required(&self.path(), detail);
    }

    /// The value here is not allowed.
    pub fn invalid(&self, errors: &mut Errors, detail: &str) {
        errors.invalid(&self.path(), self.value, detail);
    }

    /// The text here (empty if there is none) is not allowed.
    pub fn invalid_str(&self, errors: &mut Errors, detail: &str) {
        errors.invalid_str(&self.path(), self.str(), detail);
    }

    /// The number here (zero if there is none) is not allowed.
    pub fn invalid_int(&self, errors: &mut Errors, detail: &str) {
        errors.invalid(&self.path(), &self.int().into(), detail);
    }

    /// `text` (a part of what stands here) is not allowed.
    pub fn invalid_text(&self, errors: &mut Errors, text: &str, detail: &str) {
        errors.invalid_str(&self.path(), text, detail);
    }

    /// The text here is not allowed, for each of these reasons.
    pub fn invalid_each(&self, errors: &mut Errors, details: Vec<String>) {
        for detail in details {
            self.invalid_str(errors, &detail);
        }
    }

    /// The text here (empty if there is none) is none of `supported`, which should be sorted.
    pub fn not_supported(&self, errors: &mut Errors, supported: &[&str]) {
        errors.not_supported(&self.path(), &self.str().into(), supported);
    }

    /// The text here must be one of `supported`, which should be sorted.
    pub fn one_of(&self, errors: &mut Errors, supported: &[&str]) {
        if !supported.contains(&self.str()) {
            self.not_supported(errors, supported);
        }
    }

    /// As [`At::one_of`], and it must be there.
    pub fn required_one_of(&self, errors: &mut Errors, supported: &[&str], detail: &str) {
        if self.str().is_empty() {
            self.required(errors, detail);
        } else {
            self.one_of(errors, supported);
        }
    }

    /// This may not be set (or not so, or not now).
    pub fn forbidden(&self, errors: &mut Errors, detail: &str) {
        errors.forbidden(&self.path(), detail);
    }

    /// The value here stands somewhere before already.
    pub fn duplicate(&self, errors: &mut Errors) {
        errors.duplicate(&self.path(), self.value);
    }

    /// What the text here refers to does not exist.
    pub fn not_found(&self, errors: &mut Errors) {
        errors.not_found(&self.path(), &self.str().into());
    }

    /// The value here has more than `max` bytes.
    pub fn too_long(&self, errors: &mut Errors, max: usize) {
        errors.too_long(&self.path(), max);
    }

    /// There are more than `max` items here.
    pub fn too_many(&self, errors: &mut Errors, max: usize) {
        errors.too_many(&self.path(), self.len(), max);
    }

    /// The number here (zero if there is none) may not be below zero.
    pub fn non_negative(&self, errors: &mut Errors) {
        if self.int() < 0 {
            self.invalid_int(errors, "must be greater than or equal to 0");
        }
    }

    /// The number here (zero if there is none) must be above zero.
    pub fn positive(&self, errors: &mut Errors) {
        if self.int() <= 0 {
            self.invalid_int(errors, "must be greater than zero");
        }
    }

    /// There must be text here; then the reasons that `check` finds against it are reported.
    pub fn required_name(&self, errors: &mut Errors, check: fn(&str) -> Vec<String>) {
        if self.str().is_empty() {
            self.required(errors, "");
        } else {
            self.invalid_each(errors, check(self.str()));
        }
    }

    /// If there is text here, the reasons that `check` finds against it are reported.
    pub fn optional_name(&self, errors: &mut Errors, check: fn(&str) -> Vec<String>) {
        if !self.str().is_empty() {
            self.invalid_each(errors, check(self.str()));
        }
    }

    /// There must be text here.
    pub fn required_text(&self, errors: &mut Errors) {
        if self.str().is_empty() {
            self.required(errors, "");
        }
    }

    /// The value here may not differ from `old`, `null` and empty being the same.
    pub fn immutable(&self, errors: &mut Errors, old: &Value) {
        if !semantic_eq(self.value, old) {
            self.invalid(errors, "field is immutable");
        }
    }
}

/// Whether two values are the same to Kubernetes: `null`, absent and empty lists and maps do not differ.
pub fn semantic_eq(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(k, v)| semantic_eq(v, y.get(k).unwrap_or(&NULL)))
                && y.iter().all(|(k, v)| x.contains_key(k) || semantic_eq(&NULL, v))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(v, w)| semantic_eq(v, w)),
        (Value::Null, other) | (other, Value::Null) => match other {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        },
        _ => a == b,
    }
}
