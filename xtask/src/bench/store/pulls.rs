//! An image from a registry, and the next release of it.

use super::rows::{CRATE, OURS};
use super::table::Table;
use super::{Bench, Wanted};
use crate::works::Release;
use crate::{Result, talk};

/// One who pulls: the name, the program that has to be there, and the pull of `$version`, durable at its end.
const PULLERS: [[&str; 3]; 6] = [
    [
        OURS,
        "",
        r#"exec "$elea" -q --store "$place/s" image pull "registry:$host/hello:$version" --key "$key" --name "v$version""#,
    ],
    [
        "`skopeo copy`, `umoci unpack`; one layer",
        "umoci",
        r#"skopeo --insecure-policy copy -q --src-tls-verify=false "docker://$host/one:$version" "oci:$place/layout:$version"
           umoci unpack --image "$place/layout:$version" "$place/$version" >/dev/null 2>&1; sync -f "$place""#,
    ],
    [
        "`podman pull`",
        "podman",
        r#"printf '{"default":[{"type":"insecureAcceptAnything"}]}' > "$place/policy"
           podman --root "$place/p" --runroot "$place/run" pull -q --tls-verify=false --signature-policy "$place/policy" \
               "docker://$host/hello:$version" >/dev/null; sync -f "$place""#,
    ],
    [
        "`podman pull` of Debian 13, in part",
        "podman-5",
        r#"unshare --mount sh -c "$enter" sh "$debian" "$place" podman pull -q --tls-verify=false "docker://$host/hello:$version" >/dev/null
           sync -f "$place""#,
    ],
    [
        "`podman pull`; one layer",
        "podman",
        r#"printf '{"default":[{"type":"insecureAcceptAnything"}]}' > "$place/policy"
           podman --root "$place/p" --runroot "$place/run" pull -q --tls-verify=false --signature-policy "$place/policy" \
               "docker://$host/one:$version" >/dev/null; sync -f "$place""#,
    ],
    [
        CRATE,
        "composefs",
        r#"exec "$oracle" pull "docker://$host/hello:$version" "$place/repository""#,
    ],
];

/// The same release in one gzip layer, as a build with other tools ends: `umoci` of Debian 12 reads no zstd.
const ONE_LAYER: &str = r#"
"$elea" -q --store "$store" image export "hello:$version" "tar:$place/tree.tar"
[ -e "$place/layout" ] || umoci init --layout "$place/layout"
umoci new --image "$place/layout:$version"
umoci raw add-layer --image "$place/layout:$version" "$place/tree.tar"
skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:$place/layout:$version" "docker://$host/one:$version"
rm "$place/tree.tar"
"#;

/// podman mounts its folder on itself.
const UNMOUNT: &str = r#"umount "$place/p/overlay" 2>/dev/null || true"#;

/// Measures the rows `pull` and `next`.
pub(super) fn measure(bench: &Bench<'_>, wanted: &Wanted) -> Result<Table> {
    let one = bench.folder("one")?;
    for release in [Release::First, Release::Second] {
        if !bench.works.has(release) {
            bench.works.build(release)?;
        }
        bench.works.publish(release)?;
        if bench.has("umoci") {
            let text = format!(
                "version={} store='{}'\n{ONE_LAYER}",
                release.version(),
                bench.works.store().display()
            );
            bench.script(&text, &one)?;
        }
    }
    let mut table = Table::default();
    let rows = [("pull", Release::First), ("next", Release::Second)];
    for (row, _) in rows.iter().filter(|(row, _)| wanted.row(row)) {
        for [who, ..] in PULLERS {
            table.expect(row, who);
        }
    }
    let mut broken = [false; PULLERS.len()];
    for round in 0..bench.rounds {
        for turn in 0..PULLERS.len() {
            let number = (round + turn) % PULLERS.len();
            let [who, needs, pull] = PULLERS[number];
            if broken[number] || !bench.has(needs) {
                continue;
            }
            let place = bench.folder(&format!("pull-{round}-{number}"))?;
            for (row, release) in rows {
                if row == "next" && !wanted.row(row) {
                    continue;
                }
                let before = bench.works.registry.fetched();
                let text = format!("version={}\n{pull}", release.version());
                let used = match bench.measured(&text, &place) {
                    Ok(used) => used,
                    // A peer that does not work on this machine is not here.
                    Err(e) if who != OURS => {
                        talk::note(&format!("{who} does not work here: {e}"));
                        broken[number] = true;
                        break;
                    }
                    Err(e) => return Err(e),
                };
                if wanted.row(row) {
                    table.add(row, who, used);
                    table.fetched(row, who, bench.works.registry.fetched().since(before).bytes);
                }
            }
        }
    }
    for round in 0..bench.rounds {
        for number in 0..PULLERS.len() {
            let place = bench.place.join(format!("pull-{round}-{number}"));
            bench.script(UNMOUNT, &place)?;
            super::clear(&place)?;
        }
    }
    Ok(table)
}
