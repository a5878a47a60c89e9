//! The actions: what each takes, what it does, what it answers.
//!
//! - [`load_balancers`]: create, delete, describe; [`describe`]: how they are
//!   shown;
//! - [`listeners`], [`instances`], [`health_check`], [`attributes`]: what they
//!   are made of;
//! - [`tags`], [`labels`], [`policies`]: what is only remembered;
//! - [`limits`]: how many there may be; [`action`]: what all of them are.

mod action;
mod attributes;
mod describe;
mod health_check;
mod instances;
mod labels;
mod limits;
mod listeners;
mod load_balancers;
mod policies;
mod tags;

use self::action::Action;
use super::{
    desk::Desk,
    errors::{Code, Refusal, shortened},
    form::Params,
    xml::Xml,
};

/// The edition of the API.
const VERSION: &str = "2012-06-01";
/// The edition for the later load balancers, which sign alike.
const VERSION_2: &str = "2015-12-01";

macro_rules! actions {
    ($($action:ty,)*) => {
        async fn run(name: &str, params: Params, desk: &Desk) -> Result<(&'static str, Xml), Refusal> {
            match name {
                $(<$action as Action>::NAME => perform::<$action>(params, desk).await,)*
                _ => Err(Refusal::new(
                    Code::InvalidAction,
                    format!("The action {} is not valid for this web service.", shortened(name)),
                )),
            }
        }
    };
}

actions! {
    attributes::Describe,
    attributes::Modify,
    health_check::Configure,
    instances::Deregister,
    instances::DescribeHealth,
    instances::Register,
    labels::ApplySecurityGroups,
    labels::AttachSubnets,
    labels::DetachSubnets,
    labels::DisableZones,
    labels::EnableZones,
    limits::Describe,
    listeners::Create,
    listeners::Delete,
    listeners::SetCertificate,
    load_balancers::Create,
    load_balancers::Delete,
    load_balancers::Describe,
    policies::Create,
    policies::CreateAppCookie,
    policies::CreateLbCookie,
    policies::Delete,
    policies::Describe,
    policies::DescribeTypes,
    policies::SetForBackend,
    policies::SetOfListener,
    tags::Add,
    tags::Describe,
    tags::Remove,
}

/// Carries out what the form asks for. Answers with the action's name and what
/// goes into its result element.
pub(super) async fn perform_form(form: &[u8], desk: &Desk) -> Result<(&'static str, Xml), Refusal> {
    let mut params = Params::parse(form)?;
    let Some(name) = params.text("Action")? else {
        return Err(Refusal::new(
            Code::MissingAction,
            "the request names no Action",
        ));
    };
    match params.text("Version")?.as_deref() {
        Some(VERSION) => {}
        Some(VERSION_2) => {
            return Err(Refusal::new(
                Code::InvalidAction,
                format!(
                    "Could not find operation {} for version {VERSION_2}: \
                     ebb speaks the Classic Load Balancer's edition, {VERSION} (`aws elb`)",
                    shortened(&name)
                ),
            ));
        }
        Some(other) => {
            return Err(Refusal::new(
                Code::InvalidAction,
                format!(
                    "Could not find operation {} for version {}: ebb speaks {VERSION}",
                    shortened(&name),
                    shortened(other)
                ),
            ));
        }
        None => {
            return Err(Refusal::new(
                Code::MissingParameter,
                format!("the request names no Version; ebb speaks {VERSION}"),
            ));
        }
    }
    run(&name, params, desk).await
}

async fn perform<A: Action>(
    mut params: Params,
    desk: &Desk,
) -> Result<(&'static str, Xml), Refusal> {
    // The API's own way to name what changes nothing.
    if !A::NAME.starts_with("Describe") {
        desk.admit_change().await?;
    }
    let action = A::read(&mut params)?;
    params.finish()?;
    // On the heap, or every request would be as large as the largest action.
    let result = Box::pin(action.run(desk)).await?;
    Ok((A::NAME, result))
}
