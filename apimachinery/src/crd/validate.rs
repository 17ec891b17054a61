//! Validation of values against a schema, with the messages of the stock server.
//!
//! Source of order and wording: `k8s.io/kube-openapi/pkg/validation/{validate,errors}`; of ratcheting KEP-4008: what did
//! not change in an update is not complained about.

use serde_json::{Map, Value};

use super::format;
use super::node::{Additional, Kind, Node, Rules};
use crate::field::{Error, ErrorType, Errors, Path, quote, show};
use crate::patch::show_go_float;
use crate::schema::ListKind;

/// Validates a value at `path`; against `old` only what changed is looked at.
pub(super) fn validate(value: &Value, old: Option<&Value>, schema: &Node, path: &Path, errors: &mut Errors) {
    let result = Walk { base: path.clone() }.value(value, old, schema, "");
    errors.0.extend(result.errors);
}

/// Errors so far, and how many checks went well: of several alternatives the one that fits best is complained about.
#[derive(Default)]
struct Outcome {
    errors: Vec<Error>,
    matches: usize,
}

impl Outcome {
    fn merge(&mut self, other: Self) {
        for error in other.errors {
            self.add(error);
        }
        self.matches += other.matches;
    }

    fn add(&mut self, error: Error) {
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn valid(&self) -> bool {
        self.errors.is_empty()
    }
}

struct Walk {
    base: Path,
}

impl Walk {
    /// The error of one field; `path` is where it is below the base, as messages name it.
    fn error(&self, kind: ErrorType, path: &str, body: String) -> Error {
        let path = path.strip_prefix('.').unwrap_or(path);
        let field = match (self.base.as_str(), path) {
            ("", path) => path.to_owned(),
            (base, "") => base.to_owned(),
            (base, path) => format!("{base}.{path}"),
        };
        // The stock server has no path for the object as a whole and prints it as Go prints nil.
        let field = if field.is_empty() { "<nil>".to_owned() } else { field };
        Error { kind, field, body }
    }

    fn invalid(&self, path: &str, value: &Value, says: &str) -> Error {
        self.error(ErrorType::Invalid, path, format!("Invalid value: {}: {path} in body {says}", show(value)))
    }

    fn wrong_type(&self, path: &str, wanted: &str, found: &str) -> Error {
        let found = quote(found);
        let body = format!("Invalid value: {found}: {path} in body must be of type {wanted}: {found}");
        self.error(ErrorType::TypeInvalid, path, body)
    }

    /// What is wrong with a combination of schemas has no path, only a text.
    fn combination(&self, path: &str, says: &str) -> Error {
        self.error(ErrorType::Invalid, "", format!("Invalid value: \"\": {} {says}", quote(path)))
    }

    fn value(&self, value: &Value, old: Option<&Value>, schema: &Node, path: &str) -> Outcome {
        let mut out = Outcome::default();
        if old == Some(value) {
            return out;
        }
        let wanted = if schema.int_or_string { "integer,string" } else { schema.kind.name() };
        if value.is_null() {
            if !wanted.is_empty() && !schema.nullable {
                out.add(self.wrong_type(path, wanted, "null"));
            } else {
                out.matches += 1;
            }
            if let Some(rules) = &schema.rules {
                out.merge(self.enumeration(value, rules, path));
            }
            return out;
        }
        let empty = Rules::default();
        let rules = schema.rules.as_deref().unwrap_or(&empty);
        if !wanted.is_empty() {
            out.matches += 1;
            if fits(value, schema) {
                out.matches += 1;
            } else if !rules.format.is_empty() && !value.is_string() && !value.is_array() {
                // The stock server then speaks of formats.
                out.add(self.wrong_type(path, &rules.format, format_name(value)));
            } else {
                out.add(self.wrong_type(path, wanted, type_name(value)));
            }
        }
        out.merge(self.combinations(value, old, rules, path));
        out.matches += 1;
        match value {
            Value::String(s) => out.merge(self.string(s, value, rules, path)),
            Value::Number(_) => out.merge(self.number(value, schema, rules, path)),
            Value::Array(items) => out.merge(self.array(items, old, schema, rules, path)),
            _ => {}
        }
        out.merge(self.enumeration(value, rules, path));
        out.matches += 1;
        if let Value::Object(map) = value {
            out.merge(self.object(map, old, schema, rules, path));
            out.matches += 1;
        }
        out.matches += 1;
        out
    }

    fn combinations(&self, value: &Value, old: Option<&Value>, rules: &Rules, path: &str) -> Outcome {
        let mut out = Outcome::default();
        if !rules.any_of.is_empty() {
            let mut best: Option<Outcome> = None;
            let mut fitting = None;
            for schema in &rules.any_of {
                let result = self.value(value, old, schema, path);
                if result.valid() {
                    fitting = Some(result);
                    break;
                }
                if best.as_ref().is_none_or(|b| result.matches > b.matches) {
                    best = Some(result);
                }
            }
            match fitting {
                Some(result) => out.merge(result),
                None => {
                    out.add(self.combination(path, "must validate at least one schema (anyOf)"));
                    out.merge(best.unwrap_or_default());
                }
            }
        }
        if !rules.one_of.is_empty() {
            let mut best: Option<Outcome> = None;
            let mut first = None;
            let mut fitting = 0;
            for schema in &rules.one_of {
                let result = self.value(value, old, schema, path);
                if result.valid() {
                    fitting += 1;
                    best = None;
                    first = first.or(Some(result));
                } else if fitting == 0 && best.as_ref().is_none_or(|b| result.matches > b.matches) {
                    best = Some(result);
                }
            }
            if fitting == 1 {
                out.merge(first.unwrap_or_default());
            } else {
                let found = match fitting {
                    0 => "Found none valid".to_owned(),
                    n => format!("Found {n} valid alternatives"),
                };
                out.add(self.combination(path, &format!("must validate one and only one schema (oneOf). {found}")));
                out.merge(best.unwrap_or_default());
            }
        }
        if !rules.all_of.is_empty() {
            let mut fitting = 0;
            for schema in &rules.all_of {
                let result = self.value(value, old, schema, path);
                fitting += usize::from(result.valid());
                out.merge(result);
            }
            if fitting != rules.all_of.len() {
                let none = if fitting == 0 { ". None validated" } else { "" };
                out.add(self.combination(path, &format!("must validate all the schemas (allOf){none}")));
            }
        }
        // Whether something does not match is asked of the whole value, changed or not.
        if let Some(not) = &rules.not
            && self.value(value, None, not, path).valid()
        {
            out.add(self.combination(path, "must not validate the schema (not)"));
        }
        out.matches += 1;
        out
    }

    fn string(&self, s: &str, value: &Value, rules: &Rules, path: &str) -> Outcome {
        let mut out = Outcome::default();
        let length = s.chars().count() as u64;
        if let Some(max) = rules.max_length.filter(|max| length > *max) {
            let plural = if max == 1 { "" } else { "s" };
            let body = format!("Too long: may not be more than {max} byte{plural}");
            out.add(self.error(ErrorType::TooLong, path, body));
        } else if let Some(min) = rules.min_length.filter(|min| length < *min) {
            out.add(self.invalid(path, value, &format!("should be at least {min} chars long")));
        } else if let Some((text, pattern)) = &rules.pattern
            && !pattern.is_match(s)
        {
            out.add(self.invalid(path, value, &format!("should match '{text}'")));
        }
        out.matches += 1;
        if !rules.format.is_empty() {
            if !format::valid(&rules.format, s) {
                out.add(self.wrong_type(path, &rules.format, s));
            }
            out.matches += 1;
        }
        out
    }

    fn number(&self, value: &Value, schema: &Node, rules: &Rules, path: &str) -> Outcome {
        let mut out = Outcome::default();
        let n = value.as_f64().unwrap_or_default();
        let integer = value.is_i64() || value.is_u64();
        let whole = value.as_i64().or_else(|| (n.fract() == 0.0 && n.abs() < 9.3e18).then_some(n as i64));
        let out_of_range = match (schema.kind, rules.format.as_str()) {
            (Kind::Integer, "int32") => whole.is_none_or(|n| i32::try_from(n).is_err()),
            (Kind::Integer, _) => whole.is_none(),
            (Kind::Number, "float") => n.is_finite() && !(n as f32).is_finite(),
            _ => false,
        };
        if out_of_range {
            let kind = schema.kind.name();
            let format = match rules.format.as_str() {
                "" => "(default format)".to_owned(),
                format => format!("with format {format}"),
            };
            let body = format!("Invalid value: \"\": Checked value must be of type {kind} {format} in {path}");
            out.add(self.error(ErrorType::Invalid, "", body));
        }
        if let Some(factor) = rules.multiple_of {
            // Of an integer the stock server asks the factor without its fraction.
            let factor = if integer { factor.trunc() } else { factor };
            let divides = match value.as_i64() {
                Some(n) => n.checked_rem(factor as i64) == Some(0),
                None => {
                    let quotient = if factor < 1.0 { 1.0 / factor * n } else { n / factor };
                    (quotient - quotient.round()).abs() <= 1e-9 * quotient.abs().max(1.0)
                }
            };
            if factor <= 0.0 {
                let factor = show_go_float(factor);
                let body = format!(
                    "Invalid value: {factor}: factor MultipleOf declared for {path} must be positive: {factor}"
                );
                out.add(self.error(ErrorType::Invalid, path, body));
            } else if !divides {
                out.add(self.invalid(path, value, &format!("should be a multiple of {}", show_go_float(factor))));
            }
        }
        let limit = |bound: f64| if integer { bound.trunc() } else { bound };
        if let Some(min) = rules.minimum.map(limit)
            && (n < min || (rules.exclusive_minimum && n <= min))
        {
            let or_equal = if rules.exclusive_minimum { "" } else { " or equal to" };
            out.add(self.invalid(path, value, &format!("should be greater than{or_equal} {}", show_go_float(min))));
        }
        if let Some(max) = rules.maximum.map(limit)
            && (n > max || (rules.exclusive_maximum && n >= max))
        {
            let or_equal = if rules.exclusive_maximum { "" } else { " or equal to" };
            out.add(self.invalid(path, value, &format!("should be less than{or_equal} {}", show_go_float(max))));
        }
        out.matches += 2;
        out
    }

    fn array(&self, items: &[Value], old: Option<&Value>, schema: &Node, rules: &Rules, path: &str) -> Outcome {
        let mut out = Outcome::default();
        if let Some(item) = &schema.items {
            for (i, value) in items.iter().enumerate() {
                let before = old_item(old, value, &schema.list);
                out.merge(self.value(value, before, item, &format!("{path}[{i}]")));
            }
        }
        let size = items.len() as u64;
        if let Some(min) = rules.min_items.filter(|min| size < *min) {
            out.add(self.invalid(path, &size.into(), &format!("should have at least {min} items")));
        }
        if let Some(max) = rules.max_items.filter(|max| size > *max) {
            out.add(self.too_many(path, size, max));
        }
        out.matches += 2;
        out
    }

    fn too_many(&self, path: &str, size: u64, max: u64) -> Error {
        let plural = if max == 1 { "" } else { "s" };
        self.error(ErrorType::TooMany, path, format!("Too many: {size}: must have at most {max} item{plural}"))
    }

    fn enumeration(&self, value: &Value, rules: &Rules, path: &str) -> Outcome {
        let mut out = Outcome::default();
        let same = |a: &Value| a == value || (a.is_number() && a.as_f64() == value.as_f64());
        if !rules.one_value_of.is_empty() && !rules.one_value_of.iter().any(same) {
            let names: Vec<String> = rules
                .one_value_of
                .iter()
                .map(|v| quote(&v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
                .collect();
            let body = format!("Unsupported value: {}: supported values: {}", show(value), names.join(", "));
            out.add(self.error(ErrorType::NotSupported, path, body));
        }
        out
    }

    fn object(
        &self,
        map: &Map<String, Value>,
        old: Option<&Value>,
        schema: &Node,
        rules: &Rules,
        path: &str,
    ) -> Outcome {
        let mut out = Outcome::default();
        let size = map.len() as u64;
        if let Some(min) = rules.min_properties.filter(|min| size < *min) {
            out.add(self.invalid(path, &size.into(), &format!("should have at least {min} properties")));
        }
        if let Some(max) = rules.max_properties.filter(|max| size > *max) {
            out.add(self.too_many(path, size, max));
        }
        let before = |key: &str| old.and_then(|o| o.get(key));
        match &schema.additional {
            Some(Additional::Allowed(false)) => {
                for key in map.keys().filter(|k| !schema.properties.contains_key(k.as_str())) {
                    let body = format!("Invalid value: {}: {path}.{key} in body is a forbidden property", quote(key));
                    out.add(self.error(ErrorType::Invalid, path, body));
                }
            }
            Some(Additional::Schema(additional)) => {
                for (key, value) in map.iter().filter(|(k, _)| !schema.properties.contains_key(k.as_str())) {
                    out.merge(self.value(value, before(key), additional, &format!("{path}.{key}")));
                }
            }
            _ => {}
        }
        for (name, property) in &schema.properties {
            if let Some(value) = map.get(name.as_str()) {
                let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
                out.merge(self.value(value, before(name), property, &path));
            }
        }
        for name in rules.required.iter().filter(|n| !map.contains_key(n.as_str())) {
            out.add(self.error(ErrorType::Required, &format!("{path}.{name}"), "Required value".to_owned()));
        }
        out
    }
}

/// The item of the old list that an item continues: by its keys, where the list has keys.
fn old_item<'a>(old: Option<&'a Value>, item: &Value, list: &ListKind) -> Option<&'a Value> {
    let ListKind::Map(keys) = list else { return None };
    let same = |o: &&Value| keys.iter().all(|k| o.get(k.as_str()) == item.get(k.as_str()));
    old?.as_array()?.iter().find(same)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The format that the stock server sees in a value.
fn format_name(value: &Value) -> &'static str {
    match value {
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        _ => "",
    }
}

fn fits(value: &Value, schema: &Node) -> bool {
    let whole = |v: &Value| v.is_i64() || v.is_u64() || v.as_f64().is_some_and(|n| n.fract() == 0.0);
    if schema.int_or_string {
        return value.is_string() || whole(value);
    }
    match schema.kind {
        Kind::Any => true,
        Kind::Object => value.is_object(),
        Kind::Array => value.is_array(),
        Kind::String => value.is_string(),
        Kind::Integer => whole(value),
        Kind::Number => value.is_number(),
        Kind::Boolean => value.is_boolean(),
    }
}

/// Finds items that a list with keys, or a set, has twice. Only the second one is told.
pub(super) fn check_lists(value: &Value, schema: &Node, path: &Path, errors: &mut Errors) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let Some(property) = schema.properties.get(key.as_str()) {
                    check_lists(value, property, &path.child(key), errors);
                } else if let Some(Additional::Schema(additional)) = &schema.additional {
                    check_lists(value, additional, &path.key(key), errors);
                }
            }
        }
        Value::Array(items) => {
            match &schema.list {
                ListKind::Atomic => {}
                ListKind::Set => report_twice(items.iter().map(Clone::clone), path, errors),
                ListKind::Map(keys) => {
                    if let Some((i, item)) = items.iter().enumerate().find(|(_, v)| !v.is_object() && !v.is_null()) {
                        errors.invalid(&path.index(i), item, "must be an object for an array of list-type map");
                    } else {
                        let key = |item: &Value| {
                            let pairs =
                                keys.iter().filter_map(|k| Some((k.to_string(), item.get(k.as_str())?.clone())));
                            Value::Object(pairs.collect())
                        };
                        report_twice(items.iter().map(key), path, errors);
                    }
                }
            }
            if let Some(schema) = &schema.items {
                for (i, item) in items.iter().enumerate() {
                    check_lists(item, schema, &path.index(i), errors);
                }
            }
        }
        _ => {}
    }
}

fn report_twice(items: impl Iterator<Item = Value>, path: &Path, errors: &mut Errors) {
    let mut seen = std::collections::HashMap::new();
    for (i, item) in items.enumerate() {
        let times = seen.entry(item.to_string()).or_insert(0usize);
        *times += 1;
        if *times == 2 {
            errors.duplicate(&path.index(i), &item);
        }
    }
}
