//! The variables of a session, for those who read environment.d(5) and for shells.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// What the Base Directory Specification has where the variable is not set.
const DATA: &str = "/usr/local/share:/usr/share";

/// As environment.d(5) reads it. What a profile offers goes before what is there.
pub(super) fn of_manager(variables: &BTreeMap<String, String>, profile: Option<&Path>) -> String {
    let mut text = String::new();
    for (name, value) in variables {
        let _ = writeln!(text, "{name}=\"{}\"", literal(value));
    }
    if let Some(profile) = profile {
        let profile = literal(&profile.display().to_string());
        let _ = writeln!(text, "PATH=\"{profile}/bin:${{PATH}}\"");
        let _ = writeln!(
            text,
            "XDG_DATA_DIRS=\"{profile}/share:${{XDG_DATA_DIRS:-{DATA}}}\""
        );
    }
    text
}

/// As a POSIX shell reads it; twice is as good as once.
pub(super) fn of_shells(variables: &BTreeMap<String, String>, profile: Option<&Path>) -> String {
    let mut text = String::from("# Written by `elea home apply`; for `.` in ~/.profile.\n");
    for (name, value) in variables {
        let value = value.replace('\'', r"'\''");
        let _ = writeln!(text, "export {name}='{value}'");
    }
    if let Some(profile) = profile {
        let profile = escaped(&profile.display().to_string());
        for (name, folder, other) in [
            ("PATH", "bin", "/usr/local/bin:/usr/bin:/bin"),
            ("XDG_DATA_DIRS", "share", DATA),
        ] {
            let _ = write!(
                text,
                "case \":${name}:\" in\n*\":{profile}/{folder}:\"*) ;;\n\
                 *) export {name}=\"{profile}/{folder}:${{{name}:-{other}}}\" ;;\nesac\n"
            );
        }
    }
    text
}

/// The same where systemd reads it: variables are expanded once quotes are gone, and `$$` is the sign.
fn literal(value: &str) -> String {
    escaped(value).replace("\\$", "$$")
}

/// Between double quotes nothing has a meaning then.
fn escaped(value: &str) -> String {
    let mut quoted = String::new();
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn systemd_and_shells_get_every_value_as_it_is() {
        let values = BTreeMap::from([
            ("A".to_owned(), "it's \"$HOME\" `x` \\".to_owned()),
            ("B".to_owned(), String::new()),
        ]);
        let generator =
            "/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator";
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/environment.d");
        std::fs::create_dir_all(&folder).unwrap();
        let text = of_manager(&values, Some(Path::new("/a $b/\"c")));
        std::fs::write(folder.join("x.conf"), text).unwrap();
        let mut command = Command::new(generator);
        command.env_clear().env("HOME", home.path());
        if let Ok(ran) = command.env("PATH", "/bin").output() {
            let said = String::from_utf8_lossy(&ran.stdout).into_owned();
            // A shell reads what it prints.
            let script = format!("{said}\nprintf '%s\\n' \"$A\" \"$PATH\" \"$XDG_DATA_DIRS\"");
            let ran = Command::new("bash").args(["-c", &script]).output().unwrap();
            let expected = "it's \"$HOME\" `x` \\\n/a $b/\"c/bin:/bin\n\
                /a $b/\"c/share:/usr/local/share:/usr/share\n";
            assert_eq!(String::from_utf8_lossy(&ran.stdout), expected, "{said}");
        }
        let text = of_shells(&values, Some(Path::new("/a $b/\"c")));
        let script =
            format!("{text}{text}printf '%s\\n' \"$A\" \"$B\" \"$PATH\" \"$XDG_DATA_DIRS\"");
        for shell in ["sh", "bash"] {
            let mut command = Command::new(shell);
            command
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .args(["-c", &script]);
            let Ok(ran) = command.output() else { continue };
            let expected = "it's \"$HOME\" `x` \\\n\n/a $b/\"c/bin:/usr/bin:/bin\n\
                /a $b/\"c/share:/usr/local/share:/usr/share\n";
            assert_eq!(String::from_utf8_lossy(&ran.stdout), expected, "{shell}");
        }
    }
}
