//! What the kernel program itself logs: what should not have happened, never
//! anything of an ordinary packet. Off unless it is asked for; the verifier then
//! takes the logging out of the program.

use aya::{Ebpf, EbpfLoader};
use aya_log::{EbpfLogger, Level};
use log::{Log, Metadata, Record};

static NOTHING: u8 = 0;
static ERRORS: u8 = Level::Error as u8;

/// Sets the level before the program is loaded.
pub(super) fn set_level(loader: &mut EbpfLoader<'_>, wanted: bool) {
    let level: &'static u8 = if wanted { &ERRORS } else { &NOTHING };
    loader.override_global(aya_log::LEVEL, level, true);
}

/// The other end of the program's log.
pub(super) struct KernelLog(EbpfLogger<ToTracing>);

impl KernelLog {
    /// # Errors
    /// The object has no log, or its map cannot be read.
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, aya_log::Error> {
        EbpfLogger::init_with_logger(ebpf, ToTracing).map(Self)
    }

    /// Passes on what has come.
    pub(super) fn flush(&mut self) {
        self.0.flush();
    }
}

/// Into the agent's own log, whatever the level: the program has one already.
#[derive(Debug)]
struct ToTracing;

impl Log for ToTracing {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        tracing::error!("the kernel program: {}", record.args());
    }

    fn flush(&self) {}
}
