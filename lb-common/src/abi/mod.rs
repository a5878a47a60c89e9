//! The layouts that both sides see: keys and values of the maps.
//!
//! Everything is `#[repr(C)]` without padding; sizes are asserted, so that a
//! change of layout is a compile error on one side and a schema mismatch on
//! the other. Addresses and ports are kept as they are on the wire.

pub mod address;
pub mod backend;
pub mod config;
pub mod counter;
pub mod exit;
pub mod flow;
pub mod fragment;
pub mod half_open;
pub mod nat_port;
pub mod path;
mod plain;
pub mod rate;
pub mod vip;

/// Raised with every change of a layout or of the meaning of a field. The agent
/// keeps pinned maps only if this number is theirs.
pub const SCHEMA: u32 = 8;
