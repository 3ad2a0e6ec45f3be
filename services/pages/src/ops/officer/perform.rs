//! Does an act. The same form sent twice has one effect, because it has one command id.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::Response;
use citycode_service_kit::problem::Problem;
use citycode_wire::proto::issuer::v1::{EraseRequest, RelateRequest, RenameRequest, UnrelateRequest};
use citycode_wire::proto::model::v1::Standing;
use citycode_wire::proto::revocation::v1::{ReinstateRequest, RevokeRequest, SetStandingRequest, SuspendRequest};

use super::super::access::Operating;
use super::super::result::{self, Again};
use super::{Act, Typed, ask, effects};
use crate::caller::PageCaller;
use crate::problem_page::PageError;
use crate::site::{SharedSite, Site};

pub(in crate::ops) async fn perform(
    State(site): SharedSite,
    op: Operating,
    Path(act): Path<String>,
    Form(typed): Form<Typed>,
) -> Result<Response, PageError> {
    let act = Act::of(&act, &op)?;
    let command_id = op.command(&site, &typed.form_token, &typed.command_id)?;
    let f = op.frame(&site, &act.path());
    // The fields come from our own form; changed ones are refused.
    let wanted = ask::checked(&site, &f, act, &typed).map_err(|_| PageError::StaleForm)?;
    let caller = op.caller_among(act.roles())?;
    let result = match call(&site, &caller, act, &wanted, command_id).await {
        Ok(changed) => Ok(effects::result(&site, &op, &f, act, &wanted, changed).await),
        Err(problem) => Err(problem),
    };
    let mut fields = ask::hidden(&wanted, &wanted.valid_before);
    fields.push(("command_id", typed.command_id));
    let again = Again {
        action: format!("{}/done", act.path()),
        fields,
    };
    let title = f.t(&format!("ops-act-{}", act.name()));
    Ok(result::show(&op, f, title, result, again, "/ops/officer"))
}

/// Calls the service. Returns the code that it changed, if it names one.
async fn call(
    site: &Site,
    caller: &PageCaller,
    act: Act,
    wanted: &Typed,
    command_id: Vec<u8>,
) -> Result<Option<String>, Problem> {
    match act {
        Act::Suspend | Act::Reinstate | Act::Revoke => hold(site, caller, act, wanted, command_id).await,
        Act::Standing => set_standing(site, caller, wanted, command_id).await.map(|()| None),
        Act::Relate | Act::Unrelate => relate(site, caller, act, wanted, command_id).await.map(|()| None),
        Act::Rename => {
            let request = RenameRequest {
                command_id,
                channel: String::new(),
                authentication: None,
                id_number: wanted.id_number.clone(),
                name: wanted.name.clone(),
                reason: wanted.reason.clone(),
            };
            site.clients
                .issuer
                .clone()
                .rename(site.request(caller, request)?)
                .await?;
            Ok(None)
        }
        Act::Erase => {
            let request = EraseRequest {
                command_id,
                channel: String::new(),
                authentication: None,
                id_number: wanted.id_number.clone(),
            };
            site.clients
                .issuer
                .clone()
                .erase(site.request(caller, request)?)
                .await?;
            Ok(None)
        }
    }
}

async fn hold(
    site: &Site,
    caller: &PageCaller,
    act: Act,
    wanted: &Typed,
    command_id: Vec<u8>,
) -> Result<Option<String>, Problem> {
    let Typed {
        kind,
        id_number,
        guardian,
        reason,
        ..
    } = wanted.clone();
    let mut revocation = site.clients.revocation.clone();
    match act {
        Act::Suspend => {
            let request = SuspendRequest {
                command_id,
                kind,
                id_number,
                guardian_id_number: guardian,
                reason,
            };
            let answer = revocation.suspend(site.request(caller, request)?).await?;
            Ok(Some(answer.into_inner().code_id))
        }
        Act::Reinstate => {
            let request = ReinstateRequest {
                command_id,
                kind,
                id_number,
                guardian_id_number: guardian,
                reason,
            };
            let answer = revocation.reinstate(site.request(caller, request)?).await?;
            Ok(answer.into_inner().code_id)
        }
        _ => {
            let request = RevokeRequest {
                command_id,
                kind,
                id_number,
                guardian_id_number: guardian,
                reason,
            };
            let answer = revocation.revoke(site.request(caller, request)?).await?;
            Ok(Some(answer.into_inner().code_id))
        }
    }
}

async fn set_standing(site: &Site, caller: &PageCaller, wanted: &Typed, command_id: Vec<u8>) -> Result<(), Problem> {
    let standing = match wanted.standing.as_str() {
        "green" => Standing::Green,
        "yellow" => Standing::Yellow,
        _ => Standing::Red,
    };
    let request = SetStandingRequest {
        command_id,
        id_number: wanted.id_number.clone(),
        standing: standing.into(),
        reason: wanted.reason.clone(),
    };
    let mut revocation = site.clients.revocation.clone();
    revocation.set_standing(site.request(caller, request)?).await?;
    Ok(())
}

async fn relate(
    site: &Site,
    caller: &PageCaller,
    act: Act,
    wanted: &Typed,
    command_id: Vec<u8>,
) -> Result<(), Problem> {
    let mut issuer = site.clients.issuer.clone();
    let (guardian_id_number, dependent_id_number) = (wanted.guardian.clone(), wanted.id_number.clone());
    if act == Act::Relate {
        let request = RelateRequest {
            command_id,
            channel: String::new(),
            guardian_authentication: None,
            dependent_authentication: None,
            guardian_id_number,
            dependent_id_number,
        };
        issuer.relate(site.request(caller, request)?).await?;
    } else {
        let request = UnrelateRequest {
            command_id,
            channel: String::new(),
            authentication: None,
            guardian_id_number,
            dependent_id_number,
        };
        issuer.unrelate(site.request(caller, request)?).await?;
    }
    Ok(())
}
