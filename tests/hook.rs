//! Where in the kernel packets are taken. The tests are run with each hook in turn, and
//! those that say nothing of it hold with each.

use std::env;

/// A hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Xdp,
    Tc,
}

impl Hook {
    /// The hook of this run: what `cargo xtask test` says, or XDP.
    ///
    /// # Panics
    /// If that is no hook.
    #[must_use]
    pub fn of_run() -> Self {
        match env::var("EBB_TEST_HOOK").as_deref() {
            Ok("tc") => Self::Tc,
            Ok("xdp") | Err(_) => Self::Xdp,
            Ok(other) => panic!("EBB_TEST_HOOK is {other:?}: xdp or tc"),
        }
    }

    /// As a configuration has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tc => "tc",
        }
    }
}
