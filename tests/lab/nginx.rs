//! nginx on a backend: its name at `/`, and a file to download as slowly as
//! one likes.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::{host::Host, process::Process, wait};

/// Where every backend listens: the port of the listener itself, which the DSR
/// modes need, and another one for `nat` to translate to.
pub const PORTS: [u16; 2] = [80, 8080];

/// One nginx; stopped when dropped.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    dir: PathBuf,
}

impl Nginx {
    /// Starts it; `dir` will be its own, `file` is what it serves as `/file`.
    pub(super) fn start(host: &Host, dir: &Path, file: &Path) -> Result<Self> {
        fs::create_dir(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let conf = dir.join("nginx.conf");
        fs::write(&conf, configuration(&host.name, dir, file))?;
        let mut command = host.command("nginx");
        command.arg("-p").arg(dir).arg("-c").arg(&conf);
        let process = Process::start(
            &format!("nginx on {}", host.name),
            &mut command,
            &dir.join("error.log"),
        )?;
        Ok(Self {
            process,
            dir: dir.to_owned(),
        })
    }

    /// Waits until it takes connections.
    pub(super) fn wait_ready(&mut self, host: &Host) -> Result<()> {
        let port = SocketAddr::from(([127, 0, 0, 1], PORTS[0]));
        wait::until_true(
            &format!("nginx on {}", host.name),
            Duration::from_secs(10),
            || {
                self.process.expect_running()?;
                host.enter(|| TcpStream::connect(port).is_ok())
            },
        )
    }

    /// What it wrote of its requests: one line each, `client status bytes uri`.
    pub fn requests(&self) -> Result<Vec<String>> {
        let log = self.dir.join("access.log");
        let text =
            fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Stops it as a server that hangs does (`STOP`), or lets it go on.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it complained of, resets by its clients included.
    pub fn complaints(&self) -> String {
        self.process.printed()
    }
}

/// One process, so that there is one to kill; it logs resets (`info`).
fn configuration(name: &str, dir: &Path, file: &Path) -> String {
    let dir = dir.display();
    let file = file.display();
    let [plain, other] = PORTS;
    format!(
        r#"daemon off;
master_process off;
pid {dir}/pid;
error_log {dir}/error.log info;
events {{ worker_connections 8192; }}
http {{
    log_format line '$remote_addr:$remote_port $status $body_bytes_sent $request_uri';
    access_log {dir}/access.log line;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    sendfile on;
    # Some clients of the tests read slowly for longer than the default minute.
    send_timeout 10m;
    # ?rate=1m: bytes a second; without it, as fast as the network.
    map $arg_rate $rate {{
        default 0;
        ~^[0-9]+[km]?$ $arg_rate;
    }}
    server {{
        listen {plain} backlog=4096;
        listen {other} backlog=4096;
        listen [::]:{plain} backlog=4096;
        listen [::]:{other} backlog=4096;
        add_header X-Backend {name} always;
        location = / {{ return 200 {name}; }}
        location = /file {{ alias {file}; limit_rate $rate; }}
    }}
}}
"#
    )
}
