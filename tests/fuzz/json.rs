//! The bodies of requests to the admin API: JSON, and what it means.

use std::fmt::Debug;

use lb_userspace::{
    model::{AskedCheck, AttributesSpec, HealthCheck},
    wire::{
        Apply, AttributesPatch, Deregister, HealthCheckSetting, NewBackends, NewLoadBalancer,
        SetHealth, checked,
    },
};
use serde::{Serialize, de::DeserializeOwned};

/// Takes the bytes as each of the bodies, and checks what is one.
pub fn target(bytes: &[u8]) {
    if let Some(new) = body::<NewLoadBalancer>(bytes) {
        // Taken or refused: what it is checked for is the model's to test.
        let _checked = checked::load_balancer(new);
    }
    if let Some(NewBackends { backends }) = body::<NewBackends>(bytes) {
        for new in backends {
            let _checked = checked::backend(new);
        }
    }
    if let Some(patch) = body::<AttributesPatch>(bytes) {
        let _checked = AttributesSpec::try_from(patch);
    }
    if let Some(setting) = body::<HealthCheckSetting>(bytes)
        && let Some(check) = setting.health_check
        && let Ok(check) = HealthCheck::try_from(AskedCheck::from(check))
    {
        let again = HealthCheck::try_from(AskedCheck::from(check.clone()));
        assert_eq!(again.ok(), Some(check));
    }
    body::<Deregister>(bytes);
    body::<SetHealth>(bytes);
    body::<Apply>(bytes);
}

/// A body, if it is one; written and read again it is the same.
fn body<T>(bytes: &[u8]) -> Option<T>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let body: T = serde_json::from_slice(bytes).ok()?;
    let written = serde_json::to_vec(&body).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(again, body);
    Some(body)
}
