use super::*;
use crate::check::source::tests::crate_of;

fn names(violations: &[rules::Violation]) -> Vec<&str> {
    violations.iter().map(|v| arrow(&v.name)).collect()
}

fn circles(files: &[(&str, &str)]) -> Vec<String> {
    let it = crate_of(files);
    let found = rules::circles(&it, &imports::of(&it));
    names(&found).into_iter().map(str::to_owned).collect()
}

fn upward(files: &[(&str, &str)]) -> Vec<String> {
    let it = crate_of(files);
    let storeys: &[&[&str]] = &[&["low", "beside"], &["high"]];
    let found = rules::upward(&it, &imports::of(&it), storeys);
    names(&found).into_iter().map(str::to_owned).collect()
}

#[test]
fn two_modules_that_import_each_other_are_a_circle() {
    let found = circles(&[
        ("src/lib.rs", "mod a; mod b; mod c;"),
        ("src/a.rs", "use crate::b::B; pub struct A;"),
        ("src/b.rs", "pub struct B; fn f() { crate::a::A; }"),
        ("src/c.rs", "use crate::{a::A, b};  fn f() { b::B; }"),
    ]);
    assert_eq!(found, ["a -> b", "b -> a"]);
}

#[test]
fn a_circle_of_three_is_found_and_shows_the_way_back() {
    let it = crate_of(&[
        ("src/lib.rs", "mod a; mod b; mod c;"),
        ("src/a.rs", "\nuse crate::b::B; pub struct A;"),
        ("src/b.rs", "use crate::c::C; pub struct B;"),
        ("src/c.rs", "use crate::a::A; pub struct C;"),
    ]);
    let found = rules::circles(&it, &imports::of(&it));
    assert_eq!(names(&found), ["a -> b", "b -> c", "c -> a"]);
    assert_eq!(
        found[0].explained,
        "src/a.rs:2: `crate::b::B`; and the way back: b -> c -> a"
    );
}

#[test]
fn a_folder_counts_as_one_for_those_beside_it() {
    let found = circles(&[
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a/mod.rs", "mod x; mod y;"),
        ("src/a/x.rs", "use crate::b::B;"),
        ("src/a/y.rs", "pub struct Y;"),
        ("src/b.rs", "use crate::a::y::Y; pub struct B;"),
    ]);
    assert_eq!(found, ["a -> b", "b -> a"]);
}

#[test]
fn a_parent_may_use_its_child_or_be_used_by_it_but_not_both() {
    let parent = "mod child; pub struct P;";
    let child = ("src/child.rs", "use super::P; pub struct C;");
    assert!(circles(&[("src/lib.rs", parent), child]).is_empty());

    let with_use = format!("{parent} fn f(_: child::C) {{}}");
    assert_eq!(
        circles(&[("src/lib.rs", &with_use), child]),
        ["crate -> child", "child -> crate"]
    );
}

#[test]
fn to_show_what_is_inside_is_no_import_and_to_work_with_it_is() {
    let child = ("src/child.rs", "use super::P; pub struct C;");
    let shows = "mod child; pub(crate) use child::C; pub struct P;";
    assert!(circles(&[("src/lib.rs", shows), child]).is_empty());

    let works = format!("{shows} fn f(_: C) {{}}");
    assert_eq!(circles(&[("src/lib.rs", &works), child]).len(), 2);
}

#[test]
fn what_a_parent_re_exports_is_imported_from_where_it_is_defined() {
    let found = circles(&[
        ("src/lib.rs", "mod a; mod b; pub use a::A; pub use b::*;"),
        ("src/a.rs", "use crate::B; pub struct A;"),
        ("src/b.rs", "use super::A; pub struct B;"),
    ]);
    assert_eq!(found, ["a -> b", "b -> a"]);
}

#[test]
fn macros_and_attributes_are_looked_into() {
    let found = circles(&[
        ("src/lib.rs", "mod a; mod b; mod c;"),
        (
            "src/a.rs",
            "fn f() { println!(\"{}\", crate::b::B); } pub const A: u8 = 0;",
        ),
        (
            "src/b.rs",
            "#[serde(with = \"crate::c\")] struct S; pub const B: u8 = 0;",
        ),
        (
            "src/c.rs",
            "#[arg(default_value_t = crate::a::A)] struct S;",
        ),
    ]);
    assert_eq!(found, ["a -> b", "b -> c", "c -> a"]);
}

#[test]
fn tests_and_other_crates_do_not_count() {
    let found = circles(&[
        ("src/lib.rs", "mod a; mod b; mod log;"),
        (
            "src/a.rs",
            "use crate::b::B; use ::log::Level; use std::fmt; pub struct A;",
        ),
        (
            "src/b.rs",
            "#[cfg(test)] use crate::a::A; pub struct B;
             impl B { #[cfg(test)] fn f(_: crate::a::A) {} }
             #[cfg(test)] mod tests { use crate::a::A; }",
        ),
        ("src/log.rs", "use crate::a::A; pub struct Level;"),
    ]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_variable_called_as_a_module_is_not_one() {
    let found = circles(&[
        ("src/lib.rs", "mod a; mod b;"),
        (
            "src/a.rs",
            "use crate::b; fn f() { let b = 1; g(b); }  pub struct A;",
        ),
        ("src/b.rs", "use crate::a::A;"),
    ]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn what_reaches_up_or_beside_is_found() {
    let files = |low: &'static str| {
        [
            ("src/lib.rs", "mod low; mod beside; mod high;"),
            ("src/low/mod.rs", "mod deep;"),
            ("src/low/deep.rs", low),
            ("src/beside.rs", "pub struct B;"),
            ("src/high.rs", "use crate::beside::B; pub struct H;"),
        ]
    };
    assert_eq!(upward(&files("use crate::high::H;")), ["low::deep -> high"]);
    assert_eq!(
        upward(&files("use crate::beside::B;")),
        ["low::deep -> beside"]
    );
    assert!(upward(&files("")).is_empty());
}

#[test]
fn a_top_folder_that_nobody_placed_is_found() {
    let files = [
        ("src/lib.rs", "mod low; mod new;"),
        ("src/low.rs", ""),
        ("src/new.rs", ""),
    ];
    assert_eq!(upward(&files), ["new has no storey"]);
}
