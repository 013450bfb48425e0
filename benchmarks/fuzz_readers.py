"""Feed damaged files to every reader of recon3d and print what came of them.

    python benchmarks/fuzz_readers.py --mutations 2000

Each reader runs in a process of its own, with a limit on its address space, so that a crash is a finding, too.
Exit code 1 when there is a finding; `--keep DIR` saves the file behind each.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from fuzz_targets import all_targets  # noqa: E402 - needs the paths above
from fuzzing import Report, fuzz, mutated  # noqa: E402

HEADROOM_BYTES = 1 << 30  # address space beyond what the imports take
SECONDS_PER_FILE = 2.0


def main() -> int:
    options = _options()
    if options.worker:
        return _work(options)
    with tempfile.TemporaryDirectory() as folder:
        names = [target.name for target in all_targets(Path(folder))]
    wanted = [name for name in names if options.only.lower() in name.lower()]
    row = "{:22} {:>8} {:>8} {:>9} {:>9}  {}"
    print(row.format("reader", "accepted", "refused", "worst s", "peak MB", "findings"))
    n_findings = 0
    for name in wanted:
        report = _run(name, options)
        n_findings += len(report.findings)
        peak = f"{report.peak_bytes / 2**20:.2f}"
        numbers = report.accepted, report.refused, f"{report.worst_seconds:.3f}", peak
        print(row.format(name, *numbers, len(report.findings)), flush=True)
        for finding in report.findings[:10]:
            print(f"    {finding}")
    print(f"{len(wanted)} readers, {options.mutations} files each, {n_findings} findings")
    return 1 if n_findings else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=2000, help="damaged files per reader")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations")
    parser.add_argument("--only", default="", help="part of the name of the readers to run")
    parser.add_argument("--keep", type=Path, help="folder for the files behind the findings")
    parser.add_argument("--worker", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(name: str, options: argparse.Namespace) -> Report:
    """Run one reader in a process of its own; its death is a finding that names the file it died of."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--mutations", str(options.mutations), "--seed", str(options.seed)]
        command += ["--worker", name, folder] + (["--keep", str(options.keep)] if options.keep else [])
        limit = 60 + SECONDS_PER_FILE * options.mutations
        try:
            code = subprocess.run(command, timeout=limit, stderr=subprocess.PIPE, check=False).returncode
        except subprocess.TimeoutExpired:
            code = "no end"
        result, case = Path(folder) / "report.json", Path(folder) / "case"
        if result.is_file():
            return Report(**json.loads(result.read_text()))
        at = case.read_text() if case.is_file() else "the start"
        return Report(findings=[f"file {at}: the process died ({code})"])


def _work(options: argparse.Namespace) -> int:
    name, folder = options.worker[0], Path(options.worker[1])
    target = next(each for each in all_targets(folder) if each.name == name)
    for seed in target.seeds:
        target.read(seed)  # imports what it needs before the limit is set
    _limit_memory()
    case = (folder / "case").open("w")

    def on_case(index: int) -> None:
        case.seek(0)
        case.write(f"{index:<9}")
        case.flush()

    report = fuzz(target, options.mutations, options.seed, on_case)
    if options.keep and report.findings:
        options.keep.mkdir(parents=True, exist_ok=True)
        for finding in report.findings:
            index = int(finding.split(":")[0].split()[1])
            (options.keep / f"{name.replace(' ', '_')}_{index}").write_bytes(mutated(target, index, options.seed))
    (folder / "report.json").write_text(json.dumps(asdict(report)))
    return 0


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    if pages:
        limit = pages * resource.getpagesize() + HEADROOM_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    sys.exit(main())
