//! Random cases, each a function of its seed.

mod changes;
mod expression;
mod log;
mod maker;
mod nodes;
mod previous;
mod sinks;
mod slow;

use super::case::{BadRow, Case, EngineOptions, Intake, PlanVersion};
use super::random::Random;
use gristmill::Quarantine;
use gristmill::words::Span;
use maker::Maker;

/// The case of a seed.
///
/// # Panics
/// When no legal case comes of the seed, which is a defect of the generator.
pub fn case(seed: u64) -> Case {
    for attempt in 0..ATTEMPTS_MAX {
        let case = attempt_case(seed, attempt);
        if case.problems().is_empty() {
            return case;
        }
    }
    let last = attempt_case(seed, 0);
    panic!("seed {seed} makes no legal case: {:?}\n{last:?}", last.problems());
}

/// So many tries until a case is legal.
const ATTEMPTS_MAX: u64 = 50;

fn attempt_case(seed: u64, attempt: u64) -> Case {
    let mut random = Random::new(seed.wrapping_mul(1009).wrapping_add(attempt << 48));
    random.draw();
    let mut maker = Maker::new(random.clone());
    let first = maker.plan();
    let mut plans = vec![first];
    let changes = random.weighted(&[25, 40, 25, 10]);
    for _ in 0..changes {
        if let Some(next) = changed(&mut maker, plans.last().expect("there is a first")) {
            plans.push(next);
        }
    }
    let intake = intake(&mut random);
    let mut log = log::log(&mut random, &maker, intake);
    let mut case = Case {
        seed,
        axes: maker.axes.clone(),
        intake,
        quarantine: Some(Quarantine::default()),
        deploy_before: Vec::new(),
        log: std::mem::take(&mut log),
        plans,
        engine: EngineOptions::default(),
    };
    case.deploy_before = (1..case.plans.len()).map(|_| random.below(case.log.len() * 4 / 5) + 1).collect();
    case.deploy_before.sort_unstable();
    case.engine = EngineOptions {
        shards: random.between(1, 4) as u16,
        frame_keys: *random.pick(&[1, 2, 64]),
        batch_records: *random.pick(&[1, 3, 16, 1024]),
        cuts: (0..random.below(40)).map(|_| random.below(case.log.len())).collect(),
        stops: Vec::new(),
    };
    case.engine.cuts.sort_unstable();
    let stops = random.weighted(&[50, 30, 15, 5]);
    case.engine.stops = (0..stops).map(|_| random.below(case.log.len())).collect();
    case.engine.stops.sort_unstable();
    // A series of its own, so that a seed makes the case that it made before.
    let mut random = Random::new(!seed);
    slow::make(&mut random, &mut case);
    if random.percent(20) {
        case.intake.waiting_rows = random.between(1, 4) as usize;
    }
    case.quarantine = match random.weighted(&[70, 15, 15]) {
        0 => case.quarantine,
        1 => Some(Quarantine { failures: random.between(1, 3) as usize, rows: random.between(3, 20) as u64 }),
        _ => None,
    };
    let mut random = Random::new(seed.rotate_left(32));
    previous::make(&mut random, &mut case);
    sinks::make(&mut random, &mut case);
    case
}

/// Another plan that the resolver takes.
fn changed(maker: &mut Maker, plan: &PlanVersion) -> Option<PlanVersion> {
    (0..ATTEMPTS_MAX).find_map(|_| {
        let next = changes::change(maker, plan);
        let alone = Case {
            seed: 0,
            axes: maker.axes.clone(),
            intake: Intake::default(),
            quarantine: None,
            plans: vec![plan.clone(), next.clone()],
            deploy_before: vec![0],
            log: Vec::new(),
            engine: EngineOptions::default(),
        };
        alone.problems().is_empty().then_some(next)
    })
}

fn intake(random: &mut Random) -> Intake {
    let policy = |random: &mut Random| if random.percent(30) { BadRow::DeadLetter } else { BadRow::Drop };
    Intake {
        reorder: Span::from_millis(*random.pick(&[0, 0, 0, 300, 800, 2_000])),
        max_ahead: Span::from_millis(*random.pick(&[1_000, 60_000])),
        late: policy(random),
        duplicate: policy(random),
        ..Intake::default()
    }
}
