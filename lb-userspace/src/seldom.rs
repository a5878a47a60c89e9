//! Log lines that strangers can cause: at most one a second of each kind, and
//! none is lost uncounted.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// From one line to the next.
const APART: Duration = Duration::from_secs(1);

type Line = Box<dyn FnOnce(Others) + Send>;

/// One kind of line. Cheap to clone; all clones are one kind.
#[derive(Clone, Default)]
pub(crate) struct Seldom(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    last: Option<Instant>,
    /// The latest that had to wait, and how many waited before it.
    waiting: Option<(Line, u64)>,
}

/// How many lines the one that is said stands for beside itself; nothing when
/// it stands for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Others(u64);

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            others => write!(f, " (and {others} more of the kind)"),
        }
    }
}

impl Seldom {
    /// Says `line`, now or within a second; then the latest stands for all that
    /// waited. Needs a tokio runtime.
    pub(crate) fn say(&self, line: impl FnOnce(Others) + Send + 'static) {
        let now = Instant::now();
        let mut said = self.lock();
        if let Some((waiting, others)) = &mut said.waiting {
            *waiting = Box::new(line);
            *others += 1;
            return;
        }
        let Some(next) = said.last.map(|last| last + APART).filter(|at| *at > now) else {
            said.last = Some(now);
            drop(said);
            line(Others(0));
            return;
        };
        said.waiting = Some((Box::new(line), 0));
        drop(said);
        let kind = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(next).await;
            let mut said = kind.lock();
            said.last = Some(Instant::now());
            let waiting = said.waiting.take();
            drop(said);
            if let Some((line, others)) = waiting {
                line(Others(others));
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Seldom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seldom")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_one_line_a_second_and_every_line_is_counted() {
        let kind = Seldom::default();
        let lines = Arc::new(Mutex::new(Vec::new()));
        // A thousand a second, for three seconds.
        for n in 0..3_000_u64 {
            let lines = Arc::clone(&lines);
            kind.say(move |others| lines.lock().unwrap().push((n, others.0)));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert_eq!(lines[0], (0, 0));
        // The last one is said, too.
        assert_eq!(lines[3].0, 2_999);
        let counted: u64 = lines.iter().map(|(_, others)| others + 1).sum();
        assert_eq!(counted, 3_000);
    }

    #[test]
    fn others_are_named_when_there_are_any() {
        assert_eq!(Others(0).to_string(), "");
        assert_eq!(Others(7).to_string(), " (and 7 more of the kind)");
    }
}
