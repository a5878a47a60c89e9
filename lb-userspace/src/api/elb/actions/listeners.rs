//! Listeners: TCP, and HTTP forwarded as TCP. ebb ends no TLS, and says so.

use super::action::{Action, lb_name};
use crate::{
    api::elb::{
        desk::{Desk, Known},
        errors::{Code, Refusal, shortened},
        form::Params,
        xml::Xml,
    },
    model::Protocol,
    wire,
};

const PORTS: std::ops::RangeInclusive<u16> = 1..=u16::MAX;

/// A listener as this API names it: by its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listener {
    pub(super) port: u16,
    pub(super) instance_port: u16,
    pub(super) protocol: &'static str,
}

const TCP: &str = "TCP";
const HTTP: &str = "HTTP";

impl Listener {
    /// # Errors
    /// For what ebb does not do: HTTPS and SSL, certificates, translating
    /// between HTTP and TCP.
    pub(super) fn read(params: &mut Params) -> Result<Self, Refusal> {
        let protocol = params.required_text("Protocol")?;
        let instance_protocol = params.text("InstanceProtocol")?;
        let port = params.required_number("LoadBalancerPort", PORTS)?;
        let instance_port = params.required_number("InstancePort", PORTS)?;
        let certificate = params.text("SSLCertificateId")?;
        let protocol = supported(&protocol)?;
        let instance_protocol = match instance_protocol.filter(|name| !name.is_empty()) {
            Some(name) => supported(&name)?,
            None => protocol,
        };
        if protocol != instance_protocol {
            return Err(Refusal::new(
                Code::InvalidConfigurationRequest,
                format!(
                    "listener {port} is {protocol} and its instances' side {instance_protocol}: \
                     both have the same protocol, for ebb forwards connections as they are"
                ),
            ));
        }
        if let Some(certificate) = certificate.filter(|id| !id.is_empty()) {
            return Err(Refusal::new(
                Code::CertificateNotFound,
                format!(
                    "there is no certificate '{}': ebb keeps none, for it ends no TLS; \
                     a TCP listener passes it through to the instances",
                    shortened(&certificate)
                ),
            ));
        }
        Ok(Self {
            port,
            instance_port,
            protocol,
        })
    }

    pub(super) fn is_http(self) -> bool {
        self.protocol == HTTP
    }

    /// As the control plane takes it.
    pub(super) fn at(self, address: std::net::IpAddr) -> wire::Listener {
        wire::Listener {
            protocol: Protocol::Tcp,
            address,
            port: self.port,
            backend_port: Some(self.instance_port),
        }
    }
}

fn supported(name: &str) -> Result<&'static str, Refusal> {
    let why = match name.to_ascii_uppercase().as_str() {
        TCP => return Ok(TCP),
        HTTP => return Ok(HTTP),
        "HTTPS" | "SSL" => {
            "ebb forwards connections and ends no TLS; \
             a TCP listener passes it through to the instances"
        }
        _ => "it is TCP, or HTTP, which is forwarded as TCP",
    };
    Err(Refusal::new(
        Code::UnsupportedProtocol,
        format!("'{}' is not supported: {why}", shortened(name)),
    ))
}

/// The list, not empty, and each port once.
pub(super) fn read_list(params: &mut Params) -> Result<Vec<Listener>, Refusal> {
    let listeners = params.required_list("Listeners", Listener::read)?;
    if listeners.is_empty() {
        return Err(Refusal::constraint(
            "[]",
            "Listeners",
            "have length greater than or equal to 1",
        ));
    }
    let mut ports = std::collections::BTreeSet::new();
    if let Some(twice) = listeners.iter().find(|one| !ports.insert(one.port)) {
        return Err(Refusal::new(
            Code::DuplicateListener,
            format!("the port {} is there twice", twice.port),
        ));
    }
    Ok(listeners)
}

/// A load balancer's listeners, sorted by port. Those that differ in nothing
/// but the address are one here.
pub(super) fn shown(known: &Known) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = known
        .lb
        .listeners
        .iter()
        .map(|listener| Listener {
            port: listener.port,
            instance_port: listener.backend_port.unwrap_or(listener.port),
            protocol: match listener.protocol {
                Protocol::Tcp if known.extras.http_ports.contains(&listener.port) => HTTP,
                Protocol::Tcp => TCP,
                // Not one of the original's; it was made by another way in.
                Protocol::Udp => "UDP",
            },
        })
        .collect();
    listeners.sort_unstable();
    listeners.dedup();
    listeners
}

#[derive(Debug)]
pub(super) struct Create {
    name: String,
    listeners: Vec<Listener>,
}

impl Action for Create {
    const NAME: &'static str = "CreateLoadBalancerListeners";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            name: lb_name(params)?,
            listeners: read_list(params)?,
        })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let _writing = desk.writing().await;
        let mut known = desk.lb(&self.name).await?;
        let there = shown(&known);
        let mut new = Vec::new();
        for listener in self.listeners {
            let tcp = |other: &&Listener| other.port == listener.port && other.protocol != "UDP";
            match there.iter().find(tcp) {
                None => new.push(listener),
                Some(same) if *same == listener => {}
                Some(other) => {
                    return Err(Refusal::new(
                        Code::DuplicateListener,
                        format!(
                            "A listener already exists for {} with LoadBalancerPort {}, \
                             but with a different InstancePort or Protocol: it is {} to port {}",
                            self.name, other.port, other.protocol, other.instance_port
                        ),
                    ));
                }
            }
        }
        if new.is_empty() {
            return Ok(Xml::default());
        }
        let vip = match known.vip() {
            Some(vip) => vip,
            None => desk.free_vip().await?,
        };
        let before = known.extras.clone();
        known.extras.vip = Some(vip);
        for listener in &new {
            if listener.is_http() {
                known.extras.http_ports.insert(listener.port);
            } else {
                known.extras.http_ports.remove(&listener.port);
            }
        }
        // First what it is called, then that it is there.
        if known.extras != before {
            desk.keep(&self.name, &known.extras).await?;
        }
        let new = new.into_iter().map(|listener| listener.at(vip)).collect();
        desk.control.add_listeners(&self.name, new).await?;
        Ok(Xml::default())
    }
}

#[derive(Debug)]
pub(super) struct Delete {
    name: String,
    ports: Vec<u16>,
}

impl Action for Delete {
    const NAME: &'static str = "DeleteLoadBalancerListeners";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        let name = lb_name(params)?;
        let ports = params
            .required_texts("LoadBalancerPorts")?
            .into_iter()
            .map(|port| {
                port.parse()
                    .ok()
                    .filter(|port| PORTS.contains(port))
                    .ok_or_else(|| {
                        Refusal::constraint(
                            shortened(&port),
                            "LoadBalancerPorts",
                            "be a port, 1 to 65535",
                        )
                    })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { name, ports })
    }

    /// A port without a listener is none to delete, and no mistake.
    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let _writing = desk.writing().await;
        let known = desk.lb(&self.name).await?;
        let gone: Vec<_> = known
            .lb
            .listeners
            .iter()
            .filter(|listener| self.ports.contains(&listener.port))
            .map(|listener| (listener.protocol, listener.address, listener.port))
            .collect();
        if !gone.is_empty() {
            // It keeps its address.
            let mut extras = known.extras.clone();
            extras.vip = known.vip();
            if extras != known.extras {
                desk.keep(&self.name, &extras).await?;
            }
            desk.control.remove_listeners(&self.name, gone).await?;
        }
        Ok(Xml::default())
    }
}

#[derive(Debug)]
pub(super) struct SetCertificate {
    name: String,
    port: u16,
}

impl Action for SetCertificate {
    const NAME: &'static str = "SetLoadBalancerListenerSSLCertificate";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        let name = lb_name(params)?;
        let port = params.required_number("LoadBalancerPort", PORTS)?;
        params.required_text("SSLCertificateId")?;
        Ok(Self { name, port })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let known = desk.lb(&self.name).await?;
        let listener = find(&known, self.port)?;
        Err(Refusal::new(
            Code::UnsupportedProtocol,
            format!(
                "the listener on port {} is {}, and has no certificate: ebb ends no TLS; \
                 a TCP listener passes it through to the instances",
                listener.port, listener.protocol
            ),
        ))
    }
}

/// The listener on that port.
pub(super) fn find(known: &Known, port: u16) -> Result<Listener, Refusal> {
    shown(known)
        .into_iter()
        .find(|listener| listener.port == port)
        .ok_or_else(|| {
            Refusal::new(
                Code::ListenerNotFound,
                format!(
                    "There is no listener on port {port} of load balancer '{}'",
                    known.lb.name
                ),
            )
        })
}
