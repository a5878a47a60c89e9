//! The other end of an ipip tunnel, for a backend without a tunnel device: an
//! XDP program that takes the outer header off packets to the VIPs.

use std::net::IpAddr;

use aya::{
    Ebpf,
    maps::{HashMap, MapError, PerCpuArray},
    programs::{ProgramError, Xdp, XdpMode, xdp::XdpLinkId},
};
use lb_common::abi::address::{Addr4, Addr6};

use crate::root_cause::told;

/// Why packets cannot be decapsulated here.
#[derive(Debug, thiserror::Error)]
pub enum DecapError {
    #[error(
        "this ebb was built without its kernel program; `cargo xtask build` builds one that has it"
    )]
    NotEmbedded,
    #[error("the kernel refused the program: {}", told(.0))]
    Load(#[from] aya::EbpfError),
    #[error("the program's table of VIPs: {}", told(.0))]
    Map(#[from] MapError),
    #[error("the kernel refused the program: {}", told(.0))]
    Program(#[source] ProgramError),
    #[error("cannot attach to interface {interface}: {source}")]
    Attach {
        interface: String,
        source: ProgramError,
    },
}

/// The running program. Dropping it detaches it.
pub struct Decap {
    ebpf: Ebpf,
}

impl Decap {
    /// Opens packets to `vips` that come in by `interfaces`, and says for each
    /// interface whether its driver runs the program itself.
    ///
    /// # Errors
    /// If the kernel refuses, or an interface does not exist or has a program.
    pub fn start(interfaces: &[String], vips: &[IpAddr]) -> Result<(Self, Vec<bool>), DecapError> {
        if !crate::object::is_embedded() {
            return Err(DecapError::NotEmbedded);
        }
        let mut ebpf = Ebpf::load(crate::object::DECAP)?;
        for vip in vips {
            match vip {
                IpAddr::V4(vip) => {
                    table(&mut ebpf, "VIPS_V4")?.insert(Addr4::from(*vip), 1, 0)?;
                }
                IpAddr::V6(vip) => {
                    table(&mut ebpf, "VIPS_V6")?.insert(Addr6::from(*vip), 1, 0)?;
                }
            }
        }
        let program: &mut Xdp = ebpf
            .program_mut("decap")
            .ok_or(DecapError::NotEmbedded)?
            .try_into()
            .map_err(DecapError::Program)?;
        program.load().map_err(DecapError::Program)?;
        let mut in_driver = Vec::new();
        for interface in interfaces {
            let (_, driver) = attach(program, interface).map_err(|source| DecapError::Attach {
                interface: interface.clone(),
                source,
            })?;
            in_driver.push(driver);
        }
        Ok((Self { ebpf }, in_driver))
    }

    /// Packets opened so far.
    ///
    /// # Errors
    /// If the counter cannot be read.
    pub fn opened(&self) -> Result<u64, DecapError> {
        self.count("OPENED")
    }

    /// Packets dropped so far because they had met congestion in the tunnel, and their
    /// sender knows nothing of it but by loss (RFC 6040).
    ///
    /// # Errors
    /// If the counter cannot be read.
    pub fn congested(&self) -> Result<u64, DecapError> {
        self.count("CONGESTED")
    }

    fn count(&self, counter: &str) -> Result<u64, DecapError> {
        let map = self.ebpf.map(counter).ok_or(DecapError::NotEmbedded)?;
        let counts: PerCpuArray<_, u64> = map.try_into()?;
        Ok(counts.get(&0, 0)?.iter().sum())
    }
}

fn table<'a, A: aya::Pod>(
    ebpf: &'a mut Ebpf,
    name: &str,
) -> Result<HashMap<&'a mut aya::maps::MapData, A, u32>, DecapError> {
    let map = ebpf.map_mut(name).ok_or(DecapError::NotEmbedded)?;
    Ok(map.try_into()?)
}

/// What the kernel says where a driver has no XDP.
const UNSUPPORTED: i32 = rustix::io::Errno::OPNOTSUPP.raw_os_error();

/// In the driver if it can, else by the generic hook.
fn attach(program: &mut Xdp, interface: &str) -> Result<(XdpLinkId, bool), ProgramError> {
    match program.attach(interface, XdpMode::Driver) {
        Ok(link) => Ok((link, true)),
        Err(ProgramError::SyscallError(e)) if e.io_error.raw_os_error() == Some(UNSUPPORTED) => {
            program
                .attach(interface, XdpMode::Skb)
                .map(|link| (link, false))
        }
        Err(e) => Err(e),
    }
}
