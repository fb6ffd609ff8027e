"""A machine of the simulated team: typists, the proxy, and replicas, all on the same cores.

Rule: pure, deterministic for a seed. What work takes is processor time (queueing.py says how cores are shared); the
rest is what the service does: a replica answers one request after the other, the newest first; a document stays with
its replica; the next key cancels what still runs at the end of its pass or piece of context. The typists are those of
`mezzotint bench team`.

    Machine(loads=[5, 5], cores=2, costs=Costs(), typing=Typing(), seed=0).run(60).first_ms
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from diffusion.backends.remote import GRACE_MS, PAUSE_S, UNSEEN
from diffusion.engine import ENCODE_ROWS
from diffusion.serve.limits import Limits
from diffusion.serve.queueing import Clock, Line

ASKED_SHARE = 0.24  # of keys behind which the model is asked, where nothing runs
KEY_S = (0.2, 0.08)  # between two keys: mean and deviation
LEAST_KEY_S = 0.03
THOUGHT_S = 1.5  # in front of a line
PIECE = ENCODE_ROWS  # context tokens between two looks at whether somebody still waits
MOST_TOKENS = 1024  # of a context
WAITING = Limits().waiting  # requests that may wait for a replica
DEADLINE_S, GRACE_S = 3.0, GRACE_MS / 1000  # of a request, and how much longer its client waits


@dataclass(frozen=True)
class Costs:
    """Milliseconds of a core, measured.

    Of a pass, of a context token, of a request that the model begins with (`job_ms`), and of every request in the
    replica's other threads, in the proxy and in the client.

    `rest_share`: of one core, what runs anyway. `way_ms`: time on the way there and back that takes no core of ours.
    """

    pass_ms: float = 17.0
    encode_ms: float = 0.75
    job_ms: float = 3.0
    http_ms: float = 3.0
    proxy_ms: float = 8.0
    typist_ms: float = 0.0
    rest_share: float = 0.1
    way_ms: float = 5.0


@dataclass(frozen=True)
class Typing:
    """What typists do, measured: the share of lines elsewhere in the file, passes of a request if nobody cancels it.

    Values of equal chance: `line_keys` of a line; new context tokens of a request, `key_tokens` behind another one of
    the same line, `line_tokens` of the first of a line, `elsewhere_tokens` of the first elsewhere.
    """

    elsewhere_share: float = 0.2
    passes_a_request: float = 2.3
    line_keys: Sequence[float] = (8, 14, 20, 25, 30, 35, 40, 45, 52, 62)
    key_tokens: Sequence[float] = (0, 0, 0, 1, 1, 1, 1, 2, 2, 50)
    line_tokens: Sequence[float] = (2, 3, 3, 3, 3, 4, 4, 5, 5, 150)
    elsewhere_tokens: Sequence[float] = (600, 650, 700, 700, 750, 750, 800, 800, 850, 900)


@dataclass
class Seen:
    """What came of a run."""

    first_ms: list[float] = field(default_factory=list)
    final_ms: list[float] = field(default_factory=list)
    keys: int = 0
    requests: int = 0
    refused: int = 0
    late: int = 0
    passes: int = 0
    encoded_tokens: float = 0.0
    busy_s: float = 0.0

    def add(self, other: Seen) -> None:
        """Take what another run saw as well."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(eq=False)
class Context:
    """A context, as far as it is not encoded yet."""

    tokens: float = 0.0


@dataclass(eq=False)
class Request:
    """A request on its way."""

    typist: Typist
    at_s: float
    context: Context
    passes: int  # that it needs
    ran: int = 0  # of them
    sent: bool = False
    cancelled: bool = False  # its typist has gone on
    gone: bool = False  # and its replica knows
    paid: bool = False  # the way back was gone
    over: bool = False  # answered, too late, or refused


class Replica:
    """One model and those who wait for it."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.http, self.model = machine, Line(machine.clock), Line(machine.clock)
        self.waiting: list[Request] = []
        self.running: Request | None = None

    def take(self, request: Request) -> None:
        """Let a request wait."""
        self.waiting = [other for other in self.waiting if not other.gone]
        if len(self.waiting) >= WAITING:
            self.machine.seen.refused += 1
            request.over = True
            return
        self.waiting.append(request)
        if self.running is None:
            self.next()

    def next(self) -> None:
        """Begin with who came last."""
        self.running = None
        while self.waiting and self.running is None:
            request = self.waiting.pop()
            if not request.gone:
                self.running = request
                self.work(self.machine.costs.job_ms, partial(self.go_on, request))

    def go_on(self, request: Request) -> None:
        """One piece of context, or one pass; nothing if nobody waits for it any more."""
        costs, clock = self.machine.costs, self.machine.clock
        late = clock.now_s - request.at_s > DEADLINE_S and not request.gone
        if late:
            self.machine.seen.late += not request.ran
            request.over = True
        if late or request.gone or request.passes == request.ran:
            self.next()
        elif request.context.tokens > 0:
            self.work(min(PIECE, request.context.tokens) * costs.encode_ms, partial(self.encoded, request))
        else:
            self.work(costs.pass_ms, partial(self.passed, request))

    def work(self, ms: float, then: Callable[[], None]) -> None:
        """Let the model work."""
        self.machine.seen.busy_s += ms / 1000
        self.model.do(ms / 1000, then)

    def encoded(self, request: Request) -> None:
        """A piece of context is encoded; it stays so whatever comes."""
        piece = min(PIECE, request.context.tokens)
        request.context.tokens -= piece
        self.machine.seen.encoded_tokens += piece
        self.go_on(request)

    def passed(self, request: Request) -> None:
        """A pass is done: its draft goes out."""
        self.machine.seen.passes += 1
        request.ran += 1
        self.machine.answer(self, request, request.ran)
        self.go_on(request)


class Machine:
    """Cores, replicas with so many typists each, and the proxy and the typists' process in front of them."""

    def __init__(self, loads: Sequence[int], cores: float, costs: Costs, typing: Typing, seed: int) -> None:
        self.rng, self.costs, self.typing, self.seen = random.Random(seed), costs, typing, Seen()
        self.clock = Clock(max(0.1, cores - costs.rest_share))
        self.proxy, self.client = Line(self.clock), Line(self.clock)
        self.typists = [Typist(self, replica) for load in loads for replica in [Replica(self)] for _ in range(load)]

    def run(self, seconds: float) -> Seen:
        """Type for so long."""
        for typist in self.typists:
            typist.begin()
        self.clock.run(seconds)
        return self.seen

    def go(self, replica: Replica, request: Request) -> None:
        """A request's way to its replica: half of what it costs around the model."""
        self.along(self.parts(replica), 0.5, partial(replica.take, request))

    def leave(self, replica: Replica, request: Request) -> None:
        """Its typist has gone on, which the replica learns by the same way; the other half."""
        self.along(self.parts(replica), 0.0 if request.paid else 0.5, lambda: setattr(request, "gone", True))
        request.paid = True

    def answer(self, replica: Replica, request: Request, number: int) -> None:
        """A draft's way back; with the first one, the other half."""
        share, request.paid = 0.0 if request.paid else 0.5, True
        self.along(self.parts(replica)[::-1], share, partial(self.show, request, number))

    def parts(self, replica: Replica) -> list[tuple[Line, float]]:
        """What a request comes through, and the milliseconds that it takes there in all."""
        costs = self.costs
        return [(self.client, costs.typist_ms), (self.proxy, costs.proxy_ms), (replica.http, costs.http_ms)]

    def along(self, parts: Sequence[tuple[Line, float]], share: float, then: Callable[[], None]) -> None:
        """One way: a share of the work of each part after the other, behind half of the time on the way."""
        for line, ms in reversed(parts):
            then = partial(line.do, ms * share / 1000, then)
        self.clock.at(self.clock.now_s + self.costs.way_ms / 2000, then)

    def show(self, request: Request, number: int) -> None:
        """A typist sees a draft, unless another key came."""
        if request.cancelled:
            return
        ms = (self.clock.now_s - request.at_s) * 1000
        if ms > (DEADLINE_S + GRACE_S) * 1000:
            request.over = True
            return
        request.typist.unseen = 0
        if number == 1:
            self.seen.first_ms.append(ms)
        if number == request.passes:
            self.seen.final_ms.append(ms)
            request.over = True


class Typist:
    """Somebody who types in a document of their own."""

    def __init__(self, machine: Machine, replica: Replica) -> None:
        self.machine, self.replica = machine, replica
        self.keys = 0  # that are left of the line
        self.context = Context()
        self.new: Sequence[float] = ()  # tokens of the next request
        self.request: Request | None = None
        self.unseen = 0  # requests in a row that were cancelled before a draft

    def begin(self) -> None:
        """Think, then write a line."""
        rng, typing = self.machine.rng, self.machine.typing
        there = not self.new or rng.random() < typing.elsewhere_share
        self.new = typing.elsewhere_tokens if there else typing.line_tokens
        self.keys = max(1, round(rng.choice(typing.line_keys)))
        self.machine.clock.at(self.machine.clock.now_s + rng.expovariate(1 / THOUGHT_S), self.key)

    def key(self) -> None:
        """Press a key, behind which the model may have to be asked."""
        rng, clock = self.machine.rng, self.machine.clock
        self.machine.seen.keys += 1
        runs = self.request is not None and not self.request.over
        if runs or rng.random() < ASKED_SHARE:
            self.ask(runs)
        self.keys -= 1
        wait_s = max(LEAST_KEY_S, rng.gauss(*KEY_S))
        clock.at(clock.now_s + wait_s, self.key if self.keys else self.begin)

    def ask(self, runs: bool) -> None:
        """Cancel what runs, and ask anew: at once, or where drafts come too late anyway, in a pause."""
        machine = self.machine
        if self.request is not None and runs:
            self.request.cancelled = True
            if self.request.sent:
                machine.leave(self.replica, self.request)
        passes = 1
        while machine.rng.random() > 1 / machine.typing.passes_a_request:
            passes += 1
        self.request = Request(self, machine.clock.now_s, self.context_now(), passes)
        pause_s = PAUSE_S if self.unseen >= UNSEEN else 0.0
        machine.clock.at(machine.clock.now_s + pause_s, partial(self.send, self.request))

    def send(self, request: Request) -> None:
        """Let a request go out, unless another key came."""
        if not request.cancelled:
            self.unseen += 1
            request.sent = True
            self.machine.seen.requests += 1
            self.machine.go(self.replica, request)

    def context_now(self) -> Context:
        """The context, with what is new in it since the last request."""
        typing = self.machine.typing
        if self.new is typing.elsewhere_tokens:
            self.context = Context()
        self.context.tokens = min(MOST_TOKENS, self.context.tokens + self.machine.rng.choice(self.new))
        self.new = typing.key_tokens
        return self.context
