//! What the facts of a host mean for ebb. Pure.

mod service;

use std::{collections::BTreeSet, path::Path};

use super::{
    facts::{Facts, InterfaceFacts},
    finding::{Finding, Verdict, good, wrong},
    mend::{Mend, Words},
};
use crate::{bpffs, model::HookChoice};

/// The oldest kernel that the program is tested on.
const OLDEST: (u32, u32) = (6, 1);

/// The capabilities that the agent needs, by the kernel's numbers.
const NEEDED: [(u32, &str); 3] = [(39, "CAP_BPF"), (12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON")];

/// Sends the resets that idle peers need.
const RAW: (u32, &str) = (13, "CAP_NET_RAW");

/// The longest frame that a driver can give to a program in one piece.
const LONGEST_MTU: u32 = 3498;

/// Drivers that take XDP programs, as of Linux 6.12.
const XDP_DRIVERS: &[&str] = &[
    "atlantic",
    "bnxt_en",
    "bonding",
    "cpsw",
    "cpsw-switch",
    "dpaa2-eth",
    "ena",
    "enetc",
    "fec",
    "fsl_dpaa2_eth",
    "fsl_dpa",
    "gve",
    "hv_netvsc",
    "i40e",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "lan966x-switch",
    "mana",
    "mlx4_en",
    "mlx5_core",
    "mtk_soc_eth",
    "mvneta",
    "mvpp2",
    "netsec",
    "nfp",
    "octeontx2-nicpf",
    "qede",
    "rvu_nicpf",
    "sfc",
    "st_gmac",
    "stmmac",
    "tap",
    "thunder-nicvf",
    "tsnep",
    "tun",
    "veth",
    "virtio_net",
    "vmxnet3",
    "xen-netfront",
];

/// Drivers that would run a program at XDP where it is out of place: see
/// [`crate::netlink::LinkKind`].
const UNFIT: [&str; 4] = ["veth", "tun", "tap", "bonding"];

/// Everything that was looked at, in the order in which it matters.
#[must_use]
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![
        kernel(facts),
        btf(facts),
        jit(facts),
        bpffs(facts),
        rights(facts),
        state_dir(facts),
        group(facts),
    ];
    findings.extend(config(facts));
    if let Some(service) = &facts.service {
        service::examine(service, &mut findings);
    }
    for interface in &facts.interfaces {
        examine_interface(interface, facts, &mut findings);
    }
    findings.extend(mtus(facts));
    findings
}

/// A command in which only blanks part words: the kernel lets none into the name of an
/// interface.
fn host(command: &str) -> Option<Mend> {
    Some(Mend::Host(vec![Words::of(command)]))
}

fn kernel(facts: &Facts) -> Finding {
    let what = "kernel";
    let Some(release) = &facts.kernel else {
        return wrong(Verdict::Warning, what, "cannot read its version", None);
    };
    match version(release) {
        Some(version) if version >= OLDEST => good(what, release),
        _ => wrong(
            Verdict::Bad,
            what,
            format!(
                "{release} is older than {}.{}, the oldest that ebb runs on",
                OLDEST.0, OLDEST.1
            ),
            None,
        ),
    }
}

fn btf(facts: &Facts) -> Finding {
    if facts.has_btf {
        good("BTF", "the kernel has type information")
    } else {
        wrong(
            Verdict::Bad,
            "BTF",
            "there is no /sys/kernel/btf/vmlinux: the kernel was built without \
             CONFIG_DEBUG_INFO_BTF; run a distribution's kernel",
            None,
        )
    }
}

fn jit(facts: &Facts) -> Finding {
    match facts.jit {
        Some(0) => wrong(
            Verdict::Warning,
            "JIT",
            "the kernel interprets programs instead of compiling them, at a tenth of the speed",
            host("sysctl -w net.core.bpf_jit_enable=1"),
        ),
        _ => good("JIT", "programs are compiled"),
    }
}

fn bpffs(facts: &Facts) -> Finding {
    let dir = facts.bpffs_dir.display();
    if facts.bpffs_is_mounted {
        return good("bpffs", format!("{dir} is on a BPF file system"));
    }
    let mount = facts.bpffs_dir.parent().unwrap_or(Path::new("/sys/fs/bpf"));
    wrong(
        Verdict::Bad,
        "bpffs",
        format!(
            "{dir} is not on a BPF file system, so nothing in the kernel can outlive the agent; {}",
            bpffs::HIDDEN
        ),
        Some(Mend::Host(vec![
            Words::of("mkdir -p").path(mount),
            Words::of("mount -t bpf bpf").path(mount),
        ])),
    )
}

fn rights(facts: &Facts) -> Finding {
    let what = "rights";
    let Some(has) = facts.capabilities else {
        return wrong(Verdict::Warning, what, "cannot read them", None);
    };
    let lacks = |(bit, _): &(u32, &str)| has & (1 << bit) == 0;
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|needed| lacks(needed))
        .map(|(_, name)| *name)
        .collect();
    if !missing.is_empty() {
        return wrong(
            Verdict::Bad,
            what,
            format!("this process lacks {}", missing.join(", ")),
            Some(Mend::ByHand(Words::of("sudo ebb doctor"))),
        );
    }
    if lacks(&RAW) {
        let found = format!(
            "this process lacks {}: idle peers would not be sent resets",
            RAW.1
        );
        return wrong(
            Verdict::Bad,
            what,
            found,
            Some(Mend::ByHand(Words::of("sudo ebb doctor"))),
        );
    }
    good(
        what,
        "this process has the capabilities that the agent needs",
    )
}

fn state_dir(facts: &Facts) -> Finding {
    let dir = facts.state_dir.display();
    match &facts.state_dir_problem {
        None => good("state folder", format!("{dir} is writable")),
        Some(problem) => wrong(
            Verdict::Bad,
            "state folder",
            format!("{dir} is not writable: {problem}; every change would be refused"),
            Some(Mend::Host(vec![
                Words::of("install -d -m 0750").path(&facts.state_dir),
            ])),
        ),
    }
}

fn group(facts: &Facts) -> Finding {
    if facts.has_group {
        good("group ebb", "its members may use the socket")
    } else {
        wrong(
            Verdict::Warning,
            "group ebb",
            "it does not exist, so only root may use the socket",
            host("groupadd --system ebb"),
        )
    }
}

fn config(facts: &Facts) -> Option<Finding> {
    let file = facts.config.display();
    Some(match &facts.config_faults {
        None => wrong(
            Verdict::Warning,
            "configuration",
            format!("{file} cannot be read, so every interface is checked"),
            None,
        ),
        Some(faults) if faults.is_empty() => good("configuration", format!("{file} is valid")),
        Some(faults) => wrong(
            Verdict::Bad,
            "configuration",
            format!(
                "{file} has {} errors, the first: {}",
                faults.len(),
                faults[0]
            ),
            Some(Mend::ByHand(
                Words::of("ebb check-config").path(&facts.config),
            )),
        ),
    })
}

fn examine_interface(interface: &InterfaceFacts, facts: &Facts, findings: &mut Vec<Finding>) {
    let name = &interface.name;
    if !interface.is_there {
        let what = format!("{name}: link");
        findings.push(wrong(
            Verdict::Bad,
            what,
            "there is no such interface",
            None,
        ));
        return;
    }
    findings.push(if interface.up {
        good(format!("{name}: link"), "up")
    } else {
        wrong(
            Verdict::Bad,
            format!("{name}: link"),
            "down",
            host(&format!("ip link set dev {name} up")),
        )
    });
    findings.push(driver(interface, facts));
    findings.extend(mtu(interface, facts));
    if !at_tc(facts) {
        findings.extend(offloads(interface));
    }
    findings.extend(rp_filter(interface));
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Whether packets are taken at TC: on all interfaces, if XDP does not do on one.
fn at_tc(facts: &Facts) -> bool {
    let wants_tc = |interface: &InterfaceFacts| {
        let driver = interface.driver.as_deref();
        driver.is_some_and(|driver| UNFIT.contains(&driver) || !XDP_DRIVERS.contains(&driver))
            || interface.mtu.is_some_and(|mtu| mtu > LONGEST_MTU)
    };
    match facts.hook {
        HookChoice::Xdp => false,
        HookChoice::Tc => true,
        HookChoice::Auto => facts.interfaces.iter().any(wants_tc),
    }
}

fn driver(interface: &InterfaceFacts, facts: &Facts) -> Finding {
    let what = format!("{}: driver", interface.name);
    match interface.driver.as_deref() {
        None => wrong(
            Verdict::Warning,
            what,
            "cannot be determined without ethtool",
            host("apt-get install --yes ethtool"),
        ),
        Some(driver) if at_tc(facts) => good(what, format!("{driver}; packets are taken at TC")),
        Some(driver) if XDP_DRIVERS.contains(&driver) => {
            good(what, format!("{driver}, which supports XDP"))
        }
        Some(driver) => wrong(
            Verdict::Warning,
            what,
            format!("{driver} is not known to support XDP; [packets] hook = \"tc\" does without"),
            None,
        ),
    }
}

fn mtu(interface: &InterfaceFacts, facts: &Facts) -> Option<Finding> {
    let name = &interface.name;
    let what = format!("{name}: MTU");
    let mtu = interface.mtu?;
    if mtu > LONGEST_MTU && !at_tc(facts) {
        return Some(wrong(
            Verdict::Bad,
            what,
            format!(
                "{mtu}: a frame longer than a page cannot be passed to the program in one piece"
            ),
            host(&format!("ip link set dev {name} mtu 1500")),
        ));
    }
    if facts.uses_ipip && mtu < 1520 {
        return Some(wrong(
            Verdict::Warning,
            what,
            format!(
                "{mtu}: an ipip packet is 20 or 40 bytes longer, so full-sized client packets \
                 need a larger MTU towards the backends (or a smaller MSS there)"
            ),
            host(&format!("ip link set dev {name} mtu 1540")),
        ));
    }
    Some(good(what, mtu.to_string()))
}

/// What comes in by one interface leaves by another.
fn mtus(facts: &Facts) -> Option<Finding> {
    let sizes: BTreeSet<u32> = facts.interfaces.iter().filter_map(|i| i.mtu).collect();
    let (least, most) = (sizes.first()?, sizes.last()?);
    (least != most).then(|| {
        let most_at = facts.interfaces.iter().find(|i| i.mtu == Some(*most));
        let name = most_at.map_or("", |interface| &interface.name);
        wrong(
            Verdict::Warning,
            "MTUs",
            format!(
                "{least} and {most}: packets from the link with the larger MTU may not fit the \
                 other, and are dropped there"
            ),
            host(&format!("ip link set dev {name} mtu {least}")),
        )
    })
}

/// The offloads that hide from the program what is on the wire.
fn offloads(interface: &InterfaceFacts) -> Vec<Finding> {
    let name = &interface.name;
    let Some(offloads) = &interface.offloads else {
        return Vec::new();
    };
    let on = |offload: &str| offloads.iter().any(|(key, on)| key == offload && *on);
    let virtual_pair = interface.driver.as_deref() == Some("veth");
    let mut findings = Vec::new();
    for (offload, short, harm) in [
        (
            "large-receive-offload",
            "lro",
            "packets are merged before the program sees them",
        ),
        (
            "rx-vlan-offload",
            "rxvlan",
            "VLAN tags are stripped before the program sees them",
        ),
    ] {
        if on(offload) && !virtual_pair {
            findings.push(wrong(
                Verdict::Warning,
                format!("{name}: {offload}"),
                harm,
                host(&format!("ethtool -K {name} {short} off")),
            ));
        }
    }
    if virtual_pair && on("tx-checksumming") {
        findings.push(wrong(
            Verdict::Warning,
            format!("{name}: tx-checksumming"),
            "a veth passes on packets with unfinished checksums; turn it off at both ends",
            host(&format!("ethtool -K {name} tx off")),
        ));
    }
    if findings.is_empty() {
        findings.push(good(
            format!("{name}: offloads"),
            "none changes packets before the program sees them",
        ));
    }
    findings
}

fn rp_filter(interface: &InterfaceFacts) -> Option<Finding> {
    let name = &interface.name;
    let what = format!("{name}: rp_filter");
    Some(match interface.rp_filter? {
        1 => wrong(
            Verdict::Warning,
            what,
            "strict: the host drops packets that it would answer through another interface, \
             some of those that ebb leaves to it among them",
            host(&format!(
                "sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{name}.rp_filter=2"
            )),
        ),
        0 => good(what, "off"),
        _ => good(what, "loose"),
    })
}

#[cfg(test)]
mod tests;
