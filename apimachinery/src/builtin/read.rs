//! Unpacks the files that `apimachinery/generate` writes. They are part of the program, so what is wrong with them is a
//! bug that the first test shows: reading panics.
#![allow(clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use smol_str::{SmolStr, format_smolstr};

use crate::gvk::{GroupVersionKind, GroupVersionResource};
use crate::resource::{Column, Group, Resource, Subresource};
use crate::schema::{
    Field, KindSchema, ListKind, ListType, MapType, Omit, PatchStrategy, Schema, Struct, StructId, Type,
};

const TYPES: &[u8] = include_bytes!("../../data/types.json.zst");
const RESOURCES: &[u8] = include_bytes!("../../data/resources.json.zst");
const COLUMNS: &[u8] = include_bytes!("../../data/columns.json.zst");

pub(super) fn unpack(packed: &[u8]) -> Vec<u8> {
    zstd::decode_all(packed).expect("built-in data is zstd")
}

pub(super) fn parse<T: for<'de> Deserialize<'de>>(packed: &[u8]) -> T {
    serde_json::from_slice(&unpack(packed)).expect("built-in data has the shape that generate gives it")
}

#[derive(Deserialize)]
struct TypesFile {
    structs: Vec<StructEntry>,
    kinds: Vec<(SmolStr, SmolStr, SmolStr, u32)>,
}

/// An array in JSON, as the other entries; what is missing at its end has its default.
#[derive(Deserialize)]
struct StructEntry {
    name: SmolStr,
    fields: Vec<FieldEntry>,
    #[serde(default)]
    atomic: u8,
}

#[derive(Deserialize)]
struct FieldEntry {
    name: SmolStr,
    proto: Box<[u32]>,
    ty: Value,
    flags: SmolStr,
    #[serde(default)]
    extras: FieldExtras,
}

#[derive(Default, Deserialize)]
struct FieldExtras {
    #[serde(rename = "d")]
    default: Option<Value>,
    #[serde(rename = "k")]
    merge_key: Option<SmolStr>,
    #[serde(rename = "g")]
    go_type: Option<SmolStr>,
    #[serde(rename = "e")]
    embedded: Option<SmolStr>,
}

pub(super) fn types() -> (Schema, HashMap<GroupVersionKind, StructId>) {
    let file: TypesFile = parse(TYPES);
    let mut schema = Schema::default();
    for mut entry in file.structs {
        let embedded =
            entry.fields.iter_mut().filter_map(|field| Some((field.name.clone(), field.extras.embedded.take()?)));
        let embedded = embedded.collect();
        let mut def = Struct::new(entry.name, entry.fields.into_iter().map(field).collect());
        def.atomic = entry.atomic == 1;
        def.embedded = embedded;
        schema.add(def);
    }
    let kinds = file.kinds.into_iter().map(|(g, v, k, id)| (GroupVersionKind::new(g, v, k), StructId(id))).collect();
    (schema, kinds)
}

fn field(entry: FieldEntry) -> Field {
    let FieldEntry { name, proto, ty, flags, extras } = entry;
    let has = |flag| flags.contains(flag);
    Field {
        name,
        proto,
        ty: type_of(&ty),
        nullable: has('n'),
        omit: match (has('e'), has('z')) {
            (_, true) => Omit::Zero,
            (true, false) => Omit::Empty,
            (false, false) => Omit::Never,
        },
        default: extras.default,
        patch: PatchStrategy { merge: has('m'), retain_keys: has('k'), replace: has('r') },
        merge_key: extras.merge_key,
        go_type: extras.go_type,
    }
}

fn type_of(code: &Value) -> Type {
    match code {
        Value::Number(_) => Type::Struct(struct_id(code)),
        Value::String(letters) => match letters.as_str() {
            "s" => Type::String,
            "b" => Type::Bool,
            "i" => Type::Int32,
            "l" => Type::Int64,
            "u8" => Type::Uint(8),
            "u32" => Type::Uint(32),
            "u64" => Type::Uint(64),
            "d" => Type::Double,
            "y" => Type::Bytes,
            "Q" => Type::Quantity,
            "IS" => Type::IntOrString,
            "T" => Type::Time,
            "MT" => Type::MicroTime,
            "D" => Type::Duration,
            "F" => Type::FieldsV1,
            "R" => Type::RawExtension,
            "A" => Type::Any,
            other => panic!("type code {other}"),
        },
        Value::Array(parts) => match parts[0].as_str() {
            Some("L") => {
                let kind = match parts.get(2) {
                    None => ListKind::Atomic,
                    Some(Value::Array(keys)) => {
                        ListKind::Map(keys.iter().filter_map(Value::as_str).map(SmolStr::from).collect())
                    }
                    Some(_) => ListKind::Set,
                };
                Type::List(Box::new(ListType { item: type_of(&parts[1]), kind }))
            }
            Some("M") => Type::Map(Box::new(MapType { value: type_of(&parts[1]), atomic: parts.len() > 2 })),
            Some("OB") => Type::StructOrBool(struct_id(&parts[1])),
            Some("OA") => Type::StructOrList(struct_id(&parts[1])),
            Some("OS") => Type::StructOrStrings(struct_id(&parts[1])),
            other => panic!("type code {other:?}"),
        },
        other => panic!("type code {other}"),
    }
}

fn struct_id(code: &Value) -> StructId {
    StructId(code.as_u64().and_then(|n| u32::try_from(n).ok()).expect("index of a struct"))
}

#[derive(Deserialize)]
struct ResourceEntry {
    #[serde(rename = "n")]
    plural: SmolStr,
    #[serde(rename = "k")]
    kind: SmolStr,
    #[serde(rename = "i")]
    singular: SmolStr,
    #[serde(rename = "ns", default)]
    namespaced: u8,
    #[serde(rename = "v")]
    verbs: Vec<SmolStr>,
    #[serde(rename = "s", default)]
    short_names: Vec<SmolStr>,
    #[serde(rename = "c", default)]
    categories: Vec<SmolStr>,
    #[serde(rename = "h", default)]
    hash: SmolStr,
    /// Group and version in which the stock server stores it.
    #[serde(rename = "sv")]
    storage: Option<(SmolStr, SmolStr)>,
    #[serde(rename = "u", default)]
    subresources: Vec<SubresourceEntry>,
}

#[derive(Deserialize)]
struct SubresourceEntry {
    #[serde(rename = "n")]
    name: SmolStr,
    #[serde(rename = "k")]
    kind: SmolStr,
    #[serde(rename = "g")]
    group_version: Option<(SmolStr, SmolStr)>,
    #[serde(rename = "v")]
    verbs: Vec<SmolStr>,
}

type VersionEntry = (SmolStr, Vec<ResourceEntry>);

pub(super) fn groups(schema: &Arc<Schema>, kinds: &HashMap<GroupVersionKind, StructId>) -> Vec<Group> {
    let file: Vec<(SmolStr, Vec<VersionEntry>)> = parse(RESOURCES);
    let group = |(name, versions): (SmolStr, Vec<VersionEntry>)| Group {
        versions: versions
            .into_iter()
            .map(|(version, entries)| {
                let resources = entries.into_iter().map(|e| Arc::new(resource(&name, &version, e, schema, kinds)));
                (version.clone(), resources.collect())
            })
            .collect(),
        name,
    };
    file.into_iter().map(group).collect()
}

fn resource(
    group: &SmolStr,
    version: &SmolStr,
    entry: ResourceEntry,
    schema: &Arc<Schema>,
    kinds: &HashMap<GroupVersionKind, StructId>,
) -> Resource {
    let gvk = GroupVersionKind::new(group.clone(), version.clone(), entry.kind);
    let root = *kinds.get(&gvk).expect("every resource's kind is in the table");
    let subresource = |s: SubresourceEntry| {
        let (g, v) = s.group_version.unwrap_or_else(|| (group.clone(), version.clone()));
        Subresource { name: s.name, gvk: GroupVersionKind::new(g, v, s.kind), verbs: s.verbs }
    };
    Resource {
        gvr: GroupVersionResource::new(group.clone(), version.clone(), entry.plural),
        singular: entry.singular,
        list_kind: format_smolstr!("{}List", gvk.kind),
        gvk,
        namespaced: entry.namespaced == 1,
        verbs: entry.verbs,
        short_names: entry.short_names,
        categories: entry.categories,
        subresources: entry.subresources.into_iter().map(subresource).collect(),
        // Events are stored in the core group for both of their groups; their version there has the same name.
        storage_version: entry.storage.map_or_else(|| version.clone(), |(_, v)| v),
        storage_version_hash: entry.hash,
        schema: KindSchema { schema: schema.clone(), root },
        custom: false,
        printer_columns: Vec::new(),
    }
}

#[derive(Deserialize)]
struct ColumnEntry {
    name: SmolStr,
    ty: SmolStr,
    format: SmolStr,
    priority: i32,
    #[serde(default)]
    description_of: SmolStr,
}

pub(super) fn columns() -> HashMap<GroupVersionKind, Vec<Column>> {
    let file: Vec<(SmolStr, SmolStr, SmolStr, Vec<ColumnEntry>)> = parse(COLUMNS);
    let column = |entry: ColumnEntry| {
        let ColumnEntry { name, ty, format, priority, description_of } = entry;
        Column { name, ty, format, priority, description_of }
    };
    file.into_iter().map(|(g, v, k, c)| (GroupVersionKind::new(g, v, k), c.into_iter().map(column).collect())).collect()
}
