//! The data plane in the kernel: an XDP program, its maps, and the threads that
//! tend them.
//!
//! - [`kernel`]: all of it, as [`Dataplane`](super::Dataplane) wants it; [`config`]:
//!   what is told once, at start; [`warnings`]: what operators are told;
//! - [`loader`], [`schema`]: the program and its maps, pinned so that they
//!   outlive the agent, checked before they are taken over; [`resize`]: those that
//!   can be had in another size;
//! - [`link`]: the program on its interfaces; [`clsact`]: at TC, before the kernel had links;
//! - [`maps`], [`table`](mod@table), [`half_open`], [`syscall`]: typed access to the maps;
//! - [`state`]: what the kernel has been told, and the writes that tell it more,
//!   with [`vips`] (listeners, filter), [`slots`] (Maglev tables), [`passing`] (until no
//!   packet in flight goes by what was before), [`adjacency`] (how a backend is reached),
//!   [`exits`] (how clients are), [`pools`] and [`sources`] (what nat translates to);
//! - [`nat_ports`]: which ports nat has bound;
//! - [`nexthop`]: the thread that finds those adjacencies, and the routers to clients;
//! - [`sweep`]: the thread that ends flows, with [`rules`] (what it goes by),
//!   [`reset`] (what it says to their ends);
//! - [`books`], [`flows`]: what is read back; [`kernel_log`]: what the program
//!   itself has to say.
//!
//! Three threads share the maps. The control task, through [`Kernel`], and the
//! resolver change what the kernel knows of backends, under the lock of
//! [`state::State`] ([`shared`]). The sweeper goes by a snapshot of that, and takes out flows.
//! Others only wait for what one of these has asked for: [`passing`], [`slots`].

mod adjacency;
mod books;
mod clock;
mod clsact;
pub mod config;
mod exits;
mod flows;
mod half_open;
mod kernel;
mod kernel_log;
mod link;
mod loader;
mod mac;
mod maps;
mod nat_ports;
mod nexthop;
mod passing;
mod pools;
mod reset;
mod resize;
mod rules;
mod schema;
mod shared;
mod slots;
mod sources;
mod state;
mod sweep;
mod syscall;
mod table;
mod vips;
mod warnings;

pub use self::{
    config::{Config, ConfigError},
    kernel::{Kernel, StartError},
    link::{AttachError, is_loaded, unload},
    loader::LoadError,
    resize::ResizeError,
    schema::SchemaError,
    state::ServeError,
    table::{OpenError, TableError},
};
