//! The Classic Load Balancer's Query API (2012-06-01), as `aws elb` and the
//! SDKs speak it: forms in, XML out. One more way into the control task.
//!
//! - [`http`]: the TCP address, a request from its bytes to its answer;
//! - [`browser`]: who may ask without a signature; [`sigv4`]: who signed;
//! - [`form`]: what was sent, decoded and read by name; [`xml`]: the answer;
//! - [`actions`]: the 29 of them, by group; [`desk`]: what they work with;
//! - [`extras`]: what only this API knows of a load balancer;
//! - [`errors`]: the codes of every "no";
//! - [`untrusted`]: the first steps by themselves, for fuzzing.

mod actions;
mod browser;
mod desk;
mod errors;
mod extras;
mod form;
mod http;
mod sigv4;
#[doc(hidden)]
pub mod untrusted;
mod xml;

pub use self::{
    errors::Code,
    http::{Endpoint, StartError, serve},
};
