//! A request to the Query API, and who signed it: a line with method and path,
//! lines with headers, an empty line, the body.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use hyper::Request;
use lb_userspace::{api::elb::untrusted, config::AccessKeys};

/// The key that seeds claim to have; its secret is in none of them.
static KEYS: LazyLock<AccessKeys> = LazyLock::new(|| {
    let secret = "not-the-one-that-any-seed-is-signed-with".to_owned();
    [("AKIDEXAMPLE".to_owned(), secret.into())].into()
});

/// 2015-08-30T12:36:00Z: when seeds say that they were signed.
const NOW: Duration = Duration::from_secs(1_440_938_160);

/// Asks who signed the request that the bytes are: nobody, whatever they are.
pub fn target(bytes: &[u8]) {
    let Some((head, body)) = request(bytes) else {
        return;
    };
    let now = SystemTime::UNIX_EPOCH + NOW;
    assert_eq!(untrusted::signer(&head, body, &KEYS, now), None);
}

/// What hyper would hand on; nothing where it would refuse.
fn request(bytes: &[u8]) -> Option<(hyper::http::request::Parts, &[u8])> {
    let end = bytes.windows(2).position(|two| two == b"\n\n")?;
    let mut lines = bytes[..end].split(|byte| *byte == b'\n');
    let first = lines.next()?;
    let space = first.iter().position(|byte| *byte == b' ')?;
    let mut request = Request::builder()
        .method(&first[..space])
        .uri(&first[space + 1..]);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    let (head, ()) = request.body(()).ok()?.into_parts();
    Some((head, &bytes[end + 2..]))
}
