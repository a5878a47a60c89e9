//! The numbers by which the kernel's tables know things.

/// The index of a load balancer in the kernel's tables.
pub type LbIndex = u16;
/// The index of a backend in the kernel's tables. Not used again for another
/// backend before the data plane says `Event::Forgotten`.
pub type BackendIndex = u16;
/// A backend's generation. Raising it disowns all its flows at once.
pub type Epoch = u32;
