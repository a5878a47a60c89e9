//! Who is told what the checks of a backend add up to.

use crate::model::{HealthReport, Key};

/// Whoever decides what follows from a change of health.
pub trait Reports: Send + Sync + 'static {
    /// A backend's checks have come to this. Whoever was refused says it again
    /// after the next check.
    fn report(
        &self,
        key: &Key,
        report: HealthReport,
    ) -> impl Future<Output = Result<(), NotTaken>> + Send;
}

/// Why a report was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// It left in this moment; the roster will say so.
    #[error("there is no such backend any more")]
    Gone,
    #[error("{0}")]
    Refused(String),
}
