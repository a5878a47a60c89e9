//! Where an agent keeps what outlives it, as far as its file says so: what must be
//! known to clean up after it, whatever is wrong with the rest of the file.

use std::path::PathBuf;

/// Where they are unless a file says otherwise.
pub(super) const STATE_DIR: &str = "/var/lib/ebb";
pub(super) const BPFFS_DIR: &str = "/sys/fs/bpf/ebb";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    pub state_dir: PathBuf,
    pub bpffs_dir: PathBuf,
}

impl Places {
    /// Those that a configuration names. A file that cannot be understood names none.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let written: toml::Table = text.parse().unwrap_or_default();
        let place = |key: &str, default: &str| {
            let named = written.get(key).and_then(toml::Value::as_str);
            // One that is not absolute was never an agent's.
            let named = named.filter(|path| path.starts_with('/'));
            PathBuf::from(named.unwrap_or(default))
        };
        Self {
            state_dir: place("state_dir", STATE_DIR),
            bpffs_dir: place("bpffs_dir", BPFFS_DIR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_valid_still_says_where_things_are() {
        let places = Places::of("state_dir = \"/srv/ebb\"\ninterfaces = 7\nnonsense = 1\n");
        assert_eq!(places.state_dir, PathBuf::from("/srv/ebb"));
        assert_eq!(places.bpffs_dir, PathBuf::from(BPFFS_DIR));
    }

    #[test]
    fn a_file_that_says_nothing_means_the_usual_places() {
        for text in [
            "",
            "interfaces = [",
            "state_dir = 3",
            "state_dir = \"here\"",
        ] {
            assert_eq!(
                Places::of(text),
                Places::of("interfaces = [\"eth0\"]"),
                "{text}"
            );
        }
    }
}
