//! The first messages between a worker and its supervisor: what to build, and the sockets for it.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::configuration::Configuration;
use super::link::SupervisorLink;
use super::sockets::{self, not_bound};
use super::start_failure::StartFailure;
use crate::config::METRICS;
use crate::control::PROTOCOL;
use crate::control::message::{BindAddress, Cause, Held, Refused, RenderedProblem, Start, ToSupervisor, ToWorker};
use crate::control::payload::Payload;

/// The first messages of the supervisor.
pub(super) struct Orders {
    pub(super) start: Start,
    pub(super) remembered: Option<Payload>,
    pub(super) held: Vec<(Held, OwnedFd)>,
}

/// Sends `Hello` and receives what to build.
pub(super) async fn greet(link: &SupervisorLink) -> Result<Orders, StartFailure> {
    let hello = ToSupervisor::Hello { protocol: PROTOCOL, version: crate::sys::version().to_owned() };
    link.try_send(&hello, &[]).map_err(|_| StartFailure::SupervisorGone)?;
    let (message, mut with) = receive(link).await?;
    let ToWorker::Start(start) = message else {
        return Err(StartFailure::Confused("the supervisor did not begin with what to build".to_owned()));
    };
    let remembered = with.pop().map(Payload::from);
    let mut held = Vec::new();
    while held.len() < start.sockets {
        let (message, with) = receive(link).await?;
        match message {
            ToWorker::Listeners(names) if names.len() == with.len() && !names.is_empty() => {
                held.extend(names.into_iter().zip(with));
            }
            _ => return Err(StartFailure::Confused("the supervisor did not send the sockets".to_owned())),
        }
    }
    Ok(Orders { start, remembered, held })
}

/// Reports what would be served, and waits for `Build` or `Stop`. Gives the sources of the configuration that serves.
pub(super) async fn propose(
    link: &SupervisorLink,
    configuration: &Configuration,
) -> Result<Option<Payload>, StartFailure> {
    let may_bind = Some(sockets::with_address(&configuration.config));
    let loaded = ToSupervisor::Loaded { config_hash: configuration.hash.clone(), may_bind };
    link.try_send(&loaded, &[]).map_err(|_| StartFailure::SupervisorGone)?;
    match receive(link).await? {
        (ToWorker::Build, mut with) => Ok(with.pop().map(Payload::from)),
        _ => Err(StartFailure::NotNeeded),
    }
}

/// Has the supervisor bind the missing sockets: only it may use low ports, and its sockets outlive this process.
pub(super) async fn bind(
    link: &SupervisorLink,
    missing: Vec<(String, BindAddress)>,
    alone: bool,
    warnings: &mut Vec<String>,
) -> Result<Vec<(Held, OwnedFd)>, StartFailure> {
    let mut bound = Vec::new();
    let mut problems: Vec<RenderedProblem> = Vec::new();
    for (listener, address) in missing {
        let wish = ToSupervisor::Bind { listener: listener.clone(), address: address.clone() };
        link.try_send(&wish, &[]).map_err(|_| StartFailure::SupervisorGone)?;
        match receive(link).await? {
            (ToWorker::Bound { .. }, mut with) if with.len() == 1 => {
                let held = Held { listener, bound: Some(address) };
                bound.extend(with.pop().map(|socket| (held, socket)));
            }
            // clients are served without monitoring rather than not at all
            (ToWorker::BindFailed { reason, .. }, _) if alone && listener == METRICS => {
                warnings.push(not_bound(&listener, &address, &reason).text.replacen("error", "warning", 1));
            }
            (ToWorker::BindFailed { reason, .. }, _) => problems.push(not_bound(&listener, &address, &reason)),
            _ => {
                return Err(StartFailure::Confused("the supervisor did not answer about a socket".to_owned()));
            }
        }
    }
    if problems.is_empty() {
        return Ok(bound);
    }
    let cause = Cause::System;
    Err(Refused { cause, problems }.into())
}

async fn receive(link: &SupervisorLink) -> Result<(ToWorker, Vec<OwnedFd>), StartFailure> {
    match tokio::time::timeout(SUPERVISOR_DEADLINE, link.receive()).await {
        Ok(Ok(Some(heard))) => Ok(heard),
        Ok(Ok(None)) => Err(StartFailure::SupervisorGone),
        Ok(Err(fault)) => Err(StartFailure::Confused(fault.to_string())),
        Err(_) => Err(StartFailure::Confused("the supervisor says nothing".to_owned())),
    }
}

const SUPERVISOR_DEADLINE: Duration = Duration::from_secs(10);
