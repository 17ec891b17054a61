//! JSON patch, RFC 6902, with the liberties that the stock server takes: a negative index counts from the end, `replace`
//! of an object's missing key adds it, and a patch of the whole document can only replace or test it.
//!
//! Not the `json-patch` crate: that follows the RFC, and clients can see where the stock server does not.

use serde_json::Value;

use super::json_kind;
use crate::status::ApiError;

/// How many operations a patch may have.
pub const MAX_OPERATIONS: usize = 10_000;
/// How many bytes all `copy` operations of a patch may add.
pub const MAX_COPIED_BYTES: usize = 3 * 1024 * 1024;

const FIELDS: [&str; 4] = ["op", "path", "from", "value"];

/// An operation does not apply. The stock server tells clients no more than that.
struct Refused;

/// Applies a patch.
///
/// # Errors
/// 400 if the patch is no list of operations, 413 if it has more than [`MAX_OPERATIONS`], 422 if one does not apply.
pub fn apply(mut object: Value, patch: &Value) -> Result<Value, ApiError> {
    let operations = match patch {
        Value::Null => return Ok(object),
        Value::Array(operations) => operations,
        other => return Err(undecodable(other, "[]handlers.jsonPatchOp")),
    };
    for operation in operations {
        let Some(map) = operation.as_object() else {
            return Err(undecodable(operation, "handlers.jsonPatchOp"));
        };
        for name in ["op", "path", "from"] {
            if let Some(value) = map.get(name).filter(|v| !v.is_string() && !v.is_null()) {
                return Err(ApiError::bad_request(format!(
                    "error decoding patch: json: cannot unmarshal {} into Go struct field jsonPatchOp.{name} of type string",
                    json_kind(value)
                )));
            }
        }
    }
    if operations.len() > MAX_OPERATIONS {
        return Err(ApiError::too_large(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut copied = 0;
    for operation in operations {
        run(&mut object, operation, &mut copied).map_err(|Refused| refused())?;
    }
    Ok(object)
}

/// The fields of operations that JSON patch does not know, as strict field validation reports them.
pub fn unknown_fields(patch: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (i, operation) in patch.as_array().into_iter().flatten().enumerate() {
        for key in operation.as_object().into_iter().flat_map(|o| o.keys()) {
            if !FIELDS.contains(&key.as_str()) {
                found.push(format!("json patch unknown field \"[{i}].{key}\""));
            }
        }
    }
    found
}

fn undecodable(value: &Value, target: &str) -> ApiError {
    let kind = json_kind(value);
    ApiError::bad_request(format!("error decoding patch: json: cannot unmarshal {kind} into Go value of type {target}"))
}

fn refused() -> ApiError {
    let mut error = ApiError::new(422, "Invalid", "the server rejected our request due to an error in our request");
    error.empty_details = true;
    error
}

fn run(object: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), Refused> {
    let text = |key: &str| operation.get(key).and_then(Value::as_str);
    let value = || operation.get("value").cloned().unwrap_or_default();
    let path = text("path").ok_or(Refused)?;
    match text("op").ok_or(Refused)? {
        "add" => add(object, path, value()),
        "remove" => remove(object, path).map(drop),
        "replace" if path.is_empty() => {
            let value = value();
            if !value.is_object() && !value.is_array() {
                return Err(Refused);
            }
            *object = value;
            Ok(())
        }
        "replace" => replace(object, path, value()),
        "test" => {
            let wanted = value();
            let same =
                if path.is_empty() { *object == wanted } else { get(object, path)?.unwrap_or(&Value::Null) == &wanted };
            if same { Ok(()) } else { Err(Refused) }
        }
        "move" => {
            let moved = remove(object, text("from").ok_or(Refused)?)?;
            add(object, path, moved)
        }
        "copy" => {
            let value = get(object, text("from").ok_or(Refused)?)?.cloned().unwrap_or_default();
            *copied += value.to_string().len();
            if *copied > MAX_COPIED_BYTES {
                return Err(Refused);
            }
            add(object, path, value)
        }
        _ => Err(Refused),
    }
}

/// Splits a pointer into its decoded keys. What stands before the first `/` is not looked at.
fn keys(path: &str) -> Result<(Vec<String>, String), Refused> {
    let decode = |key: &str| key.replace("~1", "/").replace("~0", "~");
    let mut keys: Vec<String> = path.split('/').skip(1).map(decode).collect();
    let last = keys.pop().ok_or(Refused)?;
    Ok((keys, last))
}

/// An index into a list of `len` items; `-1` is the last one.
fn index(key: &str, len: usize) -> Result<usize, Refused> {
    let n: i64 = key.parse().map_err(|_| Refused)?;
    let len = i64::try_from(len).map_err(|_| Refused)?;
    let n = if n < 0 { n + len } else { n };
    if (0..len).contains(&n) { usize::try_from(n).map_err(|_| Refused) } else { Err(Refused) }
}

fn parent<'a>(object: &'a mut Value, keys: &[String]) -> Result<&'a mut Value, Refused> {
    let mut at = object;
    for key in keys {
        at = match at {
            Value::Object(map) => map.get_mut(key).ok_or(Refused)?,
            Value::Array(items) => {
                let i = index(key, items.len())?;
                &mut items[i]
            }
            _ => return Err(Refused),
        };
    }
    Ok(at)
}

/// The value at a path; `None` if its parent is an object without that key.
fn get<'a>(object: &'a Value, path: &str) -> Result<Option<&'a Value>, Refused> {
    let (keys, last) = keys(path)?;
    let mut at = object;
    for key in &keys {
        at = match at {
            Value::Object(map) => map.get(key).ok_or(Refused)?,
            Value::Array(items) => &items[index(key, items.len())?],
            _ => return Err(Refused),
        };
    }
    match at {
        Value::Object(map) => Ok(map.get(&last)),
        Value::Array(items) => Ok(Some(&items[index(&last, items.len())?])),
        _ => Err(Refused),
    }
}

fn add(object: &mut Value, path: &str, value: Value) -> Result<(), Refused> {
    let (keys, last) = keys(path)?;
    match parent(object, &keys)? {
        Value::Object(map) => {
            map.insert(last, value);
        }
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            let i = index(&last, items.len() + 1)?;
            items.insert(i, value);
        }
        _ => return Err(Refused),
    }
    Ok(())
}

fn remove(object: &mut Value, path: &str) -> Result<Value, Refused> {
    let (keys, last) = keys(path)?;
    match parent(object, &keys)? {
        Value::Object(map) => map.remove(&last).ok_or(Refused),
        Value::Array(items) => {
            let i = index(&last, items.len())?;
            Ok(items.remove(i))
        }
        _ => Err(Refused),
    }
}

fn replace(object: &mut Value, path: &str, value: Value) -> Result<(), Refused> {
    let (keys, last) = keys(path)?;
    match parent(object, &keys)? {
        Value::Object(map) => {
            map.insert(last, value);
        }
        Value::Array(items) => {
            let i = index(&last, items.len())?;
            items[i] = value;
        }
        _ => return Err(Refused),
    }
    Ok(())
}
