//! Recording and reading queries.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use citycode_domain::ids::HolderId;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::{Draw as _, Entropy};
use citycode_vault::HolderKey;
use zeroize::Zeroizing;

use crate::record::{self, day_of};
use crate::{DAY_SECONDS, PersonNumber, QueriesError, Query, QueryStore, RecordedQuery, Secret, SecretName};

/// Records that are read at once.
const PAGE: usize = 512;
/// Most queries about one person that are returned: the newest ones.
const MOST_ABOUT_ONE: usize = 1_000;
/// Period of the check for days past their retention.
const CHECK_EVERY: Duration = Duration::from_secs(3_600);

/// The stream of queries. Calls may be concurrent, also from other processes.
pub struct Queries {
    pub(crate) store: Arc<dyn QueryStore>,
    entropy: Arc<dyn Entropy>,
}

impl Queries {
    /// The stream in a store.
    pub fn new(store: Arc<dyn QueryStore>, entropy: Arc<dyn Entropy>) -> Self {
        Self { store, entropy }
    }

    /// Records a query durably; returns its sequence. The caller must not answer the query before, nor after an error.
    ///
    /// # Errors
    /// [`QueriesError`].
    pub async fn record(&self, query: &Query<'_>) -> Result<u64, QueriesError> {
        let day = SecretName::Day(day_of(query.asked_at)?);
        let key = self.secret_or_new(day).await?;
        let person = match query.holder {
            None => None,
            Some(holder) => {
                let names = self.secret_or_new(SecretName::Names).await?;
                let name = person(&names, holder);
                Some(PersonNumber::of(&self.secret_or_new(name).await?))
            }
        };
        self.store
            .append(record::write(query, person, &key, self.entropy.array()))
            .await
    }

    /// At most `limit` queries with the sequence `from` or a later one, in their order.
    ///
    /// # Errors
    /// [`QueriesError`], also if a record was changed.
    pub async fn list(&self, from: u64, limit: usize) -> Result<Vec<RecordedQuery>, QueriesError> {
        let secrets = Secrets::read(&*self.store).await?;
        let records = self.store.read(from, limit.min(PAGE)).await?;
        let read = records.iter().map(|(sequence, bytes)| {
            let mut query = record::read(*sequence, bytes, |day| secrets.day(day))?;
            // An erased person has no number any more.
            query.person = query.person.filter(|number| secrets.persons.contains(number));
            Ok(query)
        });
        read.collect()
    }

    /// The newest queries about a person (at most a thousand) whose purpose is still retained, in their order.
    ///
    /// # Errors
    /// [`QueriesError`], also if a record was changed.
    pub async fn about(&self, holder: HolderId) -> Result<Vec<RecordedQuery>, QueriesError> {
        let Some(names) = self.store.secret(SecretName::Names).await? else {
            return Ok(Vec::new());
        };
        let Some(secret) = self.store.secret(person(&names, holder)).await? else {
            return Ok(Vec::new());
        };
        let number = Some(PersonNumber::of(&secret));
        let secrets = Secrets::read(&*self.store).await?;
        let mut found = std::collections::VecDeque::new();
        let mut from = 1;
        loop {
            let records = self.store.read(from, PAGE).await?;
            let Some((last, _)) = records.last() else {
                return Ok(found.into());
            };
            from = last + 1;
            for (sequence, bytes) in &records {
                let query = record::read(*sequence, bytes, |day| secrets.day(day))?;
                if query.person == number {
                    if found.len() == MOST_ABOUT_ONE {
                        found.pop_front();
                    }
                    found.push_back(query);
                }
            }
        }
    }

    /// Destroys what leads from a person to the queries about the person. It is idempotent.
    ///
    /// # Errors
    /// [`QueriesError`]; repeating it completes it.
    pub async fn erase(&self, holder: HolderId) -> Result<(), QueriesError> {
        match self.store.secret(SecretName::Names).await? {
            Some(names) => self.store.destroy_secret(person(&names, holder)).await,
            // Nobody was looked at yet.
            None => Ok(()),
        }
    }

    /// Destroys the purposes and the persons' numbers of the days before `first_kept` (days since 1970, UTC).
    ///
    /// # Errors
    /// [`QueriesError`]; repeating it completes it.
    pub async fn forget_before(&self, first_kept: u32) -> Result<(), QueriesError> {
        for (name, _) in self.store.secrets().await? {
            if matches!(name, SecretName::Day(day) if day < first_kept) {
                self.store.destroy_secret(name).await?;
            }
        }
        Ok(())
    }

    /// Destroys what is past its retention, at once and then every hour. Runs forever.
    pub async fn keep_retention(self: Arc<Self>, clock: Arc<dyn Clock>, retention_days: u16) {
        let mut tick = tokio::time::interval(CHECK_EVERY);
        loop {
            tick.tick().await;
            let today = clock.now().0.div_euclid(DAY_SECONDS);
            let first_kept = u32::try_from(today - i64::from(retention_days)).unwrap_or(0);
            if let Err(error) = self.forget_before(first_kept).await {
                tracing::error!(%error, "purposes of queries past their retention could not be destroyed");
            }
        }
    }

    async fn secret_or_new(&self, name: SecretName) -> Result<Secret, QueriesError> {
        match self.store.secret(name).await? {
            Some(secret) => Ok(secret),
            None => {
                self.store
                    .create_secret(name, Zeroizing::new(self.entropy.array()))
                    .await
            }
        }
    }
}

/// The name of a person's secret.
fn person(names: &Secret, holder: HolderId) -> SecretName {
    let digest = HolderKey::new(**names).digest(&holder.0);
    SecretName::Person(*digest.first_chunk().expect("HMAC-SHA-256 has 32 bytes"))
}

/// The secrets as of the start of a reading.
struct Secrets {
    days: HashMap<u32, Secret>,
    persons: HashSet<PersonNumber>,
}

impl Secrets {
    async fn read(store: &dyn QueryStore) -> Result<Self, QueriesError> {
        let (mut days, mut persons) = (HashMap::new(), HashSet::new());
        for (name, secret) in store.secrets().await? {
            match name {
                SecretName::Names => {}
                SecretName::Day(day) => drop(days.insert(day, secret)),
                SecretName::Person(_) => drop(persons.insert(PersonNumber::of(&secret))),
            }
        }
        Ok(Self { days, persons })
    }

    fn day(&self, day: u32) -> Option<Secret> {
        self.days.get(&day).cloned()
    }
}
