//! Who logged in, and for how long. Kept in memory: a new agent knows nobody.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use uuid::Uuid;

use crate::config::AccessKeys;

/// A working day and a bit.
pub(super) const LIFE: Duration = Duration::from_secs(12 * 3600);
/// As many as may be logged in at a time; then the oldest is logged out.
const MOST: usize = 1000;

type Digest = [u8; 32];

/// The keys, and the sessions that were begun with them.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    keys: AccessKeys,
    /// By the digest of the token: finding one tells nothing about others.
    open: Mutex<BTreeMap<Digest, Session>>,
}

#[derive(Debug)]
struct Session {
    key: Arc<str>,
    begun: Instant,
    /// Gone with the session.
    alive: watch::Sender<()>,
}

/// What a session lets in: one request, or a stream for as long as it lasts.
#[derive(Debug, Clone)]
pub(super) struct Pass {
    pub(super) key: Arc<str>,
    until: Instant,
    alive: watch::Receiver<()>,
}

impl Pass {
    /// Done when the session has ended, by a logout or by its age.
    pub(super) async fn ended(mut self) {
        tokio::select! {
            () = sleep_until(self.until) => {}
            // Nothing is ever sent there; an error means that it is gone.
            () = async { while self.alive.changed().await.is_ok() {} } => {}
        }
    }
}

impl Sessions {
    pub(super) fn new(keys: AccessKeys) -> Self {
        Self {
            keys,
            open: Mutex::default(),
        }
    }

    /// Without keys there is nothing to log in with.
    pub(super) fn needed(&self) -> bool {
        !self.keys.is_empty()
    }

    /// A token, if that is the secret of the key.
    pub(super) fn begin(&self, key: &str, secret: &str, now: Instant) -> Option<String> {
        // An unknown key takes as long as a wrong secret.
        let known = self.keys.get(key);
        let expected = known.map_or("", |secret| secret.expose());
        if !same(expected, secret) || known.is_none() {
            return None;
        }
        let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let mut open = self.lock();
        open.retain(|_, session| now < session.begun + LIFE);
        if open.len() >= MOST {
            let oldest = open.iter().min_by_key(|(_, session)| session.begun);
            if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
                open.remove(&oldest);
            }
        }
        let session = Session {
            key: key.into(),
            begun: now,
            alive: watch::Sender::new(()),
        };
        open.insert(digest(&token), session);
        Some(token)
    }

    /// What the session with this token lets in.
    pub(super) fn of(&self, token: &str, now: Instant) -> Option<Pass> {
        let open = self.lock();
        let session = open.get(&digest(token))?;
        let until = session.begun + LIFE;
        (now < until).then(|| Pass {
            key: Arc::clone(&session.key),
            until,
            alive: session.alive.subscribe(),
        })
    }

    pub(super) fn end(&self, token: &str) {
        self.lock().remove(&digest(token));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(token: &str) -> Digest {
    Sha256::digest(token.as_bytes()).into()
}

/// In a time that does not depend on where they differ.
fn same(expected: &str, given: &str) -> bool {
    let mac = |text: &str| {
        Hmac::<Sha256>::new_from_slice(b"ebb console")
            .expect("HMAC takes keys of any length")
            .chain_update(text.as_bytes())
    };
    let expected = mac(expected).finalize().into_bytes();
    mac(given).verify_slice(&expected).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> Sessions {
        let keys = [("anna".to_owned(), "secret".to_owned().into())];
        Sessions::new(keys.into())
    }

    fn whose(sessions: &Sessions, token: &str, now: Instant) -> Option<Arc<str>> {
        sessions.of(token, now).map(|pass| pass.key)
    }

    #[test]
    fn a_session_lasts_until_it_is_ended_or_old() {
        let sessions = sessions();
        let now = Instant::now();
        let token = sessions.begin("anna", "secret", now).unwrap();
        assert_eq!(whose(&sessions, &token, now).as_deref(), Some("anna"));
        assert_eq!(whose(&sessions, &token, now + LIFE), None);
        assert_eq!(whose(&sessions, "another", now), None);
        sessions.end(&token);
        assert_eq!(whose(&sessions, &token, now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_is_over_with_its_session() {
        let sessions = sessions();
        let begun = Instant::now();
        let token = sessions.begin("anna", "secret", begun).unwrap();
        let by_logout = sessions.of(&token, begun).unwrap();
        let by_age = by_logout.clone();
        by_age.ended().await;
        assert_eq!(Instant::now(), begun + LIFE);
        let token = sessions.begin("anna", "secret", Instant::now()).unwrap();
        let pass = sessions.of(&token, Instant::now()).unwrap();
        let over = tokio::spawn(pass.ended());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!over.is_finished());
        sessions.end(&token);
        over.await.unwrap();
    }

    #[test]
    fn only_the_right_secret_begins_one() {
        let sessions = sessions();
        for (key, secret) in [
            ("anna", "wrong"),
            ("anna", ""),
            ("nobody", ""),
            ("", "secret"),
        ] {
            assert_eq!(
                sessions.begin(key, secret, Instant::now()),
                None,
                "{key} {secret}"
            );
        }
        assert!(sessions.needed());
        assert!(!Sessions::default().needed());
    }

    #[test]
    fn there_are_never_too_many() {
        let sessions = sessions();
        let now = Instant::now();
        let first = sessions.begin("anna", "secret", now).unwrap();
        for n in 1..=MOST {
            let later = now + Duration::from_millis(n.try_into().unwrap());
            sessions.begin("anna", "secret", later).unwrap();
        }
        assert_eq!(sessions.lock().len(), MOST);
        assert_eq!(whose(&sessions, &first, now), None);
    }
}
