"""The model card of a bundle: a page for people with a header for programs, as model hubs read it.

The header holds the results of every group with their intervals. The page says in plain words what the classifier is,
what it is not for, what was lost, for whom, and who answers for it. Every figure is from the audit.

Source: the model card format of the Hugging Face Hub; headings after Mitchell et al. 2019, "Model Cards for
Model Reporting".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fairquant_core.export import model_card_words as words
from fairquant_core.export.leaving_size import leaving_size
from fairquant_core.export.model_card_figures import (
    Row,
    by_group,
    figure,
    group_title,
    joined,
    judged_measure,
    judged_model,
    judgement,
    plain,
    rows_of,
    shown_measures,
    with_interval,
)
from fairquant_core.export.model_card_header import header
from fairquant_core.quantization.plan import LEGAL_WIDTHS, BitPlan

NAME = "MODEL_CARD.md"


def model_card(
    audit: Mapping[str, Any], plan: Mapping[str, Any] | None, facts: Mapping[str, Any]
) -> str:
    """The card as Markdown with a YAML header; the same arguments give the same text.

    Parameters
    ----------
    audit : `audit_summary` of what model.onnx predicts.
    plan : `BitPlan.to_json`, if there is one.
    facts : what else is known, all optional: "name", "license" (identifier of a model hub), "method", "classifier"
        (name, architecture, parameters), "cohort" (name, licence, synthetic, fingerprint), "group_source", "size"
        (bytes_on_disk, bytes_full_precision, bits_requested, bits_achieved), "check" (`ExportCheck.to_json` of
        model.onnx), "preprocessing", "own_audit" (whether `audit` is not the one of the packed file), "fast_audit",
        "report" (report.json: use, limits, failures), "approval" (person, role, time, comment, override,
        authenticated), "hashes", "program" (file that classifies a photograph), "tablet" (whether it is there).

    Raises
    ------
    KeyError
        The audit is none of ours.
    """
    sections = (
        ("What it is", _what(audit, facts)),
        ("What it is for", _use(facts)),
        ("When not to use it", _do_not_use(audit, facts)),
        ("How it was made smaller", _compression(plan, facts)),
        ("Results for each group", _results(audit, facts)),
        ("What this cannot tell", _limits(audit, facts)),
        ("Where it changed its mind", _failures(audit, facts)),
        ("Who answers for it", _approval(audit, facts)),
        ("How to use it", _how(facts)),
        ("How to check it", _verify(facts)),
    )
    parts = [header(audit, facts), f"# {plain(facts.get('name') or 'Classifier')}"]
    for title, paragraphs in sections:
        parts += [f"## {title}", *paragraphs]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _what(audit: Row, facts: Row) -> Iterator[str]:
    if (facts.get("cohort") or {}).get("synthetic"):
        yield words.SYNTHETIC
    classes = audit["classes"]
    architecture = (facts.get("classifier") or {}).get(
        "architecture"
    ) or "architecture not recorded"
    yield words.WHAT.format(
        architecture=plain(architecture), count=len(classes), classes=joined(classes)
    )
    size = leaving_size(facts.get("size"), facts.get("check"))
    if size.on_disk and size.full:
        smaller = size.full / size.on_disk
        times = f", {smaller:.1f} times smaller" if smaller > 1 else ""
        packed, full = _megabytes(size.on_disk), _megabytes(size.full)
        yield words.SMALLER.format(packed=packed, full=full, times=times)
    yield words.NO_DIAGNOSIS
    licence = facts.get("license")
    yield words.LICENCE.format(licence=plain(licence)) if licence else words.NO_LICENCE
    if data := (facts.get("cohort") or {}).get("licence"):
        yield words.DATA_LICENCE.format(licence=plain(data).rstrip("."))


def _use(facts: Row) -> Iterator[str]:
    use = _report(facts, "use")
    said, titles = use.get("said") or {}, use.get("titles") or {}
    shown = [(titles.get(key, key), text) for key, text in said.items() if key != "do_not_use"]
    if shown:
        yield _items(f"**{plain(title)}:** {plain(text)}" for title, text in shown)
    missing = [name[:1].lower() + name[1:] for name in use.get("missing") or ()]
    if missing or not shown:
        yield words.NOBODY_SAID.format(what=joined(missing) if missing else "what it is for")


def _do_not_use(audit: Row, facts: Row) -> Iterator[str]:
    derived = _report(facts, "use").get("do_not_use")
    own = (words.NOT_ALONE, words.ONLY_THESE.format(count=len(audit["classes"])))
    yield _items(map(plain, derived) if derived else own)


def _compression(plan: Row | None, facts: Row) -> Iterator[str]:
    size, check = facts.get("size") or {}, facts.get("check") or {}
    lines = [f"Method: {plain(facts['method'])}"] if facts.get("method") else []
    if size.get("bits_achieved") is not None:
        asked = size.get("bits_requested")
        wanted = "" if asked is None else f" ({asked:.4g} asked for)"
        lines.append(
            f"Bits per weight on average: {size['bits_achieved']:.4g}{wanted}, instead of 32"
        )
    on_disk = check.get("size") or {}
    if on_disk:
        lines.append(
            f"model.onnx: {_megabytes(on_disk['on_disk'])} on disk, "
            f"{_megabytes(on_disk['float32'])} without compression"
        )
    latency = check.get("latency") or {}
    if latency:
        lines.append(
            f"Time for one picture on the machine that made it: {latency['milliseconds']:.1f} ms "
            f"(the uncompressed file: {latency['baseline_milliseconds']:.1f} ms). Fewer bits save space, not time"
        )
    yield _items(lines) if lines else "How it was made smaller is not recorded here."
    if plan is not None:
        yield _table(("Bits per weight", "Share of the weights"), _shares(BitPlan.from_json(plan)))


def _shares(plan: BitPlan) -> Iterator[tuple[str, str]]:
    counts = np.zeros(max(LEGAL_WIDTHS) + 1)
    for layer, widths in plan.widths.items():
        counts += np.bincount(widths, minlength=len(counts)) * plan.weights_per_channel[layer]
    for bits in LEGAL_WIDTHS:
        if counts[bits]:
            name = str(bits) if bits else "0 (left out)"
            yield name, f"{100 * counts[bits] / counts.sum():.1f} %"


def _results(audit: Row, facts: Row) -> Iterator[str]:
    source = facts.get("group_source")
    clusters = audit.get("clusters") or audit["images"]
    yield words.INTERVALS.format(
        level=100 * audit["method"]["level"],
        images=audit["images"],
        clusters=f" of {clusters} independent patients, lesions or duplicate groups"
        if clusters < audit["images"]
        else "",
        title=plain(audit.get("scheme_title", audit["scheme"])),
        column=plain(audit["group_column"]),
        source=f" ({plain(source)})" if source else "",
    )
    if judgement(audit):
        yield from _verdicts(audit)
    else:
        yield words.NO_VERDICT
    for measure in shown_measures(audit):
        if measure["measure"] != judged_measure(audit) or not judgement(audit):
            yield from _measure(audit, measure)
    yield words.OTHER_FIGURES if audit.get("metrics") else words.OLD


def _verdicts(audit: Row) -> Iterator[str]:
    judged, limits = judgement(audit), audit["limits"]
    metric = limits["metric"]
    margin = figure(limits["margin"], metric, signed=True).lstrip("+")
    verdict = str(audit["verdict"])
    yield words.LIMIT.format(measure=plain(judged_measure(audit)), margin=margin)
    yield f"**{verdict}**: {words.VERDICT_MEANS[verdict]}. {plain(audit.get('sentence') or '')}".strip()
    verdicts = by_group(judged["verdicts"])
    before, after = (
        rows_of(audit, model, judged_measure(audit))
        for model in (audit["reference"], judged_model(audit))
    )
    yield _table(
        ("Group", "Images", "Before", "After", "Change", "Verdict"),
        (
            (
                group_title(group),
                str(row["n"]),
                with_interval(before.get(group, {"value": row["before"]}), metric),
                with_interval(after.get(group, {"value": row["after"]}), metric),
                with_interval(row, metric, of="difference", signed=True),
                str(verdicts[group]["verdict"]) if group in verdicts else "not judged",
            )
            for group, row in by_group(judged["differences"]).items()
        ),
    )
    yield _items(plain(row["sentence"]) for row in judged["verdicts"])


def _measure(audit: Row, measure: Row) -> Iterator[str]:
    name, metric = measure["measure"], measure["metric"]
    before = rows_of(audit, audit["reference"], name)
    after = rows_of(audit, judged_model(audit), name)
    better = "" if measure["higher_is_better"] else " Less is better."
    yield f"### {plain(name[:1].upper() + name[1:])}"
    yield f"{plain(measure['meaning'])}{better}"
    yield _table(
        ("Group", "Images", "Before", "After"),
        (
            (
                group_title(group),
                str(row["n"]),
                with_interval(before.get(group, {}), metric),
                with_interval(row, metric),
            )
            for group, row in after.items()
        ),
    )


def _limits(audit: Row, facts: Row) -> Iterator[str]:
    told = _report(facts, "limits") or ()
    if told:
        yield _items(f"**{plain(each['title'])}.** {plain(each['text'])}" for each in told)
        return
    kind = next((key for key in words.PROXY if str(audit["scheme"]).startswith(key)), "values")
    notes = [words.PROXY[kind].format(column=plain(audit["group_column"]))]
    yield _items([*notes, *map(plain, audit.get("notes") or ())])


def _failures(audit: Row, facts: Row) -> Iterator[str]:
    flips = judgement(audit).get("flips")
    if not flips:
        yield words.NO_VERDICT
        return
    yield words.FLIPS.format(images=audit["images"], lost=flips["lost"], gained=flips["gained"])
    yield _table(
        ("Group", "Lost", "Gained"),
        (
            (group_title(group), str(kinds["lost"]), str(kinds["gained"]))
            for group, kinds in flips["by_group"].items()
        ),
    )
    lost = _report(facts, "failures").get("critical_lost")
    if lost is not None and audit["must_not_miss"]:
        yield words.CRITICAL.format(lost=lost, classes=joined(audit["must_not_miss"]))
    steps = _report(facts, "failures").get("transitions") or ()
    if steps:
        yield "Most frequent among the lost ones:"
        yield _items(
            f"{plain(step['label'])} now called {plain(step['after'])}: {step['n']}"
            for step in steps
        )


def _approval(audit: Row, facts: Row) -> Iterator[str]:
    approval = facts.get("approval") or {}
    if not approval.get("person"):
        yield words.NOT_APPROVED
        return
    yield words.APPROVED.format(
        **{key: plain(approval.get(key) or "") for key in ("person", "role", "time")}
    )
    if approval.get("override"):
        yield words.OVERRIDE.format(verdict=audit.get("verdict"), text=plain(approval["override"]))
    if approval.get("comment"):
        yield words.COMMENT.format(text=plain(approval["comment"]))
    if not approval.get("authenticated"):
        yield words.TYPED


def _how(facts: Row) -> Iterator[str]:
    yield words.ANY_RUNTIME
    how = facts.get("preprocessing")
    if how:
        size = how["size"]
        yield words.INPUT.format(
            size=size,
            shorter=max(size, round(size / how["crop_fraction"])),
            interpolation=plain(how["interpolation"]),
            mean=_numbers(how["mean"]),
            std=_numbers(how["std"]),
        )
    if facts.get("program"):
        yield words.RUN_IT.format(program=facts["program"])
    if facts.get("tablet"):
        yield words.TABLET
    if facts.get("own_audit"):
        yield words.OWN_AUDIT
    if fast := facts.get("fast_audit"):
        yield words.FAST.format(
            verdict=fast.get("verdict"), sentence=plain(fast.get("sentence") or "")
        )


def _verify(facts: Row) -> Iterator[str]:
    yield words.VERIFY
    hashes = facts.get("hashes") or {}
    yield _table(("What", "SHA-256"), ((plain(key), f"`{value}`") for key, value in hashes.items()))


def _report(facts: Row, part: str) -> Any:
    return (facts.get("report") or {}).get(part) or {}


def _items(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _numbers(values: Iterable[float]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.3g} MB"
