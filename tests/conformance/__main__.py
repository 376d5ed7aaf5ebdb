# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Run transformers' common model tests on the CLOOB models and on CLIP's, and fail where ours do worse.

    python -m tests.conformance

Prints every test's outcome, the reason of every skip and the counts. The exit status is 1 if a test fails on a CLOOB
model and not on CLIP's, or if fewer tests execute on a CLOOB model than on CLIP's.
"""

import os
import re
import sys
from collections import defaultdict
from pathlib import Path

# Before transformers is imported: the common tests must not look for a hub.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest  # noqa: E402

from .upstream import fetch_tests  # noqa: E402

CLIP, CLOOB = FAMILIES = ("Clip", "Cloob")
KINDS = ("DualEncoder", "Text", "Vision")
NODE = re.compile(rf"::({'|'.join(FAMILIES)})({'|'.join(KINDS)})Test::(\w+)")
SEVERITY = ("skipped", "passed", "failed")
MODEL_NAME = re.compile(r"(<class '[\w.]*\.)?(CLIP|Cloob)(Text|Vision)?Model(WithProjection)?('>)?")


class Recorder:
    """A pytest plugin that keeps each test's outcome and, of a skip or failure, the reason."""

    def __init__(self):
        self.outcomes: dict[tuple[str, str, str], str] = {}
        self.reasons: dict[tuple[str, str, str], str] = {}

    def pytest_runtest_logreport(self, report) -> None:
        match = NODE.search(report.nodeid)
        if match is None or (report.when != "call" and report.passed):
            return
        # Sub-tests report on their own, under the name of their test: the worst counts.
        key, known = match.groups(), self.outcomes.get(match.groups(), "skipped")
        if SEVERITY.index(report.outcome) < SEVERITY.index(known):
            return
        self.outcomes[key] = report.outcome
        if report.skipped:
            self.reasons[key] = MODEL_NAME.sub("the model", report.longrepr[2].removeprefix("Skipped: "))
        elif report.failed:
            self.reasons[key] = crash_message(report)


def crash_message(report) -> str:
    """Where a test failed and why; some assertions print whole tensors, whose middle nobody reads."""
    crash = getattr(report.longrepr, "reprcrash", None)
    message = f"{Path(crash.path).name}:{crash.lineno}: {crash.message}" if crash else report.longreprtext
    return message if len(message) < 800 else f"{message[:400]} [...] {message[-300:]}"


def print_table(outcomes: dict) -> None:
    names = sorted({name for _, _, name in outcomes})
    width = max(map(len, names)) + 1
    print("\nCLIP / CLOOB".ljust(width + 1) + "".join(kind.ljust(18) for kind in KINDS))
    for name in names:
        cells = [" / ".join(outcomes.get((family, kind, name), "-") for family in FAMILIES) for kind in KINDS]
        print(name.ljust(width) + "".join(cell.ljust(18) for cell in cells).rstrip())


def print_skips(recorder: Recorder) -> None:
    tests = defaultdict(lambda: dict.fromkeys(FAMILIES, 0))
    for key, outcome in recorder.outcomes.items():
        if outcome == "skipped":
            tests[recorder.reasons[key]][key[0]] += 1
    print("\nSkipped, CLIP / CLOOB, because")
    for reason, count in sorted(tests.items(), key=lambda item: -sum(item[1].values())):
        print(f"{count[CLIP]:4} / {count[CLOOB]:<4} {reason}")


def compare(outcomes: dict) -> list[str]:
    """Print the counts of every kind of model and return what is worse on ours."""
    worse = [
        f"{name} fails on the CLOOB {kind}: {outcomes.get((CLIP, kind, name), 'not run')} on CLIP's"
        for (family, kind, name), outcome in outcomes.items()
        if family == CLOOB and outcome == "failed" and outcomes.get((CLIP, kind, name)) != "failed"
    ]
    print("\n" + "".ljust(20) + "".join(word.rjust(10) for word in ("executed", "passed", "failed", "skipped")))
    for kind in KINDS:
        executed = {}
        for family in FAMILIES:
            found = [outcome for key, outcome in outcomes.items() if key[:2] == (family, kind)]
            passed, failed, skipped = (found.count(outcome) for outcome in ("passed", "failed", "skipped"))
            executed[family] = passed + failed
            counts = (executed[family], passed, failed, skipped)
            print(f"{family} {kind}".ljust(20) + "".join(str(count).rjust(10) for count in counts))
        if executed[CLOOB] < executed[CLIP]:
            worse.append(f"{executed[CLOOB]} tests execute on the CLOOB {kind}, {executed[CLIP]} on CLIP's")
    for kind in KINDS:
        ran = {
            family: {key[2] for key in outcomes if key[:2] == (family, kind) and outcomes[key] != "skipped"}
            for family in FAMILIES
        }
        for family, other in ((CLIP, CLOOB), (CLOOB, CLIP)):
            if only := sorted(ran[family] - ran[other]):
                print(f"Executed on the {family} {kind} only: {', '.join(only)}")
    return worse


def main() -> int:
    sys.path.insert(0, str(fetch_tests()))
    recorder = Recorder()
    suite = Path(__file__).with_name("common_suite.py")
    # The common tests bring markers and warnings of their own: pyproject's strictness is for our tests.
    ours = ["-o", "addopts=--import-mode=importlib", "-o", "filterwarnings=ignore"]
    options = ["-q", "--no-header", "--tb=no", "-r", "", "-p", "no:cacheprovider"]
    status = pytest.main([str(suite), *ours, *options], plugins=[recorder])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return int(status)
    print_table(recorder.outcomes)
    print_skips(recorder)
    for key, outcome in recorder.outcomes.items():
        if outcome == "failed":
            print(f"\n--- {' '.join(key)}\n{recorder.reasons[key]}")
    worse = compare(recorder.outcomes)
    print("\n" + ("\n".join(worse) or "No common test fails on a CLOOB model that CLIP's passes."))
    found = list(recorder.outcomes.values())
    print(f"{found.count('passed')} passed, {found.count('failed')} failed, {found.count('skipped')} skipped")
    return 1 if worse or not found else 0


if __name__ == "__main__":
    sys.exit(main())
