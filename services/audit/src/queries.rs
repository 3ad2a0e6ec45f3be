//! The stream of queries: every look at a person, a code or a scan is recorded before it is answered.

use citycode_auth::Caller;
use citycode_domain::event::Event;
use citycode_domain::ids::{CodeId, HolderId};
use citycode_log_folds::events_of;
use citycode_query_stream::{QueriesError, Query, QueryKind, RecordedQuery};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::audit::v1 as proto;
use citycode_wire::request::ListQueriesQuery;

use crate::history::{Audit, unavailable};

/// A question to be recorded.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Its kind.
    pub(crate) kind: QueryKind,
    /// Why it was asked.
    pub(crate) purpose: &'a str,
    /// The person who is looked at, if it is one.
    pub(crate) holder: Option<HolderId>,
}

impl Audit {
    /// Records a question durably, with the number of rows of its answer. The answer must not be given before.
    ///
    /// # Errors
    /// `unavailable`: the question must not be answered.
    pub(crate) async fn record_query(&self, caller: &Caller, asked: Asked<'_>, rows: u64) -> Result<(), Problem> {
        let queries = self.queries()?;
        let roles: Vec<_> = caller.roles.iter().map(ToString::to_string).collect();
        let query = Query {
            asked_at: self.clock.now().0,
            asker: caller.id.as_str(),
            roles: &roles,
            kind: asked.kind,
            rows,
            purpose: asked.purpose,
            holder: asked.holder,
        };
        let recorded = queries.record(&query).await;
        recorded.map(drop).map_err(|error| unusable(&error))
    }

    /// Records a question whose answer may be a problem. Where the problem tells something (there is no such record), the
    /// question is recorded with no rows.
    ///
    /// # Errors
    /// The problem of the answer; `unavailable` if the question could not be recorded.
    pub(crate) async fn record_answer<T>(
        &self,
        caller: &Caller,
        asked: Asked<'_>,
        answer: Result<T, Problem>,
        rows: impl FnOnce(&T) -> u64,
    ) -> Result<T, Problem> {
        let rows = match &answer {
            Ok(answer) => rows(answer),
            Err(problem)
                if matches!(
                    problem.code(),
                    Code::NoRecord | Code::Retention | Code::NotFound | Code::NoValidCode
                ) =>
            {
                0
            }
            Err(_) => return answer,
        };
        self.record_query(caller, asked, rows).await?;
        answer
    }

    /// The holder of a code, unless the log does not have the code or the holder is erased.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn living_holder(&self, code_id: CodeId) -> Result<Option<HolderId>, Problem> {
        let Some(commits) = self.commits_about(code_id).await? else {
            return Ok(None);
        };
        for commit in &commits {
            let events = events_of(commit).map_err(|error| unavailable(&error))?;
            if events.iter().any(|event| matches!(event, Event::HolderErased(_))) {
                return Ok(None);
            }
        }
        self.index.holder_of(code_id).map_err(|error| unavailable(&error))
    }

    /// A part of the stream of queries, for a privacy officer. The look at the stream is itself recorded.
    ///
    /// # Errors
    /// `not_allowed`, `unavailable`.
    pub async fn list_queries(
        &self,
        caller: &Caller,
        query: &ListQueriesQuery,
    ) -> Result<proto::ListQueriesResponse, Problem> {
        if !caller.is_privacy_officer() {
            return Err(Problem::new(
                Code::NotAllowed,
                "only a privacy officer or an admin may read the stream of queries",
            ));
        }
        // One more shows whether there are further ones.
        let listed = self.queries()?.list(query.from, query.limit + 1).await;
        let mut listed = listed.map_err(|error| unusable(&error))?;
        let next = listed.get(query.limit).map(|first| first.sequence);
        listed.truncate(query.limit);
        let asked = Asked {
            kind: QueryKind::Queries,
            purpose: query.purpose.as_deref().unwrap_or_default(),
            holder: None,
        };
        self.record_query(caller, asked, listed.len() as u64).await?;
        let entries = listed.into_iter().map(entry).collect();
        Ok(proto::ListQueriesResponse { entries, next })
    }

    fn queries(&self) -> Result<&citycode_query_stream::Queries, Problem> {
        self.queries.as_deref().ok_or_else(|| {
            Problem::new(Code::Unavailable, "this audit service has no stream of queries")
                .with_fix("an operator must run `citycode provision` and give this service the stream's credentials")
        })
    }
}

fn entry(query: RecordedQuery) -> proto::QueryEntry {
    proto::QueryEntry {
        sequence: query.sequence,
        asked_at: query.asked_at,
        asker: query.asker,
        roles: query.roles,
        kind: query.kind,
        rows: query.rows,
        purpose: query.purpose,
        person: query.person.map(|number| number.to_string()),
    }
}

fn unusable(error: &QueriesError) -> Problem {
    tracing::error!(%error, "a query could not be recorded or read, so it is not answered");
    Problem::new(
        Code::Unavailable,
        "the stream of queries cannot be used, so the question is not answered",
    )
}
