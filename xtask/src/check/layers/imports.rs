//! Who imports whom in a crate: from what its modules say to edges between them.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Ident, ImplItem, Item, ItemUse, Macro, Stmt, TraitItem, UseTree, Visibility,
    spanned::Spanned as _,
    visit::{self, Visit},
};

use crate::check::source::{Crate, attributes, is_of_tests};

/// The imports of a crate: from a module to a module, and a line that does it.
pub(super) type Imports = BTreeMap<(usize, usize), Site>;

/// Where a module is imported: the first place in its file.
pub(super) struct Site {
    pub(super) line: usize,
    /// As it is written there.
    pub(super) words: String,
}

/// A name is looked up through this many re-exports, and then given up: no
/// program that compiles has a chain as long.
const LONGEST_CHAIN: usize = 16;

/// Every import in the crate, as [`super`] defines one.
pub(super) fn of(it: &Crate) -> Imports {
    let said: Vec<Said> = it
        .modules
        .iter()
        .map(|module| Said::by(&module.items))
        .collect();
    let names = Names { it, said: &said };
    let mut imports = Imports::new();
    for (from, said) in said.iter().enumerate() {
        for mention in &said.mentions {
            let Some(found) = names.find(from, &mention.path, LONGEST_CHAIN) else {
                continue;
            };
            let to = found.module;
            let hands_on = mention.how == How::ReExport && it.is_within(to, from);
            // A module's name alone, or a variable of the same name, asks
            // nothing of it; `use …::*` does.
            let nothing_asked = found.is_module && !mention.opens;
            if to == from || hands_on || nothing_asked {
                continue;
            }
            imports.entry((from, to)).or_insert_with(|| Site {
                line: mention.line,
                words: mention.path.join("::"),
            });
        }
    }
    imports
}

/// What a module says of others, unresolved.
#[derive(Default)]
struct Said {
    /// Names that `use` binds here, and what they stand for.
    bound: BTreeMap<String, Vec<String>>,
    /// What `use …::*` names.
    globs: Vec<Vec<String>>,
    /// What is defined here.
    defined: BTreeSet<String>,
    mentions: Vec<Mention>,
}

struct Mention {
    path: Vec<String>,
    line: usize,
    /// A module that it names is asked for what is in it: `use …::*`.
    opens: bool,
    how: How,
}

#[derive(PartialEq, Eq)]
enum How {
    /// For the module's own use.
    Import,
    ReExport,
}

impl Said {
    fn by(items: &[Item]) -> Self {
        let mut said = Self::default();
        for item in items {
            said.defined.extend(name_of(item).map(Ident::to_string));
        }
        for item in items {
            said.visit_item(item);
        }
        said
    }

    fn take(&mut self, item: &ItemUse, tree: &UseTree, before: &[String]) {
        let with = |ident: &Ident| [before, &[ident.to_string()]].concat();
        let (path, name) = match tree {
            UseTree::Path(path) => return self.take(item, &path.tree, &with(&path.ident)),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.take(item, tree, before);
                }
                return;
            }
            UseTree::Glob(_) => {
                self.globs.push(before.to_vec());
                (before.to_vec(), None)
            }
            // `use a::{self}` binds `a`.
            UseTree::Name(name) if name.ident == "self" => {
                (before.to_vec(), before.last().cloned())
            }
            UseTree::Name(name) => (with(&name.ident), Some(name.ident.to_string())),
            UseTree::Rename(rename) if rename.ident == "self" => {
                (before.to_vec(), Some(rename.rename.to_string()))
            }
            UseTree::Rename(rename) => (with(&rename.ident), Some(rename.rename.to_string())),
        };
        let opens = name.is_none();
        if let Some(name) = name {
            self.bound.insert(name, path.clone());
        }
        self.mentions.push(Mention {
            path,
            line: tree.span().start().line,
            opens,
            how: match item.vis {
                Visibility::Inherited => How::Import,
                Visibility::Public(_) | Visibility::Restricted(_) => How::ReExport,
            },
        });
    }

    fn mention(&mut self, path: Vec<String>, line: usize, opens: bool) {
        self.mentions.push(Mention {
            path,
            line,
            opens,
            how: How::Import,
        });
    }

    /// Paths in what the parser does not look into: `crate::a::b` in the
    /// arguments of a macro or an attribute, and `"crate::a::b"` in the latter.
    fn look_through(&mut self, tokens: TokenStream, texts_too: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is_colon =
            |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Group(group) => self.look_through(group.stream(), texts_too),
                TokenTree::Ident(first) => {
                    let mut path = vec![first.to_string()];
                    while is_colon(at)
                        && is_colon(at + 1)
                        && let Some(TokenTree::Ident(next)) = tokens.get(at + 2)
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    if path.len() > 1 {
                        self.mention(path, first.span().start().line, false);
                    }
                }
                TokenTree::Literal(text) if texts_too => {
                    let line = text.span().start().line;
                    let text = text.to_string();
                    if text.contains("::")
                        && let Ok(path) = syn::parse_str::<syn::Path>(text.trim_matches('"'))
                    {
                        // `with = "crate::a"` asks for what serde finds there.
                        self.mention(segments(&path), line, true);
                    }
                }
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Said {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_of_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes: &[Attribute] = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            ImplItem::Macro(item) => &item.attrs,
            _ => &[],
        };
        if !is_of_tests(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        let attributes: &[Attribute] = match item {
            TraitItem::Const(item) => &item.attrs,
            TraitItem::Fn(item) => &item.attrs,
            TraitItem::Type(item) => &item.attrs,
            TraitItem::Macro(item) => &item.attrs,
            _ => &[],
        };
        if !is_of_tests(attributes) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        let attributes: &[Attribute] = match statement {
            Stmt::Local(local) => &local.attrs,
            Stmt::Macro(mac) => &mac.attrs,
            Stmt::Item(_) | Stmt::Expr(..) => &[],
        };
        if !is_of_tests(attributes) {
            visit::visit_stmt(self, statement);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // `use ::a::b` is of another crate.
        if item.leading_colon.is_none() {
            self.take(item, &item.tree, &[]);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.mention(segments(path), path.span().start().line, false);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast Macro) {
        visit::visit_macro(self, mac);
        self.look_through(mac.tokens.clone(), false);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let syn::Meta::List(list) = &attribute.meta
            && !["cfg", "doc"].iter().any(|name| list.path.is_ident(name))
        {
            self.look_through(list.tokens.clone(), true);
        }
    }

    /// `pub(in crate::a)` says who may look, not who is looked at.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}

fn segments(path: &syn::Path) -> Vec<String> {
    path.segments
        .iter()
        .map(|segment| segment.ident.to_string())
        .collect()
}

/// What an item is called where it can be asked for by name.
fn name_of(item: &Item) -> Option<&Ident> {
    match item {
        Item::Const(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Fn(item) => Some(&item.sig.ident),
        Item::Macro(item) => item.ident.as_ref(),
        Item::Static(item) => Some(&item.ident),
        Item::Struct(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        Item::TraitAlias(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        Item::Union(item) => Some(&item.ident),
        _ => None,
    }
}

/// Looks names up, as the compiler does.
struct Names<'a> {
    it: &'a Crate,
    said: &'a [Said],
}

/// What a path leads to.
#[derive(Clone, Copy)]
struct Found {
    /// The module, or where the item is defined.
    module: usize,
    is_module: bool,
}

impl Names<'_> {
    /// What `path` means in the module `from`; nothing if it leads out of the
    /// crate.
    fn find(&self, from: usize, path: &[String], left: usize) -> Option<Found> {
        let parent = |module: usize| self.it.modules[module].parent;
        match path.first()?.as_str() {
            "crate" => self.descend(0, &path[1..], left),
            "self" => self.descend(from, &path[1..], left),
            "super" => {
                let mut module = parent(from)?;
                let mut rest = &path[1..];
                while rest.first().is_some_and(|word| word == "super") {
                    module = parent(module)?;
                    rest = &rest[1..];
                }
                self.descend(module, rest, left)
            }
            first if self.knows(from, first) => self.descend(from, path, left),
            _ => self.in_globs(from, path, left),
        }
    }

    fn descend(&self, module: usize, path: &[String], left: usize) -> Option<Found> {
        let left = left.checked_sub(1)?;
        let Some(name) = path.first() else {
            return Some(Found {
                module,
                is_module: true,
            });
        };
        if let Some(&child) = self.it.modules[module].children.get(name) {
            return self.descend(child, &path[1..], left);
        }
        let said = &self.said[module];
        if !said.defined.contains(name) {
            if let Some(target) = said.bound.get(name) {
                // `use log::log`: the first word is not what is bound here.
                if target.first() == Some(name) {
                    return None;
                }
                return self.find(module, &[target, &path[1..]].concat(), left);
            }
            if let Some(found) = self.in_globs(module, path, left) {
                return Some(found);
            }
        }
        // Defined here, or by a macro that is called here.
        Some(Found {
            module,
            is_module: false,
        })
    }

    fn in_globs(&self, module: usize, path: &[String], left: usize) -> Option<Found> {
        let left = left.checked_sub(1)?;
        self.said[module].globs.iter().find_map(|glob| {
            let opened = self.find(module, glob, left)?;
            self.knows(opened.module, path.first()?)
                .then(|| self.descend(opened.module, path, left))?
        })
    }

    fn knows(&self, module: usize, name: &str) -> bool {
        let said = &self.said[module];
        self.it.modules[module].children.contains_key(name)
            || said.bound.contains_key(name)
            || said.defined.contains(name)
    }
}
