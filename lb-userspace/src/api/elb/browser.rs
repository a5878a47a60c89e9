//! Without access keys, whoever reaches the address may ask. A web page in a
//! browser on this host reaches it too, and must not.

use hyper::{
    HeaderMap,
    header::{HOST, HeaderName, ORIGIN},
};

use super::errors::{Code, Refusal};
use crate::api::host::is_this_host;

/// Refuses what a browser sends on behalf of a page: browsers name the page's
/// origin, or how the request came about; and a page that made a name of its
/// own point here (DNS rebinding) has that name as the host.
pub(super) fn refuse(headers: &HeaderMap) -> Result<(), Refusal> {
    let tell_tale = [ORIGIN, HeaderName::from_static("sec-fetch-site")];
    if tell_tale.iter().any(|name| headers.contains_key(name)) {
        return Err(Refusal::new(
            Code::AccessDenied,
            "this endpoint takes no requests from web pages",
        ));
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(is_this_host) {
        return Ok(());
    }
    Err(Refusal::new(
        Code::AccessDenied,
        "without access keys this endpoint is asked by its address or as localhost: \
         configure access_keys in [elb_api] to give it another name",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_may_ask_and_pages_may_not() {
        let headers = |fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.insert(*name, value.parse().unwrap());
            }
            headers
        };
        for host in ["127.0.0.1:8089", "[::1]:8089", "localhost", "LocalHost:80"] {
            assert_eq!(refuse(&headers(&[("host", host)])), Ok(()), "{host}");
        }
        for fields in [
            &[("host", "evil.example:8089")][..],
            &[],
            &[
                ("host", "127.0.0.1:8089"),
                ("origin", "https://evil.example"),
            ],
            &[("host", "127.0.0.1:8089"), ("origin", "null")],
            &[("host", "127.0.0.1:8089"), ("sec-fetch-site", "cross-site")],
        ] {
            let refusal = refuse(&headers(fields)).unwrap_err();
            assert_eq!(refusal.code, Code::AccessDenied, "{fields:?}");
        }
    }
}
