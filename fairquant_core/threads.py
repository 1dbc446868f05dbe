"""How the threads of the arithmetic wait for each other, which decides how a job fares on a busy computer."""

from __future__ import annotations

from collections.abc import MutableMapping


def wait_asleep(environment: MutableMapping[str, str]) -> None:
    """Let threads that wait for others sleep instead of spin, unless the environment decides otherwise.

    While they spin, they hold cores that the threads they wait for need. On two cores, measuring the layers of the
    demo classifier beside one busy process takes 1.7 times as long as alone when threads sleep and 2.9 times when
    they spin; beside two, 2.2 to 2.8 against 3.2 to more than 10 times. Alone, sleeping costs 4 to 8 %
    (two measurements; benchmarks/busy_machine.py repeats them).

    Must be called before torch is imported, or for the environment of a process that will import it.

    >>> environment = {}
    >>> wait_asleep(environment)
    >>> environment
    {'OMP_WAIT_POLICY': 'PASSIVE'}
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
