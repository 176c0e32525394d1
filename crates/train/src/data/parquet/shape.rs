//! What a column's schema is in JSON, and its values from those of its primitive columns.
//!
//! The encoding is Dremel's (Melnik et al., Dremel, VLDB 2010, section 4): with each value of a primitive column come two levels.
//! The definition level says how many of the optional and repeated fields on the way to it are there; the repetition level,
//! which of the repeated ones goes on. A value that is not there has levels too, so each primitive column below a list or a
//! struct has one entry at least.

use parquet::basic::{ConvertedType, LogicalType, Repetition};
use parquet::schema::types::Type;
use serde_json::{Map, Value};

use super::leaf::Leaf;

/// A part of a row. `leaf` is the first of the primitive columns below it, counted from the column's own first.
#[derive(Debug, PartialEq)]
pub(super) enum Shape {
    /// A number, a text, true or false.
    Value { leaf: usize },
    /// A list: null if the definition level is below `there`, empty if it is below `filled`; it goes on as long as the
    /// repetition level is `again`.
    List { leaf: usize, there: i16, filled: i16, again: i16, element: Box<Shape> },
    /// A struct: null if the definition level is below `there`.
    Object { leaf: usize, there: i16, fields: Vec<(String, Shape)> },
}

/// The levels at which a field is there.
#[derive(Clone, Copy)]
struct Levels {
    definition: i16,
    repetition: i16,
}

/// Lists in structs in lists: so deep is no row.
const DEEPEST: i16 = 64;

impl Shape {
    /// Of a column with so many primitive columns.
    pub(super) fn of(column: &Type, leaves: usize) -> Result<Self, String> {
        let mut walk = Walk { leaves: 0, depth: 0 };
        let shape = walk.field(column, Levels { definition: 0, repetition: 0 });
        shape
            .and_then(|shape| if walk.leaves == leaves { Ok(shape) } else { Err("a schema that cannot be read") })
            .map_err(|what| format!("column `{}` is {what}, of which no row can be made", column.name()))
    }

    /// The value in the next row.
    pub(super) fn next(&self, leaves: &mut [Leaf]) -> Result<Value, String> {
        let value = self.value(leaves)?;
        match leaves.iter().find(|leaf| leaf.goes_on()) {
            Some(leaf) => Err(leaf.disagrees()),
            None => Ok(value),
        }
    }

    fn value(&self, leaves: &mut [Leaf]) -> Result<Value, String> {
        match self {
            Shape::Value { leaf } => leaves[*leaf].take(),
            Shape::List { leaf, there, filled, again, element } => {
                let definition = leaves[*leaf].definition()?;
                if definition < *filled {
                    self.pass_over(leaves)?;
                    return Ok(if definition < *there { Value::Null } else { Value::Array(Vec::new()) });
                }
                let mut list = vec![element.value(leaves)?];
                while leaves[*leaf].repetition() == Some(*again) {
                    list.push(element.value(leaves)?);
                }
                Ok(Value::Array(list))
            }
            Shape::Object { leaf, there, fields } => {
                if leaves[*leaf].definition()? < *there {
                    self.pass_over(leaves)?;
                    return Ok(Value::Null);
                }
                let mut object = Map::new();
                for (name, field) in fields {
                    match field.value(leaves)? {
                        Value::Null => {}
                        value => drop(object.insert(name.clone(), value)),
                    }
                }
                Ok(Value::Object(object))
            }
        }
    }

    /// Takes the entries that stand for something that is not there.
    fn pass_over(&self, leaves: &mut [Leaf]) -> Result<(), String> {
        match self {
            Shape::Value { leaf } => leaves[*leaf].take().map(drop),
            Shape::List { element, .. } => element.pass_over(leaves),
            Shape::Object { fields, .. } => fields.iter().try_for_each(|(_, field)| field.pass_over(leaves)),
        }
    }
}

/// Counts what it has seen of a schema.
struct Walk {
    leaves: usize,
    depth: i16,
}

impl Walk {
    fn field(&mut self, field: &Type, levels: Levels) -> Result<Shape, &'static str> {
        let info = field.get_basic_info();
        let deeper = Levels { definition: levels.definition + 1, ..levels };
        match if info.has_repetition() { info.repetition() } else { Repetition::REQUIRED } {
            Repetition::REQUIRED => self.inner(field, levels),
            Repetition::OPTIONAL => self.inner(field, deeper),
            // A list without an annotation.
            Repetition::REPEATED => self.list(levels, |walk, levels| walk.inner(field, levels)),
        }
    }

    /// A field that is there.
    fn inner(&mut self, field: &Type, levels: Levels) -> Result<Shape, &'static str> {
        if field.is_primitive() {
            self.leaves += 1;
            return Ok(Shape::Value { leaf: self.leaves - 1 });
        }
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("nested too deeply");
        }
        let shape = if is(field, &LogicalType::List, ConvertedType::LIST) {
            self.annotated(field, levels)
        } else if is(field, &LogicalType::Map, ConvertedType::MAP)
            || field.get_basic_info().converted_type() == ConvertedType::MAP_KEY_VALUE
        {
            Err("a map, or holds one (write it as a struct)")
        } else {
            self.object(field, levels)
        };
        self.depth -= 1;
        shape
    }

    fn object(&mut self, group: &Type, levels: Levels) -> Result<Shape, &'static str> {
        let leaf = self.leaves;
        let field = |field: &std::sync::Arc<Type>| Ok((field.name().to_owned(), self.field(field, levels)?));
        let fields: Vec<_> = group.get_fields().iter().map(field).collect::<Result<_, &'static str>>()?;
        if fields.is_empty() {
            return Err("a struct without fields, or holds one");
        }
        Ok(Shape::Object { leaf, there: levels.definition, fields })
    }

    /// The element by the format's rules, those for older files included (parquet-format, LogicalTypes.md, "Lists").
    fn annotated(&mut self, list: &Type, levels: Levels) -> Result<Shape, &'static str> {
        let [repeated] = list.get_fields() else { return Err("a list that is not written as one") };
        let info = repeated.get_basic_info();
        if !info.has_repetition() || info.repetition() != Repetition::REPEATED {
            return Err("a list that is not written as one");
        }
        self.list(levels, |walk, levels| {
            if repeated.is_primitive() {
                return walk.inner(repeated, levels);
            }
            let old_names = repeated.name() == "array" || repeated.name() == format!("{}_tuple", list.name());
            match repeated.get_fields() {
                [element] if !old_names => walk.field(element, levels),
                _ => walk.object(repeated, levels),
            }
        })
    }

    fn list(
        &mut self,
        levels: Levels,
        element: impl FnOnce(&mut Self, Levels) -> Result<Shape, &'static str>,
    ) -> Result<Shape, &'static str> {
        let leaf = self.leaves;
        let inner = Levels { definition: levels.definition + 1, repetition: levels.repetition + 1 };
        let element = Box::new(element(self, inner)?);
        Ok(Shape::List { leaf, there: levels.definition, filled: inner.definition, again: inner.repetition, element })
    }
}

/// Whether a field is annotated so, in the new way or else in the old one.
fn is(field: &Type, logical: &LogicalType, converted: ConvertedType) -> bool {
    let info = field.get_basic_info();
    info.logical_type_ref().map_or(info.converted_type() == converted, |found| found == logical)
}
