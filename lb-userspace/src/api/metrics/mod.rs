//! Metrics for Prometheus, on an address of their own.
//!
//! - [`mod@page`]: what is measured, and how it is called;
//! - [`latest`]: the page of this second;
//! - [`http`]: the address, and the one page there.

mod http;
mod latest;
mod page;

pub use self::{
    http::{Endpoint, StartError, serve},
    page::page,
};
