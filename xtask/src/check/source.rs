//! The source of a crate as a tree of modules, tests left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    slice,
};

use anyhow::{Context as _, Result, bail};
use syn::{Attribute, Item, ItemMod, Meta, Token, punctuated::Punctuated};

/// The crates whose inner order is watched.
const WATCHED: [&str; 3] = ["lb-common", "lb-ebpf", "lb-userspace"];

/// One target of a package: what the compiler calls a crate.
pub(super) struct Crate {
    pub(super) name: String,
    /// The first is the root; parents come before their children.
    pub(super) modules: Vec<Module>,
}

pub(super) struct Module {
    /// From the root: `["abi", "backend"]`.
    pub(super) path: Vec<String>,
    pub(super) parent: Option<usize>,
    pub(super) children: BTreeMap<String, usize>,
    /// Relative to the workspace.
    pub(super) file: PathBuf,
    /// What the module itself says, without the modules inside it.
    pub(super) items: Vec<Item>,
}

impl Crate {
    /// Reads a crate from its root file. `read` gives the text of a file, or
    /// nothing where there is none.
    pub(super) fn load(
        name: &str,
        root: &Path,
        read: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<Self> {
        let mut this = Self {
            name: name.to_owned(),
            modules: Vec::new(),
        };
        let dir = root.parent().context("a root file lies in a folder")?;
        this.add_file(&[], None, root, dir, read)?;
        Ok(this)
    }

    /// The module as people write it: `abi::backend`, the root as `crate`.
    pub(super) fn shown(&self, module: usize) -> String {
        let path = &self.modules[module].path;
        if path.is_empty() {
            "crate".to_owned()
        } else {
            path.join("::")
        }
    }

    /// Whether `inner` is `outer` or lies in it.
    pub(super) fn is_within(&self, inner: usize, outer: usize) -> bool {
        self.modules[inner]
            .path
            .starts_with(&self.modules[outer].path)
    }

    fn add_file(
        &mut self,
        path: &[String],
        parent: Option<usize>,
        file: &Path,
        dir: &Path,
        read: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<()> {
        let text = read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let parsed =
            syn::parse_file(&text).with_context(|| format!("cannot parse {}", file.display()))?;
        self.add(path, parent, file, dir, parsed.items, read)
    }

    /// Adds a module and all that it declares; `dir` is where the files of its
    /// children lie.
    fn add(
        &mut self,
        path: &[String],
        parent: Option<usize>,
        file: &Path,
        dir: &Path,
        items: Vec<Item>,
        read: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<()> {
        let index = self.modules.len();
        if let (Some(parent), Some(name)) = (parent, path.last()) {
            self.modules[parent].children.insert(name.clone(), index);
        }
        let (inner, items): (Vec<Item>, Vec<Item>) = items
            .into_iter()
            .filter(|item| !is_of_tests(attributes(item)))
            .partition(|item| matches!(item, Item::Mod(_)));
        self.modules.push(Module {
            path: path.to_owned(),
            parent,
            children: BTreeMap::new(),
            file: file.to_owned(),
            items,
        });
        for item in inner {
            let Item::Mod(module) = item else { continue };
            let name = module.ident.to_string();
            let path = [path, slice::from_ref(&name)].concat();
            let dir = dir.join(&name);
            self.add_declared(module, &path, index, file, &dir, read)?;
        }
        Ok(())
    }

    fn add_declared(
        &mut self,
        module: ItemMod,
        path: &[String],
        parent: usize,
        declared_in: &Path,
        dir: &Path,
        read: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<()> {
        if let Some((_, items)) = module.content {
            return self.add(path, Some(parent), declared_in, dir, items, read);
        }
        if module.attrs.iter().any(|a| a.path().is_ident("path")) {
            bail!(
                "{}: `mod {}` names its file with #[path]; put the file where \
                 its name says that it is",
                declared_in.display(),
                module.ident
            );
        }
        let file = [dir.join("mod.rs"), dir.with_extension("rs")]
            .into_iter()
            .find(|file| read(file).is_some())
            .with_context(|| {
                format!(
                    "{}: no file for `mod {}`",
                    declared_in.display(),
                    module.ident
                )
            })?;
        self.add_file(path, Some(parent), &file, dir, read)
    }
}

/// The watched crates: every library and binary of the watched packages.
pub(super) fn watched(root: &Path, metadata: &serde_json::Value) -> Result<Vec<Crate>> {
    let read = |file: &Path| fs::read_to_string(root.join(file)).ok();
    let mut crates = Vec::new();
    let mut missing: BTreeSet<&str> = WATCHED.into();
    let none = Vec::new();
    for package in metadata["packages"].as_array().unwrap_or(&none) {
        let name = package["name"].as_str().unwrap_or_default();
        if !missing.remove(name) {
            continue;
        }
        for target in package["targets"].as_array().unwrap_or(&none) {
            let kind = target["kind"][0].as_str().unwrap_or_default();
            if !["lib", "bin"].contains(&kind) {
                continue;
            }
            let file = Path::new(target["src_path"].as_str().context("a target has a file")?);
            let file = file.strip_prefix(root).unwrap_or(file);
            let name = match kind {
                "lib" => name.to_owned(),
                _ => format!("{name}/{}", target["name"].as_str().unwrap_or_default()),
            };
            crates.push(Crate::load(&name, file, &read)?);
        }
    }
    if !missing.is_empty() {
        bail!("the workspace has no package called {missing:?}");
    }
    Ok(crates)
}

/// Whether what carries these attributes is compiled for tests only.
pub(super) fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<Meta>()
                .is_ok_and(|condition| means_tests(&condition))
    })
}

fn means_tests(condition: &Meta) -> bool {
    let Meta::List(list) = condition else {
        return condition.path().is_ident("test");
    };
    let Ok(inner) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) else {
        return false;
    };
    (list.path.is_ident("all") && inner.iter().any(means_tests))
        || (list.path.is_ident("any") && inner.iter().all(means_tests))
}

pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A crate called `it` from the texts of its files.
    pub(in crate::check) fn crate_of(files: &[(&str, &str)]) -> Crate {
        let read = |wanted: &Path| {
            files
                .iter()
                .find(|(file, _)| Path::new(file) == wanted)
                .map(|(_, text)| (*text).to_owned())
        };
        Crate::load("it", Path::new("src/lib.rs"), &read).expect("a crate")
    }

    #[test]
    fn modules_are_found_in_files_folders_and_braces_and_tests_are_not() {
        let it = crate_of(&[
            ("src/lib.rs", "mod a; mod b; #[cfg(test)] mod t;"),
            ("src/a.rs", "mod deep; mod here { mod deeper; }"),
            ("src/a/deep.rs", ""),
            ("src/a/here/deeper.rs", ""),
            (
                "src/b/mod.rs",
                "mod c; #[cfg(all(test, unix))] mod tests {}",
            ),
            ("src/b/c.rs", ""),
        ]);
        let shown: Vec<_> = (0..it.modules.len()).map(|m| it.shown(m)).collect();
        assert_eq!(
            shown,
            [
                "crate",
                "a",
                "a::deep",
                "a::here",
                "a::here::deeper",
                "b",
                "b::c"
            ]
        );
    }
}
