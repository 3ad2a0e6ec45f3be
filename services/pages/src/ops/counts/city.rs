//! The codes of the whole city by kind and state. Counting takes seconds in a large city, so it runs beside the requests,
//! and all readers of this process share the last result.

use std::sync::Arc;
use std::time::Duration;

use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::answer::code_life_name;
use citycode_wire::proto::audit::v1::{StateRequest, StateResult, state_response};
use tokio::sync::watch;

use crate::caller::PageCaller;
use crate::frame::Frame;
use crate::ops::numbers;
use crate::site::Site;

/// A count is repeated when it is so old.
const REFRESH: Duration = Duration::from_secs(15);
/// How long a reader waits for the first count; afterwards the page says that it is being made.
const FIRST_WAIT: Duration = Duration::from_millis(800);
/// The states, in the order of the table.
const STATES: [&str; 6] = [
    "valid",
    "suspended",
    "expired",
    "superseded",
    "reported_lost",
    "revoked",
];

/// What is known about the city.
#[derive(Clone, Default)]
pub(super) struct Known {
    /// The last count.
    pub(super) counted: Option<Arc<StateResult>>,
    /// Why the count after it failed.
    pub(super) failed: Option<Problem>,
}

#[derive(Default)]
struct Shared {
    known: watch::Sender<Known>,
    /// When the last attempt began, on the monotonic clock.
    begun: std::sync::Mutex<Option<Duration>>,
}

/// The last counts of this process: with and without small numbers.
#[derive(Default)]
pub(in crate::ops) struct Counts {
    suppressed: Arc<Shared>,
    exact: Arc<Shared>,
}

impl Counts {
    /// The last count; one that is too old is repeated meanwhile.
    pub(super) async fn of(&self, site: &Arc<Site>, caller: PageCaller, is_exact: bool) -> Known {
        let shared = if is_exact { &self.exact } else { &self.suppressed };
        let now = site.clock.monotonic();
        let is_due = {
            let mut begun = shared.begun.lock().expect("no thread panics while holding it");
            let is_due = begun.is_none_or(|begun| now.saturating_sub(begun) >= REFRESH);
            if is_due {
                *begun = Some(now);
            }
            is_due
        };
        if is_due {
            let (site, shared) = (Arc::clone(site), Arc::clone(shared));
            tokio::spawn(async move {
                let counted = count(&site, &caller, is_exact).await;
                shared.known.send_modify(|known| match counted {
                    Ok(result) => {
                        known.counted = Some(Arc::new(result));
                        known.failed = None;
                    }
                    Err(problem) => known.failed = Some(problem),
                });
            });
        }
        let mut known = shared.known.subscribe();
        let any = known.wait_for(|known| known.counted.is_some() || known.failed.is_some());
        // Without an answer in time the page says that the count is being made.
        let _ = tokio::time::timeout(FIRST_WAIT, any).await;
        shared.known.borrow().clone()
    }
}

async fn count(site: &Site, caller: &PageCaller, exact: bool) -> Result<StateResult, Problem> {
    let request = StateRequest {
        purpose: String::new(),
        as_of: site.now(),
        exact,
    };
    let mut audit = site.clients.audit.clone();
    let mut updates = audit.state(site.request(caller, request)?).await?.into_inner();
    while let Some(update) = updates.message().await? {
        if let Some(state_response::Update::Result(result)) = update.update {
            return Ok(result);
        }
    }
    Err(Problem::new(Code::Unavailable, "the audit service sent no result"))
}

/// A row of the table: a kind and its counts in the order of the states.
pub(super) struct Row {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) cells: Vec<Cell>,
}

/// A count.
#[derive(Clone)]
pub(super) struct Cell {
    pub(super) state: &'static str,
    pub(super) text: String,
}

/// The counts as the page shows them.
pub(super) struct City {
    pub(super) is_known: bool,
    /// When they were made: `08:14:05`.
    pub(super) at: String,
    pub(super) all: String,
    kinds: Vec<(String, String, Vec<Cell>)>,
}

impl City {
    pub(super) fn of(f: &Frame<'_>, known: &Known) -> Self {
        let Some(result) = &known.counted else {
            return Self {
                is_known: false,
                at: String::new(),
                all: String::new(),
                kinds: Vec::new(),
            };
        };
        let mut names: Vec<&str> = f.site.policy.kinds.iter().map(|kind| kind.name.as_str()).collect();
        for group in &result.by {
            if !names.contains(&group.kind.as_str()) {
                names.push(&group.kind);
            }
        }
        let kinds = names.into_iter().map(|name| {
            let cells = STATES.iter().map(|state| Cell {
                state,
                text: cell(f, result, name, state),
            });
            (name.to_owned(), f.kind(name), cells.collect())
        });
        Self {
            is_known: true,
            at: clock(f, result.as_of),
            all: numbers::count(f, result.codes),
            kinds: kinds.collect(),
        }
    }

    /// The rows of the table.
    pub(super) fn rows(&self) -> Vec<Row> {
        let rows = self.kinds.iter().map(|(name, kind, cells)| Row {
            kind: kind.clone(),
            name: name.clone(),
            cells: cells.clone(),
        });
        rows.collect()
    }

    /// The valid codes of each kind.
    pub(super) fn valid(&self) -> Vec<(String, String)> {
        let valid = self.kinds.iter().filter_map(|(_, kind, cells)| {
            let valid = cells.iter().find(|cell| cell.state == "valid")?;
            Some((kind.clone(), valid.text.clone()))
        });
        valid.collect()
    }
}

/// The time of day to the second, in the policy's zone.
fn clock(f: &Frame<'_>, seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    f.site.zone.to_datetime(time).strftime("%H:%M:%S").to_string()
}

/// A group that the answer leaves out has no codes; one without a count is too small to be shown.
fn cell(f: &Frame<'_>, result: &StateResult, kind: &str, state: &str) -> String {
    let group = result
        .by
        .iter()
        .find(|group| group.kind == kind && code_life_name(group.state()) == Some(state));
    group.map_or_else(|| "0".to_owned(), |group| numbers::count(f, group.count))
}
