//! The lab: a client, a balancer and backends, each a network namespace with
//! its own addresses, sockets and neighbours, on virtual Ethernet.
//!
//! | file | what |
//! |---|---|
//! | `site` | the whole: which hosts, on which LANs, with which addresses |
//! | `host`, `namespace` | running programs and threads on one of the hosts |
//! | `agent`, `passer` | ebb on the balancer, its command line; a program opposite |
//! | `nginx`, `talker` | the servers on every backend |
//! | `tunnel`, `iperf` | a backend's end of ipip; bulk transfers |
//! | `curl`, `conversation`, `load` | what the client does |
//! | `rough` | a link that loses, delays and reorders frames |
//! | `resets` | how many RSTs leave the balancer |
//! | `sockets` | what a host's kernel says of its connections (`ss`) |
//! | `wait`, `process`, `interrupt`, `labels` | waiting, child processes, Ctrl-C, names |
//!
//! Everything that a lab makes is called `ebb-<pid>-<n>…` and goes when it is
//! dropped. What a killed run leaves, `cargo xtask clean-lab` removes.

pub mod agent;
pub mod conversation;
pub mod curl;
pub mod host;
pub mod interrupt;
pub mod iperf;
mod labels;
pub mod load;
mod namespace;
pub mod nginx;
pub mod passer;
pub mod process;
pub mod resets;
pub mod rough;
pub mod rush;
pub mod site;
pub mod sockets;
pub mod talker;
pub mod tunnel;
pub mod wait;
