//! What the engine has to say, on standard error, and its spans to a collector.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::args::Command;
use crate::failure::Failure;

#[cfg(feature = "otel")]
pub(crate) type Sending = Option<crate::otel::Sending>;
#[cfg(not(feature = "otel"))]
pub(crate) type Sending = ();

/// Warnings unless `filter` or the environment's `RUST_LOG` says otherwise. Spans are sent until the answer is dropped.
pub(crate) fn start(filter: Option<&str>, command: &Command) -> Result<Sending, Failure> {
    let from_environment = std::env::var("RUST_LOG").ok();
    let filter = match (filter, &from_environment) {
        (Some(filter), _) => given("--log", filter)?,
        (None, Some(filter)) => self::filter("RUST_LOG", filter)?,
        (None, None) => self::filter("--log", "warn")?,
    };
    // https://no-color.org: any value but an empty one.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let said = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_filter(filter);
    let registry = tracing_subscriber::registry().with(said);
    #[cfg(feature = "otel")]
    {
        let Command::Run(run) = command else {
            registry.init();
            return Ok(None);
        };
        let Some((endpoint, spans)) = run.spans() else {
            registry.init();
            return Ok(None);
        };
        let spans = given("--otel-spans", spans)?;
        let (layer, sending) = crate::otel::start(endpoint)?;
        registry.with(layer.with_filter(spans)).init();
        Ok(Some(sending))
    }
    #[cfg(not(feature = "otel"))]
    {
        let _ = command;
        registry.init();
        Ok(())
    }
}

/// The filter of an option. A word alone would be a target of which everything is logged, and nothing of all others: it is
/// a level that was mistyped.
fn given(option: &str, text: &str) -> Result<EnvFilter, Failure> {
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let strange = text.split(',').map(str::trim).find(|word| !word.contains(['=', '[', '"']) && !is_level(word));
    match strange {
        Some(word) => Err(Failure::usage(format!(
            "{option}: `{word}` is no level; the levels are error, warn, info, debug, trace and off, also of a target: \
             `gristmill=debug`"
        ))),
        None => filter(option, text),
    }
}

fn filter(option: &str, filter: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(filter).map_err(|error| {
        Failure::usage(format!(
            "{option}: `{filter}` is no filter: {error}; write a level such as `info`, or `gristmill=debug`"
        ))
    })
}
