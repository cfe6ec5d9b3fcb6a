"""A stage runs in a `dvc repro` of its own; what DVC did with it is read from its output."""

import subprocess
import threading
import time

import pytest

from flows.stage_process import Outcome, Processes, read_outcome, run_stage
from tests.fixtures.small_pipeline import gone, set_params, times_run, wait_for_stage


def run(root, stage, processes=None, said=None, **environment):
    say = (lambda line: None) if said is None else said.append
    return run_stage(stage, root, processes or Processes(), say, environment=environment)


def test_a_stage_is_run_then_cached_then_restored(root):
    said: list[str] = []
    outcome = run(root, "prepare_corpus", said=said)
    assert (outcome.state, outcome.message) == ("Ran", "done")
    assert "corpus starts" in said  # the stage's own output
    assert run(root, "prepare_corpus").state == "Cached"
    (root / "out/corpus").unlink()
    assert run(root, "prepare_corpus").state == "Restored"
    assert times_run(root) == {"corpus": 1}


def test_a_refusal_keeps_its_line_and_exit_code_and_is_not_worth_a_retry(root):
    set_params(root, fail="corpus")
    outcome = run(root, "prepare_corpus")
    assert (outcome.state, outcome.exit_code) == ("Failed", 1)
    assert "work: params.yaml: fail: names me; write another" in outcome.message


def test_a_killed_stage_is_worth_a_retry_and_the_retry_runs(root):
    set_params(root, killed="corpus")
    outcome = run(root, "prepare_corpus")
    assert (outcome.state, outcome.exit_code) == ("Failed", -9)
    assert run(root, "prepare_corpus").state == "Ran"


@pytest.mark.parametrize("said", [-9, 137])  # a shell that became the command, one that did not
def test_a_signal_is_a_negative_exit_code_whichever_shell_reports_it(said):
    line = f"ERROR: failed to reproduce 'augment@one': failed to run: x, exited with {said}"
    outcome = read_outcome("augment@one", ["Running stage 'augment@one':", line], 255, 1.0)
    assert outcome.exit_code == -9


def test_variables_reach_the_stage(root):
    run(root, "prepare_corpus", OMP_NUM_THREADS="3")
    assert (root / "ran/corpus").read_text().split()[1] == "3"


def test_stopping_ends_the_stage_within_seconds_and_starts_no_more(root):
    set_params(root, seconds=600)
    processes, outcomes = Processes(), []
    thread = threading.Thread(
        target=lambda: outcomes.append(run(root, "prepare_corpus", processes))
    )
    thread.start()
    pid = wait_for_stage(root)
    started = time.monotonic()
    processes.stop()
    thread.join(10)
    assert not thread.is_alive()
    gone(pid, started + 5)
    assert outcomes[0].state == "Failed"
    with pytest.raises(InterruptedError):
        run(root, "prepare_corpus", processes)


@pytest.mark.slow
def test_two_processes_may_run_two_stages_of_one_workspace_at_once(root):
    run(root, "prepare_corpus")
    set_params(root, seconds=1)
    outcomes: dict[str, Outcome] = {}
    stages = ["augment@one", "augment@two", "general_distill@small"]
    threads = [
        threading.Thread(target=lambda s=stage: outcomes.update({s: run(root, s)}))
        for stage in stages
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {stage: outcome.state for stage, outcome in outcomes.items()} == dict.fromkeys(
        stages, "Ran"
    )
    done = subprocess.run(["dvc", "status", *stages], cwd=root, capture_output=True, text=True)
    assert "up to date" in done.stdout


@pytest.mark.slow
def test_two_repros_started_at_once_leave_a_workspace_that_the_next_one_finishes(root):
    set_params(root, seconds=0.3)
    both = [
        subprocess.Popen(
            ["dvc", "repro"], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    printed = [each.communicate(timeout=120)[0] for each in both]
    assert all(
        each.returncode == 0 or "lock" in text for each, text in zip(both, printed, strict=False)
    )
    subprocess.run(["dvc", "repro", "-q"], cwd=root, check=True)
    assert (root / "out/report").read_text() == "reportonecorpustwocorpusspeedsmall1.0corpus"
    done = subprocess.run(["dvc", "status"], cwd=root, capture_output=True, text=True)
    assert "up to date" in done.stdout
