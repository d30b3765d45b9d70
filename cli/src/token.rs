//! `grist token`: makes, lists and ends tokens of the admin API, in the folder of a registry.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use gristmill::clock::SystemClock;
use gristmill::traits::Clock;
use gristmill::words::Time;
use gristmill_admin::{Scope, TokenError, TokenFile};
use serde_json::json;

use crate::admin::TOKENS;
use crate::failure::Failure;
use crate::output::{Output, count};

const EXAMPLE: &str = "\
A token is printed once, when it is made; only its hash is kept. A running server takes changes at once.

Examples:
  grist token create ci --registry plant.registry --scope deploy --days 90
  grist token list --registry plant.registry
  grist token revoke ci --registry plant.registry";

/// A day, in microseconds.
const DAY: i64 = 86_400_000_000;

/// What is done with tokens.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Makes a token and prints it
    Create {
        /// Who will use it; the audit log has this name
        name: String,
        /// What it allows: read, deploy or admin
        #[arg(long)]
        scope: Scope,
        /// After how many days it ends; never unless said
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        days: Option<u16>,
        /// The folder of the registry
        #[arg(long, value_name = "DIR")]
        registry: PathBuf,
    },
    /// Lists tokens by name, with what they allow
    List {
        /// The folder of the registry
        #[arg(long, value_name = "DIR")]
        registry: PathBuf,
    },
    /// Ends a token
    Revoke {
        /// Its name
        name: String,
        /// The folder of the registry
        #[arg(long, value_name = "DIR")]
        registry: PathBuf,
    },
}

/// Does it.
pub(crate) fn run(args: &TokenArgs, output: &mut Output) -> Result<(), Failure> {
    let failed = |error: TokenError| match error {
        TokenError::Name(_) => Failure::refused(error.to_string()),
        error => Failure::failed(error.to_string()),
    };
    match &args.what {
        What::Create { name, scope, days, registry } => {
            let now = SystemClock::default().wall();
            let ends = days.map(|days| Time(now.0 + i64::from(days) * DAY));
            let token = TokenFile::create(&registry.join(TOKENS), name, *scope, ends).map_err(failed)?;
            if output.is_json() {
                output.answer(&json!({ "name": name, "scope": scope, "expires": ends, "token": token }))?;
            } else {
                output.say(token);
            }
            // It is kept nowhere else.
            output.whole().map_err(|failure| {
                let revoke = format!("grist token revoke {name} --registry {}", registry.display());
                Failure::failed(format!("{}\nnobody has the token `{name}`: end it with `{revoke}`", failure.text))
            })?;
        }
        What::List { registry } => {
            let file = TokenFile::read(&registry.join(TOKENS)).map_err(failed)?;
            if output.is_json() {
                return output.answer(&file);
            }
            let now = SystemClock::default().wall();
            for (name, token) in &file.tokens {
                let ends = match token.expires {
                    None => "does not end".to_owned(),
                    Some(end) if end <= now => "has ended".to_owned(),
                    Some(end) => {
                        let days = (end.0 - now.0 + DAY - 1) / DAY;
                        format!("ends in {}", count(days.unsigned_abs(), "day"))
                    }
                };
                output.say(format!("{name}  {}  {ends}", token.scope));
            }
        }
        What::Revoke { name, registry } => {
            TokenFile::revoke(&registry.join(TOKENS), name).map_err(failed)?;
            output.note(format!("the token `{name}` is revoked"));
        }
    }
    Ok(())
}
