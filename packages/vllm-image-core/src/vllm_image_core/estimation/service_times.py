"""Service times: learn how fast each server is from its images, and report it to batches and the fleet."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from vllm_image_core.estimation.backlog import ServerSpeed
from vllm_image_core.estimation.calibration import Calibration, CompletedImage
from vllm_image_core.estimation.measurements import Measurements, Origin
from vllm_image_core.estimation.predictor import Predictor
from vllm_image_core.estimation.work import TASKS, Work
from vllm_image_core.fleet.server import ServerReport
from vllm_image_core.imaging.size import Size
from vllm_image_core.models.profile import Profile
from vllm_image_core.requests.image_request import Task

_SQUARE = Size(1024, 1024)


class ServiceTimes:
    """The service times of a studio's servers; may be used by several threads."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._profile: Profile | None = None
        self._usual: Work | None = None
        self._predictors: Mapping[str, Mapping[Task, Predictor]] = {}

    @classmethod
    def of_folder(cls, folder: Path, *, group_seconds: float = 0.0) -> Self:
        """Return the service times learned from the images in a folder, to add to.

        Args:
            folder: The folder.
            group_seconds: For how long measurements may wait to be stored together.
        """
        return cls(Calibration(Measurements(folder), group_seconds=group_seconds))

    def load(self, profile: Profile, origins: Iterable[Origin]) -> None:
        """Read earlier measurements of each server with its current model; blocks on disk I/O."""
        by_server = {origin.server: self._of_each_task(origin, profile) for origin in origins}
        usual = Work.at(_SQUARE, profile.default_steps, guided=False)
        self._profile, self._usual, self._predictors = profile, usual, by_server

    def learn(self, completed: CompletedImage) -> None:
        """Learn from an image; blocks on disk I/O."""
        self._calibration.learn(completed)
        origin = completed.origin
        if origin.server not in self._predictors:
            new = self._of_each_task(origin, completed.profile)
            self._predictors = {**self._predictors, origin.server: new}

    def flush(self) -> None:
        """Store what was learned; blocks on disk I/O."""
        self._calibration.flush()

    def of(self, servers: Sequence[ServerReport]) -> tuple[ServerSpeed, ...]:
        """The speed of each server in use, or of all if none is; empty until a server reports its model."""
        profile = self._profile
        if profile is None:
            return ()
        at_work = [server for server in servers if server.state != "open"]
        return tuple(
            ServerSpeed(
                predictor=each["generation"],
                edits=each["edit"],
                parallelism=server.parallel or 1,
                others=server.others or 0,
            )
            for server in at_work or servers
            for each in [self._predictors.get(server.url) or {task: Predictor(profile) for task in TASKS}]
        )

    def best(self, profile: Profile, task: Task = "generation") -> Predictor:
        """The predictor of the server with the most measurements."""
        each = [predictors[task] for predictors in self._predictors.values()]
        if len(each) <= 1:
            return each[0] if each else Predictor(profile)
        return max(each, key=lambda predictor: predictor.pictures)

    def cost(self, work: Work) -> float | None:
        """The cost of some work relative to a square image with the model's default steps; None if unknown.

        As a ratio, it does not change if a server just becomes faster or slower.
        """
        profile, usual = self._profile, self._usual
        if profile is None or usual is None:
            return None
        generations = self.best(profile)
        predictor = generations if work.task == "generation" else self.best(profile, work.task)
        return predictor.seconds(work) / generations.seconds(usual)

    def seconds_per_cost(self, url: str) -> float | None:
        """Seconds that one server needs per unit of cost; None if it has not been measured yet."""
        if self._usual is None or url not in self._predictors:
            return None
        predictor = self._predictors[url]["generation"]
        return predictor.seconds(self._usual) if predictor.pictures else None

    def _of_each_task(self, origin: Origin, profile: Profile) -> Mapping[Task, Predictor]:
        return {task: self._calibration.predictor(replace(origin, task=task), profile) for task in TASKS}
