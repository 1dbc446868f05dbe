"""What a person asks of the bit plan: a budget in bits or megabytes, and wishes that narrow it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.backend.run.budget import HIGHEST, LOWEST, LOWEST_WITH_PRUNING
from dashboard.backend.views import CaseView
from dashboard.components import choices, data, tables
from dashboard.components.glossary import tip
from dashboard.components.words import capital, counted, joined
from fairquant_core.quantization.catalogue import (
    GRANULARITIES,
    LEGAL_MENU,
    MENU,
    PRUNING_BELOW,
    usual_menu,
)
from fairquant_core.quantization.plan import PRUNED

STEP, DEFAULT = 0.1, 4.0
UNITS = {"bits": "average bits", "size": "size of the file"}
GRANULARITY_TITLES = {"channel": "every channel its own bits", "layer": "every layer its own bits"}
KINDS = {"pins": "exactly", "floors": "at least"}
PROTECTED_WIDTH = 8
"""What the first and the last layer keep at a click; the usual precaution."""

Rule = tuple[str, str, int]
"""Layer, "pins" or "floors", width in bits."""


@dataclass(frozen=True)
class Asked:
    """Budget and wishes as the controls stand.

    Parameters
    ----------
    bits : what the plan is made for; with ``size_bytes`` it does not count.
    menu : widths to choose from; None where nobody asked for others than the usual ones.
    floors, pins, group_weights : as in a run's configuration.
    """

    bits: float
    size_bytes: int | None = None
    granularity: str = GRANULARITIES[0]
    menu: tuple[int, ...] | None = None
    floors: dict[str, int] = field(default_factory=dict)
    pins: dict[str, int] = field(default_factory=dict)
    group_weights: dict[str, float] = field(default_factory=dict)

    @property
    def narrowing(self) -> dict[str, Any]:
        """The wishes that are not the usual ones, as fields of a run's configuration."""
        wishes: dict[str, Any] = {} if self.menu is None else {"menu": list(self.menu)}
        for name in ("floors", "pins", "group_weights"):
            if getattr(self, name):
                wishes[name] = getattr(self, name)
        return wishes

    @property
    def wishes(self) -> dict[str, Any]:
        """All but bits and granularity, as fields of a run's configuration."""
        if self.size_bytes is None:
            return self.narrowing
        # What the size means in bits is found out later, so the usual widths are named.
        return {"size_bytes": self.size_bytes, "menu": list(MENU)} | self.narrowing


def asked(case: CaseView) -> Asked:
    """Read the controls, which are drawn later on the page."""
    known = st.session_state
    bits = round(float(known.get("budget_bits", DEFAULT)), 1)
    rules: list[Rule] = known.get(_rules_key(case), [])
    weights = {
        group: float(known[key])
        for group in known_groups(case)
        if known.get(key := _weight_key(case, group), 1.0) != 1.0
    }
    size = None
    if known.get("budget_unit") == "size" and "budget_megabytes" in known:
        size = round(1e6 * known["budget_megabytes"])
    return Asked(
        bits=bits,
        size_bytes=size,
        granularity=known.get("budget_granularity") or GRANULARITIES[0],
        menu=_asked_menu(bits if size is None else DEFAULT),
        floors={layer: width for layer, kind, width in rules if kind == "floors"},
        pins={layer: width for layer, kind, width in rules if kind == "pins"},
        group_weights=weights,
    )


def _menu_key(bits: float) -> str:
    """Small budgets have usual widths of their own, and a choice of their own."""
    return "budget_small_menu" if PRUNED in usual_menu(bits) else "budget_menu"


def _asked_menu(bits: float) -> tuple[int, ...] | None:
    """The widths that were asked for at such a budget; None for the usual ones."""
    chosen = st.session_state.get(_menu_key(bits))
    menu = None if chosen is None else tuple(sorted(chosen))
    return None if menu == usual_menu(bits) else menu


def known_groups(case: CaseView) -> tuple[str, ...]:
    """The groups that a plan can look at."""
    return tuple(group for group in case.groups if group != "unknown")


def budget(case: CaseView, curve: pd.DataFrame, now: Asked, megabytes: float | None) -> None:
    """Choose bits or a size, and how finely the bits may be spread.

    Parameters
    ----------
    curve : predicted cost of every budget; its sizes are the ends of the slider.
    megabytes : size of the present plan, where the slider of sizes starts; None if there is no plan.
    """
    choices.segmented(
        "Budget as",
        list(UNITS),
        format_func=lambda unit: UNITS[unit],
        default="bits",
        required=True,
        key="budget_unit",
        persist_state="session",
    )
    if st.session_state["budget_unit"] == "size":
        _size_slider(curve, now, megabytes)
    else:
        _bits_slider(now)
    if asked(case) != now:
        st.rerun()  # a slider has just got its place, or its range no longer holds the old one
    st.selectbox(
        "Plan",
        GRANULARITIES,
        format_func=lambda name: GRANULARITY_TITLES[name],
        key="budget_granularity",
        width=215,
        help=tip("bit plan"),
        persist_state="session",
    )


def _bits_slider(now: Asked) -> None:
    lowest = LOWEST_WITH_PRUNING if _asked_menu(LOWEST) is None else LOWEST
    st.session_state["budget_bits"] = max(lowest, st.session_state.get("budget_bits", DEFAULT))
    st.slider(
        "Budget: average bits per weight",
        lowest,
        HIGHEST,
        step=STEP,
        format="%.1f",
        key="budget_bits",
        help=tip("budget"),
        width=270,
        persist_state="session",
    )


def _size_slider(curve: pd.DataFrame, now: Asked, megabytes: float | None) -> None:
    uniform = curve[curve["kind"] == "uniform"].drop_duplicates("bits").set_index("bits")
    sizes = uniform["megabytes"].sort_index()
    per_bit = (sizes.iloc[-1] - sizes.iloc[0]) / (sizes.index[-1] - sizes.index[0])
    lowest = sizes.iloc[0]
    if now.menu is not None and PRUNED in now.menu:
        lowest -= per_bit * (sizes.index[0] - LOWEST_WITH_PRUNING)
    step = 10.0 ** math.floor(math.log10(sizes.iloc[-1] - lowest)) / 100
    digits = max(0, -math.floor(math.log10(step)))
    low = round(math.ceil(lowest / step) * step, digits)
    high = round(math.ceil(sizes.iloc[-1] / step) * step, digits)
    start = st.session_state.get("budget_megabytes", megabytes or low)
    start = round(math.ceil(start / step) * step, digits)
    st.session_state["budget_megabytes"] = min(max(low, start), high)
    st.slider(
        "Budget: size of the file in MB",
        low,
        high,
        step=step,
        format=f"%.{digits}f MB",
        key="budget_megabytes",
        help=tip("budget"),
        width=270,
        persist_state="session",
    )


def wishes(case: CaseView, now: Asked) -> None:
    """What narrows the plan: widths, layers and groups."""
    maps = data.sensitivity(case)
    if maps is None:
        return
    # The label stays the same: with another one the browser would close the expander.
    with tables.details("More wishes for the plan", "budget_wishes", ":material/rule:") as is_open:
        if not is_open:
            return
        st.caption(
            "A wish takes choices away from the plan, so usually somebody pays for it. Leaving whole channels out "
            "(0 bits) is a large change, predicted less reliably than the rest. The curve above is drawn without "
            "either; the star is the plan with them."
        )
        _menu(maps[1].menu, now)
        _layers(case, maps[1].layers, now)
        _groups(case)
        if now.narrowing:
            st.button("Take all wishes back", on_click=_forget, args=(case,), type="tertiary")


def described(now: Asked) -> str:
    """The wishes in a few words; empty where there is none.

    Examples
    --------
    >>> described(Asked(4.0, menu=(0, *MENU), pins={"head": 8}))
    'channels may be left out, 1 layer rule'
    """
    parts = []
    if now.menu is not None:
        usually = PRUNED in usual_menu(now.bits)
        if usually != (PRUNED in now.menu):
            parts.append("no channel left out" if usually else "channels may be left out")
        widths = tuple(width for width in now.menu if width != PRUNED)
        if widths != MENU:
            parts.append(f"only {joined(map(str, widths))} bits" if widths else "no width at all")
    rules = len(now.pins) + len(now.floors)
    if rules:
        parts.append(counted(rules, "layer rule"))
    if now.group_weights:
        parts.append(f"{counted(len(now.group_weights), 'group')} weighed differently")
    return ", ".join(parts)


def _menu(measured: tuple[int, ...], now: Asked) -> None:
    bits = now.bits if now.size_bytes is None else DEFAULT
    key, options = _menu_key(bits), [width for width in LEGAL_MENU if width in measured]
    chosen = st.session_state.get(key, usual_menu(bits))
    st.session_state[key] = [width for width in chosen if width in options]
    st.pills(
        "Bits that a channel may get",
        options,
        selection_mode="multi",
        format_func=choices.readable(
            lambda width: "0: left out (pruning)" if width == PRUNED else str(width)
        ),
        key=key,
        help="Fewer widths are simpler for the program that runs the file. 0 leaves whole channels out, which pays "
        f"only at budgets below {PRUNING_BELOW:g} bits.",
        persist_state="session",
    )


def _layers(case: CaseView, layers: tuple[str, ...], now: Asked) -> None:
    rules: list[Rule] = st.session_state.get(_rules_key(case), [])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "A layer that must keep detail",
            layers,
            format_func=lambda layer: f"{layers.index(layer) + 1} · {layer}",
            key="budget_rule_layer",
            width=300,
        )
        st.selectbox(
            "gets",
            list(KINDS),
            format_func=lambda kind: KINDS[kind],
            key="budget_rule_kind",
            width=130,
        )
        st.selectbox("bits", MENU, index=len(MENU) - 1, key="budget_rule_width", width=90)
        st.button("Add", icon=":material/add:", on_click=_add_chosen, args=(case,))
        st.button(
            f"Keep the first and the last layer at {PROTECTED_WIDTH} bits",
            on_click=_add,
            args=(case, [(layer, "pins", PROTECTED_WIDTH) for layer in (layers[0], layers[-1])]),
        )
    if rules:
        st.session_state["budget_rules"] = list(rules)
        st.multiselect(
            "Rules for layers",
            list(rules),
            format_func=lambda rule: f"{rule[0]}: {KINDS[rule[1]]} {rule[2]} bits",
            key="budget_rules",
            on_change=_keep_shown,
            args=(case,),
        )


def _groups(case: CaseView) -> None:
    st.markdown(
        "**How much a group counts** · 1 for all is fair in the usual sense: the worst-served group decides."
    )
    with st.container(horizontal=True):
        for group in known_groups(case):
            key = _weight_key(case, group)
            st.session_state.setdefault(key, 1.0)
            st.number_input(
                capital(group), 0.1, 10.0, step=0.1, key=key, width=150, persist_state="session"
            )


def _add_chosen(case: CaseView) -> None:
    chosen = st.session_state
    rule = (chosen["budget_rule_layer"], chosen["budget_rule_kind"], chosen["budget_rule_width"])
    _add(case, [rule])


def _add(case: CaseView, new: list[Rule]) -> None:
    """A new rule takes the place of the one of the same kind for the same layer."""
    places = {rule[:2] for rule in new}
    rules: list[Rule] = st.session_state.get(_rules_key(case), [])
    kept = [rule for rule in rules if rule[:2] not in places]
    st.session_state[_rules_key(case)] = kept + new


def _keep_shown(case: CaseView) -> None:
    st.session_state[_rules_key(case)] = list(st.session_state["budget_rules"])


def _forget(case: CaseView) -> None:
    st.session_state.pop(_rules_key(case), None)
    for bits in (LOWEST, DEFAULT):
        st.session_state[_menu_key(bits)] = list(usual_menu(bits))
    for group in known_groups(case):
        st.session_state[_weight_key(case, group)] = 1.0


def _rules_key(case: CaseView) -> str:
    return f"budget_rules_{case.id}"


def _weight_key(case: CaseView, group: str) -> str:
    return f"budget_weight_{case.id}_{group}"
