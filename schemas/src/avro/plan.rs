//! Plans, compiled once from a writer's schema.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{AvroError, Reader};

/// How to walk values of one schema.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Nothing.
    Null,
    /// One byte.
    Boolean,
    /// int or long, with the meaning that Kafka Connect gave it (`connect.name`), or empty.
    Long(Arc<str>),
    /// Four bytes.
    Float,
    /// Eight bytes.
    Double,
    /// bytes; a decimal where it has a scale.
    Bytes {
        /// Digits after the point, of a decimal.
        scale: Option<u32>,
    },
    /// A string.
    Text,
    /// So many bytes.
    Fixed(usize),
    /// An index into symbols.
    Enum,
    /// Items.
    Array(Arc<Plan>),
    /// Named items.
    Map(Arc<Plan>),
    /// One of several.
    Union(Arc<[Plan]>),
    /// Fields in order.
    Record(Arc<RecordPlan>),
}

/// A record's name and fields.
#[derive(Debug)]
pub struct RecordPlan {
    /// Full name.
    pub name: String,
    /// Field names (the database's, where the schema had to adjust them) and plans.
    pub fields: Vec<(Arc<str>, Plan)>,
    /// The names alone, for the rows of one schema to share.
    pub names: Arc<[Arc<str>]>,
    size: Size,
}

/// Nesting beyond this is refused: a schema is outside input, and plans are walked recursively.
const DEPTH_MAX: usize = 32;
/// Steps of one walk, each named type counted wherever it stands: twenty records of two each name a million.
const STEPS_MAX: usize = 100_000;
/// PostgreSQL's numeric has no more digits after its point.
const SCALE_MAX: u64 = 16_383;

/// What walking a plan takes.
#[derive(Clone, Copy, Debug)]
struct Size {
    depth: usize,
    steps: usize,
}

impl Size {
    fn of(plan: &Plan) -> Self {
        match plan {
            Plan::Record(record) => record.size,
            Plan::Array(items) | Plan::Map(items) => Size::around([&**items]),
            Plan::Union(branches) => Size::around(branches.iter()),
            _ => Size { depth: 1, steps: 1 },
        }
    }

    fn around<'p>(parts: impl IntoIterator<Item = &'p Plan>) -> Self {
        let around = |size: Size, part| {
            let part = Size::of(part);
            Size { depth: size.depth.max(part.depth + 1), steps: size.steps.saturating_add(part.steps) }
        };
        parts.into_iter().fold(Size { depth: 1, steps: 1 }, around)
    }

    fn check(self) -> Result<Self, AvroError> {
        if self.depth > DEPTH_MAX || self.steps > STEPS_MAX {
            return Err(AvroError::Schema(format!("deeper than {DEPTH_MAX}, or of more than {STEPS_MAX} parts")));
        }
        Ok(self)
    }
}

impl Plan {
    /// Compiles a writer's schema. A schema is outside input: the reference implementation says first whether it is one.
    pub fn compile(schema: &str) -> Result<Plan, AvroError> {
        apache_avro::Schema::parse_str(schema).map_err(|error| AvroError::Schema(error.to_string()))?;
        let json: Json = serde_json::from_str(schema).map_err(|e| AvroError::Schema(e.to_string()))?;
        Compiler { named: HashMap::new() }.plan(&json, "", 0)
    }

    /// Moves the reader past one value.
    pub fn skip(&self, reader: &mut Reader<'_>) -> Result<(), AvroError> {
        match self {
            Plan::Null => Ok(()),
            Plan::Boolean => reader.boolean().map(drop),
            Plan::Long(_) | Plan::Enum => reader.long().map(drop),
            Plan::Float => reader.take(4).map(drop),
            Plan::Double => reader.take(8).map(drop),
            Plan::Bytes { .. } | Plan::Text => reader.blob().map(drop),
            Plan::Fixed(n) => reader.take(*n).map(drop),
            Plan::Array(items) => reader.blocks(|r| items.skip(r)),
            Plan::Map(values) => reader.blocks(|r| {
                r.blob()?;
                values.skip(r)
            }),
            Plan::Union(branches) => self.branch(branches, reader)?.skip(reader),
            Plan::Record(record) => record.fields.iter().try_for_each(|(_, plan)| plan.skip(reader)),
        }
    }

    fn branch<'p>(&self, branches: &'p [Plan], reader: &mut Reader<'_>) -> Result<&'p Plan, AvroError> {
        let index = usize::try_from(reader.long()?).map_err(|_| AvroError::Branch)?;
        branches.get(index).ok_or(AvroError::Branch)
    }

    /// The plan of the value that follows: of a union, the branch that was written.
    pub fn resolve<'p>(&'p self, reader: &mut Reader<'_>) -> Result<&'p Plan, AvroError> {
        match self {
            Plan::Union(branches) => self.branch(branches, reader),
            plan => Ok(plan),
        }
    }
}

struct Compiler {
    named: HashMap<String, Plan>,
}

impl Compiler {
    fn plan(&mut self, schema: &Json, namespace: &str, depth: usize) -> Result<Plan, AvroError> {
        if depth > DEPTH_MAX {
            return Err(AvroError::Schema(format!("nested deeper than {DEPTH_MAX}")));
        }
        match schema {
            Json::String(name) => self.named(name, namespace, &Json::Null),
            Json::Array(branches) => {
                let branches = branches.iter().map(|branch| self.plan(branch, namespace, depth + 1));
                Ok(Plan::Union(branches.collect::<Result<Vec<_>, _>>()?.into()))
            }
            Json::Object(object) => match object.get("type") {
                Some(Json::String(kind)) => self.complex(kind, schema, namespace, depth),
                Some(inner) => self.plan(inner, namespace, depth + 1),
                None => Err(AvroError::Schema("a type without `type`".to_owned())),
            },
            _ => Err(AvroError::Schema(format!("not a type: {schema}"))),
        }
    }

    fn complex(&mut self, kind: &str, schema: &Json, namespace: &str, depth: usize) -> Result<Plan, AvroError> {
        let inner = |name: &str| schema.get(name).ok_or_else(|| AvroError::Schema(format!("{kind} without {name}")));
        match kind {
            "record" => self.record(schema, namespace, depth),
            "array" => Ok(Plan::Array(Arc::new(self.plan(inner("items")?, namespace, depth + 1)?))),
            "map" => Ok(Plan::Map(Arc::new(self.plan(inner("values")?, namespace, depth + 1)?))),
            "enum" => self.register(schema, namespace, Plan::Enum),
            "fixed" => {
                let size = inner("size")?.as_u64().and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| AvroError::Schema("fixed without size".to_owned()))?;
                self.register(schema, namespace, Plan::Fixed(size))
            }
            name => self.named(name, namespace, schema),
        }
    }

    fn record(&mut self, schema: &Json, namespace: &str, depth: usize) -> Result<Plan, AvroError> {
        let full = full_name(schema, namespace)?;
        let namespace = full.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        let fields = schema.get("fields").and_then(Json::as_array);
        let fields = fields.ok_or_else(|| AvroError::Schema(format!("record {full} without fields")))?;
        let mut plans = Vec::with_capacity(fields.len());
        for field in fields {
            let name = field.get("name").and_then(Json::as_str);
            let name = name.ok_or_else(|| AvroError::Schema(format!("a field of {full} without a name")))?;
            let column = field.get("lockstep.column").and_then(Json::as_str).unwrap_or(name);
            let kind = field.get("type").ok_or_else(|| AvroError::Schema(format!("{full}.{name} without a type")))?;
            plans.push((Arc::from(column), self.plan(kind, &namespace, depth + 1)?));
        }
        // Here already, for the names of what is too large could be put together to more.
        let size = Size::around(plans.iter().map(|(_, plan)| plan)).check()?;
        let names = plans.iter().map(|(name, _)| Arc::clone(name)).collect();
        let plan = Plan::Record(Arc::new(RecordPlan { name: full.clone(), fields: plans, names, size }));
        self.named.insert(full, plan.clone());
        Ok(plan)
    }

    fn register(&mut self, schema: &Json, namespace: &str, plan: Plan) -> Result<Plan, AvroError> {
        self.named.insert(full_name(schema, namespace)?, plan.clone());
        Ok(plan)
    }

    fn named(&self, name: &str, namespace: &str, schema: &Json) -> Result<Plan, AvroError> {
        let meaning = schema.get("connect.name").and_then(Json::as_str).unwrap_or("");
        Ok(match name {
            "null" => Plan::Null,
            "boolean" => Plan::Boolean,
            "int" | "long" => Plan::Long(meaning.into()),
            "float" => Plan::Float,
            "double" => Plan::Double,
            "bytes" => {
                let decimal = schema.get("logicalType").and_then(Json::as_str) == Some("decimal");
                let scale = schema.get("scale").and_then(Json::as_u64).unwrap_or(0);
                if decimal && scale > SCALE_MAX {
                    return Err(AvroError::Schema(format!(
                        "a decimal of more than {SCALE_MAX} digits after its point"
                    )));
                }
                Plan::Bytes { scale: decimal.then_some(scale as u32) }
            }
            "string" => Plan::Text,
            name => {
                let qualified = format!("{namespace}.{name}");
                let found = self.named.get(name).or_else(|| self.named.get(&qualified));
                found.cloned().ok_or_else(|| AvroError::Schema(format!("unknown type {name}")))?
            }
        })
    }
}

fn full_name(schema: &Json, namespace: &str) -> Result<String, AvroError> {
    let name = schema.get("name").and_then(Json::as_str);
    let name = name.ok_or_else(|| AvroError::Schema("a named type without a name".to_owned()))?;
    let namespace = schema.get("namespace").and_then(Json::as_str).unwrap_or(namespace);
    if name.contains('.') || namespace.is_empty() { Ok(name.to_owned()) } else { Ok(format!("{namespace}.{name}")) }
}
