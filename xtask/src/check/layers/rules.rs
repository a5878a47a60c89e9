//! The two rules, pure: from edges between modules to those that break a rule.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Imports, Site};
use crate::check::source::Crate;

/// An import that there should not be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// Who imports whom: `crate: a -> b`.
    pub(super) name: String,
    /// Where it is, and why it is one.
    pub(super) explained: String,
}

/// Imports between the nodes of a folder: the first of each, by who does it where.
type Edges<'a> = BTreeMap<(usize, usize), (usize, &'a Site)>;

/// Imports that are part of a circle.
///
/// In every folder, the folder's own module and each of its children are taken
/// as one node each, a child with all that is in it. An import is part of a
/// circle when the imports between these nodes lead back from where it goes to
/// where it comes from.
pub(super) fn circles(it: &Crate, imports: &Imports) -> Vec<Violation> {
    let mut folders: BTreeMap<usize, Edges<'_>> = BTreeMap::new();
    for (&(from, to), site) in imports {
        let folder = shared_folder(it, from, to);
        let edge = (node_in(it, folder, from), node_in(it, folder, to));
        folders
            .entry(folder)
            .or_default()
            .entry(edge)
            .or_insert((from, site));
    }
    let mut violations = Vec::new();
    for edges in folders.values() {
        for (&(from, to), (at, site)) in edges {
            if let Some(way) = way_back(edges, to, from) {
                let way: Vec<_> = way.into_iter().map(|node| it.shown(node)).collect();
                violations.push(Violation {
                    name: format!("{}: {} -> {}", it.name, it.shown(from), it.shown(to)),
                    explained: format!(
                        "{}:{}: `{}`; and the way back: {}",
                        it.modules[*at].file.display(),
                        site.line,
                        site.words,
                        way.join(" -> "),
                    ),
                });
            }
        }
    }
    violations
}

/// Imports by which a top folder reaches above itself, or beside itself on its
/// own storey. `storeys` has the lowest first; what is not in it is an error of
/// its own, since nobody said where it belongs.
pub(super) fn upward(it: &Crate, imports: &Imports, storeys: &[&[&str]]) -> Vec<Violation> {
    let storey_of = |module: usize| {
        let top = it.modules[module].path.first()?;
        storeys
            .iter()
            .position(|storey| storey.contains(&top.as_str()))
    };
    let mut violations = Vec::new();
    for &child in it.modules[0].children.values() {
        if storey_of(child).is_none() {
            let name = it.shown(child);
            violations.push(Violation {
                name: format!("{}: {name} has no storey", it.name),
                explained: format!(
                    "{}: say in xtask/src/check/layers/mod.rs where it belongs",
                    it.modules[child].file.display()
                ),
            });
        }
    }
    for (&(from, to), site) in imports {
        let top = |module: usize| it.modules[module].path.first();
        let (Some(storey), Some(above)) = (storey_of(from), storey_of(to)) else {
            continue;
        };
        if top(from) != top(to) && above >= storey {
            violations.push(Violation {
                name: format!("{}: {} -> {}", it.name, it.shown(from), it.shown(to)),
                explained: format!(
                    "{}:{}: `{}`, which is {} it",
                    it.modules[from].file.display(),
                    site.line,
                    site.words,
                    if above > storey {
                        "above"
                    } else {
                        "on one storey with"
                    },
                ),
            });
        }
    }
    violations
}

/// The innermost module that has both in it.
fn shared_folder(it: &Crate, one: usize, other: usize) -> usize {
    let mut folder = one;
    while !it.is_within(other, folder) {
        // The root has everything in it.
        folder = it.modules[folder].parent.unwrap_or(0);
    }
    folder
}

/// The child of `folder` that `module` lies in, or `folder` itself.
fn node_in(it: &Crate, folder: usize, module: usize) -> usize {
    let mut node = module;
    while node != folder && it.modules[node].parent != Some(folder) {
        node = it.modules[node].parent.unwrap_or(folder);
    }
    node
}

/// The shortest way over `edges`, both ends included.
fn way_back(edges: &Edges<'_>, from: usize, to: usize) -> Option<Vec<usize>> {
    let mut seen = BTreeSet::from([from]);
    let mut ways = vec![vec![from]];
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let last = *way.last()?;
            if last == to {
                return Some(way);
            }
            for &(_, next) in edges.keys().filter(|(start, _)| *start == last) {
                if seen.insert(next) {
                    longer.push([way.as_slice(), &[next]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}
