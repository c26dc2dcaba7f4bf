"""tandemctl: everything that changes what a host serves, and what can be asked about it. Runs on the host, as root.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 refused (nothing was changed).
What only some commands need is imported by them: a rollback does not wait for the modules of a backup.
"""

import argparse
import getpass
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial

from tandem.domain.rollout import Refused, Slot, adopt
from tandem.domain.slots import card_of, engine_unit
from tandem.hostside import (
    carry,
    lock,
    preparing,
    renewal,
    reporting,
    rollouts,
    secrets_commands,
    state,
    status,
    traffic,
    webui_commands,
)
from tandem.hostside.arguments import BadInput, parser
from tandem.hostside.failed import Failed
from tandem.hostside.paths import Paths
from tandem.hostside.probe import Target, engine_target, probe, served, webui_target
from tandem.hostside.waiting import wait_ready

DONE, FAILED, USAGE, REFUSED = 0, 1, 2, 3


def main(words: Sequence[str] | None = None, paths: Paths | None = None) -> int:
    """Run one command; returns its exit status. Every error ends in plain sentences on standard error."""
    options = parser().parse_args(words)
    os.umask(0o022)  # the routers, other users, read the split
    try:
        COMMANDS[options.command](options, paths or Paths())
        return DONE
    except Refused as error:
        return _sorry(REFUSED, str(error))
    except BadInput as error:
        return _sorry(USAGE, str(error))
    except Failed as error:
        return _sorry(FAILED, str(error))
    except PermissionError as error:
        return _sorry(REFUSED, f"{error.filename}: permission denied. Nothing was changed. Run it as root.")
    except subprocess.SubprocessError as error:
        return _sorry(FAILED, f"{_command(error)} failed. What was done stays; run the same command again.")
    except OSError as error:
        return _sorry(FAILED, f"{error.filename or 'system'}: {error.strerror}. Mend that, then run it again.")
    except KeyboardInterrupt:
        return _sorry(FAILED, "interrupted. What was done stays; run the same command again.")


def _status(options: argparse.Namespace, paths: Paths) -> None:
    found = status.gather(paths)
    if options.json:
        _print_json(found)
        return
    for line in status.lines(found, paths):
        print(line)


def _adopt(options: argparse.Namespace, paths: Paths) -> None:
    known = carry.starts(paths)
    names = [engine_unit(options.slot, card_of(options.slot, port)) for port in options.engine_ports]
    wanted = Slot(
        options.release,
        options.digest,
        options.engine_ports,
        100,
        model=options.model,
        revision=options.revision,
        image=options.image,
        start_seconds=max((known[name] for name in names if name in known), default=None),
    )
    with lock.lock(paths.lock, _who("adopt"), f"record release {options.release}", options.wait_seconds):
        before = state.load(paths.state)
        after, sentence = adopt(before, options.slot, wanted, options.webui_port)
        repairs = traffic.differing(after, paths)
        if after != before or repairs:
            with state.recorded(paths, "adopt", _user(), before, after):
                if after != before:
                    state.save(paths.state, after)
                traffic.render(after, repairs, paths)
    print(sentence)
    for name, what in sorted(repairs.items()):
        print(f"{paths.split / name} was {what}: put right")


def _ordered(order: Callable[..., None], words: str) -> Callable[[argparse.Namespace, Paths], None]:
    return lambda options, paths: order(options, paths, _who(words), _user())


def _named(command: webui_commands.Command, words: str) -> Callable[[argparse.Namespace, Paths], None]:
    return lambda options, paths: command(options, paths, _who(words))


def _prepare(options: argparse.Namespace, paths: Paths) -> None:
    preparing.prepare(options, paths, _who("upgrade prepare"), _user())


def _guard(options: argparse.Namespace, paths: Paths) -> None:
    from tandem.hostside import guard

    guard.main(paths)


def _report(options: argparse.Namespace, paths: Paths) -> None:
    _print_json(reporting.report(options.id, paths))


def _secrets_ensure(options: argparse.Namespace, paths: Paths) -> None:
    secrets_commands.ensure(options, paths, _who("secrets ensure"))


def _secrets_rotate(options: argparse.Namespace, paths: Paths) -> None:
    secrets_commands.rotate(options, paths, _who(f"secrets rotate {options.what}"))


def _certificate_renew(options: argparse.Namespace, paths: Paths) -> None:
    if not options.dry:
        print(renewal.renew(paths, _who("certificate renew"), lambda line: print(line, flush=True)))
        return
    found = renewal.look(paths)
    if options.json:
        _print_json(asdict(found))
    else:
        print(f"{'due' if found.due else 'nothing to do'}: {found.sentence}")


def _backups(options: argparse.Namespace, paths: Paths) -> None:
    from tandem.hostside import backup_commands

    backup_commands.COMMANDS[options.command](options, paths, _who(options.command))


def _cleanup(options: argparse.Namespace, paths: Paths) -> None:
    from tandem.hostside import cleanup

    {"cleanup list": cleanup.list_all, "cleanup run": cleanup.run}[options.command](options, paths)


def _wait_ready(options: argparse.Namespace, paths: Paths) -> None:
    def tell(line: str) -> None:
        if options.progress:
            print(line, flush=True)

    patience = options.restart_webui_after_seconds
    last = wait_ready(
        _targets(options),
        _key(options, paths),
        options.timeout_seconds,
        paths,
        tell,
        restart_webui_after_seconds=patience,
    )
    print(last, flush=True)


def _probe(options: argparse.Namespace, paths: Paths) -> None:
    # Before the secrets are made nothing can be ready, and a probe says so instead of failing.
    key = _key(options, paths) if paths.upstream_key.exists() else ""
    answers = probe(_targets(options), key, options.timeout_seconds)
    _print_json({unit: asdict(answer) for unit, answer in answers.items()})


def _served(options: argparse.Namespace, paths: Paths) -> None:
    for unit, digest in (word.split("=") for word in options.expect):
        if unit not in paths.status_ports:
            raise BadInput(f"{unit} is not one of {', '.join(paths.status_ports)}.")
        traffic.confirm(unit, "configuration", digest, partial(_configuration, unit, paths))
    active = served(paths.status_ports)
    if options.json:
        _print_json(active)
        return
    for unit, seen in active.items():
        secrets_revision = f", secrets revision {seen['secrets']}" if seen and seen["secrets"] else ""
        print(f"{unit}: configuration {seen['config']}{secrets_revision}" if seen else f"{unit}: does not answer")


def _configuration(unit: str, paths: Paths) -> str | None:
    seen = served({unit: paths.status_ports[unit]})[unit]
    return seen["config"] if seen else None


def _targets(options: argparse.Namespace) -> list[Target]:
    if not options.engine and not options.webui:
        raise BadInput("give at least one --engine or --webui.")
    if options.engine and not options.model:
        raise BadInput("--engine needs --model: readiness is a real completion.")
    try:
        engines = [engine_target(address, options.model) for address in options.engine]
        targets = [*engines, *(webui_target(address) for address in options.webui)]
    except ValueError as error:
        raise BadInput(str(error)) from None
    if len({target.unit for target in targets}) < len(targets):
        raise BadInput("two addresses belong to the same unit.")
    return targets


def _key(options: argparse.Namespace, paths: Paths) -> str:
    return paths.upstream_key.read_text(encoding="ascii").strip() if options.engine else ""


def _user() -> str:
    return os.environ.get("SUDO_USER") or getpass.getuser()


def _who(command: str) -> str:
    return f"tandemctl {command} by {_user()}"


def _command(error: subprocess.SubprocessError) -> str:
    command = getattr(error, "cmd", None)
    said = str(getattr(error, "stderr", None) or "").strip().splitlines()
    words = " ".join(str(word) for word in command) if isinstance(command, list) else "a command"
    return f"{words} ({said[-1]})" if said else words


def _print_json(value: object) -> None:
    print(json.dumps(value))


def _sorry(status: int, sentence: str) -> int:
    print(f"tandemctl: {sentence}", file=sys.stderr)
    return status


COMMANDS: Mapping[str, Callable[[argparse.Namespace, Paths], None]] = {
    "status": _status,
    "adopt": _adopt,
    "upgrade prepare": _prepare,
    "upgrade begin": _ordered(rollouts.begin_upgrade, "upgrade begin"),
    "upgrade move": _ordered(rollouts.move, "upgrade move"),
    "upgrade hold": _ordered(rollouts.hold, "upgrade hold"),
    "upgrade resume": _ordered(rollouts.resume, "upgrade resume"),
    "upgrade finish": _ordered(rollouts.finish, "upgrade finish"),
    "rollback": _ordered(rollouts.rollback, "rollback"),
    "follow": rollouts.follow,
    "report": _report,
    "guard": _guard,
    "webui settings": webui_commands.settings,
    "webui status": webui_commands.status,
    **{words: _named(command, words) for words, command in webui_commands.COMMANDS.items()},
    "secrets ensure": _secrets_ensure,
    "secrets rotate": _secrets_rotate,
    "secrets list": secrets_commands.list_all,
    "credentials": secrets_commands.credentials,
    "certificate renew": _certificate_renew,
    "cleanup list": _cleanup,
    "cleanup run": _cleanup,
    **dict.fromkeys(("backup run", "backup verify", "backup list", "restore"), _backups),
    "wait-ready": _wait_ready,
    "probe": _probe,
    "served": _served,
}

if __name__ == "__main__":
    sys.exit(main())
