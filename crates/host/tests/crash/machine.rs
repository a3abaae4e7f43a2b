//! A machine of the model: two disks, a loader, an initrd, and a person who does things.

use crate::disk::{CrashDisk, Dice, Kind, Power};
use elea_formats::bls::{Counter, Entry, FileName, Owner};
use elea_formats::booted::{TRY_SCHEMA, Try};
use elea_formats::digest::Sha256;
use elea_formats::generation::{Generation, Payload, SCHEMA};
use elea_formats::oplog::{Cause, Event};
use elea_formats::release::Health;
use elea_host::apply::{Context, Error, Payloads, apply, is_whole};
use elea_host::entries::{FOLDER, Own};
use elea_host::plan::{self, Plan, Refusal};
use elea_host::view::{Disks, State, View};
use elea_host::{fsck, generations, plan::Keep};
use elea_sys::disk::Disk;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Kernels and initrds of releases that exist somewhere in the world.
#[derive(Default)]
pub(crate) struct World(BTreeMap<Sha256, Vec<u8>>);

impl Payloads for World {
    fn payload(&self, payload: &Payload) -> Result<Vec<u8>, Error> {
        let found = self.0.get(&payload.sha256).cloned();
        found.ok_or_else(|| Error::Source("not in the world".into()))
    }
}

impl World {
    fn add(&mut self, content: &str) -> Payload {
        let content = content.repeat(40).into_bytes();
        let payload = Payload {
            sha256: Sha256::of(&content),
            size: content.len() as u64,
        };
        self.0.insert(payload.sha256, content);
        payload
    }
}

/// What a boot comes to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    Healthy,
    /// The health check fails; `true` condemns at once.
    Unhealthy(bool),
    /// The kernel panics before or after the initrd's record.
    Panic(bool),
}

pub(crate) struct Machine {
    pub(crate) state: CrashDisk,
    pub(crate) boot: CrashDisk,
    pub(crate) power: Power,
    pub(crate) world: World,
    pub(crate) dice: Dice,
    pub(crate) booted: Option<u64>,
    boots: u64,
    highest: u64,
    /// Releases (by their number in the world) that must be refused.
    pub(crate) refused: BTreeSet<u8>,
    releases: BTreeMap<u64, u8>,
    /// Whether a good generation was condemned, so that only the rescue entry is promised.
    good_condemned: bool,
}

/// The power went; nothing else may go wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PowerCut;

impl Machine {
    pub(crate) fn new(kind: Kind, seed: u64) -> Self {
        let power: Power = Rc::new(Cell::new(None));
        let disk = |kind, size| CrashDisk::new(kind, size, power.clone());
        let mut machine = Self {
            state: disk(Kind::Ext4, 1 << 30),
            boot: disk(kind, 1 << 30),
            power: power.clone(),
            world: World::default(),
            dice: Dice(seed | 1),
            booted: None,
            boots: 0,
            highest: 0,
            refused: BTreeSet::new(),
            releases: BTreeMap::new(),
            good_condemned: false,
        };
        let generation = machine.generation(0, 1);
        let view = machine.view();
        let plan = plan::stage(&view, &generation, false, None).unwrap();
        machine.apply(&plan).unwrap();
        machine.state.mkdir("state").unwrap();
        machine.state.sync_all().unwrap();
        machine
    }

    pub(crate) fn disks(&self) -> Disks<'_> {
        Disks {
            state: &self.state,
            boot: &self.boot,
        }
    }

    pub(crate) fn view(&self) -> View {
        View::load(self.disks()).expect("the disks can be read")
    }

    fn try_view(&self) -> Result<View, PowerCut> {
        match View::load(self.disks()) {
            Ok(view) => Ok(view),
            Err(_) if self.power.get() == Some(0) => Err(PowerCut),
            Err(e) => panic!("{e}"),
        }
    }

    fn generation(&mut self, release: u8, number: u64) -> Generation {
        // Releases 0 and 1 share a kernel, as most do.
        let kernel = self.world.add(&format!("kernel {}", release / 2));
        let initrd = self.world.add(&format!("initrd {release}"));
        self.releases.insert(number, release);
        let image = Sha256::of(&[release]);
        Generation {
            schema: SCHEMA.into(),
            number,
            image: image.into(),
            form: "os-1".into(),
            name: "hello".into(),
            version: format!("{release}.0"),
            epoch: 0,
            title: format!("Hello {release}"),
            kernel,
            initrds: vec![initrd],
            options: format!("composefs.digest=v1-sha256-12:{image} elea.generation={number} ro"),
            health: Health::default(),
            source: None,
            oci_manifest: None,
            from: None,
            specialisation: None,
            created: "2026-11-24T16:30:00Z".into(),
        }
    }

    fn context(&self) -> Context {
        Context {
            time: "2026-11-24T16:30:00Z".into(),
            boot: Some(format!("boot-{}", self.boots)),
            by: "model".into(),
        }
    }

    fn apply(&self, plan: &Plan) -> Result<(), PowerCut> {
        match apply(plan, self.disks(), &self.context(), &self.world) {
            Ok(()) => Ok(()),
            Err(_) if self.power.get() == Some(0) => Err(PowerCut),
            Err(e) => panic!("{}: {e}", plan.what),
        }
    }

    /// A number of which anything was ever durable is not used again.
    fn number_is_new(&self, number: u64) {
        assert!(number > self.highest, "number {number} was used before");
    }

    // What a person does.

    pub(crate) fn stage(&mut self, release: u8) -> Result<(), PowerCut> {
        let view = self.try_view()?;
        let number = view.next_number();
        let generation = self.generation(release, number);
        let must_refuse = self.refused.contains(&release);
        match plan::stage(&view, &generation, true, self.booted) {
            Err(Refusal::FailedBefore { .. }) => {
                assert!(
                    must_refuse,
                    "release {release} was refused without a failure"
                );
                Ok(())
            }
            Err(other) => panic!("{other}"),
            Ok(plan) => {
                assert!(!must_refuse, "failed release {release} was offered again");
                self.number_is_new(number);
                self.apply(&plan)
            }
        }
    }

    /// A specialisation beside what boots next takes the place of the one that is there.
    pub(crate) fn specialise(&mut self, release: u8) -> Result<(), PowerCut> {
        let view = self.try_view()?;
        let Some(of) = generations::next(&view).filter(|of| view.manifest(*of).is_some()) else {
            return Ok(());
        };
        let number = view.next_number();
        let one = self.generation(release, number).beside("s", of, number);
        let plan = plan::specialise(&view, of, &[one], self.booted);
        let is_new = plan
            .steps
            .iter()
            .any(|s| matches!(s, plan::Step::Manifest { .. }));
        assert!(
            !(is_new && self.refused.contains(&release)),
            "failed release {release} was offered again"
        );
        if is_new {
            self.number_is_new(number);
        }
        self.apply(&plan)
    }

    pub(crate) fn rollback(&mut self, to: Option<u64>) -> Result<(), PowerCut> {
        let view = self.try_view()?;
        let Ok(plan) = plan::rollback(&view, to, self.booted, "2026-11-24T16:30:00Z") else {
            return Ok(());
        };
        if let Some(number) = plan.number {
            self.number_is_new(number);
            let from = plan.steps.iter().find_map(|s| match s {
                plan::Step::Manifest { generation } => generation.from,
                _ => None,
            });
            let release = self.releases[&from.expect("a rollback says from where")];
            self.releases.insert(number, release);
        }
        self.apply(&plan)
    }

    pub(crate) fn retry(&mut self, number: u64) -> Result<(), PowerCut> {
        let view = self.try_view()?;
        let Ok(plan) = plan::retry(&view, number, self.booted, "2026-11-24T16:30:00Z") else {
            return Ok(());
        };
        let new = plan.number.expect("a retry makes a generation");
        self.number_is_new(new);
        let release = self.releases[&number];
        self.releases.insert(new, release);
        // With a power cut the record of the retry may or may not be there.
        self.apply(&plan)?;
        self.refused.remove(&release);
        Ok(())
    }

    pub(crate) fn pin(&mut self, number: u64, pinned: bool) -> Result<(), PowerCut> {
        match plan::pin(&self.try_view()?, number, pinned) {
            Ok(plan) => self.apply(&plan),
            Err(_) => Ok(()),
        }
    }

    pub(crate) fn unstage(&mut self) -> Result<(), PowerCut> {
        let plan = plan::unstage(&self.try_view()?, self.booted);
        self.apply(&plan)
    }

    /// Somebody deletes the entry of the newest generation, or the firmware tears it.
    pub(crate) fn lose_entry(&mut self, to_8_3: bool) {
        let view = self.view();
        let Some((number, own)) = view.entries.generations().next_back() else {
            return;
        };
        let good: Vec<u64> = view.entries.good().collect();
        if good == [number] {
            return;
        }
        let counter = own.counter;
        let owner = Owner::Generation(number);
        let path = format!("{FOLDER}/{}", FileName { owner, counter });
        if to_8_3 {
            let short = format!("{FOLDER}/ELEA-{}~1.CON", number % 10);
            self.boot.rename(&path, &short).unwrap();
        } else {
            self.boot.remove(&path).unwrap();
        }
        self.boot.sync_all().unwrap();
        self.note_failures();
    }

    /// Releases that must be refused though no good boot has written down their failure.
    fn note_failures(&mut self) {
        let view = self.view();
        for (number, folder) in &view.generations {
            let told = view.log.iter().any(|r| match r.event {
                Event::Failed { number: n, .. } | Event::Retried { number: n, .. } => n == *number,
                _ => false,
            });
            let gone = || {
                let good = view.was_committed(*number);
                view.state(*number, None) == State::Vanished && !good && !folder.tries.is_empty()
            };
            let failed = match view.entries.generation(*number) {
                Some(own) => own.counter.is_some_and(|c| c.left == 0),
                None => gone(),
            };
            if failed && !told {
                self.refused.extend(self.releases.get(number));
            }
        }
    }

    // What the machine does.

    /// The loader: its own reading of the folder, independent of the code under test.
    fn load_entry(&mut self) -> (String, Entry) {
        let mut all = Vec::new();
        for name in self.boot.list(FOLDER).unwrap() {
            let text = self
                .boot
                .read(&format!("{FOLDER}/{}", name.name), 1 << 16)
                .unwrap();
            let text = String::from_utf8(text).expect("no torn entry is visible");
            if std::path::Path::new(&name.name).extension() == Some("conf".as_ref()) {
                let entry = Entry::parse(&text).expect("no torn entry is visible");
                let bad = name.name.contains("+0-");
                let version: i64 = entry.version.clone().unwrap().parse().unwrap();
                all.push(((bad, entry.sort_key.clone(), -version), name.name, entry));
            }
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let (_, name, entry) = all.into_iter().next().expect("there is something to boot");
        for path in entry.initrds.iter().chain(&entry.linux) {
            let name = path.strip_prefix("/elea/").unwrap();
            let content = self.boot.read(&format!("elea/{name}"), 1 << 20);
            let content = content.unwrap_or_else(|e| panic!("default entry {path}: {e}"));
            assert_eq!(
                Sha256::of(&content).to_string(),
                name,
                "a torn payload boots"
            );
        }
        (name, entry)
    }

    /// One boot: the loader counts, the initrd writes its record, the health gate judges.
    pub(crate) fn boot(&mut self, outcome: Outcome) -> Result<(), PowerCut> {
        let (name, entry) = self.load_entry();
        if let Some(Owner::Generation(number)) = FileName::parse(&name).map(|file| file.owner) {
            let beside = self.view().stands_beside(number);
            assert_eq!(beside, None, "a specialisation boots by itself");
        }
        self.boot_entry(&name, &entry, outcome)
    }

    /// Somebody picks the newest specialisation in the menu, if there is one whose tries are not used up.
    pub(crate) fn pick(&mut self, outcome: Outcome) -> Result<(), PowerCut> {
        let view = self.view();
        let may = |number: u64, own: &Own| view.stands_beside(number).is_some() && own.may_boot();
        let mut newest_first = view.entries.generations().rev();
        let Some((number, own)) = newest_first.find(|(number, own)| may(*number, own)) else {
            return Ok(());
        };
        let owner = Owner::Generation(number);
        let counter = own.counter;
        let name = FileName { owner, counter }.to_string();
        self.boot_entry(&name, &Entry::parse(&own.text).unwrap(), outcome)
    }

    fn boot_entry(&mut self, name: &str, entry: &Entry, outcome: Outcome) -> Result<(), PowerCut> {
        self.boots += 1;
        let file = FileName::parse(name).expect("an entry of Elea's boots");
        if let Some(c) = file.counter.filter(|c| c.left > 0) {
            let counter = Some(Counter {
                left: c.left - 1,
                done: c.done + 1,
            });
            let owner = file.owner;
            let new = format!("{FOLDER}/{}", FileName { owner, counter });
            self.boot.rename(&format!("{FOLDER}/{name}"), &new).unwrap();
            self.boot.sync_all().unwrap();
        }
        let Owner::Generation(number) = file.owner else {
            let all_gone = self.good_condemned;
            assert!(
                all_gone,
                "the rescue entry boots though no good generation failed"
            );
            self.booted = None;
            return Ok(());
        };
        assert_eq!(entry.version, Some(number.to_string()));
        self.booted = Some(number);
        if let Outcome::Panic(false) = outcome {
            return Ok(());
        }
        self.initrd(number);
        match outcome {
            Outcome::Healthy => self.healthy(number),
            Outcome::Unhealthy(condemn) => self.unhealthy(number, condemn),
            Outcome::Panic(_) => Ok(()),
        }
    }

    fn initrd(&mut self, number: u64) {
        let base = format!("generations/{number}");
        self.state.mkdir(&format!("{base}/tries")).unwrap();
        let record = Try {
            schema: TRY_SCHEMA.into(),
            boot_id: format!("boot-{}", self.boots),
            time: format!("{:09}", self.boots),
            number,
            ended: None,
        };
        let text = serde_json::to_vec(&record).unwrap();
        let path = format!("{base}/tries/boot-{}.json", self.boots);
        self.state.write_new(&path, &text).unwrap();
        let last = "state/last-run";
        if self.state.size(last).unwrap().is_some() {
            self.state.remove(last).unwrap();
        }
        self.state
            .write_new(last, format!("{number}\n").as_bytes())
            .unwrap();
        self.state.sync_all().unwrap();
    }

    fn repair(&mut self) -> Result<(), PowerCut> {
        let view = self.try_view()?;
        let whole = |number| {
            let payloads = view
                .manifest(number)
                .map(|g| g.payloads().cloned().collect());
            let payloads: Vec<Payload> = payloads.unwrap_or_default();
            payloads
                .iter()
                .all(|p| is_whole(&self.boot, p).unwrap_or(false))
        };
        let plan = plan::repair(&view, &whole);
        self.apply(&plan)
    }

    fn healthy(&mut self, number: u64) -> Result<(), PowerCut> {
        self.repair()?;
        self.apply(&plan::healthy(number))?;
        let plan = plan::commit(&self.try_view()?, number).unwrap();
        self.apply(&plan)?;
        self.refused.remove(&self.releases[&number]);
        self.harvest()?;
        let view = self.try_view()?;
        let kept = plan::keep(&view, self.booted);
        assert_eq!(kept.get(&number), Some(&Keep::Booted));
        let plan = plan::collect(&view, self.booted);
        self.apply(&plan)?;
        self.collected_right(&kept)
    }

    fn collected_right(&self, kept: &BTreeMap<u64, Keep>) -> Result<(), PowerCut> {
        let view = self.try_view()?;
        for number in kept.keys() {
            assert!(
                view.manifest(*number).is_some(),
                "{number} was collected but kept"
            );
        }
        let again = plan::collect(&view, self.booted);
        assert!(again.is_empty(), "collecting twice finds more: {again:?}");
        Ok(())
    }

    /// A good boot writes down why others failed.
    fn harvest(&mut self) -> Result<(), PowerCut> {
        let view = self.try_view()?;
        for number in view.numbers() {
            if Some(number) == self.booted || view.failure(number).is_some() {
                continue;
            }
            let cause = match view.state(number, self.booted) {
                State::Failed => Cause::Health,
                State::Vanished if !view.was_committed(number) => Cause::Vanished,
                _ => continue,
            };
            let plan = plan::failed(&view, number, cause, "model");
            self.apply(&plan)?;
            let refuses = plan.steps.iter().any(|s| {
                matches!(
                    s,
                    plan::Step::Record {
                        event: Event::Failed { refused: true, .. }
                    }
                )
            });
            if refuses {
                self.refused.insert(self.releases[&number]);
            }
        }
        Ok(())
    }

    fn unhealthy(&mut self, number: u64, condemn: bool) -> Result<(), PowerCut> {
        let view = self.try_view()?;
        let is_good = view.state(number, None) == State::Good;
        let again = view.generations[&number].tries.len() >= 2;
        let condemn = if is_good { again } else { condemn };
        if is_good && condemn {
            self.good_condemned = true;
        }
        let plan = plan::unhealthy(&view, number, Cause::Health, "model", condemn);
        self.apply(&plan)
    }

    /// The power comes back: what was not durable is what the dice say.
    pub(crate) fn restore_power(&mut self) {
        self.power.set(None);
        self.state.crash(&mut self.dice);
        self.boot.crash(&mut self.dice);
        // A retry or commit that was cut may have lifted a refusal, or not.
        for record in self.view().log {
            match record.event {
                Event::Failed {
                    number,
                    refused: true,
                    ..
                } => self.refused.extend(self.releases.get(&number)),
                Event::Retried { number, .. } => {
                    self.refused.remove(&self.releases[&number]);
                }
                _ => {}
            }
        }
    }

    // What must always hold.

    pub(crate) fn check(&mut self, good_before: &[u64]) {
        let view = self.view();
        self.highest = view
            .numbers()
            .into_iter()
            .max()
            .unwrap_or(0)
            .max(self.highest);
        self.note_failures();
        let report = fsck::check(&view, self.disks()).unwrap();
        for finding in &report.findings {
            let excused = finding.invariant == 1 && self.good_condemned;
            let repairable = finding.severity < fsck::Severity::Broken;
            assert!(excused || repairable, "{finding:?}\n{view:#?}");
        }
        let running_is_good = self
            .booted
            .is_some_and(|n| view.state(n, None) == State::Good);
        // Nothing goes before the running generation is committed (invariant 4).
        let committed = self.booted.is_some_and(|n| view.was_committed(n));
        if !(running_is_good && committed) {
            let plan = plan::collect(&view, self.booted);
            assert!(plan.is_empty(), "collected before the commit: {plan:?}");
        }
        if !running_is_good && !self.good_condemned {
            for number in good_before {
                let state = view.state(*number, None);
                assert_eq!(state, State::Good, "{number} went before the commit");
            }
        }
    }

    /// After a repair nothing is left to repair.
    pub(crate) fn repaired_is_clean(&mut self) {
        self.repair().unwrap();
        let view = self.view();
        let again = plan::repair(&view, &|_| true);
        assert!(again.is_empty(), "a repair that repairs again: {again:?}");
        self.note_failures();
    }

    pub(crate) fn good(&self) -> Vec<u64> {
        self.view().entries.good().collect()
    }
}
