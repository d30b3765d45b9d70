//! Commands that speak to a running system over its admin API.

mod change;
mod client;
mod dead_letters;
mod form;
mod look;
mod servers;
mod top;

use clap::Subcommand;

use crate::failure::Failure;
use crate::output::Output;

/// What can be asked of a running system.
#[derive(Debug, Subcommand)]
pub(crate) enum RemoteCommand {
    /// Lists the nodes of a running system
    Ls(look::LsArgs),
    /// Shows one node
    Show(look::ShowArgs),
    /// Says why a node did or did not write for a key
    Explain(look::ExplainArgs),
    /// Shows the last values of a key
    Keys(look::KeysArgs),
    /// Lists what was deployed, or shows one revision
    Revisions(look::RevisionsArgs),
    /// Lists what could not be used, and takes it once more after a fix
    DeadLetters(dead_letters::DeadLettersArgs),
    /// Shows nodes at work, again and again
    Top(top::TopArgs),
    /// Says what a deployment would change
    Preview(change::DeployArgs),
    /// Deploys manifests with their artifacts as one change set
    Deploy(change::DeployArgs),
    /// Removes nodes in one step
    Remove(change::RemoveArgs),
    /// Goes back to an earlier revision
    Rollback(change::RollbackArgs),
    /// Makes a node compute nothing, and keeps its state
    Pause(change::NodeArgs),
    /// Lets a node compute again, and ends its quarantines
    Resume(change::NodeArgs),
    /// Lets the state of a node begin anew
    Reset(change::NodeArgs),
    /// Keeps names of servers, so that they need not be typed
    Server(servers::ServerArgs),
}

/// Does it.
pub(crate) fn run(command: &RemoteCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        RemoteCommand::Ls(args) => look::ls(args, output),
        RemoteCommand::Show(args) => look::show(args, output),
        RemoteCommand::Explain(args) => look::explain(args, output),
        RemoteCommand::Keys(args) => look::keys(args, output),
        RemoteCommand::Revisions(args) => look::revisions(args, output),
        RemoteCommand::DeadLetters(args) => dead_letters::run(args, output),
        RemoteCommand::Top(args) => top::run(args, output),
        RemoteCommand::Preview(args) => change::preview(args, output),
        RemoteCommand::Deploy(args) => change::deploy(args, output),
        RemoteCommand::Remove(args) => change::remove(args, output),
        RemoteCommand::Rollback(args) => change::rollback(args, output),
        RemoteCommand::Pause(args) => change::of_node(args, "pause", output),
        RemoteCommand::Resume(args) => change::of_node(args, "resume", output),
        RemoteCommand::Reset(args) => change::of_node(args, "reset", output),
        RemoteCommand::Server(args) => servers::run(args, output),
    }
}
