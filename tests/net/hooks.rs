//! Which hook serves which device, and what changes when it is another: nothing that a
//! client would notice.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::model::Mode;
use tests::{
    hook::Hook,
    lab::{
        agent::{Ebb, Settings},
        conversation::Conversation,
        curl::{self, Download},
        site::Site,
        wait,
    },
};

use crate::scene::{SOON, in_each_mode, play_with};

in_each_mode! {
    p2_a_change_of_hook_breaks_no_flow,
}

/// For 16 MiB on a machine that does other things as well.
pub(crate) const TRANSFER: Duration = Duration::from_secs(30);

/// The configuration of every test, but for the hook and the interfaces.
fn configuration(site: &Site, hook: &str, interfaces: &[&str]) -> String {
    let (told, wanted) = (site.hook.name(), site.interfaces());
    Settings::default()
        .write(site)
        .replace(
            &format!("packets.hook = \"{told}\""),
            &format!("packets.hook = \"{hook}\""),
        )
        .replace(
            &format!("interfaces = {wanted:?}"),
            &format!("interfaces = {interfaces:?}"),
        )
}

/// The hook of each interface, as the agent tells.
fn hooks(ebb: &Ebb<'_>) -> Result<Vec<(String, String)>> {
    let status = ebb.status()?;
    let interfaces = status.interfaces.into_iter();
    Ok(interfaces.map(|at| (at.name, at.hook)).collect())
}

pub(crate) fn expect_hooks(ebb: &Ebb<'_>, expected: &[(&str, &str)]) -> Result<()> {
    let found = hooks(ebb)?;
    let found: Vec<_> = found.iter().map(|(a, b)| (&**a, &**b)).collect();
    ensure!(found == expected, "{found:?}, not {expected:?}");
    Ok(())
}

/// Downloads the whole file, and many times the name of a backend.
fn clients_are_served(site: &Site) -> Result<()> {
    let download = Download::start(&site.client, &site.url("/file"), site.dir(), "whole")?;
    let whole = download.wait(TRANSFER)?;
    ensure!(whole.exit == 0, "curl ended with {}", whole.exit);
    ensure!(whole.body == site.file, "another file came");
    let tally = curl::many(&site.client, &site.url("/"), 50)?;
    ensure!(tally.failed == 0, "{tally:?}");
    Ok(())
}

/// By these interfaces, and by nothing that the configuration says of hooks.
fn served_at_tc(site: &Site, interfaces: [&str; 2]) -> Result<()> {
    play_with(
        site,
        &configuration(site, "auto", &interfaces),
        |site, ebb| {
            ebb.wait_in_service()?;
            let mut expected = vec![("lo", "tc")];
            expected.extend(interfaces.map(|name| (name, "tc")));
            expected.sort_unstable();
            expect_hooks(ebb, &expected)?;
            clients_are_served(site)
        },
    )
}

/// Has `ip` do each line on the balancer.
fn set_up(site: &Site, lines: &[&str]) -> Result<()> {
    for line in lines {
        let words: Vec<_> = line.split(' ').collect();
        site.balancer.run("ip", &words)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_virtual_pair_is_served_at_tc_unless_told_otherwise() -> Result<()> {
    served_at_tc(&Site::new(Mode::Nat)?, ["c0", "s0"])
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn backends_behind_a_bridge_are_served_without_any_setting() -> Result<()> {
    let site = Site::new(Mode::Nat)?;
    set_up(
        &site,
        &[
            "link add br0 type bridge",
            "link set s0 master br0",
            "address flush dev s0",
            "address add 10.0.1.1/24 dev br0",
            "link set br0 up",
        ],
    )?;
    served_at_tc(&site, ["c0", "br0"])
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn clients_at_a_macvlan_are_served_without_any_setting() -> Result<()> {
    let site = Site::new(Mode::Nat)?;
    // The link below would answer for its guests' addresses as well.
    site.balancer.sysctl("net/ipv4/conf/c0/arp_ignore", "1")?;
    set_up(
        &site,
        &[
            "link add link c0 name mv0 type macvlan mode bridge",
            "address flush dev c0 scope global",
            "link set mv0 up",
            "address add 10.0.0.1/24 dev mv0",
        ],
    )?;
    served_at_tc(&site, ["mv0", "s0"])
}

/// A connection that is idle and a download go on while the agent comes back with
/// another hook, and then with the first.
fn p2_a_change_of_hook_breaks_no_flow(mode: Mode) -> Result<()> {
    // Links that XDP can have; TC takes any.
    let site = Site::with_hook(mode, 3, Hook::Xdp)?;
    play_with(
        &site,
        &configuration(&site, "xdp", site.interfaces()),
        |site, ebb| {
            ebb.wait_in_service()?;
            let at = |hook| {
                let interfaces = site.interfaces().iter().map(move |name| (*name, hook));
                let mut all: Vec<_> = interfaces.chain([("lo", "tc")]).collect();
                all.sort_unstable();
                all
            };
            let conversation = Conversation::open(&site.client, site.talkers())?;
            let mut download =
                Download::start(&site.client, &site.url("/file?rate=1m"), site.dir(), "slow")?;
            download.backend()?;
            for hook in ["tc", "xdp", "tc"] {
                ebb.stop()?;
                ebb.write_config(&configuration(site, hook, site.interfaces()))?;
                ebb.launch()?;
                expect_hooks(ebb, &at(hook))?;
                conversation.echo("still there")?;
                download
                    .expect_running()
                    .with_context(|| format!("the download ended with {hook}"))?;
            }
            clients_are_served(site)
        },
    )
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn p9_what_the_kernel_loses_behind_xdp_is_counted() -> Result<()> {
    let site = Site::with_hook(Mode::Nat, 1, Hook::Xdp)?;
    let settings = configuration(&site, "xdp", site.interfaces());
    play_with(&site, &settings, |site, ebb| {
        ebb.wait_in_service()?;
        let talk = Conversation::open(&site.client, site.talkers())?;
        talk.echo("while all is well")?;
        let lost = || -> Result<u64> {
            let verdicts = ebb.status()?.verdicts;
            Ok(verdicts.get("drop_redirect_lost").copied().unwrap_or(0))
        };
        let before = lost()?;
        // The way to the servers takes no frames any more, and the open flow knows no
        // other one.
        site.balancer.run("ip", &["link", "set", "s0", "down"])?;
        talk.talk_on()?;
        wait::until_true("what is lost to be counted", SOON * 2, || {
            Ok(lost()? > before)
        })?;
        site.balancer.run("ip", &["link", "set", "s0", "up"])?;
        Ok(())
    })
}
