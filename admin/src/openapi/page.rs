//! The page that shows the description and sends requests: Swagger UI, with all its files in the program.

use std::sync::{Arc, LazyLock};

use utoipa_swagger_ui::Config;

use crate::call::{Answer, Answering, Call};
use crate::problem::Problem;

/// Where the page reads the description, seen from its own place.
static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| Arc::new(Config::from("../openapi.json")));

/// The page itself has a place of its own, so that its files can be named from there.
pub(crate) fn moved(_: Call) -> Answering {
    Box::pin(async { Ok(Answer::Moved("docs/index.html")) })
}

/// A file of the page, looked up among those that the program has.
pub(crate) fn file(call: Call) -> Answering {
    Box::pin(async move {
        let name = &call.path[0];
        match utoipa_swagger_ui::serve(name, Arc::clone(&CONFIG)) {
            Ok(Some(file)) => Ok(Answer::Page { kind: file.content_type, bytes: file.bytes.into_owned() }),
            Ok(None) => Err(Problem::new("unknown-route", "the page has no such file; it is /v1/docs/index.html")),
            Err(error) => {
                tracing::error!(%error, "the page of the admin API cannot be made");
                Err(Problem::new("registry", "the page cannot be made; the log says why"))
            }
        }
    })
}
