//! The promises over the lab's network: real servers, real clients.
//!
//! They need root, and are run by `cargo xtask test`.

mod raw;
mod site;
