//! What is counted of a backend.

/// Counters of one backend. They only go up while the index is in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackendCounters {
    /// From clients.
    pub packets_in: u64,
    pub bytes_in: u64,
    /// From the backend; 0 in modes where answers bypass ebb.
    pub packets_out: u64,
    pub bytes_out: u64,
    pub opened: u64,
    pub closed: u64,
    /// Packets forwarded without an entry, for the table of flows was full (dsr, ipip).
    pub untracked: u64,
}

impl BackendCounters {
    /// Flows in the table now.
    #[must_use]
    pub fn active(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }
}
