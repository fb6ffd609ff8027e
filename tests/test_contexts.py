"""diffusion/contexts.py: a context is gone on from by whom it belongs to, and the one unused longest goes first."""

from __future__ import annotations

import threading

from diffusion.contexts import Contexts


class Remembered:
    def __init__(self) -> None:
        self.ids: list[int] = []

    def keep(self, n_tokens: int) -> None:
        del self.ids[n_tokens:]


def hold(contexts: Contexts, ids: list[int], owner: str = "") -> Remembered:
    cache = contexts.best(ids, owner)
    assert isinstance(cache, Remembered)
    cache.ids = list(ids)
    return cache


A, B, C = [1] * 40, [2] * 40, [3] * 40


def test_a_context_is_found_by_what_it_shares() -> None:
    contexts = Contexts(Remembered)
    a, b = hold(contexts, A), hold(contexts, B)
    assert contexts.best([*A, 9]) is a and contexts.best([*B[:20], 7, 7]) is b


def test_an_encoding_that_was_cancelled_is_gone_on_from_however_little_there_is() -> None:
    contexts = Contexts(Remembered)
    a, begun = hold(contexts, A), hold(contexts, B[:3])
    assert contexts.best(B) is begun and begun.ids == B[:3]
    a.ids = [2, *A]  # one token is shared, but what follows is something else
    begun.ids = []
    assert contexts.best(B) not in (a, begun)


def test_nobody_goes_on_from_another_owners_context() -> None:
    contexts = Contexts(Remembered)
    ada = hold(contexts, A, "ada")
    assert contexts.best(A, "bob") is not ada
    assert contexts.best(A, "ada") is ada


def test_the_one_unused_longest_makes_room_and_is_empty_for_its_next_owner() -> None:
    contexts = Contexts(Remembered, most=2)
    a, b = hold(contexts, A, "ada"), hold(contexts, B, "ada")
    contexts.best(A, "ada")
    reused = contexts.best(C, "bob")
    assert reused is b and reused.ids == []
    assert contexts.best(A, "ada") is a
    assert len(contexts.kept) == 2


def test_who_wants_a_context_that_is_lent_waits_until_it_is_given_back_or_stops_waiting() -> None:
    contexts = Contexts(Remembered)
    hold(contexts, A)
    asked, given, took = threading.Event(), threading.Event(), []

    def second() -> None:
        with contexts.borrowed(A, stopped=lambda: bool(asked.set())) as cache:
            took.append((cache, given.is_set()))

    with contexts.borrowed(A) as first:
        waiting = threading.Thread(target=second)
        waiting.start()
        assert asked.wait(60) and not took
        with contexts.borrowed(A, stopped=lambda: True) as none, contexts.borrowed(B) as other:
            assert none is None and other is not first
        given.set()
    waiting.join(60)
    assert took == [(first, True)]


def test_a_context_that_is_lent_makes_no_room() -> None:
    contexts = Contexts(Remembered, most=2)
    a, b = hold(contexts, A, "ada"), hold(contexts, B, "ada")
    with contexts.borrowed(A, "ada") as first, contexts.borrowed(C, "bob") as second:
        assert (first, second) == (a, b)
        with contexts.borrowed(C, "eve") as third:
            assert third not in (a, b)
