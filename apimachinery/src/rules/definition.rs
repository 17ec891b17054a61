//! CustomResourceDefinitions. What they say is in [`crate::crd`].

use serde_json::Value;

use super::kind::Kind;
use super::{Part, WriteContext};
use crate::crd;
use crate::field::Errors;

pub(super) const CUSTOM_RESOURCE_DEFINITIONS: Kind = Kind {
    unconditional_update: false,
    counted_fields: &["spec"],
    default: crd::default_definition,
    prepare_create: |object, _| crd::prepare_definition(object, None),
    prepare_update,
    validate: |object, errors| crd::validate_definition(object, None, errors),
    validate_update: Some(validate_update),
    warnings: |new, _| crd::definition_warnings(new),
    ..Kind::PLAIN
};

fn prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    if context.part == Part::Main {
        crd::prepare_definition(new, Some(old));
    }
}

fn validate_update(new: &Value, old: &Value, context: &WriteContext<'_>, errors: &mut Errors) {
    if context.part == Part::Main {
        crd::validate_definition(new, Some(old), errors);
    } else {
        crd::validate_definition_status(new, errors);
    }
}
