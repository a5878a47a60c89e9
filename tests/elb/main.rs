//! The Query API over the lab's network, driven by the clients that the Classic
//! ELB's users have: `aws` and boto3.
//!
//! They need root and the clients, and are run by `cargo xtask test`, which
//! names the clients' folder in `EBB_CLIENTS`.

mod documentation;
mod door;
mod signed;
mod slow_requests;
mod whole_api;
