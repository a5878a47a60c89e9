//! The worked example of docs/scale-in.md: a server is taken out, drained, and
//! only then stopped, under load, and no request fails. A hook is told.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use lb_userspace::model::Mode;
use tests::lab::{
    agent::{LB, Settings},
    curl::Download,
    load::Load,
    site::FILE_SIZE,
    wait,
};

use crate::scene::{SOON, in_each_mode, play_at};

in_each_mode! {
    no_request_fails_when_a_server_is_taken_out_as_documented,
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/scale-in.sh");

fn no_request_fails_when_a_server_is_taken_out_as_documented(mode: Mode) -> Result<()> {
    let site = tests::lab::site::Site::new(mode)?;
    let told = site.dir().join("told");
    let settings = Settings {
        more: format!(
            "[[hook]]\nevents = [\"drain_started\", \"drain_ended\", \"deregistered\"]\n\
             command = [\"/bin/sh\", \"-c\", \"echo $EBB_EVENT $EBB_BACKEND >> {}\"]\n",
            told.display()
        ),
        ..Settings::default()
    };
    play_at(&site, &settings, |site, ebb| {
        let load = Load::start(&site.client, site.web(), Duration::from_millis(2));
        load.wait_for_more(50, SOON)?;
        let url = site.url(&format!("/file?rate={}", FILE_SIZE / 3));
        let mut downloads = Vec::new();
        for n in 0..12 {
            let name = format!("download-{n}");
            let mut download = Download::start(&site.client, &url, site.dir(), &name)?;
            downloads.push((download.backend()?, download));
        }
        let victim = downloads[0].0.clone();

        // The server is stopped by the script, when it may be.
        let pid = site.backend(&victim)?.nginx.id().to_string();
        let mut script = ebb.command(&[]);
        let (ebb_binary, socket) = {
            let mut words = script.get_args().map(ToOwned::to_owned);
            let _flag = words.next();
            (
                script.get_program().to_owned(),
                words.next().context("no socket")?,
            )
        };
        script = site.balancer.command(SCRIPT);
        script
            .args([LB, &victim, "60", "kill", &pid])
            .env("EBB", ebb_binary)
            .env("EBB_SOCKET", socket);
        let done = script.output()?;
        if !done.status.success() {
            bail!(
                "{}: {}\n{}",
                SCRIPT,
                done.status,
                String::from_utf8_lossy(&done.stderr)
            );
        }
        // It has waited for the downloads from that server.
        for (backend, download) in &mut downloads {
            if *backend == victim {
                download
                    .expect_running()
                    .err()
                    .context("the server was stopped while a client was there")?;
            }
        }
        load.wait_for_more(50, SOON)?;
        for (backend, download) in downloads {
            let done = download.wait(Duration::from_secs(15))?;
            assert_eq!(done.exit, 0, "the download from {backend}");
            assert!(done.body == site.file, "the download from {backend}");
        }
        let requests = load.stop();
        let failed: Vec<_> = requests
            .iter()
            .filter(|request| request.answer.is_err())
            .collect();
        assert!(failed.is_empty(), "{failed:?}");
        expect_told(&told, &victim)
    })
}

fn expect_told(file: &Path, victim: &str) -> Result<()> {
    let wanted = ["drain_started", "drain_ended", "deregistered"];
    wait::until_true("the hook to be told of the whole drain", SOON, || {
        let text = fs::read_to_string(file).unwrap_or_default();
        let told: Vec<_> = text.lines().collect();
        Ok(told == wanted.map(|event| format!("{event} {victim}")))
    })
}
