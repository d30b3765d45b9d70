//! Bearer tokens: 256 bits from the system, kept as hashes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use gristmill::registry::digest_of;
use gristmill::registry::disk::{SystemDisk, put};
use gristmill::traits::Digest;
use gristmill::words::{Time, check_name};
use serde::{Deserialize, Serialize};

/// What a token allows; each scope allows what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// What needs no token.
    Open,
    /// To look.
    Read,
    /// To deploy, remove and go back.
    Deploy,
    /// Everything else, such as the audit log.
    Admin,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "read" => Ok(Self::Read),
            "deploy" => Ok(Self::Deploy),
            "admin" => Ok(Self::Admin),
            other => Err(format!("there is no scope `{}`; there are read, deploy and admin", other.escape_debug())),
        }
    }
}

/// What is kept of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its hash.
    pub sha256: Digest,
    /// What it allows.
    pub scope: Scope,
    /// When it ends, in microseconds since 1970.
    pub expires: Option<Time>,
}

/// A file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It cannot be read or written.
    #[error("the file of tokens `{}` cannot be {what}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
    /// It holds something else.
    #[error("the file of tokens `{}` is damaged: {reason}; make new tokens in a new file", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// The name is taken, or is none.
    #[error("{0}")]
    Name(String),
    /// The system gives no random bits.
    #[error("the system gives no random bits: {0}")]
    Random(String),
}

/// Tokens by name, as the file has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFile {
    /// By name.
    pub tokens: BTreeMap<String, TokenInfo>,
}

impl TokenFile {
    /// Reads a file; one that is not there has no tokens.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| TokenError::Damaged { path: path.to_owned(), reason: error.to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(TokenError::File { path: path.to_owned(), what: "read", error }),
        }
    }

    /// Makes a token and writes the file; the token itself is kept nowhere.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn create(path: &Path, name: &str, scope: Scope, expires: Option<Time>) -> Result<String, TokenError> {
        check_name("token", name).map_err(|error| TokenError::Name(error.to_string()))?;
        let mut file = Self::read(path)?;
        if file.tokens.contains_key(name) {
            return Err(TokenError::Name(format!("there is a token `{name}` already; revoke it first")));
        }
        let mut secret = [0_u8; 32];
        getrandom::fill(&mut secret).map_err(|error| TokenError::Random(error.to_string()))?;
        let token = format!("grist_{}", Digest(secret));
        file.tokens.insert(name.to_owned(), TokenInfo { sha256: digest_of(token.as_bytes()), scope, expires });
        file.write(path)?;
        Ok(token)
    }

    /// Ends a token.
    ///
    /// # Errors
    /// [`TokenError`], and when there is none of that name.
    pub fn revoke(path: &Path, name: &str) -> Result<(), TokenError> {
        let mut file = Self::read(path)?;
        if file.tokens.remove(name).is_none() {
            return Err(TokenError::Name(format!("there is no token `{}`", name.escape_debug())));
        }
        file.write(path)
    }

    fn write(&self, path: &Path) -> Result<(), TokenError> {
        let failed = |error| TokenError::File { path: path.to_owned(), what: "written", error };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let aside = path.with_extension("aside");
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(io::Error::other(error)))?;
        // Made before it has content: nobody else can ever read it.
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&aside).map_err(failed)?;
        put(&SystemDisk, &aside, path, &text).map_err(failed)
    }
}

/// Who a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Valid { name: String, scope: Scope },
    Expired,
    Unknown,
}

/// The tokens of a file, read again when the file was changed.
pub(crate) struct Tokens {
    path: PathBuf,
    read: Mutex<(Option<(SystemTime, u64)>, TokenFile)>,
}

impl Tokens {
    pub(crate) fn open(path: PathBuf) -> Result<Self, TokenError> {
        let read = Mutex::new((stamp(&path), TokenFile::read(&path)?));
        Ok(Self { path, read })
    }

    /// Who comes with this token. Every hash is compared wholly, so that the time says nothing about them.
    pub(crate) fn look(&self, token: &str, now: Time) -> Result<Known, TokenError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.path);
        if stamp != read.0 {
            *read = (stamp, TokenFile::read(&self.path)?);
        }
        let hash = digest_of(token.as_bytes());
        let mut found = None;
        for (name, info) in &read.1.tokens {
            let difference = info.sha256.0.iter().zip(&hash.0).fold(0, |sum, (a, b)| sum | (a ^ b));
            if std::hint::black_box(difference) == 0 {
                found = Some((name, info));
            }
        }
        Ok(match found {
            None => Known::Unknown,
            Some((_, info)) if info.expires.is_some_and(|end| end <= now) => Known::Expired,
            Some((name, info)) => Known::Valid { name: name.clone(), scope: info.scope },
        })
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
