"""The command line: what it reads, what it lists, and one clear message for each mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

from dnnlib.errors import UsageError
from experiments.__main__ import catalogue_text, find_experiment, read_arms, read_seeds
from experiments.catalogue import E1, EXPERIMENTS

ROOT = Path(__file__).resolve().parents[2]


def test_seeds() -> None:
    assert read_seeds('3') == (0, 1, 2) and read_seeds('0,2') == (0, 2) and read_seeds('2,') == (2,) and read_seeds('1-3') == (1, 2, 3)
    for text in ('0', 'x', '1,1', ''):
        with pytest.raises(UsageError):
            read_seeds(text)


def test_arms_keep_the_order_of_the_experiment() -> None:
    assert read_arms(E1, None) == ('A', 'B', 'C', 'D') and read_arms(E1, 'C, A') == ('A', 'C')
    assert read_arms(EXPERIMENTS['E3x'], 'S,RM,A') == ('A', 'RM', 'S')
    with pytest.raises(UsageError, match=r"no arm 'E'.*A \(the preset"):
        read_arms(E1, 'A,E')
    with pytest.raises(UsageError, match='names none'):
        read_arms(E1, ',')


def test_unknown_experiments() -> None:
    assert find_experiment('E1') is E1
    with pytest.raises(UsageError, match=r"no experiment 'e1xx'. Did you mean 'E1x'"):
        find_experiment('e1xx')
    with pytest.raises(UsageError, match='Which experiment'):
        find_experiment(None)


def test_list_shows_claims_and_costs() -> None:
    text = catalogue_text(3)
    assert all(experiment.claim in text for experiment in EXPERIMENTS.values())
    assert '4 arms x 3 seeds x 20 kimg: about 1h 40m of one core' in text


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, '-m', 'experiments', 'E1', '--report-only', '--outdir', str(tmp_path / 'runs')],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 66, result.stderr
    assert len(result.stderr.splitlines()) == 1 and 'no finished run of E1' in result.stderr
    assert not (tmp_path / 'runs').exists()
