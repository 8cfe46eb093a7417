"""Ask whether any release that is locked is known to be vulnerable.

    python -m supply.audit [options of pip-audit]

The exit status is 1 if one is. That nobody could be asked is told in one line and is no fault of the locks: a check
must not fail for want of a network.
"""

import json
import re
import subprocess
import sys
import tempfile
from itertools import zip_longest
from typing import Any

from supply import lock

# How pip-audit ends when the service that it asks is not there or fails: partly with its own words, partly by a trace.
UNREACHABLE = re.compile(r"^(requests\.exceptions\.\w+|pip_audit\.\S*ServiceError|.*network may be blocking)", re.M)


def rounds() -> list[list[str]]:
    """All that is locked, as name==version. No list has a package twice: pip-audit takes one version at a time."""
    pins: dict[str, list[str]] = {}
    for path in lock.LOCKS.values():
        for pin in lock.read(path):
            release = f"{pin.requirement.name}=={pin.version}"
            if release not in (seen := pins.setdefault(pin.requirement.name, [])):
                seen.append(release)
    return [[release for release in each if release] for each in zip_longest(*pins.values())]


def ask(releases: list[str], options: list[str]) -> list[dict[str, Any]]:
    """What pip-audit tells of each release: its ``vulns``, or the ``skip_reason`` if nothing could be learnt.

    Raises:
        SystemExit: pip-audit failed, and not for want of an answer.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(releases))
        file.flush()
        command = ["-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json"]
        done = subprocess.run(
            [sys.executable, *command, "-r", file.name, *options], capture_output=True, text=True, check=False
        )
    if done.stdout:
        told: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
        return told
    if UNREACHABLE.search(done.stderr):
        return [{"name": release, "skip_reason": "unreachable"} for release in releases]
    sys.exit(done.stderr)


def main(options: list[str]) -> int:
    told = [release for releases in rounds() for release in ask(releases, options)]
    faults = [(release, fault) for release in told for fault in release.get("vulns", [])]
    for release, fault in faults:
        mended = ", ".join(fault["fix_versions"]) or "no release yet"
        print(f"audit: {release['name']} {release['version']}: {fault['id']}, mended in {mended}")
    audited = sum("vulns" in release for release in told)
    silence = "; of the others nothing can be learnt from here" if audited < len(told) else ""
    print(f"audit: known vulnerabilities in {audited} of {len(told)} locked releases: {len(faults)}{silence}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
