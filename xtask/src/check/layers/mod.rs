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
//!
//! `known.txt` lists the imports that broke a rule when the gate was put up. It
//! only shrinks: what is in it and no longer there is an error as well.

mod imports;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use self::rules::Violation;
use super::source::Crate;

/// The top folders of lb-userspace, lowest first.
const STOREYS: [&[&str]; 13] = [
    &[
        "clock",
        "lock",
        "logging",
        "notify",
        "object",
        "packet_socket",
        "seldom",
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

const KNOWN: &str = include_str!("known.txt");

/// Judges the crates, and compares with what is known.
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
    let complaints = compare(&violations, KNOWN);
    if complaints.is_empty() {
        return Ok(());
    }
    bail!("{}", complaints.join("\n"));
}

/// What a violation's name says behind the crate.
fn arrow(name: &str) -> &str {
    name.split_once(": ").map_or(name, |(_, arrow)| arrow)
}

/// What is wrong and not known, and what is known and not wrong.
fn compare(violations: &[Violation], known: &str) -> Vec<String> {
    let known: BTreeSet<&str> = known
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let found: BTreeSet<&str> = violations.iter().map(|v| v.name.as_str()).collect();
    let new = violations
        .iter()
        .filter(|violation| !known.contains(violation.name.as_str()))
        .map(|violation| format!("{}\n    {}", violation.name, violation.explained));
    let gone = known
        .difference(&found)
        .map(|name| format!("xtask/src/check/layers/known.txt: gone, delete the line: {name}"));
    new.chain(gone).collect()
}
