use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::{
    config::HostInterface,
    model::{Attributes, BackendId, HookChoice, TableSizes, Weight},
};

const GOOD: &str = r#"interfaces = ["eth0", "eth1"]
manage_vips = true
xdp_mode = "driver"

[tables]
load_balancers = 257
backends = 20_000
listeners = 65_535
flows = 1_048_576
maglev = 4093

[nat]
pool = ["10.0.1.1"]
ports = "1024-32767"

[ipip]
source = ["10.200.0.0/16"]

[udp]
unreplied_timeout = 20

[metrics]
address = "127.0.0.1:9180"

[[hook]]
name = "pager"
events = ["in_service", "out_of_service"]
load_balancer = "web"
command = ["/bin/page", "now"]
attempts = 7

[[hook]]
events = ["drain_ended"]
url = "https://hooks.example/ebb"

[[load_balancer]]
name = "web"
mode = "nat"
listeners = [{ protocol = "tcp", address = "10.0.0.100", port = 80, backend_port = 8080 }]
backends = [
  { id = "web-1", address = "10.0.1.11", weight = 5 },
  { address = "10.0.1.12" },
]
[load_balancer.attributes]
connection_draining = { enabled = true, timeout = 10 }
idle_timeout = 60
[load_balancer.health_check]
target = "HTTPS:8443/ping"
interval = 2
healthy_threshold = 3
server_name = "www.example"

[[load_balancer]]
name = "dns"
mode = "dsr"
listeners = [{ protocol = "udp", address = "10.0.0.101", port = 53 }]
"#;

fn host() -> Host {
    let interface = |name: &str, up, loopback| HostInterface {
        name: name.to_owned(),
        up,
        loopback,
    };
    Host {
        interfaces: vec![
            interface("lo", true, true),
            interface("eth0", true, false),
            interface("eth1", true, false),
            interface("eth2", false, false),
        ],
        interfaces_may_come: false,
        local_ports: Some((32768, 60999)),
    }
}

fn parse(text: &str) -> Result<Document, Vec<Diagnostic>> {
    Document::parse("ebb.toml", text, Purpose::Agent, Some(&host()))
}

#[test]
fn for_an_agent_that_starts_interfaces_may_come_later_but_the_loopback_is_none() {
    let mut host = host();
    host.interfaces_may_come = true;
    let later = "interfaces = [\"eth2\", \"bond0\"]\n";
    let document = Document::parse("ebb.toml", later, Purpose::Agent, Some(&host)).unwrap();
    assert_eq!(document.settings.unwrap().interfaces, ["eth2", "bond0"]);
    let faults = Document::parse(
        "ebb.toml",
        "interfaces = [\"lo\"]\n",
        Purpose::Agent,
        Some(&host),
    )
    .unwrap_err();
    assert!(faults[0].message.contains("loopback"), "{faults:?}");
}

fn key(id: &str) -> BackendId {
    BackendId::try_from(id.to_owned()).unwrap()
}

#[test]
fn more_interfaces_than_the_program_serves_are_refused() {
    let with = |count: usize| {
        let names: Vec<_> = (0..count).map(|n| format!("\"e{n}\"")).collect();
        let text = format!("interfaces = [{}]\n", names.join(", "));
        Document::parse("ebb.toml", &text, Purpose::Agent, None)
    };
    assert!(with(64).is_ok());
    let faults = with(65).unwrap_err();
    assert!(faults[0].message.contains("more than 64"), "{faults:?}");
}

#[test]
fn a_good_file_is_understood() {
    let document = parse(GOOD).unwrap();
    let settings = document.settings.unwrap();
    assert_eq!(settings.interfaces, ["eth0", "eth1"]);
    assert_eq!(settings.hook, HookChoice::Xdp);
    assert_eq!(
        settings.tables,
        TableSizes {
            load_balancers: 257,
            backends: 20_000,
            listeners: 65_535,
            flows: 1 << 20,
            maglev: 4093,
            ..TableSizes::default()
        }
    );
    assert_eq!(settings.nat.ports, Some((1024, 32767)));
    assert_eq!(settings.metrics, Some(([127, 0, 0, 1], 9180).into()));
    let [pager, url] = &*settings.hooks else {
        panic!("{:?}", settings.hooks);
    };
    assert_eq!(
        (&*pager.name, pager.attempts, pager.events.len()),
        ("pager", 7, 2)
    );
    assert_eq!((&*url.name, url.timeout.as_secs()), ("hook-2", 10));
    assert_eq!(settings.ipip.sources[0].bits, 16);
    let udp = settings.udp;
    assert_eq!((udp.unreplied.as_secs(), udp.replied.as_secs()), (20, 180));
    assert_eq!(settings.socket.to_str(), Some("/run/ebb/ebb.sock"));

    let web = &document.declaration["web"];
    let attributes = Attributes::default().with(web.attributes);
    assert_eq!(attributes.drain().unwrap().get(), 10);
    assert_eq!(attributes.idle_timeout.get(), 60);
    assert_eq!(web.backends[&key("web-1")].weight.get(), 5);
    let check = web.health_check.as_ref().unwrap();
    assert_eq!(check.target().to_string(), "HTTPS:8443/ping");
    // The default has no room in so short an interval.
    assert_eq!(
        (check.interval().as_secs(), check.timeout().as_secs()),
        (2, 1)
    );
    let second = web.backends[&key("10.0.1.12")];
    assert_eq!(second.weight, Weight::DEFAULT);
    let (listener, backend_port) = web.listeners.first_key_value().unwrap();
    assert_eq!(
        (listener.address, listener.port, *backend_port),
        (IpAddr::from([10, 0, 0, 100]), 80, 8080)
    );
    let dns = &document.declaration["dns"];
    assert_eq!(*dns.listeners.first_key_value().unwrap().1, 53);
}

/// What is wrong, after which replacement in the good file, how many lines
/// further down it is said to be, and what must be said about it.
const BAD: &[(&str, &str, &str, isize, &str)] = &[
    (
        "unknown key",
        "manage_vips",
        "manage_vip",
        0,
        "did you mean `manage_vips`?",
    ),
    (
        "unknown key, nested",
        "weight = 5",
        "wieght = 5",
        0,
        "did you mean `weight`?",
    ),
    (
        "unknown table",
        "[tables]",
        "[tabels]",
        0,
        "did you mean `tables`?",
    ),
    (
        "unknown draining key",
        "timeout = 10",
        "timeuot = 10",
        0,
        "did you mean `timeout`?",
    ),
    ("port 0", "port = 53", "port = 0", 0, "port 0 is not a port"),
    (
        "backend port 0",
        "backend_port = 8080",
        "backend_port = 0",
        0,
        "port 0 is not a port",
    ),
    ("port too big", "port = 53", "port = 65536", 0, "1 to 65535"),
    (
        "a tunnel source with host bits",
        "10.200.0.0/16",
        "10.200.0.1/16",
        0,
        "not a prefix that tunnels can come from",
    ),
    (
        "a DSCP of seven bits",
        "source = [\"10.200.0.0/16\"]",
        "dscp = 64",
        0,
        "\"copy\", or a number from 0 to 63",
    ),
    (
        "a DSCP that has a name",
        "source = [\"10.200.0.0/16\"]",
        "dscp = \"ef\"",
        0,
        "\"copy\", or a number from 0 to 63",
    ),
    (
        "no UDP timeout",
        "unreplied_timeout = 20",
        "unreplied_timeout = 0",
        0,
        "1 to 4000 seconds, not 0",
    ),
    (
        "timeout 0",
        "timeout = 10",
        "timeout = 0",
        0,
        "1 to 3600 seconds, not 0",
    ),
    (
        "timeout 3601",
        "timeout = 10",
        "timeout = 3601",
        0,
        "1 to 3600 seconds, not 3601",
    ),
    (
        "timeout negative",
        "timeout = 10",
        "timeout = -1",
        0,
        "1 to 3600 seconds, not -1",
    ),
    (
        "idle timeout",
        "idle_timeout = 60",
        "idle_timeout = 4001",
        0,
        "1 to 4000 seconds",
    ),
    ("weight 0", "weight = 5", "weight = 0", 0, "deregister it"),
    ("weight 1001", "weight = 5", "weight = 1001", 0, "1 to 1000"),
    (
        "backend is VIP",
        "\"10.0.1.12\"",
        "\"10.0.0.100\"",
        0,
        "is the address of a listener",
    ),
    (
        "VIP is backend",
        "\"10.0.0.101\"",
        "\"10.0.1.12\"",
        0,
        "is the address of a backend",
    ),
    (
        "same listener in another",
        "\"udp\", address = \"10.0.0.101\", port = 53",
        "\"tcp\", address = \"10.0.0.100\", port = 80",
        0,
        "belongs to load balancer \"web\"",
    ),
    (
        "same listener twice",
        "port = 53 }",
        "port = 53 }, { protocol = \"udp\", address = \"10.0.0.101\", port = 53 }",
        0,
        "named twice in load balancer \"dns\"",
    ),
    (
        "same backend id",
        "{ address = \"10.0.1.12\" }",
        "{ id = \"web-1\", address = \"10.0.1.12\" }",
        0,
        "\"web-1\" is named twice",
    ),
    (
        "same backend address",
        "\"10.0.1.12\"",
        "\"10.0.1.11\"",
        0,
        "same address",
    ),
    ("same name", "\"dns\"", "\"web\"", 0, "declared twice"),
    (
        "bad name",
        "\"dns\"",
        "\"d n s\"",
        0,
        "letters, digits and hyphens",
    ),
    (
        "no such interface",
        "\"eth1\"",
        "\"eth7\"",
        0,
        "the interfaces are eth0, eth1",
    ),
    (
        "interface down",
        "\"eth1\"",
        "\"eth2\"",
        0,
        "ip link set eth2 up",
    ),
    ("loopback", "\"eth1\"", "\"lo\"", 0, "loopback"),
    ("interface twice", "\"eth1\"", "\"eth0\"", 0, "named twice"),
    (
        "no interface",
        "[\"eth0\", \"eth1\"]",
        "[]",
        0,
        "`interfaces` is empty",
    ),
    (
        "interfaces missing",
        "interfaces = [\"eth0\", \"eth1\"]\n",
        "",
        0,
        "`interfaces` is missing",
    ),
    ("pool empty", "[\"10.0.1.1\"]", "[]", 0, "pool is empty"),
    (
        "pool address",
        "[\"10.0.1.1\"]",
        "[\"10.0.1.x\"]",
        0,
        "is not an IP address",
    ),
    (
        "ports reversed",
        "1024-32767",
        "32767-1024",
        0,
        "1024-32767",
    ),
    (
        "ports of the host",
        "1024-32767",
        "1024-33000",
        0,
        "overlaps the host's own, 32768-60999",
    ),
    (
        "mode",
        "mode = \"dsr\"",
        "mode = \"dsrr\"",
        0,
        "did you mean \"dsr\"?",
    ),
    (
        "generic XDP",
        "\"driver\"",
        "\"generic\"",
        0,
        "[packets] hook = \"tc\"",
    ),
    (
        "xdp mode",
        "\"driver\"",
        "\"native\"",
        0,
        "one of auto, driver",
    ),
    (
        "port translated",
        "port = 53",
        "port = 53, backend_port = 54",
        0,
        "not translated",
    ),
    (
        "families",
        "\"10.0.1.12\"",
        "\"fd00::12\"",
        0,
        "one address family",
    ),
    (
        "loopback backend",
        "\"10.0.1.12\"",
        "\"127.0.0.1\"",
        0,
        "a loopback address",
    ),
    (
        "multicast VIP",
        "\"10.0.0.101\"",
        "\"224.0.0.1\"",
        0,
        "a multicast address",
    ),
    (
        "health check: target",
        "HTTPS:8443/ping",
        "ICMP:1",
        0,
        "ICMP",
    ),
    (
        "health check: no target",
        "target = \"HTTPS:8443/ping\"\n",
        "",
        -1,
        "a health check needs `target`",
    ),
    (
        "health check: interval",
        "interval = 2",
        "interval = 301",
        0,
        "1 to 300 seconds, not 301",
    ),
    (
        "health check: negative",
        "interval = 2",
        "interval = -2",
        0,
        "1 to 300 seconds, not -2",
    ),
    (
        "health check: timeout",
        "interval = 2",
        "interval = 2\ntimeout = 2",
        1,
        "timeout must be less than interval",
    ),
    (
        "health check: threshold",
        "healthy_threshold = 3",
        "healthy_threshold = 11",
        0,
        "2 to 10, not 11",
    ),
    (
        "health check: unknown key",
        "healthy_threshold",
        "healthy_treshold",
        0,
        "did you mean `healthy_threshold`?",
    ),
    (
        "metrics address",
        "127.0.0.1:9180",
        "9180",
        0,
        "an address and a port",
    ),
    (
        "hook event",
        "\"out_of_service\"",
        "\"out_of_servise\"",
        0,
        "did you mean \"out_of_service\"?",
    ),
    (
        "hook without events",
        "[\"drain_ended\"]",
        "[]",
        0,
        "a hook needs `events`",
    ),
    (
        "hook with both",
        "url =",
        "command = [\"/bin/x\"]\nurl =",
        -2,
        "either `command` or `url`",
    ),
    ("hook url", "https://", "gopher://", 0, "http or https"),
    ("hook path", "/bin/page", "page", 0, "absolute path"),
    (
        "hook attempts",
        "attempts = 7",
        "attempts = 0",
        0,
        "1 to 20, not 0",
    ),
    (
        "hook name twice",
        "events = [\"drain_ended\"]",
        "name = \"pager\"\nevents = [\"drain_ended\"]",
        0,
        "declared twice",
    ),
    ("maglev", "4093", "4096", 0, "a prime"),
    ("flows", "1_048_576", "100", 0, "1024 to"),
    ("load_balancers", "257", "65536", 0, "1 to 65535, not 65536"),
    ("backends", "20_000", "0", 0, "1 to 65535, not 0"),
    ("listeners", "65_535", "-1", 0, "1 to 65535, not -1"),
    (
        "more load balancers than there is room for",
        "257",
        "1",
        0,
        "room for 1 load balancers, not for",
    ),
    (
        "more backends than there is room for",
        "20_000",
        "1",
        0,
        "room for 1 backends, not for",
    ),
    (
        "more listeners than there is room for",
        "65_535",
        "1",
        0,
        "room for 1 listeners, not for",
    ),
    (
        "ports of services",
        "1024-32767",
        "80-32767",
        0,
        "from 1024 to 65535",
    ),
    (
        "a VIP in the pool",
        "[\"10.0.1.1\"]",
        "[\"10.0.0.100\"]",
        0,
        "is the address of a listener of load balancer",
    ),
    (
        "wrong type",
        "manage_vips = true",
        "manage_vips = \"yes\"",
        0,
        "expected true or false, found a value of type string",
    ),
    ("not TOML", "mode = \"nat\"", "mode = nat", 0, ""),
    (
        "key twice",
        "name = \"dns\"",
        "name = \"dns\"\nname = \"dns\"",
        1,
        "duplicate key",
    ),
    (
        "no listener",
        "[{ protocol = \"udp\", address = \"10.0.0.101\", port = 53 }]",
        "[]",
        0,
        "has no listener",
    ),
    ("no mode", "mode = \"dsr\"\n", "", -2, "needs `mode`"),
    (
        "relative path",
        "manage_vips = true",
        "socket = \"ebb.sock\"",
        0,
        "absolute path",
    ),
];

#[test]
fn bad_input_is_named_with_its_line() {
    parse(GOOD).unwrap();
    for (what, from, to, further, said) in BAD {
        let replaced = GOOD.find(from).expect(what);
        let above = GOOD[..replaced].matches('\n').count() + 1;
        let line = above.checked_add_signed(*further).unwrap();
        let found = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
        let hit = found
            .iter()
            .any(|diagnostic| diagnostic.line == line && diagnostic.to_string().contains(said));
        assert!(hit, "{what}: line {line}, {said:?}: {found:#?}");
        assert_eq!(found[0].file, "ebb.toml");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let text = GOOD
        .replacen("weight = 5", "weight = 0", 1)
        .replacen("port = 53", "port = 0", 1)
        .replacen("manage_vips", "manage_vip", 1);
    let found = parse(&text).unwrap_err();
    let lines: Vec<usize> = found.iter().map(|diagnostic| diagnostic.line).collect();
    assert_eq!(lines, [2, 41, 56], "{found:#?}");
}

#[test]
fn broken_syntax_is_not_followed_by_what_it_leaves_out() {
    let found = Document::parse("ebb.toml", "interfaces = [lo", Purpose::Agent, None).unwrap_err();
    assert!(
        found
            .iter()
            .all(|finding| !finding.message.contains("missing")),
        "{found:?}"
    );
}

#[test]
fn a_document_to_apply_needs_no_settings() {
    let from = GOOD.find("[[load_balancer]]").unwrap();
    let apply = |text| Document::parse("-", text, Purpose::Apply, None);
    let document = apply(&GOOD[from..]).unwrap();
    assert_eq!(document.settings, None);
    assert_eq!(document.declaration.len(), 2);
    assert!(apply("").unwrap().declaration.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_brings_the_parser_down(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_damage_to_a_good_file_brings_the_parser_down(
        start in 0..GOOD.len(), length in 0_usize..40, put in "[\\[\\]{}=\",.#\na-z0-9-]{0,8}"
    ) {
        let end = (start + length).min(GOOD.len());
        let text = format!("{}{put}{}", &GOOD[..start], &GOOD[end..]);
        if let Err(found) = parse(&text) {
            prop_assert!(!found.is_empty());
            let lines = text.lines().count() + 1;
            prop_assert!(found.iter().all(|diagnostic| (1..=lines).contains(&diagnostic.line)));
        }
    }
}
