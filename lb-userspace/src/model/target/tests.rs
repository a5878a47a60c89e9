use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Target, BadTarget> {
    text.parse()
}

#[test]
fn the_four_protocols_are_read_in_any_case_and_written_in_upper_case() {
    for (text, written) in [
        ("TCP:80", "TCP:80"),
        ("tcp:65535", "TCP:65535"),
        ("Ssl:443", "SSL:443"),
        ("HTTP:80/", "HTTP:80/"),
        ("http:8080/ping/this/path", "HTTP:8080/ping/this/path"),
        ("HTTPS:443/health?deep=1", "HTTPS:443/health?deep=1"),
        ("HTTP:80/a:b//c", "HTTP:80/a:b//c"),
    ] {
        let target = parse(text).unwrap();
        assert_eq!(target.to_string(), written);
        assert_eq!(parse(written).unwrap(), target);
    }
}

#[test]
fn an_http_target_without_a_path_is_refused_in_the_words_of_the_classic_elb() {
    for bad in [
        "HTTP:80",
        "HTTPS:443",
        "http:",
        "HTTP:/ping",
        "HTTPS:80ping",
    ] {
        assert_eq!(
            parse(bad).unwrap_err().to_string(),
            "HealthCheck HTTP Target must specify a port followed by a path that begins \
             with a slash. e.g. HTTP:80/ping/this/path",
            "{bad}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_target_is_said() {
    for (bad, said) in [
        ("", "has no protocol"),
        ("80", "has no protocol"),
        ("TCP", "has no protocol"),
        ("UDP:53", "\"UDP\" is not a protocol for health checks"),
        ("HTPP:80/", "did you mean HTTP?"),
        (" TCP:80", "is not a protocol"),
        ("TCP:", "\"\" is not a port"),
        ("TCP:0", "\"0\" is not a port"),
        ("TCP:65536", "1 to 65535"),
        ("TCP:+80", "\"+80\" is not a port"),
        ("TCP: 80", "\" 80\" is not a port"),
        ("TCP:80:90", "\"80:90\" is not a port"),
        ("SSL:-1", "is not a port"),
        ("TCP:80/", "TCP health check has no path"),
        ("SSL:443/x", "SSL health check has no path"),
        ("HTTP:80/a b", "contain ' '"),
        ("HTTP:80/a\r\nHost: evil", "contain '\\r'"),
        ("HTTP:80/a\u{85}b", "; percent-encode it"),
        ("HTTP:80/a#b", "contain '#'"),
    ] {
        let error = parse(bad).unwrap_err().to_string();
        assert!(error.contains(said), "{bad:?}: {error}");
    }
}

#[test]
fn a_path_may_have_1024_characters_of_16_bits() {
    let path = |n: usize, c: char| parse(&format!("HTTP:80/{}", String::from(c).repeat(n)));
    assert!(path(1023, 'x').is_ok());
    assert_eq!(path(1024, 'x'), Err(BadTarget::PathLength { given: 1025 }));
    assert!(path(1023, 'é').is_ok());
    // Outside the basic plane, a character takes two of 16 bits.
    assert!(path(511, '😀').is_ok());
    assert!(path(512, '😀').is_err());
}

#[test]
fn what_a_request_line_cannot_hold_is_sent_percent_encoded() {
    let target = parse("HTTP:80/é%20{x}?q=\"1\"").unwrap();
    let Ask::Http(path) = target.ask else {
        panic!("not HTTP: {target:?}");
    };
    assert_eq!(path.encoded(), "/%C3%A9%20%7Bx%7D?q=%221%22");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_and_what_is_read_is_read_back(text in ".{0,64}") {
        if let Ok(target) = parse(&text) {
            prop_assert_eq!(parse(&target.to_string()), Ok(target));
        }
    }

    #[test]
    fn a_path_that_is_taken_is_one_line_of_ascii_when_sent(path in "/.{0,64}") {
        if let Ok(Target { ask: Ask::Http(path), .. }) = parse(&format!("HTTP:80{path}")) {
            prop_assert!(path.encoded().bytes().all(|c| c.is_ascii_graphic()));
        }
    }
}
