//! Everything that is wrong with a config, drawn for people and as JSON for programs.

use super::value::Place;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

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

/// One thing that is wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigError {
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
    #[serde(skip)]
    drawing: Drawing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Drawing {
    at: Option<Place>,
    other: Option<(Place, String)>,
}

/// All that is wrong with a config. As a text it is drawn with the lines at fault.
#[derive(Debug, Clone)]
pub struct Errors {
    list: Vec<ConfigError>,
    sources: Vec<Source>,
}

/// The same for programs.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: &'static str,
    errors: &'a [ConfigError],
}

impl Errors {
    pub(super) fn new(sources: Vec<Source>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|p| p.at);
        problems.dedup_by(|a, b| a.at == b.at && a.what == b.what);
        let list = problems
            .into_iter()
            .map(|problem| {
                let position = problem.at.and_then(|at| {
                    let source = sources.get(at.file)?;
                    let (line, column) = position(&source.text, at.start);
                    Some((source.path.clone(), line, column))
                });
                let (file, line, column) = match position {
                    Some((file, line, column)) => (Some(file), line, column),
                    None => (None, 0, 0),
                };
                ConfigError {
                    file,
                    line,
                    column,
                    message: problem.what,
                    label: problem.label,
                    help: problem.help,
                    drawing: Drawing {
                        at: problem.at,
                        other: problem.other,
                    },
                }
            })
            .collect();
        Self { list, sources }
    }

    /// The errors, by file and place.
    pub fn list(&self) -> &[ConfigError] {
        &self.list
    }

    /// Draws them, with colours for a terminal if asked to.
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let drawn: Vec<String> = self
            .list
            .iter()
            .map(|error| renderer.render(&[self.group(error)]))
            .collect();
        drawn.join("\n\n")
    }

    fn group<'a>(&'a self, error: &'a ConfigError) -> Group<'a> {
        let title = Level::ERROR.primary_title(error.message.as_str());
        let mut group = Group::with_title(title);
        if let Some(at) = error.drawing.at {
            let mut other = error.drawing.other.as_ref();
            let mut snippet = self.snippet(at.file).annotation(
                AnnotationKind::Primary
                    .span(at.start..at.end.max(at.start))
                    .label(error.label.as_str()),
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
        match &error.help {
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
            errors: &self.list,
        };
        serde_json::to_string_pretty(&document).unwrap_or_default()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Errors {}

/// Line and column of a byte, both from 1; columns count characters.
pub(super) fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}
