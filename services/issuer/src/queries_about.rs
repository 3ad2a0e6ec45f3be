//! `ListQueriesAbout`: who looked at a person. The person learns when and why, and not who it was.

use citycode_auth::Caller;
use citycode_command_auth::{Received, RequestedParties, problem_of_request, problem_of_vault};
use citycode_domain::ids::HolderId;
use citycode_domain::time::Timestamp;
use citycode_policy_file::local_date;
use citycode_query_stream::{QueriesError, Query, QueryKind, RecordedQuery};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::issuer::v1::{ListQueriesAboutResponse, QueryAbout};
use citycode_wire::request::{FieldFault, InvalidRequest, ListQueriesAboutQuery};

use crate::Issuer;

impl Issuer {
    /// The recorded queries about a person whose purpose is retained: for the person through a channel, and for a privacy
    /// officer who gives a purpose. The question itself is recorded before it is answered.
    ///
    /// # Errors
    /// `not_allowed`, `invalid_request`, `invalid_id_number`, `not_registered`, `unavailable`.
    pub async fn list_queries_about(
        &self,
        caller: &Caller,
        request: Received<ListQueriesAboutQuery>,
    ) -> Result<ListQueriesAboutResponse, Problem> {
        let Received {
            command: query,
            identity,
        } = request;
        let now = self.authorizer.now()?;
        let (holder, kind) = if query.channel.is_none() && caller.is_privacy_officer() {
            if query.purpose.is_none() {
                let missing = InvalidRequest::new("purpose", FieldFault::Missing);
                return Err(problem_of_request(missing));
            }
            let id_number = self.authorizer.id_number(caller, &query.id_number, now)?;
            let holder = self.authorizer.vault.find(&id_number).await;
            (
                holder.map_err(|error| problem_of_vault(&error))?,
                QueryKind::QueriesAbout,
            )
        } else {
            let requested = RequestedParties {
                caller,
                identity: &identity,
                channel: self.authorizer.channel(caller, query.channel.as_deref())?,
                authentication: &query.authentication,
                id_number: &query.id_number,
                guardian_id_number: None,
            };
            let parties = self.authorizer.parties(requested, now).await?;
            (Some(parties.holder), QueryKind::OwnQueries)
        };
        let found = match holder {
            Some(holder) => self.queries()?.about(holder).await.map_err(|error| unusable(&error))?,
            None => Vec::new(),
        };
        let purpose = query.purpose.as_deref().unwrap_or_default();
        let asked = Asked { kind, purpose, holder };
        self.record_query(caller, asked, found.len(), now).await?;
        if holder.is_none() {
            return Err(Problem::new(
                Code::NotRegistered,
                "no resident with this ID number is registered",
            ));
        }
        let queries = found.into_iter().map(|query| self.told(query)).collect();
        Ok(ListQueriesAboutResponse { queries })
    }

    fn told(&self, query: RecordedQuery) -> QueryAbout {
        let date = local_date(&self.authorizer.policy, Timestamp(query.asked_at));
        QueryAbout {
            date: date.to_string(),
            kind: query.kind,
            purpose: query.purpose.unwrap_or_default(),
        }
    }

    async fn record_query(
        &self,
        caller: &Caller,
        asked: Asked<'_>,
        rows: usize,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let roles: Vec<_> = caller.roles.iter().map(ToString::to_string).collect();
        let query = Query {
            asked_at: now.0,
            asker: caller.id.as_str(),
            roles: &roles,
            kind: asked.kind,
            rows: rows as u64,
            purpose: asked.purpose,
            holder: asked.holder,
        };
        let recorded = self.queries()?.record(&query).await;
        recorded.map(drop).map_err(|error| unusable(&error))
    }

    fn queries(&self) -> Result<&citycode_query_stream::Queries, Problem> {
        self.queries.as_deref().ok_or_else(|| {
            Problem::new(Code::Unavailable, "this issuer has no stream of queries")
                .with_fix("an operator must run `citycode provision` and give this service the stream's credentials")
        })
    }
}

/// A question about a person's queries.
struct Asked<'a> {
    kind: QueryKind,
    purpose: &'a str,
    holder: Option<HolderId>,
}

fn unusable(error: &QueriesError) -> Problem {
    tracing::error!(%error, "a query could not be recorded or read, so it is not answered");
    Problem::new(
        Code::Unavailable,
        "the stream of queries cannot be used, so the question is not answered",
    )
}
