//! Jinja's tests.

use std::rc::Rc;

use super::access::contains;
use super::calls::Called;
use super::machine::Machine;
use super::operators::{binary, compare};
use super::value::Value;
use super::{Eval, lacks, raise};

/// `value is name(…)`
pub fn call(machine: &Machine<'_>, name: &str, value: &Value, called: &Called) -> Eval<bool> {
    let meter = &machine.meter;
    let other = || match called.positional.first() {
        Some(other) => Ok(other),
        None => raise(format!("the test {name} takes a value")),
    };
    Ok(match name {
        "defined" => !matches!(value, Value::Undefined),
        "undefined" => matches!(value, Value::Undefined),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(..)),
        "float" => matches!(value, Value::Float(..)),
        "number" => value.number().is_some(),
        "string" => matches!(value, Value::Str(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        "sequence" => matches!(
            value,
            Value::Undefined | Value::Str(_) | Value::List(_) | Value::Tuple(_) | Value::Dict(_) | Value::Range(..)
        ),
        "iterable" => matches!(
            value,
            Value::Undefined
                | Value::Str(_)
                | Value::List(_)
                | Value::Tuple(_)
                | Value::Dict(_)
                | Value::View(..)
                | Value::Range(..)
                | Value::Generator(_)
                | Value::Loop(_)
        ),
        "callable" => match value {
            Value::Macro(_) | Value::Method(..) | Value::Function(_) | Value::Loop(_) => true,
            // Calling it raises, but it has a call.
            Value::Undefined => true,
            _ => false,
        },
        "escaped" => matches!(value, Value::Str(text) if text.markup),
        "odd" | "even" => {
            let rest = binary(meter, "mod", value, &Value::int(2))?;
            compare(meter, "eq", &rest, &Value::int(i64::from(name == "odd")))?
        }
        "divisibleby" => compare(meter, "eq", &binary(meter, "mod", value, other()?)?, &Value::int(0))?,
        "eq" | "equalto" | "==" => compare(meter, "eq", value, other()?)?,
        "ne" | "!=" => compare(meter, "ne", value, other()?)?,
        "lt" | "lessthan" | "<" => compare(meter, "lt", value, other()?)?,
        "le" | "<=" => compare(meter, "lteq", value, other()?)?,
        "gt" | "greaterthan" | ">" => compare(meter, "gt", value, other()?)?,
        "ge" | ">=" => compare(meter, "gteq", value, other()?)?,
        "in" => contains(meter, other()?, value)?,
        "lower" | "upper" => {
            let Value::Str(text) = value else { return lacks(format!("the test {name} of what is no string")) };
            meter.read(text.len())?;
            if !text.as_str().is_ascii() {
                return Ok(machine.ask(&format!("is{name}"), text.as_str())? == "True");
            }
            let has = |of: fn(&char) -> bool| text.as_str().chars().any(|c| of(&c));
            let (lower, upper) = (has(char::is_ascii_lowercase), has(char::is_ascii_uppercase));
            if name == "lower" { lower && !upper } else { upper && !lower }
        }
        "sameas" => match (value, other()?) {
            (Value::None, Value::None) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::List(a), Value::List(b)) => Rc::ptr_eq(a, b),
            (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
            (a, b) if std::mem::discriminant(a) != std::mem::discriminant(b) => false,
            _ => return lacks("sameas of such values"),
        },
        "filter" | "test" => return lacks(format!("the test {name}")),
        _ => return raise(format!("No test named {name:?} found.")),
    })
}
