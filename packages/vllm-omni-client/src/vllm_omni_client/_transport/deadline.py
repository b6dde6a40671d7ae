"""End a blocking exchange at its deadline by cutting its connection from another thread."""

from threading import Timer
from types import TracebackType

from vllm_omni_client._protocol.connection_trace import ConnectionTrace


class Deadline:
    """A block that ends at a deadline with TimeoutError, as `asyncio.timeout` does for tasks.

    Read timeouts alone are not enough: a server that trickles bytes would keep a blocking read alive
    forever.
    """

    def __init__(self, trace: ConnectionTrace, seconds: float) -> None:
        self._trace = trace
        self._passed = False
        self._timer = Timer(seconds, self._pass)
        self._timer.daemon = True

    def _pass(self) -> None:
        self._passed = True
        self._trace.cut()

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._passed and (error is None or isinstance(error, Exception)):
            raise TimeoutError from error
