//! `ConfigureHealthCheck`.

use super::{
    action::{Action, lb_name},
    describe,
};
use crate::{
    api::elb::{desk::Desk, errors::Refusal, form::Params, xml::Xml},
    model::Target,
    wire::HealthCheck,
};

#[derive(Debug)]
pub(super) struct Configure {
    name: String,
    check: HealthCheck,
}

impl Action for Configure {
    const NAME: &'static str = "ConfigureHealthCheck";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        let name = lb_name(params)?;
        let check = params.required_structure("HealthCheck", |check| {
            let target: Target = check
                .required_text("Target")?
                .parse()
                .map_err(|e: crate::model::BadTarget| Refusal::validation(e.to_string()))?;
            Ok(HealthCheck {
                // From here on the protocol is in capitals.
                target: target.to_string(),
                interval: check.required_number("Interval", 5..=300)?,
                timeout: Some(check.required_number("Timeout", 2..=60)?),
                unhealthy_threshold: check.required_number("UnhealthyThreshold", 2..=10)?,
                healthy_threshold: check.required_number("HealthyThreshold", 2..=10)?,
                verify_certificate: false,
                server_name: None,
            })
        })?;
        if check.timeout >= Some(check.interval) {
            return Err(Refusal::validation(
                "HealthCheck timeout must be less than interval.",
            ));
        }
        Ok(Self { name, check })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let _writing = desk.writing().await;
        // One that is being deleted is gone for this API.
        desk.lb(&self.name).await?;
        let check = desk
            .control
            .set_health_check(&self.name, Some(self.check))
            .await?;
        let mut xml = Xml::default();
        if let Some(check) = check {
            describe::health_check(&mut xml, &check);
        }
        Ok(xml)
    }
}
