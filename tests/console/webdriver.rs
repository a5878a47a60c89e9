//! Chromium, driven by its own driver over the WebDriver protocol: as much of
//! it as the tests need.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tests::lab::{host::Host, process::Process, wait};

/// A driver's port; every host has its own.
const PORT: u16 = 9515;
/// A browser that starts on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a person would wait for a page.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// How the protocol names an element's id.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub(crate) const ENTER: &str = "\u{e007}";
pub(crate) const ESCAPE: &str = "\u{e00c}";
pub(crate) const RIGHT: &str = "\u{e014}";
pub(crate) const LEFT: &str = "\u{e012}";

/// A browser on one of the hosts; gone when dropped.
pub(crate) struct Browser<'h> {
    host: &'h Host,
    session: String,
    driver: Process,
}

/// Something on the page.
pub(crate) struct Element<'b, 'h> {
    browser: &'b Browser<'h>,
    id: String,
}

impl<'h> Browser<'h> {
    /// Starts one with a window of this size; `dir` is its own.
    pub(crate) fn start(host: &'h Host, dir: &Path, (width, height): (u32, u32)) -> Result<Self> {
        let home = dir.join(format!("browser-{}", host.name));
        fs::create_dir(&home).with_context(|| format!("cannot create {}", home.display()))?;
        let mut command = host.command("chromedriver");
        command.arg(format!("--port={PORT}")).env("HOME", &home);
        let mut driver = Process::start("chromedriver", &mut command, &home.join("log")).context(
            "chromium and chromium-driver are missing; as root, `cargo xtask setup` installs them",
        )?;
        wait::until_true("chromedriver", PATIENCE, || {
            driver.expect_running()?;
            host.enter(|| TcpStream::connect(address()).is_ok())
        })?;
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": [
                "--headless=new",
                // The lab is run by root, for whom chromium has no sandbox.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--no-first-run",
                "--hide-scrollbars",
                "--lang=en",
                format!("--window-size={width},{height}"),
                format!("--user-data-dir={}", home.join("profile").display()),
            ] },
        } } });
        let mut browser = Self {
            host,
            session: String::new(),
            driver,
        };
        let begun = browser.ask("POST", "/session", &wanted)?;
        let session = begun["sessionId"].as_str().context("no session")?;
        browser.session = format!("/session/{session}");
        Ok(browser)
    }

    pub(crate) fn go(&self, url: &str) -> Result<()> {
        self.command("POST", "/url", &json!({ "url": url }))
            .map(drop)
    }

    /// Runs a script in the page: the value that it returns.
    pub(crate) fn script(&self, script: &str) -> Result<Value> {
        self.command(
            "POST",
            "/execute/sync",
            &json!({ "script": script, "args": [] }),
        )
    }

    /// The first that is visible of those that the CSS selector finds.
    pub(crate) fn find(&self, css: &str) -> Result<Element<'_, 'h>> {
        wait::until(&format!("{css} to be seen"), SOON, || self.look_for(css))
    }

    /// As [`Browser::find`], without waiting for it.
    pub(crate) fn look_for(&self, css: &str) -> Result<Option<Element<'_, 'h>>> {
        let wanted = json!({ "using": "css selector", "value": css });
        let found = self.command("POST", "/elements", &wanted)?;
        for element in found.as_array().into_iter().flatten() {
            let id = element[ELEMENT].as_str().context("no element")?.to_owned();
            let element = Element { browser: self, id };
            if element.visible()? {
                return Ok(Some(element));
            }
        }
        Ok(None)
    }

    pub(crate) fn click(&self, css: &str) -> Result<()> {
        self.find(css)?.click()
    }

    /// The text of what the selector finds, as one sees it; empty if nothing.
    pub(crate) fn text(&self, css: &str) -> Result<String> {
        let script = format!("return document.querySelector({css:?})?.innerText ?? ''");
        let text = self.script(&script)?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    pub(crate) fn wait_text(&self, css: &str, wanted: &str) -> Result<()> {
        let mut last = String::new();
        let what = format!("{css} to say {wanted:?}");
        wait::until_true(&what, SOON, || {
            last = self.text(css)?;
            Ok(last.contains(wanted))
        })
        .with_context(|| format!("it says {last:?}"))
    }

    /// Keeps what the window shows, as `name`.png.
    pub(crate) fn screenshot(&self, name: &str) -> Result<PathBuf> {
        let picture = self.command("GET", "/screenshot", &Value::Null)?;
        let picture = base64(picture.as_str().context("no picture")?)?;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("console");
        fs::create_dir_all(&folder)?;
        let file = folder.join(format!("{name}.png"));
        fs::write(&file, picture).with_context(|| format!("cannot write {}", file.display()))?;
        println!("screenshot: {}", file.display());
        Ok(file)
    }

    /// What the page complained of: errors of scripts, and what the policy
    /// kept it from.
    pub(crate) fn complaints(&self) -> Result<Vec<String>> {
        let log = self.command("POST", "/se/log", &json!({ "type": "browser" }))?;
        let entries = log.as_array().cloned().unwrap_or_default();
        Ok(entries
            .iter()
            .filter(|entry| entry["level"] == "SEVERE")
            .map(|entry| entry["message"].to_string())
            .collect())
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        self.ask(method, &format!("{}{path}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = match method {
            "POST" => body.to_string(),
            _ => String::new(),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            address(),
            body.len()
        );
        let answer = self.host.enter(|| exchange(&request))?;
        let answer = answer.with_context(|| format!("chromedriver: {method} {path}"))?;
        let value = &answer["value"];
        if let Some(error) = value["error"].as_str() {
            bail!("{method} {path} {body}: {error}: {}", value["message"]);
        }
        Ok(value.clone())
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // It takes the browser with it, if it still can.
            let _ = self.command("DELETE", "", &Value::Null);
        }
        let group = i32::try_from(self.driver.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // Nobody left is fine.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Element<'_, '_> {
    pub(crate) fn click(&self) -> Result<()> {
        self.command("POST", "/click", &json!({})).map(drop)
    }

    /// Types into it, as keys on a keyboard.
    pub(crate) fn keys(&self, text: &str) -> Result<()> {
        self.command("POST", "/value", &json!({ "text": text }))
            .map(drop)
    }

    /// Types into an empty field.
    pub(crate) fn fill(&self, text: &str) -> Result<()> {
        // As a person empties it, so that the page hears of it.
        self.keys("\u{e009}a\u{e000}\u{e017}")?;
        self.keys(text)
    }

    pub(crate) fn enabled(&self) -> Result<bool> {
        Ok(self.command("GET", "/enabled", &Value::Null)? == true)
    }

    fn visible(&self) -> Result<bool> {
        // It may have gone since it was found.
        Ok(self
            .command("GET", "/displayed", &Value::Null)
            .is_ok_and(|displayed| displayed == true))
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let path = format!("/element/{}{path}", self.id);
        self.browser.command(method, &path, body)
    }
}

fn address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, PORT).into()
}

fn exchange(request: &str) -> Result<Value> {
    let mut stream = TcpStream::connect(address())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 1 << 16];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, length)| length.trim().parse::<usize>().ok())
                .context("an answer without a length")?;
            if body.len() >= length {
                return serde_json::from_str(body).context("no JSON");
            }
        }
        let more = stream.read(&mut chunk)?;
        ensure!(more > 0, "the answer broke off: {text}");
        bytes.extend_from_slice(&chunk[..more]);
    }
}

/// The standard alphabet, with or without padding.
fn base64(text: &str) -> Result<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = ALPHABET.iter().position(|known| *known == letter);
        let value = value.context("no base64")?;
        bits = bits << 6 | u32::try_from(value)?;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff)?);
        }
    }
    Ok(bytes)
}

#[test]
fn pictures_are_decoded() {
    assert_eq!(base64("aGVsbG8=").unwrap(), b"hello");
    assert_eq!(base64("/+8").unwrap(), [0xff, 0xef]);
    assert!(base64("a b").is_err());
}
