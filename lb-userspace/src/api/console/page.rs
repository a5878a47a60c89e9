//! The page: a few files that the binary has in it, and what browsers are told
//! about them. Nothing is fetched from elsewhere.

use axum::{
    Router,
    http::{HeaderName, HeaderValue, header},
    middleware,
    response::{IntoResponse as _, Response},
    routing::get,
};

/// Path, content type, content.
const FILES: [(&str, &str, &str); 4] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("page/index.html"),
    ),
    (
        "/console.css",
        "text/css; charset=utf-8",
        include_str!("page/console.css"),
    ),
    (
        "/console.js",
        "text/javascript; charset=utf-8",
        include_str!("page/console.js"),
    ),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
];

/// Scripts and styles are files of ours, and only we may be asked anything;
/// nobody may frame the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'none'; base-uri 'none'; \
                      frame-ancestors 'none'";

pub(super) fn router() -> Router {
    FILES
        .into_iter()
        .fold(Router::new(), |router, (path, content_type, content)| {
            let file = ([(header::CONTENT_TYPE, content_type)], content);
            router.route(path, get(move || async move { file.into_response() }))
        })
}

/// Every answer has these, whatever it is.
pub(super) fn with_headers(router: Router) -> Router {
    router.layer(middleware::map_response(headers))
}

async fn headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        // A new agent brings a new page.
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The policy would stop it in the browser; this stops it before.
    #[test]
    fn the_page_has_nothing_inline_and_nothing_from_elsewhere() {
        for (path, _, content) in FILES {
            for forbidden in [
                "https://",
                " style=\"",
                " onclick",
                "<script>",
                "<style",
                "eval(",
                "innerHTML",
            ] {
                assert!(!content.contains(forbidden), "{path} has {forbidden}");
            }
            let elsewhere = content
                .match_indices("http://")
                // The name of SVG's own language, which is not fetched.
                .filter(|(at, _)| !content[*at..].starts_with("http://www.w3.org/2000/svg"));
            assert_eq!(elsewhere.count(), 0, "{path}");
        }
    }
}
