//! JSON on the wire: the documents of the admin API, which the server sends, the
//! command line prints and hooks deliver. Types of their own, so that a word of
//! the model can be renamed without a client noticing.
//!
//! - [`types`]: what is asked and answered; [`event`]: what is told;
//! - [`checked`]: from such a document to the model, and back.

pub mod checked;
pub mod event;
pub mod types;

pub use event::{Event, What};
pub use types::*;
