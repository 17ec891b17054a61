//! The schema of a custom resource as a [`KindSchema`], for apply and for whoever walks objects by type.

use std::sync::Arc;

use serde_json::Value;
use smol_str::SmolStr;

use super::embedded;
use super::node::{Additional, Kind, Node};
use crate::schema::{Field, KindSchema, ListType, MapType, Omit, PatchStrategy, Schema, Struct, StructId, Type};

/// The kind's schema. `name` is its OpenAPI name (`com.example.v1.Foo`).
pub(super) fn kind_schema(name: &str, root: &Node) -> KindSchema {
    let mut build = Build { schema: Schema::default() };
    let meta = build.object_meta();
    let root = build.resource(name, root, &meta);
    KindSchema { schema: Arc::new(build.schema), root }
}

struct Build {
    schema: Schema,
}

fn field(name: &str, ty: Type, default: Option<Value>) -> Field {
    Field {
        name: name.into(),
        proto: Box::default(),
        ty,
        nullable: true,
        omit: Omit::Empty,
        default,
        patch: PatchStrategy::default(),
        merge_key: None,
        go_type: None,
    }
}

impl Build {
    /// The built-in `ObjectMeta`, with all it is made of.
    fn object_meta(&mut self) -> Type {
        match embedded::object_meta() {
            Some(kind) => Type::Struct(self.import(&kind.schema, kind.root)),
            None => Type::Any,
        }
    }

    fn import(&mut self, from: &Schema, id: StructId) -> StructId {
        let def = from.get(id);
        if let Some(known) = self.schema.find(&def.name) {
            return known;
        }
        self.schema.declare(def.name.clone());
        let mut fields = def.fields.clone();
        for field in &mut fields {
            self.import_type(from, &mut field.ty);
        }
        let mut copy = Struct::new(def.name.clone(), fields);
        copy.atomic = def.atomic;
        copy.preserve_unknown = def.preserve_unknown;
        self.schema.add(copy)
    }

    fn import_type(&mut self, from: &Schema, ty: &mut Type) {
        match ty {
            Type::Struct(id) => *id = self.import(from, *id),
            Type::List(list) => self.import_type(from, &mut list.item),
            Type::Map(map) => self.import_type(from, &mut map.value),
            _ => {}
        }
    }

    /// An object with a kind, a version and metadata: the resource itself or one embedded in it.
    fn resource(&mut self, name: &str, node: &Node, meta: &Type) -> StructId {
        let id = self.object(name, node, meta);
        let def = self.schema.get(id);
        let mut fields = vec![
            field("apiVersion", Type::String, None),
            field("kind", Type::String, None),
            field("metadata", meta.clone(), None),
        ];
        let own = ["apiVersion", "kind", "metadata"];
        fields.extend(def.fields.iter().filter(|f| !own.contains(&f.name.as_str())).cloned());
        let mut whole = Struct::new(def.name.clone(), fields);
        whole.atomic = def.atomic;
        whole.preserve_unknown = def.preserve_unknown;
        whole.additional = def.additional.clone();
        self.schema.add(whole)
    }

    fn object(&mut self, name: &str, node: &Node, meta: &Type) -> StructId {
        let id = self.schema.declare(SmolStr::from(name));
        let mut fields = Vec::new();
        for (key, property) in &node.properties {
            let ty = self.ty(&format!("{name}.{key}"), property, meta);
            fields.push(field(key, ty, property.default.clone()));
        }
        let mut def = Struct::new(name, fields);
        def.atomic = node.map_atomic;
        def.preserve_unknown = node.preserve_unknown || matches!(node.additional, Some(Additional::Allowed(true)));
        if let Some(Additional::Schema(additional)) = &node.additional {
            def.additional = Some(self.ty(&format!("{name}.*"), additional, meta));
        }
        self.schema.add(def);
        id
    }

    fn ty(&mut self, name: &str, node: &Node, meta: &Type) -> Type {
        if node.int_or_string {
            return Type::IntOrString;
        }
        match node.kind {
            Kind::String => Type::String,
            Kind::Integer => Type::Int64,
            Kind::Number => Type::Double,
            Kind::Boolean => Type::Bool,
            Kind::Any => Type::Any,
            Kind::Array => {
                let item = node.items.as_ref().map_or(Type::Any, |i| self.ty(&format!("{name}[]"), i, meta));
                Type::List(Box::new(ListType { item, kind: node.list.clone() }))
            }
            Kind::Object if node.embedded => Type::Struct(self.resource(name, node, meta)),
            Kind::Object if node.properties.is_empty() => match &node.additional {
                Some(Additional::Schema(value)) => {
                    let value = self.ty(&format!("{name}.*"), value, meta);
                    Type::Map(Box::new(MapType { value, atomic: node.map_atomic }))
                }
                Some(Additional::Allowed(true)) => {
                    Type::Map(Box::new(MapType { value: Type::Any, atomic: node.map_atomic }))
                }
                _ if node.map_atomic => Type::RawExtension,
                _ if node.preserve_unknown => Type::Any,
                _ => Type::Struct(self.object(name, node, meta)),
            },
            Kind::Object => Type::Struct(self.object(name, node, meta)),
        }
    }
}
