"""The web example: over real HTTP on both runtimes and both stores, and in a browser."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from .asgi.serving import ROOT, serving
from .browser import BROWSER, open_page
from .servers import Server

EXAMPLE = str(ROOT / "examples" / "web_app.py")
RUNTIMES = {"asyncio": [], "trio": ["--trio"]}


@pytest.fixture(params=[(runtime, store) for runtime in RUNTIMES for store in ("memory", "redis")], ids=" on ".join)
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    runtime, store = request.param
    url = "memory://"
    if store == "redis":
        server: Server = request.getfixturevalue("server")
        server.command("FLUSHALL")
        url = server.url
    with (
        serving(EXAMPLE, "--url", url, *RUNTIMES[runtime], "--port") as address,
        httpx.Client(base_url=address, verify=False) as client,
    ):
        assert client.get("/state").json()["runtime"] == runtime
        assert client.get("/state").json()["store"] == store
        yield client


def test_everything_that_the_page_can_do(client: httpx.Client) -> None:
    page = client.get("/")
    assert "One store, three jobs" in page.text
    assert client.cookies.get("session") is None
    assert client.get("/state").json()["keys"] == []

    # Session: a counter, a login that keeps it under a new id, and a logout that ends it.
    assert [client.post("/count").json()["count"] for _ in range(3)] == [1, 2, 3]
    visitor = client.cookies["session"]
    assert client.post("/login", json={"name": "ada"}).status_code == 204
    assert client.cookies["session"] != visitor
    state = client.get("/state").json()
    assert (state["user"], state["count"], state["devices"]) == ("ada", 3, 1)
    with httpx.Client(base_url=client.base_url, verify=False) as phone:
        phone.post("/login", json={"name": "ada"})
        assert client.get("/state").json()["devices"] == 2
        phone.post("/logout?everywhere")
    assert client.get("/state").json()["user"] is None
    client.post("/login", json={"name": "bob"})
    client.post("/logout")
    assert client.cookies.get("session") is None

    # Cache: computed once, then found, until it is forgotten.
    asked = [client.get("/forecast/Oslo").json() for _ in range(3)]
    assert [answer["cached"] for answer in asked] == [False, True, True]
    assert asked[0]["milliseconds"] >= 1200 > asked[1]["milliseconds"]
    assert (asked[2]["degrees"], asked[2]["sky"]) == (-3, "snow")
    client.delete("/forecast/Oslo")
    assert client.get("/forecast/Oslo").json()["cached"] is False

    # Throttle: five in ten seconds, and no header that a client sends gives it another address.
    presses = [client.post("/press", headers={"X-Forwarded-For": f"6.6.6.{n}"}) for n in range(7)]
    assert [answer.status_code for answer in presses] == [204] * 5 + [429] * 2
    assert presses[0].headers["ratelimit"] == '"5/10s";r=4;t=10'
    assert 1 <= int(presses[-1].headers["retry-after"]) <= 10

    kinds = {entry["key"].partition(":")[0] for entry in client.get("/state").json()["keys"]}
    assert kinds >= {"cache", "throttle"}

    _assert_that_nonsense_is_refused(client)


def _assert_that_nonsense_is_refused(client: httpx.Client) -> None:
    """In plain words, and without a traceback of the server."""
    for body in (
        b"",
        b"\xff",
        b"[]",
        b'{"name": ""}',
        b'{"name": "<b>"}',
        b'{"name": 5}',
        b'{"name": "' + b"a" * 10**6 + b'"}',
    ):
        answer = client.post("/login", content=body)
        assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert client.get("/forecast/Atlantis").status_code == 404
    for cookie in ("session=garbage", "session=" + "A" * 64, "session=\xff", "session=" + "A" * 10_000):
        answer = httpx.get(f"{client.base_url}/state", headers={"Cookie": cookie.encode("latin-1")}, verify=False)
        assert (answer.status_code, answer.json()["user"]) == (200, None)


def test_a_visitor_sees_no_keys_of_another() -> None:
    """The keys in the store hold names, handles and addresses."""
    with (
        serving(EXAMPLE, "--port") as address,
        httpx.Client(base_url=address, verify=False) as client,
        httpx.Client(base_url=address, verify=False) as other,
    ):
        client.post("/login", json={"name": "ada"})
        client.post("/press")
        own = [entry["key"] for entry in client.get("/state").json()["keys"]]
        assert {key.partition(":")[0] for key in own} == {"session", "throttle"}
        other.post("/login", json={"name": "bob"})
        other.post("/login", json={"name": "bob"})
        seen = other.get("/state")
    assert "ada" not in seen.text
    assert not [key for key in own if key.startswith("session:") and key in seen.text]
    assert seen.json()["others"] >= 2


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = Path(EXAMPLE).with_suffix(".html").read_text(encoding="utf-8")
    assert re.findall(r"https?://", page) == []
    assert 'name="viewport"' in page


def test_a_wrong_url_is_said_in_one_line() -> None:
    with pytest.raises(RuntimeError, match="ValueError: a backend's url begins with one of memory://"):
        serving(EXAMPLE, "--url", "carrier-pigeon://loft", "--port").__enter__()


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
def test_a_browser_shows_it(tmp_path: Path) -> None:
    """Opened with ?play, the page does everything once by itself, on a desk and on a phone."""
    with serving(EXAMPLE, "--port") as address, open_page(BROWSER or "", f"{address}/?play", tmp_path) as page:
        page.wait_for("document.body.dataset.played === 'once'")
        document = page.run("return document.documentElement.outerHTML")
        pictures = [page.picture(1100, 900), page.picture(500, 1700)]
        assert page.thrown == []
    assert _text(document, "place") == "memory · asyncio"
    assert _text(document, "count") == "3"
    assert _text(document, "who") == "ada, logged in here"
    assert _text(document, "degrees") == "\N{MINUS SIGN}3°"
    assert _text(document, "error") == ""
    calls = re.findall(r"<span[^>]*>(cached|computed)</span>", document)
    assert calls == ["cached", "cached", "computed"]
    assert re.search(r'RateLimit: "5/10s";r=0;t=\d+ +Retry-After: \d+', document)
    assert set(re.findall(r"<b[^>]*>(\w+)</b>", document)) >= {"cache", "session"}
    for picture in pictures:
        assert _varied_rows(picture) > 100


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
def test_an_error_stays_until_the_visitor_does_something_else(tmp_path: Path) -> None:
    with serving(EXAMPLE, "--port") as address, open_page(BROWSER or "", address, tmp_path) as page:
        page.run("at('name').value = '<b>'; at('login').requestSubmit()")
        page.wait_for("at('error').textContent.includes('1 to 20 letters')")
        # The page has asked for the state of the store since, and that went well.
        page.run("await refresh(); await pause(300)")
        assert page.run("return at('error').textContent") == "A name has 1 to 20 letters, digits or spaces."
        page.run("at('add').click()")
        page.wait_for("at('error').textContent === '' && at('count').textContent === '1'")
        assert page.thrown == []


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
def test_a_server_that_fails_is_shown_and_breaks_nothing(tmp_path: Path) -> None:
    with serving(EXAMPLE, "--port") as address, open_page(BROWSER or "", address, tmp_path) as page:
        page.run("const real = fetch; window.restore = () => window.fetch = real")
        page.run("window.fetch = async () => new Response('oops', { status: 500 })")
        for button in ("press", "ask", "add"):
            page.run(f"at('{button}').click()")
            page.wait_for("at('error').textContent === 'The server answers 500.'")
            page.wait_for(f"!at('{button}').disabled")
        page.run("restore(); at('press').click()")
        page.wait_for("at('error').textContent === '' && at('remaining').textContent === '4'")
        assert page.thrown == []


def _text(document: str, id: str) -> str:
    found = re.search(rf'id="{id}"[^>]*>([^<]*)<', document)
    assert found is not None
    return found[1]


def _varied_rows(png: bytes) -> int:
    """How many different rows of pixels a picture has; a blank one has very few."""
    width, height = struct.unpack(">II", png[16:24])
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += length + 12
    raw = zlib.decompress(data)
    size = len(raw) // height
    assert size > width
    return len({raw[start : start + size] for start in range(0, len(raw), size)})
