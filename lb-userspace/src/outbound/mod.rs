//! What the agent asks of others: health checks and hooks.
//!
//! - [`http`]: one request on a connection of its own, its answer bounded;
//! - [`tls`]: handshakes, with certificates verified or not.

pub mod http;
pub mod tls;

use std::fmt;

/// How much of what others wrote (a certificate's names, a library's words)
/// goes into a reason.
const TEXT_MAX: usize = 200;

/// One short line, whatever others put into it.
#[must_use]
pub fn clean(text: &impl fmt::Display) -> String {
    let text = text.to_string();
    let mut clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(TEXT_MAX)
        .collect();
    if clean.len() < text.len() {
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_becomes_one_short_line() {
        let hostile = format!("a\r\nb\x1b[2J{}", "x".repeat(10_000));
        let said = clean(&hostile);
        assert!(said.len() < 2 * TEXT_MAX, "{said}");
        assert!(!said.contains(char::is_control), "{said}");
        assert_eq!(clean(&"as it is"), "as it is");
    }
}
