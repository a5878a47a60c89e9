//! What several of the test programs share: the lab, and the kernel program with
//! its maps filled.

pub mod filled;
pub mod hook;
pub mod lab;
pub mod report;
