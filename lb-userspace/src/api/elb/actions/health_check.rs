//! `ConfigureHealthCheck`.

use super::{Action, Desk, Params, Refusal, Xml, describe, lb_name, shortened};
use crate::api::elb::extras::HealthCheck;

/// The longest path of an HTTP target, in 16-bit characters.
const PATH_MOST: usize = 1024;

#[derive(Debug)]
pub(super) struct Configure {
    name: String,
    check: HealthCheck,
}

impl Action for Configure {
    const NAME: &'static str = "ConfigureHealthCheck";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        let name = lb_name(params)?;
        let check = params.required_structure("HealthCheck", |check| {
            Ok(HealthCheck {
                target: target(&check.required_text("Target")?)?,
                interval: check.required_number("Interval", 5..=300)?,
                timeout: check.required_number("Timeout", 2..=60)?,
                unhealthy_threshold: check.required_number("UnhealthyThreshold", 2..=10)?,
                healthy_threshold: check.required_number("HealthyThreshold", 2..=10)?,
            })
        })?;
        if check.timeout >= check.interval {
            return Err(Refusal::validation(
                "HealthCheck timeout must be less than interval.",
            ));
        }
        Ok(Self { name, check })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let _writing = desk.writing().await;
        let mut known = desk.lb(&self.name).await?;
        let mut xml = Xml::default();
        describe::health_check(&mut xml, &self.check);
        known.extras.health_check = Some(self.check);
        desk.keep(&self.name, &known.extras).await?;
        Ok(xml)
    }
}

/// `TCP:80`, `HTTP:80/path`; the protocol in capitals.
fn target(text: &str) -> Result<String, Refusal> {
    let wrong = || {
        Refusal::validation(format!(
            "HealthCheck Target '{}' is not one: \
             it is TCP:port, SSL:port, HTTP:port/path or HTTPS:port/path",
            shortened(text)
        ))
    };
    let (protocol, rest) = text.split_once(':').ok_or_else(wrong)?;
    let protocol = protocol.to_ascii_uppercase();
    let (port, path) = match rest.find('/') {
        Some(at) => (&rest[..at], Some(&rest[at..])),
        None => (rest, None),
    };
    let port = Some(port)
        .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|port| port.parse::<u16>().ok())
        .filter(|port| *port > 0)
        .ok_or_else(wrong)?;
    match (protocol.as_str(), path) {
        ("TCP" | "SSL", None) => Ok(format!("{protocol}:{port}")),
        ("TCP" | "SSL", Some(_)) => Err(Refusal::validation(format!(
            "HealthCheck {protocol} Target must specify a port and no path. e.g. {protocol}:80"
        ))),
        ("HTTP" | "HTTPS", None) => Err(Refusal::validation(format!(
            "HealthCheck {protocol} Target must specify a port followed by a path that begins \
             with a slash. e.g. {protocol}:80/ping/this/path"
        ))),
        ("HTTP" | "HTTPS", Some(path)) if path.encode_utf16().count() > PATH_MOST => {
            Err(Refusal::validation(format!(
                "HealthCheck {protocol} Target path cannot be longer than {PATH_MOST} characters"
            )))
        }
        // It goes into a request line.
        ("HTTP" | "HTTPS", Some(path)) if path.chars().any(|c| c.is_control() || c == ' ') => {
            Err(wrong())
        }
        ("HTTP" | "HTTPS", Some(path)) => Ok(format!("{protocol}:{port}{path}")),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_protocol_port_and_for_http_a_path() {
        for (good, kept) in [
            ("TCP:80", "TCP:80"),
            ("tcp:65535", "TCP:65535"),
            ("ssl:443", "SSL:443"),
            ("http:80/", "HTTP:80/"),
            ("HTTPS:443/a/b?c=d", "HTTPS:443/a/b?c=d"),
        ] {
            assert_eq!(target(good).as_deref(), Ok(kept));
        }
        let long = format!("HTTP:80/{}", "x".repeat(PATH_MOST));
        for bad in [
            "",
            "TCP",
            "TCP:",
            "TCP:0",
            "TCP:65536",
            "TCP:+80",
            "TCP:80/",
            "HTTP:80",
            "HTTP:/x",
            "UDP:80",
            ":80",
            "TCP:80:81",
            "HTTP:80/a b",
            "HTTP:80/a\r\nb",
            &long,
        ] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
