//! The subcommands: each has its arguments beside its code and returns an exit status.

use std::io;

pub mod ask;
pub mod bgp;
pub mod check;
pub mod config;
pub mod decode;
pub mod demo;
pub mod exabgp_helper;
pub mod frame_args;
pub mod generate;
pub mod history;
pub mod import;
pub mod manual;
pub mod mitigate;
pub mod replay;
pub mod run;

/// A reader that has seen enough (`| head`) is no error.
fn quiet_when_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
