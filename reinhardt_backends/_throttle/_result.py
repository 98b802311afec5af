"""What a throttle answers, and how it is told to an HTTP client.

The fields are those of the Internet-Draft draft-ietf-httpapi-ratelimit-headers-11 (May 2026, work in progress),
"RateLimit header fields for HTTP": ``RateLimit-Policy`` tells the quotas and ``RateLimit`` what is left of them, both
as lists in the syntax of RFC 9651 (structured fields). ``Retry-After`` is that of RFC 9110, section 10.2.3. All three
count whole seconds, which are rounded up here, so that a client that believes them does not come too early.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from ._rates import Rate


@dataclass(frozen=True, slots=True)
class Quota:
    """What one rate of a throttle says.

    Attributes:
        rate: The rate.
        remaining: How many hits of cost 1 it would allow now.
        reset_after: Seconds until it is as if there had been no hits.
        retry_after: Seconds until it allows what was asked for; 0 if it does now.
    """

    rate: Rate
    remaining: int
    reset_after: float
    retry_after: float


@dataclass(frozen=True, slots=True)
class ThrottleResult:
    """What a throttle says about a hit. True in a condition if the hit was allowed.

    With several rates, ``limit``, ``remaining`` and ``reset_after`` are those of the rate that counts: of a denied hit
    the one that makes it wait longest, otherwise the one that has least left.

    Attributes:
        allowed: Whether the hit was allowed, and counted. Of a ``peek``: whether one of cost 1 would be.
        limit: The limit of the rate.
        remaining: How many hits of cost 1 would be allowed now.
        reset_after: Seconds until it is as if there had been no hits.
        retry_after: Seconds until the hit would be allowed if there were no others; 0 if it was.
        quotas: What each rate says, in the order in which the throttle was given them. Empty if the store was away.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_after: float
    retry_after: float
    quotas: tuple[Quota, ...] = ()

    def __bool__(self) -> bool:
        return self.allowed

    def headers(self) -> dict[str, str]:
        """Return the header fields for an HTTP response.

        ``RateLimit-Policy`` and ``RateLimit`` follow draft-ietf-httpapi-ratelimit-headers-11; each rate is a policy, by
        the name of ``str(rate)``. Of a denied hit there is ``Retry-After``, and ``RateLimit`` tells of the rates that
        denied it.
        """
        fields: dict[str, str] = {}
        if self.quotas:
            fields["RateLimit-Policy"] = ", ".join(_policy(quota.rate) for quota in self.quotas)
            denied = [quota for quota in self.quotas if quota.retry_after > 0]
            told = self.quotas if self.allowed or not denied else denied
            fields["RateLimit"] = ", ".join(map(_service_limit, told))
        if not self.allowed:
            fields["Retry-After"] = str(max(ceil(self.retry_after), 1))
        return fields


def _policy(rate: Rate) -> str:
    # A string of a structured field; a rate is written in letters, digits, spaces and slashes.
    return f'"{rate}";q={rate.limit};w={ceil(rate.period)}'


def _service_limit(quota: Quota) -> str:
    # A client shall not be told to come back before the end of the window that it is told.
    window = ceil(quota.retry_after or quota.reset_after)
    return f'"{quota.rate}";r={quota.remaining};t={window}'


def result_of(rates: tuple[Rate, ...], answer: list[int]) -> ThrottleResult:
    """Return what a decision says: whether it was allowed, and for each rate ``remaining``, ``reset``, ``retry``.

    Times are in microseconds.
    """
    quotas = tuple(
        Quota(rate, answer[at], answer[at + 1] / 1e6, answer[at + 2] / 1e6)
        for rate, at in zip(rates, range(1, len(answer), 3), strict=True)
    )
    if answer[0]:
        counts = min(quotas, key=lambda quota: (quota.remaining, -quota.reset_after))
    else:
        counts = max(quotas, key=lambda quota: quota.retry_after)
    return ThrottleResult(
        bool(answer[0]), counts.rate.limit, counts.remaining, counts.reset_after, counts.retry_after, quotas
    )
