"""The items of three guidelines that touch a compressed image classifier, in our own words.

Source
------
TRIPOD+AI: Collins et al. 2024 (27 items). CLAIM: Mongan et al. 2020 (42 items). DECIDE-AI: Vasey et al. 2022
(17 AI-specific items). Items about how an article is written (title, abstract) are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairquant_core.report import checklist_rules as rules
from fairquant_core.report.checklist_rules import Rule, said


@dataclass(frozen=True)
class Item:
    """One item: where it comes from, what it asks for, how it is judged and where it is shown."""

    guideline: str
    number: str
    asks: str
    rule: Rule
    section: str


def _items(guideline: str, *rows: tuple[str, str, Rule, str]) -> tuple[Item, ...]:
    return tuple(Item(guideline, *row) for row in rows)


TRIPOD = _items(
    "TRIPOD+AI",
    (
        "3b",
        "For whom it is meant, for what purpose and by whom it is used",
        said("purpose", "population", "users"),
        "use",
    ),
    ("3c", "Known inequalities between groups of people", said("known_inequalities"), "use"),
    ("4", "The question, fixed before looking", rules.objective, "verdicts"),
    ("5a", "Where the data come from", rules.sources, "data"),
    ("5b", "When the data were collected", said("dates"), "data"),
    ("6a", "Setting and centres", said("setting"), "data"),
    ("7", "Preparation and quality checks, alike for all groups", rules.preparation, "data"),
    ("8a", "How the outcome (diagnosis) was defined", said("reference_standard"), "data"),
    ("8b", "Who judged, where judging is subjective", rules.annotators, "data"),
    ("10", "Why the sample is large enough", rules.sample_size, "verdicts"),
    ("11", "Missing data", rules.missing_data, "limits"),
    ("12a", "How the data were split", rules.partition, "data"),
    ("12c", "How the model was made", rules.compression_steps, "compression"),
    ("12e", "Which measures, and why", rules.measures, "results"),
    ("14", "What was done for fairness", rules.fairness, "verdicts"),
    ("15", "What it answers, and at which threshold", rules.output, "identity"),
    ("17", "Ethical approval", said("ethics_approval"), "use"),
    ("18a", "Funding", said("funding"), "use"),
    ("18d", "Registration and protocol", said("registration"), "use"),
    ("18e", "Access to data and code", rules.access, "verify"),
    ("20b", "Who is in the data, by group", rules.characteristics, "data"),
    ("22", "The model in full", rules.specification, "identity"),
    ("23a", "Performance with intervals, by group", rules.performance, "results"),
    ("25", "What it means, also for fairness", rules.interpretation, "verdicts"),
    ("26", "Limitations", rules.limitations, "limits"),
    ("27a", "What to do with poor input", said("poor_input"), "use"),
    ("27b", "What users must know and do", said("users", "care_pathway"), "use"),
)
CLAIM = _items(
    "CLAIM",
    ("3", "Intended use and clinical role", said("purpose", "care_pathway"), "use"),
    ("7", "Data sources", rules.sources, "data"),
    ("9", "Preprocessing of the images", rules.preparation, "data"),
    ("12", "De-identification", rules.privacy, "data"),
    ("14", "Definition of the ground truth", said("reference_standard"), "data"),
    ("16", "Annotators and their qualifications", rules.annotators, "data"),
    ("18", "Agreement between annotators", rules.variability, "limits"),
    ("19", "Sample size", rules.sample_size, "verdicts"),
    ("20", "Assignment to partitions", rules.partition, "data"),
    ("21", "At which level the partitions are apart", rules.disjoint, "data"),
    ("22", "Description of the model", rules.specification, "compression"),
    ("23", "Software and versions", rules.software, "identity"),
    ("25", "Details of training", rules.training, "compression"),
    ("28", "Measures of performance", rules.measures, "results"),
    ("29", "Uncertainty of the figures", rules.uncertainty, "results"),
    ("30", "Robustness and sensitivity analyses", rules.robustness, "verdicts"),
    ("31", "Explainability", rules.explainability, "saliency"),
    ("32", "Test on external data", rules.external, "limits"),
    ("34", "Characteristics of the cases in each partition", rules.characteristics, "data"),
    ("36", "Diagnostic accuracy with its precision", rules.performance, "results"),
    ("37", "Failure analysis", rules.failure_analysis, "failures"),
    ("38", "Limitations", rules.limitations, "limits"),
    ("39", "Consequences for practice", rules.practice, "use"),
    ("40", "Registration", said("registration"), "use"),
    ("42", "Funding", said("funding"), "use"),
)
DECIDE = _items(
    "DECIDE-AI",
    ("2a", "Condition and intended patients", said("purpose", "population"), "use"),
    ("2b", "Intended users and place in care", said("users", "care_pathway"), "use"),
    ("3", "People who took part in a trial", said("live_evaluation"), "use"),
    ("4a", "The system, its version and training population", rules.version, "identity"),
    ("4c", "Its outputs", rules.output, "identity"),
    ("6", "How errors are found and risks kept small", rules.safety, "failures"),
    ("7", "Human factors", said("live_evaluation"), "use"),
    ("8", "Ethical aims such as fairness, and how they are met", rules.fairness, "verdicts"),
    ("13", "Errors that occurred", rules.failure_analysis, "failures"),
    ("15", "Whether the evidence supports the intended use", rules.support, "verdicts"),
    ("17", "Availability of data and code", rules.access, "verify"),
)
ITEMS: tuple[Item, ...] = (*TRIPOD, *CLAIM, *DECIDE)
