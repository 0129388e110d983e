//! `tidewall bgp`: peers, and the routes that they should have.

use std::process::ExitCode;

use super::ask::{AskArgs, request};
use crate::control::{Question, parse_peer};
use crate::report::answers::bgp;

/// What to tell.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum BgpCommand {
    /// Lists the peers: state, routes that they have, routes that wait and why.
    Peers(AskArgs),
    /// Lists the prefixes that should be announced, with what became of each.
    Routes(RoutesArgs),
    /// Lists the filters (FlowSpec) that should be announced, with what became of each.
    Flowspec(RoutesArgs),
}

/// Options of `tidewall bgp routes` and `tidewall bgp flowspec`.
#[derive(Clone, Debug, clap::Args)]
pub struct RoutesArgs {
    /// Only at the peer of this name.
    #[arg(long, value_name = "NAME", value_parser = parse_peer)]
    pub peer: Option<String>,
    /// Where to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Runs the command.
pub fn run(command: &BgpCommand) -> anyhow::Result<ExitCode> {
    match command {
        BgpCommand::Peers(args) => request(args, &Question::BgpPeers, bgp::peers),
        BgpCommand::Routes(args) => routes(args, false),
        BgpCommand::Flowspec(args) => routes(args, true),
    }
}

fn routes(args: &RoutesArgs, flowspec: bool) -> anyhow::Result<ExitCode> {
    let question = Question::BgpRoutes { peer: args.peer.clone(), flowspec };
    request(&args.ask, &question, bgp::routes)
}
