import logging
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from vllm_image_core.estimation.cost_model import WINDOW
from vllm_image_core.estimation.measurements import Measurement, Measurements, NewMeasurements, Origin
from vllm_image_core.estimation.work import Work
from vllm_image_core.storage.database import Database
from vllm_image_core.storage.index_tables import INDEX

DEADLINE_SECONDS = 60
ORIGIN = Origin(server="http://gpu:6655", model="klein", version="0.30.0")
ONE = Measurement(work=Work(megapixels=1.5, forwards=4), seconds=2.5, peak_mib=14_321.0, first=True)
OTHER = Measurement(work=Work(megapixels=0.5, forwards=8), seconds=1.25)

WRITES = """
import sys
from pathlib import Path
from vllm_image_core.estimation.measurements import Measurement, Measurements, Origin
from vllm_image_core.estimation.work import Work
measurements = Measurements(Path(sys.argv[1]))
for number in range(10):
    work = Work(megapixels=1.0, forwards=4)
    origin = Origin(server="http://gpu:6655", model="klein", version="0.30.0")
    measurements.add(origin, Measurement(work=work, seconds=1.0 + number))
"""


def path_of(root: Path) -> Path:
    return root / ".vllm-image" / "measurements.sqlite3"


def test_measurements_are_available_to_the_next_process(tmp_path: Path) -> None:
    measurements = Measurements(tmp_path)
    measurements.add(ORIGIN, ONE)
    measurements.add(ORIGIN, OTHER)
    assert Measurements(tmp_path).read(ORIGIN) == NewMeasurements(measurements=(ONE, OTHER), read_to=2)
    assert path_of(tmp_path).is_file()


@pytest.mark.parametrize("changed", ["server", "model", "version"])
def test_each_server_model_and_version_has_its_own_measurements(tmp_path: Path, changed: str) -> None:
    Measurements(tmp_path).add(ORIGIN, ONE)
    assert Measurements(tmp_path).read(replace(ORIGIN, **{changed: "another"})).measurements == ()


def test_measurements_of_other_processes_are_read_once_and_our_own_never(tmp_path: Path) -> None:
    ours, theirs = Measurements(tmp_path), Measurements(tmp_path)
    first = ours.add(ORIGIN, ONE)
    assert first.measurements == ()
    theirs.add(ORIGIN, OTHER, after=first.read_to)
    second = ours.add(ORIGIN, ONE, after=first.read_to)
    assert second.measurements == (OTHER,)
    assert ours.add(ORIGIN, ONE, after=second.read_to).measurements == ()


def test_the_file_has_a_maximum_size(tmp_path: Path) -> None:
    measurements = Measurements(tmp_path)
    for number in range(WINDOW + 20):
        measurements.add(ORIGIN, replace(OTHER, seconds=1.0 + number))
    kept = Measurements(tmp_path).read(ORIGIN).measurements
    assert [measurement.seconds for measurement in kept] == [21.0 + number for number in range(WINDOW)]
    with closing(sqlite3.connect(path_of(tmp_path))) as connection:
        assert connection.execute("SELECT count(*) FROM measurement").fetchone() == (WINDOW,)


def test_no_file_is_created_before_there_is_something_to_store(tmp_path: Path) -> None:
    missing = Measurements(tmp_path / "missing")
    assert missing.read(ORIGIN) == NewMeasurements()
    assert missing.add(ORIGIN, ONE) == NewMeasurements()
    assert list(tmp_path.iterdir()) == []


def test_several_processes_and_threads_write_one_file(tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", WRITES, str(tmp_path)]) for _ in range(2)]
    ours = Measurements(tmp_path)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(ours.add, [ORIGIN] * 30, [ONE] * 30, timeout=DEADLINE_SECONDS))
    assert [process.wait(DEADLINE_SECONDS) for process in processes] == [0, 0]
    assert len(Measurements(tmp_path).read(ORIGIN).measurements) == 50


def test_impossible_rows_are_skipped(tmp_path: Path) -> None:
    Measurements(tmp_path).add(ORIGIN, ONE)
    values = [0.0, -1.0, float("inf"), "much", b"0"]
    with closing(sqlite3.connect(path_of(tmp_path))) as connection, connection:
        for value in values:
            connection.execute(
                "INSERT INTO measurement "
                "(writer, server, model, version, megapixels, forwards, seconds, first) "
                "VALUES ('x', 'http://gpu:6655', 'klein', '0.30.0', 1.0, 4, ?, 0)",
                (value,),
            )
    assert Measurements(tmp_path).read(ORIGIN) == NewMeasurements(
        measurements=(ONE,), read_to=1 + len(values)
    )


def test_a_damaged_file_is_set_aside_and_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Measurements(tmp_path).add(ORIGIN, ONE)
    path_of(tmp_path).write_bytes(b"damaged " * 1000)
    again = Measurements(tmp_path)
    with caplog.at_level(logging.WARNING):
        again.add(ORIGIN, OTHER)
    assert Measurements(tmp_path).read(ORIGIN).measurements == (OTHER,)
    aside = tmp_path / ".vllm-image" / "measurements.damaged-1.sqlite3"
    assert aside.read_bytes() == b"damaged " * 1000
    assert len(caplog.records) == 1


def test_the_index_next_to_it_is_another_file(tmp_path: Path) -> None:
    Measurements(tmp_path).add(ORIGIN, ONE)
    with Database(tmp_path, INDEX).open() as connection:
        assert connection.execute("SELECT count(*) FROM picture").fetchone() == (0,)
    assert Measurements(tmp_path).read(ORIGIN).measurements == (ONE,)


def test_a_file_of_a_newer_version_is_left_alone_and_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Measurements(tmp_path).add(ORIGIN, ONE)
    with closing(sqlite3.connect(path_of(tmp_path))) as connection:
        connection.execute("PRAGMA user_version = 99")
    before, measurements = path_of(tmp_path).read_bytes(), Measurements(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert measurements.read(ORIGIN) == NewMeasurements()
        assert measurements.add(ORIGIN, OTHER) == NewMeasurements()
    assert path_of(tmp_path).read_bytes() == before
    assert len(caplog.records) == 1


def test_names_of_any_kind_are_accepted(tmp_path: Path) -> None:
    strange = Origin(
        server="http://gpu:6655", model="\udcff" + "x" * 5_000, version="'; DROP TABLE measurement"
    )
    measurements = Measurements(tmp_path)
    measurements.add(strange, ONE)
    assert Measurements(tmp_path).read(strange).measurements == (ONE,)


def test_an_unreadable_folder_has_no_measurements(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / ("n" * 300), tmp_path / "file", tmp_path / "file" / "below"):
        assert Measurements(folder).read(Origin(server="http://gpu", model="m")).measurements == ()
