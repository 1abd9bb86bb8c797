"""From the user's choices to a run's settings: reads the files that they name."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from relaywatch.engine.pace import Rates
from relaywatch.model.errors import UsageError
from relaywatch.runs.settings import CANARY_PORTS, LocalSink, RemoteSinkChoice, RunSettings, SinkChoice
from relaywatch.script.brief import Identity, Patience
from relaywatch.sink.keys import certificate_path, generate_keys
from relaywatch.targets.exclusions import Exclusions, read_exclusions
from relaywatch.targets.scope import Scope, read_scope

from .options import Choices, default_scope_path, own_key_path


def settings_from(choices: Choices) -> RunSettings:
    """Make the settings of a run; what wasn't chosen is as the run has it by default.

    :raises UsageError: if a file that was named can't be read, or choices can't be together.
    """
    return RunSettings(
        probes=choices.probes,
        ports=choices.ports,
        identity=_identity(choices),
        scope=_scope(choices),
        exclusions=_exclusions(choices),
        sink=_sink(choices),
        sink_unproved_ok=choices.sink_unproved_ok,
        wait=choices.wait,
        patience=Patience(greylist=choices.greylist_wait),
        second_sources=choices.second_sources,
        concurrency=choices.concurrency,
        workers=choices.workers,
        no_mail=choices.no_mail,
        exhaustive=choices.exhaustive,
        local_domains=choices.local_domains,
        sources=choices.source_addresses,
        nameservers=tuple(map(str, choices.nameservers)),
        rates=Rates() if choices.rate is None else Rates(overall=choices.rate),
    )


def _identity(choices: Choices) -> Identity:
    usual = Identity()
    return replace(
        usual,
        ehlo_name=choices.ehlo_name or usual.ehlo_name,
        operator=choices.operator or usual.operator,
        contact=choices.contact or usual.contact,
    )


def _scope(choices: Choices) -> Scope:
    path = choices.scope or default_scope_path()
    return read_scope(path) if choices.scope or path.exists() else Scope(path=str(path))


def _exclusions(choices: Choices) -> Exclusions:
    return Exclusions(item for path in choices.exclude for item in read_exclusions(path))


def _sink(choices: Choices) -> SinkChoice:
    if choices.sink is None:
        return LocalSink(
            address=choices.sink_address,
            domain=choices.sink_domain,
            port=choices.sink_port,
            journal=choices.sink_journal,
            key_file=choices.sink_key_file or (own_key() if choices.sink_journal else None),
            second_domain=choices.second_domain,
            mx_pointing_domain=choices.mx_pointing_domain,
            canary_ports=choices.canary_ports or CANARY_PORTS,
            canary_zone=choices.canary_zone,
            canary_name=choices.canary_name,
        )
    if choices.sink_key_file is None or choices.sink_domain is None:
        raise UsageError("--sink needs --sink-key-file and --sink-domain")
    return RemoteSinkChoice(
        url=choices.sink,
        key_file=choices.sink_key_file,
        domain=choices.sink_domain,
        second_domain=choices.second_domain,
        mx_pointing_domain=choices.mx_pointing_domain,
    )


def own_key() -> Path:
    """The key file of the user's own, made when it is needed first: who keeps a journal means to read it later.

    :raises UsageError: if it can't be made.
    """
    path = own_key_path()
    if not path.exists():
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as draft:
                generate_keys(Path(draft) / path.name, ["localhost"])
                _keep_first(Path(draft) / path.name, path)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}; name a --sink-key-file") from error
    return path


def _keep_first(draft: Path, path: Path) -> None:
    """Put key and certificate in their place, unless another process was faster: then its key is the one."""
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
        certificate_path(draft).replace(certificate_path(path))
