"""Check the locked releases for known vulnerabilities.

    python -m supply.audit [options of pip-audit]

Exits with 1 if a release is vulnerable. If the vulnerability service cannot be reached, prints that in one line and
exits with 0: a check must not fail because there is no network.
"""

import json
import re
import subprocess
import sys
import tempfile
from itertools import zip_longest
from typing import Any

from supply import lock

# What pip-audit prints if the service is unreachable or fails: sometimes its own message, sometimes a traceback.
UNREACHABLE = re.compile(r"^(requests\.exceptions\.\w+|pip_audit\.\S*ServiceError|.*network may be blocking)", re.M)


def group_releases() -> list[list[str]]:
    """Return all locked releases, as name==version, in lists that have no package twice.

    pip-audit accepts only one version of a package at a time.
    """
    pins: dict[str, list[str]] = {}
    for path in lock.LOCKS.values():
        for pin in lock.read_lock(path):
            release = f"{pin.requirement.name}=={pin.version}"
            if release not in (seen := pins.setdefault(pin.requirement.name, [])):
                seen.append(release)
    return [[release for release in each if release] for each in zip_longest(*pins.values())]


def run_pip_audit(releases: list[str], options: list[str]) -> list[dict[str, Any]]:
    """Return pip-audit's result for each release: its ``vulns``, or a ``skip_reason`` if it could not find out.

    Raises:
        SystemExit: pip-audit failed for another reason than an unreachable service.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(releases))
        file.flush()
        command = ["-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json"]
        done = subprocess.run(
            [sys.executable, *command, "-r", file.name, *options], capture_output=True, text=True, check=False
        )
    if done.stdout:
        results: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
        return results
    if UNREACHABLE.search(done.stderr):
        return [{"name": release, "skip_reason": "unreachable"} for release in releases]
    sys.exit(done.stderr)


def main(options: list[str]) -> int:
    results = [result for releases in group_releases() for result in run_pip_audit(releases, options)]
    vulnerabilities = [(result, vulnerability) for result in results for vulnerability in result.get("vulns", [])]
    for result, vulnerability in vulnerabilities:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no release yet"
        print(f"audit: {result['name']} {result['version']}: {vulnerability['id']}, fixed in {fixed}")
    audited = sum("vulns" in result for result in results)
    rest = "; the others could not be checked" if audited < len(results) else ""
    found = len(vulnerabilities)
    print(f"audit: known vulnerabilities in {audited} of {len(results)} locked releases: {found}{rest}")
    return int(bool(vulnerabilities))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
