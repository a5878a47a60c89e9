//! `ebb`: the agent and the command line.
fn main() {}
