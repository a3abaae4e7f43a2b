//! The cause of a failure from what its boots left: a pure decision.

use crate::verdict::Verdict;
use elea_formats::booted::Try;
use elea_formats::oplog::Cause;

/// How a boot's journal ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// There is none: user space was not reached, or the journal was not yet written out.
    None,
    /// The system was stopped in order.
    Orderly,
    /// It stops in the middle; its last line.
    Cut(String),
}

/// What is left of the boots of a generation.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Whether its entry is gone.
    pub vanished: bool,
    /// Its boots without a verdict of health.
    pub tries: Vec<Try>,
    /// The verdicts that were kept, oldest first.
    pub(crate) verdicts: Vec<Verdict>,
    /// Reasons of panics.
    pub panics: Vec<String>,
    /// The last reason that the initrd gave.
    pub words: Option<String>,
    /// What is wrong with its entry, kernel or initrd.
    pub damage: Option<String>,
    /// How the journals of its tries end, in their order.
    pub journals: Vec<End>,
}

/// What a journal says of the end of its boot.
pub(super) fn end_of(journal: &str) -> End {
    let mut lines = journal.lines().rev().filter(|l| !l.trim().is_empty());
    let Some(last) = lines.next() else {
        return End::None;
    };
    let orderly = |line: &str| {
        line.contains("Journal stopped")
            || line.contains("systemd-shutdown")
            || line.contains("Reached target reboot.target")
            || line.contains("Reached target poweroff.target")
            || line.contains("Reached target shutdown.target")
    };
    if std::iter::once(last).chain(lines.take(30)).any(orderly) {
        return End::Orderly;
    }
    End::Cut(last.chars().take(300).collect())
}

/// Decides why a generation failed. What says most comes first: a verdict, a panic, the
/// initrd's words, damage that can be seen, a person's restarts; what is left is a hang.
pub fn decide(facts: &Facts) -> (Cause, String) {
    let verdict = facts.verdicts.iter().rev().find(|v| !v.healthy);
    if let Some(verdict) = verdict {
        let reason = verdict.reason.clone();
        return (
            verdict.cause.unwrap_or(Cause::Health),
            reason.unwrap_or_else(|| "it was not healthy".into()),
        );
    }
    if let Some(reason) = facts.panics.last() {
        let reason = match facts.panics.len() {
            1 => reason.clone(),
            n => format!("{reason} ({n} times)"),
        };
        return (Cause::Panic, reason);
    }
    if let Some(words) = &facts.words {
        return (
            Cause::Initrd,
            format!("the initrd could not start it: {words}"),
        );
    }
    if facts.vanished {
        return (Cause::Vanished, "its boot entry is gone".into());
    }
    if facts.tries.is_empty() {
        return match &facts.damage {
            Some(damage) => (Cause::Initrd, damage.clone()),
            None => (
                Cause::Hang,
                "its kernel or initrd stopped before the disk was reached".into(),
            ),
        };
    }
    let failures = facts.tries.iter().filter(|t| t.counts()).count();
    if failures == 0 {
        let who = facts.tries.iter().rev().find_map(|t| t.ended.as_deref());
        let reason = match who {
            Some("power") => "the power went at each try",
            _ => "each try was ended before it was judged",
        };
        return (Cause::Interrupted, reason.into());
    }
    let mut journals = facts.journals.iter().rev();
    let end = journals.find(|end| **end != End::None);
    let reason = match end {
        Some(End::Cut(last)) => format!(
            "the system stopped without a word (a hang, a reset by the watchdog, or the power); its journal ends: {last}"
        ),
        Some(End::Orderly) => "the system restarted in order before it was judged".into(),
        _ => "the system stopped without a word and left no journal (a hang, a reset by the watchdog, or the power)"
            .into(),
    };
    (Cause::Hang, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(ended: Option<&str>) -> Try {
        Try {
            schema: String::new(),
            boot_id: "b".into(),
            time: String::new(),
            number: 2,
            ended: ended.map(Into::into),
        }
    }

    #[test]
    fn what_says_most_is_the_reason() {
        let mut facts = Facts {
            tries: vec![tried(None), tried(Some("user"))],
            journals: vec![End::Cut("Starting hang.service".into()), End::None],
            ..Facts::default()
        };
        let (cause, reason) = decide(&facts);
        assert_eq!(cause, Cause::Hang);
        assert!(reason.ends_with("Starting hang.service"), "{reason}");
        facts.words = Some("the image is damaged".into());
        assert_eq!(decide(&facts).0, Cause::Initrd);
        facts.panics = vec!["sysrq".into(), "sysrq".into()];
        assert_eq!(decide(&facts), (Cause::Panic, "sysrq (2 times)".into()));
        let verdict = Verdict::new("b", 2).failed(Cause::Health, "x.service failed");
        facts.verdicts = vec![verdict];
        assert_eq!(decide(&facts), (Cause::Health, "x.service failed".into()));
    }

    #[test]
    fn without_tries_the_kernel_never_reached_the_disk() {
        let mut facts = Facts::default();
        assert_eq!(decide(&facts).0, Cause::Hang);
        facts.damage = Some("its kernel is damaged".into());
        assert_eq!(
            decide(&facts),
            (Cause::Initrd, "its kernel is damaged".into())
        );
        facts.vanished = true;
        assert_eq!(decide(&facts).0, Cause::Vanished);
    }

    #[test]
    fn tries_that_a_person_ended_are_no_failure() {
        let mut facts = Facts {
            tries: vec![tried(Some("user")), tried(Some("user"))],
            ..Facts::default()
        };
        assert_eq!(decide(&facts).0, Cause::Interrupted);
        facts.tries.push(tried(None));
        assert_eq!(decide(&facts).0, Cause::Hang);
    }

    #[test]
    fn the_end_of_a_journal_is_told() {
        assert_eq!(end_of("\n"), End::None);
        let orderly = "a\nsystemd[1]: Reached target reboot.target - System Reboot.\nsystemd-journald[1]: Journal stopped\n";
        assert_eq!(end_of(orderly), End::Orderly);
        assert_eq!(end_of("a\nb\n\n"), End::Cut("b".into()));
    }
}
