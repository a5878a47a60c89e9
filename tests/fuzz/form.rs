//! A form, as the Query API takes it: `Action=…&Listeners.member.1.Protocol=…`.

use lb_userspace::api::elb::untrusted;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Takes the bytes as a form; what was understood means the same when sent again.
pub fn target(bytes: &[u8]) {
    let Some(parameters) = untrusted::form(bytes) else {
        return;
    };
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs: Vec<String> = parameters
        .iter()
        // Dots are not encoded: they part a name.
        .map(|(name, text)| {
            let name: Vec<String> = name.split('.').map(encoded).collect();
            format!("{}={}", name.join("."), encoded(text))
        })
        .collect();
    assert_eq!(
        untrusted::form(pairs.join("&").as_bytes()),
        Some(parameters)
    );
}
