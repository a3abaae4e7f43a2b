//! A home, applied by an ordinary user of a machine with a real session manager.

use super::{Base, Scenario, Stage, Told};
use crate::Result;
use crate::guest::BOOT;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "home",
    done: "a user without root applies a home with files, a folder, merged keys, a unit and variables, logs in, goes back, and removes it",
    run: home,
}];

/// What the person has, and declares: all in the folder `dots`, but for a file of theirs that is merged into.
const SETUP: &str = "set -e
loginctl enable-linger ada
install -d -o ada -g ada /home/ada/dots /home/ada/dots/nvim
cat > /home/ada/dots/home.toml <<'.'
[home.ada.files.\".config/nvim\"]
source = \"nvim\"
[home.ada.files.\"settings.json\"]
content = '{\"mine\": \"@\"}'
how = \"merge\"
[home.ada.files.linked]
content = \"@\"
how = \"link\"
[home.ada.units.\"watch.service\"]
content = \"\"\"
[Service]
ExecStart=/bin/sh -c 'echo $WHO > /tmp/said-@; exec sleep infinity'
[Install]
WantedBy=default.target
\"\"\"
enable = true
[home.ada.environment]
WHO = \"Ada $ @\"
.
echo init > '/home/ada/dots/nvim/.hidden file'
echo '{\"theirs\": 1}' > /home/ada/settings.json
echo '. \"$HOME/.config/elea/environment.sh\" 2>/dev/null' >> /home/ada/.profile
sed -i s/@/1/g /home/ada/dots/home.toml
chown -R ada:ada /home/ada";

/// A command as the person, who logged in.
fn as_ada(command: &str) -> String {
    format!("su -l ada -c 'export XDG_RUNTIME_DIR=/run/user/$(id -u); cd; {command}'")
}

/// Everything in the home but what a login writes.
const LIST: &str = "cd /home/ada && find . ! -name .bash_history | sort | xargs -d \"\\n\" ls -ld --time-style=+ ; cat settings.json";

fn home(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::First)?;
    trial.start()?;
    trial.good("1.0", BOOT)?;
    trial.guest.must(SETUP)?;
    // A login makes what it makes.
    trial.guest.must(&as_ada("true"))?;
    let before = trial.guest.must(LIST)?;
    trial
        .guest
        .must(&as_ada("elea home apply dots/home.toml"))?;
    let looks = [
        ("cat \".config/nvim/.hidden file\"", "init"),
        ("cat linked", "1"),
        (
            "grep -o -e theirs -e mine settings.json | sort | xargs",
            "mine theirs",
        ),
        ("systemctl --user is-active watch.service", "active"),
        ("echo \"$WHO\"", "Ada $ 1"),
    ];
    for (look, wanted) in looks {
        let said = trial.guest.must(&as_ada(look))?;
        trial.check(said.trim() == wanted, &format!("`{look}` says `{said}`"))?;
    }
    // Another generation: the unit runs anew.
    trial
        .guest
        .must("sed -i s/1/2/g /home/ada/dots/home.toml")?;
    trial
        .guest
        .must(&as_ada("elea home apply dots/home.toml"))?;
    trial
        .guest
        .must("until test -e /tmp/said-2; do sleep 1; done")?;
    let who = trial.guest.must(&as_ada("echo \"$WHO\""))?;
    trial.check(who.trim() == "Ada $ 2", &format!("a login sees `{who}`"))?;
    // A unit that fails is named, and the rest is in use.
    trial
        .guest
        .must("sed -i 's|ExecStart=.*|ExecStart=/bin/false|' /home/ada/dots/home.toml")?;
    let failing = as_ada("elea home apply dots/home.toml 2>&1; echo code $?");
    let said = trial.guest.must(&failing)?;
    trial.check(
        said.contains("watch.service") && said.contains("code 1"),
        &format!("of a unit that fails it says `{said}`"),
    )?;
    trial.guest.must(&as_ada("elea home rollback 1"))?;
    let said = trial.guest.must(&as_ada(
        "cat linked; echo; systemctl --user is-active watch.service",
    ))?;
    trial.check(
        said.trim() == "1\nactive",
        &format!("after the rollback: `{said}`"),
    )?;
    trial.guest.must(&as_ada("elea home remove --yes"))?;
    let active = as_ada("systemctl --user is-active watch.service || true");
    let said = trial.guest.must(&active)?;
    trial.check(
        said.trim() == "inactive",
        &format!("after the removal the unit is {said}"),
    )?;
    let after = trial.guest.must(LIST)?;
    let names = |text: &str| -> Vec<String> {
        let kept = text.lines().filter(|line| !line.contains("dots"));
        kept.map(|line| {
            line.split_whitespace()
                .skip(4)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
    };
    trial.check(
        names(&before) == names(&after),
        &format!("the home was\n{before}\nand is\n{after}"),
    )?;
    trial.told(
        "the home, its unit and its variables were there, went back, and left nothing",
        "`elea home generations`".into(),
    )
}
