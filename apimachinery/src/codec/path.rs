//! Where a reader is: a list of steps that lives on the stack and becomes text only when something is wrong.

use crate::schema::{Field, Struct, Type};

/// One step down.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    /// The top.
    Root,
    /// A field that the schema knows, and the struct that has it.
    Field(&'a Struct, &'a Field),
    /// A key of a map, or a field that no schema knows.
    Key(&'a str),
    /// An item of a list.
    Index(usize),
}

/// The steps down to a value.
#[derive(Clone, Copy)]
pub(super) struct Trail<'a> {
    above: Option<&'a Trail<'a>>,
    step: Step<'a>,
}

impl<'a> Trail<'a> {
    pub(super) fn root() -> Self {
        Self { above: None, step: Step::Root }
    }

    pub(super) fn then<'b>(&'b self, step: Step<'b>) -> Trail<'b>
    where
        'a: 'b,
    {
        Trail { above: Some(self), step }
    }

    /// `spec.containers[0].name`
    pub(super) fn path(&self) -> String {
        let mut out = String::new();
        self.each(&mut |step| match step {
            Step::Root => {}
            Step::Field(_, Field { name, .. }) => name_after(&mut out, name),
            Step::Key(name) => name_after(&mut out, name),
            Step::Index(i) => out.push_str(&format!("[{i}]")),
        });
        out
    }

    /// The innermost struct with a field on the way, and the names of all such fields: what Go's JSON errors name.
    pub(super) fn go_field(&self) -> Option<(&str, String)> {
        let mut names = Vec::new();
        let mut innermost = None;
        self.each(&mut |step| {
            if let Step::Field(def, field) = step {
                let embedded = def.embedded.iter().find(|(name, _)| *name == field.name);
                names.push(format!("{}{}", embedded.map_or("", |(_, of)| of.as_str()), field.name));
                innermost = Some(def);
            }
        });
        let def = innermost?;
        Some((def.name.rsplit('.').next().unwrap_or_default(), names.join(".")))
    }

    /// What Go calls the type of the value here, where the schema notes a name of its own for it.
    pub(super) fn go_type(&self) -> Option<String> {
        match (self.step, self.above) {
            (Step::Field(_, field), _) => field.go_type.as_ref().map(ToString::to_string),
            // An item of `[]v1.Name` is a `v1.Name`; the values of a named map type have no name of their own.
            (Step::Index(_), Some(Trail { step: Step::Field(_, field), .. })) => {
                field.go_type.as_deref()?.strip_prefix("[]").map(|item| item.trim_start_matches('*').to_owned())
            }
            (Step::Key(_), Some(Trail { step: Step::Field(_, field), .. })) if matches!(field.ty, Type::Map(_)) => {
                let (_, value) = field.go_type.as_deref()?.strip_prefix("map[")?.split_once(']')?;
                Some(value.to_owned())
            }
            _ => None,
        }
    }

    fn each<'b>(&'b self, f: &mut dyn FnMut(Step<'b>)) {
        if let Some(above) = self.above {
            above.each(f);
        }
        f(self.step);
    }
}

fn name_after(out: &mut String, name: &str) {
    if !out.is_empty() {
        out.push('.');
    }
    out.push_str(name);
}
