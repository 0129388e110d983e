//! The command line as data: parsing, help, man pages and completions come from this one list.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands;
use crate::commands::ask::{AskArgs, AttacksArgs, EventsArgs, HostsArgs, WatchArgs};
use crate::control::Question;
use crate::report::answers;

/// Finds DDoS attacks in network traffic and says why.
#[derive(Debug, Parser)]
#[command(name = "tidewall", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(commands::run::RunArgs),
    /// Tells how a running service stands: sources, workers, windows, memory.
    Status(WatchArgs),
    /// Lists the exporters that a running service hears, with what is wrong with them.
    Exporters(WatchArgs),
    /// Lists the hosts with the most traffic.
    Hosts(HostsArgs),
    /// Lists our networks with their traffic.
    Networks(WatchArgs),
    /// Lists attacks that go on.
    Attacks(AttacksArgs),
    /// Prints events as they happen.
    Events(EventsArgs),
    /// Lets a running service read its configuration again.
    Reload(AskArgs),
    Ban(commands::mitigate::BanArgs),
    Unban(commands::mitigate::UnbanArgs),
    Approve(commands::mitigate::ApproveArgs),
    /// Lists what is done about attacks: bans, routes, filters, and what waits for approval.
    Bans(AskArgs),
    Panic(commands::mitigate::PanicArgs),
    Resume(commands::mitigate::ResumeArgs),
    History(commands::history::HistoryArgs),
    /// Lists actions and announcers with their queues and their last errors.
    Actions(AskArgs),
    /// Tells about BGP: peers, routes, filters.
    #[command(subcommand)]
    Bgp(commands::bgp::BgpCommand),
    Demo(commands::demo::DemoArgs),
    /// Runs captures through the engine and reports attacks, totals and top hosts.
    Replay(commands::replay::ReplayArgs),
    Generate(commands::generate::GenerateArgs),
    /// Prints one line for each packet of a capture.
    Decode(commands::decode::DecodeArgs),
    /// Prints the TOML configuration that a FastNetMon configuration stands for.
    Import(commands::import::ImportArgs),
    /// Checks a configuration file and prints the plan that it stands for.
    Check(commands::check::CheckArgs),
    /// Prints configuration.
    Config(commands::config::ConfigArgs),
    ExabgpHelper(commands::exabgp_helper::ExabgpHelperArgs),
    /// Prints completions for a shell.
    Completions(commands::manual::CompletionsArgs),
    /// Writes the man pages.
    Man(commands::manual::ManArgs),
}

impl Cli {
    /// Runs the subcommand; an error is for people, and means status 2.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        use commands::ask::{ask, events, watch};
        match &self.command {
            Command::Run(args) => commands::run::run(args),
            Command::Status(args) => watch(args, &Question::Status, answers::status),
            Command::Exporters(args) => watch(args, &Question::Exporters, answers::exporters),
            Command::Hosts(args) => {
                watch(&args.watch, &Question::Hosts { top: args.top }, answers::hosts)
            }
            Command::Networks(args) => watch(args, &Question::Networks, answers::networks),
            Command::Attacks(args) => {
                watch(&args.watch, &Question::Attacks { all: args.all }, answers::attacks)
            }
            Command::Events(args) => events(args),
            Command::Reload(args) => ask(args, &Question::Reload, answers::reloaded),
            Command::Ban(args) => commands::mitigate::ban(args),
            Command::Unban(args) => commands::mitigate::unban(args),
            Command::Approve(args) => commands::mitigate::approve(args),
            Command::Bans(args) => commands::mitigate::bans(args),
            Command::Panic(args) => commands::mitigate::panic(args),
            Command::Resume(args) => commands::mitigate::resume(args),
            Command::History(args) => commands::history::run(args),
            Command::Actions(args) => commands::mitigate::actions(args),
            Command::Bgp(command) => commands::bgp::run(command),
            Command::Demo(args) => commands::demo::run(args),
            Command::Replay(args) => commands::replay::run(args),
            Command::Generate(args) => commands::generate::run(args),
            Command::Decode(args) => commands::decode::run(args),
            Command::Import(args) => commands::import::run(args),
            Command::Check(args) => commands::check::run(args),
            Command::Config(args) => commands::config::run(args),
            Command::ExabgpHelper(args) => commands::exabgp_helper::run(args),
            Command::Completions(args) => commands::manual::completions(args),
            Command::Man(args) => commands::manual::man(args),
        }
    }
}
