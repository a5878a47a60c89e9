//! The page that all scrapers of a second get: however many they are, the
//! control task is asked once.

use std::time::Duration;

use hyper::{StatusCode, body::Bytes};
use tokio::{sync::Mutex, time::Instant};

use super::page::page;
use crate::control::{self, Handle};

/// How old a page may be.
const AGE: Duration = Duration::from_secs(1);

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPage {
    #[error("{}", .0.message())]
    Control(control::Error),
    #[error("the page cannot be written: {0}")]
    Form(#[from] prometheus::Error),
}

impl NoPage {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Control(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Form(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

#[derive(Debug)]
pub(super) struct Latest {
    control: Handle,
    /// Held while a page is made; who comes meanwhile waits for that one.
    made: Mutex<Option<(Instant, Bytes)>>,
}

impl Latest {
    pub(super) fn new(control: Handle) -> Self {
        Self {
            control,
            made: Mutex::default(),
        }
    }

    /// A page that was made within the last second.
    pub(super) async fn page(&self) -> Result<Bytes, NoPage> {
        let mut made = self.made.lock().await;
        if let Some((at, text)) = &*made
            && at.elapsed() < AGE
        {
            return Ok(text.clone());
        }
        let measured = self.control.measure().await.map_err(NoPage::Control)?;
        let text = Bytes::from(page(&measured)?);
        // From its end, or one that takes a second to make would never be kept.
        *made = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}
