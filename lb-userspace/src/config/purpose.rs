//! What a document is read for.

/// What a document is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To run the agent: the settings must be there and fit the host.
    Agent,
    /// To run the agent on interfaces that are named elsewhere: those of the
    /// document, if any, do not count.
    AgentOn,
    /// To declare load balancers; settings may be there, and must be valid.
    Apply,
}
