//! What the kernel program and the agent of ebb share.
//!
//! From the bottom up; a module imports only what stands before it:
//!
//! - [`mode`]: the forwarding modes.
//! - [`checksum`]: the internet checksum, whole and by difference.
//! - [`wire`]: header fields and numbers of the protocols on the wire.
//! - [`tcp`]: the life of a TCP flow, step by step.
//! - [`hash`]: the hash that names a flow's slot.
//! - [`maglev`]: the table of slots.
//! - [`abi`]: the layouts of map keys and values that both sides see.
//! - [`limits`]: how much the tables hold.
//! - [`tunnel`]: the outer header of a packet to an ipip backend.
//!
//! Nothing here allocates, does I/O or asks for the time; all of it is tested
//! on the host.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod abi;
pub mod checksum;
pub mod hash;
pub mod limits;
pub mod maglev;
pub mod mode;
pub mod tcp;
pub mod tunnel;
mod unaligned;
pub mod wire;
