//! The console: a web page to see load balancers, and drains running down, and
//! to do what operators do every day. One more way into the control task.
//!
//! - [`mod@serve`]: the TCP address, and what is there;
//! - [`page`]: the page itself, whole in the binary;
//! - [`guard`]: who may ask, and from which page; [`sessions`]: who logged in;
//! - [`live`]: how things are, every second, as server-sent events;
//! - [`history`]: how many flows there were, for the chart.
//!
//! What the page asks and does goes to the endpoints of the admin API.

mod guard;
mod history;
mod live;
mod page;
mod serve;
mod sessions;

pub use self::serve::{Endpoint, StartError, serve};
