//! Golden files: what is sent, stored and read outside of the program, byte by byte,
//! so that nobody changes it without seeing it.
//!
//! A file that differs on purpose is written anew by the tests themselves, with
//! `EBB_GOLDEN=write` in their environment; what changed is then read in the diff.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde::Serialize;

/// A folder of golden files, and which of them were held to so far.
pub(crate) struct Golden {
    folder: PathBuf,
    held: BTreeSet<String>,
}

impl Golden {
    /// The folder `path`, below `src`.
    pub(crate) fn of(path: &str) -> Self {
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
        Self {
            folder: source.join(path),
            held: BTreeSet::new(),
        }
    }

    /// `document`, as JSON, must be the file of that name, which is returned.
    pub(crate) fn json(&mut self, name: &str, document: &impl Serialize) -> String {
        let mut text = serde_json::to_string_pretty(document).unwrap();
        text.push('\n');
        self.text(&format!("{name}.json"), &text)
    }

    /// `text` must be the file `name`, which is returned.
    pub(crate) fn text(&mut self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        if std::env::var("EBB_GOLDEN").is_ok_and(|what| what == "write") {
            fs::create_dir_all(&self.folder).unwrap();
            fs::write(&path, text).unwrap();
        }
        let golden =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if let Some(difference) = difference(&golden, text) {
            panic!("{name} is another one now, {difference}");
        }
        self.held.insert(name.to_owned());
        golden
    }

    /// Every file of the folder has been held to.
    pub(crate) fn held_whole(self) {
        let there: BTreeSet<String> = fs::read_dir(&self.folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(there, self.held, "{}", self.folder.display());
    }
}

/// Where the first byte is that is not the golden one, if there is one.
fn difference(golden: &str, text: &str) -> Option<String> {
    if golden == text {
        return None;
    }
    let pairs = golden.bytes().zip(text.bytes());
    let same = pairs.take_while(|(golden, now)| golden == now).count();
    let line = golden.as_bytes()[..same]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count();
    let shown = |text: &str| text.lines().nth(line).unwrap_or("(the end)").to_owned();
    Some(format!(
        "from byte {same} on, which is in line {}:\n  it was {}\n  it is  {}",
        line + 1,
        shown(golden),
        shown(text)
    ))
}

#[test]
fn a_difference_names_its_byte_and_its_line() {
    assert_eq!(difference("a\nb\n", "a\nb\n"), None);
    let found = difference("one\ntwo\nthree\n", "one\ntoo\nthree\n").unwrap();
    assert_eq!(
        found,
        "from byte 5 on, which is in line 2:\n  it was two\n  it is  too"
    );
    let longer = difference("one\n", "one\ntwo\n").unwrap();
    assert!(longer.contains("from byte 4 on"), "{longer}");
    assert!(
        longer.ends_with("it was (the end)\n  it is  two"),
        "{longer}"
    );
}
