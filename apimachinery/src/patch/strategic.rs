//! Strategic merge patch: a merge patch that knows from the schema which lists merge and by which key.
//!
//! A patch may hold directives beside its fields: `$patch: replace | delete | merge` in a map or list item,
//! `$retainKeys: [...]`, `$deleteFromPrimitiveList/<field>: [...]` and `$setElementOrder/<field>: [...]`.
//! Semantics and wording follow `k8s.io/apimachinery/pkg/util/strategicpatch`.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::merge::drop_nulls;
use super::{go_type, json_kind, show_go};
use crate::field::quote;
use crate::schema::{Field, KindSchema, PatchStrategy, Schema, Type};
use crate::status::ApiError;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";

type Object = Map<String, Value>;

/// Merges a patch into an object of a built-in kind.
///
/// # Errors
/// 400 if the patch is no JSON object or a directive has the wrong shape, 422 for lists of lists; for what else does not
/// fit, such as a list item without its merge key, 500 without a reason, as the stock server has it.
pub fn apply(kind: &KindSchema, object: Value, patch: Value) -> Result<Value, ApiError> {
    let Value::Object(patch) = patch else {
        if patch.is_null() {
            return Ok(object);
        }
        return Err(ApiError::bad_request(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            json_kind(&patch)
        )));
    };
    let Value::Object(object) = object else {
        return Err(ApiError::internal("the object to patch is no JSON object"));
    };
    let context = Context { schema: &kind.schema, ty: Some(Type::Struct(kind.root)) };
    Ok(Value::Object(merge_map(object, patch, &context)?))
}

/// Where in the schema the merge is. No type: below a field that the patch metadata does not describe.
struct Context<'a> {
    schema: &'a Schema,
    ty: Option<Type>,
}

impl<'a> Context<'a> {
    /// The field of a struct that is to be merged into, with the context of its value, or of its items if it is a list.
    fn field(&self, name: &str) -> Result<(&'a Field, Self), ApiError> {
        let Some(Type::Struct(id)) = &self.ty else {
            return Err(failed(format!(
                "merging an object in json but data type is not struct, instead is: {}",
                self.go_kind()
            )));
        };
        let def = self.schema.get(*id);
        let Some(field) = def.field(name) else {
            let go_name = def.name.rsplit('.').next().unwrap_or_default();
            return Err(failed(format!(
                "unable to find api field in struct {go_name} for the json field {}",
                quote(name)
            )));
        };
        let ty = match &field.ty {
            Type::List(list) => list.item.clone(),
            other => other.clone(),
        };
        Ok((field, Context { schema: self.schema, ty: Some(ty) }))
    }

    fn go_kind(&self) -> &'static str {
        match &self.ty {
            Some(Type::Map(_)) => "map",
            Some(Type::List(_) | Type::Bytes) => "slice",
            Some(Type::String) => "string",
            Some(Type::Bool) => "bool",
            Some(Type::Int32) => "int32",
            Some(Type::Int64) => "int64",
            _ => "struct",
        }
    }
}

/// The stock server answers 500 with the bare message to what it did not foresee.
fn failed(message: impl Into<String>) -> ApiError {
    ApiError::new(500, "", message)
}

fn bad_format(of: &str) -> ApiError {
    ApiError::bad_request(format!("invalid patch format of {of}"))
}

fn no_merge_key(item: &Object, key: &str) -> ApiError {
    let item = show_go(&Value::Object(item.clone()));
    failed(format!("map: {item} does not contain declared merge key: {key}"))
}

fn bad_argument(expected: &str, got: &Value) -> ApiError {
    let got = if got.is_null() { "%!s(<nil>)" } else { go_type(got) };
    failed(format!("expected a {expected}, but received a {got}"))
}

fn unknown_directive(directive: &Value, holder: &Object) -> ApiError {
    let holder = show_go(&Value::Object(holder.clone()));
    let shown = match directive {
        Value::Number(n) if n.is_f64() => format!("%!s(float64={n})"),
        Value::Number(n) => format!("%!s(int64={n})"),
        Value::Bool(b) => format!("%!s(bool={b})"),
        other => show_go(other),
    };
    failed(format!("unknown patch type: {shown} in map: {holder}"))
}

fn merge_map(mut original: Object, mut patch: Object, context: &Context<'_>) -> Result<Object, ApiError> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                Ok(patch)
            }
            Some("delete") => Ok(Object::new()),
            _ => Err(unknown_directive(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    merge_ordered_lists(&mut original, &mut patch, context)?;
    for (key, value) in patch {
        let (key, deletes) = match key.strip_prefix(DELETE_FROM_LIST) {
            Some(rest) => (rest.strip_prefix('/').ok_or_else(|| bad_format("primitive list"))?.to_owned(), true),
            None => (key, false),
        };
        if value.is_null() {
            original.remove(&key);
            continue;
        }
        let merged = match (original.remove(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                let (field, inner) = context.field(&key)?;
                if field.patch.replace { Value::Object(new) } else { Value::Object(merge_map(old, new, &inner)?) }
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let (field, inner) = context.field(&key)?;
                Value::Array(merge_list_field(old, new, field, &inner, deletes)?)
            }
            (Some(old), _) if deletes => old,
            (None, _) if deletes => continue,
            (_, mut new) => {
                drop_nulls(&mut new);
                if !drop_directives(&mut new) {
                    continue;
                }
                new
            }
        };
        original.insert(key, merged);
    }
    Ok(original)
}

/// `$retainKeys`: of the original only these keys stay, and the patch may set no others.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), ApiError> {
    let Some(list) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(list) = list else { return Err(bad_format("retainKeys")) };
    let retained: HashSet<&str> = list.iter().filter_map(Value::as_str).collect();
    for (key, value) in patch.iter() {
        let directive = key.starts_with(DELETE_FROM_LIST) || key.starts_with(ELEMENT_ORDER);
        if !value.is_null() && !directive && !retained.contains(key.as_str()) {
            return Err(bad_format("retainKeys"));
        }
    }
    original.retain(|key, _| retained.contains(key.as_str()));
    Ok(())
}

/// `$setElementOrder/<field>`: merges the list it is about and orders it; the list then is done with.
fn merge_ordered_lists(original: &mut Object, patch: &mut Object, context: &Context<'_>) -> Result<(), ApiError> {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let order = match patch.remove(&directive) {
            Some(Value::Array(order)) => order,
            Some(other) => return Err(bad_argument("[]interface {}", &other)),
            None => continue,
        };
        let key = directive
            .strip_prefix(ELEMENT_ORDER)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(|| bad_format("setElementOrder list"))?;
        let list_of = |value: Option<&Value>| match value {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items.clone())),
            Some(other) => Err(bad_argument("[]interface {}", other)),
        };
        let old = list_of(original.get(key))?;
        let new = list_of(patch.get(key))?;
        let (field, inner) = context.field(key)?;
        let merge_key = field.merge_key.as_deref().unwrap_or_default();
        check_order(new.as_deref().unwrap_or_default(), &order, merge_key)?;
        let merged = match (&old, &new) {
            (None, None) => continue,
            (Some(old), None) => old.clone(),
            (None, Some(new)) => {
                let mut new = Value::Array(new.clone());
                drop_directives(&mut new);
                match new {
                    Value::Array(items) => items,
                    _ => Vec::new(),
                }
            }
            (Some(old), Some(new)) => merge_list_field(old.clone(), new.clone(), field, &inner, false)?,
        };
        let old = old.unwrap_or_default();
        let maps = items_are_maps(&[&old, new.as_deref().unwrap_or_default()])?;
        let merged = order_items(merged, &order, &old, merge_key, maps)?;
        original.insert(key.to_owned(), Value::Array(merged));
        patch.remove(key);
    }
    Ok(())
}

/// The items of the patch must stand in the order list, in the same order.
fn check_order(patch: &[Value], order: &[Value], merge_key: &str) -> Result<(), ApiError> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut left = order.iter();
    for item in patch {
        if item.get(DIRECTIVE).is_some() {
            continue;
        }
        let wanted = identity(item, merge_key)?;
        let mut found = false;
        for candidate in left.by_ref() {
            if identity(candidate, merge_key)? == wanted {
                found = true;
                break;
            }
        }
        if !found {
            let shown = |items: &[Value]| show_go(&Value::Array(items.to_vec()));
            return Err(failed(format!(
                "The order in patch list:\n{}\n doesn't match {ELEMENT_ORDER} list:\n{}\n",
                shown(patch),
                shown(order)
            )));
        }
    }
    Ok(())
}

fn merge_list_field(
    old: Vec<Value>,
    new: Vec<Value>,
    field: &Field,
    context: &Context<'_>,
    deletes: bool,
) -> Result<Vec<Value>, ApiError> {
    let PatchStrategy { merge, .. } = field.patch;
    if !merge && !deletes {
        return Ok(new);
    }
    if old.is_empty() && new.is_empty() {
        return Ok(old);
    }
    let merge_key = field.merge_key.as_deref().unwrap_or_default();
    if !items_are_maps(&[&old, &new])? {
        if deletes {
            let gone: HashSet<String> = new.iter().map(Value::to_string).collect();
            return Ok(old.into_iter().filter(|v| !gone.contains(&v.to_string())).collect());
        }
        let mut seen = HashSet::new();
        let both: Vec<Value> = old.iter().chain(&new).filter(|v| seen.insert(v.to_string())).cloned().collect();
        return order_items(both, &new, &old, merge_key, false);
    }
    if merge_key.is_empty() {
        return Err(failed(format!("cannot merge lists without merge key for {}", context.go_kind())));
    }
    let (mut merged, patch) = apply_item_directives(old, new, merge_key)?;
    let live_order = merged.clone();
    let mut places = HashMap::new();
    for (i, item) in merged.iter().enumerate() {
        if let Some(key) = item.get(merge_key) {
            places.entry(key.to_string()).or_insert(i);
        }
    }
    for item in &patch {
        let Value::Object(map) = item else { continue };
        let key = map.get(merge_key).ok_or_else(|| no_merge_key(map, merge_key))?.to_string();
        match places.get(&key) {
            Some(&place) => {
                let old = std::mem::take(&mut merged[place]);
                let Value::Object(old) = old else { continue };
                merged[place] = Value::Object(merge_map(old, map.clone(), context)?);
            }
            None => {
                places.insert(key, merged.len());
                merged.push(item.clone());
            }
        }
    }
    order_items(merged, &patch, &live_order, merge_key, true)
}

/// Obeys `$patch` in list items: `delete` removes the items with that key, `replace` makes the rest of the patch the list.
/// Returns what is left of the original and of the patch.
fn apply_item_directives(
    mut old: Vec<Value>,
    new: Vec<Value>,
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>), ApiError> {
    let mut patch = Vec::new();
    let mut replace = false;
    for item in new {
        let Value::Object(map) = &item else { continue };
        let Some(directive) = map.get(DIRECTIVE) else {
            patch.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let key = map.get(merge_key).ok_or_else(|| no_merge_key(map, merge_key))?;
                old.retain(|o| o.get(merge_key) != Some(key));
            }
            Some("replace") => replace = true,
            Some("merge") => return Err(failed("merging lists cannot yet be specified in the patch")),
            _ => return Err(unknown_directive(directive, map)),
        }
    }
    Ok(if replace { (patch, Vec::new()) } else { (old, patch) })
}

/// Orders a merged list: items that the patch names stand in its order, the others in that of the live list, and the two
/// are interleaved by the live list as far as it tells.
fn order_items(
    merged: Vec<Value>,
    patch_order: &[Value],
    live_order: &[Value],
    merge_key: &str,
    maps: bool,
) -> Result<Vec<Value>, ApiError> {
    let merge_key = if maps { merge_key } else { "" };
    let places = |order: &[Value]| {
        let mut places = HashMap::new();
        for (i, item) in order.iter().enumerate() {
            places.entry(identity(item, merge_key)?).or_insert(i);
        }
        Ok::<_, ApiError>(places)
    };
    let (in_patch, in_live) = (places(patch_order)?, places(live_order)?);
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for item in merged {
        let key = identity(&item, merge_key)?;
        match in_patch.get(&key) {
            Some(&place) => named.push((place, in_live.get(&key).copied(), item)),
            None => others.push((in_live.get(&key).copied(), item)),
        }
    }
    named.sort_by_key(|(place, ..)| *place);
    others.sort_by_key(|(place, _)| place.unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, live, item) in named {
        while let Some((Some(other), _)) = others.peek()
            && live.is_some_and(|live| *other < live)
        {
            out.extend(others.next().map(|(_, item)| item));
        }
        out.push(item);
    }
    out.extend(others.map(|(_, item)| item));
    Ok(out)
}

/// What tells an item of a list apart: the value of its merge key, or itself.
fn identity(item: &Value, merge_key: &str) -> Result<String, ApiError> {
    if merge_key.is_empty() {
        return Ok(item.to_string());
    }
    let map = item.as_object().ok_or_else(|| bad_argument("map[string]interface {}", item))?;
    map.get(merge_key).map(Value::to_string).ok_or_else(|| no_merge_key(map, merge_key))
}

/// Whether the items of these lists are objects. All must be of one type, and none a list.
fn items_are_maps(lists: &[&[Value]]) -> Result<bool, ApiError> {
    let kind = |v: &Value| match v {
        Value::Number(n) if n.is_f64() => "float",
        other => json_kind(other),
    };
    let mut all = lists.iter().flat_map(|l| l.iter());
    let Some(first) = all.next() else { return Err(failed("no elements in any of the given slices")) };
    if first.is_array() {
        let mut error = ApiError::new(422, "Invalid", "the server rejected our request due to an error in our request");
        error.empty_details = true;
        return Err(error);
    }
    if all.any(|v| kind(v) != kind(first)) {
        let shown: Vec<String> = lists.iter().map(|l| show_go(&Value::Array(l.to_vec()))).collect();
        return Err(failed(format!("list element types are not identical: [{}]", shown.join(" "))));
    }
    Ok(first.is_object())
}

/// Takes directives out of a value that is new to the object. Returns whether the value itself stays.
fn drop_directives(value: &mut Value) -> bool {
    match value {
        Value::Object(map) => {
            if map.contains_key(DIRECTIVE) {
                return false;
            }
            map.retain(|_, v| drop_directives(v));
            true
        }
        Value::Array(items) => {
            items.retain_mut(drop_directives);
            true
        }
        _ => true,
    }
}
