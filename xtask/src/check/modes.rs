//! The gate `modes`: a `match` on the forwarding mode names every mode.
//!
//! A fourth mode must not pass for one of the three by way of `_ =>`. Clippy's
//! `wildcard_enum_match_arm` says so of every enum, which is too much; here it
//! is said of one. A `match` that names a variant of `Mode` in one of its arms,
//! however deep in the pattern, has no arm that takes any mode at that place.
//! `if let` and `matches!` ask about one mode and are free.

use anyhow::{Result, bail};
use syn::{
    ExprMatch, ItemImpl, Pat, Type,
    spanned::Spanned as _,
    visit::{self, Visit},
};

use super::source::Crate;

/// The enum that is watched, in lb-common.
const WATCHED: &str = "Mode";

/// Judges every `match` of the crates.
pub(super) fn check(crates: &[Crate]) -> Result<()> {
    let mut complaints = Vec::new();
    for module in crates.iter().flat_map(|it| &it.modules) {
        for line in wildcards(&module.items) {
            complaints.push(format!(
                "{}:{line}: this arm takes any {WATCHED}: name the modes that it is for",
                module.file.display()
            ));
        }
    }
    if complaints.is_empty() {
        return Ok(());
    }
    bail!("{}", complaints.join("\n"));
}

/// The lines of arms that take any mode.
fn wildcards(items: &[syn::Item]) -> Vec<usize> {
    let mut seeker = Seeker::default();
    for item in items {
        seeker.visit_item(item);
    }
    seeker.lines
}

#[derive(Default)]
struct Seeker {
    /// In an `impl Mode`, where `Self` is one, too.
    of_watched: bool,
    lines: Vec<usize>,
}

impl<'ast> Visit<'ast> for Seeker {
    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let outer = self.of_watched;
        self.of_watched = matches!(&*item.self_ty, Type::Path(of) if of.path.is_ident(WATCHED));
        visit::visit_item_impl(self, item);
        self.of_watched = outer;
    }

    fn visit_expr_match(&mut self, found: &'ast ExprMatch) {
        let mut places = Vec::new();
        for arm in &found.arms {
            self.places(&arm.pat, &mut Vec::new(), &mut places);
        }
        for arm in &found.arms {
            if places.iter().any(|place| takes_any(&arm.pat, place)) {
                self.lines.push(arm.span().start().line);
            }
        }
        visit::visit_expr_match(self, found);
    }
}

/// A step from a pattern to one inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Of a tuple, counted from the front.
    Element(usize),
    /// Of a tuple struct or a variant, by its last name: `Some(…)`.
    Of(String, usize),
    /// Of a struct or a variant with names.
    Field(String, String),
}

impl Seeker {
    /// Where in `pat` a variant of the watched enum is named.
    fn places(&self, pat: &Pat, at: &mut Vec<Step>, places: &mut Vec<Vec<Step>>) {
        let mut inside = |step: Step, pat: &Pat| {
            at.push(step);
            self.places(pat, at, places);
            at.pop();
        };
        match pat {
            Pat::Path(named) if self.is_watched(&named.path) => places.push(at.clone()),
            Pat::Or(or) => {
                for case in &or.cases {
                    self.places(case, at, places);
                }
            }
            Pat::Paren(paren) => self.places(&paren.pat, at, places),
            Pat::Reference(reference) => self.places(&reference.pat, at, places),
            Pat::Guard(guard) => self.places(&guard.pat, at, places),
            Pat::Ident(bound) => {
                if let Some((_, pat)) = &bound.subpat {
                    self.places(pat, at, places);
                }
            }
            Pat::Tuple(tuple) => {
                for (index, pat) in tuple.elems.iter().enumerate() {
                    inside(Step::Element(index), pat);
                }
            }
            Pat::TupleStruct(named) => {
                for (index, pat) in named.elems.iter().enumerate() {
                    inside(Step::Of(last(&named.path), index), pat);
                }
            }
            Pat::Struct(named) => {
                for field in &named.fields {
                    inside(Step::Field(last(&named.path), member(field)), &field.pat);
                }
            }
            _ => {}
        }
    }

    /// `Mode::Nat`, by whatever way to `Mode`.
    fn is_watched(&self, path: &syn::Path) -> bool {
        let mut words = path.segments.iter().rev().skip(1);
        words
            .next()
            .is_some_and(|word| word.ident == WATCHED || (self.of_watched && word.ident == "Self"))
    }
}

/// Whether `pat` takes whatever is at `place`.
fn takes_any(pat: &Pat, place: &[Step]) -> bool {
    match (pat, place.first()) {
        (Pat::Wild(_), _) => true,
        (Pat::Ident(bound), _) => match &bound.subpat {
            Some((_, pat)) => takes_any(pat, place),
            // `NONE` is a constant, or a variant that was imported.
            None => bound.ident.to_string().starts_with(char::is_lowercase),
        },
        (Pat::Or(or), _) => or.cases.iter().any(|case| takes_any(case, place)),
        (Pat::Paren(paren), _) => takes_any(&paren.pat, place),
        (Pat::Reference(reference), _) => takes_any(&reference.pat, place),
        (Pat::Guard(guard), _) => takes_any(&guard.pat, place),
        (Pat::Tuple(tuple), Some(Step::Element(index))) => {
            takes_element(tuple.elems.iter(), *index, &place[1..])
        }
        (Pat::TupleStruct(named), Some(Step::Of(name, index))) => {
            last(&named.path) == *name && takes_element(named.elems.iter(), *index, &place[1..])
        }
        (Pat::Struct(named), Some(Step::Field(name, field))) => {
            last(&named.path) == *name
                && named
                    .fields
                    .iter()
                    .find(|pat| member(pat) == *field)
                    // What is not named is in `..`.
                    .is_none_or(|pat| takes_any(&pat.pat, &place[1..]))
        }
        _ => false,
    }
}

fn takes_element<'a>(
    mut elements: impl Iterator<Item = &'a Pat>,
    index: usize,
    place: &[Step],
) -> bool {
    // Elements behind a `..` are not counted from the front: what is there is
    // taken for any.
    let mut before = elements.by_ref().take(index + 1);
    let mut last = None;
    for element in before.by_ref() {
        if matches!(element, Pat::Rest(_)) {
            return true;
        }
        last = Some(element);
    }
    last.is_some_and(|element| takes_any(element, place))
}

fn last(path: &syn::Path) -> String {
    path.segments
        .last()
        .map(|segment| segment.ident.to_string())
        .unwrap_or_default()
}

fn member(field: &syn::FieldPat) -> String {
    match &field.member {
        syn::Member::Named(name) => name.to_string(),
        syn::Member::Unnamed(index) => index.index.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(arms: &str) -> Vec<usize> {
        let text = format!("fn f() {{ match x {{\n{arms}\n}} }}");
        wildcards(&syn::parse_file(&text).expect("Rust").items)
    }

    #[test]
    fn an_arm_that_takes_any_mode_is_found() {
        assert_eq!(found("Mode::Nat => 1,\n_ => 2,"), [3]);
        assert_eq!(found("lb_common::Mode::Dsr => 1,\nother => 2,"), [3]);
        assert_eq!(
            found("Mode::Nat => 1,\n_ if late => 2,\nMode::Dsr | Mode::Ipip => 3,"),
            [3]
        );
        assert_eq!(found("Mode::Nat | _ => 1,"), [2]);
        assert_eq!(found("&Mode::Nat => 1,\n&(any @ _) => 2,"), [3]);
    }

    #[test]
    fn also_deep_in_a_pattern() {
        assert_eq!(found("(Mode::Nat, true) => 1,\n(_, false) => 2,"), [3]);
        assert_eq!(found("(1, Mode::Nat) => 1,\n(1, ..) => 2,"), [3]);
        assert_eq!(
            found("Some(Mode::Nat) => 1,\nSome(_) => 2,\nNone => 3,"),
            [3]
        );
        assert_eq!(
            found("Backend { mode: Mode::Nat, .. } => 1,\nBackend { .. } => 2,"),
            [3]
        );
        assert_eq!(
            found("Backend { mode: Mode::Nat } => 1,\nBackend { mode } => 2,"),
            [3]
        );
    }

    #[test]
    fn a_wildcard_elsewhere_is_free() {
        assert!(found("Mode::Nat | Mode::Dsr => 1,\nMode::Ipip => 2,").is_empty());
        assert!(found("(Mode::Nat, _) => 1,\n(Mode::Dsr | Mode::Ipip, _) => 2,").is_empty());
        assert!(found("Some(Mode::Nat | Mode::Dsr | Mode::Ipip) => 1,\nNone => 2,").is_empty());
        assert!(found("Ok(Mode::Nat | Mode::Dsr | Mode::Ipip) => 1,\nErr(_) => 2,").is_empty());
        assert!(found("XdpMode::Driver => 1,\n_ => 2,").is_empty());
    }

    #[test]
    fn in_its_own_impl_the_mode_is_self() {
        let of = |text: &str| wildcards(&syn::parse_file(text).expect("Rust").items);
        let body = "{ fn f(self) { match self { Self::Nat => 1, _ => 2 } } }";
        assert_eq!(of(&format!("impl Mode {body}")), [1]);
        assert!(of(&format!("impl Verdict {body}")).is_empty());
    }
}
