//! The agent as it is installed: as a user of its own with four capabilities,
//! on a host that `ebb doctor` has looked at.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use lb_userspace::model::Mode;
use tests::{
    hook::Hook,
    lab::{
        agent::{Ebb, Settings},
        conversation::{Conversation, How},
        curl,
        site::Site,
    },
};

use crate::scene::{SOON, in_each_mode, play, play_on};

in_each_mode! {
    everything_works_without_root,
}

fn everything_works_without_root(mode: Mode) -> Result<()> {
    let site = Site::new(mode)?;
    let mut ebb = Ebb::prepare(&site, &Settings::default().write(&site))?;
    ebb.as_nobody()?;
    ebb.launch()?;
    play_on(&site, ebb, |site, ebb| {
        ebb.wait_in_service()?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", ebb.process()?.id()))?;
        assert!(
            status.contains("Uid:\t65534\t65534\t65534\t65534"),
            "{status}"
        );

        // VIPs, programs, maps, next hops.
        let tally = curl::many(&site.client, &site.url("/"), 30)?;
        assert_eq!((tally.failed, tally.total()), (0, 30), "{tally:?}");
        // Resets to an idle client and its server, from a raw socket.
        let talk = Conversation::open(&site.client, site.talkers())?;
        ebb.deregister(&talk.backend, &["--timeout", "1"])?;
        let server = &site.backend(&talk.backend)?.talker;
        for end in [
            talk.wait_end(Duration::from_secs(4))?,
            server.wait_end_of(talk.seen_as, SOON)?,
        ] {
            assert_eq!(end.how, How::Reset);
        }
        // And it takes over what it left.
        let talk = Conversation::open(&site.client, site.talkers())?;
        ebb.crash()?;
        ebb.launch()?;
        talk.echo("after the crash")?;
        ebb.stop()
    })
}

/// What the doctor says of each thing: its verdict, and the command.
fn findings(ebb: &Ebb<'_>) -> Result<BTreeMap<String, (String, Option<String>)>> {
    let config = ebb.config().display().to_string();
    let said = ebb.run(&["--json", "doctor", "--config", &config])?;
    let report: serde_json::Value = serde_json::from_str(&said.stdout)
        .with_context(|| format!("{}{}", said.stdout, said.stderr))?;
    let findings = report["findings"].as_array().context("no findings")?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let findings = findings.iter().filter_map(|finding| {
        let verdict = (text(&finding["verdict"])?, text(&finding["mend"]));
        Some((text(&finding["what"])?, verdict))
    });
    Ok(findings.collect())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_doctors_commands_mend_what_it_found() -> Result<()> {
    play(Mode::Nat, &Settings::default(), |site, ebb| {
        let host = &site.balancer;
        let good = |findings: &BTreeMap<String, (String, _)>, what: &str| {
            findings
                .get(what)
                .is_some_and(|(verdict, _)| verdict == "good")
        };
        let interface = site.interfaces()[0];
        let [link, offloads, rp_filter] =
            ["link", "offloads", "rp_filter"].map(|what| format!("{interface}: {what}"));
        host.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
        host.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0")?;
        let before = findings(ebb)?;
        for what in [
            "kernel",
            "BTF",
            "bpffs",
            "rights",
            "configuration",
            &link,
            &rp_filter,
        ] {
            assert!(good(&before, what), "{what}: {before:?}");
        }

        host.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "1")?;
        host.run("ip", &["link", "set", "dev", interface, "mtu", "1400"])?;
        host.run("ethtool", &["-K", interface, "tx", "on"])?;
        let sick = findings(ebb)?;
        let wrong: Vec<_> = sick
            .iter()
            .filter(|(what, (verdict, _))| {
                verdict != "good" && *what != "group ebb" && *what != "JIT"
            })
            .collect();
        let names: Vec<_> = wrong.iter().map(|(what, _)| what.as_str()).collect();
        let tx = format!("{interface}: tx-checksumming");
        // Offloads are nothing to TC.
        let of_xdp = Hook::of_run() == Hook::Xdp;
        let mut expected = vec!["MTUs", &rp_filter];
        expected.extend(of_xdp.then_some(&*tx));
        assert_eq!(names, expected, "{sick:?}");
        for (what, (_, mend)) in wrong {
            let mend = mend
                .as_deref()
                .with_context(|| format!("no mend of {what}"))?;
            host.run("sh", &["-c", mend])?;
        }
        let after = findings(ebb)?;
        assert!(!after.contains_key("MTUs"), "{after:?}");
        assert!(good(&after, &rp_filter), "{after:?}");
        assert_eq!(good(&after, &offloads), of_xdp, "{after:?}");
        Ok(())
    })
}
