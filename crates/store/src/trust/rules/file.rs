//! The text of `trust.toml`.

use super::{Demand, Rule, Rules, Scope, Signers};
use crate::trust::{Keys, PublicKey};
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use elea_formats::oci::reference::Prefix;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// The largest file that is read, in bytes.
pub(super) const LIMIT: u64 = 256 << 10;
/// The word for the keys of `trust.d`.
const TRUST_D: &str = "trust.d";

/// What is wrong with a `trust.toml`, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{drawn}")]
pub struct RulesError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// Both, with the line at fault.
    drawn: String,
}

/// The keys that a `trust.toml` may mean.
#[expect(missing_debug_implementations, reason = "it holds a closure")]
pub struct Known<'a> {
    /// Those of the `trust.d` folders.
    pub trust_d: &'a Keys,
    /// Those of the command line.
    pub named: &'a Keys,
    /// Reads a file of keys, or says why it cannot be read.
    pub file: &'a dyn Fn(&Path) -> Result<Keys, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    rules: BTreeMap<Spanned<String>, Spanned<Entry>>,
    default: Option<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    policy: Option<Spanned<String>>,
    keys: Option<Spanned<Vec<Spanned<String>>>>,
    threshold: Option<Spanned<i64>>,
    signed_as: Option<Spanned<String>>,
}

/// Something wrong, and where it stands in bytes.
type Complaint = (Range<usize>, String);

/// Reads a `trust.toml`; `path` is what it is called in messages.
pub fn parse(path: &Path, text: &str, known: &Known<'_>) -> Result<Rules, RulesError> {
    let document: Document = toml::from_str(text).map_err(|e| {
        let at = e.span().unwrap_or(0..0);
        complain(path, text, at, e.message())
    })?;
    rules(path, document, known).map_err(|(at, what)| complain(path, text, at, &what))
}

fn rules(path: &Path, document: Document, known: &Known<'_>) -> Result<Rules, Complaint> {
    let file = path.display();
    let mut rules: Vec<Rule> = Vec::new();
    for (prefix, entry) in document.rules {
        let scope = scope(prefix.get_ref()).map_err(|what| (prefix.span(), what))?;
        if rules.iter().any(|rule| rule.scope.as_ref() == Some(&scope)) {
            let what = format!(
                "`{}` has a rule already, in another spelling",
                prefix.get_ref()
            );
            return Err((prefix.span(), what));
        }
        rules.push(Rule {
            name: format!("the rule `{}` in {file}", prefix.get_ref()),
            demand: demand(entry, known, Some(&scope))?,
            scope: Some(scope),
        });
    }
    let demand = match document.default {
        Some(entry) => demand(entry, known, None)?,
        None => Demand::Reject,
    };
    Ok(Rules {
        rules,
        default: Rule {
            name: format!("the default of {file}"),
            demand,
            scope: None,
        },
    })
}

fn scope(text: &str) -> Result<Scope, String> {
    let path = |rest: &str| match rest {
        "" => Ok(PathBuf::from("/")),
        path if path.starts_with('/') && !path.split('/').any(|part| part == "..") => {
            Ok(PathBuf::from(path))
        }
        _ => Err(format!(
            "`{text}`: the path must be absolute and without `..`"
        )),
    };
    if let Some(rest) = text.strip_prefix("oci:") {
        return path(rest).map(Scope::Layout);
    }
    if let Some(rest) = text.strip_prefix("oci-archive:") {
        return path(rest).map(Scope::Archive);
    }
    let prefix = text.parse().map(Scope::Registry);
    prefix.map_err(|e| {
        format!(
            "`{text}` is not HOST[:PORT][/NAME], oci:/PATH or oci-archive:/PATH: {}",
            e.reason
        )
    })
}

fn demand(
    entry: Spanned<Entry>,
    known: &Known<'_>,
    scope: Option<&Scope>,
) -> Result<Demand, Complaint> {
    let at = entry.span();
    let entry = entry.into_inner();
    let plain = match entry
        .policy
        .as_ref()
        .map(|policy| policy.get_ref().as_str())
    {
        None | Some("signed") => return signers(at, entry, known, scope).map(Demand::Signed),
        Some("accept") => Demand::Accept,
        Some("reject") => Demand::Reject,
        Some(other) => {
            let what =
                format!("`{other}` is no policy: write \"signed\", \"accept\" or \"reject\"");
            return Err((entry.policy.map_or(at, |policy| policy.span()), what));
        }
    };
    let beside = [
        entry.keys.map(|v| v.span()),
        entry.threshold.map(|v| v.span()),
        entry.signed_as.map(|v| v.span()),
    ];
    match beside.into_iter().flatten().next() {
        None => Ok(plain),
        Some(at) => Err((at, "this belongs to the policy \"signed\" alone".into())),
    }
}

fn signers(
    at: Range<usize>,
    entry: Entry,
    known: &Known<'_>,
    scope: Option<&Scope>,
) -> Result<Signers, Complaint> {
    let Some(list) = entry.keys else {
        let what = "who must have signed is missing: add `keys = [\"FILE.pub\"]`, or a policy";
        return Err((at, what.into()));
    };
    let at = list.span();
    let mut keys = Keys::default();
    let mut open = false;
    for text in list.into_inner() {
        open |= text.get_ref() == TRUST_D;
        keys.extend(&keys_of(text.get_ref(), known).map_err(|what| (text.span(), what))?);
    }
    if keys.is_empty() && !open {
        return Err((
            at,
            "a rule without keys is never met; write policy = \"reject\"".into(),
        ));
    }
    let threshold = match entry.threshold {
        None => 1,
        Some(number) => match usize::try_from(*number.get_ref()) {
            // Of trust.d more keys may come.
            Ok(n) if n > 0 && (open || n <= keys.iter().count()) => n,
            _ => {
                let what = format!(
                    "the threshold must be from 1 to {}, the number of the rule's different keys",
                    keys.iter().count()
                );
                return Err((number.span(), what));
            }
        },
    };
    let signed_as = match (entry.signed_as, scope) {
        (None, _) => None,
        (Some(text), None) => {
            return Err((
                text.span(),
                "the default covers no prefix that could be another".into(),
            ));
        }
        (Some(text), Some(_)) => {
            let prefix = text.get_ref().parse::<Prefix>();
            Some(prefix.map_err(|e| (text.span(), e.to_string()))?)
        }
    };
    keys.extend(known.named);
    Ok(Signers {
        keys,
        threshold,
        signed_as,
    })
}

/// What an item of `keys` means: the word, a key itself, or a file.
fn keys_of(text: &str, known: &Known<'_>) -> Result<Keys, String> {
    if text == TRUST_D {
        return Ok(known.trust_d.clone());
    }
    if !text.contains("-----BEGIN") {
        return (known.file)(Path::new(text));
    }
    let mut keys = Keys::default();
    for key in PublicKey::parse_pem(text).map_err(|e| e.to_string())? {
        keys.add(Path::new("trust.toml"), key);
    }
    Ok(keys)
}

fn complain(path: &Path, text: &str, at: Range<usize>, message: &str) -> RulesError {
    let at = at.start.min(text.len())..at.end.min(text.len());
    let before = text.get(..at.start).unwrap_or(text);
    let shown = path.to_string_lossy();
    let snippet = Snippet::source(text)
        .path(shown.as_ref())
        .annotation(AnnotationKind::Primary.span(at));
    let title = Level::ERROR.no_name().primary_title(message);
    RulesError {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before.rsplit('\n').next().unwrap_or("").chars().count() + 1,
        message: message.to_owned(),
        drawn: Renderer::plain().render(&[title.element(snippet)]),
    }
}
