//! A client of the admin API: one request, tried again as long as nobody can have carried it out.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::servers;
use crate::failure::{Exit, Failure};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take: a deployment is tried out for up to a minute.
const ANSWER: Duration = Duration::from_secs(120);
/// How often a request is sent that gets no answer, or that the server has no time for.
const TRIES: u32 = 5;
/// The first pause between two tries; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(200);

/// Which server is asked, and who asks.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerOptions {
    /// The server: http://HOST:PORT, or a name from `grist server`; $GRIST_SERVER, the one in use, or
    /// http://127.0.0.1:8080 unless said
    #[arg(long, value_name = "URL|NAME")]
    server: Option<String>,
    /// A file with the token; $GRIST_TOKEN, or the server's, unless said
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The topology, where several run
    #[arg(long, value_name = "CLASS")]
    pub(super) topology: Option<String>,
}

/// A server that can be asked.
pub(super) struct Client {
    agent: ureq::Agent,
    url: String,
    token: Option<String>,
}

/// What is sent.
#[derive(Default)]
pub(super) struct Request<'r> {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<&'r [u8]>,
}

impl<'r> Request<'r> {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: path.into(), ..Self::default() }
    }

    pub(super) fn post(path: impl Into<String>) -> Self {
        Self { method: "POST", path: path.into(), body: Some(b""), ..Self::default() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl ServerOptions {
    /// The server that is meant.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let known = servers::read()?;
        let named = self.server.clone().or_else(|| set("GRIST_SERVER")).or_else(|| known.used.clone());
        let named = named.unwrap_or_else(|| servers::DEFAULT.to_owned());
        let (url, mut token) = match known.servers.get(&named) {
            Some(server) => (server.url.clone(), server.token.clone()),
            None => (servers::checked_url(&named)?, None),
        };
        token = set("GRIST_TOKEN").or(token);
        if let Some(file) = &self.token_file {
            let read = std::fs::read_to_string(file);
            token = Some(read.map_err(|error| Failure::refused(format!("the token in {}: {error}", file.display())))?);
        }
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(ANSWER))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None);
        let token = token.map(|token| token.trim().to_owned());
        if token.as_ref().is_some_and(|token| token.chars().any(|sign| !sign.is_ascii_graphic())) {
            return Err(Failure::refused("the token has signs that no token has"));
        }
        Ok(Client { agent: config.build().into(), url, token })
    }

    /// `?topology=` and more.
    pub(super) fn query(&self, more: &[(&str, Option<&str>)]) -> String {
        let topology = [("topology", self.topology.as_deref())];
        let said = more.iter().chain(&topology).filter_map(|(name, value)| Some((name, (*value)?)));
        let said: Vec<String> = said.map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        if said.is_empty() { String::new() } else { format!("?{}", said.join("&")) }
    }
}

/// A text as a part of a path or query.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// A key that no other request has.
pub(super) fn idempotency_key() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("grist-{:016x}{:016x}", random(), random())
}

impl Client {
    /// What the server answers to a request that may be sent twice.
    pub(super) fn ask(&self, request: &Request<'_>) -> Result<Value, Failure> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let error = match self.send(request) {
                Ok((200, text)) => {
                    return serde_json::from_str(&text).map_err(|error| {
                        Failure::failed(format!("{} answers what is no JSON ({error}); is it gristmill?", self.url))
                    });
                }
                Ok((status, text)) if ![429, 503].contains(&status) || attempt == TRIES => {
                    return Err(refusal(status, &text, &self.url, self.token.is_some()));
                }
                Ok(_) => String::new(),
                Err(error) => error.to_string(),
            };
            if attempt == TRIES {
                let text = format!("{} does not answer: {error}\nis `grist run --admin` running there?", self.url);
                return Err(Failure { exit: Exit::Unreachable, text, see: None, answered: false });
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        unreachable!("the last try returns")
    }

    fn send(&self, request: &Request<'_>) -> Result<(u16, String), ureq::Error> {
        let uri = format!("{}{}", self.url, request.path);
        let mut http = ureq::http::Request::builder().method(request.method).uri(uri);
        if let Some(token) = &self.token {
            http = http.header("Authorization", format!("Bearer {token}"));
        }
        for (name, value) in &request.headers {
            http = http.header(*name, value);
        }
        let mut answer = match request.body {
            Some(body) => self.agent.run(http.body(body)?)?,
            None => self.agent.run(http.body(())?)?,
        };
        let text = answer.body_mut().with_config().limit(u64::MAX).read_to_string()?;
        Ok((answer.status().as_u16(), text))
    }
}

/// What a variable of the environment says; one that is empty says nothing.
fn set(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.trim().is_empty())
}

/// A problem as the server tells it: each of its lines, its code and where more is said. Who is not known there is told how
/// this program takes a token.
fn refusal(status: u16, text: &str, url: &str, has_token: bool) -> Failure {
    let exit = match status {
        401 | 403 => Exit::Denied,
        500.. => Exit::Failed,
        _ => Exit::Refused,
    };
    let problem: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    let word = |name: &str| problem[name].as_str().map(str::to_owned);
    let (text, see) = match (word("code"), word("detail")) {
        (Some(code), _) if code == "unauthorized" => {
            let sent = if has_token { "the token that was sent is none of this server" } else { "no token was sent" };
            let advice = "say --token-file FILE, set $GRIST_TOKEN, or keep it with `grist server add --token-file`";
            let more = word("type").unwrap_or_default();
            (format!("{sent}; {advice}; `grist token create` makes one"), Some(format!("({code}; see {more})")))
        }
        (Some(code), detail) => {
            let more = word("type").unwrap_or_default();
            (detail.or(word("title")).unwrap_or_default(), Some(format!("({code}; see {more})")))
        }
        _ => (format!("{url} answers with status {status}, and is no gristmill as this one knows it"), None),
    };
    Failure { exit, text, see, answered: false }
}
