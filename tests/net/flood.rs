//! A flood of SYNs during downloads: none breaks, none moves, and the agent's
//! memory stays what it was.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::model::Mode;
use rustix::net::sockopt;
use tests::lab::{agent::Settings, host::Host, process::Process, wait};

use crate::scene::{in_each_mode, play};

in_each_mode! {
    a_million_syns_from_everywhere_break_no_download,
}

const DOWNLOADS: usize = 200;
const SYNS: u64 = 1_000_000;
/// Bytes of each download.
const LENGTH: usize = 3 << 20;
/// For a machine that does other things as well.
const FLOOD: Duration = Duration::from_secs(300);
/// The agent's resident memory.
const MEMORY_KIB: u64 = 64 << 10;

fn a_million_syns_from_everywhere_break_no_download(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let streams = site.client.enter(|| {
            (0..DOWNLOADS)
                .map(|_| ask_for_the_file(site.web()))
                .collect::<Result<Vec<_>>>()
        })??;
        let flooded = Arc::new(AtomicBool::new(false));
        let downloads: Vec<_> = streams
            .into_iter()
            .map(|stream| {
                let flooded = Arc::clone(&flooded);
                thread::spawn(move || read_slowly_until(&flooded, stream))
            })
            .collect();

        let before = sent(&site.client)?;
        let mut command = site.client.command("hping3");
        command.args([
            "--flood",
            "--rand-source",
            "--quiet",
            "--syn",
            "--destport",
            "80",
        ]);
        command.arg(site.web().ip().to_string());
        let log = site.dir().join("hping3.log");
        let mut flood = Process::start("hping3", &mut command, &log)?;
        wait::until_true("a million SYNs to be sent", FLOOD, || {
            flood.expect_running()?;
            Ok(sent(&site.client)? - before >= SYNS)
        })?;
        let under_way = downloads
            .iter()
            .filter(|download| !download.is_finished())
            .count();
        let memory = resident_kib(ebb.process()?.id())?;
        drop(flood);
        flooded.store(true, Ordering::Relaxed);
        ensure!(memory < MEMORY_KIB, "the agent has {memory} KiB");
        ensure!(
            under_way == DOWNLOADS,
            "only {under_way} downloads are still under way"
        );

        for download in downloads {
            let answer = download
                .join()
                .map_err(|_| anyhow::anyhow!("a download panicked"))?
                .context("a download broke")?;
            let body = answer.windows(4).position(|at| at == b"\r\n\r\n");
            let body = &answer[body.context("no head")? + 4..];
            ensure!(
                body == &site.file[..LENGTH],
                "a download came changed: {} bytes",
                body.len()
            );
        }
        ensure!(
            !ebb.process()?.printed().contains("books do not balance"),
            "the audit has found a difference"
        );
        Ok(())
    })
}

/// Begins a download, and returns when its head is under way.
fn ask_for_the_file(server: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    // What is not read stays with the server.
    sockopt::set_socket_recv_buffer_size(&stream, 32 << 10)?;
    let request = format!(
        "GET /file HTTP/1.1\r\nHost: web\r\nRange: bytes=0-{}\r\n\
         Connection: close\r\n\r\n",
        LENGTH - 1
    );
    stream.write_all(request.as_bytes())?;
    ensure!(stream.peek(&mut [0])? == 1, "the server said nothing");
    Ok(stream)
}

/// Reads a little now and then while the flood goes on, and the rest after it.
fn read_slowly_until(flooded: &AtomicBool, mut stream: TcpStream) -> Result<Vec<u8>> {
    let mut answer = Vec::new();
    while !flooded.load(Ordering::Relaxed) {
        let mut some = [0; 2048];
        let length = stream.read(&mut some)?;
        ensure!(length > 0, "it ended during the flood");
        answer.extend_from_slice(&some[..length]);
        thread::sleep(Duration::from_millis(400));
    }
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Packets that the host has sent.
pub(crate) fn sent(host: &Host) -> Result<u64> {
    let json = host.run("ip", &["-json", "-statistics", "link", "show", "eth0"])?;
    let links: serde_json::Value = serde_json::from_str(&json)?;
    let packets = links[0]["stats64"]["tx"]["packets"].as_u64();
    packets.with_context(|| format!("no statistics in {json}"))
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number.context("no VmRSS")?.trim().parse()?)
}
