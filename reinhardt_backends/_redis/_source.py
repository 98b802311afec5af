"""How connections are opened, for the callers of a loop and for blocking callers alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Final

from .._errors import AuthenticationError, BackendClosedError, BackendConnectionError, BackendError, ResponseError
from .._io import Attempt, Runtime
from ._commands import Kind
from ._handshake import open_link
from ._health import PROBE, Health, Outage
from ._link import Link
from ._mux import Failure
from ._options import Options
from ._protocol import TRANSIENT
from ._retry import backoff, is_held
from ._sentinel import Locator
from ._silence import silence_within

#: Seconds within which a server that another one has replaced must answer on a new connection.
BRIEF: Final = 0.2

#: How often a call that waits for a probe looks whether it has ended. Seconds.
LOOK: Final = 0.005


class Source(ABC):
    """Where calls get their connection from, and what a connection in use reports to (``_silence.Watch``).

    Args:
        runtime: What the connections serve.
        options: How to reach the server.
        health: What is known about the server.
        locator: Finds the server, if ``options`` do not say where it is.
        large: Whether the connections are for large values.
    """

    def __init__(
        self,
        runtime: Runtime,
        options: Options,
        health: Health,
        locator: Locator | None = None,
        *,
        large: bool = False,
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._health = health
        self._locator = locator
        self._large = large
        #: The question whether the server is still the right one, while it is asked here.
        self._review: Attempt | None = None

    @property
    def runtime(self) -> Runtime:
        """What the connections serve."""
        return self._runtime

    @property
    def patience(self) -> float:
        """For how many seconds no complete reply may come while replies are due."""
        return self._health.patience

    def heard(self) -> None:
        """Note that the server has sent something on a connection that was silent."""
        self._health.down.over()

    def silent(self, since: float) -> None:
        """Note that calls have waited since then, and that the server has sent nothing."""
        if self._locator is not None:
            self._locator.doubt()
        self._health.down.trouble(since, tried=False)

    @abstractmethod
    async def connected(self, deadline: float, kind: Kind) -> Link:
        """Return a connection, opened if need be. The caller gives it back.

        Raises:
            BackendError: There is no connection; nothing was sent.
        """

    @abstractmethod
    def give_back(self, link: Link) -> None:
        """Take back a connection after a call; one that cannot be used again is closed."""

    @abstractmethod
    def drop_idle(self, link: Link) -> None:
        """Close the idle connections that are likely to be as dead as this one."""

    async def ask(self, link: Link, deadline: float) -> None:
        """Find out whether a silent connection should be given up."""
        guide = self._health.guide
        if guide is not None:
            if await guide.is_replaced(self._runtime, deadline):
                await self._leave_replaced(link, deadline)
                return
            # So that the guide is asked again soon.
            deadline = min(deadline, monotonic() + PROBE / 2)
        await self._ask_server(link, deadline)

    async def _leave_replaced(self, link: Link, deadline: float) -> None:
        """Give up a silent connection to a server that another one has replaced, unless it is about to answer.

        During a planned failover it pauses writes. When it knows that it was replaced, it redirects them.
        """
        if not link.silence.spared:
            link.silence.spared = True
            asked = monotonic()
            await self._ask_server(link, min(deadline, asked + BRIEF))
            if link.silence.since >= asked:
                return
        link.supersede("another server has taken the place of this one")

    @abstractmethod
    async def _ask_server(self, link: Link, deadline: float) -> None:
        """Find out over a second connection whether a silent one should be given up."""

    def _has_answered_since(self, link: Link) -> bool:
        """Whether the server has answered on a new connection since this one fell silent."""
        return self._health.answered >= link.silence.since + silence_within(self.patience)

    async def _judge_silent(self, link: Link, other: Link, deadline: float) -> bool:
        """Ask over another connection whether a silent one is to be kept; end it if not."""
        held = await is_held(other, link.client, min(deadline, monotonic() + PROBE))
        if held:
            link.silence.excuse()
        else:
            # What it has just begun to answer arrives at about the same time.
            await self.rest(monotonic() + LOOK)
            link.supersede()
        return held

    @abstractmethod
    async def rest(self, until: float) -> None:
        """Sleep, until the source is closed at the latest."""

    async def _follow(self, deadline: float) -> None:
        """Ask whether the server is still the right one, if that is due."""
        if self._locator is None or not self._locator.is_due():
            return
        self._review = attempt = Attempt()
        try:
            with suppress(BackendError):
                await self._locator.review(self._runtime, self.rest, attempt, deadline)
        finally:
            self._review = None

    def _abort_review(self) -> None:
        if self._review is not None:
            self._review.abort()

    async def _open(self, attempt: Attempt, deadline: float) -> Link:
        """Make one attempt to connect."""
        began = monotonic()
        try:
            if self._locator is None:
                link = await open_link(self._runtime, self._options, attempt, deadline, large=self._large)
            else:
                link = await self._locator.open_link(self._runtime, self.rest, attempt, deadline, large=self._large)
        except BackendError as error:
            if not attempt.aborted:
                if _is_unreachable(error):
                    self._health.down.trouble(began)
                else:
                    self._health.down.over()
            raise
        self._health.connected(link, self._runtime)
        link.use(self)
        return link

    async def _open_patiently(self, attempt: Attempt, deadline: float) -> Link:
        """Connect; try again while that makes sense and there is time."""
        failures = 0
        while True:
            try:
                return await self._open(attempt, deadline)
            except BackendError as error:
                failure = error
            failures += 1
            until = monotonic() + backoff(failures)
            if attempt.aborted or until >= deadline or not self._may_pass(failure):
                raise failure
            await self.rest(until)
            if attempt.aborted:
                raise BackendClosedError("the backend was closed while connecting")

    def _may_pass(self, error: BackendError) -> bool:
        """Whether another attempt makes sense. If the server never answered, the address is likely to be wrong."""
        if self._health.guide is not None:
            # Another server may be the right one by now, and the client finds out.
            return False
        if isinstance(error, ResponseError):
            return error.code in TRANSIENT
        return _is_unreachable(error) and self._health.served and not self._health.down.known

    async def _probe(self, attempt: Attempt, deadline: float) -> Link:
        """Make one short attempt to connect to a server that may be out of service."""
        return await self._open(attempt, min(deadline, monotonic() + PROBE))

    async def _probe_outage(self, outage: Outage, attempt: Attempt, deadline: float) -> Link:
        """Connect to a server in a known outage. Raise if the outage is not over."""
        try:
            link = await self._probe(attempt, deadline)
        except BackendError:
            raise
        except BaseException:
            # A cancelled probe has found out nothing, so another call may probe at once.
            outage.return_probe()
            raise
        finally:
            outage.probing = -inf
        if outage is self._health.read_only and link.is_replica:
            self._discard(link)
            raise outage.error(self._options.location)
        return link

    async def _await_probe(self, outage: Outage, deadline: float) -> None:
        """Wait briefly for a probe that has just begun. Raise if the outage is not over."""
        while outage.known and (now := monotonic()) < min(outage.probing, deadline):
            await self.rest(now + LOOK)
        if outage.known:
            raise outage.error(self._options.location)

    def _discard(self, link: Link) -> None:
        link.fail(Failure(Failure.CLOSED, "the connection was closed"))


def _is_unreachable(error: BackendError) -> bool:
    """Whether the server was not heard."""
    return isinstance(error, BackendConnectionError) and not isinstance(error, AuthenticationError)
