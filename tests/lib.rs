//! The lab: hosts in network namespaces, real servers, real clients.
