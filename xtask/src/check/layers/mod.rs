//! The gate `layers`: nothing imports a folder above it, and no two modules
//! import each other.
//!
//! **What an import is.** A module imports another when it names an item of the
//! other: in a `use`, in a path, in the arguments of a macro or an attribute.
//! The other is where the item is *defined*: a name is followed through
//! re-exports, so that `super::Thing` is an import of the sibling that the parent
//! has `Thing` from. These are none:
//!
//! - `mod child;`, and a parent's `pub use child::Thing`: a folder shows what is in it.
//!   A parent that also works with `Thing` does import the child.
//! - A `use` that only names a module: what is asked for through it counts.
//! - What is compiled for tests only (`#[cfg(test)]`).
//!
//! **The first rule: no circles.** In every folder, take the folder's own module
//! as a node, and each child with all that is in it as one: the imports between
//! these nodes form no circle. So a child may use what its parent defines, or the
//! parent may use the child, but not both. It holds in every watched crate.
//!
//! **The second rule: no way up.** The top folders of lb-userspace are on
//! storeys ([`STOREYS`]), and a folder imports from lower storeys only. It
//! implies the first among the top folders, and also says which of two imports
//! is the wrong one.

mod imports;
mod rules;
#[cfg(test)]
mod tests;

use anyhow::{Result, bail};

use super::source::Crate;

/// The top folders of lb-userspace, lowest first.
const STOREYS: [&[&str]; 13] = [
    &[
        "bpffs",
        "clock",
        "lock",
        "logging",
        "notify",
        "object",
        "packet_socket",
        "seldom",
        "root_cause",
        "suggest",
        "tables",
    ],
    &["model"],
    &["netlink", "outbound", "wire"],
    &["announce"],
    &["config"],
    &["health", "dataplane"],
    &["state"],
    &["store"],
    &["control"],
    &["hooks"],
    &["api"],
    &["agent", "decap", "doctor"],
    &["cli"],
];

/// Judges the crates.
pub(super) fn check(crates: &[Crate]) -> Result<()> {
    let mut violations = Vec::new();
    for it in crates {
        let imports = imports::of(it);
        let watched_tops = it.name == "lb-userspace";
        let mut circles = rules::circles(it, &imports);
        if watched_tops {
            // Among the top folders the second rule says it better.
            let is_of_tops = |name: &str| !name.contains("::");
            circles.retain(|violation| !is_of_tops(arrow(&violation.name)));
            violations.extend(rules::upward(it, &imports, &STOREYS));
        }
        violations.extend(circles);
    }
    if violations.is_empty() {
        return Ok(());
    }
    let explained = violations
        .iter()
        .map(|violation| format!("{}\n    {}", violation.name, violation.explained));
    bail!("{}", explained.collect::<Vec<_>>().join("\n"));
}

/// What a violation's name says behind the crate.
fn arrow(name: &str) -> &str {
    name.split_once(": ").map_or(name, |(_, arrow)| arrow)
}
