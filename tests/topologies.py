"""Real servers that belong together: a Redis Cluster, and a primary with replicas that Sentinels watch.

    with running_cluster() as cluster:
        cluster.move([0, 1], to=cluster.primaries()[1])

    with running_sentinels() as group:
        group.fail_over()

The fixtures ``cluster`` and ``sentinels`` of ``conftest.py`` start one of each per run, when a test asks for it. Their
tests share one xdist worker (``pytestmark = pytest.mark.xdist_group("cluster")``) and may reshard, fail over and kill:
``heal()`` repairs the topology after each test. Servers are controlled over their unix sockets, so neither TLS nor an
unreachable announced address is in the way, and ended by process id.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import hiredis

from .servers import Server, available

SLOTS = 16384

#: The distance from the port of a cluster node to the port of its cluster bus.
BUS = 10000

#: Seconds that a topology may take to reach a state that it is waited for.
PATIENCE = 20.0


def free_cluster_port() -> int:
    """A port that is free together with its bus port. Both are outside the range of ephemeral client ports."""
    while True:
        port = random.randrange(10000, 22000)
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + BUS))
            return port


def until(condition: Callable[[], Any], what: str, *, within: float = PATIENCE) -> Any:
    """Wait until a condition holds, and return what it returned."""
    deadline = time.monotonic() + within
    while True:
        with contextlib.suppress(OSError, EOFError):
            if found := condition():
                return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {within:g} s")
        time.sleep(0.02)


class Node(Server):
    """A server of a topology.

    Args:
        name: The server binary.
        *args: Its options; ``{port}`` stands for its port.
        port: Its port.
        password: What ``--requirepass`` sets, for the control connection.
    """

    def __init__(self, name: str, *args: str, port: int | None = None, password: str | None = None) -> None:
        super().__init__(name, *args, port=port)
        self.args = tuple(word.replace("{port}", str(self.port)) for word in self.args)
        self.password = password
        self.is_paused = False

    @property
    def address(self) -> tuple[str, int]:
        """Its host and port."""
        return "127.0.0.1", self.port

    @property
    def is_running(self) -> bool:
        """Whether its process runs, stopped by a signal or not."""
        return self._process is not None

    def ask(self, *words: str | int) -> Any:
        """Send one command over a connection of its own; return the reply, or raise ``hiredis.ReplyError``."""
        commands: list[Sequence[str | int]] = [words]
        if self.password is not None:
            commands.insert(0, ("AUTH", self.password))
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(self.socket_path)
            connection.sendall(b"".join(hiredis.pack_command(tuple(map(str, command))) for command in commands))
            reader = hiredis.Reader(encoding="utf-8", errors="surrogateescape")
            replies: list[Any] = []
            while len(replies) < len(commands):
                reply = reader.gets()
                if reply is not False:
                    replies.append(reply)
                    continue
                data = connection.recv(65536)
                if not data:
                    raise EOFError("the server closed the connection")
                reader.feed(data)
        if isinstance(replies[-1], hiredis.ReplyError):
            raise replies[-1]
        return replies[-1]

    def info(self, section: str) -> dict[str, str]:
        """One section of ``INFO``."""
        return dict(line.split(":", 1) for line in self.ask("INFO", section).splitlines() if ":" in line)

    def calls(self, command: str) -> int:
        """How often the server has executed a command since it started, ``cluster|slots`` for example."""
        counted = self.info("commandstats").get(f"cmdstat_{command}")
        return 0 if counted is None else int(re.findall(r"calls=(\d+)", counted)[0])

    def pause(self) -> None:
        """Stop the process (SIGSTOP): connections stay open, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        self.is_paused = True

    def resume(self) -> None:
        """Continue the process (SIGCONT). Harmless if it is not stopped."""
        if self.is_paused:
            self.is_paused = False
            os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End the process at once (SIGKILL)."""
        self.stop(kill=True)

    def stop(self, *, kill: bool = False) -> None:
        if self.is_running:
            self.resume()
        super().stop(kill=kill)


class Topology(ABC):
    """Servers that belong together."""

    servers: Sequence[Node]

    @abstractmethod
    def assemble(self) -> None:
        """Make one topology of the servers, which have started."""

    @abstractmethod
    def settle(self) -> None:
        """Wait until every server knows and follows the others."""

    def start(self) -> None:
        """Start every server, and return when the topology is complete."""
        for server in self.servers:
            server.start()
        self.assemble()

    def heal(self) -> None:
        """Resume the servers that were stopped, restart those that were killed, and wait for all."""
        for server in self.servers:
            server.resume()
            if not server.is_running:
                server.start()
        self.settle()

    def calls(self, command: str) -> int:
        """How often the servers that run have executed a command."""
        return sum(server.calls(command) for server in self.servers if server.is_running and not server.is_paused)

    def dispose(self) -> None:
        """End every server and remove its directory."""
        for server in self.servers:
            server.dispose()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.dispose()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.dispose()


class Cluster(Topology):
    """A Redis Cluster on the loopback interface.

    Args:
        *args: Options of every node; ``{port}`` stands for its port.
        name: The server binary.
        primaries: How many primaries, which share the slots evenly.
        replicas: How many replicas each of them has.
        node_timeout: Seconds after which a silent node counts as failed (``cluster-node-timeout``).
        password: The password of every node.
    """

    def __init__(
        self,
        *args: str,
        name: str | None = None,
        primaries: int = 3,
        replicas: int = 1,
        node_timeout: float = 1.0,
        password: str | None = None,
    ) -> None:
        self._name = next(iter(available())) if name is None else name
        self._args = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(int(node_timeout * 1000))]
        # A replica follows at once, and may take over however long its primary has been away.
        self._args += ["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"]
        self._args += ["--cluster-replica-validity-factor", "0", *args]
        self._password = password
        if password is not None:
            self._args += ["--requirepass", password, "--primaryauth" if "valkey" in self._name else "--masterauth"]
            self._args.append(password)
        self._primaries = primaries
        self.servers: list[Node] = [self._new() for _ in range(primaries * (1 + replicas))]

    def _new(self) -> Node:
        return Node(self._name, *self._args, port=free_cluster_port(), password=self._password)

    @property
    def seeds(self) -> str:
        """The addresses of all nodes, as a url lists them."""
        return ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    @property
    def url(self) -> str:
        """The url of the cluster, with every node as a seed and without a password."""
        return f"redis+cluster://{self.seeds}"

    def assemble(self) -> None:
        primaries = self.servers[: self._primaries]
        share = -(-SLOTS // len(primaries))
        for number, server in enumerate(primaries):
            slots = range(number * share, min(SLOTS, (number + 1) * share))
            server.ask("CLUSTER", "ADDSLOTS", *slots)
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        self._meet(self.servers)
        for number, server in enumerate(self.servers[self._primaries :]):
            server.ask("CLUSTER", "REPLICATE", self.node_id(primaries[number % self._primaries]))
        self.settle()

    def _meet(self, servers: Sequence[Node]) -> None:
        first = servers[0]
        for server in servers[1:]:
            first.ask("CLUSTER", "MEET", "127.0.0.1", server.port)
        until(lambda: all(self._known(server) >= len(servers) for server in servers), "meeting")

    def _known(self, server: Node) -> int:
        lines = [line for line in self._table(server) if "handshake" not in line[2] and "noaddr" not in line[2]]
        return len(lines)

    def settle(self) -> None:
        until(self._is_settled, "a settled cluster")

    def _is_settled(self) -> bool:
        running = [server for server in self.servers if server.is_running and not server.is_paused]
        if not all("cluster_state:ok" in server.ask("CLUSTER", "INFO") for server in running):
            return False
        views = {
            tuple(
                sorted((line[0], line[2].replace("myself,", ""), line[3], *_owned(line)) for line in self._table(one))
            )
            for one in running
        }
        return len(views) == 1 and "fail" not in str(views) and all(map(_follows, running))

    def _table(self, server: Node) -> list[list[str]]:
        """The lines of ``CLUSTER NODES`` as a node sees them, in words."""
        return [line.split(" ") for line in server.ask("CLUSTER", "NODES").splitlines()]

    def node_id(self, server: Node) -> str:
        """The id of a node."""
        return str(server.ask("CLUSTER", "MYID"))

    def primaries(self) -> list[Node]:
        """The primaries that own slots, by their own account, in the order of their first slots."""
        found: list[tuple[int, int, Node]] = []
        for order, server in enumerate(self.servers):
            if server.is_running and not server.is_paused:
                mine = next(line for line in self._table(server) if "myself" in line[2])
                if "master" in mine[2] and (owned := _owned(mine)):
                    found.append((int(owned[0].split("-")[0]), order, server))
        return [server for *_, server in sorted(found, key=lambda one: one[:2])]

    def replicas(self, primary: Node) -> list[Node]:
        """The replicas of a primary that run, by their own account."""
        wanted = self.node_id(primary)
        others = [one for one in self.servers if one is not primary and one.is_running and not one.is_paused]
        return [one for one in others if next(line for line in self._table(one) if "myself" in line[2])[3] == wanted]

    def slots(self, server: Node) -> list[int]:
        """The slots that a node owns, by its own account."""
        mine = next(line for line in self._table(server) if "myself" in line[2])
        ranges = [(*map(int, one.split("-")),) for one in _owned(mine)]
        return [slot for one in ranges for slot in range(one[0], one[-1] + 1)]

    def owner(self, slot: int) -> Node:
        """The primary that owns a slot, by its own account."""
        return next(server for server in self.primaries() if slot in self.slots(server))

    def slot(self, key: str) -> int:
        """The slot of a key."""
        running = next(server for server in self.servers if server.is_running and not server.is_paused)
        return int(running.ask("CLUSTER", "KEYSLOT", key))

    def command(self, *words: str | bytes) -> bytes:
        """Send a command to the owner of its key and return the raw reply; ``INFO`` to every primary."""
        if words[0] == "INFO":
            return b"".join(server.command(*words) for server in self.primaries())
        owner = self.owner(self.slot(str(words[1]))) if len(words) > 1 else self.primaries()[0]
        return owner.command(*words)

    def flush(self) -> None:
        """Remove every key: a slot cannot be given away while its owner holds keys of another test."""
        for server in self.servers:
            # Replicas refuse.
            with contextlib.suppress(hiredis.ReplyError):
                server.ask("FLUSHALL")

    def begin_move(self, slot: int, to: Node, *, source: Node | None = None) -> Node:
        """Mark a slot as importing and migrating, and return its owner. Keys stay where they are."""
        source = self.owner(slot) if source is None else source
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", self.node_id(source))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", self.node_id(to))
        return source

    def migrate_keys(self, slot: int, source: Node, to: Node, *, keys: Iterable[str] | None = None) -> None:
        """Migrate the keys of a slot, or some of them, after ``begin_move``."""
        auth = [] if self._password is None else ["AUTH", self._password]
        names = list(keys) if keys is not None else source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100)
        while names:
            source.ask("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "REPLACE", *auth, "KEYS", *names)
            names = [] if keys is not None else source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100)

    def end_move(self, slot: int, to: Node) -> None:
        """Give a slot to its new owner: there first, then for the other primaries."""
        new = self.node_id(to)
        for server in [to, *(one for one in self.primaries() if one is not to)]:
            server.ask("CLUSTER", "SETSLOT", slot, "NODE", new)

    def move(self, slots: Iterable[int], to: Node) -> None:
        """Reshard: move slots with their keys, one after another, while clients go on."""
        owners = {slot: server for server in self.primaries() for slot in self.slots(server)}
        ids = {server: self.node_id(server) for server in set(owners.values()) | {to}}
        for slot in slots:
            source = owners[slot]
            if source is to:
                continue
            to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
            source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to])
            self.migrate_keys(slot, source, to)
            for server in (to, source):
                server.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[to])
            owners[slot] = to

    def fail_over(self, replica: Node) -> None:
        """Make a replica a primary as planned (``CLUSTER FAILOVER``), and wait until it is one."""
        replica.ask("CLUSTER", "FAILOVER")
        until(lambda: replica.ask("ROLE")[0] == "master", "the failover")

    def add(self) -> Node:
        """Add an empty primary."""
        server = self._new()
        self.servers.append(server)
        server.start()
        known = next(one for one in self.servers if one.is_running and not one.is_paused)
        known.ask("CLUSTER", "MEET", "127.0.0.1", server.port)
        until(lambda: all(self._known(one) >= len(self.servers) for one in self.servers), "the new node's welcome")
        return server

    def remove(self, server: Node) -> None:
        """End a node without slots and have the others forget it."""
        gone = self.node_id(server)
        self.servers.remove(server)
        server.dispose()
        for other in self.servers:
            with contextlib.suppress(hiredis.ReplyError):
                other.ask("CLUSTER", "FORGET", gone)


def _owned(line: Sequence[str]) -> list[str]:
    """The ranges of slots in a line of ``CLUSTER NODES``, without those under way."""
    return [word for word in line[8:] if word and not word.startswith("[")]


def _follows(server: Node) -> bool:
    """Whether a server is a primary, or a replica that has caught up with its primary."""
    replication = server.info("replication")
    return replication["role"] == "master" or replication["master_link_status"] == "up"


class Sentinel(Node):
    """A Sentinel. It keeps its configuration file over restarts.

    Args:
        name: The server binary.
        *lines: Lines of its configuration file; ``{port}`` stands for its port.
        password: The password that it asks for.
    """

    def __init__(self, name: str, *lines: str, password: str | None = None) -> None:
        super().__init__(name, *lines, password=password)
        self._file = Path(self.directory) / "sentinel.conf"
        own = [f"port {self.port}", "bind 127.0.0.1", f"unixsocket {self.socket_path}", f"dir {self.directory}"]
        if password is not None:
            own.append(f"requirepass {password}")
        self._file.write_text("\n".join([*own, *self.args]) + "\n")

    def _command_line(self) -> list[str]:
        return [available()[self.name], str(self._file), "--sentinel"]

    def master(self, service: str) -> dict[str, str]:
        """What it says of a master (``SENTINEL MASTER``)."""
        words = self.ask("SENTINEL", "MASTER", service)
        return dict(zip(words[::2], words[1::2], strict=True))

    def address_of(self, service: str) -> tuple[str, int]:
        """Where it says that a master is."""
        host, port = self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        return str(host), int(port)


class Sentinels(Topology):
    """One primary, its replicas, and the Sentinels that watch them, on the loopback interface.

    Args:
        *args: Options of the primary and its replicas; ``{port}`` stands for the port.
        name: The server binary.
        replicas: How many replicas there are.
        sentinels: How many Sentinels there are.
        down_after: Seconds after which a silent server counts as down.
        failover_timeout: Seconds that a failover may take.
        password: The password of the primary and its replicas.
        sentinel_password: The password of the Sentinels.
        sentinel_lines: More lines of the Sentinels' configuration files.
    """

    def __init__(
        self,
        *args: str,
        name: str | None = None,
        replicas: int = 2,
        sentinels: int = 3,
        down_after: float = 0.5,
        failover_timeout: float = 3.0,
        password: str | None = None,
        sentinel_password: str | None = None,
        sentinel_lines: Sequence[str] = (),
    ) -> None:
        name = next(iter(available())) if name is None else name
        self.service = "main"
        args = ("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0", *args)
        if password is not None:
            args += ("--requirepass", password, "--masterauth", password)
        self.data: list[Node] = [Node(name, *args, password=password)]
        follow = ("--replicaof", "127.0.0.1", str(self.data[0].port))
        self.data += [Node(name, *args, *follow, password=password) for _ in range(replicas)]
        lines = [
            f"sentinel monitor {self.service} 127.0.0.1 {self.data[0].port} {sentinels // 2 + 1}",
            f"sentinel down-after-milliseconds {self.service} {int(down_after * 1000)}",
            f"sentinel failover-timeout {self.service} {int(failover_timeout * 1000)}",
        ]
        if password is not None:
            lines.append(f"sentinel auth-pass {self.service} {password}")
        lines += sentinel_lines
        self.watchers = [Sentinel(name, *lines, password=sentinel_password) for _ in range(sentinels)]
        self.servers = [*self.data, *self.watchers]

    @property
    def seeds(self) -> str:
        """The addresses of all Sentinels, as a url lists them."""
        return ",".join(f"127.0.0.1:{server.port}" for server in self.watchers)

    @property
    def url(self) -> str:
        """The url of the service, with every Sentinel and without a password."""
        return f"redis+sentinel://{self.seeds}/{self.service}/0"

    def start(self) -> None:
        for server in self.data:
            server.start()
        until(lambda: all(map(_follows, self.data)), "replication")
        for watcher in self.watchers:
            watcher.start()
        self.assemble()

    def assemble(self) -> None:
        # Sentinels meet by messages that they send every two seconds. Until they have met they send more.
        self._pace(publish_period=100)
        self.settle()
        self._pace(publish_period=2000)

    def _pace(self, *, publish_period: int) -> None:
        for watcher in self.watchers:
            # Redis 6.2 does not know this.
            with contextlib.suppress(hiredis.ReplyError):
                watcher.ask("SENTINEL", "DEBUG", "publish-period", publish_period)

    def settle(self) -> None:
        until(self._is_settled, "settled Sentinels")

    def _is_settled(self) -> bool:
        masters = [watcher.master(self.service) for watcher in self.watchers]
        return (
            len({(one["ip"], one["port"], one["config-epoch"]) for one in masters}) == 1
            and all(one["flags"] == "master" for one in masters)
            and all(int(one["num-slaves"]) == len(self.data) - 1 for one in masters)
            and all(int(one["num-other-sentinels"]) == len(self.watchers) - 1 for one in masters)
            and self.primary().ask("ROLE")[0] == "master"
            and all(map(_follows, self.data))
        )

    def heal(self) -> None:
        """Resume and restart what does not run, have every other server follow the master, and wait for all."""
        for server in self.servers:
            server.resume()
            if not server.is_running:
                server.start()
        until(lambda: len({watcher.address_of(self.service) for watcher in self.watchers}) == 1, "one master")
        # The Sentinels would do the same after ten seconds.
        primary = self.primary()
        for server in self.data:
            role = server.ask("ROLE")
            if server is not primary and (role[0] == "master" or role[2] != primary.port):
                server.ask("REPLICAOF", "127.0.0.1", primary.port)
        self.settle()

    def primary(self) -> Node:
        """The master that the first Sentinel which runs names."""
        watcher = next(one for one in self.watchers if one.is_running and not one.is_paused)
        port = watcher.address_of(self.service)[1]
        return next(server for server in self.data if server.port == port)

    def replicas(self) -> list[Node]:
        """The servers that are not the master."""
        primary = self.primary()
        return [server for server in self.data if server is not primary]

    def fail_over(self) -> None:
        """Begin a planned failover (``SENTINEL FAILOVER``). Return when it is under way."""
        self.watchers[0].ask("SENTINEL", "FAILOVER", self.service)

    def await_switch(self, old: Node) -> Node:
        """Wait until most Sentinels name another master than ``old``, and return it."""

        def switched() -> bool:
            running = [one for one in self.watchers if one.is_running and not one.is_paused]
            changed = [one for one in running if one.address_of(self.service)[1] != old.port]
            return len(changed) > len(self.watchers) // 2

        until(switched, "the switch to another master")
        return self.primary()


@contextlib.contextmanager
def running_cluster(*args: str, **options: Any) -> Iterator[Cluster]:
    """A cluster for the length of a ``with`` block; arguments as for ``Cluster``."""
    with Cluster(*args, **options) as cluster:
        yield cluster


@contextlib.contextmanager
def running_sentinels(*args: str, **options: Any) -> Iterator[Sentinels]:
    """A primary, replicas and Sentinels for the length of a ``with`` block; arguments as for ``Sentinels``."""
    with Sentinels(*args, **options) as sentinels:
        yield sentinels
