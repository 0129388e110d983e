//! Who is at the other end of the socket: the user whose process connected, as the kernel knows it.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::{Gid, Uid, User, getgrouplist};

/// A user who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Number of the user, as it was when the connection was made.
    pub uid: u32,
    /// Number of its group at that time.
    pub gid: u32,
    /// Name of the user, once it was looked up.
    pub name: Option<String>,
}

impl Peer {
    /// Who has connected.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = getsockopt(stream, PeerCredentials)?;
        Ok(Self { uid: credentials.uid(), gid: credentials.gid(), name: None })
    }

    /// Looks the name up. That may ask other machines, so it is done for those only whose names
    /// will be written down.
    pub fn look_up(&mut self) {
        if self.name.is_none() {
            let user = User::from_uid(Uid::from_raw(self.uid)).ok().flatten();
            self.name = user.map(|user| user.name);
        }
    }

    /// Is the user in one of these groups: by the one it connected with, its main group, or the
    /// machine's list of members? That may ask other machines, too.
    pub fn is_in(&self, groups: &[u32]) -> bool {
        if groups.is_empty() || groups.contains(&self.gid) {
            return !groups.is_empty();
        }
        let user = User::from_uid(Uid::from_raw(self.uid)).ok().flatten();
        user.is_some_and(|user| memberships(&user).any(|gid| groups.contains(&gid.as_raw())))
    }
}

fn memberships(user: &User) -> impl Iterator<Item = Gid> {
    let name = CString::new(user.name.as_str()).ok();
    let listed = name.and_then(|name| getgrouplist(&name, user.gid).ok());
    listed.unwrap_or_default().into_iter().chain([user.gid])
}

impl fmt::Display for Peer {
    /// `root`, `alice (uid 1000)`, `uid 1000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            _ if self.uid == 0 => f.write_str("root"),
            Some(name) => write!(f, "{name} (uid {})", self.uid),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_with_their_numbers() {
        let peer = |uid, name: Option<&str>| Peer { uid, gid: 7, name: name.map(str::to_owned) };
        assert_eq!(peer(0, Some("toor")).to_string(), "root");
        assert_eq!(peer(0, None).to_string(), "root");
        assert_eq!(peer(1000, Some("alice")).to_string(), "alice (uid 1000)");
        assert_eq!(peer(1000, Some("root")).to_string(), "root (uid 1000)");
        assert_eq!(peer(1000, None).to_string(), "uid 1000");
        let mut nobody = peer(u32::MAX - 7, None);
        nobody.look_up();
        assert_eq!(nobody.to_string(), "uid 4294967288");
    }

    #[test]
    fn the_kernel_says_who_connected() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer::of(&ours).unwrap();
        assert_eq!(peer.uid, Uid::effective().as_raw());
        assert_eq!(peer.gid, Gid::effective().as_raw());
    }

    #[test]
    fn a_user_is_in_the_groups_that_list_it() {
        let root = Peer { uid: 0, gid: 61_000, name: None };
        assert!(root.is_in(&[7, 61_000]), "the group it connected with");
        assert!(root.is_in(&[0]), "its main group");
        assert!(!root.is_in(&[]) && !root.is_in(&[61_001]));
        assert!(!Peer { uid: u32::MAX - 7, ..root }.is_in(&[0]), "nobody knows it");
        // A member of a group that is not its main one, if this machine has any.
        let file = std::fs::read_to_string("/etc/group").unwrap_or_default();
        for line in file.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, gid, members] = fields.as_slice() else { continue };
            let gid: u32 = gid.parse().unwrap();
            for member in members.split(',').filter(|name| !name.is_empty()) {
                let Ok(Some(user)) = User::from_name(member) else { continue };
                let peer = Peer { uid: user.uid.as_raw(), gid: 61_000, name: None };
                assert!(peer.is_in(&[gid]), "{member} is in {gid}");
            }
        }
    }
}
