//! The text of a first configuration file. Pure.

use std::fmt::Write as _;

use super::host::Found;
use crate::{
    model::Mode,
    wire::{Listener, NewBackend},
};

/// The load balancer that was asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) mode: Mode,
    pub(super) listeners: Vec<Listener>,
    pub(super) backends: Vec<NewBackend>,
}

/// Neighbours that are named in the file; more are no help.
const SHOWN: usize = 16;

const EXAMPLE: &str = r#"# Your load balancer: uncomment it and fill in your addresses. The listener is what
# clients connect to, an address that no host has yet; `backend_port` is the port that
# the servers listen on, if it differs.
#
# [[load_balancer]]
# name = "web"
# mode = "nat"
# listeners = [{ protocol = "tcp", address = "192.0.2.10", port = 80, backend_port = 8080 }]
# backends = [
#     { id = "web-1", address = "192.0.2.21" },
#     { id = "web-2", address = "192.0.2.22" },
# ]
# # A server that leaves gets no new connections; the open ones have this many seconds.
# attributes = { connection_draining = { enabled = true, timeout = 300 } }
# # Without this, every server counts as healthy.
# health_check = { target = "HTTP:8080/", interval = 5, timeout = 2 }
"#;

/// The file, which is called `name` in what it says of itself.
pub(super) fn text(found: &Found, wanted: Option<&Wanted>, name: &str) -> String {
    let mut text = format!(
        "# Written by `ebb init`. `ebb check-config {name}` checks this\n\
         # file, `ebb doctor` checks this host.\n\
         \n\
         # The interfaces towards clients and servers. Remove those that lead to neither:\n"
    );
    for interface in &found.interfaces {
        let addresses: Vec<String> = interface
            .addresses
            .iter()
            .map(|(address, prefix)| format!("{address}/{prefix}"))
            .collect();
        push(
            &mut text,
            format_args!("#   {}: {}\n", interface.name, addresses.join(", ")),
        );
    }
    let names: Vec<String> = found
        .interfaces
        .iter()
        .map(|interface| quoted(&interface.name))
        .collect();
    push(
        &mut text,
        format_args!("interfaces = [{}]\n", names.join(", ")),
    );
    text.push_str(
        "\n# Add the listeners' addresses to an interface, and remove them with the listeners.\n\
         manage_vips = true\n\n",
    );
    if !found.neighbours.is_empty() {
        text.push_str("# Hosts that were seen on these networks:\n");
        for (address, interface) in found.neighbours.iter().take(SHOWN) {
            push(&mut text, format_args!("#   {address} on {interface}\n"));
        }
        text.push('\n');
    }
    match wanted {
        None => text.push_str(EXAMPLE),
        Some(wanted) => load_balancer(&mut text, wanted),
    }
    text
}

fn load_balancer(text: &mut String, wanted: &Wanted) {
    push(
        text,
        format_args!(
            "[[load_balancer]]\nname = {}\nmode = \"{}\"\nlisteners = [\n",
            quoted(&wanted.name),
            wanted.mode.name()
        ),
    );
    for listener in &wanted.listeners {
        let backend_port = listener
            .backend_port
            .map(|port| format!(", backend_port = {port}"))
            .unwrap_or_default();
        push(
            text,
            format_args!(
                "    {{ protocol = \"{}\", address = \"{}\", port = {}{backend_port} }},\n",
                listener.protocol.name(),
                listener.address,
                listener.port,
            ),
        );
    }
    text.push_str("]\nbackends = [\n");
    for backend in &wanted.backends {
        let id = backend
            .id
            .clone()
            .unwrap_or_else(|| backend.address.to_string());
        let weight = match backend.weight {
            1 => String::new(),
            weight => format!(", weight = {weight}"),
        };
        push(
            text,
            format_args!(
                "    {{ id = {}, address = \"{}\"{weight} }},\n",
                quoted(&id),
                backend.address
            ),
        );
    }
    text.push_str(
        "]\n\
         # A server that leaves gets no new connections; the open ones have this many seconds.\n\
         attributes = { connection_draining = { enabled = true, timeout = 300 } }\n\
         # Without a check, every server counts as healthy. The port is the servers' own.\n\
         # health_check = { target = \"HTTP:8080/\", interval = 5, timeout = 2 }\n",
    );
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::init::host::Interface,
        config::{Document, Purpose},
        model::Protocol,
    };

    fn found() -> Found {
        Found {
            interfaces: vec![
                Interface {
                    name: "eth0".to_owned(),
                    addresses: vec![("192.0.2.5".parse().unwrap(), 24)],
                },
                Interface {
                    name: "odd \"name".to_owned(),
                    addresses: vec![("fd00::5".parse().unwrap(), 64)],
                },
            ],
            neighbours: vec![("192.0.2.21".parse().unwrap(), "eth0".to_owned())],
        }
    }

    #[test]
    fn the_file_is_good_as_it_stands_and_names_what_was_found() {
        let text = text(&found(), None, "ebb.toml");
        let document = Document::parse("ebb.toml", &text, Purpose::Agent, None).unwrap();
        assert!(document.declaration.is_empty());
        for line in [
            "#   eth0: 192.0.2.5/24\n",
            "#   192.0.2.21 on eth0\n",
            "interfaces = [\"eth0\", 'odd \"name']\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    /// What a reader does with the example: take the comment signs away.
    #[test]
    fn the_example_is_good_without_its_comment_signs() {
        let bare = |line: &str| line.strip_prefix("# ").unwrap_or(line).to_owned();
        let example = EXAMPLE.split_once("#\n").unwrap().1;
        let text: Vec<String> = example.lines().map(bare).collect();
        let text = format!("interfaces = [\"eth0\"]\n{}", text.join("\n"));
        let document = Document::parse("ebb.toml", &text, Purpose::Agent, None).unwrap();
        let lb = &document.declaration.values().next().unwrap();
        assert_eq!(lb.backends.len(), 2);
        assert!(lb.health_check.is_some());
    }

    #[test]
    fn what_was_asked_for_is_declared() {
        let wanted = Wanted {
            name: "web".to_owned(),
            mode: Mode::Nat,
            listeners: vec![Listener {
                protocol: Protocol::Tcp,
                address: "192.0.2.10".parse().unwrap(),
                port: 80,
                backend_port: Some(8080),
            }],
            backends: vec![
                NewBackend {
                    id: Some("web-1".to_owned()),
                    address: "192.0.2.21".parse().unwrap(),
                    weight: 1,
                },
                NewBackend {
                    id: None,
                    address: "192.0.2.22".parse().unwrap(),
                    weight: 7,
                },
            ],
        };
        let text = text(&found(), Some(&wanted), "ebb.toml");
        let document = Document::parse("ebb.toml", &text, Purpose::Agent, None).unwrap();
        let lb = &document.declaration.values().next().unwrap();
        assert_eq!(lb.listeners.len(), 1);
        let weights: Vec<_> = lb
            .backends
            .iter()
            .map(|(id, backend)| (id.as_str(), backend.weight.get()))
            .collect();
        assert_eq!(weights, [("192.0.2.22", 7), ("web-1", 1)]);
    }
}
