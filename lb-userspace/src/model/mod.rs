//! The words that everything above uses: names, values, states. Nothing in here
//! imports anything of the crate but clocks and spelling suggestions.
//!
//! - [`values`]: checked numbers and names; [`invalid`]: why one was refused;
//! - [`Mode`], [`listener`], [`index`]: how packets are forwarded, what clients
//!   connect to, and the kernel's numbers for all of it;
//! - [`HookChoice`], [`TunnelSource`], [`Dscp`], [`UdpSettings`], [`Arrivals`]: how the kernel program is run;
//! - [`attributes`], [`NatSource`], [`health_check`], [`target`]: how a load balancer is set;
//!   [`attribute`]: what each attribute is called and takes, said once;
//! - [`spec`]: all that somebody wants of one; [`together`]: the rules that no
//!   load balancer can be checked against alone;
//! - [`standing`], [`roster`]: whom health checks look at, and what they found;
//! - [`tables`]: how much of everything there may be;
//! - [`drain`]: how a backend leaves; [`next_hop`], [`counters`], [`Mac`]: facts of one.

mod arrivals;
mod attribute;
mod attributes;
mod counters;
mod drain;
mod health_check;
mod hook;
mod index;
mod invalid;
mod listener;
mod mac;
mod nat_source;
mod next_hop;
mod roster;
pub mod spec;
mod standing;
mod tables;
mod target;
mod together;
mod tunnel;
mod udp;
mod values;

pub use arrivals::Arrivals;
pub use attribute::{Attribute, Takes, Unit, Value};
pub use attributes::{Attributes, AttributesSpec};
pub use counters::BackendCounters;
pub use drain::{Drain, DrainOutcome, Leave};
pub use health_check::{AskedCheck, BadCheck, CHECKS_AT_ONCE, HealthCheck, INTERVAL, TIMEOUT};
pub use hook::{Hook, HookChoice};
pub use index::{BackendIndex, Epoch, LbIndex};
pub use invalid::{CLOSE_RATE, DRAIN_TIMEOUT, ID_MAX, IDLE_TIMEOUT, Invalid, NAME_MAX, WEIGHT};
pub use lb_common::mode::Mode;
pub use listener::{ListenerKey, NotAListener, Protocol};
pub use mac::{Mac, mac_text};
pub use nat_source::NatSource;
pub use next_hop::NextHop;
pub use roster::{HealthReport, Key, Roster, Subject};
pub use spec::{BackendSpec, Declaration, LbSpec, Listeners, checked, unicast};
pub use standing::{Standing, THRESHOLD, Thresholds};
pub use tables::{Counted, Full, Room, TableSizes};
pub use target::{Ask, BadTarget, PATH_MAX, Path, Target};
pub use together::Together;
pub use tunnel::{Dscp, TunnelSource};
pub use udp::{OnUnhealthy, UdpSettings};
pub use values::{BackendId, DrainTimeout, IdleTimeout, LbName, Weight};
