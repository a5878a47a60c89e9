//! The commands of bpf(2) that aya has no call for, or none that several
//! threads can share. All the unsafe code about maps is here.
//!
//! Nothing in this file knows a type: keys and values are slices, and the
//! caller ([`super::table`](mod@super::table)) answers for their sizes being those of the map.

use std::{
    ffi::CString,
    io,
    mem::MaybeUninit,
    ops::Deref,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    ptr::NonNull,
    slice,
    sync::atomic::AtomicU64,
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Numbers from `enum bpf_cmd` in linux/bpf.h.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Command {
    LookupElem = 1,
    UpdateElem = 2,
    DeleteElem = 3,
    NextKey = 4,
    ObjectGet = 7,
    ObjectInfo = 15,
    LookupAndDeleteElem = 21,
    LookupBatch = 24,
}

/// `BPF_MAP_*_ELEM` in `union bpf_attr`.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `BPF_MAP_*_BATCH` in `union bpf_attr`.
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// `BPF_OBJ_GET` in `union bpf_attr`.
#[repr(C)]
struct ObjectAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// `BPF_OBJ_GET_INFO_BY_FD` in `union bpf_attr`.
#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_link_info`, which links to an interface fill alike.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program_id: u32,
    pad: u32,
    ifindex: u32,
    pad2: u32,
}

/// What a link attaches: numbers of `enum bpf_link_type` in linux/bpf.h.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(super) enum LinkType {
    Xdp = 6,
    Tcx = 11,
}

/// # Safety
/// `attr` is what the kernel expects for `command`, and the pointers in it point
/// to memory of the sizes that the command reads and writes there.
unsafe fn bpf<T>(command: Command, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the caller answers for the attribute; the kernel reads no more
    // than the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    // A file descriptor that exists is not negative.
    fd.as_raw_fd().cast_unsigned()
}

fn address<T>(of: *const T) -> u64 {
    of.expose_provenance() as u64
}

fn element<K, V>(fd: BorrowedFd<'_>, key: &K, value: *const V, flags: u64) -> ElementAttr {
    ElementAttr {
        map_fd: raw(fd),
        pad: 0,
        key: address(key),
        value: address(value),
        flags,
    }
}

/// `None` where the error is that there is no such entry.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the value of `key`, which is `per_key` of `V`: one, or for a per-CPU map
/// one for every CPU.
///
/// # Safety
/// The map's keys are of the size of `K`, a value as the kernel writes it is
/// `per_key` of `V`, and every pattern of bits is a `V`.
pub(super) unsafe fn lookup<K, V>(
    fd: BorrowedFd<'_>,
    key: &K,
    per_key: usize,
) -> io::Result<Option<Vec<V>>> {
    let mut values = Vec::<V>::with_capacity(per_key);
    let mut attr = element(fd, key, values.as_mut_ptr().cast_const(), 0);
    // SAFETY: there is room for the key's values.
    let result = found(unsafe { bpf(Command::LookupElem, &mut attr) })?;
    Ok(result.map(|_| {
        // SAFETY: the kernel wrote all of them.
        unsafe { values.set_len(per_key) };
        values
    }))
}

/// As [`lookup`] of a single value, without the vector.
///
/// # Safety
/// As for [`lookup`], with one `V` per key.
pub(super) unsafe fn lookup_one<K, V>(fd: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    // SAFETY: as the caller promises.
    unsafe { read_one(Command::LookupElem, fd, key) }
}

/// Looks up and deletes in one step: of several that try, one gets the value.
/// Hash maps have it since Linux 5.14.
///
/// # Safety
/// As for [`lookup_one`].
pub(super) unsafe fn take<K, V>(fd: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    // SAFETY: as the caller promises.
    unsafe { read_one(Command::LookupAndDeleteElem, fd, key) }
}

/// # Safety
/// As for [`lookup_one`]; the command is one that reads a value.
unsafe fn read_one<K, V>(command: Command, fd: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = MaybeUninit::<V>::uninit();
    let mut attr = element(fd, key, value.as_mut_ptr().cast_const(), 0);
    // SAFETY: key and value are of the map's sizes.
    let result = found(unsafe { bpf(command, &mut attr) })?;
    // SAFETY: the kernel wrote the whole value, or there was none.
    Ok(result.map(|_| unsafe { value.assume_init() }))
}

/// What an update may overwrite. Numbers from linux/bpf.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Over {
    /// `BPF_ANY`: what is there, if anything.
    Anything = 0,
    /// `BPF_NOEXIST`: only where no entry is.
    Nothing = 1,
    /// `BPF_EXIST`: only an entry that is there.
    Existing = 2,
}

/// # Safety
/// The map's keys are of the size of `K`, and a value as the kernel reads it is
/// as long as `value`.
pub(super) unsafe fn update<K, V>(
    fd: BorrowedFd<'_>,
    key: &K,
    value: &[V],
    over: Over,
) -> io::Result<()> {
    let mut attr = element(fd, key, value.as_ptr(), over as u64);
    // SAFETY: key and value are of the map's sizes.
    unsafe { bpf(Command::UpdateElem, &mut attr) }.map(drop)
}

/// False if there was no such entry.
///
/// # Safety
/// The map's keys are of the size of `K`.
pub(super) unsafe fn delete<K>(fd: BorrowedFd<'_>, key: &K) -> io::Result<bool> {
    let mut attr = element(fd, key, std::ptr::null::<u8>(), 0);
    // SAFETY: the key is of the map's size.
    Ok(found(unsafe { bpf(Command::DeleteElem, &mut attr) })?.is_some())
}

/// The key that follows `after` (`None`: the first); `None` after the last one.
///
/// # Safety
/// The map's keys are of the size of `K`, and every pattern of bits is a `K`.
pub(super) unsafe fn next_key<K>(fd: BorrowedFd<'_>, after: Option<&K>) -> io::Result<Option<K>> {
    let mut next = MaybeUninit::<K>::uninit();
    let mut attr = ElementAttr {
        map_fd: raw(fd),
        pad: 0,
        key: after.map_or(0, |key| address(key)),
        value: address(next.as_mut_ptr()),
        flags: 0,
    };
    // SAFETY: both keys are of the map's size.
    let is_there = found(unsafe { bpf(Command::NextKey, &mut attr) })?.is_some();
    // SAFETY: where there is a next key the kernel has written it.
    Ok(is_there.then(|| unsafe { next.assume_init() }))
}

/// Reads entries from `from` on (`None`: the beginning) into the spare room of
/// `keys` and `values`, and returns where the next batch begins; `None` at the
/// end of the map. For a per-CPU map `values` has one element per CPU and
/// entry.
///
/// `ENOSPC` says that the room is too small for the next bucket.
///
/// # Safety
/// The map's keys are of the size of `K`. A value as the kernel writes it is
/// `per_key` of `V`, and both vectors have spare capacity for `room` entries.
/// Every pattern of bits is a `K` and a `V`.
pub(super) unsafe fn lookup_batch<K, V>(
    fd: BorrowedFd<'_>,
    from: Option<u32>,
    room: usize,
    per_key: usize,
    keys: &mut Vec<K>,
    values: &mut Vec<V>,
) -> io::Result<Option<u32>> {
    // Hash maps take a bucket's number here and arrays an index; both are four
    // bytes and both are the kernel's business.
    let start = from.unwrap_or_default();
    let mut next = 0_u32;
    let mut attr = BatchAttr {
        in_batch: from.map_or(0, |_| address(&raw const start)),
        out_batch: address(&raw mut next),
        keys: address(keys.spare_capacity_mut().as_mut_ptr()),
        values: address(values.spare_capacity_mut().as_mut_ptr()),
        count: u32::try_from(room).unwrap_or(u32::MAX),
        map_fd: raw(fd),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the caller answers for the room behind the four pointers.
    let end = match unsafe { bpf(Command::LookupBatch, &mut attr) } {
        Ok(_) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    let count = attr.count as usize;
    // SAFETY: the kernel wrote `count` entries, at most `room` of them.
    unsafe {
        keys.set_len(keys.len() + count);
        values.set_len(values.len() + count * per_key);
    }
    Ok((!end).then_some(next))
}

/// The values of an array, in this process's memory too: what the kernel program
/// writes is seen here, and the other way round. They are words, and all that they
/// are read and written by is atomic.
pub(super) struct Mapped {
    words: NonNull<AtomicU64>,
    count: usize,
}

impl Mapped {
    /// The first `count` words of an array that was made with `BPF_F_MMAPABLE`.
    pub(super) fn open(fd: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        // SAFETY: a new mapping, wherever the kernel has room for it.
        let place = unsafe {
            mmap(
                std::ptr::null_mut(),
                count * size_of::<AtomicU64>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )
        }?;
        let words = NonNull::new(place.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { words, count })
    }
}

impl Deref for Mapped {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: so many words are mapped, at the beginning of a page, until this
        // is dropped. The kernel keeps the map as long as the mapping.
        unsafe { slice::from_raw_parts(self.words.as_ptr(), self.count) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `open`, and nobody borrows it any more.
        let result = unsafe { munmap(self.words.as_ptr().cast(), size_of_val(&**self)) };
        debug_assert!(
            result.is_ok(),
            "what was mapped can be unmapped: {result:?}"
        );
    }
}

// SAFETY: the words are atomic, and the mapping is the whole process's.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

/// The interface that a pinned link of this type is on; `None` if that interface is
/// gone.
pub(super) fn pinned_link(path: &Path, wanted: LinkType) -> io::Result<Option<u32>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjectAttr {
        pathname: address(path.as_ptr()),
        bpf_fd: 0,
        file_flags: 0,
    };
    // SAFETY: the path ends with a zero and outlives the call.
    let fd = unsafe { bpf(Command::ObjectGet, &mut attr) }?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };

    let mut info = LinkInfo::default();
    let mut attr = InfoAttr {
        bpf_fd: raw(fd.as_fd()),
        info_len: size_of::<LinkInfo>() as u32,
        info: address(&raw mut info),
    };
    // SAFETY: the kernel writes at most `info_len` bytes of plain numbers.
    unsafe { bpf(Command::ObjectInfo, &mut attr) }?;
    if info.kind != wanted as u32 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the pinned object is not a link of the type {wanted:?}"),
        ));
    }
    Ok((info.ifindex != 0).then_some(info.ifindex))
}
