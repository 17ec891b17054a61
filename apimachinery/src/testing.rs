//! Schemas for tests, written as JSON.

use serde_json::{Value, json};

use crate::schema::{
    Field, KindSchema, ListKind, ListType, MapType, Omit, PatchStrategy, Schema, Struct, StructId, Type,
};

/// A kind from a short form: `"string"`, `"int"`, `"bool"`, `"intstr"`, `"any"`; `{field: type}` a struct;
/// `["list", item, options]` with `keys: [..]`, `set`, `merge: key` (or `true`), `retain`; `["map", value, options]` with
/// `atomic`; `["with", type, options]` with `default`, `replace`, `retain`, `atomic`.
pub(crate) fn kind(name: &str, fields: &Value) -> KindSchema {
    let mut schema = Schema::default();
    let root = add_struct(&mut schema, name, fields);
    KindSchema { schema: schema.into(), root }
}

fn add_struct(schema: &mut Schema, name: &str, fields: &Value) -> StructId {
    let fields = fields.as_object().unwrap();
    let fields = fields.iter().map(|(key, value)| field(schema, name, key, value)).collect();
    schema.add(Struct::new(name, fields))
}

fn field(schema: &mut Schema, parent: &str, name: &str, form: &Value) -> Field {
    let options = form.get(2).cloned().unwrap_or(json!({}));
    let set = |key: &str| options[key].as_bool().unwrap_or(false);
    let merge = options.get("merge");
    Field {
        name: name.into(),
        proto: Box::default(),
        ty: ty(schema, &format!("{parent}{}", name[..1].to_uppercase() + &name[1..]), form),
        nullable: true,
        omit: Omit::Empty,
        default: options.get("default").cloned(),
        patch: PatchStrategy { merge: merge.is_some(), retain_keys: set("retain"), replace: set("replace") },
        merge_key: merge.and_then(Value::as_str).map(Into::into),
        go_type: None,
    }
}

fn ty(schema: &mut Schema, name: &str, form: &Value) -> Type {
    match form {
        Value::String(s) => match s.as_str() {
            "string" => Type::String,
            "int" => Type::Int64,
            "bool" => Type::Bool,
            "intstr" => Type::IntOrString,
            "quantity" => Type::Quantity,
            "any" => Type::Any,
            other => panic!("unknown type {other}"),
        },
        Value::Object(_) => Type::Struct(add_struct(schema, name, form)),
        Value::Array(parts) => {
            let options = form.get(2).cloned().unwrap_or(json!({}));
            let inner = ty(schema, name, &parts[1]);
            match parts[0].as_str().unwrap() {
                "list" => {
                    let keys = options.get("keys").and_then(Value::as_array);
                    let kind = match keys {
                        Some(keys) => ListKind::Map(keys.iter().map(|k| k.as_str().unwrap().into()).collect()),
                        None if options["set"] == json!(true) => ListKind::Set,
                        None => ListKind::Atomic,
                    };
                    Type::List(Box::new(ListType { item: inner, kind }))
                }
                "map" => Type::Map(Box::new(MapType { value: inner, atomic: options["atomic"] == json!(true) })),
                "with" => inner,
                other => panic!("unknown form {other}"),
            }
        }
        other => panic!("unknown form {other}"),
    }
}
