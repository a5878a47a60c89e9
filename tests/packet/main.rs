//! The kernel program, packet by packet, through `BPF_PROG_TEST_RUN`: a
//! description, a packet in, a verdict, a packet out.
//!
//! Needs root and a build that embeds the kernel program; `cargo xtask test`
//! sees to both.

mod frame;
mod world;

mod dsr;
mod hands_off;
mod nat;
