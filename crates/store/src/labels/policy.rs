//! A policy's file contexts: expressions and the labels of what they match.

use crate::Error;
use regex_automata::hybrid::dfa::{Cache, Config, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};
use std::collections::HashMap;

/// The most memory that the expressions of a policy may need, in bytes, and their cache.
const MAX_STATES: usize = 128 << 20;
const CACHE: usize = 10_000_000;

/// A policy that can be asked.
pub(super) struct Policy {
    matcher: DFA,
    cache: Cache,
    /// By the number of the expression; none for `<<none>>`.
    labels: Vec<Option<Vec<u8>>>,
    /// Paths that are asked about under another name.
    substitutes: HashMap<Vec<u8>, Vec<u8>>,
}

pub(super) fn refuse(reason: impl Into<String>) -> Error {
    Error::Policy {
        reason: reason.into(),
    }
}

/// The policy that `/etc/selinux/config` names, if it names one. The name is a place below `/etc/selinux`.
pub(super) fn name(config: &str) -> Result<Option<String>, Error> {
    let name = config.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim().eq_ignore_ascii_case("SELINUXTYPE")).then(|| value.trim().to_owned())
    });
    match name {
        Some(name) if name.is_empty() || name.split('/').any(|part| part == "..") => {
            Err(refuse("its config names no policy"))
        }
        name => Ok(name),
    }
}

impl Policy {
    /// Reads files of rules, the later ones first in rank, and files of substitutes.
    pub(super) fn parse(rules: &[String], substitutes: &[String]) -> Result<Self, Error> {
        let mut expressions = Vec::new();
        let mut labels = Vec::new();
        for line in rules.iter().flat_map(|text| text.lines()) {
            if let Some((expression, label)) = rule(line)? {
                expressions.push(expression);
                labels.push((label != "<<none>>").then(|| label.as_bytes().to_vec()));
            }
        }
        // The last rule that matches counts, and the matcher prefers the first.
        expressions.reverse();
        labels.reverse();
        let syntax = syntax::Config::new()
            .unicode(false)
            .utf8(false)
            .line_terminator(0);
        if let Some((expression, error)) = expressions
            .iter()
            .find_map(|e| Some((e, syntax::parse_with(e, &syntax).err()?)))
        {
            let expression: String = expression.chars().take(100).collect();
            let error = error.to_string();
            let last = error.lines().last().unwrap_or_default();
            return Err(refuse(format!(
                "the expression `{expression}` is not understood: {last}"
            )));
        }
        let matcher = DFA::builder()
            .syntax(syntax)
            .thompson(thompson::Config::new().nfa_size_limit(Some(MAX_STATES)))
            .configure(
                Config::new()
                    .cache_capacity(CACHE)
                    .skip_cache_capacity_check(true),
            )
            .build_many(&expressions)
            .map_err(|e| refuse(e.to_string()))?;
        let mut found = HashMap::new();
        for line in substitutes.iter().flat_map(|text| text.lines()) {
            if let Some((from, to)) = substitute(line)? {
                found.insert(from.into(), to.into());
            }
        }
        Ok(Self {
            cache: matcher.create_cache(),
            matcher,
            labels,
            substitutes: found,
        })
    }

    /// The label of a path of a type, if it has one.
    pub(super) fn label(&mut self, path: &[u8], kind: u8) -> Result<Option<Vec<u8>>, Error> {
        let key = [path, &[kind]].concat();
        let input = Input::new(&key).anchored(Anchored::Yes);
        let found = self
            .matcher
            .try_search_fwd(&mut self.cache, &input)
            .map_err(|e| refuse(e.to_string()))?;
        Ok(found.and_then(|found| self.labels[found.pattern().as_usize()].clone()))
    }

    /// The path that is asked about instead of another.
    pub(super) fn substitute(&self, path: &[u8]) -> Option<&[u8]> {
        self.substitutes.get(path).map(Vec::as_slice)
    }
}

/// The words of a line that is neither empty nor a comment.
fn words(line: &str) -> Option<Vec<&str>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    words
        .first()
        .is_some_and(|word| !word.starts_with('#'))
        .then_some(words)
}

/// `EXPRESSION [-TYPE] LABEL` as an expression for the path with its type behind it, and the label.
fn rule(line: &str) -> Result<Option<(String, &str)>, Error> {
    Ok(match words(line).as_deref() {
        None => None,
        Some([expression, label]) if !label.starts_with('-') => {
            Some((format!("^({expression}).$"), label))
        }
        Some(
            [
                expression,
                "-b" | "-c" | "-d" | "-p" | "-l" | "-s" | "--",
                label,
            ],
        ) => {
            let kind = &line.split_whitespace().nth(1).unwrap_or_default()[1..];
            Some((format!("^({expression}){kind}$"), label))
        }
        Some(_) => return Err(malformed(line)),
    })
}

/// `FROM TO`.
fn substitute(line: &str) -> Result<Option<(&str, &str)>, Error> {
    Ok(match words(line).as_deref() {
        None => None,
        Some([from, to]) => Some((from, to)),
        Some(_) => return Err(malformed(line)),
    })
}

fn malformed(line: &str) -> Error {
    let line: String = line.chars().take(100).collect();
    refuse(format!("the line `{line}` is malformed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &str, substitutes: &str) -> Result<Policy, Error> {
        Policy::parse(&[rules.to_owned()], &[substitutes.to_owned()])
    }

    #[test]
    fn the_last_rule_that_matches_the_whole_path_and_type_counts() {
        let rules = "\
# a comment
/.*              any
/usr/bin(/.*)?   bin
/usr/bin/x  --   file
/usr/bin/none    <<none>>
";
        let mut policy = policy(rules, "/lib /usr/bin\n").unwrap();
        let mut label = |path: &str, kind| {
            let label = policy.label(path.as_bytes(), kind).unwrap();
            label.map(|label| String::from_utf8(label).unwrap())
        };
        assert_eq!(label("/", b'd').as_deref(), Some("any"));
        assert_eq!(label("/usr/bin", b'd').as_deref(), Some("bin"));
        assert_eq!(label("/usr/binary", b'-').as_deref(), Some("any"));
        assert_eq!(label("/usr/bin/x", b'-').as_deref(), Some("file"));
        assert_eq!(label("/usr/bin/x", b'l').as_deref(), Some("bin"));
        assert_eq!(label("/usr/bin/none", b'-'), None);
        assert_eq!(policy.substitute(b"/lib"), Some(&b"/usr/bin"[..]));
        assert_eq!(policy.substitute(b"/lib/x"), None);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        for rules in [
            "/a",
            "/a -x l",
            "/a -- l more",
            "/a(?=b) l",
            "/a( l",
            "/a{9999}{9999}{99} l",
        ] {
            let error = policy(rules, "").err().map(|e| e.to_string());
            assert!(
                error.is_some_and(|e| e.contains("SELinux policy")),
                "{rules}"
            );
        }
        assert!(policy("", "/a").is_err() && policy("", "/a b c").is_err());
    }

    #[test]
    fn the_config_names_the_policy() {
        let config = "# SELINUXTYPE=no\nSELINUX=enforcing\n SelinuxType = targeted \n";
        assert_eq!(name(config).unwrap().as_deref(), Some("targeted"));
        assert_eq!(name("SELINUX=disabled\n").unwrap(), None);
        assert!(name("SELINUXTYPE=../x\n").is_err());
    }
}
