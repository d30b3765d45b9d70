//! cargo run --release -p gristmill-examples --features serve --example serve
//!
//! The runtime inside a service that has a server, a log and metrics of its own: readings come in by POST, the newest
//! predictions go out by GET, alarms are printed as they come, and under /mill is the admin API, over which models are
//! deployed while it serves.
//!
//! ```console
//! $ curl -X POST http://127.0.0.1:8090/pumps/P101 -d 45.5
//! $ curl http://127.0.0.1:8090/pumps/P101
//! {"alarm":true,"wear":0.91}
//! $ curl http://127.0.0.1:8090/mill/v1/nodes -H "Authorization: Bearer $TOKEN"
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gristmill::clock::SystemClock;
use gristmill::deployer::Deployer;
use gristmill::in_process::{Feeder, feed};
use gristmill::registry::RegistryFolder;
use gristmill::topology::{Topology, all_models, provide, sensor};
use gristmill::traits::source::{Axes, RowsRecord};
use gristmill::traits::{Clock, Done, Sink, SinkError, SinkFrame, SinkWriter};
use gristmill::words::{Column, ElementType, Offset, ShardIndex, Value};
use gristmill::{Runtime, SECONDS_BUCKETS, Stream};
use gristmill_admin::actix_web::{self, App, HttpResponse, HttpServer, web};
use gristmill_admin::{Admin, Scope, TokenFile};
use gristmill_operators::registry::registry;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

const VIBRATION: Stream<f32> = Stream::new("vibration"); // mm/s
const WEAR: Stream<f32> = Stream::new("wear"); // 0 new, 1 worn out
const ALARM: Stream<bool> = Stream::new("alarm");

/// The newest value of each stream of each pump: a sink of the host's own.
#[derive(Clone, Default)]
struct Newest(Arc<Mutex<BTreeMap<String, BTreeMap<String, serde_json::Value>>>>);

impl Sink for Newest {
    fn open(&self, _shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter for Newest {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frame.for_each(|row| {
            let value = match row.value {
                Value::Bool(value) => value.into(),
                value => serde_json::from_str(&value.to_string()).unwrap_or_default(),
            };
            newest.entry(row.key.to_string()).or_default().insert(row.stream.to_string(), value);
        });
        done.done(); // it lies where it is served from
    }
}

/// What the service's routes share.
struct Service {
    feeder: Feeder,
    offset: AtomicI64,
    newest: Newest,
    clock: SystemClock,
    metrics: PrometheusHandle,
}

async fn put(pump: web::Path<String>, reading: String, service: web::Data<Service>) -> HttpResponse {
    let Ok(vibration) = reading.trim().parse() else {
        return HttpResponse::BadRequest().body("send one number, in mm/s");
    };
    let offset = Offset(service.offset.fetch_add(1, Ordering::Relaxed));
    let (times, columns) = (vec![service.clock.wall()], vec![Column::F32(vec![vibration])]);
    let row = RowsRecord { offset, log_time: None, key: pump.into_inner().into(), axis: 0, times, columns };
    match service.feeder.send(0, vec![row]).await {
        Ok(()) => HttpResponse::Accepted().finish(),
        Err(closed) => HttpResponse::ServiceUnavailable().body(closed.to_string()),
    }
}

async fn get(pump: web::Path<String>, service: web::Data<Service>) -> HttpResponse {
    let newest = service.newest.0.lock().unwrap_or_else(PoisonError::into_inner);
    newest.get(&*pump).map_or_else(|| HttpResponse::NotFound().finish(), |values| HttpResponse::Ok().json(values))
}

async fn metrics(service: web::Data<Service>) -> String {
    service.metrics.render()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    actix_web::rt::System::new().block_on(serve())
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    // Log and metrics are the host's; the library brings no global of its own.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let recorder = PrometheusBuilder::new().set_buckets(&SECONDS_BUCKETS)?.install_recorder()?;

    let pump = Topology::new("pump")
        .with(sensor(VIBRATION).range(0.0..=100.0))
        .with(provide(WEAR).needs(VIBRATION).by(|vibration: f32| vibration / 50.0).model())
        .with(provide(ALARM).needs(WEAR).by(|wear: f32| wear > 0.8))
        .with(gristmill::topology::sink("newest").needs(all_models()).and(ALARM));
    let (feeder, source) = feed(Axes::Declared(vec![vec![("vibration".into(), ElementType::F32)]]));
    let newest = Newest::default();
    let builder = Runtime::builder().topology(pump).source(source).sink("newest", newest.clone());

    let folder = std::env::args().nth(2).map_or_else(|| "serve.registry".into(), std::path::PathBuf::from);
    let clock = SystemClock::default();
    let deployer = Deployer::start(builder, RegistryFolder::open(&folder, clock.wall())?, registry()).await?;
    let mut alarms = deployer.handle().subscribe(&ALARM).await?;
    actix_web::rt::spawn(async move {
        while let Some(row) = alarms.next().await {
            if row.value {
                println!("alarm of {} at {} µs", row.key, row.time);
            }
        }
    });
    let tokens = folder.join("tokens.json");
    if !tokens.exists() {
        println!("token {}", TokenFile::create(&tokens, "host", Scope::Deploy, None)?);
    }
    let admin = Admin::new(deployer.clone(), tokens).mount("/mill")?;

    let shared = Service { feeder, offset: AtomicI64::new(0), newest, clock, metrics: recorder };
    let shared = web::Data::new(shared);
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8090".to_owned());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::clone(&shared))
            .route("/pumps/{pump}", web::post().to(put))
            .route("/pumps/{pump}", web::get().to(get))
            .route("/metrics", web::get().to(metrics))
            .service(admin.scope())
    });
    let server = server.bind(address)?;
    server.addrs().iter().for_each(|address| println!("serving on http://{address}"));
    server.run().await?; // until Ctrl-C: the feeder goes with it, and so the source ends
    deployer.handle().stop().await?;
    println!("stopped in order");
    Ok(())
}
