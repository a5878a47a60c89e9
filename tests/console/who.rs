//! Who may look: from another host, only who has logged in.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    thread,
};

use anyhow::Result;
use tests::lab::{agent::Settings, host::Host};

use crate::scene::{DESKTOP, KEY, LOOPBACK, OUTSIDE, SECRET, play};

#[test]
#[ignore = "needs root: cargo xtask test"]
fn from_elsewhere_one_logs_in_and_out() -> Result<()> {
    play(OUTSIDE, DESKTOP, &Settings::default(), |scene| {
        let browser = &scene.browser;
        let status =
            || browser.script("return fetch('v1/load-balancers').then((answer) => answer.status)");
        browser.go(&scene.url)?;
        let log_in = |secret: &str| -> Result<()> {
            browser.find("#login [name=key]")?.fill(KEY)?;
            browser.find("#login [name=secret]")?.fill(secret)?;
            browser.click("#login .primary")
        };
        assert_eq!(status()?, 401);
        log_in("guess")?;
        browser.wait_text("#login .problem", "no access key")?;
        assert_eq!(status()?, 401);
        browser.screenshot("login")?;
        log_in(SECRET)?;
        browser.wait_text("#all", "3 in service")?;
        assert_eq!(status()?, 200);
        // No script can read what proves it.
        assert_eq!(browser.script("return document.cookie")?, "");
        browser.click("#logout")?;
        browser.find("#login")?;
        assert_eq!(status()?, 401);
        Ok(())
    })
}

/// A browser on the same host shows other pages too.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn another_page_can_neither_look_nor_do() -> Result<()> {
    play(LOOPBACK, DESKTOP, &Settings::default(), |scene| {
        let browser = &scene.browser;
        let url = format!("{}v1/load-balancers", scene.url);
        browser.go(&another_page(&scene.site.balancer)?)?;
        // All that a page can send without asking, and with asking.
        let sent = browser.script(&format!(
            "const tries = [
                ['no-cors', 'text/plain'], ['cors', 'application/json'],
            ];
            return Promise.all(tries.map(([mode, type]) =>
                fetch('{url}/web/backends/web-1/deregister', {{
                    method: 'POST', mode, headers: {{ 'content-type': type }}, body: '{{}}',
                }}).then((answer) => answer.status, () => 'failed')))"
        ))?;
        assert_eq!(sent, serde_json::json!(["failed", "failed"]));
        let looked = browser.script(&format!(
            "return fetch('{url}').then(() => 'seen', () => 'failed')"
        ))?;
        assert_eq!(looked, "failed");
        assert_eq!(scene.ebb.backend("web-1")?.registration, "registered");

        // A name that was made to lead here is not ours.
        let curl = |more: &[&str]| {
            let args = [&["-sS", "-i", "--max-time", "5"], more, &[&url]].concat();
            scene.site.balancer.run("curl", &args)
        };
        assert!(curl(&["-H", "Host: evil.example"])?.starts_with("HTTP/1.1 403 "));
        let deregister = format!("{url}/web/backends/web-1/deregister");
        for origin in [
            "Origin: http://evil.example",
            "Origin: null",
            "X-Nothing: said",
        ] {
            let json = "Content-Type: application/json";
            let answer = curl(&["-H", origin, "-H", json, "-d", "{}", &deregister])?;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{origin}: {answer}");
        }
        assert_eq!(scene.ebb.backend("web-1")?.registration, "registered");
        let answer = curl(&[])?;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(
            answer.contains("content-security-policy: default-src 'none'"),
            "{answer}"
        );
        Ok(())
    })
}

/// A page that another program of this host serves; its address.
fn another_page(host: &Host) -> Result<String> {
    let listener = host.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))??;
    let url = format!("http://{}/", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            // Whatever it asks for.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<h1>another page</h1>",
            );
        }
    });
    Ok(url)
}
