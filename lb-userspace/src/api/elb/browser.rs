//! Without access keys, whoever reaches the address may ask. A web page in a
//! browser on this host reaches it too, and must not.

use hyper::{
    HeaderMap,
    header::{HeaderName, ORIGIN},
};

use super::errors::{Code, Refusal};

/// Refuses what a browser sends on behalf of a page: browsers name the page's
/// origin, or how the request came about; and a page that made a name of its
/// own point here (DNS rebinding) has that name as the host, which is not ours.
pub(super) fn refuse(headers: &HeaderMap, host_is_ours: bool) -> Result<(), Refusal> {
    let tell_tale = [ORIGIN, HeaderName::from_static("sec-fetch-site")];
    if tell_tale.iter().any(|name| headers.contains_key(name)) {
        return Err(Refusal::new(
            Code::AccessDenied,
            "this endpoint takes no requests from web pages",
        ));
    }
    if host_is_ours {
        return Ok(());
    }
    Err(Refusal::new(
        Code::AccessDenied,
        "without access keys this endpoint is asked by its address, as localhost, or by one \
         of its `names`: give it one in [elb_api]",
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
        assert_eq!(refuse(&headers(&[]), true), Ok(()));
        let denied = |fields, host_is_ours| {
            let refusal = refuse(&headers(fields), host_is_ours).unwrap_err();
            assert_eq!(refusal.code, Code::AccessDenied, "{fields:?}");
        };
        denied(&[], false);
        denied(&[("origin", "https://evil.example")], true);
        denied(&[("origin", "null")], true);
        denied(&[("sec-fetch-site", "cross-site")], true);
    }
}
