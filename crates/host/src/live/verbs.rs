//! `elea apply`, `elea confirm`, and what the timer and the next boot do about a switch that has not ended.

use super::execute::{self, Machine as Acting, Outcome, Policy, Which, words};
use super::generation::{GenerationEtc, arm};
use super::journal::{Journal, JournalError, State, Switch};
use super::overlay;
use super::plan::{Plan, Step};
use super::report::{APPLY_SCHEMA, Applied, END_SCHEMA, Effect, Ended, How};
use super::specialise;
use super::stale::stale;
use super::system::System;
use super::target::Target;
use crate::error::Error;
use crate::machine::Machine;
use crate::upgrade::release_of;
use crate::view::View;
use crate::{apply, generations, health, plan, verdict, view};
use elea_formats::booted::Etc;
use elea_formats::digest::Digest;
use elea_formats::generation::Generation;
use elea_formats::oplog::{Event, Until};
use elea_formats::release::Health;
use elea_sys::disk::Folder;
use elea_sys::namespace::Namespace;
use elea_sys::progress::{Progress, Unit};
use elea_sys::{durable, signal};
use std::path::PathBuf;
use std::time::Duration;

/// How a configuration is applied.
#[derive(Debug, Clone)]
pub struct Options {
    /// How far.
    pub how: How,
    /// Whether `/usr` is exchanged live, too.
    pub live_usr: bool,
    /// Takes it back after so many seconds unless somebody confirms.
    pub confirm: Option<u64>,
    /// Only says what would be done.
    pub dry_run: bool,
    /// How long to wait while another command is at work.
    pub wait: Duration,
    /// The program `elea`, which the timer runs.
    pub program: PathBuf,
    /// Names and images of the specialisations that the boot menu is to have beside it; none leaves the menu as it is.
    pub specialisations: Option<Vec<(String, Digest)>>,
}

/// Makes an image of the machine's store what runs and what boots next, as far as is asked for.
pub fn apply(
    machine: &Machine,
    image: &Digest,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Applied, Error> {
    let claimed = (!options.dry_run).then(|| machine.claim(options.wait));
    let _claimed = claimed.transpose()?;
    let view = machine.view()?;
    if let Some(booted) = machine.booted() {
        if booted.etc == Etc::Ephemeral && options.how != How::Boot {
            return Err(Error::NotLive(
                "the /etc of this machine is made anew at each boot".into(),
            ));
        }
        let shown = machine.etc_number().unwrap_or(booted.generation);
        let usr_is = !options.live_usr || machine.usr_image() == Some(*image);
        if usr_is && view.manifest(shown).map(|m| m.image) == Some(*image) {
            return runs_already(machine, &view, shown, options);
        }
    } else {
        if options.how == How::Test || options.confirm.is_some() || options.live_usr {
            return Err(Error::NotRunning(machine.root().to_owned()));
        }
        let next = generations::next(&view).and_then(|next| view.manifest(next));
        if let Some(next) = next.filter(|next| next.image == *image) {
            return runs_already(machine, &view, next.number, options);
        }
    }
    let mut target = Target::load(machine, &view, image, options)?;
    let staging = plan::stage(&view, &target.new, true, machine.number())?;
    let arguments = &target.boots.release.arguments;
    let beside = specialise::wanted(
        machine,
        &view,
        &target.new,
        arguments,
        options.specialisations.as_deref(),
    )?;
    let payloads = beside.iter().flatten().flat_map(Generation::payloads);
    apply::check_room(staging.payloads().chain(payloads), machine.boot()?)?;
    let mut applied = Applied {
        schema: APPLY_SCHEMA,
        image: *image,
        number: target.new.number,
        title: target.new.title.clone(),
        how: options.how,
        dry_run: options.dry_run,
        plan: None,
        conflicts: Vec::new(),
        replaces: replaced(&staging),
        specialisations: specialise::shown(beside.as_deref().unwrap_or_default()),
        stale: Vec::new(),
        effect: Effect::Staged,
    };
    if machine.booted().is_some() {
        let (plan, report) = target.plan(machine, options)?;
        if !report.clashes.is_empty() {
            return Err(Error::Clash(report.clashes));
        }
        applied.conflicts = report.conflicts;
        applied.effect = intended(&plan, options)?;
        applied.plan = Some(plan);
    }
    if options.how == How::Test {
        applied.replaces.clear();
    }
    if options.dry_run {
        return Ok(applied);
    }
    if progress.cancelled() {
        return Err(Error::Cancelled);
    }
    let live = applied.plan.as_ref().filter(|plan| !plan.steps.is_empty());
    applied.effect = match live {
        Some(plan) => {
            let effect = switch(machine, &view, &target, plan, options, progress)?;
            let usr = plan
                .usr
                .as_ref()
                .filter(|_| !matches!(effect, Effect::Reverted { .. }));
            if let Some(usr) = usr {
                applied.stale = Namespace::of_init()?.run(|| stale(&usr.replaced))?;
            }
            effect
        }
        None if applied.effect == Effect::Nothing => Effect::Nothing,
        None => {
            let _locked = machine.lock()?;
            let view = machine.view()?;
            let staging = plan::stage(&view, &target.new, true, machine.number())?;
            machine.apply(&staging, &target.boots)?;
            Effect::Staged
        }
    };
    applied.specialisations = match &applied.effect {
        Effect::Staged | Effect::Live => specialise::put(machine, applied.number, beside)?,
        Effect::Waiting { .. } => {
            specialise::reserve(machine, beside.as_deref().unwrap_or_default())?;
            applied.specialisations
        }
        _ => Vec::new(),
    };
    Ok(applied)
}

/// What will come of a plan if nothing fails.
fn intended(plan: &Plan, options: &Options) -> Result<Effect, Error> {
    if plan.steps.is_empty() {
        return match (options.how, plan.reasons.first()) {
            (How::Test, Some(reason)) => Err(Error::NotLive(reason.why.clone())),
            (How::Test, None) => Ok(Effect::Nothing),
            _ => Ok(Effect::Staged),
        };
    }
    Ok(match (options.confirm, options.how) {
        (Some(seconds), _) => Effect::Waiting { seconds },
        (None, How::Test) => Effect::Tested,
        (None, _) => Effect::Live,
    })
}

/// The configuration runs. What boots next may be another: something that is staged is taken back,
/// and what was only tested gets its entry.
fn runs_already(
    machine: &Machine,
    view: &View,
    shown: u64,
    options: &Options,
) -> Result<Applied, Error> {
    let manifest = view.manifest(shown).ok_or(Error::Unknown(shown))?;
    let next = generations::next(view).and_then(|next| view.manifest(next));
    let mut applied = Applied {
        schema: APPLY_SCHEMA,
        image: manifest.image,
        number: shown,
        title: manifest.title.clone(),
        how: options.how,
        dry_run: options.dry_run,
        plan: None,
        conflicts: Vec::new(),
        replaces: Vec::new(),
        specialisations: Vec::new(),
        stale: Vec::new(),
        effect: Effect::Nothing,
    };
    if options.how == How::Test {
        return Ok(applied);
    }
    let arguments = release_of(machine, manifest)?.arguments;
    let beside = specialise::wanted(
        machine,
        view,
        manifest,
        &arguments,
        options.specialisations.as_deref(),
    )?;
    applied.specialisations = specialise::shown(beside.as_deref().unwrap_or_default());
    if next.is_some_and(|next| next.image == manifest.image) {
        if !options.dry_run {
            applied.specialisations = specialise::put(machine, shown, beside)?;
        }
        return Ok(applied);
    }
    applied.effect = Effect::Staged;
    let has_entry = view.entries.generation(shown).is_some();
    let change = if has_entry {
        plan::unstage(view, machine.number())
    } else {
        plan::stage(view, manifest, true, machine.number())?
    };
    applied.replaces = replaced(&change);
    if !options.dry_run {
        if has_entry {
            let _locked = machine.lock()?;
            let change = plan::unstage(&machine.view()?, machine.number());
            machine.apply(&change, &apply::NoPayloads)?;
        } else {
            arm(machine, shown)?;
        }
        applied.specialisations = specialise::put(machine, shown, beside)?;
    }
    Ok(applied)
}

/// Staged generations that a change takes out of the menu.
fn replaced(plan: &plan::Plan) -> Vec<u64> {
    let events = plan.steps.iter().filter_map(|step| match step {
        plan::Step::Record { event } => Some(event),
        _ => None,
    });
    let numbers = events.flat_map(|event| match event {
        Event::Staging { replaces, .. } => replaces.clone(),
        Event::Unstaged { number } => vec![*number],
        _ => Vec::new(),
    });
    numbers.collect()
}

/// Carries a plan out.
fn switch(
    machine: &Machine,
    view: &View,
    target: &Target,
    plan: &Plan,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Effect, Error> {
    let (booted, shown) = (machine.booted(), machine.etc_number());
    let (booted, shown) = booted.zip(shown).ok_or(Error::NotBooted)?;
    let trying = view.state(booted.generation, Some(booted.generation)) == view::State::Trying;
    if trying && verdict::now().is_none_or(|verdict| verdict.boot_id != booted.boot_id) {
        return Err(Error::Unjudged);
    }
    let number = target.new.number;
    let switch = Switch {
        boot: booted.boot_id.clone(),
        old: shown,
        new: number,
        confirm: options.confirm.is_some(),
        test: options.how == How::Test,
    };
    let mut runner = Runner::new(machine, &switch, progress)?;
    runner.health = Some(target.new.health.clone());
    let manifest = plan::reserve(&target.new);
    machine.apply(&manifest, &apply::NoPayloads)?;
    let text = serde_json::to_vec_pretty(plan).unwrap_or_default();
    durable::write(&machine.generation(number).join("live-plan.json"), &text)?;
    signal::ignore_hangup();
    if let Some(seconds) = options.confirm {
        runner.system.stop_timer();
        let program = options.program.to_string_lossy();
        let armed = runner.system.arm_timer(seconds, &program);
        armed.map_err(Error::Live)?;
    }
    let disk = disk(machine);
    let outcome = execute::execute(&plan.steps, &switch, &disk, &mut runner);
    progress.finish();
    let outcome = outcome?;
    if outcome == Outcome::Waiting {
        // The person has the whole time, however long the steps took. Where it is over already,
        // the timer's program waits for this one to end, and takes it back.
        let _ = runner.system.restart_timer();
    }
    let effect = effect(outcome, &switch, options.confirm.unwrap_or(0));
    ended(machine, &runner.system, &switch, &effect)?;
    Ok(effect)
}

fn effect(outcome: Outcome, switch: &Switch, seconds: u64) -> Effect {
    match outcome {
        Outcome::Nothing => Effect::Nothing,
        Outcome::Kept if switch.test => Effect::Tested,
        Outcome::Kept => Effect::Live,
        Outcome::Waiting => Effect::Waiting { seconds },
        Outcome::Reverted { why, missed } => Effect::Reverted { why, missed },
    }
}

/// Writes down how a switch stands, and lets go of what it held if that was its end.
fn ended(
    machine: &Machine,
    system: &System<GenerationEtc<'_>>,
    switch: &Switch,
    effect: &Effect,
) -> Result<(), Error> {
    let applied = |until| Event::Applied {
        number: switch.new,
        from: switch.old,
        until,
    };
    let event = match effect {
        Effect::Live => applied(Until::Kept),
        Effect::Tested => applied(Until::Reboot),
        Effect::Waiting { .. } => applied(Until::Confirmed),
        Effect::Reverted { why, missed } => Event::Reverted {
            number: switch.new,
            to: switch.old,
            reason: why.clone(),
            missed: missed.clone(),
        },
        Effect::Nothing | Effect::Staged => return Ok(()),
    };
    if !matches!(effect, Effect::Waiting { .. }) {
        if switch.confirm {
            system.stop_timer();
        }
        overlay::release();
    }
    let _locked = machine.lock()?;
    machine.apply(&plan::note(event), &apply::NoPayloads)
}

/// The journal's place.
fn disk(machine: &Machine) -> Folder {
    Folder::new(machine.state().root().join("state"))
}

/// The machine as the steps act on it, with the health checks of the new generation at the end.
struct Runner<'a> {
    system: System<'a, GenerationEtc<'a>>,
    health: Option<Health>,
    outside: Namespace,
    progress: &'a dyn Progress,
}

impl<'a> Runner<'a> {
    fn new(
        machine: &'a Machine,
        switch: &Switch,
        progress: &'a dyn Progress,
    ) -> Result<Self, Error> {
        Ok(Self {
            system: System::new(GenerationEtc::new(machine, switch)?, false)
                .stopped_by(progress)
                .outside()?,
            health: None,
            outside: Namespace::of_init()?,
            progress,
        })
    }
}

impl Acting for Runner<'_> {
    fn step(&mut self, step: &Step, which: Which) -> Result<(), String> {
        self.progress.start(&words(step), None, Unit::Items);
        self.system.step(step, which)
    }

    fn check(&mut self) -> Result<(), String> {
        self.progress.start("check", None, Unit::Items);
        self.system.check()?;
        let Some(health) = &self.health else {
            return Ok(());
        };
        let checked = self.outside.run(|| health::passes(health, self.progress));
        checked.map_err(|e| e.to_string())?
    }

    fn keep(&mut self) -> Result<(), String> {
        self.progress.start("keep", None, Unit::Items);
        self.system.keep()
    }

    fn is_kept(&self) -> Result<bool, String> {
        self.system.is_kept()
    }
}

/// Ends a switch of this boot by `end`.
fn end(
    machine: &Machine,
    progress: &dyn Progress,
    end: impl FnOnce(&str, &Folder, &mut Runner<'_>) -> Result<Outcome, execute::ExecuteError>,
) -> Result<Ended, Error> {
    let booted = machine.booted().ok_or(Error::NotBooted)?;
    let disk = disk(machine);
    let journal = load(&disk, &booted.boot_id)?;
    let Some(switch) = journal.switch().cloned() else {
        return Err(execute::ExecuteError::NotWaiting.into());
    };
    let mut runner = Runner::new(machine, &switch, progress)?;
    let outcome = end(&booted.boot_id, &disk, &mut runner);
    progress.finish();
    let outcome = outcome?;
    let number = (outcome != Outcome::Nothing).then_some(switch.new);
    let effect = effect(outcome, &switch, 0);
    if !matches!(effect, Effect::Waiting { .. }) {
        ended(machine, &runner.system, &switch, &effect)?;
    }
    Ok(Ended {
        schema: END_SCHEMA,
        number,
        effect,
    })
}

/// Lets what waits to be confirmed stay.
pub fn confirm_last(
    machine: &Machine,
    wait: Duration,
    progress: &dyn Progress,
) -> Result<Ended, Error> {
    let _claimed = machine.claim_only(wait)?;
    signal::ignore_hangup();
    let ended = end(machine, progress, |boot, disk, runner| {
        execute::confirm(boot, disk, runner)
    })?;
    if let (Some(number), Effect::Live) = (ended.number, &ended.effect) {
        specialise::put_reserved(machine, number)?;
    }
    Ok(ended)
}

/// Takes back what waits to be confirmed, or was cut off. What has ended stays.
pub fn take_back(
    machine: &Machine,
    why: &str,
    wait: Duration,
    progress: &dyn Progress,
) -> Result<Ended, Error> {
    let _claimed = machine.claim_only(wait)?;
    signal::ignore_hangup();
    end(machine, progress, |boot, disk, runner| {
        execute::revert(why, boot, disk, runner)
    })
}

/// What is to be known of a switch of this boot that has not ended: that it waits to be confirmed, or why nothing can be
/// known.
pub(crate) fn warning(machine: &Machine) -> Option<String> {
    let boot_id = &machine.booted()?.boot_id;
    let disk = disk(machine);
    match Journal::load(&disk, boot_id).map(|journal| journal.state()) {
        Ok(State::Forward {
            waits: true, boot, ..
        }) if boot == *boot_id => Some(Error::Unconfirmed.to_string()),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

fn load<'d>(disk: &'d Folder, boot: &str) -> Result<Journal<'d>, Error> {
    Ok(Journal::load(disk, boot).map_err(execute::ExecuteError::from)?)
}

/// The images that a switch of this boot may go back to or on to, while it has not ended. Which those of a newer Elea's
/// are is not known, so that nothing can be collected meanwhile.
pub(crate) fn open_images(machine: &Machine, view: &View) -> Result<Vec<Digest>, Error> {
    let disk = disk(machine);
    // Nothing is live on a machine that does not run.
    let boot = machine.booted().map_or("", |booted| &booted.boot_id);
    let journal = match Journal::load(&disk, boot) {
        Ok(journal) => journal,
        Err(newer @ JournalError::Newer { .. }) => {
            return Err(execute::ExecuteError::from(newer).into());
        }
        Err(_) => return Ok(Vec::new()),
    };
    let (State::Forward { steps, .. } | State::Back { steps, .. }, Some(switch)) =
        (journal.state(), journal.switch())
    else {
        return Ok(Vec::new());
    };
    let of_usr = steps.iter().flat_map(|step| match step {
        Step::Usr { from, to } => vec![*from, *to],
        _ => Vec::new(),
    });
    let generations = [switch.old, switch.new].into_iter();
    let of_etc = generations.filter_map(|number| Some(view.manifest(number)?.image));
    Ok(of_usr.chain(of_etc).collect())
}

/// Ends a switch that was cut off, for whoever holds the claim. One that waits is an error.
pub fn settle(machine: &Machine) -> Result<Option<Ended>, Error> {
    let Some(booted) = machine.booted() else {
        return Ok(None);
    };
    let disk = disk(machine);
    let journal = load(&disk, &booted.boot_id)?;
    let state = journal.state();
    if state.is_over() {
        return Ok(None);
    }
    if let State::Forward {
        waits: true, boot, ..
    } = &state
        && *boot == booted.boot_id
    {
        return Err(Error::Unconfirmed);
    }
    let ended = end(
        machine,
        &elea_sys::progress::Silent,
        |boot, disk, runner| execute::recover(Policy::Revert, boot, disk, runner),
    )?;
    Ok(Some(ended))
}

/// The same at the beginning of a boot.
pub fn close(machine: &Machine) -> Result<Option<Ended>, Error> {
    let _claimed = machine.claim_only(Duration::ZERO)?;
    let disk = disk(machine);
    let boot = machine.booted().map_or("", |booted| &booted.boot_id);
    if let Err(JournalError::Damaged { line: 1, .. }) = Journal::load(&disk, boot) {
        Journal::put_away(&disk)?;
    }
    settle(machine)
}
