//! Who logged in, and for how long. Kept in memory: a new agent knows nobody.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
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
        };
        open.insert(digest(&token), session);
        Some(token)
    }

    /// The key that the session with this token was begun with.
    pub(super) fn of(&self, token: &str, now: Instant) -> Option<Arc<str>> {
        let open = self.lock();
        let session = open.get(&digest(token))?;
        (now < session.begun + LIFE).then(|| Arc::clone(&session.key))
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

    #[test]
    fn a_session_lasts_until_it_is_ended_or_old() {
        let sessions = sessions();
        let now = Instant::now();
        let token = sessions.begin("anna", "secret", now).unwrap();
        assert_eq!(sessions.of(&token, now).as_deref(), Some("anna"));
        assert_eq!(sessions.of(&token, now + LIFE), None);
        assert_eq!(sessions.of("another", now), None);
        sessions.end(&token);
        assert_eq!(sessions.of(&token, now), None);
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
        assert_eq!(sessions.of(&first, now), None);
    }
}
