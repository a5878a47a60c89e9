//! The way to a backend, as people see it.

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHop {
    pub interface: String,
    pub mac: String,
}
