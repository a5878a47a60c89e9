//! Names of this host. A page in a browser here that made a name of its own
//! lead here (DNS rebinding) asks by that name.

/// `127.0.0.1:8089`, `[::1]:8089`, `localhost:8089`.
pub(super) fn is_this_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_this_hosts_name_and_a_name_is_not() {
        for ours in ["127.0.0.1:8089", "[::1]:8089", "localhost", "LocalHost:80"] {
            assert!(is_this_host(ours), "{ours}");
        }
        for other in ["evil.example:8089", "localhost.evil.example", "", ":80"] {
            assert!(!is_this_host(other), "{other}");
        }
    }
}
