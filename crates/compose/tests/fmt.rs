//! Formatting keeps what a config says, and its comments.

use elea_compose::config::{FmtError, format};
use std::fs;
use std::path::Path;

const UNTIDY: &str = r#"

# At the top.

schema=1   # the language
  # Of imports.
imports = [ "a.toml" ,"b.toml" ]


[ system ]#what it is
name   = 'hello'
version="1.0"
a . b  = 1


# Two blank lines were above.
[packages]
install = ["one-package-with-a-long-name", "another-package-with-a-long-name", "and-one-more-of-them", "last"] # all

[files."/etc/a"]
content = """
  # no comment
  kept   as it is
"""
[[use]]
module = "m.toml"
with={port=1,names=["a","b"]}
for_each = [
  # the first
  "x", # behind x
  "y"
  # at the end
]
# At the end.
"#;

const TIDY: &str = r#"# At the top.

schema = 1 # the language
# Of imports.
imports = ["a.toml", "b.toml"]

[system] #what it is
name = 'hello'
version = "1.0"
a.b = 1

# Two blank lines were above.
[packages]
install = [
  "one-package-with-a-long-name",
  "another-package-with-a-long-name",
  "and-one-more-of-them",
  "last",
] # all

[files."/etc/a"]
content = """
  # no comment
  kept   as it is
"""

[[use]]
module = "m.toml"
with = { port = 1, names = ["a", "b"] }
for_each = [
  # the first
  "x", # behind x
  "y",
  # at the end
]
# At the end.
"#;

#[test]
fn a_text_becomes_tidy_and_stays_so() {
    assert_eq!(format(UNTIDY).unwrap(), TIDY);
    assert_eq!(format(TIDY).unwrap(), TIDY);
    assert_eq!(format("").unwrap(), "");
    assert_eq!(format("a=1\n # the end").unwrap(), "a = 1\n# the end\n");
    assert_eq!(format("# alone").unwrap(), "# alone\n");
    assert!(matches!(format("a = "), Err(FmtError::Toml(_))));
}

#[test]
fn the_examples_are_tidy() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["../../examples/hello", "src/config/profiles"] {
        for entry in fs::read_dir(here.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "toml") {
                let text = fs::read_to_string(&path).unwrap();
                assert_eq!(format(&text).unwrap(), text, "{}", path.display());
            }
        }
    }
}
