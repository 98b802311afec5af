"""What a throttle says about a hit, and the HTTP fields for it.

The fields are those of the Internet-Draft draft-ietf-httpapi-ratelimit-headers-11 (May 2026, work in progress),
"RateLimit header fields for HTTP": ``RateLimit-Policy`` states the quotas and ``RateLimit`` what is left of them, both
as lists in the syntax of RFC 9651 (structured fields). ``Retry-After`` is that of RFC 9110, section 10.2.3. All three
count whole seconds, which are rounded up here, so that a client that obeys them does not come too early.

A client that sends ``q`` hits each ``w`` seconds, or the ``r`` that are left and the next one ``t`` seconds later, is
never refused, as long as the hits are its own alone. So a bucket's policy is its burst, and the time that refills it.
"""

from __future__ import annotations

from math import ceil
from typing import Final, NamedTuple

from ._rates import Rate


class Quota(NamedTuple):
    """What one rate of a throttle says.

    Attributes:
        rate: The rate.
        remaining: How many hits of cost 1 it would allow now.
        reset_after: Seconds until it is as if there had been no hits.
        retry_after: Seconds until it allows what was asked for; 0 if it does now.
        refill_after: Seconds until it allows the next hit of cost 1 if the remaining ones are spent now.
    """

    rate: Rate
    remaining: int
    reset_after: float
    retry_after: float
    refill_after: float = 0.0


class ThrottleResult(NamedTuple):
    """What a throttle says about a hit. True in a condition if the hit was allowed.

    With several rates, ``limit``, ``remaining`` and ``reset_after`` are those of the rate that counts: of a denied hit
    the one with the longest wait, otherwise the one with the fewest hits left.

    Attributes:
        allowed: Whether the hit was allowed, and counted. Of a ``peek``: whether it would be.
        limit: How many hits the rate allows at once: its limit, or its burst if it has one.
        remaining: How many hits of cost 1 would be allowed now.
        reset_after: Seconds until it is as if there had been no hits.
        retry_after: Seconds until the hit would be allowed if there were no others; 0 if it was.
        quotas: What each rate says, in the order in which the throttle was given them. Empty if neither the store nor
            the memory of this process decided.
        degraded: Whether the store could not be reached or refused to serve, so that ``on_error`` decided.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_after: float
    retry_after: float
    quotas: tuple[Quota, ...] = ()
    degraded: bool = False

    def __bool__(self) -> bool:
        return self.allowed

    def headers(self) -> dict[str, str]:
        """Return the header fields for an HTTP response.

        ``RateLimit-Policy`` and ``RateLimit`` follow draft-ietf-httpapi-ratelimit-headers-11; each rate is a policy, by
        the name of ``str(rate)``. A denied hit has ``Retry-After``, and its ``RateLimit`` lists the rates that denied
        it.
        """
        fields: dict[str, str] = {}
        if self.quotas:
            fields["RateLimit-Policy"] = ", ".join(_policy(quota.rate) for quota in self.quotas)
            denied = [quota for quota in self.quotas if quota.retry_after > 0]
            listed = self.quotas if self.allowed or not denied else denied
            fields["RateLimit"] = ", ".join(map(_service_limit, listed))
        if not self.allowed:
            fields["Retry-After"] = str(max(ceil(self.retry_after), 1))
        return fields


def _policy(rate: Rate) -> str:
    # A string of a structured field; a rate is written in letters, digits, spaces and slashes.
    return f'"{rate}";q={rate.most};w={ceil(rate.most * rate.milliseconds / (rate.limit * 1000))}'


def _service_limit(quota: Quota) -> str:
    return f'"{quota.rate}";r={quota.remaining};t={ceil(quota.retry_after or quota.refill_after)}'


_new: Final = tuple.__new__


def result_of(rates: tuple[Rate, ...], answer: list[int], degraded: bool = False) -> ThrottleResult:
    """Return what a decision says: whether it was allowed, and four numbers for each rate, in microseconds."""
    if len(rates) == 1:
        # The common case, without a loop.
        rate = rates[0]
        allowed, left, reset, wait, refill = answer
        reset_after, retry_after = reset / 1e6, wait / 1e6
        # As Quota(...) and ThrottleResult(...), without a Python function in between.
        quota = _new(Quota, (rate, left, reset_after, retry_after, refill / 1e6))
        return _new(ThrottleResult, (allowed == 1, rate.most, left, reset_after, retry_after, (quota,), degraded))
    quotas = tuple(
        [
            Quota(rate, answer[at], answer[at + 1] / 1e6, answer[at + 2] / 1e6, answer[at + 3] / 1e6)
            for rate, at in zip(rates, range(1, len(answer), 4), strict=True)
        ]
    )
    if answer[0]:
        counts = min(quotas, key=lambda quota: (quota.remaining, -quota.reset_after))
    else:
        counts = max(quotas, key=lambda quota: quota.retry_after)
    return ThrottleResult(
        bool(answer[0]), counts.rate.most, counts.remaining, counts.reset_after, counts.retry_after, quotas, degraded
    )
