//! A request that was let in: who asks, for what, with what.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::web::Bytes;
use gristmill::Handle;
use gristmill::deployer::{ChangeSet, Deployer, Terms};
use gristmill::words::{Class, Revision, check_name};
use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::serve::Site;

/// What a route answers.
pub(crate) enum Answer {
    Json(serde_json::Value),
    Bytes(Vec<u8>),
    Text(String),
    /// A file of a page for people.
    Page {
        kind: String,
        bytes: Vec<u8>,
    },
    /// It is elsewhere, seen from here.
    Moved(&'static str),
    /// Tensors: the JSON of the answer, and bytes behind it if any were asked for.
    Tensors {
        json: Vec<u8>,
        binary: Option<Vec<u8>>,
    },
}

impl Answer {
    pub(crate) fn json(value: &impl Serialize) -> Result<Self, Problem> {
        let value = serde_json::to_value(value);
        value.map(Self::Json).map_err(|error| Problem::new("registry", format!("the answer is no JSON: {error}")))
    }
}

/// How a route answers.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Answer, Problem>>>>;

/// A request that was let in.
pub(crate) struct Call {
    pub(crate) site: Arc<Site>,
    /// The name of the token.
    pub(crate) who: String,
    /// The parts of the path that the route leaves open, in order.
    pub(crate) path: Vec<String>,
    /// What stands after the question mark; only what the route knows.
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) content_type: String,
    pub(crate) if_match: Option<String>,
    pub(crate) idempotency: Option<String>,
    /// How long the JSON at the beginning of a body with tensors is.
    pub(crate) header_length: Option<String>,
    pub(crate) body: Bytes,
}

/// The longest selector in the name of a node, in bytes.
pub(crate) const SELECTOR_BYTES_MAX: usize = 400;

/// Whether a text can be the name of a node, which may have a selector behind an `@`.
pub(crate) fn check_node(text: &str) -> Result<(), String> {
    let (name, selector) = text.split_once('@').unwrap_or((text, ""));
    check_name("node", name).map_err(|error| error.to_string())?;
    let strange = selector.len() > SELECTOR_BYTES_MAX || selector.chars().any(char::is_control);
    if strange { Err("the selector of the node is no selector".to_owned()) } else { Ok(()) }
}

impl Call {
    pub(crate) fn deployer(&self) -> &Deployer {
        &self.site.deployer
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.site.deployer.handle()
    }

    /// A part of the path that is a name.
    pub(crate) fn name(&self, index: usize, kind: &'static str) -> Result<&str, Problem> {
        let text = self.path.get(index).map_or("", String::as_str);
        let checked =
            if kind == "node" { check_node(text) } else { check_name(kind, text).map_err(|error| error.to_string()) };
        checked.map(|()| text).map_err(|reason| Problem::new("bad-path", reason))
    }

    /// A part of the path that is a key of any characters but control characters.
    pub(crate) fn key(text: &str) -> Result<&str, Problem> {
        Self::key_or(text, "bad-path")
    }

    /// A key, from where it is this problem if it is none.
    fn key_or<'t>(text: &'t str, code: &str) -> Result<&'t str, Problem> {
        let limit = gristmill::words::NAME_BYTES_MAX;
        if text.is_empty() || text.len() > limit || text.chars().any(char::is_control) {
            let reason = format!("a key has 1 to {limit} bytes and no control characters");
            return Err(Problem::new(code, reason));
        }
        Ok(text)
    }

    /// The key that the query names.
    pub(crate) fn key_asked(&self) -> Result<&str, Problem> {
        let Some(key) = self.query.get("key") else {
            return Err(Problem::new("bad-query", "it is not said for which key; add ?key=KEY"));
        };
        Self::key_or(key, "bad-query")
    }

    /// A part of the path that is a revision.
    pub(crate) fn revision(&self, index: usize) -> Result<Revision, Problem> {
        revision(self.path.get(index).map_or("", String::as_str), "bad-path")
    }

    /// The topology that the query names.
    pub(crate) fn topology(&self) -> Result<Option<Class>, Problem> {
        let Some(name) = self.query.get("topology") else { return Ok(None) };
        check_name("topology", name).map_err(|error| Problem::new("bad-query", error.to_string()))?;
        Ok(Some(Class::from(name.as_str())))
    }

    /// The body as a JSON object.
    pub(crate) fn object<'c, T: Deserialize<'c>>(&'c self) -> Result<T, Problem> {
        object(&self.body)
    }

    /// Deploys a change set on the topology that the query names, on the conditions of the request.
    pub(crate) async fn deploy(&self, mut change: ChangeSet) -> Result<Answer, Problem> {
        if let Some(topology) = self.topology()? {
            change = change.of(topology);
        }
        Answer::json(&self.deployer().deploy(change, &self.terms()?).await?)
    }

    /// Who deploys, and on what condition.
    pub(crate) fn terms(&self) -> Result<Terms, Problem> {
        let base = match &self.if_match {
            None => None,
            Some(text) => Some(revision(text.trim().trim_matches('"'), "bad-header")?),
        };
        let dry_run = match self.query.get("dry_run").map(String::as_str) {
            None | Some("false") => false,
            Some("" | "true") => true,
            Some(_) => return Err(Problem::new("bad-query", "dry_run is true or false")),
        };
        Ok(Terms { who: self.who.clone(), base, idempotency: self.idempotency.clone(), dry_run })
    }
}

/// Reads a JSON object.
pub(crate) fn object<'t, T: Deserialize<'t>>(text: &'t [u8]) -> Result<T, Problem> {
    let wrong = |what: String| Problem::new("bad-body", format!("the body is not what this route takes: {what}"));
    // A list would be read as fields in their order.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(wrong("it is no JSON object".to_owned()));
    }
    serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))
}

pub(crate) fn revision(text: &str, code: &str) -> Result<Revision, Problem> {
    let number = text.parse().map(Revision);
    number.map_err(|_| Problem::new(code, format!("`{}` is no number of a revision", text.escape_debug())))
}
