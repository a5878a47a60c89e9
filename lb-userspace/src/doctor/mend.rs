//! What mends a thing: commands for the host, or one for whoever reads it.

use std::{
    fmt, io,
    path::Path,
    process::{Command, Stdio},
};

use serde::{Serialize, Serializer};

/// What mends a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mend {
    /// Run one after the other, as long as they succeed, they mend it.
    Host(Vec<Words>),
    /// It tells a person more, or undoes what a person did on purpose.
    ByHand(Words),
}

/// A command, word by word: no shell reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(Vec<String>);

impl Words {
    /// A command in which only blanks part words.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(text.split_whitespace().map(str::to_owned).collect())
    }

    /// … and a path as the next word, whatever it is called.
    pub(super) fn path(mut self, path: &Path) -> Self {
        self.0.push(path.display().to_string());
        self
    }

    /// Runs it. What it prints goes to our standard error.
    fn run(&self) -> io::Result<()> {
        let [program, arguments @ ..] = &*self.0 else {
            return Ok(());
        };
        let status = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(io::stderr())
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(status.to_string()))
        }
    }
}

impl Mend {
    /// Runs the commands that are for the host, until one fails.
    ///
    /// # Errors
    ///
    /// If one could not be run, or did not end well.
    pub fn run(&self) -> io::Result<()> {
        match self {
            Self::Host(commands) => commands.iter().try_for_each(Words::run),
            Self::ByHand(_) => Ok(()),
        }
    }
}

/// As a shell reads it.
impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, word) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            // Settings are written as everybody writes them.
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:+".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                f.write_str(word)?;
            } else if let Ok(quoted) = shlex::try_quote(word) {
                f.write_str(&quoted)?;
            } else {
                // With a NUL byte it is a word of no command.
                write!(f, "{word:?}")?;
            }
        }
        Ok(())
    }
}

/// As a shell reads it.
impl fmt::Display for Mend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByHand(command) => command.fmt(f),
            Self::Host(commands) => {
                for (i, command) in commands.iter().enumerate() {
                    if i > 0 {
                        f.write_str(" && ")?;
                    }
                    command.fmt(f)?;
                }
                Ok(())
            }
        }
    }
}

impl Serialize for Mend {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_whatever_it_is_called() {
        let mend = Mend::Host(vec![
            Words::of("mkdir -p").path(Path::new("/srv/a b; reboot")),
            Words::of("mount -t bpf bpf").path(Path::new("/srv/a b; reboot")),
        ]);
        assert_eq!(
            mend.to_string(),
            "mkdir -p '/srv/a b; reboot' && mount -t bpf bpf '/srv/a b; reboot'"
        );
    }

    #[test]
    fn after_a_command_that_fails_no_other_is_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        let mend = Mend::Host(vec![
            Words::of("touch").path(&first),
            Words::of("false"),
            Words::of("touch").path(&second),
        ]);
        let error = mend.run().expect_err("the second command fails");
        assert!(error.to_string().contains("exit status: 1"), "{error}");
        assert!(first.exists() && !second.exists());
    }
}
