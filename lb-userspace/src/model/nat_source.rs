//! Whose address backends see in `nat`.

/// Where packets to the backends of a `nat` load balancer come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NatSource {
    /// From an address of ebb's, and a port that ebb binds for the flow.
    #[default]
    Ebb,
    /// From the client's own address and port: the backend has to answer by way of ebb.
    Client,
}

impl NatSource {
    pub const ALL: [Self; 2] = [Self::Ebb, Self::Client];
    pub const NAMES: [&'static str; 2] = [Self::Ebb.name(), Self::Client.name()];

    /// In the file, on the command line and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ebb => "ebb",
            Self::Client => "client",
        }
    }

    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }
}
