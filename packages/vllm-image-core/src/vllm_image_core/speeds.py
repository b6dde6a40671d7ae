"""The speeds of a studio's servers: learned from their pictures, told to its batches and to its fleet."""

import asyncio
from collections.abc import Sequence

from vllm_image_core.backend import ServerRequest
from vllm_image_core.calibration import Calibration, Made
from vllm_image_core.edit_work import sent_work
from vllm_image_core.eta import Speed
from vllm_image_core.fleet import Fleet
from vllm_image_core.maker import Maker
from vllm_image_core.measurements import Origin
from vllm_image_core.member import MemberReport
from vllm_image_core.predictor import Predictor
from vllm_image_core.profile import Profile
from vllm_image_core.size import Size
from vllm_image_core.work import Work

__all__ = ["Learning", "Speeds"]

_SQUARE = Size(1024, 1024)


class Learning:
    """What a fleet and a maker need of a calibration, before there is anything that it could be asked.

    Args:
        calibration: What is learned.
        fleet: The servers.
    """

    def __init__(self, calibration: Calibration, fleet: Fleet) -> None:
        self._calibration = calibration
        self._fleet = fleet

    def made(self, made: Made) -> None:
        """Learn from a picture, knowing how many its server makes at the same time; waits for the disk."""
        parallel = self._fleet.parallel_at(made.origin.server)
        if parallel is not None:
            self._calibration.set_parallelism(made.origin, made.profile, parallel)
        self._calibration.made(made)


class Speeds:
    """What is known of each server of a studio.

    Args:
        fleet: The servers.
        maker: Knows their model.
        calibration: What was learned of them.
    """

    def __init__(self, fleet: Fleet, maker: Maker, calibration: Calibration) -> None:
        self._fleet = fleet
        self._maker = maker
        self._calibration = calibration

    def __call__(self) -> tuple[Speed, ...]:
        """The speed of each server that gets work, of all where none does; none before one told its model.

        What is kept on the disk is known after `load`, or after a server's first picture.
        """
        profile = self._maker.known_profile
        if profile is None:
            return ()
        reports = self._fleet.members
        at_work = [report for report in reports if report.state != "open"]
        return tuple(self._speed(report, profile) for report in at_work or reports)

    async def load(self) -> None:
        """Read what is kept of each server.

        Raises:
            OmniError: No server tells its model.
        """
        profile, origins = await self._maker.origins()
        await asyncio.to_thread(self._loaded, origins, profile)

    async def best(self) -> Predictor:
        """What is known of the server that is known best.

        Raises:
            OmniError: No server tells its model.
        """
        profile, origins = await self._maker.origins()
        predictors = await asyncio.to_thread(self._loaded, origins, profile)
        return max(predictors, key=lambda predictor: predictor.pictures)

    def cost(self, request: ServerRequest) -> float | None:
        """What a request costs beside a square picture of the model's usual steps; None where nobody knows.

        As a share it stays the same when all that is learned is that a server is faster or slower.
        """
        profile = self._maker.known_profile
        if profile is None:
            return None
        predictor = self._calibration.best(profile)
        usual = Work.at(_SQUARE, profile.default_steps, guided=False)
        return predictor.seconds(sent_work(request, profile)) / predictor.seconds(usual)

    def _loaded(self, origins: Sequence[Origin], profile: Profile) -> list[Predictor]:
        return [self._calibration.predictor(origin, profile) for origin in origins]

    def _speed(self, report: MemberReport, profile: Profile) -> Speed:
        predictor = self._calibration.known(self._maker.origin_at(report.url), profile)
        return Speed(predictor=predictor, parallelism=report.parallel or 1, others=report.others or 0)
