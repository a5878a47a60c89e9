//! What parses strangers' bytes, as fuzz targets: a function from bytes to
//! nothing, which panics where a promise is broken.
//!
//! Every target holds that whatever comes is taken or refused, without a panic
//! and in bounded time and memory (the fuzzer watches over both), and that what
//! was taken is, written and read again, the same.
//!
//! - [`form`], [`signature`]: requests to the Query API;
//! - [`json`]: bodies of requests to the admin API;
//! - [`config`]: configuration files, which the admin API takes too;
//! - [`state`]: the documents that the agent keeps on disk.
//!
//! `seeds/TARGET` has what the fuzzer begins with, and what it once found. `main.rs` is
//! the program around the targets; `seeds.rs` tests every seed without it.

pub mod config;
pub mod form;
pub mod json;
pub mod signature;
pub mod state;

/// A target.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: [(&str, Target); 5] = [
    ("config", config::target),
    ("form", form::target),
    ("json", json::target),
    ("signature", signature::target),
    ("state", state::target),
];
