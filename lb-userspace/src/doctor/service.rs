//! What the user that the service runs as will meet, found out by root: who the unit
//! says that it is, and whether it may use what the configuration names.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::{Group, User};

use crate::config::Settings;

/// The service, as systemd would start it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceFacts {
    pub user: String,
    /// Lower-case, as in `cap_bpf`.
    pub capabilities: Vec<String>,
    /// Folders of the host that it is given by their own names.
    pub given: Vec<PathBuf>,
    pub places: Vec<Place>,
}

/// Something that the service must be able to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub path: PathBuf,
    pub what: &'static str,
    pub obstacle: Option<Obstacle>,
}

/// Why it cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// It is not there.
    Missing,
    /// This folder on the way is not for the service's user to enter.
    Folder { folder: PathBuf, mode: u32 },
    /// It is not for the service's user.
    Mode { mode: u32 },
    /// The unit gives it an empty place instead (`ProtectHome=`, `PrivateTmp=`).
    Hidden,
}

/// What is to be done with a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Read = 4,
    Write = 2,
    Enter = 1,
}

/// Whom permissions are about.
struct Who {
    uid: u32,
    groups: Vec<u32>,
}

/// The owner, group and mode of a file.
struct Rights {
    uid: u32,
    gid: u32,
    mode: u32,
}

impl Who {
    fn may(&self, rights: &Rights, what: Use) -> bool {
        let shift = if self.uid == rights.uid {
            6
        } else if self.groups.contains(&rights.gid) {
            3
        } else {
            0
        };
        rights.mode >> shift & what as u32 != 0
    }

    /// What is in the way of this use, if anything is.
    fn obstacle(&self, path: &Path, what: Use) -> Option<Obstacle> {
        let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
        folders.reverse();
        for folder in folders {
            let rights = rights(folder)?;
            if !self.may(&rights, Use::Enter) {
                return Some(Obstacle::Folder {
                    folder: folder.to_owned(),
                    mode: rights.mode,
                });
            }
        }
        match rights(path) {
            None => Some(Obstacle::Missing),
            Some(rights) if !self.may(&rights, what) => Some(Obstacle::Mode { mode: rights.mode }),
            Some(_) => None,
        }
    }
}

fn rights(path: &Path) -> Option<Rights> {
    let meta = fs::metadata(path).ok()?;
    Some(Rights {
        uid: meta.uid(),
        gid: meta.gid(),
        mode: meta.mode() & 0o7777,
    })
}

impl ServiceFacts {
    /// The service as it is installed, if one is and root asks: nobody else can see what
    /// another user may do.
    pub(super) fn gather(
        config: &Path,
        settings: Option<&Settings>,
        state_dir: &Path,
        bpffs_dir: &Path,
    ) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            return None;
        }
        let unit = Unit::read()?;
        let user = User::from_name(&unit.user).ok()??;
        let group = Group::from_name(&unit.group).ok().flatten();
        let who = Who {
            uid: user.uid.as_raw(),
            groups: [user.gid.as_raw()]
                .into_iter()
                .chain(group.map(|group| group.gid.as_raw()))
                .collect(),
        };
        let mut wanted = vec![(config.to_owned(), "configuration", Use::Read)];
        let entrances = settings.into_iter().flat_map(|settings| {
            let elb = settings.elb_api.as_ref().map(|api| &api.entrance);
            elb.into_iter().chain(&settings.console)
        });
        let keys = entrances.filter_map(|entrance| entrance.access_keys_file.clone());
        wanted.extend(keys.map(|path| (path, "access keys", Use::Read)));
        if state_dir.exists() {
            wanted.push((state_dir.to_owned(), "state folder", Use::Write));
        }
        // What the unit gives it, it need not find its way to.
        if !unit.given.iter().any(|given| bpffs_dir.starts_with(given)) {
            wanted.push((bpffs_dir.to_owned(), "bpffs", Use::Write));
        }
        let places = wanted.into_iter().map(|(path, what, how)| {
            let obstacle = if unit.hides(&path) {
                Some(Obstacle::Hidden)
            } else {
                who.obstacle(&path, how)
            };
            Place {
                path,
                what,
                obstacle,
            }
        });
        let places = places.collect();
        Some(Self {
            places,
            user: unit.user,
            capabilities: unit.capabilities,
            given: unit.given,
        })
    }
}

/// What systemd says of the unit, drop-ins included.
struct Unit {
    user: String,
    group: String,
    capabilities: Vec<String>,
    given: Vec<PathBuf>,
    hides_home: bool,
    hides_tmp: bool,
}

impl Unit {
    fn read() -> Option<Self> {
        let mut show = Command::new("systemctl");
        show.args(["show", "ebb.service"]);
        show.args(["--property", "User,Group,AmbientCapabilities,BindPaths"]);
        show.args(["--property", "ProtectHome,PrivateTmp,LoadState"]);
        let shown = show.output().ok()?;
        let text = String::from_utf8(shown.stdout).ok()?;
        Self::parse(&text)
    }

    /// Lines of `Name=value`; nothing of a unit that is not there.
    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut lines = text.lines();
            let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default()
        };
        if value("LoadState") != "loaded" || value("User").is_empty() {
            return None;
        }
        let words = |name: &str| value(name).split_whitespace().map(str::to_owned).collect();
        let binds: Vec<String> = words("BindPaths");
        Some(Self {
            user: value("User").to_owned(),
            group: value("Group").to_owned(),
            capabilities: words("AmbientCapabilities"),
            // SOURCE:DESTINATION:OPTIONS; what is bound elsewhere has another name there.
            given: binds
                .iter()
                .filter_map(|bind| {
                    let mut parts = bind.split(':');
                    let (source, place) = (parts.next()?, parts.next());
                    place
                        .is_none_or(|place| place == source)
                        .then(|| source.into())
                })
                .collect(),
            hides_home: !matches!(value("ProtectHome"), "" | "no" | "read-only"),
            hides_tmp: value("PrivateTmp") == "yes",
        })
    }

    fn hides(&self, path: &Path) -> bool {
        let below = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
        (self.hides_home && below(&["/home", "/root", "/run/user"]))
            || (self.hides_tmp && below(&["/tmp", "/var/tmp"]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_is_said_by_the_nearest_of_owner_group_and_others() {
        let ebb = Who {
            uid: 7,
            groups: vec![8],
        };
        let may = |uid, gid, mode, what| ebb.may(&Rights { uid, gid, mode }, what);
        assert!(may(7, 0, 0o400, Use::Read));
        assert!(
            !may(7, 8, 0o040, Use::Read),
            "its owner has the owner's rights"
        );
        assert!(may(0, 8, 0o640, Use::Read));
        assert!(!may(0, 0, 0o640, Use::Read));
        assert!(!may(0, 0, 0o1700, Use::Enter));
        assert!(may(0, 0, 0o711, Use::Enter));
        assert!(!may(0, 0, 0o755, Use::Write));
    }

    #[test]
    fn what_the_unit_says_is_understood() {
        let unit = Unit::parse(
            "User=ebb\nGroup=ebb\nAmbientCapabilities=cap_net_admin cap_bpf\nLoadState=loaded\n\
             BindPaths=/sys/fs/bpf/ebb:/sys/fs/bpf/ebb:rbind /srv:/mnt:rbind\nProtectHome=yes\n\
             PrivateTmp=yes\n",
        )
        .expect("a unit");
        assert_eq!(unit.given, [PathBuf::from("/sys/fs/bpf/ebb")]);
        assert_eq!(unit.capabilities, ["cap_net_admin", "cap_bpf"]);
        assert!(unit.hides(Path::new("/root/keys")));
        assert!(!unit.hides(Path::new("/etc/ebb/keys")));
        assert!(Unit::parse("LoadState=not-found\nUser=\n").is_none());
    }
}
