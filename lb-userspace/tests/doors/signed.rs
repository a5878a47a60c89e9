//! Requests to the Query API, signed as its clients sign them.

use std::{fmt::Write as _, time::SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

const FORM: &str = "Action=DescribeLoadBalancers&Version=2012-06-01";
const SCOPE: [&str; 3] = ["us-east-1", "elasticloadbalancing", "aws4_request"];

/// A request that `anna` signs with this secret.
pub(crate) fn request(host: &str, secret: &str) -> String {
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let time = time.replace(['-', ':'], "");
    let date = &time[..8];
    let scope = format!("{date}/{}", SCOPE.join("/"));
    let canonical = format!(
        "POST\n/\n\nhost:{host}\nx-amz-date:{time}\n\nhost;x-amz-date\n{}",
        hex(&Sha256::digest(FORM))
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(&Sha256::digest(canonical))
    );
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [date].iter().chain(&SCOPE) {
        key = mac(&key, part);
    }
    format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\
         X-Amz-Date: {time}\r\nAuthorization: AWS4-HMAC-SHA256 Credential=anna/{scope}, \
         SignedHeaders=host;x-amz-date, Signature={}\r\n\r\n{FORM}",
        FORM.len(),
        hex(&mac(&key, &to_sign))
    )
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.chain_update(text).finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes it");
        text
    })
}
