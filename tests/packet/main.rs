//! The kernel program, packet by packet, through `BPF_PROG_TEST_RUN`: a
//! description, a packet in, a verdict, a packet out.
//!
//! Needs root and a build that embeds the kernel program; `cargo xtask test`
//! sees to both.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stands"
)]

mod budget;
mod decap;
mod dsr;
mod fragments;
mod frame;
mod fuzz;
mod hands_off;
mod hops;
mod hostile;
mod hostile_errors;
mod hostile_frames;
mod hostile_stream;
mod hostile_tables;
mod icmp;
mod loaded;
mod mistakes;
mod model;
mod nat;
mod nat_ports;
mod routers;
mod shapes;
mod tc;
mod tunnel;
mod udp;
mod world;
