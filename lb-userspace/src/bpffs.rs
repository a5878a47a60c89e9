//! Whether a folder lies on a BPF file system, and what is said when it does not.

use std::path::Path;

/// `BPF_FS_MAGIC` from linux/magic.h.
const MAGIC: u32 = 0xCAFE_4A11;

/// Why a host's BPF file system may not be found where it is mounted.
pub(crate) const HIDDEN: &str =
    "`ip netns exec` hides the host's, and `nsenter --net=/run/netns/NAME` does not";

/// False if nothing is known of the folder, too.
pub(crate) fn holds(dir: &Path) -> bool {
    // The width of the field differs from one processor to the next.
    rustix::fs::statfs(dir).is_ok_and(|stat| stat.f_type as u32 == MAGIC)
}
