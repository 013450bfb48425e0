"""Kill `recon3d reconstruct` at random moments: every re-run must complete with the bytes of an unbroken run.

    python benchmarks/kill_resume.py data/demo_photos
    python benchmarks/kill_resume.py photos/ --kills 20 --main-only
    python benchmarks/kill_resume.py photos/ --redo splats --arguments="--preset draft --only splats"

With ``--redo`` every attempt starts from the finished folder without those stages, so that the kills fall into them.

Every file of the output folder is compared, those of the stages included. Exempt are the report and the wall times in
the stage manifests, which differ from run to run.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from measure import machine_card

STAGES = (
    "plan",
    "features",
    "matches",
    "cameras",
    "features-rich",
    "matches-rich",
    "cameras-rich",
    "finished",
    "undistorted",
    "depth",
    "splats",
    "mesh",
)


@dataclass(frozen=True)
class KillResume:
    """Kill a reconstruction at random moments and compare what its re-runs write.

    Args:
        source: photos, as for `recon3d reconstruct`.
        kills: how many runs are killed.
        seed: of the random moments.
        main_only: kill only the main process and leave its workers as orphans; default: the whole process group.
        redo: stages that every attempt computes again; default: all.
        arguments: further arguments of `recon3d reconstruct`, in one quoted text.
        work: folder for the output; default: a temporary one.
    """

    source: tyro.conf.Positional[Path]
    kills: int = 10
    seed: int = 0
    main_only: bool = False
    redo: tuple[str, ...] = ()
    arguments: str = ""
    work: Path | None = None

    def command(self, out: Path) -> list[str]:
        """Return the command line that writes to ``out``."""
        further = self.arguments.split()
        return [sys.executable, "-m", "recon3d", "reconstruct", str(self.source), "--out", str(out), *further]


@dataclass(frozen=True)
class Attempt:
    """One killed run and its re-run.

    Args:
        killed_s: how long the first run lived.
        reached: last stage that was complete by then.
        finished: whether the first run had ended before it was killed.
        exit_code: of the re-run.
        resumed_s: wall time of the re-run.
        differing: files whose bytes differ from the unbroken run, or that only one of both has.
        log: end of the re-run's log.
    """

    killed_s: float
    reached: str
    finished: bool
    exit_code: int
    resumed_s: float
    differing: tuple[str, ...] = field(default=())
    log: str = ""


def fingerprints(out: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder except the report; wall times in manifests do not count."""
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and path != out / "report.html":
            data = path.read_bytes()
            if path.name == "done.json":
                data = json.dumps({**json.loads(data), "seconds": 0.0}, sort_keys=True).encode()
            found[path.relative_to(out).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


def run(command: list[str]) -> tuple[int, float, str]:
    """Return the exit code, the wall time and the end of the log of a command."""
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return done.returncode, time.monotonic() - start, done.stderr[-2000:]


def kill_after(command: list[str], seconds: float, main_only: bool) -> bool:
    """Start a command, kill it after some time, and return whether it had ended before.

    With ``main_only`` its workers are left to themselves.
    """
    sink = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True)
    try:
        process.wait(timeout=seconds)
        return True
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL) if main_only else os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False


def prepare(options: KillResume, unbroken: Path, out: Path) -> None:
    """Copy a finished folder without the stages that are to be done again."""
    shutil.copytree(unbroken, out)
    for name in options.redo:
        shutil.rmtree(out / ".recon3d" / name)


def attempt(options: KillResume, out: Path, seconds: float, wanted: dict[str, str]) -> Attempt:
    """Kill one run, complete it and compare."""
    finished = kill_after(options.command(out), seconds, options.main_only)
    reached = [name for name in STAGES if (out / ".recon3d" / name / "done.json").exists()]
    exit_code, resumed_s, log = run(options.command(out))
    got = fingerprints(out)
    differing = tuple(sorted(name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name)))
    return Attempt(seconds, reached[-1] if reached else "-", finished, exit_code, resumed_s, differing, log)


def row(number: int, done: Attempt) -> str:
    """Return one line of the table."""
    verdict = "identical" if not done.differing and done.exit_code == 0 else "DIFFERENT"
    reached = "(ended before)" if done.finished else done.reached
    line = f"{number:>3}  {done.killed_s:>8.2f}  {reached:<14}  {done.resumed_s:>9.2f}  {done.exit_code:>4}  {verdict}"
    return line + "".join(f"\n       {name}" for name in done.differing[:20])


def say(text: str) -> None:
    """Write one line of the result."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def measure_all(options: KillResume, work: Path) -> int:
    """Run everything below a folder and return the exit code."""
    exit_code, unbroken_s, log = run(options.command(work / "unbroken"))
    if exit_code:
        say(f"the unbroken run failed with exit code {exit_code}\n{log}")
        return 2
    wanted = fingerprints(work / "unbroken")
    killed = "main process" if options.main_only else "process group"
    say(machine_card(("recon3d", "pycolmap", "numpy", "torch", "numba")))
    say(f"unbroken run: {unbroken_s:.2f} s, {len(wanted)} files compared; the {killed} is killed\n")
    say(f"{'':>3}  {'killed s':>8}  {'stage reached':<14}  {'resumed s':>9}  {'exit':>4}  bytes")
    moments, bad = random.Random(options.seed), 0
    if options.redo:
        prepare(options, work / "unbroken", work / "again")
        _, unbroken_s, _ = run(options.command(work / "again"))
    for number in range(1, options.kills + 1):
        if options.redo:
            prepare(options, work / "unbroken", work / f"killed_{number}")
        done = attempt(options, work / f"killed_{number}", moments.uniform(0.0, unbroken_s), wanted)
        say(row(number, done))
        if done.differing or done.exit_code:
            bad += 1
            say(done.log)
    say(f"\n{options.kills - bad} of {options.kills} re-runs ended with the same bytes")
    return 1 if bad else 0


def main() -> None:
    """Run the benchmark."""
    options = tyro.cli(KillResume, description=__doc__)
    if options.work is not None:
        sys.exit(measure_all(options, options.work))
    with tempfile.TemporaryDirectory() as work:
        sys.exit(measure_all(options, Path(work)))


if __name__ == "__main__":
    main()
