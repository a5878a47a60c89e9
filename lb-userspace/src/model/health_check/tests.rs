use super::*;
use crate::wire;

fn asked(target: &str) -> wire::HealthCheck {
    wire::HealthCheck::new(target.to_owned())
}

fn check(asked: wire::HealthCheck) -> Result<HealthCheck, String> {
    HealthCheck::try_from(asked).map_err(|error| error.to_string())
}

#[test]
fn what_is_left_out_is_as_the_classic_elb_has_it() {
    let check = check(asked("tcp:80")).unwrap();
    assert_eq!(check.interval(), Duration::from_secs(30));
    assert_eq!(check.timeout(), Duration::from_secs(5));
    assert_eq!(
        check.thresholds(),
        Thresholds {
            unhealthy: 2,
            healthy: 10
        }
    );
    assert!(!check.verify_certificate());
}

#[test]
fn the_timeout_that_is_left_out_fits_a_short_interval() {
    for (interval, timeout) in [(300, 5), (6, 5), (5, 4), (2, 1), (1, 1)] {
        let check = check(wire::HealthCheck {
            interval,
            ..asked("TCP:80")
        });
        assert_eq!(check.unwrap().timeout(), Duration::from_secs(timeout));
    }
}

#[test]
fn the_limits_are_those_of_the_classic_elb_and_a_second_at_the_least() {
    let with = |interval, timeout| {
        check(wire::HealthCheck {
            interval,
            timeout: Some(timeout),
            ..asked("TCP:80")
        })
        .map(|_| ())
    };
    let less = Err("HealthCheck timeout must be less than interval.".to_owned());
    for (interval, timeout) in [(1, 1), (2, 1), (5, 4), (61, 60), (300, 60)] {
        assert_eq!(with(interval, timeout), Ok(()), "{interval} {timeout}");
    }
    for (interval, timeout) in [(2, 2), (5, 5), (5, 6), (60, 60)] {
        assert_eq!(with(interval, timeout), less, "{interval} {timeout}");
    }
    for interval in [0, 301, u32::MAX] {
        let error = with(interval, 1).unwrap_err();
        assert!(error.contains("must be 1 to 300 seconds"), "{error}");
    }
    for timeout in [0, 61] {
        let error = with(300, timeout).unwrap_err();
        assert!(error.contains("must be 1 to 60 seconds"), "{error}");
    }
}

#[test]
fn thresholds_are_2_to_10() {
    for bad in [0, 1, 11, 256, u32::MAX] {
        let down = check(wire::HealthCheck {
            unhealthy_threshold: bad,
            ..asked("TCP:80")
        });
        let error = down.unwrap_err();
        assert!(
            error.contains("unhealthy_threshold of a health check must be 2 to 10"),
            "{error}"
        );
        let up = check(wire::HealthCheck {
            healthy_threshold: bad,
            ..asked("TCP:80")
        });
        let error = up.unwrap_err();
        assert!(error.contains("the healthy_threshold"), "{error}");
    }
}

#[test]
fn certificates_are_a_matter_of_tls_alone() {
    let named = |target: &str, name: &str| wire::HealthCheck {
        server_name: Some(name.to_owned()),
        ..asked(target)
    };
    assert!(check(named("SSL:443", "www.example.com")).is_ok());
    for bad in ["10.0.0.1", "", "a b", "-.example"] {
        let error = check(named("HTTPS:443/", bad)).unwrap_err();
        assert!(error.contains("is not a server name"), "{error}");
    }
    let error = check(named("HTTP:80/", "www.example.com")).unwrap_err();
    assert!(
        error.contains("`server_name` is only for SSL and HTTPS"),
        "{error}"
    );
    let verified = wire::HealthCheck {
        verify_certificate: true,
        ..asked("TCP:80")
    };
    let error = check(verified).unwrap_err();
    assert!(
        error.contains("`verify_certificate` is only for SSL"),
        "{error}"
    );
}

#[test]
fn a_check_survives_being_written_and_read() {
    let written = wire::HealthCheck {
        interval: 7,
        verify_certificate: true,
        server_name: Some("www.example.com".to_owned()),
        ..asked("HTTPS:8443/ping?x=1")
    };
    let check = check(written).unwrap();
    let text = serde_json::to_string(&wire::HealthCheck::from(check.clone())).unwrap();
    let read: wire::HealthCheck = serde_json::from_str(&text).unwrap();
    assert_eq!(HealthCheck::try_from(read).unwrap(), check);
}

#[test]
fn checks_that_cannot_be_made_in_time_once_all_hang_are_warned_of() {
    let check = check(wire::HealthCheck {
        interval: 70,
        timeout: Some(60),
        ..asked("TCP:80")
    })
    .unwrap();
    assert_eq!(check.under_way_at_worst(7), 6);
    assert_eq!(check.under_way_at_worst(3900), 3343);
    assert_eq!(check.warning(2389), None, "2,048 at once, and no more");
    let warning = check.warning(3900).expect("a warning");
    assert!(
        warning.contains("3343 would be under way at once"),
        "{warning}"
    );
}
