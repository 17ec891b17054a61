//! Values seen through their schema: what is one piece, what is a map, what tells list items apart.
//!
//! Source: `sigs.k8s.io/structured-merge-diff/v6/typed` and `k8s.io/kube-openapi/pkg/schemaconv`, which decides what the
//! types of the API are to apply.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::fieldset::{FieldPath, FieldSet, PathElement, Scalar, show_path};
use crate::patch::{go_type, show_go};
use crate::schema::{ListKind, Schema, Struct, StructId, Type};

/// A value that does not fit its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", if .path.is_empty() { .message.clone() } else { format!("{}: {}", .path, .message) })]
pub(super) struct TypeError {
    pub(super) path: String,
    pub(super) message: String,
}

/// A type of a schema, or one that is deduced from the value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ty<'a> {
    Struct(StructId),
    Of(&'a Type),
    /// Unknown: maps are granular, lists atomic.
    Deduced,
    /// Unknown: one piece.
    Opaque,
}

/// What to do with a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form<'a> {
    Scalar(ScalarKind),
    List { item: Ty<'a>, kind: &'a ListKind },
    Map(MapForm<'a>),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct MapForm<'a> {
    fields: Option<&'a Struct>,
    element: Option<Ty<'a>>,
    pub(super) atomic: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScalarKind {
    Numeric,
    String,
    Boolean,
    Untyped,
}

const ATOMIC: &ListKind = &ListKind::Atomic;

impl<'a> MapForm<'a> {
    /// The type of an entry; none if the schema does not know it.
    pub(super) fn entry(&self, key: &str) -> Option<Ty<'a>> {
        self.fields.and_then(|s| s.field(key)).map(|f| Ty::Of(&f.ty)).or(self.element)
    }

    /// Whether an entry is a declared field.
    pub(super) fn declares(&self, key: &str) -> bool {
        self.fields.is_some_and(|s| s.field(key).is_some())
    }
}

impl Form<'_> {
    fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The form of a type by the type alone; none if only the value tells.
pub(super) fn form_of_type<'a>(schema: &'a Schema, ty: Ty<'a>) -> Option<Form<'a>> {
    let of_struct = |id: StructId| {
        let def = schema.get(id);
        // An object without fields is free-form.
        let open = def.preserve_unknown || (def.fields.is_empty() && def.additional.is_none());
        let element = def.additional.as_ref().map(Ty::Of).or(open.then_some(Ty::Deduced));
        Form::Map(MapForm { fields: Some(def), element, atomic: def.atomic })
    };
    Some(match ty {
        Ty::Struct(id) => of_struct(id),
        Ty::Deduced | Ty::Opaque => return None,
        Ty::Of(ty) => match ty {
            Type::Any | Type::RawExtension => return None,
            // Their OpenAPI schemas name no type.
            Type::StructOrBool(_) | Type::StructOrList(_) | Type::StructOrStrings(_) => return None,
            Type::Struct(id) => of_struct(*id),
            Type::String | Type::Bytes | Type::Duration => Form::Scalar(ScalarKind::String),
            Type::Bool => Form::Scalar(ScalarKind::Boolean),
            Type::Int32 | Type::Int64 | Type::Uint(_) | Type::Double => Form::Scalar(ScalarKind::Numeric),
            Type::Quantity | Type::IntOrString | Type::Time | Type::MicroTime => Form::Scalar(ScalarKind::Untyped),
            Type::FieldsV1 => Form::Map(MapForm { fields: None, element: Some(Ty::Deduced), atomic: false }),
            Type::List(list) => Form::List { item: Ty::Of(&list.item), kind: &list.kind },
            Type::Map(map) => {
                Form::Map(MapForm { fields: None, element: Some(Ty::Of(&map.value)), atomic: map.atomic })
            }
        },
    })
}

/// The form of a value of this type. Null fits every form: none then, if the type is unknown.
fn form<'a>(schema: &'a Schema, ty: Ty<'a>, value: Option<&Value>) -> Option<Form<'a>> {
    if let Some(form) = form_of_type(schema, ty) {
        return Some(form);
    }
    let opaque = matches!(ty, Ty::Opaque | Ty::Of(Type::RawExtension));
    Some(match value? {
        Value::Null => return None,
        Value::Array(_) => Form::List { item: Ty::Opaque, kind: ATOMIC },
        Value::Object(_) => {
            let element = if opaque { Ty::Opaque } else { Ty::Deduced };
            Form::Map(MapForm { fields: None, element: Some(element), atomic: opaque })
        }
        _ => Form::Scalar(ScalarKind::Untyped),
    })
}

/// The form of one value; what is null of an unknown type is one piece.
pub(super) fn form_of<'a>(schema: &'a Schema, ty: Ty<'a>, value: &Value) -> Form<'a> {
    form(schema, ty, Some(value)).unwrap_or(Form::Scalar(ScalarKind::Untyped))
}

/// The forms by which two values are looked at together: one, or both where an unknown type changed its form.
pub(super) fn forms_of<'a>(
    schema: &'a Schema,
    ty: Ty<'a>,
    left: Option<&Value>,
    right: Option<&Value>,
) -> (Option<Form<'a>>, Form<'a>) {
    let piece = Form::Scalar(ScalarKind::Untyped);
    match (form(schema, ty, left), form(schema, ty, right)) {
        (Some(l), Some(r)) if !l.same_kind(&r) => (Some(l), r),
        (_, Some(r)) => (None, r),
        (Some(l), None) => (None, l),
        (None, None) => (None, piece),
    }
}

/// What tells an item of a set or keyed list apart.
///
/// # Errors
/// A message, if nothing does.
pub(super) fn item_element(
    schema: &Schema,
    item_type: Ty<'_>,
    kind: &ListKind,
    item: &Value,
) -> Result<PathElement, String> {
    match kind {
        ListKind::Atomic => Err("invalid indexing of non-associative list".to_owned()),
        ListKind::Set => match item {
            Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
            Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
            Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
            scalar => Ok(PathElement::Value(Scalar(scalar.clone()))),
        },
        ListKind::Map(keys) => {
            let map = match item {
                Value::Object(map) => map,
                Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
                _ => return Err("associative list with keys may not have non-map elements".to_owned()),
            };
            let default = |key: &str| match form_of_type(schema, item_type) {
                Some(Form::Map(MapForm { fields: Some(def), .. })) => def.field(key).and_then(|f| f.default.clone()),
                _ => None,
            };
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                if let Some(value) = map.get(key.as_str()).cloned().or_else(|| default(key)) {
                    found.push((key.clone(), Scalar(value)));
                }
            }
            if found.is_empty() {
                let names: Vec<String> = keys.iter().map(|k| crate::field::quote(k)).collect();
                return Err(format!(
                    "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                    names.join(" ")
                ));
            }
            found.sort();
            Ok(PathElement::Key(found))
        }
    }
}

/// Finds what in a value does not fit its type. Of the fields that a map may not have, one is named.
pub(super) fn check(
    schema: &Schema,
    ty: Ty<'_>,
    value: &Value,
    allow_duplicates: bool,
    path: &mut FieldPath,
    errors: &mut Vec<TypeError>,
) {
    let error = |path: &FieldPath, message: String| TypeError { path: show_path(path), message };
    if value.is_null() {
        return;
    }
    match (form_of(schema, ty, value), value) {
        (Form::Scalar(kind), value) => {
            if let Err(message) = check_scalar(kind, value) {
                errors.push(error(path, message));
            }
        }
        (Form::List { item, kind }, Value::Array(items)) => {
            let mut seen = BTreeSet::new();
            for (i, value) in items.iter().enumerate() {
                let element = match kind {
                    ListKind::Atomic => PathElement::Index(i64::try_from(i).unwrap_or(i64::MAX)),
                    kind => match item_element(schema, item, kind, value) {
                        Ok(element) => element,
                        Err(message) => {
                            errors.push(error(path, format!("element {i}: {message}")));
                            return;
                        }
                    },
                };
                if !matches!(kind, ListKind::Atomic) && !allow_duplicates && !seen.insert(element.clone()) {
                    errors.push(error(path, format!("duplicate entries for key {element}")));
                }
                path.push(element);
                check(schema, item, value, allow_duplicates, path, errors);
                path.pop();
            }
        }
        (Form::List { .. }, other) => errors.push(error(path, format!("expected list, got &{{{}}}", show_go(other)))),
        (Form::Map(form), Value::Object(map)) => {
            for (key, value) in map {
                path.push(PathElement::Field(key.as_str().into()));
                match form.entry(key) {
                    Some(ty) => check(schema, ty, value, allow_duplicates, path, errors),
                    None => errors.push(error(path, "field not declared in schema".to_owned())),
                }
                path.pop();
                if form.entry(key).is_none() {
                    break;
                }
            }
        }
        (Form::Map(_), other) => errors.push(error(path, format!("expected map, got &{{{}}}", show_go(other)))),
    }
}

fn check_scalar(kind: ScalarKind, value: &Value) -> Result<(), String> {
    let fits = match kind {
        ScalarKind::Numeric => value.is_number(),
        ScalarKind::String => value.is_string(),
        ScalarKind::Boolean => value.is_boolean(),
        ScalarKind::Untyped => !value.is_array() && !value.is_object(),
    };
    if fits {
        return Ok(());
    }
    Err(match kind {
        ScalarKind::Numeric => format!("expected numeric (int or float), got {}", go_type(value)),
        ScalarKind::String => {
            format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(value))
        }
        ScalarKind::Boolean => format!("expected boolean, got &{{{}}}", show_go(value)),
        ScalarKind::Untyped => format!("expected any scalar, got &{{{}}}", show_go(value)),
    })
}

/// A value as Go's `%#v` writes it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(s) => crate::field::quote(s),
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(go_syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(k, v)| format!("{}:{}", crate::field::quote(k), go_syntax(v))).collect();
            format!("map[string]interface {{}}{{{}}}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

/// Every leaf field and list item that a value mentions.
pub(super) fn field_set(schema: &Schema, ty: Ty<'_>, value: &Value) -> Result<FieldSet, TypeError> {
    let mut set = FieldSet::default();
    collect_fields(schema, ty, value, &mut Vec::new(), &mut set)?;
    Ok(set)
}

fn collect_fields(
    schema: &Schema,
    ty: Ty<'_>,
    value: &Value,
    path: &mut FieldPath,
    set: &mut FieldSet,
) -> Result<(), TypeError> {
    match form_of(schema, ty, value) {
        Form::Scalar(_) | Form::List { kind: ListKind::Atomic, .. } | Form::Map(MapForm { atomic: true, .. }) => {
            set.insert(path);
        }
        Form::List { item, kind } => {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let elements = item_elements(schema, item, kind, items, path)?;
            let mut times: BTreeMap<&PathElement, usize> = BTreeMap::new();
            for element in &elements {
                *times.entry(element).or_default() += 1;
            }
            for (element, value) in elements.iter().zip(items) {
                path.push(element.clone());
                set.insert(path);
                // Of items that stand there more than once only the item itself is owned.
                if times.get(element) == Some(&1) {
                    collect_fields(schema, item, value, path, set)?;
                }
                path.pop();
            }
        }
        Form::Map(form) => {
            for (key, value) in value.as_object().into_iter().flatten() {
                path.push(PathElement::Field(key.as_str().into()));
                collect_fields(schema, form.entry(key).unwrap_or(Ty::Deduced), value, path, set)?;
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if empty || !form.declares(key) {
                    set.insert(path);
                }
                path.pop();
            }
        }
    }
    Ok(())
}

/// What tells the items of a list apart, in their order.
pub(super) fn item_elements(
    schema: &Schema,
    item: Ty<'_>,
    kind: &ListKind,
    items: &[Value],
    path: &FieldPath,
) -> Result<Vec<PathElement>, TypeError> {
    let element = |(i, value): (usize, &Value)| {
        item_element(schema, item, kind, value)
            .map_err(|message| TypeError { path: show_path(path), message: format!("element {i}: {message}") })
    };
    items.iter().enumerate().map(element).collect()
}

/// The set with every declared field that leads to a member made a member too.
pub(super) fn with_named_fields(schema: &Schema, ty: Option<Ty<'_>>, set: &FieldSet) -> FieldSet {
    let form = ty.and_then(|ty| form_of_type(schema, ty));
    let mut out = FieldSet::default();
    for (element, member, children) in set.steps() {
        let (named, below) = match (&form, element) {
            (Some(Form::Map(form)), PathElement::Field(name)) => (form.declares(name), form.entry(name)),
            (Some(Form::List { item, .. }), PathElement::Key(_)) => (false, Some(*item)),
            (None, PathElement::Field(_)) => (false, ty),
            _ => (false, None),
        };
        let member = member || (named && !children.is_empty());
        out.insert_step(element.clone(), member, with_named_fields(schema, below, children));
    }
    out
}

/// The set after lists and maps that were granular when it was recorded have become atomic: their owner owns the whole.
pub(super) fn reconciled(schema: &Schema, ty: Ty<'_>, set: FieldSet) -> FieldSet {
    let mut coarse = FieldSet::default();
    find_coarse(schema, ty, &set, &mut Vec::new(), &mut coarse);
    if coarse.is_empty() { set } else { set.recursive_difference(&coarse).union(&coarse) }
}

fn find_coarse(schema: &Schema, ty: Ty<'_>, set: &FieldSet, path: &mut FieldPath, coarse: &mut FieldSet) {
    let opaque = matches!(ty, Ty::Opaque | Ty::Of(Type::RawExtension));
    let form = form_of_type(schema, ty);
    let atomic = match &form {
        Some(Form::List { kind: ListKind::Atomic, .. }) => true,
        Some(Form::Map(form)) => form.atomic,
        None => opaque,
        _ => false,
    };
    if atomic {
        if !set.is_empty() {
            coarse.insert(path);
        }
        return;
    }
    for (element, _, children) in set.steps() {
        let below = match (&form, element) {
            (Some(Form::Map(form)), PathElement::Field(name)) => form.entry(name),
            (Some(Form::List { item, .. }), _) => Some(*item),
            _ => None,
        };
        if let Some(below) = below {
            path.push(element.clone());
            find_coarse(schema, below, children, path, coarse);
            path.pop();
        }
    }
}
