//! A configuration file: TOML, and what it means.

use lb_userspace::config::{Document, Purpose};

/// Reads the bytes as a file for either purpose. What is wrong is said of a line
/// that is there.
pub fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for purpose in [Purpose::Agent, Purpose::Apply] {
        let read = || Document::parse("fuzz.toml", text, purpose, None);
        match read() {
            Ok(document) => assert_eq!(read().ok(), Some(document)),
            Err(diagnostics) => {
                assert!(!diagnostics.is_empty(), "refused, and nothing is wrong");
                for diagnostic in diagnostics {
                    // The end of a file is behind its last line end.
                    let lines = text.split('\n').count();
                    assert!((1..=lines).contains(&diagnostic.line), "{diagnostic}");
                }
            }
        }
    }
}
