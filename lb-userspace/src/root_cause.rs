//! What lies under an error whose own words stop short of it.

use std::{
    error::Error,
    io::{self, ErrorKind},
};

/// The error's words, and those of the last of its causes where they do not end with
/// them. Libraries differ in whether an error repeats its cause.
pub(crate) fn told(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    if let Some(cause) = of(error).map(ToString::to_string)
        && !text.contains(&cause)
    {
        text.push_str(": ");
        text.push_str(&cause);
    }
    text
}

/// Whether it comes down to a right that is missing.
pub(crate) fn is_forbidden(error: &(dyn Error + 'static)) -> bool {
    of(error)
        .and_then(<dyn Error>::downcast_ref::<io::Error>)
        .is_some_and(|cause| cause.kind() == ErrorKind::PermissionDenied)
}

/// The last of the causes.
fn of<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let mut root = error.source()?;
    while let Some(under) = root.source() {
        root = under;
    }
    Some(root)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("no table")]
        Silent(#[source] io::Error),
        #[error("no table: {0}")]
        Telling(#[source] io::Error),
    }

    #[test]
    fn the_kernels_word_is_told_once() {
        let refused = || io::Error::other("refused");
        for error in [Outer::Silent(refused()), Outer::Telling(refused())] {
            assert_eq!(told(&error), "no table: refused");
        }
    }
}
