//! The lab, for the network tests and the demo alike.

pub mod lab;
pub mod report;
