//! What an image is made of, as documents that other programs read.

use crate::program::{Elea, skipped};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

const STATUS: &str = "\
Package: libstdc++6
Status: install ok installed
Maintainer: Debian GCC Maintainers <debian-gcc@lists.example.org>
Architecture: amd64
Source: gcc-14 (14.2.0-19)
Version: 14.2.0-19+b1
Description: GNU Standard C++ Library v3
 More of it.
Homepage: http://gcc.gnu.org/

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: odd
Status: install ok installed
Architecture: all
Version: 1:2.0~rc1-1
Description: odd
";
const DEP5: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: x
License: GPL-3+ or odd-licence

License: odd-licence
 Do as you like.
 .
 Or not.
";

/// A Debian system, as far as a bill needs one.
fn debian(elea: &Elea, name: &str) {
    let tree = elea.path(name);
    for folder in [
        "var/lib",
        "usr/lib/sysimage/dpkg",
        "usr/share/doc/libstdc++6",
        "usr/share/doc/gcc-14-base",
    ] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    symlink("../../usr/lib/sysimage/dpkg", tree.join("var/lib/dpkg")).unwrap();
    symlink(
        "../gcc-14-base/copyright",
        tree.join("usr/share/doc/libstdc++6/copyright"),
    )
    .unwrap();
    symlink("gcc-14-base", tree.join("usr/share/doc/odd")).unwrap();
    fs::write(tree.join("usr/share/doc/gcc-14-base/copyright"), DEP5).unwrap();
    fs::write(tree.join("usr/lib/sysimage/dpkg/status"), STATUS).unwrap();
    fs::write(
        tree.join("usr/lib/os-release"),
        "ID=debian\nVERSION_ID=\"13\"\n",
    )
    .unwrap();
}

#[test]
fn every_package_is_there_with_version_licence_and_source() {
    let elea = Elea::new();
    elea.good("store init");
    debian(&elea, "tree");
    let tree = elea.path("tree").display().to_string();
    elea.good(&format!("image import dir:{tree} --name a"));
    // An image of Elea has nothing in /var.
    fs::remove_dir_all(elea.path("tree/var")).unwrap();
    elea.good(&format!("image import dir:{tree} --name b"));
    let of = |name: &str| -> Value {
        serde_json::from_str(&elea.good(&format!("image show {name} --sbom spdx"))).unwrap()
    };
    assert_eq!(of("a")["packages"][1], of("b")["packages"][1]);
    let spdx = elea.good("image show a --sbom spdx");
    assert_eq!(spdx, elea.good("--json image show a --sbom spdx"));
    let document: Value = serde_json::from_str(&spdx).unwrap();
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    let packages = document["packages"].as_array().unwrap();
    let names: Vec<&str> = packages
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["debian", "libstdc++6", "odd", "gcc-14", "odd"]);
    let first = &packages[1];
    assert_eq!(first["versionInfo"], "14.2.0-19+b1");
    let licence = first["licenseDeclared"].as_str().unwrap();
    assert!(
        licence.starts_with("GPL-3.0-or-later OR LicenseRef-odd-licence-"),
        "{licence}"
    );
    assert_eq!(
        document["hasExtractedLicensingInfos"][0]["extractedText"],
        "Do as you like.\n\nOr not."
    );
    assert_eq!(
        first["externalRefs"][0]["referenceLocator"],
        "pkg:deb/debian/libstdc%2B%2B6@14.2.0-19%2Bb1?arch=amd64&distro=debian-13"
    );
    assert!(
        first["sourceInfo"]
            .as_str()
            .unwrap()
            .ends_with("gcc-14 14.2.0-19")
    );
    let cyclonedx = elea.good("image show a --sbom cyclonedx");
    let document: Value = serde_json::from_str(&cyclonedx).unwrap();
    let components = document["components"].as_array().unwrap();
    assert_eq!(components.len(), 2);
    assert_eq!(
        components[0]["pedigree"]["ancestors"][0]["version"],
        "14.2.0-19"
    );
    assert_eq!(components[0]["licenses"][0]["expression"], licence);

    fs::write(elea.path("a.spdx.json"), spdx).unwrap();
    fs::write(elea.path("a.cdx.json"), cyclonedx).unwrap();
    judge(&elea.path("a.spdx.json"), &elea.path("a.cdx.json"));
}

/// The validators of both formats, where Python has them: `pip install spdx-tools cyclonedx-python-lib[json-validation]`.
fn judge(spdx: &Path, cyclonedx: &Path) {
    const SCRIPT: &str = "
import sys
try:
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
    from cyclonedx.validation.json import JsonStrictValidator
    from cyclonedx.schema import SchemaVersion
    from packageurl import PackageURL
except ImportError as e:
    sys.exit(77)
document = parse_file(sys.argv[1])
found = [m.validation_message for m in validate_full_spdx_document(document)]
for package in document.packages:
    for ref in package.external_references:
        if PackageURL.from_string(ref.locator).to_string() != ref.locator:
            found.append(ref.locator)
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[2]).read())
sys.exit('\\n'.join(found + ([str(error)] if error else [])) or 0)
";
    let python = std::env::var("ELEA_SBOM_PYTHON").unwrap_or_else(|_| "python3".into());
    let judged = Command::new(python)
        .args(["-c", SCRIPT])
        .args([spdx, cyclonedx])
        .output();
    match judged {
        Ok(out) if out.status.code() != Some(77) => {
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{said}");
        }
        _ => skipped("spdx-tools and cyclonedx-python-lib of Python"),
    }
}

#[test]
fn an_image_without_a_package_database_says_so() {
    let elea = Elea::new();
    elea.good("store init");
    let tree = elea.tree("tree").display().to_string();
    elea.good(&format!("image import dir:{tree} --name a"));
    elea.bad("image show a --sbom spdx", 1, &["no database of dpkg"]);
    elea.bad("image show a --sbom rpm", 2, &["spdx", "cyclonedx"]);
    elea.bad(
        "image show a --packages --sbom spdx",
        2,
        &["cannot be used with"],
    );
}
