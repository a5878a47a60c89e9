//! What an action is, and what nearly all of them read.

use crate::api::elb::{desk::Desk, errors::Refusal, form::Params, xml::Xml};

/// One action: read whole and checked, then run.
pub(super) trait Action: Sized + Send {
    const NAME: &'static str;

    fn read(params: &mut Params) -> Result<Self, Refusal>;

    /// Answers with what goes into the action's result element.
    fn run(self, desk: &Desk) -> impl Future<Output = Result<Xml, Refusal>> + Send;
}

/// The parameter that nearly every action has.
pub(super) fn lb_name(params: &mut Params) -> Result<String, Refusal> {
    params.required_text("LoadBalancerName")
}
