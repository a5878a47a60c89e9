//! The documents: every Markdown file of the project, and what gates ask of it.

use std::{
    collections::BTreeSet,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// A document, read.
#[derive(Debug)]
pub(super) struct Document {
    /// Relative to the workspace.
    pub(super) file: PathBuf,
    pub(super) links: Vec<Link>,
    /// What `#…` may name: its headings, as they are rendered.
    pub(super) anchors: BTreeSet<String>,
    pub(super) code: Vec<Code>,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) line: usize,
    pub(super) to: String,
}

/// A piece of code: a line of a block, or some words in a sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) in_sentence: bool,
}

/// Every document below `root`, build output and hidden folders left out.
pub(super) fn all(root: &Path) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let unread = || format!("cannot list {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(unread)? {
            let entry = entry.with_context(unread)?;
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().with_context(unread)?.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|end| end == "md") {
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                let file = path.strip_prefix(root).unwrap_or(&path);
                documents.push(Document::read(file, &text));
            }
        }
    }
    documents.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(documents)
}

impl Document {
    pub(super) fn read(file: &Path, text: &str) -> Self {
        let mut this = Self {
            file: file.to_owned(),
            links: Vec::new(),
            anchors: BTreeSet::new(),
            code: Vec::new(),
        };
        let line_at = |at: Range<usize>| text[..at.start].matches('\n').count() + 1;
        let mut heading: Option<String> = None;
        let mut block = false;
        for (event, at) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    if let Some(heading) = heading.take() {
                        this.add_anchor(&heading);
                    }
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    this.links.push(Link {
                        line: line_at(at),
                        to: dest_url.into_string(),
                    });
                }
                Event::Start(Tag::CodeBlock(_)) => block = true,
                Event::End(TagEnd::CodeBlock) => block = false,
                Event::Text(words) if block => this.add_block(&words, line_at(at)),
                Event::Code(words) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&words);
                    }
                    this.code.push(Code {
                        line: line_at(at),
                        text: words.into_string(),
                        in_sentence: true,
                    });
                }
                Event::Text(words) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&words);
                    }
                }
                _ => {}
            }
        }
        this
    }

    /// Adds a heading's anchor as GitHub makes it; of two alike the second has
    /// a number.
    fn add_anchor(&mut self, heading: &str) {
        let anchor: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                '-' | '_' => Some(c),
                c if c.is_alphanumeric() => Some(c),
                _ => None,
            })
            .collect();
        let numbered = (1..).map(|n| format!("{anchor}-{n}"));
        if let Some(free) = [anchor.clone()]
            .into_iter()
            .chain(numbered)
            .find(|anchor| !self.anchors.contains(anchor))
        {
            self.anchors.insert(free);
        }
    }

    /// Adds the lines of a block; one that ends in a backslash goes on in the
    /// next.
    fn add_block(&mut self, text: &str, first: usize) {
        for (index, text) in text.lines().enumerate() {
            match self.code.last_mut() {
                Some(before) if !before.in_sentence && before.text.ends_with('\\') => {
                    before.text.pop();
                    before.text.push_str(text.trim_start());
                }
                _ => self.code.push(Code {
                    line: first + index,
                    text: text.to_owned(),
                    in_sentence: false,
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_headings_and_code_are_found_with_their_lines() {
        let text = "\
# On a *real* host: `ebb`

See [this](a.md#b), `ebb status`.

    ebb apply \\
        FILE
    ls

```sh
ebb top
```

## On a real host: ebb
";
        let it = Document::read(Path::new("x.md"), text);
        assert_eq!(it.links[0].to, "a.md#b");
        assert_eq!(it.links[0].line, 3);
        let anchors: Vec<_> = it.anchors.iter().map(String::as_str).collect();
        assert_eq!(anchors, ["on-a-real-host-ebb", "on-a-real-host-ebb-1"]);
        let code: Vec<_> = it.code.iter().map(|c| (c.line, c.text.as_str())).collect();
        assert_eq!(
            code,
            [
                (1, "ebb"),
                (3, "ebb status"),
                (5, "ebb apply FILE"),
                (7, "ls"),
                (10, "ebb top")
            ]
        );
    }
}
