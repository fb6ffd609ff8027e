"""Packs training sequences: one trunk of context, branches with a near context each, canvases at their ends.

Rule: every row is used. A sequence is `trunk | branch | branch | ... `; the trunk is `other | far suffix | far
prefix`, a branch is `near suffix | near prefix + hole + <end>` (so that autoregressive decoding is trained on the
same layout) followed by canvases that see the trunk up to the branch point and the branch up to the hole. Rows left
over become a piece of another file. Who sees whom is four integers per row (see `visible`).

    batch = Packer(dataset, rows=768, seed=1).batch(4)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cuda_ext.rules import SPECIAL
from diffusion.layout import MARKERS, Layout
from diffusion.train.cuts import TokenTable, choose_hole, line_start
from diffusion.train.dataset import Dataset
from diffusion.train.echoes import recalled_draft
from diffusion.train.noise import Noise
from diffusion.train.recipe import Recipe
from diffusion.vocabulary import OURS, Vocabulary

MAX_CUT_BACK = 20  # tokens of the hole's near prefix that another canvas of its branch may begin earlier
MAX_AR_HOLE = 64

Rows = dict[str, np.ndarray]
FIELDS = (
    "ids",
    "positions",
    "targets",
    "ar_weight",
    "canvas_weight",
    "branch",
    "canvas",
    "trunk_limit",
    "branch_limit",
)


@dataclass(frozen=True)
class Batch:
    """Tensors (B, R): int64 `ids`, `positions`, `targets`; float32 weights; int32 `branch`, `canvas`, limits."""

    ids: Tensor
    positions: Tensor
    targets: Tensor
    ar_weight: Tensor
    canvas_weight: Tensor
    branch: Tensor
    canvas: Tensor
    trunk_limit: Tensor
    branch_limit: Tensor

    def to(self, device: str) -> Batch:
        """The same batch on another device."""
        return Batch(*(getattr(self, name).to(device, non_blocking=True) for name in FIELDS))

    def pin_memory(self) -> Batch:
        """The same batch where a GPU can fetch it while it computes."""
        return Batch(*(getattr(self, name).pin_memory() for name in FIELDS))


def visible(branch: Tensor, canvas: Tensor, trunk_limit: Tensor, branch_limit: Tensor) -> Tensor:
    """Bool (B, R, R): which rows (last axis) each row attends to.

    Trunk rows before `trunk_limit`, context rows of the own branch before row `branch_limit`, the own canvas whole.
    """
    key_row = torch.arange(branch.shape[1], device=branch.device)
    in_trunk = (branch == 0)[:, None, :] & (key_row < trunk_limit[:, :, None])
    same_branch = (branch[:, :, None] == branch[:, None, :]) & (canvas == 0)[:, None, :]
    in_branch = same_branch & (key_row < branch_limit[:, :, None])
    in_canvas = (canvas[:, :, None] == canvas[:, None, :]) & (canvas > 0)[:, :, None]
    return in_trunk | in_branch | in_canvas


def neighbours(batch: Batch) -> tuple[Tensor, Tensor]:
    """Tokens left and right of every row where its part of the sequence is read in order, `end` where none is; (B, R).

    In front of a canvas is the last row of its branch that it sees, in front of a branch the last one of the trunk.
    """
    same = (batch.branch[:, 1:] == batch.branch[:, :-1]) & (batch.canvas[:, 1:] == batch.canvas[:, :-1])
    edge = torch.where(batch.canvas > 0, batch.branch_limit, batch.trunk_limit).long() - 1
    row = torch.arange(batch.ids.shape[1], device=batch.ids.device)
    first = F.pad(~same, (1, 0), value=True)
    before = torch.where(first, torch.where(batch.branch > 0, edge, -1), row - 1)
    left = torch.where(before >= 0, batch.ids.gather(1, before.clamp_min(0)), OURS.end)
    return left, torch.where(F.pad(same, (0, 1), value=False), batch.ids.roll(-1, 1), OURS.end)


@dataclass
class Sequence:
    """Rows of one sequence while it is put together."""

    parts: dict[str, list[np.ndarray]] = field(default_factory=lambda: {name: [] for name in FIELDS})
    n_rows: int = 0

    def add(self, ids: np.ndarray, **columns: np.ndarray | int | float) -> None:
        """Append rows; columns not named are zero, scalars are repeated."""
        for name in FIELDS:
            value = ids if name == "ids" else columns.get(name, 0)
            self.parts[name].append(np.broadcast_to(np.asarray(value), ids.shape))
        self.n_rows += len(ids)

    def columns(self) -> Rows:
        """All rows, one array per field."""
        return {name: np.concatenate(self.parts[name]) for name in FIELDS}


@dataclass(frozen=True)
class Branch:
    """A hole in a file: near suffix, then `text` from `boundary` to the hole's end, and canvases that begin in it.

    All canvases fill up to the same end but begin at different tokens: the text in front of each is its near prefix.
    `canvases` are pairs (first token of the hole, as an index of `text`; canvas rows). `draft`: what the file at hand
    makes one think of for the hole at `cut`, in tokens; None: those canvases start from masks, too.
    """

    vocabulary: Vocabulary
    boundary: int
    near_suffix: np.ndarray
    text: np.ndarray
    whole: bool
    canvases: tuple[tuple[int, int], ...]
    cut: int = 0
    draft: np.ndarray | None = None

    @property
    def context(self) -> np.ndarray:
        """Context rows: markers, near suffix, text, `<end>` (unless the hole was cut short)."""
        ids = self.vocabulary
        parts = ([ids.near_suffix], self.near_suffix, [ids.near_prefix], self.text, [ids.end] if self.whole else [])
        return np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])

    @property
    def n_rows(self) -> int:
        """Rows it takes in the sequence."""
        return len(self.context) + sum(rows for _, rows in self.canvases)


class Packer:
    """Draws sequences of exactly `rows` rows from a dataset, fresh holes and fresh noise every time."""

    def __init__(
        self,
        data: Dataset,
        rows: int,
        seed: int | tuple[int, ...],
        recipe: Recipe | None = None,
        layout: Layout | None = None,
        shift: bool = False,
    ) -> None:
        self.data, self.rows, self.recipe = data, rows, recipe or Recipe()
        self.layout, self.shift = layout or Layout(), shift
        self.reach = int(rows * self.recipe.reach_share)
        self.budget = rows - self.reach - self.layout.other_tokens - self.layout.far_suffix_tokens - MARKERS
        self.ids = data.tokenizer.vocabulary
        self.table = TokenTable.of(data.tokenizer)
        self.rng = np.random.default_rng(seed)
        self.told = (data.tokenizer.flags & SPECIAL == 0).astype(np.float32)  # tokens that the next-token loss asks for
        self.told[self.ids.eof] = 1
        sizes = np.diff(data.offsets)
        self.file_share = np.cumsum(sizes) / sizes.sum()
        self.noise = Noise(self.recipe, data.tokenizer, self.rng)

    def batch(self, n_sequences: int) -> Batch:
        """A batch of n sequences."""
        sequences = [self.sequence() for _ in range(n_sequences)]
        columns = {name: np.stack([s[name] for s in sequences]) for name in FIELDS}
        kinds = {"ids": torch.int64, "positions": torch.int64, "targets": torch.int64}
        floats = {"ar_weight": torch.float32, "canvas_weight": torch.float32}
        kinds |= floats
        return Batch(*(torch.from_numpy(columns[name]).to(kinds.get(name, torch.int32)) for name in FIELDS))

    def draw_file(self) -> int:
        """A file, by its share of all tokens."""
        return min(int(np.searchsorted(self.file_share, self.rng.random())), len(self.file_share) - 1)

    def sequence(self) -> Rows:
        """One packed sequence."""
        index = self.draw_file()
        ids = np.asarray(self.data.file(index), dtype=np.int64)
        start = 0 if self.rng.random() < 0.15 else int(self.rng.integers(0, max(1, len(ids) - 200)))
        start = line_start(ids, start, self.table)
        branches = self.branches(ids, start)
        header = self.header(ids, index, branches)
        first = len(header) + 1 + (start == 0)
        room = self.rows - first - sum(branch.n_rows for branch in branches)
        out = Sequence()
        self.add_trunk(out, header, ids, start, room)
        for number, branch in enumerate(branches, 1):
            self.add_branch(out, branch, number, first + branch.boundary - start)
        number = len(branches) + 1
        while out.n_rows < self.rows:
            self.add_filler(out, number)
            number += 1
        return out.columns()

    def branches(self, ids: np.ndarray, start: int) -> list[Branch]:
        """Holes whose near prefix begins where the trunk surely reaches, for as many rows as that leaves."""
        budget = self.budget
        found: list[Branch] = []
        while budget > 150:
            branch = self.draw_branch(ids, start, start + self.reach)
            if branch.n_rows > budget and found:
                break
            if branch.n_rows <= self.budget and branch.boundary <= start + self.reach:
                budget -= branch.n_rows
                found.append(branch)
        return found

    def draw_branch(self, ids: np.ndarray, lo: int, reach: int) -> Branch:
        """One hole with near context of random size."""
        rng = self.rng
        start, stop = choose_hole(rng, ids, self.table, lo, min(reach, len(ids)))
        most = self.layout.near_prefix_tokens
        n_near = self.near(most * 5 // 8) if rng.random() < 0.9 else 0
        boundary = max(lo, line_start(ids, max(lo, start - n_near), self.table), start - most)
        suffix = ids[stop : stop + self.near(self.layout.near_suffix_tokens)]
        if stop + len(suffix) == len(ids):
            suffix = np.append(suffix, self.ids.eof)
        text = ids[boundary : min(stop, start + MAX_AR_HOLE)]
        canvases = self.draw_canvases(start - boundary, len(text))
        whole = stop <= start + MAX_AR_HOLE
        recalled = whole and rng.random() < self.recipe.recall_share
        draft = recalled_draft(rng, ids, start, stop, self.data.tokenizer) if recalled else None
        return Branch(self.ids, boundary, suffix, text, whole, canvases, start - boundary, draft)

    def near(self, most: int) -> int:
        """Tokens of a near part: uniform below `most`, or mostly short where the recipe has a mean."""
        if not self.recipe.near_mean:
            return int(self.rng.integers(0, most))
        return min(most - 1, int(self.rng.exponential(self.recipe.near_mean)))

    def draw_canvases(self, start: int, stop: int) -> tuple[tuple[int, int], ...]:
        """Cuts and sizes of a branch's canvases, the first at the hole itself; `start` and `stop` index its text."""
        found: list[tuple[int, int]] = []
        sizes, shares, budget = self.recipe.canvas_rows, self.recipe.canvas_shares, self.recipe.canvas_budget
        while budget > 0:
            moved = found and self.rng.random() > self.recipe.same_cut_share
            cut = int(self.rng.integers(max(0, start - MAX_CUT_BACK), stop + 1)) if moved else start
            fits = [rows for rows in sizes if rows > stop - cut] or [sizes[-1]]
            rows = fits[0] if self.rng.random() < 0.8 else int(self.rng.choice(sizes, p=shares))
            found.append((cut, rows))
            budget -= rows
        return tuple(found)

    def header(self, ids: np.ndarray, index: int, branches: list[Branch]) -> np.ndarray:
        """`other` and `far suffix` parts, each now and then absent."""
        parts: list[np.ndarray] = []
        if self.rng.random() < 0.2:
            other = self.neighbour(index)
            parts += [np.array([self.ids.other]), other[: int(self.rng.integers(16, self.layout.other_tokens))]]
        behind = max(b.boundary + len(b.text) + len(b.near_suffix) for b in branches)
        behind += int(self.rng.integers(0, 96))
        breaks = np.flatnonzero(self.table.newline[ids[behind : behind + 64]])
        if self.rng.random() < 0.7 and len(breaks):
            begin = behind + int(breaks[0])
            far = ids[begin : begin + int(self.rng.integers(8, self.layout.far_suffix_tokens))]
            parts += [
                np.array([self.ids.far_suffix]),
                far,
                *([np.array([self.ids.eof])] if begin + len(far) == len(ids) else []),
            ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def neighbour(self, index: int) -> np.ndarray:
        """A piece of another file of the same package, from a line break on."""
        same = np.flatnonzero(self.data.package == self.data.package[index])
        ids = np.asarray(self.data.file(int(self.rng.choice(same))), dtype=np.int64)
        return ids[line_start(ids, int(self.rng.integers(0, len(ids))), self.table) :]

    def add_trunk(self, out: Sequence, header: np.ndarray, ids: np.ndarray, start: int, room: int) -> None:
        """Header and far prefix, causal."""
        marker = [self.ids.far_prefix, self.ids.file] if start == 0 else [self.ids.far_prefix]
        rows = np.concatenate((header, marker, ids[start : start + room]))
        at = np.arange(len(rows))
        targets, weight = self.next_tokens(rows)
        out.add(rows, positions=at, targets=targets, ar_weight=weight * self.recipe.context_weight, trunk_limit=at + 1)

    def add_branch(self, out: Sequence, branch: Branch, number: int, trunk_limit: int) -> None:
        """Context rows of a branch and its canvases."""
        rows, offset = branch.context, out.n_rows
        at = np.arange(len(rows))
        targets, weight = self.next_tokens(rows)
        weight[: 1 + len(branch.near_suffix) + branch.cut] *= self.recipe.context_weight
        out.add(
            rows, positions=trunk_limit + at, targets=targets, ar_weight=weight,
            branch=number, trunk_limit=trunk_limit, branch_limit=offset + at + 1,
        )  # fmt: skip
        masked: np.ndarray | None = None
        for cut, n_rows in branch.canvases:
            if cut == branch.cut and branch.draft is not None:
                content, inputs, weights = self.noise.from_draft(branch.draft, branch.text[cut:], n_rows)
            else:
                content, fixed = self.noise.content(branch.text[cut:], n_rows)
                masked = self.noise.choose_masked(content, fixed, masked)
                inputs, weights = self.noise.corrupt(content, fixed, masked)
            before = 2 + len(branch.near_suffix) + cut  # context rows of the branch that this canvas sees
            if self.shift:  # the row of the token before predicts
                inputs = np.append(rows[before - 1], inputs[:-1])
            out.add(
                inputs, positions=trunk_limit + before - self.shift + np.arange(len(inputs)), targets=content,
                canvas_weight=weights, branch=number, canvas=out.n_rows + 1,
                trunk_limit=trunk_limit, branch_limit=offset + before,
            )  # fmt: skip

    def next_tokens(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Next-token targets and their weights: 0 at the end and where the next row is a marker."""
        targets = np.append(rows[1:], self.ids.end)
        return targets, np.append(self.told[rows[1:]], np.float32(0))

    def add_filler(self, out: Sequence, number: int) -> None:
        """A piece of another file in the rows that are left."""
        ids = np.asarray(self.data.file(self.draw_file()), dtype=np.int64)
        room, start = self.rows - out.n_rows, line_start(ids, int(self.rng.integers(0, len(ids))), self.table)
        rows = np.concatenate(([self.ids.far_prefix], ids[start:]))[:room]
        at = np.arange(len(rows))
        targets, weight = self.next_tokens(rows)
        out.add(rows, positions=at, targets=targets, ar_weight=weight, branch=number, branch_limit=out.n_rows + at + 1)
