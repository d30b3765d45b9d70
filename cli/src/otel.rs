//! Spans to a collector, by OTLP over HTTP.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider};
use tracing_opentelemetry::OpenTelemetryLayer;

use crate::failure::Failure;

/// Where collectors take spans, below their address.
const PATH: &str = "/v1/traces";
/// Most spans that wait; further ones are dropped, and a warning says how many.
const QUEUE_SPANS: usize = 8_192;
const REQUEST_SPANS: usize = 512;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// What a span may say that comes to an end of its own, before the process ends.
const LAST_TIMEOUT: Duration = Duration::from_secs(5);

/// The bound of spans that wait.
pub(crate) const fn spans_limit() -> gristmill::Limit {
    gristmill::Limit::new("otel_spans", QUEUE_SPANS, "spans that wait for the collector", "further ones are dropped")
}

/// Sends spans until it is dropped, then what is left.
pub(crate) struct Sending(SdkTracerProvider);

impl Drop for Sending {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_TIMEOUT) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Makes what takes spans from the engine and sends them on a thread of its own.
pub(crate) fn start<S>(endpoint: &str) -> Result<(OpenTelemetryLayer<S, SdkTracer>, Sending), Failure>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new())
        .with_endpoint(url(endpoint)?)
        .with_timeout(REQUEST_TIMEOUT)
        .build()
        .map_err(|error| Failure::usage(format!("--otel-endpoint: `{endpoint}`: {error}")))?;
    let config =
        BatchConfigBuilder::default().with_max_queue_size(QUEUE_SPANS).with_max_export_batch_size(REQUEST_SPANS);
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config.build()).build();
    let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("gristmill");
    }
    let provider = SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource.build()).build();
    let layer = OpenTelemetryLayer::new(provider.tracer("gristmill")).with_location(false).with_threads(false);
    Ok((layer, Sending(provider)))
}

/// The URL that spans are posted to.
fn url(endpoint: &str) -> Result<String, Failure> {
    if !endpoint.starts_with("http://") {
        let text =
            format!("--otel-endpoint: `{endpoint}` is no address; write one such as http://127.0.0.1:4318 (no TLS)");
        return Err(Failure::usage(text));
    }
    let endpoint = endpoint.trim_end_matches('/');
    Ok(if endpoint.ends_with(PATH) { endpoint.to_owned() } else { format!("{endpoint}{PATH}") })
}

/// Posts on the thread that gathers spans, which does nothing else.
#[derive(Debug)]
struct Client(ureq::Agent);

impl Client {
    fn new() -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(REQUEST_TIMEOUT)).http_status_as_error(false);
        Self(config.build().into())
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let answer = self.0.run(Request::from_parts(parts, body.to_vec()))?;
        let (parts, mut body) = answer.into_parts();
        Ok(Response::from_parts(parts, body.read_to_vec()?.into()))
    }
}

impl HttpClient for Client {
    fn send_bytes<'c, 'f>(
        &'c self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'c: 'f,
        Self: 'f,
    {
        Box::pin(std::future::ready(self.send(request)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_the_url_that_collectors_have() {
        let whole = "http://127.0.0.1:4318/v1/traces";
        for said in ["http://127.0.0.1:4318", "http://127.0.0.1:4318/", whole] {
            assert_eq!(url(said).ok().as_deref(), Some(whole));
        }
        for wrong in ["127.0.0.1:4318", "https://collector"] {
            assert!(url(wrong).err().is_some_and(|failure| failure.text.contains("--otel-endpoint")), "{wrong}");
        }
    }
}
