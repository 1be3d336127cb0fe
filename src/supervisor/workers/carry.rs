//! The workers over an upgrade of the supervisor. They do not notice it: their channels stay open, and they stay
//! children of the same process.

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::path::PathBuf;

use rustix::process::{Pid, RawPid, Signal};
use serde::{Deserialize, Serialize};

use super::{Proven, WorkerProcess, Workers};
use crate::control::channel::Channel;
use crate::control::payload::Payload;
use crate::control::statistics::StatisticsReader;
use crate::supervisor::descriptors::{Carrier, Inherited};
use crate::supervisor::generations::Input;
use crate::supervisor::process::{Image, Process};

/// [`Workers`], with numbers in the place of descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub struct CarriedWorkers {
    binary: PathBuf,
    config: PathBuf,
    /// Absent in the state of older supervisors.
    #[serde(default)]
    set: Vec<String>,
    run_dir: PathBuf,
    list: Vec<CarriedWorker>,
    proven: Option<CarriedProven>,
    /// Workers of the same binary share its descriptor.
    images: BTreeMap<RawFd, PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CarriedWorker {
    number: u64,
    pid: RawPid,
    channel: Option<RawFd>,
    image: RawFd,
    remembered: Option<RawFd>,
    sources: Option<RawFd>,
    #[serde(rename = "tally")]
    statistics: Option<RawFd>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CarriedProven {
    image: RawFd,
    sources: RawFd,
}

impl Workers {
    /// All of it, for another program to continue with.
    pub(in crate::supervisor) fn carry<'a>(&'a self, carrier: &mut Carrier<'a>) -> CarriedWorkers {
        // every field by name: a new field must be considered here
        let Self { binary, config, set, run_dir, list, proven } = self;
        let mut images = BTreeMap::new();
        let mut image_of = |image: &'a Image, carrier: &mut Carrier<'a>| {
            let number = carrier.carry(image);
            images.insert(number, image.path().to_owned());
            number
        };
        let list = list.iter().map(|one| CarriedWorker {
            number: one.number,
            pid: one.process.pid().as_raw_pid(),
            channel: one.channel.as_ref().map(|channel| carrier.carry(channel)),
            image: image_of(&one.image, carrier),
            remembered: one.remembered.as_ref().map(|payload| carrier.carry(payload)),
            sources: one.sources.as_ref().map(|payload| carrier.carry(payload)),
            statistics: one.statistics.as_ref().map(|statistics| carrier.carry(statistics)),
        });
        let list = list.collect();
        let proven = proven.as_ref().map(|proven| CarriedProven {
            image: image_of(&proven.image, carrier),
            sources: carrier.carry(&proven.sources),
        });
        CarriedWorkers {
            binary: binary.clone(),
            config: config.clone(),
            set: set.clone(),
            run_dir: run_dir.clone(),
            list,
            proven,
            images,
        }
    }

    /// Restores the workers that another program wrote down. A defect of one of them becomes an input about it.
    pub(in crate::supervisor) fn go_on(carried: CarriedWorkers, inherited: &mut Inherited) -> (Self, Vec<Input>) {
        let CarriedWorkers { binary, config, set, run_dir, list, proven, images } = carried;
        let images: BTreeMap<_, _> = images
            .into_iter()
            .filter_map(|(number, path)| Some((number, Image::from_fd(inherited.take(number)?, path).ok()?)))
            .collect();
        let mut workers = Self { binary, config, set, run_dir, list: Vec::new(), proven: None };
        let mut inputs = Vec::new();
        for one in list {
            let number = one.number;
            match one.go_on(&images, inherited) {
                Ok(worker) => {
                    inputs.extend(worker.channel.is_none().then_some(Input::ChannelClosed(number)));
                    workers.list.push(worker);
                }
                Err(why) => inputs.push(Input::Exited(number, format!("was lost in the upgrade: {why}"))),
            }
        }
        workers.proven = proven.and_then(|proven| {
            let image = images.get(&proven.image)?.clone();
            let sources = inherited.take(proven.sources)?.into();
            Some(Proven { image, sources })
        });
        (workers, inputs)
    }
}

impl CarriedWorker {
    fn go_on(self, images: &BTreeMap<RawFd, Image>, inherited: &mut Inherited) -> Result<WorkerProcess, String> {
        let pid = Pid::from_raw(self.pid).ok_or("it has no process")?;
        let process = Process::adopt(pid).map_err(|fault| format!("process {pid}: {fault}"))?;
        let Some(image) = images.get(&self.image).cloned() else {
            process.signal(Signal::KILL);
            let _ = process.wait(); // it was killed, so this is short
            return Err(format!("process {pid}: its program is not known"));
        };
        let mut take = |number: Option<RawFd>| number.and_then(|number| inherited.take(number));
        let channel = take(self.channel).and_then(|socket| Channel::from_socket(socket).ok());
        let (remembered, sources, statistics) = (take(self.remembered), take(self.sources), take(self.statistics));
        Ok(WorkerProcess {
            number: self.number,
            process,
            channel,
            image,
            remembered: remembered.map(Payload::from),
            sources: sources.map(Payload::from),
            statistics: statistics.map(StatisticsReader::from),
        })
    }
}
