//! The endpoints, each a call of the control task.

use std::{fmt, sync::Arc};

use axum::{
    Extension, Json, Router,
    extract::FromRequestParts,
    http::{Method, StatusCode, Uri, request::Parts},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get, post, put},
};
use serde::Deserialize;

use super::{
    body::{Asked, DOCUMENT, Named, Sent},
    events::{self, Recent},
    pace::Pace,
    refusal::Refusal,
};
use crate::{
    control::{FlowQuery, Handle},
    wire::{
        Applied, Apply, Attributes, AttributesPatch, Backend, Backends, Deleted, Deregister,
        FlowSort, Flows, HealthCheckSetting, LoadBalancer, LoadBalancers, NewBackend, NewBackends,
        NewLoadBalancer, SetHealth, Status,
    },
};

type Answer<T> = Result<Json<T>, Refusal>;

/// In whose name the control task is asked: an extension of every request.
#[derive(Debug, Clone)]
pub(in crate::api) struct Caller(Arc<str>);

impl Caller {
    pub(in crate::api) fn new(who: &dyn fmt::Display) -> Self {
        Self(who.to_string().into())
    }
}

/// All endpoints, on the control task behind `handle`.
pub(super) fn router(handle: Handle, recent: Recent) -> Router {
    let all = Router::new()
        .route("/v1/load-balancers", get(load_balancers).post(create))
        .nest(ONE, one(get(load_balancer).delete(delete)))
        .route("/v1/events", get(events::get))
        .route("/v1/apply", post(apply));
    answering(all, handle).layer(Extension(recent))
}

/// What the console's page asks for: everything about the backends and the
/// attributes of the load balancers there are; none comes or goes by it.
pub(in crate::api) fn for_console(handle: Handle) -> Router {
    let some = Router::new()
        .route("/v1/load-balancers", get(load_balancers))
        .nest(ONE, one(get(load_balancer)));
    answering(some, handle)
}

const ONE: &str = "/v1/load-balancers/{lb}";

/// The endpoints of one load balancer.
fn one(itself: MethodRouter) -> Router {
    Router::new()
        .route("/", itself)
        .route("/backends", get(backends).post(register))
        .route("/backends/{id}", get(backend))
        .route("/backends/{id}/deregister", post(deregister))
        .route("/backends/{id}/health", put(set_health))
        .route("/health-check", get(health_check).put(set_health_check))
        .route("/attributes", get(attributes).patch(set_attributes))
        .route("/flows", get(flows))
}

fn answering(router: Router, handle: Handle) -> Router {
    router
        .route("/v1/status", get(status))
        .fallback(no_such_endpoint)
        .method_not_allowed_fallback(no_such_method)
        .layer(Extension(handle))
        .layer(Extension(Pace::default()))
}

/// The control task, asked in the name of the caller.
struct Control(Handle);

impl<S: Sync> FromRequestParts<S> for Control {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        if let Some(pace) = parts.extensions.get::<Pace>() {
            pace.wait().await;
        }
        let handle = parts.extensions.get::<Handle>();
        let caller = parts.extensions.get::<Caller>();
        match (handle, caller) {
            (Some(handle), Some(Caller(caller))) => Ok(Self(handle.by(caller))),
            // Only a router that nobody serves gets here.
            _ => Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no_peer",
                "it is not known who asks",
            )),
        }
    }
}

async fn status(Control(control): Control) -> Answer<Status> {
    Ok(Json(control.status().await?))
}

async fn load_balancers(Control(control): Control) -> Answer<LoadBalancers> {
    let load_balancers = control.load_balancers().await?;
    Ok(Json(LoadBalancers { load_balancers }))
}

async fn create(
    Control(control): Control,
    Sent(new): Sent<NewLoadBalancer>,
) -> Result<(StatusCode, Json<LoadBalancer>), Refusal> {
    let lb = control.create_load_balancer(new).await?;
    Ok((StatusCode::CREATED, Json(lb)))
}

async fn load_balancer(
    Control(control): Control,
    Named(lb): Named<String>,
) -> Answer<LoadBalancer> {
    Ok(Json(control.load_balancer(&lb).await?))
}

async fn delete(
    Control(control): Control,
    Named(lb): Named<String>,
    Asked(how): Asked<Deregister>,
) -> Answer<Deleted> {
    Ok(Json(control.delete_load_balancer(&lb, how).await?))
}

async fn backends(Control(control): Control, Named(lb): Named<String>) -> Answer<Backends> {
    let backends = control.backends(&lb).await?;
    Ok(Json(Backends { backends }))
}

/// One backend as it is, or several under `backends`; the answer has the same
/// form.
async fn register(
    Control(control): Control,
    Named(lb): Named<String>,
    Sent(sent): Sent<Registration>,
) -> Result<Response, Refusal> {
    Ok(match sent {
        Registration::One(new) => Json(control.register(&lb, new).await?).into_response(),
        Registration::Several(new) => {
            let backends = control.register_all(&lb, new.backends).await?;
            Json(Backends { backends }).into_response()
        }
    })
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "serde_json::Value")]
enum Registration {
    One(NewBackend),
    Several(NewBackends),
}

impl TryFrom<serde_json::Value> for Registration {
    type Error = serde_json::Error;

    /// By hand, so that an error names the field that is wrong.
    fn try_from(sent: serde_json::Value) -> Result<Self, Self::Error> {
        if sent.get("backends").is_some() {
            serde_json::from_value(sent).map(Self::Several)
        } else {
            serde_json::from_value(sent).map(Self::One)
        }
    }
}

async fn backend(
    Control(control): Control,
    Named((lb, id)): Named<(String, String)>,
) -> Answer<Backend> {
    Ok(Json(control.backend(&lb, &id).await?))
}

async fn deregister(
    Control(control): Control,
    Named((lb, id)): Named<(String, String)>,
    Sent(how): Sent<Deregister>,
) -> Answer<Backend> {
    Ok(Json(control.deregister(&lb, &id, how).await?))
}

async fn set_health(
    Control(control): Control,
    Named((lb, id)): Named<(String, String)>,
    Sent(SetHealth { health }): Sent<SetHealth>,
) -> Answer<Backend> {
    Ok(Json(control.set_health(&lb, &id, health).await?))
}

async fn attributes(Control(control): Control, Named(lb): Named<String>) -> Answer<Attributes> {
    Ok(Json(control.attributes(&lb).await?))
}

async fn set_attributes(
    Control(control): Control,
    Named(lb): Named<String>,
    Sent(patch): Sent<AttributesPatch>,
) -> Answer<Attributes> {
    Ok(Json(control.set_attributes(&lb, patch).await?))
}

async fn health_check(
    Control(control): Control,
    Named(lb): Named<String>,
) -> Answer<HealthCheckSetting> {
    let health_check = control.health_check(&lb).await?;
    Ok(Json(HealthCheckSetting { health_check }))
}

async fn set_health_check(
    Control(control): Control,
    Named(lb): Named<String>,
    Sent(HealthCheckSetting { health_check }): Sent<HealthCheckSetting>,
) -> Answer<HealthCheckSetting> {
    let health_check = control.set_health_check(&lb, health_check).await?;
    Ok(Json(HealthCheckSetting { health_check }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichFlows {
    backend: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    sort: FlowSort,
}

async fn flows(
    Control(control): Control,
    Named(lb): Named<String>,
    Asked(which): Asked<WhichFlows>,
) -> Answer<Flows> {
    let query = FlowQuery {
        backend: which.backend,
        sort: which.sort,
        limit: which.limit,
    };
    Ok(Json(control.flows(&lb, query).await?))
}

async fn apply(Control(control): Control, Sent(apply): Sent<Apply, DOCUMENT>) -> Answer<Applied> {
    Ok(Json(control.apply(apply).await?))
}

async fn no_such_endpoint(uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "no_such_endpoint",
        format!("there is nothing at {}", uri.path()),
    )
    .hint("everything is under /v1, for example /v1/load-balancers".to_owned())
}

async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "no_such_method",
        format!("{} does not take {method}", uri.path()),
    )
}
