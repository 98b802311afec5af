"""A throttle in front of an application: which requests it lets in, and what the responses say."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse

from reinhardt_backends import Backend, MemoryBackend, Rate, SyncThrottle, Throttle, ThrottleResult
from reinhardt_backends.asgi import ClientAddress, ThrottleMiddleware
from reinhardt_backends.testing import FakeClock

from .driving import EXTENSION, Answer, call, hello, http, websocket

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def throttle(clock: FakeClock) -> Throttle:
    return Throttle(MemoryBackend(clock=clock), "2/min")


async def test_clients_are_let_in_as_often_as_the_throttle_allows(backend: Backend) -> None:
    app = ThrottleMiddleware(hello, Throttle(backend, "2/min"))
    assert [(await call(app, http())).status for _ in range(3)] == [200, 200, 429]
    assert (await call(app, http(client=("203.0.113.8", 5)))).status == 200


async def test_exactly_as_many_as_allowed_get_in_at_once(backend: Backend) -> None:
    app = ThrottleMiddleware(hello, Throttle(backend, "30/hour"))
    statuses: list[int] = []

    async def one() -> None:
        statuses.append((await call(app, http())).status)

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(one)
    assert (statuses.count(200), statuses.count(429)) == (30, 70)


async def test_a_response_tells_what_is_left(throttle: Throttle) -> None:
    answer = await call(ThrottleMiddleware(hello, throttle), http())
    assert answer["ratelimit-policy"] == '"2/min";q=2;w=60'
    assert answer["ratelimit"] == '"2/min";r=1;t=60'
    assert (answer["x-mine"], answer.body) == ("1", b"hello")
    assert answer.all("retry-after") == []


async def test_a_refusal_tells_when_to_come_back(throttle: Throttle, clock: FakeClock) -> None:
    app = ThrottleMiddleware(hello, throttle)
    for _ in range(2):
        await call(app, http())
    clock.advance(20)
    answer = await call(app, http())
    assert (answer.status, answer["retry-after"], answer.body) == (429, "40", b"Too Many Requests\n")
    assert answer["ratelimit"] == '"2/min";r=0;t=40'
    assert answer["content-length"] == str(len(answer.body))
    assert answer["cache-control"] == "no-store"
    clock.advance(40)
    assert (await call(app, http())).status == 200


async def test_a_refused_head_request_gets_no_body(throttle: Throttle) -> None:
    app = ThrottleMiddleware(hello, throttle, key=lambda _: "k")
    for _ in range(2):
        await throttle.hit("k")
    answer = await call(app, http(method="HEAD"))
    assert (answer.status, answer.body) == (429, b"")


async def test_a_spoofed_header_does_not_help(throttle: Throttle) -> None:
    app = ThrottleMiddleware(hello, throttle)
    statuses = [(await call(app, http([("x-forwarded-for", f"6.6.6.{n}")]))).status for n in range(4)]
    assert statuses == [200, 200, 429, 429]


async def test_clients_behind_a_trusted_proxy_have_keys_of_their_own(throttle: Throttle) -> None:
    app = ThrottleMiddleware(hello, throttle, trusted_proxies=["203.0.113.7"])
    statuses = []
    for address in ("192.0.2.1", "192.0.2.1", "6.6.6.6, 192.0.2.1", "192.0.2.2"):
        statuses.append((await call(app, http([("x-forwarded-for", address)]))).status)
    assert statuses == [200, 200, 429, 200]


async def test_a_key_may_be_computed_plainly_or_async_and_none_is_not_limited(throttle: Throttle) -> None:
    async def slow(scope: Any) -> str | None:
        await anyio.lowlevel.checkpoint()
        return plain(scope)

    def plain(scope: Any) -> str | None:
        return scope.get("who")

    for key in (plain, slow):
        app = ThrottleMiddleware(hello, throttle, key=key)
        assert [(await call(app, http(who="ada"))).status for _ in range(3)] == [200, 200, 429]
        answers = [await call(app, http()) for _ in range(4)]
        assert [answer.status for answer in answers] == [200] * 4
        assert answers[0].all("ratelimit") == []
        await throttle.reset("ada")


async def test_what_lifespan_says_passes_through_untouched(throttle: Throttle) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    scope = {"type": "lifespan"}
    for _ in range(5):
        await ThrottleMiddleware(app, throttle)(scope, None, None)  # type: ignore[arg-type]
    assert all(one is scope for one in seen)
    assert len(seen) == 5


async def test_a_websocket_counts_and_is_refused(throttle: Throttle) -> None:
    answer = await call(ThrottleMiddleware(hello, throttle), websocket())
    assert answer.kinds == ["websocket.accept"]
    assert answer["ratelimit"] == '"2/min";r=1;t=60'


async def test_a_websocket_is_refused_with_a_response_where_the_server_can_send_one(throttle: Throttle) -> None:
    app = ThrottleMiddleware(hello, throttle)
    for _ in range(2):
        await call(app, websocket())
    answer = await call(app, websocket(extensions=EXTENSION))
    assert answer.kinds == ["websocket.http.response.start", "websocket.http.response.body"]
    assert (answer.status, answer["retry-after"], answer.body) == (429, "60", b"Too Many Requests\n")


@pytest.mark.parametrize("extensions", [None, {}])
async def test_elsewhere_a_websocket_is_closed_before_it_is_accepted(throttle: Throttle, extensions: Any) -> None:
    app = ThrottleMiddleware(hello, throttle)
    for _ in range(2):
        await call(app, websocket())
    answer = await call(app, websocket(extensions=extensions))
    assert answer.messages == [{"type": "websocket.close", "code": 1013, "reason": "Too Many Requests"}]


async def test_a_websocket_that_has_gone_is_not_answered(throttle: Throttle) -> None:
    app = ThrottleMiddleware(hello, throttle)
    for _ in range(2):
        await call(app, websocket())
    answer = await call(app, websocket(), {"type": "websocket.disconnect", "code": 1006})
    assert answer.messages == []


async def test_one_throttle_behind_another_tells_of_both(clock: FakeClock) -> None:
    backend = MemoryBackend(clock=clock)
    inner = ThrottleMiddleware(hello, Throttle(backend, "9/s"))
    answer = await call(ThrottleMiddleware(inner, Throttle(backend, "100/min")), http())
    assert answer.all("ratelimit-policy") == ['"9/s";q=9;w=1', '"100/min";q=100;w=60']


@pytest.mark.parametrize(("on_error", "status"), [("allow", 200), ("deny", 429), ("local", 200)])
async def test_while_the_store_is_away_the_throttle_decides(on_error: Any, status: int) -> None:
    from reinhardt_backends import RedisBackend

    from ..servers import free_port

    async with RedisBackend(f"redis://127.0.0.1:{free_port()}", timeout=1) as backend:
        app = ThrottleMiddleware(hello, Throttle(backend, "2/min", on_error=on_error))
        answer = await call(app, http())
    assert answer.status == status
    assert answer.all("retry-after") == (["1"] if status == 429 else [])


async def test_requests_may_have_rates_of_their_own(throttle: Throttle) -> None:
    async def rate(scope: Any) -> str | Rate | None:
        await anyio.lowlevel.checkpoint()
        return {"gold": "4/min", "silver": Rate(3, 60)}.get(scope["plan"])

    app = ThrottleMiddleware(hello, throttle, rate=rate)
    allowed = {plan: [(await call(app, http(plan=plan))).status for _ in range(6)] for plan in ("gold", "silver", "")}
    assert {plan: statuses.count(200) for plan, statuses in allowed.items()} == {"gold": 4, "silver": 3, "": 2}
    answer = await call(app, http(plan="gold"))
    assert answer["ratelimit-policy"] == '"4/min";q=4;w=60'


async def test_other_rates_count_in_the_same_store(clock: FakeClock) -> None:
    backend = MemoryBackend(clock=clock)
    one, other = (
        ThrottleMiddleware(hello, Throttle(backend, "2/min", prefix="p", algorithm="gcra"), rate=lambda _: "1/min")
        for _ in range(2)
    )
    assert [(await call(app, http())).status for app in (one, other)] == [200, 429]
    assert [key.split(":")[:2] async for key in backend.scan()] == [["p", "gcra"]]


async def test_a_request_may_cost_more(throttle: Throttle) -> None:
    async def slow(scope: Any) -> int:
        await anyio.lowlevel.checkpoint()
        return int(scope["cost"])

    for cost in (slow, lambda scope: scope["cost"]):
        app = ThrottleMiddleware(hello, throttle, key=lambda _: "k", cost=cost)
        assert [(await call(app, http(cost=2))).status, (await call(app, http(cost=1))).status] == [200, 429]
        await throttle.reset("k")


async def test_some_paths_are_not_limited(throttle: Throttle) -> None:
    app = ThrottleMiddleware(hello, throttle, exclude=["/health", "/static/*"])
    for path in ("/health", "/static/", "/static/a/b.css"):
        answers = [await call(app, {**http(), "path": path}) for _ in range(4)]
        assert [answer.status for answer in answers] == [200] * 4
        assert answers[0].all("ratelimit") == []
    for path in ("/health/", "/healthy", "/static", "/"):
        answers = [await call(app, {**http(), "path": path}) for _ in range(3)]
        assert answers[-1].status == 429


async def test_the_application_sees_the_result(throttle: Throttle) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["state"])
        await hello(scope, receive, send)

    await call(ThrottleMiddleware(app, throttle), http())
    await call(ThrottleMiddleware(app, throttle), http(state={"mine": 1}))
    assert [state["throttle"].remaining for state in seen] == [1, 0]
    assert seen[1]["mine"] == 1


async def refused(throttle: Throttle, body: Any, scope: Any = None) -> Answer:
    app = ThrottleMiddleware(hello, throttle, key=lambda _: "k", body=body)
    for _ in range(2):
        await throttle.hit("k")
    return await call(app, scope or http())


async def test_a_refusal_may_be_json(throttle: Throttle) -> None:
    answer = await refused(throttle, "json")
    assert (answer.status, answer["content-type"], answer["retry-after"]) == (429, "application/json", "60")
    assert json.loads(answer.body) == {"detail": "Too Many Requests", "retry_after": 60}


async def test_a_refusal_may_be_problem_details(throttle: Throttle) -> None:
    answer = await refused(throttle, "problem")
    assert (answer.status, answer["content-type"]) == (429, "application/problem+json")
    problem = json.loads(answer.body)
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert (problem["status"], problem["violated-policies"]) == (429, ["2/min"])


@pytest.mark.parametrize("scope", [http(), websocket(extensions=EXTENSION)], ids=["http", "websocket"])
async def test_a_refusal_may_be_a_response_of_a_framework(throttle: Throttle, scope: Any) -> None:
    def body(scope: Any, result: ThrottleResult) -> Any:
        return JSONResponse({"limit": result.limit, "path": scope["path"]}, status_code=429)

    answer = await refused(throttle, body, scope)
    assert (answer.status, json.loads(answer.body), answer["retry-after"]) == (429, {"limit": 2, "path": "/"}, "60")


async def test_a_websocket_that_cannot_have_a_response_is_closed(throttle: Throttle) -> None:
    answer = await refused(throttle, lambda scope, result: JSONResponse({}), websocket())
    assert answer.messages == [{"type": "websocket.close", "code": 1013, "reason": "Too Many Requests"}]


async def test_outside_of_it_cors_answers_preflights_and_adds_its_fields_to_refusals(throttle: Throttle) -> None:
    app = CORSMiddleware(ThrottleMiddleware(hello, throttle), allow_origins=["*"], expose_headers=["RateLimit"])
    preflight = [("origin", "https://a.example"), ("access-control-request-method", "GET")]
    for _ in range(4):
        assert (await call(app, http(preflight, method="OPTIONS"))).status == 200
    answers = [await call(app, http([("origin", "https://a.example")])) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[-1]["access-control-allow-origin"] == "*"


async def test_a_key_that_is_no_text_is_an_error(throttle: Throttle) -> None:
    app = ThrottleMiddleware(hello, throttle, key=lambda _: 5)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match="str"):
        await call(app, http())


async def test_arguments_are_checked(throttle: Throttle) -> None:
    with pytest.raises(TypeError, match="takes a Throttle"):
        ThrottleMiddleware(hello, SyncThrottle(MemoryBackend(), "1/s"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="function of the scope"):
        ThrottleMiddleware(hello, throttle, key="ip")  # type: ignore[arg-type]
    for name in ("rate", "cost"):
        with pytest.raises(TypeError, match=f"{name} must be a function of the scope"):
            ThrottleMiddleware(hello, throttle, **{name: 5})  # type: ignore[arg-type]
    for exclude, error in (("/health", TypeError), ([5], TypeError), (["health"], ValueError)):
        with pytest.raises(error):
            ThrottleMiddleware(hello, throttle, exclude=exclude)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="body must be"):
        ThrottleMiddleware(hello, throttle, body="xml")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="default key"):
        ThrottleMiddleware(hello, throttle, key=ClientAddress(), trusted_proxies=["10.0.0.1"])
    with pytest.raises(ValueError, match="host bits"):
        ThrottleMiddleware(hello, throttle, trusted_proxies=["10.0.0.1/8"])
