//! The configuration: the file as written → settings as validated.
//!
//! - [`written`]: known keys, values of the right type, and where they stand;
//! - [`understand`], [`declare`]: what they mean, checked, with [`host`], which
//!   they must fit, and [`purpose`], which they must serve; [`value`]: what several
//!   sections have;
//! - [`settings`], [`elb`], [`console`], [`entrance`], [`host_name`], [`hook`], and of
//!   a load balancer [`Declaration`](crate::model::Declaration): the result;
//!   [`document`]: all of it together; [`secret_file`]: who may read it;
//! - [`places`]: of any file, where its agent keeps things;
//! - [`diagnostic`]: what is wrong, and on which line.

mod console;
mod declare;
mod diagnostic;
mod document;
mod elb;
mod entrance;
mod hook;
mod host;
mod host_name;
mod places;
mod purpose;
mod secret_file;
mod settings;
mod understand;
mod value;
mod written;

pub use diagnostic::Diagnostic;
pub use document::{Document, LONGEST_DOCUMENT};
pub use elb::{ElbApi, VipPool};
pub use entrance::{AccessKeys, AccessKeysError, Entrance, Secret};
pub use hook::{Hook, HookDoes};
pub use host::{Host, HostInterface};
pub use host_name::HostName;
pub use places::Places;
pub use purpose::Purpose;
pub use secret_file::Exposed;
pub(crate) use secret_file::check as check_secret_file;
pub use settings::{Ipip, Nat, Settings};

#[cfg(test)]
mod tests;
