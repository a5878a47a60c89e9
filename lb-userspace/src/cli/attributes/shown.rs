//! How attributes are shown.

use crate::{cli::table, wire::Attributes};

pub(in crate::cli) fn facts(attributes: &Attributes) -> [(&'static str, String); 4] {
    let draining = attributes.connection_draining;
    [
        ("connection-draining.enabled", draining.enabled.to_string()),
        (
            "connection-draining.timeout",
            format!("{} s", draining.timeout),
        ),
        ("idle-timeout", format!("{} s", attributes.idle_timeout)),
        (
            "close-rate",
            match attributes.close_rate {
                0 => "0 (no limit)".to_owned(),
                rate => format!("{rate} flows/s"),
            },
        ),
    ]
}

pub(super) fn render(attributes: &Attributes) -> String {
    table::facts(facts(attributes))
}
