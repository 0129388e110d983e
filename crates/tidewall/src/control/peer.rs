//! Who is at the other end of the socket: the user whose process connected, as the kernel knows it.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::{Uid, User};

/// A user who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Number of the user, as it was when the connection was made.
    pub uid: u32,
    /// Name of the user, once it was looked up.
    pub name: Option<String>,
}

impl Peer {
    /// Who has connected.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = getsockopt(stream, PeerCredentials)?;
        Ok(Self { uid: credentials.uid(), name: None })
    }

    /// Looks the name up. That may ask other machines, so it is done for those only whose names
    /// will be written down.
    pub fn look_up(&mut self) {
        if self.name.is_none() {
            let user = User::from_uid(Uid::from_raw(self.uid)).ok().flatten();
            self.name = user.map(|user| user.name);
        }
    }
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
        let peer = |uid, name: Option<&str>| Peer { uid, name: name.map(str::to_owned) };
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
        assert_eq!(Peer::of(&ours).unwrap().uid, Uid::effective().as_raw());
    }
}
