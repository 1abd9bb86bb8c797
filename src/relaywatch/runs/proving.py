"""The proof of a mend: the given configuration runs in a sandbox, a stranger tries it, it is mended, he tries again.

Our own check is the stranger, at 203.0.113.10 and 2001:db8:113::10, with our own sink behind him. As a control the
same check comes from where mail and tunnels are meant to flow, the server's own machine and the networks that the
owner allows, before and after: a mend that stops those is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.commands import command_lines
from relaywatch.audit.mending import mended
from relaywatch.audit.server import Server
from relaywatch.audit.setup import Setup
from relaywatch.audit.trees import TextTree, Tree
from relaywatch.engine.limits import Limits
from relaywatch.engine.pace import Rates
from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Address, Endpoint, Service
from relaywatch.script.brief import Identity, Patience
from relaywatch.script.probe import load_probes
from relaywatch.script.signing_in import Login
from relaywatch.sink.keys import generate_keys, read_keys
from relaywatch.sink.serve import ServeSettings, open_sink
from relaywatch.sink.settings import CANARY_PORTS, SinkSettings, with_canaries
from relaywatch.targets.parse import parse_name, parse_target
from relaywatch.targets.permissions import Permission
from relaywatch.targets.scope import Scope

from . import sandbox
from .placing import Placing
from .proof_signing import Signing
from .proof_strangers import strangers_for
from .proofs import Proof, Stage, Tried
from .reporting import TargetReport
from .run import Run
from .sandbox import SERVER_NAME, Furniture, Listener, Room
from .sandbox_names import Names
from .sandbox_network import DNS, SERVER, SINK, STRANGER, SandboxError, apart, furnish_network
from .settings import RemoteSinkChoice, RunSettings
from .starting import BY_COMMAND_LINE, SPEAKS, STARTED, starting

_ALL = (Path("/"),)
_SINK_DOMAIN, _SECOND, _POINTING = "sink.example", "second-sink.example", "pointing.example"
_SINK_HOST, _STRANGER_NAME = "mx.sink.example", "stranger.example"
_POLL_PORT = 8443
_CHECK_SECONDS = 240.0
_WAIT = 12.0
"""For a message to arrive: on one machine it does within a second or two."""
_PATIENCE = Patience(
    greeting=30, reply=20, data_reply=20, greylist=30, after_rate_limit=1, first_words=2, tunnel=8, canary=4
)
_LIMITS = Limits(connect_seconds=3, receive_seconds=20, tls_seconds=8, attempt_seconds=150)
_FAST = Rates(overall=1000, per_address=200, per_network=1000, burst=100, overall_burst=1000)
_MOST_CLIENTS = 4
_BY_DATAGRAM = frozenset({Service.QUIC, Service.TURN})
_LOCAL = ("127.0.0.1", "::1")


def can_prove(server: Server) -> bool:
    """Whether we know how to start it."""
    return server.name in STARTED


def prove(
    server: Server,
    setup: Setup,
    *,
    layers: Sequence[Path] = _ALL,
    login: Login | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Proof:
    """Run the configuration as it is and as the mend makes it, and let the stranger and the owner's clients try.

    ``layers`` are the roots of the system in which the server is installed, topmost first; they are only read.
    ``login`` are credentials of the owner's, with which the stranger signs in as one more control.

    :raises UsageError: where no sandbox can be made.
    """
    sandbox.require()
    strangers = strangers_for(server, setup)
    clients = tuple(_clients(setup.allowed, strangers))
    setup = setup.afresh()
    outcome = mended(server, setup)
    trees = [setup.tree]
    if outcome.after:
        texts: dict[str, str | bytes] = {str(path): source.octets for path, source in outcome.after.items()}
        trees.append(TextTree(texts, setup.tree))
    proving = _Proving(
        server=server,
        setup=setup,
        layers=tuple(layers),
        strangers=strangers,
        clients=clients,
        login=login,
        tell=tell,
    )
    stages = apart(partial(proving.stages, trees))
    return Proof(
        server=server.name,
        path=setup.shown(setup.main),
        diff=outcome.diff,
        before=stages[0],
        after=stages[1] if len(stages) > 1 else None,
        allowed=frozenset(map(str, clients)),
        has_login=login is not None,
    )


def _clients(allowed: AddressSet, strangers: Sequence[Address] = STRANGER) -> Iterator[Address]:
    """An address out of each of the first networks that the owner allows.

    :raises UsageError: if the stranger himself is in one: then he is none.
    """
    if taken := [one for one in (*strangers, *SINK) if one in allowed]:
        raise UsageError(f"--prove: its stranger is at {taken[0]}, which --allow names as yours")
    networks = [network for version in (4, 6) for network in allowed.networks(version)]
    for network in networks[:_MOST_CLIENTS]:
        client = network[min(9, network.num_addresses - 1)]
        if not client.is_loopback:
            yield client


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proving:
    """One proof: everything that its stages share. Runs in the stranger's network."""

    server: Server
    setup: Setup
    layers: tuple[Path, ...]
    strangers: tuple[Address, Address]
    clients: tuple[Address, ...]
    login: Login | None
    tell: Callable[[str], None]

    async def stages(self, trees: Sequence[Tree]) -> list[Stage]:
        """A stage for each tree of configuration."""
        furnish_network((*self.strangers, *self.clients))
        async with self._outside() as key_file:
            return [await self._stage(tree, key_file) for tree in trees]

    @contextlib.asynccontextmanager
    async def _outside(self) -> AsyncIterator[Path]:
        """The DNS and our sink, in the stranger's network; gives the sink's key file."""
        places = [Endpoint(address, 25) for address in SINK]
        with tempfile.TemporaryDirectory(prefix="relaywatch-sink-") as name:
            key_file = Path(name) / "keys.toml"
            generate_keys(key_file, [str(SINK[0])])
            sink = with_canaries(
                SinkSettings(domain=_SINK_HOST, listen=tuple(places), journal=Path(name) / "journal"),
                CANARY_PORTS,
            )
            poll = Endpoint(SINK[0], _POLL_PORT)
            async with (
                self._names().served(Endpoint(DNS, 53)),
                open_sink(ServeSettings(sink=sink, key_file=key_file, poll_listen=(poll,))),
            ):
                yield key_file

    async def _stage(self, tree: Tree, key_file: Path) -> Stage:
        placing = Placing(self.setup.afresh(tree), self.server, self.setup.tree)
        furniture = Furniture(
            layers=self.layers,
            files=placing.files(is_installed=self.layers == _ALL),
            script=starting(self.server.name, str(placing.of(self.setup.main)), self._commands(tree)),
        )
        try:
            async with sandbox.opened(furniture) as room:
                listeners = await room.started()
                return await self._tried(room, listeners, key_file)
        except SandboxError as error:
            return Stage(trouble=str(error))

    async def _tried(self, room: Room, listeners: tuple[Listener, ...], key_file: Path) -> Stage:
        reachable = [one for one in listeners if not one.address.is_loopback]
        further = {one.address for one in reachable if not _is_ours(one.address)}
        for address in further:
            room.add_address(address)
        ports = tuple(sorted({one.port for one in reachable}))
        takes_datagrams = bool(room.datagram_ports().intersection(ports))
        spoken = SPEAKS.get(self.server.name)
        probes = _probes(self._weaknesses(), spoken, takes_datagrams=takes_datagrams)
        settings = self._settings(key_file, probes, ports, further)
        self.tell(str(self.strangers[0]))
        targets = (SERVER_NAME, *map(str, sorted(further, key=str)))
        stranger = await self._check(settings, targets, self.strangers)
        controls = []
        for client in self.clients:
            self.tell(str(client))
            target = SERVER[client.version == 6]
            controls.append(await self._check(settings, (str(target),), (client,)))
        controls.append(await self._check_inside(room, settings, listeners))
        signed_in = await self._signing(settings, key_file).at(_doors(reachable), self._weaknesses(), spoken)
        return Stage(listeners=listeners, stranger=stranger, controls=tuple(controls), signed_in=signed_in)

    def _signing(self, settings: RunSettings, key_file: Path) -> Signing:
        return Signing(
            login=self.login,
            sources=self.strangers,
            key=read_keys(key_file).canary_key,
            sink_domain=_SINK_DOMAIN,
            canary=SINK[0],
            identity=settings.identity,
            local_domains=settings.local_domains,
            patience=_PATIENCE,
            limits=_LIMITS,
        )

    async def _check_inside(
        self, room: Room, settings: RunSettings, listeners: tuple[Listener, ...]
    ) -> Tried:
        """The same check from the server's own machine, by the first of its addresses at which we get through."""
        ports, tried = (
            tuple(sorted({one.port for one in listeners})),
            Tried(client=_LOCAL[0], is_own_machine=True),
        )
        for local in _local(listeners):
            self.tell(str(local))
            made = partial(self._check, replace(settings, ports=ports), (str(local),), ())
            found = await asyncio.to_thread(apart, made, room.pid)
            tried = replace(found, client=str(local), is_own_machine=True)
            if tried.gets_through:
                break
        return tried

    async def _check(
        self, settings: RunSettings, targets: tuple[str, ...], sources: tuple[Address, ...]
    ) -> Tried:
        run = Run(replace(settings, sources=sources)) if settings.ports else None
        reports: list[TargetReport] = []
        is_cut_short = False
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                if run is not None:
                    async for report in run.check(map(parse_target, targets)):
                        reports.append(report)  # noqa: PERF401 -- kept if time runs out
        except TimeoutError:
            is_cut_short = True
        return Tried(
            client=str(next(iter(sources), "")),
            reports=tuple(reports),
            is_cut_short=is_cut_short,
            is_out_of_reach=run is None,
        )

    def _settings(
        self, key_file: Path, probes: tuple[str, ...], ports: tuple[int, ...], further: Iterable[Address]
    ) -> RunSettings:
        networks = (*SERVER, *sorted(further, key=str))
        permission = Permission(
            networks=tuple(ip_network(address) for address in networks if not address.is_loopback),
            domains=(SERVER_NAME,),
            owner="the owner of this configuration",
            contact=f"postmaster@{SERVER_NAME}",
            until=date.max,
            local_reverse_paths=True,
            local_mailboxes=True,
        )
        return RunSettings(
            probes=probes,
            ports=ports,
            identity=Identity(ehlo_name=_STRANGER_NAME, contact=f"postmaster@{_SINK_DOMAIN}"),
            scope=Scope((permission,)),
            sink=RemoteSinkChoice(
                url=f"https://{SINK[0]}:{_POLL_PORT}",
                key_file=key_file,
                domain=_SINK_DOMAIN,
                second_domain=_SECOND,
                mx_pointing_domain=_POINTING,
            ),
            wait=_WAIT,
            local_domains=(SERVER_NAME, *self._own_domains()),
            patience=_PATIENCE,
            limits=_LIMITS,
            rates=_FAST,
            nameservers=(str(DNS),),
        )

    def _commands(self, tree: Tree) -> list[tuple[str, ...]]:
        """How it is started, where that is all its configuration."""
        setup = self.setup.afresh(tree)
        source = setup.read_main() if self.server.name in BY_COMMAND_LINE else None
        return [line.words for line in command_lines(setup, source, self.server.name)] if source else []

    def _weaknesses(self) -> frozenset[Weakness]:
        return frozenset(service.weakness for service in self.server.evaluate(self.setup.afresh()))

    def _own_domains(self) -> tuple[str, ...]:
        """The domains that the configuration takes for its own: they lead to the server."""
        return tuple(
            dict.fromkeys(
                name
                for service in self.server.evaluate(self.setup.afresh())
                for name in _domain(service.own)
                if not name.endswith((_SINK_DOMAIN, _SECOND, _POINTING))
            )
        )

    def _names(self) -> Names:
        names = Names()
        names.add_host(_STRANGER_NAME, self.strangers)
        names.add_host(_SINK_HOST, SINK)
        names.add_host(SERVER_NAME, SERVER)
        for domain in (_SINK_DOMAIN, _SECOND):
            names.add_host(domain, SINK, has_reverse=False)
            names.add_exchanges(domain, {_SINK_HOST: 10})
        names.add_exchanges(_POINTING, {_SINK_HOST: 10, SERVER_NAME: 20})
        for domain in self._own_domains():
            names.add_host(domain, SERVER, has_reverse=False)
            names.add_exchanges(domain, {SERVER_NAME: 10})
        return names


def _probes(
    weaknesses: frozenset[Weakness], spoken: frozenset[Service] | None, *, takes_datagrams: bool
) -> tuple[str, ...]:
    """Those for what the server is, and can speak; what begins with a datagram only where a port of its takes one."""
    return tuple(
        name
        for name, probe in load_probes().items()
        if probe.weakness in weaknesses
        and (spoken is None or probe.services & spoken)
        and (takes_datagrams or not probe.services or probe.services - _BY_DATAGRAM)
    )


def _local(listeners: Iterable[Listener]) -> tuple[Address, ...]:
    """The server's own machine by the addresses at which it listens for itself, loopback first."""
    places = {one.address for one in listeners}
    anywhere = {4: ip_address("0.0.0.0"), 6: ip_address("::")}  # noqa: S104 -- compared, not listened at
    loopback = [one for one in map(ip_address, _LOCAL) if places & {one, anywhere[one.version]}]
    if loopback == [ip_address("::1")] and anywhere[6] in places:
        loopback.append(ip_address("127.0.0.1"))  # one socket may take both families
    return tuple(loopback) or tuple(sorted(places, key=str))[:1]


def _doors(reachable: Iterable[Listener]) -> tuple[Endpoint, ...]:
    """Where a stranger finds the server, each place once, IPv4 first: a wildcard is at both of its addresses."""
    places = [
        Endpoint(address, one.port)
        for one in reachable
        for address in (SERVER if one.address.is_unspecified else (one.address,))
    ]
    return tuple(sorted(dict.fromkeys(places), key=lambda one: (one.port, one.address.version)))


def _is_ours(address: Address) -> bool:
    return address.is_unspecified or address in SERVER


def _domain(text: str) -> Iterator[str]:
    with contextlib.suppress(ValueError):
        ip_address(text.strip("[]"))
        return
    with contextlib.suppress(ValueError):
        if "." in text:
            yield parse_name(text)
