//! The gate `links`: a file or heading that a document links to is there.
//! Addresses on the internet are not asked for.

use std::path::{Component, Path, PathBuf};

use anyhow::{Result, bail};

use super::documents::{Document, Link};
use crate::workspace;

pub(super) fn check(documents: &[Document]) -> Result<()> {
    let complaints = broken(documents, &|file| workspace::root().join(file).exists());
    if complaints.is_empty() {
        return Ok(());
    }
    bail!("{}", complaints.join("\n"));
}

fn broken(documents: &[Document], exists: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for document in documents {
        for link in &document.links {
            if let Some(why) = why_broken(link, document, documents, exists) {
                complaints.push(format!(
                    "{}:{}: {}: {why}",
                    document.file.display(),
                    link.line,
                    link.to
                ));
            }
        }
    }
    complaints
}

fn why_broken(
    link: &Link,
    from: &Document,
    documents: &[Document],
    exists: &dyn Fn(&Path) -> bool,
) -> Option<String> {
    if link.to.contains("://") || link.to.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = match link.to.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (link.to.as_str(), None),
    };
    let file = if file.is_empty() {
        from.file.clone()
    } else {
        beside(&from.file, file)
    };
    if !exists(&file) {
        return Some(format!("there is no {}", file.display()));
    }
    let anchor = anchor?;
    match documents.iter().find(|document| document.file == file) {
        Some(document) if document.anchors.contains(anchor) => None,
        Some(_) => Some(format!("{} has no heading #{anchor}", file.display())),
        None => Some(format!("{} has no headings", file.display())),
    }
}

/// The file that `link` names in a document called `from`.
fn beside(from: &Path, link: &str) -> PathBuf {
    let mut file = PathBuf::new();
    let dir = from.parent().unwrap_or(Path::new(""));
    for part in dir.join(link).components() {
        match part {
            Component::ParentDir => {
                file.pop();
            }
            Component::CurDir => {}
            part => file.push(part),
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_found() {
        let read = |file: &str, text: &str| Document::read(Path::new(file), text);
        let documents = [
            read(
                "README.md",
                "[a](docs/a.md) [b](docs/b.md) [c](docs/a.md#one) [d](docs/a.md#two) [e](https://x/y#z)\n",
            ),
            read(
                "docs/a.md",
                "# One\n[up](../README.md) [here](#one) [lost](#up) ![p](p.png)\n",
            ),
        ];
        let exists = |file: &Path| documents.iter().any(|document| document.file == file);
        assert_eq!(
            broken(&documents, &exists),
            [
                "README.md:1: docs/b.md: there is no docs/b.md",
                "README.md:1: docs/a.md#two: docs/a.md has no heading #two",
                "docs/a.md:2: #up: docs/a.md has no heading #up",
                "docs/a.md:2: p.png: there is no docs/p.png",
            ]
        );
    }
}
