//! An archive that the kernel unpacks into its root file system when it boots:
//! cpio in its `newc` form (Documentation/driver-api/early-userspace/
//! buffer-format.rst of the kernel).

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result};

/// File types (`linux/stat.h`).
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

/// The archive as far as it is written. Everything in it belongs to root.
pub(super) struct Initramfs {
    archive: Vec<u8>,
    /// What is in it already, by absolute path.
    places: BTreeSet<String>,
}

impl Initramfs {
    pub(super) fn new() -> Self {
        Self {
            archive: Vec::new(),
            places: BTreeSet::new(),
        }
    }

    /// A folder, and those that it is in.
    pub(super) fn dir(&mut self, place: &str) {
        if !place.is_empty() && self.places.insert(place.to_owned()) {
            self.dir(parent(place));
            self.entry(place, DIRECTORY | 0o755, &[]);
        }
    }

    /// A file. A place that is taken stays as it is.
    pub(super) fn file(&mut self, place: &str, content: &[u8]) {
        self.put(place, 0o644, content);
    }

    /// A file of the host, with its permissions.
    pub(super) fn copy(&mut self, file: &Path, place: &str) -> Result<()> {
        let read = || Ok::<_, std::io::Error>((fs::metadata(file)?, fs::read(file)?));
        let (about, content) = read().with_context(|| format!("cannot read {}", file.display()))?;
        self.put(place, about.permissions().mode() & 0o777, &content);
        Ok(())
    }

    fn put(&mut self, place: &str, permissions: u32, content: &[u8]) {
        if self.places.insert(place.to_owned()) {
            self.dir(parent(place));
            self.entry(place, REGULAR | permissions, content);
        }
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("/TRAILER!!!", 0, &[]);
        self.archive
    }

    fn entry(&mut self, place: &str, mode: u32, content: &[u8]) {
        let name = place.trim_start_matches('/');
        // Unpacking follows the order; an inode number of its own keeps the
        // kernel from taking two files for links to one.
        let inode = self.places.len();
        let (size, name_size) = (content.len(), name.len() + 1);
        // Owner, group, modification time; links come after them. Then device
        // numbers, and a checksum that this form has not.
        self.archive.extend(
            format!(
                "070701{inode:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}{:08x}{:08x}{:08x}{:08x}{name_size:08x}{:08x}{name}\0",
                0, 0, 1, 0, 0, 0, 0, 0, 0
            )
            .bytes(),
        );
        self.pad();
        self.archive.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.archive
            .resize(self.archive.len().next_multiple_of(4), 0);
    }
}

/// The folder of a place; empty for what is in the root.
fn parent(place: &str) -> &str {
    place.rsplit_once('/').map_or("", |(dir, _)| dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_is_in_them_and_nothing_comes_twice() {
        let mut archive = Initramfs::new();
        archive.file("/a/b/one", b"1");
        archive.file("/a/b/two", b"22");
        archive.file("/a/b/one", b"again");
        let archive = archive.finish();
        assert_eq!(
            names(&archive),
            [
                ("a".to_owned(), 0),
                ("a/b".to_owned(), 0),
                ("a/b/one".to_owned(), 1),
                ("a/b/two".to_owned(), 2),
                ("TRAILER!!!".to_owned(), 0)
            ]
        );
    }

    /// Names and sizes, read as the kernel reads them.
    fn names(mut archive: &[u8]) -> Vec<(String, usize)> {
        let mut names = Vec::new();
        while !archive.is_empty() {
            let field = |n: usize| {
                let digits = std::str::from_utf8(&archive[6 + 8 * n..][..8]).expect("digits");
                usize::from_str_radix(digits, 16).expect("a hexadecimal number")
            };
            assert_eq!(&archive[..6], b"070701");
            let (size, name_size) = (field(6), field(11));
            let name = &archive[110..][..name_size - 1];
            names.push((String::from_utf8(name.to_vec()).expect("a name"), size));
            let content = (110 + name_size).next_multiple_of(4);
            archive = &archive[(content + size).next_multiple_of(4)..];
        }
        names
    }
}
