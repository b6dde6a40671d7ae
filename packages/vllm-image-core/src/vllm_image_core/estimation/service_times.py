"""The speeds of a studio's servers: learned from their pictures, told to its batches and to its fleet."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vllm_image_core.estimation.backlog import ServerSpeed
from vllm_image_core.estimation.calibration import Calibration, CompletedImage
from vllm_image_core.estimation.measurements import Origin
from vllm_image_core.estimation.predictor import Predictor
from vllm_image_core.estimation.work import TASKS, Task, Work
from vllm_image_core.fleet.server import ServerReport
from vllm_image_core.imaging.size import Size
from vllm_image_core.models.profile import Profile

__all__ = ["ServiceTimes"]

_SQUARE = Size(1024, 1024)


class ServiceTimes:
    """What is known of each server of a studio; may be used by several threads.

    Args:
        calibration: What was learned of them.
    """

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._profile: Profile | None = None
        self._origins: Mapping[str, Mapping[Task, Origin]] = {}

    def meet(self, profile: Profile, origins: Iterable[Origin]) -> None:
        """Read what is kept of each server with the model that it has now; waits for the disk.

        Args:
            profile: The model's.
            origins: One of each server.
        """
        known = {origin.server: _of_each_task(origin) for origin in origins}
        for each in known.values():
            for origin in each.values():
                self._calibration.predictor(origin, profile)
        self._profile, self._origins = profile, known

    def learn(self, made: CompletedImage) -> None:
        """Learn from a picture; waits for the disk."""
        self._calibration.learn(made)
        if made.origin.server not in self._origins:
            self._origins = {**self._origins, made.origin.server: _of_each_task(made.origin)}

    def of(self, servers: Sequence[ServerReport]) -> tuple[ServerSpeed, ...]:
        """The speed of each server that gets work, of all where none does; none before one told its model."""
        profile = self._profile
        if profile is None:
            return ()
        at_work = [server for server in servers if server.state != "open"]
        return tuple(
            ServerSpeed(
                predictor=self._cached_predictor(server.url, profile, "generation"),
                edits=self._cached_predictor(server.url, profile, "edit"),
                parallelism=server.parallel or 1,
                others=server.others or 0,
            )
            for server in at_work or servers
        )

    def best(self, profile: Profile, task: Task = "generation") -> Predictor:
        """What is known of the server that is known best.

        Args:
            profile: The model's, for what was not measured yet.
            task: What it is to do.
        """
        each = [self._cached_predictor(url, profile, task) for url in self._origins]
        return max(each, key=lambda predictor: predictor.pictures, default=Predictor(profile))

    def cost(self, work: Work) -> float | None:
        """What some work costs beside a square picture of the model's usual steps; None where nobody knows.

        As a share it stays the same when all that is learned is that a server is faster or slower.
        """
        profile = self._profile
        if profile is None:
            return None
        usual = self.best(profile).seconds(_usual(profile))
        return self.best(profile, work.task).seconds(work) / usual

    def pace(self, url: str) -> float | None:
        """Seconds of one server for a unit of that cost; None where it was not measured yet."""
        profile = self._profile
        if profile is None or url not in self._origins:
            return None
        known = self._cached_predictor(url, profile, "generation")
        return known.seconds(_usual(profile)) if known.pictures else None

    def _cached_predictor(self, url: str, profile: Profile, task: Task) -> Predictor:
        each = self._origins.get(url)
        return Predictor(profile) if each is None else self._calibration.cached_predictor(each[task], profile)


def _of_each_task(origin: Origin) -> Mapping[Task, Origin]:
    return {task: replace(origin, task=task) for task in TASKS}


def _usual(profile: Profile) -> Work:
    return Work.at(_SQUARE, profile.default_steps, guided=False)
