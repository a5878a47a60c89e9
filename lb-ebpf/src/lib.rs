//! How a program of this crate gets at a packet, and what the headers of IP say.
//!
//! From the bottom up; a module imports only what stands before it:
//!
//! - [`bounds`]: where a packet lies in memory. All pointer arithmetic is there.
//! - [`hook`]: where in the kernel a program runs, and what it can ask for there.
//! - [`cursor`]: the packet that a program was run on.
//! - [`ip`]: what the headers of both address families say.
#![no_std]

pub mod bounds;
pub mod cursor;
pub mod hook;
pub mod ip;
