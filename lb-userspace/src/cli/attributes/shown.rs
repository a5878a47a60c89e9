//! How attributes are shown.

use crate::{
    cli::table,
    model::{Attribute, Takes, Unit, Value},
    wire::Attributes,
};

/// Each attribute's name on the command line, and what it is.
pub(in crate::cli) fn facts(attributes: &Attributes) -> Vec<(&'static str, String)> {
    let shown = |attribute: Attribute| (attribute.command_line(), value(attribute, attributes));
    Attribute::ALL.map(shown).to_vec()
}

fn value(attribute: Attribute, attributes: &Attributes) -> String {
    let draining = attributes.connection_draining;
    let value = match attribute {
        Attribute::DrainingEnabled => Value::Flag(draining.enabled),
        Attribute::DrainingTimeout => Value::Number(draining.timeout),
        Attribute::IdleTimeout => Value::Number(attributes.idle_timeout),
        Attribute::CloseRate => Value::Number(attributes.close_rate),
        Attribute::NatSource => return attributes.nat_source.clone(),
    };
    match (attribute.takes(), value) {
        (Takes::Number(_, Unit::FlowsPerSecond), Value::Number(0)) => "0 (no limit)".to_owned(),
        (Takes::Number(_, Unit::FlowsPerSecond), rate) => format!("{rate} flows/s"),
        (Takes::Number(_, Unit::Seconds), seconds) => format!("{seconds} s"),
        (Takes::Flag | Takes::OneOf(_), value) => value.to_string(),
    }
}

pub(super) fn render(attributes: &Attributes) -> String {
    table::facts(facts(attributes))
}

/// Every attribute with what it takes, for the help of `ebb attributes set`.
pub(super) fn keys() -> String {
    Attribute::ALL
        .map(|attribute| {
            format!(
                "  {}: {}; default {}\n      {}\n",
                attribute.command_line(),
                attribute.takes(),
                attribute.default(),
                attribute.help()
            )
        })
        .concat()
}
