//! Everything that is wrong with a config, or looks so, drawn for people and as JSON for programs.

use super::value::Place;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;
use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The value of `schema`.
const SCHEMA: &str = "elea.config-errors/1";

/// A config file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Something that is wrong, not yet tied to lines.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) at: Option<Place>,
    pub(super) what: String,
    pub(super) label: String,
    pub(super) help: Option<String>,
    /// Another place that belongs to it, and what it is.
    pub(super) other: Option<(Place, String)>,
}

/// One thing that is wrong with a config, or looks so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file; none if no file is at fault.
    pub file: Option<PathBuf>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What is to be seen at that place.
    pub label: String,
    /// What to do.
    pub help: Option<String>,
    /// Another place that belongs to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<Other>,
    #[serde(skip)]
    drawing: Drawing,
}

/// Another place that belongs to a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Other {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is to be seen at that place.
    pub label: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Drawing {
    at: Option<Place>,
    other: Option<(Place, String)>,
}

/// The files that were read.
pub(super) type Sources = Arc<Vec<Source>>;

/// All that was found in a config: what is wrong with it, and what is allowed and most likely not meant. As a text it is
/// drawn with the lines at fault.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    sources: Sources,
}

/// The same for programs.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: &'static str,
    errors: &'a [Finding],
    warnings: &'a [Finding],
}

impl Findings {
    pub(super) fn new(sources: Sources, errors: Vec<Problem>, warnings: Vec<Problem>) -> Self {
        Self {
            errors: placed(&sources, errors),
            warnings: placed(&sources, warnings),
            sources,
        }
    }

    /// Errors that only the packages could tell, each tied to a value by its dotted name, whose place is looked up.
    pub(super) fn tied(
        sources: Sources,
        found: Vec<(String, String, Option<String>)>,
        place: impl Fn(&str) -> Option<Place>,
    ) -> Self {
        let problems = found.into_iter().map(|(key, what, help)| Problem {
            at: place(&key),
            what,
            label: String::new(),
            help,
            other: None,
        });
        Self::new(sources, problems.collect(), Vec::new())
    }

    /// One thing that is wrong and stands in no file.
    pub fn error(what: String, help: &str) -> Self {
        let problem = Problem {
            at: None,
            what,
            label: String::new(),
            help: Some(help.to_owned()),
            other: None,
        };
        Self::new(Sources::default(), vec![problem], Vec::new())
    }

    /// What is wrong, by file and place.
    pub fn errors(&self) -> &[Finding] {
        &self.errors
    }

    /// What looks wrong, by file and place.
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    pub(super) fn sources(&self) -> Sources {
        Arc::clone(&self.sources)
    }

    /// The same, and what somebody else found in the same config.
    #[must_use]
    pub fn and(mut self, more: Self) -> Self {
        if self.sources.is_empty() {
            self.sources = more.sources;
        }
        self.errors.extend(more.errors);
        self.warnings.extend(more.warnings);
        in_order(&mut self.errors);
        in_order(&mut self.warnings);
        self
    }

    /// Draws them, with colours for a terminal if asked to. What is wrong comes last: that is what is read first.
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let warnings = self.warnings.iter().map(|found| (Level::WARNING, found));
        let errors = self.errors.iter().map(|found| (Level::ERROR, found));
        let drawn: Vec<String> = warnings
            .chain(errors)
            .map(|(level, found)| renderer.render(&[self.group(level, found)]))
            .collect();
        drawn.join("\n\n")
    }

    fn group<'a>(&'a self, level: Level<'a>, found: &'a Finding) -> Group<'a> {
        let title = level.primary_title(found.message.as_str());
        let mut group = Group::with_title(title);
        if let Some(at) = found.drawing.at {
            let mut other = found.drawing.other.as_ref();
            let mut snippet = self.snippet(at.file).annotation(
                AnnotationKind::Primary
                    .span(at.start..at.end.max(at.start))
                    .label(found.label.as_str()),
            );
            if let Some((place, label)) = other.filter(|(place, _)| place.file == at.file) {
                snippet = snippet.annotation(
                    AnnotationKind::Context
                        .span(place.start..place.end)
                        .label(label.as_str()),
                );
                other = None;
            }
            group = group.element(snippet);
            if let Some((place, label)) = other {
                group = group.element(
                    self.snippet(place.file).annotation(
                        AnnotationKind::Context
                            .span(place.start..place.end)
                            .label(label.as_str()),
                    ),
                );
            }
        }
        match &found.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        }
    }

    fn snippet(&self, file: usize) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
        let (text, path) = self
            .sources
            .get(file)
            .map_or(("", std::borrow::Cow::Borrowed("")), |s| {
                (s.text.as_str(), s.path.to_string_lossy())
            });
        Snippet::source(text).path(path)
    }

    /// As JSON: `elea.config-errors/1`.
    pub fn to_json(&self) -> String {
        let document = Document {
            schema: SCHEMA,
            errors: &self.errors,
            warnings: &self.warnings,
        };
        serde_json::to_string_pretty(&document).unwrap_or_default()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Findings {}

/// Problems tied to lines, in the order of these.
fn placed(sources: &[Source], problems: Vec<Problem>) -> Vec<Finding> {
    let position_of = |at: Place| {
        let source = sources.get(at.file)?;
        let (line, column) = position(&source.text, at.start);
        Some((source.path.clone(), line, column))
    };
    let finding = |problem: Problem| {
        let (file, line, column) = match problem.at.and_then(position_of) {
            Some((file, line, column)) => (Some(file), line, column),
            None => (None, 0, 0),
        };
        let other = problem.other.as_ref().and_then(|(at, label)| {
            let (file, line, column) = position_of(*at)?;
            let label = label.clone();
            Some(Other {
                file,
                line,
                column,
                label,
            })
        });
        Finding {
            file,
            line,
            column,
            message: problem.what,
            label: problem.label,
            help: problem.help,
            other,
            drawing: Drawing {
                at: problem.at,
                other: problem.other,
            },
        }
    };
    let mut findings = problems.into_iter().map(finding).collect();
    in_order(&mut findings);
    findings
}

/// By place, each once: what holds for a system holds for its specialisations.
fn in_order(findings: &mut Vec<Finding>) {
    findings.sort_by_key(|found| found.drawing.at);
    let mut seen = HashSet::new();
    findings.retain(|found| seen.insert((found.drawing.at, found.message.clone())));
}

/// The place of a text within another one, where it stands there as it is.
pub(super) fn within(sources: &[Source], place: Place, text: &str) -> Option<Place> {
    let source = &sources.get(place.file)?.text;
    let start = place.start + source.get(place.start..place.end)?.find(text)?;
    Some(Place {
        start,
        end: start + text.len(),
        ..place
    })
}

/// Line and column of a byte, both from 1; columns count characters.
pub(super) fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}
