//! The model of types that everything works from: the built-in table and CRD schemas both become one of these.
//!
//! A [`Schema`] is an arena of struct definitions. What a field is on every wire (its JSON name, its place in
//! protobuf, whether an empty value is left out), how patches merge it and who may own it under server-side apply
//! stand beside each other, so the codecs, the patches and apply need no code per kind.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use smol_str::SmolStr;

/// Index of a struct in its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StructId(pub u32);

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// UTF-8 text.
    String,
    /// `true` or `false`.
    Bool,
    /// 32-bit signed integer.
    Int32,
    /// 64-bit signed integer.
    Int64,
    /// Unsigned, with its width in bits (8, 32 or 64).
    Uint(u8),
    /// 64-bit floating point.
    Double,
    /// Bytes: base64 text in JSON.
    Bytes,
    /// `resource.Quantity`: a string (or number) in JSON, kept in canonical form.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// `metav1.Time`: RFC 3339 with second precision.
    Time,
    /// `metav1.MicroTime`: RFC 3339 with microseconds.
    MicroTime,
    /// `metav1.Duration`: Go's text form in JSON, nanoseconds in protobuf.
    Duration,
    /// `metav1.FieldsV1`: an object in JSON, its JSON bytes in protobuf.
    FieldsV1,
    /// `runtime.RawExtension`: any object, JSON bytes in protobuf.
    RawExtension,
    /// Any JSON value (`apiextensions JSON`, `x-kubernetes-preserve-unknown-fields`).
    Any,
    /// `apiextensions JSONSchemaPropsOrBool`: the struct or a boolean.
    StructOrBool(StructId),
    /// `apiextensions JSONSchemaPropsOrArray`: the struct or a list of it.
    StructOrList(StructId),
    /// `apiextensions JSONSchemaPropsOrStringArray`: the struct or a list of strings.
    StructOrStrings(StructId),
    /// A struct of the same schema.
    Struct(StructId),
    /// A list.
    List(Box<ListType>),
    /// A map with string keys.
    Map(Box<MapType>),
}

/// A list and how its items are told apart.
#[derive(Clone, Debug, PartialEq)]
pub struct ListType {
    /// Type of the items.
    pub item: Type,
    /// `x-kubernetes-list-type`.
    pub kind: ListKind,
}

/// `x-kubernetes-list-type` with its `x-kubernetes-list-map-keys`.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum ListKind {
    /// Owned and replaced as a whole.
    #[default]
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects told apart by these fields.
    Map(Vec<SmolStr>),
}

/// A map with string keys.
#[derive(Clone, Debug, PartialEq)]
pub struct MapType {
    /// Type of the values.
    pub value: Type,
    /// `x-kubernetes-map-type: atomic`: owned and replaced as a whole.
    pub atomic: bool,
}

/// How a field's empty value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Omit {
    /// Always written, empty or not (Go: no `omitempty`): `""`, `0`, `false`, `{}`, and `null` for an absent list, map or pointer.
    Never,
    /// Left out when empty (Go: `omitempty`). Structs that are not pointers are still written.
    Empty,
    /// Left out when it is the zero value, structs included (Go: `omitzero`).
    Zero,
}

/// `x-kubernetes-patch-strategy`, for strategic merge patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    /// Lists merge by `merge_key` (or as sets of scalars) instead of being replaced.
    pub merge: bool,
    /// `retainKeys` directives apply.
    pub retain_keys: bool,
    /// Maps are replaced as a whole.
    pub replace: bool,
}

/// A field of a struct.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name in JSON.
    pub name: SmolStr,
    /// Its field numbers in protobuf, outermost first: more than one where Go embeds a struct that protobuf nests
    /// (`Volume.volumeSource`) or protobuf wraps a list in a message (`Verbs`). Empty where there is no protobuf form.
    pub proto: Box<[u32]>,
    /// What it holds.
    pub ty: Type,
    /// In Go a pointer (or slice, or map): absent and empty differ.
    pub nullable: bool,
    /// How an empty value is written.
    pub omit: Omit,
    /// `default` of the OpenAPI schema; apply uses it for absent keys of list items.
    pub default: Option<Value>,
    /// Strategic merge: how it merges.
    pub patch: PatchStrategy,
    /// Strategic merge: `x-kubernetes-patch-merge-key`.
    pub merge_key: Option<SmolStr>,
    /// What Go calls the type in error messages, where it differs from [`Schema::go_name`]: `v1.ResourceList`.
    pub go_type: Option<SmolStr>,
}

/// A struct: a set of named fields.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Struct {
    /// The definition's name, as OpenAPI has it (`io.k8s.api.core.v1.Pod`).
    pub name: SmolStr,
    /// Fields in the order of the Go struct.
    pub fields: Vec<Field>,
    /// `x-kubernetes-map-type: atomic`: owned and replaced as a whole.
    pub atomic: bool,
    /// Fields that are not listed are kept (`x-kubernetes-preserve-unknown-fields`), as [`Type::Any`].
    pub preserve_unknown: bool,
    /// Fields that are not listed have this type (a CRD object with both `properties` and `additionalProperties`).
    pub additional: Option<Type>,
    /// Indices of `fields` behind their [`name_key`]s, sorted.
    index: Box<[(u64, u32)]>,
    /// Indices of the `fields` that protobuf has, sorted by their numbers.
    by_number: Box<[u32]>,
    /// Indices of the `fields` that are written even when they are absent.
    always: Box<[u32]>,
    /// Some fields lie in nested messages of protobuf.
    pub(crate) nested: bool,
    /// Fields that Go has in an embedded struct, and its name with a dot behind it; only error messages show it.
    pub(crate) embedded: Vec<(SmolStr, SmolStr)>,
}

/// An arena of structs that refer to each other.
#[derive(Debug, Default)]
pub struct Schema {
    structs: Vec<Struct>,
    by_name: HashMap<SmolStr, StructId>,
}

/// A type together with the schema it belongs to: what a function that walks an object needs.
#[derive(Clone, Copy, Debug)]
pub struct Typed<'a> {
    /// The arena.
    pub schema: &'a Schema,
    /// The type in it.
    pub ty: &'a Type,
}

/// The schema and root struct of one kind.
#[derive(Clone, Debug)]
pub struct KindSchema {
    /// The arena; shared by all kinds of the built-in table.
    pub schema: Arc<Schema>,
    /// The kind's own struct.
    pub root: StructId,
}

impl Field {
    /// A field of this name and type that is left out when empty; the rest can be set afterwards.
    pub fn new(name: impl Into<SmolStr>, ty: Type) -> Self {
        Self {
            name: name.into(),
            proto: Box::default(),
            ty,
            nullable: false,
            omit: Omit::Empty,
            default: None,
            patch: PatchStrategy::default(),
            merge_key: None,
            go_type: None,
        }
    }

    /// Whether it is written even when it is absent: as null, or as its type's zero value.
    fn always_written(&self) -> bool {
        let left_out = matches!(
            self.ty,
            Type::String
                | Type::Bool
                | Type::Int32
                | Type::Int64
                | Type::Uint(_)
                | Type::Double
                | Type::List(_)
                | Type::Map(_)
                | Type::Bytes
        );
        match self.omit {
            Omit::Never => true,
            Omit::Zero => false,
            Omit::Empty => !self.nullable && !left_out,
        }
    }
}

/// Tells most names of fields apart without a look at the fields: how a name begins, and its length.
fn name_key(name: &str) -> u64 {
    let begin = name.bytes().take(7).fold(0, |key, byte| key << 8 | u64::from(byte));
    begin << 8 | (name.len() as u64).min(255)
}

impl Struct {
    /// A struct with these fields.
    pub fn new(name: impl Into<SmolStr>, fields: Vec<Field>) -> Self {
        let mut index: Box<[(u64, u32)]> = fields.iter().zip(0..).map(|(f, i)| (name_key(&f.name), i)).collect();
        index.sort_unstable();
        let mut by_number: Box<[u32]> =
            (0..fields.len() as u32).filter(|&i| !fields[i as usize].proto.is_empty()).collect();
        by_number.sort_by(|&a, &b| fields[a as usize].proto.cmp(&fields[b as usize].proto));
        let always = (0..fields.len() as u32).filter(|&i| fields[i as usize].always_written()).collect();
        let nested = fields.iter().any(|field| field.proto.len() > 1);
        Self { name: name.into(), fields, index, by_number, always, nested, ..Self::default() }
    }

    /// The field with this JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.position(name).map(|i| &self.fields[i])
    }

    /// The index of the field with this JSON name.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        let key = name_key(name);
        let at = self.index.partition_point(|(k, _)| *k < key);
        let mut same = self.index[at..].iter().take_while(|(k, _)| *k == key).map(|(_, i)| *i as usize);
        same.find(|&i| self.fields[i].name == name)
    }

    /// The fields that are written even when they are absent.
    pub(crate) fn always_written(&self) -> impl Iterator<Item = &Field> {
        self.always.iter().map(|&i| &self.fields[i as usize])
    }

    /// The field with these numbers in protobuf, or any whose numbers begin with them.
    pub fn field_by_number(&self, path: &[u32]) -> Option<&Field> {
        let at = self.by_number.partition_point(|&i| *self.fields[i as usize].proto < *path);
        let field = &self.fields[*self.by_number.get(at)? as usize];
        field.proto.starts_with(path).then_some(field)
    }
}

impl Schema {
    /// Adds a struct; a later one may still be referred to by the id that [`Schema::declare`] gave.
    pub fn add(&mut self, def: Struct) -> StructId {
        let id = self.declare(def.name.clone());
        self.structs[id.0 as usize] = def;
        id
    }

    /// Reserves an id for a struct of this name, so that types can refer to it before it is defined.
    pub fn declare(&mut self, name: SmolStr) -> StructId {
        if let Some(&id) = self.by_name.get(&name) {
            return id;
        }
        let id = StructId(self.structs.len() as u32);
        self.structs.push(Struct { name: name.clone(), ..Struct::default() });
        self.by_name.insert(name, id);
        id
    }

    /// The struct with this id.
    pub fn get(&self, id: StructId) -> &Struct {
        &self.structs[id.0 as usize]
    }

    /// The struct with this OpenAPI name.
    pub fn find(&self, name: &str) -> Option<StructId> {
        self.by_name.get(name).copied()
    }

    /// What Go calls a type in error messages: `v1.PodSpec`, `[]string`, `map[string]resource.Quantity`.
    pub fn go_name(&self, ty: &Type) -> String {
        match ty {
            Type::String => "string".to_owned(),
            Type::Bool => "bool".to_owned(),
            Type::Int32 => "int32".to_owned(),
            Type::Int64 => "int64".to_owned(),
            Type::Uint(bits) => format!("uint{bits}"),
            Type::Double => "float64".to_owned(),
            Type::Bytes => "[]uint8".to_owned(),
            Type::Quantity => "resource.Quantity".to_owned(),
            Type::IntOrString => "intstr.IntOrString".to_owned(),
            Type::Time => "v1.Time".to_owned(),
            Type::MicroTime => "v1.MicroTime".to_owned(),
            Type::Duration => "v1.Duration".to_owned(),
            Type::FieldsV1 => "v1.FieldsV1".to_owned(),
            Type::RawExtension => "runtime.RawExtension".to_owned(),
            Type::Any => "interface {}".to_owned(),
            Type::StructOrBool(_) => "v1.JSONSchemaPropsOrBool".to_owned(),
            Type::StructOrList(_) => "v1.JSONSchemaPropsOrArray".to_owned(),
            Type::StructOrStrings(_) => "v1.JSONSchemaPropsOrStringArray".to_owned(),
            Type::Struct(id) => {
                let name = self.get(*id).name.as_str();
                let start = name.rmatch_indices('.').nth(1).map_or(0, |(i, _)| i + 1);
                name[start..].to_owned()
            }
            Type::List(list) => format!("[]{}", self.go_name(&list.item)),
            Type::Map(map) => format!("map[string]{}", self.go_name(&map.value)),
        }
    }

    /// All structs with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (StructId, &Struct)> {
        self.structs.iter().enumerate().map(|(i, s)| (StructId(i as u32), s))
    }
}

impl KindSchema {
    /// The kind's own struct.
    pub fn root(&self) -> &Struct {
        self.schema.get(self.root)
    }
}

impl<'a> Typed<'a> {
    /// The struct this is, if it is one.
    pub fn as_struct(&self) -> Option<&'a Struct> {
        match self.ty {
            Type::Struct(id) => Some(self.schema.get(*id)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let names =
            ["", "a", "status", "statusA", "status_1", "status_2", "conditionsOne", "conditionsTwo", "conditionsSix"];
        let fields = names.iter().map(|name| Field::new(*name, Type::String)).collect();
        let found = Struct::new("test", fields);
        for (i, name) in names.iter().enumerate() {
            assert_eq!(found.position(name), Some(i), "{name}");
            assert_eq!(found.position(&format!("{name}x")), None);
        }
        assert_eq!(found.position("status_3"), None);
    }
}
