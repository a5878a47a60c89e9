//! The promises over the lab's network: real servers, real clients, a module
//! for each promise. Most hold in every forwarding mode and are tested in each.
//!
//! They need root, and are run by `cargo xtask test`.

mod bare_devices;
mod client_source;
mod faults;
mod flood;
mod health_checks;
mod health_scale;
mod hooks;
mod hostile;
mod hostile_doors;
mod installed;
mod local_clients;
mod metrics;
mod million;
mod nat;
mod p1_new_flows;
mod p2_old_flows;
mod p3_early_end;
mod p4_deadline;
mod p5_unhealthy;
mod p6_no_theft;
mod p7_no_amnesia;
mod p8_hands_off;
mod p9_books;
mod raw;
mod restart;
mod routers;
mod scale_in;
mod scene;
mod site;
mod timers;
mod traffic;
mod vips;
