//! What the rules of a built-in kind consist of.

use std::borrow::Cow;

use serde_json::Value;

use super::select::{self, Selectable};
use super::{DefaultPropagation, NameRule, Rules, WriteContext};
use crate::field::Errors;

/// The rules of a built-in kind. What most kinds share is in [`Kind::PLAIN`].
pub(super) struct Kind {
    pub(super) name_rule: NameRule,
    pub(super) create_on_update: bool,
    pub(super) unconditional_update: bool,
    pub(super) returns_deleted: bool,
    pub(super) status_on_create: bool,
    pub(super) propagation: DefaultPropagation,
    pub(super) counted_fields: &'static [&'static str],
    pub(super) selectable: Option<&'static Selectable>,
    pub(super) default: fn(&mut Value),
    pub(super) prepare_create: fn(&mut Value, &WriteContext<'_>),
    pub(super) prepare_update: fn(&mut Value, &Value, &WriteContext<'_>),
    pub(super) validate: fn(&Value, &mut Errors),
    /// Without one, a changed object is looked at as a new one.
    pub(super) validate_update: Option<fn(&Value, &Value, &WriteContext<'_>, &mut Errors)>,
    pub(super) warnings: fn(&Value, Option<&Value>) -> Vec<String>,
}

impl Kind {
    pub(super) const PLAIN: Self = Self {
        name_rule: NameRule::Subdomain,
        create_on_update: false,
        unconditional_update: true,
        returns_deleted: false,
        status_on_create: false,
        propagation: DefaultPropagation::Background,
        counted_fields: &[],
        selectable: None,
        default: |_| {},
        prepare_create: |_, _| {},
        prepare_update: |_, _, _| {},
        validate: |_, _| {},
        validate_update: None,
        warnings: |_, _| Vec::new(),
    };

    /// Kinds with a `spec` whose changes are counted.
    pub(super) const WITH_SPEC: Self = Self { counted_fields: &["spec"], ..Self::PLAIN };

    /// Kinds that must be updated with the `resourceVersion` that was read.
    pub(super) const CONDITIONAL: Self = Self { unconditional_update: false, ..Self::PLAIN };

    pub(super) const DELETED_RETURNED: Self = Self { returns_deleted: true, ..Self::PLAIN };
}

impl Rules for Kind {
    fn name_rule(&self) -> NameRule {
        self.name_rule
    }

    fn default(&self, object: &mut Value) {
        (self.default)(object);
    }

    fn prepare_create(&self, object: &mut Value, context: &WriteContext<'_>) {
        (self.prepare_create)(object, context);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, context: &WriteContext<'_>) {
        (self.prepare_update)(new, old, context);
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        (self.validate)(object, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, context: &WriteContext<'_>, errors: &mut Errors) {
        match self.validate_update {
            Some(validate_update) => validate_update(new, old, context, errors),
            None => (self.validate)(new, errors),
        }
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        (self.warnings)(new, old)
    }

    fn selectable_fields<'a>(&self, object: &'a Value) -> Vec<(&'static str, Cow<'a, str>)> {
        self.selectable.map(|s| s.read(object)).unwrap_or_default()
    }

    fn field_label<'a>(&self, label: &'a str) -> Result<&'a str, String> {
        match self.selectable {
            Some(selectable) => selectable.label(label),
            None => select::metadata_only(label),
        }
    }

    fn status_on_create(&self) -> bool {
        self.status_on_create
    }

    fn create_on_update(&self) -> bool {
        self.create_on_update
    }

    fn unconditional_update(&self) -> bool {
        self.unconditional_update
    }

    fn returns_deleted(&self) -> bool {
        self.returns_deleted
    }

    fn default_propagation(&self) -> DefaultPropagation {
        self.propagation
    }

    fn counted_fields(&self) -> &'static [&'static str] {
        self.counted_fields
    }
}
