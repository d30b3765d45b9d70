//! Names of servers with their tokens, in a file that only its owner can read.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::failure::Failure;
use crate::output::{Output, table};

/// The server that is asked unless one is named.
pub(super) const DEFAULT: &str = "http://127.0.0.1:8080";

const EXAMPLE: &str = "\
The file is $GRIST_CONFIG, or grist/servers.json in $XDG_CONFIG_HOME or ~/.config. Only its owner may read it.

Examples:
  grist server add plant http://127.0.0.1:8080 --token-file token.txt
  grist token create me --registry plant.registry --scope deploy | grist server add plant http://127.0.0.1:8080 --token-file -
  grist server use plant
  grist server ls";

/// What is done with the names.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct ServerArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Keeps a server under a name
    Add {
        /// The name
        name: String,
        /// http://HOST:PORT
        url: String,
        /// A file with its token; `-` reads it from standard input
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
    /// Lists the names
    Ls,
    /// Asks this server unless another is named
    Use {
        /// Its name
        name: String,
    },
    /// Forgets a server
    Remove {
        /// Its name
        name: String,
    },
}

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Servers {
    pub(super) used: Option<String>,
    pub(super) servers: BTreeMap<String, Server>,
}

/// One server.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Server {
    pub(super) url: String,
    pub(super) token: Option<String>,
}

/// A URL that can be asked.
pub(super) fn checked_url(url: &str) -> Result<String, Failure> {
    let host = url.strip_prefix("http://").map(|host| host.trim_end_matches('/'));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '@', ' ']) => Ok(format!("http://{host}")),
        _ if url.starts_with("https://") => Err(Failure::usage(format!(
            "`{url}`: there is no TLS in grist; reach the server through a tunnel, as `ssh -L 8080:127.0.0.1:8080 HOST`"
        ))),
        _ => Err(Failure::usage(format!(
            "`{url}` is neither http://HOST:PORT nor a name; `grist server ls` lists the names"
        ))),
    }
}

fn path() -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let default = || set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    let path = set("GRIST_CONFIG").or_else(|| Some(default()?.join("grist/servers.json")));
    path.ok_or_else(|| Failure::failed("there is no home folder; say in $GRIST_CONFIG where the names of servers are"))
}

/// The names that are kept; none where there is no file.
pub(super) fn read() -> Result<Servers, Failure> {
    let Ok(path) = path() else { return Ok(Servers::default()) };
    let shown = path.display();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Servers::default()),
        Err(error) => return Err(Failure::refused(format!("{shown}: {error}"))),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).map_or(0, |file| file.permissions().mode());
        if mode & 0o077 != 0 {
            return Err(Failure::refused(format!("{shown} has tokens, and others can read it; `chmod 600 {shown}`")));
        }
    }
    serde_json::from_str(&text).map_err(|error| Failure::refused(format!("{shown} is no file of servers: {error}")))
}

fn write(servers: &Servers) -> Result<(), Failure> {
    let path = path()?;
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let text = serde_json::to_string_pretty(servers).map_err(|error| Failure::failed(error.to_string()))?;
    let aside = path.with_extension("aside");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&aside).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&aside, &path).map_err(failed)
}

/// Does it.
pub(crate) fn run(args: &ServerArgs, output: &mut Output) -> Result<(), Failure> {
    let mut known = read()?;
    let unknown = |name: &str| Failure::refused(format!("there is no server `{name}`; `grist server ls` lists them"));
    match &args.what {
        What::Add { name, url, token_file } => {
            let token = token_file.as_deref().map(read_token).transpose()?;
            let server = Server { url: checked_url(url)?, token };
            known.servers.insert(name.clone(), server);
            known.used.get_or_insert_with(|| name.clone());
            write(&known)?;
            output.note(format!("`{name}` is {url}"));
        }
        What::Ls => {
            if output.is_json() {
                let shown = |server: &Server| json!({ "url": server.url, "has_token": server.token.is_some() });
                let servers: BTreeMap<&String, _> = known.servers.iter().map(|(name, is)| (name, shown(is))).collect();
                return output.answer(&json!({ "used": known.used, "servers": servers }));
            }
            let rows = known.servers.iter().map(|(name, server)| {
                let used = if known.used.as_ref() == Some(name) { "in use" } else { "" };
                let token = if server.token.is_some() { "has a token" } else { "no token" };
                vec![name.clone(), server.url.clone(), token.to_owned(), used.to_owned()]
            });
            output.say(table(&["name", "url", "token", ""], &[1, 2, 3], rows));
        }
        What::Use { name } => {
            known.servers.get(name).ok_or_else(|| unknown(name))?;
            known.used = Some(name.clone());
            write(&known)?;
        }
        What::Remove { name } => {
            known.servers.remove(name).ok_or_else(|| unknown(name))?;
            known.used = known.used.filter(|used| used != name);
            write(&known)?;
        }
    }
    Ok(())
}

fn read_token(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|read| text = read)
    };
    read.map_err(|error| Failure::refused(format!("the token in {}: {error}", file.display())))?;
    Ok(text.trim().to_owned())
}
