use super::*;

/// A host that has everything.
fn fine() -> Facts {
    Facts {
        kernel: Some("6.1.0-18-amd64".to_owned()),
        has_btf: true,
        jit: Some(1),
        bpffs_dir: "/sys/fs/bpf/ebb".into(),
        bpffs_is_mounted: true,
        capabilities: Some(u64::MAX),
        state_dir: "/var/lib/ebb".into(),
        state_dir_problem: None,
        has_group: true,
        config: "/etc/ebb/ebb.toml".into(),
        config_faults: Some(Vec::new()),
        uses_ipip: false,
        hook: HookChoice::Auto,
        service: None,
        interfaces: vec![InterfaceFacts {
            name: "eth0".to_owned(),
            is_there: true,
            up: true,
            mtu: Some(1500),
            driver: Some("ixgbe".to_owned()),
            offloads: Some(vec![("large-receive-offload".to_owned(), false)]),
            rp_filter: Some(0),
        }],
    }
}

/// What is wrong once `change` was made to a host that has everything.
fn wrong_after(change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let mut facts = fine();
    change(&mut facts);
    let mut findings = examine(&facts);
    findings.retain(|finding| finding.verdict != Verdict::Good);
    findings
}

#[test]
fn a_host_that_has_everything_is_fine() {
    assert_eq!(wrong_after(|_| {}), []);
}

#[test]
fn each_fault_is_named_with_what_mends_it() {
    type Change = fn(&mut Facts);
    let faults: [(Change, Verdict, &str, Option<&str>); 15] = [
        (
            |f| f.kernel = Some("5.15.0".to_owned()),
            Verdict::Bad,
            "older than 6.1",
            None,
        ),
        (|f| f.has_btf = false, Verdict::Bad, "vmlinux", None),
        (
            |f| f.jit = Some(0),
            Verdict::Warning,
            "interprets",
            Some("sysctl -w net.core.bpf_jit_enable=1"),
        ),
        (
            |f| f.bpffs_is_mounted = false,
            Verdict::Bad,
            "BPF file system",
            Some("mkdir -p /sys/fs/bpf && mount -t bpf bpf /sys/fs/bpf"),
        ),
        (
            |f| f.capabilities = Some(0),
            Verdict::Bad,
            "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON",
            Some("sudo"),
        ),
        (
            |f| f.state_dir_problem = Some("Read-only file system".to_owned()),
            Verdict::Bad,
            "Read-only",
            Some("install -d"),
        ),
        (
            |f| f.has_group = false,
            Verdict::Warning,
            "only root",
            Some("groupadd --system ebb"),
        ),
        (
            |f| f.config_faults = None,
            Verdict::Warning,
            "cannot be read",
            None,
        ),
        (
            |f| f.interfaces[0].is_there = false,
            Verdict::Bad,
            "no such interface",
            None,
        ),
        (
            |f| f.interfaces[0].up = false,
            Verdict::Bad,
            "down",
            Some("ip link set dev eth0 up"),
        ),
        (
            |f| {
                f.hook = HookChoice::Xdp;
                f.interfaces[0].driver = Some("e1000e".to_owned());
            },
            Verdict::Warning,
            "not known to support XDP",
            None,
        ),
        (
            |f| {
                f.hook = HookChoice::Xdp;
                f.interfaces[0].mtu = Some(9000);
            },
            Verdict::Bad,
            "one piece",
            Some("ip link set dev eth0 mtu 1500"),
        ),
        (
            |f| f.uses_ipip = true,
            Verdict::Warning,
            "ipip",
            Some("mtu 1540"),
        ),
        (
            |f| {
                f.interfaces[0].offloads = Some(vec![("large-receive-offload".to_owned(), true)]);
            },
            Verdict::Warning,
            "merged",
            Some("ethtool -K eth0 lro off"),
        ),
        (
            |f| f.interfaces[0].rp_filter = Some(1),
            Verdict::Warning,
            "strict",
            Some("sysctl -w"),
        ),
    ];
    for (change, verdict, found, mend) in faults {
        let wrong = wrong_after(change);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert_eq!(wrong[0].verdict, verdict, "{wrong:?}");
        assert!(wrong[0].found.contains(found), "{wrong:?}");
        match (&wrong[0].mend, mend) {
            (None, None) => {}
            (Some(is), Some(should)) => assert!(is.to_string().contains(should), "{wrong:?}"),
            _ => panic!("{wrong:?}"),
        }
    }
}

#[test]
fn interfaces_of_different_mtu_are_noticed() {
    let wrong = wrong_after(|facts| {
        let mut other = facts.interfaces[0].clone();
        other.name = "eth1".to_owned();
        other.mtu = Some(1400);
        facts.interfaces.push(other);
    });
    assert_eq!(wrong.len(), 1);
    assert_eq!(
        wrong[0].mend.as_ref().map(ToString::to_string).as_deref(),
        Some("ip link set dev eth0 mtu 1400")
    );
}

#[test]
fn what_xdp_needs_is_asked_for_only_where_xdp_is_used() {
    type Change = fn(&mut InterfaceFacts);
    let reasons: [Change; 3] = [
        |i| i.driver = Some("veth".to_owned()),
        |i| i.driver = Some("bridge".to_owned()),
        |i| i.mtu = Some(9000),
    ];
    for reason in reasons {
        let at = |hook| {
            wrong_after(|f| {
                f.hook = hook;
                reason(&mut f.interfaces[0]);
                f.interfaces[0].offloads = Some(vec![
                    ("large-receive-offload".to_owned(), true),
                    ("tx-checksumming".to_owned(), true),
                ]);
            })
        };
        assert_eq!(at(HookChoice::Auto), [], "taken at TC");
        assert_eq!(at(HookChoice::Tc), []);
        assert_ne!(at(HookChoice::Xdp), []);
    }
}
